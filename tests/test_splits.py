"""A split that has to be embedded first: nobody waits for it, somebody asks for it, sees how far it is, and may stop it."""

import threading
import time

import pytest
from playwright.sync_api import expect

from tests.fake_workspace import SIZES, FakeEmbedder, make_workspace
from tests.journeys import TABS, opened
from tests.viewed import pages_of, see
from xmr.views import beside
from xmr.workspace import splits


class SlowEmbedder(FakeEmbedder):
    """Reads as many as it is let."""

    def __init__(self):
        self.gate, self.seen, self.fault, self.missing = threading.Semaphore(0), 0, "", SIZES["train"]

    def unread(self, runs, split):
        return self.missing

    def read_split(self, runs, dataset, progress):
        if self.fault:
            raise ValueError(self.fault)
        of = len(dataset.visual_ids)
        for self.seen in range(of + 1):
            progress("encode train pictures", self.seen, of)
            while not self.gate.acquire(timeout=0.02):
                progress("encode train pictures", self.seen, of)

    def let(self, count):
        for _ in range(count):
            self.gate.release()


@pytest.fixture
def slow(tmp_path, monkeypatch):
    monkeypatch.setattr(splits, "AT_ONCE", 30)  # the training split has 40
    workspace = make_workspace(tmp_path)
    workspace.embedder = SlowEmbedder()
    yield workspace
    workspace.embedder.let(1000)
    splits.reading(workspace, "train").cancel()
    splits.ALONE.submit(int).result(10)  # nothing is left in the queue


def until(true):
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("tab", TABS)
def test_every_tab_says_what_is_missing_and_begins_nothing_unasked(slow, tab):
    seen = see(slow, tab=tab, split="train")
    assert (
        seen.words(f"{tab}-unread")
        == "40 images of the train split have not been embedded yet: about a minute."
    )
    assert seen[f"{tab}-embed"]["label"] == "Embed 40 images"
    assert not splits.reading(slow, "train").how and not seen.again


def test_other_splits_and_small_ones_are_shown(slow):
    for split in ("test", "validation"):
        assert "results" in see(slow, split=split)


def test_it_is_read_in_the_background_once_asked_for_and_then_shown(slow):
    seen = see(slow, ("search-embed", "change", None), split="train")
    assert seen.again and "search-cancel" in seen
    slow.embedder.let(10)
    until(lambda: slow.embedder.seen == 10)
    seen = see(slow, split="train")
    assert (seen["search-progress"]["done"], seen["search-progress"]["of"]) == (10, 40)
    assert seen.words("search-doing").startswith("encode train pictures: 10 of 40, about a minute left")
    assert "results" in see(slow, split="test")
    slow.embedder.let(100)
    until(lambda: splits.is_ready(slow, "train"))
    assert "results" in see(slow, split="train")


def test_who_stops_it_can_begin_again(slow):
    see(slow, ("search-embed", "change", None), split="train")
    slow.embedder.let(5)
    until(lambda: slow.embedder.seen == 5)
    assert "search-embed" in see(slow, ("search-cancel", "change", None), split="train")
    splits.ALONE.submit(int).result(10)  # it has ended
    assert splits.reading(slow, "train").how == ""
    see(slow, ("search-embed", "change", None), split="train")
    slow.embedder.let(100)
    until(lambda: splits.is_ready(slow, "train"))


def test_what_went_wrong_is_said_and_can_be_tried_again(slow):
    slow.embedder.fault = "the weights are gone"
    see(slow, ("search-embed", "change", None), split="train")
    until(lambda: splits.reading(slow, "train").how == "failed")
    seen = see(slow, split="train")
    assert seen.words("search-unread") == "The train split could not be embedded. the weights are gone"
    assert seen["search-embed"]["label"] == "Try again" and not seen.again
    slow.embedder.fault = ""
    slow.embedder.let(100)
    see(slow, ("search-embed", "change", None), split="train")
    until(lambda: splits.is_ready(slow, "train"))


def test_what_lies_in_the_cache_is_read_unasked(slow):
    slow.embedder.missing = 0
    slow.embedder.let(100)
    assert "search-cancel" in see(slow, split="train")
    until(lambda: splits.is_ready(slow, "train"))


def test_one_split_is_read_at_a_time(slow, tmp_path):
    other = make_workspace(tmp_path)
    other.embedder = SlowEmbedder()
    see(slow, ("search-embed", "change", None), split="train")
    until(lambda: splits.reading(slow, "train").how == "running")
    seen = see(other, ("search-embed", "change", None), split="train")
    assert seen.words("search-doing").startswith("Waiting for its turn")
    see(other, ("search-cancel", "change", None), split="train")


def test_files_and_cards_of_it_are_refused_in_a_sentence(slow):
    found = beside(pages_of(slow), {"split": "train"}, "file", {"name": "errors.csv"})
    assert found == {"fault": "The train split is not embedded yet."}


def test_a_visitor_asks_for_it_looks_elsewhere_and_finds_it_done(page, serve, slow):
    with serve(slow) as url:
        opened(page, url)
        page.select_option("#split-input", label="train · 40 images")
        expect(page.locator("#search-unread")).to_contain_text(
            "40 images of the train split have not been embedded yet"
        )
        page.click("#search-embed")
        expect(page.locator("#search-unread")).to_contain_text("is being embedded")
        slow.embedder.let(10)
        expect(page.locator("#search-doing")).to_contain_text("10 of 40")
        page.click("#tab-errors")
        expect(page.locator("#errors-progress")).to_be_visible()
        page.select_option("#split-input", label="test · 60 images")
        expect(page.locator("#panel-errors .plot").first).to_be_visible()
        page.select_option("#split-input", label="train · 40 images")
        page.click("#errors-cancel")
        expect(page.locator("#errors-embed")).to_be_visible()
        page.click("#errors-embed")
        slow.embedder.let(200)
        expect(page.locator("#panel-errors .plot").first).to_be_visible()
        expect(page.locator("#errors-unread")).to_have_count(0)
