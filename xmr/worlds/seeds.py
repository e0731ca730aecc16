"""How large the splits are, and which random stream is whose.

Seeds that differ in any number give unrelated streams (np.random.SeedSequence), so the first number keeps splits, pictures,
clips and pre-training apart whatever the others are: no scene of one is met in another.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np

SPLITS = {"train": 10_000, "validation": 1_000, "test": 1_000}
CLIPS = {"train": 2_000, "validation": 500, "test": 500}
CAPTIONS_PER_VISUAL = 5
_SCENES = {"train": 1, "validation": 2, "test": 3}
_PRETRAINING = 4
_CLIPS = {"train": 5, "validation": 6, "test": 7}

Seed = int | Sequence[int]


def split_seed(split: str, seed: int = 0) -> tuple[int, int]:
    """The seed of a split's scenes (and captions) for the data set's own seed. Raises ValueError for an unknown
    split, naming the known ones."""
    return _own(_SCENES, split), seed


def clip_seed(split: str, seed: int = 0) -> tuple[int, int]:
    """The seed of a split's clips, as `split_seed`."""
    return _own(_CLIPS, split), seed


def pretraining_seed(i: int) -> tuple[int, int]:
    """The i-th seed for pre-training: its scenes come from streams that no split uses, at any data-set seed."""
    return _PRETRAINING, i


def _own(streams: dict[str, int], split: str) -> int:
    if split not in streams:
        raise ValueError(f"unknown split {split!r}; there are {', '.join(streams)}")
    return streams[split]


def blocks_of(n: int, size: int, seed: Seed) -> list[np.random.SeedSequence]:
    """A stream for every `size` of n items: n items are a prefix of n + 1 items. Raises ValueError for a negative n."""
    if n < 0:
        raise ValueError(f"n must not be negative, got {n}")
    return [np.random.SeedSequence(seed, spawn_key=(block,)) for block in range(max(1, -(-n // size)))]


def weighted(random: Random, options: Sequence, weights: Sequence[float]):
    """One of the options, drawn by weights. Rests on Random.random() alone, whose stream Python promises to keep."""
    mark = random.random() * sum(weights)
    for option, weight in zip(options, weights, strict=True):
        mark -= weight
        if mark < 0:
            return option
    return options[-1]  # takes what rounding leaves
