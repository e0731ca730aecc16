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
    idle: gr.Timer,
    always: bool = False,
    again: gr.Timer | None = None,
) -> None:
    """Runs `work` when the surrounding tab is selected, and while it is, whenever one of `watched` changes.

    `work` takes the values of `inputs` and returns a tuple of new values for `outputs`, the first of which must
    have an `elem_id`: the browser looks whether it is on the screen. (Remembering the selected tab on the server
    instead goes wrong, because events of a quick switch to and fro may end in another order.)

    What is wanted is written into a text of the tab's own, and its change alone asks the server: a tab that was drawn for
    the same inputs is not drawn again, unless `always`: where it shows what others do meanwhile. (Gradio repeats a whole
    event, with all that listens to it, where one listener was busy with its "always_last": several such listeners of
    several events never came to rest.) A tab out of sight costs nothing but once: at the tick of `idle`, one that nobody
    has opened yet is filled, so that it is there when it is opened. `again`, one of the outputs, is a timer that `work`
    lets run while it waits for what is measured in the background.
    """
    tab = Context.block
    while tab is not None and not isinstance(tab, gr.Tab):
        tab = tab.parent
    if tab is None:
        raise RuntimeError("when_shown belongs inside a tab")
    place = outputs[0].elem_id
    wish = gr.Textbox("", visible="hidden", label="what is shown", elem_id=f"{place}-wish")
    seen = [wish, *(one for one in inputs if not isinstance(one, gr.State))]
    tab.select(None, seen, wish, js=SELECTED % ("true" if always else "false", place, place), **EVENT)
    gr.on([one.change for one in watched], None, seen, wish, js=CHANGED % (place, "false"), **EVENT)
    if again:
        again.tick(None, seen, wish, js=CHANGED % (place, "true"), **EVENT)
    idle.tick(None, None, None, js=PAUSE, **EVENT)
    idle.tick(None, seen, wish, js=AHEAD, **EVENT)

    # What changes otherwise is drawn by handlers of the tab, which then shows another thing than was wished for.
    others = [one for one in seen[1:] if one not in watched]
    if others:
        gr.on([one.change for one in others], None, None, None, js=STALE % place, **EVENT)

    granted = gr.State("")

    def asked(wanted: str, last: str, *values: Any) -> Any:
        # A wish that changed twice while the server was busy comes a second time, though it is granted.
        if not wanted or wanted == last:
            return tuple(gr.skip() for _ in (wish, *outputs))
        return wanted, *work(*values)

    answer = wish.change(
        asked, [wish, granted, *inputs], [granted, *outputs], trigger_mode="always_last", **EVENT
    )
    answer.failure(None, None, wish, js="() => ''", **EVENT)


# Of the last wish and the values of the inputs: the new wish, the same one where nothing is to be done.
WISH = """const wish = (last, values, fresh) => {
    const key = JSON.stringify(values), [number, ...rest] = (last || '0 ').split(' ');
    return !fresh && rest.join(' ') === key ? last : `${Number(number) + 1} ${key}`;
  };"""
SELECTED = f"""(last, ...values) => {{
  {WISH}
  const fresh = %s || Boolean(window.xmrStale?.['%s']);
  if (window.xmrStale) delete window.xmrStale['%s'];
  return wish(last, values, fresh);
}}"""
# Tab after tab; not while a wish is at hand, which somebody may replace meanwhile.
PAUSE = "() => new Promise((go) => { setTimeout(go, 250); })"
AHEAD = f"""(last, ...values) => {{
  {WISH}
  return last || wish('', values, false);
}}"""
STALE = "() => { (window.xmrStale ??= {})['%s'] = true; }"
CHANGED = f"""(last, ...values) => {{
  {WISH}
  return document.getElementById('%s')?.offsetParent ? wish(last, values, %s) : last;
}}"""
