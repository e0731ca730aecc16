"""How runs got where they are: validation and loss by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go

from xmr.figures.errors import curves_figure
from xmr.figures.shared import BLUE, GREEN, ORANGE, Styled, axis, line_chart, trace
from xmr.metrics import headline
from xmr.workspace.histories import Training

R1 = {"t2v/recall_at_1": "R@1 text to visual", "v2t/recall_at_1": "R@1 visual to text"}
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


def live_curves(
    losses: Sequence[tuple[int, float]], scores: Sequence[tuple[int, Mapping[str, float]]], name: str
) -> Drawn:
    """A training while it goes on: the loss of batches by step, and of validation R@1 of either direction (where labels are
    classes, mAP) by the step at which it was measured."""
    traces = [
        trace(
            "scatter", x=[step for step, _ in losses], y=[loss for _, loss in losses], mode="lines", name="loss of a batch",
            line={"color": ORANGE, "width": 1.5}, hovertemplate="%{y:.4g}<extra></extra>",
        )
    ]  # fmt: skip
    shares = {key: [] for key in R1} if all(key in one for _, one in scores for key in R1) else {}
    rows = []
    for step, one in scores:
        figures = {key: 100 * one[key] for key in shares} or dict([headline(one)])
        for key, value in figures.items():
            shares.setdefault(key, []).append((step, value))
        loss = next((loss for at, loss in reversed(losses) if at <= step), float("nan"))
        rows.append([str(step), f"{loss:.4g}", *(f"{value:.1f}" for value in figures.values())])
    looks = ((BLUE, "circle"), (GREEN, "square"))
    for (key, points), (colour, symbol) in zip(shares.items(), looks, strict=False):
        x, y = zip(*points, strict=True) if points else ((), ())
        traces.append(
            trace(
                "scatter", x=x, y=y, yaxis="y2", mode="lines+markers", name=R1.get(key, key), line={"color": colour, "width": 2},
                marker={"symbol": symbol, "size": 8, "color": colour}, hovertemplate="%{y:.1f}<extra></extra>",
            )
        )  # fmt: skip
    percent = " %" if shares.keys() <= R1.keys() else ""
    figure = line_chart(
        traces, height=260, top=60, uirevision=name, margin={"t": 60, "l": 62, "r": 12, "b": 44},
        xaxis=axis("step", rangemode="tozero"), yaxis=axis("loss of a batch"),
        yaxis2=axis("", overlaying="y", side="right", rangemode="tozero", showgrid=False, showticklabels=False),
    )  # fmt: skip
    last = ", ".join(
        f"{R1.get(key, key)} {points[-1][1]:.1f}{percent}" for key, points in shares.items() if points
    )
    words = f"Validation after {scores[-1][0]:,} steps: {last}." if last else ""
    return Drawn(
        figure, words, f"Training of {name}", (["step", "loss", *(R1.get(k, k) for k in shares)], rows)
    )


def _numbers(lines: Mapping[str, Sequence[Mapping[str, Any]]], key: str) -> tuple[list[str], list[list[str]]]:
    """A row for each epoch, a column for each run."""
    held = {name: {line["epoch"]: f"{line[key]:.1f}" for line in own} for name, own in lines.items()}
    epochs = sorted({epoch for own in held.values() for epoch in own})
    return ["epoch", *held], [
        [str(epoch), *(own.get(epoch, "") for own in held.values())] for epoch in epochs
    ]
