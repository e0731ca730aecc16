"""How well selectors find false negatives among the negatives that matter, where the truth is known.

What is asked: of a trained model's hardest negatives, which does a selector suspect, and which of them are matches?
One answer is an operating point, with a precision and a recall; the whole range of a selector's main parameter is a
curve, whose area (average precision) tells how well its evidence sorts, whatever the parameter's default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xmr.analysis import Retrieval, hard_negatives_by_weight
from xmr.checkpoints import Run
from xmr.core import DIRECTIONS, Pairs
from xmr.data import Dataset
from xmr.evidence import Evidence
from xmr.registry import Entry, Range
from xmr.selection import SELECTORS, suspected

PER_QUERY, LIMIT = 3, 2000  # of the hardest negatives by weight, as the app shows them
JUDGED_RANK = (
    100  # where few pairs are judged, hard means: among so many negatives that the query ranks first
)
FROZEN = {"visual_scores", "text_scores", "word_scores", "text_keys"}
SWEPT_TOGETHER = {"both_modalities": ("text_threshold", "visual_threshold")}


@dataclass(frozen=True)
class Part:
    """Some visuals (V,) of a split with all of their captions (T,), as indices, and what is known of their pairs:
    groups as in `Dataset`, and relevance (V, T) as `Truth.block` gives it."""

    visuals: np.ndarray
    texts: np.ndarray
    visual_group: np.ndarray
    text_group: np.ndarray
    relevance: np.ndarray


@dataclass(frozen=True)
class Side:
    """One model asked in one direction: all pairs (Q, G) as that direction sees them, and its hardest negatives
    (query[p], candidate[p]), of which `matches` (P,) bool are matches in truth."""

    pairs: Pairs
    query: np.ndarray
    candidate: np.ndarray
    matches: np.ndarray


@dataclass(frozen=True)
class Points:
    """How well N guesses meet the truth, each (N,): NaN precision where nobody is suspected. `informedness` is the
    share of the matches that is suspected less the share of the others that is: 0 for suspecting all, nobody, or by
    chance, whatever the share of matches."""

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    informedness: np.ndarray


@dataclass(frozen=True)
class Sweep:
    """What a selector suspects over the range of its main parameter.

    values (N,) rise; suspects (N, P) bool; matches (P,) bool; model (P,) int says whose hardest negative a pair is.
    """

    values: np.ndarray
    suspects: np.ndarray
    matches: np.ndarray
    model: np.ndarray

    @cached_property
    def points(self) -> Points:
        """Means over models; precision over those in which anybody is suspected."""
        each = [operating_points(self.suspects[:, one], self.matches[one]) for one in self._models()]
        precision = np.array([one.precision for one in each])
        some = ~np.isnan(precision)
        total = np.where(some, precision, 0).sum(0)
        return Points(
            np.divide(total, some.sum(0), out=np.full(len(total), np.nan), where=some.any(0)),
            *(np.mean([getattr(one, name) for one in each], 0) for name in ("recall", "f1", "informedness")),
        )

    def average_precision(self) -> np.ndarray:
        """Of each model, (K,)."""
        return np.array(
            [average_precision(self.suspects[:, one], self.matches[one]) for one in self._models()]
        )

    def base_rate(self) -> np.ndarray:
        """Of each model the precision of suspecting every hardest negative, (K,)."""
        return np.array([self.matches[one].mean() for one in self._models()])

    def _models(self) -> list[np.ndarray]:
        return [self.model == k for k in range(self.model.max() + 1)]


# ---- statistics of masks -----------------------------------------------------------------------------------


def operating_points(suspects: np.ndarray, matches: np.ndarray) -> Points:
    """How well N guesses `suspects` (N, P) meet `matches` (P,).

    Raises ValueError where nothing matches or everything does: then nothing can be found, or missed.
    """
    count = int(matches.sum())
    if not 0 < count < len(matches):
        raise ValueError(
            f"{count} of {len(matches)} hard negatives are matches, so nothing can be told apart"
        )
    hits, guesses = (suspects & matches).sum(1), suspects.sum(1)
    precision = np.divide(hits, guesses, out=np.full(len(hits), np.nan), where=guesses > 0)
    recall, alarms = hits / count, (guesses - hits) / (len(matches) - count)
    return Points(precision, recall, 2 * hits / (guesses + count), recall - alarms)


def average_precision(suspects: np.ndarray, matches: np.ndarray) -> float:
    """Area under the precision–recall points of N guesses (N, P), by steps, without interpolation.

    Σ (R_i - R_{i-1}) P_i over the guesses from few suspects to many. Suspecting all is always the last guess: a
    selector that can't reach some matches at any setting finds those at the base rate.
    """
    guesses = np.concatenate([suspects, np.ones((1, len(matches)), bool)])
    guesses = guesses[np.argsort(guesses.sum(1), kind="stable")]
    points = operating_points(guesses, matches)
    gained = np.diff(np.maximum.accumulate(points.recall), prepend=0)
    return float((gained * np.nan_to_num(points.precision)).sum())


def swept(
    ask: Callable[[float], np.ndarray], bounds: Range, wanted: Sequence[float], whole: bool, points: int = 16
) -> tuple[np.ndarray, np.ndarray]:
    """Values (N,) of a parameter within its bounds, and what it suspects there (N, P), `ask` being asked about
    `points` times.

    The ends and the `wanted` values first, then the middle of the two neighbours between which most answers change, so
    that the values lie where something happens. `whole` says that only integers are values.
    """
    answers = {value: ask(value) for value in dict.fromkeys((bounds.low, *wanted, bounds.high))}
    while len(answers) < points:
        values = sorted(answers)
        changed = [int((answers[a] != answers[b]).sum()) for a, b in pairwise(values)]
        for place in np.argsort(changed, kind="stable")[::-1]:
            middle = (values[place] + values[place + 1]) / 2
            middle = float(f"{middle:.4g}") if not whole else middle // 1
            if changed[place] > 1 and values[place] < middle < values[place + 1]:
                answers[middle] = ask(middle)
                break
        else:
            break
    values = sorted(answers)
    return np.array(values, float), np.stack([answers[value] for value in values])


# ---- what is asked -----------------------------------------------------------------------------------------


def swept_parameters(entry: Entry) -> tuple[str, ...]:
    """A selector's main parameter: the first that has a range, with those that only make sense together with it."""
    first = next(param.name for param in entry.params if param.range is not None)
    return SWEPT_TOGETHER.get(entry.name, (first,))


