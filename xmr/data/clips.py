"""Clips as one array of frames, with a table: one row per clip.

    clips.csv | clips.jsonl    captions (a list), caption or text; or annotation, name and tags (below)
    ANY.npz with `frames`, or ANY.npy    (N, F, H, W, 3) uint8

A row belongs to the clip of its `index`, or to the clip in its own place where there is no such column. Optional are
`split`, `concept` (equal concept: mutual positives), `base_concept`, and any other column, which is kept.

Where no column holds captions, they are made: the `annotation`; the `name`, if it has a word that the annotation has
not; and `tags` with `alt_tags` as one list, if it has a word that neither has. There, a tag that repeats another or
a caption is left out.

Clips are alike where `base_concept` is equal; without it `concept`, else `group_slug`, else `name`, as for an emoji in
several skin tones. Alike clips, and those of one middle frame, never straddle made splits, and a caption of the one could have been written for the
other. The truth is 1 for those, for the annotated pairs and for a clip and a caption that was written for it too, word
for word; elsewhere it is unknown.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from PIL import Image

from xmr.data import arrays, facts, splits
from xmr.data.build import build, linked
from xmr.data.dataset import DataFault, Dataset, Split, Truth
from xmr.data.items import Item, check_concepts, codes, composed, kept_together
from xmr.data.rows import Row
from xmr.data.tables import Skips, caption_columns, captions_of, columns_of, listed, only_table, read_rows
from xmr.registry import Range

CAPTION_COLUMNS = ("captions", "caption", "text")  # others are kept beside those that are made
TABLES = ("clips.csv", "clips.jsonl", "clips.tsv")
ALIKE = ("base_concept", "concept", "group_slug", "name")
MADE_SHARE = 0.15  # of the groups of alike clips for each of validation and test: such collections are small


class Frames(Sequence[list[Image.Image]]):
    """Clips `rows` of an array (N, F, H, W, 3) uint8, each a list of the RGB frames `picks`, read when asked for."""

    def __init__(self, values: np.ndarray, rows: np.ndarray, picks: np.ndarray):
        self.values, self.rows, self.picks = values, rows, picks

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Frames(self.values, self.rows[index], self.picks)
        clip = self.values[self.rows[index]]
        return [Image.fromarray(np.ascontiguousarray(clip[pick])) for pick in self.picks]

    def content(self, index: int) -> bytes:
        """All bytes of a clip."""
        return self.values[self.rows[index]].tobytes()


def clips(
    folder: Path,
    split: Split,
    *,
    strict: bool = False,
    seed: int = 0,
    frames: Annotated[int, Range(1, 64)] = 8,
    tags: bool = True,
    array: str = "",
) -> Dataset:
    """clips.csv or clips.jsonl with captions, or annotation and tags, and frames as .npy or .npz

    Of longer clips `frames` evenly spaced frames are used. `tags` says whether lists of tags are captions, `array`
    names the file of the frames where there are several. Clips without captions, blank captions and clips whose
    frames are all black are skipped with a warning and counted in `faults`; with `strict` the first is an error.
    `seed` makes missing splits. Raises DataFault, naming file and line, on anything else that is wrong.
    """
    table = only_table(folder, TABLES)
    there = sorted([*folder.glob("*.npy"), *folder.glob("*.npz")])
    path = arrays.only(folder, there, array, "frames", "array")
    values = open_frames(path)
    items, indices, columns = _items(table, path, len(values), tags)
    check_concepts(items)
    alike = [_alike(item) for item in items]

    named = [splits.declared(item.row) if "split" in columns else "train" for item in items]
    shown = (values[index, values.shape[1] // 2] for index in indices)
    keys = kept_together(
        alike, set(named), (hashlib.blake2b(frame).digest() if frame.any() else b"" for frame in shown)
    )
    chosen = splits.choose(named, keys, split, seed, folder, share=MADE_SHARE)

    skips = Skips(strict)
    skips.leave_out_splits("clip", chosen.others)
    kept = [place for place in chosen.places if _sound(items[place], values[indices[place]], skips)]
    skips.close(str(folder), split, len(kept))

    captions, visual_of_text = linked([items[place].captions for place in kept])
    group = codes([items[place].concept for place in kept]) if "concept" in columns else None
    rows = np.array([indices[place] for place in kept], np.int64)
    if not isinstance(values, np.memmap):  # compressed, so all of it is in memory: keep what this split needs
        values, rows = values[rows], np.arange(len(rows))
    picks = even(values.shape[1], min(frames, values.shape[1]))
    step = max(1, -(-values[0].nbytes * len(rows) // facts.HASHED_BYTES))
    hidden = {"index", "split", *CAPTION_COLUMNS}
    return build(
        folder,
        split,
        visual_ids=[items[place].id for place in kept],
        captions=captions,
        visual_of_text=visual_of_text,
        parts=[f"{values.shape[1:]} {picks.tolist()}".encode(), np.asarray(values[rows[::step]])],
        contents=(
            values[row, len(values[row]) // 2].tobytes() for row in rows
        ),  # the frame that was looked at
        visual_group=group,
        visuals=Frames(values, rows, picks),
        kind="clip",
        columns={
            name: [items[place].row.values.get(name) for place in kept]
            for name in columns
            if name not in hidden
        },
        truth=_known_matches([alike[place] for place in kept], captions, visual_of_text, group),
        about={"splits": chosen.note, "frames": len(picks)},
        skips=skips,
    )


def even(count: int, wanted: int) -> np.ndarray:
    """`wanted` places among `count`, evenly spaced: the middles of as many equal stretches, rounded down."""
    return (2 * np.arange(wanted) + 1) * count // (2 * wanted)


def open_frames(path: Path) -> np.ndarray:
    """Frames (N, F, H, W, 3) uint8, memory-mapped unless compressed (see `arrays.open_array`).

    In an .npz they are the member `frames`, or the only one of five dimensions. Raises DataFault.
    """
    if path.suffix == ".npz":
        names = arrays.members(path)
        found = {name: arrays.open_array(path, name) for name in (["frames"] if "frames" in names else names)}
        fitting = [value for value in found.values() if value.ndim == 5]
        if len(fitting) != 1 and "frames" not in found:
            shapes = ", ".join(f"{name} {value.shape}" for name, value in found.items())
            raise DataFault(
                f"{path}: no member 'frames' (there are {shapes or 'none'}); save as np.savez(path, frames=…)"
            )
        values = found["frames"] if "frames" in found else fitting[0]
    else:
        values = arrays.open_array(path)
    if values.ndim != 5 or values.shape[-1] != 3 or 0 in values.shape or values.dtype != np.uint8:
        raise DataFault(
            f"{path}: frames must be (N, F, H, W, 3) uint8, found {values.shape} {values.dtype}; "
            "put colours last and scale them to 0 … 255"
        )
    return values


def _items(table: Path, path: Path, count: int, tags: bool) -> tuple[list[Item], list[int], list[str]]:
    """Each row as an item, its place in the array, and the table's columns."""
    rows = read_rows(table)
    columns = columns_of(rows)
    given = next((name for name in CAPTION_COLUMNS if name in columns), None)
    if given is None and not {"annotation", "tags"} & set(columns):
        caption_columns(rows, table)  # which says what is missing
    by_index = "index" in columns
    if not by_index and len(rows) != count:
        raise DataFault(
            f"{table}: {len(rows)} rows for the {count} clips of {path.name}; write one for each, in their order, "
            "or add a column 'index'"
        )
    indices: list[int] = []
    seen: dict[int, Row] = {}
    items = []
    for place, row in enumerate(rows):
        index = row.number("index") if by_index else place
        if not 0 <= index < count:
            raise DataFault(f"{row}: index {index}, but {path.name} has clips 0 … {count - 1}")
        if index in seen:
            raise DataFault(
                f"{row}: index {index} was given already ({seen[index]}); write all captions of a clip as one "
                "list 'captions'"
            )
        seen[index] = row
        indices.append(index)
        captions = captions_of(row, given) if given else _made(row, tags)
        items.append(Item(row, f"{index} {row.text('name')}".strip(), captions))
    return items, indices, columns


