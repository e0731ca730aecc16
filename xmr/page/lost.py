"""What a browser gets for an address that is not here: the way back; and of a dataset's former address, its view."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Not found · xmr</title>
<style>
  :root { color-scheme: light dark }
  body { display: grid; place-content: center; min-height: 90vh; margin: 1rem; font-family: system-ui, sans-serif; line-height: 1.5 }
  h1 { font-size: 1.25rem }
</style>
<body><main><h1>There is nothing at this address</h1>
<p><a href="%s">To the page of xmr</a></p></main></body>
</html>"""


class Lost:
    """Middleware: answers a person whose address leads nowhere. `moved` are titles of datasets by the paths that they had
    when each had a page of its own. Programs are answered as before."""

    def __init__(self, app: ASGIApp, moved: Mapping[str, str]):
        self._app, self._moved = app, moved

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or "text/html" not in Headers(scope=scope).get("accept", ""):
            await self._app(scope, receive, send)
            return
        # Relative, so that it is right below whatever path a proxy serves this.
        path = scope["path"].removeprefix(scope.get("root_path", "")).lstrip("/")
        home = "../" * path.count("/") or "./"
        if (title := self._moved.get(path.rstrip("/"))) is not None:
            query = "&".join(
                filter(None, [urlencode({"dataset": title}), scope["query_string"].decode("latin-1")])
            )
            await RedirectResponse(f"{home}?{query}", 308)(scope, receive, send)
            return
        missing = False

        async def look(message: Message) -> None:
            nonlocal missing
            if message["type"] == "http.response.start" and message["status"] == 404:
                missing = True
            elif not missing:
                await send(message)

        await self._app(scope, receive, look)
        if missing:
            await HTMLResponse(PAGE % home, 404)(scope, receive, send)
