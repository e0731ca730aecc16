"""The frame around the tabs: the sidebar's controls, what they may hold, and notices of what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from xmr.ui.components.notice import Link, Notice, brand, faults, pages
from xmr.ui.events import EVENT
from xmr.ui.links import Links, make_links, number, one_of, some_of
from xmr.workspace import Workspace
from xmr.workspace.public import public
from xmr.workspace.words import words_of

MAX_RUNS = 6  # side by side; more columns, panels or lines can't be told apart
IDLE = 2  # seconds until tabs are filled and built that nobody has opened yet
NO_LOSS = "Left out: {}, which combines runs and has no loss of its own."


@dataclass(frozen=True)
class Controls:
    """The sidebar's components, and what links keep of the page. Values: split str, direction "t2v" or "v2t", runs list[str], baseline str, k int.

    Tabs take them as inputs and listen to `.change`. A baseline may for a moment not be among the runs (the
    user has just taken it out): `chosen` settles that.
    """

    split: gr.Dropdown
    direction: gr.Radio
    runs: gr.Dropdown
    baseline: gr.Dropdown
    k: gr.Slider
    idle: gr.Timer
    links: Links


def chosen(workspace: Workspace, runs: list[str] | None, baseline: str | None) -> tuple[list[str], str]:
    """The known ones of the ticked runs, in the order of ticking, and the baseline among them ("" where there is no
    run)."""
    kept = [name for name in runs or () if name in workspace.runs]
    return kept, baseline if baseline in kept else (kept[0] if kept else "")


def side_by_side(runs: list[str], baseline: str = "") -> tuple[list[str], str]:
    """The first six of the runs, the baseline always among them, and a sentence on those left out ("" if none)."""
    if len(runs) <= MAX_RUNS:
        return runs, ""
    shown = runs[:MAX_RUNS]
    if baseline in runs and baseline not in shown:
        shown[-1] = baseline
    left = [name for name in runs if name not in shown]
    some = ", ".join(left[:4]) + (f" and {len(left) - 4} more" if len(left) > 4 else "")
    return (
        shown,
        f"{MAX_RUNS} of the {len(runs)} chosen runs are drawn, more can't be read side by side. Left out: {some}.",
    )


def sidebar(workspace: Workspace, links: Sequence[Link] = ()) -> Controls:
    """Lays out the controls and keeps baseline and runs consistent; `links` lead to the pages of all datasets."""
    runs, baseline = chosen(workspace, workspace.shown_first, None)
    count = len(workspace.runs)
    words = words_of(workspace.dataset())
    Notice(brand(workspace.dataset().name, dataset_lines(workspace)), elem_id="dataset")
    if len(links) > 1:
        Notice(pages(links), elem_id="pages")
    ways = [(words.t2v, "t2v"), (words.v2t, "v2t")]
    if workspace.dataset().gallery_visuals is not None:  # there, the visuals are what is meant to ask
        ways.reverse()
    direction = gr.Radio(ways, value=ways[0][1], label="Direction", elem_id="direction")
    picked = gr.Dropdown(
        run_choices(workspace),
        value=runs,
        multiselect=True,
        label="Runs",
        info=f"type to search all {count}; {MAX_RUNS} fit side by side" if count > MAX_RUNS else None,
        elem_id="runs",
    )
    # All runs, always: gradio refuses a value that has just left the choices, and browsers send it for a moment.
    base = gr.Dropdown(list(workspace.runs), value=baseline, label="Baseline", elem_id="baseline")
    k = gr.Slider(4, 24, value=12, step=1, label="Results per run (k)", elem_id="k")
    split = gr.Dropdown(
        split_choices(workspace), value="test", label="Split", filterable=False, elem_id="split"
    )
    items = fault_items(workspace)  # always a part of the page: some may come while it is served
    Notice(faults(items), visible=bool(items), elem_id="faults")

    def keep(names: list[str], current: str) -> Any:
        return chosen(workspace, names, current)[1] or current

    def show_baseline(names: list[str], current: str) -> Any:
        return gr.skip() if current in names else chosen(workspace, [*names, current], current)[0]

    picked.input(keep, [picked, base], base, **EVENT)
    base.input(show_baseline, [picked, base], picked, **EVENT)
    idle = gr.Timer(IDLE)
    idle.tick(lambda: gr.Timer(active=False), None, idle, **EVENT)
    kept = make_links("search")
    kept.keep("split", split, one_of("split", [value for _, value in split.choices]))
    kept.keep("direction", direction, one_of("direction", [value for _, value in ways]))
    kept.keep("runs", picked, some_of("run", workspace.runs))
    kept.keep("baseline", base, one_of("run", workspace.runs))
    kept.keep("k", k, number("k", 4, 24))
    return Controls(split, direction, picked, base, k, idle, kept)


def run_choices(workspace: Workspace) -> list[tuple[str, str]]:
    """The runs as they are called, with their matchers where these differ."""
    matchers = {name: workspace.run(name).config.matcher for name in workspace.trained}
    if len(set(matchers.values())) < 2:
        return [(name, name) for name in workspace.runs]
    return [(f"{name} · {matchers[name]}" if name in matchers else name, name) for name in workspace.runs]


def split_choices(workspace: Workspace) -> list[tuple[str, str]]:
    """The splits with their sizes, as the runs tell them: loading a training split just to count it is slow."""
    sizes = next(iter(workspace.runs.values())).dataset.get("sizes", {})
    data = workspace.dataset()
    known = {split: size["visuals"] for split, size in sizes.items()}
    known["test"] = len(data.visual_ids)
    return [
        (f"{split} · {known[split]:,} {words_of(data).visual}s", split)
        for split in ("test", "validation", "train")
        if split in known
    ]


def dataset_lines(workspace: Workspace) -> list[str]:
    """What the sidebar says of the dataset."""
    data = workspace.dataset()
    words, lines = words_of(data), []
    known = "only the annotation is known"
    if data.classes is not None:
        known = f"{len(data.classes)} classes, equal ones match"
    elif data.truth:
        known = "truth known for every pair" if data.truth.complete else "truth known for some pairs"
    if sides := data.about.get("visual_to_visual"):
        lines = [str(sides)]
    return [
        f"{len(data.visual_ids):,} {words.visual}s · {len(data.captions):,} {words.text}s",
        *lines,
        f"test split; {known}",
    ]


def fault_items(workspace: Workspace) -> list[tuple[str, str]]:
    """Folders that are no whole runs, and runs of other data: name and reason, with what helps."""
    broken = [(fault.path.name, fault.reason) for fault in workspace.faults]
    apart = [(name, reason) for name, (_, reason) in workspace.apart.items()]
    return [(name, public(reason)) for name, reason in broken + apart]
