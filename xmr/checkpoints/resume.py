"""The state of a training that is not finished: whole, or the one before it.

One file as long as it fits; a larger one has its tensors in further files that are called by their SHA-256, which the one with the
rest tells. So the old state stands until that one is replaced, and no more than one file is held in memory beside the tensors.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as tensor_bytes
from torch import Tensor

from xmr.checkpoints.files import RunRefused, read_tensors
from xmr.checkpoints.folder import HISTORY, PARTS, STATE, is_finished
from xmr.checkpoints.load import load_run
from xmr.checkpoints.save import history_bytes
from xmr.checksums import digest, sealed
from xmr.core import TrainConfig
from xmr.disk import parse_json, write_files

ABOUT = "about"  # JSON as a tensor of bytes beside the others: the header of safetensors has to stay short
PART = 1 << 30  # bytes of tensors in a file, but for one that is larger by itself
COUNT = 2000  # tensors in a file: their names and shapes are its header


def save_state(folder: Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Writes tensors and JSON, and `about["history"]` for people. Raises CannotSave."""
    parts = list(_parts(tensors))
    for left in folder.glob(f".{PARTS}.*tmp"):  # of a process that was killed
        left.unlink(missing_ok=True)
    names = [] if len(parts) == 1 else [_write_part(folder, part) for part in parts]
    content = json.dumps(about | ({"parts": names} if names else {})).encode()
    packed = {ABOUT: torch.frombuffer(bytearray(content), dtype=torch.uint8)}
    if not names:
        packed |= _contiguous(parts[0])
    write_files(folder, {HISTORY: history_bytes(about["history"]), STATE: sealed(tensor_bytes, packed)})
    _remove_parts(folder, names)


def load_state(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """What `save_state` wrote, None where there is nothing. Raises RunRefused where it is broken."""
    found = _first_file(folder)
    if found is None:
        return None
    tensors, about = found
    try:
        for sha256 in _named(about.pop("parts", [])):
            tensors |= read_tensors(folder / _part_name(sha256), sha256=sha256)
    except RunRefused as error:
        raise _refused(folder, error) from error
    return tensors, about


def _first_file(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The JSON, and the tensors that are beside it."""
    path = folder / STATE
    if not os.path.lexists(path):
        return None
    try:
        tensors = read_tensors(path)  # one that was written before states were sealed has no SHA-256
        about = parse_json(bytes(tensors.pop(ABOUT).numpy()), STATE)
        if not isinstance(about, dict):
            raise RunRefused(f"{STATE} holds no state of a training")
    except (RunRefused, KeyError, RuntimeError) as error:
        raise _refused(folder, error) from error
    return tensors, about


def _refused(folder: Path, error: Exception) -> RunRefused:
    return RunRefused(f"{folder / STATE} can't be resumed: {error}; start again with --overwrite")


def remove_state(folder: Path) -> None:
    (folder / STATE).unlink(missing_ok=True)
    _remove_parts(folder)


# ---- files beside the first ------------------------------------------------------------------------------------


def _parts(tensors: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The tensors, in their order, in groups that a file each has room for; one group at least."""
    part: dict[str, Tensor] = {}
    taken = 0
    for key, tensor in tensors.items():
        if part and (taken + tensor.nbytes > PART or len(part) == COUNT):
            yield part
            part, taken = {}, 0
        part[key] = tensor
        taken += tensor.nbytes
    yield part


def _contiguous(part: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: tensor.contiguous() for key, tensor in part.items()}


def _write_part(folder: Path, part: dict[str, Tensor]) -> str:
    """Writes a file of tensors, and returns its SHA-256."""
    content = tensor_bytes(_contiguous(part))
    sha256 = digest(content)
    write_files(folder, {_part_name(sha256): content})
    return sha256


def _part_name(sha256: str) -> str:
    return PARTS.replace("[0-9a-f]" * 64, sha256)


def _named(parts: Any) -> list[str]:
    """The SHA-256 of each file of tensors as a state tells them. Raises RunRefused."""
    if not isinstance(parts, list) or not all(re.fullmatch("[0-9a-f]{64}", str(one)) for one in parts):
        raise RunRefused(f"{STATE} tells of further files, and not by their SHA-256")
    return parts


def _remove_parts(folder: Path, but: Iterable[str] = ()) -> None:
    for left in {*folder.glob(PARTS)} - {folder / _part_name(sha256) for sha256 in but}:
        left.unlink(missing_ok=True)


# ---- the configuration in it -----------------------------------------------------------------------------------


def config_in(folder: Path) -> TrainConfig:
    """The configuration of the run in `folder`, finished or not. Raises RunRefused or ValueError where it can't be read."""
    if is_finished(folder):
        return load_run(folder).config
    try:
        return TrainConfig.from_json(_first_file(folder)[1]["configuration"])
    except (KeyError, TypeError) as error:
        raise _refused(folder, RunRefused(f"it tells no configuration ({error!r:.100})")) from error


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
