"""How trained runs got there: what they told of themselves epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xmr.metrics import headline
from xmr.workspace import Workspace


@dataclass(frozen=True)
class Training:
    """How trained runs got there, by run: {"epoch", "score"} on the validation split, where `figure` names the score,
    and {"epoch", "share"}, the training loss in per cent of the first epoch's; `kept` is the epoch whose weights a run has."""

    figure: str
    kept: dict[str, int]
    scores: dict[str, list[dict[str, float]]]
    losses: dict[str, list[dict[str, float]]]


def training(workspace: Workspace, names: Sequence[str]) -> Training:
    """The histories of those of the runs that have one; of several seeds the mean of theirs with "low" and "high"."""
    figure, kept, scores, losses = "rsum", {}, {}, {}
    for name in names:
        each = workspace.run(name).each
        told = [(line["epoch"], *headline(line)) for run in each for line in run.history if "rsum" in line]
        if told:
            figure = told[0][1]
            scores[name] = _over_runs([(epoch, score) for epoch, _, score in told], "score")
            best = max(scores[name], key=lambda line: line["score"])["epoch"]
            kept[name] = workspace.run(name).training.get("best_epoch", best) if len(each) == 1 else best
        values = [share for run in each for share in _shares(run.history)]
        if values:
            losses[name] = _over_runs(values, "share")
    return Training(figure, kept, scores, losses)


def _shares(history: Sequence[dict[str, float]]) -> list[tuple[float, float]]:
    """The training loss by epoch, in per cent of the first epoch's; nothing where it is not known."""
    values = [(line["epoch"], line["loss"]) for line in history if isinstance(line.get("loss"), int | float)]
    return [(epoch, 100 * value / values[0][1]) for epoch, value in values] if values and values[0][1] else []


def _over_runs(told: Sequence[tuple[float, float]], key: str) -> list[dict[str, float]]:
    """The mean of what one or several trainings told, by epoch; of several with their range."""
    by_epoch: dict[float, list[float]] = {}
    for epoch, value in told:
        by_epoch.setdefault(epoch, []).append(value)
    several = any(len(values) > 1 for values in by_epoch.values())
    return [
        {"epoch": epoch, key: sum(values) / len(values)}
        | ({"low": min(values), "high": max(values)} if several else {})
        for epoch, values in sorted(by_epoch.items())
    ]
