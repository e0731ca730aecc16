"""Where computed things are kept between runs: one folder, `XMR_CACHE` or ~/.cache/xmr."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir(*parts: str) -> Path:
    """The folder `parts` below the cache, made if need be."""
    root = Path(os.environ.get("XMR_CACHE") or Path.home() / ".cache" / "xmr")
    path = root.joinpath(*parts)
    path.mkdir(parents=True, exist_ok=True)
    return path
