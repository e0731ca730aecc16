"""What comes in by HTTP, before Gradio sees it: from which page, how much, and how long an address.

A site that somebody looks at can make their browser send to this server, with their cookies or past their firewall; only a
page of this very server may. Programs send no Origin and are let through: gradio_client, agents (MCP), curl.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import unquote_to_bytes, urlsplit

from gradio.utils import get_upload_folder
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xmr.limits import (
    ADDRESS_BYTES,
    BODY_BYTES,
    QUESTIONS,
    UNREAD_SECONDS,
    UPLOAD_BYTES,
    UPLOADED_BYTES,
    UPLOADS,
)
from xmr.page.lost import Lost
from xmr.page.rates import Rate, visitor_of
from xmr.workspace.uploads import total

TOO_LONG = "too-long"  # key that tells the page how long its address was


class Doors:
    """Middleware: refuses posts of other origins and their preflights, bodies that are too large, uploads when there are too
    many, and visitors who ask too often; opens a page whose address is too long without it."""

    def __init__(self, app: ASGIApp):
        self._app = app
        self._asked, self._uploaded = Rate(QUESTIONS, 60), Rate(UPLOADS, 3600)
        self._coming = 0  # bytes of uploads under way

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, method, length = Headers(scope=scope), scope["method"], len(scope["query_string"])
        asks_first = method == "OPTIONS" and "access-control-request-method" in headers
        if (asks_first or method not in ("GET", "HEAD", "OPTIONS")) and not is_own(headers):
            await _refuse(403, "Only pages of this server may send to it.")(scope, receive, send)
        elif length > ADDRESS_BYTES.now:
            page = method == "GET" and scope["path"].endswith("/")
            refusal = _refuse(414, f"This address has {length:,} bytes, more than {ADDRESS_BYTES.now:,}.")
            await (_without_query(length) if page else refusal)(scope, receive, send)
        elif method == "POST" and (words := self._too_often(scope, headers)):
            # The page says what an answer says; programs read the status.
            asks = scope["path"].rstrip("/").endswith("/component_server")
            refusal = JSONResponse({"fault": words}) if asks else _refuse(429, words)
            await refusal(scope, receive, send)
        elif method == "POST" and scope["path"].endswith("/upload"):
            await self._upload(headers, scope, receive, send)
        elif method in ("GET", "HEAD", "OPTIONS"):
            query = _own_keys(scope["query_string"])
            await self._app({**scope, "query_string": query}, receive, send)
        else:
            await self._bounded(scope, receive, send)

    def _too_often(self, scope: Scope, headers: Headers) -> str:
        """Why a visitor has to wait, in words; "" where they need not."""
        visitor = visitor_of(scope, headers)
        if not self._asked.takes(visitor):
            return f"One visitor may ask {QUESTIONS.now:,} questions a minute here; go on in a minute."
        if scope["path"].endswith("/upload") and not self._uploaded.takes(visitor):
            return f"One visitor may upload {UPLOADS.now:,} pictures an hour here; go on later."
        return ""

    async def _bounded(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hands on a body that was read whole, since a length may be missing or untrue."""
        parts, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            size += len(message.get("body", b""))
            if size > BODY_BYTES.now:
                words = f"This request has more than {BODY_BYTES.now:,} bytes."
                await _refuse(413, words)(scope, receive, send)
                return
            parts.append(message)
            more = message.get("more_body", False)

        async def again() -> Message:
            return parts.pop(0) if parts else await receive()

        await self._app(scope, again, send)

    async def _upload(self, headers: Headers, scope: Scope, receive: Receive, send: Send) -> None:
        length = headers.get("content-length", "")
        if not (length.isascii() and length.isdigit()):
            await _refuse(411, "An upload must tell its length.")(scope, receive, send)
            return
        size = int(length)
        if size > UPLOAD_BYTES.now + 10_000:  # the form around the picture
            words = f"A picture may have {UPLOAD_BYTES.now:,} bytes: the maximum allowed size."
            await _refuse(413, words)(scope, receive, send)
            return
        self._coming += size
        try:
            held = await run_in_threadpool(total, get_upload_folder(), time.time() - UNREAD_SECONDS.now)
            if held + self._coming > UPLOADED_BYTES.now:
                words = "Too many pictures wait to be read; try again in a minute."
                await _refuse(503, words)(scope, receive, send)
                return
            await self._app(scope, receive, send)
        finally:
            self._coming -= size


@asynccontextmanager
async def with_doors(app: Starlette, moved: Mapping[str, str] | None = None) -> AsyncIterator[None]:
    """Puts the doors before everything, as a server starts: before Gradio's answers to preflights, which come before all
    middleware that it lets us add. `moved`: see `Lost`."""
    app.middleware_stack = Doors(Lost(app.middleware_stack, moved or {}))
    yield


def is_own(headers: Headers) -> bool:
    """Whether a request was sent by a page of this server, or by no page at all.

    What a browser says of the site is true, whatever proxies did to the host. Others are believed where the origin is the
    host, of which a proxy tells in X-Forwarded-Host, and Hugging Face in SPACE_HOST.
    """
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if site == "same-origin" or (origin is None and site in (None, "none")):
        return True
    if origin is None:
        return False
    forwarded = headers.get("x-forwarded-host", "").split(",")
    hosts = [headers.get("host", ""), *forwarded, os.environ.get("SPACE_HOST", "")]
    sender = _host(origin)
    return sender is not None and sender in {_host(f"//{host.strip()}") for host in hosts}


def _host(address: str) -> tuple[str | None, int | None] | None:
    """Name and port, the usual ports left out; None where there is none."""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        return None
    return (parts.hostname, None if port in (80, 443) else port) if parts.hostname else None


def _own_keys(query: bytes) -> bytes:
    """A query string without `page`, which in our addresses is a place in a list: Gradio would take it for the name of a page,
    and fail where it has none of that name."""
    return b"&".join(part for part in query.split(b"&") if unquote_to_bytes(part.split(b"=")[0]) != b"page")


def _refuse(status: int, words: str) -> JSONResponse:
    return JSONResponse({"detail": words, "error": words}, status)


def _without_query(length: int) -> RedirectResponse:
    return RedirectResponse(f"?{TOO_LONG}={length}", 303, {"Cache-Control": "no-store"})
