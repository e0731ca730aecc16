"""Metrics of class labels, of score matrices and of graded and partly judged truths, against slow loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles import inferred_average_precision, ndcg_of_grades
from tests.test_metrics import GRID, close, integer_embeddings, truth_of
from xmr.core import Ranking
from xmr.metrics import (
    METRICS,
    class_map,
    evaluate,
    evaluate_embeddings,
    evaluate_scores,
    headline,
    rank_embeddings,
    rank_positives,
    rank_scores,
    rank_truth,
    rank_truth_of_scores,
)
from xmr.metrics import ranking as internals

CLASSES = ["art", "biology", "geography", "history"]


def slow_map(scores, query_labels, item_labels, first=None):
    """AP of each query as cross-modal retrieval's own scripts compute it: sort, walk, divide by the matches met."""
    values = []
    for row, label in zip(scores.tolist(), query_labels.tolist(), strict=True):
        order = sorted(range(len(row)), key=lambda j: -row[j])[:first]
        met, total = 0, 0.0
        for place, item in enumerate(order, start=1):
            if item_labels[item] == label:
                met += 1
                total += met / place
        values.append(total / met if met else 0.0)
    return values


def labelled(seed, visuals=60, texts=80, dimension=6):
    rng = np.random.default_rng(seed)
    unit = [rng.standard_normal((n, dimension)).astype(np.float32) for n in (visuals, texts)]
    labels = [np.append(np.arange(4), rng.integers(0, 4, n - 4)) for n in (visuals, texts)]
    return *[x / np.linalg.norm(x, axis=1, keepdims=True) for x in unit], *labels


# Class labels


@pytest.mark.parametrize("seed", range(3))
def test_class_map_over_all_results_and_over_the_first_fifty(seed):
    visual, text, of_visual, of_text = labelled(seed)
    found = evaluate_embeddings(visual, text, of_visual, of_text, classes=CLASSES)
    scores = visual @ text.T
    for direction, matrix, ask, answer in (
        ("v2t", scores, of_visual, of_text),
        ("t2v", scores.T, of_text, of_visual),
    ):
        assert found[f"{direction}/map"] == pytest.approx(np.mean(slow_map(matrix, ask, answer)))
        assert found[f"{direction}/map_at_50"] == pytest.approx(np.mean(slow_map(matrix, ask, answer, 50)))
    without = evaluate_embeddings(visual, text, of_visual, of_text)
    assert {name: found[name] for name in without} == without and "v2t/map" not in without


def test_map_of_each_class_and_their_weighted_mean():
    visual, text, of_visual, of_text = labelled(5)
    v2t, _ = rank_embeddings(visual, text, of_visual, of_text)
    found = class_map(v2t, of_visual, CLASSES)
    values = np.array(slow_map(visual @ text.T, of_visual, of_text))
    close(found, {name: values[of_visual == label].mean() for label, name in enumerate(CLASSES)})
    weights = np.bincount(of_visual) / len(of_visual)
    whole = evaluate_embeddings(visual, text, of_visual, of_text, classes=CLASSES)["v2t/map"]
    assert np.dot(weights, list(found.values())) == pytest.approx(whole)


def test_a_class_without_queries_or_without_matches_has_no_value():
    scores = torch.eye(3)
    v2t, _ = rank_scores(scores, np.array([0, 1, 1]), np.array([0, 3, 3]))
    assert class_map(v2t, np.array([0, 1, 1]), CLASSES) == {"art": 1.0}


@pytest.mark.parametrize("label", [-1, 4])
def test_a_label_outside_the_classes_is_an_error(label):
    labels = np.array([0, label])
    with pytest.raises(ValueError, match=f"label {label} is none of the 4 classes 0 … 3"):
        evaluate_scores(torch.eye(2), labels, labels, classes=CLASSES)
    ranking = rank_positives(torch.eye(2))
    with pytest.raises(ValueError, match=f"label {label} is none"):
        class_map(ranking, labels, CLASSES)
    with pytest.raises(ValueError, match=r"\(2,\) int.*found \(3,\)"):
        class_map(ranking, np.zeros(3, int), CLASSES)


