"""Analysis against slow loops, finite differences and cases whose answer is known."""

import numpy as np
import pytest
import torch

from tests.pair_parts import evidence
from xmr.analysis import (
    Retrieval,
    auc,
    batch_weights,
    best_words,
    effective_negatives,
    hard_negatives_by_weight,
    nearest_own_caption,
    overlap,
    pair_weights,
    precision_recall,
    query_weights,
    sample_batch,
    score_distributions,
    score_samples,
    suspected_pairs,
    typical_negatives,
    weight_curve,
    weights_of_query,
)
from xmr.core import Pairs
from xmr.evidence import CaptionSimilarity, Evidence
from xmr.losses import LOSSES, loss_value
from xmr.registry import Entry
from xmr.selection import SELECTORS, suspected

# A factor without gradient: their weight is not the slope of their value, as the docstrings say.
DETACHED = {"circle", "gravitation", "hardness_weighted", "polynomial_calibrated"}
SMOOTH = sorted(set(LOSSES) - DETACHED)
VISUALS, EACH, D = 30, 3, 16
LINKS = np.repeat(np.arange(VISUALS), EACH)


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.fixture
def embeddings(rng):
    visual = unit(rng.normal(size=(VISUALS, D)))
    return visual, unit(visual[LINKS] + 0.8 * rng.normal(size=(len(LINKS), D)) / 2)


@pytest.fixture
def relevant(rng):
    matrix = (rng.random((VISUALS, len(LINKS))) < 0.1).astype(np.float32)
    matrix[LINKS, np.arange(len(LINKS))] = 1
    return matrix


def unit(x):
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def numerical(function, at, step=1e-5):
    return (function(at + step) - function(at - step)) / (2 * step)


# ---- weights ---------------------------------------------------------------------------------------------


def known(loss, visuals, texts, seed=0):
    """What the loss needs besides scores, at random."""
    there = evidence(visuals, texts, torch.Generator().manual_seed(seed))
    return {name: there[name] for name in LOSSES[loss].needs}


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_pair_weights_are_the_slope_of_the_loss(loss):
    """Which `test_losses` holds against finite differences."""
    scores = torch.rand(5, 5, generator=torch.Generator().manual_seed(2)).requires_grad_()
    there = known(loss, 5, 5)
    loss_value(loss, scores, **there).backward()
    assert torch.equal(pair_weights(loss, scores.detach(), **there), scores.grad)


@pytest.mark.parametrize("loss", SMOOTH)
def test_a_weight_curve_is_the_slope_of_one_querys_loss(loss):
    others, points = [0.31, -0.12], np.array([-0.73, 0.11, 0.455, 0.877])
    curve = weight_curve(loss, {}, positive=0.52, others=others, scores=points)

    def value(row):
        row = torch.tensor([row], dtype=torch.float64)
        positives = torch.tensor([[True] + [False] * (row.shape[1] - 1)])
        sizes = {"visual": 1, "text": row.shape[1]}  # items of one modality are unrelated
        unrelated = {
            name: positives[None].double()
            if name == "peer_scores"
            else torch.eye(sizes[name.split("_")[0]]).double()
            for name in LOSSES[loss].needs
        }
        return LOSSES[loss](Pairs(row, positives, ~positives, **unrelated)).item()

    for k, s in enumerate(points):
        negative = numerical(lambda x: value([0.52, x, *others]), s)
        positive = numerical(lambda x: value([x, *others]), s)
        assert curve.negative[k] == pytest.approx(negative, abs=1e-5)
        assert curve.positive[k] == pytest.approx(positive, abs=1e-5)


def test_curves_say_what_the_docstrings_say():
    hinge = weight_curve("max_of_hinges", {"margin": 0.2}, positive=0.5, others=[0.4])
    assert set(np.unique(hinge.negative)) == {0.0, 1.0}
    assert hinge.scores[hinge.negative > 0].min() == pytest.approx(0.4, abs=0.02)  # must be the hardest
    soft = weight_curve("info_nce", {"temperature": 0.1}, positive=0.5, others=[0.4])
    assert (np.diff(soft.negative) > 0).all()
    assert soft.negative.max() < 10
    lower = weight_curve("info_nce", {"temperature": 0.02}, positive=0.5, others=[0.4])
    assert lower.negative.max() > soft.negative.max()
    alone = weight_curve("info_nce", {}, positive=0.5)
    assert (alone.positive == 0).all()  # without negatives nothing pulls


