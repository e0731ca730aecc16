"""A finished run, read from its folder and checked before anything of it is used."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from torch import nn
from torch.overrides import TorchFunctionMode
from typing_extensions import NotRequired, TypedDict

from xmr.checkpoints.files import MAX_JSON, RunRefused, Spec, read_tensors
from xmr.checksums import digest
from xmr.core import TrainConfig
from xmr.disk import HOSTILE, check_texts, parse_json, printable, read
from xmr.losses import LOSSES
from xmr.matchers import MATCHERS, Vocabulary, build_matcher
from xmr.registry import Entry

SCHEMA = 1
RUN, MATCHER, EMBEDDINGS = "run.json", "matcher.safetensors", "embeddings.safetensors"
HISTORY, WORDS, CARD, STATE = "history.jsonl", "words.json", "README.md", "resume.safetensors"
FILES = (RUN, STATE, MATCHER, EMBEDDINGS, HISTORY, WORDS, CARD)
MAX_SCORES = 20_000_000  # of a pair scorer on the test split that a run keeps
# What the last epochs of a matcher with a metric network are trained with (`metric_epochs`).
METRIC_LOSS, METRIC_PARAMS = "similar_dissimilar", {"scale": 1.0, "bias": 0.0}
MAX_RUN = 1 << 20  # bytes of run.json
MAX_EPOCHS = 100_000
MAX_REASON = 500  # characters
# Ends of lines, and what nobody sees, so that a name looks like another; not the joiners that some scripts need.
NO_NAME = re.compile("[\t\n\r\u2028\u2029\u00ad\u180e\u200b\u2060-\u2064\ufeff]")

Count = Annotated[int, Field(gt=0)]
Width = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(max_length=500, pattern=r"^[^\n\r\t]*$")]
Values = dict[str, Annotated[float, Field(allow_inf_nan=False)]]
Exactly = with_config(ConfigDict(strict=True))


@Exactly
class _Size(TypedDict):
    visuals: Count
    texts: Count


@Exactly
class _Dataset(TypedDict):
    name: Name
    kind: NotRequired[Literal["image", "clip"]]
    fingerprints: dict[str, Name]
    sizes: dict[str, _Size]
    verdicts: NotRequired[dict[str, int | Name]]


@Exactly
class _Encoder(TypedDict):
    name: Name
    hash: Name
    visual_dim: Width
    text_dim: Width


@Exactly
class Training(TypedDict, total=False):
    epochs: Width
    steps: Width
    best_epoch: Width
    seconds: float
    command: str
    diverged: dict[str, Any] | None
    versions: dict[str, str]


@Exactly
class _Origin(TypedDict):
    """What a training begins with."""

    config: dict[str, Any]
    dataset: _Dataset
    encoder: _Encoder


@Exactly
class _About(_Origin):
    """What run.json holds, as far as anything relies on it."""

    metrics: dict[str, Values]
    training: Training
    files: dict[str, Name]


ORIGIN, ABOUT = TypeAdapter(_Origin), TypeAdapter(_About)
HISTORY_LINE = TypeAdapter(Values, config=ConfigDict(strict=True))


@dataclass(frozen=True)
class RunFault:
    """A folder that could not be loaded as a run, and why; both can be shown."""

    path: Path
    reason: str

    @classmethod
    def of(cls, path: Path, reason: object) -> RunFault:
        words = printable(str(reason))
        cut = words if len(words) <= MAX_REASON else f"{words[:MAX_REASON]}…"
        return cls(Path(printable(str(path))), cut)


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
        return _history(self.path, self.files)

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
        tensors = self._tensors
        return tensors["visual"].float().numpy(), tensors["text"].float().numpy()

    @cached_property
    def _scores(self) -> np.ndarray | None:
        scores = self._tensors.get("scores")
        return None if scores is None else scores.float().numpy()

    @cached_property
    def _matcher(self) -> nn.Module:
        matcher = _untrained(self.config, self.encoder, self.vocabulary)
        tensors = _trained_tensors(self.path, self.files, matcher, LOSSES[self.config.loss])
        state = {key.removeprefix("matcher."): t for key, t in tensors.items() if key.startswith("matcher.")}
        matcher.load_state_dict(state, assign=True)
        return matcher.eval().requires_grad_(False)

    @property
    def _tensors(self) -> dict[str, torch.Tensor]:
        return _embedding_tensors(self.path, self.files, self.dataset["sizes"]["test"], self._form)


def load_trained(path: Path, about: dict[str, Any]) -> Run:
    """The trained run in the folder `path`, every file of it checked; `about` is the content of its run.json.

    Raises RunRefused as `xmr.checkpoints.load_run`.
    """
    _checked(about)
    files = about["files"]
    try:
        config = _config(about["config"])
        loss = LOSSES[config.loss]
        values = loss.parse(config.loss_params)
        params = MATCHERS[config.matcher].parse(config.matcher_params)
        vocabulary = _vocabulary(path, files, config.matcher, params)
        config = replace(config, loss_params=values, matcher_params=params)
        matcher = _untrained(config, about["encoder"], vocabulary)
    except RunRefused:
        raise
    except Exception as error:  # whatever a stranger's configuration does to what is built of it
        raise RunRefused(f"{RUN}: {error}") from error
    learned = _learned(_trained_tensors(path, files, matcher, loss), loss)
    _embedding_tensors(path, files, about["dataset"]["sizes"]["test"], matcher)
    _history(path, files)
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
    return os.path.lexists(Path(folder) / RUN)


def is_started(folder: str | Path) -> bool:
    """Whether `folder` holds a run, finished or not."""
    return is_finished(folder) or (Path(folder) / STATE).exists()


def clear_run(folder: str | Path) -> None:
    """Deletes the files of a run, and no others; run.json first, so that what is left is no run."""
    for name in FILES:
        (Path(folder) / name).unlink(missing_ok=True)


def learnable(loss: Entry) -> list[str]:
    """The hyper-parameters of a loss that training turns into parameters."""
    return [param.name for param in loss.params if param.range is not None and param.range.learn]


# ---- checks ------------------------------------------------------------------------------------------------


def check_name(name: str) -> None:
    """Raises RunRefused where a folder's name can't be a run's: it is shown, written into files, and part of addresses."""
    if found := HOSTILE.search(name) or NO_NAME.search(name):
        what = "a tab or the end of a line" if found[0].isspace() else f"the character U+{ord(found[0]):04X}"
        raise RunRefused(f"the name of the folder holds {what}: rename it")


