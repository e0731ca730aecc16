"""The results tab: tables of both directions, what to know before comparing, training, and what leaves it as files."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest

from tests.fake_workspace import (
    RUNS,
    make_classes,
    make_clips,
    make_many,
    make_other,
    make_pictures,
    make_workspace,
)
from tests.viewed import pages_of, see
from xmr.views import beside, results
from xmr.views.result_tables import SORTS
from xmr.views.values import table
from xmr.workspace import measurements
from xmr.workspace import results as made
from xmr.workspace.result_words import MEANS
from xmr.workspace.results import estimates

NAMES = list(RUNS)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, cache_folder):
    return make_workspace(tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture(scope="module")
def many(tmp_path_factory, cache_folder):
    return make_many(tmp_path_factory.mktemp("many"))


def shown(workspace, act=None, **state):
    return see(workspace, act, **{"tab": "results", "runs": NAMES, "baseline": "info_nce"} | state)


@pytest.mark.parametrize("direction", ["t2v", "v2t"])
def test_both_directions_are_shown_the_chosen_one_first(workspace, direction):
    seen = shown(workspace, direction=direction, baseline="siglip")
    first, second = seen.value("results-first"), seen.value("results-second")
    titles = {"t2v": "Metrics, text → image", "v2t": "Metrics, image → text"}
    assert first["title"] == titles[direction]
    assert {first["title"], second["title"]} == {*titles.values()}
    assert seen.names("results-first") == ["siglip", "info_nce", "max_of_hinges"]
    assert first["rows"][0]["mark"] == "baseline"
    assert seen.value("results-first-differences")["title"].startswith("Differences to siglip")
    assert seen.names("results-first-differences") == ["info_nce", "max_of_hinges"]
    expected = estimates(workspace, "info_nce", "test", direction)["R@1"]
    assert first["rows"][1]["cells"][0] == {
        "text": f"{100 * expected.mean:.1f}",
        "more": f"{100 * expected.low:.1f} – {100 * expected.high:.1f}",
        "number": round(expected.mean, 6),
    }
    assert [column["text"] for column in first["columns"]] == [
        "run", "R@1", "R@5", "R@10", "true R@1", "true mAP@R", "median rank", "rsum"
    ]  # fmt: skip
    assert "60 images and 120 captions" in seen["results-facts"]["text"]
    assert seen.value("results-scores")["figure"]["data"]
    assert seen.value("results-losses")["table"]["rows"][0] == ["1", "100.0", "100.0", "100.0"]
    assert seen.names("results-runs") == seen.names("results-first")


def test_what_stands_twice_is_told_before_any_number(workspace, monkeypatch):
    data = workspace.dataset("test")
    same = {"captions": 47, "visuals": 0, "ceiling": {"v2t/recall_at_1": 0.5, "t2v/recall_at_1": 0.25}}
    monkeypatch.setitem(data.about, "duplicates", same)
    seen = shown(workspace)
    told = seen["results-facts"]["text"]
    assert told.endswith("47 captions read like one of other pictures, so a perfect model's R@1 is at most 50.0 (v2t) and 25.0 (t2v).")  # fmt: skip


def test_all_runs_follow_the_chosen_ones(many, monkeypatch):
    monkeypatch.setattr(results, "SECONDS", 60)  # a busy machine measures less in the usual time
    seen = shown(many, runs=["siglip", "hybrid"], baseline="hybrid", which="all")
    names = seen.names("results-first")
    assert names[:2] == ["hybrid", "siglip"]
    assert names[2:] == [name for name in many.runs if name not in ("hybrid", "siglip")]
    marks = {row["name"]: row["mark"] for row in seen.value("results-first")["rows"]}
    assert (marks["hybrid"], marks["siglip"], marks["info_nce"]) == ("baseline", "chosen", "")
    assert f"of {len(many.runs)} runs by R@1" in seen.value("results-first")["lead"]
    assert len(json.dumps(seen)) < 300_000 and not seen.again
    assert "siglip" in seen.words("results-scores")
    assert "hybrid" not in seen.words("results-scores")  # a combination has no training
    alone = shown(many, runs=["hybrid"], baseline="hybrid")
    assert "no training of their own" in alone.words("results-scores")
    assert alone.names("results-first-differences") == []
    nobody = shown(many, runs=["-"], baseline="", which="all")
    assert len(nobody.names("results-first")) == len(many.runs)
    assert "No run is chosen" in shown(many, runs=["-"], baseline="").value("results-first")["lead"]


def test_what_is_not_measured_yet_follows(tmp_path, cache_folder, monkeypatch):
    monkeypatch.setattr(results, "SECONDS", -1)
    many = make_many(tmp_path)
    for count in (1, 2, 3):
        seen = shown(many, runs=["siglip"], baseline="siglip", which="all")
        assert len(seen.names("results-first")) == len(seen.names("results-second")) == count
        assert f"{count} of {len(many.runs)} runs are measured" in seen.value("results-first")["lead"]
        assert seen.again == results.PAUSE


def test_a_frozen_encoder_that_is_still_read_is_asked_for_again(workspace, monkeypatch):
    class Reads:
        def is_alive(self):
            return True

    monkeypatch.setattr(made, "_read_aside", lambda *_: Reads())
    seen = shown(workspace)
    assert seen.again == results.LONG_PAUSE and len(seen.names("results-second")) == 3


def test_runs_that_can_not_be_measured_have_words(tmp_path, cache_folder):
    broken = make_workspace(tmp_path)

    def embed(run, dataset, plain=broken.embedder.embed_dataset):
        if run.name != "siglip":
            raise OSError("the <encoder> is missing")
        return plain(run, dataset)

    broken.embedder.embed_dataset = embed
    seen = shown(broken, split="validation", baseline="siglip")
    assert seen.names("results-first") == ["siglip"]
    assert seen["results-warnings"]["items"] == [
        ["info_nce, max_of_hinges", "can't be measured on validation: the <encoder> is missing"]
    ]
    nobody = shown(broken, runs=["info_nce"], split="validation")
    assert nobody.value("results-first")["lead"] == "None of these runs could be measured."
    broken.load = lambda split: (_ for _ in ()).throw(OSError("the disk is gone"))
    broken._memo._values.pop(("dataset", "train"), None)
    with pytest.raises(OSError, match="the disk is gone"):
        broken.dataset("train")
    assert "the disk is gone" in shown(broken, split="train").value("results-first")["lead"]


def test_runs_that_are_apart_or_differ_are_told(tmp_path, cache_folder):
    workspace = make_workspace(tmp_path)
    run = workspace.runs["siglip"]
    workspace.apart["<b>other</b>"] = (replace(run, name="<b>other</b>"), "trained on 'clips'")
    workspace.runs["siglip"] = replace(run, encoder={"name": "shapes", "hash": "abc"})
    told = shown(workspace)["results-warnings"]["items"]
    assert ["<b>other</b>", "not compared: trained on 'clips'"] in told
    assert any("different encoders" in text for _, text in told)
    fewer = shown(workspace, runs=["info_nce", "max_of_hinges"])["results-warnings"]["items"]
    assert not any("different" in text for _, text in fewer)


def test_a_training_that_went_nowhere_is_told_beside_its_scores_and_its_curves(
    tmp_path, cache_folder, monkeypatch
):
    own = make_workspace(tmp_path)
    monkeypatch.setattr(
        measurements, "plateau", lambda run: "It stands: --first sum_of_hinges:1." * (run.name == "siglip")
    )
    for tab, id in (("results", "results-scores"), ("distributions", "distributions-chart")):
        for _ in range(2):  # also where it is remembered
            told = shown(own, tab=tab).words(id)
            assert told.count("siglip: It stands: --first sum_of_hinges:1.") == told.count("It stands") == 1
        assert "It stands" not in shown(own, tab=tab, runs=["info_nce", "max_of_hinges"]).words(id)


@pytest.mark.parametrize("make", [make_clips, make_pictures, make_classes])
def test_other_kinds_of_data_have_their_metrics_and_words(make, tmp_path, cache_folder):
    workspace = make_other(tmp_path, make, {"siglip": "cross_attention"})
    seen = shown(workspace, direction="t2v")
    columns = [column["text"] for column in seen.value("results-first")["columns"]]
    assert ("mAP" in columns, "mAP, both" in columns, "rsum" in columns) == (
        (True, True, False) if make is make_classes else (False, False, True)
    )
    ways = {make_clips: "text → clip", make_pictures: "gallery → query", make_classes: "text → image"}
    assert seen.value("results-first")["title"] == f"Metrics, {ways[make]}"
    assert all(len(row["cells"]) == len(columns) - 1 for row in seen.value("results-first")["rows"])
    assert "first stage" in json.dumps(seen.value("results-runs"))


def test_a_column_sorts_and_a_run_opens_and_what_a_browser_makes_up_does_neither(workspace):
    for down, text in ((False, "R@5:up"), (True, "R@5:down")):
        seen = shown(workspace, ("results-first", "sort", {"column": "R@5", "descending": down}))
        assert seen.state["sort"] == text
        for part in ("first", "second"):
            assert seen.value(f"results-{part}")["sort"] == {"column": "R@5", "descending": down}
    for data in ({"column": "<b>", "descending": True}, {"column": ""}, {"column": ["R@1"]}, None, 3):
        assert shown(workspace, ("results-first", "sort", data), sort="R@5:up").state["sort"] == ""
    assert all(f"{title}:up" in SORTS for title in MEANS)
    wrong = shown(workspace, sort="R@5:upp")
    assert "did you mean 'R@5:up'" in wrong.said[0] and wrong.state["sort"] == ""
    opened = shown(workspace, ("results-first", "pick", {"row": "siglip"}))
    assert (opened.state["tab"], opened.state["b"]) == ("errors", "siglip")
    for data in ({"row": "nobody"}, {"row": ["siglip"]}, {}, None, "siglip"):
        seen = shown(workspace, ("results-first", "pick", data))
        assert "not in this workspace" in seen.said[0] and seen.state["tab"] == "results"


def test_the_files_hold_what_is_measured(workspace):
    asked = [
        file["name"]
        for part in ("first", "second")
        for file in shown(workspace).value(f"results-{part}")["files"]
    ]
    made = [beside(pages_of(workspace), {"tab": "results"}, "file", {"name": name}) for name in asked]
    files = {one["name"]: one["text"] for one in made}
    assert sorted(files) == [
        "shapes-test-t2v.csv",
        "shapes-test-t2v.tex",
        "shapes-test-v2t.csv",
        "shapes-test-v2t.tex",
    ]
    lines = csv.DictReader(io.StringIO(files["shapes-test-v2t.csv"]))
    (line,) = [line for line in lines if (line["run"], line["metric"]) == ("siglip", "R@1")]
    expected = estimates(workspace, "siglip", "test", "v2t")["R@1"]
    assert float(line["mean"]) == pytest.approx(100 * expected.mean, abs=1e-3)
    assert r"\toprule" in files["shapes-test-t2v.tex"]


def test_a_table_of_plain_cells_is_as_it_was():
    value = table([("run", ""), ("AUC", "area")], [("a", None, ["0.5"])], "a note")
    assert value["rows"][0]["cells"] == ["0.5"]
    assert (value["note"], value["sortable"], value["pick"], value["files"]) == ("a note", False, "", [])
    number = table([("run", ""), ("x", "")], [("a", None, [("–", "", float("nan"))])])
    assert json.loads(json.dumps(number, allow_nan=False))["rows"][0]["cells"][0]["number"] is None


# ---- the forest plot -------------------------------------------------------------------------------------


@pytest.mark.parametrize("measure", ["", "R@5", "true mAP@R"])
@pytest.mark.parametrize("direction", ["t2v", "v2t"])
def test_the_forest_holds_every_run_by_the_measure_best_first(workspace, direction, measure):
    seen = shown(workspace, direction=direction, measure=measure)
    title = measure or "R@1"
    ways = [direction, "v2t" if direction == "t2v" else "t2v"]
    found = [{name: estimates(workspace, name, "test", way)[title] for name in NAMES} for way in ways]
    order = sorted(NAMES, key=lambda name: -found[0][name].mean)
    figure = seen.value("results-forest")["figure"]
    assert figure["layout"]["yaxis"]["ticktext"] == order
    dots = {(dot["customdata"][0], dot["xaxis"]): dot for dot in figure["data"]}
    assert len(dots) == 6
    for own, axis in zip(found, ("x", "x2"), strict=True):
        for name in NAMES:
            dot, one = dots[name, axis], own[name]
            ends = [dot["x"][0] - dot["error_x"]["arrayminus"][0], dot["x"][0] + dot["error_x"]["array"][0]]
            assert dot["y"] == [order.index(name)]
            assert [dot["x"][0], *ends] == pytest.approx(
                [100 * one.mean, 100 * one.low, 100 * one.high], abs=1e-3
            )
    best = found[0][order[0]]
    meet = sum(found[0][name].high >= best.low for name in order[1:])
    words = seen.words("results-forest")
    assert (
        words.startswith(f"Sorted by {title}, ")
        and f"{order[0]} is first with {100 * best.mean:.1f}%" in words
    )
    whose = {0: "no other interval meets", 1: "1 of 2 other intervals meets", 2: "all other intervals meet"}[
        meet
    ]
    assert f"{whose} its own" in words and "drawn by image" in words
    # Each query has one annotated match of 60 pictures, each picture two of 120 captions.
    chance = {"R@1": (1 / 60, 2 / 120), "R@5": (5 / 60, 1 - (115 * 114) / (120 * 119))}.get(title)
    lines = [shape["x0"] for shape in figure["layout"].get("shapes", [])]
    assert lines == (
        []
        if chance is None
        else pytest.approx([100 * one for one in chance][:: 1 if direction == "t2v" else -1])
    )
    assert seen.value("results-forest")["table"]["rows"][0][0] == order[0]


def test_one_direction_alone_and_one_run_alone_have_a_forest_too(workspace):
    seen = shown(workspace, ways="one", runs=["siglip"], baseline="siglip")
    assert "results-second" not in seen and len(seen.value("results-forest")["figure"]["data"]) == 1
    assert seen.words("results-forest").startswith("R@1, text → image: siglip reaches ")


def test_a_point_of_the_forest_opens_its_run_in_errors_and_a_made_up_measure_is_told(workspace):
    seen = shown(workspace, ("results-forest", "select", {"customdata": "siglip", "curve": 1}))
    assert (seen.state["tab"], seen.state["b"]) == ("errors", "siglip")
    seen = shown(workspace, measure="R@7")
    assert "R@1" in seen.words("results-forest") and any("R@7" in text for text in seen.said)


# ---- every sentence, against numbers computed another way --------------------------------------------------


def similarities(workspace, run, direction):
    """Scores with queries as rows, and which pairs are annotated."""
    data = workspace.dataset()
    visual, text = workspace.embeddings(run, "test")
    scores = visual.astype(np.float64) @ text.astype(np.float64).T
    own = data.visual_group[:, None] == data.text_group[None]
    return (scores, own) if direction == "v2t" else (scores.T, own.T)


def first_hits(workspace, run, direction):
    """R@1 of every query, by a loop."""
    scores, own = similarities(workspace, run, direction)
    return np.array(
        [float(row[mine].max() > row[~mine].max() + 1e-6) for row, mine in zip(scores, own, strict=True)]
    )


def exact_p(differences, visuals):
    """Of all signs that the visuals' sums could have, how many take the total this far from 0: sum by sum."""
    sums = [int(differences[visuals == one].sum()) for one in np.unique(visuals)]
    ways = {0: 1.0}
    for one in sums:
        after = {}
        for total, share in ways.items():
            for sign in (1, -1):
                after[total + sign * one] = after.get(total + sign * one, 0.0) + share / 2
        ways = after
    return sum(share for total, share in ways.items() if abs(total) >= abs(sum(sums)))


