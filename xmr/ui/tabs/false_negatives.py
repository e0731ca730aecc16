"""The false-negatives tab: the negatives that a loss pushes hardest, and which of them are probably matches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr
import numpy as np

from xmr.analysis import PrecisionRecall, precision_recall, threshold_of
from xmr.core import Direction
from xmr.figures import suspects_figure
from xmr.selection import DEFAULT, SELECTORS
from xmr.ui.batch_maps import truth_badges
from xmr.ui.components.number_table import NumberTable, table
from xmr.ui.components.pair_cards import Badge, Card, PairCards, cards
from xmr.ui.components.params import ParamPool
from xmr.ui.components.plotly_chart import PlotlyChart, chart
from xmr.ui.components.when_shown import when_shown
from xmr.ui.events import EVENT
from xmr.ui.pair_sides import text_side, visual_side
from xmr.ui.shell import NO_LOSS, Controls
from xmr.workspace import Workspace, style_at
from xmr.workspace.measured import (
    asks_peers,
    captions,
    evidence,
    hard_negatives,
    peers,
    suspects,
    suspects_curve,
    visual_and_text,
)
from xmr.workspace.words import words_of

TITLE = "False negatives"
ID = "false_negatives"

PAGE = 12
BESIDE = ("word_overlap", "near_positive")  # compared with at first: they look at other things than most
# What is listed, by the suspecting selectors; "only" is what the first of them suspects alone.
FILTERS = [
    ("all", "all"),
    ("suspected", "suspected"),
    ("agreed by all", "agreed"),
    ("contested", "contested"),
    ("only the first selector", "only"),
]
TRUTH_FILTERS = [("missed matches", "missed"), ("false alarms", "false")]
EMPTY = {
    "suspected": "None of these negatives is suspected. Move the thresholds, or list all.",
    "agreed": "No pair is suspected by all of these selectors.",
    "contested": "No pair is contested: where one of these selectors suspects, all do.",
    "only": "The first selector suspects no pair that no other does.",
    "missed": "No real match is missed: all of them are suspected.",
    "false": "No false alarm: every suspected pair really matches, as far as is known.",
}

Settings = Mapping[str, Mapping[str, Any]]  # parameters by selector, the first selector first


def filters(workspace: Workspace) -> list[tuple[str, str]]:
    """What can be listed: those that need truth are offered only where there is some."""
    return FILTERS + (TRUTH_FILTERS if workspace.dataset().truth else [])


def ask(
    workspace: Workspace, run: str, split: str, direction: Direction, settings: Settings
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The suspects among the run's hard negatives by selector, and in words which selectors can't judge here."""
    masks, faults = {}, []
    for name, params in settings.items():
        try:
            masks[name] = suspects(workspace, run, split, direction, name, params)
        except (ValueError, OSError) as error:
            faults.append(f"{name} can't judge here: {error}.")
    return masks, faults


def listed_by(listed: str, masks: Mapping[str, np.ndarray], truth: np.ndarray) -> np.ndarray:
    """Which of the pairs are listed under that filter, (P,) bool; "missed" and "false" are of all selectors at once."""
    votes = np.sum(list(masks.values()), axis=0)
    match = truth > 0  # NaN, unknown, is not
    return {
        "suspected": votes > 0,
        "agreed": votes == len(masks),
        "contested": (votes > 0) & (votes < len(masks)),
        "only": (votes == 1) & next(iter(masks.values())),
        "missed": match & (votes == 0),
        "false": (votes > 0) & (truth == 0),
    }.get(listed, np.ones(len(truth), bool))


