"""What the app shows: the runs of a folder, the dataset that they share, and queries answered by all of them.

Process-wide and read-only. Arrays are loaded when first asked for and kept once; nothing here knows of a user
interface, so a notebook can use it as the app does.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image

from xmr.captions import text_key
from xmr.core import Direction
from xmr.data.card import lengths_said, of_captions
from xmr.embedding import Encoded
from xmr.search import ExactIndex, two_stage
from xmr.workspace.memory import kept, remembered
from xmr.workspace.parts import (
    COLOURS,
    Column,
    Embedder,
    Query,
    Result,
    Status,
    Style,
    overlap_at_k,
    style_at,
)
from xmr.workspace.public import publish
from xmr.workspace.ranks import MAX_PAIRS, TOP, RankedRuns

__all__ = [
    "COLOURS",
    "MAX_PAIRS",
    "TOP",
    "Column",
    "Embedder",
    "Query",
    "Result",
    "Status",
    "Style",
    "Workspace",
    "overlap_at_k",
    "style_at",
]


RECENT = 64  # free queries that are kept, with their pictures, features and embeddings
DEPTH = 100  # items of the first stage that a pair scorer re-ranks


@dataclass
class _Free:
    """A query from outside: what encoders and runs have made of it. Runs of one encoder ask it once."""

    image: Image.Image | None  # held, so that its id stays its own
    encoded: Encoded = field(default_factory=dict)
    vectors: dict[str, np.ndarray] = field(default_factory=dict)  # by run


class _Place(NamedTuple):
    """Where an item stands in a run's ranking, and in its first stage if it has two."""

    index: int
    score: float
    rank: int
    first_rank: int | None = None


