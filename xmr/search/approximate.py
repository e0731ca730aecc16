"""Approximate search whose recall is measured: IVF with a byte per dimension proposes, the vectors score exactly."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import faiss
import numpy as np

from xmr.search.exact import ExactIndex, Facts, as_queries, falling, products

EXACT_UP_TO = 50_000  # vectors: below, the exact answer takes a few milliseconds and needs no building
PROBES = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 256)  # cells to look at, the fastest first
WIDEN = 2  # candidates for each item asked for: they are scored again, which mends what SQ8 rounds away
HELD_OUT = 256  # vectors that are left out of the index while its recall is measured
TRAINING = 40  # vectors per cell that its centre is learned from; faiss warns below 39
CHUNK = 1 << 16  # rows that are copied at once


class ApproximateIndex:
    """A faiss index that proposes candidates, and the vectors that score them exactly.

    Made by `build_index` and `cached_index`. The vectors of `exact` (G, E) are not copied; they may be memory-mapped,
    since a search reads few of them.
    """

    def __init__(self, exact: ExactIndex, proposer: faiss.Index, facts: Facts):
        self.exact = exact
        self.vectors = exact.vectors
        self.proposer = proposer
        self.facts = facts

    def __len__(self) -> int:
        return len(self.vectors)

    def search(
        self, queries: np.ndarray, k: int, behind: Sequence[np.ndarray] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `ExactIndex.search`, among the items found: scores are exact, but an item may be missing.

        `facts.recall` is measured for `facts.k` items; of many more, a smaller share is found. Queries for which
        too few are found, and a k of a quarter of the gallery or more, are answered exactly.
        """
        queries = as_queries(queries, self.vectors.shape[1])
        k = min(max(k, 1), len(self))
        if 4 * k >= len(self):
            return self.exact.search(queries, k, behind)
        found = self._propose(queries, min(WIDEN * k, len(self)))
        given = products(queries, self.vectors, found)
        scores = np.empty((len(queries), k), np.float32)
        indices = np.empty((len(queries), k), np.int64)
        for q, (row, at) in enumerate(zip(given, found, strict=True)):
            own = None if behind is None else behind[q]
            there = np.flatnonzero(at >= 0)  # faiss fills up with -1
            if len(there) < k:
                whole = self.exact.search(queries[q : q + 1], k, None if own is None else [own])
                scores[q], indices[q] = whole[0][0], whole[1][0]
                continue
            order = there[falling(row[there], at[there], own)[:k]]
            scores[q], indices[q] = row[order], at[order]
        return scores, indices

    def _propose(self, queries: np.ndarray, width: int) -> np.ndarray:
        # Handed over with the call: set on the index, it would be shared by the threads that search it.
        parameters = faiss.SearchParametersIVF(nprobe=self.facts.setting)
        return self.proposer.search(queries, width, params=parameters)[1]


Index = ExactIndex | ApproximateIndex


