"""`blocks`: ray-traced table-top scenes whose captions' truth is known for every picture. NumPy only.

Scenes come from seeds, captions from scenes, truth from scenes and logical forms, pictures from scenes. Splits and
pre-training draw from random streams of their own, so no scene of one is met in another.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np

from xmr.data.blocks.attributes import attribute_groups, attribute_targets
from xmr.data.blocks.captions import ATTRIBUTES, RELATIONS, Forms, sample_captions
from xmr.data.blocks.render import render
from xmr.data.blocks.scenes import (
    COLOURS,
    MATERIALS,
    SHAPES,
    SIZES,
    TABLES,
    Scenes,
    concatenate,
    flip,
    sample_scenes,
)
from xmr.data.blocks.truth import annotated_ceiling, holds, holds_pairs, unannotated_share

__all__ = [
    "ATTRIBUTES", "CAPTIONS_PER_SCENE", "COLOURS", "MATERIALS", "RELATIONS", "SHAPES", "SIZES", "SPLITS", "TABLES",
    "Forms", "Scenes", "annotated_ceiling", "attribute_groups", "attribute_targets", "captions_of",
    "concatenate", "flip", "holds", "holds_pairs", "pretraining_seed", "render", "render_parallel",
    "sample_captions", "sample_scenes", "scenes_of", "split_seed", "unannotated_share",
]

SPLITS = {"train": 10_000, "validation": 1_000, "test": 1_000}
CAPTIONS_PER_SCENE = 5

# First number of every seed: what the stream is for. Seeds that differ in any number give unrelated streams
# (np.random.SeedSequence), so these keep splits and pre-training apart whatever the other numbers are.
_STREAMS = {"train": 1, "validation": 2, "test": 3, "pretraining": 4}
_CHUNK = 64  # pictures per task: about half a second


def split_seed(split: str, seed: int = 0) -> tuple[int, int]:
    """The seed of a split's scenes (and captions) for the data set's own seed. Raises ValueError for an unknown
    split, naming the known ones."""
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; there are {', '.join(SPLITS)}")
    return _STREAMS[split], seed


def pretraining_seed(i: int) -> tuple[int, int]:
    """The i-th seed for pre-training: its scenes come from streams that no split uses, at any data-set seed."""
    return _STREAMS["pretraining"], i


def scenes_of(split: str, seed: int = 0) -> Scenes:
    """The scenes of a split: 10,000 for train, 1,000 for validation and for test."""
    return sample_scenes(SPLITS[split] if split in SPLITS else 0, split_seed(split, seed))


def captions_of(split: str, difficulty: float = 0.5, seed: int = 0) -> tuple[list[str], Forms]:
    """Five captions for every scene of a split, scene-major, and their forms."""
    scenes = scenes_of(split, seed)
    return sample_captions(scenes, CAPTIONS_PER_SCENE, difficulty, split_seed(split, seed))


def render_parallel(
    scenes: Scenes, size: int = 64, workers: int | None = None, progress: Callable[[int], object] | None = None
) -> np.ndarray:
    """`render` over processes: the same bytes, (N, size, size, 3) uint8. `workers` defaults to the processors this
    process may use; 1 renders here. `progress` is called with the number of finished pictures.

    Processes are forked where that is safe (one thread, not macOS or Windows), else spawned, which needs the usual
    `if __name__ == "__main__":` in the calling script."""
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    chunks = [scenes[start : start + _CHUNK] for start in range(0, len(scenes), _CHUNK)]
    pictures = np.empty((len(scenes), size, size, 3), np.uint8)
    work = partial(render, size=size)

    def collect(results) -> np.ndarray:
        done = 0
        for part in results:
            pictures[done : done + len(part)] = part
            done += len(part)
            if progress is not None:
                progress(done)
        return pictures

    workers = min(workers, len(chunks))
    if workers <= 1:
        return collect(map(work, chunks))
    fork = "fork" in multiprocessing.get_all_start_methods() and threading.active_count() == 1
    context = multiprocessing.get_context("fork" if fork else "spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        return collect(pool.map(work, chunks))
