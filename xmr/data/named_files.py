"""Pictures or videos that a table or JSON file names, each a file of its own: where they lie, and those that are outside."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from xmr.data import pictures, videos
from xmr.data.build import of_items
from xmr.data.columns import Columns
from xmr.data.dataset import DataFault, Dataset, Split
from xmr.data.items import Item, listed, merged
from xmr.data.metadata import located
from xmr.data.names import ENDINGS, ending_with
from xmr.data.rows import Row
from xmr.data.tables import Skips, columns_of

PROBES = 50  # names by which the folder of the files is found


class _Inside:
    """Of files that a stranger's table names: those outside the folder are counted as the others that can't be used are."""

    def path(self, item: Item) -> str:
        if item.place:
            raise pictures.BadPicture(f"{self.noun}s outside the folder", item.place)
        try:
            return super().path(item)
        except DataFault as error:
            raise pictures.BadPicture(f"{self.noun}s outside the folder", str(error)) from error

    def glance(self, item: Item) -> bytes:
        try:
            return super().glance(item)
        except pictures.BadPicture:
            return b""


class Named(_Inside, pictures.Files):
    """Pictures that a table names."""


class NamedVideos(_Inside, videos.Files):
    """Videos that a table names."""


def item_of(row: Row, name: str, captions: Sequence[str], root: str | Path) -> Item:
    """A row's item, whose file is `name`, relative to `root` or absolute within it; one outside is to be counted later."""
    name, base = name.replace("\\", "/"), os.path.realpath(Path(root).expanduser())
    if os.path.isabs(name) and os.path.realpath(name).startswith(base + os.sep):
        name = os.path.relpath(os.path.realpath(name), base)
    written = [caption.strip() for caption in captions]
    try:
        return Item(row, pictures.relative(name), written)
    except DataFault as error:
        return Item(row, name, written, place=f"{error}; --set root=DIR names the folder that holds them")


def of_files(
    path: Path,
    split: Split,
    root: Path,
    items: Sequence[Item],
    named: Sequence[str],
    *,
    hidden: set[str],
    skips: Skips,
    seed: int,
    columns: Columns | None = None,
    clips: bool | None = None,
    frames: int = 8,
    size: int = 256,
    about: dict[str, Any] | None = None,
) -> Dataset:
    """The dataset of items that are files below `root`, of split `named[i]` each; those of equal id are one.

    Names without an ending are those of the files that have one. `hidden` are columns that are not kept, and `columns`
    tells which were read as what. Videos (`clips`, if their names don't tell) become clips of `frames` frames of at most
    `size` pixels a side.
    """
    items, named, varying = merged(items, named, [item.id for item in items])
    items = located(root, below(root, ended(root, items)))
    if clips is None:
        films = Counter(Path(item.id).suffix.lower() in videos.SUFFIXES[:-1] for item in items)
        clips = films[True] > films[False]
    store = NamedVideos(root, frames, size) if clips else Named(root)
    kept = columns_of([item.row for item in items[:1000]])
    found = listed(path, items, named, split, seed, kept, hidden=hidden | varying, store=store)
    return of_items(
        path if path.is_dir() else path.parent,
        split,
        found,
        store,
        strict=skips.strict,
        skips=skips,
        about=(about or {}) | ({"columns": columns.said(store.noun)} if columns else {}),
        **({"kind": "clip", "parts": store.parts} if clips else {}),
    )


def ended(root: Path, items: list[Item]) -> list[Item]:
    """The items with the paths of their files, where most names have no ending and are those of files in any folder."""
    bare = [item for item in items if PurePosixPath(item.id).suffix.lower() not in ENDINGS]
    if len(bare) * 2 <= len(items):
        return items
    stems: dict[str, list[str]] = {}
    for path in ending_with(root, tuple(ENDINGS)):
        stems.setdefault(path.stem, []).append(path.relative_to(root).as_posix())
    return [
        replace(item, id=found[0]) if len(found := stems.get(PurePosixPath(item.id).name, [])) == 1 else item
        for item in items
    ]


def below(root: Path, items: list[Item]) -> list[Item]:
    """The items with ids below the folder in which most of the files lie, where they don't lie in `root` itself."""
    probes = [item.id for item in items if not item.place][:: max(1, len(items) // PROBES)]
    found = {"": sum((root / name).is_file() for name in probes)}
    if found[""] * 2 < len(probes):
        folders = [path for path in sorted(root.glob("*/")) if path.is_dir()]
        folders += [path for one in folders for path in sorted(one.glob("*/")) if path.is_dir()]
        for path in folders:
            found[path.relative_to(root).as_posix() + "/"] = sum((path / name).is_file() for name in probes)
    prefix = max(found, key=lambda name: found[name])
    return [item if item.place else replace(item, id=prefix + item.id) for item in items] if prefix else items
