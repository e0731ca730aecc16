"""What is measured of a run, computed once per workspace: plain data for the tabs and for reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from xmr.analysis import (
    HardNegatives,
    Relevance,
    Retrieval,
    ScoreSamples,
    ThresholdCurve,
    TypicalQuery,
    WeightCurve,
    batch_weights,
    hard_negatives_by_weight,
    nearest_own_caption,
    of_queries,
    sample_batch,
    score_samples,
    suspected_by_threshold,
    suspected_pairs,
    threshold_curve,
    threshold_of,
    typical_negatives,
    typical_query,
    weight_curve,
    weights_of_query,
)
from xmr.core import Direction, PairWeights
from xmr.data.dataset import called
from xmr.evidence import CaptionSimilarity, Evidence
from xmr.losses import LOSSES
from xmr.metrics import headline
from xmr.registry import Entry
from xmr.selection import DEFAULT, SELECTORS
from xmr.training import plateau
from xmr.workspace import Workspace
from xmr.workspace.memory import kept, remembered

PEERS = 5  # other runs that `agreement` asks: each holds a score of every pair in memory


def loss_of_run(workspace: Workspace, run: str) -> str:
    """The loss that the run was trained with. Raises ValueError for a combination, which was not."""
    owner = workspace.run(run)
    if not owner.has_loss:
        raise ValueError(
            f"{run} is a combination of runs: it has no loss of its own, so its pairs have no weights."
        )
    return owner.last_loss[0]


def effective(workspace: Workspace, run: str) -> dict[str, Any]:
    """The parameters of the run's loss as they ended: given, learned, or at their defaults. As `loss_of_run`."""
    loss_of_run(workspace, run)
    loss, values = workspace.run(run).last_loss
    return LOSSES[loss].filled(values)


def seen(workspace: Workspace, run: str, split: str, direction: Direction, apart: str = "") -> Retrieval:
    """The split as the run sees it; `apart` as of `sources`."""
    data = workspace.dataset(split)
    known = sources(workspace, split, apart)
    return Retrieval(*workspace.sides(run, split), data.visual_group, data.text_group, direction, known)


def relevance(workspace: Workspace, split: str, direction: Direction) -> Relevance | None:
    """Truth as queries by gallery; None where the dataset knows none."""
    if workspace.dataset(split).truth is None:
        return None
    return lambda queries, gallery: workspace.truth(split, direction, queries, gallery)


@kept
def samples(workspace: Workspace, run: str, split: str, direction: Direction) -> ScoreSamples:
    """The run's scores of matches and of three kinds of other pairs."""
    of = seen(workspace, run, split, direction)
    queries, gallery, own, others = of.queries, of.gallery, of.query_group, of.gallery_group
    truth, asked = relevance(workspace, split, direction), workspace.sample(split, direction)
    if asked is None:
        return score_samples(queries, gallery, own, others, truth)
    of_asked = None if truth is None else lambda rows, columns: truth(asked[rows], columns)
    return of_queries(
        score_samples(queries[asked], gallery, own[asked], others, of_asked), asked, len(queries)
    )


def sample_words(workspace: Workspace, split: str, direction: Direction) -> str:
    """That only some queries of a large split are looked at; "" where all are."""
    asked = workspace.sample(split, direction)
    if asked is None:
        return ""
    data = workspace.dataset(split)
    count = len(data.captions if direction == "t2v" else data.visual_ids)
    return f"Looked at: {len(asked):,} of the {count:,} queries, drawn by a seed."


def plateau_words(workspace: Workspace, runs: Sequence[str]) -> str:
    """Which of the runs have learned nothing or stand still, and what helps; "" where all have learned."""

    told = {name: _plateau(workspace, name) for name in runs}
    return " ".join(f"{name}: {words}" for name, words in told.items() if words)


@remembered
def _plateau(workspace: Workspace, run: str) -> str:
    return plateau(workspace.run(run))


def hard_negatives(workspace: Workspace, run: str, split: str, direction: Direction) -> HardNegatives:
    """The 2,000 negatives of the split (of a large one: of its sample) that the run's loss pushes hardest."""
    others = _peers_of(workspace, run, LOSSES[loss_of_run(workspace, run)])
    return _hard_negatives(workspace, run, split, direction, others)


