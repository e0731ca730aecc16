"""Arrays in, plotly figures out; beside every figure a function that says in words what it shows.

Figures carry their own small layout instead of plotly's template (7 kB each), and arrays travel as binary. They
are drawn in the light colours below; `DARK` says what each of these becomes on a dark page, so that the component
which shows a figure can swap them without asking again. Colours of runs are the caller's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import plotly.graph_objects as go

from xmr.analysis import Distribution, PrecisionRecall, WeightCurve, effective_negatives
from xmr.core import PairWeights

INK, MUTED, GRID, PAGE, CARD = "#1f2937", "#6b7281", "#e5e7ec", "#fffffe", "#f3f4f7"
GREEN, BLUE, ORANGE = "#00875f", "#0072b3", "#c85200"  # Okabe and Ito's, a little darker for thin lines
PULL, PULL_HALF, PUSH_HALF, PUSH = "#00694a", "#66b99f", "#f09a5b", "#a63f00"  # of the diverging scale
DARK = {
    INK: "#e5e7eb",
    MUTED: "#9ca3af",
    GRID: "#30363f",
    PAGE: "#161b22",
    CARD: "#21262d",
    GREEN: "#2bbf8f",
    BLUE: "#58a6dd",
    ORANGE: "#f0883e",
    # On a dark page the far ends are the light ones.
    PULL: "#7df0cb",
    PULL_HALF: "#1f7d60",
    PUSH_HALF: "#a8561c",
    PUSH: "#ffbe88",
}

KINDS = {
    "positives": ("annotated matches", GREEN, "solid"),
    "unannotated": ("true, not annotated", BLUE, "dashdot"),
    "hardest": ("hardest negatives", ORANGE, "dash"),
    "random": ("random negatives", MUTED, "dot"),
}


class Styled(Protocol):
    """How a run is drawn: plotly's names for colour, marker and dash."""

    @property
    def colour(self) -> str: ...
    @property
    def marker(self) -> str: ...
    @property
    def dash(self) -> str: ...


# ---- distributions ---------------------------------------------------------------------------------------


def distribution_figure(
    distributions: Mapping[str, Distribution], styles: Mapping[str, Styled], scale: str = "score"
) -> go.Figure:
    """One panel per run, the same score axis for all; densities of four kinds of pairs."""
    figure = _figure(height=84 + 124 * len(distributions))
    count, gap = max(len(distributions), 1), 0.07
    tall = (1 - gap * (count - 1)) / count
    shown: set[str] = set()
    for place, (name, one) in enumerate(distributions.items()):
        top = 1 - place * (tall + gap)
        axis = "" if place == 0 else str(place + 1)
        centres = ((one.edges[1:] + one.edges[:-1]) / 2).astype(np.float32)
        for kind, (label, colour, dash) in KINDS.items():
            if kind not in one.densities or not one.counts[kind]:
                continue
            density = one.densities[kind].astype(np.float32)
            figure.add_scatter(
                x=centres,
                y=density,
                mode="lines",
                line={"color": colour, "dash": dash, "width": 2},
                fill="tozeroy" if kind == "positives" else "none",
                fillcolor=_faint(colour),
                name=label,
                legendgroup=kind,
                showlegend=kind not in shown,
                xaxis="x",
                yaxis=f"y{axis}",
                hovertemplate=f"%{{y:.2f}} {label}<extra></extra>",
            )
            shown.add(kind)
        figure.update_layout(
            {
                f"yaxis{axis}": _axis(
                    "", domain=[max(top - tall, 0), min(top, 1)], showticklabels=False, rangemode="tozero"
                )
                | {"showgrid": False, "zeroline": False, "fixedrange": True}
            }
        )
        # The run's name, behind a mark in its own colour and form, stands in the panel's corner.
        figure.add_annotation(
            text=f"<span style='color:{styles[name].colour}'>{GLYPHS.get(styles[name].marker, '●')}</span> "
            f"<b>{_plain(name)}</b>",
            x=0,
            y=top,
            xref="paper",
            yref="paper",
            xanchor="left",
            yanchor="top",
            showarrow=False,
            font={"size": 13},
        )
    bottom = str(count) if count > 1 else ""
    figure.update_layout(
        xaxis=_axis(scale, anchor=f"y{bottom}"),
        hovermode="x unified",
        legend=_legend(),
        margin={"t": 40, "l": 8, "r": 12, "b": 44},
    )
    return figure


