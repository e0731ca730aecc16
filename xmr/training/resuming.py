"""What a training that was interrupted goes on from: its whole state in the run's folder, and taking that up again."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from xmr.captions import former_words_of, words_of
from xmr.checkpoints.folder import STATE
from xmr.checkpoints.resume import load_state, save_state
from xmr.core import DIRECTIONS, TrainConfig
from xmr.matchers.vocabulary import WORDS_VERSION
from xmr.processes import each, shares
from xmr.training.objective import State
from xmr.training.task import Task
from xmr.words import counted

if TYPE_CHECKING:
    from xmr.training.loop import _Trainer


def save(trainer: _Trainer, folder: Path) -> None:
    """Writes all that `restore` needs. Raises CannotSave."""
    tensors = {f"weights.{key}": tensor for key, tensor in trainer.matcher.state_dict().items()}
    tensors |= {f"best.{key}": tensor for key, tensor in trainer.best.items()}
    tensors |= {f"mean.{key}": tensor for key, tensor in trainer.mean.items()}
    tensors |= {key: raw.detach() for key, raw in trainer.parameters.items() if key.startswith("loss.")}
    for name, parameter in trainer.parameters.items():
        for key, value in trainer.optimiser.state.get(parameter, {}).items():
            tensors[f"optimiser.{name}.{key}"] = value
    for way, side in trainer.objective.queue.items():
        tensors |= {f"queue.{way}.{name}": part for name, part in side.items()}
    tensors |= {f"snapshots.{key}": part for key, part in trainer.recorder.tensors().items()}
    if trainer.order is not None and trainer.config.batches != TrainConfig.batches:
        tensors["order"] = torch.from_numpy(trainer.order)
    about = (
        asdict(trainer.state)
        | {"best_learned": trainer.best_learned, "words_of": WORDS_VERSION, "processes": shares()}
        | _identity(trainer.task)
    )
    save_state(folder, tensors, about)


def restore(trainer: _Trainer, folder: Path) -> None:
    """Goes back to the state in `folder`, if there is one. Raises ValueError where it is of another training."""
    found = None

    def look() -> bool:
        nonlocal found
        found = load_state(folder)
        return found is not None

    if len(set(each(look))) > 1:
        raise ValueError(f"not all processes see the state in {folder}: it has to lie on a disk of all")
    if found is None:
        return
    try:
        _take_up(trainer, folder, *found)
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        # a file without a seal may hold anything
        raise ValueError(
            f"{folder} can't be resumed: {error!r:.200} in {STATE}; --overwrite starts again"
        ) from error


def _take_up(trainer: _Trainer, folder: Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    for key, ours in _identity(trainer.task).items():
        theirs = about.pop(key)
        if key == "configuration":  # a field that came later was at its default before
            theirs = TrainConfig().to_json() | theirs
        if theirs != ours:
            changed = sorted(k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k))
            told = ", ".join(f"{k}: {theirs.get(k)} there, {ours.get(k)} now" for k in changed)
            raise ValueError(
                f"{folder} can't be resumed with another {key} ({told}); --overwrite starts again"
            )
    # A state from before tells no version; most captions have the same words by both.
    if about.pop("words_of", 1) != WORDS_VERSION and trainer.task.vocabulary is not None:
        captions = trainer.task.data["train"].captions
        if any(words_of(caption) != former_words_of(caption) for caption in captions):
            raise ValueError(
                f"{folder} can't be resumed: its captions were split into words otherwise; --overwrite starts again"
            )
    _tell_of_processes(folder, about.pop("processes", shares()))
    trainer.best_learned = about.pop("best_learned")
    for key, value in asdict(State(**about)).items():
        setattr(trainer.state, key, value)
    parts = {part: _below(tensors, f"{part}.") for part in ("weights", "best", "optimiser", "mean", "queue")}
    trainer.matcher.load_state_dict(parts["weights"])
    trainer.order = tensors["order"].numpy() if "order" in tensors else None
    count = len(trainer.task.data["train"].captions)
    if trainer.order is not None and not np.array_equal(np.sort(trainer.order), np.arange(count)):
        raise KeyError("order of the pairs")
    trainer.objective.queue = {way: side for way in DIRECTIONS if (side := _below(parts["queue"], f"{way}."))}
    trainer.best = parts["best"]
    trainer.recorder.take_up(_below(tensors, "snapshots."), trainer.state.step)
    if trainer.mean:
        trainer.mean = {name: parts["mean"][name].to(one.device) for name, one in trainer.mean.items()}
    for name, parameter in trainer.parameters.items():
        if name.startswith("loss."):
            parameter.data.copy_(tensors[name])
        moments = _below(parts["optimiser"], f"{name}.")
        if moments:
            trainer.optimiser.state[parameter] = {
                key: one.to(parameter.device) for key, one in moments.items()
            }


def _tell_of_processes(folder: Path, before: int) -> None:
    if before != shares():
        warnings.warn(
            f"{folder} goes on in {counted(shares(), 'process')}, after {counted(before, 'process')}: batches and losses are the same but for "
            "rounding, and what each process draws by itself (dropout, --augment) or counts (batch norm that learns) is not",
            stacklevel=5,
        )


def _identity(task: Task) -> dict[str, Any]:
    """What must be the same for a state to be of this training, as JSON gives it back."""
    parts = {"configuration": task.config.to_json(), "dataset": task.dataset, "encoder": task.encoder}
    return json.loads(json.dumps(parts))


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
