"""How far the people who judge agree, in words and as a table to take home."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np

from xmr.metrics.agreement import Agreement, agreement
from xmr.store import ANSWERS, Answers
from xmr.tables import csv_text
from xmr.views.verdicts import PEOPLE
from xmr.words import fixed, percent

COLUMNS = ("person", "other", "pairs_both_judged", "same_answer", "cohen_kappa", "low_95", "high_95")


def agreement_words(answers: Answers) -> str:
    """Cohen's kappa of those who judged most, on how many pairs it rests, and its interval; or what it would need."""
    people = answers.people
    names = [name for name, _ in people.most_common(PEOPLE)]
    if not names:
        return ""
    if len(names) == 1:
        return f"Agreement between people (Cohen's κ) is known once a second person judges pairs that {names[0]} has judged."
    found = agreement(_table(answers, names))
    who = " and ".join(names) if len(names) == 2 else f"{len(names)} people"
    if len(people) > PEOPLE:
        who = f"the {PEOPLE} people who judged most"
    if not found.items:
        return f"Agreement between people (Cohen's κ) is known once {who} have judged the same pairs."
    pairs = f"{found.items:,} pair{'s' * (found.items > 1)} that {'both' if len(names) == 2 else 'two or more of them'} judged"
    text = f"Agreement between {who} on {pairs}: the same answer on {percent(found.same)}"
    if math.isnan(found.kappa):
        return f"{text}; Cohen's κ is not defined, since they always give one answer."
    kind = "Cohen's κ" if len(names) == 2 else "the mean of Cohen's κ over pairs of people"
    return f"{text}; {kind} is {fixed(found.kappa, 2)} ({_interval(found)})."


def _interval(found: Agreement) -> str:
    if found.low == found.high:
        return "no interval, since they never differ"
    return f"95% interval {fixed(found.low, 2)} to {fixed(found.high, 2)}"


def agreement_csv(answers: Answers) -> str:
    """Of every two people Cohen's kappa on the pairs that both judged, with its interval; those with none are left out."""
    rows = []
    for two in combinations([name for name, _ in answers.people.most_common(PEOPLE)], 2):
        found = agreement(_table(answers, two))
        if found.items:
            values = found.same, found.kappa, found.low, found.high
            rows.append(
                dict(zip(COLUMNS, (*two, found.items, *(round(one, 4) for one in values)), strict=True))
            )
    return csv_text(rows, COLUMNS)


def _table(answers: Answers, names: list[str] | tuple[str, ...]) -> np.ndarray:
    """Answers (questions that two of them judged, people), -1 where there is none."""
    place = {answer: i for i, answer in enumerate(ANSWERS)}
    rows = [
        [place.get(said.get(name, ""), -1) for name in names]
        for said in answers.said.values()
        if len(said) > 1
    ]
    table = np.array(rows, np.int64).reshape(-1, len(names))
    return table[(table >= 0).sum(1) > 1]
