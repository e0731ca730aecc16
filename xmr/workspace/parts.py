"""What goes into a workspace and what comes out of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from PIL import Image
from torch import Tensor

from xmr.workspace.public import publish

if TYPE_CHECKING:
    from xmr.captions import TextsRead
    from xmr.checkpoints import Run
    from xmr.data import Dataset
    from xmr.embedding import Encoded, Frozen, Progress

Status = Literal["annotated", "true", "neither", "unknown"]

# Okabe and Ito's colours in the order of their contrast on white (the first four pass 3:1, the other two are
# drawn with an outline); never the only carrier of a meaning: markers and dashes go with them.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "star")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


@dataclass(frozen=True)
class Style:
    """How a run is drawn, everywhere: plotly's names for marker and dash."""

    colour: str
    marker: str
    dash: str


def style_at(place: int) -> Style:
    """The look of the thing at that place of an order: beyond six, colours repeat, but up to 216 nothing else has the
    same colour *and* marker *and* dash."""
    turn, lap = place // 6, place // 36
    return Style(COLOURS[place % 6], MARKERS[(place + turn) % 6], DASHES[(place + turn + lap) % 6])


def styles_of(names: Sequence[str], order: Sequence[str]) -> dict[str, Style]:
    """The looks of the things `names` beside each other: of any six in succession, each has a colour of its own.

    Each has the look of its place in `order`, the whole of what there is, whatever else is chosen; only where that
    colour is taken by one that stands before it in `order` does it take the next free one.
    """
    looks = {}
    for lap, start in enumerate(range(0, len(names), len(COLOURS))):
        free = list(range(len(COLOURS)))
        for name in sorted(names[start : start + len(COLOURS)], key=order.index):
            wanted = order.index(name) % len(COLOURS)
            slot = min(free, key=lambda slot: (slot - wanted) % len(COLOURS))
            free.remove(slot)
            looks[name] = style_at(lap * len(COLOURS) + slot)
    return looks


@dataclass(frozen=True)
class Query:
    """What is asked: a text, a picture, or an item of the split (a caption in t2v, a visual in v2t)."""

    text: str = ""
    image: Image.Image | None = None
    index: int | None = None


@dataclass(frozen=True)
class Result:
    """One item of a gallery in one run's ranking. `rank` is 1-based; `first_rank` is that in the first stage of a run
    that re-ranks, None elsewhere."""

    id: str
    index: int
    score: float
    rank: int
    status: Status
    first_rank: int | None = None


@dataclass(frozen=True)
class Column:
    """One run's answer: its k best, and the best-ranked annotated match wherever it stands (None: unknown).

    `fault` says why the run could not answer; its lists are empty then.
    """

    run: str
    results: list[Result]
    annotated: Result | None
    fault: str = ""


def overlap_at_k(a: Column, b: Column) -> float:
    """The share of the items in two runs' lists that are in both: 8 of 12 are 2/3, as RBO's agreement at a depth."""
    left, right = ({result.index for result in column.results} for column in (a, b))
    return len(left & right) / max(len(left), len(right), 1)


class Embedder(Protocol):
    """Free queries and whole splits as unit embeddings of a run; `xmr.embedding` is one."""

    def embed_texts(self, run: Run, texts: list[str], encoded: Encoded) -> np.ndarray: ...
    def embed_visuals(self, run: Run, visuals: list[Image.Image], encoded: Encoded) -> np.ndarray: ...
    def text_states(self, run: Run, texts: list[str], encoded: Encoded) -> Tensor: ...
    def visual_states(self, run: Run, visuals: list[Image.Image], encoded: Encoded) -> Tensor: ...
    def run_reads(self, run: Run, texts: list[str]) -> list[TextsRead]: ...
    def embed_dataset(self, run: Run, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]: ...
    def frozen_features(self, dataset: Dataset, encoder: str) -> Frozen: ...
    def unread(self, runs: Sequence[Run], split: str) -> int: ...
    def read_split(self, runs: Sequence[Run], dataset: Dataset, progress: Progress) -> None: ...


class Memo:
    """Values made once per key, by one thread; the others wait for it instead of making their own. What can't be made
    raises, in words that anyone may read."""

    def __init__(self) -> None:
        self._values: dict[Any, Any] = {}
        self._locks: dict[Any, threading.Lock] = {}
        self._guard = threading.Lock()

    def has(self, key: Any) -> bool:
        return key in self._values

    def get(self, key: Any, make: Callable[[], Any]) -> Any:
        if key not in self._values:
            with self._guard:
                lock = self._locks.setdefault(key, threading.Lock())
            with lock:
                if key not in self._values:
                    try:
                        self._values[key] = make()
                    except Exception as error:
                        publish(error)
                        raise
        return self._values[key]


class Layer(Memo):
    """Values over those of another memo, of which it keeps its own: those whose key names one of `names`. So runs that only some
    visitors see are measured apart, whatever others call theirs, and all else is measured once."""

    def __init__(self, below: Memo, names: Iterable[str]) -> None:
        super().__init__()
        self._below, self._names = below, frozenset(names)

    def has(self, key: Any) -> bool:
        return super().has(key) if self._is_own(key) else self._below.has(key)

    def get(self, key: Any, make: Callable[[], Any]) -> Any:
        return super().get(key, make) if self._is_own(key) else self._below.get(key, make)

    def _is_own(self, key: Any) -> bool:
        return (
            any(map(self._is_own, key))
            if isinstance(key, tuple)
            else isinstance(key, str) and key in self._names
        )
