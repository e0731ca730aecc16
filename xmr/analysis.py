"""Arrays in, arrays out: what losses do to pairs, and what runs do to queries.

Embeddings are (N, D) arrays whose inner product is the score; half precision is raised to single, block by block,
so nothing of the size (queries, gallery) is ever held. Groups are (N,) integers: a pair is annotated as a match
where the groups of its two sides are equal. `truth(rows, columns)` takes two index vectors and returns the real
relevance of every query row with every gallery column: 1 matches, 0 does not, NaN unknown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xmr.core import Pairs, PairWeights
from xmr.losses import LOSSES, loss_value
from xmr.selection import suspected, without

Relevance = Callable[[np.ndarray, np.ndarray], np.ndarray]

CELLS = 2_000_000  # scores held at once
POPULATIONS = ("positives", "unannotated", "hardest", "random")


# ---- weights of pairs ------------------------------------------------------------------------------------


def pair_weights(
    name: str,
    scores: Tensor,
    positives: Tensor | None = None,
    negatives: Tensor | None = None,
    **hyper: Any,
) -> Tensor:
    """The weight of every pair in the loss `name`: d loss / d score by autograd, (Q, G).

    Arguments and errors as in `loss_value`. A positive weight pushes a pair's score down, a negative one pulls
    it up; an ignored pair has weight 0. The loss is the mean over both directions and all queries.
    """
    leaf = scores.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        value = loss_value(name, leaf, positives, negatives, **hyper)
        if not value.requires_grad:
            return torch.zeros_like(leaf)
        return torch.autograd.grad(value, leaf)[0]


def query_weights(name: str, pairs: Pairs, **hyper: Any) -> Tensor:
    """The weight of every pair in the loss of its own query, (Q, G): one direction, not divided by the queries."""
    scores = pairs.scores.detach().clone().requires_grad_(True)
    moving = Pairs(
        scores, pairs.positives, pairs.negatives, pairs.visual_scores, pairs.text_scores, pairs.direction
    )
    with torch.enable_grad():
        value = LOSSES[name](moving, **hyper).sum()
        if not value.requires_grad:
            return torch.zeros_like(scores)
        return torch.autograd.grad(value, scores)[0]


@dataclass(frozen=True)
class WeightCurve:
    """The weight of a pair in one query's loss, against the pair's own score; all (N,).

    `negative`: weight of a negative that moves along `scores` while all else stays. `positive`: weight of the
    positive that moves, the swept negative being absent.
    """

    scores: np.ndarray
    negative: np.ndarray
    positive: np.ndarray


def weight_curve(
    loss: str,
    hyper: Mapping[str, float],
    *,
    positive: float = 0.6,
    others: Sequence[float] | np.ndarray = (),
    scores: np.ndarray | None = None,
) -> WeightCurve:
    """How the weight of a pair depends on its score, with everything else held still.

    The set-up is one query with one positive at the score `positive` and negatives at the scores `others`.
    For the first curve one more negative walks along `scores` (default: 121 points from -1 to 1); for the second
    there is no such negative, and the positive walks. Weights are d loss / d score of that query, by autograd
    alone, so every registered loss has its curve. Every point is a query of its own, and a loss that looks at its
    whole batch sees nothing else; items of one modality are taken to be unrelated (similarity 0).
    """
    grid = np.linspace(-1, 1, 121) if scores is None else np.asarray(scores, np.float64)
    walking = torch.as_tensor(grid)[:, None]
    context = torch.as_tensor(np.asarray(others, np.float64)).reshape(1, -1).expand(len(grid), -1)
    still = torch.full_like(walking, positive)
    pulled = np.zeros(len(grid))
    if len(others):
        pulled = _lone_queries(loss, hyper, torch.cat([walking, context], 1), column=0)
    return WeightCurve(
        grid, _lone_queries(loss, hyper, torch.cat([still, walking, context], 1), column=1), pulled
    )


def _lone_queries(loss: str, hyper: Mapping[str, float], rows: Tensor, column: int) -> np.ndarray:
    """Weight of `column` in each row's own loss, as if the row were the only query; column 0 is its positive.

    All rows are asked at once, which is the same for a loss that takes each row by itself; a few rows asked alone
    tell whether it does, and if not, every row is asked alone.
    """

    def ask(some: Tensor) -> np.ndarray:
        positives = torch.zeros(some.shape, dtype=torch.bool)
        positives[:, 0] = True
        within = (torch.eye(size, dtype=some.dtype) for size in some.shape)
        return query_weights(loss, Pairs(some, positives, ~positives, *within), **hyper)[:, column].numpy()

    together = ask(rows)
    probes = np.unique(np.linspace(0, len(rows) - 1, 5).astype(int))
    alone = np.concatenate([ask(rows[i : i + 1]) for i in probes])
    if np.allclose(together[probes], alone, rtol=1e-6, atol=1e-9):
        return together
    return np.concatenate([ask(rows[i : i + 1]) for i in range(len(rows))])


def typical_negatives(count: int, top: float, spread: float) -> np.ndarray:
    """Scores of `count` negatives of a typical query, descending: normal quantiles of deviation `spread`, moved
    so that the hardest stands at `top`."""
    quantiles = [NormalDist().inv_cdf((k + 0.5) / count) for k in range(count)][::-1]
    return top + spread * (np.array(quantiles) - quantiles[0]) if count else np.zeros(0)


def sample_batch(visual_of_text: np.ndarray, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A batch as training draws it: `size` different visuals and one caption of each, (B,) and (B,) indices.

    Fewer where there are fewer visuals with captions.
    """
    rng = np.random.default_rng(seed)
    captioned = np.unique(visual_of_text)
    visuals = rng.permutation(captioned)[:size]
    order = np.argsort(visual_of_text, kind="stable")
    starts = np.searchsorted(visual_of_text[order], visuals)
    ends = np.searchsorted(visual_of_text[order], visuals, side="right")
    texts = order[starts + (rng.random(len(visuals)) * (ends - starts)).astype(np.int64)]
    return visuals, texts


