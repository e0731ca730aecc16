"""Two files of embeddings that any model made: read, checked, and put beside the split that they are of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scripts.command import say
from xmr.data import Dataset
from xmr.data.summary import size
from xmr.metrics import is_chance


def two_arrays(name: str, paths: Sequence[str]) -> list[np.ndarray]:
    """The embeddings (N, D) of two .npy files; tells where they are not of unit length. Raises ValueError where they are no
    embeddings in one space."""
    found = [floats(Path(path).expanduser()) for path in paths]
    if found[0].shape[1] != found[1].shape[1]:
        widths = " and ".join(str(array.shape[1]) for array in found)
        raise ValueError(f"--embeddings {name}: {widths} dimensions are no one space; are both of one model?")
    return found


def floats(path: Path) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, MemoryError) as error:
        raise ValueError(f"{path} is no .npy file of numbers: {error}") from error
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind != "f" or not array.size:
        told = f"{array.shape} {array.dtype}" if isinstance(array, np.ndarray) else "an archive"
        raise ValueError(f"{path} holds {told}; write floats (N, D)")
    lengths = np.linalg.norm(array.astype(np.float32), axis=1)
    broken = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
    if len(broken):
        raise ValueError(f"{path}: row {broken[0]} is zero or not finite")
    if np.abs(lengths - 1).max() > 0.01:
        say(f"{path}: lengths {lengths.min():.3g} … {lengths.max():.3g}, normalised here")
    return array


def unit(array: np.ndarray) -> np.ndarray:
    """Rows of unit length, float32."""
    single = array.astype(np.float32)
    return single / np.linalg.norm(single, axis=1, keepdims=True)


def check_rows(name: str, sides: Sequence[np.ndarray], data: Dataset) -> None:
    """Raises ValueError where the sides have not a row for each visual and each caption."""
    expected = list(size(data).items())
    counts = [len(array) for array in sides]
    if counts == [count for _, count in expected[::-1]] != [count for _, count in expected]:
        raise ValueError(f"{name}: the two files are swapped; {expected[0][0]} come first")
    for rows, (what, count) in zip(counts, expected, strict=True):
        if rows != count:
            raise ValueError(
                f"{name}: {rows:,} rows for the {count:,} {what} of {data.name} ({data.split}); write one for each, in the "
                "order of the data"
            )


def tell_chance(name: str, metrics: dict[str, float], data: Dataset) -> None:
    """Warns where the metrics are no better than chance, as they are of rows in another order."""
    if data.classes is None and is_chance(metrics["rsum"], data.visual_group, data.text_group):
        say(
            f"warning: {name} is no better than chance: are its rows in the order of {data.name} ({data.split})?"
        )
