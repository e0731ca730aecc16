"""Pictures of a folder: checked once, opened when asked for, never from outside the folder."""

from __future__ import annotations

import contextlib
import hashlib
import io
import ntpath
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps

from xmr.data.dataset import DataFault

if TYPE_CHECKING:  # items.py knows of splits and rows, of which pictures need nothing
    from xmr.data.items import Item

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 25_000_000
# No 32-bit float or LAB pictures: what is black and white in them only their maker knows.
MODES = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "I"}
MAX_JPEG = (
    120_000_000  # pixels of a JPEG that is read at a fraction of its size, as large as phones make them
)
MAX_SIDE = 500_000  # pixels; a line of 25 million would take 17 s and 700 MB, since each row costs by itself
SMALL = 256 * 256  # pixels; decoding fewer takes 0.5 ms at most
TINY = 64 * 64  # pixels; of pictures in shards, of which there are many, only those are decoded in full
STRIP = 2**20  # pixels that are made smaller at once
ENDS = 4096  # bytes at either end of a file that go into the fingerprint


class BadPicture(ValueError):
    """A picture that can't be used; `kind` is what such faults are counted under."""

    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind


class Pictures(Sequence[Image.Image]):
    """The pictures `names` of `root` as RGB images, each decoded when asked for; a name "" stands for one that is not there.

    Indexing raises DataFault, naming the file, where a picture has become unreadable since it was checked.
    """

    def __init__(self, root: str | Path, names: Sequence[str]):
        self.root, self.names = os.path.realpath(root), list(names)

    def __len__(self) -> int:
        return len(self.names)

    def lacks(self, index: int) -> bool:
        """Whether there is no picture of that name."""
        return not self.names[index]

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Pictures(self.root, self.names[index])
        if self.lacks(index):
            raise DataFault(f"{self.root}: there is no picture for row {index} of the split")
        path = inside(self.root, self.names[index])
        try:
            return decode(path)
        except BadPicture as error:
            raise DataFault(f"{path}: {error}") from error

    def content(self, index: int) -> bytes:
        """All bytes of a file."""
        return Path(inside(self.root, self.names[index])).read_bytes()


class Files:
    """The pictures of a folder, each the file that its item's id names (see `items.Store`)."""

    noun = "picture"

    def __init__(self, root: str | Path):
        self.root = os.path.realpath(root)

    def path(self, item: Item) -> str:
        """Where the file lies. Raises DataFault, with the row, where that is outside the folder."""
        try:
            return inside(self.root, item.id)
        except DataFault as error:
            raise DataFault(f"{item.row}: {error}") from error

    def check(self, item: Item, thorough: bool) -> bytes:
        return check(self.path(item), thorough)

    def glance(self, item: Item) -> bytes:
        path = self.path(item)
        if not os.path.isfile(path):
            return b""
        try:
            with open(path, "rb") as file:
                return content(file, os.fstat(file.fileno()).st_size)
        except OSError:
            return b""

    def visuals(self, items: Sequence[Item]) -> Pictures:
        return Pictures(self.root, [item.id for item in items])


class Blobs(Sequence[Image.Image]):
    """Pictures that lie within larger files, as RGB images, each decoded when asked for: `read(place)` gives the bytes.

    Indexing raises DataFault, naming the picture, where it has become unreadable since it was checked.
    """

    def __init__(self, read: Callable[[Any], bytes], places: Sequence[Any], names: Sequence[str]):
        self.read, self.places, self.names = read, places, names

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.part(index)
        try:
            return self.decoded(self.content(index))
        except BadPicture as error:
            raise DataFault(f"{self.names[index]}: {error}") from error

    def part(self, index: slice) -> Blobs:
        return Blobs(self.read, self.places[index], self.names[index])

    def decoded(self, data: bytes) -> Any:
        return decode(io.BytesIO(data))

    def content(self, index: int) -> bytes:
        """All bytes of a picture."""
        return self.read(self.places[index])


class Packed:
    """Pictures that lie within larger files, each where its item's `place` says (see `items.Store`).

    `read(place)` gives the bytes, and raises BadPicture where there are none.
    """

    noun = "picture"

    def __init__(self, read: Callable[[Any], bytes]):
        self.read = read

    def check(self, item: Item, thorough: bool) -> bytes:
        return _digest(self.evidence(self.read(item.place), thorough))

    def evidence(self, data: bytes, thorough: bool) -> bytes:
        return _checked(io.BytesIO(data), len(data), thorough, TINY)

    def glance(self, item: Item) -> bytes:
        try:
            data = self.read(item.place)
        except BadPicture:
            return b""
        return _digest(content(io.BytesIO(data), len(data)))

    def visuals(self, items: Sequence[Item]) -> Blobs:
        return Blobs(self.read, [item.place for item in items], [str(item.row) for item in items])


