"""A grid of items: a picture or words, a name, and a button."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from xmr.ui.components import Drawn


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


class Tiles(Drawn):
    """`value` is made by `tiles`; `.pick` carries {"key": key}, which any browser may make up."""

    ASSET = "tiles"
    TEMPLATE = "<div class='tiles'></div>"
