"""Losses over a score matrix, each written for one direction, one module per family.

A loss takes `Pairs` (rows are queries) and keyword hyper-parameters and returns one value per query, (Q,).
`symmetric` asks both directions and averages, so no loss writes anything twice. A query without positives, or
without negatives where the loss compares the two, contributes zero. Several positives of one query each count
as if they were alone, and are averaged: a positive never is another positive's negative.

A hyper-parameter may be a float or a tensor; pass an `nn.Parameter` and it is learnable. Every loss computes in single
precision at least, is NaN where a score that it looks at is, and can be compiled whole (`torch.compile`). What a loss does
with a query's negatives it may declare (`xmr.losses.negatives`): large batches then take less time.

Docstrings: what the loss asks for · the formula, in LaTeX between dollar signs, in s^+ (a positive's score), s^- (a negative's),
h (the hardest negative's) · `Weights:` what d loss / d score looks like · `Relations:` · `Reference:` · `Deviation:`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from xmr.core import EVIDENCE, Pairs
from xmr.losses import gravitation, hinge, polynomial, robust, softmax  # noqa: F401  (they register themselves)
from xmr.losses.base import LOSSES

__all__ = ["LOSSES", "loss_value", "symmetric"]


def loss_value(
    name: str,
    scores: Tensor,
    positives: Tensor | None = None,
    negatives: Tensor | None = None,
    *,
    groups: Any = None,
    labels: Any = None,
    **hyper: Any,
) -> Tensor:
    """The loss `name` of a (Q, G) score matrix: the mean over queries, averaged over both directions.

    `positives=None` means the diagonal, `negatives=None` everything that is not positive; a pair in neither
    mask is ignored. In place of `positives`, `groups` or class `labels`: integers (B,), or a tuple of (Q,) and (G,), and
    pairs of equal number are positive. Beside hyper-parameters, the evidence that few losses need can be given under its
    name in `Pairs`, for example `visual_within=v @ v.T` where the scores are `v @ t.T`. Returns a scalar tensor, in
    single precision where the scores are in half. Raises UnknownName, TypeError on an unknown hyper-parameter and
    ValueError on masks that do not fit, where evidence is missing, or a number is outside its range; a tensor, which may
    be learned, is yours to keep there.
    """
    entry = LOSSES[name]
    evidence = {key: hyper.pop(key) for key in EVIDENCE if key in hyper}
    pairs = Pairs.of(scores, positives, negatives, groups=groups, labels=labels, **evidence)
    return symmetric(entry.make, pairs, **entry.checked(hyper))


def symmetric(loss: Callable[..., Tensor], pairs: Pairs, back: Pairs | None = None, **hyper: Any) -> Tensor:
    """Mean of `loss` over the queries of both directions, () scalar.

    `back` are the pairs as the other side asks; `pairs` transposed unless a selector judged the sides apart.
    """
    back = pairs.transpose() if back is None else back
    return (loss(pairs, **hyper).mean() + loss(back, **hyper).mean()) / 2
