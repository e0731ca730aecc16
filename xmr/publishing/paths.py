"""What run.json says of this machine, and the same without it."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path, PureWindowsPath
from typing import Any

from xmr.workspace.public import public

CACHED = re.compile(r"models--([\w.-]+?)--([\w.-]+)$")  # a model's folder in the Hub's cache


def portable(value: Any) -> Any:
    """`value`, made of dicts, lists and texts, with names in place of this machine's paths. An encoder that lies in the Hub's
    cache is called by its name there."""
    if isinstance(value, dict):
        return {portable(key): portable(one) for key, one in value.items()}
    if isinstance(value, list):
        return [portable(one) for one in value]
    return _portable_text(value) if isinstance(value, str) else value


def portable_command(command: str) -> str:
    """A command line without this machine's paths."""
    try:
        words = shlex.split(command)
    except ValueError:
        return public(command)
    return shlex.join(_portable_text(word) for word in words)


def _portable_text(text: str) -> str:
    scheme, colon, place = text.partition("local-dir:")
    if colon:
        cached = next((found for part in Path(place).parts if (found := CACHED.match(part))), None)
        return f"{scheme}hf-hub:{cached[1]}/{cached[2]}" if cached else f"{scheme}local-dir:{_last(place)}"
    if "://" in text:
        return text
    config, json, file = text.partition(".json/")  # the configuration of an architecture, and its weights
    if json and _is_absolute(config):
        return f"{_last(config)}.json/{_last(file)}"
    model, slash, file = text.partition("/")
    if model and slash and _is_absolute(file):
        return f"{model}/{_last(file)}"
    return ",".join(map(_portable_part, text.split(",")))


def _portable_part(text: str) -> str:
    name, sign, path = text.partition("=")
    if _is_absolute(text):
        return _last(text)
    return f"{name}={_last(path)}" if sign and _is_absolute(path) else public(text)


def _last(path: str) -> str:
    return Path(path.replace("\\", "/")).name if _is_absolute(path) else path


def _is_absolute(path: str) -> bool:
    return os.path.isabs(path) or path.startswith("~") or bool(PureWindowsPath(path).drive)
