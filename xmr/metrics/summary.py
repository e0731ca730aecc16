"""What is reported of a ranking in each direction."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from xmr.core import DIRECTIONS, Ranking
from xmr.metrics.inputs import Array, class_labels, mask, matrix
from xmr.metrics.measures import (
    average_precision,
    average_precision_at_k,
    first_rank,
    map_at_r,
    ndcg,
    r_precision,
    recall_at_k,
    xinf_ap,
)
from xmr.metrics.ranking import (
    JudgedRanking,
    Truth,
    rank_embeddings,
    rank_positives,
    rank_scores,
    rank_truth,
    rank_truth_of_scores,
)

CUTOFFS = (1, 5, 10)  # the K of the reported recalls
MAP_CUTOFF = 50  # the K of the mAP@K that is reported for class labels
FEW = 32  # different values up to which a resample draws how often each occurs, instead of every query
KEPT = 25_000_000  # draws of a bootstrap, one byte each, up to which they are kept for the next values


def evaluate(scores: Array, positives: Array | None = None) -> dict[str, float]:
    """Retrieval metrics of a score matrix in both directions.

    scores (V, T) float, tensor or array, rows are visuals; positives (V, T) bool, None means the diagonal.
    Returns `v2t/` and `t2v/` `recall_at_1`, `recall_at_5`, `recall_at_10` (hit rates in 0 … 1), `median_rank`,
    `mean_rank` (1-based, of the best match), `without_positives` (queries left out, only where there are any), and
    `rsum`, the sum of the six recalls × 100. Scores are compared exactly.
    Raises ValueError where shapes or types do not fit, the gallery is empty, or no pair is positive.
    """
    scores = matrix(scores, "scores")
    positives = mask(positives, scores)
    return evaluate_rankings(rank_positives(scores, positives), rank_positives(scores.T, positives.T))


def evaluate_embeddings(
    visual: Array,
    text: Array,
    visual_group: Array,
    text_group: Array,
    truth: Truth | None = None,
    *,
    classes: Sequence[str] | None = None,
    block: int | None = None,
) -> dict[str, float]:
    """`evaluate` of visual @ text.T without ever holding it, and what class labels and the truth have to say.

    Arguments, memory and errors as in `rank_embeddings`. With `classes`, the names of the labels that the groups
    then are, the result also has `v2t/` and `t2v/` `map` and `map_at_50`: mean average precision over all results
    and over the first 50.

    With a `truth` (of `xmr.data.Dataset`) it also has `v2t/` and `t2v/` `true_recall_at_1` … `_10`,
    `true_r_precision`, `true_map_at_r` and `true_ndcg`, where every true pair is a match and unknown pairs are left
    out of the ranking, and `true_xinf_ap`, where they keep their places; not where the truth knows of matches only,
    since with nothing to stand above every model would be perfect.
    """
    rankings = rank_embeddings(visual, text, visual_group, text_group, block=block)
    metrics = evaluate_rankings(*rankings)
    if classes is not None:
        metrics |= _of_classes(rankings, visual_group, text_group, classes)
    if truth is not None and _knows_mismatches(truth, len(visual), len(text)):
        metrics |= _against_truth(rank_truth(visual, text, truth, block=block))
    return metrics


def evaluate_scores(
    scores: Array,
    visual_group: Array,
    text_group: Array,
    truth: Truth | None = None,
    *,
    classes: Sequence[str] | None = None,
) -> dict[str, float]:
    """What `evaluate_embeddings` tells, of a score matrix (V, T), as pair scorers give: scores compared exactly.

    visual_group (V,) and text_group (T,) int: a pair is positive where they are equal. Raises ValueError where
    shapes or types do not fit, the matrix is empty, or no pair is positive.
    """
    rankings = rank_scores(scores, visual_group, text_group)
    metrics = evaluate_rankings(*rankings)
    if classes is not None:
        metrics |= _of_classes(rankings, visual_group, text_group, classes)
    if truth is not None and _knows_mismatches(truth, *scores.shape):
        metrics |= _against_truth(rank_truth_of_scores(scores, truth))
    return metrics


def evaluate_rankings(v2t: Ranking, t2v: Ranking) -> dict[str, float]:
    """What `evaluate` returns, of rankings in both directions."""
    metrics: dict[str, float] = {}
    for direction, ranking in zip(DIRECTIONS, (v2t, t2v), strict=True):
        first = first_rank(ranking)
        metrics |= {f"{direction}/recall_at_{k}": _mean(recall_at_k(ranking, k=k)) for k in CUTOFFS}
        metrics[f"{direction}/median_rank"] = float(np.nanmedian(first))
        metrics[f"{direction}/mean_rank"] = _mean(first)
        metrics |= _left_out(ranking, f"{direction}/without_positives")
    metrics["rsum"] = 100 * sum(value for name, value in metrics.items() if "/recall_at_" in name)
    return metrics


def headline(metrics: dict[str, float]) -> tuple[str, float]:
    """The one number by which models are selected: ("mAP", 100 × its mean of both directions) for class labels, else
    ("rsum", rsum)."""
    if {f"{direction}/map" for direction in DIRECTIONS} <= metrics.keys():
        return "mAP", 100 * sum(metrics[f"{direction}/map"] for direction in DIRECTIONS) / len(DIRECTIONS)
    return "rsum", metrics["rsum"]


def _knows_mismatches(truth: Truth, visuals: int, texts: int) -> bool:
    """Whether some pair is known not to match. A complete truth answers within its first rows."""
    return any(
        (truth.block(np.arange(start, min(start + 256, visuals)), np.arange(texts)) == 0).any()
        for start in range(0, visuals, 256)
    )


def bootstrap_interval(
    values: np.ndarray, seed: int = 0, level: float = 0.95, resamples: int = 1000
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of (Q,) values, NaN left out. Raises ValueError where none is left.

    Of values with few levels (hits, their differences) a resample is a multinomial draw of their counts: the same
    distribution in 1 ms instead of seconds of 125,000 queries.
    """
    values = np.asarray(values)[~np.isnan(values)]
    if not len(values):
        raise ValueError("no query has a value, so there is no interval")
    levels, counts = np.unique(values, return_counts=True)
    if len(levels) <= FEW:
        draws = np.random.default_rng(seed).multinomial(len(values), counts / len(values), resamples)
        means = draws @ levels / len(values)
    elif len(values) * resamples <= KEPT:
        parts = np.array_split(_resamples(len(values), seed, resamples), 16)  # as floats, a few at a time
        totals = [part.astype(np.float32) @ values.astype(np.float32) for part in parts]
        means = np.concatenate(totals) / len(values)
    else:
        draw = np.random.default_rng(seed).choice
        means = np.array([draw(values, len(values)).mean() for _ in range(resamples)])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@lru_cache(maxsize=2)  # of both directions: all metrics of all runs are resampled alike
