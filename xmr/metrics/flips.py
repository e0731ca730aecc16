"""Whether a sum of differences is more than chance."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

EXACT = 50_000_000  # cosines of an exact test: about a second
FLIPS = 2000  # of a permutation test
KEPT = 50_000_000  # flips of all queries, one bit each, up to which they are kept for the next test


def flip_test(sums: np.ndarray, seed: int = 0) -> tuple[float, str]:
    """How probable a total of (C,) independent differences this far from 0 is if each had either sign, and how known.

    Exact for small whole numbers, as differences of hits are: with one query a visual it is McNemar's exact test. Of other
    numbers `FLIPS` draws are counted, so that p is at least 1 / (FLIPS + 1).
    Reference: Fisher's randomisation test; Smucker et al., A Comparison of Statistical Significance Tests for
    Information Retrieval Evaluation, CIKM 2007; by clusters, as captions of one visual go together.
    """
    if not np.isfinite(sums).all():
        raise ValueError("differences must be finite: leave out what could not be compared")
    total = abs(sums.sum())
    levels, counts = np.unique(np.abs(sums[sums != 0]), return_counts=True)
    size = 2 * int(levels @ counts) + 1  # of the values that the total can have
    if (sums != np.rint(sums)).any() or size * len(levels) > EXACT:
        return _sign_flips(sums, seed), f"{FLIPS:,} sign flips by visual"
    # The total's distribution, from its characteristic function: Π cos(level · t)^count at as many t as it has values.
    turns, spectrum = 2 * np.pi * np.arange(size) / size, np.ones(size)
    for level, count in zip(levels, counts, strict=True):
        spectrum *= np.cos(turns * level) ** count
    chances = np.fft.fft(spectrum).real / size
    distance = np.minimum(np.arange(size), size - np.arange(size))
    p = float(np.clip(chances[distance >= total].sum(), 0.0, 1.0))
    return p, "sign flips by visual, exact"


def _sign_flips(differences: np.ndarray, seed: int) -> float:
    count = len(differences)
    values, total = differences.astype(np.float32), differences.sum()
    extreme = 0
    for drawn in _flips(count, seed) if FLIPS * count <= KEPT else _drawn_flips(count, seed):
        kept = np.unpackbits(drawn, axis=1, count=count).astype(np.float32) @ values
        sums = np.abs(2 * kept - total)  # of those that keep their sign, less of those that don't
        extreme += int((sums >= abs(total) * (1 - 1e-5)).sum())
    return (1 + extreme) / (1 + FLIPS)


@lru_cache(maxsize=2)  # of both directions: the runs are tested on the same queries
def _flips(count: int, seed: int) -> list[np.ndarray]:
    return list(_drawn_flips(count, seed))


def _drawn_flips(count: int, seed: int) -> Iterator[np.ndarray]:
    """Which of `count` differences keep their sign in each of `FLIPS` draws, packed bits, some draws at a time."""
    rng = np.random.default_rng(seed)
    step = max(1, 1_000_000 // count)
    for start in range(0, FLIPS, step):
        rows = min(step, FLIPS - start)
        yield np.frombuffer(rng.bytes(rows * -(-count // 8)), np.uint8).reshape(rows, -1)
