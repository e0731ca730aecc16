"""What programs and browsers send, which may be anything: checked here, and refused in a sentence. No gradio here."""

from __future__ import annotations

from typing import Any

from xmr.limits import QUERY_LETTERS, RUNS_ASKED


def text(what: str, value: Any, most: int | None = None) -> str:
    """A text of 1 to `most` characters (else as many as a query may have), without the space around it. Raises ValueError."""
    most = most or QUERY_LETTERS.now
    if not isinstance(value, str):
        raise ValueError(f"{what} is a text, found {_shown(value)}")
    if len(value) > most:
        raise ValueError(f"{what} has {len(value):,} characters, and at most {most:,} are read: shorten it")
    if not value.strip():
        raise ValueError(f"{what} is empty")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} has half a character (a lone surrogate): {_shown(value)}") from None
    return value.strip()


def names(what: str, value: Any) -> list[str]:
    """Different names, in their order, as many as runs may be asked. Raises ValueError."""
    most = RUNS_ASKED.now
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{what} is a list of names, found {_shown(value)}")
    if len(value) > most:
        raise ValueError(f"{what} has {len(value):,} names, and at most {most:,} are read")
    for one in value:
        if not isinstance(one, str):
            raise ValueError(f"{what} is a list of names, found {_shown(one)} in it")
    return list(dict.fromkeys(value))


def whole(what: str, value: Any, low: int, high: int) -> int:
    """A whole number in [low, high]; 3.0 is one, as some programs write it. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value // 1:
        raise ValueError(f"{what} is a whole number from {low:,} to {high:,}, found {_shown(value)}")
    if not low <= value <= high:
        raise ValueError(f"{what} must be {low:,} to {high:,}, found {_shown(value)}")
    return int(value)


def _shown(value: Any) -> str:
    """What was found, with its kind as JSON calls it."""
    if value is None:
        return "null"
    kinds = {str: "the string", bool: "the boolean", int: "the number", float: "the number"}
    kind = kinds.get(type(value), "an object" if isinstance(value, dict) else "a list")
    if type(value) not in kinds:
        return kind
    written = repr(value[:60] if isinstance(value, str) else value)[:80]
    return f"{kind} {written}"
