"""Frozen open_clip towers: pictures and captions in, raw features out, computed once and kept.

Features are not normalised (L2-free); a matcher decides. They are cached in float16, memory-mapped, once per
(weights, dataset, preprocessing), are resumed after an interruption and never seen half written.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from threading import Lock
from typing import Any

import numpy as np
import open_clip
import torch
from huggingface_hub import constants
from safetensors import SafetensorError

from xmr.allowed import QUICK, SHIPPED, place_of, why_not
from xmr.cache import cache_dir
from xmr.data.dataset import Dataset
from xmr.devices import cores, device, in_half
from xmr.disk_arrays import resumable_array, whole_array
from xmr.encoders import transformers_folder, weights
from xmr.encoders.tower import RATIO, Encoder, Kind
from xmr.hub import unreachable
from xmr.locks import holding
from xmr.processes import each, led, mine, shares
from xmr.registry import Registry, unknown

__all__ = [
    "ENCODERS",
    "RATIO",
    "Encoder",
    "Features",
    "Kind",
    "candidates",
    "features",
    "forget_encoders",
    "load_encoder",
    "read_anew",
]

Progress = Callable[[str, int, int], None]  # what, rows done, rows in all

ENCODERS = Registry("encoder")
BATCH = 64
LARGE_BATCH = 256  # on CUDA
RETRY = 600  # seconds
MOVED = "where a run's encoder lies now is told by --encoder NAME=PATH"
SCHEMES = ("hf-hub:", "local-dir:")
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


_loading: dict[str, Lock] = {}
_failed: dict[str, tuple[float, str]] = {}  # when, and why


@ENCODERS.register
def blocks() -> str:
    """The tiny open_clip model that xmr ships, pre-trained on generated scenes (scripts/pretrain.py)."""
    return f"local-dir:{SHIPPED / 'blocks'}"


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
    if reason := why_not(name):
        raise ValueError(reason)
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


def read_anew(name: str) -> Encoder:
    """As `load_encoder`, of files that were just written, whatever was read under that name before."""
    return _load.__wrapped__(name)


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
    tower = weights.tower_elsewhere(source) if source.startswith("local-dir:") or of_file else ""
    here = source.startswith("local-dir:") or (of_file and not needs_transformers(source))
    away, lacking = None if here and not tower else unreachable(), False
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
        elif moved := folder and tower and weights.of_folder(Path(folder)):
            model, preprocess, tokenizer = moved
        else:
            model, _, preprocess = open_clip.create_model_and_transforms(
                source, pretrained=pretrained or None
            )
            tokenizer = open_clip.get_tokenizer(source)
    except LOADING_FAILS as error:
        if tower and not lacking:
            cut = f", and the Hub can't be reached ({away})" if away else ""
            raise ValueError(
                f"the encoder {name!r} could not be loaded: the architecture of its text tower is looked up as {tower!r} "
                f"(hf_model_name in its configuration), which is no folder here{cut}; {_why(error).partition(chr(10))[0]}"
            ) from error
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
    return Encoder(name, digest.hexdigest() + QUICK * quick, model.to(device()), preprocess, tokenizer)


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


def hub_name(name: str) -> str:
    """ORG/REPO where an encoder's weights lie on the Hub, as far as its name or open_clip's table tells; "" elsewhere."""
    if name.startswith("hf-hub:"):
        return name.removeprefix("hf-hub:").partition("@")[0]
    if name.startswith("local-dir:") or "/" not in name:
        return ""
    model, pretrained = weights.parts(name)
    return "/".join((open_clip.get_pretrained_cfg(model, pretrained) or {}).get("hf_hub", "").split("/")[:2])


def candidates(spec: str, config: str = "") -> list[str]:
    """Names of the encoders that a person may mean by `spec`: a name of `load_encoder`, a folder, MODEL:FILE, a
    file of a trainer's weights and its architecture (of open_clip, or a `config` file of one's own), or the file alone, whose
    architecture a configuration of open_clip's beside it tells, or the shapes in it. Trained with QuickGELU or not, shapes don't
    tell: both are named. Raises ValueError where the file is not there, or its architecture can't be told."""
    if spec in ENCODERS or spec.startswith(SCHEMES):
        return [spec]
    path = Path(spec).expanduser().resolve()
    if path.is_dir():
        return [f"local-dir:{path}"]
    if path.is_file():
        config = config or weights.config_beside(path)
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
    text = weights.text_config(source)
    return bool(text.get("hf_tokenizer_name") or text.get("hf_model_name"))


def transformers_is_needed(name: str) -> bool:
    """Whether the encoder of that name reads texts with Hugging Face's package, as far as its name tells."""
    source = weights.parts(name)[0]
    return not name.startswith(SCHEMES) and source in open_clip.list_models() and needs_transformers(source)


class Prepared:
    """`count` items that threads `prepare` in their order, up to `ahead` of them before they are asked for."""

    def __init__(self, prepare: Callable[[int], torch.Tensor], count: int, ahead: int, pool: Executor):
        self.prepare, self.count, self.ahead, self.pool = prepare, count, ahead, pool
        self.begun: dict[int, Future[torch.Tensor]] = {}

    def of(self, rows: range) -> list[torch.Tensor]:
        """Those of `rows`; after them comes what other processes have in between."""
        # The first one here: it may render all, and Ctrl-C can't reach a thread.
        start, after = rows[0], rows[0] + shares() * len(rows)
        first = self.begun.pop(start).result() if start in self.begun else self.prepare(start)
        for i in (*rows[1:], *range(after, min(after + self.ahead, self.count))):
            if i not in self.begun:
                self.begun[i] = self.pool.submit(self.prepare, i)
        return [first, *(self.begun.pop(i).result() for i in rows[1:])]


