"""The map tab: files of points, samples, what is shown, and what a browser may send."""

import json
import os
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

import numpy as np
import pytest

from tests.fake_workspace import (
    COLOURS,
    SHAPES,
    make_classes,
    make_clips,
    make_other,
    make_pictures,
    make_workspace,
)
from tests.viewed import pages_of, see
from xmr.analysis import aligned, near_centroid, neighbours_kept, project, spread, turn
from xmr.captions import words_of
from xmr.disk_arrays import save_arrays
from xmr.views import beside, embedding_map, view
from xmr.views.map_items import MOST, PAGE, card, items_of, read_selection, select
from xmr.views.pictures import path_of
from xmr.words import percent
from xmr.workspace import maps as made
from xmr.workspace.item_names import find_item
from xmr.workspace.maps import (
    companions,
    drawn,
    flat,
    gap,
    label_columns,
    labels,
    maps_folder,
    points,
    quantised,
    sample,
    together,
    turned,
)


@pytest.fixture(scope="module")
def workspace(cache_folder, tmp_path_factory):
    return make_workspace(tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def shown(workspace, first="siglip", second="info_nce", method="pca", column="", split="test"):
    """The value of the maps, and whether the page asks again."""
    ask = {"map_a": first, "map_b": second, "projection": method, "map_colour": column, "split": split}
    seen = see(workspace, tab="map", **ask)
    return seen.value("map-points"), bool(seen.again)


def read_points(file):
    """The coordinates that a file tells, (N, 2), as the page reads them."""
    steps = np.frombuffer(file.path.read_bytes(), "<u2").reshape(-1, 2)
    return np.hstack([steps, np.ones((len(steps), 1))]) @ file.place


# ---- files and measures


def test_quantised_points_come_back_to_within_half_a_step(rng):
    points = rng.normal(size=(500, 2)) * (3.0, 0.01) + (100, -2)
    steps, place = quantised(points)
    assert steps.dtype == np.dtype("<u2")
    assert steps.min(0).tolist() == [0, 0]
    assert steps.max(0).tolist() == [65535, 65535]
    back = np.hstack([steps, np.ones((500, 1))]) @ place
    step = np.ptp(points, axis=0) / 65535
    assert (abs(back - points) <= step / 2 + 1e-12).all()
    same, place = quantised(np.full((3, 2), 7.0))
    np.testing.assert_allclose(np.hstack([same, np.ones((3, 1))]) @ place, 7.0)


def test_a_file_holds_the_map_and_its_turn_places_it_on_the_other(workspace):
    a, b = (flat(workspace, name, "test", "pca") for name in ("info_nce", "siglip"))
    file = points(workspace, "siglip", "test", "pca")
    assert file.path.stat().st_size == 4 * (60 + 120)
    np.testing.assert_allclose(read_points(file), np.concatenate([b.visual, b.text]), atol=1e-4)
    placed = read_points(replace(file, place=turned(file.place, b, a)))
    wanted = aligned(b, a)
    np.testing.assert_allclose(placed, np.concatenate([wanted.visual, wanted.text]), atol=1e-4)
    rotation, _ = turn(b, a)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(2), atol=1e-9)


def test_files_lie_in_one_folder_under_names_of_their_content(workspace, monkeypatch, tmp_path):
    file = points(workspace, "info_nce", "test", "pca")
    assert file.path.parent == maps_folder(workspace)
    monkeypatch.setenv("XMR_CACHE", str(tmp_path))
    again = points(make_workspace(tmp_path), "info_nce", "test", "pca")
    assert again.path.parent == tmp_path / "maps"
    assert again.path.name == file.path.name
    assert again.path.read_bytes() == file.path.read_bytes()
    assert points(make_workspace(tmp_path), "siglip", "test", "pca").path.name != file.path.name
    assert not [one for one in (tmp_path / "maps").iterdir() if one.name.startswith(".")]


