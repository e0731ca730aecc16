"""Error analysis against slow loops and cases whose answer is known."""

import math
import sys
import time
import types
from itertools import product

import numpy as np
import pytest
from scipy import stats

from xmr.analysis import (
    Projection,
    aligned,
    buckets,
    by_label,
    by_number,
    by_word,
    has_umap,
    hits,
    hubness,
    mean_interval,
    missed_by_one,
    modality_gap,
    paired_queries,
    project,
    query_slicings,
    scored_sides,
    slice_differences,
    slice_means,
    top_items,
    true_but_unannotated,
)
from xmr.metrics import bootstrap_interval, by_visual, flip_test


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def unit(x):
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def lists(found):
    return {name: queries.tolist() for name, queries in found.items()}


# ---- buckets ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runs", [1, 2, 3])
@pytest.mark.parametrize("k", [1, 5])
def test_buckets_are_what_a_loop_says(rng, runs, k):
    ranks = rng.integers(1, 9, (runs, 60)).astype(float)
    ranks[:, [3, 40]] = np.nan
    expected = {}
    for query in range(60):
        right = [rank <= k for rank in ranks[:, query]]
        if np.isnan(ranks[:, query]).any():
            name = "no match"
        elif all(right):
            name = "all right"
        elif not any(right):
            name = "all wrong"
        else:
            name = "some right" if runs > 2 else "only A" if right[0] else "only B"
        expected.setdefault(name, []).append(query)
    found = lists(buckets(ranks, k))
    assert {name: queries for name, queries in found.items() if queries} == expected
    assert sorted(q for queries in found.values() for q in queries) == list(range(60))


def test_empty_buckets_are_there_and_a_query_without_match_only_where_there_is_one():
    found = buckets(np.array([[1.0, 1.0], [1.0, 2.0]]), 1)
    assert lists(found) == {"all right": [0], "only A": [1], "only B": [], "all wrong": []}


def test_hits_and_near_misses():
    ranks = np.array([1.0, 5.0, 6.0, 7.0, np.nan])
    np.testing.assert_array_equal(hits(ranks, 5), [1, 1, 0, 0, np.nan])
    assert missed_by_one(ranks, 5).tolist() == [False, False, True, False, False]


@pytest.mark.parametrize("count", [7, 600])
def test_a_top_hit_that_is_true_but_not_annotated(rng, count):
    query_group, gallery_group = rng.integers(0, 9, count), rng.integers(0, 9, 30)
    relevance = rng.choice([0, 1, np.nan], (count, 30))
    top = rng.integers(0, 30, count)
    found = true_but_unannotated(
        top, query_group, gallery_group, lambda rows, columns: relevance[rows][:, columns]
    )
    unknown = true_but_unannotated(top, query_group, gallery_group, None)
    for query in range(count):
        annotated = query_group[query] == gallery_group[top[query]]
        expected = 0 if annotated else relevance[query, top[query]]
        np.testing.assert_equal(found[query], expected)
        np.testing.assert_equal(unknown[query], 0.0 if annotated else np.nan)


# ---- slices ----------------------------------------------------------------------------------------------


def test_an_interval_needs_two_visuals(rng):
    values = rng.random(50)
    assert mean_interval(values, seed=3) == (
        pytest.approx(values.mean()),
        *bootstrap_interval(values, seed=3),
    )
    visuals = np.repeat(np.arange(10), 5)
    assert mean_interval(values, visuals)[1:] == bootstrap_interval(values, visuals)
    assert mean_interval(np.array([0.5, np.nan]))[0] == 0.5
    for few, visuals in (([0.5], None), ([np.nan], None), ([0.5, 0.7], [4, 4]), ([0.5, np.nan], [1, 2])):
        assert np.isnan(mean_interval(np.array(few), visuals and np.array(visuals))[1:]).all()


