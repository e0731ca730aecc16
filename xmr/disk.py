"""Files that are whole or not there, whose content is known by its SHA-256, and that one process at a time writes.

What is read may be a stranger's: one look at the file that was opened decides what it is, and never more of it is read
than is allowed.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import math
import os
import re
import shutil
import socket
import stat
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock, Timeout
from numpy.lib.format import open_memmap, write_array_header_1_0
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as array_bytes

from xmr.cache import cache_dir

Arrays = dict[str, np.ndarray]

MAX_HEADER = 1 << 20  # bytes; a header of half a million tensors costs seconds and hundreds of megabytes
MAX_FILE = 4 << 30  # bytes of a file of tensors
BLOCK = 1 << 20  # bytes hashed at once
SAVE_SECONDS = 5.0  # of work on an array that a killed process may lose
# Controls, marks that turn the direction of the text around them, and halves of surrogate pairs.
HOSTILE = re.compile(
    "[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


class Refused(ValueError):
    """A file that is not what it has to be; the message names it and tells why."""


class CannotSave(OSError):
    """Something could not be written; what was there before is still there."""


class Held(ValueError):
    """Another process writes there; the message tells which."""


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
        with open(os.open(_target(path), flags), "rb") as file:
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


def _target(path: Path) -> Path:
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
        _telling(folder / next(iter(files)) if len(files) == 1 else folder),
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
        _sync(folder)


@contextmanager
def aside(path: Path) -> Iterator[Path]:
    """A free path beside `path`: the file or the folder that the block writes there takes the place of `path`, if the
    block ends without an error. Raises CannotSave."""
    temporary = _beside(path)
    with _telling(path), _removed(temporary):
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if temporary.is_dir():
            for one in temporary.rglob("*"):
                _sync(one)
            shutil.rmtree(path, ignore_errors=True)
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)


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
def _telling(path: Path) -> Iterator[None]:
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


def _sync(path: Path) -> None:
    # A rename reaches the disk with the folder's entry; Windows has no such call for folders.
    if os.name != "posix" and path.is_dir():
        return
    entry = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(entry)
    finally:
        os.close(entry)


# ---- one writer at a time ----------------------------------------------------------------------------------


@contextmanager
def holding(path: Path, wait: bool = False) -> Iterator[None]:
    """Keeps other processes (and threads) from writing `path` while the block runs; one that dies lets go of it.

    Raises Held where another has it; with `wait` that is a warning, and its end is awaited. Raises CannotSave.
    """
    # In the cache: beside `path` the file would have to stay.
    name = hashlib.sha256(str(path.absolute().resolve()).encode(errors="surrogateescape")).hexdigest()[:16]
    with _telling(path):
        folder = cache_dir("locks")
        lock, holder = FileLock(folder / f"{name}.lock", thread_local=False), folder / f"{name}.txt"
        try:
            lock.acquire(timeout=0)
        except Timeout:
            told = f"{path} is being written by {_who(holder)}"
            if not wait:
                raise Held(f"{told}; wait for it, or choose another place") from None
            warnings.warn(f"{told}; waiting for it", stacklevel=4)
            lock.acquire()
    try:
        since = datetime.now(timezone.utc).isoformat(timespec="seconds")
        with _telling(path):
            holder.write_text(
                f"process {os.getpid()} on {socket.gethostname()} since {since}", encoding="utf-8"
            )
        yield
    finally:
        with suppress(OSError):
            holder.unlink(missing_ok=True)
        lock.release()


def _who(holder: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        return holder.read_text(encoding="utf-8")[:200] or "another process"
    return "another process"


# ---- content that is known ---------------------------------------------------------------------------------


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def digest_of(path: Path) -> str:
    """SHA-256 of a file of any size."""
    known = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            known.update(block)
    return known.hexdigest()


def sealed(content: bytes) -> bytes:
    """A safetensors file with the SHA-256 of its tensors and of their names, shapes and types in its header."""
    header, data = _parts(content)
    header["__metadata__"] = {"sha256": _sum(header, data)}
    packed = json.dumps(header).encode()
    packed += b" " * (-len(packed) % 8)
    return b"".join([len(packed).to_bytes(8, "little"), packed, data])


def check_seal(content: bytes, name: str, needed: bool = True) -> None:
    """Raises Refused where a safetensors file is not what `sealed` made; one without a seal passes unless it is `needed`."""
    header, data = _parts(content, name)
    about = header.get("__metadata__")
    told = about.get("sha256") if isinstance(about, dict) else None
    if (needed or told is not None) and told != _sum(header, data):
        raise Refused(f"{name} was altered: its SHA-256 is not the one that it was written with")


def _parts(content: bytes, name: str = "it") -> tuple[dict[str, Any], memoryview]:
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or 8 + length > len(content) or length > MAX_HEADER:
        raise Refused(
            f"{name} is truncated or no safetensors file: a header of {length:,} bytes "
            f"(at most {MAX_HEADER:,}) in a file of {len(content):,}"
        )
    header = parse_json(content[8 : 8 + length], f"the header of {name}")
    if not isinstance(header, dict):
        raise Refused(f"the header of {name} is no list of tensors")
    return header, memoryview(content)[8 + length :]


def _sum(header: dict[str, Any], data: memoryview) -> str:
    tensors = {key: value for key, value in header.items() if key != "__metadata__"}
    known = hashlib.sha256(json.dumps(tensors, sort_keys=True).encode())
    known.update(data)
    return known.hexdigest()


def save_arrays(path: Path, arrays: Arrays) -> None:
    """Writes arrays to one sealed file. Raises CannotSave."""
    write(path, sealed(array_bytes({key: np.ascontiguousarray(array) for key, array in arrays.items()})))


def saved_arrays(path: Path) -> Arrays | None:
    """What `save_arrays` wrote; None, with a warning, where that is broken, and where there is nothing."""
    if not path.exists():
        return None
    try:
        content = read(path, MAX_FILE)
        check_seal(content, path.name)
        return load_arrays(content)
    except (Refused, SafetensorError, ValueError, KeyError) as error:
        warnings.warn(f"{path} is not used, and made anew: {error}", stacklevel=2)
        return None


def zeros_on_disk(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Zeros in a file of the cache that has no name and vanishes with the array; its space is taken. Raises CannotSave."""
    folder = cache_dir("frames")
    with _telling(folder), tempfile.TemporaryFile(dir=folder) as file:
        reserve(file, math.prod(shape) * np.dtype(dtype).itemsize)
        return np.memmap(file, dtype, "w+", shape=shape)


