"""One address for each further dataset, below the app's own; a page is made when somebody first opens it.

Gradio's own pages (`Blocks.route`) must be laid out before the server starts, which would load every dataset for
those who look at one. Each page is a whole app of its own instead, mounted where it is first asked for.
"""

from __future__ import annotations

import asyncio
import html
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import gradio as gr
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from xmr.ui.components.notice import Link
from xmr.workspace.pages import Page

PATIENCE = 0.8  # seconds before a visitor is told what takes so long

OPENING = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="1">
<title>Opening {title} · xmr</title>
<style>
  :root {{ color-scheme: light dark }}
  body {{ display: grid; place-content: center; min-height: 90vh; margin: 1rem; font-family: system-ui, sans-serif; line-height: 1.5 }}
  h1 {{ font-size: 1.25rem; overflow-wrap: anywhere }}
</style>
<body><main role="status"><h1>Opening {title}</h1>
<p>This dataset is opened for the first time since the app started. It is being read; the page comes by itself.</p></main></body>
</html>"""


class Deferred:
    """An ASGI application that is made, in a thread, when the first request comes; until then, whoever opens it in a
    browser is told so. Where it can't be made, whoever asks next is answered with the fault, and the one after tries again."""

    def __init__(self, title: str, make: Callable[[], FastAPI]):
        self._title = title
        self._make = make
        self._making: asyncio.Task[ASGIApp] | None = None
        self._running = AsyncExitStack()  # Gradio's queues run as long as the process

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._making is None:
            self._making = asyncio.create_task(self._start())
        making = self._making
        if "text/html" in Headers(scope=scope).get("accept", ""):
            done, _ = await asyncio.wait({making}, timeout=PATIENCE)
            if not done:
                words = OPENING.format(title=html.escape(self._title))
                await HTMLResponse(words, headers={"Cache-Control": "no-store"})(scope, receive, send)
                return
        try:
            app = await asyncio.shield(making)  # who goes away leaves it to the others
        except Exception:
            if self._making is making:
                self._making = None
            raise
        await app(scope, receive, send)

    async def _start(self) -> ASGIApp:
        made = await run_in_threadpool(self._make)
        await self._running.enter_async_context(made.router.lifespan_context(made))
        return made


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

    return Mount(f"/{page.path}", app=Deferred(page.title, make))


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
