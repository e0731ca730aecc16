"""Maps of many points on canvases, side by side, and the card of one point.

Coordinates come as files of a few bytes per point that the browser fetches itself: as part of a value, 50,000 points
would slow every event of the page. All points are drawn in software, since not every browser has WebGL.
"""

from __future__ import annotations

import json
from typing import Any

from xmr.ui.components import Drawn

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


class PointMap(Drawn):
    """`value` is what `xmr.ui.tabs.embedding_map.show` returns. `.look` carries {"place": point, "items": text}, `.lasso`
    {"visual": places, "text": places, "total": [all, all], "items": text}: at most `MOST` places, nearest to the middle
    first, and how many points of each kind are inside."""

    ASSET = "point_map"
    PARTS = ("point_map_draw", "point_map_input")
    TEMPLATE = "<div class='pm'><p class='hint'>Measuring …</p></div><p class='said sr' role='status'></p>"

    def __init__(self, value: dict[str, Any] | None = None, **props: Any):
        settings = json.dumps({"light": LIGHT, "dark": DARK, "most": MOST})
        super().__init__(value, before=f"const settings = {settings};\n", **props)


class PointCard(Drawn):
    """`value` is what `xmr.ui.map_items.card` returns, or {"hint": words}; `.pick` carries {"key": item}."""

    ASSET = "point_card"
    STYLE = "point_map"
    TEMPLATE = "<div class='point' role='status'></div>"
