"""A head that was trained on frozen features, read from its folder and checked before anything of it is used."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ConfigDict, TypeAdapter
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xmr.checkpoints.files import MAX_JSON, RunRefused, Spec, read_tensors
from xmr.checkpoints.folder import (
    EMBEDDINGS,
    HISTORY,
    MATCHER,
    RUN,
    SNAPSHOTS,
    WORDS,
    Exactly,
    Name,
    Origin,
    Outcome,
    Values,
    check_fields,
    check_outcome,
    check_sizes,
    name_of,
)
from xmr.checkpoints.run import Run
from xmr.checkpoints.snapshots import Snapshots, read_snapshots
from xmr.checksums import digest
from xmr.core import TrainConfig
from xmr.devices import device
from xmr.disk import parse_json, read
from xmr.losses import LOSSES
from xmr.losses.base import learnable
from xmr.matchers import MATCHERS, Vocabulary, build_matcher
from xmr.registry import Entry

MAX_SCORES = 20_000_000  # of a pair scorer on the test split that a run keeps
MAX_EPOCHS = 100_000
# What the last epochs of a matcher with a metric network are trained with (`metric_epochs`).
METRIC_LOSS, METRIC_PARAMS = "similar_dissimilar", {"scale": 1.0, "bias": 0.0}


@Exactly
class _About(Origin, Outcome):
    """What run.json holds, as far as anything relies on it."""

    files: dict[str, Name]


ABOUT = TypeAdapter(_About)
HISTORY_LINE = TypeAdapter(Values, config=ConfigDict(strict=True))


@dataclass(frozen=True, eq=False, kw_only=True)
class Head(Run):
    """A matcher on frozen features. Arrays and weights are read when first asked for."""

    form: nn.Module = field(repr=False)  # the matcher without its weights
    files: dict[str, str] = field(repr=False)  # SHA-256 of each

    @property
    def embed_dim(self) -> int:
        return self.form.embed_dim

    @property
    def scores_pairs(self) -> bool:
        return self.form.scores_pairs

    @property
    def score_kind(self) -> str:
        return self.form.score_kind

    @property
    def last_loss(self) -> tuple[str, dict[str, Any]]:
        metric = self.config.matcher_params.get("metric_epochs")
        return (METRIC_LOSS, METRIC_PARAMS) if metric else super().last_loss

    def embeddings(self) -> tuple[np.ndarray, np.ndarray]:
        return self._embeddings

    def scores(self) -> np.ndarray | None:
        return self._scores

    def matcher(self) -> nn.Module:
        return self._matcher

    def snapshots(self) -> Snapshots | None:
        return self._snapshots

    @cached_property
    def _embeddings(self) -> tuple[np.ndarray, np.ndarray]:
        tensors = self._embedded()
        return tensors["visual"].float().numpy(), tensors["text"].float().numpy()

    @cached_property
    def _scores(self) -> np.ndarray | None:
        scores = self._embedded().get("scores")
        return None if scores is None else scores.float().numpy()

    @cached_property
    def _snapshots(self) -> Snapshots | None:
        if SNAPSHOTS not in self.files:
            return None
        size = self.dataset["sizes"]["test"]
        path, sha256 = self.path / SNAPSHOTS, self.files[SNAPSHOTS]
        return read_snapshots(path, sha256, self.embed_dim, size, self.scores_pairs)

    @cached_property
    def _matcher(self) -> nn.Module:
        matcher = _untrained(self.config, self.encoder, self.vocabulary)
        prefix = "matcher."
        state = {k.removeprefix(prefix): t for k, t in self._trained().items() if k.startswith(prefix)}
        matcher.load_state_dict(state, assign=True)
        return matcher.to(device()).eval().requires_grad_(False)

    def _trained(self) -> dict[str, Tensor]:
        """The weights of the matcher, and the learned hyper-parameters of the loss."""
        expected: dict[str, Spec] = {
            f"matcher.{key}": (tuple(tensor.shape), tensor.dtype)
            for key, tensor in self.form.state_dict().items()
        }
        expected |= {f"loss.{name}": ((), torch.float64) for name in learnable(LOSSES[self.config.loss])}
        return read_tensors(self.path / MATCHER, expected, self.files.get(MATCHER, ""))

    def _embedded(self) -> dict[str, Tensor]:
        """What the folder keeps of the test split."""
        visuals, texts = (self.dataset["sizes"]["test"][side] for side in ("visuals", "texts"))
        shapes = {"visual": (visuals, self.embed_dim), "text": (texts, self.embed_dim)}
        if self.form.scores_pairs and visuals * texts <= MAX_SCORES:
            shapes["scores"] = visuals, texts
        expected = {key: (shape, torch.float16) for key, shape in shapes.items()}
        return read_tensors(self.path / EMBEDDINGS, expected, self.files.get(EMBEDDINGS, ""))


def load_head(path: Path, about: dict[str, Any]) -> Head:
    """The head in the folder `path`, every file of it checked; `about` is the content of its run.json.

    Raises RunRefused as `xmr.checkpoints.load_run`.
    """
    check_fields(ABOUT, about, RUN)
    check_outcome(about)
    check_sizes(about)
    files = about["files"]
    try:
        config = config_of(about["config"])
        loss = LOSSES[config.loss]
        params = MATCHERS[config.matcher].parse(config.matcher_params)
        config = replace(config, loss_params=loss.parse(config.loss_params), matcher_params=params)
        vocabulary = _vocabulary(path, files, config)
        form = _untrained(config, about["encoder"], vocabulary)
    except RunRefused:
        raise
    except Exception as error:  # whatever a stranger's configuration does to what is built of it
        raise RunRefused(f"{RUN}: {error}") from error
    run = Head(
        name=name_of(path),
        path=path,
        **{key: about[key] for key in ("dataset", "encoder", "metrics", "training", "files")},
        config=config,
        vocabulary=vocabulary,
        form=form,
        history=history_in(path, files),
    )
    learned = learned_values(run._trained(), loss)
    run._embedded()
    return replace(run, loss_values=config.loss_params | learned)


def config_of(values: dict[str, Any]) -> TrainConfig:
    """The configuration, each field of the type that its default has."""
    config = TrainConfig.from_json(values)
    for name, default in TrainConfig().to_json().items():
        kinds = (int, float) if isinstance(default, float) else (type(default),)
        if type(getattr(config, name)) not in kinds:
            raise RunRefused(f"{RUN}: {name} is {getattr(config, name)!r:.80}, not a {kinds[-1].__name__}")
    return config


def config_of_loss(values: dict[str, Any]) -> TrainConfig:
    """The configuration of a run whose matcher is none of those that can be trained, its loss's parameters settled."""
    try:
        config = config_of(values)
        return replace(config, loss_params=LOSSES[config.loss].parse(config.loss_params))
    except RunRefused:
        raise
    except Exception as error:  # whatever a stranger's configuration does
        raise RunRefused(f"{RUN}: {error}") from error


