"""The log of an experiment: each finished trial is a line of JSON, on disk before the next one begins."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from xmr.locks import holding

Key = Callable[[dict[str, Any]], Any]


@contextmanager
def opened(path: Path, what: str, key: Key) -> Iterator[Log]:
    """The `Log` at `path`, for this process alone. Raises ValueError where another one writes it or it is broken."""
    with holding(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        yield Log(path, what, key)


class Log:
    """What was done, by its key; `headers` are the lines without one.

    `key` gives the key of a line, any JSON, or None for a header; it raises ValueError, TypeError or KeyError where the line
    is none of a log of that kind, which `what` names. Of lines with one key the last one counts.
    """

    def __init__(self, path: Path, what: str, key: Key):
        self.path, self.key = path, key
        self.headers: list[dict[str, Any]] = []
        self._lines: dict[str, dict[str, Any]] = {}
        content = path.read_bytes() if path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        for number, line in enumerate(whole.split(b"\n")[:-1], 1):
            try:
                values = json.loads(line)
                if not isinstance(values, dict):
                    raise TypeError(f"{type(values).__name__} instead of an object")
                self._keep(values)
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                raise ValueError(f"{path}, line {number}, is no line of a {what}: {error}") from error
        if len(whole) < len(content):  # killed while it wrote the last line
            os.truncate(path, len(whole))

    def __len__(self) -> int:
        return len(self._lines)

    def find(self, key: Any) -> dict[str, Any] | None:
        """The line of that key."""
        return self._lines.get(_text(key))

    def append(self, values: dict[str, Any]) -> None:
        """The line is on disk before this returns."""
        with self.path.open("ab") as file:
            file.write(json.dumps(values).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._keep(values)

    def _keep(self, values: dict[str, Any]) -> None:
        key = self.key(values)
        if key is None:
            self.headers.append(values)
        else:
            self._lines[_text(key)] = values


def _text(key: Any) -> str:
    return json.dumps(key, sort_keys=True)


def checked(kind: TypeAdapter, values: Any) -> Any:
    """What was read from a line, as that kind. Raises ValueError, naming the field, where it is none."""
    try:
        return kind.validate_python(values)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part)[:80] for part in fault["loc"])
        raise ValueError(f"{place}: {fault['msg']}") from error
