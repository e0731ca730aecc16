"""Your own pictures and captions: a Hugging Face *imagefolder*, laid out as metadata.py tells.

With `query` and `gallery`, each "column=value", the second side is visual too: with query="style=openmoji" and
gallery="style=noto", each openmoji picture looks for the noto pictures of equal `concept`. The gallery pictures'
first captions are their names. A picture without a partner of its concept on the other side is left out and counted
in `about`: there would be nothing for it to find, or nobody to find it.

Read without `datasets.load_dataset("imagefolder")`, which takes 4.5 s for the 8,867 pictures of emoji's train
split (1.4 s of one core here, with every picture decoded once), copies the metadata to a cache, and whose errors
name neither line nor picture. Pictures are files already: memory-mapping them through arrow gains nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xmr.data import pictures
from xmr.data.build import build, of_items, usable
from xmr.data.dataset import DataFault, Dataset, Split
from xmr.data.items import Item, Listing, Store, codes, same_base
from xmr.data.metadata import listing
from xmr.data.tables import Skips
from xmr.registry import unknown


def imagefolder(
    folder: Path,
    split: Split,
    *,
    strict: bool = False,
    seed: int = 0,
    image: str = "file_name",
    text: str = "",
    query: str = "",
    gallery: str = "",
) -> Dataset:
    """pictures and a metadata.jsonl or metadata.csv with file_name and captions, maybe in train/validation/test

    Pictures that are missing, unreadable or too large, and blank captions, are skipped with a warning and counted
    in `faults`; with `strict` the first is an error, and every picture is decoded in full. `seed` makes missing
    splits. `image` and `text` name the columns of files and captions where they are others. `query` and `gallery` ("column=value") make it visual → visual. Raises DataFault, naming file and line,
    on anything else that is wrong.
    """
    store = pictures.Files(folder)
    found = listing(folder, split, seed, store, image, text)
    if not (query or gallery):
        return of_items(folder, split, found, store, strict=strict)
    skips = Skips(strict)
    skips.leave_out_splits("picture", found.others)
    sides = _sides(folder, found, query, gallery, skips, store)
    skips.close(str(folder), split, len(sides.queries))
    return _visual_to_visual(folder, split, found, sides, skips, store)


@dataclass(frozen=True)
class _Sides:
    """Both sides of visual → visual: the pictures that have a partner, evidence of their content, and facts."""

    queries: list[Item]
    targets: list[Item]
    evidence: list[bytes]
    target_evidence: list[bytes]
    about: dict[str, Any]


def _sides(folder: Path, found: Listing, query: str, gallery: str, skips: Skips, store: Store) -> _Sides:
    queries, others = _chosen(found, query, "query"), _chosen(found, gallery, "gallery")
    if not found.by_concept:
        raise DataFault(
            f"{folder}: no column 'concept', so nobody knows which picture is to find which; give each picture "
            "one, equal for those that show the same"
        )
    if both := {picture.id for picture in queries} & {picture.id for picture in others}:
        raise DataFault(
            f"{folder}: {min(both)!r} is among the queries ({query}) and in the gallery ({gallery}), and would "
            "find itself; name values that exclude each other"
        )
    queries, evidence = usable(folder, queries, skips, store)
    others, other_evidence = usable(folder, others, skips, store)
    common = {item.concept for item in queries} & {item.concept for item in others}
    if queries and others and not common:
        raise DataFault(
            f"{folder}: none of the {len(queries)} pictures of {query} has the concept of one of the "
            f"{len(others)} of {gallery}"
        )
    kept = [index for index, item in enumerate(queries) if item.concept in common]
    targets = [index for index, item in enumerate(others) if item.concept in common]
    return _Sides(
        [queries[index] for index in kept],
        [others[index] for index in targets],
        [evidence[index] for index in kept],
        [other_evidence[index] for index in targets],
        {
            "splits": found.splits,
            "visual_to_visual": f"{query} → {gallery}",
            "queries_left_out": len(queries) - len(kept),
            "gallery_left_out": len(others) - len(targets),
        },
    )


def _visual_to_visual(
    folder: Path, split: Split, found: Listing, sides: _Sides, skips: Skips, store: Store
) -> Dataset:
    kept, targets = sides.queries, sides.targets
    first: dict[str, int] = {}
    for index, picture in enumerate(kept):
        first.setdefault(picture.concept, index)
    visual_of_text = np.array([first[target.concept] for target in targets], np.int64)
    ids, target_ids = [item.id for item in kept], [item.id for item in targets]
    names = [target.captions[0] for target in targets]
    return build(
        folder,
        split,
        visual_ids=ids,
        captions=names,
        visual_of_text=visual_of_text,
        parts=[*sides.evidence, b"gallery", *map(str.encode, target_ids), *sides.target_evidence],
        contents=sides.evidence,
        visual_group=codes([picture.concept for picture in kept]),
        gallery=sides.target_evidence,
        visuals=store.visuals(kept),
        gallery_visuals=store.visuals(targets),
        columns=found.values(kept),
        truth=same_base(kept, targets) if found.by_base else None,
        about=sides.about,
        skips=skips,
    )


def _chosen(found: Listing, condition: str, parameter: str) -> list[Item]:
    """The files that meet "column=value"; a column of lists meets it by any of its elements. Raises DataFault."""
    column, equals, value = (part.strip() for part in condition.partition("="))
    if not (column and equals and value):
        raise DataFault(
            f'{parameter}={condition!r}: must be "column=value", and both query and gallery are needed for '
            'visual → visual, such as query="style=openmoji", gallery="style=noto"'
        )
    if column not in found.columns:
        raise DataFault(f"{parameter}={condition!r}: {unknown('column', column, found.columns)}")
    values = [_values(item.row.values.get(column)) for item in found.items]
    chosen = [item for item, there in zip(found.items, values, strict=True) if value in there]
    if not chosen:
        there = sorted({name for names in values for name in names})
        shown = unknown(f"value of {column}", value, there)
        raise DataFault(f"{parameter}={condition!r}: {shown if len(shown) < 600 else shown[:600] + ' …'}")
    return chosen


def _values(value: Any) -> list[str]:
    return [str(one) for one in (value if isinstance(value, list) else [value]) if one is not None]
