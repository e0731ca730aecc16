"""What all figures share: colours, axes, marks, and names as plotly may read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from xmr.workspace.parts import COLOURS

INK, MUTED, GRID, PAGE, CARD = "#1f2937", "#6b7281", "#e5e7ec", "#fffffe", "#f3f4f7"
GREEN, BLUE, ORANGE = "#00875f", "#0072b3", "#c85200"  # Okabe and Ito's, a little darker for thin lines
PULL, PULL_HALF, PUSH_HALF, PUSH = "#00694a", "#66b99f", "#f09a5b", "#a63f00"  # of the diverging scale
LESS, LESS_HALF = "#4b2e83", "#a793cf"  # of a difference's other end


def _lighter(colour: str, white: float) -> str:
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round((1 - white) * part + white * 255):02x}" for part in parts)


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
    LESS: "#cbb8f6",
    LESS_HALF: "#62499c",
    # Those of the runs, 18% white, as page.css has their marks.
    **{colour: _lighter(colour, 0.18) for colour in COLOURS},
}

LONGEST = 34  # letters of a name on an axis
# Where a vertical axis of numbers has its title and labels.
LEFT = 62

GLYPHS = {
    "circle": "●", "square": "■", "diamond": "◆", "triangle-up": "▲", "cross": "✚", "star": "★",
}  # fmt: skip


class Styled(Protocol):
    """How a run is drawn: plotly's names for colour, marker and dash."""

    @property
    def colour(self) -> str: ...
    @property
    def marker(self) -> str: ...
    @property
    def dash(self) -> str: ...


@dataclass(frozen=True)
class Mark:
    """A vertical line that says where something stands."""

    score: float
    text: str
    colour: str = MUTED


def figure_of(traces: Sequence[Mapping[str, Any]], **layout: Any) -> go.Figure:
    """A figure in the page's type and colours. It is made at once: plotly takes four times as long where traces and layout
    are added to a figure that is there."""
    looks = {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "IBM Plex Sans, system-ui, sans-serif", "size": 12, "color": INK},
        "hoverlabel": {"bgcolor": PAGE, "bordercolor": GRID, "font": {"color": INK}},
        "dragmode": "zoom",
    }
    figure = go.Figure(list(traces), looks | layout)
    figure.layout.template = None  # given to the constructor, None means the default one
    return figure


def trace(type: str, **parts: Any) -> dict[str, Any]:
    """What is drawn, by plotly's name of its kind and of its parts."""
    return {"type": type, **parts}


def line_chart(
    traces: Sequence[Mapping[str, Any]], height: int = 340, top: int = 48, **layout: Any
) -> go.Figure:
    """A figure of curves: one hover for all of them at a place of the axis, a legend above, `top` px for it."""
    looks = {"hovermode": "x unified", "legend": legend(), "margin": {"t": top, "l": LEFT, "r": 12, "b": 44}}
    return figure_of(traces, height=height, **looks | layout)


def run_line(style: Styled) -> dict[str, Any]:
    """How a run's line is drawn."""
    return {"color": style.colour, "dash": style.dash, "width": 2}


def band(x: np.ndarray, low: np.ndarray, high: np.ndarray, colour: str, **more: Any) -> dict[str, Any]:
    """The area between two curves over `x`, as that of a run's seeds."""
    area = {"x": np.concatenate([x, x[::-1]]), "y": np.concatenate([high, low[::-1]]).astype(np.float32)}
    looks = {"mode": "lines", "line": {"width": 0}, "fill": "toself", "fillcolor": faint(colour)}
    return trace("scatter", **area, **looks, hoverinfo="skip", showlegend=False, **more)


def run_mark(style: Styled, size: int) -> dict[str, Any]:
    """How a run's mark is drawn."""
    return {"symbol": style.marker, "size": size, "color": style.colour}


def dotted(
    x: tuple[float, float], y: tuple[float, float], colour: str = MUTED, **more: Any
) -> dict[str, Any]:
    """A dotted line between two places, as a shape of a layout."""
    ends = {"x0": x[0], "x1": x[1], "y0": y[0], "y1": y[1]}
    return {"type": "line", **ends, "line": {"color": colour, "width": 1, "dash": "dot"}} | more


def note(text: str, colour: str = MUTED, **more: Any) -> dict[str, Any]:
    """Small words at a place, as an annotation of a layout."""
    return {"text": text, "showarrow": False, "font": {"size": 11, "color": colour}} | more


def level(at: float, words: str, side: str) -> dict[str, Any]:
    """A horizontal line with its name, at the left or the right `side`: shapes and annotations of a layout."""
    place = {"xref": "paper", "x": 0 if side == "left" else 1, "xanchor": side, "y": at, "yanchor": "bottom"}
    return {"shapes": [dotted((0, 1), (at, at), xref="paper")], "annotations": [note(words, **place)]}


def axis(title: str, **more: Any) -> dict[str, Any]:
    """An axis in the page's quiet colours. The figure's margin holds numbers; an axis of names asks for `automargin`,
    with which plotly draws all twice, or more often, to find the room."""
    return {
        "title": {"text": title, "standoff": 8, "font": {"color": MUTED}},
        "gridcolor": GRID,
        "linecolor": GRID,
        "zerolinecolor": MUTED,
        "zeroline": False,
        "tickfont": {"color": MUTED},
        "ticklabeloverflow": "allow",  # else each label is measured after it is drawn
    } | more


def names_axis(names: Sequence[str], range: tuple[float, float], **more: Any) -> dict[str, Any]:
    """The vertical axis of rows with names, the first on top."""
    return axis(
        "",
        tickvals=[at for at, _ in enumerate(names)],
        ticktext=list(names),
        range=list(range),
        automargin=True,
        tickfont={"color": INK},
        **more,
    )


def legend() -> dict[str, Any]:
    """A legend in one line above the drawing, more lines where it has to."""
    return {
        "orientation": "h",
        "x": 0,
        "y": 1,
        "yref": "container",
        "yanchor": "top",
        "itemwidth": 30,
        "tracegroupgap": 0,
        "bgcolor": "rgba(0,0,0,0)",
    }


def mark_scores(marks: Sequence[Mark]) -> dict[str, Any]:
    """The vertical lines with their names: shapes and annotations of a layout."""
    ordered = sorted(marks, key=lambda mark: mark.score)
    lines = [dotted((one.score, one.score), (0, 1), one.colour, yref="paper") for one in ordered]
    names = [
        # Two near lines carry their names on their outer sides.
        note(one.text, one.colour, x=one.score, y=1, yref="paper", yanchor="top", textangle=-90, xanchor=side)
        for one, side in zip(ordered, ["right", *["left"] * len(ordered)], strict=False)
    ]
    return {"shapes": lines, "annotations": names}


def library() -> str:
    """plotly.js, for a page that loads nothing."""
    return get_plotlyjs()


def faint(colour: str) -> str:
    """The colour for an area."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.16)"


def cut(name: str) -> str:
    """A name as it fits an axis."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def plain(text: str) -> str:
    """Text for plotly, which reads a little HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
