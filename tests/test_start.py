"""What app.py tells before anything heavy is loaded, and how it ends."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from xmr import start
from xmr.registry import UnknownName
from xmr.start import again, free_port, why_no_runs
from xmr.workspace.pages import trained_on

ROOT = Path(__file__).parent.parent


def run_folder(path, name="run.json"):
    path.mkdir(parents=True)
    (path / name).write_text("{}")


def test_a_folder_of_runs_and_a_run_folder_have_nothing_to_tell(tmp_path):
    run_folder(tmp_path / "runs" / "a")
    assert why_no_runs(tmp_path / "runs") == why_no_runs(tmp_path / "runs" / "a") == ""


def test_a_folder_without_runs_is_told_with_a_command_that_helps(tmp_path):
    none, parent, data, empty = (tmp_path / name for name in ("none", "parent", "my data", "empty"))
    run_folder(parent / "first" / "a")
    run_folder(parent / "second" / "a")
    for split in ("train", "valid", "test"):
        (data / split).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(data / split / "1.jpg")
    empty.mkdir()
    run_folder(tmp_path / "begun" / "a", "resume.safetensors")
    told = {
        none: ("There is no folder", f"--out {none}"),
        parent: ("first in it has. So do 1 others", f"python app.py --checkpoints {parent / 'first'}"),
        data: ("holds data, no runs", f"scripts/data.py {shlex.quote(str(data))}"),
        empty: ("There is no run in", "--out runs"),
        tmp_path / "begun": ("No run in", "--resume"),
        parent / "first" / "a" / "run.json": ("is a file", f"--checkpoints {parent / 'first'}"),
    }
    for folder, words in told.items():
        said = why_no_runs(folder)
        assert all(word in said for word in words), said
        assert "delete" not in said.lower() and "[" not in said


def test_a_port_in_use_is_told_with_the_next_free_one():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = free_port("127.0.0.1", port)
        assert found > port and free_port("0.0.0.0", port) > port
        assert free_port("127.0.0.1", found) == found
    for host, port, words in (("127.0.0.1", 0, "1 to 65535"), ("no host at all", 7860, "no address")):
        with pytest.raises(ValueError, match=words):
            free_port(host, port)


def test_none_free_is_an_error(monkeypatch):
    monkeypatch.setattr(start, "_is_free", lambda host, port: False)
    with pytest.raises(OSError, match="65500 to 65535 are all in use"):
        free_port("127.0.0.1", 65500)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "python app.py --port 7861"),
        (["--port", "7860", "--checkpoints", "my runs"], "python app.py --checkpoints 'my runs' --port 7861"),
        (["--dataset", "x", "--port=7860"], "python app.py --dataset x --port 7861"),
    ],
)
def test_the_command_is_said_again_whole(monkeypatch, words, said):
    monkeypatch.delenv("MAKELEVEL", raising=False)
    assert again(words, 7861) == said


def test_who_came_by_make_is_told_to_make(monkeypatch):
    monkeypatch.setenv("MAKELEVEL", "1")
    monkeypatch.setenv("CHECKPOINTS", "my runs")
    monkeypatch.setenv("DATASET", "")
    assert again(["--port", "7860"], 7861) == "make app PORT=7861 CHECKPOINTS='my runs'"


def app(*words, **environment):
    command = [sys.executable, str(ROOT / "app.py"), *map(str, words)]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | environment,
    )


def test_app_ends_with_a_code_before_it_loads_anything(tmp_path):
    """Where torch and gradio can't even be imported."""
    for library in ("torch", "gradio", "numpy", "open_clip"):
        (tmp_path / f"{library}.py").write_text("raise SystemExit('loaded')")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for words, said in (
            (["--checkpoints", tmp_path / "nowhere"], "There is no folder"),
            (["--checkpoints", ROOT], f"python app.py --checkpoints {ROOT / 'checkpoints'}"),
            (["--port", port], f"Port {port} is in use. The next free one is"),
        ):
            ended = app(*words, PYTHONPATH=str(tmp_path))
            out, error = ended.communicate(timeout=60)
            assert ended.returncode == 1 and said in error and out == "", (out, error)


