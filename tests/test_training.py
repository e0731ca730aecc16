"""Training: it learns, repeats itself, stops when it has to, and goes on after kill -9 as if nothing had been."""

import itertools
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests import tiny
from xmr.checkpoints import (
    CannotSave,
    RunRefused,
    Trained,
    clear_run,
    files,
    is_started,
    list_runs,
    load_run,
    resume,
)
from xmr.checkpoints.folder import MATCHER, STATE
from xmr.checkpoints.resume import load_state, save_state
from xmr.core import TrainConfig
from xmr.data import DataFault
from xmr.losses import LOSSES
from xmr.metrics import by_chance, evaluate
from xmr.nn import LossParameters
from xmr.registry import UnknownName, needs
from xmr.selection import MEMORY, score_moments
from xmr.training import (
    TrainingDiverged,
    learning_rate,
    loop,
    objective,
    plateau,
    train,
)
from xmr.training.plateau import chance_rsum, score_spread

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_learns(loss, tmp_path):
    asked = tiny.asking(loss, tmp_path / "peer")
    steps, trained = tiny.fit(tiny.config(loss=loss, loss_params=asked, epochs=8))
    metrics = [step.metrics["rsum"] for step in tiny.epochs(steps)]
    assert len(steps) == 8 * 4 == steps[-1].steps
    assert trained.metrics["validation"]["rsum"] == max(metrics)
    # Chance is about 120. After these few steps the slow ones have only left it.
    slow = {"complementary", "polynomial_calibrated", "polynomial_max"}
    assert trained.metrics["test"]["rsum"] > (140 if loss in slow else 250)
    assert [step.best for step in tiny.epochs(steps)] == [
        m > max(metrics[:i], default=0) for i, m in enumerate(metrics)
    ]
    first, last = (np.mean([s.loss for s in steps if s.epoch == epoch]) for epoch in (1, 8))
    assert last < first


@pytest.mark.parametrize("tower", ["features", "words_conv", "words_gru"])
def test_every_text_tower_learns(tower):
    settings = tiny.config(matcher_params=tiny.SMALL | {"text": tower}, epochs=8)
    _, trained = tiny.fit(settings, load=tiny.with_text_features)
    assert trained.metrics["test"]["rsum"] > 300
    assert (trained.vocabulary is None) == (tower == "features")


def test_the_seed_decides_and_the_callers_generator_does_not():
    torch.manual_seed(1)
    _, one = tiny.fit(tiny.config(epochs=1))
    torch.manual_seed(2)
    before = torch.get_rng_state()
    running = train(tiny.config(epochs=1), load=tiny.dataset)
    for _ in running:
        assert torch.equal(torch.get_rng_state(), before)
        before = (torch.rand(3), torch.get_rng_state())[1]
        np.random.rand(3)
    _, two = tiny.fit(tiny.config(epochs=1))
    _, other = tiny.fit(tiny.config(epochs=1, seed=1))
    assert tiny.state_bytes(one.matcher) == tiny.state_bytes(two.matcher) != tiny.state_bytes(other.matcher)


def test_learning_rate_rises_then_falls_to_zero():
    rates = [learning_rate(step, 100, 2.0, 10) for step in range(100)]
    assert rates[0] == pytest.approx(0.2) and rates[9] == rates[10] == 2.0
    assert all(a >= b for a, b in itertools.pairwise(rates[10:])) and 0 < rates[-1] < 0.01
    assert learning_rate(0, 5, 2.0, 1000) == 2.0  # a short run doesn't spend itself on warming up


def test_two_captions_of_one_visual_and_duplicates_are_no_negatives(monkeypatch):
    seen = []
    symmetric = objective.symmetric
    monkeypatch.setattr(
        objective,
        "symmetric",
        lambda loss, pairs, back, **h: seen.append(pairs) or symmetric(loss, pairs, back, **h),
    )
    groups = np.arange(tiny.SIZES["train"]) // 2  # each visual has a duplicate
    load = {
        s: tiny.dataset(s, **({"visual_group": groups} if s == "train" else {}))
        for s in ("train", "validation", "test")
    }
    tiny.fit(tiny.config(epochs=1, batch_size=120), load=load.__getitem__)
    (pairs,) = seen
    assert pairs.positives.sum(1).tolist() == [4] * 120
    assert not (pairs.positives & pairs.negatives).any()


