"""The SQLite file: verdicts and undos as events, of which none is ever changed."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import astuple, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

from xmr.disk import CannotSave
from xmr.limits import VERDICTS, VERDICTS_HOURLY
from xmr.store.verdicts import ANSWERS, COLUMNS, Verdict, judge_name, likeness, storable, utc

SCHEMA = 2  # of the database, its user_version; 1 knew no owners
APPLICATION = 0x786D7276  # "xmrv": tells the database from others
MAGIC = b"SQLite format 3\0"
WAIT_SECONDS = 30.0  # for other processes that write
CHUNK = 20_000  # events that are read in one go

EVENTS = """
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
INDEX = "CREATE INDEX by_pair ON events (fingerprint, visual_id, text_id, judge, answer)"
# What version 2 has more: whose an event is, and whose a name is, with all that look like it.
OWNERS = (
    "ALTER TABLE events ADD COLUMN owner TEXT NOT NULL DEFAULT ''",
    "CREATE INDEX by_owner ON events (owner, at)",
    "CREATE TABLE names (likeness TEXT PRIMARY KEY, judge TEXT NOT NULL, owner TEXT NOT NULL)",
)
STANDING = "answer IS NOT NULL AND NOT EXISTS (SELECT 1 FROM events AS u WHERE u.undoes = events.id)"
LAST = f"SELECT * FROM events WHERE {{}} AND {STANDING} ORDER BY id DESC LIMIT 1"
# What one person says on pairs of these visuals, by the index; and events by number, with the events that they are about.
OWN = f"""
SELECT visual_id, text_id, answer FROM events WHERE fingerprint = :fingerprint
    AND visual_id IN (SELECT value FROM json_each(:visuals)) AND judge = :judge AND {STANDING} ORDER BY id"""
SINCE = """
SELECT said.id, said.visual_id, said.text_id, said.judge, new.answer
FROM events AS new CROSS JOIN events AS said ON said.id = coalesce(new.undoes, new.id)
WHERE new.id > :after AND new.id <= :last AND +said.fingerprint = :fingerprint ORDER BY new.id"""
# An event that no xmr wrote, whatever the file says of its columns: SQLite keeps any kind of value in any of them.
FOREIGN = (
    "SELECT id FROM events WHERE (undoes IS NULL) <> (answer IS NOT NULL) OR answer NOT IN ('yes', 'no', 'unsure') "
    "OR typeof(key) <> 'text' OR typeof(judge) <> 'text' OR typeof(at) <> 'text' OR answer IS NOT NULL AND ("
    + " OR ".join(f"typeof({name}) <> 'text'" for name in COLUMNS if name != "score")
    + " OR typeof(score) NOT IN ('real', 'integer', 'null')) LIMIT 1"
)
REMEDY = "it was left as it is: restore a copy or an export, or name another file"


class StoreRefused(ValueError):
    """A file that is no whole database of verdicts; it was left as it is."""