def test_means_of_slices_are_means_of_their_queries(rng):
    values = rng.random(40).round(1)
    values[7] = np.nan
    slicing = {"first": np.arange(10), "odd": np.arange(1, 40, 2), "nobody": np.array([7])}
    found = slice_means(values, slicing)
    assert [one.name for one in found] == ["first", "odd"]
    for one in found:
        own = [values[q] for q in slicing[one.name] if not np.isnan(values[q])]
        assert one.count == len(own) and one.mean == pytest.approx(sum(own) / len(own))
        assert one.low <= one.mean <= one.high


def test_the_slice_that_differs_most_surely_comes_first():
    a, b = np.zeros(300), np.zeros(300)
    b[:150:3] = 1  # a third of the first 150, surely
    b[[200, 201]] = 1  # all of two by chance, none elsewhere
    b[202] = -1
    slicing = {"same": np.arange(210, 300), "few": np.array([200, 201, 202]), "many": np.arange(150)}
    found = slice_differences(a, b, slicing)
    assert [one.name for one in found] == ["many", "same", "few"]
    assert found[0].mean == pytest.approx(1 / 3) and found[0].low > 0.2
    assert slice_differences(b, a, slicing)[0].mean == pytest.approx(-1 / 3)


def test_numbers_make_slices_of_values_or_of_quantiles():
    assert lists(by_number([2, 1, None, 2, ""])) == {"1": [1], "2": [0, 3], "not given": [2, 4]}
    found = by_number(np.arange(100))
    assert list(found) == ["0 – 24", "25 – 49", "50 – 74", "75 – 99"]
    assert all(len(queries) == 25 for queries in found.values())
    assert by_number([None, None]).keys() == {"not given"}


def test_every_number_is_in_the_bin_that_names_it(rng):
    for values in (
        rng.normal(size=200), 1000 + 1e-4 * rng.random(200), rng.integers(0, 3000, 200), rng.exponential(size=200) ** 9
    ):  # fmt: skip
        found = by_number(values)
        assert len(found) == 4 and sum(map(len, found.values())) == 200
        last = -np.inf
        for name, queries in found.items():
            low, high = (float(end.replace(",", "")) for end in name.split(" – "))
            own = values[queries]
            assert low == pytest.approx(own.min(), rel=6e-3, abs=1e-12) and own.min() > last
            assert high == pytest.approx(own.max(), rel=6e-3, abs=1e-12) and low < high
            last = own.max()


def test_labels_are_sliced_by_frequency_and_rare_ones_together():
    found = by_label(["b", "a", "b", None, "c", "a", "b"], most=2)
    assert lists(found) == {"b": [0, 2, 6], "a": [1, 5], "2 rarer ones": [3, 4]}


def test_words_are_whole_words_and_phrases():
    texts = ["A cube LEFT of a ball", "leftover", "in front of, and on, a box", "a dog", "left\nbehind"]
    found = by_word(texts)
    assert lists(found) == {
        "left": [0, 4], "behind": [4], "in front": [2], "on": [2], "none of these": [1, 3]
    }  # fmt: skip


def test_slicings_of_a_split_in_both_directions():
    captions = ["a b c", "a left", "one", "two three", "on it"]
    links = np.array([0, 0, 1, 2, 2])
    columns = {"size": [1, "2", 2], "id": ["x", "y", "z"], "kind": ["p", "p", "p"], "raw": [[1], [2], [3]]}
    t2v = query_slicings(captions, links, "t2v", columns, ["cat", "dog", "cat"])
    v2t = query_slicings(captions, links, "v2t", columns, ["cat", "dog", "cat"])
    assert set(t2v) == {"words in a caption", "relation words", "size"}
    assert lists(t2v["words in a caption"]) == {"1": [2], "2": [1, 3, 4], "3": [0]}
    assert lists(t2v["size"]) == {"1": [0, 1], "2": [2, 3, 4]}
    assert lists(v2t["words in a caption"]) == {"1": [1], "2": [2], "2.5": [0]}
    assert lists(v2t["relation words"]) == {"left": [0], "on": [2], "none of these": [1]}
    many = query_slicings(["x"] * 8, np.arange(8), "v2t", {}, ["cat", "dog"] * 4)
    assert {title: lists(slicing) for title, slicing in many.items()} == {
        "label": {"cat": [0, 2, 4, 6], "dog": [1, 3, 5, 7]}
    }
    assert query_slicings(captions, links, "t2v", words=False) == {}


