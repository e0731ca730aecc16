"""How far people agree, and how sure a share is that was counted in a sample."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.special import betaincinv, ndtri

LEVEL = 0.95


class Agreement(NamedTuple):
    """Cohen's kappa with the ends of its 95% interval, on how many items, and the share of them with the same answer. NaN
    where there is no item, and kappa also where everybody always gives one answer."""

    kappa: float
    low: float
    high: float
    items: int
    same: float


def agreement(given: np.ndarray) -> Agreement:
    """Of answers (items, people), whole numbers from 0, -1 where there is none: the mean of Cohen's kappa over all pairs of
    people, each on the items that both answered; of two people it is their kappa.

    The interval is of the items as a sample: the large-sample variance of Fleiss, Cohen & Everitt, Large sample standard
    errors of kappa and weighted kappa, 1969, for the mean of several kappas by adding up each item's influence on them.
    """
    influence, kappas, same, compared = np.zeros(len(given)), [], 0, 0
    for one, other in combinations(range(given.shape[1]), 2):
        both = np.flatnonzero((given[:, one] >= 0) & (given[:, other] >= 0))
        if not len(both):
            continue
        kappa, moved = _kappa(given[both, one], given[both, other])
        same, compared = same + int((given[both, one] == given[both, other]).sum()), compared + len(both)
        if not np.isnan(kappa):
            kappas.append(kappa)
            influence[both] += moved / len(both)
    items = int(((given >= 0).sum(1) > 1).sum())
    share = same / compared if compared else float("nan")
    if not kappas:
        return Agreement(*[float("nan")] * 3, items, share)
    mean, half = (
        float(np.mean(kappas)),
        float(ndtri((1 + LEVEL) / 2) * np.linalg.norm(influence / len(kappas))),
    )
    return Agreement(mean, max(mean - half, -1.0), min(mean + half, 1.0), items, share)


def _kappa(first: np.ndarray, second: np.ndarray) -> tuple[float, np.ndarray]:
    """Cohen's kappa of two people's answers (N,), and how each item moves it (N,)."""
    kinds = 1 + max(first.max(), second.max())
    one, other = (np.bincount(answers, minlength=kinds) / len(answers) for answers in (first, second))
    same, chance = first == second, float(one @ other)
    if chance >= 1:
        return float("nan"), np.zeros(len(first))
    seen = float(same.mean())
    by_chance = other[first] + one[second] - 2 * chance
    moved = (same - seen) / (1 - chance) - (1 - seen) * by_chance / (1 - chance) ** 2
    return (seen - chance) / (1 - chance), moved


def share_interval(right: int, of: int) -> tuple[float, float]:
    """The 95% interval of a share that was counted in a random sample: Clopper and Pearson's, which holds in samples of any
    size. Raises ValueError where nothing was counted."""
    if not 0 <= right <= of or not of:
        raise ValueError(f"a share of a sample is of one or more, found {right} of {of}")
    tail = (1 - LEVEL) / 2
    low = betaincinv(right, of - right + 1, tail) if right else 0.0
    high = betaincinv(right + 1, of - right, 1 - tail) if right < of else 1.0
    return float(low), float(high)
