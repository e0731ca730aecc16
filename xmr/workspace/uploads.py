"""Pictures that visitors bring: read once, made small, and their files deleted."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

from PIL import Image

from xmr.data.pictures import BadPicture, decode_small
from xmr.limits import KEPT_BYTES
from xmr.turns import Turns

SIDE = 1024  # pixels; no encoder reads more
GONE = "This picture is no longer kept: upload it again."


def open_picture(path: str) -> Image.Image:
    """A picture from outside, read as a dataset's are (upright, on white), at most `SIDE` pixels on each side.

    Raises ValueError, in words for its owner.
    """
    try:
        return decode_small(path, SIDE)
    except BadPicture as error:
        raise ValueError(f"This picture could not be used: {error}.") from error


class Uploads:
    """The latest pictures from a folder of uploads, each known by its place in there, which its content names.

    One is decoded at a time, since a large one takes a hundred megabytes and more, and always by the same thread: what each
    thread frees, the C library keeps for that thread.
    """

    def __init__(self, folder: Callable[[], str | Path], kept: int = KEPT_BYTES.usual):
        self._folder, self._kept = folder, kept
        self._pictures: dict[str, Image.Image] = {}
        self._guard, self._turns = Lock(), Turns(1)
        self._reader = ThreadPoolExecutor(1, "pictures")

    def take(self, path: str) -> str:
        """Reads the uploaded file, deletes it, and returns the key of its picture.

        Raises ValueError where it is not in the folder, can't be read, or too many wait (`Busy`).
        """
        folder, real = os.path.realpath(self._folder()), os.path.realpath(path)
        if not real.startswith(folder + os.sep):
            raise ValueError("This file was not uploaded here.")
        key = os.path.relpath(real, folder)
        with self._turns:
            try:
                # Whoever uploads the same at the same time has its file read and deleted by another.
                image = self._pictures.get(key)
                if image is None and not os.path.exists(real):
                    raise ValueError(GONE)
                image = image or self._reader.submit(open_picture, real).result()
            finally:
                with contextlib.suppress(OSError):
                    os.unlink(real)
                    os.rmdir(os.path.dirname(real))
            with self._guard:
                self._pictures.pop(key, None)
                self._pictures[key] = image  # the latest is last
                while len(self._pictures) > 1 and sum(map(_bytes, self._pictures.values())) > self._kept:
                    self._pictures.pop(next(iter(self._pictures)))
        return key

    def picture(self, key: str) -> Image.Image:
        """The picture of that key, always the same object. Raises ValueError where it is no longer kept."""
        with self._guard:
            image = self._pictures.pop(key, None)
            if image is None:
                raise ValueError(GONE)
            self._pictures[key] = image
            return image


def _bytes(image: Image.Image) -> int:
    return image.width * image.height * 4  # Pillow's RGB has four bytes


def total(folder: str | Path, older: float = -1.0) -> int:
    """Bytes of all files in the folder; those last changed before the time `older` are deleted first."""
    held = 0
    for root, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(root, name)
            with contextlib.suppress(OSError):  # another one has just read and deleted it
                status = os.lstat(path)
                if status.st_mtime < older:
                    os.unlink(path)
                else:
                    held += max(status.st_size, 4096)
    return held
