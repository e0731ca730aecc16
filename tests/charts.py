"""Charts in the browser tests: those out of sight are not drawn."""

from __future__ import annotations

PLACE = """([chart, x, y]) => { const plot = document.querySelector(`#${chart} .plot`);
    const box = plot.getBoundingClientRect(), {xaxis, yaxis} = plot._fullLayout;
    return [box.x + xaxis._offset + xaxis.d2p(x), box.y + yaxis._offset + yaxis.d2p(y)]; }"""
HOVERED = "(chart) => Boolean(document.querySelector(`#${chart} .plot`)._hoverdata?.length)"


def see_chart(page, chart):
    """Scrolls to the chart of that id and waits until it is drawn."""
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
