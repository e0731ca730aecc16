"""The results of runs as plain data for tabs and reports: metrics of every query, their intervals, tests of differences.

A metric is a number per query in 0 … 1, (Q,); NaN where a query has no match. What is measured of a run or of a pair of
runs is kept as long as the workspace, so that the same runs in another order or against another baseline cost little.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from threading import Thread

import numpy as np

from xmr.analysis import PairedQueries, hits, mean_interval, paired_queries
from xmr.core import DIRECTIONS, Direction
from xmr.embedding import in_one_space
from xmr.experiments.intervals import holm, interval, paired
from xmr.metrics import (
    CUTOFFS,
    average_precision,
    first_rank,
    headline,
    rank_embeddings,
    rank_truth,
)
from xmr.workspace import Workspace
from xmr.workspace.memory import kept, remembered
from xmr.workspace.ranks import told_by_field, told_by_truth
from xmr.workspace.seeds import repeats

LEVEL = 0.05  # of the tests
AT_ONCE = 0.1  # seconds that an answer waits for the frozen encoder, which is read in the background
RECALLS = {f"R@{k}": k for k in CUTOFFS}
BY_FIELD = {  # a metric's title -> a truth of the field, and what of `told_by_field`
    f"{short} {figure}": (name, figure)
    for name, short, figures in (
        ("eccv", "ECCV", ("mAP@R", "R-precision", "R@1")),
        ("cxc", "CxC", tuple(RECALLS)),
    )
    for figure in figures
}

Values = dict[str, np.ndarray]  # a metric's title -> its value for each query


@dataclass(frozen=True)
class Estimate:
    """The mean of a metric over the queries with its 95% interval by visual, in 0 … 1."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A run against another one in a metric; `p` is after Holm's correction for all pairs tested beside it."""

    found: PairedQueries
    p: float

    @property
    def sure(self) -> bool:
        return self.p < LEVEL


@dataclass(frozen=True)
class Lead:
    """The best of several runs in a metric: how it stands to each other run, these best first. Ties go to the first."""

    title: str
    best: str
    others: dict[str, Difference]  # differences are theirs to the best: 0 or less

    @property
    def alike(self) -> list[str]:
        """The others that the tests can't tell from the best."""
        return [name for name, one in self.others.items() if not one.sure]


@dataclass(frozen=True)
class ZeroShot:
    """What the frozen encoder itself reaches, without any training here; the fields are those of `Results`."""

    estimates: dict[str, Estimate]
    median: float
    total: float


@dataclass(frozen=True)
class Results:
    """What was measured of runs on one split in one direction.

    By run, in the order asked for: `estimates` and `tests` (against `baseline`, of the others) by a metric's title,
    `medians` of ranks, `totals` over both directions, which `total` names ("rsum", "mAP"), and `seeds` of those that were
    trained; `repeats` are runs of one setting under several seeds, by the first of them; `counts` tells of those that are seen as one run how many these are. `lead` is in mAP where there
    are classes, else in R@1; `comparisons` are the pairs that Holm's correction is for, by a metric's title. `faults` tells
    why a run could not be measured; `pending` are runs that are still to be measured.
    `zero_shot` are the runs' frozen encoders by what they are called, `no_zero_shot` says why there is none, and
    `awaited` that one is still read in the background, or will be once the runs are measured.
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
    lead: Lead | None = None
    comparisons: dict[str, int] = field(default_factory=dict)
    seeds: dict[str, int] = field(default_factory=dict)
    repeats: dict[str, list[str]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    zero_shot: dict[str, ZeroShot] = field(default_factory=dict)
    no_zero_shot: str = ""
    awaited: bool = False
    faults: dict[str, str] = field(default_factory=dict)
    pending: list[str] = field(default_factory=list)


def query_values(workspace: Workspace, run: str, split: str, direction: Direction) -> Values:
    """Each metric of each query: recalls at the usual cut-offs, mAP where labels are classes, R@1 and mAP@R by the truth
    where all of it is known, and `BY_FIELD`; NaN of queries that a truth does not ask. Of a run of several seeds the mean over them. Raises ValueError or OSError where the run can't be measured on the split."""
    if len(each := workspace.each(run)) > 1:
        many = [query_values(workspace, one, split, direction) for one in each]
        return {title: np.mean([one[title] for one in many], axis=0) for title in many[0]}
    values = {title: hits(workspace.ranks(run, split, direction), k) for title, k in RECALLS.items()}
    if workspace.dataset(split).classes is not None:
        values["mAP"] = _class_precision(workspace, run, split)[direction]
    if workspace.knows_all(split):
        values |= _true_values(workspace.by_truth(run, split)[direction])
    return values | _field_values(workspace.by_field(run, split)[direction])