def batch_weights(
    visual: np.ndarray,
    text: np.ndarray,
    visual_group: np.ndarray,
    text_group: np.ndarray,
    loss: str,
    hyper: Mapping[str, float],
    *,
    text_scores: np.ndarray | None = None,
    selector: str = "",
    selector_params: Mapping[str, Any] | None = None,
    ignore_suspected: bool = False,
) -> PairWeights:
    """The measured weights of one batch; rows are its visuals, columns its texts, (B, B).

    visual, text (B, D): the batch's embeddings, whose inner products are the scores. A `selector` marks
    suspected false negatives; it changes the weights only where `ignore_suspected` (a run trained with one).
    Weights are those of the loss that training minimises: mean over both directions and all queries.
    """
    v, t = (torch.as_tensor(np.asarray(part, np.float32)) for part in (visual, text))
    positives = torch.as_tensor(visual_group[:, None] == text_group[None])
    within = None if text_scores is None else torch.as_tensor(np.asarray(text_scores, np.float32))
    pairs = Pairs(v @ t.T, positives, ~positives, v @ v.T, within)
    flagged = torch.zeros_like(positives)
    if selector:
        flagged = suspected(selector, pairs, **(selector_params or {}))
    kept = without(pairs, flagged) if ignore_suspected else pairs
    forth = query_weights(loss, kept, **hyper) / len(v)
    back = query_weights(loss, kept.transpose(), **hyper).T / len(t)
    return PairWeights(
        pairs.scores.numpy(),
        ((forth + back) / 2).numpy(),
        positives.numpy(),
        kept.negatives.numpy(),
        flagged.numpy(),
    )


