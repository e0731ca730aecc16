"""What the page says in a corner. Gradio draws such messages as HTML, and they name what anyone may have typed, or put into
a link, a file's name or a caption: so they are escaped here, and the page makes them
nowhere else."""

from __future__ import annotations

from html import escape

import gradio as gr


def refused(text: str, title: str = "Not done") -> gr.Error:
    """An error to raise: what can't be done, and why."""
    return gr.Error(escape(text, quote=False), title=title, print_exception=False)


def warn(text: str, title: str) -> None:
    """Says what was left out; stays until it is closed. (Gradio 6.31's page leaves out titles of warnings.)"""
    gr.Warning(escape(f"{title}: {text}", quote=False), duration=None)