def _digest(evidence: bytes) -> bytes:
    """In place of 8 KB, of which a million would not fit."""
    return hashlib.blake2b(evidence, digest_size=16).digest()


def relative(name: str) -> str:
    """`name` without "./" and "//", so that a file has one name. Raises DataFault where it could lead elsewhere."""
    parts = name.replace("\\", "/").split("/")
    if os.path.isabs(name) or ntpath.splitdrive(name)[0] or ".." in parts or "\0" in name:
        raise DataFault(f"{name!r} leads out of the folder; name files relative to it, without '..'")
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def read_file(root: str, name: str) -> bytes:
    """The content of a file below `root`, itself a real path, as a stranger's table names it. Raises BadPicture."""
    try:
        path = inside(root, relative(name).replace("\\", "/"))
    except DataFault as error:
        raise BadPicture("pictures outside the folder", str(error)) from error
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for ever
            raise BadPicture("unreadable pictures", "not a regular file")
        return Path(path).read_bytes()
    except OSError as error:
        raise BadPicture("missing pictures", f"{error.strerror or error}") from error


def inside(root: str, name: str) -> str:
    """The real path of the file `name` under `root`, itself a real path. Raises DataFault where it leads out.

    In the cache of the Hugging Face Hub, a snapshot's files are links to the blobs of the same repository.
    """
    real = os.path.realpath(os.path.join(root, name))
    if not real.startswith(root.rstrip(os.sep) + os.sep) and os.path.dirname(real) != _blobs(root):
        raise DataFault(f"{name!r} is a link to {real}, outside {root}; copy the file in instead")
    return real


def _blobs(root: str) -> str | None:
    """Where a snapshot of the Hub's cache, REPOSITORY/snapshots/REVISION/…, keeps its files; None if `root` is none."""
    repository, snapshots, inner = root.rpartition(f"{os.sep}snapshots{os.sep}")
    return os.path.join(repository, "blobs") if snapshots and inner else None


