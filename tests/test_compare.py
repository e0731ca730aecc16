"""The fair comparison: what it tries, what it concludes, what it writes, and that nothing stops it."""

import csv
import io
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
import torch
from scipy import stats

from scripts import compare as script
from tests import tiny, tiny_classes
from xmr.checkpoints import list_runs
from xmr.comparison import (
    Axis,
    Comparison,
    Outcome,
    Record,
    axes,
    chosen,
    compare,
    csv_table,
    grid_csv,
    grid_latex,
    grid_markdown,
    grid_page,
    grid_tables,
    holm,
    html_page,
    interval,
    latex_tables,
    markdown,
    paired,
    points,
    settings,
    shares_by_visual,
)
from xmr.comparison.outcomes import RECALLS, TRUTHS
from xmr.comparison.plot import nice_ticks
from xmr.comparison.tables import at_the_edge, tables, verdicts
from xmr.losses import LOSSES
from xmr.metrics import evaluate, rank_scores
from xmr.registry import Range, Registry

ROOT = Path(__file__).parent.parent
SMALL = [f"--set={name}={value}" for name, value in tiny.SMALL.items()]
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
        tried = settings(entry, 0.001, 9, {})
        assert len(tried) == 9
        assert tried[0].lr == 0.001 and tried[0].params == entry.defaults
        assert [one.lr for one in tried] == [one.lr for one in settings(entries[0], 0.001, 9, {})]
        assert len({one.lr for one in tried}) == 9
        assert all(0.0002 <= one.lr <= 0.005 for one in tried)


def test_a_longer_search_goes_on_with_a_shorter_one():
    longest = settings(OTHER["searched"], 0.001, 33, {})
    for trials in (1, 2, 3, 5, 16, 32):
        assert settings(OTHER["searched"], 0.001, trials, {}) == longest[:trials]


def test_only_declared_parameters_are_searched_and_within_their_intervals():
    assert [axis.name for axis in axes(OTHER["searched"], 0.01, {"scale": 3.0})] == [
        "lr", "margin", "temperature", "count",
    ]  # fmt: skip
    assert {axis.name: axis.log for axis in axes(OTHER["searched"], 0.01, {})} == {
        "lr": True, "margin": False, "temperature": True, "scale": True, "count": False,
    }  # fmt: skip
    tried = settings(OTHER["searched"], 0.001, 65, {"scale": 3.0})
    for one in tried[1:]:
        assert 0.05 <= one.params["margin"] <= 0.5 and 0.02 <= one.params["temperature"] <= 0.2
        assert one.params["count"] in range(1, 6) and isinstance(one.params["count"], int)
        assert one.params["scale"] == 3.0 and one.params["weight"] == 0.5
    # 64 points of a Sobol sequence: exactly half on each side of the middle, the middle being geometric in the log.
    assert sum(one.params["temperature"] < math.sqrt(0.02 * 0.2) for one in tried[1:]) == 32
    assert sum(one.params["margin"] < 0.275 for one in tried[1:]) == 32
    assert sum(one.lr < 0.001 for one in tried[1:]) == 32


def test_what_losses_declare_lies_in_their_ranges():
    for entry in LOSSES.values():
        for param in entry.params:
            if param.range and param.range.search:
                low, high = param.range.search
                assert param.range.low <= low < high <= param.range.high, f"{entry.name} {param.name}"
                assert param.kind in (int, float)


def test_values_on_an_axis():
    assert Axis("x", 0.01, 100, log=True).at(0.5) == 1.0
    assert Axis("x", 0, 10, log=False).at(0.25) == 2.5
    assert Axis("x", 1, 3, log=False).at(1 / 3) == 1.667
    assert Axis("x", 1 / 3, 3, log=False).at(0) == 1 / 3  # never rounded out of the interval
    assert points(0).shape == (0, 16)


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


def slow_holm(p):
    """Adjusted p: the smallest level at which the step-down procedure rejects, tried one level after the other."""
    adjusted = []
    for i in range(len(p)):
        for level in np.arange(0, 1.0005, 0.001):
            rejected, left = set(), list(range(len(p)))
            while left:
                smallest = min(left, key=lambda j: p[j])
                if p[smallest] > level / len(left) + 1e-12:
                    break
                rejected.add(smallest)
                left.remove(smallest)
            if i in rejected:
                adjusted.append(level)
                break
        else:
            adjusted.append(1.0)
    return adjusted


def test_holms_correction_against_its_procedure():
    rng = np.random.default_rng(0)
    for size in (1, 2, 5, 9):
        for _ in range(4):
            p = [round(float(v), 3) for v in rng.uniform(0, 0.3, size)]
            assert holm(p) == pytest.approx(slow_holm(p), abs=1.1e-3)
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
    with_gap = holm([0.01, math.nan, 0.03])
    assert (
        with_gap[0] == pytest.approx(0.03) and math.isnan(with_gap[1]) and with_gap[2] == pytest.approx(0.06)
    )


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
    return Outcome(
        loss,
        search,
        [record(loss, seed=i, rsum=v, true=true and true[i - 1]) for i, v in enumerate(values, 1)],
    )


