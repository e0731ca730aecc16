"""Training while the server serves: recipes wait in one queue, one after the other is trained in a process of its own, and what
comes of it is a run folder in xmr's cache, named by the recipe's digest.

In public, where anybody may come, each visitor has a few, a training may take half a minute, and what was trained is deleted
after an hour (`xmr.limits`).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xmr
from xmr.allowed import given_places
from xmr.cache import cache_folder
from xmr.checkpoints import Run, RunRefused, clear_run, is_finished, load_run
from xmr.core import TrainConfig
from xmr.devices import device
from xmr.limits import TRAINED_SECONDS, TRAINING_SECONDS, TRAININGS, TRAININGS_WAIT
from xmr.workspace.public import public

ALONE = ThreadPoolExecutor(1, "training")  # one at a time, whoever asks
BEGIN = 600  # seconds until the first step, where it is limited

_held: dict[str, Training] = {}  # by digest, in the order in which they were asked for
_guard = threading.RLock()


@dataclass
class Training:
    """One training: `how` it is doing, "waiting", "running", "done", "failed" for the reason `fault`, or "cancelled"; what it
    does before its first step, and then how far it is. `losses` are (step, loss), `scores` the validation metrics by step."""

    config: TrainConfig
    folder: Path
    owners: set[str]
    how: str = "waiting"
    fault: str = ""
    doing: str = ""
    done: int = 0
    of: int = 0
    losses: list[tuple[int, float]] = field(default_factory=list)
    scores: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    asked: float = field(default_factory=time.monotonic)
    _process: subprocess.Popen[str] | None = field(default=None, repr=False)

    @property
    def goes_on(self) -> bool:
        return self.how in ("waiting", "running")

    def run(self) -> None:
        """Trains, in the queue's thread."""
        try:
            with _guard:
                if self.how != "waiting":
                    return
                self.how = "running"
                self._process = _started()
            fault = self._follow(self._process)
        except Exception as error:  # one fault must not end all further ones
            traceback.print_exc()
            fault = f"It failed here ({type(error).__name__}); the server's log says where."
        with _guard:
            if self.how == "running":
                self.how, self.fault = ("failed", public(fault)) if fault else ("done", "")
            if self.how != "done" and not is_finished(self.folder):
                shutil.rmtree(self.folder, ignore_errors=True)

    def _follow(self, process: subprocess.Popen[str]) -> str:
        """Hears what the process tells until it ends; why it failed, "" where it did not."""
        asked = {
            "config": self.config.to_json(),
            "folder": str(self.folder),
            "places": given_places(),
            "device": str(device()),
            "command": "trained in the app",
        }
        limit, fault, began = TRAINING_SECONDS.now, "", 0.0
        end = threading.Timer(BEGIN, process.kill)
        end.daemon = True
        if limit is not None:
            end.start()
        try:
            with process, process.stdin, process.stdout:
                process.stdin.write(json.dumps(asked))
                process.stdin.close()
                for line in process.stdout:
                    told = json.loads(line)
                    fault = told.get("fault", fault)
                    began = began or ("step" in told and time.monotonic())
                    if limit is not None and began and time.monotonic() - began > limit:
                        process.kill()
                        return f"It took more than {limit} seconds, which is all that a visitor has: take fewer epochs."
                    self._hear(told)
        finally:
            end.cancel()
        if process.returncode == 0 or fault:
            return fault
        return f"Its process ended with {process.returncode}; the server's log may say why."

    def _hear(self, told: dict[str, Any]) -> None:
        if "step" not in told:
            self.doing, self.done, self.of = (
                told.get("doing", self.doing),
                told.get("done", 0),
                told.get("of", 0),
            )
            return
        self.doing, self.done, self.of = "", told["step"], told["steps"]
        self.losses.append((told["step"], told["loss"]))
        if "metrics" in told:
            self.scores.append((told["step"], told["metrics"]))

    def stop(self) -> None:
        """Ends it at once; nothing of it is left."""
        with _guard:
            if self.goes_on:
                self.how = "cancelled"
                if self._process is not None:
                    self._process.kill()


def _started() -> subprocess.Popen[str]:
    """A process that will train what it is told. It finds xmr where this process did."""
    root = str(Path(xmr.__file__).parent.parent)
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    return subprocess.Popen(
        [sys.executable, "-m", "xmr.training.aside"], text=True, encoding="utf-8", env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip


def folder_of(digest: str) -> Path:
    """Where what is trained by that digest lies, once it is."""
    return cache_folder() / "trained" / digest


def ask(digest: str, config: TrainConfig, owner: str) -> Training:
    """Begins the training, or joins the one that goes on. Raises ValueError where the visitor, or the queue, has enough."""
    with _guard:
        sweep()
        held = _held.get(digest)
        if held is not None and (held.goes_on or (held.how == "done" and is_finished(held.folder))):
            held.owners.add(owner)
            return held
        if not owner and TRAININGS.now is not None:
            raise ValueError("The page has no secret of this browser; reload it.")
        mine = [
            one for one in _held.values() if owner in one.owners and one.how not in ("failed", "cancelled")
        ]
        if TRAININGS.now is not None and len(mine) >= TRAININGS.now:
            raise ValueError(
                f"You have trained {len(mine)} here, which is all for now: they are freed after an hour."
            )
        if sum(one.how == "waiting" for one in _held.values()) >= TRAININGS_WAIT.now:
            raise ValueError(
                f"{TRAININGS_WAIT.now} trainings wait for their turn already; try again in a few minutes."
            )
        _held.pop(digest, None)  # it stands at the end of the queue now
        new = _held[digest] = Training(config, folder_of(digest), {owner})
        ALONE.submit(new.run)
        return new


def cancel(digest: str, owner: str) -> None:
    """Takes back what this visitor asked for; it ends where nobody else asked for it."""
    with _guard:
        held = _held.get(digest)
        if held is None or owner not in held.owners:
            raise ValueError("Only who began a training can cancel it.")
        held.owners.discard(owner)
        if not held.owners:
            held.stop()


def training_of(digest: str) -> Training | None:
    """The one that was asked for since the server started."""
    return _held.get(digest)


def place_of(held: Training) -> int:
    """How many come before it in the queue."""
    with _guard:
        every = list(_held.values())
        return sum(one.goes_on for one in every[: every.index(held)]) if held in every else 0


def is_trained(digest: str) -> bool:
    """Whether the run is there, whole or not."""
    held = _held.get(digest)
    return not (held is not None and held.goes_on) and is_finished(folder_of(digest))


def trained(digest: str) -> Run | None:
    """The run that was trained; None where there is none that is whole."""
    try:
        return load_run(folder_of(digest)) if is_trained(digest) else None
    except (RunRefused, OSError):
        return None


def sweep() -> None:
    """Deletes what was kept for its time."""
    if TRAINED_SECONDS.now is None:
        return
    with _guard:
        for digest, held in list(_held.items()):
            if not held.goes_on and time.monotonic() - held.asked > TRAINED_SECONDS.now:
                del _held[digest]
        for folder in (cache_folder() / "trained").glob("*"):
            held = _held.get(folder.name)
            try:
                old = time.time() - folder.stat().st_mtime > TRAINED_SECONDS.now
            except OSError:
                continue  # gone meanwhile
            if old and not (held is not None and held.goes_on):
                clear_run(folder)
                shutil.rmtree(folder, ignore_errors=True)
