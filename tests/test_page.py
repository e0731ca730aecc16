"""Journeys through the page in a browser, over the fake workspace. The `page` fixture fails on console errors, on requests
to elsewhere and on captions that ran as code."""

from __future__ import annotations

import json
import re
import subprocess
import time
from threading import Event

import pytest
from playwright.sync_api import expect

from tests.journeys import TABS, click_in, opened, rest, see_chart, serious, state_of
from xmr import page as the_page
from xmr.page import _script, build_app

# ---- the page ----------------------------------------------------------------------------------------------------


def test_the_scripts_are_one_valid_file_and_the_configuration_is_small(workspace, tmp_path):
    (tmp_path / "page.js").write_text(_script())
    subprocess.run(["node", "--check", str(tmp_path / "page.js")], check=True)
    config = json.dumps(build_app([the_page.page_of(workspace)]).get_config_file(), default=str)
    assert len(config) < 60_000


@pytest.mark.parametrize("tab", TABS)
def test_every_tab_opens_by_its_link_and_by_hand_and_fits_any_width(page, url, tab):
    opened(page, url, tab)
    expect(page.locator(f"#tab-{tab}")).to_have_attribute("aria-selected", "true")
    assert page.title().startswith(TABS[tab])
    for width in (1400, 1024, 390):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.set_viewport_size({"width": 1400, "height": 900})
    other = next(name for name in TABS if name != tab)
    page.click(f"#tab-{other}")
    expect(page.locator(f"#panel-{other}")).to_be_visible()
    expect(page.locator(f"#panel-{tab}")).to_be_hidden()


SHIFTS = """window.shifted = 0;
new PerformanceObserver((list) => list.getEntries().forEach((one) => { if (!one.hadRecentInput) window.shifted += one.value; }))
  .observe({ type: 'layout-shift', buffered: true });"""


@pytest.mark.parametrize("width", [1400, 390])
@pytest.mark.parametrize("tab", TABS)
def test_hardly_anything_moves_while_a_page_comes(page, url, tab, width):
    page.set_viewport_size({"width": width, "height": 900})
    page.add_init_script(SHIFTS)
    opened(page, url, tab)
    page.wait_for_timeout(1500)
    assert page.evaluate("window.shifted") <= 0.05


def test_all_tabs_are_there_on_a_phone(page, url):
    page.set_viewport_size({"width": 390, "height": 844})
    opened(page, url)
    for tab in TABS:
        expect(page.locator(f"#tab-{tab}")).to_be_visible()
    expect(page.locator("#runs")).to_be_hidden()
    page.get_by_role("button", name="Data and runs").click()
    expect(page.locator("#runs")).to_be_visible()


def test_back_and_forward_walk_through_what_was_chosen(page, url):
    opened(page, url)
    first = state_of(page)["query"]
    page.click("#next")
    page.wait_for_function(f"new URLSearchParams(location.search).get('query') !== {json.dumps(first[0])}")
    second = state_of(page)["query"]
    page.click("#tab-distributions")
    expect(page.locator("#distributions-chart")).to_be_visible()
    page.go_back()
    expect(page.locator("#results .column").first).to_be_visible()
    assert state_of(page)["query"] == second
    page.go_back()
    page.wait_for_function(f"new URLSearchParams(location.search).get('query') === {json.dumps(first[0])}")
    page.go_forward()
    page.wait_for_function(f"new URLSearchParams(location.search).get('query') === {json.dumps(second[0])}")


def test_the_latest_question_stands_however_late_an_earlier_answer_comes(page, url, monkeypatch):
    opened(page, url)
    real = the_page.view

    def slow(pages, state, act=None, visitor=None):
        if act and act.get("data") == "a red ring":
            time.sleep(2)
        return real(pages, state, act, visitor)

    monkeypatch.setattr(the_page, "view", slow)
    page.fill("#query", "a red ring")
    page.press("#query", "Enter")
    expect(page.locator(".xmr")).to_have_class(re.compile("waits"), timeout=1500)
    expect(page.locator(".busy")).to_contain_text("Working")
    page.fill("#query", "a blue star")
    page.press("#query", "Enter")
    expect(page.locator("#results .asked")).to_have_text("a blue star")
    page.wait_for_timeout(2500)
    expect(page.locator("#results .asked")).to_have_text("a blue star")
    assert state_of(page)["query"] == ["text:a blue star"]


def test_a_slow_answer_can_be_cancelled_and_a_lost_one_tried_again(page, url, monkeypatch):
    opened(page, url)
    before = page.locator("#results .asked").inner_text()
    real, lost, late = the_page.view, [True], Event()

    def answer(pages, state, act=None, visitor=None):
        if act and act.get("block") == "random":
            late.wait(60)
        if act and act.get("data") == "lost" and lost:
            lost.clear()
            raise RuntimeError("lost on purpose")
        return real(pages, state, act, visitor)

    monkeypatch.setattr(the_page, "view", answer)
    page.click("#random")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".xmr")).not_to_have_class(re.compile("waits"))
    expect(page.locator("#random")).to_be_focused()
    late.set()
    page.wait_for_timeout(2000)
    expect(page.locator("#results .asked")).to_have_text(before)
    page.fill("#query", "lost")
    page.press("#query", "Enter")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#results .asked")).to_have_text("lost")
    page.problems.clear()  # the lost answer is a status 500


