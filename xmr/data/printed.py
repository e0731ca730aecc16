"""Lists of strings that a program printed into one cell: JSON, and what Python, numpy and pandas show of lists."""

from __future__ import annotations

import ast
import json
import re
import warnings

CLOSE = {"[": "]", "(": ")", "{": "}"}
ELLIPSES = ("...", "…")
STRING = r"""[bBuU]?(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
ELEMENT = re.compile(
    rf"(?:(?:np|numpy)\.(?:str|bytes)_\(\s*(?P<wrapped>{STRING})\s*\))"
    rf"|(?P<plain>{STRING})|(?P<missing>None|nan|null|<NA>)(?!\w)",
    re.DOTALL,
)
UNCLOSED = re.compile(r"""(?:np\.str_\()?[bBuU]?['"]""")
NESTED = re.compile(r"""[\[({]+\s*[bBuU]?['"]""")
WRAPPED = re.compile(
    r"(?:np\.|numpy\.)?(?:array|list|tuple|set|frozenset|deque)\(\s*(?P<list>[\[({].*[\])}])\s*(?:,\s*dtype=[^()]*)?\)",
    re.DOTALL,
)


class BadList(ValueError):
    """A printed list from which the strings can't be had, with the reason."""


def elements(text: str) -> list[str | None] | None:
    """The strings of a printed list, tuple or set, None for what is missing among them; None where `text` is no such list.

    A caption that merely begins with a bracket is no list. Raises BadList where a list was cut off, as by a limit on
    the width or the number of elements, or holds other things than strings.

    >>> elements("['a cat' 'one cat']"), elements("[a cat]")
    (['a cat', 'one cat'], None)
    """
    text = text.strip()
    if wrapped := WRAPPED.fullmatch(text):
        text = wrapped["list"].strip()
    if len(text) < 2 or text[0] not in CLOSE:
        return None
    found = _json(text)
    return _printed(text) if found is None else found


def _json(text: str) -> list[str | None] | None:
    if text[0] == "(":
        return None
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(values, dict):
        raise BadList("an object where a caption or a list of captions should be")
    if all(value is None or isinstance(value, str) for value in values):
        return values
    if any(isinstance(value, (str, list, dict)) for value in values):
        raise BadList("a list that holds other things than strings")
    return None  # numbers in brackets are words of a caption


def _printed(text: str) -> list[str | None] | None:
    opening, end = text[0], len(text)
    found: list[str | None] = []
    place, commas = _blanks(text, 1), 0
    while place < end:
        if place == end - 1 and text[place] == CLOSE[opening]:
            single = opening == "(" and not commas  # ('a cat') is a caption in brackets, ('a cat',) a list
            return None if single else found
        if text.startswith(ELLIPSES, place) and (found or opening == "["):
            after = text[place:].lstrip(".…").lstrip()
            if (opening == "[" or commas) and (not after or after[0] in ",'\"" + CLOSE[opening]):
                raise BadList("a list that was cut off")
        element = ELEMENT.match(text, place)
        if element is None:
            if NESTED.match(text, place):
                raise BadList("lists or objects within a list")
            if UNCLOSED.match(text, place) and _cut(
                text, opening, bool((found and commas) or len(found) > 1)
            ):
                raise BadList("a list that was cut off")
            return None
        string = element["wrapped"] or element["plain"]
        found.append(None if string is None else _value(string))
        after = _blanks(text, element.end())
        if text.startswith(",", after):
            commas, place = commas + 1, _blanks(text, after + 1)
        elif opening == "{" and text.startswith(":", after):
            raise BadList("an object where a caption or a list of captions should be")
        elif (
            after >= end - 1  # the closing bracket, or none
            or text.startswith(ELLIPSES, after)
            or (opening == "[" and after > element.end())  # numpy separates by blanks alone
        ):
            place = after
        else:
            return None
    if commas or len(found) > 1:  # no bracket closes it
        raise BadList("a list that was cut off")
    return None


def _cut(text: str, opening: str, several: bool) -> bool:
    """Whether a text whose last string never ends is a list cut off, rather than a caption that begins so."""
    return several or (opening == "[" and text.endswith(ELLIPSES) and "]" not in text)


def _blanks(text: str, place: int) -> int:
    while place < len(text) and text[place].isspace():
        place += 1
    return place


def _value(string: str) -> str:
    """What a literal stands for; one that Python would not read, with a bare line feed say, is taken as it is."""
    inner = string.lstrip("bBuU")[1:-1]
    if "\\" not in string and string[0] not in "bB":
        return inner
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of unknown escapes, which stay as they are
            value = ast.literal_eval(string)
    except (SyntaxError, ValueError):
        return inner
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
