"""Verdicts on disk: none lost and none doubled, whatever is killed; exports that come back as they went."""

import contextlib
import csv
import json
import multiprocessing
import os
import signal
import sqlite3
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from tests import tiny
from xmr.captions import text_key
from xmr.checkpoints import CannotSave
from xmr.data import DataFault, Dataset
from xmr.limits import Limit
from xmr.store import (
    ANSWERS,
    PairNames,
    Standings,
    StoreRefused,
    Tally,
    Verdict,
    VerdictStore,
    as_jsonl,
    database,
    export,
    judge_name,
    judged,
    read_verdicts,
    standing,
    verdicts_digest,
)
from xmr.store.verdicts import likeness

FORK = multiprocessing.get_context("fork") if os.name == "posix" else None
posix = pytest.mark.skipif(os.name != "posix", reason="kill -9")


def verdict(number=0, answer="yes", judge="Ann", **changes):
    parts = {
        "fingerprint": "f" * 16, "dataset": "tiny", "split": "test", "visual_id": f"v{number}",
        "text_id": f"v{number + 1}#abc", "caption": "a red dog", "judge": judge, "answer": answer,
    }  # fmt: skip
    return Verdict(**parts | changes)


@pytest.fixture
def store(tmp_path):
    with VerdictStore(tmp_path / "verdicts.sqlite") as opened:
        yield opened


def events(store):
    with sqlite3.connect(store.path) as connection:
        return connection.execute("SELECT count(*) FROM events").fetchone()[0]


def answers(store, **of):
    return [(v.judge, v.visual_id, v.answer) for v in store.verdicts(**of)]


# ---- one person, one pair -----------------------------------------------------------------------------------


def test_the_last_that_is_not_undone_stands(store):
    store.record(verdict(0, "yes"))
    store.record(verdict(1, "no"))
    store.record(verdict(0, "unsure"))
    assert answers(store) == [("Ann", "v1", "no"), ("Ann", "v0", "unsure")]
    assert store.undo("Ann").answer == "unsure"
    assert answers(store) == [("Ann", "v0", "yes"), ("Ann", "v1", "no")]  # what was said before holds again
    assert [store.undo("Ann").visual_id for _ in range(2)] == ["v1", "v0"]
    assert store.undo("Ann") is None and answers(store) == []
    store.record(verdict(0, "no"))
    assert answers(store) == [("Ann", "v0", "no")]
    assert events(store) == 3 + 3 + 1  # nothing is ever deleted


def test_an_undo_is_of_ones_own_and_of_one_split(store):
    store.record(verdict(0, judge="Ann"))
    store.record(verdict(1, judge="Ann", fingerprint="another"))
    store.record(verdict(2, judge="Bo"))
    assert store.undo("Ann", fingerprint="f" * 16).visual_id == "v0"
    assert answers(store) == [("Ann", "v1", "yes"), ("Bo", "v2", "yes")]
    assert answers(store, judge="Bo") == [("Bo", "v2", "yes")]
    assert answers(store, fingerprint="another") == [("Ann", "v1", "yes")]


def test_a_double_click_counts_once(store):
    first = store.record(verdict(0), key="click")
    assert store.record(verdict(0), key="click") == first == store.record(verdict(0))
    assert events(store) == 1
    store.undo("Ann", key="undo")
    assert store.undo("Ann", key="undo") == first  # the request was sent twice: one step back
    assert (
        store.record(verdict(0), key="click") == first and answers(store) == []
    )  # late, and undone meanwhile
    assert events(store) == 2
    for wrong in (verdict(1), verdict(0, "no"), verdict(0, judge="Bo")):
        with pytest.raises(ValueError, match="used for something else"):
            store.record(wrong, key="click")
    with pytest.raises(ValueError, match="used for something else"):
        store.undo("Ann", key="click")
    with pytest.raises(ValueError, match="used for something else"):
        store.record(verdict(0), key="undo")
    assert events(store) == 2


def test_the_majority_agrees_and_ties_are_unsure():
    for given in product(ANSWERS, repeat=4):
        tally = Tally.of(given)
        count = {a: given.count(a) for a in ANSWERS}
        most = [a for a in ANSWERS if count[a] == max(count.values())]
        assert tally == Tally(**count)
        assert tally.answer == (most[0] if len(most) == 1 else "unsure")


