"""The known-truth benchmark of selectors: its statistics against loops, and the script as people call it."""

import csv
import io
import itertools
import json
import math
import os

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from scripts import benchmark_selectors as script
from tests import tiny
from xmr.core import Pairs
from xmr.data import Truth
from xmr.evidence import Evidence
from xmr.experiments import findings, gains
from xmr.experiments.detection import (
    Side,
    Sweep,
    average_precision,
    frozen_evidence,
    judged_hard,
    operating_points,
    part_of,
    sides,
    sweep,
    swept,
    swept_parameters,
)
from xmr.experiments.findings import Finding, highest
from xmr.experiments.gains import Variant, beyond_annotation
from xmr.experiments.log import opened
from xmr.experiments.selector_report import finding_table, gain_table
from xmr.registry import Range
from xmr.selection import SELECTORS, suspected

SMALL = [f"--set={name}={value}" for name, value in tiny.SMALL.items()]


def guesses(seed, rows=7, pairs=40):
    rng = np.random.default_rng(seed)
    return rng.random((rows, pairs)) < rng.random((rows, 1)), rng.random(pairs) < 0.4


# ---- statistics --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_operating_points_are_those_of_a_loop(seed):
    suspects, matches = guesses(seed)
    suspects[2] = False
    found = operating_points(suspects, matches)
    for row, guess in enumerate(suspects):
        hits = sum(1 for s, m in zip(guess, matches, strict=True) if s and m)
        alarms = sum(1 for s, m in zip(guess, matches, strict=True) if s and not m)
        missed = sum(1 for s, m in zip(guess, matches, strict=True) if m and not s)
        quiet = sum(1 for s, m in zip(guess, matches, strict=True) if not m and not s)
        assert found.recall[row] == pytest.approx(hits / (hits + missed))
        assert found.f1[row] == pytest.approx(2 * hits / (2 * hits + alarms + missed))
        assert found.informedness[row] == pytest.approx(hits / (hits + missed) - alarms / (alarms + quiet))
        if hits + alarms:
            assert found.precision[row] == pytest.approx(hits / (hits + alarms))
        else:
            assert math.isnan(found.precision[row])


def test_suspecting_all_or_nobody_tells_nothing():
    _, matches = guesses(0)
    found = operating_points(np.stack([np.ones(40, bool), np.zeros(40, bool)]), matches)
    assert found.informedness.tolist() == [0, 0]
    assert found.precision[0] == matches.mean() and found.recall.tolist() == [1, 0] and found.f1[1] == 0
    assert average_precision(np.zeros((3, 40), bool), matches) == pytest.approx(matches.mean())  # as a guess
    for same in (np.zeros(4, bool), np.ones(4, bool)):
        with pytest.raises(ValueError, match="of 4 hard negatives are matches"):
            operating_points(np.ones((1, 4), bool), same)


@pytest.mark.parametrize("seed", range(5))
def test_the_area_of_all_thresholds_is_average_precision(seed):
    rng = np.random.default_rng(seed)
    matches = rng.random(60) < 0.3
    scores = rng.permutation(60) + 10.0 * matches
    thresholds = rng.permutation(
        np.concatenate([[999.0], scores])
    )  # in any order, nobody suspected among them
    suspects = scores[None] >= thresholds[:, None]
    assert average_precision(suspects, matches) == pytest.approx(average_precision_score(matches, scores))


def test_the_area_of_few_guesses_is_that_of_a_loop():
    suspects, matches = guesses(3)
    ordered = sorted([*suspects, np.ones(40, bool)], key=lambda guess: guess.sum())
    area, before = 0.0, 0.0
    for guess in ordered:
        recall = (guess & matches).sum() / matches.sum()
        if guess.any() and recall > before:
            area += (recall - before) * (guess & matches).sum() / guess.sum()
            before = recall
    assert average_precision(suspects, matches) == pytest.approx(area)


def test_values_are_asked_where_answers_change():
    hidden = np.linspace(0.70, 0.72, 200)
    asked = []

    def ask(value):
        asked.append(value)
        return hidden >= value

    values, suspects = swept(ask, Range(-1, 1), (0.8, 0.3), False, points=14)
    assert len(asked) == len(set(asked)) == len(values) == 14
    assert {-1, 0.3, 0.8, 1} <= set(values) and (np.diff(values) > 0).all()
    assert ((values > 0.69) & (values < 0.73)).sum() >= 5
    np.testing.assert_array_equal(suspects, hidden[None] >= values[:, None])


