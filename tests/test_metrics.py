"""Metrics against loops that do what the definition says, one query and one item at a time."""

import math
import tracemalloc

import numpy as np
import pytest
import torch
import torchmetrics.functional.retrieval as peer
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score

from xmr.data.dataset import Truth
from xmr.metrics import (
    METRICS,
    bootstrap_interval,
    evaluate,
    evaluate_embeddings,
    flip_test,
    rank_embeddings,
    rank_positives,
    rank_truth,
)
from xmr.metrics import ranking as metrics

# The oracle: relevance (Q, G) is 1, 0 or NaN (unknown); one list of ranks per query.


def slow_ranks(scores, relevance):
    everyone = []
    for row, known in zip(scores.tolist(), relevance.tolist(), strict=True):
        own = [-math.inf if math.isnan(s) else s for s, r in zip(row, known, strict=True) if r == 1]
        others = [math.inf if math.isnan(s) else s for s, r in zip(row, known, strict=True) if r == 0]
        better = [sum(1 for other in others if other >= score) for score in own]
        everyone.append([place + n for place, n in enumerate(sorted(better), start=1)])
    return everyone


def slow_metrics(ranks, k=1):
    """Every metric of one query's ranks, from the list of results being a match or not."""
    if not ranks:
        return dict.fromkeys(METRICS, math.nan)
    matches = [rank in ranks for rank in range(1, max(*ranks, k, len(ranks)) + 1)]
    r = len(ranks)
    precision = [sum(matches[:n]) / n for n in range(1, len(matches) + 1)]
    return {
        "recall_at_k": float(any(matches[:k])),
        "first_rank": 1.0 + matches.index(True),
        "r_precision": precision[r - 1],
        "map_at_r": sum(p for p, match in zip(precision[:r], matches[:r], strict=True) if match) / r,
        "average_precision": sum(p for p, match in zip(precision, matches, strict=True) if match) / r,
        "average_precision_at_k": sum(p for p, match in zip(precision[:k], matches[:k], strict=True) if match)
        / max(sum(matches[:k]), 1),
        "xinf_ap": sum(p for p, match in zip(precision, matches, strict=True) if match) / r,
        "ndcg": sum(match / math.log2(1 + n) for n, match in enumerate(matches, 1))
        / sum(1 / math.log2(1 + n) for n in range(1, r + 1)),
    }


def lists(ranking):
    return [part.tolist() for part in np.split(ranking.ranks, ranking.offsets[1:-1])]


def of_groups(visual_group, text_group):
    return (visual_group[:, None] == text_group[None, :]).astype(float)


def close(found, expected):
    assert found.keys() == expected.keys()
    for name in expected:
        assert found[name] == pytest.approx(expected[name], rel=1e-12), name


# By eye


def test_a_matrix_checkable_by_eye():
    scores = torch.tensor(
        [
            [0.9, 0.1, 0.2],  # the diagonal is first
            [0.5, 0.4, 0.3],  # second
            [0.8, 0.7, 0.6],  # third
        ]
    )
    found = evaluate(scores)
    close(
        found,
        {
            "v2t/recall_at_1": 1 / 3,
            "v2t/recall_at_5": 1.0,
            "v2t/recall_at_10": 1.0,
            "v2t/median_rank": 2.0,
            "v2t/mean_rank": 2.0,
            "t2v/recall_at_1": 2 / 3,  # columns: 0.9 first, 0.4 second, 0.6 first
            "t2v/recall_at_5": 1.0,
            "t2v/recall_at_10": 1.0,
            "t2v/median_rank": 1.0,
            "t2v/mean_rank": 4 / 3,
            "rsum": 500.0,
        },
    )
    assert all(type(value) is float for value in found.values())