class Distinct:
    """Captions of which equal ones are encoded once: the first, from which the others are copied."""

    def __init__(self, captions: Sequence[str]):
        first: dict[str, int] = {}
        self.captions = captions
        self.known = np.array([first.setdefault(caption, row) for row, caption in enumerate(captions)])

    def new(self, rows: range) -> list[str]:
        """Those of `rows` that are not met before."""
        return [self.captions[i] for i in rows if self.known[i] == i]

    def every(self, start: int, stop: int, found: np.ndarray | None, done: np.ndarray | None) -> np.ndarray:
        """The features of the rows from `start` to `stop`, of those `found` of new ones and of what is `done` before."""
        rows = self.known[start:stop]
        new = rows == np.arange(start, stop)
        if found is not None and new.all():
            return found
        every = np.empty((stop - start, *(done if found is None else found).shape[1:]), np.float16)
        if found is not None:
            every[new] = found
        for i in np.flatnonzero(~new):
            every[i] = every[rows[i] - start] if rows[i] >= start else done[rows[i]]
        return every


@contextmanager
def threads() -> Iterator[Executor]:
    """Threads that decode pictures, as many as there are cores: decoding and resizing release the GIL."""
    pool = ThreadPoolExecutor(cores())
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def features(
    dataset: Dataset, encoder: str, kind: Kind = "pooled", progress: Progress | None = None
) -> Features:
    """The features of every visual and caption of `dataset`, from the cache or computed into it; processes that work together
    share them out, and need one cache.

    A clip's frames give (N_v, T, D); what stands in the place of captions may be pictures (`gallery_visuals`). Two processes that ask at once wait for each other.
    Raises ValueError where the dataset has no pictures, or features are not finite.
    """
    if dataset.kept_features is not None:
        raise ValueError(f"{dataset.name} is here to be shown only, so {encoder!r} does not read it")
    if dataset.visuals is None:
        raise ValueError(f"{dataset.name} has features but no pictures, so {encoder!r} can't encode it")
    loaded = load_encoder(encoder)
    # Of other tokenizers than CLIP's one token was kept before.
    which = "tokens-2" if kind == "tokens" and not hasattr(loaded.tokenizer, "eot_token_id") else kind
    which += "-bf16" * in_half(loaded.device)
    folder = cache_dir("features", f"{loaded.hash}-{dataset.fingerprint}-{which}")
    batch = LARGE_BATCH if loaded.device.type == "cuda" else BATCH
    ahead = 0 if dataset.kind == "clip" else batch
    captions = Distinct(dataset.captions) if dataset.gallery_visuals is None else None
    rows = {"visual": len(dataset.visual_ids), "text": len(dataset.captions)}
    words = {
        "visual": "clips" if dataset.kind == "clip" else "pictures",
        "text": "captions" if dataset.gallery_visuals is None else "gallery pictures",
    }
    report, found = progress or (lambda *_: None), {}

    def pixels(items: Sequence[Any], clips: bool) -> Prepared:
        def prepare(i: int) -> torch.Tensor:
            return torch.stack([loaded.pixels(frame) for frame in (items[i] if clips else [items[i]])])

        return Prepared(prepare, len(items), ahead, pool)

    def part(name: str, start: int, stop: int) -> np.ndarray | None:
        """What this process makes of the rows from `start` to `stop`: a batch; None where none is left for it."""
        own = range(start, stop)[mine() * batch :][:batch]
        if name == "text" and captions is not None:
            texts = captions.new(own)
            return loaded.encode_texts(texts, kind).astype(np.float16) if texts else None
        if not own:
            return None
        items = (shown if name == "visual" else gallery).of(own)
        if name == "text" or dataset.kind == "image":
            return loaded.encode_pixels(torch.cat(items), kind).astype(np.float16)
        frames = loaded.encode_pixels(torch.cat(items))
        return frames.reshape(len(items), -1, frames.shape[-1]).astype(np.float16)

    def fill(ask: Callable[..., list[np.ndarray | None]]) -> None:
        def fill_one(name: str) -> None:
            def compute(start: int, stop: int, done: np.ndarray | None) -> np.ndarray:
                parts = [one for one in ask(name, start, stop) if one is not None]
                made = np.concatenate(parts) if parts else None
                if name == "text" and captions is not None:
                    made = captions.every(start, stop, made, done)
                if not np.isfinite(made).all():
                    raise ValueError(
                        f"{name} features of rows {start} … {stop - 1} are not finite in float16"
                    )
                return made

            heard = partial(report, f"encode {dataset.split} {words[name]}")
            resumable_array(folder / f"{name}.npy", rows[name], compute, heard, batch * shares())

        with holding(folder, wait=True):
            for name in rows:
                fill_one(name)

    def see() -> None:
        for name, count in rows.items():
            found[name] = whole_array(folder / f"{name}.npy", count)
            if found[name] is None:
                raise ValueError(f"{folder} lies not on a disk of all processes: XMR_CACHE names one")

    with threads() as pool:
        shown = pixels(dataset.visuals, dataset.kind == "clip")
        gallery = None if dataset.gallery_visuals is None else pixels(dataset.gallery_visuals, False)
        led(fill, part)
    each(see)
    return Features(found["visual"], found["text"], loaded.hash)
