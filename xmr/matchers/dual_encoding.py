"""Three levels of a sequence of frames or words, side by side: an independent matcher for clips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, embedding, normalize

from xmr.matchers.base import MATCHERS, Cosine, TextBatch, head
from xmr.matchers.tokens import TokenMatcher, WordTokens, present
from xmr.matchers.vocabulary import Vocabulary
from xmr.matchers.words import Words
from xmr.registry import Range

FRAME_KERNELS = (2, 3, 4, 5)  # windows of the convolutions, in steps
WORD_KERNELS = (2, 3, 4)


@MATCHERS.register
class DualEncoding(Cosine, TokenMatcher):
    """Mean, recurrent network and convolutions over frames and over words, with attention over the sequence.

    `attend` says on which side a step counts as much as its attention says; on the others all count the same.
    `units` is the width of the recurrent network in each direction, `filters` how many each window has. The other
    parameters say what a step is: `text`: "features" reads frozen text features, "words" learns vectors of the
    training captions' words, "auto" reads features where there are some. `embed_dim` is the length of the embeddings
    and the width of projected features, 0 takes 128 on text features and 256 on words; `dropout` acts on frozen
    features and on the levels, `word_dropout` does so for words; the rest as in `linear`.

    Batch normalisation wants batches: with micro-batches each is normalised by itself, and running statistics are
    taken twice (see `cached_backward`); a batch of one item is normalised by the running statistics.

    Reference: Dong et al., Dual Encoding for Zero-Example Video Retrieval, CVPR 2019,
        https://arxiv.org/abs/1809.06181; Galanopoulos and Mezaris, Attention Mechanisms, Signal Encodings and Fusion
        Strategies for Improved Ad-hoc Video Search with Dual Encoding Networks, ICMR 2020
    Deviation: level 1 of words is the mean of their learned vectors, where the papers count words: a count divided
        by the caption's length, in fewer dimensions. Attention is a softmax over the sequence times its length; in
        the released code of 2020 it is one over an axis of size 1, so each weight is 1, as with attend="none". Dropout
        comes before the last layer, on all levels. Frozen features are projected to `embed_dim` first.
    """

    name = "dual_encoding"

    def __init__(
        self,
        visual_dim: int,
        text_dim: int = 0,
        vocabulary: Vocabulary | None = None,
        *,
        attend: Literal["both", "visual", "text", "none"] = "both",
        units: Annotated[int, Range(1, 1024)] = 64,
        filters: Annotated[int, Range(1, 1024)] = 64,
        **common: Any,
    ):
        super().__init__(visual_dim, text_dim, vocabulary, **common)
        visual_dropout = text_dropout = self.visual_tokens.dropout.p
        text_width = self.embed_dim
        if isinstance(self.text_tokens, WordTokens):
            # The levels have a recurrent network of their own and ask for the words alone.
            words = self.text_tokens.words
            self.text_tokens = OnlyWords(words)
            text_width, text_dropout = words.table.embedding_dim, words.dropout.p
        self.visual_levels = Levels(
            self.embed_dim, units, filters, FRAME_KERNELS, attend in ("both", "visual")
        )
        self.text_levels = Levels(text_width, units, filters, WORD_KERNELS, attend in ("both", "text"))
        self.visual_head = head(self.visual_levels.width, self.embed_dim, 0, visual_dropout)
        self.text_head = head(self.text_levels.width, self.embed_dim, 0, text_dropout)
        self.visual_norm, self.text_norm = BatchNorm(self.embed_dim), BatchNorm(self.embed_dim)

    def visual(self, features: Tensor) -> Tensor:
        """Unit embeddings (B, E) of features (B, T, D), or (B, D) as one frame."""
        features = features[:, None] if features.ndim == 2 else features
        there = present(features)
        levels = self.visual_levels(self.visual_tokens(features)[there], there)
        return normalize(self.visual_norm(self.visual_head(levels)), dim=1)

    def text(self, batch: TextBatch) -> Tensor:
        """Unit embeddings (B, E) of text features (B, T, D) or (B, D), or of words: ids (B, L) and lengths (B,)."""
        if isinstance(batch, Tensor):
            batch = batch[:, None] if batch.ndim == 2 else batch
            there = present(batch)
            steps = self.text_tokens(batch)[there]
        else:
            ids, lengths = batch
            there = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
            distinct, place = torch.unique(ids[there], return_inverse=True)
            steps = embedding(place, self.text_tokens.words(distinct))  # dropout on few different words
        levels = self.text_levels(steps, there)
        return normalize(self.text_norm(self.text_head(levels)), dim=1)


class OnlyWords(nn.Module):
    """`WordTokens` without its recurrent network."""

    def __init__(self, words: Words):
        super().__init__()
        self.words = words


class Levels(nn.Module):
    """Sequences of steps as one vector each, (B, `width`).

    Side by side: the mean of the steps; the mean of the states of a bidirectional GRU over them, each times its weight;
    and for each of `kernels` the maximum over time of a convolution with ReLU over the weighted states, which are zero
    outside the sequence. Padding is left out of everything: `steps` (n, D) are those of all items, one after the other,
    that `there` (B, T) are none of padding, wherever it lies.
    """

    def __init__(self, dim: int, units: int, filters: int, kernels: Sequence[int], attend: bool):
        super().__init__()
        states = 2 * units
        self.width = dim + states + filters * len(kernels)
        self.gru = nn.GRU(dim, units, bidirectional=True)
        self.attention = Attention(states) if attend else None
        self.convolutions = nn.ModuleList(Windows(states, filters, kernel) for kernel in kernels)

    def forward(self, steps: Tensor, there: Tensor) -> Tensor:
        lengths = there.sum(1)
        states = self.recurrent(steps, lengths)
        if self.attention is not None:
            weights = self.attention(states, there) * lengths.repeat_interleave(lengths)
            states = states * weights[:, None]
        windows = [convolution(states, lengths) for convolution in self.convolutions]
        return torch.cat([mean_of_each(steps, lengths), mean_of_each(states, lengths), *windows], dim=1)

    def recurrent(self, steps: Tensor, lengths: Tensor) -> Tensor:
        """The GRU's states (n, S) at the steps (n, D)."""
        # torch's own packing goes by way of the padded batch, with a gradient of that size for every step.
        longest_first = lengths.argsort(descending=True, stable=True)
        time = torch.arange(int(lengths.max()), device=steps.device)[:, None]
        alive = time < lengths[longest_first]  # (T, B)
        order = ((lengths.cumsum(0) - lengths)[longest_first] + time)[alive]
        packed = nn.utils.rnn.PackedSequence(steps.index_select(0, order), alive.sum(1).cpu())
        return self.gru(packed)[0].data.index_select(0, order.argsort())


