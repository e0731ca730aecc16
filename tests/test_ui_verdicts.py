"""Verdicts in the false-negatives tab: lists and answers as functions, then people with keyboards in browsers."""

import hashlib
import time
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from gradio.context import LocalContext
from playwright.sync_api import expect

from tests.charts import see_chart
from tests.fake_workspace import make_workspace
from xmr.captions import text_key
from xmr.checkpoints import CannotSave
from xmr.selection import SELECTORS
from xmr.store import ANSWERS, Answers, PairNames, VerdictStore, read_verdicts, standing
from xmr.ui import judging
from xmr.ui.components.verdict_panel import progress
from xmr.ui.suspect_cards import asked_card, pair_asked_for
from xmr.ui.suspect_lists import Asked, examine, judged_by, listed_by, page_of
from xmr.ui.suspect_pages import judge_pairs, list_page
from xmr.ui.suspect_words import selector_table
from xmr.ui.tabs import false_negatives, search
from xmr.workspace.item_names import UnknownItem, item_link
from xmr.workspace.measured import hard_negatives
from xmr.workspace.pages import open_pages
from xmr.workspace.verdict_file import VerdictFile

RUN, SPLITS = "siglip", ["test", "validation", "train"]
SETTINGS = {"caption_similarity": {"threshold": 0.4}, "word_overlap": {"threshold": 0.6}}


def with_store(tmp_path, name="verdicts.sqlite", **how):
    """A fake workspace whose verdicts lie in a file of its own."""
    workspace = make_workspace(tmp_path)
    workspace.verdicts = VerdictFile(tmp_path / name, **how)
    return workspace


@pytest.fixture
def workspace(tmp_path, cache_folder):
    return with_store(tmp_path)


def asked_of(run=RUN, **changes):
    return replace(Asked(run, "test", "t2v", SETTINGS), **changes)


def pairs_on(workspace, run=RUN):
    """The run's hard negatives (visual, text), in their order."""
    found = hard_negatives(workspace, run, "test", "t2v")
    return list(zip(found.candidate.tolist(), found.query.tolist(), strict=True))


def question_of(workspace, pair):
    """What a pair asks, slowly: its visual and the words."""
    return pair[0], text_key(workspace.dataset("test").captions[pair[1]])


def listed_pairs(workspace, run=RUN):
    """The run's hard negatives without those whose text reads like one before of the same visual: (place, pair)."""
    seen, found = set(), []
    for place, pair in enumerate(pairs_on(workspace, run)):
        if question_of(workspace, pair) not in seen:
            found.append((place, pair))
        seen.add(question_of(workspace, pair))
    return found


def sent(*answers, judge="Ann", run=RUN, shown=()):
    """What a browser sends: (key, answer, pair) each."""
    of = {"run": run, "split": "test", "direction": "t2v"}
    items = [{"key": key, "judge": judge, "answer": a, "pair": list(p), "of": of} for key, a, p in answers]
    return {"items": items, "shown": [list(pair) for pair in shown]}


def judge(workspace, *answers, name="Ann", shown=(), **changes):
    data = sent(*answers, judge=name, shown=shown)
    asked = asked_of(judge=name, **{"owner": f"browser of {name}", **changes})
    return judge_pairs(workspace, asked, name, data, SPLITS)


def kept(workspace):
    """What stands, read by somebody else: (person, visual id, answer)."""
    with VerdictStore(workspace.verdicts.place) as store:
        return [(one.judge, one.visual_id, one.answer) for one in store.verdicts()]


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
        lists = {which: bool(judged_by(which, stands)[place]) for _, which in false_negatives.JUDGED}
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
            assert examine(workspace, asked).base.tolist() == once(a & ~mask)
    for listed, mask in (("only", a & ~b & ~c), ("first", a), ("suspected", a | b | c), ("all", a | True)):
        found_of = examine(workspace, asked_of(settings=three, listed=listed))
        assert found_of.base.tolist() == once(mask)
        assert found_of.repeats == mask.sum() - sum(once(mask))
    assert (listed_by("only", masks, found.truth, a)).sum() == 0


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


