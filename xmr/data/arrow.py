"""Pictures and captions in columns: parquet, arrow, and what `save_to_disk` of the library `datasets` writes.

    ANY.parquet, data/train-00000-of-00002.parquet, train/0000.parquet, …    a file or several, of one split or of all
    dataset_info.json, state.json, data-00000-of-00001.arrow                 a saved Dataset
    dataset_dict.json, train/…, test/…                                       a saved DatasetDict

A column holds the pictures: their bytes, a struct of `bytes` and `path`, or paths; another the captions, one or a list; which
is told by type and name, or by `--set image=COLUMN --set text=COLUMN`. Splits are a column's, or those that files and
folders are named by. Rows with one caption each that are of the same picture (by a column such as image_id, else by the
picture's bytes) become one.

Pictures are not copied: arrow files are memory-mapped, and of parquet the row group is read in which a picture lies, so
`datasets`, which writes parquet anew as arrow into its cache, is not asked.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from xmr.data import pictures, splits
from xmr.data.build import of_items
from xmr.data.columns import Columns, mapped
from xmr.data.dataset import DataFault, Dataset, Split
from xmr.data.items import Item, listed, merged
from xmr.data.names import ending_with
from xmr.data.rows import Row
from xmr.data.tables import captions_in

if TYPE_CHECKING:  # loaded only where there are such files
    import pyarrow as pa

SUFFIXES = (".parquet", ".arrow")
SAVED = ("dataset_dict.json", "state.json")
GROUPS = 3  # row groups of parquet held at a time, for threads that read one after the other


def arrow(
    path: Path,
    split: Split,
    *,
    strict: bool = False,
    seed: int = 0,
    image: str = "",
    text: str = "",
    root: str = "",
) -> Dataset:
    """parquet or arrow files, or a folder of save_to_disk, with pictures (bytes or paths) and captions in columns

    `image` and `text` name the columns where they are not known by type and name; paths are relative to `root`, or to
    the folder. Pictures that are missing, unreadable or too large, and blank captions, are skipped with a warning and
    counted in `faults`; with `strict` the first is an error, and every picture is decoded in full. `seed` makes missing
    splits. Raises DataFault, naming file and row, on anything else that is wrong.
    """
    folder = path if path.is_dir() else path.parent
    files = [ArrowFile(file, name) for file, name in _named(path)]
    columns = mapped(
        list(files[0].types),
        files[0].path,
        image=image,
        text=text,
        images=[name for name, kind in files[0].types.items() if _holds_pictures(kind)],
        texts=[name for name, kind in files[0].types.items() if _holds_text(kind)],
    )
    for file in files[1:]:
        file.check(columns, files[0])
    if columns.split:
        chosen, present, others = files, None, None
    else:
        present = {file.split for file in files} & {"train", "validation", "test"}
        source = splits.source(split, present, path) if present else ""
        chosen = [file for file in files if file.split == source or not present]
        others = Counter()
        for file in files:
            if present and file.split not in present:
                others[file.split] += file.rows

    cells = Cells(files, columns.image, root or folder)
    store = pictures.Packed(cells.read)
    items, named, kept = _items(chosen, columns, files)
    if not _is_list(files[0].types[columns.text[0]]):
        items, named, varying = merged(items, named, _keys(items, columns, store))
        kept = [name for name in kept if name not in varying]
    found = listed(
        path,
        _with_ids(items),
        named,
        split,
        seed,
        kept,
        hidden=columns.read,
        present=present or None,
        others=others,
        store=store,
    )
    return of_items(folder, split, found, store, strict=strict, about={"columns": columns.said()})


def arrow_files(path: Path) -> list[Path]:
    """The files of columns at a path: itself, those that a saved dataset lists, or all in a folder and below."""
    if not path.is_dir():
        return [path]
    found = []
    for file in ending_with(path, SUFFIXES):
        if not file.name.startswith("cache-"):
            state = file.with_name("state.json")
            if file.suffix.lower() == ".parquet" or not state.is_file() or file.name in _listed(state):
                found.append(file)
    return found


def _named(path: Path) -> list[tuple[Path, str]]:
    """The files and the split that each is of by its name; all "train" where none tells."""
    files = arrow_files(path)
    base = path if path.is_dir() else path.parent
    told = {file: splits.told_by(file.relative_to(base).as_posix()) for file in files}
    for file in files:
        if not told[file] and (file.with_name("state.json")).is_file():
            told[file] = splits.told_by(str(_state(file.with_name("state.json")).get("_split") or ""))
    if not any(told.values()):
        return [(file, "train") for file in files]
    return [(file, told[file] or (file.parent.name if file.parent != base else file.stem)) for file in files]


def _state(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataFault(f"{path}: not JSON ({error}); save the dataset anew with save_to_disk") from error
    return found if isinstance(found, dict) else {}


def _listed(state: Path) -> set[str]:
    files = _state(state).get("_data_files")
    return {str(file.get("filename")) for file in files or [] if isinstance(file, dict)}


class ArrowFile:
    """A parquet or arrow file, opened without reading it. Raises DataFault where it is none."""

    def __init__(self, path: Path, split: str):
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.path, self.split = path, split
        try:
            if path.suffix.lower() == ".parquet":
                self.source = pq.ParquetFile(path, memory_map=True)
                schema = self.source.schema_arrow
                counts = [
                    self.source.metadata.row_group(i).num_rows for i in range(self.source.num_row_groups)
                ]
            else:
                self.source = _mapped(path)
                schema = self.source.schema
                counts = [chunk.num_rows for chunk in self.source.to_batches()]
        except (pa.ArrowException, OSError) as error:
            what = path.suffix.lower()[1:]
            raise DataFault(f"{path}: not readable as {what} ({error}); is the file whole?") from error
        self.types = {field.name: field.type for field in schema}
        self.starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    @property
    def rows(self) -> int:
        return int(self.starts[-1])

    def check(self, columns: Columns, first: ArrowFile) -> None:
        """Raises DataFault where a column that is read is not here, or of another kind than in the first file."""
        for name in filter(None, (columns.image, *columns.text, columns.split)):
            kinds = [_kind(file.types.get(name)) for file in (first, self)]
            if kinds[0] != kinds[1]:
                raise DataFault(
                    f"{self.path}: column {name!r} is {kinds[1]} here, but {kinds[0]} in {first.path.name}; "
                    "files of one dataset must have the same columns"
                )

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Columns of all rows. Raises DataFault where they can't be read."""
        import pyarrow as pa

        try:
            if self.path.suffix.lower() == ".parquet":
                return self.source.read(columns=list(columns))
            return self.source.select([name for name in columns if name in self.types])
        except (pa.ArrowException, OSError) as error:
            raise DataFault(f"{self.path}: not readable ({error}); is the file whole?") from error

    def group(self, number: int, column: str) -> pa.ChunkedArray:
        if self.path.suffix.lower() == ".parquet":
            return self.source.read_row_group(number, columns=[column]).column(0)
        start, stop = self.starts[number : number + 2]
        return self.source.column(column).slice(start, stop - start)


