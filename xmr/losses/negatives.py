"""What a loss does with a query's negatives, declared where the loss is defined: `@negatives(Hardest())`.

`xmr.losses.chunked` asks the declaration and takes a shorter way for large batches; a loss that declares nothing is
asked by whole rows. The functions that a declaration names are those that the loss itself is made of; they get scores,
and the loss's hyper-parameters by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from xmr.core import Pairs, highest, lowest
from xmr.losses.base import Loss, negative_logsumexp
from xmr.registry import Entry

Asked = TypeVar("Asked", bound=Loss)


@dataclass(frozen=True)
class Hardest:
    """Only the hardest negative of a query counts: without the others, the value of the query is the same."""


@dataclass(frozen=True)
class Each:
    """Every negative adds `term(scores)` to its query's value, whatever else stands in the row."""

    term: Callable[..., Tensor]


@dataclass(frozen=True)
class Softmax:
    """Negatives count as one total only, log Σ exp of `logit(scores)`, which the loss gets from `negatives_total`; and by
    the score of the hardest, without a slope. `mined(scores, lowest)` says which count, given the lowest score of the
    query's positives; without it all do."""

    logit: Callable[..., Tensor]
    mined: Callable[..., Tensor] | None = None


Declared = Hardest | Each | Softmax


def negatives(declared: Declared) -> Callable[[Asked], Asked]:
    """Decorator: says what a loss does with its negatives."""

    def mark(loss: Asked) -> Asked:
        loss.negatives = declared
        return loss

    return mark


def declared_of(entry: Entry) -> Declared | None:
    """What a registered loss declares of its negatives; None where it does not."""
    return getattr(entry.make, "negatives", None)


@dataclass(frozen=True)
class ShortRows(Pairs):
    """Pairs of which a row holds only the hardest of its negatives; `total` (Q,) is what all of them come to."""

    total: Tensor | None = None


def negatives_total(pairs: Pairs, logits: Tensor, mined: Tensor | None = None) -> Tensor:
    """log Σ exp of the (Q, G) logits over each query's negatives, or over those `mined`, (Q,); a very low finite number
    where there is none."""
    if isinstance(pairs, ShortRows):
        return pairs.total
    return negative_logsumexp(logits, pairs.negatives if mined is None else mined)


def shortened(pairs: Pairs, hardest: Tensor, total: Tensor | None = None) -> Pairs:
    """The positives of `pairs` and one negative a row: of the score `hardest` (Q,), -inf where there is none.

    With `total` (Q,) that negative stands for all, to a loss that is `Softmax`.
    """
    exists = (hardest != -torch.inf)[:, None]
    scores = torch.cat([pairs.scores, torch.where(exists, hardest[:, None], 0.0)], 1)
    positives = torch.cat([pairs.positives, torch.zeros_like(exists)], 1)
    negatives = torch.cat([torch.zeros_like(pairs.positives), exists], 1)
    return ShortRows(scores, positives, negatives, direction=pairs.direction, total=total)


def as_declared(entry: Entry, pairs: Pairs, hyper: Mapping[str, Any]) -> Tensor:
    """What a loss is of `pairs` by its declaration, (Q,), all hyper-parameters given: equal to the loss where that is true."""
    declared = declared_of(entry)
    alone = replace(pairs, negatives=torch.zeros_like(pairs.negatives))
    if isinstance(declared, Each):
        terms = torch.where(pairs.negatives, declared.term(pairs.scores, **hyper), 0.0)
        return entry(alone, **hyper) + terms.sum(1)
    hardest = highest(pairs.scores, pairs.negatives)
    if isinstance(declared, Hardest):
        return entry(shortened(alone, hardest), **hyper)
    assert isinstance(declared, Softmax)
    mined = pairs.negatives
    if declared.mined is not None:
        own = lowest(pairs.scores, pairs.positives)[:, None]
        mined = mined & declared.mined(pairs.scores, own, **hyper)
    total = negative_logsumexp(declared.logit(pairs.scores, **hyper), mined)
    return entry(shortened(alone, hardest.detach(), total), **hyper)
