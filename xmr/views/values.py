"""What the parts of a page draw, as plain data: tables, cards of pairs, tiles, lists of queries and charts. No gradio here."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

from xmr.figures.shared import GLYPHS, Styled


def chart(
    figure: Any | None, words: str, table: tuple[Sequence[str], Sequence[Sequence[Any]]] | None = None
) -> dict[str, Any]:
    """The value of a chart: a plotly figure (None: nothing to draw) and, in words, what it shows.

    `table` (columns, rows) repeats the numbers for those who can't see the figure.
    """
    return {
        "figure": None if figure is None else json.loads(figure.to_json()),
        "words": words,
        "table": table and {"columns": list(table[0]), "rows": [list(map(str, row)) for row in table[1]]},
    }


class File(NamedTuple):
    """What a button below the table saves, made when it is pressed: its label, and its name among `xmr.views.FILES`."""

    label: str
    name: str


def table(
    columns: Sequence[tuple[str, str]],
    rows: Sequence[tuple[str, Styled | None, Sequence[Any]]],
    note: str = "",
    *,
    title: str = "",
    lead: str = "",
    pick: str = "",
    sortable: bool = False,
    sort: tuple[str, bool] = ("", True),
    words: bool = False,
    marks: dict[str, str] | None = None,
    files: Sequence[File] = (),
) -> dict[str, Any]:
    """The value of a table: columns (name, what it means), rows (name, style, cells), a note below.

    A cell is text, or (text, smaller text below it, number to sort by: NaN comes last). `title` is a heading, `lead` a
    sentence below it that is said again when it changes; `pick` is what pressing a row's name does; `sort` is the column by which the rows are, and whether the largest are
    first. `words` sets cells to the left; `marks` are words behind the names of some rows.
    """
    return {
        "columns": [{"text": text, "means": means} for text, means in columns],
        "rows": [
            {
                "name": name,
                "mark": (marks or {}).get(name, ""),
                "colour": how.colour if how else "",
                "glyph": GLYPHS.get(how.marker, "●") if how else "",
                "cells": [_cell(one) for one in cells],
            }
            for name, how, cells in rows
        ],
        "note": note,
        "title": title,
        "lead": lead,
        "pick": pick,
        "sortable": sortable,
        "sort": {"column": sort[0], "descending": sort[1]},
        "words": words,
        "files": [one._asdict() for one in files],
    }


def _cell(cell: Any) -> Any:
    """Text as it is; else its parts, without a number where there is none (JSON knows no NaN)."""
    if isinstance(cell, str):
        return cell
    text, more, number = cell
    return {"text": text, "more": more, "number": None if math.isnan(number) else round(float(number), 6)}


@dataclass(frozen=True)
class Side:
    """One of the two items. `quote` is the text that was compared, "" where the picture was; `film` is a clip's
    strip (`xmr.views.pictures.film`)."""

    role: str
    name: str
    image: str | None = None
    film: dict[str, Any] | None = None
    quote: str = ""
    captions: list[str] = field(default_factory=list)
    note: str = ""


@dataclass(frozen=True)
class Badge:
    text: str
    kind: Literal["suspected", "match", "other", "own"]


@dataclass(frozen=True)
class Card:
    """A pair. `numbers` are (name, value) as shown; `evidence` is a sentence and the caption it speaks of; `note` is
    said below the badges. `pair` (visual and text) makes it one that people can judge; `asked` is true of one that was
    asked for by name."""

    name: str
    sides: tuple[Side, Side]
    numbers: list[tuple[str, str]]
    badges: list[Badge]
    evidence: tuple[str, str] | None = None
    note: str = ""
    pair: tuple[int, int] | None = None
    asked: bool = False

    @property
    def suspected(self) -> bool:
        return any(badge.kind == "suspected" for badge in self.badges)

    @property
    def plain(self) -> dict[str, Any]:
        return asdict(self) | {"suspected": self.suspected}


def cards(pairs: list[Card], empty: str = "", of: dict[str, str] | None = None) -> dict[str, Any]:
    """The value of cards; `empty` is said where there is no pair. `of` tells of what the pairs are, as a
    panel of verdicts beside the cards sends it with each answer, and the id of the button after the last card, `onward`;
    None: nobody can judge them."""
    return {"cards": [one.plain for one in pairs], "empty": empty, "of": of}


@dataclass(frozen=True)
class Tile:
    """One item. `key` names it to the server, `action` is written on its button ("": it has none); `film` is a clip's
    strip (`xmr.views.pictures.film`)."""

    key: str
    name: str
    text: str = ""
    image: str | None = None
    film: dict[str, Any] | None = None
    note: str = ""
    action: str = ""


def tiles(items: Sequence[Tile], empty: str = "") -> dict[str, Any]:
    """The value of tiles; `empty` is said where there is no item."""
    return {"items": [asdict(item) for item in items], "empty": empty}


def query_list(rows: Sequence[dict[str, Any]], about: str, action: str, empty: str = "") -> dict[str, Any]:
    """The value of a list: rows as `xmr.views.error_rows` makes them, what they tell, what the button of each row
    does, and what is said where there is no row."""
    return {"rows": list(rows), "about": about, "action": action, "empty": empty}
