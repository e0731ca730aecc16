"""Clips, pictures on both sides, class labels, two-stage search and several datasets: handlers, then journeys."""

from __future__ import annotations

import re
import socket
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from gradio_client import Client
from gradio_client.exceptions import AppError
from PIL import Image
from playwright.sync_api import expect
from starlette.routing import Mount

from tests.fake_workspace import (
    RUNS,
    make_classes,
    make_clips,
    make_other,
    make_pictures,
    make_workspace,
)
from xmr.ui import build_app, launch_options
from xmr.ui.answer import answer
from xmr.ui.asked import Asked, asks_text
from xmr.ui.details import details
from xmr.ui.pages import Deferred, links
from xmr.ui.pair_sides import text_side, visual_side
from xmr.workspace import Query
from xmr.workspace.pages import Page

NAMES = list(RUNS)
MATCHERS = {"siglip": "cross_attention"}  # a pair scorer among the runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory, cache_folder):
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def clips(folder):
    return make_other(folder, make_clips, MATCHERS)


@pytest.fixture(scope="module")
def pictures(folder):
    return make_other(folder, make_pictures)


@pytest.fixture(scope="module")
def classes(folder):
    return make_other(folder, make_classes)


def shown(workspace, direction, index=0):
    return answer(workspace, Asked("item", "test", direction, index=index), NAMES, "info_nce", 12)


# ---- what is shown ------------------------------------------------------------------------------------------


def test_clips_play_on_either_side_and_in_the_details(clips):
    found = shown(clips, "t2v")
    assert {tile["film"]["frames"] for column in found["columns"] for tile in column["tiles"]} == {4}
    assert found["query"]["film"] is None
    asked = shown(clips, "v2t")
    assert asked["query"]["film"]["frames"] == 4
    assert asked["query"]["kind"] == "Clip test-000"
    assert not any(tile["film"] for column in asked["columns"] for tile in column["tiles"])
    assert details(clips, Asked("item", "test", "t2v"), NAMES, 5)["film"]["frames"] == 4
    assert visual_side(clips, "test", 3, "query").film["frames"] == 4


def test_a_run_that_re_ranks_tells_both_ranks(clips):
    found = shown(clips, "t2v")
    before, _, paired = found["columns"]
    assert [column["stage"] for column in found["columns"]] == [
        "",
        "",
        "re-ranks the top 100 of its first stage",
    ]
    assert paired["setup"] == "cross_attention · clips"
    assert before["setup"] == "linear · clips"
    assert not any(tile["first"] for tile in before["tiles"])
    # The first stage's ranks are those of the run's embeddings alone.
    visual, text = clips.embeddings("siglip")
    order = np.argsort(-(visual @ text[0]), kind="stable")
    for tile in paired["tiles"]:
        rank = int(re.fullmatch(r"1st stage #(\d+)", tile["first"]["short"]).group(1))
        assert order[rank - 1] == tile["index"]
        assert tile["first"]["short"] in tile["label"]
    assert [tile["rank"] for tile in paired["tiles"]] != [
        tile["first"]["short"][11:] for tile in paired["tiles"]
    ]
    assert paired["first"]["short"].startswith("1st stage #")
    card = details(clips, Asked("item", "test", "t2v"), NAMES, paired["tiles"][0]["index"])
    assert card["stages"]
    assert [run["first"] == "–" for run in card["runs"]] == [True, True, False]


def test_pictures_stand_on_both_sides_with_their_names_as_words(pictures):
    for direction, kind in (("t2v", "Gallery image"), ("v2t", "Query image")):
        found = shown(pictures, direction)
        assert found["query"]["kind"].startswith(kind)
        tiles = [tile for column in found["columns"] for tile in column["tiles"]]
        assert all(tile["image"] and tile["caption"].startswith("a ") for tile in tiles)
        assert found["query"]["image"] not in {tile["image"] for tile in tiles}
    assert details(pictures, Asked("item", "test", "v2t"), NAMES, 4)["captions"] == [
        pictures.dataset().captions[4]
    ]
    assert text_side(pictures, "test", 4, "candidate").image == (
        f"gradio_api/file={pictures.gallery_thumbnail('test', 4)}"
    )
    assert not asks_text(pictures)
    with pytest.raises(ValueError, match="two styles compares pictures with pictures"):
        pictures.search(Query(text="a ring"), NAMES, "test", "t2v", 3)


