"""The results of runs as plain data for tabs and reports: metrics of every query, their intervals, tests of differences.

A metric is a number per query in 0 … 1, (Q,); NaN where a query has no match. What is measured of a run or of a pair of
runs is kept as long as the workspace, so that the same runs in another order or against another baseline cost little.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Thread

import numpy as np

from xmr.analysis import PairedQueries, hits, mean_interval, paired_queries
from xmr.checkpoints import trains_a_loss
from xmr.comparison import holm
from xmr.core import DIRECTIONS, Direction
from xmr.metrics import CUTOFFS, average_precision, headline, map_at_r, recall_at_k
from xmr.workspace import Workspace

LEVEL = 0.05  # of the tests
RECALLS = {f"R@{k}": k for k in CUTOFFS}

Values = dict[str, np.ndarray]  # a metric's title -> its value for each query


@dataclass(frozen=True)
class Estimate:
    """The mean of a metric over the queries with its 95% interval, in 0 … 1."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A run against another one in a metric; `p` is after Holm's correction for all runs tested beside it."""

    found: PairedQueries
    p: float

    @property
    def sure(self) -> bool:
        return self.p < LEVEL


@dataclass(frozen=True)
class Results:
    """What was measured of runs on one split in one direction.

    By run, in the order asked for: `estimates` and `tests` (against `baseline`, of the others) by a metric's title,
    `medians` of ranks, `totals` over both directions, which `total` names ("rsum", "mAP"). `faults` tells why a run could
    not be measured; `pending` are runs that are still to be measured.
    """

    split: str
    direction: Direction
    baseline: str
    titles: list[str]
    estimates: dict[str, dict[str, Estimate]]
    medians: dict[str, float]
    total: str
    totals: dict[str, float]
    tests: dict[str, dict[str, Difference]]
    faults: dict[str, str] = field(default_factory=dict)
    pending: list[str] = field(default_factory=list)


def query_values(workspace: Workspace, run: str, split: str, direction: Direction) -> Values:
    """Each metric of each query: recalls at the usual cut-offs, mAP where labels are classes, and R@1 and mAP@R by
    the truth where all of it is known. Raises ValueError or OSError where the run can't be measured on the split."""
    ranks = workspace.ranks(run, split, direction)
    return {title: hits(ranks, k) for title, k in RECALLS.items()} | _further(workspace, run, split)[
        direction
    ]


def _further(workspace: Workspace, run: str, split: str) -> dict[Direction, Values]:
    """What needs the ranks of all matches: kept, since these are not."""

    def make() -> dict[Direction, Values]:
        found: dict[Direction, Values] = {direction: {} for direction in DIRECTIONS}
        if workspace.dataset(split).classes is not None:
            for direction, ranking in zip(DIRECTIONS, workspace.rankings(run, split), strict=True):
                found[direction]["mAP"] = average_precision(ranking)
        if workspace.knows_all(split):
            rankings = workspace.rankings(run, split, truth=True)
            for direction, ranking in zip(DIRECTIONS, rankings, strict=True):
                found[direction] |= {"true R@1": recall_at_k(ranking), "true mAP@R": map_at_r(ranking)}
        return found

    return workspace.remember(("further values", run, split), make)


def measured(
    workspace: Workspace, names: Sequence[str], split: str, seconds: float = math.inf
) -> tuple[list[str], dict[str, str], list[str]]:
    """The runs that are measured, why others can't be, and those that are left: when the time is up, and of a large split
    those that are still measured in the background.

    At least one run that was not measured before is measured in each call, so that calls after one another end.
    """
    done, faults, left = [], {}, []
    end, new = time.perf_counter() + seconds, 0
    before: set[str] = workspace.remember(("measured runs", split), set)
    for name in names:
        known = name in before
        if new and not known and time.perf_counter() > end:
            left.append(name)
            continue
        if seconds < math.inf and is_awaited(workspace, name, split):
            left.append(name)
            continue
        try:
            for direction in DIRECTIONS:
                estimates(workspace, name, split, direction)
        except (ValueError, OSError) as error:
            faults[name] = str(error)
        else:
            new += not known
            before.add(name)
            done.append(name)
    return done, faults, left


def is_awaited(workspace: Workspace, run: str, split: str) -> bool:
    """Whether the run's ranks on a large split are still measured in the background, which begins here at the latest."""
    return not workspace.is_measured([run], split) and _measured_aside(workspace, split).is_alive()


def _measured_aside(workspace: Workspace, split: str) -> Thread:
    """The thread that measures a large split, one for all who ask."""

    def start() -> Thread:
        thread = Thread(target=workspace.measure, args=(split,), name=f"measuring {split}", daemon=True)
        thread.start()
        return thread

    return workspace.remember(("measured aside", split), start)


def estimates(
    workspace: Workspace, run: str, split: str, direction: Direction, seed: int = 0
) -> dict[str, Estimate]:
    """Each metric's mean and interval; `seed` draws the resamples. Raises as `query_values`."""

    def make() -> dict[str, Estimate]:
        values = query_values(workspace, run, split, direction)
        return {title: Estimate(*mean_interval(one, seed)) for title, one in values.items()}

    return workspace.remember(("estimates", run, split, direction, seed), make)


