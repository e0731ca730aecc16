"""How right selectors are: precision against recall as their thresholds move."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from xmr.analysis import PrecisionRecall, ThresholdCurve
from xmr.figures.shared import INK, Styled, axis, level, line_chart, plain, run_line, run_mark, trace


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
                line=run_line(style),
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
            line=run_line(style),
            marker=run_mark(style, 13) | {"line": {"color": INK, "width": 1.5}},
            name=plain(name) + ("" if stands else " (suspects nobody)"),
            legendgroup=name,
            hovertemplate=f"{plain(name)}, present setting<br>recall %{{x:.0f}}%, precision %{{y:.0f}}%<extra></extra>",
        ))  # fmt: skip
    known = next(iter(present.values()))
    guess = {}
    if known.known:
        base = 100 * known.matches / known.known
        lowest = min(lowest, base)
        guess = level(base, f"all of them suspected: {base:.0f}%", "left")
    return line_chart(
        traces,
        top=60,
        xaxis=axis("recall, % of real matches suspected", range=[-2, 103]),
        yaxis=axis("precision, %", range=[max(lowest - 6, -2), 103]),
        hovermode="closest",
        showlegend=True,
        uirevision=revision,
        meta={"pick": "A click on a curve sets that selector's threshold."},
        **guess,
    )