def test_integers_stay_integers_and_a_question_is_not_asked_twice():
    asked = []

    def ask(value):
        asked.append(value)
        return np.arange(50) < 10 * value

    values, _ = swept(ask, Range(0, 100), (1,), True, points=16)
    assert all(value == int(value) for value in values) and len(asked) == len(set(asked))
    assert {0, 1, 2, 3, 4, 5} <= set(values) and len(values) < 16  # nothing changes beyond 5


def test_a_sweep_is_the_mean_of_its_models():
    suspects, matches = guesses(1)
    model = np.repeat([0, 1], [25, 15])
    found = Sweep(np.arange(7.0), suspects, matches, model)
    parts = [operating_points(suspects[:, model == k], matches[model == k]) for k in (0, 1)]
    for name in ("recall", "f1", "informedness"):
        expected = (getattr(parts[0], name) + getattr(parts[1], name)) / 2
        np.testing.assert_allclose(getattr(found.points, name), expected)
    np.testing.assert_allclose(
        found.points.precision, np.nanmean([part.precision for part in parts], 0), equal_nan=True
    )
    np.testing.assert_allclose(found.base_rate(), [matches[:25].mean(), matches[25:].mean()])
    assert found.average_precision()[1] == average_precision(suspects[:, 25:], matches[25:])
    assert highest([0, 1, 1, 1, 0]) == 2


def test_every_selector_has_a_main_parameter_with_a_range():
    for entry in SELECTORS.values():
        for name in swept_parameters(entry):
            assert entry.param(name).range == entry.param(swept_parameters(entry)[0]).range
    assert swept_parameters(SELECTORS["agreement"]) == ("share",)  # its first, `runs`, has none
    assert len(swept_parameters(SELECTORS["both_modalities"])) == 2


# ---- what is asked -----------------------------------------------------------------------------------------


def words_in_common(split):
    """Truth of the tiny dataset: a caption is true of an item with which it shares two of three words."""
    _, captions = tiny.items(split)
    own = [set(caption.split()) for caption in captions]
    relevance = np.array([[len(a & b) >= min(2, len(b)) for b in own] for a in own[::2]], np.float32)
    return relevance


def with_truth(split):
    relevance = words_in_common(split)
    truth = Truth(lambda v, t: relevance[np.ix_(v, t)], lambda v, t: relevance[v, t], True, "words")
    return tiny.dataset(split, truth=truth)


