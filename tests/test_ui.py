"""Journeys through the app's shell and search tab, in a browser and through the API."""

from __future__ import annotations

import re
import time
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from gradio_client import Client
from PIL import Image
from playwright.sync_api import expect

from tests.charts import see_chart
from tests.fake_workspace import COLOURS, make_many, make_workspace
from tests.run_chooser import tick, untick
from xmr.losses import LOSSES
from xmr.ui import build_app
from xmr.ui.answer import answer
from xmr.ui.asked import Asked
from xmr.ui.pictures import open_picture
from xmr.ui.shell import IDLE, side_by_side
from xmr.ui.tabs import search
from xmr.workspace.pages import Page

RUNS = [
    "info_nce",
    "max_of_hinges",
    "siglip",
]  # by name; at first they stand as max_of_hinges, info_nce, siglip


@pytest.fixture
def home(page, app_url):
    """The page, opened and full."""
    page.goto(app_url)
    expect(page.locator("#results .column")).to_have_count(3)
    return page


@pytest.fixture(scope="module")
def client(app_url):
    return Client(app_url, verbose=False)


def names(page, column=0):
    """Labels of a column's tiles."""
    tiles = page.locator("#results .column").nth(column).locator(".tile")
    return [tile.get_attribute("aria-label") for tile in tiles.all()]


ROOT = Path(__file__).parent.parent


# ---- the first screen ---------------------------------------------------------------------------------------


def test_first_screen_is_full_and_shows_runs_that_disagree(home):
    for column in range(3):
        assert len(names(home, column)) >= 12
    places = home.locator("#results .column .place b").all_inner_texts()
    assert len(set(places)) > 1, "the runs should differ on the first query"
    expect(home.locator("#results .strip")).to_contain_text("Overlap@12")
    expect(home.locator("#dataset")).to_contain_text("60 images · 120 captions")
    expect(home.locator("#dataset")).to_contain_text("truth known for every pair")
    # Every picture on the screen arrived.
    home.wait_for_function(
        "[...document.querySelectorAll('#results img')].every(i => i.complete && i.naturalWidth)"
    )
    # A folder that is no run is named with its reason.
    expect(home.locator("#faults")).to_contain_text("half_written")
    expect(home.locator("#faults")).to_contain_text("run.json ends in the middle (line 7)")


# ---- searching ----------------------------------------------------------------------------------------------


def test_text_search_answers_in_every_column(home):
    home.locator("#query input").fill("a purple ring")
    home.locator("#go").click()
    expect(home.locator("#results .query")).to_contain_text("a purple ring")
    expect(home.locator("#results .column").first.locator(".tile").first).to_have_attribute(
        "aria-label", re.compile("^Rank 1, score 0"))  # fmt: skip
    home.locator("#query input").fill("purple, surely no caption")
    home.locator("#query input").press("Enter")
    expect(home.locator("#results .query")).to_contain_text("no match is annotated")
    assert not home.locator("#results .tag").count()


def test_status_is_told_by_words_and_frames_and_not_by_colour_alone(home):
    home.locator("#query input").fill("something blue on a pale ground")
    home.locator("#go").click()
    expect(home.locator("#results .asked")).to_have_text("something blue on a pale ground")
    for words in ("annotated match", "true, not annotated", "not a match"):
        expect(home.locator("#results .legend")).to_contain_text(words)
    labels = [label for column in range(3) for label in names(home, column)]
    assert any("annotated match" in label for label in labels)
    frames = {
        home.locator(f"#results .tile.{status} .frame")
        .first.evaluate("e => getComputedStyle(e).border")
        .split(" rgb")[0]
        for status in ("annotated", "true", "neither")
    }
    assert len(frames) == 3, frames


def test_empty_query_is_answered_with_what_to_do(home):
    before = names(home)
    home.locator("#query input").fill("   ")
    home.locator("#go").click()
    expect(home.get_by_text("Type what the picture should show")).to_be_visible()
    assert names(home) == before
    home.problems[:] = [problem for problem in home.problems if "500" not in problem]


def test_next_disagreement_and_random_pick_test_items(home):
    first = home.locator("#results .query .eyebrow").inner_text()
    home.locator("#next").click()
    expect(home.locator("#results .query .eyebrow")).not_to_have_text(first)
    second = home.locator("#results .query .eyebrow").inner_text()
    # A random item may be the same one now and then, but not ten times.
    for _ in range(10):
        home.locator("#random").click()
        home.wait_for_timeout(150)
        if home.locator("#results .query .eyebrow").inner_text() != second:
            break
    else:
        pytest.fail("ten random items were all the same")
    expect(home.locator("#results .query .eyebrow")).to_have_text(re.compile(r"^Caption test-\d+#\d$"))


