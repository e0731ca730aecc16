"""Where the real data sets lie that some tests load; they are no part of the repository."""

import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("XMR_SHARED_DATA") or Path(__file__).parents[2] / "shared/data")


def shared(name):
    """The folder of that data set; skips the test where it is absent."""
    if not (ROOT / name).is_dir():
        pytest.skip(f"{ROOT / name} is absent; set XMR_SHARED_DATA to the folder that holds {name}/")
    return ROOT / name
