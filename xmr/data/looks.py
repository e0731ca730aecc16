"""What visuals look like, whatever their files: which are equal when decoded, and which nearly so.

Nearly is: resized, recompressed, or cropped by a few per cent. Two pictures are that where the signs of 64 coefficients of
their cosine transforms hardly differ (Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010), and
small versions of them do not either: the hash alone takes drawings of one outline, or of nothing at all, for each other. Of 1,414
photographs of exercises copies of half the size or of JPEG quality 30 are found, 91 % of those with 1 % cropped off three sides, and 63 %
with 2 %; of the photographs themselves 72 pairs are told, 55 of them of one exercise with hardly a movement between.
Clips are compared by their middle frames.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from xmr.data.dataset import DataFault
from xmr.data.duplicates import contents

SIDE = 32  # pixels, of which the cosine transform is taken
BITS = 8  # in each direction
SMALL = 8  # pixels a side of what is compared where hashes agree
MOST_BITS = 8  # of 64 that may differ
MOST_LEVELS = 4.0  # of 255, by which small versions may differ in the mean
CELLS, PAIRS = 1 << 23, 1 << 15  # hashes compared at once, and small versions


@dataclass(frozen=True)
class Looks:
    """Of each visual a number (N,) uint64 that is equal where all pixels are, a perceptual hash (N,) uint64, and a small version
    (N, 192) uint8. `broken` (N,) bool can't be decoded, and look like nothing else."""

    same: np.ndarray
    hashes: np.ndarray
    small: np.ndarray
    broken: np.ndarray


def looks(visuals: Sequence[Any], progress: Callable[[int], None] = lambda done: None) -> Looks:
    """How all visuals look. All are decoded."""
    count = len(visuals)
    same: list[bytes] = []
    hashes, small = np.zeros(count, np.uint64), np.zeros((count, 3 * SMALL**2), np.uint8)
    broken = np.zeros(count, bool)
    with ThreadPoolExecutor() as pool:
        for index, one in enumerate(pool.map(lambda index: _look(visuals, index), range(count))):
            if one is None:
                broken[index] = True
                same.append(f"{id(visuals)} {index}".encode())
            else:
                digest, hashes[index], small[index] = one
                same.append(digest)
            progress(index + 1)
    return Looks(contents(same), hashes, small, broken)


def nearly(one: Looks, other: Looks) -> np.ndarray:
    """Pairs (P, 2) of a row of `one` and a row of `other` that look nearly the same, and not the same: of visuals that do, the
    first stands for all. Of a split and itself, each pair once."""
    rows, columns = _different(one, other), _different(other, other)
    found = [np.empty((0, 2), np.int64)]
    for query, candidate in _close(one.hashes[rows], other.hashes[columns]):
        pairs = np.stack([rows[query], columns[candidate]], 1)
        levels = np.abs(one.small[pairs[:, 0]].astype(np.int16) - other.small[pairs[:, 1]]).mean(1)
        found.append(pairs[(levels <= MOST_LEVELS) & ((one is not other) | (pairs[:, 0] < pairs[:, 1]))])
    return np.concatenate(found)


def _look(visuals: Sequence[Any], index: int) -> tuple[bytes, int, np.ndarray] | None:
    try:
        visual = visuals[index]
    except DataFault:
        return None
    frames = visual if isinstance(visual, list) else [visual]
    digest = hashlib.blake2b(digest_size=16)
    for frame in frames:
        digest.update(f"{frame.size} {frame.mode}".encode() + frame.tobytes())
    picture = frames[len(frames) // 2].convert("RGB")
    small = picture.resize((SMALL, SMALL), Image.Resampling.BOX)
    return digest.digest(), perceptual_hash(picture), np.asarray(small).reshape(-1)


def perceptual_hash(picture: Image.Image) -> int:
    """64 bits: which of the lowest coefficients of the grey picture's cosine transform are above their median."""
    from scipy.fft import dctn  # a moment to import, for those who decode everything

    grey = picture.resize((SIDE, SIDE), Image.Resampling.BOX).convert("L")
    low = dctn(np.asarray(grey, np.float32))[:BITS, :BITS].ravel()
    return int.from_bytes(np.packbits(low > np.median(low[1:])).tobytes(), "big")


def _different(looks: Looks, other: Looks) -> np.ndarray:
    """The first row of each look of `looks` that can be decoded and, in another split, is not there just so."""
    rows = np.unique(looks.same, return_index=True)[1]
    rows = np.sort(rows[~looks.broken[rows]])
    return rows if looks is other else rows[~np.isin(looks.same[rows], other.same)]


def _close(one: np.ndarray, other: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of two vectors of hashes that differ in few bits, some pairs at a time."""
    rows = 1 + CELLS // (len(other) + 1)
    for start in range(0, len(one), rows):
        differ = np.bitwise_count(one[start : start + rows, None] ^ other)
        query, candidate = np.nonzero(differ <= MOST_BITS)
        for place in range(0, len(query), PAIRS):
            some = slice(place, place + PAIRS)
            yield start + query[some], candidate[some]
