"""What the families of losses share: the registry, and how positives and negatives of a row are met."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from xmr.core import Pairs, highest, single
from xmr.registry import Entry, Registry

Loss = Callable[..., Tensor]


class Losses(Registry):
    """The registry of losses: whatever comes in, each meets its pairs `ready`, so that no loss needs to think of ignored
    scores or of half precision."""

    def register(self, loss: Loss) -> Loss:
        @wraps(loss)
        def ask(pairs: Pairs, **hyper: Any) -> Tensor:
            return loss(pairs.ready(), **{name: single(value) for name, value in hyper.items()})

        super().register(ask)
        return loss


LOSSES = Losses("loss")


def without_peers() -> list[str]:
    """The losses that can be trained with no other runs at hand."""
    return [name for name, entry in LOSSES.items() if "peer_scores" not in entry.needs]


def learnable(loss: Entry) -> list[str]:
    """The hyper-parameters of a loss that training turns into parameters."""
    return [param.name for param in loss.params if param.range is not None and param.range.learn]


def hardest_negative(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Score of each query's hardest negative (0 without one), and whether it has one: (Q,) float, (Q,) bool."""
    exists = pairs.negatives.any(1)
    hardest = highest(pairs.scores, pairs.negatives)
    return torch.where(exists, hardest, 0.0), exists


def mean_over_positives(values: Tensor, pairs: Pairs) -> Tensor:
    """Mean of (Q, G) values over each query's positives, zero where there is none: (Q,)."""
    total = torch.where(pairs.positives, values, 0.0).sum(1)
    return total / pairs.positives.sum(1).clamp(min=1)


def for_each_positive(pairs: Pairs, one: Callable[[Tensor], Tensor]) -> Tensor:
    """Mean over a query's positives of `one(s+)`, which takes (Q, 1) positive scores and returns (Q,).

    Zero for a query without positives or without negatives. Never builds a (Q, G, G) array: queries are
    asked for their first positive, then their second, and so on.
    """
    count = pairs.most_positives()
    present, columns = pairs.positives.int().topk(count, dim=1)
    kept = (present > 0) & pairs.negatives.any(1, keepdim=True)
    total = pairs.scores.new_zeros(len(pairs.scores))
    for k in range(count):
        # Rows without a k-th positive borrow another column: finite, and masked out.
        total = total + torch.where(kept[:, k], one(pairs.scores.gather(1, columns[:, k : k + 1])), 0.0)
    return total / present.sum(1).clamp(min=1)


def over_negatives(values: Tensor, pairs: Pairs) -> Tensor:
    """Sum of (Q, G) values over each query's negatives, (Q,)."""
    return torch.where(pairs.negatives, values, 0.0).sum(1)


def negative_logsumexp(logits: Tensor, mask: Tensor) -> Tensor:
    """log Σ exp of (Q, G) logits over the mask, (Q,); a very low finite number for an empty row, so that no
    gradient is NaN."""
    low = torch.finfo(logits.dtype).min / 4
    return torch.where(mask, logits, low).logsumexp(1)
