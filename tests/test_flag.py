"""Suspected pairs as a file: what is written is what the selector says, with its evidence, and safe to open."""

import csv
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from scripts import flag
from scripts import train as train_script
from tests import tiny
from xmr.analysis import Retrieval, hard_negatives_by_weight
from xmr.checkpoints import load_run
from xmr.data import Truth, load_dataset
from xmr.embedding import embed_dataset
from xmr.evidence import CaptionSimilarity, Evidence
from xmr.tables import csv_text

SMALL = [f"--set={name}={value}" for name, value in tiny.SMALL.items()]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    data = tiny.write_folder(tmp_path_factory.mktemp("data") / "tiny")
    out = tmp_path_factory.mktemp("runs")
    losses = ["info_nce", "max_of_hinges"]
    options = ["--out", str(out), "--epochs", "2", "--batch-size", "32", "--lr", "0.02", *SMALL]
    assert train_script.main(["--dataset", str(data), "--loss", *losses, *options]) == 0
    return out


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_every_row_is_a_suspected_hard_negative_with_its_numbers(runs, capsys):
    arguments = [
        str(runs / "info_nce"),
        "--split",
        "test",
        "--selector",
        "caption_similarity",
        "--set",
        "threshold=0.3",
    ]
    assert flag.main(arguments) == 0
    printed = capsys.readouterr()
    rows = rows_of(printed.out)
    assert rows and list(rows[0]) == list(flag.COLUMNS)
    run = load_run(runs / "info_nce")
    data = load_dataset(run.config.dataset, "test")
    visual, text = embed_dataset(run, data)
    scores = visual @ text.T
    words = CaptionSimilarity(data.captions)
    heaviest = {}
    for direction in ("v2t", "t2v"):
        split = Retrieval(visual, text, data.visual_group, data.text_group, direction)
        found = hard_negatives_by_weight(split, "info_nce", run.loss_values)
        for q, c, w in zip(found.query, found.candidate, found.weight, strict=True):
            pair = (int(q), int(c)) if direction == "v2t" else (int(c), int(q))
            heaviest[pair] = max(w, heaviest.get(pair, 0))
    expected = {}
    for (v, t), weight in heaviest.items():
        own = np.flatnonzero(data.visual_of_text == v)
        near = words.block(own, np.array([t]))[:, 0]
        if near.max() >= 0.3:
            expected[v, t] = (weight, data.captions[own[near.argmax()]], near.max())
    # The same words against the same picture are one row, the heaviest.
    once = {}
    for v, t in sorted(expected, key=lambda pair: (-heaviest[pair], pair)):
        once.setdefault((v, data.captions[t]), (v, t))
    assert len(rows) == len(once) < len(expected) < len(heaviest)
    assert f"({len(expected) - len(once)} more that read alike" in printed.err
    assert f"{len(rows):,} of the {len(heaviest):,} negatives" in printed.err
    weights = [float(row["weight"]) for row in rows]
    assert weights == sorted(weights, reverse=True)
    of_caption = {
        (c, data.visual_ids[v]): t
        for t, (c, v) in enumerate(zip(data.captions, data.visual_of_text, strict=True))
    }
    for row in rows:
        v, t = data.visual_ids.index(row["visual"]), of_caption[row["caption"], row["caption_of"]]
        assert heaviest[v, t] == heaviest[once.pop((v, row["caption"]))]
        weight, nearest, near = expected[v, t]
        assert float(row["weight"]) == pytest.approx(weight, rel=1e-4)
        assert float(row["similarity"]) == pytest.approx(near, abs=1e-4) and row["nearest_caption"] == nearest
        assert float(row["score"]) == pytest.approx(
            scores[v, t], abs=2e-3
        )  # embeddings are stored in half precision
        for name, others in (("rank_v2t", scores[v]), ("rank_t2v", scores[:, t])):
            surely, perhaps = (
                (others > scores[v, t] + e).sum() for e in (1e-5, -1e-5)
            )  # captions alike score alike
            assert 1 + surely <= int(row[name]) <= perhaps
        assert row["truth"] == ""  # nothing is known of it here


def test_a_pair_scorer_is_asked_for_its_own_scores(tmp_path, capsys):
    data = tiny.write_folder(tmp_path / "tiny")
    small = ["--set=embed_dim=16", "--set=word_dim=8", "--set=metric_epochs=1"]
    options = [
        "--matcher",
        "two_pathway",
        "--out",
        str(tmp_path),
        "--epochs",
        "2",
        "--batch-size",
        "32",
        *small,
    ]
    assert train_script.main(["--dataset", str(data), "--loss", "max_of_hinges", *options]) == 0
    run, test = load_run(tmp_path / "max_of_hinges-two_pathway"), load_dataset(str(data), "test")
    capsys.readouterr()
    arguments = ["--split", "test", "--selector", "caption_similarity", "--set", "threshold=0.3"]
    assert flag.main([str(run.path), *arguments]) == 0
    rows = rows_of(capsys.readouterr().out)
    scores = run.scores()
    place = {
        (caption, test.visual_ids[v]): t
        for t, (caption, v) in enumerate(zip(test.captions, test.visual_of_text, strict=True))
    }
    visual, text = run.embeddings()
    assert rows and np.median(np.abs(visual @ text.T - scores)) > 0.1  # the first stage says something else
    for row in rows:
        v, t = test.visual_ids.index(row["visual"]), place[row["caption"], row["caption_of"]]
        assert float(row["score"]) == pytest.approx(scores[v, t], rel=1e-3, abs=1e-3)  # half precision
        for name, others in (("rank_v2t", scores[v]), ("rank_t2v", scores[:, t])):
            surely, perhaps = ((others > scores[v, t] + e).sum() for e in (2e-3, -2e-3))
            assert 1 + surely <= int(row[name]) <= perhaps


