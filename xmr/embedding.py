"""From items to unit embeddings: what a matcher reads of a dataset, and queries typed or uploaded by people."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from xmr.allowed import is_hash_of, place_of
from xmr.cache import cache_folder
from xmr.captions import TextsRead
from xmr.data.dataset import DataFault, Dataset, Rows, called
from xmr.devices import device
from xmr.matchers import TextBatch, Vocabulary
from xmr.matchers.tokens import mean_of_present
from xmr.processes import rows_of
from xmr.words import program

if TYPE_CHECKING:
    from xmr.checkpoints import Run

Progress = Callable[[str, int, int], None]  # what, rows done, rows in all
Encoded = dict[tuple[str, str, str], np.ndarray]  # features by encoder, its hash, and their kind
ROWS = 512  # averaged at once
ENCODER = "ViT-B-32/laion2b_s34b_b79k"  # one that is often taken, to show how encoders are named


@dataclass(frozen=True)
class Inputs:
    """What a matcher reads of one split, indexed like the split; batches lie where this process computes.

    visual (N_v, D) or (N_v, T, D); text (N_t, D) or (N_t, T, D) frozen features, or words as
    (ids (N_t, L) int32, lengths (N_t,) int64).
    """

    visual: np.ndarray
    text: np.ndarray | tuple[np.ndarray, np.ndarray]
    rows: ClassVar[int] = 512  # embedded at once

    def visual_batch(self, index: np.ndarray) -> Tensor:
        return torch.from_numpy(np.asarray(self.visual[index], np.float32)).to(device())

    def visual_rows(self, index: np.ndarray) -> Callable[[slice], Tensor]:
        """What gives those of some visuals by parts."""
        return lambda rows: self.visual_batch(index[rows])

    def text_batch(self, index: np.ndarray) -> TextBatch:
        if not isinstance(self.text, tuple):
            features = np.asarray(self.text[index], np.float32)
            if features.ndim == 3:  # no longer than the longest caption of the batch
                features = features[:, : max(np.flatnonzero(features.any((0, 2))).max(initial=0) + 1, 1)]
            return torch.from_numpy(features).to(device())
        ids, lengths = self.text[0][index], self.text[1][index]
        ids = ids[:, : lengths.max()].astype(np.int64)  # no longer than the longest caption of the batch
        return torch.from_numpy(ids).to(device()), torch.from_numpy(lengths).to(device())

    def some(self, visuals: np.ndarray, texts: np.ndarray) -> Inputs:
        """Those of some visuals and texts."""
        text = tuple(part[texts] for part in self.text) if isinstance(self.text, tuple) else self.text[texts]
        fetched = isinstance(self.visual, np.ndarray)
        return replace(
            self, visual=self.visual[visuals] if fetched else Rows(self.visual, visuals), text=text
        )

    def distinct_texts(self) -> tuple[np.ndarray, np.ndarray]:
        """The texts that are worth embedding, and where each text is among these."""
        every = np.arange(self.texts)
        return every, every

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

    With kind "pooled" the visual features are (N_v, D): frames or regions are averaged. With "tokens" they are
    (N_v, T, D) where there are such, and pooled ones, which a matcher takes as one token, where a file has no others.
    Raises DataFault where the dataset has no pictures for the encoder, or nothing says which encoder to take;
    ValueError as `xmr.encoders.load_encoder`.
    """
    if not encoder and dataset.visual_features is not None:
        visual, text, encoder_hash = dataset.visual_features, dataset.text_features, ""
    else:
        encoder = encoder or dataset.encoder
        if dataset.kept_features is not None:
            if (known := dataset.kept_features.get(called(encoder))) is None or kind != "pooled":
                raise DataFault(
                    f"{dataset.name} is here to be shown only: no encoder reads copies of its pictures, and {kind} features of "
                    f"{encoder!r} were not kept"
                )
            return Frozen(known[1], known[2], encoder, known[0])
        if dataset.visuals is None:
            raise DataFault(
                f"{dataset.name} has features and no pictures, so no encoder ({encoder!r}) can read it"
            )
        if not encoder:
            raise DataFault(encoder_wanted(dataset.name))
        from xmr.encoders import features  # open_clip takes seconds to import

        found = features(dataset, encoder, kind, progress)
        visual, text, encoder_hash = found.visual, found.text, found.encoder_hash
    if kind == "pooled":
        visual = pooled_features(visual)
    return Frozen(visual, text, encoder, encoder_hash)


