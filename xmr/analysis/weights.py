"""What losses do to pairs: d loss / d score of single pairs, of batches, and as a curve."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xmr.analysis.blocks import Side, inner, vectors
from xmr.core import EVIDENCE, Pairs, PairWeights, single
from xmr.evidence import Evidence
from xmr.losses import LOSSES, symmetric
from xmr.selection import SELECTORS, suspected, treat


def pair_weights(
    name: str,
    scores: Tensor,
    positives: Tensor | None = None,
    negatives: Tensor | None = None,
    *,
    groups: Any = None,
    labels: Any = None,
    **hyper: Any,
) -> Tensor:
    """The weight of every pair in the loss `name`: d loss / d score by autograd, (Q, G), in single precision at least.

    Arguments and errors as in `loss_value`. A positive weight pushes a pair's score down, a negative one pulls
    it up; an ignored pair has weight 0, and one whose score is NaN the weight NaN. The loss is the mean over both
    directions and all queries.
    """
    evidence = {key: hyper.pop(key) for key in EVIDENCE if key in hyper}
    pairs = Pairs.of(scores, positives, negatives, groups=groups, labels=labels, **evidence)
    hyper = LOSSES[name].checked(hyper)
    return _slopes(pairs, lambda leaf: symmetric(LOSSES[name].make, leaf, **hyper))


def query_weights(name: str, pairs: Pairs, **hyper: Any) -> Tensor:
    """The weight of every pair in the loss of its own query, (Q, G): one direction, not divided by the queries."""
    return _slopes(pairs, lambda leaf: LOSSES[name](leaf, **hyper).sum())


def _slopes(pairs: Pairs, value: Callable[[Pairs], Tensor]) -> Tensor:
    """d value / d score of every pair, (Q, G). A slope may be constant: that of NaN is NaN all the same."""
    scores = single(pairs.scores.detach()).clone().requires_grad_(True)
    with torch.enable_grad():
        found = value(replace(pairs, scores=scores))
        if not found.requires_grad:
            return torch.zeros_like(scores)
        slopes = torch.autograd.grad(found, scores)[0]
    return slopes.masked_fill(scores.isnan() & (pairs.positives | pairs.negatives), torch.nan)


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
    whole batch sees nothing else; items of one modality are taken to be unrelated (similarity 0), and peers to score the positive
    1 and all else 0.
    """
    grid = np.linspace(-1, 1, 121) if scores is None else np.asarray(scores, np.float64)
    walking = torch.as_tensor(grid)[:, None]
    context = torch.as_tensor(np.asarray(others, np.float64)).reshape(1, -1).expand(len(grid), -1)
    still = torch.full_like(walking, positive)
    pulled = np.zeros(len(grid))
    if len(others):
        pulled = lone_queries(loss, hyper, torch.cat([walking, context], 1))[:, 0]
    return WeightCurve(grid, lone_queries(loss, hyper, torch.cat([still, walking, context], 1))[:, 1], pulled)


def lone_queries(loss: str, hyper: Mapping[str, float], rows: Tensor) -> np.ndarray:
    """Weights (N, G) of all pairs in each row's own loss, as if the row of scores (N, G) were the only query; column 0 is its
    positive.

    All rows are asked at once, which is the same for a loss that takes each row by itself; a few rows asked alone
    tell whether it does, and if not, every row is asked alone.
    """

    def ask(some: Tensor) -> np.ndarray:
        positives = torch.zeros(some.shape, dtype=torch.bool)
        positives[:, 0] = True
        unrelated = dict(
            zip(("visual", "text"), (torch.eye(n, dtype=some.dtype) for n in some.shape), strict=True)
        )
        unrelated["peer"] = positives[None].to(some)  # peers say what the annotation says
        evidence = {name: unrelated[name.split("_")[0]] for name in LOSSES[loss].needs}
        pairs = Pairs(some, positives, ~positives, **evidence)
        return query_weights(loss, pairs, **hyper).numpy()

    together = ask(rows)
    probes = np.unique(np.linspace(0, len(rows) - 1, 5).astype(int))
    alone = np.concatenate([ask(rows[i : i + 1]) for i in probes])
    if np.allclose(together[probes], alone, rtol=1e-6, atol=1e-9):
        return together
    return np.concatenate([ask(rows[i : i + 1]) for i in range(len(rows))])


@dataclass(frozen=True)
class TypicalQuery:
    """The query of a batch that its curve is drawn for.

    `positive` and `hardest`: the medians over queries of the positive's score and of the hardest negative's; `spread`:
    standard deviation of all negatives' scores; `negatives` (N,) these scores, ascending.
    """

    positive: float
    hardest: float
    spread: float
    negatives: np.ndarray

    @property
    def span(self) -> tuple[float, float]:
        """Whole numbers around all of the scores, at least -1 to 1, where cosines lie."""
        ends = (float(self.negatives[0]), float(self.negatives[-1]), self.positive)
        return float(min(-1, np.floor(min(ends)))), float(max(1, np.ceil(max(ends))))

    def grid(self, own: bool, count: int = 121) -> np.ndarray:
        """Scores (N,), ascending, to draw a curve over: evenly over the `span`, or, `own`, where the shares `above` of the
        negatives score higher."""
        return np.quantile(self.negatives, 1 - self.above(count)) if own else np.linspace(*self.span, count)

    def above(self, count: int = 121) -> np.ndarray:
        """Shares of the negatives, from all to a single one, evenly in the logarithm: the hardest few take the push."""
        return np.geomspace(1, 1 / len(self.negatives), count)


