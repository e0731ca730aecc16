"""The end that all readers of folders have in common: checked columns and links become a `Dataset`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xmr.data import duplicates, facts
from xmr.data.dataset import Dataset, Split
from xmr.data.tables import Skips


def build(
    folder: Path,
    split: Split,
    *,
    visual_ids: list[str],
    captions: list[str],
    visual_of_text: np.ndarray,
    parts: Sequence[bytes | np.ndarray],
    contents: Iterable[bytes] | np.ndarray,
    visual_group: np.ndarray | None = None,
    gallery: Iterable[bytes] | None = None,
    about: dict[str, Any],
    skips: Skips | None = None,
    **more: Any,
) -> Dataset:
    """The dataset of one split of `folder`; `more` are further fields of `Dataset`.

    `parts` go into the fingerprint (see `facts.fingerprint`). `contents` are what each visual is made of, and `gallery`
    what each picture of a second visual side is: by those the same picture is known again.
    """
    data = Dataset(
        name=folder.resolve().name,
        split=split,
        captions=captions,
        visual_of_text=visual_of_text,
        visual_ids=visual_ids,
        fingerprint=facts.fingerprint(visual_ids, captions, visual_of_text, visual_group, parts),
        visual_group=visual_group,
        contents=duplicates.contents(contents),
        about=facts.about(folder, visual_of_text, len(visual_ids)) | about,
        faults=skips.counts if skips else {},
        **more,
    )
    content = duplicates.content_of(data.visuals, data.visual_features)
    visuals = duplicates.told_apart(data.contents, data.visual_group, content)
    if gallery is None:
        texts = duplicates.texts(captions)
    else:
        content = duplicates.content_of(data.gallery_visuals, None)
        texts = duplicates.told_apart(duplicates.contents(gallery), data.text_group, content)
    if same := duplicates.alike(texts, data.text_group, visuals, data.visual_group):
        data.about["duplicates"] = same
    return data


def linked(captions: Sequence[Sequence[str]]) -> tuple[list[str], np.ndarray]:
    """The captions of each visual as one list, blank ones left out, and the visual of each (N_t,) int64."""
    kept = [[caption for caption in own if caption.strip()] for own in captions]
    return [caption for own in kept for caption in own], np.repeat(
        np.arange(len(kept)), [len(own) for own in kept]
    )