def check_origin(config: TrainConfig, dataset: dict[str, Any], encoder: dict[str, Any]) -> None:
    """Raises RunRefused where a run that was trained like this could not be read again."""
    about = {"config": config.to_json(), "dataset": dataset, "encoder": encoder}
    check_texts(about, "the configuration")
    check_fields(ORIGIN, about, "the configuration")


def read_about(path: Path) -> dict[str, Any]:
    """run.json of a folder: an object of the schema that this xmr reads. Raises RunRefused."""
    about = parse_json(read(path / RUN, MAX_RUN), RUN)
    if not isinstance(about, dict) or "schema" not in about:
        raise RunRefused(f"{RUN} is not of xmr: it has no schema version")
    if about["schema"] != SCHEMA:
        raise RunRefused(f"{RUN} has schema version {about['schema']!r:.40}; this xmr reads {SCHEMA}")
    return about


def check_fields(kind: TypeAdapter, value: Any, name: str) -> None:
    """Raises RunRefused, naming the field, where `value` is not of that kind."""
    try:
        kind.validate_python(value)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part)[:80] for part in fault["loc"])
        raise RunRefused(f"{name}: {place} is not as xmr writes it: {fault['msg']}") from error


def check_metrics(metrics: dict[str, dict[str, float]]) -> None:
    """Raises RunRefused where they are not of the validation and the test split."""
    for split in ("validation", "test"):
        if split not in metrics or not (
            "rsum" in metrics[split] or {"v2t/map", "t2v/map"} <= metrics[split].keys()
        ):
            raise RunRefused(f"{RUN}: metrics.{split} is not as xmr writes it: it has no rsum and no mAP")