def test_what_was_done_last_stands_however_late_an_earlier_answer_is(home, monkeypatch, tmp_path):
    real, late = search.show, [1.5]

    def slow(*values):
        time.sleep(late.pop() if late else 0)
        return real(*values)

    monkeypatch.setattr(search, "show", slow)
    home.locator("#direction").get_by_label("image → text").check()
    home.locator("#query input").fill("something red")
    home.locator("#go").click()
    asked = home.locator("#results .asked")
    expect(asked).to_have_text("something red")
    expect(home.locator("#direction").get_by_label("text → image")).to_be_checked()
    home.wait_for_timeout(2000)  # longer than the answer that was late
    expect(asked).to_have_text("something red")
    home.wait_for_function("location.search.includes('something+red')")
    # A change of the sidebar takes no act back that is still waiting.
    late.append(1)
    home.locator("#direction").get_by_label("image → text").check()
    home.locator("#next").click()
    home.locator("#k input[type=number]").fill("5")
    home.locator("#k input[type=number]").press("Tab")
    workspace = make_workspace(tmp_path)
    order = workspace.disagreements(workspace.shown_first, "test", "v2t")
    names = [workspace.dataset("test").visual_ids[place] for place in order]
    query = home.locator("#results .query .eyebrow")
    expect(query).to_have_text(f"Image {names[1]}")
    expect(home.locator("#results .column").first.locator(".tiles .tile")).to_have_count(5)
    # Pressed three times, it goes three places on, however many answers that takes.
    late.append(1)
    for _ in range(3):
        home.locator("#next").click()
    expect(query).to_have_text(f"Image {names[4]}")
    home.wait_for_timeout(500)
    expect(query).to_have_text(f"Image {names[4]}")


def test_what_can_not_be_answered_is_not_asked_for_ever(home, monkeypatch):
    def broken(*values):
        raise gr.Error("the picture is not there any more")

    asked = []
    home.on("request", lambda request: "queue/join" in request.url and asked.append(request.url))
    home.wait_for_timeout(1000 * IDLE + 4000)  # tabs have been filled
    with monkeypatch.context() as patched:
        patched.setattr(search, "show", broken)
        home.locator("#k input[type=number]").fill("5")
        home.locator("#k input[type=number]").press("Tab")
        expect(home.get_by_text("the picture is not there any more").first).to_be_visible()
        home.wait_for_timeout(2000)
        count = len(asked)
        home.wait_for_timeout(2000)
        assert len(asked) == count
    home.locator("#next").click()
    expect(home.locator("#results .column").first.locator(".tiles .tile")).to_have_count(5)


def test_annotated_match_outside_k_is_pinned_with_its_rank(home):
    home.goto(home.url.split("?")[0] + "?v=1&k=4")
    expect(home.locator("#results .column").first.locator(".tiles .tile")).to_have_count(4)
    pinned = home.locator("#results .below .tile")
    for _ in range(12):
        if pinned.count():
            break
        before = home.locator("#results .query .eyebrow").inner_text()
        home.locator("#next").click()
        expect(home.locator("#results .query .eyebrow")).not_to_have_text(before)
    rank = int(re.match(r"Rank (\d+)", pinned.first.get_attribute("aria-label")).group(1))
    assert rank > 4
    assert f"#{rank}" in home.locator("#results .column .place b").all_inner_texts()


def test_fewer_runs_fewer_columns_and_the_baseline_follows(home):
    expect(home.locator("#baseline input")).to_have_value("max_of_hinges")
    untick(home, "max_of_hinges")
    expect(home.locator("#results .column")).to_have_count(2)
    expect(home.locator("#baseline input")).to_have_value("info_nce")
    for name in ("info_nce", "siglip"):
        untick(home, name)
    expect(home.locator("#results")).to_contain_text("Pick at least one run")
    tick(home, "siglip")
    expect(home.locator("#results .column")).to_have_count(1)


def test_direction_switch_asks_the_same_pair_from_its_other_side(home):
    caption = home.locator("#results .query .eyebrow").inner_text()
    home.locator("#direction").get_by_label("image → text").check()
    visual = caption.removeprefix("Caption ").split("#")[0]
    expect(home.locator("#results .query .eyebrow")).to_have_text(f"Image {visual}")
    expect(home.locator("#results .query img")).to_be_visible()
    expect(home.locator("#results .tile.text").first).to_be_visible()
    home.locator("#direction").get_by_label("text → image").check()
    expect(home.locator("#results .query .eyebrow")).to_have_text(f"Caption {visual}#0")


