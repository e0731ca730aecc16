"""Your own videos and captions: a folder as of pictures, laid out as metadata.py tells, whose files are videos.

root/{train,validation,test}/metadata.jsonl    {"file_name": "a.mp4", "captions": ["a dog jumps", …]}
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Annotated

from xmr.data import videos
from xmr.data.build import of_items
from xmr.data.dataset import DataFault, Dataset, Split
from xmr.data.metadata import listing, metadata_files, split_folders
from xmr.data.names import ENDINGS, endless, files_below
from xmr.data.tables import read_rows
from xmr.registry import Range


def videofolder(
    folder: Path,
    split: Split,
    *,
    strict: bool = False,
    seed: int = 0,
    image: str = "file_name",
    text: str = "",
    frames: Annotated[int, Range(1, 64)] = 8,
    size: Annotated[int, Range(16, 1024)] = 256,
) -> Dataset:
    """videos (mp4, webm, gif …) and a metadata.jsonl or metadata.csv with file_name and captions

    A clip is `frames` frames, evenly spaced in time and scaled down to `size` pixels a side at most. Videos that are
    missing, unreadable, empty or too large, and blank captions, are skipped with a warning and counted in `faults`;
    with `strict` the first is an error, and every video is decoded in full. `seed` makes missing splits; `image` and `text`
    name the columns of files and captions where they are others. Raises
    DataFault, naming file and line, on anything else that is wrong.
    """
    store = videos.Files(folder, frames, size)
    return of_items(
        folder,
        split,
        listing(folder, split, seed, store, image, text),
        store,
        strict=strict,
        parts=store.parts,
        kind="clip",
        about={"frames": frames},
    )


def holds_videos(folder: Path) -> bool:
    """Whether the metadata names videos: among its first names is one of a video, or all are of GIFs.

    A GIF among other pictures is a picture. Names without an ending are those of the files that have one.
    """
    files = [
        file for paths in split_folders(folder).values() for path in paths for file in metadata_files(path)
    ]
    files = files or metadata_files(folder)
    names = list(islice((name for file in files for name in _names(file)), 100))
    suffixes = {Path(name).suffix.lower() for name in names}
    if not suffixes & ENDINGS:
        stems = {endless(name.replace("\\", "/")).rpartition("/")[2] for name in names}
        there = [name for name in files_below(str(folder)) if endless(name).rpartition("/")[2] in stems]
        suffixes = {Path(name).suffix.lower() for name in there}
    return bool(suffixes & set(videos.SUFFIXES) - {".gif"}) or suffixes == {".gif"}


def _names(file: Path) -> list[str]:
    try:
        return [str(row.values.get("file_name")) for row in read_rows(file)]
    except DataFault:  # told when this file is loaded
        return []
