"""Runs that are finished while the app is served appear when the page is loaded again."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from gradio_client import Client
from playwright.sync_api import expect

from tests.conftest import leave
from tests.fake_workspace import RUNS, make_classes, make_dataset, make_run, make_workspace
from xmr import page as the_page
from xmr.checkpoints import RunRefused
from xmr.workspace import pages as workspace_pages
from xmr.workspace.pages import Page, take_in


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder in which runs are finished: a name, and what the folder holds."""
    finished = {}

    def load(path):
        found = finished[Path(path).name]
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(workspace_pages, "load_run", load)
    monkeypatch.setattr(the_page, "ARRIVALS", 0.0)

    def finish(name, found):
        finished[name] = found
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text("{}")

    return tmp_path, finish


def pages_of(tmp_path):
    workspace = make_workspace(tmp_path, broken=False, names=("info_nce", "siglip"))
    page = Page("shapes", "", dict(workspace.runs), lambda: workspace)
    assert page.workspace is workspace
    return workspace, [page]


def a_run(tmp_path, name, make=make_dataset):
    values, noise = RUNS["max_of_hinges"]
    return make_run(name, tmp_path, make("test"), noise, values, loss="max_of_hinges", make=make)


def test_runs_of_the_same_data_join_and_others_are_told(folder):
    tmp_path, finish = folder
    workspace, pages = pages_of(tmp_path)
    assert take_in(pages) == []
    before = workspace.runs
    finish("later", a_run(tmp_path, "later"))
    finish("foreign", a_run(tmp_path, "foreign", make_classes))
    finish("broken", RunRefused("run.json ends in the middle"))
    (tmp_path / "begun").mkdir()  # no run.json yet
    assert take_in(pages) == pages
    assert list(workspace.runs) == ["info_nce", "later", "siglip"] and list(before) == ["info_nce", "siglip"]
    assert "start the app again" in workspace.apart["foreign"][1]
    assert [fault.path.name for fault in workspace.faults] == ["broken"]
    assert take_in(pages) == []  # each is read once


def test_a_page_that_nobody_has_opened_has_them_when_it_is(folder):
    tmp_path, finish = folder
    _, pages = pages_of(tmp_path)
    other = a_run(tmp_path, "first of others", make_classes)
    opened = []
    own = {other.name: other}
    pages.append(Page("labelled", "data-labelled", own, lambda: opened.append(sorted(own)) or "opened"))
    finish("second of others", a_run(tmp_path, "second of others", make_classes))
    assert take_in(pages) == pages and not opened
    assert pages[1].workspace == "opened" and opened == [["first of others", "second of others"]]


def test_they_appear_on_reload_and_can_be_asked(folder, cache_folder, page):
    tmp_path, finish = folder
    workspace, pages = pages_of(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    app = the_page.build_app(pages)
    launched = {"server_name": "127.0.0.1", "server_port": port, "prevent_thread_lock": True, "quiet": True}
    _, url, _ = app.launch(**launched, **the_page.launch_options())
    try:
        page.goto(f"{url}?v=1&runs=siglip")
        expect(page.locator("#results .column")).to_have_count(1)
        finish("later", a_run(tmp_path, "later"))
        page.fill("#runs-input", "later")  # nobody has loaded the page since
        expect(page.locator("#results .column")).to_have_count(1)
        page.goto(f"{url}?v=1&runs=siglip&runs=later")
        expect(page.locator("#results .column:nth-child(2)")).to_contain_text("later")
        leave(page)
        client = Client(url, verbose=False)
        assert [run["name"] for run in client.predict(api_name="/runs")] == ["info_nce", "later", "siglip"]
        found = client.predict("a red ring", ["later"], 3, api_name="/search")["runs"]["later"]
        assert len(found["results"]) == 3
    finally:
        app.close(verbose=False)
