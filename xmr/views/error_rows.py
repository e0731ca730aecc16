"""One page of the errors tab's list as plain data, the items that hubs are, and the whole list as CSV. No gradio here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xmr.analysis import missed_by_one
from xmr.figures.shared import GLYPHS
from xmr.store.verdicts import told_apart
from xmr.tables import csv_text
from xmr.views.error_lists import (
    HIDDEN,
    MISSED,
    Asked,
    all_ranks,
    found_buckets,
    groups,
    hidden,
    listed,
    seeds_right,
)
from xmr.views.pictures import film, gallery_picture, picture
from xmr.workspace import Style, Workspace
from xmr.workspace.item_names import Side
from xmr.workspace.words import item_name, text_words, visual_words, words_of

LONGEST = 280  # letters of a caption in a row


def rows(workspace: Workspace, asked: Asked, queries: np.ndarray) -> list[dict[str, Any]]:
    """What is shown of these queries, few of them: the query, its rank under every run, and what came first."""
    ranks, _ = all_ranks(workspace, asked)
    split, direction = asked.split, asked.direction
    asking: Side = "visual" if direction == "v2t" else "caption"
    truth = workspace.dataset(split).truth is not None
    tops = {run: workspace.top(run, split, direction)[queries, 0] for run in asked.pair}
    unseen = {run: hidden(workspace, run, split, direction)[queries] for run in asked.pair}
    query_group, gallery_group = groups(workspace, split, direction)
    several = {letter: run for run, letter in asked.letters.items() if len(workspace.each(run)) > 1}
    seeds = {letter: seeds_right(workspace, asked, run) for letter, run in several.items()}
    looks = workspace.styles(list(ranks))
    found = []
    for at, query in enumerate(queries.tolist()):
        badges = [
            {"text": _bucket_words([ranks[run][query] for run in asked.pair], asked.k), "kind": "bucket"}
        ]
        badges += [
            {"text": f"{letter} missed by one place", "kind": "near"}
            for run, letter in asked.letters.items()
            if missed_by_one(ranks[run][query], asked.k)
        ]
        badges += [
            {"text": f"{letter} right on {int(right[:, query].sum())} of {len(right)} seeds", "kind": "seeds"}
            for letter, right in seeds.items()
        ]
        same = len(tops) == 2 and len({int(items[at]) for items in tops.values()}) == 1
        first = []
        for run, letter in list(asked.letters.items())[: 1 if same else None]:
            item = int(tops[run][at])
            own = query_group[query] == gallery_group[item]
            status, kind = _status(workspace, split, bool(own), float(unseen[run][at]), truth)
            if kind == "true":
                who = "A and B" if same else letter
                badges.append({"text": f"top hit of {who} true, not annotated", "kind": "true"})
            shown = item_of(workspace, split, "visual" if direction == "t2v" else "caption", item)
            first.append(shown | {"who": "A and B" if same else letter, "status": status, "kind": kind})
        numbers = [
            _number(asked, run, "" if np.isnan(rank[query]) else f"{int(rank[query]):,}", looks[run])
            for run, rank in ranks.items()
        ]
        found.append(
            item_of(workspace, split, asking, query)
            | {"index": query, "numbers": numbers, "badges": badges, "tops": first}
        )
    return found


def hub_rows(
    workspace: Workspace, asked: Asked, counts: dict[str, np.ndarray], most: int
) -> list[dict[str, Any]]:
    """The items of the gallery that are in most lists of any of these runs, with how many of each hold them."""
    side: Side = "visual" if asked.direction == "t2v" else "caption"
    looks = workspace.styles(list(counts))
    largest = np.max(list(counts.values()), axis=0)
    items = np.argsort(-largest, kind="stable")[:most]
    return [
        item_of(workspace, asked.split, side, item)
        | {
            "index": item,
            "numbers": [_number(asked, run, f"{one[item]:,}", looks[run]) for run, one in counts.items()],
            "badges": [],
            "tops": [],
        }
        for item in items.tolist()
    ]


def item_of(workspace: Workspace, split: str, side: Side, index: int) -> dict[str, Any]:
    """One item in a row: its name, its words, and its picture where it has one."""
    data = workspace.dataset(split)
    if side == "visual":
        name, text = data.visual_ids[index], visual_words(data, index)
        image, strip = picture(workspace, split, index), film(workspace, split, index)
    else:
        name, text = item_name(workspace, split, "v2t", index), text_words(data, index)
        image, strip = gallery_picture(workspace, split, index), None
    text = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return {"name": name, "text": "" if text == name else text, "image": image, "film": strip}


def as_csv(workspace: Workspace, asked: Asked) -> str:
    """All listed queries, in the list's order: name, text, rank under each run, bucket and flags.

    What a spreadsheet would take for a formula has an apostrophe before it.
    """
    queries = listed(workspace, asked)
    ranks, _ = all_ranks(workspace, asked)
    names, texts = _names_and_texts(workspace, asked, queries)
    bucket = np.full(len(next(iter(ranks.values()))), "", object)
    every = found_buckets(workspace, asked)
    for name in [name for name in every if name not in (MISSED, HIDDEN)]:
        bucket[every[name]] = name
    heads = [
        "query",
        "text",
        *(f"{asked.rank} under {run}" for run in ranks),
        f"bucket at {asked.k}{_whose(asked)}",
    ]
    columns: list[Sequence[Any]] = [names, texts]
    columns += [["" if rank != rank else int(rank) for rank in ranks[run][queries].tolist()] for run in ranks]
    columns.append(bucket[queries].tolist())
    for run in asked.pair:
        heads.append(f"{run} missed by one place")
        columns.append(missed_by_one(ranks[run][queries], asked.k).astype(int).tolist())
    if workspace.dataset(asked.split).truth is not None:
        for run in asked.pair:
            heads.append(f"top hit of {run} true, not annotated")
            flags = hidden(workspace, run, asked.split, asked.direction)[queries].tolist()
            columns.append(["" if flag != flag else int(flag) for flag in flags])
    return csv_text((dict(zip(heads, row, strict=True)) for row in zip(*columns, strict=True)), heads)


def _names_and_texts(workspace: Workspace, asked: Asked, queries: np.ndarray) -> tuple[list[str], list[str]]:
    """Names as `item_link` gives them, of many queries at once, and what they say."""
    data = workspace.dataset(asked.split)
    visuals = told_apart(data.visual_ids)
    chosen = queries.tolist()
    if asked.direction == "v2t":
        texts = [""] * len(visuals)
        for visual, caption in zip(data.visual_of_text[::-1].tolist(), data.captions[::-1], strict=True):
            texts[visual] = caption  # the first one stays
        if data.classes is not None:
            texts = [data.classes[group] for group in data.visual_group.tolist()]
        return [f"visual:{visuals[one]}" for one in chosen], [texts[one] for one in chosen]
    owners, numbers = data.visual_of_text[queries].tolist(), data.text_numbers[queries].tolist()
    named = [f"caption:{visuals[v]}#{n}" for v, n in zip(owners, numbers, strict=True)]
    return named, [text_words(data, one) for one in chosen]


def _number(asked: Asked, run: str, value: str, style: Style) -> dict[str, str]:
    glyph = GLYPHS.get(style.marker, "●")
    return {
        "run": run,
        "letter": asked.letters.get(run, ""),
        "colour": style.colour,
        "glyph": glyph,
        "value": value or "–",
    }


def _status(workspace: Workspace, split: str, own: bool, unseen: float, truth: bool) -> tuple[str, str]:
    """What is known of a top hit: in words, and of which kind ("match", "true" or "other")."""
    if own:
        return words_of(workspace.dataset(split)).match, "match"
    if unseen == 1:
        return "true, not annotated", "true"
    if workspace.dataset(split).classes is not None:
        return "another class", "other"
    return ("not a match" if unseen == 0 else "truth not known") if truth else "not annotated", "other"


def _bucket_words(ranks: Sequence[float], k: int) -> str:
    if any(np.isnan(rank) for rank in ranks):
        return "no match"
    right = [rank <= k for rank in ranks]
    if len(right) == 1:
        return "right" if right[0] else "wrong"
    return {(True, True): "both right", (True, False): "only A right", (False, True): "only B right"}.get(
        tuple(right), "both wrong"
    )


def _whose(asked: Asked) -> str:
    return f" (A = {asked.a}, B = {asked.b})" if asked.b else ""
