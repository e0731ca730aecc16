"""Journeys through Search and the page around it, over the fake workspace and over other kinds of data."""

from __future__ import annotations

import json
import re
import time

import httpx
import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.fake_workspace import (
    COLOURS,
    MARKUP,
    make_clips,
    make_dataset,
    make_many,
    make_other,
    make_pictures,
    make_workspace,
)
from tests.journeys import TABS, opened, rest, serious, state_of
from xmr import page as the_page
from xmr.page import build_app, launch_options
from xmr.workspace.pages import Page

NAMES = ["info_nce", "max_of_hinges", "siglip"]
SHIFTS = """() => new Promise((done) => { let sum = 0;
    new PerformanceObserver((list) => { for (const one of list.getEntries()) if (!one.hadRecentInput) sum += one.value; })
      .observe({ type: 'layout-shift', buffered: true });
    setTimeout(() => done(sum), 300); })"""


def searched(page, text):
    page.fill("#query", text)
    page.press("#query", "Enter")
    expect(page.locator("#results .asked")).to_have_text(text)


def labels(page, column=0):
    tiles = page.locator("#results .column").nth(column).locator(".tile")
    return [tile.get_attribute("aria-label") for tile in tiles.all()]


def all_pictures(page):
    page.wait_for_function(
        "[...document.querySelectorAll('#results img')].every((one) => one.loading === 'lazy' || one.complete && one.naturalWidth)"
    )
    assert not page.evaluate(
        "[...document.querySelectorAll('#results img')].filter((one) => one.complete && !one.naturalWidth).length"
    )


# ---- what stands there ---------------------------------------------------------------------------------------


def test_the_first_screen_is_full_and_stands_still(page, url):
    opened(page, url)
    assert page.evaluate(SHIFTS) <= 0.05
    expect(page.locator("#results .column")).to_have_count(3)
    assert all(len(labels(page, column)) >= 12 for column in range(3))
    places = page.locator("#results .column .place b").all_inner_texts()
    assert len(set(places)) > 1, "the runs should differ on the first query"
    for place in places:
        expect(page.locator("#results .headline")).to_contain_text(f"at rank {place[1:]} for")
    expect(page.locator("#results .overlap")).to_contain_text("Overlap@12")
    expect(page.locator("#dataset")).to_contain_text("60 images · 120 captions")
    expect(page.locator("#dataset")).to_contain_text("truth known for every pair")
    expect(page.locator("#faults")).to_contain_text("run.json ends in the middle (line 7)")
    all_pictures(page)


def test_status_is_told_by_words_and_frames_and_not_by_colour_alone(page, url):
    opened(page, url)
    searched(page, "something blue on a pale ground")
    for words in ("annotated match", "true, not annotated", "not a match"):
        expect(page.locator("#results .legend")).to_contain_text(words)
    assert any("annotated match" in label for column in range(3) for label in labels(page, column))
    frames = {
        page.locator(f"#results .tile.{status} .frame")
        .first.evaluate("(node) => getComputedStyle(node).border")
        .split(" rgb")[0]
        for status in ("annotated", "true", "neither")
    }
    assert len(frames) == 3, frames
    searched(page, "purple, surely no caption")
    expect(page.locator("#results .query")).to_contain_text("no match is annotated")
    expect(page.locator("#results .tag")).to_have_count(0)


def test_what_is_typed_and_captions_stay_text(page, url):
    opened(page, url)
    before = labels(page)
    page.fill("#query", "   ")
    page.click("#go")
    expect(page.locator(".corner")).to_contain_text("Type what the picture should show")
    assert labels(page) == before
    caption = next(text for text in make_dataset().captions if MARKUP in text)
    searched(page, caption)
    page.locator("#results .tile.annotated").first.click()
    expect(page.locator("dialog.item .captions")).to_contain_text(MARKUP)
    assert not page.locator("#results b:text-is('bold'), dialog b, #results script, dialog script").count()


