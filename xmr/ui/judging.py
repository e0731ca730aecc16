"""People's verdicts in the app: what stands on the pairs of a list, and the answers and undos that a browser sends.

A browser numbers what it sends with keys of its own, and sends a thing again under its key where no answer came: the
store keeps each key once. A person is told what others said of a pair only when they have judged it themselves.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from xmr.core import DIRECTIONS, Direction
from xmr.disk import CannotSave
from xmr.registry import unknown
from xmr.store import ANSWERS, Pair, PairNames, StoreRefused, Tally, VerdictStore, judge_name
from xmr.store.verdicts import tallies
from xmr.ui.said import refused
from xmr.workspace import Workspace
from xmr.workspace.measured import hard_negatives, visual_and_text

MOST = 50  # answers of one event; the component sends no more
SHOWN = 24  # pairs that a browser may ask the marks of
UNDO = "undo"
NAMELESS = "Give your name to judge pairs: verdicts are kept under it."

_opened: dict[Path, tuple[VerdictStore, int]] = {}
_opening = threading.Lock()


def store_of(workspace: Workspace) -> VerdictStore:
    """The store of the workspace's file: one per process, opened when first asked for. Raises StoreRefused and
    CannotSave."""
    place = workspace.verdicts.place
    with _opening:
        store, number = _opened.get(place, (None, 0))
        # A file that was deleted or replaced meanwhile would take verdicts that nobody can find again.
        if store is None or not place.exists() or place.stat().st_ino != number:
            store = VerdictStore(place)
            _opened[place] = store, place.stat().st_ino
        return store


def why_closed(workspace: Workspace) -> str:
    """Why verdicts can't be kept here, in words; "" where they can."""
    try:
        store_of(workspace)
    except (StoreRefused, OSError) as error:
        return f"Verdicts can't be kept: {error}."
    return ""


def pair_names(workspace: Workspace, split: str) -> PairNames:
    return workspace.remember(("pair names", split), lambda: PairNames(workspace.dataset(split)))


def pairs_of(workspace: Workspace, run: str, split: str, direction: Direction) -> dict[Pair, int]:
    """The names of the run's hard negatives, in their order, and the place of the first one of each name; equal captions
    of one visual share theirs, so there may be fewer than pairs."""
    return _pairs_of(workspace, run, split, direction)[1]


def _pairs_of(
    workspace: Workspace, run: str, split: str, direction: Direction
) -> tuple[list[Pair], dict[Pair, int]]:
    def make() -> tuple[list[Pair], dict[Pair, int]]:
        names = pair_names(workspace, split)
        sides = visual_and_text(hard_negatives(workspace, run, split, direction), direction)
        listed = [names.pair(v, t) for v, t in zip(*(side.tolist() for side in sides), strict=True)]
        places: dict[Pair, int] = {}
        for place, pair in enumerate(listed):
            places.setdefault(pair, place)
        return listed, places

    return workspace.remember(("pairs of", run, split, direction), make)


@dataclass(frozen=True)
class Answers:
    """What stands on a split as of a version of the store: one person's answers, everybody's, and how many verdicts each
    person gave."""

    version: int = 0
    mine: dict[Pair, str] = field(default_factory=dict)
    tallies: dict[Pair, Tally] = field(default_factory=dict)
    people: dict[str, int] = field(default_factory=dict)

    def mark(self, pair: Pair) -> list[str]:
        """The person's own answer on a pair and, once they gave it, what others said; empty where they did not."""
        mine = self.mine.get(pair, "")
        if not mine:
            return ["", ""]
        others = Counter(dict(zip(ANSWERS, self.tallies[pair], strict=True)))
        others[mine] -= 1
        said = ", ".join(f"{others[answer]} {answer}" for answer in ANSWERS if others[answer])
        return [mine, f"Others: {said}." if said else "Nobody else has judged it."]


def answers_on(workspace: Workspace, split: str, judge: str) -> Answers:
    """What stands on a split, `judge` ("": nobody) being the person who asks; nothing where verdicts can't be kept."""
    try:
        version, rows = store_of(workspace).answers(workspace.dataset(split).fingerprint)
    except (StoreRefused, OSError):
        return Answers()
    mine = {pair: answer for pair, name, answer in rows if name == judge}
    people = dict(Counter(name for _, name, _ in rows).most_common())
    return Answers(version, mine, tallies((pair, answer) for pair, _, answer in rows), people)


