"""The present query: where it comes from, and how it is written in a link. No gradio here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from xmr.core import Direction
from xmr.views import given
from xmr.views.pictures import UPLOADS
from xmr.workspace import Query, Workspace
from xmr.workspace.item_names import find_item, item_link

UPLOAD = "upload"


@dataclass(frozen=True)
class Asked:
    """The present query: small enough for a session's state. `index` is an item's, or of a text or a picture that of
    the item that was shown before it."""

    kind: Literal["item", "text", "upload"]
    split: str
    direction: Direction
    index: int = 0
    text: str = ""
    path: str = ""  # of an uploaded picture, its key

    def query(self) -> Query:
        if self.kind == "item":
            return Query(index=self.index)
        return Query(text=self.text) if self.kind == "text" else Query(image=UPLOADS.picture(self.path))

    @property
    def side(self) -> Literal["visual", "caption"]:
        """Where an item that asks stands."""
        return "visual" if self.direction == "v2t" else "caption"


def written(workspace: Workspace, asked: Asked) -> str:
    """The query as a link keeps it."""
    if asked.kind == "item":
        return item_link(workspace, asked.split, asked.side, asked.index)
    return f"{UPLOAD}:{asked.path}" if asked.kind == "upload" else f"text:{asked.text}"


def read_query(workspace: Workspace, text: str, split: str) -> Asked:
    """The query of a link. Raises ValueError where there is no such item, or nothing can be asked by words here."""
    kind, _, words = text.partition(":")
    if kind == "text":
        if not words.strip():
            raise ValueError("its query has no words")
        if not asks_text(workspace):
            raise ValueError(f"{workspace.dataset().name} can't be asked by words")
        return Asked("text", split, "t2v", text=given.text("its query", words))
    if kind == UPLOAD:
        if not words:  # the page leaves the key out of its address
            raise ValueError("an uploaded picture can't be in a link: upload it again")
        UPLOADS.picture(words)
        return Asked("upload", split, "v2t", path=words)
    side, index = find_item(workspace, split, text)
    return Asked("item", split, "v2t" if side == "visual" else "t2v", index=index)


def disagreement(
    workspace: Workspace, split: str, direction: Direction, runs: list[str], after: Asked | None = None
) -> Asked:
    """The query on which the runs (known ones) differ most, or the next in that order behind the one last shown."""
    order = workspace.disagreements(runs or workspace.shown_first[:1], split, direction)
    place = 0
    if after is not None and (after.split, after.direction) == (split, direction):
        place = (int(np.flatnonzero(order == after.index)[0]) + 1) % len(order)
    return Asked("item", split, direction, index=int(order[place]))


def followed(workspace: Workspace, asked: Asked, split: str, direction: Direction, runs: list[str]) -> Asked:
    """The present query under a changed split or direction: the same pair from its other side where there is one."""
    if (asked.split, asked.direction) == (split, direction):
        return asked
    if asked.split == split and asked.kind == "item":
        data = workspace.dataset(split)
        others = data.visual_of_text[[asked.index]] if direction == "v2t" else data.texts_of(asked.index)
        if len(others):
            return Asked("item", split, direction, index=int(others[0]))
    if asked.direction == direction and asked.kind != "item":
        return replace(asked, split=split)
    return disagreement(workspace, split, direction, runs)


def shown_text(workspace: Workspace, asked: Asked) -> str:
    """What stands in the text box while this query is shown."""
    if asked.kind == "item" and asked.direction == "t2v" and asks_text(workspace):
        return workspace.dataset(asked.split).captions[asked.index]
    return asked.text


def asks_text(workspace: Workspace) -> bool:
    """Whether free text can be a query: not where both sides are pictures or texts are mere features."""
    data = workspace.dataset()
    return data.gallery_visuals is None and data.classes is None