# ---- arrays that take hours --------------------------------------------------------------------------------

_known: set[tuple[str, int, int, int]] = set()  # arrays that this process has checked


def filled(
    path: Path,
    rows: int,
    compute: Callable[[int, int, np.ndarray | None], np.ndarray],
    report: Callable[[int, int], None],
    step: int,
) -> np.ndarray:
    """The array (rows, …) at `path`, an .npy file, memory-mapped; made `step` rows at a time where it is missing.

    `compute` gets where a step starts and stops, and the rows before it (None at the first step); `report` how many rows
    are done of how many. An interrupted one is gone on with. A file beside it, .json, tells rows, shape, type and
    SHA-256: they are checked once per process, and what differs is made anew, with a warning. For who holds its folder.
    Raises CannotSave, on a full disk before the work.
    """
    found = _opened(path, rows)
    if found is not None:
        return found
    part = path.with_suffix(".part")
    with _telling(part):
        done, known = _resumed(part, rows)
    report(done, rows)
    saved, whole, array = time.monotonic(), done, open_memmap(part, mode="r") if done else None
    file = part.open("r+b" if done else "wb")
    try:
        for begin in range(done, rows, step):
            stop = min(begin + step, rows)
            batch = np.ascontiguousarray(compute(begin, stop, array))
            with _telling(part):
                if array is None:
                    # Written, not mapped: on a full disk, writing to a map kills the process.
                    shape = (rows, *batch.shape[1:])
                    header = {"descr": batch.dtype.str, "fortran_order": False, "shape": shape}
                    write_array_header_1_0(file, header)
                    size = file.tell() + rows * batch[:1].nbytes
                    reserve(file, size)
                    file.truncate(size)
                    file.flush()
                    array = open_memmap(part, mode="r")
                    file.seek(array.offset)
                elif begin == done:
                    file.seek(array.offset + array[:done].nbytes)
                file.write(batch.data)
                file.flush()
            known.update(batch.data)
            whole = stop
            if time.monotonic() - saved > SAVE_SECONDS or stop == rows:
                _tell(file, path, whole, array, known.hexdigest())
                saved = time.monotonic()
            report(stop, rows)
    except BaseException:
        with suppress(OSError):
            part.unlink() if array is None else _tell(file, path, whole, array, known.hexdigest())
        raise
    finally:
        with suppress(OSError):  # what could not be written was told, and all else is on the disk
            file.close()
    del array  # Windows renames nothing that is mapped
    with _telling(path):
        os.replace(part, path)
        _sync(path.parent)
    _known.add(_state(path))
    return open_memmap(path, mode="r")


