"""Verdicts on disk: none lost and none doubled, whatever is killed; exports that come back as they went."""

import csv
import io
import json
import multiprocessing
import os
import signal
import sqlite3
import threading
import time
from dataclasses import astuple, replace
from itertools import product

import numpy as np
import pytest

from tests import tiny
from xmr.checkpoints import CannotSave
from xmr.data import DataFault
from xmr.store import (
    ANSWERS,
    PairNames,
    StoreRefused,
    Tally,
    Verdict,
    VerdictStore,
    agreed,
    as_csv,
    as_jsonl,
    database,
    export,
    judge_name,
    read_verdicts,
    verdicts_digest,
)

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
        votes = [verdict(answer=a, judge=f"judge {i}") for i, a in enumerate(given)]
        ((pair, tally),) = agreed(votes).items()
        count = {a: given.count(a) for a in ANSWERS}
        most = [a for a in ANSWERS if count[a] == max(count.values())]
        assert tally == Tally(**count) and pair == votes[0].pair
        assert tally.answer == (most[0] if len(most) == 1 else "unsure")


def test_progress(store):
    for number, judge, answer in [(0, "Ann", "yes"), (0, "Bo", "no"), (1, "Ann", "no"), (2, "Bo", "yes")]:
        store.record(verdict(number, answer, judge))
    store.record(verdict(3, fingerprint="another"))
    assert store.progress("f" * 16) == {
        "pairs": 3, "yes": 1, "no": 1, "unsure": 1, "judges": {"Ann": 2, "Bo": 2},
    }  # fmt: skip
    assert store.progress()["pairs"] == 4 and store.progress("nothing")["judges"] == {}
    assert [t.answer for t in store.agreed("f" * 16).values()] == ["unsure", "no", "yes"]


# ---- names --------------------------------------------------------------------------------------------------


def test_names_of_pairs_survive_loading_and_tell_change():
    data = tiny.dataset("test")
    one, again = PairNames(data), PairNames(tiny.dataset("test"))
    assert (one.visuals, one.texts) == (again.visuals, again.texts)
    assert len(set(one.visuals)) == len(data.visual_ids)
    changed = PairNames(tiny.dataset("test", captions=["another", *data.captions[1:]]))
    assert [a == b for a, b in zip(one.texts, changed.texts, strict=True)] == [False] + [True] * 47
    assert one.pair(3, 5) == (data.fingerprint, "test-3", one.texts[5])
    assert one.texts[5].startswith("test-2#")
    # Equal captions are one name where one visual has both, and two where two visuals have them.
    same = PairNames(tiny.dataset("test", captions=["a dog"] * 48))
    assert len(set(same.texts)) == 24 and same.texts[0] == same.texts[1] != same.texts[2]
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


def test_damaged_and_foreign_databases_are_refused_and_left_alone(tmp_path):
    path = full(tmp_path / "verdicts.sqlite", 60)
    whole = path.read_bytes()
    assert len(whole) > 8 * 4096 and len(read_verdicts(path)) == 60

    path.write_bytes(whole[: len(whole) // 2])
    refuse_unchanged(path, "damaged.*restore a copy")
    path.write_bytes(whole[:2000])
    refuse_unchanged(path, "damaged|something else")
    path.write_bytes(whole[:4096] + np.random.default_rng(0).bytes(len(whole) - 4096))
    refuse_unchanged(path, "damaged")
    path.write_bytes(b"\0" * len(whole))
    refuse_unchanged(path, "no database of verdicts")
    path.write_bytes(b"fingerprint,visual_id\n")
    refuse_unchanged(path, "no database of verdicts")

    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    connection.close()
    refuse_unchanged(other, "something else")

    path.write_bytes(whole)
    for statement, message in [
        ("PRAGMA user_version = 2", "version 2, this xmr reads 1"),
        ("PRAGMA user_version = 1", None),
        ("ALTER TABLE events RENAME COLUMN judge TO judges", "damaged: no judge"),
    ]:
        connection = sqlite3.connect(path)
        connection.execute(statement)
        connection.close()
        if message:
            refuse_unchanged(path, message)
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreRefused, match="no file"):
        VerdictStore(tmp_path / "folder")
    with pytest.raises(StoreRefused, match="can't be read"):
        VerdictStore(path / "below" / "a file")
    with pytest.raises(StoreRefused, match="can't be read"):
        VerdictStore(tmp_path / ("x" * 300))


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


def test_threads_share_a_store(store):
    def work(worker):
        for i in range(20):
            store.record(verdict(i, ANSWERS[i % 3], f"judge {worker}"), key=f"{worker} {i}")
            store.record(verdict(i, ANSWERS[i % 3], f"judge {worker}"), key=f"{worker} {i}")
            store.progress()
        for i in range(10):
            store.undo(f"judge {worker}", key=f"undo {worker} {i}")

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.progress()["judges"] == {f"judge {i}": 10 for i in range(4)}
    assert events(store) == 4 * (20 + 10)


def test_one_key_from_many_threads_counts_once(store):
    barrier = threading.Barrier(8)

    def click():
        barrier.wait()
        store.record(verdict(0), key="click")

    threads = [threading.Thread(target=click) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
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


@posix
def test_processes_open_a_new_file_at_once(tmp_path):
    path = tmp_path / "verdicts.sqlite"
    told = killed_while_writing(path, workers=5, seconds=0.2)
    assert {v.judge for v in read_verdicts(path)} >= {f"judge {worker}" for worker, _ in told}


def test_csv_has_the_columns_of_the_verdict():
    (header, cells) = csv.reader(io.StringIO(as_csv([verdict(3, score=0.5)]), newline=""))
    assert dict(zip(header, cells, strict=True)) == {
        name: "" if value is None else str(value)
        for name, value in zip(header, astuple(verdict(3, score=0.5)), strict=True)
    }
