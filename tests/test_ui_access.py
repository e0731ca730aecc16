"""For everyone: axe-core finds nothing serious on any tab, the keyboard reaches all, and nothing moves for those who asked
for rest."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

TABS = ["Search", "Results", "Distributions", "Loss weights", "False negatives", "Errors", "Map"]


def findings(page) -> list[str]:
    """What axe calls serious or critical in what we lay out, with the nodes."""
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        f"{one['id']}: {node['target']} {node['html'][:160]} — {node['failureSummary'][:300]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


def settle(page) -> None:
    """Waits until nothing on the tab that is shown is being measured: no chart, table or map."""
    page.wait_for_function(
        "![...document.querySelectorAll('[role=tabpanel]')].some((one) => one.offsetParent && /Measuring …/.test(one.innerText))"
    )
    page.wait_for_timeout(600)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("tab", TABS)
def test_axe_finds_nothing_serious(page, app_url, tab, theme):
    page.goto(f"{app_url}?__theme={theme}")
    expect(page.locator("#results .column")).to_have_count(3)
    page.get_by_role("tab", name=tab, exact=True).click()
    settle(page)
    assert not findings(page)


@pytest.mark.parametrize("tab", ["Search", "False negatives", "Errors"])
def test_axe_finds_nothing_serious_on_a_phone(page, app_url, tab):
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{app_url}?v=1&tab={re.sub(' ', '_', tab.lower())}")
    settle(page)
    assert not findings(page)


def test_an_items_card_is_a_dialog_with_a_name(page, app_url):
    page.goto(app_url)
    page.locator("#results .tile").first.click()
    expect(page.locator("dialog.item")).to_be_visible()
    page.wait_for_timeout(300)
    assert not findings(page)


def test_the_keyboard_reaches_tabs_and_what_is_in_them(page, app_url):
    page.goto(app_url)
    expect(page.locator("#results .column")).to_have_count(3)
    page.get_by_role("tab", name="Search", exact=True).focus()
    for name in TABS[1:]:
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.get_by_role("tab", name=name, exact=True)).to_have_attribute("aria-selected", "true")
    page.get_by_role("tab", name="Distributions", exact=True).focus()
    page.keyboard.press("Enter")
    settle(page)
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        for part in ("distributions-scale", "distributions-chart", "runs", "copy-link"):
            if page.evaluate(f"Boolean(document.activeElement.closest('#{part}'))"):
                reached.add(part)
    assert {"distributions-scale", "distributions-chart"} <= reached, reached


def test_nothing_moves_for_those_who_asked_for_rest(page, app_url):
    page.emulate_media(reduced_motion="reduce")
    page.goto(app_url)
    expect(page.locator("#results .column")).to_have_count(3)
    page.locator("#results .tile").first.hover()
    ours = "#results *, dialog *, .chart *, .cards *"
    moving = page.evaluate(
        # Gradio's own spinners are hidden, and carry svelte's classes.
        f"[...document.querySelectorAll('{ours}')].filter((one) => !/svelte/.test(one.className)).filter((one) => {{ const style = getComputedStyle(one);"
        "return style.animationName !== 'none' || style.transitionDuration.split(',').some((t) => parseFloat(t) > 0.01); })"
        ".map((one) => one.className)"
    )
    assert not moving
