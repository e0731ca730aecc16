"""Records of a source, each with the place that it came from, and text files whose encoding is found.

Neither `datasets` nor pandas keeps a row's line number, and without it a fault in a file of 100,000 rows can't be
found; so tables and JSON lines are read here. Files are UTF-8, or UTF-16 or 32 with its mark.
"""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Any, NamedTuple

from xmr.data.dataset import DataFault

MARKS = {  # UTF-32's little mark begins with UTF-16's
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


class Row(NamedTuple):
    """One record. As a string, where a fault's message begins: "FILE, line N", or as `place` says for other sources."""

    file: Path
    line: int
    values: dict[str, Any]
    place: str = "line {}"

    def __str__(self) -> str:
        return f"{self.file}, {self.place.format(self.line)}"

    def text(self, column: str) -> str:
        """The value as a string; "" where there is none. Raises DataFault where it is a list or an object."""
        value = self.values.get(column)
        if isinstance(value, (list, dict)):
            raise DataFault(f"{self}: {column!r} must be one value, found a {type(value).__name__}")
        return "" if value is None else self.checked(str(value).strip(), column)

    def number(self, column: str, kind: type = int) -> Any:
        """The value as an int or float. Raises DataFault where it is none."""
        try:
            return kind(self.text(column))
        except ValueError as error:
            found = self.values.get(column)
            raise DataFault(f"{self}: {column!r} must be {kind.__name__}, found {found!r}") from error

    def checked(self, text: str, column: str) -> str:
        """`text`. Raises DataFault on half a surrogate pair, with which no file or page could be written."""
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError as error:
                what = f"half a surrogate pair at character {error.start} of {column!r}; write the whole character"
                raise DataFault(f"{self}: {what}") from error
        return text


def read_lines(path: Path) -> list[str]:
    """Lines of a text file, blank ones included: only the line feed that ends the last one begins no further line.

    Whoever pairs lines by position would be led astray by one cut off. Raises DataFault, with the line, if it is no text.
    """
    # Not splitlines(): that also breaks at U+2028 and others, and the count of captions would be wrong.
    lines = read_text(path).split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def read_text(path: Path) -> str:
    """The file as text: UTF-8, or what its byte order mark says. Raises DataFault, with the line, on anything else."""
    if path.exists() and not path.is_file():  # opening a pipe would wait for ever
        raise DataFault(f"{path}: no regular file")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataFault(f"{path}: can't be read ({error.strerror})") from error
    encoding = _encoding(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding not in ("utf-8", "utf-8-sig"):
            raise DataFault(f"{path}: begins as {encoding.upper()}, but is none ({error.reason})") from error
        raise DataFault(_not_utf8(path, data, error.start)) from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise DataFault(
            f"{path}, line {line}: a zero byte, so this is no UTF-8; if it is UTF-16 without its mark, "
            f"`iconv -f utf-16le -t utf-8 {path.name} > new{path.suffix}` makes a copy that can be read"
        )
    return text


def read_head(path: Path, size: int) -> str:
    """The first `size` bytes of a file as `read_text` has them, without what is no text."""
    with path.open("rb") as file:
        head = file.read(size)
    return head.decode(_encoding(head), "ignore")


def _encoding(data: bytes) -> str:
    return next((name for mark, name in MARKS.items() if data.startswith(mark)), "utf-8")


def _not_utf8(path: Path, data: bytes, place: int) -> str:
    """The message for a file of an unknown encoding: no encoding is advised without showing what it would make of it."""
    line = data[:place].count(b"\n") + 1
    start = data.rfind(b"\n", 0, place) + 1
    shown = data[max(start, place - 20) : place + 20].split(b"\n")[0].decode("cp1252", "replace").strip()
    return (
        f"{path}, line {line}: not UTF-8 (byte 0x{data[place]:02x}); save the file as UTF-8 in the program that "
        f"wrote it. Only if {shown!r} reads right is it Windows-1252: then "
        f"`iconv -f cp1252 -t utf-8 {path.name} > new{path.suffix}` makes a copy that can be read"
    )
