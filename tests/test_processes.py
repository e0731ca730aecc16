"""Two processes that share the work out end where one does, and they end together."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from scripts import evaluate
from scripts import train as train_script
from tests import shared_work, tiny
from tests.test_encoders import save_tiny
from xmr import processes
from xmr.checkpoints import load_run
from xmr.encoders import forget_encoders

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="two processes are forked here")
ROOT = Path(__file__).parent.parent
SMALL = [f"--set={name}={value}" for name, value in shared_work.STILL.items()]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Pictures, a tiny model, and a run of towers that was trained of them."""
    place = tmp_path_factory.mktemp("processes")
    tiny.write_photos(place / "photos")
    save_tiny(place / "vit")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XMR_CACHE", str(place / "cache"))
        words = [
            "--dataset",
            place / "photos",
            "--encoder",
            f"local-dir:{place / 'vit'}",
            "--loss",
            "info_nce",
        ]
        words += ["--epochs", 1, "--batch-size", 10, "--out", place / "trained"]
        assert train_script.main(list(map(str, words))) == 0
        shared_work.leave(place / "before")
        yield place
    forget_encoders()


@pytest.fixture(scope="module")
def two(place):
    """The folder in which two processes did all jobs."""
    folder = place / "two"
    folder.mkdir()
    words = [sys.executable, "-m", "tests.shared_work", str(folder)]
    done = subprocess.run(words, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=500)
    assert done.returncode == 0
    return folder


@pytest.fixture(scope="module")
def found(place, two):
    """What one process finds, and what two find together."""
    (place / "one").mkdir()
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XMR_CACHE", os.environ["XMR_CACHE"])  # as it was, afterwards
        one = shared_work.everything(place / "one")
    torch.set_num_threads(threads)
    assert codes(two, "work") == [0, 0], said(two, "work", 0) + said(two, "work", 1)
    return one, torch.load(two / "found.pt", weights_only=False)


def codes(two, job):
    return json.loads((two / "codes.json").read_text())[job]


def said(two, job, rank, stream="err"):
    return (two / f"{job}.{rank}.{stream}").read_text()


@pytest.mark.parametrize("name", shared_work.STEPS)
def test_gradients_are_those_of_one_process(found, name):
    one, two = (side["steps"][name] for side in found)
    assert one.keys() == two.keys() and any(key.startswith("matcher.") for key in one)
    largest = max(float(tensor.abs().max()) for key, tensor in one.items() if key.startswith("matcher."))
    assert largest > 0
    for key, expected in one.items():
        slack = 0 if key in ("loss", "told") else 1e-9 * largest
        torch.testing.assert_close(
            two[key], expected, rtol=1e-9, atol=slack, msg=lambda said, key=key: f"{key}: {said}"
        )


def test_moments_and_suspects_are_of_the_whole_batch(found):
    suspected, negatives, *moments = found[0]["steps"]["moments"]["told"].tolist()
    assert 0 < suspected < negatives and len(moments) == 4


@pytest.mark.parametrize("name", [*shared_work.FIT, *shared_work.ON_TOWERS])
def test_training_ends_with_the_same_weights_and_metrics(found, place, name):
    one, two = (side["fit"][name] for side in found)
    assert_same_training(two, one)
    assert load_run(place / "two" / name).metrics == two["metrics"]


def assert_same_training(two, one):
    for key, weight in one[
        "weights"
    ].items():  # single precision; of keys' biases Adam makes steps of rounding alone
        torch.testing.assert_close(two["weights"][key], weight, rtol=1e-3, atol=3e-4, msg=key)
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-5)
    assert two["learned"] == pytest.approx(one["learned"], rel=1e-5)
    assert two["metrics"] == one["metrics"]


@pytest.mark.parametrize("name", shared_work.HANDED)
def test_another_number_of_processes_goes_on_where_one_left(found, name):
    whole = found[0]["whole"][name]
    for side, told in zip(
        found, ("1 process, after 2 processes", "2 processes, after 1 process"), strict=True
    ):
        taken = side["taken"][name]
        assert_same_training(taken, whole)
        assert [
            line for line in taken["said"] if f"goes on in {told}: batches and losses are the same" in line
        ]
    assert_same_training(found[1]["whole"][name], whole)


def test_ranks_are_exactly_those_of_one_process(found):
    one, two = (side["ranks"] for side in found)
    for key, expected in one.items():
        assert torch.equal(two[key], expected), key


