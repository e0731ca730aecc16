"""The false-negatives tab: the negatives that a loss pushes hardest, and which of them are probably matches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr
import numpy as np

from xmr.analysis import PrecisionRecall, precision_recall
from xmr.core import Direction
from xmr.figures import threshold_figure
from xmr.registry import UnknownName
from xmr.selection import SELECTORS
from xmr.ui.components.pair_cards import Card, PairCards, cards
from xmr.ui.components.params import ParamPool
from xmr.ui.components.plotly_chart import PlotlyChart, chart
from xmr.ui.components.when_shown import when_shown
from xmr.ui.measured import (
    SELECTOR,
    captions,
    evidence,
    hard_negatives,
    suspects,
    text_side,
    visual_and_text,
    visual_side,
)
from xmr.ui.shell import EVENT, Controls
from xmr.ui.weights import pair_badges
from xmr.workspace import Workspace

TITLE = "False negatives"
ID = "false_negatives"

PAGE = 12
FILTERS = [("all", "all"), ("suspected", "suspected")]
TRUTH_FILTERS = [("missed matches", "missed"), ("false alarms", "false")]


def filters(workspace: Workspace) -> list[tuple[str, str]]:
    """What can be listed: those that need truth are offered only where there is some."""
    return FILTERS + (TRUTH_FILTERS if workspace.dataset().truth else [])


def show(
    workspace: Workspace,
    run: str,
    split: str,
    direction: Direction,
    selector: str,
    params: dict[str, Any],
    listed: str,
    page: int,
) -> tuple[str, dict[str, Any], int, str]:
    """The chart with the finding, one page of cards, the page shown (from 0), and where in the list it is."""
    if not run:
        return chart(None, "No run is chosen: pick one above."), cards([]), 0, ""
    try:
        found = hard_negatives(workspace, run, split, direction)
        nearest, near = evidence(workspace, run, split, direction)
        flagged = suspects(workspace, run, split, direction, selector, params)
    except (ValueError, OSError) as error:
        return chart(None, f"{run} can't be examined: {error}"), cards([]), 0, ""
    if not len(found):
        words = f"{run} pushes no negative on this split: every pair is already where its loss wants it."
        return chart(None, words), cards([], "There is nothing to list."), 0, ""
    match = found.truth > 0  # NaN, unknown, is not
    wanted = {
        "suspected": flagged,
        "missed": match & ~flagged,
        "false": flagged & (found.truth == 0),
    }.get(listed, np.ones(len(found), bool))
    places = np.flatnonzero(wanted)
    page = int(np.clip(page, 0, max(len(places) - 1, 0) // PAGE))
    some = places[page * PAGE : (page + 1) * PAGE]
    visuals, texts = visual_and_text(found, direction)
    data, similarity = workspace.dataset(split), captions(workspace, split)
    listing = []
    for i in some:
        roles = ("query", "candidate") if direction == "v2t" else ("candidate", "query")
        picture = visual_side(workspace, split, int(visuals[i]), roles[0], own=3)
        caption = text_side(workspace, split, int(texts[i]), roles[1])
        two = (picture, caption) if direction == "v2t" else (caption, picture)
        truth = None if np.isnan(found.truth[i]) else float(found.truth[i])
        clue = None
        if nearest[i] >= 0:
            what = f"The {data.kind}'s nearest own caption, similarity {near[i]:.2f}:"
            clue = (what, data.captions[nearest[i]])
        numbers = [
            ("weight", f"{found.weight[i]:#.3g}"),
            ("score", f"{found.score[i]:.3f}"),
            ("rank", f"{found.rank[i]:,}"),
        ]
        badges = pair_badges(False, bool(flagged[i]), truth, data.truth is not None)
        listing.append(Card(f"#{i + 1:,}", two, numbers, badges, clue))
    measured = precision_recall(flagged, found.truth)
    words = findings(run, len(found), int(flagged.sum()), measured, similarity.source)
    drawn = chart(None, words)
    if selector == SELECTOR and measured.matches:
        low = float(np.nanmin(near)) if np.isfinite(near).any() else 0.0
        thresholds = np.linspace(min(low, params["threshold"]), 1, 61)
        sweep = [precision_recall(near >= t, found.truth) for t in thresholds]
        figure = threshold_figure(thresholds, sweep, params["threshold"], f"{run} {split} {direction}")
        every = [
            (f"{t:.2f}", _share(one.precision), _share(one.recall))
            for t, one in zip(thresholds, sweep, strict=True)
        ]
        drawn = chart(figure, words, (("threshold", "precision", "recall"), every[::5]))
    empty = {
        "suspected": "None of these negatives is suspected. Lower the threshold, or show all.",
        "missed": "No real match is missed: all of them are suspected.",
        "false": "No false alarm: every suspected pair really matches, as far as is known.",
    }.get(listed, "")
    last = min((page + 1) * PAGE, len(places))
    where = f"{page * PAGE + 1:,}–{last:,} of {len(places):,}" if len(places) else "none"
    return drawn, cards(listing, empty), page, where


def findings(run: str, count: int, flagged: int, measured: PrecisionRecall, source: str) -> str:
    """What the selector found among the hardest negatives, and how right it is, as far as is known."""
    text = f"Of the {count:,} negatives that {run} pushes hardest, {flagged:,} ({_share(flagged / count)}) are suspected"
    if not measured.known:
        return (
            f"{text}, by {source}. What really matches isn't known here, so neither are precision and recall."
        )
    text += (
        "."
        if measured.precision is None
        else f"; {_share(measured.precision)} of those truly match (precision)."
    )
    surely = "are known to match" if measured.unknown else "truly match"
    if measured.matches:
        text += f" {measured.matches:,} of the negatives {surely}; {_share(measured.recall)} of them are found (recall)."
    else:
        text += f" None of the negatives {surely}."
    if measured.unknown:
        text += f" {measured.unknown:,} pairs of unknown truth are left out."
    return f"{text} Similarity between captions: {source}."


def build(workspace: Workspace, controls: Controls) -> None:
    """Lays the tab out and wires it."""
    names = list(workspace.runs)
    with gr.Row():
        with gr.Column(scale=1, min_width=260):
            run = gr.Dropdown(names, value=controls.baseline.value, label="Run", elem_id="fn-run")
            selector = gr.Dropdown(list(SELECTORS), value=SELECTOR, label="Selector", elem_id="fn-selector")
            about = gr.Markdown(SELECTORS[SELECTOR].caption)
            pool = ParamPool(SELECTORS, SELECTOR, prefix="fn")
            listed = gr.Radio(filters(workspace), value="all", label="List", elem_id="fn-list")
        with gr.Column(scale=4, min_width=320):
            drawn = PlotlyChart(name="Precision and recall against the threshold", elem_id="fn-chart")
    with gr.Row(equal_height=True):
        back = gr.Button("Previous", size="sm", scale=0, min_width=110, elem_id="fn-previous")
        forth = gr.Button("Next", size="sm", scale=0, min_width=110, elem_id="fn-next")
        where = gr.Markdown(elem_id="fn-where")
    found = PairCards(elem_id="fn-pairs")
    page = gr.State(0)

    inputs = [run, controls.split, controls.direction, selector, listed, page, *pool.components]
    outputs = [drawn, found, page, where]

    def at(move: int | None) -> Callable[..., Any]:
        def handle(
            name: str, split: str, direction: Direction, kind: str, which: str, now: int, *held: Any
        ) -> tuple[Any, ...]:
            params = pool.values(kind, held)
            return show(
                workspace, name, split, direction, kind, params, which, 0 if move is None else now + move
            )

        return handle

    def choose(kind: str) -> list[Any]:
        return [SELECTORS[kind].caption, *pool.updates(kind)]

    when_shown(at(None), inputs, outputs, [run, controls.split, controls.direction])
    selector.input(choose, selector, [about, *pool.components], **EVENT).then(
        at(None), inputs, outputs, **EVENT
    )
    gr.on(
        [listed.input, *(component.input for component in pool.components)],
        at(None),
        inputs,
        outputs,
        trigger_mode="always_last",
        **EVENT,
    )
    back.click(at(-1), inputs, outputs, **EVENT)
    forth.click(at(1), inputs, outputs, **EVENT)


def api_false_negatives(workspace: Workspace) -> Callable[..., dict[str, Any]]:
    """The function behind the endpoint /false_negatives."""

    def false_negatives(run: str, selector: str = SELECTOR, limit: int = 20) -> dict[str, Any]:
        """List the hardest negatives of a run that are probably matches, heaviest first (test split, text to visual).

        Args:
            run: Name of the run, as /runs lists them.
            selector: Name of the selector that suspects, at its default parameters.
            limit: How many pairs at most, 1 to 500.

        Returns:
            {"run", "selector", "parameters", "pairs": [{"query", "query_id", "candidate_id", "score", "weight", "rank",
            "evidence", "nearest_caption", "truth"}], "examined", "suspected", "precision", "recall"}. truth, precision
            and recall are null where they aren't known; precision and recall are of all suspected, not of the listed.
        """
        if not 1 <= limit <= 500:
            raise gr.Error(f"limit must be 1 to 500, found {limit}.")
        try:
            params = SELECTORS[selector].defaults
            workspace.run(run)
            found = hard_negatives(workspace, run, "test", "t2v")
            nearest, near = evidence(workspace, run, "test", "t2v")
            flagged = suspects(workspace, run, "test", "t2v", selector, params)
        except (UnknownName, ValueError, OSError) as error:
            raise gr.Error(str(error)) from error
        data = workspace.dataset("test")
        measured = precision_recall(flagged, found.truth)
        return {
            "run": run,
            "selector": selector,
            "parameters": params,
            "pairs": [
                {
                    "query": data.captions[found.query[i]],
                    "query_id": f"{data.visual_ids[data.visual_of_text[found.query[i]]]}#{found.query[i]}",
                    "candidate_id": data.visual_ids[found.candidate[i]],
                    "score": round(float(found.score[i]), 6),
                    "weight": float(f"{found.weight[i]:.6g}"),
                    "rank": int(found.rank[i]),
                    "evidence": None if np.isnan(near[i]) else round(float(near[i]), 6),
                    "nearest_caption": data.captions[nearest[i]] if nearest[i] >= 0 else None,
                    "truth": None if np.isnan(found.truth[i]) else bool(found.truth[i] > 0),
                }
                for i in np.flatnonzero(flagged)[:limit]
            ],
            "examined": len(found),
            "suspected": int(flagged.sum()),
            "precision": measured.precision,
            "recall": measured.recall,
        }

    return false_negatives


def _share(value: float | None) -> str:
    """A share in words; a few of many are not none."""
    if value is None:
        return "–"
    return "under 1%" if 0 < value < 0.005 else f"{value:.0%}"
