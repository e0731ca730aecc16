"""Which split a row belongs to: as the source says, or made by seed."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from xmr.data.dataset import SPLITS, DataFault, Split
from xmr.data.rows import Row, read_lines

# As folders, in file names and in a `split` column.
ALIASES: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "validate", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
# The rest of COCO's validation pictures, which is part of the training split since Karpathy and Fei-Fei (CVPR 2015).
RESTVAL = "restval"
MADE_SHARE = 0.1  # of the groups, for each of validation and test


@dataclass(frozen=True)
class Chosen:
    """What belongs to one split: `places` in the order given; `note` is one line on where the splits come from, and
    `others` counts what belongs to none of the three, by the name that it is given."""

    places: list[int]
    note: str
    others: Mapping[str, int]


def choose(
    named: Sequence[str],
    keys: Sequence[str],
    split: Split,
    seed: int,
    where: str | Path,
    *,
    present: set[Split] | None = None,
    share: float = MADE_SHARE,
) -> Chosen:
    """The items of `split`, where the source says that item i is of split `named[i]`; see `assign` for `keys`.

    `present` are the splits that the source has, if `named` does not show them all. Raises DataFault where none is.
    """
    if present is None:
        present = {name for name in SPLITS if name in named}
    assigned = assign(named, keys, present, seed, share)
    others = Counter(name for name in named if name not in SPLITS)
    return Chosen(select(assigned, split, present, where), note(present, seed), others)


def declared(row: Row, column: str = "split") -> str:
    """The split that the row's `column` names, "restval" being part of train; any other name as it is.

    Raises DataFault where it is blank or looks like a misspelling.
    """
    name = row.text(column).lower()
    if name in ALIASES or name == RESTVAL:
        return ALIASES.get(name, "train")
    if not name:
        raise DataFault(f"{row}: {column!r} is blank where other rows name one; write {', '.join(SPLITS)}")
    near = difflib.get_close_matches(name, ALIASES, 1, cutoff=0.75)
    if near:
        raise DataFault(f"{row}: unknown split {name!r}; did you mean {near[0]!r}?")
    return name


def told_by(name: str) -> str:
    """The split that is a word of a file's name, or of the nearest folder's that has one; "" where none is, or several.

    >>> told_by("data/train-00000-of-00002.parquet"), told_by("Flickr_8k.devImages.txt"), told_by("latest.csv")
    ('train', 'validation', '')
    """
    *folders, file = name.replace("\\", "/").split("/")
    for part in (file.rpartition(".")[0] or file, *reversed(folders)):
        words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", part)}
        found = {
            "train" if word == RESTVAL else ALIASES[word] for word in words if word in (*ALIASES, RESTVAL)
        }
        if found:
            return found.pop() if len(found) == 1 else ""
    return ""


def by_lists(folder: Path, names: Collection[str]) -> dict[str, Split]:
    """The split of each of the `names` that a text file in `folder` lists, a name a line, where the files are named as
    splits are. {} where there is no such list. Raises DataFault where a name stands in two."""
    found: dict[str, Split] = {}
    stems = {name.rpartition("/")[2].rpartition(".")[0]: name for name in names}
    for path in sorted(folder.glob("*.txt")):
        split = told_by(path.name)
        lines = [line.strip() for line in read_lines(path) if line.strip()] if split else []
        own = [line if line in names else stems.get(line, "") for line in lines]
        if lines and sum(map(bool, own)) * 2 > len(lines):  # else it lists other things
            for name in filter(None, own):
                if found.setdefault(name, split) != split:
                    raise DataFault(f"{path}: {name!r} is of the {found[name]} split too, by another list")
    return found


def assign(
    splits: Sequence[str],
    keys: Sequence[str],
    present: set[Split],
    seed: int,
    share: float = MADE_SHARE,
) -> list[str]:
    """`splits`, with the validation and test splits that aren't `present` taken out of train, about `share` of the
    keys each.

    Rows of equal key stay together. The split of a key depends on nothing but itself and the seed, so adding
    files moves none, except among a few: there no split may be left empty, nor take more than a third.
    """
    missing = [split for split in ("test", "validation") if split not in present]
    hashes = {key: _unit(key, seed) for key, split in zip(keys, splits, strict=True) if split == "train"}
    order = sorted(hashes, key=lambda key: hashes[key])
    made: dict[str, Split] = {}
    for index, split in enumerate(("test", "validation")):
        low, high = index * share, (index + 1) * share
        if split in missing:
            chosen = [key for key in order if low <= hashes[key] < high and key not in made]
            chosen = chosen[: max(1, len(order) // 3)] or [key for key in order if key not in made][:1]
            made |= dict.fromkeys(chosen, split)
    return [
        made.get(key, split) if split == "train" else split for key, split in zip(keys, splits, strict=True)
    ]


def select(splits: Sequence[str], wanted: Split, present: set[Split], where: str | Path) -> list[int]:
    """Indices of the rows of the `wanted` split. Raises DataFault, telling what there is, where there are none."""
    chosen = [index for index, split in enumerate(splits) if split == wanted]
    if not chosen:
        counts = Counter(splits)
        there = ", ".join(f"{name} {count}" for name, count in counts.items()) or "no rows"
        if "train" in present:
            remedy = "too few pictures to make splits of: three that differ are the least"
        else:
            remedy = "add it, or a train split that it can be made of"
        raise DataFault(f"{where}: the {wanted} split is empty (found: {there}); {remedy}")
    return chosen


def source(split: Split, present: Collection[str], where: str | Path) -> Split:
    """The split whose files hold `split`: itself, or train, of which it is made. Raises DataFault where both are missing."""
    if split in present:
        return split
    if "train" not in present:
        there = ", ".join(sorted(present)) or "none"
        raise DataFault(
            f"{where}: the {split} split is empty: there is {there} only; add it, or a train split"
        )
    return "train"


def are_made(present: Collection[str]) -> bool:
    """Whether splits that a source does not have are made of its train split."""
    return "train" in present and not {"validation", "test"} <= set(present)


def note(present: set[Split], seed: int) -> str:
    """One line for `Dataset.about`: where the splits come from."""
    made = [split for split in ("validation", "test") if split not in present and "train" in present]
    return f"{' and '.join(made)} made of train by seed {seed}" if made else "given"


def _unit(key: str, seed: int) -> float:
    """A number in [0, 1) that depends on key and seed alone (Python's own hash changes with every process)."""
    digest = hashlib.blake2b(f"{seed}\0{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
