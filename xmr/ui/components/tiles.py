"""A grid of items: a picture or words, a name, and a button."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import gradio as gr

from xmr.ui.components import script, style


@dataclass(frozen=True)
class Tile:
    """One item. `key` names it to the server, `action` is written on its button ("": it has none); `film` is a clip's
    strip (`xmr.ui.pictures.film`)."""

    key: str
    name: str
    text: str = ""
    image: str | None = None
    film: dict[str, Any] | None = None
    note: str = ""
    action: str = ""


def tiles(items: Sequence[Tile], empty: str = "") -> dict[str, Any]:
    """The value of `Tiles`; `empty` is said where there is no item."""
    return {"items": [asdict(item) for item in items], "empty": empty}


class Tiles(gr.HTML):
    """`value` is made by `tiles`; `.pick` carries {"key": key}, which any browser may make up."""

    def __init__(self, value: dict[str, Any] | None = None, **props: Any):
        super().__init__(
            value=value,
            html_template="<div class='tiles'></div>",
            css_template=style("tiles"),
            js_on_load=script("tiles"),
            apply_default_css=False,
            **props,
        )

    def api_info(self) -> dict[str, Any]:
        return {"type": "object"}
