"""What can be told before anything heavy is loaded: whether a folder has runs, and whether a port is free; and how warnings
are told."""

from __future__ import annotations

import os
import shlex
import socket
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xmr.words import program

RUN, STATE = "run.json", "resume.safetensors"  # of `xmr.checkpoints`, which takes seconds to import
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
LISTS = ("metadata.jsonl", "metadata.csv", "captions.txt", "captions.csv", "dataset.json")
LOOKED_AT = 2000  # entries of one folder
PORTS = 100  # that are tried behind the one that is taken


def plain_warnings() -> None:
    """Lets what is said to the user be a line, without the place in the code that says it; for programs, not for the library."""
    usual = warnings.formatwarning

    def told(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> str:
        return (
            f"warning: {message}\n" if category is UserWarning else usual(message, category, *place, **more)
        )

    warnings.formatwarning = told


def why_no_runs(folder: str | Path) -> str:
    """Why nothing can be shown of a folder, with the command that helps on a line of its own; "" where there are runs."""
    folder = Path(folder).expanduser()
    out = "runs" if folder.exists() else _quoted(folder)  # never into what is there already
    train = f"{program('train')} --dataset blocks --loss max_of_hinges info_nce --out {out}"
    if not folder.exists():
        return f"There is no folder {folder}. Name the folder of your runs, or train some into it:\n{train}"
    if not folder.is_dir():
        hint = f"\n{_show(folder.parent.parent)}" if folder.name == RUN else ""
        return f"{folder} is a file: name the folder of your runs.{hint}"
    if (folder / RUN).exists():
        return ""
    try:
        inside = _folders(folder)
    except OSError as error:
        return f"{folder} can't be read: {error.strerror}."
    if any((path / RUN).exists() for path in inside):
        return ""
    below = [path for path in inside if any((run / RUN).exists() for run in _folders_or_none(path))]
    if below:
        more = f" So do {len(below) - 1} others in it." if len(below) > 1 else ""
        return (
            f"{folder} has no runs itself, but {below[0].name} in it has.{more} Show them:\n{_show(below[0])}"
        )
    if started := [path.name for path in inside if (path / STATE).exists()]:
        return (
            f"No run in {folder} is finished yet: {', '.join(started[:5])}. Train on, by the command that began it and:\n"
            "--resume"
        )
    if _is_data(folder, inside):
        return (
            f"{folder} holds data, no runs. See what is read of it, and how to train on it:\n"
            f"{program('data')} {_quoted(folder)}"
        )
    return f"There is no run in {folder}. Train some:\n{train}"


def free_port(host: str, port: int) -> int:
    """This port, or the next that is free. Raises OSError where none can be had, and ValueError where there is no such
    port or host."""
    if not 1 <= port <= 65535:
        raise ValueError(f"a port is a number from 1 to 65535, found {port}")
    for one in range(port, min(port + PORTS, 65536)):
        if _is_free(host, one):
            return one
    raise OSError(f"ports {port} to {min(port + PORTS, 65536) - 1} are all in use")


def again(words: Sequence[str], port: int) -> str:
    """The command that was typed, with another port."""
    if "MAKELEVEL" in os.environ:
        said = [
            f"{name}={_quoted(os.environ[name])}"
            for name in ("CHECKPOINTS", "DATASET")
            if os.environ.get(name)
        ]
        return " ".join(["make app", f"PORT={port}", *said])
    kept, skip = [], False
    for word in words:
        if skip or word == "--port" or word.startswith("--port="):
            skip = word == "--port" and not skip
            continue
        kept.append(word)
    return f"{program('app')} {shlex.join([*kept, '--port', str(port)])}"


def _is_free(host: str, port: int) -> bool:
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ValueError(f"there is no address {host!r} ({error})") from error
    # Gradio looks at the loopback address, whatever the host.
    for family, address in {(one[0], one[4]) for one in found} | {(socket.AF_INET, ("127.0.0.1", port))}:
        with socket.socket(family, socket.SOCK_STREAM) as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                taken.bind(address)
            except PermissionError as error:
                raise ValueError(f"port {port} is for administrators only: take one from 1024 on") from error
            except OSError:
                return False
    return True


def _folders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        some = [entry for _, entry in zip(range(LOOKED_AT), entries, strict=False)]
    return sorted(Path(entry.path) for entry in some if entry.is_dir() and not entry.name.startswith("."))


def _folders_or_none(folder: Path) -> list[Path]:
    try:
        return _folders(folder)
    except OSError:
        return []


def _is_data(folder: Path, inside: Sequence[Path]) -> bool:
    if any((folder / name).exists() for name in LISTS):
        return True
    for path in [folder, *inside[:20]]:
        try:
            with os.scandir(path) as entries:
                some = [entry.name.lower() for _, entry in zip(range(LOOKED_AT), entries, strict=False)]
        except OSError:
            continue
        if any(name.endswith(PICTURES) or name in LISTS for name in some):
            return True
    return False


def _show(folder: Path) -> str:
    return f"{program('app')} --checkpoints {_quoted(folder)}"


def _quoted(path: str | Path) -> str:
    return shlex.quote(str(path))
