"""A queue of earlier batches in training: the gallery of `xmr.nn.Loss` with a memory, with all masks and evidence, resumable."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests import tiny
from tests.test_order import matching
from tests.test_training import recorded
from xmr.data.duplicates import contents
from xmr.losses import LOSSES
from xmr.nn import Loss
from xmr.training import train

STILL = {"matcher_params": tiny.SMALL | {"dropout": 0.0, "word_dropout": 0.0}, "lr": 1e-12}  # nothing moves


def watched(monkeypatch, **changes):
    """What each step's loss was asked with, the steps' losses, and the training split with all its embeddings."""
    asked, states = recorded(monkeypatch), []
    from xmr.training.objective import Objective

    original = Objective.value

    def value(self, visual, text, visuals, texts, *rest):
        states.append((visual.detach(), text.detach(), texts))
        return original(self, visual, text, visuals, texts, *rest)

    monkeypatch.setattr(Objective, "value", value)
    load = changes.pop("load", tiny.dataset)
    steps, trained = tiny.fit(tiny.config(**STILL | {"epochs": 2, "batch_size": 30} | changes), load=load)
    return asked, states, [step.loss for step in steps], load("train"), trained


@pytest.mark.parametrize("loss", ["info_nce", "max_of_hinges", "gravitation"])
@pytest.mark.parametrize("micro_batch", [0, 8])
def test_it_is_the_memory_of_the_module(monkeypatch, loss, micro_batch):
    _, states, losses, data, _ = watched(monkeypatch, loss=loss, queue=50, micro_batch=micro_batch)
    module = Loss(loss, memory=50, learn=False)
    for (visual, text, texts), found in zip(states, losses, strict=True):
        assert module(visual, text, data.text_group[texts]).item() == pytest.approx(found, rel=1e-4)


def test_masks_and_evidence_reach_into_the_queue(monkeypatch):
    """What is a match, or can't be told from one, is no negative, wherever it stands; and a selector sees all captions."""

    def load(split):
        data = tiny.dataset(split)
        captions = [*data.captions]
        captions[7], features = captions[40], data.visual_features.copy()
        features[11] = features[17]
        return replace(data, captions=captions, visual_features=features, contents=contents(features))

    selector = {"selector": "word_overlap", "selector_params": {"threshold": 0.95}}
    for treated, more in (("ignore", {}), ("positive", selector)):
        asked, states, _, data, trained = watched(
            monkeypatch, queue=60, duplicates=treated, load=load, **more
        )
        alike = matching(data)
        known = alike if treated == "positive" else data.text_group[:, None] == data.text_group
        seen = np.empty(0, np.int64)
        suspected = 0
        for (_, pairs, back), (_, _, texts) in zip(asked, states, strict=True):
            gallery = np.concatenate([texts, seen])
            back = pairs.transpose() if back is None else back
            for side in (pairs, back):
                assert side.scores.shape == (30, len(gallery))
            match = alike[np.ix_(texts, gallery)]
            if not more:
                assert (pairs.positives.numpy() == known[np.ix_(texts, gallery)]).all()
                assert (pairs.negatives.numpy() == ~match).all()
                assert (back.negatives.numpy() == ~alike[np.ix_(gallery, texts)].T).all()
            else:
                assert pairs.word_scores.shape == (len(gallery),) * 2 and back.word_scores.shape == (30, 30)
                suspected += int((~pairs.positives & ~pairs.negatives)[:, 30:].sum())
            seen = np.concatenate([seen, texts])[-60:]
        if more:
            assert suspected > 0
            assert 0 < trained.history[0]["suspected"] < trained.history[0]["negatives"]


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_takes_it(loss, tmp_path):
    asked = tiny.asking(loss, tmp_path / "peer")
    steps, _ = tiny.fit(tiny.config(loss=loss, loss_params=asked, queue=40, epochs=1, micro_batch=16))
    assert len(steps) == 4 and all(np.isfinite(step.loss) for step in steps)


def test_what_it_does_not_go_with_is_told():
    with pytest.raises(ValueError, match="--queue 121 would hold pairs twice: 120 are learned from"):
        tiny.fit(tiny.config(queue=121))
    with pytest.raises(ValueError, match="token_max compares states of pairs"):
        next(train(tiny.config(queue=8, matcher="token_max", matcher_params={}), load=tiny.dataset))
    with pytest.raises(ValueError, match="queue must be at least 0"):
        tiny.config(queue=-1)
