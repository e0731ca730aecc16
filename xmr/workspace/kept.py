"""What takes minutes to measure of a large split, kept in xmr's cache: whoever starts the app again finds it there."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence

import numpy as np

from xmr.cache import cache_folder
from xmr.disk import CannotSave
from xmr.disk_arrays import Arrays, save_arrays, saved_arrays

FORMAT = 1


def key_of(what: str, arrays: Sequence[np.ndarray]) -> str:
    """The name of what is measured of these arrays: it changes with any of their bytes."""
    known = hashlib.sha256(f"{FORMAT} {what}".encode())
    for array in arrays:
        known.update(f"{array.dtype} {array.shape}".encode())
        known.update(np.ascontiguousarray(array).data)
    return known.hexdigest()[:24]


def kept(key: str, names: Sequence[str], make: Callable[[], Arrays]) -> Arrays:
    """The arrays `names` that `make` returned once under this key; made again, with a warning, where the file is not as it was written."""
    path = cache_folder() / "measured" / f"{key}.safetensors"
    found = saved_arrays(path)
    if found is not None and found.keys() == set(names):
        return found
    made = make()
    try:
        save_arrays(path, made)
    except CannotSave as error:  # a disk that can't be written must not keep anybody from looking
        warnings.warn(f"{error}; it will be measured again", stacklevel=2)
    return made
