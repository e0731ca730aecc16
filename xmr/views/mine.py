"""What a visitor trains: acts on the recipes of the address, and how each of them is doing, in any tab."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from xmr.figures.training import R1, live_curves
from xmr.limits import TRAINED_SECONDS, is_public
from xmr.metrics import headline
from xmr.registry import unknown
from xmr.store import StoreRefused, Verdict
from xmr.views.blocks import Block, button, chart, column, progress, row, text, words
from xmr.views.judging import owner_of, store_of
from xmr.views.state import State
from xmr.words import counted, percent
from xmr.workspace.mine import MOST, Mine, begin, free_name, keep, of, read, with_mine, zipped
from xmr.workspace.public import public
from xmr.workspace.recipes import Recipe
from xmr.workspace.recipes import read as read_recipe
from xmr.workspace.training import cancel, place_of, training_of

if TYPE_CHECKING:
    from xmr.views import Scene
    from xmr.workspace import Workspace

PAUSE, LONG_PAUSE = (
    700,
    2000,
)  # ms between two looks at a training; the longer where it is not what is looked at
HERE = ("weights", "false_negatives")  # tabs that show it
NAMING = (
    "runs",
    "baseline",
    "loss",
    "beside",
    "fn_run",
    "a",
    "b",
    "map_a",
    "map_b",
)  # keys of a state that name runs
ACTS = ("begin", "train", "cancel", "delete", "keep")


def settle_mine(scene: Scene) -> None:
    """The recipes of the address, with what was done to them just now; the workspace shows what is trained of them."""
    workspace = scene.workspace
    texts = scene.state.mine or ()
    if not texts and scene.act.block not in ("mine", "mine-name"):
        return
    if workspace.problem:
        return
    scene.mine, faults = read(workspace, texts)
    for fault in faults:
        scene.say(fault)
    try:
        _act(scene, workspace)
    except (ValueError, OSError, KeyError) as error:
        scene.say(f"{str(error)[:1].upper()}{str(error)[1:].rstrip('.')}.")
    _told(scene)
    if any(one.state in ("waiting", "running") for one in scene.mine):
        scene.again = PAUSE if scene.state.tab in HERE else LONG_PAUSE
    scene.workspace = with_mine(workspace, scene.mine)


def _told(scene: Scene) -> None:
    """Writes the recipes into the state, each with what its run is called, so that no other's loss renames it."""
    texts = tuple(replace(one.recipe, called=one.name).text for one in scene.mine)
    scene.set(mine=texts or None)


def _act(scene: Scene, workspace: Workspace) -> None:
    act = scene.act
    if act.block == "mine-name":
        _rename(scene, workspace, _one(scene, act.of("name")), str(act.of("value") or "").strip())
    elif act.block == "mine":
        sent = act.data if isinstance(act.data, list) and len(act.data) == 2 else ["", ""]
        what, which = (one if isinstance(one, str) else "" for one in sent)
        if what not in ACTS:
            raise ValueError(unknown("act on a training", what[:40], ACTS))
        owner = owner_of(scene.visitor.secret, scene.visitor.login)
        if what == "begin":
            _begin(scene, workspace, read_recipe(which), owner)
            return
        one = _one(scene, which)
        if what == "train":
            begin(workspace, one, verdicts_of(workspace), owner)
        elif what == "cancel":
            cancel(one.digest, owner)
        elif what == "keep":
            if is_public():
                raise ValueError("this server is public: save the run as a zip")
            scene.say(f"{one.name} is kept beside the server's runs, as {keep(one, workspace).name}.")
        else:
            _delete(scene, one, owner)


def _begin(scene: Scene, workspace: Workspace, recipe: Recipe, owner: str) -> None:
    """Trains it, and shows what comes of it behind its parent as soon as it is there."""
    new = of(workspace, recipe, [one.name for one in scene.mine])
    known = next((one for one in scene.mine if one.digest == new.digest), None)
    if known is None and len(scene.mine) >= MOST:
        raise ValueError(f"an address holds {MOST} recipes: delete one")
    begin(workspace, known or new, verdicts_of(workspace), owner)
    if known is None:
        scene.mine.append(new)
    name = (known or new).name
    runs = list(scene.state.runs if scene.state.runs is not None else workspace.shown_first)
    if name not in runs:
        at = runs.index(recipe.parent) + 1 if recipe.parent in runs else len(runs)
        runs.insert(at, name)
    scene.set(runs=tuple(runs))


def _one(scene: Scene, digest: Any) -> Mine:
    found = next((one for one in scene.mine if one.digest == digest), None)
    if found is None:
        raise ValueError("this training is not in the address any more")
    return found


def _rename(scene: Scene, workspace: Workspace, one: Mine, name: str) -> None:
    others = [other.name for other in scene.mine if other is not one]
    name = name or free_name([*others, *workspace.runs, *workspace.apart])
    if name in [*others, *workspace.runs, *workspace.apart]:
        raise ValueError(f"another run is called {name!r}")
    new = Mine(replace(one.recipe, called=name), name, one.digest)
    scene.mine[scene.mine.index(one)] = new
    scene.state = _called(scene.state, one.name, name)


def _called(state: State, old: str, new: str) -> State:
    """The state with another name ("": none) wherever it names that run."""
    names, found = {old: new, f"run {old}": new and f"run {new}"}, {}
    for key in NAMING:
        value = getattr(state, key)
        found[key] = (
            tuple(names.get(one, one) for one in value)
            if isinstance(value, tuple)
            else names.get(value, value)
        )
    return state.changed(**found)


