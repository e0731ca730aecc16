"""Sliders and menus for the parameters of any registered thing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from xmr.registry import Entry
from xmr.views.blocks import Block, menu
from xmr.views.blocks import slider as slide


def sliders(entry: Entry, values: Mapping[str, Any], prefix: str, act: str) -> list[Block]:
    """A control for each parameter, holding `values`: numbers with a range are sliders, everything else is a menu. A change
    is an act on the block `act` with {"name", "value"}."""
    return [
        _slider(param, values[param.name], prefix, act)
        if param.range
        else _menu(param, values[param.name], prefix, act)
        for param in entry.params
        if param.range or _choices(param)
    ]


def _slider(param: Any, value: float, prefix: str, act: str) -> Block:
    # A learned value may lie outside the range that people choose from.
    low, high = min(param.range.low, value), max(param.range.high, value)
    step = param.range.step or (1 if param.kind is int else 10 ** math.floor(math.log10((high - low) / 200)))
    label = param.name.replace("_", " ")
    return slide(
        f"{prefix}-{param.name}", label, low, high, round(value, 6), step, block=act, name=param.name
    )


def _menu(param: Any, value: Any, prefix: str, act: str) -> Block:
    options = [(str(one), one) for one in _choices(param)]
    return menu(
        f"{prefix}-{param.name}", param.name.replace("_", " "), options, value, block=act, name=param.name
    )


def _choices(param: Any) -> list[Any]:
    return list(param.choices or ((True, False) if param.kind is bool else ()))
