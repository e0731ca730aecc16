"""Rows of a table or JSON-lines file, each with the line that it came from.

Neither `datasets` nor pandas keeps a row's line number, and without it a fault in a file of 100,000 rows can't be
found; so the two formats are read here. A table's cells stand between commas, tabs, semicolons or bars, whichever its
header has between names that are known; files are UTF-8, or UTF-16 or 32 with its mark.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from xmr.data.columns import ID, IMAGE, LABEL, NUMBERED, SPLIT, TEXT, WITHIN, first_of, plain
from xmr.data.dataset import DataFault
from xmr.data.printed import BadList, elements

# By these a header is recognised, whatever stands between them.
KNOWN_COLUMNS = {
    *IMAGE, *TEXT, *SPLIT, *ID, *LABEL, "name", "index", "caption_no", "concept", "base_concept", "annotation", "tags",
    "alt_tags", "caption_image", "frac_yes", "score1", "comment_number",
}  # fmt: skip
HEAD = 1 << 16  # bytes of a JSON file in which its first keys stand
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:]')
PACKAGE = Path(__file__).parent.parent
SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
BRACKETED = re.compile(
    r"\s*\[(?:.*\]|[^\]]*(?:\.\.\.|…))\s*", re.DOTALL
)  # as a list would be, whole or cut off
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


def read_rows(path: Path, odd: Callable[[str], None] | None = None) -> list[Row]:
    """All rows of a table (`.csv`, `.tsv`; first line: column names), `.jsonl` file (one object a line) or `.json` file (a list
    of objects), in order.

    Raises DataFault, with the line, on what is no text, not JSON, or does not fit the table's header; with `odd`, a line of
    too many or too few cells is left out and told to it.
    """
    text, suffix = read_text(path), path.suffix.lower()
    if suffix == ".json":
        return list(_entries(path, text))
    return list(_json_rows(path, text) if suffix == ".jsonl" else _table_rows(path, text, odd))


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
    encoding = next((name for mark, name in MARKS.items() if data.startswith(mark)), "utf-8")
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


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        name = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"{name!r:.80} stands twice in an object")
    return values


DECODER = json.JSONDecoder(object_pairs_hook=_once)


def parse_json(text: str) -> Any:
    """The value of a JSON text. Raises ValueError also where an object names something twice, of which `json` would keep
    the last; and RecursionError."""
    return DECODER.decode(text)


def json_keys(path: Path) -> list[str]:
    """The keys of the object that a JSON file begins with, as far as its head shows them; not those of objects within."""
    if not path.is_file():
        return []
    with path.open("rb") as file:
        data = file.read(HEAD)
    head = data.decode(
        next((name for mark, name in MARKS.items() if data.startswith(mark)), "utf-8"), "ignore"
    )
    found, depth, string = [], 0, ""
    for token in TOKEN.findall(head):
        if token in "{[":
            depth += 1
            if depth == 1 and token == "[":
                break
        elif token in "}]":
            depth -= 1
        elif token == ":":
            if depth == 1:
                found.append(string.strip('"'))
        else:
            string = token
    return found


def json_content(path: Path, text: str | None = None) -> Any:
    """The value of a JSON file, or of its `text` where that is read already. Raises DataFault."""
    try:
        return parse_json(read_text(path) if text is None else text)
    except DataFault:
        raise
    except (ValueError, RecursionError) as error:
        raise DataFault(f"{path}: not JSON ({error}); is the file whole?") from error


def records(path: Path, content: Any, name: str) -> Iterator[Row]:
    """The objects of the list `name` in the object that a JSON file is. Raises DataFault, with the place."""
    found = content.get(name) if isinstance(content, dict) else None
    if not isinstance(found, list):
        there = ", ".join(map(repr, content)) if isinstance(content, dict) else type(content).__name__
        raise DataFault(f"{path}: {name!r} must be a list of objects in one object (there is {there:.200})")
    for place, values in enumerate(found):
        if not isinstance(values, dict):
            raise DataFault(f"{path}, {name}[{place}]: must be an object, found {type(values).__name__}")
        yield Row(path, place, values, name + "[{}]")


def columns_of(rows: Iterable[Row]) -> list[str]:
    """Names of all columns, in order of appearance."""
    return list(dict.fromkeys(name for row in rows for name in row.values))


def caption_columns(rows: list[Row], path: Path) -> list[str]:
    """Which columns hold the captions: one, or caption_0, caption_1 … Raises DataFault naming those that there are."""
    columns = columns_of(rows)
    if name := first_of(columns, TEXT):
        return [name]
    if several := [name for name in columns if NUMBERED.fullmatch(plain(name))]:
        return several
    raise DataFault(
        f"{path}: no captions: a column 'captions' (a list), 'caption' or 'text' is needed, or its name by --set text=COLUMN; "
        f"there are {', '.join(map(repr, columns)) or 'no columns'}"
    )


def captions_of(row: Row, column: str) -> list[str]:
    """The row's captions as written, blank ones included; those of a list printed into a string stand apart.

    Raises DataFault where they aren't strings, or a printed list was cut off.
    """
    value = row.values.get(column)
    captions = value if isinstance(value, list) else [value]
    for caption in captions:
        if not (caption is None or isinstance(caption, str)):
            raise DataFault(
                f"{row}: {column!r} must be a string or a list of strings, found {caption!r:.60} "
                f"({type(caption).__name__})"
            )
    apart = [text for caption in captions for text in listed(row, column, caption)]
    if column == "captions" and apart == [value] and BRACKETED.fullmatch(value or ""):
        raise DataFault(
            f'{row}: \'captions\' looks like a list but is none: {_shown(value)}; write ["a cat", "one cat"], '
            "or name the column 'caption' if the brackets belong to the caption"
        )
    return [row.checked(text or "", column) for text in apart]


def captions_in(row: Row, columns: Sequence[str], objects: bool = True) -> list[str]:
    """The captions of all these columns, as `captions_of`. With `objects`, one that stands in the place of a caption gives
    its `raw`, `caption` or `text`; visuals may have fewer captions than there are columns."""
    found = []
    for column in columns:
        value = row.values.get(column)
        if value is None and len(columns) > 1:
            continue
        parts = value if isinstance(value, list) else [value]
        if objects and any(isinstance(part, dict) for part in parts):
            parts = [_within(row, column, part) if isinstance(part, dict) else part for part in parts]
            flat = [one for part in parts for one in (part if isinstance(part, list) else [part])]
            row = row._replace(values={**row.values, column: flat})
        found += captions_of(row, column)
    return found


def _within(row: Row, column: str, value: dict[str, Any]) -> Any:
    key = first_of(list(value), WITHIN)
    if not key:
        raise DataFault(
            f"{row}: {column!r} holds an object with {', '.join(map(repr, value)) or 'nothing'}, and none of {', '.join(WITHIN)}"
        )
    return value[key]


def listed(row: Row, column: str, text: str | None) -> list[str | None]:
    """The strings of a list that is printed into `text`, else `text` alone. Raises DataFault."""
    if not text:
        return [text]
    try:
        found = elements(text)
    except BadList as error:
        raise DataFault(
            f"{row}: {column!r} holds {error}: {_shown(text)}; write the whole list as JSON, "
            'as in ["a cat", "one cat"], or a row for each caption where the layout has one'
        ) from error
    return [text] if found is None else found


def _shown(text: str) -> str:
    text = text.strip()
    return repr(text if len(text) <= 60 else f"{text[:40]} … {text[-15:]}")


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
        """Counts what is left out without being a fault of its own: of a split of another name, say."""
        if count:
            self.counts[kind] = count

    def leave_out_splits(self, noun: str, others: Mapping[str, int]) -> None:
        """Counts, by name, what belongs to splits that are none of the three."""
        for name, count in sorted(others.items()):
            self.leave_out(f"{noun}s of split {name!r}", count)

    def close(self, where: str, split: str, kept: int) -> None:
        """Warns once if anything was skipped. Raises DataFault where nothing is left."""
        skipped = ", ".join(
            f"{count} {kind}" + (f" (first: {self.first[kind]})" if kind in self.first else "")
            for kind, count in self.counts.items()
        )
        if not kept:
            raise DataFault(f"{where}: the {split} split is empty, for all of it was skipped: {skipped}")
        if skipped:
            message = f"{where}, {split}: skipped {skipped}"
            message += "; strict=True (--strict) stops at the first" if self.first else ""
            _warn(message)


def _warn(message: str) -> None:
    """Warns at the line of whoever called load_dataset."""
    level, frame = 1, sys._getframe()
    while frame.f_back and Path(frame.f_code.co_filename).is_relative_to(PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)


def _json_rows(path: Path, text: str) -> Iterator[Row]:
    for line, raw in enumerate(text.split("\n"), 1):
        if not raw.strip():
            continue
        try:
            values = parse_json(raw)
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


def _entries(path: Path, text: str) -> Iterator[Row]:
    found = json_content(path, text)
    if not isinstance(found, list):
        raise DataFault(f"{path}: must be a list of objects, found {type(found).__name__}")
    yield from records(path, {"": found}, "")


def _table_rows(path: Path, text: str, odd: Callable[[str], None] | None) -> Iterator[Row]:
    first = 1
    separator, header_text = None, text
    if hint := re.match(r"sep=(.)\r?\n", text):  # Excel's own first line
        separator, header_text, first = hint[1], text[hint.end() :], 2
    separator = separator or _separator(header_text)
    between = SEPARATORS.get(separator, repr(separator))
    reader = csv.reader(io.StringIO(header_text, newline=""), delimiter=separator, strict=True)
    header: list[str] | None = None
    line = first  # where the record begins, which is before `line_num` if a quoted caption spans lines
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise DataFault(
                f"{path}, line {line}: not CSV with {between} ({error}); put double quotes around "
                'the captions and write a quote within one as ""'
            ) from error
        if cells is None:
            return
        if header is None and cells:
            header = [cell.strip() for cell in cells]
            if len(set(header)) != len(header):
                raise DataFault(f"{path}, line {line}: a column name stands twice in {', '.join(header)}")
        elif header is not None and cells:
            if len(cells) == len(header):
                yield Row(path, line, dict(zip(header, cells, strict=True)))
            else:
                message = (
                    f"{path}, line {line}: {len(cells)} cells where the header names {len(header)}, with {between} "
                    f"as separator; captions with {between} need double quotes around them: "
                    f'"a cat{separator} asleep"'
                )
                if odd is None:
                    raise DataFault(message)
                odd(message)
        line = reader.line_num + first


def header(path: Path) -> list[str]:
    """The names in the first line of a table, as far as its head shows them; [] where there are none."""
    if not path.is_file():
        return []
    with path.open("rb") as file:
        text = file.read(HEAD).decode("utf-8-sig", "ignore")
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text))
        return [cell.strip() for cell in next((cells for cells in reader if cells), [])]
    except csv.Error:
        return []


def _separator(text: str) -> str:
    """What stands between the names of the header: that which leaves most known names, else most names at all.

    The captions are not asked, as csv.Sniffer does: they are full of commas.
    """
    found: dict[str, tuple[int, int, bool]] = {}
    for separator in SEPARATORS:
        try:
            reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
            names = [cell.strip() for cell in next((cells for cells in reader if cells), [])]
        except csv.Error:
            continue
        found[separator] = (len(KNOWN_COLUMNS.intersection(map(plain, names))), len(names), separator == ",")
    return max(found, key=lambda separator: found[separator], default=",")