# ---- what stands on a split ---------------------------------------------------------------------------------

SAID = [
    "A red dog.",
    "a cat",
    "a red  dog",
    "two dogs",
    "a red dog",
    "a cat!",
]  # the captions of three visuals


def split_of(captions=tuple(SAID)):
    links = np.repeat(np.arange(3), 2)
    features = np.ones((3, 2), np.float32)
    return Dataset("d", "test", list(captions), links, ["u", "v", "w"], "f" * 16, visual_features=features)


def standing_by_loop(log, data):
    """{question: {person: answer}}: of every person on all texts that read alike the last that is not undone."""
    stands = {}
    for visual, text, person, answer in log:  # without what was undone, in its order
        said = stands.setdefault((visual, text_key(data.captions[text])), {})
        said.pop(person, None)
        said[person] = answer
    return stands


@pytest.mark.parametrize("seed", range(4))
def test_tallies_that_are_kept_are_what_a_count_of_all_events_says(store, seed):
    data, rng = split_of(), np.random.default_rng(seed)
    names = PairNames(data)
    kept, log = Standings(names), []
    with VerdictStore(store.path) as other:  # another process
        for step in range(60):
            person = ("Ann", "Bo", "Cy")[int(rng.integers(3))]
            writer = (store, other)[step % 2]
            if rng.random() < 0.3:
                writer.undo(person)
                mine = [place for place, one in enumerate(log) if one[2] == person]
                log = [one for place, one in enumerate(log) if not mine or place != mine[-1]]
            else:
                visual, text = int(rng.integers(3)), int(rng.integers(6))
                answer = ANSWERS[int(rng.integers(3))]
                exact = [one[3] for one in log if one[:3] == (visual, text, person)]
                if exact[-1:] != [answer]:
                    log.append((visual, text, person, answer))
                writer.record(names.verdict(visual, text, person, answer))
            if step % 7 == 0 or step == 59:
                stands = standing_by_loop(log, data)
                asks = [(visual, text) for visual in range(3) for text in (0, 1, 3)]  # what reads alike once
                for answers in (kept.answers(store, "Ann"), Standings(names).answers(store, "Ann")):
                    found = {(v, text_key(data.captions[t])): said for (v, t), said in answers.said.items()}
                    assert found == stands
                    assert answers.people == Counter(person for said in stands.values() for person in said)
                    assert answers.version == events(store)
                    own = Standings(names).own(store, "Ann", asks)
                    assert [own.mine(ask) for ask in asks] == [answers.mine(ask) for ask in asks]
                    assert all(set(said) == {"Ann"} for said in own.said.values())


@pytest.mark.parametrize("chunk", [1, 2, 20_000])
def test_only_what_is_new_is_read(store, monkeypatch, chunk):
    monkeypatch.setattr(database, "CHUNK", chunk)
    names = PairNames(split_of())
    kept, read = Standings(names), []
    for text in range(6):
        store.record(names.verdict(0, text, "Ann", "yes"))
    since = VerdictStore.since
    monkeypatch.setattr(
        VerdictStore,
        "since",
        lambda self, *of: (found := since(self, *of), read.append(len(found[1])))[0],
    )

    def count():
        kept.answers(store, "Ann")
        found = sum(read)
        read.clear()
        return found

    assert [count() for _ in range(3)] == [6, 0, 0]
    store.record(names.verdict(1, 0, "Bo", "no"))
    store.record(verdict(5, fingerprint="another"))
    assert count() == 1
    before = kept.answers(store, "Ann")
    seen = {question: dict(said) for question, said in before.said.items()}
    store.undo("Bo")
    assert count() == 1
    assert before.said == seen != kept.answers(store, "Ann").said  # who reads it meanwhile sees one state


def test_of_many_verdicts_the_first_look_reads_only_ones_own(store, monkeypatch):
    names, read = PairNames(split_of()), []
    for judge in ("Ann", "Bo"):
        store.record(names.verdict(0, 3, judge, "yes"))
    monkeypatch.setattr(VerdictStore, "since", lambda *_: read.append(1))
    own = Standings(names).own(store, "Ann", [(0, 3)])
    assert (own.said, own.whole, own.mark((0, 3))) == ({(0, 3): {"Ann": "yes"}}, False, ["yes", ""])
    assert Standings(names).own(store, "", [(0, 3)]).said == {} == Standings(names).own(store, "Ann", []).said
    assert not read