def test_tile_opens_its_card_and_becomes_the_query(home):
    tile = home.locator("#results .column").nth(1).locator(".tile").nth(2)
    index = tile.get_attribute("data-item")
    for _ in range(2):  # the second time, because an unchanged value would not open it again
        tile.click()
        card = home.locator("dialog.item")
        expect(card).to_be_visible()
        expect(card.locator("tbody tr")).to_have_count(3)
        expect(card.locator("tbody tr").nth(1).locator("td").first).to_have_text("3")
        home.keyboard.press("Escape")
        expect(card).to_be_hidden()
    tile.click()
    home.get_by_role("button", name="Find captions for this image").click()
    expect(home.locator("#results .query .eyebrow")).to_have_text(f"Image test-{int(index):03d}")
    expect(home.locator("#direction").get_by_label("image → text")).to_be_checked()


def test_uploaded_picture_finds_captions(home, tmp_path):
    path = tmp_path / "green.png"
    Image.new("RGB", (300, 200), COLOURS["green"]).save(path)
    home.locator("#upload input[type=file], input[type=file]").first.set_input_files(path)
    expect(home.locator("#results .query .eyebrow")).to_have_text("Uploaded picture")
    expect(home.locator("#results .tile.text").first).to_contain_text("green")
    # Another run selection asks the same picture again.
    untick(home, "siglip")
    expect(home.locator("#results .column")).to_have_count(2)
    expect(home.locator("#results .query .eyebrow")).to_have_text("Uploaded picture")


def test_corrupt_picture_is_refused_in_words(home, tmp_path):
    path = tmp_path / "broken.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    before = names(home)
    home.locator("#upload input[type=file], input[type=file]").first.set_input_files(path)
    expect(home.get_by_text("This picture could not be used")).to_be_visible()
    assert names(home) == before


def test_pictures_are_judged_before_their_pixels_are_read(tmp_path):
    bomb = tmp_path / "bomb.png"
    Image.new("1", (6000, 5000)).save(bomb)
    with pytest.raises(ValueError, match="6000 × 5000 pixels, more than 25 million; scale it down"):
        open_picture(str(bomb))
    text = tmp_path / "text.png"
    text.write_text("not a picture")
    cut = tmp_path / "cut.jpg"
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(cut)
    cut.write_bytes(cut.read_bytes()[:5000])
    for path in (text, cut):
        with pytest.raises(ValueError, match="could not be used: not readable as PNG"):
            open_picture(str(path))


def test_markup_in_a_caption_stays_text(home):
    home.locator("#direction").get_by_label("image → text").check()
    home.locator("#query input").fill("something red on a pale ground")
    expect(home.locator("#results .tile.text").first).to_be_visible()
    # Ask with the caption's own words: as the query, as tiles of the other direction and in the card.
    from tests.fake_workspace import MARKUP, make_dataset

    caption = next(text for text in make_dataset().captions if MARKUP in text)
    home.locator("#query input").fill(caption)
    home.locator("#go").click()
    expect(home.locator("#results .asked")).to_have_text(caption)
    home.locator("#results .tile.annotated").first.click()
    expect(home.locator("dialog.item .captions")).to_contain_text(MARKUP)
    assert not home.locator("#results b:text-is('bold'), #item b, #results script, #item script").count()


# ---- keyboard, phones, dark ---------------------------------------------------------------------------------


def test_tiles_are_reached_and_opened_with_the_keyboard(home):
    home.locator("#scale input").focus()
    home.keyboard.press("Tab")
    focused = "document.activeElement.getAttribute('aria-label') || ''"
    assert home.evaluate(focused).startswith("Rank 1, ")
    item = home.evaluate("document.activeElement.dataset.item")
    assert (
        home.locator("#results .tile.same").count()
        == home.locator(f"#results .tile[data-item='{item}']").count()
    )
    home.keyboard.press("ArrowRight")
    assert home.evaluate(focused).startswith("Rank 2, ")
    home.keyboard.press("Enter")
    expect(home.locator("dialog.item")).to_be_visible()
    home.keyboard.press("Escape")
    assert home.evaluate(focused).startswith("Rank 2, "), "focus returns to the tile"


def test_nothing_overflows_from_phone_to_desk(page, app_url):
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{app_url}?__theme=dark")
    expect(page.locator("#results .tile").first).to_be_visible()
    # The sidebar gives way to the results, and can be called.
    expect(page.locator("#sidebar")).not_to_have_class(re.compile("open"))
    for width in (390, 320, 768, 1400):
        page.set_viewport_size({"width": width, "height": 844})
        page.wait_for_timeout(200)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        outside = page.evaluate(
            """() => [...document.querySelectorAll('#results .tile')].filter(tile => {
              const inner = tile.getBoundingClientRect(), outer = tile.closest('.column').getBoundingClientRect();
              return inner.left < outer.left || inner.right > outer.right + 1 || tile.scrollWidth > tile.clientWidth + 1;
            }).map(tile => tile.getAttribute('aria-label'))"""
        )
        assert not outside, (width, outside)


# ---- many runs ----------------------------------------------------------------------------------------------


