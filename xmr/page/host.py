"""Gradio, the page's host, as `gr`: imported without what only those who write for it need."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# Read when gradio is imported; set here too, so that no importer can come before app.py's own setting.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")


@contextmanager
def _without_stub_files() -> Iterator[None]:
    """Whenever Gradio is imported it writes, for editors, a stub file of each of its components, and parses two files for
    that: two fifths of its import. It leaves out classes that are in no file, and here none of its own is."""
    known: Callable[[Any], str] = inspect.getfile

    def getfile(thing: Any) -> str:
        if isinstance(thing, type) and thing.__module__.startswith("gradio."):
            raise OSError(f"{thing} is not looked for while gradio is imported")
        return known(thing)

    inspect.getfile = getfile
    try:
        yield
    finally:
        inspect.getfile = known


with _without_stub_files():
    import gradio as gr

__all__ = ["gr"]
