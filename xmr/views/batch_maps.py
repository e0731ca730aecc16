"""The weights of one batch as heat maps: one loss, or two side by side with their difference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from xmr.core import PairWeights
from xmr.figures.matrix import (
    difference_figure,
    difference_words,
    matrix_figure,
    matrix_words,
    push_shares,
    shared_span,
)
from xmr.losses import LOSSES
from xmr.views.pairs import pair_badges, text_side, visual_side
from xmr.views.values import Badge, Card, cards, chart
from xmr.words import percent, score, significant
from xmr.workspace import Workspace
from xmr.workspace.measurements import batch, effective, loss_of_run, truth_of
from xmr.workspace.words import words_of

HINT = "Click a cell to see the two items."
SHARES = "Weights are in % of each loss's whole push on the negatives of this batch, on one colour scale."


def choices(workspace: Workspace) -> list[tuple[str, str]]:
    """What the weights can be shown of: every run with its loss as trained, then every loss by itself."""
    runs = [(f"{name} (as trained)", f"run {name}") for name in workspace.trained]
    return runs + [(f"{name} (any values)", f"loss {name}") for name in LOSSES]


def loss_of(workspace: Workspace, choice: str) -> tuple[str, dict[str, Any], str]:
    """Of a choice: the loss, its values as trained (else the defaults), and the run ("" where it is a loss)."""
    kind, name = choice.split(" ", 1)
    if kind == "run":
        return loss_of_run(workspace, name), effective(workspace, name), name
    return name, LOSSES[name].defaults, ""


@dataclass(frozen=True)
class Asked:
    """What is shown: a choice with these values of its parameters, beside it another choice ("": none) with its own,
    and the batch; a loss without a run is measured on the pairs of the other's run, else of the baseline."""

    choice: str
    hyper: Mapping[str, Any]
    other: str
    split: str
    baseline: str
    seed: int
    size: int
    pair: tuple[int, int] | None = None  # visual and text that the batch must hold

    @property
    def revision(self) -> str:
        """Changes where cells come to mean other pairs."""
        return f"{self.split} {self.seed} {self.size} {self.pair}"


@dataclass(frozen=True)
class Batch:
    """Pairs of a run, weighed by a loss; `name` is what to call the two."""

    name: str
    pairs: PairWeights
    visuals: np.ndarray
    texts: np.ndarray
    run: str


def measured(workspace: Workspace, asked: Asked) -> list[Batch]:
    """One batch, or two of the same items. Raises ValueError or OSError where they can't be weighed."""
    picked = [loss_of(workspace, choice) for choice in (asked.choice, asked.other) if choice]
    fallback = next((run for _, _, run in picked if run), "") or _any_run(workspace, asked.baseline)
    seed, size = max(int(asked.seed or 0), 0), int(np.clip(asked.size or 2, 2, 64))
    names = [run or loss for loss, _, run in picked]
    found = []
    for name, (loss, trained, run) in zip(names, picked, strict=True):
        owner = run or fallback
        hyper = asked.hyper if not found else trained  # sliders move the first
        if names.count(name) > 1:  # a run has the name of its loss
            name += " (as trained)" if run else " (any values)"
        pairs = batch(workspace, owner, asked.split, loss, hyper, seed, size, asked.pair)
        found.append(Batch(name, *pairs, owner))
    return found


def show_one(workspace: Workspace, asked: Asked, show: str) -> dict[str, Any]:
    """The heat map of the batch, and in words how its push is spread."""
    try:
        (one,) = measured(workspace, asked)
    except (ValueError, OSError) as error:
        return chart(None, f"This batch can't be weighed: {error}")
    kind, unannotated = _known(workspace, asked.split, one)
    figure = matrix_figure(one.pairs, show, f"{one.run} {asked.revision}", kind, unannotated)
    loss, _, run = loss_of(workspace, asked.choice)
    whose = f"Pairs of {one.run}" + ("" if run else f", weighed by {loss}")
    words = f"{whose}. {matrix_words(one.pairs, kind, unannotated)}"
    return chart(figure, words, _cells(workspace, asked.split, one, one.pairs, show))


