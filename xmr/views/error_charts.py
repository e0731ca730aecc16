"""The charts and tables of the errors tab, and its slices as LaTeX. No gradio here."""

from __future__ import annotations

from typing import Any

import numpy as np

from xmr.analysis import Slice, Slicing, hits, hubness, slice_differences, slice_means
from xmr.analysis.maps import Hubness
from xmr.core import Direction
from xmr.data.truths import TRUTHS
from xmr.figures.errors import (
    buckets_figure,
    buckets_words,
    rank_counts,
    ranks_figure,
    ranks_words,
    slice_words,
    slices_figure,
    slices_words,
)
from xmr.figures.hubs import hubness_figure, hubness_words
from xmr.tables import latex_text
from xmr.views.error_lists import (
    ANY,
    BUCKETS,
    COUNTED,
    HIDDEN,
    MISSED,
    Asked,
    found_buckets,
    pair_ranks,
    ranks_of,
    slicings,
)
from xmr.views.values import chart, table
from xmr.words import fixed, percent
from xmr.workspace import TOP, Workspace
from xmr.workspace.maps import gap
from xmr.workspace.memory import kept
from xmr.workspace.result_words import on_seed
from xmr.workspace.results import seeds_of
from xmr.workspace.words import words_of

HUBS = 5  # items shown
LIST = "{} lists its queries."  # what a click does


def bucket_chart(workspace: Workspace, asked: Asked) -> tuple[str, dict[str, int]]:
    """The bar of who is right, with near misses in words; and how many queries each bucket holds."""
    found = found_buckets(workspace, asked)
    parts = {name: queries for name, queries in found.items() if name not in (MISSED, HIDDEN)}
    total, bar = len(pair_ranks(workspace, asked)[0]), dict(parts)
    match = asked.match("an annotated match" if HIDDEN in found else "a match", "a true match")
    words = [buckets_words(parts, asked.pair, asked.k, match)]
    if "no match" in parts and asked.counted in TRUTHS:
        asks = f"{total - len(parts['no match']):,} of the {total:,} queries"
        words.append(
            f"{COUNTED[asked.counted][0]} knows matches of {asks}; the others, listed as no match, are no part of the bar."
        )
        bar.pop("no match")  # most of them
    either = "one of them misses" if asked.b else "it misses"
    words.append(f"On {len(found[MISSED]):,} queries {either} by one place.")
    if HIDDEN in found:
        whose = "a top hit is" if asked.b else "the top hit is"
        words.append(f"On {len(found[HIDDEN]):,} {whose} true, though not annotated.")
    cells = [(BUCKETS[name], f"{len(some):,}", percent(len(some) / total)) for name, some in found.items()]
    figure = buckets_figure({"": bar})
    figure.update_layout(meta={"pick": LIST.format("A part of the bar")})
    drawn = chart(figure, " ".join(words), (("queries", "number", "share"), cells))
    return drawn, {ANY: total} | {name: len(queries) for name, queries in found.items()}


def rank_chart(workspace: Workspace, asked: Asked) -> str:
    """The map of ranks under both runs."""
    if not asked.b:
        return chart(None, "Ranks A × B need two runs: choose another one as B, or tick one in the sidebar.")
    a, b = pair_ranks(workspace, asked)
    figure = ranks_figure(a, b, (asked.a, asked.b))
    # Changes where cells come to mean other ranks: a zoom and a frame go.
    figure.update_layout(
        uirevision=f"errors {asked.split} {asked.direction} {asked.a} {asked.b} {asked.counted}"
    )
    figure.layout.meta["pick"] = LIST.format("A cell")
    bins, counts = rank_counts(a, b)
    names = list(bins.values())
    cells = [
        (name, *(f"{count:,}" for count in row)) for name, row in zip(names, counts.tolist(), strict=True)
    ]
    match = asked.match(words_of(workspace.dataset(asked.split)).rank, "first true match")
    return chart(figure, ranks_words(a, b, (asked.a, asked.b), match), (("B ↓ A →", *names), cells))


def means(workspace: Workspace, asked: Asked) -> tuple[dict[str, list[Slice]], list[Slice]]:
    """Of the asked slicing: recall in each slice by run, and the differences of b to a, the surest first (empty of one
    run)."""
    slicing: Slicing = slicings(workspace, asked.split, asked.direction).get(asked.slicing, {})
    right = hits(pair_ranks(workspace, asked), asked.k)
    visuals = workspace.visual_of_query(asked.split, asked.direction)
    found = {run: slice_means(one, slicing, visuals) for run, one in zip(asked.pair, right, strict=True)}
    return found, slice_differences(right[0], right[1], slicing, visuals) if asked.b else []


def slice_chart(workspace: Workspace, asked: Asked) -> str:
    """Recall in each slice with its interval, under both runs."""
    found, apart = means(workspace, asked)
    if not any(found.values()):
        return chart(None, "Nothing is known of these queries to slice them by.")
    styles = workspace.styles(list(found))
    figure = slices_figure(found, styles, f"{asked.measure}, %")
    revision = f"{asked.split} {asked.direction} {asked.slicing} {asked.k}"
    figure.update_layout(uirevision=revision, meta={"pick": LIST.format("A point")})
    if asked.b:
        here = on_seed(seeds_of(workspace, asked.pair).values())
        words = slices_words(asked.slicing, apart, (asked.a, asked.b), here)
    else:
        words = slice_words(asked.slicing, found[asked.a], asked.a)
    heads = ["slice", "queries", *asked.pair, *(["B − A"] if asked.b else [])]
    return chart(figure, words, (heads, _cells(asked, found, apart)))


