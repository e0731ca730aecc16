"""The types that carry xmr, validated where they are made.

Shape letters, everywhere: B batch, Q queries, G gallery, D dimension, T tokens or frames, K cut-off.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from xmr.registry import unknown

Direction = Literal["v2t", "t2v"]
DIRECTIONS: tuple[Direction, Direction] = ("v2t", "t2v")


@dataclass(frozen=True)
class Pairs:
    """Scores of queries against a gallery, and which pairs are positive or negative; the rest is ignored.

    scores (Q, G) float; positives, negatives (Q, G) bool and disjoint. `direction` says which side asks: rows
    are visuals in "v2t" and texts in "t2v".

    The rest is evidence that only few losses and selectors look at, and that declare it (`xmr.registry.needs`).
    Similarities within a modality, V visuals and T texts: `visual_scores` (V, V) and `text_scores` (T, T) of frozen
    features, `word_scores` (T, T) of the captions' words, `visual_within` (V, V) and `text_within` (T, T) of the
    embeddings that `scores` are made of. `peer_scores` (K, Q, G): the same pairs scored by K other models.
    `moments`: mean and deviation of positives, then of hardest negatives, as training has met them.
    `text_keys` (T,) int: equal for captions that read alike (`xmr.captions.text_key`).
    Raises ValueError where shapes or types don't fit, or a pair is both positive and negative.
    """

    scores: Tensor
    positives: Tensor
    negatives: Tensor
    visual_scores: Tensor | None = None
    text_scores: Tensor | None = None
    direction: Direction = "v2t"
    word_scores: Tensor | None = None
    visual_within: Tensor | None = None
    text_within: Tensor | None = None
    peer_scores: Tensor | None = None
    moments: tuple[float, float, float, float] | None = None
    text_keys: Tensor | None = None

    @classmethod
    def of(
        cls,
        scores: Tensor,
        positives: Tensor | None = None,
        negatives: Tensor | None = None,
        visual_scores: Tensor | None = None,
        text_scores: Tensor | None = None,
        **evidence: Any,
    ) -> Pairs:
        """Pairs with the usual defaults: the diagonal is positive, all that is not positive is negative."""
        if scores.ndim != 2 or not scores.is_floating_point():
            raise ValueError(
                f"scores must be a (Q, G) float tensor, found {tuple(scores.shape)} {scores.dtype}"
            )
        if positives is None:
            if scores.shape[0] != scores.shape[1]:
                raise ValueError(
                    "without positives the diagonal is positive, so scores must be square, "
                    f"found {tuple(scores.shape)}"
                )
            positives = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
        if negatives is None:
            negatives = positives.logical_not()
        return cls(scores, positives, negatives, visual_scores, text_scores, **evidence)

    def __post_init__(self) -> None:
        shape = tuple(self.scores.shape)
        for name in ("positives", "negatives"):
            mask = getattr(self, name)
            if tuple(mask.shape) != shape or mask.dtype != torch.bool:
                raise ValueError(
                    f"{name} must be bool of the scores' shape {shape}, "
                    f"found {tuple(mask.shape)} {mask.dtype}"
                )
        if bool((self.positives & self.negatives).any()):
            raise ValueError("a pair can't be both positive and negative")
        visuals, texts = shape if self.direction == "v2t" else shape[::-1]
        sizes = {"visual_scores": visuals, "text_scores": texts, "word_scores": texts}
        sizes |= {"visual_within": visuals, "text_within": texts}
        for name, size in sizes.items():
            within = getattr(self, name)
            if within is not None and tuple(within.shape) != (size, size):
                raise ValueError(f"{name} must be {(size, size)}, found {tuple(within.shape)}")
        if self.text_keys is not None and tuple(self.text_keys.shape) != (texts,):
            raise ValueError(f"text_keys must be {(texts,)}, found {tuple(self.text_keys.shape)}")
        if self.peer_scores is not None and tuple(self.peer_scores.shape[1:]) != shape:
            raise ValueError(f"peer_scores must be (K, {shape}), found {tuple(self.peer_scores.shape)}")

    def transpose(self) -> Pairs:
        """The same pairs asked in the other direction."""
        return replace(
            self,
            scores=self.scores.T,
            positives=self.positives.T,
            negatives=self.negatives.T,
            direction="t2v" if self.direction == "v2t" else "v2t",
            peer_scores=None if self.peer_scores is None else self.peer_scores.transpose(1, 2),
        )

    def evidence(self, name: str) -> Any:
        """The evidence of that name. Raises ValueError, saying what it is, where these pairs have none."""
        found = getattr(self, name)
        if found is None:
            raise ValueError(f"this needs {EVIDENCE[name]} ({name}); these pairs have none")
        return found


# What the optional parts of `Pairs` are, in words.
EVIDENCE = {
    "visual_scores": "the similarities between visuals",
    "text_scores": "the similarities between captions",
    "word_scores": "the words that captions share",
    "visual_within": "the scores of the model's visual embeddings among themselves",
    "text_within": "the scores of the model's text embeddings among themselves",
    "peer_scores": "the scores of other models",
    "text_keys": "which captions read alike",
}


@dataclass(frozen=True)
class PairWeights:
    """What one batch's loss does to its pairs: all (Q, G). `weights` is d loss / d scores, the loss being the mean over all
    queries of both directions; `asked_by_visual` and `asked_by_text` are the weights in the loss of the row's own query
    and of the column's, of which it is the mean."""

    scores: np.ndarray
    weights: np.ndarray
    positives: np.ndarray
    negatives: np.ndarray
    suspected: np.ndarray
    asked_by_visual: np.ndarray | None = None
    asked_by_text: np.ndarray | None = None

    def __post_init__(self) -> None:
        known = {f.name: getattr(self, f.name) for f in fields(self)}
        shapes = {name: part.shape for name, part in known.items() if part is not None}
        if len(set(shapes.values())) != 1:
            raise ValueError(f"all parts need one shape, found {shapes}")


