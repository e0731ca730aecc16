"""Why an item scores as it does, as plain data: what words and parts of the picture add to the scores of two runs, where words
look, and in words what is otherwise than was asked. No gradio here."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import Any

import numpy as np

from xmr.captions import word_spans
from xmr.figures.shared import GLYPHS
from xmr.registry import unknown
from xmr.views import Scene, given, part_of
from xmr.views.pictures import UPLOADS, film, inline, picture
from xmr.views.query import Asked
from xmr.views.search import opened_item
from xmr.words import fixed, percent, places_for, score
from xmr.workspace import Style, Workspace
from xmr.workspace.whys import Looks, Pair, Why, text_of, why

MOST = 2  # runs side by side
ABOUT = (
    "Numbers are what a part adds to the run's own score: the score as it is, less the score without that word{part}. Colours are "
    "relative to the largest of them under each run."
)
PART = {
    "": ", or with that part of the picture covered in grey",
    "clip": ", or without that frame",
    "none": "",
}


@part_of("why")
def why_part(scene: Scene, data: Any) -> dict[str, Any]:
    """Why the item of a card scores as it does under the runs that are named, at most `MOST`."""
    if scene.replays:
        raise ValueError(
            "The weights of this moment were not kept, so nothing can be left out: go to the end of training."
        )
    asked, index = opened_item(scene, data)
    names = given.names("runs", data.get("runs"))[:MOST]
    for name in names:
        if name not in scene.workspace.runs:
            raise ValueError(unknown("run", name[:80], scene.workspace.runs))
    return whys(scene.workspace, asked, names, index)


def pair_of(workspace: Workspace, asked: Asked, index: int) -> Pair:
    """The query and an item of the gallery as a visual and a text."""
    if asked.direction == "t2v":
        return Pair(asked.split, index, asked.index if asked.kind == "item" else asked.text)
    if asked.kind == "item":
        return Pair(asked.split, asked.index, index)
    return Pair(asked.split, asked.path, index, UPLOADS.picture(asked.path))


def whys(workspace: Workspace, asked: Asked, runs: Sequence[str], index: int) -> dict[str, Any]:
    """The value of the card's part: the text in pieces, the picture, and what each run makes of them."""
    pair = pair_of(workspace, asked, index)
    found = why(workspace, runs, pair)
    looks = workspace.styles(list(runs))
    clip = workspace.dataset(pair.split).kind == "clip" and isinstance(pair.visual, int)
    parts = any(one.parts is not None for one in found)
    most = max((len(one.words) for one in found if one.words is not None), default=0)
    text = text_of(workspace, pair)
    further = len(word_spans(text)) - most if most else 0
    shown = {"image": inline(pair.image), "film": None} if pair.image else {}
    if isinstance(pair.visual, int):
        strip = film(workspace, pair.split, pair.visual)
        shown = {"image": picture(workspace, pair.split, pair.visual), "film": strip}
    return shown | {
        "pieces": _pieces(text, most),
        "about": ABOUT.format(part=PART["none" if not parts else "clip" if clip else ""]),
        "note": f"Only the first {most} of its {most + further} words are left out, each once."
        if further > 0
        else "",
        "runs": [_of_run(one, text, looks[one.run], clip) for one in found],
    }


def _pieces(text: str, most: int) -> list[dict[str, Any]]:
    """The text in pieces, those that are words with their number, as far as they are left out."""
    found, end = [], 0
    for number, (start, stop) in enumerate(word_spans(text)[:most]):
        found += [{"text": text[end:start]}, {"text": text[start:stop], "word": number}]
        end = stop
    return [piece for piece in [*found, {"text": text[end:]}] if piece["text"]]


