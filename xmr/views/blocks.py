"""What a view is made of: plain data that the page and the report draw. No gradio here.

A block is a dict with its `kind` and an `id` that no other block of the view has. `on` says which of its events the view
answers: the page sends them back as an act, `{"block": id, "event": name, "data": …}`. A control holds a `key` of the
state, which it changes, or an `act`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xmr.views import values

Block = dict[str, Any]
Options = Sequence[str | tuple[str, Any]]  # a name and its value; a text is both


def words(id: str, text: str, kind: str = "finding") -> Block:
    """A sentence; `kind` is "finding" (said again when it changes), "note" or "heading"."""
    return {"kind": "words", "id": id, "text": text, "style": kind}


def faults(id: str, items: Sequence[tuple[str, str]], **more: Any) -> Block:
    """Warnings: of each what it is about ("": all) and what is wrong; `more`: a `title`."""
    return {"kind": "faults", "id": id, "items": [list(one) for one in items], **more}


def progress(id: str, label: str, done: int, of: int) -> Block:
    """How much of something is done; of 0 nobody knows."""
    return {"kind": "progress", "id": id, "label": label, "done": done, "of": of}


def code(id: str, text: str) -> Block:
    """Commands to copy."""
    return {"kind": "code", "id": id, "text": text}


def chart(
    id: str,
    name: str,
    figure: Any | None,
    said: str,
    numbers: tuple[Sequence[str], Sequence[Sequence[Any]]] | None = None,
    on: Sequence[str] = (),
) -> Block:
    """A plotly figure (None: nothing to draw) below what it shows in words; `numbers` (columns, rows) says it again as a
    table, `name` is what it is called for those who can't see it."""
    return drawn(id, name, values.chart(figure, said, numbers), on)


def drawn(id: str, name: str, value: dict[str, Any], on: Sequence[str] = ("select",)) -> Block:
    """A chart whose value another function made."""
    return {"kind": "chart", "id": id, "name": name, "value": value, "on": list(on)}


def part(kind: str, id: str, value: dict[str, Any], on: Sequence[str] = ()) -> Block:
    """A block whose value another function made: "table", "cards", "grid", "queries", "tiles", "map" and the like."""
    return {"kind": kind, "id": id, "value": value, "on": list(on)}


def row(id: str, *blocks: Block, widths: Sequence[int] = ()) -> Block:
    """Blocks beside each other where there is room, in the proportion of `widths`."""
    return {"kind": "row", "id": id, "blocks": list(blocks), "widths": list(widths) or [1] * len(blocks)}


def column(id: str, *blocks: Block) -> Block:
    return {"kind": "column", "id": id, "blocks": list(blocks)}


def fold(id: str, title: str, *blocks: Block, opened: bool = False) -> Block:
    """Blocks that are seen when somebody opens them."""
    return {"kind": "fold", "id": id, "title": title, "blocks": list(blocks), "opened": opened}


def menu(id: str, label: str, options: Options, value: Any, **more: Any) -> Block:
    """A choice of one. `more`: `key` or `act`, and `shown=False` where only its name is for those who listen."""
    return _control("menu", id, label, value, options=_listed(options), **more)


def radio(id: str, label: str, options: Options, value: Any, **more: Any) -> Block:
    return _control("radio", id, label, value, options=_listed(options), **more)


def many(id: str, label: str, options: Options, value: Sequence[str], **more: Any) -> Block:
    """A choice of several, by typing."""
    return _control("many", id, label, list(value), options=_listed(options), **more)


def slider(id: str, label: str, low: float, high: float, value: float, step: float, **more: Any) -> Block:
    return _control("slider", id, label, value, low=low, high=high, step=step, **more)


def moments(id: str, label: str, options: Options, value: str, **more: Any) -> Block:
    """A choice of one along a way, the last of which is the end, and what plays them one after the other."""
    return _control("moments", id, label, value, options=_listed(options), **more)


def number(id: str, label: str, low: float, high: float, value: float, **more: Any) -> Block:
    return _control("number", id, label, value, low=low, high=high, **more)


def text(id: str, label: str, value: str, **more: Any) -> Block:
    """A line to type, sent by Enter."""
    return _control("text", id, label, value, **more)


def button(id: str, label: str, **more: Any) -> Block:
    """`act`: what the view is asked; `set`: keys of the state with their new values; `link`: where it leads; `counts`: the
    act's data are how often it was pressed since its last answer."""
    return _control("button", id, label, None, **more)


def turns(prefix: str) -> list[Block]:
    """The buttons that turn the pages of a list (`Scene.turned`)."""
    return [button(f"{prefix}-{label.lower()}", label, counts=True) for label in ("Previous", "Next")]


def _listed(options: Options) -> list[list[Any]]:
    return [[one, one] if isinstance(one, str) else list(one) for one in options]


def _control(kind: str, id: str, label: str, value: Any, **more: Any) -> Block:
    return {"kind": "control", "control": kind, "id": id, "label": label, "value": value, **more}
