"""What came out: records of trainings, what they choose, and what they allow to say of the losses."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from xmr.comparison.search import Setting
from xmr.core import DIRECTIONS, Ranking
from xmr.metrics import CUTOFFS, flip_test, recall_at_k

LEVEL = 0.05  # of the tests; intervals hold 1 - LEVEL

RECALLS = {
    "rsum": ("rsum", 1.0),
    **{
        f"{direction}/recall_at_{k}": (f"{direction} R@{k}", 100.0)
        for direction in DIRECTIONS
        for k in (1, 5, 10)
    },
}
CLASSES = {  # of class-labelled data, instead of RECALLS; `map` is the mean of both directions
    "map": ("mAP", 100.0),
    **{
        f"{direction}/{name}": (f"{direction} {title}", 100.0)
        for direction in DIRECTIONS
        for name, title in (("recall_at_1", "R@1"), ("map", "mAP"), ("map_at_50", "mAP@50"))
    },
}
TRUTHS = {
    f"{direction}/true_{name}": (f"{direction} true {title}", 100.0)
    for direction in DIRECTIONS
    for name, title in (
        ("recall_at_1", "R@1"),
        ("map_at_r", "mAP@R"),
        ("r_precision", "R-precision"),
        ("ndcg", "nDCG"),
        ("xinf_ap", "xinfAP"),
    )
}
METRICS = RECALLS | CLASSES | TRUTHS  # what is reported: its key, its title and what it is multiplied by


@dataclass(frozen=True)
class Record:
    """One training. `score` is of the validation split, None where it diverged, and then `diverged` says how; `figure`
    is its name, of `xmr.metrics.headline`.

    `metrics` are of the test split; a search has none, because it does not look at it. `by_visual` (V,) are the shares of
    rsum that each visual of the test split and its texts have, in units that all trainings of a comparison share; empty
    where there are class labels, and in older logs. `selector` is that of a row of
    its own (LOSS+SELECTOR); a selector that all rows share is no part of a record.
    """

    loss: str
    role: Literal["search", "test"]
    seed: int
    lr: float
    params: dict[str, Any]
    score: float | None
    metrics: dict[str, float]
    seconds: float
    diverged: str = ""
    epoch: int = 0  # of the best validation score
    threads: int = 0
    selector: str = ""
    figure: str = "rsum"
    by_visual: list[int] = field(default_factory=list)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Record:
        """From a line of a log; in older ones the score is called rsum. Raises TypeError on fields that do not fit."""
        values = dict(values)
        if "rsum" in values:
            values["score"] = values.pop("rsum")
        return cls(**values)

    @property
    def setting(self) -> Setting:
        return Setting(self.lr, self.params)

    @property
    def row(self) -> str:
        """What it is called in a table: the loss, and the selector if it has one of its own."""
        return row_name(self.loss, self.selector)


def row_name(loss: str, selector: str) -> str:
    return f"{loss}+{selector}" if selector else loss


def chosen(searched: Sequence[Record]) -> Record | None:
    """The trial of the highest validation score, the first of equals; None where all diverged."""
    scored = [record for record in searched if record.score is not None]
    return max(scored, key=lambda record: record.score, default=None)


@dataclass(frozen=True)
class Outcome:
    """All that is known of one loss, or LOSS+SELECTOR: its search, and the trainings at the chosen setting, by seed."""

    loss: str
    searched: list[Record]
    tested: list[Record] = field(default_factory=list)
    frozen: bool = False  # the frozen encoder itself, of which nothing was trained

    @property
    def chosen(self) -> Record | None:
        """The best of the search; without a search, any training, since all are at the defaults."""
        if self.frozen:
            return None
        return chosen(self.searched) if self.searched else next(iter(self.tested), None)

    @property
    def seconds(self) -> float:
        return sum(record.seconds for record in (*self.searched, *self.tested))

    def values(self, metric: str) -> dict[int, float]:
        """The metric of each seed that did not diverge, as it is reported (recalls in per cent)."""
        factor = METRICS[metric][1]
        return {
            record.seed: factor * value
            for record in self.tested
            if record.score is not None and (value := measured(record.metrics, metric)) is not None
        }


def measured(metrics: Mapping[str, float], key: str) -> float | None:
    """One of the metrics of a split; "map" is the mean of both directions."""
    if key == "map" and "v2t/map" in metrics:
        return sum(metrics[f"{direction}/map"] for direction in DIRECTIONS) / len(DIRECTIONS)
    return metrics.get(key)


def labelled(outcomes: Iterable[Outcome]) -> bool:
    """Whether class labels decide what matches, so that mean average precision is reported and not the recalls."""
    records = (record for one in outcomes for record in (*one.searched, *one.tested))
    return any(record.figure == "mAP" for record in records)


@dataclass(frozen=True)
class Cell:
    """A metric of a loss over its seeds: mean ± half of the interval, and the difference to the baseline.

    `p` asks whether other seeds would show the difference, `p_visual` (of rsum only) whether other visuals would. NaN where there is none: no interval from one seed, no test of the baseline against itself.
    """

    mean: float
    half: float
    difference: float = math.nan
    p: float = math.nan
    p_holm: float = math.nan
    p_visual: float = math.nan
    p_visual_holm: float = math.nan

    @property
    def significant(self) -> bool:
        return self.p_holm < LEVEL


def compare(outcomes: Sequence[Outcome], baseline: str) -> dict[str, dict[str, Cell]]:
    """Loss -> metric -> cell, losses by mean rsum (mAP where there are class labels), the highest first; those without
    any result come last.

    Paired t-tests over the seeds that a loss shares with the baseline, for each metric on its own, with Holm's
    correction for the number of losses compared with the baseline; for rsum also a test by visual (`visual_test`), with
    a correction of its own.
    """
    metrics = [m for m in METRICS if any(outcome.values(m) for outcome in outcomes)]
    cells: dict[str, dict[str, Cell]] = {outcome.loss: {} for outcome in outcomes}
    base = next((outcome for outcome in outcomes if outcome.loss == baseline), None)
    for metric in metrics:
        against = base.values(metric) if base else {}
        tests: dict[str, tuple[float, float]] = {}
        for outcome in outcomes:
            shared = sorted(against.keys() & outcome.values(metric).keys())
            if outcome.loss != baseline and shared:
                ours = outcome.values(metric)
                tests[outcome.loss] = paired([ours[s] for s in shared], [against[s] for s in shared])
        corrected = dict(zip(tests, holm([p for _, p in tests.values()]), strict=True))
        visual = {
            one.loss: visual_test(one, base) for one in outcomes if one.loss in tests and metric == "rsum"
        }
        visual_holm = dict(zip(visual, holm(list(visual.values())), strict=True))
        for outcome in outcomes:
            values = list(outcome.values(metric).values())
            if values:
                difference, p = tests.get(outcome.loss, (math.nan, math.nan))
                corrected_p = corrected.get(outcome.loss, math.nan)
                by_visual = (found.get(outcome.loss, math.nan) for found in (visual, visual_holm))
                cells[outcome.loss][metric] = Cell(*interval(values), difference, p, corrected_p, *by_visual)
    head = "map" if labelled(outcomes) else "rsum"
    means = {loss: row[head].mean if head in row else -math.inf for loss, row in cells.items()}
    return {loss: cells[loss] for loss in sorted(cells, key=lambda loss: -means[loss])}


def visual_test(ours: Outcome, theirs: Outcome) -> float:
    """The p of flipping the signs of the visuals' differences (`xmr.metrics.flip_test`) in rsum, summed over the seeds
    that both share; NaN where a log does not hold them."""
    a, b = ({r.seed: r.by_visual for r in one.tested if r.score is not None} for one in (ours, theirs))
    shared = [seed for seed in a.keys() & b.keys() if a[seed] and len(a[seed]) == len(b[seed])]
    if not shared:
        return math.nan
    return flip_test(sum(np.subtract(a[seed], b[seed]) for seed in shared).astype(float))[0]


def shares_by_visual(v2t: Ranking, t2v: Ranking, visual_of_text: np.ndarray) -> list[int]:
    """What each visual and its texts have of rsum, (V,): Σ_K hits of the visual × T + hits of its texts × V, over the
    common divisor of T and V, so that sums of differences stay small whole numbers. Queries without a match have none.
    """
    visuals, texts = len(v2t), len(t2v)
    unit = math.gcd(visuals, texts)
    own, of_texts = (sum(np.nan_to_num(recall_at_k(ranking, k=k)) for k in CUTOFFS) for ranking in (v2t, t2v))
    of_texts = np.bincount(visual_of_text, of_texts, visuals)
    return (own * (texts // unit) + of_texts * (visuals // unit)).astype(int).tolist()


def interval(values: Sequence[float], level: float = 1 - LEVEL) -> tuple[float, float]:
    """Mean, and half of its Student t interval; NaN from fewer than two values."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, math.nan
    error = np.std(values, ddof=1) / math.sqrt(len(values))
    from scipy import stats  # half a second, which the app has no use for

    return mean, float(stats.t.ppf((1 + level) / 2, len(values) - 1) * error)


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
    from scipy import stats

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