@pytest.mark.parametrize("constant", [0.0, 1.0, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("sort_from", [0, 10**9])
def test_constant_scores_give_the_worst_rank(constant, sort_from, monkeypatch):
    monkeypatch.setattr(metrics, "SORT_FROM", sort_from)
    found = evaluate(torch.full((20, 20), constant))
    assert found["v2t/mean_rank"] == found["t2v/mean_rank"] == 20
    assert found["rsum"] == 0


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("dimension", [1, 8, 512])
def test_collapsed_embeddings_rank_last_whatever_the_rounding(seed, dimension):
    """The product of equal vectors differs in its last bits from place to place; the ranks must not."""
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, dimension)).astype(np.float32) * 10.0 ** rng.integers(-3, 4)
    found = evaluate_embeddings(np.tile(a, (37, 1)), np.tile(b, (185, 1)), np.arange(37), np.arange(185) // 5)
    assert found["v2t/mean_rank"] == 181  # the first of five captions stands behind all others
    assert found["t2v/mean_rank"] == 37
    assert found["rsum"] == 0


def test_broken_embeddings_rank_last():
    rng = np.random.default_rng(0)
    visual = rng.standard_normal((12, 4)).astype(np.float32)
    text = visual.copy()
    visual[3], text[3], visual[5], text[7] = np.nan, np.nan, np.inf, -np.inf
    ranks = [METRICS["first_rank"](r) for r in rank_embeddings(visual, text, np.arange(12), np.arange(12))]
    for first in ranks:
        assert (first[[3, 5, 7]] == 12).all()
        assert (first > 1).all()  # the broken ones stand before every match
    for value in (np.nan, 0):
        same = np.full_like(visual, value)
        found = evaluate_embeddings(same, same, np.arange(12), np.arange(12))
        assert found["v2t/mean_rank"] == found["t2v/mean_rank"] == 12


# Against the oracle

GRID = st.sampled_from([-1.0, -0.5, 0.0, 0.25, 0.5, 1.0, math.nan, math.inf, -math.inf])


@st.composite
def matrices(draw):
    rows, columns = draw(st.integers(1, 7)), draw(st.integers(1, 9))
    values = draw(st.lists(GRID, min_size=rows * columns, max_size=rows * columns))
    marks = draw(st.lists(st.booleans(), min_size=rows * columns, max_size=rows * columns))
    marks[draw(st.integers(0, len(marks) - 1))] = True
    return np.array(values).reshape(rows, columns), np.array(marks).reshape(rows, columns)


@settings(max_examples=150, deadline=None)
@given(matrices(), st.integers(1, 12), st.sampled_from([1, 3, 10**9]))
def test_ranks_and_metrics_equal_the_loops(case, k, sort_from):
    scores, positives = case
    before, metrics.SORT_FROM = metrics.SORT_FROM, sort_from
    try:
        ranking = rank_positives(scores, positives)
    finally:
        metrics.SORT_FROM = before
    expected = slow_ranks(scores, positives.astype(float))
    assert lists(ranking) == expected
    for name, entry in METRICS.items():
        values = entry(ranking, **({"k": k} if name.endswith("_at_k") else {}))
        assert values.shape == (len(scores),)
        np.testing.assert_allclose(values, [slow_metrics(ranks, k)[name] for ranks in expected], rtol=1e-12)


def test_average_precision_and_ndcg_agree_with_the_peers():
    rng = np.random.default_rng(0)
    scores = rng.permutation(30 * 200).reshape(30, 200) / 6000  # no ties
    positives = rng.random((30, 200)) < 0.1
    ranking = rank_positives(torch.from_numpy(scores), torch.from_numpy(positives))
    rows = list(zip(scores, positives, strict=True))
    torched = [(torch.from_numpy(s), torch.from_numpy(p)) for s, p in rows]
    expected = {
        "average_precision": [average_precision_score(p, s) for s, p in rows],
        "ndcg": [ndcg_score(p[None].astype(int), s[None]) for s, p in rows],
        "r_precision": [float(peer.retrieval_r_precision(*row)) for row in torched],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(METRICS[name](ranking), values, rtol=1e-6, err_msg=name)
    for k in (1, 5, 10, 200):
        hits = [float(peer.retrieval_hit_rate(*row, top_k=k)) for row in torched]
        assert METRICS["recall_at_k"](ranking, k=k).tolist() == hits
    maps = [float(peer.retrieval_average_precision(*row)) for row in torched]
    np.testing.assert_allclose(METRICS["average_precision"](ranking), maps, rtol=1e-6)
    # mAP@R divides by R, where torchmetrics' AP of the first R divides by the matches among them.
    at_r = []
    for s, p in torched:
        r = int(p.sum())
        found = int(p[s.topk(r).indices].sum())
        at_r.append(float(peer.retrieval_average_precision(s, p, top_k=r)) * found / r)
    np.testing.assert_allclose(METRICS["map_at_r"](ranking), at_r, rtol=1e-6)


# Blocks


def integer_embeddings(rng, visuals, texts, dimension=5):
    """Small integers: every product is exact in float32, and many scores tie."""
    return [rng.integers(-3, 4, (n, dimension)).astype(np.float32) for n in (visuals, texts)]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 40),
    st.integers(1, 60),
    st.integers(1, 50),
    st.one_of(st.none(), st.integers(1, 50)),
    st.sampled_from([2, 24]),
    st.sampled_from([0, 4, 1000]),
)
def test_blocks_equal_the_loops(seed, visuals, texts, groups, block, sort_from, one_pass):
    rng = np.random.default_rng(seed)
    visual, text = integer_embeddings(rng, visuals, texts)
    visual_group, text_group = rng.integers(0, groups, visuals), rng.integers(0, groups, texts)
    text_group[rng.integers(texts)] = visual_group[rng.integers(visuals)]
    before = metrics.SORT_FROM, metrics.ONE_PASS_UP_TO
    metrics.SORT_FROM, metrics.ONE_PASS_UP_TO = sort_from, one_pass
    try:
        v2t, t2v = rank_embeddings(visual, text, visual_group, text_group, block=block)
    finally:
        metrics.SORT_FROM, metrics.ONE_PASS_UP_TO = before
    relevance, scores = of_groups(visual_group, text_group), visual @ text.T
    assert lists(v2t) == slow_ranks(scores, relevance)
    assert lists(t2v) == slow_ranks(scores.T, relevance.T)


