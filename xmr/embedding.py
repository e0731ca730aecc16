"""From items to unit embeddings: what a matcher reads of a dataset, and queries typed or uploaded by people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from xmr.checkpoints import Combination
from xmr.data.dataset import DataFault, Dataset
from xmr.matchers import MATCHERS, TextBatch, Vocabulary

if TYPE_CHECKING:
    from xmr.checkpoints import Run

Progress = Callable[[str, int, int], None]  # what, rows done, rows in all
ROWS = 512  # embedded at once


@dataclass(frozen=True)
class Inputs:
    """What a matcher reads of one split, indexed like the split.

    visual (N_v, D) or (N_v, T, D); text (N_t, D) or (N_t, T, D) frozen features, or words as
    (ids (N_t, L) int32, lengths (N_t,) int64).
    """

    visual: np.ndarray
    text: np.ndarray | tuple[np.ndarray, np.ndarray]

    def visual_batch(self, index: np.ndarray) -> Tensor:
        return torch.from_numpy(np.asarray(self.visual[index], np.float32))

    def text_batch(self, index: np.ndarray) -> TextBatch:
        if not isinstance(self.text, tuple):
            return torch.from_numpy(np.asarray(self.text[index], np.float32))
        ids, lengths = self.text[0][index], self.text[1][index]
        ids = ids[:, : lengths.max()].astype(np.int64)  # no longer than the longest caption of the batch
        return torch.from_numpy(ids), torch.from_numpy(lengths)

    @property
    def texts(self) -> int:
        return len(self.text[0] if isinstance(self.text, tuple) else self.text)


@dataclass(frozen=True)
class Frozen:
    """Frozen features of one split and where they are from: `encoder` is "" for the dataset's own."""

    visual: np.ndarray
    text: np.ndarray | None
    encoder: str = ""
    encoder_hash: str = ""

    @property
    def text_dim(self) -> int:
        return 0 if self.text is None else self.text.shape[-1]


def frozen_features(
    dataset: Dataset, encoder: str = "", kind: str = "pooled", progress: Progress | None = None
) -> Frozen:
    """The features of a split: by `encoder`, else the dataset's own, else by the encoder it is usually read with.

    With kind "pooled" the visual features are (N_v, D): frames or regions are averaged. Raises DataFault where
    the dataset has no pictures for the encoder, or nothing says which encoder to take; ValueError as
    `xmr.encoders.load_encoder`.
    """
    if not encoder and dataset.visual_features is not None:
        visual, text, encoder_hash = dataset.visual_features, dataset.text_features, ""
    else:
        encoder = encoder or dataset.encoder
        if dataset.visuals is None:
            raise DataFault(
                f"{dataset.name} has features and no pictures, so no encoder ({encoder!r}) can read it"
            )
        if not encoder:
            raise DataFault(f"{dataset.name} has no features: choose an encoder, --encoder NAME")
        from xmr.encoders import features  # open_clip takes seconds to import

        found = features(dataset, encoder, kind, progress)
        visual, text, encoder_hash = found.visual, found.text, found.encoder_hash
    if kind == "pooled":
        visual = _pooled(visual)
    elif visual.ndim != 3:
        raise DataFault(f"{dataset.name} has pooled features only, and this matcher reads tokens")
    return Frozen(visual, text, encoder, encoder_hash)


def _pooled(features: np.ndarray) -> np.ndarray:
    """(N, D) as it is; (N, T, D) averaged over T, read in blocks, since regions of a large set fill a disk."""
    if features.ndim == 2:
        return features
    pooled = np.empty((len(features), features.shape[-1]), np.float32)
    for start in range(0, len(features), ROWS):
        pooled[start : start + ROWS] = features[start : start + ROWS].mean(1, dtype=np.float32)
    return pooled


def matcher_inputs(
    matcher: str,
    params: dict[str, Any],
    frozen: Frozen,
    captions: Sequence[str],
    vocabulary: Vocabulary | None,
) -> Inputs:
    """The inputs of the matcher of that name and those settled parameters."""
    if MATCHERS[matcher].make.reads_words(params):
        return Inputs(frozen.visual, vocabulary.encode(captions))
    return Inputs(frozen.visual, frozen.text)


