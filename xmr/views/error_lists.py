"""What the errors tab is asked for, and which queries that lists, in which order. No gradio here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xmr.analysis import buckets, missed_by_one, query_slicings, true_but_unannotated
from xmr.core import Direction
from xmr.data.truths import TRUTHS
from xmr.figures.errors import RANK_BINS, rank_bins
from xmr.workspace import Workspace
from xmr.workspace.measurements import relevance
from xmr.workspace.memory import kept, remembered
from xmr.workspace.results import is_awaited

CUTOFFS = (1, 5, 10)
ANY, MISSED, HIDDEN = "all", "missed by one", "true not annotated"
# What can be listed, and how it is called; of two runs "right" means a match among the first k.
BUCKETS = {
    ANY: "all",
    "all right": "all right",
    "only A": "only A",
    "only B": "only B",
    "all wrong": "all wrong",
    "no match": "no match",
    MISSED: "missed by one place",
    HIDDEN: "top hit is true, not annotated",
}
# What can tell matches, how it is called, and what stands before a metric or a rank by it.
COUNTED = {
    "annotation": ("the annotation", ""),
    "truth": ("the truth", "true "),
    "eccv": (TRUTHS["eccv"], "ECCV "),
    "cxc": (TRUTHS["cxc"], "CxC "),
}
ORDERS = {"differ": "most different first", "a": "A worst first", "b": "B worst first", "random": "random"}


@dataclass(frozen=True)
class Asked:
    """What the tab is asked for: runs a and b ("": a alone), others beside them, the cut-off, what is listed, and how.

    `counted`, of `COUNTED`, tells the matches. `learned` names, and `among` holds, the queries that the list is narrowed to; None: all. `cell` are the first ranks of two bins of `rank_bins`, under a and under b; None lists all ranks.
    """

    split: str
    direction: Direction
    a: str
    b: str
    others: tuple[str, ...]
    k: int
    bucket: str = ANY
    slicing: str = ""
    slice: str = ""
    cell: tuple[int, int] | None = None
    order: str = "differ"
    seed: int = 0
    counted: str = "annotation"
    among: tuple[int, ...] | None = None
    learned: str = ""

    @property
    def measure(self) -> str:
        """What it means to be right, as a metric."""
        return f"{COUNTED[self.counted][1]}R@{self.k}"

    @property
    def rank(self) -> str:
        """What its ranks are called."""
        return f"{COUNTED[self.counted][1]}rank"

    def match(self, annotated: str, true: str) -> str:
        """What is counted, in the words for annotated and for true matches."""
        if self.counted in ("annotation", "truth"):
            return annotated if self.counted == "annotation" else true
        return f"{true.replace('true ', '')} by {COUNTED[self.counted][0]}"

    @property
    def pair(self) -> list[str]:
        return [self.a, self.b] if self.b else [self.a]

    @property
    def runs(self) -> list[str]:
        return [*self.pair, *self.others]

    @property
    def letters(self) -> dict[str, str]:
        """What the compared runs are called for short, by their names."""
        return dict(zip(self.pair, "AB", strict=False))


def pair_ranks(workspace: Workspace, asked: Asked) -> np.ndarray:
    """Ranks of the compared runs, (1 or 2, Q). Raises ValueError or OSError where a run can't tell, or can't yet."""
    return np.stack([ranks_of(workspace, asked, run) for run in asked.pair])


def ranks_of(workspace: Workspace, asked: Asked, run: str) -> np.ndarray:
    """Ranks of one run, (Q,), by what is `counted`. Raises as `pair_ranks`."""
    if asked.counted == "truth":
        ranks = workspace.true_ranks(run, asked.split, asked.direction)
        if ranks is None:
            raise ValueError(f"the truth of every pair of {asked.split} is not known")
        return ranks
    if is_awaited(workspace, run, asked.split):
        raise ValueError(f"{run} is measured in the background; it is shown as soon as it is there")
    if asked.counted != "annotation":
        return workspace.field_ranks(run, asked.split, asked.direction, asked.counted)
    return workspace.ranks(run, asked.split, asked.direction)


def seeds_right(workspace: Workspace, asked: Asked, run: str) -> np.ndarray:
    """Which trainings of a run have a match of which query among the first k, (S, Q) bool. Raises as `pair_ranks`."""
    return np.stack([ranks_of(workspace, asked, one) for one in workspace.each(run)]) <= asked.k


def all_ranks(workspace: Workspace, asked: Asked) -> tuple[dict[str, np.ndarray], list[str]]:
    """Ranks (Q,) by run, and in words which of the others can't tell. Raises as `pair_ranks`."""
    found = dict(zip(asked.pair, pair_ranks(workspace, asked), strict=True))
    faults = []
    for run in asked.others:
        try:
            found[run] = ranks_of(workspace, asked, run)
        except (ValueError, OSError) as error:
            faults.append(f"{run}: {error}.")
    return found, faults


