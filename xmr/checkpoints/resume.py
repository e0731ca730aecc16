"""The state of a training that is not finished: one file, so that it is whole or the one before it."""

from __future__ import annotations

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as tensor_bytes
from torch import Tensor

from xmr.checkpoints.files import RunRefused, read_tensors
from xmr.checkpoints.folder import HISTORY, STATE, is_finished
from xmr.checkpoints.load import load_run
from xmr.checkpoints.save import history_bytes
from xmr.checksums import sealed
from xmr.core import TrainConfig
from xmr.disk import parse_json, write_files

ABOUT = "about"  # JSON as a tensor of bytes beside the others: the header of safetensors has to stay short


def save_state(folder: Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Writes tensors and JSON as one file, and `about["history"]` for people. Raises CannotSave."""
    content = json.dumps(about).encode()
    packed = {ABOUT: torch.frombuffer(bytearray(content), dtype=torch.uint8)}
    packed |= {key: tensor.contiguous() for key, tensor in tensors.items()}
    write_files(folder, {HISTORY: history_bytes(about["history"]), STATE: sealed(tensor_bytes, packed)})


def load_state(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """What `save_state` wrote, None where there is nothing. Raises RunRefused where the file is broken."""
    path = folder / STATE
    if not os.path.lexists(path):
        return None
    try:
        tensors = read_tensors(path)  # one that was written before states were sealed has no SHA-256
        about = parse_json(bytes(tensors.pop(ABOUT).numpy()), STATE)
    except (RunRefused, KeyError, RuntimeError) as error:
        raise RunRefused(f"{path} can't be resumed: {error}; start again with --overwrite") from error
    return tensors, about


def remove_state(folder: Path) -> None:
    (folder / STATE).unlink(missing_ok=True)


def config_in(folder: Path) -> TrainConfig:
    """The configuration of the run in `folder`, finished or not. Raises RunRefused or ValueError where it can't be read."""
    if is_finished(folder):
        return load_run(folder).config
    return TrainConfig.from_json(load_state(folder)[1]["configuration"])


def difference(folder: Path, config: TrainConfig) -> str:
    """In which setting the run in `folder`, finished or not, is not what `config` asks for; "" where it is."""
    there = config_in(folder)
    for name in (field.name for field in fields(TrainConfig)):
        wanted, found = getattr(config, name), getattr(there, name)
        # A run has all parameters settled; only the given ones can disagree.
        same = wanted.items() <= found.items() if isinstance(wanted, dict) else wanted == found
        if not same:
            return f"{name} {found}, not {wanted}"
    return ""
