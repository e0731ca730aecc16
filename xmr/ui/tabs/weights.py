"""The loss-weights tab: what a loss does to a pair of a given score, and to the pairs of a real batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr
import numpy as np

from xmr.analysis import WeightCurve, typical_negatives, weight_curve
from xmr.figures import (
    GREEN,
    ORANGE,
    Mark,
    weight_comparison_figure,
    weight_comparison_words,
    weight_figure,
    weight_words,
)
from xmr.losses import LOSSES
from xmr.ui.batch_maps import Asked, choices, loss_of, show_both, show_cell, show_one
from xmr.ui.components.notice import Notice, sentence
from xmr.ui.components.pair_cards import PairCards, cards
from xmr.ui.components.params import ParamPool
from xmr.ui.components.plotly_chart import PlotlyChart, chart
from xmr.ui.components.when_shown import when_shown
from xmr.ui.events import EVENT
from xmr.ui.shell import NO_LOSS, Controls, chosen, side_by_side
from xmr.workspace import Workspace
from xmr.workspace.measured import batch, effective, loss_of_run

TITLE = "Loss weights"
ID = "weights"

OTHERS, SPREAD = 31, 0.15  # other negatives of the curve's query, and the deviation of their scores
SETTING = (0.6, 0.4)  # scores of the positive and of the hardest other negative, before a run tells its own
BATCH = 6  # inputs that say which batch of what
HINT = "Click a cell to see the two items."


def setting(workspace: Workspace, run: str, split: str) -> tuple[float, float]:
    """Median scores of the positives and of the hardest negatives in a batch of the run."""
    if not run:
        return SETTING
    loss = loss_of_run(workspace, run)
    pairs, _, _ = batch(workspace, run, split, loss, effective(workspace, run), seed=0, size=64)
    hardest = np.where(pairs.negatives, pairs.scores, -np.inf).max(1)
    hardest = hardest[np.isfinite(hardest)]
    if not len(hardest):
        return SETTING
    return round(float(np.median(pairs.scores[pairs.positives])), 2), round(float(np.median(hardest)), 2)


def curve(loss: str, hyper: Mapping[str, Any], positive: float, top: float) -> WeightCurve:
    """The curve of a query whose other negatives stand as in a batch, the hardest of them at `top`."""
    return weight_curve(loss, hyper, positive=positive, others=typical_negatives(OTHERS, top, SPREAD))


def show_curve(workspace: Workspace, choice: str, hyper: dict[str, Any], positive: float, top: float) -> str:
    """The chart of the chosen loss with these values, the values as trained behind it where they differ."""
    loss, trained, _ = loss_of(workspace, choice)
    now = curve(loss, hyper, positive, top)
    moved = any(
        abs(hyper[name] - trained[name]) > 1e-4 * max(1, abs(trained[name])) for name in _numbers(trained)
    )
    before = curve(loss, trained, positive, top) if moved else None
    figure = weight_figure(now, before, _marks(positive, top))
    figure.update_layout(uirevision=choice)
    every = slice(None, None, 6)
    rows = [
        (f"{s:.2f}", f"{n:.4g}", f"{p:.4g}")
        for s, n, p in zip(now.scores[every], now.negative[every], now.positive[every], strict=True)
    ]
    return chart(figure, weight_words(loss, now), (("similarity", "a negative", "the positive"), rows))


def show_comparison(workspace: Workspace, runs: list[str], positive: float, top: float) -> str:
    """The chart of the chosen runs' losses, each with its values as trained, in the same setting."""
    known, _ = chosen(workspace, runs, None)
    combined = [name for name in known if name not in workspace.trained]
    runs, left_out = side_by_side([name for name in known if name in workspace.trained])
    if combined:
        left_out += f" {NO_LOSS.format(', '.join(combined))}"
    if not runs:
        return chart(None, left_out.strip() or "No run is chosen: pick one under Runs in the sidebar.")
    curves = {
        name: curve(loss_of_run(workspace, name), effective(workspace, name), positive, top) for name in runs
    }
    styles = {name: workspace.style(name) for name in runs}
    figure = weight_comparison_figure(curves, styles, _marks(positive, top))
    figure.update_layout(uirevision="comparison")
    first = next(iter(curves.values()))
    rows = [
        [
            f"{s:.2f}",
            *(f"{100 * c.negative[i] / max(abs(c.negative).max(), 1e-12):.0f}%" for c in curves.values()),
        ]
        for i, s in enumerate(first.scores)
        if i % 6 == 0
    ]
    words = f"{weight_comparison_words(curves)} {left_out.strip()}".strip()
    return chart(figure, words, (("similarity", *curves), rows))