def test_another_list_begins_at_its_start_and_the_same_keeps_its_page(workspace):
    asked = asked_of()
    second = list_page(workspace, asked, move=1, place=list_page(workspace, asked).place)
    assert second.where.startswith("13–24 of")
    assert list_page(workspace, replace(asked, judge="Ann"), place=second.place).where == second.where
    left = [replace(asked, judged="open", judge=name) for name in ("Ann", "Bob")]
    assert left[0].key != left[1].key  # what another person has not judged is another list
    for other in (replace(asked, listed="suspected"), replace(asked, run="info_nce")):
        assert list_page(workspace, other, place=second.place).place[1] < second.place[1]
    listed, every = len(listed_pairs(workspace)), len(pairs_on(workspace))
    assert second.panel["progress"]["listed"] == listed < every
    assert f"of {listed:,}; {every - listed:,} more, whose texts read like" in second.where


# ---- answers ----------------------------------------------------------------------------------------------------


def test_answers_are_kept_once_and_told_with_what_others_said(workspace):
    (_, one), (place, two) = listed_pairs(workspace)[:2]
    shown = [one, two]
    first, _ = judge(workspace, ("a", "yes", one), ("b", "no", two), shown=shown)
    assert first["kept"] == ["a", "b"]
    assert first["said"].startswith(f"Judged no: pair #{place + 1}. 2 of ")
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


def test_an_undo_takes_back_the_last_and_says_what(workspace):
    one, two = (pair for _, pair in listed_pairs(workspace)[:2])
    judge(workspace, ("a", "yes", one), ("b", "no", two), ("c", "unsure", one))
    told, _ = judge(workspace, ("d", "undo", (0, 0)))
    assert told["said"].startswith("Taken back: unsure on pair #1.")
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
    with pytest.raises(gr.Error, match="1 to"):
        judge_pairs(workspace, asked_of(), "Ann", data, SPLITS)
    with pytest.raises(gr.Error, match="1 to 50"):
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
    assert told["said"].startswith("Judged yes: the pair asked for.")
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
    assert dict(asked_card(workspace, asked, examined, inside).numbers)["place"] == "#5"
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
    assert false_negatives.setting_at({"customdata": ["word_overlap", 0.25]}, SETTINGS) == (
        "word_overlap", "threshold", 0.25,
    )  # fmt: skip
    for point in (None, 7, ["word_overlap"], ["posterior", 0.5], ["nobody", 1], [["x"], 1], ["word_overlap", "0.2"],
                  ["word_overlap", True], ["word_overlap", 2.0], ["word_overlap", float("nan")]):  # fmt: skip
        with pytest.raises(gr.Error):
            false_negatives.setting_at({"customdata": point}, SETTINGS)


def test_progress_is_told_in_words():
    agreed = {"yes": 2, "no": 1, "unsure": 0}
    told = progress(120, 2, agreed, Answers(people={"Ann": 2, "Bob": 1}), "Ann")
    assert told["words"] == (
        "Of the 120 listed pairs 3 are judged by anyone (2 yes, 1 no, 0 unsure), 2 by you. "
        "Verdicts on this split: Ann 2, Bob 1."
    )
    people = Answers(people={f"P{i}": 1 for i in range(8)}, more=2)
    crowd = progress(1, 0, dict.fromkeys(agreed, 0), people, "")["words"]
    assert crowd.startswith("Of the 1 listed pair 0 are judged by anyone. ")
    assert crowd.endswith("P7 1 and 2 more people.")


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
    owner = judging.owner_of(secret)
    assert len(owner) == 64 and secret not in owner and owner == judging.owner_of(secret)
    assert judging.owner_of(secret[::-1]) != owner
    for poor in ("", "short", "x" * 129, None, 7, ["x" * 48], "\n" * 48, secret + "\n"):
        assert judging.owner_of(poor) == ""
    session = {"oauth_info": {"userinfo": {"preferred_username": "ann"}}}
    requests = [
        SimpleNamespace(username="ann", request=None),
        SimpleNamespace(username=None, request=SimpleNamespace(scope={"session": session})),
    ]
    for request in requests:
        token = LocalContext.request.set(request)
        try:
            assert judging.owner_of(secret) == judging.owner_of("") == "login ann"
        finally:
            LocalContext.request.reset(token)


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
    assert left.listed.sum() == len(set(asks)) - 1


# ---- files ------------------------------------------------------------------------------------------------------


