"""What the app shows: the runs of a folder, the dataset that they share, and queries answered by all of them.

Process-wide and read-only. Arrays are loaded when first asked for and kept once; nothing here knows of a user
interface, so a notebook can use it as the app does.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from PIL import Image

from xmr.core import DIRECTIONS, Direction
from xmr.registry import UnknownName, unknown
from xmr.search import ExactIndex

if TYPE_CHECKING:
    from xmr.checkpoints import Run, RunFault
    from xmr.data import Dataset

Status = Literal["annotated", "true", "neither", "unknown"]
SPLITS = ("test", "validation", "train")

# Okabe and Ito's colours in the order of their contrast on white (the first four pass 3:1, the other two are
# drawn with an outline); never the only carrier of a meaning: markers and dashes go with them.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "star")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")

THUMBNAIL_PX = 256


@dataclass(frozen=True)
class Style:
    """How a run is drawn, everywhere: plotly's names for marker and dash."""

    colour: str
    marker: str
    dash: str


@dataclass(frozen=True)
class Query:
    """What is asked: a text, a picture, or an item of the split (a caption in t2v, a visual in v2t)."""

    text: str = ""
    image: Image.Image | None = None
    index: int | None = None


@dataclass(frozen=True)
class Result:
    """One item of a gallery in one run's ranking. `rank` is 1-based."""

    id: str
    index: int
    score: float
    rank: int
    status: Status


@dataclass(frozen=True)
class Column:
    """One run's answer: its k best, and the best-ranked annotated match wherever it stands (None: unknown)."""

    run: str
    results: list[Result]
    annotated: Result | None


class Embedder(Protocol):
    """Free queries and whole splits as unit embeddings of a run; `xmr.embedding` is one."""

    def embed_texts(self, run: Run, texts: list[str]) -> np.ndarray: ...
    def embed_visuals(self, run: Run, images: list[Image.Image]) -> np.ndarray: ...
    def embed_dataset(self, run: Run, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]: ...


class Memo:
    """Values made once per key, by one thread; the others wait for it instead of making their own."""

    def __init__(self) -> None:
        self._values: dict[Any, Any] = {}
        self._locks: dict[Any, threading.Lock] = {}
        self._guard = threading.Lock()

    def get(self, key: Any, make: Callable[[], Any]) -> Any:
        if key not in self._values:
            with self._guard:
                lock = self._locks.setdefault(key, threading.Lock())
            with lock:
                if key not in self._values:
                    self._values[key] = make()
        return self._values[key]


