"""What a comparison tries: the same number of settings for every loss, at the same learning rates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from xmr.registry import Entry, Param

LR_SPAN = 5.0  # the learning rate is searched from a fifth of the given one to five times it
DIMENSIONS = 16  # of the points, whatever a loss has, so that each axis has the same points for all
LOG_FROM = 20.0  # an interval whose ends differ by more than this factor is searched in the logarithm


@dataclass(frozen=True)
class Axis:
    """One thing that is searched, from `low` to `high`."""

    name: str
    low: float
    high: float
    log: bool
    whole: bool = False

    def at(self, share: float) -> float:
        """The value at `share` (0 … 1) of the way, to four digits, which is all that a table shows."""
        if self.log:
            value = self.low * (self.high / self.low) ** share
        else:
            value = self.low + (self.high - self.low) * share
        value = min(max(float(f"{value:.4g}"), self.low), self.high)
        return round(value) if self.whole else value


@dataclass(frozen=True)
class Setting:
    """One configuration of a loss; `params` are all of its parameters."""

    lr: float
    params: dict[str, Any]


def axes(loss: Entry, lr: float, fixed: Mapping[str, Any]) -> list[Axis]:
    """What is searched: the learning rate around `lr`, and the parameters of `loss` that declare `Range.search`.

    Parameters in `fixed` are not searched.
    """
    rate = Axis("lr", float(f"{lr / LR_SPAN:.4g}"), float(f"{lr * LR_SPAN:.4g}"), log=True)
    return [rate, *(_axis(p) for p in loss.params if p.name not in fixed and p.range and p.range.search)]


def _axis(param: Param) -> Axis:
    low, high = param.range.search
    log = low > 0 and (param.range.learn == "log" or high / low > LOG_FROM)
    return Axis(param.name, low, high, log, param.kind is int)


def settings(loss: Entry, lr: float, trials: int, fixed: Mapping[str, Any]) -> list[Setting]:
    """The configurations that a search tries, (trials,).

    The first is the default one with `fixed`; the others are a Sobol sequence over `axes`, whose beginning doesn't
    depend on their number, so that a longer search goes on with a shorter one. Every loss has the same learning
    rates. Raises ValueError or TypeError where `fixed` does not fit the loss.
    """
    default = loss.parse(dict(fixed))
    searched = axes(loss, lr, fixed)
    found = [Setting(lr, default)]
    for point in points(trials - 1)[:, : len(searched)]:
        values = {axis.name: axis.at(share) for axis, share in zip(searched, point, strict=True)}
        found.append(Setting(values.pop("lr"), default | values))
    return found


def points(count: int) -> np.ndarray:
    """The first `count` points of a scrambled Sobol sequence in the unit cube, (count, DIMENSIONS) float64."""
    from scipy import stats  # half a second, which the app has no use for

    sequence = stats.qmc.Sobol(DIMENSIONS, scramble=True, rng=0)
    return sequence.random_base2(max(count - 1, 1).bit_length())[: max(count, 0)]
