"""The doors of the server: who may send, how much, what becomes of files that are brought, and what strangers try."""

from __future__ import annotations

import io
import json
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from playwright.sync_api import expect
from starlette.datastructures import Headers

from tests.fake_workspace import make_workspace
from xmr import page as the_page
from xmr import views
from xmr.limits import PUBLIC, Limit
from xmr.page import doors
from xmr.page.doors import is_own
from xmr.views.query import read_query
from xmr.views.state import TAB_OF
from xmr.workspace.uploads import total

ROOT = Path(__file__).parent.parent
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def web(url):
    with httpx.Client(base_url=url, timeout=60, follow_redirects=False) as client:
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
    "gradio_api/component_server/",
    "gradio_api/upload",
    "gradio_api/run/search",
    "gradio_api/mcp/",
]


@pytest.mark.parametrize("path", POSTS)
def test_other_origins_may_neither_post_nor_ask_whether_they_may(web, url, path):
    own = f"http://{urlsplit(url).netloc}"
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
def test_an_address_that_is_too_long_opens_the_page_without_it(url, length):
    where = urlsplit(url)
    with socket.create_connection((where.hostname, where.port), timeout=30) as wire:
        wire.sendall(
            f"GET /?v=1&query={'x' * length} HTTP/1.1\r\nHost: {where.netloc}\r\nConnection: close\r\n\r\n".encode()
        )
        head = b"".join(iter(lambda: wire.recv(65536), b"")).decode().lower()
    assert head.startswith("http/1.1 303") and f"location: ?too-long={length + 10}" in head


def test_a_link_with_a_long_query_is_told(tmp_path):
    workspace = make_workspace(tmp_path)
    assert read_query(workspace, "text:" + "x" * 500, "test").text == "x" * 500
    with pytest.raises(ValueError, match="its query has 501 characters, and at most 500 are read"):
        read_query(workspace, "text:" + "x" * 501, "test")


@pytest.mark.parametrize("key", ["page=12", "page=", "k=5&%70age=x&tab=errors", "page=a&page=b"])
def test_a_place_in_a_list_is_no_page_of_gradios(web, key):
    assert web.get(f"?v=1&{key}").status_code == 200


def upload(web, content, name="x.png"):
    return web.post("gradio_api/upload", files={"files": (name, content, "image/png")})


def test_uploads_are_capped_in_total_and_what_nobody_reads_goes(web, monkeypatch):
    path = Path(upload(web, png(Image.effect_noise((300, 300), 90))).json()[0])
    assert path.parent.parent == Path(os.environ["GRADIO_TEMP_DIR"]).resolve()
    assert total(os.environ["GRADIO_TEMP_DIR"]) >= path.stat().st_size
    monkeypatch.setattr(doors, "UPLOADED_BYTES", Limit("", path.stat().st_size, None))
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


# ---- what the page's script calls ------------------------------------------------------------------------------------


def ask(web, name="view", data=None, component=None, **headers):
    """What a server function answers to a program that sends anything."""
    config = web.get("config").json()
    own = next(part["id"] for part in config["components"] if part["type"] == "html")
    sent = {"data": data, "component_id": own if component is None else component, "fn_name": name}
    body = json.dumps(sent | {"session_hash": "stranger"})
    return web.post(
        "gradio_api/component_server/", content=body, headers={"Content-Type": "application/json"} | headers
    )


@given(
    name=st.sampled_from(["view", "part"]),
    sent=JSON
    | st.fixed_dictionaries(
        {},
        optional={
            "state": JSON | st.fixed_dictionaries({"tab": st.sampled_from([*views.TABS]), "page": JSON}),
            "act": JSON | st.fixed_dictionaries({"block": st.sampled_from(["go", "upload", "fn-param", "fn-turn"]), "data": JSON}),
            "has": JSON, "visitor": JSON | st.fixed_dictionaries({"name": JSON, "secret": JSON}), "first": JSON,
            "name": JSON | st.sampled_from([*views.PARTS]), "data": JSON,
        },
    ),
)  # fmt: skip
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_sent_is_answered_with_blocks_or_a_sentence(web, name, sent):
    answer = ask(web, name, sent)
    assert answer.status_code == 200, answer.text
    assert "failed in the server" not in answer.text and str(ROOT) not in answer.text