def recorded(monkeypatch):
    """Every pair of sides that the loss was asked about, and the loss."""
    seen = []
    symmetric = objective.symmetric

    def record(loss, pairs, back=None, **hyper):
        seen.append((loss.__name__, pairs, back))
        return symmetric(loss, pairs, back, **hyper)

    monkeypatch.setattr(objective, "symmetric", record)
    return seen


def test_a_selector_takes_suspects_out(monkeypatch):
    seen = recorded(monkeypatch)
    for threshold in (0.99, -1.0):
        selector = {"selector": "caption_similarity", "selector_params": {"threshold": threshold}}
        tiny.fit(tiny.config(epochs=1, batch_size=120, **selector))
    (_, some, back), (_, everything, _) = seen
    ignored = ~(some.positives | some.negatives)
    texts = some.text_scores > 0.98
    assert ignored.any() and (texts | ~ignored).all()
    assert torch.equal(back.negatives, some.negatives.T)  # looks at both sides alike
    assert not everything.negatives.any()
    assert some.visual_scores is None  # nothing is made that nobody needs


def test_a_selector_that_looks_at_rows_judges_each_direction_for_itself(monkeypatch):
    seen = recorded(monkeypatch)
    tiny.fit(tiny.config(epochs=1, selector="top_ranked", selector_params={"k": 2}))
    for _, pairs, back in seen:
        for side in (pairs, back):
            ignored = ~side.positives & ~side.negatives
            assert (ignored.sum(1) == 2).all()
    assert not torch.equal(seen[0][1].negatives, seen[0][2].negatives.T)


def test_suspects_may_be_taken_as_positives_or_weighed_down(monkeypatch):
    seen = recorded(monkeypatch)
    selector = {"selector": "word_overlap", "selector_params": {"threshold": 0.4}}
    tiny.fit(tiny.config(epochs=1, batch_size=120, suspects="positive", **selector))
    tiny.fit(tiny.config(epochs=1, batch_size=120, suspects="weigh", **selector))
    (_, taken, _), (_, weighed, _) = seen
    assert (taken.positives | taken.negatives).all()
    assert taken.positives.sum() > weighed.positives.sum()
    assert (weighed.positives | weighed.negatives).all()
    with pytest.raises(UnknownName, match="did you mean 'ignore'"):
        tiny.fit(tiny.config(suspects="ignor", **selector))


def test_moments_of_scores_run_through_training(monkeypatch):
    seen = recorded(monkeypatch)
    tiny.fit(tiny.config(epochs=4, selector="posterior"))
    held = None
    for _, pairs, _ in seen:
        batch = score_moments(replace(pairs, negatives=~pairs.positives))  # before suspects were left out
        if batch is not None:
            mixed = [MEMORY * a + (1 - MEMORY) * b for a, b in zip(held or batch, batch, strict=True)]
            held = batch if held is None else mixed
        assert pairs.moments == (held if held is None else pytest.approx(tuple(held)))
    assert held is not None


def test_agreement_asks_other_runs(tmp_path, monkeypatch):
    for seed in (1, 2):
        tiny.fit(tiny.config(epochs=1, seed=seed), tmp_path / str(seed))
    seen = recorded(monkeypatch)
    runs = f"{tmp_path / '1'}, {tmp_path / '2'}"
    tiny.fit(tiny.config(epochs=1, selector="agreement", selector_params={"runs": runs}))
    _, pairs, _ = seen[0]
    assert pairs.peer_scores.shape == (2, *pairs.scores.shape)
    seen.clear()
    distilled = {"loss": "peer_distillation", "loss_params": {"runs": runs}}
    tiny.fit(tiny.config(epochs=1, micro_batch=8, selector="agreement", **distilled))  # both ask the same
    assert seen[0][1].peer_scores.shape == (2, *seen[0][1].scores.shape)
    for wrong in ({"selector": "agreement"}, {"loss": "peer_distillation"}):
        with pytest.raises(ValueError, match="runs=DIR"):
            tiny.fit(tiny.config(**wrong))
    with pytest.raises(ValueError, match="peer_distillation and guided ask the same models"):
        tiny.fit(tiny.config(selector="guided", selector_params={"runs": str(tmp_path / "1")}, **distilled))


