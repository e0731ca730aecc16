"""A plotly figure that can be clicked, keeps its zoom across updates, follows dark mode and has words beside it.

plotly.js is that of the installed plotly package, so the two match and nothing comes from elsewhere. It is
fetched after the page, or when the first chart becomes visible. `.select` carries what was clicked:
`{"curve", "index", "x", "y"}`, `customdata` and the trace's `meta` where there are some, or for a figure of cells
(`layout.meta.cells`) `{"row", "column"}`; there, the arrow keys move and Enter selects. So they do in a figure whose `layout.meta.pick` says what a click does. Below the
chart, its table can be had as CSV and the figure as PNG and SVG.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import plotly

from xmr.cache import cache_folder
from xmr.disk import CannotSave, write
from xmr.figures import DARK
from xmr.ui.components import HERE, script, style

PLOTLY = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
# A wish of V8's: compile all while it comes, beside the page. Function by function as they are called, which is usual,
# holds the page up for 0.6 to 0.9 s instead of 0.1 to 0.2 (Chromium 156, 2 cores). Other browsers read a comment.
WISH = b"//# allFunctionsCalledOnLoad\n"
LIBRARY = (HERE / "plotly_library.js").read_text()


def library() -> Path:
    """The file of plotly.js that pages load: a copy with that wish, in the cache; where none can be kept, plotly's own."""
    path = cache_folder() / "plotly" / f"plotly-{plotly.__version__}.min.js"
    if not path.is_file() or path.stat().st_size != PLOTLY.stat().st_size + len(WISH):
        try:
            write(path, WISH + PLOTLY.read_bytes())
        except CannotSave:
            return PLOTLY
    return path


def preload() -> str:
    """A script that fetches plotly.js while nothing else is to be done: the first tab with charts need not wait for it."""
    return f"""() => {{
  const settings = {json.dumps(_source())};
  {LIBRARY}
  (window.requestIdleCallback ?? setTimeout)(() => library().catch(() => {{}}));
}}"""


def _source() -> dict[str, str]:
    return {"library": f"gradio_api/file={library()}"}


def chart(
    figure: Any | None,
    words: str,
    table: tuple[Sequence[str], Sequence[Sequence[Any]]] | None = None,
) -> str:
    """The value of a `PlotlyChart`: a figure (None: nothing to draw) and, in words, what it shows.

    `table` (columns, rows) repeats the numbers for those who can't see the figure.
    """
    parts = {
        "figure": json.loads(figure.to_json()) if figure is not None else None,
        "words": words,
        "table": {"columns": list(table[0]), "rows": [list(map(str, row)) for row in table[1]]}
        if table
        else None,
    }
    return json.dumps(parts, separators=(",", ":")).replace("<", "\\u003c")


class PlotlyChart(gr.HTML):
    """`value` is made by `chart`; `name` is what the chart is called for those who can't see it."""

    def __init__(self, value: str | None = None, *, name: str, **props: Any):
        gr.set_static_paths([library()])
        # Part of the script, because a component that is updated before its tab was ever opened loses its own props.
        settings = {"name": name, "dark": DARK, **_source()}
        super().__init__(
            value=value,
            html_template=(
                "<figure class='chart'><figcaption aria-live='polite'></figcaption>"
                "<div class='plot' tabindex='-1'></div><div class='tools'></div>"
                "<p class='spoken' role='status' aria-live='polite'></p><details hidden><summary>Numbers</summary></details></figure>"
            ),
            css_template=style("plotly_chart"),
            js_on_load=f"const settings = {json.dumps(settings)};\n{LIBRARY}{script('plotly_chart')}",
            apply_default_css=False,
            **props,
        )

    def api_info(self) -> dict[str, Any]:
        return {"type": "string"}
