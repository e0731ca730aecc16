"""Reasoning over the tokens of one item in a graph, pooled to one vector: an independent matcher."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from xmr.matchers.base import MATCHERS, Cosine, TextBatch
from xmr.matchers.tokens import TokenMatcher, present
from xmr.matchers.vocabulary import Vocabulary
from xmr.registry import Range


@MATCHERS.register
class Graph(Cosine, TokenMatcher):
    """Tokens related by neighbourhood and by attention, pooled by a graph convolution (CIMN-style).

    A visual token's neighbours are the `neighbours` most similar tokens of its item, a word's those at most `window`
    places away. Trained with the loss `gravitation` in the paper; any loss will do. The other parameters say what a
    token is: `text`: "features" reads frozen text features, "words" learns the words of the training captions with a
    GRU, "auto" reads features where there are some. `embed_dim` is the width of a token and of an embedding, 0 takes
    128 on text features and 256 on words; the rest as in `linear`.

    Reference: Ke et al., Cross-modal Independent Matching Network, Pattern Recognition 159, 2025,
        https://doi.org/10.1016/j.patcog.2024.111096
    Deviation: only the abstract could be read, so the formulas (see `Reasoning` and `Pooling`) are not the paper's.
    """

    name = "graph"

    def __init__(
        self,
        visual_dim: int,
        text_dim: int = 0,
        vocabulary: Vocabulary | None = None,
        *,
        neighbours: Annotated[int, Range(1, 64)] = 5,
        window: Annotated[int, Range(1, 16)] = 1,
        **common: Any,
    ):
        super().__init__(visual_dim, text_dim, vocabulary, **common)
        if self.embed_dim < 2:
            raise ValueError("graph needs embed_dim of 2 or more: one number, normalised, is a constant")
        self.neighbours, self.window = neighbours, window
        self.visual_reasoning, self.text_reasoning = Reasoning(self.embed_dim), Reasoning(self.embed_dim)
        self.visual_pooling, self.text_pooling = Pooling(self.embed_dim), Pooling(self.embed_dim)

    def visual(self, features: Tensor) -> Tensor:
        """Unit embeddings (B, E) of features (B, T, D), or (B, D) as one token."""
        tokens = self.visual_tokens(features)
        there = present(tokens)
        graph = normalised(nearest(tokens, there, self.neighbours), there)
        return self.visual_pooling(self.visual_reasoning(tokens, graph, there), graph, there)

    def text(self, batch: TextBatch) -> Tensor:
        """Unit embeddings (B, E) of text features (B, T, D) or (B, D), or of words: ids (B, L) and lengths (B,)."""
        tokens = self.text_tokens(batch)
        there = present(tokens)
        graph = normalised(adjacent(there, self.window), there)
        return self.text_pooling(self.text_reasoning(tokens, graph, there), graph, there)


def nearest(tokens: Tensor, there: Tensor, count: int) -> Tensor:
    """Which tokens of an item are neighbours, (B, T, T) bool: one is among the `count` nearest of the other by cosine.

    Of tokens equally near to 1e-5 all are taken, so that the order of the tokens does not matter.
    """
    unit = normalize(tokens.detach(), dim=2)
    alone = torch.eye(tokens.shape[1], dtype=torch.bool, device=tokens.device)
    other = there[:, :, None] & there[:, None] & ~alone
    similar = (unit @ unit.transpose(1, 2)).masked_fill(~other, -torch.inf)
    last = similar.topk(min(count, tokens.shape[1]), dim=2).values[:, :, -1:]  # -inf where there are fewer
    near = (similar >= last - 1e-5) & other  # equal tokens differ by rounding
    return near | near.transpose(1, 2)


def adjacent(there: Tensor, window: int) -> Tensor:
    """Which tokens of an item are neighbours, (B, T, T) bool: at most `window` places apart, padding not counted."""
    place = there.cumsum(1)
    apart = (place[:, :, None] - place[:, None]).abs()
    return (apart <= window) & (apart > 0) & there[:, :, None] & there[:, None]


def normalised(graph: Tensor, there: Tensor) -> Tensor:
    """D^-1/2 (A + I) D^-1/2 of neighbourhoods A (B, T, T), D the degrees with the loop; zero at padding."""
    loops = graph.float() + torch.diag_embed(there.float())
    scale = loops.sum(2).clamp(min=1).rsqrt()
    return scale[:, :, None] * loops * scale[:, None]


class Reasoning(nn.Module):
    """Tokens X (B, T, W) that know of their neighbours and of what they attend to; zero at padding.

    H_nb = ReLU(Â X W1), H_pt = softmax(X Wq (X Wk)ᵀ / √W) X W2, X' = LayerNorm(X + [H_nb; H_pt] W3)
    """

    def __init__(self, width: int):
        super().__init__()
        self.neighbourhood = nn.Linear(width, width, bias=False)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.latent = nn.Linear(width, width, bias=False)
        self.join = nn.Linear(2 * width, width, bias=False)
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, graph: Tensor, there: Tensor) -> Tensor:
        near = (graph @ self.neighbourhood(tokens)).relu()
        logits = self.query(tokens) @ self.key(tokens).transpose(1, 2) / tokens.shape[2] ** 0.5
        relations = logits.masked_fill(~there[:, None], -torch.inf).softmax(2)
        latent = relations @ self.latent(tokens)
        return self.norm(tokens + self.join(torch.cat([near, latent], dim=2))) * there[:, :, None]


class Pooling(nn.Module):
    """One unit vector (B, W) of tokens X (B, T, W): v = Σ g_i X_i, g = softmax_i(ReLU(Â X Wg) w) over what is there."""

    def __init__(self, width: int):
        super().__init__()
        self.convolution = nn.Linear(width, width, bias=False)
        self.score = nn.Linear(width, 1, bias=False)

    def gates(self, tokens: Tensor, graph: Tensor, there: Tensor) -> Tensor:
        """How much each token counts, (B, T): they sum to one."""
        scores = self.score((graph @ self.convolution(tokens)).relu())[:, :, 0]
        return scores.masked_fill(~there, -torch.inf).softmax(1)

    def forward(self, tokens: Tensor, graph: Tensor, there: Tensor) -> Tensor:
        return normalize((self.gates(tokens, graph, there)[:, None] @ tokens)[:, 0], dim=1)