@dataclass(frozen=True)
class Ranking:
    """Where each query's positives stand, which is all that a retrieval metric needs.

    ranks (P,) int64, 1-based, ascending within each query; offsets (Q + 1,) int64: query q owns
    `ranks[offsets[q]:offsets[q + 1]]`. `gallery` is the number of items ranked. Ties and NaN count against the
    query: an item that is not positive and scores the same stands before.
    """

    ranks: np.ndarray
    offsets: np.ndarray
    gallery: int

    def __post_init__(self) -> None:
        if self.offsets[0] != 0 or self.offsets[-1] != len(self.ranks) or (np.diff(self.offsets) < 0).any():
            raise ValueError("offsets must rise from 0 to the number of ranks")
        if len(self.ranks) and not (self.ranks.min() >= 1 and self.ranks.max() <= self.gallery):
            raise ValueError(f"ranks must lie in 1 … {self.gallery}")
        within = np.ones(max(len(self.ranks) - 1, 0), dtype=bool)
        starts = self.offsets[1:-1]
        within[starts[(starts > 0) & (starts < len(self.ranks))] - 1] = False
        if (np.diff(self.ranks)[within] <= 0).any():
            raise ValueError("ranks must ascend within each query")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def positives(self) -> np.ndarray:
        """Number of positives of each query, (Q,)."""
        return np.diff(self.offsets)


# What training can make of pairs that people confirmed to match.
VERDICTS_AS = {
    "positive": "a confirmed pair is a positive",
    "ignore": "a confirmed pair is no negative",
}


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a run: strings and numbers only, so that it is the JSON in the checkpoint."""

    dataset: str = "blocks"
    encoder: str = ""  # "" means the dataset's own features, or the encoder it ships with
    matcher: str = "linear"
    matcher_params: dict[str, Any] = field(default_factory=dict)
    loss: str = "max_of_hinges"
    loss_params: dict[str, Any] = field(default_factory=dict)
    selector: str = ""
    selector_params: dict[str, Any] = field(default_factory=dict)
    suspects: str = "ignore"  # what becomes of suspected negatives, see `xmr.selection.ACTIONS`
    verdicts: str = ""  # file of what people say of pairs, see `xmr.store`
    verdicts_as: str = "positive"  # what becomes of pairs that they confirm, see `VERDICTS_AS`
    first_loss: str = ""  # trained with for the first epochs, at its defaults
    first_epochs: int = 0
    dataset_params: dict[str, Any] = field(default_factory=dict)
    train_visuals: int = 0  # of the training split that are learned from, chosen by seed; 0 means all
    epochs: int = 15
    batch_size: int = 128
    micro_batch: int = (
        0  # pairs that the matcher embeds at once, by gradient caching; 0 means the whole batch
    )
    lr: float = 1e-3
    weight_decay: float = 1e-4
    warmup: int = 100  # steps of linearly rising learning rate
    patience: int = 0  # epochs without a better validation rsum after which to stop; 0 never stops
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low in (
            ("epochs", 1),
            ("batch_size", 2),
            ("warmup", 0),
            ("patience", 0),
            ("seed", 0),
            ("first_epochs", 0),
            ("micro_batch", 0),
            ("train_visuals", 0),
        ):
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be at least {low}, found {getattr(self, name)}")
        if self.verdicts_as not in VERDICTS_AS:
            raise ValueError(unknown("use of verdicts", self.verdicts_as, VERDICTS_AS))
        if bool(self.first_loss) != bool(self.first_epochs):
            raise ValueError(
                f"first_loss and first_epochs go together: {self.first_loss!r}, {self.first_epochs}"
            )
        if not self.lr > 0 or not self.weight_decay >= 0:
            raise ValueError(
                f"lr must be positive and weight_decay not negative: {self.lr}, {self.weight_decay}"
            )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> TrainConfig:
        """The inverse of `to_json`. Raises ValueError on a field that there is not."""
        names = [f.name for f in fields(cls)]
        for name in values:
            if name not in names:
                raise ValueError(unknown("field of the training configuration", name, names))
        return cls(**values)


@dataclass(frozen=True)
class Step:
    """One optimiser step, as `train` yields it. `metrics` is there at the end of an epoch only."""

    step: int
    epoch: int
    steps: int  # of the whole run
    loss: float
    lr: float
    metrics: dict[str, float] | None = None
    best: bool = False  # the validation rsum of this epoch is the best so far
