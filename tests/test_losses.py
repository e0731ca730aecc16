"""Every registered loss: equal to its oracle, and true to the contract that the rest of xmr relies on."""

import math
from dataclasses import replace

import pytest
import torch

from tests.oracles import ORACLES
from tests.pair_parts import evidence, reordered
from xmr.analysis import pair_weights
from xmr.core import Pairs
from xmr.losses import LOSSES, loss_value, symmetric
from xmr.registry import Registry

NAMES = sorted(LOSSES)
# Facts of the formulas, each told in the loss's docstring.
ATTRACTS_NEGATIVES = {"polynomial", "polynomial_max", "polynomial_avg"}
BELOW_ZERO = {"decoupled"}
SHARES_GRADIENT = {"complementary", "hard_reweighted"}  # pull the easiest negatives up a little
TEACHER = {"soft_labels"}  # its soft targets may pull a positive down a little


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


def value(name, pairs, **hyper):
    return symmetric(LOSSES[name].make, pairs, **hyper)


def weights(name, pairs):
    return pair_weights(
        name,
        pairs.scores,
        pairs.positives,
        pairs.negatives,
        **{part: getattr(pairs, part) for part in LOSSES[name].needs},
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
            **hyper,
        ),
        dtype=torch.float64,
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_loop_from_the_paper_in_both_directions(name, seed):
    for pairs in (problem(seed), problem(seed).transpose()):
        # The weighting oracle integrates numerically.
        close = {"rtol": 1e-5, "atol": 1e-6} if name == "weighting" else {"rtol": 1e-9, "atol": 1e-9}
        torch.testing.assert_close(LOSSES[name](pairs), oracle(name, pairs), **close)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"weighting"}))
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
        assert (weights(name, pairs)[ignored] == 0).all()
        loud = replace(pairs, scores=torch.where(ignored, 0.99, pairs.scores))
        torch.testing.assert_close(value(name, loud), value(name, pairs))

    def test_weights_agree_with_finite_differences(self, name):
        if name in {"circle", "gravitation", "polynomial_calibrated"}:
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
        pairs = Pairs.of(torch.full((4, 4), score, dtype=dtype), **dict.fromkeys(LOSSES[name].needs, eye))
        assert value(name, pairs).isfinite()
        assert weights(name, pairs).isfinite().all()

    def test_a_positive_is_never_pushed_down(self, name):
        if name in TEACHER:
            pytest.skip("soft targets may")
        pairs = problem(7)
        assert (weights(name, pairs)[pairs.positives] <= 0).all()

    def test_a_negative_is_never_pulled_up(self, name):
        if name in ATTRACTS_NEGATIVES | SHARES_GRADIENT | TEACHER | {"ladder"}:
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
        within = dict.fromkeys(LOSSES[name].needs, eye.double())
        assert loss_value(name, scores, **within) == loss_value(name, scores, eye, ~eye, **within)

    def test_docstring_has_its_sections(self, name):
        for section in ("Weights:", "Relations:", "Reference:"):
            assert section in LOSSES[name].doc, section

    def test_unknown_parameter_is_an_error_with_the_near_miss(self, name):
        first = LOSSES[name].params[0].name
        with pytest.raises(TypeError, match=f"did you mean '{first}'"):
            loss_value(name, torch.eye(3), **{first + "x": 1.0})


def test_every_loss_has_an_oracle_and_every_oracle_a_loss():
    assert set(ORACLES) == set(LOSSES)


def test_learnable_parameters_get_a_gradient():
    pairs = problem(1)
    for name in NAMES:
        for param in LOSSES[name].params:
            if param.range is not None and param.range.learn:
                parameter = torch.tensor(param.default, dtype=torch.float64, requires_grad=True)
                value(name, pairs, **{param.name: parameter}).backward()
                assert parameter.grad != 0


def near_zero():
    """A fresh dual encoder: positives at 0.1, negatives at 0.02, both far below what the coefficients expect."""
    eye = torch.eye(2, dtype=torch.float64)
    within = ("visual_scores", "text_scores", "visual_within", "text_within")
    return Pairs.of(0.02 + 0.08 * eye, **dict.fromkeys(within, eye))


def test_only_the_published_polynomials_attract_negatives():
    """With the published coefficients, a hardest negative below 0.0955 is pulled closer; the calibrated form
    of the same loss pushes it away."""
    attracted = {name for name in NAMES if (weights(name, near_zero())[near_zero().negatives] < 0).any()}
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


def test_polynomial_relative_without_its_square_is_max_of_hinges():
    torch.testing.assert_close(
        value("polynomial_relative", problem(3), c2=0.0), value("max_of_hinges", problem(3))
    )


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


