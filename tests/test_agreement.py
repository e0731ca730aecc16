"""Cohen's kappa against scikit-learn, its interval against a slow formula and a drawing of items, shares against scipy."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score

from xmr.metrics.agreement import agreement, share_interval


def answers(seed, items=200, people=2, missing=0.0, kinds=3):
    """People who agree more often than by chance, some answers missing (-1)."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(kinds, size=items)
    given = np.stack(
        [np.where(rng.random(items) < 0.6, truth, rng.integers(kinds, size=items)) for _ in range(people)], 1
    )
    given[rng.random(given.shape) < missing] = -1
    return given


@pytest.mark.parametrize("kinds", [2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_kappa_of_two_is_sklearns_and_its_error_that_of_fleiss_cohen_and_everitt(seed, kinds):
    given = answers(seed, items=20 + 60 * seed, kinds=kinds)
    found, n = agreement(given), len(given)
    assert found.kappa == pytest.approx(cohen_kappa_score(given[:, 0], given[:, 1]))
    assert found.same == pytest.approx(np.mean(given[:, 0] == given[:, 1])) and found.items == n
    table = np.zeros((3, 3))
    for one, other in given:
        table[one, other] += 1 / n
    row, column = table.sum(1), table.sum(0)
    chance, kappa, spread = row @ column, found.kappa, 0.0
    for i in range(3):
        spread += table[i, i] * (1 - (row[i] + column[i]) * (1 - kappa)) ** 2
        for j in range(3):
            spread += (i != j) * (1 - kappa) ** 2 * table[i, j] * (column[i] + row[j]) ** 2
    error = math.sqrt((spread - (kappa - chance * (1 - kappa)) ** 2) / n) / (1 - chance)
    assert (found.low, found.high) == pytest.approx(
        (kappa - 1.96 * error, min(kappa + 1.96 * error, 1)), abs=1e-3
    )


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_of_several_it_is_the_mean_over_pairs_of_people(missing):
    given = answers(0, items=150, people=4, missing=missing)
    kappas = []
    for one in range(4):
        for other in range(one + 1, 4):
            both = [(a[one], a[other]) for a in given if a[one] >= 0 and a[other] >= 0]
            kappas.append(cohen_kappa_score(*zip(*both, strict=True)))
    found = agreement(given)
    assert found.kappa == pytest.approx(np.mean(kappas))
    assert found.items == sum(sum(x >= 0 for x in a) > 1 for a in given)
    rng = np.random.default_rng(1)
    drawn = [agreement(given[rng.integers(len(given), size=len(given))]).kappa for _ in range(400)]
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.std(drawn), rel=0.2)


def test_where_kappa_is_not_defined_it_is_nan():
    for given in (
        np.zeros((0, 2), int),
        np.zeros((5, 1), int),
        np.array([[0, -1], [-1, 1]]),
        np.zeros((5, 2), int),
    ):
        assert math.isnan(agreement(given).kappa)
    assert agreement(np.zeros((5, 2), int))[3:] == (5, 1.0)
    assert agreement(np.array([[0, 0], [1, 1]]))[:3] == (1, 1, 1)


@pytest.mark.parametrize(("right", "of"), [(0, 1), (1, 1), (0, 10), (3, 10), (10, 10), (700, 1000)])
def test_the_interval_of_a_share_is_clopper_and_pearsons(right, of):
    told = binomtest(right, of).proportion_ci(0.95, "exact")
    assert share_interval(right, of) == pytest.approx((told.low, told.high), abs=1e-9)
    with pytest.raises(ValueError, match="one or more"):
        share_interval(of + 1, of)
