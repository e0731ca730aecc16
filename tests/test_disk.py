"""Files: whole or not there, known by their SHA-256, held by one process; a full disk is told and nothing is lost."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as tensor_bytes

from xmr import disk_arrays
from xmr.checksums import check_seal, digest, sealed
from xmr.disk import CannotSave, Refused, aside, parse_json, printable, read, write, write_files
from xmr.disk_arrays import resumable_array, save_arrays, saved_arrays
from xmr.locks import Held, holding

ROOT = Path(__file__).parent.parent
posix = pytest.mark.skipif(os.name != "posix", reason="signals and limits")


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XMR_CACHE", str(tmp_path / "cache"))


def worker(code, *arguments):
    """Another process that runs `code`."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


# ---- reading -----------------------------------------------------------------------------------------------


def test_a_file_is_read_up_to_its_limit(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert read(path, 5) == b"12345"
    with pytest.raises(Refused, match=r"a has 5 bytes, more than the 4"):
        read(path, 4)
    with pytest.raises(Refused, match="b is missing"):
        read(tmp_path / "b", 4)
    with pytest.raises(Refused, match="can't be read"):
        read(tmp_path / "b\0", 4)


def test_a_file_that_grows_meanwhile_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    before = os.fstat

    def late(descriptor):
        about = before(descriptor)
        with path.open("ab") as file:
            file.write(b"6")
        return about

    monkeypatch.setattr(os, "fstat", late)
    with pytest.raises(Refused, match="being written"):
        read(path, 100)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\xff{}", "not UTF-8"),
        (b'{"a": 1,\n"b": }', r"line 2"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[NaN]", "NaN, which is no number"),
        (b"[-Infinity]", "-Infinity, which is no number"),
        (b"[1e400]", "1e400, which is no number"),
        (b"[" + b"7" * 5000 + b"]", "5,000 digits"),
        (b"[9223372036854775808]", "19 digits"),
        (rb'["\ud83d"]', r"U\+D83D"),
        (rb'[{"\u2067": 1}]', r"U\+2067"),
    ],
)
def test_json_that_nothing_can_hold_is_refused(content, told):
    with pytest.raises(Refused, match=told):
        parse_json(content, "it")


def test_other_json_is_as_it_was():
    value = {"a": [1, -(2**63), 2**63 - 1, 1e-320, True, None, "größe 模型 שלום 😀\n\t"], "": {}}
    assert parse_json(json.dumps(value).encode(), "it") == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode(), "it") == value
    assert printable("a\u202eb\udcff") == r"a\u202eb\udcff"


# ---- writing -----------------------------------------------------------------------------------------------


def test_a_file_is_whole_or_as_it_was(tmp_path):
    write(tmp_path / "below" / "a", "größe\r\n")
    assert (tmp_path / "below" / "a").read_bytes() == "größe\r\n".encode()
    with pytest.raises(KeyError), aside(tmp_path / "below" / "a") as file:
        file.write_text("half")
        raise KeyError
    with aside(tmp_path / "folder") as folder:
        folder.mkdir()
        (folder / "one").write_text("1")
    with aside(tmp_path / "folder") as folder:
        folder.mkdir()
        (folder / "two").write_text("2")
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["two"]
    assert [path.name for path in (tmp_path / "below").iterdir()] == ["a"]


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no space can be reserved here")
def test_a_full_disk_is_told_before_anything_is_replaced(tmp_path, monkeypatch):
    write_files(tmp_path / "run", {"a": b"1", "b": b"2"})
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(CannotSave, match=r"run could not be written: No space left"):
            write_files(tmp_path / "run", {"a": b"3", "b": b"4"})
        asked = []
        with pytest.raises(CannotSave, match=r"x\.part could not be written: No space left"):
            resumable_array(
                tmp_path / "x.npy", 100, lambda *part: asked.append(part) or np.ones((10, 4)), print, 10
            )
        assert len(asked) == 1  # told when the size is known, before the rest is computed
    assert {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()} == {"a": b"1", "b": b"2"}
    assert not (tmp_path / "x.part").exists()
    # A file system that can't reserve is no full one.
    monkeypatch.setattr(
        os, "posix_fallocate", lambda *_: (_ for _ in ()).throw(OSError(errno.EOPNOTSUPP, "no"))
    )
    write(tmp_path / "run" / "a", b"5")
    assert (tmp_path / "run" / "a").read_bytes() == b"5"


LIMITED = """
import resource, sys
import numpy as np
from pathlib import Path
from xmr.disk import CannotSave
from xmr.disk_arrays import resumable_array, save_arrays, zeros_on_disk
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
path = Path(sys.argv[1])
for work in (
    lambda: resumable_array(path, 1000, lambda a, b, _: np.ones((b - a, 100), np.float16), lambda *_: None, 10),
    lambda: zeros_on_disk((1000, 100), np.float32),
    lambda: save_arrays(path.with_name("b"), {"a": np.zeros(100_000)}),
):
    try:
        work()
    except CannotSave as error:
        print(error)
"""


