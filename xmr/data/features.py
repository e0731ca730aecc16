"""Features computed elsewhere, with their captions: one captions file for all splits, one array for all visuals.

    captions.csv | captions.jsonl    image, caption (or captions, text); optional split, caption_no, concept, …
                                     `video` or `video_id` in place of `image`: features of clips
    ANY.npz with `names`, `features`, or ANY.npy with names.txt (a name per line) or images given by row number
    text_features.npy                optional: a row per caption, in the captions file's order; as an .npz with `features`, too
    expert.csv, crowdflower.csv      optional: people's judgements, see judgements.py

A member `model` in the .npz of both sides names what made them. Among features (N, T, D) a row of zeros is padding: clips have as many frames as they have.

The array stays on disk (arrays.py): a split whose rows are one stretch is a view of the file, any other is a copy in
memory, so keep large features sorted by split. Each row of the split is looked at once for NaN and infinity, which
costs the time to read it (about 1 GB/s).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xmr.data import arrays, pictures, splits
from xmr.data.build import build, hard_captions, parts_of_hard
from xmr.data.columns import HARD
from xmr.data.dataset import DataFault, Dataset, Split
from xmr.data.items import Item, codes, composed, kept_together
from xmr.data.judgements import judged_truth
from xmr.data.names import PICTURES, ending_with, matched
from xmr.data.rows import Row, read_lines
from xmr.data.tables import Skips, caption_columns, captions_in, columns_of, only_table, read_rows

CAPTIONS = ("captions.csv", "captions.jsonl", "captions.tsv")
CLIP_COLUMNS = ("video", "video_id")
IMAGE_COLUMNS = ("image", "file_name", *CLIP_COLUMNS, "name", "index")
TEXT_FEATURES = "text_features.npy"
IMAGES = "images"
NONE = np.empty(0, np.int64)
STILLS = tuple(f".{name}" for name in PICTURES)


@dataclass(frozen=True)
class _Caption:
    row: Row
    index: int  # among all captions of the file
    visual: int  # row of the features
    number: int  # which of its image's captions
    text: str


def features(
    folder: Path,
    split: Split,
    *,
    strict: bool = False,
    seed: int = 0,
    features: str = "",
    text_features: str = TEXT_FEATURES,
) -> Dataset:
    """captions.csv or captions.jsonl with image and caption, and visual features as .npy or .npz

    `features` names the file where there are several, `text_features` that of the captions; two of different models are an
    error. Where pictures lie in images/ beside, by the names of the features, they are shown. Blank captions
    are skipped with a warning and counted in `faults`; with `strict` they are an error. `seed` makes missing splits. Raises DataFault, naming file and line
    or row, on anything else that is wrong.
    """
    table = only_table(folder, CAPTIONS)
    text_path = _text_file(folder, text_features)
    there = [file for file in array_files(folder) if file != text_path]
    path = arrays.only(folder, there, features, "features", "features")
    values = arrays.open_features(path)
    names = row_names(folder, path, len(values))
    captions, columns = _captions(table, path, names, len(values))
    texts = text_rows(text_path, len(captions), f"captions in {table.name}")
    if texts is not None:
        _check_sides(folder, (path, values), (text_path, texts))

    first_row = _first_rows(captions)
    visuals = sorted(first_row)  # in the order of the features, so that a split can be one stretch of them
    label = {visual: names[visual] if names else str(visual) for visual in visuals}
    by_row = "split" in columns
    named = [splits.declared(first_row[visual]) if by_row else "train" for visual in visuals]
    keys = [composed(first_row[visual], "concept") or label[visual] for visual in visuals]
    keys = kept_together(keys, set(named), (arrays.head(values[visual]) for visual in visuals))
    chosen = splits.choose(named, keys, split, seed, folder)
    wanted = {visuals[place] for place in chosen.places}

    skips = Skips(strict)
    skips.leave_out_splits("visual", chosen.others)
    skips.leave_out("rows of features that no caption is of", len(values) - len(visuals))
    kept = []
    for caption in captions:
        if caption.visual in wanted and caption.text.strip():
            kept.append(caption)
        elif caption.visual in wanted:
            skips.add("blank captions", f"{caption.row}: the caption is blank; write it or delete the row")
    rows = np.unique(np.array([caption.visual for caption in kept], np.int64))
    skips.leave_out("visuals without captions", len(wanted) - len(rows))
    if not kept:
        skips.close(str(folder), split, 0)
    visual_of_text = np.searchsorted(rows, [caption.visual for caption in kept]).astype(np.int64)
    concepts = [composed(first_row[row], "concept") for row in rows]
    group = codes(concepts) if "concept" in columns else np.arange(len(rows))
    ids = [label[row] for row in rows]
    clips = _image_column(columns) in CLIP_COLUMNS
    shown, lacking = (None, {}) if clips else pictures_beside(folder, ids)
    written = list({caption.row.line: caption for caption in kept}.values())
    places = np.searchsorted(rows, [caption.visual for caption in written]).astype(np.int64)
    rights: dict[int, list[str]] = {}
    for caption in kept:
        rights.setdefault(caption.visual, []).append(caption.text)
    asked = [Item(one.row, label[one.visual], rights[one.visual]) for one in written]
    hard, of_written = hard_captions(asked, group[places], skips)
    skips.close(str(folder), split, len(kept))
    return assemble(
        folder,
        split,
        (path, values, rows),
        hard=hard,
        of_hard=places[of_written],
        captions=[caption.text for caption in kept],
        visual_of_text=visual_of_text,
        visual_ids=ids,
        visual_group=group,
        text_features=None if texts is None else texts[[caption.index for caption in kept]],
        visuals=shown,
        kind="clip" if clips else "image",
        columns=_visual_columns(columns, captions, rows, first_row),
        truth=judged_truth(
            folder,
            known={(label[caption.visual], caption.number) for caption in captions},
            visual_of={name: index for index, name in enumerate(ids)},
            text_of={(label[caption.visual], caption.number): index for index, caption in enumerate(kept)},
            text_group=group[visual_of_text],
            visual_group=group,
        ),
        about={"splits": chosen.note} | lacking,
        skips=skips,
    )


def array_files(folder: Path) -> list[Path]:
    """The files that could be visual features."""
    found = sorted([*folder.glob("*.npy"), *folder.glob("*.npz")])
    return [path for path in found if not path.name.endswith(TEXT_FEATURES)]


def assemble(
    folder: Path,
    split: Split,
    source: tuple[Path, np.ndarray, np.ndarray],
    *,
    visual_ids: list[str],
    text_features: np.ndarray | None,
    about: dict[str, Any],
    hard: Sequence[str] = (),
    of_hard: np.ndarray = NONE,
    **more: Any,
) -> Dataset:
    """The dataset of the feature rows `source` = (file, all its features, ascending rows of this split).

    `hard` are hard captions of the visuals `of_hard`, and `more` is what else `build` takes.
    """
    path, values, rows = source
    chosen = arrays.rows_of(values, rows)
    arrays.check_finite(chosen, path, rows, visual_ids)
    if chosen.ndim == 3:
        _check_present(chosen, path, rows, visual_ids)
    if text_features is not None and chosen.shape[-1] != text_features.shape[-1]:
        about = about | {
            "sides": f"visual features of {chosen.shape[-1]:,} dimensions, text features of {text_features.shape[-1]:,}: "
            "of two models"
        }
    return build(
        folder,
        split,
        visual_ids=visual_ids,
        parts=[chosen, *([] if text_features is None else [text_features]), *parts_of_hard(hard, of_hard)],
        hard_captions=list(hard),
        visual_of_hard=of_hard,
        contents=chosen,
        visual_features=chosen,
        text_features=text_features,
        about={"features": path.name} | about,
        **more,
    )


def text_rows(path: Path, count: int, what: str) -> np.ndarray | None:
    """The features (N, D) of all `count` captions, if the file is there. Raises DataFault."""
    if not path.is_file():
        return None
    values = arrays.open_features(path)
    if len(values) != count or values.ndim != 2:
        raise DataFault(
            f"{path}: must be (N, D) with a row for each of the {count} {what}, found {values.shape}"
        )
    arrays.check_finite(values, path, np.arange(count), [f"caption {row}" for row in range(count)])
    return values


def _check_sides(folder: Path, visual: tuple[Path, np.ndarray], text: tuple[Path, np.ndarray]) -> None:
    """Raises DataFault where the features of the two sides are of different models: where they say so, or where the width of
    one is not that of the other, but that of another file in its place."""
    models = [_model(path) for path, _ in (visual, text)]
    if all(models) and models[0] != models[1]:
        raise DataFault(
            f"{folder}: {visual[0].name} is of the model {models[0]!r}, {text[0].name} of {models[1]!r}; name two of one by "
            "--set features=FILE --set text_features=FILE"
        )
    width, other = visual[1].shape[-1], text[1].shape[-1]
    if width == other:
        return
    for option, (path, values), wanted in (("features", visual, other), ("text_features", text, width)):
        for file in sorted([*folder.glob("*.npy"), *folder.glob("*.npz")]):
            if file not in (visual[0], text[0]) and _shape(file) == (len(values), wanted):
                raise DataFault(
                    f"{folder}: {visual[0].name} has {width} dimensions, {text[0].name} {other}: they are of two models. "
                    f"{file.name} has {wanted}: is it meant for {path.name}? Then --set {option}={file.name}; else move it away"
                )


def _model(path: Path) -> str:
    """What made the features, where an .npz says so."""
    if path.suffix != ".npz" or "model" not in arrays.members(path):
        return ""
    return str(arrays.open_array(path, "model").reshape(-1)[0])


def _shape(path: Path) -> tuple[int, ...]:
    try:
        return arrays.open_features(path).shape
    except DataFault:  # of a file that nobody named
        return ()


def check_names(names: list[str], count: int, source: str | Path, what: str) -> list[str]:
    """`names` itself. Raises DataFault where they aren't `count` different ones."""
    if len(names) != count:
        blank = len(names) - len("\n".join(names).rstrip().split("\n"))
        hint = f"; the last {blank} are blank, take them out" if names and blank else ""
        raise DataFault(f"{source}: {len(names)} names, but {what} needs {count}{hint}")
    if "" in names:
        raise DataFault(f"{source}: the name of row {names.index('')} is blank; write one for each row")
    seen: dict[str, int] = {}
    for row, name in enumerate(names):
        if seen.setdefault(name, row) != row:
            raise DataFault(f"{source}: {name!r} names row {seen[name]} and row {row}; a name must be unique")
    return names


