"""What a comparison tries, concludes and writes, on records made by hand; and the log, which nothing breaks."""

import csv
import io
import itertools
import json
import math
import xml.etree.ElementTree as ET
from dataclasses import asdict, replace
from typing import Annotated

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from xmr.core import TrainConfig
from xmr.experiments import search
from xmr.experiments.intervals import cells_of, holm, interval, paired
from xmr.experiments.log import Log, opened
from xmr.experiments.outcomes import (
    RECALLS,
    TRUTHS,
    Comparison,
    Outcome,
    Record,
    chosen,
    compare,
    shares_by_visual,
)
from xmr.experiments.plot import nice_ticks
from xmr.experiments.report import at_the_edge, files, grid_tables, setting, tables, verdicts
from xmr.experiments.search import Axis, axes
from xmr.experiments.trials import differences, identify, key
from xmr.losses import LOSSES
from xmr.metrics import evaluate, rank_scores
from xmr.registry import Range, Registry

OTHER = Registry("loss")


@OTHER.register
def searched(
    pairs,
    *,
    margin: Annotated[float, Range(0, 1, search=(0.05, 0.5))] = 0.2,
    temperature: Annotated[float, Range(0.01, 1, learn="log", search=(0.02, 0.2))] = 0.07,
    scale: Annotated[float, Range(1, 500, search=(2, 256))] = 10.0,
    count: Annotated[int, Range(1, 9, search=(1, 5))] = 1,
    weight: Annotated[float, Range(0, 1)] = 0.5,
):
    """Searched in four of its five parameters."""


# ---- what is tried -----------------------------------------------------------------------------------------


def test_every_loss_has_the_same_budget_and_learning_rates_and_begins_at_its_default():
    entries = [*LOSSES.values(), OTHER["searched"]]
    for entry in entries:
        tried = search.settings(entry, 0.001, 9, {})
        assert len(tried) == 9
        assert tried[0].lr == 0.001 and tried[0].params == entry.defaults
        assert [one.lr for one in tried] == [one.lr for one in search.settings(entries[0], 0.001, 9, {})]
        assert len({one.lr for one in tried}) == 9
        assert all(0.0002 <= one.lr <= 0.005 for one in tried)
        for param in entry.params:
            if param.range and param.range.search:
                low, high = param.range.search
                assert param.range.low <= low < high <= param.range.high, f"{entry.name} {param.name}"
                assert param.kind in (int, float)


def test_a_longer_search_goes_on_with_a_shorter_one():
    longest = search.settings(OTHER["searched"], 0.001, 33, {})
    for trials in (1, 2, 3, 5, 16, 32):
        assert search.settings(OTHER["searched"], 0.001, trials, {}) == longest[:trials]


def test_only_declared_parameters_are_searched_and_within_their_intervals():
    assert [axis.name for axis in axes(OTHER["searched"], 0.01, {"scale": 3.0})] == [
        "lr", "margin", "temperature", "count",
    ]  # fmt: skip
    assert {axis.name: axis.log for axis in axes(OTHER["searched"], 0.01, {})} == {
        "lr": True, "margin": False, "temperature": True, "scale": True, "count": False,
    }  # fmt: skip
    tried = search.settings(OTHER["searched"], 0.001, 65, {"scale": 3.0})
    for one in tried[1:]:
        assert 0.05 <= one.params["margin"] <= 0.5 and 0.02 <= one.params["temperature"] <= 0.2
        assert one.params["count"] in range(1, 6) and isinstance(one.params["count"], int)
        assert one.params["scale"] == 3.0 and one.params["weight"] == 0.5
    # 64 points of a Sobol sequence: exactly half on each side of the middle, the middle being geometric in the log.
    assert sum(one.params["temperature"] < math.sqrt(0.02 * 0.2) for one in tried[1:]) == 32
    assert sum(one.params["margin"] < 0.275 for one in tried[1:]) == 32
    assert sum(one.lr < 0.001 for one in tried[1:]) == 32


