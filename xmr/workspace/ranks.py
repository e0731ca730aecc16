"""Where each run ranks what: measured once and kept on the disk, of a large split in the background."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from xmr.analysis import top_items
from xmr.core import DIRECTIONS, Direction, Ranking
from xmr.data.truths import FieldTruth
from xmr.metrics import (
    first_rank,
    map_at_r,
    r_precision,
    rank_embeddings,
    rank_gallery,
    rank_scores,
    rank_truth,
    rank_truth_of_scores,
)
from xmr.workspace.memory import kept, remembered
from xmr.workspace.runset import RunSet

TOP = 10  # length of the lists in which hubs are counted
LOOKED_AT = 50_000_000  # pairs of a split whose queries are all looked at while a visitor waits: some seconds
SMALLEST_SAMPLE = 200  # queries
MAX_PAIRS = 20_000_000  # whose truth is asked to find disagreements: about a second


def told_by_truth(rankings: tuple[Ranking, Ranking]) -> dict[Direction, dict[str, np.ndarray]]:
    """Of each query the "rank" of its best match and the "mAP@R" over all of them, (Q,) float64 each."""
    return {
        direction: {"rank": first_rank(ranking), "mAP@R": map_at_r(ranking)}
        for direction, ranking in zip(DIRECTIONS, rankings, strict=True)
    }


def most_reach(ranks: Sequence[np.ndarray]) -> np.ndarray:
    """The rank (Q,) that more than half of several trainings reach for each query, of their ranks (Q,) each: it is among the first
    k where most have a match there. A query without a match (NaN) has none in any."""
    return ranks[0] if len(ranks) == 1 else np.sort(np.stack(ranks), 0)[len(ranks) // 2]


ByField = dict[Direction, dict[str, dict[str, np.ndarray]]]


def told_by_field(
    truths: Mapping[str, FieldTruth], visual: np.ndarray, text: np.ndarray, scores: np.ndarray | None = None
) -> ByField:
    """By each of the field's truths, of each query the "rank" of its best match, "R-precision" and "mAP@R", (Q,) float64
    each, of unit embeddings or of a pair scorer's `scores` (N_v, N_t); NaN of queries that the truth does not ask."""
    found: ByField = {direction: {} for direction in DIRECTIONS}
    for name, truth in truths.items():
        (gallery,) = truth.galleries
        rankings = rank_gallery(visual, text, gallery, scores)
        asked = gallery.visuals[gallery.v2t.queries], gallery.texts[gallery.t2v.queries]
        for direction, ranking, rows, side in zip(DIRECTIONS, rankings, asked, (visual, text), strict=True):
            told = {
                "rank": first_rank(ranking),
                "R-precision": r_precision(ranking),
                "mAP@R": map_at_r(ranking),
            }
            found[direction][name] = {what: np.full(len(side), np.nan) for what in told}
            for what, values in told.items():
                found[direction][name][what][rows] = values
    return found


