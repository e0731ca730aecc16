"""A run folder is a stranger's: whatever lies in it is loaded or refused by name, at once, and hides no other run."""

import json
import os
import shutil
import socket
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xmr.checkpoints import RunRefused, list_runs, load_run
from xmr.checkpoints.folder import MATCHER, RUN
from xmr.checksums import digest
from xmr.workspace.pages import why_missing

FROZEN = Path(__file__).parent / "frozen" / "trained"
FILES = [path.name for path in sorted((FROZEN / "siglip").iterdir()) if path.name != "README.md"]
posix = pytest.mark.skipif(os.name != "posix", reason="pipes, devices and names of bytes")


@pytest.fixture
def root(tmp_path):
    """Two runs, of which "bad" is for damage."""
    shutil.copytree(FROZEN / "info_nce", tmp_path / "runs" / "good")
    shutil.copytree(FROZEN / "siglip", tmp_path / "runs" / "bad")
    return tmp_path / "runs"


def at_once(work, seconds=60):
    """What `work` returns; fails where it waits for something that never comes."""
    found = []
    thread = threading.Thread(target=lambda: found.append(work()), daemon=True)
    thread.start()
    thread.join(seconds)
    assert found, "it still waits"
    return found[0]


def listed(root):
    runs, faults = at_once(lambda: list_runs(root))
    assert "good" in [run.name for run in runs]
    for fault in faults:
        f"{fault.path} {fault.reason}".encode()  # can be shown and sent
        assert len(fault.reason) < 600
    return [run.name for run in runs], {fault.path.name: fault.reason for fault in faults}


# ---- what stands in the place of a file --------------------------------------------------------------------


def link_to(target):
    return lambda path: path.symlink_to(target)


def listening(path):
    os.chdir(path.parent)  # an address of a socket is short
    socket.socket(socket.AF_UNIX).bind(path.name)


def copied_outside(path):
    outside = path.parent.parent.parent / path.name
    shutil.copy(FROZEN / "siglip" / path.name, outside)
    path.symlink_to(outside)


PLACES = {
    "a pipe": (os.mkfifo, "is no regular file"),
    "a folder": (os.mkdir, "can't be read"),
    "a socket": (listening, "can't be read"),
    "a link to a device": (link_to("/dev/zero"), "leads out of its folder"),
    "a link to a secret": (link_to("/etc/passwd"), "leads out of its folder"),
    "a link to the very file, elsewhere": (copied_outside, "leads out of its folder"),
    "a link to a pipe inside": (lambda p: [os.mkfifo(p.parent / "pipe"), p.symlink_to("pipe")], "is no regular file"),
    "a link to nothing": (link_to("nothing"), "is missing"),
    "a link to itself": (lambda p: p.symlink_to(p.name), "can't be read"),
    "endless zeros": (lambda p: [p.touch(), os.truncate(p, 1 << 40)], "1,099,511,627,776 bytes, more than"),
}  # fmt: skip


@posix
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_file_of_the_folder_is_refused(root, place, name, monkeypatch):
    monkeypatch.chdir(root)
    make, reason = PLACES[place]
    (root / "bad" / name).unlink()
    make(root / "bad" / name)
    names, faults = listed(root)
    assert names == ["good"]
    assert name in faults["bad"] and reason in faults["bad"]


@posix
def test_a_folder_of_a_pipe_alone_is_told_too(root):
    shutil.rmtree(root / "bad")
    (root / "bad").mkdir()
    os.mkfifo(root / "bad" / RUN)
    assert "no regular file" in listed(root)[1]["bad"]


@posix
def test_a_run_that_is_a_link_out_of_the_folder_is_told(root, tmp_path):
    shutil.copytree(FROZEN / "siglip", tmp_path / "private")
    (root / "linked").symlink_to(tmp_path / "private")
    (root / "within").symlink_to("bad")
    names, faults = listed(root)
    assert names == ["bad", "good", "bad"]
    assert list(faults) == ["linked"] and "leads out of runs" in faults["linked"]
    assert load_run(root / "linked").name == "private"  # who names it themselves may


