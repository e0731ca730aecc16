"""A file of captions beside each picture or video, as img2dataset writes them without shards, and many who tune models.

    00000/000000000.jpg, 000000000.txt, 000000000.json …    here or in folders; train/, val/ and test/ are splits

Captions are the lines of the .txt, or what the .json has by a known name; what else the .json tells is kept.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

from xmr.data import splits
from xmr.data.columns import HARD, TEXT, first_of
from xmr.data.dataset import DataFault, Dataset, Split
from xmr.data.json_files import json_content
from xmr.data.named_files import item_of, of_files
from xmr.data.names import ENDINGS, ending_with
from xmr.data.pictures import inside
from xmr.data.rows import Row, read_lines
from xmr.data.tables import Skips, captions_in
from xmr.registry import Range

PROBES = 50  # pictures by which such a folder is known


def loose(
    folder: Path,
    split: Split,
    *,
    strict: bool = False,
    seed: int = 0,
    frames: Annotated[int, Range(1, 64)] = 8,
    size: Annotated[int, Range(16, 1024)] = 256,
) -> Dataset:
    """a file of captions beside each picture or video: KEY.jpg or KEY.mp4 with KEY.txt (a caption a line) or KEY.json

    `frames` and `size` are as of `videofolder`. Pictures without captions, captions without a picture, and files that are
    unreadable, too large or outside the folder, are skipped with a warning and counted in `faults`; with `strict` the first is an
    error. `seed` makes missing splits. Raises DataFault, naming the file, on anything else that is wrong.
    """
    skips = Skips(strict)
    texts = {
        (path.with_suffix(""), path.suffix.lower()): path for path in ending_with(folder, (".txt", ".json"))
    }
    root = os.path.realpath(folder)
    for path in texts.values():  # a link elsewhere would show what is there as captions
        inside(root, path.relative_to(folder).as_posix())
    visuals = ending_with(folder, tuple(ENDINGS))
    keys = Counter(path.with_suffix("") for path in visuals)
    if twice := [path for path in visuals if keys[path.with_suffix("")] > 1]:
        raise DataFault(
            f"{twice[0]}: {twice[1].name} has this name too, so whose the captions beside are is not clear; rename one"
        )
    told = {path: splits.told_by(f"{path.parent.relative_to(folder).as_posix()}/") for path in visuals}
    items, named = [], []
    for path in visuals:
        key, name = path.with_suffix(""), path.relative_to(folder).as_posix()
        row, captions = _read(
            Row(folder, 0, {}, name.replace("{", "{{").replace("}", "}}")),
            texts.get((key, ".txt")),
            texts.get((key, ".json")),
        )
        items.append(item_of(row, name, captions, folder))
        named.append(told[path] or (path.parent.name if any(told.values()) else "train"))
    alone = sum(ending == ".txt" and not keys[key] for key, ending in texts)
    skips.leave_out("files of captions without a picture", alone)
    hidden = {first_of(list({name for item in items for name in item.row.values}), TEXT), "key"}
    return of_files(
        folder, split, folder, items, named, hidden=hidden, skips=skips, seed=seed, frames=frames, size=size
    )


def is_loose(folder: Path) -> bool:
    """Whether most of the first pictures or videos in a folder have captions beside them."""
    some = list(islice(_beside(folder), PROBES))
    return sum(some) * 2 > len(some)


def _beside(folder: Path) -> Iterator[bool]:
    """Of each picture or video whether captions are beside it."""
    for _, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = [Path(name) for name in sorted(names) if not name.startswith(".")]
        texts = {path.stem for path in paths if path.suffix.lower() in (".txt", ".json")}
        yield from (path.stem in texts for path in paths if path.suffix.lower() in ENDINGS)


def _read(row: Row, text: Path | None, told: Path | None) -> tuple[Row, list[str]]:
    """A picture's row with what is told of it, and its captions."""
    values: Any = {} if told is None else json_content(told)
    if not isinstance(values, dict):
        raise DataFault(f"{told}: must be an object, found {type(values).__name__}")
    row = row._replace(values=values)
    column = first_of(list(values), TEXT)
    if text is not None:
        captions = [row.checked(line.strip(), text.name) for line in read_lines(text) if line.strip()]
    else:
        captions = captions_in(row, [column]) if column else []
    kept = {
        name: value for name, value in values.items() if name == HARD or not isinstance(value, (list, dict))
    }
    return row._replace(values=kept), captions
