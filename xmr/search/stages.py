"""Two stages: an index finds candidates, a pair scorer orders them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from xmr.search.approximate import Index
from xmr.search.exact import falling


class Reranked(NamedTuple):
    """The k best of each query after both stages; all are (Q, K), column j is rank j + 1 of the second stage."""

    indices: np.ndarray  # int64
    scores: np.ndarray  # float64, the pair scorer's; NaN beyond the depth, where it was not asked
    first_scores: np.ndarray  # float32, the first stage's
    first_ranks: np.ndarray  # int64, 1-based, the first stage's


def two_stage(
    first: Index,
    queries: np.ndarray,
    k: int,
    depth: int,
    rescore: Callable[[int, np.ndarray], np.ndarray],
    behind: Sequence[np.ndarray] | None = None,
) -> Reranked:
    """The first stage's best `depth` items in the order of a pair scorer; K = min(k, G).

    `rescore(row, candidates)` gives the scores (N,) of query `row` with the gallery items `candidates` (N,) int64.
    Equal scores are ordered as in `ExactIndex.search`, NaN come last. Items beyond the depth keep the first stage's
    order behind those within: their rank after both stages is their rank in the first.

    Raises ValueError where depth < 1 or `rescore` returns another shape.
    """
    if depth < 1:
        raise ValueError(f"depth must be at least 1, found {depth}")
    k = min(max(k, 1), len(first))
    depth = min(depth, len(first))
    first_scores, indices = first.search(queries, max(k, depth), behind)
    scores = np.full(indices.shape, np.nan)
    ranks = np.tile(np.arange(1, indices.shape[1] + 1), (len(indices), 1))
    for row, candidates in enumerate(indices[:, :depth].copy()):
        given = np.asarray(rescore(row, candidates), dtype=np.float64)
        if given.shape != candidates.shape:
            raise ValueError(f"rescore returned {given.shape} for {candidates.shape} candidates")
        order = falling(given, candidates, None if behind is None else behind[row])
        scores[row, :depth] = given[order]
        for array in (indices, first_scores, ranks):
            array[row, :depth] = array[row, order]
    return Reranked(indices[:, :k], scores[:, :k], first_scores[:, :k], ranks[:, :k])
