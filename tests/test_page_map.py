"""The map in a browser: the lasso, the keyboard, a point's card, and which files can be read."""

from __future__ import annotations

import httpx
import numpy as np
from playwright.sync_api import expect

from tests.fake_workspace import MARKUP
from tests.journeys import opened, rest, serious, state_of
from xmr.cache import address
from xmr.views.map_items import PAGE
from xmr.workspace.maps import maps_folder, points


def open_map(page, url, **keys):
    opened(page, url, "map", **keys)
    page.wait_for_selector("#map-points .pm[data-drawn]")
    return page.locator("#map-points canvas.over")


def lasso(page, canvas, inset=3):
    """Drags around the whole map."""
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    left, top = box["x"] + inset, box["y"] + inset
    right, bottom = box["x"] + box["width"] - inset, box["y"] + box["height"] - inset
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in ((right, top), (right, bottom), (left, bottom)):
        page.mouse.move(x, y, steps=4)
    page.mouse.up()


def test_a_lasso_lists_what_is_inside_and_a_tile_opens_search(page, url):
    canvases = open_map(page, url)
    expect(canvases).to_have_count(2)
    expect(page.locator("#map-tiles")).to_contain_text("Nothing is selected")
    lasso(page, canvases.nth(1))
    said, found = page.locator("#map-said"), page.locator("#map-tiles li")
    expect(said).to_contain_text("Selected: 60 images and 120 captions. Of the 180 items")
    expect(said).to_contain_text("100% under max_of_hinges and 100% under info_nce are selected ones")
    expect(found).to_have_count(PAGE)
    expect(found.locator("img")).to_have_count(PAGE // 2)
    # Only captions: the images are off the map, and the lasso leaves them alone.
    page.get_by_role("button", name="60 images").click()
    lasso(page, canvases.nth(0))
    expect(said).to_contain_text("Selected: 120 captions.")
    expect(found.locator("img")).to_have_count(0)
    name = found.locator(".text").first.inner_text()
    found.locator("button:not(.poster)").first.click()
    expect(page.locator("#query")).to_have_value(name)
    page.go_back()  # what was selected is there still
    expect(said).to_contain_text("Selected: 120 captions.")


def test_the_keyboard_selects_the_nearest_and_links_bring_the_view_back(page, url):
    canvases = open_map(page, url, map_a="siglip", map_b="info_nce", map_colour="shape")
    expect(page.locator("#map-points h3")).to_have_text(["Asiglip", "Binfo_nce"])
    expect(page.get_by_role("group", name="Only these: shape").get_by_role("button")).to_have_count(4)
    canvas, said = canvases.first, page.locator("#map-said")
    canvas.focus()
    for key in ("ArrowRight", "+", "Enter"):
        page.keyboard.press(key)
    expect(said).to_contain_text("50 items")
    expect(page.locator("#map-tiles li")).to_have_count(PAGE)
    # Another run: the same items stay selected.
    page.select_option("#map-b select", "max_of_hinges")
    expect(said).to_contain_text("under max_of_hinges")
    expect(said).to_contain_text("50 items")
    canvas.focus()
    page.keyboard.press("Escape")
    expect(page.locator("#map-tiles")).to_contain_text("Nothing is selected")
    kept = state_of(page)
    assert (kept["map_a"], kept["map_b"], kept["map_colour"]) == (["siglip"], ["max_of_hinges"], ["shape"])
    page.reload()
    expect(page.locator("#map-points h3")).to_have_text(["Asiglip", "Bmax_of_hinges"])
    expect(page.locator("#map-colour select")).to_have_value("shape")


def test_a_point_says_what_it_is_and_markup_stays_text(page, url, workspace):
    canvases = open_map(page, url, map_b="-")
    expect(canvases).to_have_count(1)
    page.get_by_role("button", name="60 images").click()
    canvas, seen = canvases.first, page.locator("#map-point")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    # Where the fourth picture's second caption stands, as the page places it: the whole map fills 92% of the panel.
    file = points(workspace, "max_of_hinges", "test", "pca")
    steps = np.frombuffer(file.path.read_bytes(), "<u2").reshape(-1, 2)
    every = np.hstack([steps, np.ones((len(steps), 1))]) @ file.place
    low, high = every.min(0), every.max(0)
    scale = 0.92 * min(np.array([box["width"], box["height"]]) / (high - low))
    x, y = (every[60 + 7] - (low + high) / 2) * scale
    page.mouse.click(box["x"] + box["width"] / 2 + x, box["y"] + box["height"] / 2 - y)
    expect(seen.locator("p", has_text="<script>")).to_contain_text(MARKUP)
    assert seen.locator("script, b, img[src=x]").count() == 0
    seen.get_by_role("button", name="Open in Search").click()
    expect(page.locator("#results .asked")).to_contain_text("<script>")


def test_the_map_follows_dark_mode_width_and_split(page, url):
    canvases = open_map(page, url)
    corner = "[...document.querySelector('#map-points canvas.base').getContext('2d').getImageData(2, 2, 1, 1).data]"
    assert page.evaluate(corner) == [255, 255, 255, 255]
    page.evaluate("document.body.classList.toggle('dark')")
    page.wait_for_function(f"({corner})[0] === 16")
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_function(
        """() => { const [a, b] = [...document.querySelectorAll('#map-points .stage')].map((one) => one.getBoundingClientRect());
        return b.top > a.bottom && document.querySelector('#map-points .pm').scrollWidth <= 390; }"""
    )
    page.set_viewport_size({"width": 1400, "height": 900})
    rest(page)
    lasso(page, canvases.first)
    expect(page.locator("#map-tiles li")).to_have_count(PAGE)
    page.select_option("#split select", label="validation · 20 images")
    page.get_by_role("button", name="20 images").wait_for()
    expect(page.locator("#map-tiles")).to_contain_text("Nothing is selected")


def test_only_the_maps_of_the_folder_can_be_read(url, workspace):
    file = points(workspace, "info_nce", "test", "pca")
    assert httpx.get(f"{url}{address(file.path)}").content == file.path.read_bytes()
    beside = maps_folder(workspace).parent / "secret.txt"
    beside.write_text("secret")
    for path in ("kept/secret.txt", "kept/maps/../secret.txt", "kept/maps", f"gradio_api/file={beside}"):
        assert httpx.get(f"{url}{path}", follow_redirects=True).status_code in (403, 404)


def test_pictures_are_seen_in_a_map_that_is_zoomed_in_and_one_map_turns_into_the_other(page, url):
    page.emulate_media(reduced_motion="reduce")
    canvases = open_map(page, url, map_a="siglip", map_b="info_nce")
    canvas = canvases.first
    assert int(canvas.get_attribute("data-words")) > 0
    page.get_by_role("button", name="Words", exact=True).click()
    expect(page.get_by_role("button", name="Words", exact=True)).to_have_attribute("aria-pressed", "false")
    assert canvas.get_attribute("data-pictures") == "0"
    canvas.focus()
    for _ in range(3):
        page.keyboard.press("+")
    page.wait_for_function(
        "() => Number(document.querySelector('#map-points canvas.over').dataset.pictures) > 0"
    )
    way, title = page.get_by_label("From map A to map B"), page.locator("#map-points h3").first
    before = page.locator("#map-points canvas.base").first.screenshot()
    page.get_by_role("button", name="Turn A into B and back").click()
    expect(way).to_have_value("1")  # at once: less motion is wished for
    expect(title).to_have_text("Asiglip → info_nce")
    rest(page)
    assert page.locator("#map-points canvas.base").first.screenshot() != before
    page.get_by_role("button", name="Turn A into B and back").press("Enter")
    expect(way).to_have_value("0")
    expect(title).to_have_text("Asiglip")
    way.focus()
    page.keyboard.press("ArrowRight")
    expect(way).to_have_attribute("aria-valuetext", "1 per cent of the way")
    assert not serious(page)
