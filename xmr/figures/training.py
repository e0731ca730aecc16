"""How runs got where they are: validation and loss by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go

from xmr.figures.errors import curves_figure
from xmr.figures.shared import Styled
from xmr.workspace.results import Training

NO_TRAINING = "These runs have no training of their own."


class Drawn(NamedTuple):
    """A figure, what it shows in words, its name, and its numbers (columns, rows)."""

    figure: go.Figure
    words: str
    name: str
    numbers: tuple[list[str], list[list[str]]]


def validation_curves(found: Training, styles: Mapping[str, Styled]) -> Drawn | None:
    """The score on the validation split by epoch; None where no run kept any."""
    if not found.scores:
        return None
    best = {name: max(lines, key=lambda line: line["score"]) for name, lines in found.scores.items()}
    last = [name for name, lines in found.scores.items() if best[name]["epoch"] == lines[-1]["epoch"]]
    kept = [
        f"{name} {line['score']:.1f} (epoch {line['epoch']})"
        for name, lines in found.scores.items()
        for line in lines
        if line["epoch"] == found.kept[name]
    ]
    words = f"Kept by {found.figure} on the validation split: {', '.join(kept)}."
    if last:
        words += f" The last epoch is the best of {', '.join(last)}: more epochs might raise {'it' if len(last) == 1 else 'them'}."
    figure = curves_figure(found.scores, styles, "score", f"{found.figure}, validation")
    return Drawn(figure, words, "Validation through training", _numbers(found.scores, "score"))


def loss_curves(found: Training, styles: Mapping[str, Styled]) -> Drawn | None:
    """The training loss by epoch, in per cent of the first epoch's; None where no run kept any."""
    if not found.losses:
        return None
    words = "The training loss, relative to each run's own first epoch: losses have no common scale."
    figure = curves_figure(found.losses, styles, "share", "training loss, % of the first epoch's")
    return Drawn(figure, words, "Loss through training", _numbers(found.losses, "share"))


def _numbers(lines: Mapping[str, Sequence[Mapping[str, Any]]], key: str) -> tuple[list[str], list[list[str]]]:
    """A row for each epoch, a column for each run."""
    held = {name: {line["epoch"]: f"{line[key]:.1f}" for line in own} for name, own in lines.items()}
    epochs = sorted({epoch for own in held.values() for epoch in own})
    return ["epoch", *held], [
        [str(epoch), *(own.get(epoch, "") for own in held.values())] for epoch in epochs
    ]
