"""Pictures or videos and captions in tar shards, as webdataset, img2dataset and video2dataset write them.

    00000.tar, 00001.tar, …, or train/…, val/…, test/…    members KEY.jpg (png, mp4 …), KEY.txt and KEY.json, side by side
    PATH/train-{00000..00012}.tar                         a pattern instead of the folder

Captions are the lines of the .txt, or what the .json has by a known name; `--set text=` names another ending or key, and
`--set image=` the ending of the pictures. Nothing is unpacked: the headers of the members are read once, and a picture is
read where it lies. What else lies beside the shards (img2dataset's *_stats.json and *.parquet) is left alone.
"""

from __future__ import annotations

import mmap
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from xmr.data import pictures, splits, videos
from xmr.data.build import of_items
from xmr.data.columns import HARD, SPLIT, TEXT, first_of
from xmr.data.dataset import SPLITS, DataFault, Dataset, Split
from xmr.data.items import Item, listed
from xmr.data.json_files import parse_json
from xmr.data.names import PICTURES, VIDEOS, ending_with
from xmr.data.rows import Row
from xmr.data.tables import Skips, captions_in, columns_of
from xmr.registry import Range

BLOCK = 512  # bytes of a header, and what contents are padded to
STILLS = tuple(f".{name}" for name in PICTURES)
TEXTS = ("txt", "caption", "captions", "text")
BRACES = re.compile(r"\{([^{}]*)\}")
REGULAR = (b"0", b"\0", b"7")


class Member(NamedTuple):
    """A file in a shard, and where its content lies."""

    name: str
    start: int
    size: int


def shards(
    path: Path,
    split: Split,
    *,
    strict: bool = False,
    seed: int = 0,
    image: str = "",
    text: str = "",
    frames: Annotated[int, Range(1, 64)] = 8,
    size: Annotated[int, Range(16, 1024)] = 256,
) -> Dataset:
    """tar shards of webdataset or img2dataset: KEY.jpg or KEY.mp4 with KEY.txt or KEY.json, in a folder or as PATH/{00000..00012}.tar

    `image` names the ending of the pictures, `text` an ending or a key of the .json, where they are not known by name; `frames`
    and `size` are as of `videofolder`. Shards that are cut off, pictures that are missing, unreadable or too large, and blank captions, are skipped with a
    warning and counted in `faults`; with `strict` the first is an error, and every picture is decoded in full. `seed`
    makes missing splits. Raises DataFault, naming shard and member, on anything else that is wrong.
    """
    files = shard_files(path)
    base = path if path.is_dir() else Path(os.path.commonpath([file.parent for file in files]))
    told = {file: splits.told_by(file.relative_to(base).as_posix()) for file in files}
    if not any(told.values()):
        told = dict.fromkeys(files, "train")
    present = {name for name in told.values() if name in SPLITS}
    source = splits.source(split, present, path)
    skips = Skips(strict)
    skips.leave_out_splits(
        "shard", Counter(name or file.stem for file, name in told.items() if name not in present)
    )
    items: list[Item] = []
    for file in files:
        if told[file] == source:
            items += _items(file, image, text, skips)
    if not items:
        raise DataFault(f"{path}: no pictures or videos in its {source} shards")
    columns = columns_of(item.row for item in items)
    by_key = first_of(columns, SPLIT) if len(present) == 1 else ""
    named = [splits.declared(item.row, by_key) if by_key else source for item in items]
    films = sum(item.row.place.lower().endswith(VIDEOS) for item in items) * 2 > len(items)
    store = videos.Packed(_read, frames, size) if films else pictures.Packed(_read)
    clip = {"kind": "clip", "parts": store.parts} if films else {}
    try:
        found = listed(
            path,
            _with_ids(items),
            named,
            split,
            seed,
            columns,
            hidden={text or first_of(columns, TEXT), by_key, "key", "__key__"},
            present=None if by_key else present,
            store=store,
        )
    except DataFault as error:  # where shards are damaged, that is why
        lost = ", ".join(
            f"{count} {kind} (first: {skips.first[kind]})"
            for kind, count in skips.counts.items()
            if kind in skips.first
        )
        raise DataFault(f"{error}; left out before: {lost}" if lost else str(error)) from error
    taken = text or first_of(columns, TEXT)
    said = f"captions from the .{text or 'txt'}" + f", or {taken!r} of the .json" * bool(taken)
    return of_items(base, split, found, store, strict=strict, skips=skips, about={"columns": said}, **clip)


