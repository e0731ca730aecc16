"""What people say of pairs, used: in every loss, beside every selector, in blocks of scores, and in evaluation."""

import csv
import hashlib
import io
import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from scripts import evaluate, flag
from scripts import train as train_script
from tests import tiny
from tests.oracles import ORACLES
from xmr.checkpoints import load_run
from xmr.core import TrainConfig
from xmr.data import DataFault, load_dataset
from xmr.embedding import embed_dataset
from xmr.losses import LOSSES, symmetric
from xmr.losses.base import without_peers
from xmr.metrics import rank_truth_of_scores
from xmr.store import PairNames, VerdictStore, among, credited, export, judged
from xmr.training import loop, objective
from xmr.training.objective import Objective, State, batch_sides
from xmr.training.task import prepare

SMALL = [f"--set={name}={value}" for name, value in tiny.SMALL.items()]


def verdicts_on(data, answers, judge="Ann"):
    """One person's verdicts: {(visual, text): answer}."""
    names = PairNames(data)
    return [names.verdict(v, t, judge, answer) for (v, t), answer in answers.items()]


def negatives_of(data, count, seed=0):
    """Pairs (visual, text) that are not annotated, of captions that read like no other, chosen by seed."""
    rng, found = np.random.default_rng(seed), {}
    while len(found) < count:
        pair = int(rng.integers(len(data.visual_ids))), int(rng.integers(len(data.captions)))
        alone = data.captions.count(data.captions[pair[1]]) == 1
        if data.visual_group[pair[0]] != data.text_group[pair[1]] and alone:
            found[pair] = None
    return list(found)


@pytest.fixture(scope="module")
def answers():
    """80 pairs of the training split: confirmed, refuted, and unsure ones, in turn."""
    pairs = negatives_of(tiny.dataset("train"), 81)
    return dict(zip(pairs, ["yes", "no", "unsure"] * 27, strict=True))


@pytest.fixture(scope="module")
def file(answers, tmp_path_factory):
    path = tmp_path_factory.mktemp("verdicts") / "verdicts.jsonl"
    export(path, verdicts_on(tiny.dataset("train"), answers))
    return path


def objective_of(file, **changes):
    return Objective(prepare(tiny.config(verdicts=str(file), **changes), tiny.dataset, None), State())


def batch_of(answers, count=24):
    """Captions of a batch that has several of the judged pairs: those that they name and those of their visuals."""
    texts = [text for v, t in answers for text in (t, 2 * v)]
    return np.array(list(dict.fromkeys(texts))[:count])


def sides_of(one, texts, rule=None):
    """A batch as its loss is asked: both sides, and what it is of."""
    visuals = one.task.data["train"].visual_of_text[texts]
    inputs = one.task.inputs["train"]
    states = (
        one.matcher.eval().visual(inputs.visual_batch(visuals)),
        one.matcher.text(inputs.text_batch(texts)),
    )
    sides = batch_sides(*states, visuals, texts)
    pairs, back = one.pairs(rule or one.loss, sides, sides)
    return pairs, back, visuals