@dataclass
class Workspace(RankedRuns):
    """Ranked runs that answer queries."""

    _recent: dict[tuple[str, int], _Free] = field(default_factory=dict, repr=False)
    _recent_guard: Lock = field(default_factory=Lock, repr=False)

    def search(
        self, query: Query, runs: Sequence[str], split: str, direction: Direction, k: int
    ) -> list[Column]:
        """The k best of every run, and where the annotated match stands.

        A run that cannot answer (it knows no encoder for free queries, or its files have changed) has a column
        that says so. Raises ValueError on an empty query.
        """
        if query.text and query.index is None and self.dataset(split).gallery_visuals is not None:
            raise ValueError(
                f"{self.dataset(split).name} compares pictures with pictures: text finds nothing there"
            )
        same, own = self.annotation(query, split, direction)
        columns = []
        for name in runs:
            try:
                columns.append(self._column(name, query, split, direction, k, same, own))
            except (ValueError, OSError) as error:
                publish(error)
                columns.append(Column(name, [], None, fault=str(error)))
            except Exception as error:  # a run is a stranger's: what it breaks is its own column
                traceback.print_exc()
                fault = f"{name} failed here ({type(error).__name__}); the server's log says where"
                columns.append(Column(name, [], None, fault=fault))
        return columns

    def _column(
        self,
        run: str,
        query: Query,
        split: str,
        direction: Direction,
        k: int,
        same: np.ndarray,
        own: np.ndarray,
    ) -> Column:
        ranked = self._ranked(run, query, split, direction, k, own)
        listed = self._results(ranked[:k], same, own, split, direction)
        annotated = next((result for result in listed if result.status == "annotated"), None)
        if annotated is None and len(own):
            further = next((place for place in ranked[k:] if place.index in own), None)
            if further is None:  # not among those that were asked of
                further = self._best_of(run, query, split, direction, own, len(ranked))
            annotated = self._results([further], same, own, split, direction)[0]
        return Column(run, listed, annotated)

    def warm_up(self) -> None:
        """Embeds one query per run, so that the first visitor's does not wait for encoders to be loaded."""
        pictures = bool(self.runs) and self.dataset().gallery_visuals is not None
        query = Query(image=Image.new("RGB", (64, 64))) if pictures else Query(text="a picture")
        for name in self.runs:
            try:
                self._vector(name, query, "test", "v2t" if pictures else "t2v")
            except (ValueError, OSError):
                continue  # a run without an encoder: its column will say so

    def locate(self, query: Query, run: str, split: str, direction: Direction, index: int) -> Result:
        """Where one item of the gallery stands in a run's whole ranking."""
        same, own = self.annotation(query, split, direction)
        ranked = self._ranked(run, query, split, direction, 1, own) if self.run(run).scores_pairs else []
        place = next((place for place in ranked if place.index == index), None)
        if place is None:
            place = self._best_of(run, query, split, direction, np.array([index]), 0, own)
        return self._results([place], same, own, split, direction)[0]

    def spread(self, run: str, query: Query, split: str, direction: Direction) -> tuple[float, float] | None:
        """Mean and standard deviation of the query's scores over the whole gallery; None where a pair scorer would have to
        be asked of all of it."""
        owner = self.run(run)
        if owner.scores_pairs:
            scores = owner.scores() if query.index is not None and split == "test" else None
            if scores is None:
                return None
            row = np.asarray(
                scores[query.index] if direction == "v2t" else scores[:, query.index], np.float64
            )
            return float(row.mean()), float(row.std())
        mean, second = self._moments(run, split, "v" if direction == "t2v" else "t")
        vector = self._vector(run, query, split, direction).astype(np.float64)
        centre = float(vector @ mean)
        return centre, float(np.sqrt(max(vector @ second @ vector - centre**2, 0.0)))

    @kept
    def _moments(self, run: str, split: str, side: Literal["v", "t"]) -> tuple[np.ndarray, np.ndarray]:
        """Mean (E,) and second moment (E, E) of a side's vectors: a query's mean score and spread without its scores."""
        vectors = self.index(run, split, side).vectors
        second = sum(
            (part.T @ part).astype(np.float64) for part in np.array_split(vectors, -(-len(vectors) // 4096))
        )
        return vectors.mean(0, dtype=np.float64), second / len(vectors)

    def annotation(self, query: Query, split: str, direction: Direction) -> tuple[np.ndarray, np.ndarray]:
        """The split's items that are this very query, and the gallery items annotated as matching it; both may be
        empty: a visual itself, the captions that read as a text or a caption does (a caption that is asked by its place
        comes first), nothing for a picture from outside. Captions that read alike share their matches."""
        none, data = np.array([], np.int64), self.dataset(split)
        if query.index is None and query.image is None and not query.text.strip():
            raise ValueError("the query is empty")
        if query.index is not None:
            same = np.array([query.index])
        elif query.image is None and direction == "t2v":
            same = np.flatnonzero(data.reading == self._first_of(split).get(text_key(query.text), -1))
        else:
            same = none
        if not len(same):
            return none, none
        if direction == "t2v":
            alike = np.flatnonzero(np.isin(data.reading, data.reading[same]))
            same = np.concatenate([same, np.setdiff1d(alike, same)])
        own = np.flatnonzero(self.positives(split, direction, same).any(0))
        if direction == "v2t":
            own = np.flatnonzero(np.isin(data.reading, data.reading[own]))
        return same, own

    def known(
        self, split: str, direction: Direction, same: np.ndarray, items: np.ndarray
    ) -> np.ndarray | None:
        """What really matches the query that is `same` (`annotation`), of gallery `items` (N,): (N,) float32 as `truth`,
        and of captions that read alike what is known of any of them; None where nothing is known."""
        data = self.dataset(split)
        if data.truth is None or not len(same):
            return None
        if data.truth.complete:
            return self.truth(split, direction, same[:1], items)[0]
        if direction == "t2v":
            return np.fmax.reduce(self.truth(split, direction, same, items), axis=0)
        every = np.arange(len(data.captions))
        best = np.full(len(every), np.nan, np.float32)
        np.fmax.at(best, data.reading, self.truth(split, direction, same, every)[0])
        return best[data.reading[items]]

    @remembered
    def read_elsewhere(self, split: str) -> int:
        """How many captions read like one of another group of visuals: their matches are shared."""
        data = self.dataset(split)
        first = np.unique(np.stack([data.reading, data.text_group]), axis=1)[0]
        return int((np.bincount(first, minlength=len(data.captions)) > 1)[data.reading].sum())

    @remembered
    def caption_facts(self, split: str) -> str:
        """How long captions are and in which scripts."""
        return lengths_said(of_captions(self.dataset(split)))

    def disagreements(self, runs: Sequence[str], split: str, direction: Direction) -> np.ndarray:
        """All queries (Q,) of a split, those first of which the runs rank the match most differently.

        The match is the annotated one and, where truth is known, also the first true one: of a caption that many
        pictures fit, where the annotated one of them stands says little. Of a large split a sample is compared, and the
        others follow as they come.
        """
        runs = [run for run in runs if self._can_be_ranked(run, split)]
        data = self.dataset(split)
        every = np.arange(len(data.visual_ids) if direction == "v2t" else len(data.captions))
        if not runs:
            return every
        asked = self.sample(split, direction)
        if asked is not None:
            ranks = np.stack([self._ranks_of_sample(run, split, direction) for run in runs])
            first = asked[np.argsort(-_spread(ranks), kind="stable")]
            return np.concatenate([first, np.setdiff1d(every, first)])
        spread = _spread(np.stack([self.ranks(run, split, direction) for run in runs]))
        true = [self.true_ranks(run, split, direction) for run in runs]
        if all(ranks is not None for ranks in true):
            spread += _spread(np.stack(true))
        return np.argsort(-spread, kind="stable")

    def _can_be_ranked(self, run: str, split: str) -> bool:
        try:
            self.sides(run, split)
        except (ValueError, OSError):
            return False
        return True

    def _ranked(
        self, run: str, query: Query, split: str, direction: Direction, k: int, own: np.ndarray
    ) -> list[_Place]:
        """The run's best items, best first: k and, where all were looked at, the best of `own` if it is further down; of
        a pair scorer all that it re-ranks."""
        vector = self._vector(run, query, split, direction)
        gallery = self.index(run, split, "v" if direction == "t2v" else "t")
        if not self.run(run).scores_pairs:
            if not isinstance(gallery, ExactIndex):
                return _places(*gallery.search(vector[None], k, behind=[own]))
            # One pass over the gallery for the list and the rank: reading it is what takes the time.
            row = gallery.vectors @ vector
            listed = _places(*gallery.search(vector[None], k, behind=[own], rows=row[None]))
            if len(own) and not any(place.index in own for place in listed):
                listed.append(_best_in(row, own, own, k))
            return listed
        rescore = self._rescorer(run, query, split, direction)
        found = two_stage(
            gallery, vector[None], max(k, DEPTH), DEPTH, lambda _, items: rescore(items), behind=[own]
        )
        parts = (found.indices, found.scores, found.first_ranks)
        ranked = zip(*(part[0].tolist() for part in parts), strict=True)
        return [
            _Place(index, float(score), rank, first) for rank, (index, score, first) in enumerate(ranked, 1)
        ]

    def _best_of(
        self,
        run: str,
        query: Query,
        split: str,
        direction: Direction,
        items: np.ndarray,
        listed: int,
        own: np.ndarray | None = None,
    ) -> _Place:
        """The best of some items that are not among the first `listed`, wherever it stands."""
        vector = self._vector(run, query, split, direction)
        row = self.index(run, split, "v" if direction == "t2v" else "t").vectors @ vector
        place = _best_in(row, items, items if own is None else own, listed)
        if not self.run(run).scores_pairs:
            return place
        rescored = self._rescorer(run, query, split, direction)(np.array([place.index]))
        return place._replace(score=float(rescored[0]), first_rank=place.rank)

    def _rescorer(
        self, run: str, query: Query, split: str, direction: Direction
    ) -> Callable[[np.ndarray], np.ndarray]:
        """What a pair scorer says of the query and given items of the gallery."""
        owner = self.run(run)
        if query.index is not None and split == "test" and owner.scores() is not None:
            scores = owner.scores() if direction == "v2t" else owner.scores().T
            return lambda items: scores[query.index, items]
        scorer, one = self.scorer(run, split), np.arange(1)
        if query.index is not None:
            own = np.array([query.index])
            if direction == "v2t":
                return lambda items: scorer.block(own, items)[0]
            return lambda items: scorer.block(items, own)[:, 0]
        encoded = self._free(query).encoded
        if query.image is not None:
            asked = replace(scorer, visual=self.embedder.visual_states(owner, [query.image], encoded))
        else:
            asked = replace(scorer, text=self.embedder.text_states(owner, [query.text], encoded))
        if direction == "v2t":
            return lambda items: asked.block(one, items)[0]
        return lambda items: asked.block(items, one)[:, 0]

    def _vector(self, run: str, query: Query, split: str, direction: Direction) -> np.ndarray:
        if query.index is not None:
            return self.index(run, split, "t" if direction == "t2v" else "v").vectors[query.index]
        free = self._free(query)
        if run not in free.vectors:
            owner = self.run(run)
            if query.image is not None:
                free.vectors[run] = self.embedder.embed_visuals(owner, [query.image], free.encoded)[0]
            else:
                free.vectors[run] = self.embedder.embed_texts(owner, [query.text], free.encoded)[0]
        return free.vectors[run]

    def _free(self, query: Query) -> _Free:
        """What is known of a query from outside: another k or baseline asks the same again."""
        key = query.text, id(query.image)
        with self._recent_guard:
            free = self._recent[key] = self._recent.pop(key, None) or _Free(query.image)  # the latest is last
            while len(self._recent) > RECENT:
                self._recent.pop(next(iter(self._recent)))
        return free

    @remembered
    def _first_of(self, split: str) -> dict[str, int]:
        """The first of the captions that read alike, by `text_key`."""
        data = self.dataset(split)
        return {text_key(data.captions[i]): int(i) for i in np.unique(data.reading)}

    def _results(
        self,
        ranked: list[_Place],
        same: np.ndarray,
        own: np.ndarray,
        split: str,
        direction: Direction,
    ) -> list[Result]:
        """Results from places, with what is known of each pair."""
        indices = np.array([place.index for place in ranked])
        known = self.known(split, direction, same, indices)
        results = []
        for at, (index, score, rank, first) in enumerate(ranked):
            if index in own:
                status: Status = "annotated"
            elif known is None or np.isnan(known[at]):
                status = "unknown"
            else:
                status = "true" if known[at] > 0.5 else "neither"
            results.append(Result(self.item_id(split, direction, index), index, score, rank, status, first))
        return results

    def item_id(self, split: str, direction: Direction, index: int) -> str:
        """Name of a gallery item: a visual's id, or for a caption its visual's id and its number there."""
        data = self.dataset(split)
        if direction == "t2v":
            return data.visual_ids[index]
        return f"{data.visual_ids[data.visual_of_text[index]]}#{data.text_numbers[index]}"


def _spread(ranks: np.ndarray) -> np.ndarray:
    """How much (runs, Q) ranks tell the runs apart on each query: most where one is right and another far off.

    log(worst / best) - log(best), in the logarithm because 1 against 20 says more than 500 against 900. A query
    without a match comes last. One run alone cannot disagree: it is set against a perfect one.
    """
    if len(ranks) == 1:
        ranks = np.vstack([ranks, np.ones_like(ranks)])
    return np.nan_to_num(np.log(ranks.max(0)) - 2 * np.log(ranks.min(0)), nan=-np.inf)


def _places(scores: np.ndarray, found: np.ndarray) -> list[_Place]:
    """The places of one query's results, (1, K) each."""
    ranked = zip(found[0].tolist(), scores[0].tolist(), range(1, found.shape[1] + 1), strict=True)
    return [_Place(*place) for place in ranked]


def _best_in(row: np.ndarray, items: np.ndarray, own: np.ndarray, listed: int) -> _Place:
    """The best of some items by the scores `row` of all, behind the first `listed`, among which they are not."""
    best = int(items[np.argmax(row[items])])
    # Never inside the list it was not found in, whatever the last bit of the two products says.
    return _Place(best, float(row[best]), max(_rank(row, best, own), listed + 1))


def _rank(row: np.ndarray, index: int, own: np.ndarray) -> int:
    """1-based place of `index` among the scores `row` in the order of `ExactIndex.search(behind=own)`."""
    mine = np.zeros(len(row), bool)
    mine[own] = True
    equal = row == row[index]
    earlier = np.arange(len(row)) < index
    tied = equal & (~mine | earlier) if mine[index] else equal & ~mine & earlier
    return int((row > row[index]).sum() + tied.sum()) + 1
