"""Verdicts in a data set of the Hub: what was judged before a restart is there after it, whatever failed meanwhile."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from scripts import train
from tests import tiny
from tests.hub_server import environment
from tests.test_doors import ask
from tests.test_scripts import command
from xmr.store import VerdictStore, read_verdicts
from xmr.store.events import as_lines, events_of, read_lines, take_in
from xmr.store.mirror import Mirror
from xmr.store.verdicts import Verdict
from xmr.views.verdicts import kept_where
from xmr.workspace.verdict_file import VerdictFile

ROOT = Path(__file__).parent.parent
NAME = "me/verdicts"


def verdict(number=0, answer="yes", judge="Ann", at=""):
    return Verdict(
        "f", "photos", "test", f"v{number}", f"v{number}#1", '\u200ea dog, "ein Hund"', judge, answer, at
    )


def standing(path):
    with VerdictStore(path) as store:
        return {(one.judge, one.visual_id): one.answer for one in store.verdicts()}


class Process:
    """A server's verdicts, as long as it runs: a database in a folder of its own and its mirror."""

    def __init__(self, place, minutes=100.0):
        self.place, self.said = place / "verdicts.sqlite", []
        place.mkdir(exist_ok=True)
        self.mirror = Mirror(self.place, NAME, self.said.append, minutes)

    def __enter__(self):
        self.mirror.open()
        return self

    def __exit__(self, *_):
        self.mirror.close(30)

    def judge(self, *given, owner="o"):
        with VerdictStore(self.place) as store:
            for one in given:
                store.record(one, owner=owner)

    def undo(self, judge="Ann", owner="o"):
        with VerdictStore(self.place) as store:
            assert store.undo(judge, owner=owner)


def files(hub):
    return {name: content.decode() for name, content in hub.files("dataset", NAME).items()}


def test_what_one_process_was_told_the_next_one_knows(hub, tmp_path):
    with Process(tmp_path / "one") as one:
        one.judge(verdict(0), verdict(1), verdict(1, "no"), verdict(2, judge="Bob"))
        one.undo("Bob")
        one.mirror.send(30)
        one.judge(verdict(3))  # in the last minutes
    assert hub.private["dataset", NAME] and not one.mirror.fault
    (only,) = files(hub)
    assert only.startswith("verdicts/") and files(hub)[only].count("\n") == 6
    with Process(tmp_path / "two") as two:
        assert standing(two.place) == {("Ann", "v0"): "yes", ("Ann", "v1"): "no", ("Ann", "v3"): "yes"}
        assert standing(two.place) == standing(one.place)
        with (
            VerdictStore(two.place) as store,
            pytest.raises(ValueError, match="somebody who judges in another browser"),
        ):
            store.check_name("Ann", "another")  # the name stays who had it
        two.undo()
        two.undo()  # of verdicts of the other process
    assert standing(two.place) == {("Ann", "v0"): "yes", ("Ann", "v1"): "yes"}
    assert len(files(hub)) == 2  # a file for each that had something to say
    with Process(tmp_path / "three") as three:
        assert standing(three.place) == standing(two.place)
    with Process(tmp_path / "one") as again:  # the disk was kept
        assert standing(again.place) == standing(two.place)
    assert len(files(hub)) == 2
    assert "8 verdicts and undos are in me/verdicts, 2 of them new here." in again.said


def test_the_files_are_exports_that_scripts_read(hub, tmp_path):
    with Process(tmp_path / "one") as one:
        one.judge(verdict(0), verdict(1), verdict(1, "no"), verdict(2), owner="")
        one.undo(owner="")
    ((_, text),) = files(hub).items()
    (tmp_path / "all.jsonl").write_text(text)
    with VerdictStore(one.place) as store:
        assert read_verdicts(tmp_path / "all.jsonl") == store.verdicts()
    assert set(json.loads(text.splitlines()[0])) >= {
        "key",
        "owner",
        "fingerprint",
        "visual_id",
        "text_id",
        "judge",
        "answer",
    }


