"""Selectors: which negatives are suspected to be matches that nobody annotated.

A selector takes `Pairs` and returns a mask (Q, G), True where a negative is suspected. `without` takes the
suspects out of the negatives, so that selection composes with every loss.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import torch
from torch import Tensor

from xmr.core import Pairs
from xmr.registry import Range, Registry

SELECTORS = Registry("selector")


def suspected(name: str, pairs: Pairs, **hyper: Any) -> Tensor:
    """The negatives of `pairs` that the selector `name` suspects: (Q, G) bool, always a subset of negatives.

    Raises UnknownName, TypeError on an unknown hyper-parameter, and ValueError where the selector needs the
    within-modality scores and `pairs` has none.
    """
    entry = SELECTORS[name]
    for parameter in hyper:
        entry.param(parameter)
    return entry(pairs, **hyper) & pairs.negatives


def without(pairs: Pairs, mask: Tensor) -> Pairs:
    """`pairs` with the masked negatives ignored."""
    return replace(pairs, negatives=pairs.negatives & ~mask)


@SELECTORS.register
def caption_similarity(pairs: Pairs, *, threshold: Annotated[float, Range(-1, 1)] = 0.8) -> Tensor:
    """The candidate's caption says nearly the same as the query's own.

    Looks at the similarities between texts only, not at the score: max over own captions ≥ threshold.
    Needs `text_scores`.
    Reference: one reading of Galanopoulos & Mezaris, Hard-Negatives or Non-Negatives?, ICCVW 2021.
    Deviation: the paper's exact rule could not be read.
    """
    return caption_evidence(pairs) >= threshold


def caption_evidence(pairs: Pairs) -> Tensor:
    """How near a pair is by its captions alone, (Q, G): the largest similarity between the text of the pair and
    a text annotated to the visual of the pair; -inf where the visual has none."""
    if pairs.text_scores is None:
        raise ValueError("this selector needs the similarities between captions; these pairs have none")
    positives = pairs.positives if pairs.direction == "v2t" else pairs.positives.T
    count = int(positives.sum(1).max()) if positives.numel() else 0
    # Own captions of each visual as a padded index, so that the maximum needs no (visuals, texts, texts) array.
    present, own = positives.int().topk(count, dim=1)
    evidence = torch.full(positives.shape, -torch.inf, dtype=pairs.scores.dtype, device=pairs.scores.device)
    for k in range(count):
        near = pairs.text_scores[own[:, k]].to(evidence)
        evidence = torch.where(present[:, k, None] > 0, torch.maximum(evidence, near), evidence)
    return evidence if pairs.direction == "v2t" else evidence.T
