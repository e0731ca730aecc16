"""The loss-weights tab: what a loss does to a pair of a given score, and to the pairs of a real batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from xmr.losses import LOSSES
from xmr.ui.batch_maps import HINT, Asked, card_at, choices, loss_of, show_both, show_one
from xmr.ui.components.notice import Notice, sentence, words
from xmr.ui.components.pair_cards import PairCards, cards
from xmr.ui.components.params import ParamPool
from xmr.ui.components.plotly_chart import PlotlyChart
from xmr.ui.components.when_shown import when_shown
from xmr.ui.events import EVENT
from xmr.ui.links import any_text, number, one_of
from xmr.ui.said import refused, warn
from xmr.ui.shell import NO_LOSS, Controls
from xmr.ui.weight_curves import (
    AXES,
    Setting,
    asked_pair,
    cell_of,
    nearest_cell,
    params_text,
    point_of,
    read_params,
    setting_or_default,
    show_comparison,
    show_curve,
)
from xmr.workspace import Workspace
from xmr.workspace.measured import OTHERS

TITLE = "Loss weights"
ID = "weights"

BATCH = 8  # inputs that say which batch of what


def asked(workspace: Workspace, of: Sequence[Any], hyper: Mapping[str, Any]) -> Asked:
    """What the components of a batch ask for; a pair that the split doesn't have is left out."""
    picked, beside, split, base, seed, count, visual, text = of
    try:
        pair = asked_pair(workspace, split, visual, text)
    except (ValueError, OSError):
        pair = None
    return Asked(picked, hyper, beside or "", split, base, seed, count, pair)


def draw_maps(workspace: Workspace, what: Asked, colour: str) -> tuple[Any, ...]:
    """The maps of a batch, of one loss or of two: new values of matrix, words, second map, difference and their columns."""
    if not what.other:
        hidden = gr.Column(visible=False)
        return show_one(workspace, what, colour), Notice("", visible=False), None, None, hidden, hidden
    words, a, b, gap = show_both(workspace, what, colour)
    beside = gr.Column(visible=True)
    return a, Notice(sentence(words), visible=True), b, gap, beside, beside