@kept
def _class_precision(workspace: Workspace, run: str, split: str) -> dict[Direction, np.ndarray]:
    """mAP of each query: kept, since the ranks of all matches are not."""
    return dict(zip(DIRECTIONS, map(average_precision, workspace.rankings(run, split)), strict=True))


def _true_values(told: dict[str, np.ndarray]) -> Values:
    return {"true R@1": hits(told["rank"], 1), "true mAP@R": told["mAP@R"]}


def _field_values(told: dict[str, dict[str, np.ndarray]]) -> Values:
    return {
        title: hits(told[name]["rank"], RECALLS[figure]) if figure in RECALLS else told[name][figure]
        for title, (name, figure) in BY_FIELD.items()
        if name in told
    }


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


@remembered
def _measured_aside(workspace: Workspace, split: str) -> Thread:
    """The thread that measures a large split, one for all who ask."""
    thread = Thread(target=workspace.measure, args=(split,), name=f"measuring {split}", daemon=True)
    thread.start()
    return thread


@kept
def estimates(workspace: Workspace, run: str, split: str, direction: Direction) -> dict[str, Estimate]:
    """Each metric's mean and interval; of several seeds it also holds that over them. Raises as `query_values`."""
    found = _estimates(workspace, query_values(workspace, run, split, direction), split, direction)
    names = workspace.each(run)
    if len(names) == 1:
        return found
    each = [estimates(workspace, one, split, direction) for one in names]
    return {title: _over_seeds(one, [seed[title].mean for seed in each]) for title, one in found.items()}


def _over_seeds(found: Estimate, means: Sequence[float]) -> Estimate:
    """The estimate with the interval that holds its own, which is by visual, and Student's t interval over the seeds."""
    mean, half = interval(means)
    return Estimate(found.mean, max(min(found.low, mean - half), 0.0), min(max(found.high, mean + half), 1.0))


def _estimates(workspace: Workspace, values: Values, split: str, direction: Direction) -> dict[str, Estimate]:
    visuals = workspace.visual_of_query(split, direction)
    return {title: Estimate(*mean_interval(one, visuals)) for title, one in values.items()}


def total(workspace: Workspace, run: str, split: str) -> tuple[str, float]:
    """The one number over both directions (`xmr.metrics.headline`), of what is measured here."""
    return _total({direction: estimates(workspace, run, split, direction) for direction in DIRECTIONS})


def _total(found: dict[Direction, dict[str, Estimate]]) -> tuple[str, float]:
    metrics = {}
    for direction, own in found.items():
        metrics |= {f"{direction}/recall_at_{k}": own[title].mean for title, k in RECALLS.items()}
        if "mAP" in own:
            metrics[f"{direction}/map"] = own["mAP"].mean
    rsum = 100 * sum(value for name, value in metrics.items() if "/recall_at_" in name)
    return headline(metrics | {"rsum": rsum})


def compared(
    workspace: Workspace, a: str, b: str, split: str, direction: Direction, title: str
) -> PairedQueries:
    """Run b against run a in one metric, query by query: one test of a pair, whichever is named first. Raises as
    `query_values`."""
    if a <= b:
        return _compared(workspace, a, b, split, direction, title)
    one = _compared(workspace, b, a, split, direction, title)
    return replace(
        one, a=one.b, b=one.a, difference=-one.difference, low=-one.high, high=-one.low, better=one.worse,
        worse=one.better,
    )  # fmt: skip


