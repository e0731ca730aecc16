"""Work for a tab only while somebody looks at it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
from gradio.context import Context

from xmr.ui.events import EVENT


def when_shown(
    work: Callable[..., Any],
    inputs: Sequence[gr.components.Component],
    outputs: Sequence[gr.components.Component],
    watched: Sequence[gr.components.Component],
) -> None:
    """Runs `work` when the surrounding tab is selected, and while it is, whenever one of `watched` changes.

    `work` takes the values of `inputs` and returns a tuple of new values for `outputs`, the first of which must
    have an `elem_id`: the browser says with each change whether it is on the screen. (Remembering the selected
    tab on the server instead goes wrong, because events of a quick switch to and fro may end in another order.)
    """
    tab = Context.block
    while tab is not None and not isinstance(tab, gr.Tab):
        tab = tab.parent
    if tab is None:
        raise RuntimeError("when_shown belongs inside a tab")
    seen = gr.Checkbox(False, visible=False)

    def changed(shown: bool, *values: Any) -> Any:
        return work(*values) if shown else tuple(gr.skip() for _ in outputs)

    tab.select(work, list(inputs), list(outputs), **EVENT)
    gr.on(
        [component.change for component in watched],
        changed,
        [seen, *inputs],
        list(outputs),
        js=f"(_, ...rest) => [Boolean(document.getElementById('{outputs[0].elem_id}')?.offsetParent), ...rest]",
        trigger_mode="always_last",
        **EVENT,
    )
