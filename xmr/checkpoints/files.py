"""What a run folder may hold: tensors read with suspicion, and the shapes and types that they must have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor

from xmr.checksums import check_seal, digest
from xmr.disk import Refused, printable, read

MAX_FILE = 4 << 30  # bytes of a file of tensors
MAX_HEADER = 1 << 20  # bytes; one of half a million tensors costs seconds and hundreds of megabytes
MAX_JSON = 8 << 20  # bytes of words or of a history
Spec = tuple[tuple[int, ...], torch.dtype]  # shape and dtype of a tensor

RunRefused = Refused  # of a run: a folder that is no whole, untouched one


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


def read_tensors(
    path: Path, expected: Mapping[str, Spec] | None = None, sha256: str | None = None, most: int = MAX_FILE
) -> dict[str, Tensor]:
    """All tensors of a file of at most `most` bytes, which must be the `expected` ones; no more is read than these take.

    Raises RunRefused where they are not, the content is not what `sha256` tells (without it: what the file itself tells,
    if it does), the file is no whole safetensors file, or values are not finite.
    """
    name, limit = path.name, most
    if expected is not None:
        taken = sum(math.prod(shape) * dtype.itemsize for shape, dtype in expected.values())
        limit = min(limit, 8 + MAX_HEADER + taken)
    content = read(path, limit)
    if sha256 is not None and digest(content) != sha256:
        raise RunRefused(f"{name} was altered or truncated: its SHA-256 is not the one that the run tells")
    if (header := int.from_bytes(content[:8], "little")) > MAX_HEADER:
        raise RunRefused(f"{name} has a header of {header:,} bytes, at most {MAX_HEADER:,} are allowed")
    check_seal(path, content, needed=False)
    try:
        tensors = load_tensors(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise RunRefused(f"{name} is no whole safetensors file: {error}") from error
    if expected is not None:
        check_specs(name, {key: (tuple(one.shape), one.dtype) for key, one in tensors.items()}, expected)
    for key, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise RunRefused(f"{name}: {key!r} holds values that are not finite")
    return tensors


def _some(names: set[str]) -> str:
    shown = printable(", ".join(sorted(names)[:3]))
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown or "nothing"