def test_gravitation_with_equal_masses_and_no_term_within_is_max_of_hinges():
    pairs = problem(4)
    torch.testing.assert_close(
        value("gravitation", pairs, mass="equal", within=0.0), value("max_of_hinges", pairs)
    )


def test_gravitation_by_difficulty_needs_no_within_scores_and_weighs_the_difficult_more():
    scores = square(5)
    pairs = Pairs.of(scores)
    plain = LOSSES["max_of_hinges"](pairs)
    heavy = LOSSES["gravitation"](pairs, mass="difficulty", within=0.0)
    hardest, easiest = plain.argmax(), torch.where(plain > 0, plain, torch.inf).argmin()
    assert heavy[hardest] / plain[hardest] > heavy[easiest] / plain[easiest]


def test_losses_that_look_within_a_modality_say_so():
    for name in ("gravitation", "ladder", "soft_labels"):
        with pytest.raises(ValueError, match=r"needs the (scores|similarities)"):
            loss_value(name, square(1))


def test_unified_has_both_its_limits():
    pairs = problem(6)
    torch.testing.assert_close(
        value("unified", pairs, scale=1e5), value("max_of_hinges", pairs), atol=1e-4, rtol=0
    )
    torch.testing.assert_close(
        25 * value("unified", pairs, scale=25.0, margin=0.0), value("info_nce", pairs, temperature=1 / 25)
    )


def test_the_softmax_family_reduces_to_info_nce():
    pairs = problem(7)
    plain = value("info_nce", pairs, temperature=0.5)
    torch.testing.assert_close(value("debiased", pairs, temperature=0.5, prior=0.0), plain)
    torch.testing.assert_close(
        value("hard_reweighted", pairs, temperature=0.5, beta=0.0, prior=0.1), value("debiased", pairs)
    )
    torch.testing.assert_close(value("hard_reweighted", pairs, temperature=0.5, beta=0.0, prior=0.0), plain)
    torch.testing.assert_close(value("soft_labels", pairs, weight=0.0, temperature=0.5), plain)


def test_ladder_without_its_second_rung_is_max_of_hinges():
    torch.testing.assert_close(value("ladder", problem(8), weight=0.0), value("max_of_hinges", problem(8)))


def test_double_triplet_is_the_mean_of_hinges_at_half_the_margin():
    scores = square(3)
    torch.testing.assert_close(
        loss_value("double_triplet", scores, margin=0.4), loss_value("sum_of_hinges", scores, margin=0.2) / 5
    )


def test_soft_margin_tends_to_the_hinge_without_margin():
    torch.testing.assert_close(
        value("soft_margin", problem(2), scale=1e5),
        value("max_of_hinges", problem(2), margin=0.0),
        atol=1e-4,
        rtol=0,
    )


def test_info_nce_is_the_symmetric_cross_entropy_of_clip():
    scores, target = square(3), torch.arange(6)
    logits = scores / 0.07
    cross = torch.nn.functional.cross_entropy
    expected = (cross(logits, target) + cross(logits.T, target)) / 2
    torch.testing.assert_close(loss_value("info_nce", scores, temperature=0.07), expected)


def test_info_nce_tends_to_the_largest_hinge_without_margin():
    temperature = 1e-3
    torch.testing.assert_close(
        temperature * loss_value("info_nce", square(4), temperature=temperature),
        loss_value("max_of_hinges", square(4), margin=0.0),
        atol=6 * temperature,
        rtol=0,
    )


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


def test_a_user_can_register_a_loss_and_gets_its_weights():
    registry = Registry("loss")

    @registry.register
    def linear(pairs):
        """Pulls positives, pushes negatives."""
        return (pairs.scores * (pairs.negatives.double() - pairs.positives.double())).sum(1)

    leaf = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    symmetric(registry["linear"].make, Pairs.of(leaf)).backward()
    torch.testing.assert_close(leaf.grad, (1 - 2 * torch.eye(3, dtype=torch.float64)) / 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(3),), r"\(Q, G\) float"),
        ((torch.zeros(2, 3),), "must be square"),
        ((torch.zeros(2, 3, dtype=torch.long),), "float"),
        ((torch.zeros(2, 2), torch.ones(2, 3, dtype=torch.bool)), r"found \(2, 3\)"),
        ((torch.zeros(2, 2), torch.ones(2, 2)), "must be bool"),
        ((torch.zeros(2, 2), torch.eye(2) > 0, torch.eye(2) > 0), "both positive and negative"),
    ],
)
def test_wrong_input_is_refused_with_what_was_found(arguments, message):
    with pytest.raises(ValueError, match=message):
        loss_value("info_nce", *arguments)


def test_unknown_loss_names_the_near_miss():
    with pytest.raises(KeyError, match="did you mean 'info_nce'"):
        loss_value("info_nc", torch.eye(2))