class Attention(nn.Module):
    """How much each state counts: softmax over the sequence of w·tanh(W h + b)."""

    def __init__(self, width: int):
        super().__init__()
        self.hidden, self.score = nn.Linear(width, width), nn.Linear(width, 1, bias=False)

    def forward(self, states: Tensor, there: Tensor) -> Tensor:
        """Weights (n,) of the states (n, S) at the steps of `there` (B, T); those of an item sum to one."""
        scores = self.score(self.hidden(states).tanh())[:, 0]
        padded = scores.new_full(there.shape, -torch.inf).masked_scatter(there, scores)
        return padded.softmax(1)[there]


class Windows(nn.Module):
    """The maximum over time of ReLU of a convolution, zeros outside the sequence: (n, S), lengths (B,) to (B, filters).

    As in the papers every window that holds a step counts, so a sequence may be shorter than the kernel.
    """

    def __init__(self, states: int, filters: int, kernel: int):
        super().__init__()
        self.kernel, self.filters = kernel, filters
        self.project = nn.Linear(states, kernel * filters, bias=False)  # a step at each place of a window
        bound = (states * kernel) ** -0.5
        nn.init.uniform_(self.project.weight, -bound, bound)  # as a convolution of torch
        self.bias = nn.Parameter(torch.empty(filters).uniform_(-bound, bound))

    def forward(self, states: Tensor, lengths: Tensor) -> Tensor:
        gap = self.kernel - 1  # zeros before the first item and after each
        item = torch.arange(len(lengths), device=states.device).repeat_interleave(lengths)
        place = torch.arange(len(states), device=states.device) + gap * (item + 1)
        count = len(states) + gap * len(lengths)  # of windows: one ends at each step or in the gap after it
        values = self.project(states)
        laid = values.new_zeros(count + gap, values.shape[1]).index_copy(0, place, values)
        windows = sum(
            laid[i : i + count, i * self.filters : (i + 1) * self.filters] for i in range(self.kernel)
        )
        return torch.segment_reduce((windows + self.bias).relu(), "max", lengths=lengths + gap, unsafe=True)


def mean_of_each(rows: Tensor, lengths: Tensor) -> Tensor:
    """The mean (B, D) of each item's rows (n, D)."""
    return torch.segment_reduce(rows, "mean", lengths=lengths, unsafe=True)


class BatchNorm(nn.Module):
    """Batch normalisation of rows (B, D) that also trains on a batch of one, by the running statistics.

    torch's own module refuses that batch, and keeps a count of batches, an integer, which checkpoints do not hold.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("variance", torch.ones(dim))
        self.weight = nn.Parameter(torch.ones(dim))
        # Equal rows become the bias, and a vector of zeros would have no direction.
        self.bias = nn.Parameter(nn.init.normal_(torch.empty(dim), std=0.01))

    def forward(self, rows: Tensor) -> Tensor:
        return batch_norm(
            rows, self.mean, self.variance, self.weight, self.bias, self.training and len(rows) > 1
        )