def _tell(file: BinaryIO, path: Path, rows: int, array: np.ndarray, sha256: str) -> None:
    """Writes down how many rows are done; they are on the disk before it."""
    with _telling(path):
        os.fsync(file.fileno())
    about = {"rows": rows, "shape": array.shape, "type": array.dtype.str, "sha256": sha256}
    write(path.with_suffix(".json"), json.dumps(about))


def _opened(path: Path, rows: int) -> np.ndarray | None:
    if not path.exists():
        return None
    try:
        array = open_memmap(path, mode="r")
        if _state(path) not in _known:
            about = _about(path)
            if (about["rows"], about["shape"], about["type"]) != (rows, list(array.shape), array.dtype.str):
                raise ValueError(f"{about} was written, not {array.shape} {array.dtype.str}")
            if _hashed(array, rows).hexdigest() != about["sha256"]:
                raise ValueError("its SHA-256 is not the one that it was written with")
            _known.add(_state(path))
        return array
    except (OSError, ValueError, KeyError, TypeError) as error:
        warnings.warn(f"{path} is not used, and made anew: {error}", stacklevel=4)
        return None


def _resumed(part: Path, rows: int) -> tuple[int, Any]:
    """How many rows of an interrupted array are as they were written, and the hash of these so far."""
    if part.exists():
        try:
            about, array = _about(part), open_memmap(part, mode="r")
            if (about["shape"], about["type"]) != ([rows, *array.shape[1:]], array.dtype.str):
                raise ValueError(f"it is {array.shape} {array.dtype.str}")
            if not 0 < about["rows"] <= rows:
                raise ValueError(f"{about['rows']} rows of {rows}")
            known = _hashed(array, about["rows"])
            if known.hexdigest() == about["sha256"]:
                return about["rows"], known
            raise ValueError("its SHA-256 is not the one that it was written with")
        except (OSError, ValueError, KeyError, TypeError) as error:
            warnings.warn(f"{part} can't be gone on with, and is begun anew: {error}", stacklevel=4)
    return 0, hashlib.sha256()


def _about(path: Path) -> dict[str, Any]:
    path = path.with_suffix(".json")
    about = parse_json(read(path, MAX_HEADER), path.name)
    if not isinstance(about, dict) or type(about.get("rows")) is not int:
        raise Refused(f"{path.name} tells no rows")
    return about


def _hashed(array: np.ndarray, rows: int) -> Any:
    known, step = hashlib.sha256(), max(1, BLOCK // max(array[:1].nbytes, 1))
    for start in range(0, rows, step):
        known.update(np.ascontiguousarray(array[start : min(start + step, rows)]).data)
    return known


def _state(path: Path) -> tuple[str, int, int, int]:
    about = path.stat()
    return str(path), about.st_ino, about.st_size, about.st_mtime_ns