def test_training_and_the_page_agree_on_what_reads_alike(store):
    """Captions 0, 2 and 4 read alike: one answer on any of them counts for all that are not annotated."""
    data = split_of()
    names = PairNames(data)
    for visual, text, person, answer in [
        (0, 4, "Ann", "yes"), (0, 2, "Ann", "no"), (0, 2, "Bo", "no"), (1, 0, "Ann", "yes"), (2, 3, "Cy", "unsure"),
    ]:  # fmt: skip
        store.record(names.verdict(visual, text, person, answer))
    found = judged(store.path, store.verdicts(), data)
    assert found.refuted.tolist() == [[0, 2], [0, 4]]  # Ann's last word is no
    assert found.confirmed.tolist() == [[1, 0], [1, 4]]
    assert found.unsure.tolist() == [[2, 3]]
    answers = Standings(names).answers(store, "Ann")
    stands = standing(answers, [(0, 0), (1, 0), (2, 3), (2, 1)])
    assert stands.agreed.tolist() == [2, 1, 3, 0] and stands.mine.tolist() == [2, 1, 0, 0]
    assert answers.mark((0, 0)) == ["no", "Others: 1 no."] and answers.mark((2, 3)) == ["", ""]


# ---- owners, names, limits ----------------------------------------------------------------------------------


def test_only_the_owner_takes_back(store):
    store.record(verdict(0), key="mine", owner="one")
    store.record(verdict(1))  # of before there were owners, or by a script
    for stranger in ("two", ""):
        before = events(store)
        gone = store.undo("Ann", owner=stranger)
        assert (gone is None) == (stranger == "two")
        assert events(store) == before + (stranger == "")
    assert answers(store) == [("Ann", "v0", "yes")]
    with pytest.raises(ValueError, match="used for something else"):
        store.record(verdict(0), key="mine", owner="two")
    assert store.undo("Ann", key="back", owner="one").visual_id == "v0"
    with pytest.raises(ValueError, match="used for something else"):
        store.undo("Ann", key="back", owner="two")
    assert answers(store) == []


def test_a_name_is_of_the_owner_who_judged_under_it_first(store):
    store.record(verdict(0, judge="Ann"))  # anybody's: there were no owners
    store.check_name("Ann", "one")
    store.record(verdict(1, judge="Ann"), owner="one")
    store.record(verdict(2, judge="ANN"), owner="one")
    count = events(store)
    for name in ("Ann", "ann", "Аnn", "Ann.", "Ａｎｎ", "Ánn"):
        for check in (
            store.check_name,
            lambda name, owner: store.record(verdict(3, judge=name), owner=owner),
        ):
            with pytest.raises(ValueError, match="somebody who judges in another browser"):
                check(name, "two")
    assert events(store) == count
    store.record(verdict(3, judge="Anna"), owner="two")
    store.record(verdict(4, judge="Ann"))  # a script may write what it wants: it may write the file, too


ALIKE = [
    ("Ann", "ann"), ("Ann", "Аnn"), ("Ann", "АΝΝ"), ("Paul", "Рaul"), ("Paul", "Pau1"), ("Ian", "lan"), ("Bob", "B0b"),
    ("José", "Jose\u0301"), ("José", "jose"), ("Ann B.", "ann_b"), ("Ｂｏｂ", "bob"), ("modern", "modem"), ("Søren", "Soren"),
    ("Straße", "STRASSE"), ("Ann", "A\u200dnn"), ("ℌans", "Hans"), ("Борис", "БОРИС"), ("🐈", "🐈"),
]  # fmt: skip
UNLIKE = [
    ("Ann", "Anna"), ("Bob", "Rob"), ("राम", "राम2"), ("राम", "रम"), ("猫", "犬"), ("🐈", "🐕"), ("Ann 2", "Ann 3"), ("Борис", "Boris"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), [*ALIKE, *UNLIKE])
def test_which_names_look_alike(one, other):
    assert (likeness(judge_name(one)) == likeness(judge_name(other))) is ((one, other) in ALIKE)
    assert likeness(judge_name(other)) != ""


