"""The false-negatives tab: the negatives that a loss pushes hardest, which of them are probably matches, and what people
say of them."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from xmr.analysis import precision_recall, threshold_of
from xmr.core import Direction
from xmr.figures import suspects_figure
from xmr.selection import DEFAULT, SELECTORS
from xmr.store import StoreRefused, as_csv, as_jsonl
from xmr.ui.components.notice import Notice, sentence, words
from xmr.ui.components.number_table import NumberTable, table
from xmr.ui.components.pair_cards import PairCards
from xmr.ui.components.params import ParamPool
from xmr.ui.components.plotly_chart import PlotlyChart, chart
from xmr.ui.components.verdict_panel import RECALL, REMEMBER, VerdictPanel
from xmr.ui.components.when_shown import when_shown
from xmr.ui.events import EVENT
from xmr.ui.judging import judge_of, owner_of, store_of
from xmr.ui.links import any_text, one_of, some_of
from xmr.ui.said import refused, warn
from xmr.ui.shell import NO_LOSS, Controls
from xmr.ui.suspect_lists import ANY, JUDGED, Asked, NothingToShow, Settings, examine, filters, settings_of
from xmr.ui.suspect_pages import judge_pairs, list_page, standing_table
from xmr.ui.suspect_words import about_selector, findings, selector_table, share
from xmr.workspace import Workspace, style_at
from xmr.workspace.commands import verdict_commands
from xmr.workspace.measured import captions, sample_words, suspects_curve

TITLE = "False negatives"
ID = "false_negatives"

BESIDE = ("word_overlap", "near_positive")  # compared with at first: they look at other things than most
# Saves the file that was made, and tells the panel of verdicts which split has been exported.
SAVE = """(file, split) => {
  if (!file?.url) return;
  const link = Object.assign(document.createElement('a'), { href: file.url, download: file.orig_name });
  link.click();
  document.dispatchEvent(new CustomEvent('xmr-exported', { detail: split }));
}"""
FORGETS = (
    "This host forgets all verdicts when it restarts: take them with you by JSONL or CSV before you leave. "
    "You are asked when you leave with verdicts that were not exported."
)
USE = """Train with verdicts on the train split, evaluate with those on the split that is evaluated; confirmed pairs count as
matches, and no selector suspects what people refuted. With what *JSONL* saves of either split, in the folder of xmr:

{commands}

A name is no account: it is of the browser that judged under it first."""


def draw(workspace: Workspace, asked: Asked, told: str = "") -> tuple[str, dict[str, Any]]:
    """The chart with the finding, what was just `told` before it, and the table of selectors."""
    try:
        examined = examine(workspace, asked)
    except NothingToShow as error:
        return chart(None, str(error)), table([], [])
    truth, masks = examined.found.truth, examined.masks
    measured = {name: precision_recall(mask, truth) for name, mask in masks.items()}
    some = sample_words(workspace, asked.split, asked.direction)
    found = findings(asked.run, masks, measured, truth)
    words = " ".join(part for part in (told, found, some, *examined.faults) if part)
    numbers = selector_table(examined, captions(workspace, asked.split).source)
    curves = {}
    if next(iter(measured.values())).matches:
        of = asked.run, asked.split, asked.direction
        curves = {
            name: suspects_curve(workspace, *of, name, asked.settings[name])
            for name in masks
            if threshold_of(name)
        }
    if not curves:
        return chart(None, words), numbers
    styles = {name: style_at(i) for i, name in enumerate(masks)}
    figure = suspects_figure(curves, measured, styles, f"{asked.run} {asked.split} {asked.direction}")
    rows = [
        (name, f"{curve.parameter} {value:.3g}", share(one.precision), share(one.recall))
        for name, curve in curves.items()
        for value, one in zip(curve.values, curve.measured, strict=True)
    ]
    return chart(figure, words, (("selector", "setting", "precision", "recall"), rows)), numbers


def setting_at(data: Any, settings: Settings) -> tuple[str, str, Any]:
    """Selector, parameter and value of a point of the chart that was clicked. Raises gr.Error where there is none."""
    point = data.get("customdata") if isinstance(data, dict) else None
    name, value = point if isinstance(point, list) and len(point) == 2 else (None, None)
    param = threshold_of(name) if isinstance(name, str) and name in settings and name in SELECTORS else None
    if param is None or type(value) not in (int, float):
        raise refused("Click a point on the curve of a selector.", title="No setting there")
    try:
        return name, param.name, param.parse(value)
    except (ValueError, OverflowError) as error:
        raise refused(str(error), title="No setting there") from error


def export_text(workspace: Workspace, split: str, kind: str) -> str:
    """All verdicts on a split as "jsonl" or "csv"; "" where there are none. Raises StoreRefused and CannotSave."""
    found = store_of(workspace).verdicts(fingerprint=workspace.dataset(split).fingerprint)
    return (as_csv(found) if kind == "csv" else as_jsonl(found)) if found else ""


def slug(name: str) -> str:
    """A dataset's name as part of a file's."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "dataset"