def check(path: str, thorough: bool) -> bytes:
    """Evidence of the file's content (its size and both ends), if it is a picture that can be used.

    Small pictures are decoded in full, and so are all if `thorough`. Of a large one, only a part is read: PNG has
    check sums; a JPEG that ends as it should was not cut off; any other is decoded. Raises BadPicture.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise BadPicture("missing pictures", f"{error.strerror or error}") from error
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
        raise BadPicture("unreadable pictures", "not a regular file")
    try:
        with open(path, "rb") as file:
            return _checked(file, status.st_size, thorough)
    except OSError as error:  # of the file, not of what is in it
        raise _unreadable(error) from error


def _checked(file: BinaryIO, size: int, thorough: bool, small: int = SMALL) -> bytes:
    try:
        evidence = content(file, size)
        with _opened(file) as image:
            if _scaled(image):  # read as opaque before, so features of it are made anew
                evidence += b"tRNS"
            if thorough or image.width * image.height <= small:
                image.load()
            elif image.format == "PNG":
                image.verify()
            elif not (image.format == "JPEG" and evidence.rstrip(b"\0").endswith(b"\xff\xd9")):
                image.load()
    except BadPicture:
        raise
    except Exception as error:  # decoders raise nearly anything on foreign bytes: struct.error, IndexError …
        raise _unreadable(error) from error
    return evidence


def content(file: BinaryIO, size: int) -> bytes:
    """Evidence of what is in a file of `size` bytes: the size and both ends. Leaves the file at its start."""
    head = file.read(ENDS)
    file.seek(max(len(head), size - ENDS))
    tail = file.read(ENDS)
    file.seek(0)
    return size.to_bytes(8, "little") + head + tail


def decode(source: str | BinaryIO) -> Image.Image:
    """The picture of a path or file as RGB, upright as its EXIF says, transparency on white. Raises BadPicture."""
    try:
        with _opened(source) as image:
            return _flat(image)
    except BadPicture:
        raise
    except Exception as error:  # as in `check`
        raise _unreadable(error) from error


def decode_small(path: str, side: int) -> Image.Image:
    """As `decode`, at most `side` pixels on each side, without ever holding the whole picture twice.

    A picture of 25 megapixels takes 100 MB then. A JPEG is read at a fraction of its size where that is enough, so it may
    have up to `MAX_JPEG` pixels. Raises BadPicture.
    """
    try:
        with open(path, "rb") as file, _opened(file, side) as image:
            return _shrunk(image, side)
    except BadPicture:
        raise
    except OSError as error:
        if error.errno is not None:  # of the file, not of what is in it
            raise BadPicture("missing pictures", f"{error.strerror}") from error
        raise _unreadable(error) from error
    except Exception as error:  # as in `check`
        raise _unreadable(error) from error


def _shrunk(image: Image.Image, side: int) -> Image.Image:
    """Reduced by a whole number strip by strip, which is exact, then resampled to `side`."""
    clear = _scaled(image)
    image.load()
    if clear is not None:
        image.info["transparency"] = clear
    (width, height), factor = image.size, max(1, max(image.size) // (2 * side))
    rows = max(1, STRIP // (width * factor)) * factor
    small = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    for top in range(0, height, rows):
        strip = _pixels(image.crop((0, top, width, min(top + rows, height))), clear)
        small.paste(strip.reduce(factor), (0, top // factor))
    with contextlib.suppress(Exception):  # as in `_flat`
        small.getexif()[ExifTags.Base.Orientation] = image.getexif()[ExifTags.Base.Orientation]
        small = ImageOps.exif_transpose(small)
    small.thumbnail((side, side))
    return small


def _opened(source: Any, side: int = 0) -> Image.Image:
    """The picture, its pixels unread; with `side`, a JPEG at the smallest fraction of its size that is not below it."""
    try:
        image = Image.open(source, formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadPicture("oversized pictures", f"{error}") from error
    # A progressive one is held whole while it is read, whatever the fraction.
    if side and not image.info.get("progressive") and image.width * image.height <= MAX_JPEG:
        image.draft(None, (side, side))
    if image.width * image.height > MAX_PIXELS:
        size = f"{image.width} × {image.height}"
        image.close()
        raise BadPicture(
            "oversized pictures", f"{size} pixels, more than {MAX_PIXELS // 10**6} million; scale it down"
        )
    if max(image.size) > MAX_SIDE:
        size = f"{image.width} × {image.height}"
        image.close()
        raise BadPicture("oversized pictures", f"{size} pixels, a side of more than {MAX_SIDE:,}; cut it")
    if image.mode not in MODES and not image.mode.startswith("I;16"):
        image.close()
        raise BadPicture("unreadable pictures", f"pixels of type {image.mode!r}; save it as RGB")
    return image


def _unreadable(error: Exception) -> BadPicture:
    reason = str(error).split(" <_io", 1)[0] or type(error).__name__
    return BadPicture("unreadable pictures", f"not readable as {', '.join(FORMATS)} ({reason})")


def _scaled(image: Image.Image) -> Any:
    """The grey or colour that means transparent in a PNG of 2, 4 or 16 bits, in the pixels' values as Pillow gives them;
    Pillow tells it as the file does. None for all other pictures."""
    clear, bits = image.info.get("transparency"), image.tile[0].args if image.tile else None
    if image.format != "PNG" or clear is None:
        return None
    if bits in ("L;2", "L;4"):
        return clear * (85 if bits == "L;2" else 17)
    if bits == "RGB;16B":
        return tuple(value >> 8 for value in clear)
    return clear if image.mode.startswith("I") else None


def _flat(image: Image.Image) -> Image.Image:
    clear = _scaled(image)
    image.load()
    if clear is not None:
        image.info["transparency"] = clear
    with contextlib.suppress(Exception):  # broken EXIF in a good picture: then it stands as it lies
        image = ImageOps.exif_transpose(image)
    return _pixels(image, clear)


def _pixels(image: Image.Image, clear: Any) -> Image.Image:
    """The picture as RGB on white; `clear` is the transparent value of its grey where that has 16 bits."""
    if image.mode.startswith("I"):  # 16 bits of grey, which convert() would clip to white
        values = np.asarray(image).astype(np.int64)
        grey = np.clip(values, 0, 65535) >> 8
        if clear is not None:
            grey[values == clear] = 255
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    return on_white(image)


def on_white(image: Image.Image) -> Image.Image:
    """The picture as RGB, what is transparent white."""
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        white.alpha_composite(rgba)
        return white.convert("RGB")
    return image.convert("RGB")
