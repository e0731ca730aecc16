"""In which words and slices some queries are enriched, such as those that one run wins: by visual, since captions of one visual
are answered alike, and corrected for how many words and slices are looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from xmr.captions import words_of

DRAWS = 1000  # permutations of the test, and resamples of an interval: a page waits for them once
WORK = 4_000_000_000  # products of a test, about a second; beyond it there are fewer permutations
FEWEST_DRAWS = 400
MOST_WORDS, LEAST_QUERIES, LEAST_VISUALS = 200, 10, 5  # of words that are looked at
INTERVALS = 12  # features of a kind that get one, the surest
AT_ONCE = 4_000_000  # values of permuted outcomes


@dataclass(frozen=True)
class Enriched:
    """The share of some kind among the queries that have something, `inside`, and among the others: the difference with its 95%
    bootstrap interval by visual (NaN beyond the surest `INTERVALS`), and `p`, corrected for all that is looked at. `count` are the queries that have it."""

    name: str
    count: int
    inside: float
    outside: float
    low: float
    high: float
    p: float

    @property
    def difference(self) -> float:
        return self.inside - self.outside


def words_in(texts: Sequence[str], visuals: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Queries (indices, ascending) by each of the most frequent words of their texts (Q,), at most `MOST_WORDS`; of words that
    tell some queries of some visuals from others. `visuals` (Q,) int as in `by_visual`."""
    found: dict[str, list[int]] = {}
    for query, text in enumerate(texts):
        for word in dict.fromkeys(words_of(text)):
            found.setdefault(word, []).append(query)
    most = len(texts) - LEAST_QUERIES
    kept = {}
    for word, count in Counter({word: len(some) for word, some in found.items()}).most_common():
        queries = np.array(found[word])
        of = len(queries) if visuals is None else len(np.unique(visuals[queries]))
        if LEAST_QUERIES <= count <= most and of >= LEAST_VISUALS and len(kept) < MOST_WORDS:
            kept[word] = queries
    return kept


def enrichment(
    outcomes: Mapping[str, np.ndarray],
    features: Mapping[str, np.ndarray],
    known: np.ndarray,
    visuals: np.ndarray | None = None,
    seed: int = 0,
) -> dict[str, list[Enriched]]:
    """How each of some kinds of queries is enriched in each of some features: kind → its features, the surest first.

    outcomes: kind → (Q,) bool; features: name → queries (indices) that have it; known (Q,) bool are the queries that are looked
    at; visuals (Q,) int as in `by_visual`. The test permutes outcomes among visuals with equally many queries, all of a visual
    together; its statistic is how many queries have both, less what is expected, in standard deviations. p is corrected for
    all kinds and features together, as Holm's but by their joint distribution, so that it holds for words that go together.
    What all or none of the queries have is left out.
    Reference: Westfall and Young, Resampling-Based Multiple Testing, 1993, algorithm 2.8 (max T, step down); Hoeffding,
        A Combinatorial Central Limit Theorem, Ann. Math. Stat. 22 (1951), for the deviation.
    """
    queries = np.flatnonzero(known)
    place = np.full(len(known), -1)
    place[queries] = np.arange(len(queries))
    owners = queries if visuals is None else visuals[queries]
    y = np.array([one[queries] for one in outcomes.values()], np.float32).reshape(len(outcomes), len(queries))
    names, x = [], np.zeros((len(features), len(queries)), np.float32)
    for name, some in features.items():
        own = place[some]
        own = own[own >= 0]
        if 0 < len(own) < len(queries):
            x[len(names), own] = 1
            names.append(name)
    x = x[: len(names)]
    if not names:
        return {kind: [] for kind in outcomes}
    strata = list(_strata(owners))
    mean, deviation = _expected(x, y, strata)
    p = _step_down(x, y, strata, mean, deviation, seed)
    found = {}
    both, counts = (y @ x.T).astype(np.float64), x.sum(1, dtype=np.float64)
    for row, kind in enumerate(outcomes):
        inside, outside = (
            both[row] / counts,
            (y[row].sum(dtype=np.float64) - both[row]) / (len(queries) - counts),
        )
        surest = np.lexsort((-np.abs(inside - outside), p[row]))
        found[kind] = [
            Enriched(
                names[at], int(counts[at]), float(inside[at]), float(outside[at]),
                *(_interval(x[at], y[row], owners, seed) if nth < INTERVALS else (np.nan, np.nan)), float(p[row, at]),
            )
            for nth, at in enumerate(surest)
        ]  # fmt: skip
    return found


