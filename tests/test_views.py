"""Views: a state in, blocks out. Whatever is sent, the answer is plain data, and each tab answers what was done in it."""

import csv
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fake_workspace import make_clips, make_other, make_workspace
from xmr.views import TABS, beside, slimmed, view
from xmr.views.state import HINTS, LONGEST, State, read, written
from xmr.workspace.pages import Page

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def pages(tmp_path_factory, cache_folder):
    workspace = make_workspace(tmp_path_factory.mktemp("runs"))
    return [Page("shapes", "", dict(workspace.runs), lambda: workspace)]


def blocks_of(answer):
    """Every block by its id."""
    found, waiting = {}, [*answer["blocks"]]
    while waiting:
        block = waiting.pop()
        assert block["id"] not in found, f"two blocks are called {block['id']}"
        found[block["id"]] = block
        waiting += block.get("blocks", [])
    return found


# ---- the state ----------------------------------------------------------------------------------------------------


@given(st.dictionaries(st.sampled_from(sorted(HINTS)) | st.text(max_size=6), JSON, max_size=6) | JSON)
@settings(max_examples=300)
def test_whatever_is_sent_is_a_state_and_faults_in_words(sent):
    state, faults = read(sent)
    assert all(isinstance(fault, str) and fault for fault in faults)
    again, none = read(written(state))
    assert (again, none) == (state, [])  # what is written is read back


@pytest.mark.parametrize(
    ("sent", "fault"),
    [
        ({"k": 25}, "k must be 4 to 24, found '25'"),
        ({"k": "1e99"}, "k must be 4 to 24"),
        ({"k": 10**400}, "k must be 4 to 24"),
        ({"direction": "t2w"}, "did you mean 't2v'"),
        ({"quary": "x"}, "did you mean 'query'"),
        ({"query": "x" * (LONGEST + 1)}, f"at most {LONGEST:,} are read"),
        ({"runs": ["a"] * 101}, "at most 100 are read"),
        ({"query": "\ud800"}, "half a surrogate pair"),
        ({"query": {"a": 1}}, "a value is a text or a number"),
        ({"v": "2", "k": 7}, "of version '2'"),
        ({"v": False, "k": 7}, "a value is a text or a number, found False"),
    ],
)
def test_what_is_out_of_range_is_told_and_left_at_its_default(sent, fault):
    state, faults = read(sent)
    assert state == State()
    assert len(faults) == 1 and fault in faults[0]


def test_an_empty_choice_of_many_is_not_the_usual_one():
    assert read({"runs": ["-"]})[0].runs == () and read({"runs": []})[0].runs == ()
    assert read({"runs": None})[0].runs is None and read({})[0].runs is None
    assert read({"runs": ["b", "a", "b"]})[0].runs == ("b", "a")


# ---- every tab ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tab", list(TABS))
def test_every_tab_is_plain_data_and_comes_back_the_same(pages, tab):
    first = view(pages, {"tab": tab})
    assert "fault" not in first and not first["said"]
    json.dumps(first)
    found = blocks_of(first)
    assert found
    again = view(pages, first["state"])
    assert again["state"] == first["state"] and again["blocks"] == first["blocks"]
    marks = {
        id: block["mark"]
        for id, block in blocks_of({"blocks": slimmed(first["blocks"], None)}).items()
        if "mark" in block
    }
    slim = blocks_of({"blocks": slimmed(again["blocks"], marks)})
    assert marks and all("value" not in slim[id] for id in marks)
    assert blocks_of({"blocks": slimmed(again["blocks"], dict.fromkeys(marks, "other"))})[next(iter(marks))][
        "value"
    ]


@pytest.mark.parametrize("tab", list(TABS))
@given(
    act=st.fixed_dictionaries(
        {
            "block": st.sampled_from(["next", "errors-ranks", "weights-param", "map-tiles", "x"]),
            "event": st.sampled_from(["select", "pick", "open", "sort", "change"]),
            "data": JSON,
        }
    )
)
@settings(max_examples=12, deadline=None)
def test_an_act_that_a_browser_makes_up_is_answered_in_words(pages, tab, act):
    answer = view(pages, {"tab": tab}, act)
    json.dumps(answer)
    assert answer.get("fault") or answer["blocks"]


@pytest.mark.parametrize("tab", list(TABS))
def test_what_is_not_there_is_told_and_the_rest_is_shown(pages, tab):
    answer = view(pages, {"tab": tab, "runs": ["siglip", "nobody"], "baseline": "nobody", "split": "test"})
    assert any("nobody" in text for text in answer["said"])
    assert (
        answer["state"]["runs"] == ["siglip"] and answer["state"]["baseline"] == "siglip" and answer["blocks"]
    )


def test_no_run_is_said_in_every_tab(pages):
    for tab in TABS:
        answer = view(pages, {"tab": tab, "runs": ["-"]})
        assert answer["state"]["runs"] == []
        assert "fault" not in answer or answer["fault"]