@pytest.mark.parametrize("block", [1, 7, 254, 255, 256, 600, None])
def test_blocks_equal_the_full_matrix(block):
    """600 × 900 crosses the 255 rows that a byte can count, with every text of the last group at the end."""
    rng = np.random.default_rng(3)
    visual, text = integer_embeddings(rng, 600, 900)
    visual_group, text_group = rng.permutation(600) // 2, rng.integers(0, 300, 900)
    found = evaluate_embeddings(visual, text, visual_group, text_group, block=block)
    positives = of_groups(visual_group, text_group) > 0
    close(found, evaluate(torch.from_numpy(visual @ text.T), torch.from_numpy(positives)))


def test_every_text_before_every_visual_counts_all_bytes():
    """Texts whose match beats all 600 visuals but one: counts far beyond a byte, in one block and in many."""
    visual = np.linspace(1, 2, 600, dtype=np.float32)[:, None]
    for block in (None, 100, 600):
        _, t2v = rank_embeddings(visual, visual, np.arange(600), np.arange(600), block=block)
        assert METRICS["first_rank"](t2v).tolist() == list(range(600, 0, -1))


@pytest.mark.parametrize("whole", [0, metrics.WHOLE_BYTES])
def test_half_precision_memory_maps_come_in(tmp_path, monkeypatch, whole):
    monkeypatch.setattr(metrics, "WHOLE_BYTES", whole)
    monkeypatch.setattr(metrics, "BLOCK_BYTES", 1)  # slices of 32 rows
    rng = np.random.default_rng(5)
    arrays = [a.astype(np.float16) for a in integer_embeddings(rng, 90, 200)]
    for name, array in zip(("visual", "text"), arrays, strict=True):
        np.save(tmp_path / f"{name}.npy", array)
    maps = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("visual", "text")]
    groups = np.arange(90), rng.integers(0, 90, 200)
    found = evaluate_embeddings(*maps, *groups)
    assert maps[0].dtype == np.float16
    close(found, evaluate_embeddings(*[torch.from_numpy(a.astype(np.float32)) for a in arrays], *groups))
    close(
        found,
        evaluate_embeddings(*[torch.from_numpy(a).bfloat16() for a in arrays], *map(torch.tensor, groups)),
    )


