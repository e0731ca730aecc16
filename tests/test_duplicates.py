"""Pairs that nobody can tell from annotated ones: found, left out or learned from in training, credited in evaluation."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts import compare, evaluate
from scripts import train as train_script
from scripts.metrics_table import DUPLICATES as DUPLICATES_CREDITED
from tests import tiny
from xmr.captions import text_key
from xmr.checkpoints import load_run
from xmr.core import DUPLICATES, TrainConfig
from xmr.data import load_dataset
from xmr.data.dataset import Dataset
from xmr.data.duplicates import contents, twins
from xmr.metrics import evaluate as metrics_of_scores
from xmr.training import objective

SMALL = [word for name, value in tiny.SMALL.items() for word in ("--set", f"{name}={value}")]


def made(looks, group, owner, said):
    """A split of visuals that look alike where `looks` are equal."""
    features = np.array(looks, np.float32)[:, None] * np.ones(3, np.float32)
    return Dataset(
        name="made",
        split="test",
        captions=[f"Caption {one}{'.' * (place % 2)}" for place, one in enumerate(said)],
        visual_of_text=np.array(owner, np.int64),
        visual_ids=[f"v{n}" for n in range(len(looks))],
        fingerprint="made",
        visual_group=np.array(group, np.int64),
        visual_features=features,
        contents=contents(features),
    )


def by_loop(data):
    """(V, T) bool: pairs that are not annotated, where a pair that looks and reads the same is."""
    found = np.zeros((len(data.visual_ids), len(data.captions)), bool)
    keys, features = [text_key(one) for one in data.captions], [row.tobytes() for row in data.visual_features]
    for v, look in enumerate(features):
        for t, key in enumerate(keys):
            for a, b in np.argwhere(data.visual_group[:, None] == data.text_group):
                found[v, t] |= features[a] == look and keys[b] == key
    found &= data.visual_group[:, None] != data.text_group
    return found


@st.composite
def splits(draw):
    visuals, texts = draw(st.integers(1, 6)), draw(st.integers(1, 8))

    def numbers(count, most):
        return draw(st.lists(st.integers(0, most), min_size=count, max_size=count))

    return made(numbers(visuals, 3), numbers(visuals, 4), numbers(texts, visuals - 1), numbers(texts, 3))


@settings(max_examples=150, deadline=None)
@given(splits(), st.randoms(use_true_random=False))
def test_twins_are_the_pairs_that_look_and_read_like_annotated_ones(data, random):
    expected, found = by_loop(data), twins(data)
    assert (found is not None) >= expected.any()
    if found is None:
        return
    visuals = np.array([random.randrange(len(data.visual_ids)) for _ in range(5)])
    texts = np.array([random.randrange(len(data.captions)) for _ in range(7)])
    mask = np.zeros((5, 7), bool)
    mask[found.places(visuals, texts)] = True
    assert (mask == expected[np.ix_(visuals, texts)]).all()
    annotated = data.visual_group[:, None] == data.text_group
    truth = found.credited()
    assert (truth.block(visuals, texts) == (annotated | expected)[np.ix_(visuals, texts)]).all()
    assert (truth.pairs(visuals[:5], texts[:5]) == (annotated | expected)[visuals, texts[:5]]).all()


@pytest.mark.parametrize(
    ("looks", "group", "said", "expected"),
    [
        ([1, 2, 3], [0, 1, 2], "abc", []),
        ([1, 2, 3], [0, 1, 2], "aab", [(0, 1), (1, 0)]),  # captions that read alike
        ([1, 1, 3], [0, 1, 2], "abc", [(0, 1), (1, 0)]),  # equal pictures
        ([1, 1, 3], [0, 1, 2], "aba", [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0)]),  # both: 0 and 1 look alike, so 2 reads like either
        ([1, 1, 3], [0, 0, 0], "aba", []),  # one concept: annotated already
    ],
)  # fmt: skip
def test_what_can_not_be_told_apart(looks, group, said, expected):
    data = made(looks, group, range(len(said)), said)
    found = twins(data)
    everything = np.arange(len(looks)), np.arange(len(said))
    places = (
        [] if found is None else sorted(zip(*map(np.ndarray.tolist, found.places(*everything)), strict=True))
    )
    assert places == expected  # fmt: skip


def test_class_labels_decide_for_themselves():
    data = made([1, 1], [0, 1], [0, 1], "aa")
    assert twins(data) is not None
    assert twins(replace(data, classes=["cat", "dog"])) is None


# ---- training ------------------------------------------------------------------------------------------------


def repeated(split):
    """Every caption of the tiny data stands on two visuals."""
    captions = tiny.items(split)[1]
    return tiny.dataset(split, captions=[captions[place // 4 * 4 + place % 2] for place in range(len(captions))])  # fmt: skip


@pytest.mark.parametrize("use", DUPLICATES)
def test_training_does_with_duplicates_what_it_is_told(monkeypatch, use):
    seen = []
    symmetric = objective.symmetric
    monkeypatch.setattr(
        objective, "symmetric", lambda loss, pairs, *a, **h: seen.append(pairs) or symmetric(loss, pairs, *a, **h)
    )  # fmt: skip
    tiny.fit(tiny.config(epochs=1, batch_size=120, duplicates=use), load=repeated)
    (pairs,) = seen
    ignored = ~(pairs.positives | pairs.negatives)
    twins_of_batch = 2 * by_loop(repeated("train")).sum()  # every visual is there with both of its captions
    assert twins_of_batch > 240
    counts = {"negative": (240, 0), "positive": (240 + twins_of_batch, 0), "ignore": (240, twins_of_batch)}
    assert (pairs.positives.sum(), ignored.sum()) == counts[use]


def test_all_scores_are_there_at_once_where_a_large_batch_has_duplicates():
    def losses(**more):
        same = {"matcher_params": tiny.SMALL | {"word_dropout": 0.0}, "epochs": 1, "batch_size": 60}
        steps, _ = tiny.fit(tiny.config(**same, **more), load=repeated)
        return [step.loss for step in steps]

    assert losses(duplicates="ignore", micro_batch=16) == pytest.approx(losses(duplicates="ignore"), abs=1e-5)
    assert losses(duplicates="ignore") != pytest.approx(losses(duplicates="negative"), abs=1e-3)


def test_a_configuration_from_before_has_duplicates_as_negatives():
    former = tiny.config().to_json()
    del former["duplicates"]
    assert TrainConfig.from_json(former).duplicates == "negative"
    with pytest.raises(ValueError, match="did you mean 'ignore'"):
        TrainConfig(duplicates="ignor")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.write_folder(tmp_path_factory.mktemp("data") / "tiny")


def command(data, out, *more):
    return ["--dataset", str(data), "--loss", "info_nce", "--out", str(out), "--epochs", "1", "--batch-size", "32",
            "--lr", "0.02", *SMALL, *more]  # fmt: skip


def test_train_leaves_duplicates_out_and_goes_on_with_runs_as_they_began(data, tmp_path, capsys):
    assert train_script.main(command(data, tmp_path)) == 0
    assert load_run(tmp_path / "info_nce").config.duplicates == "ignore"
    former = command(data, tmp_path / "former")
    assert train_script.main([*former, "--duplicates", "negative"]) == 0
    assert train_script.main([*former, "--resume"]) == 0  # is what it was
    assert "is finished already" in capsys.readouterr().out
    assert train_script.main([*former, "--resume", "--duplicates", "positive"]) == 2
    assert "duplicates negative, not positive" in capsys.readouterr().err


def test_compare_goes_on_as_its_log_began(data, tmp_path, capsys):
    given = ["--dataset", str(data), "--loss", "info_nce", "--trials", "0", "--seeds", "1", "--epochs", "1",
             "--out", str(tmp_path / "c"), *SMALL]  # fmt: skip
    assert compare.main(given) == 0
    log = tmp_path / "c.jsonl"
    header, *rest = [json.loads(line) for line in log.read_text().splitlines()]
    assert header["config"].pop("duplicates") == "ignore"
    log.write_text("".join(json.dumps(line) + "\n" for line in [header, *rest]))  # as from before
    assert compare.main(given) == 0
    assert len(log.read_text().splitlines()) == 1 + len(rest)
    assert compare.main([*given, "--duplicates", "ignore"]) == 2
    assert "duplicates: 'negative' there, 'ignore' now" in capsys.readouterr().err


# ---- evaluation ----------------------------------------------------------------------------------------------


def test_evaluate_credits_duplicates_beside_the_annotation(data, tmp_path, capsys):
    lines = (data / "captions.csv").read_text().splitlines()
    other = tiny.write_folder(tmp_path / "other")
    test = [place for place, line in enumerate(lines) if line.endswith(",test")]
    said = [lines[place].split(",")[1] for place in test]
    for place, line in enumerate(test):  # the captions of each other visual are those of the one before
        image, _, split = lines[line].split(",")
        lines[line] = f"{image},{said[place // 4 * 4 + place % 2]},{split}"
    (other / "captions.csv").write_text("\n".join(lines) + "\n")
    assert train_script.main(command(other, tmp_path)) == 0
    run, split = load_run(tmp_path / "info_nce"), load_dataset(str(other), "test")
    capsys.readouterr()
    assert evaluate.main([str(run.path), "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["runs"]
    visual, text = run.embeddings()
    positives = by_loop(split) | (split.visual_group[:, None] == split.text_group)
    credited = metrics_of_scores(visual @ text.T, positives)
    for key in ("v2t/recall_at_1", "t2v/recall_at_1", "t2v/recall_at_10", "rsum"):
        factor = 1 if key == "rsum" else 100
        assert told["with_duplicates"][key] == pytest.approx(factor * credited[key]), key
    assert told["with_duplicates"]["rsum"] > told["metrics"]["rsum"]
    assert evaluate.main([str(run.path)]) == 0
    printed = capsys.readouterr().out
    assert "with duplicates  v2t" in printed and DUPLICATES_CREDITED in printed


def test_no_line_where_nothing_stands_twice(tmp_path, capsys):
    lines = [f"{n}.png,caption {n},{'train' if n < 20 else 'validation' if n < 30 else 'test'}" for n in range(40)]  # fmt: skip
    (tmp_path / "captions.csv").write_text("\n".join(["image,caption,split", *lines]) + "\n")
    np.savez(
        tmp_path / "f.npz",
        names=[f"{n}.png" for n in range(40)],
        features=np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32),
    )
    assert train_script.main(command(tmp_path, tmp_path / "runs")) == 0
    capsys.readouterr()
    assert evaluate.main([str(tmp_path / "runs" / "info_nce")]) == 0
    assert "duplicates" not in capsys.readouterr().out
