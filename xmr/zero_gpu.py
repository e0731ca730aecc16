"""ZeroGPU, hardware of the Hub whose GPU is lent for one call at a time, by its own package `spaces`.

That has to be imported before torch, and only there: elsewhere nothing needs it. Outside a call there is no GPU, whatever
torch says; a call runs in another process, so that what it gives back are plain values and files.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any, TypeVar

Lent = TypeVar("Lent", bound=Callable[..., Any])


def is_zero_gpu() -> bool:
    """Whether this host is ZeroGPU, as `spaces` itself asks."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def prepare() -> None:
    """What has to be done before torch is imported."""
    if is_zero_gpu():
        importlib.import_module("spaces")


def lent(seconds: int) -> Callable[[Lent], Lent]:
    """Decorator: on ZeroGPU the function is called with a GPU, for so long at most; to be asked for by a queued event, whose
    request tells whose quota it is. Elsewhere the function is as it was."""
    if not is_zero_gpu():
        return lambda function: function
    return importlib.import_module("spaces").GPU(duration=seconds)
