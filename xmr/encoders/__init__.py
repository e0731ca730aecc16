"""Frozen open_clip towers: pictures and captions in, raw features out, computed once and kept.

Features are not normalised (L2-free); a matcher decides. They are cached in float16, memory-mapped, once per
(weights, dataset, preprocessing), are resumed after an interruption and never seen half written.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial, wraps
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from threading import Lock
from typing import Any, Literal

import numpy as np
import open_clip
import torch
from huggingface_hub import constants
from open_clip.hf_model import HFTextEncoder
from PIL import Image
from safetensors import SafetensorError
from torchvision.transforms import CenterCrop

from xmr.allowed import QUICK, SHIPPED, is_allowed, place_of
from xmr.cache import cache_dir
from xmr.captions import TextsRead, cut_alike, words_of
from xmr.data.dataset import Dataset
from xmr.data.hub import unreachable
from xmr.disk_arrays import resumable_array
from xmr.encoders import transformers_folder, weights
from xmr.locks import holding
from xmr.registry import Registry, unknown
from xmr.turns import Turns

Kind = Literal["pooled", "tokens"]
Progress = Callable[[str, int, int], None]  # what, rows done, rows in all

ENCODERS = Registry("encoder")
BATCH = 64
ROWS = 1024  # texts whose length is looked at together
RETRY = 600  # seconds
MOVED = "where a run's encoder lies now is told by --encoder NAME=PATH"
SCHEMES = ("hf-hub:", "local-dir:")
PATCHES = 9
RATIO = 16  # of a picture's sides
# What open_clip and transformers raise on names, files and configurations that are not as they should be.
LOADING_FAILS = (
    ValueError,
    RuntimeError,
    OSError,
    SafetensorError,
    KeyError,
    TypeError,
    AttributeError,
    ImportError,
    AssertionError,
    UnpicklingError,
)
NEEDS = "'transformers>=5,<6' sentencepiece"  # of models whose tokenizer or text tower is Hugging Face's; an extra


# They are heavy: two batches are encoded at a time, whoever asks.
ENCODING = Turns(2)
_loading: dict[str, Lock] = {}
_failed: dict[str, tuple[float, str]] = {}  # when, and why


def in_turn(encode: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """The same, within `ENCODING`."""

    @wraps(encode)
    def waited(*arguments: Any, **options: Any) -> np.ndarray:
        with ENCODING:
            return encode(*arguments, **options)

    return waited


@ENCODERS.register
def blocks() -> str:
    """The tiny open_clip model that xmr ships, pre-trained on generated scenes (scripts/pretrain.py)."""
    return f"local-dir:{SHIPPED / 'blocks'}"


@dataclass(frozen=True)
class Encoder:
    """An open_clip model in evaluation mode, with its own preprocessing and tokenizer.

    `hash` identifies weights and preprocessing, whatever the path or name they came by.
    """

    name: str
    hash: str
    model: torch.nn.Module
    preprocess: Callable[[Image.Image], torch.Tensor]
    tokenizer: Callable[[list[str]], torch.Tensor]

    @in_turn
    @torch.inference_mode()
    def encode_images(self, images: Sequence[Image.Image], kind: Kind = "pooled") -> np.ndarray:
        """Raw features of pictures, float32: (B, D) pooled, or (B, T, D) of patches.

        The patches are those of the deepest layer whose grid has at least `PATCHES`: convolutional towers end with so
        few that nothing is left to attend to.
        """
        batch = torch.stack([self.preprocess(self._bounded(image)) for image in images])
        if kind == "pooled":
            return self.model.encode_image(batch).float().numpy()
        found = self.model.forward_intermediates(image=batch, image_indices=None, intermediates_only=True)
        grids = [grid.flatten(2).transpose(1, 2) for grid in found["image_intermediates"]]
        fine = [grid for grid in grids if grid.shape[1] >= PATCHES]
        return (fine or grids)[-1].float().numpy()

    @in_turn
    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str], kind: Kind = "pooled") -> np.ndarray:
        """Raw features of captions, float32: (B, D) pooled, or (B, T, D) with zeros in the place of padding."""
        ids = self.tokenizer(list(texts))
        if kind == "pooled":
            return self.model.encode_text(ids).float().numpy()
        return (self._tokens(ids) * self._present(ids)[:, :, None]).float().numpy()

    def reading(self, texts: Sequence[str]) -> TextsRead:
        """How many of the texts are longer than the tokens that the text tower reads, and, of a tower of
        scripts/pretrain.py, words that it never met."""
        limit = self.tokenizer([""]).shape[1]
        # No token is shorter than a letter; those of other alphabets may be bytes.
        long = [text for text in texts if not (text.isascii() and len(text) <= limit - 4)]
        read: list[tuple[str, bytes, bool]] = []
        for start in range(0, len(long), ROWS):
            some = long[start : start + ROWS]
            more = self._present(self.tokenizer(some, limit + 1)).sum(1)
            near = (more >= limit - 1).nonzero()[:, 0].tolist()  # CLIPA takes the end out again
            if full := [some[i] for i in near]:
                ids = self.tokenizer(full)
                longer = (more[near] > self._present(ids).sum(1)).tolist()
                read += zip(full, (row.tobytes() for row in ids.numpy()), longer, strict=True)
        words = [] if self._met is None else [word for text in texts for word in words_of(text)]
        new = {word for word in set(words) if not self._met[self.tokenizer.encode(word)].all()}
        unknown = sum(word in new for word in words)
        return TextsRead(len(texts), *cut_alike(read), limit, "tokens", len(words), unknown)

    def scale_and_bias(self) -> tuple[float, float | None]:
        """What the model multiplies its cosines by (1 / temperature) and adds to them, None for nothing. Raises ValueError
        where no number can do the former."""
        bias, scale = getattr(self.model, "logit_bias", None), float(self.model.logit_scale.exp())
        if not 0 < scale < math.inf:
            raise ValueError(
                f"{self.name} multiplies its cosines by {scale}, so there is nothing to tell apart"
            )
        return scale, None if bias is None else float(bias)

    def _tokens(self, ids: torch.Tensor) -> torch.Tensor:
        """The text tower's last layer, (B, T, D)."""
        tower = getattr(self.model, "text", None)
        if isinstance(tower, HFTextEncoder):  # open_clip gives their pooled output only
            attended = (ids != tower.config.pad_token_id).long()
            return tower.transformer(input_ids=ids, attention_mask=attended).last_hidden_state
        found = self.model.forward_intermediates(text=ids, text_indices=1, intermediates_only=True)
        return found["text_intermediates"][0]

    def _present(self, ids: torch.Tensor) -> torch.Tensor:
        """Which of the token ids (B, T) are none of padding, (B, T) bool."""
        end = getattr(self.tokenizer, "eot_token_id", None)
        if end is not None:  # CLIP's, whose padding has the id of "!"
            ends = ids == end
            return (ends.cumsum(1) - ends.long()) == 0
        # Others pad with a token of its own, or with their end (SigLIP): what fills an empty text.
        return ids != self._padding

    @cached_property
    def _met(self) -> torch.Tensor | None:
        """Which of CLIP's tokens the text tower learned; pretraining leaves zeros for the others. None where it is all."""
        table = getattr(self.model, "token_embedding", None)
        if table is None or not isinstance(self.tokenizer, open_clip.SimpleTokenizer):
            return None
        met = (table.weight != 0).any(1)
        return None if met.all() else met

    @cached_property
    def _padding(self) -> int:
        return int(self.tokenizer([""])[0].mode().values)

    def _bounded(self, image: Image.Image) -> Image.Image:
        """The picture, its longer side at most `RATIO` times the shorter: 200,000 × 1 pixels, resized by the shorter side
        to 224, would be 30 GB. Where the middle is cut out after that, the middle is all that is lost by it."""
        width, height = image.size
        most = RATIO * min(width, height)
        if max(width, height) <= most:
            return image
        if not any(isinstance(step, CenterCrop) for step in getattr(self.preprocess, "transforms", ())):
            return image.resize((min(width, most), min(height, most)))
        left, top = (max(side - most, 0) // 2 for side in image.size)
        return image.crop((left, top, width - left, height - top))


@dataclass(frozen=True)
class Features:
    """Features of a dataset, memory-mapped float16: visual (N_v, D) or (N_v, T, D), text likewise."""

    visual: np.ndarray
    text: np.ndarray
    encoder_hash: str


def load_encoder(name: str) -> Encoder:
    """An encoder by its name: a registered one, `MODEL/PRETRAINED`, `hf-hub:ORG/REPO` or `local-dir:PATH`, a folder of open_clip,
    or of a CLIP or SigLIP of transformers or sentence-transformers.

    Raises ValueError on a name that open_clip doesn't know, with the nearest one, where there are no
    weights (an untrained encoder is never what somebody asked for), and where this process may not load it. What could
    not be loaded is not tried again for `RETRY` seconds, since a hub that can't be reached takes half a minute each time.
    """
    if not is_allowed(name):
        raise ValueError(
            f"the encoder {name!r} is not loaded, because a run names it and not who started this server; start it with "
            f"--allow-encoders {name!r} if you trust it"
        )
    with _loading.setdefault(name, Lock()):  # who comes meanwhile waits, and doesn't load another
        since, fault = _failed.get(name, (0.0, ""))
        if fault and time.monotonic() - since < RETRY:
            raise ValueError(f"{fault} (tried a while ago, and again {RETRY // 60} minutes after that)")
        try:
            return _load(_found_as(name))
        except ValueError as error:
            _failed[name] = time.monotonic(), str(error)
            raise


def _found_as(name: str) -> str:
    """The name by which an encoder that runs call `name` is loaded, where the user said that it lies elsewhere."""
    place = place_of(name)
    if not place:
        return name
    model, _ = ("", "") if name.startswith(SCHEMES) else weights.parts(name)
    file = Path(place).expanduser().resolve()
    return f"{model}/{file}" if model and file.is_file() else candidates(place)[0]


def forget_encoders() -> None:
    """Forgets the loaded encoders, and which could not be loaded."""
    _load.cache_clear()
    _failed.clear()


@lru_cache(maxsize=3)
def _load(name: str) -> Encoder:
    source, pretrained = (ENCODERS[name]() if name in ENCODERS else name), ""
    if not source.startswith(SCHEMES):
        source, pretrained = weights.parts(source)
    of_file = Path(pretrained).is_file() if pretrained else False
    folder = source.partition("local-dir:")[2]
    if folder and not Path(folder).is_dir():
        raise ValueError(f"the encoder {name!r} is not here: there is no folder {folder}; {MOVED}")
    if (source.endswith(".json") or Path(pretrained).is_absolute()) and not of_file:
        raise ValueError(f"the encoder {name!r} is not here: there is no file {pretrained}; {MOVED}")
    if not source.startswith(SCHEMES) and not source.endswith(".json"):
        if source not in open_clip.list_models():
            raise ValueError(unknown("encoder", source, [*ENCODERS, *open_clip.list_models()]))
        tags = open_clip.list_pretrained_tags_by_model(source)
        if pretrained not in tags and not of_file:
            raise ValueError(f"{name}: write {source}/PRETRAINED; " + unknown("weights", pretrained, tags))
    here = source.startswith("local-dir:") or (of_file and not needs_transformers(source))
    away, lacking = None if here else unreachable(), False
    offline, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE or bool(away)
    silent = logging.root.manager.disable
    if away is not None:
        logging.disable(logging.ERROR)  # open_clip would tell the same again, in its words
    try:
        inner = (
            transformers_folder.model_folder(Path(folder)) if folder and not _is_open_clips(folder) else None
        )
        lacking = (inner or needs_transformers(source)) and not find_spec("transformers")
        if lacking:
            raise ValueError(
                f"{'it is' if inner else 'its texts are'} read with the package transformers, which is not installed: pip install {NEEDS}"
            )
        if inner:
            model, preprocess, tokenizer = transformers_folder.of_folder(inner)
        elif of_file:
            model, preprocess, tokenizer = weights.of_file(source, pretrained)
        else:
            model, _, preprocess = open_clip.create_model_and_transforms(
                source, pretrained=pretrained or None
            )
            tokenizer = open_clip.get_tokenizer(source)
    except LOADING_FAILS as error:
        if away is not None and not lacking:
            raise ValueError(
                f"the encoder {name!r} can't be read from this machine, and the Hub can't be reached ({away}); go online once, or "
                "name a folder that holds an encoder: local-dir:PATH"
            ) from error
        raise ValueError(f"the encoder {name!r} could not be loaded: {_why(error)}") from error
    finally:
        constants.HF_HUB_OFFLINE = offline
        logging.disable(silent)
    model.eval().requires_grad_(False)
    digest = hashlib.blake2b(repr(preprocess).encode(), digest_size=8)
    for key, tensor in sorted(model.state_dict().items()):
        if not tensor.isfinite().all():
            raise ValueError(f"the encoder {name!r} is not used: its weights {key} are not all finite")
        digest.update(key.encode() + tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    quick = any(type(module).__name__.startswith("QuickGELU") for module in model.modules())
    return Encoder(name, digest.hexdigest() + QUICK * quick, model, preprocess, tokenizer)


def _is_open_clips(folder: str) -> bool:
    return (Path(folder) / weights.CONFIG).is_file()


def _why(error: Exception) -> str:
    """Why weights could not be loaded, in a sentence: torch tells every tensor, and how to run what is in the file."""
    if isinstance(error, UnpicklingError):
        return weights.PROGRAM
    wrong = [line.strip() for line in str(error).splitlines() if "size mismatch" in line]
    if wrong or isinstance(error, AssertionError):  # the latter of position embeddings
        return f"its weights are of another architecture: {wrong[0] if wrong else error}"
    return str(error)


def candidates(spec: str, config: str = "") -> list[str]:
    """Names of the encoders that a person may mean by `spec`: a name of `load_encoder`, a folder, MODEL:FILE, a
    file of a trainer's weights and its architecture (of open_clip, or a `config` file of one's own), or the file alone, where
    the shapes in it tell the architecture. Trained with QuickGELU or not, the weights don't tell: both are named. Raises
    ValueError where the file is not there, or its architecture can't be told."""
    if spec in ENCODERS or spec.startswith(SCHEMES):
        return [spec]
    path = Path(spec).expanduser().resolve()
    if path.is_dir():
        return [f"local-dir:{path}"]
    if path.is_file():
        models = [str(Path(config).expanduser().resolve())] if config else weights.architectures(path)
        if config:
            weights.config_of(models[0])
        return [f"{model}/{path}" for model in models]
    model, colon, file = spec.partition(":")
    if not colon:
        return [spec]
    path = Path(file).expanduser().resolve()
    if not path.is_file():
        raise ValueError(f"{spec}: there is no file {file}")
    if model.endswith(".json"):
        return candidates(str(path), model)
    weights.config_of(model)
    both = (model, f"{model}-quickgelu")
    return [f"{name}/{path}" for name in both if name in open_clip.list_models()]


def needs_transformers(source: str) -> bool:
    """Whether open_clip reads texts for the model `source` with Hugging Face's package, which it does not require."""
    if source.endswith(".json"):
        config = weights.config_of(source)["model_cfg"]
    else:
        config = open_clip.get_model_config(source) or {}
    text = config.get("text_cfg", {})
    return bool(text.get("hf_tokenizer_name") or text.get("hf_model_name"))


def features(
    dataset: Dataset, encoder: str, kind: Kind = "pooled", progress: Progress | None = None
) -> Features:
    """The features of every visual and caption of `dataset`, from the cache or computed into it.

    A clip's frames give (N_v, T, D); what stands in the place of captions may be pictures (`gallery_visuals`). Two processes that ask at once wait for each other.
    Raises ValueError where the dataset has no pictures, or features are not finite.
    """
    if dataset.visuals is None:
        raise ValueError(f"{dataset.name} has features but no pictures, so {encoder!r} can't encode it")
    loaded = load_encoder(encoder)
    # Of other tokenizers than CLIP's one token was kept before.
    which = "tokens-2" if kind == "tokens" and not hasattr(loaded.tokenizer, "eot_token_id") else kind
    folder = cache_dir("features", f"{loaded.hash}-{dataset.fingerprint}-{which}")

    def visuals(start: int, stop: int, _: np.ndarray | None) -> np.ndarray:
        # The first one here: it may render all, and Ctrl-C can't reach a thread.
        first = dataset.visuals[start]
        with ThreadPoolExecutor(2) as pool:  # decoding releases the GIL
            items = [first, *pool.map(dataset.visuals.__getitem__, range(start + 1, stop))]
        if dataset.kind == "image":
            return loaded.encode_images(items, kind)
        frames = loaded.encode_images([frame for clip in items for frame in clip])
        return frames.reshape(len(items), -1, frames.shape[-1])

    first: dict[str, int] = {}
    known = np.array([first.setdefault(caption, row) for row, caption in enumerate(dataset.captions)])

    def texts(start: int, stop: int, done: np.ndarray | None) -> np.ndarray:
        if dataset.gallery_visuals is not None:
            return loaded.encode_images([dataset.gallery_visuals[i] for i in range(start, stop)], kind)
        rows = known[start:stop]
        new = np.flatnonzero(rows == np.arange(start, stop))
        if len(new) == stop - start:
            return loaded.encode_texts(dataset.captions[start:stop], kind)
        # Of equal texts the first is encoded, and the others are copied from it.
        found = (
            loaded.encode_texts([dataset.captions[start + i] for i in new], kind) if len(new) else done[:0]
        )
        batch = np.empty((stop - start, *found.shape[1:]), np.float32)
        batch[new] = found
        for i in np.setdiff1d(np.arange(stop - start), new):
            batch[i] = batch[rows[i] - start] if rows[i] >= start else done[rows[i]]
        return batch

    report = progress or (lambda *_: None)

    def filled(name: str, what: str, rows: int, compute: Callable[..., np.ndarray]) -> np.ndarray:
        def half(start: int, stop: int, done: np.ndarray | None) -> np.ndarray:
            batch = compute(start, stop, done).astype(np.float16)
            if not np.isfinite(batch).all():
                raise ValueError(f"{name} features of rows {start} … {stop - 1} are not finite in float16")
            return batch

        heard = partial(report, f"encode {dataset.split} {what}")
        return resumable_array(folder / f"{name}.npy", rows, half, heard, BATCH)

    second = "captions" if dataset.gallery_visuals is None else "gallery pictures"
    with holding(folder, wait=True):
        visual = filled(
            "visual", "clips" if dataset.kind == "clip" else "pictures", len(dataset.visual_ids), visuals
        )
        text = filled("text", second, len(dataset.captions), texts)
    return Features(visual, text, loaded.hash)