def total(workspace: Workspace, run: str, split: str) -> tuple[str, float]:
    """The one number over both directions (`xmr.metrics.headline`), of what is measured here."""
    metrics, of_classes = {}, workspace.dataset(split).classes is not None
    for direction in DIRECTIONS:
        found = estimates(workspace, run, split, direction)
        metrics |= {f"{direction}/recall_at_{k}": found[title].mean for title, k in RECALLS.items()}
        if of_classes:
            metrics[f"{direction}/map"] = found["mAP"].mean
    rsum = 100 * sum(value for name, value in metrics.items() if "/recall_at_" in name)
    return headline(metrics | {"rsum": rsum})


def compared(
    workspace: Workspace, a: str, b: str, split: str, direction: Direction, title: str, seed: int = 0
) -> PairedQueries:
    """Run b against run a in one metric, query by query. Raises as `query_values`."""

    def make() -> PairedQueries:
        first, second = (query_values(workspace, run, split, direction)[title] for run in (a, b))
        return paired_queries(first, second, seed)

    return workspace.remember(("compared", a, b, split, direction, title, seed), make)


def against(
    workspace: Workspace,
    baseline: str,
    others: Sequence[str],
    split: str,
    direction: Direction,
    title: str,
    seed: int = 0,
) -> dict[str, Difference]:
    """The others against the baseline in one metric, p after Holm's correction for their number."""
    found = [compared(workspace, baseline, name, split, direction, title, seed) for name in others]
    adjusted = holm([one.p for one in found])
    return {name: Difference(one, p) for name, one, p in zip(others, found, adjusted, strict=True)}


def results(
    workspace: Workspace,
    names: Sequence[str],
    split: str,
    direction: Direction,
    baseline: str,
    seed: int = 0,
    seconds: float = math.inf,
) -> Results:
    """The metrics of the runs, and the differences to the baseline, which must be among them.

    Runs that can't be measured, and those for which there was no time (`measured`), are told apart.
    """
    done, faults, left = measured(workspace, names, split, seconds)
    found = {name: estimates(workspace, name, split, direction, seed) for name in done}
    titles = list(next(iter(found.values()), ()))
    others = [name for name in done if name != baseline]
    of = {
        title: against(workspace, baseline, others, split, direction, title, seed)
        for title in (titles if baseline in done else ())
    }
    totals = {name: total(workspace, name, split) for name in done}
    return Results(
        split=split,
        direction=direction,
        baseline=baseline,
        titles=titles,
        estimates=found,
        medians={name: float(np.nanmedian(workspace.ranks(name, split, direction))) for name in done},
        total=next((figure for figure, _ in totals.values()), ""),
        totals={name: value for name, (_, value) in totals.items()},
        tests={name: {title: one[name] for title, one in of.items()} for name in others if of},
        faults=faults,
        pending=left,
    )


@dataclass(frozen=True)
class Lead:
    """The best of several runs in a metric: how it stands to each other run, these best first."""

    title: str
    best: str
    others: dict[str, Difference]  # differences are theirs to the best: 0 or less

    @property
    def alike(self) -> list[str]:
        """The others that the tests can't tell from the best."""
        return [name for name, one in self.others.items() if not one.sure]


def lead(workspace: Workspace, shown: Results, seed: int = 0) -> Lead | None:
    """Who leads in mAP where there are classes, else in R@1; None where no run is measured. Ties go to the first."""
    if not shown.estimates:
        return None
    title = "mAP" if "mAP" in shown.titles else shown.titles[0]
    order = sorted(shown.estimates, key=lambda name: -shown.estimates[name][title].mean)
    return Lead(
        title,
        order[0],
        against(workspace, order[0], order[1:], shown.split, shown.direction, title, seed),
    )


# ---- training ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Training:
    """How trained runs got there, by run: {"epoch", "score"} on the validation split, where `figure` names the score,
    and {"epoch", "share"}, the training loss in per cent of the first epoch's."""

    figure: str
    scores: dict[str, list[dict[str, float]]]
    losses: dict[str, list[dict[str, float]]]


def training(workspace: Workspace, names: Sequence[str]) -> Training:
    """The histories of those of the runs that were trained with a loss and kept one."""
    figure, scores, losses = "rsum", {}, {}
    for name in names:
        run = workspace.run(name)
        lines = run.history if trains_a_loss(run) else []
        told = [(line["epoch"], *headline(line)) for line in lines if "rsum" in line]
        if told:
            figure = told[0][1]
            scores[name] = [{"epoch": epoch, "score": score} for epoch, _, score in told]
        values = [
            (line["epoch"], line["loss"]) for line in lines if isinstance(line.get("loss"), int | float)
        ]
        if values and values[0][1]:
            losses[name] = [{"epoch": epoch, "share": 100 * value / values[0][1]} for epoch, value in values]
    return Training(figure, scores, losses)
