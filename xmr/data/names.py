"""Names that a table writes in another way than the disk, or an array's list of names, has them."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

PICTURES = ("png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff")
VIDEOS = (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi")
ENDINGS = {*(f".{name}" for name in PICTURES), *VIDEOS}


def matched(asked: Iterable[str], there: Iterable[str]) -> dict[str, str]:
    """Which of the names that are `there` each `asked` one means; it is left out where that is none, or not clear.

    A name means itself. What is left then is compared without regard to \\ or / and to Unicode's normal forms; next to
    upper and lower case; last to an ending that one of the two lacks. No two asked names get the same.
    """
    asked, there = dict.fromkeys(asked), dict.fromkeys(there)
    found = {name: name for name in asked if name in there}
    for key in (_composed, _caseless, endless):
        taken = set(found.values())
        left = _by(key, (name for name in asked if name not in found))
        free = _by(key, (name for name in there if name not in taken)) if left else {}
        for meant, names in left.items():
            candidates = free.get(meant, [])
            if len(names) == len(candidates) == 1 and (
                key is not endless or _ending(names[0]) == "" or _ending(candidates[0]) == ""
            ):
                found[names[0]] = candidates[0]
    return found


def files_below(root: str) -> list[str]:
    """The names of all files below a folder, relative to it, with forward slashes; folders that are links aren't entered."""
    found = []
    for folder, _, names in os.walk(root):
        inner = os.path.relpath(folder, root).replace(os.sep, "/")
        found += [name if inner == "." else f"{inner}/{name}" for name in names]
    return sorted(found)


def ending_with(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    """The files of these endings (in small letters) in a folder and below, but for hidden ones, in the order of their paths."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place, name) for name in names if name.lower().endswith(endings) and name[0] != "."]
    return sorted(path for path in found if path.is_file())


def endless(name: str) -> str:
    """What names have in common that differ in nothing but case, normal form, slashes and the ending of a picture or video."""
    name = _caseless(name)
    return name.removesuffix(_ending(name))


def _composed(name: str) -> str:
    parts = unicodedata.normalize("NFC", name).replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in ("", "."))


def _caseless(name: str) -> str:
    return unicodedata.normalize("NFC", _composed(name).casefold())


def _ending(name: str) -> str:
    suffix = PurePosixPath(name.replace("\\", "/")).suffix
    return suffix if suffix.lower() in ENDINGS else ""


def _by(key: Callable[[str], str], names: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(key(name), []).append(name)
    return found
