"""Losses as slow loops straight from each paper, for one direction: rows of `s` are queries.

Plain Python floats. `positives[i]` and `negatives[i]` are lists of column indices. Each returns a list with one
value per query. The several-positives rule of xmr (each positive as if alone, then the mean) is applied by
`per_positive`.
"""

from __future__ import annotations

import math
from collections.abc import Callable


def per_positive(
    one: Callable[..., float],
    s: list[list[float]],
    positives: list[list[int]],
    negatives: list[list[int]],
    **hyper,
) -> list[float]:
    """`one(positive score, negative scores)` averaged over each query's positives; 0 where a side is missing."""
    values = []
    for row, own, others in zip(s, positives, negatives, strict=True):
        if not own or not others:
            values.append(0.0)
            continue
        values.append(sum(one(row[p], [row[n] for n in others], **hyper) for p in own) / len(own))
    return values


def max_of_hinges(s, positives, negatives, margin=0.2):
    """VSE++, equation 6: max over negatives of [margin + s(i, n) - s(i, p)]_+."""

    def one(p, others, margin):
        return max(max(0.0, margin + n - p) for n in others)

    return per_positive(one, s, positives, negatives, margin=margin)


def info_nce(s, positives, negatives, temperature=0.07):
    """CLIP: the cross-entropy of picking the positive."""

    def one(p, others, temperature):
        top = math.exp(p / temperature)
        return -math.log(top / (top + sum(math.exp(n / temperature) for n in others)))

    return per_positive(one, s, positives, negatives, temperature=temperature)


def siglip(s, positives, negatives, scale=10.0, bias=-10.0):
    """SigLIP, equation 2: the sum over pairs of -log 1 / (1 + exp(z (-scale s - bias)))."""
    values = []
    for row, own, others in zip(s, positives, negatives, strict=True):
        total = 0.0
        for j, score in enumerate(row):
            z = 1 if j in own else -1 if j in others else None
            if z is not None:
                total += -math.log(1 / (1 + math.exp(z * (-scale * score - bias))))
        values.append(total)
    return values


def polynomial(s, positives, negatives, margin=0.2, a0=0.5, a1=-0.7, a2=0.2, b0=0.03, b1=-0.4, b2=0.9):
    """The authors' `polyloss.py`: mine, skip the anchor without informative negatives, two separate clamps."""

    def one(p, others, **_):
        if p >= 1 - 1e-5:
            return 0.0
        informative = [n for n in others if n + margin > p]
        if not informative:
            return 0.0
        h = max(informative)
        return max(0.0, a2 * p * p + a1 * p + a0) + max(0.0, b2 * h * h + b1 * h + b0)

    return per_positive(one, s, positives, negatives)


ORACLES = {f.__name__: f for f in (max_of_hinges, info_nce, siglip, polynomial)}
