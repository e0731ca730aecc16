"""A list of items, one row each: the item, a number for every run, what is known of it, what came first, a button."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xmr.ui.components import Drawn


def query_list(rows: Sequence[dict[str, Any]], about: str, action: str, empty: str = "") -> dict[str, Any]:
    """The value of a `QueryTable`: rows as `xmr.ui.error_rows` makes them, what they tell, what the button of each row
    does, and what is said where there is no row."""
    return {"rows": list(rows), "about": about, "action": action, "empty": empty}


class QueryTable(Drawn):
    """`value` is made by `query_list`; `.open` carries {"index": item} of the row whose button was pressed, which any
    browser may make up."""

    ASSET = "query_table"
    TEMPLATE = "<div class='queries'></div>"
