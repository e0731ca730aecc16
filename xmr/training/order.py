"""In which order an epoch goes through the pairs, and so which of them are each other's negatives.

A kind of batches takes an `Epoch` and returns an order of all its pairs, (N,) int64, each of them once; batches are consecutive
parts of it. Pairs are numbered as the captions are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from xmr.data.duplicates import Apart
from xmr.registry import Registry

BATCHES = Registry("kind of batches")
SPACE = 4096  # pairs among which hard ones are looked for
CLUSTER = 256  # pairs that are mutually hard; a larger batch holds several such clusters
TRIES = 1024  # pairs that one may be swapped with, drawn anew for each
PASSES = 3  # through all batches, where swaps of others may have made room


@dataclass(frozen=True)
class Epoch:
    """What a kind of batches may look at: the number of pairs, the most that a batch holds, `rng` (of seed and epoch alone), what
    must not meet, and `embed`, which gives unit embeddings of all pairs' visuals and texts, (N, E) each, by the weights of now.
    """

    count: int
    size: int
    rng: np.random.Generator
    apart: Callable[[], Apart]
    embed: Callable[[], tuple[np.ndarray, np.ndarray]]


def parts(order: np.ndarray, size: int) -> list[np.ndarray]:
    """An order in batches of nearly equal size of at most `size`."""
    return np.array_split(order, math.ceil(len(order) / size))


@BATCHES.register
def random(epoch: Epoch) -> np.ndarray:
    """All pairs shuffled."""
    return epoch.rng.permutation(epoch.count)


@BATCHES.register
def distinct(epoch: Epoch) -> np.ndarray:
    """Shuffled, and captions of one picture, or that can't be told from such, in different batches.

    What meets in a shuffled batch is swapped with pairs of other batches, drawn at random.
    """
    return parted(random(epoch), epoch)


@BATCHES.register
def hard(epoch: Epoch) -> np.ndarray:
    """As distinct, and the pairs of a batch score high with each other, by the weights that the epoch begins with.

    Of 4,096 shuffled pairs the first begins a batch, and the one with the highest mean score with all that is in the batch (its
    picture with their captions and theirs with its, halved) joins it, until the batch is full; a batch of more than 256 holds several
    such clusters. The last ones of each 4,096 are what is left. What scores highest is often a match that nobody annotated: a selector
    goes with it well.
    Reference: after the grouped mini-batches of Byun et al., GRIT-VLP: Grouped Mini-batch Sampling for Efficient Vision and Language
        Pre-training, ECCV 2022, https://arxiv.org/abs/2208.04060
    Deviation: theirs is a chain of single nearest neighbours within a queue of the latest embeddings.
    """
    visual, text = epoch.embed()
    shuffled, found = random(epoch), []
    sizes = list(map(len, parts(shuffled, min(epoch.size, CLUSTER))))
    while sizes:
        some = max(SPACE // sizes[0], 1)
        space, shuffled = np.split(shuffled, [sum(sizes[:some])])
        scores = visual[space] @ text[space].T
        near = np.nan_to_num(scores + scores.T)  # what is not a number is no order
        found.append(space[clustered(near, epoch.apart().clashes(space), sizes[:some])])
        sizes = sizes[some:]
    return parted(np.concatenate(found), epoch)


def clustered(near: np.ndarray, clashes: Any, sizes: list[int]) -> np.ndarray:
    """An order (P,) of all rows, in clusters of `sizes` of those that are near by `near` (P, P). What clashes, sparse (P, P), joins a cluster
    only where nothing else is left."""
    order: list[int] = []
    taken = np.zeros(len(near), bool)
    for size in sizes:
        start = len(order)
        mean = np.where(taken, -np.inf, 0.0).astype(near.dtype)
        for _ in range(size):
            one = int(mean.argmax())
            if taken[one] or mean[one] == -np.inf:
                one = int(np.where(taken, -np.inf, near[order[start:]].sum(0)).argmax())
            order.append(one)
            taken[one] = True
            mean += near[one]
            mean[one] = -np.inf
            mean[clashes.indices[clashes.indptr[one] : clashes.indptr[one + 1]]] = -np.inf
    return np.array(order)


def together(order: np.ndarray, size: int, apart: Apart) -> int:
    """How many pairs share a batch with one that they should be apart from."""
    return sum(int((np.diff(apart.clashes(batch).indptr) > 0).sum()) for batch in parts(order, size))


def parted(order: np.ndarray, epoch: Epoch) -> np.ndarray:
    """The order with pairs swapped so that what must not meet is in different batches, as far as swaps are found."""
    apart, order = epoch.apart(), order.copy()
    batches = parts(np.arange(len(order)), epoch.size)
    batch = np.repeat(np.arange(len(batches)), list(map(len, batches)))  # of each place
    place = np.argsort(order)  # of each pair
    for _ in range(PASSES if len(batches) > 1 else 0):
        stuck = 0
        for places in batches:
            clashes = apart.clashes(order[places])
            left, held = np.diff(clashes.indptr), apart.groups(order[places])
            for row in np.argsort(-left, kind="stable"):
                if not left[row]:
                    continue
                one, own = order[places[row]], apart.groups(order[places[row], None])
                drawn = epoch.rng.integers(0, len(order), TRIES)  # places
                clashing = batch[place[apart.meet(own)]]  # its own among them
                fits = ~np.isin(batch[drawn], clashing) & ~apart.meet(held - own, order[drawn])
                if not fits.any():
                    stuck += 1
                    continue
                there = drawn[fits.argmax()]
                other = order[there]
                order[[places[row], there]], place[[one, other]] = (other, one), (there, places[row])
                held += apart.groups(np.array([other])) - own
                left[clashes.indices[clashes.indptr[row] : clashes.indptr[row + 1]]] -= 1
        if not stuck:
            break
    return order