def distribution_words(distributions: Mapping[str, Distribution], complete: bool = True) -> str:
    """Which run separates best, which least, and how often the best-scoring wrong answer is right.

    `complete` says whether the truth of every pair is known; where it is not, shares are lower bounds.
    """
    known = {name: one for name, one in distributions.items() if not np.isnan(one.auc_hardest)}
    if not known:
        return "There are no negatives to compare with."
    best = max(known, key=lambda name: known[name].auc_hardest)
    first = known[best]
    if len(known) == 1:
        text = (
            f"{best}: an annotated match outscores a random negative in {_percent(first.auc_random)} of cases, "
            f"a hardest negative in {_percent(first.auc_hardest)}."
        )
    else:
        worst = min(known, key=lambda name: known[name].auc_hardest)
        last = known[worst]
        text = (
            f"{best} keeps its matches above the hardest negatives best (AUC {first.auc_hardest:.2f}, "
            f"{_percent(first.overlap_hardest)} of the area shared), {worst} least ({last.auc_hardest:.2f}, "
            f"{_percent(last.overlap_hardest)}); against random negatives their AUC is {first.auc_random:.3f} and "
            f"{last.auc_random:.3f}."
        )
    hidden = [one.hidden for one in known.values() if one.hidden is not None]
    if hidden:
        low, high = (f"{100 * share:.0f}" for share in (min(hidden), max(hidden)))
        span = f"{low}%" if low == high else f"{low}–{high}%"
        least = "" if complete else "at least "
        text += f" For {least}{span} of queries the best-scoring unannotated item really is a match."
    return text


# ---- weights ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mark:
    """A vertical line that says where something stands."""

    score: float
    text: str
    colour: str = MUTED


def weight_figure(
    curve: WeightCurve, trained: WeightCurve | None = None, marks: Sequence[Mark] = ()
) -> go.Figure:
    """Weight against similarity for the negative and for the positive; thin lines show the values as trained."""
    figure = _figure(height=340)
    x = curve.scores.astype(np.float32)
    for part, name, colour, dash in (
        ("negative", "a negative", ORANGE, "solid"),
        ("positive", "the positive", GREEN, "dash"),
    ):
        if trained is not None:
            figure.add_scatter(
                x=x,
                y=getattr(trained, part).astype(np.float32),
                mode="lines",
                line={"color": MUTED, "width": 1.5, "dash": dash},
                name=f"{name}, as trained",
                hovertemplate=f"%{{y:.3g}} {name}, as trained<extra></extra>",
            )
        figure.add_scatter(
            x=x,
            y=getattr(curve, part).astype(np.float32),
            mode="lines",
            line={"color": colour, "width": 2.5, "dash": dash},
            name=name,
            hovertemplate=f"%{{y:.3g}} {name}<extra></extra>",
        )
    _mark(figure, marks)
    figure.update_layout(
        xaxis=_axis("similarity of the pair", range=[-0.5, 1]),
        yaxis=_axis("weight, d loss / d score", zeroline=True),
        hovermode="x unified",
        legend=_legend(),
        margin={"t": 60, "l": 12, "r": 12, "b": 44},
    )
    return figure


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
    figure = _figure(height=340)
    for name, curve in curves.items():
        top = max(float(np.abs(curve.negative).max()), 1e-12)
        style = styles[name]
        share = (100 * curve.negative / top).astype(np.float32)
        every = {"maxdisplayed": 12, "symbol": style.marker, "size": 7}
        figure.add_scatter(
            x=curve.scores.astype(np.float32),
            y=share,
            mode="lines+markers",
            line={"color": style.colour, "dash": style.dash, "width": 2},
            marker=every,
            name=_plain(name),
            hovertemplate=f"%{{y:.0f}}% {_plain(name)}<extra></extra>",
        )
    _mark(figure, marks)
    figure.update_layout(
        xaxis=_axis("similarity of the negative", range=[-0.5, 1]),
        yaxis=_axis("weight, % of its largest", zeroline=True),
        hovermode="x unified",
        legend=_legend(),
        margin={"t": 60, "l": 12, "r": 12, "b": 44},
    )
    return figure


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


def matrix_figure(
    pairs: PairWeights,
    show: str = "weights",
    revision: str = "",
    kind: str = "image",
    unannotated: np.ndarray | None = None,
) -> go.Figure:
    """A batch as a heat map: `show` is "scores" or "weights"; matches and suspected pairs carry marks, and so do
    the pairs of the mask `unannotated`, which match in truth though nobody annotated them.

    Rows are visuals (called `kind`) and columns captions. Colours diverge at 0. Matches weigh far more than negatives, so the
    colour scale of weights ends at the heaviest negative and matches saturate. Pairs that the loss ignores are
    blank among weights.
    """
    values = np.array(getattr(pairs, show), np.float32)
    judged = pairs.negatives
    if show == "weights":
        values[~pairs.positives & ~pairs.negatives] = np.nan
        span = float(np.abs(values[judged]).max(initial=0)) or float(np.nanmax(np.abs(values), initial=0))
    else:
        span = float(np.nanmax(np.abs(values), initial=0))
    rows, columns = values.shape
    what = "score" if show == "scores" else "weight"
    figure = _figure(height=560)
    figure.add_heatmap(
        z=values,
        x0=1,
        y0=1,
        zmin=-(span or 1),
        zmax=span or 1,
        zmid=0,
        colorscale=[[0, PULL], [0.25, PULL_HALF], [0.5, PAGE], [0.75, PUSH_HALF], [1, PUSH]],
        colorbar={
            "title": {"text": what, "side": "right"},
            "thickness": 10,
            "outlinewidth": 0,
            "tickformat": ".2g",
            "nticks": 5,
        },
        hoverongaps=True,
        hovertemplate=f"{kind} %{{y}}, caption %{{x}}<br>{what} %{{z:.3g}}<extra></extra>",
    )
    size = float(np.clip(300 / max(rows, columns, 1), 4, 16))
    none = np.zeros_like(pairs.suspected)
    for mask, label, symbol, colour in (
        (pairs.positives, "annotated match", "square-open", INK),
        (pairs.suspected, "suspected", "diamond-open", INK),
        (none if unannotated is None else unannotated, "true, not annotated", "circle-open", BLUE),
    ):
        y, x = np.nonzero(mask)
        if len(y):
            figure.add_scatter(
                x=(x + 1).astype(np.int16),
                y=(y + 1).astype(np.int16),
                mode="markers",
                marker={"symbol": symbol, "size": size, "color": colour, "line": {"width": 1.5}},
                name=label,
                hoverinfo="skip",
            )
    figure.update_layout(
        xaxis=_axis("caption", range=[0.5, columns + 0.5], showgrid=False, constrain="domain"),
        yaxis=_axis(kind, range=[rows + 0.5, 0.5], showgrid=False, scaleanchor="x", constrain="domain"),
        hovermode="closest",
        legend=_legend(),
        margin={"t": 48, "l": 12, "r": 8, "b": 44},
        showlegend=True,
        meta={"cells": [rows, columns]},
        uirevision=revision,
    )
    return figure


