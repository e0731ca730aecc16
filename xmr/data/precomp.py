"""The `precomp` layout, which VSE++, SCAN and their successors read: features and captions by split.

{train,dev,test}_ims.npy              (N, 36, 2048) or (N, D), or each image's row repeated for each caption
{train,dev,test}_caps.txt             one caption a line; an image's captions in a row, as many for each image
{train,dev,test}_ids.txt              optional: a name per image, or per caption
{train,dev,test}_text_features.npy    optional: a row per caption
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xmr.data import arrays, splits
from xmr.data.dataset import DataFault, Dataset, Split
from xmr.data.features import TEXT_FEATURES, assemble, check_names, text_features
from xmr.data.tables import Skips, read_lines


def precomp(folder: Path, split: Split, *, strict: bool = False) -> Dataset:
    """{train,dev,test}_ims.npy and _caps.txt with as many captions for each image, as VSE++ and SCAN read

    How many captions an image has is derived from the two lengths; rows repeated once per caption are recognised.
    Blank captions are skipped with a warning and counted in `faults`, or are an error with `strict`. Raises
    DataFault, naming file and line or row, on anything else that is wrong.
    """
    stem = _stem(folder, split)
    path, table = folder / f"{stem}_ims.npy", folder / f"{stem}_caps.txt"
    if not table.is_file():
        raise DataFault(f"{table} is missing: it holds the captions of {path.name}, one per line")
    values = arrays.open_features(path)
    lines = read_lines(table)
    count = len(lines)
    if count % len(values):
        raise DataFault(
            f"{table}: {count} captions for the {len(values)} rows of {path.name}; it must be the same number for "
            f"each row, such as {5 * len(values)} (five each)"
        )
    repeats = _repeats(values) if count == len(values) else 1
    visuals = len(values) // repeats
    per_visual = count // visuals
    texts = text_features(folder / f"{stem}_{TEXT_FEATURES}", count, f"lines of {table.name}")

    skips = Skips(strict)
    kept = []
    for index, line in enumerate(lines):
        if line.strip():
            kept.append(index)
        else:
            skips.add("blank captions", f"{table}, line {index + 1}: the caption is blank; write it")
    rows, visual_of_text = np.unique(np.array(kept, np.int64) // per_visual, return_inverse=True)
    skips.leave_out("visuals without captions", visuals - len(rows))
    skips.close(str(folder), split, len(kept))
    names = _ids(folder / f"{stem}_ids.txt", split, visuals, per_visual)
    return assemble(
        folder,
        split,
        (path, values, rows * repeats),
        captions=[lines[index] for index in kept],
        visual_of_text=visual_of_text.astype(np.int64),
        visual_ids=[names[row] for row in rows],
        visual_group=None,
        text_features=None if texts is None else arrays.rows_of(texts, np.array(kept)),
        columns={},
        truth=None,
        about={"splits": "given"},
        faults=skips.counts,
    )


def stems(folder: Path) -> dict[Split, str]:
    """How the files of each split begin: {"validation": "dev"} where there is a dev_ims.npy."""
    names = (path.name.removesuffix("_ims.npy") for path in sorted(folder.glob("*_ims.npy")))
    return {splits.ALIASES[name]: name for name in names if name in splits.ALIASES}


def _stem(folder: Path, split: Split) -> str:
    found = stems(folder)
    if split not in found:
        there = ", ".join(f"{stem}_ims.npy" for stem in found.values())
        names = " or ".join(f"{name}_ims.npy" for name, of in splits.ALIASES.items() if of == split)
        raise DataFault(f"{folder}: the {split} split is empty: add {names} (there are {there})")
    return found[split]


def _repeats(values: np.ndarray) -> int:
    """How often each row stands in a row: five times (as in the field), as often as the first does, or once."""
    first = next((row for row in range(1, min(len(values), 100)) if not _same(values[row], values[0])), 1)
    for repeats in (5, first):
        step = repeats * max(1, arrays.CHUNK_BYTES // (repeats * values[0].nbytes))
        if len(values) % repeats == 0 and all(
            _constant(values[start : start + step], repeats) for start in range(0, len(values), step)
        ):
            return repeats
    return 1


def _constant(chunk: np.ndarray, repeats: int) -> bool:
    groups = chunk.reshape(-1, repeats, *chunk.shape[1:])
    return _same(groups, groups[:, :1])


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return bool((one == other).all())


def _ids(path: Path, split: Split, visuals: int, per_visual: int) -> list[str]:
    if not path.is_file():
        return [f"{split}/{row}" for row in range(visuals)]
    names = read_lines(path)
    if len(names) == visuals * per_visual:
        names = names[::per_visual]
    return check_names(
        names, visuals, path, f"one per image, or one per caption, that is {visuals} images; it"
    )
