"""How well each query finds its matches.

A metric is a function of a `Ranking`: the sorted ranks of every query's positives hold all that recall, precision
and nDCG need, so nothing here ever sorts a whole gallery for a user to look at.

Conventions. Rows are queries; ranks start at 1. The rank of a query's j-th best positive is j plus the number of
items that are not positive and *do not score below it*: ties count against the query, and so does NaN on either
side, so collapsed or broken embeddings score like the worst ranking and not like the best. Positives never stand
in each other's way. A query without positives has the value NaN in every metric; means and medians leave it out,
and `<direction>/without_positives` tells their number where there are any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from xmr.core import DIRECTIONS, Ranking
from xmr.registry import Range, Registry

METRICS = Registry("metric")  # each: Ranking, keyword-only parameters -> (Q,) float64, NaN without positives

Array = np.ndarray | Tensor

CUTOFFS = (1, 5, 10)  # the K of the reported recalls
BLOCK_BYTES = 24 << 20  # scores held at once
WHOLE_BYTES = 64 << 20  # a half-precision gallery that is smaller than this as float32 is converted once
SORT_FROM = 24  # positives per query from which one sort of its scores is faster than counting for each
ONE_PASS_UP_TO = 4  # positives per text up to which t2v is counted in the pass over the blocks of v2t


class Truth(Protocol):
    """The part of `xmr.data.dataset.Truth` that a ranking needs (data is a layer above this one)."""

    @property
    def block(self) -> Callable[[np.ndarray, np.ndarray], np.ndarray]: ...


# Metrics of a ranking


@METRICS.register
def recall_at_k(ranking: Ranking, *, k: Annotated[int, Range(1, 1000)] = 1) -> np.ndarray:
    """1 where a match is among the first k, else 0: a hit rate, not the share of matches found.

    (Q,) float64; its mean is the R@K of VSE++, CLIP and the field (times 100 there). A k beyond the gallery hits.
    Reference: Faghri et al., VSE++, BMVC 2018, https://arxiv.org/abs/1707.05612, `i2t` and `t2i` of its code.
    """
    first = first_rank(ranking)
    return np.where(np.isnan(first), np.nan, first <= k)


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
def ndcg(ranking: Ranking) -> np.ndarray:
    """Discounted gain of all matches, relative to the best possible order.

    Σ_j 1 / log2(1 + rank_j) over Σ_j 1 / log2(1 + j), (Q,) float64 in 0 … 1, every match with gain 1.
    Reference: Järvelin and Kekäläinen, Cumulated Gain-Based Evaluation, TOIS 2002, with log2(1 + rank) as usual now.
    """
    _, place = _owners(ranking)
    gain, ideal = (_per_match(ranking, 1 / np.log2(1 + where)) for where in (ranking.ranks, place))
    return gain / ideal


def _owners(ranking: Ranking) -> tuple[np.ndarray, np.ndarray]:
    """Query of each positive, and which of that query's positives it is (1, 2, …): two (P,) int64."""
    counts = ranking.positives
    return np.repeat(np.arange(len(ranking)), counts), _steps(counts) + 1


def _per_match(ranking: Ranking, values: np.ndarray) -> np.ndarray:
    """Mean of (P,) values over each query's positives, NaN where there is none: (Q,)."""
    owner, _ = _owners(ranking)
    total = np.bincount(owner, weights=values, minlength=len(ranking))
    return np.divide(total, ranking.positives, out=np.full(len(ranking), np.nan), where=ranking.positives > 0)


# What is reported


def evaluate(scores: Array, positives: Array | None = None) -> dict[str, float]:
    """Retrieval metrics of a score matrix in both directions.

    scores (V, T) float, tensor or array, rows are visuals; positives (V, T) bool, None means the diagonal.
    Returns `v2t/` and `t2v/` `recall_at_1`, `recall_at_5`, `recall_at_10` (hit rates in 0 … 1), `median_rank`,
    `mean_rank` (1-based, of the best match), `without_positives` (queries left out, only where there are any), and
    `rsum`, the sum of the six recalls × 100. Scores are compared exactly.
    Raises ValueError where shapes or types do not fit, the gallery is empty, or no pair is positive.
    """
    scores = _matrix(scores, "scores")
    positives = _mask(positives, scores)
    return _summary(rank_positives(scores, positives), rank_positives(scores.T, positives.T))


