"""Which queries one run gets right and another not, of which kinds they are, and what is found instead."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from xmr.figures.errors import RANK_BINS
from xmr.views import Act, Scene, file_of, tab
from xmr.views import error_history as history
from xmr.views.blocks import Block, button, chart, column, drawn, menu, number, part, radio, row, turns, words
from xmr.views.error_charts import HUBS, as_latex, bucket_chart, hub_chart, rank_chart, slice_chart
from xmr.views.error_lists import (
    ANY,
    BUCKETS,
    COUNTED,
    CUTOFFS,
    ORDERS,
    Asked,
    filter_words,
    listed,
    slicings,
)
from xmr.views.error_rows import as_csv, hub_rows, rows
from xmr.views.runs import MAX_RUNS
from xmr.views.values import query_list, table
from xmr.views.won import PICTURES, won_and_lost
from xmr.workspace import TOP
from xmr.workspace.item_names import item_link
from xmr.workspace.results import is_awaited
from xmr.workspace.words import words_of

PAGE = 12
NO_RUN = "No run is chosen: pick one as A, or add one under Runs."
AWAITED = 3000  # ms after which a run of a large split that is still being ranked is asked again


@tab("errors", "Errors")
def errors(scene: Scene) -> list[Block]:
    workspace, state, act = scene.workspace, scene.state, scene.act
    if act.block in PICTURES and act.event == "pick":
        key = act.of("key")
        index = (
            int(key) if isinstance(key, str) and key.isascii() and key.isdecimal() and len(key) < 12 else None
        )
        act = Act(act.block, "open", {"index": index})
    if act.event == "open":
        return _opened(scene, act)
    _picked(scene, act)
    asked = _read(scene)
    controls = _controls(scene, asked)
    if not asked.a:
        return [*controls, chart("errors-buckets", "Who is right", None, NO_RUN)]
    try:
        # Before anything is drawn: what comes meanwhile is drawn the next time.
        if any(is_awaited(workspace, run, state.split) for run in asked.runs):
            scene.again = AWAITED
        bar, counts = bucket_chart(workspace, asked)
        values = [bar, rank_chart(workspace, asked), slice_chart(workspace, asked)]
    except (ValueError, OSError) as error:
        return [
            *controls,
            chart(
                "errors-buckets", "Who is right", None, f"The {state.split} split can't be examined: {error}"
            ),
        ]
    if asked.bucket not in counts:
        scene.say(f"No query is in “{BUCKETS[asked.bucket]}” of these runs: all are listed.")
        scene.set(bucket="")
        asked = _read(scene)
    names = ("Who is right", "Ranks under A and B", "Recall by slice")
    ids = ("errors-buckets", "errors-ranks", "errors-slices")
    bar, ranks, slices = (drawn(id, name, one) for id, name, one in zip(ids, names, values, strict=True))
    other = f", B is {asked.b}." if asked.b else ", and there is no B."
    return [
        *controls,
        words("errors-about", f"A is {asked.a}{other}"),
        bar,
        row("errors-charts", ranks, slices),
        *_list(scene, asked, counts),
        *won_and_lost(workspace, asked),
        *_hubs(scene, asked),
    ]


def _picked(scene: Scene, act: Any) -> None:
    """What was chosen on a chart or by a button becomes a filter."""
    if (
        act.block == "errors-buckets"
        and isinstance(act.of("meta"), dict)
        and act.of("meta").get("bucket") in [*BUCKETS]
    ):
        scene.set(bucket=act.of("meta")["bucket"], page=0)
    elif act.block == "errors-ranks":
        places = act.of("column"), act.of("row")
        if all(type(place) is int and 0 <= place < len(RANK_BINS) for place in places):
            scene.set(ranks=".".join(str(RANK_BINS[place]) for place in places), page=0)
    elif act.block == "errors-slices" and isinstance(act.of("customdata"), list) and act.of("customdata"):
        scene.set(slice=str(act.of("customdata")[0]), page=0)
    else:
        scene.set(page=scene.turned("errors"))
        return
    scene.go = "errors-found"


def _read(scene: Scene) -> Asked:
    """What the state asks for; what is not there is told and left out."""
    workspace, state = scene.workspace, scene.state
    names = list(workspace.runs)
    a = scene.one_of("a", ["", *names], "") or state.baseline
    b = scene.one_of("b", ["", *names], "") or next((name for name in state.runs or () if name != a), "")
    b = "" if b == a else b
    others = tuple(name for name in state.runs or () if name not in (a, b))[: MAX_RUNS - 1 - bool(b)]
    try:
        ways = slicings(workspace, state.split, state.direction)
    except (ValueError, OSError):  # the chart says so
        ways = {}
    slicing = scene.one_of("slicing", list(ways), next(iter(ways), ""))
    slice_ = scene.one_of("slice", ["", *ways.get(slicing, {})], "")
    bucket = scene.one_of("bucket", ["", *BUCKETS], "") or ANY
    order = scene.one_of("order", list(ORDERS), "differ")
    cell = None
    if state.ranks:
        parts = state.ranks.split(".")
        if len(parts) == 2 and all(one in map(str, RANK_BINS) for one in parts):
            cell = (int(parts[0]), int(parts[1]))
        else:
            scene.say(f"ranks must be two first ranks of bins as in 2.9, found {state.ranks[:40]!r}")
            scene.set(ranks="")
    if state.counted not in _counted(scene):
        what = "The truth of every pair" if state.counted == "truth" else COUNTED[state.counted][0]
        scene.say(f"{what} of {state.split} is not known: matches are counted by the annotation.")
        scene.set(counted="annotation")
    state = scene.state
    asked = Asked(
        state.split, state.direction, a, b, others, state.at, bucket, slicing, slice_, cell, order, state.draw,
        state.counted,
    )  # fmt: skip
    if not state.learned:
        return asked
    some = history.narrowed(history.histories(workspace, asked), state.learned)
    if some is None:
        scene.say("Those queries are not in this list any more: all are listed.")
        scene.set(learned="")
        return asked
    return replace(asked, among=tuple(some.tolist()), learned=history.named(state.learned))


def _counted(scene: Scene) -> list[str]:
    """What can tell the matches, of `COUNTED`."""
    workspace, split = scene.workspace, scene.state.split
    try:
        known = ["truth"] if workspace.knows_all(split) else []
        return ["annotation", *known, *workspace.field_truths(split)]
    except (ValueError, OSError):  # the chart says so
        return ["annotation"]


def _controls(scene: Scene, asked: Asked) -> list[Block]:
    names, state, again = list(scene.workspace.runs), scene.state, {"page": 0}
    first = "Right means a match among the first"
    counted = [(COUNTED[name][0], name) for name in _counted(scene)]
    shown = [
        menu("errors-a", "Run A", [("the baseline", ""), *names], state.a, key="a", resets=again),
        menu("errors-b", "Run B", [("the next chosen run", ""), *names], state.b, key="b", resets=again),
        radio("errors-at", first, [(str(k), k) for k in CUTOFFS], asked.k, key="at", resets=again),
    ]
    if len(counted) > 1:
        by = radio("errors-counted", "Matches by", counted, state.counted, key="counted", resets=again)
        shown.append(by)
    return [row("errors-controls", *shown)]


def _list(scene: Scene, asked: Asked, counts: dict[str, int]) -> list[Block]:
    """The filters and the queries that pass them, a page of them."""
    workspace, state = scene.workspace, scene.state
    ways = slicings(workspace, asked.split, asked.direction)
    parts = [(f"{name} ({len(some):,})", name) for name, some in ways.get(asked.slicing, {}).items()]
    again = {"page": 0}
    following = (state.draw + (state.order == "random")) % 1_000_000  # the first sample is that of the seed
    queries = listed(workspace, asked)
    some, _, where = scene.leaf(queries, PAGE)
    filters = filter_words(asked)
    match = asked.match(words_of(workspace.dataset(asked.split)).rank, "first true match")
    about = f"Of each query the rank of the {match} under every run, and what {' and '.join(asked.letters.values())} found first."
    through = history.histories(workspace, asked)
    drawn_rows = [
        one | {"strips": history.strips(through, one["index"])} for one in rows(workspace, asked, some)
    ]
    learning = [("at any time", ""), *history.options(through)]
    empty = f"No query is {filters}: clear the filters to see all." if filters else "There is no query."
    return [
        column(
            "errors-found",
            row(
                "errors-filters",
                menu(
                    "errors-bucket", "List", [(f"{BUCKETS[name]} · {counts[name]:,}", name) for name in BUCKETS if name in counts],
                    asked.bucket, key="bucket", resets=again,
                ),
                menu("errors-slicing", "Slices by", list(ways), asked.slicing, key="slicing", resets={"slice": "", **again}),
                menu("errors-slice", "Slice", [("all", ""), *parts], asked.slice, key="slice", resets=again),
                menu("errors-order", "Order", [(text, name) for name, text in ORDERS.items()], asked.order, key="order", resets=again),
                *([menu("errors-learned", "Learned", learning, state.learned, key="learned", resets=again)] if through else []),
                number("errors-seed", "Seed", 0, 1_000_000, state.draw, key="draw", resets=again),
            ),
            row(
                "errors-again",
                words("errors-listed", f"Listed: {filters or 'all queries'}, {len(queries):,}."),
                button("errors-another", "Another sample", set={"order": "random", "draw": following, "page": 0}),
                button("errors-clear", "Clear filters", set={"bucket": "", "slice": "", "ranks": "", "learned": "", "page": 0}),
            ),
        ),
        part("queries", "errors-list", query_list(drawn_rows, about + history.about(workspace, asked, through), "Open in Search", empty), on=["open"]),
        row(
            "errors-pages",
            *turns("errors"),
            words("errors-where", where if len(some) else "none", "note"),
            button("errors-csv", "List as CSV", save="errors.csv"),
            button("errors-latex", "Slices as LaTeX", save="errors.tex"),
        ),
    ]  # fmt: skip


def _hubs(scene: Scene, asked: Asked) -> list[Block]:
    """Items that are everywhere, and the gap between the modalities."""
    workspace = scene.workspace
    curves, numbers, counts = hub_chart(workspace, asked)
    found = query_list([], "", "")
    if counts:
        nouns = words_of(workspace.dataset(asked.split))
        other = nouns.text if asked.direction == "t2v" else nouns.visual
        noun = nouns.gallery(asked.direction)
        means = f"The {noun}s in most lists, and how many lists of {TOP} hold them under each run."
        found = query_list(hub_rows(workspace, asked, counts, HUBS), means, f"Find its {other}s")
    return [
        words("errors-hub-title", "Hubs and the gap between modalities", "heading"),
        part("table", "errors-table", numbers or table([], [])),
        row(
            "errors-hub-row",
            drawn("errors-hubs", "How often items are retrieved", curves),
            part("queries", "errors-hub-list", found, on=["open"]),
            widths=(2, 3),
        ),
    ]


def _opened(scene: Scene, act: Any) -> list[Block]:
    """Search with the item whose button was pressed: a query, or an item of the gallery, which then asks in the other
    direction. Compared runs that are not among the chosen ones come along."""
    workspace, state = scene.workspace, scene.state
    data = workspace.dataset(state.split)
    visual = (state.direction == "v2t") != (act.block == "errors-hub-list")
    index = act.of("index")
    if type(index) is not int or not 0 <= index < len(data.visual_ids if visual else data.captions):
        raise ValueError("That item is not in this split any more.")
    name = item_link(workspace, state.split, "visual" if visual else "caption", index)
    asked = _read(scene)
    runs = tuple(dict.fromkeys([*(state.runs or ()), *(run for run in asked.pair if run)]))
    return scene.move("results", tab="search", query=name, direction="v2t" if visual else "t2v", runs=runs)


@file_of("errors.csv", "errors.tex")
def errors_file(scene: Scene, name: str) -> tuple[str, str]:
    make, asked = as_csv if name.endswith(".csv") else as_latex, _read(scene)
    if not asked.a:
        raise ValueError(NO_RUN)
    return name, make(scene.workspace, asked)
