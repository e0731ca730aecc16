"""One address for each further dataset, below the app's own; a page is made when somebody first opens it.

Gradio's own pages (`Blocks.route`) must be laid out before the server starts, which would load every dataset for
those who look at one. Each page is a whole app of its own instead, mounted where it is first asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import gradio as gr
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from xmr.ui.components.notice import Link
from xmr.workspace.pages import Page


class Deferred:
    """An ASGI application that is made, in a thread, when the first request comes."""

    def __init__(self, make: Callable[[], FastAPI]):
        self._make = make
        self._made: ASGIApp | None = None
        self._lock = asyncio.Lock()
        self._running = AsyncExitStack()  # Gradio's queues run as long as the process

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._made is None:
            async with self._lock:
                if self._made is None:
                    made = await run_in_threadpool(self._make)
                    await self._running.enter_async_context(made.router.lifespan_context(made))
                    self._made = made
        await self._made(scope, receive, send)


def route(page: Page, lay_out: Callable[[], gr.Blocks], options: dict[str, Any]) -> Mount:
    """The route to a page; `lay_out` makes its blocks, and `options` are those of `launch`."""

    def make() -> FastAPI:
        server = FastAPI(openapi_url=None)
        blocks = lay_out()
        looks = {
            name: options[name] for name in ("theme", "css_paths", "run_history", "ssr_mode", "max_file_size")
        }
        return gr.mount_gradio_app(
            server, blocks, path="", footer_links=["settings"], show_error=False, **looks
        )

    return Mount(f"/{page.path}", app=Deferred(make))


def links(pages: Sequence[Page], here: str) -> list[Link]:
    """Links from the page at the path `here` to all."""
    up = "../" if here else "./"
    return [
        Link(
            page.title,
            len(page.runs),
            "" if page.path == here else f"{up}{page.path}{'/' if page.path else ''}",
        )
        for page in pages
    ]