def test_the_first_epochs_may_have_another_loss(monkeypatch):
    seen = recorded(monkeypatch)
    settings = tiny.config(epochs=3, loss="max_of_hinges", first_loss="sum_of_hinges", first_epochs=1)
    tiny.fit(settings)
    assert [name for name, _, _ in seen] == ["sum_of_hinges"] * 4 + ["max_of_hinges"] * 8
    with pytest.raises(UnknownName, match="did you mean 'sum_of_hinges'"):
        tiny.fit(tiny.config(first_loss="sum_of_hinge", first_epochs=1))
    with pytest.raises(ValueError, match="go together"):
        tiny.config(first_epochs=2)


def test_history_tells_how_many_pairs_a_selector_suspects(monkeypatch):
    seen = recorded(monkeypatch)
    _, trained = tiny.fit(tiny.config(epochs=2, selector="top_ranked", selector_params={"k": 2}))
    expected = []
    for part in (seen[:4], seen[4:]):  # 4 batches an epoch
        negatives = sum(int((~pairs.positives).sum()) for _, pairs, _ in part)
        either = sum(
            int((~pairs.positives & ~(pairs.negatives & back.negatives.T)).sum()) for _, pairs, back in part
        )
        expected.append((either, negatives))
    assert [(line["suspected"], line["negatives"]) for line in trained.history] == expected
    assert 0 < expected[0][0] < expected[0][1]
    _, plain = tiny.fit(tiny.config(epochs=1))
    assert "suspected" not in plain.history[0]


# ---- a training that went nowhere --------------------------------------------------------------------------


def test_a_training_that_moves_nothing_is_told_in_run_json_too(tmp_path):
    for epochs in (1, 3):
        _, trained = tiny.fit(tiny.config(lr=1e-12, epochs=epochs), tmp_path / str(epochs))
        run = load_run(tmp_path / str(epochs))
        assert run.training["plateau"] == plateau(run) == plateau(trained)
        assert "gained nothing" in plateau(run) and "--lr 1e-12" in plateau(run)
    _, learned = tiny.fit(tiny.config(epochs=8), tmp_path / "learned")
    assert plateau(learned) == plateau(load_run(tmp_path / "learned")) == ""
    assert learned.training["plateau"] is None
    assert learned.metrics["validation"]["rsum"] > learned.training["untrained"]


def left(loss="max_of_hinges", last=0.203, rsum=250.0, before=30.0, best=None, std=0.001, **changes):
    """What a training leaves behind: 100 visuals with 300 captions, on which chance is an rsum of 31.6."""
    config = tiny.config(loss=loss, **changes)
    training = {"untrained": before, "scores": {"mean": 0.004, "std": std}}
    metrics = {"test": {"rsum": rsum}, "validation": {"rsum": rsum if best is None else best}}
    sizes = {"sizes": {"test": {"visuals": 100, "texts": 300}}}
    history = [{"epoch": 1, "loss": 0.35}, {"epoch": 2, "loss": last}]
    nothing = np.zeros((1, 1), np.float32)
    return Trained(config, None, {}, None, sizes, {}, metrics, history, (nothing, nothing), training)


@pytest.mark.parametrize(
    ("run", "told"),
    [
        (left(), "plateau"),  # ranks well, by differences of a thousandth
        (left(rsum=33.0), "plateau"),
        (replace(left(rsum=33.0), training={}), "plateau"),  # as runs were before more was kept
        (replace(left(), training={}), ""),
        (left(loss="gravitation", last=0.3), ""),
        (left(loss="soft_margin", last=0.0695), "plateau"),  # log 2 / 10
        (left(loss="weighting", last=0.63), ""),
        (left(std=0.2), ""),  # at its margin on hard data, with scores apart
        (left(last=0.15), ""),
        (left(loss="info_nce", last=4.85), ""),
        (left(loss="info_nce", last=4.85, rsum=36.0), "nothing"),
        (left(loss="info_nce", last=4.85, rsum=60.0), ""),
        (left(loss="info_nce", last=4.85, best=30.5), "nothing"),
        (left(loss="info_nce", rsum=600.0, before=600.0), ""),  # nothing to gain
        (left(loss="info_nce", last=4.85, before=None), ""),
        (left(loss="info_nce", last=4.85, before="much"), ""),
        (left(loss="info_nce", last=float("nan")), ""),
    ],
)
def test_what_went_nowhere_is_told_and_what_learned_is_not(run, told):
    found = plateau(run)
    assert ("stands on its plateau" in found) == (told == "plateau"), found
    assert ("learned nothing" in found) == (told == "nothing"), found
    assert bool(found) == bool(told)
    assert ("--first sum_of_hinges:1" in found) == (told == "plateau")


