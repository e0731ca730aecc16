"""A data card as blocks: what there is of each split, and a sheet of its pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from xmr.data import DataFault, Dataset
from xmr.data.summary import visuals
from xmr.views.blocks import Block, part, words
from xmr.views.pictures import inline
from xmr.views.values import query_list, table

SHEET = 24  # pictures of a split


def sections(
    splits: Mapping[str, Dataset], said: Mapping[str, Sequence[str]], numbers: Mapping[str, Mapping[str, str]]
) -> dict[str, list[Block]]:
    """By title: a table of the `numbers` of all splits, and of each what is `said` and its sheet."""
    titles = list(dict.fromkeys(name for one in numbers.values() for name in one))
    rows = [(name, None, [one.get(name, "–") for one in numbers.values()]) for name in titles]
    columns = [("", ""), *((split, "") for split in splits)]
    found = {"Splits": [part("table", "splits", table(columns, rows))]}
    for split, data in splits.items():
        lines = [words(f"{split}-{place}", text) for place, text in enumerate(said[split])]
        found[split.capitalize()] = [*lines, part("queries", f"{split}-sheet", sheet(data))]
    return found


def sheet(data: Dataset) -> dict[str, object]:
    """Visuals evenly spread over a split, each with its first caption."""
    count = len(data.visual_ids)
    rows = []
    for visual in np.unique(np.linspace(0, count - 1, min(SHEET, count)).astype(int)).tolist():
        picture, note = "", ""
        if data.shows(visual):
            try:
                picture = inline(data.image(visual))
            except DataFault as error:
                note = str(error)
        texts = data.texts_of(visual)
        badges = [{"text": note}] if note else []
        text = data.captions[texts[0]] if len(texts) else ""
        rows.append({"image": picture, "text": text, "name": data.visual_ids[visual], "badges": badges, "numbers": []})  # fmt: skip
    return query_list(rows, f"{len(rows):,} of {count:,} {visuals(data)}, evenly spread.", "")
