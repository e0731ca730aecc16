"""What stands on the pairs of a split, counted once and kept up to date by what was written since."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from xmr.store.database import VerdictStore
from xmr.store.verdicts import ANSWERS, Pair, PairNames, Question, Tally


@dataclass(frozen=True)
class Answers:
    """What people say of a split's questions as of a version of the store: the answer of each person by question. Where not
    `whole`, only those of the person who asks, `judge` ("": nobody)."""

    judge: str = ""
    said: Mapping[Question, Mapping[str, str]] = field(default_factory=dict)
    version: int = 0
    whole: bool = True

    def mine(self, question: Question) -> str:
        """The person's own answer; "" where there is none."""
        return self.said.get(question, {}).get(self.judge, "")

    def tally(self, question: Question) -> Tally:
        return Tally.of(self.said.get(question, {}).values())

    def mark(self, question: Question) -> list[str]:
        """The person's own answer and, once they gave it, what others said; empty where they did not."""
        mine = self.mine(question)
        if not mine or not self.whole:
            return [mine, ""]
        others = Tally.of(answer for name, answer in self.said[question].items() if name != self.judge)
        said = ", ".join(f"{count} {answer}" for answer, count in others._asdict().items() if count)
        return [mine, f"Others: {said}." if said else "Nobody else has judged it."]

    @property
    def people(self) -> Counter[str]:
        """How many questions each person answered."""
        return Counter(name for said in self.said.values() for name in said)


class Standings:
    """The answers on one split's questions. Texts that read alike are one question: of a person's verdicts on several of
    them the last one counts."""

    def __init__(self, names: PairNames):
        self._names, self._lock = names, threading.Lock()
        self._version, self._counted = 0, False
        # Of each question and person the verdicts that were not taken back, by the number of their event.
        self._given: dict[tuple[Question, str], dict[int, str]] = {}
        self._said: dict[Question, dict[str, str]] = {}  # replaced, never changed: others may be reading it

    def answers(self, store: VerdictStore, judge: str) -> Answers:
        """What stands now, `judge` ("": nobody) being the person who asks. Raises as the store."""
        fingerprint = self._names.data.fingerprint
        with self._lock:
            while (found := store.since(fingerprint, self._version))[0] > self._version:
                self._said = dict(self._said)
                self._version, events = found
                for event in events:
                    self._take(*event)
            self._counted = True
            return Answers(judge, self._said, self._version)

    def own(self, store: VerdictStore, judge: str, questions: Iterable[Question]) -> Answers:
        """What stands now; where that was not counted yet, only what that person says of these questions, which takes no
        time. Raises as the store."""
        if self._counted:
            return self.answers(store, judge)
        names, said = self._names, {}
        visuals = {names.visuals[visual] for visual, _ in questions}
        for visual, text, answer in store.own(names.data.fingerprint, judge, visuals) if judge else ():
            if question := names.question(Pair(names.data.fingerprint, visual, text)):
                said[question] = {judge: answer}
        return Answers(judge, said, 0, False)

    def _take(self, event: int, visual: str, text: str, person: str, answer: str) -> None:
        question = self._names.question(Pair(self._names.data.fingerprint, visual, text))
        if question is None:
            return
        given = self._given.setdefault((question, person), {})
        if answer:
            given[event] = answer
        else:
            given.pop(event, None)
        said = {name: one for name, one in self._said.get(question, {}).items() if name != person}
        if given:
            said[person] = given[max(given)]
        if said:
            self._said[question] = said
        else:
            self._said.pop(question, None)


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


def standing(answers: Answers, questions: Iterable[Question]) -> Standing:
    """What stands on these questions, in their order."""
    place = {"": 0} | {answer: 1 + i for i, answer in enumerate(ANSWERS)}
    asked = list(questions)
    tallies = [answers.tally(question) for question in asked]
    counts = np.array(tallies, np.int64).reshape(-1, len(ANSWERS))
    mine = np.array([place[answers.mine(question)] for question in asked], np.int8)
    agreed = np.array([place[tally.answer] if any(tally) else 0 for tally in tallies], np.int8)
    return Standing(mine, agreed, counts)
