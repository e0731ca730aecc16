"""What a loss does to a pair of a given score, and to the pairs of a real batch."""

from __future__ import annotations

from typing import Any

from xmr.figures.weights import EACH_ITS_OWN
from xmr.losses import LOSSES
from xmr.views import Scene, tab
from xmr.views.batch_maps import HINT, Asked, choices, loss_of, show_both, show_cell, show_one
from xmr.views.blocks import (
    Block,
    Options,
    button,
    column,
    drawn,
    fold,
    menu,
    number,
    part,
    radio,
    row,
    slider,
    words,
)
from xmr.views.draft import train_blocks
from xmr.views.params import sliders
from xmr.views.runs import NO_LOSS
from xmr.views.values import cards
from xmr.views.weight_curves import (
    AXES,
    PLACES,
    Setting,
    asked_pair,
    cell_of,
    drawn_points,
    nearest_cell,
    params_text,
    read_params,
    setting_or_default,
    show_comparison,
    show_curve,
)
from xmr.workspace.measurements import OTHERS

MOST_PAIRS = 64  # of a batch

LIE_BELOW = (
    f"{OTHERS} other negatives lie below, as widely spread as the run's own. Weights are those of this query alone, found by "
    "automatic differentiation."
)
MARKS = (
    "Weights are d loss / d score of this batch's loss, the mean over its queries of both directions. Orange pairs are "
    "pushed apart, green ones pulled together. Squares mark annotated matches, diamonds suspected false negatives{}."
)


@tab("weights", "Loss weights")
def weights(scene: Scene) -> list[Block]:
    workspace = scene.workspace
    offered = choices(workspace)
    names = [value for _, value in offered]
    own = f"run {scene.state.baseline}"
    choice = scene.one_of("loss", names, own if own in names else names[0])
    other = scene.one_of("beside", ["", *names], "")
    loss, trained, owner = loss_of(workspace, choice)
    usual = setting_or_default(workspace, owner, scene.state.split)
    hyper, query = _moved(scene, choice, loss, trained, usual)
    what = _asked(scene, choice, hyper, other)
    of_card, at, missing = _cell(scene, what)
    combined = [name for name in workspace.runs if name not in workspace.trained]
    about = [LOSSES[loss].caption, NO_LOSS.format(", ".join(combined)) if combined else ""]
    as_trained = "Back to the trained values" if owner else "Back to the defaults"
    marks = MARKS.format(", circles pairs that truly match" if workspace.dataset().truth else "")
    return [
        *_parameters(offered, choice, loss, hyper, as_trained),
        row(
            "weights-about-row",
            words("weights-about", " ".join(about).strip(), "note"),
            button("weights-page", "Formula and reference", set={"tab": "losses", "about": loss}),
        ),
        fold(
            "weights-query",
            "The query of the curves",
            _place(query, "weights-positive", "score of its positive", query.positive, PLACES[0]),
            _place(query, "weights-top", "score of its hardest other negative", query.hardest, PLACES[1]),
            words("weights-others", LIE_BELOW, "note"),
        ),
        _curves(scene, choice, hyper, query),
        *train_blocks(scene, choice, loss, hyper, trained),
        words("weights-batch", "A real batch", "heading"),
        _batch_controls(scene, offered, other, asks_pair=bool(what.pair)),
        words("weights-marks", marks, "note"),
        *_maps(scene, what, missing or _card(scene, of_card, at)),
    ]


def _parameters(
    offered: Options, choice: str, loss: str, hyper: dict[str, Any], as_trained: str
) -> list[Block]:
    """The loss and its parameters: sliders, and of two curves that are given by points also the points, to be dragged."""
    chosen = menu("weights-choice", "Loss", offered, choice, key="loss", resets={"params": ""})
    reset = button("weights-reset", as_trained, set={"params": ""})
    moved = sliders(LOSSES[loss], hyper, "weights", "weights-param")
    if loss != "weighting":
        return [row("weights-controls", chosen, *moved, reset)]
    return [
        row("weights-controls", chosen, reset),
        part("points", "weights-points", drawn_points(LOSSES[loss], hyper), on=["move"]),
        fold("weights-numbers", "The points as numbers", row("weights-sliders", *moved)),
    ]


def _curves(scene: Scene, choice: str, hyper: dict[str, Any], query: Setting) -> Block:
    """The curve of the chosen loss, and those of all chosen runs."""
    workspace, state = scene.workspace, scene.state
    curve = drawn("weights-curve", "Weight against similarity", show_curve(workspace, choice, hyper, query))
    every = show_comparison(workspace, list(state.runs or ()), state.split, state.axis)
    axes = [(text, name) for name, text in AXES.items()]
    comparison = column(
        "weights-all",
        drawn("weights-comparison", "Weight of a negative, all chosen runs", every),
        radio("weights-axis", "Axis", axes, state.axis, key="axis", quiet=True),
        words("weights-each", EACH_ITS_OWN, "note"),
    )
    return row("weights-curves", curve, comparison)


