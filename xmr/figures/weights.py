"""What a loss does to a pair of a given score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from xmr.analysis import WeightCurve
from xmr.figures.shared import (
    GREEN,
    LEFT,
    MUTED,
    ORANGE,
    Mark,
    Styled,
    axis,
    figure_of,
    legend,
    mark_scores,
    plain,
    trace,
)


def weight_figure(
    curve: WeightCurve, trained: WeightCurve | None = None, marks: Sequence[Mark] = ()
) -> go.Figure:
    """Weight against similarity for the negative and for the positive; thin lines show the values as trained."""
    traces = []
    x = curve.scores.astype(np.float32)
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
    return figure_of(
        traces,
        height=340,
        xaxis=axis("similarity of the pair", range=[-0.5, 1]),
        yaxis=axis("weight, d loss / d score", zeroline=True),
        hovermode="x unified",
        legend=legend(),
        margin={"t": 60, "l": LEFT, "r": 12, "b": 44},
        **mark_scores(marks),
    )


def weight_words(loss: str, curve: WeightCurve) -> str:
    """Where the loss pushes a negative, how steeply, and whether it ever attracts one."""
    weights, x = curve.negative, curve.scores
    top = weights.max()
    if not top > 1e-9:
        return f"With these values {loss} pushes no negative, at any similarity."
    first, half, full = (x[int((weights >= share * top).argmax())] for share in (0.01, 0.5, 0.999))
    if full == first:
        text = f"{loss} pushes every negative above {first:.2f} alike (weight {top:.3g})"
        text += ", none below." if first > x[0] else "."
    else:
        text = f"{loss} pushes a negative hardest at {full:.2f} (weight {top:.3g})"
        text += f", half as hard at {half:.2f}" if half > x[0] else ", at least half as hard anywhere below"
        text += f" and less than a hundredth below {first:.2f}." if first > x[0] else "."
    attracted = x[weights < -0.01 * top]
    if len(attracted):
        text += f" Negatives from {attracted.min():.2f} to {attracted.max():.2f} are attracted instead."
    return text


def weight_comparison_figure(
    curves: Mapping[str, WeightCurve], styles: Mapping[str, Styled], marks: Sequence[Mark] = ()
) -> go.Figure:
    """A negative's weight against its similarity, each run relative to its own largest weight."""
    traces = []
    for name, curve in curves.items():
        top = max(float(np.abs(curve.negative).max()), 1e-12)
        style = styles[name]
        share = (100 * curve.negative / top).astype(np.float32)
        every = {"maxdisplayed": 12, "symbol": style.marker, "size": 7}
        traces.append(
            trace(
                "scatter",
                x=curve.scores.astype(np.float32),
                y=share,
                mode="lines+markers",
                line={"color": style.colour, "dash": style.dash, "width": 2},
                marker=every,
                name=plain(name),
                meta={"kind": "negative", "run": name},
                hovertemplate=f"%{{y:.0f}}% {plain(name)}<extra></extra>",
            )
        )
    return figure_of(
        traces,
        height=340,
        xaxis=axis("similarity of the negative", range=[-0.5, 1]),
        yaxis=axis("weight, % of its largest", zeroline=True),
        hovermode="x unified",
        legend=legend(),
        margin={"t": 60, "l": LEFT, "r": 12, "b": 44},
        **mark_scores(marks),
    )


def weight_comparison_words(curves: Mapping[str, WeightCurve]) -> str:
    """How wide the band of similarities is in which each run pushes."""
    widths = {
        name: float((curve.negative >= 0.1 * curve.negative.max()).mean() * 100)
        for name, curve in curves.items()
        if curve.negative.max() > 1e-9
    }
    if not widths:
        return "No run pushes a negative in this setting."
    order = sorted(widths, key=widths.__getitem__)
    if len(order) == 1:
        return f"{order[0]} spends at least a tenth of its push on {widths[order[0]]:.0f}% of the scale."
    return (
        f"{order[0]} is the most selective: a tenth of its largest push or more on {widths[order[0]]:.0f}% of the "
        f"scale; {order[-1]} on {widths[order[-1]]:.0f}%."
    )