def several():
    return [
        an_outcome("max_of_hinges", [250, 252, 248, 251, 249], true=[0.30, 0.31, 0.30, 0.31, 0.30]),
        an_outcome("info_nce", [260, 263, 259, 261, 260], true=[0.30, 0.30, 0.31, 0.31, 0.30]),
        an_outcome("soft|margin", [251, 250, 249, 250, 251], true=[0.10, 0.11, 0.12, 0.11, 0.10]),
        an_outcome("broken_one", [], (None, None)),
        an_outcome("half_broken", [200, None, 201, 202, None], (None, 210.0)),
    ]


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
    assert base.mean == 250 and math.isnan(base.p) and not base.significant
    assert best.difference == pytest.approx(10.6)
    raw = {
        "info_nce": stats.ttest_rel([260, 263, 259, 261, 260], [250, 252, 248, 251, 249]).pvalue,
        "soft|margin": stats.ttest_rel([251, 250, 249, 250, 251], [250, 252, 248, 251, 249]).pvalue,
        "half_broken": stats.ttest_rel([200, 201, 202], [250, 248, 251]).pvalue,  # the seeds that both have
    }
    corrected = dict(zip(raw, holm(list(raw.values())), strict=True))
    for loss in raw:
        assert cells[loss]["rsum"].p == pytest.approx(raw[loss])
        assert cells[loss]["rsum"].p_holm == pytest.approx(corrected[loss])
    assert best.significant and not cells["soft|margin"]["rsum"].significant
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
    apart = sum(
        np.subtract(b.by_visual, a.by_visual)
        for a, b in zip(found["a"].tested, found["b"].tested, strict=True)
    )
    sums = [abs(np.dot(signs, apart)) for signs in itertools.product((-1, 1), repeat=8)]
    exact = np.mean([one >= abs(apart.sum()) for one in sums])
    cells = compare([found["a"], found["b"]], "a")
    assert cells["b"]["rsum"].p_visual == pytest.approx(exact) and 0 < exact < 1
    assert math.isnan(cells["a"]["rsum"].p_visual) and math.isnan(cells["b"]["v2t/recall_at_1"].p_visual)
    text = markdown([*found.values()], cells, "a", "", [])
    assert "| p by visual (Holm) |" in text and "other test visuals" in text
    older = [replace(one, tested=[replace(r, by_visual=[]) for r in one.tested]) for one in found.values()]
    assert "by visual" not in markdown(older, compare(older, "a"), "a", "", [])


def test_the_frozen_encoder_has_a_row_without_tests_or_setting():
    frozen = Outcome("zero-shot: tiny", [], [record("zero-shot: tiny", seed=0, rsum=255.0)], frozen=True)
    one = Comparison("linear", several(), [], frozen)
    cells = one.cells("max_of_hinges")
    cell = cells["zero-shot: tiny"]["rsum"]
    assert cell.mean == 255 and math.isnan(cell.half) and math.isnan(cell.p_holm)
    assert list(cells)[:2] == ["info_nce", "zero-shot: tiny"]
    without = compare(several(), "max_of_hinges")
    assert all(cells[loss] == without[loss] for loss in without)  # it takes no part in any correction
    text = markdown(one.rows, cells, "max_of_hinges", "", [])
    row = next(columns(line) for line in text.splitlines() if line.startswith("| zero-shot: tiny "))
    assert row[1] == "255.0" and "the frozen encoder, no training" in row
    (line,) = [
        r
        for r in csv.DictReader(io.StringIO(csv_table(one.rows, cells)))
        if r["loss"] == "zero-shot: tiny" and r["metric"] == "rsum"
    ]
    assert (line["mean"], line["lr"], line["p"]) == ("255.0", "", "")
    assert "zero-shot: tiny" in html_page(one.rows, cells, "max_of_hinges", "", [])
    assert "zero-shot: tiny" in grid_markdown([one], ["max_of_hinges", "info_nce"], "max_of_hinges", "", [])


def test_one_seed_and_one_loss_have_no_tests():
    cells = compare([an_outcome("a", [250]), an_outcome("b", [260])], "a")
    assert math.isnan(cells["b"]["rsum"].half) and math.isnan(cells["b"]["rsum"].p_holm)
    assert verdicts(cells, "a") == []
    alone = compare([an_outcome("a", [250, 251])], "a")
    assert not alone["a"]["rsum"].significant and verdicts(alone, "a") == []


def test_verdicts_count_what_differs():
    cells = compare(several(), "max_of_hinges")
    assert verdicts(cells, "max_of_hinges") == [
        "rsum: 2 of 3 losses differ from max_of_hinges; above it: info_nce; below it: half_broken.",
        "v2t true mAP@R: 1 of 2 losses differs from max_of_hinges; below it: soft|margin.",
        "t2v true mAP@R: 1 of 2 losses differs from max_of_hinges; below it: soft|margin.",
    ]
    same = compare([an_outcome("a", [250, 251]), an_outcome("b", [250, 251])], "a")
    assert verdicts(same, "a") == ["rsum: none of 1 losses differ from a."]


def test_a_search_that_ends_at_its_edge_is_told():
    inner = an_outcome("inner", [250], (240.0, 250.0, 230.0))
    outer = an_outcome("outer", [250], (240.0, 230.0, 250.0))
    assert at_the_edge([inner, outer, an_outcome("one", [250], (240.0,))]) == ["outer"]


# ---- what is written ---------------------------------------------------------------------------------------


def columns(line):
    return [cell.strip() for cell in line.replace(r"\|", "&#124;").strip("|").split("|")]


