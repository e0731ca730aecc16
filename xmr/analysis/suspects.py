"""Which pairs a selector suspects, and how right it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from xmr.analysis.blocks import WITHIN, Retrieval, with_others
from xmr.core import Pairs
from xmr.registry import Param
from xmr.selection import SELECTORS, suspected
from xmr.words import fixed, percent


def suspected_pairs(
    selector: str,
    params: Mapping[str, Any],
    visuals: np.ndarray,
    texts: np.ndarray,
    retrieval: Retrieval,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Which of the pairs (visuals[i], texts[i]) the selector suspects in the split's direction, (P,) bool.

    The registered selector itself is asked, of the whole matrix where there are at most `WITHIN` visuals. Of more, it
    is asked of some of the pairs at a time: their visuals, those that their texts were written for, others evenly
    spread to make up `WITHIN`, and all of their captions. `progress` hears of pairs that are done, and of how many.
    Raises what the selector raises.
    """
    result, done = np.zeros(len(visuals), bool), 0
    if progress:
        progress(done, len(visuals))
    for part, asked, at in _asked(selector, visuals, texts, retrieval):
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
    retrieval: Retrieval,
) -> np.ndarray:
    """`suspected_pairs` for each of the `values` of the selector's threshold, its other parameters held, (N, P) bool.

    Raises ValueError where the selector has no threshold (`threshold_of`), and what the selector raises.
    """
    param = threshold_of(selector)
    if param is None:
        raise ValueError(f"{selector} has no parameter with a range, so it has no threshold to move")
    result = np.zeros((len(values), len(visuals)), bool)
    for part, asked, at in _asked(selector, visuals, texts, retrieval):

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
    selector: str, visuals: np.ndarray, texts: np.ndarray, retrieval: Retrieval
) -> Iterator[tuple[np.ndarray, Pairs, tuple[np.ndarray, np.ndarray]]]:
    """The pairs in parts: which of them, the matrix to ask the selector of, and where they stand in it."""
    both, upright = [retrieval.visual_group, retrieval.text_group], replace(retrieval, direction="v2t")
    groups, place = np.unique(np.concatenate(both), return_inverse=True)
    of_visual, of_text = np.split(place, [len(retrieval.visual_group)])
    order = np.argsort(of_visual[visuals], kind="stable")
    size = len(order) if len(groups) <= WITHIN else WITHIN // 4
    for part in np.split(order, range(size, len(order), size)) if len(order) else ():
        own = np.union1d(of_visual[visuals[part]], of_text[texts[part]])
        chosen = with_others(own, np.arange(len(groups)), WITHIN)
        rows, columns = np.flatnonzero(np.isin(of_visual, chosen)), np.flatnonzero(np.isin(of_text, chosen))
        pairs = upright.pairs(rows, columns, SELECTORS[selector].needs)
        at = np.searchsorted(rows, visuals[part]), np.searchsorted(columns, texts[part])
        yield (part, pairs, at) if retrieval.direction == "v2t" else (part, pairs.transpose(), at[::-1])


COARSE, FINE = 5, 10  # values of a threshold, see `threshold_curve`


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
) -> ThresholdCurve:
    """Precision and recall of a selector through the whole range of its threshold.

    `truth` (P,) is that of the pairs, and `ask` returns (N, P) masks for N values of the threshold. After `COARSE`
    values over the range come `FINE` ones where the number of suspects changes, evenly by that number.
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

    measure(values_of(np.linspace(param.range.low, param.range.high, COARSE)))
    jumps = np.abs(np.diff([one.suspected for one in found.values()]))
    if jumps.sum():
        steps = np.concatenate([[0], np.cumsum(jumps)])
        measure(values_of(np.interp(np.linspace(0, steps[-1], FINE + 2)[1:-1], steps, list(found))))
    values = sorted(found)
    return ThresholdCurve(param.name, values, [found[value] for value in values])
