"""Why an item scores as it does, what differs from what was asked, the order of two runs and what one wins, as plain data."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.fake_workspace import RUNS, make_classes, make_other, make_pictures, make_workspace
from tests.viewed import pages_of, see
from xmr.analysis import Enriched
from xmr.views import beside, view, won
from xmr.views.error_lists import Asked
from xmr.views.why import said
from xmr.workspace import Query
from xmr.workspace.whys import MOST_WORDS, Why

NAMES = list(RUNS)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, cache_folder):
    return make_workspace(tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture(scope="module")
def told(tmp_path_factory, cache_folder):
    """The fake workspace with a world that says what differs: the colour, and the shape."""
    workspace = make_workspace(tmp_path_factory.mktemp("checkpoints"))
    data = workspace.dataset()
    kinds = list(zip(data.columns["colour"], data.columns["shape"], strict=True))

    def differences(visual, text, asked):
        if data.truth.pairs(np.array([visual]), np.array([text]))[0]:
            return []
        return [f"a {' '.join(kinds[visual])} where something else was {'asked' if asked else 'said'}"]

    with_words = replace(data, truth=replace(data.truth, differences=differences))
    workspace._memo._values["dataset", "test"] = with_words
    return workspace


def asked_why(workspace, data, **state):
    return beside(pages_of(workspace), {"query": "caption:test-003#0"} | state, "why", data)


# ---- why ---------------------------------------------------------------------------------------------------------


def test_the_card_tells_of_two_runs_what_parts_add(workspace):
    found = asked_why(workspace, {"index": 5, "runs": NAMES[:2]})
    assert [one["name"] for one in found["runs"]] == NAMES[:2] and found["image"]
    text = workspace.dataset().captions[6]
    assert "".join(piece["text"] for piece in found["pieces"]) == text
    for one in found["runs"]:
        assert len(one["words"]) == len(text.split()) and len(one["parts"]) == 49
        assert max(abs(mark["share"]) for mark in one["words"]) == 1
        assert one["score"] == f"{workspace.locate(Query(index=6), one['name'], 'test', 't2v', 5).score:.3f}"
        for (name, without, adds), mark in zip(one["table"]["rows"], one["words"], strict=False):
            assert adds == mark["shown"] and name in text.split() and without
        assert len(one["table"]["rows"]) == len(one["words"]) + 49
        assert one["said"].startswith("Without “")
    assert len(json.dumps(found)) < 40_000


def test_a_typed_text_a_picture_that_asks_and_long_texts_are_told(workspace):
    long = " ".join(["red"] * 120)
    found = asked_why(workspace, {"index": 2, "runs": ["siglip"]}, query=f"text:{long}")
    assert found["note"] == f"Only the first {MOST_WORDS} of its 120 words are left out, each once."
    assert sum("word" in piece for piece in found["pieces"]) == MOST_WORDS
    back = asked_why(workspace, {"index": 9, "runs": ["siglip"]}, query="visual:test-001", direction="v2t")
    assert "".join(piece["text"] for piece in back["pieces"]) == workspace.dataset().captions[9]
    assert len(back["runs"][0]["parts"]) == 49
    emoji = asked_why(workspace, {"index": 2, "runs": ["siglip"]}, query="text:a 🟥 red cat")
    assert [piece["text"] for piece in emoji["pieces"]] == ["a", " 🟥 ", "red", " ", "cat"]


@pytest.mark.parametrize(
    ("data", "state", "words"),
    [
        ({"index": 60, "runs": NAMES}, {}, "not in this split"),
        ({"index": -1, "runs": NAMES}, {}, "not in this split"),
        ({"index": True, "runs": NAMES}, {}, "not in this split"),
        ({"name": "visual:nowhere", "runs": NAMES}, {}, "no item 'visual:nowhere'"),
        ({"name": "caption:test-001#0", "runs": NAMES}, {}, "no visual of the gallery"),
        ({"index": 1, "runs": ["info_nze"]}, {}, "did you mean 'info_nce'"),
        ({"index": 1, "runs": "info_nce"}, {}, "a list of names"),
        ({"index": 1, "runs": [["info_nce"]]}, {}, "a list of names"),
        ({"index": 1}, {}, "a list of names"),
        (None, {}, "not in this split"),
    ],
)
def test_what_is_made_up_is_refused_in_words(workspace, data, state, words):
    assert words in asked_why(workspace, data, **state)["fault"]


def test_of_a_moment_of_training_nothing_can_be_left_out(workspace, monkeypatch):
    monkeypatch.setattr("xmr.views.Scene.replays", property(lambda scene: True))
    assert "go to the end of training" in asked_why(workspace, {"index": 1, "runs": NAMES[:1]})["fault"]


@pytest.mark.parametrize("query", ["text:   ", f"text:{'a ' * 499}", f"text:{'x' * 1001}"])
def test_queries_that_can_not_be_asked_leave_the_usual_one(workspace, query):
    found = asked_why(workspace, {"index": 1, "runs": NAMES[:1]}, query=query)
    assert "fault" not in found and len(found["pieces"]) < 60


def test_other_kinds_of_data_say_what_can_not_be_left_out(tmp_path, cache_folder):
    for make, words in (
        (make_pictures, "Both sides are pictures"),
        (make_classes, "The texts of labelled are features"),
    ):
        workspace = make_other(tmp_path, make)
        found = beside(
            pages_of(workspace),
            {"query": "visual:test-003", "direction": "v2t"},
            "why",
            {"index": 5, "runs": NAMES[:1]},
        )
        (one,) = found["runs"]
        assert words in one["no_words"] and not one["words"]
        assert bool(one["parts"]) == (make is make_pictures)


def test_sentences_name_what_adds_most_and_what_takes():
    one = Why("a", 0.5, np.array([0.1, -0.02, 0.3]), "", np.zeros((7, 7)))
    assert said(one, ["the", "red", "cat"], False) == (
        "Without “cat” the score falls most, by 0.300. Without “red” it rises, by 0.020. No part of the picture adds to it."
    )
    frames = Why("a", 0.5, None, "", np.array([0.0, 0.25, -0.1]))
    assert said(frames, [], True) == "Without frame 2 the score falls most, by 0.250."
    assert said(Why("a"), [], False) == ""


def test_a_link_opens_a_card_and_what_it_names_and_there_is_not_is_told(workspace):
    link = {
        "tab": "search",
        "query": "caption:test-003#0",
        "item": "visual:test-001",
        "why": ["info_nce", "siglip"],
    }
    seen = see(workspace, **link)
    assert (seen.state["item"], seen.state["why"], seen.said) == (
        "visual:test-001",
        ["info_nce", "siglip"],
        [],
    )
    for wrong in ("visual:nowhere", "caption:test-001#0", "x" * 300):
        seen = see(workspace, **link | {"item": wrong})
        assert (seen.state["item"], seen.state["why"]) == ("", None) and "No card is opened" in seen.said[0]
    seen = see(workspace, **link | {"why": ["info_nze"]})
    assert seen.state["why"] is None and "did you mean 'info_nce'" in seen.said[0]
    assert see(workspace, ("next", "change", 1), **link).state["item"] == ""


# ---- what differs ------------------------------------------------------------------------------------------------


def test_each_run_says_how_its_first_result_differs_from_what_was_asked(told):
    data = told.dataset()
    for query, text in (("caption:test-003#0", 6), (f"text:{data.captions[6].upper()}", 6)):
        grid = see(told, tab="search", query=query).value("results")
        for column in grid["columns"]:
            first = column["tiles"][0]["index"]
            kind = f"a {data.columns['colour'][first]} {data.columns['shape'][first]}"
            match = data.truth.pairs(np.array([first]), np.array([text]))[0]
            assert column["differs"] == (
                f"First: {'all that was asked' if match else f'{kind} where something else was asked'}."
            )
    free = see(told, tab="search", query="text:no caption reads so").value("results")
    assert {column["differs"] for column in free["columns"]} == {""}
    back = see(told, tab="search", query="visual:test-001", direction="v2t").value("results")
    assert all(column["differs"].endswith(("is said.", "was said.")) for column in back["columns"])
    card = beside(pages_of(told), {"query": "caption:test-003#0"}, "item", {"index": 4})
    assert card["differs"].startswith("It has ") and card["differs"].endswith("was asked.")


def test_where_no_world_is_known_nothing_is_said(workspace):
    grid = see(workspace, tab="search", query="caption:test-003#0").value("results")
    assert {column["differs"] for column in grid["columns"]} == {""}


# ---- the order of two runs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["t2v", "v2t"])
def test_the_flow_has_what_differs_with_its_ranks_in_both(workspace, direction):
    query = "caption:test-003#0" if direction == "t2v" else "visual:test-003"
    state = {
        "tab": "search",
        "query": query,
        "direction": direction,
        "baseline": "info_nce",
        "flow": "siglip",
        "runs": NAMES,
        "k": 8,
    }
    seen = see(workspace, **state)
    value, orders = seen.value("flow-lines"), {}
    for run in ("info_nce", "siglip"):
        visual, text = workspace.embeddings(run)
        scores = visual @ text[6] if direction == "t2v" else text @ visual[3]
        tied = len(np.unique(scores)) < len(scores)
        orders[run] = None if tied else np.argsort(-scores).tolist()
    lists = {c["name"]: [t["index"] for t in c["tiles"]] for c in seen.value("results")["columns"]}
    ranks = [
        {
            index: (orders[run] or lists[run]).index(index) + 1
            for index in {*lists["info_nce"], *lists["siglip"]}
            if index in (orders[run] or lists[run])
        }
        for run in ("info_nce", "siglip")
    ]
    for one in value["items"]:
        for side, known in zip("ab", ranks, strict=True):
            assert known.get(one["index"], one[side]) == one[side]
        assert one["a"] != one["b"]
    moved = {one["index"] for one in value["items"]}
    assert moved == {
        i
        for i in {*lists["info_nce"], *lists["siglip"]}
        if i not in lists["info_nce"]
        or i not in lists["siglip"]
        or lists["info_nce"].index(i) != lists["siglip"].index(i)
    }
    assert len(value["table"]["rows"]) == len(moved)
    both = len({*lists["info_nce"]} & {*lists["siglip"]})
    assert f"{both} " in value["words"] and ("in both lists" in value["words"])


def test_no_flow_is_drawn_of_one_run_or_of_one_that_is_not_there(workspace):
    assert "flow-of" not in see(workspace, tab="search", runs=["siglip"])
    seen = see(workspace, tab="search", runs=NAMES, baseline="info_nce", flow="siglipp")
    assert "did you mean 'siglip'" in seen.said[0] and "flow-lines" not in seen
    assert [name for _, name in seen["flow"]["options"]] == ["", "max_of_hinges", "siglip"]


# ---- won and lost -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["t2v", "v2t"])
@pytest.mark.parametrize("k", [1, 5])
def test_galleries_hold_what_only_one_gets_right(workspace, direction, k):
    state = {"tab": "errors", "runs": NAMES, "a": "siglip", "b": "info_nce", "at": k, "direction": direction}
    seen = see(workspace, **state)
    a, b = (workspace.ranks(run, "test", direction) for run in ("siglip", "info_nce"))
    text = seen["errors-enriched-words"]["text"]
    masks = {"won": (b <= k) & (a > k), "lost": (a <= k) & (b > k)}
    assert f"wins {masks['won'].sum()} quer" in text and f"loses {masks['lost'].sum()}" in text
    for kind, mask in masks.items():
        items = seen.value(f"errors-{kind}-pictures")["items"]
        assert len(items) == min(won.SHOWN, mask.sum()) and all(mask[int(one["key"])] for one in items)
        act = {"block": f"errors-{kind}-pictures", "event": "pick"}
        if items:
            to = view(pages_of(workspace), state, act | {"data": {"key": items[0]["key"]}})["state"]
            assert (
                to["tab"] == "search"
                and to["direction"] == direction
                and {"siglip", "info_nce"} <= {*to["runs"]}
            )
        for wrong in ("120", "-1", "x", "٣", 3, None, "9" * 20):
            assert (
                "not in this split"
                in view(pages_of(workspace), state, act | {"data": {"key": wrong}})["fault"]
            )
    assert not any(id.startswith("errors-enriched") for id in see(workspace, tab="errors", runs=["siglip"]))


def test_what_is_enriched_is_told_with_its_test_and_nothing_where_nothing_is(workspace):
    of = Asked("test", "t2v", "siglip", "info_nce", (), 1)
    one = Enriched("“red”", 20, 0.5, 0.125, 0.2, 0.55, 0.004)
    other = Enriched("colour: blue", 24, 0.05, 0.2, -0.3, -0.01, 0.03)
    chance = Enriched("“a”", 60, 0.2, 0.1, np.nan, np.nan, 0.5)
    found = {"won": [one, other, chance], "lost": [chance]}
    text = won.enriched_words(workspace, of, found, {"won": 7, "lost": 3})
    assert text.startswith(
        "info_nce wins 7 queries of siglip and loses 3, by R@1. What B wins is enriched in “red” (+37.5 points)"
    )
    assert (
        "less often with colour: blue (−15.0 points)" in text and "3 words and slices were looked at" in text
    )
    value = won.enriched_table(found)
    assert [row["name"] for row in value["rows"]] == ["“red”", "colour: blue"]
    assert value["rows"][0]["cells"][:4] == ["won by B", "20", "50.0%", "12.5%"]
    assert (
        value["rows"][0]["cells"][4]["more"] == "+20.0 … +55.0" and value["rows"][0]["cells"][5] == "0.0040"
    )
    nothing = won.enriched_words(workspace, of, {"won": [chance], "lost": [chance]}, {"won": 7, "lost": 3})
    assert (
        "Nothing is enriched: 1 words and slices were looked at, and the surest, “a”, has a corrected p of 0.50."
        in nothing
    )
    assert won.enriched_table({"won": [chance], "lost": []})["rows"] == []
    assert "Nothing is known of them" in won.enriched_words(
        workspace, of, {"won": [], "lost": []}, {"won": 7, "lost": 3}
    )
