"""What the first visitors would wait for, made before they come: encoders in memory, what is measured of every run, and the
tabs as they look at first, whose drawing also imports what draws."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gradio as gr

from xmr.core import DIRECTIONS, Direction
from xmr.selection import DEFAULT, SELECTORS
from xmr.ui import error_lists, error_views, suspect_pages
from xmr.ui.batch_maps import Asked as AskedBatch
from xmr.ui.batch_maps import loss_of, show_one
from xmr.ui.error_charts import gap_of
from xmr.ui.suspect_lists import Asked as AskedSuspects
from xmr.ui.suspect_lists import settings_of
from xmr.ui.tabs import distributions, embedding_map, false_negatives, results
from xmr.ui.weight_curves import show_comparison
from xmr.workspace import Workspace
from xmr.workspace.measured import captions, hard_negatives, samples
from xmr.workspace.results import measured

SPLIT = "test"


def warm_up(workspace: Workspace, tell: Callable[[str, int, int], None] = lambda *_: None) -> None:
    """Does it all, one thing after the other, and tells what, as (what, done, of how many); what can't be done is left
    to the tab that needs it, which says why."""
    for what, done, of, step in _steps(workspace):
        tell(what, done, of)
        try:
            step()
        except (ValueError, OSError, gr.Error):
            continue
        except Exception:  # a fault of one tab must not end the server
            traceback.print_exc()


def _steps(workspace: Workspace) -> Iterator[tuple[str, int, int, Callable[[], Any]]]:
    if not workspace.runs:
        return
    runs, trained = list(workspace.runs), workspace.trained
    yield "Loading encoders", 0, 1, workspace.warm_up
    yield "Reading captions", 0, 1, partial(captions, workspace, SPLIT)
    for done, run in enumerate(runs):
        yield "Measuring runs", done, len(runs), partial(workspace.measure, SPLIT, [run])
    yield "Comparing runs", 0, len(runs) + 1, partial(measured, workspace, runs, SPLIT)
    for done, run in enumerate(runs, 1):
        yield "Comparing runs", done, len(runs) + 1, partial(gap_of, workspace, run, SPLIT)
    looks = [look for direction in DIRECTIONS for look in _first_looks(workspace, direction)]
    for done, look in enumerate(looks):
        yield "Drawing what tabs show first", done, len(looks), look
    for done, run in enumerate(trained):
        for direction in DIRECTIONS:
            yield (
                "Looking for false negatives",
                done,
                len(trained),
                partial(samples, workspace, run, SPLIT, direction),
            )
            negatives = partial(hard_negatives, workspace, run, SPLIT, direction)
            yield "Looking for false negatives", done, len(trained), negatives


def _first_looks(workspace: Workspace, direction: Direction) -> Iterator[Callable[[], Any]]:
    runs = workspace.shown_first
    yield partial(results.show, workspace, SPLIT, direction, runs, runs[0], "chosen", "")
    yield partial(distributions.show, workspace, SPLIT, direction, runs, "raw")
    yield partial(_errors, workspace, direction)
    yield partial(embedding_map.show, workspace, SPLIT, *runs[:1], "", "pca", "")
    yield lambda: show_comparison(workspace, runs, SPLIT)
    settings = settings_of(DEFAULT, SELECTORS[DEFAULT].defaults, false_negatives.BESIDE, {})
    for run in runs:
        suspected = AskedSuspects(run, SPLIT, direction, settings)
        yield partial(false_negatives.draw, workspace, suspected)
        yield partial(suspect_pages.list_page, workspace, suspected)
        yield partial(_batch, workspace, run)


def _batch(workspace: Workspace, run: str) -> None:
    choice = f"run {run}"
    show_one(
        workspace, AskedBatch(choice, loss_of(workspace, choice)[1], "", SPLIT, run, 0, 32, None), "weights"
    )


def _errors(workspace: Workspace, direction: Direction) -> None:
    runs = workspace.shown_first
    of_list = error_lists.ANY, "", "", "", "differ", 0
    asked = error_views.read(workspace, SPLIT, direction, runs, runs[0], "", "", 1, *of_list)
    error_views.show_charts(workspace, asked)
    error_views.show_list(workspace, asked, 0)
    error_views.show_hubs(workspace, asked)
