"""A small table of numbers: one row per run, marked in the run's colour and form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from xmr.figures import GLYPHS, Styled
from xmr.ui.components import script, style


def table(
    columns: Sequence[tuple[str, str]],
    rows: Sequence[tuple[str, Styled | None, Sequence[str]]],
    note: str = "",
) -> dict[str, Any]:
    """The value of a `NumberTable`: columns (name, what it means), rows (name, style, cells), a note below."""
    return {
        "columns": [{"text": text, "means": means} for text, means in columns],
        "rows": [
            {
                "name": name,
                "colour": how.colour if how else "",
                "glyph": GLYPHS.get(how.marker, "●") if how else "",
                "cells": list(cells),
            }
            for name, how, cells in rows
        ],
        "note": note,
    }


class NumberTable(gr.HTML):
    """`value` is made by `table`."""

    def __init__(self, value: dict[str, Any] | None = None, **props: Any):
        super().__init__(
            value=value,
            html_template="<div class='numbers'></div>",
            css_template=style("number_table"),
            js_on_load=script("number_table"),
            apply_default_css=False,
            **props,
        )

    def api_info(self) -> dict[str, Any]:
        return {"type": "object"}
