"""Approximate indexes, their files, and two-stage search, against exact search and slow loops."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import xmr.search.approximate as approximate
from xmr.search import (
    ApproximateIndex,
    ExactIndex,
    IndexRefused,
    build_index,
    cached_index,
    megabytes,
    open_index,
    save_index,
    two_stage,
)

KINDS = ("hnsw", "ivf", "ivf_sq8")
TARGET = 0.9


def clustered(rng, centres, count, spread=0.5):
    rows = centres[rng.integers(0, len(centres), count)]
    rows = rows + spread * rng.standard_normal(rows.shape)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


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
    return {kind: build_index(made, TARGET, queries=shifted[:150], kind=kind) for kind in KINDS}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XMR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def recall(found, best):
    return np.mean([len({*a} & {*b}) / len(b) for a, b in zip(found.tolist(), best.tolist(), strict=True)])


# ---- exact search on both sides of the threshold for BLAS ---------------------------------------------------


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("queries", [1, 15, 40])  # times 128 dimensions: below and above 2,000
def test_exact_search_equals_brute_force_and_keeps_ties_in_order(queries, given):
    rng = np.random.default_rng(queries)
    gallery = np.repeat(clustered(rng, rng.standard_normal((9, 128)), 150), 3, axis=0)
    asked = clustered(rng, rng.standard_normal((9, 128)), queries)
    scores, indices = ExactIndex(gallery).search(asked, 9, rows=asked @ gallery.T if given else None)
    brute = asked.astype(np.float64) @ gallery[::3].T.astype(np.float64)
    three = np.argsort(-brute, axis=1, kind="stable")[:, :3]
    np.testing.assert_array_equal(indices, (3 * three[:, :, None] + np.arange(3)).reshape(queries, 9))
    np.testing.assert_allclose(scores[:, ::3], np.take_along_axis(brute, three, 1), atol=1e-6)


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
    index = ApproximateIndex(exact, built["ivf"].proposer, built["ivf"].facts)
    np.testing.assert_array_equal(index.search(asked, 5)[1], built["ivf"].search(asked, 5)[1])


# ---- approximate search -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_target_is_reached_on_fresh_queries_of_both_distributions(vectors, built, kind):
    made, asked, shifted = vectors
    index = built[kind]
    assert isinstance(index, ApproximateIndex) and index.facts.kind == kind
    assert {*index.facts.recall} == {"held out", "queries"}
    for fresh in (asked, shifted[150:]):
        scores, indices = index.search(fresh, 10)
        assert recall(indices, ExactIndex(made).search(fresh, 10)[1]) >= TARGET
        np.testing.assert_allclose(
            scores, np.einsum("qe,qke->qk", fresh.astype(np.float64), made[indices]), atol=1e-6
        )
        assert (np.diff(scores) <= 0).all()
        assert all(len({*row}) == 10 for row in indices.tolist())


@pytest.mark.parametrize("kind", KINDS)
def test_every_vector_is_in_the_index_those_held_out_too(vectors, built, kind):
    made, _, _ = vectors
    index = built[kind]
    assert index.proposer.ntotal == len(index) == 20_000
    held = np.random.default_rng(0).permutation(20_000)[: approximate.HELD_OUT]
    assert (index.search(made[held], 1)[1][:, 0] == held).mean() >= TARGET


@pytest.mark.parametrize("kind", KINDS)
def test_a_smaller_setting_would_not_have_reached_the_target(vectors, kind):
    made, _, _ = vectors
    index = build_index(made[:8000], 0.99, kind=kind)
    ladder = approximate._ladder(kind, index.proposer)
    place = ladder.index(index.facts.setting)
    assert index.facts.recall["held out"] >= 0.99
    if kind != "hnsw":  # a graph this small reaches it with the smallest
        assert place > 0
        lower = build_index(made[:8000], 0.5, kind=kind)
        assert lower.facts.setting < index.facts.setting
        assert lower.facts.recall["held out"] < index.facts.recall["held out"]


@pytest.mark.parametrize("kind", KINDS)
def test_equal_scores_among_the_found_are_ordered_as_in_exact_search(kind):
    rng = np.random.default_rng(3)
    distinct = clustered(rng, rng.standard_normal((50, 16)), 1500)
    gallery = np.repeat(distinct, 2, axis=0)[rng.permutation(3000)]
    index, exact = build_index(gallery, 0.5, k=4, kind=kind), ExactIndex(gallery)
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
    index = build_index(made, 0.1, kind="ivf")
    assert index.facts.setting == 1  # one cell holds some 40 vectors
    exact = ExactIndex(made)
    for k in (300, 1200):
        scores, indices = index.search(asked[:3], k)
        np.testing.assert_array_equal(indices, exact.search(asked[:3], k)[1])
        assert np.isfinite(scores).all()
    assert index.search(asked[0], 30_000)[1].shape == (1, 4000)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("count", "k"), [(1, 1), (639, 1), (640, 1), (640, 5), (1599, 10), (1600, 10)])
def test_the_smallest_galleries_are_answered_by_every_kind(kind, count, k):
    made = clustered(np.random.default_rng(count), np.eye(5, 8), count)
    index = build_index(made, 0.5, k=k, kind=kind)
    large_enough = count >= approximate.TRAINING * max(4 * k, 16)
    assert large_enough or (isinstance(index, ExactIndex) and "only" in index.facts.note)
    assert index.facts.kind in ("exact", kind)
    scores, indices = index.search(made[:3], k)
    assert scores.shape == indices.shape == (min(3, count), k)
    assert (indices[:, 0] == np.arange(min(3, count))).mean() > 0.3


def test_where_no_setting_reaches_the_target_the_index_is_exact_and_says_so():
    rng = np.random.default_rng(0)  # no clusters: neighbours are nowhere in particular
    made = clustered(rng, np.zeros((1, 128)), 6000)
    index = build_index(made, 0.99, kind="ivf")
    assert isinstance(index, ExactIndex) and index.facts.kind == "exact"
    assert "not 0.99: exact instead" in index.facts.note and "nprobe" in index.facts.note


def test_the_kind_follows_size_memory_and_recall(vectors):
    choose = approximate.choose_kind
    small, middle, large = approximate.EXACT_UP_TO, approximate.HNSW_UP_TO, approximate.HNSW_UP_TO + 1
    assert choose(10 * large, 512, 1.0, None)[0] == "exact"
    assert choose(small, 512, 0.9, None)[0] == "exact"
    assert choose(small + 1, 512, 0.9, None)[0] == "hnsw"
    assert choose(middle, 512, 0.9, None)[0] == "hnsw"
    assert choose(large, 512, 0.9, None)[0] == "ivf_sq8"
    assert choose(middle, 512, 0.9, megabytes("hnsw", middle, 512) - 1)[0] == "ivf_sq8"
    assert choose(middle, 512, 0.9, megabytes("ivf_sq8", middle, 512))[0] == "ivf_sq8"
    kind, why = choose(middle, 512, 0.9, megabytes("ivf_sq8", middle, 512) - 1)
    assert kind == "exact" and "are allowed" in why
    assert build_index(vectors[0], 0.9).facts.kind == "exact"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"recall": 0}, r"\(0, 1\], found 0"),
        ({"recall": 1.5}, r"found 1.5"),
        ({"recall": float("nan")}, r"found nan"),
        ({"k": 0}, r"at least 1, found 0"),
        ({"kind": "hnws"}, "hnsw"),
        ({"vectors": np.zeros((0, 8))}, r"\(0, 8\)"),
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
    for index in (built["hnsw"], ExactIndex(vectors[0])):
        with pytest.raises(ValueError, match="9 dimensions, the gallery has 32"):
            index.search(np.zeros((1, 9)), 3)
        with pytest.raises(ValueError, match="finite"):
            index.search(np.full((1, 32), np.nan), 3)


# ---- files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_index_is_opened_memory_mapped_and_answers_the_same(vectors, built, cache, kind):
    made, asked, _ = vectors
    folder = cache / "indexes" / kind
    save_index(built[kind], folder)
    assert sorted(path.name for path in folder.iterdir()) == ["index.faiss", "index.json"]
    opened = open_index(folder, made)
    assert opened.facts == built[kind].facts
    if Path("/proc/self/maps").exists():
        assert str(folder / "index.faiss") in Path("/proc/self/maps").read_text()
    for old, new in zip(built[kind].search(asked, 10), opened.search(asked, 10), strict=True):
        np.testing.assert_array_equal(old, new)
    size = (folder / "index.faiss").stat().st_size / 1e6
    assert size == pytest.approx(megabytes(kind, *made.shape), rel=0.1)


def damage(path, change):
    """Cuts a file, or flips one bit in its middle."""
    content = bytearray(path.read_bytes())
    if change == "cut":
        del content[-1000:]
    else:
        content[len(content) // 2] ^= 1
    path.unlink()
    path.write_bytes(content)


@pytest.mark.parametrize(("change", "words"), [("cut", "truncated"), ("flip", "altered")])
def test_a_damaged_file_is_refused(vectors, built, cache, change, words):
    save_index(built["ivf_sq8"], cache / "it")
    damage(cache / "it" / "index.faiss", change)
    with pytest.raises(IndexRefused, match=words):
        open_index(cache / "it", vectors[0])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no description"),
        ("[]", "no description"),
        ('{"format": 0}', "format 0"),
        ('{"format": 1}', "no description"),
        ("[" * 60_000, "no description"),
        (" " * 70_000, "70,000 bytes"),
        (None, "missing"),
        ({"vectors": "0" * 64}, "other vectors"),
        ({"sha256": "0" * 64}, "altered"),
        ({"kind": "flat"}, "kind 'flat'"),
        ({"kind": ["ivf"]}, "kind"),
        ({"setting": -3}, "setting -3"),
        ({"setting": "8"}, "setting '8'"),
        ({"setting": 10**30}, "31 digits"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(vectors, built, cache, content, words):
    path = cache / "it" / "index.json"
    save_index(built["ivf_sq8"], path.parent)
    if isinstance(content, dict):
        path.write_text(json.dumps(json.loads(path.read_text()) | content))
    elif content is None:
        path.unlink()
    else:
        path.write_text(content)
    with pytest.raises(IndexRefused, match=words):
        open_index(path.parent, vectors[0])


def test_an_index_of_other_vectors_or_from_elsewhere_is_never_read(
    vectors, built, cache, tmp_path, monkeypatch
):
    made, _, _ = vectors
    save_index(built["ivf"], cache / "it")
    with pytest.raises(IndexRefused, match="other vectors"):
        open_index(cache / "it", made[::-1])
    with pytest.raises(ValueError, match="are kept below"):
        save_index(built["ivf"], tmp_path / "elsewhere")
    shutil.copytree(cache / "it", tmp_path / "elsewhere")
    (cache / "link").symlink_to(tmp_path / "elsewhere")
    (cache / "inside").mkdir()
    shutil.copy(cache / "it" / "index.json", cache / "inside" / "index.json")
    (cache / "inside" / "index.faiss").symlink_to(tmp_path / "elsewhere" / "index.faiss")

    def never(*_):
        raise AssertionError("faiss was asked to read it")

    monkeypatch.setattr("faiss.read_index", never)
    for folder in (tmp_path / "elsewhere", cache / "link", cache / ".." / "elsewhere"):
        with pytest.raises(IndexRefused, match="are kept below"):
            open_index(folder, made)
    with pytest.raises(IndexRefused, match="no plain file"):
        open_index(cache / "inside", made)


def test_the_cache_builds_once_and_again_after_damage(vectors, cache, monkeypatch):
    made, asked = vectors[0][:4000], vectors[1]
    count = []

    def counted(*arguments, **options):
        count.append(1)
        return build_index(*arguments, **options)

    monkeypatch.setattr("xmr.search.files.build_index", counted)

    def get(target=TARGET):
        return cached_index(made, target, kind="ivf_sq8")

    first = get().search(asked, 10)[1]
    np.testing.assert_array_equal(get().search(asked, 10)[1], first)
    assert len(count) == 1
    (file,) = cache.glob("indexes/*/index.faiss")
    for change in ("cut", "flip"):
        damage(file, change)
        np.testing.assert_array_equal(get().search(asked, 10)[1], first)
    assert len(count) == 3
    get(0.5)  # another target is another index
    assert len(count) == 4 and len(list(cache.glob("indexes/*/index.faiss"))) == 2


def test_the_cache_remembers_that_exact_search_was_left(cache, monkeypatch):
    made = clustered(np.random.default_rng(0), np.zeros((1, 128)), 6000)
    note = cached_index(made, 0.99, kind="ivf").facts.note
    monkeypatch.setattr("xmr.search.files.build_index", None)
    again = cached_index(made, 0.99, kind="ivf")
    assert isinstance(again, ExactIndex) and again.facts.note == note and "exact instead" in note
    assert not list(cache.glob("indexes/*/*.faiss"))


def test_a_full_disk_keeps_nobody_from_searching(vectors, cache, monkeypatch):
    made, asked = vectors[0][:4000], vectors[1]

    def full(_, path):
        Path(path).write_bytes(b"half")
        raise RuntimeError("No space left on device")

    monkeypatch.setattr("faiss.write_index", full)
    index = cached_index(made, TARGET, kind="ivf")
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
    found = two_stage(built["hnsw"], asked[:20], 5, 30, lambda _, candidates: -candidates.astype(float))
    first = built["hnsw"].search(asked[:20], 30)[1]
    np.testing.assert_array_equal(found.indices, np.sort(first, axis=1)[:, :5])
    np.testing.assert_array_equal(np.take_along_axis(first, found.first_ranks - 1, 1), found.indices)


def test_two_stages_refuse_what_makes_no_sense():
    index = ExactIndex(np.eye(4))
    with pytest.raises(ValueError, match="at least 1, found 0"):
        two_stage(index, np.eye(4), 2, 0, lambda _, candidates: candidates)
    with pytest.raises(ValueError, match=r"\(1,\) for \(3,\) candidates"):
        two_stage(index, np.eye(4), 2, 3, lambda _, candidates: np.zeros(1))
