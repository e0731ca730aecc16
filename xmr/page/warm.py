"""What the first visitors would wait for, made before they come: the tabs as they look at first, whose drawing also imports
what draws, encoders in memory, and what is measured of every run."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from threading import Condition
from typing import Any

from xmr.core import DIRECTIONS
from xmr.views import TABS, view
from xmr.workspace.maps import gap
from xmr.workspace.measurements import captions, hard_negatives, samples
from xmr.workspace.pages import Page
from xmr.workspace.results import measured

SPLIT = "test"


class Visits:
    """Who is being answered, so that work in the background gives way."""

    QUIET = 0.3  # seconds without a question after which nobody is thought to wait
    LONGEST = 10.0  # seconds that the work waits before it goes on among the questions

    def __init__(self) -> None:
        self._inside, self._last, self._changed = 0, 0.0, Condition()

    @contextmanager
    def answering(self) -> Iterator[None]:
        with self._changed:
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside, self._last = self._inside - 1, time.monotonic()
                self._changed.notify_all()

    def give_way(self) -> None:
        """Returns when nobody waits for an answer."""
        end = time.monotonic() + self.LONGEST
        with self._changed:
            while (now := time.monotonic()) < end and (self._inside or now - self._last < self.QUIET):
                self._changed.wait(self.QUIET)


VISITS = Visits()


def warm_up(pages: Sequence[Page], tell: Callable[[str, int, int], None] = lambda *_: None) -> None:
    """Does it all for the first page, one thing after the other, and tells what, as (what, done, of how many); what can't
    be done is left to the tab that needs it, which says why."""
    for what, done, of, step in _steps(pages):
        tell(what, done, of)
        VISITS.give_way()
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
    looks = [{"tab": tab, "direction": direction} for direction in ("", *DIRECTIONS) for tab in TABS]
    for done, look in enumerate(looks[: len(TABS)]):
        yield "Drawing what tabs show first", done, len(TABS), partial(view, pages, look)
    yield "Loading encoders", 0, 1, workspace.warm_up
    yield "Reading captions", 0, 1, partial(captions, workspace, SPLIT)
    for done, run in enumerate(runs):
        yield "Measuring runs", done, len(runs), partial(workspace.measure, SPLIT, [run])
    yield "Comparing runs", 0, len(runs) + 1, partial(measured, workspace, runs, SPLIT)
    for done, run in enumerate(runs, 1):
        yield "Comparing runs", done, len(runs) + 1, partial(gap, workspace, run, SPLIT)
    for done, look in enumerate(looks[len(TABS) :]):
        yield "Drawing tabs", done, len(looks) - len(TABS), partial(view, pages, look)
    for done, run in enumerate(trained):
        for direction in DIRECTIONS:
            for make in (samples, hard_negatives):
                step = partial(make, workspace, run, SPLIT, direction)
                yield "Looking for false negatives", done, len(trained), step
