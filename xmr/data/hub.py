"""Data sets of the Hugging Face Hub by address, and the field's usual ones by name.

    hf://ORG/NAME[@REVISION][:CONFIG]

The repository's files are taken as they are into the Hub's own cache, once, and read there as any folder of that layout is;
a revision that is a branch or a tag is pinned to its commit. What needs a script of the repository to be read is taken from
the branch on which the Hub keeps it as parquet. Nothing of the repository is run.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from xmr.data.dataset import DataFault
from xmr.hub import COMMIT, HubFault, Repository, snapshot

PREFIX = "hf://"
ADDRESS = re.compile(
    r"hf://(?:datasets/)?(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?(?::(?P<config>[\w.-]+))?"
)
PARQUET = "refs/convert/parquet"  # where the Hub keeps what it converted
# What can be data: no scripts, and no weights.
DATA = ("parquet", "arrow", "tar", "json", "jsonl", "csv", "tsv", "txt", "md", "npy", "npz", "png", "jpg", "jpeg", "webp", "gif", "mp4", "webm", "avi", "mkv", "mov")  # fmt: skip


@dataclass(frozen=True)
class Preset:
    """A data set that is known by name: where it lies, which of its files are meant, and what is set."""

    source: str
    about: str
    files: tuple[str, ...] = ()
    params: dict[str, Any] = field(default_factory=dict)


PRESETS = {
    "flickr8k": Preset(
        "hf://intro/flickr8k", "8,000 pictures, the splits of Hodosh et al.: 6,000, 1,000, 1,000"
    ),
    "flickr30k": Preset(f"hf://nlphuji/flickr30k@{PARQUET}", "Karpathy's splits: 29,000, 1,014, 1,000"),
    "coco": Preset(
        "hf://undefined443/coco-karpathy-wds", "Karpathy's splits: train with restval 113,287, 5,000, 5,000"
    ),
    "msrvtt": Preset(
        "hf://friedrichor/MSR-VTT",
        "1k-A: 9,000 and 1,000 videos, which lie in root=DIR",
        files=("msrvtt_train_9k.json", "msrvtt_test_1k.json"),
        params={"files": "msrvtt_train_9k.json,msrvtt_test_1k.json"},
    ),
}


@dataclass(frozen=True)
class Address:
    """A data set on the Hub."""

    name: str
    revision: str = ""
    config: str = ""

    def __str__(self) -> str:
        revision, config = f"@{self.revision}" * bool(self.revision), f":{self.config}" * bool(self.config)
        return f"{PREFIX}{self.name}{revision}{config}"


def parse(text: str) -> Address:
    """The parts of an address. Raises DataFault, with what one looks like, where it is none."""
    found = ADDRESS.fullmatch(text)
    if not found:
        raise DataFault(
            f"{text!r} is no address on the Hub; write hf://ORG/NAME, with @REVISION and :CONFIG where needed"
        )
    return Address(found["name"], found["revision"] or "", found["config"] or "")


def is_remote(source: str) -> bool:
    """Whether a source is an address on the Hub, or a preset, maybe at a commit."""
    return source.startswith(PREFIX) or source.partition("@")[0] in PRESETS


def params_of(source: str) -> dict[str, Any]:
    """What a preset sets where the user doesn't."""
    preset = PRESETS.get(source.partition("@")[0])
    return dict(preset.params) if preset else {}


@dataclass(frozen=True)
class Fetched:
    """The files of a data set on the Hub: where they are, what the data set is called, and its address with the commit."""

    folder: Path
    name: str
    pinned: str


def fetched(source: str, download: bool = True) -> Fetched:
    """The files of an address or preset: those in the cache, else got from the Hub, unless `download` is False.

    Raises DataFault, in a sentence, where the Hub can't be reached and they aren't in its cache, or there is no such data
    set.
    """
    word, _, commit = source.partition("@")
    preset = None if source.startswith(PREFIX) else PRESETS[word]
    address = parse(preset.source if preset else source)
    if preset and commit:
        address = replace(address, revision=commit)
    folder = _snapshot(address, preset, download)
    if not address.revision and _only_a_script(folder):
        address = replace(address, revision=PARQUET)
        folder = _snapshot(address, preset, download)
    commit = folder.name if COMMIT.fullmatch(folder.name) else address.revision
    pinned = f"{word}@{commit}" if preset else str(replace(address, revision=commit))
    if address.config:
        if not (folder / address.config).is_dir():
            there = ", ".join(path.name for path in sorted(folder.iterdir()) if path.is_dir()) or "none"
            raise DataFault(f"{source}: no folder {address.config!r} in it (there are: {there})")
        folder = folder / address.config
    return Fetched(folder, word if preset else address.name.partition("/")[2], pinned)


def _snapshot(address: Address, preset: Preset | None, download: bool) -> Path:
    """The snapshot of a repository at a revision."""
    patterns = [f"*.{kind}" for kind in DATA] + ["LICENSE*", "*.py"]
    if preset and preset.files:
        patterns = [*preset.files, "README.md"]
    elif address.config:
        patterns = [f"{address.config}/*", "README.md", "*.py"]
    try:
        return snapshot(Repository(address.name, "dataset", address.revision), patterns, download)
    except HubFault as error:
        raise DataFault(str(error)) from error


def _only_a_script(folder: Path) -> bool:
    """Whether a repository holds a script that would make the data, and none itself."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    data = {".parquet", ".arrow", ".tar", ".csv", ".tsv", ".jsonl", ".zip"}
    return any(path.suffix == ".py" for path in files) and not any(path.suffix in data for path in files)
