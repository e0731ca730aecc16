"""What a map's regions are about, and how much of the space around each item a map keeps."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xmr.search import ExactIndex

ACROSS = 5  # cells of a map along each axis
MOST = 14  # regions that are named: more are not read
OFTEN, LIFT = (
    0.3,
    1.3,
)  # share of a region's captions that a word has to be in, and how many times that of all
ASKED = 500  # items whose neighbours are compared


@dataclass(frozen=True)
class Region:
    """A part of a map: the middle of its texts, its most telling words, best first, and how many texts lie in it."""

    x: float
    y: float
    words: tuple[str, ...]
    count: int


def regions(points: np.ndarray, words: Sequence[Sequence[str]], across: int = ACROSS) -> list[Region]:
    """The regions of texts at `points` (N, 2) that words name, the most telling first; `words` are those of each text.

    The map, without its outermost hundredths, is cut into `across` × `across` cells. A word w tells of a cell what p log(p / q)
    says, p being the share of the cell's texts that have w and q that of all: the word's part of the divergence of the
    two, which grows with how often and how much oftener than elsewhere it stands there. A cell is named by its two best words,
    once where neighbours would be named alike.
    """
    if not len(points):
        return []
    low, high = np.quantile(points, [0.01, 0.99], axis=0)
    places = np.floor((points - low) / np.maximum(high - low, 1e-9) * across).clip(0, across - 1).astype(int)
    cells = places[:, 1] * across + places[:, 0]
    sets = [set(one) for one in words]
    every = Counter(word for one in sets for word in one)
    found = []
    for cell in np.unique(cells):
        inside = np.flatnonzero(cells == cell)
        if len(inside) < max(4, len(points) / (4 * across**2)):
            continue
        own = Counter(word for i in inside for word in sets[i])
        shares = {word: (n / len(inside), every[word] / len(points)) for word, n in own.items()}
        telling = {
            word: p * math.log(p / q) for word, (p, q) in shares.items() if p >= OFTEN and p >= LIFT * q
        }
        best = sorted(telling, key=lambda word: (-telling[word], word))[:2]
        if best:
            x, y = points[inside].mean(0)
            found.append(
                (telling[best[0]] * len(inside), Region(float(x), float(y), tuple(best), len(inside)), cell)
            )
    found.sort(key=lambda one: (-one[0], one[2]))
    kept: list[tuple[Region, int]] = []
    for _, region, cell in found:
        alike = (at for other, at in kept if set(other.words) == set(region.words))
        if not any(
            max(abs(at // across - cell // across), abs(at % across - cell % across)) <= 1 for at in alike
        ):
            kept.append((region, cell))
    return [region for region, _ in kept[:MOST]]


def neighbours_kept(
    space: np.ndarray, flat: np.ndarray, k: int = 10, asked: int = ASKED, seed: int = 0
) -> float:
    """Of the k items nearest to an item in the space, unit vectors (N, E), the share that is among the k nearest on the map `flat`
    (N, 2) as well; the mean over at most `asked` items, drawn by seed. NaN where there are not more than k other items.

    Reference: as the agreement of local neighbourhoods, Lee and Verleysen, Quality assessment of dimensionality reduction,
    Neurocomputing 72 (2009), whose Q_NX(k) it is.
    """
    count = len(space)
    if count <= k + 1:
        return math.nan
    chosen = np.sort(np.random.default_rng(seed).choice(count, min(asked, count), replace=False))
    flat = np.ascontiguousarray(flat, np.float32)
    # The nearest of all of unit length are those of the highest product.
    near = _others(ExactIndex(space).search(space[chosen], k + 1)[1], chosen)
    shares = []
    for at, item in enumerate(chosen):
        gap = ((flat - flat[item]) ** 2).sum(1)
        gap[item] = np.inf
        on_map = np.argpartition(gap, k)[:k]
        shares.append(len(np.intersect1d(near[at], on_map)) / k)
    return float(np.mean(shares))


def _others(found: np.ndarray, items: np.ndarray) -> list[np.ndarray]:
    """Of the lists (Q, k + 1) those without the item itself, k each."""
    return [row[row != item][: found.shape[1] - 1] for row, item in zip(found, items, strict=True)]