def _batch_controls(scene: Scene, offered: Options, other: str, asks_pair: bool) -> Block:
    state, again = scene.state, {"cell": ""}
    unasked = {"pair_visual": "", "pair_text": "", "cell": ""}
    return row(
        "weights-batch-controls",
        menu("weights-other", "Compare with", [("nothing", ""), *offered], other, key="beside"),
        radio("weights-show", "Colour", ["weights", "scores"], state.colour, key="colour"),
        slider("weights-size", "pairs", 4, MOST_PAIRS, state.batch, 4, key="batch", resets=again),
        number("weights-seed", "seed of the batch", 0, 2**31, state.seed, key="seed", resets=again),
        button("weights-another", "Another batch", set={"seed": state.seed + 1, "cell": ""}),
        button("weights-clear", "Clear the pair asked for", hidden=not asks_pair, set=unasked),
    )


def _place(query: Setting, id: str, label: str, value: float, name: str) -> Block:
    return slider(id, label, query.low, query.high, value, 0.01, block="weights-param", name=name)


def _moved(
    scene: Scene, choice: str, loss: str, trained: dict[str, Any], usual: Setting
) -> tuple[dict[str, Any], Setting]:
    """The parameters and the curve's query: those of the address, and what was moved just now."""
    hyper, query, faults = read_params(scene.state.params, choice, loss, trained, usual)
    if scene.act.block in ("weights-param", "weights-points"):
        name, value = scene.act.of("name"), scene.act.of("value")
        moved = f"{choice}: {name}={value}"
        now, place, more = read_params(moved, choice, loss, hyper, query)
        hyper, query, faults = now, place, [*faults, *more]
    for fault in faults:
        scene.say(fault)
    scene.set(params=params_text(scene.workspace, choice, hyper, query, usual))
    return hyper, query


def _asked(scene: Scene, choice: str, hyper: dict[str, Any], other: str) -> Asked:
    state, pair = scene.state, None
    if state.pair_visual or state.pair_text:
        try:
            pair = asked_pair(scene.workspace, state.split, state.pair_visual, state.pair_text)
        except (ValueError, OSError) as error:
            scene.say(f"Another batch is shown: {error}")
            scene.set(pair_visual="", pair_text="")
    return Asked(choice, hyper, other, state.split, state.baseline, state.seed, state.batch, pair)


def _cell(scene: Scene, what: Asked) -> tuple[Asked, tuple[int, int] | None, dict[str, Any] | None]:
    """The batch and the cell whose card is shown: what was clicked, the pair asked for, or what the address holds; and a card
    in its place where a curve's point has no pair. A point of another run's curve is shown under that run."""
    act, missing = scene.act, None
    if act.event == "select" and act.block in ("weights-curve", "weights-comparison"):
        meta = act.of("meta") if isinstance(act.of("meta"), dict) else {}
        run, x = meta.get("run", ""), act.of("customdata")
        x = act.of("x") if x is None else x  # along shares, x is no score
        if not isinstance(x, int | float) or (run and run not in [*scene.workspace.trained]):
            scene.say("That point is not on this chart any more.")
            return what, cell_of(scene.state.cell), None
        if run:
            what = _asked(scene, f"run {run}", loss_of(scene.workspace, f"run {run}")[1], "")
        at = None
        try:
            at = nearest_cell(scene.workspace, what, float(x), meta.get("kind") == "positive")
        except (ValueError, OSError, OverflowError) as error:
            scene.say(f"No pair of the batch can be shown: {error}")
        if at is None:
            missing = cards([], "This batch has no such pair.")
        scene.set(cell="" if at is None else f"{at[0]},{at[1]}")
        scene.go = "weights-pair"
    elif act.event == "select":
        at = act.of("row"), act.of("column")
        if all(type(one) is int and 0 <= one < MOST_PAIRS for one in at):
            scene.set(cell=f"{at[0]},{at[1]}")
            scene.go = "weights-pair"
    elif what.pair and not cell_of(scene.state.cell):
        own = scene.workspace.dataset(what.split).visual_of_text[what.pair[1]] == what.pair[0]
        scene.set(cell="0,0" if own else "0,1")
    return what, cell_of(scene.state.cell), missing


def _card(scene: Scene, what: Asked, at: tuple[int, int] | None) -> dict[str, Any]:
    if at is None:
        return cards([], HINT)
    try:
        return show_cell(scene.workspace, what, *at)
    except IndexError:  # of a larger batch
        scene.set(cell="")
        return cards([], HINT)
    except (ValueError, OSError):  # the chart says why
        return cards([], HINT)


def _maps(scene: Scene, what: Asked, card: dict[str, Any]) -> list[Block]:
    colour, pair = scene.state.colour, part("cards", "weights-pair", card)
    if not what.other:
        one = drawn("weights-matrix", "Weights of a batch", show_one(scene.workspace, what, colour))
        return [row("weights-maps", one, pair, widths=(5, 3))]
    said, *values = show_both(scene.workspace, what, colour)
    names = ("Weights of a batch", "The same batch in the other loss", "Difference of the two")
    ids = ("weights-matrix", "weights-matrix-b", "weights-difference")
    maps = [drawn(id, name, one) for id, name, one in zip(ids, names, values, strict=True)]
    return [words("weights-difference-words", said), row("weights-maps", *maps), pair]