def test_markdown_tables_are_rectangular_and_ordered():
    outcomes = several()
    text = markdown(outcomes, compare(outcomes, "max_of_hinges"), "max_of_hinges", "Title", ["    command"])
    first, second = (
        [columns(row) for row in part.splitlines()] for part in text.split("\n\n") if part[0] == "|"
    )
    for rows in (first, second):
        assert {len(row) for row in rows} == {len(rows[0])}
        assert [row[0] for row in rows[2:]] == [
            "info_nce", "soft&#124;margin", "max_of_hinges (baseline)", "half_broken", "broken_one",
        ]  # fmt: skip
    by = {row[0]: dict(zip(first[0], row, strict=True)) for row in first[2:]}
    half = stats.t.ppf(0.975, 4) * np.std([260, 263, 259, 261, 260], ddof=1) / math.sqrt(5)
    assert by["info_nce"]["rsum"] == f"260.6 ± {half:.1f} ↑" and by["info_nce"]["Δ rsum"] == "+10.6"
    assert by["half_broken"]["rsum"].endswith("↓") and by["half_broken"]["Δ rsum"].startswith("−")
    assert by["half_broken"]["diverged"] == "1 of 2 trials, 2 of 5 seeds"
    assert by["broken_one"]["setting"] == "none: every trial diverged"
    assert by["info_nce"]["setting"] == "lr 0.002" and by["info_nce"]["diverged"] == ""
    assert text.index("    command") < text.index("| loss") and text.startswith("# Title")


def test_the_setting_names_what_was_searched():
    trials = [
        record("a", "search", 0, r, lr, margin=m, other=1.0)
        for r, lr, m in ((9.0, 0.1, 0.2), (8.0, 0.2, 0.3))
    ]
    outcomes = [Outcome("a", trials, [record("a", margin=0.2, other=1.0)])]
    assert "lr 0.1, margin 0.2 (default)" in markdown(outcomes, compare(outcomes, "a"), "a", "", [])


def test_csv_comes_back():
    outcomes = several()
    cells = compare(outcomes, "max_of_hinges")
    rows = list(csv.DictReader(io.StringIO(csv_table(outcomes, cells))))
    assert {row["loss"] for row in rows} == set(cells)
    for row in rows:
        cell = cells[row["loss"]].get(row["metric"])
        if cell is None:
            assert (
                row["loss"] == "broken_one"
                and row["mean"] == row["lr"] == ""
                and row["diverged_trials"] == "2"
            )
            continue
        assert float(row["mean"]) == cell.mean and float(row["high"]) == cell.mean + cell.half
        assert (row["p_holm"] == "") == math.isnan(cell.p_holm) and json.loads(row["params"]) == {
            "margin": 0.2
        }
        assert None not in row.values() and None not in row
    assert next(row["seeds"] for row in rows if row["loss"] == "half_broken") == "3"


def test_latex_is_escaped_and_rectangular():
    outcomes = several()
    text = latex_tables(outcomes, compare(outcomes, "max_of_hinges"), "max_of_hinges", "python x --set a_b=1")
    assert r"info\_nce" in text and r"$\pm$" in text and r"$\uparrow$" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 2
    for line in text.splitlines():
        if line.startswith("%"):
            continue
        assert "_" not in line.replace(r"\_", "") and line.isascii()
        if line.endswith(r"\\"):
            assert line.count("&") in (11, 10)


def test_the_plot_is_one_page_with_nothing_to_load():
    outcomes = [*several(), an_outcome("<b>", [240, 241, 242])]
    text = html_page(
        outcomes, compare(outcomes, "max_of_hinges"), "max_of_hinges", "A & B", ["    command <x>"]
    )
    assert "<script" not in text and "http" not in text and "url(" not in text and "src=" not in text
    assert "<b>" not in text and "A &amp; B" in text and "command &lt;x&gt;" in text
    drawn = [
        ET.fromstring(part.split("</svg>")[0].join(["<svg", "</svg>"])) for part in text.split("<svg")[1:]
    ]
    assert len(drawn) == 3  # rsum and the truth in both directions
    rsum = drawn[0]
    assert len(rsum.findall("g")) == 5  # none for the loss without a result
    by = {group.find("text").text: group for group in rsum.findall("g")}
    assert len(by["info_nce"].findall("circle[@class='seed']")) == 5
    assert len(by["half_broken"].findall("circle[@class='seed']")) == 3
    assert by["info_nce"].get("class") == "differs" and by["soft|margin"].get("class") == "same"
    _, _, width, height = map(float, rsum.get("viewBox").split())
    for mark in rsum.iter():
        for name, end in (
            ("cx", width),
            ("x1", width),
            ("x2", width),
            ("x", width),
            ("cy", height),
            ("y", height),
        ):
            assert 0 <= float(mark.get(name, 0)) <= end
    # One place on the axis is one value: x is affine in the mean.
    x = {
        name: float(group.find("line").get("x1")) + float(group.find("line").get("x2"))
        for name, group in by.items()
    }
    share = (x["max_of_hinges"] - x["half_broken"]) / (x["info_nce"] - x["half_broken"])
    assert share == pytest.approx((250 - 201) / (260.6 - 201), abs=2e-3)


def test_a_plot_without_results_says_so():
    assert "No training succeeded" in html_page([several()[3]], {"broken_one": {}}, "broken_one", "", [])


@pytest.mark.parametrize(("low", "high"), [(0, 1), (271.3, 275.9), (-3, 0.002), (5, 5), (99.98, 100)])
def test_ticks_are_round_and_reach_around(low, high):
    ticks, decimals = nice_ticks(low, high)
    assert ticks[0] <= low and ticks[-1] >= high and 2 <= len(ticks) <= 9
    steps = np.diff(ticks)
    assert steps == pytest.approx(steps[0])
    assert [float(f"{tick:.{decimals}f}") for tick in ticks] == pytest.approx(ticks)


# ---- several matchers --------------------------------------------------------------------------------------


def grid():
    """Two matchers, of which the second has no result of the baseline and one loss that diverged."""
    first = [several()[0], several()[1], an_outcome("max_of_hinges+word_overlap", [255, 256, 257, 258, 259])]
    second = [
        an_outcome("info_nce", [300, 301, 302, 303, 304]),
        Outcome("max_of_hinges+word_overlap", [], []),
    ]
    return [Comparison("linear", first, ["how"]), Comparison("graph", second, ["how else", "why not"])]


