"""evaluate.py of two files of embeddings, which need no run."""

import json

import numpy as np
import pytest

from scripts import add, evaluate
from tests import tiny
from xmr.data import load_dataset


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.write_folder(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture
def sides(data):
    test = load_dataset(data, "test")
    rng = np.random.default_rng(0)
    visual = rng.normal(size=(len(test.visual_ids), 10))
    text = visual[test.visual_of_text] + rng.normal(size=(len(test.captions), 10))
    return [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (visual, text)]


def asked(folder, sides, *more):
    paths = [str(folder / name) for name in ("img.npy", "txt.npy")]
    for path, side in zip(paths, sides, strict=True):
        np.save(path, side)
    return ["--embeddings", *paths, *more]


def slow_recall(scores, owners, k):
    """Share of rows with a match among the k best, of lists."""
    hits = 0
    for row, own in zip(scores.tolist(), owners, strict=True):
        best = sorted(range(len(row)), key=lambda item: -row[item])[:k]
        hits += any(item in own for item in best)
    return hits / len(owners)


@pytest.mark.parametrize(("dtype", "scale"), [("f2", 1), ("f4", 1), ("f8", 1), ("f4", 7), ("f2", 0.1)])
def test_figures_are_those_of_the_loop_and_lengths_are_told(data, sides, tmp_path, capsys, dtype, scale):
    sides = [(scale * side).astype(dtype) for side in sides]
    assert evaluate.main(asked(tmp_path, sides, "--dataset", str(data), "--json")) == 0
    captured = capsys.readouterr()
    (told,) = json.loads(captured.out)["runs"]
    unit = [side.astype(float) / np.linalg.norm(side.astype(float), axis=1, keepdims=True) for side in sides]
    scores, links = unit[0] @ unit[1].T, load_dataset(data, "test").visual_of_text
    owners = [{text for text, visual in enumerate(links) if visual == row} for row in range(len(scores))]
    for k in (1, 5, 10):
        v2t, t2v = (told["metrics"][f"{way}/recall_at_{k}"] for way in ("v2t", "t2v"))
        assert v2t == pytest.approx(100 * slow_recall(scores, owners, k))
        assert t2v == pytest.approx(100 * slow_recall(scores.T, [{visual} for visual in links], k))
    assert captured.err.count("normalised here") == (2 if scale != 1 else 0)


def test_the_table_and_json_are_as_those_of_a_run(data, sides, tmp_path, capsys):
    out = tmp_path / "runs"
    paths = asked(tmp_path, sides)[1:]
    given = ["--dataset", str(data), "--embeddings", f"ours={','.join(paths)}", "--out", str(out)]
    assert add.main(given) == 0
    capsys.readouterr()
    both = [str(out), "--embeddings", *paths, "--dataset", str(data)]
    assert evaluate.main([*both, "--json"]) == 0
    files, run = json.loads(capsys.readouterr().out)["runs"]
    assert files.keys() == run.keys() and files["metrics"].keys() == run["metrics"].keys()
    assert files["name"] == "img.npy txt.npy" and files["fingerprint"] == run["fingerprint"]
    assert evaluate.main(both) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if " v2t " in line]
    assert [" ".join(row.split()[:2]) for row in rows] == [
        "img.npy txt.npy", "with duplicates", "ours v2t", "with duplicates",
    ]  # fmt: skip


def test_rows_in_another_order_are_warned_of(data, sides, tmp_path, capsys):
    mixed = [sides[0], np.random.default_rng(2).permutation(sides[1])]
    assert evaluate.main(asked(tmp_path, mixed, "--dataset", str(data))) == 0
    assert "no better than chance: are its rows in the order of tiny (test)?" in capsys.readouterr().err


FAULTS = {
    "swapped": (lambda v, t: (t, v), "the two files are swapped; visuals come first"),
    "too few": (lambda v, t: (v[1:], t), "23 rows for the 24 visuals of tiny (test); write one for each, in the order"),
    "too many": (lambda v, t: (v, np.r_[t, t]), "96 rows for the 48 texts of tiny (test)"),
    "two models": (lambda v, t: (v, t[:, 1:]), "10 and 9 dimensions are no one space"),
    "NaN": (lambda v, t: (v, np.where(np.arange(48)[:, None] == 5, np.nan, t)), "txt.npy: row 5 is zero or not finite"),
    "zeros": (lambda v, t: (v * 0, t), "img.npy: row 0 is zero or not finite"),
    "whole numbers": (lambda v, t: (v.astype(int), t), "img.npy holds (24, 10) int64; write floats (N, D)"),
    "tokens": (lambda v, t: (v[None], t), "img.npy holds (1, 24, 10) float64"),
    "objects": (lambda v, t: (v, t.astype(object)), "txt.npy is no .npy file of numbers"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_the_files_are_told(data, sides, tmp_path, capsys, fault):
    change, words = FAULTS[fault]
    assert evaluate.main(asked(tmp_path, change(*sides), "--dataset", str(data))) == 2
    captured = capsys.readouterr()
    assert words in captured.err and not captured.out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "name runs, or --embeddings IMG.npy TXT.npy and their --dataset"),
        (["--embeddings", "a.npy", "b.npy"], "name the data that they are of"),
        (["runs", "--set", "image=x"], "--set is for --embeddings"),
        (["runs", "--truth", "eccv", "--split", "validation"], "--truth is of the test split, not of validation"),
        (["runs", "--truth", "ecv"], "invalid choice: 'ecv'"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit_are_refused(options, words, capsys):
    with pytest.raises(SystemExit):
        evaluate.main(options)
    assert words in capsys.readouterr().err


def test_files_that_are_not_there_and_data_that_are_not_coco_are_told(data, sides, tmp_path, capsys):
    missing = ["--embeddings", "nowhere.npy", "txt.npy", "--dataset", str(data)]
    assert evaluate.main(missing) == 2
    assert "nowhere.npy" in capsys.readouterr().err
    given = asked(tmp_path, sides, "--dataset", str(data), "--truth", "eccv", "--truth-files", str(tmp_path))
    assert evaluate.main(given) == 2
    assert f"{tmp_path}: no coco_test_ids.npy in it" in capsys.readouterr().err
