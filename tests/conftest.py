"""What several test modules share: the app served over the fake workspace, and a browser that watches it."""

from __future__ import annotations

import os

# Tiny models gain nothing from threads, and lose much where two of them wait for a busy core.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlparse

import pytest
from hypothesis import HealthCheck, settings

from tests.hub_server import hub  # noqa: F401  (a fixture)
from xmr.workspace import Workspace

# How long inputs take to be made tells how busy the machine is.
settings.register_profile("xmr", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("xmr")

LONG = ["test_first_hour", "test_page_tabs", "test_page", "test_towers", "test_processes", "test_page_search"]
PATIENCE = 30_000  # ms that a journey waits for the page: the machine may be busy with other tests
# What a page remembers, such as a judge's name, is not for the next test. about:blank has no storage.
FORGET = "() => { try { localStorage.clear(); } catch {} }"
looked_at: list[Any] = []  # the page of the test that runs


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Journeys in a browser take most of the time: an everyday `pytest` leaves them out, `make test` does not, and begins with
    the longest files, so that neither of its two processes is left alone with one."""
    for item in items:
        if "page" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")
    items.sort(key=lambda item: LONG.index(name) if (name := item.path.stem) in LONG else len(LONG))


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Thumbnails of the tests go to a folder of theirs."""
    before = os.environ.get("XMR_CACHE")
    os.environ["XMR_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["XMR_CACHE"]
    else:
        os.environ["XMR_CACHE"] = before


@pytest.fixture(autouse=True)
def measured_anew(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a test measures is not found by others, which change how it is measured; those of a module that `KEEPS` it want
    to find it."""
    with (
        pytest.MonkeyPatch.context() as own
    ):  # not the test's, which other fixtures expect to be undone before them
        if not getattr(request.module, "KEEPS", False):
            folder = tmp_path_factory.getbasetemp() / f"measured-{hash(request.node.nodeid):x}"
            own.setattr("xmr.workspace.memory.cache_folder", lambda: folder)
        yield


@pytest.fixture(autouse=True)
def on_the_processor(request: pytest.FixtureRequest) -> Iterator[None]:
    """The figures of tests are those of the processor, also where there is an accelerator; those marked `gpu` are of that."""
    with pytest.MonkeyPatch.context() as own:
        if "gpu" not in request.keywords:
            own.setattr("xmr.devices.available", lambda: ["cpu"])
        yield


@pytest.fixture(scope="session")
def serve(cache_folder: None) -> Callable[[Workspace], Any]:
    """A context manager that serves a workspace as app.py does, in this process, and gives its address."""
    from xmr.page import build_app, launch_options, page_of  # seconds of import, for browser tests only

    @contextmanager
    def served(workspace: Workspace, stories: Sequence[Any] = ()) -> Iterator[str]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        app = build_app([page_of(workspace)], stories)
        _, url, _ = app.launch(
            server_name="127.0.0.1",
            server_port=port,
            prevent_thread_lock=True,
            quiet=True,
            **launch_options(),
        )
        try:
            yield url
            for page in looked_at:
                leave(page)  # before its server goes
        finally:
            app.close(verbose=False)

    return served


@pytest.fixture(scope="session")
def workspace(cache_folder: None, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The fake workspace, one for all tests that leave it as it is: verdicts of their judges go to a file of its own."""
    from tests.judges import with_store

    return with_store(tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture(scope="session")
def url(serve: Callable[[Workspace], Any], workspace: Workspace) -> Iterator[str]:
    """Address of the app over it, one server for all tests."""
    with serve(workspace) as address:
        yield address


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A browser context; one for all tests, since a cold cache costs each page more than a second."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE)
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.fail("the browser tests need chromium: apt-get install chromium, or set CHROMIUM=/path/to/it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser.new_context()
        browser.close()


def leave(page: Any) -> None:
    """Leaves the page. Fails where markup planted in the fake captions was run, which sets `pwned`."""
    pwned = page.evaluate("window.pwned")
    page.evaluate(FORGET)
    page.goto("about:blank")
    assert pwned is None, "a caption ran as code"


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page of 1400 × 900 px. The test fails on console errors and on requests to anywhere but this machine.

    `page.problems` collects them; a test that provokes one on purpose clears it.
    """
    page = browser.new_page()
    page.set_viewport_size({"width": 1400, "height": 900})
    page.set_default_timeout(PATIENCE)
    problems: list[str] = []
    page.problems = problems
    page.on("console", lambda message: message.type == "error" and problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(f"uncaught: {error}"))

    def look(request: Any) -> None:
        address = urlparse(request.url)
        if address.scheme in ("http", "https") and address.hostname not in ("127.0.0.1", "localhost"):
            problems.append(f"request to {request.url}")

    page.on("request", look)
    looked_at.append(page)
    yield page
    looked_at.remove(page)
    leave(page)
    page.close()
    assert not problems, problems
