"""What a folder's metadata says: which files there are, with which captions, in which split.

    root/{train,validation,test}/metadata.jsonl    or    root/metadata.csv, with or without a `split` column

A row has `file_name` (relative to the metadata's folder) and `captions` (a list), `caption` or `text`; rows of one file are
one visual. Optional are
`split`, `concept` and `base_concept` (see items.py), `label`, and any other column, which is kept. Where nothing says
which split a row belongs to, or validation or test is missing, it is made of train by seed; a concept (or base concept,
where given) never straddles made splits. Rows and folders of a split of another name are left out and counted by that
name, but for "restval", which is part of train.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from xmr.data import pictures, splits
from xmr.data.dataset import DataFault, Split
from xmr.data.items import Item, Listing, Store, listed, merged
from xmr.data.names import endless, files_below, matched
from xmr.data.rows import Row
from xmr.data.tables import caption_columns, captions_in, columns_of, read_rows

METADATA = ("metadata.jsonl", "metadata.csv", "metadata.tsv")
EXAMPLE = {"picture": "a.png", "video": "a.mp4"}


def listing(
    folder: Path, split: Split, seed: int, store: Store, image: str = "file_name", text: str = ""
) -> Listing:
    """What the metadata lists for `split`, the files in the column `image` and the captions in `text`. Raises DataFault."""
    noun = store.noun
    files, present, others = _files(folder, split, noun)
    items: list[Item] = []
    columns: list[str] = []
    hidden: set[str] = {image, "split"}
    for file in files:
        read = read_rows(file)
        if not read:
            raise DataFault(f"{file}: the {split} split is empty: the file has no rows; write one per {noun}")
        captions = [text] if text else caption_columns(read, file)
        hidden.update(captions)
        columns += [name for name in columns_of(read) if name not in columns]
        base = file.parent.relative_to(folder).parts
        items += [_item(base, row, image, captions, noun) for row in read]
    named = (
        [split if split in present else "train"] * len(items) if present else _named(items, columns, folder)
    )
    items, named, varying = merged(items, named, [item.id for item in items])
    return listed(
        folder,
        located(folder, items),
        named,
        split,
        seed,
        columns,
        hidden=hidden | varying,
        present=present or None,
        others=others,
        store=store,
    )


def located(folder: Path, items: list[Item]) -> list[Item]:
    """The items with the ids that their files have on disk, where a table made elsewhere writes them in another way.

    A file that one of the items of all splits names exactly is no other's.
    """
    root = os.path.realpath(folder)
    absent = {item.id for item in items if not os.path.lexists(os.path.join(root, item.id))}
    if not absent:
        return items
    there = files_below(root)
    found = matched([item.id for item in items], there)
    alike: dict[str, list[str]] = {}
    for name in there:
        alike.setdefault(endless(name), []).append(name)
    return [
        item
        if item.id not in absent
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


def _item(base: Sequence[str], row: Row, column: str, captions: Sequence[str], noun: str) -> Item:
    name = row.text(column)
    if not name:
        known = ", ".join(map(repr, row.values))
        raise DataFault(
            f"{row}: no {column!r}; it names the {noun}, relative to the file (there are {known})"
            + "; where another column does, --set image=COLUMN" * (column == "file_name")
        )
    try:
        path = "/".join([*base, pictures.relative(name)])
    except DataFault as error:
        raise DataFault(f"{row}: {error}") from error
    return Item(row, path, captions_in(row, captions, objects=False))


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
