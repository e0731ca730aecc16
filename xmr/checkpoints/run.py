"""A finished run, read from its folder and checked before anything of it is used."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from xmr.checkpoints.files import (
    MAX_JSON,
    RunRefused,
    Spec,
    check_specs,
    digest,
    parse_json,
    read_bytes,
    read_tensors,
    tensor_specs,
)
from xmr.core import TrainConfig
from xmr.losses import LOSSES
from xmr.matchers import MATCHERS, Vocabulary, build_matcher
from xmr.registry import Entry

SCHEMA = 1
RUN, MATCHER, EMBEDDINGS = "run.json", "matcher.safetensors", "embeddings.safetensors"
HISTORY, WORDS, CARD, STATE = "history.jsonl", "words.json", "README.md", "resume.safetensors"
MAX_SCORES = 20_000_000  # of a pair scorer on the test split that a run keeps
# What the last epochs of a matcher with a metric network are trained with (`metric_epochs`).
METRIC_LOSS, METRIC_PARAMS = "similar_dissimilar", {"scale": 1.0, "bias": 0.0}
FIELDS = {"config": dict, "dataset": dict, "encoder": dict, "metrics": dict, "files": dict, "training": dict}


@dataclass(frozen=True)
class RunFault:
    """A folder that could not be loaded as a run, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, eq=False)
class Run:
    """A trained run. Arrays and weights are read when first asked for.

    `dataset` has name, fingerprints {split: str} and sizes {split: {"visuals", "texts"}}; `encoder` has name ("" for
    features from a file), hash, visual_dim and text_dim; `metrics` {"validation": {…}, "test": {…}}; `loss_values`
    every hyper-parameter of the loss, learned ones as learned; `training` what happened: epochs, best epoch,
    seconds, command, versions, and where it diverged if it did. `path` is the folder.
    """

    name: str
    path: Path
    config: TrainConfig
    dataset: dict[str, Any]
    encoder: dict[str, Any]
    metrics: dict[str, dict[str, float]]
    loss_values: dict[str, Any]
    training: dict[str, Any]
    vocabulary: Vocabulary | None
    files: dict[str, str] = field(repr=False)  # SHA-256 of each

    @property
    def embed_dim(self) -> int:
        return self.config.matcher_params["embed_dim"]

    @property
    def independent(self) -> bool:
        """Whether a score is the inner product of two embeddings; a pair scorer's embeddings are its first stage."""
        return self._form.independent

    @property
    def score_kind(self) -> str:
        """What a score is, in a word or two, as its matcher says: "cosine", "log-odds"."""
        return self._form.score_kind

    @cached_property
    def _form(self) -> nn.Module:
        return _untrained(self.config, self.encoder, self.vocabulary)  # no weights are read for it

    @property
    def last_loss(self) -> tuple[str, dict[str, Any]]:
        """The loss that the scores were trained with at the end, and its hyper-parameters."""
        if self.config.matcher_params.get("metric_epochs"):
            return METRIC_LOSS, METRIC_PARAMS
        return self.config.loss, self.config.loss_params | self.loss_values

    @cached_property
    def history(self) -> list[dict[str, Any]]:
        """One dict per epoch: epoch, step, loss, lr, seconds and the validation metrics."""
        lines = (self.path / HISTORY).read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def embeddings(self) -> tuple[np.ndarray, np.ndarray]:
        """Unit embeddings of the test split: visual (N_v, E), text (N_t, E), float32 from half precision."""
        return self._embeddings

    def scores(self) -> np.ndarray | None:
        """What a pair scorer says of the test split, (N_v, N_t) float32 from half precision; None where embeddings say
        all, or there were too many pairs to keep."""
        return self._scores

    def matcher(self) -> nn.Module:
        """The trained matcher in evaluation mode; one per run, not to be changed."""
        return self._matcher

    @cached_property
    def _embeddings(self) -> tuple[np.ndarray, np.ndarray]:
        tensors = self._tensors(EMBEDDINGS)
        return tensors["visual"].float().numpy(), tensors["text"].float().numpy()

    @cached_property
    def _scores(self) -> np.ndarray | None:
        scores = self._tensors(EMBEDDINGS).get("scores")
        return None if scores is None else scores.float().numpy()

    @cached_property
    def _matcher(self) -> nn.Module:
        matcher = _untrained(self.config, self.encoder, self.vocabulary)
        tensors = self._tensors(MATCHER)
        state = {key.removeprefix("matcher."): t for key, t in tensors.items() if key.startswith("matcher.")}
        matcher.load_state_dict(state, assign=True)
        return matcher.eval().requires_grad_(False)

    def _tensors(self, name: str) -> dict[str, torch.Tensor]:
        _, size = tensor_specs(self.path / name)
        return read_tensors(self.path / name, size, self.files[name])


