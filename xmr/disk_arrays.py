"""NumPy arrays on disk: small ones in one sealed file, larger than memory, and such as take hours to make."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib.format import open_memmap, write_array_header_1_0
from safetensors import SafetensorError
from safetensors.numpy import load, save

from xmr.cache import cache_dir
from xmr.checksums import check_seal, sealed
from xmr.disk import Refused, parse_json, read, reserve, saving, sync, write

Arrays = dict[str, np.ndarray]

MAX_FILE = 4 << 30  # bytes of a file of arrays
MAX_WORDS = 1 << 20  # bytes of what is told beside an array
BLOCK = 1 << 20  # bytes hashed at once
SAVE_SECONDS = 5.0  # of work on an array that a killed process may lose


def save_arrays(path: Path, arrays: Arrays) -> None:
    """Writes arrays to one sealed file. Raises CannotSave."""
    write(path, sealed(save, {key: np.ascontiguousarray(array) for key, array in arrays.items()}))


def saved_arrays(path: Path) -> Arrays | None:
    """What `save_arrays` wrote; None, with a warning, where that is broken, and where there is nothing."""
    if not path.exists():
        return None
    try:
        content = read(path, MAX_FILE)
        check_seal(path, content)
        return load(content)
    except (Refused, SafetensorError, ValueError, KeyError) as error:
        warnings.warn(f"{path} is not used, and made anew: {error}", stacklevel=2)
        return None


def zeros_on_disk(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Zeros in a file of the cache that has no name and vanishes with the array; its space is taken. Raises CannotSave."""
    folder = cache_dir("frames")
    with saving(folder), tempfile.TemporaryFile(dir=folder) as file:
        reserve(file, math.prod(shape) * np.dtype(dtype).itemsize)
        return np.memmap(file, dtype, "w+", shape=shape)


_known: set[tuple[str, int, int, int]] = set()  # arrays that this process has checked


def resumable_array(
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
    found = whole_array(path, rows)
    if found is not None:
        return found
    part = path.with_suffix(".part")
    begun = _vouched(part, rows, 1, "can't be gone on with, and is begun anew") if part.exists() else None
    array, done, known = begun or (None, 0, hashlib.sha256())
    report(done, rows)
    saved, whole = time.monotonic(), done
    file = part.open("r+b" if done else "wb")
    try:
        for begin in range(done, rows, step):
            stop = min(begin + step, rows)
            batch = np.ascontiguousarray(compute(begin, stop, array))
            with saving(part):
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
    with saving(path):
        os.replace(part, path)
        sync(path.parent)
    _known.add(_state(path))
    return open_memmap(path, mode="r")


def whole_array(path: Path, rows: int) -> np.ndarray | None:
    """The array (rows, …) that `resumable_array` made at `path`, memory-mapped; None where it is not there, not whole or altered."""
    if not path.exists():
        return None
    if _state(path) in _known:
        return open_memmap(path, mode="r")
    found = _vouched(path, rows, rows, "is not used, and made anew")
    if found is None:
        return None
    _known.add(_state(path))
    return found[0]


def _tell(file: BinaryIO, path: Path, rows: int, array: np.ndarray, sha256: str) -> None:
    """Writes down how many rows are done; they are on the disk before it."""
    with saving(path):
        os.fsync(file.fileno())
    about = {"rows": rows, "shape": array.shape, "type": array.dtype.str, "sha256": sha256}
    write(path.with_suffix(".json"), json.dumps(about))


def _vouched(path: Path, rows: int, least: int, otherwise: str) -> tuple[np.ndarray, int, Any] | None:
    """The array of so many rows in that file, how many of them, `least` or more, are as they were written, and the hash of
    these so far; None, with a warning that says what it is `otherwise`, where that is not so."""
    try:
        about, array = _about(path), open_memmap(path, mode="r")
        if (about["shape"], about["type"]) != (list(array.shape), array.dtype.str) or len(array) != rows:
            raise ValueError(f"{about} was written, not {rows} rows of {array.shape} {array.dtype.str}")
        if not least <= about["rows"] <= rows:
            raise ValueError(f"{about['rows']} rows of {rows}")
        known = _hashed(array, about["rows"])
        if known.hexdigest() != about["sha256"]:
            raise ValueError("its SHA-256 is not the one that it was written with")
        return array, about["rows"], known
    except (OSError, ValueError, KeyError, TypeError) as error:
        warnings.warn(f"{path} {otherwise}: {error}", stacklevel=4)
        return None


def _about(path: Path) -> dict[str, Any]:
    path = path.with_suffix(".json")
    about = parse_json(read(path, MAX_WORDS), path.name)
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
