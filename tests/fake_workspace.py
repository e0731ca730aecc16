"""A small workspace without training: drawn pictures, embeddings with planted structure, truth known.

Captions name the colour, the shape or both, so many are true of many pictures, as in blocks.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from xmr.captions import TextsRead
from xmr.core import TrainConfig
from xmr.data.dataset import Dataset, Truth
from xmr.embedding import Encoded, Frozen
from xmr.losses import LOSSES
from xmr.matchers import Vocabulary
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
    scores_pairs: bool = False  # `scores` are what its pairs have then, and the embeddings are a first stage
    members: tuple[Any, ...] = ()
    untrained: bool = False

    @property
    def about(self) -> str:
        return self.config.matcher if self.has_loss else "mean of 2 runs"

    @property
    def began_with(self) -> dict[str, Any]:
        return self.encoder

    @property
    def parts(self) -> tuple[FakeRun, ...]:
        return (self,)

    @property
    def each(self) -> tuple[FakeRun, ...]:
        return (self,)

    @property
    def middle(self) -> FakeRun:
        return self

    @property
    def has_loss(self) -> bool:
        return bool(self.config.loss)

    @property
    def score_kind(self) -> str:
        return "token similarity" if self.scores_pairs else "cosine"

    @property
    def files(self) -> dict[str, str]:
        return {}

    @property
    def training(self) -> dict[str, Any]:
        return {"epochs": 2, "best_epoch": 2}

    @property
    def history(self) -> list[dict[str, Any]]:
        epochs = (1, 2) if self.has_loss else ()
        return [{"epoch": i, "loss": 1 / i, "rsum": 100.0 + i - self.noise} for i in epochs]

    @property
    def embed_dim(self) -> int:
        return len(WORDS) + 8

    @property
    def last_loss(self) -> tuple[str, dict[str, Any]]:
        return self.config.loss, self.config.loss_params | self.loss_values

    def snapshots(self) -> None:
        return None

    def embeddings(self) -> tuple[np.ndarray, np.ndarray]:
        return FakeEmbedder().embed_dataset(self, self.data)

    def scores(self) -> np.ndarray | None:
        if not self.scores_pairs:
            return None
        visual, text = FakeEmbedder().embed_dataset(replace(self, name=f"{self.name} pairs"), self.data)
        return visual @ text.T


@dataclass(frozen=True)
class FakeFault:
    path: Path
    reason: str


class FakeEmbedder:
    """Counts attribute words, blurred by noise that depends on the run and the item only."""

    def embed_texts(self, run: FakeRun, texts: list[str], encoded: Encoded) -> np.ndarray:
        return np.stack(
            [_blurred(run, f"t {text}", [float(w in text.lower()) for w in WORDS]) for text in texts]
        )

    def embed_visuals(self, run: FakeRun, images: list[Image.Image], encoded: Encoded) -> np.ndarray:
        stills = [one[len(one) // 2] if isinstance(one, list) else one for one in images]  # of a clip a frame
        return np.stack([_blurred(run, f"v {image.size}", _seen(image)) for image in stills])

    def run_reads(self, run: FakeRun, texts: list[str]) -> list[TextsRead]:
        return [Vocabulary(("<pad>", "<unk>", "a", *WORDS)).reading(texts)]

    def embed_dataset(self, run: FakeRun, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
        kinds = zip(dataset.columns["colour"], dataset.columns["shape"], strict=True)
        visual = [
            _blurred(run, f"v {name}", [float(w in kind) for w in WORDS])
            for name, kind in zip(dataset.visual_ids, kinds, strict=True)
        ]
        texts = dataset.captions
        if dataset.classes is not None:  # captions that say nothing
            texts = [dataset.classes[label] for label in dataset.text_group]
        return np.stack(visual), self.embed_texts(run, texts, {})

    def unread(self, runs: list[FakeRun], split: str) -> int:
        return SIZES[split]

    def read_split(self, runs: list[FakeRun], dataset: Dataset, progress: Callable[..., None]) -> None:
        """There is nothing to read; tests take others in its place, that take their time or fail."""

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


def make_clips(split: str = "test") -> Dataset:
    """The same, each shape sliding through four frames."""
    data = make_dataset(split)
    clips = [[ImageChops.offset(image, 12 * step, 0) for step in range(4)] for image in data.visuals]
    return _other(data, "sliding shapes", kind="clip", visuals=clips)


def make_pictures(split: str = "test") -> Dataset:
    """Visual → visual: each shape looks for a drawing of the same shape and colour."""
    data = make_dataset(split)
    kinds = list(zip(data.columns["colour"], data.columns["shape"], strict=True))
    return _other(
        data,
        "two styles",
        captions=[f"a {colour} {shape}" for colour, shape in kinds],
        visual_of_text=np.arange(len(kinds)),
        gallery_visuals=[_draw(*kind, seed=1000 + i) for i, kind in enumerate(kinds)],
        truth=None,
        about={"visual_to_visual": "style=first → style=second"},
    )


def make_classes(split: str = "test") -> Dataset:
    """Features only, of four classes; captions say nothing."""
    data = make_dataset(split)
    count = len(data.visual_ids)
    return _other(
        data,
        "labelled",
        captions=[f"text {i}" for i in range(count)],
        visual_of_text=np.arange(count),
        visual_group=np.array([SHAPES.index(shape) for shape in data.columns["shape"]]),
        classes=list(SHAPES),
        visuals=None,
        visual_features=np.ones((count, 4), np.float32),
        text_features=np.ones((count, 4), np.float32),
        truth=None,
    )


def _other(data: Dataset, name: str, **changes: Any) -> Dataset:
    fingerprint = hashlib.sha256(f"{name} {data.split}".encode()).hexdigest()
    return replace(data, name=name, fingerprint=fingerprint, **changes)


def make_run(
    name: str,
    root: Path,
    data: Dataset,
    noise: float,
    values: dict[str, float],
    loss: str | None = None,
    make: Callable[[str], Dataset] = make_dataset,
    matcher: str = "linear",
) -> FakeRun:
    """A run of that loss (None: of the loss that it is called after; "": a combination, which has none) on the data
    that `make` makes."""
    metrics = {f"{d}/recall_at_{k}": 0.9 - noise / 2 + k / 50 for d in ("v2t", "t2v") for k in (1, 5, 10)}
    return FakeRun(
        name=name,
        path=root / name,
        config=TrainConfig(
            dataset=data.name, loss=name if loss is None else loss, loss_params=dict(values), matcher=matcher
        ),
        dataset={
            "name": data.name,
            "kind": data.kind,
            "fingerprints": {split: make(split).fingerprint for split in SIZES},
            "sizes": {split: {"visuals": size, "texts": 2 * size} for split, size in SIZES.items()},
        },
        encoder={"name": "shapes"},
        metrics={"test": metrics | {"rsum": 100 * sum(metrics.values())}, "validation": metrics},
        loss_values=values,
        data=data,
        noise=noise,
        scores_pairs=matcher == "cross_attention",
    )


def make_other(
    root: Path, make: Callable[[str], Dataset], matchers: dict[str, str] | None = None
) -> Workspace:
    """Runs over the data that `make` makes: names, and matchers of those that have not the usual one."""
    datasets = {split: make(split) for split in SIZES}
    data, matchers = datasets["test"], matchers or {}
    runs = [
        make_run(name, root, data, noise, values, make=make, matcher=matchers.get(name, "linear"))
        for name, (values, noise) in RUNS.items()
    ]
    return Workspace.of(runs, data.name, datasets.__getitem__, FakeEmbedder(), checkpoints=root)


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