ROWS = ["max_of_hinges", "info_nce", "max_of_hinges+word_overlap"]


def test_the_grid_has_the_cells_of_each_matchers_own_comparison():
    comparisons = grid()
    made = grid_tables(comparisons, ROWS, "max_of_hinges")
    assert [rows[0][0] for rows in made] == [
        "rsum", "v2t R@1", "t2v R@1", *(f"{d} true {m}" for m in ("mAP@R", "nDCG", "xinfAP") for d in ("v2t", "t2v")),
    ]  # fmt: skip
    for rows in made:
        assert [row[0] for row in rows[1:]] == ["linear", "graph"] and {len(row) for row in rows} == {4}
        assert rows[0][1:] == ["max_of_hinges (baseline)", "info_nce", "max_of_hinges+word_overlap"]
        assert rows[2][1] == "" and rows[2][3] == "diverged"
    own = compare(comparisons[0].outcomes, "max_of_hinges")
    p = [
        stats.ttest_rel(values, [250, 252, 248, 251, 249]).pvalue
        for values in ([260, 263, 259, 261, 260], [255, 256, 257, 258, 259])
    ]
    assert [own[name]["rsum"].p_holm for name in ROWS[1:]] == pytest.approx(
        holm(p)
    )  # two losses, not three or four
    half = stats.t.ppf(0.975, 4) * np.std([260, 263, 259, 261, 260], ddof=1) / math.sqrt(5)
    assert made[0][1][2] == f"260.6 ± {half:.1f} ↑" and made[0][1][1] == "250.0 ± 2.0"
    assert "↑" not in made[0][2][2] and made[0][2][2].startswith("302.0 ±")  # nothing to compare it with
    assert made[1][1][2].startswith(f"{260.6 / 6:.1f} ±")


def test_the_grids_report_in_all_forms():
    comparisons = grid()
    text = grid_markdown(comparisons, ROWS, "max_of_hinges", "Title", ["    command"])
    assert text.startswith("# Title\n\n    command\n\n| rsum |") and text.count("\n# ") == 0
    assert text.index("| rsum |") < text.index("## linear") < text.index("how") < text.index("## graph")
    assert text.index("why not") > text.index("## graph")
    rows = list(csv.DictReader(io.StringIO(grid_csv(comparisons, "max_of_hinges"))))
    assert list(rows[0])[:3] == ["matcher", "loss", "metric"]
    mean = {(row["matcher"], row["loss"]): row["mean"] for row in rows if row["metric"] == "rsum"}
    assert mean["linear", "info_nce"] == "260.6" and mean["graph", "info_nce"] == "302.0"
    assert mean["graph", "max_of_hinges+word_overlap"] == "" and ("graph", "max_of_hinges") not in mean
    tex = grid_latex(comparisons, ROWS, "max_of_hinges", "python x")
    made = len(grid_tables(comparisons, ROWS, "max_of_hinges"))
    assert tex.count(r"\begin{tabular}") == tex.count(r"\end{tabular}") == made + 3  # truth in the first only
    assert all(line.isascii() for line in tex.splitlines())
    page = grid_page(comparisons, "max_of_hinges", "A", [])
    assert page.index("<h2>linear</h2>") < page.index("<h2>graph</h2>") and page.count("<svg") == 4


def test_class_labels_are_reported_by_mean_average_precision():
    def one(loss, low):
        metrics = [
            {"rsum": 500.0 - low, "v2t/recall_at_1": 0.5, "t2v/recall_at_1": 0.25, "v2t/map": low + 0.01 * seed,
             "t2v/map": low + 0.2, "v2t/map_at_50": 0.7, "t2v/map_at_50": 0.6}
            for seed in (1, 2, 3)
        ]  # fmt: skip
        tested = [replace(record(loss, seed=i), metrics=m, figure="mAP") for i, m in enumerate(metrics, 1)]
        return Outcome(loss, [replace(record(loss, "search", 0), figure="mAP")], tested)

    outcomes = [one("a", 0.3), one("b", 0.4)]
    cells = compare(outcomes, "a")
    assert list(cells) == ["b", "a"]  # by mAP: by rsum it would be the other way
    assert cells["b"]["map"].mean == pytest.approx(100 * (0.42 + 0.6) / 2)
    (table,) = tables(outcomes, cells, "a")
    assert table[0][:4] == ["loss", "mAP", "Δ mAP", "p (Holm)"] and "v2t R@5" not in table[0]
    assert table[0][4:-1] == [f"{d} {title}" for d in ("v2t", "t2v") for title in ("R@1", "mAP", "mAP@50")]
    assert dict(zip(table[0], table[1], strict=True))["v2t mAP"].startswith("42.0 ±")
    assert verdicts(cells, "a")[0].startswith("mAP: 1 of 1 losses differs from a")
    assert "validation_map" in csv_table(outcomes, cells).splitlines()[0]
    assert [rows[0][0] for rows in grid_tables([Comparison("linear", outcomes, [])], ["a", "b"], "a")] == [
        "mAP", "v2t R@1", "v2t mAP", "v2t mAP@50", "t2v R@1", "t2v mAP", "t2v mAP@50",
    ]  # fmt: skip


def test_lines_of_older_logs_are_read():
    old = {
        "loss": "a",
        "role": "search",
        "seed": 0,
        "lr": 0.1,
        "params": {},
        "rsum": 250.0,
        "metrics": {},
        "seconds": 1,
    }
    assert Record.from_json(old) == Record("a", "search", 0, 0.1, {}, 250.0, {}, 1)
    assert Record.from_json(old).row == "a" and old["rsum"] == 250.0
    with pytest.raises(TypeError):
        Record.from_json(old | {"other": 1})


