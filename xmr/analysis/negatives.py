"""Hard negatives of a run, which of them a selector suspects, and how right it is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from xmr.analysis.blocks import CELLS, Relevance, ScoredSide, Side, inner, vectors
from xmr.analysis.weights import query_weights
from xmr.core import Direction, Pairs
from xmr.evidence import CaptionSimilarity, Evidence
from xmr.losses import LOSSES
from xmr.registry import Param
from xmr.selection import SELECTORS, suspected
from xmr.words import fixed, percent

WITHIN = 1000  # visuals whose similarities within a modality, and those of their captions, are held at once


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
    queries: Side,
    gallery: Side,
    query_group: np.ndarray,
    gallery_group: np.ndarray,
    loss: str,
    hyper: Mapping[str, float],
    truth: Relevance | None = None,
    *,
    evidence: Evidence | None = None,
    direction: Direction = "v2t",
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

    A loss that looks within a modality needs `evidence`, and is asked of at most `WITHIN` items and their matches at
    a time, because similarities within a modality are held whole; elsewhere `direction` doesn't matter.
    Raises ValueError where evidence is missing.
    """
    count = min(per_query, len(gallery))
    # Written in place: small results kept between large temporaries would fragment the heap block by block.
    kept = (len(queries), count)
    column, rank = np.zeros(kept, np.int64), np.zeros(kept, np.int64)
    score, weight = np.zeros(kept, np.float32), np.zeros(kept, np.float32)
    needs = LOSSES[loss].needs
    if needs:
        parts = _galleries(query_group, gallery_group)
    else:
        step = max(1, CELLS // max(len(gallery), 1))
        whole = np.arange(len(gallery))
        rows = np.arange(len(queries)) if asked is None else np.sort(asked)
        parts = ((some, whole) for some in np.split(rows, range(step, len(rows), step)))
    every = gallery if isinstance(gallery, ScoredSide) else np.asarray(gallery, np.float32)
    done, total = 0, len(queries) if asked is None else len(asked)
    if progress:
        progress(done, total)
    for rows, columns in parts:
        if asked is not None and needs and not len(rows := np.intersect1d(rows, asked)):
            continue
        pairs = _pairs(queries, every, query_group, gallery_group, rows, columns, needs, evidence, direction)
        scores, positive = pairs.scores, pairs.positives
        weights = query_weights(loss, pairs, **hyper)
        weights[positive] = 0
        many = min(count, len(columns))
        # Heavier ones first; of those that weigh as much as the last kept, the better-scoring.
        floor = weights.topk(many, dim=1).values[:, -1:].clamp(min=0)
        key = torch.where((weights >= floor) & (weights > 0), scores, -torch.inf)
        key = torch.where(weights > floor, scores + 1e3, key)
        best = key.topk(many, dim=1)
        found = scores.gather(1, best.indices)
        column[rows, :many], score[rows, :many] = columns[best.indices.numpy()], found.numpy()
        weight[rows, :many] = weights.gather(1, best.indices).where(best.values > -torch.inf, 0.0).numpy()
        against = scores if len(columns) == len(every) else torch.from_numpy(inner(queries[rows], every))
        if progress:
            done += len(rows)
            progress(done, total)
        for place in range(many):
            rank[rows, place] = (against > found[:, place, None]).sum(1).numpy() + 1
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


def weights_of_query(
    queries: Side,
    gallery: Side,
    query_group: np.ndarray,
    gallery_group: np.ndarray,
    loss: str,
    hyper: Mapping[str, float],
    query: int,
    items: np.ndarray,
    *,
    evidence: Evidence | None = None,
    direction: Direction = "v2t",
) -> np.ndarray:
    """The weight of one query's pairs with `items` (N,) of the gallery, (N,): d loss / d score in the loss of the query
    against the whole gallery, as in `hard_negatives_by_weight`, which also tells of what is asked and raised."""
    needs = LOSSES[loss].needs
    columns = np.arange(len(gallery))
    if needs:
        groups = np.unique(gallery_group)
        own = np.union1d(query_group[query], gallery_group[items])
        rest = np.setdiff1d(groups, own)
        fill = min(max(WITHIN - len(own), 0), len(rest))
        spread = rest[np.linspace(0, len(rest) - 1, fill).astype(int)] if fill else rest[:0]
        columns = np.flatnonzero(np.isin(gallery_group, np.union1d(own, spread)))
    row = np.array([query])
    pairs = _pairs(queries, gallery, query_group, gallery_group, row, columns, needs, evidence, direction)
    return query_weights(loss, pairs, **hyper)[0].numpy()[np.searchsorted(columns, items)]


def _pairs(
    queries: Side,
    gallery: Side,
    query_group: np.ndarray,
    gallery_group: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    needs: Collection[str],
    evidence: Evidence | None,
    direction: Direction,
) -> Pairs:
    """Some queries against some of the gallery, with the evidence that a loss needs."""
    scores = torch.from_numpy(inner(queries[rows], gallery[columns]))
    positive = torch.from_numpy(query_group[rows][:, None] == gallery_group[columns][None])
    known = {}
    if needs and evidence:
        q, g = (torch.from_numpy(vectors(side)) for side in (queries[rows], gallery[columns]))
        sides = ((rows, q), (columns, g)) if direction == "v2t" else ((columns, g), (rows, q))
        (visuals, v), (texts, t) = sides
        known = evidence.of(needs, visuals, texts, v, t)
    return Pairs(scores, positive, ~positive, direction=direction, **known)


def suspected_pairs(
    selector: str,
    params: Mapping[str, Any],
    visuals: np.ndarray,
    texts: np.ndarray,
    visual_embeddings: Side,
    text_embeddings: Side,
    visual_group: np.ndarray,
    text_group: np.ndarray,
    evidence: Evidence,
    direction: Direction = "v2t",
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Which of the pairs (visuals[i], texts[i]) the selector suspects when `direction` asks, (P,) bool.

    The registered selector itself is asked, of the whole matrix where there are at most `WITHIN` visuals. Of more, it
    is asked of some of the pairs at a time: their visuals, those that their texts were written for, others evenly
    spread to make up `WITHIN`, and all of their captions. `progress` hears of pairs that are done, and of how many.
    Raises what the selector raises.
    """
    result, done = np.zeros(len(visuals), bool), 0
    sides = (visual_embeddings, text_embeddings, visual_group, text_group)
    if progress:
        progress(done, len(visuals))
    for part, asked, at in _asked(selector, visuals, texts, *sides, evidence, direction):
        result[part] = suspected(selector, asked, **params)[at].numpy()
        if progress:
            done += len(part)
            progress(done, len(visuals))
    return result


def suspected_by_threshold(
    selector: str,
    params: Mapping[str, Any],
    values: Sequence[float],
    visuals: np.ndarray,
    texts: np.ndarray,
    visual_embeddings: Side,
    text_embeddings: Side,
    visual_group: np.ndarray,
    text_group: np.ndarray,
    evidence: Evidence,
    direction: Direction = "v2t",
) -> np.ndarray:
    """`suspected_pairs` for each of the `values` of the selector's threshold, its other parameters held, (N, P) bool.

    Raises ValueError where the selector has no threshold (`threshold_of`), and what the selector raises.
    """
    param = threshold_of(selector)
    if param is None:
        raise ValueError(f"{selector} has no parameter with a range, so it has no threshold to move")
    result = np.zeros((len(values), len(visuals)), bool)
    sides = (visual_embeddings, text_embeddings, visual_group, text_group)
    for part, asked, at in _asked(selector, visuals, texts, *sides, evidence, direction):

        def alone(value: float, asked: Pairs = asked, at: Any = at) -> np.ndarray:
            return suspected(selector, asked, **{**params, param.name: value})[at].numpy()

        # All at once, as one array more, is several times faster; the ends tell whether the selector allows it.
        try:
            stacked = torch.tensor(values, dtype=torch.float32)[:, None, None]
            masks = suspected(selector, asked, **{**params, param.name: stacked})
            together = masks[:, at[0], at[1]].numpy() if masks.ndim == 3 else None
        except (RuntimeError, TypeError, ValueError, IndexError):
            together = None
        ends = [0, len(values) - 1]
        if together is None or any((together[i] != alone(values[i])).any() for i in ends):
            together = np.stack([alone(value) for value in values])
        result[:, part] = together
    return result


def threshold_of(selector: str) -> Param | None:
    """The parameter that a selector is swept by: its first with a range; None where it has none."""
    return next((param for param in SELECTORS[selector].params if param.range), None)


def _asked(
    selector: str,
    visuals: np.ndarray,
    texts: np.ndarray,
    visual_embeddings: Side,
    text_embeddings: Side,
    visual_group: np.ndarray,
    text_group: np.ndarray,
    evidence: Evidence,
    direction: Direction,
) -> Iterator[tuple[np.ndarray, Pairs, tuple[np.ndarray, np.ndarray]]]:
    """The pairs in parts: which of them, the matrix to ask the selector of, and where they stand in it."""
    groups, place = np.unique(np.concatenate([visual_group, text_group]), return_inverse=True)
    of_visual, of_text = np.split(place, [len(visual_group)])
    order = np.argsort(of_visual[visuals], kind="stable")
    size = len(order) if len(groups) <= WITHIN else WITHIN // 4
    for part in np.split(order, range(size, len(order), size)) if len(order) else ():
        chosen = np.union1d(of_visual[visuals[part]], of_text[texts[part]])
        rest = np.setdiff1d(np.arange(len(groups)), chosen)
        fill = min(max(WITHIN - len(chosen), 0), len(rest))
        chosen = np.union1d(
            chosen, rest[np.linspace(0, len(rest) - 1, fill).astype(int)] if fill else rest[:0]
        )
        rows, columns = np.flatnonzero(np.isin(of_visual, chosen)), np.flatnonzero(np.isin(of_text, chosen))
        visual, text = visual_embeddings[rows], text_embeddings[columns]
        v, t = (torch.from_numpy(vectors(side)) for side in (visual, text))
        positives = torch.from_numpy(of_visual[rows][:, None] == of_text[columns][None])
        known = evidence.of(SELECTORS[selector].needs, rows, columns, v, t)
        pairs = Pairs(torch.from_numpy(inner(visual, text)), positives, ~positives, **known)
        at = np.searchsorted(rows, visuals[part]), np.searchsorted(columns, texts[part])
        yield (part, pairs, at) if direction == "v2t" else (part, pairs.transpose(), at[::-1])


def _galleries(query_group: np.ndarray, gallery_group: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Queries and gallery items in parts of at most `WITHIN` groups, each part whole."""
    groups = np.unique(np.concatenate([query_group, gallery_group]))
    for part in np.split(groups, range(WITHIN, len(groups), WITHIN)):
        rows, columns = (np.flatnonzero(np.isin(side, part)) for side in (query_group, gallery_group))
        if len(rows) and len(columns):
            yield rows, columns


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


@dataclass(frozen=True)
class PrecisionRecall:
    """How well a guess meets the truth; None where a share has no denominator."""

    precision: float | None
    recall: float | None
    suspected: int  # of the known pairs
    matches: int  # of the known pairs
    known: int
    unknown: int

    @property
    def base_rate(self) -> float | None:
        """The precision of suspecting all."""
        return self.matches / self.known if self.known else None

    @property
    def alarms(self) -> float | None:
        """Share of what does not match that is suspected."""
        others = self.known - self.matches
        return (self.suspected - round((self.recall or 0) * self.matches)) / others if others else None

    @property
    def informedness(self) -> float | None:
        """Recall less `alarms` (Youden's J): 0 for suspecting all, nobody, or by chance, whatever the share of matches,
        1 for the truth. F1 would praise suspecting all wherever most pairs match."""
        return None if self.recall is None or self.alarms is None else self.recall - self.alarms

    @property
    def informed(self) -> bool:
        """Whether informedness is above 0 by more than chance: its normal 95 % interval lies above."""
        if self.informedness is None:
            return False
        spread = self.recall * (1 - self.recall) / self.matches
        spread += self.alarms * (1 - self.alarms) / (self.known - self.matches)
        return self.informedness > 1.96 * spread**0.5


def precision_recall(suspects: np.ndarray, truth: np.ndarray) -> PrecisionRecall:
    """Precision and recall of `suspects` (P,) bool against `truth` (P,): 1 matches, 0 not, NaN unknown, left out."""
    known = ~np.isnan(truth)
    guess, match = suspects[known], truth[known] > 0
    hits, guesses, matches = int((guess & match).sum()), int(guess.sum()), int(match.sum())
    return PrecisionRecall(
        hits / guesses if guesses else None,
        hits / matches if matches else None,
        guesses,
        matches,
        int(known.sum()),
        int((~known).sum()),
    )


def best_words(measured: Mapping[str, PrecisionRecall]) -> str:
    """Which selector tells matches from the rest best at its setting, or that none does better than suspecting all; ""
    where nothing is known, or there is nothing to tell apart."""
    values = {name: one.informedness for name, one in measured.items() if one.informedness is not None}
    if not values:
        return ""
    best = max(values, key=values.__getitem__)
    one = measured[best]
    if not one.informed:
        who = f"{best} does not tell" if len(measured) == 1 else "none of them tells"
        return (
            f"At {'its setting' if len(measured) == 1 else 'these settings'} {who} matches from the rest better than "
            f"suspecting all, or by chance, would (informedness {fixed(values[best], 2)}, theirs is 0)."
        )
    most = "" if len(measured) == 1 else " best"
    return (
        f"At {'its setting' if len(measured) == 1 else 'these settings'} {best} tells matches from the rest{most}: it "
        f"suspects {percent(one.recall)} of the matches and {percent(one.alarms)} of the others (informedness {fixed(values[best], 2)}; "
        "suspecting all, or by chance, has 0)."
    )


@dataclass(frozen=True)
class ThresholdCurve:
    """How right a selector is as its threshold, the parameter of that name, moves through `values` (ascending)."""

    parameter: str
    values: list[float]
    measured: list[PrecisionRecall]


def threshold_curve(
    selector: str,
    truth: np.ndarray,
    ask: Callable[[Sequence[float]], np.ndarray],
    coarse: int = 5,
    fine: int = 10,
) -> ThresholdCurve:
    """Precision and recall of a selector through the whole range of its threshold.

    `truth` (P,) is that of the pairs, and `ask` returns (N, P) masks for N values of the threshold. After `coarse`
    values over the range come `fine` ones where the number of suspects changes, evenly by that number.
    Raises ValueError where the selector has no threshold, and what `ask` raises.
    """
    param = threshold_of(selector)
    if param is None:
        raise ValueError(f"{selector} has no parameter with a range, so it has no threshold to move")

    def values_of(numbers: np.ndarray) -> list[float]:
        return sorted({param.kind(round(float(number), 6)) for number in numbers})

    found: dict[float, PrecisionRecall] = {}

    def measure(values: list[float]) -> None:
        fresh = [value for value in values if value not in found]
        for value, mask in zip(fresh, ask(fresh) if fresh else (), strict=True):
            found[value] = precision_recall(mask, truth)

    measure(values_of(np.linspace(param.range.low, param.range.high, coarse)))
    jumps = np.abs(np.diff([one.suspected for one in found.values()]))
    if jumps.sum():
        steps = np.concatenate([[0], np.cumsum(jumps)])
        measure(values_of(np.interp(np.linspace(0, steps[-1], fine + 2)[1:-1], steps, list(found))))
    values = sorted(found)
    return ThresholdCurve(param.name, values, [found[value] for value in values])