def test_a_match_outside_k_is_pinned_with_its_rank(page, url):
    opened(page, url, k=4)
    pinned = page.locator("#results .below .tile")
    for _ in range(12):
        if pinned.count():
            break
        before = page.locator("#results .query .eyebrow").inner_text()
        page.click("#next")
        expect(page.locator("#results .query .eyebrow")).not_to_have_text(before)
    rank = int(re.match(r"Rank (\d+)", pinned.first.get_attribute("aria-label")).group(1))
    assert rank > 4 and f"#{rank}" in page.locator("#results .column .place b").all_inner_texts()


@pytest.fixture
def many_url(serve, tmp_path):
    with serve(make_many(tmp_path)) as url:
        yield url


# The server is asked for before the page, so that it outlives it.
def test_six_of_many_runs_are_drawn_and_with_fewer_the_tiles_are_larger(many_url, page):
    columns, widths = page.locator("#results .column h3"), {}
    opened(page, many_url)
    expect(columns).to_have_text(["max_of_hinges", "info_nce", "polynomial", "siglip"])
    for name in ("hybrid", "circle", "ladder"):
        page.fill("#runs-input", name)
        expect(page.locator("#runs .chip").filter(has_text=name).first).to_be_visible()
    expect(columns).to_have_count(6)
    expect(page.locator("#results .column").nth(4)).to_contain_text("mean of 2 runs")
    expect(page.locator("#results .left-out")).to_contain_text("6 of the 7 chosen runs are drawn")
    expect(page.locator("#results .left-out")).to_contain_text("Left out: ladder.")
    page.get_by_role("button", name="Take out circle").click()
    expect(columns.nth(5)).to_have_text("ladder")
    expect(page.locator("#results .left-out")).to_have_count(0)
    chosen = ["max_of_hinges", "info_nce", "polynomial", "siglip", "hybrid", "ladder"]
    for count in (6, 3, 1):
        opened(page, many_url, runs="&runs=".join(chosen[:count]))
        expect(columns).to_have_count(count)
        widths[count] = page.locator("#results .tile").first.bounding_box()["width"]
        assert page.evaluate("document.documentElement.scrollWidth") <= 1400
    assert widths[6] >= 60 and widths[3] > 1.2 * widths[6] and widths[1] > 140, widths


def test_an_answer_to_an_older_choice_takes_no_later_one_back(many_url, page):
    opened(page, many_url)
    page.evaluate(
        """async () => {
        const input = document.getElementById('runs-input');
        const choose = (name) => { input.value = name; input.dispatchEvent(new Event('input')); };
        const columns = () => document.querySelectorAll('#results .column').length;
        choose('hybrid');
        choose('circle');
        while (columns() < 5) await new Promise(requestAnimationFrame);
        choose('ladder');
        }"""
    )
    chips = page.locator("#runs .chip")
    expect(chips).to_have_count(7)
    for name in ("hybrid", "circle", "ladder"):
        expect(chips.filter(has_text=name).first).to_be_visible()
    expect(page.locator("#results .left-out")).to_contain_text("6 of the 7 chosen runs are drawn")


# ---- what is done ----------------------------------------------------------------------------------------------


def test_every_press_of_next_counts_and_no_later_choice_takes_it_back(page, url, workspace, monkeypatch):
    order = workspace.disagreements(workspace.shown_first, "test", "v2t")
    names = [workspace.dataset("test").visual_ids[place] for place in order]
    opened(page, url, direction="v2t")
    real, late = the_page.view, [1.0]

    def slow(*values):
        time.sleep(late.pop() if late else 0)
        return real(*values)

    monkeypatch.setattr(the_page, "view", slow)
    query = page.locator("#results .query .eyebrow")
    expect(query).to_have_text(f"Image {names[0]}")
    page.evaluate("for (let press = 0; press < 3; press++) document.getElementById('next').click()")
    expect(query).to_have_text(f"Image {names[3]}")
    late.append(1.0)
    page.evaluate(
        """() => { document.getElementById('next').click(); const k = document.querySelector('#k input[type=number]');
        k.value = 5; k.dispatchEvent(new Event('change')); }"""
    )
    expect(page.locator("#results .column").first.locator(".tiles .tile")).to_have_count(5)
    expect(query).to_have_text(f"Image {names[4]}")
    page.wait_for_timeout(1300)  # longer than the answer that was late
    expect(query).to_have_text(f"Image {names[4]}")
    page.go_back()
    expect(query).to_have_text(f"Image {names[3]}")


