"""Exact search over all vectors, and what an index tells of itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import faiss
import numpy as np
import torch

# faiss 1.15 compares queries × dimensions with this. Its default (128,000) leaves BLAS unused, and a batch of 100 runs
# seven times slower; below one query's dimensions, a single query goes to BLAS and takes five times as long.
faiss.cvar.distance_compute_blas_threshold = 2000
ROUNDING = 1e-5  # of a score: more than two ways to sum it can differ by
MORE = (
    4  # items looked at beyond k: that so many are within rounding of the last is rare unless they are equal
)
DEEP = 1_000  # items a query, above which faiss's heaps take longer than the whole product


@dataclass(frozen=True)
class Facts:
    """What an index is, and why.

    `setting` is how many cells of the IVF are looked at (nprobe); `recall` the measured recall@`k`, by where the queries
    came from; `note` says in words why this kind was taken. An exact index has no setting and measures nothing.
    """

    kind: Literal["exact", "ivf_sq8"] = "exact"
    setting: int = 0
    target: float = 1.0
    k: int = 10
    recall: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0  # to build and measure
    note: str = ""


class ExactIndex:
    """Inner-product search over all vectors: nothing approximate, equal scores in a stable order.

    vectors (G, E) float; held as float32, and not copied if they are that already: searching them in place is as
    fast as faiss's flat index, which would hold them a second time. Raises ValueError on an empty or non-finite
    gallery, because an order among NaN means nothing.
    """

    def __init__(self, vectors: np.ndarray):
        self.vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        self.facts = Facts()
        if self.vectors.ndim != 2 or 0 in self.vectors.shape:
            raise ValueError(f"an index needs (G, E) vectors, found {self.vectors.shape}")
        if not np.isfinite(self.vectors).all():
            raise ValueError("an index needs finite vectors; these hold NaN or infinity")

    def __len__(self) -> int:
        return len(self.vectors)

    def search(
        self,
        queries: np.ndarray,
        k: int,
        behind: Sequence[np.ndarray] | None = None,
        rows: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best of each query: scores (Q, K) float32 falling, and indices (Q, K) int64; K = min(k, G).

        Equal scores are ordered by index, so the answer does not depend on how faiss walks its memory.
        `behind` names, per query, the items that stand last among their equals: pass the annotated matches, so
        that ties count against the query as they do in the metrics. `rows` (Q, G) is `queries @ vectors.T` where the
        caller has it: the vectors are then not read again. Raises ValueError on queries of another width or that are
        not finite.
        """
        queries = as_queries(queries, self.vectors.shape[1])
        k = min(max(k, 1), len(self))
        scores = np.empty((len(queries), k), np.float32)
        indices = np.empty((len(queries), k), np.int64)
        waiting, depth = np.arange(len(queries)), k
        while len(waiting):
            # A few more than needed show whether the last place is shared; if so, look deeper until it is not.
            depth = min(depth + MORE, len(self))
            if rows is not None:
                rough, at = highest(rows[waiting], depth)
            elif depth > DEEP:
                rough, at = highest(queries[waiting] @ self.vectors.T, depth)
            else:
                rough, at = faiss.knn(
                    queries[waiting], self.vectors, depth, metric=faiss.METRIC_INNER_PRODUCT
                )
            found = products(queries[waiting], self.vectors, at)
            nearly = rough[:, k - 1] - ROUNDING * np.abs(rough).max(1)
            shared = (rough[:, -1] >= nearly) & (depth < len(self))
            for row in np.flatnonzero(~shared):
                q = waiting[row]
                order = falling(found[row], at[row], None if behind is None else behind[q])[:k]
                scores[q], indices[q] = found[row, order], at[row, order]
            waiting, depth = waiting[shared], 2 * depth
        return scores, indices


def highest(rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The `count` highest of each row (Q, G), falling: values (Q, count) and their places (Q, count) int64."""
    values, at = torch.from_numpy(rows).topk(count, dim=1)
    return values.numpy(), at.numpy()


def products(queries: np.ndarray, vectors: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Scores (Q, K) float32 of each query (Q, E) with its items `indices` (Q, K) int64; -inf where an index is -1.

    Each pair on its own and summed in one order: a matrix product gives equal vectors scores that differ in the
    last bit, by where they stand in it.
    """
    scores = np.full(indices.shape, -np.inf, np.float32)
    arrays = map(faiss.swig_ptr, (scores, queries, vectors, indices))
    faiss.fvec_inner_products_by_idx(*arrays, queries.shape[1], *indices.shape)
    return scores


def as_queries(queries: np.ndarray, dimension: int) -> np.ndarray:
    """Queries as (Q, E) float32. Raises ValueError where they have another width or are not finite."""
    queries = np.ascontiguousarray(np.atleast_2d(queries), dtype=np.float32)
    if queries.shape[1] != dimension:
        raise ValueError(f"queries have {queries.shape[1]} dimensions, the gallery has {dimension}")
    if not np.isfinite(queries).all():
        raise ValueError("queries must be finite; these hold NaN or infinity")
    return queries


def falling(scores: np.ndarray, indices: np.ndarray, behind: np.ndarray | None) -> np.ndarray:
    """The order (N,) of items by falling score; equals by index, those of `behind` last among them; NaN at the end."""
    last = np.isin(indices, behind) if behind is not None else np.zeros(len(indices), bool)
    return np.lexsort((indices, last, -scores))