def test_memory_does_not_grow_with_the_matrix():
    rng = np.random.default_rng(6)
    visual, text = integer_embeddings(rng, 12_000, 12_000, 4)  # 576 MB of scores
    tracemalloc.start()
    rank_embeddings(visual, text, np.arange(12_000), np.arange(12_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6


# Without a match


def test_queries_without_positives_are_left_out_and_told():
    scores = torch.tensor([[0.9, 0.1, 0.2], [0.5, 0.6, 0.3]])
    positives = torch.tensor([[True, False, False], [False, False, False]])
    ranking = rank_positives(scores, positives)
    for entry in METRICS.values():
        assert np.isnan(entry(ranking)).tolist() == [False, True]
    found = evaluate(scores, positives)
    assert found["v2t/recall_at_1"] == 1
    assert found["v2t/without_positives"] == 1
    assert found["t2v/without_positives"] == 2
    assert all(math.isfinite(value) for value in found.values())
    close(found, evaluate_embeddings(scores, torch.eye(3), np.array([0, 9]), np.array([0, 1, 2])))


def test_no_positive_at_all_is_an_error():
    with pytest.raises(ValueError, match=r"no pair is positive among 2 queries × 3 items"):
        evaluate(torch.rand(2, 3), torch.zeros(2, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match="no pair is positive"):
        rank_embeddings(torch.rand(2, 4), torch.rand(3, 4), np.array([0, 1]), np.array([2, 3, 4]))


# Truth


def truth_of(relevance):
    return Truth(
        block=lambda v, t: relevance[np.ix_(v, t)],
        pairs=lambda v, t: relevance[v, t],
        complete=not np.isnan(relevance).any(),
        source="a test",
    )


@pytest.mark.parametrize("unknown", [0.0, 0.3])
@pytest.mark.parametrize("block", [None, 7])
@pytest.mark.parametrize("sort_from", [2, 10**9])
def test_truth_with_unknown_pairs_equals_the_loops(unknown, block, sort_from, monkeypatch):
    monkeypatch.setattr(metrics, "SORT_FROM", sort_from)
    rng = np.random.default_rng(7)
    visual, text = integer_embeddings(rng, 30, 70)
    visual[4], text[9] = np.nan, np.nan
    relevance = (rng.random((30, 70)) < 0.2).astype(np.float32)
    relevance[rng.random((30, 70)) < unknown] = np.nan
    relevance[2] = np.where(np.isnan(relevance[2]), np.nan, 0)  # matches nothing
    relevance[6] = np.nan  # nothing is known of it
    with np.errstate(invalid="ignore"):
        scores = visual @ text.T
    rankings = rank_truth(visual, text, truth_of(relevance), block=block)
    expected = [slow_ranks(scores, relevance), slow_ranks(scores.T, relevance.T)]
    assert [lists(ranking) for ranking in rankings] == expected

    groups = np.arange(30), rng.integers(0, 30, 70)
    found = evaluate_embeddings(visual, text, *groups, truth_of(relevance), block=block)
    annotated = evaluate_embeddings(visual, text, *groups, block=block)
    assert {name: found[name] for name in annotated} == annotated
    assert found["v2t/true_without_positives"] == 2
    for direction, ranks in zip(("v2t", "t2v"), expected, strict=True):
        for name, k in (
            *((f"recall_at_{k}", k) for k in (1, 5, 10)),
            ("r_precision", 1),
            ("map_at_r", 1),
        ):
            key = "recall_at_k" if name.startswith("recall") else name
            mean = np.nanmean([slow_metrics(own, k)[key] for own in ranks])
            assert found[f"{direction}/true_{name}"] == pytest.approx(mean)


def test_truth_equal_to_the_annotation_gives_the_same_ranking():
    rng = np.random.default_rng(8)
    visual, text = rng.standard_normal((40, 16)), rng.standard_normal((120, 16))
    groups = np.arange(40), np.arange(120) // 3
    annotated = rank_embeddings(visual, text, *groups)
    true = rank_truth(visual, text, truth_of(of_groups(*groups)))
    assert [lists(r) for r in annotated] == [lists(r) for r in true]


def test_a_truth_of_the_wrong_shape_or_without_a_match_is_an_error():
    visual, text = torch.rand(3, 4), torch.rand(5, 4)
    wrong = Truth(lambda v, t: np.ones((5, 3)), lambda v, t: np.ones(len(v)), True, "a test")
    with pytest.raises(ValueError, match=r"\(5, 3\) where \(3, 5\)"):
        rank_truth(visual, text, wrong)
    with pytest.raises(ValueError, match="no pair is positive"):
        rank_truth(visual, text, truth_of(np.full((3, 5), np.nan)))


# What comes in


def test_kinds_of_scores_agree_and_are_left_as_they_were():
    scores = torch.randn(9, 9, generator=torch.Generator().manual_seed(9)).half().double()
    kept = scores.clone()
    expected = evaluate(scores)
    for kind in (scores.float(), scores.half(), scores.numpy(), scores.clone().requires_grad_(True)):
        close(evaluate(kind), expected)
    assert torch.equal(scores, kept)


def test_float64_scores_keep_their_precision():
    scores = torch.tensor([[1.0, 1.0 - 1e-12], [0.0, 1.0]], dtype=torch.float64)
    assert lists(rank_positives(scores)) == [[1], [1]]


@pytest.mark.parametrize(
    ("scores", "positives", "message"),
    [
        (torch.rand(3, 4), None, r"square.*\(3, 4\)"),
        (torch.rand(3, 4), torch.ones(4, 3, dtype=torch.bool), r"\(3, 4\).*\(4, 3\)"),
        (torch.rand(3, 3), torch.eye(3), "float32"),
        (torch.rand(3), None, r"\(3,\)"),
        (torch.rand(0, 0), None, r"not empty.*\(0, 0\)"),
        (torch.rand(3, 0), torch.ones(3, 0, dtype=torch.bool), r"not empty.*\(3, 0\)"),
        (torch.ones(3, 3, dtype=torch.int64), None, "int64"),
    ],
)
def test_faults_of_scores_name_what_is_there(scores, positives, message):
    with pytest.raises(ValueError, match=message):
        evaluate(scores, positives)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"visual": torch.rand(3, 5)}, r"\(3, 5\) and text \(6, 4\)"),
        ({"visual": torch.rand(0, 4), "visual_group": np.arange(0)}, r"visual.*not empty.*\(0, 4\)"),
        ({"text": torch.rand(0, 4), "text_group": np.arange(0)}, r"text.*not empty.*\(0, 4\)"),
        ({"visual_group": np.arange(6)}, r"visual_group must be \(3,\).*\(3, 4\), found \(6,\)"),
        ({"text_group": np.arange(3)}, r"text_group must be \(6,\).*\(6, 4\), found \(3,\)"),
        ({"text_group": np.arange(6.0)}, "float64"),
        ({"block": 0}, "at least 1, found 0"),
    ],
)
def test_faults_of_embeddings_name_both_shapes(change, message):
    fine = {
        "visual": torch.rand(3, 4),
        "text": torch.rand(6, 4),
        "visual_group": np.arange(3),
        "text_group": np.arange(6) // 2,
    }
    rank_embeddings(**fine)
    with pytest.raises(ValueError, match=message):
        rank_embeddings(**fine | change)


