"""Gravitation (CIMN-style): samples have mass, and the negative that pulls hardest is pushed away."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from xmr.core import Pairs, highest
from xmr.losses.base import LOSSES, hardest_negative, mean_over_positives
from xmr.registry import Range, needs

NEIGHBOURS = 5


@LOSSES.register
@needs("visual_within", "text_within")
def gravitation(
    pairs: Pairs,
    *,
    margin: Annotated[float, Range(0, 1, search=(0.05, 0.4))] = 0.2,
    mass: Literal["density", "difficulty", "equal"] = "density",
    within: Annotated[float, Range(0, 2, search=(0, 1))] = 0.5,
    margin_within: Annotated[float, Range(0, 1)] = 0.2,
) -> Tensor:
    r"""Heavy samples count more, and the negative is the one that pulls hardest, between and within modalities.

    $$f \cdot [\text{margin} + s_h - s^+]_+ + \text{within} \cdot [\text{margin within} + \max u - s^+]_+$$
    with $f = m_i m_h$ over its mean, $h$ the negative of the largest force $m_i m_j / (2 - 2 s_{ij})$, and $u$ the scores of the query
    to other queries of its own modality

    Weights: f on the strongest negative and -f on the positive where the margin is violated; masses and forces
        carry no gradient. The term within a modality also pushes embeddings of one modality apart.
    Relations: with equal masses and within 0 it is max_of_hinges, because the nearest then pulls hardest.
    Reference: Ke et al., Cross-modal Independent Matching Network, Pattern Recognition 159, 2025,
        https://doi.org/10.1016/j.patcog.2024.111096
    Deviation: only the abstract could be read, so this is a CIMN-style loss and not the paper's. density: a
        sample's mean similarity to its five nearest of its own modality; difficulty: the softmax of its own hinge.
    """
    hardest, exists = hardest_negative(pairs)
    own_mass, other_mass = _masses(pairs, mass, margin)
    distance = (2 - 2 * pairs.scores.detach()).clamp(min=1e-6)
    force = own_mass[:, None] * other_mass[None] / distance
    strongest = force.masked_fill(~pairs.negatives, -torch.inf).argmax(1, keepdim=True)
    pulled = torch.where(exists, pairs.scores.gather(1, strongest)[:, 0], hardest)
    factor = own_mass * other_mass[strongest[:, 0]]
    factor = factor / factor.mean().clamp(min=1e-12)
    value = factor[:, None] * (margin + pulled[:, None] - pairs.scores).relu()
    if not isinstance(within, Tensor) and within == 0:
        return mean_over_positives(value, pairs) * exists
    near, answered = _nearest_other_query(pairs)
    value = value + within * (margin_within + near[:, None] - pairs.scores).relu() * answered[:, None]
    return mean_over_positives(value, pairs) * exists


def _masses(pairs: Pairs, kind: str, margin: float | Tensor) -> tuple[Tensor, Tensor]:
    """Mass of every query and of every gallery item, positive: (Q,), (G,)."""
    scores = pairs.scores.detach()
    queries, gallery = scores.shape
    if kind == "equal":
        return scores.new_ones(queries), scores.new_ones(gallery)
    if kind == "difficulty":
        return _difficulty(pairs, margin), _difficulty(pairs.transpose(), margin)
    within = (pairs.evidence("visual_within"), pairs.evidence("text_within"))
    query_scores, gallery_scores = within if pairs.direction == "v2t" else within[::-1]
    return _density(query_scores), _density(gallery_scores)


def _density(within: Tensor) -> Tensor:
    """Mean similarity to the nearest of the same modality, itself left out, mapped from [-1, 1] to [0.01, 1]."""
    others = within.detach().masked_fill(
        torch.eye(len(within), dtype=torch.bool, device=within.device), -torch.inf
    )
    count = min(NEIGHBOURS, len(within) - 1)
    if count < 1:
        return within.new_ones(len(within))
    return ((1 + others.topk(count, dim=1).values.mean(1)) / 2).clamp(min=0.01)


def _difficulty(pairs: Pairs, margin: float | Tensor) -> Tensor:
    hardest, exists = hardest_negative(pairs)
    hinge = mean_over_positives((margin + hardest[:, None] - pairs.scores).relu(), pairs) * exists
    return hinge.detach().softmax(0) * len(hinge)


def _nearest_other_query(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Score of each query's nearest query of another group, and whether there is one: (Q,), (Q,) bool."""
    within = pairs.evidence("visual_within" if pairs.direction == "v2t" else "text_within")
    shared = pairs.positives.float() @ pairs.positives.float().T > 0
    others = ~shared & ~torch.eye(len(within), dtype=torch.bool, device=within.device)
    nearest = highest(within, others)
    return torch.where(others.any(1), nearest, 0.0), others.any(1)