def test_random_picks_another_item_and_a_turned_direction_asks_the_same_pair(page, url):
    opened(page, url)
    query = page.locator("#results .query .eyebrow")
    first = query.inner_text()
    # A random item may be the same one now and then, but not ten times.
    for _ in range(10):
        page.click("#random")
        rest(page)
        if query.inner_text() != first:
            break
    visual = re.fullmatch(r"Caption (test-\d+)#\d", query.inner_text()).group(1)
    assert query.inner_text() != first
    page.get_by_label("image → text").check()
    expect(query).to_have_text(f"Image {visual}")
    expect(page.locator("#results .query img")).to_be_visible()
    expect(page.locator("#results .tile.text").first).to_be_visible()
    page.get_by_label("text → image").check()
    expect(query).to_have_text(f"Caption {visual}#0")


def test_an_item_becomes_the_query_and_its_card_returns_the_focus(page, url):
    opened(page, url)
    tile = page.locator("#results .column").nth(1).locator(".tile").nth(2)
    index, card = tile.get_attribute("data-item"), page.locator("dialog.item")
    tile.click()
    expect(card.locator("tbody tr")).to_have_count(3)
    expect(card.locator("tbody tr").nth(1).locator("td").first).to_have_text("3")
    assert not serious(page)
    page.keyboard.press("Escape")
    expect(card).to_be_hidden()
    expect(tile).to_be_focused()
    # The arrows lead through every item that is shown, each once.
    page.locator("#results .tile").first.click()
    expect(card).to_be_visible()
    items = page.evaluate(
        "new Set([...document.querySelectorAll('#results .tile')].map((one) => one.dataset.item)).size"
    )
    seen = set()
    for _ in range(items):
        page.wait_for_function(
            "(seen) => !seen.includes(document.querySelector('dialog.item h3').textContent)", arg=list(seen)
        )
        seen.add(card.locator("h3").inner_text())
        page.keyboard.press("ArrowRight")
    assert len(seen) == items
    page.keyboard.press("Escape")
    tile.click()
    page.get_by_role("button", name="Find captions for this image").click()
    expect(page.locator("#results .query .eyebrow")).to_have_text(f"Image test-{int(index):03d}")
    expect(page.get_by_label("image → text")).to_be_checked()


def test_pictures_of_one_rank_stand_large_beside_each_other(page, url):
    opened(page, url, direction="t2v")
    page.locator("#results .tile").nth(1).click()
    small = page.locator("dialog.item .poster")
    small.press("Enter")
    large = page.locator("dialog.large")
    expect(large.locator("figure")).to_have_count(page.locator("#results .column").count())
    expect(large.locator("header")).to_contain_text(re.compile(r"[12] of 12"))
    page.keyboard.press("Home")
    for _ in range(13):  # to the end, and no further
        page.keyboard.press("ArrowRight")
    expect(large.locator("header")).to_contain_text("12 of 12")
    for run in page.locator("#results .column").all():
        name, score = run.locator("h3").inner_text(), run.locator(".tiles .score").nth(11).inner_text()
        expect(large.locator("figcaption").filter(has_text=f"{name} #12 · {score}")).to_have_count(1)
    page.wait_for_function(
        "[...document.querySelectorAll('dialog.large img')].every((one) => /-large/.test(one.src) && one.naturalWidth)"
    )
    assert not serious(page)
    page.keyboard.press("Escape")
    expect(large).to_be_hidden()
    expect(small).to_be_focused()


