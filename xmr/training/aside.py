"""One training as a process of its own: `python -m xmr.training.aside`, by whoever serves and must not wait.

It reads {"config", "folder", "places", "device", "command"} as JSON from its standard input, and writes lines of JSON: how far
it is ({"doing", "done", "of"}), steps ({"step", "steps", "loss"}), epochs with their metrics, and {"fault"} where it can't go on.
In a process of its own nobody else draws from torch's random numbers, it can be ended at any time, and it takes no turns of
those who are answered.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from xmr.allowed import find_at
from xmr.checkpoints import CannotSave, save_run
from xmr.core import TrainConfig
from xmr.devices import use_device
from xmr.start import plain_warnings
from xmr.training.loop import TrainingDiverged, train

OFTEN = 0.1  # seconds between two steps that are told


def main() -> int:
    asked = json.load(sys.stdin)
    plain_warnings()
    with contextlib.suppress(OSError, AttributeError):
        os.nice(10)
    try:
        find_at(asked["places"])
        use_device(asked["device"])
        _train(TrainConfig.from_json(asked["config"]), asked["folder"], asked["command"])
    except (ValueError, TypeError, OSError, TrainingDiverged, CannotSave) as error:
        _tell(fault=str(error))
        return 1
    return 0


def _train(config: TrainConfig, folder: str, command: str) -> None:
    """Trains, and writes the run's folder at the end: nobody goes on with what was stopped."""

    def reading(what: str, done: int, of: int) -> None:
        _tell(doing=what, done=done, of=of)

    steps = train(config, progress=reading, command=command)
    last = -OFTEN
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            trained = end.value
            break
        if step.metrics is None and time.monotonic() - last < OFTEN:
            continue
        last = time.monotonic()
        told: dict[str, Any] = {"step": step.step, "steps": step.steps, "loss": step.loss}
        if step.metrics is not None:
            told |= {"epoch": step.epoch, "metrics": step.metrics}
        _tell(**told)
    # The run may be sent on, and where the verdicts lie is nobody's business.
    save_run(folder, replace(trained, config=replace(trained.config, verdicts=Path(config.verdicts).name)))


def _tell(**what: Any) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    sys.exit(main())