def test_values_on_an_axis():
    assert Axis("x", 0.01, 100, log=True).at(0.5) == 1.0
    assert Axis("x", 0, 10, log=False).at(0.25) == 2.5
    assert Axis("x", 1, 3, log=False).at(1 / 3) == 1.667
    assert Axis("x", 1 / 3, 3, log=False).at(0) == 1 / 3  # never rounded out of the interval
    assert search.points(0).shape == (0, 16)


# ---- what it means -----------------------------------------------------------------------------------------


def test_intervals_are_students():
    values = [270.1, 272.4, 269.9, 275.0, 271.3]
    mean, half = interval(values)
    low, high = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    assert mean == pytest.approx(sum(values) / 5)
    assert (mean - half, mean + half) == pytest.approx((low, high))
    # Two values, one degree of freedom: t is the tangent of 0.475 π.
    assert interval([1.0, 3.0])[1] == pytest.approx(math.tan(0.475 * math.pi))
    assert math.isnan(interval([5.0])[1])


def test_the_test_is_paired():
    theirs = [200.0, 250.0, 300.0, 350.0]
    ours = [201.0, 252.0, 301.0, 352.0]  # 1.5 ± 0.577, whatever the seeds do
    difference, p = paired(ours, theirs)
    t = 1.5 / (math.sqrt(1 / 3) / 2)
    assert difference == 1.5
    assert p == pytest.approx(2 * stats.t.sf(t, 3))
    assert stats.ttest_ind(ours, theirs).pvalue > 0.9
    assert paired([1.0, 2.0], [1.0, 2.0]) == (0.0, 1.0)
    assert paired([1.1, 2.1], [1.0, 2.0]) == (pytest.approx(0.1), 0.0)
    assert math.isnan(paired([1.0], [2.0])[1])


def rejected(p, level):
    """Holm's step-down procedure: the smallest p against level / tests left, then the next."""
    left = sorted(range(len(p)), key=lambda i: p[i])
    while left and p[left[0]] <= level / len(left) + 1e-12:
        left.pop(0)
    return set(range(len(p))) - set(left)


@pytest.mark.parametrize("size", [1, 2, 5, 9])
def test_holms_correction_rejects_what_its_procedure_does_at_every_level(size):
    for seed in range(4):
        p = np.random.default_rng(seed).uniform(0, 0.3, size).tolist()
        for level in [*np.arange(0, 1, 0.001), *(one for one in holm(p) if one < 1)]:
            assert {i for i, one in enumerate(holm(p)) if one <= level + 1e-11} == rejected(p, level)


def test_holms_correction_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1, 1] and holm([]) == []
    assert holm([0.01, math.nan, 0.03]) == pytest.approx([0.03, math.nan, 0.06], nan_ok=True)


def record(loss, role="test", seed=1, rsum=250.0, lr=0.001, true=None, **params):
    metrics = {}
    if role == "test" and rsum is not None:
        metrics = dict.fromkeys(RECALLS, rsum / 600) | {"rsum": rsum}
        if true is not None:
            metrics |= dict.fromkeys(TRUTHS, true)
    return Record(loss, role, seed, lr, params or {"margin": 0.2}, rsum, metrics, 60.0, "" if rsum else "NaN")


def an_outcome(loss, values, trials=(240.0, 250.0), true=None):
    search = [
        record(loss, "search", 0, rsum, lr) for rsum, lr in zip(trials, (0.001, 0.002, 0.004), strict=False)
    ]
    tested = [record(loss, seed=i, rsum=v, true=true and true[i - 1]) for i, v in enumerate(values, 1)]
    return Outcome(loss, search, tested)


BASE, BEST = [250, 252, 248, 251, 249], [260, 263, 259, 261, 260]
HALF_OF_BEST = stats.t.ppf(0.975, 4) * np.std(BEST, ddof=1) / math.sqrt(5)