def test_classes_are_told_where_texts_say_nothing(classes):
    data = classes.dataset()
    found = shown(classes, "v2t")
    name = data.classes[data.visual_group[0]]
    assert found["query"]["text"] == f"{name} · test-000"
    assert (
        found["query"]["facts"]
        == f"{(data.text_group == data.visual_group[0]).sum()} of 60 texts are of its class"
    )
    assert [entry["words"] for entry in found["legend"]] == ["same class", "another class"]
    assert any(tile["tag"] for column in found["columns"] for tile in column["tiles"])
    for column in found["columns"]:
        same = [tile for tile in column["tiles"] if tile["caption"].startswith(f"{name} · text ")]
        assert [tile for tile in column["tiles"] if tile["tag"] == "same class"] == same
        assert column["hits"] == f"{len(same)} of 12 of its class"
        assert column["spoken"].startswith("first of its class at rank")
    assert not asks_text(classes)


def test_what_a_clip_shows_is_written_once_for_still_and_strip(clips):
    decoded = []

    class Watched(list):
        def __getitem__(self, index):
            decoded.append(index)
            return super().__getitem__(index)

    data = replace(make_clips(), fingerprint="watched")
    object.__setattr__(data, "visuals", Watched(data.visuals))
    workspace = replace(clips, load=lambda split: data, _memo=type(clips._memo)())
    still, strip = workspace.thumbnail("test", 7), workspace.strip("test", 7)
    assert decoded == [7]
    assert workspace.thumbnail("test", 7) == still
    assert decoded == [7]
    with Image.open(strip) as image:
        assert image.size == (4 * 96, 96)
        for at, frame in enumerate(data.visuals[7]):
            cut = np.asarray(image.crop((96 * at, 0, 96 * at + 96, 96)).convert("RGB"), float)
            assert abs(cut - np.asarray(frame, float)).mean() < 4  # lossy
    with Image.open(still) as image:
        assert abs(np.asarray(image, float) - np.asarray(data.visuals[7][2], float)).mean() < 4


# ---- several datasets ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pages(folder, clips, pictures):
    shapes, opened = make_workspace(folder, broken=False), []

    def page(title, path, workspace, prefix):
        # The folders of runs have names of their own.
        runs = {
            f"{prefix}{name}": replace(run, name=f"{prefix}{name}") for name, run in workspace.runs.items()
        }
        renamed = replace(workspace, runs=runs)

        def open_it():
            opened.append(title)
            time.sleep(4)  # longer than Gradio's client lets a page be left for another
            return renamed

        return Page(title, path, dict(runs), open_it)

    made = [
        Page("shapes", "", dict(shapes.runs), lambda: shapes),
        page("sliding shapes", "data-clips", clips, "clip_"),
        page("two styles", "data-styles", pictures, "style_"),
    ]
    return made, opened


@pytest.fixture(scope="module")
def pages_url(pages):
    made, _ = pages
    app = build_app(made[0].workspace, made)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    _, url, _ = app.launch(
        server_name="127.0.0.1",
        server_port=port,
        prevent_thread_lock=True,
        quiet=True,
        **launch_options(made),
    )
    yield url
    app.close(verbose=False)


def test_links_lead_from_every_page_to_every_other(pages):
    made, _ = pages
    assert [link.address for link in links(made, "")] == ["", "./data-clips/", "./data-styles/"]
    assert [link.address for link in links(made, "data-clips")] == ["../", "", "../data-styles/"]


def test_who_opens_a_slow_page_is_told_and_gets_it():
    ready, made = threading.Event(), []

    def make():
        made.append(1)
        ready.wait(20)
        if len(made) == 1:
            raise OSError("the disk is gone")
        app = FastAPI()
        app.get("/")(lambda: "the page")
        return app

    app = FastAPI(routes=[Mount("/data-slow", app=Deferred("<b>slow</b>", make))])
    browser = {"accept": "text/html,application/xhtml+xml"}
    with TestClient(app, raise_server_exceptions=False) as client:

        def told():
            response = client.get("/data-slow/?k=3", headers=browser)
            assert response.status_code == 200
            assert "Opening &lt;b&gt;slow&lt;/b&gt;" in response.text
            assert '<meta http-equiv="refresh" content="1">' in response.text
            assert response.headers["cache-control"] == "no-store"

        told()
        told()
        assert made == [1], "those who ask meanwhile don't make it again"
        ready.set()
        assert client.get("/data-slow/", headers=browser).status_code == 500, "the fault is not hidden"
        ready.clear()
        told()
        ready.set()
        assert client.get("/data-slow/").json() == "the page", "programs wait"
        assert client.get("/data-slow/", headers=browser).json() == "the page"
        assert made == [1, 1]


