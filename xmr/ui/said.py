"""What the page says in a corner. Gradio draws such messages as HTML, and they name what anyone may have typed, or put into
a link, a file's name or a caption: so they are escaped here, and the page makes them
nowhere else, and paths of the server lose their folders."""

from __future__ import annotations

from html import escape

import gradio as gr

from xmr.workspace.public import public


def refused(text: str, title: str = "Not done") -> gr.Error:
    """An error to raise: what can't be done, and why."""
    return gr.Error(escape(public(text), quote=False), title=title, print_exception=False)


def failed(error: Exception) -> gr.Error:
    """An error to raise where something went wrong that nobody thought of; the server's log has the whole of it."""
    words = f"This failed in the server ({type(error).__name__}); its log says where."
    return gr.Error(words, title="Not done", print_exception=True)


def warn(text: str, title: str) -> None:
    """Says what was left out; stays until it is closed. (Gradio 6.31's page leaves out titles of warnings.)"""
    gr.Warning(escape(public(f"{title}: {text}"), quote=False), duration=None)