@pytest.mark.parametrize(("tab", "part"), [("errors", "#errors-list"), ("false_negatives", ".part.cards")])
def test_pictures_of_a_list_are_enlarged_and_the_focus_returns(page, url, tab, part):
    opened(page, url, tab)
    pictures = page.locator(f"{part} .poster")
    expect(pictures.first).to_be_visible()
    pictures.first.focus()
    page.keyboard.press("Enter")
    large = page.locator("dialog.large")
    expect(large.locator("header")).to_contain_text(f"1 of {pictures.count()}")
    words = large.locator("figcaption").inner_text()
    page.keyboard.press("ArrowRight")
    expect(large.locator("header")).to_contain_text(f"2 of {pictures.count()}")
    expect(large.locator("figcaption")).not_to_have_text(words)
    box = large.locator("img").bounding_box()
    assert min(box["width"], box["height"]) > 500
    page.keyboard.press("Escape")
    expect(pictures.first).to_be_focused()


def test_the_pictures_of_a_list_are_one_tab_stop_and_a_chart_saves_its_numbers(page, url):
    opened(page, url, "errors")
    pictures = page.locator("#errors-list .poster")
    stops = (
        "(all) => all.map((one, at) => [one.tabIndex, at]).filter(([tab]) => tab === 0).map(([, at]) => at)"
    )
    assert pictures.count() > 2 and pictures.evaluate_all(stops) == [0]
    pictures.first.focus()
    page.keyboard.press("ArrowDown")
    expect(pictures.nth(1)).to_be_focused()
    assert pictures.evaluate_all(stops) == [1]
    with page.expect_download() as saved:
        page.locator("#errors-buckets .tools button", has_text="CSV").click()
    assert saved.value.suggested_filename == "who-is-right.csv"
    assert saved.value.path().read_text().startswith("queries,number,share")


def test_an_uploaded_picture_finds_captions_and_a_bad_one_is_told(page, url, tmp_path):
    green, broken, large = (tmp_path / name for name in ("green.png", "broken.png", "large.png"))
    Image.new("RGB", (300, 200), COLOURS["green"]).save(green)
    broken.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    opened(page, url)
    file, query = page.locator(".upload input[type=file]"), page.locator("#results .query .eyebrow")
    before = query.inner_text()
    file.set_input_files(broken)
    expect(page.locator(".corner")).to_contain_text("This picture could not be used")
    expect(query).to_have_text(before)
    file.set_input_files(green)
    expect(query).to_have_text("Uploaded picture")
    expect(page.locator("#results .tile.text").first).to_contain_text("green")
    assert state_of(page)["query"] == ["upload"], "no link tells where it lies on the server"
    page.get_by_role("button", name="Take out siglip").click()
    expect(page.locator("#results .column")).to_have_count(2)
    expect(query).to_have_text("Uploaded picture")
    page.click("#next")
    expect(query).to_have_text(re.compile("^Image test-"))
    page.go_back()
    expect(query).to_have_text("Uploaded picture")
    large.write_bytes(bytes(20_100_000))
    file.set_input_files(large)
    expect(page.locator(".corner")).to_contain_text("large.png could not be uploaded")
    page.problems[:] = [one for one in page.problems if "413" not in one and "ERR_CONNECTION" not in one]


# ---- for everyone ------------------------------------------------------------------------------------------------


