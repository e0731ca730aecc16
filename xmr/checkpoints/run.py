"""What every run offers, of whatever kind; what differs between kinds is a property to ask, never the type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from xmr.checkpoints.files import RunRefused
from xmr.checkpoints.snapshots import Snapshots
from xmr.core import TrainConfig
from xmr.matchers import Vocabulary


@dataclass(frozen=True)
class Member:
    """One run of a combination: `weight` of its scores (all sum to 1), and the `group` it was combined in first.

    Raises RunRefused where the weight is no number above 0 and at most 1.
    """

    run: Run
    weight: float
    group: str

    def __post_init__(self) -> None:
        number = isinstance(self.weight, int | float) and not isinstance(self.weight, bool)
        if not number or not 0 < self.weight <= 1:  # NaN fails too
            raise RunRefused(
                f"the weight of {self.run.name} is {self.weight!r:.20}, not a number above 0 and at most 1"
            )


@dataclass(frozen=True, eq=False, kw_only=True)
class Run:
    """Anything that gives scores, read from its folder `path`.

    `config` is what it was trained with; its `loss` and `matcher` are "" where there was none. `dataset` has name,
    fingerprints {split: str} and sizes {split: {"visuals", "texts"}}; `encoder` has name ("" for features from a
    file), hash, visual_dim and text_dim; `metrics` {"validation": {…}, "test": {…}}; `training` what happened: epochs,
    best epoch, seconds, command, versions, and where it diverged if it did. `loss_values` are all hyper-parameters of the
    loss, learned ones as learned; `history` has one dict per epoch: epoch, step, loss, lr, seconds and the
    validation metrics. `members` are the runs of a combination.
    """

    name: str
    path: Path
    config: TrainConfig
    dataset: dict[str, Any]
    encoder: dict[str, Any]
    metrics: dict[str, dict[str, float]]
    training: dict[str, Any]
    loss_values: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list, repr=False)
    vocabulary: Vocabulary | None = field(default=None, repr=False)
    members: tuple[Member, ...] = ()

    @property
    def about(self) -> str:
        """What makes its scores, in a few words."""
        return self.config.matcher

    @property
    def began_with(self) -> dict[str, Any]:
        """Name and hash of the encoder as it came: that whose features a matcher reads, or whose towers were trained on."""
        return self.encoder

    @property
    def untrained(self) -> bool:
        """Whether it is a model as it came, so that nothing tells how it was trained."""
        return False

    @property
    def has_loss(self) -> bool:
        """Whether there is a loss whose parameters, weights and hardest negatives it has: that of its training, or one that a
        model is looked at as if trained with."""
        return bool(self.config.loss)

    @property
    def last_loss(self) -> tuple[str, dict[str, Any]]:
        """The loss that the scores were trained with at the end ("" for none), and its hyper-parameters."""
        return self.config.loss, self.config.loss_params | self.loss_values

    @property
    def scores_pairs(self) -> bool:
        """Whether only its matcher can score a pair, so that the embeddings are those of a first stage; else a score is
        the inner product of two embeddings, each made without the other."""
        return False

    @property
    def score_kind(self) -> str:
        """What a score is, in a word or two: "cosine", "log-odds"."""
        return "cosine"

    @property
    def embed_dim(self) -> int:
        raise NotImplementedError

    @property
    def each(self) -> tuple[Run, ...]:
        """The trainings that it stands for, by seed: itself, unless it is one setting under several seeds."""
        return (self,)

    @property
    def middle(self) -> Run:
        """The training that is asked where only one can be: itself, or of several seeds the middle one by validation."""
        return self

    @property
    def parts(self) -> tuple[Run, ...]:
        """The runs that embed what is asked, each with its `matcher`: itself, or its members."""
        return tuple(member.run for member in self.members) or (self,)

    def joined(self, embeddings: Sequence[np.ndarray]) -> np.ndarray:
        """Unit embeddings (N, E) of those of its `parts`, in their order."""
        (own,) = embeddings
        return own

    def embeddings(self) -> tuple[np.ndarray, np.ndarray]:
        """Unit embeddings of the test split: visual (N_v, E), text (N_t, E), float32 from half precision."""
        raise NotImplementedError

    def scores(self) -> np.ndarray | None:
        """What a pair scorer says of the test split, (N_v, N_t) float32 from half precision; None where embeddings say
        all, or there were too many pairs to keep."""
        return None

    def snapshots(self) -> Snapshots | None:
        """Where a sample of the test split lay through training; None where nothing was kept. Raises RunRefused where the file
        can't be read, by which a run is no worse."""
        return None

    def matcher(self) -> nn.Module:
        """The matcher in evaluation mode; one per run, not to be changed. A combination has none: ask its `parts`."""
        raise NotImplementedError
