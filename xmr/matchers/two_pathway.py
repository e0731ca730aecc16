"""Two pathways into a shared representation, and a metric network that compares pairs in it (UNCSM)."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from xmr.matchers.base import MATCHERS, ReadsText, Standardise, TextBatch
from xmr.matchers.tokens import mean_of_present
from xmr.matchers.vocabulary import Vocabulary
from xmr.matchers.words import Words
from xmr.registry import Range

CELLS = 1 << 24  # hidden units of pairs held at once, where no gradient needs them all


@MATCHERS.register
class TwoPathway(ReadsText, nn.Module):
    """Fully connected pathways into a shared space, and a network that says how similar a pair is there.

    Stage 1 is trained with `--first contrastive:EPOCHS`, stage 2 with `--loss double_triplet`, and the last
    `metric_epochs` epochs train the metric network on similar and dissimilar pairs, starting from the best shared
    space; without them a score is the cosine in that space. `joint` lets stage 3 change the pathways as well.

    Each pathway has `layers` fully connected layers of `hidden` units with batch normalisation and ReLU before the
    last, of `embed_dim`. `text`: frozen "features", or a bag of "words", the mean of learned vectors of `word_dim`; "auto"
    reads features where there are some. `dropout` acts between the layers. The metric network reads both embeddings and their product
    through two layers of `metric_hidden`, and its log-odds are the score.

    Reference: Qi et al., Cross-media Similarity Metric Learning with Unified Deep Networks, MTA 2017,
        https://arxiv.org/abs/1704.04333
    Deviation: only the abstract could be read. Layers, sizes and the form of the metric network follow the same group's
        released code where it has them; the product of both embeddings and the shared space's cosine are added to
        what the network reads.
    """

    name = "two_pathway"
    inputs = "pooled"

    def __init__(
        self,
        visual_dim: int,
        text_dim: int = 0,
        vocabulary: Vocabulary | None = None,
        *,
        text: Literal["auto", "features", "words"] = "auto",
        embed_dim: Annotated[int, Range(1, 4096)] = 128,
        hidden: Annotated[int, Range(1, 8192)] = 512,
        layers: Annotated[int, Range(1, 6)] = 2,
        dropout: Annotated[float, Range(0, 0.9)] = 0.2,
        metric_epochs: Annotated[int, Range(0, 1000)] = 0,
        metric_hidden: Annotated[int, Range(1, 4096)] = 64,
        joint: bool = False,
        word_dim: Annotated[int, Range(1, 1024)] = 300,
        min_count: Annotated[int, Range(1, 1000)] = 2,
    ):
        super().__init__()
        self.embed_dim, self.metric_epochs, self.joint = embed_dim, metric_epochs, joint
        self.scores_by_metric = metric_epochs > 0
        self.vocabulary, self.words, self.standardise_text = vocabulary, None, None
        if self.settle({"text": text}, text_dim)["text"] == "features":
            if not text_dim:
                raise ValueError("text=features needs frozen text features, and there are none; use words")
            self.standardise_text = Standardise(text_dim)
        else:
            if vocabulary is None:
                raise ValueError("text=words needs a vocabulary")
            self.words, text_dim = Words(len(vocabulary), word_dim, dropout), word_dim
        self.standardise_visual = Standardise(visual_dim)
        self.visual_pathway = _pathway(visual_dim, hidden, embed_dim, layers, dropout)
        self.text_pathway = _pathway(text_dim, hidden, embed_dim, layers, dropout)
        if metric_epochs:
            self.of_visual = nn.Linear(embed_dim, metric_hidden)
            self.of_text = nn.Linear(embed_dim, metric_hidden, bias=False)
            self.of_product = nn.Parameter(nn.init.normal_(torch.empty(metric_hidden, embed_dim)))
            self.second = nn.Linear(metric_hidden, metric_hidden)
            self.similar = nn.Linear(metric_hidden, 1)
            # The cosine's part of the log-odds: at first the network says what the shared space says.
            self.of_cosine = nn.Parameter(torch.tensor(5.0))

    @property
    def scores_pairs(self) -> bool:
        """Once the metric network says what a pair's score is."""
        return self.scores_by_metric

    @property
    def score_kind(self) -> str:
        """A metric network says log-odds, which no bounds hold."""
        return "log-odds" if self.scores_by_metric else "cosine"

    def fit(self, visual: np.ndarray, text: np.ndarray | None) -> None:
        """Takes the statistics of the training features."""
        self.standardise_visual.fit(visual)
        if self.standardise_text is not None:
            self.standardise_text.fit(text)

    def visual(self, features: Tensor) -> Tensor:
        """Unit embeddings (B, E) of features (B, D), or (B, T, D), whose mean over T is taken."""
        if features.ndim == 3:
            features = mean_of_present(features)
        return normalize(self.visual_pathway(self.standardise_visual(features)), dim=1)

    def text(self, batch: TextBatch) -> Tensor:
        """Unit embeddings (B, E) of text features (B, D), or of words: ids (B, L) and lengths (B,)."""
        if self.words is None:
            return normalize(self.text_pathway(self.standardise_text(batch)), dim=1)
        ids, lengths = batch
        return normalize(self.text_pathway(self.words(ids).sum(1) / lengths[:, None]), dim=1)

    def pooled(self, states: Tensor) -> Tensor:
        """The shared representation, which both kinds of score begin with."""
        return states

    def scores(self, visual: Tensor, text: Tensor) -> Tensor:
        """Cosines (V, T) in the shared space, or the metric network's log-odds that a pair is similar."""
        if not self.scores_by_metric:
            return visual @ text.T
        if not self.joint:
            visual, text = visual.detach(), text.detach()
        step = max(1, CELLS // max(len(text) * self.second.in_features, 1))
        if torch.is_grad_enabled() or step >= len(visual):
            return self._log_odds(visual, text)
        return torch.cat([self._log_odds(part, text) for part in visual.split(step)])

    def _log_odds(self, visual: Tensor, text: Tensor) -> Tensor:
        first = self.of_visual(visual)[:, None] + self.of_text(text)[None]  # (V, T, H)
        # Σ_e w_he·x_e·z_e for every pair and unit is one product: units scale the visuals beforehand.
        scaled = (visual[:, None] * self.of_product).flatten(0, 1)  # (V·H, E)
        product = (scaled @ text.T).unflatten(0, (len(visual), -1)).transpose(1, 2)
        hidden = self.second((first + product).relu()).relu()
        return self.similar(hidden)[:, :, 0] + self.of_cosine * (visual @ text.T)


def _pathway(inputs: int, hidden: int, outputs: int, layers: int, dropout: float) -> nn.Sequential:
    parts: list[nn.Module] = []
    for _ in range(layers - 1):
        parts += [nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(dropout)]
        inputs = hidden
    return nn.Sequential(*parts, nn.Linear(inputs, outputs))
