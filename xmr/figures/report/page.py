"""One self-contained page of HTML: tables, figures and example grids, with plotly.js inside and nothing to load.

All text comes in plain and is escaped here; what these functions return is HTML.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from PIL import Image
from plotly.offline import get_plotlyjs

from xmr.figures.shared import DARK, GLYPHS, Styled
from xmr.words import score

TEMPLATE = Path(__file__).with_suffix(".html")
PICTURE_PX = 128


@dataclass(frozen=True)
class Section:
    """A part of the page below a heading of its own."""

    title: str
    parts: Sequence[str]


@dataclass(frozen=True)
class Tile:
    """One result: a picture (an address of `inline`) or words, how it is marked, and its score.

    `status` is "annotated", "true" or ""; `badge` says the same in words.
    """

    rank: int
    score: float
    status: str
    badge: str
    picture: str = ""
    words: str = ""


@dataclass(frozen=True)
class RunName:
    """A run's name behind its mark in its own colour: a cell of a `table`, the head of an answer."""

    name: str
    style: Styled

    @property
    def html(self) -> str:
        return (
            f'<span class="mark" style="color:{escape(self.style.colour)}" aria-hidden="true">'
            f"{GLYPHS.get(self.style.marker, '●')}</span>{escape(self.name)}"
        )


def page(title: str, intro: Sequence[str], sections: Sequence[Section], footer: Sequence[str]) -> str:
    """The whole page; parts of sections are HTML, the rest is text."""
    contents, bodies = [], []
    for number, section in enumerate(sections, 1):
        contents.append(f'<a href="#part-{number}">{escape(section.title)}</a>')
        bodies.append(
            f'<section id="part-{number}"><h2>{escape(section.title)}</h2>\n' + "\n".join(section.parts) + "</section>"
        )  # fmt: skip
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=escape(title),
        intro="\n".join(map(paragraph, intro)),
        contents=" ".join(contents),
        sections="\n".join(bodies),
        footer="\n".join(map(paragraph, footer)),
        library=get_plotlyjs(),
        dark=json.dumps(DARK),
    )


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph; `kind` is "" or one of "quiet" and "warning"."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def heading(text: str) -> str:
    return f"<h3>{escape(text)}</h3>"


def columns(*parts: str) -> str:
    """Parts beside each other where there is room."""
    return f'<div class="pair">{"".join(f"<div>{part}</div>" for part in parts)}</div>'


def table(head: Sequence[str], rows: Sequence[Sequence[Any]], name: str, words: bool = False) -> str:
    """A table that scrolls sideways where it is too wide. Rows begin with their name.

    A cell is text, or (text, smaller text below it); a name may be a `RunName`. `words` sets all cells to the left.
    """
    heads = "".join(f'<th scope="col">{escape(title)}</th>' for title in head)
    lines = [
        f'<tr><th scope="row">{_cell(first)}</th>{"".join(f"<td>{_cell(cell)}</td>" for cell in rest)}</tr>'
        for first, *rest in rows
    ]
    kind = ' class="left"' if words else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(name)}"><table{kind}>'
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def chart(figure: Any, words: str, name: str) -> str:
    """A plotly figure below what it shows in words; `name` is what it is called for those who can't see it."""
    data = figure.to_json().replace("<", "\\u003c")
    return (
        f"<figure><figcaption>{escape(words)}</figcaption>"
        f'<div class="plot" role="img" aria-label="{escape(f"{name}. {words}")}" '
        f'style="min-height:{int(figure.layout.height)}px"></div>'
        f'<script type="application/json">{data}</script></figure>'
    )


def inline(image: Image.Image, size: int = PICTURE_PX) -> str:
    """A small copy of a picture as the address of itself."""
    small = image.convert("RGB")
    small.thumbnail((size, size))
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=75, method=6)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def query_grid(
    asked: str, said: Sequence[str], picture: str, answers: Sequence[tuple[RunName, str, Sequence[Tile]]]
) -> str:
    """What several runs find for one query.

    `asked` is the query's text or name, `said` more lines about it, `picture` an address or ""; an answer is the run,
    a note below its name, and its results.
    """
    shown = f'<img src="{picture}" alt="the query">' if picture else ""
    more = f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in said)}</ul>" if said else ""
    rows = [
        f"<div class='answer'><h4>{run.html}<small>{escape(note)}</small></h4>{_tiles(tiles)}</div>"
        for run, note, tiles in answers
    ]
    return f'<div class="query"><div class="asked">{shown}<div>{escape(asked)}{more}</div></div>{"".join(rows)}</div>'


def suspect_cards(cards: Sequence[tuple[str, str, Sequence[str]]]) -> str:
    """Suspected pairs: of each the picture's address or "", the caption, and lines about it."""
    items = []
    for picture, caption, lines in cards:
        shown = f'<img src="{picture}" alt="the visual of this pair" loading="lazy">' if picture else ""
        told = "".join(f'<p class="quiet">{escape(line)}</p>' for line in lines)
        items.append(f"<li>{shown}<div><p><b>{escape(caption)}</b></p>{told}</div></li>")
    return f'<ul class="suspects">{"".join(items)}</ul>'


def _tiles(tiles: Sequence[Tile]) -> str:
    items = []
    for tile in tiles:
        shown = ""
        if tile.picture:
            shown = f'<img src="{tile.picture}" alt="{escape(tile.words)}" loading="lazy">'
        elif tile.words:
            shown = f'<span class="words">{escape(tile.words)}</span>'
        badge = f' <span class="badge">{escape(tile.badge)}</span>' if tile.badge else ""
        items.append(
            f'<li class="{tile.status}">{shown}<span class="number">{tile.rank}. {score(tile.score)}</span>{badge}</li>'
        )
    kind = "tiles" if any(tile.picture for tile in tiles) else "tiles said"
    return f'<ol class="{kind}">{"".join(items)}</ol>'


def _cell(cell: Any) -> str:
    if isinstance(cell, RunName):
        return cell.html
    if isinstance(cell, tuple):
        return f"{escape(str(cell[0]))}<small>{escape(str(cell[1]))}</small>"
    return escape(str(cell))
