"""Views with class labels in a MATLAB file, as the sets of cross-modal retrieval lie.

    ANY.mat                      NAME_tr and NAME_te (N, D) for each view NAME; L_tr and L_te (N,) labels
    trainset_txt_img_cat.list    instead of L_tr: text id, image id and label (from 1) of each row, between tabs
    testset_txt_img_cat.list     instead of L_te
    categories.list              optional, with labels from 1: a class name per line

So come Wikipedia (Rasiwasia et al., A New Approach to Cross-Modal Multimedia Retrieval, ACM MM 2010) and UCI's
handwritten digits (Multiple Features). Rows of equal number belong together; every pair of equal label matches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from xmr.data import arrays, splits
from xmr.data.build import build
from xmr.data.dataset import DataFault, Dataset, Split
from xmr.data.items import kept_together
from xmr.data.matlab import MatFile
from xmr.data.rows import read_lines
from xmr.data.tables import Skips
from xmr.registry import unknown

LABELS = "L"  # the variable that is no view
CATEGORIES = "categories.list"
PIXELS, SHAPE = "P", (16, 15)  # UCI's digits as pictures: sums of 2 × 3 black pixels, 0 … 6
SCALE = 5  # pixels of a side of the picture that one of them becomes


class Digits(Sequence[Image.Image]):
    """UCI's digits (N, 240) as pictures, black on white, made when asked for."""

    def __init__(self, pixels: np.ndarray):
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Digits(self.pixels[index])
        grey = 255 - self.pixels[index].reshape(SHAPE) / 6 * 255
        picture = Image.fromarray(grey.clip(0, 255).astype(np.uint8))
        return picture.resize((SHAPE[1] * SCALE, SHAPE[0] * SCALE), Image.Resampling.BICUBIC).convert("RGB")


def class_views(folder: Path, split: Split, *, seed: int = 0, visual: str = "I", text: str = "T") -> Dataset:
    """a .mat of views NAME_tr and NAME_te, with labels L_tr and L_te or in *_txt_img_cat.list

    `visual` and `text` name the two views that are matched. A tenth of train becomes the validation split, by `seed`.
    Captions are mere numbers, since an id or a class would give away what is to be found: those are the columns
    `label` and `document`. Raises DataFault, naming file, variable and row, where anything is wrong.
    """
    found = mat_files(folder)
    if len(found) != 1:
        names = ", ".join(path.name for path in found)
        raise DataFault(f"{folder}: several .mat files ({names}); give each a folder of its own")
    file = MatFile(found[0])
    path, where = file.path, "test" if split == "test" else "train"
    sides = [_view(file, name, where) for name in (visual, text)]
    if len(sides[0]) != len(sides[1]):
        raise DataFault(
            f"{path}: {visual} has {len(sides[0])} rows of {where} and {text} {len(sides[1])}; they must pair up"
        )
    count = len(sides[0])
    pixels = _pixels(file, where, count)
    label, classes = _labels(folder, file, where, count, digits=pixels is not None)
    listed = _listed(folder, where)
    ids = [image for _, image, _ in listed] if listed else [f"{where}/{row}" for row in range(count)]

    present: set[Split] = {"train", "test"}
    keys = kept_together(ids, present, map(arrays.head, sides[0]))
    chosen = splits.choose([where] * count, keys, split, seed, folder, present=present)
    rows = np.array(chosen.places)
    names = [ids[row] for row in rows]
    for side in sides:
        arrays.check_finite(side[rows], path, rows, names)
    features = [side[rows] for side in sides]
    captions, links = [f"text {row}" for row in rows], np.arange(len(rows))
    skips = Skips(strict=False)
    skips.leave_out_splits("variable", _others(file))
    skips.close(str(folder), split, len(rows))
    columns: dict[str, list[Any]] = {"label": [classes[label[row]] for row in rows]}
    if listed:
        columns["document"] = [listed[row][0] for row in rows]
    return build(
        folder,
        split,
        visual_ids=names,
        captions=captions,
        visual_of_text=links,
        parts=features,
        contents=features[0],
        visual_group=label[rows],
        visuals=None if pixels is None else Digits(pixels[rows]),
        visual_features=features[0],
        text_features=features[1],
        classes=classes,
        columns=columns,
        about={"features": f"{path.name}: {visual} and {text}", "splits": chosen.note},
        skips=skips,
    )


def mat_files(folder: Path) -> list[Path]:
    """The MATLAB files of a folder, of which `class_views` wants one."""
    return sorted(path for path in folder.glob("*.mat") if path.is_file())


