"""The command lines, and what all of them say of errors and of Ctrl-C; imports nothing that takes time."""

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

INTERRUPTED = 130  # the exit code that shells know for Ctrl-C
_begun: list[float] = []


def leave_at_once() -> None:
    """Lets Ctrl-C end the process with one line while modules are imported, and once all work is done: nothing is lost then,
    and an exception would come out of the middle of a library."""
    _begun.append(time.monotonic())
    signal.signal(signal.SIGINT, _leave)
    from xmr.start import plain_warnings  # the path to xmr is known by now

    plain_warnings()


def began() -> float:
    """When this command line was started, imports counted, by time.monotonic(); now, where it is called as a function."""
    return _begun[0] if _begun else time.monotonic()


def told(work: Callable[[], int], advice: str = "") -> int:
    """The exit code of a command line: what `work` returns, 2 after one line on what it raised, 130 after Ctrl-C.

    `advice` says how to go on after that. A second Ctrl-C, while things are put away, ends the process at once.
    """
    ours = signal.getsignal(signal.SIGINT) is _leave
    if ours:
        signal.signal(signal.SIGINT, _stop)
    try:
        return work()
    except (ValueError, TypeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        where = f"{error.filename}: " if error.filename and error.strerror else ""
        print(f"error: {where}{(where and error.strerror) or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("; ".join(["interrupted", *([advice] if advice else [])]), file=sys.stderr)
        return INTERRUPTED
    finally:
        if ours:
            signal.signal(signal.SIGINT, _leave)


def _stop(*_: Any) -> None:
    signal.signal(signal.SIGINT, _leave)
    raise KeyboardInterrupt


def _leave(*_: Any) -> None:
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)
