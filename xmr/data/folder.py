"""Your own pictures and captions: a Hugging Face *imagefolder*.

    root/{train,validation,test}/metadata.jsonl    or    root/metadata.csv, with or without a `split` column

A row of the metadata has `file_name` (relative to the metadata's folder) and `captions` (a list), `caption` or
`text`; optional are `split`, `concept` (equal concept: mutual positives), `base_concept` (below), `label`, and any
other column, which is kept. Where nothing says which split a row belongs to, or validation or test is missing, it
is made of train by seed; a concept (or base concept, where given) never straddles made splits.

`base_concept` says that pictures of different concepts are alike but for a detail, as emoji are that differ in
skin tone: a caption of the one could have been written for the other. That is knowledge of *matches* only, so the
dataset's truth is 1 for those and for the annotated pairs, and unknown elsewhere: that two base concepts don't
match ("face, smile" fits many) nobody has said.

Read without `datasets.load_dataset("imagefolder")`, which takes 4.5 s for the 8,867 pictures of emoji's train
split (1.4 s of one core here, with every picture decoded once), copies the metadata to a cache, and whose errors
name neither line nor picture. Pictures are files already: memory-mapping them through arrow gains nothing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xmr.data import facts, pictures, splits
from xmr.data.dataset import SPLITS, DataFault, Dataset, Split, Truth
from xmr.data.tables import Row, Skips, caption_column, captions_of, columns_of, read_rows

METADATA = ("metadata.jsonl", "metadata.csv")


@dataclass(frozen=True)
class _Picture:
    row: Row
    id: str  # its path relative to the root, with forward slashes
    captions: list[str]

    @property
    def group(self) -> str:
        """What never straddles made splits."""
        for column in ("base_concept", "concept"):
            if value := self.row.text(column):
                return f"{column} {value}"
        return self.id


def imagefolder(folder: Path, split: Split, *, strict: bool = False, seed: int = 0) -> Dataset:
    """pictures and a metadata.jsonl or metadata.csv with file_name and captions, maybe in train/validation/test

    Pictures that are missing, unreadable or too large, and blank captions, are skipped with a warning and counted
    in `faults`; with `strict` the first is an error, and every picture is decoded in full. `seed` makes missing
    splits. Raises DataFault, naming file and line, on anything else that is wrong.
    """
    files, present = _files(folder, split)
    rows: list[_Picture] = []
    columns: list[str] = []
    hidden: set[str] = {"file_name", "split"}
    for file in files:
        read = read_rows(file)
        if not read:
            raise DataFault(
                f"{file}: the {split} split is empty: the file has no rows; add them or delete it"
            )
        caption = caption_column(read, file)
        hidden.add(caption)
        columns += [name for name in columns_of(read) if name not in columns]
        base = file.parent.relative_to(folder).parts
        rows += [_picture(base, row, caption) for row in read]
    _check_names(rows)
    _check_concepts(rows)

    declared, present = _declared(rows, columns, present, folder)
    assigned = splits.assign(declared, [picture.group for picture in rows], present, seed)
    chosen = [rows[i] for i in splits.select(assigned, split, present, folder)]

    skips = Skips(strict)
    kept, evidence = _usable(folder, chosen, skips)
    skips.close(str(folder), split, len(kept))

    captions = [caption for picture in kept for caption in picture.captions]
    visual_of_text = np.repeat(np.arange(len(kept)), [len(picture.captions) for picture in kept])
    ids = [picture.id for picture in kept]
    group = codes([picture.row.text("concept") for picture in kept]) if "concept" in columns else None
    return Dataset(
        name=folder.resolve().name,
        split=split,
        captions=captions,
        visual_of_text=visual_of_text,
        visual_ids=ids,
        fingerprint=facts.fingerprint(ids, captions, visual_of_text, group, evidence),
        visual_group=group,
        visuals=pictures.Pictures(folder, ids),
        columns={
            name: [picture.row.values.get(name) for picture in kept] for name in columns if name not in hidden
        },
        truth=_same_base(kept, visual_of_text) if "base_concept" in columns else None,
        about=facts.about(folder, visual_of_text, len(ids)) | {"splits": splits.note(present, seed)},
        faults=skips.counts,
    )


def metadata_files(folder: Path) -> list[Path]:
    """The metadata of a folder: its own, else all in the folders below. Raises DataFault where there are two."""
    own = [folder / name for name in METADATA if (folder / name).is_file()]
    if len(own) == 2:
        raise DataFault(f"{folder}: metadata.jsonl and metadata.csv, so which one holds? delete one")
    return own or sorted(path for name in METADATA for path in folder.rglob(name))


def split_folders(folder: Path) -> dict[Split, Path]:
    """Folders named as a split. Raises DataFault where two mean the same one ("val" and "dev")."""
    found: dict[Split, Path] = {}
    for path in sorted(folder.iterdir()):
        split = splits.ALIASES.get(path.name.lower())
        if split and path.is_dir():
            if split in found:
                raise DataFault(f"{folder}: {found[split].name}/ and {path.name}/ are both the {split} split")
            found[split] = path
    return found


def codes(values: Sequence[str]) -> np.ndarray:
    """Integers (N,) int64, equal where the values are; a blank value equals no other."""
    numbers: dict[Any, int] = {}
    keys = (value or index for index, value in enumerate(values))
    return np.fromiter((numbers.setdefault(key, len(numbers)) for key in keys), np.int64, len(values))


def _files(folder: Path, split: Split) -> tuple[list[Path], set[Split]]:
    """The metadata to read, and the splits that are told by folders (none if rows tell, or nothing does)."""
    folders = split_folders(folder)
    files = {name: metadata_files(path) for name, path in folders.items()}
    if not any(files.values()):
        files_of_root = metadata_files(folder)
        if not files_of_root:
            raise DataFault(
                f"{folder}: no metadata.jsonl or metadata.csv here or below, so there are no captions; write one "
                'line per picture, such as {"file_name": "a.png", "captions": ["a cat", "a cat asleep"]}'
            )
        return files_of_root, set()
    for name, path in folders.items():
        if not files[name]:
            raise DataFault(
                f"{path}: the {name} split has no metadata.jsonl or metadata.csv as the other splits have; "
                "add it or move the folder away"
            )
    source = split if split in folders else "train"
    if source not in folders:
        names = ", ".join(path.name for path in folders.values())
        raise DataFault(
            f"{folder}: the {split} split is empty: there is {names} only; "
            f"add {split}/ or a train/ that it can be made of"
        )
    return files[source], set(folders)


def _picture(base: Sequence[str], row: Row, caption: str) -> _Picture:
    name = row.text("file_name")
    if not name:
        known = ", ".join(map(repr, row.values))
        raise DataFault(
            f"{row}: no 'file_name'; it names the picture, relative to the file (there are {known})"
        )
    try:
        path = "/".join([*base, pictures.relative(name)])
    except DataFault as error:
        raise DataFault(f"{row}: {error}") from error
    return _Picture(row, path, captions_of(row, caption))


def _check_names(rows: list[_Picture]) -> None:
    seen: dict[str, Row] = {}
    for picture in rows:
        first = seen.setdefault(picture.id, picture.row)
        if first is not picture.row:
            raise DataFault(
                f"{picture.row}: {picture.row.text('file_name')!r} was named already ({first}); "
                "write all captions of a picture as one list 'captions', or delete a row"
            )


def _check_concepts(rows: list[_Picture]) -> None:
    """A base concept is coarser than a concept; else a concept could straddle made splits."""
    base: dict[str, _Picture] = {}
    for picture in rows:
        concept = picture.row.text("concept")
        first = base.setdefault(concept, picture) if concept else picture
        if first.row.text("base_concept") != picture.row.text("base_concept"):
            raise DataFault(
                f"{picture.row}: concept {concept!r} has base_concept {picture.row.text('base_concept')!r} here "
                f"and {first.row.text('base_concept')!r} in {first.row}; it can have only one"
            )


def _declared(
    rows: list[_Picture], columns: list[str], present: set[Split], folder: Path
) -> tuple[list[Split | None], set[Split]]:
    """What the source says of each row's split, and which splits it has at all."""
    if present:  # by folder
        own = splits.ALIASES[rows[0].id.split("/", 1)[0].lower()]
        return [own] * len(rows), present
    if "split" in columns:
        found = [splits.declared(picture.row) for picture in rows]
    else:
        found = [splits.ALIASES.get(picture.id.split("/", 1)[0].lower()) for picture in rows]
        if None in found or not set(found) <= set(split_folders(folder)):
            found = ["train"] * len(rows)
    return found, {split for split in SPLITS if split in found}