def test_a_loss_that_looks_at_its_batch_still_has_a_curve(monkeypatch):
    def nosy(pairs):
        """Every query also pays for the best score of all."""
        return pairs.scores.amax() * pairs.negatives.any(1) + 0 * pairs.visual_scores.sum()

    monkeypatch.setitem(LOSSES, "nosy", Entry("nosy", nosy, "", "", (), ("visual_scores",)))
    curve = weight_curve("nosy", {}, positive=0.51, others=[0.3])
    np.testing.assert_allclose(curve.negative, curve.scores > 0.51)


def test_typical_negatives_stand_below_the_hardest():
    scores = typical_negatives(31, 0.4, 0.15)
    assert scores[0] == pytest.approx(0.4)
    assert (np.diff(scores) < 0).all()
    assert len(scores) == 31
    assert len(typical_negatives(0, 0.4, 0.15)) == 0


def test_a_batch_is_different_visuals_with_one_caption_of_each():
    links = np.array([5, 0, 0, 2, 5, 2, 2, 7])
    visuals, texts = sample_batch(links, 4, seed=1)
    assert sorted(visuals) == [0, 2, 5, 7]
    assert (links[texts] == visuals).all()
    again = sample_batch(links, 4, seed=1)
    assert (again[0] == visuals).all()
    assert (again[1] == texts).all()
    assert len(sample_batch(links, 100, seed=0)[0]) == 4
    drawn = {
        int(sample_batch(links, 4, seed)[1][list(sample_batch(links, 4, seed)[0]).index(2)])
        for seed in range(40)
    }
    assert drawn == {3, 5, 6}  # every caption of a visual comes up


@pytest.mark.parametrize("loss", list(LOSSES))
def test_batch_weights_are_those_of_the_symmetric_loss(loss, embeddings):
    visual, text = embeddings
    visuals, texts = sample_batch(LINKS, 8, seed=0)
    features = np.random.default_rng(0).normal(size=(2, len(LINKS), 4)).astype(np.float32)
    source = Evidence([f"text {i}" for i in range(len(LINKS))], lambda: tuple(features), [embeddings])
    found = batch_weights(
        visual[visuals], text[texts], visuals, LINKS[texts], loss, {}, evidence=source, items=(visuals, texts)
    )
    v, t = torch.from_numpy(visual[visuals]), torch.from_numpy(text[texts])
    there = source.of(LOSSES[loss].needs, visuals, texts, v, t)
    assert there.keys() == set(LOSSES[loss].needs)
    expected = pair_weights(loss, v @ t.T, **there).numpy()
    np.testing.assert_allclose(found.weights, expected, rtol=1e-4, atol=1e-5)  # two kinds of product
    assert found.positives.sum() == 8
    assert not found.suspected.any()
    assert (found.negatives == ~found.positives).all()


def test_suspects_are_marked_and_lose_their_weight_only_where_they_are_ignored(embeddings):
    visual, text = embeddings
    near = np.eye(8, dtype=np.float32)
    near[1] = 0.95 * near[0] + np.sqrt(1 - 0.95**2) * near[1]  # the second caption is near the first
    source = Evidence([f"text {i}" for i in range(8)], lambda: (visual, near))
    part = slice(0, 8 * EACH, EACH)
    groups = np.arange(8)
    batch = visual[:8], text[part], groups, groups, "info_nce", {}
    marked = batch_weights(*batch, evidence=source, selector="caption_similarity")
    assert marked.suspected.sum() == 2
    assert marked.suspected[0, 1]
    assert marked.suspected[1, 0]
    assert marked.weights[0, 1] > 0
    assert marked.negatives[0, 1]
    ignored = batch_weights(*batch, evidence=source, selector="caption_similarity", suspects="ignore")
    assert ignored.weights[0, 1] == 0
    assert not ignored.negatives[0, 1]
    assert ignored.suspected[0, 1]
    taken = batch_weights(*batch, evidence=source, selector="caption_similarity", suspects="positive")
    assert taken.weights[0, 1] < 0
    weighed = batch_weights(*batch, evidence=source, selector="caption_similarity", suspects="weigh")
    assert 0 <= weighed.weights[0, 1] <= marked.weights[0, 1]


