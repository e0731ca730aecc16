"""Maps of embedding spaces, measured once per workspace, and the small files that a page draws them from."""

from __future__ import annotations

import hashlib
import math
import multiprocessing
import os
import threading
import time
from collections import Counter
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from xmr.analysis import (
    ModalityGap,
    Projection,
    Region,
    modality_gap,
    near_centroid,
    neighbours_kept,
    project,
    regions,
    turn,
)
from xmr.captions import words_of
from xmr.disk import write
from xmr.disk_arrays import save_arrays, saved_arrays
from xmr.workspace import Workspace
from xmr.workspace.memory import kept, remembered

MAX_POINTS = 50_000  # drawn at once
TEXT_SHARE = 5  # at least one point in so many is a text's, where there are that many texts
MAX_VALUES = 50  # of a column that points can be coloured by
NAMED = 6  # values with a colour of their own; the others share one
STEPS = 65_535  # places along each axis of a file

AROUND = 10  # neighbours of an item of which is told how many a map keeps
RETRY = 30.0  # seconds after which a UMAP that failed is made again

_asking = threading.Lock()  # while it is looked up whether somebody has asked for a map


class NotYet(ValueError):
    """A map that takes minutes and is being made; `seconds` since it was asked for."""

    def __init__(self, run: str, seconds: float):
        super().__init__(f"UMAP of {run} is being made")
        self.run, self.seconds = run, seconds


@dataclass(frozen=True)
class Drawn:
    """Which items of a split are drawn: item numbers (n_v,) and (n_t,) int64, ascending. A point's place is its place
    here, texts behind visuals."""

    visual: np.ndarray
    text: np.ndarray


@dataclass(frozen=True)
class Points:
    """A map's file: uint16 x and y of every point, little endian, and the rows of `place` (3, 2) float64, which takes
    (x, y, 1) to the map."""

    path: Path
    place: np.ndarray


@dataclass(frozen=True)
class Labels:
    """A file of one byte per point, the place of its label in `names`, or `len(names)`: another one, or none. `counts`
    has one number more than `names`."""

    path: Path
    names: list[str]
    counts: list[int]


def maps_folder(workspace: Workspace) -> Path:
    """The folder below which all files of maps lie; nothing else does."""
    return workspace.thumbnails.parent / "maps"


