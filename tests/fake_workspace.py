"""A small workspace without training: drawn pictures, embeddings with planted structure, truth known.

Captions name the colour, the shape or both, so many are true of many pictures, as in blocks.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from xmr.core import TrainConfig
from xmr.data.dataset import Dataset, Truth
from xmr.embedding import Frozen
from xmr.losses import LOSSES
from xmr.workspace import Workspace

COLOURS = {
    "red": (205, 60, 55), "green": (60, 150, 80), "blue": (55, 105, 200), "yellow": (225, 185, 50),
    "purple": (130, 80, 170),
}  # fmt: skip
SHAPES = ("circle", "square", "triangle", "ring")
WORDS = (*COLOURS, *SHAPES)
SIZES = {"test": 60, "validation": 20, "train": 40}
# What a template, a template literal or innerHTML would run or draw; every tab must show it letter by letter.
MARKUP = r"<script>alert(1)</script><b>bold</b> ${window.pwned=1} \x3cimg src=x onerror=window.pwned=2\x3e"
# Loss, its learned values, and how much noise blurs the run: the runs must disagree.
RUNS = {
    "info_nce": ({"temperature": 0.05}, 0.5),
    "max_of_hinges": ({"margin": 0.2}, 0.8),
    "siglip": ({"scale": 12.0, "bias": -9.0}, 1.1),
}


@dataclass(frozen=True)
class FakeRun:
    """What the workspace and the tabs ask of a run (see `xmr.checkpoints.Run`)."""

    name: str
    path: Path
    config: TrainConfig
    dataset: dict[str, Any]
    encoder: dict[str, Any]
    metrics: dict[str, dict[str, float]]
    loss_values: dict[str, float]
    data: Dataset
    noise: float
    about: str = "mean of 2 runs"  # said of combinations
    independent: bool = True

    @property
    def last_loss(self) -> tuple[str, dict[str, Any]]:
        return self.config.loss, self.config.loss_params | self.loss_values

    def embeddings(self) -> tuple[np.ndarray, np.ndarray]:
        return FakeEmbedder().embed_dataset(self, self.data)


@dataclass(frozen=True)
class FakeFault:
    path: Path
    reason: str


class FakeEmbedder:
    """Counts attribute words, blurred by noise that depends on the run and the item only."""

    def embed_texts(self, run: FakeRun, texts: list[str]) -> np.ndarray:
        return np.stack(
            [_blurred(run, f"t {text}", [float(w in text.lower()) for w in WORDS]) for text in texts]
        )

    def embed_visuals(self, run: FakeRun, images: list[Image.Image]) -> np.ndarray:
        return np.stack([_blurred(run, f"v {image.size}", _seen(image)) for image in images])

    def embed_dataset(self, run: FakeRun, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
        kinds = zip(dataset.columns["colour"], dataset.columns["shape"], strict=True)
        visual = [
            _blurred(run, f"v {name}", [float(w in kind) for w in WORDS])
            for name, kind in zip(dataset.visual_ids, kinds, strict=True)
        ]
        return np.stack(visual), self.embed_texts(run, dataset.captions)

    def frozen_features(self, dataset: Dataset, encoder: str) -> Frozen:
        """Pictures by what they show; captions have none, so they are compared by their words."""
        kinds = zip(dataset.columns["colour"], dataset.columns["shape"], strict=True)
        return Frozen(np.array([[float(w in kind) for w in WORDS] for kind in kinds], np.float32), None)


def make_dataset(split: str = "test") -> Dataset:
    """Drawn shapes with two captions each; the second caption of the fourth is markup."""
    rng = np.random.default_rng(zlib.crc32(split.encode()))
    count = SIZES[split]
    colours = [list(COLOURS)[i] for i in rng.integers(0, len(COLOURS), count)]
    shapes = [SHAPES[i] for i in rng.integers(0, len(SHAPES), count)]
    captions, links = [], []
    for i, (colour, shape) in enumerate(zip(colours, shapes, strict=True)):
        loose = f"something {colour} on a pale ground" if i % 2 else f"a {shape} that stands alone"
        captions += [f"a {colour} {shape}", f"{loose} {MARKUP}" if i == 3 else loose]
        links += [i, i]
    names = np.array([[float(w in kind) for w in WORDS] for kind in zip(colours, shapes, strict=True)])
    said = np.array([[float(w in caption) for w in WORDS] for caption in captions])

    def block(visuals: np.ndarray, texts: np.ndarray) -> np.ndarray:
        # True where every attribute that the caption names is the picture's.
        return (names[visuals] @ said[texts].T == said[texts].sum(1)).astype(np.float32)

    def pairs(visuals: np.ndarray, texts: np.ndarray) -> np.ndarray:
        return ((names[visuals] * said[texts]).sum(1) == said[texts].sum(1)).astype(np.float32)

    return Dataset(
        name="shapes",
        split=split,
        captions=captions,
        visual_of_text=np.array(links, dtype=np.int64),
        visual_ids=[f"{split}-{i:03d}" for i in range(count)],
        fingerprint=hashlib.sha256(f"shapes {split}".encode()).hexdigest(),
        visuals=[_draw(*kind, seed=i) for i, kind in enumerate(zip(colours, shapes, strict=True))],
        columns={"colour": colours, "shape": shapes},
        truth=Truth(block, pairs, complete=True, source="how the pictures were drawn"),
    )


def make_run(
    name: str, root: Path, data: Dataset, noise: float, values: dict[str, float], loss: str | None = None
) -> FakeRun:
    """A run of that loss (None: of the loss that it is called after; "": a combination, which has none)."""
    metrics = {f"{d}/recall_at_{k}": 0.9 - noise / 2 + k / 50 for d in ("v2t", "t2v") for k in (1, 5, 10)}
    return FakeRun(
        name=name,
        path=root / name,
        config=TrainConfig(dataset="shapes", loss=name if loss is None else loss, loss_params=dict(values)),
        dataset={
            "name": "shapes",
            "fingerprints": {split: make_dataset(split).fingerprint for split in SIZES},
            "sizes": {split: {"visuals": size, "texts": 2 * size} for split, size in SIZES.items()},
        },
        encoder={"name": "shapes"},
        metrics={"test": metrics | {"rsum": 100 * sum(metrics.values())}, "validation": metrics},
        loss_values=values,
        data=data,
        noise=noise,
    )


def make_workspace(root: Path, broken: bool = True, names: tuple[str, ...] = tuple(RUNS)) -> Workspace:
    """Three runs over 60 pictures and 120 captions, and one broken folder."""
    datasets = {split: make_dataset(split) for split in SIZES}
    runs = [make_run(name, root, datasets["test"], RUNS[name][1], RUNS[name][0]) for name in names]
    faults = [FakeFault(root / "half_written", "run.json ends in the middle (line 7)")] if broken else []
    return Workspace.of(runs, "shapes", datasets.__getitem__, FakeEmbedder(), faults, checkpoints=root)


def make_many(root: Path) -> Workspace:
    """A run of every registered loss at its defaults, and a combination: as many as the repository ships."""
    datasets = {split: make_dataset(split) for split in SIZES}
    runs = [make_run(name, root, datasets["test"], 0.5 + i / 40, {}) for i, name in enumerate(LOSSES)]
    runs.append(make_run("hybrid", root, datasets["test"], 0.3, {}, loss=""))
    return Workspace.of(runs, "shapes", datasets.__getitem__, FakeEmbedder(), checkpoints=root)


def _blurred(run: FakeRun, key: str, attributes: list[float]) -> np.ndarray:
    rng = np.random.default_rng(zlib.crc32(f"{run.name} {key}".encode()))
    vector = np.concatenate([attributes, np.full(8, 0.2)]) + rng.normal(0, run.noise / 4, len(WORDS) + 8)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def _seen(image: Image.Image) -> list[float]:
    middle = np.asarray(image.convert("RGB").resize((8, 8)), dtype=float)[2:6, 2:6].mean((0, 1))
    nearest = min(COLOURS, key=lambda name: float(((np.array(COLOURS[name]) - middle) ** 2).sum()))
    return [float(word == nearest) for word in WORDS]


def _draw(colour: str, shape: str, seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (96, 96), tuple(int(v) for v in rng.integers(222, 246, 3)))
    draw, fill = ImageDraw.Draw(image), COLOURS[colour]
    size, (x, y) = int(rng.integers(22, 34)), (int(v) for v in rng.integers(38, 58, 2))
    box = (x - size, y - size, x + size, y + size)
    if shape == "square":
        draw.rounded_rectangle(box, 4, fill=fill)
    elif shape == "triangle":
        draw.polygon([(x, y - size), (x - size, y + size), (x + size, y + size)], fill=fill)
    else:
        draw.ellipse(box, **({"fill": fill} if shape == "circle" else {"outline": fill, "width": size // 3}))
    return image