def test_of_two_processes_the_latest_by_time_stands(tmp_path):
    at = "2026-01-01T00:00:0{}.000+00:00".format
    for number, (name, answers) in enumerate({"a": {2: "yes"}, "b": {1: "no", 3: "unsure"}}.items()):
        with VerdictStore(tmp_path / name) as store:
            for second, answer in answers.items():
                store.record(verdict(0, answer, at=at(second)), key=f"{number} {second}", owner="o")
    with VerdictStore(tmp_path / "a") as a, VerdictStore(tmp_path / "b") as b:
        of_a, of_b = events_of(a, set()), events_of(b, set())
        for name, order in (("c", of_a + of_b), ("d", of_b + of_a)):
            with VerdictStore(tmp_path / name) as store:
                assert take_in(store, order) == 3 and take_in(store, order) == 0
        assert take_in(b, of_a) == 0  # it has a later one
        assert take_in(a, of_b) == 1
    assert [standing(tmp_path / name) for name in "abcd"] == [{("Ann", "v0"): "unsure"}] * 4


LINES = [
    "no JSON", "[]", "[" * 5000, '{"key": "k"}', '{"key": 7}', '{"key": "", "judge": "Ann"}',
    '{"key": "u", "undoes": "k", "judge": "", "at": "2026-01-01"}', '{"key": "u", "undoes": "k", "judge": "A", "at": "soon"}',
]  # fmt: skip


def test_lines_that_are_none_are_told_and_the_others_read(hub, tmp_path):
    good = {"key": "k", "owner": "o"} | vars(verdict(at="2026-01-01"))
    changed = [
        good | {"key": "x" * 201},
        good | {"answer": "maybe"},
        good | {"at": ""},
        good | {"score": "1"},
        good | {"score": True},
    ]
    text = "\n".join([*LINES, *map(json.dumps, changed), json.dumps(good), '{"key": "k", "key": "l"}', ""])
    events, faults = read_lines(text)
    assert [event.key for event in events] == ["k"] and len(faults) == len(LINES) + len(changed) + 1
    assert read_lines(as_lines(events)) == (events, [])
    folder = hub.folder("dataset", NAME) / "verdicts"
    folder.mkdir(parents=True)
    (folder / "strange.jsonl").write_text(text)
    with Process(tmp_path / "one") as one:
        assert standing(one.place) == {("Ann", "v0"): "yes"}
    assert any("strange.jsonl: line 1: " in line for line in one.said)
    assert any(line == f"  … and {len(faults) - 5} more" for line in one.said)


@pytest.mark.parametrize(
    ("token", "there", "said"),
    [
        ("", False, "no token of the Hub is known here; `hf auth login`, or set HF_TOKEN"),
        ("hf_wrong", False, "it does not take the token; log in anew: `hf auth login`"),
        ("hf_may_read", False, "the token may not do that; one with the right to write is needed"),
        ("hf_may_read", True, "the token may not do that; one with the right to write is needed"),
    ],
)
def test_who_may_not_write_is_told_and_nothing_is_lost(hub, tmp_path, monkeypatch, token, there, said):
    if there:
        hub.folder("dataset", NAME).mkdir(parents=True)
    monkeypatch.setenv("HF_TOKEN", token)
    one = Process(tmp_path / "one", minutes=0.002)
    one.judge(verdict())
    with one:
        wait(lambda: said in one.mirror.fault)
        assert f"They are kept in {one.place}, and sent once that is possible." in one.said[-1]
        file = VerdictFile(one.place, forgotten=True, mirror=one.mirror)
        assert file.at_risk and said in kept_where(file) and "This host forgets" in kept_where(file)
        monkeypatch.setenv("HF_TOKEN", "hf_may_write")
        wait(lambda: not one.mirror.fault and files(hub))
        assert not file.at_risk and kept_where(file).startswith("All verdicts, with the names")
    assert sum("can't be sent" in line for line in one.said) == 1  # once, however often it was tried


def no_waiting(monkeypatch):
    """Retries come at once; the scheduler, which sleeps for hours here, goes on sleeping."""
    sleep = time.sleep
    monkeypatch.setattr("time.sleep", lambda seconds: sleep(seconds if seconds > 1000 else 0))