def test_a_part_has_whole_groups_and_their_truth():
    group = np.arange(24) // 3
    data = tiny.dataset("test", visual_group=group, truth=with_truth("test").truth)
    part = part_of(data, 9)
    assert (
        len(part.visuals) == 9 and sorted(np.bincount(group[part.visuals], minlength=8)) == [0] * 5 + [3] * 3
    )
    assert set(part.texts) == {t for t in range(48) if data.visual_of_text[t] in set(part.visuals)}
    np.testing.assert_array_equal(part.relevance, words_in_common("test")[np.ix_(part.visuals, part.texts)])
    assert len(part_of(data).visuals) == len(part_of(data, 500).visuals) == 24
    with pytest.raises(ValueError, match="beyond its annotation"):
        part_of(tiny.dataset("test"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "one"
    tiny.fit(tiny.config(), folder)
    from xmr.checkpoints import load_run

    return load_run(folder)


def test_hardest_negatives_and_what_selectors_say_of_them(run):
    data = with_truth("test")
    part, evidence = part_of(data), Evidence(data.captions, lambda: (data.visual_features, None))
    frozen = frozen_evidence(part, evidence)
    model = sides(run, part, run.embeddings(), evidence, frozen)
    assert [side.pairs.direction for side in model] == ["v2t", "t2v"]
    relevance = words_in_common("test")
    for side, known in zip(model, (relevance, relevance.T), strict=True):
        assert len(side.query) == 3 * len(known)  # info_nce pushes every negative
        for q, c, match in zip(side.query, side.candidate, side.matches, strict=True):
            assert side.pairs.negatives[q, c] and match == (known[q, c] == 1)
            better = (side.pairs.scores[q] > side.pairs.scores[q, c]) & side.pairs.negatives[q]
            assert better.sum() < 3
    found = sweep("word_overlap", {"threshold": 0.5}, [model, model], [0.123])
    assert {0.5, 0.123} <= set(found.values)
    expected = np.concatenate(
        [suspected("word_overlap", s.pairs, threshold=0.123).numpy()[s.query, s.candidate] for s in model]
    )
    np.testing.assert_array_equal(found.suspects[found.values.tolist().index(0.123)], np.tile(expected, 2))
    assert found.model.tolist() == [0] * len(expected) + [1] * len(expected)
    with pytest.raises(ValueError, match="scores of other models"):
        sweep("agreement", SELECTORS["agreement"].defaults, [model])


def test_where_few_pairs_are_judged_those_near_the_top_are_taken():
    torch.manual_seed(0)
    pairs = Pairs.of(torch.randn(9, 9))
    relevance = np.random.default_rng(0).choice([0, 1, np.nan], (9, 9)).astype(np.float32)
    expected = []
    for q in range(9):
        ranked = sorted((c for c in range(9) if c != q), key=lambda c: -pairs.scores[q, c])
        expected += [(q, c) for c in ranked[:4] if not math.isnan(relevance[q, c])]
    assert sorted(zip(*judged_hard(pairs, relevance, 4), strict=True)) == sorted(expected)


def test_both_thresholds_move_together():
    torch.manual_seed(1)
    within = torch.nn.functional.normalize(torch.randn(12, 4), dim=1)
    pairs = Pairs.of(torch.randn(12, 12), text_scores=within @ within.T, visual_scores=within @ within.T)
    query, candidate = np.nonzero(pairs.negatives.numpy())
    side = Side(pairs, query, candidate, np.arange(len(query)) % 3 == 0)
    found = sweep("both_modalities", SELECTORS["both_modalities"].defaults | {"rule": "and"}, [[side]])
    for value, row in zip(found.values, found.suspects, strict=True):
        near = (within @ within.T).numpy()[query, candidate] >= np.float32(value)
        np.testing.assert_array_equal(row, near)


def test_what_is_known_beyond_the_annotation():
    scores = np.array([[0.9, 0.5, 0.1], [0.2, 0.8, 0.6]], np.float32)
    positives = np.array([[True, False, False], [False, True, False]])
    assert beyond_annotation(scores, positives, positives.astype(np.float32)) == {}
    judged = np.array([[1, 0, np.nan], [0, 1, 1]], np.float32)  # 0.6 matches, 0.5 and 0.2 don't
    assert beyond_annotation(scores, positives, judged) == {"judged_auc": 1, "judged_average_precision": 1}
    judged = np.array([[1, 1, np.nan], [0, 1, 0]], np.float32)  # 0.5 matches, 0.6 and 0.2 don't
    assert beyond_annotation(scores, positives, judged) == {
        "judged_auc": 0.5,
        "judged_average_precision": 0.5,
    }
    known = np.array([[1, np.nan, np.nan], [np.nan, 1, 1]], np.float32)
    found = beyond_annotation(scores, positives, known)
    assert found["known_rsum"] == 600 and found["t2v/known_recall_at_1"] == 1
    known[1, 0] = 1
    assert beyond_annotation(scores, positives, known)["v2t/known_recall_at_1"] == 1


def test_the_table_ranks_selectors_beside_suspecting_all():
    """Of 65 % matches: F1 would put suspecting nearly all first; its area and informedness are those of a guess."""
    good = Finding(
        "posterior", "threshold", 0.5, [0.5], [0.9], [0.2], [0.33], [0.15], [0.8, 0.9], [0.6, 0.7], 100
    )
    poor = Finding("top_ranked", "k", 1, [1], [0.65], [0.99], [0.785], [-0.01], [0.5, 0.6], [0.6, 0.7], 100)
    head, *rows = finding_table({"test": [poor, good]})
    assert [row[0] for row in rows] == ["posterior", "*suspecting all*", "top_ranked"]
    assert rows[1][1:7] == ["65.0 ± 5.0", "", "65.0", "100.0", "78.7", "0.0"]  # F1: mean of 75.0 and 82.4
    assert "best F1" not in head and len({len(row) for row in (head, *rows)}) == 1


# ---- what training gained ----------------------------------------------------------------------------------


def records_of(rsums):
    return {
        variant: {seed: {"metrics": {"rsum": value}, "diverged": ""} for seed, value in values.items()}
        for variant, values in rsums.items()
    }


def test_gains_are_paired_by_seed():
    none, some, diverged = Variant("a"), Variant("a", "top_ranked"), Variant("a", "top_ranked", "weigh")
    records = records_of({none: {1: 10.0, 2: 20.0, 3: 33.0}, some: {1: 12.0, 2: 23.0}, diverged: {}})
    records[diverged][1] = {"metrics": {}, "diverged": "NaN"}
    found = gains.gains(records, "rsum")
    assert found[none].mean == 21 and math.isnan(found[none].difference) and diverged not in found
    assert found[some].mean == 17.5 and found[some].difference == 2.5 and found[some].seeds == 2
    spread = math.sqrt(((2 - 2.5) ** 2 + (3 - 2.5) ** 2) / 1 / 2)
    t = 12.7062047  # of one degree of freedom, 97.5 %
    assert found[some].difference_half == pytest.approx(t * spread)
    assert found[some].p_holm == found[some].p
    rows = gain_table(records)
    assert rows[0] == ["selector", "rsum", "seeds"]
    assert rows[2] == ["top_ranked", "17.5 (+2.5 ± 6.4)", "2"] and rows[3] == ["top_ranked, weigh", "", "0"]


# ---- the script --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The tiny dataset with every pair of its test split judged."""
    folder = tiny.write_folder(tmp_path_factory.mktemp("data") / "tiny")
    with (folder / "expert.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "caption_image", "caption_no", "score1"])
        for v, t in itertools.product(range(24), range(48)):
            match = words_in_common("test")[v, t]
            writer.writerow([f"test-{v}", f"test-{t // 2}", t % 2, 4 if match else 1])
    return folder


def command(data, out, *more):
    return ["--dataset", str(data), "--out", str(out), "--epochs", "2", "--batch-size", "32", "--lr", "0.02", *SMALL,
            "--models", "info_nce", "siglip", "--loss", "info_nce", "--seeds", "2", *more]  # fmt: skip


@pytest.fixture(scope="module")
def report(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "found.md"
    selected = ["--selector", "word_overlap", "top_ranked", "agreement", "--action", "ignore", "positive"]
    assert script.main(command(data, out, *selected, "--set", "word_overlap.threshold=0.4")) == 0
    return out


def test_the_report_tells_what_selectors_find_and_what_training_gains(report):
    text = report.read_text()
    assert (
        "word_overlap | " in text and "threshold 0.4" in text and "## What training gains: info_nce" in text
    )
    assert "| top_ranked, positive |" in text and "nan" not in text
    rows = list(csv.DictReader(io.StringIO(report.with_suffix(".detection.csv").read_text())))
    assert {row["selector"] for row in rows} == {"word_overlap", "top_ranked", "agreement"}
    assert all(0 <= float(row["recall"]) <= 1 for row in rows)
    rows = list(csv.DictReader(io.StringIO(report.with_suffix(".effect.csv").read_text())))
    ours = [row for row in rows if row["metric"] == "v2t/true_map_at_r"]
    assert len(ours) == 7 and ours[0]["selector"] == "" and ours[0]["difference"] == ""
    lines = [json.loads(line) for line in report.with_suffix(".jsonl").read_text().splitlines()]
    trained = [(line["key"]["config"], line["record"]) for line in lines if "config" in line["key"]]
    values = {(c["selector"], c["suspects"], c["seed"]): record for c, record in trained}
    assert len(values) == 14
    gained = [
        values["top_ranked", "ignore", s]["metrics"]["rsum"] - values["", "ignore", s]["metrics"]["rsum"]
        for s in (1, 2)
    ]
    row = next(
        r for r in rows if r["metric"] == "rsum" and (r["selector"], r["action"]) == ("top_ranked", "ignore")
    )
    assert float(row["difference"]) == pytest.approx(np.mean(gained))


def test_parameters_reach_what_they_belong_to():
    settings = [
        "both_modalities.text_threshold=0.4",
        "both_modalities.visual_threshold=0.3",
        "margin=0.3",
        "hidden=8",
    ]
    options = script.parse(["--first", "sum_of_hinges:1", *(f"--set={one}" for one in settings)])
    configs, selectors = script.plan(options)
    assert list(selectors) == list(SELECTORS)
    assert selectors["both_modalities"] == {"text_threshold": 0.4, "visual_threshold": 0.3, "rule": "or"}
    assert configs["max_of_hinges"].loss_params == {"margin": 0.3} and configs["info_nce"].loss_params == {}
    assert {config.matcher_params["hidden"] for config in configs.values()} == {8}
    assert [name for name, config in configs.items() if config.first_loss] == ["max_of_hinges"]


def test_what_was_trained_is_not_trained_again(report, data, monkeypatch, capsys):
    with report.with_suffix(".jsonl").open("ab") as file:
        file.write(b'{"key": {"cut')  # killed while writing
    for module, name in ((script, "train"), (gains, "train"), (findings, "sides")):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("done again"))
    again = ["--selector", "top_ranked"]
    assert script.main(command(data, report, *again)) == 0
    assert "| top_ranked |" in report.read_text() and "positive" not in report.read_text()
    monkeypatch.undo()
    assert script.main(command(data, report, *again, "--seeds", "3")) == 0
    told = capsys.readouterr().err
    assert told.count("seed 3: ") == 2 and "seed 1: " not in told
    assert all(json.loads(line) for line in report.with_suffix(".jsonl").read_text().splitlines())
    assert script.main(command(data, report, *again, "--epochs", "1")) == 2
    assert "choose another --out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "Expecting property name"),
        ('{"key": {}}', "'record'"),
        ('{"key": [], "record": {}}', "key is no object"),
        ('{"key": {"split": "test"}, "record": {"selector": "posterior"}}', "parameter: Field required"),
        (
            '{"key": {"config": {}}, "record": {"metrics": {"rsum": "x"}, "seconds": 1, "diverged": ""}}',
            "metrics.rsum: ",
        ),
    ],
)
def test_a_log_that_is_broken_or_written_by_another_is_told(data, tmp_path, capsys, line, message):
    (tmp_path / "f.jsonl").write_text(line + "\n")
    assert script.main(command(data, tmp_path / "f.md")) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert (
        told.startswith(f"error: {tmp_path / 'f.jsonl'}, line 1, is no line of a benchmark: ")
        and message in told
    )
    with opened(tmp_path / "g.jsonl", "benchmark", findings.of_line):
        assert script.main(command(data, tmp_path / "g.md")) == 2
    assert f"is being written by process {os.getpid()} on " in capsys.readouterr().err


def test_a_selector_without_its_evidence_is_left_out_and_told(data, tmp_path, capsys):
    arguments = command(
        data, tmp_path / "f.md", "--selector", "agreement", "top_ranked", "--models", "info_nce"
    )
    assert script.main([*arguments, "--seeds", "0"]) == 0
    assert "agreement is left out" in capsys.readouterr().err
    assert "What training gains" not in (tmp_path / "f.md").read_text()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--selector", "caption"], "unknown selector"),
        (["--set", "top_ranked.m=1"], "unknown parameter of top_ranked"),
        (["--set", "top_ranked.k=many"], "is not an int"),
        (["--set", "temprature=1"], "unknown parameter"),
        (["--selector", "agreement", "--set", "top_ranked.k=2"], "unknown asked selector 'top_ranked'"),
        (["--seeds", "-1"], "at least 0"),
        (["--dataset", "/nowhere/at/all"], "no such folder"),
    ],
)
def test_what_people_get_wrong_is_told_in_a_line(data, tmp_path, capsys, more, message):
    assert script.main(command(data, tmp_path / "f.md", *more)) == 2
    captured = capsys.readouterr()
    assert message in captured.err and "Traceback" not in captured.err
    assert not (tmp_path / "f.md").exists()


