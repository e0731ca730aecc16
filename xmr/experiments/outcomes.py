"""What came out of a comparison: records of trainings, what they choose, and what they allow to say of the losses."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from pydantic import ConfigDict, TypeAdapter

from xmr.core import DIRECTIONS, Ranking
from xmr.experiments.intervals import Cell, cells_of, holm
from xmr.experiments.log import checked
from xmr.experiments.search import Setting
from xmr.metrics import CUTOFFS, flip_test, recall_at_k


def _both(**titles: str) -> dict[str, tuple[str, float]]:
    return {
        f"{way}/{name}": (f"{way} {title}", 100.0) for way in DIRECTIONS for name, title in titles.items()
    }


# What is reported: its key, its title and what it is multiplied by.
RECALLS = {"rsum": ("rsum", 1.0)} | _both(recall_at_1="R@1", recall_at_5="R@5", recall_at_10="R@10")
# Of class-labelled data, instead of RECALLS; `map` is the mean of both directions.
CLASSES = {"map": ("mAP", 100.0)} | _both(recall_at_1="R@1", map="mAP", map_at_50="mAP@50")
TRUTHS = _both(
    true_recall_at_1="true R@1",
    true_map_at_r="true mAP@R",
    true_r_precision="true R-precision",
    true_ndcg="true nDCG",
    true_xinf_ap="true xinfAP",
)
METRICS = RECALLS | CLASSES | TRUTHS
Cells = dict[str, dict[str, Cell]]  # loss -> metric -> cell


@dataclass(frozen=True)
class Record:
    """One training. `score` is of the validation split, None where it diverged, and then `diverged` says how; `figure`
    is its name, of `xmr.metrics.headline`.

    `metrics` are of the test split; a search has none, because it does not look at it. `by_visual` (V,) are the shares of
    rsum that each visual of the test split and its texts have, in units that all trainings of a comparison share; empty
    where there are class labels, and in older logs. `selector` is that of a row of
    its own (LOSS+SELECTOR); a selector that all rows share is no part of a record.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

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
        """From a line of a log; in older ones the score is called rsum. Raises ValueError on fields that do not fit."""
        values = {"score" if name == "rsum" else name: value for name, value in values.items()}
        return checked(RECORD, values)

    @property
    def key(self) -> list[Any]:
        """What it is of."""
        return [self.loss, self.role, self.seed, self.lr, self.params, self.selector]

    @property
    def setting(self) -> Setting:
        return Setting(self.lr, self.params)

    @property
    def row(self) -> str:
        """What it is called in a table: the loss, and the selector if it has one of its own."""
        return f"{self.loss}+{self.selector}" if self.selector else self.loss


RECORD = TypeAdapter(Record)


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
    def records(self) -> list[Record]:
        return [*self.searched, *self.tested]

    @property
    def chosen(self) -> Record | None:
        """The best of the search; without a search, any training, since all are at the defaults."""
        if self.frozen:
            return None
        return chosen(self.searched) if self.searched else next(iter(self.tested), None)

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


def compare(outcomes: Sequence[Outcome], baseline: str) -> Cells:
    """Losses by mean rsum (mAP where there are class labels), the highest first; those without any result come last.

    Tests as of `cells_of`, for each metric on its own; for rsum also a test by visual (`visual_test`), with a correction
    of its own.
    """
    of = {outcome.loss: outcome for outcome in outcomes}
    cells: Cells = {loss: {} for loss in of}
    for metric in METRICS:
        found = cells_of({loss: one.values(metric) for loss, one in of.items()}, baseline)
        if metric == "rsum":
            tested = [loss for loss, cell in found.items() if not math.isnan(cell.difference)]
            visual = [visual_test(of[loss], of[baseline]) for loss in tested]
            for loss, p, corrected in zip(tested, visual, holm(visual), strict=True):
                found[loss] = replace(found[loss], p_visual=p, p_visual_holm=corrected)
        for loss, cell in found.items():
            cells[loss][metric] = cell
    head = "map" if any("map" in row for row in cells.values()) else "rsum"
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


@dataclass(frozen=True)
class Comparison:
    """All losses with one matcher, but those that do not go with it; `about` tells in paragraphs what was done.

    `zero_shot` is the frozen encoder itself, where it embeds both sides.
    """

    matcher: str
    outcomes: list[Outcome]
    baseline: str
    about: list[str] = field(default_factory=list)
    zero_shot: Outcome | None = None

    @cached_property
    def rows(self) -> dict[str, Outcome]:
        """All that has a row, by name."""
        return {one.loss: one for one in (*self.outcomes, self.zero_shot) if one}

    @cached_property
    def cells(self) -> Cells:
        return compare(list(self.rows.values()), self.baseline)

    @property
    def labelled(self) -> bool:
        """Whether class labels decide what matches, so that mean average precision is reported and not the recalls."""
        return any(record.figure == "mAP" for one in self.outcomes for record in one.records)

    @property
    def figure(self) -> str:
        """The metric by which rows are sorted."""
        return "map" if self.labelled else "rsum"

    def known(self, metrics: Iterable[str]) -> list[str]:
        """Those of the metrics that some row has."""
        return [metric for metric in metrics if any(metric in row for row in self.cells.values())]

    def told(self) -> list[str]:
        """The metrics that words and plots tell."""
        own = ["map", "v2t/map", "t2v/map"] if self.labelled else ["rsum"]
        return self.known([*own, "v2t/true_map_at_r", "t2v/true_map_at_r"])
