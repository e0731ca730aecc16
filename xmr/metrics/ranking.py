"""From scores, or from embeddings by blocks of their product, to ranks.

Processes that work together (`xmr.processes`) share the blocks out. Their rows are answered where they are counted; where the
columns ask, each process counts the better rows of its own blocks, and the counts add up. So ranks are those of one process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from xmr.core import Ranking
from xmr.metrics.inputs import Array, embeddings, float32, groups, mask, matrix
from xmr.processes import each, share_of

BLOCK_BYTES = 24 << 20  # scores held at once
WHOLE_BYTES = 64 << 20  # a half-precision gallery that is smaller than this as float32 is converted once
SINGLE, DOUBLE = 2.0**-24, 2.0**-53  # rounding of one number, relative
SORT_FROM = 24  # positives per query from which one sort of its scores is faster than counting for each
ONE_PASS_UP_TO = 4  # positives per text up to which t2v is counted in the pass over the blocks of v2t


class Truth(Protocol):
    """The part of `xmr.data.dataset.Truth` that a ranking needs (data is a layer above this one)."""

    @property
    def block(self) -> Callable[[np.ndarray, np.ndarray], np.ndarray]: ...


@dataclass(frozen=True)
class JudgedRanking(Ranking):
    """A ranking by a truth: what is unknown takes no place in it, and matches can be of different worth.

    gains (P,) float64: relevance of each positive, in the order of `ranks`; unjudged (P,) int64: unknown items that
    score as high or higher and would stand before it.
    """

    gains: np.ndarray
    unjudged: np.ndarray


def rank_positives(scores: Array, positives: Array | None = None) -> Ranking:
    """Ranks of each query's positives in a score matrix whose rows are queries.

    scores (Q, G) float; positives (Q, G) bool, None means the diagonal. Scores are compared exactly, in blocks of
    rows: extra memory does not grow with Q.
    Raises ValueError where shapes or types do not fit, the gallery is empty, or no pair is positive.
    """
    scores = matrix(scores, "scores")
    positives = mask(positives, scores)

    def known(rows: slice) -> Known:
        return Known(*np.nonzero(positives[rows]))

    return rank_one_way(copies(scores), scores.shape[1], known)


def rank_scores(scores: Array, visual_group: Array, text_group: Array) -> tuple[Ranking, Ranking]:
    """Rankings of a score matrix in both directions, positives where groups are equal: (v2t, t2v).

    scores (V, T) float, rows are visuals; visual_group (V,) and text_group (T,) int. Scores are compared exactly.
    Raises ValueError where shapes or types do not fit, the matrix is empty, or no pair is positive.
    """
    scores = matrix(scores, "scores")
    visual_group, text_group = _scores_groups(scores, visual_group, text_group)
    return (
        rank_one_way(copies(scores), scores.shape[1], _Partners(visual_group, text_group).of),
        rank_one_way(copies(scores.T), len(scores), _Partners(text_group, visual_group).of),
    )


def rank_truth_of_scores(scores: Array, truth: Truth) -> tuple[JudgedRanking, JudgedRanking]:
    """`rank_truth` of a score matrix (V, T), whose scores are compared exactly."""
    scores = matrix(scores, "scores")
    of_visuals, of_texts = _known_of(truth, *scores.shape)
    return (
        rank_one_way(copies(scores), scores.shape[1], of_visuals),
        rank_one_way(copies(scores.T), len(scores), of_texts),
    )


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
    visual, text = embeddings(visual, text)
    visual_group = groups(visual_group, len(visual), "visual_group", f"row of visual {visual.shape}")
    text_group = groups(text_group, len(text), "text_group", f"row of text {text.shape}")
    ours, theirs = _Partners(visual_group, text_group), _Partners(text_group, visual_group)
    sizes = norms(visual), norms(text)
    one_pass = theirs.counts.sum() <= ONE_PASS_UP_TO * len(text)
    columns = _ColumnCounts(visual, text, theirs, sizes) if one_pass else None
    watch = None if columns is None else columns.add
    forth = rank_one_way(products(visual, text, block), len(text), ours.of, Slack(visual, *sizes), watch)
    if columns is not None:
        return forth, columns.ranking()
    slack = Slack(text, *sizes[::-1])
    return forth, rank_one_way(products(text, visual, block), len(visual), theirs.of, slack)


@np.errstate(invalid="ignore", over="ignore")
def rank_truth(
    visual: Array, text: Array, truth: Truth, *, block: int | None = None
) -> tuple[JudgedRanking, JudgedRanking]:
    """Rankings of visual @ text.T in both directions where all true pairs are positive.

    `truth.block(visuals, texts)` tells the relevance of every pair of two index vectors, (v, t) float: above 0 is
    a match, NaN is unknown and left out: an unknown item takes no place in the ranking. One pass per direction;
    the rest as in `rank_embeddings`. Raises ValueError also where the truth has the wrong shape or no match.
    """
    visual, text = embeddings(visual, text)
    sizes = norms(visual), norms(text)
    of_visuals, of_texts = _known_of(truth, len(visual), len(text))
    return (
        rank_one_way(products(visual, text, block), len(text), of_visuals, Slack(visual, *sizes)),
        rank_one_way(products(text, visual, block), len(visual), of_texts, Slack(text, *sizes[::-1])),
    )


class Known(NamedTuple):
    """What is known of a block of rows: the positives (query counted from the first row, item), both (P,), by query.

    gains (P,) and `ignored` (rows, G) bool only where a truth tells them.
    """

    query: np.ndarray
    item: np.ndarray
    gains: np.ndarray | None = None
    ignored: np.ndarray | None = None


def _known_of(truth: Truth, visuals: int, texts: int) -> tuple[Callable[[slice], Known], ...]:
    """What `truth` knows of a block of visuals, and of a block of texts."""

    def known(rows: np.ndarray, columns: np.ndarray, transposed: bool) -> Known:
        relevance, shape = np.asarray(truth.block(rows, columns)), (len(rows), len(columns))
        if relevance.shape != shape:
            raise ValueError(f"the truth's block is {relevance.shape} where {shape} was asked for")
        relevance = relevance.T if transposed else relevance
        query, item = np.nonzero(relevance > 0)
        return Known(query, item, relevance[query, item].astype(np.float64), np.isnan(relevance))

    def of_visuals(rows: slice) -> Known:
        return known(np.arange(rows.start, rows.stop), np.arange(texts), False)

    def of_texts(rows: slice) -> Known:
        return known(np.arange(visuals), np.arange(rows.start, rows.stop), True)

    return of_visuals, of_texts


class _Partners:
    """The positives of every query where groups are equal, without a mask."""

    def __init__(self, query_group: np.ndarray, item_group: np.ndarray):
        self.order = np.argsort(item_group, kind="stable")
        items = item_group[self.order]
        self.start = np.searchsorted(items, query_group, "left")
        self.counts = np.searchsorted(items, query_group, "right") - self.start

    def of(self, rows: slice) -> Known:
        counts = self.counts[rows]
        query = np.repeat(np.arange(len(counts)), counts)
        return Known(query, self.order[self.start[rows][query] + steps(counts)])


class Slack:
    """By how much scores of a product of queries and gallery may be off, whose sums keep a precision of `unit`."""

    def __init__(
        self, queries: np.ndarray, query_sizes: np.ndarray, item_sizes: np.ndarray, unit: float = SINGLE
    ):
        self.rounding, self.query_sizes, self.item_sizes = _rounding(queries, unit), query_sizes, item_sizes

    def __call__(self, rows: slice, query: np.ndarray, item: np.ndarray) -> np.ndarray:
        return self.rounding * self.query_sizes[rows][query] * self.item_sizes[item]


class Blocks(NamedTuple):
    """Scores by blocks of rows: `scores` of each of `slices` are made when they are asked for, and used up."""

    slices: Sequence[slice]
    scores: Callable[[slice], np.ndarray]


class Counted(NamedTuple):
    """What is counted in some blocks, an array of each: ranks, positives of each query, and of a truth gains and unjudged."""

    ranks: list[np.ndarray]
    counts: list[np.ndarray]
    gains: list[np.ndarray]
    unjudged: list[np.ndarray]


def rank_one_way(
    blocks: Blocks,
    gallery: int,
    known: Callable[[slice], Known],
    slack: Slack | None = None,
    watch: Callable[[np.ndarray], None] | None = None,
) -> Ranking:
    """Ranking of all `blocks`; `watch` sees each that is of this process's share, with its positives set to -inf."""
    own = blocks._replace(slices=blocks.slices[share_of(len(blocks.slices))])
    return ranking_of(each(lambda: count_blocks(own, known, slack, watch)), gallery)


