"""What takes long to make and is always the same, kept in one sealed file: arrays, numbers and texts, in dicts, lists, tuples and
dataclasses."""

from __future__ import annotations

import json
import types
import typing
import warnings
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xmr.disk import CannotSave
from xmr.disk_arrays import Arrays, save_arrays, saved_arrays

TOLD = "told"  # the array that holds what is no array


def value_at(path: Path, kind: Any, make: Callable[[], Any]) -> Any:
    """The value of type `kind` that the file holds; where there is none, or no whole one, what `make` gives, which is written
    there if it can be. The path has to change with all that decides the value."""
    found = _read(path, kind)
    if found is None:
        found = (make(),)
        _write(path, found[0])
    return found[0]


def _write(path: Path, value: Any) -> None:
    arrays: Arrays = {}
    told = json.dumps(_plain(value, arrays)).encode()
    try:
        save_arrays(path, arrays | {TOLD: np.frombuffer(told, np.uint8)})
    except CannotSave as error:  # a disk that can't be written must not keep anybody from looking
        warnings.warn(f"{error}; it will be made again", stacklevel=2)


def _read(path: Path, kind: Any) -> tuple[Any] | None:
    """What was written there, as the only one of a tuple; None where there is nothing whole."""
    arrays = saved_arrays(path)
    if arrays is None:
        return None
    try:
        return (_typed(kind, json.loads(arrays[TOLD].tobytes()), arrays),)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        warnings.warn(f"{path} is not used, and made anew: {error!r}", stacklevel=2)
        return None


def _plain(value: Any, arrays: Arrays) -> Any:
    """The value as JSON; an array is its name among the `arrays`, to which it is added."""
    if isinstance(value, np.ndarray):
        arrays[name := str(len(arrays))] = value
        return name
    if is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name), arrays) for one in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(one, arrays) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, arrays) for one in value]
    return value.item() if isinstance(value, np.generic) else value


def _typed(kind: Any, told: Any, arrays: Arrays) -> Any:
    """The value of that kind, from what `_plain` made of it."""
    origin, of = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):  # of something or None
        kind = next(one for one in of if one is not type(None))
        return None if told is None else _typed(kind, told, arrays)
    if kind is np.ndarray:
        return arrays[told]
    if is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{one.name: _typed(hints[one.name], told[one.name], arrays) for one in fields(kind)})
    if origin is dict:
        return {key: _typed(of[1], one, arrays) for key, one in told.items()}
    if origin is tuple:
        kinds = of[:1] * len(told) if of[1:] == (...,) else of
        return tuple(_typed(*pair, arrays) for pair in zip(kinds, told, strict=True))
    if origin is list:
        return [_typed(of[0], one, arrays) for one in told]
    return told
