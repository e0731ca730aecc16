"""When a training learned each query, from who was right at its moments."""

from __future__ import annotations

import numpy as np

LEARNED = ("early", "late", "forgotten", "never")


def learned(right: np.ndarray, steps: np.ndarray) -> dict[str, np.ndarray]:
    """Queries by how they were learned: kind of `LEARNED` → indices, each query in one of them.

    right (M, Q) bool tells who was right after `steps` (M,), ascending, the first of which are 0. What stays right from a moment
    in the first half of the steps on is learned "early", from a later one "late"; "forgotten" is wrong at the end though
    it was right at some moment after a step, "never" was right at none.
    """
    since = lasting(right)
    ended = right[-1]
    late = ended & (steps[np.minimum(since, len(steps) - 1)] > steps[-1] / 2)
    once = right[1:].any(0)
    kinds = {"early": ended & ~late, "late": late, "forgotten": ~ended & once, "never": ~ended & ~once}
    return {name: np.flatnonzero(kinds[name]) for name in LEARNED}


def lasting(right: np.ndarray) -> np.ndarray:
    """The place of the moment from which on each query was right until the end, (Q,) int64 of `right` (M, Q); M where it is
    wrong at the end."""
    return len(right) - np.logical_and.accumulate(right[::-1]).sum(0)