def show(
    workspace: Workspace,
    run: str,
    split: str,
    direction: Direction,
    settings: Settings,
    listed: str,
    page: int,
) -> tuple[str, dict[str, Any], dict[str, Any], int, str]:
    """The chart with the finding, the table of selectors, one page of cards, the page shown (from 0), and where in
    the list it is."""
    nothing = table([], []), cards([]), 0, ""
    if not run:
        return chart(None, "No run is chosen: pick one above."), *nothing
    try:
        found = hard_negatives(workspace, run, split, direction)
        nearest, near = evidence(workspace, run, split, direction)
    except (ValueError, OSError) as error:
        return chart(None, f"{run} can't be examined: {error}"), *nothing
    if not len(found):
        words = f"{run} pushes no negative on this split: every pair is already where its loss wants it."
        return chart(None, words), table([], []), cards([], "There is nothing to list."), 0, ""
    masks, faults = ask(workspace, run, split, direction, settings)
    if not masks:
        return chart(None, " ".join(faults)), *nothing
    places = np.flatnonzero(listed_by(listed, masks, found.truth))
    page = int(np.clip(page, 0, max(len(places) - 1, 0) // PAGE))
    visuals, texts = visual_and_text(found, direction)
    data = workspace.dataset(split)
    nouns, listing = words_of(data), []
    for i in places[page * PAGE : (page + 1) * PAGE]:
        roles = ("query", "candidate") if direction == "v2t" else ("candidate", "query")
        picture = visual_side(workspace, split, int(visuals[i]), roles[0], own=3)
        caption = text_side(workspace, split, int(texts[i]), roles[1])
        two = (picture, caption) if direction == "v2t" else (caption, picture)
        clue = None
        if nearest[i] >= 0:
            what = f"The {nouns.visual}'s nearest own {nouns.text}, similarity {near[i]:.2f}:"
            clue = (what, data.captions[nearest[i]])
        numbers = [
            ("weight", f"{found.weight[i]:#.3g}"),
            ("score", f"{found.score[i]:.3f}"),
            ("rank", f"{found.rank[i]:,}"),
        ]
        votes = {name: bool(mask[i]) for name, mask in masks.items()}
        truth = None if np.isnan(found.truth[i]) else float(found.truth[i])
        badges = [*vote_badges(votes), *truth_badges(truth, data.truth is not None)]
        listing.append(
            Card(
                f"#{i + 1:,}",
                two,
                numbers,
                badges or [Badge("not annotated", "other")],
                clue,
                vote_words(votes),
            )
        )
    measured = {name: precision_recall(mask, found.truth) for name, mask in masks.items()}
    words = " ".join([findings(run, masks, measured, found.truth), *faults])
    curves = {}
    if next(iter(measured.values())).matches:
        curves = {
            name: suspects_curve(workspace, run, split, direction, name, settings[name])
            for name in masks
            if threshold_of(name)
        }
    drawn = chart(None, words)
    if curves:
        styles = {name: style_at(i) for i, name in enumerate(masks)}
        figure = suspects_figure(curves, measured, styles, f"{run} {split} {direction}")
        rows = [
            (name, f"{curve.parameter} {value:.3g}", _share(one.precision), _share(one.recall))
            for name, curve in curves.items()
            for value, one in zip(curve.values, curve.measured, strict=True)
        ]
        drawn = chart(figure, words, (("selector", "setting", "precision", "recall"), rows))
    last = min((page + 1) * PAGE, len(places))
    where = f"{page * PAGE + 1:,}–{last:,} of {len(places):,}" if len(places) else "none"
    numbers_of = selector_table(masks, measured, captions(workspace, split).source)
    return drawn, numbers_of, cards(listing, EMPTY.get(listed, "")), page, where


def vote_badges(votes: Mapping[str, bool]) -> list[Badge]:
    """Whether one pair is suspected: by how many of the selectors, where there are several."""
    count = sum(votes.values())
    if not count:
        return []
    return [Badge("suspected" if len(votes) == 1 else f"suspected by {count} of {len(votes)}", "suspected")]


def vote_words(votes: Mapping[str, bool]) -> str:
    """Which selectors suspect one pair and which do not; "" where there is only one, or none does."""
    if len(votes) == 1 or not any(votes.values()):
        return ""
    yes, no = ([name for name, said in votes.items() if said == which] for which in (True, False))
    return f"Suspected by {', '.join(yes)}" + (f"; not by {', '.join(no)}" if no else "")


def selector_table(
    masks: Mapping[str, np.ndarray], measured: Mapping[str, PrecisionRecall], source: str
) -> dict[str, Any]:
    """One row per selector: how many it suspects, and how right it is where that is known."""
    columns = [
        ("selector", ""),
        ("suspected", "how many of the hardest negatives"),
        ("precision", "share of the suspected that really match"),
        ("recall", "share of the real matches among them that are suspected"),
        ("F1", "harmonic mean of precision and recall"),
    ]
    rows = [
        (
            name,
            style_at(i),
            [
                f"{int(mask.sum()):,}",
                _share(measured[name].precision),
                _share(measured[name].recall),
                "–" if measured[name].f1 is None else f"{measured[name].f1:.2f}",
            ],
        )
        for i, (name, mask) in enumerate(masks.items())
    ]
    first = next(iter(measured.values()))
    note = f"Similarity between captions: {source}."
    if not first.known:
        note = f"What really matches isn't known here, so precision, recall and F1 aren't either. {note}"
    elif first.unknown:
        note = f"{first.unknown:,} pairs of unknown truth are left out of precision, recall and F1. {note}"
    return table(columns, rows, note)


def findings(
    run: str, masks: Mapping[str, np.ndarray], measured: Mapping[str, PrecisionRecall], truth: np.ndarray
) -> str:
    """What the selectors found among the hardest negatives, and how right they are, as far as is known."""
    first, mask = next(iter(masks.items()))
    one, count = measured[first], len(mask)
    flagged = int(mask.sum())
    text = (
        f"Of the {count:,} negatives that {run} pushes hardest, {flagged:,} ({_share(flagged / count)}) are suspected "
        f"by {first}"
    )
    if one.known and one.precision is not None:
        text += f"; {_share(one.precision)} of those truly match (precision)"
    text += "."
    if one.known:
        surely = "are known to match" if one.unknown else "truly match"
        text += f" {one.matches:,} of the negatives {surely}"
        text += f"; {_share(one.recall)} of them are found (recall)." if one.matches else "."
    else:
        text += " What really matches isn't known here."
    if len(masks) == 1:
        return text
    groups = {kind: listed_by(kind, masks, truth) for kind in ("suspected", "agreed", "contested")}
    text += (
        f" All {len(masks)} selectors agree on {groups['agreed'].sum():,} of the {groups['suspected'].sum():,} pairs "
        f"that any of them suspects; {groups['contested'].sum():,} are contested."
    )
    if one.known:
        right = {kind: precision_recall(group, truth).precision for kind, group in groups.items()}
        if right["agreed"] is not None and right["contested"] is not None:
            text += f" Of the agreed {_share(right['agreed'])} truly match, of the contested {_share(right['contested'])}."
        by_f1 = {name: got.f1 for name, got in measured.items() if got.f1}
        if by_f1:
            best = max(by_f1, key=by_f1.__getitem__)
            text += f" At these settings {best} finds them best (F1 {by_f1[best]:.2f})."
    return text


def about_selector(workspace: Workspace, run: str, selector: str) -> str:
    """The selector's caption, and which runs it asks where it asks some."""
    text = SELECTORS[selector].caption
    if not asks_peers(selector) or not run:
        return text
    others = peers(workspace, run)
    return f"{text} Asked: {', '.join(others)}." if others else f"{text} There is no other run to ask."


def build(workspace: Workspace, controls: Controls) -> None:
    """Lays the tab out and wires it."""
    names = workspace.trained
    start = controls.baseline.value if controls.baseline.value in names else next(iter(names), None)
    beside0 = [name for name in BESIDE if name in SELECTORS and name != DEFAULT]
    combined = [name for name in workspace.runs if name not in names]
    with gr.Row():
        with gr.Column(scale=1, min_width=260):
            run = gr.Dropdown(names, value=start, label="Run", elem_id="fn-run")
            if combined:
                gr.Markdown(NO_LOSS.format(", ".join(combined)))
            selector = gr.Dropdown(list(SELECTORS), value=DEFAULT, label="Selector", elem_id="fn-selector")
            about = gr.Markdown(about_selector(workspace, start or "", DEFAULT), elem_id="fn-about")
            pool = ParamPool(SELECTORS, DEFAULT, prefix="fn")
            beside = gr.Dropdown(
                list(SELECTORS), value=beside0, multiselect=True, label="Compare with", elem_id="fn-beside"
            )
        with gr.Column(scale=4, min_width=320):
            drawn = PlotlyChart(name="Precision against recall of the selectors", elem_id="fn-chart")
            numbers = NumberTable(elem_id="fn-table")
    listed = gr.Radio(filters(workspace), value="all", label="List", elem_id="fn-list")
    with gr.Row(equal_height=True):
        back = gr.Button("Previous", size="sm", scale=0, min_width=110, elem_id="fn-previous")
        forth = gr.Button("Next", size="sm", scale=0, min_width=110, elem_id="fn-next")
        where = gr.Markdown(elem_id="fn-where")
    found = PairCards(elem_id="fn-pairs")
    page = gr.State(0)
    moved = gr.State({})  # parameters that were moved, by selector

    inputs = [
        run,
        controls.split,
        controls.direction,
        selector,
        beside,
        moved,
        listed,
        page,
        *pool.components,
    ]
    outputs = [drawn, numbers, found, page, where]

    def at(move: int | None) -> Callable[..., Any]:
        def handle(
            name: str,
            split: str,
            direction: Direction,
            kind: str,
            others: list[str],
            held: Settings,
            which: str,
            now: int,
            *values: Any,
        ) -> tuple[Any, ...]:
            settings = settings_of(kind, pool.values(kind, values), others, held)
            return show(workspace, name, split, direction, settings, which, 0 if move is None else now + move)

        return handle

    def choose(name: str, kind: str, held: Settings) -> list[Any]:
        return [about_selector(workspace, name, kind), *pool.updates(kind, held.get(kind))]

    def keep(kind: str, held: Settings, *values: Any) -> Settings:
        return {**held, kind: pool.values(kind, values)}

    when_shown(at(None), inputs, outputs, [run, controls.split, controls.direction])
    selector.input(choose, [run, selector, moved], [about, *pool.components], **EVENT).then(
        at(None), inputs, outputs, **EVENT
    )
    run.input(lambda name, kind: about_selector(workspace, name, kind), [run, selector], about, **EVENT)
    latest = EVENT | {"trigger_mode": "always_last"}
    sliders = [component.input for component in pool.components]
    gr.on([listed.input, beside.input, *sliders], at(None), inputs, outputs, **latest)
    gr.on(sliders, keep, [selector, moved, *pool.components], moved, **latest)
    back.click(at(-1), inputs, outputs, **EVENT)
    forth.click(at(1), inputs, outputs, **EVENT)


def settings_of(
    first: str, params: Mapping[str, Any], others: Sequence[str], held: Settings
) -> dict[str, Mapping[str, Any]]:
    """The first selector with these parameters, then the others as they were left, else at their defaults."""
    rest = {name: held.get(name, SELECTORS[name].defaults) for name in others or () if name != first}
    return {first: params, **rest}


def _share(value: float | None) -> str:
    """A share in words; a few of many are not none."""
    if value is None:
        return "–"
    return "under 1%" if 0 < value < 0.005 else f"{value:.0%}"
