"""The distributions tab: where each run's scores put matches, hardest negatives and random negatives."""

from __future__ import annotations

from typing import Any

import gradio as gr

from xmr.analysis import score_distributions
from xmr.core import Direction
from xmr.figures import distribution_figure, distribution_words
from xmr.ui.components.number_table import NumberTable, table
from xmr.ui.components.plotly_chart import PlotlyChart, chart
from xmr.ui.components.when_shown import when_shown
from xmr.ui.shell import Controls, chosen, side_by_side
from xmr.workspace import Workspace
from xmr.workspace.measured import samples

TITLE = "Distributions"
ID = "distributions"

SCALES = {"raw": "score (cosine)", "z": "z-score of the score among all scores of its query"}
NO_RUN = "No run is chosen: tick one under Runs in the sidebar."


def show(
    workspace: Workspace, split: str, direction: Direction, runs: list[str], scale: str
) -> tuple[str, dict[str, Any]]:
    """The chart and the table for these runs; words in their place where a run can't be embedded."""
    runs, _ = chosen(workspace, runs, None)
    if not runs:
        return chart(None, NO_RUN), table([], [])
    try:
        measured = {name: samples(workspace, name, split, direction) for name in runs}
    except (ValueError, OSError) as error:
        return chart(None, f"The {split} split can't be shown: {error}"), table([], [])
    if scale == "z":
        measured = {name: one.standardised() for name, one in measured.items()}
    found = score_distributions(measured)
    styles = {name: workspace.style(name) for name in runs}
    drawn, left_out = side_by_side(runs)
    figure = distribution_figure({name: found[name] for name in drawn}, styles, SCALES[scale])
    # The same key keeps a zoom while runs come and go; another scale has another axis.
    figure.update_layout(uirevision=f"{split} {direction} {scale}")
    known = workspace.dataset(split).truth
    complete = known is not None and known.complete
    truth = any(one.hidden is not None for one in found.values())
    columns = [
        ("run", ""),
        ("AUC, random", "chance that an annotated match outscores a random negative"),
        ("AUC, hardest", "chance that an annotated match outscores a hardest negative"),
        ("overlap, random", "area shared by the densities of annotated matches and random negatives"),
        ("overlap, hardest", "area shared by the densities of annotated matches and hardest negatives"),
        ("median match", "median score of the annotated matches"),
        ("median hardest", "median score of the hardest negatives"),
        *(
            [("best rival is true", "queries whose best-scoring unannotated item truly matches")]
            if truth
            else []
        ),
    ]
    rows = [
        (
            name,
            styles[name],
            [
                f"{one.auc_random:.3f}",
                f"{one.auc_hardest:.3f}",
                f"{one.overlap_random:.3f}",
                f"{one.overlap_hardest:.3f}",
                f"{one.medians['positives']:.2f}",
                f"{one.medians['hardest']:.2f}",
                *([f"{'' if complete else '≥ '}{one.hidden:.0%}"] if truth else []),
            ],
        )
        for name, one in found.items()
    ]
    words = f"{distribution_words(found, complete)} {left_out}".strip()
    return chart(figure, words), table(columns, rows, _note(found[runs[0]].counts, truth))


def _note(counts: dict[str, int], truth: bool) -> str:
    kinds = f"{counts['positives']:,} annotated matches, "
    if truth:
        kinds += f"{counts['unannotated']:,} true but not annotated, "
    note = (
        f"{kinds}{counts['hardest']:,} hardest negatives (each query's best-scoring one) and {counts['random']:,} "
        "random negatives, the same pairs for every run."
    )
    return note + (" Pairs that truly match are never counted as negatives." if truth else "")


def build(workspace: Workspace, controls: Controls) -> None:
    """Lays the tab out and wires it."""
    scale = gr.Radio(
        [("raw scores", "raw"), ("z-scores per query, to compare shapes", "z")],
        value="raw",
        label="Scale",
        container=False,
        show_label=False,
        elem_id="distributions-scale",
    )
    drawn = PlotlyChart(name="Densities of scores, one panel per run", elem_id="distributions-chart")
    numbers = NumberTable(elem_id="distributions-table")

    def handle(*values: Any) -> tuple[Any, ...]:
        return show(workspace, *values)

    inputs = [controls.split, controls.direction, controls.runs, scale]
    when_shown(handle, inputs, [drawn, numbers], inputs)
