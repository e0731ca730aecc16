"""What every reader of a layout makes of its source: items, one for each visual, of which one split is chosen.

A reader yields `Item`s, with the line of the source that each came from; `listed` chooses those of a split, and
`build.of_items` looks at their visuals and makes the dataset.

`concept` and `base_concept` are columns that any source may have. Equal concept: mutual positives. `base_concept` says
that files of different concepts are alike but for a detail, as emoji are that differ in skin tone: a caption of the one
could have been written for the other. That is knowledge of *matches* only, so the dataset's truth is 1 for those and for
the annotated pairs, and unknown elsewhere: that two base concepts don't match ("face, smile" fits many) nobody has said.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from xmr.data import splits
from xmr.data.columns import HARD
from xmr.data.dataset import DataFault, Split, Truth
from xmr.data.rows import Row
from xmr.data.tables import captions_in


@dataclass(frozen=True, slots=True)
class Item:
    """One visual of a source, with its captions as they are written."""

    row: Row  # what the source says of it, and where
    id: str  # of a file its path relative to the root, with forward slashes
    captions: list[str]
    near: tuple[str, ...] = ()  # files that it could be, where it is missing
    place: Any = None  # of its bytes, where it is no file of its own

    @property
    def name(self) -> str:
        """What its source calls it."""
        return self.row.text("file_name") or self.id

    @property
    def group(self) -> str:
        """What never straddles made splits."""
        for column in ("base_concept", "concept"):
            if value := composed(self.row, column):
                return f"{column} {value}"
        return self.id

    @property
    def concept(self) -> str:
        """What it shows; items of equal concept are mutual positives. Its own where none is given."""
        return composed(self.row, "concept") or f"file {self.id}"

    @property
    def base(self) -> str:
        """What it shows but for details."""
        return composed(self.row, "base_concept") or self.concept


class Store(Protocol):
    """Where the visuals of items are kept."""

    noun: str  # of one of them, in messages

    def check(self, item: Item, thorough: bool) -> bytes:
        """Evidence of the visual's content, if it can be used. Raises BadPicture, or DataFault where it leads elsewhere."""

    def glance(self, item: Item) -> bytes:
        """What equal visuals have in common, read without decoding; b"" where there is nothing to read."""

    def visuals(self, items: Sequence[Item]) -> Sequence[Any]:
        """The visuals of these items, decoded when they are asked for."""


@dataclass(frozen=True)
class Listing:
    """The items of one split, in the source's order, not yet looked at."""

    items: list[Item]
    columns: list[str]  # of all rows, without those that are read
    by_concept: bool  # whether there is a column `concept`
    by_base: bool  # … or `base_concept`
    splits: str  # one line: where the splits come from
    others: Mapping[str, int]  # how many items belong to none of the three splits, by the name of theirs

    def values(self, items: Sequence[Item]) -> dict[str, list[Any]]:
        """The source's other columns, for `Dataset.columns`."""
        return {name: [item.row.values.get(name) for item in items] for name in self.columns}

    def groups(self, items: Sequence[Item]) -> np.ndarray | None:
        """`Dataset.visual_group`: equal where the concepts are."""
        return codes([item.concept for item in items]) if self.by_concept else None


def listed(
    where: str | Path,
    items: Sequence[Item],
    named: Sequence[str],
    split: Split,
    seed: int,
    columns: Sequence[str],
    *,
    hidden: set[str] = frozenset(),
    present: set[Split] | None = None,
    others: Mapping[str, int] | None = None,
    store: Store | None = None,
) -> Listing:
    """Those of the items, of split `named[i]` each, that belong to `split`.

    A missing validation or test split is made of train by seed; equal visuals of `store` stay together. `columns` are the
    source's, of which those `hidden` are not kept. Raises DataFault.
    """
    check_concepts(items)
    keys = [item.group for item in items]
    if store:
        keys = kept_together(keys, present or set(named), map(store.glance, items))
    chosen = splits.choose(named, keys, split, seed, where, present=present)
    return Listing(
        [items[place] for place in chosen.places],
        [name for name in columns if name not in hidden],
        by_concept="concept" in columns,
        by_base="base_concept" in columns,
        splits=chosen.note,
        others=Counter(chosen.others) + Counter(others or {}),
    )


