"""Feature arrays: opened without reading them, never unpickled, checked row by row."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import numpy as np

from xmr.data.dataset import DataFault

DTYPES = (np.dtype("float16"), np.dtype("float32"))
CHUNK_BYTES = 1 << 25  # of features looked at in one go
HEAD_BYTES = 4096  # of a visual's


def open_features(path: Path) -> np.ndarray:
    """Features (N, D) or (N, T, D), fp16 or fp32, memory-mapped where the format permits (see `open_array`).

    In an .npz they are the member `features`, or the only one of two or three dimensions. Raises DataFault.
    """
    if path.suffix == ".npz":
        names = members(path)
        if "features" in names:
            names = ["features"]
        found = {name: open_array(path, name) for name in names if name != "names"}
        fitting = [name for name, array in found.items() if array.ndim in (2, 3)]
        if len(fitting) != 1 and names != ["features"]:
            shapes = ", ".join(f"{name} {array.shape}" for name, array in found.items())
            raise DataFault(
                f"{path}: no member 'features' (there are {shapes}); save as np.savez(path, features=…)"
            )
        features = found["features"] if "features" in found else found[fitting[0]]
    else:
        features = open_array(path)
    if features.ndim not in (2, 3) or 0 in features.shape:
        raise DataFault(f"{path}: features must be (N, D) or (N, T, D), found {features.shape}")
    if features.dtype not in DTYPES or not features.dtype.isnative:
        raise DataFault(
            f"{path}: features must be float16 or float32, found {features.dtype} ({features.dtype.str}); "
            'save them as array.astype("float32")'
        )
    return features


def only(folder: Path, files: list[Path], name: str, what: str, option: str) -> Path:
    """That of the `files` that is called `name`, or the only one where that is "". Raises DataFault, naming them and the
    `option`, where it is not clear which holds `what`."""
    found = [path for path in files if name in ("", path.name)]
    if len(found) != 1:
        which = f"no {name}" if name else f"several arrays could be the {what}" if found else f"no {what}"
        there = ", ".join(path.name for path in files) or "none"
        raise DataFault(f'{folder}: {which} (.npy and .npz files: {there}); name one with {option}="FILE"')
    return found[0]


def members(path: Path) -> list[str]:
    """Names of the arrays in an .npz. Raises DataFault where it is none."""
    try:
        _check_regular(path)
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    except Exception as error:  # as in `open_array`
        raise DataFault(f"{path}: not an .npz file ({error}); save it anew with np.savez") from error


def open_array(path: Path, member: str = "") -> np.ndarray:
    """The array of an .npy, or a member of an .npz, read-only.

    An .npy is memory-mapped, and so is a member that lies in its .npz uncompressed (np.savez), although numpy
    itself would read it. A compressed one (np.savez_compressed) can't be mapped: it is read into memory.
    Pickled arrays are refused, for they could run anything. Raises DataFault.
    """
    name = f"{path} ({member})" if member else f"{path}"
    try:
        _check_regular(path)
        if not member:
            return _mapped(path, 0)
        with zipfile.ZipFile(path) as archive:
            entry = archive.getinfo(f"{member}.npy")
            if entry.compress_type == zipfile.ZIP_STORED:
                return _mapped(path, _start(path, entry))
            with archive.open(entry) as file:
                return np.lib.format.read_array(file, allow_pickle=False)
    except Exception as error:  # damaged files raise nearly anything: TokenError, zlib.error, KeyError …
        if any(words in str(error) for words in ("pickled", "Object arrays", "Python objects")):
            reason = "an array of Python objects, which are never unpickled"
            remedy = "save plain numbers or strings: np.stack(rows).astype('float32')"
        else:
            reason, remedy = f"not readable ({error})", "save it anew"
        raise DataFault(f"{name}: {reason}; {remedy}") from error


def rows_of(features: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """`features[rows]`: a view, still memory-mapped, where the ascending `rows` are evenly spaced; else a copy."""
    steps = np.diff(rows)
    if len(steps) == 0 or (steps == steps[0]).all():
        return features[rows[0] : rows[-1] + 1 : steps[0] if len(steps) else 1]
    return features[rows]


def head(row: np.ndarray) -> bytes:
    """What a visual's features begin with, by which equal ones are kept in one split; b"" where that is padding alone."""
    first = np.ravel(row)[: HEAD_BYTES // row.itemsize]
    return first.tobytes() if first.any() else b""


def check_finite(features: np.ndarray, path: Path, rows: np.ndarray, names: list[str]) -> None:
    """Raises DataFault naming the first row with NaN or infinity; `rows` are the rows' numbers in the file."""
    step = max(1, CHUNK_BYTES // max(1, features[0].nbytes))
    for start in range(0, len(features), step):
        chunk = features[start : start + step]
        bad = ~np.isfinite(chunk.reshape(len(chunk), -1)).all(1)
        if bad.any():
            index = start + int(bad.argmax())
            what = "NaN" if np.isnan(features[index]).any() else "infinity"
            raise DataFault(
                f"{path}, row {rows[index]} ({names[index]}): {what} among the features; compute this row anew "
                "or take it out, with its captions"
            )


def _check_regular(path: Path) -> None:
    if path.exists() and not path.is_file():  # opening a pipe would wait for ever
        raise ValueError("no regular file")


def _mapped(path: Path, offset: int) -> np.ndarray:
    with path.open("rb") as file:
        file.seek(offset)
        version = np.lib.format.read_magic(file)
        if version > (2, 0):
            raise ValueError(f"unknown .npy version {version}")
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read(file)
        if dtype.hasobject:
            raise ValueError("Python objects")
        start = file.tell()
    if 0 in shape:  # nothing to map
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")


def _start(path: Path, entry: zipfile.ZipInfo) -> int:
    """Where an uncompressed member's bytes begin: behind its local header, whose length only itself tells."""
    with path.open("rb") as file:
        file.seek(entry.header_offset)
        header = file.read(30)
    name, extra = struct.unpack("<HH", header[26:30])
    return entry.header_offset + 30 + name + extra
