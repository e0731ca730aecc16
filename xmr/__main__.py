"""The command `xmr`: the app and the scripts by their names."""

from __future__ import annotations

import ast
import runpy
import sys
from pathlib import Path

import xmr
from xmr.registry import unknown

PACKAGE = Path(__file__).parent


def main() -> int:
    """Runs the program that the first word names as `python scripts/NAME.py` does; it ends the process with its own exit code."""
    found, (name, *words) = programs(), sys.argv[1:] or ["--help"]
    if name in ("--help", "-h"):
        print("usage: xmr NAME …, and xmr NAME --help for its options\n")
        for one, path in found.items():
            print(f"  {one:20} {ast.get_docstring(ast.parse(path.read_text('utf-8'))).splitlines()[0]}")
        return 0
    if name == "--version":
        print(xmr.__version__)
        return 0
    if name not in found:
        print(f"error: {unknown('command', name, found)}", file=sys.stderr)
        return 2
    sys.argv = [f"xmr {name}", *words]
    sys.path.insert(0, str(folder()))  # of `scripts`, as programs import it
    runpy.run_path(str(found[name]), run_name="__main__")
    return 0


def folder() -> Path:
    """The folder of app.py and scripts/: the checkout's, or where setup.py puts them in an installed package."""
    installed = PACKAGE / "programs"
    return installed if installed.is_dir() else PACKAGE.parent


def programs() -> dict[str, Path]:
    """The file of each program, by the name of its command."""
    files = [folder() / "app.py", *sorted((folder() / "scripts").glob("*.py"))]
    return {path.stem: path for path in files if '__name__ == "__main__"' in path.read_text("utf-8")}


if __name__ == "__main__":
    sys.exit(main())