@kept
def _compared(
    workspace: Workspace, a: str, b: str, split: str, direction: Direction, title: str
) -> PairedQueries:
    first, second = (query_values(workspace, run, split, direction)[title] for run in (a, b))
    found = paired_queries(first, second, workspace.visual_of_query(split, direction))
    ours, theirs = (_by_seed(workspace, run, split, direction, title) for run in (b, a))
    shared = sorted(ours.keys() & theirs.keys())
    if min(len(ours), len(theirs)) < 2 or len(shared) < 2:
        return found
    differences = [ours[seed] - theirs[seed] for seed in shared]
    mean, half = interval(differences)
    p = paired([ours[seed] for seed in shared], [theirs[seed] for seed in shared])[1]
    return replace(
        found,
        low=min(found.low, mean - half),
        high=max(found.high, mean + half),
        p=max(found.p, p),
        test=f"the larger p of {found.test} and a paired t-test over {len(shared)} seeds",
    )


def _by_seed(
    workspace: Workspace, run: str, split: str, direction: Direction, title: str
) -> dict[int, float]:
    """A metric's mean of each training that the run stands for, by seed."""
    return {
        workspace.run(one).config.seed: estimates(workspace, one, split, direction)[title].mean
        for one in workspace.each(run)
    }


def family(
    workspace: Workspace, pairs: Sequence[tuple[str, str]], split: str, direction: Direction, title: str
) -> tuple[dict[tuple[str, str], Difference], int]:
    """The second run of each pair against the first in one metric, and how many different pairs Holm's correction is
    for: one family, so that a pair has one p."""
    different = {frozenset(pair): pair for pair in pairs}
    raw = [compared(workspace, *pair, split, direction, title).p for pair in different.values()]
    adjusted = dict(zip(different, holm(raw), strict=True))
    found = {
        pair: Difference(compared(workspace, *pair, split, direction, title), adjusted[frozenset(pair)])
        for pair in pairs
    }
    return found, len(different)


def seeds_of(workspace: Workspace, names: Sequence[str]) -> dict[str, int]:
    """The seeds of those of the runs that were trained under one."""
    runs = {name: workspace.run(name) for name in names}
    return {name: run.config.seed for name, run in runs.items() if run.has_loss and len(run.each) == 1}


def results(
    workspace: Workspace,
    names: Sequence[str],
    split: str,
    direction: Direction,
    baseline: str,
    seconds: float = math.inf,
) -> Results:
    """The metrics of the runs, who leads, and the differences to the baseline, which must be among them.

    Runs that can't be measured, and those for which there was no time (`measured`), are told apart.
    """
    done, faults, left = measured(workspace, names, split, seconds)
    found = {name: estimates(workspace, name, split, direction) for name in done}
    titles = list(next(iter(found.values()), ()))
    others = [name for name in done if name != baseline]
    to_baseline = [(baseline, name) for name in others] if baseline in done else []
    leading = "mAP" if "mAP" in titles else next(iter(titles), "")
    order = sorted(found, key=lambda name: -found[name][leading].mean)
    to_best = [(order[0], name) for name in order[1:]]
    lead, tests, comparisons = None, {one: {} for _, one in to_baseline}, {}
    for title in titles:
        pairs = [*to_baseline, *(to_best if title == leading else ())]
        by_pair, comparisons[title] = family(workspace, pairs, split, direction, title)
        for pair in to_baseline:
            tests[pair[1]][title] = by_pair[pair]
        if title == leading:
            lead = Lead(title, order[0], {pair[1]: by_pair[pair] for pair in to_best})
    totals = {name: total(workspace, name, split) for name in done}
    if left:  # whose turn is before the encoders'
        zero_shot, reason, awaited = {}, "", True
    else:
        zero_shot, reason, awaited = _zero_shot(workspace, done, split, direction, seconds)
    return Results(
        split=split,
        direction=direction,
        baseline=baseline,
        titles=titles,
        estimates=found,
        medians={name: _median_rank(workspace, name, split, direction) for name in done},
        total=next((figure for figure, _ in totals.values()), ""),
        totals={name: value for name, (_, value) in totals.items()},
        tests=tests,
        lead=lead,
        comparisons=comparisons,
        seeds=seeds_of(workspace, done),
        repeats=repeats([workspace.run(name) for name in done]),
        counts={name: len(each) for name in done if len(each := workspace.each(name)) > 1},
        zero_shot=zero_shot,
        no_zero_shot=reason,
        awaited=awaited,
        faults=faults,
        pending=left,
    )