def hub_cache(folder):
    """The run as huggingface_hub keeps a download: a snapshot of links to blobs."""
    snapshot, blobs = folder / "models--a--b" / "snapshots" / "0123abcd", folder / "models--a--b" / "blobs"
    (snapshot / "siglip").mkdir(parents=True)
    blobs.mkdir()
    for path in (FROZEN / "siglip").iterdir():
        shutil.copy(path, blobs / digest(path.read_bytes()))
        (snapshot / "siglip" / path.name).symlink_to(f"../../../blobs/{digest(path.read_bytes())}")
    return snapshot


@posix
def test_a_snapshot_of_the_hub_is_read(tmp_path):
    snapshot = hub_cache(tmp_path)
    assert list_runs(snapshot)[0][0].embeddings()[0].shape == (24, 16)
    assert load_run(snapshot / "siglip").history
    blob = (snapshot / "siglip" / MATCHER).resolve()
    blob.rename(tmp_path / "elsewhere")
    blob.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunRefused, match="leads out of its folder"):
        load_run(snapshot / "siglip")


# ---- names and texts ---------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize(
    ("name", "told"),
    [
        (b"caf\xe9", "U+DCE9"),
        ("gpj\u202e.good".encode(), "U+202E"),
        ("good\u200f".encode(), "U+200F"),
        (b"go\x1b[2Jod", "U+001B"),
        (b"go\nod", "end of a line"),
        (b"go\rod", "end of a line"),
        ("go\u2028od".encode(), "end of a line"),
        ("go\u200bod".encode(), "U+200B"),
        ("\ufeffgood".encode(), "U+FEFF"),
    ],
)
def test_a_name_that_can_not_be_shown_is_refused(root, name, told):
    os.rename(root / "bad", os.path.join(os.fsencode(root), name))
    names, faults = listed(root)
    assert names == ["good"] and len(faults) == 1
    assert told in next(iter(faults.values()))


@pytest.mark.parametrize("name", ["größe", "模型", "שלום", "می\u200cخواهم", "👩\u200d🔬", "a b", "x'y\"<b>"])
def test_other_names_are_names(root, name):
    (root / "bad").rename(root / name)
    assert listed(root) == (sorted([name, "good"]), {})


def in_text(content):
    """run.json with a number or a text of its own in the place of the dataset's name."""
    return lambda text: text.replace('"name": "data"', f'"name": {content}', 1)


TEXTS = {
    "an endless whole number": (in_text("1" * 5000), "5,000 digits"),
    "a whole number beyond 64 bits": (in_text("9223372036854775808"), "19 digits"),
    "an endless negative one": (in_text("-" + "9" * 5000), "digits"),
    "a number beyond all": (in_text("1e999"), "1e999, which is no number"),
    "half of a pair": (in_text(r'"\ud800"'), "U+D800"),
    "half of a pair for a key": (lambda text: text.replace('"schema"', r'"\udfff": 1, "schema"', 1), "U+DFFF"),
    "text that turns": (in_text(r'"a\u202egnp"'), "U+202E"),
    "a command to the terminal": (in_text(r'"\u001b[2J"'), "U+001B"),
    "a zero": (in_text(r'"data\u0000"'), "U+0000"),
    "two lines": (in_text(r'"data\ndata"'), "dataset.name"),
    "a long name": (in_text(json.dumps("x" * 501)), "dataset.name"),
    "much": (lambda text: text + " " * (1 << 20), "more than the 1,048,576"),
}  # fmt: skip


@pytest.mark.parametrize("case", TEXTS)
def test_numbers_and_texts_that_nothing_can_hold_are_refused(root, case):
    change, reason = TEXTS[case]
    path = root / "bad" / RUN
    before = path.read_text(encoding="utf-8")
    path.write_text(change(before), encoding="utf-8")
    assert path.read_text(encoding="utf-8") != before
    assert reason in listed(root)[1]["bad"]