def count_blocks(
    blocks: Blocks,
    known: Callable[[slice], Known],
    slack: Slack | None = None,
    watch: Callable[[np.ndarray], None] | None = None,
) -> Counted:
    """What `rank_one_way` counts of some of the blocks."""
    ranks, counts, gains, unjudged = found = Counted([], [], [], [])
    for rows in blocks.slices:
        scores = blocks.scores(rows)
        query, item, worth, ignored = known(rows)
        own = _worst_for_nan(scores[query, item])
        bars = own if slack is None else _worst_for_nan(own - slack(rows, query, item))
        counts.append(np.bincount(query, minlength=len(scores)))
        if worth is not None:
            if len(worth) and worth.min() < worth.max():
                worth = worth[np.lexsort((worth, -own, query))]  # of equal scores, the less relevant is first
            gains.append(worth)
            unjudged.append(_unjudged_before(scores, counts[-1], bars, ignored))
        ranks.append(_rank_rows(scores, query, item, bars, ignored))
        if watch is not None:
            watch(scores)
    return found


def ranking_of(parts: Sequence[Counted], gallery: int) -> Ranking:
    """The ranking of what was counted in all blocks, in the order of their rows."""
    ranks, counts, gains, unjudged = ([one for part in parts for one in part[k]] for k in range(4))
    if gains:
        return _ranking(
            ranks, counts, gallery, JudgedRanking, np.concatenate(gains), np.concatenate(unjudged)
        )
    return _ranking(ranks, counts, gallery)