def test_a_visual_without_captions_has_no_length():
    found = query_slicings(["a", "b c"], np.array([0, 2]), "v2t", {"n": [1, 1, 2]})
    assert lists(found["words in a caption"]) == {"1": [0], "2": [2], "not given": [1]}


# ---- two runs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (0, 1), (3, 3), (2, 9), (40, 21), (30_000, 31_000)])
def test_of_single_hits_the_test_is_mcnemars_exact_one(only_a, only_b):
    n = only_a + only_b
    found, how = flip_test(np.repeat([-1.0, 1.0, 0.0], [only_a, only_b, 7]))
    assert found == pytest.approx(stats.binomtest(only_a, n).pvalue if n else 1.0, rel=1e-6)
    assert "exact" in how


def test_numbers_too_large_for_the_exact_test_are_drawn():
    sums = np.array([3.0, -1.0, 4.0, 1.0, 5.0])
    (exact, _), (drawn, how) = flip_test(sums), flip_test(sums * 10**8)
    assert "2,000" in how and drawn == pytest.approx(exact, abs=0.05)


@pytest.mark.parametrize("whole", [True, False])
def test_flips_are_all_flips_of_the_visuals(rng, whole):
    """Every way to give each of 9 visuals' sums a sign, of captions that differ in number."""
    visuals = rng.permutation(np.repeat(np.arange(9), rng.integers(1, 6, 9)))
    a, b = rng.random((2, len(visuals)))
    if whole:
        a, b = (a < 0.4).astype(float), (b < 0.7).astype(float)
    a[2] = b[5] = np.nan
    sums = [np.nansum((b - a)[visuals == visual]) for visual in range(9)]
    every = [abs(np.dot(signs, sums)) for signs in product((-1, 1), repeat=9)]
    exact = np.mean([one >= abs(sum(sums)) - 1e-9 for one in every])
    found = paired_queries(a, b, visuals)
    error = 1e-9 if whole else 4 * math.sqrt(exact * (1 - exact) / 2000) + 1e-3
    assert found.p == pytest.approx(exact, abs=error)
    assert ("exact" in found.test) == whole
    assert (found.queries, found.visuals) == (len(visuals) - 2, 9)
    assert found.difference == pytest.approx(np.nanmean(b - a)) == pytest.approx(found.b - found.a)


# 100 visuals of five captions that go together, as measured on Flickr8k: of the latent score half is the visual's.
VISUALS = np.repeat(np.arange(100), 5)


def hits_of_captions(rng, *shares):
    """Hits of 500 captions: a latent normal score above 0.5, of a visual's share, then of captions of their own."""
    latent = sum(math.sqrt(share) * rng.normal(size=100).repeat(5) for share in shares) + math.sqrt(
        1 - sum(shares)
    ) * rng.normal(size=500)
    return (latent > 0.5).astype(float)


def test_intervals_hold_the_mean_as_often_as_they_promise(rng):
    held, alone = 0, 0
    for _ in range(1000):
        values = hits_of_captions(rng, 0.5)
        low, high = bootstrap_interval(values, VISUALS)
        held += low <= stats.norm.sf(0.5) <= high
        low, high = bootstrap_interval(values)  # as if captions were independent
        alone += low <= stats.norm.sf(0.5) <= high
    assert 930 <= held <= 970
    assert alone < 850  # so that the simulation is one in which it matters


def test_two_runs_that_do_not_differ_are_told_apart_as_rarely_as_promised(rng):
    """Two trainings of one loss: each visual is a little easier for one or the other, for all of its captions."""
    found, alone = 0, 0
    for _ in range(1000):
        a, b = hits_of_captions(rng, 0.5), hits_of_captions(rng, 0.5)
        found += flip_test(by_visual(b - a, VISUALS)[0])[0] < 0.05
        alone += flip_test(b - a)[0] < 0.05
    assert 35 <= found <= 65
    assert alone > 90


