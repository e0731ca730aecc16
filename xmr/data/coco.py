"""COCO's annotation of captions, and Karpathy's of COCO, Flickr8k and Flickr30k.

    captions_train2017.json, captions_val2017.json    "images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}],
                                                      here or in annotations/, and the pictures in train2017/, val2017/
    dataset_coco.json, dataset_flickr30k.json         "images": [{"filename", "filepath", "split", "sentences": [{"raw"}]}],
                                                      and the pictures here, in `filepath`, or in one folder below

COCO's files are of the split that they are named by; Karpathy's restval is part of train.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from xmr.data import splits
from xmr.data.dataset import DataFault, Dataset, Split
from xmr.data.items import Item
from xmr.data.json_files import json_content, json_keys, records
from xmr.data.named_files import below, item_of, of_files
from xmr.data.rows import Row
from xmr.data.tables import Skips, captions_in

HEAD = 1 << 16  # bytes of a JSON file in which its first picture stands


def coco(path: Path, split: Split, *, strict: bool = False, seed: int = 0, root: str = "") -> Dataset:
    """COCO's captions_*.json, here or in annotations/, and the pictures in train2017/, val2017/ …

    Pictures are looked for below `root`, or the folder. Those that are missing or unreadable, blank captions and captions
    of pictures that are not listed are skipped with a warning and counted in `faults`; with `strict` the first is an error.
    `seed` makes missing splits. Raises DataFault, naming file and place, on anything else that is wrong.
    """
    skips = Skips(strict)
    folder, files = _home(path), [path] if path.is_file() else coco_files(path)
    told = {file: splits.told_by(file.name) for file in files}
    items: list[Item] = []
    named: list[str] = []
    for file in files:
        own = list(_of_coco(file, root or folder, skips))
        items += below(Path(root).expanduser() if root else folder, own)  # each in a folder of its own
        named += [told[file] or ("train" if not any(told.values()) else file.stem)] * len(own)
    base = Path(root).expanduser() if root else folder
    return of_files(folder, split, base, items, named, hidden={"file_name"}, skips=skips, seed=seed)


def karpathy(path: Path, split: Split, *, strict: bool = False, seed: int = 0, root: str = "") -> Dataset:
    """Karpathy's dataset_*.json of COCO, Flickr8k or Flickr30k, and its pictures here or in a folder below

    Pictures are looked for below `root`, or the folder. Those that are missing or unreadable and blank captions are skipped
    with a warning and counted in `faults`; with `strict` the first is an error. `seed` makes missing splits. Raises
    DataFault, naming file and place, on anything else that is wrong.
    """
    folder = path if path.is_dir() else path.parent
    base = Path(root).expanduser() if root else folder
    files = [path] if path.is_file() else karpathy_files(path)
    if len(files) > 1:
        raise DataFault(
            f"{path}: {' and '.join(file.name for file in files)}: name the file instead of the folder"
        )
    items = [
        item_of(row, "/".join(filter(None, (row.text("filepath"), row.text("filename")))), texts, base)
        for row, texts in _of_karpathy(files[0])
    ]
    named = [splits.declared(item.row) for item in items]
    hidden = {"filename", "filepath", "split"}
    return of_files(folder, split, base, items, named, hidden=hidden, skips=Skips(strict), seed=seed)


def coco_files(folder: Path) -> list[Path]:
    """The JSON files with pictures and captions, by name, in a folder or its annotations/."""
    there = [*sorted(folder.glob("*.json")), *sorted(folder.glob("annotations/*.json"))]
    return [path for path in there if "caption" in path.name.lower() and "images" in json_keys(path)]


def karpathy_files(folder: Path) -> list[Path]:
    """The JSON files whose pictures have sentences."""
    return [path for path in sorted(folder.glob("*.json")) if is_karpathy(path)]


def is_karpathy(path: Path) -> bool:
    if "images" not in json_keys(path):
        return False
    with path.open("rb") as file:
        return b'"sentences"' in file.read(HEAD)


def _home(path: Path) -> Path:
    """The folder below which the pictures of an annotation are."""
    folder = path if path.is_dir() else path.parent
    return folder.parent if path.is_file() and folder.name == "annotations" else folder


def _of_coco(path: Path, root: str | Path, skips: Skips) -> Iterator[Item]:
    content = json_content(path)
    rows: dict[str, Row] = {}
    texts: dict[str, list[str]] = {}
    for row in records(path, content, "images"):
        key = row.text("id")
        if not key or not row.text("file_name"):
            raise DataFault(f"{row}: 'id' and 'file_name' are needed; there are {_keys(row)}")
        if key in rows:
            raise DataFault(f"{row}: id {key} was given already ({rows[key]}); a picture is listed once")
        rows[key], texts[key] = row, []
    for row in records(path, content, "annotations"):
        if "caption" not in row.values:
            raise DataFault(f"{row}: no 'caption'; there are {_keys(row)}")
        if (key := row.text("image_id")) in texts:
            texts[key] += captions_in(row, ["caption"])
        else:
            skips.add("captions of pictures that are not listed", f"{row}: no picture has the id {key}")
    for key, row in rows.items():
        yield item_of(row, row.text("file_name"), texts[key], root)


def _of_karpathy(path: Path) -> Iterator[tuple[Row, list[str]]]:
    for row in records(path, json_content(path), "images"):
        if not row.text("filename"):
            raise DataFault(f"{row}: no 'filename'; there are {_keys(row)}")
        texts = captions_in(row, ["sentences"])
        kept = {name: value for name, value in row.values.items() if not isinstance(value, (list, dict))}
        yield row._replace(values=kept), texts


def _keys(row: Row) -> str:
    return ", ".join(map(repr, row.values)) or "nothing"
