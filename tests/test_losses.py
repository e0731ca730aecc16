"""Every registered loss: equal to its oracle, and true to the contract that the rest of xmr relies on."""

import math
import re
from dataclasses import replace

import pytest
import torch

from tests.oracles import ORACLES
from tests.pair_parts import evidence, reordered, unit
from xmr.analysis import pair_weights, query_weights, weight_curve
from xmr.core import EVIDENCE, Pairs
from xmr.losses import LOSSES, loss_value, symmetric

NAMES = sorted(LOSSES)
SHIPPED = sorted(name for name, entry in LOSSES.items() if entry.shipped)
# Facts of the formulas, each told in the loss's docstring.
ATTRACTS_NEGATIVES = {"polynomial", "polynomial_max", "polynomial_avg"}
BELOW_ZERO = {"decoupled"}
SHARES_GRADIENT = {"complementary", "hard_reweighted"}  # pull the easiest negatives up a little
TEACHER = {"peer_distillation", "soft_labels"}  # its soft targets may pull a positive down a little


def columns(mask):
    return [[j for j, flag in enumerate(row) if flag] for row in mask.tolist()]


def problem(seed, queries=6, gallery=8):
    """Random pairs with several positives, none for the last query, some ignored pairs, and within-scores."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(queries, gallery, generator=generator, dtype=torch.float64) * 1.6 - 0.6
    positives = torch.rand(queries, gallery, generator=generator) < 0.25
    positives |= torch.eye(queries, gallery, dtype=torch.bool)
    positives[-1] = False
    ignored = torch.rand(queries, gallery, generator=generator) < 0.1

    return Pairs.of(scores, positives, ~positives & ~ignored, **evidence(queries, gallery, generator))


def needed(name, pairs, dtype=None):
    """The evidence that a loss needs, by name."""
    parts = {part: getattr(pairs, part) for part in LOSSES[name].needs}
    return {part: found if dtype is None else found.to(dtype) for part, found in parts.items()}


def unrelated(needs, eye):
    """Evidence of items that are like themselves alone, and of a peer that says so."""
    return {part: eye[None] if part == "peer_scores" else eye for part in needs}


def value(name, pairs, **hyper):
    return symmetric(LOSSES[name].make, pairs, **hyper)


def weights(name, pairs):
    return pair_weights(
        name,
        pairs.scores,
        pairs.positives,
        pairs.negatives,
        **needed(name, pairs),
    )


def square(seed):
    """A square batch with the diagonal positive, as scores only."""
    return problem(seed).scores[:, :6]


def oracle(name, pairs, **hyper):
    return torch.tensor(
        ORACLES[name](
            pairs.scores.tolist(),
            columns(pairs.positives),
            columns(pairs.negatives),
            visual=(pairs.visual_within if name == "gravitation" else pairs.visual_scores).tolist(),
            text=(pairs.text_within if name == "gravitation" else pairs.text_scores).tolist(),
            upright=pairs.direction == "v2t",
            peers=pairs.peer_scores.tolist(),
            **hyper,
        ),
        dtype=torch.float64,
    )


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_loop_from_the_paper_in_both_directions(name, seed):
    for pairs in (problem(seed), problem(seed).transpose()):
        # The weighting oracle integrates numerically.
        close = {"rtol": 1e-5, "atol": 1e-6} if name == "weighting" else {"rtol": 1e-9, "atol": 1e-9}
        torch.testing.assert_close(LOSSES[name](pairs), oracle(name, pairs), **close)


@pytest.mark.parametrize("name", sorted(set(SHIPPED) - {"weighting"}))
def test_equals_the_loop_at_other_parameters(name):
    pairs = problem(9)
    hyper = {
        p.name: p.default + 0.3 * (p.range.high - p.default)
        for p in LOSSES[name].params
        if p.range is not None
    }
    if name == "gravitation":
        hyper["mass"] = "equal"
    torch.testing.assert_close(LOSSES[name](pairs, **hyper), oracle(name, pairs, **hyper))


@pytest.mark.parametrize("name", NAMES)
class TestContract:
    def test_is_one_finite_value_per_query(self, name):
        found = LOSSES[name](problem(1))
        assert found.shape == (6,)
        assert found.isfinite().all()

    def test_a_query_without_positives_contributes_nothing(self, name):
        if name in {"siglip", "similar_dissimilar", "contrastive"}:
            pytest.skip("every pair is a question of its own here")
        assert LOSSES[name](problem(1))[-1] == 0

    def test_asking_the_other_way_round_changes_nothing(self, name):
        torch.testing.assert_close(value(name, problem(2)), value(name, problem(2).transpose()))

    def test_order_of_queries_and_gallery_does_not_matter(self, name):
        pairs = problem(3)
        rows, cols = torch.randperm(6), torch.randperm(8)
        shuffled = reordered(pairs, rows, cols)
        torch.testing.assert_close(value(name, pairs), value(name, shuffled))

    def test_ignored_pairs_have_no_weight_whatever_they_score(self, name):
        pairs = problem(4)
        ignored = ~pairs.positives & ~pairs.negatives
        assert ignored.any()
        for score in (0.99, math.nan, math.inf, -math.inf):
            loud = replace(pairs, scores=torch.where(ignored, score, pairs.scores))
            torch.testing.assert_close(value(name, loud), value(name, pairs))
            torch.testing.assert_close(weights(name, loud), weights(name, pairs))
            assert (weights(name, loud)[ignored] == 0).all()

    def test_what_is_not_a_number_is_not_hidden(self, name):
        pairs = problem(4)
        assert value(name, replace(pairs, scores=pairs.scores * math.nan)).isnan()
        own, other = pairs.positives.nonzero()[0], pairs.negatives.nonzero()[0]
        for row, column in (own.tolist(), other.tolist()):
            scores = pairs.scores.clone()
            scores[row, column] = math.nan
            assert LOSSES[name](replace(pairs, scores=scores))[row].isnan()
            assert weights(name, replace(pairs, scores=scores))[row].isnan().any()

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_is_computed_in_single(self, name, dtype):
        for pairs in (problem(1), confident_mistake()):
            rounded = pairs.scores.to(dtype)
            half = replace(pairs, scores=rounded, **needed(name, pairs, dtype))
            # What was rounded is the input's; nothing is lost beyond it.
            exact = replace(
                pairs, scores=rounded.double(), **{k: v.double() for k, v in needed(name, half).items()}
            )
            for hyper in extremes(name):
                found = value(name, half, **hyper)
                assert found.dtype == torch.float32
                torch.testing.assert_close(found.double(), value(name, exact, **hyper), rtol=1e-4, atol=1e-5)
            assert weights(name, half).dtype == torch.float32
            close = {"rtol": 1e-3, "atol": 1e-4}
            torch.testing.assert_close(weights(name, half).double(), weights(name, exact), **close)

    def test_it_is_compiled_whole(self, name):
        torch.compiler.reset()
        pairs = problem(2)
        pairs = Pairs.of(pairs.scores, pairs.positives, pairs.negatives, **needed(name, pairs))
        ask = torch.compile(lambda asked: value(name, asked), fullgraph=True, backend="eager")
        torch.testing.assert_close(ask(pairs), value(name, pairs))

    def test_a_weight_on_a_border_is_none_that_neither_side_has(self, name):
        """Borders: knots, margins, thresholds, ties. What is above and below agree with, a border may not miss."""
        positive, others, step = 0.6, (0.1, 0.2), 1e-7
        numbers = {0.0, 0.5, 1.0, *(v for v in LOSSES[name].defaults.values() if isinstance(v, float))}
        borders = {sign * v + at for v in numbers for sign in (-1, 1) for at in (0.0, positive, *others)}
        borders |= {1 - v**2 / 2 for v in numbers} | {0.0955, 0.3489}  # a distance; roots of `polynomial`
        scores = [[b - step, b, b + step] for b in sorted(borders) if -1 <= b <= 1]
        curve = weight_curve(
            name, {}, positive=positive, others=others, scores=torch.tensor(scores).flatten().numpy()
        )
        for part in (curve.negative, curve.positive):
            below, at, above = part.reshape(-1, 3).T
            slack = 1e-3 * abs(part).max()
            assert (at >= torch.minimum(*map(torch.tensor, (below, above))).numpy() - slack).all()
            assert (at <= torch.maximum(*map(torch.tensor, (below, above))).numpy() + slack).all()

    def test_weights_agree_with_finite_differences(self, name):
        if name in {"circle", "gravitation", "hardness_weighted", "polynomial_calibrated"}:
            pytest.skip("a factor without gradient: the weight is not the slope of the value")
        pairs = problem(5)
        scores = pairs.scores.clone().requires_grad_(True)
        assert torch.autograd.gradcheck(lambda s: value(name, replace(pairs, scores=s)), (scores,))

    def test_no_negatives_at_all_is_finite_with_finite_weights(self, name):
        pairs = problem(6)
        alone = replace(pairs, negatives=torch.zeros_like(pairs.negatives))
        assert value(name, alone).isfinite()
        assert weights(name, alone).isfinite().all()

    def test_everything_ignored_is_zero(self, name):
        pairs = problem(6)
        none = torch.zeros_like(pairs.negatives)
        empty = replace(pairs, negatives=none, positives=none)
        assert value(name, empty) == 0
        assert (weights(name, empty) == 0).all()

    @pytest.mark.parametrize("score", [-1.0, 0.0, 1.0])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_extreme_equal_scores_are_finite(self, name, score, dtype):
        eye = torch.eye(4, dtype=dtype)
        pairs = Pairs.of(torch.full((4, 4), score, dtype=dtype), **unrelated(LOSSES[name].needs, eye))
        assert value(name, pairs).isfinite()
        assert weights(name, pairs).isfinite().all()

    def test_a_positive_is_never_pushed_down(self, name):
        if name in TEACHER:
            pytest.skip("soft targets may")
        pairs = problem(7)
        assert (weights(name, pairs)[pairs.positives] <= 0).all()

    def test_a_negative_is_never_pulled_up(self, name):
        if name in ATTRACTS_NEGATIVES | SHARES_GRADIENT | TEACHER | {"graded_relevance", "ladder"}:
            pytest.skip("its docstring says when it does")
        for seed in range(3):
            pairs = problem(seed)
            assert (weights(name, pairs)[pairs.negatives] >= 0).all()

    def test_is_not_below_zero(self, name):
        if name in BELOW_ZERO:
            pytest.skip("its docstring says so")
        assert (LOSSES[name](problem(7)) >= 0).all()

    def test_the_diagonal_is_the_default(self, name):
        scores, eye = square(8), torch.eye(6, dtype=torch.bool)
        within = unrelated(LOSSES[name].needs, eye.double())
        assert loss_value(name, scores, **within) == loss_value(name, scores, eye, ~eye, **within)

    def test_unknown_parameter_is_an_error_with_the_near_miss(self, name):
        first = LOSSES[name].params[0].name
        with pytest.raises(TypeError, match=f"did you mean '{first}'"):
            loss_value(name, torch.eye(3), **{first + "x": 1.0})


def test_every_shipped_loss_has_an_oracle_and_every_oracle_a_loss():
    assert sorted(ORACLES) == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_docstring_has_its_sections(name):
    for section in ("Weights:", "Relations:", "Reference:"):
        assert section in LOSSES[name].doc, section


def confident_mistake():
    """An annotated pair that scores worst of all, and unrelated ones that score best."""
    pairs = problem(3)
    scores = pairs.scores.clamp(-1, 1)
    scores[0, 0], scores[0, 1:4] = -1.0, 1.0
    return replace(pairs, scores=scores, positives=torch.eye(6, 8).bool(), negatives=~torch.eye(6, 8).bool())


def extremes(name):
    """Defaults, and what is learned at either end of its range."""
    learned = [param for param in LOSSES[name].params if param.range is not None and param.range.learn]
    ends = [{param.name: getattr(param.range, end) for param in learned} for end in ("low", "high")]
    return [{}, *ends] if learned else [{}]


@pytest.mark.parametrize("name", NAMES)
def test_a_number_given_as_a_tensor_gets_a_finite_gradient_and_one_that_is_learned_some(name):
    for param in LOSSES[name].params:
        if param.kind is float:
            number = torch.tensor(param.default, dtype=torch.float64, requires_grad=True)
            found = value(name, problem(1), **{param.name: number})
            if param.range.learn or found.requires_grad:  # else it is a threshold, which has no slope
                found.backward()
                assert number.grad.isfinite() and (number.grad != 0 or not param.range.learn)


def near_zero():
    """A fresh dual encoder: positives at 0.1, negatives at 0.02, both far below what the coefficients expect."""
    eye = torch.eye(2, dtype=torch.float64)
    within = ("visual_scores", "text_scores", "visual_within", "text_within", "peer_scores")
    return Pairs.of(0.02 + 0.08 * eye, **unrelated(within, eye))


def test_only_the_published_polynomials_attract_negatives():
    """With the published coefficients, a hardest negative below 0.0955 is pulled closer; the calibrated form
    of the same loss pushes it away."""
    attracted = {name for name in SHIPPED if (weights(name, near_zero())[near_zero().negatives] < 0).any()}
    assert attracted - TEACHER == ATTRACTS_NEGATIVES
    expected = (2 * 0.9 * 0.02 - 0.4) / 2  # g'(h), averaged over two queries, met once in each direction
    torch.testing.assert_close(weights("polynomial", near_zero())[0, 1].item(), expected)


def test_polynomial_ignores_negatives_between_its_roots():
    pairs = replace(near_zero(), scores=near_zero().scores + 0.2)
    assert (weights("polynomial", pairs)[pairs.negatives] == 0).all()


@pytest.mark.parametrize("seed", range(4))
def test_calibrated_weights_are_monotone_in_the_score_and_never_reversed(seed):
    """Each row has one negative, so that every one is the hardest; the extremes of the batch are held fixed."""
    scores = problem(seed).scores[:5, :1] * 0.4
    own, others = torch.full((5, 1), 0.0, dtype=torch.float64), scores.sort(0).values
    edges = torch.tensor([[-0.6, 0.9]], dtype=torch.float64)
    matrix = torch.cat([torch.cat([own, others], 1), edges])
    positives = torch.zeros_like(matrix, dtype=torch.bool)
    positives[:5, 0] = True
    negatives = ~positives
    leaf = matrix.clone().requires_grad_(True)
    LOSSES["polynomial_calibrated"](Pairs.of(leaf, positives, negatives), margin=1.0).sum().backward()
    pushed = leaf.grad[:5, 1]
    assert (pushed >= 0).all()
    assert (pushed.diff() >= 0).all()


def test_polynomial_test_vector_of_the_official_code():
    scores = torch.tensor([[0.60, 0.45, 0.10], [0.30, 0.70, 0.65], [0.05, 0.52, 0.80]], dtype=torch.float64)
    assert 2 * loss_value("polynomial", scores).item() == pytest.approx(0.2780366667, abs=1e-9)


def one_each(seed):
    """A square batch, one positive a query."""
    return Pairs.of(square(seed))


@pytest.mark.parametrize(
    ("pairs", "factor", "name", "hyper", "other", "hyper_of_other", "close"),
    [
        (problem, 1, "polynomial_relative", {"c2": 0.0}, "max_of_hinges", {}, 0),
        (problem, 1, "gravitation", {"mass": "equal", "within": 0.0}, "max_of_hinges", {}, 0),
        (problem, 1, "ladder", {"weight": 0.0}, "max_of_hinges", {}, 0),
        (problem, 1, "unified", {"scale": 1e5}, "max_of_hinges", {}, 1e-4),
        (problem, 1, "soft_margin", {"scale": 1e5}, "max_of_hinges", {"margin": 0.0}, 1e-4),
        (problem, 1e-3, "info_nce", {"temperature": 1e-3}, "max_of_hinges", {"margin": 0.0}, 6e-3),
        (problem, 25, "unified", {"scale": 25.0, "margin": 0.0}, "info_nce", {"temperature": 1 / 25}, 0),
        (problem, 1, "debiased", {"prior": 0.0}, "info_nce", {"temperature": 0.5}, 0),
        (problem, 1, "hard_reweighted", {"beta": 0.0}, "debiased", {}, 0),
        (problem, 1, "hard_reweighted", {"beta": 0.0, "prior": 0.0}, "info_nce", {"temperature": 0.5}, 0),
        (problem, 1, "hardness_weighted", {"alpha": 0.0}, "info_nce", {}, 0),
        (problem, 1, "graded_relevance", {"weight": 0.0}, "info_nce", {}, 0),
        (problem, 1, "graded_relevance", {"threshold": 1.0}, "info_nce", {}, 0),
        (problem, 1, "peer_distillation", {"weight": 0.0}, "info_nce", {}, 0),
        (problem, 1, "soft_labels", {"weight": 0.0, "temperature": 0.5}, "info_nce", {"temperature": 0.5}, 0),
        (one_each, 5, "double_triplet", {"margin": 0.4}, "sum_of_hinges", {"margin": 0.2}, 0),
    ],
)
def test_relations_that_docstrings_tell(pairs, factor, name, hyper, other, hyper_of_other, close):
    for seed in range(3, 6):
        found = factor * value(name, pairs(seed), **hyper)
        tolerance = {"rtol": 0, "atol": close} if close else {}
        torch.testing.assert_close(found, value(other, pairs(seed), **hyper_of_other), **tolerance)


def test_weighting_trains_with_exactly_the_drawn_weights():
    scores = square(2)
    drawn = {f"{side}_at_{k}": 0.0 for side in ("positive", "negative") for k in ("minus_1", "minus_half")}
    drawn |= {"positive_at_0": 1.5, "positive_at_half": 0.5, "positive_at_1": 0.25}
    drawn |= {"negative_at_0": 0.1, "negative_at_half": 0.7, "negative_at_1": 1.9}
    leaf = scores.clone().requires_grad_(True)
    LOSSES["weighting"](Pairs.of(leaf), **drawn).sum().backward()

    def height(values, x):
        knots = torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0])
        i = min(int((x + 1) / 0.5), 3)
        return values[i] + (values[i + 1] - values[i]) * (x - knots[i].item()) / 0.5

    for i, row in enumerate(scores.tolist()):
        j = max((j for j in range(6) if j != i), key=lambda j: row[j])
        expected = [0.0] * 6
        expected[i] = -height([0.0, 0.0, 1.5, 0.5, 0.25], row[i])
        expected[j] = height([0.0, 0.0, 0.1, 0.7, 1.9], row[j])
        torch.testing.assert_close(leaf.grad[i], torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("score", [-1.0, -0.5, 0.0, 0.5, 1.0])
def test_weights_at_the_knots_are_the_drawn_ones(score):
    curve = weight_curve("weighting", {}, others=(-0.9999,), scores=torch.tensor([score]).numpy())
    defaults = LOSSES["weighting"].defaults
    knot = {-1.0: "minus_1", -0.5: "minus_half", 0.0: "0", 0.5: "half", 1.0: "1"}[score]
    assert curve.positive[0] == pytest.approx(-defaults[f"positive_at_{knot}"])
    assert curve.negative[0] == pytest.approx(defaults[f"negative_at_{knot}"])


def test_contrastive_pulls_and_pushes_alike_where_items_coincide():
    curve = weight_curve("contrastive", {}, others=(0.1,), scores=torch.tensor([1 - 1e-5, 1.0, 1.1]).numpy())
    assert curve.positive.tolist() == pytest.approx([-1, -1, -1])
    distance = math.sqrt(2 * (1 - curve.scores[0]))
    assert curve.negative.tolist() == pytest.approx([(1 - distance) / distance, 999, 999])


@pytest.mark.parametrize("wrong", [0.3, 0.9, 1.0])
def test_complementary_is_the_probability_of_all_but_a_negative(wrong):
    """However sure the mistake: -log(1 - p) = log Σ exp of all - log Σ exp of all but the negative, and its slope."""
    leaf = torch.zeros(1, 6, dtype=torch.float64)
    leaf[0, :2] = torch.tensor([0.2, wrong])
    leaf.requires_grad_()
    logits = leaf[0] / 0.05
    exact = sum(
        logits.logsumexp(0) - torch.cat([logits[:j], logits[j + 1 :]]).logsumexp(0) for j in range(1, 6)
    )
    slope = torch.autograd.grad(exact, leaf)[0]
    for dtype in (torch.float32, torch.float64):
        scores = leaf.detach().to(dtype).requires_grad_()
        found = LOSSES["complementary"](Pairs.of(scores, torch.eye(1, 6).bool())).sum()
        torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=0)
        torch.testing.assert_close(
            torch.autograd.grad(found, scores)[0].double(), slope, rtol=1e-4, atol=1e-6
        )


def test_hardness_adds_to_logits_and_has_no_slope_of_its_own():
    """The weights are probabilities over τ: those of info_nce of the raised scores, not of them times 1 + ατ."""
    pairs, alpha = one_each(2), 9.0
    raised = pairs.scores * torch.where(pairs.negatives, 1 + alpha * 0.07, 1.0)
    for side, lifted in ((pairs, raised), (pairs.transpose(), raised.T)):
        found = query_weights("hardness_weighted", side, alpha=alpha)
        torch.testing.assert_close(found, query_weights("info_nce", replace(side, scores=lifted)))


@pytest.mark.parametrize("name", ["debiased", "hard_reweighted"])
@pytest.mark.parametrize("wide", [20.0, 300.0])
def test_wide_scores_do_not_overflow(name, wide):
    """Scores of an unbounded metric. With a mistake that outdoes all else, the loss is the mistake's lead; with a match
    that does, it is that of the floor, which is nothing."""
    scores = torch.tensor([[-wide, wide, 0.0, 0.0]], requires_grad=True)
    positives = torch.tensor([[True, False, False, False]])
    for sign in (1, -1):
        loss = LOSSES[name](Pairs.of(sign * scores, positives)).sum()
        lead = 2 * wide / 0.5 - math.log(0.9) + (math.log(3) if name == "hard_reweighted" else 0)
        assert loss.item() == pytest.approx(lead if sign > 0 else 0, rel=1e-5, abs=1e-6)
        assert torch.autograd.grad(loss, scores)[0].isfinite().all()


def test_soft_labels_has_the_released_balance_at_a_tenth_of_the_batch():
    """The released code takes the mean of the contrastive term over all B·B pairs, and of the divergence over rows."""
    generator = torch.Generator().manual_seed(0)
    size, scores = 6, square(4)
    near = evidence(size, size, generator)
    eye = torch.eye(size, dtype=torch.float64)
    total = 0.0
    for s, teacher in ((scores, near["visual_scores"]), (scores.T, near["text_scores"])):
        contrast = -(eye * (s / 0.05).log_softmax(1)).mean()
        target = teacher.softmax(1)
        divergence = (target * (target.log() - (s / 0.45).log_softmax(1))).sum(1).mean()
        total = total + (contrast + 0.1 * divergence) / 2
    parts = {name: near[name] for name in LOSSES["soft_labels"].needs}
    found = loss_value("soft_labels", scores, weight=0.1 * size, **parts)
    torch.testing.assert_close(found, size * total)
    assert LOSSES["soft_labels"].param("weight").parse(0.1 * 256)  # in reach of usual batches


def test_distillation_at_weight_1_is_done_where_our_shares_are_those_of_the_peers_mean():
    pairs = problem(3)
    same = replace(pairs, scores=pairs.peer_scores.mean(0) * (0.2 / 0.05))
    found = LOSSES["peer_distillation"](same, weight=1.0, temperature=0.2, peer_temperature=0.05)
    torch.testing.assert_close(found, torch.zeros_like(found))
    assert (LOSSES["peer_distillation"](pairs, weight=1.0)[:-1] > 0).all()


def test_gravitation_by_difficulty_needs_no_within_scores_and_weighs_the_difficult_more():
    scores = square(5)
    pairs = Pairs.of(scores)
    plain = LOSSES["max_of_hinges"](pairs)
    heavy = LOSSES["gravitation"](pairs, mass="difficulty", within=0.0)
    hardest, easiest = plain.argmax(), torch.where(plain > 0, plain, torch.inf).argmin()
    assert heavy[hardest] / plain[hardest] > heavy[easiest] / plain[easiest]


def test_losses_that_look_within_a_modality_say_so():
    for name in ("graded_relevance", "gravitation", "ladder", "peer_distillation", "soft_labels"):
        with pytest.raises(ValueError, match=r"needs the (scores|similarities)"):
            loss_value(name, square(1))


@pytest.mark.parametrize("name", EVIDENCE)
def test_missing_evidence_is_told_with_how_to_give_it(name):
    with pytest.raises(ValueError, match=re.escape(f"give {name}={EVIDENCE[name][1]}")):
        Pairs.of(square(1)).evidence(name)


def test_what_the_message_says_works():
    generator = torch.Generator().manual_seed(1)
    v, t = unit(5, 4, generator), unit(5, 4, generator)
    with pytest.raises(ValueError, match=r"give visual_within=v @ v\.T"):
        loss_value("gravitation", v @ t.T, text_within=t @ t.T)
    assert loss_value("gravitation", v @ t.T, visual_within=v @ v.T, text_within=t @ t.T).isfinite()


def test_info_nce_is_the_symmetric_cross_entropy_of_clip():
    scores, target = square(3), torch.arange(6)
    logits = scores / 0.07
    cross = torch.nn.functional.cross_entropy
    expected = (cross(logits, target) + cross(logits.T, target)) / 2
    torch.testing.assert_close(loss_value("info_nce", scores, temperature=0.07), expected)


def test_max_of_hinges_is_the_sum_of_vsepp_over_twice_the_batch():
    scores = square(5)
    diagonal = scores.diag()
    off = scores.masked_fill(torch.eye(6, dtype=torch.bool), -math.inf)
    cost_s = (0.2 + off - diagonal[:, None]).clamp(min=0).max(1)[0]
    cost_im = (0.2 + off - diagonal[None, :]).clamp(min=0).max(0)[0]
    torch.testing.assert_close(loss_value("max_of_hinges", scores), (cost_s.sum() + cost_im.sum()) / 12)


def test_siglip_is_the_sum_over_all_pairs_divided_by_the_batch():
    scores = square(6)
    sign = 2 * torch.eye(6, dtype=torch.float64) - 1
    expected = -torch.nn.functional.logsigmoid(sign * (10 * scores - 10)).sum() / 6
    torch.testing.assert_close(loss_value("siglip", scores), expected)


@pytest.mark.parametrize("word", ["groups", "labels"])
def test_groups_and_labels_stand_for_masks(word):
    scores = problem(2).scores
    rows, columns = (
        torch.tensor([5, 5, 2**60, 2**60 + 1, 0, 1]),
        torch.tensor([5, 2**60, 1, 0, 9, 5, 2**60 + 1, 0]),
    )
    same = rows[:, None] == columns
    for ask in (loss_value, pair_weights):
        expected = ask("info_nce", scores, same)
        torch.testing.assert_close(ask("info_nce", scores, **{word: (rows, columns)}), expected)
        torch.testing.assert_close(
            ask("info_nce", scores, **{word: (rows.numpy(), columns.tolist())}), expected
        )
        alike = ask("info_nce", scores[:, :6], rows[:, None] == rows)
        torch.testing.assert_close(ask("info_nce", scores[:, :6], **{word: rows}), alike)
        near = torch.rand(6, 8, generator=torch.Generator().manual_seed(1)) < 0.5
        some = ask("info_nce", scores, None, near & ~same, **{word: (rows, columns)})
        torch.testing.assert_close(some, ask("info_nce", scores, same, near & ~same))


def no_pairs(*shape):
    return {"scores": torch.zeros(shape), "positives": torch.zeros(shape, dtype=torch.bool)}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"scores": torch.zeros(3)}, r"\(Q, G\) float"),
        ({"scores": torch.zeros(2, 3)}, "must be square"),
        ({"scores": torch.zeros(2, 3, dtype=torch.long)}, "float"),
        ({"positives": torch.ones(2, 3, dtype=torch.bool)}, r"found \(2, 3\)"),
        ({"positives": torch.ones(2, 2)}, "must be bool"),
        ({"positives": torch.eye(2) > 0, "negatives": torch.eye(2) > 0}, "both positive and negative"),
        ({"groups": torch.arange(3)}, r"\(2,\) for the rows.*found \(3,\)"),
        ({"groups": (torch.arange(2), torch.arange(3))}, r"found \(3,\)"),
        ({"labels": torch.zeros(2)}, "labels must be integers.*float32"),
        ({"labels": ["cat", "dog"]}, "labels must be integers"),
        ({"labels": torch.eye(2, dtype=torch.long)}, r"found \(2, 2\)"),
        ({"groups": torch.arange(2), "labels": torch.arange(2)}, "give one of groups, labels"),
        ({"groups": torch.arange(2), "positives": torch.eye(2) > 0}, "give one of positives, groups"),
        (
            {"groups": torch.zeros(2, dtype=torch.long), "negatives": torch.eye(2) > 0},
            "both positive and neg",
        ),
        (no_pairs(0, 0), r"\(0, 0\) has no pairs"),
        (no_pairs(3, 0), r"\(3, 0\) has no pairs"),
        (no_pairs(0, 3), r"\(0, 3\) has no pairs"),
        ({"scores": torch.eye(2).numpy()}, "scores must be a tensor, found ndarray"),
        ({"scores": [[0.5]]}, "scores must be a tensor, found list"),
        ({"scores": None}, "scores must be a tensor, found NoneType"),
        ({"positives": torch.eye(2, dtype=torch.bool).numpy()}, "positives must be a tensor, found ndarray"),
        ({"negatives": [[True]]}, "negatives must be a tensor, found list"),
        ({"visual_within": torch.eye(2).numpy()}, "visual_within must be a tensor, found ndarray"),
        ({"text_scores": 1.0}, "text_scores must be a tensor, found float"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_was_found(given, message):
    for ask in (loss_value, pair_weights):
        with pytest.raises(ValueError, match=message):
            ask("info_nce", **{"scores": torch.zeros(2, 2)} | given)


@pytest.mark.parametrize("bad", [0, -0.07, math.nan, math.inf, "nan", True, None])
def test_a_number_out_of_range_is_refused_from_python_as_on_the_command_line(bad):
    for ask in (loss_value, pair_weights, lambda name, s, **h: LOSSES[name](Pairs.of(s), **h)):
        with pytest.raises(ValueError, match=r"temperature=.* is (outside 0\.01 … 1|not a float)"):
            ask("info_nce", torch.eye(3), temperature=bad)


def test_the_positives_of_pairs_are_counted_anew_after_a_change():
    """The count is kept from `Pairs.of`, for a compiled loss; a mask that was replaced has its own."""
    scores = square(1)
    pairs = Pairs.of(scores)
    more = replace(pairs, positives=torch.ones_like(pairs.positives), negatives=~pairs.negatives & False)
    assert (pairs.most_positives(), more.most_positives(), more.transpose().most_positives()) == (1, 6, 6)
    wide = Pairs.of(problem(1).scores, torch.ones(6, 8).bool())
    assert (wide.most_positives(), wide.transpose().most_positives()) == (8, 6)


def test_unknown_loss_names_the_near_miss():
    with pytest.raises(KeyError, match="did you mean 'info_nce'"):
        loss_value("info_nc", torch.eye(2))
