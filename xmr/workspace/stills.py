"""Small pictures of a dataset's items, written once: stills, and film strips of clips."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageOps

from xmr.disk import aside

STILL_PX, LARGE_PX, FRAME_PX = 256, 1024, 128
MAX_FRAMES = 64  # of a strip; a longer clip shows evenly spaced ones


def still(image: Image.Image, side: int = STILL_PX) -> Image.Image:
    """A copy of at most `side` pixels on each side."""
    small = image.convert("RGB")
    small.thumbnail((side, side))
    return small


def film_strip(frames: Sequence[Image.Image]) -> Image.Image:
    """The frames side by side, each cut to its middle square: width / height of the strip is their number."""
    step = -(-len(frames) // MAX_FRAMES)
    frames = frames[::step]
    side = min(FRAME_PX, max(min(frame.size) for frame in frames))
    strip = Image.new("RGB", (side * len(frames), side))
    for place, frame in enumerate(frames):
        strip.paste(ImageOps.fit(frame.convert("RGB"), (side, side)), (side * place, 0))
    return strip


def write(image: Image.Image, path: Path) -> None:
    """Saves a picture as WebP."""
    with aside(path) as file:
        image.save(file, "WEBP", quality=90, method=2)