def test_a_batch_without_the_evidence_that_its_loss_needs_is_told(embeddings):
    visual, text = embeddings
    batch = visual[:8], text[: 8 * EACH : EACH], np.arange(8), np.arange(8)
    with pytest.raises(ValueError, match="similarities between captions"):
        batch_weights(*batch, "ladder", {})
    assert batch_weights(*batch, "gravitation", {}).weights.any()  # it looks at the embeddings themselves


def test_effective_negatives_count_those_that_carry_the_weight():
    weights = np.array([[-3.0, 2, 0, 0], [-3, 1, 1, 1], [-3, 0, 0, 0], [-3, 3, 1, -9]])
    negatives = np.array([[False, True, True, True]] * 4)
    assert effective_negatives(weights, negatives) == pytest.approx([1, 3, 0, 16 / 10])


# ---- distributions ---------------------------------------------------------------------------------------


def test_samples_equal_a_slow_loop(embeddings, relevant):
    visual, text = embeddings
    scores = visual @ text.T
    found = score_samples(visual, text, np.arange(VISUALS), LINKS, lambda v, t: relevant[np.ix_(v, t)])
    positives, unannotated, hardest, hidden = [], [], [], 0
    for q in range(VISUALS):
        best_negative, best_other = -np.inf, (-np.inf, False)
        for g in range(len(LINKS)):
            if LINKS[g] == q:
                positives.append(scores[q, g])
                continue
            best_other = max(best_other, (scores[q, g], bool(relevant[q, g])))
            if relevant[q, g]:
                unannotated.append(scores[q, g])
            else:
                best_negative = max(best_negative, scores[q, g])
        hardest.append(best_negative)
        hidden += best_other[1]
    for kind, expected in (("positives", positives), ("unannotated", unannotated), ("hardest", hardest)):
        np.testing.assert_allclose(np.sort(found.values[kind]), np.sort(expected), atol=1e-6)
    assert found.hidden == pytest.approx(hidden / VISUALS)
    np.testing.assert_allclose(found.mean, scores.mean(1), atol=1e-6)
    z = found.standardised().values["hardest"]
    np.testing.assert_allclose(z, (hardest - scores.mean(1)) / scores.std(1), atol=1e-4)


def test_random_negatives_are_neither_annotated_nor_true_and_follow_the_seed(embeddings, relevant):
    visual, text = embeddings
    scores = visual @ text.T
    groups = np.arange(VISUALS)

    def sampled(truth=None, seed=0):
        return score_samples(visual, text, groups, LINKS, truth, seed=seed)

    def allowed(mask):
        return set(scores[mask].tolist())

    own = groups[:, None] == LINKS[None]
    # Compared in float32 exactly: both come from the same product.
    assert set(sampled().values["random"].tolist()) <= allowed(~own)
    known = sampled(lambda v, t: relevant[np.ix_(v, t)])
    assert set(known.values["random"].tolist()) <= allowed(~own & (relevant == 0))
    assert "unannotated" not in sampled().values
    assert sampled().hidden is None
    assert (sampled().values["random"] == sampled().values["random"]).all()
    assert len(sampled(seed=1).values["random"])
    assert not np.array_equal(sampled(seed=1).values["random"], sampled().values["random"])


def test_unknown_pairs_count_as_negatives(embeddings):
    visual, text = embeddings
    nothing = np.full((VISUALS, len(LINKS)), np.nan, np.float32)
    found = score_samples(visual, text, np.arange(VISUALS), LINKS, lambda v, t: nothing[np.ix_(v, t)])
    assert not len(found.values["unannotated"])
    assert len(found.values["hardest"]) == VISUALS


