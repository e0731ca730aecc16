"""The embedding spaces of one run or two in two dimensions, with the same items on both maps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xmr.analysis import PROJECTIONS, Projection, has_umap, turn
from xmr.cache import address
from xmr.views import Scene, part_of, tab
from xmr.views.blocks import Block, menu, part, radio, row, words
from xmr.views.map_items import EMPTY, card, items_of, select, small_pictures
from xmr.views.sidebar import run_choices
from xmr.views.values import tiles
from xmr.words import counted, percent
from xmr.workspace import Workspace
from xmr.workspace.item_names import find_item, item_link
from xmr.workspace.maps import (
    AROUND,
    NotYet,
    around_kept,
    drawn,
    flat,
    gap,
    label_columns,
    labels,
    named_regions,
    points,
    turned,
)
from xmr.workspace.replay import Moment
from xmr.workspace.words import words_of

NO_RUN = "-"  # of the second map: none
HINT = "Move over a point to see what it is; a ring marks it on both maps, and lines lead to its matches."
HOW = (
    "With Lasso, drag around points; with Move, drag the map. The wheel zooms a map that was clicked, or with Ctrl; two "
    "fingers do, too; where few are in sight, their pictures are seen. Words name what the captions around them have and others have "
    "not. By keyboard: arrows move a cross-hair, Enter selects the 50 nearest points, + and − zoom, 0 shows all, "
    "Escape clears."
)
METHODS = {"pca": "PCA", "umap": "UMAP (takes minutes)"}
AWAITED = 2000  # ms after which a map that is still being made is asked for again


@tab("map", "Map")
def embedding_map(scene: Scene) -> list[Block]:
    workspace, act = scene.workspace, scene.act
    if act.event == "pick":
        side, index = find_item(workspace, scene.state.split, str(act.of("key") or ""))
        link = item_link(workspace, scene.state.split, side, index)
        return scene.move("results", tab="search", query=link, direction="v2t" if side == "visual" else "t2v")
    first, second = _runs(scene)
    methods = [
        (METHODS[name], name) for name in PROJECTIONS if name != "umap" or (has_umap() and not scene.replays)
    ]
    method = scene.one_of("projection", [name for _, name in methods], "pca")
    columns = label_columns(workspace, "test")
    column = scene.one_of("map_colour", ["", *columns], "")
    value, waits = _value(workspace, scene.state.split, first, second, method, column)
    scene.again = AWAITED if waits else 0
    choices = run_choices(workspace)
    # What was selected stays while the same items are on the same maps.
    same = f"{value['items']} {first} {second}"
    return [
        row(
            "map-controls",
            menu("map-a", "Map A", choices, first, key="map_a"),
            menu("map-b", "Map B, turned onto A's", [("none", NO_RUN), *choices], second, key="map_b"),
            radio("map-projection", "Projection", methods, method, key="projection"),
            words("map-umap", "" if len(methods) > 1 or scene.replays else "For UMAP too: pip install umap-learn", "note"),
            menu(
                "map-colour", "Colour", [("kind of item", ""), *((name.replace("_", " "), name) for name in columns)],
                column, key="map_colour",
            ),
        ),
        part("map", "map-points", value) | {"ask": {"look": "point", "lasso": "selection", "pictures": "map_pictures"}},
        part("point", "map-point", {"hint": HINT}, on=["pick"]) | {"keep": same},
        words("map-said", "") | {"keep": same},
        part("tiles", "map-tiles", tiles([], EMPTY), on=["pick"]) | {"keep": same},
    ]  # fmt: skip


@part_of("point")
def point(scene: Scene, data: Any) -> dict[str, Any]:
    """The card of the point that is looked at."""
    return {"blocks": [part("point", "map-point", card(scene.workspace, scene.state.split, data))]}


@part_of("selection")
def selection(scene: Scene, data: Any) -> dict[str, Any]:
    """What was drawn around, in words and as tiles."""
    said, listed = select(scene.workspace, scene.state.split, *_runs(scene), data)
    return {"blocks": [words("map-said", said), part("tiles", "map-tiles", listed)]}


@part_of("map_pictures")
def pictures(scene: Scene, data: Any) -> dict[str, Any]:
    """Addresses of the small pictures of points, by their places."""
    return {"pictures": small_pictures(scene.workspace, scene.state.split, data)}


def _runs(scene: Scene) -> tuple[str, str]:
    """The runs of both maps; `NO_RUN` as the second is none."""
    names = list(scene.workspace.runs)
    first = scene.one_of("map_a", ["", *names], "") or scene.state.baseline or names[0]
    usual = next((name for name in [*scene.workspace.shown_first, *names] if name != first), NO_RUN)
    return first, scene.one_of("map_b", ["", *names, NO_RUN], "") or usual


def _value(
    workspace: Workspace, split: str, first: str, second: str, method: str, column: str
) -> tuple[dict[str, Any], bool]:
    """The value of the maps, and whether a map is still being made, so that one has to ask again."""
    names = list(dict.fromkeys(name for name in (first, second) if name in workspace.runs))
    if not names:
        return _nothing("No run is chosen: pick one above."), False
    try:
        waiting = _waiting(workspace, names, split) if method == "umap" else ""
        used = "pca" if waiting else method
        maps = {name: flat(workspace, name, split, used) for name in names}
        shown = drawn(workspace, split)
        value = {
            "panels": [_panel(workspace, split, name, used, maps) for name in names],
            "items": items_of(workspace, split),
            "counts": [len(shown.visual), len(shown.text)],
            "kinds": _kinds(workspace, split),
            "labels": _labels(workspace, split, column) if column else None,
            "words": _words(workspace, names, split, maps),
            "waiting": waiting,
            "hint": HOW,
        }
    except (ValueError, OSError) as error:
        return _nothing(f"The {split} split can't be shown: {error}"), False
    return value, bool(waiting)


def _panel(
    workspace: Workspace, split: str, name: str, method: str, maps: dict[str, Projection]
) -> dict[str, Any]:
    """One map; those after the first are turned onto it, and at a moment of training all onto that of its end."""
    file, (first, *_) = points(workspace, name, split, method), maps
    onto = maps[first]
    if isinstance(workspace, Moment):  # so that nothing turns by itself from moment to moment
        onto = flat(workspace.through([first])[-1], first, split, method)
    place = file.place if onto is maps[name] else turned(file.place, maps[name], onto)
    facts = _facts(workspace, name, split, maps[name])
    return {
        "name": name, "src": address(file.path), "place": place.tolist(), "facts": facts,
        "regions": _regions(workspace, split, name, maps[name], onto),
    }  # fmt: skip


def _regions(
    workspace: Workspace, split: str, name: str, found: Projection, onto: Projection
) -> list[dict[str, Any]]:
    """Where words stand that name regions, turned as their map is."""
    named = named_regions(workspace, name, split, found.method)
    at = np.array([[one.x, one.y] for one in named]).reshape(-1, 2)
    if onto is not found:
        rotation, shift = turn(found, onto)
        at = at @ rotation + shift
    return [{"x": x, "y": y, "words": [*one.words]} for (x, y), one in zip(at.tolist(), named, strict=True)]


def _nothing(words: str) -> dict[str, Any]:
    return {"panels": [], "words": words, "waiting": "", "items": "", "kinds": [], "hint": "", "labels": None}


def _waiting(workspace: Workspace, names: list[str], split: str) -> str:
    """Asks for the runs' UMAPs, and says which are still being made ("": none)."""
    pending = []
    for name in names:
        try:
            flat(workspace, name, split, "umap")
        except NotYet as wait:
            pending.append(wait)
    if not pending:
        return ""
    seconds = max(wait.seconds for wait in pending)
    which = " and ".join(wait.run for wait in pending)
    return f"UMAP of {which} is being made, for {seconds:.0f} s so far; it can take minutes. PCA is shown meanwhile."