def sweep(
    selector: str,
    params: Mapping[str, Any],
    models: Sequence[Sequence[Side]],
    wanted: Sequence[float] = (),
) -> Sweep:
    """The selector over the range of its main parameter, asked of the hardest negatives of every model.

    `params` are its settled parameters; the value among them and the `wanted` ones are asked in any case. Raises ValueError where there is no evidence for it.
    """
    names = swept_parameters(SELECTORS[selector])
    main = SELECTORS[selector].param(names[0])
    whole = main.kind is int
    sides = [side for model in models for side in model]

    def ask(value: float) -> np.ndarray:
        moved = {name: int(value) if whole else float(value) for name in names}
        found = []
        for side in sides:
            mask = suspected(selector, side.pairs, **{**params, **moved})
            found.append(mask.numpy()[side.query, side.candidate])
        return np.concatenate(found)

    values, suspects = swept(ask, main.range, (params[names[0]], *wanted), whole)
    model = np.repeat(np.arange(len(models)), [sum(len(side.query) for side in one) for one in models])
    return Sweep(values, suspects, np.concatenate([side.matches for side in sides]), model)


def part_of(dataset: Dataset, visuals: int = 0) -> Part:
    """The split, or about `visuals` of it in whole groups, evenly spread. Raises ValueError without a truth."""
    if dataset.truth is None:
        raise ValueError(f"nothing is known of {dataset.name} ({dataset.split}) beyond its annotation")
    groups, sizes = np.unique(dataset.visual_group, return_counts=True)
    if 0 < visuals < sizes.sum():
        kept = max(1, round(visuals * len(groups) / sizes.sum()))
        groups = groups[np.linspace(0, len(groups) - 1, kept).astype(int)]
    rows, columns = (
        np.flatnonzero(np.isin(side, groups)) for side in (dataset.visual_group, dataset.text_group)
    )
    relevance = dataset.truth.block(rows, columns)
    return Part(rows, columns, dataset.visual_group[rows], dataset.text_group[columns], relevance)


def frozen_evidence(part: Part, evidence: Evidence) -> dict[str, Tensor]:
    """The evidence about a part that no trained model has a share in."""
    nothing = torch.empty(0)
    whole = np.arange(len(part.visuals)), np.arange(len(part.texts))
    return evidence.of(_needed() & FROZEN, *whole, nothing, nothing)


def _needed() -> set[str]:
    return {name for entry in SELECTORS.values() for name in entry.needs}


def sides(
    run: Run,
    part: Part,
    embeddings: tuple[np.ndarray, np.ndarray],
    evidence: Evidence,
    frozen: Mapping[str, Tensor],
) -> list[Side]:
    """The hardest negatives of a run in a part of a split, in both directions, with the evidence for selectors.

    `embeddings` and `evidence` are of the part's items; `frozen` of `frozen_evidence`. Where the truth knows of
    mismatches but not of every pair, hard negatives that nobody judged say nothing: then those among the first
    `JUDGED_RANK` negatives of a query by score that somebody judged are taken, else the `PER_QUERY` heaviest of each
    query in the run's own loss, the `LIMIT` heaviest of all. Where nothing is known to mismatch, what isn't known to
    match counts as a mismatch, so that precision is a lower bound.
    """
    visual, text = (np.asarray(one, np.float32) for one in embeddings)
    v, t = torch.from_numpy(visual), torch.from_numpy(text)
    own = evidence.of(_needed() - FROZEN, np.arange(len(visual)), np.arange(len(text)), v, t)
    positives = torch.from_numpy(part.visual_group[:, None] == part.text_group)
    upright = Pairs(v @ t.T, positives, ~positives, **frozen, **own)
    found = []
    for direction in DIRECTIONS:
        pairs = upright if direction == "v2t" else upright.transpose()
        known = part.relevance if direction == "v2t" else part.relevance.T
        if np.isnan(known).any() and (known == 0).any():
            query, candidate = judged_hard(pairs, known)
        else:
            asked = Retrieval(visual, text, part.visual_group, part.text_group, direction, evidence)
            hard = hard_negatives_by_weight(
                asked, run.config.loss, run.loss_values, limit=LIMIT, per_query=PER_QUERY
            )
            query, candidate = hard.query, hard.candidate
        found.append(Side(pairs, query, candidate, known[query, candidate] == 1))
    return found


def judged_hard(
    pairs: Pairs, relevance: np.ndarray, depth: int = JUDGED_RANK
) -> tuple[np.ndarray, np.ndarray]:
    """The judged pairs among each query's `depth` highest-scoring negatives: queries and candidates, (P,) each."""
    scores = pairs.scores.masked_fill(~pairs.negatives, -torch.inf)
    top = torch.zeros_like(pairs.negatives).scatter_(
        1, scores.topk(min(depth, scores.shape[1]), 1).indices, True
    )
    return np.nonzero((top & pairs.negatives).numpy() & ~np.isnan(relevance))