def _made(row: Row, tags: bool) -> list[str]:
    """Captions made of annotation, name and tags, each but the first only if it adds a word."""
    captions: list[str] = []
    words: set[str] = set()
    told = [caption.strip() for caption in captions_of(row, "annotation")]
    for caption in (*told, row.text("name"), _tags(row) if tags else []):
        if isinstance(caption, list):
            known = {before.casefold() for before in captions}
            caption = ", ".join(tag for tag in caption if tag.casefold() not in known)
        new = set(re.findall(r"\w+", caption.casefold()))
        if not new <= words:
            captions.append(caption)
            words |= new
    return captions


def _tags(row: Row) -> list[str]:
    """The tags of both columns, each a list or a text with commas, without repeats."""
    found: dict[str, None] = {}
    for column in ("tags", "alt_tags"):
        value = row.values.get(column)
        if isinstance(value, list):
            parts = value
        else:
            text = row.text(column)
            parts = listed(row, column, text)
            parts = text.split(",") if parts == [text] else parts
        found |= dict.fromkeys(row.checked(str(part).strip(), column) for part in parts if part is not None)
    return [tag for tag in found if tag]


def _alike(item: Item) -> str:
    for column in ALIKE:
        if value := composed(item.row, column):
            return f"{column} {value}"
    return item.id


