"""Where each run's scores put matches and other pairs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from xmr.analysis import Distribution
from xmr.figures.shared import (
    BLUE,
    GLYPHS,
    GREEN,
    MUTED,
    ORANGE,
    Styled,
    axis,
    band,
    faint,
    line_chart,
    note,
    plain,
    trace,
)
from xmr.words import percent

KINDS = {
    "positives": ("annotated matches", GREEN, "solid"),
    "unannotated": ("true, not annotated", BLUE, "dashdot"),
    "hardest": ("hardest negatives", ORANGE, "dash"),
    "random": ("random negatives", MUTED, "dot"),
}


def distribution_figure(
    distributions: Mapping[str, Distribution], styles: Mapping[str, Styled], scale: str = "score"
) -> go.Figure:
    """One panel per run, the same score axis for all; densities of four kinds of pairs: the share of the kind's pairs per
    unit of `scale`, so that each area is 1."""
    traces, panels, names = [], {}, []
    count, gap = max(len(distributions), 1), 0.07
    tall = (1 - gap * (count - 1)) / count
    shown: set[str] = set()
    for place, (name, one) in enumerate(distributions.items()):
        top = 1 - place * (tall + gap)
        suffix = "" if place == 0 else str(place + 1)
        centres = ((one.edges[1:] + one.edges[:-1]) / 2).astype(np.float32)
        for kind, (label, colour, dash) in KINDS.items():
            if kind not in one.densities or not one.counts[kind]:
                continue
            density = one.densities[kind].astype(np.float32)
            if kind in one.bands:
                at = {"legendgroup": kind, "xaxis": "x", "yaxis": f"y{suffix}"}
                traces.append(band(centres, *one.bands[kind], colour, **at))
            traces.append(
                trace(
                    "scatter",
                    x=centres,
                    y=density,
                    mode="lines",
                    line={"color": colour, "dash": dash, "width": 2},
                    fill="tozeroy" if kind == "positives" and kind not in one.bands else "none",
                    fillcolor=faint(colour),
                    name=label,
                    meta={"run": name, "kind": kind},
                    legendgroup=kind,
                    showlegend=kind not in shown,
                    xaxis="x",
                    yaxis=f"y{suffix}",
                    hovertemplate=f"density %{{y:.2f}}, {label}<extra></extra>",
                )
            )
            shown.add(kind)
        panels[f"yaxis{suffix}"] = axis(
            "density", domain=[max(top - tall, 0), min(top, 1)], rangemode="tozero", nticks=4
        ) | {"showgrid": False, "zeroline": False, "fixedrange": True}
        # The run's name, behind a mark in its own colour and form, stands in the panel's corner.
        glyph = GLYPHS.get(styles[name].marker, "●")
        corner = {"x": 0, "y": top, "xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "top"}
        mark = f"<span style='color:{styles[name].colour}'>{glyph}</span>"
        names.append(note(f"{mark} <b>{plain(name)}</b>", **corner, font={"size": 13}))
    bottom = str(count) if count > 1 else ""
    return line_chart(
        traces,
        height=84 + 124 * len(distributions),
        top=40,
        annotations=names,
        xaxis=axis(scale, anchor=f"y{bottom}", hoverformat=".3f"),
        meta={"pick": "Click a curve for the pairs of that score, listed below."},
        **panels,
    )


def distribution_words(distributions: Mapping[str, Distribution], complete: bool = True) -> str:
    """Which run separates best, which least, and how often the best-scoring wrong answer is right.

    `complete` says whether the truth of every pair is known; where it is not, shares are lower bounds.
    """
    known = {name: one for name, one in distributions.items() if not np.isnan(one.auc_hardest)}
    if not known:
        return "There are no negatives to compare with."
    best = max(known, key=lambda name: known[name].auc_hardest)
    first = known[best]
    wins = f"{best}: an annotated match outscores a random negative in {percent(first.auc_random)} of cases, "
    if len(known) == 1:
        text = f"{wins}a hardest negative in {percent(first.auc_hardest)}."
    else:
        worst = min(known, key=lambda name: known[name].auc_hardest)
        last = known[worst]
        above = (
            f"{best} keeps its matches above the hardest negatives best"
            if first.auc_hardest > 0.5
            else f"Under no run does an annotated match outscore a hardest negative more often than not; {best} comes nearest"
        )
        text = (
            f"{above} (AUC {first.auc_hardest:.2f}, {percent(first.overlap_hardest)} of the area shared), {worst} least "
            f"({last.auc_hardest:.2f}, "
            f"{percent(last.overlap_hardest)}); against random negatives their AUC is {first.auc_random:.3f} and "
            f"{last.auc_random:.3f}."
        )
    hidden = [one.hidden for one in known.values() if one.hidden is not None]
    if hidden:
        low, high = percent(min(hidden)), percent(max(hidden))
        span = low if low == high else f"{low} to {high}"
        least = "" if complete else "at least "
        text += f" For {least}{span} of queries the best-scoring unannotated item really is a match."
    return text
