"""Charts are drawn by the page itself until plotly.js is there."""

import re

import pytest
from playwright.sync_api import expect

from tests.journeys import opened, see_chart


def let_come(page, held):
    """Lets plotly.js come, which is asked for a while after a chart was drawn."""
    for _ in range(200):
        if held:
            break
        page.wait_for_timeout(50)
    held[0].continue_()


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
    let_come(page, held)
    expect(plot).to_have_attribute("data-drawn", re.compile("[0-9]"))
    expect(sketch).to_have_count(0)
    assert plot.bounding_box()["height"] == before["height"]


def test_without_plotly_the_sketch_stays_away_and_words_say_so(page, url):
    page.route(re.compile("plotly"), lambda route: route.abort())
    page.goto(f"{url}?v=1&tab=distributions")
    expect(page.locator("[role=tabpanel]:visible figcaption").first).to_contain_text("The drawing is missing")
    page.problems.clear()  # the request that failed


def test_bars_are_hatched_before_plotly_is_there_as_after(page, url):
    held = []
    page.route(re.compile("plotly"), lambda route: held.append(route))
    page.goto(f"{url}?v=1&tab=errors")
    sketch = page.locator("#errors-buckets svg.sketch")
    expect(sketch).to_be_visible()
    shapes = sketch.evaluate(
        "(svg) => [...svg.querySelectorAll('pattern path')].map((path) => path.getAttribute('d'))"
    )
    assert len(set(shapes)) == 2 and len(shapes) == 4  # only A and only B, in the bar and in the legend
    let_come(page, held)


@pytest.mark.parametrize(
    ("tab", "chart"), [("distributions", "distributions-chart"), ("weights", "weights-comparison")]
)
@pytest.mark.parametrize("width", [390, 1024])
def test_a_legend_of_several_lines_touches_no_curve(page, url, tab, chart, width):
    page.set_viewport_size({"width": width, "height": 844})
    opened(page, url, tab)
    plot = see_chart(page, chart)
    below, room = plot.evaluate(
        """(plot) => [Math.max(...[...plot.querySelectorAll('.legendtext')].map((one) => one.getBoundingClientRect().bottom))
            - plot.getBoundingClientRect().top, plot._fullLayout._size.t]"""
    )
    assert below <= room
