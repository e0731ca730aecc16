"""A dataset and a matcher that train in a second: three attributes per item, named in its captions."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.io import savemat

from xmr.core import Step, TrainConfig
from xmr.data import SPLITS, Dataset
from xmr.losses import LOSSES
from xmr.training import train

WORDS = ["red", "green", "blue", "dog", "cat", "house", "runs", "jumps", "sleeps", "tree"]
COLOURS = ("red", "green", "blue", "yellow", "white", "black")
DIM = 12
CLASSES = 4
SIZES = {"train": 60, "validation": 30, "test": 24}
SMALL = {"embed_dim": 16, "word_dim": 8, "channels": 8, "word_dropout": 0.1}  # for every text tower


def items(split: str) -> tuple[np.ndarray, list[str]]:
    """Features (N, DIM) and two captions of each item."""
    rng = np.random.default_rng(SPLITS.index(split))
    codes = rng.integers(0, len(WORDS), (SIZES[split], 3))
    directions = np.random.default_rng(9).normal(size=(len(WORDS), DIM))
    features = directions[codes].sum(1) + 0.1 * rng.normal(size=(len(codes), DIM))
    captions = [" ".join(WORDS[i] for i in order) for code in codes for order in (code, code[::-1])]
    return features.astype(np.float32), captions


def dataset(split: str, **changes: Any) -> Dataset:
    features, captions = items(split)
    parts: dict[str, Any] = {
        "name": "tiny",
        "split": split,
        "captions": captions,
        "visual_of_text": np.repeat(np.arange(len(features)), 2),
        "visual_ids": [f"{split}-{i}" for i in range(len(features))],
        "fingerprint": f"tiny {split}",
        "visual_features": features,
    }
    return Dataset(**parts | changes)


def with_text_features(split: str) -> Dataset:
    """The same captions as counts of words."""
    _, captions = items(split)
    counts = [[caption.split().count(word) for word in WORDS] for caption in captions]
    return dataset(split, text_features=np.array(counts, np.float16))


def config(**changes: Any) -> TrainConfig:
    parts: dict[str, Any] = {
        "dataset": "tiny", "loss": "info_nce", "matcher_params": SMALL, "epochs": 3, "batch_size": 32, "lr": 0.02,
    }  # fmt: skip
    return TrainConfig(**parts | changes)


def fit(settings: TrainConfig, folder: Path | None = None, **options: Any) -> tuple[list[Step], Any]:
    """All steps of a training, and what it returns."""
    steps, running = [], train(settings, folder, load=options.pop("load", dataset), **options)
    try:
        while True:
            steps.append(next(running))
    except StopIteration as stop:
        return steps, stop.value


def stopped(settings: TrainConfig, folder: Path, steps: int) -> None:
    """A training that is interrupted after so many steps."""
    running = train(settings, folder, load=dataset)
    for _ in range(steps):
        next(running)
    running.close()


def asking(loss: str, folder: Path) -> dict[str, Any]:
    """Parameters of a loss: where it asks other runs, one that is trained for it in `folder`; else none."""
    if "peer_scores" not in LOSSES[loss].needs:
        return {}
    fit(config(epochs=2, matcher_params={"embed_dim": 16}), folder)
    return {"runs": str(folder)}


def state_bytes(matcher: torch.nn.Module) -> bytes:
    return b"".join(t.numpy().tobytes() for _, t in sorted(matcher.state_dict().items()))


def write_folder(folder: Path) -> Path:
    """The dataset as a folder of precomputed features, for the scripts."""
    folder.mkdir(parents=True)
    features, names = [], []
    with (folder / "captions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "caption", "split"])
        for split in SPLITS:
            values, captions = items(split)
            features.append(values)
            names += [f"{split}-{i}" for i in range(len(values))]
            writer.writerows([f"{split}-{i // 2}", caption, split] for i, caption in enumerate(captions))
    np.savez(folder / "features.npz", names=np.array(names), features=np.concatenate(features))
    return folder


def write_photos(folder: Path, count: int = 60) -> Path:
    """So many pictures of two colours, each with a caption that names both, in three splits of one size."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    with (folder / "metadata.jsonl").open("w") as file:
        for i in range(count):
            ground, spot = (str(colour) for colour in rng.choice(COLOURS, 2, replace=False))
            picture = Image.new("RGB", (40, 40), ground)
            picture.paste(Image.new("RGB", (20, 10 + i // 6), spot), (5, 5))
            picture.save(folder / f"{i}.png")
            caption = f"{spot} on {ground}, number {i}"
            line = {
                "file_name": f"{i}.png",
                "caption": caption,
                "split": ("train", "validation", "test")[i % 3],
            }
            file.write(json.dumps(line) + "\n")
    return folder


def write_classes(folder: Path) -> Path:
    """A .mat of two class-labelled views, noise around a centre of each class, for the scripts."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(3)
    centres = {view: rng.normal(size=(CLASSES, DIM)) for view in "IT"}
    views = {}
    for part, rows in (("tr", 80), ("te", 24)):
        labels = np.arange(rows) % CLASSES
        views[f"L_{part}"] = labels[:, None] + 1.0
        for view, centre in centres.items():
            views[f"{view}_{part}"] = centre[labels] + rng.normal(size=(rows, DIM))
    savemat(folder / "views.mat", views)
    return folder


def epochs(steps: list[Step]) -> Iterator[Step]:
    return (step for step in steps if step.metrics is not None)
