"""Runs that were finished after the server started: whoever loads the page sees them.

A page is laid out before it is served. It is laid out anew when there is something new, and what its parts show and its
functions do is put in place of the old, part by part; pages that are open go on as they were.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from threading import Lock

import gradio as gr
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from xmr.workspace.pages import Page, take_in

PAUSE = 1.0  # seconds between two looks at the folder
SHOWN = ("value", "choices", "label", "info", "visible", "props")  # of a part, what depends on the runs


class Arrivals:
    """Middleware that looks for new runs when a page is loaded. `shown` has the blocks of the further pages that are open,
    by path."""

    def __init__(
        self,
        app: ASGIApp,
        pages: Sequence[Page],
        shown: dict[str, gr.Blocks],
        lay_out: Callable[[Page], gr.Blocks],
    ):
        self._app, self._pages, self._shown, self._lay_out = app, pages, shown, lay_out
        self._addresses = {f"/{page.path}/" if page.path else "/" for page in pages}
        self._guard, self._looked = Lock(), 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "GET" and scope["path"] in self._addresses:
            await run_in_threadpool(self._look, scope["app"].blocks)
        await self._app(scope, receive, send)

    def _look(self, first: gr.Blocks) -> None:
        with self._guard:
            if time.monotonic() - self._looked < PAUSE:
                return
            try:
                for page in take_in(self._pages):
                    old = self._shown.get(page.path) if page.path else first
                    if old is not None:
                        renew(old, self._lay_out(page))
            except Exception:  # the page as it was is better than none
                traceback.print_exc()
            self._looked = time.monotonic()


def renew(old: gr.Blocks, new: gr.Blocks) -> None:
    """Puts what the parts of `new` show, and what its events do, in place of those of `old`.

    Raises ValueError, and changes nothing, where they have not the same parts and events.
    """
    parts = list(zip(old.blocks.values(), new.blocks.values(), strict=True))
    events = list(zip(old.fns.values(), new.fns.values(), strict=True))
    if any(type(mine) is not type(fresh) for mine, fresh in parts):
        raise ValueError("the page is laid out otherwise than it was")
    for mine, fresh in parts:
        for name in SHOWN:
            if name in vars(mine) and name in vars(fresh):
                setattr(mine, name, getattr(fresh, name))
    for mine, fresh in events:
        mine.fn = fresh.fn
    old.config = old.get_config_file()
