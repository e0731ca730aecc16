"""Pictures sorted into a folder for each class, as ImageNet is.

    train/tabby_cat/1.jpg, val/tabby_cat/…    or    tabby_cat/1.jpg, dog/…, of which the splits are made
    LOC_synset_mapping.txt or classes.txt     optional: a folder's name, a blank, and what its class is called

A picture's caption is a template with the name of its class, and every pair of equal class matches.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xmr.data import pictures, splits
from xmr.data.build import of_items
from xmr.data.dataset import SPLITS, DataFault, Dataset, Split
from xmr.data.items import Item, listed
from xmr.data.names import PICTURES
from xmr.data.rows import Row, read_lines

NAMES = ("LOC_synset_mapping.txt", "classes.txt", "words.txt")
ENDINGS = tuple(f".{ending}" for ending in PICTURES)


def classfolder(
    folder: Path, split: Split, *, strict: bool = False, seed: int = 0, template: str = "a photo of a {}"
) -> Dataset:
    """a folder of pictures for each class, maybe in train/val/test; captions are made of the classes' names

    `template` is the caption, {} in it the name of the class: that of its folder, or what classes.txt calls it. Pictures that
    are unreadable or too large are skipped with a warning and counted in `faults`; with `strict` the first is an error.
    `seed` makes missing splits. Raises DataFault on anything else that is wrong.
    """
    if "{}" not in template:
        raise DataFault(f"template={template!r}: needs {{}} where the name of the class is to be")
    named = _named_folders(folder)
    classes = sorted({name for names in named.values() for name in names})
    called = _called(folder)
    titles = [called.get(name, name.replace("_", " ")) for name in classes]
    if len(set(titles)) < len(titles):
        titles = [
            f"{title} ({name})" if titles.count(title) > 1 else title
            for title, name in zip(titles, classes, strict=True)
        ]
    number = {name: place for place, name in enumerate(classes)}
    items: list[Item] = []
    of_split: list[str] = []
    for (where, own), names in named.items():
        for name in names:
            for path in _pictures(where / name):
                title = titles[number[name]]
                caption = template.replace("{}", title)
                items.append(
                    Item(Row(path, 0, {"label": title}, name), path.relative_to(folder).as_posix(), [caption])
                )
                of_split.append(own or "train")
    store = pictures.Files(folder)
    present = {own for _, own in named if own in SPLITS} or None
    found = listed(folder, items, of_split, split, seed, ["label"], present=present, store=store)
    place = {title: index for index, title in enumerate(titles)}

    def groups(kept: Sequence[Item]) -> np.ndarray:
        return np.array([place[item.row.values["label"]] for item in kept], np.int64)

    return of_items(folder, split, found, store, strict=strict, groups=groups, classes=titles)


def class_folders(folder: Path) -> bool:
    """Whether there are two folders with pictures, and no pictures beside them."""
    try:
        names = {name for found in _named_folders(folder).values() for name in found}
    except DataFault:
        return False
    return len(names) > 1


def _named_folders(folder: Path) -> dict[tuple[Path, str], list[str]]:
    """The folders of classes of each split, by (where they are, the split's name); "" where they lie in `folder` itself."""
    there = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    told = {path: splits.told_by(path.name) for path in there}
    if any(told.values()):
        found = {(path, told[path] or path.name): _classes(path) for path in there}
    else:
        found = {(folder, ""): _classes(folder)}
    return {key: names for key, names in found.items() if names}


def _classes(folder: Path) -> list[str]:
    there = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    if any(path.suffix.lower() in ENDINGS for path in folder.iterdir()):
        return []
    return [path.name for path in there if _pictures(path)]


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)


def _called(folder: Path) -> dict[str, str]:
    """What classes are called, by the names of their folders; of several names in a row the first."""
    for name in NAMES:
        if (folder / name).is_file():
            pairs = [line.partition("\t" if "\t" in line else " ") for line in read_lines(folder / name)]
            return {key: text.split(",")[0].strip() for key, _, text in pairs if text.strip()}
    return {}
