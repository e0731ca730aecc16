"""What the first visitors would wait for, made before they come: encoders in memory, what is measured of every run, and the
tabs as they look at first, whose drawing also imports what draws."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from xmr.core import DIRECTIONS
from xmr.views import TABS, view
from xmr.views.error_charts import gap_of
from xmr.workspace.measurements import captions, hard_negatives, samples
from xmr.workspace.pages import Page
from xmr.workspace.results import measured

SPLIT = "test"


def warm_up(pages: Sequence[Page], tell: Callable[[str, int, int], None] = lambda *_: None) -> None:
    """Does it all for the first page, one thing after the other, and tells what, as (what, done, of how many); what can't
    be done is left to the tab that needs it, which says why."""
    for what, done, of, step in _steps(pages):
        tell(what, done, of)
        try:
            step()
        except (ValueError, OSError):
            continue
        except Exception:  # a fault of one tab must not end the server
            traceback.print_exc()


def _steps(pages: Sequence[Page]) -> Iterator[tuple[str, int, int, Callable[[], Any]]]:
    workspace = pages[0].workspace
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
    looks = [{"tab": tab, "direction": direction} for direction in DIRECTIONS for tab in TABS]
    for done, look in enumerate(looks):
        yield "Drawing what tabs show first", done, len(looks), partial(view, pages, look)
    for done, run in enumerate(trained):
        for direction in DIRECTIONS:
            for make in (samples, hard_negatives):
                step = partial(make, workspace, run, SPLIT, direction)
                yield "Looking for false negatives", done, len(trained), step
