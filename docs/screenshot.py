"""Makes the pictures of the front page from the shipped runs: `python docs/screenshot.py`; and those of docs/space.md from the
folder of a Space: `python docs/screenshot.py FOLDER`.

It serves the app on a free port, asks for each view, and takes the page by playwright's chromium, of
which requirements-dev.txt has the Python side; CHROMIUM names another browser than the one that is found. What is written is at
most MOST bytes each.
"""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from time import monotonic, sleep

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parent.parent
RUNS = ("max_of_hinges", "info_nce", "siglip", "polynomial")
QUERY = f"?v=1&tab=search&dataset=blocks&baseline={RUNS[0]}{''.join(f'&runs={run}' for run in RUNS)}"
VIEWS = {  # of each picture the address, the theme, and what is waited for
    "app-light": (QUERY, "light", "#results [data-item]"),
    "app-dark": (QUERY, "dark", "#results [data-item]"),
}
OF_SPACE = {
    "space-results": ("?v=1&tab=results", "light", "#panel-results .plot svg"),
    "space-verdicts": ("?v=1&tab=false_negatives&mode=one", "light", "#fn-pairs article img"),
}
SIDES = {"width": 1280, "height": 800}
PATIENCE = 300  # seconds until the first page may take where nothing is in the cache
MOST = 200_000


def main() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder, views = (Path(sys.argv[1]), OF_SPACE) if sys.argv[1:] else (ROOT, VIEWS)
    app = subprocess.Popen([sys.executable, "app.py", "--port", str(port)], cwd=folder)
    try:
        _wait(f"http://127.0.0.1:{port}/", app)
        for name, (query, theme, awaited) in views.items():
            _take(f"http://127.0.0.1:{port}/{query}&__theme={theme}", name, theme, awaited)
    finally:
        app.terminate()
        app.wait()
    return 0


def _wait(address: str, app: subprocess.Popen) -> None:
    """Until the address answers. Raises RuntimeError where it never does."""
    began = monotonic()
    while app.poll() is None and monotonic() - began < PATIENCE:
        try:
            urllib.request.urlopen(address, timeout=10).close()
            return
        except (urllib.error.URLError, OSError):
            sleep(0.5)
    raise RuntimeError("the app did not start; its own words are above")


def _take(address: str, name: str, theme: str, awaited: str) -> None:
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIDES, color_scheme=theme)
        page.set_default_timeout(PATIENCE * 1000)
        page.goto(address)
        page.locator(awaited).first.wait_for()
        page.wait_for_function("[...document.images].every((one) => one.complete || one.loading === 'lazy')")
        page.wait_for_load_state("networkidle")
        taken = page.screenshot()
        browser.close()
    # A palette is a third of the size, and nobody sees it.
    small = io.BytesIO()
    Image.open(io.BytesIO(taken)).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(
        small, "PNG", optimize=True
    )
    out = ROOT / "docs" / f"{name}.png"
    out.write_bytes(small.getvalue())
    print(f"{out.relative_to(ROOT)}: {len(small.getvalue()):,} bytes")
    if len(small.getvalue()) > MOST:
        raise RuntimeError(f"{out.name} has more than {MOST:,} bytes")


if __name__ == "__main__":
    sys.exit(main())
