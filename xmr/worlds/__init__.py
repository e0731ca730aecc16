"""`blocks`: ray-traced table-top scenes whose captions' truth is known for every picture. NumPy only.

Scenes come from seeds, captions from scenes, truth from scenes and logical forms, pictures from scenes. Splits and
pre-training draw from random streams of their own, so no scene of one is met in another.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import numpy as np

from xmr.worlds.attributes import attribute_groups, attribute_targets
from xmr.worlds.captions import ATTRIBUTES, RELATIONS, Forms, sample_captions
from xmr.worlds.render import render
from xmr.worlds.scenes import (
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
from xmr.worlds.truth import annotated_ceiling, holds, holds_pairs, informed_ceiling, unannotated_share
from xmr.worlds.worker import CHUNK

__all__ = [
    "ATTRIBUTES",
    "CAPTIONS_PER_SCENE",
    "COLOURS",
    "MATERIALS",
    "RELATIONS",
    "SHAPES",
    "SIZES",
    "SPLITS",
    "TABLES",
    "Forms",
    "Scenes",
    "annotated_ceiling",
    "attribute_groups",
    "attribute_targets",
    "captions_of",
    "concatenate",
    "flip",
    "holds",
    "holds_pairs",
    "informed_ceiling",
    "pretraining_seed",
    "render",
    "render_parallel",
    "sample_captions",
    "sample_scenes",
    "scenes_of",
    "split_seed",
    "unannotated_share",
]

SPLITS = {"train": 10_000, "validation": 1_000, "test": 1_000}
CAPTIONS_PER_SCENE = 5

# First number of every seed: what the stream is for. Seeds that differ in any number give unrelated streams
# (np.random.SeedSequence), so these keep splits and pre-training apart whatever the other numbers are.
_STREAMS = {"train": 1, "validation": 2, "test": 3, "pretraining": 4}


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
    own_seed = split_seed(split, seed)
    return sample_scenes(SPLITS[split], own_seed)


def captions_of(split: str, difficulty: float = 0.5, seed: int = 0) -> tuple[list[str], Forms]:
    """Five captions for every scene of a split, scene-major, and their forms."""
    scenes = scenes_of(split, seed)
    return sample_captions(scenes, CAPTIONS_PER_SCENE, difficulty, split_seed(split, seed))


def render_parallel(
    scenes: Scenes,
    size: int = 64,
    workers: int | None = None,
    progress: Callable[[int], object] | None = None,
    lift: np.ndarray | None = None,
) -> np.ndarray:
    """`render` over processes: the same bytes, (N, size, size, 3) uint8. `workers` defaults to the processors this
    process may use; 1 renders here. `progress` is called with the number of finished pictures. `lift` (N, 4) as
    for `render`.

    Raises RuntimeError with a process's last words where one fails."""
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if lift is None:
        lift = np.zeros(scenes.x.shape, np.float32)
    pictures = np.empty((len(scenes), size, size, 3), np.uint8)
    finished = _Finished(progress)
    if workers <= 1 or len(scenes) <= CHUNK:
        for start in range(0, len(scenes), CHUNK):
            part = slice(start, start + CHUNK)
            pictures[part] = render(scenes[part], size, lift=lift[part])
            finished.add(min(CHUNK, len(scenes) - start))
        return pictures
    bounds = np.linspace(0, len(scenes), workers + 1).astype(int)
    with ThreadPoolExecutor(workers) as pool:
        parts = [
            pool.submit(
                _render_elsewhere, scenes[start:stop], lift[start:stop], pictures[start:stop], finished
            )
            for start, stop in pairwise(bounds)
        ]
        for part in parts:
            part.result()
    return pictures


class _Finished:
    """Counts finished pictures of several threads."""

    def __init__(self, progress: Callable[[int], object] | None):
        self.progress, self.done, self.lock = progress, 0, threading.Lock()

    def add(self, count: int) -> None:
        with self.lock:
            self.done += count
            if self.progress is not None:
                self.progress(self.done)


def _render_elsewhere(scenes: Scenes, lift: np.ndarray, pictures: np.ndarray, finished: _Finished) -> None:
    """Fills `pictures` from a process of its own (see `worker`)."""
    size = pictures.shape[1]
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
    arrays = io.BytesIO()
    np.savez(arrays, lift=lift, **{f.name: getattr(scenes, f.name) for f in fields(scenes)})
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as words:
        source.write(arrays.getvalue())
        source.seek(0)
        command = [sys.executable, "-m", "xmr.worlds.worker", str(size)]
        with subprocess.Popen(
            command, stdin=source, stdout=subprocess.PIPE, stderr=words, env=environment
        ) as process:
            for start in range(0, len(scenes), CHUNK):
                part = pictures[start : start + CHUNK]
                data = process.stdout.read(part.nbytes)
                if len(data) < part.nbytes:
                    break
                part[:] = np.frombuffer(data, np.uint8).reshape(part.shape)
                finished.add(len(part))
            else:
                return
        words.seek(0)
        raise RuntimeError(f"rendering failed: {words.read().decode(errors='replace')[-2000:]}")