def several():
    return [
        an_outcome("max_of_hinges", BASE, true=[0.30, 0.31, 0.30, 0.31, 0.30]),
        an_outcome("info_nce", BEST, true=[0.30, 0.30, 0.31, 0.31, 0.30]),
        an_outcome("soft|margin", [251, 250, 249, 250, 251], true=[0.10, 0.11, 0.12, 0.11, 0.10]),
        an_outcome("broken_one", [], (None, None)),
        an_outcome("half_broken", [200, None, 201, 202, None], (None, 210.0)),
    ]


def comparison(outcomes=None, baseline="max_of_hinges", about=(), **more):
    return Comparison("linear", several() if outcomes is None else outcomes, baseline, list(about), **more)


def report(*comparisons, losses=("max_of_hinges", "info_nce"), command="python x --set a_b=1"):
    return files(comparisons or [comparison()], losses, "A & B", command)


def test_the_best_trial_is_chosen_and_failed_ones_never():
    trials = [record("a", "search", rsum=r, lr=lr) for r, lr in ((None, 1), (5.0, 2), (7.0, 3), (7.0, 4))]
    assert chosen(trials).lr == 3
    assert chosen(trials[:1]) is None
    # The first trial of a loss is its default: it wins a tie.
    assert chosen([trials[2], trials[3]]).lr == 3


def test_losses_are_compared_with_the_baseline_seed_by_seed():
    cells = compare(several(), "max_of_hinges")
    assert list(cells) == ["info_nce", "soft|margin", "max_of_hinges", "half_broken", "broken_one"]
    assert cells["broken_one"] == {}
    base, best = cells["max_of_hinges"]["rsum"], cells["info_nce"]["rsum"]
    assert base.mean == 250 and math.isnan(base.p) and not base.arrow
    assert best.difference == pytest.approx(10.6)
    assert best.difference_half == pytest.approx(interval(np.subtract(BEST, BASE))[1])
    raw = {
        "info_nce": stats.ttest_rel(BEST, BASE).pvalue,
        "soft|margin": stats.ttest_rel([251, 250, 249, 250, 251], BASE).pvalue,
        "half_broken": stats.ttest_rel([200, 201, 202], [250, 248, 251]).pvalue,  # the seeds that both have
    }
    corrected = dict(zip(raw, holm(list(raw.values())), strict=True))
    for loss in raw:
        assert cells[loss]["rsum"].p == pytest.approx(raw[loss])
        assert cells[loss]["rsum"].p_holm == pytest.approx(corrected[loss])
    arrows = [cells[loss]["rsum"].arrow for loss in ("info_nce", "soft|margin", "half_broken")]
    assert arrows == [" ↑", "", " ↓"] and cells["half_broken"]["rsum"].seeds == 3
    assert cells["info_nce"]["v2t/recall_at_1"].mean == pytest.approx(260.6 / 6)  # per cent
    assert cells["soft|margin"]["t2v/true_map_at_r"].mean == pytest.approx(10.8)
    assert "t2v/true_map_at_r" not in cells["half_broken"]


