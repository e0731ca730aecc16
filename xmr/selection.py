"""Selectors: which negatives are suspected to be matches that nobody annotated, and what becomes of them.

A selector takes `Pairs` and returns a mask (Q, G), True where a negative is suspected, for the side that asks:
what looks at a query's row may judge a pair differently in the two directions. `treat` edits the pairs before any
loss sees them, so that selection composes with every loss. A selector that looks at more than scores and masks
declares it with `needs`. One that looks at captions declares `text_keys`, and where they are given always suspects a pair whose
text reads like a caption annotated to its visual: nobody can tell the two apart, whatever a threshold says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from xmr.core import Pairs, highest, lowest
from xmr.registry import Range, Registry, UnknownName, needs, unknown

SELECTORS = Registry("selector")
DEFAULT = "adaptive_caption_similarity"  # finds most, see scripts/benchmark_selectors.py
MEMORY = 0.98  # of the running moments of scores, per step
PRIOR = 0.5  # of being a match, among hardest negatives: on blocks 27–80 % of them are
ACTIONS = {
    "ignore": "a suspect is no negative",
    "weigh": "a suspect's weight is scaled by the probability that it is a negative",
    "positive": "a suspect is a positive",
}


def suspected(name: str, pairs: Pairs, **hyper: Any) -> Tensor:
    """The negatives of `pairs` that the selector `name` suspects: (Q, G) bool, always a subset of negatives.

    Raises UnknownName, TypeError on an unknown hyper-parameter, and ValueError where one is outside its range, or the
    selector needs the within-modality scores and `pairs` has none.
    """
    entry = SELECTORS[name]
    mask = entry.make(pairs, **entry.checked(hyper))
    if "text_keys" in entry.needs and pairs.text_keys is not None:
        mask = mask | reads_alike(pairs)
    return mask & pairs.negatives


def reads_alike(pairs: Pairs) -> Tensor:
    """Whether the text of a pair reads like a text annotated to the visual of the pair, (Q, G) bool."""
    keys = pairs.evidence("text_keys").to(pairs.scores.device)
    upright = pairs.direction == "v2t"
    visual, text = (pairs.positives if upright else pairs.positives.T).nonzero(as_tuple=True)
    numbers, place = keys.unique(return_inverse=True)
    said = torch.zeros(
        pairs.scores.shape[0 if upright else 1], len(numbers), dtype=torch.bool, device=keys.device
    )
    said[visual, place[text]] = True
    alike = said[:, place]
    return alike if upright else alike.T


def without(pairs: Pairs, mask: Tensor) -> Pairs:
    """`pairs` with the masked negatives ignored."""
    return replace(pairs, negatives=pairs.negatives & ~mask)


def treat(pairs: Pairs, mask: Tensor, action: str = "ignore") -> Pairs:
    """`pairs` with the suspects `mask` (Q, G) ignored, weighed down by their posterior, or taken as positives.

    "weigh" scales a suspect's weight d loss / d score by 1 - `match_posterior` and leaves the loss's value alone: no
    loss need know of it. Raises UnknownName on another action.
    """
    if action == "ignore":
        return without(pairs, mask)
    if action == "positive":
        return replace(pairs, positives=pairs.positives | mask, negatives=pairs.negatives & ~mask)
    if action != "weigh":
        raise UnknownName(unknown("action on suspects", action, ACTIONS))
    kept = torch.where(mask, 1 - match_posterior(pairs), 1.0).to(pairs.scores)
    still = pairs.scores.detach()
    return replace(pairs, scores=still + kept * (pairs.scores - still))


@SELECTORS.register
@needs("text_scores", "text_keys")
def caption_similarity(pairs: Pairs, *, threshold: Annotated[float, Range(-1, 1)] = 0.9) -> Tensor:
    """The candidate's caption says nearly the same as the query's own.

    Looks at the similarities between texts only, not at the score: max over own captions ≥ threshold.
    Needs `text_scores`.
    Reference: one reading of Galanopoulos & Mezaris, Hard-Negatives or Non-Negatives?, ICCVW 2021.
    Deviation: the paper's exact rule could not be read.
    """
    return caption_evidence(pairs) >= threshold


@SELECTORS.register
@needs("word_scores", "text_keys")
def word_overlap(pairs: Pairs, *, threshold: Annotated[float, Range(0, 1)] = 0.6) -> Tensor:
    """The candidate's caption shares many words with the query's own, rare words counting more.

    Looks at the captions' words only: cosine of their inverse document frequencies ≥ threshold. Needs `word_scores`.
    Reference: one reading of Galanopoulos & Mezaris, Hard-Negatives or Non-Negatives?, ICCVW 2021 (ours).
    """
    return caption_evidence(pairs, "word_scores") >= threshold


@SELECTORS.register
@needs("text_within", "text_keys")
def trained_caption_similarity(pairs: Pairs, *, threshold: Annotated[float, Range(-1, 1)] = 0.85) -> Tensor:
    """The candidate's caption is near the query's own for the text tower in training itself.

    Looks at the similarities between the model's own text embeddings, without gradient: max over own captions
    ≥ threshold. Needs `text_within`.
    Reference: one reading of Galanopoulos & Mezaris, Hard-Negatives or Non-Negatives?, ICCVW 2021 (ours).
    """
    return caption_evidence(pairs, "text_within") >= threshold


@SELECTORS.register
@needs("text_scores", "visual_scores", "text_keys")
def both_modalities(
    pairs: Pairs,
    *,
    text_threshold: Annotated[float, Range(-1, 1)] = 0.9,
    visual_threshold: Annotated[float, Range(-1, 1)] = 0.9,
    rule: Literal["or", "and"] = "or",
) -> Tensor:
    """The candidate is near the query's own match in captions, in visuals, or in both.

    Looks at the similarities within both modalities, not at the score. Needs `text_scores` and `visual_scores`.
    Reference: the rule "or" is DropTriple's, which takes 0.75 (Yan et al., Cross-Modal Retrieval for Motion and Text via
        DropTriple Loss, 2023, https://arxiv.org/abs/2305.04195).
    """
    text, visual = caption_evidence(pairs) >= text_threshold, visual_evidence(pairs) >= visual_threshold
    return text | visual if rule == "or" else text & visual


@SELECTORS.register
@needs("text_scores", "text_keys")
def adaptive_caption_similarity(pairs: Pairs, *, kappa: Annotated[float, Range(0, 6)] = 2.5) -> Tensor:
    """The candidate's caption is unusually near, measured by how near captions are to this query.

    Looks at the similarities between texts: R_ij ≥ mean_j R_ij + kappa·std_j R_ij over the query's negatives.
    Needs `text_scores`.
    Reference: an adaptive reading of Galanopoulos & Mezaris, ICCVW 2021 (ours).
    """
    evidence = caption_evidence(pairs)
    usable = pairs.negatives & evidence.isfinite()
    count = usable.sum(1, keepdim=True).clamp(min=1)
    mean = torch.where(usable, evidence, 0.0).sum(1, keepdim=True) / count
    spread = (torch.where(usable, evidence - mean, 0.0) ** 2).sum(1, keepdim=True) / count
    return evidence > mean + kappa * spread.sqrt() + 1e-6  # all alike suspects nobody


@SELECTORS.register
def top_ranked(pairs: Pairs, *, k: Annotated[int, Range(0, 100)] = 1) -> Tensor:
    """The k negatives that score highest are skipped, whatever they are.

    Looks at the rank of the score within the query's negatives only.
    Reference: one reading of Galanopoulos & Mezaris, ICCVW 2021; used for text retrieval as "top-k shifted by N" in
        Moreira et al., NV-Retriever, 2024, https://arxiv.org/abs/2407.15831
    """
    scores = pairs.scores.masked_fill(~pairs.negatives, -torch.inf)
    top = scores.topk(min(k, scores.shape[1]), dim=1).indices
    return torch.zeros_like(pairs.negatives).scatter_(1, top, True) & pairs.negatives


@SELECTORS.register
def near_positive(pairs: Pairs, *, share: Annotated[float, Range(0.5, 1.2)] = 0.95) -> Tensor:
    """The candidate scores nearly as high as the annotated match, or higher.

    Looks at the score only: s- > share·s+ of the query's best positive, where that is above zero. (The lowest of
    several captions is often below most negatives.)
    Reference: the positive-aware rule of Moreira et al., NV-Retriever, 2024, https://arxiv.org/abs/2407.15831
    """
    best = highest(pairs.scores, pairs.positives)[:, None]
    return (pairs.scores > share * best) & (best > 0)


@SELECTORS.register
def posterior(
    pairs: Pairs,
    *,
    threshold: Annotated[float, Range(0, 1)] = 0.5,
    prior: Annotated[float, Range(0.0001, 0.9)] = PRIOR,
) -> Tensor:
    """The candidate's score looks like a positive's more than like a hardest negative's.

    Looks at scores: the posterior of being a match, from normal densities of positives and of hardest negatives,
    is at least `threshold`; `prior` is the share of matches among them. The densities are those that training
    has met so far (`moments`), else those of these pairs.
    Reference: Li et al., Your Negative May not Be True Negative: Boosting Image-Text Matching with False
        Negative Elimination, ACM MM 2023, https://arxiv.org/abs/2308.04380
    Deviation: the running statistics forget exponentially instead of starting anew with every epoch; the authors'
        code samples negatives by the posterior, here it selects. The code takes a prior of 0.0001, as of any pair, and a
        threshold of 0.001; the prior here is of hardest negatives, half of which are matches on the embedded data.
    """
    return match_posterior(pairs, prior) >= threshold


@SELECTORS.register
@needs("peer_scores")
def agreement(
    pairs: Pairs,
    *,
    runs: str = "",
    share: Annotated[float, Range(0.5, 1.2)] = 1.0,
    votes: Annotated[float, Range(0, 1)] = 0.75,
) -> Tensor:
    """Most of several trained models score the candidate as high as the annotated match.

    Looks at the scores of other models only: a model votes where s- ≥ share·s+ of the query's best positive;
    suspected where at least the share `votes` of them do. `runs` are the folders of the models, separated by commas
    (the app takes the runs that it shows). Needs `peer_scores`.
    Reference: ours, after the model combination of Galanopoulos & Mezaris, ICCVW 2021.
    """
    peers = pairs.evidence("peer_scores")
    best = highest(peers, pairs.positives)[:, :, None]
    voted = (peers >= share * best) & (best > 0)
    return voted.float().mean(0) >= max(votes, 0.5 / len(peers))  # nobody's vote is never enough


@SELECTORS.register
@needs("peer_scores")
def guided(
    pairs: Pairs,
    *,
    runs: str = "",
    margin: Annotated[float, Range(0, 1)] = 0.05,
    rule: Literal["absolute", "relative"] = "absolute",
) -> Tensor:
    """A guide, another model, scores the candidate nearly as high as the annotated match, or higher.

    Looks at the guide's scores g only: g- > g+ - margin, or g- > g+·(1 - margin) where `rule` is relative, with the
    query's best positive. `runs` are the folders of guides, separated by commas, whose mean is asked (the app takes
    the runs that it shows). Needs `peer_scores`.
    Relations: with one run, rule relative, and a positive match, `agreement` with share 1 - margin.
    Reference: Solatorio, GISTEmbed: Guided In-sample Selection of Training Negatives, 2024,
        https://arxiv.org/abs/2402.16829; the margins are those of sentence-transformers' `GISTEmbedLoss`.
    Deviation: only pairs of a query and a candidate are looked at, not two queries or two candidates.
    """
    guide = pairs.evidence("peer_scores").mean(0)
    best = highest(guide, pairs.positives)[:, None]
    above = best - margin if rule == "absolute" else best * (1 - margin)
    return (guide > above) & best.isfinite()


@SELECTORS.register
def uninformative(pairs: Pairs, *, margin: Annotated[float, Range(-1, 2)] = 0.2) -> Tensor:
    """The candidate already stands a margin below the positive: not suspect, but not worth a weight.

    Looks at scores: s- ≤ s+ - margin, with the query's lowest positive. What stays are the informative
    pairs of the polynomial losses' mining, for any loss.
    Reference: Wei et al., Universal Weighting Metric Learning for Cross-Modal Matching, CVPR 2020,
        https://arxiv.org/abs/2010.03403
    """
    return pairs.scores + margin <= lowest(pairs.scores, pairs.positives)[:, None]


def named_runs(params: dict[str, Any]) -> list[str]:
    """The folders in the parameter `runs` of a selector or a loss, "a,b" as a list; none where it has no such parameter."""
    return [folder.strip() for folder in params.get("runs", "").split(",") if folder.strip()]


def match_posterior(pairs: Pairs, prior: float = PRIOR) -> Tensor:
    """Probability (Q, G) that a pair is a match, from its score: two normal densities, fitted to the positives and
    to the hardest negatives of queries that rank a positive first. `moments` prevail over these pairs' own. Zero
    where there are fewer than two of either."""
    scores = pairs.scores.detach()
    moments = pairs.moments or score_moments(pairs)
    if moments is None:
        return torch.zeros_like(scores)
    own, own_spread, hardest, hardest_spread = moments

    def log_density(mean: float, spread: float) -> Tensor:
        return -(((scores - mean) / spread) ** 2) / 2 - math.log(spread)

    odds = log_density(own, own_spread) - log_density(hardest, hardest_spread) + math.log(prior / (1 - prior))
    # A normal with the wider spread wins in both tails; a score below the negatives' mean is no match.
    return torch.where(scores > hardest, odds.sigmoid(), 0.0)


def score_moments(pairs: Pairs) -> tuple[float, float, float, float] | None:
    """Mean and deviation of the best positives, then of the hardest negatives, over the queries that rank a
    positive first; None where there are fewer than two."""
    scores = pairs.scores.detach()
    hardest = highest(scores, pairs.negatives)
    best = highest(scores, pairs.positives)
    clear = (best > hardest) & hardest.isfinite()
    if int(clear.sum()) < 2:
        return None
    parts = [(part.mean().item(), max(part.std().item(), 1e-4)) for part in (best[clear], hardest[clear])]
    return (*parts[0], *parts[1])


def blended(
    held: Sequence[float] | None, found: tuple[float, ...] | None
) -> tuple[float, float, float, float] | None:
    """The running moments `held`, after those of a batch."""
    if held is None or found is None:
        return found if held is None else tuple(held)
    return tuple(MEMORY * a + (1 - MEMORY) * b for a, b in zip(held, found, strict=True))


def caption_evidence(pairs: Pairs, source: str = "text_scores") -> Tensor:
    """How near a pair is by its captions alone, (Q, G): the largest similarity, by the evidence `source`, between the
    text of the pair and a text annotated to the visual of the pair; -inf where the visual has none."""
    within = pairs.evidence(source).detach()
    return _nearest_own(pairs, within, pairs.direction == "v2t")


def visual_evidence(pairs: Pairs) -> Tensor:
    """The same by visuals alone, (Q, G): the largest similarity between the visual of the pair and a visual to
    which the text of the pair is annotated; -inf where there is none."""
    within = pairs.evidence("visual_scores").detach()
    return _nearest_own(pairs, within, pairs.direction == "t2v")


def _nearest_own(pairs: Pairs, within: Tensor, of_queries: bool) -> Tensor:
    """For every query r and item c, the largest within[p, c] over the query's positives p, (Q, G); or, not `of_queries`,
    the largest within[p, r] over the item's positives p."""
    if not of_queries:
        return _nearest_own(pairs.transpose(), within, True).T
    positives, count = pairs.positives, pairs.most_positives()
    # Own items of each row as a padded index, so that the maximum needs no (rows, columns, columns) array.
    present, own = positives.int().topk(count, dim=1)
    nearest = torch.full_like(pairs.scores, -torch.inf)
    for k in range(count):
        near = within[own[:, k]].to(nearest)
        nearest = torch.where(present[:, k, None] > 0, torch.maximum(nearest, near), nearest)
    return nearest