def test_a_loss_of_ones_own_is_judged_whatever_it_needs():
    @LOSSES.register
    @needs("peer_scores")
    def of_peers(pairs):
        """What peers say."""
        return pairs.evidence("peer_scores").mean(0).sum(1)

    try:
        assert plateau(left(loss="of_peers")) == ""
        assert "learned nothing" in plateau(left(loss="of_peers", rsum=20.0))
    finally:
        del LOSSES["of_peers"]


def test_the_cure_is_another_where_it_was_taken_already():
    assert plateau(left(first_loss="sum_of_hinges", first_epochs=1)).endswith(
        "Try more than 1 first epochs with sum_of_hinges, or another --lr."
    )


def test_chance_is_what_random_scores_give():
    rng = np.random.default_rng(0)
    visuals, texts = 40, 120
    owner = np.arange(texts) % visuals
    found = [
        evaluate(
            torch.from_numpy(rng.random((visuals, texts))),
            torch.from_numpy(np.arange(visuals)[:, None] == owner),
        )
        for _ in range(60)
    ]
    sums = [one["rsum"] for one in found]
    chance, spread = chance_rsum(visuals, texts)
    assert chance == pytest.approx(np.mean(sums), abs=4 * np.std(sums) / np.sqrt(60) + 1)
    assert np.std(sums) < spread < 4 * np.std(sums)  # on the careful side
    assert chance_rsum(3, 3)[0] <= 600


