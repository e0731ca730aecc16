"""Loss weights and distributions: curves, maps of a batch, the card of a pair, and the pairs of a bin."""

import json
import re

import pytest

from tests.fake_workspace import make_many, make_workspace
from tests.viewed import see
from xmr.losses import LOSSES
from xmr.views import batch_maps
from xmr.views.params import sliders
from xmr.views.weight_curves import SETTING, cell_of, params_text, read_params, show_comparison, show_curve
from xmr.workspace.measurements import effective, samples

RUNS = ["info_nce", "max_of_hinges", "siglip"]


def asked(choice, hyper, other="", seed=0, size=64, split="test", baseline="siglip"):
    return batch_maps.Asked(choice, hyper, other, split, baseline, seed, size)


# ---- distributions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["t2v", "v2t"])
@pytest.mark.parametrize("density", ["raw", "z"])
def test_distributions_have_a_panel_and_a_row_per_run(workspace, direction, density):
    seen = see(workspace, tab="distributions", runs=RUNS, direction=direction, density=density)
    drawn, table = seen.value("distributions-chart"), seen.value("distributions-table")
    assert [row["name"] for row in table["rows"]] == RUNS
    assert len([key for key in drawn["figure"]["layout"] if key.startswith("yaxis")]) == 3
    assert len(json.dumps(drawn)) < 100_000
    assert "info_nce" in drawn["words"]
    assert all(len(row["cells"]) == len(table["columns"]) - 1 for row in table["rows"])


def clicked(workspace, meta, index, **state):
    act = ("distributions-chart", "select", {"meta": meta, "index": index})
    return see(workspace, act, **{"tab": "distributions", "runs": RUNS} | state)


@pytest.mark.parametrize("density", ["raw", "z"])
def test_the_pairs_of_a_bin_are_those_whose_score_is_in_it(workspace, density):
    every = samples(workspace, "siglip", "test", "t2v").values["hardest"]
    counted, bins = 0, 0
    for index in range(100):
        seen = clicked(workspace, {"run": "siglip", "kind": "hardest"}, index, density=density)
        if seen.said:
            break
        bins += 1
        where = seen["distributions-where"]["text"]
        number = re.search(r" of ([\d,]+) ", where)
        counted += int(number.group(1)) if number else 0
        assert bool(number) != where.startswith("There are no")
    assert counted == len(every) and bins > 8


def test_a_bin_is_turned_over_and_comes_into_sight(workspace):
    seen = clicked(workspace, {"run": "siglip", "kind": "random"}, 8)
    assert seen.go == "distributions-pages" and seen.state["bin"] == "siglip random 8"
    first = [card["name"] for card in seen.value("distributions-pairs")["cards"]]
    assert first == [f"siglip #{place}" for place in range(1, 7)]
    after = see(workspace, ("distributions-next", "change", None), **seen.state)
    assert after.value("distributions-pairs")["cards"][0]["name"] == "siglip #7"
    assert after["distributions-where"]["text"].startswith("7–12 of ")
    assert see(workspace, ("distributions-previous", "change", 2), **seen.state).state["page"] == 0


@pytest.mark.parametrize(
    ("meta", "index"),
    [({"run": "x", "kind": "hardest"}, 0), ({"run": "siglip", "kind": "hardest"}, 10**6), ({"run": "siglip", "kind": "mean"}, 0),
     ({"run": "siglip", "kind": ["hardest"]}, 0), ({"run": "siglip", "kind": "hardest"}, -1)],
)  # fmt: skip
def test_a_bin_that_is_none_is_told(workspace, meta, index):
    seen = clicked(workspace, meta, index)
    assert (
        "not in this chart" in seen.said[0] and seen.state["bin"] == "" and "distributions-pairs" not in seen
    )
    assert clicked(workspace, 3, "0").state["bin"] == ""


def test_no_run_and_a_split_that_cannot_be_embedded_have_words(workspace, tmp_path):
    none = see(workspace, tab="distributions", runs=["-"])
    assert none.value("distributions-chart")["figure"] is None and "No run" in none.words(
        "distributions-chart"
    )
    broken = make_workspace(tmp_path)

    def fail(run, dataset):
        raise OSError("the encoder's folder is missing")

    broken.embedder.embed_dataset = fail
    for tab, id in (
        ("distributions", "distributions-chart"),
        ("weights", "weights-matrix"),
        ("false_negatives", "fn-chart"),
    ):
        assert "encoder's folder is missing" in see(broken, tab=tab, split="validation").words(id)
    both = see(broken, tab="weights", split="validation", loss="run siglip", beside="run info_nce")
    assert "encoder's folder is missing" in both["weights-difference-words"]["text"]


# ---- curves and maps of a batch ----------------------------------------------------------------------------


