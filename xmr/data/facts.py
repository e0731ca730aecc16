"""What a dataset says of itself: its fingerprint, and facts for people."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

HASHED_BYTES = 1 << 26  # of an array; rows are sampled evenly beyond


def fingerprint(
    visual_ids: list[str],
    captions: list[str],
    visual_of_text: np.ndarray,
    visual_group: np.ndarray | None,
    parts: Iterable[bytes | np.ndarray],
) -> str:
    """Content hash, 16 hex digits, the same on every machine: no absolute path and no time goes in.

    `parts` are what the visuals (and given text features) are made of: bytes as they are; arrays by shape, dtype
    and up to 64 MiB of evenly spaced rows.
    """
    digest = hashlib.blake2b(digest_size=8)

    def add(data: bytes) -> None:
        digest.update(len(data).to_bytes(8, "little"))  # so that ["ab", "c"] differs from ["a", "bc"]
        digest.update(data)

    for strings in (visual_ids, captions):
        add(str(len(strings)).encode())
        for string in strings:
            add(string.encode())
    groups = np.arange(len(visual_ids)) if visual_group is None else visual_group
    for numbers in (visual_of_text, groups):
        add(numbers.astype("<i8").tobytes())
    for part in parts:
        if isinstance(part, np.ndarray):
            add(f"{part.shape} {part.dtype.str}".encode())
            step = max(1, -(-part.nbytes // HASHED_BYTES))
            for row in part[::step]:
                digest.update(np.ascontiguousarray(row).data)
        else:
            add(part)
    return digest.hexdigest()


def about(folder: Path, visual_of_text: np.ndarray, visuals: int) -> dict[str, Any]:
    """Source and licence as far as the folder tells them, and how many captions a visual has."""
    facts: dict[str, Any] = {}
    for path in sorted(folder.iterdir()):
        name = path.name.lower()
        if "readme" in name and path.is_file():
            front, prose = _front_matter(path)
            licences = [line.split(":", 1)[1].strip() for line in front if line.startswith("license:")]
            if licences:
                facts.setdefault("licence", licences[0])
            if prose:
                facts.setdefault("source", " ".join(prose).lstrip("# ")[:300])
        elif name.startswith(("licence", "license")) and path.is_file():
            facts["licence"] = next(iter(_front_matter(path)[1]), "")
    per_visual = np.bincount(visual_of_text, minlength=visuals)
    return facts | {
        "visuals": visuals,
        "captions": len(visual_of_text),
        "captions_per_visual": {
            "min": int(per_visual.min()),
            "median": float(np.median(per_visual)),
            "max": int(per_visual.max()),
        },
    }


def _front_matter(path: Path) -> tuple[list[str], list[str]]:
    """The lines that aren't blank, of a dataset card's front matter and of the text, each up to 300 characters."""
    with path.open(encoding="utf-8", errors="replace") as file:
        lines = [line.strip()[:300] for line in file.read(8192).split("\n") if line.strip()]
    if lines and lines[0] == "---" and "---" in lines[1:]:
        end = lines.index("---", 1)
        return lines[1:end], lines[end + 1 :]
    return [], lines
