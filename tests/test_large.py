"""A large split: what is sampled, what is measured once and kept, and that damage is measured again."""

from __future__ import annotations

import numpy as np
import pytest

from tests.fake_workspace import make_workspace
from xmr.workspace import measurements, ranks

KEEPS = True  # see conftest.py


@pytest.fixture
def large(tmp_path, monkeypatch):
    """The fake workspace, whose 60 × 120 pairs are too many."""
    monkeypatch.setenv("XMR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(ranks, "LOOKED_AT", 60 * 120 - 1)
    monkeypatch.setattr(ranks, "SMALLEST_SAMPLE", 20)
    return make_workspace(tmp_path / "runs")


def test_a_sample_is_of_the_asking_side_and_always_the_same(large):
    for direction, queries, gallery in (("t2v", 120, 60), ("v2t", 60, 120)):
        sample = large.sample("test", direction)
        assert len(sample) == min(queries, max(20, (60 * 120 - 1) // gallery))
        assert (np.diff(sample) > 0).all() and sample[-1] < queries
        np.testing.assert_array_equal(sample, large.sample("test", direction))


def test_small_splits_are_looked_at_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("XMR_CACHE", str(tmp_path / "cache"))
    workspace = make_workspace(tmp_path / "runs")
    assert workspace.sample("test", "t2v") is None
    assert workspace.is_measured(list(workspace.runs), "test")


def test_samples_and_hard_negatives_are_those_of_the_sampled_queries(large, tmp_path, monkeypatch):
    sample = large.sample("test", "t2v")
    some = measurements.samples(large, "siglip", "test", "t2v")
    hard = measurements.hard_negatives(large, "siglip", "test", "t2v")
    monkeypatch.setattr(ranks, "LOOKED_AT", 10**9)
    monkeypatch.setenv("XMR_CACHE", str(tmp_path / "another cache"))
    whole = make_workspace(tmp_path / "again")
    every = measurements.samples(whole, "siglip", "test", "t2v")
    for kind in ("positives", "hardest"):  # one per query, nothing drawn
        kept_ones = np.isin(every.query[kind], sample)
        pairs = {
            tuple(pair)
            for pair in zip(every.query[kind][kept_ones], every.item[kind][kept_ones], strict=True)
        }
        assert {tuple(pair) for pair in zip(some.query[kind], some.item[kind], strict=True)} == pairs
    np.testing.assert_allclose(some.mean[sample], every.mean[sample], rtol=1e-5)
    assert np.isnan(np.delete(some.mean, sample)).all()
    scores = whole.scores("siglip", "test", "t2v")
    for kind, query in every.query.items():
        np.testing.assert_allclose(every.values[kind], scores[query, every.item[kind]], rtol=1e-5)
    assert len(hard) and np.isin(hard.query, sample).all()


def test_disagreements_of_a_large_split_begin_with_the_sample(large, tmp_path, monkeypatch):
    names = list(large.runs)
    order = large.disagreements(names, "test", "v2t")
    sample = large.sample("test", "v2t")
    assert sorted(order) == list(range(60))
    assert set(order[: len(sample)]) == set(sample)
    monkeypatch.setattr(ranks, "LOOKED_AT", 10**9)
    monkeypatch.setenv("XMR_CACHE", str(tmp_path / "another cache"))
    monkeypatch.setattr(ranks, "MAX_PAIRS", 0)  # no truth is asked, as of a large split
    every = make_workspace(tmp_path / "again").disagreements(names, "test", "v2t")
    assert list(order[: len(sample)]) == [query for query in every if query in set(sample)]


def test_measured_once_and_found_by_the_next_process(large, tmp_path, monkeypatch):
    assert not large.is_measured(["siglip"], "test")
    large.measure("test")
    assert large.is_measured(list(large.runs), "test")
    first = {d: (large.ranks("siglip", "test", d), large.top("siglip", "test", d)) for d in ("t2v", "v2t")}
    scores = large.scores("siglip", "test", "t2v")
    best = np.take_along_axis(scores, first["t2v"][1], 1)
    np.testing.assert_allclose(best, -np.sort(-scores, 1)[:, :10], rtol=1e-5)

    def fail(*_):
        raise AssertionError("measured again")

    again = make_workspace(tmp_path / "again")
    monkeypatch.setattr(type(again), "rankings", fail)
    monkeypatch.setattr(ranks, "top_items", fail)
    for direction, (own, top) in first.items():
        np.testing.assert_array_equal(again.ranks("siglip", "test", direction), own)
        np.testing.assert_array_equal(again.top("siglip", "test", direction), top)
    # Damaged files are measured again, not trusted and not fatal.
    for path in (tmp_path / "cache" / "measured").glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(AssertionError, match="measured again"):
        make_workspace(tmp_path / "third").ranks("siglip", "test", "t2v")


def test_what_is_still_measured_is_said(large, monkeypatch):
    import threading

    from xmr.views.error_lists import Asked, pair_ranks
    from xmr.workspace import results

    go_on = threading.Event()
    measure = type(large).measure

    def waiting(self, split="test"):
        go_on.wait(30)
        measure(self, split)

    monkeypatch.setattr(type(large), "measure", waiting)
    asked = Asked("test", "t2v", "info_nce", "siglip", (), 1)
    with pytest.raises(ValueError, match="info_nce is measured in the background"):
        pair_ranks(large, asked)
    go_on.set()
    results._measured_aside(large, "test").join(60)
    assert pair_ranks(large, asked).shape == (2, 120)
    assert measurements.sample_words(large, "test", "t2v").startswith("Looked at: 119 of the 120 queries")
