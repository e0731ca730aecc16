"""Exact nearest-neighbour search; the one home of faiss."""

from __future__ import annotations

from collections.abc import Sequence

import faiss
import numpy as np

# The default (128,000 in faiss 1.15) leaves BLAS unused, and a batch of queries runs seven times slower.
faiss.cvar.distance_compute_blas_threshold = 20


class ExactIndex:
    """Inner-product search over all vectors: nothing approximate, equal scores in a stable order.

    vectors (G, E) float; held as float32, and not copied if they are that already: searching them in place is as
    fast as faiss's flat index, which would hold them a second time. Raises ValueError on an empty or non-finite
    gallery, because an order among NaN means nothing.
    """

    def __init__(self, vectors: np.ndarray):
        self.vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        if self.vectors.ndim != 2 or 0 in self.vectors.shape:
            raise ValueError(f"an index needs (G, E) vectors, found {self.vectors.shape}")
        if not np.isfinite(self.vectors).all():
            raise ValueError("an index needs finite vectors; these hold NaN or infinity")

    def __len__(self) -> int:
        return len(self.vectors)

    def search(
        self, queries: np.ndarray, k: int, behind: Sequence[np.ndarray] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best of each query: scores (Q, K) float32 falling, and indices (Q, K) int64; K = min(k, G).

        Equal scores are ordered by index, so the answer does not depend on how faiss walks its memory.
        `behind` names, per query, the items that stand last among their equals: pass the annotated matches, so
        that ties count against the query as they do in the metrics.
        """
        queries = np.ascontiguousarray(np.atleast_2d(queries), dtype=np.float32)
        if queries.shape[1] != self.vectors.shape[1]:
            raise ValueError(
                f"queries have {queries.shape[1]} dimensions, the gallery has {self.vectors.shape[1]}"
            )
        k = min(max(k, 1), len(self))
        scores = np.empty((len(queries), k), np.float32)
        indices = np.empty((len(queries), k), np.int64)
        waiting, depth = np.arange(len(queries)), k
        while len(waiting):
            # One more than needed shows whether the last place is shared; if so, look deeper until it is not.
            depth = min(depth + 1, len(self))
            found, at = faiss.knn(queries[waiting], self.vectors, depth, metric=faiss.METRIC_INNER_PRODUCT)
            shared = (found[:, -1] == found[:, k - 1]) & (depth < len(self))
            for row in np.flatnonzero(~shared):
                q = waiting[row]
                last = np.isin(at[row], behind[q]) if behind is not None else np.zeros(depth, bool)
                order = np.lexsort((at[row], last, -found[row]))[:k]
                scores[q], indices[q] = found[row, order], at[row, order]
            waiting, depth = waiting[shared], 2 * depth
        return scores, indices