def test_shares_by_visual_sum_to_rsum_and_are_tested_by_visual():
    """Against the six recalls, and against every flip of the visuals' differences."""
    rng = np.random.default_rng(3)
    links = np.repeat(np.arange(8), 3)
    found = {}
    for loss in ("a", "b"):
        tests = []
        for seed in (1, 2):
            scores = rng.random((8, 24)) + (0.5 if loss == "b" else 0.2) * (np.arange(8)[:, None] == links)
            shares = shares_by_visual(*rank_scores(scores, np.arange(8), links), links)
            rsum = evaluate(scores, np.arange(8)[:, None] == links)["rsum"]
            assert sum(shares) * 100 / 24 == pytest.approx(rsum)  # in units of 1 / texts, with V | T
            tests.append(replace(record(loss, seed=seed, rsum=rsum), by_visual=shares))
        found[loss] = Outcome(loss, [], tests)
    pairs = zip(found["a"].tested, found["b"].tested, strict=True)
    apart = sum(np.subtract(b.by_visual, a.by_visual) for a, b in pairs)
    sums = [abs(np.dot(signs, apart)) for signs in itertools.product((-1, 1), repeat=8)]
    exact = np.mean([one >= abs(apart.sum()) for one in sums])
    one = comparison([*found.values()], "a")
    assert one.cells["b"]["rsum"].p_visual == pytest.approx(exact) and 0 < exact < 1
    assert math.isnan(one.cells["a"]["rsum"].p_visual)
    assert math.isnan(one.cells["b"]["v2t/recall_at_1"].p_visual)
    text = report(one)[".md"]
    assert "| p by visual (Holm) |" in text and "other test visuals" in text
    older = [replace(one, tested=[replace(r, by_visual=[]) for r in one.tested]) for one in found.values()]
    assert "by visual" not in report(comparison(older, "a"))[".md"]


def test_one_seed_and_one_loss_have_no_tests():
    pair = comparison([an_outcome("a", [250]), an_outcome("b", [260])], "a")
    cell = pair.cells["b"]["rsum"]
    assert math.isnan(cell.half) and math.isnan(cell.p_holm) and cell.difference == 10
    assert verdicts(pair) == []
    alone = comparison([an_outcome("a", [250, 251])], "a")
    assert not alone.cells["a"]["rsum"].arrow and verdicts(alone) == []
    assert cells_of({"a": {}, "b": {1: 2.0}}, "a")["b"].seeds == 1


def test_verdicts_count_what_differs():
    assert verdicts(comparison()) == [
        "rsum: 2 of 3 losses differ from max_of_hinges; above it: info_nce; below it: half_broken.",
        "v2t true mAP@R: 1 of 2 losses differs from max_of_hinges; below it: soft|margin.",
        "t2v true mAP@R: 1 of 2 losses differs from max_of_hinges; below it: soft|margin.",
    ]
    same = comparison([an_outcome("a", [250, 251]), an_outcome("b", [250, 251])], "a")
    assert verdicts(same) == ["rsum: none of 1 losses differ from a."]


def test_a_search_that_ends_at_its_edge_is_told():
    inner = an_outcome("inner", [250], (240.0, 250.0, 230.0))
    outer = an_outcome("outer", [250], (240.0, 230.0, 250.0))
    assert at_the_edge([inner, outer, an_outcome("one", [250], (240.0,))]) == ["outer"]
    assert "was the best for outer: a wider search" in report(comparison([inner, outer], "inner"))[".md"]


def test_the_setting_names_what_was_searched():
    trials = [
        record("a", "search", 0, r, lr, margin=m, other=1.0)
        for r, lr, m in ((9.0, 0.1, 0.2), (8.0, 0.2, 0.3))
    ]
    tested = [record("a", margin=0.2, other=1.0)]
    assert setting(Outcome("a", trials, tested)) == "lr 0.1, margin 0.2 (default)"
    assert setting(Outcome("a", trials[1:], tested)) == "lr 0.2 (default)"  # nothing but lr was tried


# ---- what is written ---------------------------------------------------------------------------------------


def columns(line):
    return [cell.strip() for cell in line.replace(r"\|", "&#124;").strip("|").split("|")]


