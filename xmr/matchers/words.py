"""Text towers that read words: embeddings, then a convolution or a recurrent network over them.

Both map ids (B, L) and lengths (B,) to (B, width). Padding never leaks: a caption's vector does not depend on the
captions it is batched with.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, pad

from xmr.matchers.vocabulary import Vocabulary, read_vectors


class Words(nn.Module):
    """Vectors of words by their ids, (…) -> (…, W); zero at padding."""

    def __init__(self, count: int, dim: int, dropout: float):
        super().__init__()
        self.table = nn.Embedding(count, dim, padding_idx=0)
        self.dropout = nn.Dropout(dropout)
        nn.init.uniform_(self.table.weight, -0.1, 0.1)  # as VSE++
        with torch.no_grad():
            self.table.weight[0] = 0

    def load(self, path: str, vocabulary: Vocabulary) -> int:
        """Takes the vectors of known words from a file of them, in the scale of the rest; returns how many. Warns where most
        words have none."""
        vectors = read_vectors(path, vocabulary.words)
        found = [(i, vectors[word]) for i, word in enumerate(vocabulary.words) if word in vectors and i > 1]
        if 2 * len(found) < (words := len(vocabulary) - 2):
            warnings.warn(f"{path} has vectors of {len(found):,} of {words:,} words", stacklevel=2)
        if not found:
            return 0
        rows = torch.stack([torch.from_numpy(vector) for _, vector in found])
        with torch.no_grad():
            scale = self.table.weight[1:].std() / rows.std().clamp(min=1e-8)
            self.table.weight[[i for i, _ in found]] = rows * scale
        return len(found)

    def forward(self, ids: Tensor) -> Tensor:
        return self.dropout(self.table(ids))


class Convolution(nn.Module):
    """Each word with its two neighbours, then the maximum and the mean over the caption: (B, 2 · channels)."""

    def __init__(self, dim: int, channels: int):
        super().__init__()
        self.width = 2 * channels
        self.project = nn.Linear(
            dim, 3 * channels, bias=False
        )  # a word as right, own and left place of a window
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, words: Words, ids: Tensor, lengths: Tensor) -> Tensor:
        # Few different words make up a batch, so each is projected once, for all three places in a window: a third
        # of the products. Padding, also that around a caption, projects to zero, as in a convolution.
        distinct, place = torch.unique(pad(ids, (1, 1)), return_inverse=True)
        after, own, before = self.project(words(distinct)).chunk(3, dim=1)
        present = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]  # (B, L)
        left, middle, right = (
            place[:, i : i + ids.shape[1]][present] for i in range(3)
        )  # each (words in all,)
        values = embedding(left, before) + embedding(middle, own) + embedding(right, after) + self.bias
        # One kernel over all captions: a split per caption costs as much as the products.
        return torch.cat(
            [
                torch.segment_reduce(values.relu(), reduce, lengths=lengths, unsafe=True)
                for reduce in ("max", "mean")
            ],
            dim=1,
        )


class Recurrent(nn.Module):
    """A bidirectional GRU; the two final states, as VSE++ takes the last: (B, 2 · channels)."""

    def __init__(self, dim: int, channels: int):
        super().__init__()
        self.width = 2 * channels
        self.gru = nn.GRU(dim, channels, batch_first=True, bidirectional=True)

    def forward(self, words: Words, ids: Tensor, lengths: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(
            words(ids), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        _, last = self.gru(packed)
        return torch.cat([last[0], last[1]], dim=1)
