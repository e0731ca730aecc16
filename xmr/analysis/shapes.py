"""What shape the weights of a loss have, measured: by weights alone, so that a loss that anybody registers has its row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from xmr.analysis.weights import effective_negatives, lone_queries, typical_negatives

NEGATIVES, SPREAD = 32, 0.15  # of each query that is asked, and how widely they lie below the hardest
UNSOLVED = (0.5, 0.55)  # scores of the positive and of the hardest negative
FAR = (0.5, 0.9)
SOLVED = (0.9, 0.0)
GRID = (np.linspace(-0.8, 0.95, 8), np.linspace(-0.7, 0.95, 12))  # of these two scores
BEYOND = (10, 100)  # times as large as cosines can be: scores without bounds, as pair scorers have them
NOTHING = 1e-6  # of the largest weight: what is less is none


@dataclass(frozen=True)
class Shape:
    """The weights of a loss, d loss / d score, in queries with one positive and `NEGATIVES` negatives.

    `carried`: by how many negatives an unsolved query's push is carried (1: the hardest alone); `easy`: weight of its median
    negative, and `far`: of a hardest that stands far above its positive, both as multiples of its largest push; `solved`: the
    largest weight in a query that stands as it should, as a share of that in an unsolved one; `most`: the largest weight among
    scores of -1 to 1; `growth`: by what factor the largest weight grows from scores beyond these to ten times larger ones
    (1: it is bounded); `attracts`: the largest pull on a negative, as a share of the largest push on one; `alone`: whether a
    pair's weight depends on no other pair's score.
    """

    carried: float
    easy: float
    far: float
    solved: float
    most: float
    growth: float
    attracts: float
    alone: bool


def shape_of(loss: str, hyper: Mapping[str, Any]) -> Shape:
    """The shape of the loss with these values. Raises UnknownName, and ValueError as the loss does."""
    unsolved, far, solved = (_weights(loss, hyper, [query(*one)])[0] for one in (UNSOLVED, FAR, SOLVED))
    push = unsolved[1:]
    largest = max(np.abs(push).max(), 1e-12)
    grid = [query(positive, top) for positive in GRID[0] for top in GRID[1]]
    found = _weights(loss, hyper, grid)
    pushes = found[:, 1:]
    beyond = [np.abs(_weights(loss, hyper, [factor * row for row in grid])).max() for factor in BEYOND]
    return Shape(
        carried=float(effective_negatives(push[None], np.ones_like(push, bool)[None])[0]),
        easy=_clean(push[len(push) // 2] / largest),
        far=_clean(far[1] / largest),
        solved=_clean(np.abs(solved).max() / max(np.abs(unsolved).max(), 1e-12)),
        most=float(np.abs(found).max()),
        growth=float(beyond[1] / max(beyond[0], 1e-12)),
        attracts=_clean(max(-pushes.min(), 0) / max(pushes.max(), 1e-12)),
        alone=_alone(loss, hyper),
    )


def query(positive: float, top: float) -> np.ndarray:
    """Scores (1 + `NEGATIVES`,) of a query: its positive, and its negatives, descending."""
    others = typical_negatives(NEGATIVES - 1, top, SPREAD)
    return np.concatenate([[positive, top], others[1:], [others[-1] - SPREAD]])


def _weights(loss: str, hyper: Mapping[str, Any], rows: list[np.ndarray]) -> np.ndarray:
    return lone_queries(loss, hyper, torch.as_tensor(np.stack(rows)))


def _alone(loss: str, hyper: Mapping[str, Any]) -> bool:
    """Whether a negative and a positive weigh the same whatever else stands in their query."""
    rows = np.array(
        [[0.5, 0.3, -0.2], [-0.1, 0.3, -0.2], [0.5, 0.3, 0.6], [0.5, 0.3, 0.45], [0.5, -0.4, -0.5]]
    )
    found = lone_queries(loss, hyper, torch.as_tensor(rows))
    largest = max(np.abs(found).max(), 1e-12)
    negative, positive = found[:4, 1], found[[0, 2, 3, 4], 0]
    return bool(max(np.ptp(negative), np.ptp(positive)) < 1e-4 * largest)


def _clean(share: float) -> float:
    return float(share) if abs(share) > NOTHING else 0.0