def test_a_moved_parameter_shows_the_trained_curve_behind_it(workspace):
    loss, trained, run = batch_maps.loss_of(workspace, "run info_nce")
    assert (loss, run, trained) == ("info_nce", "info_nce", {"temperature": 0.05})
    still = show_curve(workspace, "run info_nce", trained, SETTING)
    moved = show_curve(workspace, "run info_nce", {"temperature": 0.5}, SETTING)
    assert (len(still["figure"]["data"]), len(moved["figure"]["data"])) == (2, 4)
    assert still["words"] != moved["words"]
    assert len(moved["table"]["rows"]) > 10


def test_every_loss_and_every_run_can_be_drawn_and_compared(tmp_path_factory, cache_folder):
    many = make_many(tmp_path_factory.mktemp("many"))
    offered = [choice for _, choice in batch_maps.choices(many)]
    assert offered == [f"run {name}" for name in sorted(LOSSES)] + [f"loss {name}" for name in LOSSES]
    for choice in offered:
        loss, hyper, run = batch_maps.loss_of(many, choice)
        if run:  # scores of a combination can be weighed too, by a loss
            shown = batch_maps.show_one(many, asked(choice, hyper), "weights")
            assert shown["words"].startswith(f"Pairs of {run}.")
            continue
        assert show_curve(many, choice, hyper, SETTING)["figure"]["data"]
        both = asked(choice, hyper, "loss info_nce", size=16, baseline="hybrid")
        said, *charts = batch_maps.show_both(many, both, "weights")
        assert all(one["figure"]["layout"]["meta"]["cells"] == [16, 16] for one in charts), said
        assert charts[0]["words"] in (
            f"A: {loss}, on the pairs of hybrid",
            f"A: {loss} (any values), on the pairs of hybrid",
        )
        scales = [one["figure"]["data"][0]["zmax"] for one in charts[:2]]
        assert scales[0] == scales[1]
    shown = batch_maps.show_one(many, asked("loss siglip", {}, baseline="hybrid"), "weights")
    assert shown["words"].startswith("Pairs of hybrid, weighed by siglip")
    assert len(json.dumps(shown)) < 100_000
    score, other = (asked("run siglip", {}, other, size=16) for other in ("run circle", "loss circle"))
    for both, words_of_b in ((score, "B: circle"), (other, "B: circle, on the pairs of siglip")):
        assert batch_maps.show_both(many, both, "scores")[2]["words"] == words_of_b


def test_a_combination_has_no_weights_and_says_so(tmp_path_factory, cache_folder):
    many = make_many(tmp_path_factory.mktemp("many"))
    assert "hybrid" in many.runs and "hybrid" not in many.trained
    drawn = show_comparison(many, ["hybrid", "info_nce"], "test")
    assert "Left out: hybrid" in drawn["words"]
    assert [one["meta"]["run"] for one in drawn["figure"]["data"]] == [
        "info_nce"
    ] * 2  # its curve and its mark
    assert "hybrid" in see(many, tab="weights", runs=["hybrid"], baseline="hybrid")["weights-about"]["text"]
    seen = see(many, tab="distributions", runs=["hybrid", *list(LOSSES)[:7]])
    assert len(seen.names("distributions-table")) == 8


def test_a_cell_tells_both_items_and_the_weights_in_both_losses(workspace):
    hyper = effective(workspace, "info_nce")
    alone = asked("run info_nce", hyper, size=8)
    (found,) = batch_maps.show_cell(workspace, alone, 2, 2)["cards"]
    assert [badge["text"] for badge in found["badges"]] == ["annotated match"]
    assert found["numbers"][1][1].startswith("−")  # a match is pulled together
    visual, text = found["sides"]
    assert text["quote"] in visual["captions"]
    assert visual["image"].startswith("kept/thumbnails/")
    (other,) = batch_maps.show_cell(workspace, alone, 2, 3)["cards"]
    assert other["badges"][-1]["text"] in ("truly matches", "not a match")
    with pytest.raises(IndexError, match="not in this batch"):
        batch_maps.show_cell(workspace, alone, 2, 8)
    (both,) = batch_maps.show_cell(workspace, asked("run info_nce", hyper, "run siglip", size=8), 2, 3)[
        "cards"
    ]
    assert [name for name, _ in both["numbers"] if name.endswith("score")] == [
        "info_nce: score",
        "siglip: score",
    ]
    assert both["numbers"][: len(other["numbers"]) - 1] == [
        ("info_nce: score", other["numbers"][0][1]),
        *other["numbers"][1:-1],
    ]
    one, two = batch_maps.measured(
        workspace, asked("loss info_nce", {"temperature": 0.1}, "run siglip", size=8)
    )
    assert (one.run, two.run) == ("siglip", "siglip")  # on the same scores
    assert (one.pairs.scores == two.pairs.scores).all()
    names = [
        one.name for one in batch_maps.measured(workspace, asked("run siglip", {}, "loss siglip", size=8))
    ]
    assert names == ["siglip (as trained)", "siglip (any values)"]


