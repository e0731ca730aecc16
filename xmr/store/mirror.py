"""Verdicts kept in a data set repository of the Hub as well, for hosts whose disk is emptied at a restart.

The database stays what is asked and written to; what is new in it is added to a file of this process, and that file is sent
every few minutes and once more at the end, so that no two processes write one file. At the start all files are read back. Each
event has its key, so whatever is sent or read twice is there once.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import TimeoutError as TooLate  # another than the usual one before Python 3.11
from datetime import datetime, timezone
from pathlib import Path
from threading import Event as Signal
from threading import Thread
from typing import Any
from uuid import uuid4

from xmr.disk import Refused, read
from xmr.hub import Repository, keep_sending, make, snapshot
from xmr.store.database import VerdictStore
from xmr.store.events import as_lines, events_of, read_lines, take_in

MINUTES = 2.0  # between two sendings
FOLDER = "verdicts"  # of the repository
MOST_BYTES = 64 << 20  # of a file that is read back


class Mirror:
    """The events of the database at `place`, sent to the data set repository `name`; `tell` is told what the operator has to
    know, in a line. `fault` says why nothing can be sent at present, "" where it can."""

    def __init__(self, place: Path, name: str, tell: Callable[[str], None], minutes: float = MINUTES):
        self.place, self.repository = place, Repository(name, "dataset")
        self.fault = "not begun"
        self._tell, self._minutes = tell, minutes
        self._known: set[str] = (
            set()
        )  # keys of events that are in the repository, or in the file of this process
        self._waiting: set[str] = set()  # of these those that were not sent yet
        self._sending: Any = None
        self._closed = Signal()

    @property
    def name(self) -> str:
        return self.repository.name

    def open(self) -> None:
        """Reads back what is there, and begins to send. Where the Hub refuses, that is told, and tried again and again."""
        if not self._begun():
            Thread(target=self._until_begun, daemon=True).start()

    def close(self, seconds: float) -> None:
        """Sends what is left; what could not be sent within that time is told."""
        self._closed.set()
        if self._sending is not None:
            self.send(seconds)
            self._sending.stop()
            shutil.rmtree(self._file.parent.parent, ignore_errors=True)
        if self.fault and (left := self._left()):
            self._tell(
                f"Not sent to {self.name}: {left:,} of the verdicts and undos; they are in {self.place}."
            )

    def send(self, seconds: float) -> None:
        """Sends what is new now, and waits for it so long at most."""
        try:
            self._sending.trigger().result(seconds)
        except TooLate:
            self._became(f"the Hub did not answer within {seconds:g} s")

    def _until_begun(self) -> None:
        while not self._closed.wait(60 * self._minutes) and not self._begun():
            pass

    def _begun(self) -> bool:
        try:
            make(self.repository, private=True)
            self._read_back(snapshot(self.repository, [f"{FOLDER}/*.jsonl"]) / FOLDER)
            folder = Path(tempfile.mkdtemp(prefix="xmr-verdicts-")) / FOLDER
            folder.mkdir()
            began = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H-%M-%S")
            self._file = folder / f"{began}-{uuid4().hex[:8]}.jsonl"
            self._became("")
            self._sending = keep_sending(folder, self.repository, self._minutes, self._more, self._became)
        except (ValueError, OSError) as error:
            self._became(str(error))
            return False
        return True

    def _read_back(self, folder: Path) -> None:
        found, faults = [], []
        for path in sorted(folder.glob("*.jsonl")):
            try:
                events, wrong = read_lines(read(path, MOST_BYTES).decode("utf-8", "replace"))
            except Refused as error:
                events, wrong = [], [str(error)]
            found += events
            faults += [f"{path.name}: {one}" for one in wrong]
        for fault in faults[:5]:
            self._tell(f"  not read from {self.name}: {fault}")
        if len(faults) > 5:
            self._tell(f"  … and {len(faults) - 5:,} more")
        with VerdictStore(self.place) as store:
            added = take_in(store, found)
        self._known |= {event.key for event in found}
        self._tell(f"{len(found):,} verdicts and undos are in {self.name}, {added:,} of them new here.")

    def _more(self) -> bool:
        """Adds to the file what is new in the database; whether there is anything to send."""
        with VerdictStore(self.place) as store:
            new = events_of(store, self._known)
        if new:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(as_lines(new))
            self._known |= (keys := {event.key for event in new})
            self._waiting |= keys
        return bool(self._waiting)

    def _left(self) -> int:
        """How many events the repository has not got."""
        with VerdictStore(self.place) as store:
            return len(events_of(store, self._known - self._waiting))

    def _became(self, fault: str) -> None:
        before, self.fault = self.fault, fault
        if not fault:
            self._waiting.clear()
        if fault and fault != before:
            self._tell(
                f"Verdicts can't be sent to {self.name}: {fault}. They are kept in {self.place}, and sent once that is possible."
            )
        elif before not in ("", "not begun") and not fault:
            self._tell(f"Verdicts are sent to {self.name} again.")