def _usable(folder: Path, rows: list[_Picture], skips: Skips) -> tuple[list[_Picture], list[bytes]]:
    kept, evidence = [], []
    root = os.path.realpath(folder)
    for picture in rows:
        row, name = picture.row, picture.row.text("file_name")
        captions = [caption for caption in picture.captions if caption.strip()]
        if not captions:
            skips.add(
                "pictures without captions", f"{row}: {name!r} has no captions; write one or delete the row"
            )
            continue
        for _ in range(len(picture.captions) - len(captions)):
            skips.add("blank captions", f"{row}: a caption of {name!r} is blank; write or delete it")
        try:
            path = pictures.inside(root, picture.id)
        except DataFault as error:
            raise DataFault(f"{row}: {error}") from error
        try:
            evidence.append(pictures.check(path, thorough=skips.strict))
        except pictures.BadPicture as error:
            missing = "missing; add the file or delete the row" if error.kind.startswith("missing") else ""
            skips.add(error.kind, f"{row}: {name!r} is {missing}" if missing else f"{row}: {name!r}: {error}")
            continue
        kept.append(_Picture(row, picture.id, captions))
    return kept, evidence


def _same_base(rows: list[_Picture], visual_of_text: np.ndarray) -> Truth | None:
    """Truth from equal base concepts; None where it tells no more than the concepts do."""
    concept = [picture.row.text("concept") or picture.id for picture in rows]
    base = codes(
        [picture.row.text("base_concept") or own for picture, own in zip(rows, concept, strict=True)]
    )
    if len(set(base)) == len(set(concept)):
        return None
    of_text = base[visual_of_text]

    def block(visuals: np.ndarray, texts: np.ndarray) -> np.ndarray:
        return np.where(base[visuals][:, None] == of_text[texts][None, :], np.float32(1), np.float32(np.nan))

    def pairs(visuals: np.ndarray, texts: np.ndarray) -> np.ndarray:
        return np.where(base[visuals] == of_text[texts], np.float32(1), np.float32(np.nan))

    source = "equal base_concept: such pairs match; of all others it is unknown"
    return Truth(block, pairs, complete=False, source=source)