def test_what_a_link_names_and_is_not_there_is_said_as_text(page, url):
    opened(page, url, "weights", runs="siglip", loss="run%20%3Cimg%20src=x%20onerror=alert(1)%3E", k="99")
    corner = page.locator(".corner")
    expect(corner).to_contain_text("k must be 4 to 24")
    expect(corner).to_contain_text("<img src=x onerror=alert(1)>")
    assert page.locator(".corner img").count() == 0
    assert "k" not in state_of(page)


def test_the_link_that_is_copied_is_the_view(page, url, browser):
    browser.grant_permissions(["clipboard-read", "clipboard-write"])
    opened(page, url, "distributions", density="z", runs="siglip")
    page.click("#copy-link")
    copied = page.evaluate("navigator.clipboard.readText()")
    page.goto(copied)
    expect(page.get_by_label("z-scores per query, to compare shapes")).to_be_checked()
    assert state_of(page)["runs"] == ["siglip"]


# ---- the sidebar -------------------------------------------------------------------------------------------------


def test_runs_are_added_by_typing_and_taken_out(page, url):
    opened(page, url, runs="siglip")
    page.fill("#runs-input", "info_nce")
    expect(page.locator("#results .column")).to_have_count(2)
    page.get_by_role("button", name="Take out siglip").click()
    expect(page.locator("#results .column")).to_have_count(1)
    assert state_of(page)["runs"] == ["info_nce"] and state_of(page)["baseline"] == ["info_nce"]
    page.get_by_role("button", name="Take out info_nce").click()
    expect(page.locator("#results")).to_contain_text("No run is chosen")
    assert state_of(page)["runs"] == ["-"]


def test_the_number_of_results_follows_its_slider(page, url):
    opened(page, url)
    page.locator("#k-input").focus()
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    expect(page.locator("#results .column").first.locator(".tiles .tile")).to_have_count(8)
    assert state_of(page)["k"] == ["8"]


# ---- search ------------------------------------------------------------------------------------------------------


def test_an_item_has_a_card_that_leads_to_its_pair(page, url):
    opened(page, url)
    page.locator("#results .tile").first.click()
    card = page.locator("dialog.item")
    expect(card).to_be_visible()
    first = card.locator("h3").inner_text()
    page.keyboard.press("ArrowRight")
    expect(card.locator("h3")).not_to_have_text(first)
    card.get_by_role("button", name="Open in Loss weights").click()
    expect(page.locator("#weights-pair article")).to_be_in_viewport()
    expect(page.locator("#weights-pair")).to_be_focused()
    expect(page.locator(".busy")).to_contain_text("Shown: ")
    assert state_of(page)["tab"] == ["weights"] and state_of(page)["pair_visual"]
    page.go_back()
    expect(page.locator("#results .column").first).to_be_visible()


def test_the_keyboard_finds_the_query_the_tabs_and_the_results(page, url):
    opened(page, url, "distributions")
    page.keyboard.press("/")
    expect(page.locator("#query")).to_be_focused()
    page.locator("#tab-search").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#tab-results")).to_be_focused()
    expect(page.locator("#tab-results")).to_have_attribute("aria-selected", "true")
    page.reload()
    expect(page.locator("#panel-results > *").first).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    before = page.url
    page.keyboard.press("Enter")
    expect(page.locator("#panels")).to_be_focused()
    assert page.url == before


def test_a_tab_begins_at_its_top_and_back_leads_to_where_it_was_left(page, url):
    page.set_viewport_size({"width": 1024, "height": 500})
    opened(page, url, "errors")
    page.evaluate("scrollTo(0, 400)")
    rest(page)  # charts that came into sight are drawn
    left = page.evaluate("scrollY")
    assert left > 300
    page.click("#tab-results")
    expect(page.locator("#results-chart, #panel-results .chart").first).to_be_in_viewport()
    assert page.evaluate("scrollY") == 0
    page.go_back()
    expect(page.locator("#errors-charts")).to_be_visible()
    rest(page)
    assert abs(page.evaluate("scrollY") - left) < 50


def test_what_is_worked_on_and_the_way_out_are_in_sight_far_down(page, url, monkeypatch):
    opened(page, url, "errors")
    real = the_page.view
    monkeypatch.setattr(the_page, "view", lambda *all: time.sleep(4) or real(*all))
    for width in (1400, 850, 390):
        page.set_viewport_size({"width": width, "height": 600})
        page.locator("#errors-next").scroll_into_view_if_needed()
        page.click("#errors-next")
        expect(page.get_by_role("button", name="Cancel")).to_be_in_viewport()
        page.get_by_role("button", name="Cancel").click()


