"""Gradio, the page's host, as `gr`: imported without what only those who write for it need."""

from __future__ import annotations

import atexit
import inspect
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# Read when gradio is imported; set here too, so that no importer can come before app.py's own setting.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
# A folder of our own for what visitors upload: what is counted and deleted there is nobody else's. Gradio reads that too when it
# is imported, for what agents send and for folders of its own.
UPLOADS_FOLDER = tempfile.mkdtemp(prefix="xmr-uploads-", dir=os.environ.get("GRADIO_TEMP_DIR"))
os.environ["GRADIO_TEMP_DIR"] = UPLOADS_FOLDER
atexit.register(shutil.rmtree, UPLOADS_FOLDER, ignore_errors=True)


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

__all__ = ["UPLOADS_FOLDER", "gr"]