def build_index(
    vectors: np.ndarray, recall: float = 1.0, *, k: int = 10, queries: np.ndarray | None = None
) -> Index:
    """An index over vectors (G, E) that finds at least the share `recall` of the true k best.

    Exact where `recall` is 1 or the gallery is small. Else as many cells of an IVF are looked at as reach the target by
    one standard error, on vectors held out while the index is measured and, if given, on `queries` (Q, E) as they will be
    asked: captions lie elsewhere than pictures, and their neighbours are harder to find. Where a part of the cells does
    not reach it, the index is exact. `facts.note` tells all this.

    Raises ValueError on vectors or queries that are empty, not finite or of different widths, on a recall outside
    (0, 1] and a k below 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, found {k}")
    if not 0 < recall <= 1:
        raise ValueError(f"recall must be in (0, 1], found {recall}")
    exact = ExactIndex(vectors)
    count, dimension = exact.vectors.shape
    if queries is not None:
        queries = as_queries(queries, dimension)
        if not len(queries):
            raise ValueError(f"queries to measure recall on are empty: {queries.shape}")
    if note := _exact_because(count, recall, k):
        exact.facts = Facts(target=recall, k=k, note=note)
        return exact

    start = time.perf_counter()
    rng = np.random.default_rng(0)
    shuffled = rng.permutation(count)
    held, rest = np.sort(shuffled[:HELD_OUT]), np.sort(shuffled[HELD_OUT:])
    proposer = _trained(exact.vectors, rest, rng)
    _add(proposer, exact.vectors, rest)
    index = ApproximateIndex(exact, proposer, Facts("ivf_sq8", 1, recall, k))
    asked = {"held out": exact.vectors[held]}
    if queries is not None:
        asked["queries"] = queries[rng.permutation(len(queries))[:HELD_OUT]]
    best = {name: _best(exact, some, k, held) for name, some in asked.items()}
    for setting in _settings(proposer):
        index.facts = replace(index.facts, setting=setting)
        hits = {name: _found(index, some, k, best[name]) for name, some in asked.items()}
        measured = {name: float(hit.mean()) for name, hit in hits.items()}
        if all(hit.mean() - hit.std() / len(hit) ** 0.5 >= recall for hit in hits.values()):
            _add(proposer, exact.vectors, held)
            seconds = round(time.perf_counter() - start, 2)
            note = f"{count:,} vectors; {setting} of {proposer.nlist} cells"
            index.facts = replace(index.facts, recall=measured, seconds=seconds, note=note)
            return index
    told = ", ".join(f"{value:.4f} ({name})" for name, value in measured.items())
    note = f"{setting} of {proposer.nlist} cells reach a recall of {told}, not {recall}: exact instead"
    seconds = round(time.perf_counter() - start, 2)
    exact.facts = Facts(target=recall, k=k, note=note, seconds=seconds)
    return exact


def _exact_because(count: int, recall: float, k: int) -> str:
    """Why so many vectors need no approximate index; "" where they do."""
    if recall == 1:
        return "all neighbours are asked for"
    if count <= EXACT_UP_TO:
        return f"{count:,} vectors, at most {EXACT_UP_TO:,}: exact search is fast enough"
    if count < TRAINING * max(4 * k, 16):  # too few cells, or k is no small part of the gallery
        return f"only {count:,} vectors"
    return ""


def _trained(vectors: np.ndarray, rows: np.ndarray, rng: np.random.Generator) -> faiss.Index:
    cells = max(1, min(int(4 * len(vectors) ** 0.5), len(vectors) // TRAINING))
    proposer = faiss.index_factory(vectors.shape[1], f"IVF{cells},SQ8", faiss.METRIC_INNER_PRODUCT)
    proposer.cp.max_points_per_centroid = TRAINING
    proposer.cp.min_points_per_centroid = 1  # warns in print below it
    proposer.train(vectors[rng.choice(rows, min(len(rows), TRAINING * cells), replace=False)])
    return proposer


def _add(proposer: faiss.Index, vectors: np.ndarray, rows: np.ndarray) -> None:
    for start in range(0, len(rows), CHUNK):
        some = rows[start : start + CHUNK]
        proposer.add_with_ids(vectors[some], some)


def _settings(proposer: faiss.Index) -> list[int]:
    """How many cells to look at; the last still looks at a small part of the gallery only."""
    return [setting for setting in PROBES if 8 * setting <= proposer.nlist]


def _best(exact: ExactIndex, queries: np.ndarray, k: int, without: np.ndarray) -> np.ndarray:
    """Scores (Q,) of each query's k-th best item among all but `without`."""
    scores, found = exact.search(queries, k + len(without))
    left = ~np.isin(found, without)
    place = (left.cumsum(1) == k).argmax(1)  # the first column where k are counted
    return scores[np.arange(len(queries)), place]


def _found(index: ApproximateIndex, queries: np.ndarray, k: int, best: np.ndarray) -> np.ndarray:
    """Recall@k (Q,): the share of items found that are as near as the k-th best, since equals are as good.

    Places that are left empty count as missed, though `search` fills them: exactly, and slowly.
    """
    found = index._propose(queries, WIDEN * k)
    scores = np.sort(products(queries, index.vectors, found))[:, -k:]
    return (scores >= best[:, None]).mean(1)