class VerdictStore:
    """Verdicts in one SQLite file, opened or made. Threads may share it; every process opens its own.

    A file of version 1 gets what version 2 has more, in one transaction, and keeps all its events. `most` events of
    owners are taken. Raises StoreRefused on a file that is something else, damaged where it is read, or of another version
    (it is left as it is), and CannotSave where it can't be opened or written.
    """

    def __init__(self, path: str | Path, most: int = VERDICTS.usual):
        self.path, self.most = Path(path), most
        _refuse_other_files(self.path)
        self._lock = threading.Lock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = _connect(self.path, "rwc")
        except (OSError, sqlite3.Error) as error:
            raise CannotSave(f"{self.path} can't be opened: {error}") from error
        try:
            with _told(self.path):
                if _version(self._connection, self.path) < SCHEMA:
                    self._prepare()
                self._connection.execute("PRAGMA synchronous = FULL")
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

    def record(self, verdict: Verdict, key: str = "", owner: str = "") -> Verdict:
        """Keeps a verdict, and returns it as kept, with its time.

        `owner` is who sent it, as far as a server can know (the hash of a browser's secret, or a login); "" is whoever
        may write the file anyway, to whom no limit applies. The same `key` again (a request sent twice), or the answer
        that the person has on this pair already, changes nothing and returns what is kept. Raises ValueError where the
        key was used for something else, the name is another owner's or looks like it, or there are too many events; and
        CannotSave.
        """
        key = storable(key or uuid4().hex)
        asked = (*verdict.pair, verdict.judge)
        with self.writing() as ask:
            before = _sent_before(ask, key, owner, False, asked, verdict.answer)
            if before is not None:
                return _verdict(before, self.path)
            of = "fingerprint = ? AND visual_id = ? AND text_id = ? AND judge = ?"
            now = ask(LAST.format(of), asked).fetchone()
            if now is not None and (now["answer"], now["owner"]) == (verdict.answer, owner):
                return _verdict(now, self.path)
            if owner:
                self._limit(ask, owner)
                if not _check_name(ask, verdict.judge, owner):
                    ask("INSERT INTO names VALUES (?, ?, ?)", (likeness(verdict.judge), verdict.judge, owner))
            kept = replace(verdict, at=verdict.at or utc(datetime.now(timezone.utc)))
            marks = ", ".join("?" * (2 + len(COLUMNS)))
            ask(
                f"INSERT INTO events (key, owner, {', '.join(COLUMNS)}) VALUES ({marks})",
                (key, owner, *astuple(kept)),
            )
            return kept

    def undo(self, judge: str, fingerprint: str = "", key: str = "", owner: str = "") -> Verdict | None:
        """Takes back the last verdict that stands of the person and `owner` (of one split, if its fingerprint is given), so
        that what they said before on that pair holds again; returns the one taken back, None where there is none.

        The same `key` again changes nothing. Raises ValueError where it was used for something else, and where there are
        too many events; and CannotSave.
        """
        judge, key = judge_name(judge), storable(key or uuid4().hex)
        with self.writing() as ask:
            before = _sent_before(ask, key, owner, True, (judge,))
            if before is not None:
                undone = ask("SELECT * FROM events WHERE id = ?", (before["undoes"],)).fetchone()
                return _verdict(undone, self.path)
            of = "judge = ? AND owner = ? AND (? = '' OR fingerprint = ?)"
            last = ask(LAST.format(of), (judge, owner, fingerprint, fingerprint)).fetchone()
            if last is None:
                return None
            if owner:
                self._limit(ask, owner)
            event = key, last["id"], judge, utc(datetime.now(timezone.utc)), owner
            ask("INSERT INTO events (key, undoes, judge, at, owner) VALUES (?, ?, ?, ?, ?)", event)
            return _verdict(last, self.path)

    def check_name(self, judge: str, owner: str) -> None:
        """Raises ValueError where the name is another owner's, or looks like it."""
        with self._lock, _told(self.path):
            _check_name(self._connection.execute, judge, owner)

    def verdicts(self, judge: str = "", fingerprint: str = "") -> list[Verdict]:
        """What stands, of one person or all and of one split or all, in the order in which it was given."""
        with self._lock, _told(self.path):
            _refuse_foreign(self._connection, self.path)
            rows = _standing(self._connection, judge and judge_name(judge), fingerprint)
        return [_verdict(row, self.path) for row in rows]

    def own(self, fingerprint: str, judge: str, visuals: Collection[str]) -> list[tuple[str, str, str]]:
        """What stands of one person on pairs of these visuals of a split: visual, text and answer, the latest last."""
        given = {"fingerprint": fingerprint, "judge": judge, "visuals": json.dumps([*visuals])}
        with self._lock, _told(self.path):
            return [tuple(row) for row in self._connection.execute(OWN, given)]

    def since(self, fingerprint: str, after: int) -> tuple[int, list[tuple[int, str, str, str, str]]]:
        """Of the next `CHUNK` events after that number: the number of the last, and of each that is of the split the event
        that it is about, its visual, text and person, and the answer, "" where it was taken back."""
        with self._lock, _told(self.path):
            ask = self._connection.execute
            last = min(ask("SELECT coalesce(max(id), 0) FROM events").fetchone()[0], after + CHUNK)
            given = {"after": after, "last": last, "fingerprint": fingerprint}
            rows = [tuple(row) for row in ask(SINCE, given)] if last > after else []
        for event, *_, answer in rows:
            if answer not in (None, *ANSWERS):
                raise _damaged(self.path, f"event {event} is none that xmr writes")
        return last, [(*of, answer or "") for *of, answer in rows]

    def _limit(self, ask: Any, owner: str) -> None:
        """Raises ValueError where no more events are taken."""
        count = ask("SELECT coalesce(max(id), 0) FROM events").fetchone()[0]  # none is ever deleted
        if count >= self.most:
            raise ValueError(
                f"all {self.most:,} verdicts that are kept here have been given (--max-verdicts)"
            )
        since = utc(datetime.now(timezone.utc) - timedelta(hours=1))
        query = "SELECT count(*) FROM events WHERE owner = ? AND at > ?"
        if ask(query, (owner, since)).fetchone()[0] >= VERDICTS_HOURLY.now:
            raise ValueError(
                f"{VERDICTS_HOURLY.now:,} verdicts and undos an hour are kept of one browser; go on later"
            )

    def _prepare(self) -> None:
        """Makes the tables, or those of version 2, unless another process did meanwhile."""
        until = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError:  # the one lock that SQLite does not wait for by itself
                if time.monotonic() > until:
                    raise
                time.sleep(0.01)
        with self.writing() as ask:
            version = _version(self._connection, self.path)
            if version == SCHEMA:
                return
            for statement in (*(() if version else (EVENTS, INDEX)), *OWNERS):
                ask(statement)
            ask(f"PRAGMA application_id = {APPLICATION}")
            ask(f"PRAGMA user_version = {SCHEMA}")

    @contextmanager
    def writing(self) -> Iterator[Any]:
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