def load_trained(path: Path, about: dict[str, Any]) -> Run:
    """The trained run in the folder `path`, every file of it checked; `about` is the content of its run.json.

    Raises RunRefused as `xmr.checkpoints.load_run`.
    """
    about = _checked(about)
    try:
        config = _config(about["config"])
        loss = LOSSES[config.loss]
        values = loss.parse(config.loss_params)
        params = MATCHERS[config.matcher].parse(config.matcher_params)
        vocabulary = _vocabulary(path, about["files"], config.matcher, params)
        matcher = _untrained(config, about["encoder"], vocabulary)
    except RunRefused:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise RunRefused(f"{RUN}: {error}") from error
    learned = _check_matcher(path, about["files"], matcher, loss)
    _check_embeddings(path, about, matcher)
    _check_history(path, about["files"])
    return Run(
        name=path.name,
        path=path,
        config=config,
        dataset=about["dataset"],
        encoder=about["encoder"],
        metrics=about["metrics"],
        loss_values=values | learned,
        training=about["training"],
        vocabulary=vocabulary,
        files=about["files"],
    )


def is_finished(folder: str | Path) -> bool:
    """Whether `folder` holds a finished run, whole or not."""
    return (Path(folder) / RUN).exists()


def is_started(folder: str | Path) -> bool:
    """Whether `folder` holds a run, finished or not."""
    return is_finished(folder) or (Path(folder) / STATE).exists()


def clear_run(folder: str | Path) -> None:
    """Deletes the files of a run, and no others; run.json first, so that what is left is no run."""
    for name in (RUN, STATE, MATCHER, EMBEDDINGS, HISTORY, WORDS, CARD):
        (Path(folder) / name).unlink(missing_ok=True)


def learnable(loss: Entry) -> list[str]:
    """The hyper-parameters of a loss that training turns into parameters."""
    return [param.name for param in loss.params if param.range is not None and param.range.learn]


# ---- checks ------------------------------------------------------------------------------------------------


def read_about(path: Path) -> dict[str, Any]:
    """run.json of a folder: an object of the schema that this xmr reads. Raises RunRefused."""
    about = parse_json(read_bytes(path / RUN, MAX_JSON), RUN)
    if not isinstance(about, dict) or "schema" not in about:
        raise RunRefused(f"{RUN} is not of xmr: it has no schema version")
    if about["schema"] != SCHEMA:
        raise RunRefused(f"{RUN} has schema version {about['schema']!r}; this xmr reads {SCHEMA}")
    return about


def are_metrics(values: Any) -> bool:
    """Whether these are metrics as run.json holds them: finite numbers for validation and test, by name."""
    return (
        isinstance(values, dict)
        and {"validation", "test"} <= values.keys()
        and all(isinstance(split, dict) for split in values.values())
        and all(
            type(value) in (int, float) and abs(value) <= sys.float_info.max  # nor an integer of 400 digits
            for split in values.values()
            for value in split.values()
        )
    )


