"""What a map says of its points: the card of one, the tiles of a selection, and the way to Search."""

from __future__ import annotations

from typing import Any

import numpy as np

from xmr.views.pictures import film, gallery_picture, picture
from xmr.views.values import Tile, tiles
from xmr.words import counted, percent
from xmr.workspace import Workspace
from xmr.workspace.item_names import item_link
from xmr.workspace.maps import by_chance, companions, drawn, together
from xmr.workspace.words import text_words, visual_words, words_of

PAGE = 24  # tiles
MOST_PICTURES = 200  # that a map asks for at once
MOST = 500  # points of a selection that the server is told
EMPTY = "Nothing is selected. Draw around points with the lasso, or press Enter on a map."


def card(workspace: Workspace, split: str, sent: Any) -> dict[str, Any]:
    """What the point is that a browser names, and the places of its matches. Raises ValueError on anything else."""
    shown = drawn(workspace, split)
    count = len(shown.visual) + len(shown.text)
    place = sent.get("place") if isinstance(sent, dict) else None
    if type(place) is not int or not 0 <= place < count or sent.get("items") != items_of(workspace, split):
        raise ValueError("That point is not on this map any more.")
    visuals = len(shown.visual)
    if place < visuals:
        one = _visual_tile(workspace, split, int(shown.visual[place]))
    else:
        one = _text_tile(workspace, split, int(shown.text[place - visuals]))
    own, data = companions(workspace, split, place), workspace.dataset(split)
    kind = (
        "of its class" if data.classes is not None else f"annotated {'match' if len(own) == 1 else 'matches'}"
    )
    told = {name: getattr(one, name) for name in ("key", "name", "text", "image", "film")}
    note = f"{one.note} · lines lead to {len(own)} {kind}"
    return {"place": place, "items": sent["items"], "own": own, **told, "note": note}


def read_selection(
    workspace: Workspace, split: str, sent: Any
) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Item numbers of the selected visuals and texts, nearest to the middle first, and how many of each are inside.
    Raises ValueError on anything that the maps don't send."""
    shown = drawn(workspace, split)
    try:
        if sent["items"] != items_of(workspace, split):
            raise ValueError("another map")
        visual = _places(sent["visual"], len(shown.visual))
        text = _places(sent["text"], len(shown.text))
        total = tuple(sent["total"])
        if len(visual) + len(text) > MOST or len(total) != 2:
            raise ValueError("too much")
        for inside, known, of in zip(total, (visual, text), (shown.visual, shown.text), strict=True):
            if type(inside) is not int or not len(known) <= inside <= len(of):
                raise ValueError("more than there are")
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError("That selection is not of this map any more.") from error
    return shown.visual[visual], shown.text[text], total


def select(
    workspace: Workspace, split: str, first: str, second: str, sent: Any
) -> tuple[str, dict[str, Any]]:
    """The selection in words, and as tiles. Raises as `read_selection`."""
    visual, text, total = read_selection(workspace, split, sent)
    if not len(visual) + len(text):
        return "", tiles([], EMPTY)
    words = words_of(workspace.dataset(split))
    inside = [
        counted(count, noun) for count, noun in zip(total, (words.visual, words.text), strict=True) if count
    ]
    said = f"Selected: {' and '.join(inside)}."
    kept, every = len(visual) + len(text), sum(total)
    if kept < every:
        said += f" Of these {every:,}, the {kept:,} nearest to their middle are measured and listed."
    said += _together(workspace, split, (first, second), visual, text)
    half = PAGE // 2
    pictures = visual[: max(half, PAGE - len(text))]
    captions = text[: PAGE - len(pictures)]
    if len(pictures) + len(captions) < kept:
        said += f" The first {len(pictures) + len(captions)} are shown."
    listed = [_visual_tile(workspace, split, int(i)) for i in pictures]
    listed += [_text_tile(workspace, split, int(i)) for i in captions]
    return said, tiles(listed)


def _together(
    workspace: Workspace, split: str, runs: tuple[str, str], visual: np.ndarray, text: np.ndarray
) -> str:
    """Whether what lies together on the map also does in all dimensions; "" where that can't be told."""
    kept = len(visual) + len(text)
    known = [name for name in dict.fromkeys(runs) if name in workspace.runs]
    try:
        shares = {name: together(workspace, name, split, visual, text) for name in known}
    except (ValueError, OSError):  # the map says why
        return ""
    if not shares or kept < 2:
        return ""
    each = " and ".join(f"{percent(share)} under {name}" for name, share in shares.items())
    chance = by_chance(workspace, split, len(visual), len(text))
    return (
        f" Of the {kept:,} items of the same kinds that lie nearest to their middle, {each} are selected ones, counted in "
        f"all dimensions; of any {kept:,} items it would be {percent(chance)}."
    )


def small_pictures(workspace: Workspace, split: str, sent: Any) -> dict[str, str]:
    """Addresses of the pictures of visuals by their places on the map, of those that have one. Raises ValueError on anything
    that the map doesn't send."""
    try:
        if sent["items"] != items_of(workspace, split):
            raise ValueError("another map")
        shown = drawn(workspace, split).visual
        places = _places(sent["places"], len(shown))
        if len(places) > MOST_PICTURES:
            raise ValueError("too many")
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError("These points are not on this map any more.") from error
    found = {str(place): picture(workspace, split, int(shown[place])) for place in places.tolist()}
    return {place: address for place, address in found.items() if address}


def items_of(workspace: Workspace, split: str) -> str:
    """Which items a map is of, so that an event of an older map is told from one of this."""
    return f"{workspace.dataset(split).fingerprint[:16]} {split}"


def _visual_tile(workspace: Workspace, split: str, index: int) -> Tile:
    data = workspace.dataset(split)
    return Tile(
        item_link(workspace, split, "visual", index),
        data.visual_ids[index],
        visual_words(data, index) if data.gallery_visuals is None else "",
        picture(workspace, split, index),
        film(workspace, split, index),
        words_of(data).visual,
        "Open in Search",
    )


def _text_tile(workspace: Workspace, split: str, index: int) -> Tile:
    data = workspace.dataset(split)
    key, note = item_link(workspace, split, "caption", index), words_of(data).text
    if data.gallery_visuals is not None:
        shown = gallery_picture(workspace, split, index)
        return Tile(key, data.captions[index], image=shown, note=note, action="Open in Search")
    name = workspace.item_id(split, "v2t", index)
    return Tile(key, name, text_words(data, index), note=note, action="Open in Search")


def _places(sent: Any, count: int) -> np.ndarray:
    """Distinct places below `count`. Raises ValueError or TypeError."""
    if not isinstance(sent, list) or len(sent) > MOST or any(type(one) is not int for one in sent):
        raise TypeError("no places")
    if len(set(sent)) < len(sent) or any(not 0 <= one < count for one in sent):
        raise ValueError("places out of range")
    return np.array(sent, np.int64)
