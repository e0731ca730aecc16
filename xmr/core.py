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
    Raises ValueError where shapes or types don't fit. Values of masks are looked at by `of` alone, because that waits
    for the device: make pairs with it, outside of what `torch.compile` compiles.
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
    # The most positives of one query and of one gallery item where counted, see `most_positives`; `replace` forgets it.
    _most: tuple[int, int] | None = field(default=None, init=False, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        scores: Tensor,
        positives: Tensor | None = None,
        negatives: Tensor | None = None,
        visual_scores: Tensor | None = None,
        text_scores: Tensor | None = None,
        *,
        groups: Any = None,
        labels: Any = None,
        **evidence: Any,
    ) -> Pairs:
        """Pairs with the usual defaults: the diagonal is positive, all that is not positive is negative.

        In place of `positives`, the `groups` of the items or their class `labels`, which are the same to a loss: pairs of
        equal number are positive. Integers (B,) for both sides of square scores, or a tuple of (Q,) and (G,).
        Raises ValueError where something does not fit, there are no pairs, or one is both positive and negative.
        """
        _check_tensors(scores=scores, positives=positives, negatives=negatives)
        if scores.ndim != 2 or not scores.is_floating_point():
            raise ValueError(
                f"scores must be a (Q, G) float tensor, found {tuple(scores.shape)} {scores.dtype}"
            )
        if not scores.numel():
            raise ValueError(f"there is nothing to score: {tuple(scores.shape)} has no pairs")
        given = [("positives", positives), ("groups", groups), ("labels", labels)]
        given = [(name, value) for name, value in given if value is not None]
        if len(given) > 1:
            raise ValueError(f"give one of {', '.join(name for name, _ in given)}: each tells the positives")
        if given and positives is None:
            positives = _of_equal(*given[0], scores)
        diagonal = positives is None
        if positives is None:
            if scores.shape[0] != scores.shape[1]:
                raise ValueError(
                    "without positives the diagonal is positive, so scores must be square, "
                    f"found {tuple(scores.shape)}"
                )
            positives = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
        both = negatives is not None
        if negatives is None:
            negatives = positives.logical_not()
        pairs = cls(scores, positives, negatives, visual_scores, text_scores, **evidence)
        if diagonal:
            pairs._remember((1, 1))
        elif not torch.compiler.is_compiling():
            pairs._remember((_most(positives, 1), _most(positives, 0)))
        if both and not torch.compiler.is_compiling() and bool((positives & negatives).any()):
            raise ValueError("a pair can't be both positive and negative")
        return pairs

    def __post_init__(self) -> None:
        _check_tensors(
            **{name: getattr(self, name) for name in ("scores", "positives", "negatives", *EVIDENCE)}
        )
        shape = tuple(self.scores.shape)
        for name in ("positives", "negatives"):
            mask = getattr(self, name)
            if tuple(mask.shape) != shape or mask.dtype != torch.bool:
                raise ValueError(
                    f"{name} must be bool of the scores' shape {shape}, "
                    f"found {tuple(mask.shape)} {mask.dtype}"
                )
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
        turned = replace(
            self,
            scores=self.scores.T,
            positives=self.positives.T,
            negatives=self.negatives.T,
            direction="t2v" if self.direction == "v2t" else "v2t",
            peer_scores=None if self.peer_scores is None else self.peer_scores.transpose(1, 2),
        )
        return turned._remember(None if self._most is None else self._most[::-1])

    def ready(self) -> Pairs:
        """The same pairs as a loss meets them: single precision at least, and no score where a pair is ignored, so that
        whatever stands there, NaN too, has no part in a value or a slope."""
        known = self.positives | self.negatives
        parts = {name: single(getattr(self, name)) for name in EVIDENCE}
        scores = torch.where(known, single(self.scores), 0.0)
        return replace(self, scores=scores, **parts)._remember(self._most)

    def most_positives(self) -> int:
        """The most positives that one query has; counted already where the pairs were made by `of`."""
        return _most(self.positives, 1) if self._most is None else self._most[0]

    def _remember(self, most: tuple[int, int] | None) -> Pairs:
        object.__setattr__(self, "_most", most)
        return self

    def evidence(self, name: str) -> Any:
        """The evidence of that name. Raises ValueError, saying what it is, where these pairs have none."""
        found = getattr(self, name)
        if found is None:
            what, how = EVIDENCE[name]
            raise ValueError(f"this needs {what}, and these pairs have none: give {name}={how}")
        return found


# What the optional parts of `Pairs` are, in words, and how they are made: v and t are the rows of embeddings that the
# scores v @ t.T are made of.
EVIDENCE = {
    "visual_scores": (
        "the similarities between visuals",
        "f @ f.T, f the unit rows of frozen visual features",
    ),
    "text_scores": ("the similarities between captions", "f @ f.T, f the unit rows of frozen text features"),
    "word_scores": ("the words that captions share", "the cosines (T, T) of their vectors of words"),
    "visual_within": ("the scores of the model's visual embeddings among themselves", "v @ v.T"),
    "text_within": ("the scores of the model's text embeddings among themselves", "t @ t.T"),
    "peer_scores": ("the scores of other models", "their scores (K, Q, G), stacked"),
    "text_keys": (
        "which captions read alike",
        "equal whole numbers (T,) for equal `xmr.captions.text_key` of the captions",
    ),
}


def _check_tensors(**parts: Any) -> None:
    for name, part in parts.items():
        if not (isinstance(part, Tensor) or (part is None and name != "scores")):
            raise ValueError(
                f"{name} must be a tensor, found {type(part).__name__}; torch.as_tensor makes one"
            )


