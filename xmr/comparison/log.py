"""The log of a comparison: what it is, and every finished training, on disk before the next one begins."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from xmr.comparison.outcomes import Record
from xmr.core import TrainConfig
from xmr.locks import holding


@contextmanager
def opened(path: Path) -> Iterator[Log]:
    """The log at `path`, for this process alone. Raises ValueError where another one writes it or it is broken."""
    with holding(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        yield Log(path)


class Log:
    """One JSON line for what the comparison is, then one per finished training."""

    def __init__(self, path: Path):
        self.path = path
        self.headers: list[dict[str, Any]] = []
        self.records: dict[str, Record] = {}
        content = path.read_bytes() if path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                values = json.loads(line)
                if "config" in values:
                    self.headers.append(values)
                else:
                    self._keep(Record.from_json(values))
            except (ValueError, TypeError) as error:
                raise ValueError(f"{path}, line {number}, is no line of a comparison: {error}") from error
        if len(whole) < len(content):  # killed while it wrote the last line
            os.truncate(path, len(whole))

    def identify(self, wanted: dict[str, Any]) -> None:
        """Writes what this comparison is, or raises ValueError where the log is of another one."""
        defaults = TrainConfig().to_json()  # a field that came later was at its default before
        for header in self.headers:
            there = {**header, "config": defaults | header["config"]}
            told = "; ".join(differences(there, wanted))
            if told:
                raise ValueError(f"{self.path} holds another comparison ({told}); choose another --out")
        if not self.headers:
            if self.records:
                raise ValueError(f"{self.path} does not say what it compares; choose another --out")
            self._write(wanted)

    def find(self, config: TrainConfig, role: str, selector: str = "") -> Record | None:
        """The record of a training, `selector` being that of a row of its own."""
        return self.records.get(key(config.loss, role, config.seed, config.lr, config.loss_params, selector))

    def append(self, record: Record) -> None:
        """The line is on disk before this returns."""
        self._write(asdict(record))
        self._keep(record)

    def _keep(self, record: Record) -> None:
        parts = (record.loss, record.role, record.seed, record.lr, record.params, record.selector)
        self.records[key(*parts)] = record

    def _write(self, values: dict[str, Any]) -> None:
        with self.path.open("ab") as file:
            file.write(json.dumps(values).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def key(*parts: Any) -> str:
    return json.dumps(parts, sort_keys=True)


def differences(there: dict[str, Any], here: dict[str, Any], name: str = "") -> Iterator[str]:
    """What two nested dicts of JSON do not share, in words."""
    for part in sorted(there.keys() | here.keys()):
        old, new = there.get(part), here.get(part)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from differences(old, new, part)
        elif old != new:
            label = f"the data of {part}" if name == "fingerprints" else part
            yield f"{label}: {old!r} there, {new!r} now"