def test_the_grid_is_one_tab_stop_and_arrows_lead_through_it(page, url):
    opened(page, url)
    focused = "document.activeElement.getAttribute('aria-label') || ''"
    page.locator("#scale select").focus()
    page.keyboard.press("Tab")
    assert page.evaluate(focused).startswith("Rank 1, ")
    item = page.evaluate("document.activeElement.dataset.item")
    same = page.locator(f"#results .tile[data-item='{item}']").count()
    assert page.locator("#results .tile.same").count() == same
    page.keyboard.press("ArrowRight")
    assert page.evaluate(focused).startswith("Rank 2, ")
    page.keyboard.press("Enter")
    expect(page.locator("dialog.item")).to_be_visible()
    page.keyboard.press("Escape")
    assert page.evaluate(focused).startswith("Rank 2, "), "focus returns to the tile"
    page.keyboard.press("Tab")
    assert not page.evaluate("Boolean(document.activeElement.closest('#results .columns'))")
    page.keyboard.press("Shift+Tab")
    assert page.evaluate(focused).startswith("Rank 2, "), "who comes back is where they were"


def test_nothing_moves_for_those_who_asked_for_rest(page, url):
    page.emulate_media(reduced_motion="reduce")
    opened(page, url)
    page.locator("#results .tile").first.hover()
    moving = page.evaluate(
        """() => [...document.querySelectorAll('.xmr, .xmr *')].filter((one) => { const style = getComputedStyle(one);
        return style.animationName !== 'none' || style.transitionDuration.split(',').some((t) => parseFloat(t) > 0.01); })
        .map((one) => one.outerHTML.slice(0, 80))"""
    )
    assert not moving


@pytest.mark.parametrize("tab", TABS)
def test_axe_finds_nothing_serious_on_a_phone(page, url, tab):
    page.set_viewport_size({"width": 390, "height": 844})
    opened(page, url, tab)
    assert not serious(page)


def test_tiles_stay_within_their_columns_at_any_width(page, url):
    opened(page, url)
    for width in (390, 320, 768, 1024, 1400):
        page.set_viewport_size({"width": width, "height": 844})
        page.wait_for_timeout(200)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        outside = page.evaluate(
            """() => [...document.querySelectorAll('#results .tile')].filter((tile) => {
              const inner = tile.getBoundingClientRect(), outer = tile.closest('.column').getBoundingClientRect();
              return inner.left < outer.left || inner.right > outer.right + 1 || tile.scrollWidth > tile.clientWidth + 1;
            }).map((tile) => tile.getAttribute('aria-label'))"""
        )
        assert not outside, (width, outside)


def test_no_runs_screen_names_the_command_that_makes_some(page, serve, tmp_path):
    with serve(make_workspace(tmp_path, names=())) as url:
        page.goto(url)
        expect(page.locator("#problem")).to_contain_text("There is no whole run in")
        expect(page.locator("#problem")).to_contain_text("python scripts/train.py --dataset blocks")
        expect(page.locator("#faults")).to_contain_text("half_written")
        assert not serious(page)


# ---- other kinds of data -----------------------------------------------------------------------------------------

