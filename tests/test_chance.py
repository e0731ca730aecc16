"""Chance: what a random order reaches, against random orders."""

import numpy as np
import pytest

from xmr.metrics import by_chance, evaluate, is_chance
from xmr.metrics.measures import average_precision
from xmr.metrics.ranking import rank_positives

GROUPS = {
    "five captions each": (np.arange(12), np.repeat(np.arange(12), 5)),
    "uneven": (np.array([0, 1, 2, 2, 3]), np.array([0, 0, 0, 1, 2, 3, 3])),
    "some without a match": (np.array([0, 1, 5]), np.array([0, 1, 1, 7, 7, 7])),
    "fewer than the cut-off": (np.arange(3), np.arange(3)),
}


@pytest.mark.parametrize("case", GROUPS)
def test_expected_metrics_are_the_mean_of_random_orders(case):
    visual, text = GROUPS[case]
    positives = visual[:, None] == text
    rng = np.random.default_rng(0)
    found = []
    for _ in range(3000):
        scores = rng.random(positives.shape)
        metrics = evaluate(scores, positives)
        for direction, turned in (("v2t", False), ("t2v", True)):
            ranking = rank_positives(scores.T if turned else scores, positives.T if turned else positives)
            metrics[f"{direction}/map"] = np.nanmean(average_precision(ranking))
        found.append(metrics)
    expected = by_chance(visual, text, classes=True)
    for name, value in expected.items():
        drawn = np.array([one[name] for one in found])
        assert value == pytest.approx(drawn.mean(), abs=4.5 * drawn.std() / len(drawn) ** 0.5 + 1e-9), name
    share = np.mean([is_chance(one["rsum"], visual, text) for one in found])
    assert share > 0.97  # nearly every random order is called one


def test_what_beats_chance_is_not_called_so():
    visual, text = np.arange(1000), np.repeat(np.arange(1000), 5)
    assert by_chance(visual, text)["rsum"] == pytest.approx(3.2, abs=0.02)
    assert is_chance(3.5, visual, text) and not is_chance(8, visual, text)
    assert not is_chance(600, *GROUPS["five captions each"])
