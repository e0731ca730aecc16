"""The recipe that a visitor is about to train with: which loss beside which run, suspects, duplicates, verdicts, epochs, seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xmr.core import DUPLICATES
from xmr.losses import LOSSES
from xmr.registry import unknown
from xmr.selection import ACTIONS, SELECTORS
from xmr.views import Scene
from xmr.views.blocks import Block, button, code, fold, menu, number, progress, radio, row, slider, words
from xmr.views.mine import mine_blocks, verdicts_of
from xmr.views.params import sliders
from xmr.words import counted
from xmr.workspace import Workspace
from xmr.workspace.mine import command_of, digest_of_verdicts
from xmr.workspace.recipes import (
    MOST_EPOCHS,
    MOST_SEED,
    Recipe,
    beside,
    can_be_named,
    fitting,
    made,
    parts,
    why_no_parent,
    written,
)
from xmr.workspace.splits import reading, unread, visuals_of
from xmr.workspace.words import words_of

USUAL_EPOCHS = 4  # at most, until somebody asks for more
KEYS = ("selector", "suspects", "duplicates", "verdicts", "epochs", "seed")
SPLITS = ("train", "validation")  # that a training reads, beside the test split, which every run has
NONE = "none"  # what a draft calls no selector
WITH = "people's"  # what a draft calls the verdicts that stand when it is trained with them


def train_blocks(
    scene: Scene, choice: str, loss: str, hyper: Mapping[str, Any], trained: Mapping[str, Any]
) -> list[Block]:
    """The form, and what was trained; of a run whose loss learned its own values, `trained`, those that nobody moved begin where
    the run's own began."""
    if scene.state.moment:  # of another training, whose sample alone is there
        return []
    owner = scene.workspace.runs.get(choice.removeprefix("run "))
    if owner is not None and owner.config.loss == loss:
        began = owner.config.loss_params
        hyper = {
            name: began.get(name, value) if value == trained[name] else value for name, value in hyper.items()
        }
    try:
        form = _form(scene, choice, loss, hyper)
    except (ValueError, KeyError) as error:
        form = [words("train-not", f"{str(error)[:1].upper()}{str(error)[1:].rstrip('.')}.")]
    opened = bool(scene.mine or scene.state.draft)
    return [fold("train", "Train it", *form, *mine_blocks(scene, "mine"), opened=opened)]


def _form(scene: Scene, choice: str, loss: str, hyper: Mapping[str, Any]) -> list[Block]:
    workspace = scene.workspace
    parent = workspace.run(_parent(scene, choice))
    if reason := why_no_parent(parent):
        raise ValueError(reason)
    if not can_be_named(LOSSES[loss]):
        raise ValueError(f"{loss} asks other runs by their folders: train it by scripts/train.py")
    usual = beside(parent, loss, fitting(LOSSES[loss], hyper), epochs=min(parent.config.epochs, USUAL_EPOCHS))
    people = verdicts_of(workspace)
    recipe, chosen = _settled(scene, usual, digest_of_verdicts(people))
    epochs, own = counted(recipe.epochs, "epoch"), parent.config.epochs
    of = "as many as" if recipe.epochs == own else f"not the {own} of"
    noun = words_of(workspace.dataset()).visual
    told = (
        f"A new head is trained as {parent.name}'s was, but for what is chosen here, on {counted(visuals_of(workspace, 'train'), noun)}: "
        f"{epochs}, {of} {parent.name}. It is yours: whoever has the link sees its recipe, and trains the same by one press."
    )
    return [
        _controls(recipe, chosen, len(people)),
        words("train-about", told, "note"),
        *_ready(scene, recipe),
        fold("train-code", "The code it stands for", code("train-python", recipe.python), code("train-line", command_of(recipe, workspace))),
    ]  # fmt: skip


def _parent(scene: Scene, choice: str) -> str:
    """The run beside which is trained: that of the choice, or of one of one's own its parent; of a loss by itself the baseline."""
    kind, _, name = choice.partition(" ")
    name = name if kind == "run" else scene.state.baseline or next(iter(scene.workspace.trained), "")
    return next((one.recipe.parent for one in scene.mine if one.name == name), name)