def test_chance_is_one_figure_where_texts_match_several_visuals():
    """As the scripts tell it beside the result: of sizes alone it would be lower."""

    def pairs_of_visuals(split):
        data = tiny.dataset(split)
        return replace(data, visual_group=np.arange(len(data.visual_ids)) // 2)

    test = pairs_of_visuals("test")
    chance = by_chance(test.visual_group, test.text_group)["rsum"]
    _, trained = tiny.fit(tiny.config(lr=1e-12), load=pairs_of_visuals)
    assert trained.training["chance"] == pytest.approx(chance)
    assert chance > chance_rsum(len(test.visual_ids), len(test.captions))[0] + 10
    stuck = replace(trained, metrics=trained.metrics | {"test": {"rsum": chance}})
    assert f"can't be told from chance ({chance:.1f} ±" in plateau(stuck)


def test_the_spread_of_scores_needs_no_matrix():
    rng = np.random.default_rng(1)
    visual, text = rng.normal(size=(7, 5)), rng.normal(size=(9, 5))
    scores = visual @ text.T
    expected = {"mean": pytest.approx(scores.mean()), "std": pytest.approx(scores.std())}
    assert score_spread(visual, text) == expected == score_spread(visual, text, scores)


def test_weights_that_are_not_finite_stop_the_training_before_they_are_kept(tmp_path, monkeypatch):
    original = loop._Trainer.update

    def last_step_breaks(self, texts):
        found = original(self, texts)
        if self.state.step == 8:  # the last of the second epoch: no loss is asked after it
            next(iter(self.parameters.values())).data.fill_(float("inf"))
        return found

    monkeypatch.setattr(loop._Trainer, "update", last_step_breaks)
    with pytest.raises(TrainingDiverged, match=r"epoch 1\) is kept"):
        tiny.fit(tiny.config(epochs=2), tmp_path / "run")
    assert load_run(tmp_path / "run").training["epochs"] == 1


# ---- learned hyper-parameters of losses --------------------------------------------------------------------


def test_learned_parameters_start_as_given_and_stay_in_their_range():
    entry = LOSSES["siglip"]
    hyper = LossParameters(entry, entry.parse({"scale": 5, "bias": -3}))
    assert hyper.learned() == pytest.approx({"scale": 5, "bias": -3})
    with torch.no_grad():
        hyper.raw["scale"] += 100
        hyper.raw["bias"] -= 100
    hyper.clamp_()
    assert hyper.learned() == {"scale": 100, "bias": -20}
    assert hyper.values()["scale"].item() == pytest.approx(100)
    assert {key: entry.param(key).parse(value) for key, value in hyper.learned().items()} == hyper.learned()


def test_learned_parameters_are_trained_and_kept(tmp_path):
    _, trained = tiny.fit(tiny.config(loss="siglip", loss_params={"scale": 5}), tmp_path / "run")
    assert set(trained.learned) == {"scale", "bias"} and trained.learned["scale"] != 5
    assert load_run(tmp_path / "run").loss_values == trained.loss_values
    _, fixed = tiny.fit(tiny.config(loss="max_of_hinges", loss_params={"margin": 0.3}))
    assert fixed.learned == {} and fixed.loss_values == {"margin": 0.3}


# ---- what stops a training ---------------------------------------------------------------------------------


def breaking(monkeypatch, at, how):
    """info_nce whose value or gradient breaks at a step."""
    calls = iter(range(1, 1000))
    symmetric = objective.symmetric

    def broken(loss, pairs, back, **hyper):
        value = symmetric(loss, pairs, back, **hyper)
        return how(value, pairs.scores) if next(calls) == at else value

    monkeypatch.setattr(objective, "symmetric", broken)


@pytest.mark.parametrize(
    "how",
    [
        lambda value, scores: value * float("nan"),
        lambda value, scores: value + float("inf"),
        lambda value, scores: value + torch.sqrt(scores - scores).sum(),  # zero with an infinite gradient
    ],
    ids=["nan", "inf", "gradient"],
)
def test_a_loss_that_breaks_stops_and_the_best_checkpoint_is_kept(tmp_path, monkeypatch, how):
    folder = tmp_path / "run"
    breaking(monkeypatch, 10, how)  # in the third epoch
    with pytest.raises(TrainingDiverged) as caught:
        tiny.fit(tiny.config(epochs=5), folder)
    message = str(caught.value)
    assert "info_nce" in message and "step 10" in message and "lr" in message and str(folder) in message
    run = load_run(folder)
    assert caught.value.trained.metrics == run.metrics
    assert run.training["diverged"]["step"] == 10 and run.training["epochs"] == 2
    assert run.training["best_epoch"] in (1, 2) and run.metrics["test"]["rsum"] > 0
    assert not (folder / STATE).exists()


def test_a_loss_that_breaks_in_the_first_epoch_leaves_nothing(tmp_path, monkeypatch):
    breaking(monkeypatch, 2, lambda value, scores: value * float("nan"))
    with pytest.raises(TrainingDiverged, match="no checkpoint to keep"):
        tiny.fit(tiny.config(), tmp_path / "run")
    assert list_runs(tmp_path)[0] == [] and not is_started(tmp_path / "run")


def test_patience_stops(monkeypatch):
    ranks = iter([5.0, 10.0, 20.0, 15.0, 20.0, 30.0])  # the first before any step
    original = loop.validate
    monkeypatch.setattr(loop, "validate", lambda *a: original(*a) | {"rsum": next(ranks, 0.0)})
    steps, trained = tiny.fit(tiny.config(epochs=5, patience=2))
    assert [step.epoch for step in tiny.epochs(steps)] == [1, 2, 3, 4]
    assert trained.training["best_epoch"] == 2 and trained.metrics["validation"]["rsum"] == 20


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"loss": "info_nse"}, UnknownName, "info_nce"),
        ({"matcher": "liner"}, UnknownName, "linear"),
        ({"selector": "caption_similarty"}, UnknownName, "caption_similarity"),
        ({"loss_params": {"temprature": 1}}, TypeError, "temperature"),
        ({"loss_params": {"temperature": 7}}, ValueError, "outside"),
        ({"matcher_params": {"hiden": 1}}, TypeError, "hidden"),
        ({"selector": "caption_similarity", "selector_params": {"t": 1}}, TypeError, "threshold"),
    ],
)
def test_a_wrong_configuration_is_told_before_data_is_loaded(changes, error, message):
    def load(split):
        raise AssertionError("loaded")

    with pytest.raises(error, match=message):
        tiny.fit(tiny.config(**changes), load=load)


def test_data_that_no_encoder_can_read_is_told():
    with pytest.raises(DataFault, match="no pictures"):
        tiny.fit(tiny.config(encoder="ViT-B-32/openai"))

    def pictures(split):
        return tiny.dataset(split, visual_features=None, visuals=[None] * tiny.SIZES[split])

    with pytest.raises(DataFault, match="--encoder"):
        tiny.fit(tiny.config(), load=pictures)


def test_a_folder_that_cannot_be_written_is_told_before_the_first_step(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CannotSave, match="could not be written"):
        next(train(tiny.config(), tmp_path / "file" / "run", load=tiny.dataset))


