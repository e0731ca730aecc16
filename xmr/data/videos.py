"""Video files: looked at once, decoded when asked for, as a few small frames sampled evenly in time.

Decoded by FFmpeg through PyAV, in whose wheels it lies; torchcodec, which `datasets` decodes videos with, needs an
FFmpeg that the user installs. What is decoded is bounded before it begins: formats, size of a frame, duration, number
of frames and all pixels together. Playlists (m3u8 and the like) and links to other files are none of the formats,
since what they name could be any file or address.
"""

from __future__ import annotations

import io
import os
import stat
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from PIL import Image

from xmr.data import pictures
from xmr.data.dataset import DataFault
from xmr.data.pictures import BadPicture, content, inside, on_white

if TYPE_CHECKING:  # FFmpeg's libraries are loaded only where there are videos
    import av

    from xmr.data.items import Item

SUFFIXES = (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".gif")
FORMATS = "mov,matroska,webm,avi,gif"  # FFmpeg's names of what reads those
MAX_SECONDS = 600
MAX_FRAMES = 20_000
MAX_PIXELS = 9_000_000  # of a frame: 3840 × 2160 fits
MAX_WORK = 4_000_000_000  # pixels of all frames: three minutes of 1280 × 720, 10 s to decode or so
SMALL = 8_000_000  # pixels of all frames; decoding fewer takes some 30 ms


class BadVideo(BadPicture):
    """A video that can't be used; `kind` is what such faults are counted under."""


class Videos(Sequence[list[Image.Image]]):
    """The videos `names` of `root`, each as a list of `frames` RGB images of at most `size` pixels a side.

    Decoded when asked for. Indexing raises DataFault, naming the file, where a video can't be decoded.
    """

    def __init__(self, root: str | os.PathLike[str], names: Sequence[str], frames: int, size: int):
        self.root, self.names = os.path.realpath(root), list(names)
        self.frames, self.size = frames, size

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Videos(self.root, self.names[index], self.frames, self.size)
        path = inside(self.root, self.names[index])
        try:
            return decode(path, self.frames, self.size)
        except BadVideo as error:
            raise DataFault(f"{path}: {error}; replace the file or delete its row") from error

    def content(self, index: int) -> bytes:
        """All bytes of a file."""
        return Path(inside(self.root, self.names[index])).read_bytes()


class Files(pictures.Files):
    """The videos of a folder, each the file that its item's id names."""

    noun = "video"

    def __init__(self, root: str | os.PathLike[str], frames: int, size: int):
        super().__init__(root)
        self.frames, self.size = frames, size

    @property
    def parts(self) -> list[bytes]:
        """What the clips are besides the files' content."""
        return [f"{self.frames} frames of {self.size}".encode()]

    def check(self, item: Item, thorough: bool) -> bytes:
        return check(self.path(item), thorough)

    def visuals(self, items: Sequence[Item]) -> Videos:
        return Videos(self.root, [item.id for item in items], self.frames, self.size)


class Blobs(pictures.Blobs):
    """Videos that lie within larger files, each as a list of `frames` RGB images of at most `size` pixels a side, decoded
    when asked for: `read(place)` gives the bytes."""

    def __init__(
        self,
        read: Callable[[Any], bytes],
        places: Sequence[Any],
        names: Sequence[str],
        frames: int,
        size: int,
    ):
        super().__init__(read, places, names)
        self.frames, self.size = frames, size

    def part(self, index: slice) -> Blobs:
        return Blobs(self.read, self.places[index], self.names[index], self.frames, self.size)

    def decoded(self, data: bytes) -> list[Image.Image]:
        return decode(data, self.frames, self.size)


class Packed(pictures.Packed):
    """Videos that lie within larger files, each where its item's `place` says."""

    noun = "video"

    def __init__(self, read: Callable[[Any], bytes], frames: int, size: int):
        super().__init__(read)
        self.frames, self.size = frames, size

    parts = Files.parts

    def evidence(self, data: bytes, thorough: bool) -> bytes:
        return check(data, thorough)

    def visuals(self, items: Sequence[Item]) -> Blobs:
        places, names = [item.place for item in items], [str(item.row) for item in items]
        return Blobs(self.read, places, names, self.frames, self.size)


def check(source: str | bytes, thorough: bool) -> bytes:
    """Evidence of the content of a file, or of its bytes (the size and both ends), if it is a video that can be used.

    All its packets are read. Small videos are decoded in full, and so are all if `thorough`; of any other the first
    frame is. Raises BadVideo.
    """
    if isinstance(source, bytes):
        return _checked(source, io.BytesIO(source), len(source), thorough)
    path = source
    try:
        status = os.stat(path)
    except OSError as error:
        raise BadVideo("missing videos", f"{error.strerror or error}") from error
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
        raise BadVideo("unreadable videos", "not a regular file")
    with _faults(), open(path, "rb") as file:
        return _checked(path, file, status.st_size, thorough)


def _checked(source: str | bytes, file: BinaryIO, size: int, thorough: bool) -> bytes:
    if size == 0:
        raise BadVideo("empty videos", "0 bytes")
    with _faults():
        evidence = content(file, size)
        track = _track(source)
        if evidence[8:11] == b"GIF" and not evidence.rstrip(b"\0").endswith(b";"):  # it tells no duration
            raise BadVideo("unreadable videos", "cut off: a GIF ends with a semicolon")
        whole = thorough or track.frames * track.pixels <= SMALL
        for index, frame in enumerate(_decoded(source)):
            if index == 0:
                a, b, c, d = _matrix(frame)
                if a * d < b * c:  # mirrored, and shown only turned before: features of it are made anew
                    evidence += struct.pack("4d", a, b, c, d)
            if not whole:
                break
    return evidence