def as_latex(workspace: Workspace, asked: Asked) -> str:
    """The slices that are shown as a table for booktabs: queries, A, B, and their difference with its interval."""
    found, apart = means(workspace, asked)
    data = workspace.dataset(asked.split)
    about = f"{asked.measure} in per cent with 95% bootstrap intervals by visual; {data.name}, {asked.split}, {asked.direction}"
    about += f"; A = {asked.a}, B = {asked.b}" if asked.b else ""
    heads = [asked.slicing, "queries", *asked.pair, *(["B − A"] if asked.b else [])]
    return latex_text([about, [heads, *_cells(asked, found, apart)]])


def _cells(asked: Asked, found: dict[str, list[Slice]], apart: list[Slice]) -> list[list[str]]:
    """A row of texts for each slice."""
    by_name = {one.name: one for one in apart}
    body = []
    for at, one in enumerate(found[asked.a]):
        cells = [one.name, f"{one.count:,}"]
        cells += [
            f"{fixed(100 * some[at].mean, 1)} [{fixed(100 * some[at].low, 1)}, {fixed(100 * some[at].high, 1)}]"
            for some in found.values()
        ]
        if asked.b:
            other = by_name[one.name]
            mean, low, high = (fixed(100 * one, 1, sign=True) for one in (other.mean, other.low, other.high))
            cells.append(f"{mean} [{low}, {high}]")
        body.append([cell.replace("[–, –]", "").strip() for cell in cells])
    return body


def hubs_of(workspace: Workspace, run: str, asked: Asked) -> Hubness:
    """How often each item of the gallery is in the run's lists."""
    ranks_of(workspace, asked, run)  # which says so where lists are not ready yet
    return _hubs(workspace, run, asked.split, asked.direction)


@kept
def _hubs(workspace: Workspace, run: str, split: str, direction: Direction) -> Hubness:
    data = workspace.dataset(split)
    count = len(data.captions if direction == "v2t" else data.visual_ids)
    return hubness(workspace.top(run, split, direction), count)


def hub_chart(workspace: Workspace, asked: Asked) -> tuple[str, dict[str, Any], dict[str, np.ndarray]]:
    """The curves of how often items are retrieved, the table of hubs and gaps, and the counts (G,) by run."""
    found: dict[str, Hubness] = {}
    faults = []
    for run in asked.runs:
        try:
            found[run] = hubs_of(workspace, run, asked)
        except (ValueError, OSError) as error:
            faults.append(f"{run}: {error}.")
    if not found:
        return chart(None, " ".join(faults)), table([], []), {}
    data = workspace.dataset(asked.split)
    noun = words_of(data).gallery(asked.direction)
    styles = workspace.styles(list(found))
    seeds = {
        run: [_hubs(workspace, one, asked.split, asked.direction) for one in each]
        for run in found
        if len(each := workspace.each(run)) > 1
    }
    figure = hubness_figure(found, styles, seeds)
    figure.update_layout(uirevision=f"{asked.split} {asked.direction}")
    curve = [1, 10, 50]
    rows, told = [], []
    for run, one in found.items():
        apart = None if workspace.run(run).scores_pairs else gap(workspace, run, asked.split)
        values = (
            (apart.distance, apart.within_visual, apart.within_text, apart.between)
            if apart
            else (np.nan,) * 4
        )
        cells = [
            f"{one.skewness:.2f}",
            f"{one.counts.max():,}",
            f"{len(one.hubs):,}",
            percent(one.taken),
            percent(one.never),
        ]
        cells += [fixed(value, 3) for value in values]
        rows.append((run, styles[run], cells))
        ordered = np.sort(one.counts)[::-1]
        at = [max(1, round(share * len(ordered) / 100)) for share in curve]
        told.append((run, f"{ordered[0]:,}", *(f"{ordered[place - 1]:,}" for place in at)))
    columns = [
        ("run", ""),
        ("skewness", "of the number of lists that hold an item: 0 where all are alike, large where few are everywhere"),
        ("most lists", "how many lists hold the most frequent item"),
        ("hubs", "items in more lists than the mean and two deviations"),
        ("taken by hubs", "share of all places in the lists"),
        ("never retrieved", "share of the gallery that is in no list"),
        ("modality gap", "distance between the centroids of both sides"),
        (f"within {data.kind}s", "mean cosine of two of them"),
        ("within texts", "mean cosine of two of them"),
        ("across", "mean cosine of the two sides"),
    ]  # fmt: skip
    note = f"Lists are the first {TOP} results of every query. Gaps and cosines are of the embeddings, over all pairs."
    if scorers := [run for run in found if workspace.run(run).scores_pairs]:
        verb = "score pairs and have" if len(scorers) > 1 else "scores pairs and has"
        note += f" {', '.join(scorers)} {verb} no common space, so no gap."
    if seeds:
        note += " Of several seeds the one that is in the middle by validation is told of, and the band holds all."
    words = " ".join([hubness_words(found, noun), *faults])
    heads = ("run", f"most frequent {noun}", *(f"at {share}%" for share in curve))
    return (
        chart(figure, words, (heads, told)),
        table(columns, rows, note),
        {r: one.counts for r, one in found.items()},
    )