# ---- the script --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.write_folder(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XMR_CACHE", str(tmp_path_factory.mktemp("cache")))


def command(data, out, *more, loss="info_nce max_of_hinges", trials=2, seeds=2):
    return ["--dataset", str(data), "--loss", *loss.split(), "--out", str(out), "--epochs", "1", "--batch-size", "32",
            "--lr", "0.02", "--trials", str(trials), "--seeds", str(seeds), *SMALL, *more]  # fmt: skip


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def untimed(path):
    """What the log holds, without what no two runs share, in the order of trainings."""
    return [
        {key: value for key, value in line.items() if key not in ("seconds", "threads")}
        for line in lines(path)
    ]


def test_a_comparison_from_end_to_end(data, tmp_path, capsys):
    out = tmp_path / "below" / "table.md"
    assert script.main(command(data, out)) == 0
    captured = capsys.readouterr()
    assert sorted(path.name for path in out.parent.iterdir()) == [
        "table.csv", "table.html", "table.jsonl", "table.md", "table.tex",
    ]  # fmt: skip
    header, *records = lines(out.with_suffix(".jsonl"))
    assert header["config"]["epochs"] == 1 and set(header["fingerprints"]) == {"train", "validation", "test"}
    for loss in ("info_nce", "max_of_hinges"):
        own = [Record(**one) for one in records if one["loss"] == loss]
        search, tests = own[:2], own[2:]
        assert [(one.role, one.seed) for one in own] == [
            ("search", 0),
            ("search", 0),
            ("test", 1),
            ("test", 2),
        ]
        assert [one.setting for one in search] == settings(LOSSES[loss], 0.02, 2, {})
        assert all(one.setting == chosen(search).setting and one.metrics["rsum"] > 0 for one in tests)
        assert all(one.metrics == {} for one in search), "a search must not look at the test split"
    text = out.read_text()
    assert "python scripts/compare.py --dataset" in text and "8 trainings took 1 min in all" in text
    assert "Test split: 24 visuals × 48 texts" in text and "The intervals below are over seeds." in text
    assert "No zero-shot row: the features of" in text and "p by visual (Holm)" in text
    assert "differ from max_of_hinges" in text and "seeds 1 … 2" in text
    told = captured.err.splitlines()
    assert len([line for line in told if "validation rsum" in line]) == 8
    assert told[3].startswith("info_nce  trial 1/2  lr 0.02: validation rsum ")  # after a line for each split


def test_what_is_kept_can_be_opened_and_is_what_was_compared(data, tmp_path, capsys):
    out = tmp_path / "c.md"
    assert script.main(command(data, out, seeds=2)) == 0
    told = capsys.readouterr().out.splitlines()[-1]
    assert told.startswith("to open the trained runs, keep them: python scripts/compare.py --dataset ")
    assert told.endswith(" --keep best") and not (tmp_path / "c.runs").exists()
    tested = [Record(**one) for one in lines(tmp_path / "c.jsonl")[1:] if one["role"] == "test"]
    assert script.main(command(data, out, "--keep", "best")) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"python app.py --checkpoints {tmp_path / 'c.runs'}"
    runs, faults = list_runs(tmp_path / "c.runs")
    assert [run.name for run in runs] == ["info_nce", "max_of_hinges"] and not faults
    for run in runs:
        best = max((one for one in tested if one.loss == run.name), key=lambda one: one.score)
        assert run.config.seed == best.seed and run.metrics["test"] == best.metrics
        assert run.config.lr == best.lr and run.config.loss_params == best.params
    assert len(lines(tmp_path / "c.jsonl")) == 9  # nothing was tried anew
    assert script.main(command(data, out, "--keep", "all")) == 0
    kept = {run.name: run for run in list_runs(tmp_path / "c.runs")[0] if "seed" in run.name}
    assert {name: run.metrics["test"] for name, run in kept.items()} == {
        f"{one.loss}-seed{one.seed}": one.metrics for one in tested
    }
    fresh = tmp_path / "d.md"
    assert script.main(command(data, fresh, "--keep", "all", seeds=1)) == 0  # trained once, with its folder
    assert [run.name for run in list_runs(tmp_path / "d.runs")[0]] == [
        "info_nce-seed1",
        "max_of_hinges-seed1",
    ]


def test_a_record_is_what_training_gives(data, tmp_path):
    out = tmp_path / "c"
    assert script.main(command(data, out, loss="info_nce", trials=1, seeds=1)) == 0
    _, search, test = lines(tmp_path / "c.jsonl")
    for line, seed in ((search, 0), (test, 1)):
        steps, trained = tiny.fit(tiny.config(dataset=str(data), epochs=1, seed=seed), load=None)
        assert line["score"] == pytest.approx(trained.metrics["validation"]["rsum"])
        assert line["epoch"] == trained.training["best_epoch"]
    assert test["metrics"] == pytest.approx(trained.metrics["test"])


def test_more_losses_trials_and_seeds_train_what_is_missing(data, tmp_path, monkeypatch):
    out = tmp_path / "c.md"
    made = []
    real = script.trained
    monkeypatch.setattr(
        script,
        "trained",
        lambda config, role, *rest: made.append((config.loss, role)) or real(config, role, *rest),
    )
    assert script.main(command(data, out)) == 0
    assert len(made) == 8
    before = out.read_text()
    made.clear()
    assert script.main(command(data, out)) == 0
    assert made == [] and out.read_text() == before
    assert script.main(command(data, out, seeds=3)) == 0
    assert made == [("info_nce", "test"), ("max_of_hinges", "test")]
    made.clear()
    assert script.main(command(data, out, seeds=3, loss="siglip info_nce max_of_hinges")) == 0
    assert made == [("siglip", "search")] * 2 + [("siglip", "test")] * 3
    made.clear()
    assert script.main(command(data, out, trials=3, seeds=1, loss="info_nce")) == 0
    assert made[0] == ("info_nce", "search") and made[1:] in ([], [("info_nce", "test")])


