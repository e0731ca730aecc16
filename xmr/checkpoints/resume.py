"""The state of a training that is not finished: one file, so that it is whole or the one before it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as tensor_bytes
from torch import Tensor

from xmr.checkpoints.files import RunRefused, parse_json, read_tensors, tensor_specs, write_files
from xmr.checkpoints.run import HISTORY, STATE
from xmr.checkpoints.save import history_bytes

ABOUT = "about"  # JSON as a tensor of bytes beside the others: the header of safetensors has to stay short


def save_state(folder: Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Writes tensors and JSON as one file, and `about["history"]` for people. Raises CannotSave."""
    content = json.dumps(about).encode()
    packed = {ABOUT: torch.frombuffer(bytearray(content), dtype=torch.uint8)}
    packed |= {key: tensor.contiguous() for key, tensor in tensors.items()}
    write_files(folder, {HISTORY: history_bytes(about["history"]), STATE: tensor_bytes(packed)})


def load_state(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """What `save_state` wrote, None where there is nothing. Raises RunRefused where the file is broken."""
    path = folder / STATE
    if not path.exists():
        return None
    try:
        _, size = tensor_specs(path)
        tensors = read_tensors(path, size)
        about = parse_json(bytes(tensors.pop(ABOUT).numpy()), STATE)
    except (RunRefused, KeyError) as error:
        raise RunRefused(f"{path} can't be resumed: {error}; start again with --overwrite") from error
    return tensors, about


def remove_state(folder: Path) -> None:
    (folder / STATE).unlink(missing_ok=True)
