"""The results tab: what all runs reach in both directions, which differences are more than chance, and the protocol."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import gradio as gr

from xmr.core import Direction
from xmr.figures.training import NO_TRAINING, Drawn, loss_curves, validation_curves
from xmr.ui.components.notice import Notice
from xmr.ui.components.number_table import NumberTable, table
from xmr.ui.components.plotly_chart import PlotlyChart, chart
from xmr.ui.components.when_shown import when_shown
from xmr.ui.events import EVENT
from xmr.ui.links import go, one_of
from xmr.ui.result_tables import (
    SORTS,
    before_comparing,
    both,
    difference_table,
    estimate_table,
    marks_of,
    ordered,
    protocol_table,
    runs_table,
)
from xmr.ui.said import refused
from xmr.ui.shell import Controls, chosen, side_by_side
from xmr.workspace import Workspace
from xmr.workspace.measured import plateau_words
from xmr.workspace.results import results, training

TITLE = "Results"
ID = "results"

NO_RUN = "No run is chosen: tick one under Runs in the sidebar, or show all runs."
UNSORTED = ("", True)
SECONDS = 1.5  # of measuring in one event: what is left follows in the next one, so that nobody waits before a blank page
PAUSE, LONG_PAUSE = 0.2, 3.0  # seconds before the next one; the longer where it is measured in the background


def show(
    workspace: Workspace,
    split: str,
    direction: Direction,
    runs: list[str],
    baseline: str,
    which: str,
    sort: str,
    seconds: float = math.inf,
) -> tuple[Any, ...]:
    """Tables of both directions (metrics and differences of each), what to know first, two charts of the training, the tables of the
    data and of the runs, how many runs are still to be measured, and whether a frozen encoder is."""
    picked, base = chosen(workspace, runs, baseline)
    base = base or (next(iter(workspace.runs)) if which == "all" else "")
    names = ordered(list(workspace.runs) if which == "all" else [], picked, base)
    nothing = table([], [])
    if not names:
        empty = table([], [], lead=NO_RUN)
        return empty, nothing, nothing, nothing, "", *_curves(workspace, []), nothing, nothing, 0, False
    marks, order = marks_of(names, picked, base), SORTS.get(sort, UNSORTED)
    try:
        data_table = protocol_table(workspace, split)
    except (ValueError, OSError) as error:
        empty = table([], [], lead=f"The {split} split can't be shown: {error}")
        return empty, nothing, nothing, nothing, "", *_curves(workspace, picked), nothing, nothing, 0, False
    first, second = both(direction)
    found = results(workspace, names, split, first, base, seconds=seconds)
    # The other direction is of the runs that there was time for.
    other = results(workspace, [name for name in names if name not in found.pending], split, second, base)
    return (
        *(
            make(workspace, one, marks, order)
            for one in (found, other)
            for make in (estimate_table, difference_table)
        ),
        before_comparing(workspace, names, split, found.faults),
        *_curves(workspace, picked),
        data_table,
        runs_table(workspace, names),
        len(found.pending),
        found.awaited,
    )


def _curves(workspace: Workspace, picked: list[str]) -> tuple[str, str]:
    """The charts of the training of the chosen runs, or why there is none."""
    drawn, left_out = side_by_side(picked)
    styles = workspace.styles(drawn)
    found = training(workspace, drawn)
    none = NO_TRAINING if picked else NO_RUN
    more = f"{plateau_words(workspace, picked)} {left_out}".strip()
    return _chart(validation_curves(found, styles), none, more), _chart(loss_curves(found, styles), "", "")


def _chart(drawn: Drawn | None, none: str, more: str) -> str:
    if drawn is None:
        return chart(None, none)
    return chart(drawn.figure, f"{drawn.words} {more}".strip(), drawn.numbers)


def picked_run(workspace: Workspace, data: Any) -> str:
    """The run that a browser names, checked: it is free to send anything."""
    name = data.get("row") if isinstance(data, Mapping) else None
    if not isinstance(name, str) or name not in workspace.runs:
        raise refused("That run is not in this workspace any more.", title="Run not found")
    return name


def sort_text(data: Any) -> str:
    """The order that a browser names as links keep it, "" for the first one."""
    column, down = (
        (data.get(key) for key in ("column", "descending")) if isinstance(data, Mapping) else ("", True)
    )
    text = f"{column}:{'down' if down else 'up'}"
    return text if text in SORTS else ""


def build(workspace: Workspace, controls: Controls) -> None:
    """Lays the tab out and wires it."""
    which = gr.Radio(
        [("chosen runs", "chosen"), (f"all {len(workspace.runs):,} runs", "all")],
        value="chosen",
        label="Runs shown",
        show_label=False,
        container=False,
        elem_id="results-which",
    )
    told = Notice("", elem_id="results-warnings")
    first = NumberTable(table([], [], lead="Measuring …"), elem_id="results-first")
    first_differences = NumberTable(elem_id="results-first-differences")
    second = NumberTable(elem_id="results-second")
    second_differences = NumberTable(elem_id="results-second-differences")
    with gr.Row():
        with gr.Column(scale=1, min_width=310):
            scores = PlotlyChart(name="Validation through training", elem_id="results-scores")
        with gr.Column(scale=1, min_width=310):
            losses = PlotlyChart(name="Loss through training", elem_id="results-losses")
    data = NumberTable(elem_id="results-data")
    runs = NumberTable(elem_id="results-runs")
    timer = gr.Timer(PAUSE, active=False)
    sort = controls.links.hidden("sort", one_of("order of the results", SORTS), ID)
    controls.links.keep("which", which, one_of("choice of runs", ("chosen", "all")), ID)

    def handle(split: str, *values: Any) -> tuple[Any, ...]:
        *shown, left, awaited = show(workspace, split, *values, seconds=SECONDS)
        if not left and not awaited:
            return *shown, gr.Timer(active=False)
        aside = not left or workspace.is_large(split)
        return *shown, gr.Timer(LONG_PAUSE if aside else PAUSE, active=True)

    def on_pick(event: gr.EventData) -> dict[str, Any]:
        return go("errors", b=picked_run(workspace, event._data))

    def on_sort(event: gr.EventData) -> str:
        return sort_text(event._data)

    inputs = [controls.split, controls.direction, controls.runs, controls.baseline, which, sort]
    tables = [first, first_differences, second, second_differences]
    when_shown(
        handle,
        inputs,
        [*tables, told, scores, losses, data, runs, timer],
        inputs,
        controls.idle,
        again=timer,
    )
    for one in tables:
        one.pick(on_pick, None, controls.links.jump, trigger_mode="multiple", **EVENT)
        one.sort(on_sort, None, sort, trigger_mode="multiple", **EVENT)