def effective_negatives(weights: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """How many negatives carry a query's weight, (Q,): (Σw)² / Σw² over the pushed negatives.

    1 where a single negative carries all, n where n share it evenly, 0 where nothing is pushed away.
    """
    pushed = np.where(negatives, weights, 0.0).clip(min=0).astype(np.float64)
    total, squares = pushed.sum(1), (pushed**2).sum(1)
    return np.divide(total**2, squares, out=np.zeros_like(total), where=squares > 0)


# ---- distributions of scores -----------------------------------------------------------------------------


@dataclass(frozen=True)
class ScoreSamples:
    """Scores of four kinds of pairs, each with the query that it belongs to.

    `values[kind]` and `query[kind]` are (P,): *positives* annotated matches; *unannotated* matches that nobody
    annotated (absent where truth is not known); *hardest* each query's best-scoring item that is neither;
    *random* items that are neither, drawn by seed. `mean` and `deviation` (Q,) are those of each query's row.
    `hidden` is the share of queries whose best-scoring unannotated item is a match in truth, else None.
    """

    values: dict[str, np.ndarray]
    query: dict[str, np.ndarray]
    mean: np.ndarray
    deviation: np.ndarray
    hidden: float | None = None

    def standardised(self) -> ScoreSamples:
        """The same pairs with each score as its z-score among all scores of its query."""
        values = {
            kind: (self.values[kind] - self.mean[query]) / np.maximum(self.deviation[query], 1e-12)
            for kind, query in self.query.items()
        }
        return ScoreSamples(values, self.query, self.mean, self.deviation, self.hidden)


def score_samples(
    queries: np.ndarray,
    gallery: np.ndarray,
    query_group: np.ndarray,
    gallery_group: np.ndarray,
    truth: Relevance | None = None,
    *,
    limit: int = 60_000,
    seed: int = 0,
) -> ScoreSamples:
    """Samples of the scores (Q, G) of positives, hardest negatives, random negatives and unannotated matches.

    Of each kind at most about `limit` pairs are kept, the same number per query, chosen by seed and therefore the
    same pairs for every run on this data. Where truth is known, an unannotated match is no negative; an unknown
    pair is one. The matrix is visited in blocks and never held.
    """
    rng = np.random.default_rng(seed)
    each = max(1, limit // len(queries))
    values: dict[str, list[np.ndarray]] = {kind: [] for kind in POPULATIONS}
    owners: dict[str, list[np.ndarray]] = {kind: [] for kind in POPULATIONS}
    mean, deviation = np.zeros(len(queries)), np.zeros(len(queries))
    hidden = 0
    columns = np.arange(len(gallery))

    def keep(kind: str, scores: np.ndarray, rows: np.ndarray, where: np.ndarray, first: int) -> None:
        values[kind].append(scores[rows, where])
        owners[kind].append(rows + first)

    for rows, scores in score_blocks(queries, gallery):
        first, count = rows[0], len(rows)
        mean[rows], deviation[rows] = scores.mean(1), scores.std(1)
        positive = query_group[rows][:, None] == gallery_group[None]
        keep("positives", scores, *_some_of_each_row(positive, each, rng), first)
        taken = positive
        if truth is not None:
            unannotated = (truth(rows, columns) > 0) & ~positive
            keep("unannotated", scores, *_some_of_each_row(unannotated, each, rng), first)
            taken = positive | unannotated
            best = np.where(positive, -np.inf, scores).argmax(1)
            hidden += int(unannotated[np.arange(count), best].sum())
        drawn = rng.integers(len(gallery), size=(count, min(each, len(gallery))))
        row, which = np.nonzero(~np.take_along_axis(taken, drawn, 1))
        keep("random", scores, row, drawn[row, which], first)
        scores[taken] = -np.inf
        best = scores.argmax(1)
        exists = np.flatnonzero(~taken.all(1))
        keep("hardest", scores, exists, best[exists], first)
    kinds = [kind for kind in POPULATIONS if kind != "unannotated" or truth is not None]
    return ScoreSamples(
        {kind: np.concatenate(values[kind]) for kind in kinds},
        {kind: np.concatenate(owners[kind]) for kind in kinds},
        mean,
        deviation,
        None if truth is None else hidden / len(queries),
    )


@dataclass(frozen=True)
class Distribution:
    """Densities of one run's scores over shared `edges` (N + 1,); `densities[kind]` (N,) integrates to 1.

    auc_*: the chance that a positive scores above a negative (ties count half). overlap_*: the area that the two
    densities share, 0 apart … 1 equal. NaN where a kind has no pairs.
    """

    edges: np.ndarray
    densities: dict[str, np.ndarray]
    counts: dict[str, int]
    medians: dict[str, float]
    auc_random: float
    auc_hardest: float
    overlap_random: float
    overlap_hardest: float
    hidden: float | None


def score_distributions(
    samples: Mapping[str, ScoreSamples], bins: int | None = None
) -> dict[str, Distribution]:
    """Binned densities of several runs over the same edges, with AUC and overlap of each, by run name.

    Without `bins` their number follows the smallest kind of pairs, 24 … 80, so that few pairs make no comb.
    """
    if bins is None:
        fewest = min((len(run.values[kind]) for run in samples.values() for kind in run.values), default=0)
        bins = int(np.clip(2 * np.sqrt(fewest), 24, 80))
    everything = [part for run in samples.values() for part in run.values.values() if len(part)]
    low = min((part.min() for part in everything), default=0.0)
    high = max((part.max() for part in everything), default=1.0)
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    result = {}
    for name, run in samples.items():
        counts = {kind: len(part) for kind, part in run.values.items()}
        densities = {
            kind: np.histogram(part, edges)[0] / max(len(part), 1) / np.diff(edges)
            for kind, part in run.values.items()
        }
        medians = {kind: float(np.median(part)) if len(part) else np.nan for kind, part in run.values.items()}
        positives, hardest, random = (run.values[kind] for kind in ("positives", "hardest", "random"))
        result[name] = Distribution(
            edges,
            densities,
            counts,
            medians,
            auc(positives, random),
            auc(positives, hardest),
            overlap(positives, random),
            overlap(positives, hardest),
            run.hidden,
        )
    return result


def auc(high: np.ndarray, low: np.ndarray) -> float:
    """The chance that a value of `high` is above one of `low`; ties count half; NaN where one is empty."""
    if not len(high) or not len(low):
        return float("nan")
    ordered = np.sort(low)
    below = np.searchsorted(ordered, high, "left") + np.searchsorted(ordered, high, "right")
    return float(below.mean() / 2 / len(low))


def overlap(a: np.ndarray, b: np.ndarray, bins: int = 50) -> float:
    """The overlap coefficient ∫ min(p, q) over `bins` equal bins of the common range: 0 apart … 1 equal."""
    if not len(a) or not len(b):
        return float("nan")
    low, high = min(a.min(), b.min()), max(a.max(), b.max())
    if not high > low:
        return 1.0
    p, q = (np.histogram(part, bins, (low, high))[0] / len(part) for part in (a, b))
    return float(np.minimum(p, q).sum())


# ---- hard negatives and false negatives ------------------------------------------------------------------


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
    queries: np.ndarray,
    gallery: np.ndarray,
    query_group: np.ndarray,
    gallery_group: np.ndarray,
    loss: str,
    hyper: Mapping[str, float],
    truth: Relevance | None = None,
    *,
    limit: int = 2000,
    per_query: int = 3,
) -> HardNegatives:
    """The unannotated pairs that the loss pushes apart the most, over the whole gallery.

    Every query's loss is taken against all of the gallery (not against a batch), in the asked direction, and the
    `per_query` heaviest negatives of each are kept; the `limit` heaviest of all are returned, heaviest first, equal
    weights by score. Pairs of weight 0 or less are not pushed and left out. No selector is applied.
    Raises ValueError where the loss needs similarities within a modality.
    """
    count = min(per_query, len(gallery))
    # Written in place: small results kept between large temporaries would fragment the heap block by block.
    kept = (len(queries), count)
    column, rank = np.zeros(kept, np.int64), np.zeros(kept, np.int64)
    score, weight = np.zeros(kept, np.float32), np.zeros(kept, np.float32)
    for rows, block in score_blocks(queries, gallery):
        scores = torch.from_numpy(block)
        positive = torch.from_numpy(query_group[rows][:, None] == gallery_group[None])
        weights = query_weights(loss, Pairs(scores, positive, ~positive), **hyper)
        weights[positive] = 0
        # Heavier ones first; of those that weigh as much as the last kept, the better-scoring.
        floor = weights.topk(count, dim=1).values[:, -1:].clamp(min=0)
        key = torch.where((weights >= floor) & (weights > 0), scores, -torch.inf)
        key = torch.where(weights > floor, scores + 1e3, key)
        best = key.topk(count, dim=1)
        found = scores.gather(1, best.indices)
        column[rows], score[rows] = best.indices.numpy(), found.numpy()
        weight[rows] = weights.gather(1, best.indices).where(best.values > -torch.inf, 0.0).numpy()
        for place in range(count):
            rank[rows, place] = (scores > found[:, place, None]).sum(1).numpy() + 1
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


def suspected_pairs(
    selector: str,
    params: Mapping[str, Any],
    visuals: np.ndarray,
    texts: np.ndarray,
    visual_embeddings: np.ndarray,
    text_embeddings: np.ndarray,
    visual_group: np.ndarray,
    text_group: np.ndarray,
    similarity: CaptionSimilarity,
    *,
    chunk: int = 64,
) -> np.ndarray:
    """Which of the pairs (visuals[i], texts[i]) the selector suspects, (P,) bool.

    The registered selector itself is asked, `chunk` pairs at a time, on the sub-gallery of their visuals, their
    texts and all captions of those visuals. Raises what the selector raises.
    """
    result = np.zeros(len(visuals), bool)
    order = np.argsort(text_group, kind="stable")
    ordered = text_group[order]
    for start in range(0, len(visuals), chunk):
        part = slice(start, start + chunk)
        rows, at = np.unique(visuals[part], return_inverse=True)
        groups = np.unique(visual_group[rows])
        low, high = np.searchsorted(ordered, groups), np.searchsorted(ordered, groups, "right")
        own = np.concatenate([order[a:b] for a, b in zip(low, high, strict=True)] or [np.zeros(0, np.int64)])
        columns = np.unique(np.concatenate([own, texts[part]]))
        to = np.searchsorted(columns, texts[part])
        v, t = (
            torch.from_numpy(np.asarray(side[index], np.float32))
            for side, index in ((visual_embeddings, rows), (text_embeddings, columns))
        )
        positives = torch.from_numpy(visual_group[rows][:, None] == text_group[columns][None])
        within = torch.from_numpy(similarity.block(columns, columns))
        pairs = Pairs(v @ t.T, positives, ~positives, v @ v.T, within)
        result[part] = suspected(selector, pairs, **params).numpy()[at, to]
    return result


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


# ---- similarity between captions -------------------------------------------------------------------------


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
        words = [sorted(set(re.findall(r"\w+", caption.lower()))) for caption in captions]
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


# ---- helpers ---------------------------------------------------------------------------------------------


def score_blocks(
    queries: np.ndarray, gallery: np.ndarray, cells: int = CELLS
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Row indices and their scores (q, G) float32, at most about `cells` scores at a time."""
    every = np.asarray(gallery, np.float32)
    step = max(1, cells // max(len(every), 1))
    for start in range(0, len(queries), step):
        rows = np.arange(start, min(start + step, len(queries)))
        yield rows, np.asarray(queries[start : start + step], np.float32) @ every.T


def _some_of_each_row(
    mask: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of at most `count` true cells of each row, chosen at random."""
    rows, columns = np.nonzero(mask)
    if len(rows) <= count or np.bincount(rows).max() <= count:
        return rows, columns
    order = np.lexsort((rng.random(len(rows)), rows))
    rows, columns = rows[order], columns[order]
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)
    return rows[place < count], columns[place < count]