def _delete(scene: Scene, one: Mine, owner: str) -> None:
    """Out of the address; what goes on for this visitor alone is stopped."""
    held = training_of(one.digest)
    if held is not None and held.goes_on and owner in held.owners:
        cancel(one.digest, owner)
    scene.mine.remove(one)
    left = tuple(name for name in scene.state.runs or () if name != one.name)
    scene.state = _called(scene.state.changed(runs=left or None), one.name, "")


def verdicts_of(workspace: Workspace) -> list[Verdict]:
    """What people say of the training split's pairs; nothing where verdicts can't be kept."""
    fingerprint = next(iter(workspace.runs.values())).dataset["fingerprints"].get("train", "")
    try:
        return store_of(workspace).verdicts(fingerprint=fingerprint) if fingerprint else []
    except (StoreRefused, OSError):
        return []


def file_of_run(scene: Scene, digest: str) -> dict[str, Any]:
    """A run's folder to save, as a zip."""
    one = _one(scene, digest)
    return {
        "name": f"{one.name}.zip".replace(" ", "-"),
        "base64": b64encode(zipped(one)).decode(),
        "split": scene.state.split,
    }


# ---- what is shown -----------------------------------------------------------------------------------------


def mine_blocks(scene: Scene, prefix: str, only: tuple[str, ...] | None = None) -> list[Block]:
    """How each training is doing, and what can be done with it; `only`: those with these digests."""
    return [_shown(scene, one, prefix) for one in scene.mine if only is None or one.digest in only]


def _shown(scene: Scene, one: Mine, prefix: str) -> Block:
    id, state, held = f"{prefix}-{one.digest}", one.state, training_of(one.digest)
    shown: list[Block] = [words(f"{id}-about", _about(one)), words(f"{id}-how", _how(scene, one, state))]
    if state == "running":
        shown.append(progress(f"{id}-progress", f"Training of {one.name}", held.done, held.of))
    if held is not None and held.losses and state in ("running", "trained"):
        drawn = live_curves(held.losses, held.scores, one.name)
        shown.append(chart(f"{id}-curve", drawn.name, drawn.figure, drawn.words, drawn.numbers))

    def act(what: str, label: str, **more: Any) -> Block:
        return button(f"{id}-{what}", label, block="mine", data=[what, one.digest], **more)

    if state in ("waiting", "running"):
        return column(id, *shown, row(f"{id}-acts", act("cancel", "Cancel")))
    if state != "trained":
        acts = [act("train", f"Train {one.name}", primary=True), act("delete", "Delete")]
        return column(id, *shown, row(f"{id}-acts", *acts))
    link = {"tab": "results", "page": 0}
    errors = {"tab": "errors", "a": one.recipe.parent, "b": one.name, "page": 0}
    acts = [
        button(f"{id}-results", "Show in Results", set=link),
        button(f"{id}-errors", f"Queries won and lost against {one.recipe.parent}", set=errors),
        button(f"{id}-zip", "Save as zip", save=f"run {one.digest}"),
        act("keep", "Keep on this server", hidden=is_public()),
        act("delete", "Delete"),
    ]
    name = text(f"{id}-name", "Name", one.name, block="mine-name", name=one.digest, longest=40)
    return column(id, *shown, row(f"{id}-acts", name, *acts))


def _about(one: Mine) -> str:
    recipe = one.recipe
    told = [
        f"{one.name}: {recipe.loss} beside {recipe.parent}, {counted(recipe.epochs, 'epoch')}, seed {recipe.seed}"
    ]
    told += [
        f"{name.replace('_', ' ')} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in recipe.loss_params
    ]
    if recipe.selector:
        told.append(f"suspects of {recipe.selector}: {recipe.suspects}")
    told.append(f"duplicates: {recipe.duplicates}")
    if recipe.verdicts:
        told.append(f"verdicts {recipe.verdicts}")
    return "; ".join(told) + "."


def _how(scene: Scene, one: Mine, state: str) -> str:
    held = training_of(one.digest)
    if state == "waiting":
        before = place_of(held)
        return (
            f"It waits for its turn: {counted(before, 'training')} come{'s' * (before == 1)} before it."
            if before
            else "It is next."
        )
    if state == "running":
        if held.doing:
            return f"{held.doing}: {held.done:,} of {held.of:,}." if held.of else f"{held.doing} …"
        return (
            f"Step {held.done:,} of {held.of:,}." if held.of else "It begins: libraries and data are read …"
        )
    if state == "failed":
        return f"It could not be trained. {public(held.fault)}"
    if state == "cancelled":
        return "It was cancelled; nothing of it is kept."
    if state == "trained":
        found = scene.workspace.runs.get(one.name)
        if found is None:
            return "It is trained."
        metrics = found.metrics["validation"]
        shares = [f"{name} {percent(metrics[key], 1)}" for key, name in R1.items() if key in metrics]
        shares = shares or ["{} {:.1f}".format(*headline(metrics))]
        kept = (
            f" It is deleted {TRAINED_SECONDS.now // 60} minutes after it was asked for."
            if TRAINED_SECONDS.now
            else ""
        )
        took = found.training.get("seconds")
        return f"Trained in {took:.0f} s of steps. Validation: {', '.join(shares)}. It is a run as any other in all tabs.{kept}"
    return "It is not trained on this server: whoever presses gets the same bits as who made the link."
