"""The errors tab: which queries which run gets wrong, of which kind they are, and what is retrieved instead."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from xmr.figures.errors import RANK_BINS
from xmr.ui.components.notice import Notice
from xmr.ui.components.number_table import NumberTable
from xmr.ui.components.plotly_chart import PlotlyChart
from xmr.ui.components.query_table import QueryTable
from xmr.ui.components.when_shown import when_shown
from xmr.ui.error_charts import as_latex
from xmr.ui.error_lists import ANY, BUCKETS, CUTOFFS, HIDDEN, ORDERS, Asked, slicings
from xmr.ui.error_rows import as_csv
from xmr.ui.error_views import (
    NO_RUN,
    SEEDS,
    bucket_choices,
    cell_of,
    data_of,
    draw,
    picked,
    read,
    settled,
    show_list,
)
from xmr.ui.events import EVENT
from xmr.ui.links import any_text, number, one_of
from xmr.ui.said import refused
from xmr.ui.shell import Controls
from xmr.workspace import Workspace
from xmr.workspace.results import is_awaited

TITLE = "Errors"
ID = "errors"

# What is listed is what the controls hold: buttons and clicks on charts do no more than to set those, so that whatever is
# done in quick succession ends in one list.
CLEAR = f"() => [{json.dumps(ANY)}, '', '']"
ANOTHER = f"(order, seed) => ['random', order === 'random' ? (Number(seed) + 1) % {SEEDS} : seed]"
TURN = "(page) => page + %d"
# The file's own address, which Gradio has made: nothing that a visitor wrote.
SAVE = """(file) => { if (file) Object.assign(document.createElement('a'), { href: file.url, download: file.orig_name }).click(); }"""
# A click on a chart lists below what may be out of sight.
LOOK = """() => { const list = document.getElementById('errors-filters'), { top, bottom } = list.getBoundingClientRect();
  if (top < 0 || bottom > innerHeight - 200) list.scrollIntoView({ block: 'start' }); }"""


def build(workspace: Workspace, controls: Controls) -> None:
    """Lays the tab out and wires it."""
    names = list(workspace.runs)
    known = workspace.dataset().truth is not None
    ways = list(slicings(workspace, "test", controls.direction.value))
    with gr.Row():
        a = gr.Dropdown(
            [("the baseline", ""), *names], value="", label="A", min_width=170, elem_id="errors-a"
        )
        b = gr.Dropdown(
            [("the first other chosen run", ""), *names],
            value="",
            label="B",
            min_width=170,
            elem_id="errors-b",
        )
        at = gr.Radio(
            list(CUTOFFS), value=1, label="Right: a match among the first", min_width=170, elem_id="errors-at"
        )
        slicing = gr.Dropdown(
            ways, value=ways[0] if ways else "", label="Slices by", allow_custom_value=True, min_width=170,
            elem_id="errors-slicing",
        )  # fmt: skip
    about = Notice(elem_id="errors-about")
    with gr.Row():
        with gr.Column(scale=3, min_width=320):
            bars = PlotlyChart(name="Queries by who is right", elem_id="errors-buckets")
            slices = PlotlyChart(name="Recall by slice", elem_id="errors-slices")
        with gr.Column(scale=2, min_width=320):
            cells = PlotlyChart(name="Ranks under A and B", elem_id="errors-ranks")
    gr.Markdown("### Queries")
    offered = [(words, name) for words, name in bucket_choices({}) if known or name != HIDDEN]
    bucket = gr.Radio(offered, value=ANY, label="List", elem_id="errors-bucket")
    with gr.Row():
        slice_ = gr.Dropdown(
            [("all", "")],
            value="",
            label="Slice",
            allow_custom_value=True,
            min_width=170,
            elem_id="errors-slice",
        )
        order = gr.Dropdown(
            [(w, name) for name, w in ORDERS.items()],
            value="differ",
            label="Order",
            min_width=170,
            elem_id="errors-order",
        )
        seed = gr.Number(
            0, label="Seed", precision=0, minimum=0, maximum=SEEDS, min_width=90, elem_id="errors-seed"
        )
    with gr.Row(elem_id="errors-filters"):
        filters = Notice(elem_id="errors-listed")
        another = gr.Button("Another sample", size="sm", scale=0, min_width=130, elem_id="errors-another")
        clear = gr.Button("Clear filters", size="sm", scale=0, min_width=110, elem_id="errors-clear")
    found = QueryTable(elem_id="errors-list")
    with gr.Row(equal_height=True):
        back = gr.Button("Previous", size="sm", scale=0, min_width=110, elem_id="errors-previous")
        forth = gr.Button("Next", size="sm", scale=0, min_width=110, elem_id="errors-next")
        where = Notice(elem_id="errors-where")
        as_table = gr.Button("List as CSV", size="sm", scale=0, min_width=120, elem_id="errors-csv")
        as_tex = gr.Button("Slices as LaTeX", size="sm", scale=0, min_width=130, elem_id="errors-latex")
    gr.Markdown("### Hubs and the gap between modalities")
    measures = NumberTable(elem_id="errors-table")
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            curves = PlotlyChart(name="How often items are retrieved", elem_id="errors-hubs")
        with gr.Column(scale=3, min_width=320):
            hubs = QueryTable(elem_id="errors-hub-list")
    file = gr.DownloadButton(visible="hidden", elem_id="errors-file")
    page = gr.Number(0, precision=0, visible="hidden", label="page of the list", elem_id="errors-page")
    state = gr.State(None)  # what is drawn, and whether that waits for a run
    timer = gr.Timer(3, active=False)

    links = controls.links
    links.keep("a", a, one_of("run", names), ID)
    links.keep("b", b, one_of("run", names), ID)
    links.keep("at", at, one_of("cut-off", CUTOFFS), ID)
    links.keep("bucket", bucket, one_of("bucket", [name for _, name in offered]), ID)
    links.keep("slicing", slicing, any_text, ID)
    links.keep("slice", slice_, any_text, ID)
    links.keep("order", order, one_of("order", ORDERS), ID)
    links.keep("draw", seed, number("the seed of the order", 0, SEEDS), ID)
    cell = links.hidden("ranks", cell_of, ID)

    inputs = [controls.split, controls.direction, controls.runs, controls.baseline, a, b, at]
    inputs += [bucket, slicing, slice_, cell, order, seed]
    sent_back = [bucket, slicing, slice_]
    of_charts = [bars, cells, slices, about, curves, measures, hubs]
    outputs = [*of_charts, *sent_back, found, where, filters, page, state, timer]

    def show(drawn: tuple[Asked, bool] | None, turned: int | None, *values: Any) -> tuple[Any, ...]:
        """Whatever changed. Charts that are drawn already are left alone, unless they wait for a run of a large split."""
        last, waits = drawn or (None, True)
        asked = read(workspace, *values, last=last)
        page = turned or 0 if asked == last else 0
        charts: list[Any] = [gr.skip() for _ in of_charts]
        choices: list[dict[str, Any]] = [{} for _ in sent_back]
        if waits or not last or asked.charted != last.charted:
            # Before they are drawn: what comes meanwhile is drawn the next time.
            waits = any(is_awaited(workspace, run, asked.split) for run in asked.runs if run)
            asked, charts, choices = draw(workspace, asked)
        controls_now = settled(asked, [values[inputs.index(part)] for part in sent_back], choices)
        *listed, page = show_list(workspace, asked, page)
        page = gr.skip() if page == turned else page
        return *charts, *controls_now, *listed, page, (asked, waits), gr.Timer(active=waits)

    def on_bar(event: gr.EventData) -> str:
        meta = data_of(event).get("meta")
        name = meta.get("bucket") if isinstance(meta, dict) else None
        if not isinstance(name, str) or name not in BUCKETS:
            raise refused("That part of the bar is not there any more.", title="Nothing to list")
        return name

    def on_cell(event: gr.EventData) -> str:
        places = [data_of(event).get(key) for key in ("column", "row")]
        if any(type(place) is not int or not 0 <= place < len(RANK_BINS) for place in places):
            raise refused("That cell is not there any more.", title="Nothing to list")
        return ".".join(str(RANK_BINS[place]) for place in places)

    def on_slice(event: gr.EventData, *values: Any) -> str:
        asked = read(workspace, *values)
        point = data_of(event).get("customdata")
        name = point[0] if isinstance(point, list) and point else None
        ways = slicings(workspace, asked.split, asked.direction).get(asked.slicing, {})
        if not isinstance(name, str) or name not in ways:
            raise refused("That slice is not there any more.", title="Nothing to list")
        return name

    def saved(name: str, make: Callable[[Workspace, Asked], str]) -> Callable[..., str]:
        def handle(*values: Any) -> str:
            asked = read(workspace, *values)
            try:
                text = make(workspace, asked) if asked.a else ""
            except (ValueError, OSError) as error:
                raise refused(str(error), title="Nothing to export") from error
            if not text:
                raise refused(NO_RUN, title="Nothing to export")
            # Below a name that nobody can guess; Gradio deletes it after an hour.
            path = Path(file.GRADIO_CACHE) / secrets.token_hex(16) / name
            path.parent.mkdir(parents=True)
            path.write_text(text, encoding="utf-8", newline="")
            return str(path)

        return handle

    def opener(gallery: bool) -> Callable[..., dict[str, Any]]:
        def handle(event: gr.EventData, *values: Any) -> dict[str, Any]:
            return picked(workspace, read(workspace, *values), values[2], event, gallery)

        return handle

    when_shown(show, [state, page, *inputs], outputs, [page, *inputs], controls.idle, again=timer)
    back.click(None, page, page, js=TURN % -1, **EVENT)
    forth.click(None, page, page, js=TURN % 1, **EVENT)
    clear.click(None, None, [bucket, slice_, cell], js=CLEAR, **EVENT)
    another.click(None, [order, seed], [order, seed], js=ANOTHER, **EVENT)
    for chart, handle, needed, filtered in (
        (bars, on_bar, None, bucket),
        (cells, on_cell, None, cell),
        (slices, on_slice, inputs, slice_),
    ):
        chart.select(handle, needed, filtered, **EVENT).success(None, None, None, js=LOOK, **EVENT)
    for button, make, name in ((as_table, as_csv, "errors.csv"), (as_tex, as_latex, "errors.tex")):
        button.click(saved(name, make), inputs, file, **EVENT).success(None, file, None, js=SAVE, **EVENT)
    for listing, gallery in ((found, False), (hubs, True)):
        listing.open(opener(gallery), inputs, links.jump, **EVENT)
