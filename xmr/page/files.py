"""The small files that the page loads: its scripts and styles, plotly.js, thumbnails, maps. Their addresses are relative to the
page and name a folder of the cache by a word (`xmr.cache.address`), so that they work below any path and tell nothing of the
server's disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from xmr.cache import KEPT, cache_folder

KINDS = {  # by folder, what it may hold
    "page": {".js": "text/javascript", ".css": "text/css"},
    "plotly": {".js": "text/javascript"},
    "thumbnails": {".webp": "image/webp"},
    "maps": {".bin": "application/octet-stream"},
}


def routes() -> list[Mount]:
    """What the server needs to serve them."""
    return [Mount(f"/{KEPT}/{kind}", _Folder(kind)) for kind in KINDS]


class _Folder(StaticFiles):
    """One of the folders: regular files with the right ending; no link leads out of it."""

    def __init__(self, kind: str):
        own = [("plotly", "package_data")] if kind == "plotly" else []  # where no copy could be kept
        super().__init__(directory=cache_folder() / kind, packages=own, check_dir=False)
        self._types = KINDS[kind]

    async def check_config(self) -> None:
        """A folder that is not there yet holds nothing, which is no fault."""

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        return super().lookup_path(path) if Path(path).suffix in self._types else ("", None)

    def file_response(self, full_path: Any, *rest: Any, **more: Any) -> Response:
        answer = super().file_response(full_path, *rest, **more)
        answer.headers["Content-Type"] = self._types[Path(full_path).suffix]
        answer.headers["Cache-Control"] = "public, max-age=3600"
        answer.headers["X-Content-Type-Options"] = "nosniff"
        return answer
