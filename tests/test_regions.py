"""What names the regions of a map, and how much of each item's neighbourhood it keeps: against slow loops and planted cases."""

import math

import numpy as np
import pytest

from xmr.analysis import neighbours_kept, regions
from xmr.analysis.regions import ACROSS, LIFT, OFTEN


def unit(rng, count, width):
    found = rng.normal(size=(count, width)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def slow_share(space, flat, k):
    """By sorting all distances of every item, one after the other."""
    shares = []
    for i in range(len(space)):
        others = [j for j in range(len(space)) if j != i]
        near = sorted(others, key=lambda j: math.dist(space[i], space[j]))[:k]
        here = sorted(others, key=lambda j: math.dist(flat[i], flat[j]))[:k]
        shares.append(len(set(near) & set(here)) / k)
    return sum(shares) / len(shares)


@pytest.mark.parametrize("k", [1, 5, 10])
def test_kept_neighbours_are_those_of_a_slow_loop(k):
    rng = np.random.default_rng(k)
    space = unit(rng, 70, 8)
    flat = space[:, :2] + rng.normal(size=(70, 2)) * 0.05
    assert neighbours_kept(space, flat, k, asked=1000) == pytest.approx(slow_share(space, flat, k), abs=1e-6)


def test_a_map_that_is_the_space_keeps_all_and_any_other_keeps_what_chance_does():
    rng = np.random.default_rng(0)
    circle = unit(rng, 400, 2)
    assert neighbours_kept(circle, 3 * circle + 1, 10) == 1
    assert abs(neighbours_kept(circle, rng.normal(size=(400, 2)), 10) - 10 / 399) < 0.02
    assert neighbours_kept(circle, circle, 10, asked=50) == 1  # of a sample, too
    assert math.isnan(neighbours_kept(circle[:11], circle[:11], 10))


def test_equal_items_are_not_their_own_neighbours():
    space = np.repeat(unit(np.random.default_rng(1), 20, 4), 2, axis=0)
    flat = np.array([[10.0 * (i // 2), i % 2] for i in range(40)])
    assert neighbours_kept(space, flat, 1, asked=40) == 1  # the twin stands beside it


def test_regions_are_named_by_what_stands_there_and_not_elsewhere():
    rng = np.random.default_rng(2)
    corners = {"red cube": (0, 0), "green ball": (10, 0), "blue cone": (0, 10)}
    points, words = [], []
    for name, corner in corners.items():
        points.append(rng.normal(size=(100, 2)) * 0.3 + corner)
        words += [["a", *name.split(), f"rare{len(words) + i}"] for i in range(100)]
    found = regions(np.concatenate(points), words)
    by_name = {" ".join(sorted(one.words)): one for one in found}
    assert set(by_name) == {
        " ".join(sorted(name.split())) for name in corners
    }  # each once, "a" and the rare ones never
    for name, (x, y) in corners.items():
        one = by_name[" ".join(sorted(name.split()))]
        assert abs(one.x - x) < 1 and abs(one.y - y) < 1
    assert regions(np.zeros((0, 2)), []) == []
    assert (
        regions(np.random.default_rng(3).normal(size=(200, 2)), [["a", "thing"]] * 200) == []
    )  # nothing tells them apart


def test_the_most_telling_words_are_those_of_the_formula():
    rng = np.random.default_rng(4)
    points = rng.uniform(size=(600, 2))
    # Words whose share grows to the right, upwards, and not at all.
    words = [
        [word for word, share in (("right", x), ("up", y), ("some", 0.5)) if rng.random() < share]
        for x, y in points
    ]
    low, high = np.quantile(points, [0.01, 0.99], axis=0)
    for region in regions(points, words):
        inside = [
            i for i, point in enumerate(points)
            if all(
                min(int(max(point[d] - low[d], 0) / (high[d] - low[d]) * ACROSS), ACROSS - 1)
                == min(int(((region.x, region.y)[d] - low[d]) / (high[d] - low[d]) * ACROSS), ACROSS - 1)
                for d in (0, 1)
            )
        ]  # fmt: skip
        assert len(inside) == region.count
        telling = {}
        for word in ("right", "up", "some"):
            p = sum(word in words[i] for i in inside) / len(inside)
            q = sum(word in one for one in words) / len(words)
            if p >= OFTEN and p >= LIFT * q:
                telling[word] = p * math.log(p / q)
        assert region.words == tuple(sorted(telling, key=telling.get, reverse=True)[:2])
