"""The `precomp` layout, which VSE++, SCAN and their successors read: features and captions by split.

{train,dev,test}_ims.npy              (N, 36, 2048) or (N, D), or each image's row repeated for each caption
{train,dev,test}_caps.txt             one caption a line; an image's captions in a row, as many for each image
{train,dev,test}_ids.txt              optional: a name per image, or per caption
{train,dev,test}_text_features.npy    optional: a row per caption
images/                               optional: the pictures by those names, to be shown

Images and captions are paired by their places alone. Where numbers of captions differ, a name per caption tells which
are whose; whatever leaves that open is an error.
"""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path

import numpy as np

from xmr.data import arrays, splits
from xmr.data.dataset import DataFault, Dataset, Split
from xmr.data.features import TEXT_FEATURES, assemble, check_names, pictures_beside, text_rows
from xmr.data.items import kept_together
from xmr.data.rows import Row, read_lines
from xmr.data.tables import Skips, listed

NUMBERED = re.compile(r"#\d+$")


def precomp(folder: Path, split: Split, *, strict: bool = False, seed: int = 0) -> Dataset:
    """{train,dev,test}_ims.npy and _caps.txt with as many captions for each image, as VSE++ and SCAN read

    How many captions an image has is derived from the two lengths, or told by an _ids.txt with a line per caption; rows
    repeated once per caption are recognised. Where images/ lies beside, with all of the names, its pictures are shown. Blank
    captions are skipped with a warning and counted in `faults`, or are an error with `strict`. `seed` makes missing splits.
    Raises DataFault, naming file and line or row, on anything else that is wrong.
    """
    there = stems(folder)
    source = splits.source(split, there, folder)
    stem = there[source]
    path, table = folder / f"{stem}_ims.npy", folder / f"{stem}_caps.txt"
    if not table.is_file():
        raise DataFault(f"{table} is missing: it holds the captions of {path.name}, one per line")
    values = arrays.open_features(path)
    lines = read_lines(table)
    texts = text_rows(folder / f"{stem}_{TEXT_FEATURES}", len(lines), f"lines of {table.name}")
    ids = folder / f"{stem}_ids.txt"
    names = read_lines(ids) if ids.is_file() else None
    first_rows, owner, names = _pairs(path, values, table, lines, ids, names)
    own = names or [f"{source}/{visual}" for visual in range(len(first_rows))]
    keys = kept_together(own, there, (arrays.head(values[row]) for row in first_rows))
    chosen = splits.choose([source] * len(own), keys, split, seed, folder, present=set(there))

    skips = Skips(strict)
    skips.leave_out_splits("file", dict.fromkeys(_others(folder), 1))
    kept = []
    for index in np.flatnonzero(np.isin(owner, chosen.places)).tolist():
        where, line = f"{table}, line {index + 1}", lines[index]
        if not line.strip():
            skips.add("blank captions", f"{where}: the caption is blank; write it")
            continue
        if len(listed(Row(table, index + 1, {}), "caption", line)) != 1:
            raise DataFault(f"{where}: a list of captions, but each line is one; write each on its own line")
        kept.append(index)
    visuals, visual_of_text = np.unique(owner[kept], return_inverse=True)
    skips.leave_out("visuals without captions", len(chosen.places) - len(visuals))
    skips.close(str(folder), split, len(kept))
    ids = [own[visual] for visual in visuals]
    shown, lacking = pictures_beside(folder, ids)
    return assemble(
        folder,
        split,
        (path, values, first_rows[visuals]),
        captions=[lines[index] for index in kept],
        visual_of_text=visual_of_text.astype(np.int64),
        visual_ids=ids,
        visuals=shown,
        text_features=None if texts is None else arrays.rows_of(texts, np.array(kept)),
        about={"splits": chosen.note} | lacking,
        skips=skips,
    )