def test_markdown_tables_are_rectangular_and_ordered():
    text = report()[".md"]
    first, second = (
        [columns(row) for row in part.splitlines()] for part in text.split("\n\n") if part[0] == "|"
    )
    for rows in (first, second):
        assert {len(row) for row in rows} == {len(rows[0])}
        assert [row[0] for row in rows[2:]] == [
            "info_nce", "soft&#124;margin", "max_of_hinges (baseline)", "half_broken", "broken_one",
        ]  # fmt: skip
    by = {row[0]: dict(zip(first[0], row, strict=True)) for row in first[2:]}
    assert by["info_nce"]["rsum"] == f"260.6 ± {HALF_OF_BEST:.1f} ↑" and by["info_nce"]["Δ rsum"] == "+10.6"
    assert by["half_broken"]["rsum"].endswith("↓") and by["half_broken"]["Δ rsum"].startswith("−")
    assert by["half_broken"]["diverged"] == "1 of 2 trials, 2 of 5 seeds"
    assert by["broken_one"]["setting"] == "none: every trial diverged"
    assert by["info_nce"]["setting"] == "lr 0.002" and by["info_nce"]["diverged"] == ""
    assert text.index("    python x") < text.index("| loss") and text.startswith("# 5 losses on A & B")


def test_csv_comes_back():
    cells = comparison().cells
    rows = list(csv.DictReader(io.StringIO(report()[".csv"])))
    assert {row["loss"] for row in rows} == set(cells)
    assert list(rows[0]) == [
        "loss", "metric", "mean", "low", "high", "difference", "p", "p_holm", "p_visual", "p_visual_holm", "seeds",
        "lr", "params", "validation_rsum", "trials", "diverged_trials", "diverged_seeds", "seconds",
    ]  # fmt: skip
    for row in rows:
        cell = cells[row["loss"]].get(row["metric"])
        assert None not in row.values() and None not in row
        if cell is None:
            assert row["loss"] == "broken_one" and row["mean"] == row["lr"] == ""
            assert row["diverged_trials"] == "2" and row["seeds"] == "0"
            continue
        assert float(row["mean"]) == cell.mean and float(row["high"]) == cell.mean + cell.half
        assert (row["p_holm"] == "") == math.isnan(cell.p_holm)
        assert json.loads(row["params"]) == {"margin": 0.2}
    assert next(row["seeds"] for row in rows if row["loss"] == "half_broken") == "3"


def test_latex_is_escaped_and_rectangular():
    text = report()[".tex"]
    assert r"info\_nce" in text and r"$\pm$" in text and r"$\uparrow$" in text and "% python x --set" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 2
    for line in text.splitlines():
        if line.startswith("%"):
            continue
        assert "_" not in line.replace(r"\_", "") and line.isascii()
        if line.endswith(r"\\"):
            assert line.count("&") in (11, 10)


def drawn(text):
    return [
        ET.fromstring(part.split("</svg>")[0].join(["<svg", "</svg>"])) for part in text.split("<svg")[1:]
    ]


def test_the_plot_is_one_page_with_nothing_to_load():
    outcomes = [*several(), an_outcome("<b>", [240, 241, 242])]
    text = report(comparison(outcomes), command="command <x>")[".html"]
    assert "<script" not in text and "http" not in text and "url(" not in text and "src=" not in text
    assert "<b>" not in text and "A &amp; B" in text and "command &lt;x&gt;" in text
    panels = drawn(text)
    assert len(panels) == 3  # rsum and the truth in both directions
    rsum = panels[0]
    assert len(rsum.findall("g")) == 5  # none for the loss without a result
    by = {group.find("text").text: group for group in rsum.findall("g")}
    assert len(by["info_nce"].findall("circle[@class='seed']")) == 5
    assert len(by["half_broken"].findall("circle[@class='seed']")) == 3
    assert by["info_nce"].get("class") == "differs" and by["soft|margin"].get("class") == "same"
    _, _, width, height = map(float, rsum.get("viewBox").split())
    ends = dict.fromkeys(("cx", "x1", "x2", "x"), width) | dict.fromkeys(("cy", "y"), height)
    for mark in rsum.iter():
        assert all(0 <= float(mark.get(name, 0)) <= end for name, end in ends.items())
    # One place on the axis is one value: x is affine in the mean.
    x = {
        name: float(group.find("line").get("x1")) + float(group.find("line").get("x2"))
        for name, group in by.items()
    }
    share = (x["max_of_hinges"] - x["half_broken"]) / (x["info_nce"] - x["half_broken"])
    assert share == pytest.approx((250 - 201) / (260.6 - 201), abs=2e-3)
    assert "No training succeeded" in report(comparison([several()[3]], "broken_one"))[".html"]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (271.3, 275.9), (-3, 0.002), (5, 5), (99.98, 100)])
