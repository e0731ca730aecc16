"""Links: what they say, what they set, and moves from tab to tab; and the pairs that charts lead to."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlparse

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.fake_workspace import make_workspace
from xmr.ui.asked import Asked, disagreement, read_query, written
from xmr.ui.details import details
from xmr.ui.links import Kept, number, one_of, read
from xmr.ui.scales import Scores
from xmr.ui.tabs.distributions import pairs_in_bin
from xmr.ui.weight_curves import SETTING, cell_of, params_text, read_params
from xmr.words import significant
from xmr.workspace.item_names import UnknownItem, find_item, item_link
from xmr.workspace.measured import samples, weight_of_pair


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, cache_folder):
    return make_workspace(tmp_path_factory.mktemp("runs"))


# ---- what a link says -------------------------------------------------------------------------------------------


def test_every_item_is_found_by_its_name(workspace):
    for side, count in (("visual", 60), ("caption", 120)):
        names = [item_link(workspace, "test", side, index) for index in range(count)]
        assert len(set(names)) == count
        assert [find_item(workspace, "test", name) for name in names] == [(side, i) for i in range(count)]
    for name in (
        "",
        "visual:",
        "visual:test-999",
        "caption:test-000#2",
        "caption:test-000#-1",
        "caption:test-000",
        "x",
    ):
        with pytest.raises(UnknownItem):
            find_item(workspace, "test", name)


@pytest.mark.parametrize(
    "asked",
    [
        Asked("item", "test", "t2v", index=7),
        Asked("item", "test", "v2t", index=5),
        Asked("text", "test", "t2v", text="a: b"),
    ],
)
def test_a_query_is_read_as_it_was_written(workspace, asked):
    assert read_query(workspace, written(workspace, asked), "test") == asked


@pytest.mark.parametrize("text", ["", "text:  ", "upload", "visual:none", "nonsense"])
def test_a_query_that_is_none_is_refused(workspace, text):
    with pytest.raises(ValueError, match=r"\w"):
        read_query(workspace, text, "test")


def test_known_values_are_taken_and_the_others_told():
    kept = {
        "k": Kept(None, number("k", 4, 24), ""),
        "scale": Kept(None, one_of("scale", ["raw", "z"]), "search"),
    }
    tabs = ["search", "map"]
    assert read({"v": ["1"], "tab": ["map"], "k": ["7"], "scale": ["z"]}, kept, tabs) == (
        {"k": 7, "scale": "z"},
        "map",
        [],
    )
    found, tab, faults = read({"tab": ["mapp"], "k": ["nan"], "scale": ["zz"], "other": ["1"]}, kept, tabs)
    assert (found, tab, len(faults)) == ({}, "", 3)
    assert "did you mean 'map'" in faults[0]
    assert read({"v": ["2"], "k": ["7"]}, kept, tabs)[2] == ["it is of version '2', and this app knows '1'"]
    assert read({"utm": ["x"], "__theme": ["dark"]}, kept, tabs) == ({}, "", [])


def test_moved_sliders_are_read_back(workspace):
    trained, usual = {"temperature": 0.05}, SETTING
    choice = "run info_nce"
    assert params_text(workspace, choice, trained, usual, usual) == ""
    text = params_text(workspace, choice, {"temperature": 0.2}, usual.at(0.5, 0.4), usual)
    assert text == "run info_nce: temperature=0.2; positive_score=0.5"
    assert read_params(text, choice, "info_nce", trained, usual) == (
        {"temperature": 0.2},
        usual.at(0.5, 0.4),
        [],
    )
    assert read_params(text, "run siglip", "siglip", {"scale": 12.0}, usual) == ({"scale": 12.0}, usual, [])
    hyper, places, faults = read_params(
        f"{choice}: temperature=-1; nonsense=2; positive_score=9", choice, "info_nce", trained, usual
    )
    assert (hyper, places, len(faults)) == (trained, usual, 3)
    assert [cell_of(text) for text in ("3,11", "", "3", "-1,2", "a,b", "9999999,1234567")] == [(3, 11)] + [
        None
    ] * 5


# ---- scores and weights ------------------------------------------------------------------------------------------


def test_scores_on_three_scales(workspace):
    asked = Asked("item", "test", "t2v", index=4)
    row = workspace.scores("siglip", "test", "t2v", np.array([4]))[0].astype(float)
    links = workspace.dataset().visual_of_text
    matches = workspace.scores("siglip", "test", "t2v")[np.arange(120), links]
    score = float(row[9])
    scores = Scores(workspace, "siglip", asked, asked.query(), "z")
    assert scores.z(score) == f"{(score - row.mean()) / row.std():+.1f}".replace("-", "−")
    assert scores.above(score) == f"{100 * (matches < score).mean():.0f}%"
    assert Scores(workspace, "siglip", asked, asked.query(), "raw").short(score) == f"{score:.3f}"


def test_the_card_of_an_item_tells_the_weight_of_the_pair(workspace):
    asked = disagreement(workspace, "test", "t2v", list(workspace.runs))
    card = details(workspace, asked, list(workspace.runs), 9)
    for row in card["runs"]:
        weight = weight_of_pair(workspace, row["name"], "test", "t2v", asked.index, 9)
        assert row["weight"] == significant(weight, sign=True)
    free = details(workspace, Asked("text", "test", "t2v", text="a ring"), ["siglip"], 9)
    assert free["runs"][0]["weight"] == "–" and not free["pair"]


def test_the_pairs_of_a_bin_are_those_whose_score_is_in_it(workspace):
    runs = list(workspace.runs)
    every = samples(workspace, "siglip", "test", "t2v").values["hardest"]
    counted = 0
    for index in range(24):
        _, words, _ = pairs_in_bin(
            workspace,
            "test",
            "t2v",
            runs,
            "raw",
            {"meta": {"run": "siglip", "kind": "hardest"}, "index": index},
        )
        counted += int(re.search(r"of ([\d,]+)", words).group(1)) if words else 0
    assert counted == len(every)


@pytest.mark.parametrize(
    "picked", [{}, {"meta": 3, "index": 0}, {"meta": {"run": "x", "kind": "hardest"}, "index": 0},
               {"meta": {"run": "siglip", "kind": "hardest"}, "index": 10**6}, {"meta": {"run": "siglip", "kind": "mean"}, "index": 0},
               {"meta": {"run": "siglip", "kind": "hardest"}, "index": "0"}]
)  # fmt: skip
def test_a_bin_that_is_none_is_refused(workspace, picked):
    import gradio as gr

    with pytest.raises(gr.Error):
        pairs_in_bin(workspace, "test", "t2v", list(workspace.runs), "raw", picked)


# ---- in a browser ------------------------------------------------------------------------------------------------


def values(page) -> dict[str, list[str]]:
    return parse_qs(urlparse(page.url).query)


def tells(page, key, value):
    """Waits until the address has the value; it is written a moment after what it tells of."""
    page.wait_for_url(lambda url: parse_qs(urlparse(url).query).get(key) == [value])


def test_a_link_brings_a_view_back(page, app_url):
    page.goto(
        f"{app_url}?v=1&tab=search&direction=v2t&runs=siglip&runs=info_nce&baseline=info_nce&k=7&query=visual:test-005&scale=z"
    )
    expect(page.locator("#results .column")).to_have_count(2)
    expect(page.locator("#results .query .eyebrow")).to_have_text("Image test-005")
    expect(page.locator("#results .column").first.locator(".tiles .tile")).to_have_count(7)
    expect(page.locator("#results .legend")).to_contain_text("z-score")
    page.wait_for_timeout(1500)  # until all that the link set has been answered
    page.locator("#next").click()
    expect(page.locator("#results .query .eyebrow")).not_to_have_text("Image test-005")
    page.wait_for_function("!location.search.includes('test-005')")
    asked = values(page)["query"][0]
    said = page.locator("#results .query").inner_text()
    page.locator("#copy-link button").click()
    expect(page.locator("#copy-link")).to_contain_text(re.compile("Copied|http"))
    link = page.evaluate("window.xmrLink")
    page.goto(link)
    expect(page.locator("#results .query")).to_have_text(re.compile(re.escape(said.splitlines()[0])))
    tells(page, "query", asked)


def test_what_a_link_names_and_is_not_there_is_said(page, app_url):
    page.goto(f"{app_url}?v=1&runs=siglip&runs=sigllip&k=99&query=visual:nothing")
    for words in (
        "unknown run 'sigllip'; did you mean 'siglip'",
        "k must be 4 to 24",
        "no item 'visual:nothing'",
    ):
        expect(page.get_by_text(words).first).to_be_visible()
    expect(page.locator("#results .column")).to_have_count(1)


def test_a_pair_is_followed_into_its_loss(page, app_url):
    page.goto(f"{app_url}?v=1&query=caption:test-007%230")
    expect(page.locator("#results .query .eyebrow")).to_have_text("Caption test-007#0")
    tile = page.locator("#results .tile.neither, #results .tile.true").first
    shown = int(tile.get_attribute("data-item"))
    tile.click()
    expect(page.locator("dialog.item tbody tr")).to_have_count(3)
    page.locator("dialog.item select").select_option("siglip")
    page.get_by_role("button", name="Open in Loss weights").click()
    expect(page.locator("#tab-weights-button, [role=tab][aria-selected=true]").first).to_be_visible()
    expect(page.locator("#weights-pair article")).to_contain_text(f"test-{shown:03d}")
    expect(page.locator("#weights-pair article")).to_contain_text("test-007")
    tells(page, "loss", "run siglip")
    # A point of the curve finds a pair of the batch, by keyboard as by pointer.
    before = page.locator("#weights-pair article").inner_text()
    expect(page.locator("#weights-curve .main-svg").first).to_be_visible()
    page.locator("#weights-curve .plot").focus()
    for key in ("ArrowRight", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    page.wait_for_function(
        "(text) => document.querySelector('#weights-pair article')?.innerText !== text", arg=before
    )
    tells(page, "tab", "weights")


def test_a_move_that_is_made_again_shows_what_it_showed_before(page, app_url):
    """Tabs that show what they should aren't drawn again; what was chosen in them meanwhile counts."""
    page.goto(f"{app_url}?v=1&tab=errors&b=siglip")
    compared = page.locator("#errors-about").get_by_text("B is siglip")
    expect(compared).to_be_visible()
    page.locator("#errors-b input").click()
    page.get_by_role("option", name="info_nce").click()
    expect(page.locator("#errors-about")).to_contain_text("B is info_nce")
    for _ in range(2):
        page.get_by_role("tab", name="Results", exact=True).click()
        page.locator("#tab-results").get_by_role("button", name="siglip").first.click()
        expect(compared).to_be_visible()
        expect(page.locator("#errors-ranks figcaption")).to_contain_text("under siglip")