def test_samples_are_limited_per_query(rng):
    visual = unit(rng.normal(size=(20, 4)))
    groups = np.zeros(20, np.int64)
    groups[10:] = np.arange(10)  # group 0 holds eleven
    found = score_samples(visual, visual, groups, groups, limit=60)
    assert np.bincount(found.query["positives"]).max() == 3
    assert len(found.values["hardest"]) == 20  # every query has a negative


def test_a_gallery_of_nothing_but_positives_has_no_negatives():
    one = np.zeros(4, np.int64)
    x = unit(np.eye(4) + 0.1)
    found = score_samples(x, x, one, one)
    assert not len(found.values["hardest"])
    assert not len(found.values["random"])
    result = score_distributions({"run": found})["run"]
    assert np.isnan(result.auc_random)
    assert np.isnan(result.overlap_hardest)


def test_known_separations_have_known_auc_and_overlap(rng):
    assert auc(np.array([2.0, 3]), np.array([0.0, 1])) == 1
    assert auc(np.array([1.0, 1]), np.array([1.0])) == 0.5
    assert auc(np.array([0.0, 2]), np.array([1.0])) == 0.5
    a, b = rng.normal(size=200_000), rng.normal(size=200_000) + 1
    assert auc(b, a) == pytest.approx(0.7602, abs=0.005)  # Φ(1 / √2)
    assert overlap(a, b) == pytest.approx(0.6171, abs=0.01)  # 2 Φ(-1/2)
    assert overlap(a, a) == pytest.approx(1)
    assert overlap(a, a + 100) == 0
    assert overlap(np.ones(3), np.ones(3)) == 1


def test_densities_share_edges_and_integrate_to_one(embeddings, rng):
    visual, text = embeddings
    groups = np.arange(VISUALS)
    runs = {
        "a": score_samples(visual, text, groups, LINKS),
        "b": score_samples(visual, unit(rng.normal(size=text.shape)), groups, LINKS),
    }
    found = score_distributions(runs, bins=37)
    assert (found["a"].edges == found["b"].edges).all()
    for one in found.values():
        for density in one.densities.values():
            assert (density * np.diff(one.edges)).sum() == pytest.approx(1)
    assert found["a"].auc_random > 0.95
    assert found["b"].auc_random == pytest.approx(0.5, abs=0.2)


def test_distributions_never_hold_the_whole_matrix(rng, monkeypatch):
    from xmr import analysis

    monkeypatch.setattr(analysis.score_blocks, "__defaults__", (500,))
    visual, text = unit(rng.normal(size=(VISUALS, D))), unit(rng.normal(size=(len(LINKS), D)))
    rows = []

    def truth(v, t):
        rows.append(len(v))
        return np.zeros((len(v), len(t)), np.float32)

    score_samples(visual, text, np.arange(VISUALS), LINKS, truth)
    assert max(rows) * len(LINKS) <= 500
    assert sum(rows) == VISUALS


