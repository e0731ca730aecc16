"""Files that are whole or not there: groups of files written aside, and tensors read with suspicion."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor

MAX_HEADER = 1 << 20  # bytes; a header of half a million tensors costs seconds and hundreds of megabytes
MAX_JSON = 64 << 20
DTYPES = {
    "F16": torch.float16,
    "F32": torch.float32,
    "F64": torch.float64,
    "I64": torch.int64,
    "U8": torch.uint8,
}

Spec = tuple[tuple[int, ...], torch.dtype]  # shape and dtype of a tensor


class RunRefused(ValueError):
    """A folder that is no whole, untouched run; the message tells what is wrong with which file."""


class CannotSave(OSError):
    """A folder could not be written; what was there before is still there."""


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes all files or none: each to a temporary name and to disk, then all renamed in the given order.

    Raises CannotSave, with the reason, where the folder or the disk does not take them. A crash between two
    renames leaves old and new files together: give the file that vouches for the others last.
    """
    waiting: list[tuple[Path, Path]] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            temporary = folder / f".{name}.tmp"
            waiting.append((temporary, folder / name))
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for temporary, final in waiting:
            os.replace(temporary, final)
        _sync_folder(folder)
    except OSError as error:
        for temporary, _ in waiting:
            try:
                temporary.unlink(missing_ok=True)
            except OSError:
                pass  # the folder itself is out of reach; the first error tells why
        raise CannotSave(f"{folder} could not be written: {error.strerror or error}") from error


def _sync_folder(folder: Path) -> None:
    # The renames themselves reach the disk with the folder's entry; Windows has no such call.
    if os.name == "posix":
        entry = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(entry)
        finally:
            os.close(entry)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def read_bytes(path: Path, limit: int) -> bytes:
    """A file's content. Raises RunRefused where it is missing, unreadable or larger than `limit` bytes."""
    try:
        size = path.stat().st_size
        if size > limit:
            raise RunRefused(f"{path.name} has {size:,} bytes, more than the {limit:,} that are allowed")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise RunRefused(f"{path.name} is missing") from error
    except OSError as error:
        raise RunRefused(f"{path.name} can't be read: {error.strerror}") from error


def parse_json(content: bytes, name: str) -> Any:
    """JSON without NaN and infinity. Raises RunRefused, with the line, where it is not."""

    def refuse(constant: str) -> None:
        raise RunRefused(f"{name} holds {constant}, which is no number")

    try:
        return json.loads(content.decode("utf-8"), parse_constant=refuse)
    except UnicodeDecodeError as error:
        raise RunRefused(f"{name} is not UTF-8 text") from error
    except json.JSONDecodeError as error:
        raise RunRefused(f"{name} is not JSON: {error.msg} (line {error.lineno})") from error
    except RecursionError as error:
        raise RunRefused(f"{name} is nested too deeply") from error


def tensor_specs(path: Path) -> tuple[dict[str, Spec], int]:
    """Names, shapes and types in a safetensors file, and the size that the file has; reads the header only.

    Raises RunRefused where the header is too long, no JSON, or does not agree with the file's size.
    """
    name = path.name
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or 8 + length > size or length > MAX_HEADER:
                raise RunRefused(
                    f"{name} is truncated or no safetensors file: a header of {length:,} bytes "
                    f"(at most {MAX_HEADER:,}) in a file of {size:,}"
                )
            header = parse_json(file.read(length), f"the header of {name}")
    except FileNotFoundError as error:
        raise RunRefused(f"{name} is missing") from error
    except OSError as error:
        raise RunRefused(f"{name} can't be read: {error.strerror}") from error
    if not isinstance(header, dict):
        raise RunRefused(f"the header of {name} is no list of tensors")
    header.pop("__metadata__", None)
    specs, end = {}, 0
    for key, entry in header.items():
        try:
            dtype, shape, (start, stop) = DTYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
            whole = all(type(number) is int and number >= 0 for number in (*shape, start, stop))
        except (TypeError, KeyError, ValueError) as error:
            raise RunRefused(f"the header of {name} tells no shape, type or place of {key!r}") from error
        if not whole or stop - start != math.prod(shape) * dtype.itemsize:
            raise RunRefused(
                f"the header of {name} lies about the size of {key!r}: {shape} in {start} … {stop}"
            )
        specs[key], end = (tuple(shape), dtype), max(end, stop)
    if 8 + length + end != size:
        raise RunRefused(
            f"{name} has {size:,} bytes where its header tells {8 + length + end:,}: truncated or altered"
        )
    return specs, size


def check_specs(name: str, found: Mapping[str, Spec], expected: Mapping[str, Spec]) -> None:
    """Raises RunRefused where tensors are missing, unexpected, or of another shape or type."""
    missing, surplus = expected.keys() - found.keys(), found.keys() - expected.keys()
    if missing or surplus:
        raise RunRefused(
            f"{name} does not fit the configuration: missing {_some(missing)}; not expected {_some(surplus)}"
        )
    for key, spec in expected.items():
        if found[key] != spec:
            raise RunRefused(
                f"{name}: {key!r} is {found[key][0]} {found[key][1]}, the configuration implies {spec[0]} {spec[1]}"
            )


def read_tensors(path: Path, size: int, sha256: str | None = None) -> dict[str, Tensor]:
    """All tensors of a file whose header was checked.

    Raises RunRefused where the content is not what `sha256` tells, or values are not finite.
    """
    content = read_bytes(path, size)
    if sha256 is not None and digest(content) != sha256:
        raise RunRefused(f"{path.name} was altered: its SHA-256 is not the one in run.json")
    try:
        tensors = load_tensors(content)
    except (SafetensorError, ValueError) as error:
        raise RunRefused(f"{path.name} is no safetensors file: {error}") from error
    for key, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise RunRefused(f"{path.name}: {key!r} holds values that are not finite")
    return tensors


def _some(names: set[str]) -> str:
    shown = ", ".join(sorted(names)[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown or "nothing"
