"""MSR-VTT with its videos, instead of features of their frames.

videodatainfo.json (any name)        as msrvtt.py reads it
ANY_FOLDER/{video_id}.mp4            in one folder or several
MSRVTT_JSFUSION_test.csv             optional: the 1k-A test split, one sentence for each of 1,000 videos
MSRVTT_train.9k.csv                  optional, beside it: the videos of its training split (else all others)
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from xmr.data import splits
from xmr.data.dataset import DataFault, Dataset, Split
from xmr.data.items import Item
from xmr.data.msrvtt import annotation, captions
from xmr.data.named_files import item_of, of_files
from xmr.data.tables import Skips, read_rows
from xmr.registry import Range

TEST, TRAIN = "*JSFUSION_test.csv", "*train.9k.csv"


def msrvtt_videos(
    folder: Path,
    split: Split,
    *,
    strict: bool = False,
    seed: int = 0,
    root: str = "",
    frames: Annotated[int, Range(1, 64)] = 8,
    size: Annotated[int, Range(16, 1024)] = 256,
) -> Dataset:
    """a JSON file with videos and sentences, as MSR-VTT has, and the videos; with MSRVTT_JSFUSION_test.csv the split 1k-A

    Videos are looked for below `root`, or the folder; `frames` and `size` are as of `videofolder`. Those that are missing,
    unreadable or too large, and blank captions, are skipped with a warning and counted in `faults`; with `strict` the first
    is an error. `seed` makes missing splits. Raises DataFault, naming file and place, on anything else that is wrong.
    """
    videos, sentences = annotation(folder)
    where = Path(root).expanduser() if root else folder
    items = [
        item_of(row, row.text("video_id"), captions(sentences[row.text("video_id")]), where) for row in videos
    ]
    tests = sorted(folder.glob(TEST))
    about = {"protocol": "1k-A"} if tests else {}
    if tests:
        items, named = _of_1k_a(items, tests[0], sorted(folder.glob(TRAIN)))
    else:
        named = [splits.declared(item.row) if "split" in item.row.values else "train" for item in items]
    return of_files(
        folder,
        split,
        where,
        items,
        named,
        hidden={"video_id", "split", "id"},
        skips=Skips(strict),
        seed=seed,
        clips=True,
        frames=frames,
        size=size,
        about=about,
    )


def _of_1k_a(items: list[Item], test: Path, train: list[Path]) -> tuple[list[Item], list[str]]:
    """The items, those of the test split with their one sentence, and the split of each."""
    sentence = {row.text("video_id"): row.text("sentence") for row in read_rows(test)}
    known = {item.id for item in items}
    if stray := [name for name in sentence if name not in known]:
        raise DataFault(f"{test}: {stray[0]!r} is none of the videos")
    learned = {row.text("video_id") for row in read_rows(train[0])} if train else known - set(sentence)
    named = [
        "test" if item.id in sentence else "train" if item.id in learned else "in no list" for item in items
    ]
    return [
        replace(item, captions=[sentence[item.id]]) if item.id in sentence else item for item in items
    ], named