def merged(
    items: Sequence[Item], named: Sequence[str], keys: Sequence[Any]
) -> tuple[list[Item], list[str], set[str]]:
    """Items of equal key as one, with all their captions; the split of each; and the columns that are of captions, since
    their values differ between such items. An item without a key (None) stays by itself.

    Raises DataFault where items of one key are of different splits or concepts.
    """
    first: dict[Any, int] = {}
    kept: list[Item] = []
    names: list[str] = []
    varying: set[str] = set()
    for item, name, key in zip(items, named, keys, strict=True):
        place = first.setdefault(key, len(kept)) if key is not None else len(kept)
        if place == len(kept):
            kept.append(replace(item, captions=list(item.captions)))
            names.append(name)
            continue
        one = kept[place]
        one.captions.extend(item.captions)
        if (more := item.row.values.get(HARD)) and more != one.row.values.get(HARD):
            one.row.values[HARD] = [text for row in (one.row, item.row) for text in hard_of(row)]
        varying |= {
            column for column, value in item.row.values.items() if one.row.values.get(column) != value
        }
        if names[place] != name or ("concept" in item.row.values and one.concept != item.concept):
            what = f"split {name!r}, but {names[place]!r}" if names[place] != name else "another concept than"
            raise DataFault(
                f"{item.row}: {what} for the same {item.id!r} in {one.row}; a picture has only one"
            )
    return kept, names, varying


def hard_of(row: Row) -> list[str]:
    """The wrong captions that a row has beside the right ones, each once."""
    return list(dict.fromkeys(captions_in(row, (HARD,)))) if row.values.get(HARD) else []


def kept_together(keys: Sequence[str], present: Collection[str], contents: Iterable[bytes]) -> Sequence[str]:
    """`keys` as of `together`, where splits are made of them: `present` are those that the source has."""
    if not splits.are_made(present):
        return keys
    joined = together(keys, contents)
    return joined if len(set(joined)) > 2 else keys  # of fewer no three splits can be made


def together(keys: Sequence[str], contents: Iterable[bytes]) -> list[str]:
    """`keys`, made equal (the least of them) where contents are; an empty content equals no other.

    >>> together(["c", "a", "b", "d"], [b"x", b"x", b"", b""])
    ['a', 'a', 'b', 'd']
    """
    least = {key: key for key in keys}

    def root(key: str) -> str:
        while least[key] != key:
            least[key] = key = least[least[key]]
        return key

    first: dict[bytes, str] = {}
    for key, content in zip(keys, contents, strict=True):
        if content:
            one, other = sorted((root(key), root(first.setdefault(content, key))))
            least[other] = one
    return [root(key) for key in keys]


def check_concepts(items: Sequence[Item]) -> None:
    """A base concept is coarser than a concept; else a concept could straddle made splits."""
    base: dict[str, Item] = {}
    for item in items:
        concept = composed(item.row, "concept")
        first = base.setdefault(concept, item) if concept else item
        if composed(first.row, "base_concept") != composed(item.row, "base_concept"):
            raise DataFault(
                f"{item.row}: concept {concept!r} has base_concept {item.row.text('base_concept')!r} here "
                f"and {first.row.text('base_concept')!r} in {first.row}; it can have only one"
            )


def composed(row: Row, column: str) -> str:
    """The value in Unicode's composed form, in which equal concepts are equal."""
    return unicodedata.normalize("NFC", row.text(column))


def codes(values: Sequence[str]) -> np.ndarray:
    """Integers (N,) int64, equal where the values are; a blank value equals no other."""
    numbers: dict[Any, int] = {}
    keys = (value or index for index, value in enumerate(values))
    return np.fromiter((numbers.setdefault(key, len(numbers)) for key in keys), np.int64, len(values))


def same(visuals: Sequence[str], texts: Sequence[str], source: str) -> Truth:
    """Truth that knows matches only: those of a visual and a text of equal value; all others are unknown."""
    numbers = codes([*visuals, *texts])
    of_visual, of_text = numbers[: len(visuals)], numbers[len(visuals) :]

    def block(visuals: np.ndarray, texts: np.ndarray) -> np.ndarray:
        alike = of_visual[visuals][:, None] == of_text[texts][None, :]
        return np.where(alike, np.float32(1), np.float32(np.nan))

    def pairs(visuals: np.ndarray, texts: np.ndarray) -> np.ndarray:
        return np.where(of_visual[visuals] == of_text[texts], np.float32(1), np.float32(np.nan))

    return Truth(
        block, pairs, complete=False, source=f"{source}: such pairs match; of all others it is unknown"
    )


def same_base(visuals: Sequence[Item], texts: Sequence[Item]) -> Truth | None:
    """Truth from equal base concepts, `texts` being the item of each; None where it tells no more than concepts do."""
    together = [*visuals, *texts]
    if len({item.base for item in together}) == len({item.concept for item in together}):
        return None
    return same([item.base for item in visuals], [item.base for item in texts], "equal base_concept")
