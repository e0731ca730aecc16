"""Cross attention between the tokens of a pair: SCAN and BFAN."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor
from torch.linalg import vector_norm
from torch.nn.functional import leaky_relu

from xmr.matchers.base import MATCHERS
from xmr.matchers.pairwise import TokenScorer, mean_where, similarities
from xmr.matchers.tokens import present
from xmr.matchers.vocabulary import Vocabulary
from xmr.registry import Range

LSE = 6.0  # SCAN's scale of a sum of exponentials, text to image
SMALL = 1e-3  # the least length of an attended vector, in parts of what it would be if all tokens were equal


@MATCHERS.register
class CrossAttention(TokenScorer):
    """Each token attends to the other side's tokens, and is compared with what it finds there (SCAN, BFAN).

    `attend`: "text" lets the words look for regions (SCAN's t-i), "visual" the regions for words (i-t), "both" averages
    the two. `sharpness` is the inverse temperature of the attention (SCAN takes 9 for text and 4 for visual, BFAN 20).
    `focal` attends only to tokens with more than an average share of the attention (BFAN, with "both"). `pool`: "mean"
    averages a side's tokens, "lse" takes log Σ exp(6 s) / 6, which stresses the best of them and exceeds 1 by up to
    log(tokens) / 6. The rest as in all matchers on tokens: `text`, `embed_dim`, `dropout`, `word_dim`, `word_dropout`,
    `min_count`, `glove`.
    Reference: Lee et al., Stacked Cross Attention for Image-Text Matching, ECCV 2018, https://arxiv.org/abs/1803.08024
        with the normalisation of the released code, "clipped_l2norm" (https://github.com/kuanghuei/SCAN, model.py): a
        token's similarities to all of the asking side, negative ones divided by ten, have length 1;
        Liu et al., Focus Your Attention: A Bidirectional Focal Attention Network for Image-Text Matching, ACM MM 2019,
        https://arxiv.org/abs/1909.11416, "equal" (https://github.com/CrossmodalGroup/BFAN, model.py).
    Deviation: BFAN adds the two directions, here they are averaged; where all shares are equal it keeps no token and
        divides 0 by 0, here all are kept; padding of the visual side is left out. SCAN's "lse" takes 5 in place of 6 where
        regions look for words. BFAN's second form, "prob", in which a token is compared with the others weighed by the
        roots of their shares, is not here.
    """

    name = "cross_attention"
    nearest = False

    def __init__(
        self,
        visual_dim: int,
        text_dim: int = 0,
        vocabulary: Vocabulary | None = None,
        *,
        attend: Literal["text", "visual", "both"] = "text",
        sharpness: Annotated[float, Range(0, 40)] = 9.0,
        focal: bool = False,
        pool: Literal["mean", "lse"] = "mean",
        **common: Any,
    ):
        super().__init__(visual_dim, text_dim, vocabulary, **common)
        self.attend, self.sharpness, self.focal, self.pool = attend, sharpness, focal, pool

    def score(self, visual: Tensor, text: Tensor) -> Tensor:
        pairs = similarities(visual, text)
        found = []
        if self.attend != "visual":
            found.append(self._asked(pairs, visual, present(text)))
        if self.attend != "text":
            found.append(self._asked(pairs.permute(2, 3, 0, 1).contiguous(), text, present(visual)).T)
        return sum(found) / len(found)

    def looks(self, visual: Tensor, text: Tensor) -> Tensor:
        """Attention between the words and the regions, (J, I), of the tokens of one visual (I, W) and of one text (J, W), padding
        left out: the shares of who looks sum to 1, those of a word over the regions, or of a region over the words."""
        visual, text = visual[present(visual[None])[0]][None], text[present(text[None])[0]][None]
        if self.attend == "visual":
            weights, _ = self._attention(similarities(text, visual), text)
            return (weights / weights.sum(1, keepdim=True))[0, :, 0]
        weights, _ = self._attention(similarities(visual, text), visual)
        return (weights / weights.sum(1, keepdim=True))[0, :, 0].T

    def _asked(self, pairs: Tensor, context: Tensor, asking: Tensor) -> Tensor:
        """Scores (C, Q) where the tokens of Q items attend to the tokens `context` (C, I, W) of C items.

        `pairs` are their similarities (C, I, Q, J), `asking` (Q, J) says which of the asking tokens are none of padding.
        """
        weights, total = self._attention(pairs, context)
        # cos(q, Σ a k) = Σ a (q k) / √(aᵀ G a), where G = k kᵀ: the vectors Σ a k (C, Q, J, W) need not be made.
        gram = context @ context.transpose(1, 2)
        squared = (weights * (gram @ weights.flatten(2)).view_as(weights)).sum(1)
        cosines = (weights * pairs).sum(1) * torch.maximum(squared, (SMALL * total) ** 2).rsqrt()  # (C, Q, J)
        if self.pool == "mean":
            return mean_where(cosines, asking)
        return (LSE * cosines).masked_fill(~asking, -torch.inf).logsumexp(2) / LSE

    def _attention(self, pairs: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """What each asking token weighs of each token of the `context`, (C, I, Q, J), and the sum (C, Q, J) of it before any are
        left out."""
        clipped = leaky_relu(pairs, 0.1)
        length = vector_norm(clipped, dim=3, keepdim=True) + 1e-8
        # No softmax: what divides all weights of a token does not turn the vector they add up to. Its exponents are
        # within ± sharpness, so they need no maximum subtracted either.
        there = present(context)[:, :, None, None]
        weights = (clipped * (self.sharpness / length)).exp() * there  # (C, I, Q, J)
        total = weights.detach().sum(1)
        if self.focal:
            # An average share is kept, rounded down or up: so one token always is.
            average = total[:, None] / there.sum(1, keepdim=True)
            weights = weights * (weights.detach() >= (1 - 1e-5) * average)
        return weights, total
