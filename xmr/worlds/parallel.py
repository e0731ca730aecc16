"""`render` over processes.

    python -m xmr.worlds.parallel SIZE < scenes.npz > pictures.bin

Scenes and lifts go in as NumPy's npz, pictures come out as raw bytes. A program of its own, because multiprocessing would
import the caller's main module again, and so needs a guard there that people's short scripts don't have.
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

from xmr.worlds.render import render
from xmr.worlds.scenes import Scenes

CHUNK = 64  # pictures written at once: about half a second


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
    """Fills `pictures` from a process of its own."""
    size = pictures.shape[1]
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as words:
        np.savez(source, lift=lift, **{f.name: getattr(scenes, f.name) for f in fields(scenes)})
        source.seek(0)
        command = [sys.executable, "-m", "xmr.worlds.parallel", str(size)]
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


def main() -> None:
    size = int(sys.argv[1])
    with np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False) as arrays:
        lift = arrays["lift"]
        scenes = Scenes(**{f.name: arrays[f.name] for f in fields(Scenes)})
    for start in range(0, len(scenes), CHUNK):
        part = slice(start, start + CHUNK)
        sys.stdout.buffer.write(render(scenes[part], size, lift=lift[part]).tobytes())
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
