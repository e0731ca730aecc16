"""Figures: what they hold, how much they weigh, and whether their words are true of the arrays."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from xmr.analysis import (
    PrecisionRecall,
    ThresholdCurve,
    WeightCurve,
    batch_weights,
    score_distributions,
    score_samples,
    typical_negatives,
    weight_curve,
)
from xmr.core import PairWeights
from xmr.figures import (
    DARK,
    KINDS,
    PAGE,
    Mark,
    difference_figure,
    difference_words,
    distribution_figure,
    distribution_words,
    matrix_figure,
    matrix_words,
    push_shares,
    shared_span,
    suspects_figure,
    weight_comparison_figure,
    weight_comparison_words,
    weight_figure,
    weight_words,
)
from xmr.losses import LOSSES
from xmr.workspace import COLOURS, Style

BUDGET = 100_000
STYLES = {f"run{i}": Style(colour, "square", "dash") for i, colour in enumerate(COLOURS)}


def unit(x):
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def payload(figure):
    text = figure.to_json()
    assert len(text) < BUDGET, f"{len(text):,} bytes"
    parts = json.loads(text)
    assert "template" not in parts["layout"] or not parts["layout"]["template"]
    return parts


@pytest.fixture(scope="module")
def distributions():
    rng = np.random.default_rng(0)
    visual = unit(rng.normal(size=(200, 16)))
    links = np.repeat(np.arange(200), 2)
    found = {}
    for i, name in enumerate(STYLES):
        text = unit(visual[links] + (0.1 + 0.1 * i) * rng.normal(size=(400, 16)))
        relevant = lambda v, t: np.zeros((len(v), len(t)), np.float32)  # noqa: E731
        found[name] = score_samples(text, visual, links, np.arange(200), relevant)
    return score_distributions(found)


class Near:
    """Evidence of how near texts are, and of nothing else."""

    def __init__(self, near):
        self.near = near

    def of(self, needs, visuals, texts, visual, text):
        return {"text_scores": self.near} if "text_scores" in needs else {}


@pytest.fixture(scope="module")
def pairs():
    rng = np.random.default_rng(1)
    visual = unit(rng.normal(size=(64, 16)))
    text = unit(visual + 0.3 * rng.normal(size=(64, 16)))
    near = torch.eye(64)
    near[3, 9] = 0.9
    return batch_weights(
        visual,
        text,
        np.arange(64),
        np.arange(64),
        "info_nce",
        {},
        evidence=Near(near),
        selector="caption_similarity",
        selector_params={"threshold": 0.8},
    )


def test_six_runs_of_distributions_fit_the_budget_and_share_their_axis(distributions):
    parts = payload(distribution_figure(distributions, STYLES))
    assert {trace.get("xaxis", "x") for trace in parts["data"]} == {"x"}
    labels = [trace["name"] for trace in parts["data"] if trace.get("showlegend")]
    assert labels == [
        KINDS[kind][0] for kind in ("positives", "hardest", "random")
    ]  # no unannotated pairs here
    assert len({trace["line"]["dash"] for trace in parts["data"]}) == 3  # told apart without colour
    assert all("bdata" in trace["y"] for trace in parts["data"])
    shown = " ".join(note["text"] for note in parts["layout"]["annotations"])
    assert all(f"<b>{name}</b>" in shown for name in STYLES)
    words = distribution_words(distributions)
    worst = min(distributions, key=lambda name: distributions[name].auc_hardest)
    assert words.startswith("run0 keeps its matches above")
    assert f"{worst} least" in words


def test_one_run_and_no_run_have_words(distributions):
    alone = distribution_words({"run2": distributions["run2"]})
    assert alone.startswith("run2: an annotated match outscores")
    assert distribution_words({}) == "There are no negatives to compare with."
    payload(distribution_figure({"run2": distributions["run2"]}, STYLES))


@pytest.mark.parametrize("loss", list(LOSSES))
def test_curves_of_every_loss(loss):
    curve = weight_curve(loss, {}, others=typical_negatives(31, 0.4, 0.15))
    figure = weight_figure(curve, curve, [Mark(0.6, "its positive"), Mark(0.4, "hardest other")])
    parts = payload(figure)
    assert len(parts["data"]) == 4
    assert parts["layout"]["xaxis"]["title"]["text"] == "similarity of the pair"
    assert loss in weight_words(loss, curve)
    payload(weight_comparison_figure(dict.fromkeys(STYLES, curve), STYLES))
    assert "tenth" in weight_comparison_words({"a": curve})


def test_words_about_curves_are_true():
    x = np.linspace(-1, 1, 121)
    step = weight_words("step", WeightCurve(x, (x > 0.4) * 1.0, -x))
    assert "pushes every negative above 0.42 alike (weight 1), none below" in step
    slope = weight_words("slope", WeightCurve(x, np.clip(x, 0, None), -x))
    assert "hardest at 1.00 (weight 1), half as hard at 0.50 and less than a hundredth below 0.02" in slope
    assert "attracted" in weight_words("odd", WeightCurve(x, x, -x))
    assert "pushes no negative" in weight_words("idle", WeightCurve(x, 0 * x, -x))
    flat = weight_words("flat", WeightCurve(x, 0 * x + 2, -x))
    assert flat == "flat pushes every negative above -1.00 alike (weight 2)."
    assert (
        weight_comparison_words({"idle": WeightCurve(x, 0 * x, x)})
        == "No run pushes a negative in this setting."
    )
    narrow, wide = WeightCurve(x, (x > 0.9) * 1.0, x), WeightCurve(x, 0 * x + 1, x)
    assert weight_comparison_words({"w": wide, "n": narrow}).startswith("n is the most selective")


@pytest.mark.parametrize("show", ["weights", "scores"])
def test_the_largest_matrix_fits_the_budget_and_diverges_at_zero(pairs, show):
    parts = payload(matrix_figure(pairs, show, "batch"))
    heat = parts["data"][0]
    assert heat["type"] == "heatmap"
    assert heat["zmid"] == 0
    assert heat["zmin"] == -heat["zmax"]
    assert heat["colorscale"][2] == [0.5, PAGE]
    assert parts["layout"]["meta"] == {"cells": [64, 64]}
    assert [trace["name"] for trace in parts["data"][1:]] == ["annotated match", "suspected"]
    assert parts["data"][1]["marker"]["symbol"] != parts["data"][2]["marker"]["symbol"]


def test_ignored_pairs_are_blank_among_weights_and_shown_among_scores(pairs):
    negatives = pairs.negatives.copy()
    negatives[0, 1] = False
    some = PairWeights(pairs.scores, pairs.weights, pairs.positives, negatives, pairs.suspected)
    assert np.isnan(matrix_figure(some, "weights").data[0].z[0, 1])
    assert not np.isnan(matrix_figure(some, "scores").data[0].z).any()


def test_words_about_a_batch_are_true(pairs):
    words = matrix_words(pairs)
    assert words.startswith("All 64 images push captions away")
    pushed = pairs.weights[pairs.negatives].clip(min=0).sum()
    share = pairs.weights[pairs.suspected].sum() / pushed
    suspects = f"{pairs.suspected.sum() / (64 * 63):.1%} of the other pairs are suspected; they take {share:.0%} of the push."
    assert suspects in words
    assert "true" not in words
    matching = np.zeros((64, 64), bool)
    assert "No pair is true but not annotated." in matrix_words(pairs, unannotated=matching)
    matching[0, 5] = True
    figure = matrix_figure(pairs, unannotated=matching)
    assert figure.data[-1].name == "true, not annotated"
    assert (figure.data[-1].x[0], figure.data[-1].y[0]) == (6, 1)
    assert "are true but not annotated; they take" in matrix_words(pairs, unannotated=matching)
    idle = PairWeights(pairs.scores, 0 * pairs.weights, pairs.positives, pairs.negatives, pairs.suspected)
    assert "No negative of this batch is pushed" in matrix_words(idle)
    payload(matrix_figure(idle))


def test_selectors_have_a_line_a_mark_and_the_share_that_guessing_reaches():
    some, none = PrecisionRecall(0.5, 1.0, 4, 2, 9, 0), PrecisionRecall(None, 0.0, 0, 2, 9, 0)
    curve = ThresholdCurve("threshold", [0.1, 0.9], [some, none])
    names = list(STYLES)[:2]
    figure = suspects_figure(dict.fromkeys(names, curve), {names[0]: some, names[1]: none}, STYLES)
    payload(figure)
    line, mark, _, absent = figure.data
    assert list(line.x) == [100]  # the setting that suspects nobody has no precision
    assert list(line.y) == [50]
    assert "threshold 0.1" in line.text[0]
    assert (mark.x[0], mark.y[0]) == (100, 50)
    assert absent.x[0] is None
    assert "suspects nobody" in absent.name
    assert figure.layout.shapes[0].y0 == pytest.approx(100 * 2 / 9)


def test_two_losses_are_compared_by_shares_of_their_push(pairs):
    half = replace(pairs, weights=pairs.weights / 2)
    p, q = push_shares(pairs), push_shares(half)
    for one in (p, q):
        assert one.weights[one.negatives].clip(min=0).sum() == pytest.approx(100, rel=1e-4)
    span = shared_span("weights", p, q)
    assert span == pytest.approx(np.abs(p.weights[p.negatives]).max())
    assert matrix_figure(q, "weights", span=2 * span).data[0].zmax == 2 * span
    gap = difference_figure(p, q, "weights", "batch")
    assert np.abs(gap.data[0].z).max() < 1e-3
    assert gap.layout.meta["cells"] == [64, 64]
    payload(gap)
    words = difference_words(pairs, half, ("whole", "half"))
    assert "100% of their push falls on the same pairs" in words
    assert "differ most" not in words


def test_words_about_two_losses_are_true(pairs):
    """One loss pushes a single pair of each row, the other all pairs of it alike."""
    one = np.zeros((64, 64), np.float32)
    one[np.arange(64), (np.arange(64) + 1) % 64] = 3.0
    one[0, 1], one[0, 2] = 0, 3.0  # here it is the third caption instead of the second
    even = (~np.eye(64, dtype=bool)).astype(np.float32)
    single, flat = (
        PairWeights(pairs.scores, w, pairs.positives, pairs.negatives, pairs.suspected) for w in (one, even)
    )
    true = np.zeros((64, 64), bool)
    true[0, 1:3] = True
    words = difference_words(single, flat, ("a", "b"), "image", true)
    assert "b spreads its push over 63.0 captions an image (in the median), a over 1.0" in words
    assert f"{1 / 63:.0%} of their push falls on the same pairs" in words
    assert f"b puts {2 / (64 * 63):.0%} of its push, a {1 / 64:.0%}" in words
    assert "under 0.1%" in words
    assert "1.6% of a's" in words
    idle = PairWeights(pairs.scores, 0 * one, pairs.positives, pairs.negatives, pairs.suspected)
    assert difference_words(single, idle, ("a", "b")).startswith("b: no negative of this batch is pushed")


def test_names_of_runs_stay_text(distributions):
    evil = "<img src=x onerror=alert(1)>"
    figure = distribution_figure({evil: distributions["run0"]}, {evil: STYLES["run0"]})
    assert "<img" not in figure.to_json()


def test_every_neutral_colour_has_a_dark_one_with_contrast():
    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(a, b):
        high, low = sorted((luminance(a), luminance(b)), reverse=True)
        return (high + 0.05) / (low + 0.05)

    for _, colour, _ in KINDS.values():
        assert contrast(colour, "#f8fafc") >= 3
        assert contrast(DARK[colour], "#0b1120") >= 3