def matrix_words(pairs: PairWeights, kind: str = "image", unannotated: np.ndarray | None = None) -> str:
    """How many negatives carry the push, and how much of it falls on suspected and on matching pairs."""
    weights = np.where(pairs.negatives, pairs.weights, 0).clip(min=0)
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
        text += f" {count / others:.1%} of the other pairs are {called}; they take {share:.0%} of the push."
    return text


# ---- false negatives -------------------------------------------------------------------------------------


def threshold_figure(
    thresholds: np.ndarray, measured: Sequence[PrecisionRecall], current: float, revision: str = ""
) -> go.Figure:
    """Precision and recall of a selector against its threshold, and where the threshold stands."""
    figure = _figure(height=260)
    for part, colour, dash in (("precision", BLUE, "solid"), ("recall", ORANGE, "dash")):
        y = np.array([getattr(one, part) for one in measured], np.float32)  # None becomes NaN: a gap
        figure.add_scatter(
            x=thresholds.astype(np.float32),
            y=100 * y,
            mode="lines",
            line={"color": colour, "dash": dash, "width": 2},
            name=part,
            hovertemplate=f"%{{y:.0f}}% {part}<extra></extra>",
        )
    _mark(figure, [Mark(current, "threshold", INK)])
    figure.update_layout(
        xaxis=_axis("similarity between captions"),
        yaxis=_axis("%", range=[0, 103]),
        hovermode="x unified",
        legend=_legend(),
        margin={"t": 60, "l": 12, "r": 12, "b": 44},
        uirevision=revision,
    )
    return figure


# ---- shared ----------------------------------------------------------------------------------------------

GLYPHS = {
    "circle": "●", "square": "■", "diamond": "◆", "triangle-up": "▲", "cross": "✚", "star": "★",
}  # fmt: skip


def _figure(height: int) -> go.Figure:
    figure = go.Figure(
        layout={
            "height": height,
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": "system-ui, sans-serif", "size": 12, "color": INK},
            "hoverlabel": {"bgcolor": PAGE, "bordercolor": GRID, "font": {"color": INK}},
            "dragmode": "zoom",
        }
    )
    figure.layout.template = None  # given to the constructor, None means the default one
    return figure


def _axis(title: str, **more: Any) -> dict[str, Any]:
    return {
        "title": {"text": title, "standoff": 8, "font": {"color": MUTED}},
        "gridcolor": GRID,
        "linecolor": GRID,
        "zerolinecolor": MUTED,
        "zeroline": False,
        "tickfont": {"color": MUTED},
        "automargin": True,
    } | more


def _legend() -> dict[str, Any]:
    return {
        "orientation": "h",
        "x": 0,
        "y": 1,
        "yref": "container",
        "yanchor": "top",
        "itemwidth": 36,
        "bgcolor": "rgba(0,0,0,0)",
    }


def _mark(figure: go.Figure, marks: Sequence[Mark]) -> None:
    for place, mark in enumerate(sorted(marks, key=lambda mark: mark.score)):
        figure.add_shape(
            type="line",
            x0=mark.score,
            x1=mark.score,
            y0=0,
            y1=1,
            yref="paper",
            line={"color": mark.colour, "width": 1, "dash": "dot"},
        )
        figure.add_annotation(
            x=mark.score,
            y=1,
            yref="paper",
            text=mark.text,
            showarrow=False,
            textangle=-90,
            xanchor="left" if place else "right",  # two near lines carry their names on their outer sides
            yanchor="top",
            font={"size": 11, "color": mark.colour},
        )


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.16)"


def _percent(share: float) -> str:
    return f"{share:.0%}" if share < 0.995 or share == 1 else f"{share:.1%}"


def _plain(text: str) -> str:
    """Text for plotly, which reads a little HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
