"""Choices between right and wrong captions against loops over questions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xmr.metrics import choice_accuracy, winoground_scores

SCORE = st.one_of(st.integers(-2, 2).map(float), st.just(math.nan), st.just(math.inf), st.just(-math.inf))
QUESTION = st.tuples(st.lists(SCORE, min_size=1, max_size=3), st.lists(SCORE, min_size=1, max_size=4))


def flat(questions):
    """Pairs of all questions, in an order of their own."""
    rows = [
        (score, number, right)
        for number, parts in enumerate(questions)
        for right, scores in zip((True, False), parts, strict=True)
        for score in scores
    ]
    order = np.random.default_rng(len(rows)).permutation(len(rows))
    scores, question, right = (np.array(column)[order] for column in zip(*rows, strict=True))
    return scores, question, right


@given(st.lists(QUESTION, min_size=1, max_size=6))
def test_a_question_is_answered_where_every_right_caption_beats_every_wrong_one(questions):
    expected = [float(all(good > bad for good in right for bad in wrong)) for right, wrong in questions]
    scores, question, right = flat(questions)
    assert choice_accuracy(scores, question, right).tolist() == expected
    tensors = [torch.from_numpy(part) for part in (scores, question, right)]
    assert choice_accuracy(*tensors).tolist() == expected


@given(st.lists(st.lists(SCORE, min_size=4, max_size=4), min_size=1, max_size=6))
def test_winoground_is_its_definition(examples):
    found = winoground_scores(np.array(examples).reshape(-1, 2, 2))
    for n, (i0_c0, i0_c1, i1_c0, i1_c1) in enumerate(examples):
        text = i0_c0 > i0_c1 and i1_c1 > i1_c0
        image = i0_c0 > i1_c0 and i1_c1 > i0_c1
        assert [found[name][n] for name in ("text", "image", "group")] == [text, image, text and image]


def test_chance():
    rng = np.random.default_rng(0)
    questions = np.repeat(np.arange(20_000), 4)
    found = choice_accuracy(rng.random(80_000), questions, np.arange(80_000) % 4 == 0).mean()
    assert found == pytest.approx(1 / 4, abs=0.01)
    means = {name: values.mean() for name, values in winoground_scores(rng.random((20_000, 2, 2))).items()}
    assert means == pytest.approx({"text": 1 / 4, "image": 1 / 4, "group": 1 / 6}, abs=0.01)


FINE = {"scores": np.ones(4), "question": np.array([0, 0, 1, 1]), "right": np.array([True, False] * 2)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scores": np.ones((2, 2))}, r"scores must be \(P,\) float"),
        ({"scores": np.ones(4, int)}, "scores must be .* int64"),
        ({"scores": np.ones(0)}, "not empty"),
        ({"question": np.zeros(4)}, r"question must be \(4,\) int as scores, found \(4,\) float64"),
        ({"question": np.zeros(3, int)}, r"question must be \(4,\) int as scores, found \(3,\)"),
        ({"question": np.array([-1, -1, 1, 1])}, "count from 0, found -1"),
        ({"right": np.ones(4, int)}, r"right must be \(4,\) bool"),
        ({"right": np.array([True, True, True, False])}, "question 0 has no wrong caption"),
        ({"right": np.array([True, False, False, False])}, "question 1 has no right caption"),
        ({"question": np.array([0, 0, 2, 2])}, "question 1 has no right caption"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(change, words):
    choice_accuracy(**FINE)
    with pytest.raises(ValueError, match=words):
        choice_accuracy(**FINE | change)


@pytest.mark.parametrize(
    "scores", [np.ones((2, 2)), np.ones((3, 2, 3)), np.ones((0, 2, 2)), np.ones((1, 2, 2), int)]
)
def test_examples_that_do_not_fit_are_refused(scores):
    with pytest.raises(ValueError, match=r"must be \(N, 2, 2\) float"):
        winoground_scores(scores)
