"""The search tab: one query, every run's answer side by side."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import gradio as gr
import numpy as np

from xmr.core import Direction
from xmr.ui.answer import Asked, answer, details
from xmr.ui.components.result_grid import ItemDialog, ResultGrid
from xmr.ui.events import ENCODE_LIMIT, EVENT
from xmr.ui.pictures import open_picture
from xmr.ui.shell import Controls, chosen, side_by_side
from xmr.workspace import Workspace

TITLE = "Search"
ID = "search"

ENCODE = EVENT | ENCODE_LIMIT

Shown = tuple[Asked, dict[str, Any]]


def disagreement(
    workspace: Workspace, split: str, direction: Direction, runs: list[str], place: int = 0
) -> Asked:
    """The query at `place` in the order of the runs' disagreement: a first visit starts at 0."""
    runs = side_by_side(chosen(workspace, runs, None)[0])[0]
    order = workspace.disagreements(runs or workspace.shown_first[:1], split, direction)
    place %= len(order)
    return Asked("item", split, direction, index=int(order[place]), place=place)


def followed(workspace: Workspace, asked: Asked, split: str, direction: Direction, runs: list[str]) -> Asked:
    """The present query under a changed split or direction: the same pair from its other side where there is one."""
    if (asked.split, asked.direction) == (split, direction):
        return asked
    if asked.split == split and asked.kind == "item":
        links = workspace.dataset(split).visual_of_text
        others = links[[asked.index]] if direction == "v2t" else np.flatnonzero(links == asked.index)
        if len(others):
            return Asked("item", split, direction, index=int(others[0]))
    if asked.direction == direction and asked.kind != "item":
        return replace(asked, split=split)
    return disagreement(workspace, split, direction, runs)


def show(workspace: Workspace, asked: Asked, runs: list[str], baseline: str, k: int) -> Shown:
    """The query with its answer. Raises gr.Error with the reason where a run cannot answer."""
    runs, baseline = chosen(workspace, runs, baseline)
    shown, left_out = side_by_side(runs, baseline)
    try:
        return asked, answer(workspace, asked, shown, baseline, int(k)) | {"left_out": left_out}
    except (ValueError, OSError) as error:
        raise gr.Error(str(error), title="No answer") from error


def typed(asked: Asked, text: str, noun: str = "picture") -> Asked:
    """A text asks for visuals, whatever was asked before; a caption shown for an item stays that item."""
    if not text.strip():
        raise gr.Error(
            f"Type what the {noun} should show, or press Next disagreement.", title="Nothing to search for"
        )
    return Asked("text", asked.split, "t2v", text=text.strip(), place=asked.place)


def uploaded(asked: Asked, path: str) -> Asked:
    """A picture asks for what stands on the other side. Raises gr.Error where it cannot be read."""
    try:
        open_picture(path)
    except ValueError as error:
        raise gr.Error(str(error), title="Picture not used") from error
    return Asked("upload", asked.split, "v2t", path=path, place=asked.place)


def shown_text(workspace: Workspace, asked: Asked) -> str:
    """What stands in the text box while this query is shown."""
    if asked.kind == "item" and asked.direction == "t2v" and asks_text(workspace):
        return workspace.dataset(asked.split).captions[asked.index]
    return asked.text


def asks_text(workspace: Workspace) -> bool:
    """Whether free text can be a query: not where both sides are pictures or texts are mere features."""
    data = workspace.dataset()
    return data.gallery_visuals is None and data.classes is None


