"""What the errors tab shows for what its controls hold, checked: the list, the charts, and moves to Search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from xmr.core import Direction
from xmr.figures.errors import RANK_BINS
from xmr.registry import unknown
from xmr.ui.components.notice import sentence
from xmr.ui.components.number_table import table
from xmr.ui.components.plotly_chart import chart
from xmr.ui.components.query_table import query_list
from xmr.ui.error_charts import HUBS, bucket_chart, hub_chart, rank_chart, slice_chart
from xmr.ui.error_lists import ANY, BUCKETS, Asked, filter_words, listed, slicings
from xmr.ui.error_rows import hub_rows, rows
from xmr.ui.links import go
from xmr.ui.said import refused, warn
from xmr.ui.shell import MAX_RUNS, chosen
from xmr.workspace import TOP, Workspace
from xmr.workspace.item_names import item_link
from xmr.workspace.words import words_of

PAGE = 12
SEEDS = 1_000_000
NO_RUN = "No run is chosen: pick one as A, or tick one under Runs in the sidebar."


def compared(
    workspace: Workspace, runs: list[str] | None, baseline: str | None, a: str, b: str
) -> tuple[str, str, tuple[str, ...]]:
    """Runs A and B and the others beside them: "" as A is the baseline, as B the first other chosen run. Of A alone B is
    "", and without any run A too."""
    known, base = chosen(workspace, runs, baseline)
    a = a if a in workspace.runs else base
    b = b if b in workspace.runs else next((name for name in known if name != a), "")
    b = "" if b == a else b
    others = [name for name in known if name not in (a, b)]
    return a, b, tuple(others[: MAX_RUNS - 1 - bool(b)])


def cell_of(texts: list[str]) -> str:
    """A check of a link's cell: the first ranks of two bins, "2.9", as it was given."""
    parts = texts[0].split(".")
    if len(parts) != 2 or not all(part in map(str, RANK_BINS) for part in parts):
        raise ValueError(f"ranks must be two first ranks of bins as in 2.9, found {texts[0][:40]!r}")
    return texts[0]


def read(
    workspace: Workspace,
    split: str,
    direction: Direction,
    runs: list[str] | None,
    baseline: str | None,
    a: str,
    b: str,
    k: int,
    bucket: str,
    slicing: str,
    slice_: str,
    cell: str,
    order: str,
    seed: float | None,
    last: Asked | None = None,
) -> Asked:
    """What the page's controls ask for; a slicing and a slice that are not there are told and left out. A slice that was
    asked for `last`, of another slicing, is left out too."""
    if last and slicing != last.slicing and slice_ == last.slice:
        slice_ = ""
    pair = compared(workspace, runs, baseline, a, b)
    try:
        ways = slicings(workspace, split, direction)
    except (ValueError, OSError):  # a split that can't be loaded: the charts say so
        ways = {}
    if slicing not in ways:
        if slicing:
            warn(unknown("slicing", slicing[:80], ways), title="Other slices are shown")
        slicing, slice_ = next(iter(ways), ""), ""
    if slice_ and slice_ not in ways.get(slicing, {}):
        names = list(ways.get(slicing, {}))
        warn(unknown(f"slice of {slicing}", slice_[:80], names), title="All slices are listed")
        slice_ = ""
    found = tuple(int(part) for part in cell_of([cell]).split(".")) if cell else None
    seed = min(max(int(seed or 0), 0), SEEDS)
    bucket = bucket if bucket in BUCKETS else ANY
    return Asked(split, direction, *pair, int(k), bucket, slicing, slice_, found, order, seed)


