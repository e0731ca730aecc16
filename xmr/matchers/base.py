"""What every matcher offers, and what it is built from."""

from __future__ import annotations

from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from xmr.matchers.vocabulary import Vocabulary, read_vectors
from xmr.registry import Registry

# Each: a class (visual_dim, text_dim, vocabulary, *, parameters) that keeps to `Matcher`.
MATCHERS = Registry("matcher")

# Frozen text features (B, D) or (B, T, D), or words: ids (B, L) int64 padded with 0, and lengths (B,) int64.
TextBatch = Tensor | tuple[Tensor, Tensor]

MAX_DIM = 1 << 16  # of features and vocabularies that a checkpoint may claim


class Matcher(Protocol):
    """The trainable part.

    Mostly a pair's score is the inner product of two unit embeddings, which `visual` and `text` return, so that each side
    can be embedded without the other. Where `scores_pairs`, what they return are states that only its own `scores` can
    compare: tokens (B, T, W), zero at padding, or rows (B, W); `pooled` makes unit vectors (B, E) of them, by which a
    first stage finds candidates. `inputs` says which frozen features it reads: "pooled" (N, D) or "tokens"
    (N, T, D), where pooled features are one token and a token of zeros is padding. `score_kind` says in a word or two
    what a score is, for axes and legends.
    """

    scores_pairs: bool
    score_kind: str
    inputs: Literal["pooled", "tokens"]
    embed_dim: int  # of one embedding

    def visual(self, features: Tensor) -> Tensor: ...
    def text(self, batch: TextBatch) -> Tensor: ...
    def scores(self, visual: Tensor, text: Tensor) -> Tensor: ...
    def pooled(self, states: Tensor) -> Tensor: ...
    def fit(self, visual: np.ndarray, text: np.ndarray | None) -> None: ...

    @staticmethod
    def settle(params: dict[str, Any], text_dim: int) -> dict[str, Any]: ...
    @staticmethod
    def reads_words(params: dict[str, Any]) -> bool: ...


def settled_params(name: str, params: dict[str, Any], text_dim: int) -> dict[str, Any]:
    """All parameters of the matcher `name`, checked, with those that depend on the data made definite.

    `text_dim` is the width of the frozen text features, 0 where there are none.
    Raises UnknownName, TypeError on an unknown parameter, ValueError on a value that does not fit.
    """
    entry = MATCHERS[name]
    return entry.make.settle(entry.parse(params), text_dim)


def build_matcher(
    name: str, params: dict[str, Any], visual_dim: int, text_dim: int, vocabulary: Vocabulary | None
) -> nn.Module:
    """An untrained matcher from settled parameters; touches no file, so it is safe on a foreign configuration."""
    for what, size in (("visual_dim", visual_dim), ("text_dim", text_dim)):
        if not isinstance(size, int) or not 0 <= size <= MAX_DIM:
            raise ValueError(f"{what} must be an integer in 0 … {MAX_DIM}, found {size!r}")
    entry = MATCHERS[name]
    return entry.make(visual_dim, text_dim, vocabulary, **entry.parse(params))


class ReadsText:
    """What the text side of a matcher's parameters means: `text` is "features", "auto", or a way to read words."""

    WORDS = "words"  # what "auto" takes where there are no text features
    WIDTHS = (128, 256)  # of embeddings on text features and on words, where `embed_dim` is 0

    @classmethod
    def settle(cls, params: dict[str, Any], text_dim: int) -> dict[str, Any]:
        """`params` with "auto" and zero replaced, and the length of the vectors in a `glove` file taken over."""
        params = dict(params)
        if params["text"] == "auto":
            params["text"] = "features" if text_dim else cls.WORDS
        if params.get("embed_dim") == 0:
            params["embed_dim"] = cls.WIDTHS[cls.reads_words(params)]
        if params.get("glove") and cls.reads_words(params):
            params["word_dim"] = len(next(iter(read_vectors(params["glove"], ()).values())))
        return params

    @staticmethod
    def reads_words(params: dict[str, Any]) -> bool:
        """Whether settled `params` ask for a vocabulary."""
        return params["text"] != "features"


class Cosine:
    """Scores of a matcher whose `visual` and `text` return unit embeddings."""

    scores_pairs = False
    score_kind = "cosine"

    def scores(self, visual: Tensor, text: Tensor) -> Tensor:
        """Cosine similarities (V, T) of embeddings (V, E) and (T, E)."""
        return visual @ text.T

    def pooled(self, states: Tensor) -> Tensor:
        """The embeddings themselves."""
        return states


class Standardise(nn.Module):
    """(x - mean) / std per dimension, with the training features' statistics: raw features differ much in scale."""

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))

    def fit(self, features: np.ndarray, rows: int = 4096) -> None:
        """Statistics of (N, D) or (N, T, D) features, in blocks of rows and in float64."""
        total, square, count = 0.0, 0.0, 0
        for start in range(0, len(features), rows):
            block = np.asarray(features[start : start + rows], np.float64).reshape(-1, features.shape[-1])
            if features.ndim == 3:
                block = block[block.any(1)]  # tokens of zeros are padding
            total, square, count = total + block.sum(0), square + (block**2).sum(0), count + len(block)
        mean = total / count
        std = np.sqrt(np.maximum(square / count - mean**2, 0))
        # A dimension that never varies tells nothing: it becomes zero, not noise blown up.
        flat = std < 1e-4 * max(std.max(), 1e-12)
        self.mean.copy_(torch.from_numpy(mean))
        self.std.copy_(torch.from_numpy(np.where(flat, 1.0, std)))

    def forward(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.std


def head(inputs: int, outputs: int, hidden: int, dropout: float) -> nn.Sequential:
    """A projection: linear, or with one hidden layer of `hidden` units."""
    if not hidden:
        return nn.Sequential(nn.Dropout(dropout), nn.Linear(inputs, outputs))
    return nn.Sequential(
        nn.Dropout(dropout),
        nn.Linear(inputs, hidden),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, outputs),
    )
