"""One way to load a dataset: by its registered name, or by a path, whose kind is recognised by what lies there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from xmr.data import generated  # noqa: F401  (its datasets register themselves)
from xmr.data.arrow import SUFFIXES, arrow, arrow_files
from xmr.data.classes import class_views, mat_files
from xmr.data.classfolder import class_folders, classfolder
from xmr.data.clips import TABLES, clips
from xmr.data.coco import coco, coco_files, is_karpathy, karpathy, karpathy_files
from xmr.data.dataset import DATASETS, SPLITS, DataFault, Dataset
from xmr.data.features import CAPTIONS, array_files, features
from xmr.data.folder import imagefolder
from xmr.data.hub import PRESETS, fetched, is_remote, params_of
from xmr.data.json_files import json_keys
from xmr.data.loose import is_loose, loose
from xmr.data.metadata import is_described, metadata_files, split_folders
from xmr.data.msrvtt import annotation_files, msrvtt, msrvtt_videos
from xmr.data.names import ENDINGS, VIDEOS, ending_with
from xmr.data.pairs import is_table, pair_tables, pairs
from xmr.data.precomp import precomp, stems
from xmr.data.shards import expanded, shard_files, shards
from xmr.data.shown import is_shown, shown
from xmr.data.tables import header
from xmr.data.videofolder import holds_videos, videofolder
from xmr.registry import Entry, Registry, unknown

# Each entry is a function (path, split, *, …) -> Dataset; its docstring's first line tells the layout.
KINDS = Registry("kind of folder")
for kind in (
    imagefolder,
    videofolder,
    clips,
    arrow,
    shards,
    loose,
    pairs,
    coco,
    karpathy,
    features,
    msrvtt,
    msrvtt_videos,
    classfolder,
    precomp,
    class_views,
    shown,
):
    KINDS.register(kind)
MEASURED = (
    "features",
    "msrvtt",
    "precomp",
    "class_views",
)  # features lie there; of all others an encoder has to read the pictures

ROOTED = ("pairs", "coco", "karpathy", "arrow", "msrvtt_videos")  # their files may lie elsewhere


def load_dataset(
    name_or_path: str | Path, split: str = "test", *, strict: bool = False, seed: int = 0, **params: Any
) -> Dataset:
    """One split ("train", "validation" or "test") of a registered dataset, of data on the Hub (hf://ORG/NAME, or a preset
    as "flickr30k"), or of a path of your own.

    A registered name or preset wins over a folder of that name; "./name" is the folder. `strict` makes every fault an
    error where it would be skipped and counted. `seed` goes to what is generated, or makes the splits that data do not
    have: keep it the same for all runs that are to be compared. `params` are further parameters of the dataset or kind of
    folder, as listed in its signature.

    Raises DataFault, naming the file, the line and what to do, where the data is at fault or not known, and
    TypeError or ValueError on a wrong parameter.
    """
    if split not in SPLITS:
        raise ValueError(unknown("split", split, SPLITS))
    name = str(name_or_path)
    if name in DATASETS:
        return _called(DATASETS[name], [], split, strict, seed, params)
    if not is_remote(name):
        path = Path(name).expanduser()
        return _called(KINDS[kind_of(path)], [path], split, strict, seed, params)
    found = fetched(name)
    entry, params = KINDS[kind_of(found.folder)], params_of(name) | params
    data = _called(entry, [found.folder], split, strict, seed, params)
    return replace(data, name=found.name, about=data.about | {"address": found.pinned})


def _called(
    entry: Entry, where: list[Path], split: str, strict: bool, seed: int, params: dict[str, Any]
) -> Dataset:
    accepted = {param.name for param in entry.params}
    given = {key: value for key, value in (("strict", strict), ("seed", seed)) if key in accepted}
    return entry(*where, split, **entry.parse(given | params))


def entry_of(source: str | Path) -> Entry:
    """The dataset or kind of folder that `source` is of, whose parameters can be set. Raises DataFault as `kind_of`."""
    name = str(source)
    return DATASETS[name] if name in DATASETS else KINDS[kind_of(name)]


def pinned(source: str) -> str:
    """An address on the Hub, or a preset, at the commit that it stands for today; any other source as it is."""
    return fetched(source).pinned if source not in DATASETS and is_remote(source) else source


def is_there(source: str) -> bool:
    """Whether a source can be looked for: a dataset of ours, on the Hub, or a path that exists."""
    path = Path(source).expanduser()
    return source in DATASETS or is_remote(source) or path.exists() or is_pattern(path)


def holds_pictures(name_or_path: str) -> bool:
    """Whether an encoder has to read this dataset's pictures or clips. Raises DataFault as `kind_of`."""
    return name_or_path in DATASETS or kind_of(name_or_path) not in MEASURED