def test_exports_are_of_one_split_and_read_back(workspace, tmp_path):
    judge(workspace, ("a", "yes", pairs_on(workspace)[0]), name="=HYPERLINK(1)")
    judge(workspace, ("b", "no", pairs_on(workspace)[1]))
    data = workspace.dataset("train")
    judging.store_of(workspace).record(PairNames(data).verdict(0, 5, "Ann", "yes"))
    for kind in ("jsonl", "csv"):
        path = tmp_path / f"out.{kind}"
        path.write_text(false_negatives.export_text(workspace, "test", kind), newline="")
        assert sorted((v.judge, v.answer) for v in read_verdicts(path)) == [
            ("=HYPERLINK(1)", "yes"),
            ("Ann", "no"),
        ]
    assert "'=HYPERLINK" in path.read_text()
    assert false_negatives.export_text(workspace, "validation", "csv") == ""


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


# ---- journeys ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(serve, tmp_path_factory):
    """The app with verdicts of its own, from which tests take judges of different names."""
    workspace = with_store(tmp_path_factory.mktemp("verdicts"))
    with serve(workspace) as url:
        yield SimpleNamespace(url=url, workspace=workspace)


LINK = "?v=1&tab=false_negatives&fn_run=siglip&selector=caption_similarity&compare=word_overlap"


def open_list(page, url, name="", more=""):
    page.goto(url + LINK + more)
    expect(page.locator("#fn-pairs article").nth(1)).to_be_visible()
    expect(page.locator("#fn-verdicts .words")).to_be_visible()
    if name:
        page.locator("#fn-name input").fill(name)
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
    expect(page.locator("#fn-name input")).to_be_focused()
    page.keyboard.type("any y/n?")  # words, no verdicts
    page.locator("#fn-name input").fill("Keys")
    expect(cards.first.locator("button[data-answer]").first).to_be_enabled()
    cards.first.focus()
    keys = "yn?ynnyy?ny"
    for key in keys:
        page.keyboard.press(key)
    asked = listed_pairs(server.workspace)
    expect(page.locator("#fn-verdicts .said")).to_contain_text(f"pair #{asked[10][0] + 1}. 11 of ")
    expect(cards.nth(11)).to_be_focused()
    said = {"y": "yes", "n": "no", "?": "unsure"}
    found = judged_on(page, server.workspace, "Keys")
    assert [one.answer for one in found] == [said[key] for key in keys]
    assert [(one.run, one.selector) for one in found] == [("siglip", "caption_similarity")] * 11
    names = PairNames(server.workspace.dataset("test"))
    assert [one.pair for one in found] == [names.pair(*pair) for _, pair in asked[:11]]
    expect(page.locator("#fn-pairs [aria-pressed=true]")).to_have_count(11)
    page.keyboard.press("u")
    expect(page.locator("#fn-verdicts .said")).to_contain_text(
        f"Taken back: yes on pair #{asked[10][0] + 1}."
    )
    expect(cards.nth(10)).to_be_focused()
    page.keyboard.press("Control+z")
    expect(page.locator("#fn-verdicts .said")).to_contain_text(f"Taken back: no on pair #{asked[9][0] + 1}.")
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
    page.goto(server.url + LINK)
    expect(page.locator("#fn-name input")).to_have_value("Keys")
    expect(page.locator("#fn-pairs [aria-pressed=true]")).to_have_count(10)
    page.locator("#fn-judged").get_by_label("not by me").check()
    expect(page.locator("#fn-pairs .name").first).to_have_text(f"#{asked[9][0] + 1}")


def test_the_mouse_judges_too_and_next_skips_nothing_of_what_is_left(page, server):
    cards = open_list(page, server.url, "Mouse", "&judged=open")
    for place in range(12):
        cards.nth(place).get_by_role("button", name="No", exact=True).click()
    expect(page.locator("#fn-verdicts .said")).to_contain_text("12 of ")
    expect_settled(page)
    page.locator("#fn-next").click()
    asked = listed_pairs(server.workspace)
    expect(page.locator("#fn-pairs .name").first).to_have_text(f"#{asked[12][0] + 1}")
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
    page.locator("#fn-exports").get_by_role("button", name="Export and use").click()
    for kind in ("jsonl", "csv"):
        with page.expect_download() as download:
            page.locator(f"#fn-{kind}").click()
        assert download.value.suggested_filename == f"verdicts-shapes-test.{kind}"
        path = tmp_path / f"got.{kind}"
        download.value.save_as(path)
        assert ("Home <b>&", "yes") in [(one.judge, one.answer) for one in read_verdicts(path)]
        assert len(read_verdicts(path)) == len(judged_on(page, server.workspace, ""))
    expect(page.locator("#fn-exports code").first).to_contain_text("--verdicts FILE")


