"""What stands on the pairs of a split, counted once and kept up to date by what was written since."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from xmr.store.database import VerdictStore
from xmr.store.verdicts import ANSWERS, PairNames, Question, Tally

PEOPLE = 8  # who gave most verdicts, by name


@dataclass(frozen=True)
class Answers:
    """What stands on a split as of a version of the store: one person's answers, everybody's, how many questions those
    people answered who answered most, and how many more people did."""

    version: int = 0
    mine: Mapping[Question, str] = field(default_factory=dict)
    tallies: Mapping[Question, Tally] = field(default_factory=dict)
    people: Mapping[str, int] = field(default_factory=dict)
    more: int = 0

    def mark(self, question: Question) -> list[str]:
        """The person's own answer and, once they gave it, what others said; empty where they did not."""
        mine, tally = self.mine.get(question, ""), self.tallies.get(question)
        if not mine or tally is None:
            return ["", ""]
        others = tally._replace(**{mine: getattr(tally, mine) - 1})
        said = ", ".join(f"{count} {answer}" for answer, count in others._asdict().items() if count)
        return [mine, f"Others: {said}." if said else "Nobody else has judged it."]


class Standings:
    """Tallies of one split's questions. Texts that read alike are one question: of a person's verdicts on several of
    them the last one counts."""

    def __init__(self, names: PairNames):
        self._names, self._lock, self._version = names, threading.Lock(), 0
        # Of each question the verdicts by person and name of the text: number of the event, and answer.
        self._said: dict[Question, dict[tuple[str, str], tuple[int, str]]] = {}
        self._tallies: dict[Question, Tally] = {}
        self._own: dict[str, dict[Question, str]] = {}  # by person

    def answers(self, store: VerdictStore, judge: str) -> Answers:
        """What stands now, `judge` ("": nobody) being the person who asks. Raises as the store."""
        with self._lock:
            self._catch_up(store)
            counts = {name: len(own) for name, own in self._own.items() if own}
            people = heapq.nlargest(PEOPLE, counts.items(), key=lambda one: one[1])
            own, more = self._own.get(judge, {}), len(counts) - len(people)
            return Answers(self._version, own, self._tallies, dict(people), more)

    def _catch_up(self, store: VerdictStore) -> None:
        version, changes = store.changes(self._names.data.fingerprint, self._version)
        changed: dict[Question, set[str]] = {}
        for pair, person, number, answer in changes:
            question = self._names.question(pair)
            if question is None:
                continue
            said = self._said.setdefault(question, {})
            said.pop((person, pair.text_id), None)
            if answer:
                said[person, pair.text_id] = number, answer
            changed.setdefault(question, set()).add(person)
        for question, people in changed.items():
            last: dict[str, tuple[int, str]] = {}
            for (person, _), one in self._said[question].items():
                last[person] = max(one, last.get(person, one))
            for person in people:
                own = self._own.setdefault(person, {})
                own.pop(question, None)
                if person in last:
                    own[question] = last[person][1]
            self._tallies[question] = Tally.of(answer for _, answer in last.values())
            if not last:
                del self._tallies[question], self._said[question]
        self._version = version


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


def standing(answers: Answers, questions: Sequence[Question]) -> Standing:
    """What stands on these questions, in their order."""
    place = {"": 0} | {answer: 1 + i for i, answer in enumerate(ANSWERS)}
    tallies = [answers.tallies.get(question, _NONE) for question in questions]
    counts = np.array(tallies, np.int64).reshape(-1, len(ANSWERS))
    mine = np.array([place[answers.mine.get(question, "")] for question in questions], np.int8)
    agreed = np.array([0 if tally == _NONE else place[tally.answer] for tally in tallies], np.int8)
    return Standing(mine, agreed, counts)


_NONE = Tally(0, 0, 0)
