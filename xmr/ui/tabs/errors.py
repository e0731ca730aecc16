"""The errors tab: which queries which run gets wrong, of which kind they are, and what is retrieved instead."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from xmr.figures.errors import RANK_BINS
from xmr.ui.components.notice import Notice, sentence
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
    picked,
    read,
    show_charts,
    show_hubs,
    show_list,
)
from xmr.ui.events import EVENT
from xmr.ui.links import any_text, number, one_of
from xmr.ui.said import refused, warn
from xmr.ui.shell import Controls
from xmr.workspace import Workspace
from xmr.workspace.results import is_awaited

TITLE = "Errors"
ID = "errors"

CHARTS = 4  # outputs in front of the controls and the list: three charts and what is compared

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
    page = gr.State(None)  # what is listed, and the number of the page
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

    of_page = [controls.split, controls.direction, controls.runs, controls.baseline, a, b, at]
    inputs = [*of_page, bucket, slicing, slice_, cell, order, seed]
    of_list = [found, where, filters, page]
    of_filters = [bucket, slice_, cell]

    def everything(*values: Any, now: tuple[Asked, int] | None = None) -> tuple[Any, ...]:
        asked = read(workspace, *values)
        *drawn, counts = show_charts(workspace, asked)
        if counts and asked.bucket not in counts:
            name = BUCKETS[asked.bucket]
            warn(f"No query is in “{name}” of these runs: all are listed.", title="Another list is shown")
            asked = replace(asked, bucket=ANY)
        of = slicings(workspace, asked.split, asked.direction) if counts else {}
        parts = [(f"{name} ({len(some):,})", name) for name, some in of.get(asked.slicing, {}).items()]
        told = (
            f"A is {asked.a}" + (f", B is {asked.b}." if asked.b else ", and there is no B.")
            if asked.a
            else ""
        )
        return (
            *drawn,
            sentence(told),
            gr.Radio(bucket_choices(counts), value=asked.bucket) if counts else gr.skip(),
            gr.Dropdown(list(of), value=asked.slicing),
            gr.Dropdown([("all", ""), *parts], value=asked.slice),
            *show_list(workspace, asked, now[1] if now and now[0] == asked else 0),
        )

    def of_pair(*values: Any) -> tuple[Any, ...]:
        drawn = everything(*values)
        return *drawn, *show_hubs(workspace, drawn[-1][0])

    def awaiting(now: tuple[Asked, int] | None, *values: Any) -> tuple[Any, ...]:
        """All, again and again while a run of a large split is measured. The list is left alone meanwhile, once it can be
        shown: its reader may have turned the page."""
        drawn = everything(*values, now=now)
        asked = drawn[-1][0]
        waits = {run for run in asked.runs if run and is_awaited(workspace, run, asked.split)}
        if waits and now and now[0] == asked and not waits & {*asked.pair}:
            drawn = (*drawn[:CHARTS], *(gr.skip() for _ in drawn[CHARTS:]))
        return *drawn, *show_hubs(workspace, asked), gr.Timer(active=bool(waits))

    def resliced(*values: Any) -> tuple[Any, ...]:  # a slice of the former slicing is none of the new one
        return everything(
            *("" if part is slice_ else value for part, value in zip(inputs, values, strict=True))
        )

    def relist(move: int | None) -> Callable[..., Any]:
        def handle(now: tuple[Asked, int] | None, *values: Any) -> tuple[Any, ...]:
            page = now[1] + move if now and move is not None else 0
            return show_list(workspace, read(workspace, *values), page)

        return handle

    def filtered(**changes: Any) -> Callable[[Asked], tuple[Any, ...]]:
        def handle(asked: Asked) -> tuple[Any, ...]:
            new = replace(asked, **changes)
            cell = f"{new.cell[0]}.{new.cell[1]}" if new.cell else ""
            return (new.bucket, new.slice, cell, *show_list(workspace, new, 0))

        return handle

    def on_bar(event: gr.EventData, *values: Any) -> tuple[Any, ...]:
        meta = data_of(event).get("meta")
        name = meta.get("bucket") if isinstance(meta, dict) else None
        if not isinstance(name, str) or name not in BUCKETS:
            raise refused("That part of the bar is not there any more.", title="Nothing to list")
        return filtered(bucket=name)(read(workspace, *values))

    def on_cell(event: gr.EventData, *values: Any) -> tuple[Any, ...]:
        places = [data_of(event).get(key) for key in ("column", "row")]
        if any(type(place) is not int or not 0 <= place < len(RANK_BINS) for place in places):
            raise refused("That cell is not there any more.", title="Nothing to list")
        return filtered(cell=tuple(RANK_BINS[place] for place in places))(read(workspace, *values))

    def on_slice(event: gr.EventData, *values: Any) -> tuple[Any, ...]:
        asked = read(workspace, *values)
        point = data_of(event).get("customdata")
        name = point[0] if isinstance(point, list) and point else None
        ways = slicings(workspace, asked.split, asked.direction).get(asked.slicing, {})
        if not isinstance(name, str) or name not in ways:
            raise refused("That slice is not there any more.", title="Nothing to list")
        return filtered(slice=name)(asked)

    def on_another(now: int, *values: Any) -> tuple[Any, ...]:
        asked = read(workspace, *values)
        asked = replace(
            asked, order="random", seed=(asked.seed + 1) % SEEDS if asked.order == "random" else asked.seed
        )
        return (asked.order, asked.seed, *show_list(workspace, asked, 0))

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

    latest = EVENT | {"trigger_mode": "always_last"}
    outputs = [bars, cells, slices, about, bucket, slicing, slice_, *of_list]
    sidebar = [controls.split, controls.direction, controls.runs, controls.baseline]
    of_hubs = [curves, measures, hubs]
    when_shown(awaiting, [page, *inputs], [*outputs, *of_hubs, timer], sidebar, controls.idle, again=timer)
    at.input(everything, inputs, outputs, **latest)
    slicing.input(resliced, inputs, outputs, **latest)

    gr.on([a.input, b.input], of_pair, inputs, [*outputs, *of_hubs], **latest)
    gr.on(
        [bucket.input, slice_.input, order.input, seed.input],
        relist(None),
        [page, *inputs],
        of_list,
        **latest,
    )
    back.click(relist(-1), [page, *inputs], of_list, **EVENT)
    forth.click(relist(1), [page, *inputs], of_list, **EVENT)
    another.click(on_another, [page, *inputs], [order, seed, *of_list], **EVENT)
    for drawn, handle in ((bars, on_bar), (cells, on_cell), (slices, on_slice)):
        drawn.select(handle, inputs, [*of_filters, *of_list], **EVENT).success(
            None, None, None, js=LOOK, **EVENT
        )
    clear.click(
        lambda *values: filtered(bucket=ANY, slice="", cell=None)(read(workspace, *values)),
        inputs, [*of_filters, *of_list], **EVENT,
    )  # fmt: skip
    for button, make, name in ((as_table, as_csv, "errors.csv"), (as_tex, as_latex, "errors.tex")):
        button.click(saved(name, make), inputs, file, **EVENT).success(None, file, None, js=SAVE, **EVENT)
    for listing, gallery in ((found, False), (hubs, True)):
        listing.open(opener(gallery), inputs, links.jump, **EVENT)
