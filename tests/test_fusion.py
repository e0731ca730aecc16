"""Fusion rules against slow loops, and what must not change them."""

import itertools
import math

import numpy as np
import pytest

from xmr.fusion import (
    EXHAUSTIVE,
    best_subset,
    deviation,
    equal_weights,
    hybrid,
    joined,
    learned_weights,
    reciprocal_rank,
    score_weights,
)
from xmr.metrics import evaluate


def unit(rng, rows, dim):
    vectors = rng.normal(size=(rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def models(count=3, queries=7, gallery=9, seed=0):
    """Embeddings (queries, gallery) of models whose scores have scales of their own."""
    rng = np.random.default_rng(seed)
    return [
        (
            10.0 ** rng.integers(-2, 3) * rng.normal(rng.normal(), 1, (queries, dim)),
            rng.normal(size=(gallery, dim)),
        )
        for dim in range(4, 4 + count)
    ]


def scores_of(parts):
    return [visual.astype(float) @ text.astype(float).T for visual, text in parts]


def mean_of_z_scores(scores, weights=None):
    """(Q, G), by the definition."""
    weights = np.ones(len(scores)) if weights is None else weights
    each = [weight * (one - one.mean()) / one.std() for weight, one in zip(weights, scores, strict=True)]
    return sum(each) / sum(weights)


def mean(parts):
    """What a combination of models is: one inner product."""
    shares = score_weights(equal_weights(len(parts)), [deviation(*part) for part in parts])
    return joined([visual for visual, _ in parts], shares) @ joined([text for _, text in parts], shares).T


RULES = {"mean": mean, "rank": lambda parts: reciprocal_rank(scores_of(parts))}


def order(scores):
    return np.argsort(scores, 1)


# ---- scores, by loops ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [0, 60])
def test_reciprocal_ranks_by_a_loop(k):
    scores = [np.round(one / np.abs(one).max(), 1) for one in scores_of(models())]  # with ties
    found = reciprocal_rank(scores, k=k)
    for q in range(7):
        for g in range(9):
            expected = sum(1 / (k + sum(other >= m[q, g] for other in m[q])) for m in scores)
            assert found[q, g] == pytest.approx(expected)


def test_reciprocal_ranks_as_in_the_paper():
    """Ranks 1, 2, 3 by the one model and 1, 3, 2 by the other."""
    found = reciprocal_rank([np.array([[0.9, 0.5, 0.1]]), np.array([[9.0, 1.0, 5.0]])])
    np.testing.assert_allclose(found, [[2 / 61, 1 / 62 + 1 / 63, 1 / 63 + 1 / 62]])


# ---- what must not change anything -----------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_the_scale_of_one_model_does_not_matter(rule):
    one, (visual, text), other = models()
    np.testing.assert_array_equal(
        order(RULES[rule]([one, (250 * visual, text), other])), order(RULES[rule](models()))
    )


@pytest.mark.parametrize("rule", RULES)
def test_the_order_of_models_does_not_matter(rule):
    parts = models(4)
    for places in itertools.permutations(range(4)):
        np.testing.assert_allclose(RULES[rule]([parts[i] for i in places]), RULES[rule](parts), atol=1e-12)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("copies", [1, 3])
def test_a_single_model_and_copies_of_it_rank_as_itself(rule, copies):
    parts = models(1)
    np.testing.assert_array_equal(order(RULES[rule](parts * copies)), order(*scores_of(parts)))


@pytest.mark.parametrize("rule", RULES)
def test_a_collapsed_model_says_nothing(rule):
    rng, parts = np.random.default_rng(1), models(2)
    one = rng.normal(size=(1, 5))
    noise = 1e-9 * rng.normal(size=(7, 5)) * (rule != "rank")
    flat = (one.repeat(7, 0) + noise, one.repeat(9, 0))
    np.testing.assert_array_equal(order(RULES[rule]([*parts, flat])), order(RULES[rule](parts)))


def test_what_is_no_score_matrix_is_refused():
    good = np.ones((2, 3))
    with pytest.raises(ValueError, match="-1"):
        reciprocal_rank([good], k=-1)
    with pytest.raises(ValueError, match=r"\(2, 3\), \(3, 2\)"):
        reciprocal_rank([good, good.T])
    with pytest.raises(ValueError, match=r"shapes \[\]"):
        reciprocal_rank([])
    for bad in (np.array([[0.1, np.nan]]), np.zeros((0, 3)), np.zeros(3)):
        with pytest.raises(ValueError, match="finite"):
            reciprocal_rank([bad])


@pytest.mark.parametrize("weights", [[1, -1], [0, 0], [1, np.nan], [1, np.inf], [1], [1, 1, 1]])
def test_what_is_no_weighting_is_refused(weights):
    with pytest.raises(ValueError, match="2 numbers"):
        score_weights(weights, [1.0, 1.0])


# ---- embeddings ------------------------------------------------------------------------------------------------


def test_the_deviation_without_a_matrix_is_that_of_the_matrix():
    rng = np.random.default_rng(0)
    visual, text = unit(rng, 30, 5) + 0.3, unit(rng, 50, 5)
    scores = visual.astype(float) @ text.astype(float).T
    assert deviation(visual, text) == pytest.approx(scores.std(), rel=1e-9)
    assert deviation(3 * visual, text) == pytest.approx(3 * scores.std(), rel=1e-6)


def test_collapsed_embeddings_have_no_deviation():
    one = unit(np.random.default_rng(0), 1, 64)
    assert deviation(np.repeat(one, 40, 0), np.repeat(one, 60, 0)) == 0


def test_joined_embeddings_score_the_weighted_mean_and_are_unit():
    rng = np.random.default_rng(0)
    weights = [0.2, 0.5, 0.3]
    parts = [(unit(rng, 6, dim), unit(rng, 8, dim)) for dim in (4, 16, 7)]
    visual, text = (joined([pair[side] for pair in parts], weights) for side in (0, 1))
    assert visual.shape == (6, 27) and visual.dtype == np.float32
    expected = sum(w * (v @ t.T) for w, (v, t) in zip(weights, parts, strict=True))
    np.testing.assert_allclose(visual @ text.T, expected, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(visual, axis=1), 1, atol=1e-6)


def test_joined_embeddings_rank_as_the_mean_of_z_scores():
    """Σ w z = c Σ a s - Σ w mean / deviation, with c = Σ w / deviation and a = (w / deviation) / c."""
    rng = np.random.default_rng(0)
    weights = np.array([0.25, 0.45, 0.3])
    parts = [(unit(rng, 20, dim), unit(rng, 30, dim)) for dim in (4, 16, 7)]
    scores = [visual.astype(float) @ text.astype(float).T for visual, text in parts]
    spreads = [deviation(*pair) for pair in parts]
    shares = score_weights(weights, spreads)
    assert shares.sum() == pytest.approx(1)
    fused = joined([v for v, _ in parts], shares) @ joined([t for _, t in parts], shares).T
    c = sum(w / s for w, s in zip(weights, spreads, strict=True))
    shift = sum(w * m.mean() / s for w, m, s in zip(weights, scores, spreads, strict=True))
    np.testing.assert_allclose(c * fused - shift, mean_of_z_scores(scores, weights), atol=1e-5)


def test_a_model_without_deviation_gets_no_weight():
    np.testing.assert_allclose(score_weights([0.5, 0.25, 0.25], [0.1, 0.0, 0.05]), [0.5, 0, 0.5])
    with pytest.raises(ValueError, match="nothing to combine"):
        score_weights([0.5, 0.5], [0.0, 0.0])


# ---- rules, by trying everything ---------------------------------------------------------------------------------


def landscape(count, seed):
    """A quality without any structure: every weighting has a value of its own, the same whenever it is asked."""
    mixing = np.random.default_rng(seed).normal(size=(count, 5))
    return lambda weights: float(np.sin(np.round(weights, 9) @ mixing * 7).sum())


def subsets(count):
    for mask in range(1, 2**count):
        chosen = [i for i in range(count) if mask >> i & 1]
        yield np.array([1 / len(chosen) if i in chosen else 0 for i in range(count)])


@pytest.mark.parametrize("count", [1, 2, 5, EXHAUSTIVE])
@pytest.mark.parametrize("seed", range(3))
def test_the_best_subset_is_the_best_of_all(count, seed):
    quality = landscape(count, seed)
    found = best_subset(count, quality)
    assert quality(found) == max(quality(weights) for weights in subsets(count))
    assert len(set(found[found > 0])) == 1 and found.sum() == pytest.approx(1)


def test_of_equally_good_subsets_the_smaller_is_taken():
    np.testing.assert_array_equal(best_subset(4, lambda weights: float(weights[2] > 0)), [0, 0, 1, 0])
    assert (best_subset(EXHAUSTIVE + 2, lambda weights: float(weights[2] > 0)) > 0).sum() == 1


@pytest.mark.parametrize("seed", range(5))
def test_many_models_are_added_one_at_a_time(seed):
    count = EXHAUSTIVE + 3
    quality = landscape(count, seed)

    def mean(chosen):
        return np.array([1 / len(chosen) if i in chosen else 0 for i in range(count)])

    chosen = [max(range(count), key=lambda i: quality(mean([i])))]
    while len(chosen) < count:
        best = max((i for i in range(count) if i not in chosen), key=lambda i: quality(mean([*chosen, i])))
        if quality(mean([*chosen, best])) <= quality(mean(chosen)):
            break
        chosen.append(best)
    np.testing.assert_allclose(best_subset(count, quality), mean(chosen))


@pytest.mark.parametrize("count", [4, EXHAUSTIVE + 4])
@pytest.mark.parametrize("rule", [best_subset, learned_weights])
def test_no_choice_is_worse_on_validation_than_the_best_single_model(rule, count):
    rng = np.random.default_rng(count)
    truth = rng.normal(size=(40, 40)) + 2 * np.eye(40)
    scores = [truth + rng.normal(0, rng.uniform(1, 3), (40, 40)) for _ in range(count)]

    def quality(weights):
        return evaluate(mean_of_z_scores(scores, weights))["rsum"]

    singles = [quality(row) for row in np.eye(count)]
    assert quality(rule(count, quality)) > max(singles)  # independent noise averages out


@pytest.mark.parametrize("seed", range(4))
def test_the_hybrid_is_the_best_mean_of_group_means(seed):
    groups = ["b", "a", "b", "c", "b", "a"]
    quality = landscape(6, seed)
    best = None
    for size in (1, 2, 3):
        for kept in itertools.combinations("abc", size):
            weights = np.array(
                [(group in kept) / (groups.count(group) * len(kept)) for group in groups], float
            )
            if best is None or quality(weights) > quality(best):
                best = weights
    np.testing.assert_allclose(hybrid(groups, quality), best)


@pytest.mark.parametrize("count", [5, EXHAUSTIVE + 1])
def test_the_order_of_models_does_not_change_the_choice(count):
    quality = landscape(count, 1)
    order = np.random.default_rng(0).permutation(count)
    groups = [f"group {i % 3}" for i in range(count)]

    def reordered(weights):  # the weights of the same models, listed in another order
        back = np.empty(count)
        back[order] = weights
        return quality(back)

    for rule in (best_subset, learned_weights):
        np.testing.assert_allclose(rule(count, reordered), rule(count, quality)[order])
    np.testing.assert_allclose(hybrid([groups[i] for i in order], reordered), hybrid(groups, quality)[order])


def test_learned_weights_find_the_best_ones():
    target = np.array([0.5, 0.0, 0.25, 0.25])
    np.testing.assert_allclose(learned_weights(4, lambda w: -np.abs(w - target).max()), target)


def test_learned_weights_end():
    found = learned_weights(2, lambda w: -abs(w[0] - 1 / math.pi))
    assert abs(found[0] - 1 / math.pi) < 1 / 50


@pytest.mark.parametrize(
    "rule", [lambda q: best_subset(0, q), lambda q: learned_weights(0, q), lambda q: hybrid([], q)]
)
def test_no_model_is_refused(rule):
    with pytest.raises(ValueError, match="no model"):
        rule(lambda weights: 0.0)