def test_one_browser_and_all_of_them_have_their_limits(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "VERDICTS_HOURLY", Limit("", 3, None))
    with VerdictStore(tmp_path / "v.sqlite", most=7) as store:
        for i in range(2):
            store.record(verdict(i), key=f"{i}", owner="one")
        store.undo("Ann", owner="one")
        for refused in (
            lambda: store.record(verdict(5), owner="one"),
            lambda: store.undo("Ann", owner="one"),
        ):
            with pytest.raises(ValueError, match="3 verdicts and undos an hour"):
                refused()
        assert store.record(verdict(0), key="0", owner="one")  # sent again: kept already
        with sqlite3.connect(store.path) as connection:  # an hour later
            connection.execute("UPDATE events SET at = '2026-01-01T00:00:00.000+00:00'")
        connection.close()
        store.record(verdict(6), owner="one")
        for i in range(3):
            store.record(verdict(i, judge="Bo"), owner="two")
        with pytest.raises(ValueError, match="all 7 verdicts that are kept here"):
            store.record(verdict(0, judge="Cy"), owner="three")
        with pytest.raises(ValueError, match="all 7"):
            store.undo("Bo", owner="two")
        store.record(verdict(7, judge="Script"))  # whoever can write the file
        assert events(store) == 8


# ---- version 1 ----------------------------------------------------------------------------------------------


def version_1(path):
    connection = sqlite3.connect(path)
    connection.executescript((Path(__file__).parent / "samples" / "verdicts_1.sql").read_text())
    connection.executescript("PRAGMA application_id = 0x786D7276; PRAGMA user_version = 1;")
    connection.close()
    return path


OF_1 = [("Ann", "v0", "yes"), ("Ann", "v1", "no"), ("Bo", "v0", "unsure")]


def test_a_database_of_version_1_keeps_all_its_events(tmp_path):
    path = version_1(tmp_path / "old.sqlite")
    before = path.read_bytes()
    old = read_verdicts(path)
    assert [(v.judge, v.visual_id, v.answer) for v in old] == OF_1
    assert path.read_bytes() == before  # who only reads it changes nothing
    with VerdictStore(path) as store:
        assert store.verdicts() == old and events(store) == 5
        assert store.record(verdict(0, "no"), key="k3").answer == "no" and events(store) == 5  # a replay
        assert store.undo("Ann", owner="one") is None
        store.record(verdict(1, "yes"), key="new", owner="one")
        assert store.undo("Ann", owner="one").answer == "yes"
        assert [(v.judge, v.visual_id, v.answer) for v in store.verdicts()] == OF_1
    assert verdicts_digest(path, read_verdicts(path)) == verdicts_digest(path, old)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT key, owner FROM events LIMIT 5").fetchall() == [
            (f"k{i}", "") for i in range(5)
        ]
    connection.close()


def test_a_migration_that_fails_leaves_version_1(tmp_path, monkeypatch):
    path = version_1(tmp_path / "old.sqlite")
    with monkeypatch.context() as broken:
        broken.setattr(database, "OWNERS", (*database.OWNERS[:2], "CREATE TABLE names ("))
        with pytest.raises(CannotSave):
            VerdictStore(path)
    assert [(v.judge, v.visual_id, v.answer) for v in read_verdicts(path)] == OF_1
    with VerdictStore(path) as store:
        assert answers(store) == OF_1


# ---- names --------------------------------------------------------------------------------------------------


def test_names_of_pairs_survive_loading_and_tell_change():
    data = tiny.dataset("test")
    one, again = PairNames(data), PairNames(tiny.dataset("test"))

    def texts(names):
        return [names.text(i) for i in range(len(names.data.captions))]

    assert (one.visuals, texts(one)) == (again.visuals, texts(again))
    assert len(set(one.visuals)) == len(data.visual_ids)
    changed = PairNames(tiny.dataset("test", captions=["another", *data.captions[1:]]))
    assert [a == b for a, b in zip(texts(one), texts(changed), strict=True)] == [False] + [True] * 47
    assert one.pair(3, 5) == (data.fingerprint, "test-3", one.text(5))
    assert one.text(5).startswith("test-2#")
    # Equal captions are one name where one visual has both, and two where two visuals have them.
    same = texts(PairNames(tiny.dataset("test", captions=["a dog"] * 48)))
    assert len(set(same)) == 24 and same[0] == same[1] != same[2]
    twice = PairNames(tiny.dataset("test", visual_ids=["a"] * 24))
    assert twice.visuals[:3] == ["a", "a~2", "a~3"]


