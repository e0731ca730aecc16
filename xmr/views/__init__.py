"""What every tab shows: `view(pages, sent)` is a function of a state that gives blocks of plain data. No gradio here.

A tab is one function in a module of its own, registered with its id and title; it takes a `Scene`, may change
`scene.state` (an act does, and so does what the address named and there is not), and returns its blocks.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xmr.registry import unknown
from xmr.tables import csv_text
from xmr.views.blocks import Block, faults
from xmr.views.mine import file_of_run, settle_mine
from xmr.views.replay import controls, offered, replayed
from xmr.views.runs import side_by_side
from xmr.views.sidebar import fault_items, sidebar
from xmr.views.state import State, read, written
from xmr.views.unread import unread_blocks
from xmr.workspace import Workspace
from xmr.workspace.mine import Mine
from xmr.workspace.pages import Page
from xmr.workspace.replay import Moment
from xmr.workspace.seeds import folded, seen_as
from xmr.workspace.splits import is_ready

View = Callable[["Scene"], list[Block]]
MOST_TURNS = 100  # pages that one answer goes on by, whatever a browser sends
TABS: dict[str, tuple[str, View]] = {}
OPENED = {"search": "results", "weights": "weights-pair", "false_negatives": "fn-pairs"}  # by an item's card


@dataclass(frozen=True)
class Act:
    """What somebody did: the block, its event and what came with it, which any browser may make up."""

    block: str = ""
    event: str = ""
    data: Any = None

    def __bool__(self) -> bool:
        return bool(self.block)

    def of(self, key: str) -> Any:
        """A part of the data; None where there is none."""
        return self.data.get(key) if isinstance(self.data, dict) else None


@dataclass(frozen=True)
class Visitor:
    """Who looks, which no address holds: the name and the secret that the browser keeps, and the login that the host
    vouches for."""

    name: str = ""
    secret: str = ""
    login: str = ""

    @classmethod
    def of(cls, sent: Any, login: str = "") -> Visitor:
        """From what a browser sent; what is no short text is left out."""
        known = sent if isinstance(sent, dict) else {}
        name, secret = (
            known.get(key) if isinstance(known.get(key), str) else "" for key in ("name", "secret")
        )
        whole = name[:200].encode(errors="replace").decode()  # half a character can't be sent back
        return cls(whole, secret if len(secret) <= 200 else "", login)


@dataclass
class Scene:
    """One question: the workspace, the state as it is settled so far, what was done, and what is said of it."""

    workspace: Workspace
    state: State
    act: Act = field(default_factory=Act)
    pages: Sequence[Page] = ()
    visitor: Visitor = field(default_factory=lambda: Visitor())
    said: list[str] = field(default_factory=list)  # told in a corner, each until it is closed
    again: int = (
        0  # milliseconds after which the page asks once more, because something is still being measured
    )
    go: str = ""  # id of the block that the page scrolls to
    mine: list[Mine] = field(default_factory=list)  # what the address says that the visitor trains
    asked: tuple[str, ...] = ()  # the runs of the address, those that are still trained among them

    def set(self, **values: Any) -> None:
        self.state = self.state.changed(**values)

    def move(self, go: str, **values: Any) -> list[Block]:
        """The view of another tab, with these keys set, in the place of this one; the block `go` of it comes into sight."""
        self.act = Act()
        self.go = go
        if not self.replays:  # what is opened from a tab without moments is seen at the end
            self.set(moment="")
        self.set(page=0, **values)
        return TABS[self.state.tab][1](self)

    @property
    def replays(self) -> bool:
        """Whether the tab is at a moment of training, so that the workspace is the sample's."""
        return isinstance(self.workspace, Moment)

    def say(self, text: str) -> None:
        self.said.append(text)

    def one_of(self, key: str, allowed: Sequence[str], usual: str) -> str:
        """The state's value where it is allowed, else the usual one; what was asked for and is not there is told."""
        value = getattr(self.state, key)
        if value in allowed:
            return value
        if value:
            self.say(unknown(key, value[:80], allowed))
        self.set(**{key: usual})
        return usual

    @property
    def settled(self) -> State:
        """What the address shall hold: runs that are still to be trained stay in their places, and what a view adds comes last."""
        if not self.asked:
            return self.state
        shown = self.state.runs or ()
        held = {*shown, *(one.name for one in self.mine)}
        return self.state.changed(
            runs=tuple(dict.fromkeys([*(one for one in self.asked if one in held), *shown]))
        )

    @property
    def drawn(self) -> tuple[list[str], str]:
        """The first six of the chosen runs, the baseline always among them, and a sentence on those left out ("": none)."""
        return side_by_side(list(self.state.runs or ()), self.state.baseline)

    def turned(self, name: str) -> int:
        """The page of that list, from 0, after what was done: its buttons say how often they were pressed."""
        ways = {f"{name}-next": 1, f"{name}-previous": -1}
        times = self.act.data if type(self.act.data) is int and 1 <= self.act.data <= MOST_TURNS else 1
        return max(self.state.page + ways.get(self.act.block, 0) * times, 0)

    def leaf(self, items: np.ndarray, size: int) -> tuple[np.ndarray, int, str]:
        """The items on the state's page, or on the last one where there are fewer pages; the place of the first, and which
        of how many they are, in words."""
        page = min(self.state.page, max(len(items) - 1, 0) // size)
        self.set(page=page)
        first, some = page * size, items[page * size : (page + 1) * size]
        return some, first, f"{first + 1:,}–{first + len(some):,} of {len(items):,}"


def tab(id: str, title: str) -> Callable[[View], View]:
    """Decorator: registers a view as a tab; their order is that of their registration."""

    def register(view: View) -> View:
        TABS[id] = (title, view)
        return view

    return register


def view(pages: Sequence[Page], sent: Any, act: Any = None, visitor: Visitor | None = None) -> dict[str, Any]:
    """What the page shows: the settled state, the sidebar and the blocks of its tab, and what is said; "fault" with a
    sentence where nothing can be shown."""
    state, said = read(sent)
    scene = Scene(pages[0].workspace, state, _act(act), pages, visitor or Visitor(), said)
    if scene.workspace.problem:
        return {"state": written(state), "side": [], "blocks": _problem(scene.workspace), "said": []}
    try:
        _settle(scene)
        blocks = unread_blocks(scene)
        if not blocks:
            replay = offered(scene)
            with replayed(scene, replay):
                blocks = TABS[scene.state.tab][1](scene)
            if replay := replay or offered(scene):
                blocks = [*controls(scene, replay), *blocks]
        side = sidebar(scene)
    except (ValueError, OSError, KeyError) as error:
        return {"state": written(scene.settled), "fault": str(error), "said": scene.said}
    if scene.act.block == "item":
        scene.go = OPENED.get(scene.state.tab, "")
    answer = {"state": written(scene.settled), "side": side, "blocks": blocks, "said": scene.said}
    return answer | {"again": scene.again, "go": scene.go}


Beside = Callable[["Scene", Any], dict[str, Any]]
PARTS: dict[str, Beside] = {}


def part_of(name: str) -> Callable[[Beside], Beside]:
    """Decorator: registers what a part of the page asks beside the view, such as the card of an item."""

    def register(answer: Beside) -> Beside:
        PARTS[name] = answer
        return answer

    return register


FILES: dict[str, Callable[[Scene, str], tuple[str, str]]] = {}


def file_of(*names: str) -> Callable[[Any], Any]:
    """Decorator: registers what makes a file that the page saves; it returns the file's name and its text."""

    def register(make: Callable[[Scene, str], tuple[str, str]]) -> Any:
        FILES.update(dict.fromkeys(names, make))
        return make

    return register


@part_of("file")
def file(scene: Scene, data: Any) -> dict[str, Any]:
    """A file to save: its name and its text; of "chart ID" the numbers of that chart of the tab,
    of "run DIGEST" the folder of a run that the visitor trained, as bytes."""
    asked = data.get("name") if isinstance(data, dict) else None
    if isinstance(asked, str) and asked.startswith("chart "):
        return _numbers(scene, asked.removeprefix("chart "))
    if isinstance(asked, str) and asked.startswith("run "):
        return file_of_run(scene, asked.removeprefix("run "))
    if not isinstance(asked, str) or asked not in FILES:
        raise ValueError(unknown("file", str(asked)[:40], FILES))
    name, text = FILES[asked](scene, asked)
    return {"name": name, "text": text, "split": scene.state.split}


def _numbers(scene: Scene, id: str) -> dict[str, Any]:
    def charts(blocks: list[Block]) -> Iterator[Block]:
        for block in blocks:
            yield from charts(block["blocks"]) if "blocks" in block else [block] * (block["kind"] == "chart")

    tables = {
        one["id"]: (one["name"], one["value"]["table"]) for one in charts(TABS[scene.state.tab][1](scene))
    }
    name, table = tables.get(id, ("", None))
    if not table:
        raise ValueError(
            unknown("chart with numbers", id[:80], [one for one, (_, held) in tables.items() if held])
        )
    rows = (dict(zip(table["columns"], row, strict=True)) for row in table["rows"])
    stem = re.sub("[^a-z0-9]+", "-", name.lower())[:60]
    return {"name": f"{stem}.csv", "text": csv_text(rows, table["columns"]), "split": scene.state.split}


def beside(
    pages: Sequence[Page], sent: Any, name: str, data: Any, visitor: Visitor | None = None
) -> dict[str, Any]:
    """What the part of that name is told; "fault" with a sentence where it can't be."""
    state, said = read(sent)
    scene = Scene(pages[0].workspace, state, Act(), pages, visitor or Visitor(), said)
    if name not in PARTS:
        return {"fault": unknown("part", name, PARTS)}
    try:
        _settle(scene)
        if not is_ready(scene.workspace, scene.state.split):
            raise ValueError(f"The {scene.state.split} split is not embedded yet.")
        with replayed(scene, offered(scene)):
            return PARTS[name](scene, data)
    except (ValueError, OSError, KeyError) as error:
        return {"fault": str(error)}


def _act(sent: Any) -> Act:
    if not isinstance(sent, dict):
        return Act()
    block, event = (str(sent.get(key) or "")[:100] for key in ("block", "event"))
    return Act(block, event, sent.get("data"))


def _settle(scene: Scene) -> None:
    """What all tabs share: the dataset, the split, the runs and their baseline."""
    titles = {page.title: page for page in scene.pages}
    page = titles[scene.one_of("dataset", list(titles), scene.pages[0].title)]
    workspace = page.workspace
    if scene.state.seeds == "one" and not workspace.problem:
        workspace = folded(workspace)
    scene.workspace = workspace
    settle_mine(scene)
    workspace = scene.workspace
    _rename(scene)
    scene.one_of("tab", list(TABS), next(iter(TABS)))
    visual = workspace.dataset().gallery_visuals is not None
    if not scene.state.direction:
        scene.set(direction="v2t" if visual else "t2v")
    runs = scene.state.runs
    awaited = [one.name for one in scene.mine if one.name not in workspace.runs]
    if runs is None:
        known = workspace.shown_first
    else:
        known = [name for name in runs if name in workspace.runs]
        for name in runs:
            if name not in workspace.runs and name not in awaited:
                scene.say(unknown("run", name[:80], workspace.runs))
        if runs and not known:
            known = workspace.shown_first
    baseline = scene.state.baseline
    if baseline and baseline not in workspace.runs and baseline not in awaited:
        scene.say(unknown("baseline", baseline[:80], workspace.runs))
    if baseline not in known:
        baseline = known[0] if known else ""
    there = [name for name in runs or () if name in known or name in awaited]
    scene.asked = tuple(dict.fromkeys([*there, *known]))
    scene.set(runs=tuple(known), baseline=baseline)


def _rename(scene: Scene) -> None:
    """Names of runs as they are here, where an address has those of single seeds, or of several as one."""
    workspace, state = scene.workspace, scene.state
    runs = [one for name in state.runs or () for one in seen_as(workspace, name) or [name]]
    if state.runs is not None:
        scene.set(runs=tuple(dict.fromkeys(runs)))
    for key in ("baseline", "a", "b", "map_a", "map_b", "fn_run", "loss", "beside"):
        value = getattr(state, key)
        name = value.removeprefix("run ")
        if name not in workspace.runs and (found := seen_as(workspace, name)):
            scene.set(**{key: value.removesuffix(name) + found[0]})


def slimmed(blocks: list[Block], has: Any) -> list[Block]:
    """The blocks with a mark of their value, and without the value where the page `has` that mark for the block: charts
    that did not change do not travel."""
    known = has if isinstance(has, dict) else {}

    def slim(block: Block) -> Block:
        if "blocks" in block:
            return block | {"blocks": [slim(one) for one in block["blocks"]]}
        if not isinstance(block.get("value"), dict):
            return block
        mark = hashlib.sha256(json.dumps(block["value"], sort_keys=True, default=str).encode()).hexdigest()[
            :16
        ]
        if known.get(block["id"]) == mark:
            block = {key: value for key, value in block.items() if key != "value"}
        return block | {"mark": mark}

    return [slim(block) for block in blocks]


def _problem(workspace: Workspace) -> list[Block]:
    """One screen for when nothing can be shown: the first line is the reason, the others are commands."""
    reason, *commands = workspace.problem.splitlines()
    shown: list[Block] = [{"kind": "problem", "id": "problem", "reason": reason, "commands": commands}]
    if items := fault_items(workspace):
        shown.append(faults("faults", items))
    return shown


from xmr.views import search, results, distributions, weights, losses, false_negatives, errors, embedding_map  # noqa: E402, F401, I001  (they register themselves, in order)
from xmr.views import why  # noqa: E402, F401  (a part of the card of Search)
