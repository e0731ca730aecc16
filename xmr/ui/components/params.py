"""Sliders and menus for the parameters of any registered thing: a pool, made once, filled by each choice."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from xmr.registry import Entry, Param, Registry


class ParamPool:
    """As many components as the entry with most parameters needs; the ones an entry has no use for are hidden.

    Numbers with a range are sliders, everything else is a menu. `components` are inputs in a fixed order;
    `updates` fills them for an entry, and `values` reads what they hold.
    """

    def __init__(
        self, registry: Registry, entry: str, values: Mapping[str, Any] | None = None, prefix: str = "p"
    ):
        self.registry = registry
        most = [
            max((len(_of(one, menus)) for one in registry.values()), default=0) for menus in (False, True)
        ]
        self.sliders = [
            gr.Slider(**_slider(param, values), elem_id=f"{prefix}-slider-{i}")
            for i, param in enumerate(_filled(_of(registry[entry], False), most[0]))
        ]
        self.menus = [
            gr.Dropdown(**_menu(param, values), elem_id=f"{prefix}-menu-{i}")
            for i, param in enumerate(_filled(_of(registry[entry], True), most[1]))
        ]

    @property
    def components(self) -> list[gr.components.Component]:
        return [*self.sliders, *self.menus]

    def updates(self, entry: str, values: Mapping[str, Any] | None = None) -> list[Any]:
        """New properties of all components for the entry of that name; `values` instead of the defaults."""
        one = self.registry[entry]
        sliders = _filled(_of(one, False), len(self.sliders))
        menus = _filled(_of(one, True), len(self.menus))
        return [gr.Slider(**_slider(p, values)) for p in sliders] + [
            gr.Dropdown(**_menu(p, values)) for p in menus
        ]

    def values(self, entry: str, held: Sequence[Any]) -> dict[str, Any]:
        """What the components hold, as this entry's parameters; what is not of the right type is at its default.

        Ranges are not enforced: a learned value may lie outside the range that people choose from.
        """
        one = self.registry[entry]
        found = {}
        for params, part in (
            (_of(one, False), held[: len(self.sliders)]),
            (_of(one, True), held[len(self.sliders) :]),
        ):
            for param, value in zip(params, part, strict=False):
                try:
                    found[param.name] = param.kind(value)
                except (TypeError, ValueError):
                    found[param.name] = param.default
        return one.defaults | found


def _of(entry: Entry, menus: bool) -> list[Param]:
    return [
        param for param in entry.params if (param.range is None) == menus and (not menus or _choices(param))
    ]


def _choices(param: Param) -> list[Any]:
    return list(param.choices or ((True, False) if param.kind is bool else ()))


def _filled(params: list[Param], count: int) -> list[Param | None]:
    return [*params, *[None] * (count - len(params))]


def _slider(param: Param | None, values: Mapping[str, Any] | None) -> dict[str, Any]:
    if param is None:
        return {"visible": False, "label": "unused"}
    value = (values or {}).get(param.name, param.default)
    # A learned value may lie outside the range that people choose from.
    low, high = min(param.range.low, value), max(param.range.high, value)
    step = param.range.step or (1 if param.kind is int else 10 ** _magnitude((high - low) / 200))
    label = param.name.replace("_", " ")
    return {
        "minimum": low, "maximum": high, "step": step, "value": round(value, 6), "label": label, "visible": True
    }  # fmt: skip


def _magnitude(number: float) -> int:
    return math.floor(math.log10(number)) if number > 0 else -2


def _menu(param: Param | None, values: Mapping[str, Any] | None) -> dict[str, Any]:
    if param is None:
        return {"visible": False, "label": "unused"}
    value = (values or {}).get(param.name, param.default)
    return {
        "choices": _choices(param),
        "value": value,
        "label": param.name.replace("_", " "),
        "visible": True,
    }
