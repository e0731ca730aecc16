"""Where people's verdicts are kept: a file in xmr's cache, unless another is named."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from xmr.cache import cache_folder
from xmr.store.database import MOST

PASSING = ("/", "/tmp", "/dev/shm", "/run")  # mounts that go with a container


@dataclass(frozen=True)
class VerdictFile:
    """The database of verdicts (None: the usual one), whether this host loses it when it restarts, and how many verdicts and
    undos of visitors it takes."""

    path: Path | None = None
    forgotten: bool = False
    most: int = MOST

    @property
    def place(self) -> Path:
        return (self.path or cache_folder() / "verdicts.sqlite").absolute()

    def on_host(self, loses_files: bool) -> VerdictFile:
        """The same on a host that, if it `loses_files`, keeps only what lies on a mounted volume."""
        mounts = (str(folder) for folder in self.place.resolve().parents if os.path.ismount(folder))
        return replace(self, forgotten=loses_files and next(mounts, "/") in PASSING)
