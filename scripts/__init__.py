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


def told(work: Callable[[], int], advice: str = "", shared: bool = False) -> int:
    """The exit code of a command line: what `work` returns, 2 after one line on what it raised, 130 after Ctrl-C.

    `advice` says how to go on after that. A second Ctrl-C, while things are put away, ends the process at once. Several
    processes of torchrun share the work out where it is `shared`, and are refused elsewhere; one of them tells what ends them all.
    """
    ours = signal.getsignal(signal.SIGINT) is _leave
    if ours:
        signal.signal(signal.SIGINT, _stop)
    try:
        return work() if (os.environ.get("WORLD_SIZE") or "1") == "1" else _together(work, shared)
    except (ValueError, TypeError) as error:
        _tell(f"error: {error}")
        return 2
    except OSError as error:
        where = f"{error.filename}: " if error.filename and error.strerror else ""
        _tell(f"error: {where}{(where and error.strerror) or error}")
        return 2
    except KeyboardInterrupt:
        _tell("; ".join(["interrupted", *([advice] if advice else [])]))
        return INTERRUPTED
    finally:
        if ours:
            signal.signal(signal.SIGINT, _leave)


def _together(work: Callable[[], int], shared: bool) -> int:
    from xmr import processes  # takes a second

    if not shared:
        if os.environ.get("RANK", "0") != "0":
            return 2
        raise ValueError(
            f"WORLD_SIZE={os.environ['WORLD_SIZE']}: this runs in one process; torchrun starts train, evaluate and add"
        )
    try:
        with processes.together():
            return work()
    except processes.ProcessLost as error:
        raise ValueError(str(error)) from error


def _tell(line: str) -> None:
    """Prints what ends this process, unless another one of torchrun's has told it."""
    ours = sys.modules.get("xmr.processes")
    alone = ours is None or ours.once(line)
    if alone:
        print(line, file=sys.stderr, flush=True)


def _stop(*_: Any) -> None:
    signal.signal(signal.SIGINT, _leave)
    raise KeyboardInterrupt


def _leave(*_: Any) -> None:
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)
