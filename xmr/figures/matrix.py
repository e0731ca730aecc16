"""What losses do to the pairs of a batch: one heat map, two on the same scale, and their difference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import plotly.graph_objects as go

from xmr.analysis import effective_negatives
from xmr.core import PairWeights
from xmr.figures.shared import (
    BLUE,
    INK,
    LEFT,
    LESS,
    LESS_HALF,
    PAGE,
    PULL,
    PULL_HALF,
    PUSH,
    PUSH_HALF,
    axis,
    line_chart,
    trace,
)
from xmr.registry import a_or_an
from xmr.words import percent

TWO_SIDED = [[0, PULL], [0.25, PULL_HALF], [0.5, PAGE], [0.75, PUSH_HALF], [1, PUSH]]
NUMBERS = {"tickformat": ".2g", "nticks": 5}
DIFFERENCE = [[0, LESS], [0.25, LESS_HALF], [0.5, PAGE], [0.75, PUSH_HALF], [1, PUSH]]


def matrix_figure(
    pairs: PairWeights,
    show: str = "weights",
    revision: str = "",
    kind: str = "image",
    unannotated: np.ndarray | None = None,
    span: float | None = None,
    what: str = "",
) -> go.Figure:
    """A batch as a heat map: `show` is "scores" or "weights"; matches and suspected pairs carry marks, and so do
    the pairs of the mask `unannotated`, which match in truth though nobody annotated them.

    Rows are visuals (called `kind`) and columns captions. Colours diverge at 0. Matches weigh far more than negatives,
    so the colour scale of weights ends at the heaviest negative, else at `span`, and matches saturate. Pairs that the
    loss ignores are blank among weights. `what` names the values, if they are no plain scores or weights.
    """
    values = _values(pairs, show)
    what = what or ("score" if show == "scores" else "weight")
    return _heat_map(values, span or shared_span(show, pairs), what, revision, kind, pairs, unannotated)


def difference_figure(
    first: PairWeights,
    second: PairWeights,
    show: str = "weights",
    revision: str = "",
    kind: str = "image",
    unannotated: np.ndarray | None = None,
    what: str = "B − A",
) -> go.Figure:
    """What `second` gives to each pair more than `first`, as `matrix_figure`; suspects are those of either."""
    a, b = _values(first, show), _values(second, show)
    neither = np.isnan(a) & np.isnan(b)
    values = np.where(neither, np.nan, np.nan_to_num(b) - np.nan_to_num(a)).astype(np.float32)
    judged = first.negatives | second.negatives if show == "weights" else np.ones_like(neither)
    both = replace(first, suspected=first.suspected | second.suspected)
    return _heat_map(values, _span(values, judged), what, revision, kind, both, unannotated, DIFFERENCE)


def push_shares(pairs: PairWeights) -> PairWeights:
    """The same pairs, each weight in per cent of all push on negatives, so that losses of any scale compare."""
    total = _push(pairs).sum()
    return replace(pairs, weights=100 * pairs.weights / total if total > 0 else 0 * pairs.weights)


def shared_span(show: str, *batches: PairWeights) -> float:
    """End of a colour scale for these batches: the heaviest negative of all (or the largest score)."""
    ends = [
        _span(_values(pairs, show), pairs.negatives if show == "weights" else np.ones_like(pairs.negatives))
        for pairs in batches
    ]
    return max(ends)


def matrix_words(pairs: PairWeights, kind: str = "image", unannotated: np.ndarray | None = None) -> str:
    """How many negatives carry the push, and how much of it falls on suspected and on matching pairs."""
    weights = _push(pairs)
    total = float(weights.sum())
    if not total > 0:
        return "No negative of this batch is pushed: every pair is already where the loss wants it."
    effective = effective_negatives(pairs.weights, pairs.negatives)
    active = effective[effective > 0]
    who = "All" if len(active) == len(effective) else f"{len(active)} of"
    text = f"{who} {len(effective)} {kind}s push captions away, the median one effectively {np.median(active):.1f} of them."
    others = int((~pairs.positives).sum())
    for mask, called in ((pairs.suspected, "suspected"), (unannotated, "true but not annotated")):
        if mask is None:
            continue
        count = int(mask.sum())
        if not count:
            text += f" No pair is {called}."
            continue
        share = float(weights[mask].sum()) / total
        text += f" {percent(count / others, 1)} of the other pairs are {called}; they take {percent(share)} of the push."
    return text


def difference_words(
    first: PairWeights,
    second: PairWeights,
    names: tuple[str, str],
    kind: str = "image",
    unannotated: np.ndarray | None = None,
) -> str:
    """On how many negatives each of two losses spends its push, on which both do, and where they differ most."""
    a, b = names
    pushes = [_push(pairs) for pairs in (first, second)]
    idle = [name for name, push in zip(names, pushes, strict=True) if not push.sum() > 0]
    if idle:
        return (
            f"{' and '.join(idle)}: no negative of this batch is pushed, so there are no shares to compare."
        )
    p, q = (push / push.sum() for push in pushes)
    spread = []
    for pairs in (first, second):
        effective = effective_negatives(pairs.weights, pairs.negatives)
        spread.append(float(np.median(effective[effective > 0])))
    text = (
        f"{b} spreads its push over {spread[1]:.1f} captions {a_or_an(kind)} (in the median), {a} over {spread[0]:.1f}; "
        f"{percent(np.minimum(p, q).sum())} of their push falls on the same pairs."
    )
    for mask, called in (
        (unannotated, "pairs that truly match but are not annotated"),
        (first.suspected | second.suspected, "suspected pairs"),
    ):
        if mask is not None and mask.any():
            text += (
                f" On {called} {b} puts {percent(q[mask].sum())} of its push, {a} {percent(p[mask].sum())}."
            )
    gap = q - p
    row, column = np.unravel_index(int(np.abs(gap).argmax()), gap.shape)
    if abs(gap[row, column]) > 1e-6:
        text += (
            f" They differ most on {kind} {row + 1} with caption {column + 1}, which takes {percent(q[row, column], 1)} of "
            f"{b}'s push and {percent(p[row, column], 1)} of {a}'s."
        )
    return text


def _push(pairs: PairWeights) -> np.ndarray:
    return np.where(pairs.negatives, pairs.weights, 0).clip(min=0)


def _values(pairs: PairWeights, show: str) -> np.ndarray:
    values = np.array(getattr(pairs, show), np.float32)
    if show == "weights":
        values[~pairs.positives & ~pairs.negatives] = np.nan
    return values


def _span(values: np.ndarray, judged: np.ndarray) -> float:
    every = np.abs(np.nan_to_num(values))
    return float(every[judged].max(initial=0)) or float(every.max(initial=0)) or 1.0


def _heat_map(
    values: np.ndarray,
    span: float,
    what: str,
    revision: str,
    kind: str,
    pairs: PairWeights,
    unannotated: np.ndarray | None,
    colours: list[list] = TWO_SIDED,
) -> go.Figure:
    rows, columns = values.shape
    traces = [
        trace(
            "heatmap",
            z=values,
            x0=1,
            y0=1,
            zmin=-span,
            zmax=span,
            zmid=0,
            colorscale=colours,
            colorbar={"title": {"text": what, "side": "right"}, "thickness": 10, "outlinewidth": 0} | NUMBERS,
            hoverongaps=True,
            hovertemplate=f"{kind} %{{y}}, caption %{{x}}<br>{what} %{{z:.3g}}<extra></extra>",
        )
    ]
    size = float(np.clip(300 / max(rows, columns, 1), 4, 16))
    none = np.zeros_like(pairs.suspected)
    for mask, label, symbol, colour in (
        (pairs.positives, "annotated match", "square-open", INK),
        (pairs.suspected, "suspected", "diamond-open", INK),
        (none if unannotated is None else unannotated, "true, not annotated", "circle-open", BLUE),
    ):
        y, x = np.nonzero(mask)
        if len(y):
            traces.append(
                trace(
                    "scatter",
                    x=(x + 1).astype(np.int16),
                    y=(y + 1).astype(np.int16),
                    mode="markers",
                    marker={"symbol": symbol, "size": size, "color": colour, "line": {"width": 1.5}},
                    name=label,
                    hoverinfo="skip",
                )
            )
    return line_chart(
        traces,
        height=560,
        xaxis=axis("caption", range=[0.5, columns + 0.5], showgrid=False, constrain="domain"),
        yaxis=axis(kind, range=[rows + 0.5, 0.5], showgrid=False, scaleanchor="x", constrain="domain"),
        hovermode="closest",
        margin={"t": 48, "l": LEFT, "r": 8, "b": 44},
        showlegend=True,
        meta={"cells": [rows, columns]},
        uirevision=revision,
    )
