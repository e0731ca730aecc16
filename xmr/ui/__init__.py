"""The app: a sidebar, one module per tab, and the endpoints."""

from __future__ import annotations

import os

# Read when gradio is imported; set here too, so that no importer can come before app.py's own setting.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import atexit
import shutil
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from xmr.ui import api
from xmr.ui.arrivals import Arrivals
from xmr.ui.components.notice import Notice, faults, problem
from xmr.ui.components.plotly_chart import preload
from xmr.ui.components.tabs_ahead import START, TabsAhead
from xmr.ui.doors import MOST_UPLOAD, UNREAD, with_doors
from xmr.ui.events import ENCODE_LIMIT, EVENT, quiet
from xmr.ui.leaving import Leaving
from xmr.ui.links import addresses, wire_links
from xmr.ui.pages import links, route
from xmr.ui.served import MOST_WAITING, Served
from xmr.ui.shell import fault_items, sidebar
from xmr.ui.tabs import TABS
from xmr.ui.theme import theme
from xmr.ui.warm import warm_up
from xmr.workspace import Workspace
from xmr.workspace.pages import Page
from xmr.workspace.public import public

__all__ = ["build_app", "launch_options", "warm_up"]

# A folder of our own for what visitors upload: what is counted and deleted there is nobody else's.
UPLOADS_FOLDER = tempfile.mkdtemp(prefix="xmr-uploads-", dir=os.environ.get("GRADIO_TEMP_DIR"))
os.environ["GRADIO_TEMP_DIR"] = UPLOADS_FOLDER
atexit.register(shutil.rmtree, UPLOADS_FOLDER, ignore_errors=True)

BUILDING = Lock()  # Gradio keeps what is being built in one place of the process
# The sidebar lies over the page on a narrow screen, where the first look belongs to the results.
FOLD_ON_PHONES = """() => {
  if (window.innerWidth <= 768) document.querySelector('#sidebar.open > button')?.click();
}"""


def build_app(workspace: Workspace, pages: Sequence[Page] = (), here: str = "") -> gr.Blocks:
    """The page over a workspace; where nothing can be shown, one screen that says why and what to do.

    `pages` are those of all datasets, the first page first, and `here` is the path of this one. The endpoints are on
    the first page, for the runs of all.
    """
    # Served in place, not copied; only the thumbnails and what tabs ask for can be read.
    paths = [workspace.thumbnails, *(path for tab in TABS for path in getattr(tab, "STATIC_PATHS", ()))]
    gr.set_static_paths(paths)
    with Served(title="xmr", fill_width=True, analytics_enabled=False, delete_cache=(60, UNREAD)) as app:
        if workspace.problem:
            Notice(problem("Nothing to show yet", public(workspace.problem)), elem_id="problem")
            if items := fault_items(workspace):
                Notice(faults(items), elem_id="faults", elem_classes="below-problem")
        else:
            with gr.Sidebar(width=300, elem_id="sidebar"):
                controls = sidebar(workspace, links(pages, here))
            app.load(None, js=FOLD_ON_PHONES)
            app.load(None, js=preload())
            controls.idle.tick(None, None, None, js=START, **EVENT)
            with gr.Tabs(elem_id="tabs") as tabs:
                for tab in TABS:
                    with gr.Tab(tab.TITLE, id=tab.ID, elem_id=f"tab-{tab.ID}") as one:
                        controls.links.tell(one)
                        tab.build(workspace, controls)
            with controls.links.box:
                TabsAhead(tabs.children)
            title = next((page.title for page in pages if page.path == here), workspace.dataset().name)
            wire_links(controls.links, tabs, tabs.children, title, addresses(pages, here))
            quiet(app, controls.links.tab)
        if not here:
            gr.api(api.search(workspace, pages), api_name="search", **ENCODE_LIMIT)
            gr.api(api.runs(workspace, pages), api_name="runs", queue=False)
            gr.api(api.pair_weights(workspace, pages), api_name="pair_weights")
            gr.api(api.false_negatives(workspace, pages), api_name="false_negatives")
    return app.queue(max_size=MOST_WAITING)


def launch_options(pages: Sequence[Page] = ()) -> dict[str, Any]:
    """What `launch` needs, for the app and its tests alike: since Gradio 6, looks belong here; the further pages do
    too, because they are routes of the server."""
    options: dict[str, Any] = {
        "theme": theme(),
        "css_paths": [Path(__file__).parent / "style.css"],
        "mcp_server": True,
        "run_history": False,
        "ssr_mode": False,
        "max_file_size": MOST_UPLOAD,
        "footer_links": ["api", "settings"],
    }
    shown: dict[str, gr.Blocks] = {}

    def opened(page: Page) -> gr.Blocks:
        shown[page.path] = _lay_out(page, pages)
        return shown[page.path]

    routes = [route(page, partial(opened, page), options) for page in pages[1:]]
    look = Middleware(Arrivals, pages=pages, shown=shown, lay_out=partial(_lay_out, pages=pages))
    server = {"routes": routes, "middleware": [look, Middleware(Leaving)], "lifespan": with_doors}
    return options | {"app_kwargs": server}


def _lay_out(page: Page, pages: Sequence[Page]) -> gr.Blocks:
    with BUILDING:
        return build_app(page.workspace, pages, page.path)