@pytest.mark.parametrize(
    ("visuals", "texts", "most", "kept"),
    [
        (25_000, 125_000, 50_000, (25_000, 25_000)),
        (1_000, 5_000, 50_000, (1_000, 5_000)),
        (90_000, 90_000, 50_000, (40_000, 10_000)),
        (90_000, 10, 50_000, (49_990, 10)),
        (10, 90_000, 50_000, (10, 49_990)),
    ],
)
def test_at_most_so_many_points_are_drawn_and_all_visuals_where_they_fit(visuals, texts, most, kept):
    found = sample(visuals, texts, most)
    assert (len(found.visual), len(found.text)) == kept
    for items, of in ((found.visual, visuals), (found.text, texts)):
        assert (np.diff(items) > 0).all()
        assert items[0] >= 0 and items[-1] < of
    np.testing.assert_array_equal(found.text, sample(visuals, texts, most).text)


def test_a_large_split_says_that_it_is_a_sample_and_places_are_of_the_sample(
    cache_folder, tmp_path, monkeypatch
):
    large = make_workspace(tmp_path)
    monkeypatch.setattr(made, "MAX_POINTS", 100)
    value, _ = shown(large, column="colour")
    assert value["counts"] == [60, 40]
    assert value["kinds"] == ["60 images", "40 captions, drawn by chance of 120"]
    path = path_of(value["panels"][0]["src"])
    assert path.stat().st_size == 4 * 100
    codes = np.frombuffer(path_of(value["labels"]["src"]).read_bytes(), np.uint8)
    few, data = drawn(large, "test"), large.dataset()
    names = [*value["labels"]["names"], None]
    of_text = data.visual_of_text[few.text]
    assert [names[code] for code in codes] == [data.columns["colour"][i] for i in [*few.visual, *of_text]]


def test_spread_and_near_centroid_are_what_slow_loops_find(rng):
    side = rng.normal(size=(40, 6))
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    side = side.astype(np.float32)
    centre = side.mean(0)
    assert spread(side) == pytest.approx(
        np.mean([((one - centre) ** 2).sum() for one in side]) ** 0.5, rel=1e-5
    )
    chosen, among = np.array([3, 9, 12, 30]), np.arange(0, 40, 3)
    among = np.union1d(among, chosen)
    middle = side[chosen].mean(0)
    nearest = sorted(among, key=lambda i: ((side[i] - middle) ** 2).sum())[: len(chosen)]
    assert near_centroid(side, chosen, among) == len(set(nearest) & set(chosen.tolist()))
    assert near_centroid(side, among, among) == len(among)
    assert near_centroid(side, np.array([], int), among) == 0


def test_a_group_of_one_kind_lies_together_and_a_mixed_one_less(workspace):
    data = workspace.dataset()
    alike = np.flatnonzero(data.visual_group >= 0)[
        [i for i, c in enumerate(data.columns["colour"]) if c == "red"]
    ]
    mixed = np.arange(len(alike)) * 4 % 60
    none = np.array([], int)
    close, loose = (together(workspace, "info_nce", "test", one, none) for one in (alike, mixed))
    assert close > loose
    assert made.by_chance(workspace, "test", 60, 120) == 1
    assert made.by_chance(workspace, "test", 6, 0) == pytest.approx(0.1)


def test_the_gap_is_that_of_the_centroids(workspace):
    visual, text = workspace.embeddings("siglip", "test")
    found = gap(workspace, "siglip", "test")
    assert found.distance == pytest.approx(np.linalg.norm(visual.mean(0) - text.mean(0)), rel=1e-4)
    value, _ = shown(workspace, "siglip", "-")
    ratio = found.distance / np.sqrt((found.spread_visual**2 + found.spread_text**2) / 2)
    assert f"lie {ratio:.2f} spreads apart under siglip" in value["words"]
    held = sum(project(visual, text).explained)
    assert f"{held:.0%} under siglip of the variance in {visual.shape[1]} dimensions" in value["words"]


def test_labels_name_the_most_frequent_values_and_columns_of_many_are_not_offered(cache_folder, tmp_path):
    other = make_workspace(tmp_path)
    data = other.dataset()
    many = [f"kind {min(i % 13, 9)}" for i in range(60)]
    many[0] = None
    columns = {"kind": many, "name": data.visual_ids, "same": ["x"] * 60}
    load = other.load
    other.load = lambda split: replace(load(split), columns=columns)
    other._memo._values.clear()
    assert label_columns(other, "test") == ["kind"]
    found = labels(other, "test", "kind")
    assert found.names[0] == "kind 9"  # three of thirteen
    assert len(found.names) == made.NAMED
    assert sum(found.counts) == 180
    assert found.counts[0] == 3 * many.count("kind 9")
    with pytest.raises(ValueError, match="no column"):
        labels(other, "test", "name")