def test_ticks_are_round_and_reach_around(low, high):
    ticks, decimals = nice_ticks(low, high)
    assert ticks[0] <= low and ticks[-1] >= high and 2 <= len(ticks) <= 9
    steps = np.diff(ticks)
    assert steps == pytest.approx(steps[0])
    assert [float(f"{tick:.{decimals}f}") for tick in ticks] == pytest.approx(ticks)


def test_the_frozen_encoder_has_a_row_without_tests_or_setting():
    name = "zero-shot: tiny"
    frozen = Outcome(name, [], [record(name, seed=0, rsum=255.0)], frozen=True)
    one, without = comparison(zero_shot=frozen), comparison().cells
    cell = one.cells[name]["rsum"]
    assert cell.mean == 255 and math.isnan(cell.half) and math.isnan(cell.p_holm)
    assert list(one.cells)[:2] == ["info_nce", name]
    assert all(one.cells[loss] == without[loss] for loss in without)  # it takes no part in any correction
    made = report(one)
    row = next(columns(line) for line in made[".md"].splitlines() if line.startswith(f"| {name} "))
    assert row[1] == "255.0" and "the frozen encoder, no training" in row
    rows = csv.DictReader(io.StringIO(made[".csv"]))
    (line,) = [row for row in rows if (row["loss"], row["metric"]) == (name, "rsum")]
    assert (line["mean"], line["lr"], line["p"]) == ("255.0", "", "")
    assert all(name in text for text in (made[".html"], report(one, one)[".md"]))


# ---- several matchers --------------------------------------------------------------------------------------


ROWS = ["max_of_hinges", "info_nce", "max_of_hinges+word_overlap"]


def grid():
    """Two matchers, of which the second has no result of the baseline and one loss that diverged."""
    third = an_outcome(ROWS[2], [255, 256, 257, 258, 259])
    first = comparison([*several()[:2], third], about=["how"])
    second = [an_outcome("info_nce", [300, 301, 302, 303, 304]), Outcome(ROWS[2], [], [])]
    return [first, replace(comparison(second, about=["how else", "why not"]), matcher="graph")]


def test_the_grid_has_the_cells_of_each_matchers_own_comparison():
    comparisons = grid()
    made = grid_tables(comparisons, ROWS)
    assert [rows[0][0] for rows in made] == [
        "rsum", "v2t R@1", "t2v R@1", *(f"{d} true {m}" for m in ("mAP@R", "nDCG", "xinfAP") for d in ("v2t", "t2v")),
    ]  # fmt: skip
    for rows in made:
        assert [row[0] for row in rows[1:]] == ["linear", "graph"] and {len(row) for row in rows} == {4}
        assert rows[0][1:] == ["max_of_hinges (baseline)", *ROWS[1:]]
        assert rows[2][1] == "" and rows[2][3] == "diverged"
    own = comparisons[0].cells
    p = [stats.ttest_rel(values, BASE).pvalue for values in (BEST, [255, 256, 257, 258, 259])]
    # Two losses are tested, not three or four.
    assert [own[name]["rsum"].p_holm for name in ROWS[1:]] == pytest.approx(holm(p))
    assert made[0][1][2] == f"260.6 ± {HALF_OF_BEST:.1f} ↑" and made[0][1][1] == "250.0 ± 2.0"
    assert "↑" not in made[0][2][2] and made[0][2][2].startswith("302.0 ±")  # nothing to compare it with
    assert made[1][1][2].startswith(f"{260.6 / 6:.1f} ±")


