"""People's verdicts in the app: what stands on the pairs of a list, and the answers and undos that a browser sends.

A browser numbers what it sends with keys of its own, and sends a thing again under its key where no answer came: the
store keeps each key once. A person is told what others said of a pair only when they have judged it themselves.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from xmr.core import DIRECTIONS, Direction
from xmr.disk import CannotSave
from xmr.limits import VERDICTS_SENT
from xmr.registry import unknown
from xmr.store import (
    ANSWERS,
    Answers,
    PairNames,
    Question,
    Standings,
    StoreRefused,
    VerdictStore,
    judge_name,
)
from xmr.workspace import Workspace
from xmr.workspace.measurements import hard_negatives, visual_and_text
from xmr.workspace.memory import remembered

SHOWN = 24  # pairs that a browser may ask the marks of
UNDO = "undo"
SECRET = re.compile(r"[0-9a-zA-Z_-]{32,128}")  # as a browser makes it
NAMELESS = "Give your name to judge pairs: verdicts are kept under it."

_opened: dict[Path, tuple[VerdictStore, int]] = {}
_standings: WeakKeyDictionary[VerdictStore, dict[str, Standings]] = (
    WeakKeyDictionary()
)  # by fingerprint of a split
_opening = threading.Lock()


def store_of(workspace: Workspace) -> VerdictStore:
    """The store of the workspace's file: one per process, opened when first asked for. Raises StoreRefused and
    CannotSave."""
    place = workspace.verdicts.place
    with _opening:
        store, number = _opened.get(place, (None, 0))
        # A file that was deleted or replaced meanwhile would take verdicts that nobody can find again.
        if store is None or not place.exists() or place.stat().st_ino != number:
            store = VerdictStore(place, workspace.verdicts.most)
            _opened[place] = store, place.stat().st_ino
        return store


def why_closed(workspace: Workspace) -> str:
    """Why verdicts can't be kept here, in words; "" where they can."""
    try:
        store_of(workspace)
    except (StoreRefused, OSError) as error:
        return f"Verdicts can't be kept: {error}."
    return ""


@remembered
def pair_names(workspace: Workspace, split: str) -> PairNames:
    return PairNames(workspace.dataset(split))


@remembered
def questions(workspace: Workspace, run: str, split: str, direction: Direction) -> list[Question]:
    """What each of the run's hard negatives asks, in their order; pairs whose texts read alike ask the same."""
    visuals, texts = visual_and_text(hard_negatives(workspace, run, split, direction), direction)
    return list(zip(visuals.tolist(), workspace.dataset(split).reading[texts].tolist(), strict=True))


@remembered
def places_of(workspace: Workspace, run: str, split: str, direction: Direction) -> dict[Question, int]:
    """The place of the first hard negative that asks each question."""
    listed = questions(workspace, run, split, direction)
    return {question: place for place, question in reversed([*enumerate(listed)])}


def asked_once(mask: np.ndarray, listed: Sequence[Question]) -> np.ndarray:
    """Of the pairs in the mask (P,) the first of each question, (P,) bool."""
    once = np.zeros(len(mask), bool)
    seen: set[Question] = set()
    for place in np.flatnonzero(mask).tolist():
        once[place] = listed[place] not in seen
        seen.add(listed[place])
    return once


def answers_on(workspace: Workspace, split: str, judge: str, of: Iterable[Question] | None = None) -> Answers:
    """What stands on a split, `judge` ("": nobody) being the person who asks; nothing where verdicts can't be kept. With
    questions, `of`, only that person's answers on them where a split with many verdicts was not counted yet."""
    try:
        store = store_of(workspace)
        with _opening:
            held = _standings.setdefault(store, {})
            key = workspace.dataset(split).fingerprint
            stands = held[key] = held.get(key) or Standings(pair_names(workspace, split))
        return stands.answers(store, judge) if of is None else stands.own(store, judge, of)
    except (StoreRefused, OSError):
        return Answers()