def _settled(scene: Scene, usual: Recipe, people: str) -> tuple[Recipe, dict[str, str]]:
    """The recipe with what the address and the act choose otherwise; what can't be used is told, and left as usual."""
    base, act = parts(usual.text), scene.act
    try:
        chosen = parts(scene.state.draft)
        if strange := [key for key in chosen if key.partition(".")[0] not in KEYS]:
            raise ValueError(unknown("part of a draft", strange[0][:40], KEYS))
    except ValueError as error:
        scene.say(f"The draft of a recipe can't be used: {error}.")
        chosen = {}
    now = dict(chosen)
    if act.block in ("train-set", "train-selector"):
        key = f"selector.{act.of('name')}" if act.block == "train-selector" else str(act.of("name"))[:40]
        if key == "selector":
            now = {one: value for one, value in now.items() if not one.startswith("selector.")}
        now[key] = str(act.of("value") if act.of("value") is not None else "")[:200]
    for one in (now, chosen, {}):
        try:
            whole = _joined(base, {key: value for key, value in one.items() if key.partition(".")[0] in KEYS})
            recipe = made(whole | ({"verdicts": people} if "verdicts" in whole else {}))
        except (ValueError, KeyError) as error:
            scene.say(f"{str(error)[:1].upper()}{str(error)[1:]}.")
            continue
        kept = {key: value for key, value in one.items() if value != base.get(key, "")}
        scene.set(draft=written(kept))
        return recipe, kept
    raise ValueError("nothing can be trained")


def _joined(base: Mapping[str, str], chosen: Mapping[str, str]) -> dict[str, str]:
    """The parts of a recipe, those that are chosen in the place of those that are usual; another selector has parameters of
    its own."""
    other = chosen.get("selector", base.get("selector", "")) != base.get("selector", "")
    kept = {key: value for key, value in base.items() if not (other and key.startswith("selector"))}
    none = chosen.get("selector") == NONE
    found = kept | {key: value for key, value in chosen.items() if not (none and key.startswith("selector"))}
    return {key: value for key, value in found.items() if value != ""}


def _controls(recipe: Recipe, chosen: Mapping[str, str], people: int) -> Block:
    named = [name for name, entry in SELECTORS.items() if can_be_named(entry)]

    def of(name: str) -> dict[str, Any]:
        return {"block": "train-set", "name": name}

    shown = [
        menu(
            "train-selector-name",
            "Selector of suspects",
            [NONE, *named],
            recipe.selector or NONE,
            **of("selector"),
        )
    ]
    if recipe.selector:
        entry = SELECTORS[recipe.selector]
        shown += sliders(entry, entry.parse(dict(recipe.selector_params)), "train-selector", "train-selector")
        told = [(f"{name}: {what}", name) for name, what in ACTIONS.items()]
        shown.append(
            menu("train-suspects", "What becomes of suspects", told, recipe.suspects, **of("suspects"))
        )
    told = [(f"{name}: {what}", name) for name, what in DUPLICATES.items()]
    shown.append(
        menu("train-duplicates", "What becomes of duplicates", told, recipe.duplicates, **of("duplicates"))
    )
    if people:
        told = [("none", ""), (f"the {people:,} of the training split", WITH)]
        shown.append(
            radio("train-verdicts", "Verdicts", told, chosen.get("verdicts", "") and WITH, **of("verdicts"))
        )
    shown += [
        slider("train-epochs", "epochs", 1, MOST_EPOCHS, recipe.epochs, 1, **of("epochs")),
        number("train-seed", "seed of the training", 0, MOST_SEED, recipe.seed, **of("seed")),
    ]
    return row("train-controls", *shown)


def _ready(scene: Scene, recipe: Recipe) -> list[Block]:
    """The button that trains; before it, where pictures have not been read, the one that reads them, or how far that is."""
    workspace, left = scene.workspace, _left(scene.workspace)
    if left and scene.act.block == "train-embed":
        for split in left:
            reading(workspace, split).start(list(scene.state.runs or ()))
        left = _left(workspace)
    if not left:
        return [
            row(
                "train-acts",
                button("train-begin", "Train", block="mine", data=["begin", recipe.text], primary=True),
            )
        ]
    jobs = {split: reading(workspace, split) for split in left}
    if on := next((job for job in jobs.values() if job.how == "running"), None):
        scene.again = scene.again or 1000
        told = f"{on.doing}: {on.done:,} of {on.of:,}." if on.of else f"{on.doing} …"
        return [words("train-reading", told), progress("train-embedding", "Embedding", on.done, on.of)]
    if any(job.how == "waiting" for job in jobs.values()):
        scene.again = scene.again or 1000
        return [words("train-reading", "The pictures wait for their turn: one split is embedded at a time.")]
    fault = next((f" It could not be done: {job.fault}" for job in jobs.values() if job.how == "failed"), "")
    count = counted(sum(left.values()), words_of(workspace.dataset()).visual)
    told = f"The encoder has to read {count} before the first training; they are kept for all further ones.{fault}"
    return [
        words("train-unread", told),
        row("train-acts", button("train-embed", f"Embed {count}", primary=True)),
    ]


def _left(workspace: Workspace) -> dict[str, int]:
    """How many visuals of each split have yet to be read."""
    found = {split: unread(workspace, split) for split in SPLITS if reading(workspace, split).how != "done"}
    return {split: count for split, count in found.items() if count}