def read_database(path: Path) -> list[Verdict]:
    """What stands in a database of any version, which is left as it is. Raises StoreRefused, and CannotSave where it is
    locked."""
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
        if not _version(connection, path):
            return []
        fault = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if fault != "ok":
            raise _damaged(path, fault.strip().replace("\n", " "))
        _refuse_foreign(connection, path)
        return [_verdict(row, path) for row in _standing(connection, "", "")]


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
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # the latter in what SQLite would say
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, what: str) -> StoreRefused:
    return StoreRefused(f"{path} is damaged: {what}; {REMEDY}")


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
        raise StoreRefused(f"{path} is no database of verdicts; {REMEDY}")


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """The version of a database of verdicts, 0 for an empty file. Raises StoreRefused on any other, by what can be told
    without reading it whole."""
    ask, alone = connection.execute, not connection.in_transaction
    if alone:
        ask("BEGIN")  # else another process may make the tables between two of the questions
    try:
        queries = "SELECT count(*) FROM sqlite_master", "PRAGMA application_id", "PRAGMA user_version"
        things, application, version = (ask(query).fetchone()[0] for query in queries)
    finally:
        if alone:
            ask("ROLLBACK")
    if not (application or version or things):
        return 0
    if application != APPLICATION:
        raise StoreRefused(f"{path} is a database of something else; {REMEDY}")
    if not 1 <= version <= SCHEMA:
        raise StoreRefused(
            f"{path} is of version {version}, this xmr reads 1 to {SCHEMA}: use the xmr that wrote it, and export"
        )
    # A view may be endless, and a trigger do anything.
    if ask("SELECT count(*) FROM sqlite_master WHERE type NOT IN ('table', 'index')").fetchone()[0]:
        raise StoreRefused(f"{path} has views or triggers, which no database of verdicts has; {REMEDY}")
    found = {row["name"] for row in ask("PRAGMA table_info(events)")}
    missing = {"id", "key", "undoes", *COLUMNS, *(["owner"] if version > 1 else [])} - found
    if missing:
        raise _damaged(path, f"no {', '.join(sorted(missing))}")
    ask("SELECT max(id) FROM events").fetchone()
    return version


def _refuse_foreign(connection: sqlite3.Connection, path: Path) -> None:
    if foreign := connection.execute(FOREIGN).fetchone():
        raise _damaged(path, f"event {foreign[0]} is none that xmr writes")


def _sent_before(
    ask: Any, key: str, owner: str, undo: bool, who: tuple[str, ...], answer: str | None = None
) -> sqlite3.Row | None:
    """The event of that key, None where there is none yet. Raises ValueError where it is of another owner, or of something
    else: `who` are fingerprint, visual, text and person of a verdict, or the person of an undo."""
    row = ask("SELECT * FROM events WHERE key = ?", (key,)).fetchone()
    if row is None:
        return None
    names = ("judge",) if undo else ("fingerprint", "visual_id", "text_id", "judge")
    same = (row["undoes"] is not None) == undo and (row["owner"], row["answer"]) == (owner, answer)
    if not same or tuple(row[name] for name in names) != who:
        what = "undo" if undo else "verdict"
        raise ValueError(f"the key {key[:40]!r} was used for something else; give each {what} its own")
    return row


def _check_name(ask: Any, judge: str, owner: str) -> bool:
    """Whether the owner has the name already. Raises ValueError where another has it, or one that looks like it."""
    row = ask("SELECT judge, owner FROM names WHERE likeness = ?", (likeness(judge),)).fetchone()
    if row is not None and row["owner"] != owner:
        same = "is" if row["judge"] == judge else f"looks like {row['judge']!r},"
        raise ValueError(f"{judge!r} {same} the name of somebody who judges in another browser")
    return row is not None


def _standing(connection: sqlite3.Connection, judge: str, fingerprint: str) -> list[sqlite3.Row]:
    """The last verdict that stands of every person on every pair, in the order in which they were given."""
    given = {"judge": judge, "fingerprint": fingerprint}
    where = "".join(f"{name} = :{name} AND " for name, value in given.items() if value) + STANDING
    last = f"SELECT max(id) FROM events WHERE {where} GROUP BY fingerprint, visual_id, text_id, judge"
    return connection.execute(f"SELECT * FROM events WHERE id IN ({last}) ORDER BY id", given).fetchall()


def _verdict(row: sqlite3.Row, path: Path) -> Verdict:
    try:
        return Verdict(**{name: row[name] for name in COLUMNS})
    except ValueError as error:
        raise _damaged(path, f"event {row['id']}: {error}") from error
