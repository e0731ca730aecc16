"""The search tab: one query, every run's answer side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import gradio as gr
import numpy as np

from xmr.checkpoints import trains_a_loss
from xmr.core import Direction
from xmr.embedding import kind_of_data
from xmr.registry import UnknownName
from xmr.ui.answer import Asked, answer, details
from xmr.ui.components.result_grid import ItemDialog, ResultGrid
from xmr.ui.pictures import open_picture
from xmr.ui.shell import EVENT, Controls, chosen, side_by_side
from xmr.workspace import Query, Workspace
from xmr.workspace.pages import Page, holder

TITLE = "Search"
ID = "search"

# Encoders are heavy: two at a time, however many visitors there are.
ENCODE_LIMIT: dict[str, Any] = {"concurrency_id": "encode", "concurrency_limit": 2}
ENCODE = EVENT | ENCODE_LIMIT
MAX_K = 1000

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


def api_search(workspace: Workspace, pages: Sequence[Page] = ()) -> Callable[..., dict[str, Any]]:
    """The function behind the endpoint /search."""

    def search(query: str, runs: list[str], k: int = 10) -> dict[str, Any]:
        """Find the visuals of the test split that fit a text best, once per run.

        Args:
            query: What the visual should show. If it reads like a caption of the split, matches are known.
            runs: Names of the runs to ask, as /runs lists them; an empty list asks all of the first page.
            k: How many results per run, 1 to 1,000.

        Returns:
            {"runs": {run: {"results": [{"id", "score", "rank", "first_rank", "relevant"}]}}}. first_rank is the
            rank in the first stage of a run that re-ranks, else null. relevant is true for an annotated or true
            match, false for a known non-match, null where it is not known.
        """
        if not query.strip():
            raise gr.Error("The query is empty.")
        if not 1 <= k <= MAX_K:
            raise gr.Error(f"k must be 1 to {MAX_K}, found {k}.")
        try:
            columns = []
            for name in dict.fromkeys(runs) or workspace.runs:
                held = holder(name, workspace, pages)
                columns += held.search(Query(text=query), [held.run(name).name], "test", "t2v", k)
            if faults := [f"{column.run}: {column.fault}" for column in columns if column.fault]:
                raise ValueError("; ".join(faults))
        except (UnknownName, ValueError, OSError) as error:
            raise gr.Error(str(error)) from error
        relevant = {"annotated": True, "true": True, "neither": False, "unknown": None}
        return {
            "runs": {
                column.run: {
                    "results": [
                        {
                            "id": result.id,
                            "score": round(result.score, 6),
                            "rank": result.rank,
                            "first_rank": result.first_rank,
                            "relevant": relevant[result.status],
                        }
                        for result in column.results
                    ]
                }
                for column in columns
            }
        }

    return search


def api_runs(workspace: Workspace, pages: Sequence[Page] = ()) -> Callable[..., list[dict[str, Any]]]:
    """The function behind the endpoint /runs."""

    def runs() -> list[dict[str, Any]]:
        """List the runs: name, loss, matcher, dataset, kind of data ("image" or "clip") and metrics of each, and why one
        cannot be compared with the others of its dataset, as far as that is known before its page is opened."""
        kept = [(run, "") for run in workspace.runs.values()]
        further = [(run, "") for page in pages[1:] for run in page.runs.values()]
        return [
            {
                "name": run.name,
                "loss": run.config.loss,
                "loss_params": dict(run.config.loss_params),
                "matcher": run.config.matcher if trains_a_loss(run) else "",
                "dataset": run.config.dataset,
                "kind": kind_of_data(run),
                "metrics": run.metrics,
                "comparable": not reason,
                "reason": reason,
            }
            for run, reason in (*kept, *workspace.apart.values(), *further)
        ]

    return runs
