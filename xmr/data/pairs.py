"""Tables of pictures (or videos) and captions, and the files they name.

    train.csv | pairs.tsv | ANY.jsonl | ANY.json (a list of objects)    as open_clip, BLIP and many others have it
    captions.txt, Images/                                              Kaggle's Flickr8k; results.csv of its Flickr30k
    Flickr8k.token.txt                                                 NAME.jpg#0, a tab and the caption, without a header
    AllVideoDescriptions.txt, YouTubeClips/                            MSVD: a clip's name, a blank and a caption; or its CSV with
                                                                       VideoID, Start, End, Language and Description

A column holds the paths, another the captions, one or a list: known by name, or by `--set image=COLUMN --set text=COLUMN`.
Rows of one path become one visual. Paths are relative to `root`, to the table, or to the one folder below it in which most of
them are. Splits are a column's, or tables named by them, or text files so named that list names (`testImages.txt`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from xmr.data import splits
from xmr.data.columns import Columns, mapped
from xmr.data.dataset import DataFault, Dataset, Split
from xmr.data.items import Item
from xmr.data.named_files import item_of, of_files
from xmr.data.rows import Row, read_head, read_lines
from xmr.data.tables import Skips, captions_in, columns_of, header, read_rows
from xmr.registry import Range, unknown

SUFFIXES = (".csv", ".tsv", ".txt", ".token", ".jsonl", ".json")
# Tables without a header: Flickr8k's token files, and MSVD's AllVideoDescriptions.txt with its clips by name and seconds.
BARE = {
    "image": re.compile(r"(?P<name>[^\t]+\.\w{3,4})#\d+\t(?P<caption>.*)"),
    "video": re.compile(r"(?P<name>\S+_\d+_\d+) (?P<caption>.*)"),
}
MSVD = ("VideoID", "Start", "End", "Language", "Description")
HEAD = 1 << 16  # bytes of a file in which its header, or its first object, stands


def pairs(
    path: Path,
    split: Split,
    *,
    strict: bool = False,
    seed: int = 0,
    image: str = "",
    text: str = "",
    root: str = "",
    files: str = "",
    frames: Annotated[int, Range(1, 64)] = 8,
    size: Annotated[int, Range(16, 1024)] = 256,
) -> Dataset:
    """a table (CSV, TSV, JSON lines, a JSON list, captions.txt) of paths and captions, and the pictures or videos it names

    `image` and `text` name the columns where they are not known by name, `files` the tables (between commas) where others
    lie beside; paths are relative to `root`, or to the table.
    `frames` and `size` are as of `videofolder`. Files that are missing, unreadable, too large or outside the folder,
    blank captions and rows that do not fit the header are skipped with a warning and counted in `faults`; with `strict`
    the first is an error. `seed` makes missing splits. Raises DataFault, naming file and line, on anything else that is
    wrong.
    """
    skips = Skips(strict)
    tables = {path: ""} if path.is_file() else _by_split(path, files)
    rows = {file: _rows(file, skips) for file in tables}
    mapping = {file: mapped(columns_of(own), file, image=image, text=text) for file, own in rows.items()}
    columns = next(iter(mapping.values()))
    folder = path if path.is_dir() else path.parent
    items = [
        item_of(row, row.text(mapping[file].image), captions_in(row, mapping[file].text), root or folder)
        for file, own in rows.items()
        for row in own
    ]
    named = _splits(rows, tables, mapping, folder, items)
    return of_files(
        path,
        split,
        Path(root).expanduser() if root else folder,
        items,
        named,
        hidden=set().union(*(one.read for one in mapping.values())),
        skips=skips,
        seed=seed,
        columns=columns,
        frames=frames,
        size=size,
    )


def pair_tables(folder: Path) -> list[Path]:
    """The tables of a folder that have columns of paths and of captions."""
    there = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES and path.is_file()]
    # What is called nearly as an imagefolder's metadata was meant to be that.
    return [path for path in there if not path.stem.startswith("metadata") and is_table(path)]


def is_table(path: Path) -> bool:
    """Whether the head of a file is that of a table of paths and captions."""
    if not path.is_file():
        return False
    head = read_head(path, HEAD)
    try:
        if path.suffix.lower() in (".json", ".jsonl"):
            bracket, start = ("[" if path.suffix.lower() == ".json" else ""), head.lstrip()
            if not start.startswith(bracket):
                return False
            columns = list(json.JSONDecoder().raw_decode(start[len(bracket) :].lstrip())[0])
        elif _bare(path):
            return True
        else:
            columns = header(path)
        mapped(columns, path)
    except (ValueError, TypeError, RecursionError):  # DataFault is one
        return False
    return True


def _by_split(folder: Path, files: str) -> dict[Path, str]:
    """The tables of a folder and the split that each is named by. Raises DataFault where it is not clear which count."""
    there = pair_tables(folder)
    for name in filter(None, (name.strip() for name in files.split(","))):
        if folder / name not in there:
            raise DataFault(f"{folder}: {unknown('table', name, [path.name for path in there])}")
    there = [path for path in there if not files or path.name in files.split(",")]
    told = {path: splits.told_by(path.name) for path in there}
    if any(told.values()):
        return {path: name or path.stem for path, name in told.items()}
    if len(there) > 1:
        names = ", ".join(path.name for path in there)
        raise DataFault(
            f"{folder}: several tables could be it ({names}); name the file instead of the folder"
        )
    return told


def _bare(path: Path) -> str:
    """By which pattern the first line of a text file is a row without a header; "" where by none."""
    if path.suffix.lower() not in (".txt", ".token"):
        return ""
    lines = read_head(path, HEAD).splitlines()
    first = next((line for line in lines if line.strip() and not line.startswith("#")), "")
    return next((column for column, pattern in BARE.items() if pattern.fullmatch(first)), "")


def _rows(file: Path, skips: Skips) -> list[Row]:
    if bare := _bare(file):
        found = []
        for line, one in enumerate(read_lines(file), 1):
            if match := BARE[bare].fullmatch(one):
                found.append(Row(file, line, {bare: match["name"], "caption": match["caption"]}))
            elif one.strip() and not one.startswith("#"):
                skips.add(
                    "odd rows", f"{file}, line {line}: no name and caption, as the first lines have them"
                )
        return found
    rows = read_rows(file, lambda message: skips.add("odd rows", message))
    if not rows:
        raise DataFault(f"{file}: no rows; write one per caption, with the path of its picture")
    return _of_msvd(rows, skips) if set(MSVD) <= set(rows[0].values) else rows


def _of_msvd(rows: list[Row], skips: Skips) -> list[Row]:
    """The English rows of MSVD's own table, each with the name of its clip's file."""
    found = []
    for row in rows:
        if (language := row.text("Language")) == "English":
            name = "_".join(row.text(column) for column in MSVD[:3])
            found.append(row._replace(values={"video": name, "caption": row.values["Description"]}))
        else:
            skips.counts[f"captions in {language}"] = skips.counts.get(f"captions in {language}", 0) + 1
    return found


def _splits(
    rows: dict[Path, list[Row]],
    files: dict[Path, str],
    mapping: dict[Path, Columns],
    folder: Path,
    items: Sequence[Item],
) -> list[str]:
    """The split of each row: by its column, else by its table's name, else by lists of names; "train" where nothing tells."""
    lists = {}
    if not any(files.values()) and not any(columns.split for columns in mapping.values()):
        lists = splits.by_lists(folder, {item.id for item in items})
    if lists:
        return [lists.get(item.id, "in no list") for item in items]
    return [
        splits.declared(row, column) if (column := mapping[file].split) else files[file] or "train"
        for file, own in rows.items()
        for row in own
    ]
