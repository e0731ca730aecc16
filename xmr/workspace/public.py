"""What may be said to anyone who opens the page: errors name files and folders of the server, strangers need their last name only.
The terminal, which is the operator's, tells them whole."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from xmr.cache import cache_folder

QUOTED = re.compile(r"(['\"`])(?:[A-Za-z]:|~)?[\\/](?:[^'\"`\n]*[\\/])?([^'\"`\n\\/]+)[\\/]?\1")
# Of two parts at least, and not within a word (v2t/recall_at_1) or an address (https://…).
BARE = re.compile(r"(?<![\w.\\/])(?:[A-Za-z]:|~)?(?:[\\/][^\s\\/'\"`:,;()<>]+){2,}[\\/]?")


def public(text: str) -> str:
    """The text, of each absolute path in it only the last name."""
    roots = {
        Path.cwd(),
        Path.home(),
        Path(tempfile.gettempdir()),
        cache_folder(),
        Path(os.path.realpath(cache_folder())),
    }
    for root in sorted((str(root) for root in roots if len(root.parts) > 1), key=len, reverse=True):
        text = re.sub(rf"(?<![\w.]){re.escape(root)}[\\/]", "", text)
    text = QUOTED.sub(r"\1\2\1", text)
    return BARE.sub(lambda found: re.split(r"[\\/]", found[0].rstrip("\\/"))[-1], text)


def publish(error: Exception) -> None:
    """Makes what an error says fit for anyone, in place: whoever prints it says no more."""
    error.args = tuple(public(part) if isinstance(part, str) else part for part in error.args)
    if isinstance(error, OSError):
        for name in ("filename", "filename2"):
            if isinstance(path := getattr(error, name), (str, os.PathLike)):
                setattr(error, name, Path(path).name)


def source_name(source: str) -> str:
    """What to call a dataset: its registered name or its address on a hub, and of a folder the last name."""
    return Path(source).name if os.path.isabs(source) or source.startswith(("~", ".")) else source