@pytest.mark.parametrize(
    ("wait", "sign"),
    [
        (0.3, signal.SIGINT),
        (1.0, signal.SIGINT),
        (2.5, signal.SIGINT),
        (0.3, signal.SIGTERM),
        (6.0, signal.SIGTERM),
    ],
)
def test_ctrl_c_or_the_end_of_a_server_ends_it_without_a_traceback_and_leaves_no_folder(wait, sign, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = app("--port", port, GRADIO_TEMP_DIR=str(tmp_path))
    first = running.stdout.readline()
    assert first.startswith("Loading")
    time.sleep(wait)  # among the imports, mostly
    running.send_signal(sign)
    out, error = running.communicate(timeout=60)
    assert running.returncode == 130 and "Traceback" not in error, error[-500:]
    assert out.endswith("Stopped.\n")
    assert list(tmp_path.iterdir()) == []


class Told:
    """What `trained_on` asks of a run."""

    def __init__(self, source, name):
        self.config, self.dataset = type("Config", (), {"dataset": source}), {"name": name}


def test_a_dataset_is_found_by_the_name_that_is_shown():
    runs = [Told("/srv/a/photos", "photos"), Told("/srv/b/emoji", "Emoji"), Told("blocks", "blocks")]
    for named, source in (("photos", "/srv/a/photos"), ("Emoji", "/srv/b/emoji"), ("emoji", "/srv/b/emoji"), ("blocks", "blocks"),
                          ("/srv/b/emoji", "/srv/b/emoji"), (str(ROOT), str(ROOT))):  # fmt: skip
        assert trained_on(named, runs) == source
    with pytest.raises(UnknownName, match="did you mean 'photos'"):
        trained_on("photo", runs)
    with pytest.raises(UnknownName, match="'/srv/a/photos' or '/srv/c/photos'"):
        trained_on("photos", [*runs, Told("/srv/c/photos", "photos")])


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_app_takes_its_variables_and_a_linked_environment(tmp_path):
    for name in ("Makefile", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "app.py").write_text("import json, sys; print(json.dumps(sys.argv[1:]))")
    real = tmp_path / "elsewhere" / "bin"
    real.mkdir(parents=True)
    # Stands for an interpreter that has everything; pip has nothing to do.
    (real / "python").write_text(
        f'#!/bin/sh\n[ "$1" = -m ] && exit 0\nexec {shlex.quote(sys.executable)} "$@"\n'
    )
    (real / "python").chmod(0o755)
    (tmp_path / ".venv").symlink_to(tmp_path / "elsewhere")

    def make(*words):
        command = ["make", "-s", "app", f"PYTHON={sys.executable}", *words]
        clean = {
            key: value
            for key, value in os.environ.items()
            if key not in ("CHECKPOINTS", "DATASET", "MAKEFLAGS")
        }
        return subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, check=False, env=clean)

    said = make("PORT=7999", "CHECKPOINTS=my runs", "DATASET=a b")
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout.splitlines()[-1]) == [
        "--port",
        "7999",
        "--checkpoints",
        "my runs",
        "--dataset",
        "a b",
    ]
    assert "Installing what the app needs" in said.stdout
    assert json.loads(make().stdout.splitlines()[-1]) == ["--port", "7860"]
    shutil.rmtree(tmp_path / "elsewhere")
    lost = make()
    assert lost.returncode != 0 and "is a link to" in lost.stdout


def test_app_opens_and_serves_what_its_options_name(monkeypatch, tmp_path, capsys, cache_folder):
    import app
    from tests.fake_workspace import make_workspace
    from xmr.workspace.pages import Page

    told = {}

    class Recorder:
        def launch(self, **options):
            told.update(options)
            return None, "http://localhost:7999/", None

        def block_thread(self):
            told["blocked"] = True

    def opened(checkpoints, dataset, recall, verdicts, truth_files):
        told.update(checkpoints=checkpoints, dataset=dataset, recall=recall, truth_files=truth_files)
        workspace = make_workspace(tmp_path)
        return [Page("shapes", "", dict(workspace.runs), lambda: workspace)]

    monkeypatch.setenv("PORT", "7999")
    monkeypatch.setattr("xmr.workspace.pages.open_pages", opened)
    monkeypatch.setattr("xmr.page.build_app", lambda *_: Recorder())
    monkeypatch.setattr("xmr.page.warm_up", lambda pages, tell: told.update(warm=True))
    monkeypatch.setattr(app, "why_no_runs", lambda folder: "")
    monkeypatch.setattr(app, "free_port", lambda host, port: port)
    monkeypatch.setattr(app, "allow_only", lambda names: told.update(allowed=names))
    monkeypatch.setattr(os, "setpriority", lambda *_: None)  # of this thread, it could not be taken back
    app.main(["--checkpoints", "runs", "--dataset", "emoji", "--host", "0.0.0.0", "--truth-files", "coco"])
    said = capsys.readouterr().out
    assert "half_written: run.json ends in the middle" in said and said.endswith("\nhttp://localhost:7999/\n")
    assert "Ready in" in said and told["allowed"] == [] and told["warm"] and told["blocked"]
    assert (told["checkpoints"], told["dataset"], told["recall"]) == (["runs"], "emoji", 1.0)
    assert told["truth_files"] == "coco"
    assert (told["server_name"], told["server_port"]) == ("0.0.0.0", 7999)
    assert told["run_history"] is False and told["ssr_mode"] is False


def test_the_page_imports_neither_gradios_stub_files_nor_torchs_compiler():
    """Gradio parses the source of every component to write the former, of which a plain import opens hundreds; either takes
    two seconds of a start."""
    seen = (
        "import sys; seen = []\n"
        "sys.addaudithook(lambda event, at: seen.append(at) if event == 'open' and str(at[0]).endswith('.pyi') else None)\n"
        "import xmr.page, xmr.training; print(len(seen), 'torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", seen], check=True, capture_output=True, text=True)
    count, compiler = done.stdout.split()
    assert int(count) < 10  # of the page's own class
    assert compiler == "False"