# ---- training ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("use", ["positive", "ignore"])
@pytest.mark.parametrize("loss", without_peers())
def test_every_loss_has_confirmed_pairs_as_it_was_told(file, answers, loss, use):
    texts = batch_of(answers, 14)
    one = objective_of(file, loss=loss, verdicts_as=use)
    pairs, back, visuals = sides_of(one, texts)
    assert back is None
    said = [[answers.get((v, t), "") for t in texts.tolist()] for v in visuals.tolist()]
    confirmed = torch.tensor([[word == "yes" for word in line] for line in said])
    annotated = torch.tensor([[v == t // 2 for t in texts.tolist()] for v in visuals.tolist()])
    assert confirmed.sum() >= 3 and not (confirmed & annotated).any()
    assert torch.equal(pairs.positives, annotated | confirmed if use == "positive" else annotated)
    assert torch.equal(pairs.negatives, ~annotated & ~confirmed)

    scores = pairs.scores.detach().double().requires_grad_()
    evidence = {name: getattr(pairs, name) for name in LOSSES[loss].needs}
    evidence = {name: part.detach().double() for name, part in evidence.items()}
    value = symmetric(LOSSES[loss].make, replace(pairs, scores=scores, **evidence), **one.hyper.values())
    if use == "ignore":
        (grad,) = torch.autograd.grad(value, scores)
        assert (grad[confirmed] == 0).all() and (grad != 0).any()
    elif not evidence and loss in ORACLES:
        rows = [[j for j, flag in enumerate(line) if flag] for line in (annotated | confirmed).tolist()]
        columns = [[i for i, flag in enumerate(line) if flag] for line in (annotated | confirmed).T.tolist()]
        hyper = {k: v.item() if isinstance(v, torch.Tensor) else v for k, v in one.hyper.values().items()}
        expected = 0.0
        for matrix, own in ((scores.tolist(), rows), (scores.T.tolist(), columns)):
            others = [[j for j in range(len(texts)) if j not in mine] for mine in own]
            per_query = ORACLES[loss](matrix, own, others, **hyper)
            expected += sum(per_query) / len(per_query) / 2
        assert value.item() == pytest.approx(expected, rel=1e-6)


def test_training_is_changed_by_them_and_by_nothing_else(file, tmp_path):
    plain, positive, ignored = (
        tiny.fit(tiny.config(epochs=1, **changes))[1]
        for changes in ({}, {"verdicts": str(file)}, {"verdicts": str(file), "verdicts_as": "ignore"})
    )
    states = {tiny.state_bytes(trained.matcher) for trained in (plain, positive, ignored)}
    assert len(states) == 3
    # Unsure and refuted pairs change nothing where there is no selector.
    data = tiny.dataset("train")
    doubts = dict(zip(negatives_of(data, 40), ["no", "unsure"] * 20, strict=True))
    export(tmp_path / "doubts.csv", verdicts_on(data, doubts))
    _, doubted = tiny.fit(tiny.config(epochs=1, verdicts=str(tmp_path / "doubts.csv")))
    assert tiny.state_bytes(doubted.matcher) == tiny.state_bytes(plain.matcher)


@pytest.mark.parametrize("suspects", ["ignore", "positive"])
@pytest.mark.parametrize(
    ("selector", "params"), [("caption_similarity", {"threshold": -1.0}), ("top_ranked", {"k": 5})]
)
def test_a_refuted_pair_is_never_suspected(file, answers, selector, params, suspects):
    texts = batch_of(answers)
    settings = {"selector": selector, "selector_params": params, "suspects": suspects}
    guarded, plain = objective_of(file, **settings), objective_of(file, **settings)
    empty = np.zeros((0, 2), np.int64)
    plain.task = replace(plain.task, judged=replace(plain.task.judged, refuted=empty))
    asked, free = sides_of(guarded, texts), sides_of(plain, texts)
    visuals = asked[2].tolist()
    refuted = torch.tensor([[answers.get((v, t)) == "no" for t in texts.tolist()] for v in visuals])
    assert refuted.sum() >= 3
    protected = 0
    for side, before, no in ((asked[0], free[0], refuted), (asked[1], free[1], refuted.T)):
        assert side.negatives[no].all() and not side.positives[no].any()
        assert torch.equal(side.negatives[~no], before.negatives[~no])  # the others are suspected as before
        assert torch.equal(side.positives[~no], before.positives[~no])
        protected += int((~before.negatives[no]).sum())
    assert protected > 0


def test_confirmed_pairs_are_not_asked_of_the_selector(file, answers):
    texts = batch_of(answers)
    one = objective_of(file, selector="caption_similarity", selector_params={"threshold": 1.0})
    pairs, back, visuals = sides_of(one, texts)
    confirmed = among(one.task.judged.confirmed, visuals, texts)
    assert confirmed.any() and pairs.positives[torch.from_numpy(confirmed)].all()
    assert back.positives[torch.from_numpy(confirmed.T)].all()


def test_blocks_of_scores_give_way_where_a_batch_has_a_confirmed_pair(file, answers, monkeypatch):
    calls = []
    chunked = objective.chunked_loss
    monkeypatch.setattr(
        objective, "chunked_loss", lambda *a, **h: calls.append(len(a[1])) or chunked(*a, **h)
    )
    texts = batch_of(answers)
    hit = {t for (v, t), answer in answers.items() if answer == "yes"}
    clear = np.array([t for t in range(120) if t not in hit][:24])  # no caption of it is in a confirmed pair
    values = {}
    for micro in (0, 8):
        one = objective_of(file, micro_batch=micro)
        inputs, links = one.task.inputs["train"], one.task.data["train"].visual_of_text
        for name, batch in (("judged", texts), ("clear", clear)):
            one.matcher.eval()
            states = (
                one.matcher.visual(inputs.visual_batch(links[batch])),
                one.matcher.text(inputs.text_batch(batch)),
            )
            before = len(calls)
            value = one.value(*states, links[batch], batch)
            values[micro, name] = value.item(), len(calls) - before
    assert values[8, "judged"][1] == 0 and values[8, "clear"][1] == 1
    for name in ("judged", "clear"):
        assert values[8, name][0] == pytest.approx(values[0, name][0], rel=1e-5)
    _, trained = tiny.fit(tiny.config(epochs=1, micro_batch=8, verdicts=str(file)))
    assert np.isfinite(trained.history[0]["loss"])


def test_a_run_keeps_what_it_was_trained_with(file, answers, tmp_path):
    tiny.fit(tiny.config(epochs=1, verdicts=str(file)), tmp_path / "run")
    run = load_run(tmp_path / "run")
    assert run.config.verdicts == str(file) and run.config.verdicts_as == "positive"
    assert run.dataset["verdicts"] == {
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "count": 81, "others": 0, "confirmed": 27, "refuted": 27, "unsure": 27,
    }  # fmt: skip
    tiny.fit(tiny.config(epochs=1), tmp_path / "plain")
    assert "verdicts" not in load_run(tmp_path / "plain").dataset


def test_a_training_is_not_resumed_with_other_verdicts(answers, tmp_path):
    path, data = tmp_path / "verdicts.csv", tiny.dataset("train")
    export(path, verdicts_on(data, answers))
    settings = tiny.config(epochs=2, verdicts=str(path))
    running = loop.train(settings, tmp_path / "run", load=tiny.dataset)
    for _ in range(5):
        next(running)
    running.close()
    export(path, verdicts_on(data, dict(list(answers.items())[1:])))
    with pytest.raises(ValueError, match="can't be resumed with another dataset.*verdicts"):
        tiny.fit(settings, tmp_path / "run", resume=True)


def test_the_majority_of_people_decides_and_captions_that_read_alike_are_one():
    # Both captions of each visual read alike, and those of visuals 3, 30 and 57.
    captions = [f"Dog {i // 2 % 27}{'.' * (i % 2)}" for i in range(120)]
    data = tiny.dataset("train", captions=captions)
    people = []
    for judge, answer in (("Ann", "yes"), ("Bo", "yes"), ("Cy", "no")):
        people += verdicts_on(data, {(0, 7): answer}, judge)
    for judge, answer in (("Ann", "yes"), ("Bo", "no")):
        people += verdicts_on(data, {(1, 9): answer}, judge)
    found = judged("f", people, data)
    assert found.confirmed.tolist() == [[0, 6], [0, 7], [0, 60], [0, 61], [0, 114], [0, 115]]
    assert found.unsure.tolist() == [[1, 8], [1, 9], [1, 62], [1, 63], [1, 116], [1, 117]]
    assert len(found.refuted) == 0
    assert found.fitting == 5


def test_verdicts_of_other_data_are_counted_and_told(answers, tmp_path):
    data, other = tiny.dataset("train"), tiny.dataset("test")
    elsewhere = {(0, 5): "yes", (1, 7): "no"}
    mixed = verdicts_on(data, answers) + verdicts_on(other, elsewhere)
    found = judged("f", mixed, data)
    assert (found.fitting, found.others) == (81, {"tiny (test, fingerprint tiny test)": 2})
    export(tmp_path / "mixed.jsonl", mixed)
    with pytest.warns(UserWarning, match=r"27 refuted; of other data, not used: 2 of tiny \(test"):
        _, trained = tiny.fit(tiny.config(epochs=1, verdicts=str(tmp_path / "mixed.jsonl")))
    assert trained.dataset["verdicts"]["others"] == 2
    export(tmp_path / "none.jsonl", verdicts_on(other, elsewhere))
    with pytest.raises(DataFault, match=r"none of its 2 verdicts is of tiny \(train.*it holds tiny \(test"):
        tiny.fit(tiny.config(verdicts=str(tmp_path / "none.jsonl")))
    # The same ids in data of which anything has changed are foreign.
    changed = tiny.dataset("train", fingerprint="tiny train, changed")
    with pytest.raises(DataFault, match="fingerprint tiny train"):
        judged("f", verdicts_on(data, answers), changed)
    strange = replace(mixed[0], visual_id="no such")
    assert judged("f", [strange, *mixed[1:]], data).others["pairs that there are not"] == 1
    with pytest.raises(DataFault, match="none at all"):
        judged("f", [], data)


def test_the_configuration_says_what_is_allowed():
    with pytest.raises(ValueError, match="did you mean 'ignore'"):
        TrainConfig(verdicts_as="ignor")


def test_among_is_what_a_loop_finds():
    rng = np.random.default_rng(3)
    pairs = rng.integers(0, 12, (30, 2))
    for visuals, texts in ((rng.integers(0, 15, 9), rng.permutation(15)[:7]), (np.arange(12), np.arange(12))):
        listed = {(v, t) for v, t in pairs.tolist()}
        expected = [[(v, t) in listed for t in texts.tolist()] for v in visuals.tolist()]
        assert among(pairs, visuals, texts).tolist() == expected
    assert not among(np.zeros((0, 2), np.int64), np.arange(3), np.arange(4)).any()


# ---- evaluation and scripts --------------------------------------------------------------------------------


def recalls_by_loop(scores, positive):
    """{k: share of rows with a positive among the first k}, ties against the row."""
    firsts = []
    for row, own in zip(scores.tolist(), positive.tolist(), strict=True):
        best = max(s for s, p in zip(row, own, strict=True) if p)
        firsts.append(1 + sum(s >= best for s, p in zip(row, own, strict=True) if not p))
    return {k: np.mean([first <= k for first in firsts]) for k in (1, 5, 10)}, np.median(firsts)


def with_confirmed(data, confirmed):
    positive = data.visual_group[:, None] == data.text_group[None, :]
    for v, t in confirmed:
        positive[v, t] = True
    return positive


def test_credit_is_the_formula():
    data, rng = tiny.dataset("test"), np.random.default_rng(5)
    scores = rng.normal(size=(24, 48)).astype(np.float32)
    confirmed = np.array(negatives_of(data, 50, seed=1))
    truth = credited(data, confirmed)
    positive = with_confirmed(data, confirmed)
    every = np.arange(24), np.arange(48)
    np.testing.assert_array_equal(truth.block(*every), positive)
    v, t = np.nonzero(np.ones_like(positive))
    np.testing.assert_array_equal(truth.pairs(v, t), positive[v, t])
    found = evaluate.metrics_of(rank_truth_of_scores(scores, truth), classes=False)
    total = 0.0
    for direction, s, p in (("v2t", scores, positive), ("t2v", scores.T, positive.T)):
        recalls, median = recalls_by_loop(s, p)
        assert found[f"{direction}/median_rank"] == median
        for k, recall in recalls.items():
            assert found[f"{direction}/recall_at_{k}"] == pytest.approx(recall)
            total += 100 * recall
    assert found["rsum"] == pytest.approx(total)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    data = tiny.write_folder(tmp_path_factory.mktemp("data") / "tiny")
    out = tmp_path_factory.mktemp("runs")
    assert train_script.main(command(data, out)) == 0
    return data, out / "info_nce"


def command(data, out, *more):
    return ["--dataset", str(data), "--loss", "info_nce", "--out", str(out), "--epochs", "1", "--batch-size", "32",
            "--lr", "0.02", *SMALL, *more]  # fmt: skip


def test_evaluate_credits_confirmed_pairs_beside_the_plain_metrics(runs, tmp_path, capsys):
    folder, path = runs
    data = load_dataset(str(folder), "test")
    visual, text = embed_dataset(load_run(path), data)
    scores = visual @ text.T
    tops = {(v, int(scores[v].argmax())): "yes" for v in range(24)}
    tops |= {(int(scores[:, t].argmax()), t): "yes" for t in range(0, 48, 2)}
    with VerdictStore(tmp_path / "verdicts.sqlite") as store:
        for verdict in verdicts_on(data, tops):
            store.record(verdict)
        assert evaluate.main([str(path), "--json"]) == 0
        plain = json.loads(capsys.readouterr().out)["runs"][0]
        assert evaluate.main([str(path), "--json", "--verdicts", str(store.path)]) == 0  # while it is open
        printed = capsys.readouterr()
        (result,) = json.loads(printed.out)["runs"]
    assert result["metrics"] == plain["metrics"] and "with_verdicts" not in plain
    assert result["with_verdicts"]["v2t/recall_at_1"] == 100 > plain["metrics"]["v2t/recall_at_1"]
    confirmed = judged("f", verdicts_on(data, tops), data).confirmed
    recalls, median = recalls_by_loop(scores.T, with_confirmed(data, confirmed).T)
    assert result["with_verdicts"]["t2v/recall_at_1"] == pytest.approx(100 * recalls[1])
    assert result["with_verdicts"]["t2v/median_rank"] == median
    assert result["verdicts"]["confirmed"] == len(confirmed)
    assert f"{len(tops)} verdicts fit" in printed.err
    assert evaluate.main([str(path), "--verdicts", str(tmp_path / "verdicts.sqlite")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("with verdicts " in line and " v2t " in line and "100.0" in line for line in lines)
    assert (
        evaluate.main([str(path), "--split", "train", "--verdicts", str(tmp_path / "verdicts.sqlite")]) == 2
    )
    assert "none of its" in capsys.readouterr().err
    assert evaluate.main([str(path), "--verdicts", str(tmp_path / "nothing.csv")]) == 2
    assert "nothing.csv" in capsys.readouterr().err


def test_train_takes_a_file_and_says_what_fits(runs, tmp_path, capsys):
    folder, _ = runs
    data = load_dataset(str(folder), "train")
    pairs = negatives_of(data, 10)
    export(
        tmp_path / "v.csv",
        verdicts_on(data, dict.fromkeys(pairs[:7], "yes") | dict.fromkeys(pairs[7:], "no")),
    )
    more = ["--verdicts", str(tmp_path / "v.csv"), "--verdicts-as", "ignore"]
    assert train_script.main(command(folder, tmp_path, *more)) == 0
    assert "10 verdicts fit, 7 pairs confirmed, 3 refuted" in capsys.readouterr().out
    run = load_run(tmp_path / "info_nce-verdicts-ignore")
    assert run.config.verdicts_as == "ignore" and run.dataset["verdicts"]["confirmed"] == 7
    text = (tmp_path / "v.csv").read_text().replace("yes", "yess", 1)
    (tmp_path / "wrong.csv").write_text(text)
    assert train_script.main(command(folder, tmp_path / "w", "--verdicts", str(tmp_path / "wrong.csv"))) == 2
    assert "wrong.csv, line 2: unknown answer 'yess'; did you mean 'yes'" in capsys.readouterr().err


def test_flag_leaves_out_what_is_judged(runs, tmp_path, capsys):
    folder, path = runs
    data = load_dataset(str(folder), "test")
    asked = [str(path), "--split", "test", "--selector", "word_overlap", "--set", "threshold=0.3"]
    assert flag.main(asked) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) > 6
    place = {name: i for i, name in enumerate(data.visual_ids)}

    def pair(row):
        own = place[row["caption_of"]]
        return place[row["visual"]], next(
            t for t in (2 * own, 2 * own + 1) if data.captions[t] == row["caption"]
        )

    done = dict(zip(map(pair, rows[:6]), ["yes", "no", "unsure"] * 2, strict=True))
    export(tmp_path / "v.jsonl", verdicts_on(data, done))
    assert flag.main([*asked, "--verdicts", str(tmp_path / "v.jsonl")]) == 0
    left = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [pair(row) for row in left] == [pair(row) for row in rows if pair(row) not in done]


def test_no_warning_where_all_fits(file):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        objective_of(file)
