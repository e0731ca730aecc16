"""The doors of the server: who may send, how much, and what becomes of files that are brought."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.datastructures import Headers

from tests.fake_workspace import make_workspace
from xmr.data.pictures import decode
from xmr.turns import Busy, Turns
from xmr.ui import doors
from xmr.ui.asked import read_query
from xmr.ui.doors import is_own
from xmr.workspace.uploads import Uploads, open_picture, total


@pytest.fixture(scope="module")
def web(app_url):
    with httpx.Client(base_url=app_url, timeout=60, follow_redirects=False) as client:
        yield client


@pytest.mark.parametrize(
    ("headers", "own"),
    [
        ({"host": "127.0.0.1:7860"}, True),  # gradio_client, agents, curl: no browser, no origin
        ({"host": "127.0.0.1:7860", "origin": "http://127.0.0.1:7860"}, True),
        ({"host": "127.0.0.1:7860", "origin": "http://127.0.0.1:7861"}, False),
        ({"host": "127.0.0.1:7860", "origin": "http://localhost:7860"}, False),
        ({"host": "127.0.0.1:7860", "origin": "https://evil.example"}, False),
        ({"host": "127.0.0.1:7860", "origin": "null"}, False),
        ({"host": "", "origin": "null"}, False),
        ({"host": "127.0.0.1:7860", "origin": "http://[::bad"}, False),
        ({"host": "[::1]:7860", "origin": "http://[::1]:7860"}, True),
        # A Space: the page lies in a frame of huggingface.co, but what it sends is its own.
        ({"host": "me-xmr.hf.space", "origin": "https://me-xmr.hf.space"}, True),
        ({"host": "10.0.0.3:7860", "origin": "https://me-xmr.hf.space"}, True),
        ({"host": "me-xmr.hf.space", "origin": "https://huggingface.co"}, False),
        # Behind a proxy.
        ({"host": "app:7860", "x-forwarded-host": "lab.example", "origin": "https://lab.example"}, True),
        ({"host": "app:7860", "x-forwarded-host": "a.example, lab.example", "origin": "https://lab.example"}, True),
        ({"host": "app:7860", "sec-fetch-site": "same-origin", "origin": "https://lab.example"}, True),
        ({"host": "lab.example:443", "origin": "https://lab.example"}, True),
        ({"host": "app:7860", "sec-fetch-site": "same-site", "origin": "https://other.lab.example"}, False),
        ({"host": "app:7860", "sec-fetch-site": "cross-site"}, False),
        ({"host": "app:7860", "sec-fetch-site": "none"}, True),
    ],
)  # fmt: skip
def test_whose_posts_are_let_in(monkeypatch, headers, own):
    monkeypatch.setenv("SPACE_HOST", "me-xmr.hf.space")
    assert is_own(Headers(headers)) is own


POSTS = [
    "gradio_api/call/search",
    "gradio_api/queue/join",
    "gradio_api/upload",
    "gradio_api/run/search",
    "gradio_api/mcp/",
]


@pytest.mark.parametrize("path", POSTS)
def test_other_origins_may_neither_post_nor_ask_whether_they_may(web, app_url, path):
    own = f"http://{urlsplit(app_url).netloc}"
    for origin in ("https://evil.example", "null", "http://localhost:1"):
        assert web.post(path, json={"data": []}, headers={"Origin": origin}).status_code == 403
        first = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        answer = web.options(path, headers=first)
        assert answer.status_code == 403 and "access-control-allow-origin" not in answer.headers
    assert web.post(path, json={"data": []}, headers={"Origin": own}).status_code != 403
    assert web.post(path, json={"data": []}).status_code != 403


def test_a_body_that_is_too_large_is_refused_whatever_it_says_of_itself(web):
    def parts():
        for _ in range(30):
            yield b"x" * 100_000

    for body in (b"x" * 3_000_000, parts()):
        answer = web.post("gradio_api/call/search", content=body)
        assert answer.status_code == 413 and "more than 2,000,000 bytes" in answer.json()["detail"]


@pytest.mark.parametrize("length", [20_000, 60_000, 100_000])
def test_an_address_that_is_too_long_opens_the_page_without_it(app_url, length):
    where = urlsplit(app_url)
    with socket.create_connection((where.hostname, where.port), timeout=30) as wire:
        wire.sendall(
            f"GET /?v=1&query={'x' * length} HTTP/1.1\r\nHost: {where.netloc}\r\nConnection: close\r\n\r\n".encode()
        )
        head = b"".join(iter(lambda: wire.recv(65536), b"")).decode().lower()
    assert head.startswith("http/1.1 303") and f"location: ?too-long={length + 10}" in head


def test_the_page_says_that_its_address_was_too_long(page, app_url):
    page.goto(f"{app_url}?v=1&query={'x' * 60_000}")
    page.get_by_text("its 60,010 characters are more than 16,000").first.wait_for()
    page.locator("#results .column").first.wait_for()


def test_a_query_is_said_to_be_too_long_never_cut(page, app_url, tmp_path):
    words = "a red circle " * 400
    page.goto(app_url)
    page.locator("#results .column").first.wait_for()
    before = page.locator("#results .query").inner_text()
    page.locator("#query textarea, #query input").first.fill(words)
    page.locator("#go").click()
    page.get_by_text("The query has 5,200 characters, and at most 500 are read").first.wait_for()
    assert page.locator("#results .query").inner_text() == before
    page.problems[:] = [problem for problem in page.problems if "500" not in problem]


def test_a_link_with_a_long_query_is_told(tmp_path):
    workspace = make_workspace(tmp_path)
    assert read_query(workspace, "text:" + "x" * 500, "test").text == "x" * 500
    with pytest.raises(ValueError, match="its query has 501 characters, and at most 500 are read"):
        read_query(workspace, "text:" + "x" * 501, "test")


def upload(web, content, name="x.png"):
    return web.post("gradio_api/upload", files={"files": (name, content, "image/png")})


def test_uploads_are_capped_in_total_and_what_nobody_reads_goes(web, monkeypatch):
    path = Path(upload(web, png(Image.effect_noise((300, 300), 90))).json()[0])
    assert path.parent.parent == Path(os.environ["GRADIO_TEMP_DIR"]).resolve()
    assert total(os.environ["GRADIO_TEMP_DIR"]) >= path.stat().st_size
    monkeypatch.setattr(doors, "MOST_UPLOADS", path.stat().st_size)
    refused = upload(web, png(Image.new("L", (8, 8))))
    assert refused.status_code == 503 and "Too many pictures" in refused.json()["detail"]
    os.utime(path, (0, 0))
    assert upload(web, png(Image.new("L", (8, 8)))).status_code == 200
    assert not path.exists()


def test_an_upload_without_a_length_is_refused(web):
    answer = web.post(
        "gradio_api/upload", content=iter([b"x"]), headers={"Content-Type": "multipart/form-data; boundary=b"}
    )
    assert answer.status_code == 411


def png(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def brought(web, content, session):
    """Uploads a picture as the page does, and returns what the server says of it."""
    config = web.get("config").json()
    button = next(part["id"] for part in config["components"] if part["props"].get("elem_id") == "upload")
    event = next(
        one for one in config["dependencies"] if [button, "upload"] in [list(t) for t in one["targets"]]
    )
    values = {part["id"]: part["props"].get("value") for part in config["components"]}
    path = upload(web, content).json()[0]
    file = {"path": path, "orig_name": "x.png", "meta": {"_type": "gradio.FileData"}}
    data = [file if key == button else values[key] for key in event["inputs"]]
    web.post("gradio_api/queue/join", json={"data": data, "fn_index": event["id"], "session_hash": session})
    with web.stream("GET", "gradio_api/queue/data", params={"session_hash": session}) as stream:
        told = next(line for line in stream.iter_lines() if "process_completed" in line)
    return path, json.loads(told[5:])


def test_the_same_picture_brought_by_many_at_once_is_read_and_its_files_go(web):
    content, before = png(Image.effect_noise((400, 400), 90)), files()
    with ThreadPoolExecutor(8) as people:
        found = list(people.map(lambda n: brought(web, content, f"bringer {n}"), range(8)))
    assert all(said["success"] for _, said in found), [said["output"] for _, said in found]
    assert not any(Path(path).exists() for path, _ in found)
    path, said = brought(web, b"no picture", "another")
    assert not said["success"] and "This picture could not be used" in said["output"]["error"]
    assert os.environ["GRADIO_TEMP_DIR"] not in json.dumps(said["output"]) and not Path(path).exists()
    assert files() == before  # neither ours nor Gradio's


def files():
    return {path for path in Path(os.environ["GRADIO_TEMP_DIR"]).rglob("*") if path.is_file()}


def put(folder, name, image, **options):
    path = folder / name / "x"
    path.parent.mkdir(parents=True)
    image.save(path, options.pop("format", "PNG"), **options)
    return str(path)


def test_pictures_are_kept_by_what_is_in_them_the_latest_first(tmp_path):
    store = Uploads(lambda: tmp_path, kept=2 * 4 * 100 * 100)
    keys = [store.take(put(tmp_path, f"{n}", Image.new("RGB", (100, 100), (n, 0, 0)))) for n in (1, 2, 3)]
    assert not any(path.is_file() for path in tmp_path.rglob("*"))
    assert [store.picture(key).getpixel((0, 0))[0] for key in keys[1:]] == [2, 3]
    assert store.picture(keys[2]) is store.picture(keys[2])
    with pytest.raises(ValueError, match="upload it again"):
        store.picture(keys[0])
    with pytest.raises(ValueError, match="upload it again"):
        store.take(str(tmp_path / "1" / "x"))  # read by somebody else, and gone since
    with pytest.raises(ValueError, match="not uploaded here"):
        store.take(str(tmp_path / ".." / "y"))
    (tmp_path / "way out").symlink_to("/etc/hostname")
    with pytest.raises(ValueError, match="not uploaded here"):
        store.take(str(tmp_path / "way out"))


def gradient(width, height, mode="RGB"):
    rows, columns = np.mgrid[:height, :width]
    planes = [(columns * 255 // width), (rows * 255 // height), (rows + columns) % 256, 128 + (columns % 97)]
    return Image.fromarray(
        np.dstack(planes[: len(mode)]).astype(np.uint8).squeeze(), mode if len(mode) > 1 else "L"
    )


CLOSE = {
    "grey": (gradient(3000, 1700, "L"), "PNG", {}),
    "colours": (gradient(3001, 1703), "PNG", {}),
    "transparent": (gradient(2600, 2100, "RGBA"), "PNG", {}),
    "few colours": (gradient(2500, 2300).quantize(64), "PNG", {}),
    "16 bits": (Image.fromarray(np.asarray(gradient(2500, 2200, "L")).astype(np.uint16) << 8), "PNG", {}),
    "16 bits, one of them clear": (
        Image.fromarray((np.asarray(gradient(2500, 2200, "L")).astype(np.uint16) // 64) << 14),
        "PNG",
        {"transparency": 0},
    ),
    "a photo": (gradient(4100, 3100), "JPEG", {"quality": 95}),
    "progressive": (gradient(4100, 3100), "JPEG", {"quality": 95, "progressive": True}),
    "small": (gradient(90, 70), "PNG", {}),
    "a line": (gradient(20_000, 3), "PNG", {}),
}


@pytest.mark.parametrize("kind", CLOSE)
def test_a_picture_made_smaller_strip_by_strip_is_the_picture(tmp_path, kind):
    image, form, options = CLOSE[kind]
    path = put(tmp_path, kind, image, format=form, **options)
    whole, small = decode(path), open_picture(path)
    assert max(small.size) == min(1024, max(whole.size))
    wanted = whole.resize(small.size, Image.Resampling.BOX)
    off = np.abs(np.asarray(wanted, float) - np.asarray(small, float))
    assert off.mean() < 3


def test_a_picture_lies_as_its_camera_says(tmp_path):
    exif = Image.Exif()
    exif[0x112] = 6
    small = open_picture(put(tmp_path, "turned", gradient(3000, 2000), format="JPEG", exif=exif))
    assert small.size == (683, 1024)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_phones_48_megapixels_open_and_bombs_do_not(tmp_path):
    phone = put(tmp_path, "phone", Image.new("RGB", (8064, 6048), "teal"), format="JPEG")
    assert open_picture(phone).size == (1024, 768)
    for name, image, options in (
        ("drawn", Image.new("L", (8064, 6048)), {}),
        ("held whole", Image.new("L", (8064, 6048)), {"format": "JPEG", "progressive": True}),
        ("a poster", Image.new("L", (12_000, 11_000)), {"format": "JPEG"}),
    ):
        with pytest.raises(ValueError, match="more than 25 million"):
            open_picture(put(tmp_path, name, image, **options))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux's account of a process")
def test_many_pictures_of_many_megapixels_take_the_memory_of_few(tmp_path):
    """In a process of its own, whose peak is the measure; each of these takes 100 MB when it is read."""
    drawn = Image.new("RGB", (5000, 5000), (9, 90, 200))
    paths = [put(tmp_path, f"{n}", drawn) for n in range(8)]
    done = subprocess.run(
        [sys.executable, "-c", MANY, str(tmp_path), *paths], capture_output=True, text=True, check=True
    )
    faults, taken = done.stdout.splitlines()
    assert faults == "[]" and int(taken) < 350_000  # kB


MANY = """
import resource, sys, threading
from xmr.workspace.uploads import Uploads
store, faults = Uploads(lambda: sys.argv[1]), []
def one(path):
    try: store.take(path)
    except BaseException as error: faults.append(repr(error))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
threads = [threading.Thread(target=one, args=(path,)) for path in sys.argv[2:]]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(faults)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_turns_bound_who_is_inside_and_who_waits():
    turns, go, inside, most, refused = Turns(2, waiting=3), threading.Event(), [], [], []

    def one():
        try:
            with turns:
                inside.append(1)
                most.append(len(inside))
                go.wait(20)
                inside.pop()
        except Busy as error:
            refused.append(str(error))

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    while len(refused) < 3:
        pass
    assert len(inside) == 2
    go.set()
    for thread in threads:
        thread.join(20)
    assert len(refused) == 3 and "3 others wait" in refused[0] and len(most) == 5 and max(most) == 2
    with turns:  # and all places are free again
        pass
