"""Names of a split's items that stay when the data is loaded again, for links: `visual:ID` and `caption:ID#N`."""

from __future__ import annotations

from typing import Literal

from xmr.store.verdicts import told_apart
from xmr.workspace import Workspace
from xmr.workspace.memory import remembered

Side = Literal["visual", "caption"]


class UnknownItem(ValueError):
    """A name that no item of the split has."""


def item_link(workspace: Workspace, split: str, side: Side, index: int) -> str:
    """The name of an item: its visual's id, made unique by a number where ids repeat; for an item of the second side also
    its place among those of its visual."""
    data = workspace.dataset(split)
    if side == "visual":
        return f"visual:{_visual_names(workspace, split)[index]}"
    visual = int(data.visual_of_text[index])
    return f"caption:{_visual_names(workspace, split)[visual]}#{data.text_numbers[index]}"


def find_item(workspace: Workspace, split: str, name: str) -> tuple[Side, int]:
    """The item of that name. Raises UnknownItem."""
    side, _, key = name.partition(":")
    places = _places(workspace, split)
    if side == "visual" and key in places:
        return "visual", places[key]
    own, _, number = key.rpartition("#")
    if side == "caption" and own in places and number.isdecimal() and len(number) < 8:
        texts = workspace.dataset(split).texts_of(places[own])
        if int(number) < len(texts):
            return "caption", int(texts[int(number)])
    raise UnknownItem(f"the {split} split has no item {name[:80]!r}")


@remembered
def _visual_names(workspace: Workspace, split: str) -> list[str]:
    return told_apart(workspace.dataset(split).visual_ids)


@remembered
def _places(workspace: Workspace, split: str) -> dict[str, int]:
    return {name: index for index, name in enumerate(_visual_names(workspace, split))}