@posix
def test_a_file_beyond_the_limit_of_its_disk_is_an_error_and_no_signal(tmp_path):
    process = worker(LIMITED, tmp_path / "x.npy")
    out, err = process.communicate()
    assert (process.returncode, out.count("could not be written: File too large")) == (0, 3), err
    assert not list(tmp_path.glob("*.part")) and not list(tmp_path.glob(".*"))


# ---- one writer at a time ----------------------------------------------------------------------------------

HOLDER = """
import sys
from pathlib import Path
from xmr.locks import holding
with holding(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_second_writer_is_told_who_holds_it(tmp_path):
    import socket

    other = worker(HOLDER, tmp_path / "run")
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(Held) as told, holding(tmp_path / "run"):
            pass
        assert str(tmp_path / "run") in str(told.value)
        assert f"process {other.pid} on {socket.gethostname()} since 20" in str(told.value)
        with holding(tmp_path / "another"):
            pass
    finally:
        other.kill()  # one that dies lets go
        other.wait()
    same = tmp_path / ".." / tmp_path.name / "run"
    with holding(tmp_path / "run"), pytest.raises(Held, match=f"process {os.getpid()} "), holding(same):
        pass
    with holding(tmp_path / "run"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache"]  # nothing stays beside the run


def test_who_waits_says_so_and_goes_on(tmp_path):
    other = worker(HOLDER, tmp_path / "run")
    assert other.stdout.readline() == "held\n"
    threading.Timer(0.5, other.stdin.close).start()
    told = pytest.warns(UserWarning, match=f"written by process {other.pid} .*waiting")
    with told, holding(tmp_path / "run", wait=True):
        pass
    assert other.wait() == 0


def test_two_readers_of_one_process_share_the_work_without_a_word(tmp_path):
    inside = threading.Event()

    def first():
        with holding(tmp_path / "run"):
            inside.set()
            time.sleep(0.3)

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with holding(tmp_path / "run", wait=True):
            assert not (thread.join(10) or thread.is_alive())


# ---- sealed files ------------------------------------------------------------------------------------------


def test_a_seal_knows_every_byte_and_every_name(tmp_path):
    path = tmp_path / "it"
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(1, dtype=torch.bfloat16)}
    held = {name: one.tolist() for name, one in tensors.items()}

    def check(content, **how):
        path.write_bytes(content)
        check_seal(path, content, **how)
        return {name: one.tolist() for name, one in load_tensors(content).items()}

    content = sealed(tensor_bytes, tensors)
    assert check(content) == held
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1
        try:
            # What passes are bytes of the header that mean the same.
            assert check(bytes(changed)) == held
        except Refused:
            continue
    with pytest.raises(Refused, match="SHA-256"):
        check(tensor_bytes(tensors))
    assert check(tensor_bytes(tensors), needed=False) == held
    for odd in (b"", b"\1", b"\2\0\0\0\0\0\0\0[]", b'\x14\0\0\0\0\0\0\0{"__metadata__": 7}  '):
        with pytest.raises(Refused):
            check(odd)


def test_arrays_come_back_or_are_told_broken(tmp_path):
    arrays = {"a": np.arange(5), "b": np.zeros((0, 3), np.float16), "c": np.array([[True], [False]])[:, 0]}
    assert saved_arrays(tmp_path / "x") is None
    save_arrays(tmp_path / "x", arrays)
    found = saved_arrays(tmp_path / "x")
    assert found.keys() == arrays.keys()
    for key, array in arrays.items():
        np.testing.assert_array_equal(found[key], array)
        assert found[key].dtype == array.dtype
    content = (tmp_path / "x").read_bytes()
    for damage in (content[:-1], content[:-1] + b"\7", b"", content + b"\0"):
        (tmp_path / "x").write_bytes(damage)
        with pytest.warns(UserWarning, match="x is not used, and made anew"):
            assert saved_arrays(tmp_path / "x") is None


# ---- arrays that take hours --------------------------------------------------------------------------------


def rows(start, stop, done=None):
    return (np.arange(start, stop)[:, None] * [1, 10, 100]).astype(np.float32)


class Counted:
    """`rows`, and for which rows it was asked."""

    def __init__(self, stop_at=10**9):
        self.asked, self.stop_at = [], stop_at

    def __call__(self, start, stop, done):
        if start >= self.stop_at:
            raise KeyError(start)
        if start:
            np.testing.assert_array_equal(done[:start], rows(0, start))
        self.asked.append((start, stop))
        return rows(start, stop)


def quiet(*_):
    pass


def make(path, compute=rows, count=25):
    return resumable_array(path, count, compute, quiet, 10)


@pytest.fixture
def fresh(monkeypatch):
    """As if a new process looked at the files."""

    def forget():
        monkeypatch.setattr(disk_arrays, "_known", set())

    forget()
    return forget


def test_an_array_is_made_once_and_mapped(tmp_path, fresh):
    told, counted = [], Counted()
    array = resumable_array(tmp_path / "x.npy", 25, counted, lambda *one: told.append(one), 10)
    assert isinstance(array, np.memmap)
    np.testing.assert_array_equal(array, rows(0, 25))
    assert counted.asked == [(0, 10), (10, 20), (20, 25)]
    assert told == [(0, 25), (10, 25), (20, 25), (25, 25)]
    about = json.loads((tmp_path / "x.json").read_text())
    assert about["sha256"] == digest(rows(0, 25).tobytes())
    assert (about["shape"], about["type"]) == ([25, 3], "<f4")
    fresh()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(make(tmp_path / "x.npy", Counted(0)), rows(0, 25))
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), rows(0, 25))  # a plain file of NumPy's


def flip(path, place=-1):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "a bit": lambda path: flip(path),
    "a bit of the header": lambda path: flip(path, 20),
    "its end": lambda path: os.truncate(path, path.stat().st_size - 5),
    "all of it": lambda path: path.write_bytes(b""),
    "another array": lambda path: np.save(path, rows(0, 25)[:, :2]),
    "more rows": lambda path: np.save(path, rows(0, 26)),
    "an archive": lambda path: path.write_bytes(b"PK\x03\x04" + bytes(200)),
    "objects": lambda path: np.save(path, np.array([print] * 25), allow_pickle=True),
    "nothing vouches for it": lambda path: path.with_suffix(".json").unlink(),
    "another's words": lambda path: path.with_suffix(".json").write_text("[]"),
    "half of its words": lambda path: path.with_suffix(".json").write_text('{"rows": 25}'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_array_that_was_altered_is_made_anew_with_a_warning(tmp_path, fresh, damage):
    path = tmp_path / "x.npy"
    make(path)
    DAMAGES[damage](path)
    fresh()
    with pytest.warns(UserWarning, match=r"x\.npy is not used, and made anew"):
        np.testing.assert_array_equal(make(path), rows(0, 25))
    fresh()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(path, Counted(0))


def test_a_process_checks_an_array_once(tmp_path, fresh, monkeypatch):
    make(tmp_path / "x.npy")
    fresh()
    make(tmp_path / "x.npy")
    monkeypatch.setattr(disk_arrays, "_hashed", full)
    make(tmp_path / "x.npy", Counted(0))


def test_an_interrupted_array_is_gone_on_with(tmp_path):
    with pytest.raises(KeyError):
        make(tmp_path / "x.npy", Counted(20))
    assert not (tmp_path / "x.npy").exists()
    counted = Counted()
    np.testing.assert_array_equal(make(tmp_path / "x.npy", counted), rows(0, 25))
    assert counted.asked == [(20, 25)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.json", "x.npy"]


@pytest.mark.parametrize(
    "damage", [lambda p: flip(p, 200), lambda p: os.truncate(p, 150), lambda p: p.write_bytes(b"")]
)
def test_an_interrupted_array_that_was_altered_is_begun_anew(tmp_path, damage):
    with pytest.raises(KeyError):
        make(tmp_path / "x.npy", Counted(20))
    damage(tmp_path / "x.part")
    with pytest.warns(UserWarning, match="begun anew"):
        np.testing.assert_array_equal(make(tmp_path / "x.npy"), rows(0, 25))


SLOW = """
import sys, time
from pathlib import Path
from tests.test_disk import rows
from xmr import disk_arrays
disk_arrays.SAVE_SECONDS = 0.0
def slow(start, stop, done):
    print(start, flush=True)
    time.sleep(0.02)
    return rows(start, stop)
