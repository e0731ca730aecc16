"""What a folder's metadata says: which files there are, with which captions, in which split.

    root/{train,validation,test}/metadata.jsonl    or    root/metadata.csv, with or without a `split` column

A row has `file_name` (relative to the metadata's folder) and `captions` (a list), `caption` or `text`; optional are
`split`, `concept` (equal concept: mutual positives), `base_concept` (below), `label`, and any other column, which is
kept. Where nothing says which split a row belongs to, or validation or test is missing, it is made of train by seed;
a concept (or base concept, where given) never straddles made splits. Rows and folders of a split of another name are
left out and counted by that name, but for "restval", which is part of train.

`base_concept` says that files of different concepts are alike but for a detail, as emoji are that differ in skin
tone: a caption of the one could have been written for the other. That is knowledge of *matches* only, so the
dataset's truth is 1 for those and for the annotated pairs, and unknown elsewhere: that two base concepts don't
match ("face, smile" fits many) nobody has said.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from xmr.data import pictures, splits
from xmr.data.dataset import DataFault, Split, Truth
from xmr.data.names import endless, files_below, matched
from xmr.data.tables import Row, Skips, caption_column, captions_of, columns_of, read_rows

METADATA = ("metadata.jsonl", "metadata.csv", "metadata.tsv")
EXAMPLE = {"picture": "a.png", "video": "a.mp4"}


@dataclass(frozen=True)
class Item:
    """One file of a folder, as its metadata tells."""

    row: Row
    id: str  # its path relative to the root, with forward slashes
    captions: list[str]
    near: tuple[str, ...] = ()  # files that it could be, where it is missing

    @property
    def group(self) -> str:
        """What never straddles made splits."""
        for column in ("base_concept", "concept"):
            if value := composed(self.row, column):
                return f"{column} {value}"
        return self.id

    @property
    def concept(self) -> str:
        """What it shows; files of equal concept are mutual positives. Its own where none is given."""
        return composed(self.row, "concept") or f"file {self.id}"

    @property
    def base(self) -> str:
        """What it shows but for details."""
        return composed(self.row, "base_concept") or self.concept


@dataclass(frozen=True)
class Listing:
    """The files of one split, in the metadata's order, not yet looked at."""

    items: list[Item]
    columns: list[str]  # of all rows; without those that are read here
    by_concept: bool  # whether there is a column `concept`
    by_base: bool  # … or `base_concept`
    splits: str  # one line: where the splits come from
    others: Mapping[str, int]  # how many files belong to none of the three splits, by the name of theirs

    def values(self, items: list[Item]) -> dict[str, list[Any]]:
        """The metadata's other columns, for `Dataset.columns`."""
        return {name: [item.row.values.get(name) for item in items] for name in self.columns}

    def groups(self, items: list[Item]) -> np.ndarray | None:
        """`Dataset.visual_group`: equal where the concepts are."""
        return codes([item.concept for item in items]) if self.by_concept else None


def listing(folder: Path, split: Split, seed: int, noun: str) -> Listing:
    """What the metadata lists for `split`; `noun` ("picture") names a file in messages. Raises DataFault."""
    files, present, others = _files(folder, split, noun)
    rows: list[Item] = []
    columns: list[str] = []
    hidden: set[str] = {"file_name", "split"}
    for file in files:
        read = read_rows(file)
        if not read:
            raise DataFault(f"{file}: the {split} split is empty: the file has no rows; write one per {noun}")
        caption = caption_column(read, file)
        hidden.add(caption)
        columns += [name for name in columns_of(read) if name not in columns]
        base = file.parent.relative_to(folder).parts
        rows += [_item(base, row, caption, noun) for row in read]
    _check_names(rows, noun)
    check_concepts(rows)

    named = [split if split in present else "train"] * len(rows) if present else _named(rows, columns, folder)
    groups = [item.group for item in rows]
    chosen = splits.choose(named, groups, split, seed, folder, present=present or None)
    return Listing(
        located(folder, [rows[place] for place in chosen.places], [item.id for item in rows]),
        [name for name in columns if name not in hidden],
        by_concept="concept" in columns,
        by_base="base_concept" in columns,
        splits=chosen.note,
        others=Counter(chosen.others) + Counter(others),
    )