# ---- hard negatives --------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", list(LOSSES))
def test_hard_negatives_equal_a_slow_loop(loss, embeddings, relevant):
    visual, text = embeddings
    groups = np.arange(VISUALS)
    features = np.random.default_rng(0).normal(size=(2, len(LINKS), 4)).astype(np.float32)
    source = Evidence(
        [f"text {i}" for i in range(len(LINKS))],
        lambda: (features[0, :VISUALS], features[1]),
        [(text[::EACH], -text)],
    )
    found = hard_negatives_by_weight(
        Retrieval(visual, text, groups, LINKS, evidence=source), loss, {}, lambda v, t: relevant[np.ix_(v, t)],
        limit=40, per_query=2,
    )  # fmt: skip
    scores = torch.from_numpy(visual @ text.T)
    positives = torch.from_numpy(groups[:, None] == LINKS[None])
    every = np.arange(VISUALS), np.arange(len(LINKS))
    there = source.of(LOSSES[loss].needs, *every, torch.from_numpy(visual), torch.from_numpy(text))
    weights = query_weights(loss, Pairs(scores, positives, ~positives, **there))
    kept = []
    for q in range(VISUALS):
        mine = [
            (-weights[q, g].item(), -scores[q, g].item(), q, g)
            for g in range(len(LINKS))
            if not positives[q, g] and weights[q, g] > 0
        ]
        kept += sorted(mine)[:2]
    kept = sorted(kept)[:40]
    assert [(q, g) for _, _, q, g in kept] == list(zip(found.query, found.candidate, strict=True))
    for i, (weight, score, q, g) in enumerate(kept):
        assert found.weight[i] == pytest.approx(-weight, rel=1e-3 if loss == "circle" else 1e-5)  # e^(256 s)
        assert found.score[i] == pytest.approx(-score)
        assert found.rank[i] == 1 + int((scores[q] > scores[q, g]).sum())
        assert found.truth[i] == relevant[q, g]
    # One query asked alone has the same weights; a loss that doesn't look at other queries can't tell.
    items = np.arange(len(LINKS))[::3]
    lone = weights_of_query(Retrieval(visual, text, groups, LINKS, evidence=source), loss, {}, 2, items)
    own = Pairs(
        scores[2:3],
        positives[2:3],
        ~positives[2:3],
        **source.of(
            LOSSES[loss].needs, every[0][2:3], every[1], torch.from_numpy(visual[2:3]), torch.from_numpy(text)
        ),
    )
    np.testing.assert_allclose(lone, query_weights(loss, own)[0].numpy()[items], rtol=1e-3, atol=1e-7)


def test_queries_that_are_asked_for_are_the_only_ones_that_answer(embeddings):
    visual, text = embeddings
    split = Retrieval(visual, text, np.arange(VISUALS), LINKS)
    every = hard_negatives_by_weight(split, "info_nce", {}, limit=10**6)
    asked = np.array([4, 1])
    some = hard_negatives_by_weight(split, "info_nce", {}, limit=10**6, asked=asked)
    kept = np.isin(every.query, asked)
    assert kept.any() and not kept.all()
    np.testing.assert_array_equal(some.query, every.query[kept])
    np.testing.assert_array_equal(some.candidate, every.candidate[kept])
    np.testing.assert_allclose(some.weight, every.weight[kept], rtol=1e-5)


def test_a_run_without_pushed_negatives_has_an_empty_list():
    x = np.eye(5, dtype=np.float32)
    found = hard_negatives_by_weight(Retrieval(x, x, *2 * [np.arange(5)]), "max_of_hinges", {"margin": 0.2})
    assert len(found) == 0
    assert found.truth.shape == (0,)


def test_unknown_truth_is_nan(embeddings):
    visual, text = embeddings
    found = hard_negatives_by_weight(
        Retrieval(visual, text, np.arange(VISUALS), LINKS, "t2v"), "info_nce", {}, limit=9
    )
    assert len(found) == 9
    assert np.isnan(found.truth).all()


def sources(rng):
    """Evidence of all kinds for the embeddings above, by random features."""
    features = (rng.normal(size=(VISUALS, 4)), rng.normal(size=(len(LINKS), 4)))
    peers = [(unit(rng.normal(size=(VISUALS, D))), unit(rng.normal(size=(len(LINKS), D)))) for _ in range(2)]
    words = [" ".join(rng.choice(list("abcdefgh"), 3)) for _ in LINKS]
    return Evidence(words, lambda: features, peers)