def checked_bytes(path: Path, name: str, files: dict[str, str], limit: int = MAX_JSON) -> bytes:
    content = read(path / name, limit)
    if digest(content) != files.get(name):
        raise RunRefused(f"{name} was altered or truncated: its SHA-256 is not the one in {RUN}")
    return content


def _vocabulary(path: Path, files: dict[str, str], config: TrainConfig) -> Vocabulary | None:
    if not MATCHERS[config.matcher].make.reads_words(config.matcher_params):
        return None
    content = parse_json(checked_bytes(path, WORDS, files), WORDS)
    try:
        return Vocabulary.from_json(content)
    except (TypeError, ValueError) as error:  # TypeError: a list in place of a word
        raise RunRefused(f"{WORDS}: {error}") from error


class _NoValues(TorchFunctionMode):
    """Draws no weights: where there is no memory for them, that alone imports torch's compiler, for a second and a half."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function is nn.init.normal_:
            return kwargs["tensor"]
        return function(*args, **(kwargs or {}))


def _untrained(config: TrainConfig, encoder: dict[str, Any], vocabulary: Vocabulary | None) -> nn.Module:
    """The matcher without memory for its weights: what a foreign file claims costs nothing before it is checked."""
    dims = encoder["visual_dim"], encoder["text_dim"]
    with torch.device("meta"), _NoValues():
        return build_matcher(config.matcher, config.matcher_params, *dims, vocabulary)


def learned_values(tensors: dict[str, Tensor], loss: Entry) -> dict[str, float]:
    """The learned hyper-parameters of the loss."""
    try:
        return {name: loss.param(name).parse(tensors[f"loss.{name}"].item()) for name in learnable(loss)}
    except ValueError as error:
        raise RunRefused(f"{MATCHER}: {error}") from error


def history_in(path: Path, files: dict[str, str]) -> list[dict[str, Any]]:
    lines = checked_bytes(path, HISTORY, files).splitlines()
    if len(lines) > MAX_EPOCHS:
        raise RunRefused(f"{HISTORY} has {len(lines):,} lines, more than the {MAX_EPOCHS:,} that are allowed")
    found = [parse_json(line, HISTORY) for line in lines]
    for number, line in enumerate(found, 1):
        check_fields(HISTORY_LINE, line, f"{HISTORY}, line {number}")
        if "epoch" not in line:
            raise RunRefused(f"{HISTORY}, line {number} is of no epoch")
    return found
