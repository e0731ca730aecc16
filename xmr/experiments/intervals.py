"""What the seeds of several trainings allow to say: means with intervals, and paired tests against a baseline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from scipy.special import stdtrit

LEVEL = 0.05  # of the tests; intervals hold 1 - LEVEL
Name = TypeVar("Name")


@dataclass(frozen=True)
class Cell:
    """A metric over seeds: mean ± half of the interval, and the difference to the baseline in the same form.

    `p` asks whether other seeds would show the difference, `p_visual` whether other visuals would. NaN where there is
    none: no interval from one seed, no test of the baseline against itself.
    """

    mean: float
    half: float
    difference: float = math.nan
    difference_half: float = math.nan
    p: float = math.nan
    p_holm: float = math.nan
    p_visual: float = math.nan
    p_visual_holm: float = math.nan
    seeds: int = 0

    @property
    def arrow(self) -> str:
        """Whether it is above or below the baseline by more than chance: " ↑", " ↓" or nothing."""
        return (" ↑" if self.difference > 0 else " ↓") if self.p_holm < LEVEL else ""


def cells_of(values: Mapping[Name, Mapping[int, float]], baseline: Name) -> dict[Name, Cell]:
    """The cells of a metric's values by seed, of those that have any.

    Paired t-tests over the seeds that one shares with the baseline, with Holm's correction for the number of tests.
    """
    base = values.get(baseline, {})
    cells = {}
    for name, found in values.items():
        if not found:
            continue
        cells[name] = Cell(*interval(list(found.values())), seeds=len(found))
        if name != baseline and (shared := sorted(found.keys() & base.keys())):
            ours, theirs = [found[seed] for seed in shared], [base[seed] for seed in shared]
            difference, p = paired(ours, theirs)
            half = interval(np.subtract(ours, theirs))[1]
            cells[name] = replace(cells[name], difference=difference, difference_half=half, p=p)
    tested = [name for name, cell in cells.items() if not math.isnan(cell.difference)]
    for name, p in zip(tested, holm([cells[name].p for name in tested]), strict=True):
        cells[name] = replace(cells[name], p_holm=p)
    return cells


def interval(values: Sequence[float], level: float = 1 - LEVEL) -> tuple[float, float]:
    """Mean, and half of its Student t interval; NaN from fewer than two values."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, math.nan
    error = np.std(values, ddof=1) / math.sqrt(len(values))
    return mean, float(stdtrit(len(values) - 1, (1 + level) / 2) * error)


def paired(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float]:
    """Mean difference, and the two-sided p of a paired t-test; p is NaN from fewer than two pairs.

    Differences that are all the same have no spread to measure by: p is 1 where they are zero, else 0.
    """
    differences = np.subtract(ours, theirs)
    mean = float(differences.mean())
    if len(differences) < 2:
        return mean, math.nan
    if np.ptp(differences) <= 1e-9 * max(abs(mean), 1.0):
        return mean, float(abs(mean) <= 1e-9)
    from scipy import stats  # takes a second, which the app need not wait for

    return mean, float(stats.ttest_rel(ours, theirs).pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, (m,), in the order given; NaN stays and counts as a test.

    The k-th smallest is multiplied by m - k + 1, and none is below one that was smaller before.
    Reference: Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scand. J. Statist. 6 (1979).
    """
    adjusted = [math.nan] * len(p)
    highest = 0.0
    ranked = sorted((i for i in range(len(p)) if not math.isnan(p[i])), key=lambda i: p[i])
    for place, i in enumerate(ranked):
        highest = max(highest, min(1.0, (len(p) - place) * p[i]))
        adjusted[i] = highest
    return adjusted