def test_a_judge_is_a_clean_name():
    assert judge_name("  Ann \n\t B.\u202e\0 ") == "Ann B."
    assert judge_name("e\u0301") == "\u00e9" and judge_name("نمی\u200cدانم") == "نمی\u200cدانم"
    assert judge_name("x" * 80) == "x" * 80
    for name in ("a \u202e b", "e\u202e\u0301", "\u200d a", "a\u0301 " * 20, " \u200c \u200d a\0"):
        assert judge_name(judge_name(name)) == judge_name(name)  # read back, it is still the same person
    for wrong in ("", " \n", "\0", "\ud800", " \u200c ", "x" * 81, "x" * 10_000_000):
        with pytest.raises(ValueError, match="name") as told:
            judge_name(wrong)
        assert len(str(told.value)) < 200


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": "yse"}, "did you mean 'yes'"),
        ({"answer": "unsur" * 1_000_000}, "unknown answer"),
        ({"answer": ""}, "there are: yes, no, unsure"),
        ({"judge": ""}, "needs the name"),
        ({"visual_id": ""}, "visual_id must have 1 to 4,096"),
        ({"text_id": "x" * 10_000_000}, "found 10,000,000"),
        ({"at": "yesterday"}, "no time"),
        ({"score": float("nan")}, "finite"),
        ({"score": -float("inf")}, "finite"),
    ],
)
def test_what_is_no_verdict_is_told(change, message):
    with pytest.raises(ValueError, match=message) as told:
        verdict(**change)
    assert len(str(told.value)) < 300


HOSTILE = [
    "<img src=x onerror=alert(1)>", '=HYPERLINK("http://x","y")', "+1", "-1", "@SUM(A1)", "\tx", "\rx", "'=1", "''=1",
    "'tis", "'", "''", 'a "quoted", caption', "two\nlines\r\nthree", "\0nul\0", "half \ud800 pair", "\u2028 \u202e",
    " spaces ", "{}", "null", "'; DROP TABLE events; --", "猫 🐈", "\ufeffmark",
]  # fmt: skip


def test_exports_come_back_exactly(store, tmp_path):
    for i, text in enumerate(HOSTILE):
        score = np.float32((-1) ** i * 0.1 * i) if i % 2 else None
        texts = dict.fromkeys(("visual_id", "caption", "run", "selector", "dataset"), text)
        store.record(verdict(i, ANSWERS[i % 3], f"{text} {i}", **texts, score=score))
    store.record(verdict(99, caption="long " * 2_000_000))
    kept = store.verdicts()
    assert len(kept) == len(HOSTILE) + 1 and len(kept[-1].caption) == 1000
    for name in ("out.jsonl", "out.csv"):
        export(tmp_path / name, kept)
        assert read_verdicts(tmp_path / name) == kept
    assert read_verdicts(store.path) == kept
    with pytest.raises(ValueError, match="jsonl or .csv"):
        export(tmp_path / "out.xlsx", kept)
    with open(tmp_path / "out.csv", newline="", encoding="utf-8") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    numbers = {repr(v.score) for v in kept}
    assert not [c for c in cells if c[:1] in ("=", "+", "-", "@", "\t", "\r") and c not in numbers]
    assert verdicts_digest(store.path, kept) == verdicts_digest(tmp_path / "out.jsonl", kept)
    store.record(verdict(100))
    assert verdicts_digest(store.path, store.verdicts()) != verdicts_digest(tmp_path / "out.jsonl", kept)


def test_of_several_in_a_file_the_latest_stands(tmp_path):
    early, late = (f"2026-01-0{day}T00:00:00.000+00:00" for day in (1, 2))
    lines = [verdict(0, "no", at=late), verdict(0, "yes", at=early), verdict(1, "yes", at=early)]
    (tmp_path / "two.jsonl").write_text(as_jsonl(lines))
    assert [v.answer for v in read_verdicts(tmp_path / "two.jsonl")] == ["no", "yes"]
    elsewhere = replace(lines[0], at="2026-01-01T23:30:00-01:00")
    assert elsewhere.at == "2026-01-02T00:30:00.000+00:00"  # one clock


