"""Maps of many points on canvases, side by side, and the card of one point.

Coordinates come as files of a few bytes per point that the browser fetches itself: as part of a value, 50,000 points
would slow every event of the page. All points are drawn in software, since not every browser has WebGL.
"""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from xmr.ui.components import HERE, Drawn, script, style

MOST = 500  # points of a selection that the server is told

# Okabe and Ito's colours, the pale ones deepened for white ground and the deep ones lightened for dark.
LIGHT = {
    "colours": ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#A87400", "#111827"],
    "other": "#8A94A3",
    "ground": "#FFFFFF",
}
DARK = {
    "colours": ["#4AA3DF", "#F0883E", "#2BBF8F", "#E29CC4", "#E8C33A", "#F3F4F6"],
    "other": "#6B7686",
    "ground": "#10151D",
}


class PointMap(gr.HTML):
    """`value` is what `xmr.ui.tabs.embedding_map.show` returns. `.look` carries {"place": point, "items": text}, `.lasso`
    {"visual": places, "text": places, "total": [all, all], "items": text}: at most `MOST` places, nearest to the middle
    first, and how many points of each kind are inside."""

    def __init__(self, value: dict[str, Any] | None = None, **props: Any):
        # Part of the script, because a component that is updated before its tab was ever opened loses its own props.
        settings = json.dumps({"light": LIGHT, "dark": DARK, "most": MOST})
        code = "".join((HERE / f"point_map{part}.js").read_text() for part in ("_input", ""))
        super().__init__(
            value=value,
            html_template="<div class='pm'><p class='hint'>Measuring …</p></div><p class='said sr' role='status'></p>",
            css_template=style("point_map"),
            js_on_load=f"const settings = {settings};\n{script('point_map_draw')}{code}",
            apply_default_css=False,
            **props,
        )

    def api_info(self) -> dict[str, Any]:
        return {"type": "object"}


class PointCard(Drawn):
    """`value` is what `xmr.ui.map_items.card` returns, or {"hint": words}; `.pick` carries {"key": item}."""

    ASSET = "point_card"
    STYLE = "point_map"
    TEMPLATE = "<div class='point' role='status'></div>"