def _checked(about: dict[str, Any]) -> dict[str, Any]:
    """run.json with its fields of the right kinds, so that the rest can rely on them."""
    for name, kind in FIELDS.items():
        if not isinstance(about.get(name), kind):
            raise RunRefused(f"{RUN} has no {name}, or not as {kind.__name__}")
    try:
        dataset, encoder = about["dataset"], about["encoder"]
        whole = all(isinstance(value, str) for value in (dataset["name"], encoder["name"], encoder["hash"]))
        whole &= all(
            isinstance(value, str) for value in (*dataset["fingerprints"].values(), *about["files"].values())
        )
        counts = [dataset["sizes"]["test"][side] for side in ("visuals", "texts")]
        whole &= all(type(count) is int and count > 0 for count in counts)
        whole &= are_metrics(about["metrics"])
    except (KeyError, TypeError, AttributeError) as error:
        raise RunRefused(
            f"{RUN}: dataset, encoder, metrics or files are not as xmr writes them ({error})"
        ) from error
    if not whole:
        raise RunRefused(f"{RUN}: dataset, encoder, metrics or files are not as xmr writes them")
    return about


def _config(values: dict[str, Any]) -> TrainConfig:
    """The configuration, each field of the type that its default has."""
    config = TrainConfig.from_json(values)
    for name, default in TrainConfig().to_json().items():
        kinds = (int, float) if isinstance(default, float) else (type(default),)
        if type(getattr(config, name)) not in kinds:
            raise RunRefused(f"{RUN}: {name} is {getattr(config, name)!r}, not a {kinds[-1].__name__}")
    return config


def _checked_bytes(path: Path, name: str, files: dict[str, str]) -> bytes:
    content = read_bytes(path / name, MAX_JSON)
    if digest(content) != files.get(name):
        raise RunRefused(f"{name} was altered: its SHA-256 is not the one in {RUN}")
    return content


def _vocabulary(path: Path, files: dict[str, str], matcher: str, params: dict[str, Any]) -> Vocabulary | None:
    if not MATCHERS[matcher].make.reads_words(params):
        return None
    content = parse_json(_checked_bytes(path, WORDS, files), WORDS)
    try:
        return Vocabulary.from_json(content)
    except (TypeError, ValueError) as error:  # TypeError: a list in place of a word
        raise RunRefused(f"{WORDS}: {error}") from error


def _untrained(config: TrainConfig, encoder: dict[str, Any], vocabulary: Vocabulary | None) -> nn.Module:
    """The matcher without memory for its weights: what a foreign file claims costs nothing before it is checked."""
    with torch.device("meta"):
        return build_matcher(
            config.matcher, config.matcher_params, encoder["visual_dim"], encoder["text_dim"], vocabulary
        )


def _check_matcher(path: Path, files: dict[str, str], matcher: nn.Module, loss: Entry) -> dict[str, float]:
    """Checks the weights; returns the learned hyper-parameters of the loss."""
    expected: dict[str, Spec] = {
        f"matcher.{key}": (tuple(tensor.shape), tensor.dtype) for key, tensor in matcher.state_dict().items()
    }
    expected |= {f"loss.{name}": ((), torch.float64) for name in learnable(loss)}
    specs, size = tensor_specs(path / MATCHER)
    check_specs(MATCHER, specs, expected)
    tensors = read_tensors(path / MATCHER, size, files.get(MATCHER, ""))
    try:
        return {name: loss.param(name).parse(tensors[f"loss.{name}"].item()) for name in learnable(loss)}
    except ValueError as error:
        raise RunRefused(f"{MATCHER}: {error}") from error


def _check_embeddings(path: Path, about: dict[str, Any], matcher: nn.Module) -> None:
    sizes = about["dataset"]["sizes"]["test"]
    expected = {side: ((sizes[f"{side}s"], matcher.embed_dim), torch.float16) for side in ("visual", "text")}
    if not matcher.independent and sizes["visuals"] * sizes["texts"] <= MAX_SCORES:
        expected["scores"] = ((sizes["visuals"], sizes["texts"]), torch.float16)
    specs, size = tensor_specs(path / EMBEDDINGS)
    check_specs(EMBEDDINGS, specs, expected)
    read_tensors(path / EMBEDDINGS, size, about["files"].get(EMBEDDINGS, ""))


def _check_history(path: Path, files: dict[str, str]) -> None:
    for line in _checked_bytes(path, HISTORY, files).splitlines():
        if not isinstance(parse_json(line, HISTORY), dict):
            raise RunRefused(f"{HISTORY} is not one JSON object per line")
