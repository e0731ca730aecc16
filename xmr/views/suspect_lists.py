"""The lists of the false-negatives tab: which of a run's hardest negatives are suspected, judged, and on the page."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from xmr.analysis import HardNegatives
from xmr.core import Direction
from xmr.selection import SELECTORS
from xmr.store import Answers, Standing, standing
from xmr.views.judging import answers_on, asked_once, questions
from xmr.views.suspect_order import disagreement, drawn_suspects, in_order
from xmr.views.suspect_settings import Settings
from xmr.workspace import Workspace
from xmr.workspace.measurements import hard_negatives, suspects

PAGE = 12
RECENT = 64  # settings of selectors whose suspects are kept: turning pages and judging ask them again
# What is listed, by the suspecting selectors; "only" is what the first of them suspects and another does not.
FILTERS = [
    ("all", "all"),
    ("suspected by the first selector", "first"),
    ("suspected by any of them", "suspected"),
    ("agreed by all", "agreed"),
    ("contested", "contested"),
    ("only the first selector", "only"),
]
TRUTH_FILTERS = [
    ("missed matches", "missed"),
    ("false alarms", "false"),
]  # they tell the truth of what they list
JUDGED = [
    ("any", "any"),
    ("not by me", "open"),
    ("yes", "yes"),
    ("no", "no"),
    ("unsure", "unsure"),
    ("people disagree", "disputed"),
]
ANY = "any of the compared"  # instead of the one selector that does not suspect what is listed


class NothingToShow(ValueError):
    """Why there is no list, in words."""


@dataclass(frozen=True)
class Asked:
    """What the tab is asked: hard negatives of a run under selectors, which of them to list, and who asks.

    `not_by` is the selector that must not suspect what is listed as "only" (`ANY`: none of the compared may).
    """

    run: str
    split: str
    direction: Direction
    settings: Settings
    listed: str = "all"
    not_by: str = ANY
    judged: str = "any"
    judge: str = ""
    owner: str = ""  # who asks, as far as it can be known (`judging.owner_of`)
    order: str = "weight"
    runs: tuple[str, ...] = ()  # whose disagreement makes a pair informative
    blind: bool = False  # what is known of a pair is not told before the person judged it


@dataclass(frozen=True)
class Examined:
    """The run's hard negatives, the suspects by selector (P,) bool, in words which selectors can't judge here, what
    stands on them, the `places` (N,) of the list's pairs in its order whatever was judged, of those whose texts read alike
    the first, how many others `repeat` one, and which of those places are `listed` (M,); `drawn` are the places of the
    first selector's suspects in a random order."""

    found: HardNegatives
    masks: dict[str, np.ndarray]
    faults: list[str]
    answers: Answers
    standing: Standing
    places: np.ndarray
    repeats: int
    listed: np.ndarray
    drawn: np.ndarray
    once: np.ndarray  # of all pairs the first of those whose texts read alike

    def open(self, asked: Asked, place: int) -> bool:
        """Whether all that is known of that pair may be told."""
        return not asked.blind or bool(self.standing.mine[place])


def filters(workspace: Workspace) -> list[tuple[str, str]]:
    """What can be listed: those that need truth are offered only where there is some."""
    return FILTERS + (TRUTH_FILTERS if workspace.dataset().truth else [])


