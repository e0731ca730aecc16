"""Variables of numbers in a MATLAB file of version 5 (save -v6 and -v7), every length checked before it is believed.

scipy.io.loadmat reads more, but a damaged file can crash it (version 1.17.1 does), and the process with it. Sparse,
complex and logical arrays, text, cells, structures and objects are not read.
Reference: MAT-File Format, The MathWorks, chapter 1, "Level 5 MAT-File Format".
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xmr.data.dataset import DataFault
from xmr.registry import unknown

HEADER = 128  # bytes before the first element
MATRIX, COMPRESSED = 14, 15  # types of elements
TYPES = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}  # as stored
CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
COMPLEX_OR_LOGICAL = 0x0A00
ABOUT = 1 << 12  # bytes that hold a variable's class, shape and name
MAX_BYTES = 1 << 30  # of one variable: a small file can claim to hold any number of zeros


@dataclass(frozen=True)
class _Variable:
    element: bytes | memoryview  # as it lies in the file
    compressed: bool
    shape: tuple[int, ...]
    dtype: np.dtype


class MatFile:
    """The file's variables of real numbers; values are read when asked for. Raises DataFault where it is none."""

    def __init__(self, path: Path):
        self.path = path
        try:
            data = memoryview(path.read_bytes())
            self.order = {b"IM": "<", b"MI": ">"}.get(bytes(data[HEADER - 2 : HEADER]), "")
            if not self.order or struct.unpack(f"{self.order}H", data[HEADER - 4 : HEADER - 2]) != (0x0100,):
                raise ValueError("it does not begin as one of version 5 does")
            self._variables = dict(self._elements(data))
        except (OSError, ValueError, struct.error, zlib.error) as error:
            raise self._unreadable(error) from error

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: variable.shape for name, variable in self._variables.items()}

    def read(self, name: str) -> np.ndarray:
        """The values of one variable. Raises DataFault where it is not there, damaged, or larger than 1 GiB."""
        if name not in self._variables:
            raise DataFault(f"{self.path}: {unknown('variable of numbers', name, sorted(self._variables))}")
        variable = self._variables[name]
        if math.prod(variable.shape) * 8 > MAX_BYTES:
            raise DataFault(f"{self.path}: {name} is {variable.shape}, more than {MAX_BYTES >> 30} GiB")
        try:
            body = variable.element
            if variable.compressed:
                body = _inflated(body, ABOUT + math.prod(variable.shape) * 8)
            values = self._values(memoryview(body)[8:], variable)
        except (ValueError, struct.error, zlib.error) as error:
            raise self._unreadable(error, name) from error
        with np.errstate(
            invalid="ignore", over="ignore"
        ):  # what is stored is to fit its class; else it is nonsense
            return values.reshape(variable.shape, order="F").astype(variable.dtype)

    def _elements(self, data: memoryview) -> Iterator[tuple[str, _Variable]]:
        """Name and variable of each element of numbers."""
        start = HEADER
        while start < len(data):
            kind, size = struct.unpack(f"{self.order}II", data[start : start + 8])
            stop = start + 8 + size
            if stop > len(data):
                raise ValueError(f"it is cut off: {stop - len(data)} bytes are missing")
            if kind == COMPRESSED:
                about = memoryview(_inflated(data[start + 8 : stop], ABOUT))
                inner = struct.unpack(f"{self.order}I", about[:4])[0]
                found = self._about(about[8:]) if inner == MATRIX else None
                element = data[start + 8 : stop]
            else:
                found = self._about(data[start + 8 : stop]) if kind == MATRIX else None
                element = data[start:stop]
            if found is not None:
                name, shape, dtype = found
                yield name, _Variable(element, kind == COMPRESSED, shape, dtype)
            start = stop

    def _about(self, body: memoryview) -> tuple[str, tuple[int, ...], np.dtype] | None:
        """Name, shape and type of a matrix; None where it is none of real numbers."""
        flags, body = self._part(body)
        dims, body = self._part(body)
        name, _ = self._part(body)
        if len(flags) < 4 or len(dims) % 4:
            raise ValueError("a variable without a class or a shape")
        flag = struct.unpack(f"{self.order}I", flags[:4])[0]
        shape = struct.unpack(f"{self.order}{len(dims) // 4}i", dims)
        if flag & 0xFF not in CLASSES or flag & COMPLEX_OR_LOGICAL:
            return None
        if len(shape) < 2 or min(shape) < 0:
            raise ValueError(f"a variable of the shape {shape}")
        return bytes(name).decode("latin-1"), shape, np.dtype(CLASSES[flag & 0xFF])

    def _values(self, body: memoryview, variable: _Variable) -> np.ndarray:
        for _ in range(3):  # class, shape, name
            _, body = self._part(body)
        kind = self._kind(body)
        values, _ = self._part(body)
        if kind not in TYPES:
            raise ValueError(f"numbers of the unknown type {kind}")
        numbers = np.frombuffer(values, np.dtype(self.order + TYPES[kind]))
        if len(numbers) != math.prod(variable.shape):
            raise ValueError(f"{len(numbers)} numbers for the shape {variable.shape}")
        return numbers

    def _kind(self, data: memoryview) -> int:
        """Type of the part at the beginning of `data`, which is the lower half where the part is a small one."""
        kind = struct.unpack(f"{self.order}I", data[:4])[0]
        return kind & 0xFFFF if kind >> 16 else kind

    def _part(self, data: memoryview) -> tuple[memoryview, memoryview]:
        """The bytes of the part at the beginning of `data`, and what is behind it."""
        kind, size = struct.unpack(f"{self.order}II", data[:8])
        if kind >> 16:  # small: its size stands beside its type, and its bytes where the size would
            if kind >> 16 > 4:
                raise ValueError("a small part of more than 4 bytes")
            return data[4 : 4 + (kind >> 16)], data[8:]
        if 8 + size > len(data):
            raise ValueError(f"it is cut off: {8 + size - len(data)} bytes are missing")
        return data[8 : 8 + size], data[8 + size + -size % 8 :]

    def _unreadable(self, error: Exception, name: str = "") -> DataFault:
        what = f"{self.path} ({name})" if name else f"{self.path}"
        return DataFault(
            f"{what}: not readable as a MATLAB file ({error}); save it anew with save -v7 or scipy.io.savemat"
        )


def _inflated(data: bytes | memoryview, most: int) -> bytes:
    """Up to `most` bytes of what was compressed, so that a small file can't fill the memory."""
    return zlib.decompressobj().decompress(data, most)
