"""Metrics: each a function of a `Ranking`, registered under its name."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Annotated

import numpy as np

from xmr.core import Ranking
from xmr.metrics.inputs import class_labels
from xmr.metrics.ranking import JudgedRanking, steps
from xmr.registry import Range, Registry

METRICS = Registry("metric")  # each: Ranking, keyword-only parameters -> (Q,) float64, NaN without positives


@METRICS.register
def recall_at_k(ranking: Ranking, *, k: Annotated[int, Range(1, 1000)] = 1) -> np.ndarray:
    """1 where a match is among the first k, else 0: a hit rate, not the share of matches found.

    (Q,) float64; its mean is the R@K of VSE++, CLIP and the field (times 100 there). A k beyond the gallery hits.
    Reference: Faghri et al., VSE++, BMVC 2018, https://arxiv.org/abs/1707.05612, `i2t` and `t2i` of its code.
    """
    first = first_rank(ranking)
    return np.where(np.isnan(first), np.nan, first <= _cutoff(k))


@METRICS.register
def first_rank(ranking: Ranking) -> np.ndarray:
    """Rank of the best match, 1 to the size of the gallery.

    (Q,) float64, for the median and the mean rank and for one query's annotated match in the app.
    """
    first = np.full(len(ranking), np.nan)
    some = ranking.positives > 0
    first[some] = ranking.ranks[ranking.offsets[:-1][some]]
    return first


@METRICS.register
def r_precision(ranking: Ranking) -> np.ndarray:
    """Share of matches among the first R results, where R is the query's number of matches.

    (Q,) float64 in 0 … 1.
    Reference: Chun et al., ECCV Caption, ECCV 2022, https://arxiv.org/abs/2204.03359.
    """
    owner, _ = _owners(ranking)
    return _per_match(ranking, ranking.ranks <= ranking.positives[owner])


@METRICS.register
def map_at_r(ranking: Ranking) -> np.ndarray:
    """R-precision that also asks for order: Σ precision at each match within the first R, over R.

    (1/R) Σ_j [rank_j ≤ R] j / rank_j, (Q,) float64 in 0 … 1; its mean over queries is mAP@R.
    Reference: Musgrave et al., A Metric Learning Reality Check, ECCV 2020, https://arxiv.org/abs/2003.08505, eq. 1-3.
    """
    owner, place = _owners(ranking)
    return _per_match(ranking, (ranking.ranks <= ranking.positives[owner]) * (place / ranking.ranks))


@METRICS.register
def average_precision(ranking: Ranking) -> np.ndarray:
    """Mean over a query's matches of the precision where each is found, over all results.

    (1/R) Σ_j j / rank_j, (Q,) float64 in 0 … 1; its mean over queries is mAP (scikit-learn's
    `average_precision_score` where no scores tie).
    """
    _, place = _owners(ranking)
    return _per_match(ranking, place / ranking.ranks)


@METRICS.register
def average_precision_at_k(ranking: Ranking, *, k: Annotated[int, Range(1, 1000)] = 50) -> np.ndarray:
    """Average precision of the first k results alone, over the matches that are among them.

    Σ_j [rank_j ≤ k] j / rank_j over Σ_j [rank_j ≤ k], (Q,) float64 in 0 … 1, 0 where no match is found; its mean
    is the mAP@50 of cross-modal retrieval with class labels, whose R is the number of matches *retrieved*.
    Relations: `average_precision` for k ≥ gallery. Divided by min(R, k) instead, R all matches, it would never be
    larger: one match found first and no other is 1 here and 1 / min(R, k) there.
    Reference: Feng et al., Correspondence Autoencoder, ACM MM 2014; `fx_calc_map_label` of
    Zhen et al., DSCMR, CVPR 2019, in code.
    """
    owner, place = _owners(ranking)
    found = ranking.ranks <= _cutoff(k)
    precision, number = (_per_match(ranking, found * value) for value in (place / ranking.ranks, 1.0))
    return np.divide(precision, number, out=np.where(np.isnan(number), np.nan, 0.0), where=number > 0)


@METRICS.register
def xinf_ap(ranking: Ranking) -> np.ndarray:
    """Average precision, estimated where only some items are judged: the unjudged ones keep their places.

    (1/R) Σ_j E_j over the R items judged to match, E_j = (1 + (k - 1) (rel + ε) / (rel + non + 2ε)) / k at the j-th
    one's rank k among judged and unjudged items, before which stand rel = j - 1 that match and non that do not:
    the unjudged before it are taken to match as often as the judged. (Q,) float64 in 0 … 1; ε = 1e-5.
    Relations: `average_precision` where all is judged, and for a `Ranking` that knows of nothing unjudged.
    Reference: Yilmaz et al., A Simple and Efficient Sampling Method for Estimating AP and NDCG, SIGIR 2008;
    TRECVID's ad-hoc video search reports it.
    Deviation: one stratum, all items of a query, since a truth tells of no others; its sampling rate cancels out and
    the value is the infAP of 2006. Judgements that were not drawn by chance make it an estimate of unknown bias. ε is
    left out where nothing before the item is unjudged, which makes the value exact there.
    """
    if not isinstance(ranking, JudgedRanking):
        return average_precision(ranking)
    _, place = _owners(ranking)
    matching, judged, unjudged = place - 1, ranking.ranks - 1, ranking.unjudged
    smooth = np.where(unjudged > 0, 1e-5, 0.0)
    share = (matching + smooth) / np.maximum(judged + 2 * smooth, 1e-5)
    before = judged + unjudged
    return _per_match(ranking, (1 + before * share) / (1 + before))


@METRICS.register
def ndcg(ranking: Ranking) -> np.ndarray:
    """Discounted gain of all matches, relative to the best possible order.

    Σ_j gain_j / log2(1 + rank_j) over the same sum in the best order, (Q,) float64 in 0 … 1. A match's gain is its
    relevance where a graded truth tells it (`rank_truth`), else 1.
    Reference: Järvelin and Kekäläinen, Cumulated Gain-Based Evaluation, TOIS 2002, with log2(1 + rank) as usual now.
    Deviation: gains are linear in the relevance, not 2^relevance - 1, and unjudged items are taken out of the
    ranking (Sakai, Alternatives to Bpref, SIGIR 2007).
    """
    owner, place = _owners(ranking)
    gains = ranking.gains if isinstance(ranking, JudgedRanking) else np.ones(len(place))
    best = gains[np.lexsort((-gains, owner))]
    found = _per_match(ranking, gains / np.log2(1 + ranking.ranks))
    return found / _per_match(ranking, best / np.log2(1 + place))


def class_map(ranking: Ranking, labels: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    """Mean average precision over all results, for each class of queries that has any.

    labels (Q,) int are indices into `classes`: the labels of the visuals for the ranking v2t. Their mean weighted by
    the classes' numbers of queries is `<direction>/map`. Raises ValueError where labels do not fit.
    """
    labels = class_labels(labels, len(ranking), classes)
    values = average_precision(ranking)
    own = {name: values[labels == label] for label, name in enumerate(classes)}
    return {name: float(np.nanmean(some)) for name, some in own.items() if not np.isnan(some).all()}


def _cutoff(k: int) -> int:
    if not isinstance(k, Integral) or isinstance(k, bool) or k < 1:
        raise ValueError(f"k must be a whole number from 1, found {k!r}")
    return k


def _owners(ranking: Ranking) -> tuple[np.ndarray, np.ndarray]:
    """Query of each positive, and which of that query's positives it is (1, 2, …): two (P,) int64."""
    counts = ranking.positives
    return np.repeat(np.arange(len(ranking)), counts), steps(counts) + 1


def _per_match(ranking: Ranking, values: np.ndarray) -> np.ndarray:
    """Mean of (P,) values over each query's positives, NaN where there is none: (Q,)."""
    owner, _ = _owners(ranking)
    total = np.bincount(owner, weights=values, minlength=len(ranking))
    return np.divide(total, ranking.positives, out=np.full(len(ranking), np.nan), where=ranking.positives > 0)