def nested(depth):
    deep = []
    for _ in range(depth):
        deep = [deep]
    return deep


def test_what_is_huge_is_refused_or_answered_and_the_server_goes_on(web):
    text = {"state": {"query": "x" * 1_900_000}, "visitor": {"name": "y" * 10_000, "secret": "z" * 10_000}}
    assert "at most 1,000 are read" in ask(web, data=text).text
    many = {"has": {str(n): n for n in range(100_000)}, "state": {str(n): n for n in range(500)}}
    assert ask(web, data=many).status_code == 200
    assert ask(web, data={"state": {"query": nested(900)}}).status_code == 200
    assert ask(web, data="x" * 2_100_000).status_code == 413
    for data in ({"act": {"block": "upload", "data": "\0"}}, {"visitor": {"name": "\ud800"}}):
        assert ask(web, data=data).status_code == 200
    for body in (b"[" * 100_000, b"no JSON", b"{}", b'{"data": NaN}'):
        answer = web.post(
            "gradio_api/component_server/", content=body, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code >= 400 and str(ROOT) not in answer.text
    for name in ("nobody", "__init__", "postprocess", "view.__globals__"):
        assert ask(web, name, {}).status_code in (404, 500)
    assert ask(web, data={}).json()["blocks"]


@pytest.mark.parametrize("anybody", ["0", "1"])
def test_no_answer_names_a_folder_of_the_server(serve, tmp_path, monkeypatch, anybody):
    """Whatever can't be read: its sentence has the file's name, and nothing else of its place."""
    monkeypatch.setenv(PUBLIC, anybody)
    workspace = make_workspace(tmp_path)

    def gone(*_, **__):
        raise OSError(2, "No such file or directory", "/srv/data/secret folder/vectors.npy")

    workspace.embeddings = workspace.scores = gone
    workspace.embedder.embed_texts = gone
    with serve(workspace) as url, httpx.Client(base_url=url, timeout=60) as web:
        found = [web.get("/").text, json.dumps(web.get("config").json())]
        for tab in views.TABS:
            found.append(
                ask(web, data={"state": {"tab": tab}, "act": {"block": "go", "data": "a ring"}}).text
            )
        for part in views.PARTS:
            found.append(ask(web, "part", {"name": part, "data": {"index": 0, "items": [{"key": "k"}]}}).text)
    assert any("vectors.npy" in text for text in found)
    for text in found:
        if anybody == "0":
            text = text.replace(str(tmp_path), "CHECKPOINTS")  # in commands, which are to be pasted
        assert not [
            secret for secret in ("/srv", str(ROOT), str(tmp_path), os.environ["XMR_CACHE"]) if secret in text
        ]


def test_an_answer_may_hold_what_is_no_path():
    kept = {
        "text": "black/white and/or 3/4, https://a.example/b, v2t/recall_at_1", "src": "kept/maps/a.bin",
        "state": {"query": "text:/a/b"}, "blocks": [{"kind": "code", "text": "python a.py --out /srv/runs"}],
    }  # fmt: skip
    assert the_page.told(kept) == kept
    assert the_page.told({"said": ["no file '/srv/data/x.npy'"], "n": 3}) == {
        "said": ["no file 'x.npy'"],
        "n": 3,
    }


def test_so_many_ask_at_once_and_further_ones_are_told(web, monkeypatch):
    go, inside = threading.Event(), threading.Event()
    monkeypatch.setattr(the_page, "WAITING", Limit("", 2, None))

    def slow(*_):
        inside.set()
        go.wait(30)
        return {"state": {}, "said": [], "blocks": []}

    monkeypatch.setattr(the_page, "view", slow)
    with ThreadPoolExecutor(3) as people:
        waiting = [people.submit(ask, web, data={}) for _ in range(2)]
        inside.wait(30)
        refused = None
        for _ in range(100):
            refused = people.submit(ask, web, "part", {}).result().json()
            if "others wait" in refused.get("fault", ""):
                break
        go.set()
        assert refused == {"fault": "2 others wait for an answer already; try again in a minute."}
        assert [one.result().json()["blocks"] for one in waiting] == [[], []]
    assert "unknown part" in ask(web, "part", {"name": "x"}).json()["fault"]  # and all places are free again


# ---- pictures that are brought ---------------------------------------------------------------------------------------


def files():
    return {path for path in Path(os.environ["GRADIO_TEMP_DIR"]).rglob("*") if path.is_file()}


def brought(web, content):
    """Uploads a picture as the page does, and returns what the server says of it."""
    path = upload(web, content).json()[0]
    return path, ask(web, data={"state": {"tab": "search"}, "act": {"block": "upload", "data": path}}).json()


def test_the_same_picture_brought_by_many_at_once_is_read_and_its_files_go(web):
    content, before = png(Image.effect_noise((400, 400), 90)), files()
    with ThreadPoolExecutor(8) as people:
        found = list(people.map(lambda _: brought(web, content), range(8)))
    assert all(said["state"]["query"].startswith("upload:") and not said["said"] for _, said in found)
    assert not any(Path(path).exists() for path, _ in found)
    path, said = brought(web, b"no picture")
    assert "This picture could not be used" in said["said"][0] and not Path(path).exists()
    assert os.environ["GRADIO_TEMP_DIR"] not in json.dumps(said)
    assert files() == before  # neither ours nor Gradio's


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", str(ROOT / "app.py"), "http://169.254.169.254/x.png", "../../etc/passwd", "\0", ["a"]],
)
def test_an_upload_may_not_name_a_file_or_an_address(web, path):
    said = ask(web, data={"act": {"block": "upload", "data": path}}).json()
    assert said["said"] and not said["state"]["query"].startswith("upload:")
    assert (
        "root:" not in json.dumps(said)
        and "argparse" not in json.dumps(said)
        and Path("/etc/passwd").exists()
    )
    assert (ROOT / "app.py").exists()


