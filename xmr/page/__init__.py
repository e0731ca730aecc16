"""The page: one component that holds a state and draws what `xmr.views.view` says of it, and the endpoints.

Gradio is the host: it serves the page, its theme, uploads, the endpoints and MCP. The page's scripts and style sheets are
one file each, kept in the cache under the hash of what they hold, so that a browser fetches each once.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import anyio
import plotly

from xmr.cache import KEPT, address, cache_dir, cache_folder
from xmr.disk import CannotSave, write_files
from xmr.figures.shared import DARK
from xmr.limits import ADDRESS_BYTES, UNREAD_SECONDS, UPLOAD_BYTES, WAITING
from xmr.page import api
from xmr.page.bulk import embed
from xmr.page.doors import TOO_LONG, with_doors
from xmr.page.files import routes
from xmr.page.host import gr
from xmr.page.said import failure, told
from xmr.page.served import Served
from xmr.page.theme import FONTS, theme
from xmr.page.warm import VISITS, warm_up
from xmr.views import TABS, Visitor, beside, slimmed, view
from xmr.views.map_items import MOST
from xmr.views.state import TAB_OF, VERSION, State, written
from xmr.views.stories import Story
from xmr.workspace import Workspace
from xmr.workspace.pages import Page, take_in
from xmr.zero_gpu import is_zero_gpu

__all__ = ["build_app", "launch_options", "page_of", "warm_up"]

ARRIVALS = 1.0  # seconds between two looks for runs that were finished meanwhile
# Okabe and Ito's colours, the pale ones deepened for white ground and the deep ones lightened for dark.
MAP_LIGHT = {
    "colours": ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#A87400", "#111827"],
    "other": "#8A94A3",
    "ground": "#FFFFFF",
}
MAP_DARK = {
    "colours": ["#4AA3DF", "#F0883E", "#2BBF8F", "#E29CC4", "#E8C33A", "#F3F4F6"],
    "other": "#6B7686",
    "ground": "#10151D",
}
HERE = Path(__file__).parent
PLOTLY = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
# A wish of V8's: compile all while it comes, beside the page. Function by function as they are called, which is usual,
# holds the page up for 0.6 to 0.9 s instead of 0.1 to 0.2 (Chromium 156, 2 cores). Other browsers read a comment.
WISH = b"//# allFunctionsCalledOnLoad\n"
# The parts that draw a value: the node that their script finds, by the kind of block.
PARTS = {
    "chart": "<figure class='chart'><figcaption aria-live='polite'>Measuring …</figcaption><div class='plot' tabindex='-1'></div>"
    "<div class='tools'></div><p class='spoken sr' role='status' aria-live='polite'></p>"
    "<details hidden><summary>Numbers</summary></details></figure>",
    "table": "<div class='numbers'></div>",
    "cards": "<div class='cards'></div>",
    "grid": "<p class='headline' role='status' aria-live='polite'></p><div class='rg'></div>",
    "queries": "<div class='queries'></div>",
    "flow": "<div class='flow'></div>",
    "tiles": "<div class='tiles'></div>",
    "map": "<div class='pm'><p class='hint'>Measuring …</p></div><p class='said sr' role='status'></p>",
    "prose": "<div class='prose'></div>",
    "points": "<figure class='drawing'><figcaption></figcaption><div class='plane'></div></figure>",
    "point": "<div class='point' role='status'></div>",
    "verdicts": "<section class='verdicts' aria-label='Verdicts'><div class='state'></div>"
    "<p class='said' role='status' aria-live='polite'></p></section>",
}


def build_app(pages: Sequence[Page], stories: Sequence[Story] = ()) -> gr.Blocks:
    """The page over the workspaces of these pages, of which the first is shown first, and the stories that it offers."""
    script, style = _kept("page", "js", _script()), _kept("page", "css", _style())
    first = pages[0].workspace
    look = _Look(pages)

    # The names of these functions are what the page's script calls.
    def view_(asked: dict[str, Any], visitor: Visitor) -> dict[str, Any]:
        if asked.get("first"):
            look()
        answer = view(pages, asked.get("state"), asked.get("act"), visitor)
        return told(answer | {"blocks": slimmed(answer.get("blocks", []), asked.get("has"))})

    def part_(asked: dict[str, Any], visitor: Visitor) -> dict[str, Any]:
        name = str(asked.get("name"))[:40]
        answer = beside(pages, asked.get("state"), name, asked.get("data"), visitor)
        return answer if name == "file" and "fault" not in answer else told(answer)

    served = _ServerFunctions()
    questions = [served(name, answer) for name, answer in (("view", view_), ("part", part_))]
    boot = {
        "version": VERSION,
        "keys": {key: {"tab": tab, "usual": written(State())[key]} for key, tab in TAB_OF.items()},
        "tabs": [[id, title] for id, (title, _) in TABS.items()],
        "stories": [story.plain for story in stories],
        "space": _space(),
        "long": {"key": TOO_LONG, "most": ADDRESS_BYTES.now},
        "settings": {
            "colours": DARK,
            "library": _library(),
            "light": MAP_LIGHT,
            "dark": MAP_DARK,
            "most": MOST,
        },
    }
    # The style sheet comes before the script, so that nothing is seen without its looks.
    load = f"""const boot = {_embedded(boot)};
