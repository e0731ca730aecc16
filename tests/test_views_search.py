"""What Search shows, as plain data: answers, items' cards, and other kinds of data: clips, pictures on both sides, classes."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.fake_workspace import (
    RUNS,
    FakeEmbedder,
    make_classes,
    make_clips,
    make_many,
    make_other,
    make_pictures,
    make_workspace,
)
from tests.viewed import pages_of, see
from xmr.cache import address
from xmr.losses import LOSSES
from xmr.views import beside, view
from xmr.views.answer import answer
from xmr.views.details import details
from xmr.views.pairs import text_side, visual_side
from xmr.views.pictures import open_picture, path_of
from xmr.views.query import Asked, asks_text
from xmr.views.runs import side_by_side
from xmr.views.search import MOST_STEPS
from xmr.workspace import Query, Workspace
from xmr.workspace.pages import Page

NAMES = list(RUNS)
MATCHERS = {"siglip": "cross_attention"}  # a pair scorer among the runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory, cache_folder):
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def shapes(folder):
    return make_workspace(folder)


@pytest.fixture(scope="module")
def clips(folder):
    return make_other(folder, make_clips, MATCHERS)


@pytest.fixture(scope="module")
def pictures(folder):
    return make_other(folder, make_pictures)


@pytest.fixture(scope="module")
def classes(folder):
    return make_other(folder, make_classes)


def shown(workspace, direction, index=0):
    return answer(workspace, Asked("item", "test", direction, index=index), NAMES, "info_nce", 12)


def viewed(workspace, act=None, **state):
    """The answer of Search, and its grid."""
    found = view(
        [Page(workspace.dataset().name, "", dict(workspace.runs), lambda: workspace)],
        {"tab": "search"} | state,
        act,
    )
    return found, next(block["value"] for block in found["blocks"] if block["kind"] == "grid")


# ---- the answer ---------------------------------------------------------------------------------------------


def test_places_and_shifts_are_those_of_the_scores(shapes):
    found = shown(shapes, "t2v", 7)
    visual = int(shapes.dataset().visual_of_text[7])
    ranks = {}
    for column in found["columns"]:
        images, texts = shapes.embeddings(column["name"])
        order = np.argsort(-(images @ texts[7]), kind="stable")
        assert [tile["index"] for tile in column["tiles"]] == list(order[:12])
        ranks[column["name"]] = int(np.flatnonzero(order == visual)[0]) + 1
        assert (column["rank"], column["place"]) == (ranks[column["name"]], f"#{ranks[column['name']]}")
        assert bool(column["pinned"]) == (column["rank"] > 12)
    for column in found["columns"]:
        gain = ranks["info_nce"] - ranks[column["name"]]
        way = "up" if gain > 0 else "down" if gain else "none"
        assert column["delta"]["way"] == way
        if column["name"] == "info_nce":
            assert column["delta"]["words"] == "baseline" and not any(
                tile["shift"] for tile in column["tiles"]
            )
        elif gain:
            assert column["delta"]["words"].startswith(f"{abs(gain)} place")
    for rank in set(ranks.values()):
        *most, last = [name for name in NAMES if ranks[name] == rank]
        runs = "all runs" if len(most) == 2 else f"{most[0]} and {last}" if most else last
        assert f"at rank {rank} for {runs}" in found["headline"]
    lists = [{tile["index"] for tile in column["tiles"]} for column in found["columns"]]
    both = len(set.intersection(*lists))
    assert found["headline"].startswith("Of 60 images, the annotated match is at rank ")
    assert found["headline"].endswith(f" {both} of the first 12 are in every list.")
    assert [term["name"] for term in found["terms"]] == ["R@1"]
    assert len(json.dumps(answer(shapes, Asked("item", "test", "t2v"), NAMES, "siglip", 24))) < 60_000


def test_typed_words_that_read_like_captions_have_their_matches(shapes):
    data = shapes.dataset()
    caption = data.captions[4]
    same = [i for i, text in enumerate(data.captions) if text.casefold() == caption.casefold()]
    _, found = viewed(
        shapes, {"block": "go", "event": "change", "data": f"  {caption.upper()}.  "}, runs=NAMES
    )
    alike = "a caption" if len(same) == 1 else f"{len(same)} captions"
    assert f"reads like {alike} of the test split" in found["query"]["facts"]
    assert all(column["rank"] for column in found["columns"])
    _, found = viewed(shapes, {"block": "go", "event": "change", "data": "a purple zeppelin"}, runs=NAMES)
    assert "free text: no match is annotated" in found["query"]["facts"]
    assert found["query"]["facts"].endswith("1 of its 3 words unknown")
    assert found["headline"].startswith("No match is annotated for this query.")
    assert not any(column["rank"] or column["pinned"] for column in found["columns"])


@pytest.mark.parametrize(
    ("typed", "said"),
    [(" ", "Type what the picture should show"), ("x" * 501, "at most 500"), (["a"], "text"), (7, "text")],
)
def test_what_can_not_be_asked_is_told_and_the_query_stays(shapes, typed, said):
    before, _ = viewed(shapes)
    found, _ = viewed(shapes, {"block": "go", "event": "change", "data": typed})
    assert any(said in text for text in found["said"])
    assert found["state"]["query"] == before["state"]["query"]


def test_next_counts_its_presses(shapes):
    order = shapes.disagreements(NAMES, "test", "v2t")
    links = [f"visual:{shapes.dataset().visual_ids[place]}" for place in order]
    first, _ = viewed(shapes, runs=NAMES, direction="v2t")
    assert first["state"]["query"] == links[0]
    for presses, at in ((1, 1), (3, 3), (0, 1), (None, 1), ("3", 1), (10**9, MOST_STEPS % len(order))):
        act = {"block": "next", "event": "change", "data": presses}
        assert (
            viewed(shapes, act, runs=NAMES, direction="v2t", query=links[0])[0]["state"]["query"] == links[at]
        )


def test_a_run_that_can_not_answer_says_so_in_its_own_column(folder):
    class Broken(FakeEmbedder):
        def embed_texts(self, run, texts, encoded):
            if run.name == "siglip":
                raise ValueError("its encoder is not installed")
            return super().embed_texts(run, texts, encoded)

    workspace = replace(make_workspace(folder), embedder=Broken())
    _, found = viewed(workspace, {"block": "go", "event": "change", "data": "a red thing"}, runs=NAMES)
    faults = {column["name"]: (bool(column["tiles"]), column["fault"]) for column in found["columns"]}
    assert faults["siglip"] == (False, "its encoder is not installed")
    assert faults["info_nce"] == (True, "") and faults["max_of_hinges"] == (True, "")
    of = {
        column["name"]: {cell["percent"] for cell in row}
        for column, row in zip(found["columns"], found["overlap"], strict=True)
    }
    assert of["siglip"] == {"–"}


def test_the_baseline_is_always_drawn_and_no_two_runs_look_alike(folder):
    runs = [f"run{i}" for i in range(9)]
    drawn, left_out = side_by_side(runs, "run8")
    assert drawn == [*runs[:5], "run8"] and left_out.endswith("Left out: run5, run6, run7.")
    assert side_by_side(runs[:6], "run0") == (runs[:6], "")
    workspace = make_many(folder)
    looks = workspace.styles(list(workspace.runs))
    assert len(set(looks.values())) == len(workspace.runs) == len(LOSSES) + 1


def test_a_dataset_that_is_missing_is_a_screen_of_its_own(folder):
    def missing(split):
        raise FileNotFoundError("/data/gone is not there")

    workspace = Workspace.of(list(make_workspace(folder).runs.values()), "gone", missing, None)
    found = view([Page("gone", "", {}, lambda: workspace)], {})
    assert found["side"] == [] and found["blocks"][0]["kind"] == "problem"
    assert "is not there" in found["blocks"][0]["reason"]
    assert any(
        "python app.py --checkpoints checkpoints --dataset FOLDER" in line
        for line in found["blocks"][0]["commands"]
    )


def test_pictures_are_judged_before_their_pixels_are_read(tmp_path):
    bomb, text, cut = (tmp_path / name for name in ("bomb.png", "text.png", "cut.jpg"))
    Image.new("1", (6000, 5000)).save(bomb)
    with pytest.raises(ValueError, match="6000 × 5000 pixels, more than 25 million; scale it down"):
        open_picture(str(bomb))
    text.write_text("not a picture")
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(cut)
    cut.write_bytes(cut.read_bytes()[:5000])
    for path in (text, cut):
        with pytest.raises(ValueError, match="could not be used: not readable as PNG"):
            open_picture(str(path))


# ---- other kinds of data ------------------------------------------------------------------------------------


def test_clips_play_on_either_side_and_in_the_details(clips):
    found = shown(clips, "t2v")
    assert {tile["film"]["frames"] for column in found["columns"] for tile in column["tiles"]} == {4}
    assert found["query"]["film"] is None
    asked = shown(clips, "v2t")
    assert asked["query"]["film"]["frames"] == 4 and asked["query"]["kind"] == "Clip test-000"
    assert not any(tile["film"] for column in asked["columns"] for tile in column["tiles"])
    assert details(clips, Asked("item", "test", "t2v"), NAMES, 5)["film"]["frames"] == 4
    assert visual_side(clips, "test", 3, "query").film["frames"] == 4


def test_a_run_that_re_ranks_tells_both_ranks(clips):
    found = shown(clips, "t2v")
    before, _, paired = found["columns"]
    stages = [column["stage"] for column in found["columns"]]
    assert stages == ["", "", "re-ranks the top 100 of its first stage"]
    assert (before["setup"], paired["setup"]) == ("linear · clips", "cross_attention · clips")
    assert not any(tile["first"] for tile in before["tiles"])
    # The first stage's ranks are those of the run's embeddings alone.
    visual, text = clips.embeddings("siglip")
    order = np.argsort(-(visual @ text[0]), kind="stable")
    first = []
    for tile in paired["tiles"]:
        first.append(int(re.fullmatch(r"1st stage #(\d+)", tile["first"]["short"]).group(1)))
        assert order[first[-1] - 1] == tile["index"] and tile["first"]["short"] in tile["label"]
    assert [int(tile["rank"]) for tile in paired["tiles"]] != first
    assert paired["first"]["short"].startswith("1st stage #")
    card = details(clips, Asked("item", "test", "t2v"), NAMES, paired["tiles"][0]["index"])
    assert card["stages"] and [run["first"] == "–" for run in card["runs"]] == [True, True, False]


def test_pictures_stand_on_both_sides_with_their_names_as_words(pictures):
    for direction, kind in (("t2v", "Gallery image"), ("v2t", "Query image")):
        found = shown(pictures, direction)
        assert found["query"]["kind"].startswith(kind)
        tiles = [tile for column in found["columns"] for tile in column["tiles"]]
        assert all(tile["image"] and tile["caption"].startswith("a ") for tile in tiles)
        assert found["query"]["image"] not in {tile["image"] for tile in tiles}
    card = details(pictures, Asked("item", "test", "v2t"), NAMES, 4)
    assert card["captions"] == [pictures.dataset().captions[4]]
    side = text_side(pictures, "test", 4, "candidate")
    assert side.image == address(pictures.gallery_thumbnail("test", 4))
    assert not asks_text(pictures)
    with pytest.raises(ValueError, match="two styles compares pictures with pictures"):
        pictures.search(Query(text="a ring"), NAMES, "test", "t2v", 3)
    state, _ = viewed(pictures)
    assert state["state"]["direction"] == "v2t", "there, the visuals are what is meant to ask"


def test_classes_are_told_where_texts_say_nothing(classes):
    data = classes.dataset()
    found = shown(classes, "v2t")
    name = data.classes[data.visual_group[0]]
    count = (data.text_group == data.visual_group[0]).sum()
    assert found["query"]["text"] == f"{name} · test-000"
    assert found["query"]["facts"] == f"{count} of 60 texts are of its class"
    assert [entry["words"] for entry in found["legend"]] == ["same class", "another class"]
    assert any(tile["tag"] for column in found["columns"] for tile in column["tiles"])
    for column in found["columns"]:
        same = [tile for tile in column["tiles"] if tile["caption"].startswith(f"{name} · text ")]
        assert [tile for tile in column["tiles"] if tile["tag"] == "same class"] == same
        assert column["hits"] == f"{len(same)} of 12 of its class"
        assert column["spoken"].startswith("first of its class at rank")
    assert "the first of its class is at rank" in found["headline"]
    assert not asks_text(classes)


def test_what_a_clip_shows_is_decoded_once_for_still_and_strip(clips):
    decoded = []

    class Watched(list):
        def __getitem__(self, index):
            decoded.append(index)
            return super().__getitem__(index)

    data = replace(make_clips(), fingerprint="watched")
    object.__setattr__(data, "visuals", Watched(data.visuals))
    workspace = replace(clips, load=lambda split: data, _memo=type(clips._memo)())
    still, strip = workspace.thumbnail("test", 7), workspace.strip("test", 7)
    assert workspace.thumbnail("test", 7) == still and decoded == [7]
    with Image.open(strip) as image:
        assert image.size == (4 * 96, 96)
        for at, frame in enumerate(data.visuals[7]):
            cut = np.asarray(image.crop((96 * at, 0, 96 * at + 96, 96)).convert("RGB"), float)
            assert abs(cut - np.asarray(frame, float)).mean() < 4  # lossy
    with Image.open(still) as image:
        assert abs(np.asarray(image, float) - np.asarray(data.visuals[7][2], float)).mean() < 4


def test_a_small_picture_has_a_large_one_and_nothing_else_has(workspace):
    shown = see(workspace, tab="search", query="visual:test-003", direction="v2t")
    small = shown.value("results")["query"]["image"]
    state = {"tab": "search"}
    found = beside(pages_of(workspace), state, "large", {"src": small})["image"]
    assert found == small.replace(".webp", "-large.webp")
    with Image.open(path_of(found)) as image, Image.open(path_of(small)) as other:
        assert image.size == other.size == (96, 96)  # no larger than it is
    wrong = [
        None,
        3,
        "",
        "kept/thumbnails/x/0/3.webp",
        "kept/../../etc/passwd",
        small.replace("/3.", "/99999."),
        small + "\0",
        found,
    ]
    for src in wrong:
        assert beside(pages_of(workspace), state, "large", {"src": src}) == {"image": None}
    assert beside(pages_of(workspace), state | {"split": "validation"}, "large", {"src": small}) == {
        "image": None
    }
