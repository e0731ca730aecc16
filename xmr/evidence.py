"""What is known of a split's items besides the scores of a model: how near captions and visuals are to each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from xmr.captions import first_alike, words_of


class CaptionSimilarity:
    """How near two captions are, without any trained run: cosine of frozen features, else of shared words.

    With `features` (N, D), their cosine. Without, captions are sets of words weighted by inverse document
    frequency, ln(N / captions with the word), and the similarity is the cosine of those vectors: 1 the same words,
    0 none in common. `source` says which, in words.
    """

    def __init__(self, captions: Sequence[str], features: np.ndarray | None = None):
        self._features = features
        self.source = (
            "frozen text features (cosine)" if features is not None else "shared words, rarer ones more"
        )
        if features is not None:
            return
        words = [sorted(set(words_of(caption))) for caption in captions]
        names: dict[str, int] = {}
        self._words = np.array([names.setdefault(w, len(names)) for ws in words for w in ws], np.int64)
        self._counts = np.array([len(ws) for ws in words], np.int64)
        self._starts = np.cumsum(self._counts) - self._counts
        frequency = np.bincount(self._words, minlength=len(names))
        idf = np.log(len(captions) / np.maximum(frequency, 1)) + 1e-6  # a word of all captions still counts
        owner = np.repeat(np.arange(len(captions)), self._counts)
        norms = np.sqrt(np.bincount(owner, idf[self._words] ** 2, minlength=len(captions)))
        self._weights = (idf[self._words] / norms[owner]).astype(np.float32)

    def _places(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the words of the captions `index` stand in the flat lists, and in which row of `index`."""
        counts = self._counts[index]
        row = np.repeat(np.arange(len(index)), counts)
        within = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
        return self._starts[index][row] + within, row

    def _rows(self, index: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Unit rows over the words `columns` (sorted), (N, words); the norm is that of all words."""
        table = np.zeros((len(index), len(columns)), np.float32)
        if len(columns):
            places, row = self._places(index)
            words = self._words[places]
            at = np.searchsorted(columns, words).clip(max=len(columns) - 1)
            here = columns[at] == words
            table[row[here], at[here]] = self._weights[places[here]]
        return table

    def block(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Similarities of the captions `a` with the captions `b`, (A, B) float32 in [-1, 1]."""
        same = a is b
        if self._features is not None:
            x, y = (np.asarray(self._features[index], np.float32) for index in (a, b))
            x, y = (part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12) for part in (x, y))
            return (x @ y.T).clip(-1, 1)
        columns = np.unique(self._words[self._places(a)[0]])
        left = self._rows(a, columns)
        return (left @ (left if same else self._rows(b, columns)).T).clip(-1, 1)


@dataclass(frozen=True)
class Evidence:
    """The sources of the evidence in `Pairs`, for one split; nothing is made before it is asked for.

    `features` returns frozen ones, visual (N_v, …) and text (N_t, D) or None; without those of text, captions are
    compared by their words. `peers` are the unit embeddings of other models: visual (N_v, E) and text (N_t, E).
    """

    captions: Sequence[str]
    features: Callable[[], tuple[np.ndarray, np.ndarray | None]] | None = None
    peers: Sequence[tuple[np.ndarray, np.ndarray]] = ()

    @cached_property
    def _frozen(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        return (None, None) if self.features is None else self.features()

    @cached_property
    def similarity(self) -> CaptionSimilarity:
        """How near captions are: by frozen features where there are some, else by their words."""
        text = self._frozen[1]
        return self.words if text is None else CaptionSimilarity(self.captions, text)

    @cached_property
    def words(self) -> CaptionSimilarity:
        """How near captions are by their words alone."""
        return CaptionSimilarity(self.captions)

    @cached_property
    def text_keys(self) -> np.ndarray:
        """A number of each caption, (N_t,) int64: equal for those that read alike."""
        return first_alike(self.captions)

    def of(
        self, needs: Iterable[str], visuals: np.ndarray, texts: np.ndarray, visual: Tensor, text: Tensor
    ) -> dict[str, Tensor]:
        """The evidence named in `needs` for the items `visuals` (V,) and `texts` (T,), as arguments of `Pairs`.

        visual (V, E) and text (T, E) are the embeddings that the scores are made of. What there is no source for is
        left out; `Pairs.evidence` says so when it is missed.
        """
        found: dict[str, Tensor] = {}
        for name in needs:
            if name == "text_scores":
                found[name] = torch.from_numpy(self.similarity.block(texts, texts))
            elif name == "word_scores":
                found[name] = torch.from_numpy(self.words.block(texts, texts))
            elif name == "visual_scores" and self._frozen[0] is not None:
                rows = torch.from_numpy(np.asarray(self._frozen[0][visuals], np.float32)).flatten(1)
                rows = normalize(rows, dim=1)
                found[name] = rows @ rows.T
            elif name == "text_keys":
                found[name] = torch.from_numpy(self.text_keys[texts])
            elif name == "visual_within":
                found[name] = visual @ visual.T
            elif name == "text_within":
                found[name] = text @ text.T
            elif name == "peer_scores" and self.peers:
                scores = [
                    v[visuals].astype(np.float32) @ t[texts].astype(np.float32).T for v, t in self.peers
                ]
                found[name] = torch.from_numpy(np.stack(scores))
        return found