@pytest.mark.parametrize("direction", ["v2t", "t2v"])
@pytest.mark.parametrize("name", list(SELECTORS))
def test_suspected_pairs_are_what_the_selector_says_of_the_whole_matrix(name, direction, embeddings, rng):
    visual, text = embeddings
    groups, source = np.arange(VISUALS), sources(rng)
    positives = torch.from_numpy(groups[:, None] == LINKS[None])
    v, t = torch.from_numpy(visual), torch.from_numpy(text)
    there = source.of(SELECTORS[name].needs, groups, np.arange(len(LINKS)), v, t)
    assert there.keys() == set(SELECTORS[name].needs)
    pairs = Pairs(v @ t.T, positives, ~positives, **there)
    asked = pairs if direction == "v2t" else pairs.transpose()
    # Random captions are seldom as near as the defaults ask.
    loose = {
        "trained_caption_similarity": {"threshold": 0.4},
        "adaptive_caption_similarity": {"kappa": 1.5},
    }.get(name, {})
    whole = suspected(name, asked, **loose).numpy()
    whole = whole if direction == "v2t" else whole.T
    assert whole.any()
    v, t = rng.integers(VISUALS, size=200), rng.integers(len(LINKS), size=200)
    found = suspected_pairs(name, loose, v, t, Retrieval(visual, text, groups, LINKS, direction, source))
    assert (found == whole[v, t]).all()


def test_a_large_gallery_is_asked_in_parts(monkeypatch, embeddings, rng):
    """A selector that looks at a pair's own captions only says the same of a part as of the whole."""
    from xmr.analysis import negatives, suspects

    visual, text = embeddings
    v, t = rng.integers(VISUALS, size=200), rng.integers(len(LINKS), size=200)
    split = Retrieval(visual, text, np.arange(VISUALS), LINKS, evidence=sources(rng))
    asked = ("caption_similarity", {"threshold": 0.5}, v, t, split)
    whole = suspected_pairs(*asked)
    sizes = []
    original = suspects.suspected
    monkeypatch.setattr(
        suspects, "suspected", lambda name, pairs, **p: sizes.append(pairs) or original(name, pairs, **p)
    )
    monkeypatch.setattr(suspects, "WITHIN", 20)
    monkeypatch.setattr(negatives, "WITHIN", 20)
    assert (suspected_pairs(*asked) == whole).all()
    assert whole.any()
    assert len(sizes) > 1
    assert max(len(pairs.scores) for pairs in sizes) <= 20
    found = hard_negatives_by_weight(split, "ladder", {})
    assert len(found)  # its similarities within a modality are held in parts too


def test_the_nearest_own_caption_is_that_of_a_loop(rng):
    similarity = CaptionSimilarity(["x"] * len(LINKS), rng.normal(size=(len(LINKS), 4)))
    v, t = rng.integers(VISUALS, size=20), rng.integers(len(LINKS), size=20)
    nearest, near = nearest_own_caption(v, t, np.arange(VISUALS), LINKS, similarity)
    assert (LINKS[nearest] == v).all()
    for i in range(20):
        own = np.flatnonzero(v[i] == LINKS)
        assert near[i] == pytest.approx(similarity.block(own, t[i : i + 1]).max(), abs=1e-6)


def test_a_visual_without_captions_has_no_evidence():
    similarity = CaptionSimilarity(["a dog", "a cat"])
    nearest, near = nearest_own_caption(
        np.array([2]), np.array([0]), np.arange(3), np.array([0, 1]), similarity
    )
    assert nearest[0] == -1
    assert np.isnan(near[0])


def test_precision_and_recall_leave_out_what_is_unknown():
    suspects = np.array([True, True, False, False, True])
    found = precision_recall(suspects, np.array([1, 0, 1, 0, np.nan]))
    assert (found.precision, found.recall, found.known, found.unknown) == (0.5, 0.5, 4, 1)
    nothing = precision_recall(suspects, np.full(5, np.nan))
    assert nothing.precision is None
    assert nothing.recall is None
    assert precision_recall(~suspects & False, np.ones(5)).recall == 0


def guess(hits, missed, alarms, spared):
    """What is told of a guess that suspects `hits` matches of `hits + missed`, and `alarms` others."""
    suspects = np.repeat([True, False, True, False], [hits, missed, alarms, spared])
    return precision_recall(suspects, np.repeat([1.0, 1.0, 0.0, 0.0], [hits, missed, alarms, spared]))