def _pairs(
    path: Path, values: np.ndarray, table: Path, lines: list[str], ids: Path, names: list[str] | None
) -> tuple[np.ndarray, np.ndarray, list[str] | None]:
    """The row where each image begins, the image of each caption, and the images' names if there are any.

    Raises DataFault where the two files leave open which caption is whose.
    """
    rows, count = len(values), len(lines)
    if names is not None and len(names) == count:
        # Of names like 1001.jpg#0, a caption's own, what stands before the # is the image's.
        images = [NUMBERED.sub("", name) for name in names]
        lengths = {len(own) for own in (list(run) for _, run in groupby(images))}
        if len(set(names)) == count and len(lengths) > 1 and all(map(NUMBERED.search, names)):
            names = images
        if len(set(names)) < count:
            return _by_name(path, values, ids, names)
    blank = count - len("\n".join(lines).rstrip().split("\n"))
    for cut in range(1, blank + 1):
        if count - cut >= rows and (count - cut) % rows == 0:
            raise DataFault(
                f"{table}: {count} captions for the {rows} rows of {path.name}, of which the last {blank} are blank "
                f"lines: with {count - cut} the captions would fit too, so which image has which is open; take blank "
                "lines off the end, or fill in the captions that are missing"
            )
    if not count or count % rows:
        raise DataFault(
            f"{table}: {count} captions for the {rows} rows of {path.name}; it must be the same number for each row, "
            f"such as {5 * rows} (five each), or {ids.name} has to name the image of each caption, a line for each"
        )
    missing = np.bincount(
        [line * rows // count for line, caption in enumerate(lines) if not caption.strip()], minlength=rows
    )
    told = names is not None and len(names) == count
    if not told and rows <= missing.sum() <= count - rows and len(set(missing.tolist())) > 1:
        raise DataFault(
            f"{table}: {missing.sum()} of the {count} captions for the {rows} rows of {path.name} are blank lines, not the "
            f"same number for each row: with {count - rows} captions they would fit too, so which image has which is open; "
            f"take out the blank lines that are no captions, or write {ids.name} with the name of its image for each line"
        )
    repeats = _repeats(path, values, ids) if count == rows else 1
    visuals = rows // repeats
    if names is not None:
        names = names[:: count // visuals] if len(names) == count else names
        check_names(names, visuals, ids, f"one per image, or one per caption, that is {visuals} images; it")
    return np.arange(visuals) * repeats, np.repeat(np.arange(visuals), count // visuals), names


def _by_name(
    path: Path, values: np.ndarray, ids: Path, names: list[str]
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """`_pairs` where each caption's line has the name of its image."""
    begins = [line for line, name in enumerate(names) if line == 0 or name != names[line - 1]]
    owner = np.repeat(np.arange(len(begins)), np.diff([*begins, len(names)]))
    runs = [names[line] for line in begins]
    seen: dict[str, int] = {}
    for line, name in zip(begins, runs, strict=True):
        if not name.strip():
            raise DataFault(f"{ids}, line {line + 1}: the name is blank; write that of the caption's image")
        if seen.setdefault(name, line) != line:
            raise DataFault(
                f"{ids}, line {line + 1}: {name!r} stands on line {seen[name] + 1} too, with others between; "
                "an image's captions must stand in a row"
            )
    if len(values) == len(begins):
        return np.arange(len(begins)), owner, runs
    if len(values) != len(names):
        raise DataFault(
            f"{ids}: {len(begins)} images by name and {len(names)} captions, but {path.name} has {len(values)} rows; "
            "it must be one for each image, or one for each caption"
        )
    for row in range(1, len(names)):
        if owner[row] == owner[row - 1] and not _same(values[row], values[row - 1]):
            raise DataFault(
                f"{path}, row {row}: not the features of the row before, but {ids.name} has the same image "
                f"{names[row]!r} for both; one of the two files is shifted"
            )
    return np.array(begins), owner, runs


def stems(folder: Path) -> dict[Split, str]:
    """How the files of each split begin: {"validation": "dev"} where there is a dev_ims.npy. Raises DataFault where two
    mean the same."""
    found: dict[Split, str] = {}
    for name in _prefixes(folder):
        split = splits.ALIASES.get(name)
        if split in found:
            raise DataFault(
                f"{folder}: {found[split]}_ims.npy and {name}_ims.npy are both the {split} split; move one away"
            )
        if split:
            found[split] = name
    return found


def _prefixes(folder: Path) -> list[str]:
    return [path.name.removesuffix("_ims.npy") for path in sorted(folder.glob("*_ims.npy"))]


def _others(folder: Path) -> list[str]:
    return [name for name in _prefixes(folder) if name not in splits.ALIASES]


def _repeats(path: Path, values: np.ndarray, ids: Path) -> int:
    """How often each row stands in a row, once for each of its image's captions: the largest number that divides how
    often any does. Raises DataFault where rows repeat in earnest, but unevenly."""
    step = max(1, arrays.CHUNK_BYTES // values[0].nbytes)
    begins = [0]
    for start in range(1, len(values), step):
        here, before = (
            values[start : start + step],
            values[start - 1 : start - 1 + step][: len(values) - start],
        )
        differ = (here != before).reshape(len(here), -1).any(1)
        begins += (np.flatnonzero(differ) + start).tolist()
    repeats = int(np.gcd.reduce(np.diff([*begins, len(values)])))
    if repeats == 1 and 2 * len(begins) <= len(values):
        counts = ", ".join(map(str, np.diff([*begins, len(values)])[:4]))
        raise DataFault(
            f"{path}: equal rows follow one another, {counts}, … times, as of images with differing numbers of "
            f"captions; write {ids.name} with the name of its image for each caption"
        )
    return repeats


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return bool((one == other).all())