def test_files_of_both_kinds_say_the_same(runs, tmp_path):
    arguments = [
        str(runs / "max_of_hinges"),
        "--selector",
        "caption_similarity",
        "--set",
        "threshold=0.3",
        "--limit",
        "50",
    ]
    for name in ("deep/s.csv", "s.jsonl"):
        assert flag.main([*arguments, "--out", str(tmp_path / name)]) == 0
    rows = rows_of((tmp_path / "deep" / "s.csv").read_text())
    lines = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    assert rows and [{k: "" if v is None else str(v) for k, v in line.items()} for line in lines] == rows
    assert {path.name for path in tmp_path.iterdir()} == {"deep", "s.jsonl"}


def test_other_models_can_be_asked(runs, capsys):
    arguments = [str(runs / "info_nce"), "--split", "test", "--selector", "agreement"]
    assert flag.main(arguments) == 2
    assert "peer_scores" in capsys.readouterr().err
    assert flag.main([*arguments, "--set", f"runs={runs / 'max_of_hinges'}", "--set", "share=0.9"]) == 0
    assert rows_of(capsys.readouterr().out)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_is_a_formula(start):
    row = dict.fromkeys(flag.COLUMNS, None) | {"caption": f"{start}HYPERLINK(1)", "score": -0.5}
    (read,) = rows_of(csv_text([row], flag.COLUMNS))
    assert read["caption"] == f"'{start}HYPERLINK(1)"
    assert read["score"] == "-0.5"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "there is no folder"),
        (["RUN", "--selector", "caption_similarty"], "did you mean 'caption_similarity'"),
        (["RUN", "--selector", "caption_similarity", "--set", "treshold=1"], "threshold"),
        (["RUN", "--selector", "caption_similarity", "--set", "threshold=7"], "outside"),
    ],
)
def test_what_is_wrong_is_told(runs, capsys, arguments, message):
    assert flag.main([str(runs / "info_nce") if a == "RUN" else a for a in arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--out", "s.xlsx"], ["--limit", "0"], ["--split", "tset"]])
def test_wrong_options_are_refused(runs, option, capsys):
    with pytest.raises(SystemExit):
        flag.main([str(runs / "info_nce"), *option])
    assert option[1] in capsys.readouterr().err


def test_a_file_that_can_not_be_written_is_told(runs, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert (
        flag.main([str(runs / "info_nce"), "--split", "test", "--out", str(tmp_path / "file" / "x.csv")]) == 2
    )
    assert f"{tmp_path / 'file' / 'x.csv'} could not be written" in capsys.readouterr().err


def test_the_summary_compares_with_suspecting_all(runs, capsys, monkeypatch):
    """A selector that suspects every pair is told apart from a good one by the sentence, not by its precision."""
    run = load_run(runs / "info_nce")
    data = load_dataset(run.config.dataset, "test")
    known = (np.arange(len(data.visual_ids))[:, None] + np.arange(len(data.captions))) % 4 > 0

    def pairs(visuals, texts):
        return known[visuals, texts].astype(np.float32)

    told = Truth(lambda v, t: known[v][:, t].astype(np.float32), pairs, complete=True, source="made up")
    monkeypatch.setattr("scripts.command.load_dataset", lambda *a, **k: replace(data, truth=told))
    all_of_them = ["--split", "test", "--selector", "caption_similarity", "--set", "threshold=-1"]
    assert flag.main([str(run.path), *all_of_them, "--out", str(runs / "all.csv")]) == 0
    printed = capsys.readouterr().err
    share, of_all = re.search(
        r"; (\d+)% of the suspected whose truth is known do match, of all (\d+)%", printed
    ).groups()
    assert share == of_all
    assert "does not tell matches from the rest better than suspecting all" in printed


def test_a_run_that_was_distilled_is_weighed_with_the_peers_that_it_names(runs, tmp_path, capsys):
    """And a selector asks those that it is told."""
    own, other = str(runs / "info_nce"), str(runs / "max_of_hinges")
    data = load_run(own).config.dataset
    options = ["--out", str(tmp_path), "--epochs", "1", "--lr", "0.02", *SMALL, "--set", f"runs={own}"]
    assert train_script.main(["--dataset", data, "--loss", "peer_distillation", *options]) == 0
    distilled = load_run(tmp_path / "peer_distillation")
    assert distilled.config.loss_params["runs"] == own
    asked = ["--selector", "guided", "--set", f"runs={other}", "--set", "margin=0.5"]
    capsys.readouterr()
    assert flag.main([str(distilled.path), "--split", "test", *asked]) == 0
    row = rows_of(capsys.readouterr().out)[0]
    split, pair = load_dataset(data, "test"), (row["visual"], row["caption"])
    peers = {name: embed_dataset(load_run(name), split) for name in (own, other)}
    weights = []
    for direction in ("v2t", "t2v"):
        evidence = Evidence(split.captions, peers=[peers[own]])
        seen = Retrieval(
            *embed_dataset(distilled, split), split.visual_group, split.text_group, direction, evidence
        )
        found = hard_negatives_by_weight(seen, "peer_distillation", distilled.loss_values, limit=2000)
        v, t = (found.query, found.candidate)[:: 1 if direction == "v2t" else -1]
        weights += [
            w
            for w, a, b in zip(found.weight, v, t, strict=True)
            if (split.visual_ids[a], split.captions[b]) == pair
        ]
    assert float(row["weight"]) == pytest.approx(max(weights), rel=1e-4)