def _of_run(one: Why, text: str, style: Style, clip: bool) -> dict[str, Any]:
    names = [text[slice(*span)] for span in word_spans(text)]
    words = [] if one.words is None else _marked(one.words)
    parts = [] if one.parts is None else _marked(one.parts.ravel())
    regions = _part_names(one.parts, clip)
    rows = [
        (name, score(one.score - value), mark["shown"])
        for title, values, marks in ((names, one.words, words), (regions, one.parts, parts))
        if values is not None
        for name, value, mark in zip(title, values.ravel().tolist(), marks, strict=False)
    ]
    return {
        "name": one.run,
        "colour": style.colour,
        "glyph": GLYPHS.get(style.marker, "●"),
        "score": "" if np.isnan(one.score) else score(one.score),
        "said": said(one, names, clip),
        "words": words,
        "no_words": one.no_words,
        "parts": parts,
        "part_names": regions,
        "no_parts": one.no_parts,
        "looks": None if one.looks is None else _looks(one.looks, clip),
        "table": {"columns": ["left out", "score without", "adds"], "rows": rows} if rows else None,
    }


def _part_names(parts: np.ndarray | None, clip: bool) -> list[str]:
    if parts is None:
        return []
    if clip:
        return [f"frame {at}" for at in range(1, len(parts) + 1)]
    return [
        f"row {row}, column {column}"
        for row in range(1, len(parts) + 1)
        for column in range(1, len(parts) + 1)
    ]


def _marked(values: np.ndarray) -> list[dict[str, Any]]:
    """Each value as text, and its share of the largest, from -1 to 1."""
    largest, places = float(np.abs(values).max()) or 1.0, places_for(values)
    return [
        {"shown": fixed(value, places, sign=True), "share": round(value / largest, 3)}
        for value in values.tolist()
    ]


def said(one: Why, names: Sequence[str], clip: bool) -> str:
    """Which word and which part of the picture add most and which least, in sentences; "" where nothing is known."""
    told = []
    if one.words is not None:
        values, places = one.words, places_for(one.words)
        best, worst = int(values.argmax()), int(values.argmin())
        if values[best] > 0:
            told.append(f"Without “{names[best]}” the score falls most, by {fixed(values[best], places)}.")
        if values[worst] < 0:
            told.append(
                f"Without “{names[worst]}” it rises{' most' if (values < 0).sum() > 1 else ''}, by {fixed(-values[worst], places)}."
            )
    if one.parts is not None:
        values = one.parts.ravel()
        places, best = places_for(values), int(values.argmax())
        if values[best] > 0:
            where = _part_names(one.parts, clip)[best]
            what = f"Without {where} it" if clip else f"With {where} of the picture covered, it"
            told.append(f"{what} falls most, by {fixed(values[best], places)}.")
        else:
            told.append(f"No {'frame' if clip else 'part of the picture'} adds to it.")
    return " ".join(told).replace("it falls", "the score falls" if one.words is None else "it falls")


def _looks(looks: Looks, clip: bool) -> dict[str, Any]:
    """Where each word looks, or what looks at it, for the page and as numbers."""
    count = looks.shares.shape[1]
    side = isqrt(count)
    square = not clip and count > 1 and side * side == count
    if square:
        regions = [f"row {at // side + 1}, column {at % side + 1}" for at in range(count)]
    else:
        regions = [f"{'frame' if clip else 'region'} {at}" for at in range(1, count + 1)]
    write = (lambda value: fixed(value, 2, sign=True)) if looks.nearest else percent
    shares = looks.shares
    largest = float(np.abs(shares).max()) or 1.0
    real = [at for at, word in enumerate(looks.words) if not word.startswith("(")] or [0]
    word = max(real, key=lambda at: float(shares[at].max()))
    at = int(shares[word].argmax())
    how = "is nearest to" if looks.nearest else "looks most at" if looks.by_words else "is looked at most by"
    about = {
        (True, True): "Of each word the nearest {} counts in the score.",
        (True, False): "Each word looks at {}s by shares that sum to 100%.",
        (False, True): "Of each {} the nearest word counts in the score.",
        (False, False): "Each {} looks at the words by shares that sum to 100%.",
    }[looks.by_words, looks.nearest].format("frame" if clip else "region")
    return {
        "words": looks.words,
        "shares": [[round(value / largest, 3) for value in row] for row in shares.tolist()],
        "shown": [[write(value) for value in row] for row in shares.tolist()],
        "most": shares.argmax(1).tolist(),
        "regions": regions,
        "columns": side if square else count,
        "picture": square or clip,
        "first": word,
        "said": f"{about} “{looks.words[word]}” {how} {regions[at]} ({write(float(shares[word, at]))}).",
    }
