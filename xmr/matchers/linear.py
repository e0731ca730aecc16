"""Projection heads on pooled features: the dual encoder on frozen towers."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from torch import Tensor, nn
from torch.nn.functional import normalize

from xmr.matchers.base import MATCHERS, Cosine, ReadsText, Standardise, TextBatch, head
from xmr.matchers.tokens import mean_of_present
from xmr.matchers.vocabulary import Vocabulary
from xmr.matchers.words import Convolution, Recurrent, Words
from xmr.registry import Range


@MATCHERS.register
class Linear(Cosine, ReadsText, nn.Module):
    """Projection heads on pooled features; captions as features or as words.

    `embed_dim` is the length of the embeddings, 0 takes 128 on text features and 512 on words. `hidden` units make
    both heads two layers deep; `dropout` acts on frozen features. `text`: "features" reads frozen text features,
    "words_conv" and "words_gru" learn the words of the training captions, "auto" reads features where there are
    some. For words: `word_dim` is the length of their vectors, `channels` the width of the convolution or of the
    recurrent network, `word_dropout` acts on both (without it words overfit within a few epochs), `min_count` is how
    often a word must occur, and `glove` a file of word vectors to start from (text or JSON; it decides `word_dim`).
    """

    name = "linear"
    inputs = "pooled"
    WORDS, WIDTHS = "words_conv", (128, 512)

    def __init__(
        self,
        visual_dim: int,
        text_dim: int = 0,
        vocabulary: Vocabulary | None = None,
        *,
        text: Literal["auto", "features", "words_conv", "words_gru"] = "auto",
        embed_dim: Annotated[int, Range(0, 4096)] = 0,
        hidden: Annotated[int, Range(0, 8192)] = 0,
        dropout: Annotated[float, Range(0, 0.9)] = 0.1,
        word_dim: Annotated[int, Range(1, 1024)] = 300,
        channels: Annotated[int, Range(1, 4096)] = 512,
        word_dropout: Annotated[float, Range(0, 0.9)] = 0.5,
        min_count: Annotated[int, Range(1, 1000)] = 2,
        glove: str = "",
    ):
        super().__init__()
        settled = self.settle({"text": text, "embed_dim": embed_dim, "glove": ""}, text_dim)
        self.embed_dim = embed_dim = settled["embed_dim"]
        tower = settled["text"]
        self.vocabulary, self.glove = vocabulary, glove
        self.standardise_visual = Standardise(visual_dim)
        self.visual_head = head(visual_dim, embed_dim, hidden, dropout)
        if tower == "features":
            if not text_dim:
                raise ValueError(
                    "text=features needs frozen text features, and there are none; use words_conv"
                )
            self.words, self.standardise_text = None, Standardise(text_dim)
            self.text_head = head(text_dim, embed_dim, hidden, dropout)
        else:
            if vocabulary is None:
                raise ValueError(f"text={tower} needs a vocabulary")
            self.words, self.standardise_text = Words(len(vocabulary), word_dim, word_dropout), None
            self.tower = (Convolution if tower == "words_conv" else Recurrent)(word_dim, channels)
            self.text_head = head(self.tower.width, embed_dim, hidden, word_dropout)

    def fit(self, visual: np.ndarray, text: np.ndarray | None) -> None:
        """Takes what comes from the training data without gradients: statistics, and word vectors."""
        self.standardise_visual.fit(visual)
        if self.standardise_text is not None:
            self.standardise_text.fit(text)
        elif self.glove:
            self.words.load(self.glove, self.vocabulary)

    def visual(self, features: Tensor) -> Tensor:
        """Unit embeddings (B, E) of features (B, D), or (B, T, D), whose mean over T is taken."""
        if features.ndim == 3:
            features = mean_of_present(features)
        return normalize(self.visual_head(self.standardise_visual(features)), dim=1)

    def text(self, batch: TextBatch) -> Tensor:
        """Unit embeddings (B, E) of text features (B, D), or of words: ids (B, L) and lengths (B,)."""
        if self.words is None:
            return normalize(self.text_head(self.standardise_text(batch)), dim=1)
        ids, lengths = batch
        return normalize(self.text_head(self.tower(self.words, ids, lengths)), dim=1)