def single(values: Any) -> Any:
    """Half precision, of which a loss would lose a tenth at a low temperature, as single; all else as it is."""
    half = isinstance(values, Tensor) and values.dtype in (torch.float16, torch.bfloat16)
    return values.float() if half else values


def highest(scores: Tensor, among: Tensor) -> Tensor:
    """The highest score of each row (…, G) among those of a bool mask, (…); -inf where there is none."""
    return scores.masked_fill(~among, -torch.inf).amax(-1)


def lowest(scores: Tensor, among: Tensor) -> Tensor:
    """The lowest score of each row (…, G) among those of a bool mask, (…); inf where there is none."""
    return scores.masked_fill(~among, torch.inf).amin(-1)


def _most(positives: Tensor, dim: int) -> int:
    return int(positives.sum(dim).max()) if positives.numel() else 0


def _of_equal(name: str, numbers: Any, scores: Tensor) -> Tensor:
    """Which pairs have equal numbers, (Q, G) bool, from one vector for both sides or a pair of them."""
    sides = numbers if isinstance(numbers, tuple) and len(numbers) == 2 else (numbers, numbers)
    try:
        rows, columns = (torch.as_tensor(side, device=scores.device) for side in sides)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} must be integers, found {type(numbers).__name__}: {error}") from error
    for size, side in zip(scores.shape, (rows, columns), strict=True):
        if tuple(side.shape) != (size,) or side.is_floating_point() or side.is_complex():
            raise ValueError(
                f"{name} must be integers, ({scores.shape[0]},) for the rows and ({scores.shape[1]},) for the columns, "
                f"found {tuple(side.shape)} {side.dtype}"
            )
    return rows[:, None] == columns


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

# What training can make of pairs that nobody can tell from annotated ones, see `xmr.data.duplicates.Twins`.
DUPLICATES = {
    "ignore": "such a pair is no negative",
    "positive": "such a pair is a positive",
    "negative": "as any other pair",
}


TUNES = ("none", "all", "last:N", "lora:R")
PRECISIONS = ("fp32", "bf16")


def tune_of(text: str) -> tuple[str, int]:
    """What of the encoder's towers learns: "none" (a head on their features does), "all", "last" so many blocks of
    each, or by updates of so high a rank, "lora". Raises ValueError."""
    how, _, number = text.partition(":")
    counted = how in ("last", "lora")
    if not (number.isascii() and number.isdigit() and int(number) > 0 if counted else text in TUNES[:2]):
        raise ValueError(f"tune {text!r}: write {', '.join(TUNES[:-1])} or {TUNES[-1]}, N and R at least 1")
    return how, int(number or 0)


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
    duplicates: str = "negative"  # see `DUPLICATES`; as all was trained before there was a choice
    first_loss: str = ""  # trained with for the first epochs, at its defaults
    first_epochs: int = 0
    dataset_params: dict[str, Any] = field(default_factory=dict)
    train_visuals: int = 0  # of the training split that are learned from, chosen by seed; 0 means all
    epochs: int = 15
    batch_size: int = 128
    batches: str = "random"  # which pairs meet in a batch, see `xmr.training.order`
    queue: int = 0  # pairs of earlier batches that are further gallery of either side, without gradient
    micro_batch: int = (
        0  # pairs that the matcher embeds at once, by gradient caching; 0 means the whole batch
    )
    lr: float = 1e-3
    weight_decay: float = 1e-4
    warmup: int = 100  # steps of linearly rising learning rate
    patience: int = 0  # epochs without a better validation rsum after which to stop; 0 never stops
    seed: int = 0
    # Of towers alone, see `xmr.towers`; the learning rate `lr` is then that of what the loss learns.
    tune: str = "none"  # see `tune_of`
    lr_towers: float = 1e-5
    layer_decay: float = 0.8  # of the learning rate, for each layer before the last
    precision: str = "fp32"  # of the towers' steps; losses are always in single precision
    augment: bool = False  # open_clip's random crops of training pictures
    interpolate: float = 1.0  # of the way from the weights before to those after, what is kept
    lock: str = ""  # "image" or "text": the tower that stays as it is
    ema: float = (
        0.0  # decay of the running mean of weights, which is then what is measured and kept; 0 is none
    )
    grad_checkpointing: bool = False
    train_batch_norm: bool = False  # whether its statistics follow the batches

    def __post_init__(self) -> None:
        for name, low in (
            ("epochs", 1),
            ("batch_size", 2),
            ("warmup", 0),
            ("patience", 0),
            ("seed", 0),
            ("first_epochs", 0),
            ("micro_batch", 0),
            ("queue", 0),
            ("train_visuals", 0),
        ):
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be at least {low}, found {getattr(self, name)}")
        if self.verdicts_as not in VERDICTS_AS:
            raise ValueError(unknown("use of verdicts", self.verdicts_as, VERDICTS_AS))
        if self.duplicates not in DUPLICATES:
            raise ValueError(unknown("use of duplicates", self.duplicates, DUPLICATES))
        tune_of(self.tune)
        if self.precision not in PRECISIONS:
            raise ValueError(unknown("precision", self.precision, PRECISIONS))
        if self.lock not in ("", "image", "text"):
            raise ValueError(unknown("tower", self.lock, ("image", "text")))
        for name, number, fits, allowed in (
            ("lr_towers", self.lr_towers, self.lr_towers > 0, "above 0"),
            ("layer_decay", self.layer_decay, 0 < self.layer_decay <= 1, "above 0 and at most 1"),
            ("interpolate", self.interpolate, 0 <= self.interpolate <= 1, "from 0 to 1"),
            ("ema", self.ema, 0 <= self.ema < 1, "at least 0 and below 1"),
        ):
            if not fits:
                raise ValueError(f"{name} must be {allowed}, found {number}")
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
    before: float | None = None  # of towers, with their first step: what validation said before it
