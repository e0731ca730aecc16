"""What is measured once: `remembered` as long as the workspace, `kept` also in xmr's cache, where the next start finds it."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

import xmr
from xmr.cache import cache_folder
from xmr.checksums import digest_of
from xmr.disk_values import value_at

Measure = TypeVar("Measure", bound=Callable[..., Any])

SHOWS = ("figures", "page", "views")  # packages that no number comes from
RUNS = ("run", "a", "b", "peers")  # parameters that name runs, which are known by what they hold


def remembered(measure: Measure) -> Measure:
    """Decorator of a function of a workspace and of further arguments that can be keys: it is called once for them, by one
    thread, as long as the workspace lives. Its `known` tells whether that has happened."""
    signature = inspect.signature(measure)

    def arguments(*given: Any, **named: Any) -> tuple[Any, tuple[Any, ...]]:
        bound = signature.bind(*given, **named)
        bound.apply_defaults()
        workspace, *further = bound.arguments.values()
        return workspace, (measure.__module__, measure.__qualname__, *further)

    @functools.wraps(measure)
    def once(*given: Any, **named: Any) -> Any:
        workspace, key = arguments(*given, **named)
        return workspace.remember(key, lambda: measure(workspace, *key[2:]))

    def known(*given: Any, **named: Any) -> bool:
        workspace, key = arguments(*given, **named)
        return workspace.is_remembered(key)

    once.known = known
    return once


def kept(measure: Measure) -> Measure:
    """Decorator as `remembered`, of a function of a split (`split`) and of runs (`RUNS`) that returns what its annotation
    says: arrays, numbers and texts, in dicts, lists, tuples and dataclasses.

    It is kept as arrays and JSON under the content of data and runs, the other arguments and the code that measures, so that
    nothing old is ever read; where that is broken, or nothing can be kept, it is measured again.
    """
    kind = functools.cache(lambda: typing.get_type_hints(measure)["return"])
    names = list(inspect.signature(measure).parameters)[1:]

    @functools.wraps(measure)
    def measured(workspace: Any, *given: Any) -> Any:
        key = _key(workspace, measure, dict(zip(names, given, strict=True)))
        if key is None:
            return measure(workspace, *given)
        path = cache_folder() / "measured" / f"{key}.safetensors"
        return value_at(path, kind(), lambda: measure(workspace, *given))

    return remembered(measured)


def content_of(kind: str, arrays: Sequence[np.ndarray], facts: Any) -> str:
    """A name of what these are: it changes with any of their bytes."""
    known = hashlib.sha256(json.dumps([kind, facts], default=repr).encode())
    for array in arrays:
        known.update(f"{array.dtype} {array.shape}".encode())
        known.update(np.ascontiguousarray(array).data)
    return known.hexdigest()


@functools.cache
def _code() -> str:
    """A name of the code that measures: all of xmr but what only shows."""
    root = Path(xmr.__file__).parent
    paths = [path for path in sorted(root.rglob("*.py")) if path.relative_to(root).parts[0] not in SHOWS]
    return hashlib.sha256("".join(map(_file, paths)).encode()).hexdigest()


@functools.cache
def _file(path: str | Path) -> str:
    return digest_of(Path(path))


def _key(workspace: Any, measure: Callable[..., Any], arguments: Mapping[str, Any]) -> str | None:
    """What the measure's file is called; None where the data can't be known by content."""
    split = arguments["split"]
    data = workspace.content_of_data(split)
    if data is None:
        return None
    own = _file(inspect.getsourcefile(measure))
    told: list[Any] = [_code(), own, measure.__module__, measure.__qualname__, data]
    for name, value in arguments.items():
        runs = (value,) if isinstance(value, str) else value
        told.append([workspace.content_of_run(run, split) for run in runs] if name in RUNS else [name, value])
    return hashlib.sha256(json.dumps(told, default=repr).encode()).hexdigest()[:32]
