"""Softmax and sigmoid: all negatives at once, weighted by how near they are."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from xmr.core import Pairs, highest, lowest
from xmr.losses.base import LOSSES, for_each_positive, mean_over_positives, negative_logsumexp, over_negatives
from xmr.losses.negatives import Each, Softmax, negatives, negatives_total
from xmr.registry import Range

Temperature = Annotated[float, Range(0.01, 1, learn="log", search=(0.02, 0.3))]


def _over_temperature(scores: Tensor, temperature: float | Tensor) -> Tensor:
    return scores / temperature


@LOSSES.register
@negatives(Softmax(_over_temperature))
def info_nce(pairs: Pairs, *, temperature: Temperature = 0.07) -> Tensor:
    r"""The positive must be picked out among all negatives.

    $$-\log \frac{e^{s^+/\tau}}{e^{s^+/\tau} + \sum_{-} e^{s^-/\tau}}$$

    Weights: the softmax probability of each negative over τ; the positive gets minus their sum.
    Relations: CLIP's symmetric cross-entropy with one positive per row; tends to max_of_hinges with margin 0,
        times 1/τ, as τ → 0; `unified` with margin 0, times its scale.
    Reference: van den Oord et al., Representation Learning with Contrastive Predictive Coding, 2018,
        https://arxiv.org/abs/1807.03748; Radford et al., CLIP, ICML 2021, https://arxiv.org/abs/2103.00020
    Deviation: of several positives each is contrasted with the negatives only, as NT-Xent does.
    """
    logits = _over_temperature(pairs.scores, temperature)
    gap = negatives_total(pairs, logits)[:, None] - logits
    return mean_over_positives(softplus(gap), pairs) * pairs.negatives.any(1)


def _refused(scores: Tensor, scale: float | Tensor, bias: float | Tensor) -> Tensor:
    return -logsigmoid(-(scale * scores + bias))


@LOSSES.register
@negatives(Each(_refused))
def siglip(
    pairs: Pairs,
    *,
    scale: Annotated[float, Range(1, 100, learn="log", search=(3, 30))] = 10.0,
    bias: Annotated[float, Range(-20, 20, learn="linear", search=(-15, -2))] = -10.0,
) -> Tensor:
    r"""Each pair is its own yes-or-no question.

    $$-\sum_{+} \log \sigma(\text{scale} \cdot s^+ + \text{bias}) - \sum_{-} \log \sigma(-\text{scale} \cdot s^- - \text{bias})$$

    Weights: a sigmoid in the score: scale·σ(scale·s- + bias) on a negative, -scale·σ(-(scale·s+ + bias)) on a
        positive; no pair's weight depends on another pair.
    Relations: with one positive per row, the paper's loss (a sum over pairs divided by B).
    Reference: Zhai et al., Sigmoid Loss for Language Image Pre-Training, ICCV 2023,
        https://arxiv.org/abs/2303.15343
    """
    kept = torch.where(pairs.positives, -logsigmoid(scale * pairs.scores + bias), 0.0)
    refused = torch.where(pairs.negatives, _refused(pairs.scores, scale, bias), 0.0)
    return (kept + refused).sum(1)


@LOSSES.register
def similar_dissimilar(
    pairs: Pairs,
    *,
    scale: Annotated[float, Range(0.1, 100, learn="log", search=(3, 30))] = 10.0,
    bias: Annotated[float, Range(-20, 20, learn="linear", search=(-8, 0))] = -3.0,
) -> Tensor:
    r"""Each pair is similar or dissimilar, and both kinds weigh the same however many there are.

    $$-\frac{1}{2P} \sum_{+} \log \sigma(\text{scale} \cdot s^+ + \text{bias}) - \frac{1}{2N} \sum_{-} \log \sigma(-\text{scale} \cdot s^- - \text{bias})$$
    of $P$ positives and $N$ negatives

    Weights: those of siglip, over twice the number of the query's pairs of that kind.
    Relations: siglip with balanced kinds. With scale 1 and bias 0 on the log-odds of UNCSM's metric network, it is that
        network's two-way cross-entropy; so it trains the last epochs of `two_pathway`.
    Reference: Qi et al., Cross-media Similarity Metric Learning with Unified Deep Networks, MTA 2017,
        https://arxiv.org/abs/1704.04333
    Deviation: the paper's text could not be read; pairs of both kinds are balanced by weight and not by sampling.
    """
    logits = scale * pairs.scores + bias
    kept = mean_over_positives(softplus(-logits), pairs)
    refused = over_negatives(softplus(logits), pairs) / pairs.negatives.sum(1).clamp(min=1)
    return (kept + refused) / 2


def _scaled(scores: Tensor, scale: float | Tensor, **_: Any) -> Tensor:
    return scale * scores


@LOSSES.register
@negatives(Softmax(_scaled))
def unified(
    pairs: Pairs,
    *,
    scale: Annotated[float, Range(1, 200, search=(5, 80))] = 20.0,
    margin: Annotated[float, Range(0, 1, search=(0, 0.3))] = 0.2,
) -> Tensor:
    r"""A margin and a temperature at once: between the hardest negative and all of them.

    $$\frac{1}{\text{scale}} \log \left( 1 + \sum_{-} e^{\text{scale} \cdot (s^- - s^+ + \text{margin})} \right)$$

    Weights: a softmax over the negatives and the constant 1, with temperature 1/scale.
    Relations: tends to max_of_hinges as scale → ∞; with margin 0 it is info_nce at τ = 1/scale, over scale.
    Reference: Li et al., Unified Loss of Pair Similarity Optimization for Vision-Language Retrieval, 2022,
        https://arxiv.org/abs/2209.13869
    Deviation: read from the abstract and its algebra.
    """
    logits = _scaled(pairs.scores, scale)
    gap = negatives_total(pairs, logits)[:, None] - logits + scale * margin
    return mean_over_positives(softplus(gap) / scale, pairs) * pairs.negatives.any(1)


def _above_base(scores: Tensor, beta: float | Tensor, base: float | Tensor, **_: Any) -> Tensor:
    return beta * (scores - base)


def _mined(scores: Tensor, own: Tensor, epsilon: float | Tensor, **_: Any) -> Tensor:
    return ~(scores + epsilon <= own)  # NaN is not hidden


@LOSSES.register
@negatives(Softmax(_above_base, _mined))
def multi_similarity(
    pairs: Pairs,
    *,
    alpha: Annotated[float, Range(0.1, 20)] = 2.0,
    beta: Annotated[float, Range(1, 100, search=(10, 60))] = 40.0,
    base: Annotated[float, Range(-1, 1, search=(0.1, 0.8))] = 0.5,
    epsilon: Annotated[float, Range(0, 1)] = 0.1,
) -> Tensor:
    r"""Mined pairs only, each weighted by its own score and by those of its row.

    $$\frac{1}{\alpha} \log \left( 1 + \sum_{+} e^{-\alpha (s^+ - \text{base})} \right) + \frac{1}{\beta} \log \left( 1 + \sum_{-} e^{\beta (s^- - \text{base})} \right)$$
    over negatives with $s^- + \epsilon > \min s^+$ and positives with $s^+ - \epsilon < \max s^-$

    Weights: a softmax over the mined negatives and the constant 1; likewise over the mined positives.
    Relations: its mining of negatives, with one positive, is that of `polynomial`.
    Reference: Wang et al., Multi-Similarity Loss with General Pair Weighting, CVPR 2019,
        https://arxiv.org/abs/1904.06627; constants of the authors' code.
    """
    scores = pairs.scores
    mined_negatives = pairs.negatives & _mined(scores, lowest(scores, pairs.positives)[:, None], epsilon)
    mined_positives = pairs.positives & ~(scores - epsilon >= highest(scores, pairs.negatives)[:, None])
    pull = softplus(negative_logsumexp(-alpha * (scores - base), mined_positives)) / alpha
    push = softplus(negatives_total(pairs, _above_base(scores, beta, base), mined_negatives)) / beta
    return (pull + push) * (mined_positives.any(1) & mined_negatives.any(1))


def _repelled(scores: Tensor, margin: float | Tensor, scale: float | Tensor) -> Tensor:
    return scale * (scores.detach() + margin).relu() * (scores - margin)


@LOSSES.register
@negatives(Softmax(_repelled))
def circle(
    pairs: Pairs,
    *,
    margin: Annotated[float, Range(0, 1, search=(0.1, 0.5))] = 0.25,
    scale: Annotated[float, Range(1, 512, search=(16, 256))] = 256.0,
) -> Tensor:
    r"""Each score is weighted by how far it is from where it should be.

    $$\log \left( 1 + \sum_{-} e^{\text{scale} \cdot a_- (s^- - m)} \cdot \sum_{+} e^{-\text{scale} \cdot a_+ (s^+ - 1 + m)} \right)$$
    with $a_+ = [1 + m - s^+]_+$, $a_- = [s^- + m]_+$ and $m$ the margin

    Weights: a softmax over negatives times a-, and over positives times a+ (a+ and a- carry no gradient).
    Relations: with a+ = a- = 1 it is `unified` over all positives at once, times the scale.
    Reference: Sun et al., Circle Loss, CVPR 2020, https://arxiv.org/abs/2002.10857
    """
    scores = pairs.scores
    a_positive = (1 + margin - scores.detach()).relu()
    push = negatives_total(pairs, _repelled(scores, margin, scale))
    pull = negative_logsumexp(-scale * a_positive * (scores - 1 + margin), pairs.positives)
    return softplus(push + pull) * (pairs.negatives.any(1) & pairs.positives.any(1))


@LOSSES.register
@negatives(Softmax(_over_temperature))
def decoupled(pairs: Pairs, *, temperature: Temperature = 0.1) -> Tensor:
    r"""As info_nce, but the positive does not compete with itself.

    $$-\frac{s^+}{\tau} + \log \sum_{-} e^{s^-/\tau}$$

    Weights: a softmax over the negatives alone, summing to 1/τ; always -1/τ on the positive, however high it is.
    Relations: info_nce without the positive in its denominator; may be below zero.
    Reference: Yeh et al., Decoupled Contrastive Learning, ECCV 2022, https://arxiv.org/abs/2110.06848
    Deviation: negatives of the other modality only.
    """
    logits = _over_temperature(pairs.scores, temperature)
    gap = negatives_total(pairs, logits)[:, None] - logits
    gap = torch.where(pairs.negatives.any(1, keepdim=True), gap, 0.0)
    return mean_over_positives(gap, pairs)


def _raised(scores: Tensor, temperature: float | Tensor, alpha: float | Tensor) -> Tensor:
    return scores / temperature + alpha * scores.detach()


@LOSSES.register
@negatives(Softmax(_raised))
def hardness_weighted(
    pairs: Pairs,
    *,
    temperature: Temperature = 0.07,
    alpha: Annotated[float, Range(0, 20, search=(0, 12))] = 9.0,
) -> Tensor:
    r"""As info_nce, with hard negatives counted more, by their own scores.

    $$-\log \frac{e^{s^+/\tau}}{e^{s^+/\tau} + \sum_{-} w \cdot e^{s^-/\tau}}$$
    with $w = e^{\alpha s^-}$ without gradient

    Weights: softmax probabilities over τ, as those of info_nce, of negatives whose logits are raised by α·s-; the positive
        gets minus their sum.
    Relations: info_nce with α 0. `hard_reweighted` with prior 0 and its beta = α·τ has the same w, but holds its mean at 1.
    Reference: Lan et al., LLaVE: Large Language and Vision Embedding Models with Hardness-Weighted Contrastive Learning,
        2025, https://arxiv.org/abs/2503.04812
    Deviation: the paper's text could not be read; this is its equation 5 with its α as sentence-transformers documents them
        (`MultipleNegativesRankingLoss`, hardness_mode in_batch_negatives). Of several positives each stands alone.
    """
    own = _over_temperature(pairs.scores, temperature)
    gap = negatives_total(pairs, _raised(pairs.scores, temperature, alpha))[:, None] - own
    return mean_over_positives(softplus(gap), pairs) * pairs.negatives.any(1)


@LOSSES.register
def debiased(
    pairs: Pairs,
    *,
    temperature: Annotated[float, Range(0.05, 1, learn="log", search=(0.05, 0.7))] = 0.5,
    prior: Annotated[float, Range(0, 0.9, search=(0, 0.2))] = 0.1,
) -> Tensor:
    r"""As info_nce, after taking out of the negatives the share that are expected to be matches.

    $$-\log \frac{e^{s^+/\tau}}{e^{s^+/\tau} + N}$$
    with $N = \max \left( \frac{\sum_{-} e^{s^-/\tau} - \text{prior} \cdot n \cdot e^{s^+/\tau}}{1 - \text{prior}}, n \cdot e^{-1/\tau} \right)$ of $n$ negatives

    Weights: those of info_nce, over (1 - prior); none on negatives once the estimate N reaches its floor.
    Relations: info_nce with prior 0.
    Reference: Chuang et al., Debiased Contrastive Learning, NeurIPS 2020, https://arxiv.org/abs/2007.00224
    Deviation: negatives of the other modality only, B - 1 of them.
    """
    return _reweighted(pairs, temperature, prior, None)


@LOSSES.register
def hard_reweighted(
    pairs: Pairs,
    *,
    temperature: Annotated[float, Range(0.05, 1, learn="log", search=(0.05, 0.7))] = 0.5,
    beta: Annotated[float, Range(0, 4, search=(0, 2))] = 1.0,
    prior: Annotated[float, Range(0, 0.9)] = 0.1,
) -> Tensor:
    r"""As debiased, with hard negatives counted more.

    $$-\log \frac{e^{s^+/\tau}}{e^{s^+/\tau} + N}$$
    as `debiased`, with $n \sum_{-} w \cdot e^{s^-/\tau} / \sum_{-} w$ in place of $\sum_{-} e^{s^-/\tau}$, and $w = e^{\beta s^-/\tau}$

    Weights: those of info_nce sharpened by w; because the importances' mean is held at 1 and carries gradient, the
        easiest negatives are pulled up a little.
    Relations: `debiased` with beta 0; HN-NCE with prior 0; info_nce with both 0.
    Reference: Robinson et al., Contrastive Learning with Hard Negative Samples, ICLR 2021,
        https://arxiv.org/abs/2010.04592; Radenovic et al., DiHT, CVPR 2023, https://arxiv.org/abs/2301.02280
    Deviation: negatives of the other modality only; w carries gradient, as in the authors' code.
    """
    return _reweighted(pairs, temperature, prior, beta)


def _reweighted(
    pairs: Pairs, temperature: float | Tensor, prior: float | Tensor, beta: float | None
) -> Tensor:
    logits = pairs.scores / temperature
    prior = torch.as_tensor(prior, dtype=logits.dtype, device=logits.device)
    log_count = pairs.negatives.sum(1).clamp(min=1).to(logits).log()
    mass = negative_logsumexp(logits, pairs.negatives)
    if beta is not None:
        sharpened = negative_logsumexp((1 + beta) * logits, pairs.negatives)
        mass = log_count + sharpened - negative_logsumexp(beta * logits, pairs.negatives)

    def one(s: Tensor) -> Tensor:
        own = s[:, 0] / temperature
        # All in logarithms, so that no exponential overflows: of the share of the mass that is expected to be matches,
        # of N and of its floor.
        share = log_count + prior.log() + own - mass
        left = ~(share >= -8 * torch.finfo(share.dtype).eps)
        estimate = mass + torch.log1p(-torch.where(left, share, -1.0).exp()) - torch.log1p(-prior)
        floor = log_count - 1 / temperature
        return softplus(torch.where(left, torch.maximum(estimate, floor), floor) - own)

    return for_each_positive(pairs, one)