def test_an_upload_that_is_too_large_is_refused(web):
    answer = web.post("gradio_api/upload", files={"files": ("big.png", bytes(20 * 2**20), "image/png")})
    assert answer.status_code == 413
    small = web.post(
        "gradio_api/upload",
        files={"files": ("small.png", png(Image.effect_noise((64, 64), 90)), "image/png")},
    )
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


# ---- what strangers try ----------------------------------------------------------------------------------------------

OUTSIDE = [
    "/etc/passwd",
    str(ROOT / "app.py"),
    str(ROOT / "checkpoints" / "info_nce" / "run.json"),
    "/proc/self/environ",
]


@pytest.mark.parametrize("path", OUTSIDE)
def test_files_outside_the_served_folders_are_refused(web, path):
    for way in (path, quote(path, safe=""), f"//{path}", f"file://{path}"):
        answer = web.get(f"gradio_api/file={way}")
        assert answer.status_code in (400, 403, 404), (way, answer.status_code)
        assert "root:" not in answer.text and "argparse" not in answer.text


def test_only_the_files_of_the_page_are_served_by_name(web):
    shown = ask(web, data={"state": {"tab": "search"}}).text
    address = shown[shown.index("kept/thumbnails") :].split('"')[0]
    answer = web.get(address)
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/webp"
    assert Image.open(io.BytesIO(answer.content)).format == "WEBP"
    folder = Path(os.environ["XMR_CACHE"]) / "thumbnails"
    on_disk = folder / address.removeprefix("kept/thumbnails/")
    assert web.get(f"gradio_api/file={on_disk}").status_code in (403, 404)
    name = address.rpartition("/")[0]
    for up in ("/..", "/%2e%2e", "/..%2f..", "/%252e%252e", "/....//"):
        for depth in (1, 4, 12):
            got = web.get(f"{name}{up * depth}/etc/passwd")
            assert got.status_code in (400, 403, 404) and "root:" not in got.text, (up, depth)
    for path in (
        "kept/thumbnails/",
        "kept/maps/",
        "kept/verdicts.sqlite",
        "kept/thumbnails/%00.webp",
        f"kept/maps/{'x' * 5000}.bin",
    ):
        assert web.get(path).status_code == 404
    # Neither is a link that lies in it, put there by somebody else, a way out, nor a file of another kind.
    for trap, target in (
        (on_disk.parent / "trap.webp", "/etc/passwd"),
        (folder / "a.webp", str(ROOT / "app.py")),
    ):
        trap.symlink_to(target)
        try:
            assert web.get(f"kept/thumbnails/{trap.relative_to(folder)}").status_code == 404
        finally:
            trap.unlink()
    (folder / "notes.txt").write_text("x")
    assert web.get("kept/thumbnails/notes.txt").status_code == 404


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


