"""MSR-VTT's own annotation, with its videos or with features of their frames, as many as each has.

    videodatainfo.json (any name)     "videos": [{"video_id", "split", "category", …}, …],
                                      "sentences": [{"video_id", "caption"}, …]; several such files are read as one
    MSRVTT_JSFUSION_test.csv          optional: the 1k-A test split, one sentence for each of 1,000 videos
    MSRVTT_train.9k.csv               optional, beside it: the videos of its training split (else all others)
    ANY_FOLDER/{video_id}.mp4         in one folder or several; or instead of videos
    ANY_FOLDER/{video_id}.npy         (T, D), T of its own, or (D,) for one vector each
    or ANY.npz                        a member {video_id} likewise, or `names` with `features` (N, T, D) or (N, D)
    or ANY.npy                        (N, T, D) or (N, D), with names.txt (a name per line) or in the order of
                                      `videos`, if one file lists them all

A clip of fewer frames than the longest is padded with rows of zeros, and a row of zeros among those given is padding
too. The padded features are written once per process to an unnamed file in the cache and mapped from there.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np

from xmr.data import arrays, splits
from xmr.data.build import build, linked
from xmr.data.clips import even
from xmr.data.dataset import DataFault, Dataset, Split
from xmr.data.features import row_names
from xmr.data.items import kept_together
from xmr.data.json_files import json_content, json_keys, records
from xmr.data.named_files import item_of, of_files
from xmr.data.names import matched
from xmr.data.rows import Row
from xmr.data.tables import Skips, captions_of, columns_of, read_rows
from xmr.disk_arrays import zeros_on_disk
from xmr.registry import Range

TEST, TRAIN = "*JSFUSION_test.csv", "*train.9k.csv"
Rows = dict[str, Callable[[], np.ndarray]]  # what reads the features (T, D) or (D,) of a video, by its id


def msrvtt(
    folder: Path,
    split: Split,
    *,
    strict: bool = False,
    seed: int = 0,
    features: str = "",
    frames: Annotated[int, Range(1, 512)] = 32,
) -> Dataset:
    """a JSON file with videos and sentences, as MSR-VTT has, and frame features: a .npy for each video, or one array

    Of longer videos `frames` evenly spaced frames are used. `features` names the file or folder where there are
    several. Videos without features, with none but zeros, or without captions, and blank captions, are skipped with
    a warning and counted in `faults`; with `strict` the first is an error. `seed` makes missing splits. Raises
    DataFault, naming file and place, on anything else that is wrong.
    """
    videos, sentences, named, about = annotation(folder)
    ids = [video.text("video_id") for video in videos]
    source, rows = _features(folder, features, ids, len({video.file for video in videos}))
    columns = columns_of(videos)
    keys = kept_together(ids, set(named), (_head(rows.get(name)) for name in ids))
    chosen = splits.choose(named, keys, split, seed, folder)

    skips = Skips(strict)
    skips.leave_out_splits("video", chosen.others)
    kept = [
        place for place in chosen.places if _sound(videos[place], sentences[ids[place]], rows, source, skips)
    ]
    values, usable = _padded({ids[place]: rows[ids[place]] for place in kept}, source, frames)
    for place, there in zip(kept, usable, strict=True):
        if not there:
            skips.add(
                "empty videos",
                f"{videos[place]}: no frames of {ids[place]!r} in {source.name}, or all are zeros",
            )
    kept = [place for place, there in zip(kept, usable, strict=True) if there]
    skips.close(str(folder), split, len(kept))

    names = [ids[place] for place in kept]
    texts, visual_of_text = linked([captions(sentences[name]) for name in names])
    hidden = {"video_id", "split", "id"}
    return build(
        folder,
        split,
        visual_ids=names,
        captions=texts,
        visual_of_text=visual_of_text,
        parts=[values],
        contents=values,
        visual_features=values,
        kind="clip",
        columns={
            name: [videos[place].values.get(name) for place in kept] for name in columns if name not in hidden
        },
        about={"splits": chosen.note, "features": source.name} | about,
        skips=skips,
    )


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
    videos, sentences, named, about = annotation(folder)
    where = Path(root).expanduser() if root else folder
    ids = [video.text("video_id") for video in videos]
    return of_files(
        folder,
        split,
        where,
        [
            item_of(video, name, captions(sentences[name]), where)
            for video, name in zip(videos, ids, strict=True)
        ],
        named,
        hidden={"video_id", "split", "id"},
        skips=Skips(strict),
        seed=seed,
        clips=True,
        frames=frames,
        size=size,
        about=about,
    )


def annotation_files(folder: Path) -> list[Path]:
    """The JSON files that are one object with a list of videos or sentences, as MSR-VTT's annotation."""
    return [path for path in sorted(folder.glob("*.json")) if {"videos", "sentences"} & set(json_keys(path))]