def test_matches_of_a_point_are_those_of_its_group(workspace):
    assert companions(workspace, "test", 7) == [60 + 14, 60 + 15]
    assert companions(workspace, "test", 60 + 15) == [7]


# ---- what is shown


def test_the_value_is_small_and_one_run_has_one_panel(workspace):
    value, again = shown(workspace, column="shape")
    assert not again
    assert [panel["name"] for panel in value["panels"]] == ["siglip", "info_nce"]
    assert len(json.dumps(value)) < 6_000
    for second in ("siglip", "-"):
        value, _ = shown(workspace, "siglip", second)
        assert len(value["panels"]) == 1
    told = see(
        workspace, tab="map", map_a="sigllip", map_b="gone", map_colour="shade", projection="tsne"
    ).said
    assert "did you mean 'siglip'" in told[1] and "'gone'" in told[2] and "'shade'" in told[3]
    assert "unknown projection 'tsne'" in told[0]


@pytest.mark.parametrize(("make", "nouns"), [
    (make_clips, ("clip", "caption")), (make_pictures, ("query image", "gallery image")), (make_classes, ("image", "text")),
])  # fmt: skip
def test_other_kinds_of_data_have_maps(cache_folder, tmp_path, make, nouns):
    other = make_other(tmp_path, make, {"siglip": "cross_attention"})
    value, _ = shown(other, split="validation")
    assert [kind.split(" ", 1)[1] for kind in value["kinds"]] == [f"{noun}s" for noun in nouns]
    assert "Of siglip, which re-ranks pairs, the first stage is shown." in value["words"]
    count = value["counts"][0]
    items = items_of(other, "validation")
    for place in (0, count):
        one = card(other, "validation", {"place": place, "items": items})
        side, index = find_item(other, "validation", one["key"])
        assert (side, index) == ("visual" if place == 0 else "caption", 0)
    _, listed = select(
        other, "validation", "siglip", "-", {"visual": [1], "text": [0], "total": [1, 1], "items": items}
    )
    assert len(listed["items"]) == 2
    if make is make_pictures:
        assert all(one["image"] for one in listed["items"])
    if make is make_clips:
        assert listed["items"][0]["film"]


def test_a_umap_is_made_elsewhere_and_pca_is_shown_meanwhile(cache_folder, tmp_path, monkeypatch):
    other, jobs = make_workspace(tmp_path), []

    class Elsewhere:
        def submit(self, work, path, visual, text):
            jobs.append((Future(), path, visual, text))
            return jobs[-1][0]

    monkeypatch.setattr(made, "_aside", lambda _: Elsewhere())
    monkeypatch.setattr(embedding_map, "has_umap", lambda: True)
    monkeypatch.setenv("XMR_CACHE", str(tmp_path))
    ask = ("siglip", "info_nce", "umap")
    value, again = shown(other, *ask)
    assert again
    assert value["waiting"].startswith("UMAP of siglip and info_nce is being made, for 0 s")
    assert value["panels"][0]["facts"].startswith("Axes")
    shown(other, *ask)
    assert len(jobs) == 2  # once per run, however often it is asked for
    for job, path, visual, text in jobs:
        flat = project(visual, text)
        save_arrays(path, {"visual": flat.visual, "text": flat.text})
        job.set_result(None)
    value, again = shown(other, *ask)
    assert not again and not value["waiting"]
    assert "mean nothing" in value["words"]
    assert value["panels"][0]["facts"].startswith("Centroids")
    # Made once, it is read by the next process.
    monkeypatch.setattr(made, "_aside", None)
    value, again = shown(make_workspace(tmp_path), *ask)
    assert not again and len(value["panels"]) == 2
    # One that was altered since is told and made again.
    monkeypatch.setattr(made, "_aside", lambda _: Elsewhere())
    jobs[0][1].write_bytes(jobs[0][1].read_bytes()[:-1] + b"\1")
    with pytest.warns(UserWarning, match="made anew"):
        assert shown(make_workspace(tmp_path), *ask)[1]
    assert len(jobs) == 3


