"""The distributions tab: where each run's scores put matches, hardest negatives and random negatives."""

from __future__ import annotations

from typing import Any

import gradio as gr
import numpy as np

from xmr.analysis import score_distributions
from xmr.core import Direction
from xmr.figures import KINDS, distribution_figure, distribution_words
from xmr.ui.components.notice import Notice, sentence
from xmr.ui.components.number_table import NumberTable, table
from xmr.ui.components.pair_cards import PairCards, cards
from xmr.ui.components.plotly_chart import PlotlyChart, chart
from xmr.ui.components.when_shown import when_shown
from xmr.ui.events import EVENT
from xmr.ui.links import one_of
from xmr.ui.pair_sides import pair_card
from xmr.ui.said import refused
from xmr.ui.shell import Controls, chosen, side_by_side
from xmr.words import fixed, percent, score, significant
from xmr.workspace import Workspace
from xmr.workspace.measured import plateau_words, sample_words, samples
from xmr.workspace.words import score_kinds

TITLE = "Distributions"
ID = "distributions"

SCALES = {"raw": "score ({})", "z": "z-score of the score among all scores of its query"}
PAGE = 6
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
    styles = workspace.styles(runs)
    drawn, left_out = side_by_side(runs)
    figure = distribution_figure(
        {name: found[name] for name in drawn}, styles, SCALES[scale].format(score_kinds(workspace, drawn))
    )
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
                fixed(one.auc_random, 3),
                fixed(one.auc_hardest, 3),
                fixed(one.overlap_random, 3),
                fixed(one.overlap_hardest, 3),
                score(one.medians["positives"]),
                score(one.medians["hardest"]),
                *([f"{'' if complete else '≥ '}{percent(one.hidden)}"] if truth else []),
            ],
        )
        for name, one in found.items()
    ]
    some = sample_words(workspace, split, direction)
    stuck = plateau_words(workspace, runs)
    words = " ".join(part for part in (distribution_words(found, complete), stuck, some, left_out) if part)
    densities = (
        ["score", *(f"{name}, {KINDS[kind][0]}" for name in drawn for kind in found[name].densities)],
        [
            [
                score(edge),
                *(
                    significant(found[name].densities[kind][i], 4)
                    for name in drawn
                    for kind in found[name].densities
                ),
            ]
            for i, edge in enumerate(found[runs[0]].edges[:-1])
        ],
    )
    return chart(figure, words, densities), table(columns, rows, _note(found[runs[0]].counts, truth))


def pairs_in_bin(
    workspace: Workspace,
    split: str,
    direction: Direction,
    runs: list[str],
    scale: str,
    picked: dict[str, Any],
    page: int = 0,
) -> tuple[dict[str, Any], str, int]:
    """Cards of pairs whose score lies in the bin that was clicked, those nearest its middle first, where in the list they
    stand, and the page shown (from 0). Raises gr.Error where there is no such bin."""
    runs, _ = chosen(workspace, runs, None)
    meta = picked.get("meta") if isinstance(picked.get("meta"), dict) else {}
    run, kind, index = meta.get("run"), meta.get("kind"), picked.get("index")
    if (
        not (isinstance(run, str) and isinstance(kind, str))
        or run not in runs
        or kind not in KINDS
        or type(index) is not int
    ):
        raise refused("Those pairs are not in this chart any more.", title="Not found")
    measured = {name: samples(workspace, name, split, direction) for name in runs}
    raw = measured[run]
    if scale == "z":
        measured = {name: one.standardised() for name, one in measured.items()}
    edges = score_distributions(measured)[run].edges
    if kind not in raw.values or not 0 <= index < len(edges) - 1:
        raise refused("Those pairs are not in this chart any more.", title="Not found")
    low, high, values = edges[index], edges[index + 1], measured[run].values[kind]
    last = index == len(edges) - 2  # of histograms, only the last bin holds its upper edge
    inside = np.flatnonzero((values >= low) & ((values <= high) if last else (values < high)))
    inside = inside[np.argsort(np.abs(values[inside] - (low + high) / 2), kind="stable")]
    page = int(np.clip(page, 0, max(len(inside) - 1, 0) // PAGE))
    some = inside[page * PAGE : (page + 1) * PAGE]
    listed = []
    for place, at in enumerate(some.tolist(), page * PAGE + 1):
        query, item = int(raw.query[kind][at]), int(raw.item[kind][at])
        numbers = [("score", score(raw.values[kind][at]))]
        if scale == "z":
            numbers.append(("z-score", fixed(values[at], 1, sign=True)))
        listed.append(pair_card(workspace, split, direction, query, item, f"{run} #{place:,}", numbers))
    what = f"{KINDS[kind][0]} of {run} with a {'z-score' if scale == 'z' else 'score'} of {significant(low)} to {significant(high)}"
    if not listed:
        return cards([], f"There are no {what} in the sample."), "", 0
    where = f"{page * PAGE + 1:,}–{page * PAGE + len(some):,} of {len(inside):,} {what}"
    return cards(listed), where, page


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
    with gr.Row(equal_height=True):
        back = gr.Button(
            "Previous", size="sm", scale=0, min_width=110, visible=False, elem_id="distributions-previous"
        )
        forth = gr.Button(
            "Next", size="sm", scale=0, min_width=110, visible=False, elem_id="distributions-next"
        )
        where = Notice(elem_id="distributions-where")
    found = PairCards(elem_id="distributions-pairs")
    picked = gr.State({})  # the bin that was clicked, and the page of its pairs
    controls.links.keep("density", scale, one_of("scale", SCALES), ID)

    inputs = [controls.split, controls.direction, controls.runs, scale]
    listing = [found, where, picked, back, forth]

    def handle(*values: Any) -> tuple[Any, ...]:
        return (
            *show(workspace, *values),
            cards([]),
            "",
            {},
            gr.Button(visible=False),
            gr.Button(visible=False),
        )

    def listed(values: tuple[Any, ...], to: dict[str, Any]) -> tuple[Any, ...]:
        try:
            drawn, said, page = pairs_in_bin(workspace, *values, to, to["page"])
        except (ValueError, OSError) as error:
            raise refused(str(error), title="Not found") from error
        pages = gr.Button(visible=bool(said))
        return drawn, sentence(said) if said else "", to | {"page": page}, pages, pages

    def clicked(
        split: str, direction: Direction, runs: list[str], how: str, event: gr.EventData
    ) -> tuple[Any, ...]:
        data = event._data if isinstance(event._data, dict) else {}
        return listed(
            (split, direction, runs, how), {"meta": data.get("meta"), "index": data.get("index"), "page": 0}
        )

    def turned(step: int) -> Any:
        def turn(to: dict[str, Any], *values: Any) -> tuple[Any, ...]:
            return listed(values, to | {"page": max(to.get("page", 0) + step, 0)})

        return turn

    when_shown(handle, inputs, [drawn, numbers, *listing], inputs, controls.idle)
    drawn.select(clicked, inputs, listing, **EVENT)
    back.click(turned(-1), [picked, *inputs], listing, **EVENT)
    forth.click(turned(1), [picked, *inputs], listing, **EVENT)
