"""The sidebar: which data, which runs, and how many results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xmr.views import blocks
from xmr.views.blocks import Block
from xmr.words import counted
from xmr.workspace import Workspace
from xmr.workspace.seeds import folded
from xmr.workspace.words import words_of

if TYPE_CHECKING:
    from xmr.views import Scene


POINTED = {"page": 0, "cell": "", "bin": ""}  # at pairs of the split before


def sidebar(scene: Scene) -> list[Block]:
    workspace, state = scene.workspace, scene.state
    data, words = workspace.dataset(), words_of(workspace.dataset())
    ways = [(words.t2v, "t2v"), (words.v2t, "v2t")]
    if data.gallery_visuals is not None:  # there, the visuals are what is meant to ask
        ways.reverse()
    shown = [
        {
            "kind": "brand",
            "id": "dataset",
            "title": data.name,
            "lines": dataset_lines(workspace),
            "pages": [
                {
                    "title": page.title,
                    "runs": counted(len(page.runs), "run"),
                    "here": page.title == state.dataset,
                }
                for page in scene.pages
            ],
        },
        blocks.radio("direction", "Direction", ways, state.direction, key="direction", resets={"page": 0}),
        blocks.many("runs", "Runs", run_choices(workspace), state.runs or (), key="runs", resets={"page": 0}),
        *seeds_choice(scene),
        blocks.menu("baseline", "Baseline", list(workspace.runs), state.baseline, key="baseline"),
        blocks.slider("k", "Results per run (k)", 4, 24, state.k, 1, key="k"),
        blocks.menu("split", "Split", split_choices(workspace), state.split, key="split", resets=POINTED),
    ]
    if items := fault_items(workspace):
        shown.append({"kind": "faults", "id": "faults", "items": [list(item) for item in items]})
    return shown


def seeds_choice(scene: Scene) -> list[Block]:
    """Whether runs that differ by their seed alone are one; nothing where there are none such."""
    page = next(page for page in scene.pages if page.title == scene.state.dataset)
    if folded(page.workspace) is page.workspace:
        return []
    ways = [("as one run", "one"), ("each by itself", "each")]
    return [
        blocks.radio("seeds", "Seeds of one setting", ways, scene.state.seeds, key="seeds", resets=POINTED)
    ]


def run_choices(workspace: Workspace) -> list[tuple[str, str]]:
    """The runs as they are called, with their matchers where these differ."""
    matchers = {name: workspace.run(name).about for name in workspace.trained}
    if len(set(matchers.values())) < 2:
        return [(name, name) for name in workspace.runs]
    return [(f"{name} · {matchers[name]}" if name in matchers else name, name) for name in workspace.runs]


def split_choices(workspace: Workspace) -> list[tuple[str, str]]:
    """The splits with their sizes, as the runs tell them: loading a training split just to count it is slow."""
    sizes = next(iter(workspace.runs.values())).dataset.get("sizes", {})
    data = workspace.dataset()
    known = {split: size["visuals"] for split, size in sizes.items()}
    known["test"] = len(data.visual_ids)
    noun = words_of(data).visual
    return [
        (f"{split} · {counted(known[split], noun)}", split)
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
    sizes = f"{counted(len(data.visual_ids), words.visual)} · {counted(len(data.captions), words.text)}"
    return [sizes, *lines, f"test split; {known}"]


def fault_items(workspace: Workspace) -> list[tuple[str, str]]:
    """Folders that are no whole runs, and runs of other data: name and reason, with what helps."""
    broken = [(fault.path.name, fault.reason) for fault in workspace.faults]
    return broken + [(name, reason) for name, (_, reason) in workspace.apart.items()]