def located(folder: Path, items: list[Item], names: list[str]) -> list[Item]:
    """The items with the ids that their files have on disk, where a table made elsewhere writes them in another way.

    `names` are the ids of all splits: a file that one of them names exactly is no other's.
    """
    root = os.path.realpath(folder)
    if all(os.path.lexists(os.path.join(root, item.id)) for item in items):
        return items
    there = files_below(root)
    found = matched(names, there)
    alike: dict[str, list[str]] = {}
    for name in there:
        alike.setdefault(endless(name), []).append(name)
    return [
        item
        if os.path.lexists(os.path.join(root, item.id))
        else replace(item, id=found[item.id])
        if item.id in found
        else replace(item, near=tuple(alike.get(endless(item.id), ())))
        for item in items
    ]


def metadata_files(folder: Path) -> list[Path]:
    """The metadata of a folder: its own, else all in the folders below. Raises DataFault where there are two."""
    own = [folder / name for name in METADATA if (folder / name).is_file()]
    if len(own) > 1:
        names = " and ".join(path.name for path in own)
        raise DataFault(f"{folder}: {names}, so which one holds? move the other away")
    return own or sorted(path for name in METADATA for path in folder.rglob(name) if path.is_file())


def is_described(folder: Path) -> bool:
    """Whether there is metadata where it is looked for first: in the folder itself, or in those named as a split."""
    return any((folder / name).is_file() for name in METADATA) or any(
        metadata_files(path) for paths in split_folders(folder).values() for path in paths
    )


def split_folders(folder: Path) -> dict[Split, list[Path]]:
    """Folders named as a split. Raises DataFault where two mean the same one ("val" and "dev"); restval joins train."""
    found: dict[Split, list[Path]] = {}
    joins: list[Path] = []
    for path in sorted(folder.iterdir()):
        name = path.name.lower()
        split = splits.ALIASES.get(name)
        if name == splits.RESTVAL and path.is_dir():
            joins.append(path)
        elif split and path.is_dir():
            if split in found:
                raise DataFault(
                    f"{folder}: {found[split][0].name}/ and {path.name}/ are both the {split} split"
                )
            found[split] = [path]
    if joins:
        found["train"] = found.get("train", []) + joins
    return found


def composed(row: Row, column: str) -> str:
    """The value in Unicode's composed form, in which equal concepts are equal."""
    return unicodedata.normalize("NFC", row.text(column))


def codes(values: Sequence[str]) -> np.ndarray:
    """Integers (N,) int64, equal where the values are; a blank value equals no other."""
    numbers: dict[Any, int] = {}
    keys = (value or index for index, value in enumerate(values))
    return np.fromiter((numbers.setdefault(key, len(numbers)) for key in keys), np.int64, len(values))


def usable(
    folder: Path, items: list[Item], skips: Skips, check: Callable[[str], bytes], noun: str
) -> tuple[list[Item], list[bytes]]:
    """The items with captions and a sound file, without blank captions, and what `check(path)` returned of each.

    What `check` raises as BadPicture is counted in `skips`. Raises DataFault where a file lies outside the folder.
    """
    kept, evidence = [], []
    root = os.path.realpath(folder)
    for item in tqdm(items, desc=f"read {folder.name}", unit=f" {noun}s", delay=1):
        row, name = item.row, item.row.text("file_name")
        captions = [caption for caption in item.captions if caption.strip()]
        if not captions:
            skips.add(
                f"{noun}s without captions", f"{row}: {name!r} has no captions; write one or delete the row"
            )
            continue
        for _ in range(len(item.captions) - len(captions)):
            skips.add("blank captions", f"{row}: a caption of {name!r} is blank; write or delete it")
        try:
            path = pictures.inside(root, item.id)
        except DataFault as error:
            raise DataFault(f"{row}: {error}") from error
        try:
            evidence.append(check(path))
        except pictures.BadPicture as error:
            what = (
                f"{name!r} is {_missing(item)}" if error.kind.startswith("missing") else f"{name!r}: {error}"
            )
            skips.add(error.kind, f"{row}: {what}")
            continue
        kept.append(replace(item, captions=captions))
    return kept, evidence


def same(visuals: Sequence[str], texts: Sequence[str], source: str) -> Truth:
    """Truth that knows matches only: those of a visual and a text of equal value; all others are unknown."""
    numbers = codes([*visuals, *texts])
    of_visual, of_text = numbers[: len(visuals)], numbers[len(visuals) :]

    def block(visuals: np.ndarray, texts: np.ndarray) -> np.ndarray:
        alike = of_visual[visuals][:, None] == of_text[texts][None, :]
        return np.where(alike, np.float32(1), np.float32(np.nan))

    def pairs(visuals: np.ndarray, texts: np.ndarray) -> np.ndarray:
        return np.where(of_visual[visuals] == of_text[texts], np.float32(1), np.float32(np.nan))

    return Truth(
        block, pairs, complete=False, source=f"{source}: such pairs match; of all others it is unknown"
    )