const style = Object.assign(document.createElement('link'), {{ rel: 'stylesheet', href: '{style}' }});
const script = Object.assign(document.createElement('script'), {{ src: '{script}' }});
Promise.all([style, script].map((node) => new Promise((done) => {{ node.onload = done; document.head.append(node); }})))
  .then(() => window.xmrPage(element.querySelector('.xmr'), server, upload, {{ ...boot, parts: window.xmrParts }}));"""
    with Served(
        title="xmr", fill_width=True, analytics_enabled=False, delete_cache=(60, UNREAD_SECONDS.now)
    ) as app:
        gr.HTML(
            html_template="<div class='xmr'></div>",
            js_on_load=load,
            server_functions=questions,
            apply_default_css=False,
            padding=False,
        )
        gr.api(api.search(first, pages), api_name="search", concurrency_id="encode", concurrency_limit=2)
        gr.api(api.runs(first, pages), api_name="runs", queue=False)
        gr.api(api.pair_weights(first, pages), api_name="pair_weights")
        gr.api(api.false_negatives(first, pages), api_name="false_negatives")
        if is_zero_gpu():
            gr.api(embed(first, pages), api_name="embed", concurrency_limit=1)
    return app.queue(max_size=WAITING.now)


def page_of(workspace: Workspace) -> Page:
    """The one page of a workspace that is there already."""
    name = workspace.dataset().name if workspace.runs else ""
    return Page(name, "", dict(workspace.runs), lambda: workspace)


def launch_options(pages: Sequence[Page] = ()) -> dict[str, Any]:
    """What `launch` needs, for the app and its tests alike: since Gradio 6, looks belong here."""
    return {
        "theme": theme(),
        # Before the style sheet is there, so that nothing moves when it comes.
        "head": f"{FONTS}<style>.gradio-container > .main {{ padding: 0 !important }}</style>",
        "mcp_server": True,
        "run_history": False,
        "ssr_mode": False,
        "max_file_size": UPLOAD_BYTES.now,
        "footer_links": ["api", "settings"],
        "app_kwargs": {
            "lifespan": partial(with_doors, moved={page.path: page.title for page in pages if page.path}),
            "routes": routes(),
        },
    }


class _ServerFunctions:
    """Makes what the page's script calls of functions of (what was sent, who sent it). They bypass Gradio's queue, so those
    that wait are counted here; whatever goes wrong is a "fault" in a sentence."""

    def __init__(self) -> None:
        self._inside = 0

    def __call__(self, name: str, answer: Callable[[dict[str, Any], Visitor], dict[str, Any]]) -> Any:
        def answered(asked: Any, request: gr.Request) -> dict[str, Any]:
            asked = asked if isinstance(asked, dict) else {}
            try:
                with VISITS.answering():
                    return answer(asked, Visitor.of(asked.get("visitor"), _login(request)))
            except Exception as error:  # whatever went wrong, the page says so
                return {"fault": failure(error)}

        async def asked_by_page(asked: Any, request: gr.Request) -> dict[str, Any]:
            if self._inside >= WAITING.now:
                return {"fault": f"{WAITING.now} others wait for an answer already; try again in a minute."}
            self._inside += 1
            try:
                return await anyio.to_thread.run_sync(functools.partial(answered, asked, request))
            finally:
                self._inside -= 1

        asked_by_page.__name__ = name
        return asked_by_page


class _Look:
    """Takes in runs that were finished since the last look, when somebody loads the page."""

    def __init__(self, pages: Sequence[Page]):
        self._pages, self._guard, self._last = pages, Lock(), time.monotonic()

    def __call__(self) -> None:
        with self._guard:
            if time.monotonic() - self._last < ARRIVALS:
                return
            try:
                take_in(self._pages)
            except Exception:  # the runs as they were are better than none
                traceback.print_exc()
            self._last = time.monotonic()


def _login(request: gr.Request | None) -> str:
    """The name that a visitor has logged in by: Gradio's own login, or a Space's ("Sign in with Hugging Face")."""
    if request is None:
        return ""
    scope = getattr(getattr(request, "request", None), "scope", None) or {}
    info = (scope.get("session") or {}).get("oauth_info") or {}
    return str(getattr(request, "username", None) or info.get("userinfo", {}).get("preferred_username") or "")


def _script() -> str:
    """All scripts as one: every part is a function of the node that it draws into, and returns what draws a value."""
    below = "\n".join((HERE / f"{name}.js").read_text() for name in ("dom", "library", "sketch", "scatter"))
    parts = ",\n".join(
        f"{kind}: {{ template: {_embedded(template)}, run: (element, trigger, settings) => {{\n"
        f"{(HERE / 'parts' / f'{kind}.js').read_text()}\n}} }}"
        for kind, template in PARTS.items()
    )
    own = "\n".join(
        (HERE / f"{name}.js").read_text()
        for name in ("controls", "why", "dialog", "large", "brand", "story", "page")
    )
    return f"(() => {{\n'use strict';\n{below}\nwindow.xmrParts = {{\n{parts}\n}};\n{own}\n}})();\n"


def _style() -> str:
    """All style sheets as one; those of parts hold inside their nodes."""
    parts = [f".part.{kind} {{\n{(HERE / 'parts' / f'{kind}.css').read_text()}\n}}" for kind in PARTS]
    return "\n".join(
        [*((HERE / f"{name}.css").read_text() for name in ("page", "dialog", "why", "story")), *parts]
    )


def _kept(name: str, end: str, text: str) -> str:
    """The address of the text as a file of the cache, named by its content."""
    content = text.encode()
    path = cache_dir("page") / f"{name}-{hashlib.sha256(content).hexdigest()[:16]}.{end}"
    if not path.is_file():
        write_files(path.parent, {path.name: content})
    return address(path)


def _library() -> str:
    """The address of plotly.js for pages: a copy with that wish, in the cache; where none can be kept, plotly's own."""
    path = cache_folder() / "plotly" / f"plotly-{plotly.__version__}.min.js"
    if not path.is_file() or path.stat().st_size != PLOTLY.stat().st_size + len(WISH):
        try:
            write_files(path.parent, {path.name: WISH + PLOTLY.read_bytes()})
        except CannotSave:
            return f"{KEPT}/plotly/{PLOTLY.name}"
    return address(path)


def _embedded(value: Any) -> str:
    """JSON that may stand in a script."""
    return json.dumps(value).replace("<", "\\u003c")


def _space() -> str:
    """Address of the Space that this runs in, whose frame hides the app's own; "" elsewhere."""
    name = os.environ.get("SPACE_ID", "")
    return f"https://huggingface.co/spaces/{name}" if re.fullmatch(r"[\w.-]+/[\w.-]+", name) else ""