ENCODERS = ["hf-hub:" + "x" * 500, "a\nb", "a\u2066b", 7, None, ["blocks"], True]


@pytest.mark.parametrize("encoder", ENCODERS, ids=repr)
def test_the_encoder_is_a_short_text_of_one_line(root, encoder):
    about = json.loads((root / "bad" / RUN).read_text())
    about["encoder"]["name"] = encoder
    (root / "bad" / RUN).write_text(json.dumps(about))
    assert "run.json" in listed(root)[1]["bad"]


@pytest.mark.parametrize(("count", "reason"), [(200_000, "bytes, more than"), (1001, "at most 1000")])
def test_a_combination_of_very_many_is_refused(root, count, reason):
    about = json.loads((FROZEN / "mean" / RUN).read_text())
    about["members"] = [about["members"][0] | {"run": f"r{i}", "weight": 1 / count} for i in range(count)]
    (root / "many").mkdir()
    (root / "many" / RUN).write_text(json.dumps(about, separators=(",", ":")))
    assert reason in listed(root)[1]["many"]


# ---- any value of run.json ---------------------------------------------------------------------------------


def places(value, path=()):
    """Where the values of nested dicts and lists are, the insides before the whole."""
    for key, one in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(one, dict | list):
            yield from places(one, (*path, key))
        yield (*path, key)


NUMBERS = [0, -1, 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(10**400), 10**5000, 0.5, 1e308, -0.0]
WORDS = [
    "",
    "\ud800",
    "\u202e",
    "\0",
    "x" * 100_000,
    "nan",
    "1e999",
    "9" * 5000,
    "../../etc/passwd",
    "blocks",
    "graph",
]
OTHERS = [
    None,
    True,
    [],
    {},
    [[]],
    {"": {}},
    {"a" * 1000: 1},
    [0] * 1000,
    {"embed_dim": 0},
    {"embed_dim": 2**40},
]
HOSTILE = st.one_of(
    st.sampled_from([*NUMBERS, *WORDS, *OTHERS]),
    st.integers(-3, 300),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.data(), name=st.sampled_from(["siglip", "max_of_hinges-token_max", "mean"]))
def test_any_value_of_run_json_is_loaded_or_refused(data, name, tmp_path_factory):
    about = json.loads((FROZEN / name / RUN).read_text())
    *above, last = data.draw(st.sampled_from(sorted(places(about), key=repr)))
    owner = about
    for key in above:
        owner = owner[key]
    if data.draw(st.booleans()) and isinstance(owner, dict):
        del owner[last]
    else:
        owner[last] = data.draw(HOSTILE)
    root = tmp_path_factory.mktemp("fuzz", numbered=True)
    shutil.copytree(FROZEN, root, dirs_exist_ok=True)
    (root / name / RUN).write_text(dumps(about), encoding="utf-8")
    runs, faults = at_once(lambda: list_runs(root))
    assert {run.name for run in runs} | {fault.path.name for fault in faults} == {
        p.name for p in FROZEN.iterdir()
    }
    for run in runs:  # whatever loads can be looked at
        assert run.embeddings()[0].shape == (24, run.embed_dim)
        assert run.last_loss and run.metrics["test"]
    for fault in faults:
        fault.reason.encode()
    shutil.rmtree(root)


def dumps(value):
    """JSON of whole numbers of any length, which Python writes only after its limit was lifted."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{dumps(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(dumps, value)) + "]"
    if type(value) is int and abs(value) == 10**5000:
        return "1" + "0" * 5000
    return json.dumps(value)


def test_what_lies_in_a_folder_that_a_run_names_is_not_told(root, tmp_path):
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "salaries-of-ann.txt").touch()
    reason = why_missing(str(tmp_path / "private"))
    assert "no layout that xmr knows" in reason
    assert "salaries" not in reason