def shard_files(path: Path) -> list[Path]:
    """The shards at a path: itself, those of a pattern, or all in a folder and below. Raises DataFault where one of a
    pattern is missing."""
    if path.is_dir():
        return ending_with(path, (".tar",))
    found = [Path(name) for name in expanded(str(path))]
    if missing := [file for file in found if not file.is_file()]:
        raise DataFault(
            f"{path}: {len(missing)} of its {len(found)} shards are not there, {missing[0].name} the first; add them or "
            "write the pattern for those that are"
        )
    return found


def expanded(pattern: str) -> list[str]:
    """The names that a pattern with braces stands for, as a shell has it.

    >>> expanded("a-{08..10}.tar"), expanded("{x,y}.tar")
    (['a-08.tar', 'a-09.tar', 'a-10.tar'], ['x.tar', 'y.tar'])
    """
    parts = BRACES.split(pattern)
    choices = [[part] if index % 2 == 0 else _choices(part) for index, part in enumerate(parts)]
    return ["".join(chosen) for chosen in product(*choices)]


def _choices(inner: str) -> list[str]:
    if span := re.fullmatch(r"(\d+)\.\.(\d+)", inner):
        first, last = int(span[1]), int(span[2])
        if not first <= last < first + 1_000_000:
            raise DataFault(f"{{{inner}}}: a range goes up, and has fewer than a million numbers")
        return [str(number).zfill(len(span[1])) for number in range(first, last + 1)]
    return inner.split(",")