def _strata(owners: np.ndarray) -> Iterator[np.ndarray]:
    """The queries of the visuals with equally many, (visuals, queries of each), for each such number."""
    order = np.argsort(owners, kind="stable")
    _, starts, counts = np.unique(owners[order], return_index=True, return_counts=True)
    for count in np.unique(counts):
        rows = starts[counts == count]
        yield order[rows[:, None] + np.arange(count)]


def _expected(x: np.ndarray, y: np.ndarray, strata: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the number of queries that have both, (kinds, features) each, over all permutations."""
    mean, variance = np.zeros((len(y), len(x))), np.zeros((len(y), len(x)))
    for queries in strata:
        own_x, own_y = (
            side[:, queries].astype(np.float64) for side in (x, y)
        )  # (., visuals, queries of each)
        size = len(queries)
        mean += np.einsum("ki,fi->kf", own_y.sum(1), own_x.sum(1)) / size
        if size > 1:
            of_x, of_y = (
                np.einsum("fvi,fvj->fij", side, side)
                - np.einsum("fi,fj->fij", side.sum(1), side.sum(1)) / size
                for side in (own_x, own_y)
            )
            variance += np.einsum("kij,fij->kf", of_y, of_x) / (size - 1)
    return mean, np.sqrt(np.maximum(variance, 0))


def _step_down(
    x: np.ndarray,
    y: np.ndarray,
    strata: Sequence[np.ndarray],
    mean: np.ndarray,
    deviation: np.ndarray,
    seed: int,
) -> np.ndarray:
    """Corrected p, (kinds, features); 1 where no permutation changes anything."""

    def far(both: np.ndarray) -> np.ndarray:
        """(draws, kinds, features) numbers as distances from what is expected, (draws, kinds · features)."""
        distance = np.abs(both - mean)
        sure = deviation > 1e-9
        return np.where(sure, distance / np.where(sure, deviation, 1), 0).reshape(len(both), -1)

    seen = far((y @ x.T)[None])[0]
    order = np.argsort(-seen, kind="stable")
    draws = int(np.clip(WORK // max(x.size * len(y), 1), FEWEST_DRAWS, DRAWS))
    beaten = np.zeros(len(seen), np.int64)
    rng = np.random.default_rng(seed)
    step = max(1, AT_ONCE // y.size)
    for start in range(0, draws, step):
        some = min(step, draws - start)
        drawn = np.empty((some, *y.shape), np.float32)
        for queries in strata:
            turns = rng.random((some, len(queries))).argsort(1)
            drawn[:, :, queries.ravel()] = y[:, queries[turns].reshape(some, -1)].swapaxes(0, 1)
        found = far(drawn @ x.T)[:, order]
        largest = np.maximum.accumulate(found[:, ::-1], axis=1)[
            :, ::-1
        ]  # of each and of all that are less sure
        beaten += (largest >= seen[order] - 1e-9).sum(0)
    p = np.empty(len(seen))
    p[order] = np.maximum.accumulate((1 + beaten) / (1 + draws))
    return np.where(seen > 0, p, 1.0).reshape(mean.shape)


def _interval(x: np.ndarray, y: np.ndarray, owners: np.ndarray, seed: int) -> tuple[float, float]:
    """The 95% interval of the share of `y` where `x` is 1, less that where it is 0; drawn by visual."""
    _, own = np.unique(owners, return_inverse=True)
    sums = np.stack([np.bincount(own, one) for one in (x * y, x, (1 - x) * y, 1 - x)], 1)
    kinds, number = np.unique(sums, axis=0, return_counts=True)
    draws = np.random.default_rng(seed).multinomial(len(sums), number / len(sums), DRAWS) @ kinds
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = draws[:, 0] / draws[:, 1] - draws[:, 2] / draws[:, 3]
    if not np.isfinite(apart).any():
        return np.nan, np.nan
    low, high = np.nanquantile(apart, [0.025, 0.975])
    return float(low), float(high)