def test_features_and_models_as_they_are_are_exactly_those_of_one_process(found, place):
    one, two = found
    for side, expected in one["features"].items():
        assert torch.equal(two["features"][side], expected), side
    assert two["added"] == one["added"] and "rsum" in one["added"]
    assert (
        load_run(place / "two" / "added" / "own").metrics == load_run(place / "one" / "added" / "own").metrics
    )


def test_runs_are_evaluated_as_by_one_process(place, two, capsys):
    capsys.readouterr()
    assert evaluate.main(shared_work.evaluated(place)) == 0
    assert codes(two, "evaluate") == [0, 0]
    assert json.loads(said(two, "evaluate", 0, "out")) == json.loads(capsys.readouterr().out)
    assert said(two, "evaluate", 1, "out") == said(two, "evaluate", 1) == ""


def test_what_one_raises_all_raise(found):
    assert found[0]["faults"] == ["wrong in 0"] * 3
    assert found[1]["faults"] == ["wrong in 1", "wrong in 0", "wrong in 1"]


def test_rows_of_different_lengths_are_gathered_and_padded(found):
    whole, grad = found[1]["ragged"][:24].view(3, 4, 2), found[1]["ragged"][24:]
    expected = torch.ones(3, 4, 2)
    expected[:2, 3] = 0
    assert torch.equal(whole, expected)
    weights = 2.0 * torch.arange(24).view(3, 4, 2)  # of both processes
    assert torch.equal(grad, torch.cat([weights[:2, :3].flatten(), weights[2:].flatten()]))


def test_torchrun_trains_as_one_process_does(tmp_path, monkeypatch):
    monkeypatch.setenv("XMR_CACHE", str(tmp_path / "cache"))
    data = tiny.write_folder(tmp_path / "tiny")
    words = [
        "--dataset",
        str(data),
        "--loss",
        "info_nce",
        "--epochs",
        "2",
        "--batch-size",
        "32",
        "--lr",
        "0.02",
        *SMALL,
    ]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, "scripts/train.py", *words, "--out", str(tmp_path / "two")],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("test rsum") == 1  # the first one tells
    assert train_script.main([*words, "--out", str(tmp_path / "one")]) == 0
    one, two = (load_run(tmp_path / name / "info_nce") for name in ("one", "two"))
    assert two.metrics == one.metrics
    assert two.training["command"].startswith("torchrun --nproc-per-node 2 scripts/train.py --dataset")


@pytest.mark.parametrize(
    ("how", "code", "words"),
    [
        ("killed", 9, ""),
        ("stopped", 130, "interrupted; --resume goes on"),
        ("full", 2, "error: the disk is full"),
    ],
)
def test_when_one_ends_the_other_ends_with_a_sentence(two, how, code, words):
    assert codes(two, how) == [2, code]
    assert said(two, how, 1).strip().endswith(words)  # torch may say before that nobody listens any more
    assert "error: process 0 of 2 can't go on: another one has ended" in said(two, how, 0).splitlines()[-1]
    assert "Traceback" not in said(two, how, 0)


def test_other_scripts_refuse_once(two):
    assert codes(two, "refused") == [2, 2]
    assert "torchrun starts train, evaluate and add" in said(two, "refused", 0)
    assert said(two, "refused", 1) == ""


@pytest.mark.parametrize(
    ("main", "environment", "said"),
    [
        (train_script.main, {"WORLD_SIZE": "2"}, "RANK, MASTER_ADDR, MASTER_PORT are not set: torchrun --nproc-per-node 2 … starts them"),
        (evaluate.main, {"WORLD_SIZE": "two"}, "WORLD_SIZE=two: it is a number of processes"),
        (train_script.main, {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}, "process 1 of 2 did not meet the others at 127.0.0.1:1"),
    ],
)  # fmt: skip
def test_processes_that_do_not_meet_are_told(tmp_path, monkeypatch, capsys, main, environment, said):
    monkeypatch.setattr(processes, "MEETING", processes.timedelta(seconds=1))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    words = (
        [str(tmp_path)] if main is evaluate.main else ["--loss", "info_nce", "--out", str(tmp_path / "out")]
    )
    assert main(words) == 2
    assert said in capsys.readouterr().err


def test_an_accelerator_each(monkeypatch):
    from xmr import devices

    monkeypatch.setattr(devices, "available", lambda: ["cpu", "cuda", "cuda:0", "cuda:1"])
    monkeypatch.setattr(devices, "_device", devices.device())
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert str(devices.use_device("auto")) == str(devices.use_device("cuda")) == "cuda:1"
    with pytest.raises(ValueError, match="--device cuda:0: 2 processes take an accelerator each"):
        devices.use_device("cuda:0")