def encoder_wanted(source: str) -> str:
    """What to do where the pictures of `source` have no encoder, in lines."""
    own = f"{Path(source).name or 'my'}-encoder"
    made = f"{program('pretrain')} {shlex.join(['--dataset', source, '--out', own])}"
    return (
        f"{source} has pictures and no features: name the encoder that reads them. Three ways on:\n"
        f"  --encoder {ENCODER}   a model of open_clip or of the Hub, downloaded once\n"
        "  --encoder local-dir:PATH   an open_clip folder on this disk\n"
        f"  {made}   a small one of your own, for --encoder local-dir:{own}"
    )


def pooled_features(features: np.ndarray) -> np.ndarray:
    """(N, D) as it is; (N, T, D) averaged over its tokens, read in blocks, since regions of a large set fill a disk."""
    if features.ndim == 2:
        return features
    pooled = np.empty((len(features), features.shape[-1]), np.float32)
    for start in range(0, len(features), ROWS):
        block = torch.from_numpy(np.asarray(features[start : start + ROWS], np.float32))
        pooled[start : start + ROWS] = mean_of_present(block).numpy()
    return pooled


def matcher_inputs(frozen: Frozen, captions: Sequence[str], vocabulary: Vocabulary | None) -> Inputs:
    """What a matcher reads that has this vocabulary; without one it reads features of texts."""
    return Inputs(frozen.visual, frozen.text if vocabulary is None else vocabulary.encode(captions))


def texts_read(vocabulary: Vocabulary | None, encoder: str, texts: Sequence[str]) -> TextsRead | None:
    """How much of the texts a tower reads that has this vocabulary, or else this encoder; None where neither is there,
    so features come from a file. Raises ValueError as `xmr.encoders.load_encoder`."""
    if vocabulary is not None:
        return vocabulary.reading(texts)
    return _encoder_reads(encoder, tuple(texts)) if encoder else None


@lru_cache(maxsize=8)
def _encoder_reads(encoder: str, texts: tuple[str, ...]) -> TextsRead:
    from xmr.encoders import load_encoder  # open_clip takes seconds to import

    return load_encoder(encoder).reading(texts)


