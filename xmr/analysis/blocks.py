"""Scores and truth, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from xmr.core import Direction, Pairs
from xmr.evidence import Evidence

Relevance = Callable[[np.ndarray, np.ndarray], np.ndarray]

CELLS = 2_000_000  # scores held at once
WITHIN = 1000  # visuals whose similarities within a modality, and those of their captions, are held at once


@dataclass(frozen=True)
class ScoredSide:
    """One side of a matrix of scores, in the place of embeddings where a pair scorer made the scores.

    `scores` (V, T) is the whole matrix, `index` says which of its visuals (or texts, with `texts`) these are, and
    `vectors` (N, E) are their unit embeddings, by which items of one modality are compared.
    """

    scores: np.ndarray
    vectors: np.ndarray
    index: np.ndarray
    texts: bool

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: np.ndarray | slice) -> ScoredSide:
        return replace(self, vectors=self.vectors[rows], index=self.index[rows])


Side = np.ndarray | ScoredSide


def scored_sides(scores: np.ndarray, visual: np.ndarray, text: np.ndarray) -> tuple[ScoredSide, ScoredSide]:
    """Both sides of scores (V, T) with the embeddings (V, E) and (T, E) of the first stage."""
    return (
        ScoredSide(scores, visual, np.arange(len(visual)), False),
        ScoredSide(scores, text, np.arange(len(text)), True),
    )


def inner(queries: Side, gallery: Side) -> np.ndarray:
    """Scores (Q, G) float32: inner products of embeddings (Q, E) and (G, E), or what a pair scorer said of them."""
    if isinstance(queries, ScoredSide):
        if queries.texts:
            return np.asarray(queries.scores[np.ix_(gallery.index, queries.index)].T, np.float32)
        return np.asarray(queries.scores[np.ix_(queries.index, gallery.index)], np.float32)
    return np.asarray(queries, np.float32) @ np.asarray(gallery, np.float32).T


@dataclass(frozen=True)
class Retrieval:
    """A split as one run sees it and one direction asks it.

    visual (V, …) and text (T, …) are all of its items, their groups (V,) and (T,) tell which pairs are annotated, and
    `evidence` is what losses and selectors may look at besides the scores (None: at nothing).
    """

    visual: Side
    text: Side
    visual_group: np.ndarray
    text_group: np.ndarray
    direction: Direction = "v2t"
    evidence: Evidence | None = None

    @property
    def queries(self) -> Side:
        return self.visual if self.direction == "v2t" else self.text

    @property
    def gallery(self) -> Side:
        return self.text if self.direction == "v2t" else self.visual

    @property
    def query_group(self) -> np.ndarray:
        return self.visual_group if self.direction == "v2t" else self.text_group

    @property
    def gallery_group(self) -> np.ndarray:
        return self.text_group if self.direction == "v2t" else self.visual_group

    def pairs(self, rows: np.ndarray, columns: np.ndarray, needs: Collection[str]) -> Pairs:
        """The queries `rows` (Q,) against the items `columns` (G,) of the gallery, with the evidence in `needs`."""
        queries, gallery = self.queries[rows], self.gallery[columns]
        positives = torch.from_numpy(self.query_group[rows][:, None] == self.gallery_group[columns][None])
        known = {}
        if needs and self.evidence:
            sides = [
                (at, torch.from_numpy(vectors(side))) for at, side in ((rows, queries), (columns, gallery))
            ]
            (visuals, v), (texts, t) = sides if self.direction == "v2t" else sides[::-1]
            known = self.evidence.of(needs, visuals, texts, v, t)
            if "peer_scores" in known and self.direction == "t2v":
                known["peer_scores"] = known["peer_scores"].transpose(1, 2)
        scores = torch.from_numpy(inner(queries, gallery))
        return Pairs(scores, positives, ~positives, direction=self.direction, **known)

    def in_single(self) -> Retrieval:
        """The same in float32, once for all blocks; what a pair scorer said as it is."""
        return replace(self, visual=in_single(self.visual), text=in_single(self.text))


def vectors(side: Side) -> np.ndarray:
    """The unit embeddings (N, E) float32 of a side."""
    return np.asarray(side.vectors if isinstance(side, ScoredSide) else side, np.float32)


def in_single(side: Side) -> Side:
    """The side's embeddings in float32, once for all blocks that they are multiplied with; a pair scorer's as they are."""
    return side if isinstance(side, ScoredSide) else np.asarray(side, np.float32)


def score_blocks(queries: Side, gallery: Side, cells: int = CELLS) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Row indices and their scores (q, G) float32, at most about `cells` scores at a time."""
    every = in_single(gallery)
    step = max(1, cells // max(len(every), 1))
    for start in range(0, len(queries), step):
        rows = np.arange(start, min(start + step, len(queries)))
        yield rows, inner(queries[start : start + step], every)


def with_others(own: np.ndarray, every: np.ndarray, size: int) -> np.ndarray:
    """`own` values and others of `every`, evenly spread, up to `size` of both together, ascending."""
    rest = np.setdiff1d(every, own)
    fill = min(max(size - len(own), 0), len(rest))
    return np.union1d(own, rest[np.linspace(0, len(rest) - 1, fill).astype(int)] if fill else rest[:0])