def test_a_link_asks_for_a_pair_and_the_chart_for_a_setting(page, server):
    pair = next(p for p in pairs_on(server.workspace)[20:])
    names = [
        item_link(server.workspace, "test", s, i) for s, i in zip(("visual", "caption"), pair, strict=True)
    ]
    more = f"&suspect_visual={names[0]}&suspect_text={names[1].replace('#', '%23')}"
    cards = open_list(page, server.url, more=more)
    expect(cards.first).to_contain_text("The pair asked for")
    expect(cards.first).to_contain_text("place#21")
    expect(cards).to_have_count(13)
    page.locator("#fn-clear").click()
    expect(cards).to_have_count(12)
    expect(page.locator("#fn-clear")).to_be_hidden()
    page.wait_for_function("!location.search.includes('suspect_visual')")
    see_chart(page, "fn-chart")
    page.locator("#fn-list").get_by_label("only the first selector").check()
    page.locator("#fn-not-by input").click()
    page.locator("#fn-not-by").get_by_role("option", name="top_ranked").click()
    expect(page.locator("#fn-where")).to_contain_text("suspected by caption_similarity, not by top_ranked")
    page.wait_for_function("location.search.includes('not_by=top_ranked')")
    plot = page.locator("#fn-chart .plot")
    point = plot.evaluate("(gd) => gd.data[0].customdata[1]")
    plot.focus()
    for key in ("ArrowRight", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    expect(page.locator("#fn-chart figcaption")).to_contain_text("threshold of caption_similarity is set to")
    expect(page.locator("#fn-slider-0 input[type=number]")).to_have_value(str(round(point[1], 6)))


def test_a_name_of_another_browser_is_told_and_its_verdicts_cannot_be_taken_back(page, browser, server):
    cards = open_list(page, server.url, "Owner")
    cards.first.get_by_role("button", name="Yes").click()
    expect_settled(page)
    other = browser.browser.new_context().new_page()
    other.goto(server.url + LINK)
    for name in ("Owner", "0wner", "ОWNER."):
        other.locator("#fn-name input").fill(name)
        expect(other.locator("#fn-verdicts .hint")).to_contain_text("somebody who judges in another browser")
        expect(other.locator("#fn-pairs button[data-answer]").first).to_be_disabled()
        expect(other.locator("#fn-pairs [aria-pressed=true]")).to_have_count(0)
    # The browser that gave them knows itself again, after a reload and on other pages.
    page.goto(server.url + LINK)
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
        expect(page.locator("#fn-pairs button")).to_have_count(0)


def test_a_host_without_a_disk_asks_who_leaves_to_export(page, serve, tmp_path, monkeypatch):
    workspace = with_store(tmp_path, forgotten=True)
    asked, show = [], search.show
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))

    with serve(workspace) as url:
        cards = open_list(page, url, "Leaver")
        expect(page.locator("#fn-exports")).to_contain_text("This host forgets all verdicts when it restarts")
        cards.first.get_by_role("button", name="Yes").click()
        expect(cards.first.locator("[aria-pressed=true]")).to_be_visible()
        expect_settled(page)
        page.get_by_role("tab", name="Search").click()
        monkeypatch.setattr(search, "show", lambda *values: time.sleep(1) or show(*values))
        with page.expect_request(
            lambda one: "queue/join" in one.url
        ):  # Gradio would take its own closing for a lost connection
            page.locator("#next").click()
        with page.expect_event("dialog"):
            page.close(run_before_unload=True)
        assert asked == ["beforeunload"]
        expect(page.locator("#fn-csv")).to_be_in_viewport()
        page.wait_for_timeout(2500)  # and come back after 2 s
        cards.nth(1).get_by_role("button", name="No").click()  # who stays goes on
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