@dataclass
class Workspace:
    """Runs that share a dataset, and everything that the app asks of them.

    `runs` are comparable: trained on the very data that `source` loads. `apart` are whole runs of other data,
    each with the reason; `faults` are folders that are no runs. `problem` says why nothing can be shown, with
    the command that helps; it is "" when all is well.
    """

    runs: dict[str, Run]
    source: str
    load: Callable[[str], Dataset]  # split -> dataset
    embedder: Embedder
    faults: list[RunFault] = field(default_factory=list)
    apart: dict[str, tuple[Run, str]] = field(default_factory=dict)
    problem: str = ""
    checkpoints: Path = Path("checkpoints")
    _memo: Memo = field(default_factory=Memo, repr=False)

    @classmethod
    def open(cls, checkpoints: str | Path, dataset: str | None = None) -> Workspace:
        """The runs below `checkpoints` and their dataset: `dataset`, else the one that most of them were trained on."""
        from xmr import embedding  # brings open_clip, seconds of import: only a real workspace needs it
        from xmr.checkpoints import list_runs
        from xmr.data import load_dataset

        runs, faults = list_runs(Path(checkpoints))
        source, params = dataset or "", {}
        if not dataset and runs:
            source = Counter(run.config.dataset for run in runs).most_common(1)[0][0]
        for run in runs:
            if run.config.dataset == source:
                params = run.config.dataset_params
                break
        return cls.of(
            runs,
            source,
            load=lambda split: load_dataset(source, split, **params),
            embedder=embedding,
            faults=faults,
            checkpoints=Path(checkpoints),
        )

    @classmethod
    def of(
        cls,
        runs: Sequence[Run],
        source: str,
        load: Callable[[str], Dataset],
        embedder: Embedder,
        faults: Sequence[RunFault] = (),
        checkpoints: Path = Path("checkpoints"),
    ) -> Workspace:
        """A workspace of these runs: those of other data set apart, and what is missing told as a `problem`."""
        ordered = {run.name: run for run in sorted(runs, key=lambda run: run.name)}
        self = cls({}, source, load, embedder, list(faults), checkpoints=checkpoints)
        if not ordered:
            self.problem = (
                f"There is no run in {checkpoints}. Train some:\n"
                "python scripts/train.py --dataset blocks --loss max_of_hinges info_nce siglip polynomial"
            )
            return self
        try:
            fingerprint = self.dataset("test").fingerprint
        except Exception as error:  # whatever the user's data does, the app must open and say it
            self.problem = (
                f"The dataset {source!r} could not be loaded: {error}\n"
                "python app.py --dataset NAME|PATH"
            )
            self.apart = {name: (run, "its dataset is missing") for name, run in ordered.items()}
            return self
        for name, run in ordered.items():
            if run.dataset["fingerprints"].get("test") == fingerprint:
                self.runs[name] = run
            else:
                other = run.config.dataset
                what = "another version of it" if other == source else repr(other)
                self.apart[name] = (run, f"the app shows {source!r}, this run was trained on {what}")
        if not self.runs:
            self.problem = (
                f"No run in {checkpoints} was trained on {source!r}. Train one, or show another dataset:\n"
                f"python scripts/train.py --dataset {source} --loss info_nce\n"
                f"python app.py --dataset {next(iter(ordered.values())).config.dataset}"
            )
        return self

    # ---- the data -------------------------------------------------------------------------------------------

    def dataset(self, split: str = "test") -> Dataset:
        """The dataset's split, loaded once. Raises what loading raises."""
        return self._memo.get(("dataset", split), lambda: self.load(split))

    def run(self, name: str) -> Run:
        """The run of that name. Raises UnknownName with the near miss."""
        if name in self.runs:
            return self.runs[name]
        if name in self.apart:
            raise UnknownName(f"run {name!r} is not comparable here: {self.apart[name][1]}")
        raise UnknownName(unknown("run", name, self.runs))

    def embeddings(self, run: str, split: str = "test") -> tuple[np.ndarray, np.ndarray]:
        """Unit embeddings of a split: visuals (N_v, E) and texts (N_t, E), float32."""
        return self.index(run, split, "v").vectors, self.index(run, split, "t").vectors

    def index(self, run: str, split: str, side: Literal["v", "t"]) -> ExactIndex:
        """The search index over a split's visuals ("v") or texts ("t")."""
        owner = self.run(run)

        def make() -> tuple[ExactIndex, ExactIndex]:
            stored = split == "test"
            pair = owner.embeddings() if stored else self.embedder.embed_dataset(owner, self.dataset(split))
            return ExactIndex(pair[0]), ExactIndex(pair[1])

        return self._memo.get(("index", run, split), make)["vt".index(side)]

    def scores(
        self, run: str, split: str, direction: Direction, queries: np.ndarray | None = None
    ) -> np.ndarray:
        """Scores (Q, G) float32 of the split's items `queries` (all: None) against the other side's items."""
        visual, text = self.embeddings(run, split)
        asking, gallery = (visual, text) if direction == "v2t" else (text, visual)
        return (asking if queries is None else asking[queries]) @ gallery.T

    def positives(self, split: str, direction: Direction, queries: np.ndarray | None = None) -> np.ndarray:
        """Which pairs are annotated as matching, (Q, G) bool, as in `scores`."""
        data = self.dataset(split)
        asking, gallery = (data.visual_group, data.text_group)[:: 1 if direction == "v2t" else -1]
        return (asking if queries is None else asking[queries])[:, None] == gallery[None]

    def truth(
        self, split: str, direction: Direction, queries: np.ndarray, gallery: np.ndarray
    ) -> np.ndarray | None:
        """What really matches, (Q, G) float32 with 1, 0 and NaN (unknown); None where the dataset has no truth."""
        known = self.dataset(split).truth
        if known is None:
            return None
        queries, gallery = np.asarray(queries), np.asarray(gallery)
        return known.block(queries, gallery) if direction == "v2t" else known.block(gallery, queries).T

    def metrics(self, run: str, split: str = "test") -> dict[str, float]:
        """What the run told of itself on that split; empty where it told nothing."""
        return self.run(run).metrics.get(split, {})

    def style(self, run: str) -> Style:
        """Colour, marker and dash of a run, by its place among all runs' sorted names."""
        at = sorted({*self.runs, *self.apart}).index(run)
        # Beyond six runs colours repeat, but no run has another's colour *and* marker *and* dash.
        turn = at // len(COLOURS)
        return Style(COLOURS[at % 6], MARKERS[(at + turn) % 6], DASHES[(at + turn) % 6])

    # ---- pictures -------------------------------------------------------------------------------------------

    @property
    def thumbnails(self) -> Path:
        """The folder below which all thumbnails lie."""
        root = os.environ.get("XMR_CACHE") or Path.home() / ".cache" / "xmr"
        return Path(root).absolute() / "thumbnails"

    def thumbnail(self, split: str, index: int) -> Path | None:
        """A small picture of a visual, written when first asked for; None where the dataset has no pictures."""
        data = self.dataset(split)
        if data.visuals is None:
            return None
        key = hashlib.sha256(f"{data.fingerprint} {THUMBNAIL_PX}".encode()).hexdigest()[:16]
        path = self.thumbnails / key / f"{index // 1000}" / f"{index}.webp"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            image = data.image(index).convert("RGB")
            image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
            # Written aside and renamed: a second process or a killed one never leaves half a picture.
            aside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
            image.save(aside, "WEBP", quality=90, method=2)
            aside.replace(path)
        return path

    # ---- queries --------------------------------------------------------------------------------------------

    def search(
        self, query: Query, runs: Sequence[str], split: str, direction: Direction, k: int
    ) -> list[Column]:
        """The k best of every run, and where the annotated match stands. Raises ValueError on an empty query."""
        same = self._same_items(query, split, direction)
        columns = []
        for name in runs:
            vector = self._vector(name, query, split, direction)
            gallery = self.index(name, split, "v" if direction == "t2v" else "t")
            own = np.flatnonzero(self.positives(split, direction, same).any(0)) if len(same) else same
            scores, found = gallery.search(vector[None], k, behind=[own])
            listed = [
                self._result(split, direction, same, own, int(at), float(score), rank)
                for rank, (at, score) in enumerate(zip(found[0], scores[0], strict=True), 1)
            ]
            annotated = next((result for result in listed if result.status == "annotated"), None)
            if annotated is None and len(own):
                row = gallery.vectors @ vector
                best = own[np.argmax(row[own])]
                ahead = row >= row[best]
                ahead[own] = False
                # Never inside the list it was not found in, whatever the last bit of the two products says.
                rank = max(int(ahead.sum()), len(listed)) + 1
                annotated = self._result(split, direction, same, own, int(best), float(row[best]), rank)
            columns.append(Column(name, listed, annotated))
        return columns

    def ranks(self, run: str, split: str, direction: Direction) -> np.ndarray:
        """Rank of each query's best annotated match, (Q,) int64; ties count against it; 0 where it has none."""

        def make() -> np.ndarray:
            count = len(self.dataset(split).visual_ids if direction == "v2t" else self.dataset(split).captions)
            ranks = np.zeros(count, np.int64)
            for start in range(0, count, 512):
                rows = np.arange(start, min(start + 512, count))
                scores = self.scores(run, split, direction, rows)
                own = self.positives(split, direction, rows)
                best = np.where(own, scores, -np.inf).max(1, keepdims=True)
                ranks[rows] = np.where(own.any(1), ((scores >= best) & ~own).sum(1) + 1, 0)
            return ranks

        return self._memo.get(("ranks", run, split, direction), make)

    def disagreements(self, runs: Sequence[str], split: str, direction: Direction) -> np.ndarray:
        """All queries (Q,) of a split, those first on which the runs' ranks of the annotated match differ most."""
        ranks = np.stack([self.ranks(run, split, direction) for run in runs])
        # In the logarithm, because 1 against 20 says more than 500 against 900.
        spread = np.log(np.maximum(ranks, 1))
        return np.argsort(-np.ptp(spread, axis=0), kind="stable")

    def _vector(self, run: str, query: Query, split: str, direction: Direction) -> np.ndarray:
        if query.index is not None:
            return self.index(run, split, "t" if direction == "t2v" else "v").vectors[query.index]
        if query.image is not None:
            return self.embedder.embed_visuals(self.run(run), [query.image])[0]
        return self.embedder.embed_texts(self.run(run), [query.text])[0]

    def _same_items(self, query: Query, split: str, direction: Direction) -> np.ndarray:
        """Items of the split that are this query: the item itself, or the captions that read as the text does."""
        if query.index is not None:
            return np.array([query.index])
        if query.image is not None or direction == "v2t":
            return np.array([], np.int64)
        if not query.text.strip():
            raise ValueError("the query is empty")
        return self._captions(split).get(_plain(query.text), np.array([], np.int64))

    def _captions(self, split: str) -> dict[str, np.ndarray]:
        def make() -> dict[str, np.ndarray]:
            places: dict[str, list[int]] = {}
            for index, caption in enumerate(self.dataset(split).captions):
                places.setdefault(_plain(caption), []).append(index)
            return {text: np.array(indices) for text, indices in places.items()}

        return self._memo.get(("captions", split), make)

    def _result(
        self,
        split: str,
        direction: Direction,
        same: np.ndarray,
        own: np.ndarray,
        index: int,
        score: float,
        rank: int,
    ) -> Result:
        data = self.dataset(split)
        known = self.truth(split, direction, same[:1], np.array([index])) if len(same) else None
        if index in own:
            status: Status = "annotated"
        elif known is None or np.isnan(known[0, 0]):
            status = "unknown"
        else:
            status = "true" if known[0, 0] > 0.5 else "neither"
        name = data.visual_ids[index] if direction == "t2v" else f"{data.visual_ids[data.visual_of_text[index]]}#{index}"
        return Result(name, index, score, rank, status)


def overlap_at_k(a: Column, b: Column) -> float:
    """Jaccard index of the items in two runs' lists: shared over all."""
    left, right = ({result.index for result in column.results} for column in (a, b))
    return len(left & right) / max(len(left | right), 1)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


__all__ = ["Column", "DIRECTIONS", "Query", "Result", "Style", "Workspace", "overlap_at_k"]
