"""Late interaction: each token is compared with the nearest of the other side."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from xmr.matchers.base import MATCHERS
from xmr.matchers.pairwise import TokenScorer, mean_where, similarities
from xmr.matchers.tokens import present
from xmr.matchers.vocabulary import Vocabulary


@MATCHERS.register
class TokenMax(TokenScorer):
    """The mean over tokens of their largest similarity to a token of the other side (ColBERT, FILIP).

    `attend`: "text" looks for the nearest region of each word, "visual" for the nearest word of each region, "both"
    averages the two. The rest as in all matchers on tokens: `text`, `embed_dim`, `dropout`, `word_dim`,
    `word_dropout`, `min_count`, `glove`.
    Reference: Yao et al., FILIP: Fine-grained Interactive Language-Image Pre-Training, ICLR 2022,
        https://arxiv.org/abs/2111.07783; before it Khattab and Zaharia, ColBERT, SIGIR 2020,
        https://arxiv.org/abs/2004.12832, with text on both sides and the sum in place of the mean.
    Deviation: FILIP trains each direction of retrieval with that side's own score, here both see the same one.
    """

    name = "token_max"
    nearest = True

    def __init__(
        self,
        visual_dim: int,
        text_dim: int = 0,
        vocabulary: Vocabulary | None = None,
        *,
        attend: Literal["text", "visual", "both"] = "both",
        **common: Any,
    ):
        super().__init__(visual_dim, text_dim, vocabulary, **common)
        self.attend = attend

    def score(self, visual: Tensor, text: Tensor) -> Tensor:
        pairs = similarities(visual, text)  # (V, I, T, J)
        there, named = present(visual), present(text)
        found = []
        if self.attend != "visual":
            nearest = pairs.masked_fill(~there[:, :, None, None], -torch.inf).max(1).values  # (V, T, J)
            found.append(mean_where(nearest, named))
        if self.attend != "text":
            nearest = pairs.masked_fill(~named, -torch.inf).max(3).values  # (V, I, T)
            found.append(mean_where(nearest.transpose(1, 2), there[:, None]))
        return sum(found) / len(found)

    def looks(self, visual: Tensor, text: Tensor) -> Tensor:
        """How near each word is to each region, (J, I), of the tokens of one visual (I, W) and of one text (J, W), padding left
        out; of who looks, the nearest counts."""
        return text[present(text[None])[0]] @ visual[present(visual[None])[0]].T
