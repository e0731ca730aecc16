"""What scorers of pairs on tokens share: unit tokens, and scores block by block.

A score needs the similarities of all tokens of a pair, so those of all pairs don't fit: they are made for a block of
pairs at a time, and once more in the backward pass, as activation checkpointing does (Chen et al., 2016,
https://arxiv.org/abs/1604.06174). A block stays in the processor's cache, so this is faster as well where there are many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import isqrt
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import normalize

from xmr.matchers.base import TextBatch
from xmr.matchers.tokens import TokenMatcher, present

BLOCK = 1 << 19  # similarities of tokens at once: a score holds some ten tensors of that size, 2 MB each

Score = Callable[[Tensor, Tensor], Tensor]  # tokens (V, I, W) and (T, J, W) -> (V, T)
Block = tuple[slice, slice, int, int]  # visuals, texts, and how many tokens the longest of each has


class TokenScorer(TokenMatcher):
    """Unit tokens of both sides, zero at padding; `score` of the subclass compares those of a block of pairs."""

    scores_pairs = True
    score_kind = "token similarity"
    score: Score  # as `scores`, of pairs few enough to hold the similarities of all their tokens

    def visual(self, features: Tensor) -> Tensor:
        """Unit tokens (B, I, W) of features (B, I, D) or (B, D), zero at padding."""
        return normalize(super().visual(features), dim=2)

    def text(self, batch: TextBatch) -> Tensor:
        """Unit tokens (B, J, W) of text features, or of words: ids (B, J) and lengths (B,); zero at padding."""
        return normalize(super().text(batch), dim=2)

    def scores(self, visual: Tensor, text: Tensor) -> Tensor:
        """Scores (V, T) of tokens (V, I, W) and (T, J, W)."""
        return in_blocks(self.score, visual, text)


def similarities(visual: Tensor, text: Tensor) -> Tensor:
    """Inner products (V, I, T, J) of all tokens (V, I, W) and (T, J, W), in one product of matrices."""
    return (visual.flatten(0, 1) @ text.flatten(0, 1).T).view(*visual.shape[:2], *text.shape[:2])


def mean_where(values: Tensor, there: Tensor) -> Tensor:
    """The mean over the last axis of (…, J), where `there`, which spreads to the same shape."""
    return (values * there).sum(-1) / there.sum(-1)


def in_blocks(score: Score, visual: Tensor, text: Tensor) -> Tensor:
    """`score(visual, text)`, which must not depend on padding nor on other items, made block by block.

    Items are sorted by their number of tokens, so that a block holds little padding.
    """
    if visual.shape[:2].numel() * text.shape[:2].numel() <= 4 * BLOCK:
        return score(visual, text)  # making it again would take longer than fetching it from memory
    (visual, rows, visual_lengths), (text, columns, text_lengths) = (
        _longest_first(visual),
        _longest_first(text),
    )
    blocks = list(_blocks(visual_lengths, text_lengths))
    scores = _InBlocks.apply(score, blocks, visual, text)
    return scores[rows.argsort()[:, None], columns.argsort()]


def _longest_first(tokens: Tensor) -> tuple[Tensor, Tensor, list[int]]:
    """The items (B, T, W) by falling length, their order (B,), and the lengths: the place of the last token present."""
    places = torch.arange(1, tokens.shape[1] + 1, device=tokens.device)
    lengths, order = (present(tokens) * places).amax(1).sort(descending=True, stable=True)
    return tokens[order], order, lengths.tolist()


def _blocks(visual_lengths: list[int], text_lengths: list[int]) -> Iterator[Block]:
    row = 0
    while row < len(visual_lengths):
        # About as many visuals as texts: whatever a score makes of one side only, it makes once per block.
        side = isqrt(BLOCK // (visual_lengths[row] * text_lengths[0])) or 1
        rows, column = slice(row, min(row + side, len(visual_lengths))), 0
        while column < len(text_lengths):
            held = (rows.stop - rows.start) * visual_lengths[row] * text_lengths[column]
            columns = slice(column, column + max(BLOCK // held, 1))
            yield rows, columns, visual_lengths[row], text_lengths[column]
            column = columns.stop
        row = rows.stop


class _InBlocks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, score: Score, blocks: list[Block], visual: Tensor, text: Tensor) -> Tensor:
        ctx.score, ctx.blocks = score, blocks
        ctx.save_for_backward(visual, text)
        scores = visual.new_empty(len(visual), len(text))
        for rows, columns, i, j in blocks:
            scores[rows, columns] = score(visual[rows, :i], text[columns, :j])
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        visual, text = ctx.saved_tensors
        of_visual, of_text = torch.zeros_like(visual), torch.zeros_like(text)
        for rows, columns, i, j in ctx.blocks:
            with torch.enable_grad():
                ours = [
                    visual[rows, :i].detach().requires_grad_(),
                    text[columns, :j].detach().requires_grad_(),
                ]
                found = torch.autograd.grad(ctx.score(*ours), ours, gradient[rows, columns])
            of_visual[rows, :i] += found[0]
            of_text[columns, :j] += found[1]
        return None, None, of_visual, of_text
