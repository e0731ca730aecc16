"""Your own videos and captions: a folder as of pictures, laid out as metadata.py tells, whose files are videos.

root/{train,validation,test}/metadata.jsonl    {"file_name": "a.mp4", "captions": ["a dog jumps", …]}
"""

from __future__ import annotations

from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np

from xmr.data import facts, videos
from xmr.data.dataset import DataFault, Dataset, Split
from xmr.data.metadata import listing, metadata_files, same_base, split_folders, usable
from xmr.data.tables import Skips, read_rows
from xmr.registry import Range


def videofolder(
    folder: Path,
    split: Split,
    *,
    strict: bool = False,
    seed: int = 0,
    frames: Annotated[int, Range(1, 64)] = 8,
    size: Annotated[int, Range(16, 1024)] = 256,
) -> Dataset:
    """videos (mp4, webm, gif …) and a metadata.jsonl or metadata.csv with file_name and captions

    A clip is `frames` frames, evenly spaced in time and scaled down to `size` pixels a side at most. Videos that are
    missing, unreadable, empty or too large, and blank captions, are skipped with a warning and counted in `faults`;
    with `strict` the first is an error, and every video is decoded in full. `seed` makes missing splits. Raises
    DataFault, naming file and line, on anything else that is wrong.
    """
    found = listing(folder, split, seed, "video")
    skips = Skips(strict)
    kept, evidence = usable(folder, found.items, skips, partial(videos.check, thorough=strict), "video")
    skips.close(str(folder), split, len(kept))

    captions = [caption for video in kept for caption in video.captions]
    visual_of_text = np.repeat(np.arange(len(kept)), [len(video.captions) for video in kept])
    ids = [video.id for video in kept]
    group = found.groups(kept)
    parts = [*evidence, f"{frames} frames of {size}".encode()]
    return Dataset(
        name=folder.resolve().name,
        split=split,
        captions=captions,
        visual_of_text=visual_of_text,
        visual_ids=ids,
        fingerprint=facts.fingerprint(ids, captions, visual_of_text, group, parts),
        visual_group=group,
        visuals=videos.Videos(folder, ids, frames, size),
        kind="clip",
        columns=found.values(kept),
        truth=same_base(kept, [kept[visual] for visual in visual_of_text]) if found.by_base else None,
        about=facts.about(folder, visual_of_text, len(ids)) | {"splits": found.splits, "frames": frames},
        faults=skips.counts,
    )


def holds_videos(folder: Path) -> bool:
    """Whether the metadata names videos: among its first names is one of a video, or all are of GIFs.

    A GIF among other pictures is a picture.
    """
    files = [file for path in split_folders(folder).values() for file in metadata_files(path)]
    files = files or metadata_files(folder)
    names = islice((name for file in files for name in _names(file)), 100)
    suffixes = {Path(name).suffix.lower() for name in names}
    return bool(suffixes & set(videos.SUFFIXES) - {".gif"}) or suffixes == {".gif"}


def _names(file: Path) -> list[str]:
    try:
        return [str(row.values.get("file_name")) for row in read_rows(file)]
    except DataFault:  # told when this file is loaded
        return []
