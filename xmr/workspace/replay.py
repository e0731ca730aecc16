"""A training replayed: at each moment of it, the sample that snapshots keep is a workspace of its own.

Runs go in step by epochs, so by how often they have seen the data: at a moment each is as it was at its latest snapshot
until then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import nn

from xmr.checkpoints import Run, RunRefused
from xmr.checkpoints.snapshots import FEWEST, Snapshots
from xmr.core import Direction
from xmr.data import Dataset
from xmr.embedding import Frozen
from xmr.metrics import evaluate_embeddings, evaluate_scores, first_rank, rank_embeddings, rank_scores
from xmr.workspace import Workspace
from xmr.workspace.memory import remembered
from xmr.workspace.parts import Embedder
from xmr.workspace.public import publish

SPLIT = "test"  # whose sample snapshots keep


@dataclass(frozen=True, eq=False, kw_only=True)
class Past(Run):
    """A run as it was at a moment of its training, by what its snapshot tells of the sample: `visual` (V, E), `text` (T, E)
    and, of a pair scorer, `pairs` (V, T). Its loss has the parameters that the training ended with."""

    owner: Run = field(repr=False)
    step: int
    visual: np.ndarray = field(repr=False)
    text: np.ndarray = field(repr=False)
    pairs: np.ndarray | None = field(repr=False)

    @property
    def about(self) -> str:
        return self.owner.about

    @property
    def began_with(self) -> dict[str, Any]:
        return self.owner.began_with

    @property
    def last_loss(self) -> tuple[str, dict[str, Any]]:
        return self.owner.last_loss

    @property
    def scores_pairs(self) -> bool:
        return self.owner.scores_pairs

    @property
    def score_kind(self) -> str:
        return self.owner.score_kind

    @property
    def embed_dim(self) -> int:
        return self.owner.embed_dim

    def embeddings(self) -> tuple[np.ndarray, np.ndarray]:
        return self.visual, self.text

    def scores(self) -> np.ndarray | None:
        return self.pairs

    def matcher(self) -> nn.Module:
        raise ValueError(
            f"the weights of {self.name} at step {self.step:,} were not kept: only items of the sample can ask it"
        )


class _OfSample:
    """Evidence on the sample: that of the whole split, of which it is a part."""

    def __init__(self, embedder: Embedder, data: Dataset, visuals: np.ndarray, texts: np.ndarray):
        self._whole, self._data, self._visuals, self._texts = embedder, data, visuals, texts

    def frozen_features(self, dataset: Dataset, encoder: str) -> Frozen:
        found = self._whole.frozen_features(self._data, encoder)
        text = None if found.text is None else found.text[self._texts]
        return Frozen(found.visual[self._visuals], text, found.encoder, found.encoder_hash)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)


@dataclass
class Moment(Workspace):
    """The sample of the `whole` workspace under runs as they were."""

    whole: Workspace | None = None

    def through(self, runs: Sequence[str]) -> list[Moment]:
        """This and all other moments of these runs, the last of which is of the weights that they have."""
        return [at(self.whole, moment) for moment in moments(self.whole, runs)]

    def content_of_data(self, split: str) -> None:
        """Nothing: what is measured of so few is not worth a file."""
        return None

    def _field_truths(self, split: str) -> tuple[dict[str, Any], str]:
        return {}, ""


def replayable(workspace: Workspace) -> list[str]:
    """Names of the runs that have snapshots which can be read."""
    return [name for name in workspace.runs if _snapshots(workspace, name)[0] is not None]


def no_replay(workspace: Workspace, run: str) -> str:
    """Why a run has none, in words; "" where it has."""
    found, fault = _snapshots(workspace, run)
    return "" if found is not None else fault or "its folder keeps no snapshots of a training"


@remembered
def _snapshots(workspace: Workspace, run: str) -> tuple[Snapshots | None, str]:
    try:
        return workspace.run(run).snapshots(), ""
    except (RunRefused, OSError) as error:
        publish(error)
        return None, str(error)


def sample(workspace: Workspace) -> tuple[np.ndarray, np.ndarray]:
    """Visuals and texts of the test split, ascending, that all runs with snapshots keep; empty where there is no such run."""
    return _sample(workspace, tuple(replayable(workspace)))


@remembered
def _sample(workspace: Workspace, runs: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    kept = [_snapshots(workspace, run)[0] for run in runs]
    visuals, texts = (np.empty(0, np.int64),) * 2
    for place, one in enumerate(kept):
        visuals = np.intersect1d(visuals, one.visuals) if place else one.visuals
        texts = np.intersect1d(texts, one.texts) if place else one.texts
    owners = workspace.dataset(SPLIT).visual_of_text
    texts = texts[np.isin(owners[texts], visuals)]
    return (visuals, texts) if min(len(visuals), len(texts)) >= FEWEST else (visuals[:0], texts[:0])


def moments(workspace: Workspace, runs: Sequence[str]) -> list[str]:
    """The moments at which any of these runs has a snapshot, in epochs, ascending, as an address holds them; none where they
    share no sample."""
    known = [run for run in runs if run in replayable(workspace)]
    if not known or not len(sample(workspace)[0]):
        return []
    return sorted({_key(epoch) for run in known for epoch in epochs(workspace, run)}, key=float)


@remembered
def epochs(workspace: Workspace, run: str) -> np.ndarray:
    """When each of the run's snapshots was taken, (M,), in epochs; in trainings to the kept weights where no history tells."""
    steps = _snapshots(workspace, run)[0].steps
    line = next((one for one in workspace.run(run).history if one.get("step", 0) > 0 < one["epoch"]), None)
    return steps / (line["step"] / line["epoch"] if line else steps[-1])


