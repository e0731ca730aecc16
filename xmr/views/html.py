"""Blocks as HTML that loads nothing: one page to send, with plotly.js inside and pictures as addresses of themselves.

Controls are left out, and what needs a server. All that blocks hold is text: the template escapes it.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from xmr.figures.shared import DARK, GLYPHS, library
from xmr.views.blocks import Block
from xmr.views.pictures import path_of

PICTURE_PX = 128


def page(
    title: str,
    intro: Sequence[str],
    sections: Mapping[str, Sequence[Block]],
    footer: str,
    charts: bool = True,
) -> str:
    """The whole page: blocks by the title of their section, sentences before and behind them; without plotly.js where
    there are no `charts`."""
    held = {"title": title, "intro": intro, "sections": sections, "footer": footer}
    return _templates().get_template("page.html").render(held, library=library() if charts else "", dark=DARK)


def drawn() -> set[str]:
    """The kinds of blocks that are drawn; others need somebody who looks."""
    return set(_templates().get_template("blocks.html").module.kinds)


@lru_cache(maxsize=4096)
def inlined(address: str) -> str:
    """A small copy of a picture as the address of itself; "" where it can't be read, so that its words stand alone."""
    if address.startswith("data:"):
        return address
    buffer = io.BytesIO()
    try:
        with Image.open(path_of(address)) as image:
            small = image.convert("RGB")
    except (OSError, ValueError):
        return ""
    small.thumbnail((PICTURE_PX, PICTURE_PX))
    small.save(buffer, "WEBP", quality=75, method=6)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


@lru_cache(maxsize=1)
def _templates() -> Environment:
    place = FileSystemLoader(Path(__file__).parent)
    found = Environment(
        loader=place, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    found.filters["inlined"] = inlined
    found.globals["glyphs"] = GLYPHS
    return found