def show_list(workspace: Workspace, asked: Asked, page: int) -> tuple[dict[str, Any], str, str, int]:
    """One page of the list, where in it that is, the filters in words, and the page that is shown (from 0)."""
    filters = filter_words(asked)
    if not asked.a:
        return query_list([], "", "", NO_RUN), "", "", 0
    try:
        queries = listed(workspace, asked)
        page = max(0, min(page, max(len(queries) - 1, 0) // PAGE))
        part = queries[page * PAGE : (page + 1) * PAGE]
        shown = rows(workspace, asked, part)
    except (ValueError, OSError) as error:
        return query_list([], "", "", f"These queries can't be examined: {error}"), "", "", 0
    match = words_of(workspace.dataset(asked.split)).rank
    empty = f"No query is {filters}: clear the filters to see all." if filters else "There is no query."
    where = f"{page * PAGE + 1:,}–{page * PAGE + len(part):,} of {len(queries):,}" if len(part) else "none"
    told = f"Listed: {filters or 'all queries'}, {len(queries):,}."
    about = f"Of each query the rank of the {match} under every run, and what {' and '.join(asked.letters.values())} found first."
    return query_list(shown, about, "Open in Search", empty), where, sentence(told), page


def show_charts(workspace: Workspace, asked: Asked) -> tuple[str, str, str, dict[str, int]]:
    """The bar of buckets, the map of ranks, the slices, and how many queries each bucket holds."""
    if not asked.a:
        return chart(None, NO_RUN), chart(None, ""), chart(None, ""), {}
    try:
        bar, counts = bucket_chart(workspace, asked)
        return bar, rank_chart(workspace, asked), slice_chart(workspace, asked), counts
    except (ValueError, OSError) as error:
        words = f"The {asked.split} split can't be examined: {error}"
        return chart(None, words), chart(None, ""), chart(None, ""), {}


def draw(workspace: Workspace, asked: Asked) -> tuple[Asked, list[Any], list[dict[str, Any]]]:
    """All that is drawn of two runs: the three charts, which runs these are, and the hubs; and the choices of buckets,
    slicings and slices. A bucket that these runs don't have is told and left out of what is asked for."""
    *charts, counts = show_charts(workspace, asked)
    if counts and asked.bucket not in counts:
        name = BUCKETS[asked.bucket]
        warn(f"No query is in “{name}” of these runs: all are listed.", title="Another list is shown")
        asked = replace(asked, bucket=ANY)
    of = slicings(workspace, asked.split, asked.direction) if counts else {}
    parts = [(f"{name} ({len(some):,})", name) for name, some in of.get(asked.slicing, {}).items()]
    other = f", B is {asked.b}." if asked.b else ", and there is no B."
    about = sentence(f"A is {asked.a}{other}" if asked.a else "")
    buckets = {"choices": bucket_choices(counts)} if counts else {}
    if counts and not asked.b:  # one that has just been chosen may be no choice any more
        buckets["value"] = asked.bucket
    choices = [buckets, {"choices": list(of)}, {"choices": [("all", ""), *parts]}]
    return asked, [*charts, about, *show_hubs(workspace, asked)], choices


def settled(asked: Asked, held: Sequence[str], choices: Sequence[dict[str, Any]]) -> list[Any]:
    """The updates of the controls of bucket, slicing and slice, which hold `held`. Their values are set only to change
    them: somebody may have chosen others by the time that this arrives."""
    values = asked.bucket, asked.slicing, asked.slice
    changed = [{} if one == now else {"value": one} for one, now in zip(values, held, strict=True)]
    updates = [{**more, **new} for more, new in zip(choices, changed, strict=True)]
    return [gr.update(**update) if update else gr.skip() for update in updates]


def show_hubs(workspace: Workspace, asked: Asked) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The curves of hubs, their table with the modality gaps, and the items in most lists."""
    if not asked.a:
        return chart(None, NO_RUN), table([], []), query_list([], "", "")
    drawn, numbers, counts = hub_chart(workspace, asked)
    if not counts:
        return drawn, numbers, query_list([], "", "")
    nouns = words_of(workspace.dataset(asked.split))
    other = nouns.text if asked.direction == "t2v" else nouns.visual
    noun = nouns.gallery(asked.direction)
    means = f"The {noun}s in most lists, and how many lists of {TOP} hold them under each run."
    return drawn, numbers, query_list(hub_rows(workspace, asked, counts, HUBS), means, f"Find its {other}s")


def bucket_choices(counts: dict[str, int]) -> list[tuple[str, str]]:
    """The buckets as they are called, with their sizes; all of them where no sizes are known."""
    if not counts:
        return [(words, name) for name, words in BUCKETS.items()]
    return [(f"{BUCKETS[name]} · {counts[name]:,}", name) for name in BUCKETS if name in counts]


def picked(
    workspace: Workspace, asked: Asked, chosen_runs: list[str], event: gr.EventData, gallery: bool = False
) -> dict[str, Any]:
    """The move to Search with the item that a browser names, checked: a query, or an item of the gallery, which then
    asks in the other direction. Compared runs that are not among the chosen ones come along."""
    data = workspace.dataset(asked.split)
    visual = (asked.direction == "v2t") != gallery
    index = data_of(event).get("index")
    if type(index) is not int or not 0 <= index < len(data.visual_ids if visual else data.captions):
        raise refused("That item is not in this split any more.", title="Item not found")
    name = item_link(workspace, asked.split, "visual" if visual else "caption", index)
    missing = [run for run in asked.pair if run not in (chosen_runs or ())]
    more = {"runs": [*(chosen_runs or ()), *missing]} if missing else {}
    return go("search", query=name, direction="v2t" if visual else "t2v", **more)


def data_of(event: gr.EventData) -> dict[str, Any]:
    """What a browser sent with an event: an object, if it is a browser of ours."""
    return event._data if isinstance(event._data, dict) else {}
