"""Words and slices in which queries are enriched: against every permutation, against the hypergeometric distribution, and that false
discoveries stay at the level also where captions of one picture go together."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from xmr.analysis import enrichment, words_in
from xmr.analysis.enriched import (
    DRAWS,
    LEAST_QUERIES,
    LEAST_VISUALS,
    MOST_WORDS,
    _expected,
    _step_down,
    _strata,
)


def indices(mask):
    return np.flatnonzero(mask)


def of_one(y, x, visuals=None, seed=0):
    (found,) = enrichment({"won": y}, {"x": indices(x)}, np.ones(len(y), bool), visuals, seed)["won"]
    return found


def test_what_is_expected_is_the_mean_and_deviation_of_every_permutation():
    rng = np.random.default_rng(0)
    owners = np.array([0, 0, 1, 2, 2, 3, 3, 4, 5, 6, 6])  # four pictures with two captions, three with one
    x, y = (rng.integers(0, 2, (2, len(owners))).astype(np.float32) for _ in range(2))
    strata = list(_strata(owners))
    assert sorted(part.shape for part in strata) == [(3, 1), (4, 2)]
    found = []
    for turns in itertools.product(*(itertools.permutations(range(len(part))) for part in strata)):
        drawn = y.copy()
        for part, turn in zip(strata, turns, strict=True):
            drawn[:, part.ravel()] = y[:, part[list(turn)].ravel()]
        found.append([[float(row @ one) for one in x] for row in drawn])
    mean, deviation = _expected(x, y, strata)
    assert mean == pytest.approx(np.mean(found, 0))
    assert deviation == pytest.approx(np.std(found, 0))


@pytest.mark.parametrize("seed", range(4))
def test_one_word_of_queries_that_are_pictures_has_the_p_of_the_hypergeometric_distribution(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.random(60) < 0.3, rng.random(60) < 0.4
    both, has, won = int((x & y).sum()), int(x.sum()), int(y.sum())
    counts = np.arange(0, has + 1)
    chance = stats.hypergeom(60, won, has).pmf(counts)
    mean = has * won / 60
    expected = chance[np.abs(counts - mean) >= abs(both - mean) - 1e-9].sum()
    found = of_one(y, x)
    assert found.p == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / DRAWS) + 1e-3)
    assert (found.count, found.inside, found.outside) == (has, both / has, (won - both) / (60 - has))


def test_a_planted_word_is_found_with_its_share_and_interval_and_no_other():
    rng = np.random.default_rng(1)
    visuals = np.arange(600) // 3
    features = {f"word {i}": rng.random(600) < 0.2 for i in range(30)}
    y = rng.random(600) < np.where(features["word 7"], 0.5, 0.15)
    found = enrichment(
        {"won": y, "lost": rng.random(600) < 0.2},
        {n: indices(x) for n, x in features.items()},
        np.ones(600, bool),
        visuals,
    )
    first, second = found["won"][:2]
    assert first.name == "word 7" and first.p < 0.01 < 0.05 < second.p
    x = features["word 7"]
    assert (first.inside, first.outside) == pytest.approx((y[x].mean(), y[~x].mean()))
    assert first.low < first.difference < first.high and first.low > 0.15
    assert min(one.p for one in found["lost"]) > 0.05
    assert first == enrichment({"won": y}, {"word 7": indices(x)}, np.ones(600, bool), visuals)["won"][
        0
    ].__class__(**vars(first))


@pytest.mark.parametrize("together", [False, True], ids=["apart", "captions go together"])
def test_false_discoveries_stay_at_the_level(together, monkeypatch):
    """Outcomes without any relation to words, 150 times: some word is called enriched in about 5% of them; by caption it would be
    in many more, where captions of a picture are won together and share their words."""
    monkeypatch.setattr("xmr.analysis.enriched.DRAWS", 300)
    monkeypatch.setattr("xmr.analysis.enriched.FEWEST_DRAWS", 300)
    monkeypatch.setattr("xmr.analysis.enriched.INTERVALS", 0)
    wrong, naive, times = 0, 0, 150
    for seed in range(times):
        rng = np.random.default_rng(seed)
        visuals = np.repeat(np.arange(60), rng.integers(1, 6, 60) if seed % 2 else 5)
        size = len(visuals)

        def drawn(share, rng=rng, visuals=visuals, size=size):
            return (rng.random(60) < share)[visuals] if together else rng.random(size) < share

        features = {f"word {i}": drawn(rng.uniform(0.05, 0.6)) for i in range(12)}
        y = {"won": drawn(0.2), "lost": drawn(0.3)}
        some = {name: indices(x) for name, x in features.items()}
        found = enrichment(y, some, np.ones(size, bool), visuals, seed)
        wrong += any(one.p < 0.05 for kind in found.values() for one in kind)
        tables = [
            np.array([[(x & o).sum(), (x & ~o).sum()], [(~x & o).sum(), (~x & ~o).sum()]])
            for x in features.values()
            for o in y.values()
        ]
        naive += any(stats.fisher_exact(table).pvalue * len(tables) < 0.05 for table in tables)
    assert wrong / times <= 0.05 + 2.6 * np.sqrt(0.05 * 0.95 / times)
    assert naive / times > 0.3 if together else naive / times < 0.1


def test_the_corrected_p_is_that_of_a_slow_loop_over_the_same_draws():
    rng = np.random.default_rng(3)
    owners = np.repeat(np.arange(20), 2)
    x = (rng.random((5, 40)) < 0.4).astype(np.float32)
    y = (rng.random((2, 40)) < 0.4).astype(np.float32)
    strata = list(_strata(owners))
    mean, deviation = _expected(x, y, strata)
    found = _step_down(x, y, strata, mean, deviation, 5)
    draws, again = [], np.random.default_rng(5)
    turns = again.random((DRAWS, 20)).argsort(1)
    for turn in turns:
        pairs = [y[:, strata[0][i]] for i in turn]
        shuffled = np.zeros_like(y)
        for visual, one in zip(strata[0], pairs, strict=True):
            shuffled[:, visual] = one
        draws.append(
            [abs(shuffled[k] @ x[f] - mean[k, f]) / deviation[k, f] for k in range(2) for f in range(5)]
        )
    seen = [abs(y[k] @ x[f] - mean[k, f]) / deviation[k, f] for k in range(2) for f in range(5)]
    order, largest_p, p = sorted(range(10), key=lambda i: -seen[i]), 0.0, {}
    for at, i in enumerate(order):
        beaten = sum(max(draw[j] for j in order[at:]) >= seen[i] - 1e-6 for draw in draws)
        largest_p = max(largest_p, (1 + beaten) / (1 + DRAWS))
        p[i] = largest_p
    assert found.ravel() == pytest.approx([p[i] for i in range(10)], abs=1e-9)


def test_queries_that_are_not_known_and_features_of_all_or_none_are_left_out():
    y = np.array([True, False] * 20)
    known = np.arange(40) >= 4
    features = {"all": np.arange(40), "none": np.arange(4), "some": np.array([0, 4, 6, 8])}
    (one,) = enrichment({"won": y}, features, known)["won"]
    assert (one.name, one.count, one.inside) == ("some", 3, 1.0)
    assert enrichment({"won": y}, {}, known) == {"won": []}
    nobody = enrichment({"won": np.zeros(40, bool)}, features, known)["won"][0]
    assert (nobody.p, nobody.difference) == (1.0, 0.0)


def test_words_are_those_that_tell_some_queries_from_others():
    texts = ["a cat"] * 30 + ["a dog cat cat"] * 30 + ["a rare owl"] * (LEAST_QUERIES - 1) + ["nothing"] * 5
    found = words_in(texts)
    assert (
        set(found) == {"cat", "dog"}
        and found["dog"].tolist() == list(range(30, 60))
        and len(found["cat"]) == 60
    )
    few = np.concatenate([np.arange(30), np.arange(30) % (LEAST_VISUALS - 1) + 100, np.arange(200, 214)])
    assert "dog" not in words_in(texts, few)
    many = [f"w{i} w{i + 1}" for i in range(MOST_WORDS + 40)] * LEAST_QUERIES
    assert len(words_in(many)) == MOST_WORDS