def evaluate_embeddings(
    visual: Array,
    text: Array,
    visual_group: Array,
    text_group: Array,
    truth: Truth | None = None,
    *,
    block: int | None = None,
) -> dict[str, float]:
    """`evaluate` of visual @ text.T without ever holding it, and metrics against the truth where it is known.

    Arguments, memory and errors as in `rank_embeddings`. With a `truth` (of `xmr.data.Dataset`) the result also has
    `v2t/` and `t2v/` `true_recall_at_1` … `_10`, `true_r_precision` and `true_map_at_r`, where every true pair is
    a match and unknown pairs are left out of the ranking; not where the truth knows of matches only, since with
    nothing to stand above every model would be perfect.
    """
    metrics = _summary(*rank_embeddings(visual, text, visual_group, text_group, block=block))
    if truth is not None and _knows_mismatches(truth, len(visual), len(text)):
        rankings = rank_truth(visual, text, truth, block=block)
        for direction, ranking in zip(DIRECTIONS, rankings, strict=True):
            values = {f"recall_at_{k}": recall_at_k(ranking, k=k) for k in CUTOFFS}
            values |= {"r_precision": r_precision(ranking), "map_at_r": map_at_r(ranking)}
            metrics |= {f"{direction}/true_{name}": _mean(value) for name, value in values.items()}
            metrics |= _left_out(ranking, f"{direction}/true_without_positives")
    return metrics


def _knows_mismatches(truth: Truth, visuals: int, texts: int) -> bool:
    """Whether some pair is known not to match. A complete truth answers within its first rows."""
    return any(
        (truth.block(np.arange(start, min(start + 256, visuals)), np.arange(texts)) == 0).any()
        for start in range(0, visuals, 256)
    )