@pytest.mark.parametrize("direction", ["t2v", "v2t"])
def test_the_finding_is_what_loops_say(workspace, direction):
    data = workspace.dataset()
    visuals = data.visual_of_text if direction == "t2v" else np.arange(60)
    right = {run: first_hits(workspace, run, direction) for run in NAMES}
    order = sorted(NAMES, key=lambda run: -right[run].mean())
    pairs = {
        frozenset(pair)
        for first in ("info_nce", order[0])
        for pair in ((first, other) for other in NAMES if other != first)
    }
    raw = {pair: exact_p(np.subtract(*(right[run] for run in sorted(pair))), visuals) for pair in pairs}
    holm, worst = {}, 0.0
    for at, pair in enumerate(sorted(raw, key=raw.get)):  # step by step down
        worst = max(worst, min(1.0, (len(raw) - at) * raw[pair]))
        holm[pair] = worst
    lead = shown(workspace, direction=direction).value("results-first")["lead"]
    best, second, third = order
    gap, p = 100 * (right[best].mean() - right[second].mean()), holm[frozenset((best, second))]
    assert lead.startswith(
        f"{best} is the best of 3 runs by R@1 on this seed: {100 * right[best].mean():.1f}% ("
    )
    says = "is more than chance on this seed" if p < 0.05 else "may be chance"
    told = "p < 0.001" if p < 0.001 else f"p {p:.3f}"
    assert (
        f"Its lead of {gap:.1f} points over the next one, {second}, {says} ({told}: paired test by image, Holm's correction "
        f"for {len(pairs)} comparisons)." in lead
    )
    assert (f"Nor can the test tell it from {third}." in lead) == (holm[frozenset((best, third))] >= 0.05)