def test_a_pair_is_shown_where_it_was_clicked_or_asked_for(workspace):
    def seen(act=None, **state):
        return see(workspace, act, **{"tab": "weights", "loss": "run info_nce", "batch": 8} | state)

    def card(found):
        cards = found.value("weights-pair")["cards"]
        return cards[0]["name"] if cards else ""

    assert card(seen()) == ""
    cell = seen(("weights-matrix", "select", {"row": 2, "column": 3}))
    assert card(cell) == "image 3, caption 4" == card(seen(**cell.state))
    assert (cell.go, cell.state["cell"]) == ("weights-pair", "2,3")
    for control in ("weights-size", "weights-seed"):  # another batch has other pairs
        assert cell[control]["resets"] == {"cell": ""}
    gone = seen(cell="60,60")
    assert card(gone) == "" and gone.state["cell"] == ""
    for data in (
        {"row": -1, "column": 0},
        {"row": 0},
        {"row": True, "column": 0},
        {"row": 10**30, "column": 0},
        None,
    ):
        assert card(seen(("weights-matrix", "select", data))) == ""
    # A point of a curve finds the nearest pair, of another run's curve under that run.
    own = seen(("weights-curve", "select", {"x": 5, "meta": {"kind": "positive"}}))
    assert own.value("weights-pair")["cards"][0]["badges"][0]["text"] == "annotated match"
    other = seen(("weights-comparison", "select", {"x": 0.2, "customdata": 0.9, "meta": {"run": "siglip"}}))
    scores = {
        one: dict(found.value("weights-pair")["cards"][0]["numbers"])["score"]
        for one, found in (("siglip", other), ("info_nce", seen(**other.state)))
    }
    assert other.go == "weights-pair" and scores["siglip"] != scores["info_nce"]
    for data in (
        {"x": "1"},
        {"x": 1, "meta": {"run": ["siglip"]}},
        {"x": 1, "meta": {"run": "nobody"}},
        None,
    ):
        assert "not on this chart" in seen(("weights-curve", "select", data)).said[0]
    # A link asks for a pair: of its own, and of another visual.
    for text, place in (("caption:test-005#1", "0,0"), ("caption:test-009#0", "0,1")):
        pair = seen(pair_visual="visual:test-005", pair_text=text)
        assert pair.state["cell"] == place and not pair["weights-clear"]["hidden"]
        visual, caption = pair.value("weights-pair")["cards"][0]["sides"]
        assert (visual["name"], caption["name"]) == ("test-005", text[8:16])
        assert seen(**pair.state | pair["weights-clear"]["set"])["weights-clear"]["hidden"]
    none = seen(pair_visual="visual:test-999", pair_text="caption:test-009#0")
    assert "Another batch is shown" in none.said[0] and none.state["pair_visual"] == ""


def test_learned_values_beyond_the_slider_are_kept():
    (slider,) = sliders(LOSSES["info_nce"], {"temperature": 0.004}, "weights", "weights-param")
    assert (slider["low"], slider["value"], slider["name"]) == (0.004, 0.004, "temperature")
    polynomial = sliders(LOSSES["polynomial"], LOSSES["polynomial"].defaults, "weights", "weights-param")
    assert [one["label"] for one in polynomial[:3]] == ["margin", "a0", "a1"]


def test_moved_sliders_are_read_back(workspace):
    trained, usual = {"temperature": 0.05}, SETTING
    choice = "run info_nce"
    assert params_text(workspace, choice, trained, usual, usual) == ""
    text = params_text(workspace, choice, {"temperature": 0.2}, usual.at(0.5, 0.4), usual)
    assert text == "run info_nce: temperature=0.2; positive_score=0.5"
    assert read_params(text, choice, "info_nce", trained, usual) == (
        {"temperature": 0.2},
        usual.at(0.5, 0.4),
        [],
    )
    two = {"scale": 12.0, "bias": -9.0}
    one = read_params("run siglip: scale=20", "run siglip", "siglip", two, usual)[0]
    assert one == two | {"scale": 20.0}  # what is not named stays as trained
    assert read_params(text, "run siglip", "siglip", {"scale": 12.0}, usual) == ({"scale": 12.0}, usual, [])
    hyper, places, faults = read_params(
        f"{choice}: temperature=-1; nonsense=2; positive_score=9", choice, "info_nce", trained, usual
    )
    assert (hyper, places, len(faults)) == (trained, usual, 3)
    assert [cell_of(text) for text in ("3,11", "", "3", "-1,2", "a,b", "9999999,1234567")] == [(3, 11)] + [
        None
    ] * 5


def test_runs_are_compared_along_their_own_negatives_too(workspace):
    for axis, head in (("score", "similarity"), ("own", "own negatives above, %")):
        seen = see(workspace, tab="weights", axis=axis)
        value = seen.value("weights-comparison")
        assert value["table"]["columns"] == [head, *seen.state["runs"]]
