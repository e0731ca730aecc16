"""Where people's verdicts are kept: a file in xmr's cache, unless another is named, and a repository of the Hub, if one is."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from xmr.cache import cache_folder
from xmr.limits import VERDICTS
from xmr.store.mirror import Mirror

PASSING = ("/", "/tmp", "/dev/shm", "/run")  # mounts that go with a container


@dataclass(frozen=True)
class VerdictFile:
    """The database of verdicts (None: the usual one), whether this host loses it when it restarts, how many verdicts and
    undos of visitors it takes, and what sends them to the Hub as well, if anything does."""

    path: Path | None = None
    forgotten: bool = False
    most: int = VERDICTS.usual
    mirror: Mirror | None = None

    @property
    def place(self) -> Path:
        return (self.path or cache_folder() / "verdicts.sqlite").absolute()

    @property
    def at_risk(self) -> bool:
        """Whether verdicts that are given now go with a restart."""
        return self.forgotten and (self.mirror is None or bool(self.mirror.fault))

    def on_host(self, loses_files: bool) -> VerdictFile:
        """The same on a host that, if it `loses_files`, keeps only what lies on a mounted volume."""
        mounts = (str(folder) for folder in self.place.resolve().parents if os.path.ismount(folder))
        return replace(self, forgotten=loses_files and next(mounts, "/") in PASSING)
