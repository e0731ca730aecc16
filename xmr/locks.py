"""One writer at a time, across processes and threads."""

from __future__ import annotations

import hashlib
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from threading import Lock

from filelock import FileLock, Timeout

from xmr.cache import cache_dir
from xmr.disk import saving
from xmr.processes import first

_OURS: dict[str, Lock] = {}  # by the name of what this process writes


class Held(ValueError):
    """Another process writes there; the message tells which."""


@contextmanager
def holding(path: Path, wait: bool = False) -> Iterator[None]:
    """Keeps other processes (and threads) from writing `path` while the block runs; one that dies lets go of it.

    Raises Held where another has it; with `wait` its end is awaited, with a warning where that is another process: two readers
    of this one only share the work. Raises CannotSave.
    """
    # In the cache: beside `path` the file would have to stay.
    name = hashlib.sha256(str(path.absolute().resolve()).encode(errors="surrogateescape")).hexdigest()[:16]
    with ExitStack() as held, saving(path):
        folder = cache_dir("locks")
        lock, holder = FileLock(folder / f"{name}.lock", thread_local=False), folder / f"{name}.txt"
        # First among our own threads: who is met at the file is another process.
        ours = _OURS.setdefault(name, Lock())
        if not ours.acquire(blocking=wait):
            raise _held(path, holder)
        held.callback(ours.release)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not wait:
                raise _held(path, holder) from None
            warnings.warn(f"{path} is being written by {_who(holder)}; waiting for it", stacklevel=4)
            lock.acquire()
        held.callback(lock.release)
        held.callback(_forget, holder)
        since = datetime.now(timezone.utc).isoformat(timespec="seconds")
        holder.write_text(f"{_self()} since {since}", encoding="utf-8")
        let_go = held.pop_all()
    with let_go:
        yield


@contextmanager
def held_for_all(path: Path) -> Iterator[None]:
    """As `holding` without waiting; of processes that work together the first one holds it, for all of them."""
    with ExitStack() as held:
        first(lambda: held.enter_context(holding(path)))
        yield


def _forget(holder: Path) -> None:
    with suppress(OSError):
        holder.unlink(missing_ok=True)


def _held(path: Path, holder: Path) -> Held:
    return Held(f"{path} is being written by {_who(holder)}; wait for it, or choose another place")


def _self() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _who(holder: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        return holder.read_text(encoding="utf-8")[:200] or "another process"
    return "another process"