def row(**changes):
    """One line of JSON; None leaves the field out."""
    values = json.loads(as_jsonl([verdict(0)])) | changes
    return json.dumps({name: value for name, value in values.items() if value is not ...})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", row() + "\n" + row(answer="yess"), r"a\.jsonl, line 2: .*did you mean 'yes'.*delete the row"),
        ("a.jsonl", row() + "\n\n{", r"a\.jsonl, line 3: not JSON"),
        ("a.jsonl", "[1]", "line 1: must be a JSON object"),
        ("a.jsonl", row(judge=...), "line 1: no column 'judge'"),
        ("a.jsonl", row(answer=..., anwser="yes"), "did you mean 'anwser'"),
        ("a.jsonl", row(visual_id=7), "'visual_id' must be text, found 7"),
        ("a.jsonl", row(score="high"), "'score' must be a number"),
        ("a.jsonl", row(score=10**400), "'score' must be a number"),
        ("a.jsonl", row(score=float("nan")), "finite"),
        ("a.jsonl", row(judge=None), "needs the name"),
        ("a.csv", "fingerprint,visual_id\na", "line 2: 1 cells where the header names 2"),
        ("a.csv", "fingerprint,visual_id,text_id,judge,answer\n,b,c,d,yes", "line 2: fingerprint must have 1"),
        ("a.csv", 'fingerprint\n"', "line 2: not CSV"),
        ("a.csv", b"fingerprint\n\xff", "line 2: not UTF-8"),
        ("a.db", "some text that is long enough", "no database of verdicts"),
    ],
)  # fmt: skip
def test_faults_of_files_name_the_line(tmp_path, name, text, message):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises((DataFault, StoreRefused), match=message) as told:
        read_verdicts(tmp_path / name)
    assert name in str(told.value)


def test_a_file_that_is_not_there(tmp_path):
    for name in ("a.jsonl", "a.csv", "a.sqlite"):
        with pytest.raises(DataFault, match=name):
            read_verdicts(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_spreadsheets_may_change_case_and_drop_columns(tmp_path):
    (tmp_path / "a.csv").write_text("answer,judge,fingerprint,visual_id,text_id,notes\nYES ,Ann,f,v,t,'=1\n")
    (found,) = read_verdicts(tmp_path / "a.csv")
    assert (found.answer, found.at, found.score, found.caption) == ("yes", "", None, "")


# ---- damaged and foreign files ------------------------------------------------------------------------------


def refuse_unchanged(path, message):
    before = path.read_bytes()
    for use in (VerdictStore, read_verdicts):
        with pytest.raises(StoreRefused, match=message):
            use(path)
    assert path.read_bytes() == before


def full(path, count=300):
    with VerdictStore(path) as store:
        for i in range(count):
            store.record(verdict(i, caption="a caption of some words " * 20))
    return path


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("visual_id", 5), ("text_id", b"\xff"), ("fingerprint", None), ("dataset", None), ("run", None), ("judge", 7),
        ("judge", ""), ("answer", "maybe"), ("answer", 1), ("at", "never"), ("at", 5), ("score", "high"),
        ("score", b"x"), ("score", 9e999), ("visual_id", "x" * 10_000), ("key", 1),
    ],
)  # fmt: skip
def test_what_no_xmr_wrote_is_damage_whatever_the_columns_take(tmp_path, version, column, value):
    path = tmp_path / "verdicts.sqlite"
    names = ("id", "key", "undoes", *database.COLUMNS, *(["owner"] if version == 2 else []))
    values = {
        **dict(zip(database.COLUMNS, astuple(verdict(at="2026-01-01")), strict=True)),
        "key": "k",
        column: value,
    }
    with sqlite3.connect(path) as connection:
        connection.execute(f"CREATE TABLE events ({', '.join(names)})")
        connection.execute(
            f"INSERT INTO events (id, {', '.join(values)}) VALUES (1{', ?' * len(values)})",
            tuple(values.values()),
        )
        connection.execute(f"PRAGMA application_id = {database.APPLICATION}")
        connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    with pytest.raises(StoreRefused, match="damaged: event 1"):
        read_verdicts(path)
    if version == 2:
        with pytest.raises(StoreRefused, match="damaged: event 1"), VerdictStore(path) as store:
            store.verdicts()


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE events RENAME TO old; CREATE VIEW events AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 "
        "FROM n) SELECT n.id, old.id AS oldest, 'k' || n.id AS key, undoes, owner, "
        + ", ".join(database.COLUMNS)
        + " FROM n, old",
        "CREATE TRIGGER forgets AFTER INSERT ON events BEGIN DELETE FROM events; END",
    ],
    ids=["endless", "forgets"],
)
def test_views_and_triggers_are_refused(tmp_path, statement):
    path = full(tmp_path / "verdicts.sqlite", 2)
    connection = sqlite3.connect(path)
    connection.executescript(statement)
    connection.close()
    refuse_unchanged(path, "views or triggers")