def build(workspace: Workspace, controls: Controls) -> None:
    """Lays the tab out and wires it; the first answer is part of the page, so nothing waits for an event."""
    runs, baseline, k = controls.runs.value, controls.baseline.value, controls.k.value
    start = disagreement(workspace, "test", controls.direction.value, runs)
    first, value = show(workspace, start, runs, baseline, k)
    asked = gr.State(first)
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
            max_length=500,
            max_lines=1,  # a line that scrolls: the whole text stands below, and the row keeps its height
            elem_id="query",
        )
        go = gr.Button(
            "Search",
            variant="primary",
            size="md",
            scale=0,
            min_width=96,
            visible=asks_text(workspace),
            elem_id="go",
        )
        picture = gr.UploadButton(
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
    grid = ResultGrid(value, elem_id="results")
    dialog = ItemDialog(elem_id="item")

    sidebar = [controls.runs, controls.baseline, controls.k]
    outputs = [asked, grid, text, controls.direction]

    def shown(new: Asked, *values: Any) -> tuple[Any, ...]:
        new, drawn = show(workspace, new, *values)
        return new, drawn, shown_text(workspace, new), new.direction

    def on_text(now: Asked, words: str, *values: Any) -> tuple[Any, ...]:
        if words == shown_text(workspace, now) and now.direction == "t2v":
            return shown(now, *values)  # pressed again without a change: the item keeps its annotation
        return shown(typed(now, words, noun), *values)

    def on_upload(now: Asked, path: str, *values: Any) -> tuple[Any, ...]:
        return shown(uploaded(now, path), *values)

    def on_next(now: Asked, *values: Any) -> tuple[Any, ...]:
        return shown(disagreement(workspace, now.split, now.direction, values[0], now.place + 1), *values)

    def on_random(now: Asked, *values: Any) -> tuple[Any, ...]:
        data = workspace.dataset(now.split)
        count = len(data.captions if now.direction == "t2v" else data.visual_ids)
        return shown(replace(now, kind="item", index=int(np.random.default_rng().integers(count))), *values)

    def on_sidebar(now: Asked, split: str, direction: Direction, *values: Any) -> tuple[Any, ...]:
        new = followed(workspace, now, split, direction, values[0])
        if new == now:  # words that are being typed stay where they are
            return gr.skip(), show(workspace, now, *values)[1], gr.skip(), gr.skip()
        return shown(new, *values)

    def on_pick(now: Asked, names: list[str], base: str, event: gr.EventData) -> dict[str, Any]:
        shown = side_by_side(*chosen(workspace, names, base))[0]
        card = details(workspace, now, shown, picked_index(workspace, now, event))
        # Gradio tells a component of changed values only, and a closed card may be asked for again.
        return card | {"opened": time.time_ns()}

    def on_use(now: Asked, names: list[str], base: str, count: int, event: gr.EventData) -> tuple[Any, ...]:
        index = picked_index(workspace, now, event)
        turned: Direction = "v2t" if now.direction == "t2v" else "t2v"
        return shown(Asked("item", now.split, turned, index=index, place=now.place), names, base, count)

    gr.on([text.submit, go.click], on_text, [asked, text, *sidebar], outputs, **ENCODE)
    picture.upload(on_upload, [asked, picture, *sidebar], outputs, **ENCODE)
    following.click(on_next, [asked, *sidebar], outputs, **EVENT)
    chance.click(on_random, [asked, *sidebar], outputs, **EVENT)
    # `.input` on the direction, because answers set it too; the others are set by users only.
    gr.on(
        [controls.direction.input, *(control.change for control in (controls.split, *sidebar))],
        on_sidebar,
        [asked, controls.split, controls.direction, *sidebar],
        outputs,
        trigger_mode="always_last",
        **ENCODE,
    )
    grid.pick(on_pick, [asked, controls.runs, controls.baseline], dialog, **EVENT)
    dialog.use(on_use, [asked, *sidebar], outputs, **EVENT)


def picked_index(workspace: Workspace, asked: Asked, event: gr.EventData) -> int:
    """The item that a browser names, checked: it is free to send anything."""
    data = workspace.dataset(asked.split)
    count = len(data.visual_ids if asked.direction == "t2v" else data.captions)
    index = event._data.get("index") if isinstance(event._data, dict) else None
    if type(index) is not int or not 0 <= index < count:
        raise gr.Error("That item is not in this split any more.", title="Item not found")
    return index
