"""Verdicts in the false-negatives tab, as functions: lists, answers, whose they are, and files."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from tests.judges import (
    RUN,
    SETTINGS,
    SPLITS,
    asked_of,
    judge,
    kept,
    listed_pairs,
    pairs_on,
    question_of,
    sent,
    with_store,
)
from xmr.captions import text_key
from xmr.disk import CannotSave
from xmr.page import _login
from xmr.selection import SELECTORS
from xmr.store import ANSWERS, Answers, PairNames, VerdictStore, read_verdicts, standing
from xmr.views import Act, Visitor, beside, judging, view
from xmr.views.suspect_cards import asked_card, pair_asked_for
from xmr.views.suspect_lists import JUDGED, examine, judged_by, listed_by, page_of
from xmr.views.suspect_pages import counted, judge_pairs, list_page
from xmr.views.suspect_settings import setting_at
from xmr.views.suspect_words import selector_table
from xmr.views.verdicts import progress
from xmr.workspace.item_names import UnknownItem, item_link
from xmr.workspace.measurements import hard_negatives
from xmr.workspace.pages import Page, open_pages
from xmr.workspace.verdict_file import VerdictFile


@pytest.fixture
def workspace(tmp_path, cache_folder):
    return with_store(tmp_path)


# ---- lists ------------------------------------------------------------------------------------------------------


def test_what_stands_on_a_list_is_what_a_slow_count_says(workspace):
    pairs, rng = pairs_on(workspace), np.random.default_rng(0)
    names = PairNames(workspace.dataset("test"))
    given = {}
    store = judging.store_of(workspace)
    for person in ("Ann", "Bob", "Cem"):
        for place in rng.choice(min(len(pairs), 40), 20, replace=False).tolist():
            answer = ANSWERS[int(rng.integers(3))]
            store.record(names.verdict(*pairs[place], person, answer))
            given[person, question_of(workspace, pairs[place])] = (
                answer  # what reads alike shares its verdicts
            )
    answers = judging.answers_on(workspace, "test", "Ann")
    stands = standing(answers, judging.questions(workspace, RUN, "test", "t2v"))
    for place, pair in enumerate(pairs):
        name = question_of(workspace, pair)
        said = [answer for (_, one), answer in given.items() if one == name]
        counts = [said.count(answer) for answer in ANSWERS]
        most = max(counts)
        agreed = "unsure" if counts.count(most) > 1 else ANSWERS[counts.index(most)]
        mine = given.get(("Ann", name), "")
        assert stands.counts[place].tolist() == counts
        assert stands.mine[place] == (1 + ANSWERS.index(mine) if mine else 0)
        lists = {which: bool(judged_by(which, stands)[place]) for _, which in JUDGED}
        assert lists == {
            "any": True,
            "open": not mine,
            **{answer: bool(said) and agreed == answer for answer in ANSWERS},
            "disputed": len(set(said)) > 1,
        }
    assert answers.people == {
        person: sum(name == person for name, _ in given) for person in ("Ann", "Bob", "Cem")
    }
    assert not judged_by("open", stands).all()
    assert judged_by("disputed", stands).any()


def test_suspected_by_one_and_not_by_another_whether_compared_or_not(workspace):
    found = hard_negatives(workspace, RUN, "test", "t2v")
    three = {name: SELECTORS[name].defaults for name in ("caption_similarity", "word_overlap", "top_ranked")}
    masks = examine(workspace, asked_of(settings=three)).masks
    a, b, c = masks.values()
    asks = [question_of(workspace, pair) for pair in pairs_on(workspace)]

    def once(mask):
        """Of what reads alike the first, by a loop."""
        hits = [asks[i] if hit else None for i, hit in enumerate(mask)]
        return [ask is not None and ask not in hits[:i] for i, ask in enumerate(hits)]

    for other, mask in (("word_overlap", b), ("top_ranked", c)):
        for settings in (
            three,
            {"caption_similarity": three["caption_similarity"]},
        ):  # the other is not compared
            asked = asked_of(settings=settings, listed="only", not_by=other)
            assert places_in(examine(workspace, asked), len(a)) == once(a & ~mask)
    for listed, mask in (("only", a & ~b & ~c), ("first", a), ("suspected", a | b | c), ("all", a | True)):
        found_of = examine(workspace, asked_of(settings=three, listed=listed))
        assert places_in(found_of, len(a)) == once(mask)
        assert found_of.repeats == mask.sum() - sum(once(mask))
    assert (listed_by("only", masks, found.truth, a)).sum() == 0


def places_in(examined, count):
    return np.isin(np.arange(count), examined.places).tolist()


def test_pages_lose_no_pair_when_judged_ones_leave_the_list():
    places = np.arange(100)
    first = page_of(places, None, 0)
    assert first.tolist() == list(range(12))
    left = places[12:]  # all of the first page were judged
    assert page_of(left, (0, 11), 1).tolist() == list(range(12, 24))
    left = np.delete(left, np.arange(12))
    assert page_of(left, (12, 23), 1).tolist() == list(range(24, 36))
    assert page_of(places, (24, 35), -1).tolist() == list(range(12, 24))
    assert page_of(places, (5, 16), -1).tolist() == list(range(12))
    assert page_of(places, (96, 99), 1).tolist() == [96, 97, 98, 99]  # the last page stays
    assert page_of(places, (13, 24), 0).tolist() == list(range(13, 25))
    assert page_of(places[:20], (96, 99), 0).tolist() == list(range(12, 20))
    assert page_of(places[:0], (96, 99), 1).tolist() == []


def test_a_page_is_told_with_its_place_in_the_list(workspace):
    second = list_page(workspace, asked_of(), move=1, shown=list_page(workspace, asked_of()).shown)
    listed, every = len(listed_pairs(workspace)), len(pairs_on(workspace))
    assert second.shown == (12, 23) and second.where.startswith("13–24 of")
    assert second.panel["progress"]["listed"] == listed < every
    assert f"of {listed:,}; {every - listed:,} more, whose texts read like" in second.where


# ---- answers ----------------------------------------------------------------------------------------------------


def test_answers_are_kept_once_and_told_with_what_others_said(workspace):
    (_, one), (_, two) = listed_pairs(workspace)[:2]
    shown = [one, two]
    first, _ = judge(workspace, ("a", "yes", one), ("b", "no", two), shown=shown)
    assert first["kept"] == ["a", "b"]
    assert first["said"].startswith(f"Judged no: “{workspace.dataset('test').captions[two[1]]}”. 2 of ")
    assert first["marks"][f"{one[0]}:{one[1]}"] == ["yes", "Nobody else has judged it."]
    again, _ = judge(workspace, ("a", "yes", one), shown=shown)  # the answer got lost, and it is sent again
    assert again["kept"] == ["a"]
    assert len(kept(workspace)) == 2
    before = list_page(workspace, asked_of(judge="Bob"), "Bob").panel
    assert set(map(tuple, before["marks"].values())) == {("", "")}  # Bob is told nothing before he judges
    assert before["progress"]["anyone"] == 2
    assert before["progress"]["mine"] == 0
    bob, _ = judge(workspace, ("c", "no", one), name="Bob", shown=shown)
    assert bob["marks"][f"{one[0]}:{one[1]}"] == ["no", "Others: 1 yes."]
    assert bob["version"] > again["version"] >= first["version"]
    seen = list_page(workspace, asked_of(judge="Ann"), "Ann").panel
    assert seen["marks"][f"{one[0]}:{one[1]}"] == ["yes", "Others: 1 no."]
    assert "Ann 2, Bob 1" in seen["progress"]["words"]
    assert sorted(person for person, *_ in kept(workspace)) == ["Ann", "Ann", "Bob"]


def test_the_first_view_of_a_split_does_not_wait_until_all_verdicts_are_counted(workspace, monkeypatch):
    one, two = (pair for _, pair in listed_pairs(workspace)[:2])
    judge(workspace, ("a", "yes", one))
    judge(workspace, ("b", "no", one), name="Bob")
    judging._standings.clear()  # as after a restart
    with monkeypatch.context() as broken:
        broken.setattr(VerdictStore, "since", None)
        first = list_page(workspace, asked_of(judge="Ann"), "Ann").panel
    assert not first["counted"] and first["marks"][f"{one[0]}:{one[1]}"] == ["yes", ""]
    assert (first["progress"]["mine"], first["marks"][f"{two[0]}:{two[1]}"]) == (1, ["", ""])
    panel, _ = counted(workspace, asked_of(judge="Ann"), "Ann", {"shown": [list(one)]})
    assert panel["counted"] and panel["marks"] == {f"{one[0]}:{one[1]}": ["yes", "Others: 1 no."]}
    assert list_page(workspace, asked_of(judge="Ann"), "Ann").panel["counted"]


def test_an_undo_takes_back_the_last_and_says_what(workspace):
    one, two = (pair for _, pair in listed_pairs(workspace)[:2])
    judge(workspace, ("a", "yes", one), ("b", "no", two), ("c", "unsure", one))
    told, _ = judge(workspace, ("d", "undo", (0, 0)))
    assert told["said"].startswith(f"Taken back: unsure on “{workspace.dataset('test').captions[one[1]]}”. ")
    assert told["back"] == f"{one[0]}:{one[1]}"
    again, _ = judge(workspace, ("d", "undo", (0, 0)))
    assert again["back"] == told["back"]
    assert sorted(answer for *_, answer in kept(workspace)) == ["no", "yes"]
    assert judge(workspace, ("e", "undo", (0, 0)), name="Bob")[0]["said"].startswith("Nothing to take back")
    # In the list of another run, the pair may not be listed.
    here = [question_of(workspace, pair) for pair in pairs_on(workspace)]
    other = next(pair for pair in pairs_on(workspace, "info_nce") if question_of(workspace, pair) not in here)
    data = sent(("f", "yes", other), run="info_nce")
    judge_pairs(workspace, asked_of(owner="browser of Ann"), "Ann", data, SPLITS)
    told, _ = judge(workspace, ("g", "undo", (0, 0)))
    assert "not in this list" in told["said"]


def test_what_cannot_be_kept_is_told_and_the_next_is_kept(workspace, monkeypatch):
    one, two = (pair for _, pair in listed_pairs(workspace)[:2])
    record = VerdictStore.record

    def full(self, verdict, key="", owner=""):
        if key == "a":
            raise CannotSave("the disk is full; nothing was changed")
        return record(self, verdict, key, owner)

    monkeypatch.setattr(VerdictStore, "record", full)
    told, _ = judge(workspace, ("a", "yes", one), ("b", "no", two), shown=[one, two])
    assert told["failed"] == [["a", "the disk is full; nothing was changed"]]
    assert told["kept"] == ["b"]
    assert told["marks"][f"{one[0]}:{one[1]}"] == ["", ""]  # the true state
    assert [answer for *_, answer in kept(workspace)] == ["no"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pair": [0, 10**9]}, "not in this split"),
        ({"pair": [-1, 0]}, "not in this split"),
        ({"pair": [True, 0]}, "two whole numbers"),
        ({"pair": [0.0, 1]}, "two whole numbers"),
        ({"pair": "0:1"}, "two whole numbers"),
        ({"pair": [0, 0]}, "annotated as matching"),
        ({"answer": "maybe"}, "unknown answer 'maybe'"),
        ({"answer": ["yes"]}, "answer must be text"),
        ({"judge": " \u200b "}, "needs the name"),
        ({"judge": "x" * 81}, "80 characters"),
        ({"judge": None}, "judge must be text"),
        ({"of": {"run": "siglop", "split": "test", "direction": "t2v"}}, "did you mean 'siglip'"),
        ({"of": {"run": "siglip", "split": "../test", "direction": "t2v"}}, "unknown split"),
        ({"of": {"run": "siglip", "split": "test", "direction": "up"}}, "unknown direction"),
        ({"of": None}, "run must be text"),
    ],
)
def test_what_a_browser_makes_up_is_refused_with_words(workspace, change, said):
    data = sent(("a", "yes", pairs_on(workspace)[0]))
    data["items"][0] |= change
    told, _ = judge_pairs(workspace, asked_of(), "Ann", data, SPLITS)
    ((key, reason),) = told["failed"]
    assert key == "a"
    assert said in reason
    assert kept(workspace) == []


@pytest.mark.parametrize(
    "data",
    [None, 7, {}, {"items": "yes"}, {"items": []}, {"items": [7]}, {"items": [{"key": ""}]}, {"items": [{"key": "k" * 101}]}],
)  # fmt: skip
def test_an_event_that_is_none_of_ours_is_an_error_in_words(workspace, data):
    with pytest.raises(ValueError, match="1 to"):
        judge_pairs(workspace, asked_of(), "Ann", data, SPLITS)
    assert counted(workspace, asked_of(), "Ann", data)[0]["marks"] == {}
    with pytest.raises(ValueError, match="1 to 50"):
        judge_pairs(workspace, asked_of(), "Ann", {"items": [{"key": "k"}] * 51}, SPLITS)


def test_a_pair_outside_the_list_is_judged_only_where_it_was_asked_for(workspace):
    data = workspace.dataset("test")
    listed = {question_of(workspace, pair) for pair in pairs_on(workspace)}
    other = next(
        (v, t)
        for v in range(60)
        for t in range(120)
        if question_of(workspace, (v, t)) not in listed and data.visual_group[v] != data.text_group[t]
    )
    event, mine = sent(("a", "yes", other)), asked_of(judge="Ann", owner="browser of Ann")
    told, _ = judge_pairs(workspace, mine, "Ann", event, SPLITS)
    assert "not among the negatives" in told["failed"][0][1]
    event["items"][0] |= {"key": "b", "asked": True}
    told, _ = judge_pairs(workspace, mine, "Ann", event | {"shown": [list(other), "x", [0, -1]]}, SPLITS)
    assert told["said"].startswith("Judged yes: “")
    assert told["marks"] == {f"{other[0]}:{other[1]}": ["yes", "Nobody else has judged it."]}
    assert len(kept(workspace)) == 1


def test_a_pair_asked_for_is_told_with_score_and_rank_wherever_it_stands(workspace):
    asked = asked_of()
    examined = examine(workspace, asked)
    visual, text = workspace.embeddings(RUN)
    data, listed = workspace.dataset("test"), pairs_on(workspace)
    inside = listed[4]
    outside = next(
        (v, 5) for v in range(60) if (v, 5) not in listed and data.visual_group[v] != data.text_group[5]
    )
    own = int(data.visual_of_text[5]), 5
    for pair, note in ((inside, ""), (outside, "not among the"), (own, "nothing to judge")):
        names = (
            item_link(workspace, "test", "visual", pair[0]),
            item_link(workspace, "test", "caption", pair[1]),
        )
        assert pair_asked_for(workspace, "test", *names) == pair
        card = asked_card(workspace, asked, examined, pair)
        numbers = dict(card.numbers)
        row = visual @ text[pair[1]]
        assert float(numbers["score"]) == pytest.approx(row[pair[0]], abs=6e-4)
        assert numbers["rank"] == str(1 + int((row > row[pair[0]]).sum()))
        assert note in card.note
        assert (card.pair == pair) == (pair != own)
    assert dict(asked_card(workspace, asked, examined, inside).numbers)["place by weight"] == "#5"
    assert pair_asked_for(workspace, "test", "", "") is None
    for names in (
        ("visual:test-000", ""),
        ("visual:test-000", "visual:test-001"),
        ("visual:nobody", "caption:test-000#0"),
    ):
        with pytest.raises(UnknownItem):
            pair_asked_for(workspace, "test", *names)
    page = list_page(workspace, asked, names=("visual:nobody", "caption:test-000#0"))
    assert "The pair asked for is not here" in page.where
    assert len(page.cards["cards"]) == 12


def test_selectors_are_told_right_by_what_people_say(workspace):
    asked = asked_of(judge="Ann")
    assert "right as judged" not in [
        c["text"] for c in selector_table(examine(workspace, asked), "words")["columns"]
    ]
    mask = examine(workspace, asked).masks["word_overlap"]
    given = []
    for place, pair in listed_pairs(workspace)[:30]:
        given.append((f"k{place}", ANSWERS[len(given) % 3], pair, place))
    _, numbers = judge(workspace, *(one[:3] for one in given))
    assert numbers["columns"][-1]["text"] == "right as judged"
    flagged = [answer for _, answer, _, place in given if mask[place]]
    right, wrong = flagged.count("yes"), flagged.count("no")
    assert right
    assert numbers["rows"][1]["cells"][-1] == f"{right / (right + wrong):.0%} ({right} of {right + wrong})"


def test_a_click_on_the_chart_asks_for_a_setting_and_anything_else_is_refused():
    def at(point):
        return setting_at(Act("fn-chart", "select", {"customdata": point}), list(SETTINGS))

    assert at(["word_overlap", 0.25]) == ("word_overlap", "threshold", 0.25)
    for point in (None, 7, ["word_overlap"], ["posterior", 0.5], ["nobody", 1], [["x"], 1], ["word_overlap", "0.2"],
                  ["word_overlap", True], ["word_overlap", 2.0], ["word_overlap", float("nan")]):  # fmt: skip
        with pytest.raises((ValueError, TypeError), match="Click|must be|threshold|float"):
            at(point)


def test_progress_is_told_in_words():
    agreed = {"yes": 2, "no": 1, "unsure": 0}
    said = {(0, 0): {"Ann": "yes", "Bob": "no"}, (0, 1): {"Ann": "no"}}
    mine = np.arange(120) < 2
    told = progress(mine, agreed, Answers("Ann", said), "Ann")
    assert told["words"] == (
        "Of the 120 listed pairs 3 are judged by anyone (2 yes, 1 no, 0 unsure), 2 by you. "
        "Verdicts on this split: Ann 2, Bob 1."
    )
    people = Answers("", {(0, 0): {f"P{i}": "yes" for i in range(10)}})
    crowd = progress(mine[9:10], dict.fromkeys(agreed, 0), people, "")["words"]
    assert crowd.startswith("Of the 1 listed pair 0 are judged by anyone. ")
    assert crowd.endswith("P7 1 and 2 more people.")
    assert told["round"] == "2 of 60" and progress(mine[:0], agreed, people, "Ann")["round"] == ""
    assert progress(np.arange(130) < 125, agreed, people, "Ann")["round"] == "5 of 10"
    first = progress(mine, dict.fromkeys(agreed, 0), Answers("Ann", whole=False), "Ann")["words"]
    assert first == "You have judged 2 of the 120 listed pairs. Counting what others said …"


# ---- whose a verdict is ------------------------------------------------------------------------------------------


def test_a_name_is_of_the_browser_that_judged_under_it_first(workspace):
    one, two = (pair for _, pair in listed_pairs(workspace)[:2])
    judge(workspace, ("a", "yes", one), name="Ann", owner="one")
    for name in ("Ann", "ANN", "Аnn"):
        panel = list_page(workspace, asked_of(judge="", owner="two"), name).panel
        assert panel["judge"] == "" and "somebody who judges in another browser" in panel["hint"]
        told, _ = judge(
            workspace, (f"b{name}", "no", one), (f"c{name}", "undo", (0, 0)), name=name, owner="two"
        )
        assert "somebody who judges in another browser" in told["failed"][0][1]
        assert told["said"].startswith("Nothing to take back")
    assert kept(workspace) == [("Ann", workspace.dataset("test").visual_ids[one[0]], "yes")]
    assert list_page(workspace, asked_of(judge="Ann", owner="one"), "Ann").panel["judge"] == "Ann"
    told, _ = judge(workspace, ("d", "yes", two), ("e", "undo", (0, 0)), owner="")
    assert [reason for _, reason in told["failed"]] == [
        "the page has no secret of this browser; reload it"
    ] * 2


def test_the_owner_is_the_login_else_the_hash_of_a_good_secret():
    secret = "0123456789abcdef" * 3
    owner = judging.owner_of(secret, "")
    assert len(owner) == 64 and secret not in owner and owner == judging.owner_of(secret, "")
    assert judging.owner_of(secret[::-1], "") != owner
    for poor in ("", "short", "x" * 129, "\n" * 48, secret + "\n"):
        assert judging.owner_of(poor, "") == ""
    session = {"oauth_info": {"userinfo": {"preferred_username": "ann"}}}
    for request in (
        SimpleNamespace(username="ann", request=None),
        SimpleNamespace(username=None, request=SimpleNamespace(scope={"session": session})),
    ):
        assert judging.owner_of(secret, _login(request)) == "login ann"
    assert _login(None) == _login(SimpleNamespace(username=None, request=None)) == ""


def test_the_same_text_against_the_same_picture_is_asked_once_and_answered_for_all(workspace):
    pairs = pairs_on(workspace)
    asks = [question_of(workspace, pair) for pair in pairs]
    most = Counter(asks).most_common(1)[0][0]
    same = [pair for pair, ask in zip(pairs, asks, strict=True) if ask == most]
    assert len(same) > 2
    page = list_page(workspace, asked_of(judge="Ann"), "Ann")
    cards = [card["pair"] for card in page.cards["cards"]]
    assert len({question_of(workspace, pair) for pair in cards}) == len(cards) == 12
    data = workspace.dataset("test")
    for card in page.cards["cards"]:
        visual, text = card["pair"]
        own = {text_key(data.captions[t]) for t in data.texts_of(visual)}
        badges = [badge["text"] for badge in card["badges"]]
        assert ("reads like its own caption" in badges) == (text_key(data.captions[text]) in own)
        assert card["suspected"] or text_key(data.captions[text]) not in own
    # An answer on any of them, as older versions kept several, is one on all.
    store, names = judging.store_of(workspace), PairNames(workspace.dataset("test"))
    store.record(names.verdict(*same[-1], "Ann", "no"))
    store.record(names.verdict(*same[1], "Ann", "yes"))
    store.record(names.verdict(*same[2], "Bob", "yes"))
    answers = judging.answers_on(workspace, "test", "Ann")
    stands = standing(answers, judging.questions(workspace, RUN, "test", "t2v"))
    assert stands.counts.sum() == 2 * len(same) and answers.people == {"Ann": 1, "Bob": 1}
    assert stands.told("yes").sum() == len(same)
    left = examine(workspace, asked_of(judge="Ann", judged="open"))
    assert len(left.listed) == len(set(asks)) - 1


# ---- files ------------------------------------------------------------------------------------------------------


def test_exports_are_of_one_split_and_read_back(workspace, tmp_path):
    judge(workspace, ("a", "yes", pairs_on(workspace)[0]), name="=HYPERLINK(1)")
    judge(workspace, ("b", "no", pairs_on(workspace)[1]))
    data = workspace.dataset("train")
    judging.store_of(workspace).record(PairNames(data).verdict(0, 5, "Ann", "yes"))
    pages = [Page("shapes", "", dict(workspace.runs), lambda: workspace)]
    for kind in ("jsonl", "csv"):
        found = beside(pages, {"split": "test"}, "file", {"name": f"verdicts.{kind}"})
        path = tmp_path / found["name"]
        assert path.name == f"verdicts-shapes-test.{kind}"
        path.write_text(found["text"], newline="")
        assert sorted((v.judge, v.answer) for v in read_verdicts(path)) == [
            ("=HYPERLINK(1)", "yes"),
            ("Ann", "no"),
        ]
    assert "'=HYPERLINK" in path.read_text()
    none = beside(pages, {"split": "validation"}, "file", {"name": "verdicts.csv"})
    assert none["fault"] == "Nobody has judged a pair of this split yet."


def test_next_skips_nothing_of_what_is_left_and_what_a_browser_makes_up_turns_no_page(workspace):
    pages = [Page("shapes", "", dict(workspace.runs), lambda: workspace)]
    state = {"tab": "false_negatives", "fn_run": RUN, "judged": "open", "by": "weight"}
    visitor = Visitor("Ann", "0123456789abcdef" * 3)

    def turned(data=None):
        act = {"block": "fn-turn", "event": "change", "data": data}
        answer = view(pages, state, data and act, visitor)
        blocks = {one["id"]: one for block in answer["blocks"] for one in block.get("blocks", [block])}
        pairs = [tuple(card["pair"]) for card in blocks["fn-pairs"]["value"]["cards"]]
        return blocks["fn-previous"]["data"], blocks["fn-next"]["data"], pairs

    listed = [pair for _, pair in listed_pairs(workspace)]
    _, onward, first = turned()
    assert first == listed[:12]
    owner = judging.owner_of(visitor.secret, "")
    judge(workspace, *((f"k{i}", "no", pair) for i, pair in enumerate(first)), owner=owner)
    back, _, second = turned(onward)
    assert second == listed[12:24]
    assert turned(back)[2] == second  # nothing is left before them
    for made_up in (1, [1], [1, 2], [1, -1, 3], [1, 5, 3], [1, 0, 10**30], [True, 0, 1], "next", {"step": 1}):
        assert turned(made_up)[2] == second


def test_a_file_that_is_refused_stops_nothing_but_verdicts(tmp_path, cache_folder):
    workspace = with_store(tmp_path, "notes.txt")
    workspace.verdicts.place.write_text("no database")
    page = list_page(workspace, asked_of(judge="Ann"), "Ann")
    assert page.panel["closed"].startswith("Verdicts can't be kept: ")
    assert "is no database of verdicts" in page.panel["closed"]
    assert page.cards["of"] is None
    assert len(page.cards["cards"]) == 12
    told, _ = judge(workspace, ("a", "yes", pairs_on(workspace)[0]))
    assert "no database" in told["failed"][0][1]
    assert workspace.verdicts.place.read_text() == "no database"


def test_a_store_is_opened_once_and_anew_where_its_file_is_gone(workspace):
    store = judging.store_of(workspace)
    assert judging.store_of(workspace) is store
    judge(workspace, ("a", "yes", pairs_on(workspace)[0]))
    for path in workspace.verdicts.place.parent.glob(f"{workspace.verdicts.place.name}*"):
        path.unlink()
    judge(workspace, ("b", "no", pairs_on(workspace)[1]))
    assert [answer for *_, answer in kept(workspace)] == ["no"]


def test_verdicts_lie_in_the_cache_unless_a_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("XMR_CACHE", str(tmp_path / "cache"))
    assert VerdictFile().place == tmp_path / "cache" / "verdicts.sqlite"
    mine = VerdictFile(tmp_path / "mine.sqlite")
    assert mine.place == tmp_path / "mine.sqlite"
    assert open_pages(tmp_path, verdicts=mine)[0].workspace.verdicts == mine
    assert open_pages(tmp_path)[0].workspace.verdicts == VerdictFile()


def test_a_host_without_a_disk_forgets_what_lies_on_no_volume(tmp_path, monkeypatch):
    file = VerdictFile(tmp_path / "data" / "verdicts.sqlite")
    for mounts, forgotten in ((["/"], True), (["/", "/tmp"], True), (["/", str(tmp_path / "data")], False)):
        monkeypatch.setattr("os.path.ismount", lambda path, mounts=mounts: str(path) in mounts)
        assert file.on_host(loses_files=True).forgotten is forgotten
        assert file.on_host(loses_files=False).forgotten is False