def _checked(about: dict[str, Any]) -> None:
    check_fields(ABOUT, about, RUN)
    check_metrics(about["metrics"])
    if "test" not in about["dataset"]["sizes"]:
        raise RunRefused(f"{RUN}: dataset.sizes is not as xmr writes it: it has no test split")


def _config(values: dict[str, Any]) -> TrainConfig:
    """The configuration, each field of the type that its default has."""
    config = TrainConfig.from_json(values)
    for name, default in TrainConfig().to_json().items():
        kinds = (int, float) if isinstance(default, float) else (type(default),)
        if type(getattr(config, name)) not in kinds:
            raise RunRefused(f"{RUN}: {name} is {getattr(config, name)!r:.80}, not a {kinds[-1].__name__}")
    return config


def _checked_bytes(path: Path, name: str, files: dict[str, str]) -> bytes:
    content = read(path / name, MAX_JSON)
    if digest(content) != files.get(name):
        raise RunRefused(f"{name} was altered or truncated: its SHA-256 is not the one in {RUN}")
    return content


def _vocabulary(path: Path, files: dict[str, str], matcher: str, params: dict[str, Any]) -> Vocabulary | None:
    if not MATCHERS[matcher].make.reads_words(params):
        return None
    content = parse_json(_checked_bytes(path, WORDS, files), WORDS)
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
    with torch.device("meta"), _NoValues():
        return build_matcher(
            config.matcher, config.matcher_params, encoder["visual_dim"], encoder["text_dim"], vocabulary
        )


def _trained_tensors(
    path: Path, files: dict[str, str], matcher: nn.Module, loss: Entry
) -> dict[str, torch.Tensor]:
    expected: dict[str, Spec] = {
        f"matcher.{key}": (tuple(tensor.shape), tensor.dtype) for key, tensor in matcher.state_dict().items()
    }
    expected |= {f"loss.{name}": ((), torch.float64) for name in learnable(loss)}
    return read_tensors(path / MATCHER, expected, files.get(MATCHER, ""))


def _learned(tensors: dict[str, torch.Tensor], loss: Entry) -> dict[str, float]:
    """The learned hyper-parameters of the loss."""
    try:
        return {name: loss.param(name).parse(tensors[f"loss.{name}"].item()) for name in learnable(loss)}
    except ValueError as error:
        raise RunRefused(f"{MATCHER}: {error}") from error


def _embedding_tensors(
    path: Path, files: dict[str, str], sizes: dict[str, int], matcher: nn.Module
) -> dict[str, torch.Tensor]:
    expected = {side: ((sizes[f"{side}s"], matcher.embed_dim), torch.float16) for side in ("visual", "text")}
    if not matcher.independent and sizes["visuals"] * sizes["texts"] <= MAX_SCORES:
        expected["scores"] = ((sizes["visuals"], sizes["texts"]), torch.float16)
    return read_tensors(path / EMBEDDINGS, expected, files.get(EMBEDDINGS, ""))


def _history(path: Path, files: dict[str, str]) -> list[dict[str, Any]]:
    lines = _checked_bytes(path, HISTORY, files).splitlines()
    if len(lines) > MAX_EPOCHS:
        raise RunRefused(f"{HISTORY} has {len(lines):,} lines, more than the {MAX_EPOCHS:,} that are allowed")
    found = [parse_json(line, HISTORY) for line in lines]
    for number, line in enumerate(found, 1):
        check_fields(HISTORY_LINE, line, f"{HISTORY}, line {number}")
        if "epoch" not in line:
            raise RunRefused(f"{HISTORY}, line {number} is of no epoch")
    return found
