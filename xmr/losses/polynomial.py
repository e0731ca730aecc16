"""Universal weighting: the weight of a pair is a function of its score, chosen directly."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from xmr.core import Pairs
from xmr.losses.base import LOSSES, for_each_positive, hardest_negative, mean_over_positives
from xmr.losses.negatives import Hardest, negatives
from xmr.registry import Range

Coefficient = Annotated[float, Range(-2, 2)]


@LOSSES.register
@negatives(Hardest())
def polynomial(
    pairs: Pairs,
    *,
    margin: Annotated[float, Range(0, 1, search=(0.05, 0.4))] = 0.2,
    a0: Coefficient = 0.5,
    a1: Coefficient = -0.7,
    a2: Coefficient = 0.2,
    b0: Coefficient = 0.03,
    b1: Coefficient = -0.4,
    b2: Annotated[float, Range(-2, 2, search=(0.4, 1.8))] = 0.9,
) -> Tensor:
    r"""Weights are polynomials of a pair's own score, on the hardest informative negative.

    $$[a_2 (s^+)^2 + a_1 s^+ + a_0]_+ + [b_2 h^2 + b_1 h + b_0]_+$$
    where $h + \text{margin} > s^+$, else 0; nothing where $s^+ \ge 1 - 10^{-5}$

    Weights: 2·b2·h + b1 on the hardest negative (0.23 at 0.35, 1.04 at 0.8), 2·a2·s+ + a1 on the positive
        (-0.7 at 0, -0.3 at 1). With the published coefficients a negative below 0.096 is *attracted*, and one
        between 0.096 and 0.349 is left alone: see `polynomial_calibrated`.
    Relations: the informative negatives are those of multi-similarity mining with one positive.
    Reference: Wei et al., Universal Weighting Metric Learning for Cross-Modal Matching, CVPR 2020,
        https://arxiv.org/abs/2010.03403; the form and the coefficients of the authors' released code.
    Deviation: the mean over both directions, where the code adds them: a factor of 2.
    """
    hardest, exists = hardest_negative(pairs)
    h, s = hardest[:, None], pairs.scores
    value = (a2 * s**2 + a1 * s + a0).relu() + (b2 * h**2 + b1 * h + b0).relu()
    informative = ~((h + margin <= s) | (s >= 1 - 1e-5))  # NaN is not hidden
    return mean_over_positives(torch.where(informative, value, 0.0), pairs) * exists


@LOSSES.register
@negatives(Hardest())
def polynomial_max(
    pairs: Pairs,
    *,
    margin: Annotated[float, Range(0, 2, search=(0.05, 0.4))] = 0.2,
    a0: Coefficient = 0.5,
    a1: Coefficient = -0.7,
    a2: Coefficient = 0.2,
    b0: Coefficient = 0.03,
    b1: Coefficient = -0.3,
    b2: Annotated[float, Range(-2, 2, search=(0.4, 1.8))] = 1.2,
) -> Tensor:
    r"""The paper's joint hinge: one polynomial of the positive and one of the hardest informative negative.

    $$\left[ \sum_p a_p (s^+)^p + \sum_q b_q h^q \right]_+$$
    where $h + \text{margin} > s^+$, else 0

    Weights: 2·b2·h + b1 on the hardest negative (wrong sign below 0.125 with these coefficients, 0.90 at 0.5,
        1.62 at 0.8), 2·a2·s+ + a1 on the positive.
    Relations: `polynomial` with one hinge instead of two; margin 2 asks every query.
    Reference: Wei et al., Universal Weighting Metric Learning for Cross-Modal Matching, CVPR 2020,
        https://arxiv.org/abs/2010.03403
    Deviation: the paper's text could not be read; form and coefficients follow a public re-implementation of its
        "Max Polynomial Loss" (without mining there, which is margin 2 here).
    """
    hardest, exists = hardest_negative(pairs)
    h, s = hardest[:, None], pairs.scores
    value = (a2 * s**2 + a1 * s + a0 + b2 * h**2 + b1 * h + b0).relu()
    return mean_over_positives(torch.where(h + margin <= s, 0.0, value), pairs) * exists


@LOSSES.register
def polynomial_avg(
    pairs: Pairs,
    *,
    margin: Annotated[float, Range(0, 2, search=(0.05, 0.4))] = 0.2,
    a0: Coefficient = 0.5,
    a1: Coefficient = -0.7,
    a2: Coefficient = 0.2,
    b0: Coefficient = 0.03,
    b1: Coefficient = -0.3,
    b2: Annotated[float, Range(-2, 2, search=(0.4, 1.8))] = 1.2,
) -> Tensor:
    r"""As polynomial_max, with the mean over all informative negatives instead of the hardest.

    $$\left[ \sum_p a_p (s^+)^p + \frac{1}{|N|} \sum_{N} \sum_q b_q (s^-)^q \right]_+$$
    with $N$ the negatives of $s^- + \text{margin} > s^+$; 0 where $N$ is empty

    Weights: (2·b2·s- + b1)/|N| on each informative negative, 2·a2·s+ + a1 on the positive.
    Relations: polynomial_max where a single negative is informative.
    Reference: Wei et al., Universal Weighting Metric Learning for Cross-Modal Matching, CVPR 2020,
        https://arxiv.org/abs/2010.03403
    Deviation: the average form is remembered, not read; coefficients as polynomial_max.
    """
    values = b2 * pairs.scores**2 + b1 * pairs.scores + b0

    def one(s: Tensor) -> Tensor:
        informative = pairs.negatives & ~(pairs.scores + margin <= s)
        mean = torch.where(informative, values, 0.0).sum(1) / informative.sum(1).clamp(min=1)
        own = (a2 * s**2 + a1 * s + a0)[:, 0]
        return torch.where(informative.any(1), (own + mean).relu(), 0.0)

    return for_each_positive(pairs, one)


@LOSSES.register
@negatives(Hardest())
def polynomial_relative(
    pairs: Pairs,
    *,
    margin: Annotated[float, Range(0, 1, search=(0.05, 0.4))] = 0.2,
    c1: Annotated[float, Range(0, 4)] = 1.0,
    c2: Annotated[float, Range(0, 4, search=(0, 3))] = 1.0,
) -> Tensor:
    r"""Weights are polynomials of how far the hardest negative stands above or below the positive.

    $$[c_0 + c_1 R + c_2 R^2]_+$$
    where $R = h - s^+ > -\text{margin}$, else 0; $c_0 = c_1 \cdot \text{margin} - c_2 \cdot \text{margin}^2$ makes it continuous

    Weights: c1 + 2·c2·R on the hardest negative and minus that on the positive; never the wrong sign where
        c1 ≥ 2·c2·margin.
    Relations: max_of_hinges with c1 = 1, c2 = 0.
    Reference: Wei et al., Universal Weighting Relationship Metric Learning for Cross-Modal Retrieval, TPAMI 2022,
        https://doi.org/10.1109/TPAMI.2021.3088863
    Deviation: the formula could not be read; this is the second-degree polynomial in the relative similarity that
        contains the triplet loss. Coefficients are ours.
    """
    hardest, exists = hardest_negative(pairs)
    relative = hardest[:, None] - pairs.scores
    value = (c1 * (relative + margin) + c2 * (relative**2 - margin**2)).relu()
    return mean_over_positives(torch.where(relative <= -margin, 0.0, value), pairs) * exists


@LOSSES.register
def polynomial_calibrated(
    pairs: Pairs,
    *,
    margin: Annotated[float, Range(0, 1, search=(0.05, 0.4))] = 0.2,
    a1: Annotated[float, Range(0, 2)] = 0.7,
    a2: Annotated[float, Range(0, 2)] = 0.2,
    balance: Annotated[float, Range(0.1, 4, search=(0.5, 2))] = 1.0,
) -> Tensor:
    r"""`polynomial` with coefficients derived for the score range at hand, so that no weight has the wrong sign.

    $$w \left( a_2 (1 - u_+)^2 + (a_1 - 2 a_2)(1 - u_+) + \frac{k}{2} u_h^2 \right)$$
    where $u_h + \text{margin} > u_+$, else 0; $u = (s - \text{low}) / w$, $w = \text{high} - \text{low}$ of the scores of all pairs,
    $k = \text{balance} \cdot (a_1 - 2 a_2 m) / m$, $m$ the mean of $u_h$

    Weights: k·u on the hardest negative, from 0 at the lowest score, rising; a1 - 2·a2·u on the positive, negative sign,
        falling to a1 - 2·a2 ≥ 0 at the highest: monotone and never reversed. With balance 1 the typical hardest negative
        is pushed as hard as a positive there is pulled.
    Relations: the published positive weights 0.7 - 0.4·s on [0, 1]; the negative ones keep their degree and lose their
        offset, which is what reverses them. The published ones equal the positive's at 0.5, these where hardest
        negatives stand: pushed harder than that, scores collapse before they separate (measured).
    Reference: after Wei et al., CVPR 2020, https://arxiv.org/abs/2010.03403
    Deviation: our own calibration; low, high and m are the batch's, without gradient.
    """
    known = pairs.positives | pairs.negatives
    scores = pairs.scores.detach()
    low, high = scores.masked_fill(~known, torch.inf).amin(), scores.masked_fill(~known, -torch.inf).amax()
    low = torch.where(known.any(), low, high)  # of no pairs at all nothing is made
    width = (high - low).clamp(min=1e-3)
    hardest, exists = hardest_negative(pairs)
    hard = torch.where(exists, (hardest.detach() - low) / width, 0.0).sum() / exists.sum().clamp(min=1)
    k = balance * (a1 - 2 * a2 * hard) / hard.clamp(min=1e-2)
    u = (pairs.scores - low) / width
    u_h = torch.where(exists, (hardest - low) / width, 0.0)[:, None]
    value = a2 * (1 - u) ** 2 + (a1 - 2 * a2) * (1 - u) + k * u_h**2 / 2
    return mean_over_positives(torch.where(u_h + margin <= u, 0.0, width * value), pairs) * exists


Weight = Annotated[float, Range(0, 2)]
KNOTS = (-1.0, -0.5, 0.0, 0.5, 1.0)


@LOSSES.register
@negatives(Hardest())
def weighting(
    pairs: Pairs,
    *,
    positive_at_minus_1: Weight = 1.0,
    positive_at_minus_half: Weight = 0.9,
    positive_at_0: Weight = 0.7,
    positive_at_half: Annotated[float, Range(0, 2, search=(0.1, 1))] = 0.5,
    positive_at_1: Weight = 0.3,
    negative_at_minus_1: Weight = 0.0,
    negative_at_minus_half: Weight = 0.0,
    negative_at_0: Weight = 0.0,
    negative_at_half: Annotated[float, Range(0, 2, search=(0.1, 1.5))] = 0.5,
    negative_at_1: Weight = 1.4,
) -> Tensor:
    r"""Any two curves, drawn by hand: the weight of a positive and of the hardest negative at their scores.

    $$\int_{s^+}^{1} G_+(s) \, ds + \int_{-1}^{h} G_-(s) \, ds$$
    with $G_+$ and $G_-$ piecewise linear between five given values

    Weights: exactly -G+(s+) on the positive and G-(h) on the hardest negative.
    Relations: the framework of universal weighting itself; G+ = G- = 1 is max_of_hinges with a very large margin.
    Reference: Wei et al., Universal Weighting Metric Learning for Cross-Modal Matching, CVPR 2020,
        https://arxiv.org/abs/2010.03403
    Deviation: given as the integral of its weights, so that it is a loss and not only a gradient.
    """
    pull = (positive_at_minus_1, positive_at_minus_half, positive_at_0, positive_at_half, positive_at_1)
    push = (negative_at_minus_1, negative_at_minus_half, negative_at_0, negative_at_half, negative_at_1)
    hardest, exists = hardest_negative(pairs)
    whole = _integral(torch.ones_like(hardest), pull)[:, None]
    value = whole - _integral(pairs.scores, pull) + _integral(hardest, push)[:, None]
    return mean_over_positives(value, pairs) * exists


def _integral(scores: Tensor, values: tuple[float | Tensor, ...]) -> Tensor:
    """∫ from -1 to each score of the curve through `values` at KNOTS, constant outside them.

    By segments, each of which begins at a knot and owns it: a clamp would have no slope there.
    """
    heights = torch.stack([torch.as_tensor(v, dtype=scores.dtype, device=scores.device) for v in values])
    knots = scores.new_tensor(KNOTS)
    rise, step = heights.diff(), KNOTS[1] - KNOTS[0]
    nothing = heights.new_zeros(1)
    # Before the first knot, between two, after the last: where a segment begins, its height there, its slope, the area.
    begins, begun = torch.cat([knots[:1], knots]), torch.cat([heights[:1], heights])
    slopes = torch.cat([nothing, rise / step, nothing])
    areas = torch.cat([nothing, nothing, ((heights[1:] + heights[:-1]) / 2 * step).cumsum(0)])
    segment = torch.bucketize(scores.detach().contiguous(), knots, right=True)
    x = scores - begins[segment]
    return areas[segment] + begun[segment] * x + slopes[segment] * x**2 / 2