@dataclass
class RankedRuns(RunSet):
    """Runs of a dataset, and where they rank what."""

    def is_large(self, split: str) -> bool:
        """Whether looking at all pairs takes longer than a visitor waits."""
        data = self.dataset(split)
        return len(data.visual_ids) * len(data.captions) > LOOKED_AT

    def sample(self, split: str, direction: Direction) -> np.ndarray | None:
        """Queries that stand for all of a large split, ascending, by a seed; None where all are looked at."""
        if not self.is_large(split):
            return None
        data = self.dataset(split)
        queries, gallery = (len(data.visual_ids), len(data.captions))[:: 1 if direction == "v2t" else -1]
        rng = np.random.default_rng(0)
        return np.sort(
            rng.choice(queries, min(queries, max(SMALLEST_SAMPLE, LOOKED_AT // gallery)), replace=False)
        )

    def visual_of_query(self, split: str, direction: Direction) -> np.ndarray | None:
        """The visual of each query, (Q,) int, by which intervals and tests are drawn; None where queries are visuals."""
        return self.dataset(split).visual_of_text if direction == "t2v" else None

    def ranks(self, run: str, split: str, direction: Direction) -> np.ndarray:
        """Rank of each query's best annotated match, (Q,) float64; ties count against it; NaN where it has none. Under several
        seeds it is the rank that more than half of them reach."""
        return most_reach([self._ranks(one, split)[direction] for one in self.each(run)])

    @kept
    def _ranks(self, run: str, split: str) -> dict[Direction, np.ndarray]:
        return dict(zip(DIRECTIONS, map(first_rank, self.rankings(run, split)), strict=True))

    @remembered
    def _ranks_of_sample(self, run: str, split: str, direction: Direction) -> np.ndarray:
        """As `ranks`, of the `sample` of a large split."""
        data, queries = self.dataset(split), self.sample(split, direction)
        visual, text = self.embeddings(run, split)
        if direction == "v2t":
            own = data.visual_group[queries]
            return first_rank(rank_embeddings(visual[queries], text, own, data.text_group)[0])
        own = data.text_group[queries]
        return first_rank(rank_embeddings(visual, text[queries], data.visual_group, own)[1])

    def true_ranks(self, run: str, split: str, direction: Direction) -> np.ndarray | None:
        """Rank of each query's best true match, as `ranks`; None where not all truth is known, or it is too much
        to ask before a page is shown."""
        if not self.knows_all(split):
            return None
        return most_reach([self.by_truth(one, split)[direction]["rank"] for one in self.each(run)])

    def field_ranks(self, run: str, split: str, direction: Direction, truth: str) -> np.ndarray:
        """As `ranks`, by one of the field's truths."""
        return most_reach([self.by_field(one, split)[direction][truth]["rank"] for one in self.each(run)])

    @kept
    def by_truth(self, run: str, split: str) -> dict[Direction, dict[str, np.ndarray]]:
        """`told_by_truth` of a split that `knows_all`: measured at once, since the rankings themselves are not kept."""
        return told_by_truth(self.rankings(run, split, truth=True))

    def by_field(self, run: str, split: str) -> ByField:
        """`told_by_field` of the split's `field_truths`."""
        return self._by_field(run, split) if self.field_truths(split) else {way: {} for way in DIRECTIONS}

    @kept
    def _by_field(self, run: str, split: str) -> ByField:
        scores = self.pair_scores(run, split) if self.run(run).scores_pairs else None
        return told_by_field(self.field_truths(split), *self.embeddings(run, split), scores)

    def knows_all(self, split: str) -> bool:
        """Whether the truth of every pair is known, and there are few enough to ask it before a page is shown."""
        data = self.dataset(split)
        pairs = len(data.visual_ids) * len(data.captions)
        return data.truth is not None and data.truth.complete and pairs <= MAX_PAIRS

    def rankings(self, run: str, split: str, truth: bool = False) -> tuple[Ranking, Ranking]:
        """Ranks of all annotated matches of a split's queries, v2t and t2v; with `truth` of all true ones. Not kept."""
        data = self.dataset(split)
        if self.run(run).scores_pairs:
            sides, of_sides, of_truth = (self.pair_scores(run, split),), rank_scores, rank_truth_of_scores
        else:
            sides, of_sides, of_truth = self.embeddings(run, split), rank_embeddings, rank_truth
        return of_truth(*sides, data.truth) if truth else of_sides(*sides, data.visual_group, data.text_group)

    @kept
    def top(self, run: str, split: str, direction: Direction) -> np.ndarray:
        """The first `TOP` results of every query, (Q, TOP) int32."""
        queries, gallery = self.sides(run, split)[:: 1 if direction == "v2t" else -1]
        return top_items(queries, gallery, TOP)

    @kept
    def match_scores(self, run: str, split: str) -> np.ndarray:
        """Scores of the pairs of a text and the visual that it was written for, ascending, (N_t,) float32."""
        of = self.dataset(split).visual_of_text
        if self.run(run).scores_pairs:
            return np.sort(self.pair_scores(run, split)[of, np.arange(len(of))])
        visual, text = self.embeddings(run, split)
        parts = np.split(np.arange(len(of)), range(10_000, len(of), 10_000))
        return np.sort(
            np.concatenate([np.einsum("ne,ne->n", visual[of[part]], text[part]) for part in parts])
        )

    def is_measured(self, runs: Sequence[str], split: str) -> bool:
        """Whether ranks and first results of these runs can be had at once: always, where the split is not large."""
        return not self.is_large(split) or all(
            type(self)._ranks.known(self, run, split)
            and (not self.field_truths(split) or type(self)._by_field.known(self, run, split))
            and all(type(self).top.known(self, run, split, direction) for direction in DIRECTIONS)
            for name in runs
            for run in self.each(name)
        )

    def measure(self, split: str = "test", runs: Sequence[str] | None = None) -> None:
        """Measures what `is_measured` asks about, run by run (None: all); those that can't be are left out."""
        for run in self.runs if runs is None else runs:
            try:
                for direction in DIRECTIONS:
                    self.ranks(run, split, direction)
                    self.top(run, split, direction)
                for one in self.each(run):
                    self.by_field(one, split)
            except (ValueError, OSError):
                continue
