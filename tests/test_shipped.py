"""What the repository ships is what its scripts make, and what it says of itself is true."""

from pathlib import Path

import numpy as np
import pytest

from xmr.checkpoints import list_runs, trains_a_loss
from xmr.data import load_dataset
from xmr.data.blocks import captions_of, holds, render, scenes_of
from xmr.data.blocks.motion import clips_of, frames
from xmr.data.blocks_dataset import SHIPPED
from xmr.embedding import embed_dataset, kind_of_data
from xmr.encoders import SHIPPED as ENCODER_FOLDER
from xmr.encoders import load_encoder
from xmr.losses import LOSSES
from xmr.matchers import MATCHERS
from xmr.metrics import evaluate_embeddings
from xmr.training import plateau

CHECKPOINTS = Path(__file__).parent.parent / "checkpoints"
RUNS, FAULTS = list_runs(CHECKPOINTS)
TRAINED = [run for run in RUNS if trains_a_loss(run)]


def size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_every_loss_and_every_matcher_has_a_run_and_no_folder_is_broken():
    assert not FAULTS
    heads = [run for run in TRAINED if run.config.matcher == "linear" and run.config.dataset == "blocks"]
    assert {run.config.loss for run in heads} == {run.name for run in heads} == set(LOSSES)
    assert {run.config.matcher for run in TRAINED} == set(MATCHERS)
    assert [run.name for run in RUNS if run not in TRAINED] == ["hybrid"]
    assert {run.config.dataset for run in RUNS} == {"blocks", "moving_blocks"}
    assert {kind_of_data(run) for run in RUNS if run.config.dataset == "moving_blocks"} == {"clip"}


def test_every_run_has_learned():
    assert {run.name: plateau(run) for run in RUNS if plateau(run)} == {}


def test_shipped_clips_are_the_generators():
    data, clips = load_dataset("moving_blocks", "test"), clips_of("test")
    for i in (0, 250, 499):
        shown = np.stack([np.asarray(frame).astype(int) for frame in data.visuals[i]])
        scenes, lift = frames(clips[i : i + 1])
        rendered = render(scenes, shown.shape[1], lift=lift).astype(int)
        assert np.abs(shown - rendered).mean() < 4 < np.abs(shown - np.roll(rendered, 12, 2)).mean()


def test_sizes_stay_within_what_a_repository_bears():
    assert size(ENCODER_FOLDER / "blocks") <= 20e6
    assert size(SHIPPED) <= 5e6
    assert size(CHECKPOINTS) <= 52e6


def test_shipped_pictures_are_the_generators():
    data, scenes = load_dataset("blocks", "test"), scenes_of("test")
    for i in (0, 500, 999):
        shown = np.asarray(data.visuals[i]).astype(int)
        rendered = render(scenes[i : i + 1], shown.shape[0])[0].astype(int)
        assert np.abs(shown - rendered).mean() < 4  # WebP is lossy
        assert np.abs(shown - rendered).mean() < np.abs(shown - np.roll(rendered, 16, 1)).mean()


@pytest.fixture(scope="module")
def test_split():
    return load_dataset("blocks", "test")


def test_re_evaluating_a_run_gives_the_metrics_it_tells(test_split, tmp_path, monkeypatch):
    """From pictures and captions through encoder and matcher, not from the stored embeddings."""
    monkeypatch.setenv("XMR_CACHE", str(tmp_path))
    run = next(run for run in TRAINED if run.name == "info_nce")
    visual, text = embed_dataset(run, test_split)
    found = evaluate_embeddings(
        visual, text, test_split.visual_group, test_split.text_group, test_split.truth
    )
    told = run.metrics["test"]
    assert found.keys() >= told.keys()  # metrics that came later are not told by older runs
    for key in told:
        assert found[key] == pytest.approx(told[key], rel=5e-3, abs=5e-3), key
    stored = run.embeddings()
    np.testing.assert_allclose(stored[0], visual, atol=5e-3)
    np.testing.assert_allclose(stored[1], text, atol=5e-3)


def test_the_encoder_finds_a_truly_matching_item_first_for_most_queries(test_split):
    """Zero-shot, in both directions: the figure of the model card, on a sample."""
    encoder = load_encoder("blocks")
    visual = np.concatenate(
        [
            encoder.encode_images([test_split.visuals[i] for i in range(k, k + 100)])
            for k in range(0, 1000, 100)
        ]
    )
    asked = np.arange(0, 5000, 10)
    text = encoder.encode_texts([test_split.captions[t] for t in asked])
    scores = (visual / np.linalg.norm(visual, axis=1, keepdims=True)) @ (
        text / np.linalg.norm(text, axis=1, keepdims=True)
    ).T
    truth = test_split.truth.block(np.arange(1000), asked) > 0
    assert truth[scores.argmax(0), np.arange(len(asked))].mean() > 0.5
    answerable = truth.any(1)
    assert truth[np.arange(1000), scores.argmax(1)][answerable].mean() > 0.5


def test_evaluation_splits_share_no_scene_with_pre_training():
    from xmr.data.blocks import pretraining_seed, sample_scenes

    def keys(scenes):
        return {row.tobytes() for row in np.concatenate([scenes.x, scenes.y], 1)}

    assert not keys(sample_scenes(3000, pretraining_seed(0))) & (
        keys(scenes_of("test")) | keys(scenes_of("validation"))
    )


def test_truth_is_that_of_scenes_and_forms(test_split):
    expected = holds(scenes_of("test"), captions_of("test")[1])
    found = test_split.truth.block(np.arange(50), np.arange(5000)) > 0
    assert np.array_equal(found, expected[:50])
    own = test_split.truth.pairs(test_split.visual_of_text, np.arange(5000))
    assert (own == 1).all()


def test_the_dataset_reports_what_nobody_annotated_and_the_ceiling(test_split):
    truth = holds(scenes_of("test"), captions_of("test")[1])
    annotated = len(test_split.captions)
    assert test_split.about["unannotated_share"] == pytest.approx(1 - annotated / truth.sum())
    assert 5 <= test_split.about["true_visuals_median"] <= 20
    # A caption's only annotated picture is met in the first K of its n true ones with probability K / n.
    expected = np.mean(np.minimum(1, 5 / truth.sum(0)))
    assert test_split.about["ceiling"]["t2v/recall_at_5"] == pytest.approx(expected)