def build(workspace: Workspace, controls: Controls) -> None:
    """Lays the tab out and wires it."""
    offered = choices(workspace)
    start = next((c for _, c in offered if c == f"run {controls.baseline.value}"), offered[0][1])
    loss, values, _ = loss_of(workspace, start)
    positive0, top0 = SETTING
    with gr.Row():
        with gr.Column(scale=1, min_width=260):
            choice = gr.Dropdown(offered, value=start, label="Loss", elem_id="weights-choice")
            if combined := [name for name in workspace.runs if name not in workspace.trained]:
                gr.Markdown(NO_LOSS.format(", ".join(combined)))
            about = gr.Markdown(LOSSES[loss].caption, elem_id="weights-about")
            pool = ParamPool(LOSSES, loss, values, prefix="weights")
            reset = gr.Button("Back to these values", size="sm", elem_id="weights-reset")
            with gr.Accordion("The query of the curves", open=False):
                positive = gr.Slider(
                    -1, 1, positive0, step=0.01, label="score of its positive", elem_id="weights-positive"
                )
                top = gr.Slider(
                    -1, 1, top0, step=0.01, label="score of its hardest other negative", elem_id="weights-top"
                )
                gr.Markdown(
                    f"{OTHERS} other negatives lie below, normally spread (deviation {SPREAD}). Weights are those of this "
                    "query alone, found by automatic differentiation."
                )
        with gr.Column(scale=3, min_width=320):
            one = PlotlyChart(name="Weight against similarity", elem_id="weights-curve")
        with gr.Column(scale=3, min_width=320):
            all_runs = PlotlyChart(
                name="Weight against similarity, all chosen runs", elem_id="weights-comparison"
            )
    gr.Markdown("### A real batch")
    with gr.Row():
        other = gr.Dropdown(
            [("nothing", ""), *offered],
            value="",
            label="Compare with",
            min_width=220,
            elem_id="weights-other",
        )
        shown = gr.Radio(
            ["weights", "scores"], value="weights", label="Colour", min_width=180, elem_id="weights-show"
        )
        size = gr.Slider(4, 64, 32, step=4, label="pairs", min_width=200, elem_id="weights-size")
        seed = gr.Number(
            0, precision=0, minimum=0, label="seed of the batch", min_width=120, elem_id="weights-seed"
        )
        another = gr.Button("Another batch", size="sm", min_width=120, elem_id="weights-another")
    gr.Markdown(
        "Weights are d loss / d score of the mean over both directions. Orange pairs are pushed apart, green ones "
        "pulled together. Squares mark annotated matches, diamonds suspected false negatives"
        + (", circles pairs that truly match." if workspace.dataset().truth else ".")
    )
    differ = Notice("", elem_id="weights-difference-words", visible=False)
    with gr.Row():
        with gr.Column(scale=5, min_width=310):
            matrix = PlotlyChart(name="Weights of a batch", elem_id="weights-matrix")
        with gr.Column(scale=5, min_width=310, visible=False) as second:
            matrix_b = PlotlyChart(name="The same batch in the other loss", elem_id="weights-matrix-b")
        with gr.Column(scale=5, min_width=310, visible=False) as third:
            difference = PlotlyChart(name="Difference of the two", elem_id="weights-difference")
        with gr.Column(scale=3, min_width=310):
            pair = PairCards(cards([], HINT), elem_id="weights-pair")

    filled = gr.State("")  # the choice and split that the sliders were last filled for
    cell = gr.State(None)  # row and column of the pair that is shown
    setting_sliders = [positive, top]
    sliders = [*pool.components, *setting_sliders]
    of_batch = [choice, other, controls.split, controls.baseline, seed, size]
    maps = [matrix, differ, matrix_b, difference, second, third]

    def read(picked: str, held: Sequence[Any]) -> tuple[dict[str, Any], float, float]:
        *values, at, hardest = held
        return pool.values(loss_of(workspace, picked)[0], values), float(at or 0), float(hardest or 0)

    def asked(of: Sequence[Any], hyper: Mapping[str, Any]) -> Asked:
        picked, beside, split, base, number, count = of
        return Asked(picked, hyper, beside or "", split, base, number, count)

    def curves(picked: str, names: list[str], *held: Any) -> tuple[str, str]:
        hyper, at, hardest = read(picked, held)
        return show_curve(workspace, picked, hyper, at, hardest), show_comparison(
            workspace, names, at, hardest
        )

    def drawn(what: Asked, colour: str) -> tuple[Any, ...]:
        """New values of `maps`."""
        if not what.other:
            hidden = gr.Column(visible=False)
            return show_one(workspace, what, colour), Notice("", visible=False), None, None, hidden, hidden
        words, a, b, gap = show_both(workspace, what, colour)
        beside = gr.Column(visible=True)
        return a, Notice(sentence(words), visible=True), b, gap, beside, beside

    def card_at(what: Asked, at: Any) -> dict[str, Any]:
        try:
            return show_cell(workspace, what, *at)
        except IndexError as error:
            raise gr.Error(str(error), title="Pair not found") from error
        except (ValueError, OSError):  # the chart says why
            return cards([], HINT)

    def batch_maps(*values: Any) -> tuple[Any, ...]:
        of, (colour, at), held = values[:BATCH], values[BATCH : BATCH + 2], values[BATCH + 2 :]
        what = asked(of, read(of[0], held)[0])
        return *drawn(what, colour), card_at(what, at) if at else gr.skip()

    def another_batch(*values: Any) -> tuple[Any, ...]:
        of, (colour, _), held = values[:BATCH], values[BATCH : BATCH + 2], values[BATCH + 2 :]
        return *drawn(asked(of, read(of[0], held)[0]), colour), cards([], HINT), None

    def moved(*values: Any) -> tuple[Any, ...]:
        """Everything that a parameter of the loss changes, the shown pair's weight among it."""
        of, (colour, at, names), held = values[:BATCH], values[BATCH : BATCH + 3], values[BATCH + 3 :]
        return *curves(of[0], names, *held), *batch_maps(*of, colour, at, *held)

    def everything(*values: Any) -> tuple[Any, ...]:
        """All charts; the sliders too where another loss or split was chosen since they were filled."""
        of, (colour, at, names, last), held = values[:BATCH], values[BATCH : BATCH + 4], values[BATCH + 4 :]
        picked, split = of[0], of[2]
        hyper, own, hardest = read(picked, held)
        updates: tuple[Any, ...] = tuple(gr.skip() for _ in (*sliders, about, reset))
        same = last == f"{picked} {split}"
        if not same:
            name, trained, owner = loss_of(workspace, picked)
            own, hardest = _setting_or_default(workspace, owner, split)
            if last.rsplit(" ", 1)[0] != picked:
                hyper = trained
            label = "Back to the trained values" if owner else "Back to the defaults"
            updates = (*pool.updates(name, hyper), own, hardest, LOSSES[name].caption, label)
        what = asked(of, hyper)
        return (
            show_curve(workspace, picked, hyper, own, hardest),
            show_comparison(workspace, names, own, hardest),
            *drawn(what, colour),
            card_at(what, at) if same and at else cards([], HINT),
            f"{picked} {split}",
            at if same else None,
            *updates,
        )

    def back(picked: str, split: str) -> tuple[Any, ...]:
        name, trained, owner = loss_of(workspace, picked)
        return (*pool.updates(name, trained), *_setting_or_default(workspace, owner, split))

    def clicked(event: gr.EventData, *values: Any) -> tuple[Any, ...]:
        data = event._data if isinstance(event._data, dict) else {}
        at = data.get("row"), data.get("column")
        if any(type(place) is not int for place in at):
            raise gr.Error("That pair is not in this batch.", title="Pair not found")
        of, held = values[:BATCH], values[BATCH:]
        return card_at(asked(of, read(of[0], held)[0]), at), at

    when_shown(
        everything,
        [*of_batch, shown, cell, controls.runs, filled, *sliders],
        [one, all_runs, *maps, pair, filled, cell, *sliders, about, reset],
        [choice, controls.split, controls.runs, controls.baseline],
    )
    latest = EVENT | {"trigger_mode": "always_last"}
    after_move = [*of_batch, shown, cell, controls.runs, *sliders]
    of_maps = [*of_batch, shown, cell, *sliders]
    by_loss = [component.input for component in pool.components]
    gr.on(by_loss, moved, after_move, [one, all_runs, *maps, pair], **latest)
    by_setting = [component.input for component in setting_sliders]
    gr.on(by_setting, curves, [choice, controls.runs, *sliders], [one, all_runs], **latest)
    reset.click(back, [choice, controls.split], sliders, **EVENT).then(
        moved, after_move, [one, all_runs, *maps, pair], **EVENT
    )
    gr.on([shown.input, other.input], batch_maps, of_maps, [*maps, pair], **latest)
    gr.on([size.input, seed.change], another_batch, of_maps, [*maps, pair, cell], **latest)
    another.click(lambda number: int(number or 0) + 1, seed, seed, **EVENT)
    for heat in (matrix, matrix_b, difference):
        heat.select(clicked, [*of_batch, *sliders], [pair, cell], **EVENT)


def _setting_or_default(workspace: Workspace, run: str, split: str) -> tuple[float, float]:
    try:
        return setting(workspace, run, split)
    except (ValueError, OSError):  # the chart of the batch says why
        return SETTING


def _numbers(values: Mapping[str, Any]) -> list[str]:
    return [name for name, value in values.items() if isinstance(value, int | float)]


def _marks(positive: float, top: float) -> list[Mark]:
    return [Mark(positive, "its positive", GREEN), Mark(top, "hardest other", ORANGE)]