def test_flipped_bytes_are_damage_or_nothing_and_no_other_error(tmp_path):
    path = full(tmp_path / "verdicts.sqlite", 40)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(60):
        flipped = bytearray(whole)
        for place in rng.integers(20, len(whole) if rng.random() < 0.5 else 3000, 10):
            flipped[place] ^= int(rng.integers(1, 256))
        path.write_bytes(flipped)
        with contextlib.suppress(StoreRefused, CannotSave):
            read_verdicts(path)


@posix
def test_a_pipe_of_verdicts_is_not_waited_for(tmp_path):
    told = []

    def read(path):
        os.mkfifo(path)
        with pytest.raises(DataFault, match="no regular file|no such file") as caught:
            read_verdicts(path)
        told.append(caught.value)

    for name in ("v.jsonl", "v.csv", "v.sqlite"):
        thread = threading.Thread(target=read, args=(tmp_path / name,), daemon=True)
        thread.start()
        thread.join(30)
    assert len(told) == 3


DAMAGE = [
    (lambda whole: whole[: len(whole) // 2], "damaged.*restore a copy"),
    (lambda whole: whole[:2000], "damaged|something else"),
    (lambda whole: whole[:4096] + np.random.default_rng(0).bytes(len(whole) - 4096), "damaged"),
    (lambda whole: b"\0" * len(whole), "no database of verdicts"),
    (lambda whole: b"fingerprint,visual_id\n", "no database of verdicts"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGE)
def test_damaged_databases_are_refused_and_left_alone(tmp_path, damage, message):
    path = full(tmp_path / "verdicts.sqlite", 60)
    whole = path.read_bytes()
    assert len(whole) > 8 * 4096 and len(read_verdicts(path)) == 60
    path.write_bytes(damage(whole))
    refuse_unchanged(path, message)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("PRAGMA user_version = 3", "version 3, this xmr reads 1 to 2"),
        ("ALTER TABLE events RENAME COLUMN judge TO judges", "damaged: no judge"),
        ("PRAGMA application_id = 7", "something else"),
    ],
)
def test_other_databases_are_refused_and_left_alone(tmp_path, statement, message):
    path = full(tmp_path / "verdicts.sqlite", 2)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()
    refuse_unchanged(path, message)


def test_what_is_no_file_is_refused(tmp_path):
    for place, message in (
        (tmp_path, "no file"),
        (full(tmp_path / "verdicts.sqlite", 2) / "below" / "a file", "can't be read"),
        (tmp_path / ("x" * 300), "can't be read"),
    ):
        with pytest.raises(StoreRefused, match=message):
            VerdictStore(place)


def test_an_empty_file_is_a_new_database(tmp_path):
    (tmp_path / "empty").touch()
    assert read_verdicts(tmp_path / "empty") == []
    assert (tmp_path / "empty").stat().st_size == 0
    with VerdictStore(tmp_path / "empty") as store:
        store.record(verdict())
    assert len(read_verdicts(tmp_path / "empty")) == 1


def test_a_database_that_cannot_be_written(tmp_path, monkeypatch):
    path = full(tmp_path / "verdicts.sqlite", 3)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr("xmr.store.database.WAIT_SECONDS", 0.1)
    with VerdictStore(path) as store:
        with pytest.raises(CannotSave, match="locked; nothing was changed"):
            store.record(verdict(7))
        assert len(store.verdicts()) == 3  # readers do not wait for writers
        holder.execute("ROLLBACK")
        store.record(verdict(7))
        assert len(store.verdicts()) == 4
    holder.close()


def test_a_database_in_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    path, connect = full(tmp_path / "verdicts.sqlite", 3), database._connect

    def refuse(path, mode):
        if mode == "ro":  # as SQLite does where it can't make the index of a log
            raise sqlite3.OperationalError("unable to open database file")
        return connect(path, mode)

    monkeypatch.setattr(database, "_connect", refuse)
    assert len(read_verdicts(path)) == 3
    with VerdictStore(path) as store:
        store.record(verdict(7))  # in the log, which can't be read so
        with pytest.raises(CannotSave, match="unable to open"):
            read_verdicts(path)
    assert len(read_verdicts(path)) == 4


# ---- several at once, and kill -9 ---------------------------------------------------------------------------


def in_threads(work, count):
    with ThreadPoolExecutor(count) as threads:
        list(threads.map(work, range(count)))


def test_threads_share_a_store(store):
    def work(worker):
        for i in range(20):
            store.record(verdict(i, ANSWERS[i % 3], f"judge {worker}"), key=f"{worker} {i}")
            store.record(verdict(i, ANSWERS[i % 3], f"judge {worker}"), key=f"{worker} {i}")
            store.since("f" * 16, 0)
        for i in range(10):
            store.undo(f"judge {worker}", key=f"undo {worker} {i}")

    in_threads(work, 4)
    assert Counter(v.judge for v in store.verdicts()) == {f"judge {i}": 10 for i in range(4)}
    assert events(store) == 4 * (20 + 10)


def test_one_key_from_many_threads_counts_once(store):
    barrier = threading.Barrier(8)

    def click(_):
        barrier.wait()
        store.record(verdict(0), key="click")

    in_threads(click, 8)
    assert events(store) == 1


def _write(path, worker, told, start=0):
    """Records verdicts for ever, and says of each that it is kept."""
    with VerdictStore(path) as store:
        for i in range(start, 10_000):
            store.record(verdict(i, ANSWERS[i % 3], f"judge {worker}"), key=f"{worker} {i}")
            os.write(told, f"{worker} {i}\n".encode())


def killed_while_writing(path, workers, seconds):
    """What `workers` processes were told is kept, (worker, number), until all of them were killed."""
    reader, writer = os.pipe()
    running = [FORK.Process(target=_write, args=(path, i, writer)) for i in range(workers)]
    for process in running:
        process.start()
    os.close(writer)
    told, until = b"", None
    while chunk := os.read(reader, 65536):
        told += chunk
        until = until or time.monotonic() + seconds
        if time.monotonic() > until:
            for process in running:
                os.kill(process.pid, signal.SIGKILL)
            until = float("inf")
    os.close(reader)
    for process in running:
        process.join()
        assert process.exitcode == -signal.SIGKILL
    return [tuple(map(int, line.split())) for line in told.decode().splitlines()]


@posix
def test_kill_9_loses_nothing_that_was_told_and_doubles_nothing(tmp_path):
    path = tmp_path / "verdicts.sqlite"
    told = killed_while_writing(path, workers=4, seconds=0.5)
    assert len(told) == len(set(told)) >= 4
    with VerdictStore(path) as store:
        kept = {(int(v.judge.split()[1]), int(v.visual_id[1:])) for v in store.verdicts()}
        assert events(store) == len(kept)
        assert set(told) <= kept
        surplus = sorted(kept - set(told))  # written, and killed before it could say so: one of each at most
        assert len({worker for worker, _ in surplus}) == len(surplus)
        # All that was asked for is asked for once more, as by clients that never had an answer.
        highest = {worker: max([i for w, i in kept if w == worker], default=-1) for worker in range(4)}
        for worker, last in highest.items():
            for i in range(last + 1):
                store.record(verdict(i, ANSWERS[i % 3], f"judge {worker}"), key=f"{worker} {i}")
        assert events(store) == len(kept) == sum(last + 1 for last in highest.values())


def _open(path, told):
    os.write(told, b".")
    VerdictStore(path)
    time.sleep(60)


@posix
def test_kill_9_while_the_file_is_made_leaves_nothing_that_is_refused(tmp_path):
    for i in range(8):
        path = tmp_path / f"{i}.sqlite"
        reader, writer = os.pipe()
        processes = [FORK.Process(target=_open, args=(path, writer)) for _ in range(2)]
        for process in processes:
            process.start()
        os.read(reader, 1)
        time.sleep(0.001 * i**1.5)
        for process in processes:
            os.kill(process.pid, signal.SIGKILL)
            process.join()
        os.close(reader), os.close(writer)
        with VerdictStore(path) as store:
            store.record(verdict())
            assert len(store.verdicts()) == 1