def test_another_comparison_is_refused_with_what_differs(data, tmp_path, capsys):
    out = tmp_path / "c.md"
    assert script.main(command(data, out, loss="info_nce", trials=1, seeds=1)) == 0
    before = (tmp_path / "c.jsonl").read_bytes()
    for more, message in (
        (["--epochs", "3"], "epochs: 1 there, 3 now"),
        (["--weight-decay", "0.5"], "weight_decay: 0.0001 there, 0.5 now"),
        (["--set", "temperature=0.2"], "temperature: None there, 0.2 now"),
        (["--seed", "5"], "seed: 0 there, 5 now"),
    ):
        assert script.main(command(data, out, *more, loss="info_nce", trials=1, seeds=1)) == 2
        captured = capsys.readouterr()
        assert message in captured.err and "choose another --out" in captured.err
    other = tiny.write_folder(tmp_path / "other")
    (other / "captions.csv").write_text((other / "captions.csv").read_text().replace("red", "green"))
    assert script.main(command(other, out, loss="info_nce", trials=1, seeds=1)) == 2
    assert "the data of test" in capsys.readouterr().err
    assert (tmp_path / "c.jsonl").read_bytes() == before


def test_a_field_that_training_got_later_is_no_difference(data, tmp_path):
    out = tmp_path / "c.md"
    arguments = command(data, out, loss="info_nce", trials=1, seeds=1)
    assert script.main(arguments) == 0
    log = tmp_path / "c.jsonl"
    header, *rest = lines(log)
    del header["config"]["patience"]
    log.write_text("\n".join(json.dumps(line) for line in (header, *rest)) + "\n")
    assert script.main(arguments) == 0


def test_joined_logs_are_one_comparison(data, tmp_path, monkeypatch):
    for loss in ("info_nce", "siglip"):
        assert script.main(command(data, tmp_path / f"{loss}.md", loss=loss)) == 0
    joined = tmp_path / "all.jsonl"
    joined.write_bytes((tmp_path / "info_nce.jsonl").read_bytes() + (tmp_path / "siglip.jsonl").read_bytes())
    monkeypatch.setattr(script, "trained", lambda *_: pytest.fail("nothing is missing"))
    assert script.main(command(data, joined, loss="info_nce siglip")) == 0
    assert "| siglip" in (tmp_path / "all.md").read_text()


