"""Truths that have queries of their own in each direction: matches told as pairs, by which only some queries are asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from xmr.core import DIRECTIONS, Ranking
from xmr.metrics.inputs import Array, embeddings, matrix
from xmr.metrics.measures import map_at_r, r_precision, recall_at_k
from xmr.metrics.ranking import DOUBLE, Blocks, Known, Slack, copies, norms, rank_one_way, steps
from xmr.metrics.summary import CUTOFFS

ROWS = 256  # queries of a block of scores


@dataclass(frozen=True)
class Matches:
    """What matches those queries of one direction that a truth knows of.

    queries (Q,) int64: rows of the asking side, each once. items (P,) int64: rows of the other side, those of query q
    `items[offsets[q]:offsets[q + 1]]`, each once; offsets (Q + 1,) int64. -1 is a match that the gallery lacks: it is one
    of the query's R matches, and never found. Raises ValueError where the parts don't fit.
    """

    queries: np.ndarray
    items: np.ndarray
    offsets: np.ndarray

    def __post_init__(self) -> None:
        offsets = self.offsets
        if (
            offsets.shape != (len(self.queries) + 1,)
            or offsets[0] != 0
            or offsets[-1] != len(self.items)
            or (np.diff(offsets) < 1).any()
        ):
            raise ValueError(
                f"offsets must rise from 0 to {len(self.items)} matches, one or more for each of {len(self.queries)} queries"
            )


class Gallery(NamedTuple):
    """Rows of both sides that are ranked among themselves, (v,) and (t,) int64, and what matches among them, in rows of
    these: all of a split, or one fold of it."""

    visuals: np.ndarray
    texts: np.ndarray
    v2t: Matches
    t2v: Matches


def rank_matches(queries: Array, gallery: Array, matches: Matches) -> Ranking:
    """The ranking of the queries that `matches` knows, (Q,), by queries @ gallery.T.

    queries (N, D) and gallery (G, D) float: all rows of each side. The product is in double precision, and only what
    its rounding can't tell apart ties: what is published is computed without the slack of `rank_embeddings`, by which one
    of COCO's 25,000 captions may stand a rank lower. Matches that the gallery lacks rank after all that is in it.
    Raises ValueError where shapes don't fit, or nothing of the gallery matches.
    """
    queries, gallery = embeddings(queries, gallery)
    asked = queries[matches.queries]
    slack = Slack(asked, norms(asked), norms(gallery), DOUBLE)
    return _ranked(_products(asked, gallery), len(gallery), matches, slack)


def rank_matches_of_scores(scores: Array, matches: Matches) -> Ranking:
    """`rank_matches` of a score matrix (N, G) whose rows are queries, compared exactly."""
    scores = matrix(scores, "scores")
    return _ranked(copies(scores[matches.queries]), scores.shape[1], matches)


def evaluate_matches(
    visual: Array, text: Array, galleries: Sequence[Gallery], scores: Array | None = None
) -> dict[str, float]:
    """Retrieval metrics by a truth with queries of its own, the mean of all `galleries`.

    visual (V, D) and text (T, D) float, or in their place `scores` (V, T), as pair scorers give. Returns `v2t/` and `t2v/`
    `recall_at_1`, `_5`, `_10`, `r_precision` and `map_at_r` in 0 … 1, and `rsum`. Several galleries are folds, as in
    COCO's five of 1,000 pictures.
    Reference: Chun et al., ECCV Caption, ECCV 2022, https://arxiv.org/abs/2204.03359, and its package `eccv_caption`;
    Parekh et al., Crisscrossed Captions, EACL 2021, https://arxiv.org/abs/2004.15020, for recalls.
    """
    parts = [_metrics(*rank_gallery(visual, text, gallery, scores)) for gallery in galleries]
    metrics = {name: float(np.mean([part[name] for part in parts])) for name in parts[0]}
    return metrics | {"rsum": 100 * sum(value for name, value in metrics.items() if "/recall_at_" in name)}


def rank_gallery(
    visual: Array, text: Array, gallery: Gallery, scores: Array | None = None
) -> tuple[Ranking, Ranking]:
    """The rankings of the queries of one gallery, v2t and t2v; arguments as of `evaluate_matches`."""
    rows, columns, forth, back = gallery
    if scores is None:
        visual, text = visual[rows], text[columns]
        return rank_matches(visual, text, forth), rank_matches(text, visual, back)
    part = scores[rows][:, columns]
    return rank_matches_of_scores(part, forth), rank_matches_of_scores(part.T, back)


def _metrics(v2t: Ranking, t2v: Ranking) -> dict[str, float]:
    metrics = {}
    for direction, ranking in zip(DIRECTIONS, (v2t, t2v), strict=True):
        values = {f"recall_at_{k}": recall_at_k(ranking, k=k) for k in CUTOFFS}
        values |= {"r_precision": r_precision(ranking), "map_at_r": map_at_r(ranking)}
        metrics |= {f"{direction}/{name}": float(value.mean()) for name, value in values.items()}
    return metrics


def _products(queries: np.ndarray, gallery: np.ndarray) -> Blocks:
    """Blocks of queries @ gallery.T, float64."""
    turned = gallery.T.astype(np.float64)
    slices = [slice(start, min(start + ROWS, len(queries))) for start in range(0, len(queries), ROWS)]
    return Blocks(slices, lambda rows: queries[rows].astype(np.float64) @ turned)


def _ranked(blocks: Blocks, size: int, matches: Matches, slack: Slack | None = None) -> Ranking:
    counts = np.diff(matches.offsets)
    there = matches.items >= 0
    owner, item = np.repeat(np.arange(len(counts)), counts)[there], matches.items[there]
    starts = np.searchsorted(owner, np.arange(len(counts) + 1))

    def known(rows: slice) -> Known:
        part = slice(starts[rows.start], starts[rows.stop])
        return Known(owner[part] - rows.start, item[part])

    ranking = rank_one_way(blocks, size, known, slack)
    missing = counts - ranking.positives
    if not missing.any():
        return ranking
    place, found = steps(counts), np.repeat(ranking.positives, counts)
    ranks = size + 1 + place - found
    ranks[place < found] = ranking.ranks
    return Ranking(ranks, matches.offsets, size + int(missing.max()))
