"""Approximate indexes, their files, and two-stage search, against exact search and slow loops."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import xmr.search.approximate as approximate
from xmr.search import (
    ApproximateIndex,
    ExactIndex,
    build_index,
    cached_index,
    two_stage,
)

TARGET = 0.9


def clustered(rng, centres, count, spread=0.5):
    rows = centres[rng.integers(0, len(centres), count)]
    rows = rows + spread * rng.standard_normal(rows.shape)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module", autouse=True)
def small_galleries_too():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(approximate, "EXACT_UP_TO", 0)
        yield


@pytest.fixture(scope="module")
def vectors():
    """20,000 unit vectors around 100 centres, fresh queries from there, and others that are shifted."""
    rng = np.random.default_rng(7)
    centres = rng.standard_normal((100, 32))
    made, asked = clustered(rng, centres, 20_000), clustered(rng, centres, 300)
    shifted = asked + 0.15 * rng.standard_normal(32).astype(np.float32)
    return made, asked, shifted / np.linalg.norm(shifted, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def built(vectors):
    made, _, shifted = vectors
    return build_index(made, TARGET, queries=shifted[:150])


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XMR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def recall(found, best):
    return np.mean([len({*a} & {*b}) / len(b) for a, b in zip(found.tolist(), best.tolist(), strict=True)])


# ---- exact search on both sides of the threshold for BLAS ---------------------------------------------------


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("k", [1, 9, 1000])
@pytest.mark.parametrize("queries", [1, 15, 40])  # times 128 dimensions: below and above 2,000
def test_exact_search_equals_brute_force_and_keeps_ties_in_order(queries, k, given):
    rng = np.random.default_rng(queries)
    gallery = np.repeat(clustered(rng, rng.standard_normal((9, 128)), 150), 3, axis=0)
    asked = clustered(rng, rng.standard_normal((9, 128)), queries)
    scores, indices = ExactIndex(gallery).search(asked, k, rows=asked @ gallery.T if given else None)
    brute = asked.astype(np.float64) @ gallery[::3].T.astype(np.float64)
    order = np.argsort(-brute, axis=1, kind="stable").repeat(3, 1)
    assert scores.shape == indices.shape == (queries, min(k, 450))
    np.testing.assert_array_equal(indices, (3 * order + np.arange(450) % 3)[:, :k])
    np.testing.assert_allclose(scores, np.take_along_axis(brute, order, 1)[:, :k], atol=1e-6)


def test_the_last_place_is_shared_by_many_in_a_batch():
    rng = np.random.default_rng(1)
    few = clustered(rng, rng.standard_normal((3, 128)), 5)
    gallery = np.repeat(few, 80, axis=0)[rng.permutation(400)]
    asked = clustered(rng, rng.standard_normal((3, 128)), 40)
    best = (asked.astype(np.float64) @ few.T).argmax(1)
    own = [np.flatnonzero((gallery == few[best[row]]).all(1)) for row in range(40)]
    found = ExactIndex(gallery).search(asked, 10, behind=[places[:3] for places in own])[1]
    np.testing.assert_array_equal(found, [places[3:13] for places in own])


def test_vectors_may_be_memory_mapped_and_read_only(vectors, built, tmp_path):
    made, asked, _ = vectors
    np.save(tmp_path / "vectors.npy", made)
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    exact = ExactIndex(mapped)
    assert np.shares_memory(exact.vectors, mapped)
    np.testing.assert_array_equal(exact.search(asked, 5)[1], ExactIndex(made).search(asked, 5)[1])
    index = ApproximateIndex(exact, built.proposer, built.facts)
    np.testing.assert_array_equal(index.search(asked, 5)[1], built.search(asked, 5)[1])


# ---- approximate search -------------------------------------------------------------------------------------


def test_the_target_is_reached_on_fresh_queries_of_both_distributions(vectors, built):
    made, asked, shifted = vectors
    index = built
    assert isinstance(index, ApproximateIndex) and index.facts.kind == "ivf_sq8"
    assert {*index.facts.recall} == {"held out", "queries"}
    for fresh in (asked, shifted[150:]):
        scores, indices = index.search(fresh, 10)
        assert recall(indices, ExactIndex(made).search(fresh, 10)[1]) >= TARGET
        np.testing.assert_allclose(
            scores, np.einsum("qe,qke->qk", fresh.astype(np.float64), made[indices]), atol=1e-6
        )
        assert (np.diff(scores) <= 0).all()
        assert all(len({*row}) == 10 for row in indices.tolist())


def test_every_vector_is_in_the_index_those_held_out_too(vectors, built):
    made, _, _ = vectors
    index = built
    assert index.proposer.ntotal == len(index) == 20_000
    held = np.random.default_rng(0).permutation(20_000)[: approximate.HELD_OUT]
    assert (index.search(made[held], 1)[1][:, 0] == held).mean() >= TARGET


def test_a_smaller_setting_would_not_have_reached_the_target(vectors):
    made, _, _ = vectors
    index = build_index(made[:8000], 0.99)
    assert index.facts.recall["held out"] >= 0.99
    assert approximate.PROBES.index(index.facts.setting) > 0
    lower = build_index(made[:8000], 0.5)
    assert lower.facts.setting < index.facts.setting
    assert lower.facts.recall["held out"] < index.facts.recall["held out"]


def test_equal_scores_among_the_found_are_ordered_as_in_exact_search():
    rng = np.random.default_rng(3)
    distinct = clustered(rng, rng.standard_normal((50, 16)), 1500)
    gallery = np.repeat(distinct, 2, axis=0)[rng.permutation(3000)]
    index, exact = build_index(gallery, 0.5, k=4), ExactIndex(gallery)
    assert isinstance(index, ApproximateIndex)
    # Enough is looked at to find everything: then the order must be that of exact search, whatever is behind.
    index.facts = approximate.replace(index.facts, setting=3000)
    queries = gallery[:40]
    plain = index.search(queries, 10)
    np.testing.assert_array_equal(plain[1], exact.search(queries, 10)[1])
    for behind in ([[int(row[0])] for row in plain[1]], [row[::2] for row in plain[1]]):
        found = index.search(queries, 10, behind=behind)[1]
        np.testing.assert_array_equal(found, exact.search(queries, 10, behind=behind)[1])
        assert (found != plain[1]).any()


def test_too_few_found_and_a_large_k_are_answered_exactly(vectors, built):
    made, asked = vectors[0][:4000], vectors[1]
    index = build_index(made, 0.1)
    assert index.facts.setting == 1  # one cell holds some 40 vectors
    exact = ExactIndex(made)
    for k in (300, 1200):
        scores, indices = index.search(asked[:3], k)
        np.testing.assert_array_equal(indices, exact.search(asked[:3], k)[1])
        assert np.isfinite(scores).all()
    assert index.search(asked[0], 30_000)[1].shape == (1, 4000)


@pytest.mark.parametrize(("count", "k"), [(1, 1), (639, 1), (640, 1), (640, 5), (1599, 10), (1600, 10)])
def test_the_smallest_galleries_are_answered(count, k):
    made = clustered(np.random.default_rng(count), np.eye(5, 8), count)
    index = build_index(made, 0.5, k=k)
    large_enough = count >= approximate.TRAINING * max(4 * k, 16)
    assert large_enough or (isinstance(index, ExactIndex) and "only" in index.facts.note)
    assert index.facts.kind in ("exact", "ivf_sq8")
    scores, indices = index.search(made[:3], k)
    assert scores.shape == indices.shape == (min(3, count), k)
    assert (indices[:, 0] == np.arange(min(3, count))).mean() > 0.3


def test_where_no_setting_reaches_the_target_the_index_is_exact_and_says_so():
    rng = np.random.default_rng(0)  # no clusters: neighbours are nowhere in particular
    made = clustered(rng, np.zeros((1, 128)), 6000)
    index = build_index(made, 0.99)
    assert isinstance(index, ExactIndex) and index.facts.kind == "exact"
    assert "not 0.99: exact instead" in index.facts.note and "cells" in index.facts.note


def test_exact_where_all_are_asked_for_or_the_gallery_is_small(vectors, monkeypatch):
    assert "all neighbours" in build_index(vectors[0]).facts.note
    monkeypatch.setattr(approximate, "EXACT_UP_TO", len(vectors[0]))
    facts = build_index(vectors[0], 0.9).facts
    assert facts.kind == "exact" and "fast enough" in facts.note


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"recall": 0}, r"\(0, 1\], found 0"),
        ({"recall": 1.5}, r"found 1.5"),
        ({"recall": float("nan")}, r"found nan"),
        ({"k": 0}, r"at least 1, found 0"),
        ({"vectors": np.zeros((0, 8))}, r"\(0, 8\)"),
        ({"vectors": np.zeros(4)}, r"\(4,\)"),
        ({"vectors": np.full((4, 8), np.nan)}, "finite"),
        ({"queries": np.zeros((2, 7))}, "7 dimensions, the gallery has 8"),
        ({"queries": np.full((2, 8), np.inf)}, "finite"),
        ({"queries": np.zeros((0, 8))}, "empty"),
    ],
)
def test_what_cannot_be_built_is_said(change, words):
    arguments = {"vectors": np.eye(8), "recall": 0.9} | change
    with pytest.raises(ValueError, match=words):
        build_index(**arguments)


def test_queries_that_cannot_be_asked_are_refused(vectors, built):
    for index in (built, ExactIndex(vectors[0])):
        with pytest.raises(ValueError, match="9 dimensions, the gallery has 32"):
            index.search(np.zeros((1, 9)), 3)
        with pytest.raises(ValueError, match="finite"):
            index.search(np.full((1, 32), np.nan), 3)


# ---- files --------------------------------------------------------------------------------------------------


@pytest.fixture
def builds(monkeypatch):
    """How often an index is built: a list that grows by one."""
    count = []

    def counted(*arguments, **options):
        count.append(1)
        return build_index(*arguments, **options)

    monkeypatch.setattr("xmr.search.files.build_index", counted)
    return count


def test_a_kept_index_is_opened_memory_mapped_and_answers_the_same(vectors, built, cache, builds):
    made, asked, shifted = vectors
    for _ in range(2):
        opened = cached_index(made, TARGET, queries=shifted[:150])
        assert opened.facts == approximate.replace(built.facts, seconds=opened.facts.seconds)
        for old, new in zip(built.search(asked, 10), opened.search(asked, 10), strict=True):
            np.testing.assert_array_equal(old, new)
    assert len(builds) == 1
    (folder,) = (path.parent for path in cache.glob("indexes/*/index.json"))
    assert {path.name for path in folder.iterdir()} <= {"index.faiss", "index.json", "lock"}
    if Path("/proc/self/maps").exists():
        assert str(folder / "index.faiss") in Path("/proc/self/maps").read_text()


def damage(path, change):
    """Cuts a file, or flips one bit in its middle."""
    content = bytearray(path.read_bytes())
    if change == "cut":
        del content[-1000:]
    else:
        content[len(content) // 2] ^= 1
    path.unlink()
    path.write_bytes(content)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"format": 0}',
        '{"format": 2}',
        "[" * 60_000,
        " " * 70_000,
        None,
        {"format": 1},
        {"vectors": "0" * 64},
        {"sha256": "0" * 64},
        {"facts": {"kind": "flat"}},
        {"facts": {"kind": ["ivf_sq8"]}},
        {"facts": {"setting": -3}},
        {"facts": {"setting": 3}},
        {"facts": {"setting": 10**30}},
    ],
)
def test_where_the_description_does_not_fit_the_index_is_built_again(vectors, cache, builds, content):
    made = vectors[0][:4000]
    cached_index(made, TARGET)
    (path,) = cache.glob("indexes/*/index.json")
    if isinstance(content, dict):
        about = json.loads(path.read_text())
        facts = about["facts"] | content.get("facts", {})
        path.write_text(json.dumps(about | content | {"facts": facts}))
    elif content is None:
        path.unlink()
    else:
        path.write_text(content)
    assert isinstance(cached_index(made, TARGET), ApproximateIndex) and len(builds) == 2
    cached_index(made, TARGET)
    assert len(builds) == 2


def test_what_is_not_ours_is_never_given_to_faiss(vectors, cache, tmp_path, monkeypatch, builds):
    made = vectors[0][:4000]
    cached_index(made, TARGET)
    (file,) = cache.glob("indexes/*/index.faiss")
    given = []
    opened = approximate.faiss.read_index

    def seen(path, *flags):
        given.append(Path(path).is_symlink())
        return opened(path, *flags)

    monkeypatch.setattr("faiss.read_index", seen)
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    cached_index(made, TARGET)
    assert given == [False] and len(builds) == 2  # only what was built in its place
    for change in ("cut", "flip"):
        damage(file, change)
        cached_index(made, TARGET)
    assert len(given) == 3 and len(builds) == 4


def test_each_target_and_gallery_has_an_index_of_its_own(vectors, cache, builds):
    made = vectors[0][:4000]
    for of in ((made, TARGET), (made, 0.5), (made[::-1], TARGET), (made, TARGET)):
        cached_index(*of)
    assert len(builds) == 3 and len(list(cache.glob("indexes/*/index.faiss"))) == 3


def test_the_cache_remembers_that_exact_search_was_left(cache, monkeypatch):
    made = clustered(np.random.default_rng(0), np.zeros((1, 128)), 6000)
    note = cached_index(made, 0.99).facts.note
    monkeypatch.setattr("xmr.search.files.build_index", None)
    again = cached_index(made, 0.99)
    assert isinstance(again, ExactIndex) and again.facts.note == note and "exact instead" in note
    assert not list(cache.glob("indexes/*/*.faiss"))


def test_a_full_disk_keeps_nobody_from_searching(vectors, cache, monkeypatch):
    made, asked = vectors[0][:4000], vectors[1]

    def full(_, path):
        Path(path).write_bytes(b"half")
        raise RuntimeError("No space left on device")

    monkeypatch.setattr("faiss.write_index", full)
    index = cached_index(made, TARGET)
    assert "not saved" in index.facts.note and "No space left" in index.facts.note
    assert index.search(asked[:2], 5)[1].shape == (2, 5)
    assert {path.name for path in cache.glob("indexes/*/*")} <= {"lock"}


# ---- two stages ---------------------------------------------------------------------------------------------


def slow(gallery, query, k, depth, pair_scores, behind):
    """One query in plain Python: (index, pair score or None, first rank) of the k best."""
    first = [(-float(score), index in behind, index) for index, score in enumerate(gallery @ query)]
    ranked = [index for _, _, index in sorted(first)]
    rank = {index: place for place, index in enumerate(ranked, 1)}

    def key(index):
        score = pair_scores[index]
        return (score != score, 0 if score != score else -score, index in behind, index)

    within = sorted(ranked[:depth], key=key)
    return [
        (index, pair_scores[index] if rank[index] <= depth else None, rank[index])
        for index in within + ranked[depth:]
    ][:k]


@pytest.mark.parametrize(("k", "depth"), [(5, 20), (20, 5), (60, 60), (200, 7), (7, 200), (1, 1)])
@pytest.mark.parametrize("has_behind", [False, True])
def test_two_stages_equal_a_slow_loop(k, depth, has_behind):
    rng = np.random.default_rng(depth)
    # Whole numbers: many equal scores in both stages, and products without rounding.
    gallery = rng.integers(-1, 2, (60, 3)).astype(np.float32)
    queries = rng.integers(-1, 2, (8, 3)).astype(np.float32)
    pair_scores = rng.integers(0, 5, (8, 60)).astype(np.float64)
    pair_scores[rng.random((8, 60)) < 0.2] = np.nan
    behind = [rng.choice(60, 15, replace=False) for _ in range(8)]

    def rescore(row, candidates):
        assert candidates.dtype == np.int64 and candidates.shape == (min(depth, 60),)
        return pair_scores[row, candidates]

    found = two_stage(ExactIndex(gallery), queries, k, depth, rescore, behind if has_behind else None)
    for row in range(8):
        own = {*behind[row].tolist()} if has_behind else set()
        expected = slow(gallery, queries[row], k, depth, pair_scores[row], own)
        indices, scores, ranks = map(list, zip(*expected, strict=True))
        assert found.indices[row].tolist() == indices
        assert found.first_ranks[row].tolist() == ranks
        np.testing.assert_array_equal(
            found.scores[row], [np.nan if score is None else score for score in scores]
        )
        np.testing.assert_array_equal(found.first_scores[row], gallery[indices] @ queries[row])


def test_two_stages_over_an_approximate_index(vectors, built):
    _, asked, _ = vectors
    found = two_stage(built, asked[:20], 5, 30, lambda _, candidates: -candidates.astype(float))
    first = built.search(asked[:20], 30)[1]
    np.testing.assert_array_equal(found.indices, np.sort(first, axis=1)[:, :5])
    np.testing.assert_array_equal(np.take_along_axis(first, found.first_ranks - 1, 1), found.indices)


def test_two_stages_refuse_what_makes_no_sense():
    index = ExactIndex(np.eye(4))
    with pytest.raises(ValueError, match="at least 1, found 0"):
        two_stage(index, np.eye(4), 2, 0, lambda _, candidates: candidates)
    with pytest.raises(ValueError, match=r"\(1,\) for \(3,\) candidates"):
        two_stage(index, np.eye(4), 2, 3, lambda _, candidates: np.zeros(1))
