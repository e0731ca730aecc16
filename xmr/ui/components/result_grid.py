"""What several runs retrieve for one query, side by side, and the card of one item."""

from __future__ import annotations

from typing import Any

import gradio as gr

from xmr.ui.components import script, style


class ResultGrid(gr.HTML):
    """One column per run. `value` is what `xmr.ui.answer.answer` returns; `.pick` carries {"index": item}."""

    def __init__(self, value: dict[str, Any] | None = None, **props: Any):
        super().__init__(
            value=value,
            html_template="<div class='rg'></div><p class='spoken' role='status' aria-live='polite'></p>",
            css_template=style("result_grid"),
            js_on_load=script("result_grid"),
            apply_default_css=False,
            **props,
        )

    def api_info(self) -> dict[str, Any]:
        return {"type": "object"}


class ItemDialog(gr.HTML):
    """A dialog about one item. `value` is what `xmr.ui.details.details` returns; `.use` carries {"index": item},
    `.open` also the "tab" to open the pair in and the "run"."""

    def __init__(self, **props: Any):
        super().__init__(
            value=None,
            html_template="<dialog class='item' aria-label='Item'></dialog>",
            css_template=style("item_dialog"),
            js_on_load=script("item_dialog"),
            apply_default_css=False,
            **props,
        )

    def api_info(self) -> dict[str, Any]:
        return {"type": "object"}
