"""The map tab: the embedding spaces of one run or two in two dimensions, with the same items on both maps."""

from __future__ import annotations

from typing import Any

import gradio as gr
import numpy as np

from xmr.analysis import PROJECTIONS, Projection, has_umap
from xmr.ui.components.notice import Notice, sentence
from xmr.ui.components.point_map import PointCard, PointMap
from xmr.ui.components.tiles import Tiles, tiles
from xmr.ui.components.when_shown import when_shown
from xmr.ui.events import EVENT
from xmr.ui.links import one_of
from xmr.ui.map_items import EMPTY, card, items_of, opened, select
from xmr.ui.shell import Controls, run_choices
from xmr.words import counted, percent
from xmr.workspace import Workspace
from xmr.workspace.maps import (
    NotYet,
    drawn,
    flat,
    gap,
    label_columns,
    labels,
    maps_folder,
    points,
    turned,
)
from xmr.workspace.words import words_of

TITLE = "Map"
ID = "map"

NO_RUN = "-"  # of the second map: none
HINT = "Move over a point to see what it is; a ring marks it on both maps, and lines lead to its matches."
HOW = (
    "With Lasso, drag around points; with Move, drag the map. The wheel zooms a map that was clicked, or with Ctrl; two "
    "fingers do, too. By keyboard: arrows move a cross-hair, Enter selects the 50 nearest points, + and − zoom, 0 shows all, "
    "Escape clears."
)
METHODS = {"pca": "PCA", "umap": "UMAP (takes minutes)"}


def show(
    workspace: Workspace, split: str, first: str, second: str, method: str, column: str
) -> tuple[dict[str, Any], bool]:
    """The value of the maps, and whether a map is still being made, so that one has to ask again."""
    names = list(dict.fromkeys(name for name in (first, second) if name in workspace.runs))
    if not names:
        return _nothing("No run is chosen: pick one above."), False
    waiting = ""
    try:
        if method == "umap":
            waiting = _waiting(workspace, names, split)
        panels, maps = [], {}
        for name in names:
            used = "pca" if waiting else method
            maps[name] = flat(workspace, name, split, used)
            file = points(workspace, name, split, used)
            place = file.place if name == names[0] else turned(file.place, maps[name], maps[names[0]])
            panels.append(
                {
                    "name": name,
                    "src": f"gradio_api/file={file.path}",
                    "place": place.tolist(),
                    "facts": _facts(workspace, name, split, maps[name]),
                }
            )
        shown = drawn(workspace, split)
        value = {
            "panels": panels,
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


def build(workspace: Workspace, controls: Controls) -> None:
    """Lays the tab out and wires it."""
    # Only the maps lie in that folder, so nothing else can be read.
    gr.set_static_paths([maps_folder(workspace)])
    start = controls.baseline.value
    beside = next((name for name in [*workspace.shown_first, *workspace.runs] if name != start), NO_RUN)
    methods = [(METHODS[name], name) for name in PROJECTIONS if name != "umap" or has_umap()]
    columns = label_columns(workspace, "test")
    with gr.Row():
        first = gr.Dropdown(
            run_choices(workspace), value=start, label="Map A", min_width=180, elem_id="map-a"
        )
        second = gr.Dropdown(
            [("none", NO_RUN), *run_choices(workspace)],
            value=beside,
            label="Map B, turned onto A's",
            min_width=180,
            elem_id="map-b",
        )
        method = gr.Radio(
            methods,
            value="pca",
            label="Projection",
            info=None if len(methods) > 1 else "UMAP too, where umap-learn is installed",
            min_width=180,
            elem_id="map-projection",
        )
        colour = gr.Dropdown(
            [("kind of item", ""), *((name.replace("_", " "), name) for name in columns)],
            value="",
            label="Colour",
            min_width=160,
            elem_id="map-colour",
        )
    maps = PointMap(elem_id="map-points")
    point = PointCard({"hint": HINT}, elem_id="map-point")
    said = Notice("", elem_id="map-said")
    found = Tiles(tiles([], EMPTY), elem_id="map-tiles")
    timer = gr.Timer(2, active=False)

    controls.links.keep("map_a", first, one_of("run", workspace.runs), ID)
    controls.links.keep("map_b", second, one_of("run", [*workspace.runs, NO_RUN]), ID)
    controls.links.keep("projection", method, one_of("projection", [name for _, name in methods]), ID)
    controls.links.keep("map_colour", colour, one_of("column", columns), ID)

    def handle(*values: Any) -> tuple[Any, ...]:
        value, again = show(workspace, *values)
        return value, gr.Timer(active=again)

    def on_lasso(split: str, a: str, b: str, event: gr.EventData) -> tuple[str, dict[str, Any]]:
        words, listed = select(workspace, split, a, b, event._data)
        return sentence(words) if words else "", listed

    inputs = [controls.split, first, second, method, colour]
    when_shown(handle, inputs, [maps, timer], inputs, controls.idle, again=timer)
    latest = EVENT | {"trigger_mode": "always_last"}

    def on_look(split: str, event: gr.EventData) -> dict[str, Any]:
        return card(workspace, split, event._data)

    def on_pick(split: str, event: gr.EventData) -> dict[str, Any]:
        return opened(workspace, split, event._data)

    maps.look(on_look, controls.split, point, **latest)
    maps.lasso(on_lasso, [controls.split, first, second], [said, found], **latest)
    for chosen in (found, point):
        chosen.pick(on_pick, controls.split, controls.links.jump, **EVENT)
    # Items of another split are other ones.
    nothing = {"hint": HINT}, "", tiles([], EMPTY)
    controls.split.change(lambda: nothing, None, [point, said, found], trigger_mode="multiple", **EVENT)


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
    ratios = {
        name: one.distance / max(float(np.hypot(one.visual, one.text)) / 2**0.5, 1e-9)
        for name, one in gaps.items()
    }
    each = " and ".join(f"{ratio:.2f} spreads apart under {name}" for name, ratio in ratios.items())
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
    staged = [name for name in names if not workspace.run(name).independent]
    if staged:
        said += f" Of {' and '.join(staged)}, which re-rank{'s' if len(staged) == 1 else ''} pairs, the first stage is shown."
    return said


def _facts(workspace: Workspace, run: str, split: str, found: Projection) -> str:
    one, words = gap(workspace, run, split), words_of(workspace.dataset(split))
    axes = ""
    if found.method == "pca":
        axes = f"Axes {percent(found.explained[0])} and {percent(found.explained[1])} of the variance. "
    return (
        f"{axes}Centroids {one.distance:.2f} apart; spread {one.visual:.2f} of the {words.visual}s, "
        f"{one.text:.2f} of the {words.text}s."
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
        "src": f"gradio_api/file={found.path}",
        "title": column.replace("_", " "),
        "names": found.names,
        "other": "other" if found.counts[-1] else "",
        "counts": [f"{count:,}" for count in found.counts],
    }
