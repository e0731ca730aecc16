"""Verdicts in files: exports as JSON lines and CSV, and one reader for them and the database."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from xmr.checksums import digest, digest_of
from xmr.data import DataFault
from xmr.data.json_files import json_rows
from xmr.data.rows import Row, read_text
from xmr.data.tables import read_rows
from xmr.disk import write
from xmr.registry import unknown
from xmr.store.database import read_database
from xmr.store.verdicts import COLUMNS, Pair, Verdict
from xmr.tables import csv_text, unguarded

REQUIRED = ("fingerprint", "visual_id", "text_id", "judge", "answer")  # columns of a file of verdicts


def as_jsonl(verdicts: Iterable[Verdict]) -> str:
    return "".join(json.dumps(asdict(verdict), ensure_ascii=False) + "\n" for verdict in verdicts)


def as_csv(verdicts: Iterable[Verdict]) -> str:
    """With a header; what a spreadsheet would take for a formula has an apostrophe before it."""
    return csv_text(map(asdict, verdicts), COLUMNS)


def export(path: str | Path, verdicts: Sequence[Verdict]) -> None:
    """Writes verdicts to a .jsonl or .csv file, whole or not at all. Raises ValueError on another ending, and CannotSave."""
    path = Path(path)
    if path.suffix not in (".jsonl", ".csv"):
        raise ValueError(f"{path}: verdicts are written as .jsonl or .csv")
    text = as_csv(verdicts) if path.suffix == ".csv" else as_jsonl(verdicts)
    write(path, text)


def read_verdicts(path: str | Path) -> list[Verdict]:
    """The verdicts of an export (.jsonl, .csv) or of a database; of a person's several on one pair the latest.

    Raises DataFault, with file and line, StoreRefused and CannotSave.
    """
    path = Path(path)
    if path.suffix.lower() in (".jsonl", ".csv"):
        if path.suffix.lower() == ".csv":
            rows = list(_csv_rows(path))
        else:
            rows = _standing_rows(json_rows(path, read_text(path), "delete the line, or export again"))
        latest: dict[tuple[str, Pair], Verdict] = {}
        for verdict in map(_of_row, rows):
            key = verdict.judge, verdict.pair
            if key not in latest or verdict.at >= latest[key].at:
                latest[key] = verdict
        return list(latest.values())
    if not path.is_file():
        raise DataFault(f"{path}: there is no such file of verdicts (.jsonl, .csv or a database)")
    return read_database(path)


def verdicts_digest(path: str | Path, verdicts: Sequence[Verdict]) -> str:
    """SHA-256 of the file that the verdicts were read from; of a database, whose file also changes where its content
    does not, of its export as JSONL."""
    if Path(path).suffix.lower() in (".jsonl", ".csv"):
        return digest_of(Path(path))
    return digest(as_jsonl(verdicts).encode())


def _standing_rows(rows: Iterable[Row]) -> list[Row]:
    """The rows without undos, and without what those take back: files of `xmr.store.events` have both."""
    every = list(rows)
    gone = {row.values["undoes"] for row in every if isinstance(row.values.get("undoes"), str)}
    return [row for row in every if not row.values.get("undoes") and row.values.get("key") not in gone - {""}]


def _csv_rows(path: Path) -> Iterator[Row]:
    for row in read_rows(path):
        yield row._replace(values={name: unguarded(cell) for name, cell in row.values.items()})


def _of_row(row: Row) -> Verdict:
    values = {name: row.values.get(name) for name in COLUMNS}
    for name in REQUIRED:
        if name not in row.values:
            told = unknown("column", name, row.values).replace("unknown column", "no column", 1)
            raise DataFault(f"{row}: {told}; a file of verdicts needs {', '.join(REQUIRED)}")
    score = values.pop("score")
    for name, value in values.items():
        if value is not None and not isinstance(value, str):
            raise DataFault(f"{row}: {name!r} must be text, found {value!r:.40} ({type(value).__name__})")
    try:
        score = None if score in (None, "") else float(score)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataFault(f"{row}: 'score' must be a number or nothing, found {score!r:.40}") from error
    try:
        return Verdict(**{name: value or "" for name, value in values.items()}, score=score)
    except ValueError as error:
        raise DataFault(f"{row}: {error}; write it anew, or delete the row") from error
