"""The SQLite file: verdicts and undos as events, of which none is ever changed."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import astuple, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

from xmr.disk import CannotSave
from xmr.store.verdicts import ANSWERS, COLUMNS, Pair, Tally, Verdict, judge_name, storable, tallies, utc

SCHEMA = 1  # of the database, its user_version
APPLICATION = 0x786D7276  # "xmrv": tells the database from others
MAGIC = b"SQLite format 3\0"
WAIT_SECONDS = 30.0  # for other processes that write

TABLE = """
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    undoes INTEGER UNIQUE REFERENCES events (id),
    fingerprint TEXT, dataset TEXT, split TEXT, visual_id TEXT, text_id TEXT, caption TEXT,
    judge TEXT NOT NULL,
    answer TEXT CHECK (answer IN ('yes', 'no', 'unsure')),
    at TEXT NOT NULL,
    run TEXT, selector TEXT, score REAL,
    CHECK ((undoes IS NULL) = (answer IS NOT NULL))
)"""
# All that a tally asks for, so that counting never reads the table.
INDEX = "CREATE INDEX by_pair ON events (fingerprint, visual_id, text_id, judge, answer)"
STANDING = "answer IS NOT NULL AND NOT EXISTS (SELECT 1 FROM events AS u WHERE u.undoes = events.id)"


class StoreRefused(ValueError):
    """A file that is no whole database of verdicts; it was left as it is."""


class VerdictStore:
    """Verdicts in one SQLite file, opened or made. Threads may share it; every process opens its own.

    Raises StoreRefused on a file that is something else, damaged, or of another version (it is left as it is), and
    CannotSave where it can't be opened or written.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        _refuse_other_files(self.path)
        self._lock = threading.Lock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = _connect(self.path, "rwc")
        except (OSError, sqlite3.Error) as error:
            raise CannotSave(f"{self.path} can't be opened: {error}") from error
        try:
            if not _is_ours(self._connection, self.path):
                self._create()
            self._connection.execute("PRAGMA synchronous = FULL")
        except sqlite3.Error as error:
            self.close()
            raise CannotSave(f"{self.path} can't be written: {error}") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Afterwards all verdicts are in the one file, if no other process has it open."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> VerdictStore:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def record(self, verdict: Verdict, key: str = "") -> Verdict:
        """Keeps a verdict, and returns it as kept, with its time.

        The same `key` again (a request sent twice), or the answer that the person has on this pair already, changes
        nothing and returns what is kept. Raises ValueError where the key was used for something else, and CannotSave.
        """
        key = key or uuid4().hex
        with self._writing() as ask:
            before = self._event(ask, key)
            if before is not None:
                if before["undoes"] is not None or not _same(_verdict(before), verdict):
                    raise ValueError(
                        f"the key {key[:40]!r} was used for something else; give each verdict its own"
                    )
                return _verdict(before)
            where = f"fingerprint = ? AND visual_id = ? AND text_id = ? AND judge = ? AND {STANDING}"
            query = f"SELECT * FROM events WHERE {where} ORDER BY id DESC LIMIT 1"
            now = ask(query, (*verdict.pair, verdict.judge)).fetchone()
            if now is not None and now["answer"] == verdict.answer:
                return _verdict(now)
            kept = replace(verdict, at=verdict.at or utc(datetime.now(timezone.utc)))
            marks = ", ".join("?" * (1 + len(COLUMNS)))
            ask(
                f"INSERT INTO events (key, {', '.join(COLUMNS)}) VALUES ({marks})",
                (storable(key), *astuple(kept)),
            )
            return kept

    def undo(self, judge: str, fingerprint: str = "", key: str = "") -> Verdict | None:
        """Takes back the person's last verdict that stands (of one split, if its fingerprint is given), so that what
        they said before on that pair holds again; returns the one taken back, None where there is none.

        The same `key` again changes nothing. Raises ValueError where it was used for something else, and CannotSave.
        """
        judge, key = judge_name(judge), key or uuid4().hex
        with self._writing() as ask:
            before = self._event(ask, key)
            if before is not None:
                if before["undoes"] is None or before["judge"] != judge:
                    raise ValueError(
                        f"the key {key[:40]!r} was used for something else; give each undo its own"
                    )
                return _verdict(ask("SELECT * FROM events WHERE id = ?", (before["undoes"],)).fetchone())
            where = f"judge = ? AND (? = '' OR fingerprint = ?) AND {STANDING}"
            query = f"SELECT * FROM events WHERE {where} ORDER BY id DESC LIMIT 1"
            last = ask(query, (judge, fingerprint, fingerprint)).fetchone()
            if last is None:
                return None
            event = storable(key), last["id"], judge, utc(datetime.now(timezone.utc))
            ask("INSERT INTO events (key, undoes, judge, at) VALUES (?, ?, ?, ?)", event)
            return _verdict(last)

    def verdicts(self, judge: str = "", fingerprint: str = "") -> list[Verdict]:
        """What stands, of one person or all and of one split or all, in the order in which it was given."""
        with self._lock, _told(self.path):
            rows = _standing(self._connection, judge and judge_name(judge), fingerprint)
        return [_verdict(row) for row in rows]

    def answers(self, fingerprint: str) -> tuple[int, list[tuple[Pair, str, str]]]:
        """What stands of one split, pair, person and answer, and a version: the number of the last event of all, so that
        of two readings the one with the higher number is the newer."""
        with self._lock, _told(self.path):
            # Read first: what another process writes in between belongs to a later version, and may be told early.
            last = self._connection.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()[0]
            rows = _answers(self._connection, fingerprint)
        return last, [(_pair(row), row["judge"], row["answer"]) for row in rows]

    def agreed(self, fingerprint: str = "") -> dict[Pair, Tally]:
        """What stands, pair by pair; `Tally.answer` is what most say."""
        with self._lock, _told(self.path):
            rows = _answers(self._connection, fingerprint)
        return tallies((_pair(row), row["answer"]) for row in rows)

    def progress(self, fingerprint: str = "") -> dict[str, Any]:
        """{"pairs", "yes", "no", "unsure": how many pairs are judged, and what is agreed on them; "judges": {name: how
        many}}, of one split or all."""
        with self._lock, _told(self.path):
            rows = _answers(self._connection, fingerprint)
        found = tallies((_pair(row), row["answer"]) for row in rows)
        answers = Counter(tally.answer for tally in found.values())
        judges = dict(Counter(row["judge"] for row in rows))
        return {"pairs": answers.total(), **{a: answers[a] for a in ANSWERS}, "judges": judges}

    def _create(self) -> None:
        """Makes the table, unless another process did meanwhile."""
        until = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError:  # the one lock that SQLite does not wait for by itself
                if time.monotonic() > until:
                    raise
                time.sleep(0.01)
        with self._writing() as ask:
            if not _is_ours(self._connection, self.path):
                for statement in (TABLE, INDEX):
                    ask(statement)
                ask(f"PRAGMA application_id = {APPLICATION}")
                ask(f"PRAGMA user_version = {SCHEMA}")

    @contextmanager
    def _writing(self) -> Iterator[Any]:
        """A transaction that sees all that was written before it, and is on disk after it, or not there."""
        with self._lock, _told(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection.execute
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _event(self, ask: Any, key: str) -> sqlite3.Row | None:
        return ask("SELECT * FROM events WHERE key = ?", (storable(key),)).fetchone()


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    address = f"{path.resolve().as_uri()}?mode={mode}"
    connection = sqlite3.connect(
        address, uri=True, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False
    )
    connection.row_factory = sqlite3.Row
    return connection


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Faults of the database in our words."""
    try:
        yield
    except sqlite3.OperationalError as error:  # locked, disk full, read-only
        raise CannotSave(f"{path} can't be used: {error}; nothing was changed") from error
    except sqlite3.DatabaseError as error:
        raise StoreRefused(f"{path} is damaged: {error}; {_REMEDY}") from error


_REMEDY = "it was left as it is: restore a copy or an export, or name another file"


def _refuse_other_files(path: Path) -> None:
    """Raises StoreRefused where SQLite should not even look at what is there."""
    try:
        if not path.is_file() and path.stat():
            raise StoreRefused(f"{path} is no file; name one, it is made if it is not there")
        with path.open("rb") as file:
            head = file.read(len(MAGIC))
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreRefused(f"{path} can't be read: {error.strerror}") from error
    if head and head != MAGIC:
        raise StoreRefused(f"{path} is no database of verdicts; {_REMEDY}")


def _is_ours(connection: sqlite3.Connection, path: Path) -> bool:
    """True for a whole database of verdicts, False for an empty one. Raises StoreRefused on any other."""
    try:
        ask = connection.execute
        application, version, things = (
            ask(query).fetchone()[0]
            for query in (
                "PRAGMA application_id",
                "PRAGMA user_version",
                "SELECT count(*) FROM sqlite_master",
            )
        )
        if not (application or version or things):
            return False
        if application != APPLICATION:
            raise StoreRefused(f"{path} is a database of something else; {_REMEDY}")
        if version != SCHEMA:
            raise StoreRefused(
                f"{path} is of version {version}, this xmr reads {SCHEMA}: use the xmr that wrote it, and export"
            )
        fault = ask("PRAGMA quick_check(1)").fetchone()[0]
        found = {row["name"] for row in ask("PRAGMA table_info(events)")}
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        raise StoreRefused(f"{path} is damaged: {error}; {_REMEDY}") from error
    missing = {"id", "key", "undoes", *COLUMNS} - found
    if fault != "ok" or missing:
        what = fault.strip().replace("\n", " ") if fault != "ok" else f"no {', '.join(sorted(missing))}"
        raise StoreRefused(f"{path} is damaged: {what}; {_REMEDY}")
    return True


def _standing(connection: sqlite3.Connection, judge: str, fingerprint: str) -> list[sqlite3.Row]:
    """What stands, with all columns, in the order in which it was given."""
    query, given = _last(judge, fingerprint)
    query = f"SELECT * FROM events WHERE id IN (SELECT id FROM ({query})) ORDER BY id"
    return connection.execute(query, given).fetchall()


def _answers(connection: sqlite3.Connection, fingerprint: str) -> list[sqlite3.Row]:
    """Of what stands id, pair, judge and answer."""
    query, given = _last("", fingerprint)
    return connection.execute(f"{query} ORDER BY id", given).fetchall()


def _last(judge: str, fingerprint: str) -> tuple[str, dict[str, str]]:
    """A query, and its values, for the last verdict that stands of every person on every pair."""
    given = {"judge": judge, "fingerprint": fingerprint}
    where = "".join(f"{name} = :{name} AND " for name, value in given.items() if value) + STANDING
    pair = "fingerprint, visual_id, text_id, judge"
    # With max(), SQLite takes the other columns from the row that has it.
    return f"SELECT max(id) AS id, {pair}, answer FROM events WHERE {where} GROUP BY {pair}", given


def _verdict(row: sqlite3.Row) -> Verdict:
    return Verdict(**{name: row[name] for name in COLUMNS})


def _pair(row: sqlite3.Row) -> Pair:
    return Pair(row["fingerprint"], row["visual_id"], row["text_id"])


def _same(one: Verdict, other: Verdict) -> bool:
    return (one.pair, one.judge, one.answer) == (other.pair, other.judge, other.answer)


def read_database(path: Path) -> list[Verdict]:
    """What stands in a database, which is left as it is. Raises StoreRefused, and CannotSave where it is locked."""
    _refuse_other_files(path)
    with _told(path):
        try:
            return _read(path, "ro")
        except sqlite3.OperationalError:
            # A folder that can't be written has no room for the log's index; without a log none is needed.
            log = path.resolve()
            log = log.with_name(log.name + "-wal")
            if log.exists() and log.stat().st_size:
                raise
            return _read(path, "ro&immutable=1")


def _read(path: Path, mode: str) -> list[Verdict]:
    with closing(_connect(path, mode)) as connection:
        rows = _standing(connection, "", "") if _is_ours(connection, path) else []
    return [_verdict(row) for row in rows]
