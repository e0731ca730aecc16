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
    """Runs `work` when the surrounding tab is selected, unless it shows all that already, and while it is, whenever one of
    `watched` changes.

    `work` takes the values of `inputs` and returns a tuple of new values for `outputs`, the first of which must
    have an `elem_id`: the browser says with each change whether it is on the screen, and with each selection whether the
    inputs are those that it was last drawn for. (Remembering the selected tab on the server instead goes wrong, because
    events of a quick switch to and fro may end in another order.)
    """
    tab = Context.block
    while tab is not None and not isinstance(tab, gr.Tab):
        tab = tab.parent
    if tab is None:
        raise RuntimeError("when_shown belongs inside a tab")
    wanted = gr.Checkbox(False, visible=False)
    first = outputs[0].elem_id

    def asked(is_wanted: bool, *values: Any) -> Any:
        return work(*values) if is_wanted else tuple(gr.skip() for _ in outputs)

    every, results = [wanted, *inputs], list(outputs)
    tab.select(asked, every, results, js=NEW % first, **EVENT)
    changes = [component.change for component in watched]
    gr.on(changes, asked, every, results, js=SHOWN % first, trigger_mode="always_last", **EVENT)


# Both take the values of the inputs behind the first, and return them with whether they are to be shown. What is not yet
# drawn, or waits for something that is measured in the background, is asked for again.
NEW = """(_, ...rest) => {
  const drawn = (window.xmrDrawn ??= {}), key = JSON.stringify(rest), place = document.getElementById('%s');
  const waiting = !place || /Measuring …|in the background|the others follow/.test(place.closest('[role=tabpanel]')?.innerText ?? 'Measuring');
  const wanted = drawn[place?.id] !== key || waiting;
  if (place) drawn[place.id] = key;
  return [wanted, ...rest];
}"""
SHOWN = """(_, ...rest) => {
  const place = document.getElementById('%s');
  const wanted = Boolean(place?.offsetParent);
  if (wanted) (window.xmrDrawn ??= {})[place.id] = JSON.stringify(rest);
  return [wanted, ...rest];
}"""