def members(path: Path) -> Iterator[Member]:
    """The regular files in a shard, by their headers alone.

    Raises DataFault, after those that are whole, where it is cut off or no tar.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if not size:
            raise DataFault(f"{path}: an empty file")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield from _members(path, data, size)


def _members(path: Path, data: mmap.mmap, end: int) -> Iterator[Member]:
    place, name, length = 0, "", -1  # name and length that a header before told
    while place + BLOCK <= end:
        head = data[place : place + BLOCK]
        if not any(head):
            return
        if not _sums_up(head):
            what = "no tar" if place == 0 else f"damaged at byte {place:,}"
            raise DataFault(
                f"{path}: {what}; get the shard again (a compressed one has to be unpacked to a tar first)"
            )
        size, start, kind = _number(head[124:136]), place + BLOCK, head[156:157]
        if kind in REGULAR and length >= 0:
            size = length
        if start + size > end:
            raise DataFault(f"{path}: cut off within {name or _name(head)!r}; get the shard again")
        if kind in REGULAR:
            yield Member(name or _name(head), start, size)
            name, length = "", -1
        elif kind == b"L":  # GNU's long name of the next one
            name = data[start : start + size].rstrip(b"\0").decode("utf-8", "replace")
        elif kind == b"x":
            told = _extended(data[start : start + size])
            name, length = told.get("path", name), int(told.get("size", length))
        place = start + -(-size // BLOCK) * BLOCK
    raise DataFault(f"{path}: cut off after {place:,} bytes: the end mark is missing; get the shard again")


def _name(head: bytes) -> str:
    name, prefix = (
        part.split(b"\0", 1)[0].decode("utf-8", "replace") for part in (head[:100], head[345:500])
    )
    return f"{prefix}/{name}" if prefix and head[257:262] == b"ustar" and head[263:265] == b"00" else name


def _number(field: bytes) -> int:
    if field[0] & 0x80:  # GNU's, of more than 8 GiB
        return int.from_bytes(field[1:], "big")
    digits = field.split(b"\0", 1)[0].strip()
    return int(digits, 8) if digits else 0


def _sums_up(head: bytes) -> bool:
    try:
        return _number(head[148:156]) == sum(head) - sum(head[148:156]) + 8 * 32
    except ValueError:
        return False


def _extended(data: bytes) -> dict[str, str]:
    """The records "LENGTH KEY=VALUE\\n" of an extended header."""
    found, place = {}, 0
    while place < len(data) and (length := re.match(rb"(\d+) ", data[place:])):
        key, _, value = data[place + length.end() : place + int(length[1]) - 1].partition(b"=")
        found[key.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
        place += max(1, int(length[1]))
    return found


def _items(path: Path, image: str, text: str, skips: Skips) -> Iterator[Item]:
    samples: dict[str, dict[str, Member]] = {}
    try:
        for member in members(path):
            folder, slash, file = member.name.rpartition("/")
            if file.startswith("."):  # what macOS puts beside each file
                skips.counts["hidden members"] = skips.counts.get("hidden members", 0) + 1
                continue
            stem, _, ending = file.partition(".")
            parts = samples.setdefault(folder + slash + stem, {})
            if parts.setdefault(ending.lower(), member) is not member:
                skips.add("members that stand twice", f"{path}, {member.name}: stood there before")
    except DataFault as error:
        skips.add("damaged shards", f"{error}")
    with path.open("rb") as file:
        for key, parts in samples.items():
            visual = _visual(path, key, parts, image)
            if visual is None:
                skips.add("samples without a picture", f"{path}, {key}: no picture, but {', '.join(parts)}")
                continue
            values = _values(path, key, file, parts)
            captions = _captions(Row(path, 0, values, _place(key)), file, parts, text)
            kept = {
                name: value
                for name, value in values.items()
                if name == HARD or not isinstance(value, (list, dict))
            }
            yield Item(Row(path, 0, kept, _place(visual.name)), key, captions, place=(str(path), *visual[1:]))


def _place(name: str) -> str:
    return name.replace("{", "{{").replace("}", "}}")


def _visual(path: Path, key: str, parts: dict[str, Member], image: str) -> Member | None:
    by_kind = [[ending for ending in parts if f".{ending}".endswith(kind)] for kind in (VIDEOS, STILLS)]
    found = [image] * (image in parts) if image else by_kind[0] or by_kind[1]
    if len(found) > 1:
        raise DataFault(
            f"{path}, {key}: several pictures ({', '.join(found[:8])}), as a key ends at the first dot of a name; name one with --set image=ENDING"
        )
    return parts[found[0]] if found else None


def _values(path: Path, key: str, file: Any, parts: dict[str, Member]) -> dict[str, Any]:
    member = next((member for ending, member in parts.items() if ending.rpartition(".")[2] == "json"), None)
    if member is None:
        return {}
    file.seek(member.start)
    try:
        values = parse_json(file.read(member.size).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataFault(f"{path}, {member.name}: not JSON ({error})") from error
    if not isinstance(values, dict):
        raise DataFault(f"{path}, {member.name}: must be an object, found {type(values).__name__}")
    return values


def _captions(row: Row, file: Any, parts: dict[str, Member], text: str) -> list[str]:
    """The lines of the text, or the captions of the JSON."""
    wanted = (text,) if text else TEXTS
    for ending, member in sorted(parts.items()):
        if ending.rpartition(".")[2] in wanted or ending in wanted:
            file.seek(member.start)
            try:
                lines = file.read(member.size).decode("utf-8-sig").splitlines()
            except UnicodeDecodeError as error:
                raise DataFault(f"{row.file}, {member.name}: not UTF-8 ({error.reason})") from error
            return [row.checked(line.strip(), ending) for line in lines if line.strip()]
    column = text if text in row.values else first_of(list(row.values), TEXT) if not text else ""
    return captions_in(row, [column]) if column else []


def _read(place: tuple[str, int, int]) -> bytes:
    path, start, size = place
    try:
        with open(path, "rb", buffering=0) as file:
            file.seek(start)
            return file.read(size)
    except OSError as error:
        raise pictures.BadPicture("missing pictures", f"{error.strerror or error}") from error


def _with_ids(items: list[Item]) -> list[Item]:
    """The items, with the shard before the key where keys repeat in other shards."""
    if len({item.id for item in items}) == len(items):
        return items
    return [replace(item, id=f"{item.row.file.stem}/{item.id}") for item in items]