def test_other_kinds_of_data_have_their_views(tmp_path, cache_folder):
    workspace = make_other(tmp_path, make_clips, {"siglip": "cross_attention"})
    pages = [Page("clips", "", dict(workspace.runs), lambda: workspace)]
    for tab in TABS:
        assert "fault" not in view(pages, {"tab": tab})


# ---- what is done in them -----------------------------------------------------------------------------------------


def test_next_goes_on_and_a_text_is_asked(pages):
    first = view(pages, {"tab": "search"})
    following = view(pages, first["state"], {"block": "next", "event": "change", "data": None})
    assert following["state"]["query"] != first["state"]["query"]
    typed = view(pages, first["state"], {"block": "go", "event": "change", "data": "a red ring"})
    assert typed["state"]["query"] == "text:a red ring" and typed["state"]["direction"] == "t2v"
    empty = view(pages, first["state"], {"block": "go", "event": "change", "data": " "})
    assert empty["state"]["query"] == first["state"]["query"] and "Type what" in empty["said"][0]


def test_the_card_of_an_item_leads_to_its_pair(pages):
    first = view(pages, {"tab": "search"})
    card = beside(pages, first["state"], "item", {"index": 3})
    assert card["use"]["set"]["query"].startswith("visual:") and card["opens"]
    weights = view(pages, first["state"] | card["opens"]["siglip"]["weights"])
    assert weights["state"]["cell"] in ("0,0", "0,1") and not weights["said"]
    assert "item" in beside(pages, first["state"], "item", {"index": -1})["fault"]
    assert "did you mean 'item'" in beside(pages, {}, "itm", None)["fault"]


def test_a_click_on_a_density_lists_its_pairs(pages):
    first = view(pages, {"tab": "distributions"})
    data = {"meta": {"run": "siglip", "kind": "positives"}, "index": 20}
    answer = view(pages, first["state"], {"block": "distributions-chart", "event": "select", "data": data})
    found = blocks_of(answer)
    where, pairs = found["distributions-where"]["text"], found["distributions-pairs"]["value"]["cards"]
    assert "annotated matches of siglip" in where and len(pairs) <= 6
    assert view(pages, answer["state"])["blocks"] == answer["blocks"]  # a link shows the same pairs


def test_a_moved_slider_is_in_the_address_and_back_again(pages):
    state = view(pages, {"tab": "weights", "loss": "run info_nce"})["state"]
    moved = view(
        pages,
        state,
        {"block": "weights-param", "event": "change", "data": {"name": "temperature", "value": 0.3}},
    )
    assert moved["state"]["params"] == "run info_nce: temperature=0.3"
    assert blocks_of(moved)["weights-temperature"]["value"] == 0.3
    back = view(pages, moved["state"] | blocks_of(moved)["weights-reset"]["set"])
    assert blocks_of(back)["weights-temperature"]["value"] == pytest.approx(0.05)
    wrong = view(
        pages,
        state,
        {"block": "weights-param", "event": "change", "data": {"name": "temperature", "value": -1}},
    )
    assert wrong["said"] and wrong["state"]["params"] == ""


def test_a_cell_of_ranks_filters_the_list(pages):
    state = view(pages, {"tab": "errors"})["state"]
    answer = view(pages, state, {"block": "errors-ranks", "event": "select", "data": {"row": 0, "column": 0}})
    assert answer["state"]["ranks"] == "1.1" and answer["go"]
    listed = blocks_of(answer)["errors-list"]["value"]["rows"]
    assert all(number["value"] == "1" for one in listed for number in one["numbers"][:2])
    opened = view(
        pages,
        answer["state"],
        {"block": "errors-list", "event": "open", "data": {"index": listed[0]["index"]}},
    )
    assert opened["state"]["tab"] == "search" and opened["state"]["query"].startswith("caption:")
    file = beside(pages, answer["state"], "file", {"name": "errors.csv"})
    assert file["text"].count("\n") == int(np.sum([1 for _ in file["text"].splitlines()]))


def test_a_chart_saves_its_numbers_as_they_are_shown(pages):
    state = view(pages, {"tab": "errors"})["state"]
    table = blocks_of(view(pages, state))["errors-buckets"]["value"]["table"]
    file = beside(pages, state, "file", {"name": "chart errors-buckets"})
    assert list(csv.reader(io.StringIO(file["text"]))) == [table["columns"], *table["rows"]]
    for name in ("chart errors-list", "chart ", "chart <b>"):
        assert "errors-buckets" in beside(pages, state, "file", {"name": name})["fault"]


def test_all_runs_are_measured_in_steps(pages):
    answer = view(pages, {"tab": "results", "which": "all"})
    for _ in range(20):
        if not answer["again"]:
            break
        answer = view(pages, answer["state"])
    assert len(blocks_of(answer)["results-first"]["value"]["rows"]) == len(pages[0].workspace.runs)
