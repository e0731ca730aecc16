"""Charts are drawn by the page itself until plotly.js is there."""

import re

import pytest
from playwright.sync_api import expect


@pytest.mark.parametrize(
    ("tab", "marks"),
    [("results", "circle, path"), ("distributions", "path"), ("weights", "path"), ("errors", "rect")],
)
def test_what_is_in_sight_is_drawn_before_plotly_is_there_and_keeps_its_size(page, url, tab, marks):
    held = []
    page.route(re.compile("plotly"), lambda route: held.append(route))
    page.goto(f"{url}?v=1&tab={tab}")
    plot = page.locator("[role=tabpanel]:visible .plot").first
    sketch = plot.locator("svg.sketch")
    expect(sketch).to_be_visible()
    assert sketch.locator(marks).count() and sketch.locator("text").count() > 3  # what is drawn, and its axes
    expect(page.locator("[role=tabpanel]:visible figcaption").first).not_to_have_text("Measuring …")
    before = plot.bounding_box()
    assert plot.get_attribute("data-drawn") is None
    held[0].continue_()
    expect(plot).to_have_attribute("data-drawn", re.compile("[0-9]"))
    expect(sketch).to_have_count(0)
    assert plot.bounding_box()["height"] == before["height"]


def test_without_plotly_the_sketch_stays_away_and_words_say_so(page, url):
    page.route(re.compile("plotly"), lambda route: route.abort())
    page.goto(f"{url}?v=1&tab=distributions")
    expect(page.locator("[role=tabpanel]:visible figcaption").first).to_contain_text("The drawing is missing")
    page.problems.clear()  # the request that failed
