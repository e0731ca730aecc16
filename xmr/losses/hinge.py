"""Margins: a positive must stand above negatives, in scores or in distances."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import softplus

from xmr.core import Pairs, highest, lowest
from xmr.losses.base import LOSSES, for_each_positive, hardest_negative, mean_over_positives, over_negatives
from xmr.losses.negatives import Each, Hardest, negatives
from xmr.registry import Range

NEAREST = 1e-3  # distance below which `contrastive` pushes no harder


@LOSSES.register
def sum_of_hinges(pairs: Pairs, *, margin: Annotated[float, Range(0, 1, search=(0.05, 0.4))] = 0.2) -> Tensor:
    r"""Every negative must stay a margin below the positive.

    $$\sum_{-} [\text{margin} + s^- - s^+]_+$$

    Weights: +1 on every negative within the margin, minus their number on the positive.
    Relations: max_of_hinges keeps the largest term only; equal to it with a single negative.
    Reference: Kiros et al., Unifying Visual-Semantic Embeddings with Multimodal Neural Language Models, 2014,
        https://arxiv.org/abs/1411.2539 (VSE0 in the VSE++ paper)
    Deviation: the mean over queries and directions; the authors' code sums, a factor of 2B.
    """
    return for_each_positive(pairs, lambda s: over_negatives((margin + pairs.scores - s).relu(), pairs))


@LOSSES.register
@negatives(Hardest())
def max_of_hinges(pairs: Pairs, *, margin: Annotated[float, Range(0, 1, search=(0.05, 0.4))] = 0.2) -> Tensor:
    r"""The hardest negative must stay a margin below the positive.

    $$[\text{margin} + h - s^+]_+$$

    Weights: +1 on the hardest negative and -1 on the positive where the margin is violated, else none.
    Relations: the limit of `unified` as its scale grows; `gravitation` with equal masses.
    Reference: Faghri et al., VSE++: Improving Visual-Semantic Embeddings with Hard Negatives, BMVC 2018,
        https://arxiv.org/abs/1707.05612
    Deviation: the mean over queries and directions; the authors' code sums, a factor of 2B.
    """
    hardest, exists = hardest_negative(pairs)
    hinge = (margin + hardest[:, None] - pairs.scores).relu()
    return mean_over_positives(hinge, pairs) * exists


@LOSSES.register
def semi_hard(pairs: Pairs, *, margin: Annotated[float, Range(0, 1, search=(0.05, 0.4))] = 0.2) -> Tensor:
    r"""The hardest of the negatives that already stand below the positive must stay a margin below it.

    $$[\text{margin} + \max\{s^- : s^- < s^+\} - s^+]_+$$
    and the easiest negative where all stand above

    Weights: as max_of_hinges, but never on a negative above the positive unless all are.
    Relations: equal to max_of_hinges where the positive comes first.
    Reference: Schroff et al., FaceNet, CVPR 2015, https://arxiv.org/abs/1503.03832
    Deviation: in similarities instead of squared distances; the fallback is the widespread implementation's.
    """

    def one(s: Tensor) -> Tensor:
        below = pairs.negatives & ~(pairs.scores >= s)  # NaN is not hidden
        hardest = highest(pairs.scores, below)
        easiest = lowest(pairs.scores, pairs.negatives)
        chosen = torch.where(below.any(1), hardest, torch.where(pairs.negatives.any(1), easiest, 0.0))
        return (margin + chosen - s[:, 0]).relu()

    return for_each_positive(pairs, one)


@LOSSES.register
@negatives(Hardest())
def soft_margin(pairs: Pairs, *, scale: Annotated[float, Range(1, 100, search=(3, 50))] = 10.0) -> Tensor:
    r"""The hardest negative is pushed below the positive with a force that fades but never stops.

    $$\frac{1}{\text{scale}} \log \left( 1 + e^{\text{scale} \cdot (h - s^+)} \right)$$

    Weights: σ(scale·(h - s+)) on the hardest negative, minus that on the positive.
    Relations: tends to max_of_hinges with margin 0 as the scale grows; `unified` with one negative and margin 0.
    Reference: Hermans et al., In Defense of the Triplet Loss for Person Re-Identification, 2017,
        https://arxiv.org/abs/1703.07737
    Deviation: a scale, because cosines move in [-1, 1] where the paper's distances are unbounded.
    """
    hardest, exists = hardest_negative(pairs)
    gap = scale * (hardest[:, None] - pairs.scores)
    return mean_over_positives(softplus(gap) / scale, pairs) * exists


def _too_near(scores: Tensor, margin: float | Tensor) -> Tensor:
    """½ [margin - d]_+² with d² = 2 - 2s; where d is below `NEAREST` its tangent there, for the root's slope has no end."""
    squared = 2 - 2 * scores
    distance = torch.where(squared < NEAREST**2, NEAREST**2, squared).sqrt()
    beyond = (NEAREST**2 - squared).relu() * ((margin - NEAREST) / NEAREST)
    return ((margin - distance).relu() ** 2 + beyond) / 2


@LOSSES.register
@negatives(Each(_too_near))
def contrastive(pairs: Pairs, *, margin: Annotated[float, Range(0.1, 2, search=(0.4, 1.5))] = 1.0) -> Tensor:
    r"""Positives at distance zero, negatives at least a margin away, each pair for itself.

    $$\frac{1}{2} \sum_{+} d_+^2 + \frac{1}{2} \sum_{-} [\text{margin} - d_-]_+^2$$
    with $d^2 = 2 - 2s$, the distance of unit vectors

    Weights: -1 on every positive; (margin - d-)/d- on a negative nearer than the margin, at most (margin - 1e-3)/1e-3.
    Relations: UNCSM's first stage; all pairs count, so class labels serve as well as pairs.
    Reference: Hadsell et al., Dimensionality Reduction by Learning an Invariant Mapping, CVPR 2006; Qi et al.,
        Cross-media Similarity Metric Learning with Unified Deep Networks, MTA 2017,
        https://arxiv.org/abs/1704.04333
    Deviation: UNCSM's text could not be read; the form is that of the same group's released code.
    """
    pulled = torch.where(pairs.positives, 1 - pairs.scores, 0.0).sum(1)
    return pulled + over_negatives(_too_near(pairs.scores, margin), pairs)


@LOSSES.register
def double_triplet(pairs: Pairs, *, margin: Annotated[float, Range(0, 4, search=(0.1, 1.5))] = 1.0) -> Tensor:
    r"""A positive must be a margin nearer than a negative, in squared distance, on average over negatives.

    $$\frac{1}{2N} \sum_{-} [\text{margin} + d_+^2 - d_-^2]_+$$
    of $N$ negatives, with $d^2 = 2 - 2s$; both directions together make it double

    Weights: 1/N on each of the N negatives that violates, minus their share on the positive.
    Relations: sum_of_hinges with half the margin, divided by the number of negatives.
    Reference: Qi et al., Cross-media Similarity Metric Learning with Unified Deep Networks, MTA 2017,
        https://arxiv.org/abs/1704.04333
    Deviation: the paper's text could not be read; the same group's code draws three random triples an anchor,
        here is their expectation: the mean over all.
    """

    def one(s: Tensor) -> Tensor:
        hinge = (margin + 2 * pairs.scores - 2 * s).relu()
        return over_negatives(hinge, pairs) / pairs.negatives.sum(1).clamp(min=1) / 2

    return for_each_positive(pairs, one)
