"""Stories in a browser: the offer, the steps and the way back, what is collected, and a page of it to send."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from scripts import report as script
from tests.fake_workspace import MARKUP
from tests.journeys import opened, rest, serious, state_of
from tests.judges import with_store
from xmr.views.report import Subject
from xmr.views.stories import read_story

FIRST = f"""# Where losses pull
Two views.

## A curve
The loss of info_nce has the formula $e^x$. {MARKUP}
[Weights](?v=1&tab=weights&loss=run+siglip)

## Its figures
Read them.
[Results](?v=1&tab=results&runs=info_nce&runs=siglip)

## A search
Look.
[Search](?v=1&tab=search&query=text%3Aa+red+ring&runs=siglip)
"""
SECOND = "# Another\n\n## Only step\nWords.\n[Map](?v=1&tab=map)\n"


@pytest.fixture(scope="module")
def told(serve, tmp_path_factory):
    workspace = with_store(tmp_path_factory.mktemp("checkpoints"))
    with serve(workspace, [read_story("pull", FIRST), read_story("other", SECOND)]) as address:
        yield address


def test_a_first_visit_is_offered_stories_whose_steps_go_back_by_back(page, told):
    opened(page, told)
    offer, story = page.locator(".offer"), page.locator(".story")
    expect(offer).to_be_visible()
    expect(story).to_be_hidden()
    offer.get_by_role("button", name="Where losses pull").click()
    expect(story.locator("h2")).to_have_text("A curve")
    expect(offer).to_be_hidden()
    expect(page.locator("#weights-choice select")).to_have_value("siglip (as trained)")
    assert story.locator("math").count() == 1 and story.locator("script, b").count() == 0
    expect(story.locator(".text")).to_contain_text("<b>bold</b>")
    story.get_by_role("button", name="Next").press("Enter")
    expect(story.locator("h2")).to_have_text("Its figures")
    expect(page.locator("#tab-results")).to_have_attribute("aria-selected", "true")
    assert state_of(page)["runs"] == ["info_nce", "siglip"] and state_of(page)["step"] == ["2"]
    page.keyboard.press("Enter")  # Next still has the focus
    expect(page.locator("#query")).to_have_value("a red ring")
    expect(story.get_by_role("button", name="Next")).to_be_disabled()
    expect(story.locator(".others")).to_contain_text("Another")
    page.go_back()
    expect(story.locator("h2")).to_have_text("Its figures")
    page.go_back()
    expect(story.locator("h2")).to_have_text("A curve")
    assert not serious(page)
    # The view is live: whoever moves it finds a way back, and the story stays.
    rest(page)
    page.locator("#tab-distributions").click()
    rest(page)
    expect(story.locator("h2")).to_have_text("A curve")
    story.get_by_role("button", name="Back to this step").click()
    expect(page.locator("#tab-weights")).to_have_attribute("aria-selected", "true")
    story.get_by_role("button", name="Leave the story").click()
    expect(story).to_be_hidden()
    expect(offer).to_be_hidden()
    assert "story" not in state_of(page)
    page.locator("#stories summary").click()
    page.locator("#stories").get_by_role("button", name="Another").click()
    expect(page.locator("#tab-map")).to_have_attribute("aria-selected", "true")


def test_a_link_shows_a_step_and_an_unknown_story_is_told(page, told):
    opened(page, told, "weights", story="pull", step=1)
    expect(page.locator(".story h2")).to_have_text("A curve")
    opened(page, told, "weights", story="gone")
    expect(page.locator(".corner")).to_contain_text("There is no story gone here; there are: pull, other.")
    expect(page.locator(".story")).to_be_hidden()


def test_a_closed_offer_stays_closed_and_covers_nothing_on_a_phone(page, told):
    page.set_viewport_size({"width": 390, "height": 800})
    opened(page, told)
    offer = page.locator(".offer")
    expect(offer).to_be_visible()
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    over = """() => { const box = document.querySelector('.offer').getBoundingClientRect();
        const next = document.querySelector('.panels').getBoundingClientRect(); return box.bottom - next.top; }"""
    assert (
        page.evaluate(over) <= 0
        and page.evaluate("() => getComputedStyle(document.querySelector('.offer')).position") != "fixed"
    )
    offer.get_by_role("button", name="Close the offer").click()
    expect(offer).to_be_hidden()
    page.reload()
    expect(page.locator("#query")).to_be_visible()
    rest(page)
    expect(offer).to_be_hidden()


def test_views_are_collected_with_notes_and_saved_as_a_story_and_a_page(page, told, workspace, tmp_path):
    opened(page, told, "results", runs="siglip")
    add, collected = page.locator("#add-view"), page.locator("#collected")
    add.click()
    collected.locator("textarea").fill("# first, <b>bold</b>\n\n[not](?a=link)")
    opened(page, told, "weights", loss="run+info_nce")
    expect(collected.locator("summary")).to_contain_text("(1)")
    add.click()
    collected.locator("li").nth(1).locator("input").fill("The curve")
    collected.get_by_role("button", name="Earlier: view 2").click()
    page.locator("#story-name").fill("What I saw")
    with page.expect_download() as download:
        collected.get_by_role("button", name="Save as Markdown").click()
    assert download.value.suggested_filename == "what-i-saw.md"
    text = download.value.path().read_text()
    story = read_story("mine", text)
    assert (story.title, [step.title for step in story.steps]) == ("What I saw", ["The curve", "Results"])
    assert story.steps[1].paragraphs == ("# first, <b>bold</b>", "[not](?a=link)")
    assert story.steps[1].keys["runs"] == ["siglip"] and story.steps[0].keys["loss"] == ["run info_nce"]
    html = script.report(Subject(workspace, list(workspace.runs)), [], ["a"], story)
    assert "<title>What I saw</title>" in html and "# first, &lt;b&gt;bold&lt;/b&gt;" in html
    path = tmp_path / "story.html"
    path.write_text(html)
    page.goto(path.as_uri())
    expect(page.locator("section h2")).to_have_text(["1. The curve", "2. Results"])
    page.wait_for_selector("section:first-of-type .plot[data-drawn]")
    assert page.locator("section:nth-of-type(2) table").count() >= 2
    opened(page, told)
    collected.locator("summary").click()
    for _ in range(2):
        collected.get_by_role("button", name="Take out view 1").click()
    expect(collected).to_be_hidden()
