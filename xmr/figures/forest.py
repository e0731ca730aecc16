"""A forest plot: what runs reach in one measure, each with its interval, beside what is reached without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from xmr.figures.shared import (
    MUTED,
    Styled,
    axis,
    cut,
    dotted,
    figure_of,
    names_axis,
    note,
    plain,
    run_mark,
    trace,
)

GAP = 0.06  # of the width, between two directions
LINE = 15  # px of a reference's name


@dataclass(frozen=True)
class Panel:
    """One direction: of each run its mean and the ends of its interval, and other means to read them by, such as a random
    order's, by what they are called; all in 0 … 1."""

    title: str
    values: Mapping[str, tuple[float, float, float]]
    references: Mapping[str, float]


def forest_figure(panels: Sequence[Panel], styles: Mapping[str, Styled]) -> go.Figure:
    """A row for each run in the order of the first panel, a column for each panel, a dotted line for each reference."""
    names = list(panels[0].values)
    width = (1 - GAP * (len(panels) - 1)) / len(panels)
    lines = max(len(panel.references) for panel in panels)
    traces, shapes, notes, axes = [], [], [], {}
    for at, panel in enumerate(panels):
        of = str(at + 1) if at else ""
        for name, (mean, low, high) in panel.values.items():
            traces.append(trace("scatter", x=[100 * mean], y=[names.index(name)], xaxis=f"x{of}", yaxis="y",
                error_x={
                    "array": np.nan_to_num([100 * (high - mean)]).tolist(), "arrayminus": np.nan_to_num([100 * (mean - low)]).tolist(),
                    "thickness": 1.5, "width": 0,
                },
                mode="markers",
                marker=run_mark(styles[name], 9),
                name=plain(name),
                customdata=[name],  # a click tells the run
                hovertemplate=f"{plain(name)}, {plain(panel.title)}<br>{_value(mean, low, high)}<extra></extra>",
            ))  # fmt: skip
        for level, (name, mean) in enumerate(panel.references.items()):
            line = {"color": MUTED, "width": 1.5, "dash": "dot"}
            ends = (100 * mean, 100 * mean), (0, 1)
            shapes.append(dotted(*ends, xref=f"x{of}", yref="paper", line=line, layer="below"))
            side = "left" if mean < 0.5 * _end(panel) else "right"
            place = {
                "xref": f"x{of}",
                "x": 100 * mean,
                "xanchor": side,
                "yref": "paper",
                "y": 1,
                "yanchor": "bottom",
            }
            notes.append(note(plain(f"{cut(name)} {100 * mean:.1f}"), **place, yshift=LINE * level))
        start = at * (width + GAP)
        axes[f"xaxis{of}"] = axis(
            f"{plain(panel.title)}, %", range=[0, 100 * _end(panel)], domain=[start, start + width]
        )
    return figure_of(
        traces,
        height=76 + LINE * lines + 26 * max(len(names), 2),
        **axes,
        yaxis=names_axis([plain(cut(name)) for name in names], (len(names) - 0.4, -0.6), domain=[0, 1]),
        shapes=shapes,
        annotations=notes,
        hovermode="closest",
        showlegend=False,
        margin={"t": 16 + LINE * lines, "l": 12, "r": 16, "b": 48},
    )


def forest_words(panel: Panel, measure: str, drawn_by: str) -> str:
    """Who stands first and last, whose intervals meet the first one's, and who is above each reference."""
    (best, first), *others = panel.values.items()
    text = f"{measure}, {panel.title}: {best} reaches {_value(*first)}"
    if others:
        last, lowest = others[-1]
        meet = sum(high >= first[1] for _, (_, _, high) in others)
        text = (
            f"Sorted by {measure}, {panel.title}: {best} is first with {_value(*first)}, {last} last with {_value(*lowest)}; "
            f"{_some(meet, len(others), 'other interval', 'meet')} its own. Intervals are drawn by {drawn_by}, of each run "
            "by itself: the tests stand below"
        )
    for name, mean in panel.references.items():
        above = sum(low > mean for _, low, _ in panel.values.values())
        whose = _some(above, len(panel.values), "interval", "lie")
        text += f". {name[0].upper()}{name[1:]} reaches {100 * mean:.1f}%; {whose} above"
    return f"{text}."


def forest_rows(panels: Sequence[Panel]) -> tuple[list[str], list[list[Any]]]:
    """The same numbers as a table."""
    rows = [
        [name, *(_value(*panel.values[name]) if name in panel.values else "–" for panel in panels)]
        for name in panels[0].values
    ]
    called = dict.fromkeys(name for panel in panels for name in panel.references)
    rows += [
        [name, *(f"{100 * panel.references[name]:.1f}%" if name in panel.references else "–" for panel in panels)]
        for name in called
    ]  # fmt: skip
    return ["run", *(panel.title for panel in panels)], rows


def _value(mean: float, low: float, high: float) -> str:
    return f"{100 * mean:.1f}% ({'no interval' if low != low else f'{100 * low:.1f} – {100 * high:.1f}'})"


def _some(count: int, of: int, noun: str, verb: str) -> str:
    """So many of all do it: "no interval lies", "all intervals lie", "2 of 3 intervals lie"."""
    if not count or count == of == 1:
        return f"{'the' if count else 'no'} {noun} {verb}s"
    if count == of:
        return f"all {noun}s {verb}"
    return f"{count} of {of} {noun}s {verb}{'s' if count == 1 else ''}"


def _end(panel: Panel) -> float:
    """Where the axis ends: a little behind all that is drawn."""
    highs = [high if high == high else mean for mean, _, high in panel.values.values()]
    return min(1.05 * max(*highs, *panel.references.values(), 0.01), 1.02)