@pytest.mark.parametrize(
    ("name", "changes", "told"),
    [
        ("go\u202eod", {}, "the name of the folder holds the character U\\+202E"),
        ("run", {"name": "caf\udce9"}, "the configuration holds the character U\\+DCE9"),
        ("run", {"name": "two\nlines"}, "dataset.name is not as xmr writes it"),
    ],
)
def test_what_could_not_be_read_again_is_told_before_the_first_step(tmp_path, name, changes, told):
    with pytest.raises(RunRefused, match=told):
        next(train(tiny.config(), tmp_path / name, load=lambda split: tiny.dataset(split, **changes)))
    assert not list(tmp_path.iterdir())


def test_a_command_is_kept_as_it_can_be_shown(tmp_path):
    tiny.fit(tiny.config(epochs=1), tmp_path / "run", command="train.py --dataset caf\udce9")
    assert load_run(tmp_path / "run").training["command"] == r"train.py --dataset caf\udce9"


def test_a_run_is_not_trained_over(tmp_path):
    tiny.fit(tiny.config(epochs=1), tmp_path / "run")
    for again in (False, True):
        with pytest.raises(FileExistsError, match="holds a run"):
            tiny.fit(tiny.config(epochs=1), tmp_path / "run", resume=again)


# ---- interruption ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "siglip"},
        {"loss": "max_of_hinges", "first_loss": "sum_of_hinges", "first_epochs": 1, "micro_batch": 10},
        {"loss": "gravitation", "selector": "posterior", "suspects": "weigh"},
        {"batches": "hard", "ema": 0.9, "queue": 50},
    ],
    ids=["learned", "another loss first, in micro-batches", "running moments", "hard batches, a queue"],
)
@pytest.mark.parametrize("every", [0.0, 60.0], ids=["within_epochs", "at_epochs"])
def test_resuming_changes_no_bit(tmp_path, monkeypatch, every, changes):
    monkeypatch.setattr(loop, "SAVE_SECONDS", every)
    settings = tiny.config(**changes)
    tiny.fit(settings, tmp_path / "whole")
    for at in (2, 4, 6, 11):
        folder = tmp_path / f"at {at}"
        tiny.stopped(settings, folder, at)
        steps, _ = tiny.fit(settings, folder, resume=True)
        assert steps[0].step == (at if every == 0 else at // 4 * 4) + 1
        for name in (MATCHER, "embeddings.safetensors"):
            assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
        timeless = [
            [{**line, "seconds": 0} for line in load_run(path).history]
            for path in (folder, tmp_path / "whole")
        ]
        assert timeless[0] == timeless[1]


@pytest.fixture
def small_files(monkeypatch):
    """No file of tensors is larger than this, and a state takes several."""
    monkeypatch.setattr(resume, "PART", 4_000)
    monkeypatch.setattr(files, "MAX_FILE", 20_000)
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)


def parts_in(folder):
    return sorted(folder.glob(resume.PARTS))


def test_a_state_that_no_file_has_room_for_is_resumed_from_several(tmp_path, small_files):
    settings, folder = tiny.config(loss="siglip", queue=50), tmp_path / "run"
    tiny.fit(settings, tmp_path / "whole")
    tiny.stopped(settings, folder, 5)
    parts = parts_in(folder)
    assert len(parts) > 3 and sum(path.stat().st_size for path in parts) > files.MAX_FILE
    for path in (
        folder / f"resume-{'0' * 64}.safetensors",
        folder / f".{parts[0].name}.1.2.tmp",
        folder / "resume-mine.safetensors",
    ):
        path.write_bytes(b"half")  # what a kill within a save leaves, and another's
    steps, _ = tiny.fit(settings, folder, resume=True)
    assert steps[0].step == 6
    for name in (MATCHER, "embeddings.safetensors"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert [path.name for path in folder.iterdir() if "resume" in path.name] == ["resume-mine.safetensors"]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.unlink(), "resume-[0-9a-f]+.safetensors is missing"),
        (
            lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x"),
            "resume-[0-9a-f]+.safetensors was altered",
        ),
        (lambda path: [path.unlink(), path.symlink_to("/etc/passwd")], "leads out of its folder"),
    ],
)
def test_a_state_of_several_files_is_whole_or_refused(tmp_path, small_files, damage, reason):
    folder = tmp_path / "run"
    tiny.stopped(tiny.config(), folder, 5)
    damage(parts_in(folder)[1])
    with pytest.raises(RunRefused, match=f"can't be resumed: .*{reason}.*--overwrite"):
        tiny.fit(tiny.config(), folder, resume=True)
    assert parts_in(folder), "nothing is lost"
    running = train(tiny.config(), folder, overwrite=True, load=tiny.dataset)
    next(running)
    running.close()
    assert load_state(folder)[1]["step"] == 1
    clear_run(folder)
    assert not list(folder.iterdir())


