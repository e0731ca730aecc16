"""The card of one item of a gallery, as plain data. No gradio here."""

from __future__ import annotations

from typing import Any

import numpy as np

from xmr.views.pictures import film, gallery_picture, picture
from xmr.views.query import Asked
from xmr.views.scales import Scores
from xmr.words import score, significant
from xmr.workspace import Workspace
from xmr.workspace.measurements import weight_of_pair
from xmr.workspace.words import difference_words, item_name, status_words, text_words, words_of


def details(workspace: Workspace, asked: Asked, runs: list[str], index: int) -> dict[str, Any]:
    """The card of one gallery item: what it is, and where every run ranks it for the present query."""
    query, split, direction = asked.query(), asked.split, asked.direction
    data = workspace.dataset(split)
    words = words_of(data)
    visual = index if direction == "t2v" else int(data.visual_of_text[index])
    texts = data.texts_of(visual)
    image, strip = picture(workspace, split, visual), film(workspace, split, visual)
    if direction == "v2t" and data.gallery_visuals is not None:
        image, strip, texts = gallery_picture(workspace, split, index), None, np.array([index])
    placed = {}
    for run in runs:
        try:
            placed[run] = workspace.locate(query, run, split, direction, index)
        except (ValueError, OSError):
            continue  # its column says why it can't answer
    scores = {run: Scores(workspace, run, asked, query, "z") for run in placed}
    looks = workspace.styles(runs)
    weights = {run: _weight(workspace, asked, run, index) for run in placed}
    status = next(iter(placed.values())).status if placed else "unknown"
    same, own = workspace.annotation(query, split, direction)
    differs = difference_words(workspace, split, direction, int(same[0]) if len(same) else None, index)
    here, there = (words.visual, words.text) if direction == "t2v" else (words.text, words.visual)
    return {
        "index": index,
        "title": item_name(workspace, split, direction, index),
        "image": image,
        "film": strip,
        "captions": [text_words(data, text) for text in texts],
        "marked": int(np.flatnonzero(texts == index)[0]) if direction == "v2t" else None,
        "status": status,
        "words": status_words(workspace, split, bool(len(own)))[status],
        "differs": differs and f"{'It' if direction == 't2v' else 'The picture'} has {differs}.",
        "stages": any(result.first_rank is not None for result in placed.values()),
        "runs": [
            {
                "name": run,
                "trained": run in workspace.trained,
                "colour": looks[run].colour,
                "rank": f"{result.rank:,}",
                "first": "–" if result.first_rank is None else f"{result.first_rank:,}",
                "score": score(result.score),
                "z": scores[run].z(result.score),
                "above": scores[run].above(result.score),
                "weight": weights[run],
            }
            for run, result in placed.items()
        ],
        "use": f"Find {there}s for this {here}",
        "pair": asked.kind == "item" and any(run in workspace.trained for run in runs),
    }


def _weight(workspace: Workspace, asked: Asked, run: str, index: int) -> str:
    """The pair's weight in the run's loss of this query against the whole gallery; "–" where there is none."""
    if asked.kind != "item":
        return "–"
    try:
        weight = weight_of_pair(workspace, run, asked.split, asked.direction, asked.index, index)
        return significant(weight, sign=True)
    except (ValueError, OSError):  # a combination has no loss, and some losses ask what there is not
        return "–"
