"""The Space of what the repository ships, as the free hardware runs it: two cores, and memory to spare."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts import check_space, publish

ROOT = Path(__file__).parent.parent
MEMORY = 4e9  # bytes; the free hardware has four times as many
SECONDS = 180  # until the page can be opened: a bound for a busy machine, not what it takes


def peak(process):
    """The most memory that a process has had, in bytes."""
    status = Path(f"/proc/{process}/status")
    if not status.is_file():
        pytest.skip("the system does not tell the peak of a process's memory")
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1])


@pytest.mark.browser  # half a minute: an everyday run leaves it out
def test_the_space_of_what_is_shipped_fits_the_free_hardware(tmp_path, capsys):
    folder = tmp_path / "space"
    assert publish.main([str(ROOT / "checkpoints"), "--space", "me/lab", "--dry-run", str(folder)]) == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "XMR_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1", "SPACE_ID": "me/lab",
    }  # fmt: skip
    cores = {*list(os.sched_getaffinity(0))[:2]} if hasattr(os, "sched_setaffinity") else set()
    began, opened = time.monotonic(), 0.0
    app = subprocess.Popen(
        [sys.executable, "app.py", "--port", str(port)], cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=lambda: cores and os.sched_setaffinity(0, cores),
    )  # fmt: skip
    lines = []
    try:
        for line in app.stdout:
            lines.append(line)
            if line.startswith("The page can be opened"):
                opened = time.monotonic() - began
                break
        assert opened, "".join(lines)
        assert "Anybody may come here: limits are those of a public server.\n" in lines
        assert check_space.main([f"http://127.0.0.1:{port}/"]) == 0
        memory = peak(app.pid)
    finally:
        app.terminate()
        app.wait(60)
    with capsys.disabled():
        print(
            f"\nthe Space of the shipped runs on {len(cores) or 'all'} cores, empty cache: page after {opened:.0f} s, "
            f"{memory / 1e9:.1f} GB at most"
        )
    assert memory <= MEMORY and opened < SECONDS