def kind_of(source: str | Path, download: bool = True) -> str:
    """The name in `KINDS` of the layout that a path or address has; with `download`, after its files are got from the Hub.

    Raises DataFault, telling the layouts, where it has none.
    """
    remote = isinstance(source, str) and is_remote(source)
    folder = fetched(source, download).folder if remote else Path(source).expanduser()
    if is_pattern(folder):
        return "shards"
    if not folder.exists():
        raise DataFault(
            f"{unknown('dataset', str(folder), [*DATASETS, *PRESETS])}, and there is no such folder. {_layouts()}"
        )
    if not folder.is_dir():
        return _kind_of_file(folder)
    if kind := _kind_of_folder(folder):
        return kind
    if split_folders(folder):
        return "imagefolder"  # which tells that the captions are missing
    # What may hold the captions before pictures, of which there may be thousands.
    paths = sorted(folder.iterdir(), key=lambda path: (path.suffix.lower() in ENDINGS, path))
    shown = ", ".join(map(_named, paths[:8])) + (f" and {len(paths) - 8} more" if len(paths) > 8 else "")
    below = {path: _kind_of_folder(path) for path in paths[:8] if path.is_dir()}
    hints = [
        f" But {path.name}/ is of the kind {kind}: give {path}"
        + ", with --set root=FOLDER where its pictures lie elsewhere" * (kind in ROOTED)
        + "."
        for path, kind in below.items()
        if kind
    ]
    raise DataFault(
        f"{folder} is no layout that xmr knows: no metadata.jsonl, no clips.csv, no captions with features, "
        f"no *_ims.npy (it holds {shown or 'nothing'}).{''.join(hints)} {_layouts()}"
    )


def _kind_of_folder(folder: Path) -> str:
    """The name of the layout that a folder has; "" where it has none."""
    if is_shown(folder):
        return "shown"
    if stems(folder):
        return "precomp"
    if any((folder / name).is_file() for name in TABLES):
        return "clips"
    if any((folder / name).is_file() for name in CAPTIONS) and array_files(folder):
        return "features"
    if is_described(folder):
        return "videofolder" if holds_videos(folder) else "imagefolder"
    if shard_files(folder):
        return "shards"
    if karpathy_files(folder):
        return "karpathy"
    if coco_files(folder):
        return "coco"
    if annotation_files(folder):
        return "msrvtt" if ending_with(folder, (".npy", ".npz")) or not _videos(folder) else "msrvtt_videos"
    if metadata_files(folder):
        return "videofolder" if holds_videos(folder) else "imagefolder"
    if is_loose(folder):
        return "loose"
    if arrow_files(folder):
        return "arrow"
    if pair_tables(folder):
        return "pairs"
    if mat_files(folder):
        return "class_views"
    return "classfolder" if class_folders(folder) else ""


def is_pattern(path: Path) -> bool:
    """Whether a path is that of a shard, or a pattern for several."""
    return path.suffix.lower() == ".tar" and (path.is_file() or len(expanded(str(path))) > 1)


def _videos(folder: Path) -> list[Path]:
    return ending_with(folder, tuple(VIDEOS))


def _kind_of_file(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return "arrow"
    if suffix in (".csv", ".tsv", ".jsonl") or is_table(path):
        return "pairs"
    if suffix == ".json" and "images" in json_keys(path):
        return "karpathy" if is_karpathy(path) else "coco"
    raise DataFault(f"{_named(path, str(path))} is a file; give the folder that holds it. {_layouts()}")


def _named(path: Path, name: str = "") -> str:
    """A file as a message shows it: a folder with a slash, JSON and tables with their names, of which captions may be one."""
    suffix = path.suffix.lower()
    keys = json_keys(path) if suffix == ".json" else header(path) if suffix in (".csv", ".tsv") else []
    what = "JSON" if suffix == ".json" else "columns"
    shown = f" ({what} with {', '.join(map(repr, keys))})" if keys else ""
    return (name or path.name) + "/" * path.is_dir() + shown.replace("columns with", "columns")


def _layouts() -> str:
    kinds = "".join(f"\n  {entry.name}: {entry.caption}" for entry in KINDS.values())
    return f"A folder can be one of:{kinds}"