@torch.no_grad()
def embed(matcher: Any, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
    """Unit embeddings of all inputs, float32: (N_v, E) and (N_t, E). Leaves the matcher in evaluation mode."""
    matcher.eval()
    visual = [matcher.visual(inputs.visual_batch(rows)) for rows in _blocks(len(inputs.visual))]
    text = [matcher.text(inputs.text_batch(rows)) for rows in _blocks(inputs.texts)]
    return torch.cat(visual).numpy(), torch.cat(text).numpy()


def _blocks(count: int) -> list[np.ndarray]:
    return [np.arange(start, min(start + ROWS, count)) for start in range(0, count, ROWS)]


# ---- of a trained run, or of a combination of some ---------------------------------------------------------


def embed_texts(run: Run | Combination, texts: list[str]) -> np.ndarray:
    """Unit embeddings (M, E) float32 of free texts.

    Raises ValueError where the run, or a member of the combination, reads text features that came from a file, so
    that no encoder can make them.
    """
    encoded: dict[tuple[str, str], np.ndarray] = {}  # members that read one encoder ask it once

    def of(one: Run) -> np.ndarray:
        matcher = _independent(one)
        if not texts:
            return np.zeros((0, one.embed_dim), np.float32)
        if one.vocabulary is not None:
            features: Any = one.vocabulary.encode(texts)
        else:
            key = one.encoder["name"], one.encoder["hash"]
            if key not in encoded:
                encoded[key] = _encoder(one, "texts").encode_texts(texts)
            features = encoded[key]
        inputs = Inputs(np.empty((0, 0), np.float32), features)
        with torch.no_grad():
            return torch.cat([matcher.text(inputs.text_batch(rows)) for rows in _blocks(len(texts))]).numpy()

    return _of_members(run, of)


def embed_visuals(run: Run | Combination, images: list[Image.Image]) -> np.ndarray:
    """Unit embeddings (M, E) float32 of pictures.

    Raises ValueError where the run, or a member of the combination, was trained on features from a file: nothing
    here can make them of a picture.
    """
    encoded: dict[tuple[str, str], np.ndarray] = {}

    def of(one: Run) -> np.ndarray:
        matcher = _independent(one)
        if not images:
            return np.zeros((0, one.embed_dim), np.float32)
        key = one.encoder["name"], one.encoder["hash"]
        if key not in encoded:
            encoded[key] = np.asarray(_encoder(one, "pictures").encode_images(images), np.float32)
        with torch.no_grad():
            return matcher.visual(torch.from_numpy(encoded[key])).numpy()

    return _of_members(run, of)


def embed_dataset(
    run: Run | Combination, dataset: Dataset, progress: Progress | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Unit embeddings of a split: visual (N_v, E) and text (N_t, E) float32.

    Raises DataFault or ValueError where the dataset's features are not those that the run reads.
    """
    if isinstance(run, Combination):
        visual, text = zip(*(embed_dataset(m.run, dataset, progress) for m in run.members), strict=True)
        return run.joined(visual), run.joined(text)
    matcher = _independent(run)
    config, name = run.config, run.encoder["name"]
    frozen = frozen_features(dataset, name, matcher.inputs, progress)
    if frozen.encoder_hash != run.encoder["hash"]:
        raise ValueError(_other_encoder(run, frozen.encoder_hash))
    expected = run.encoder["visual_dim"], run.encoder["text_dim"]
    found = frozen.visual.shape[-1], frozen.text_dim
    if found[0] != expected[0] or (run.vocabulary is None and found[1] != expected[1]):
        raise ValueError(
            f"{run.name} reads visual and text features of {expected} dimensions, {dataset.name} has {found}"
        )
    inputs = matcher_inputs(config.matcher, config.matcher_params, frozen, dataset.captions, run.vocabulary)
    return embed(matcher, inputs)


def _of_members(run: Run | Combination, embed_one: Callable[[Run], np.ndarray]) -> np.ndarray:
    """Of a trained run what `embed_one` makes, of a combination what it makes of each member, joined."""
    if isinstance(run, Combination):
        return run.joined([embed_one(member.run) for member in run.members])
    return embed_one(run)


def _independent(run: Run) -> Any:
    matcher = run.matcher()
    if not matcher.independent:
        raise ValueError(
            f"{run.name} scores pairs: its matcher {run.config.matcher!r} has no embeddings of one side"
        )
    return matcher


def _encoder(run: Run, what: str) -> Any:
    name = run.encoder["name"]
    if not name:
        raise ValueError(
            f"{run.name} was trained on features from a file ({run.config.dataset}), so no encoder is known that "
            f"would make such features of new {what}; pick a test item instead"
        )
    from xmr.encoders import load_encoder  # open_clip takes seconds to import

    encoder = load_encoder(name)
    if encoder.hash != run.encoder["hash"]:
        raise ValueError(_other_encoder(run, encoder.hash))
    return encoder


def _other_encoder(run: Run, found: str) -> str:
    return (
        f"{run.name} was trained on features of the encoder {run.encoder['name'] or 'none'!r} with hash "
        f"{run.encoder['hash'] or 'none'}, found {found or 'none'}: the weights differ; train the run again"
    )
