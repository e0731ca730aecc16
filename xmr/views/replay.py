"""Tabs at a moment of training: the control that chooses it, and the tab's view of the sample that snapshots keep."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xmr.views import blocks
from xmr.views.blocks import Block
from xmr.views.state import State
from xmr.words import counted
from xmr.workspace import Workspace
from xmr.workspace.item_names import find_item
from xmr.workspace.replay import SPLIT, Moment, at, moments, no_replay, place_of, sample, step_of
from xmr.workspace.words import words_of

if TYPE_CHECKING:
    from xmr.views import Scene

TABS = ("search", "distributions", "weights", "map")  # what can be replayed
END = "the end"
NAMED = 4  # runs that a sentence names


@dataclass(frozen=True)
class Replay:
    """What the control offers: the `moments` of the chosen runs that have some, in epochs; `without` are the others."""

    moments: list[str]
    runs: tuple[str, ...]
    without: list[str]


def offered(scene: Scene) -> Replay | None:
    """What can be replayed on this tab; None where nothing can. The state's moment becomes one of those, or none."""
    workspace, state = scene.workspace, scene.state
    if state.tab not in TABS:
        return None
    chosen = state.runs or ()
    found = moments(workspace, chosen) if state.split == SPLIT else []
    if not found:
        scene.set(moment="")
        return None
    without = [name for name in chosen if no_replay(workspace, name)]
    if state.moment and state.moment not in found:
        scene.set(moment=_nearest(scene, found))
    return Replay(found, tuple(name for name in chosen if name not in without), without)


def _nearest(scene: Scene, found: list[str]) -> str:
    """The latest moment until the one that was asked for."""
    try:
        asked = float(scene.state.moment)
    except ValueError:
        asked = math.nan
    if not math.isfinite(asked):
        scene.say(f"moment must be a number of epochs, found {scene.state.moment[:40]!r}")
        return ""
    return next((one for one in reversed(found) if float(one) <= asked), found[0])


def controls(scene: Scene, replay: Replay) -> list[Block]:
    """The slider through the training, and what is shown at its place."""
    here = scene.state.moment
    options = [(_name(one), one) for one in replay.moments] + [(END, "")]
    return [
        blocks.moments(
            "moment", "Training", options, here, key="moment", resets={"bin": "", "page": 0}
        ),
        blocks.words("moment-said", _said(scene, replay, here) if here else "", "note"),
    ]  # fmt: skip


def _name(moment: str) -> str:
    return "before the first step" if float(moment) == 0 else f"epoch {moment}"


def _said(scene: Scene, replay: Replay, moment: str) -> str:
    workspace, query = scene.workspace, scene.state.query
    visuals, texts = sample(workspace)
    words = words_of(workspace.dataset(SPLIT))
    steps = {name: step_of(workspace, name, moment) for name in replay.runs}
    told = [f"{name} after {count:,}" for name, count in [*steps.items()][:NAMED]]
    if len(steps) > NAMED:
        told.append(f"{len(steps) - NAMED} more")
    after = (
        f"after {counted(steps[replay.runs[0]], 'step')}"
        if len({*steps.values()}) == 1
        else ", ".join(told) + " steps"
    )
    kept = [
        name for name in replay.runs if place_of(workspace, name, moment) == place_of(workspace, name, "inf")
    ]
    if len(kept) == len(replay.runs):
        after += ", by the weights that are kept"
    text = f"Among {len(visuals):,} {words.visual}s and {len(texts):,} {words.text}s of the test split, which snapshots keep: {after}."
    if scene.state.tab == "search" and query and not _is_there(at(workspace, moment), query):
        text += (
            " The query that was asked is not among them: in its place stands one on which the runs differ."
        )
    if replay.without:
        reasons = {no_replay(workspace, name) for name in replay.without}
        text += f" No replay of {', '.join(replay.without)}: {'; '.join(sorted(reasons))}."
    return text


@contextmanager
def replayed(scene: Scene, replay: Replay | None) -> Iterator[None]:
    """Within it the scene is at its moment, if it has one: the sample's workspace is in the place of the whole one, and what the
    state names that the sample has not got is put aside until the end."""
    if replay is None or not scene.state.moment:
        yield
        return
    whole, asked = scene.workspace, bool(scene.act)
    moment = at(whole, scene.state.moment)
    aside = _aside(scene.state, whole, moment)
    before = {key: getattr(scene.state, key) for key in aside}
    scene.workspace = moment
    scene.set(**aside)
    try:
        yield
    finally:
        scene.workspace = whole
        # What was asked for just now is an item of the sample.
        scene.set(**{key: value for key, value in before.items() if key != "query" or not asked})


def _aside(state: State, whole: Workspace, moment: Moment) -> dict[str, Any]:
    """Keys of the state that name what this moment has not got, with what stands in their place."""
    runs = tuple(name for name in state.runs or () if name in moment.runs)
    baseline = state.baseline if state.baseline in runs else runs[0]
    found: dict[str, Any] = {"runs": runs, "baseline": baseline, "projection": "pca"}
    for key in ("map_a", "map_b", "loss", "beside"):
        name = getattr(state, key).removeprefix("run ")
        if name in whole.runs and name not in moment.runs:
            found |= {key: ""} | ({"params": ""} if key == "loss" else {})
    pair = state.pair_visual, state.pair_text
    if any(pair) and not all(_is_there(moment, name) for name in pair):
        found |= {"pair_visual": "", "pair_text": ""}
    if state.tab == "search" and state.query and not _is_there(moment, state.query):
        found["query"] = ""
    return found


def _is_there(moment: Moment, name: str) -> bool:
    try:
        find_item(moment, SPLIT, name)
    except ValueError:
        return False
    return True
