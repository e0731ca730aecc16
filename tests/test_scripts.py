"""The command lines of training and evaluation, called as people call them."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scripts import evaluate, metrics_table
from scripts import train as train_script
from scripts.options import assign
from tests import tiny
from tests.fake_workspace import make_dataset
from xmr.checkpoints import load_run
from xmr.checkpoints.folder import MATCHER, STATE
from xmr.data import load_dataset
from xmr.data.dataset import Truth
from xmr.losses import LOSSES
from xmr.matchers import MATCHERS
from xmr.metrics import bootstrap_interval
from xmr.scoring import judged_words
from xmr.training import train as steps_of

ROOT = Path(__file__).parent.parent
SMALL = [f"--set={name}={value}" for name, value in tiny.SMALL.items()]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.write_folder(tmp_path_factory.mktemp("data") / "tiny")


def command(data, out, *more, loss="info_nce"):
    return ["--dataset", str(data), "--loss", *loss.split(), "--out", str(out), "--epochs", "2", "--batch-size", "32",
            "--lr", "0.02", *SMALL, *more]  # fmt: skip


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    assert train_script.main(command(data, out, "--set", "margin=0.3", loss="info_nce max_of_hinges")) == 0
    return out


def test_several_losses_make_a_folder_each(runs, data):
    assert sorted(path.name for path in runs.iterdir()) == ["info_nce", "max_of_hinges"]
    one, other = (load_run(runs / name) for name in ("info_nce", "max_of_hinges"))
    assert one.config.loss_params == {"temperature": 0.07} and other.loss_values == {"margin": 0.3}
    assert one.config.dataset == str(data) and one.config.matcher_params["embed_dim"] == 16
    assert one.training["command"].startswith("python scripts/train.py --dataset")
    assert one.training["epochs"] == 2


def test_options_of_the_schedule_and_of_suspects_reach_the_configuration(data, tmp_path):
    options = [
        "--first",
        "sum_of_hinges:2",
        "--selector",
        "word_overlap",
        "--suspects",
        "weigh",
        "--set=threshold=0.4",
    ]
    arguments = command(data, tmp_path, *options, loss="max_of_hinges")
    ((folder, config),) = train_script.plan(train_script.parse(arguments))
    assert folder.name == "max_of_hinges-word_overlap-weigh"
    assert (config.first_loss, config.first_epochs) == ("sum_of_hinges", 2)
    assert (config.selector, config.suspects, config.selector_params) == (
        "word_overlap",
        "weigh",
        {"threshold": 0.4},
    )
    for wrong in ("sum_of_hinges", "sum_of_hinges:0", "sum_of_hinge:1"):
        with pytest.raises(SystemExit):
            train_script.parse(command(data, tmp_path, "--first", wrong))


def test_training_tells_what_a_selector_suspects_and_that_nothing_was_learned(data, tmp_path, capsys):
    more = ["--selector", "word_overlap", "--set", "threshold=0.5", "--lr", "1e-12"]
    assert train_script.main(command(data, tmp_path, *more)) == 0
    told = capsys.readouterr().out
    first, last = load_run(tmp_path / "info_nce-word_overlap").history
    for line in (first, last):
        share = line["suspected"] / line["negatives"]
        assert f"{line['suspected']:,} of {line['negatives']:,} negative pairs ({share:.2%}) in epoch" in told
    assert "It learned nothing." in told and "--lr 1e-12" in told
    assert train_script.main(command(data, tmp_path, "--epochs", "8")) == 0
    told = capsys.readouterr().out
    assert "suspects" not in told and "nothing" not in told and "plateau" not in told


def test_a_run_is_kept_unless_told_otherwise(data, tmp_path, capsys):
    arguments = command(data, tmp_path)
    assert train_script.main(arguments) == 0
    before = (tmp_path / "info_nce" / MATCHER).read_bytes()
    assert train_script.main(arguments) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert train_script.main([*arguments, "--resume"]) == 0
    assert "finished already" in capsys.readouterr().out
    assert train_script.main([*arguments, "--resume", "--lr", "0.5"]) == 2
    assert "lr 0.02, not 0.5" in capsys.readouterr().err
    assert (tmp_path / "info_nce" / MATCHER).read_bytes() == before
    assert train_script.main([*arguments, "--overwrite", "--seed", "7"]) == 0
    assert load_run(tmp_path / "info_nce").config.seed == 7


def test_a_second_training_into_a_folder_is_told_who_trains_there(data, tmp_path, capsys):
    arguments = command(data, tmp_path)
    ((folder, config),) = train_script.plan(train_script.parse(arguments))
    running = steps_of(config, folder)
    next(running)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for more in ([], ["--resume"], ["--overwrite"]):
        assert train_script.main([*arguments, *more]) == 2
        told = capsys.readouterr().err
        assert f"{folder} is being written by process {os.getpid()} on " in told and " since 20" in told
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    running.close()
    assert train_script.main([*arguments, "--resume"]) == 0


def test_what_can_not_be_trained_overwrites_nothing(data, tmp_path, capsys):
    arguments = command(data, tmp_path)
    assert train_script.main(arguments) == 0
    assert train_script.main([*arguments, "--overwrite", "--encoder", "blocks"]) == 2  # there are no pictures
    assert "no pictures" in capsys.readouterr().err
    assert load_run(tmp_path / "info_nce").config.encoder == ""


def test_an_interrupted_run_is_resumed(data, tmp_path, capsys):
    arguments = command(data, tmp_path, "--selector", "caption_similarity", "--set", "threshold=0.9")
    ((folder, config),) = train_script.plan(train_script.parse(arguments))
    assert folder.name == "info_nce-caption_similarity"
    running = steps_of(config, folder)
    for _ in range(5):
        next(running)
    running.close()
    assert (folder / STATE).exists()
    assert train_script.main(arguments) == 2
    assert "--resume" in capsys.readouterr().err
    assert train_script.main([*arguments, "--resume"]) == 0
    assert not (folder / STATE).exists()
    assert load_run(folder).config.selector_params == {"threshold": 0.9}


def test_a_diverging_loss_does_not_stop_the_next(data, tmp_path, capsys, monkeypatch):
    real = LOSSES["info_nce"]

    def broken(pairs, **hyper):
        return real(pairs, **hyper) * float("nan")

    monkeypatch.setitem(
        LOSSES, "info_nce", type(real)("info_nce", broken, real.caption, real.doc, real.params)
    )
    assert train_script.main(command(data, tmp_path, loss="info_nce siglip")) == 1
    assert "info_nce became nan at step 1" in capsys.readouterr().err
    assert load_run(tmp_path / "siglip").config.loss == "siglip"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--set", "temprature=1"], "did you mean 'temperature'"),
        (["--set", "temperature"], "key=value"),
        (["--set", "temperature=hot"], "is not a float"),
        (["--set", "temperature=7"], "outside"),
        (["--set", "los.temperature=1"], "did you mean 'loss'"),
        (["--set", "matcher.temperature=1"], "unknown parameter"),
        (["--matcher", "liner"], "did you mean 'linear'"),
        (["--selector", "caption"], "unknown selector"),
        (["--epochs", "0"], "epochs must be at least 1"),
        (["--lr", "-1"], "lr must be positive"),
        (["--dataset", "block"], "did you mean 'blocks'"),
        (["--dataset", "/nowhere/at/all"], "no such folder"),
        (["--encoder", "ViT-B-32/openai"], "no pictures"),
        (["--loss", "info_nse"], "did you mean 'info_nce'"),
        (["--set", "glove=/nowhere"], "can't be read"),
    ],
)
def test_what_people_get_wrong_is_told_in_a_line(data, tmp_path, capsys, more, message):
    assert train_script.main(command(data, tmp_path / "out", *more)) == 2
    captured = capsys.readouterr()
    told = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert len(told) == 1 and message in captured.err and "Traceback" not in captured.err
    assert not list(tmp_path.glob("out/*/*"))


def test_an_unwritable_place_is_told(data, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert train_script.main(command(data, tmp_path / "file")) == 2
    assert "could not be written" in capsys.readouterr().err


def test_a_parameter_that_two_have_needs_its_owner():
    owners = {
        "loss": [LOSSES["max_of_hinges"], LOSSES["info_nce"]],
        "matcher": [LOSSES["polynomial"]],
        "selector": [],
        "dataset": [],
    }
    with pytest.raises(ValueError, match=r"loss.margin or matcher.margin"):
        assign(["margin=0.1"], owners)
    found = assign(["loss.margin=0.1", "matcher.margin=0.2", "temperature=0.5", "a0=1"], owners)
    assert found == {
        "loss": {"margin": 0.1, "temperature": 0.5}, "matcher": {"margin": 0.2, "a0": 1.0}, "selector": {}, "dataset": {},
    }  # fmt: skip


# ---- evaluate ----------------------------------------------------------------------------------------------


def test_evaluating_gives_what_the_run_tells(runs, capsys):
    assert evaluate.main([str(runs / "info_nce"), str(runs / "max_of_hinges"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [run["name"] for run in told["runs"]] == ["info_nce", "max_of_hinges"]
    for run in told["runs"]:
        test = load_run(runs / run["name"]).metrics["test"]
        for name, value in test.items():
            factor = 1 if name.endswith(("rsum", "rank")) else 100
            assert run["metrics"][name] == pytest.approx(factor * value), name
        recalls = [value for name, value in run["metrics"].items() if "/recall_at_" in name]
        assert sum(recalls) == pytest.approx(run["metrics"]["rsum"])  # one unit throughout
    assert told["unit"] == "per cent"


def test_evaluating_prints_an_aligned_table(runs, capsys):
    assert evaluate.main([str(runs / "info_nce"), "--split", "validation"]) == 0
    head, v2t, t2v, note = capsys.readouterr().out.splitlines()
    assert head.split() == ["run", "matcher", "direction", "R@1", "±", "R@5", "R@10", "median", "rsum"]
    assert (
        "validation: 30 visuals × 60 texts" in note
        and "resamples of the visuals with all their texts" in note
    )
    metrics = load_run(runs / "info_nce").metrics["validation"]
    assert v2t.split()[:4] == ["info_nce", "linear", "v2t", f"{100 * metrics['v2t/recall_at_1']:.1f}"]
    assert v2t.split()[-1] == f"{metrics['rsum']:.1f}" and len(v2t) == len(head)
    assert t2v.split()[0] == "t2v"


def test_how_much_of_the_captions_is_read_is_told(runs, data, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(data, other)
    table = (other / "captions.csv").read_text().splitlines()
    new = "zebra " * 130  # words that no run has met, more than it reads
    table = [line.replace("dog", new + "dog") if line.endswith(",test") else line for line in table]
    (other / "captions.csv").write_text("\n".join(table) + "\n")
    captions = load_dataset(other, "test").captions
    words = [word for caption in captions for word in caption.split()]
    cut = sum("zebra" in caption for caption in captions)
    said = f"{words.count('zebra'):,} of {len(words):,} words unknown ({100 * words.count('zebra') / len(words):.1f} %)"
    with pytest.warns(UserWarning, match="longer than 128 words"):
        assert evaluate.main([str(runs / "info_nce"), "--dataset", str(other)]) == 0
    assert (
        f"info_nce, other (test): {said}, {cut} of 48 captions cut off after 128 words"
        in capsys.readouterr().err
    )
    with pytest.warns(UserWarning, match=rf"other \(test\): {re.escape(said)}"):
        assert train_script.main(command(other, tmp_path / "runs")) == 0
    out = capsys.readouterr().out
    assert f"info_nce: train: 0 of {6 * tiny.SIZES['train']} words unknown (0.0 %); validation: 0 of" in out
    assert f"; test: {said}, {cut} of 48 captions cut off after 128 words" in out
    read = load_run(tmp_path / "runs" / "info_nce").training["texts_read"]["test"]
    assert (read["unknown"], read["cut"]) == (words.count("zebra"), cut)


def test_intervals_of_recall_are_drawn_by_visual(runs, capsys):
    run = load_run(runs / "info_nce")
    assert evaluate.main([str(run.path)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    data, (visual, text) = load_dataset(run.config.dataset, "test"), run.embeddings()
    scores = visual @ text.T
    own = data.visual_of_text[None] == np.arange(len(visual))[:, None]
    worst = np.where(own, -np.inf, scores)
    found = {
        "v2t": (np.where(own, scores, -np.inf).max(1) > worst.max(1), None),
        "t2v": (scores[data.visual_of_text, np.arange(len(text))] > worst.max(0), data.visual_of_text),
    }
    for row, (direction, (hits, visuals)) in zip((rows[1][3:], rows[2][1:]), found.items(), strict=True):
        low, high = bootstrap_interval(hits.astype(float), visuals)
        assert row[:2] == [f"{100 * hits.mean():.1f}", f"{50 * (high - low):.1f}"]
        told = run.metrics["test"]
        assert (told[f"{direction}/low_recall_at_1"], told[f"{direction}/high_recall_at_1"]) == (
            pytest.approx(low), pytest.approx(high),
        )  # fmt: skip


def test_a_truth_of_few_pairs_is_told_beside_its_figures():
    data = make_dataset()
    assert judged_words(data) == judged_words(replace(data, truth=None)) == ""  # all is known, or nothing

    def block(visuals, texts):
        known = (visuals[:, None] + texts[None]) % 7 == 0
        return np.where(known, data.truth.block(visuals, texts), np.nan)

    partial = replace(data, truth=Truth(block, data.truth.pairs, complete=False, source="asked of people"))
    judged = sum((visual + text) % 7 == 0 for visual in range(60) for text in range(120))
    words = judged_words(partial)
    assert f"{judged:,} of 7,200, {judged / 60:.3g} for each visual" in words and "asked of people" in words
    result = {
        "name": "a",
        "matcher": "",
        "metrics": {"v2t/recall_at_1": 0.5, "rsum": 100.0},
        **evaluate.protocol(partial),
    }
    assert metrics_table.table([result]).endswith(words)


def test_the_frozen_encoder_stands_beside_the_runs(runs, monkeypatch, capsys):
    """Where it embeds both sides; else it is said why there is no row."""
    assert evaluate.main([str(runs / "info_nce"), "--json"]) == 0
    captured = capsys.readouterr()
    assert len(json.loads(captured.out)["runs"]) == 1
    assert "no zero-shot row: the features of" in captured.err and "one space" in captured.err
    texts = np.eye(24, dtype=np.float32).repeat(2, 0)
    monkeypatch.setattr(
        evaluate, "zero_shot", lambda data, *_: (np.eye(len(data.visual_ids), dtype=np.float32), texts)
    )
    assert evaluate.main([str(runs / "info_nce"), str(runs / "max_of_hinges")]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if " v2t " in line]
    credited = ["with"]  # what reads alike
    assert [line[0] for line in lines] == [
        "info_nce",
        *credited,
        "max_of_hinges",
        *credited,
        "zero-shot:",
        *credited,
    ]
    assert lines[4][-1] == "600.0"


def test_evaluating_on_other_data(runs, data, tmp_path, capsys):
    other = tiny.write_folder(tmp_path / "other")
    (other / "captions.csv").write_text((other / "captions.csv").read_text().replace("red", "green"))
    assert evaluate.main([str(runs / "info_nce"), "--dataset", str(other), "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["runs"][0]["metrics"] != load_run(runs / "info_nce").metrics["test"]
    assert "warning" not in captured.err


def test_what_can_not_be_evaluated_is_told_and_the_rest_goes_on(runs, tmp_path, capsys):
    (tmp_path / "foreign").mkdir()
    assert evaluate.main([str(tmp_path / "foreign"), str(runs / "info_nce")]) == 2
    captured = capsys.readouterr()
    assert "holds no run: no run.json in it or in its folders" in captured.err and "info_nce" in captured.out
    assert evaluate.main([str(runs / "info_nce"), "--dataset", "/nowhere"]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_changed_data_is_warned_of(data, tmp_path, capsys):
    changing = tiny.write_folder(tmp_path / "changing")
    assert train_script.main(command(changing, tmp_path / "out")) == 0
    captions = changing / "captions.csv"
    captions.write_text(captions.read_text().replace("red", "green"))
    assert evaluate.main([str(tmp_path / "out" / "info_nce")]) == 0
    assert "not the version" in capsys.readouterr().err


@pytest.fixture(scope="module")
def pair_scorer(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("pairs")
    arguments = [one for one in command(data, out, "--matcher", "cross_attention") if "channels" not in one]
    assert train_script.main(arguments) == 0
    return next(out.glob("info_nce-*"))


def test_a_pair_scorer_is_measured_by_its_scores_and_its_first_stage_beside(pair_scorer, capsys):
    run = load_run(pair_scorer)
    assert evaluate.main([str(pair_scorer), "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["runs"]
    assert told["metrics"] == pytest.approx(metrics_table.percent(run.metrics["test"]))
    assert told["first_stage"] == pytest.approx(metrics_table.percent(run.metrics["first_stage"]))
    assert told["metrics"] != told["first_stage"]
    scores = run.scores()
    own = np.repeat(np.arange(len(scores)), 2)[None] == np.arange(len(scores))[:, None]
    first = (scores.argmax(1)[:, None] // 2 == np.arange(len(scores))[:, None]).mean()
    assert own.sum() == 2 * len(scores) and told["metrics"]["v2t/recall_at_1"] == pytest.approx(100 * first)
    assert evaluate.main([str(pair_scorer)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[1][:3] == ["info_nce-cross_attention", "cross_attention", "v2t"] and rows[5][:3] == [
        "first",
        "stage",
        "v2t",
    ]
    assert rows[1][-1] == f"{told['metrics']['rsum']:.1f}"
    assert rows[3][-1] == f"{told['with_duplicates']['rsum']:.1f}"
    assert rows[5][-1] == f"{told['first_stage']['rsum']:.1f}" and len(rows) == 9


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    folder = tiny.write_classes(tmp_path_factory.mktemp("data") / "labelled")
    arguments = ["--dataset", str(folder), "--loss", "info_nce", "--out", str(out), "--epochs", "2",
                 "--batch-size", "32", "--lr", "0.02", "--set=embed_dim=16"]  # fmt: skip
    assert train_script.main(arguments) == 0
    return out / "info_nce"


def test_class_labels_have_mean_average_precision_of_each_class(labelled, capsys):
    run = load_run(labelled)
    assert evaluate.main([str(labelled), "--per-class", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["runs"]
    test = load_dataset(run.config.dataset, "test")
    visual, text = run.embeddings()
    scores = visual @ text.T
    for direction, matrix, asking, gallery in (
        ("v2t", scores, test.visual_group, test.text_group),
        ("t2v", scores.T, test.text_group, test.visual_group),
    ):
        by_class = {name: [] for name in test.classes}
        for row, label in zip(matrix, asking, strict=True):
            right = (gallery == label)[np.argsort(-row)]
            ranks = np.flatnonzero(right) + 1
            by_class[test.classes[label]].append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
        expected = {name: 100 * np.mean(values) for name, values in by_class.items()}
        assert told["per_class"][direction] == pytest.approx(expected, abs=0.2)  # stored in half precision
        every = 100 * np.mean([value for values in by_class.values() for value in values])
        assert told["metrics"][f"{direction}/map"] == pytest.approx(every, abs=0.2)
    assert evaluate.main([str(labelled), "--per-class"]) == 0
    table, classes = capsys.readouterr().out.rstrip().split("\n\n")
    assert "each side asks among all" in table
    assert {"mAP", "mAP@50", "R@1"} <= {*table.split("\n")[0].split()} and "rsum" not in table
    assert len(classes.splitlines()) == len(test.classes) + 2
    assert classes.splitlines()[-1].split() == [
        "all", *(f"{told['metrics'][f'{d}/map']:.1f}" for d in ("v2t", "t2v")),
    ]  # fmt: skip


def test_class_labels_are_told_by_training_and_on_the_card(labelled, tmp_path, capsys):
    run = load_run(labelled)
    test = run.metrics["test"]
    mean = 50 * (test["v2t/map"] + test["t2v/map"])
    card = (labelled / "README.md").read_text()
    assert f"mAP {mean:.1f}, test split; chosen by the validation mAP" in card and "rsum" not in card
    assert f"| {100 * test['v2t/map']:.1f} | {100 * test['v2t/map_at_50']:.1f} |" in card
    arguments = [
        "--dataset",
        run.config.dataset,
        "--loss",
        "info_nce",
        "--out",
        str(tmp_path),
        "--epochs",
        "1",
    ]
    assert train_script.main([*arguments, "--set=embed_dim=16"]) == 0
    told = capsys.readouterr().out
    assert "test mAP " in told and "validation mAP " in told and "rsum" not in told


def test_classes_are_asked_of_labelled_data_only(runs, capsys):
    assert evaluate.main([str(runs / "info_nce"), "--per-class"]) == 2
    assert "has no class labels" in capsys.readouterr().err


def test_a_parameter_that_one_owner_refuses_is_told_with_its_name():
    owners = {"loss": [], "matcher": [MATCHERS["linear"], MATCHERS["graph"]], "selector": [], "dataset": []}
    with pytest.raises(ValueError, match=r"--set text=words: linear: .*words_conv"):
        assign(["text=words"], owners)


@pytest.mark.parametrize("how", [["scripts/train.py"], ["-m", "scripts.evaluate"]])
def test_scripts_run_both_ways(how):
    done = subprocess.run([sys.executable, *how, "--no-such"], cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 2 and "usage:" in done.stderr and "Traceback" not in done.stderr
