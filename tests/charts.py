"""Charts in the browser tests: those out of sight are not drawn."""

from __future__ import annotations


def see_chart(page, chart):
    """Scrolls to the chart of that id and waits until it is drawn."""
    plot = page.locator(f"#{chart} .plot")
    plot.scroll_into_view_if_needed()
    page.wait_for_selector(f"#{chart} .plot[data-drawn]")
    return plot
