"""What matchers on tokens share: patches, frames or words as vectors of one width.

A token whose vector is zero is padding, so a batch carries its own mask; an item's first token always counts, because
an item without tokens would have no score.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from torch import Tensor, nn
from torch.nn.functional import normalize

from xmr.matchers.base import ReadsText, Standardise, TextBatch
from xmr.matchers.vocabulary import Vocabulary
from xmr.matchers.words import Words
from xmr.registry import Range


def present(tokens: Tensor) -> Tensor:
    """Which of the tokens (B, T, D) are none of padding, (B, T) bool."""
    found = (tokens != 0).any(2)
    found[:, 0] = True
    return found


def mean_of_present(tokens: Tensor) -> Tensor:
    """The mean (B, D) of the tokens (B, T, D) that are there."""
    there = present(tokens)[:, :, None]
    return (tokens * there).sum(1) / there.sum(1)


class FeatureTokens(nn.Module):
    """Frozen features (B, T, D), or (B, D) as one token, standardised and projected: (B, T, W), zero at padding."""

    def __init__(self, dim: int, width: int, dropout: float):
        super().__init__()
        self.standardise, self.dropout = Standardise(dim), nn.Dropout(dropout)
        self.project = nn.Linear(dim, width)

    def forward(self, features: Tensor) -> Tensor:
        if features.ndim == 2:
            features = features[:, None]
        there = present(features)[:, :, None]
        return self.project(self.dropout(self.standardise(features))) * there


class WordTokens(nn.Module):
    """Words by ids (B, L) and lengths (B,): vectors, then a bidirectional GRU whose two states are averaged, as SCAN:
    (B, L, W), zero at padding."""

    def __init__(self, vocabulary: Vocabulary, dim: int, width: int, dropout: float):
        super().__init__()
        self.words = Words(len(vocabulary), dim, dropout)
        self.gru = nn.GRU(dim, width, batch_first=True, bidirectional=True)

    def forward(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        ids, lengths = batch
        packed = nn.utils.rnn.pack_padded_sequence(
            self.words(ids), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        states, _ = nn.utils.rnn.pad_packed_sequence(
            self.gru(packed)[0], batch_first=True, total_length=ids.shape[1]
        )
        forward, backward = states.chunk(2, dim=2)
        return (forward + backward) / 2


class TokenMatcher(ReadsText, nn.Module):
    """Tokens of both sides in one width; what is made of them is the subclass's.

    `text`: "features" reads frozen text features (of tokens, or pooled as one), "words" learns the words of the
    training captions with a GRU, "auto" reads features where there are some. `embed_dim` is the width of a token and of
    an embedding, 0 takes 128 on text features and 256 on words. `dropout` acts on frozen features. For words: `word_dim`,
    `word_dropout`, `min_count` and `glove` as in `linear`.
    """

    inputs: Literal["pooled", "tokens"] = "tokens"

    def __init__(
        self,
        visual_dim: int,
        text_dim: int = 0,
        vocabulary: Vocabulary | None = None,
        *,
        text: Literal["auto", "features", "words"] = "auto",
        embed_dim: Annotated[int, Range(0, 4096)] = 0,
        dropout: Annotated[float, Range(0, 0.9)] = 0.1,
        word_dim: Annotated[int, Range(1, 1024)] = 300,
        word_dropout: Annotated[float, Range(0, 0.9)] = 0.2,
        min_count: Annotated[int, Range(1, 1000)] = 2,
        glove: str = "",
    ):
        super().__init__()
        settled = self.settle({"text": text, "embed_dim": embed_dim, "glove": ""}, text_dim)
        self.embed_dim = width = settled["embed_dim"]
        self.vocabulary, self.glove = vocabulary, glove
        self.visual_tokens = FeatureTokens(visual_dim, width, dropout)
        self.text_tokens: FeatureTokens | WordTokens
        if settled["text"] == "features":
            if not text_dim:
                raise ValueError("text=features needs frozen text features, and there are none; use words")
            self.text_tokens = FeatureTokens(text_dim, width, dropout)
        else:
            if vocabulary is None:
                raise ValueError("text=words needs a vocabulary")
            self.text_tokens = WordTokens(vocabulary, word_dim, width, word_dropout)

    def fit(self, visual: np.ndarray, text: np.ndarray | None) -> None:
        """Takes what comes from the training data without gradients: statistics, and word vectors."""
        self.visual_tokens.standardise.fit(visual)
        if isinstance(self.text_tokens, FeatureTokens):
            self.text_tokens.standardise.fit(text)
        elif self.glove:
            self.text_tokens.words.load(self.glove, self.vocabulary)

    def visual(self, features: Tensor) -> Tensor:
        """Tokens (B, T, W) of features (B, T, D) or (B, D)."""
        return self.visual_tokens(features)

    def text(self, batch: TextBatch) -> Tensor:
        """Tokens (B, T, W) of text features, or of words: ids (B, L) and lengths (B,)."""
        return self.text_tokens(batch)

    def pooled(self, states: Tensor) -> Tensor:
        """Unit vectors (B, W) that stand for tokens (B, T, W) in a first stage: their mean."""
        return normalize(mean_of_present(states), dim=1)