class Annotation(NamedTuple):
    """What a folder's JSON, and the lists of 1k-A, say."""

    videos: list[Row]
    sentences: dict[str, list[Row]]  # by a video's id
    named: list[str]  # the split of each video
    about: dict[str, str]


def annotation(folder: Path) -> Annotation:
    """All that is annotated. Raises DataFault, naming file and place."""
    videos, sentences = _annotated(folder)
    if tests := sorted(folder.glob(TEST)):
        return Annotation(videos, *_of_1k_a(sentences, tests[0], sorted(folder.glob(TRAIN))))
    by_column = "split" in columns_of(videos)
    named = [splits.declared(video) if by_column else "train" for video in videos]
    return Annotation(videos, sentences, named, {})


def _of_1k_a(
    sentences: dict[str, list[Row]], test: Path, train: list[Path]
) -> tuple[dict[str, list[Row]], list[str], dict[str, str]]:
    """The sentences, of videos of the test split the one that it has there, the split of each video, and the protocol."""
    asked = {row.text("video_id"): row for row in read_rows(test)}
    if stray := [name for name in asked if name not in sentences]:
        raise DataFault(f"{test}: {stray[0]!r} is none of the videos")
    learned = {row.text("video_id") for row in read_rows(train[0])} if train else set(sentences)
    named = ["test" if name in asked else "train" if name in learned else "in no list" for name in sentences]
    own = {name: [row._replace(values={"caption": row.text("sentence")})] for name, row in asked.items()}
    return sentences | own, named, {"protocol": "1k-A"}


def _annotated(folder: Path) -> tuple[list[Row], dict[str, list[Row]]]:
    """All videos, and the sentences of each by its id, in the order of the videos."""
    videos: list[Row] = []
    written: list[Row] = []
    for path in annotation_files(folder):
        content = json_content(path)
        for name, found in (("videos", videos), ("sentences", written)):
            if not isinstance(content, dict) or name in content:
                found += records(path, content, name)
    if not videos or not written:
        raise DataFault(
            f"{folder}: {len(videos)} videos and {len(written)} sentences in its JSON files; add them"
        )
    sentences: dict[str, list[Row]] = {}
    first: dict[str, Row] = {}
    for video in videos:
        name = video.text("video_id")
        if not name:
            raise DataFault(f"{video}: no 'video_id'; there are {', '.join(map(repr, video.values))}")
        if name in first:
            raise DataFault(f"{video}: {name!r} was listed already ({first[name]}); a video is listed once")
        first[name] = video
        sentences[name] = []
    for sentence in written:
        name = sentence.text("video_id")
        if name not in sentences:
            near = difflib.get_close_matches(name, sentences, 1)
            hint = f"; did you mean {near[0]!r}?" if near else "; list it there or delete the sentence"
            raise DataFault(f"{sentence}: no video {name!r} among the videos{hint}")
        sentences[name].append(sentence)
    return videos, sentences


def captions(sentences: list[Row]) -> list[str]:
    """The captions of a video's sentences; a sentence without one gives a blank one."""
    return [text for sentence in sentences for text in captions_of(sentence, "caption") or [""]]


