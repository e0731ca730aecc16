"""The loss-weights tab: what a loss does to a pair of a given score, and to the pairs of a real batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr
import numpy as np

from xmr.analysis import WeightCurve, typical_negatives, weight_curve
from xmr.core import PairWeights
from xmr.figures import (
    GREEN,
    ORANGE,
    Mark,
    matrix_figure,
    matrix_words,
    weight_comparison_figure,
    weight_comparison_words,
    weight_figure,
    weight_words,
)
from xmr.losses import LOSSES
from xmr.registry import UnknownName
from xmr.ui.components.pair_cards import Badge, Card, PairCards, cards
from xmr.ui.components.params import ParamPool
from xmr.ui.components.plotly_chart import PlotlyChart, chart
from xmr.ui.components.when_shown import when_shown
from xmr.ui.measured import batch, effective, text_side, truth_of, visual_side
from xmr.ui.shell import EVENT, Controls, chosen
from xmr.workspace import Workspace

TITLE = "Loss weights"
ID = "weights"

OTHERS, SPREAD = 31, 0.15  # other negatives of the curve's query, and the deviation of their scores
SETTING = (0.6, 0.4)  # scores of the positive and of the hardest other negative, before a run tells its own
MAX_BATCH = 256
HINT = "Click a cell to see the two items."


def choices(workspace: Workspace) -> list[tuple[str, str]]:
    """What the weights can be shown of: every run with its loss as trained, then every loss by itself."""
    runs = [(f"{name} (as trained)", f"run {name}") for name in workspace.runs]
    return runs + [(f"{name} (any values)", f"loss {name}") for name in LOSSES]


def loss_of(workspace: Workspace, choice: str) -> tuple[str, dict[str, Any], str]:
    """Of a choice: the loss, its values as trained (else the defaults), and the run ("" where it is a loss)."""
    kind, name = choice.split(" ", 1)
    if kind == "run":
        return workspace.run(name).config.loss, effective(workspace, name), name
    return name, LOSSES[name].defaults, ""


def setting(workspace: Workspace, run: str, split: str) -> tuple[float, float]:
    """Median scores of the positives and of the hardest negatives in a batch of the run."""
    if not run:
        return SETTING
    loss = workspace.run(run).config.loss
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
    runs, _ = chosen(workspace, runs, None)
    if not runs:
        return chart(None, "No run is chosen: tick one under Runs in the sidebar.")
    curves = {
        name: curve(workspace.run(name).config.loss, effective(workspace, name), positive, top)
        for name in runs
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
    return chart(figure, weight_comparison_words(curves), (("similarity", *curves), rows))


def measured(
    workspace: Workspace, choice: str, hyper: dict[str, Any], split: str, baseline: str, seed: int, size: int
) -> tuple[PairWeights, np.ndarray, np.ndarray, str]:
    """The batch of the chosen run (of the baseline where a loss alone is chosen) in the loss with these values."""
    loss, _, run = loss_of(workspace, choice)
    owner = run or chosen(workspace, list(workspace.runs), baseline)[1]
    seed, size = max(int(seed or 0), 0), int(np.clip(size or 2, 2, 64))
    return (*batch(workspace, owner, split, loss, hyper, seed, size), owner)


def show_matrix(
    workspace: Workspace,
    choice: str,
    hyper: dict[str, Any],
    split: str,
    baseline: str,
    seed: int,
    size: int,
    show: str,
) -> str:
    """The heat map of the batch, and in words how its push is spread."""
    try:
        pairs, visuals, texts, owner = measured(workspace, choice, hyper, split, baseline, seed, size)
    except (ValueError, OSError) as error:
        return chart(None, f"This batch can't be weighed: {error}")
    kind = workspace.dataset(split).kind
    truth = workspace.truth(split, "v2t", visuals, texts)
    unannotated = None if truth is None else (truth > 0) & ~pairs.positives  # NaN, unknown, is not
    figure = matrix_figure(pairs, show, f"{owner} {split} {seed} {size}", kind, unannotated)
    loss, _, run = loss_of(workspace, choice)
    whose = f"Pairs of {owner}" + ("" if run else f", weighed by {loss}")
    return chart(figure, f"{whose}. {matrix_words(pairs, kind, unannotated)}")


def show_cell(
    workspace: Workspace,
    choice: str,
    hyper: dict[str, Any],
    split: str,
    baseline: str,
    seed: int,
    size: int,
    row: int,
    column: int,
) -> dict[str, Any]:
    """The card of one pair of the batch. Raises gr.Error where the batch has no such cell."""
    pairs, visuals, texts, _ = measured(workspace, choice, hyper, split, baseline, seed, size)
    if not (0 <= row < len(visuals) and 0 <= column < len(texts)):
        raise gr.Error("That pair is not in this batch any more.", title="Pair not found")
    visual, text = int(visuals[row]), int(texts[column])
    kind = workspace.dataset(split).kind
    carried = np.where(pairs.negatives[row], pairs.weights[row], 0).clip(min=0)
    weight = float(pairs.weights[row, column])
    numbers = [("score", f"{pairs.scores[row, column]:.3f}"), ("weight", f"{weight:+#.3g}")]
    if pairs.negatives[row, column] and carried.sum() > 0:
        numbers.append((f"share of this {kind}'s push", f"{carried[column] / carried.sum():.0%}"))
    badges = pair_badges(
        bool(pairs.positives[row, column]),
        bool(pairs.suspected[row, column]),
        truth_of(workspace, split, visual, text),
        workspace.dataset(split).truth is not None,
    )
    if not pairs.positives[row, column] and not pairs.negatives[row, column]:
        badges.append(Badge("ignored by the loss", "other"))
    two = (visual_side(workspace, split, visual, kind), text_side(workspace, split, text, "caption"))
    return cards([Card(f"{kind} {row + 1}, caption {column + 1}", two, numbers, badges)])


def pair_badges(annotated: bool, suspected: bool, truth: float | None, known: bool) -> list[Badge]:
    """What is known of a pair, in words; `known` says whether the dataset knows any truth."""
    if annotated:
        return [Badge("annotated match", "own")]
    badges = [Badge("suspected", "suspected")] if suspected else []
    if truth is not None:
        return [*badges, Badge("truly matches", "match") if truth > 0 else Badge("not a match", "other")]
    return (
        [*badges, Badge("truth not known", "other")] if known else badges or [Badge("not annotated", "other")]
    )


def build(workspace: Workspace, controls: Controls) -> None:
    """Lays the tab out and wires it."""
    start = f"run {controls.baseline.value}"
    loss, values, _ = loss_of(workspace, start)
    positive0, top0 = SETTING
    with gr.Row():
        with gr.Column(scale=1, min_width=260):
            choice = gr.Dropdown(choices(workspace), value=start, label="Loss", elem_id="weights-choice")
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
        with gr.Column(scale=1, min_width=260):
            shown = gr.Radio(["weights", "scores"], value="weights", label="Colour", elem_id="weights-show")
            size = gr.Slider(4, 64, 32, step=4, label="pairs in the batch", elem_id="weights-size")
            seed = gr.Number(0, precision=0, minimum=0, label="seed of the batch", elem_id="weights-seed")
            another = gr.Button("Another batch", size="sm", elem_id="weights-another")
            gr.Markdown(
                "Weights are d loss / d score of the mean over both directions. Orange pairs are pushed apart, green ones "
                "pulled together. Squares mark annotated matches, diamonds suspected false negatives"
                + (", circles pairs that truly match." if workspace.dataset().truth else ".")
            )
        with gr.Column(scale=5, min_width=320):
            matrix = PlotlyChart(name="Weights of a batch", elem_id="weights-matrix")
        with gr.Column(scale=3, min_width=320):
            pair = PairCards(cards([], HINT), elem_id="weights-pair")

    filled = gr.State("")  # the choice and split that the sliders were last filled for
    cell = gr.State(None)  # row and column of the pair that is shown
    setting_sliders = [positive, top]
    sliders = [*pool.components, *setting_sliders]
    of_batch = [choice, controls.split, controls.baseline, seed, size]

    def read(picked: str, held: tuple[Any, ...]) -> tuple[dict[str, Any], float, float]:
        *values, at, hardest = held
        return pool.values(loss_of(workspace, picked)[0], values), float(at or 0), float(hardest or 0)

    def curves(picked: str, names: list[str], *held: Any) -> tuple[str, str]:
        hyper, at, hardest = read(picked, held)
        return show_curve(workspace, picked, hyper, at, hardest), show_comparison(
            workspace, names, at, hardest
        )

    def batch_map(
        picked: str, split: str, base: str, number: int, count: int, colour: str, *held: Any
    ) -> str:
        return show_matrix(workspace, picked, read(picked, held)[0], split, base, number, count, colour)

    def another_batch(*values: Any) -> tuple[Any, ...]:
        return batch_map(*values), cards([], HINT), None

    def moved(
        picked: str,
        split: str,
        base: str,
        number: int,
        count: int,
        colour: str,
        at: Any,
        names: list[str],
        *held: Any,
    ) -> tuple[Any, ...]:
        """Everything that a parameter of the loss changes, the shown pair's weight among it."""
        hyper = read(picked, held)[0]
        card = gr.skip()
        if at is not None:
            card = show_cell(workspace, picked, hyper, split, base, number, count, *at)
        drawn = batch_map(picked, split, base, number, count, colour, *held)
        return (*curves(picked, names, *held), drawn, card)

    def everything(
        picked: str,
        split: str,
        base: str,
        number: int,
        count: int,
        colour: str,
        names: list[str],
        last: str,
        at: Any,
        *held: Any,
    ) -> tuple[Any, ...]:
        """All charts; the sliders too where another loss or split was chosen since they were filled."""
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
        return (
            show_curve(workspace, picked, hyper, own, hardest),
            show_comparison(workspace, names, own, hardest),
            show_matrix(workspace, picked, hyper, split, base, number, count, colour),
            gr.skip() if same and at else cards([], HINT),
            f"{picked} {split}",
            at if same else None,
            *updates,
        )

    def back(picked: str, split: str) -> tuple[Any, ...]:
        name, trained, owner = loss_of(workspace, picked)
        return (*pool.updates(name, trained), *_setting_or_default(workspace, owner, split))

    def clicked(
        event: gr.EventData, picked: str, split: str, base: str, number: int, count: int, *held: Any
    ) -> tuple[Any, ...]:
        data = event._data if isinstance(event._data, dict) else {}
        at = data.get("row"), data.get("column")
        if any(type(place) is not int for place in at):
            raise gr.Error("That pair is not in this batch.", title="Pair not found")
        return show_cell(workspace, picked, read(picked, held)[0], split, base, number, count, *at), at

    when_shown(
        everything,
        [*of_batch, shown, controls.runs, filled, cell, *sliders],
        [one, all_runs, matrix, pair, filled, cell, *sliders, about, reset],
        [choice, controls.split, controls.runs, controls.baseline],
    )
    latest = EVENT | {"trigger_mode": "always_last"}
    after_move = [*of_batch, shown, cell, controls.runs, *sliders]
    by_loss = [component.input for component in pool.components]
    gr.on(by_loss, moved, after_move, [one, all_runs, matrix, pair], **latest)
    by_setting = [component.input for component in setting_sliders]
    gr.on(by_setting, curves, [choice, controls.runs, *sliders], [one, all_runs], **latest)
    reset.click(back, [choice, controls.split], sliders, **EVENT).then(
        moved, after_move, [one, all_runs, matrix, pair], **EVENT
    )
    shown.input(batch_map, [*of_batch, shown, *sliders], matrix, **latest)
    gr.on(
        [size.input, seed.change], another_batch, [*of_batch, shown, *sliders], [matrix, pair, cell], **latest
    )
    another.click(lambda number: int(number or 0) + 1, seed, seed, **EVENT)
    matrix.select(clicked, [*of_batch, *sliders], [pair, cell], **EVENT)


