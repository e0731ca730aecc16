"""What all command lines do alike: folders of runs, Ctrl-C in one line, errors with a command that can work."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest
from PIL import Image

from scripts import combine, compare, data, evaluate, flag, pretrain, told, train
from scripts.command import training_command
from tests import tiny
from xmr.checkpoints import list_runs
from xmr.checkpoints.folder import RUN, STATE
from xmr.losses import LOSSES
from xmr.workspace import Workspace
from xmr.workspace.commands import verdict_commands
from xmr.workspace.pages import open_pages

ROOT = Path(__file__).parent.parent
SMALL = [f"--set={name}={value}" for name, value in tiny.SMALL.items()]
SCRIPTS = {
    path.name: import_module(f"scripts.{path.stem}")
    for path in sorted((ROOT / "scripts").glob("*.py"))
    if "def main(" in path.read_text()
}
READERS = {name: SCRIPTS[name] for name in ("combine.py", "evaluate.py", "flag.py", "report.py")}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with data, runs of it and of other data, and what people name by mistake."""
    root = tmp_path_factory.mktemp("place")
    tiny.write_folder(root / "data")
    tiny.write_classes(root / "labelled")
    quick = ["--epochs", "1", "--batch-size", "32", "--lr", "0.02", "--out", str(root / "runs")]
    assert train.main(["--dataset", str(root / "data"), "--loss", "info_nce", "siglip", *quick, *SMALL]) == 0
    shutil.copytree(root / "runs", root / "above" / "inner")
    (root / "empty").mkdir()
    (root / "photos").mkdir()
    (root / "photos" / "metadata.jsonl").write_text('{"file_name": "a.jpg", "captions": ["a"]}\n')
    unfinished = root / "runs" / "stopped"
    unfinished.mkdir()
    (unfinished / STATE).write_bytes(b"state")
    return root


@pytest.mark.parametrize("script", READERS)
@pytest.mark.parametrize(
    ("named", "reason", "hint"),
    [
        ("nowhere", "there is no folder", "scripts/train.py"),
        ("run", "there is no folder", "runs"),
        ("runs/info_nc", "there is no folder", "runs/info_nce"),
        ("empty", "holds no run: no run.json", "scripts/train.py"),
        ("data", "is data (features) and holds no run", "scripts/train.py --dataset"),
        ("photos", "is data (imagefolder) and holds no run", "--encoder"),
        ("above", "holds no run itself; there are some in inner", "above/inner"),
        ("runs/info_nce/run.json", "is a file", "runs/info_nce"),
    ],
)
def test_a_folder_that_can_not_be_meant_is_told_with_a_command(place, script, named, reason, hint, capsys):
    assert READERS[script].main([str(place / named)]) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ") and reason in line and "delete" not in line and not captured.out
    words = shlex.split(line[line.index("python scripts/") :])
    assert hint in shlex.join(words)
    if f"scripts/{script}" in words:
        assert Path(words[-1]).is_dir()
    else:
        train.parse(words[2:])  # a whole command: its options are there