disk_arrays.resumable_array(Path(sys.argv[1]), 25, slow, lambda *_: None, 1)
"""


@posix
def test_kill_9_and_going_on_gives_the_same_array(tmp_path):
    killed = worker(SLOW, tmp_path / "x.npy")
    while int(killed.stdout.readline()) < 8:
        pass
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    counted = Counted()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(make(tmp_path / "x.npy", counted), rows(0, 25))
    assert counted.asked[0][0] >= 8


class Full:
    """A file on a disk that takes so many bytes and cannot tell before."""

    def __init__(self, file, size):
        self.file, self.size = file, size

    def __getattr__(self, name):
        return getattr(self.file, name)

    def write(self, content):
        if self.file.tell() + memoryview(content).nbytes > self.size:
            full()
        return self.file.write(content)


def test_a_disk_that_is_full_in_the_middle_loses_no_row(tmp_path, monkeypatch):
    opened = Path.open
    with monkeypatch.context() as patch:
        patch.setattr(disk_arrays, "reserve", lambda *_: None)
        patch.setattr(
            Path,
            "open",
            lambda path, *how: (
                Full(opened(path, *how), 400) if path.suffix == ".part" else opened(path, *how)
            ),
        )
        with pytest.raises(CannotSave, match=r"x\.part could not be written: No space left"):
            make(tmp_path / "x.npy")
    counted = Counted()
    np.testing.assert_array_equal(make(tmp_path / "x.npy", counted), rows(0, 25))
    assert counted.asked[0] == (20, 25)
