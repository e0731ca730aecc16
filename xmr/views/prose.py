"""Text with formulas, code and links, as plain data: what docstrings and stories say. No gradio here."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from xmr.views.blocks import Block, part

Part = dict[str, Any]
MARKED = re.compile(r"(\$\$[^$]+\$\$|\$[^$]+\$|`[^`]+`|\*[^\s*][^*]*\*|https?://[^\s,;)]+)")
# What MathML is made of, of which nothing asks, runs or leads anywhere.
TAGS = {
    "math", "mfrac", "mi", "mn", "mo", "mover", "mpadded", "mroot", "mrow", "mspace", "msqrt", "mstyle", "msub", "msubsup", "msup",
    "mtable", "mtd", "mtext", "mtr", "munder", "munderover",
}  # fmt: skip
PARTS = {"mfrac": 2, "mover": 2, "mroot": 2, "msub": 2, "msup": 2, "msubsup": 3, "munder": 2, "munderover": 3}
ATTRIBUTES = {
    "accent", "columnalign", "display", "displaystyle", "fence", "form", "linethickness", "lspace", "mathvariant", "maxsize", "minsize",
    "movablelimits", "rspace", "scriptlevel", "separator", "stretchy", "width",
}  # fmt: skip


def prose(id: str, paragraphs: Mapping[str, str] | list[str], moves: Mapping[str, dict[str, Any]]) -> Block:
    """Paragraphs, of a mapping with their labels; `moves`: names that lead somewhere, with the keys of the state that they set."""
    labelled = paragraphs.items() if isinstance(paragraphs, Mapping) else (("", one) for one in paragraphs)
    return part(
        "prose",
        id,
        {"paragraphs": [{"label": label, "parts": parts(text, moves)} for label, text in labelled]},
    )


def parts(text: str, moves: Mapping[str, dict[str, Any]] | None = None) -> list[Part]:
    """The text in parts: {"text"}, with "code" or "emphasis" where it is marked so; {"math", "latex"}; {"text", "href"} of an
    address; {"text", "set"} of a name in `moves`."""
    found: list[Part] = []
    for one in filter(None, MARKED.split(text)):
        if one.startswith("$"):
            latex = one.strip("$")
            try:
                found.append({"math": mathml(latex, one.startswith("$$")), "latex": latex})
            except ValueError:
                found.append({"text": latex, "code": True})
        elif one.startswith("`"):
            name = one[1:-1]
            found.append(
                {"text": name} | ({"set": moves[name]} if moves and name in moves else {"code": True})
            )
        elif one.startswith("http"):
            address = one.rstrip(".")
            found += [{"text": address, "href": address}, *([{"text": "."}] if address != one else [])]
        elif re.fullmatch(MARKED, one):
            found.append({"text": one[1:-1], "emphasis": True})
        else:
            found += _named(one, moves or {})
    return found


def _named(text: str, moves: Mapping[str, dict[str, Any]]) -> list[Part]:
    """Plain text, in which names with an underscore lead where `moves` says."""
    names = [re.escape(name) for name in moves if "_" in name]
    if not names:
        return [{"text": text}]
    split = re.split(rf"\b({'|'.join(names)})\b", text)
    return [{"text": one} | ({"set": moves[one]} if one in moves else {}) for one in split if one]


@lru_cache(maxsize=512)
def mathml(latex: str, display: bool) -> list[Any]:
    """MathML of LaTeX as nested [tag, attributes, text or list of the same]; `display`: on a line of its own. Raises ValueError
    on what is no LaTeX that can be drawn."""
    from latex2mathml.converter import convert_to_element  # reads its table of symbols

    try:
        found = convert_to_element(latex, display="block" if display else "inline")
    except Exception as error:  # of a library whose errors have no common kind
        raise ValueError(f"no formula: {latex!r:.80}: {error}") from error
    return _plain(found)


def _plain(node: Any) -> list[Any]:
    tag = node.tag.rpartition("}")[2]
    if tag not in TAGS:
        raise ValueError(f"a formula has no <{tag}>")
    if len(node) != PARTS.get(tag, len(node)):
        raise ValueError(f"a formula whose <{tag}> has {len(node)} parts")
    attributes = {name: value for name, value in node.attrib.items() if name in ATTRIBUTES}
    return [tag, attributes, [_plain(one) for one in node] if len(node) else _text(node.text or "")]


def _text(text: str) -> str:
    """Symbols come as their names in HTML; a command that was not understood comes as it is."""
    plain = html.unescape(text)
    if "\\" in plain:
        raise ValueError(f"a formula has no {plain[:40]}")
    return plain
