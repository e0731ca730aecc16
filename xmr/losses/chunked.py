"""Losses of large batches, by blocks of rows: the scores of a block at a time and never a (V, T) array.

The value and the gradients are those of `symmetric`. Gradients are taken along with the value, block by block, so
that a backward pass has nothing left to do but to scale them: what is kept for it is as large as the embeddings.
Any registered loss whose value of a query is a function of that query's row can be asked so; one that declares what it
does with its negatives (`xmr.losses.negatives`) in less time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from xmr.core import Pairs, single
from xmr.losses import symmetric
from xmr.losses.batch import Batch, other, unchunkable
from xmr.losses.shares import shares

__all__ = ["chunked_loss", "unchunkable"]

SMALL = 1 << 16  # pairs up to which the plain form is asked, which takes less time, unless a chunk is given
SPARSE = 64  # times fewer weights than pairs, from which on products with them are sparse


def chunked_loss(
    name: str,
    visual: Tensor,
    text: Tensor,
    visual_group: Tensor | None = None,
    text_group: Tensor | None = None,
    *,
    chunk: int | None = None,
    **hyper: Any,
) -> Tensor:
    """The loss `name` of embeddings: `loss_value` of `visual @ text.T`, in memory of `chunk` rows of scores.

    visual (V, D), text (T, D) float; a pair is positive where `visual_group` (V,) and `text_group` (T,), integers,
    are equal, and negative elsewhere; without groups, row i of both is a pair. Embeddings in half precision are multiplied
    in single. Returns a scalar tensor whose backward
    pass reaches the embeddings and the hyper-parameters given as tensors, once (no second derivatives).
    Raises UnknownName, TypeError on an unknown hyper-parameter, and ValueError on shapes that do not fit, a number
    outside its range, or a loss that looks at more than a query's own row.
    """
    batch = Batch.of(name, visual, text, visual_group, text_group, chunk, hyper)
    if chunk is None and len(visual) * len(text) <= SMALL:
        pairs = Pairs.of(single(visual) @ single(text).T, groups=(batch.groups["v2t"], batch.groups["t2v"]))
        return symmetric(batch.entry.make, pairs, **hyper)
    return _Chunked.apply(batch, visual, text, *batch.tensors.values())


class _Chunked(torch.autograd.Function):
    """The sum of the shares; the gradients are taken in the forward pass."""

    @staticmethod
    def forward(ctx: Any, batch: Batch, visual: Tensor, text: Tensor, *tensors: Tensor) -> Tensor:
        gradient = any(ctx.needs_input_grad)
        leaves = {
            key: value.detach().clone().requires_grad_(gradient)
            for key, value in zip(batch.tensors, tensors, strict=True)
        }
        grads = {direction: torch.zeros_like(side) for direction, side in batch.sides.items() if gradient}
        total = batch.sides["v2t"].new_zeros(())
        for value, direction, rows, weights in shares(batch, batch.fixed | leaves, gradient):
            total += value
            if weights is not None:
                asked = other(direction)
                if not weights.is_sparse and torch.count_nonzero(weights) * SPARSE < weights.numel():
                    weights = weights.to_sparse()
                grads[direction][rows].addmm_(weights, batch.sides[asked])
                grads[asked].addmm_(weights.T, batch.sides[direction][rows])
        ctx.save_for_backward(*grads.values(), *(leaf.grad for leaf in leaves.values()))
        ctx.types = [tensor.dtype for tensor in (visual, text, *tensors)]
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        given = zip(ctx.saved_tensors, ctx.types, strict=True)
        return None, *(None if saved is None else (grad * saved).to(kind) for saved, kind in given)