def test_average_precision_of_the_first_results():
    ranking = Ranking(np.array([2, 4, 9, 7]), np.array([0, 3, 4]), 10)
    at = {k: METRICS["average_precision_at_k"](ranking, k=k).tolist() for k in (1, 3, 5, 10)}
    assert at[1] == [0, 0]  # nothing found is worth nothing
    assert at[3] == [1 / 2, 0]
    assert at[5] == [(1 / 2 + 2 / 4) / 2, 0]
    assert at[10] == pytest.approx(METRICS["average_precision"](ranking).tolist())


def test_chance_is_the_share_of_the_class():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 4000)
    found = evaluate_scores(rng.random((200, 4000)), labels[:200], labels, classes=CLASSES)
    assert found["v2t/map"] == pytest.approx(
        (np.bincount(labels) / 4000) @ np.bincount(labels[:200]) / 200, abs=0.01
    )


def test_the_headline_is_map_for_class_labels_and_rsum_otherwise():
    visual, text, of_visual, of_text = labelled(1)
    found = evaluate_embeddings(visual, text, of_visual, of_text, classes=CLASSES)
    name, value = headline(found)
    assert name == "mAP" and value == pytest.approx(50 * (found["v2t/map"] + found["t2v/map"]))
    plain = evaluate_embeddings(visual, text, of_visual, of_text)
    assert headline(plain) == ("rsum", plain["rsum"])


# Score matrices


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_scores_and_groups_give_what_the_mask_gives(kind):
    _, _, of_visual, of_text = labelled(2)
    scores = torch.randn(60, 80, generator=torch.Generator().manual_seed(0)).to(kind)
    kept = scores.clone()
    found = evaluate_scores(scores, of_visual, torch.from_numpy(of_text))
    close(found, evaluate(scores, torch.from_numpy(of_visual[:, None] == of_text[None])))
    assert torch.equal(scores, kept)


