"""One query, every run's answer side by side."""

from __future__ import annotations

from typing import Any

import numpy as np

from xmr.registry import unknown
from xmr.views import Scene, given, part_of, tab
from xmr.views.answer import answer
from xmr.views.blocks import Block, button, menu, part, row, text
from xmr.views.details import details
from xmr.views.flow import flow
from xmr.views.pictures import UPLOADS, enlarged
from xmr.views.query import Asked, asks_text, disagreement, followed, read_query, shown_text, written
from xmr.views.scales import SCALES
from xmr.workspace import Workspace
from xmr.workspace.item_names import UnknownItem, find_item, item_link

UPLOAD = {"kind": "control", "control": "upload", "id": "upload", "label": "Upload a picture"}
MOST_STEPS = 50  # that one answer goes on by, whatever a browser sends


@tab("search", "Search")
def search(scene: Scene) -> list[Block]:
    workspace = scene.workspace
    runs, left_out = scene.drawn
    asked = _asked(scene, runs)
    scene.set(query=written(workspace, asked), direction=asked.direction)
    _card(scene, asked)
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
        *_flow(scene, asked, found.get("columns", [])),
    ]


def _flow(scene: Scene, asked: Asked, columns: list[dict[str, Any]]) -> list[Block]:
    """How the order changes from the baseline to another of the drawn runs, where one is chosen."""
    others = [column["name"] for column in columns if column["name"] != scene.state.baseline]
    if not others:
        return []
    chosen = scene.one_of("flow", ["", *others], "")
    label = f"Order under {scene.state.baseline} against that of"
    shown: list[Block] = [
        row("flow-of", menu("flow", label, [("no other run", ""), *others], chosen, key="flow"))
    ]
    if chosen:
        named = {column["name"]: column for column in columns}
        value = flow(scene.workspace, asked, named[scene.state.baseline], named[chosen])
        shown.append(part("flow", "flow-lines", value))
    return shown


def _card(scene: Scene, asked: Asked) -> None:
    """Closes the card that a link opens where there is no such item, and leaves out runs that there are not."""
    state = scene.state
    if scene.act:
        scene.set(item="", why=None)  # of the query before
        return
    if state.item:
        try:
            side, _ = find_item(scene.workspace, state.split, state.item)
            if side != ("visual" if asked.direction == "t2v" else "caption"):
                raise UnknownItem(f"{state.item[:80]!r} is none of what is found here")
        except UnknownItem as error:
            scene.say(f"No card is opened: {error}.")
            scene.set(item="")
    known = [name for name in state.why or () if name in scene.workspace.runs]
    for name in state.why or ():
        if name not in known:
            scene.say(unknown("run", name[:80], scene.workspace.runs))
    scene.set(why=tuple(known[:2]) if known and scene.state.item else None)


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


def opened_item(scene: Scene, data: Any) -> tuple[Asked, int]:
    """The query, and the item of the gallery whose card is open: by its place, or by its name as a link has it. Raises
    ValueError."""
    workspace, split = scene.workspace, scene.state.split
    asked = _asked(scene, scene.drawn[0])
    side = "visual" if asked.direction == "t2v" else "caption"  # of the gallery
    index = data.get("index") if isinstance(data, dict) else None
    if index is None and isinstance(data, dict) and isinstance(data.get("name"), str):
        found, index = find_item(workspace, split, data["name"])
        if found != side:
            raise ValueError(f"{data['name'][:80]} is no {side} of the gallery.")
    count = len(
        workspace.dataset(split).visual_ids if side == "visual" else workspace.dataset(split).captions
    )
    if type(index) is not int or not 0 <= index < count:
        raise ValueError("That item is not in this split any more.")
    return asked, index


@part_of("item")
def item(scene: Scene, data: Any) -> dict[str, Any]:
    """The card of an item of the gallery: where every run ranks it for the query, and where to go from it."""
    workspace, state = scene.workspace, scene.state
    runs, _ = scene.drawn
    asked, index = opened_item(scene, data)
    visual = asked.direction == "t2v"  # of the gallery
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