def test_a_dataset_of_which_nothing_more_is_known_is_refused(tmp_path, capsys):
    plain = tiny.write_folder(tmp_path / "plain")
    lines = (plain / "captions.csv").read_text().splitlines()
    rows = [line.split(",") for line in lines[1:]]
    unique = [",".join([image, f"{caption} {n}", split]) for n, (image, caption, split) in enumerate(rows)]
    (plain / "captions.csv").write_text("\n".join([lines[0], *unique]) + "\n")
    assert script.main(command(plain, tmp_path / "f.md")) == 2
    assert "nothing is known" in capsys.readouterr().err


def test_where_nothing_else_is_known_what_stands_twice_is_the_truth(tmp_path, capsys):
    """Of two visuals each the captions are the same: who reads them finds every match, at the precision of no other match."""
    folder = tiny.write_folder(tmp_path / "twice")
    lines = (folder / "captions.csv").read_text().splitlines()
    rows = [line.split(",") for line in lines[1:]]
    said = [f"{rows[place // 4 * 4 + place % 2][1]} {place // 4}" for place in range(len(rows))]
    twice = [f"{image},{caption},{split}" for (image, _, split), caption in zip(rows, said, strict=True)]
    (folder / "captions.csv").write_text("\n".join([lines[0], *twice]) + "\n")
    out = tmp_path / "found.md"
    assert (
        script.main([*command(folder, out, "--selector", "word_overlap", "top_ranked"), "--seeds", "0"]) == 0
    )
    text = out.read_text()
    assert "What matches is told by: the annotation, and what can't be told from it" in text
    found = list(csv.DictReader(io.StringIO(out.with_suffix(".detection.csv").read_text())))
    ours = [row for row in found if row["selector"] == "word_overlap" and row["split"] == "test"]
    assert {float(row["recall"]) for row in ours} == {1.0}
    assert max(float(row["precision"]) for row in ours) == 1