def _resamples(count: int, seed: int, resamples: int) -> np.ndarray:
    """How often each of `count` queries is in each resample, (resamples, count) uint8."""
    draw = np.random.default_rng(seed).integers
    return np.stack(
        [np.bincount(draw(count, size=count), minlength=count).astype(np.uint8) for _ in range(resamples)]
    )


def _of_classes(
    rankings: tuple[Ranking, Ranking], visual_group: Array, text_group: Array, classes: Sequence[str]
) -> dict[str, float]:
    metrics = {}
    for direction, ranking, labels in zip(DIRECTIONS, rankings, (visual_group, text_group), strict=True):
        class_labels(labels, len(ranking), classes)
        metrics[f"{direction}/map"] = _mean(average_precision(ranking))
        metrics[f"{direction}/map_at_{MAP_CUTOFF}"] = _mean(average_precision_at_k(ranking, k=MAP_CUTOFF))
    return metrics


def _against_truth(rankings: tuple[JudgedRanking, JudgedRanking]) -> dict[str, float]:
    metrics = {}
    for direction, ranking in zip(DIRECTIONS, rankings, strict=True):
        values = {f"recall_at_{k}": recall_at_k(ranking, k=k) for k in CUTOFFS}
        values |= {"r_precision": r_precision(ranking), "map_at_r": map_at_r(ranking)}
        values |= {"ndcg": ndcg(ranking), "xinf_ap": xinf_ap(ranking)}
        metrics |= {f"{direction}/true_{name}": _mean(value) for name, value in values.items()}
        metrics |= _left_out(ranking, f"{direction}/true_without_positives")
    return metrics


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values))


def _left_out(ranking: Ranking, key: str) -> dict[str, float]:
    count = int((ranking.positives == 0).sum())
    return {key: float(count)} if count else {}
