"""One process of `render_parallel`: scenes and lifts come in as NumPy's npz, pictures go out as raw bytes.

    python -m xmr.worlds.worker SIZE < scenes.npz > pictures.bin

A program of its own, because multiprocessing would import the caller's main module again, and so needs a guard there
that people's short scripts don't have.
"""

from __future__ import annotations

import io
import sys
from dataclasses import fields

import numpy as np

from xmr.worlds.render import render
from xmr.worlds.scenes import Scenes

CHUNK = 64  # pictures written at once: about half a second


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
