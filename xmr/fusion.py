"""Several models' scores as one.

Every model scores the same pairs on a scale of its own, so what is averaged are z-scores: (score - mean) / deviation,
both *over the whole matrix*. With these, and not with statistics per query, a combination of independent matchers is
again one inner product: a common shift changes no ranking, and a common factor goes into the embeddings (`joined`). It
can then be searched like any single model, needs no gallery to score a pair, and both directions rank by the same scores.

A rule is a weight per model, found on validation by asking `quality(weights)`, a callable that tells how good that
combination is (for xmr: the validation rsum). Nothing here can see a test split. Reciprocal ranks are the exception:
no weighted sum, so for comparison only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np

Quality = Callable[[np.ndarray], float]  # weights (K,), not negative, sum 1 -> higher is better

EXHAUSTIVE = 8  # units up to which every subset is tried: 255 at most
ROUNDS = 50  # of `learned_weights`: no weight is finer than 1 / 50
FLAT = 1e-6  # deviation of scores, relative to the largest of them, below which a model tells nothing but rounding


def reciprocal_rank(scores: Sequence[np.ndarray], *, k: int = 60) -> np.ndarray:
    """Reciprocal rank fusion: Σ over models of 1 / (k + rank of the item among its query's), (Q, G) float64.

    Rows are queries, so the two directions have different fused scores: transpose for the other one. Ranks start
    at 1, equal scores all have the last of their places. Only the order counts: no scale needs to be removed.
    Reference: Cormack, Clarke and Büttcher, Reciprocal Rank Fusion Outperforms Condorcet, SIGIR 2009, with its k.
    Raises ValueError where there is no model, shapes differ, or k is negative.
    """
    from scipy.stats import rankdata  # a second to import, for a rule that is seldom asked

    if k < 0:
        raise ValueError(f"k must not be negative, found {k}")
    return sum(1 / (k + rankdata(-matrix, "max", axis=1)) for matrix in _alike(scores))


# The mean of z-scores, without a score matrix


def deviation(visual: np.ndarray, text: np.ndarray) -> float:
    """Standard deviation of all scores in visual @ text.T, (V, D) and (T, D), without ever holding them.

    Σ s² is the sum over elements of (visualᵀ visual) * (textᵀ text), so time and memory grow with V + T; float64.
    0 where the scores differ by rounding only.
    """
    visual, text = np.asarray(visual, np.float64), np.asarray(text, np.float64)
    square = ((visual.T @ visual) * (text.T @ text)).sum() / (len(visual) * len(text))
    spread = float(np.sqrt(max(square - (visual.mean(0) @ text.mean(0)) ** 2, 0)))
    return spread if spread > FLAT * np.sqrt(square) else 0.0


def score_weights(weights: Sequence[float], deviations: Sequence[float]) -> np.ndarray:
    """Weights (K,) of z-scores as weights of the scores themselves: w / deviation, summing to 1.

    Σ w z = Σ (w / deviation) s - a constant, which ranks the same. A model without deviation has weight 0.
    Raises ValueError where no model with a weight has any deviation.
    """
    weights, deviations = _weights(weights, len(deviations)), np.asarray(deviations, np.float64)
    raw = np.divide(weights, deviations, out=np.zeros(len(weights)), where=deviations > 0)
    if not raw.any():
        raise ValueError("all scores of these models are equal: there is nothing to combine")
    return raw / raw.sum()


def joined(embeddings: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """One embedding (N, ΣD) of several (N, D_k), whose inner products are Σ weight · inner product of model k.

    Each is scaled by the root of its weight. With weights that sum to 1, unit embeddings become unit embeddings.
    """
    roots = np.sqrt(np.asarray(weights, np.float64))
    return np.concatenate(
        [part * part.dtype.type(root) for part, root in zip(embeddings, roots, strict=True)], 1
    )


# Rules: weights of z-scores, chosen on validation


def equal_weights(count: int) -> np.ndarray:
    """1 / count for each model: the mean, which needs no validation."""
    return np.full(count, 1 / count)


def best_subset(count: int, quality: Quality) -> np.ndarray:
    """Equal weights of those models whose mean is best on validation; the smaller subset where two are as good.

    Every subset is tried up to 8 models. Of more, models are added one at a time, beginning with the best, as long
    as that helps; so the quality never falls below that of the best single model.
    Raises ValueError where there is no model.
    """
    return _best_mean(np.eye(count), quality)


def hybrid(groups: Sequence[str], quality: Quality) -> np.ndarray:
    """First the mean within each group of models, then of those groups whose mean is best on validation.

    `groups` (K,) names the design choices that models share. Models of a kept group share one group's weight, so a
    design that happens to have many models doesn't outvote the others. Groups are chosen as models in `best_subset`.
    Reference: Galanopoulos and Mezaris, Hard-Negatives or Non-Negatives?, ICCV Workshops 2021.
    Deviation: its formulas could not be read. Known are a hybrid strategy that combines many models of different
    design choices, and their number (24); means at both levels, z-scores over the matrix, group means that are not
    normalised a second time, and the choice of groups by validation are ours.
    Raises ValueError where there is no model.
    """
    names = sorted(set(groups))
    units = np.array([[float(group == name) for group in groups] for name in names])
    units = units.reshape(len(names), len(groups))  # also where there is none
    return _best_mean(units / units.sum(1, keepdims=True), quality)


def learned_weights(count: int, quality: Quality) -> np.ndarray:
    """Weights that validation asks for: models are added one at a time, also again, as long as that helps.

    Begins with the best single model; a weight is the share of the additions that were this model's. Steps are
    never smaller than 1 / 50, which leaves little room to fit the noise of a validation split.
    Reference: Caruana et al., Ensemble Selection from Libraries of Models, ICML 2004 (selection with replacement).
    Raises ValueError where there is no model.
    """
    units = np.eye(count)
    return _grow(units, quality, lambda chosen: range(len(units)) if len(chosen) < ROUNDS else ())


def _best_mean(units: np.ndarray, quality: Quality) -> np.ndarray:
    """Mean of the best subset of `units` (U, K), each a weighting of the models."""
    if not 0 < len(units) <= EXHAUSTIVE:
        return _grow(units, quality, lambda chosen: [i for i in range(len(units)) if i not in chosen])
    sizes = range(1, len(units) + 1)  # smaller subsets first: of equally good ones `max` takes the first
    subsets = [list(subset) for size in sizes for subset in combinations(range(len(units)), size)]
    return max((units[subset].mean(0) for subset in subsets), key=quality)


def _grow(
    units: np.ndarray, quality: Quality, candidates: Callable[[list[int]], Sequence[int]]
) -> np.ndarray:
    """Mean of units added one at a time, always the most useful candidate, while the quality rises."""
    if not len(units):
        raise ValueError("there is no model to combine")
    chosen: list[int] = []
    best = -np.inf
    while more := candidates(chosen):
        found, unit = max((quality(units[[*chosen, i]].mean(0)), -i) for i in more)
        if chosen and found <= best:
            break
        best, chosen = found, [*chosen, -unit]
    return units[chosen].mean(0)


# What comes in


def _alike(scores: Sequence[np.ndarray]) -> list[np.ndarray]:
    matrices = [np.asarray(matrix, np.float64) for matrix in scores]
    for one in matrices:
        if one.ndim != 2 or 0 in one.shape or not np.isfinite(one).all():
            raise ValueError(f"scores must be a finite (Q, G) matrix that is not empty, found {one.shape}")
    shapes = {matrix.shape for matrix in matrices}
    if len(shapes) != 1:
        raise ValueError(f"models to combine must score the same pairs, found shapes {sorted(shapes)}")
    return matrices


def _weights(weights: Sequence[float], count: int) -> np.ndarray:
    weights = np.asarray(weights, np.float64)
    if weights.shape != (count,) or not (np.isfinite(weights) & (weights >= 0)).all() or not weights.any():
        raise ValueError(f"weights must be {count} numbers, none negative and some above 0, found {weights}")
    return weights / weights.sum()
