"""How the scores of matches and of other pairs are distributed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from xmr.analysis.blocks import Relevance, Side, score_blocks

POPULATIONS = ("positives", "unannotated", "hardest", "random")


@dataclass(frozen=True)
class ScoreSamples:
    """Scores of four kinds of pairs, each with the query that it belongs to.

    `values[kind]`, `query[kind]` and `item[kind]`, its place in the gallery, are (P,): *positives* annotated matches; *unannotated* matches that nobody
    annotated (absent where truth is not known); *hardest* each query's best-scoring item that is neither;
    *random* items that are neither, drawn by seed. `mean` and `deviation` (Q,) are those of each query's row.
    `hidden` is the share of queries whose best-scoring unannotated item is a match in truth, else None.
    """

    values: dict[str, np.ndarray]
    query: dict[str, np.ndarray]
    item: dict[str, np.ndarray]
    mean: np.ndarray
    deviation: np.ndarray
    hidden: float | None = None

    def standardised(self) -> ScoreSamples:
        """The same pairs with each score as its z-score among all scores of its query."""
        values = {
            kind: (self.values[kind] - self.mean[query]) / np.maximum(self.deviation[query], 1e-12)
            for kind, query in self.query.items()
        }
        return replace(self, values=values)


def score_samples(
    queries: Side,
    gallery: Side,
    query_group: np.ndarray,
    gallery_group: np.ndarray,
    truth: Relevance | None = None,
    *,
    limit: int = 60_000,
    seed: int = 0,
) -> ScoreSamples:
    """Samples of the scores (Q, G) of positives, hardest negatives, random negatives and unannotated matches.

    Of each kind at most about `limit` pairs are kept, the same number per query, chosen by seed and therefore the
    same pairs for every run on this data. Where truth is known, an unannotated match is no negative; an unknown
    pair is one. The matrix is visited in blocks and never held.
    """
    rng = np.random.default_rng(seed)
    each = max(1, limit // len(queries))
    kinds = [kind for kind in POPULATIONS if kind != "unannotated" or truth is not None]
    kept: dict[str, list[tuple[np.ndarray, ...]]] = {kind: [] for kind in kinds}
    mean, deviation = np.zeros(len(queries)), np.zeros(len(queries))
    hidden = 0
    columns = np.arange(len(gallery))

    def keep(kind: str, scores: np.ndarray, rows: np.ndarray, where: np.ndarray, first: int) -> None:
        kept[kind].append((scores[rows, where], rows + first, where.astype(np.int32)))

    for rows, scores in score_blocks(queries, gallery):
        first, count = rows[0], len(rows)
        mean[rows], deviation[rows] = scores.mean(1), scores.std(1)
        positive = query_group[rows][:, None] == gallery_group[None]
        keep("positives", scores, *_some_of_each_row(positive, each, rng), first)
        taken = positive
        if truth is not None:
            unannotated = (truth(rows, columns) > 0) & ~positive
            keep("unannotated", scores, *_some_of_each_row(unannotated, each, rng), first)
            taken = positive | unannotated
            best = np.where(positive, -np.inf, scores).argmax(1)
            hidden += int(unannotated[np.arange(count), best].sum())
        drawn = rng.integers(len(gallery), size=(count, min(each, len(gallery))))
        row, which = np.nonzero(~np.take_along_axis(taken, drawn, 1))
        keep("random", scores, row, drawn[row, which], first)
        scores[taken] = -np.inf
        best = scores.argmax(1)
        exists = np.flatnonzero(~taken.all(1))
        keep("hardest", scores, exists, best[exists], first)
    values, query, item = (
        {kind: np.concatenate([block[part] for block in kept[kind]]) for kind in kinds} for part in range(3)
    )
    share = None if truth is None else hidden / len(queries)
    return ScoreSamples(values, query, item, mean, deviation, share)


def of_queries(samples: ScoreSamples, asked: np.ndarray, count: int) -> ScoreSamples:
    """Samples of the queries `asked` (N,) as samples of all `count`: the others have no pairs and no mean."""
    mean, deviation = np.full(count, np.nan), np.full(count, np.nan)
    mean[asked], deviation[asked] = samples.mean, samples.deviation
    query = {kind: asked[own] for kind, own in samples.query.items()}
    return replace(samples, query=query, mean=mean, deviation=deviation)


@dataclass(frozen=True)
class Distribution:
    """Densities of one run's scores over shared `edges` (N + 1,); `densities[kind]` (N,) integrates to 1.

    auc_*: the chance that a positive scores above a negative (ties count half). overlap_*: the area that the two
    densities share, 0 apart … 1 equal. NaN where a kind has no pairs. Of several trainings all are means, and `bands[kind]` the
    lowest and the highest density.
    """

    edges: np.ndarray
    densities: dict[str, np.ndarray]
    counts: dict[str, int]
    medians: dict[str, float]
    auc_random: float
    auc_hardest: float
    overlap_random: float
    overlap_hardest: float
    hidden: float | None
    bands: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)


def score_distributions(
    samples: Mapping[str, ScoreSamples], bins: int | None = None
) -> dict[str, Distribution]:
    """Binned densities of several runs over the same edges, with AUC and overlap of each, by run name.

    Without `bins` their number follows the smallest kind of pairs, 24 … 80, so that few pairs make no comb.
    """
    if bins is None:
        fewest = min((len(run.values[kind]) for run in samples.values() for kind in run.values), default=0)
        bins = int(np.clip(2 * np.sqrt(fewest), 24, 80))
    everything = [part for run in samples.values() for part in run.values.values() if len(part)]
    low = min((part.min() for part in everything), default=0.0)
    high = max((part.max() for part in everything), default=1.0)
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    result = {}
    for name, run in samples.items():
        counts = {kind: len(part) for kind, part in run.values.items()}
        densities = {
            kind: np.histogram(part, edges)[0] / max(len(part), 1) / np.diff(edges)
            for kind, part in run.values.items()
        }
        medians = {kind: float(np.median(part)) if len(part) else np.nan for kind, part in run.values.items()}
        positives, hardest, random = (run.values[kind] for kind in ("positives", "hardest", "random"))
        result[name] = Distribution(
            edges,
            densities,
            counts,
            medians,
            auc(positives, random),
            auc(positives, hardest),
            overlap(positives, random),
            overlap(positives, hardest),
            run.hidden,
        )
    return result


def mean_distribution(found: Sequence[Distribution]) -> Distribution:
    """The mean of several distributions over the same edges, with their bands."""
    first = found[0]
    stacked = {kind: np.stack([one.densities[kind] for one in found]) for kind in first.densities}
    numbers = ("auc_random", "auc_hardest", "overlap_random", "overlap_hardest")
    means = {name: float(np.mean([getattr(one, name) for one in found])) for name in numbers}
    hidden = [one.hidden for one in found if one.hidden is not None]
    return replace(
        first,
        densities={kind: many.mean(0) for kind, many in stacked.items()},
        bands={kind: (many.min(0), many.max(0)) for kind, many in stacked.items()},
        medians={kind: float(np.mean([one.medians[kind] for one in found])) for kind in first.medians},
        hidden=float(np.mean(hidden)) if hidden else None,
        **means,
    )


def auc(high: np.ndarray, low: np.ndarray) -> float:
    """The chance that a value of `high` is above one of `low`; ties count half; NaN where one is empty."""
    if not len(high) or not len(low):
        return float("nan")
    ordered = np.sort(low)
    below = np.searchsorted(ordered, high, "left") + np.searchsorted(ordered, high, "right")
    return float(below.mean() / 2 / len(low))


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """The overlap coefficient ∫ min(p, q) over 50 equal bins of the common range: 0 apart … 1 equal."""
    if not len(a) or not len(b):
        return float("nan")
    low, high = min(a.min(), b.min()), max(a.max(), b.max())
    if not high > low:
        return 1.0
    p, q = (np.histogram(part, 50, (low, high))[0] / len(part) for part in (a, b))
    return float(np.minimum(p, q).sum())


def _some_of_each_row(
    mask: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of at most `count` true cells of each row, chosen at random."""
    rows, columns = np.nonzero(mask)
    if len(rows) <= count or np.bincount(rows).max() <= count:
        return rows, columns
    order = np.lexsort((rng.random(len(rows)), rows))
    rows, columns = rows[order], columns[order]
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)
    return rows[place < count], columns[place < count]
