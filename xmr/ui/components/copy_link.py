"""A button that copies the address of what is shown."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from xmr.ui.components import script, style


class CopyLink(gr.HTML):
    """`.copy` is triggered by a click; what listens calls `window.xmrCopy(query)` in the browser. `base` is the address
    before the query, "" for the page's own."""

    def __init__(self, base: str = "", **props: Any):
        super().__init__(
            value="",
            html_template="<button type='button' class='copy'>Copy link</button><span role='status' aria-live='polite'></span>",
            css_template=style("copy_link"),
            js_on_load=f"const base = {json.dumps(base)};\n{script('copy_link')}",
            apply_default_css=False,
            **props,
        )