def _median_rank(workspace: Workspace, run: str, split: str, direction: Direction) -> float:
    """The median rank of the queries' matches; of several seeds the mean of theirs."""
    each = [workspace.ranks(one, split, direction) for one in workspace.each(run)]
    return float(np.mean([np.nanmedian(ranks) for ranks in each]))


# ---- the frozen encoders themselves ------------------------------------------------------------------------


def _zero_shot(
    workspace: Workspace, names: Sequence[str], split: str, direction: Direction, seconds: float
) -> tuple[dict[str, ZeroShot], str, bool]:
    """The frozen encoders of the runs, why one is not shown, and whether one is still read in the background, as it
    is where the answer has a time to come in."""
    rows, reason, awaited = {}, "", False
    # A model as it is has the row of its encoder by itself.
    encoders = [run.began_with for run in map(workspace.run, names) if not run.untrained]
    # One may have been named by several paths: the first name stands for it.
    known = {one.get("hash") or one["name"]: one for one in reversed(encoders)}
    for name, digest in dict.fromkeys(
        (known[one.get("hash") or one["name"]]["name"], one.get("hash", "")) for one in encoders
    ):
        if seconds < math.inf and _read_aside(workspace, name, digest, split).is_alive():
            awaited = True
            continue
        values, why = encoder_values(workspace, name, digest, split)
        if why:
            reason = why
            continue
        # Of few rows, so not remembered.
        own = {one: _estimates(workspace, values[one][0], split, one) for one in DIRECTIONS}
        rows[f"zero-shot: {name}"] = ZeroShot(own[direction], values[direction][1], _total(own)[1])
    return rows, reason, awaited


def _read_aside(workspace: Workspace, encoder: str, digest: str, split: str) -> Thread:
    """The thread that measures the encoder, after `AT_ONCE`."""
    thread = _reader(workspace, encoder, digest, split)
    thread.join(AT_ONCE)
    return thread


@remembered
def _reader(workspace: Workspace, encoder: str, digest: str, split: str) -> Thread:
    thread = Thread(
        target=encoder_values, args=(workspace, encoder, digest, split), name=f"zero-shot {split}", daemon=True
    )  # fmt: skip
    thread.start()
    return thread


@remembered
def encoder_values(
    workspace: Workspace, encoder: str, digest: str, split: str
) -> tuple[dict[Direction, tuple[Values, float]], str]:
    """By the frozen encoder itself, each metric of each query and the median rank; or why it can't be measured."""
    try:
        return _encoder_values(workspace, encoder, digest, split), ""
    except (ValueError, OSError) as error:
        return {}, str(error)


@kept
def _encoder_values(
    workspace: Workspace, encoder: str, digest: str, split: str
) -> dict[Direction, tuple[Values, float]]:
    data = workspace.dataset(split)
    frozen = workspace.embedder.frozen_features(data, encoder)
    sides = in_one_space(frozen, data.name)
    if frozen.encoder_hash != digest:
        raise ValueError(f"the weights of {encoder} are not those that the runs were trained on")

    by_truth = told_by_truth(rank_truth(*sides, data.truth)) if workspace.knows_all(split) else {}
    found, by_field = {}, told_by_field(workspace.field_truths(split), *sides)
    for direction, ranking in zip(
        DIRECTIONS, rank_embeddings(*sides, data.visual_group, data.text_group), strict=True
    ):
        ranks = first_rank(ranking)
        values = {title: hits(ranks, k) for title, k in RECALLS.items()}
        if data.classes is not None:
            values["mAP"] = average_precision(ranking)
        if by_truth:
            values |= _true_values(by_truth[direction])
        values |= _field_values(by_field[direction])
        found[direction] = values, float(np.nanmedian(ranks))
    return found
