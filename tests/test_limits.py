"""What a server takes from visitors, in public and elsewhere: the table in the docs, and that doors and endpoints keep to it."""

import json
import re
from pathlib import Path

import httpx
import pytest
from starlette.datastructures import Headers

from tests.fake_workspace import make_workspace
from tests.test_doors import ask, png, upload
from xmr import allowed
from xmr.allowed import allow_only, close_list, is_allowed, why_not
from xmr.limits import LIMITS, PUBLIC, QUESTIONS, Limit, is_public
from xmr.page import doors, rates
from xmr.page.rates import Rate, visitor_of

SPACE = Path(__file__).parent.parent / "docs" / "space.md"


@pytest.fixture
def anybody(monkeypatch):
    monkeypatch.setenv(PUBLIC, "1")


def test_the_table_in_the_docs_has_every_limit_with_both_values():
    rows = re.findall(
        r"^\| ([^|]+) \| ([\d,]+|no limit) \| ([\d,]+) \|$", SPACE.read_text("utf-8"), re.MULTILINE
    )
    told = {
        what: [None if one == "no limit" else int(one.replace(",", "")) for one in both]
        for what, *both in rows
    }
    assert told == {one.what: [one.usual, one.public] for one in LIMITS} and len(told) == len(LIMITS)
    assert all(one.public and one.public <= (one.usual or one.public) for one in LIMITS)


@pytest.mark.parametrize(
    ("environment", "public"),
    [({}, False), ({"SPACE_ID": "me/lab"}, True), ({"SPACE_ID": ""}, False), ({PUBLIC: "1"}, True), ({PUBLIC: "0"}, False)],
)  # fmt: skip
def test_a_space_is_public_and_whoever_is_told_so(monkeypatch, environment, public):
    for name in ("SPACE_ID", PUBLIC):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_public() is public
    assert Limit("", 3, 2).now == (2 if public else 3)


def test_a_rate_is_of_each_visitor_and_forgets(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(rates.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(rates, "MOST_VISITORS", 3)
    rate = Rate(Limit("", 2, 2), 60)
    assert [rate.takes("a") for _ in range(3)] == [True, True, False]
    assert rate.takes("b")
    now[0] = 59.9
    assert not rate.takes("a")
    now[0] = 60.0
    assert [rate.takes("a") for _ in range(3)] == [True, True, False]
    for other in "cde":  # more than are kept
        assert rate.takes(other)
    assert rate.takes("a")
    assert all(Rate(Limit("", None, 1), 60).takes("a") for _ in range(1000))


def test_on_a_space_its_proxy_tells_who_asks(monkeypatch):
    scope, headers = {"client": ("10.0.0.1", 1)}, Headers({"X-Forwarded-For": "1.2.3.4, 10.0.0.2"})
    monkeypatch.delenv("SPACE_ID", raising=False)
    assert visitor_of(scope, headers) == "10.0.0.1"
    monkeypatch.setenv("SPACE_ID", "me/lab")
    assert visitor_of(scope, headers) == "1.2.3.4"
    assert visitor_of({"client": None}, Headers({})) == ""


def test_in_public_uploads_questions_and_answers_are_smaller(serve, tmp_path, anybody, monkeypatch):
    monkeypatch.setattr(doors, "UPLOADS", Limit("", None, 2))
    workspace = make_workspace(tmp_path)
    with serve(workspace) as url, httpx.Client(base_url=url, timeout=60) as web:
        assert ask(web, data="x" * 300_000).status_code == 413
        assert web.post("gradio_api/upload", content=b"x" * 11_000_000).status_code == 413
        for name, arguments, said in (
            ("search", ["a ring", [], 101], "k must be 1 to 100, found the number 101"),
            ("search", ["a ring", ["x"] * 51, 3], "runs has 51 names, and at most 50 are read"),
            ("pair_weights", ["siglip", 0, 65], "batch_size must be 2 to 64"),
            ("false_negatives", ["siglip", "caption_similarity", 101], "limit must be 1 to 100"),
        ):
            event = web.post(f"gradio_api/call/{name}", json={"data": arguments}).json()["event_id"]
            assert said in web.get(f"gradio_api/call/{name}/{event}").text
        answers = [upload(web, png(picture())) for _ in range(2)]
        assert [one.status_code for one in answers] == [200, 429]  # one was refused for its size, and counts
        assert "may upload 2 pictures an hour" in answers[1].json()["detail"]


def picture():
    from PIL import Image

    return Image.new("L", (8, 8))


def test_who_asks_too_often_is_told_by_page_and_endpoint(serve, tmp_path, anybody, monkeypatch):
    monkeypatch.setattr(doors, "QUESTIONS", Limit(QUESTIONS.what, None, 5))
    workspace = make_workspace(tmp_path)
    with serve(workspace) as url, httpx.Client(base_url=url, timeout=60) as web:
        for _ in range(5):
            assert ask(web, data={}).json()["blocks"]
        words = "One visitor may ask 5 questions a minute here; go on in a minute."
        assert ask(web, data={}).json() == {"fault": words}
        refused = web.post("gradio_api/call/search", json={"data": ["a ring", [], 3]})
        assert refused.status_code == 429 and refused.json()["detail"] == words
        assert web.get("config").status_code == 200  # the page itself can be had


def test_in_public_the_list_of_encoders_is_that_of_the_runs(tmp_path):
    try:
        allow_only(["hf-hub:me/mine", "hf-hub:me/other"])
        close_list({"hf-hub:me/mine", "ViT-B-32/openai", "hf-hub:stranger/own", ""})
        assert is_allowed("hf-hub:me/mine") and is_allowed("ViT-B-32/openai")
        assert is_allowed("blocks") and is_allowed(f"local-dir:{allowed.SHIPPED / 'blocks'}")
        assert "no run of this public server was made with it" in why_not("hf-hub:me/other")
        assert "--allow-encoders" in why_not("hf-hub:stranger/own")  # named by a run, and by nobody else
        for other in ("ViT-L-14/openai", f"local-dir:{tmp_path}", "..", "hf-hub:me/other"):
            assert not is_allowed(other)
    finally:
        allow_only(None)
        close_list(None)
    assert is_allowed("ViT-L-14/openai")


def test_in_public_commands_have_no_folders(anybody, monkeypatch):
    from xmr.page import told

    block = {"kind": "code", "text": "python train.py --out /srv/runs/new"}
    assert json.dumps(told([block])) == json.dumps([{"kind": "code", "text": "python train.py --out new"}])
    monkeypatch.setenv(PUBLIC, "0")
    assert told([block]) == [block]
