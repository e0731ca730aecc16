"""Hard negatives of a run: the unannotated pairs that its loss pushes apart the most, over a whole gallery."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from xmr.analysis.blocks import CELLS, WITHIN, Relevance, Retrieval, inner, with_others
from xmr.analysis.weights import query_weights
from xmr.evidence import CaptionSimilarity
from xmr.losses import LOSSES


@dataclass(frozen=True)
class HardNegatives:
    """The hardest negatives of a run, heaviest first; all (P,).

    `query` and `candidate` index the two sides. `weight` is d loss / d score in the loss of the query against the
    whole gallery, `rank` (1-based) where the candidate stands in the query's list. `truth` is the real relevance,
    NaN where unknown.
    """

    query: np.ndarray
    candidate: np.ndarray
    score: np.ndarray
    weight: np.ndarray
    rank: np.ndarray
    truth: np.ndarray

    def __len__(self) -> int:
        return len(self.query)


def hard_negatives_by_weight(
    retrieval: Retrieval,
    loss: str,
    hyper: Mapping[str, float],
    truth: Relevance | None = None,
    *,
    limit: int = 2000,
    per_query: int = 3,
    asked: np.ndarray | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> HardNegatives:
    """The unannotated pairs that the loss pushes apart the most, over the whole gallery.

    Every query's loss is taken against all of the gallery (not against a batch), in the asked direction, and the
    `per_query` heaviest negatives of each are kept; the `limit` heaviest of all are returned, heaviest first, equal
    weights by score. Pairs of weight 0 or less are not pushed and left out. No selector is applied. `asked` are indices of
    the queries to look at, all by default. `progress` hears of queries that are done, and of how many.

    A loss that looks within a modality needs the split's `evidence`, and is asked of at most `WITHIN` items and their
    matches at a time, because similarities within a modality are held whole. Raises ValueError where evidence is missing.
    """
    retrieval = retrieval.in_single()
    queries, gallery = retrieval.queries, retrieval.gallery
    # Written in place: small results kept between large temporaries would fragment the heap block by block.
    kept = len(queries), min(per_query, len(gallery))
    column, rank = np.zeros(kept, np.int64), np.zeros(kept, np.int64)
    score, weight = np.zeros(kept, np.float32), np.zeros(kept, np.float32)
    needs = LOSSES[loss].needs
    asking = np.arange(len(queries)) if asked is None else np.unique(asked)
    done = 0
    if progress:
        progress(done, len(asking))
    for rows, columns in _parts(retrieval, asking, bool(needs)):
        pairs = retrieval.pairs(rows, columns, needs)
        weights = query_weights(loss, pairs, **hyper).masked_fill_(pairs.positives, 0.0)
        many = min(kept[1], len(columns))
        place, pushed = _heaviest(weights, pairs.scores, many)
        found = pairs.scores.gather(1, place)
        column[rows, :many], score[rows, :many] = columns[place.numpy()], found.numpy()
        weight[rows, :many] = pushed.numpy()
        whole = len(columns) == len(gallery)
        against = pairs.scores if whole else torch.from_numpy(inner(queries[rows], gallery))
        for k in range(many):
            rank[rows, k] = (against > found[:, k, None]).sum(1).numpy() + 1
        done += len(rows)
        if progress:
            progress(done, len(asking))
    query, place = np.nonzero(weight > 0)
    column, score, weight, rank = (part[query, place] for part in (column, score, weight, rank))
    order = np.lexsort((-score, -weight))[:limit]
    query, candidate = query[order], column[order]
    relevance = np.full(len(order), np.nan, np.float32)
    if truth is not None:
        for start in range(0, len(order), 64):
            part = slice(start, start + 64)
            rows, at = np.unique(query[part], return_inverse=True)
            columns, to = np.unique(candidate[part], return_inverse=True)
            relevance[part] = truth(rows, columns)[at, to]
    return HardNegatives(query, candidate, score[order], weight[order], rank[order], relevance)


def _parts(retrieval: Retrieval, asking: np.ndarray, within: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The queries `asking` and the items to ask them of, in parts: all items, or with `within` those of at most `WITHIN`
    groups, to which the queries belong too."""
    query_group, gallery_group = retrieval.query_group, retrieval.gallery_group
    if not within:
        every, step = np.arange(len(gallery_group)), max(1, CELLS // max(len(gallery_group), 1))
        yield from ((some, every) for some in np.split(asking, range(step, len(asking), step)))
        return
    groups = np.unique(np.concatenate([query_group, gallery_group]))
    for part in np.split(groups, range(WITHIN, len(groups), WITHIN)):
        rows = asking[np.isin(query_group[asking], part)]
        columns = np.flatnonzero(np.isin(gallery_group, part))
        if len(rows) and len(columns):
            yield rows, columns


def _heaviest(weights: torch.Tensor, scores: torch.Tensor, many: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Places and weights (Q, many) of each query's heaviest pairs, those first; of equal weights the better-scoring are
    kept, and weight 0 says that there is none."""
    floor = weights.topk(many, dim=1).values[:, -1:].clamp(min=0)
    key = torch.where((weights >= floor) & (weights > 0), scores, -torch.inf)
    best = torch.where(weights > floor, scores + 1e3, key).topk(many, dim=1)
    return best.indices, weights.gather(1, best.indices).where(best.values > -torch.inf, 0.0)


def weights_of_query(
    retrieval: Retrieval, loss: str, hyper: Mapping[str, float], query: int, items: np.ndarray
) -> np.ndarray:
    """The weight of one query's pairs with `items` (N,) of the gallery, (N,): d loss / d score in the loss of the query
    against the whole gallery, as in `hard_negatives_by_weight`, which also tells of what is asked and raised."""
    needs, group = LOSSES[loss].needs, retrieval.gallery_group
    columns = np.arange(len(retrieval.gallery))
    if needs:
        own = np.union1d(retrieval.query_group[query], group[items])
        columns = np.flatnonzero(np.isin(group, with_others(own, np.unique(group), WITHIN)))
    pairs = retrieval.pairs(np.array([query]), columns, needs)
    return query_weights(loss, pairs, **hyper)[0].numpy()[np.searchsorted(columns, items)]


def nearest_own_caption(
    visuals: np.ndarray,
    texts: np.ndarray,
    visual_group: np.ndarray,
    text_group: np.ndarray,
    similarity: CaptionSimilarity,
) -> tuple[np.ndarray, np.ndarray]:
    """Of each pair (visual, text): the caption annotated to the visual that is nearest to the text, and how near.

    Two (P,) vectors: caption index (-1 where the visual has no caption) and similarity (NaN there).
    """
    order = np.argsort(text_group, kind="stable")
    ordered = text_group[order]
    low = np.searchsorted(ordered, visual_group[visuals])
    high = np.searchsorted(ordered, visual_group[visuals], "right")
    nearest, value = np.full(len(visuals), -1), np.full(len(visuals), np.nan, np.float32)
    for i, (a, b) in enumerate(zip(low, high, strict=True)):
        if b > a:
            near = similarity.block(order[a:b], texts[i : i + 1])[:, 0]
            best = int(near.argmax())
            nearest[i], value[i] = order[a + best], near[best]
    return nearest, value