def same_base(visuals: list[Item], texts: list[Item]) -> Truth | None:
    """Truth from equal base concepts, `texts` being the file of each; None where it tells no more than concepts do."""
    together = [*visuals, *texts]
    if len({item.base for item in together}) == len({item.concept for item in together}):
        return None
    return same([item.base for item in visuals], [item.base for item in texts], "equal base_concept")


def _missing(item: Item) -> str:
    if not item.near:
        return "missing; add the file or delete the row"
    names = " or ".join(map(repr, item.near[:3])) + (" …" if len(item.near) > 3 else "")
    return f"missing, but {names} is there; write the name of the file that is meant, as it is on disk"


def _files(folder: Path, split: Split, noun: str) -> tuple[list[Path], set[Split], dict[str, int]]:
    """The metadata to read, the splits that are told by folders (none if rows tell, or nothing does), and how many rows
    lie in folders that are no split, by name."""
    folders = split_folders(folder)
    files = {path: metadata_files(path) for paths in folders.values() for path in paths}
    if not any(files.values()):
        files_of_root = metadata_files(folder)
        if not files_of_root:
            raise DataFault(
                f"{folder}: no metadata.jsonl or metadata.csv here or below, so there are no captions; write one "
                f'line per {noun}, such as {{"file_name": "{EXAMPLE[noun]}", "captions": ["a cat", "a cat asleep"]}}'
            )
        return files_of_root, set(), {}
    for path, there in files.items():
        if not there:
            raise DataFault(
                f"{path}: the {path.name} split has no metadata.jsonl or metadata.csv as the other splits have; "
                "add it or move the folder away"
            )
    source = split if split in folders else "train"
    if source not in folders:
        names = ", ".join(path.name for path in files)
        raise DataFault(
            f"{folder}: the {split} split is empty: there is {names} only; "
            f"add {split}/ or a train/ that it can be made of"
        )
    others = {
        path.name: sum(_count(file) for file in metadata_files(path))
        for path in sorted(folder.iterdir())
        if path.is_dir() and path not in files
    }
    read = [file for path in folders[source] for file in files[path]]
    return read, set(folders), {name: count for name, count in others.items() if count}


def _count(file: Path) -> int:
    try:
        return len(read_rows(file))
    except DataFault:  # of no concern to the splits that are read
        return 1


def _item(base: Sequence[str], row: Row, caption: str, noun: str) -> Item:
    name = row.text("file_name")
    if not name:
        known = ", ".join(map(repr, row.values))
        raise DataFault(
            f"{row}: no 'file_name'; it names the {noun}, relative to the file (there are {known})"
        )
    try:
        path = "/".join([*base, pictures.relative(name)])
    except DataFault as error:
        raise DataFault(f"{row}: {error}") from error
    return Item(row, path, captions_of(row, caption))


def _check_names(rows: list[Item], noun: str) -> None:
    seen: dict[str, Row] = {}
    for item in rows:
        first = seen.setdefault(item.id, item.row)
        if first is not item.row:
            raise DataFault(
                f"{item.row}: {item.row.text('file_name')!r} was named already ({first}); "
                f"write all captions of a {noun} as one list 'captions'"
            )


def check_concepts(rows: list[Item]) -> None:
    """A base concept is coarser than a concept; else a concept could straddle made splits."""
    base: dict[str, Item] = {}
    for item in rows:
        concept = composed(item.row, "concept")
        first = base.setdefault(concept, item) if concept else item
        if composed(first.row, "base_concept") != composed(item.row, "base_concept"):
            raise DataFault(
                f"{item.row}: concept {concept!r} has base_concept {item.row.text('base_concept')!r} here "
                f"and {first.row.text('base_concept')!r} in {first.row}; it can have only one"
            )


def _named(rows: list[Item], columns: list[str], folder: Path) -> list[str]:
    """What one table says of each row's split: by its column, else by the folders that its names begin with."""
    if "split" in columns:
        return [splits.declared(item.row) for item in rows]
    folders = [item.id.replace("\\", "/").partition("/")[0] for item in rows]
    by_name = splits.ALIASES | {splits.RESTVAL: "train"}
    known = {by_name[name.lower()] for name in folders if name.lower() in by_name}
    everywhere = all(name.lower() in by_name for name in folders)
    # A single folder called "test" among others may be any word; two or more are splits.
    if not known <= set(split_folders(folder)) or not (everywhere or len(known) > 1):
        return ["train"] * len(rows)
    return [by_name.get(name.lower(), name) for name in folders]
