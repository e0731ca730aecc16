"""What lies in a run's folder, and the checks that run.json of any kind has to pass."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import NotRequired, TypedDict

from xmr.checkpoints.files import RunRefused
from xmr.core import TrainConfig
from xmr.disk import HOSTILE, check_texts, parse_json, printable, read
from xmr.hub import HubFault, Repository, snapshot

SCHEMA = 1
RUN, MATCHER, EMBEDDINGS = "run.json", "matcher.safetensors", "embeddings.safetensors"
HISTORY, WORDS, CARD, STATE = "history.jsonl", "words.json", "README.md", "resume.safetensors"
SNAPSHOTS = "snapshots.safetensors"
OPEN_CLIP = ("open_clip_config.json", "open_clip_model.safetensors")  # of towers
# Of towers whose texts are read with Hugging Face's package: what that may write of tokenizer and architecture.
TOKENIZER = (
    "config.json",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt", "vocab.json",
    "merges.txt", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "chat_template.jinja",
)  # fmt: skip
FILES = (RUN, STATE, MATCHER, EMBEDDINGS, SNAPSHOTS, HISTORY, WORDS, CARD, *OPEN_CLIP, *TOKENIZER)
EPOCHS = "epoch_*.pt"  # of towers, as open_clip's trainer writes them
PARTS = f"resume-{'[0-9a-f]' * 64}.safetensors"  # of a state that one file has no room for, by their SHA-256
REMOTE = re.compile(r"hf-hub:(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
MAX_RUN = 1 << 20  # bytes of run.json
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
class _OnTheWay(TypedDict):
    """What is reached with weights at a `share` of the way from those before a fine-tuning to those after it."""

    share: float
    validation: float
    test: float


@Exactly
class _Training(TypedDict, total=False):
    epochs: Width
    steps: Width
    best_epoch: Width
    seconds: float
    command: str
    diverged: dict[str, Any] | None
    versions: dict[str, str]
    interpolation: list[_OnTheWay]


@Exactly
class Origin(TypedDict):
    """What a training begins with."""

    config: dict[str, Any]
    dataset: _Dataset
    encoder: _Encoder


@Exactly
class Outcome(TypedDict):
    """What is told of every run."""

    metrics: dict[str, Values]
    training: _Training


ORIGIN, OUTCOME = TypeAdapter(Origin), TypeAdapter(Outcome)


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


def is_remote(path: str | Path) -> bool:
    """Whether a run folder, or a folder of some, is named by its repository on the Hub."""
    return str(path).startswith("hf-hub:")


def local(path: str | Path) -> Path:
    """The folder that `path` names. Of hf-hub:ORG/NAME[@REVISION] the files of a run or of several, and no others, are got into
    the Hub's cache, where the folder is called by the commit. Raises RunRefused where they can't be had."""
    if not is_remote(path):
        return Path(path).expanduser()
    found = REMOTE.fullmatch(str(path))
    if not found:
        raise RunRefused(
            f"{str(path)!r} is no address on the Hub; write hf-hub:ORG/NAME, with @REVISION where needed"
        )
    names = [name for name in FILES if name != STATE]
    try:
        return snapshot(
            Repository(found["name"], "model", found["revision"] or ""),
            [*names, *(f"*/{name}" for name in names)],
        )
    except HubFault as error:
        raise RunRefused(str(error)) from error


def pinned(path: str | Path, folder: Path) -> str:
    """An address on the Hub at the commit that it stands for, `folder` being what `local` made of it; any other path as it is."""
    return f"{str(path).partition('@')[0]}@{folder.name}" if is_remote(path) else str(path)


def name_of(path: Path) -> str:
    """What the run in a folder is called: as the folder, or as its repository where the folder is a snapshot of the Hub's cache."""
    return (
        path.parent.parent.name.rpartition("--")[2]
        if is_cached(path) and not is_cached(path.parent)
        else path.name
    )


def is_cached(path: Path) -> bool:
    """Whether a folder is, or lies in, a snapshot of the Hub's cache, which is not to be written to."""
    return any(one.name == "snapshots" and one.parent.name.startswith("models--") for one in path.parents)


def is_finished(folder: str | Path) -> bool:
    """Whether `folder` holds a finished run, whole or not."""
    return os.path.lexists(Path(folder) / RUN)


def is_started(folder: str | Path) -> bool:
    """Whether `folder` holds a run, finished or not."""
    return is_finished(folder) or (Path(folder) / STATE).exists()


def check_place(folder: str | Path) -> None:
    """Raises RunRefused where `folder` holds something, and no run, so that one written into it would mix with that or replace it."""
    path = Path(folder)
    if is_started(path) or not path.is_dir():
        return
    there = sorted(one.name for one in path.iterdir() if not one.name.startswith("."))
    if there and not {MATCHER, EMBEDDINGS} & set(there):  # with these it was being written
        raise RunRefused(
            f"{path} holds {printable(there[0])!r} and no run: write it elsewhere, by another --out or name"
        )


def clear_run(folder: str | Path) -> None:
    """Deletes the files of a run, and no others; run.json first, so that what is left is no run."""
    for path in [
        *(Path(folder) / name for name in FILES),
        *(path for pattern in (EPOCHS, PARTS) for path in Path(folder).glob(pattern)),
    ]:
        path.unlink(missing_ok=True)


def clear_training(folder: Path) -> None:
    """Deletes what a training left that a model as it is took the place of; weights of open_clip stay, which may be the model's own."""
    for path in [
        *(folder / name for name in (STATE, MATCHER, SNAPSHOTS, HISTORY, WORDS)),
        *folder.glob(PARTS),
    ]:
        path.unlink(missing_ok=True)


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


def kind_of(about: dict[str, Any]) -> str:
    """What kind of run a run.json is of; heads and combinations don't say it."""
    return str(about.get("kind", "combination" if "members" in about else "head"))


def check_fields(kind: TypeAdapter, value: Any, name: str) -> None:
    """Raises RunRefused, naming the field, where `value` is not of that kind."""
    try:
        kind.validate_python(value)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part)[:80] for part in fault["loc"])
        raise RunRefused(f"{name}: {place} is not as xmr writes it: {fault['msg']}") from error


def check_outcome(about: dict[str, Any], splits: Sequence[str] = ("validation", "test")) -> None:
    """Raises RunRefused where the metrics are not of these splits."""
    check_fields(OUTCOME, about, RUN)
    for split in splits:
        metrics = about["metrics"].get(split, {})
        if "rsum" not in metrics and not {"v2t/map", "t2v/map"} <= metrics.keys():
            raise RunRefused(f"{RUN}: metrics.{split} is not as xmr writes it: it has no rsum and no mAP")


def check_sizes(about: dict[str, Any]) -> None:
    """Raises RunRefused where the sizes are not of the test split."""
    if "test" not in about["dataset"]["sizes"]:
        raise RunRefused(f"{RUN}: dataset.sizes is not as xmr writes it: it has no test split")