def _words(workspace: Workspace, names: list[str], split: str, maps: dict[str, Projection]) -> str:
    """What the maps show."""
    words = words_of(workspace.dataset(split))
    gaps = {name: gap(workspace, name, split) for name in names}
    spreads = {
        name: max(float(np.hypot(one.spread_visual, one.spread_text)) / 2**0.5, 1e-9)
        for name, one in gaps.items()
    }
    each = " and ".join(
        f"{gaps[name].distance / spreads[name]:.2f} spreads apart under {name}" for name in names
    )
    said = (
        f"The centroids of {words.visual}s and {words.text}s lie {each} (a spread: how far items lie from their own "
        "centroid, root mean square)."
    )
    dimensions = workspace.embeddings(names[0], split)[0].shape[1]
    if next(iter(maps.values())).method == "umap":
        said += " UMAP keeps near items near; its axes, and distances between far groups, mean nothing."
    else:
        held = " and ".join(f"{percent(sum(one.explained))} under {name}" for name, one in maps.items())
        said += f" The two axes hold {held} of the variance in {dimensions:,} dimensions, so distances here are not the scores."
    around = {name: around_kept(workspace, name, split, one.method) for name, one in maps.items()}
    if not any(map(math.isnan, around.values())):
        kept = " and ".join(f"{percent(share)} under {name}" for name, share in around.items())
        said += f" Of the {AROUND} items nearest to an item in all dimensions, {kept} are among its {AROUND} nearest here."
    staged = [name for name in names if workspace.run(name).scores_pairs]
    if staged:
        said += f" Of {' and '.join(staged)}, which re-rank{'s' if len(staged) == 1 else ''} pairs, the first stage is shown."
    return said


def _facts(workspace: Workspace, run: str, split: str, found: Projection) -> str:
    one, words = gap(workspace, run, split), words_of(workspace.dataset(split))
    axes = ""
    if found.method == "pca":
        axes = f"Axes {percent(found.explained[0])} and {percent(found.explained[1])} of the variance. "
    return (
        f"{axes}Centroids {one.distance:.2f} apart; spread {one.spread_visual:.2f} of the {words.visual}s, "
        f"{one.spread_text:.2f} of the {words.text}s."
    )


def _kinds(workspace: Workspace, split: str) -> list[str]:
    """Both kinds of points, with how many are drawn."""
    data, shown = workspace.dataset(split), drawn(workspace, split)
    words, said = words_of(data), []
    for noun, items, of in (
        (words.visual, shown.visual, len(data.visual_ids)),
        (words.text, shown.text, len(data.captions)),
    ):
        part = "" if len(items) == of else f", drawn by chance of {of:,}"
        said.append(f"{counted(len(items), noun)}{part}")
    return said


def _labels(workspace: Workspace, split: str, column: str) -> dict[str, Any]:
    found = labels(workspace, split, column)
    return {
        "src": address(found.path),
        "title": column.replace("_", " "),
        "names": found.names,
        "other": "other" if found.counts[-1] else "",
        "counts": [f"{count:,}" for count in found.counts],
    }