@pytest.mark.parametrize("parts", ["abc", ["../../etc/passwd"], [7], {"0" * 64: 1}, None])
def test_files_of_a_state_are_called_by_their_sum_alone(tmp_path, monkeypatch, small_files, parts):
    folder = tmp_path / "run"
    tiny.stopped(tiny.config(), folder, 1)
    _, about = load_state(folder)
    monkeypatch.setattr(resume, "PART", 1 << 30)
    save_state(folder, {}, about | {"parts": parts})
    with pytest.raises(RunRefused, match="further files"):
        load_state(folder)


def test_resuming_without_a_state_begins(tmp_path):
    steps, _ = tiny.fit(tiny.config(epochs=1), tmp_path / "run", resume=True)
    assert steps[0].step == 1


def test_a_state_of_another_training_is_refused(tmp_path):
    tiny.stopped(tiny.config(), tmp_path / "run", 5)
    with pytest.raises(ValueError, match=r"another configuration \(lr: 0.02 there, 0.5 now\)"):
        tiny.fit(tiny.config(lr=0.5), tmp_path / "run", resume=True)
    with pytest.raises(ValueError, match="another dataset"):
        other = {"load": lambda split: replace(tiny.dataset(split), fingerprint="other")}
        tiny.fit(tiny.config(), tmp_path / "run", resume=True, **other)
    with pytest.raises(RunRefused, match="not finished"):
        load_run(tmp_path / "run")


@pytest.mark.parametrize(("word", "resumes"), [("red", True), ("re\u0301d", False)])
def test_a_state_from_before_is_resumed_where_captions_have_the_same_words(tmp_path, word, resumes):
    def load(split):
        data = tiny.dataset(split)
        return replace(data, captions=[caption.replace("red", word) for caption in data.captions])

    running = train(tiny.config(), tmp_path / "run", load=load)
    for _ in range(5):
        next(running)
    running.close()
    tensors, about = load_state(tmp_path / "run")
    assert about.pop("words_of") == 2
    save_state(tmp_path / "run", tensors, about)
    if resumes:
        assert tiny.fit(tiny.config(), tmp_path / "run", resume=True, load=load)[0][0].step > 1
    else:
        with pytest.raises(ValueError, match="split into words otherwise; --overwrite"):
            tiny.fit(tiny.config(), tmp_path / "run", resume=True, load=load)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors, about: about.clear(),
        lambda tensors, about: about.pop("best_learned"),
        lambda tensors, about: about.update(configuration=None),
        lambda tensors, about: about.update(unheard_of=1),
        lambda tensors, about: tensors.clear(),
        lambda tensors, about: tensors.update({"weights.unheard_of": torch.zeros(1)}),
    ],
    ids=["nothing", "no parameter", "no configuration", "a further part", "no tensors", "a further tensor"],
)
def test_a_whole_file_that_is_no_state_is_refused(tmp_path, change):
    tiny.stopped(tiny.config(), tmp_path / "run", 5)
    tensors, about = load_state(tmp_path / "run")
    change(tensors, about)
    save_state(tmp_path / "run", tensors, {"history": []} | about)
    with pytest.raises(ValueError, match="can't be resumed.*--overwrite"):
        tiny.fit(tiny.config(), tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[:-100], lambda b: b"\xff" * 8 + b[8:], lambda b: b"", lambda b: b[:-1] + bytes([b[-1] ^ 1])],
)
def test_a_broken_state_is_refused(tmp_path, damage):
    tiny.stopped(tiny.config(), tmp_path / "run", 5)
    path = tmp_path / "run" / STATE
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RunRefused, match="overwrite"):
        tiny.fit(tiny.config(), tmp_path / "run", resume=True)


WORKER = """
import sys, time
import torch
torch.set_num_threads(1)
from tests import tiny
from xmr.training import loop, train
loop.SAVE_SECONDS = 0.0
slow, folder = sys.argv[1] == "slow", sys.argv[2]
for step in train(tiny.config(loss="siglip"), folder, resume=True, load=tiny.dataset):
    print(step.step, flush=True)
    time.sleep(0.05 * slow)
"""


