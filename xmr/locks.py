"""One writer at a time, across processes and threads."""

from __future__ import annotations

import hashlib
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path

from filelock import FileLock, Timeout

from xmr.cache import cache_dir
from xmr.disk import saving


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
    with saving(path):
        folder = cache_dir("locks")
        lock, holder = FileLock(folder / f"{name}.lock", thread_local=False), folder / f"{name}.txt"
        try:
            lock.acquire(timeout=0)
        except Timeout:
            who = _who(holder)
            told = f"{path} is being written by {who}"
            if not wait:
                raise Held(f"{told}; wait for it, or choose another place") from None
            if not who.startswith(f"{_self()} "):
                warnings.warn(f"{told}; waiting for it", stacklevel=4)
            lock.acquire()
    try:
        since = datetime.now(timezone.utc).isoformat(timespec="seconds")
        with saving(path):
            holder.write_text(f"{_self()} since {since}", encoding="utf-8")
        yield
    finally:
        with suppress(OSError):
            holder.unlink(missing_ok=True)
        lock.release()


def _self() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _who(holder: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        return holder.read_text(encoding="utf-8")[:200] or "another process"
    return "another process"