def sample(visuals: int, texts: int, most: int) -> Drawn:
    """All items where there are at most `most`; else all visuals, as far as a fifth of the points stays for the texts,
    and texts drawn by a seed."""
    rng = np.random.default_rng(0)

    def pick(count: int, of: int) -> np.ndarray:
        return np.arange(of) if count >= of else np.sort(rng.choice(of, count, replace=False))

    kept = min(visuals, most - min(texts, most // TEXT_SHARE))
    return Drawn(pick(kept, visuals), pick(most - kept, texts))


@remembered
def drawn(workspace: Workspace, split: str) -> Drawn:
    """Which items of the split are on its maps: the same ones under every run."""
    data = workspace.dataset(split)
    return sample(len(data.visual_ids), len(data.captions), MAX_POINTS)


def quantised(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 2) as uint16 (N, 2), and `place` (3, 2) that takes them back, to within half a step."""
    points = np.asarray(points, np.float64)
    low = points.min(0)
    step = np.maximum(points.max(0) - low, 1e-9) / STEPS
    return np.rint((points - low) / step).astype("<u2"), np.vstack([np.diag(step), low])


def flat(workspace: Workspace, run: str, split: str, method: str) -> Projection:
    """The run's map of the drawn items. Raises NotYet while a UMAP is being made, by a process of its own so that
    nobody waits, and ValueError where there can't be one."""
    if method == "pca":
        return _pca(workspace, run, split)
    return _flat_aside(workspace, run, split)


@kept
def _pca(workspace: Workspace, run: str, split: str) -> Projection:
    return project(*_embeddings(workspace, run, split))


@dataclass
class _Job:
    """A UMAP that was asked for at `since`; `ended` when it was made or has failed. Both in seconds of a clock."""

    work: Future[None]
    since: float = field(default_factory=time.monotonic)
    ended: float = math.inf

    def __post_init__(self) -> None:
        self.work.add_done_callback(lambda _: setattr(self, "ended", time.monotonic()))


def _flat_aside(workspace: Workspace, run: str, split: str) -> Projection:
    """The run's UMAP: made before, or by a process of its own that is waited for. Raises as `flat`."""
    key, jobs = (run, split), workspace.remember("umap jobs", dict)
    path = workspace.remember(
        ("umap path", *key), lambda: _whole(_umap_path(workspace, *_embeddings(workspace, run, split)))
    )
    if not path.exists():
        with _asking:
            # One that failed is made again, but not by everybody who waits for it.
            if key not in jobs or time.monotonic() - jobs[key].ended > RETRY:
                sides = map(np.asarray, _embeddings(workspace, run, split))
                jobs[key] = _Job(_aside(workspace).submit(_make_umap, path, *sides))
            job = jobs[key]
        if not job.work.done():
            raise NotYet(run, time.monotonic() - job.since)
        try:
            job.work.result()
        except Exception as error:  # whatever ended the other process, the page says it
            raise ValueError(f"UMAP of {run} failed: {error}") from error
    return workspace.remember(("umap", *key), lambda: _read_umap(path))


@remembered
def points(workspace: Workspace, run: str, split: str, method: str) -> Points:
    """The file of the run's map. Raises as `flat`."""
    found = flat(workspace, run, split, method)
    steps, place = quantised(np.concatenate([found.visual, found.text]))
    return Points(_named(workspace, steps.tobytes()), place)


def turned(place: np.ndarray, moving: Projection, fixed: Projection) -> np.ndarray:
    """`place` of the map `moving` when it is turned onto the map `fixed`."""
    rotation, shift = turn(moving, fixed)
    return np.vstack([place[:2] @ rotation, place[2] @ rotation + shift])


@kept
def gap(workspace: Workspace, run: str, split: str) -> ModalityGap:
    """How far apart visuals and texts lie under the run, of all dimensions and all items; of a pair scorer in its first stage."""
    return modality_gap(*workspace.embeddings(run, split))


@kept
def around_kept(workspace: Workspace, run: str, split: str, method: str) -> float:
    """How much of the neighbourhood in all dimensions the run's map keeps, of the drawn items (`neighbours_kept`)."""
    found = flat(workspace, run, split, method)
    space = np.concatenate([*map(np.asarray, _embeddings(workspace, run, split))])
    return neighbours_kept(space, np.concatenate([found.visual, found.text]), AROUND)


@kept
def named_regions(workspace: Workspace, run: str, split: str, method: str) -> list[Region]:
    """What the regions of the run's map are about, by the captions that lie there; none where texts are pictures."""
    data, shown = workspace.dataset(split), drawn(workspace, split)
    if data.gallery_visuals is not None:
        return []
    words = [words_of(data.captions[i]) for i in shown.text]
    return regions(flat(workspace, run, split, method).text, words)


def together(workspace: Workspace, run: str, split: str, visual: np.ndarray, text: np.ndarray) -> float:
    """How far chosen items lie together under the run: the share of them that is among as many items of their kind
    nearest to their centroid, in all dimensions, of those that are drawn. `visual` and `text` are item numbers."""
    shown = drawn(workspace, split)
    sides = zip(workspace.embeddings(run, split), (visual, text), (shown.visual, shown.text), strict=True)
    return sum(near_centroid(*side) for side in sides) / max(len(visual) + len(text), 1)


def by_chance(workspace: Workspace, split: str, visuals: int, texts: int) -> float:
    """What `together` is expected to be of any so many items."""
    shown = drawn(workspace, split)
    found = visuals**2 / max(len(shown.visual), 1) + texts**2 / max(len(shown.text), 1)
    return found / max(visuals + texts, 1)


def label_columns(workspace: Workspace, split: str) -> list[str]:
    """What the points of a split can be coloured by: "class", and columns with at least two and few values."""
    data = workspace.dataset(split)
    names = ["class"] if data.classes is not None else []
    return names + [
        name for name, values in data.columns.items() if 2 <= len({str(one) for one in values}) <= MAX_VALUES
    ]


@remembered
def labels(workspace: Workspace, split: str, column: str) -> Labels:
    """The labels of the drawn points; a text has its visual's. The most frequent values are named. Raises ValueError
    where `label_columns` has no such column."""
    if column not in label_columns(workspace, split):
        raise ValueError(f"the {split} split has no column {column!r} with few values")
    data, shown = workspace.dataset(split), drawn(workspace, split)
    if column == "class" and data.classes is not None:
        values = [data.classes[group] for group in data.visual_group]
    else:
        values = [None if one is None else str(one) for one in data.columns[column]]
    told = Counter(value for value in values if value is not None)
    names = [name for name, _ in sorted(told.items(), key=lambda one: (-one[1], one[0]))[:NAMED]]
    codes = {name: code for code, name in enumerate(names)}
    of_visual = np.array([codes.get(value, len(names)) for value in values], np.uint8)
    every = np.concatenate([of_visual[shown.visual], of_visual[data.visual_of_text[shown.text]]])
    counts = np.bincount(every, minlength=len(names) + 1)
    return Labels(_named(workspace, every.tobytes()), names, counts.tolist())


def companions(workspace: Workspace, split: str, place: int) -> list[int]:
    """Places of the drawn points that are annotated as matching the point at `place`, at most eight."""
    data, shown = workspace.dataset(split), drawn(workspace, split)
    count = len(shown.visual)
    if place < count:
        own = np.flatnonzero(data.text_group[shown.text] == data.visual_group[shown.visual[place]]) + count
    else:
        own = np.flatnonzero(data.visual_group[shown.visual] == data.text_group[shown.text[place - count]])
    return own[:8].tolist()


def _embeddings(workspace: Workspace, run: str, split: str) -> list[np.ndarray]:
    """The embeddings of the drawn items, copied only where not all are drawn."""
    shown = drawn(workspace, split)
    return [
        side if len(items) == len(side) else side[items]
        for side, items in zip(workspace.embeddings(run, split), (shown.visual, shown.text), strict=True)
    ]


def _whole(path: Path) -> Path:
    """The path, without a file that is not as it was written."""
    if saved_arrays(path) is None:
        path.unlink(missing_ok=True)
    return path


def _read_umap(path: Path) -> Projection:
    found = saved_arrays(path)
    if found is None:
        raise ValueError(f"{path} is gone; open the map again")
    return Projection(found["visual"], found["text"], "umap", (0.0, 0.0))


@remembered
def _aside(workspace: Workspace) -> ThreadPoolExecutor:
    """One map at a time, whoever asks."""
    return ThreadPoolExecutor(1, "umap")


def _make_umap(path: Path, visual: np.ndarray, text: np.ndarray) -> None:
    # numba holds Python's lock while it computes: in a thread alone it would stop all visitors' events. A process for
    # each map, since one that is killed takes its pool with it.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, initializer=_beside, initargs=(os.getpid(),)) as pool:
        found = pool.submit(project, visual, text, "umap").result()
    save_arrays(path, {"visual": found.visual, "text": found.text})


def _beside(server: int) -> None:
    """Makes a process give way to the server's work, and end with it."""
    os.nice(10)

    def watch() -> None:
        while os.getppid() == server:
            time.sleep(2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _umap_path(workspace: Workspace, visual: np.ndarray, text: np.ndarray) -> Path:
    """Named by what it is made from, so a run that was trained again has another."""
    content = hashlib.sha256(b"umap")
    for side in (visual, text):
        content.update(f"{side.shape}".encode())
        content.update(np.ascontiguousarray(side, np.float32).data)
    return maps_folder(workspace) / f"umap-{content.hexdigest()[:24]}.safetensors"


def _named(workspace: Workspace, content: bytes) -> Path:
    """A file of that content, named by it: what an address names never changes."""
    path = maps_folder(workspace) / f"{hashlib.sha256(content).hexdigest()[:24]}.bin"
    if not path.exists() or path.read_bytes() != content:
        write(path, content)
    return path