def test_pages_are_opened_when_they_are_visited_and_endpoints_serve_all_runs(pages, pages_url, page):
    made, opened = pages
    opened.clear()
    client = Client(pages_url, verbose=False)
    runs = {run["name"]: run for run in client.predict(api_name="/runs")}
    assert len(runs) == 9
    assert opened == [], "listing runs loads no dataset"
    assert (runs["clip_siglip"]["matcher"], runs["clip_siglip"]["kind"]) == ("cross_attention", "clip")
    assert (runs["siglip"]["matcher"], runs["siglip"]["kind"]) == ("linear", "image")

    page.goto(pages_url)
    expect(page.locator("#pages")).to_contain_text("sliding shapes 3 runs")
    page.get_by_role("link", name="two styles").click()
    expect(page.get_by_role("heading")).to_have_text("Opening two styles")
    expect(page.locator("#dataset")).to_contain_text("60 query images · 60 gallery images")
    assert opened == ["two styles"]
    found = client.predict("a red ring", ["clip_info_nce", "info_nce"], 5, api_name="/search")["runs"]
    assert list(found) == ["clip_info_nce", "info_nce"]
    assert {result["first_rank"] for result in found["info_nce"]["results"]} == {None}
    assert len(client.predict("clip_info_nce", 0, 4, api_name="/pair_weights")["visuals"]) == 4
    assert client.predict("clip_info_nce", "word_overlap", 2, api_name="/false_negatives")["examined"]
    with pytest.raises(AppError, match="compares pictures with pictures"):
        client.predict("a red ring", ["style_siglip"], 5, api_name="/search")
    with pytest.raises(AppError, match="did you mean 'clip_siglip'"):
        client.predict("a red ring", ["clip_sigllip"], 5, api_name="/search")
    # Both sides are pictures: nothing to type, and the directions are called after the sides.
    expect(page.locator("#query")).to_have_count(0)
    expect(page.locator("#upload")).to_be_visible()
    expect(page.locator("#direction").get_by_label("query → gallery")).to_be_checked()
    expect(page.locator("#results .query .eyebrow")).to_contain_text("Query image test-")
    expect(page.locator("#results .column").first.locator(".tile .frame img")).to_have_count(12)
    page.locator("#results .tile").first.click()
    page.get_by_role("button", name="Find query images for this gallery image").click()
    expect(page.locator("#results .query .eyebrow")).to_contain_text("Gallery image a ")
    page.wait_for_function(
        "[...document.querySelectorAll('#results img')].every(i => i.complete && i.naturalWidth)"
    )
    page.get_by_role("link", name="shapes", exact=True).click()
    expect(page.locator("#dataset")).to_contain_text("60 images · 120 captions")


PLAYS = """film => { const s = getComputedStyle(film);
  return s.display !== 'none' && s.animationName !== 'none' && film.getAnimations().some(a => a.playState === 'running'); }"""


def test_a_clip_plays_on_hover_and_on_focus_and_its_details_show_all_frames(pages_url, page):
    page.goto(f"{pages_url}data-clips/")
    expect(page.locator("#results .column")).to_have_count(3)
    tile = page.locator("#results .tile").first
    film = tile.locator(".film")
    assert not film.evaluate(PLAYS)
    tile.hover()
    assert film.evaluate(PLAYS)
    seen = (
        "film => new Promise(done => setTimeout(() => done(getComputedStyle(film).backgroundPositionX), 200))"
    )
    assert len({film.evaluate(seen) for _ in range(4)}) > 1, "the frames change"
    page.mouse.move(0, 0)
    assert not film.evaluate(PLAYS)
    page.locator("#scale input").focus()
    page.keyboard.press("Tab")
    assert film.evaluate(PLAYS)
    page.emulate_media(reduced_motion="reduce")
    tile.hover()
    assert not film.evaluate(PLAYS)
    page.emulate_media(reduced_motion="no-preference")
    # Both ranks stand on the tiles of the run that re-ranks, and in its head.
    paired = page.locator("#results .column").filter(has=page.locator("h3", has_text="siglip"))
    expect(paired.locator("header")).to_contain_text("cross_attention · clips")
    expect(paired.locator("header")).to_contain_text("re-ranks the top 100")
    expect(paired.locator(".tile .first").first).to_have_text(re.compile(r"^1st stage #\d+$"))
    assert "before its best were scored pair by pair" in paired.locator(".tile .first").first.get_attribute(
        "title"
    )
    tile.click()
    expect(page.locator("dialog.item .frames span")).to_have_count(4)
    expect(page.locator("dialog.item thead")).to_contain_text("1st stage")
    page.get_by_role("button", name="Find captions for this clip").click()
    expect(page.locator("#results .query .eyebrow")).to_contain_text("Clip test-")
    page.wait_for_function(f"({PLAYS})(document.querySelector('#results .query .film'))")
    assert page.evaluate("document.documentElement.scrollWidth") <= 1400
