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
    always: bool = False,
    again: gr.Timer | None = None,
) -> None:
    """Runs `work` when the surrounding tab is selected, and while it is, whenever one of `watched` changes.

    `work` takes the values of `inputs` and returns a tuple of new values for `outputs`, the first of which must
    have an `elem_id`: the browser says with each change whether it is on the screen. (Remembering the selected
    tab on the server instead goes wrong, because events of a quick switch to and fro may end in another order.)
    A tab that was drawn for the same inputs, none of which has changed since, is not drawn again, unless `always`: where it
    shows what others do meanwhile. `again`, one of the outputs, is a timer that `work` lets run while it waits for what is
    measured in the background.
    """
    tab = Context.block
    while tab is not None and not isinstance(tab, gr.Tab):
        tab = tab.parent
    if tab is None:
        raise RuntimeError("when_shown belongs inside a tab")
    wanted = gr.Checkbox(False, visible=False)
    place = outputs[0].elem_id
    every, results, latest = [wanted, *inputs], list(outputs), EVENT | {"trigger_mode": "always_last"}

    def asked(is_wanted: bool, *values: Any) -> Any:
        return work(*values) if is_wanted else tuple(gr.skip() for _ in outputs)

    selected = ALWAYS if always else NEW % place
    drawn = [
        tab.select(asked, every, results, js=selected, **latest),
        gr.on([one.change for one in watched], asked, every, results, js=SHOWN % place, **latest),
    ]
    if again:
        drawn.append(again.tick(asked, every, results, js=SHOWN % place, **latest))
    for event in drawn:
        event.success(None, None, None, js=DRAWN % place, **EVENT)
    # What changes otherwise is drawn by handlers of the tab, or comes with a move from another tab.
    others = [one for one in inputs if one not in watched and not isinstance(one, gr.State)]
    if others:
        gr.on([one.change for one in others], None, None, None, js=CHANGED % place, **EVENT)


# The first three take the values of the inputs behind the first, and return them with whether they are to be shown.
ALWAYS = "(_, ...rest) => [true, ...rest]"
NEW = """(_, ...rest) => {
  const key = JSON.stringify(rest), id = '%s';
  const wanted = window.xmrDrawn?.[id] !== key;
  if (wanted) (window.xmrAsked ??= {})[id] = key;
  return [wanted, ...rest];
}"""
SHOWN = """(_, ...rest) => {
  const place = document.getElementById('%s'), wanted = Boolean(place?.offsetParent);
  if (wanted) (window.xmrAsked ??= {})[place.id] = JSON.stringify(rest);
  return [wanted, ...rest];
}"""
DRAWN = """() => {
  const id = '%s';
  if (window.xmrAsked?.[id] === undefined) return;
  (window.xmrDrawn ??= {})[id] = window.xmrAsked[id];
  delete window.xmrAsked[id];
}"""
CHANGED = "() => { if (window.xmrDrawn) delete window.xmrDrawn['%s']; }"
