"""Scores and truth, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

Relevance = Callable[[np.ndarray, np.ndarray], np.ndarray]

CELLS = 2_000_000  # scores held at once


def score_blocks(
    queries: np.ndarray, gallery: np.ndarray, cells: int = CELLS
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Row indices and their scores (q, G) float32, at most about `cells` scores at a time."""
    every = np.asarray(gallery, np.float32)
    step = max(1, cells // max(len(every), 1))
    for start in range(0, len(queries), step):
        rows = np.arange(start, min(start + step, len(queries)))
        yield rows, np.asarray(queries[start : start + step], np.float32) @ every.T
