"""JSON as data sets have it: an object with lists of records, a list of objects, or an object a line."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xmr.data.dataset import DataFault
from xmr.data.rows import MARKS, Row, read_text

HEAD = 1 << 16  # bytes of a file in which its first keys stand
EACH_LINE = 'each line must be one object such as {"file_name": "a.png", "captions": ["a cat"]}'
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:]')


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        name = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"{name!r:.80} stands twice in an object")
    return values


DECODER = json.JSONDecoder(object_pairs_hook=_once)


def parse_json(text: str) -> Any:
    """The value of a JSON text. Raises ValueError also where an object names something twice, of which `json` would keep
    the last; and RecursionError."""
    return DECODER.decode(text)


def json_keys(path: Path) -> list[str]:
    """The keys of the object that a JSON file begins with, as far as its head shows them; not those of objects within."""
    if not path.is_file():
        return []
    with path.open("rb") as file:
        data = file.read(HEAD)
    head = data.decode(
        next((name for mark, name in MARKS.items() if data.startswith(mark)), "utf-8"), "ignore"
    )
    found, depth, string = [], 0, ""
    for token in TOKEN.findall(head):
        if token in "{[":
            depth += 1
            if depth == 1 and token == "[":
                break
        elif token in "}]":
            depth -= 1
        elif token == ":":
            if depth == 1:
                found.append(string.strip('"'))
        else:
            string = token
    return found


def json_content(path: Path, text: str | None = None) -> Any:
    """The value of a JSON file, or of its `text` where that is read already. Raises DataFault."""
    try:
        return parse_json(read_text(path) if text is None else text)
    except DataFault:
        raise
    except (ValueError, RecursionError) as error:
        raise DataFault(f"{path}: not JSON ({error}); is the file whole?") from error


def records(path: Path, content: Any, name: str) -> Iterator[Row]:
    """The objects of the list `name` in the object that a JSON file is. Raises DataFault, with the place."""
    found = content.get(name) if isinstance(content, dict) else None
    if not isinstance(found, list):
        there = ", ".join(map(repr, content)) if isinstance(content, dict) else type(content).__name__
        raise DataFault(f"{path}: {name!r} must be a list of objects in one object (there is {there:.200})")
    for place, values in enumerate(found):
        if not isinstance(values, dict):
            raise DataFault(f"{path}, {name}[{place}]: must be an object, found {type(values).__name__}")
        yield Row(path, place, values, name + "[{}]")


def json_rows(path: Path, text: str, remedy: str = EACH_LINE) -> Iterator[Row]:
    """The object of each line that is not blank. Raises DataFault, with the line, and the `remedy`."""
    for line, raw in enumerate(text.split("\n"), 1):
        if not raw.strip():
            continue
        try:
            values = parse_json(raw)
        except (ValueError, RecursionError) as error:
            raise DataFault(f"{path}, line {line}: not JSON ({error}); {remedy}") from error
        if not isinstance(values, dict):
            raise DataFault(
                f"{path}, line {line}: must be a JSON object {{…}}, found {type(values).__name__}"
            )
        yield Row(path, line, values)


def entries(path: Path, text: str) -> Iterator[Row]:
    """The objects of the list that a file is. Raises DataFault, with the place."""
    found = json_content(path, text)
    if not isinstance(found, list):
        raise DataFault(f"{path}: must be a list of objects, found {type(found).__name__}")
    yield from records(path, {"": found}, "")
