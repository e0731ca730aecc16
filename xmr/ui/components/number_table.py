"""A table of numbers: one row per run, marked in the run's colour and form; sorted by any column, and saved as files.

`.pick` carries {"row": name} of a row whose name was pressed (where `pick` says what that does), `.sort` {"column": its
text, "" for the first order, "descending": whether the largest are first}.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from xmr.figures import GLYPHS, Styled
from xmr.ui.components import Drawn


class File(NamedTuple):
    """What a button below the table saves: its label, the file's name, and the text."""

    label: str
    name: str
    text: str


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
    """The value of a `NumberTable`: columns (name, what it means), rows (name, style, cells), a note below.

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


class NumberTable(Drawn):
    """`value` is made by `table`."""

    ASSET = "number_table"
    TEMPLATE = "<div class='numbers'></div>"
