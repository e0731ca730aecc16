"""Pictures on their way in (uploaded by anyone) and out (thumbnails' addresses)."""

from __future__ import annotations

import base64
import io
import os
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from xmr.cache import KEPT, address, cache_folder
from xmr.workspace import Workspace
from xmr.workspace.uploads import Uploads, open_picture

__all__ = ["UPLOADS", "film", "gallery_picture", "inline", "open_picture", "path_of", "picture"]

UPLOADS = Uploads(lambda: os.environ.get("GRADIO_TEMP_DIR") or os.path.join(tempfile.gettempdir(), "gradio"))


def inline(image: Image.Image) -> str:
    """A small copy as a data address: an uploaded picture is shown without being served to anyone else."""
    small = image.copy()
    small.thumbnail((192, 192))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def picture(workspace: Workspace, split: str, visual: int) -> str | None:
    """Address of a thumbnail, relative to the page so that it works below any path."""
    return _address(workspace.thumbnail(split, visual))


def gallery_picture(workspace: Workspace, split: str, index: int) -> str | None:
    """As `picture`, of an item of the second side; None where that side is texts."""
    return _address(workspace.gallery_thumbnail(split, index))


def film(workspace: Workspace, split: str, visual: int) -> dict[str, Any] | None:
    """Address of a clip's film strip and how many frames it has; None where there is nothing to play."""
    path = workspace.strip(split, visual)
    frames = 0 if path is None else _frames(path)
    return {"src": _address(path), "frames": frames} if frames > 1 else None


def enlarged(workspace: Workspace, split: str, small: str) -> str | None:
    """Address of the large picture of a thumbnail's address; None where that is none of the split's."""
    return _address(workspace.enlarged(split, path_of(small)))


def path_of(address: str) -> Path:
    """The file of an address that `picture` or `film` gave."""
    return cache_folder() / address.removeprefix(f"{KEPT}/")


def _address(path: Path | None) -> str | None:
    return None if path is None else address(path)


@lru_cache(maxsize=4096)
def _frames(strip: Path) -> int:
    with Image.open(strip) as image:
        return image.width // image.height
