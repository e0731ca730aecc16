"""What a ranking in random order reaches, so that a figure can be read: rsum 20.9 of 600 is little or much."""

from __future__ import annotations

import numpy as np

from xmr.core import DIRECTIONS
from xmr.metrics.inputs import Array
from xmr.metrics.summary import CUTOFFS


def by_chance(visual_group: Array, text_group: Array, *, classes: bool = False) -> dict[str, float]:
    """The expected metrics of a random order, with `evaluate`'s keys: `v2t/` and `t2v/` `recall_at_1`, `_5`, `_10`, `rsum`,
    and with class labels `map`.

    visual_group (V,) and text_group (T,) int: a pair is positive where they are equal. Queries without a positive are left out.
    A query with c positives among G items has one in the first k with probability 1 - C(G - c, k) / C(G, k); its expected
    average precision is H_G / G + (c - 1) / (G - 1) · (1 - H_G / G), H_G being the harmonic number.
    """
    metrics: dict[str, float] = {}
    for direction, queries, gallery in _sides(visual_group, text_group):
        counts, size = _positives(queries, gallery), len(gallery)
        for k in CUTOFFS:
            metrics[f"{direction}/recall_at_{k}"] = float(_within(counts, size, k).mean())
        if classes:
            first = (1 / np.arange(1, size + 1)).sum() / size
            metrics[f"{direction}/map"] = float(
                np.mean(first + (counts - 1) / max(size - 1, 1) * (1 - first))
            )
    metrics["rsum"] = 100 * sum(value for name, value in metrics.items() if "/recall_at_" in name)
    return metrics


def is_chance(rsum: float, visual_group: Array, text_group: Array) -> bool:
    """Whether a random order reaches `rsum` as well: at most two standard deviations above its expectation. The six recalls
    are taken to vary together, so that little data is never called chance too late."""
    spread = 0.0
    for _, queries, gallery in _sides(visual_group, text_group):
        counts = _positives(queries, gallery)
        for k in CUTOFFS:
            share = _within(counts, len(gallery), k)
            spread += 100 * float(np.sqrt((share * (1 - share)).sum()) / len(share))
    return rsum <= by_chance(visual_group, text_group)["rsum"] + 2 * spread


def _sides(visual_group: Array, text_group: Array) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Each direction with the groups of its queries and of its gallery."""
    visual, text = np.asarray(visual_group), np.asarray(text_group)
    return list(zip(DIRECTIONS, (visual, text), (text, visual), strict=True))


def _positives(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """How many items of the gallery match each query, (Q,), queries without any left out."""
    groups, counts = np.unique(gallery, return_counts=True)
    place = np.searchsorted(groups, queries).clip(max=len(groups) - 1)
    found = np.where(groups[place] == queries, counts[place], 0)
    return found[found > 0]


def _within(counts: np.ndarray, size: int, k: int) -> np.ndarray:
    """The probability of a positive among the first k of a random order, (Q,)."""
    drawn = np.arange(min(k, size))
    missed = np.clip((size - counts[:, None] - drawn) / (size - drawn), 0, 1)
    return 1 - missed.prod(1)
