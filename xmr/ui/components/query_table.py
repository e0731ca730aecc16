"""A list of items, one row each: the item, a number for every run, what is known of it, what came first, a button."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from xmr.ui.components import script, style


def query_list(rows: Sequence[dict[str, Any]], about: str, action: str, empty: str = "") -> dict[str, Any]:
    """The value of a `QueryTable`: rows as `xmr.ui.error_rows` makes them, what they tell, what the button of each row
    does, and what is said where there is no row."""
    return {"rows": list(rows), "about": about, "action": action, "empty": empty}


class QueryTable(gr.HTML):
    """`value` is made by `query_list`; `.open` carries {"index": item} of the row whose button was pressed, which any
    browser may make up."""

    def __init__(self, value: dict[str, Any] | None = None, **props: Any):
        super().__init__(
            value=value,
            html_template="<div class='queries'></div>",
            css_template=style("query_table"),
            js_on_load=script("query_table"),
            apply_default_css=False,
            **props,
        )

    def api_info(self) -> dict[str, Any]:
        return {"type": "object"}
