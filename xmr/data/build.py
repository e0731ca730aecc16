"""The end that all readers have in common: checked items, columns and links become a `Dataset`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from xmr.captions import first_alike, text_key
from xmr.data import duplicates, facts
from xmr.data.columns import HARD
from xmr.data.dataset import Dataset, Split
from xmr.data.items import Item, Listing, Store, hard_of, same_base
from xmr.data.pictures import BadPicture
from xmr.data.tables import Skips


def of_items(
    folder: Path,
    split: Split,
    found: Listing,
    store: Store,
    *,
    strict: bool,
    skips: Skips | None = None,
    parts: Sequence[bytes] = (),
    groups: Callable[[Sequence[Item]], np.ndarray] | None = None,
    about: dict[str, Any] | None = None,
    **more: Any,
) -> Dataset:
    """The dataset of the items `found`, whose visuals are in `store`. `skips` are what the reader left out already, `parts`
    go into the fingerprint too, `groups` are the `visual_group` of those kept, and `more` are further fields of `Dataset`."""
    skips = skips or Skips(strict)
    skips.leave_out_splits(store.noun, found.others)
    kept, evidence = usable(folder, found.items, skips, store)
    visual_group = (groups or found.groups)(kept)
    hard, visual_of_hard = hard_captions(kept, visual_group, skips)
    more = {"hard_captions": hard, "visual_of_hard": visual_of_hard} | more
    skips.close(str(folder), split, len(kept))
    captions, visual_of_text = linked([item.captions for item in kept])
    truth = same_base(kept, [kept[visual] for visual in visual_of_text]) if found.by_base else None
    return build(
        folder,
        split,
        visual_ids=[item.id for item in kept],
        captions=captions,
        visual_of_text=visual_of_text,
        parts=[*evidence, *parts, *parts_of_hard(hard, visual_of_hard)],
        contents=evidence,
        skips=skips,
        about={"splits": found.splits} | (about or {}),
        **{
            "visual_group": visual_group,
            "visuals": store.visuals(kept),
            "columns": {name: values for name, values in found.values(kept).items() if name != HARD},
            "truth": truth,
        }
        | more,
    )


def usable(folder: Path, items: Sequence[Item], skips: Skips, store: Store) -> tuple[list[Item], list[bytes]]:
    """The items with captions and a sound visual, without blank captions, and the evidence of each visual's content.

    What `store` raises as BadPicture is counted in `skips`. Raises DataFault where a file lies outside the folder.
    """
    kept, evidence, noun = [], [], store.noun
    for item in tqdm(items, desc=f"read {folder.name}", unit=f" {noun}s", delay=1):
        captions = [caption for caption in item.captions if caption.strip()]
        if not captions:
            fault = f"{item.row}: {item.name!r} has no captions; write one or delete the row"
            skips.add(f"{noun}s without captions", fault)
            continue
        for _ in range(len(item.captions) - len(captions)):
            skips.add(
                "blank captions", f"{item.row}: a caption of {item.name!r} is blank; write or delete it"
            )
        try:
            evidence.append(store.check(item, skips.strict))
        except BadPicture as error:
            what = f" is {_missing(item)}" if error.kind.startswith("missing") else f": {error}"
            skips.add(error.kind, f"{item.row}: {item.name!r}{what}")
            continue
        kept.append(item if len(captions) == len(item.captions) else replace(item, captions=captions))
    return kept, evidence


def hard_captions(
    items: Sequence[Item], group: np.ndarray | None, skips: Skips
) -> tuple[list[str], np.ndarray]:
    """The wrong captions of all items, and the item of each (H,) int64, without those that are blank or read like a right one of
    their group."""
    found: list[str] = []
    of: list[int] = []
    written = [hard_of(item.row) for item in items]
    if any(written):
        groups = range(len(items)) if group is None else group.tolist()
        right: dict[int, set[str]] = {}
        for number, item in zip(groups, items, strict=True):
            right.setdefault(number, set()).update(map(text_key, item.captions))
        for place, (number, item) in enumerate(zip(groups, items, strict=True)):
            for caption in written[place]:
                if not caption.strip():
                    skips.add("blank hard captions", f"{item.row}: a hard caption of {item.name!r} is blank")
                elif text_key(caption) in right[number]:
                    fault = f"{item.row}: {caption!r:.80} is among the right captions of {item.name!r} and the hard wrong ones"
                    skips.add("hard captions that read like a right one", fault)
                else:
                    found.append(caption.strip())
                    of.append(place)
    return found, np.array(of, np.int64)


def parts_of_hard(hard: Sequence[str], visual_of_hard: np.ndarray) -> list[bytes | np.ndarray]:
    """What hard captions add to the fingerprint."""
    return [HARD.encode(), visual_of_hard, *map(str.encode, hard)] if hard else []


def _missing(item: Item) -> str:
    if not item.near:
        return "missing; add the file or delete the row"
    names = " or ".join(map(repr, item.near[:3])) + (" …" if len(item.near) > 3 else "")
    return f"missing, but {names} is there; write the name of the file that is meant, as it is on disk"


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
        texts = first_alike(captions)
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