def test_equal_runs_do_not_differ_and_no_query_is_an_error():
    values = np.array([0.2, 0.7, 0.1])
    assert paired_queries(values, values).p == 1
    with pytest.raises(ValueError, match="nothing to compare"):
        paired_queries(np.array([np.nan, 1.0]), np.array([1.0, np.nan]))


# ---- hubs and the gap ------------------------------------------------------------------------------------


def test_top_items_and_hubness_are_what_loops_say(rng):
    queries, gallery = unit(rng.normal(size=(70, 6))), unit(rng.normal(size=(25, 6)) + 0.4)
    top = top_items(queries, gallery, 4)
    counts = [0] * 25
    for query in range(70):
        order = sorted(range(25), key=lambda item: -float(queries[query] @ gallery[item]))[:4]
        assert top[query].tolist() == order
        for item in order:
            counts[item] += 1
    found = hubness(top, 25)
    mean = sum(counts) / 25
    deviation = math.sqrt(sum((n - mean) ** 2 for n in counts) / 25)
    skewness = sum((n - mean) ** 3 for n in counts) / 25 / deviation**3
    assert found.counts.tolist() == counts and found.k == 4
    assert found.skewness == pytest.approx(skewness) == pytest.approx(stats.skew(counts))
    assert found.never == counts.count(0) / 25
    hubs = sorted((i for i in range(25) if counts[i] > mean + 2 * deviation), key=lambda i: (-counts[i], i))
    assert found.hubs.tolist() == hubs and hubs
    assert found.taken == pytest.approx(sum(counts[i] for i in hubs) / (70 * 4))


def test_hubs_of_a_pair_scorer_come_from_its_scores(rng):
    scores = rng.normal(size=(12, 20)).astype(np.float32)
    visual, text = scored_sides(scores, unit(rng.normal(size=(12, 3))), unit(rng.normal(size=(20, 3))))
    np.testing.assert_array_equal(top_items(visual, text, 3), np.argsort(-scores, 1)[:, :3])
    np.testing.assert_array_equal(top_items(text, visual, 30), np.argsort(-scores.T, 1))
    with pytest.raises(ValueError, match="no common space"):
        modality_gap(visual, text)


def test_lists_that_are_all_the_same_and_all_different():
    same, different = hubness(np.zeros((9, 1), int), 10), hubness(np.arange(10)[:, None], 10)
    assert same.hubs.tolist() == [0] and same.taken == 1 and same.never == 0.9 and same.skewness > 2
    assert not len(different.hubs) and different.taken == different.never == different.skewness == 0


def test_the_gap_is_what_loops_over_pairs_say(rng):
    visual, text = unit(rng.normal(size=(9, 5)) + 1), unit(rng.normal(size=(14, 5)) - 0.3)
    found = modality_gap(visual, text)

    def mean(pairs):
        return np.mean([float(a @ b) for a, b in pairs])

    def within(side):
        return mean((side[i], side[j]) for i in range(len(side)) for j in range(len(side)) if i != j)

    assert found.distance == pytest.approx(np.linalg.norm(visual.mean(0) - text.mean(0)), rel=1e-5)
    assert found.within_visual == pytest.approx(within(visual), abs=1e-6)
    assert found.within_text == pytest.approx(within(text), abs=1e-6)
    assert found.between == pytest.approx(mean(product(visual, text)), abs=1e-6)
    assert np.isnan(modality_gap(visual[:1], text).within_visual)


# ---- maps ------------------------------------------------------------------------------------------------