def examine(workspace: Workspace, asked: Asked, whole: bool = True) -> Examined:
    """Where not `whole`, others' answers may be missing, unless the list asks for them. Raises NothingToShow."""
    run, split, direction = asked.run, asked.split, asked.direction
    if not run:
        raise NothingToShow("No run is chosen: pick one above.")
    try:
        found = hard_negatives(workspace, run, split, direction)
    except (ValueError, OSError) as error:
        raise NothingToShow(f"{run} can't be examined: {error}") from error
    if not len(found):
        raise NothingToShow(
            f"{run} pushes no negative on this split: every pair is already where its loss wants it."
        )
    masks, faults = ask(workspace, run, split, direction, asked.settings)
    if not masks:
        raise NothingToShow(" ".join(faults))
    other = None
    if asked.listed == "only" and asked.not_by in SELECTORS:
        params = asked.settings.get(asked.not_by, SELECTORS[asked.not_by].defaults)
        beside, more = ask(workspace, run, split, direction, {asked.not_by: params})
        other = beside.get(asked.not_by)
        faults += [fault for fault in more if fault not in faults]
    asks = questions(workspace, run, split, direction)
    mine_only = not whole and asked.judged in ("any", "open")
    answers = answers_on(workspace, split, asked.judge, asks if mine_only else None)
    stands = standing(answers, asks)
    every = listed_by(asked.listed, masks, found.truth, other)
    base = asked_once(every, asks)
    repeats = int(every.sum() - base.sum())
    of = run, split, direction
    drawn = drawn_suspects(workspace, *of, next(iter(masks.values())))
    differ = np.zeros(len(found))
    if asked.order == "informative":
        differ = disagreement(workspace, *of, masks, () if workspace.is_large(split) else asked.runs)
    places = in_order(asked.order, np.flatnonzero(base), found.weight, found.score, differ, drawn)
    listed = np.flatnonzero(judged_by(asked.judged, stands, asked.blind)[places])
    once = asked_once(np.ones(len(found), bool), asks)
    return Examined(found, masks, faults, answers, stands, places, repeats, listed, drawn, once)


def ask(
    workspace: Workspace, run: str, split: str, direction: Direction, settings: Settings
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The suspects among the run's hard negatives by selector, and in words which selectors can't judge here."""
    recent: OrderedDict[tuple[Any, ...], np.ndarray] = workspace.remember(("recent suspects",), OrderedDict)
    masks, faults = {}, []
    for name, params in settings.items():
        key = run, split, direction, name, tuple(sorted(params.items()))
        try:
            mask = recent.get(key)
            masks[name] = suspects(workspace, run, split, direction, name, params) if mask is None else mask
        except (ValueError, OSError) as error:
            faults.append(f"{name} can't judge here: {error}.")
            continue
        recent[key] = masks[name]
        while len(recent) > RECENT:
            recent.popitem(last=False)
    return masks, faults


def listed_by(
    listed: str, masks: Mapping[str, np.ndarray], truth: np.ndarray, other: np.ndarray | None = None
) -> np.ndarray:
    """Which of the pairs are listed under that filter, (P,) bool; "missed" and "false" are of all selectors at once.
    `other` are the suspects of the selector that must not suspect what is listed as "only"."""
    votes = np.sum(list(masks.values()), axis=0)
    first = next(iter(masks.values()))
    match = truth > 0  # NaN, unknown, is not
    return {
        "first": first,
        "suspected": votes > 0,
        "agreed": votes == len(masks),
        "contested": (votes > 0) & (votes < len(masks)),
        "only": (votes == 1) & first if other is None else first & ~other,
        "missed": match & (votes == 0),
        "false": (votes > 0) & (truth == 0),
    }.get(listed, np.ones(len(truth), bool))


def judged_by(which: str, stands: Standing, blind: bool = False) -> np.ndarray:
    """Which pairs are judged so, (P,) bool: "yes", "no" and "unsure" are what most people say; where `blind`, only of those
    that the person judged."""
    if which == "open":
        return stands.mine == 0
    if which == "any":
        return np.ones(len(stands.mine), bool)
    some = (stands.counts > 0).sum(1) > 1 if which == "disputed" else stands.told(which)
    return some & (stands.mine > 0) if blind else some


def page_of(places: np.ndarray, shown: tuple[int, int] | None, move: int) -> np.ndarray:
    """The places of one page: those that begin where `shown` (first and last place of the present page; None: there is
    none) does, or of the page after (1) or before it (-1).

    By place, not by number of page: what is judged leaves the list of what is not, and would take others' turns.
    """
    first, last = shown or (0, -1)
    at = int(np.searchsorted(places, last + 1 if move > 0 else first))
    if move < 0:
        at = max(at - PAGE, 0)
    elif move > 0 or at >= len(places):
        at = min(at, max(len(places) - 1, 0) // PAGE * PAGE)
    return places[at : at + PAGE]
