"""Pictures on their way in (uploaded by anyone) and out (thumbnails' addresses)."""

from __future__ import annotations

import base64
import io
from functools import lru_cache

from PIL import Image, ImageOps

from xmr.workspace import Workspace

# A PNG of half a megabyte can decode to a gigabyte, so the header's size is judged before any pixel is read.
MAX_PIXELS = 25_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


@lru_cache(maxsize=16)
def open_picture(path: str) -> Image.Image:
    """A picture from outside, upright, RGB, at most 1,024 px wide or high.

    Raises ValueError, in words for its owner, where it is no picture, broken, or larger than 25 megapixels.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise ValueError(
                    f"This picture has {width:,} × {height:,} pixels; at most 25 megapixels are read. Scale it down."
                )
            upright = ImageOps.exif_transpose(image).convert("RGB")
            upright.thumbnail((1024, 1024))
            return upright
    except ValueError:
        raise
    # PIL raises many kinds of error on broken files, SyntaxError and struct.error among them.
    except Exception as error:
        raise ValueError(
            f"This file could not be read as a picture ({', '.join(FORMATS)}): it is damaged or of another kind."
        ) from error


def inline(image: Image.Image) -> str:
    """A small copy as a data address: an uploaded picture is shown without being served to anyone else."""
    small = image.copy()
    small.thumbnail((192, 192))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def picture(workspace: Workspace, split: str, visual: int) -> str | None:
    """Address of a thumbnail, relative to the page so that it works below any path."""
    path = workspace.thumbnail(split, visual)
    return None if path is None else f"gradio_api/file={path}"
