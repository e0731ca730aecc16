"""What a loss does to a pair of a given score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from xmr.analysis import TypicalQuery, WeightCurve
from xmr.figures.shared import (
    GREEN,
    MUTED,
    ORANGE,
    Mark,
    Styled,
    axis,
    band,
    line_chart,
    mark_scores,
    plain,
    run_line,
    run_mark,
    trace,
)
from xmr.words import fixed, percent, score, significant

EACH_ITS_OWN = (
    "Each curve is of its run's own typical query: a positive and a hardest negative at the medians of its scores in a "
    "batch of 64 pairs, and 31 more negatives spread as its own are; the large mark is the hardest."
)

ENDLESS = 100  # times the largest weight before it, beyond which a last point shoots up


def weight_figure(
    curve: WeightCurve, trained: WeightCurve | None = None, marks: Sequence[Mark] = ()
) -> go.Figure:
    """Weight against similarity for the negative and for the positive; thin lines show the values as trained."""
    traces = []
    x = curve.scores.astype(np.float32)
    low, high = float(curve.scores[0]), float(curve.scores[-1])
    for part, name, colour, dash in (
        ("negative", "a negative", ORANGE, "solid"),
        ("positive", "the positive", GREEN, "dash"),
    ):
        lines = [(curve, name, {"color": colour, "width": 2.5})]
        if trained is not None:
            lines.insert(0, (trained, f"{name}, as trained", {"color": MUTED, "width": 1.5}))
        for one, called, line in lines:
            traces.append(
                trace(
                    "scatter",
                    x=x,
                    y=getattr(one, part).astype(np.float32),
                    mode="lines",
                    line=line | {"dash": dash},
                    name=called,
                    meta={"kind": part},
                    hovertemplate=f"%{{y:.3g}} {called}<extra></extra>",
                )
            )
    return line_chart(
        traces,
        top=60,
        xaxis=axis(
            "similarity of the pair", range=[max(low, -0.5) if low >= -1 else low, high], hoverformat=".3f"
        ),
        yaxis=axis(
            "weight, d loss / d score",
            zeroline=True,
            **_height([curve] if trained is None else [curve, trained]),
        ),
        **mark_scores(marks),
    )


def weight_words(loss: str, curve: WeightCurve) -> str:
    """Where the loss pushes a negative, how steeply, and whether it ever attracts one."""
    weights, x = curve.negative, curve.scores
    endless = _endless(curve)
    top = _largest(curve) if endless else weights.max()
    if not top > 1e-9:
        return f"With these values {loss} pushes no negative, at any similarity."
    first, half, full = (x[int((weights >= share * top).argmax())] for share in (0.01, 0.5, 0.999))
    heavy = f"(weight {significant(float(top))})"
    if full == first:
        text = f"{loss} pushes every negative above {fixed(first, 2)} alike {heavy}"
        text += ", none below." if first > x[0] else "."
    else:
        text = f"{loss} pushes a negative hardest at {fixed(full, 2)} {heavy}"
        text += (
            f", half as hard at {fixed(half, 2)}" if half > x[0] else ", at least half as hard anywhere below"
        )
        text += f" and less than a hundredth below {fixed(first, 2)}." if first > x[0] else "."
    if endless:
        text += f" Towards {fixed(x[-1], 2)} the weight grows without end."
    attracted = x[weights < -0.01 * top]
    if len(attracted):
        low, high = fixed(attracted.min(), 2), fixed(attracted.max(), 2)
        text += f" Negatives from {low} to {high} are attracted instead."
    return text


def weight_comparison_figure(
    curves: Mapping[str, WeightCurve],
    queries: Mapping[str, TypicalQuery],
    styles: Mapping[str, Styled],
    own: bool = False,
    seeds: Mapping[str, Sequence[WeightCurve]] | None = None,
) -> go.Figure:
    """A negative's weight against its similarity, each run for its own typical query and relative to its own largest
    weight; a large mark stands at that query's hardest negative. The band of a run holds the curves of its `seeds`.

    `own`: along the axis is the share of the run's own negatives that score higher, where `curves` are drawn over
    `TypicalQuery.grid(own=True)`; else scores.
    """
    traces, lows = [], []
    for name, curve in curves.items():
        style, query = styles[name], queries[name]
        share = 100 * curve.negative / _largest(curve)
        lows.append(min(float(share.min()), 0.0))
        x = 100 * query.above(len(curve.scores)) if own else curve.scores
        at = float(np.interp(query.hardest, curve.scores, x)) if own else query.hardest
        if many := (seeds or {}).get(name):
            shares = [100 * one.negative / _largest(one) for one in many]
            if not own:
                shares = [np.interp(x, one.scores, y) for one, y in zip(many, shares, strict=True)]
            traces.append(band(x, np.min(shares, 0), np.max(shares, 0), style.colour, legendgroup=name))
        meta = {"kind": "negative", "run": name}
        traces.append(
            trace(
                "scatter",
                x=x.astype(np.float32),
                y=share.astype(np.float32),
                mode="lines+markers",
                line=run_line(style),
                marker={"maxdisplayed": 12, "symbol": style.marker, "size": 7},
                name=plain(name),
                legendgroup=name,
                meta=meta,
                customdata=curve.scores.astype(np.float32),
                hovertemplate=f"%{{y:.0f}}% {plain(name)}<extra></extra>",
            )
        )
        traces.append(
            trace(
                "scatter",
                x=[at],
                y=[float(np.interp(query.hardest, curve.scores, share))],
                mode="markers",
                marker=run_mark(style, 13),
                name=f"{plain(name)}, hardest negative",
                legendgroup=name,
                showlegend=False,
                meta=meta,
                customdata=[query.hardest],
                hovertemplate=f"{plain(name)}: its typical hardest negative, score {score(query.hardest)}<extra></extra>",
            )
        )
    low = min((query.span[0] for query in queries.values()), default=-1.0)
    high = max((query.span[1] for query in queries.values()), default=1.0)
    along = (
        axis("own negatives that score higher, %", type="log", range=[2, -1.7], dtick=1, hoverformat=".3g")
        if own
        else axis("similarity of the negative", range=[-0.5 if low == -1 else low, high], hoverformat=".3f")
    )
    within = {"range": [min(lows, default=0) - 3, 115]} if any(map(_endless, curves.values())) else {}
    return line_chart(
        traces,
        top=60,
        xaxis=along,
        yaxis=axis("weight, % of its largest", zeroline=True, **within),
    )


def weight_comparison_words(curves: Mapping[str, WeightCurve], queries: Mapping[str, TypicalQuery]) -> str:
    """On how many of its own negatives each run pushes; `curves` are drawn over ascending scores."""
    shares = {}
    for name, curve in curves.items():
        weights = np.interp(queries[name].negatives, curve.scores, curve.negative)
        if weights.max() > 1e-9:
            shares[name] = float((weights >= 0.1 * weights.max()).mean())
    if not shares:
        return "No run pushes a negative of its typical query."
    order = sorted(shares, key=shares.__getitem__)
    least, most = order[0], order[-1]
    tenth = "at least a tenth of its largest push on them"
    if len(order) == 1:
        return f"{least} pushes {percent(shares[least])} of its own negatives with {tenth}."
    return (
        f"{least} is the most selective: it pushes {percent(shares[least])} of its own negatives with {tenth}; "
        f"{most} {percent(shares[most])}."
    )


def _largest(curve: WeightCurve) -> float:
    """The largest weight of the negative, but for a last point that shoots up beyond all others."""
    return max(float(np.abs(curve.negative[: -1 if _endless(curve) else None]).max()), 1e-12)


def _endless(curve: WeightCurve) -> bool:
    """Whether the weight of the negative has no end towards the last score, as where it goes by the distance of two items
    that coincide: drawn to its end, all else would be flat."""
    rest = np.abs(curve.negative[:-1])
    return len(rest) > 0 and abs(curve.negative[-1]) > ENDLESS * max(rest.max(), 1e-12) > 1e-9


def _height(curves: Sequence[WeightCurve]) -> dict[str, Any]:
    """The range of the axis of weights where a curve has no end; nothing, which is all of them, elsewhere."""
    if not any(map(_endless, curves)):
        return {}
    lows = [min(one.negative.min(), one.positive.min(), 0) for one in curves]
    return {"range": [1.05 * float(min(lows)), 1.15 * max(map(_largest, curves))]}