@dataclass(frozen=True)
class Standing:
    """What stands on listed pairs: the person's own answer `mine` and what is `agreed`, both (P,) int8, 0 for none, else
    1 + the place in `ANSWERS`; and how many people gave each answer, `counts` (P, 3)."""

    mine: np.ndarray
    agreed: np.ndarray
    counts: np.ndarray

    def told(self, answer: str) -> np.ndarray:
        """The pairs on which that is agreed, (P,) bool."""
        return self.agreed == 1 + ANSWERS.index(answer)


def standing(answers: Answers, pairs: Sequence[Pair]) -> Standing:
    """What stands on these pairs, in their order."""
    none = Tally(0, 0, 0)
    counts = np.array([answers.tallies.get(pair, none) for pair in pairs], np.int64).reshape(-1, len(ANSWERS))
    mine = np.array([_place(answers.mine.get(pair, "")) for pair in pairs], np.int8)
    most = counts.max(1, initial=0)
    tied = (counts == most[:, None]).sum(1) > 1
    agreed = np.where(tied, _place("unsure"), counts.argmax(1) + 1)
    return Standing(mine, np.where(most > 0, agreed, 0).astype(np.int8), counts)


def standing_of(
    workspace: Workspace, run: str, split: str, direction: Direction, answers: Answers
) -> Standing:
    """What stands on the run's hard negatives."""
    return standing(answers, _pairs_of(workspace, run, split, direction)[0])


def _place(answer: str) -> int:
    return 1 + ANSWERS.index(answer) if answer else 0


def judge_of(typed: Any) -> tuple[str, str]:
    """The name as it is kept, "" where there is none that can be, and what to do about that."""
    if not isinstance(typed, str) or not typed.strip():
        return "", NAMELESS
    try:
        return judge_name(typed), ""
    except ValueError as error:
        return "", f"Another name, please: {error}."


@dataclass(frozen=True)
class Item:
    """One answer, or undo, as a browser sent it; `asked` is true of a pair that was asked for by a link."""

    key: str
    judge: str
    answer: str
    run: str
    split: str
    direction: Direction
    pair: tuple[int, int]  # visual and text
    asked: bool = False


@dataclass
class Taken:
    """What became of items: keys of those that are kept, (key, reason) of those that are not, the last one in words, and
    the pair (visual, text) to look at again after an undo."""

    kept: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    said: str = ""
    back: tuple[int, int] | None = None


def read_items(
    workspace: Workspace, data: Any, splits: Collection[str]
) -> tuple[list[Item], list[tuple[str, str]]]:
    """The items of an event, checked, and (key, reason) of those that can't be used. Raises gr.Error where it is no event
    of ours."""
    sent = data.get("items") if isinstance(data, dict) else None
    if not isinstance(sent, list) or not 0 < len(sent) <= MOST:
        raise refused(f"An event of verdicts has 1 to {MOST} of them.", title="Not kept")
    items, unusable = [], []
    for one in sent:
        key = one.get("key") if isinstance(one, dict) else None
        if not isinstance(key, str) or not 0 < len(key) <= 100:
            raise refused("A verdict has a key of 1 to 100 characters.", title="Not kept")
        try:
            items.append(_item(workspace, key, one, splits))
        except (ValueError, OSError) as error:
            unusable.append((key, str(error)))
    return items, unusable


