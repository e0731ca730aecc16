"""Losses over a score matrix, each written for one direction.

A loss takes `Pairs` (rows are queries) and keyword hyper-parameters and returns one value per query, (Q,).
`symmetric` asks both directions and averages, so no loss writes anything twice. A query without positives, or
without negatives where the loss compares the two, contributes zero. Several positives of one query each count
as if they were alone, and are averaged: a positive never is another positive's negative.

A hyper-parameter may be a float or a tensor; pass an `nn.Parameter` and it is learnable.

Docstrings: what the loss asks for · the formula in s+ (a positive's score), s- (a negative's), h (the hardest
negative's) · `Weights:` what d loss / d score looks like · `Relations:` · `Reference:` · `Deviation:`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from xmr.core import Pairs
from xmr.registry import Range, Registry

LOSSES = Registry("loss")


def loss_value(
    name: str,
    scores: Tensor,
    positives: Tensor | None = None,
    negatives: Tensor | None = None,
    **hyper: Any,
) -> Tensor:
    """The loss `name` of a (Q, G) score matrix: the mean over queries, averaged over both directions.

    `positives=None` means the diagonal, `negatives=None` everything that is not positive; a pair in neither
    mask is ignored. Returns a scalar tensor. Raises UnknownName, TypeError on an unknown hyper-parameter and
    ValueError on masks that do not fit.
    """
    entry = LOSSES[name]
    for parameter in hyper:
        entry.param(parameter)
    return symmetric(entry.make, Pairs.of(scores, positives, negatives), **hyper)


def symmetric(loss: Callable[..., Tensor], pairs: Pairs, **hyper: Any) -> Tensor:
    """Mean of `loss` over the queries of both directions, () scalar."""
    return (loss(pairs, **hyper).mean() + loss(pairs.transpose(), **hyper).mean()) / 2


def hardest_negative(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Score of each query's hardest negative, and whether it has one: (Q,) float, (Q,) bool."""
    exists = pairs.negatives.any(1)
    hardest = pairs.scores.masked_fill(~pairs.negatives, -torch.inf).amax(1)
    return torch.where(exists, hardest, 0.0), exists


def mean_over_positives(values: Tensor, pairs: Pairs) -> Tensor:
    """Mean of (Q, G) values over each query's positives, zero where there is none: (Q,)."""
    total = torch.where(pairs.positives, values, 0.0).sum(1)
    return total / pairs.positives.sum(1).clamp(min=1)


@LOSSES.register
def max_of_hinges(pairs: Pairs, *, margin: Annotated[float, Range(0, 1)] = 0.2) -> Tensor:
    """The hardest negative must stay a margin below the positive.

    [margin + h - s+]_+
    Weights: +1 on the hardest negative and -1 on the positive where the margin is violated, else none.
    Relations: the limit of a log-sum-exp over all hinges at low temperature.
    Reference: Faghri et al., VSE++: Improving Visual-Semantic Embeddings with Hard Negatives, BMVC 2018,
        https://arxiv.org/abs/1707.05612
    Deviation: the mean over queries and directions; the authors' code sums, a factor of 2B.
    """
    hardest, exists = hardest_negative(pairs)
    hinge = (margin + hardest[:, None] - pairs.scores).relu()
    return mean_over_positives(hinge, pairs) * exists


@LOSSES.register
def info_nce(pairs: Pairs, *, temperature: Annotated[float, Range(0.01, 1, learn="log")] = 0.07) -> Tensor:
    """The positive must be picked out among all negatives.

    -log( exp(s+/τ) / (exp(s+/τ) + Σ exp(s-/τ)) )
    Weights: the softmax probability of each negative over τ; the positive gets minus their sum.
    Relations: CLIP's symmetric cross-entropy with one positive per row; tends to max_of_hinges with margin 0,
        times 1/τ, as τ → 0.
    Reference: van den Oord et al., Representation Learning with Contrastive Predictive Coding, 2018,
        https://arxiv.org/abs/1807.03748; Radford et al., CLIP, ICML 2021, https://arxiv.org/abs/2103.00020
    Deviation: of several positives each is contrasted with the negatives only, as NT-Xent does.
    """
    logits = pairs.scores / temperature
    negatives = logits.masked_fill(~pairs.negatives, -torch.inf).logsumexp(1, keepdim=True)
    exists = pairs.negatives.any(1)
    # softplus(-inf) is 0 with a NaN gradient, so rows without negatives are taken out before it.
    gap = torch.where(exists[:, None], negatives, 0.0) - logits
    return mean_over_positives(torch.nn.functional.softplus(gap), pairs) * exists


@LOSSES.register
def siglip(
    pairs: Pairs,
    *,
    scale: Annotated[float, Range(1, 100, learn="log")] = 10.0,
    bias: Annotated[float, Range(-20, 20, learn="linear")] = -10.0,
) -> Tensor:
    """Each pair is its own yes-or-no question.

    Σ+ -log σ(scale·s+ + bias) + Σ- -log σ(-(scale·s- + bias))
    Weights: a sigmoid in the score: scale·σ(scale·s- + bias) on a negative, -scale·σ(-(scale·s+ + bias)) on a
        positive; no pair's weight depends on another pair.
    Relations: with one positive per row, the paper's loss (a sum over pairs divided by B).
    Reference: Zhai et al., Sigmoid Loss for Language Image Pre-Training, ICCV 2023,
        https://arxiv.org/abs/2303.15343
    """
    logits = scale * pairs.scores + bias
    kept = torch.where(pairs.positives, logsigmoid(logits), 0.0)
    refused = torch.where(pairs.negatives, logsigmoid(-logits), 0.0)
    return -(kept + refused).sum(1)


@LOSSES.register
def polynomial(
    pairs: Pairs,
    *,
    margin: Annotated[float, Range(0, 1)] = 0.2,
    a0: Annotated[float, Range(-2, 2)] = 0.5,
    a1: Annotated[float, Range(-2, 2)] = -0.7,
    a2: Annotated[float, Range(-2, 2)] = 0.2,
    b0: Annotated[float, Range(-2, 2)] = 0.03,
    b1: Annotated[float, Range(-2, 2)] = -0.4,
    b2: Annotated[float, Range(-2, 2)] = 0.9,
) -> Tensor:
    """Weights are polynomials of a pair's own score, on the hardest informative negative.

    [a2·s+² + a1·s+ + a0]_+ + [b2·h² + b1·h + b0]_+ where h + margin > s+, else 0; nothing where s+ ≥ 1 - 1e-5
    Weights: 2·b2·h + b1 on the hardest negative (0.23 at 0.35, 1.04 at 0.8), 2·a2·s+ + a1 on the positive
        (-0.7 at 0, -0.3 at 1). With the published coefficients a negative below 0.096 is *attracted*, and one
        between 0.096 and 0.349 is left alone.
    Relations: the informative negatives are those of multi-similarity mining with one positive.
    Reference: Wei et al., Universal Weighting Metric Learning for Cross-Modal Matching, CVPR 2020,
        https://arxiv.org/abs/2010.03403; the form and the coefficients of the authors' released code.
    Deviation: the mean over both directions, where the code adds them: a factor of 2.
    """
    hardest, exists = hardest_negative(pairs)
    h, s = hardest[:, None], pairs.scores
    value = (a2 * s**2 + a1 * s + a0).relu() + (b2 * h**2 + b1 * h + b0).relu()
    informative = (h + margin > s) & (s < 1 - 1e-5)
    return mean_over_positives(torch.where(informative, value, 0.0), pairs) * exists