def _text_file(folder: Path, name: str) -> Path:
    path = folder / name
    if name != TEXT_FEATURES and not path.is_file():
        there = ", ".join(one.name for one in array_files(folder)) or "none"
        raise DataFault(
            f"{folder}: no {name} for the features of the captions (.npy and .npz files: {there})"
        )
    return path


def pictures_beside(folder: Path, names: list[str]) -> tuple[pictures.Pictures | None, dict[str, str]]:
    """The pictures of these names, maybe without their endings, in images/, and for `Dataset.about` that some are not there.

    Where rows are known by number, all must be there: a number may be that of any picture.
    """
    folder = folder / IMAGES
    if not folder.is_dir():
        return None, {}
    found = matched(names, [path.relative_to(folder).as_posix() for path in ending_with(folder, STILLS)])
    missing = len(names) - len(found)
    if not missing:
        return pictures.Pictures(folder, [found[name] for name in names]), {}
    told = f"{IMAGES}/ lacks {missing:,} of {len(names):,} pictures"
    if not found or all(name.isdecimal() for name in names):
        return None, {"pictures": f"{told}, so none is shown"}
    shown = pictures.Pictures(folder, [found.get(name, "") for name in names])
    return shown, {"pictures": f"{told}, which are shown by their names"}


def row_names(folder: Path, path: Path, count: int) -> list[str] | None:
    """The names of the rows, from the .npz or names.txt; None where rows are known by number."""
    if path.suffix == ".npz" and "names" in arrays.members(path):
        array = arrays.open_array(path, "names")
        if array.ndim != 1 or array.dtype.kind not in "US":
            raise DataFault(f"{path} (names): must be a vector of strings, found {array.dtype} {array.shape}")
        names = [name.decode() if isinstance(name, bytes) else name for name in array.tolist()]
        return check_names(names, count, f"{path} (names)", "the features")
    if (folder / "names.txt").is_file():
        return check_names(read_lines(folder / "names.txt"), count, folder / "names.txt", path.name)
    return None


