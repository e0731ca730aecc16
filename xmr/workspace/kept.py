"""What takes minutes to measure of a large split, kept in xmr's cache: whoever starts the app again finds it there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence

import numpy as np

from xmr.cache import cache_dir

FORMAT = 1
Arrays = dict[str, np.ndarray]


def key_of(what: str, arrays: Sequence[np.ndarray]) -> str:
    """The name of what is measured of these arrays: it changes with any of their bytes."""
    known = hashlib.sha256(f"{FORMAT} {what}".encode())
    for array in arrays:
        known.update(f"{array.dtype} {array.shape}".encode())
        known.update(np.ascontiguousarray(array).data)
    return known.hexdigest()[:24]


def kept(key: str, names: Sequence[str], make: Callable[[], Arrays]) -> Arrays:
    """The arrays `names` that `make` returned once under this key; made again where the file is not whole."""
    try:
        path = cache_dir("measured") / f"{key}.npz"
    except OSError:  # a disk that can't be written must not keep anybody from looking
        return make()
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in names}
    except (OSError, ValueError, KeyError, EOFError):
        pass
    except Exception as error:  # zipfile tells damage in its own way
        if type(error).__module__ != "zipfile":
            raise
    made = make()
    # Written aside and renamed: a second process or a killed one never leaves half a file.
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("wb") as file:
            np.savez(file, **made)
        aside.replace(path)
    except OSError:  # a full disk must not keep anybody from looking
        aside.unlink(missing_ok=True)
    return made
