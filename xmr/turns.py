"""Turns at something heavy: so many at a time, so many waiting, and whoever comes then is told."""

from __future__ import annotations

import threading
from types import TracebackType


class Busy(ValueError):
    """Too many wait already; said to whoever came last."""


class Turns:
    """A context manager: at most `at_once` threads are inside, at most `waiting` wait. Raises Busy for further ones.

    Not for a thread that is inside already: it would wait for itself.
    """

    def __init__(self, at_once: int, waiting: int = 64):
        self._inside = threading.Semaphore(at_once)
        self._places = threading.Semaphore(at_once + waiting)
        self._waiting = waiting

    def __enter__(self) -> None:
        if not self._places.acquire(blocking=False):
            raise Busy(f"{self._waiting} others wait for their turn already; try again in a minute")
        try:
            self._inside.acquire()
        except BaseException:
            self._places.release()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inside.release()
        self._places.release()
