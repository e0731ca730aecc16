"""Moved parameters of selectors: in the address, as "selector: name=value, name=value; selector: …", and from the chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xmr.analysis import threshold_of
from xmr.registry import UnknownName
from xmr.selection import SELECTORS

Settings = Mapping[str, Mapping[str, Any]]  # parameters by selector, the first selector first


def settings_of(
    first: str, params: Mapping[str, Any], others: Sequence[str], held: Settings
) -> dict[str, Mapping[str, Any]]:
    """The first selector with these parameters, then the others as they were left, else at their defaults."""
    rest = {name: held.get(name, SELECTORS[name].defaults) for name in others or () if name != first}
    return {first: params, **rest}


def written(moved: Mapping[str, Mapping[str, Any]]) -> str:
    parts = []
    for name, params in moved.items():
        changed = {key: value for key, value in params.items() if value != SELECTORS[name].defaults[key]}
        values = (
            f"{key}={value:.6g}" if isinstance(value, float) else f"{key}={value}"
            for key, value in changed.items()
        )
        parts.append(f"{name}: {', '.join(values)}")
    return "; ".join(parts)


def read_settings(text: str) -> tuple[dict[str, dict[str, Any]], list[str]]:
    held: dict[str, dict[str, Any]] = {}
    faults = []
    for one in filter(None, text.split("; ")):
        name, _, values = one.partition(": ")
        try:
            params = dict(SELECTORS[name].defaults)
            for value in values.split(", "):
                key, _, number = value.partition("=")
                params[key] = parsed(name, key, number)
            held[name] = params
        except (UnknownName, ValueError, TypeError) as error:
            faults.append(str(error))
    return held, faults


def parsed(selector: str, name: Any, value: Any) -> Any:
    """Raises TypeError on an unknown parameter and ValueError on a value that does not fit."""
    return SELECTORS[selector].parse({str(name): value})[str(name)]


def setting_at(act: Any, compared: list[str]) -> tuple[str, str, Any]:
    """Selector, parameter and value of a point of the chart that was clicked. Raises ValueError where there is none."""
    point = act.of("customdata")
    name, value = point if isinstance(point, list) and len(point) == 2 else (None, None)
    param = threshold_of(name) if isinstance(name, str) and name in compared else None
    if param is None or type(value) not in (int, float):
        raise ValueError("Click a point on the curve of a selector.")
    return name, param.name, param.parse(value)
