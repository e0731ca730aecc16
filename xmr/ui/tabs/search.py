"""The search tab: one query, every run's answer side by side."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gradio as gr
import numpy as np

from xmr.core import Direction
from xmr.ui import given
from xmr.ui.answer import answer
from xmr.ui.asked import (
    Asked,
    asks_text,
    disagreement,
    followed,
    read_query,
    shown_text,
    written,
)
from xmr.ui.components.picture_upload import PictureUpload
from xmr.ui.components.result_grid import ItemDialog, ResultGrid
from xmr.ui.details import details
from xmr.ui.events import ENCODE_LIMIT, EVENT
from xmr.ui.links import any_text, go, one_of
from xmr.ui.pictures import UPLOADS
from xmr.ui.said import refused, warn
from xmr.ui.scales import SCALES, Scale
from xmr.ui.shell import Controls, chosen, side_by_side
from xmr.workspace import Workspace
from xmr.workspace.item_names import item_link

TITLE = "Search"
ID = "search"
ENCODE = EVENT | ENCODE_LIMIT
MOST_STEPS = 50  # that one answer goes on by, whatever a browser sends
# What is wished for, "tick number act words": an act has the tick at which it was wished for as its number, and stays
# until the next one, so that a change of the sidebar meanwhile takes nothing back.
ACT = "(wish, words) => { const tick = Number(wish.split(' ')[0]) + 1; return `${tick} ${tick} %s ${words ?? ''}`; }"
# Next counts its presses in a row, so that none is lost while an answer is awaited.
NEXT = """(wish) => { const [last, number, kind, count] = wish.split(' '), tick = Number(last) + 1;
  return kind === 'next' ? `${tick} ${number} next ${Number(count) + 1}` : `${tick} ${tick} next 1`; }"""
# The page is looked at once more without the act that failed; what fails then too is left.
FAILED = """(wish) => { const [last, , kind] = wish.split(' '), tick = Number(last) + 1;
  return kind === 'failed' ? wish : `${tick} ${tick} failed`; }"""
LOOK_AGAIN = "(wish) => wish.replace(/^\\d*/, (tick) => Number(tick) + 1)"


def show(
    workspace: Workspace, asked: Asked, runs: list[str], baseline: str, k: int, scale: Scale = "raw"
) -> dict[str, Any]:
    """The answer to a query. Raises gr.Error with the reason where a run cannot answer."""
    runs, baseline = chosen(workspace, runs, baseline)
    shown, left_out = side_by_side(runs, baseline)
    try:
        return answer(workspace, asked, shown, baseline, int(k), scale) | {"left_out": left_out}
    except (ValueError, OSError) as error:
        raise refused(str(error), title="No answer") from error


def typed(asked: Asked, text: str, noun: str = "picture") -> Asked:
    """A text asks for visuals, whatever was asked before; a caption shown for an item stays that item."""
    if not text.strip():
        raise refused(
            f"Type what the {noun} should show, or press Next disagreement.", title="Nothing to search for"
        )
    try:
        words = given.text("The query", text)
    except ValueError as error:
        raise refused(f"{error}.", title="Not searched") from error
    index = asked.index if asked.direction == "t2v" else 0
    return Asked("text", asked.split, "t2v", text=words, index=index)


def uploaded(asked: Asked, path: str) -> Asked:
    """A picture asks for what stands on the other side. Raises gr.Error where it cannot be read."""
    try:
        key = UPLOADS.take(path)
    except ValueError as error:
        raise refused(str(error), title="Picture not used") from error
    index = asked.index if asked.direction == "v2t" else 0
    return Asked("upload", asked.split, "v2t", path=key, index=index)


def picked_index(workspace: Workspace, asked: Asked, event: gr.EventData) -> int:
    """The item that a browser names, checked: it is free to send anything."""
    data = workspace.dataset(asked.split)
    count = len(data.visual_ids if asked.direction == "t2v" else data.captions)
    index = event._data.get("index") if isinstance(event._data, dict) else None
    if type(index) is not int or not 0 <= index < count:
        raise refused("That item is not in this split any more.", title="Item not found")
    return index


def build(workspace: Workspace, controls: Controls) -> None:
    """Lays the tab out and wires it; the first answer is part of the page, so nothing waits for an event."""
    runs, baseline, k = controls.runs.value, controls.baseline.value, controls.k.value
    first = disagreement(workspace, "test", controls.direction.value, side_by_side(runs)[0])
    asked = gr.State(first)
    # The last act with its presses, and the query and the settings whose answer is on the page.
    answered = gr.State((("", 0), None, None))
    brought = gr.State(None)  # the query that a picture or an item makes
    wish = gr.Textbox("", visible="hidden", label="what is searched", elem_id="search-wish")
    link = controls.links.hidden("query", any_text, ID, written(workspace, first))
    noun = "clip" if workspace.dataset().kind == "clip" else "picture"
    with gr.Row(elem_id="ask"):
        text = gr.Textbox(
            shown_text(workspace, first),
            label="Query",
            placeholder=f"Describe a {noun}",
            visible=asks_text(workspace),
            show_label=False,
            container=False,
            scale=6,
            min_width=260,
            max_lines=1,  # a line that scrolls: the whole text stands below, and the row keeps its height
            elem_id="query",
        )
        go_button = gr.Button(
            "Search",
            variant="primary",
            size="md",
            scale=0,
            min_width=96,
            visible=asks_text(workspace),
            elem_id="go",
        )
        picture = PictureUpload(
            "Upload a picture",
            size="md",
            file_types=["image"],
            scale=0,
            min_width=140,
            visible=workspace.dataset().visuals is not None and workspace.dataset().classes is None,
            elem_id="upload",
        )
        following = gr.Button("Next disagreement", size="md", scale=0, min_width=160, elem_id="next")
        chance = gr.Button("Random", size="md", scale=0, min_width=88, elem_id="random")
        scale = gr.Dropdown(
            [(words, name) for name, words in SCALES.items()],
            value="raw",
            label="Scores",
            show_label=False,
            container=False,
            filterable=False,
            scale=0,
            min_width=150,
            elem_id="scale",
        )
    controls.links.keep("scale", scale, one_of("scale", SCALES), ID)
    grid = ResultGrid(show(workspace, first, runs, baseline, k), elem_id="results")
    dialog = ItemDialog(elem_id="item")

    sidebar = [controls.runs, controls.baseline, controls.k, scale]
    outputs = [asked, answered, controls.direction, grid, text, link]

    def on_text(now: Asked, words: str) -> Asked:
        if words == shown_text(workspace, now) and now.direction == "t2v":
            return now  # pressed again without a change: the item keeps its annotation
        return typed(now, words, noun)

    def on_next(now: Asked, names: list[str], steps: int) -> Asked:
        drawn = side_by_side(chosen(workspace, names, None)[0])[0]
        for _ in range(min(steps, MOST_STEPS)):
            now = disagreement(workspace, now.split, now.direction, drawn, now)
        return now

    def on_random(now: Asked) -> Asked:
        data = workspace.dataset(now.split)
        count = len(data.captions if now.direction == "t2v" else data.visual_ids)
        return replace(now, kind="item", index=int(np.random.default_rng().integers(count)))

    def linked(now: Asked, held: str, split: str, direction: Direction, names: list[str]) -> Asked:
        """The query of the page: what its link says, under the sidebar's split and direction."""
        drawn = side_by_side(chosen(workspace, names, None)[0])[0]
        if held != written(workspace, now):
            try:
                found = read_query(workspace, held, split)
            except ValueError as error:
                warn(str(error), "Another query is shown")
                return disagreement(workspace, split, direction, drawn)
            # A link is followed whole; its direction may be on its way.
            return found
        return followed(workspace, now, split, direction, drawn)

    def on_page(
        wanted: str,
        now: Asked,
        done: tuple[tuple[str, int], Any, Any],
        what: Any,
        held: str,
        split: str,
        direction: Direction,
        *values: Any,
    ) -> tuple[Any, ...]:
        """Whatever changed, by a hand, a link or an answer: one path, so that no two answers overtake each other."""
        _, number, kind, words, *_ = [*wanted.split(" ", 3), "", "", ""]
        presses = int(words) if kind == "next" and re.fullmatch(r"[0-9]{1,9}", words) else 1
        steps = presses - done[0][1] if number == done[0][0] else presses
        new = linked(now, held, split, direction, values[0])
        acts: dict[str, Callable[[], Asked]] = {
            "text": lambda: on_text(new, words),
            "next": lambda: on_next(new, values[0], steps),
            "random": lambda: on_random(new),
            "brought": lambda: what,
        }
        act = acts.get(kind) if steps > 0 else None
        if act:
            new = act()
        kept = written(workspace, new)
        if not act and (new, values) == done[1:] and held == kept:
            return tuple(gr.skip() for _ in outputs)
        drawn, state = show(workspace, new, *values), ((number, presses), new, values)
        if not act and new == now:
            # Words that are being typed stay where they are; what a link can't be used for goes.
            return gr.skip(), state, gr.skip(), drawn, gr.skip(), kept
        return new, state, new.direction, drawn, shown_text(workspace, new), kept

    def on_use(now: Asked, event: gr.EventData) -> Asked:
        index = picked_index(workspace, now, event)
        turned: Direction = "v2t" if now.direction == "t2v" else "t2v"
        return Asked("item", now.split, turned, index=index)

    def on_pick(now: Asked, names: list[str], base: str, event: gr.EventData) -> dict[str, Any]:
        shown = side_by_side(*chosen(workspace, names, base))[0]
        try:
            card = details(workspace, now, shown, picked_index(workspace, now, event))
        except (ValueError, OSError) as error:  # of uploaded pictures, only the latest are kept
            raise refused(str(error), title="Not opened") from error
        # Gradio tells a component of changed values only, and a closed card may be asked for again.
        return card | {"opened": time.time_ns()}

    def on_open(now: Asked, event: gr.EventData) -> dict[str, Any]:
        return opened(workspace, now, picked_index(workspace, now, event), event._data)

    def act(trigger: Callable[..., Any], kind: str) -> None:
        trigger(None, wish, wish, js=ACT % kind, **EVENT)

    gr.on([text.submit, go_button.click], None, [wish, text], wish, js=ACT % "text", **EVENT)
    following.click(None, wish, wish, js=NEXT, **EVENT)
    act(chance.click, "random")
    act(picture.upload(uploaded, [asked, picture], brought, **EVENT).success, "brought")
    act(dialog.use(on_use, asked, brought, **EVENT).success, "brought")
    # `.input` on the direction, because answers set it too.
    changes = [controls.direction.input, *(one.change for one in (link, controls.split, *sidebar))]
    gr.on(changes, None, wish, wish, js=LOOK_AGAIN, **EVENT)
    of_page = [wish, asked, answered, brought, link, controls.split, controls.direction, *sidebar]
    wish.change(on_page, of_page, outputs, trigger_mode="always_last", **ENCODE).failure(
        None, wish, wish, js=FAILED, **EVENT
    )
    grid.pick(on_pick, [asked, controls.runs, controls.baseline], dialog, **EVENT)
    dialog.open(on_open, asked, controls.links.jump, **EVENT)


def opened(workspace: Workspace, asked: Asked, index: int, wish: dict[str, Any]) -> dict[str, Any]:
    """The move to another tab with the pair of the present query and an item; `wish` names the tab and the run."""
    run, tab = wish.get("run"), wish.get("tab")
    if (
        not isinstance(run, str)
        or run not in workspace.trained
        or tab not in ("weights", "false_negatives")
        or asked.kind != "item"
    ):
        raise refused("That pair can't be opened there.", title="Not opened")
    visual, text = (asked.index, index) if asked.direction == "v2t" else (index, asked.index)
    pair = (
        item_link(workspace, asked.split, "visual", visual),
        item_link(workspace, asked.split, "caption", text),
    )
    if tab == "weights":
        return go(tab, loss=f"run {run}", pair_visual=pair[0], pair_text=pair[1], cell="")
    return go(tab, fn_run=run, suspect_visual=pair[0], suspect_text=pair[1])
