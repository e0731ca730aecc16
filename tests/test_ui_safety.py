"""What strangers may try: files that are not theirs, other servers through ours, too much, and markup."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from PIL import Image

from xmr.ui.tabs import TABS

ROOT = Path(__file__).parent.parent
OUTSIDE = [
    "/etc/passwd",
    str(ROOT / "app.py"),
    str(ROOT / "checkpoints" / "info_nce" / "run.json"),
    "/proc/self/environ",
]


@pytest.fixture(scope="module")
def web(app_url):
    with httpx.Client(base_url=app_url, timeout=60, follow_redirects=False) as client:
        yield client


@pytest.mark.parametrize("path", OUTSIDE)
def test_files_outside_the_served_folders_are_refused(web, path):
    for way in (path, quote(path, safe=""), f"//{path}", f"file://{path}"):
        answer = web.get(f"gradio_api/file={way}")
        assert answer.status_code in (400, 403, 404), (way, answer.status_code)
        assert "root:" not in answer.text and "argparse" not in answer.text


def test_there_is_no_way_up_from_a_served_folder(web, page, app_url):
    page.goto(app_url)
    served = page.locator("#results img").first.get_attribute("src").split("file=")[1]
    folder = str(Path(served).parent)
    assert web.get(f"gradio_api/file={served}").status_code == 200
    for up in ("/..", "/%2e%2e", "/..%2f..", "/%252e%252e", "/....//"):
        for depth in (1, 4, 12):
            answer = web.get(f"gradio_api/file={folder}{up * depth}/etc/passwd")
            assert answer.status_code in (400, 403, 404) and "root:" not in answer.text, (up, depth)
    # Neither is a link that lies in it, put there by somebody else, a way out.
    trap = Path(folder) / "trap.webp"
    trap.symlink_to("/etc/passwd")
    try:
        answer = web.get(f"gradio_api/file={trap}")
        assert answer.status_code in (400, 403, 404) or "root:" not in answer.text
    finally:
        trap.unlink()


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://127.0.0.1:1/",
        "http://localhost/",
        "https://example.org/x.png",
    ],
)
def test_the_server_fetches_nothing_for_others(web, target):
    for way in (
        f"gradio_api/file={target}",
        f"gradio_api/proxy={target}",
        f"gradio_api/file={quote(target, safe='')}",
    ):
        answer = web.get(way)
        assert answer.status_code in (400, 403, 404), (way, answer.status_code)


def test_an_event_may_not_name_a_file_or_an_address(web):
    """The upload's path comes from the browser, which may name anything."""
    config = web.get("config").json()
    upload = next(part["id"] for part in config["components"] if part["props"].get("elem_id") == "upload")
    event = next(
        one for one in config["dependencies"] if [upload, "upload"] in [list(t) for t in one["targets"]]
    )
    values = {part["id"]: part["props"].get("value") for part in config["components"]}
    for path in ["/etc/passwd", str(ROOT / "app.py"), "http://169.254.169.254/x.png", "../../etc/passwd"]:
        file = {"path": path, "orig_name": "x.png", "meta": {"_type": "gradio.FileData"}}
        data = [file if key == upload else values[key] for key in event["inputs"]]
        web.post(
            "gradio_api/queue/join", json={"data": data, "fn_index": event["id"], "session_hash": "stranger"}
        )
        with web.stream("GET", "gradio_api/queue/data", params={"session_hash": "stranger"}) as stream:
            told = next(line for line in stream.iter_lines() if "process_completed" in line)
        assert '"success":false' in told.replace(" ", ""), told[:200]
        assert "root:" not in told and "argparse" not in told


def test_an_upload_that_is_too_large_is_refused(web):
    answer = web.post("gradio_api/upload", files={"files": ("big.png", bytes(20 * 2**20), "image/png")})
    assert answer.status_code == 413
    small = web.post("gradio_api/upload", files={"files": ("small.png", _png(), "image/png")})
    assert small.status_code == 200


@pytest.mark.parametrize("name", ["page.html", "drawing.svg"])
def test_an_uploaded_page_does_not_run_here(web, name):
    content = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    path = web.post("gradio_api/upload", files={"files": (name, content, "text/html")}).json()[0]
    answer = web.get(f"gradio_api/file={path}")
    runs = answer.headers.get("content-type", "").startswith(("text/html", "image/svg"))
    assert (
        answer.status_code != 200 or not runs or "attachment" in answer.headers.get("content-disposition", "")
    )


@pytest.mark.parametrize("kind", ["bomb", "cut", "text", "frames"])
def test_pictures_that_are_none_are_refused_in_words(page, app_url, tmp_path, kind):
    path = tmp_path / f"{kind}.png"
    if kind == "bomb":
        Image.new("L", (20_000, 20_000)).save(path, compress_level=9)
        assert path.stat().st_size < 2_000_000
    elif kind == "cut":
        path.write_bytes(_png()[:-40])
    elif kind == "text":
        path.write_text("<?php system('id') ?>")
    else:
        still = Image.new("RGB", (9000, 9000))
        still.save(path, save_all=True, append_images=[still] * 3)
    page.goto(app_url)
    page.locator("#results .column").first.wait_for()
    before = page.locator("#results .query").inner_text()
    page.locator("#upload input[type=file], input[type=file]").first.set_input_files(path)
    page.get_by_text("This picture could not be used").first.wait_for()
    assert page.locator("#results .query").inner_text() == before
    page.problems[:] = [problem for problem in page.problems if "500" not in problem]


HOSTILE = quote("<img src=x onerror=window.pwned=3>${window.pwned=4}\u202e'\";--")


def test_a_link_is_no_way_in(page, web, app_url):
    """Every key of every tab with a hostile value: messages name it, and neither they nor the tabs run it or fetch for it."""
    scripts = [one["js"] for one in web.get("config").json()["dependencies"] if isinstance(one["js"], str)]
    spec = next(json.loads(found[1]) for js in scripts if (found := re.search(r"const spec = (.*);", js)))
    tabs = {tab for _, tab in spec if tab}
    assert {tab.ID for tab in TABS} == tabs
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    for tab in sorted(tabs):
        keys = [key for key, of in spec if of in ("", tab)]
        page.goto(f"{app_url}?v=1&tab={tab}&{'&'.join(f'{key}={HOSTILE}' for key in keys)}")
        page.get_by_text("Not all of this link can be shown").first.wait_for()
        page.locator(f"#tab-{tab}").wait_for()
        page.wait_for_timeout(1500)
    for key in ("v", "dataset", "tab"):
        page.goto(f"{app_url}?{'' if key == 'v' else 'v=1&'}k=5&{key}={HOSTILE}")
        page.get_by_text("Not all of this link can be shown").first.wait_for()
        page.wait_for_timeout(500)
    assert not [url for url in asked if url.endswith("/x")]


def test_messages_are_text():
    from xmr.ui.said import refused

    assert refused("no run <img src=x onerror=alert(1)> & 'more'").message == (
        "no run &lt;img src=x onerror=alert(1)&gt; &amp; 'more'"
    )


def test_a_link_that_is_too_long_says_so(page, app_url):
    page.goto(f"{app_url}?v=1&query={'x' * 5000}&runs={'y' * 3000}")
    page.locator("#results .column").first.wait_for()
    page.get_by_text("has more than").first.wait_for()


def _png() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 90).save(buffer, "PNG")
    return buffer.getvalue()