def build(workspace: Workspace, controls: Controls) -> None:
    """Lays the tab out and wires it."""
    names = workspace.trained
    start = controls.baseline.value if controls.baseline.value in names else next(iter(names), None)
    beside0 = [name for name in BESIDE if name in SELECTORS and name != DEFAULT]
    combined = [name for name in workspace.runs if name not in names]
    splits = [value for _, value in controls.split.choices]
    with gr.Row():
        with gr.Column(scale=1, min_width=260):
            run = gr.Dropdown(names, value=start, label="Run", elem_id="fn-run")
            if combined:
                Notice(words(NO_LOSS.format(", ".join(combined))))
            selector = gr.Dropdown(list(SELECTORS), value=DEFAULT, label="Selector", elem_id="fn-selector")
            about = Notice(words(about_selector(workspace, start or "", DEFAULT)), elem_id="fn-about")
            pool = ParamPool(SELECTORS, DEFAULT, prefix="fn")
            beside = gr.Dropdown(
                list(SELECTORS), value=beside0, multiselect=True, label="Compare with", elem_id="fn-beside"
            )
        with gr.Column(scale=4, min_width=320):
            drawn = PlotlyChart(name="Precision against recall of the selectors", elem_id="fn-chart")
            numbers = NumberTable(elem_id="fn-table")
    with gr.Row():
        listed = gr.Radio(filters(workspace), value="all", label="List", min_width=320, elem_id="fn-list")
        not_by = gr.Dropdown(
            [ANY, *SELECTORS], value=ANY, label="and not suspected by", visible=False, min_width=220,
            elem_id="fn-not-by",
        )  # fmt: skip
        judged = gr.Radio(JUDGED, value="any", label="Judged", min_width=320, elem_id="fn-judged")
    with gr.Row():
        name = gr.Textbox(
            label="Your name", placeholder="under which your verdicts are kept", max_length=80, max_lines=1,
            min_width=220, scale=1, elem_id="fn-name",
        )  # fmt: skip
        with gr.Column(scale=3, min_width=320):
            kept = VerdictPanel(
                name_id="fn-name",
                exports_id="fn-exports",
                forgetful=workspace.verdicts.forgotten,
                elem_id="fn-verdicts",
            )
    with gr.Column(elem_id="fn-exports"):
        if workspace.verdicts.forgotten:
            Notice(sentence(FORGETS), elem_id="fn-forgets", padding=True)
        with gr.Accordion("Export and use the verdicts on this split", open=workspace.verdicts.forgotten):
            with gr.Row():
                ways = {
                    kind: gr.Button(label, size="sm", scale=0, min_width=110, elem_id=f"fn-{kind}")
                    for kind, label in (("jsonl", "JSONL"), ("csv", "CSV"))
                }
            exported = f"verdicts-{slug(workspace.dataset().name)}-{{split}}.jsonl"
            held = list(workspace.runs.values()), workspace.source, workspace.checkpoints, exported
            lines = "\n".join(f"    {line}" for line in verdict_commands(*held))
            gr.Markdown(USE.format(commands=lines))
            file = gr.File(visible="hidden", elem_id="fn-file")
    with gr.Row():
        back = gr.Button("Previous", size="sm", scale=0, min_width=110, elem_id="fn-previous")
        forth = gr.Button("Next", size="sm", scale=0, min_width=110, elem_id="fn-next")
        clear = gr.Button(
            "Clear the pair asked for", size="sm", scale=0, min_width=180, visible=False, elem_id="fn-clear"
        )
    where = Notice(elem_id="fn-where")
    found = PairCards(elem_id="fn-pairs")
    place = gr.State(None)  # which list, first and last place on the page
    moved = gr.State({})  # parameters that were moved, by selector
    # The same as text: the list follows it, so that a filter chosen meanwhile never leaves an older setting's list.
    turned = gr.Textbox("", visible="hidden", label="moved parameters", elem_id="fn-moved")
    filled = gr.State(DEFAULT)  # the selector that the sliders are of
    secret = gr.Textbox(
        "", visible="hidden", label="secret of this browser", max_length=128, elem_id="fn-secret"
    )

    keep = controls.links.keep
    keep("fn_run", run, one_of("run", names), ID)
    keep("selector", selector, one_of("selector", SELECTORS), ID)
    keep("compare", beside, some_of("selector", SELECTORS), ID)
    keep("list", listed, one_of("list", [value for _, value in filters(workspace)]), ID)
    keep("not_by", not_by, one_of("selector", [ANY, *SELECTORS]), ID)
    keep("judged", judged, one_of("list of judged pairs", [value for _, value in JUDGED]), ID)
    pair = [controls.links.hidden(f"suspect_{side}", any_text, ID) for side in ("visual", "text")]

    of_run = [run, controls.split, controls.direction, selector, beside]
    of = [*of_run, moved, filled, listed, not_by, judged, name, secret]
    # Without the sliders: Gradio refuses values that are on their way while the sliders become another selector's.
    inputs = [*of, *pair, place]
    of_list = [found, kept, where, place, clear, not_by]
    of_selector = [about, filled, *pool.components]

    def read(values: tuple[Any, ...]) -> tuple[Asked, str, tuple[str, str], Any]:
        one, split, direction, kind, others, held, _, which, other, answer, typed, kept_by = values[: len(of)]
        visual, text, at = values[len(of) :]
        settings = settings_of(kind, held.get(kind, SELECTORS[kind].defaults), others, held)
        owner = owner_of(kept_by)
        who = judge_of(workspace, typed, owner)[0]
        asked = Asked(one or "", split, direction, settings, which, other, answer, who, owner)
        return asked, typed or "", (visual or "", text or ""), at

    def lists(move: int = 0) -> Callable[..., tuple[Any, ...]]:
        def handle(*values: Any) -> tuple[Any, ...]:
            asked, typed, wanted, at = read(values)
            page = list_page(workspace, asked, typed, wanted, at, move)
            visible = gr.Button(visible=any(wanted)), gr.Dropdown(visible=asked.listed == "only")
            return *page._replace(where=words(page.where)), *visible

        return handle

    def shown(
        one: str,
        split: str,
        direction: Direction,
        kind: str,
        others: list[str],
        held: dict[str, Any],
        last: str,
    ) -> tuple[Any, ...]:
        """The chart, and the sliders where they still are another selector's."""
        sliders = pool.updates(kind, held.get(kind)) if last != kind else [gr.skip()] * len(pool.components)
        settings = settings_of(kind, held.get(kind, SELECTORS[kind].defaults), others, held)
        drawn = draw(workspace, Asked(one or "", split, direction, settings))[0]
        return drawn, words(about_selector(workspace, one or "", kind)), kind, *sliders

    def listing(*values: Any) -> tuple[Any, ...]:
        return *lists()(*values[:-1]), standing_table(workspace, read(values[:-1])[0])

    def slid(*values: Any) -> tuple[Any, ...]:
        values, now = values[: len(inputs)], values[len(inputs) :]
        kind, held = values[3], values[5]
        if values[6] == kind:  # else the sliders still are another selector's
            held = {**held, kind: pool.values(kind, now)}
        return *draw(workspace, read((*values[:5], held, *values[6:]))[0]), held, json.dumps(held)

    def judge(event: gr.EventData, *values: Any) -> tuple[Any, ...]:
        asked, typed, _, _ = read(values)
        return judge_pairs(workspace, asked, typed, event._data, splits)

    def clicked(event: gr.EventData, *values: Any) -> tuple[Any, ...]:
        asked = read(values)[0]
        kind, param, value = setting_at(event._data, asked.settings)
        settings = {**asked.settings, kind: {**asked.settings[kind], param: value}}
        held = {**values[5], kind: settings[kind]}
        first = values[3] == kind
        sliders = pool.updates(kind, settings[kind]) if first else [gr.skip()] * len(pool.components)
        told = f"{param} of {kind} is set to {value:.3g}."
        return *draw(workspace, replace(asked, settings=settings), told), held, json.dumps(held), *sliders

    def export(kind: str) -> Callable[[str], str | None]:
        def handle(split: str) -> str | None:
            try:
                text = export_text(workspace, split, kind)
            except (StoreRefused, OSError) as error:
                raise refused(str(error), title="No export") from error
            if not text:
                warn("Nobody has judged a pair of this split yet.", title="Nothing to export")
                return None
            folder = Path(file.GRADIO_CACHE) / secrets.token_hex(16)
            folder.mkdir(parents=True)
            path = folder / f"verdicts-{slug(workspace.dataset(split).name)}-{split}.{kind}"
            path.write_text(text, encoding="utf-8", newline="")
            return str(path)

        return handle

    when_shown(shown, [*of_run, moved, filled], [drawn, *of_selector], of_run, controls.idle)
    # The list need not wait for the chart; others may have judged meanwhile.
    watched = [*of_run, *pair, listed, not_by, judged, name, turned]
    when_shown(listing, [*inputs, turned], [*of_list, numbers], watched, controls.idle, always=True)
    latest = EVENT | {"trigger_mode": "always_last"}
    sliders = [component.input for component in pool.components]
    gr.on(sliders, slid, [*inputs, *pool.components], [drawn, numbers, moved, turned], **latest)
    back.click(lists(-1), inputs, of_list, **EVENT)
    forth.click(lists(1), inputs, of_list, **EVENT)
    clear.click(lambda: ("", ""), None, pair, **EVENT)
    drawn.select(clicked, inputs, [drawn, numbers, moved, turned, *pool.components], **EVENT)
    kept.judge(judge, inputs, [kept, numbers], trigger_mode="multiple", **EVENT)
    for kind, button in ways.items():
        button.click(export(kind), controls.split, file, **EVENT).then(
            None, [file, controls.split], None, js=SAVE, **EVENT
        )
    name.change(None, name, None, js=REMEMBER, **EVENT)
    gr.context.Context.root_block.load(None, None, [name, secret], js=RECALL, **EVENT)