def test_a_folder_of_runs_stands_for_the_runs_in_it(place, capsys):
    assert evaluate.main([str(place / "runs"), "--json"]) == 0
    captured = capsys.readouterr()
    together = json.loads(captured.out)
    assert f"{place / 'runs' / 'stopped'} is not finished and left out" in captured.err
    assert evaluate.main([str(place / "runs" / name) for name in ("info_nce", "siglip")] + ["--json"]) == 0
    assert json.loads(capsys.readouterr().out) == together
    assert [run["name"] for run in together["runs"]] == ["info_nce", "siglip"]
    assert combine.main([str(place / "runs"), "--rule", "rank", "--json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)["members"]] == ["info_nce", "siglip"]
    assert flag.main([str(place / "runs")]) == 2
    assert (
        f"is a folder of 2 runs; name one, as python scripts/flag.py {place / 'runs' / 'info_nce'}"
        in capsys.readouterr().err
    )


def test_runs_whose_data_lie_elsewhere_say_so_with_what_helps(place, tmp_path, capsys, monkeypatch):
    """Trained in another working folder, by a relative path."""
    shutil.copytree(place / "runs", tmp_path / "runs")
    shutil.copytree(place / "data", tmp_path / "data")
    for folder in ("info_nce", "siglip"):
        path = tmp_path / "runs" / folder / "run.json"
        about = json.loads(path.read_text())
        about["config"]["dataset"] = "data"
        path.write_text(json.dumps(about))
    monkeypatch.chdir(place / "empty")
    for script in (evaluate, flag):
        assert script.main([str(tmp_path / "runs" / "info_nce")]) == 2
        (told,) = (line for line in capsys.readouterr().err.splitlines() if "trained on" in line)
        assert told.endswith(
            f"was trained on 'data', and there is no such folder here; name where it lies: --dataset {tmp_path / 'data'}"
        )
        assert script.main([str(tmp_path / "runs" / "info_nce"), "--dataset", str(tmp_path / "data")]) == 0
        capsys.readouterr()
    (page,) = open_pages(tmp_path / "runs")
    command = page.workspace.problem.splitlines()[-1]
    assert command == f"python app.py --checkpoints {tmp_path / 'runs'} --dataset {tmp_path / 'data'}"
    assert not Workspace.open(tmp_path / "runs", str(tmp_path / "data")).problem
    shutil.rmtree(tmp_path / "data")
    assert flag.main([str(tmp_path / "runs" / "info_nce")]) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("name where it lies: --dataset FOLDER")
    (page,) = open_pages(tmp_path / "runs")
    assert page.workspace.problem.splitlines()[-1].endswith("--dataset FOLDER")


def test_an_encoder_that_is_gone_is_no_fault_of_kept_embeddings(place, capsys, monkeypatch):
    def gone(*_):
        raise ValueError("no such encoder")

    monkeypatch.setattr(evaluate, "run_reads", gone)
    assert evaluate.main([str(place / "runs" / "info_nce")]) == 0
    out, err = capsys.readouterr()
    assert "info_nce" in out and "whether captions are cut is not known: no such encoder" in err


def test_runs_of_several_data_sets_have_tables_of_their_own(place, tmp_path, capsys):
    runs = shutil.copytree(place / "runs", tmp_path / "runs")
    shutil.rmtree(runs / "stopped")
    quick = [
        "--epochs",
        "1",
        "--batch-size",
        "32",
        "--set=embed_dim=16",
        "--suffix",
        "classes",
        "--out",
        str(runs),
    ]
    assert train.main(["--dataset", str(place / "labelled"), "--loss", "info_nce", *quick]) == 0
    capsys.readouterr()
    assert evaluate.main([str(runs)]) == 0
    tables = [part.splitlines() for part in capsys.readouterr().out.strip().split("\n\n")]
    by_data = {lines[0].split(" ")[0]: lines for lines in tables}
    assert set(by_data) == {"data", "labelled"}
    assert "24 visuals, 48 texts" in by_data["data"][0]
    assert "rsum" in by_data["data"][1] and "mAP" not in by_data["data"][1]
    assert "mAP@50" in by_data["labelled"][1] and "rsum" not in by_data["labelled"][1]
    assert [line.split()[0] for line in by_data["data"] if line[0] != " " and " v2t " in line] == [
        "info_nce",
        "siglip",
    ]
    assert [line.split()[0] for line in by_data["labelled"] if " v2t " in line] == ["info_nce-classes"]


# ---- advice that can work ----------------------------------------------------------------------------------


def test_advice_on_a_run_that_is_there_is_what_can_work(place, tmp_path, capsys):
    def words(*more):
        quick = ["--epochs", "1", "--batch-size", "32", "--lr", "0.02", "--out", str(tmp_path)]
        return ["--dataset", str(place / "data"), "--loss", "info_nce", *quick, *SMALL, *more]

    def error(*more):
        assert train.main(words(*more)) == 2
        return capsys.readouterr().err

    assert train.main(words()) == 0
    capsys.readouterr()
    assert "is finished already; --overwrite replaces it" in error()
    for more in (["--seed", "1"], ["--seed", "1", "--resume"]):
        told = error(*more)
        assert (
            "with seed 0, not 1" in told
            and "--suffix trains beside it, as --suffix seed1," in told
            and "goes on" not in told
        )
    assert train.main(words("--seed", "1", "--suffix", "one")) == 0
    assert (tmp_path / "info_nce-one" / RUN).exists()


def test_a_run_that_can_not_be_read_is_told_as_such(place, tmp_path, capsys):
    (tmp_path / "info_nce").mkdir()
    (tmp_path / "info_nce" / RUN).write_text("no JSON")
    assert (
        train.main(["--dataset", str(place / "data"), "--loss", "info_nce", "--out", str(tmp_path), *SMALL])
        == 2
    )
    told = capsys.readouterr().err
    assert (
        f"error: {tmp_path / 'info_nce'} holds a run that can't be read (" in told
        and "--overwrite replaces it" in told
    )


def test_commands_that_the_app_shows_are_filled_in(place):
    runs = list_runs(place / "runs")[0]
    source = str(place / "data")
    first, second = verdict_commands(runs, source, place / "runs", "verdicts-my data-{split}.jsonl")
    asked = train.parse(shlex.split(first)[2:])
    assert (asked.dataset, asked.loss, asked.verdicts) == (
        source,
        ["info_nce"],
        "verdicts-my data-train.jsonl",
    )
    told = evaluate.parse(shlex.split(second)[2:])
    assert (told.run_dir, told.split) == ([str(place / "runs" / "info_nce")], "test")
    assert told.verdicts == "verdicts-my data-test.jsonl"
    for path in [*(ROOT / "xmr" / "ui").rglob("*.py"), *(ROOT / "xmr" / "workspace").rglob("*.py")]:
        placeholders = re.findall(r"(?:--[a-z]+|\.py) (?:[A-Z]{2,}\b)", path.read_text())
        assert not placeholders, (path, placeholders)


def test_strict_makes_a_fault_an_error(tmp_path, capsys, monkeypatch):
    from PIL import Image

    monkeypatch.setenv("XMR_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "pictures"
    folder.mkdir()
    rows = [{"file_name": f"{i}.png", "captions": [f"number {i}"]} for i in range(12)]
    for row in rows[1:]:
        Image.new("RGB", (8, 8)).save(folder / row["file_name"])
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = [
        "--dataset",
        str(folder),
        "--loss",
        "info_nce",
        "--out",
        str(tmp_path / "runs"),
        "--encoder",
        "blocks",
    ]
    assert train.main([*options, "--strict"]) == 2
    assert "'0.png' is missing" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_pictures_without_an_encoder_are_told_before_any_is_read(tmp_path, capsys, monkeypatch):
    def read(*_, **__):
        raise AssertionError("pictures were read")

    monkeypatch.setattr("xmr.data.build.usable", read)
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.jpg", "captions": ["a"]}\n')
    for script in (train, compare):
        assert (
            script.main(["--dataset", str(tmp_path), "--loss", "info_nce", "--out", str(tmp_path / "x.md")])
            == 2
        )
        told = capsys.readouterr().err
        assert "--encoder ViT-B-32/" in told and "--encoder local-dir:" in told
        (command,) = (line for line in told.splitlines() if "pretrain.py" in line)
        pretrain.parse(shlex.split(command)[2:6])


def test_what_is_read_of_a_folder_is_told_with_a_command_that_trains_on_it(place, capsys):
    assert data.main([str(place / "data")]) == 0
    *splits, words, command = capsys.readouterr().out.splitlines()
    assert [one.partition(":")[0] for one in splits if not one.startswith("  ")] == [
        f"data, {name}" for name in ("train", "validation", "test")
    ]
    assert words == "train on it:"
    train.parse(shlex.split(command)[2:])
    assert data.main([str(place / "nowhere")]) == 2
    assert "there is no such folder" in capsys.readouterr().err
    assert "--encoder" in training_command(str(place / "photos"), "runs")


def test_a_folder_of_pictures_tells_which_are_in_train_too(tmp_path):
    """In a process of its own: warnings are lines there, without a place in the code."""
    for i, colour in enumerate(("red", "red", "blue")):
        Image.new("RGB", (8, 8), colour).save(tmp_path / f"{i}.png")
    lines = ["file_name,caption,split", "0.png,a,train", "1.png,b,test", "2.png,c,val", "gone.png,d,test"]
    (tmp_path / "metadata.csv").write_text("\n".join(lines) + "\n")
    process = started("data.py", tmp_path)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0
    (told,) = (line for line in out.splitlines() if "identical" in line)
    assert told.startswith("  1 of 1 test pictures is identical to pictures of the train split")
    (warned,) = (line for line in err.splitlines() if "missing" in line)
    assert warned.startswith("warning: ") and "gone.png" in warned and ".py" not in err


HELP = {
    "train.py": (*LOSSES, "linear", "caption_similarity", "blocks", "imagefolder", "temperature=0.07"),
    "compare.py": (*LOSSES, "--trials"),
    "combine.py": [f" {rule}: " for rule in combine.RULES],
    "pretrain.py": [f"default: {n}" for n in ("320000", "40000", "192", "64", "28", "0.002", "blocks")],
}


@pytest.mark.parametrize("script", HELP)
def test_help_lists_what_is_registered_and_every_default(script, capsys):
    with pytest.raises(SystemExit) as stop:
        SCRIPTS[script].main(["--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert stop.value.code == 0 and [word for word in HELP[script] if word not in told] == []


# ---- Ctrl-C ------------------------------------------------------------------------------------------------


def started(script, *arguments):
    return subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / script), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="/proc tells what is imported")
@pytest.mark.parametrize("script", sorted(SCRIPTS.keys() - {"check_space.py"}))  # which imports nothing large
def test_ctrl_c_while_modules_are_imported_is_one_line(script):
    process = started(script, "--help")
    while process.poll() is None and "numpy" not in Path(f"/proc/{process.pid}/maps").read_text():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err, out) == (130, "interrupted\n", "")


def test_ctrl_c_in_training_says_how_to_go_on_and_it_does(place, tmp_path):
    arguments = [
        "--dataset",
        place / "data",
        "--loss",
        "info_nce",
        "--out",
        tmp_path,
        "--epochs",
        "100000",
        *SMALL,
    ]
    process = started("train.py", *arguments)
    while process.poll() is None and not (tmp_path / "info_nce" / STATE).exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err
    assert err.splitlines()[-1] == "interrupted; the same command with --resume goes on"
    assert (tmp_path / "info_nce" / STATE).exists()


@pytest.mark.parametrize("script", SCRIPTS)
def test_ctrl_c_at_work_is_one_line(script, monkeypatch, capsys):
    """Whatever a script does when it comes: each hands all of its work to the one place that tells."""
    module = SCRIPTS[script]

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    for name in ("run", "run_all"):
        if hasattr(module, name):
            monkeypatch.setattr(module, name, interrupted)
    needed = {"train.py": ["--loss", "info_nce"], "pretrain.py": ["--out", "x"]}
    needed["add.py"] = ["--dataset", "blocks", "--model", "a=blocks"]
    needed["publish.py"] = ["x", "--to", "a/b"]
    needed |= {name: ["x"] for name in (*READERS, "data.py", "check_space.py")}
    assert module.main(needed.get(script, [])) == 130
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("interrupted")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("seven"), "error: seven"),
        (OSError("the disk"), "error: the disk"),
        (FileNotFoundError(2, "No such file", "a.csv"), "error: a.csv: No such file"),
    ],
)
def test_errors_are_one_line(error, line, capsys):
    def work():
        raise error

    assert told(work) == 2
    assert capsys.readouterr().err == line + "\n"