def decode(source: str | bytes, frames: int, size: int) -> list[Image.Image]:
    """`frames` RGB images of at most `size` pixels a side, transparency on white, upright as the video says.

    Frame k is the one shown at (k + ½) / `frames` of the duration, so a video of fewer frames shows some again.
    Raises BadVideo.
    """
    with _faults():
        track = _track(source)
        times = [track.start + (2 * k + 1) * track.length / (2 * frames) for k in range(frames)]
        found: list[Image.Image] = []
        shown = None
        for index, frame in enumerate(_decoded(source)):
            time = frame.pts if track.timed and frame.pts is not None else index
            if shown is not None and len(found) < frames and times[len(found)] < time:
                image = _small(shown, size)
                while len(found) < frames and times[len(found)] < time:
                    found.append(image)
            shown = frame
            if len(found) == frames:
                break
        return found + [_small(shown, size)] * (frames - len(found))


@dataclass(frozen=True)
class _Track:
    """What the packets of a video tell without decoding; start and length in ticks, or in frames if not `timed`."""

    start: int
    length: int
    timed: bool
    frames: int
    pixels: int  # of a frame


def _track(source: str | bytes) -> _Track:
    """Raises BadVideo where the video is over a limit, cut off, or has no frames."""
    stamps: list[int | None] = []
    end, last = 0.0, 0
    with _opened(source) as (container, stream):
        pixels = stream.codec_context.width * stream.codec_context.height
        if not pixels:  # FFmpeg opened no decoder
            limit = f"or is more than {MAX_PIXELS / 10**6:g} million pixels"
            raise BadVideo("unreadable videos", f"the size of its frames can't be read, {limit}; convert it")
        if pixels > MAX_PIXELS:
            size = f"{stream.codec_context.width} × {stream.codec_context.height}"
            raise _oversized(f"frames of {size} pixels, more than {MAX_PIXELS / 10**6:g} million")
        promised = (container.duration or 0) / 10**6 + max(container.start_time or 0, 0) / 10**6
        if promised > MAX_SECONDS:
            raise _oversized(f"{promised:.0f} s, more than {MAX_SECONDS}")
        for packet in container.demux():
            if packet.size and packet.pts is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream is not stream or not packet.size or packet.is_discard:
                continue
            stamps.append(packet.pts)
            if packet.pts is not None:
                last = max(last, packet.pts + (packet.duration or 1))
            if len(stamps) > MAX_FRAMES or len(stamps) * pixels > MAX_WORK:
                what = f"{MAX_FRAMES} frames" if len(stamps) > MAX_FRAMES else f"{MAX_WORK} pixels in all"
                raise _oversized(f"more than {what}")
        if end > MAX_SECONDS:
            raise _oversized(f"{end:.0f} s, more than {MAX_SECONDS}")
    if not stamps:
        raise BadVideo("empty videos", "no frames in it")
    if end < 0.9 * promised - 0.5:
        raise BadVideo("unreadable videos", f"cut off after {end:.1f} s of {promised:.1f} s")
    if None in stamps:
        return _Track(0, len(stamps), False, len(stamps), pixels)
    return _Track(min(stamps), last - min(stamps), True, len(stamps), pixels)


def _decoded(source: str | bytes) -> Iterator[av.VideoFrame]:
    """All frames in the order shown. Raises BadVideo where there is none."""
    count, work = 0, 0
    with _opened(source) as (container, stream):
        for frame in container.decode(stream):
            count, work = count + 1, work + frame.width * frame.height
            if count > MAX_FRAMES or work > MAX_WORK:  # more than the packets promised
                raise _oversized(f"{count} frames with {work} pixels")
            yield frame
    if not count:
        raise BadVideo("empty videos", "none of its frames can be decoded")


@contextmanager
def _opened(source: str | bytes) -> Iterator[tuple[Any, Any]]:
    """The container at a path, or in these bytes, and its first video stream."""
    import av

    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file", "max_pixels": str(MAX_PIXELS)}
    file = io.BytesIO(source) if isinstance(source, bytes) else f"file:{source}"
    with av.open(file, options=options, metadata_errors="replace") as container:
        if not container.streams.video:
            raise BadVideo("unreadable videos", "no video in it")
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1  # the caller has its own threads
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        yield container, stream


@contextmanager
def _faults() -> Iterator[None]:
    """Whatever FFmpeg or PyAV raises on foreign bytes, as BadVideo."""
    try:
        yield
    except BadVideo:
        raise
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise BadVideo("unreadable videos", f"not readable as {', '.join(SUFFIXES)} ({reason})") from error


def _oversized(what: str) -> BadVideo:
    return BadVideo("oversized videos", f"{what}; cut it or scale it down")


def _small(frame: av.VideoFrame, size: int) -> Image.Image:
    transparent = any(component.is_alpha for component in frame.format.components)
    image = Image.fromarray(frame.to_ndarray(format="rgba" if transparent else "rgb24"))
    image = on_white(image)
    image.thumbnail((size, size), reducing_gap=2)
    a, b, c, d = _matrix(frame)
    if abs(a) + abs(d) < abs(b) + abs(c):  # what lies along a row is shown along a column
        image = image.transpose(Image.Transpose.TRANSPOSE)
        a, d = c, b
    if a < 0:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if d < 0:
        image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    return image


def _matrix(frame: av.VideoFrame) -> tuple[float, ...]:
    """How a frame is to be shown: what is at (x, y) at (a x + c y, b x + d y), y downwards. ISO 14496-12, 6.2.2."""
    from av.sidedata.sidedata import Type

    found = frame.side_data.get(Type.DISPLAYMATRIX)
    if found is None:
        return 1, 0, 0, 1
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(found))
    return a, b, c, d
