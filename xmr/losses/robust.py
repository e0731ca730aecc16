"""Losses that doubt the annotation: wrong positives, graded relevance, soft targets."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import softplus

from xmr.core import Pairs, highest, lowest
from xmr.losses.base import (
    LOSSES,
    for_each_positive,
    hardest_negative,
    mean_over_positives,
    negative_logsumexp,
)
from xmr.losses.softmax import info_nce
from xmr.registry import Range, needs
from xmr.selection import caption_evidence, visual_evidence


@LOSSES.register
def complementary(
    pairs: Pairs, *, temperature: Annotated[float, Range(0.01, 1, learn="log", search=(0.03, 0.5))] = 0.05
) -> Tensor:
    r"""Says only what a pair is not: every negative must be improbable, no positive must be sure.

    $$-\sum_{-} \log(1 - p^-)$$
    with $p$ the softmax of $s/\tau$ over one positive and the negatives

    Weights: large on probable negatives; an improbable one is pulled up a little, for it takes probability from the
        others; the positive is lifted only through the softmax.
    Relations: without a term of its own for the positive, a wrong positive can't dominate.
    Reference: Hu et al., Cross-Modal Retrieval with Partially Mismatched Pairs, TPAMI 2023,
        https://doi.org/10.1109/TPAMI.2023.3247939
    """
    logits = pairs.scores / temperature
    low = torch.finfo(logits.dtype).min / 4
    top = logits.masked_fill(~pairs.negatives, -torch.inf).argmax(1, keepdim=True)
    rest = pairs.negatives.scatter(1, top, False)  # none of them has more than half of the probability
    hardest, others = logits.gather(1, top)[:, 0], negative_logsumexp(logits, rest)

    def one(s: Tensor) -> Tensor:
        # -log(1 - p) is log Σ exp of all less that of all but it: for the hardest, whose p may be 1 to all digits, a
        # softplus.
        others_own = torch.logaddexp(others, s[:, 0] / temperature)
        total = torch.logaddexp(others_own, hardest)[:, None]
        p = torch.where(rest, logits - total, low).exp()
        return softplus(hardest - others_own) - torch.log1p(-p).sum(1)

    return for_each_positive(pairs, one)


@LOSSES.register
@needs("text_scores")
def ladder(
    pairs: Pairs,
    *,
    margin: Annotated[float, Range(0, 1, search=(0.05, 0.4))] = 0.2,
    threshold: Annotated[float, Range(-1, 1, search=(0.3, 0.9))] = 0.63,
    margin_second: Annotated[float, Range(0, 1)] = 0.01,
    weight: Annotated[float, Range(0, 1)] = 0.25,
) -> Tensor:
    r"""Annotated matches above the rest, and likely matches above unlikely ones.

    $$[\text{margin} + h - s^+]_+ + \text{weight} \cdot [\text{second margin} + \max\{s : R < \text{threshold}\} - \min\{s : R \ge \text{threshold}\}]_+$$
    with $R$ the similarity of captions

    Weights: those of max_of_hinges, and ±weight on the lowest likely and the highest unlikely pair.
    Relations: max_of_hinges with weight 0.
    Reference: Zhou et al., Ladder Loss for Coherent Visual-Semantic Embedding, AAAI 2020,
        https://arxiv.org/abs/1911.07528
    Deviation: R is the largest similarity to an annotated caption, from whatever text similarity the pairs carry.
    """
    hardest, exists = hardest_negative(pairs)
    first = mean_over_positives((margin + hardest[:, None] - pairs.scores).relu(), pairs) * exists
    likely = caption_evidence(pairs) >= threshold
    known = pairs.positives | pairs.negatives
    upper = known & (likely | pairs.positives)
    lower = pairs.negatives & ~likely
    both = upper.any(1) & lower.any(1) & pairs.positives.any(1)
    low = torch.where(both, lowest(pairs.scores, upper), 0.0)
    high = torch.where(both, highest(pairs.scores, lower), 0.0)
    return first + weight * (margin_second + high - low).relu() * both


@LOSSES.register
@needs("text_scores")
def graded_relevance(
    pairs: Pairs,
    *,
    temperature: Annotated[float, Range(0.01, 1, learn="log", search=(0.02, 0.3))] = 0.07,
    threshold: Annotated[float, Range(0, 1, search=(0.2, 0.9))] = 0.5,
    weight: Annotated[float, Range(0, 2, search=(0.1, 1))] = 0.5,
) -> Tensor:
    r"""info_nce, and of what nobody annotated the likely must be picked out among the less likely, each by its grade.

    $$L - \frac{\text{weight}}{\sum R} \sum_{R \ge \text{threshold}} R \log \frac{e^{s/\tau}}{e^{s/\tau} + \sum_{R' < R} e^{s'/\tau}}$$
    with $L$ the value of `info_nce`, the sums over negatives, and $R$ the similarity of captions

    Weights: those of info_nce, and weight·R/(τ·ΣR) times a softmax over what is less likely: a likely negative is pulled up against
        those and pushed down against the annotated match.
    Relations: info_nce with weight 0; a `ladder` with a rung for each grade. `soft_labels` prescribes shares, this an order.
    Reference: after Zhu et al., Generalized Contrastive Learning for Multi-Modal Retrieval and Ranking, 2024,
        https://arxiv.org/abs/2404.08535, which weighs the cross-entropy of a pair by its grade
    Deviation: GCL's equations were not read, only what others say of them; its grades are given with the pairs, here they are the largest similarity to an annotated
        caption, from whatever text similarity the pairs carry, and what has a lower grade is what a pair is picked out among.
    """
    negatives, logits = pairs.negatives, pairs.scores / temperature
    # Without a caption to compare with, the grade is the lowest.
    grade = torch.where(negatives, caption_evidence(pairs).clamp(min=-2), -torch.inf)
    # What is no negative stands so far below all that its share is none, and near enough to leave the others their digits.
    nothing = torch.where(negatives.any(1), lowest(logits.detach(), negatives) - 100, 0.0)[:, None]
    rising, order = grade.sort(1)
    sums = torch.where(negatives, logits, nothing).gather(1, order).logcumsumexp(1)
    # The first of equal grade: what stands before it has a lower one.
    first = torch.searchsorted(rising.contiguous(), grade.contiguous())
    below = sums.gather(1, (first - 1).clamp(min=0))
    counts = negatives & (grade >= threshold) & (grade > lowest(grade, negatives)[:, None])
    share = torch.where(counts, grade, 0.0)
    share = share / share.sum(1, keepdim=True).clamp(min=torch.finfo(share.dtype).tiny)
    graded = torch.where(counts, share * softplus(below - logits), 0.0).sum(1)
    return info_nce(pairs, temperature=temperature) + weight * graded * pairs.positives.any(1)


@LOSSES.register
@needs("visual_scores", "text_scores")
def soft_labels(
    pairs: Pairs,
    *,
    temperature: Annotated[float, Range(0.01, 1, learn="log", search=(0.02, 0.3))] = 0.05,
    student_temperature: Annotated[float, Range(0.05, 2)] = 0.45,
    teacher_temperature: Annotated[float, Range(0.05, 2)] = 1.0,
    weight: Annotated[float, Range(0, 50, search=(0.02, 2))] = 0.1,
) -> Tensor:
    r"""info_nce, and the whole row should resemble the similarities within the query's own modality.

    $$L + \text{weight} \cdot \text{KL} \left( \text{softmax} \frac{t}{\tau_t} \parallel \text{softmax} \frac{s}{\tau_s} \right)$$
    with $L$ the value of `info_nce` and $t$ the similarities within the query's own modality

    Weights: those of info_nce, plus weight/τs times the difference of the student's and the teacher's share.
    Relations: info_nce with weight 0.
    Reference: Huang et al., Cross-Modal and Uni-Modal Soft-Label Alignment for Image-Text Retrieval, AAAI 2024,
        https://arxiv.org/abs/2403.05261
    Deviation: the cross-modal half only; towers of one modality would need heads of their own. The teacher is
        whatever within-modality similarity the pairs carry; it has no gradient. The authors' code divides its
        contrastive part by the batch's size B once more: its weight of 0.1 is 0.1·B here, 12.8 in a batch of 128.
    """
    evidence = visual_evidence(pairs) if pairs.direction == "v2t" else caption_evidence(pairs)
    known = (pairs.positives | pairs.negatives) & evidence.isfinite()
    near = torch.where(
        known, evidence.detach(), 0.0
    )  # an infinity would leave no slope to a learned temperature
    divergence = _divergence(near / teacher_temperature, pairs.scores / student_temperature, known)
    return info_nce(pairs, temperature=temperature) + weight * divergence * pairs.positives.any(1)


@LOSSES.register
@needs("peer_scores")
def peer_distillation(
    pairs: Pairs,
    *,
    temperature: Annotated[float, Range(0.01, 1, learn="log", search=(0.02, 0.3))] = 0.07,
    peer_temperature: Annotated[float, Range(0.01, 1)] = 0.07,
    weight: Annotated[float, Range(0, 1, search=(0.1, 0.9))] = 0.5,
    runs: str = "",
) -> Tensor:
    r"""info_nce, mixed with how far the row is from what other trained models say of it.

    $$(1 - \text{weight}) \cdot L + \text{weight} \cdot \text{KL} \left( \text{softmax} \frac{g}{\tau_p} \parallel \text{softmax} \frac{s}{\tau} \right)$$
    with $L$ the value of `info_nce` and $g$ the mean of the peers' scores

    Weights: those of info_nce times 1 - weight, plus weight/τ times the difference of our share and the peers'; a pair that
        they rate higher than we do is pulled up, annotated or not.
    Relations: info_nce with weight 0; `soft_labels` asks frozen features of one modality in place of other models.
    Reference: Hinton et al., Distilling the Knowledge in a Neural Network, 2015, https://arxiv.org/abs/1503.02531; over the rows of
        a batch as the contrastive relational distillation of Yang et al., CLIP-KD, CVPR 2024, https://arxiv.org/abs/2307.12732
    Deviation: CLIP-KD's abstract was read, not its equations. `runs` are the folders of the peers, separated by commas (the app asks
        the runs that it shows); their mean is asked, without gradient, and KL is not multiplied by τ².
    """
    known = pairs.positives | pairs.negatives
    peers = torch.where(known, pairs.evidence("peer_scores").detach().mean(0), 0.0)
    divergence = _divergence(peers / peer_temperature, pairs.scores / temperature, known)
    mixed = weight * divergence * pairs.positives.any(1)
    return (1 - weight) * info_nce(pairs, temperature=temperature) + mixed


def _divergence(teacher: Tensor, student: Tensor, known: Tensor) -> Tensor:
    """KL( softmax(teacher) ‖ softmax(student) ) of each row's known pairs, (Q,)."""
    low = torch.finfo(student.dtype).min / 4
    target, own = (
        torch.where(known, logits, low).log_softmax(1) for logits in (teacher.to(student), student)
    )
    return torch.where(known, target.exp() * (target - own), 0.0).sum(1)