def _mapped(path: Path) -> pa.Table:
    import pyarrow as pa

    file = pa.memory_map(str(path))
    try:
        return pa.ipc.open_stream(file).read_all()
    except pa.ArrowInvalid:
        return pa.ipc.open_file(file).read_all()


class Cells:
    """The pictures of a column of several files, read when they are asked for: `read((file, row))`."""

    def __init__(self, files: Sequence[ArrowFile], column: str, root: str | Path):
        self.files, self.column, self.root = files, column, os.path.realpath(Path(root).expanduser())
        self.held: dict[tuple[int, int], Any] = {}
        self.lock = Lock()

    def read(self, place: tuple[int, int]) -> bytes:
        """The bytes of a picture. Raises BadPicture where there are none."""
        number, row = place
        file = self.files[number]
        group = int(np.searchsorted(file.starts, row, "right")) - 1
        with self.lock:
            if (number, group) not in self.held:
                while len(self.held) >= GROUPS:
                    self.held.pop(next(iter(self.held)))
                try:
                    self.held[number, group] = file.group(group, self.column)
                except Exception as error:  # of damaged pages: ArrowException, OSError
                    raise pictures.BadPicture("unreadable pictures", f"{error}") from error
            cells = self.held[number, group]
        return self._bytes(cells[row - int(file.starts[group])].as_py())

    def _bytes(self, value: Any) -> bytes:
        name = value
        if isinstance(value, dict):
            value, name = value.get("bytes"), value.get("path")
        if isinstance(value, bytes):
            return value
        if not name:
            raise pictures.BadPicture("missing pictures", "neither bytes nor a path")
        return pictures.read_file(self.root, str(name))