PLAYS = """(film) => { const style = getComputedStyle(film);
  return style.display !== 'none' && style.animationName !== 'none' && film.getAnimations().some((one) => one.playState === 'running'); }"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory, cache_folder):
    folder = tmp_path_factory.mktemp("checkpoints")
    made = {
        "shapes": make_workspace(folder, broken=False),
        "sliding shapes": make_other(folder, make_clips, {"siglip": "cross_attention"}),
        "two styles": make_other(folder, make_pictures),
    }
    paths = ("", "data-clips", "data-styles")
    return [
        Page(title, path, dict(one.runs), lambda one=one: one)
        for (title, one), path in zip(made.items(), paths, strict=True)
    ]


@pytest.fixture(scope="module")
def pages_url(pages):
    app = build_app(pages)
    _, url, _ = app.launch(
        server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, **launch_options(pages)
    )
    yield url
    app.close(verbose=False)


def test_a_clip_plays_on_hover_and_on_focus_and_its_card_shows_all_frames(pages_url, page):
    opened(page, pages_url, dataset="sliding shapes")
    expect(page.locator("#results .column")).to_have_count(3)
    all_pictures(page)
    tile = page.locator("#results .tile").first
    film = tile.locator(".film")
    assert not film.evaluate(PLAYS)
    tile.hover()
    assert film.evaluate(PLAYS)
    seen = "(film) => new Promise((done) => setTimeout(() => done(getComputedStyle(film).backgroundPositionX), 200))"
    assert len({film.evaluate(seen) for _ in range(4)}) > 1, "the frames change"
    page.mouse.move(0, 0)
    assert not film.evaluate(PLAYS)
    page.locator("#scale select").focus()
    page.keyboard.press("Tab")
    assert film.evaluate(PLAYS)
    page.emulate_media(reduced_motion="reduce")
    tile.hover()
    assert not film.evaluate(PLAYS)
    page.emulate_media(reduced_motion="no-preference")
    # Both ranks stand on the tiles of the run that re-ranks, and in its head.
    paired = page.locator("#results .column").filter(has=page.locator("h3", has_text="siglip"))
    expect(paired.locator("header")).to_contain_text("cross_attention · clips")
    expect(paired.locator("header")).to_contain_text("re-ranks the top 100")
    stage = paired.locator(".tile .first").first
    expect(stage).to_have_text(re.compile(r"^1st stage #\d+$"))
    assert "before its best were scored pair by pair" in stage.get_attribute("title")
    tile.click()
    expect(page.locator("dialog.item .frames span")).to_have_count(4)
    expect(page.locator("dialog.item thead")).to_contain_text("1st stage")
    page.get_by_role("button", name="Find captions for this clip").click()
    expect(page.locator("#results .query .eyebrow")).to_contain_text("Clip test-")
    page.wait_for_function(f"({PLAYS})(document.querySelector('#results .query .film'))")
    assert page.evaluate("document.documentElement.scrollWidth") <= 1400


def test_other_datasets_are_a_click_away_and_pictures_on_both_sides_need_no_words(pages_url, page):
    opened(page, pages_url)
    expect(page.locator("#dataset .pages")).to_contain_text("sliding shapes 3 runs")
    page.get_by_role("link", name="two styles").click()
    expect(page.locator("#dataset")).to_contain_text("60 query images · 60 gallery images")
    expect(page.locator("#query")).to_be_hidden()
    expect(page.locator("#upload")).to_be_visible()
    expect(page.get_by_label("query → gallery")).to_be_checked()
    expect(page.locator("#results .query .eyebrow")).to_contain_text("Query image test-")
    expect(page.locator("#results .column").first.locator(".tile .frame img")).to_have_count(12)
    all_pictures(page)
    page.locator("#results .tile").first.click()
    page.get_by_role("button", name="Find query images for this gallery image").click()
    expect(page.locator("#results .query .eyebrow")).to_contain_text("Gallery image a ")
    page.get_by_role("link", name="shapes", exact=True).click()
    expect(page.locator("#dataset")).to_contain_text("60 images · 120 captions")
    expect(page.locator("#query")).to_be_visible()
    page.go_back()
    expect(page.locator("#results .query .eyebrow")).to_contain_text("Gallery image a ")


def test_an_unknown_address_leads_back_and_a_former_one_to_its_dataset(pages_url, page):
    page.goto(f"{pages_url}no/such/page")
    page.problems.clear()  # its status is 404
    page.get_by_role("link", name="To the page of xmr").click()
    expect(page.locator("#results .column").first).to_be_visible()
    page.goto(f"{pages_url}data-clips/?v=1&k=5")
    expect(page.locator("#results .column").first.locator(".tiles .tile")).to_have_count(5)
    assert (state_of(page)["dataset"], state_of(page)["k"]) == (["sliding shapes"], ["5"])
    program = httpx.get(f"{pages_url}no/such/page")
    assert program.status_code == 404 and json.loads(program.text)
    person = httpx.get(f"{pages_url}no", headers={"accept": "text/html,*/*"})
    assert person.status_code == 404 and 'href="./"' in person.text
