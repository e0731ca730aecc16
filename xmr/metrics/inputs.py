"""What comes in: tensors and arrays, checked, as NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray | Tensor


def array(values: Any) -> np.ndarray:
    """A tensor or array-like as an array on the CPU, without a copy where it can be."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    return np.asarray(values)


def float32(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32)


def matrix(values: Any, name: str) -> np.ndarray:
    """A float matrix that is not empty. Raises ValueError."""
    values = array(values)
    if values.ndim != 2 or not np.issubdtype(values.dtype, np.floating) or 0 in values.shape:
        raise ValueError(
            f"{name} must be a float matrix that is not empty, found {values.shape} {values.dtype}"
        )
    return values


def mask(positives: Any, scores: np.ndarray) -> np.ndarray:
    """Bool of the scores' shape, the diagonal where None is given. Raises ValueError."""
    if positives is None:
        if scores.shape[0] != scores.shape[1]:
            raise ValueError(
                f"without positives the diagonal is positive, so scores must be square, found {scores.shape}"
            )
        return np.eye(len(scores), dtype=bool)
    positives = array(positives)
    if positives.shape != scores.shape or positives.dtype != bool:
        raise ValueError(
            f"positives must be bool of the scores' shape {scores.shape}, found {positives.shape} {positives.dtype}"
        )
    return positives


def embeddings(visual: Any, text: Any) -> tuple[np.ndarray, np.ndarray]:
    """Float matrices of one dimension. Raises ValueError."""
    visual, text = matrix(visual, "visual"), matrix(text, "text")
    if visual.shape[1] != text.shape[1]:
        raise ValueError(f"visual {visual.shape} and text {text.shape} differ in their dimension")
    return visual, text


def groups(values: Any, count: int, name: str, of: str) -> np.ndarray:
    """(count,) int; `of` says what there is one for each of. Raises ValueError."""
    values = array(values)
    if values.shape != (count,) or not np.issubdtype(values.dtype, np.integer):
        raise ValueError(
            f"{name} must be ({count},) int, one for each {of}, found {values.shape} {values.dtype}"
        )
    return values


def class_labels(values: Any, count: int, classes: Sequence[str]) -> np.ndarray:
    """(count,) int, indices into `classes`. Raises ValueError."""
    values = groups(values, count, "labels", "query")
    if values.min() < 0 or values.max() >= len(classes):
        wrong = values.min() if values.min() < 0 else values.max()
        raise ValueError(f"label {wrong} is none of the {len(classes)} classes 0 … {len(classes) - 1}")
    return values
