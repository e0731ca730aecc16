"""One way to load a dataset: by its registered name, or by the path of a folder whose kind is recognised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xmr.data import generated  # noqa: F401  (its datasets register themselves)
from xmr.data.classes import class_views, mat_files
from xmr.data.clips import TABLES, clips
from xmr.data.dataset import DATASETS, SPLITS, DataFault, Dataset
from xmr.data.features import CAPTIONS, array_files, features
from xmr.data.folder import imagefolder
from xmr.data.metadata import is_described, metadata_files, split_folders
from xmr.data.msrvtt import annotation_files, json_keys, msrvtt
from xmr.data.precomp import precomp, stems
from xmr.data.videofolder import holds_videos, videofolder
from xmr.registry import Registry, unknown

# Each entry is a function (folder, split, *, …) -> Dataset; its docstring's first line tells the layout.
KINDS = Registry("kind of folder")
for kind in (imagefolder, videofolder, clips, features, msrvtt, precomp, class_views):
    KINDS.register(kind)
PICTURED = ("imagefolder", "videofolder", "clips")  # an encoder has to read them


def load_dataset(
    name_or_path: str | Path, split: str = "test", *, strict: bool = False, seed: int = 0, **params: Any
) -> Dataset:
    """One split ("train", "validation" or "test") of a registered dataset or of a folder of your own.

    A registered name wins over a folder of that name; "./name" is the folder. `strict` makes every fault an error
    where it would be skipped and counted. `seed` goes to what is generated, or makes the splits that a folder does
    not have: keep it the same for all runs that are to be compared. `params` are further parameters of the dataset
    or kind of folder, as listed in its signature.

    Raises DataFault, naming the file, the line and what to do, where the data is at fault or not known, and
    TypeError or ValueError on a wrong parameter.
    """
    if split not in SPLITS:
        raise ValueError(unknown("split", split, SPLITS))
    name = str(name_or_path)
    if name in DATASETS:
        entry, where = DATASETS[name], []
    else:
        folder = Path(name).expanduser()
        entry, where = KINDS[kind_of(folder)], [folder]
    accepted = {param.name for param in entry.params}
    given = {key: value for key, value in (("strict", strict), ("seed", seed)) if key in accepted}
    return entry(*where, split, **entry.parse(given | params))


def holds_pictures(name_or_path: str) -> bool:
    """Whether an encoder has to read this dataset's pictures or clips. Raises DataFault as `kind_of`."""
    return name_or_path in DATASETS or kind_of(Path(name_or_path).expanduser()) in PICTURED


def kind_of(folder: Path) -> str:
    """The name in `KINDS` of the layout that `folder` has. Raises DataFault, telling the layouts, where it has none."""
    if not folder.exists():
        raise DataFault(
            f"{unknown('dataset', str(folder), DATASETS)}, and there is no such folder. {_layouts()}"
        )
    if not folder.is_dir():
        raise DataFault(f"{folder} is a file; give the folder that holds it. {_layouts()}")
    if stems(folder):
        return "precomp"
    if any((folder / name).is_file() for name in TABLES):
        return "clips"
    if any((folder / name).is_file() for name in CAPTIONS) and array_files(folder):
        return "features"
    if not is_described(folder) and annotation_files(folder):
        return "msrvtt"
    if split_folders(folder) or metadata_files(folder):
        return "videofolder" if holds_videos(folder) else "imagefolder"
    if mat_files(folder):
        return "class_views"
    paths = sorted(folder.iterdir())
    shown = ", ".join(map(_named, paths[:8])) + (f" and {len(paths) - 8} more" if len(paths) > 8 else "")
    raise DataFault(
        f"{folder} is no layout that xmr knows: no metadata.jsonl, no clips.csv, no captions with features, "
        f"no *_ims.npy (it holds {shown or 'nothing'}). {_layouts()}"
    )


def _named(path: Path) -> str:
    """A file as a message shows it: a folder with a slash, JSON with what its object has, of which captions may be part."""
    keys = ", ".join(map(repr, json_keys(path))) if path.suffix.lower() == ".json" else ""
    return path.name + "/" * path.is_dir() + f" (JSON with {keys})" * bool(keys)


def _layouts() -> str:
    kinds = "".join(f"\n  {entry.name}: {entry.caption}" for entry in KINDS.values())
    return f"A folder can be one of:{kinds}"