def typical_query(scores: np.ndarray, positives: np.ndarray, negatives: np.ndarray) -> TypicalQuery:
    """The typical query of a batch's scores (Q, G) and masks. Raises ValueError where it has no pair of a kind."""
    hardest = np.where(negatives, scores, -np.inf).max(1)
    hardest = hardest[np.isfinite(hardest)]
    if not len(hardest) or not positives.any():
        raise ValueError("a typical query needs a positive and a negative")
    others = np.sort(scores[negatives].astype(np.float64))
    return TypicalQuery(
        float(np.median(scores[positives])), float(np.median(hardest)), float(others.std()), others
    )


def typical_negatives(count: int, top: float, spread: float) -> np.ndarray:
    """Scores of `count` negatives of a typical query, descending: normal quantiles of deviation `spread`, moved
    so that the hardest stands at `top`."""
    quantiles = [NormalDist().inv_cdf((k + 0.5) / count) for k in range(count)][::-1]
    return top + spread * (np.array(quantiles) - quantiles[0]) if count else np.zeros(0)


def sample_batch(
    visual_of_text: np.ndarray, size: int, seed: int, pair: tuple[int, int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """A batch as training draws it: `size` different visuals and one caption of each, (B,) and (B,) indices.

    Fewer where there are fewer visuals with captions. Both items of a `pair` (visual, text) are in it: the visual in the
    first row, the text in the first column or, where it was written for another visual, the second.
    """
    rng = np.random.default_rng(seed)
    captioned = np.unique(visual_of_text)
    visuals = rng.permutation(captioned)[:size]
    if pair is not None:
        owner = int(visual_of_text[pair[1]])
        first = [one for one in dict.fromkeys((pair[0], owner)) if one in captioned]
        visuals = np.concatenate([first, np.setdiff1d(visuals, first, assume_unique=True)])[
            : max(size, len(first))
        ]
    order = np.argsort(visual_of_text, kind="stable")
    starts = np.searchsorted(visual_of_text[order], visuals)
    ends = np.searchsorted(visual_of_text[order], visuals, side="right")
    texts = order[starts + (rng.random(len(visuals)) * (ends - starts)).astype(np.int64)]
    if pair is not None:
        texts[visuals == owner] = pair[1]
    return visuals, texts


def batch_weights(
    visual: Side,
    text: Side,
    visual_group: np.ndarray,
    text_group: np.ndarray,
    loss: str,
    hyper: Mapping[str, float],
    *,
    evidence: Evidence | None = None,
    items: tuple[np.ndarray, np.ndarray] | None = None,
    selector: str = "",
    selector_params: Mapping[str, Any] | None = None,
    suspects: str = "",
) -> PairWeights:
    """The measured weights of one batch; rows are its visuals, columns its texts, (B, B).

    visual, text (B, D): the batch's embeddings, whose inner products are the scores, or what a pair scorer said of them
    (`scored_sides`); `items` are the indices of its
    visuals and texts in the split that `evidence` is of. A `selector` marks suspected false negatives (of either
    direction); it changes the weights only where `suspects` names what becomes of them, as in training.
    Weights are those of the loss that training minimises: mean over both directions and all queries.
    Raises ValueError where the loss or the selector needs evidence that there is no source of.
    """
    v, t = (torch.as_tensor(vectors(side)) for side in (visual, text))
    positives = torch.as_tensor(visual_group[:, None] == text_group[None])
    needs = {*LOSSES[loss].needs, *(SELECTORS[selector].needs if selector else ())}
    known: dict[str, Tensor] = {}
    if needs:
        source = evidence or Evidence([])
        at = items or (np.arange(len(v)), np.arange(len(t)))
        known = source.of(needs if evidence else needs & {"visual_within", "text_within"}, *at, v, t)
    pairs = Pairs(torch.as_tensor(inner(visual, text)), positives, ~positives, **known)
    flagged, sides, weights = torch.zeros_like(positives), [], []

    def treated(side: Pairs, mask: Tensor | None) -> Pairs:
        return treat(side, mask, suspects) if mask is not None and suspects else side

    for side in (pairs, pairs.transpose()):
        mask = None
        if selector:
            mask = suspected(selector, side, **(selector_params or {}))
            flagged |= mask if side.direction == "v2t" else mask.T
        sides.append(treated(side, mask))
        # Weights are those by the score itself, so what "weigh" does to the scores belongs to the loss.
        weights.append(
            _slopes(side, lambda leaf, mask=mask: LOSSES[loss](treated(leaf, mask), **hyper).sum())
        )
    by_visual, by_text = weights[0].numpy(), weights[1].T.numpy()
    queries = np.array(by_visual.shape)
    return PairWeights(
        pairs.scores.numpy(),
        by_visual / (2 * queries[0]) + by_text / (2 * queries[1]),
        positives.numpy(),
        (sides[0].negatives | sides[1].negatives.T).numpy(),
        flagged.numpy(),
        by_visual,
        by_text,
    )


def effective_negatives(weights: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """How many negatives carry a query's weight, (Q,): (Σw)² / Σw² over the pushed negatives.

    1 where a single negative carries all, n where n share it evenly, 0 where nothing is pushed away.
    """
    pushed = np.where(negatives, weights, 0.0).clip(min=0).astype(np.float64)
    total, squares = pushed.sum(1), (pushed**2).sum(1)
    return np.divide(total**2, squares, out=np.zeros_like(total), where=squares > 0)