# ---- what is done in the other tabs --------------------------------------------------------------------------------


def test_a_click_on_a_density_shows_its_pairs_in_sight(page, url):
    opened(page, url, "distributions", runs="siglip")
    see_chart(page, "distributions-chart")
    at = page.evaluate(
        """() => { const points = document.querySelector('#distributions-chart .plot').calcdata[0];
        const best = points.reduce((best, point) => (point.y > best.y ? point : best)); return [best.x, best.y]; }"""
    )
    click_in(page, "distributions-chart", *at)
    expect(page.locator("#distributions-pairs article").first).to_be_in_viewport()
    expect(page.locator("#distributions-where")).to_contain_text("siglip with a score of")


def test_a_moved_slider_draws_the_trained_curve_behind_it(page, url):
    opened(page, url, "weights", loss="run%20info_nce")
    see_chart(page, "weights-curve")
    traces = "document.querySelector('#weights-curve .plot').data.length"
    assert page.evaluate(traces) == 2
    page.locator("#weights-temperature-input").focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.wait_for_function(f"{traces} === 4")
    assert "temperature" in state_of(page)["params"][0]
    page.get_by_role("button", name="Back to the trained values").click()
    page.wait_for_function(f"{traces} === 2")


def test_charts_are_clipped_after_the_address_changed(page, url):
    opened(page, url, "weights", loss="run%20info_nce")
    see_chart(page, "weights-curve")
    page.click("#tab-distributions")
    expect(page.locator("#distributions-chart")).to_be_visible()
    page.click("#tab-weights")
    expect(page.locator("#weights-curve")).to_be_visible()
    clips = page.evaluate(
        """() => [...document.querySelectorAll('#weights-curve [clip-path]')].map((node) => {
        const [, base, id] = node.getAttribute('clip-path').match(/url\\(["']?([^#]*)#([^"')]+)/);
        return [!base || base === location.href.split('#')[0], Boolean(document.getElementById(id))]; })"""
    )
    assert clips and all(same and there for same, there in clips)


def test_verdicts_are_given_by_keys_and_taken_back(page, url):
    opened(page, url, "false_negatives", fn_run="siglip")
    page.fill("#fn-name-input", "Ann")
    pairs = page.locator("#fn-pairs article[data-pair]")
    expect(pairs.first.locator("button[data-answer=yes]")).to_be_enabled()
    pairs.first.focus()
    page.keyboard.press("y")
    expect(pairs.nth(1)).to_be_focused()
    page.keyboard.press("n")
    expect(page.locator("#fn-verdicts")).to_contain_text("2 by you")
    page.keyboard.press("u")
    expect(page.locator("#fn-verdicts")).to_contain_text("1 by you")
    page.reload()
    expect(page.locator("#fn-verdicts")).to_contain_text("1 by you")  # the browser keeps the name
    page.locator("#fn-exports summary").click()
    with page.expect_download() as saved:
        page.click("#fn-jsonl")
    (line,) = saved.value.path().read_text().splitlines()
    assert json.loads(line)["answer"] == "yes" and json.loads(line)["judge"] == "Ann"


def test_a_part_of_the_bar_filters_the_queries_and_one_opens_in_search(page, url):
    opened(page, url, "errors")
    page.select_option("#errors-bucket select", index=1)
    expect(page.locator("#errors-listed")).not_to_contain_text("all queries")
    page.locator("#errors-list li > button").first.click()
    expect(page.locator("#results .column").first).to_be_visible()
    with_query = state_of(page)["query"][0]
    assert with_query.startswith("caption:")
    page.go_back()
    expect(page.locator("#errors-listed")).not_to_contain_text("all queries")
    page.get_by_role("button", name="Clear filters").click()
    expect(page.locator("#errors-listed")).to_contain_text("all queries")


def test_results_are_sorted_and_lead_to_errors(page, url):
    opened(page, url, "results", which="all")
    page.locator("#results-first button[data-column='R@1']").click()
    page.wait_for_function("new URLSearchParams(location.search).get('sort') === 'R@1:down'")
    values = page.locator("#results-first tbody tr td:nth-child(2)").all_inner_texts()
    numbers = [float(value.split()[0]) for value in values]
    assert numbers == sorted(numbers, reverse=True)
    page.locator("#results-first button.pick").last.click()
    expect(page.locator("#errors-buckets")).to_be_visible()
    assert state_of(page)["tab"] == ["errors"]


# ---- for everyone --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("tab", TABS)
def test_axe_finds_nothing_serious(page, url, tab, theme):
    opened(page, url, tab, __theme=theme)
    assert not serious(page)
