"""The frame around the tabs: the sidebar's controls, what they may hold, and notices of what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from xmr.core import Direction
from xmr.ui.components.notice import Notice, brand, faults
from xmr.workspace import Workspace

MAX_RUNS = 6
# Said once: an event of the page is no endpoint of the API, and pure reading needs no turn in a queue.
EVENT: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}


@dataclass(frozen=True)
class Controls:
    """The sidebar's components. Values: split str, direction "t2v" or "v2t", runs list[str], baseline str, k int.

    Tabs take them as inputs and listen to `.change`. A baseline may for a moment not be among the runs (the
    user has just taken it out): `chosen` settles that.
    """

    split: gr.Dropdown
    direction: gr.Radio
    runs: gr.CheckboxGroup
    baseline: gr.Dropdown
    k: gr.Slider


def chosen(workspace: Workspace, runs: list[str] | None, baseline: str | None) -> tuple[list[str], str]:
    """The runs to show, known and at most six, and the baseline among them ("" where there is no run)."""
    kept = [name for name in workspace.runs if name in (runs or ())][:MAX_RUNS]
    return kept, baseline if baseline in kept else (kept[0] if kept else "")


def direction_words(workspace: Workspace) -> dict[Direction, str]:
    """What the two directions are called for this dataset's kind of visual."""
    kind = workspace.dataset().kind
    return {"t2v": f"text → {kind}", "v2t": f"{kind} → text"}


def sidebar(workspace: Workspace) -> Controls:
    """Lays out the controls and keeps baseline and runs consistent."""
    runs, baseline = chosen(workspace, list(workspace.runs)[:4], None)
    words = direction_words(workspace)
    Notice(brand(workspace.dataset().name, dataset_lines(workspace)), elem_id="dataset")
    direction = gr.Radio(
        [(word, key) for key, word in words.items()], value="t2v", label="Direction", elem_id="direction"
    )
    picked = gr.CheckboxGroup(
        [(name, name) for name in workspace.runs],
        value=runs,
        label="Runs",
        info=f"up to {MAX_RUNS}" if len(workspace.runs) > MAX_RUNS else None,
        elem_id="runs",
    )
    # All runs, always: gradio refuses a value that has just left the choices, and browsers send it for a moment.
    base = gr.Dropdown(
        list(workspace.runs), value=baseline, label="Baseline", filterable=False, elem_id="baseline"
    )
    k = gr.Slider(4, 24, value=12, step=1, label="Results per run (k)", elem_id="k")
    split = gr.Dropdown(
        split_choices(workspace), value="test", label="Split", filterable=False, elem_id="split"
    )
    if items := fault_items(workspace):
        Notice(faults(items), elem_id="faults")

    def keep(names: list[str], current: str) -> tuple[Any, Any]:
        kept, first = chosen(workspace, names, current)
        if len(names) <= MAX_RUNS:
            return gr.skip(), first or current  # writing back what was sent would undo a click made meanwhile
        gr.Info(f"At most {MAX_RUNS} runs side by side.")
        return kept, first

    def show_baseline(names: list[str], current: str) -> Any:
        return gr.skip() if current in names else chosen(workspace, [*names, current], current)[0]

    picked.input(keep, [picked, base], [picked, base], **EVENT)
    base.input(show_baseline, [picked, base], picked, **EVENT)
    return Controls(split, direction, picked, base, k)


def split_choices(workspace: Workspace) -> list[tuple[str, str]]:
    """The splits with their sizes, as the runs tell them: loading a training split just to count it is slow."""
    sizes = next(iter(workspace.runs.values())).dataset.get("sizes", {})
    data = workspace.dataset()
    known = {split: size["visuals"] for split, size in sizes.items()}
    known["test"] = len(data.visual_ids)
    return [
        (f"{split} · {known[split]:,} {data.kind}s", split)
        for split in ("test", "validation", "train")
        if split in known
    ]


def dataset_lines(workspace: Workspace) -> list[str]:
    """What the sidebar says of the dataset."""
    data = workspace.dataset()
    known = "only the annotation is known"
    if data.truth:
        known = "truth known for every pair" if data.truth.complete else "truth known for some pairs"
    return [
        f"{len(data.visual_ids):,} {data.kind}s · {len(data.captions):,} captions",
        f"test split; {known}",
    ]


def fault_items(workspace: Workspace) -> list[tuple[str, str]]:
    """Folders that are no whole runs, and runs of other data: name and reason, with what helps."""
    broken = [(fault.path.name, fault.reason) for fault in workspace.faults]
    return broken + [(name, reason) for name, (_, reason) in workspace.apart.items()]