def _unjudged_before(
    scores: np.ndarray, counts: np.ndarray, bars: np.ndarray, ignored: np.ndarray
) -> np.ndarray:
    """How many `ignored` items of a block do not score below each of the bars (P,), by query and ascending."""
    before = np.zeros(len(bars), np.int64)
    if not ignored.any():
        return before
    end = 0
    for row, count in enumerate(counts.tolist()):
        start, end = end, end + count
        if count:
            others = scores[row, ignored[row]]
            before[start:end] = len(others) - np.array(_below(others, bars[start:end]))
    return before


def _below(values: np.ndarray, bars: np.ndarray) -> np.ndarray | list[int]:
    """How many of the values are less than each of the bars, which are taken in falling order."""
    if len(bars) >= SORT_FROM:
        return np.searchsorted(np.sort(values), np.sort(bars)[::-1])  # NaN is sorted last, so never below
    return [np.count_nonzero(values < bar) for bar in np.sort(bars)[::-1]]


class _ColumnCounts:
    """Ranks of the columns' positives, counted while the blocks of rows go by.

    The positives' scores are computed beforehand, one inner product for each, so that all blocks can be counted.
    """

    def __init__(
        self, visual: np.ndarray, text: np.ndarray, positives: _Partners, sizes: tuple[np.ndarray, np.ndarray]
    ):
        self.gallery, self.counts = len(visual), positives.counts
        column, row, *_ = positives.of(slice(0, len(text)))
        bars = np.empty(len(row), np.float32)
        for part in _slices(len(row), text.shape[1], 8):
            bars[part] = np.einsum("pd,pd->p", float32(text[column[part]]), float32(visual[row[part]]))
        bars = _worst_for_nan(bars - _rounding(text) * sizes[0][row] * sizes[1][column])
        # One bar for each column, so that whole rows are compared, then those of further positives.
        further = steps(self.counts) > 0
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
        """The ranking, of what the processes together have counted."""
        below = sum(each(lambda: self.below))
        below = np.maximum(below[self.where], np.repeat(self.counts, self.counts))
        return _ranking([steps(self.counts) + 1 + self.gallery - below], [self.counts], self.gallery)