def show_both(workspace: Workspace, asked: Asked, show: str) -> tuple[str, str, str, str]:
    """In words what differs most, then the charts of A, of B on the same colours, and of B - A."""
    try:
        a, b = measured(workspace, asked)
    except (ValueError, OSError) as error:
        nothing = chart(None, "")
        return f"These two can't be compared: {error}", nothing, nothing, nothing
    kind, unannotated = _known(workspace, asked.split, a)
    words = difference_words(a.pairs, b.pairs, (a.name, b.name), kind, unannotated)
    revision = f"{a.run} {b.run} {asked.revision}"
    p, q = (push_shares(one.pairs) for one in (a, b)) if show == "weights" else (a.pairs, b.pairs)
    what = "% of push" if show == "weights" else "score"
    span = shared_span(show, p, q)
    drawn = [
        chart(
            matrix_figure(pairs, show, revision, kind, unannotated, span, what),
            f"{letter}: {_whose(one)}",
            _cells(workspace, asked.split, one, pairs, show),
        )
        for letter, pairs, one in (("A", p, a), ("B", q, b))
    ]
    gap = difference_figure(p, q, show, revision, kind, unannotated, f"B − A, {what}")
    more = "pushes more" if show == "weights" else "scores higher"
    meaning = f"B − A. Orange: B {more}. Purple: A."
    return f"{words} {SHARES if show == 'weights' else ''}".strip(), *drawn, chart(gap, meaning)


def show_cell(workspace: Workspace, asked: Asked, row: int, column: int) -> dict[str, Any]:
    """The card of one pair of the batch, with its weights. Raises IndexError where the batch has no such cell."""
    batches = measured(workspace, asked)
    first = batches[0]
    if not (0 <= row < len(first.visuals) and 0 <= column < len(first.texts)):
        raise IndexError("That pair is not in this batch any more.")
    visual, text = int(first.visuals[row]), int(first.texts[column])
    nouns = words_of(workspace.dataset(asked.split))
    kind = nouns.visual
    numbers = []
    for one in batches:
        whose = f"{one.name}: " if len(batches) > 1 else ""
        told = _numbers(one.pairs, row, column, kind, nouns.text)
        numbers += [(f"{whose}{name}" if name == "score" else name, value) for name, value in told]
    badges = pair_badges(
        bool(first.pairs.positives[row, column]),
        any(one.pairs.suspected[row, column] for one in batches),
        truth_of(workspace, asked.split, visual, text),
        workspace.dataset(asked.split).truth is not None,
    )
    ignoring = [one.name for one in batches if not (one.pairs.positives | one.pairs.negatives)[row, column]]
    if ignoring:
        whose = "the loss" if len(ignoring) == len(batches) else ignoring[0]
        badges.append(Badge(f"ignored by {whose}", "other"))
    two = (
        visual_side(workspace, asked.split, visual, kind),
        text_side(workspace, asked.split, text, nouns.text),
    )
    return cards([Card(f"{kind} {row + 1}, {nouns.text} {column + 1}", two, numbers, badges)])


def _numbers(pairs: PairWeights, row: int, column: int, kind: str, text: str) -> list[tuple[str, str]]:
    """The score of a pair and its weights, by what they are called."""
    weights = {"weight in the batch's loss": pairs.weights}
    if pairs.asked_by_visual is not None:
        weights[f"in the loss of this {kind}"] = pairs.asked_by_visual
        weights[f"in the loss of this {text}"] = pairs.asked_by_text
    numbers = [("score", score(float(pairs.scores[row, column])))]
    numbers += [(name, significant(float(of[row, column]), sign=True)) for name, of in weights.items()]
    carried = np.where(pairs.negatives[row], pairs.weights[row], 0).clip(min=0)
    if pairs.negatives[row, column] and carried.sum() > 0:
        numbers.append((f"share of this {kind}'s push", percent(float(carried[column] / carried.sum()))))
    return numbers


def _cells(
    workspace: Workspace, split: str, one: Batch, pairs: PairWeights, show: str
) -> tuple[list[str], list[list[str]]]:
    """The numbers of a map: a row for each visual, columns in the order of the texts."""
    ids = workspace.dataset(split).visual_ids
    rows = zip(one.visuals, pairs.weights if show == "weights" else pairs.scores, strict=True)
    columns = [show, *(f"{i}" for i in range(1, len(one.texts) + 1))]
    return columns, [[ids[visual], *(f"{value:.3g}" for value in row)] for visual, row in rows]


def _whose(one: Batch) -> str:
    return one.name if one.name.startswith(one.run) else f"{one.name}, on the pairs of {one.run}"


def _known(workspace: Workspace, split: str, one: Batch) -> tuple[str, np.ndarray | None]:
    """What the visuals are called, and which pairs match in truth though nobody annotated them."""
    truth = workspace.known_pairs(split, one.visuals, one.texts)
    return workspace.dataset(split).kind, None if truth is None else (truth > 0) & ~one.pairs.positives


def _any_run(workspace: Workspace, baseline: str) -> str:
    return baseline if baseline in workspace.runs else next(iter(workspace.runs), "")