def _item(workspace: Workspace, key: str, one: dict[str, Any], splits: Collection[str]) -> Item:
    """Raises ValueError, with the reason."""
    of = one.get("of") if isinstance(one.get("of"), dict) else {}
    values = {name: of.get(name) for name in ("run", "split", "direction")} | {
        name: one.get(name) for name in ("judge", "answer")
    }
    allowed = {
        "run": workspace.trained, "split": splits, "direction": DIRECTIONS, "answer": [*ANSWERS, UNDO]
    }  # fmt: skip
    for name, value in values.items():
        if not isinstance(value, str):
            raise ValueError(f"{name} must be text")
        if name in allowed and value not in allowed[name]:
            raise ValueError(unknown(name, value[:40], allowed[name]))
    values["judge"] = judge_name(values["judge"])
    if values["answer"] == UNDO:
        return Item(key, **values, pair=(-1, -1))
    asked = one.get("asked") is True
    pair = pair_in(workspace, values["split"], one.get("pair"))
    data = workspace.dataset(values["split"])
    if data.visual_group[pair[0]] == data.text_group[pair[1]]:
        raise ValueError("that pair is annotated as matching already")
    name = pair_names(workspace, values["split"]).pair(*pair)
    if not asked and name not in pairs_of(workspace, values["run"], values["split"], values["direction"]):
        raise ValueError(f"that pair is not among the negatives that {values['run']} pushes hardest")
    return Item(key, **values, pair=pair, asked=asked)


def pair_in(workspace: Workspace, split: str, pair: Any) -> tuple[int, int]:
    """A pair that a browser names: visual and text of the split. Raises ValueError."""
    data = workspace.dataset(split)
    sizes = len(data.visual_ids), len(data.captions)
    if not isinstance(pair, list) or len(pair) != 2 or any(type(index) is not int for index in pair):
        raise ValueError("a pair is two whole numbers")
    if not all(0 <= index < size for index, size in zip(pair, sizes, strict=True)):
        raise ValueError("that pair is not in this split")
    return pair[0], pair[1]


def shown_pairs(workspace: Workspace, split: str, data: Any) -> list[tuple[int, int]]:
    """The pairs on a browser's screen, as far as there are such."""
    found = []
    for pair in (data.get("shown") or [])[:SHOWN] if isinstance(data.get("shown"), list) else []:
        try:
            found.append(pair_in(workspace, split, pair))
        except ValueError:
            continue
    return found


def take(workspace: Workspace, items: Iterable[Item], selector: str) -> Taken:
    """Keeps answers and undoes, one after the other; what can't be kept is told, not raised."""
    taken = Taken()
    for item in items:
        try:
            store = store_of(workspace)
            if item.answer == UNDO:
                _undo(workspace, store, item, taken)
            else:
                _record(workspace, store, item, selector, taken)
        except (ValueError, CannotSave, OSError) as error:
            taken.failed.append((item.key, str(error)))
        else:
            taken.kept.append(item.key)
    return taken


def _record(workspace: Workspace, store: VerdictStore, item: Item, selector: str, taken: Taken) -> None:
    names = pair_names(workspace, item.split)
    place = pairs_of(workspace, item.run, item.split, item.direction).get(names.pair(*item.pair))
    score = None
    if place is not None:
        score = float(hard_negatives(workspace, item.run, item.split, item.direction).score[place])
    seen = {"run": item.run, "selector": selector, "score": score}
    store.record(names.verdict(*item.pair, item.judge, item.answer, **seen), item.key)
    name = f"pair #{place + 1:,}" if place is not None and not item.asked else "the pair asked for"
    taken.said, taken.back = f"Judged {item.answer}: {name}.", None


def _undo(workspace: Workspace, store: VerdictStore, item: Item, taken: Taken) -> None:
    data = workspace.dataset(item.split)
    gone = store.undo(item.judge, data.fingerprint, item.key)
    if gone is None:
        taken.said = f"Nothing to take back: {item.judge} has no verdict on this split."
        return
    place = pairs_of(workspace, item.run, item.split, item.direction).get(gone.pair)
    names, name = pair_names(workspace, item.split), f"a pair that is not in this list, “{gone.caption[:60]}”"
    if gone.visual_id in names.visuals and gone.text_id in names.texts:
        taken.back = names.visuals.index(gone.visual_id), names.texts.index(gone.text_id)
    if place is not None:
        visuals, texts = visual_and_text(
            hard_negatives(workspace, item.run, item.split, item.direction), item.direction
        )
        name, taken.back = f"pair #{place + 1:,}", (int(visuals[place]), int(texts[place]))
    taken.said = f"Taken back: {gone.answer} on {name}."
