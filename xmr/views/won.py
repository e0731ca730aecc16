"""Which queries one run wins of another and which it loses, in pictures, and in which words and slices these are enriched. No
gradio here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from xmr.analysis import Enriched, enrichment, words_in
from xmr.core import Direction
from xmr.views.blocks import Block, button, column, part, row, words
from xmr.views.error_lists import Asked, listed, pair_ranks, slicings
from xmr.views.error_rows import item_of
from xmr.views.pictures import film, picture
from xmr.views.values import Tile, table, tiles
from xmr.words import counted, fixed, percent, significant
from xmr.workspace import Workspace
from xmr.workspace.item_names import Side
from xmr.workspace.memory import kept
from xmr.workspace.result_words import on_seed
from xmr.workspace.results import seeds_of
from xmr.workspace.words import text_words

LEVEL = 0.05  # of the corrected test
SHOWN, MOST_ROWS = 8, 8  # queries, and features of a kind
WON, LOST = "won", "lost"
BUCKET = {WON: "only B", LOST: "only A"}  # of `xmr.views.error_lists.BUCKETS`
PICTURES = {f"errors-{kind}-pictures": kind for kind in BUCKET}
NAMED = {WON: "won by B", LOST: "lost by B"}


def won_and_lost(workspace: Workspace, asked: Asked) -> list[Block]:
    """The part of the errors tab; nothing of one run. Raises as `pair_ranks`."""
    if not asked.b:
        return []
    found = enriched(workspace, asked.a, asked.b, asked.split, asked.direction, asked.k, asked.counted)
    queries = {
        kind: listed(workspace, replace(asked, bucket=bucket, slice="", cell=None, order="differ"))
        for kind, bucket in BUCKET.items()
    }
    counts = {kind: len(some) for kind, some in queries.items()}
    galleries = [
        column(
            f"errors-{kind}",
            words(f"errors-{kind}-title", f"{NAMED[kind][0].upper()}{NAMED[kind][1:]}: {counts[kind]:,}", "heading"),
            part("tiles", f"errors-{kind}-pictures", _gallery(workspace, asked, queries[kind], kind), on=["pick"]),
            button(f"errors-{kind}-all", f"List all {NAMED[kind]}", set={"bucket": BUCKET[kind], "slice": "", "ranks": "", "page": 0}, hidden=not counts[kind]),
        )
        for kind in BUCKET
    ]  # fmt: skip
    return [
        words("errors-enriched-title", "Won and lost", "heading"),
        words("errors-enriched-words", enriched_words(workspace, asked, found, counts)),
        part("table", "errors-enriched", enriched_table(found)),
        row("errors-galleries", *galleries),
    ]


@kept
def enriched(
    workspace: Workspace, a: str, b: str, split: str, direction: Direction, k: int, counted: str
) -> dict[str, list[Enriched]]:
    """The queries that b gets right and a does not, and the other way round: in which words and slices they are enriched, the
    surest first. Raises as `pair_ranks`."""
    ranks = pair_ranks(workspace, Asked(split, direction, a, b, (), k, counted=counted))
    right = ranks <= k
    visuals = workspace.visual_of_query(split, direction)
    outcomes = {WON: right[1] & ~right[0], LOST: right[0] & ~right[1]}
    return enrichment(outcomes, features(workspace, split, direction), ~np.isnan(ranks).any(0), visuals)


def features(workspace: Workspace, split: str, direction: Direction) -> dict[str, np.ndarray]:
    """What queries have: words, and the slices of all `slicings`, by what they are called."""
    data = workspace.dataset(split)
    found = {
        f"{title}: {name}": queries
        for title, slicing in slicings(workspace, split, direction).items()
        for name, queries in slicing.items()
    }
    if data.gallery_visuals is not None or data.classes is not None:
        return found
    texts = data.captions
    if direction == "v2t":  # a picture has the words of its captions
        texts = [
            "\n".join(data.captions[text] for text in data.texts_of(one))
            for one in range(len(data.visual_ids))
        ]
    own = words_in(texts, workspace.visual_of_query(split, direction))
    return {f"“{word}”": queries for word, queries in own.items()} | found


def sure(found: dict[str, list[Enriched]]) -> dict[str, list[Enriched]]:
    """What differs by more than chance."""
    return {kind: [one for one in some if one.p < LEVEL] for kind, some in found.items()}


def enriched_words(
    workspace: Workspace, asked: Asked, found: dict[str, list[Enriched]], counts: dict[str, int]
) -> str:
    """In which words and slices the won and the lost are enriched, or that they are in none, in sentences."""
    text = f"{asked.b} wins {counted(counts[WON], 'query')} of {asked.a} and loses {counts[LOST]:,}, by {asked.measure}."
    looked_at = len(next(iter(found.values())))
    if not looked_at:
        return f"{text} Nothing is known of them that would tell some from others."
    here = on_seed(seeds_of(workspace, asked.pair).values())
    told = []
    for kind, some in sure(found).items():
        if more := [one for one in some if one.difference > 0][:3]:
            told.append(f"What B {'wins' if kind == WON else 'loses'} is enriched in {_listed(more)}{here}.")
        if fewer := [one for one in some if one.difference < 0][:3]:
            told.append(f"B {'wins' if kind == WON else 'loses'} less often {_listed(fewer, 'with')}{here}.")
    how = f"{looked_at:,} words and slices were looked at"
    if told:
        return " ".join([text, *told, f"{how}; p is corrected for all of them."])
    nearest = min((one for some in found.values() for one in some), key=lambda one: one.p)
    return f"{text} Nothing is enriched: {how}, and the surest, {nearest.name}, has a corrected p of {_p(nearest.p)}."


def _listed(some: list[Enriched], before: str = "") -> str:
    lead = f"{before} " if before else ""
    return ", ".join(f"{lead}{one.name} ({fixed(100 * one.difference, 1, sign=True)} points)" for one in some)


def enriched_table(found: dict[str, list[Enriched]]) -> dict[str, Any]:
    """What differs by more than chance, with its shares and its test; empty where nothing does."""
    rows = []
    for kind, some in sure(found).items():
        for one in some[:MOST_ROWS]:
            ends = " … ".join(fixed(100 * end, 1, sign=True) for end in (one.low, one.high))
            cells = [
                NAMED[kind], f"{one.count:,}", percent(one.inside, 1), percent(one.outside, 1),
                (fixed(100 * one.difference, 1, sign=True), ends, 100 * one.difference), _p(one.p),
            ]  # fmt: skip
            rows.append((one.name, None, cells))
    columns = [
        ("word or slice", ""),
        ("enriched in", "queries that only B gets right, or only A"),
        ("queries", "that have it"),
        ("with it", "share of those that have it"),
        ("without", "share of the others"),
        ("points more", "the difference, with its 95% bootstrap interval by visual"),
        ("p", "corrected for all words and slices and both kinds (Westfall and Young's step-down, permutations by visual)"),
    ]  # fmt: skip
    hidden = sum(len(some) for some in sure(found).values()) - len(rows)
    note = f"{hidden:,} more differ by more than chance." if hidden > 0 else ""
    return table(columns if rows else [], rows, note)


def _p(p: float) -> str:
    return f"{significant(p, 2)}" if p >= 0.001 else "under 0.001"


def _gallery(workspace: Workspace, asked: Asked, queries: np.ndarray, kind: str) -> dict[str, Any]:
    data, split = workspace.dataset(asked.split), asked.split
    ranks = pair_ranks(workspace, asked)
    side: Side = "visual" if asked.direction == "v2t" else "caption"
    items = []
    for query in queries[:SHOWN].tolist():
        one, image, strip = item_of(workspace, split, side, query), None, None
        visual = query if side == "visual" else int(data.visual_of_text[query])
        if data.classes is None or data.visuals is not None:
            image, strip = picture(workspace, split, visual), film(workspace, split, visual)
        text = text_words(data, query) if side == "caption" else one["text"]
        before, after = (int(rank) for rank in ranks[:, query])
        items.append(
            Tile(str(query), one["name"], text, image, strip, f"rank {before:,} under A, {after:,} under B", "Open in Search")
        )  # fmt: skip
    return tiles(items, f"{'B' if kind == WON else 'A'} alone is right on no query.")
