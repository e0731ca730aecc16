"""What journeys in a browser share: they open a link, wait for the page to rest, and click in charts."""

from __future__ import annotations

from urllib.parse import parse_qs, urlparse

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from xmr import views

TABS = {id: title for id, (title, _) in views.TABS.items()}

PLACE = """([chart, x, y]) => { const plot = document.querySelector(`#${chart} .plot`);
    const box = plot.getBoundingClientRect(), {xaxis, yaxis} = plot._fullLayout;
    return [box.x + xaxis._offset + xaxis.d2p(x), box.y + yaxis._offset + yaxis.d2p(y)]; }"""
HOVERED = "(chart) => Boolean(document.querySelector(`#${chart} .plot`)._hoverdata?.length)"


def opened(page, url, tab="search", **keys):
    """Opens a link and waits until its tab is there and rests."""
    more = "".join(f"&{key}={value}" for key, value in keys.items())
    page.goto(f"{url}?v=1&tab={tab}{more}")
    expect(page.locator(f"#panel-{tab} > *").first).to_be_visible()
    rest(page, 50)


def rest(page, quiet=400):
    """Waits until no answer is awaited, nothing is measured and the charts in sight are drawn.

    What somebody has just done is asked within `quiet` ms, and only then the page says that it waits.
    """
    page.wait_for_timeout(quiet)
    page.wait_for_function(
        """() => !document.querySelector('.xmr.waits')
        && ![...document.querySelectorAll('[role=tabpanel]')].some((one) => one.offsetParent && /Measuring …/.test(one.innerText))
        && ![...document.querySelectorAll('.plot:not([data-drawn])')].some((one) => {
            const { top, bottom } = one.getBoundingClientRect(); return one.offsetParent && top < innerHeight && bottom > 0; })"""
    )


def state_of(page):
    """What the address holds."""
    return parse_qs(urlparse(page.url).query)


def serious(page):
    """What axe finds on the page that is serious."""
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        f"{one['id']}: {node['target']} {node['html'][:160]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


def see_chart(page, chart):
    """Scrolls to the chart of that id, which is not drawn out of sight, and waits until it is drawn."""
    plot = page.locator(f"#{chart} .plot")
    plot.scroll_into_view_if_needed()
    page.wait_for_selector(f"#{chart} .plot[data-drawn]")
    return plot


def click_in(page, chart, x, y):
    """Clicks a place of a chart, in the units of its axes, once plotly has seen a point hovered there."""
    see_chart(page, chart)
    for attempt in range(100):
        at = page.evaluate(PLACE, [chart, x, y])
        page.mouse.move(at[0] - attempt % 2, at[1])
        page.wait_for_timeout(100)
        if page.evaluate(HOVERED, chart):
            page.mouse.click(*at)
            return
    raise AssertionError(f"nothing of {chart} is at {x}, {y}")
