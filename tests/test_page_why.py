"""Journeys: why a result scores as it does under two runs, how the order changes between them, and what one of them wins."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.fake_workspace import make_clips, make_other
from tests.journeys import opened, rest, serious, state_of
from xmr import page as the_page
from xmr.captions import word_spans
from xmr.words import fixed, places_for
from xmr.workspace.whys import Pair, why

NAMES = ["info_nce", "max_of_hinges", "siglip"]
UNDER = {"runs": "&runs=".join(NAMES), "baseline": NAMES[0]}


def opened_card(page, url, **keys):
    opened(page, url, query="caption:test-003%230", **UNDER | keys)
    page.locator("#results .tile").first.click()
    card = page.locator("dialog.item")
    expect(card).to_be_visible()
    return card


def test_a_results_why_is_told_of_two_runs_and_kept_in_the_link(page, url, workspace):
    card = opened_card(page, url)
    card.get_by_text("Why this score?").click()
    sides = card.locator(".why section")
    expect(sides).to_have_count(2)
    data = workspace.dataset()
    visual, text = int(card.locator("h3").inner_text().removeprefix("test-")), 6
    assert data.captions[text] == page.locator("#results .asked").inner_text()
    spans = word_spans(data.captions[text])
    for at, found in enumerate(why(workspace, NAMES[:2], Pair("test", visual, text))):
        side, places = sides.nth(at), places_for(found.words)
        expect(side.locator("h4")).to_contain_text(f"{NAMES[at]} scores it")
        told = [fixed(value, places, sign=True) for value in found.words]
        assert side.locator("ruby rt").all_inner_texts() == told
        expect(side.locator("ruby")).to_have_count(len(spans))
        assert side.locator(".picture-of i").count() == 49
        places = places_for(found.parts.ravel())
        told = [
            f"row {i // 7 + 1}, column {i % 7 + 1}: {fixed(value, places, sign=True)}"
            for i, value in enumerate(found.parts.ravel())
        ]
        assert [part.get_attribute("title") for part in side.locator(".picture-of i").all()] == told
        for value, ruby in zip(found.words, side.locator("ruby").all(), strict=True):
            assert ("takes" in ruby.get_attribute("class")) == (value < 0)
        side.get_by_text("Numbers", exact=True).click()
        expect(side.locator("tbody tr")).to_have_count(len(spans) + 49)
    assert state_of(page)["item"] == [f"visual:test-{visual:03d}"] and state_of(page)["why"] == NAMES[:2]
    assert not serious(page)
    address = page.url
    card.get_by_label("Run beside it").select_option("siglip")
    expect(sides.nth(1)).to_contain_text("siglip scores it")
    assert state_of(page)["why"] == ["info_nce", "siglip"]
    page.keyboard.press("Escape")
    expect(card).not_to_be_visible()
    expect(page).not_to_have_url(re.compile(r"[?&](item|why)="))
    page.goto(address)
    expect(sides).to_have_count(2)
    expect(sides.nth(1)).to_contain_text("max_of_hinges scores it")
    page.keyboard.press("ArrowRight")  # the next item's, with its reasons
    expect(card.locator("h3")).not_to_have_text(f"test-{visual:03d}")
    expect(sides).to_have_count(2)
    card.get_by_role("button", name="Find captions for this image").click()
    rest(page)
    assert not {"item", "why"} & set(state_of(page)) and state_of(page)["direction"] == ["v2t"]
    page.go_back()
    expect(page.locator("#results .query")).to_contain_text("Caption test-003#0")


def test_the_latest_choice_is_answered_and_what_takes_long_can_be_cancelled(page, url, monkeypatch):
    card = opened_card(page, url)
    real, slow = the_page.beside, [1.5]

    def late(*values):
        if values[2] == "why":
            time.sleep(slow.pop() if slow else 0)
        return real(*values)

    monkeypatch.setattr(the_page, "beside", late)
    card.get_by_text("Why this score?").click()
    cancel = card.get_by_role("button", name="Cancel")
    expect(cancel).to_be_visible()
    cancel.click()
    expect(card.locator(".why")).not_to_have_attribute("open", "")
    slow.append(1.5)
    card.get_by_text("Why this score?").click()
    card.get_by_label("First run").select_option("siglip")
    expect(card.locator(".why section").first).to_contain_text("siglip scores it")
    page.wait_for_timeout(1800)  # longer than the answer that was late
    expect(card.locator(".why section").first).to_contain_text("siglip scores it")


def test_links_to_what_is_not_there_are_told(page, url):
    opened(page, url, query="caption:test-003%230", **UNDER, item="visual:nowhere", why="info_nce")
    expect(page.locator(".corner")).to_contain_text("no item 'visual:nowhere'")
    expect(page.locator("dialog.item")).not_to_be_visible()
    opened(page, url, query="caption:test-003%230", **UNDER, item="visual:test-001", why="info_nze")
    expect(page.locator(".corner")).to_contain_text("did you mean 'info_nce'")
    expect(page.locator("dialog.item h3")).to_have_text("test-001")


@pytest.fixture
def clips_url(serve, tmp_path):
    with serve(make_other(tmp_path, make_clips)) as url:
        yield url


def test_of_clips_frames_are_told_and_all_fits_a_phone(clips_url, page):
    page.set_viewport_size({"width": 390, "height": 844})
    card = opened_card(page, clips_url, flow="siglip")
    card.get_by_text("Why this score?").click()
    expect(card.locator(".frames-of").first.locator("li")).to_have_count(4)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert card.evaluate("(node) => node.scrollWidth <= node.clientWidth")
    assert not serious(page)


def test_the_flow_shows_what_differs_and_leads_on_by_keyboard(page, url):
    opened(page, url, query="caption:test-003%230", **UNDER)
    page.get_by_label("Order under info_nce against that of").select_option("siglip")
    flow = page.locator("#flow-lines .flow")
    expect(flow.locator("section")).to_have_count(2)
    ranks = {}
    for at, name in ((0, "info_nce"), (2, "siglip")):
        tiles = page.locator("#results .column").nth(at).locator(".tiles .tile")
        assert page.locator("#results .column").nth(at).locator("h3").inner_text() == name
        ranks[name] = [tile.get_attribute("data-item") for tile in tiles.all()]
    both = (
        [item for rank, item in enumerate(ranks["info_nce"]) if ranks["siglip"].index(item) == rank]
        if set(ranks["info_nce"]) == set(ranks["siglip"])
        else [a for a, b in zip(*ranks.values(), strict=True) if a == b]
    )
    expected = {*ranks["info_nce"], *ranks["siglip"]} - {*both}
    lines = [path.get_attribute("data-item") for path in flow.locator("path").all()]
    assert set(lines) == expected and len(lines) == len(expected)
    for side, name in enumerate(ranks):
        items = flow.locator("section").nth(side).locator(".item")
        inside = [one for one in items.all() if "out" not in one.get_attribute("class").split()]
        assert [one.get_attribute("data-item") for one in inside] == [
            item for item in ranks[name] if item in expected
        ]
        places = [int(one.locator(".rank").inner_text()) for one in inside]
        assert places == [ranks[name].index(one.get_attribute("data-item")) + 1 for one in inside]
    first = flow.locator("section").first.locator(".item").first
    first.focus()
    expect(flow.locator("path.same")).to_have_count(1)
    page.keyboard.press("ArrowDown")
    second = flow.locator("section").first.locator(".item").nth(1)
    expect(second).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("dialog.item")).to_be_visible()
    page.keyboard.press("Escape")
    flow.get_by_text("Numbers").click()
    expect(flow.locator("tbody tr")).to_have_count(len(expected))
    assert state_of(page)["flow"] == ["siglip"] and not serious(page)
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_what_b_wins_and_loses_is_a_gallery_that_is_enlarged_and_searched_on(page, url, workspace):
    opened(page, url, tab="errors", a="siglip", b="info_nce")
    a, b = (workspace.ranks(run, "test", "t2v") for run in ("siglip", "info_nce"))
    for kind, mask in (("won", (b <= 1) & (a > 1)), ("lost", (a <= 1) & (b > 1))):
        expect(page.locator(f"#errors-{kind}-title")).to_have_text(
            f"{kind.capitalize()} by B: {int(mask.sum())}"
        )
        tiles = page.locator(f"#errors-{kind}-pictures li")
        expect(tiles).to_have_count(min(8, int(mask.sum())))
        for tile in tiles.all():
            query = re.fullmatch(r"test-(\d+)#(\d)", tile.locator(".name").inner_text())
            index = 2 * int(query[1]) + int(query[2])
            assert mask[index]
            expect(tile).to_contain_text(f"rank {int(a[index])} under A, {int(b[index])} under B")
    expect(page.locator("#errors-enriched-words")).to_contain_text("words and slices were looked at")
    won = page.locator("#errors-won-pictures")
    won.locator(".poster").first.click()
    large = page.locator("dialog.large")
    expect(large).to_be_visible()
    page.keyboard.press("Escape")
    page.locator("#errors-won-all").click()
    expect(page.locator("#errors-listed")).to_have_text(f"Listed: only B, {int(((b <= 1) & (a > 1)).sum())}.")
    assert not np.isnan(a).any()
    name = won.locator(".name").first.inner_text()
    won.get_by_role("button", name="Open in Search").first.click()
    expect(page.locator("#results .query")).to_contain_text(f"Caption {name}")
    assert state_of(page)["runs"] == NAMES or set(state_of(page).get("runs", NAMES)) >= {"siglip", "info_nce"}