def test_messages_are_text():
    from xmr.page.said import refused

    assert refused("no run <img src=x onerror=alert(1)> & 'more'").message == (
        "no run &lt;img src=x onerror=alert(1)&gt; &amp; 'more'"
    )


# ---- in a browser ----------------------------------------------------------------------------------------------------

HOSTILE = quote("<img src=x onerror=window.pwned=3>${window.pwned=4}\u202e'\";--")


def test_a_link_is_no_way_in(page, url):
    """Every key of every tab with a hostile value: messages name it, and neither they nor the tabs run it or fetch for it."""
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    for tab in views.TABS:
        keys = [key for key, of in TAB_OF.items() if of in ("", tab) and key != "tab"]
        page.goto(f"{url}?v=1&tab={tab}&{'&'.join(f'{key}={HOSTILE}' for key in keys)}")
        expect(page.locator(".corner .note").first).to_be_visible()
        expect(page.locator(f"#panel-{tab} > *").first).to_be_visible()
        page.wait_for_timeout(500)
    for key in ("v", "dataset", "tab"):
        page.goto(f"{url}?{'' if key == 'v' else 'v=1&'}k=5&{key}={HOSTILE}")
        expect(page.locator(".corner")).to_contain_text("<img src=x onerror")
    assert page.locator(".corner img").count() == 0
    assert not [url for url in asked if url.endswith("/x")]


def test_the_page_says_that_its_address_was_too_long(page, url):
    page.goto(f"{url}?v=1&query={'x' * 60_000}")
    expect(page.locator(".corner")).to_contain_text("its 60,010 characters are more than 16,000")
    expect(page.locator("#results .column").first).to_be_visible()
    page.wait_for_function("!location.search.includes('too-long')")
    page.goto(f"{url}?v=1&query={'x' * 5000}&runs={'y' * 3000}")
    expect(page.locator(".corner")).to_contain_text("a value has 5,000 characters; at most 1,000 are read")


def test_a_query_is_said_to_be_too_long_never_cut(web):
    act = {"block": "query", "event": "change", "data": "a red circle " * 400}
    said = ask(web, data={"state": {"tab": "search"}, "act": act}).json()
    assert "The query has 5,200 characters, and at most 500 are read" in said["said"][0]
    assert not said["state"]["query"].startswith("text:")


@pytest.mark.parametrize("kind", ["bomb", "cut", "text", "frames"])
def test_pictures_that_are_none_are_refused_in_words(page, url, tmp_path, kind):
    path = tmp_path / f"{kind}.png"
    if kind == "bomb":
        Image.new("L", (20_000, 20_000)).save(path, compress_level=9)
        assert path.stat().st_size < 2_000_000
    elif kind == "cut":
        path.write_bytes(png(Image.effect_noise((64, 64), 90))[:-40])
    elif kind == "text":
        path.write_text("<?php system('id') ?>")
    else:
        still = Image.new("RGB", (9000, 9000))
        still.save(path, save_all=True, append_images=[still] * 3)
    page.goto(url)
    expect(page.locator("#results .column").first).to_be_visible()
    before = page.locator("#results .asked").inner_text()
    page.locator(".upload input[type=file]").set_input_files(path)
    expect(page.locator(".corner")).to_contain_text("This picture could not be used")
    expect(page.locator("#results .asked")).to_have_text(before)
