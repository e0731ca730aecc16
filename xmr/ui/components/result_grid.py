"""What several runs retrieve for one query, side by side, and the card of one item."""

from __future__ import annotations

from xmr.ui.components import Drawn


class ResultGrid(Drawn):
    """One column per run. `value` is what `xmr.ui.answer.answer` returns; `.pick` carries {"index": item}."""

    ASSET = "result_grid"
    TEMPLATE = "<div class='rg'></div><p class='spoken' role='status' aria-live='polite'></p>"


class ItemDialog(Drawn):
    """A dialog about one item. `value` is what `xmr.ui.details.details` returns; `.use` carries {"index": item},
    `.open` also the "tab" to open the pair in and the "run"."""

    ASSET = "item_dialog"
    TEMPLATE = "<dialog class='item' aria-label='Item'></dialog>"
