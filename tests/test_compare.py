"""scripts/compare.py as people call it: from end to end, gone on with, killed, and what they get wrong."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from scripts import compare as script
from scripts.command import splits
from tests import tiny
from tests.test_experiments import columns
from xmr.checkpoints import list_runs
from xmr.experiments import trials
from xmr.experiments.log import opened
from xmr.experiments.outcomes import Record, chosen
from xmr.experiments.search import settings
from xmr.losses import LOSSES

ROOT = Path(__file__).parent.parent
SMALL = [f"--set={name}={value}" for name, value in tiny.SMALL.items()]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.write_folder(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XMR_CACHE", str(tmp_path_factory.mktemp("cache")))


def command(data, out, *more, loss="info_nce max_of_hinges", trials=2, seeds=2):
    return ["--dataset", str(data), "--loss", *loss.split(), "--out", str(out), "--epochs", "1", "--batch-size", "32",
            "--lr", "0.02", "--trials", str(trials), "--seeds", str(seeds), *SMALL, *more]  # fmt: skip


@pytest.fixture
def made(monkeypatch):
    """The configurations that are trained from here on, with their roles."""
    found, real = [], trials.trained

    def trained(config, role, *rest):
        found.append((config, role))
        return real(config, role, *rest)

    monkeypatch.setattr(trials, "trained", trained)
    return found


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def untimed(path):
    """What the log holds, without what no two runs share, in the order of trainings."""
    return [
        {key: value for key, value in line.items() if key not in ("seconds", "threads")}
        for line in lines(path)
    ]


def test_a_comparison_from_end_to_end(data, tmp_path, capsys):
    out = tmp_path / "below" / "table.md"
    assert script.main(command(data, out)) == 0
    captured = capsys.readouterr()
    assert sorted(path.name for path in out.parent.iterdir()) == [
        "table.csv", "table.html", "table.jsonl", "table.md", "table.tex",
    ]  # fmt: skip
    header, *records = lines(out.with_suffix(".jsonl"))
    assert header["config"]["epochs"] == 1 and set(header["fingerprints"]) == {"train", "validation", "test"}
    for loss in ("info_nce", "max_of_hinges"):
        own = [Record(**one) for one in records if one["loss"] == loss]
        search, tests = own[:2], own[2:]
        assert [(one.role, one.seed) for one in own] == [
            ("search", 0),
            ("search", 0),
            ("test", 1),
            ("test", 2),
        ]
        assert [one.setting for one in search] == settings(LOSSES[loss], 0.02, 2, {})
        assert all(one.setting == chosen(search).setting and one.metrics["rsum"] > 0 for one in tests)
        assert all(one.metrics == {} for one in search), "a search must not look at the test split"
    text = out.read_text()
    assert "python scripts/compare.py --dataset" in text and "8 trainings took 1 min in all" in text
    assert "Matcher linear, 1 epoch, batches of 32, duplicates: ignore. 8 trainings took" in text
    assert "Test split: 24 visuals × 48 texts" in text and "The intervals below are over seeds." in text
    assert "No zero-shot row: the features of" in text and "p by visual (Holm)" in text
    assert "differ from max_of_hinges" in text and "seeds 1 … 2" in text
    told = captured.err.splitlines()
    assert len([line for line in told if "validation rsum" in line]) == 8
    assert told[3].startswith("info_nce  trial 1/2  lr 0.02: validation rsum ")  # after a line for each split


def test_what_is_kept_can_be_opened_and_is_what_was_compared(data, tmp_path, capsys):
    out = tmp_path / "c.md"
    assert script.main(command(data, out, seeds=2)) == 0
    told = capsys.readouterr().out.splitlines()[-1]
    assert told.startswith("to open the trained runs, keep them: python scripts/compare.py --dataset ")
    assert told.endswith(" --keep best") and not (tmp_path / "c.runs").exists()
    tested = [Record(**one) for one in lines(tmp_path / "c.jsonl")[1:] if one["role"] == "test"]
    assert script.main(command(data, out, "--keep", "best")) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"python app.py --checkpoints {tmp_path / 'c.runs'}"
    runs, faults = list_runs(tmp_path / "c.runs")
    assert [run.name for run in runs] == ["info_nce", "max_of_hinges"] and not faults
    for run in runs:
        best = max((one for one in tested if one.loss == run.name), key=lambda one: one.score)
        assert run.config.seed == best.seed and run.metrics["test"] == best.metrics
        assert run.config.lr == best.lr and run.config.loss_params == best.params
    assert len(lines(tmp_path / "c.jsonl")) == 9  # nothing was tried anew
    assert script.main(command(data, out, "--keep", "all")) == 0
    kept = {run.name: run for run in list_runs(tmp_path / "c.runs")[0] if "seed" in run.name}
    assert {name: run.metrics["test"] for name, run in kept.items()} == {
        f"{one.loss}-seed{one.seed}": one.metrics for one in tested
    }
    fresh = tmp_path / "d.md"
    assert script.main(command(data, fresh, "--keep", "all", seeds=1)) == 0  # trained once, with its folder
    assert [run.name for run in list_runs(tmp_path / "d.runs")[0]] == [
        "info_nce-seed1",
        "max_of_hinges-seed1",
    ]


def test_a_record_is_what_training_gives(data, tmp_path):
    out = tmp_path / "c"
    assert script.main(command(data, out, loss="info_nce", trials=1, seeds=1)) == 0
    _, search, test = lines(tmp_path / "c.jsonl")
    for line, seed in ((search, 0), (test, 1)):
        steps, trained = tiny.fit(
            tiny.config(dataset=str(data), epochs=1, seed=seed, duplicates="ignore"), load=None
        )
        assert line["score"] == pytest.approx(trained.metrics["validation"]["rsum"])
        assert line["epoch"] == trained.training["best_epoch"]
    assert test["metrics"] == pytest.approx(trained.metrics["test"])


def test_more_losses_trials_and_seeds_train_what_is_missing(data, tmp_path, made):
    out = tmp_path / "c.md"

    def trained(**asked):
        made.clear()
        assert script.main(command(data, out, **asked)) == 0
        return [(config.loss, role) for config, role in made]

    assert len(trained()) == 8
    before = out.read_text()
    assert trained() == [] and out.read_text() == before
    assert trained(seeds=3) == [("info_nce", "test"), ("max_of_hinges", "test")]
    three = "siglip info_nce max_of_hinges"
    assert trained(seeds=3, loss=three) == [("siglip", "search")] * 2 + [("siglip", "test")] * 3
    longer = trained(trials=3, seeds=1, loss="info_nce")
    assert longer[0] == ("info_nce", "search") and longer[1:] in ([], [("info_nce", "test")])


def test_another_comparison_is_refused_with_what_differs(data, tmp_path, capsys):
    out = tmp_path / "c.md"
    assert script.main(command(data, out, loss="info_nce", trials=1, seeds=1)) == 0
    before = (tmp_path / "c.jsonl").read_bytes()
    for more, message in (
        (["--epochs", "3"], "epochs: 1 there, 3 now"),
        (["--weight-decay", "0.5"], "weight_decay: 0.0001 there, 0.5 now"),
        (["--set", "temperature=0.2"], "temperature: None there, 0.2 now"),
        (["--seed", "5"], "seed: 0 there, 5 now"),
    ):
        assert script.main(command(data, out, *more, loss="info_nce", trials=1, seeds=1)) == 2
        captured = capsys.readouterr()
        assert message in captured.err and "choose another --out" in captured.err
    other = tiny.write_folder(tmp_path / "other")
    (other / "captions.csv").write_text((other / "captions.csv").read_text().replace("red", "green"))
    assert script.main(command(other, out, loss="info_nce", trials=1, seeds=1)) == 2
    assert "the data of test" in capsys.readouterr().err
    assert (tmp_path / "c.jsonl").read_bytes() == before


def test_joined_logs_are_one_comparison(data, tmp_path, made):
    for loss in ("info_nce", "siglip"):
        assert script.main(command(data, tmp_path / f"{loss}.md", loss=loss)) == 0
    joined = tmp_path / "all.jsonl"
    joined.write_bytes((tmp_path / "info_nce.jsonl").read_bytes() + (tmp_path / "siglip.jsonl").read_bytes())
    made.clear()
    assert script.main(command(data, joined, loss="info_nce siglip")) == 0 and not made
    assert "| siglip" in (tmp_path / "all.md").read_text()


def test_a_killed_comparison_loses_one_training_at_most(data, tmp_path):
    whole, killed = tmp_path / "whole.md", tmp_path / "killed.md"
    assert script.main(command(data, whole)) == 0
    log = killed.with_suffix(".jsonl")
    process = subprocess.Popen(
        [sys.executable, "scripts/compare.py", *command(data, killed)], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    until = time.monotonic() + 120
    while not (log.exists() and log.read_bytes().count(b"\n") >= 4):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = log.read_bytes()
    assert 4 <= done.count(b"\n") <= 9
    log.write_bytes(
        done[: done.rfind(b"\n") + 1] + b'{"loss": "info_nce", "role": "sea'
    )  # as if killed in a write
    assert script.main(command(data, killed)) == 0
    assert log.read_bytes().startswith(done[: done.rfind(b"\n") + 1])
    assert untimed(log) == untimed(whole.with_suffix(".jsonl"))


@pytest.fixture
def bad(monkeypatch):
    """Makes a loss what a function of its value (Q,) says."""

    def change(name, how):
        real = LOSSES[name]
        monkeypatch.setitem(
            LOSSES, name, replace(real, make=lambda pairs, **hyper: how(real.make(pairs, **hyper), hyper))
        )

    return change


def test_diverged_trainings_are_counted_and_stop_nothing(data, tmp_path, bad):
    bad("max_of_hinges", lambda value, _: value * math.nan)
    default = LOSSES["info_nce"].defaults["temperature"]
    search = settings(LOSSES["info_nce"], 0.02, 2, {})
    assert search[1].params["temperature"] != default  # else the next line would break both trials
    bad(
        "info_nce",
        lambda value, hyper: (
            value
            * (math.nan if abs(float(torch.as_tensor(hyper["temperature"]).detach()) - default) < 1e-6 else 1)
        ),
    )
    out = tmp_path / "c.md"
    assert script.main(command(data, out)) == 0
    records = lines(tmp_path / "c.jsonl")[1:]
    assert [(one["loss"], one["role"], one["score"] is None) for one in records] == [
        ("info_nce", "search", True), ("info_nce", "search", False), *[("info_nce", "test", False)] * 2,
        *[("max_of_hinges", "search", True)] * 2,
    ]  # fmt: skip
    assert records[0]["diverged"] == "info_nce became nan at step 1"
    text = out.read_text()
    assert "none: every trial diverged" in text and "1 of 2 trials" in text and "2 of 2 trials" in text
    assert script.main(command(data, out)) == 0
    assert len(lines(tmp_path / "c.jsonl")) == 7


def test_a_loss_that_does_not_fit_is_told_and_the_rest_goes_on(data, tmp_path, bad, capsys):
    def refuse(value, hyper):
        raise ValueError("this needs what there is not")

    bad("max_of_hinges", refuse)
    out = tmp_path / "c.md"
    assert script.main(command(data, out, loss="max_of_hinges info_nce")) == 1
    assert "error: max_of_hinges: this needs what there is not" in capsys.readouterr().err
    assert "max_of_hinges could not be compared: this needs what there is not." in out.read_text()
    assert script.main(command(data, tmp_path / "d.md", loss="max_of_hinges")) == 2
    assert not (tmp_path / "d.md").exists()


MATCHERS_ASKED = ["--matcher", "linear", "graph", "cross_attention"]


def test_several_matchers_are_a_grid_and_go_on_where_they_stopped(data, tmp_path, made, capsys):
    out = tmp_path / "g.md"
    rows = "info_nce max_of_hinges max_of_hinges+word_overlap"
    more = [*MATCHERS_ASKED, "--set", "linear.text=words_gru", "--set", "cross_attention.text=words"]
    assert script.main(command(data, out, *more, loss=rows)) == 0
    assert len(made) == 3 * 3 * 4
    matchers = [config.matcher for config, _ in made]
    assert matchers == ["linear"] * 12 + ["graph"] * 12 + ["cross_attention"] * 12
    assert [config.selector for config, _ in made[:12]] == [""] * 8 + ["word_overlap"] * 4
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "g-cross_attention.jsonl", "g-graph.jsonl", "g-linear.jsonl", "g.csv", "g.html", "g.md", "g.tex",
    ]  # fmt: skip
    params = {m: lines(tmp_path / f"g-{m}.jsonl")[0]["config"]["matcher_params"] for m in MATCHERS_ASKED[1:]}
    assert params["linear"] == tiny.SMALL | {"text": "words_gru"}  # channels are linear's alone
    assert params["graph"] == {key: value for key, value in tiny.SMALL.items() if key != "channels"}
    assert params["cross_attention"] == params["graph"] | {"text": "words"}
    assert "linear  info_nce  trial 1/2  lr 0.02: validation rsum " in capsys.readouterr().err
    text = out.read_text()
    assert text.startswith("# 3 matchers × 3 losses on tiny")
    for matcher in MATCHERS_ASKED[1:]:  # the first table shows what the logs hold
        row = next(columns(line) for line in text.splitlines() if line.startswith(f"| {matcher} |"))
        tested = [one for one in lines(tmp_path / f"g-{matcher}.jsonl")[1:] if one["role"] == "test"]
        for cell, place in zip(row[1:], range(0, 6, 2), strict=True):
            mean = np.mean([one["metrics"]["rsum"] for one in tested[place : place + 2]])
            assert cell.split()[0] == f"{mean:.1f}"
    before = text
    made.clear()
    assert script.main(command(data, out, *more, loss=rows)) == 0
    assert made == [] and out.read_text() == before
    (tmp_path / "g-graph.jsonl").unlink()
    assert script.main(command(data, out, *more, loss=rows)) == 0
    assert [config.matcher for config, _ in made] == ["graph"] * 12


def test_a_row_of_a_loss_with_its_selector_is_its_own(data, tmp_path):
    shared = ["--selector", "caption_similarity", "--set", "threshold=0.4"]
    rows = "max_of_hinges+word_overlap max_of_hinges"
    assert script.main(command(data, tmp_path / "c.md", *shared, loss=rows, trials=1, seeds=1)) == 0
    header, *records = lines(tmp_path / "c.jsonl")
    assert (header["config"]["selector"], header["config"]["selector_params"]) == (
        "caption_similarity", {"threshold": 0.4},
    )  # fmt: skip
    assert [(one["loss"], one["selector"]) for one in records] == [
        ("max_of_hinges", "word_overlap"), ("max_of_hinges", "word_overlap"), *[("max_of_hinges", "")] * 2,
    ]  # fmt: skip
    for line, selector, params in (
        (records[0], "word_overlap", {}),
        (records[2], "caption_similarity", {"threshold": 0.4}),
    ):
        settings_ = tiny.config(
            dataset=str(data), loss="max_of_hinges", epochs=1, selector=selector, selector_params=params
        )
        _, trained = tiny.fit(settings_, load=None)
        assert line["score"] == pytest.approx(trained.metrics["validation"]["rsum"])
    # A comparison of one of them goes on from the same log.
    before = (tmp_path / "c.jsonl").read_bytes()
    assert (
        script.main(command(data, tmp_path / "c.md", *shared, loss="max_of_hinges", trials=1, seeds=1)) == 0
    )
    assert (tmp_path / "c.jsonl").read_bytes() == before


def test_an_older_log_is_gone_on_with(data, tmp_path, made):
    out = tmp_path / "c.md"
    assert script.main(command(data, out)) == 0
    before, log = out.read_text(), tmp_path / "c.jsonl"
    header, *records = lines(log)
    for one in records:
        one["rsum"] = one.pop("score")
        del one["selector"], one["figure"]
    del header["config"]["patience"]  # a field that training got later is no difference
    log.write_text("".join(json.dumps(line) + "\n" for line in (header, *records)))
    made.clear()
    assert script.main(command(data, out)) == 0 and not made
    assert out.read_text() == before


def test_a_cell_that_does_not_go_with_the_data_stays_empty(data, tmp_path, monkeypatch, capsys):
    real = trials.trained

    def trained(config, *rest):
        if config.matcher == "graph" and config.loss == "info_nce":
            raise ValueError("graph and info_nce do not go together")
        return real(config, *rest)

    monkeypatch.setattr(trials, "trained", trained)
    out = tmp_path / "g.md"
    assert script.main(command(data, out, "--matcher", "linear", "graph", trials=1, seeds=1)) == 1
    assert "error: graph, info_nce: graph and info_nce do not go together" in capsys.readouterr().err
    text = out.read_text()
    graph = next(columns(line) for line in text.splitlines() if line.startswith("| graph |"))
    linear = next(columns(line) for line in text.splitlines() if line.startswith("| linear |"))
    assert graph[1] == "" and float(graph[2]) > 0 and float(linear[1]) > 0
    assert "info_nce could not be compared: graph and info_nce do not go together." in text


def test_class_labels_are_selected_by_mean_average_precision(tmp_path, capsys):
    folder = tiny.write_classes(tmp_path / "labelled")
    arguments = ["--dataset", str(folder), "--loss", "info_nce", "max_of_hinges", "--epochs", "2", "--batch-size",
                 "32", "--trials", "2", "--seeds", "2", "--set=embed_dim=16", "--out", str(tmp_path / "c.md")]  # fmt: skip
    assert script.main(arguments) == 0
    assert "validation mAP " in capsys.readouterr().err
    records = [Record.from_json(line) for line in lines(tmp_path / "c.jsonl")[1:]]
    assert {one.figure for one in records} == {"mAP"} and all(0 < one.score <= 100 for one in records)
    text = (tmp_path / "c.md").read_text()
    assert "Matcher linear, 2 epochs, " in text
    assert "chosen by validation mAP" in text and "| loss | mAP | Δ mAP |" in text and "rsum" not in text


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--loss", "max_of_hinges+word_overlp"], "did you mean 'word_overlap'"),
        (["--loss", "max_of_hinge+word_overlap"], "did you mean 'max_of_hinges'"),
        (["--loss", "max_of_hinges+"], "unknown selector ''"),
        (["--loss", "max_of_hinges+word_overlap", "--baseline", "max_of_hinges"], "unknown baseline"),
        ([*MATCHERS_ASKED, "--set", "embed_dimm=3"], "did you mean 'embed_dim'"),
        ([*MATCHERS_ASKED, "--set", "text=words"], "linear: unknown value of text 'words'"),
        ([*MATCHERS_ASKED, "--set", "graph.sharpness=3"], "unknown parameter 'sharpness'"),
        (["--matcher", "linear", "grph"], "did you mean 'graph'"),
        (["--trials", "-1"], "--trials must be at least 0"),
        (["--seeds", "0"], "--seeds must be at least 1"),
        (["--threads", "-1"], "--threads must be at least 0"),
        (["--baseline", "siglip"], "unknown baseline 'siglip'"),
        (["--set", "temprature=1"], "did you mean 'temperature'"),
        (["--epochs", "0"], "epochs must be at least 1"),
        (["--encoder", "ViT-B-32/openai"], "no pictures"),
    ],
)
def test_what_people_get_wrong_is_told_in_a_line(data, tmp_path, capsys, more, message):
    assert script.main(command(data, tmp_path / "c.md", *more)) == 2
    captured = capsys.readouterr()
    told = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert len(told) == 1 and message in captured.err and "Traceback" not in captured.err
    assert not list(tmp_path.glob("*.md"))


def test_broken_logs_and_places_and_two_at_once_are_told(data, tmp_path, capsys):
    (tmp_path / "c.jsonl").write_text('{"config": {}, "fingerprints": {}}\nnot JSON\n')
    assert script.main(command(data, tmp_path / "c.md")) == 2
    assert "line 2, is no line of a comparison" in capsys.readouterr().err
    (tmp_path / "file").write_text("in the way")
    assert script.main(command(data, tmp_path / "file" / "c.md")) == 2
    assert capsys.readouterr().err.startswith("error: ")
    with opened(tmp_path / "d.jsonl", "comparison", trials.key):
        assert script.main(command(data, tmp_path / "d.md")) == 2
    assert f"is being written by process {os.getpid()} on " in capsys.readouterr().err


def test_pooled_features_are_averaged_once(data, tmp_path, monkeypatch):
    """Regions of a large set are read once, not for every training."""
    frames = {split: np.stack([part.visual_features] * 3, 1) for split, part in
              ((split, tiny.dataset(split)) for split in ("train", "validation", "test"))}  # fmt: skip
    monkeypatch.setattr(
        "scripts.command.load_dataset",
        lambda _, split, **__: tiny.dataset(split, visual_features=frames[split]),
    )
    found = splits(tiny.config(), lambda *_: None)
    for split, part in found.items():
        np.testing.assert_allclose(part.visual_features, tiny.dataset(split).visual_features, rtol=1e-6)


def test_without_a_search_every_loss_stays_at_its_defaults(data, tmp_path):
    out = tmp_path / "plain.md"
    assert script.main(command(data, out, loss="info_nce max_of_hinges", trials=0, seeds=2)) == 0
    records = lines(tmp_path / "plain.jsonl")[1:]
    assert [line["role"] for line in records] == ["test"] * 4 and {line["lr"] for line in records} == {0.02}
    assert "No search" in out.read_text() and "(default)" in out.read_text()
