"""Snapshots of a training: what is kept, and that it is what the training was at those moments."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import tiny
from xmr.checkpoints import RunRefused, list_runs, load_run
from xmr.checkpoints.folder import RUN, SNAPSHOTS
from xmr.checkpoints.snapshots import MOST
from xmr.checksums import digest
from xmr.embedding import embed
from xmr.scoring import read
from xmr.training import loop
from xmr.training.snapshots import MOMENTS, moments, sample_of


@pytest.mark.parametrize("steps", [1, 2, 5, 12, 13, 30, 784, 1_000_000])
def test_moments_begin_before_the_first_step_and_grow_apart(steps):
    found = moments(steps)
    assert found[:2] == [0, 1] and found[-1] == steps and found == sorted({*found})
    assert len(found) == min(MOMENTS, steps + 1)
    gaps = np.diff(found)
    assert (
        np.diff(gaps[:-1]) >= -1
    ).all()  # but for rounding each is as far from the next as the one before, or farther
    assert steps < 100 or gaps[-1] > 5 * gaps[0]


def test_a_sample_is_the_same_for_all_runs_and_as_large_as_fits():
    data = tiny.dataset("test")
    visuals, texts = sample_of(data, 16, scored=False)
    assert len(visuals) == 24 and sorted(data.visual_of_text[texts].tolist()) == sorted(
        [*range(24), *range(24)]
    )
    wide_visuals, wide_texts = sample_of(data, 4096, scored=False)
    assert 2 <= len(wide_visuals) < 24 and {*wide_visuals} <= {*visuals}
    assert 2 * MOMENTS * 4096 * (len(wide_visuals) + len(wide_texts)) <= MOST
    assert {*data.visual_of_text[wide_texts]} == {*wide_visuals}
    assert not len(sample_of(data, 4096 * 100, scored=False)[0])  # not even two fit


def test_a_sample_of_labelled_data_has_the_classes_names_first():
    labels = np.arange(40) % 3
    classes = replace(
        tiny.dataset("test"), captions=["a", "b", "c"], visual_of_text=np.array([37, 38, 39]), classes=["a", "b", "c"],
        visual_ids=[str(i) for i in range(40)], visual_group=labels, visual_features=np.zeros((40, 3), np.float32),
    )  # fmt: skip
    visuals, texts = sample_of(classes, 16, scored=False)
    assert {37, 38, 39} <= {*visuals} and texts.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ema": 0.9},
        {"matcher": "cross_attention", "matcher_params": {"embed_dim": 16}, "loss": "max_of_hinges"},
    ],
    ids=["embeddings", "a running mean of the weights", "scores of pairs"],
)
def test_snapshots_are_what_the_matcher_makes_of_the_sample_then(tmp_path, monkeypatch, changes):
    seen = {}
    original = loop._Trainer.record

    def watched(self):
        original(self)
        with self.averaged():
            scores = read(self.matcher, self.task.inputs["test"]).matrix() if self.recorder.scored else None
            seen[self.state.step] = *embed(self.matcher, self.task.inputs["test"]), scores

    monkeypatch.setattr(loop._Trainer, "record", watched)
    load = tiny.with_text_features if changes.get("matcher") else tiny.dataset
    tiny.fit(tiny.config(**changes), tmp_path / "run", load=load)
    run = load_run(tmp_path / "run")
    found = run.snapshots()
    ended = run.training["best_epoch"] * 4
    assert found.steps.tolist() == [step for step in moments(12) if step < ended] + [ended]
    for place, step in enumerate(found.steps.tolist()[:-1]):
        visual, text, scores = seen[step]
        np.testing.assert_allclose(found.visual[place], visual[found.visuals], atol=2e-3)
        np.testing.assert_allclose(found.text[place], text[found.texts], atol=2e-3)
        if scores is not None:
            expected = scores[found.visuals][:, found.texts]
            np.testing.assert_allclose(found.scores[place], expected, atol=2e-3)
    visual, text = run.embeddings()
    np.testing.assert_array_equal(found.visual[-1], visual[found.visuals])
    np.testing.assert_array_equal(found.text[-1], text[found.texts])
    assert (found.scores is None) == (run.scores() is None)
    if run.scores() is not None:
        np.testing.assert_array_equal(found.scores[-1], run.scores()[found.visuals][:, found.texts])
    assert (run.path / SNAPSHOTS).stat().st_size <= MOST


def test_taking_snapshots_changes_no_bit_of_a_training(tmp_path, monkeypatch):
    _, whole = tiny.fit(tiny.config())
    monkeypatch.setattr(loop.Recorder, "take", lambda *_: None)
    _, without = tiny.fit(tiny.config())
    assert tiny.state_bytes(whole.matcher) == tiny.state_bytes(without.matcher)
    assert len(whole.snapshots.steps) >= 12 and without.snapshots is None


def test_a_resumed_training_has_the_same_snapshots(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    tiny.fit(tiny.config(), tmp_path / "whole")
    for at in (1, 5):
        tiny.stopped(tiny.config(), tmp_path / f"{at}", at)
        tiny.fit(tiny.config(), tmp_path / f"{at}", resume=True)
        assert (tmp_path / f"{at}" / SNAPSHOTS).read_bytes() == (tmp_path / "whole" / SNAPSHOTS).read_bytes()


def test_a_state_from_before_there_were_snapshots_goes_on_without(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    with monkeypatch.context() as before:
        before.setattr(loop.Recorder, "tensors", lambda self: {})
        tiny.stopped(tiny.config(), tmp_path / "run", 5)
    _, trained = tiny.fit(tiny.config(), tmp_path / "run", resume=True)
    run = load_run(tmp_path / "run")
    assert trained.snapshots is None and run.snapshots() is None and not (run.path / SNAPSHOTS).exists()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    tiny.fit(tiny.config(), tmp_path_factory.mktemp("runs") / "run")
    return next(tmp_path_factory.getbasetemp().glob("runs*/run"))


def rewritten(change):
    """Damage to the tensors that run.json vouches for."""

    def damage(folder):
        tensors = load_file(folder / SNAPSHOTS)
        change(tensors)
        save_file(tensors, folder / SNAPSHOTS)
        about = json.loads((folder / RUN).read_text())
        about["files"][SNAPSHOTS] = digest((folder / SNAPSHOTS).read_bytes())
        (folder / RUN).write_text(json.dumps(about))

    return damage


DAMAGES = {
    "gone": (lambda f: (f / SNAPSHOTS).unlink(), "missing"),
    "altered": (lambda f: (f / SNAPSHOTS).write_bytes((f / SNAPSHOTS).read_bytes()[:-1] + b"?"), "altered or truncated"),
    "too large": (lambda f: (f / SNAPSHOTS).write_bytes(bytes(MOST + 1)), "more than"),
    "other width": (rewritten(lambda t: t.update(visual=t["visual"][..., :-1].contiguous())), "'visual' is"),
    "other type": (rewritten(lambda t: t.update(text=t["text"].float())), "'text' is"),
    "fewer moments": (rewritten(lambda t: t.update(steps=t["steps"][:-1].contiguous())), "'visual' is"),
    "one moment": (rewritten(lambda t: t.update(steps=t["steps"][:1].contiguous())), "steps are not ascending"),
    "no steps": (rewritten(lambda t: t.pop("steps")), "'steps' is no list"),
    "items twice": (rewritten(lambda t: t["texts"].fill_(1)), "texts are not ascending"),
    "items that there are not": (rewritten(lambda t: t["visuals"].add_(1000)), "visuals are not ascending"),
    "below zero": (rewritten(lambda t: t["steps"].sub_(5)), "steps are not ascending"),
    "not finite": (rewritten(lambda t: t["text"].fill_(torch.inf)), "not finite"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_a_broken_file_is_told_and_the_run_is_none_the_worse(name, trained, tmp_path):
    damage, words = DAMAGES[name]
    folder = shutil.copytree(trained, tmp_path / "run")
    damage(folder)
    (run,), faults = list_runs(tmp_path)
    assert not faults and run.embeddings()[0].shape == (24, 16)
    with pytest.raises(RunRefused, match=words):
        run.snapshots()
