"""Tabs that are there when they are opened."""

from __future__ import annotations

import json
from collections.abc import Sequence

import gradio as gr

from xmr.ui.components import script

START = "() => { document.dispatchEvent(new Event('xmr-idle')); }"


class TabsAhead(gr.HTML):
    """Builds `tabs` that nobody has opened once `START` runs in the browser; draws nothing itself."""

    def __init__(self, tabs: Sequence[gr.Tab]):
        places = json.dumps([[one._id, one.elem_id] for one in tabs])
        super().__init__(
            value="", js_on_load=f"const tabs = {places};\n{script('tabs_ahead')}", padding=False
        )
