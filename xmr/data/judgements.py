"""People's judgements of image–caption pairs, as truth that knows the judged pairs only.

The two files of Flickr8k (Hodosh, Young and Hockenmaier, JAIR 2013), each optional:
`expert.csv`: image, caption_image, caption_no, score1 …: a mean score of 2.5 or more (of 1–4) is a match.
`crowdflower.csv`: image, caption_image, caption_no, frac_yes: a match where half or more say yes.
Experts prevail where both judged. A caption matches the image that it was written for, whatever they say.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from xmr.data.dataset import DataFault, Truth
from xmr.data.rows import Row
from xmr.data.tables import read_rows

FILES = ("crowdflower.csv", "expert.csv")  # the later prevails
EXPERT_MATCH = 2.5
CROWD_MATCH = 0.5


def judged_truth(
    folder: Path,
    known: Mapping[tuple[str, int], object],
    visual_of: Mapping[str, int],
    text_of: Mapping[tuple[str, int], int],
    text_group: np.ndarray,
    visual_group: np.ndarray,
) -> Truth | None:
    """Truth of one split from the judgement files in `folder`; None where they judge none of its pairs.

    `known` has (image, caption number) of every caption of any split; `visual_of` and `text_of` lead to the split's
    own indices. Raises DataFault, with the line, on a judgement of a pair that there is not.
    """
    images = {image for image, _ in known}
    judged: dict[tuple[int, int], bool] = {}
    sources = []
    for name in FILES:
        path = folder / name
        if not path.is_file():
            continue
        sources.append(name)
        for row in read_rows(path):
            image, key = row.text("image"), (row.text("caption_image"), row.number("caption_no"))
            if image not in images:
                raise DataFault(
                    f"{row}: no image {image!r} among the captions; delete the row or add its captions"
                )
            if key not in known:
                raise DataFault(
                    f"{row}: no caption {key[1]} of {key[0]!r}; delete the row or add the caption"
                )
            match = _match(row)
            if image in visual_of and key in text_of:
                judged[visual_of[image], text_of[key]] = match
    if not judged:
        return None
    sparse = _Judged(judged, text_group, visual_group)
    return Truth(
        sparse.block, sparse.pairs, False, f"human judgements ({', '.join(sources)}); the rest is unknown"
    )


def _match(row: Row) -> bool:
    scores = [row.number(name, float) for name in row.values if name.startswith("score")]
    if not scores and "frac_yes" not in row.values:
        raise DataFault(f"{row}: neither 'score1' … nor 'frac_yes'; there are {', '.join(row.values)}")
    mean = sum(scores) / len(scores) if scores else row.number("frac_yes", float)
    if not 0 <= mean < float("inf"):  # NaN fails too
        raise DataFault(f"{row}: a judgement must be a number from 0, found {mean}")
    return mean >= (EXPERT_MATCH if scores else CROWD_MATCH)


class _Judged:
    """Judged pairs, sorted by visual and then text, so that a block costs what it shows, not what it spans."""

    def __init__(self, judged: dict[tuple[int, int], bool], text_group: np.ndarray, visual_group: np.ndarray):
        self.text_group, self.visual_group = text_group, visual_group
        keys = np.array(list(judged), dtype=np.int64)
        order = np.lexsort((keys[:, 1], keys[:, 0]))
        self.texts = keys[order, 1]
        self.relevance = np.array(list(judged.values()), dtype=np.float32)[order]
        self.starts = np.searchsorted(keys[order, 0], np.arange(len(visual_group) + 1))
        self.keys = keys[order, 0] * len(text_group) + self.texts

    def block(self, visuals: np.ndarray, texts: np.ndarray) -> np.ndarray:
        """Relevance (V, T) float32 of visuals (V,) and texts (T,)."""
        unique, back = np.unique(texts, return_inverse=True)
        relevance = np.full((len(visuals), len(unique)), np.nan, dtype=np.float32)
        for row, visual in enumerate(visuals):
            own = slice(self.starts[visual], self.starts[visual + 1])
            columns = np.minimum(np.searchsorted(unique, self.texts[own]), len(unique) - 1)
            there = unique[columns] == self.texts[own]
            relevance[row, columns[there]] = self.relevance[own][there]
        relevance[self.visual_group[visuals][:, None] == self.text_group[unique][None, :]] = 1
        return relevance[:, back]

    def pairs(self, visuals: np.ndarray, texts: np.ndarray) -> np.ndarray:
        """Relevance (P,) float32 of the pairs (visuals[p], texts[p])."""
        asked = np.asarray(visuals, np.int64) * len(self.text_group) + np.asarray(texts, np.int64)
        places = np.minimum(np.searchsorted(self.keys, asked), len(self.keys) - 1)
        relevance = np.where(self.keys[places] == asked, self.relevance[places], np.float32(np.nan))
        return np.where(self.visual_group[visuals] == self.text_group[texts], np.float32(1), relevance)
