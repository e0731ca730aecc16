"""Gradient caching: a batch larger than what the encoders' graph has room for.

Gao et al., Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup, RepL4NLP 2021,
https://arxiv.org/abs/2101.06983
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from xmr.scoring import joined

Embed = Callable[[slice], Tensor]


def cached_backward(
    loss: Callable[..., Tensor], embedders: Sequence[Embed], sizes: Sequence[int], micro_batch: int
) -> Tensor:
    """`loss(*embeddings).backward()` with the graph of one micro-batch at a time; returns the loss, detached.

    Each of `embedders` takes a slice of its own items, of which `sizes` has the numbers, and returns their embeddings (rows, …). All are
    embedded without a graph, the loss gives the gradient of every embedding, and each micro-batch is embedded again
    with a graph to carry its part of it on. Random numbers (dropout) are the same both times, so gradients are those of
    embedding the micro-batches one after the other with all graphs held. Whatever else the embedders change as they
    run (running statistics of batch norm) is changed twice.
    """
    slices = [
        [slice(start, min(start + micro_batch, size)) for start in range(0, size, micro_batch)]
        for size in sizes
    ]
    states, leaves = [], []
    for embed, own in zip(embedders, slices, strict=True):
        parts = []
        for rows in own:
            states.append(_random_state())
            with torch.no_grad():
                parts.append(embed(rows))
        leaves.append(joined(parts).requires_grad_())
    value = loss(*leaves)
    value.backward()
    after = _random_state()
    again = iter(states)
    for embed, leaf, own in zip(embedders, leaves, slices, strict=True):
        for rows in own:
            _set_random_state(next(again))
            if leaf.grad is not None:
                part = embed(rows)
                part.backward(leaf.grad[rows][:, : part.shape[1]])  # without what was padded to join it
    _set_random_state(after)
    return value.detach()


def _random_state() -> tuple[Tensor, list[Tensor]]:
    return torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []


def _set_random_state(state: tuple[Tensor, list[Tensor]]) -> None:
    torch.set_rng_state(state[0])
    if state[1]:
        torch.cuda.set_rng_state_all(state[1])