def test_a_killed_comparison_loses_one_training_at_most(data, tmp_path):
    whole, killed = tmp_path / "whole.md", tmp_path / "killed.md"
    assert script.main(command(data, whole)) == 0
    log = killed.with_suffix(".jsonl")
    process = subprocess.Popen(
        [sys.executable, "scripts/compare.py", *command(data, killed)], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    until = time.monotonic() + 120
    while not (log.exists() and log.read_bytes().count(b"\n") >= 4):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = log.read_bytes()
    assert 4 <= done.count(b"\n") <= 9
    log.write_bytes(
        done[: done.rfind(b"\n") + 1] + b'{"loss": "info_nce", "role": "sea'
    )  # as if killed in a write
    assert script.main(command(data, killed)) == 0
    assert log.read_bytes().startswith(done[: done.rfind(b"\n") + 1])
    assert untimed(log) == untimed(whole.with_suffix(".jsonl"))


@pytest.fixture
def bad(monkeypatch):
    """Makes a loss what a function of its value (Q,) says."""

    def change(name, how):
        real = LOSSES[name]
        monkeypatch.setitem(
            LOSSES, name, replace(real, make=lambda pairs, **hyper: how(real.make(pairs, **hyper), hyper))
        )

    return change


def test_diverged_trainings_are_counted_and_stop_nothing(data, tmp_path, bad):
    bad("max_of_hinges", lambda value, _: value * math.nan)
    default = LOSSES["info_nce"].defaults["temperature"]
    search = settings(LOSSES["info_nce"], 0.02, 2, {})
    assert search[1].params["temperature"] != default  # else the next line would break both trials
    bad(
        "info_nce",
        lambda value, hyper: (
            value
            * (math.nan if abs(float(torch.as_tensor(hyper["temperature"]).detach()) - default) < 1e-6 else 1)
        ),
    )
    out = tmp_path / "c.md"
    assert script.main(command(data, out)) == 0
    records = lines(tmp_path / "c.jsonl")[1:]
    assert [(one["loss"], one["role"], one["score"] is None) for one in records] == [
        ("info_nce", "search", True), ("info_nce", "search", False), *[("info_nce", "test", False)] * 2,
        *[("max_of_hinges", "search", True)] * 2,
    ]  # fmt: skip
    assert records[0]["diverged"] == "info_nce became nan at step 1"
    text = out.read_text()
    assert "none: every trial diverged" in text and "1 of 2 trials" in text and "2 of 2 trials" in text
    assert script.main(command(data, out)) == 0
    assert len(lines(tmp_path / "c.jsonl")) == 7


def test_a_loss_that_does_not_fit_is_told_and_the_rest_goes_on(data, tmp_path, bad, capsys):
    def refuse(value, hyper):
        raise ValueError("this needs what there is not")

    bad("max_of_hinges", refuse)
    out = tmp_path / "c.md"
    assert script.main(command(data, out, loss="max_of_hinges info_nce")) == 1
    assert "error: max_of_hinges: this needs what there is not" in capsys.readouterr().err
    assert "max_of_hinges could not be compared: this needs what there is not." in out.read_text()
    assert script.main(command(data, tmp_path / "d.md", loss="max_of_hinges")) == 2
    assert not (tmp_path / "d.md").exists()


MATCHERS_ASKED = ["--matcher", "linear", "graph", "cross_attention"]


def test_several_matchers_are_a_grid_and_go_on_where_they_stopped(data, tmp_path, monkeypatch, capsys):
    out = tmp_path / "g.md"
    made = []
    real = script.trained

    def trained(config, *rest):
        made.append((config.matcher, config.loss, config.selector, config.selector_params))
        return real(config, *rest)

    monkeypatch.setattr(script, "trained", trained)
    rows = "info_nce max_of_hinges max_of_hinges+word_overlap"
    more = [*MATCHERS_ASKED, "--set", "linear.text=words_gru", "--set", "cross_attention.text=words"]
    assert script.main(command(data, out, *more, loss=rows)) == 0
    assert len(made) == 3 * 3 * 4
    assert {one[0] for one in made[:12]} == {"linear"} and {one[0] for one in made[24:]} == {
        "cross_attention"
    }
    assert [one[2] for one in made[:12]] == [""] * 8 + ["word_overlap"] * 4
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "g-cross_attention.jsonl", "g-graph.jsonl", "g-linear.jsonl", "g.csv", "g.html", "g.md", "g.tex",
    ]  # fmt: skip
    params = {m: lines(tmp_path / f"g-{m}.jsonl")[0]["config"]["matcher_params"] for m in MATCHERS_ASKED[1:]}
    assert params["linear"] == tiny.SMALL | {"text": "words_gru"}  # channels are linear's alone
    assert params["graph"] == {key: value for key, value in tiny.SMALL.items() if key != "channels"}
    assert params["cross_attention"] == params["graph"] | {"text": "words"}
    assert "linear  info_nce  trial 1/2  lr 0.02: validation rsum " in capsys.readouterr().err
    text = out.read_text()
    assert text.startswith("# 3 matchers × 3 losses on tiny")
    for matcher in MATCHERS_ASKED[1:]:  # the first table shows what the logs hold
        row = next(columns(line) for line in text.splitlines() if line.startswith(f"| {matcher} |"))
        tested = [one for one in lines(tmp_path / f"g-{matcher}.jsonl")[1:] if one["role"] == "test"]
        for cell, place in zip(row[1:], range(0, 6, 2), strict=True):
            mean = np.mean([one["metrics"]["rsum"] for one in tested[place : place + 2]])
            assert cell.split()[0] == f"{mean:.1f}"
    before = text
    made.clear()
    assert script.main(command(data, out, *more, loss=rows)) == 0
    assert made == [] and out.read_text() == before
    (tmp_path / "g-graph.jsonl").unlink()
    assert script.main(command(data, out, *more, loss=rows)) == 0
    assert {one[0] for one in made} == {"graph"} and len(made) == 12


def test_a_row_of_a_loss_with_its_selector_is_its_own(data, tmp_path):
    shared = ["--selector", "caption_similarity", "--set", "threshold=0.4"]
    rows = "max_of_hinges+word_overlap max_of_hinges"
    assert script.main(command(data, tmp_path / "c.md", *shared, loss=rows, trials=1, seeds=1)) == 0
    header, *records = lines(tmp_path / "c.jsonl")
    assert (header["config"]["selector"], header["config"]["selector_params"]) == (
        "caption_similarity", {"threshold": 0.4},
    )  # fmt: skip
    assert [(one["loss"], one["selector"]) for one in records] == [
        ("max_of_hinges", "word_overlap"), ("max_of_hinges", "word_overlap"), *[("max_of_hinges", "")] * 2,
    ]  # fmt: skip
    for line, selector, params in (
        (records[0], "word_overlap", {}),
        (records[2], "caption_similarity", {"threshold": 0.4}),
    ):
        settings_ = tiny.config(
            dataset=str(data), loss="max_of_hinges", epochs=1, selector=selector, selector_params=params
        )
        _, trained = tiny.fit(settings_, load=None)
        assert line["score"] == pytest.approx(trained.metrics["validation"]["rsum"])
    # A comparison of one of them goes on from the same log.
    before = (tmp_path / "c.jsonl").read_bytes()
    assert (
        script.main(command(data, tmp_path / "c.md", *shared, loss="max_of_hinges", trials=1, seeds=1)) == 0
    )
    assert (tmp_path / "c.jsonl").read_bytes() == before


def test_an_older_log_is_gone_on_with(data, tmp_path, monkeypatch):
    out = tmp_path / "c.md"
    assert script.main(command(data, out)) == 0
    before, log = out.read_text(), tmp_path / "c.jsonl"
    header, *records = lines(log)
    for one in records:
        one["rsum"] = one.pop("score")
        del one["selector"], one["figure"]
    log.write_text("".join(json.dumps(line) + "\n" for line in (header, *records)))
    monkeypatch.setattr(script, "trained", lambda *_: pytest.fail("nothing is missing"))
    assert script.main(command(data, out)) == 0
    assert out.read_text() == before


