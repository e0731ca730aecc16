"""Which pairs meet in a batch: each once, apart what can't be told from matches, hard with hard, and the same after an interruption."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from scripts import train as train_script
from tests import tiny
from tests.test_duplicates import made, splits
from xmr.captions import text_key
from xmr.checkpoints import load_run
from xmr.checkpoints.resume import load_state, save_state
from xmr.data.duplicates import Apart
from xmr.registry import UnknownName
from xmr.training import BATCHES, loop
from xmr.training.order import Epoch, clustered, parts, together


def matching(data):
    """(N, N) bool, by loops: whether the picture of one pair matches the caption of the other, or can't be told from one that does."""
    looks, keys = [row.tobytes() for row in data.visual_features], [text_key(one) for one in data.captions]
    known = {(looks[v], keys[t]) for v, t in np.argwhere(data.visual_group[:, None] == data.text_group)}
    return np.array([[(looks[v], key) in known for key in keys] for v in data.visual_of_text])


def clashing(data):
    """(N, N) bool: pairs of which either's picture does."""
    match = matching(data)
    return (match | match.T) & ~np.eye(len(match), dtype=bool)


def met(clash, batches):
    return sum(int(clash[np.ix_(batch, batch)].any(1).sum()) for batch in batches)


def many(seed=0, visuals=120):
    """Three captions of each visual; some visuals are equal, some captions read alike."""
    rng = np.random.default_rng(seed)
    said = [f"{i}" if rng.random() < 0.97 else f"{i % 7} as well" for i in range(3 * visuals)]
    looks = [i if i % 11 else i // 2 for i in range(visuals)]
    return made(looks, range(visuals), np.arange(3 * visuals) // 3, said)


def epoch(data, size, seed=0, number=0):
    def embed():
        rng = np.random.default_rng(7)
        about = rng.normal(size=(40, 16))[data.visual_of_text % 40]  # pictures of 40 subjects
        sides = (about + rng.normal(size=(2, *about.shape))).astype(np.float32)
        return tuple(side / np.linalg.norm(side, axis=1, keepdims=True) for side in sides)

    rng = np.random.default_rng([seed, number])
    return Epoch(len(data.captions), size, rng, lambda: Apart.of(data), embed)


@settings(max_examples=60, deadline=None)
@given(splits())
def test_what_must_be_apart_is_what_the_loop_says(data):
    apart, clash = Apart.of(data), clashing(data)
    pairs = np.arange(len(data.captions))[::-1]
    assert (apart.clashes(pairs).toarray().astype(bool) == clash[np.ix_(pairs, pairs)]).all()
    for one in pairs:
        others = np.delete(pairs, np.flatnonzero(pairs == one))
        assert (apart.meet(apart.groups(np.array([one])), others) == clash[one, others]).all()
    assert together(pairs, 3, apart) == met(clash, parts(pairs, 3))


@pytest.mark.parametrize("kind", BATCHES)
@pytest.mark.parametrize("size", [2, 32, 1000])
def test_every_pair_once_in_batches_of_nearly_one_size_by_the_seed_alone(kind, size):
    data = many()
    order = BATCHES[kind](epoch(data, size))
    batches = parts(order, size)
    assert sorted(order) == list(range(360)) and max(map(len, batches)) <= size
    assert max(map(len, batches)) - min(map(len, batches)) <= 1
    assert np.array_equal(order, BATCHES[kind](epoch(data, size)))
    for other in (epoch(data, size, seed=1), epoch(data, size, number=1)):
        assert not np.array_equal(order, BATCHES[kind](other))


@pytest.mark.parametrize("kind", sorted(set(BATCHES) - {"random"}))
def test_what_can_be_kept_apart_is(kind):
    for seed in range(3):
        data = many(seed)
        clash = clashing(data)
        assert met(clash, parts(BATCHES["random"](epoch(data, 32, seed)), 32)) > 10
        assert met(clash, parts(BATCHES[kind](epoch(data, 32, seed)), 32)) == 0


@pytest.mark.parametrize("kind", sorted(set(BATCHES) - {"random"}))
def test_what_has_no_room_to_be_apart_meets_and_is_counted(kind):
    data = many()
    for size in (200, 1000):  # two batches for three captions, and one
        order = BATCHES[kind](epoch(data, size))
        found = together(order, size, Apart.of(data))
        assert found == met(clashing(data), parts(order, size)) >= 120


def test_of_class_labels_only_captions_of_one_visual_are_apart():
    owner = np.arange(40) // 2
    data = made(range(20), np.arange(20) % 2, owner, range(40))
    object.__setattr__(data, "classes", ["cat", "dog"])
    order = BATCHES["distinct"](epoch(data, 8))
    assert all(len(set(owner[batch])) == len(batch) for batch in parts(order, 8))


def test_a_cluster_grows_by_the_nearest_of_all_that_may_join():
    rng = np.random.default_rng(3)
    near = rng.normal(size=(30, 30)).astype(np.float32)
    near += near.T
    data = made(range(15), range(15), np.arange(30) // 2, range(30))
    clash, sizes = clashing(data), [8, 8, 7, 7]
    left, expected = list(range(30)), []
    for size in sizes:
        cluster = [left.pop(0)]
        while len(cluster) < size:
            free = [i for i in left if not clash[i, cluster].any()] or left
            cluster.append(max(free, key=lambda i: sum(near[i, j] for j in cluster)))
            left.remove(cluster[-1])
        expected += cluster
    apart = Apart.of(data)
    assert clustered(near, apart.clashes(np.arange(30)), sizes).tolist() == expected


def test_hard_batches_are_harder_than_shuffled_ones(monkeypatch):
    """By the mean over pairs of the highest score with another's caption, and in larger batches that hold several clusters too."""
    data = many(visuals=400)
    visual, text = epoch(data, 2).embed()

    def hardness(kind, size):
        found = []
        for batch in parts(BATCHES[kind](epoch(data, size)), size):
            scores = visual[batch] @ text[batch].T
            np.fill_diagonal(scores, -np.inf)
            found.append(scores.max(1))
        return np.concatenate(found).mean()

    for size in (16, 64):
        assert hardness("hard", size) > hardness("random", size) + 0.05
    monkeypatch.setattr("xmr.training.order.CLUSTER", 16)
    monkeypatch.setattr("xmr.training.order.SPACE", 300)
    assert hardness("hard", 64) > hardness("random", 64) + 0.02


def test_training_goes_through_its_kind_of_batches_and_tells_what_met(tmp_path, monkeypatch):
    seen, original = [], loop._Trainer.update
    monkeypatch.setattr(
        loop._Trainer, "update", lambda self, texts: seen.append(texts) or original(self, texts)
    )
    data = tiny.dataset("train")
    clash = (data.text_group[:, None] == data.text_group) & ~np.eye(120, dtype=bool)
    for kind, size in (("distinct", 30), ("hard", 30), ("hard", 120)):
        seen.clear()
        folder = tmp_path / f"{kind}{size}"
        tiny.fit(tiny.config(batches=kind, batch_size=size, epochs=2, micro_batch=16), folder)
        run, half = load_run(folder), len(seen) // 2
        for batches, line in zip((seen[:half], seen[half:]), run.history, strict=True):
            assert sorted(np.concatenate(batches)) == list(range(120))
            assert line["together"] == met(clash, batches) == (120 if size == 120 else 0)
        told = "at most 120 of 120 pairs of an epoch met" if size == 120 else "no pair met"
        assert told in train_script.batch_words(run)
    assert "together" not in tiny.fit(tiny.config(epochs=1))[1].history[0]
    with pytest.raises(UnknownName, match="did you mean 'hard'"):
        tiny.fit(tiny.config(batches="hart"))


def test_an_order_that_is_none_is_no_state(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    running = loop.train(tiny.config(batches="hard"), tmp_path / "run", load=tiny.dataset)
    next(running), running.close()
    tensors, about = load_state(tmp_path / "run")
    tensors["order"][0] = tensors["order"][1]
    save_state(tmp_path / "run", tensors, about)
    with pytest.raises(ValueError, match="can't be resumed.*order of the pairs"):
        tiny.fit(tiny.config(batches="hard"), tmp_path / "run", resume=True)