def _image_column(columns: list[str]) -> str | None:
    return next((name for name in IMAGE_COLUMNS if name in columns), None)


def _check_present(features: np.ndarray, path: Path, rows: np.ndarray, names: list[str]) -> None:
    """Raises DataFault naming the first visual all of whose tokens are padding."""
    for index, tokens in enumerate(features):
        if not tokens.any():
            raise DataFault(
                f"{path}, row {rows[index]} ({names[index]}): all zeros, which is padding, so it has no frames; "
                "compute this row anew or take it out, with its captions"
            )


def _captions(
    table: Path, path: Path, names: list[str] | None, count: int
) -> tuple[list[_Caption], list[str]]:
    """All captions of all splits, blank ones included, and the columns of their file."""
    rows = read_rows(table)
    if not rows:
        raise DataFault(f"{table}: no rows; write one per caption: image, split, caption")
    texts, columns = caption_columns(rows, table), columns_of(rows)
    image = _image_column(columns)
    if image is None:
        raise DataFault(
            f"{table}: no column 'image' (name or row of the visual); there are {', '.join(columns)}"
        )
    row_of = None
    if names and image != "index":
        by_name = {name: row for row, name in enumerate(names)}
        meant = matched((row.text(image) for row in rows), names)
        row_of = {asked: by_name[name] for asked, name in meant.items()}
    captions: list[_Caption] = []
    counts: dict[int, int] = {}
    seen: dict[tuple[int, int], Row] = {}
    for row in rows:
        if row_of is not None:
            visual = row_of.get(row.text(image), -1)
            if visual < 0:
                raise DataFault(
                    f"{row}: no features of image {row.text(image)!r} in {path.name}; is the name right?"
                )
        else:
            visual = row.number(image)
            if not 0 <= visual < count:
                raise DataFault(f"{row}: {image} {visual}, but {path.name} has rows 0 … {count - 1}")
        for text in captions_in(row, texts, objects=False):
            position = counts.get(visual, 0)
            counts[visual] = position + 1
            number = row.number("caption_no") if "caption_no" in columns else position
            if (visual, number) in seen:
                raise DataFault(
                    f"{row}: caption_no {number} of this image was given already ({seen[visual, number]}); "
                    "number its captions 0, 1, 2 … or leave the column out"
                )
            seen[visual, number] = row
            captions.append(_Caption(row, len(captions), visual, number, text))
    return captions, columns


def _first_rows(captions: list[_Caption]) -> dict[int, Row]:
    """The first row of each visual. Raises DataFault where a later one puts it into another split or concept."""
    first_row: dict[int, Row] = {}
    for caption in captions:
        first = first_row.setdefault(caption.visual, caption.row)
        for column in ("split", "concept"):
            here, there = caption.row.values.get(column), first.values.get(column)
            if here != there:
                raise DataFault(
                    f"{caption.row}: {column} {here!r}, but {there!r} for the same image on line {first.line}; "
                    "an image has only one"
                )
    return first_row


def _visual_columns(
    columns: list[str], captions: list[_Caption], rows: np.ndarray, first_row: dict[int, Row]
) -> dict[str, list[Any]]:
    """The columns that say something of the visual, not of one caption: those equal on all its rows."""
    varying = {"split", *IMAGE_COLUMNS, "captions", "caption", "text", "caption_no", HARD}
    for name in columns:
        if name not in varying and any(
            caption.row.values.get(name) != first_row[caption.visual].values.get(name) for caption in captions
        ):
            varying.add(name)
    return {
        name: [first_row[row].values.get(name) for row in rows] for name in columns if name not in varying
    }