def test_an_interval_of_one_visual_is_refused():
    with pytest.raises(ValueError, match="two visuals or more, found 1"):
        bootstrap_interval(np.array([np.nan, 0.5]))


def test_a_truth_of_matches_only_gives_no_figures_against_it():
    """Emoji know which pairs match beyond the annotation, and of no pair that it doesn't."""
    unit = np.eye(4, dtype=np.float32)

    class MatchesOnly:
        def block(self, visuals, texts):
            return np.where(visuals[:, None] == texts[None], 1.0, np.nan)

    class Complete:
        def block(self, visuals, texts):
            return (visuals[:, None] == texts[None]).astype(float)

    groups = np.arange(4)
    assert not [k for k in evaluate_embeddings(unit, unit, groups, groups, MatchesOnly()) if "true" in k]
    assert evaluate_embeddings(unit, unit, groups, groups, Complete())["t2v/true_map_at_r"] == 1


@pytest.mark.parametrize("k", [0, -1, 1.5, math.nan, "3", None, True])
@pytest.mark.parametrize("metric", ["recall_at_k", "average_precision_at_k"])
def test_a_cutoff_is_a_whole_number_from_1(metric, k):
    with pytest.raises(ValueError, match="k must be a whole number from 1"):
        METRICS[metric].make(rank_positives(np.eye(3)), k=k)
    assert METRICS[metric].make(rank_positives(np.eye(3)), k=np.int64(2)).tolist() == [1, 1, 1]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_difference_that_is_no_number_is_no_chance(bad):
    with pytest.raises(ValueError, match="must be finite"):
        flip_test(np.array([1.0, bad, 2.0]))