def _sound(item: Item, clip: np.ndarray, skips: Skips) -> bool:
    if not any(caption.strip() for caption in item.captions):
        skips.add("clips without captions", f"{item.row}: no caption; write one or delete the row")
        return False
    for caption in item.captions:
        if not caption.strip():
            skips.add("blank captions", f"{item.row}: a caption is blank; write or delete it")
    if not (clip[len(clip) // 2].any() or clip.any()):
        skips.add("empty clips", f"{item.row}: all its frames are black; add them or delete the row")
        return False
    return True


def _known_matches(
    alike: list[str], captions: list[str], visual_of_text: np.ndarray, group: np.ndarray | None
) -> Truth | None:
    """Matches of alike clips and of captions written for several; None where the groups tell as much."""
    kind = codes(alike)
    of_text = kind[visual_of_text]
    caption = codes(captions)
    order = np.argsort(caption, kind="stable")
    holders = np.split(visual_of_text[order], np.flatnonzero(np.diff(caption[order])) + 1)  # by caption
    shared = np.array([len(set(kind[own])) > 1 for own in holders])
    groups = np.arange(len(alike)) if group is None else group
    if not shared.any() and len(set(kind)) == len(set(groups)):
        return None

    def block(visuals: np.ndarray, texts: np.ndarray) -> np.ndarray:
        match = kind[visuals][:, None] == of_text[texts][None, :]
        asked = caption[texts]
        for number in np.unique(asked[shared[asked]]):
            match |= np.isin(visuals, holders[number])[:, None] & (asked == number)[None, :]
        return np.where(match, np.float32(1), np.float32(np.nan))

    written = np.unique(visual_of_text * np.int64(len(holders)) + caption)

    def pairs(visuals: np.ndarray, texts: np.ndarray) -> np.ndarray:
        keys = np.asarray(visuals, np.int64) * len(holders) + caption[texts]
        match = (kind[visuals] == of_text[texts]) | np.isin(keys, written)
        return np.where(match, np.float32(1), np.float32(np.nan))

    source = "alike clips (equal name, say) and equal captions match; of all others it is unknown"
    return Truth(block, pairs, complete=False, source=source)