def bootstrap_interval(
    values: np.ndarray, seed: int = 0, level: float = 0.95, resamples: int = 1000
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of (Q,) values, NaN left out. Raises ValueError where none is left."""
    values = np.asarray(values)[~np.isnan(values)]
    if not len(values):
        raise ValueError("no query has a value, so there is no interval")
    draw = np.random.default_rng(seed).choice
    means = [draw(values, len(values)).mean() for _ in range(resamples)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _summary(v2t: Ranking, t2v: Ranking) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for direction, ranking in zip(DIRECTIONS, (v2t, t2v), strict=True):
        first = first_rank(ranking)
        metrics |= {f"{direction}/recall_at_{k}": _mean(recall_at_k(ranking, k=k)) for k in CUTOFFS}
        metrics[f"{direction}/median_rank"] = float(np.nanmedian(first))
        metrics[f"{direction}/mean_rank"] = _mean(first)
        metrics |= _left_out(ranking, f"{direction}/without_positives")
    metrics["rsum"] = 100 * sum(value for name, value in metrics.items() if "/recall_at_" in name)
    return metrics


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values))


def _left_out(ranking: Ranking, key: str) -> dict[str, float]:
    count = int((ranking.positives == 0).sum())
    return {key: float(count)} if count else {}


# From scores to ranks


def rank_positives(scores: Array, positives: Array | None = None) -> Ranking:
    """Ranks of each query's positives in a score matrix whose rows are queries.

    scores (Q, G) float; positives (Q, G) bool, None means the diagonal. Scores are compared exactly, in blocks of
    rows: extra memory does not grow with Q.
    Raises ValueError where shapes or types do not fit, the gallery is empty, or no pair is positive.
    """
    scores = _matrix(scores, "scores")
    positives = _mask(positives, scores)
    dtype = np.result_type(scores.dtype, np.float32)
    ranks, counts = [], []
    for rows in _slices(len(scores), scores.shape[1], dtype.itemsize):
        query, item = np.nonzero(positives[rows])
        held = np.array(scores[rows], dtype, order="C")
        ranks.append(_rank_rows(held, query, item, np.zeros(len(query), dtype)))
        counts.append(np.bincount(query, minlength=len(held)))
    return _ranking(ranks, counts, scores.shape[1])


@np.errstate(invalid="ignore", over="ignore")  # NaN and infinity have their places in a ranking
def rank_embeddings(
    visual: Array,
    text: Array,
    visual_group: Array,
    text_group: Array,
    *,
    block: int | None = None,
) -> tuple[Ranking, Ranking]:
    """Rankings of visual @ text.T in both directions, in one pass over blocks of the product.

    visual (V, D) and text (T, D) float arrays or tensors, also memory-mapped and half precision; the product is
    float32. visual_group (V,) and text_group (T,) int: a pair is positive where they are equal. `block` is the
    number of visuals per block, by default as many as make 24 MB of scores; V × T is never held.
    Returns (v2t, t2v).

    A score that is below the positive's by no more than the rounding of a float32 product ties with it, since the
    same embedding gives different last bits at different places of a product: without this, equal embeddings would
    rank by chance, or all behind the positive.

    Where texts have more than 4 positives in the mean (class labels), the other direction is a second pass, and
    memory grows with the number of positive pairs, which the rankings hold.
    Raises ValueError where shapes or types do not fit, a side is empty, or no pair is positive.
    """
    visual, text = _embeddings(visual, text)
    visual_group = _group(visual_group, visual, "visual_group", "visual")
    text_group = _group(text_group, text, "text_group", "text")
    ours, theirs = _Partners(visual_group, text_group), _Partners(text_group, visual_group)
    sizes = _norms(visual), _norms(text)
    if theirs.counts.sum() > ONE_PASS_UP_TO * len(text):
        return (
            _rank_one_way(visual, text, ours, sizes, block),
            _rank_one_way(text, visual, theirs, sizes[::-1], block),
        )
    columns = _ColumnCounts(visual, text, theirs, sizes)
    v2t = _rank_one_way(visual, text, ours, sizes, block, columns.add)
    return v2t, columns.ranking()


@np.errstate(invalid="ignore", over="ignore")
def rank_truth(
    visual: Array, text: Array, truth: Truth, *, block: int | None = None
) -> tuple[Ranking, Ranking]:
    """Rankings of visual @ text.T in both directions where all true pairs are positive.

    `truth.block(visuals, texts)` tells the relevance of every pair of two index vectors, (v, t) float: above 0 is
    a match, NaN is unknown and left out: an unknown item takes no place in the ranking. One pass per direction;
    the rest as in `rank_embeddings`. Raises ValueError also where the truth has the wrong shape or no match.
    """
    visual, text = _embeddings(visual, text)
    sizes = _norms(visual), _norms(text)

    def known(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        relevance = np.asarray(truth.block(rows, columns))
        if relevance.shape != shape:
            raise ValueError(f"the truth's block is {relevance.shape} where {shape} was asked for")
        return relevance

    def of_visuals(rows: np.ndarray) -> np.ndarray:
        return known(rows, np.arange(len(text)), (len(rows), len(text)))

    def of_texts(rows: np.ndarray) -> np.ndarray:
        return known(np.arange(len(visual)), rows, (len(visual), len(rows))).T

    return (
        _rank_one_way(visual, text, of_visuals, sizes, block),
        _rank_one_way(text, visual, of_texts, sizes[::-1], block),
    )


class _Partners:
    """The positives of every query where groups are equal, without a mask."""

    def __init__(self, query_group: np.ndarray, item_group: np.ndarray):
        self.order = np.argsort(item_group, kind="stable")
        items = item_group[self.order]
        self.start = np.searchsorted(items, query_group, "left")
        self.counts = np.searchsorted(items, query_group, "right") - self.start

    def pairs(self, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        """Positives of some queries: (query counted from the first of them, item), both (P,) int64, by query."""
        counts = self.counts[rows]
        query = np.repeat(np.arange(len(counts)), counts)
        return query, self.order[self.start[rows][query] + _steps(counts)]


def _rank_one_way(
    queries: np.ndarray,
    gallery: np.ndarray,
    positives: _Partners | Callable[[np.ndarray], np.ndarray],
    sizes: tuple[np.ndarray, np.ndarray],
    block: int | None,
    watch: Callable[[np.ndarray], None] | None = None,
) -> Ranking:
    """Ranking of queries @ gallery.T by blocks; `watch` sees each block with its positives set to -inf."""
    ranks, counts = [], []
    for rows, scores in _products(queries, gallery, block):
        ignored = None
        if isinstance(positives, _Partners):
            query, item = positives.pairs(rows)
        else:
            relevance = positives(np.arange(rows.start, rows.stop))
            ignored = np.isnan(relevance)
            query, item = np.nonzero(relevance > 0)
            del relevance
        slack = _rounding(queries) * sizes[0][rows][query] * sizes[1][item]
        ranks.append(_rank_rows(scores, query, item, slack, ignored))
        counts.append(np.bincount(query, minlength=len(scores)))
        if watch is not None:
            watch(scores)
    return _ranking(ranks, counts, len(gallery))


class _ColumnCounts:
    """Ranks of the columns' positives, counted while the blocks of rows go by.

    The positives' scores are computed beforehand, one inner product for each, so that all blocks can be counted.
    """

    def __init__(
        self, visual: np.ndarray, text: np.ndarray, positives: _Partners, sizes: tuple[np.ndarray, np.ndarray]
    ):
        self.gallery, self.counts = len(visual), positives.counts
        column, row = positives.pairs(slice(0, len(text)))
        bars = np.empty(len(row), np.float32)
        for part in _slices(len(row), text.shape[1], 8):
            bars[part] = np.einsum("pd,pd->p", _float32(text[column[part]]), _float32(visual[row[part]]))
        bars = _worst_for_nan(bars - _rounding(text) * sizes[0][row] * sizes[1][column])
        # One bar for each column, so that whole rows are compared, then those of further positives.
        further = _steps(self.counts) > 0
        self.column = column[further]
        self.where = np.where(further, len(text) - 1 + np.cumsum(further), column)
        self.bars = np.full(len(text) + len(self.column), -np.inf, np.float32)
        self.bars[self.where] = bars[np.lexsort((-bars, column))]
        self.below = np.zeros(len(self.bars), np.int64)

    def add(self, scores: np.ndarray) -> None:
        """Counts one block (rows, T) of scores whose positives are at -inf."""
        below = np.empty(len(self.bars), bool)
        texts = scores.shape[1]
        for part in range(0, len(scores), 255):  # as many ones as a byte holds
            few = np.zeros(len(self.bars), np.uint8)
            for line in scores[part : part + 255]:
                np.less(line, self.bars[:texts], out=below[:texts])
                if len(self.column):
                    np.less(line[self.column], self.bars[texts:], out=below[texts:])
                few += below.view(np.uint8)
            self.below += few

    def ranking(self) -> Ranking:
        below = np.maximum(self.below[self.where], np.repeat(self.counts, self.counts))
        return _ranking([_steps(self.counts) + 1 + self.gallery - below], [self.counts], self.gallery)


def _rank_rows(
    scores: np.ndarray,
    query: np.ndarray,
    item: np.ndarray,
    slack: np.ndarray,
    ignored: np.ndarray | None = None,
) -> np.ndarray:
    """Ranks (P,) of the positives (query, item) of a block of scores (B, G), by query and ascending.

    An item counts as better unless it scores below the positive's score less `slack`. `scores` is used up: on
    return its positives and `ignored` (B, G) stand at -inf.
    """
    rows, gallery = scores.shape
    bars = _worst_for_nan(scores[query, item] - slack)
    counts = np.bincount(query, minlength=rows)
    scores[query, item] = -np.inf
    out_of_the_way = counts
    if ignored is not None:
        scores[ignored] = -np.inf
        out_of_the_way = counts + ignored.sum(1)
    below = np.empty(len(bars), np.int64)
    lower = np.empty(gallery, bool)
    end = 0
    for row, count in enumerate(counts.tolist()):
        start, end = end, end + count
        line, own = scores[row], np.sort(bars[start:end])
        if count >= SORT_FROM:
            below[start:end] = np.searchsorted(np.sort(line), own)[::-1]  # NaN is sorted last, so never below
        else:
            for place, bar in zip(range(start, end), own[::-1], strict=True):
                np.less(line, bar, out=lower)
                below[place] = np.count_nonzero(lower)
    # What is out of the way counts as below even a positive that is itself at -inf.
    return _steps(counts) + 1 + gallery - np.maximum(below, out_of_the_way[query])


def _products(
    queries: np.ndarray, gallery: np.ndarray, block: int | None
) -> Iterator[tuple[slice, np.ndarray]]:
    """Blocks of queries @ gallery.T, float32, in one buffer that each block overwrites."""
    if block is not None and block < 1:
        raise ValueError(f"block must be at least 1, found {block}")
    slices = list(_slices(len(queries), len(gallery), 4, block))
    held = np.empty((slices[0].stop, len(gallery)), np.float32)
    if gallery.size * 4 <= WHOLE_BYTES:
        gallery = _float32(gallery)
    parts = [slice(0, len(gallery))]
    if gallery.dtype != np.float32:
        parts = list(_slices(len(gallery), gallery.shape[1], 8))
    for rows in slices:
        scores, asked = held[: rows.stop - rows.start], _float32(queries[rows])
        for part in parts:
            np.matmul(asked, _float32(gallery[part]).T, out=scores[:, part])
        yield rows, scores


def _slices(rows: int, width: int, itemsize: int, block: int | None = None) -> Iterator[slice]:
    """Slices of `rows` rows that hold about BLOCK_BYTES each, or `block` rows."""
    step = block or min(max(BLOCK_BYTES // (itemsize * width), 32), 1024)
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def _rounding(embeddings: np.ndarray) -> np.float32:
    """How far a float32 inner product of unit vectors may be off.

    Twice to thrice the largest error seen for equal vectors of 8 to 2,048 dimensions.
    """
    return np.float32((embeddings.shape[1] ** 0.5 + 4) * 2.0**-24)


def _worst_for_nan(bars: np.ndarray) -> np.ndarray:
    bars[np.isnan(bars)] = -np.inf
    return bars


def _norms(embeddings: np.ndarray) -> np.ndarray:
    norms = np.empty(len(embeddings), np.float32)
    for rows in _slices(len(embeddings), embeddings.shape[1], 4):
        part = _float32(embeddings[rows])
        norms[rows] = np.sqrt(np.einsum("nd,nd->n", part, part))
    return norms


def _ranking(ranks: list[np.ndarray], counts: list[np.ndarray], gallery: int) -> Ranking:
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    if offsets[-1] == 0:
        raise ValueError(f"no pair is positive among {len(offsets) - 1} queries × {gallery} items")
    return Ranking(np.concatenate(ranks), offsets, gallery)


def _steps(counts: np.ndarray) -> np.ndarray:
    """0, 1, … counts[0] - 1, 0, 1, … counts[1] - 1, …"""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


# What comes in


def _array(values: Any) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    return np.asarray(values)


def _float32(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32)


def _matrix(values: Any, name: str) -> np.ndarray:
    values = _array(values)
    if values.ndim != 2 or not np.issubdtype(values.dtype, np.floating) or 0 in values.shape:
        raise ValueError(
            f"{name} must be a float matrix that is not empty, found {values.shape} {values.dtype}"
        )
    return values


def _mask(positives: Any, scores: np.ndarray) -> np.ndarray:
    if positives is None:
        if scores.shape[0] != scores.shape[1]:
            raise ValueError(
                f"without positives the diagonal is positive, so scores must be square, found {scores.shape}"
            )
        return np.eye(len(scores), dtype=bool)
    positives = _array(positives)
    if positives.shape != scores.shape or positives.dtype != bool:
        raise ValueError(
            f"positives must be bool of the scores' shape {scores.shape}, found {positives.shape} {positives.dtype}"
        )
    return positives


def _embeddings(visual: Any, text: Any) -> tuple[np.ndarray, np.ndarray]:
    visual, text = _matrix(visual, "visual"), _matrix(text, "text")
    if visual.shape[1] != text.shape[1]:
        raise ValueError(f"visual {visual.shape} and text {text.shape} differ in their dimension")
    return visual, text


def _group(group: Any, embeddings: np.ndarray, name: str, of: str) -> np.ndarray:
    group = _array(group)
    if group.shape != (len(embeddings),) or not np.issubdtype(group.dtype, np.integer):
        raise ValueError(
            f"{name} must be ({len(embeddings)},) int, one for each row of {of} {embeddings.shape}, "
            f"found {group.shape} {group.dtype}"
        )
    return group
