"""Figures: what they hold, how much they weigh, and whether their words are true of the arrays."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from xmr.analysis import (
    PrecisionRecall,
    ScoreSamples,
    Slice,
    ThresholdCurve,
    TypicalQuery,
    WeightCurve,
    batch_weights,
    score_distributions,
    score_samples,
    typical_negatives,
    typical_query,
    weight_curve,
)
from xmr.core import PairWeights
from xmr.figures.distributions import KINDS, distribution_figure, distribution_words
from xmr.figures.errors import slices_words
from xmr.figures.matrix import (
    difference_figure,
    difference_words,
    matrix_figure,
    matrix_words,
    push_shares,
    shared_span,
)
from xmr.figures.shared import DARK, PAGE, Mark
from xmr.figures.suspects import suspects_figure
from xmr.figures.weights import weight_comparison_figure, weight_comparison_words, weight_figure, weight_words
from xmr.losses import LOSSES
from xmr.words import percent
from xmr.workspace import COLOURS, Style

BUDGET = 100_000
EVEN = TypicalQuery(0.6, 0.4, 0.3, np.linspace(-1, 1, 101))  # its negatives lie everywhere alike
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
    curves, queries = dict.fromkeys(STYLES, curve), dict.fromkeys(STYLES, EVEN)
    payload(weight_comparison_figure(curves, queries, STYLES))
    payload(weight_comparison_figure(curves, queries, STYLES, own=True))
    assert "tenth" in weight_comparison_words({"a": curve}, {"a": EVEN})


def test_words_about_curves_are_true():
    x = np.linspace(-1, 1, 121)
    steep = np.append(np.clip(x, 0, None), 999.0)  # of items that coincide
    curve = WeightCurve(np.append(x, 1.02), steep, -np.append(x, 1.02))
    told = weight_words("steep", curve)
    assert (
        "Towards 1.02 the weight grows without end." in told and "999" not in told and "half as hard" in told
    )
    assert weight_figure(curve).layout.yaxis.range[1] == pytest.approx(1.15 * x.max())
    drawn = weight_curve("contrastive", {}, others=(0.1,))
    assert drawn.negative[-1] == pytest.approx(999) and "without end" in weight_words("contrastive", drawn)
    assert max(weight_figure(drawn).layout.yaxis.range) < 6
    sharp = weight_curve("unified", {"scale": 200.0, "margin": 0.0}, positive=1.0, others=(0.1,))
    assert "without end" not in weight_words("unified", sharp)  # steep, and ending
    step = weight_words("step", WeightCurve(x, (x > 0.4) * 1.0, -x))
    assert "pushes every negative above 0.42 alike (weight 1.00), none below" in step
    slope = weight_words("slope", WeightCurve(x, np.clip(x, 0, None), -x))
    assert "hardest at 1.00 (weight 1.00), half as hard at 0.50 and less than a hundredth below 0.02" in slope
    assert "attracted" in weight_words("odd", WeightCurve(x, x, -x))
    assert "pushes no negative" in weight_words("idle", WeightCurve(x, 0 * x, -x))
    flat = weight_words("flat", WeightCurve(x, 0 * x + 2, -x))
    assert flat == "flat pushes every negative above −1.00 alike (weight 2.00)."


def test_words_about_several_runs_are_true_of_the_negatives_of_each():
    """The scores of each run lie elsewhere: what counts is how many of its own negatives are pushed."""
    x = np.linspace(-1, 1, 121)
    assert (
        weight_comparison_words({"idle": WeightCurve(x, 0 * x, x)}, {"idle": EVEN})
        == "No run pushes a negative of its typical query."
    )
    curve = WeightCurve(x, (x > 0.5) * 1.0, x)  # one and the same loss
    low, high = np.linspace(-1, 0.7, 101), np.linspace(0.4, 1, 101)
    queries = {name: TypicalQuery(0.9, 0.6, 0.2, some) for name, some in (("low", low), ("high", high))}
    words = weight_comparison_words({"low": curve, "high": curve}, queries)
    shares = [np.mean(np.interp(some, x, curve.negative) >= 0.1) for some in (low, high)]
    assert shares[0] < 0.15 and shares[1] > 0.8
    assert words == (
        f"low is the most selective: it pushes {shares[0]:.0%} of its own negatives with at least a tenth of its largest "
        f"push on them; high {shares[1]:.0%}."
    )


def test_a_run_is_drawn_at_its_own_typical_query_and_over_its_own_negatives():
    """Two of four queries: medians of positives 0.5, 0.7, 0.1, 0.3 and of the hardest negatives 0.2, 0.4, 0.0, 0.1."""
    scores = np.array(
        [[0.5, 0.2, 0.1, 0.0], [0.4, 0.7, 0.1, 0.2], [-0.5, 0.0, 0.1, -1.4], [0.1, 0.0, 0.0, 0.3]]
    )
    positives = np.eye(4, dtype=bool)
    query = typical_query(scores, positives, ~positives)
    assert (query.positive, query.hardest) == (pytest.approx(0.4), pytest.approx(0.15))
    assert query.spread == pytest.approx(scores[~positives].std())
    assert query.span == (-2, 1)
    own, shares = query.grid(own=True), query.above()
    assert (own[0], own[-1], shares[0], shares[-1]) == (
        -1.4,
        pytest.approx(0.4, abs=0.2),
        1,
        pytest.approx(1 / 12),
    )
    ordered = np.sort(scores[~positives])
    for at in (0, 30, 90):  # as many score higher as is said, to within one of twelve
        assert np.mean(ordered > own[at]) == pytest.approx(shares[at], abs=1.01 / 12)
    curve = WeightCurve(own, own + 2, own)
    line, mark = weight_comparison_figure({"run0": curve}, {"run0": query}, STYLES, own=True).data
    assert (line.x[0], mark.customdata[0]) == (100, query.hardest)
    assert mark.x[0] == pytest.approx(100 * np.mean(ordered > query.hardest), abs=9)
    assert mark.y[0] == pytest.approx(100 * (query.hardest + 2) / (own[-1] + 2), abs=0.5)
    with pytest.raises(ValueError, match="a positive and a negative"):
        typical_query(scores, positives, 0 * positives > 0)


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
    suspects = f"{percent(pairs.suspected.sum() / (64 * 63), 1)} of the other pairs are suspected; they take {percent(share)} of the push."
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
    assert f"b puts under 1% of its push, a {1 / 64:.0%}" in words
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


def samples_at(match, rival):
    """One query each: a match, a hardest and a random negative at these scores."""
    zero = np.zeros(20, np.int32)
    values = {"positives": np.full(20, match), "hardest": np.full(20, rival), "random": np.full(20, -0.5)}
    spread = {kind: some + np.linspace(0, 1e-3, 20) for kind, some in values.items()}
    places = dict.fromkeys(values, zero)
    return ScoreSamples(spread, places, places, np.zeros(1), np.ones(1))


def test_nobody_is_said_to_keep_matches_above_negatives_who_does_not():
    below = score_distributions({"a-b": samples_at(0.2, 0.4), "c": samples_at(0.1, 0.9)})
    assert all(one.auc_hardest == 0 for one in below.values())
    words = distribution_words(below)
    assert words.startswith(
        "Under no run does an annotated match outscore a hardest negative more often than not"
    )
    assert "a-b" in words  # a name keeps its hyphen
    above = score_distributions({"a": samples_at(0.6, 0.4), "c": samples_at(0.1, 0.9)})
    assert distribution_words(above).startswith(
        "a keeps its matches above the hardest negatives best (AUC 1.00"
    )


def test_densities_have_an_axis_and_hover_says_few_digits(distributions):
    layout = distribution_figure(distributions, STYLES, "score (log-odds)").layout
    assert layout.xaxis.title.text == "score (log-odds)"
    assert layout.xaxis.hoverformat == ".3f"
    assert all(layout[f"yaxis{suffix}"].title.text == "density" for suffix in ("", "2", "3"))
    assert all(layout[f"yaxis{suffix}"].showticklabels is not False for suffix in ("", "2", "3"))


def test_signs_are_signs_and_names_keep_their_hyphens():
    one = Slice("e-mail", 12, -0.25, -0.31, -0.19)
    words = slices_words("kind", [one], ("max-of-hinges", "info-nce"))
    assert "info-nce is 25.0 points below max-of-hinges on “e-mail” (−31.0 … −19.0, 12 queries)" in words
