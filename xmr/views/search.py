"""One query, every run's answer side by side."""

from __future__ import annotations

from typing import Any

import numpy as np

from xmr.views import Scene, given, part_of, tab
from xmr.views.answer import answer
from xmr.views.blocks import Block, button, menu, part, row, text
from xmr.views.details import details
from xmr.views.pictures import UPLOADS, enlarged
from xmr.views.query import Asked, asks_text, disagreement, followed, read_query, shown_text, written
from xmr.views.scales import SCALES
from xmr.workspace import Workspace
from xmr.workspace.item_names import item_link

UPLOAD = {"kind": "control", "control": "upload", "id": "upload", "label": "Upload a picture"}
MOST_STEPS = 50  # that one answer goes on by, whatever a browser sends


@tab("search", "Search")
def search(scene: Scene) -> list[Block]:
    workspace = scene.workspace
    runs, left_out = scene.drawn
    asked = _asked(scene, runs)
    scene.set(query=written(workspace, asked), direction=asked.direction)
    if not runs:
        found = {"notice": "No run is chosen: add one under Runs."}
    else:
        found = answer(workspace, asked, runs, scene.state.baseline, scene.state.k, scene.state.scale)
    words, data = asks_text(workspace), workspace.dataset()
    # Of features that were made elsewhere no encoder is known that could read another picture.
    pictures = data.visuals is not None and data.visual_features is None and data.classes is None
    scales = [(words, name) for name, words in SCALES.items()]
    line = text(
        "query", "Query", shown_text(workspace, asked), bare=True, quiet=True, hidden=not words or scene.replays, placeholder=f"Describe a {_noun(workspace)}",
    )  # fmt: skip
    return [
        row(
            "ask",
            line,
            button("go", "Search", primary=True, hidden=not words or scene.replays, source="query"),
            *([UPLOAD] if pictures and not scene.replays else []),
            button("next", "Next disagreement", counts=True),
            button("random", "Random"),
            menu("scale", "Scores", scales, scene.state.scale, key="scale", quiet=True),
        ),
        part("grid", "results", found | {"left_out": left_out}, on=["pick"]),
    ]


def _noun(workspace: Workspace) -> str:
    return "clip" if workspace.dataset().kind == "clip" else "picture"


def _asked(scene: Scene, runs: list[str]) -> Asked:
    """The query: what was done just now, else what the address holds, else the query on which the runs differ most."""
    workspace, state, act = scene.workspace, scene.state, scene.act
    before = None
    if state.query:
        try:
            before = followed(
                workspace, read_query(workspace, state.query, state.split), state.split, state.direction, runs
            )
        except ValueError as error:
            scene.say(str(error))
    if act.block in ("go", "query"):
        if before is not None and before.direction == "t2v" and act.data == shown_text(workspace, before):
            return before  # pressed again without a change: the item keeps its annotation
        try:
            return Asked("text", state.split, "t2v", text=given.text("The query", act.data))
        except ValueError as error:
            empty = not str(act.data or "").strip()
            scene.say(
                f"Type what the {_noun(workspace)} should show, or press Next disagreement."
                if empty
                else f"{error}."
            )
    elif act.block == "upload":
        try:
            return Asked("upload", state.split, "v2t", path=UPLOADS.take(str(act.data)))
        except ValueError as error:
            scene.say(str(error))
    elif act.block == "random":
        data = workspace.dataset(state.split)
        count = len(data.visual_ids if state.direction == "v2t" else data.captions)
        return Asked("item", state.split, state.direction, index=int(np.random.default_rng().integers(count)))
    elif act.block == "next" and before is not None:
        steps = act.data if type(act.data) is int else 1
        for _ in range(min(max(steps, 1), MOST_STEPS)):
            before = disagreement(workspace, state.split, state.direction, runs, before)
    return before or disagreement(workspace, state.split, state.direction, runs)


HINT = (
    "Weight: d loss / d score of this pair in the loss of this one query against the whole gallery; + pushes apart, − pulls "
    "together. In a batch fewer items share the push: Loss weights shows this pair there, in the loss of each side and in "
    "their mean."
)


@part_of("large")
def large(scene: Scene, data: Any) -> dict[str, Any]:
    """The large picture of a small one, by its address."""
    small = data.get("src") if isinstance(data, dict) else None
    return {"image": enlarged(scene.workspace, scene.state.split, small) if isinstance(small, str) else None}


@part_of("item")
def item(scene: Scene, data: Any) -> dict[str, Any]:
    """The card of an item of the gallery: where every run ranks it for the query, and where to go from it."""
    workspace, state = scene.workspace, scene.state
    runs, _ = scene.drawn
    asked = _asked(scene, runs)
    visual = asked.direction == "t2v"  # of the gallery
    index = data.get("index") if isinstance(data, dict) else None
    count = len(
        workspace.dataset(state.split).visual_ids if visual else workspace.dataset(state.split).captions
    )
    if type(index) is not int or not 0 <= index < count:
        raise ValueError("That item is not in this split any more.")
    found = details(workspace, asked, runs, index)
    own = item_link(workspace, state.split, "visual" if visual else "caption", index)
    turned = {"tab": "search", "query": own, "direction": "v2t" if visual else "t2v"}
    opens = None
    if found.pop("pair"):
        one, other = (index, asked.index) if visual else (asked.index, index)
        pair = (
            item_link(workspace, state.split, "visual", one),
            item_link(workspace, state.split, "caption", other),
        )
        opens = {
            run: {
                "weights": {"tab": "weights", "loss": f"run {run}", "pair_visual": pair[0], "pair_text": pair[1], "cell": ""},
                "false_negatives": {
                    "tab": "false_negatives", "fn_run": run, "suspect_visual": pair[0], "suspect_text": pair[1],
                },
            }
            for run in runs
            if run in workspace.trained
        }  # fmt: skip
    return found | {"use": {"label": found["use"], "set": turned}, "opens": opens, "hint": HINT}
