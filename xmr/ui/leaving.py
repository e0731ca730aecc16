"""What happens when somebody is about to leave the page: ours is asked, Gradio is not told.

Gradio's client ends its streams then, takes that for a lost connection if an event is under way, and for whoever stays,
nothing works until the page is reloaded, which it does after 2 s, or takes back those whose next page is slow to come.
(Browsers end the streams of a page that is gone themselves.) It listens before anything that Gradio lets us add to a
page, and browsers call the listeners of this event in their order: so ours is written into the page as it is served.
"""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SCRIPT = b"""<script>
addEventListener('beforeunload', (event) => {
  event.stopImmediatePropagation();
  document.dispatchEvent(new CustomEvent('xmr-leaving', { detail: event }));
});
</script>"""


class Leaving:
    """Middleware that puts the listener before all other scripts of a page."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or not scope["path"].endswith("/"):
            await self._app(scope, receive, send)
            return
        start: Message | None = None
        body = b""

        async def written(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                if dict(message["headers"]).get(b"content-type", b"").startswith(b"text/html"):
                    start = message
                    return
            elif start is not None:
                body += message.get("body", b"")
                if message.get("more_body"):
                    return
                body = body.replace(b"<head>", b"<head>" + SCRIPT, 1)
                MutableHeaders(raw=start["headers"])["content-length"] = str(len(body))
                await send(start)
                await send({"type": "http.response.body", "body": body})
                return
            await send(message)

        await self._app(scope, receive, written)