def test_a_cell_that_does_not_go_with_the_data_stays_empty(data, tmp_path, monkeypatch, capsys):
    real = script.trained

    def trained(config, *rest):
        if config.matcher == "graph" and config.loss == "info_nce":
            raise ValueError("graph and info_nce do not go together")
        return real(config, *rest)

    monkeypatch.setattr(script, "trained", trained)
    out = tmp_path / "g.md"
    assert script.main(command(data, out, "--matcher", "linear", "graph", trials=1, seeds=1)) == 1
    assert "error: graph, info_nce: graph and info_nce do not go together" in capsys.readouterr().err
    text = out.read_text()
    graph = next(columns(line) for line in text.splitlines() if line.startswith("| graph |"))
    linear = next(columns(line) for line in text.splitlines() if line.startswith("| linear |"))
    assert graph[1] == "" and float(graph[2]) > 0 and float(linear[1]) > 0
    assert "info_nce could not be compared: graph and info_nce do not go together." in text


def test_class_labels_are_selected_by_mean_average_precision(tmp_path, capsys):
    folder = tiny_classes.write_folder(tmp_path / "labelled")
    arguments = ["--dataset", str(folder), "--loss", "info_nce", "max_of_hinges", "--epochs", "2", "--batch-size",
                 "32", "--trials", "2", "--seeds", "2", "--set=embed_dim=16", "--out", str(tmp_path / "c.md")]  # fmt: skip
    assert script.main(arguments) == 0
    assert "validation mAP " in capsys.readouterr().err
    records = [Record.from_json(line) for line in lines(tmp_path / "c.jsonl")[1:]]
    assert {one.figure for one in records} == {"mAP"} and all(0 < one.score <= 100 for one in records)
    text = (tmp_path / "c.md").read_text()
    assert "chosen by validation mAP" in text and "| loss | mAP | Δ mAP |" in text and "rsum" not in text


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--loss", "max_of_hinges+word_overlp"], "did you mean 'word_overlap'"),
        (["--loss", "max_of_hinge+word_overlap"], "did you mean 'max_of_hinges'"),
        (["--loss", "max_of_hinges+"], "unknown selector ''"),
        (["--loss", "max_of_hinges+word_overlap", "--baseline", "max_of_hinges"], "unknown baseline"),
        ([*MATCHERS_ASKED, "--set", "embed_dimm=3"], "did you mean 'embed_dim'"),
        ([*MATCHERS_ASKED, "--set", "text=words"], "linear: unknown value of text 'words'"),
        ([*MATCHERS_ASKED, "--set", "graph.sharpness=3"], "unknown parameter 'sharpness'"),
        (["--matcher", "linear", "grph"], "did you mean 'graph'"),
        (["--trials", "-1"], "--trials must be at least 0"),
        (["--seeds", "0"], "--seeds must be at least 1"),
        (["--threads", "-1"], "--threads must be at least 0"),
        (["--baseline", "siglip"], "unknown baseline 'siglip'"),
        (["--loss", "info_nse"], "did you mean 'info_nce'"),
        (["--set", "temprature=1"], "did you mean 'temperature'"),
        (["--matcher", "liner"], "did you mean 'linear'"),
        (["--dataset", "/nowhere/at/all"], "no such folder"),
        (["--epochs", "0"], "epochs must be at least 1"),
        (["--encoder", "ViT-B-32/openai"], "no pictures"),
    ],
)
def test_what_people_get_wrong_is_told_in_a_line(data, tmp_path, capsys, more, message):
    assert script.main(command(data, tmp_path / "c.md", *more)) == 2
    captured = capsys.readouterr()
    told = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert len(told) == 1 and message in captured.err and "Traceback" not in captured.err
    assert not list(tmp_path.glob("*.md"))


def test_broken_logs_and_places_are_told(data, tmp_path, capsys):
    (tmp_path / "c.jsonl").write_text('{"config": {}, "fingerprints": {}}\nnot JSON\n')
    assert script.main(command(data, tmp_path / "c.md")) == 2
    assert "line 2, is no line of a comparison" in capsys.readouterr().err
    (tmp_path / "file").write_text("in the way")
    assert script.main(command(data, tmp_path / "file" / "c.md")) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_two_at_once_are_refused(data, tmp_path, capsys):
    with script.opened(tmp_path / "c.jsonl"):
        assert script.main(command(data, tmp_path / "c.md")) == 2
    assert f"is being written by process {os.getpid()} on " in capsys.readouterr().err


def test_pooled_features_are_averaged_once(data, tmp_path, monkeypatch):
    """Regions of a large set are read once, not for every training."""
    frames = {split: np.stack([part.visual_features] * 3, 1) for split, part in
              ((split, tiny.dataset(split)) for split in ("train", "validation", "test"))}  # fmt: skip
    monkeypatch.setattr(
        "scripts.command.load_dataset",
        lambda _, split, **__: tiny.dataset(split, visual_features=frames[split]),
    )
    found = script.load(tiny.config(), lambda *_: None)
    for split, part in found.items():
        np.testing.assert_allclose(part.visual_features, tiny.dataset(split).visual_features, rtol=1e-6)


def test_help_says_what_is_done(capsys):
    with pytest.raises(SystemExit) as stop:
        script.main(["--help"])
    told = capsys.readouterr().out
    assert stop.value.code == 0 and "--trials" in told and "max_of_hinges" in told


def test_without_a_search_every_loss_stays_at_its_defaults(data, tmp_path, monkeypatch):
    out = tmp_path / "plain.md"
    assert script.main(command(data, out, loss="info_nce max_of_hinges", trials=0, seeds=2)) == 0
    lines = [json.loads(line) for line in (tmp_path / "plain.jsonl").read_text().splitlines()[1:]]
    assert [line["role"] for line in lines] == ["test"] * 4 and {line["lr"] for line in lines} == {0.02}
    assert "No search" in out.read_text() and "(default)" in out.read_text()
