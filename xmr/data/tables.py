"""Rows of a table or JSON-lines file and the captions in their cells, and what is left out of them, counted.

A table's cells stand between commas, tabs, semicolons or bars, whichever its header has between names that are known.
"""

from __future__ import annotations

import csv
import io
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xmr.data.columns import ID, IMAGE, LABEL, NUMBERED, SPLIT, TEXT, WITHIN, first_of, plain
from xmr.data.dataset import DataFault
from xmr.data.json_files import entries, json_rows
from xmr.data.printed import BadList, elements
from xmr.data.rows import Row, read_head, read_text

# By these a header is recognised, whatever stands between them.
KNOWN_COLUMNS = {
    *IMAGE, *TEXT, *SPLIT, *ID, *LABEL, "name", "index", "caption_no", "concept", "base_concept", "annotation", "tags",
    "alt_tags", "caption_image", "frac_yes", "score1", "comment_number",
}  # fmt: skip
HEAD = 1 << 16  # bytes of a table in which its header stands
PACKAGE = Path(__file__).parent.parent
SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
BRACKETED = re.compile(
    r"\s*\[(?:.*\]|[^\]]*(?:\.\.\.|…))\s*", re.DOTALL
)  # as a list would be, whole or cut off


def read_rows(path: Path, odd: Callable[[str], None] | None = None) -> list[Row]:
    """All rows of a table (`.csv`, `.tsv`; first line: column names), `.jsonl` file (one object a line) or `.json` file (a list
    of objects), in order.

    Raises DataFault, with the line, on what is no text, not JSON, or does not fit the table's header; with `odd`, a line of
    too many or too few cells is left out and told to it.
    """
    text, suffix = read_text(path), path.suffix.lower()
    if suffix == ".json":
        return list(entries(path, text))
    return list(json_rows(path, text) if suffix == ".jsonl" else _table_rows(path, text, odd))


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


def only_table(folder: Path, names: Sequence[str]) -> Path:
    """The one file of these names that a folder has. Raises DataFault where there is none, or are several."""
    found = [folder / name for name in names if (folder / name).is_file()]
    if len(found) != 1:
        which = " and ".join(path.name for path in found) + ": move the other away"
        raise DataFault(f"{folder}: {which if found else 'no ' + ' or '.join(names)}")
    return found[0]


def header(path: Path) -> list[str]:
    """The names in the first line of a table, as far as its head shows them; [] where there are none."""
    if not path.is_file():
        return []
    text = read_head(path, HEAD)
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
