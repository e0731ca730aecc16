"""Data for benchmarks/app.py: 25,000 pictures, 125,000 captions and six runs with 512 dimensions.

Six losses are trained for an epoch on `blocks` (2,000 pictures), so that free texts can be searched. Of the test split's
1,000 pictures and 5,000 captions there are 25 of each, whose embeddings are those of the original with noise: an angle of
about 27 degrees, so that no two are alike. Pictures are hard links.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from scripts import train
from xmr.checkpoints import Trained, load_run, save_run
from xmr.data import load_dataset
from xmr.losses import LOSSES
from xmr.losses.base import learnable

NAMES = ("info_nce", "max_of_hinges", "siglip", "polynomial", "contrastive", "sum_of_hinges")
COPIES, NOISE = 25, 0.5


def make_large(folder: Path) -> tuple[Path, Path]:
    """The folders of the pictures and of the runs below `folder`, made if they aren't there."""
    data, runs, ready = folder / "large", folder / "runs", folder / "ready"
    if ready.exists():
        return data, runs
    for part in (data, runs):
        shutil.rmtree(part, ignore_errors=True)
    trained = folder / "trained"  # what was trained already is left as it is
    train.main(
        ["--dataset", "blocks", "--loss", *NAMES, "--set", "embed_dim=512", "--epochs", "1", "--train-visuals", "2000",
         "--resume", "--out", str(trained)]
    )  # fmt: skip
    small = load_dataset("blocks", "test")
    _write_pictures(small, data / "test")
    large = load_dataset(str(data), "test")
    origin = np.array([int(Path(name).stem.split("-")[1]) for name in large.visual_ids])
    number = np.arange(len(large.captions)) - np.searchsorted(large.visual_of_text, large.visual_of_text)
    first = np.searchsorted(small.visual_of_text, np.arange(len(small.visual_ids)))
    of_text = first[origin[large.visual_of_text]] + number
    for loss in NAMES:
        run = load_run(trained / loss)
        visual, text = run.embeddings()
        rng = np.random.default_rng(0)
        sides = _noisy(visual[origin], rng), _noisy(text[of_text], rng)
        save_run(
            runs / loss,
            Trained(
                config=replace(run.config, dataset=str(data), encoder="blocks"),
                matcher=run.matcher(),
                learned={name: run.loss_values[name] for name in learnable(LOSSES[loss])},
                vocabulary=None,
                dataset={
                    "name": large.name,
                    "fingerprints": {"test": large.fingerprint},
                    "sizes": {"test": {"visuals": len(large.visual_ids), "texts": len(large.captions)}},
                },
                encoder=run.encoder,
                metrics=run.metrics,  # of the original: measuring anew is not what is timed
                history=run.history,
                embeddings=sides,
            ),
        )
    ready.touch()
    return data, runs


def _write_pictures(small: object, folder: Path) -> None:
    folder.mkdir(parents=True)
    lines = []
    for index in range(len(small.visual_ids)):
        captions = [small.captions[text] for text in np.flatnonzero(small.visual_of_text == index)]
        original = folder / f"00-{index:04d}.jpg"
        image: Image.Image = small.image(index)
        image.save(original, quality=85)
        for copy in range(COPIES):
            name = f"{copy:02d}-{index:04d}.jpg"
            if copy:
                os.link(original, folder / name)
            objects = int(small.columns["objects"][index]) if "objects" in small.columns else 0
            lines.append({"file_name": name, "captions": captions, "objects": objects, "copy": copy})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def _noisy(vectors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    vectors = np.asarray(vectors, np.float32)
    drawn = rng.standard_normal(vectors.shape, dtype=np.float32) * (NOISE / vectors.shape[1] ** 0.5)
    vectors = vectors + drawn
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
