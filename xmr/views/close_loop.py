"""From verdicts to a better run: one press trains with them, and what changed is told beside the run as it was."""

from __future__ import annotations

from dataclasses import replace

from xmr.core import DIRECTIONS
from xmr.selection import SELECTORS
from xmr.views import Scene
from xmr.views.blocks import Block, button, column, fold, part, row, words
from xmr.views.mine import mine_blocks, verdicts_of
from xmr.views.suspect_settings import read_settings
from xmr.views.values import table
from xmr.words import counted
from xmr.workspace import Workspace
from xmr.workspace.measurements import hard_negatives, suspects
from xmr.workspace.mine import Mine, digest_of_verdicts
from xmr.workspace.recipes import Recipe, beside, why_no_parent
from xmr.workspace.result_words import MEANS, chance, difference_cells, difference_words, direction_words
from xmr.workspace.results import compared, results

TRAINS = "Only verdicts on the train split are learned from: those on the {} split judge runs. Judge pairs of the train split for it."
NOBODY = "Nobody has judged a pair of this split yet: the first verdict is learned from by one press here."
SAME = (
    "It is trained as {parent} was, with the same seed, but that confirmed pairs are matches, and that no selector suspects what "
    "people refuted."
)
MORE = (
    "n more verdicts would bring little: on blocks, with the known truth as the judge, up to 20,000 of them moved R@1 in no way that a test "
    "can tell (docs/results-verdicts.md). A verdict is felt only where both sides of its pair meet in a batch."
)


def loop_blocks(scene: Scene) -> list[Block]:
    """The button that trains the chosen run again with the verdicts, and of what was trained so, what changed."""
    state = scene.state
    if state.split != "train":
        there = button("fn-loop-train", "Judge the train split", set={"split": "train", "page": 0})
        return [
            fold(
                "fn-loop",
                "Train with verdicts",
                words("fn-loop-about", TRAINS.format(state.split), "note"),
                there,
            )
        ]
    people, shown = verdicts_of(scene.workspace), []
    try:
        recipe = _recipe(scene, digest_of_verdicts(people))
        parent = scene.workspace.run(recipe.parent)
        if reason := why_no_parent(parent):
            raise ValueError(reason)
    except (ValueError, KeyError) as error:
        return [fold("fn-loop", "Train with verdicts", words("fn-loop-about", str(error), "note"))]
    if people:
        label = f"Train {recipe.parent} again with {counted(len(people), 'verdict')}"
        data = ["begin", recipe.text]
        shown.append(
            row("fn-loop-acts", button("fn-loop-begin", label, block="mine", data=data, primary=True))
        )
    told = f"{SAME.format(parent=recipe.parent)} {MORE}" if people else NOBODY
    own = [one for one in scene.mine if one.recipe.verdicts and one.recipe.parent == recipe.parent]
    for one in own:
        shown += mine_blocks(scene, "fn-mine", (one.digest,))
        if one.name in scene.workspace.runs:
            shown.append(_changed(scene, one))
    return [
        fold(
            "fn-loop",
            "Train with verdicts",
            words("fn-loop-about", told, "note"),
            *shown,
            opened=bool(people),
        )
    ]


def _recipe(scene: Scene, verdicts: str) -> Recipe:
    """The chosen run's own training, or that of one of the visitor's, with the verdicts."""
    name = scene.state.fn_run
    mine = next((one for one in scene.mine if one.name == name), None)
    if mine is not None:
        return replace(mine.recipe, verdicts=verdicts, called="")
    run = scene.workspace.run(name)
    return beside(run, run.config.loss, run.config.loss_params, verdicts=verdicts)


def _changed(scene: Scene, one: Mine) -> Block:
    """What the run with verdicts does otherwise than its parent, on the test split, and what is left to suspect."""
    workspace, parent, id = scene.workspace, one.recipe.parent, f"fn-changed-{one.digest}"
    shown: list[Block] = []
    for direction in DIRECTIONS:
        found = results(workspace, [parent, one.name], "test", direction, parent)
        if one.name in found.tests:
            title = (
                f"{one.name} against {parent}, {direction_words(workspace, 'test', direction)}, test split"
            )
            cells = [
                (one.name, workspace.styles([parent, one.name])[one.name], difference_cells(found, one.name))
            ]
            columns = [("run", ""), *((name, MEANS[name]) for name in found.titles)]
            shown.append(
                part(
                    "table", f"{id}-{direction}", table(columns, cells, difference_words(found), title=title)
                )
            )
    errors = {"tab": "errors", "split": "test", "a": parent, "b": one.name, "page": 0}
    link = button(f"{id}-errors", "Show the queries won and lost", set=errors)
    return column(id, words(f"{id}-queries", _queries(workspace, one)), row(f"{id}-links", link), *shown, words(f"{id}-left", _left(scene, one)))  # fmt: skip


def _queries(workspace: Workspace, one: Mine) -> str:
    """How many queries are won and lost at the first place."""
    told = []
    for direction in DIRECTIONS:
        found = compared(workspace, one.recipe.parent, one.name, "test", direction, "R@1")
        way = direction_words(workspace, "test", direction)
        told.append(
            f"{way} {found.better:,} won and {found.worse:,} lost of {found.queries:,} ({chance(found.p)})"
        )
    return f"Queries whose annotated match is found first, {one.name} against {one.recipe.parent}: {'; '.join(told)}."


def _left(scene: Scene, one: Mine) -> str:
    """How many of the hardest negatives of either run the chosen selector suspects."""
    workspace, state = scene.workspace, scene.state
    selector = state.selector
    params = read_settings(state.settings)[0].get(selector, SELECTORS[selector].defaults)
    told = []
    for run in (one.recipe.parent, one.name):
        try:
            of = workspace, run, "train", state.direction
            told.append(
                f"{int(suspects(*of, selector, params).sum()):,} of {len(hard_negatives(*of)):,} of {run}"
            )
        except (ValueError, OSError) as error:
            return f"{selector} can't judge the negatives of {run}: {error}"
    return f"Suspects left among the negatives of the train split that weigh most, by {selector}: {', '.join(told)}."
