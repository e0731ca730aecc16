"""Where a sample of the test split lay at moments of a training: a small file of a run's folder, from which it is replayed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as tensor_bytes
from torch import Tensor

from xmr.checkpoints.files import RunRefused, read_tensors

MOST = 1_500_000  # bytes of the file
FEWEST = 2  # moments, and items of a side: of fewer nothing can be shown


@dataclass(frozen=True, eq=False)
class Snapshots:
    """A sample of the test split at M moments.

    `steps` (M,) int64, ascending: optimiser steps done by then; the first is 0, before the training, and the last that of
    the weights which the run has. `visuals` (V,) and `texts` (T,) int64: which items, ascending. `visual` (M, V, E) and
    `text` (M, T, E): their unit embeddings, of a pair scorer those of its first stage; `scores` (M, V, T) is what one says
    of their pairs, None elsewhere. float32 from half precision.
    """

    steps: np.ndarray
    visuals: np.ndarray
    texts: np.ndarray
    visual: np.ndarray
    text: np.ndarray
    scores: np.ndarray | None = None


def snapshot_bytes(found: Snapshots) -> bytes:
    """The content of the file."""
    halves = {"visual": found.visual, "text": found.text} | (
        {} if found.scores is None else {"scores": found.scores}
    )
    numbers = {"steps": found.steps, "visuals": found.visuals, "texts": found.texts}
    tensors = {name: torch.from_numpy(part).half() for name, part in halves.items()}
    return tensor_bytes(tensors | {name: torch.from_numpy(part) for name, part in numbers.items()})


def read_snapshots(
    path: Path, sha256: str, embed_dim: int, size: dict[str, int], scores_pairs: bool
) -> Snapshots:
    """The snapshots in a file of a run whose embeddings have so many dimensions; `size` are the "visuals" and "texts" of its
    test split. Raises RunRefused where the file is altered, or not of such a run."""
    found = read_tensors(path, sha256=sha256, most=MOST)
    moments, visuals, texts = (_numbers(path, found, name) for name in ("steps", "visuals", "texts"))
    for name, numbers, end in (
        ("visuals", visuals, size["visuals"]),
        ("texts", texts, size["texts"]),
        ("steps", moments, None),
    ):
        ascends = len(numbers) >= FEWEST and bool((np.diff(numbers) > 0).all()) and numbers[0] >= 0
        if not ascends or (end is not None and numbers[-1] >= end):
            raise RunRefused(f"{path.name}: {name} are not ascending numbers of the test split's or of steps")
    count = len(moments)
    shapes = {"visual": (count, len(visuals), embed_dim), "text": (count, len(texts), embed_dim)}
    if scores_pairs:
        shapes["scores"] = count, len(visuals), len(texts)
    for name, shape in shapes.items():
        part = found.pop(name, None)
        if part is None or (tuple(part.shape), part.dtype) != (shape, torch.float16):
            there = "nothing" if part is None else f"{tuple(part.shape)} {part.dtype}"
            raise RunRefused(f"{path.name}: {name!r} is {there}, the run implies {shape} {torch.float16}")
        shapes[name] = part.float().numpy()
    return Snapshots(moments, visuals, texts, **shapes)


def _numbers(path: Path, found: dict[str, Tensor], name: str) -> np.ndarray:
    part: Any = found.pop(name, None)
    if part is None or part.ndim != 1 or part.dtype != torch.int64:
        raise RunRefused(f"{path.name}: {name!r} is no list of whole numbers")
    return part.numpy()