@kept
def _hard_negatives(
    workspace: Workspace, run: str, split: str, direction: Direction, peers: tuple[str, ...]
) -> HardNegatives:
    return hard_negatives_by_weight(
        seen(workspace, run, split, direction, run if peers else ""),
        loss_of_run(workspace, run),
        effective(workspace, run),
        relevance(workspace, split, direction),
        asked=workspace.sample(split, direction),
    )


def weight_of_pair(
    workspace: Workspace, run: str, split: str, direction: Direction, query: int, item: int
) -> float:
    """The weight of one pair in the run's loss of that query against the whole gallery. Raises ValueError for a run
    without a loss and where the loss lacks evidence."""
    loss, hyper = loss_of_run(workspace, run), effective(workspace, run)
    asked = seen(workspace, run, split, direction, run if asks_peers(LOSSES[loss]) else "")
    return float(weights_of_query(asked, loss, hyper, query, np.array([item]))[0])


def visual_and_text(found: HardNegatives, direction: Direction) -> tuple[np.ndarray, np.ndarray]:
    """The two sides of each pair, whichever of them asked."""
    return (found.query, found.candidate) if direction == "v2t" else (found.candidate, found.query)


@kept
def evidence(
    workspace: Workspace, run: str, split: str, direction: Direction
) -> tuple[np.ndarray, np.ndarray]:
    """Of each hard negative: the nearest caption that was written for its visual, and how near."""
    data = workspace.dataset(split)
    visuals, texts = visual_and_text(hard_negatives(workspace, run, split, direction), direction)
    return nearest_own_caption(visuals, texts, data.visual_group, data.text_group, captions(workspace, split))


def suspects(
    workspace: Workspace, run: str, split: str, direction: Direction, selector: str, params: Mapping[str, Any]
) -> np.ndarray:
    """Which hard negatives of the run the selector suspects, (P,) bool; remembered at the selector's defaults.

    Raises ValueError where the selector can't judge.
    """
    if dict(params) != SELECTORS[selector].defaults:
        return suspected_pairs(selector, params, *_asked(workspace, run, split, direction, selector))
    others = _peers_of(workspace, run, SELECTORS[selector])
    return _usual_suspects(workspace, run, split, direction, selector, others)


@kept
def _usual_suspects(
    workspace: Workspace, run: str, split: str, direction: Direction, selector: str, peers: tuple[str, ...]
) -> np.ndarray:
    asked = _asked(workspace, run, split, direction, selector)
    return suspected_pairs(selector, SELECTORS[selector].defaults, *asked)


def suspects_curve(
    workspace: Workspace, run: str, split: str, direction: Direction, selector: str, params: Mapping[str, Any]
) -> ThresholdCurve:
    """Precision and recall among the run's hard negatives as the selector's threshold moves, its other parameters
    held; remembered where those are at their defaults. Raises as `suspects`, and without a threshold."""
    threshold = threshold_of(selector)
    defaults = SELECTORS[selector].defaults
    if threshold is None or dict(params) | {threshold.name: defaults[threshold.name]} != defaults:
        return _suspects_curve(workspace, run, split, direction, selector, params)
    others = _peers_of(workspace, run, SELECTORS[selector])
    return _usual_curve(workspace, run, split, direction, selector, others)


@kept
def _usual_curve(
    workspace: Workspace, run: str, split: str, direction: Direction, selector: str, peers: tuple[str, ...]
) -> ThresholdCurve:
    return _suspects_curve(workspace, run, split, direction, selector, SELECTORS[selector].defaults)


def _suspects_curve(
    workspace: Workspace, run: str, split: str, direction: Direction, selector: str, params: Mapping[str, Any]
) -> ThresholdCurve:
    def ask(values: Sequence[float]) -> np.ndarray:
        asked = _asked(workspace, run, split, direction, selector)
        return suspected_by_threshold(selector, params, values, *asked)

    return threshold_curve(selector, hard_negatives(workspace, run, split, direction).truth, ask)


def _peers_of(workspace: Workspace, run: str, asking: Entry) -> tuple[str, ...]:
    return tuple(peers(workspace, run)) if asks_peers(asking) else ()


def _asked(
    workspace: Workspace, run: str, split: str, direction: Direction, selector: str
) -> tuple[np.ndarray, np.ndarray, Retrieval]:
    """The visuals and texts of the run's hard negatives, and all that a selector may look at."""
    both = visual_and_text(hard_negatives(workspace, run, split, direction), direction)
    return *both, seen(workspace, run, split, direction, run if asks_peers(SELECTORS[selector]) else "")