def owner_of(secret: str, login: str) -> str:
    """Who asks, as far as it can be known: the `login` that the host vouches for, where there is one, else the hash of the
    secret that the browser keeps; "" where there is neither."""
    if login:
        return f"login {login}"[:200]
    if not SECRET.fullmatch(secret):
        return ""
    return hashlib.sha256(f"xmr verdicts {secret}".encode()).hexdigest()


def judge_of(workspace: Workspace, typed: Any, owner: str) -> tuple[str, str]:
    """The name as it is kept, "" where there is none that can be, and what to do about that: a name is of the `owner` who
    judged under it first."""
    if not isinstance(typed, str) or not typed.strip():
        return "", NAMELESS
    try:
        name = judge_name(typed)
        store_of(workspace).check_name(name, owner)
    except (StoreRefused, OSError):  # said in place of the panel
        return name, ""
    except ValueError as error:
        return "", f"Another name, please: {error}."
    return name, ""


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
    """The items of an event, checked, and (key, reason) of those that can't be used. Raises ValueError where it is no event
    of ours."""
    sent = data.get("items") if isinstance(data, dict) else None
    if not isinstance(sent, list) or not 0 < len(sent) <= VERDICTS_SENT.now:
        raise ValueError(f"An event of verdicts has 1 to {VERDICTS_SENT.now} of them.")
    items, unusable = [], []
    for one in sent:
        key = one.get("key") if isinstance(one, dict) else None
        if not isinstance(key, str) or not 0 < len(key) <= 100:
            raise ValueError("A verdict has a key of 1 to 100 characters.")
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
    question = pair[0], int(data.reading[pair[1]])
    if not asked and question not in places_of(
        workspace, values["run"], values["split"], values["direction"]
    ):
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
    found, sent = [], data.get("shown") if isinstance(data, dict) else None
    for pair in sent[:SHOWN] if isinstance(sent, list) else []:
        try:
            found.append(pair_in(workspace, split, pair))
        except ValueError:
            continue
    return found


def take(workspace: Workspace, items: Iterable[Item], selector: str, owner: str) -> Taken:
    """Keeps answers and undoes of one `owner`, one after the other; what can't be kept is told, not raised."""
    taken = Taken()
    for item in items:
        try:
            if not owner:
                raise ValueError("the page has no secret of this browser; reload it")
            store = store_of(workspace)
            if item.answer == UNDO:
                _undo(workspace, store, item, owner, taken)
            else:
                _record(workspace, store, item, selector, owner, taken)
        except (ValueError, CannotSave, OSError) as error:
            taken.failed.append((item.key, str(error)))
        else:
            taken.kept.append(item.key)
    return taken


def _record(
    workspace: Workspace, store: VerdictStore, item: Item, selector: str, owner: str, taken: Taken
) -> None:
    names, of = pair_names(workspace, item.split), (item.run, item.split, item.direction)
    place = places_of(workspace, *of).get(names.question(names.pair(*item.pair)))
    score = None if place is None else float(hard_negatives(workspace, *of).score[place])
    seen = {"run": item.run, "selector": selector, "score": score}
    store.record(names.verdict(*item.pair, item.judge, item.answer, **seen), item.key, owner)
    taken.said, taken.back = f"Judged {item.answer}: {_quoted(names.data.captions[item.pair[1]])}.", None


def _undo(workspace: Workspace, store: VerdictStore, item: Item, owner: str, taken: Taken) -> None:
    names, of = pair_names(workspace, item.split), (item.run, item.split, item.direction)
    gone = store.undo(item.judge, names.data.fingerprint, item.key, owner)
    if gone is None:
        taken.said = (
            f"Nothing to take back: {item.judge} has given no verdict on this split from this browser."
        )
        return
    question = names.question(gone.pair)
    place = places_of(workspace, *of).get(question)
    taken.back = question
    if place is not None:
        visuals, texts = visual_and_text(hard_negatives(workspace, *of), item.direction)
        taken.back = int(visuals[place]), int(texts[place])
    where = "" if place is not None else ", a pair that is not in this list"
    taken.said = f"Taken back: {gone.answer} on {_quoted(gone.caption)}{where}."


def _quoted(caption: str) -> str:
    return f"“{caption[:60]}{'…' * (len(caption) > 60)}”"
