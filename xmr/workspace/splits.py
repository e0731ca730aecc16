"""A large split that is not embedded yet: how much there is to read, and reading it in the background when somebody asks."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from xmr.core import DIRECTIONS
from xmr.workspace import Workspace
from xmr.workspace.memory import remembered
from xmr.workspace.public import publish

Progress = Callable[[str, int, int], None]  # what, how many are done, and of how many
AT_ONCE = 100  # visuals of a split that is embedded while somebody waits
ALONE = ThreadPoolExecutor(1, "embedding")  # one split at a time, whoever asks


class Cancelled(Exception):
    """Somebody stopped it."""


class Reading:
    """The embedding of one split by all encoders of a workspace: `how` it is doing, "" before it was asked for, "waiting" for
    another one, "running", "done" or "failed", for the reason `fault`; what it does now, and how far it is.

    What is read is kept in xmr's cache: a cancelled one goes on from there, but for pictures that are rendered at once.
    """

    def __init__(self, workspace: Workspace, split: str):
        self._workspace, self._split = workspace, split
        self._guard, self._stop = threading.Lock(), threading.Event()
        self.how, self.fault, self.doing, self.done, self.of = "", "", "", 0, 0
        self.left: float | None = None  # seconds that the present part will take
        self._began = (0.0, 0)

    def start(self, runs: Sequence[str]) -> None:
        """Begins, or waits for its turn, unless it has; the embeddings of these runs are made too."""
        with self._guard:
            if self.how in ("waiting", "running", "done"):
                return
            self._stop = threading.Event()
            self.how, self.fault, self.doing, self.done, self.of = "waiting", "", "", 0, 0
            ALONE.submit(self._run, list(runs), self._stop)

    def cancel(self) -> None:
        """Stops it within a second or two."""
        with self._guard:
            if self.how in ("waiting", "running"):
                self._stop.set()
                self.how = ""

    def _run(self, runs: list[str], stop: threading.Event) -> None:
        def told(what: str, done: int, of: int) -> None:
            if stop.is_set():
                raise Cancelled
            now = time.monotonic()
            if what != self.doing:
                self._began = now, done
            began, before = self._began
            self.left = (now - began) / (done - before) * (of - done) if done > before else None
            self.doing, self.done, self.of = what, done, of

        if hasattr(os, "setpriority"):  # whoever asks for another thing goes before it
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        how, fault = "done", ""
        try:
            told("Reading captions", 0, 0)
            with self._guard:
                self.how = "" if stop.is_set() else "running"
            self._read(runs, told)
        except Cancelled:
            return
        except (ValueError, OSError) as error:
            publish(error)
            how, fault = "failed", str(error)
        except Exception as error:  # a fault of one split must not end all further ones
            traceback.print_exc()
            how, fault = "failed", f"It failed here ({type(error).__name__}); the server's log says where"
        with self._guard:
            if not stop.is_set():
                self.how, self.fault = how, fault

    def _read(self, runs: list[str], told: Progress) -> None:
        workspace, split = self._workspace, self._split
        data = workspace.dataset(split)
        workspace.embedder.read_split([*workspace.runs.values()], data, told)
        for done, run in enumerate(runs):
            told("Embedding by each run", done, len(runs))
            with contextlib.suppress(ValueError, OSError):  # its column will say so
                workspace.index(run, split, "v")
        for done, direction in enumerate(DIRECTIONS):
            told("Looking for where runs differ", done, len(DIRECTIONS))
            workspace.disagreements(runs, split, direction)


@remembered
def reading(workspace: Workspace, split: str) -> Reading:
    """The one of the split, for all who ask."""
    return Reading(workspace, split)


def visuals_of(workspace: Workspace, split: str) -> int:
    """How many visuals the split has, as the runs tell: loading it just to count them is slow."""
    sizes = next(iter(workspace.runs.values())).dataset.get("sizes", {})
    return sizes.get(split, {}).get("visuals", 0)


def is_ready(workspace: Workspace, split: str) -> bool:
    """Whether the split can be shown without a long wait: always the test split, whose embeddings are in the runs' folders,
    and small ones."""
    if split == "test" or not workspace.runs or visuals_of(workspace, split) <= AT_ONCE:
        return True
    return reading(workspace, split).how == "done"


@remembered
def unread(workspace: Workspace, split: str) -> int:
    """How many of the split's visuals some encoder had yet to read, and keep in the cache, when this was first asked."""
    return workspace.embedder.unread([*workspace.runs.values()], split)
