"""Work for a tab only while somebody looks at it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
from gradio.context import Context

from xmr.ui.shell import EVENT


def when_shown(
    work: Callable[..., Any],
    inputs: Sequence[gr.components.Component],
    outputs: Sequence[gr.components.Component],
    watched: Sequence[gr.components.Component],
) -> None:
    """Runs `work` when the surrounding tab is selected, and while it is, whenever one of `watched` changes.

    `work` takes the values of `inputs` and returns a tuple of new values for `outputs`.
    """
    tab = Context.block
    while tab is not None and not isinstance(tab, gr.Tab):
        tab = tab.parent
    if tab is None or not isinstance(tab.parent, gr.Tabs):
        raise RuntimeError("when_shown belongs inside a tab")
    looking = gr.State(False)

    def changed(shown: bool, *values: Any) -> Any:
        return work(*values) if shown else tuple(gr.skip() for _ in outputs)

    def selected(event: gr.SelectData) -> bool:
        return event.value == tab.label

    tab.parent.select(selected, None, looking, **EVENT)
    tab.select(work, list(inputs), list(outputs), **EVENT)
    gr.on(
        [component.change for component in watched],
        changed,
        [looking, *inputs],
        list(outputs),
        trigger_mode="always_last",
        **EVENT,
    )