@pytest.fixture
def many_url(serve, tmp_path):
    with serve(make_many(tmp_path)) as url:
        yield url


# The server is asked for before the page, so that it outlives it.
def test_of_many_runs_four_are_shown_and_more_can_be_searched_for(many_url, page):
    page.goto(many_url)
    columns = page.locator("#results .column h3")
    expect(columns).to_have_text(["max_of_hinges", "info_nce", "polynomial", "siglip"])
    for name in ("hybrid", "circle", "ladder"):
        tick(page, name)
    expect(columns).to_have_count(6)
    expect(page.locator("#results .column").nth(4)).to_contain_text("mean of 2 runs")
    expect(page.locator("#results .left-out")).to_contain_text("6 of the 7 chosen runs are drawn")
    expect(page.locator("#results .left-out")).to_contain_text("Left out: ladder.")
    untick(page, "circle")
    expect(columns.nth(5)).to_have_text("ladder")
    expect(page.locator("#results .left-out")).to_have_count(0)
    assert page.evaluate("document.documentElement.scrollWidth") <= 1400
    # A tab that is opened only after the sidebar has changed is drawn as well.
    page.get_by_role("tab", name="Distributions").click()
    see_chart(page, "distributions-chart")


def test_the_baseline_is_always_drawn_and_no_two_runs_look_alike(tmp_path):
    runs = [f"run{i}" for i in range(9)]
    shown, left_out = side_by_side(runs, "run8")
    assert shown == [*runs[:5], "run8"]
    assert left_out.endswith("Left out: run5, run6, run7.")
    assert side_by_side(runs[:6], "run0") == (runs[:6], "")
    workspace = make_many(tmp_path)
    looks = workspace.styles(list(workspace.runs))
    assert len(set(looks.values())) == len(workspace.runs) == len(LOSSES) + 1


# ---- nothing to show ----------------------------------------------------------------------------------------


def test_no_runs_screen_names_the_command_that_makes_some(page, serve, tmp_path):
    with serve(make_workspace(tmp_path, names=())) as url:
        page.goto(url)
        expect(page.locator("#problem")).to_contain_text("There is no whole run in")
        expect(page.locator("#problem")).to_contain_text("python scripts/train.py --dataset blocks")
        expect(page.locator("#faults")).to_contain_text("half_written")


def test_missing_dataset_screen_says_why(tmp_path):
    from xmr.workspace import Workspace

    def missing(split):
        raise FileNotFoundError("/data/<b>gone</b> is not there")

    runs = list(make_workspace(tmp_path).runs.values())
    app = build_app(Workspace.of(runs, "gone", missing, None))
    text = str(app.get_config_file())
    assert "is not there" in text
    assert "&lt;b&gt;gone" in text
    assert "python app.py --checkpoints checkpoints --dataset shapes" in text


def test_an_answer_is_small(tmp_path, cache_folder):
    import json

    workspace = make_workspace(tmp_path)
    value = answer(workspace, Asked("item", "test", "t2v"), list(workspace.runs), "siglip", 24)
    assert len(json.dumps(value)) < 60_000


# ---- app.py -------------------------------------------------------------------------------------------------


def test_app_opens_what_its_options_name(monkeypatch, tmp_path, capsys):
    import app

    told = {}

    class Recorder:
        def launch(self, **options):
            told.update(options)
            return None, "http://localhost:7999/", None

        def block_thread(self):
            told["blocked"] = True

    def opened(checkpoints, dataset, recall, verdicts):
        told.update(checkpoints=checkpoints, dataset=dataset, recall=recall, verdicts=verdicts)
        workspace = make_workspace(tmp_path)
        return [Page("shapes", "", dict(workspace.runs), lambda: workspace)]

    monkeypatch.setenv("PORT", "7999")
    monkeypatch.setattr("xmr.workspace.pages.open_pages", opened)
    monkeypatch.setattr("xmr.ui.build_app", lambda workspace, pages: Recorder())
    monkeypatch.setattr(app, "why_no_runs", lambda folder: "")
    monkeypatch.setattr(app, "free_port", lambda host, port: port)
    monkeypatch.setattr(app, "allow_only", lambda names: told.update(allowed=names))
    app.main(["--checkpoints", "runs", "--dataset", "emoji", "--host", "0.0.0.0"])
    said = capsys.readouterr().out
    assert "half_written: run.json ends in the middle" in said and said.endswith("\nhttp://localhost:7999/\n")
    assert "Ready in" in said and "delete" not in said and "share=True" not in said
    assert told["allowed"] == []
    assert told["checkpoints"] == "runs"
    assert told["dataset"] == "emoji" and told["recall"] == 1.0
    assert (told["server_name"], told["server_port"]) == ("0.0.0.0", 7999)
    assert told["blocked"]
    assert told["run_history"] is False
    assert told["ssr_mode"] is False
