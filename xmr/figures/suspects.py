"""How right selectors are: precision against recall as their thresholds move."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from xmr.analysis import PrecisionRecall, ThresholdCurve
from xmr.figures.shared import INK, LEFT, Styled, axis, figure_of, legend, level, plain, trace


def suspects_figure(
    curves: Mapping[str, ThresholdCurve],
    present: Mapping[str, PrecisionRecall],
    styles: Mapping[str, Styled],
    revision: str = "",
) -> go.Figure:
    """One line per selector, through the settings of its threshold; a large mark where it stands at present.

    The dotted line is the precision of suspecting every pair. Settings that suspect nobody have no precision and
    are left out.
    """
    traces = []
    lowest = 100.0
    for name, curve in curves.items():
        style = styles[name]
        some = [
            (value, one)
            for value, one in zip(curve.values, curve.measured, strict=True)
            if one.precision is not None
        ]
        recall, precision = (
            np.array([100 * getattr(one, part) for _, one in some], np.float32)
            for part in ("recall", "precision")
        )
        lowest = min(lowest, float(precision.min(initial=100)))
        traces.append(
            trace(
                "scatter",
                x=recall,
                y=precision,
                mode="lines+markers",
                line={"color": style.colour, "dash": style.dash, "width": 2},
                marker={"symbol": style.marker, "size": 4},
                name=plain(name),
                legendgroup=name,
                showlegend=False,
                text=[f"{curve.parameter} {value:.3g}" for value, _ in some],
                customdata=[[name, float(value)] for value, _ in some],  # the setting that a click asks for
                hovertemplate=f"{plain(name)}, %{{text}}<br>recall %{{x:.0f}}%, precision %{{y:.0f}}%<extra></extra>",
            )
        )
        now = present[name]
        stands = now.precision is not None
        traces.append(trace("scatter", x=[100 * now.recall if stands else None],
            y=[100 * now.precision if stands else None],
            mode="lines+markers",
            line={"color": style.colour, "dash": style.dash, "width": 2},
            marker={
                "symbol": style.marker, "size": 13, "color": style.colour, "line": {"color": INK, "width": 1.5}
            },
            name=plain(name) + ("" if stands else " (suspects nobody)"),
            legendgroup=name,
            hovertemplate=f"{plain(name)}, present setting<br>recall %{{x:.0f}}%, precision %{{y:.0f}}%<extra></extra>",
        ))  # fmt: skip
    known = next(iter(present.values()))
    base = None
    if known.known:
        base = 100 * known.matches / known.known
        lowest = min(lowest, base)
    return figure_of(
        traces,
        height=340,
        xaxis=axis("recall, % of real matches suspected", range=[-2, 103]),
        yaxis=axis("precision, %", range=[max(lowest - 6, -2), 103]),
        hovermode="closest",
        legend=legend(),
        showlegend=True,
        margin={"t": 60, "l": LEFT, "r": 12, "b": 44},
        uirevision=revision,
        meta={"pick": "A click on a curve sets that selector's threshold."},
        **({} if base is None else level(base, f"all of them suspected: {base:.0f}%", "left")),
    )
