"""Rows of a CSV or JSON-lines file, each with the line that it came from.

Neither `datasets` nor pandas keeps a row's line number, and without it a fault in a file of 100,000 rows can't be
found; so the two formats are read here.
"""

from __future__ import annotations

import ast
import csv
import io
import json
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from xmr.data.dataset import DataFault

CAPTION_COLUMNS = ("captions", "caption", "text")


class Row(NamedTuple):
    """One record. As a string: "FILE, line N", where a fault's message begins."""

    file: Path
    line: int
    values: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}"

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
                what = f"half a surrogate pair at character {error.start} of {column!r}; remove it"
                raise DataFault(f"{self}: {what}") from error
        return text


def read_rows(path: Path) -> list[Row]:
    """All rows of a `.csv` (first line: column names) or `.jsonl` file (one object a line), in order.

    Raises DataFault, with the line, on what is not UTF-8, not JSON, or does not fit the CSV's header.
    """
    text = read_text(path)
    return list(_csv_rows(path, text) if path.suffix.lower() == ".csv" else _json_rows(path, text))


def read_lines(path: Path) -> list[str]:
    """Lines of a text file, without blank ones at its end. Raises DataFault, with the line, if not UTF-8."""
    # Not splitlines(): that also breaks at U+2028 and others, and the count of captions would be wrong.
    return [line.removesuffix("\r") for line in read_text(path).rstrip("\r\n").split("\n")]


def read_text(path: Path) -> str:
    """The file as text. Raises DataFault, with the line, if not UTF-8."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataFault(f"{path}: can't be read ({error.strerror})") from error
    try:
        return data.decode("utf-8-sig")  # a byte order mark, as Excel writes it, is no part of the first name
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataFault(
            f"{path}, line {line}: not UTF-8 (byte 0x{data[error.start]:02x}); save the file as UTF-8, "
            "for instance with `iconv -f latin1 -t utf-8`"
        ) from error


def columns_of(rows: Iterable[Row]) -> list[str]:
    """Names of all columns, in order of appearance."""
    return list(dict.fromkeys(name for row in rows for name in row.values))


def caption_column(rows: list[Row], path: Path) -> str:
    """Which column holds the captions. Raises DataFault naming the columns that there are."""
    columns = columns_of(rows)
    for name in CAPTION_COLUMNS:
        if name in columns:
            return name
    raise DataFault(
        f"{path}: no captions: a column 'captions' (a list), 'caption' or 'text' is needed; "
        f"there are {', '.join(map(repr, columns)) or 'no columns'}"
    )


def captions_of(row: Row, column: str) -> list[str]:
    """The row's captions exactly as written, blank ones included. Raises DataFault where they aren't strings."""
    value = row.values.get(column)
    if column == "captions" and row.file.suffix.lower() == ".csv":
        value = _list_in_cell(row, value)
    captions = value if isinstance(value, list) else [value]
    for caption in captions:
        if not (caption is None or isinstance(caption, str)):
            raise DataFault(
                f"{row}: {column!r} must be a string or a list of strings, found {caption!r:.60} "
                f"({type(caption).__name__})"
            )
    return [row.checked(caption or "", column) for caption in captions]


@dataclass
class Skips:
    """What was left out and why: counted, with one warning at the end; with `strict`, the first is an error."""

    strict: bool
    counts: dict[str, int] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, message: str) -> None:
        """Counts one of `kind` ("missing pictures"). Raises DataFault(message) if strict."""
        if self.strict:
            raise DataFault(message)
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.first.setdefault(kind, message)

    def leave_out(self, kind: str, count: int) -> None:
        """Counts what is left out because of other faults, such as a visual whose captions are all blank."""
        if count:
            self.counts[kind] = count

    def close(self, where: str, split: str, kept: int) -> None:
        """Warns once if anything was skipped. Raises DataFault where nothing is left."""
        skipped = ", ".join(
            f"{count} {kind}" + (f" (first: {self.first[kind]})" if kind in self.first else "")
            for kind, count in self.counts.items()
        )
        if not kept:
            raise DataFault(f"{where}: the {split} split is empty, for all of it was skipped: {skipped}")
        if skipped:
            message = f"{where}, {split}: skipped {skipped}; strict=True (--strict) stops at the first"
            warnings.warn(message, stacklevel=5)  # so that the line shown is the caller's of load_dataset


def _json_rows(path: Path, text: str) -> Iterator[Row]:
    for line, raw in enumerate(text.split("\n"), 1):
        if not raw.strip():
            continue
        try:
            values = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise DataFault(
                f"{path}, line {line}: not JSON ({error}); each line must be one object such as "
                '{"file_name": "a.png", "captions": ["a cat"]}'
            ) from error
        if not isinstance(values, dict):
            raise DataFault(
                f"{path}, line {line}: must be a JSON object {{…}}, found {type(values).__name__}"
            )
        yield Row(path, line, values)


def _csv_rows(path: Path, text: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    line = 1  # where the record begins, which is before `line_num` if a quoted caption spans lines
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise DataFault(
                f"{path}, line {line}: not CSV ({error}); put double quotes around the captions and write a "
                'quote within one as ""'
            ) from error
        if cells is None:
            return
        if header is None and cells:
            header = [cell.strip() for cell in cells]
            if len(set(header)) != len(header):
                raise DataFault(f"{path}, line {line}: a column name stands twice in {', '.join(header)}")
        elif header is not None and cells:
            if len(cells) != len(header):
                raise DataFault(
                    f"{path}, line {line}: {len(cells)} cells where the header names {len(header)}; "
                    'captions with commas need double quotes around them: "a cat, asleep"'
                )
            yield Row(path, line, dict(zip(header, cells, strict=True)))
        line = reader.line_num + 1


def _list_in_cell(row: Row, cell: Any) -> Any:
    """A list written into a CSV cell: as JSON, or as Python prints it (what pandas' to_csv makes of lists)."""
    text = cell.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return cell
    for parse in (json.loads, ast.literal_eval):
        try:
            return list(parse(text))
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    raise DataFault(
        f'{row}: \'captions\' looks like a list but is none: {text!r:.60}; write ["a cat", "one cat"], '
        "or name the column 'caption' if the brackets belong to the caption"
    )