def steps_of(workspace: Workspace, run: str) -> np.ndarray:
    """After how many steps each of the run's snapshots was taken, (M,)."""
    return _snapshots(workspace, run)[0].steps


def place_of(workspace: Workspace, run: str, moment: str) -> int:
    """The place of the run's latest snapshot until then."""
    taken = [float(_key(epoch)) <= float(moment) for epoch in epochs(workspace, run)]
    return max(sum(taken), 1) - 1


def step_of(workspace: Workspace, run: str, moment: str) -> int:
    """The steps that the run had done by its latest snapshot until then."""
    return int(_snapshots(workspace, run)[0].steps[place_of(workspace, run, moment)])


def _key(epoch: float) -> str:
    return f"{epoch:.4g}"


def at(workspace: Workspace, moment: str) -> Moment:
    """The sample at one of the `moments` of any run."""
    return _at(workspace, moment, tuple(replayable(workspace)))


@remembered
def _at(workspace: Workspace, moment: str, names: tuple[str, ...]) -> Moment:
    visuals, texts = _sample(workspace, names)
    whole = workspace.dataset(SPLIT)
    data = whole.some(visuals, texts)
    runs = {name: _past(workspace, name, place_of(workspace, name, moment), data) for name in names}
    return Moment(
        runs,
        workspace.source,
        load=lambda split: data,
        embedder=_OfSample(workspace.embedder, whole, visuals, texts),
        checkpoints=workspace.checkpoints,
        whole=workspace,
    )


def _past(workspace: Workspace, name: str, place: int, data: Dataset) -> Past:
    owner, found = workspace.run(name), _snapshots(workspace, name)[0]
    visual, text, pairs = _of_sample(workspace, found, place)
    groups = data.visual_group, data.text_group
    if pairs is None:
        metrics = evaluate_embeddings(visual, text, *groups, classes=data.classes)
    else:
        metrics = evaluate_scores(pairs, *groups, classes=data.classes)
    return Past(
        name=name,
        path=owner.path,
        config=owner.config,
        dataset=owner.dataset,
        encoder=owner.encoder,
        metrics={SPLIT: metrics},
        training={},
        loss_values=owner.loss_values,
        vocabulary=owner.vocabulary,
        owner=owner,
        step=int(found.steps[place]),
        visual=visual,
        text=text,
        pairs=pairs,
    )


def _of_sample(
    workspace: Workspace, found: Snapshots, place: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """What a snapshot tells of the sample that all runs share."""
    visuals, texts = sample(workspace)
    rows, columns = np.searchsorted(found.visuals, visuals), np.searchsorted(found.texts, texts)
    pairs = None if found.scores is None else found.scores[place][np.ix_(rows, columns)]
    return found.visual[place][rows], found.text[place][columns], pairs


def ranks_through(workspace: Workspace, run: str, direction: Direction) -> np.ndarray:
    """Rank of each query's best annotated match among the sample at each of the run's snapshots, (M, Q) float64: queries are
    those of `sample`. Ties count against it."""
    return _ranks_through(workspace, run, direction, tuple(replayable(workspace)))


@remembered
def _ranks_through(
    workspace: Workspace, run: str, direction: Direction, names: tuple[str, ...]
) -> np.ndarray:
    data, found = workspace.dataset(SPLIT).some(*_sample(workspace, names)), _snapshots(workspace, run)[0]
    rows = []
    for place in range(len(found.steps)):
        visual, text, pairs = _of_sample(workspace, found, place)
        groups = data.visual_group, data.text_group
        both = rank_embeddings(visual, text, *groups) if pairs is None else rank_scores(pairs, *groups)
        rows.append(first_rank(both[0 if direction == "v2t" else 1]))
    return np.stack(rows)
