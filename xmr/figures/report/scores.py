"""Where scores lie, and what the losses make of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from xmr.analysis import score_distributions
from xmr.core import DIRECTIONS
from xmr.figures.distributions import distribution_figure, distribution_words
from xmr.figures.matrix import matrix_figure, matrix_words
from xmr.figures.report.page import chart, columns, heading, paragraph
from xmr.figures.report.subject import Subject
from xmr.figures.weights import EACH_ITS_OWN, weight_comparison_figure, weight_comparison_words
from xmr.workspace.measured import batch, effective, loss_of_run, samples, typical, typical_curve

BATCH = 32  # pairs of the batches whose weights are drawn


def distribution_parts(subject: Subject) -> Iterator[str]:
    """Where each run's scores put matches and other pairs, in both directions."""
    complete = subject.data.truth is not None and subject.data.truth.complete
    parts = []
    for direction in DIRECTIONS:
        found = score_distributions(
            {name: samples(subject.workspace, name, subject.split, direction) for name in subject.names}
        )
        figure = distribution_figure(found, subject.styles)
        title = subject.words(direction)
        words = f"{title}: {distribution_words(found, complete)}"
        parts.append(chart(figure, words, f"Distributions of scores, {title}"))
    yield columns(*parts)


def weight_parts(subject: Subject) -> Iterator[str]:
    """How much each pair weighs in the loss that a run was trained with: the curve, and a batch."""
    workspace, split = subject.workspace, subject.split
    curves, queries = {}, {}
    for name in subject.trained:
        curves[name], queries[name] = typical_curve(workspace, name, split), typical(workspace, name, split)
    if not curves:
        yield paragraph("A combination of runs has no loss, so its pairs have no weights.")
        return
    words = (
        f"How hard each loss pushes a negative of a given similarity, relative to its own largest push. "
        f"{weight_comparison_words(curves, queries)} {EACH_ITS_OWN}"
    )
    figure = weight_comparison_figure(curves, queries, subject.styles)
    yield chart(figure, words, "Weight of a negative by similarity")
    size = min(BATCH, len(np.unique(subject.data.visual_of_text)))
    yield heading(f"The same batch of {size} pairs in each loss")
    yield columns(*(_matrix(subject, name) for name in curves))


def _matrix(subject: Subject, name: str) -> str:
    """The weights of one batch, the same pairs for every run."""
    data, workspace = subject.data, subject.workspace
    loss, hyper = loss_of_run(workspace, name), effective(workspace, name)
    try:
        pairs, visuals, texts = batch(workspace, name, subject.split, loss, hyper, subject.seed, BATCH)
    except (ValueError, OSError) as error:
        return paragraph(f"{name}: {error}", "warning")
    unannotated = None
    if data.truth is not None:
        same = data.visual_group[visuals][:, None] == data.text_group[texts][None]
        unannotated = (data.truth.block(visuals, texts) > 0) & ~same
    figure = matrix_figure(pairs, kind=data.kind, unannotated=unannotated)
    figure.update_layout(height=470)
    words = f"{name}: {matrix_words(pairs, data.kind, unannotated)}"
    return chart(figure, words, f"Weights of one batch under {name}")
