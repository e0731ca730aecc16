"""The embedding space of a run: its hubs, the gap between modalities, and a map of it in two dimensions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.util import find_spec

import numpy as np
import torch

from xmr.analysis.blocks import ScoredSide, Side, score_blocks
from xmr.registry import unknown
from xmr.search import ExactIndex

PROJECTIONS = ("pca", "umap")
QUERIES = 512  # searched at once: where many items are equal, each looks at all of them
SAMPLE = 5_000  # items of each side that the axes of a map are found from


def spread(side: np.ndarray) -> float:
    """Root mean square distance of the embeddings (N, E) from their centroid."""
    side = np.asarray(side, np.float32)
    centre = side.mean(0, dtype=np.float64)
    squares = float(np.einsum("ij,ij->i", side, side).mean(dtype=np.float64))
    return float(np.sqrt(max(squares - float(centre @ centre), 0.0)))


def near_centroid(side: np.ndarray, chosen: np.ndarray, among: np.ndarray) -> int:
    """How many of the chosen items of unit embeddings (N, E) are among the C items nearest to the centroid of the C
    chosen ones: all of them where they lie together, C² / A of them where they are any of the A items `among`.

    `chosen` (C,) and `among` (A,) are indices, the former among the latter.
    """
    if not len(chosen):
        return 0
    centre = side[chosen].mean(0, dtype=np.float64).astype(np.float32)
    nearest = np.argsort(-(side @ centre)[among], kind="stable")[: len(chosen)]
    return int(np.isin(among[nearest], chosen).sum())


def top_items(queries: Side, gallery: Side, k: int) -> np.ndarray:
    """The k best items of every query, best first, (Q, K) int32 with K = min(k, G); equals by index, of a pair scorer's
    scores in no certain order. Raises ValueError on embeddings that are not finite."""
    k = min(k, len(gallery))
    if not isinstance(queries, ScoredSide):
        index, parts = ExactIndex(gallery), np.array_split(queries, -(-len(queries) // QUERIES))
        return np.concatenate([index.search(part, k)[1].astype(np.int32) for part in parts])
    found = np.empty((len(queries), k), np.int32)
    for rows, scores in score_blocks(queries, gallery):
        found[rows] = torch.from_numpy(scores).topk(k, dim=1).indices.numpy()
    return found


@dataclass(frozen=True)
class Hubness:
    """How unevenly a run's lists of k results are spread over the gallery.

    `counts` (G,) int64 tells in how many lists each item is; `skewness` is that of the counts, 0 where they are
    symmetric, large where few items are everywhere; `never` the share of items in no list.
    """

    counts: np.ndarray
    k: int
    skewness: float
    never: float

    @property
    def hubs(self) -> np.ndarray:
        """Items in more lists than the mean and two deviations, most frequent first."""
        bar = self.counts.mean() + 2 * self.counts.std()
        order = np.argsort(-self.counts, kind="stable")
        return order[: int((self.counts > bar).sum())]

    @property
    def taken(self) -> float:
        """The share of all places in the lists that hubs take."""
        return float(self.counts[self.hubs].sum() / self.counts.sum())


def hubness(top: np.ndarray, gallery: int) -> Hubness:
    """Hubness from the lists (Q, K) of `top_items` and the number of items in the gallery.

    N_k(item) is the number of lists that hold it; skewness E[(N - mean)³] / deviation³, 0 where all counts are equal.
    Reference: Radovanović et al., Hubs in Space, JMLR 11 (2010), whose hubs are N_k > mean + 2 deviations.
    """
    counts = np.bincount(top.ravel(), minlength=gallery)
    centred = counts - counts.mean()
    deviation = counts.std()
    skewness = float((centred**3).mean() / deviation**3) if deviation > 0 else 0.0
    return Hubness(counts, top.shape[1], skewness, float((counts == 0).mean()))


@dataclass(frozen=True)
class ModalityGap:
    """How far apart two sides of one embedding space are.

    `distance` is that of their centroids; the others are mean cosines: of two different visuals, of two different
    texts (NaN where there is only one), and of a visual with a text. `spread_visual` and `spread_text` are root mean square
    distances of items from their own centroid.
    """

    distance: float
    within_visual: float
    within_text: float
    between: float
    spread_visual: float
    spread_text: float


def modality_gap(visual: Side, text: Side) -> ModalityGap:
    """The gap between unit embeddings visual (N_v, E) and text (N_t, E).

    Mean cosines over all pairs come from the sums of the vectors, so no pair is visited. Raises ValueError for pair
    scorers, whose scores are made in no common space.
    Reference: Liang et al., Mind the Gap, NeurIPS 2022, https://arxiv.org/abs/2203.02053.
    """
    if isinstance(visual, ScoredSide) or isinstance(text, ScoredSide):
        raise ValueError("a pair scorer has no common space, so there is no gap in it")
    v, t = (np.asarray(side, np.float32).mean(0, dtype=np.float64) for side in (visual, text))

    def within(side: np.ndarray, centre: np.ndarray) -> float:
        n = len(side)
        squares = float(np.einsum("ij,ij->i", side, side).sum(dtype=np.float64))  # no copy of the side
        return (float(n * n * centre @ centre) - squares) / (n * (n - 1)) if n > 1 else float("nan")

    cosines = within(visual, v), within(text, t), float(v @ t)
    return ModalityGap(float(np.linalg.norm(v - t)), *cosines, spread(visual), spread(text))


@dataclass(frozen=True)
class Projection:
    """A map: visuals (N_v, 2) and texts (N_t, 2) float32. `explained` is the share of variance along each axis of a
    PCA, (0, 0) of another method, whose axes have no such meaning."""

    visual: np.ndarray
    text: np.ndarray
    method: str
    explained: tuple[float, float]


def project(visual: np.ndarray, text: np.ndarray, method: str = "pca", seed: int = 0) -> Projection:
    """Both sides of an embedding space, visual (N_v, E) and text (N_t, E), on one map.

    "pca": the two axes of largest variance, found from up to `SAMPLE` items of each side, drawn by seed, so that the
    five captions of a picture don't outvote it. The sign of an axis is such that its largest loading is positive.
    "umap" needs the package umap-learn and takes minutes where PCA takes a second.
    Raises ValueError for an unknown method, or one that is not installed.
    """
    if method not in PROJECTIONS:
        raise ValueError(unknown("projection", method, PROJECTIONS))
    if method == "umap":
        return _umap(visual, text, seed)
    rng = np.random.default_rng(seed)
    sample = np.concatenate(
        [
            side[np.sort(rng.choice(len(side), min(SAMPLE, len(side)), replace=False))]
            for side in (visual, text)
        ]
    ).astype(np.float64)
    centre = sample.mean(0)
    values, axes = np.linalg.eigh((sample - centre).T @ (sample - centre) / len(sample))
    axes = axes[:, ::-1][:, :2]
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])])
    axes = np.pad(axes, ((0, 0), (0, 2 - axes.shape[1])))  # of one dimension
    shares = np.pad(
        values[::-1][:2].clip(0) / max(values.clip(0).sum(), 1e-300), (0, max(0, 2 - len(values)))
    )
    flat = [
        np.asarray(side, np.float32) @ axes.astype(np.float32) - (centre @ axes).astype(np.float32)
        for side in (visual, text)
    ]
    return Projection(*flat, "pca", (float(shares[0]), float(shares[1])))


def has_umap() -> bool:
    """Whether `project` can be asked for "umap" here."""
    return find_spec("umap") is not None


def aligned(moving: Projection, fixed: Projection) -> Projection:
    """The map `moving` turned, mirrored and shifted onto the map `fixed` of the same items: distances stay.

    Orthogonal Procrustes over all items of both sides: the rotation or reflection R that makes Σ |R x - y|² least,
    both maps centred. Raises ValueError where the items differ in number.
    Reference: Schönemann, A Generalized Solution of the Orthogonal Procrustes Problem, Psychometrika 31 (1966).
    """
    rotation, shift = turn(moving, fixed)
    visual, text = ((side @ rotation + shift).astype(np.float32) for side in (moving.visual, moving.text))
    return replace(moving, visual=visual, text=text)


def turn(moving: Projection, fixed: Projection) -> tuple[np.ndarray, np.ndarray]:
    """How `aligned` places a map: the rotation or reflection R (2, 2) and the shift s (2,) of x R + s. As `aligned`."""
    shapes = [(len(one.visual), len(one.text)) for one in (moving, fixed)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"maps of the same items can be aligned; these have {shapes[0]} and {shapes[1]} visuals and texts"
        )
    x, y = (np.concatenate([one.visual, one.text]).astype(np.float64) for one in (moving, fixed))
    left, _, right = np.linalg.svd((x - x.mean(0)).T @ (y - y.mean(0)))
    rotation = left @ right
    return rotation, y.mean(0) - x.mean(0) @ rotation


def _umap(visual: np.ndarray, text: np.ndarray, seed: int) -> Projection:
    if not has_umap():
        raise ValueError("umap is not installed: pip install umap-learn, or take pca")
    from umap import UMAP  # numba compiles for seconds when it is imported

    every = np.concatenate([np.asarray(side, np.float32) for side in (visual, text)])
    # A starting point that is the same everywhere: its own would draw from threads.
    flat = UMAP(n_components=2, metric="cosine", init="pca", random_state=seed, n_jobs=1).fit_transform(every)
    flat = np.asarray(flat, np.float32)
    return Projection(flat[: len(visual)], flat[len(visual) :], "umap", (0.0, 0.0))