def _rank_rows(
    scores: np.ndarray,
    query: np.ndarray,
    item: np.ndarray,
    bars: np.ndarray,
    ignored: np.ndarray | None = None,
) -> np.ndarray:
    """Ranks (P,) of the positives (query, item) of a block of scores (B, G), by query and ascending.

    An item counts as better unless it scores below the positive's bar, of (P,) `bars`. `scores` is used up: on
    return its positives and `ignored` (B, G) stand at -inf.
    """
    rows, gallery = scores.shape
    counts = np.bincount(query, minlength=rows)
    scores[query, item] = -np.inf
    out_of_the_way = counts
    if ignored is not None:
        scores[ignored] = -np.inf
        out_of_the_way = counts + ignored.sum(1)
    below = np.empty(len(bars), np.int64)
    end = 0
    for row, count in enumerate(counts.tolist()):
        start, end = end, end + count
        below[start:end] = _below(scores[row], bars[start:end])
    # What is out of the way counts as below even a positive that is itself at -inf.
    return steps(counts) + 1 + gallery - np.maximum(below, out_of_the_way[query])


def products(queries: np.ndarray, gallery: np.ndarray, block: int | None) -> Blocks:
    """Blocks of queries @ gallery.T, float32, in one buffer that each block overwrites."""
    if block is not None and block < 1:
        raise ValueError(f"block must be at least 1, found {block}")
    slices = list(_slices(len(queries), len(gallery), 4, block))
    held = np.empty((slices[0].stop, len(gallery)), np.float32)
    if gallery.size * 4 <= WHOLE_BYTES:
        gallery = float32(gallery)
    parts = [slice(0, len(gallery))]
    if gallery.dtype != np.float32:
        parts = list(_slices(len(gallery), gallery.shape[1], 8))

    def product(rows: slice) -> np.ndarray:
        scores, asked = held[: rows.stop - rows.start], float32(queries[rows])
        for part in parts:
            np.matmul(asked, float32(gallery[part]).T, out=scores[:, part])
        return scores

    return Blocks(slices, product)


def copies(scores: np.ndarray) -> Blocks:
    """Blocks of rows of a score matrix, single precision at least, to be used up."""
    dtype = np.result_type(scores.dtype, np.float32)
    slices = list(_slices(len(scores), scores.shape[1], dtype.itemsize))
    return Blocks(slices, lambda rows: np.array(scores[rows], dtype, order="C"))


def _slices(rows: int, width: int, itemsize: int, block: int | None = None) -> Iterator[slice]:
    """Slices of `rows` rows that hold about BLOCK_BYTES each, or `block` rows."""
    step = block or min(max(BLOCK_BYTES // (itemsize * width), 32), 1024)
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def _rounding(embeddings: np.ndarray, unit: float = SINGLE) -> np.float32:
    """How far an inner product of unit vectors in float32 (or the precision of `unit`) may be off.

    Twice to thrice the largest error seen for equal vectors of 8 to 2,048 dimensions.
    """
    return np.float32((embeddings.shape[1] ** 0.5 + 4) * unit)


def _worst_for_nan(bars: np.ndarray) -> np.ndarray:
    bars[np.isnan(bars)] = -np.inf
    return bars


def norms(embeddings: np.ndarray) -> np.ndarray:
    lengths = np.empty(len(embeddings), np.float32)
    for rows in _slices(len(embeddings), embeddings.shape[1], 4):
        part = float32(embeddings[rows])
        lengths[rows] = np.sqrt(np.einsum("nd,nd->n", part, part))
    return lengths


def _ranking(
    ranks: list[np.ndarray],
    counts: list[np.ndarray],
    gallery: int,
    kind: type[Ranking] = Ranking,
    *more: np.ndarray,
) -> Ranking:
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    if offsets[-1] == 0:
        raise ValueError(f"no pair is positive among {len(offsets) - 1} queries × {gallery} items")
    return kind(np.concatenate(ranks), offsets, gallery, *more)


def _scores_groups(
    scores: np.ndarray, visual_group: Array, text_group: Array
) -> tuple[np.ndarray, np.ndarray]:
    return (
        groups(visual_group, len(scores), "visual_group", f"row of scores {scores.shape}"),
        groups(text_group, scores.shape[1], "text_group", f"column of scores {scores.shape}"),
    )


def steps(counts: np.ndarray) -> np.ndarray:
    """0, 1, … counts[0] - 1, 0, 1, … counts[1] - 1, …"""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