def test_a_umap_that_fails_is_said_and_made_again_when_asked_again(cache_folder, tmp_path, monkeypatch):
    failed, asked = Future(), []
    failed.set_exception(MemoryError("no room"))

    class Elsewhere:
        def submit(self, *job):
            asked.append(job)
            return failed if len(asked) == 1 else Future()

    monkeypatch.setenv("XMR_CACHE", str(tmp_path))
    monkeypatch.setattr(made, "_aside", lambda _: Elsewhere())
    monkeypatch.setattr(embedding_map, "has_umap", lambda: True)
    other, ask = make_workspace(tmp_path), ("siglip", "-", "umap")
    value, again = shown(other, *ask)
    assert not again
    assert value["words"] == "The test split can't be shown: UMAP of siglip failed: no room"
    assert not shown(other, *ask)[1] and len(asked) == 1  # not by everybody who waits for it
    monkeypatch.setattr(made, "RETRY", -1.0)
    value, again = shown(other, *ask)
    assert again and value["waiting"]


def die(*_):
    os._exit(3)


def test_a_killed_process_takes_only_its_own_umap_along(tmp_path, monkeypatch):
    monkeypatch.setattr(made, "project", die)
    with pytest.raises(BrokenProcessPool):
        made._make_umap(tmp_path / "map.npy", *2 * [np.eye(4, dtype=np.float32)])
    assert not list(tmp_path.iterdir())


# ---- what a browser may send


def sent(workspace, **changes):
    return {"visual": [2, 1], "text": [5], "total": [2, 1], "items": items_of(workspace, "test")} | changes


def test_a_selection_is_read_in_its_order(workspace):
    visual, text, total = read_selection(workspace, "test", sent(workspace))
    assert (visual.tolist(), text.tolist(), total) == ([2, 1], [5], (2, 1))
    words, listed = select(workspace, "test", "siglip", "info_nce", sent(workspace))
    assert words.startswith("Selected: 2 images and 1 caption.")
    assert "under siglip and " in words and "under info_nce" in words
    data = workspace.dataset()
    assert [one["name"] for one in listed["items"]] == [data.visual_ids[2], data.visual_ids[1], "test-002#1"]
    assert listed["items"][2]["text"] == data.captions[5]
    nothing = sent(workspace, visual=[], text=[], total=[0, 0])
    assert select(workspace, "test", "siglip", "-", nothing)[0] == ""


def test_a_large_selection_is_cut_and_says_so(workspace):
    all_of = sent(workspace, visual=list(range(50)), text=list(range(100)), total=[60, 120])
    words, listed = select(workspace, "test", "siglip", "-", all_of)
    assert words.startswith(
        "Selected: 60 images and 120 captions. Of these 180, the 150 nearest to their middle"
    )
    assert words.endswith(f"The first {PAGE} are shown.")
    notes = [one["note"] for one in listed["items"]]
    assert notes == ["image"] * 12 + ["caption"] * 12
    few = sent(workspace, visual=[0], text=list(range(100)), total=[1, 100])
    assert len(select(workspace, "test", "siglip", "-", few)[1]["items"]) == PAGE


HOSTILE = [
    None, "text", [], {}, {"visual": [], "text": []},
    {"visual": [60]}, {"visual": [-1]}, {"visual": [True]}, {"visual": ["1"]}, {"visual": [1.5]}, {"visual": [1, 1]},
    {"visual": {"0": 1}}, {"visual": [[1]]}, {"text": [120]}, {"text": None}, {"text": [10**30]},
    {"text": list(range(MOST + 1))}, {"visual": list(range(60)), "text": list(range(MOST - 30))},
    {"total": [1, 1]}, {"total": [2]}, {"total": [61, 1]}, {"total": ["2", 1]}, {"total": None}, {"total": [2, 1, 0]},
    {"items": "other"}, {"items": None}, {"items": ["x"]},
]  # fmt: skip


@pytest.mark.parametrize("payload", HOSTILE, ids=lambda one: json.dumps(one)[:40])
def test_what_the_maps_do_not_send_is_refused_in_words(workspace, payload):
    whole = sent(workspace, **payload) if payload and len(payload) == 1 else payload
    with pytest.raises(ValueError, match="not of this map any more"):
        select(workspace, "test", "siglip", "-", whole)


