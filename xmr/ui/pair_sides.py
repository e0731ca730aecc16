"""Items of a split as the two sides of a pair's card."""

from __future__ import annotations

import numpy as np

from xmr.ui.components.pair_cards import Side
from xmr.ui.pictures import film, gallery_picture, picture
from xmr.workspace import Workspace
from xmr.workspace.words import text_words


def visual_side(workspace: Workspace, split: str, index: int, role: str, own: int = 5) -> Side:
    """A visual as one side of a card, with the captions that were written for it."""
    data = workspace.dataset(split)
    shown = picture(workspace, split, index)
    written = [text_words(data, i) for i in np.flatnonzero(data.visual_of_text == index)[:own]]
    return Side(role, data.visual_ids[index], shown, film(workspace, split, index), "", written)


def text_side(workspace: Workspace, split: str, index: int, role: str) -> Side:
    """An item of the second side as one side of a card: a picture, or a caption with the visual that it was written
    for."""
    data = workspace.dataset(split)
    if data.gallery_visuals is not None:
        return Side(role, data.captions[index], gallery_picture(workspace, split, index))
    visual = int(data.visual_of_text[index])
    shown = picture(workspace, split, visual)
    note = f"written for this {data.kind}" if shown and data.classes is None else ""
    words = text_words(data, index)
    return Side(role, data.visual_ids[visual], shown, film(workspace, split, visual), words, [], note)
