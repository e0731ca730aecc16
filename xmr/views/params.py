"""Sliders and menus for the parameters of any registered thing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from xmr.registry import Entry
from xmr.views.blocks import Block, menu, slider


def sliders(entry: Entry, values: Mapping[str, Any], prefix: str, act: str) -> list[Block]:
    """A control for each parameter, holding `values`: numbers with a range are sliders, everything else is a menu. A change
    is an act on the block `act` with {"name", "value"}."""
    shown = []
    for param in entry.params:
        value, of = values[param.name], {"block": act, "name": param.name}
        id, label = f"{prefix}-{param.name}", param.name.replace("_", " ")
        choices = param.choices or ((True, False) if param.kind is bool else ())
        if param.range:
            # A learned value may lie outside the range that people choose from.
            low, high = min(param.range.low, value), max(param.range.high, value)
            fine = 1 if param.kind is int else 10 ** math.floor(math.log10((high - low) / 200))
            shown.append(slider(id, label, low, high, round(value, 6), param.range.step or fine, **of))
        elif choices:
            shown.append(menu(id, label, [(str(one), one) for one in choices], value, **of))
    return shown