def test_the_grids_report_in_all_forms():
    comparisons = grid()
    made = report(*comparisons, losses=ROWS)
    text = made[".md"]
    assert text.startswith("# 2 matchers × 3 losses on A & B\n\n    python x --set a_b=1\n\n| rsum |")
    assert text.count("\n# ") == 0
    assert text.index("| rsum |") < text.index("## linear") < text.index("how") < text.index("## graph")
    assert text.index("why not") > text.index("## graph")
    rows = list(csv.DictReader(io.StringIO(made[".csv"])))
    assert list(rows[0])[:3] == ["matcher", "loss", "metric"]
    mean = {(row["matcher"], row["loss"]): row["mean"] for row in rows if row["metric"] == "rsum"}
    assert mean["linear", "info_nce"] == "260.6" and mean["graph", "info_nce"] == "302.0"
    assert mean["graph", ROWS[2]] == "" and ("graph", "max_of_hinges") not in mean
    tex = made[".tex"]
    count = len(grid_tables(comparisons, ROWS)) + 3  # truth in the first only
    assert tex.count(r"\begin{tabular}") == tex.count(r"\end{tabular}") == count
    assert tex.isascii() and tex.index("% linear") < tex.index("% graph")
    page = made[".html"]
    assert page.index("<h2>linear</h2>") < page.index("<h2>graph</h2>") and page.count("<svg") == 4
    nothing = replace(comparison([], about=["no loss goes with it"]), matcher="empty")
    text = report(comparisons[0], nothing)[".md"]
    assert text.rstrip().endswith("## empty\n\nno loss goes with it")


def test_class_labels_are_reported_by_mean_average_precision():
    def one(loss, low):
        metrics = [
            {"rsum": 500.0 - low, "v2t/recall_at_1": 0.5, "t2v/recall_at_1": 0.25, "v2t/map": low + 0.01 * seed,
             "t2v/map": low + 0.2, "v2t/map_at_50": 0.7, "t2v/map_at_50": 0.6}
            for seed in (1, 2, 3)
        ]  # fmt: skip
        tested = [replace(record(loss, seed=i), metrics=m, figure="mAP") for i, m in enumerate(metrics, 1)]
        return Outcome(loss, [replace(record(loss, "search", 0), figure="mAP")], tested)

    found = comparison([one("a", 0.3), one("b", 0.4)], "a")
    assert list(found.cells) == ["b", "a"]  # by mAP: by rsum it would be the other way
    assert found.cells["b"]["map"].mean == pytest.approx(100 * (0.42 + 0.6) / 2)
    (table,) = tables(found)
    assert table[0][:4] == ["loss", "mAP", "Δ mAP", "p (Holm)"] and "v2t R@5" not in table[0]
    assert table[0][4:-1] == [f"{d} {title}" for d in ("v2t", "t2v") for title in ("R@1", "mAP", "mAP@50")]
    assert dict(zip(table[0], table[1], strict=True))["v2t mAP"].startswith("42.0 ±")
    assert verdicts(found)[0].startswith("mAP: 1 of 1 losses differs from a")
    assert "validation_map" in report(found)[".csv"].splitlines()[0]
    assert [rows[0][0] for rows in grid_tables([found], ["a", "b"])] == [
        "mAP", "v2t R@1", "v2t mAP", "v2t mAP@50", "t2v R@1", "t2v mAP", "t2v mAP@50",
    ]  # fmt: skip


# ---- the log -----------------------------------------------------------------------------------------------


NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
RECORDS = st.builds(
    Record,
    loss=st.text(),
    role=st.sampled_from(["search", "test"]),
    seed=st.integers(),
    lr=NUMBERS,
    params=st.dictionaries(st.text(), NUMBERS | st.integers() | st.text() | st.booleans()),
    score=NUMBERS | st.none(),
    metrics=st.dictionaries(st.text(), NUMBERS),
    seconds=NUMBERS,
    diverged=st.text(),
    epoch=st.integers(0),
    threads=st.integers(0),
    selector=st.text(),
    figure=st.sampled_from(["rsum", "mAP"]),
    by_visual=st.lists(st.integers()),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(RECORDS, max_size=4), st.data())
