"""Features of a video's frames, as many as it has, with MSR-VTT's own annotation.

    videodatainfo.json (any name)     "videos": [{"video_id", "split", "category", …}, …],
                                      "sentences": [{"video_id", "caption"}, …]; several such files are read as one
    ANY_FOLDER/{video_id}.npy         (T, D), T of its own, or (D,) for one vector each
    or ANY.npz                        a member {video_id} likewise, or `names` with `features` (N, T, D) or (N, D)
    or ANY.npy                        (N, T, D) or (N, D), with names.txt (a name per line) or in the order of
                                      `videos`, if one file lists them all

A clip of fewer frames than the longest is padded with rows of zeros, and a row of zeros among those given is padding
too. The padded features are written once per process to an unnamed file in the cache and mapped from there.
"""

from __future__ import annotations

import difflib
import json
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from xmr.cache import cache_dir
from xmr.data import arrays, facts, splits
from xmr.data.clips import even
from xmr.data.dataset import SPLITS, DataFault, Dataset, Split
from xmr.data.features import row_names
from xmr.data.tables import Row, Skips, captions_of, columns_of, read_text
from xmr.registry import Range

Rows = dict[str, Callable[[], np.ndarray]]  # what reads the features (T, D) or (D,) of a video, by its id
HEAD = 1 << 16  # bytes of a JSON file in which its first keys stand


class _Video(Row):
    """A record of the list of videos; its `line` is its place there."""

    def __str__(self) -> str:
        return f"{self.file}, videos[{self.line}]"


class _Sentence(Row):
    """A record of the list of sentences; its `line` is its place there."""

    def __str__(self) -> str:
        return f"{self.file}, sentences[{self.line}]"


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
    videos, sentences = _annotation(folder)
    ids = [video.text("video_id") for video in videos]
    source, rows = _features(folder, features, ids, len({video.file for video in videos}))
    columns = columns_of(videos)
    declared = [splits.declared(video) if "split" in columns else "train" for video in videos]
    present: set[Split] = {name for name in SPLITS if name in declared}
    assigned = splits.assign(declared, ids, present, seed)
    chosen = splits.select(assigned, split, present, folder)

    skips = Skips(strict)
    kept = [place for place in chosen if _sound(videos[place], sentences[ids[place]], rows, source, skips)]
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
    texts = [[text for text in map(_caption, sentences[name]) if text.strip()] for name in names]
    captions = [text for own in texts for text in own]
    visual_of_text = np.repeat(np.arange(len(kept)), [len(own) for own in texts])
    hidden = {"video_id", "split", "id"}
    return Dataset(
        name=folder.resolve().name,
        split=split,
        captions=captions,
        visual_of_text=visual_of_text,
        visual_ids=names,
        fingerprint=facts.fingerprint(names, captions, visual_of_text, None, [values]),
        visual_features=values,
        kind="clip",
        columns={
            name: [videos[place].values.get(name) for place in kept] for name in columns if name not in hidden
        },
        about=facts.about(folder, visual_of_text, len(kept))
        | {"splits": splits.note(present, seed), "features": source.name},
        faults=skips.counts,
    )


def annotation_files(folder: Path) -> list[Path]:
    """The JSON files that begin as MSR-VTT's annotation does."""
    found = []
    for path in sorted(folder.glob("*.json")):
        with path.open("rb") as file:
            head = file.read(HEAD)
        if b'"videos"' in head or b'"sentences"' in head:
            found.append(path)
    return found