def _items(
    chosen: Sequence[ArrowFile], columns: Columns, files: Sequence[ArrowFile]
) -> tuple[list[Item], list[str], list[str]]:
    """The rows as items, the split of each, and the columns that are kept."""
    items: list[Item] = []
    named: list[str] = []
    kept: dict[str, None] = {}
    for file in chosen:
        number = files.index(file)
        light = [name for name, kind in file.types.items() if _is_light(kind) and name != columns.image]
        kept |= dict.fromkeys(light)
        table = file.read(dict.fromkeys([*light, *columns.text]))
        values = {name: table.column(name).to_pylist() for name in table.column_names}
        paths = _paths(file, columns.image)
        for row in range(file.rows):
            record = Row(file.path, row, {name: column[row] for name, column in values.items()}, "row {}")
            own = record.text(columns.id) if columns.id else ""
            captions = captions_in(record, columns.text)
            items.append(Item(record, own or paths[row] or "", captions, place=(number, row)))
            named.append(splits.declared(record, columns.split) if columns.split else file.split)
    return items, named, list(kept)


def _paths(file: ArrowFile, column: str) -> list[str | None]:
    """What the pictures are called, as far as that is told beside their bytes."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = file.types[column]
    if pa.types.is_string(kind):
        return file.read([column]).column(0).to_pylist()
    if not (pa.types.is_struct(kind) and kind.get_field_index("path") >= 0):
        return [None] * file.rows
    if file.path.suffix.lower() == ".parquet":
        found = file.source.read(columns=[f"{column}.path"]).column(0)
    else:
        found = file.source.column(column)
    return [str(name) if name else None for name in pc.struct_field(found, "path").to_pylist()]


def _keys(items: Sequence[Item], columns: Columns, store: pictures.Packed) -> list[Any]:
    """What rows of one picture have in common: its id, else its bytes."""
    if columns.names_pictures:
        return [item.id or None for item in items]
    return [store.glance(item) or None for item in items]


def _with_ids(items: Sequence[Item]) -> list[Item]:
    """The items, each with an id of its own: the file and row where those that they have repeat."""
    names = [item.id for item in items]
    if "" not in names and len(set(names)) == len(names):
        return list(items)
    return [replace(item, id=f"{item.row.file.stem}/{item.row.line}") for item in items]


def _kind(kind: Any) -> str:
    if kind is None:
        return "missing"
    return "pictures" if _holds_pictures(kind) else "text" if _holds_text(kind) else str(kind)


def _holds_pictures(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _holds_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if _is_list(kind):
        kind = kind.value_type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    strings = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return strings or (pa.types.is_struct(kind) and not _holds_pictures(kind))


def _is_list(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _is_light(kind: pa.DataType) -> bool:
    """Whether values of a column can be kept in memory beside the captions: no pictures and no vectors of numbers."""
    import pyarrow as pa

    return _holds_text(kind) or pa.types.is_primitive(kind) or pa.types.is_boolean(kind)
