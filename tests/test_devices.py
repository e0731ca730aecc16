"""The same figures wherever a process computes, nothing mixes what lies in two places, and no device is taken for granted."""

from itertools import islice

import numpy as np
import pytest
import torch

from scripts import evaluate
from tests import tiny
from tests.elsewhere import elsewhere
from tests.test_encoders import dataset, pictures, save_bert, save_siglip, save_tiny
from tests.test_transformers_folder import save_clip
from xmr import devices
from xmr.checkpoints import load_run
from xmr.devices import available, device, use_device
from xmr.embedding import embed_dataset
from xmr.encoders import features, forget_encoders, load_encoder
from xmr.losses.base import without_peers
from xmr.matchers import MATCHERS
from xmr.selection import SELECTORS
from xmr.training import train

CHANGES = {
    **{f"loss {name}": {"loss": name} for name in without_peers()},
    **{f"matcher {name}": {"matcher": name, "matcher_params": {}} for name in MATCHERS},
    **{f"selector {name}": {"selector": name} for name in SELECTORS if "peer_scores" not in SELECTORS[name].needs},
    "micro-batches": {"micro_batch": 8},
    "duplicates": {"duplicates": "positive"},
    "hard batches and a queue": {"batches": "hard", "queue": 20},
    "weighed suspects": {"selector": "posterior", "suspects": "weigh"},
    "metric network": {"matcher": "cross_attention", "matcher_params": {}, "first_loss": "sum_of_hinges", "first_epochs": 1},
}  # fmt: skip
on_a_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="there is no accelerator of CUDA here to compare with"
)


@pytest.fixture(autouse=True)
def _as_before(tmp_path, monkeypatch):
    monkeypatch.setenv("XMR_CACHE", str(tmp_path / "cache"))
    forget_encoders()
    yield
    use_device("cpu")
    forget_encoders()


def first_losses(**changes):
    return [step.loss for step in islice(train(tiny.config(**changes), load=tiny.with_text_features), 3)]


@pytest.mark.parametrize("what", CHANGES)
def test_training_mixes_nothing_and_learns_the_same_elsewhere(what):
    here = first_losses(**CHANGES[what])
    with elsewhere():
        assert first_losses(**CHANGES[what]) == here


def test_a_run_is_saved_resumed_and_read_elsewhere(tmp_path):
    whole, _ = tiny.fit(tiny.config(), tmp_path / "here", load=tiny.with_text_features)
    with elsewhere():
        running = train(tiny.config(), tmp_path / "there", load=tiny.with_text_features)
        found = [step.loss for step in islice(running, len(whole) // 2)]
        running.close()
        found += [
            step.loss
            for step in tiny.fit(
                tiny.config(), tmp_path / "there", load=tiny.with_text_features, resume=True
            )[0]
        ]
        run = load_run(tmp_path / "there")
        sides = embed_dataset(run, tiny.with_text_features("test"))
        parameters = {parameter.device.type for parameter in run.matcher().parameters()}
    # What was done after the last saved epoch is done again.
    assert found[-len(whole) // 2 :] == [step.loss for step in whole][-len(whole) // 2 :]
    assert parameters == {"meta"}
    here = load_run(tmp_path / "here")
    assert run.metrics == here.metrics
    for ours, theirs in zip(sides, here.embeddings(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "save", [save_tiny, save_siglip, save_bert, save_clip], ids=lambda save: save.__name__
)
@pytest.mark.parametrize("kind", ["pooled", "tokens"])
def test_encoders_give_the_same_features_elsewhere(tmp_path, save, kind, monkeypatch):
    name = f"local-dir:{tmp_path / 'encoder'}"
    save(tmp_path / "encoder")
    here = features(dataset(5), name, kind)
    forget_encoders()
    monkeypatch.setenv("XMR_CACHE", str(tmp_path / "another"))
    with elsewhere():
        there = features(dataset(5), name, kind)
        assert load_encoder(name).device.type == "meta" and load_encoder(name).hash == here.encoder_hash
    np.testing.assert_allclose(there.visual, here.visual, atol=2e-3)
    np.testing.assert_allclose(there.text, here.text, atol=2e-3)


def test_what_is_forgotten_is_caught_by_the_tests_themselves():
    with elsewhere():
        there = torch.ones(3).to(device())
        with pytest.raises(RuntimeError, match="same device"):
            there + torch.ones(3)
        with pytest.raises(TypeError, match="copy it to memory"):
            there.numpy()
        assert (2 * there).cpu().tolist() == [2, 2, 2]
    assert device().type == "cpu"


def test_a_device_that_is_not_here_is_told_with_those_that_are(tmp_path, capsys):
    assert use_device("cpu").type == "cpu" and use_device("auto").type == "cpu" and available()[0] == "cpu"
    for name in ("cuda:99", "gpu", "meta", "mps:7", ""):
        with pytest.raises(ValueError, match=f"--device {name}: there is none here; there are auto, cpu"):
            use_device(name)
    with pytest.raises(SystemExit):
        evaluate.main([str(tmp_path), "--device", "cuda:99"])
    assert "--device cuda:99: there is none here" in capsys.readouterr().err


def test_half_precision_has_features_of_its_own(tmp_path, monkeypatch):
    """bfloat16, as on CUDA, here on the processor: near those of single precision, and never in their place."""
    name = save_tiny(tmp_path / "e")
    single = features(dataset(5), name)
    monkeypatch.setattr(devices, "in_half", lambda where: True)
    monkeypatch.setattr("xmr.encoders.in_half", lambda where: True)
    half = features(dataset(5), name)
    assert not np.array_equal(half.visual, single.visual)
    for ours, theirs in ((half.visual, single.visual), (half.text, single.text)):
        cosine = (
            (ours.astype(float) * theirs).sum(1)
            / np.linalg.norm(ours.astype(float), axis=1)
            / np.linalg.norm(theirs.astype(float), axis=1)
        )
        assert cosine.min() > 0.999
    monkeypatch.undo()


@pytest.mark.gpu
@on_a_gpu
def test_a_gpu_gives_what_the_processor_gives(tmp_path, monkeypatch):
    name = save_tiny(tmp_path / "e")
    here = features(dataset(150), name)
    losses = first_losses()
    monkeypatch.setenv("XMR_CACHE", str(tmp_path / "another"))
    forget_encoders()
    assert use_device("auto").type == "cuda"
    there = features(dataset(150), name)
    np.testing.assert_allclose(there.visual, here.visual, atol=0.05)
    assert load_encoder(name).encode_images(pictures(2)).shape == (2, 16)
    assert first_losses() == pytest.approx(losses, rel=1e-3)
    tiny.fit(tiny.config(), tmp_path / "run", load=tiny.with_text_features)
    run = load_run(tmp_path / "run")
    assert run.metrics["test"]["rsum"] > 100
    sides = embed_dataset(run, tiny.with_text_features("test"))
    np.testing.assert_allclose(sides[0], run.embeddings()[0], atol=2e-3)
