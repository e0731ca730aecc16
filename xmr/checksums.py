"""Content that is known by its SHA-256: files of any kind, and tensors in safetensors files that carry their own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, deserialize, safe_open

from xmr.disk import Refused

SEAL = "tensors_sha256"  # its name in a file's metadata


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def digest_of(path: Path) -> str:
    """SHA-256 of a file of any size."""
    known = hashlib.sha256()
    with path.open("rb") as file:  # hashlib.file_digest came with Python 3.11
        while part := file.read(1 << 20):
            known.update(part)
    return known.hexdigest()


def sealed(save: Callable[..., bytes], tensors: Mapping[str, Any]) -> bytes:
    """The safetensors file that `save` of either framework makes, with the SHA-256 of its tensors and of their names, shapes
    and types."""
    return save(tensors, {SEAL: _sum(save(tensors))})


def check_seal(path: Path, content: bytes, needed: bool = True) -> None:
    """Raises Refused where the safetensors file at `path`, of that content, is not what `sealed` made; one without a seal
    passes unless it is `needed`."""
    try:
        with safe_open(path, "numpy") as file:
            told = (file.metadata() or {}).get(SEAL)
        altered = (needed or told is not None) and told != _sum(content)
    except (SafetensorError, OSError) as error:
        raise Refused(f"{path.name} is truncated or no whole safetensors file: {error}") from error
    if altered:
        raise Refused(f"{path.name} was altered: its SHA-256 is not the one that it was written with")


def _sum(content: bytes) -> str:
    known = hashlib.sha256()
    for name, tensor in sorted(deserialize(content)):
        known.update(json.dumps([name, tensor["dtype"], tensor["shape"]]).encode())
        known.update(tensor["data"])
    return known.hexdigest()