def asks_peers(*asking: Entry) -> bool:
    """Whether one of these selectors and losses looks at the scores of other runs."""
    return any("peer_scores" in entry.needs for entry in asking)


def peers(workspace: Workspace, run: str) -> list[str]:
    """The other runs that are asked about a run's pairs: the `PEERS` best on validation."""

    def score(name: str) -> float:
        metrics = workspace.run(name).metrics.get("validation", {})
        return headline(metrics)[1] if "rsum" in metrics else 0.0

    others = [name for name in workspace.trained if name != run and not workspace.run(name).scores_pairs]
    return sorted(others, key=score, reverse=True)[:PEERS]


def captions(workspace: Workspace, split: str) -> CaptionSimilarity:
    """How near the split's captions are to each other, without any run."""
    return sources(workspace, split).similarity


def sources(workspace: Workspace, split: str, apart: str = "") -> Evidence:
    """The evidence on the split's items that selectors and losses may ask for; with `apart`, also what the `peers`
    of that run say."""
    evidence = _sources(workspace, split)
    if not apart:
        return evidence
    return replace(evidence, peers=[workspace.embeddings(name, split) for name in peers(workspace, apart)])


@remembered
def _sources(workspace: Workspace, split: str) -> Evidence:
    data = workspace.dataset(split)

    def features() -> tuple[np.ndarray | None, np.ndarray | None]:
        encoder = workspace.any_encoder["name"]
        if data.kept_features is not None and called(encoder) not in data.kept_features:
            return None, None  # captions are compared by their words
        frozen = workspace.embedder.frozen_features(data, encoder)
        return frozen.visual, frozen.text

    return Evidence(data.captions, features)


def batch(
    workspace: Workspace,
    run: str,
    split: str,
    loss: str,
    hyper: Mapping[str, Any],
    seed: int,
    size: int,
    pair: tuple[int, int] | None = None,
) -> tuple[PairWeights, np.ndarray, np.ndarray]:
    """The weights of one batch of the run's pairs in that loss, and the batch's visuals and texts; `pair` as in
    `sample_batch`.

    Suspects are marked by the run's own selector, which also takes them out as in training, else by the default
    selector, which only marks.
    """
    data, config = workspace.dataset(split), workspace.run(run).config
    visuals, texts = sample_batch(data.visual_of_text, size, seed, pair)
    visual, text = workspace.sides(run, split)
    own = config.selector in SELECTORS
    selector = config.selector if own else DEFAULT
    pairs = batch_weights(
        visual[visuals],
        text[texts],
        data.visual_group[visuals],
        data.text_group[texts],
        loss,
        hyper,
        evidence=sources(workspace, split, run if asks_peers(SELECTORS[selector], LOSSES[loss]) else ""),
        items=(visuals, texts),
        selector=selector,
        selector_params=config.selector_params if own else {},
        suspects=config.suspects if own else "",
    )
    return pairs, visuals, texts


@kept
def typical(workspace: Workspace, run: str, split: str) -> TypicalQuery:
    """The typical query of a batch of the run, as its loss sees it in training: of 64 pairs, drawn by a seed.

    Raises ValueError for a run without a loss, and as `batch`.
    """
    loss, hyper = loss_of_run(workspace, run), effective(workspace, run)
    pairs, _, _ = batch(workspace, run, split, loss, hyper, seed=0, size=64)
    return typical_query(pairs.scores, pairs.positives, pairs.negatives)


OTHERS = 31  # negatives of a curve's query besides the one that moves


@kept
def typical_curve(workspace: Workspace, run: str, split: str, own: bool = False) -> WeightCurve:
    """What the run's loss, as trained, does to a negative and to the positive of its own typical query, over the scores of
    `TypicalQuery.grid`. Raises as `typical`."""
    query = typical(workspace, run, split)
    return weight_curve(
        loss_of_run(workspace, run),
        effective(workspace, run),
        positive=query.positive,
        others=typical_negatives(OTHERS, query.hardest, query.spread),
        scores=query.grid(own),
    )


def truth_of(workspace: Workspace, split: str, visual: int, text: int) -> float | None:
    """Real relevance of one pair; None where it isn't known."""
    known = workspace.known_pairs(split, np.array([visual]), np.array([text]))
    return None if known is None or np.isnan(known[0, 0]) else float(known[0, 0])
