"""A button that uploads a picture and hands on where it lies."""

from __future__ import annotations

from typing import Any

import gradio as gr

from xmr.ui.said import refused


class PictureUpload(gr.UploadButton):
    """Gradio's own opens the file before anybody is asked, and leaves an empty one behind for each upload; here it is
    read once, by who takes it. That it lies in the folder of uploads, Gradio has checked by then."""

    is_template = True  # drawn by Gradio's own script

    @property
    def data_model(self) -> None:
        return None

    @data_model.setter
    def data_model(self, model: Any) -> None:
        """Gradio's model of a file, which is what opens it."""

    async def async_move_resource_to_block_cache(self, path: str | None) -> str | None:
        return path

    def preprocess(self, payload: Any) -> str | None:
        path = payload.get("path") if isinstance(payload, dict) else None
        if not isinstance(path, str):
            raise refused("An upload names one file.", title="Picture not used")
        return path