def test_scores_of_embeddings_give_what_embeddings_give():
    rng = np.random.default_rng(3)
    visual, text = integer_embeddings(rng, 40, 70)
    groups = rng.integers(0, 4, 40), rng.integers(0, 4, 70)
    relevance = rng.choice([0, 0, 0, 0.5, 1, np.nan], (40, 70))
    relevance[:, 0] = 1
    args = *groups, truth_of(relevance)
    close(
        evaluate_scores(visual @ text.T, *args, classes=CLASSES),
        evaluate_embeddings(visual, text, *args, classes=CLASSES),
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": torch.rand(3)}, r"float matrix.*\(3,\)"),
        ({"scores": torch.ones(3, 6, dtype=torch.int64)}, "int64"),
        ({"visual_group": np.arange(6)}, r"visual_group must be \(3,\) int.*row of scores \(3, 6\).*\(6,\)"),
        ({"text_group": np.arange(3)}, r"text_group must be \(6,\) int.*column of scores \(3, 6\).*\(3,\)"),
        ({"text_group": np.arange(6) + 10}, "no pair is positive among 3 queries × 6 items"),
    ],
)
def test_faults_of_scores_name_what_is_there(change, message):
    fine = {"scores": torch.rand(3, 6), "visual_group": np.arange(3), "text_group": np.arange(6) // 2}
    evaluate_scores(**fine)
    with pytest.raises(ValueError, match=message):
        evaluate_scores(**fine | change)


# Graded and partly judged truths

GRADES = st.sampled_from([0.0, 0.0, 0.0, 0.25, 0.5, 1.0, 3.0, math.nan, math.nan])


@st.composite
def judged(draw):
    rows, columns = draw(st.integers(1, 6)), draw(st.integers(1, 12))
    values, grades = (
        draw(st.lists(kind, min_size=rows * columns, max_size=rows * columns)) for kind in (GRID, GRADES)
    )
    grades[draw(st.integers(0, len(grades) - 1))] = 1.0
    return np.array(values).reshape(rows, columns), np.array(grades).reshape(rows, columns)


@settings(max_examples=80, deadline=None)
@given(judged(), st.sampled_from([1, 3, 10**9]))
def test_graded_metrics_equal_the_loops(case, sort_from):
    scores, relevance = case
    before, internals.SORT_FROM = internals.SORT_FROM, sort_from
    try:
        rankings = rank_truth_of_scores(scores, truth_of(relevance))
    finally:
        internals.SORT_FROM = before
    for ranking, matrix, known in zip(rankings, (scores, scores.T), (relevance, relevance.T), strict=True):
        rows = list(zip(matrix.tolist(), known.tolist(), strict=True))
        np.testing.assert_allclose(
            METRICS["ndcg"](ranking), [ndcg_of_grades(*row) for row in rows], rtol=1e-12
        )
        expected = [inferred_average_precision(*row) for row in rows]
        np.testing.assert_allclose(METRICS["xinf_ap"](ranking), expected, rtol=1e-12)


def test_a_truth_of_embeddings_is_graded_as_its_scores_are():
    rng = np.random.default_rng(4)
    visual, text = integer_embeddings(rng, 50, 90)
    truth = truth_of(rng.choice([0, 0, 0, 0.5, 1, np.nan], (50, 90)))
    for mine, other in zip(
        rank_truth(visual, text, truth, block=7), rank_truth_of_scores(visual @ text.T, truth), strict=True
    ):
        for part in ("ranks", "offsets", "gains", "unjudged"):
            assert getattr(mine, part).tolist() == getattr(other, part).tolist()


def test_inferred_ap_by_eye():
    """Unjudged, match, no match, unjudged, match: half of the unjudged before each are taken to match."""
    scores, nobody = torch.tensor([[0.9, 0.8, 0.7, 0.6, 0.5]]), math.nan
    ranking, _ = rank_truth_of_scores(scores, truth_of(np.array([[nobody, 1.0, 0.0, nobody, 1.0]])))
    assert ranking.ranks.tolist() == [1, 3] and ranking.unjudged.tolist() == [1, 2]
    expected = ((1 + 1 * 0.5) / 2 + (1 + 4 * 0.5) / 5) / 2
    assert METRICS["xinf_ap"](ranking)[0] == pytest.approx(expected)


def test_inferred_ap_of_judgements_drawn_by_chance_is_near_the_real_one():
    rng = np.random.default_rng(6)
    relevance = (rng.random((40, 5000)) < 0.1).astype(float)
    scores = rng.standard_normal((40, 5000)) + 1.5 * relevance
    real = METRICS["average_precision"](rank_positives(scores, relevance > 0))
    sampled = np.where(rng.random(relevance.shape) < 0.5, relevance, np.nan)
    ranking, _ = rank_truth_of_scores(scores, truth_of(sampled))
    assert ranking.unjudged.max() > 2000
    assert METRICS["xinf_ap"](ranking).mean() == pytest.approx(real.mean(), abs=0.01)


def test_grades_decide_ndcg_and_a_match_of_equal_grades_is_as_ungraded():
    scores = torch.tensor([[0.9, 0.8, 0.1]])
    poor_first = truth_of(np.array([[0.5, 1.0, 0.0]]))
    ranking, _ = rank_truth_of_scores(scores, poor_first)
    discount = [1, 1 / math.log2(3)]
    expected = (0.5 * discount[0] + 1.0 * discount[1]) / (1.0 * discount[0] + 0.5 * discount[1])
    assert METRICS["ndcg"](ranking)[0] == pytest.approx(expected)
    for grade in (0.3, 1.0, 5.0):
        equal, _ = rank_truth_of_scores(scores, truth_of(np.array([[0.0, grade, grade]])))
        plain = METRICS["ndcg"](rank_positives(scores, torch.tensor([[False, True, True]])))
        assert METRICS["ndcg"](equal)[0] == pytest.approx(plain[0])


def test_graded_metrics_are_reported_beside_the_others():
    visual, text, of_visual, of_text = labelled(7)
    relevance = (of_visual[:, None] == of_text[None]).astype(float)
    relevance[:, ::3] *= 0.5
    relevance[::4] = np.where(relevance[::4] == 0, np.nan, relevance[::4])
    found = evaluate_embeddings(visual, text, of_visual, of_text, truth_of(relevance))
    for direction, matrix, known in (
        ("v2t", visual @ text.T, relevance),
        ("t2v", text @ visual.T, relevance.T),
    ):
        rows = list(zip(matrix.tolist(), known.tolist(), strict=True))
        assert found[f"{direction}/true_ndcg"] == pytest.approx(
            np.mean([ndcg_of_grades(*row) for row in rows])
        )
        mean = np.mean([inferred_average_precision(*row) for row in rows])
        assert found[f"{direction}/true_xinf_ap"] == pytest.approx(mean)
