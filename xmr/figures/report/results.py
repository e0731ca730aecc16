"""What the runs are, their metrics, and their training."""

from __future__ import annotations

from collections.abc import Iterator

from xmr.core import DIRECTIONS
from xmr.figures.report.page import chart, columns, heading, paragraph, table
from xmr.figures.report.subject import Subject
from xmr.figures.training import NO_TRAINING, loss_curves, validation_curves
from xmr.workspace.protocol import RUN_TITLES, data_facts, data_warnings, run_cells
from xmr.workspace.result_words import (
    difference_cells,
    difference_words,
    estimate_cells,
    estimate_titles,
    lead_words,
    protocol_sentence,
)
from xmr.workspace.results import results, training


def protocol_words(subject: Subject) -> list[str]:
    """What the numbers are measured on."""
    facts = data_facts(subject.workspace, subject.split)
    text = (
        f"All is measured on {facts['dataset']}: {facts['size']}, {facts['per item']}; fingerprint "
        f"{facts['fingerprint']}."
    )
    if "matches" in facts:
        text += f" Matches: {facts['matches']}."
    lines = [text]
    if "truth" in facts:
        lines.append(f"The truth is {facts['truth']}.")
    if "left out" in facts:
        lines.append(f"Left out of the data when they were read: {facts['left out']}.")
    return lines


def run_parts(subject: Subject) -> Iterator[str]:
    """The table of the runs, and warnings where they are not alike in what they were trained on."""
    for warning in data_warnings(subject.workspace, subject.names, subject.split):
        yield paragraph(warning, "warning")
    rows = [
        [subject.name(name), *(cell[:2] for cell in run_cells(subject.workspace, name))]
        for name in subject.names
    ]
    yield table(RUN_TITLES, rows, "The runs", words=True)


def result_parts(subject: Subject) -> Iterator[str]:
    """Metrics with intervals in both directions, and the differences to the first run with their tests."""
    baseline, *others = subject.names
    for direction in DIRECTIONS:
        found = results(subject.workspace, subject.names, subject.split, direction, baseline, subject.seed)
        title = subject.words(direction)
        yield heading(title)
        yield paragraph(lead_words(found))
        for name, reason in found.faults.items():
            yield paragraph(f"{name} can't be measured: {reason}", "warning")
        rows = [
            [subject.name(name), *(cell[:2] for cell in estimate_cells(found, name))]
            for name in found.estimates
        ]
        rows += [[name, *(cell[:2] for cell in estimate_cells(found, name))] for name in found.zero_shot]
        yield table(["run", *estimate_titles(found)], rows, f"Metrics, {title}")
        if found.estimates:
            yield paragraph(protocol_sentence(subject.workspace, found), "quiet")
        if found.tests:
            rows = [
                [subject.name(name), *(cell[:2] for cell in difference_cells(found, name))]
                for name in found.tests
            ]
            yield paragraph(difference_words(found), "quiet")
            yield table(["run", *found.titles], rows, f"Differences to {baseline}, {title}")


def training_parts(subject: Subject) -> Iterator[str]:
    """How the runs got there."""
    found = training(subject.workspace, subject.names)
    drawn = [
        one for one in (validation_curves(found, subject.styles), loss_curves(found, subject.styles)) if one
    ]
    if not drawn:
        yield paragraph(NO_TRAINING)
        return
    yield columns(*(chart(one.figure, one.words, one.name) for one in drawn))