def wait(until):
    end = time.monotonic() + 30
    while not until():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize(
    "fault", [["HEAD", "^/$", "cut", 99], ["POST", "/commit/", 500, 99], ["POST", "/commit/", 404, 99]]
)
def test_what_can_not_be_sent_is_told_kept_and_sent_later(hub, tmp_path, monkeypatch, fault):
    no_waiting(monkeypatch)
    with Process(tmp_path / "one") as one:
        hub.faults.append(fault)
        one.judge(verdict())
        one.mirror.send(30)
        assert one.mirror.fault and not files(hub) and standing(one.place)
        assert one.said[-1].startswith("Verdicts can't be sent to me/verdicts: ")
        hub.faults.clear()
        one.mirror.send(30)
        assert one.said[-1] == "Verdicts are sent to me/verdicts again." and len(files(hub)) == 1
        hub.faults.append(fault)
        one.judge(verdict(1))
    assert one.said[-1] == f"Not sent to me/verdicts: 1 of the verdicts and undos; they are in {one.place}."
    hub.faults.clear()
    with Process(tmp_path / "one"):  # the next one sends what this one could not
        pass
    assert len(files(hub)) == 2
    with Process(tmp_path / "two") as two:
        assert standing(two.place) == standing(one.place)


def test_who_asks_too_often_is_let_in_later(hub, tmp_path, monkeypatch):
    no_waiting(monkeypatch)
    hub.faults.append(["POST", "/preupload/", 429, 1])
    with Process(tmp_path / "one") as one:
        one.judge(verdict())
    assert len(files(hub)) == 1 and not one.mirror.fault


# ---- the app ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    place = tmp_path_factory.mktemp("mirrored")
    assert train.main(command(tiny.write_folder(place / "tiny"), place / "runs")) == 0
    return place / "runs"


class App:
    """app.py in a process of its own, on a disk that is forgotten."""

    def __init__(self, hub, runs, home, **more):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        env = {
            **environment(hub, home / "hub"),
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "XMR_CACHE": str(home / "cache"),
        }
        self.process = subprocess.Popen(
            [sys.executable, "app.py", "--checkpoints", str(runs), "--port", str(port), "--verdicts-repo", NAME],
            cwd=ROOT, env=env | {"OMP_NUM_THREADS": "1", "SPACE_ID": "me/lab"} | more, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.lines = []
        for line in self.process.stdout:
            self.lines.append(line)
            if line.startswith("The page can be opened"):
                break
        self.web = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)

    def judge(self, *items):
        of = {"run": "info_nce", "split": "test", "direction": "t2v"}
        sent = [
            {"key": key, "judge": "Ann", "answer": answer, "pair": pair, "asked": True, "of": of}
            for key, answer, pair in items
        ]
        asked = {
            "name": "judge" if items else "count", "state": {"tab": "false_negatives"}, "data": {"items": sent, "shown": [[0, 2], [1, 4]]},
            "visitor": {"name": "Ann", "secret": "s" * 40},
        }  # fmt: skip
        return ask(self.web, "part", asked).json()["blocks"][0]["value"]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        said = self.process.stdout.read()
        assert self.process.wait(60) == 130
        return "".join(self.lines) + said


def test_what_was_judged_before_a_restart_is_there_after_it(hub, runs, tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    app = App(hub, runs, tmp_path / "one")
    try:
        panel = app.judge(("a", "yes", [0, 2]), ("b", "no", [1, 4]))
        assert panel["kept"] == ["a", "b"], app.lines
    finally:
        said = app.stop()
    assert "0 verdicts and undos are in me/verdicts, 0 of them new here." in said and "Not sent" not in said
    assert len(files(hub)) == 1
    app = App(hub, runs, tmp_path / "two")
    try:
        marks = app.judge()["marks"]
        assert [marks[pair][0] for pair in ("0:2", "1:4")] == ["yes", "no"]
    finally:
        said = app.stop()
    assert "2 verdicts and undos are in me/verdicts, 2 of them new here." in said


def test_without_a_token_the_app_serves_and_says_so(hub, runs, tmp_path):
    app = App(hub, runs, tmp_path, HF_TOKEN="")
    try:
        view = ask(app.web, "view", {"state": {"tab": "false_negatives"}}).text
        assert (
            "This host forgets all verdicts when it restarts" in view
            and "no token of the Hub is known here" in view
        )
        assert app.judge(("a", "yes", [0, 2]))["kept"] == ["a"]
    finally:
        said = app.stop()
    assert "Verdicts can't be sent to me/verdicts" in said and "Not sent to me/verdicts: 1 of" in said


def test_a_server_ends_also_where_nobody_reads_what_it_says(hub, runs, tmp_path):
    app = App(hub, runs, tmp_path)
    app.judge(("a", "yes", [0, 2]))
    app.process.stdout.close()
    app.process.send_signal(signal.SIGTERM)
    assert app.process.wait(60) == 130
    assert len(files(hub)) == 1
