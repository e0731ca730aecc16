"""Where computed things are kept between runs: one folder, `XMR_CACHE` or ~/.cache/xmr."""

from __future__ import annotations

import os
from pathlib import Path

KEPT = "kept"  # what the addresses of its files begin with


def cache_folder() -> Path:
    """The cache itself, which need not be there yet."""
    return Path(os.environ.get("XMR_CACHE") or Path.home() / ".cache" / "xmr").absolute()


def cache_dir(*parts: str) -> Path:
    """The folder `parts` below the cache, made if need be."""
    path = cache_folder().joinpath(*parts)
    path.mkdir(parents=True, exist_ok=True)
    return path


def address(path: Path) -> str:
    """What a page calls a file of the cache: relative, so that it works below any path and tells nothing of the disk."""
    return f"{KEPT}/{path.relative_to(cache_folder()).as_posix()}"
