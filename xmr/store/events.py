"""All that was said and taken back, as lines that are only ever added: what is kept elsewhere, and read back from there.

A line is an object: a verdict as exports have it, with the key that tells it from all others and its owner; or an undo, which
names the key of what it takes back. Exports are read from such files too (`xmr.store.read_verdicts`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import asdict, astuple, dataclass
from typing import Any

from xmr.data.json_files import parse_json
from xmr.store.database import VerdictStore
from xmr.store.verdicts import COLUMNS, Verdict, judge_name, likeness, storable, utc_time

LONGEST = 200  # characters of a key and of an owner
NEW = """
SELECT said.*, undone.key AS undone FROM events AS said LEFT JOIN events AS undone ON undone.id = said.undoes
WHERE said.id IN (SELECT value FROM json_each(?)) ORDER BY said.id"""
LATER = """
SELECT 1 FROM events WHERE fingerprint = ? AND visual_id = ? AND text_id = ? AND judge = ? AND answer IS NOT NULL AND at > ?
LIMIT 1"""
UNDONE = """
SELECT id FROM events WHERE key = ? AND judge = ? AND answer IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM events AS u WHERE u.undoes = events.id)"""


@dataclass(frozen=True)
class Event:
    """A verdict or, where there is none, an undo of the one whose key is `undoes`."""

    key: str
    owner: str
    judge: str
    at: str
    verdict: Verdict | None
    undoes: str = ""


def as_lines(events: Iterable[Event]) -> str:
    return "".join(json.dumps(_told(event), ensure_ascii=False) + "\n" for event in events)


def read_lines(text: str) -> tuple[list[Event], list[str]]:
    """The events of such a file, and of lines that hold none the number and why."""
    events, faults = [], []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                events.append(_event(parse_json(line)))
            except (ValueError, RecursionError) as error:
                faults.append(f"line {number}: {error}")
    return events, faults


def events_of(store: VerdictStore, known: Collection[str]) -> list[Event]:
    """The store's events whose keys are not `known`, in their order. Raises as the store."""
    with store.writing() as ask:
        new = [row["id"] for row in ask("SELECT id, key FROM events") if row["key"] not in known]
        rows = ask(NEW, (json.dumps(new),)).fetchall()
    return [
        Event(
            row["key"], row["owner"], row["judge"], row["at"],
            None if row["undone"] else Verdict(**{name: row[name] for name in COLUMNS}), row["undone"] or "",
        )
        for row in rows
    ]  # fmt: skip


def take_in(store: VerdictStore, events: Iterable[Event]) -> int:
    """Adds the events that the store has not got, and returns how many. As of an export, the latest by its time of a person's
    verdicts on a pair stands: an earlier one than the store has is left out. Raises as the store."""
    said = list(events)
    verdicts = sorted((one for one in said if one.verdict), key=lambda one: one.at)
    added = 0
    with store.writing() as ask:
        for event in verdicts:
            verdict = event.verdict
            if _is_there(ask, event) or ask(LATER, (*verdict.pair, event.judge, event.at)).fetchone():
                continue
            marks = ", ".join("?" * (2 + len(COLUMNS)))
            ask(
                f"INSERT INTO events (key, owner, {', '.join(COLUMNS)}) VALUES ({marks})",
                (event.key, event.owner, *astuple(verdict)),
            )
            if event.owner:
                name = likeness(event.judge), event.judge, event.owner
                ask("INSERT OR IGNORE INTO names VALUES (?, ?, ?)", name)
            added += 1
        for event in said:
            undone = None if event.verdict else ask(UNDONE, (event.undoes, event.judge)).fetchone()
            if undone is not None and not _is_there(ask, event):
                values = event.key, undone["id"], event.judge, event.at, event.owner
                ask("INSERT INTO events (key, undoes, judge, at, owner) VALUES (?, ?, ?, ?, ?)", values)
                added += 1
    return added


def _is_there(ask: Any, event: Event) -> bool:
    return ask("SELECT 1 FROM events WHERE key = ?", (event.key,)).fetchone() is not None


def _told(event: Event) -> dict[str, Any]:
    known = {"key": event.key, "owner": event.owner}
    if event.verdict:
        return known | asdict(event.verdict)
    return known | {"undoes": event.undoes, "judge": event.judge, "at": event.at}


def _event(found: Any) -> Event:
    """Raises ValueError where it is none."""
    if not isinstance(found, dict):
        raise ValueError("it is no object")
    texts = {name: found.get(name) or "" for name in ("key", "owner", "undoes", *COLUMNS) if name != "score"}
    for name, value in texts.items():
        if not isinstance(value, str):
            raise ValueError(f"{name!r} must be text, found {value!r:.40}")
    key, owner, undoes = (storable(texts.pop(name)) for name in ("key", "owner", "undoes"))
    if not 0 < len(key) <= LONGEST or len(owner) > LONGEST or len(undoes) > LONGEST:
        raise ValueError(f"a key has 1 to {LONGEST} characters, an owner at most so many")
    if undoes:
        return Event(key, owner, judge_name(texts["judge"]), utc_time(texts["at"]), None, undoes)
    score = found.get("score")
    if score is not None and (isinstance(score, bool) or not isinstance(score, int | float)):
        raise ValueError(f"'score' must be a number or nothing, found {score!r:.40}")
    if not texts["at"]:
        raise ValueError("it has no time")
    verdict = Verdict(**texts, score=score)
    return Event(key, owner, verdict.judge, verdict.at, verdict)