@pytest.mark.parametrize(
    ("counts", "informedness", "informed"),
    [
        ((650, 0, 350, 0), 0.0, False),  # all are suspected: F1 is 0.79
        ((0, 650, 0, 350), 0.0, False),  # nobody is
        ((325, 325, 175, 175), 0.0, False),  # by chance
        ((60, 590, 0, 350), 60 / 650, True),  # few, and rightly: F1 is 0.17
        ((330, 320, 170, 180), 330 / 650 - 170 / 350, False),  # not told from chance by so few pairs
        ((33000, 32000, 17000, 18000), 33 / 65 - 17 / 35, True),
        ((100, 550, 300, 50), 100 / 650 - 300 / 350, False),  # worse than chance
        ((650, 0, 0, 350), 1.0, True),
    ],
)
def test_a_guess_is_judged_against_suspecting_all_and_chance(counts, informedness, informed):
    found = guess(*counts)
    assert found.informedness == pytest.approx(informedness)
    assert found.informed is informed
    assert found.base_rate == pytest.approx((counts[0] + counts[1]) / sum(counts))


def test_no_selector_is_praised_that_does_no_better_than_suspecting_all():
    everything, chance, few = guess(650, 0, 350, 0), guess(325, 325, 175, 175), guess(60, 590, 0, 350)
    assert "none of them tells matches from the rest better than suspecting all" in best_words(
        {"a": everything, "b": chance}
    )
    told = best_words({"a": everything, "b": chance, "c": few})
    assert "c tells matches from the rest best: it suspects 9% of the matches and 0% of the others" in told
    assert "informedness 0.09" in told
    assert "a does not tell" in best_words({"a": everything})
    assert best_words({"a": precision_recall(np.ones(3, bool), np.full(3, np.nan))}) == ""
    assert best_words({"a": precision_recall(np.ones(3, bool), np.ones(3))}) == ""


def test_words_that_are_rare_count_more_than_words_that_are_common():
    captions = ["a red cube", "a red sphere", "a teal cube", "A red, CUBE!", "", "a red cone", "a red ball"]
    similarity = CaptionSimilarity(captions)
    block = similarity.block(np.arange(7), np.arange(7))
    assert block[0, 3] == pytest.approx(1)  # case and marks don't matter
    assert block[0, 2] > block[0, 1]  # "cube" is rarer than "red"
    assert (block[4] == 0).all()
    np.testing.assert_allclose(block, block.T, atol=1e-6)
    names = sorted({w for c in captions for w in c.lower().replace(",", "").replace("!", "").split()})
    table = np.array(
        [[w in c.lower().replace(",", "").replace("!", "").split() for w in names] for c in captions]
    )
    weighted = table * (np.log(7 / table.sum(0)) + 1e-6)
    norms = np.linalg.norm(weighted, axis=1)
    norms[4] = 1
    np.testing.assert_allclose(block, (weighted @ weighted.T) / np.outer(norms, norms), atol=1e-6)


@pytest.mark.parametrize("loss", ["info_nce", "max_of_hinges", "polynomial", "gravitation"])
def test_the_weight_in_a_batch_is_the_mean_of_those_of_both_its_queries(loss):
    """The same pair in the loss of the visual that asks, of the text that asks, and of the batch of 9."""
    rng = np.random.default_rng(3)
    visual, text = (rng.normal(size=(9, 6)).astype(np.float32) for _ in "vt")
    visual, text = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (visual, text))
    group = np.arange(9)
    found = batch_weights(visual, text, group, group, loss, {})
    known = {
        "visual_within": torch.as_tensor(visual @ visual.T),
        "text_within": torch.as_tensor(text @ text.T),
    }
    pairs = Pairs.of(torch.as_tensor(visual @ text.T), **known)
    np.testing.assert_allclose(found.asked_by_visual, query_weights(loss, pairs), atol=1e-5)
    np.testing.assert_allclose(found.asked_by_text, query_weights(loss, pairs.transpose()).T, atol=1e-5)
    np.testing.assert_allclose(found.weights, (found.asked_by_visual + found.asked_by_text) / 18, atol=1e-6)
