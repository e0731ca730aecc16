"""The matcher of a model as it is: what an encoder says, at unit length."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import normalize

from xmr.matchers.base import Cosine
from xmr.matchers.tokens import mean_of_present


class Unit(Cosine, nn.Module):
    """The identity: features (B, D), or the mean of the frames of a clip (B, T, D), normalised. It has nothing to learn, so
    it is none of those that can be trained."""

    inputs = "pooled"

    def __init__(self, embed_dim: int):
        super().__init__()
        self.embed_dim = embed_dim

    def visual(self, features: Tensor) -> Tensor:
        return normalize(mean_of_present(features) if features.ndim == 3 else features, dim=-1)

    def text(self, features: Tensor) -> Tensor:
        return normalize(features, dim=-1)