@pytest.mark.parametrize("place", [None, -1, 180, True, 1.0, "1", [1], 10**30])
def test_points_that_are_not_on_the_map_are_refused(workspace, place):
    with pytest.raises(ValueError, match="not on this map"):
        card(workspace, "test", {"place": place, "items": items_of(workspace, "test")})
    for whole in (None, [], {"place": 1}, {"place": 1, "items": items_of(workspace, "validation")}):
        with pytest.raises(ValueError, match="not on this map"):
            card(workspace, "test", whole)


def test_an_item_opens_in_search_and_a_made_up_one_does_not(workspace):
    def opened(data):
        return view(
            pages_of(workspace), {"tab": "map"}, {"block": "map-tiles", "event": "pick", "data": data}
        )

    to = opened({"key": "visual:test-004"})["state"]
    assert (to["tab"], to["query"], to["direction"]) == ("search", "visual:test-004", "v2t")
    assert opened({"key": "caption:test-004#1"})["state"]["direction"] == "t2v"
    for key in (None, 3, "visual:no", "text:words", "caption:test-004#9"):
        assert "has no item" in opened({"key": key})["fault"]
    assert "has no item" in opened(None)["fault"]


def test_what_is_selected_is_measured_under_both_maps_also_where_none_was_chosen(workspace):
    found = beside(pages_of(workspace), {"tab": "map"}, "selection", sent(workspace))
    words, listed = found["blocks"]
    assert "under max_of_hinges and " in words["text"] and "under info_nce" in words["text"]
    assert len(listed["value"]["items"]) == 3
    point = beside(
        pages_of(workspace), {"tab": "map"}, "point", {"place": 7, "items": items_of(workspace, "test")}
    )
    assert point["blocks"][0]["value"]["own"] == [60 + 14, 60 + 15]
    assert "not of this map" in beside(pages_of(workspace), {"tab": "map"}, "selection", None)["fault"]


def test_a_selection_stays_with_its_items_and_runs(workspace):
    keeps = [
        see(workspace, tab="map", **ask)["map-tiles"]["keep"]
        for ask in ({}, {"map_colour": "shape"}, {"split": "validation"}, {"map_b": "siglip"})
    ]
    assert keeps[0] == keeps[1] and len(set(keeps)) == 3


def test_regions_have_words_and_the_map_says_how_much_of_each_neighbourhood_it_keeps(workspace):
    value, _ = shown(workspace)
    named = [region for panel in value["panels"] for region in panel["regions"]]
    every = {word for text in workspace.dataset().captions for word in words_of(text)}
    told = {word for region in named for word in region["words"]}
    assert told & {*COLOURS, *SHAPES} and told <= every - {"a", "the"}
    for panel, run in zip(value["panels"], ("siglip", "info_nce"), strict=True):
        file = replace(points(workspace, run, "test", "pca"), place=np.array(panel["place"]))
        low, high = read_points(file).min(0) - 1e-4, read_points(file).max(0) + 1e-4
        for region in panel["regions"]:  # where its map stands, turned as it is
            assert (low <= [region["x"], region["y"]]).all() and ([region["x"], region["y"]] <= high).all()
    space = np.concatenate(workspace.embeddings("siglip", "test"))
    found = flat(workspace, "siglip", "test", "pca")
    share = neighbours_kept(space, np.concatenate([found.visual, found.text]), 10)
    assert f"nearest to an item in all dimensions, {percent(share)} under siglip and" in value["words"]


def test_small_pictures_are_those_of_the_points_that_are_asked_for(workspace):
    def ask(places, items=None):
        data = {"places": places, "items": items or items_of(workspace, "test")}
        return beside(pages_of(workspace), {"tab": "map"}, "map_pictures", data)

    found = ask([0, 7])["pictures"]
    assert set(found) == {"0", "7"} and all(path_of(address).is_file() for address in found.values())
    for wrong in ([60], [-1], [0, 0], list(range(201)), ["0"], "x", None):
        assert "not on this map any more" in ask(wrong)["fault"]
    assert "fault" in ask([0], "other")