def test_a_map_is_the_principal_components_of_both_sides(rng):
    spread = np.diag([5.0, 3.0, 0.5, 0.1])
    visual, text = rng.normal(size=(60, 4)) @ spread + 2, rng.normal(size=(60, 4)) @ spread
    found = project(visual, text)
    both = np.concatenate([visual, text])
    centred = both - both.mean(0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    expected = centred @ axes[:2].T
    for axis in range(2):
        sign = np.sign(axes[axis][np.abs(axes[axis]).argmax()])
        mine = np.concatenate([found.visual, found.text])[:, axis]
        np.testing.assert_allclose(mine, sign * expected[:, axis], atol=1e-4)
    np.testing.assert_allclose(found.explained, (sizes**2 / (sizes**2).sum())[:2], rtol=1e-6)


def test_a_map_of_one_dimension_and_of_few_items(rng):
    found = project(rng.normal(size=(3, 1)), rng.normal(size=(2, 1)))
    assert found.visual.shape == (3, 2) and found.text.shape == (2, 2)
    assert (found.text[:, 1] == 0).all() and found.explained == pytest.approx((1, 0))


def test_a_large_map_depends_on_its_seed_only_and_is_quick(rng):
    visual, text = unit(rng.normal(size=(10_000, 64))), unit(rng.normal(size=(40_000, 64)) + 0.3)
    started = time.process_time()
    first = project(visual, text)
    assert time.process_time() - started < 2
    np.testing.assert_array_equal(first.text, project(visual, text).text)
    gap = first.visual.mean(0) - first.text.mean(0)
    assert np.linalg.norm(gap) == pytest.approx(np.linalg.norm(visual.mean(0) - text.mean(0)), rel=0.02)


def test_aligning_undoes_turns_mirrors_and_shifts(rng):
    first = Projection(
        rng.normal(size=(8, 2)).astype(np.float32), rng.normal(size=(9, 2)).astype(np.float32), "pca", (0, 0)
    )
    turn = np.array([[0.6, 0.8], [0.8, -0.6]])  # a reflection
    other = Projection(first.visual @ turn + 3, first.text @ turn + 3, "pca", (0, 0))
    found = aligned(other, first)
    np.testing.assert_allclose(found.visual, first.visual, atol=1e-5)
    np.testing.assert_allclose(found.text, first.text, atol=1e-5)


def test_an_aligned_map_is_nearer_than_any_other_turn_of_it(rng):
    first, other = (Projection(*rng.normal(size=(2, 15, 2)), "pca", (0, 0)) for _ in range(2))
    found = aligned(other, first)

    def far(visual, text):
        return ((visual - first.visual) ** 2).sum() + ((text - first.text) ** 2).sum()

    x, y = (np.concatenate([one.visual, one.text]) for one in (other, first))
    for angle, mirror in product(np.linspace(0, 2 * np.pi, 73), (1, -1)):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * [1, mirror]
        turned = (x - x.mean(0)) @ turn + y.mean(0)
        assert far(found.visual, found.text) <= far(turned[:15], turned[15:]) + 1e-4
    np.testing.assert_allclose(
        np.linalg.norm(found.visual - found.visual[0], axis=1),
        np.linalg.norm(other.visual - other.visual[0], axis=1),
        atol=1e-5,
    )


def test_maps_of_other_items_and_unknown_methods_are_refused(rng):
    a, b = (Projection(np.zeros((n, 2)), np.zeros((4, 2)), "pca", (0, 0)) for n in (3, 5))
    with pytest.raises(ValueError, match=r"\(5, 4\) and \(3, 4\)"):
        aligned(b, a)
    with pytest.raises(ValueError, match="pca"):
        project(np.eye(3), np.eye(3), "pac")


def test_umap_is_asked_where_it_is_there_and_named_where_not(rng, monkeypatch):
    visual, text = unit(rng.normal(size=(6, 4))), unit(rng.normal(size=(7, 4)))
    monkeypatch.setattr("xmr.analysis.maps.find_spec", lambda name: None)
    assert not has_umap()
    with pytest.raises(ValueError, match="pip install umap-learn"):
        project(visual, text, "umap")
    asked = {}

    class UMAP:
        def __init__(self, **options):
            asked.update(options)

        def fit_transform(self, points):
            return points[:, :2] * 10

    monkeypatch.setattr("xmr.analysis.maps.find_spec", lambda name: name)
    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=UMAP))
    found = project(visual, text, "umap", seed=4)
    np.testing.assert_allclose(found.text, 10 * text[:, :2])
    assert asked["random_state"] == 4 and asked["metric"] == "cosine" and found.explained == (0, 0)