@torch.no_grad()
def embed(matcher: Any, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
    """Unit embeddings of all inputs, `as_kept`: (N_v, E) and (N_t, E). Leaves the matcher in evaluation mode. Processes share
    them out.

    Of a pair scorer they are those of its first stage.
    """
    matcher.eval()

    def visual(rows: np.ndarray) -> np.ndarray:
        return as_kept(matcher.pooled(matcher.visual(inputs.visual_batch(rows))))

    def text(rows: np.ndarray) -> np.ndarray:
        return as_kept(matcher.pooled(matcher.text(inputs.text_batch(distinct[rows]))))

    distinct, known = inputs.distinct_texts()
    sides = (len(inputs.visual), visual), (len(distinct), text)
    visuals, texts = (rows_of(blocks(count, inputs.rows), make) for count, make in sides)
    return visuals, texts[known]


def as_kept(values: Tensor) -> np.ndarray:
    """Embeddings or scores as a run's folder keeps them: float32 from half precision.

    Whatever measures a split measures these, so that training, evaluation and the app tell the same figures of a run.
    """
    return values.half().float().cpu().numpy()


def zero_shot(
    dataset: Dataset, encoder: str, progress: Progress | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Unit embeddings of a split by the frozen encoder itself, `as_kept`: (N_v, D) and (N_t, D).

    Raises ValueError where nothing says that both sides lie in one space; as `frozen_features`.
    """
    return in_one_space(frozen_features(dataset, encoder, "pooled", progress), dataset.name)


def in_one_space(frozen: Frozen, name: str) -> tuple[np.ndarray, np.ndarray]:
    """`zero_shot` of features that are there already, of the dataset `name`."""
    if not frozen.encoder or frozen.text is None:
        raise ValueError(
            f"the features of {name} are its own, and nothing says that both sides lie in one space"
        )
    sides = [torch.from_numpy(np.asarray(side, np.float32)) for side in (frozen.visual, frozen.text)]
    if sides[0].shape[-1] != sides[1].shape[-1]:
        shapes = " and ".join(str(side.shape[-1]) for side in sides)
        raise ValueError(f"{frozen.encoder} has {shapes} dimensions on the two sides: not one space")
    visual, text = (as_kept(normalize(side, dim=-1)) for side in sides)
    return visual, text


def blocks(count: int, rows: int) -> list[np.ndarray]:
    """The numbers from 0 to `count`, so many at once."""
    return [np.arange(start, min(start + rows, count)) for start in range(0, count, rows)]


# ---- of a trained run, or of a combination of some ---------------------------------------------------------


def embed_texts(run: Run, texts: list[str], encoded: Encoded | None = None) -> np.ndarray:
    """Unit embeddings (M, E) float32 of free texts; of a pair scorer, those of its first stage. `encoded` keeps the
    features of these texts for other runs that read them.

    Raises ValueError where the run, or a member of the combination, reads text features that came from a file, so
    that no encoder can make them.
    """
    if not texts:
        return np.zeros((0, run.embed_dim), np.float32)
    return _of_parts(run, lambda one, known: text_states(one, texts, known), encoded)


def embed_visuals(
    run: Run, visuals: list[Image.Image | list[Image.Image]], encoded: Encoded | None = None
) -> np.ndarray:
    """Unit embeddings (M, E) float32 of pictures, or of clips as lists of frames; of a pair scorer as `embed_texts`.

    Raises ValueError where the run, or a member of the combination, was trained on features from a file: nothing
    here can make them of a picture.
    """
    if not visuals:
        return np.zeros((0, run.embed_dim), np.float32)
    return _of_parts(run, lambda one, known: visual_states(one, visuals, known), encoded)


def run_reads(run: Run, texts: Sequence[str]) -> list[TextsRead]:
    """As `texts_read`, of a run; of a combination each way in which its members read, once."""
    found = [texts_read(one.vocabulary, one.encoder["name"], texts) for one in run.parts]
    return list(dict.fromkeys(read for read in found if read is not None))


def pieces(run: Run, text: str) -> list[str]:
    """The words or tokens of a text as the run's text tower reads them, in their order."""
    if run.vocabulary is not None:
        return run.vocabulary.split(text)
    return _encoder(run, "texts").pieces(text)


@torch.no_grad()
def text_states(run: Run, texts: list[str], encoded: Encoded | None = None) -> Tensor:
    """What the run's matcher makes of free texts, (M, …). `encoded` keeps features that several runs read."""
    matcher, encoded = run.matcher(), {} if encoded is None else encoded
    if run.vocabulary is not None:
        features: Any = run.vocabulary.encode(texts)
    else:
        key = run.encoder["name"], run.encoder["hash"], matcher.inputs
        if key not in encoded:
            encoded[key] = _encoder(run, "texts").encode_texts(texts, matcher.inputs)
        features = encoded[key]
    return matcher.text(Inputs(np.empty((0, 0), np.float32), features).text_batch(np.arange(len(texts))))


@torch.no_grad()
def visual_states(
    run: Run, visuals: list[Image.Image | list[Image.Image]], encoded: Encoded | None = None
) -> Tensor:
    """What the run's matcher makes of pictures or clips, (M, …), as `text_states`. A run on clips takes a picture for a
    clip of one frame; one on pictures takes a clip's middle frame."""
    matcher, encoded = run.matcher(), {} if encoded is None else encoded
    clips = kind_of_data(run) == "clip"
    kind = "pooled" if clips else matcher.inputs
    key = run.encoder["name"], run.encoder["hash"], f"{kind} of {'clips' if clips else 'pictures'}"
    if key not in encoded:
        encoder = _encoder(run, "pictures")
        items = [visual if isinstance(visual, list) else [visual] for visual in visuals]
        if clips:
            frames = [encoder.encode_images(item) for item in items]
            padded = np.zeros((len(items), max(map(len, frames)), frames[0].shape[-1]), np.float32)
            for row, found in zip(padded, frames, strict=True):
                row[: len(found)] = found
            encoded[key] = padded
        else:
            encoded[key] = np.asarray(
                encoder.encode_images([i[len(i) // 2] for i in items], kind), np.float32
            )
    return matcher.visual(torch.from_numpy(encoded[key]).to(device()))


def kind_of_data(run: Run) -> str:
    """ "image" or "clip": what the run was trained on."""
    return run.dataset.get("kind", "image")


def embed_dataset(
    run: Run, dataset: Dataset, progress: Progress | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Unit embeddings of a split: visual (N_v, E) and text (N_t, E) float32; of a pair scorer as `embed_texts`.

    Raises DataFault or ValueError where the dataset's features are not those that the run reads.
    """
    sides = [embed(one.matcher(), run_inputs(one, dataset, progress)) for one in run.parts]
    visual, text = zip(*sides, strict=True)
    return run.joined(visual), run.joined(text)


def unread(runs: Sequence[Run], split: str) -> int:
    """How many visuals of a split the encoders of these runs have yet to read, by what the runs tell of it and what lies in
    the cache: the split is not loaded."""
    most = 0
    for (_, digest, kind), run in _read_by(runs).items():
        known, size = (run.dataset.get(key, {}).get(split) for key in ("fingerprints", "sizes"))
        folders = (cache_folder() / "features").glob(f"{digest}-{known}-{kind}*")
        whole = any(
            all((folder / f"{side}.npy").exists() for side in ("visual", "text")) for folder in folders
        )
        if size and not whole:
            most = max(most, size["visuals"])
    return most


def read_split(runs: Sequence[Run], dataset: Dataset, progress: Progress) -> None:
    """Makes all that encoders of these runs have to do with a split; it is kept in the cache. What `progress` raises ends it.

    Raises as `frozen_features` where no encoder can read it; of several that can't, each run says so itself.
    """
    wanted, faults = _read_by(runs), []
    if wanted and hasattr(dataset.visuals, "prepare"):
        dataset.visuals.prepare(lambda done, of: progress("Rendering pictures", done, of))
    for name, _, kind in wanted:
        try:
            frozen_features(dataset, name, kind, progress)
        except (ValueError, OSError) as error:
            faults.append(error)
    if faults and len(faults) == len(wanted):
        raise faults[0]


def _read_by(runs: Sequence[Run]) -> dict[tuple[str, str, str], Run]:
    """Name and hash of each encoder, and the kind of features that are read of it, with a run that does; pooled ones of all,
    since the encoders themselves are compared."""
    found, kinds = {}, {}
    for run in (part for whole in runs for part in whole.parts):
        name, digest, matcher = run.encoder["name"], run.encoder["hash"], run.config.matcher
        if not name:
            continue  # features of a file
        if (digest, matcher) not in kinds:
            kinds[digest, matcher] = run.matcher().inputs
        for kind in ("pooled", kinds[digest, matcher]):
            found.setdefault((name, digest, kind), run)
    return found


def run_inputs(run: Run, dataset: Dataset, progress: Progress | None = None) -> Inputs:
    """What the run's matcher reads of a split. Raises as `embed_dataset`."""
    if run.untrained and not run.encoder["name"]:
        raise ValueError(
            f"{run.name} is two files of embeddings of its test split, so no encoder is known that would embed {dataset.name} "
            f"({dataset.split})"
        )
    frozen = frozen_features(dataset, run.encoder["name"], run.matcher().inputs, progress)
    if not is_hash_of(run.encoder["hash"], frozen.encoder_hash):
        raise ValueError(_other_encoder(run, frozen.encoder_hash))
    expected = run.encoder["visual_dim"], run.encoder["text_dim"]
    found = frozen.visual.shape[-1], frozen.text_dim
    if found[0] != expected[0] or (run.vocabulary is None and found[1] != expected[1]):
        raise ValueError(
            f"{run.name} reads visual and text features of {expected} dimensions, {dataset.name} has {found}"
        )
    return matcher_inputs(frozen, dataset.captions, run.vocabulary)


def _of_parts(run: Run, states: Callable[[Run, Encoded], Tensor], encoded: Encoded | None) -> np.ndarray:
    """Embeddings by the `states` that each part's matcher makes, joined; parts that read one encoder ask it once."""
    encoded = {} if encoded is None else encoded
    return run.joined([as_kept(one.matcher().pooled(states(one, encoded))) for one in run.parts])


def _encoder(run: Run, what: str) -> Any:
    name = run.encoder["name"]
    if not name:
        of = "has embeddings" if run.untrained else "was trained on features"
        raise ValueError(
            f"{run.name} {of} from a file ({run.config.dataset}), so no encoder is known that would make such features of new "
            f"{what}; pick a test item instead"
        )
    from xmr.encoders import load_encoder  # open_clip takes seconds to import

    encoder = load_encoder(name)
    if not is_hash_of(run.encoder["hash"], encoder.hash):
        raise ValueError(_other_encoder(run, encoder.hash))
    return encoder


def _other_encoder(run: Run, found: str) -> str:
    name, told = run.encoder["name"] or "none", run.encoder["hash"] or "none"
    here = f"at {place}" if (place := place_of(name)) else "there"
    return (
        f"{run.name} was made with the encoder {name!r} of hash {told}, and what lies {here} has {found or 'none'}: the weights differ. "
        "Where the right one lies is told by --encoder NAME=PATH"
    )
