"""`pip install`: the wheel holds the app, the scripts and what the page is drawn with, and the command `xmr` runs them."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from xmr import __version__
from xmr.__main__ import folder, programs

ROOT = Path(__file__).parent.parent


def run(words, cwd, **environment):
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=cwd, env=os.environ | environment, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder that the wheel was installed into, without what it depends on."""
    place = tmp_path_factory.mktemp("wheel")
    leave = shutil.ignore_patterns("__pycache__", ".*")
    for part in ("xmr", "scripts"):
        shutil.copytree(ROOT / part, place / "source" / part, ignore=leave)
    for path in [ROOT / "LICENSE", *(one for one in ROOT.glob("*.*") if one.is_file())]:
        shutil.copy(path, place / "source")
    pip = ["-m", "pip", "--quiet", "--disable-pip-version-check"]
    code, said = run(
        [*pip, "wheel", "--no-build-isolation", "--no-deps", "-w", place, place / "source"], place
    )
    assert code == 0, said
    (wheel,) = place.glob("*.whl")
    code, said = run([*pip, "install", "--no-deps", "--no-compile", "--target", place / "site", wheel], place)
    assert code == 0, said
    held = zipfile.ZipFile(wheel).namelist()
    for suffix in ("js", "css", "html"):
        ours = {str(path.relative_to(ROOT)) for path in (ROOT / "xmr").rglob(f"*.{suffix}")}
        assert ours and ours <= {*held}
    assert all(
        name.startswith("xmr") for name in held
    )  # no `app` and no `scripts` beside other people's packages
    return place / "site"


def test_what_it_depends_on_is_what_a_space_installs(site):
    metadata = next(site.glob("xmr-*/METADATA")).read_text()
    lines = [
        line for line in (ROOT / "requirements.txt").read_text().splitlines() if line[:1] not in ("", "#")
    ]
    needed = [line.split(": ")[1] for line in metadata.splitlines() if line.startswith("Requires-Dist")]
    plain = [line for line in needed if "extra ==" not in line]
    assert len(plain) == len(lines)
    for line, told in zip(lines, plain, strict=True):
        name, bounds = line.split(">=")
        assert told.startswith(name) and {*told.removeprefix(name).split(",")} == {*f">={bounds}".split(",")}
    assert f"Version: {__version__}\n" in metadata


def test_the_command_runs_from_the_wheel(site, tmp_path):
    command = site / "bin" / "xmr"
    code, said = run([command, "--help"], tmp_path, PYTHONPATH=str(site))
    assert code == 0 and all(f"\n  {name} " in said for name in programs())
    code, said = run([command, "tran"], tmp_path, PYTHONPATH=str(site))
    assert code == 2 and "did you mean 'train'" in said
    code, said = run([command, "data", tmp_path / "none"], tmp_path, PYTHONPATH=str(site))
    assert code == 2 and "error: " in said and "none" in said
    code, said = run([command, "app", "--checkpoints", tmp_path / "none"], tmp_path, PYTHONPATH=str(site))
    assert code != 0 and "none" in said and "Traceback" not in said
    assert (
        "\nxmr train --dataset blocks" in said and "scripts/" not in said
    )  # which an installed package has not


def test_the_command_of_a_checkout_runs_its_own_programs():
    assert folder() == ROOT
    assert {"app", "train", "add", "evaluate", "compare", "data", "flag", "report", "combine"} <= {
        *programs()
    }
    assert not {"command", "options", "embeddings", "__init__", "setup"} & {*programs()}
    code, said = run(["-m", "xmr", "data", "--help"], ROOT)
    assert code == 0 and "usage: " in said
