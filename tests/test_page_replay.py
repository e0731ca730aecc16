"""Journeys through a training's moments in a browser, over runs that were trained for it."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests import tiny
from tests.journeys import opened, rest, state_of
from xmr import embedding
from xmr.checkpoints import list_runs
from xmr.workspace import Workspace


@pytest.fixture(scope="module")
def replayed(serve, tmp_path_factory):
    """Address of an app over two runs that can be replayed."""
    folder = tmp_path_factory.mktemp("replayed")
    tiny.fit(tiny.config(), folder / "info_nce")
    tiny.fit(tiny.config(loss="siglip"), folder / "siglip")
    runs = list_runs(folder)[0]
    workspace = Workspace.of(runs, "tiny", load=tiny.dataset, embedder=embedding, checkpoints=folder)
    with serve(workspace) as address:
        yield address


def test_the_slider_leads_through_the_training_by_keyboard_and_a_link_keeps_its_place(page, replayed):
    opened(page, replayed, "distributions")
    slider, place = (
        page.locator("#panel-distributions #moment-input"),
        page.locator("#panel-distributions #moment output"),
    )
    expect(place).to_have_text("the end")
    words = page.locator("#distributions-chart figcaption")
    at_end = words.inner_text()
    slider.focus()
    page.keyboard.press("Home")
    expect(place).to_have_text("before the first step")
    expect(page.locator("#moment-said")).to_contain_text("after 0 steps")
    expect(words).not_to_have_text(at_end)
    page.keyboard.press("ArrowRight")
    expect(slider).to_have_attribute("aria-valuetext", "epoch 0.25")
    page.wait_for_function("() => new URLSearchParams(location.search).get('moment') === '0.25'")
    expect(slider).to_be_focused()
    page.reload()
    expect(place).to_have_text("epoch 0.25")
    # The next tab is at the same moment.
    page.locator("#tab-search").click()
    expect(page.locator("#panel-search #moment output")).to_have_text("epoch 0.25")
    expect(page.locator("#query")).to_be_hidden()
    page.locator("#panel-search #moment-input").press("End")
    expect(page.locator("#query")).to_be_visible()
    rest(page)
    assert "moment" not in state_of(page)


def test_play_goes_on_when_a_moment_is_drawn_and_space_pauses(page, replayed):
    opened(page, replayed, "distributions")
    asked = []
    page.on("request", lambda request: "/component_server" in request.url and asked.append(request.url))
    play = page.locator("#panel-distributions #moment button")
    place = page.locator("#panel-distributions #moment output")
    play.focus()
    page.keyboard.press("Space")
    expect(play).to_have_text("Pause")
    expect(place).to_have_text("epoch 0.5")
    page.keyboard.press("Space")
    expect(play).to_have_text("Play")
    rest(page)
    held = place.inner_text()
    page.wait_for_timeout(1200)
    expect(place).to_have_text(held)
    page.keyboard.press("Space")
    expect(place).to_have_text("the end")
    expect(play).to_have_text("Play")
    options = page.locator("#panel-distributions #moment-input").evaluate("slider => Number(slider.max) + 1")
    assert len(asked) <= options + 1  # one question a moment
    page.locator("#tab-results").click()
    expect(page.locator("#panel-results #moment")).to_have_count(0)


def test_a_phone_has_the_slider_and_errors_have_strips(page, replayed):
    page.set_viewport_size({"width": 390, "height": 844})
    opened(page, replayed, "map")
    expect(page.locator("#panel-map #moment-input")).to_be_visible()
    page.locator("#panel-map #moment-input").press("Home")
    expect(page.locator("#panel-map #moment output")).to_have_text("before the first step")
    rest(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    opened(page, replayed, "errors", at=5)
    expect(page.locator("#errors-list .strip").first).to_contain_text("A")
    page.select_option("#errors-learned select", index=2)
    expect(page.locator("#errors-listed")).to_contain_text("Listed: A learned early")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
