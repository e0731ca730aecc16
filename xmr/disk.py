"""Files that are whole or not there.

What is read may be a stranger's: one look at the file that was opened decides what it is, and never more of it is read
than is allowed.
"""

from __future__ import annotations

import errno
import glob
import json
import math
import os
import re
import shutil
import stat
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

# Controls, marks that turn the direction of the text around them, and halves of surrogate pairs.
HOSTILE = re.compile(
    "[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


class Refused(ValueError):
    """A file that is not what it has to be; the message names it and tells why."""


class CannotSave(OSError):
    """Something could not be written; what was there before is still there."""


# ---- reading -----------------------------------------------------------------------------------------------


def read(path: Path, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes.

    A link is followed within its folder, and from a snapshot of the Hub's cache to that cache's blobs. Raises Refused
    where the file is missing, unreadable, larger, no regular file, or elsewhere.
    """
    # Without O_NONBLOCK opening a pipe waits for its writer.
    flags = os.O_RDONLY
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, name, 0)
    try:
        with open(os.open(target(path), flags), "rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise Refused(f"{path.name} is no regular file")
            content = b"" if about.st_size > limit else file.read(about.st_size + 1)
    except FileNotFoundError as error:
        raise Refused(f"{path.name} is missing") from error
    except Refused:
        raise
    except (OSError, ValueError, RuntimeError) as error:  # a zero byte in the name, links in a circle
        raise Refused(f"{path.name} can't be read: {getattr(error, 'strerror', None) or error}") from error
    if about.st_size > limit:
        raise Refused(f"{path.name} has {about.st_size:,} bytes, more than the {limit:,} that are allowed")
    if len(content) != about.st_size:
        raise Refused(f"{path.name} is being written: it changes while it is read")
    return content


def target(path: Path) -> Path:
    """The file itself where `path` is a link, as `read` follows it. Raises Refused where it leads elsewhere."""
    if not path.is_symlink():
        return path
    folder, target = path.parent.resolve(), path.resolve()
    snapshots = next((above for above in folder.parents if above.name == "snapshots"), None)
    if target.is_relative_to(folder) or (snapshots and target.parent == snapshots.with_name("blobs")):
        return target
    raise Refused(f"{path.name} is a link that leads out of its folder; put the file itself there")


def parse_json(content: bytes, name: str) -> Any:
    """JSON whose numbers are finite and fit 64 bits, and whose texts can be written and shown. Raises Refused, with the
    line, where it is not."""

    def refuse(constant: str) -> None:
        raise Refused(f"{name} holds {constant[:20]}, which is no number")

    def whole(digits: str) -> int:
        if len(digits) > 20 or not -(2**63) <= int(digits) < 2**63:
            raise Refused(f"{name} holds a whole number of {len(digits):,} digits, which no 64 bits can")
        return int(digits)

    def real(digits: str) -> float:
        value = float(digits)
        return value if math.isfinite(value) else refuse(digits)

    try:
        found = json.loads(content.decode("utf-8"), parse_constant=refuse, parse_int=whole, parse_float=real)
    except UnicodeDecodeError as error:
        raise Refused(f"{name} is not UTF-8 text") from error
    except json.JSONDecodeError as error:
        raise Refused(f"{name} is not JSON: {error.msg} (line {error.lineno})") from error
    except RecursionError as error:
        raise Refused(f"{name} is nested too deeply") from error
    check_texts(found, name)
    return found


def check_texts(value: Any, name: str) -> None:
    """Raises Refused where a text in `value`, made of lists and dicts, can't be written as UTF-8 or turns what is shown
    beside it; `name` tells where it is from."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            if found := HOSTILE.search(one):
                raise Refused(
                    f"{name} holds the character U+{ord(found[0]):04X}, which is none to show or to write"
                )
        elif isinstance(one, dict):
            waiting.extend(one)
            waiting.extend(one.values())
        elif isinstance(one, list | tuple):
            waiting.extend(one)


def printable(text: str) -> str:
    """`text` with what can't be shown or written as \\u202e."""
    return HOSTILE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


# ---- writing -----------------------------------------------------------------------------------------------


def write(path: Path, content: bytes | str) -> None:
    """Writes a file, whole or not at all, text as UTF-8 with its ends of lines as they are. Raises CannotSave."""
    write_files(path.parent, {path.name: content.encode() if isinstance(content, str) else content})


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes all files or none: each to a temporary name and to disk, then all renamed in the given order.

    Raises CannotSave, with the reason, where the folder or the disk does not take them. A crash between two
    renames leaves old and new files together: give the file that vouches for the others last.
    """
    waiting = [(_beside(folder / name), folder / name) for name in files]
    with (
        saving(folder / next(iter(files)) if len(files) == 1 else folder),
        _removed(*(temporary for temporary, _ in waiting)),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        for (temporary, _), content in zip(waiting, files.values(), strict=True):
            with temporary.open("wb") as file:
                reserve(file, len(content))
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for temporary, final in waiting:
            os.replace(temporary, final)
        sync(folder)


@contextmanager
def aside(path: Path) -> Iterator[Path]:
    """A free path beside `path`: the file or the folder that the block writes there takes the place of `path`, if the
    block ends without an error. Raises CannotSave."""
    temporary = _beside(path)
    with saving(path), _removed(temporary):
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if temporary.is_dir():
            for one in temporary.rglob("*"):
                sync(one)
            shutil.rmtree(path, ignore_errors=True)
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)


def reserve(file: BinaryIO, size: int) -> None:
    """Takes the space of `size` bytes, so that a full disk is told before the work. Raises OSError."""
    # Windows and macOS have no such call; there writing tells. So do file systems that don't know it.
    if size and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
                raise


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")


def sweep(folder: Path, names: Iterable[str]) -> None:
    """Removes what processes that were killed had begun to write to files of these names; for who holds the folder."""
    for name in names:
        for left in folder.glob(f".{glob.escape(name)}.*tmp"):
            left.unlink(missing_ok=True)


@contextmanager
def saving(path: Path) -> Iterator[None]:
    """Raises CannotSave, naming `path`, for an OSError of the block."""
    try:
        yield
    except OSError as error:
        if isinstance(error, CannotSave):
            raise
        raise CannotSave(f"{path} could not be written: {error.strerror or error}") from error


@contextmanager
def _removed(*paths: Path) -> Iterator[None]:
    """What is still there of `paths` goes, however the block ends."""
    try:
        yield
    finally:
        for path in paths:
            with suppress(OSError):  # the folder itself is out of reach; the first error tells why
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Waits until a file or a folder's entries are on the disk."""
    # A rename reaches the disk with the folder's entry; Windows has no such call for folders.
    if os.name != "posix" and path.is_dir():
        return
    entry = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(entry)
    finally:
        os.close(entry)
