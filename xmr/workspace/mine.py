"""What a visitor trained: runs beside those of the server, for whoever's address holds their recipes and nobody else."""

from __future__ import annotations

import io
import re
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xmr.cache import cache_folder
from xmr.checkpoints import Run
from xmr.checkpoints.folder import FILES, RUN
from xmr.checksums import digest
from xmr.disk import write_files
from xmr.store import Verdict, as_jsonl
from xmr.workspace import Workspace
from xmr.workspace.commands import train_command
from xmr.workspace.parts import Layer
from xmr.workspace.recipes import Recipe
from xmr.workspace.recipes import read as read_recipe
from xmr.workspace.training import ask, folder_of, is_trained, sweep, trained, training_of

MOST = 12  # recipes of one address
LAYERS = 32  # sets of visitors' runs whose measurements are kept

_layers: OrderedDict[Any, _Own] = OrderedDict()
_guard = threading.Lock()


@dataclass(frozen=True)
class Mine:
    """A recipe of the address, what its run is called here, and the digest by which it is trained."""

    recipe: Recipe
    name: str
    digest: str

    @property
    def state(self) -> str:
        """ "trained", or how its training is doing, "" where nobody asked for it here."""
        held = training_of(self.digest)
        if is_trained(self.digest):
            return "trained"
        return "" if held is None or held.how == "done" else held.how  # what was deleted is nowhere


def read(workspace: Workspace, texts: Sequence[str]) -> tuple[list[Mine], list[str]]:
    """The recipes of an address, and what can't be used, in words."""
    found: list[Mine] = []
    faults = []
    if texts:
        sweep()
    if len(texts) > MOST:
        faults.append(f"{len(texts)} recipes of your own; the first {MOST} are read.")
    for text in texts[:MOST]:
        try:
            one = of(workspace, read_recipe(text), [mine.name for mine in found])
            if any(one.digest == other.digest for other in found):
                raise ValueError(f"{one.name} is trained as another one of yours is")
        except (ValueError, KeyError) as error:
            faults.append(f"A recipe can't be used: {error}.")
        else:
            found.append(one)
    return found, faults


def of(workspace: Workspace, recipe: Recipe, taken: Sequence[str]) -> Mine:
    """The recipe with a name that nothing else has. Raises ValueError where nothing can be trained by it here."""
    taken = [*taken, *workspace.runs, *workspace.apart]
    name = recipe.called
    if not name or name in taken:
        name = free_name(taken)
    parent = workspace.run(recipe.parent)
    return Mine(recipe, name, recipe.digest(parent, workspace.source))


def free_name(taken: Sequence[str]) -> str:
    """ "yours 1", or the next that nothing has."""
    return next(name for i in range(1, len(taken) + 2) if (name := f"yours {i}") not in taken)


def with_mine(workspace: Workspace, mine: Sequence[Mine]) -> Workspace:
    """The workspace with those of the runs that are trained, each behind its parent; what is measured of them is theirs."""
    ready = [one for one in mine if is_trained(one.digest)]
    if not ready:
        return workspace
    layer = _layer(workspace, ready)
    runs: dict[str, Run] = {}
    for name, run in workspace.runs.items():
        parents = {name, *(one.name for one in run.each)}
        own = [one.name for one in ready if one.recipe.parent in parents and one.name in layer.runs]
        runs |= {name: run} | {one: layer.runs[one] for one in own}
    return replace(workspace, runs=runs, _memo=layer.memo, _recent=layer.recent, _recent_guard=layer.guard)


@dataclass(frozen=True)
class _Own:
    """The runs of some recipes, by name, and all that is kept of them."""

    workspace: Workspace
    runs: dict[str, Run]
    memo: Layer
    recent: dict[Any, Any]
    guard: threading.Lock


def _layer(workspace: Workspace, ready: Sequence[Mine]) -> _Own:
    key = id(workspace), tuple((one.name, one.digest) for one in ready)
    with _guard:
        found = _layers.pop(key, None)
        if found is None or found.workspace is not workspace:  # a number may be given again
            loaded = {one.name: run for one in ready if (run := trained(one.digest)) is not None}
            runs = {name: replace(run, name=name) for name, run in loaded.items()}
            found = _Own(workspace, runs, Layer(workspace._memo, runs), {}, threading.Lock())
        _layers[key] = found
        while len(_layers) > LAYERS:
            _layers.popitem(last=False)
        return found


# ---- training ----------------------------------------------------------------------------------------------


def begin(workspace: Workspace, mine: Mine, verdicts: Sequence[Verdict], owner: str) -> None:
    """Trains it, or waits for its turn, unless it is trained already; `verdicts` are those that stand here. Raises ValueError where that can't be, and where
    a recipe's verdicts are not at hand."""
    recipe, file = mine.recipe, ""
    if is_trained(mine.digest):
        return
    if recipe.verdicts:
        file = str(_file_of(recipe.verdicts, verdicts))
    config = recipe.config(workspace.run(recipe.parent), workspace.source, file)
    ask(mine.digest, config, owner)


def digest_of_verdicts(verdicts: Sequence[Verdict]) -> str:
    """What a recipe calls the set; "" of none."""
    return digest(as_jsonl(verdicts).encode())[:16] if verdicts else ""


def _file_of(name: str, verdicts: Sequence[Verdict]) -> Path:
    """The file of a set of verdicts, which is kept when it is first trained with."""
    path = cache_folder() / "trained-with" / f"verdicts-{name}.jsonl"
    if path.is_file():
        return path
    if digest_of_verdicts(verdicts) != name:
        raise ValueError(
            f"the verdicts {name} of this recipe are not here: it was made on another server, or they have changed since"
        )
    write_files(path.parent, {path.name: as_jsonl(verdicts).encode()})
    return path


# ---- what can be done with them ----------------------------------------------------------------------------


def command_of(recipe: Recipe, workspace: Workspace) -> str:
    """The command line that trains the same bits into a folder runs/."""
    file = f"verdicts-{recipe.verdicts}.jsonl" if recipe.verdicts else ""
    return train_command(recipe.config(workspace.run(recipe.parent), workspace.source, file), "runs")


def zipped(mine: Mine) -> bytes:
    """The run's folder as a zip, its files below a folder that is called as the run."""
    if not is_trained(mine.digest):
        raise ValueError(f"{mine.name} is not trained here")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as into:
        for name, content in _files(mine):
            into.writestr(f"{_folder_name(mine.name)}/{name}", content)
    return buffer.getvalue()


def keep(mine: Mine, workspace: Workspace) -> Path:
    """Copies the run beside those of the server, under its name; whoever loads the page sees it then. Raises ValueError where
    a run of that name is there already."""
    folder = workspace.checkpoints.expanduser() / _folder_name(mine.name)
    if folder.exists():
        raise ValueError(f"there is a folder {folder.name} already: give {mine.name} another name")
    write_files(folder, dict(_files(mine)))
    return folder


def _files(mine: Mine) -> list[tuple[str, bytes]]:
    """Name and content of each file of the run, run.json last."""
    folder = folder_of(mine.digest)
    found = [(name, (folder / name).read_bytes()) for name in FILES if (folder / name).is_file()]
    return sorted(found, key=lambda one: one[0] == RUN)


def _folder_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "yours"
