"""A folder that is to be pushed: brought up to date, and looked through for what belongs to this machine only."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from xmr.cache import cache_folder
from xmr.disk import Refused

MADE = "<!-- made by xmr publish; it is written anew by the next call -->"
CARD = "README.md"
HEADER = 1 << 20  # bytes of a file of tensors that are looked through: its header; the rest are numbers
TENSORS = (".safetensors", ".png", ".parquet", ".arrow", ".webp")


@dataclass(frozen=True)
class Synced:
    """How many files of a folder were written, and deleted, and how many were as they are."""

    written: int
    deleted: int
    same: int


def sync(made: Path, folder: Path) -> Synced:
    """Makes `folder` equal `made`, writing what differs and deleting what is not there. Raises ValueError where the folder
    holds what no earlier call made."""
    there = files_of(folder) if folder.is_dir() else []
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; name a folder that is empty, or not there yet")
    if (
        there and MADE not in (folder / CARD).read_text("utf-8", "replace")
        if (folder / CARD).is_file()
        else there
    ):
        raise ValueError(f"{folder} holds other things; name a folder that is empty, or not there yet")
    wanted, written = files_of(made), 0
    for name in wanted:
        source, target = made / name, folder / name
        if not target.is_file() or target.read_bytes() != source.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            written += 1
    gone = [name for name in there if name not in set(wanted) and "__pycache__" not in name]
    for name in gone:
        (folder / name).unlink()
    return Synced(written, len(gone), len(wanted) - written)


def files_of(folder: Path) -> list[str]:
    """The files of a folder and below, by their paths with forward slashes."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def check_paths(folder: Path, own: Iterable[Path] = ()) -> None:
    """Raises Refused, naming the file, where one of the folder's holds the path of a place on this machine: the home folder, the
    working folder, xmr's cache, that of temporary files, or one of `own`."""
    roots = {Path.home(), Path.cwd(), cache_folder(), Path(tempfile.gettempdir()), *own}
    wanted = {
        f"{root}{os.sep}".encode() for one in roots for root in (one, one.resolve()) if len(root.parts) > 1
    }
    for name in files_of(folder):
        with (folder / name).open("rb") as file:
            content = file.read(HEADER if name.endswith(TENSORS) else -1)
        if found := next((root for root in wanted if root in content), None):
            raise Refused(f"{name} would tell a folder of this machine, {found.decode()}; it is not pushed")