def build(workspace: Workspace, controls: Controls) -> None:
    """Lays the tab out and wires it."""
    offered = choices(workspace)
    start = next((c for _, c in offered if c == f"run {controls.baseline.value}"), offered[0][1])
    loss, values, owner = loss_of(workspace, start)
    usual0 = setting_or_default(workspace, owner, "test")
    with gr.Row():
        with gr.Column(scale=1, min_width=260):
            choice = gr.Dropdown(offered, value=start, label="Loss", elem_id="weights-choice")
            if combined := [name for name in workspace.runs if name not in workspace.trained]:
                Notice(words(NO_LOSS.format(", ".join(combined))))
            about = Notice(words(LOSSES[loss].caption), elem_id="weights-about")
            pool = ParamPool(LOSSES, loss, values, prefix="weights")
            reset = gr.Button("Back to these values", size="sm", elem_id="weights-reset")
            with gr.Accordion("The query of the curves", open=False):
                positive, top = (
                    gr.Slider(usual0.low, usual0.high, at, step=0.01, label=label, elem_id=f"weights-{name}")
                    for name, label, at in (
                        ("positive", "score of its positive", usual0.positive),
                        ("top", "score of its hardest other negative", usual0.hardest),
                    )
                )
                gr.Markdown(
                    f"{OTHERS} other negatives lie below, as widely spread as the run's own. Weights are those of this query "
                    "alone, found by automatic differentiation."
                )
        with gr.Column(scale=3, min_width=320):
            one = PlotlyChart(name="Weight against similarity", elem_id="weights-curve")
        with gr.Column(scale=3, min_width=320):
            all_runs = PlotlyChart(name="Weight of a negative, all chosen runs", elem_id="weights-comparison")
            along = gr.Radio(
                [(text, name) for name, text in AXES.items()],
                value="score",
                label="Axis of the negatives",
                container=False,
                show_label=False,
                elem_id="weights-axis",
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
        clear = gr.Button(
            "Clear the pair asked for", size="sm", min_width=160, visible=False, elem_id="weights-clear"
        )
    gr.Markdown(
        "Weights are d loss / d score of this batch's loss, the mean over its queries of both directions. Orange pairs are pushed apart, green ones "
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
            card = PairCards(cards([], HINT), elem_id="weights-pair")

    filled = gr.State("")  # what the sliders were last filled for: choice, split, and a link's values
    links = controls.links
    for key, component, check in (
        ("loss", choice, one_of("loss", [value for _, value in offered])),
        ("beside", other, one_of("loss", [value for _, value in offered])),
        ("colour", shown, one_of("colour", ["weights", "scores"])),
        ("batch", size, number("batch", 4, 64)),
        ("seed", seed, number("seed", 0, 2**31)),
        ("axis", along, one_of("axis", AXES)),
    ):
        links.keep(key, component, check, ID)
    pair = [links.hidden(key, any_text, ID) for key in ("pair_visual", "pair_text")]
    cell = links.hidden("cell", any_text, ID)
    moved_to = links.hidden("params", any_text, ID)
    setting_sliders = [positive, top]
    sliders = [*pool.components, *setting_sliders]
    of_batch = [choice, other, controls.split, controls.baseline, seed, size, *pair]
    maps = [matrix, differ, matrix_b, difference, second, third]

    def usual_of(picked: str, split: str) -> Setting:
        return setting_or_default(workspace, loss_of(workspace, picked)[2], split)

    def read(of: Sequence[Any], held: Sequence[Any]) -> tuple[dict[str, Any], Setting]:
        """The parameters and the curve's query that the sliders hold, of that choice and split."""
        *values, at, hardest = held
        query = usual_of(of[0], of[2]).at(float(at or 0), float(hardest or 0))
        return pool.values(loss_of(workspace, of[0])[0], values), query

    def keeping(of: Sequence[Any], held: Sequence[Any]) -> str:
        """What a link says of moved sliders."""
        return params_text(workspace, of[0], *read(of, held), usual_of(of[0], of[2]))

    def places_of(query: Setting) -> tuple[Any, Any]:
        """The curve's sliders at this query, over the range of its run's scores."""
        ends = {"minimum": query.low, "maximum": query.high}
        return gr.Slider(value=query.positive, **ends), gr.Slider(value=query.hardest, **ends)

    def batch_maps(*values: Any) -> tuple[Any, ...]:
        of, (colour, at), held = values[:BATCH], values[BATCH : BATCH + 2], values[BATCH + 2 :]
        what = asked(workspace, of, read(of, held)[0])
        return *draw_maps(workspace, what, colour), card_at(workspace, what, cell_of(at))

    def another_batch(*values: Any) -> tuple[Any, ...]:
        """Of another size or seed: the pair that was asked for stays, its place and every other cell go."""
        *drawn, _ = batch_maps(*values[: BATCH + 1], "", *values[BATCH + 2 :])
        return *drawn, cards([], HINT), ""

    def without_pair(*values: Any) -> tuple[Any, ...]:
        return *another_batch(*values[: BATCH - 2], "", "", *values[BATCH:]), "", "", gr.Button(visible=False)

    def moved(*values: Any) -> tuple[Any, ...]:
        """Everything that a parameter of the loss changes, the shown pair's weight among it."""
        of, (colour, at), held = values[:BATCH], values[BATCH : BATCH + 2], values[BATCH + 2 :]
        curve = show_curve(workspace, of[0], *read(of, held))
        return curve, *batch_maps(*of, colour, at, *held), keeping(of, held)

    def places(*values: Any) -> tuple[str, str]:
        of, held = values[:BATCH], values[BATCH:]
        return show_curve(workspace, of[0], *read(of, held)), keeping(of, held)

    def everything(*values: Any) -> tuple[Any, ...]:
        """All charts; the sliders too where another loss, split or link's values came since they were filled."""
        of, (colour, at, names, how, last, said), held = (
            values[:BATCH],
            values[BATCH : BATCH + 6],
            values[BATCH + 6 :],
        )
        picked, split = of[0], of[2]
        hyper, query = read(of, held)
        updates: tuple[Any, ...] = tuple(gr.skip() for _ in (*sliders, about, reset))
        now = f"{picked} {split}"
        # What this tab wrote itself is what the sliders hold already.
        same = last == now and said == keeping(of, held)
        if not same:
            name, trained, owner = loss_of(workspace, picked)
            usual = usual_of(picked, split)
            hyper, query, faults = read_params(said, picked, name, trained, usual)
            for fault in faults:
                warn(fault, "Left out of this link")
            label = "Back to the trained values" if owner else "Back to the defaults"
            updates = (*pool.updates(name, hyper), *places_of(query), words(LOSSES[name].caption), label)
            said = params_text(workspace, picked, hyper, query, usual)
        what = asked(workspace, of, hyper)
        if not what.pair and any(of[-2:]) and last != now:
            warn(
                f"The {split} split has no such pair: {of[-2][:80]} with {of[-1][:80]}.",
                "Another batch is shown",
            )
        if what.pair and not cell_of(at):
            at = "0,0" if workspace.dataset(split).visual_of_text[what.pair[1]] == what.pair[0] else "0,1"
        elif last and last != now:  # another loss shows the same batch, another split other pairs
            at = at if last.rsplit(" ", 1)[-1] == split else ""
        return (
            show_curve(workspace, picked, hyper, query),
            show_comparison(workspace, names, split, how),
            *draw_maps(workspace, what, colour),
            card_at(workspace, what, cell_of(at)),
            now,
            at,
            said,
            gr.Button(visible=any(of[-2:])),
            *updates,
        )

    def back(picked: str, split: str) -> tuple[Any, ...]:
        name, trained, _ = loss_of(workspace, picked)
        return (*pool.updates(name, trained), *places_of(usual_of(picked, split)))

    def clicked(event: gr.EventData, *values: Any) -> tuple[Any, ...]:
        data = event._data if isinstance(event._data, dict) else {}
        at = data.get("row"), data.get("column")
        if any(type(place) is not int for place in at):
            raise refused("That pair is not in this batch.", title="Pair not found")
        what = asked(workspace, values[:BATCH], read(values[:BATCH], values[BATCH:])[0])
        return card_at(workspace, what, at), f"{at[0]},{at[1]}"

    def near(event: gr.EventData, *values: Any) -> tuple[Any, ...]:
        """The pair of the batch that stands nearest to a point of a curve; of another run's curve, under that run."""
        run, x, positive = point_of(event._data, workspace)
        of, held = list(values[:BATCH]), values[BATCH:]
        hyper = read(of, held)[0]
        if run:
            of[:2] = f"run {run}", ""
            hyper = loss_of(workspace, of[0])[1]
        what = asked(workspace, of, hyper)
        try:
            at = nearest_cell(workspace, what, x, positive)
        except (ValueError, OSError) as error:
            raise refused(str(error), title="Pair not found") from error
        if at is None:
            return cards([], "This batch has no such pair."), gr.skip()
        return card_at(workspace, what, at), f"{at[0]},{at[1]}"

    after = [one, all_runs, *maps, card]
    when_shown(
        everything,
        [*of_batch, shown, cell, controls.runs, along, filled, moved_to, *sliders],
        [*after, filled, cell, moved_to, clear, *sliders, about, reset],
        [choice, controls.split, controls.runs, controls.baseline],
        controls.idle,
    )
    latest = EVENT | {"trigger_mode": "always_last"}
    of_maps = [*of_batch, shown, cell, *sliders]
    after_move, of_curve = [one, *maps, card, moved_to], [*of_batch, *sliders]
    gr.on([part.input for part in pool.components], moved, of_maps, after_move, **latest)
    gr.on([part.input for part in setting_sliders], places, of_curve, [one, moved_to], **latest)
    along.change(
        lambda *asked_for: show_comparison(workspace, *asked_for),
        [controls.runs, controls.split, along],
        all_runs,
        **latest,
    )
    reset.click(back, [choice, controls.split], sliders, **EVENT).then(
        moved, of_maps, after_move, **EVENT
    ).then(places, of_curve, [one, moved_to], **EVENT)
    gr.on([shown.input, other.change], batch_maps, of_maps, [*maps, card], **latest)
    gr.on([size.change, seed.change], another_batch, of_maps, [*maps, card, cell], **latest)
    clear.click(without_pair, of_maps, [*maps, card, cell, *pair, clear], **EVENT)
    another.click(lambda number: int(number or 0) + 1, seed, seed, **EVENT)
    for heat in (matrix, matrix_b, difference):
        heat.select(clicked, [*of_batch, *sliders], [card, cell], **EVENT)
    for curve in (one, all_runs):
        curve.select(near, [*of_batch, *sliders], [card, cell], **EVENT)