def test_what_is_logged_comes_back_however_the_file_is_cut(tmp_path_factory, records, data):
    path = tmp_path_factory.mktemp("log") / "below" / "a.jsonl"
    with opened(path, "comparison", key) as log:
        for one in records:
            log.append(asdict(one))
    content = path.read_bytes() if records else b""
    ends = [0, *itertools.accumulate(len(line) for line in content.splitlines(keepends=True))]
    cut = data.draw(st.integers(0, len(content)))
    if records:
        path.write_bytes(content[:cut])  # killed while it wrote
    whole = sum(end <= cut for end in ends) - 1
    latest = {json.dumps(one.key, sort_keys=True): one for one in records[:whole]}
    with opened(path, "comparison", key) as log:
        assert len(log) == len(latest)
        for one in latest.values():
            assert Record.from_json(log.find(one.key)) == one
        assert log.find(["no such loss"]) is None
        for one in records:
            log.append(asdict(one))
    assert not records or path.read_bytes() == content[: ends[whole]] + content


LINE = {
    "loss": "a",
    "role": "search",
    "seed": 0,
    "lr": 0.1,
    "params": {},
    "rsum": 250.0,
    "metrics": {},
    "seconds": 1,
}
HEADER = '{"config": {}, "fingerprints": {}}'


def test_lines_of_older_logs_are_read():
    assert Record.from_json(LINE) == Record("a", "search", 0, 0.1, {}, 250.0, {}, 1)
    assert Record.from_json(LINE).row == "a" and LINE["rsum"] == 250.0
    assert Record.from_json({**LINE, "selector": "b"}).row == "a+b"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not JSON", "Expecting value"),
        ("\udcff", "utf-8"),
        ("", "Expecting value"),
        ("[1]", "list instead of an object"),
        ("[" * 100_000, "recursion"),
        ("{}", "Field required|Missing required"),
        (json.dumps({**LINE, "other": 1}), "other: Unexpected"),
        (json.dumps({**LINE, "seed": "first"}), "seed: Input should be a valid integer"),
        (json.dumps({**LINE, "role": "train"}), "role: Input should be 'search' or 'test'"),
        (json.dumps({**LINE, "metrics": {"rsum": "high"}}), "metrics.rsum: Input should be a valid number"),
        (json.dumps({**LINE, "params": None}), "params: Input should be a valid dictionary"),
        ('{"config": 3, "fingerprints": {}}', "config is no object"),
        ('{"config": {}}', "fingerprints is no object"),
    ],
)
def test_a_line_that_is_none_of_a_comparison_is_told(tmp_path, line, message):
    path = tmp_path / "c.jsonl"
    path.write_bytes(f"{HEADER}\n{line}\n{HEADER}\n".encode(errors="surrogateescape"))
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"c.jsonl, line 2, is no line of a comparison: .*({message})"):
        Log(path, "comparison", key)
    assert path.read_bytes() == before


def test_a_log_without_a_header_is_of_no_comparison(tmp_path):
    (tmp_path / "c.jsonl").write_text(json.dumps(LINE) + "\n")
    with (
        opened(tmp_path / "c.jsonl", "comparison", key) as log,
        pytest.raises(ValueError, match="does not say"),
    ):
        identify(log, TrainConfig(), {}, {})


def test_differences_are_told_by_name():
    there, here = (
        {"a": 1, "b": {"c": 2, "d": 3}},
        {"a": 1, "b": {"c": 4, "d": 3}, "fingerprints": {"test": 5}},
    )
    assert differences(there, here) == ["c: 2 there, 4 now", "fingerprints: None there, {'test': 5} now"]
    assert differences({"fingerprints": {"test": 6}}, {"fingerprints": {"test": 5}}) == [
        "the data of test: 6 there, 5 now"
    ]
