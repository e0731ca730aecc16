"""Why a pair scores as it does: what its score loses without a word, without a part of its picture, or without a frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

GRID = 7  # rows and columns of the parts of a picture

Frame = TypeVar("Frame")


def changes(scores: np.ndarray) -> np.ndarray:
    """What each part adds to a score, (N,) float64: the score of the whole, which is the first of (N + 1,), less that without
    the part. Above 0 the score falls without it, below 0 it rises.

    Reference: leave-one-out, as Li et al., Understanding Neural Networks through Representation Erasure, 2016,
        https://arxiv.org/abs/1612.08220; of pictures Zeiler and Fergus, Visualizing and Understanding Convolutional Networks,
        ECCV 2014, https://arxiv.org/abs/1311.2901, section 4.2.
    """
    scores = np.asarray(scores, np.float64)
    return scores[0] - scores[1:]


def without_each(text: str, spans: Sequence[tuple[int, int]]) -> list[str]:
    """The text without each of the spans; the spaces around it stay, as what reads texts makes one of them."""
    return [text[:start] + text[end:] for start, end in spans]


def cells(height: int, width: int, grid: int = GRID) -> list[tuple[slice, slice]]:
    """The parts of a picture, grid × grid, row by row: the rows and the columns of each, which differ by one pixel at most."""
    down, across = (np.round(np.linspace(0, side, grid + 1)).astype(int).tolist() for side in (height, width))
    return [
        (slice(*down[row : row + 2]), slice(*across[column : column + 2]))
        for row in range(grid)
        for column in range(grid)
    ]


def occluded(picture: np.ndarray, grid: int = GRID) -> np.ndarray:
    """The picture (H, W, 3) uint8 with each of its `cells` in the picture's own mean grey, (grid², H, W, 3) uint8."""
    height, width = picture.shape[:2]
    found = np.repeat(picture[None], grid * grid, axis=0)
    grey = np.uint8(np.round(picture.mean()))
    for one, (rows, columns) in zip(found, cells(height, width, grid), strict=True):
        one[rows, columns] = grey
    return found


def without_frames(frames: Sequence[Frame]) -> list[list[Frame]]:
    """The frames of a clip without each of them; none of a clip of one frame, of which nothing would be left."""
    if len(frames) < 2:
        return []
    return [[*frames[:at], *frames[at + 1 :]] for at in range(len(frames))]