def groups(workspace: Workspace, split: str, direction: Direction) -> tuple[np.ndarray, np.ndarray]:
    """Groups of the queries and of the gallery."""
    data = workspace.dataset(split)
    sides = data.visual_group, data.text_group
    return sides if direction == "v2t" else sides[::-1]


@kept
def hidden(workspace: Workspace, run: str, split: str, direction: Direction) -> np.ndarray:
    """Whether the run's best item is true though not annotated, (Q,): 1, 0, and NaN where that is not known."""
    best = workspace.top(run, split, direction)[:, 0]
    known = relevance(workspace, split, direction)
    return true_but_unannotated(best, *groups(workspace, split, direction), known).astype(np.float32)


@remembered
def slicings(workspace: Workspace, split: str, direction: Direction) -> dict[str, dict[str, np.ndarray]]:
    """Every way to slice the queries: title → name of a slice → its queries."""
    data = workspace.dataset(split)
    labels = None if data.classes is None else [data.classes[group] for group in data.visual_group]
    captioned = data.gallery_visuals is None and data.classes is None
    return query_slicings(
        data.captions, data.visual_of_text, direction, data.columns, labels, words=captioned
    )


def found_buckets(workspace: Workspace, asked: Asked) -> dict[str, np.ndarray]:
    """Queries (indices) by bucket: who is right, then near misses and, where truth is known, hidden matches."""
    ranks = pair_ranks(workspace, asked)
    found = buckets(ranks, asked.k)
    found[MISSED] = np.flatnonzero(missed_by_one(ranks, asked.k).any(0))
    if workspace.dataset(asked.split).truth is not None:
        masks = [hidden(workspace, run, asked.split, asked.direction) == 1 for run in asked.pair]
        found[HIDDEN] = np.flatnonzero(np.any(masks, axis=0))
    return found


def listed(workspace: Workspace, asked: Asked) -> np.ndarray:
    """The queries that pass every filter, in the order asked for; those without a match come last."""
    ranks = pair_ranks(workspace, asked)
    passed = np.ones(ranks.shape[1], bool)
    if asked.bucket != ANY:
        passed &= _among(found_buckets(workspace, asked).get(asked.bucket, ()), len(passed))
    if asked.among is not None:
        passed &= _among(asked.among, len(passed))
    if asked.slice:
        slicing = slicings(workspace, asked.split, asked.direction).get(asked.slicing, {})
        passed &= _among(slicing.get(asked.slice, ()), len(passed))
    if asked.cell:
        for one, first in zip(ranks, asked.cell, strict=False):
            passed &= (one >= first) & (one < _behind(first))
    queries = np.flatnonzero(passed)
    if (
        asked.order == "random"
    ):  # a number for each query of the split, so that filters don't shuffle what is left
        drawn = np.random.default_rng(asked.seed).random(len(passed))
        return queries[np.argsort(drawn[queries], kind="stable")]
    return queries[ordered(ranks[:, queries], asked.order)]


def ordered(ranks: np.ndarray, order: str) -> np.ndarray:
    """Places of (1 or 2, Q) ranks in an order; NaN come last.

    "differ": the largest ratio of two ranks first, of equal ratios the better ranks; of one run, and in "a" and "b", the
    worst rank first.
    """
    if order == "differ" and len(ranks) > 1:
        apart = np.abs(np.log(ranks[0]) - np.log(ranks[1]))
        return np.lexsort((ranks.min(0), np.nan_to_num(-apart, nan=np.inf)))
    worst = ranks[-1] if order == "b" else ranks[0]
    return np.argsort(np.nan_to_num(-worst, nan=np.inf), kind="stable")


def filter_words(asked: Asked) -> str:
    """What is filtered by, in words; "" where nothing is."""
    parts = []
    if asked.bucket != ANY:
        by = "" if asked.counted == "annotation" else f" by {COUNTED[asked.counted][0]}"
        parts.append(BUCKETS.get(asked.bucket, asked.bucket) + by)
    if asked.learned:
        parts.append(asked.learned)
    if asked.slice:
        parts.append(f"{asked.slicing}: {asked.slice}")
    if asked.cell:
        names = [rank_bins(first)[first] for first in asked.cell]
        under = zip("AB", names[: len(asked.pair)], strict=False)
        parts.append(" and ".join(f"{asked.rank} {name} under {letter}" for letter, name in under))
    return " · ".join(parts)


def _among(queries: Sequence[int] | np.ndarray, count: int) -> np.ndarray:
    mask = np.zeros(count, bool)
    mask[np.asarray(queries, np.int64)] = True
    return mask


def _behind(first: int) -> float:
    """The first rank behind the bin that starts at `first`."""
    return next((edge for edge in RANK_BINS if edge > first), float("inf"))
