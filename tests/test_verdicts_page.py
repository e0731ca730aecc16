"""People with keyboards judge in browsers, and nothing is lost."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace

import pytest
from playwright.sync_api import expect

from tests.journeys import see_chart, serious
from tests.judges import RUN, listed_pairs, pairs_on, with_store
from xmr.disk import CannotSave
from xmr.store import PairNames, VerdictStore, read_verdicts
from xmr.views import judging
from xmr.workspace.item_names import item_link


@pytest.fixture(scope="module")
def server(serve, tmp_path_factory):
    """The app with verdicts of its own, from which tests take judges of different names."""
    workspace = with_store(tmp_path_factory.mktemp("verdicts"))
    with serve(workspace) as url:
        yield SimpleNamespace(url=url, workspace=workspace)


LINK = "?v=1&tab=false_negatives&fn_run=siglip&selector=caption_similarity&compare=word_overlap"
BY_WEIGHT = "&by=weight"


def open_list(page, url, name="", more=BY_WEIGHT):
    page.goto(url + LINK + more)
    expect(page.locator("#fn-pairs article:not([hidden])").first).to_be_visible()
    expect(page.locator("#fn-verdicts .words")).to_be_visible()
    if name:
        page.locator("#fn-name-input").fill(name)
        expect(page.locator("#fn-pairs button[data-answer]").first).to_be_enabled()
    return page.locator("#fn-pairs article")


def expect_settled(page):
    """A card shows an answer at once, and "Being kept …" until the server has it."""
    expect(page.locator("#fn-pairs")).not_to_contain_text("Being kept")


def judged_on(page, workspace, name):
    """What the store has once the page has no answer on the way."""
    expect_settled(page)
    with VerdictStore(workspace.verdicts.place) as store:
        return store.verdicts(name)


def test_keys_judge_card_after_card_and_nothing_is_lost(page, server):
    cards = open_list(page, server.url)
    expect(page.locator("#fn-verdicts")).to_contain_text("Give your name to judge pairs")
    expect(cards.first.locator("button[data-answer]").first).to_be_disabled()
    cards.first.focus()
    page.keyboard.press("y")  # without a name, it leads to the name
    expect(page.locator("#fn-name-input")).to_be_focused()
    page.keyboard.type("any y/n?")  # words, no verdicts
    page.locator("#fn-name-input").fill("Keys")
    expect(cards.first.locator("button[data-answer]").first).to_be_enabled()
    cards.first.focus()
    keys = "yn?ynnyy?ny"
    for key in keys:
        page.keyboard.press(key)
    asked = listed_pairs(server.workspace)
    caption = [server.workspace.dataset("test").captions[pair[1]][:60] for _, pair in asked]
    expect(page.locator("#fn-verdicts .said")).to_contain_text(f"“{caption[10]}”. 11 of ")
    expect(cards.nth(11)).to_be_focused()
    said = {"y": "yes", "n": "no", "?": "unsure"}
    found = judged_on(page, server.workspace, "Keys")
    assert [one.answer for one in found] == [said[key] for key in keys]
    assert [(one.run, one.selector) for one in found] == [("siglip", "caption_similarity")] * 11
    names = PairNames(server.workspace.dataset("test"))
    assert [one.pair for one in found] == [names.pair(*pair) for _, pair in asked[:11]]
    expect(page.locator("#fn-pairs [aria-pressed=true]")).to_have_count(11)
    page.keyboard.press("u")
    expect(page.locator("#fn-verdicts .said")).to_contain_text(f"Taken back: yes on “{caption[10]}”.")
    expect(cards.nth(10)).to_be_focused()
    page.keyboard.press("Control+z")
    expect(page.locator("#fn-verdicts .said")).to_contain_text(f"Taken back: no on “{caption[9]}”.")
    assert len(judged_on(page, server.workspace, "Keys")) == 9
    # After the last card the focus is on Next, and then on the first card of the next page.
    cards.nth(11).focus()
    page.keyboard.press("n")
    expect(page.locator("#fn-next")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#fn-where")).to_contain_text("13–24 of")
    expect(cards.first).to_be_focused()
    expect_settled(page)
    # The browser remembers the name, the store the verdicts.
    page.goto(server.url + LINK + BY_WEIGHT)
    expect(page.locator("#fn-name-input")).to_have_value("Keys")
    expect(page.locator("#fn-pairs [aria-pressed=true]")).to_have_count(10)
    page.locator("#fn-judged").get_by_label("not by me").check()
    expect(page.locator("#fn-pairs .name").first).to_have_text("#10")


def test_what_is_known_of_a_pair_is_told_after_ones_own_answer(page, server):
    cards = open_list(page, server.url, "Blind")
    first = cards.first
    secrets = first.locator(".badge, dl div, footer, .votes, li, .note")
    expect(page.locator("#fn-order")).to_contain_text("weigh most")
    expect(secrets).to_have_count(0)
    first.focus()
    page.keyboard.press("n")
    expect(first.locator("dl")).to_contain_text("score")
    expect(first.locator(".badge").first).to_be_visible()
    expect(first.locator("footer")).to_contain_text("nearest own")
    expect(cards.nth(1)).to_be_focused()
    expect(cards.nth(1).locator("dl div")).to_have_count(0)
    page.keyboard.press("u")  # and is hidden again where that is taken back
    expect(secrets).to_have_count(0)
    expect(first).to_be_focused()
    page.locator("#fn-answers").get_by_label("always").check()
    expect(cards.nth(1).locator("dl")).to_contain_text("score")
    page.wait_for_function("location.search.includes('answers=shown')")
    page.reload()
    expect(cards.nth(1).locator("dl")).to_contain_text("score")
    page.locator("#fn-answers").get_by_label("after your own").check()
    expect(secrets).to_have_count(0)
    page.locator("#fn-list").get_by_label("false alarms").check()
    expect(page.locator("#fn-blind")).to_contain_text("made by the truth")
    expect(first.locator(".badge").first).to_be_visible()


@pytest.mark.parametrize("width", [1400, 390])
def test_one_large_pair_at_a_time_by_keys_only(page, server, width):
    page.set_viewport_size({"width": width, "height": 900})
    name = f"One {width}"
    cards = open_list(page, server.url, name, "&by=informative&mode=one")
    seen = page.locator("#fn-pairs article:not([hidden])")
    expect(seen).to_have_count(1)
    expect(page.locator("#fn-pairs .round")).to_have_text("0 of 60 in this round")
    expect(page.locator("#fn-order")).to_contain_text("every third is drawn at random")
    assert seen.locator("img").bounding_box()["width"] > 250
    page.locator("#fn-name-input").blur()
    for count in range(1, 13):  # wherever the focus is
        before = seen.get_attribute("data-pair")
        page.keyboard.press("yn?"[count % 3])
        expect(page.locator(f"#fn-pairs article[data-pair='{before}']:not([hidden])")).to_have_count(0)
    expect(page.locator("#fn-where")).to_contain_text("1–12 of 98")  # the next come by themselves
    expect(page.locator("#fn-pairs .round")).to_have_text("12 of 60 in this round")
    expect(cards.first).to_be_visible()
    page.keyboard.press("y")
    expect(page.locator("#fn-pairs .last")).to_contain_text("Before: you said yes.")
    expect(cards.nth(1)).to_be_visible()
    page.keyboard.press("u")
    expect(cards.first).to_be_visible()
    expect(seen).to_have_count(1)
    assert len(judged_on(page, server.workspace, name)) == 12
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth") and not serious(page)
    page.locator("#fn-mode").get_by_label("a list").check()
    expect(seen).to_have_count(12)
    page.wait_for_function("!location.search.includes('mode=')")


def test_the_mouse_judges_too_and_next_skips_nothing_of_what_is_left(page, server):
    cards = open_list(page, server.url, "Mouse", BY_WEIGHT + "&judged=open")
    for place in range(12):
        cards.nth(place).get_by_role("button", name="No", exact=True).click()
    expect(page.locator("#fn-verdicts .said")).to_contain_text("12 of ")
    expect_settled(page)
    page.locator("#fn-next").click()
    asked = listed_pairs(server.workspace)
    expect(page.locator("#fn-pairs .name").first).to_have_text("#13")
    expect(page.locator("#fn-where")).to_contain_text(f"1–12 of {len(asked) - 12};")
    assert [one.answer for one in judged_on(page, server.workspace, "Mouse")] == ["no"] * 12
    cards.first.locator("[data-answer=yes]").focus()
    page.keyboard.press("Enter")
    expect(cards.first.locator("[data-answer=yes]")).to_have_attribute("aria-pressed", "true")
    expect(cards.nth(1)).to_be_focused()


def test_two_people_judge_the_same_pair_and_both_are_kept(page, browser, server):
    ann = open_list(page, server.url, "Two-A")
    context = browser.browser.new_context()
    other = context.new_page()
    bob = open_list(other, server.url, "Two-B")
    ann.first.get_by_role("button", name="Yes").click()
    expect(ann.first.locator(".stands")).not_to_have_text("Being kept …")
    bob.first.get_by_role("button", name="No", exact=True).click()
    expect(bob.first.locator(".stands")).to_contain_text("Others:")
    ask = judging.questions(server.workspace, RUN, "test", "t2v")[0]
    words = {
        name: judging.answers_on(server.workspace, "test", name).mark(ask)[1] for name in ("Two-A", "Two-B")
    }
    expect(bob.first.locator(".stands")).to_have_text(words["Two-B"])
    before = ann.first.locator(".stands").inner_text()
    ann.nth(1).get_by_role("button", name="Unsure").click()  # her next event tells her of his
    expect(ann.first.locator(".stands")).to_have_text(words["Two-A"])
    assert before != words["Two-A"]
    expect(ann.first.locator("[data-answer=yes]")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#fn-verdicts .words")).to_contain_text("Two-B 1")
    expect(page.locator("#fn-agreement")).to_contain_text("Cohen's κ")
    judging._standings.clear()  # as after a restart: the list comes first, what others said after it
    other.reload()
    expect(bob.first.locator(".stands")).to_have_text(words["Two-B"])
    expect(other.locator("#fn-verdicts .words")).to_contain_text("Two-A 2")
    context.close()
    assert [one.answer for one in judged_on(page, server.workspace, "Two-A")] == ["yes", "unsure"]
    assert [one.answer for one in judged_on(page, server.workspace, "Two-B")] == ["no"]


def test_what_is_not_kept_is_said_on_the_card(page, server, monkeypatch):
    cards = open_list(page, server.url, "Full")

    def full(self, verdict, key="", owner=""):
        raise CannotSave("the disk is full; nothing was changed")

    with monkeypatch.context() as broken:
        broken.setattr(VerdictStore, "record", full)
        cards.first.get_by_role("button", name="Yes").click()
        expect(cards.first.locator("[role=alert]")).to_have_text(
            "Not kept: the disk is full; nothing was changed"
        )
    expect(cards.first.locator("[aria-pressed=true]")).to_have_count(0)
    cards.first.get_by_role("button", name="Yes").click()
    expect(cards.first.locator("[aria-pressed=true]")).to_have_text("Yesy")
    expect(cards.first.locator("[role=alert]")).to_have_count(0)
    assert [one.answer for one in judged_on(page, server.workspace, "Full")] == ["yes"]


def test_verdicts_can_be_taken_home(page, server, tmp_path):
    cards = open_list(page, server.url, "Home <b>&")
    cards.first.get_by_role("button", name="Yes").click()
    expect(cards.first.locator("[aria-pressed=true]")).to_be_visible()
    expect_settled(page)
    page.locator("#fn-exports summary").click()
    for kind in ("jsonl", "csv"):
        with page.expect_download() as download:
            page.locator(f"#fn-{kind}").click()
        assert download.value.suggested_filename == f"verdicts-shapes-test.{kind}"
        path = tmp_path / f"got.{kind}"
        download.value.save_as(path)
        assert ("Home <b>&", "yes") in [(one.judge, one.answer) for one in read_verdicts(path)]
        assert len(read_verdicts(path)) == len(judged_on(page, server.workspace, ""))
    expect(page.locator("#fn-commands")).to_contain_text("--verdicts verdicts-shapes-test.jsonl")
    with page.expect_download() as download:
        page.locator("#fn-agreement-csv").click()
    assert download.value.suggested_filename == "verdicts-shapes-test-agreement.csv"


def test_a_link_asks_for_a_pair_and_the_chart_for_a_setting(page, server):
    pair = next(p for p in pairs_on(server.workspace)[20:])
    names = [
        item_link(server.workspace, "test", s, i) for s, i in zip(("visual", "caption"), pair, strict=True)
    ]
    more = f"&suspect_visual={names[0]}&suspect_text={names[1].replace('#', '%23')}"
    cards = open_list(page, server.url, more=more)
    expect(cards.first).to_contain_text("The pair asked for")
    expect(cards.first.locator("dl")).to_be_empty()  # until it is judged
    page.locator("#fn-answers").get_by_label("always").check()
    expect(cards.first).to_contain_text("place by weight#21")
    page.wait_for_function("location.search.includes('answers=shown')")
    expect(cards).to_have_count(13)
    page.locator("#fn-clear").click()
    expect(cards).to_have_count(12)
    expect(page.locator("#fn-clear")).to_be_hidden()
    page.wait_for_function("!location.search.includes('suspect_visual')")
    see_chart(page, "fn-chart")
    page.locator("#fn-list").get_by_label("only the first selector").check()
    page.select_option("#fn-not-by select", label="top_ranked")
    expect(page.locator("#fn-where")).to_contain_text("suspected by caption_similarity, not by top_ranked")
    page.wait_for_function("location.search.includes('not_by=top_ranked')")
    plot = page.locator("#fn-chart .plot")
    point = plot.evaluate("(gd) => gd.data[0].customdata[1]")
    plot.focus()
    for key in ("ArrowRight", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    expect(page.locator(".corner")).to_contain_text("threshold of caption_similarity is set to")
    expect(page.locator("#fn-threshold input[type=number]")).to_have_value(str(round(point[1], 6)))


def test_a_name_of_another_browser_is_told_and_its_verdicts_cannot_be_taken_back(page, browser, server):
    cards = open_list(page, server.url, "Owner")
    cards.first.get_by_role("button", name="Yes").click()
    expect_settled(page)
    other = browser.browser.new_context().new_page()
    other.goto(server.url + LINK)
    for name in ("Owner", "0wner", "ОWNER."):
        other.locator("#fn-name-input").fill(name)
        expect(other.locator("#fn-verdicts .hint")).to_contain_text("somebody who judges in another browser")
        expect(other.locator("#fn-pairs button[data-answer]").first).to_be_disabled()
        expect(other.locator("#fn-pairs [aria-pressed=true]")).to_have_count(0)
    # The browser that gave them knows itself again, after a reload and on other pages.
    page.goto(server.url + LINK + BY_WEIGHT)
    expect(page.locator("#fn-pairs [aria-pressed=true]")).to_have_count(1)
    secret = page.evaluate("localStorage.getItem('xmr-secret')")
    assert len(secret) == 48 and secret != other.evaluate("localStorage.getItem('xmr-secret')")
    page.locator("#fn-pairs article").first.focus()
    page.keyboard.press("u")
    expect(page.locator("#fn-verdicts .said")).to_contain_text("Taken back: yes")
    other.context.close()
    with VerdictStore(server.workspace.verdicts.place) as store:
        owners = [
            row[0] for row in store._connection.execute("SELECT owner FROM events WHERE judge = 'Owner'")
        ]
    assert owners and set(owners) == {hashlib.sha256(f"xmr verdicts {secret}".encode()).hexdigest()}


def test_a_refused_file_is_said_and_the_rest_works(page, serve, tmp_path):
    workspace = with_store(tmp_path, "notes.txt")
    workspace.verdicts.place.write_text("no database")
    with serve(workspace) as url:
        page.goto(url + LINK)
        expect(page.locator("#fn-verdicts [role=alert]")).to_contain_text("is no database of verdicts")
        expect(page.locator("#fn-pairs article")).to_have_count(12)
        expect(page.locator("#fn-pairs button:not(.poster)")).to_have_count(0)


def test_a_host_without_a_disk_asks_who_leaves_to_export(page, serve, tmp_path):
    workspace = with_store(tmp_path, forgotten=True)
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))

    with serve(workspace) as url:
        cards = open_list(page, url, "Leaver")
        expect(page.locator("#fn-exports")).to_contain_text("This host forgets all verdicts when it restarts")
        cards.first.get_by_role("button", name="Yes").click()
        expect(cards.first.locator("[aria-pressed=true]")).to_be_visible()
        expect_settled(page)
        page.get_by_role("tab", name="Search").click()
        expect(page.locator("#fn-pairs")).to_be_hidden()
        with page.expect_event("dialog"):
            page.close(run_before_unload=True)
        assert asked == ["beforeunload"]
        expect(page.locator("#fn-csv")).to_be_in_viewport()
        cards.nth(1).get_by_role("button", name="No", exact=True).click()  # who stays goes on
        expect(cards.nth(1).locator("[aria-pressed=true]")).to_be_visible()
        assert len(judged_on(page, workspace, "Leaver")) == 2
        with page.expect_download():
            page.locator("#fn-csv").click()
        page.wait_for_timeout(200)
        page.goto(url)  # nobody asks
        expect(page.locator("#results .column")).to_have_count(3)
        page.goto("about:blank")
        assert asked == ["beforeunload"]


def test_an_answer_is_kept_under_the_name_that_stands_there(page, server):
    cards = open_list(page, server.url, "Before")
    page.evaluate(  # the name and the answer in one go, before the server can have told of the name
        """() => {
          const box = document.querySelector('#fn-name input');
          box.value = 'After';
          box.dispatchEvent(new Event('input', { bubbles: true }));
          document.querySelector('#fn-pairs button[data-answer=no]').click();
        }"""
    )
    expect(page.locator("#fn-verdicts .said")).to_contain_text("Judged no")
    expect(cards.first.locator("[data-answer=no]")).to_have_attribute("aria-pressed", "true")
    assert [len(judged_on(page, server.workspace, name)) for name in ("Before", "After")] == [0, 1]