def _others(file: MatFile) -> Counter[str]:
    """How many variables of the views belong to other splits than train and test, by the endings of their names."""
    parts = [key.rpartition("_") for key in file.shapes]
    views = {name for name, _, end in parts if end in ("tr", "te")}
    return Counter(end for name, _, end in parts if name in views and end not in ("tr", "te"))


def _view(file: MatFile, name: str, where: str) -> np.ndarray:
    """The rows (N, D) float32 of one view in one split."""
    views = {key[:-3] for key in file.shapes if key.endswith(("_tr", "_te"))} - {LABELS}
    if name not in views:
        raise DataFault(f"{file.path}: {unknown('view', name, sorted(views))}")
    values = file.read(f"{name}_{where[:2]}")
    if values.ndim != 2 or 0 in values.shape:
        raise DataFault(f"{file.path}: {name}_{where[:2]} must be (N, D), found {values.shape}")
    with np.errstate(over="ignore"):  # infinity is told with its row
        return np.ascontiguousarray(values, np.float32)


def _listed(folder: Path, where: str) -> list[tuple[str, str, str]]:
    """Text id, image id and label of each row, from the .list file of a split; empty where there is no such file."""
    path = folder / f"{where}set_txt_img_cat.list"
    if not path.is_file():
        return []
    rows = []
    seen: dict[str, int] = {}
    for line, cells in enumerate((line.split("\t") for line in read_lines(path)), start=1):
        if len(cells) != 3 or not all(cell.strip() for cell in cells):
            raise DataFault(
                f"{path}, line {line}: must be text id, image id and label between tabs, found {cells!r:.80}"
            )
        text, image, label = (cell.strip() for cell in cells)
        if seen.setdefault(image, line) != line:
            raise DataFault(f"{path}, line {line}: image {image!r} stood on line {seen[image]} already")
        rows.append((text, image, label))
    return rows


def _labels(
    folder: Path, file: MatFile, where: str, count: int, digits: bool
) -> tuple[np.ndarray, list[str]]:
    """Class of each row of a split, (count,) int64, as an index into the names of all classes."""
    values = {split: _values(folder, file, split) for split in ("train", "test")}
    if len(values[where]) != count:
        raise DataFault(f"{file.path}: {len(values[where])} labels for {count} rows of {where}")
    known = np.unique(np.concatenate(list(values.values())))
    names = [str(value - digits * known[0]) for value in known]  # UCI's digits are labelled 1 … 10
    if (folder / CATEGORIES).is_file():
        names = [line.strip() for line in read_lines(folder / CATEGORIES)]
        if len(set(names)) != len(names) or "" in names:
            raise DataFault(f"{folder / CATEGORIES}: a class name is blank or stands twice")
        if known[0] < 1 or known[-1] > len(names):
            wrong = known[0] if known[0] < 1 else known[-1]
            raise DataFault(
                f"{folder}: label {wrong}, but {CATEGORIES} names the classes 1 … {len(names)}; add its name"
            )
        known = np.arange(1, len(names) + 1)
    return np.searchsorted(known, values[where]), names


def _values(folder: Path, file: MatFile, where: str) -> np.ndarray:
    """The labels of a split as they are given, (N,) int64."""
    listed = _listed(folder, where)
    if listed:
        for line, (_, _, label) in enumerate(listed, start=1):
            if not (label.isascii() and label.isdigit() and len(label) < 10):
                raise DataFault(
                    f"{folder / f'{where}set_txt_img_cat.list'}, line {line}: the label must be a number, "
                    f"found {label!r:.40}"
                )
        return np.array([int(label) for _, _, label in listed], np.int64)
    name = f"{LABELS}_{where[:2]}"
    values = file.read(name)
    if values.size == 0 or values.size != max(values.shape):
        raise DataFault(
            f"{file.path}: {name} must be (N,) or (N, 1), a label for each row, found {values.shape}"
        )
    values = values.ravel()
    whole = np.isfinite(values) & (np.abs(values.astype(np.float64)) < 1e9)
    whole &= np.where(whole, values, 0) == np.floor(np.where(whole, values, 0))
    if not whole.all():
        row = int((~whole).argmax())
        raise DataFault(
            f"{file.path}: {name}, row {row}: a label must be a whole number, found {values[row]}"
        )
    return values.astype(np.int64)


def _pixels(file: MatFile, where: str, count: int) -> np.ndarray | None:
    """UCI's digits (count, 240) as sums of pixels, where the file has them."""
    name = f"{PIXELS}_{where[:2]}"
    if file.shapes.get(name) != (count, SHAPE[0] * SHAPE[1]):
        return None
    values = file.read(name)
    return values if np.isin(values, range(7)).all() else None