def worker(how, folder):
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, how, str(folder)], cwd=ROOT, text=True, stdout=subprocess.PIPE
    )


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_kill_9_and_resume_gives_the_same_bytes(tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        tiny.fit(tiny.config(loss="siglip"), tmp_path / "whole")
    finally:
        torch.set_num_threads(threads)
    killed = worker("slow", tmp_path / "killed")
    while int(killed.stdout.readline()) < 5:
        pass
    time.sleep(0.02)  # anywhere, also in the middle of a save
    killed.send_signal(signal.SIGKILL)
    killed.stdout.read()
    assert killed.wait() == -signal.SIGKILL
    for name in (
        f".{STATE}.1.2.tmp",
        f".{STATE}.tmp",
        ".mine.tmp",
    ):  # what a kill within a save leaves, and another's
        (tmp_path / "killed" / name).write_bytes(b"half")
    assert not (tmp_path / "killed" / MATCHER).exists()
    resumed = worker("fast", tmp_path / "killed")
    seen = [int(line) for line in resumed.stdout]
    assert resumed.wait() == 0 and 4 < seen[0] < 12 and seen[-1] == 12
    for name in (MATCHER, "embeddings.safetensors"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert load_run(tmp_path / "killed").metrics == load_run(tmp_path / "whole").metrics
    assert [path.name for path in (tmp_path / "killed").glob(".*")] == [".mine.tmp"]


def test_train_config_is_what_the_run_keeps(tmp_path):
    _, trained = tiny.fit(tiny.config(epochs=1), tmp_path / "run", command="python it")
    run = load_run(tmp_path / "run")
    assert run.config == trained.config == TrainConfig.from_json(run.config.to_json())
    assert run.training["command"] == "python it" and run.training["steps"] == 4


def test_some_visuals_are_learned_from_and_no_others(monkeypatch):
    seen = set()
    original = loop._Trainer.update

    def watched(self, texts):
        part = self.task.data["train"]
        seen.update((part.visual_ids[part.visual_of_text[t]], part.captions[t]) for t in texts)
        return original(self, texts)

    monkeypatch.setattr(loop._Trainer, "update", watched)
    steps, trained = tiny.fit(tiny.config(train_visuals=20, epochs=2))
    data = tiny.dataset("train")
    visuals = {name for name, _ in seen}
    pairs = {(data.visual_ids[v], data.captions[t]) for t, v in enumerate(data.visual_of_text)}
    assert len(visuals) == 20 and seen == {pair for pair in pairs if pair[0] in visuals}
    assert len(steps) == 2 * 2  # 40 captions in batches of 32
    features = data.visual_features[[data.visual_ids.index(name) for name in sorted(visuals)]]
    np.testing.assert_allclose(trained.matcher.standardise_visual.mean, features.mean(0), atol=1e-5)
    assert trained.dataset["learned_from"] == {"visuals": 20, "texts": 40}
    assert trained.dataset["sizes"]["train"] == {"visuals": 60, "texts": 120}  # the split is what it was
    assert trained.dataset["fingerprints"]["train"] == "tiny train"
    seen.clear()
    tiny.fit(tiny.config(train_visuals=20, epochs=1, seed=1))
    assert {name for name, _ in seen} != visuals


def test_of_a_subset_nothing_else_is_encoded(monkeypatch):
    """Neither the pictures nor the captions that are not learned from."""
    asked = {}

    def encoded(data, encoder, kind, progress):
        asked[data.split] = (len(data.visual_ids), len(data.captions))
        some = tiny.with_text_features(data.split)
        rows = [some.visual_ids.index(name) for name in data.visual_ids]
        texts = np.flatnonzero(np.isin(some.visual_of_text, rows))
        return SimpleNamespace(
            visual=some.visual_features[rows], text=some.text_features[texts], encoder_hash="h"
        )

    monkeypatch.setattr("xmr.encoders.features", encoded)
    monkeypatch.setattr("xmr.training.task.Task.texts_read", {})  # it would ask the encoder

    def pictured(split):
        return replace(tiny.dataset(split), visual_features=None, visuals=[None] * tiny.SIZES[split])

    small = {"embed_dim": 16}
    settings = tiny.config(train_visuals=20, epochs=1, encoder="some", matcher_params=small)
    tiny.fit(settings, load=pictured)
    assert asked == {"train": (20, 40), "validation": (30, 60), "test": (24, 48)}