def api_pair_weights(workspace: Workspace) -> Callable[..., dict[str, Any]]:
    """The function behind the endpoint /pair_weights."""

    def pair_weights(run: str, batch_seed: int = 0, batch_size: int = 32) -> dict[str, Any]:
        """Measure how much each pair of one test batch weighs in the loss of a run.

        Args:
            run: Name of the run, as /runs lists them.
            batch_seed: Which batch: the same seed picks the same pairs for every run.
            batch_size: Number of pairs, 2 to 256.

        Returns:
            {"run", "loss", "parameters", "visuals": [id], "captions": [text], "scores", "weights", "positives",
            "negatives", "suspected"}; the last five are matrices, rows visuals and columns captions. A weight is
            d loss / d score of the mean over both directions and all queries: positive pushes the pair apart.
        """
        if not 2 <= batch_size <= MAX_BATCH:
            raise gr.Error(f"batch_size must be 2 to {MAX_BATCH}, found {batch_size}.")
        if batch_seed < 0:
            raise gr.Error(f"batch_seed must not be negative, found {batch_seed}.")
        try:
            loss, hyper = workspace.run(run).config.loss, effective(workspace, run)
            pairs, visuals, texts = batch(workspace, run, "test", loss, hyper, batch_seed, batch_size)
        except (UnknownName, ValueError, OSError) as error:
            raise gr.Error(str(error)) from error
        data = workspace.dataset("test")
        return {
            "run": run,
            "loss": loss,
            "parameters": hyper,
            "visuals": [data.visual_ids[i] for i in visuals],
            "captions": [data.captions[i] for i in texts],
            "scores": pairs.scores.astype(float).round(6).tolist(),
            "weights": [[float(f"{w:.6g}") for w in row] for row in pairs.weights],
            "positives": pairs.positives.tolist(),
            "negatives": pairs.negatives.tolist(),
            "suspected": pairs.suspected.tolist(),
        }

    return pair_weights


def _setting_or_default(workspace: Workspace, run: str, split: str) -> tuple[float, float]:
    try:
        return setting(workspace, run, split)
    except (ValueError, OSError):  # the chart of the batch says why
        return SETTING


def _numbers(values: Mapping[str, Any]) -> list[str]:
    return [name for name, value in values.items() if isinstance(value, int | float)]


def _marks(positive: float, top: float) -> list[Mark]:
    return [Mark(positive, "its positive", GREEN), Mark(top, "hardest other", ORANGE)]
