"""Where computed things are kept between runs: one folder, `XMR_CACHE` or ~/.cache/xmr."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """The cache itself, which need not be there yet."""
    return Path(os.environ.get("XMR_CACHE") or Path.home() / ".cache" / "xmr").absolute()


def cache_dir(*parts: str) -> Path:
    """The folder `parts` below the cache, made if need be."""
    path = cache_folder().joinpath(*parts)
    path.mkdir(parents=True, exist_ok=True)
    return path
