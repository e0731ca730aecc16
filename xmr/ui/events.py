"""How the page's events run."""

from typing import Any

import gradio as gr

# Said once: an event of the page is no endpoint of the API, and pure reading needs no turn in a queue.
EVENT: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}
# Encoders are heavy: two at a time, however many visitors there are.
ENCODE_LIMIT: dict[str, Any] = {"concurrency_id": "encode", "concurrency_limit": 2}


def quiet(app: gr.Blocks, place: gr.components.Component) -> None:
    """Lets what hidden progress is told of be one small component: Gradio tells all outputs that an event ever had, with
    every event, and copies the parts of each and of all that is in it, which took up to 400 ms."""
    for event in app.fns.values():
        if event.show_progress == "hidden":
            event.show_progress_on = [place]