def _annotation(folder: Path) -> tuple[list[_Video], dict[str, list[_Sentence]]]:
    """All videos, and the sentences of each by its id."""
    videos: list[_Video] = []
    written: list[_Sentence] = []
    for path in annotation_files(folder):
        try:
            content = json.loads(read_text(path))
        except (ValueError, RecursionError) as error:
            raise DataFault(f"{path}: not JSON ({error}); is the file whole?") from error
        videos += [_Video(path, *entry) for entry in _entries(path, content, "videos")]
        written += [_Sentence(path, *entry) for entry in _entries(path, content, "sentences")]
    if not videos or not written:
        raise DataFault(
            f"{folder}: {len(videos)} videos and {len(written)} sentences in its JSON files; add them"
        )
    sentences: dict[str, list[_Sentence]] = {}
    first: dict[str, _Video] = {}
    for video in videos:
        name = video.text("video_id")
        if not name:
            raise DataFault(f"{video}: no 'video_id'; there are {', '.join(map(repr, video.values))}")
        if name in first:
            raise DataFault(f"{video}: {name!r} was listed already ({first[name]}); delete one of them")
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


def _entries(path: Path, content: Any, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    found = content.get(name, []) if isinstance(content, dict) else None
    if not isinstance(found, list):
        raise DataFault(f"{path}: {name!r} must be a list of objects in one object, as MSR-VTT has it")
    for place, values in enumerate(found):
        if not isinstance(values, dict):
            raise DataFault(f"{path}, {name}[{place}]: must be an object, found {type(values).__name__}")
        yield place, values


def _caption(sentence: _Sentence) -> str:
    return next(iter(captions_of(sentence, "caption")), "")


def _features(folder: Path, wanted: str, ids: list[str], files: int) -> tuple[Path, Rows]:
    """The file or folder of the features, and how to read a video's. Raises DataFault where it is not clear which."""
    known = set(ids)
    arrays_here = [path for path in sorted(folder.glob("*.np[yz]")) if path.stem not in known]
    folders = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    there = arrays_here + [path for path in folders if any(file.stem in known for file in path.glob("*.npy"))]
    found = [path for path in there if wanted in ("", path.name, str(path.relative_to(folder)))]
    if len(found) != 1:
        names = ", ".join(str(path.relative_to(folder)) for path in there) or "none"
        which = f"no {wanted}" if wanted else "several could be the features" if found else "no features"
        raise DataFault(
            f"{folder}: {which} (arrays, and folders of {ids[0]}.npy …: {names}); name one with features=NAME"
        )
    path = found[0]
    if path.is_dir():
        return path, {file.stem: partial(arrays.open_array, file) for file in path.glob("*.npy")}
    if path.suffix == ".npz":
        members = known & set(arrays.members(path))
        if members:
            archive = np.load(path, allow_pickle=False)  # opened once: its list of members may be long
            return path, {name: partial(_member, archive, path, name) for name in members}
    values = arrays.open_features(path)
    names = row_names(folder, path, len(values))
    if names is None and (len(values) != len(ids) or files > 1):
        whose = f"the {len(ids)} videos of {files} file{'s' * (files > 1)}"
        raise DataFault(f"{path}: {len(values)} rows for {whose}; write the name of each row into names.txt")
    return path, {name: partial(values.__getitem__, row) for row, name in enumerate(names or ids)}


def _member(archive: np.lib.npyio.NpzFile, path: Path, name: str) -> np.ndarray:
    try:
        return archive[name]
    except Exception as error:  # damaged files raise nearly anything
        raise DataFault(f"{path} ({name}): not readable ({error}); save it anew") from error


def _sound(video: _Video, sentences: list[_Sentence], rows: Rows, source: Path, skips: Skips) -> bool:
    name = video.text("video_id")
    if name not in rows:
        skips.add("videos without features", f"{video}: no features of {name!r} in {source.name}")
        return False
    blank = sum(not _caption(sentence).strip() for sentence in sentences)
    if blank == len(sentences):
        skips.add("videos without captions", f"{video}: {name!r} has no sentence with a caption; add one")
        return False
    for sentence in sentences:
        if not _caption(sentence).strip():
            skips.add("blank captions", f"{sentence}: the caption is blank; write it or delete the sentence")
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
            values = _on_disk((len(rows), 1 if vectors else frames, width), given.dtype)
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


def _on_disk(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Zeros in a file that has no name and vanishes with the array; what is never written takes no space."""
    with tempfile.TemporaryFile(dir=cache_dir("frames")) as file:
        return np.memmap(file, dtype, "w+", shape=shape)
