"""In which order pairs are judged, and what verdicts on a random share of them tell of a selector."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from xmr.core import Direction
from xmr.metrics.agreement import share_interval
from xmr.store import Standing
from xmr.views.judging import asked_once, pair_names, questions
from xmr.words import percent
from xmr.workspace import Workspace
from xmr.workspace.measurements import hard_negatives
from xmr.workspace.memory import remembered

ROUND = 60  # pairs that a person judges before they are told that they have done a part
EVERY = 3  # of the informative order one of so many is drawn at random
BATCH = (
    10  # drawn pairs that count together, so that a precision does not rest on those that happen to be judged
)
SEED = b"xmr judging"
ORDERS = [("most informative", "informative"), ("weight", "weight"), ("score", "score")]
ABOUT = {
    "informative": "Pairs on which {disagree} disagree come first, heavier before lighter; every third is drawn at random "
    "(by a seed) from what {first} suspects, and its precision is estimated from those alone.",
    "weight": "The pairs that weigh most in the loss come first.",
    "score": "The pairs that the run scores highest come first.",
}


def order_words(order: str, first: str, selectors: int, runs: int) -> str:
    """What an order does."""
    who = [name for name, count in (("selectors", selectors), ("runs", runs)) if count > 1]
    text = ABOUT[order].format(first=first, disagree=" or ".join(who) or "selectors or runs")
    if order == "informative" and not who:
        text += " One selector and one run can't disagree: compare with more."
    return text


def in_order(
    order: str,
    places: np.ndarray,
    weight: np.ndarray,
    score: np.ndarray,
    disagree: np.ndarray,
    drawn: np.ndarray,
) -> np.ndarray:
    """The `places` (N,) of hard negatives in that order; weight, score and how far selectors and runs `disagree` are (P,) of
    all of them. Every third of the informative order comes from `drawn`, places in a random order."""
    if order == "score":
        return places[np.argsort(-score[places], kind="stable")]
    if order == "weight":
        return places[np.argsort(-weight[places], kind="stable")]
    ranked = iter(places[np.lexsort((-weight[places], -disagree[places]))].tolist())
    random = iter(drawn[np.isin(drawn, places)].tolist())
    found: dict[int, None] = {}  # in the order in which they came
    while len(found) < len(places):
        ways = [random, ranked] if len(found) % EVERY == EVERY - 1 else [ranked]
        found[next(place for way in ways for place in way if place not in found)] = None
    return np.array(list(found), np.int64)


def disagreement(
    workspace: Workspace,
    run: str,
    split: str,
    direction: Direction,
    masks: Mapping[str, np.ndarray],
    runs: Sequence[str],
) -> np.ndarray:
    """How far selectors and `runs` disagree on each hard negative, (P,): 4 p (1 - p) of the share p of selectors that suspect
    it, and of the runs that have it among the first ten results of its query; 2 at most."""
    found = hard_negatives(workspace, run, split, direction)
    votes = np.mean(list(masks.values()), axis=0)
    total = 4 * votes * (1 - votes)
    if len(runs) > 1:
        hits = [
            (workspace.top(name, split, direction)[found.query] == found.candidate[:, None]).any(1)
            for name in runs
        ]
        share = np.mean(hits, axis=0)
        total += 4 * share * (1 - share)
    return np.round(total, 9)


def drawn_suspects(
    workspace: Workspace, run: str, split: str, direction: Direction, mask: np.ndarray
) -> np.ndarray:
    """What a selector suspects, each question once, in a random order that a seed fixes. Each pair has a number of its own, so
    the order of those that two selectors suspect is the same, and verdicts on them count for both."""
    places = np.flatnonzero(asked_once(mask, questions(workspace, run, split, direction)))
    return places[np.argsort(_numbers(workspace, run, split, direction)[places], kind="stable")]


@remembered
def _numbers(workspace: Workspace, run: str, split: str, direction: Direction) -> np.ndarray:
    """A random number for each hard negative, fixed by its names."""
    names = pair_names(workspace, split)
    keys = ("\n".join(names.pair(*asked)).encode() for asked in questions(workspace, run, split, direction))
    drawn = [int.from_bytes(hashlib.blake2b(key, digest_size=8, key=SEED).digest()) for key in keys]
    return np.array(drawn, np.uint64)


def estimate_words(selector: str, drawn: np.ndarray, stands: Standing, truth: float | None) -> str:
    """The selector's precision as people judge the first of the `drawn` suspects, in whole batches, and beside it the known
    one (None: it is not known, or not to be told yet)."""
    left = np.flatnonzero(stands.agreed[drawn] == 0)
    judged = int(left[0]) if len(left) else len(drawn)
    count = judged if judged == len(drawn) else judged // BATCH * BATCH
    if not len(drawn):
        return ""
    if not count:
        first = min(BATCH, len(drawn))
        return (
            f"How often {selector} is right is estimated once the first {first} of its suspects in a random order are judged "
            f"(every third pair of the informative order): {judged} so far."
        )
    sample = drawn[:count]
    yes, no = int(stands.told("yes")[sample].sum()), int(stands.told("no")[sample].sum())
    unsure = f" ({count - yes - no} on which people are unsure left out)" if yes + no < count else ""
    which = "all" if count == len(drawn) else f"the first {count} of"
    basis = f"{which} {len(drawn):,} suspects in a random order{unsure}"
    if not yes + no:
        return f"Precision of {selector} as people judge: not known from {basis}."
    text = f"Precision of {selector} as people judge: {percent(yes / (yes + no))}"
    if count < len(drawn):
        low, high = share_interval(yes, yes + no)
        text += f" (95% interval {percent(low)}–{percent(high)}, Clopper–Pearson)"
    text += f", from {basis}; pairs that were judged for another reason don't count."
    return text if truth is None else f"{text} By the known truth it is {percent(truth)}."