def _features(folder: Path, wanted: str, ids: list[str], files: int) -> tuple[Path, Rows]:
    """The file or folder of the features, and how to read a video's. Raises DataFault where it is not clear which."""
    folders = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    single = {path: {file.stem: file for file in sorted(path.glob("*.npy"))} for path in folders}
    meant = {path: matched(ids, stems) for path, stems in single.items()}
    one_by_one = set(meant[folder].values())
    there = [path for path in sorted(folder.glob("*.np[yz]")) if path.stem not in one_by_one]
    there += [path for path in folders if meant[path]]
    found = [path for path in there if wanted in ("", path.name, str(path.relative_to(folder)))]
    if len(found) != 1:
        names = ", ".join(str(path.relative_to(folder)) for path in there) or "none"
        which = f"no {wanted}" if wanted else "several could be the features" if found else "no features"
        raise DataFault(
            f"{folder}: {which} (arrays, and folders of {ids[0]}.npy …: {names}); name one with features=NAME"
        )
    path = found[0]
    if path.is_dir():
        return path, {
            name: partial(arrays.open_array, single[path][stem]) for name, stem in meant[path].items()
        }
    if path.suffix == ".npz":
        members = matched(ids, arrays.members(path))
        if members:
            archive = np.load(path, allow_pickle=False)  # opened once: its list of members may be long
            return path, {name: partial(_member, archive, path, member) for name, member in members.items()}
    values = arrays.open_features(path)
    names = row_names(folder, path, len(values))
    if names is None and (len(values) != len(ids) or files > 1):
        whose = f"the {len(ids)} videos of {files} file{'s' * (files > 1)}"
        raise DataFault(f"{path}: {len(values)} rows for {whose}; write the name of each row into names.txt")
    row_of = {name: row for row, name in enumerate(names or ids)}
    return path, {
        asked: partial(values.__getitem__, row_of[name]) for asked, name in matched(ids, row_of).items()
    }


def _member(archive: np.lib.npyio.NpzFile, path: Path, name: str) -> np.ndarray:
    try:
        return archive[name]
    except Exception as error:  # damaged files raise nearly anything
        raise DataFault(f"{path} ({name}): not readable ({error}); save it anew") from error


def _head(read: Callable[[], np.ndarray] | None) -> bytes:
    try:
        return arrays.head(read()) if read else b""
    except DataFault:  # told when its split is read
        return b""


def _sound(video: Row, sentences: list[Row], rows: Rows, source: Path, skips: Skips) -> bool:
    name = video.text("video_id")
    if name not in rows:
        skips.add("videos without features", f"{video}: no features of {name!r} in {source.name}")
        return False
    if not any(caption.strip() for caption in captions(sentences)):
        skips.add("videos without captions", f"{video}: {name!r} has no sentence with a caption; add one")
        return False
    for sentence in sentences:
        for caption in captions([sentence]):
            if not caption.strip():
                skips.add(
                    "blank captions", f"{sentence}: the caption is blank; write it or delete the sentence"
                )
    return True


def _padded(rows: Rows, source: Path, frames: int) -> tuple[np.ndarray, list[bool]]:
    """Features (N, T, D), padded with rows of zeros, or (N, D) where each video has one vector; T at most `frames`.

    Also whether each video has any: those that have none get no row. Raises DataFault, naming the video.
    """
    values = np.empty((0, 1, 1), np.float32)
    longest, count, usable, first = 1, 0, [], ""
    for name, read in rows.items():
        given = read()
        if (
            given.dtype not in arrays.DTYPES
            or not given.dtype.isnative
            or given.ndim not in (1, 2)
            or not given.shape[-1]
        ):
            raise DataFault(
                f"{source} ({name}): must be (T, D) float16 or float32, found {given.shape} {given.dtype.str}"
            )
        if not first:
            first, vectors, width = name, given.ndim == 1, given.shape[-1]
            values = zeros_on_disk((len(rows), 1 if vectors else frames, width), given.dtype)
        if (given.ndim == 1, given.shape[-1], given.dtype) != (vectors, width, values.dtype):
            raise DataFault(
                f"{source} ({name}): {given.shape} {given.dtype}, but {first} has "
                f"{'' if vectors else 'T, '}{width} {values.dtype}; save all alike"
            )
        given = given.reshape(-1, width)
        if not np.isfinite(given).all():
            raise DataFault(f"{source} ({name}): NaN or infinity among the features; compute them anew")
        given = given[given.any(1)]
        usable.append(len(given) > 0)
        if len(given):
            given = given[even(len(given), min(len(given), frames))]
            values[count, : len(given)] = given
            longest, count = max(longest, len(given)), count + 1
    values = values[:count, :longest]
    return (values[:, 0] if first and vectors else values), usable
