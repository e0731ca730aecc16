"""Every selector: a mask within the negatives that composes with every loss."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests import tiny
from tests.pair_parts import evidence, reordered
from xmr.core import Pairs
from xmr.evidence import Evidence
from xmr.losses import LOSSES, symmetric
from xmr.selection import (
    SELECTORS,
    caption_evidence,
    match_posterior,
    score_moments,
    suspected,
    treat,
    visual_evidence,
    without,
)
from xmr.training.objective import Objective, State, batch_sides
from xmr.training.task import prepare


def pairs(seed=0, visuals=5, texts=9):
    generator = torch.Generator().manual_seed(seed)
    owner = torch.arange(texts) % visuals
    positives = owner[None] == torch.arange(visuals)[:, None]

    scores = torch.rand(visuals, texts, generator=generator)
    return Pairs.of(scores, positives, **evidence(visuals, texts, generator, torch.float32))


@pytest.mark.parametrize("name", sorted(SELECTORS))
def test_suspects_are_negatives_in_both_directions(name):
    there = pairs()
    for asked in (there, there.transpose()):
        mask = suspected(name, asked)
        assert mask.dtype == torch.bool
        assert not (mask & ~asked.negatives).any()


@pytest.mark.parametrize("name", sorted(SELECTORS))
@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_composes_with_every_loss(name, loss):
    asked = pairs()
    assert symmetric(LOSSES[loss].make, without(asked, suspected(name, asked))).isfinite()


def test_caption_evidence_is_the_nearest_own_caption():
    asked = pairs()
    expected = torch.zeros(5, 9)
    for v in range(5):
        for t in range(9):
            expected[v, t] = max(asked.text_scores[p, t] for p in range(9) if p % 5 == v)
    torch.testing.assert_close(caption_evidence(asked), expected)
    torch.testing.assert_close(caption_evidence(asked.transpose()), expected.T)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("caption_similarity", "text_scores"),
        ("word_overlap", "word_scores"),
        ("trained_caption_similarity", "text_within"),
    ],
)
def test_the_similarity_to_the_nearest_own_caption_decides(name, source):
    asked = pairs()
    near = getattr(asked, source)
    for threshold in (0.3, 0.5, SELECTORS[name].param("threshold").range.low):

        def rule(i, j, threshold=threshold):
            return max(near[p, j].item() for p in own(asked, i)) >= threshold

        assert torch.equal(suspected(name, asked, threshold=threshold), loop(asked, rule))


def test_a_visual_without_captions_is_never_evidence():
    asked = pairs()
    positives = asked.positives.clone()
    positives[0] = False
    alone = Pairs.of(asked.scores, positives, None, asked.visual_scores, asked.text_scores)
    assert (caption_evidence(alone)[0] == -torch.inf).all()


def test_needs_the_similarities_between_captions():
    with pytest.raises(ValueError, match="needs the similarities between captions"):
        suspected("caption_similarity", Pairs.of(torch.eye(3)))
    with pytest.raises(ValueError, match="did you mean 'caption_similarity'"):
        suspected("caption_similarty", pairs())
    with pytest.raises(TypeError, match="did you mean 'threshold'"):
        suspected("caption_similarity", pairs(), treshold=0.5)


def loop(pairs, rule):
    """A mask by asking `rule(row, column)` of every negative."""
    mask = torch.zeros_like(pairs.negatives)
    for i, j in pairs.negatives.nonzero().tolist():
        mask[i, j] = rule(i, j)
    return mask


def own(pairs, i):
    return pairs.positives[i].nonzero()[:, 0].tolist()


def test_both_modalities_by_loop():
    asked = pairs()
    text, visual = caption_evidence(asked), visual_evidence(asked)
    for rule, join in (("or", any), ("and", all)):
        expected = loop(asked, lambda i, j, join=join: join([text[i, j] >= 0.3, visual[i, j] >= 0.2]))
        found = suspected("both_modalities", asked, text_threshold=0.3, visual_threshold=0.2, rule=rule)
        assert torch.equal(found, expected)


def test_visual_evidence_is_the_nearest_annotated_visual():
    asked = pairs()
    for v in range(5):
        for t in range(9):
            assert visual_evidence(asked)[v, t] == pytest.approx(asked.visual_scores[v, t % 5].item())
    assert torch.equal(visual_evidence(asked.transpose()), visual_evidence(asked).T)


def test_adaptive_threshold_by_loop():
    asked = pairs()
    evidence = caption_evidence(asked)

    def rule(i, j):
        others = [evidence[i, k].item() for k in range(9) if asked.negatives[i, k]]
        mean = sum(others) / len(others)
        spread = (sum((x - mean) ** 2 for x in others) / len(others)) ** 0.5
        return evidence[i, j].item() > mean + 0.5 * spread + 1e-6

    assert torch.equal(suspected("adaptive_caption_similarity", asked, kappa=0.5), loop(asked, rule))


def test_adaptive_threshold_suspects_nobody_where_all_are_alike():
    alike = Pairs.of(torch.rand(4, 4), None, None, None, torch.ones(4, 4))
    assert not suspected("adaptive_caption_similarity", alike).any()


@pytest.mark.parametrize("k", [0, 1, 3, 50])
def test_top_ranked_by_loop(k):
    asked = pairs()

    def rule(i, j):
        above = sum(asked.scores[i, n] > asked.scores[i, j] for n in range(9) if asked.negatives[i, n])
        return above < k

    assert torch.equal(suspected("top_ranked", asked, k=k), loop(asked, rule))


def test_near_positive_and_uninformative_by_loop():
    asked = pairs()

    def lowest(i):
        return min(asked.scores[i, p] for p in own(asked, i))

    def best(i):
        return max(asked.scores[i, p] for p in own(asked, i))

    near = loop(asked, lambda i, j: asked.scores[i, j] > 0.9 * best(i))
    assert torch.equal(suspected("near_positive", asked, share=0.9), near)
    far = loop(asked, lambda i, j: asked.scores[i, j] + 0.2 <= lowest(i))
    assert torch.equal(suspected("uninformative", asked), far)


def test_uninformative_leaves_max_of_hinges_unchanged():
    """A negative a whole margin below the positive has no weight there anyway."""
    asked = pairs()
    mined = without(asked, suspected("uninformative", asked, margin=0.2))
    hinge = LOSSES["max_of_hinges"].make
    single = asked.positives.sum(1) == 1  # with several positives the lowest decides for all
    torch.testing.assert_close(hinge(mined)[single], hinge(asked)[single])


def test_posterior_is_bayes_with_two_normals_told_or_of_the_pairs():
    generator = torch.Generator().manual_seed(3)
    scores = torch.rand(40, 40, generator=generator) * 0.4
    scores += 0.5 * torch.eye(40)
    asked = Pairs.of(scores)
    best = scores.diag()
    hardest = scores.masked_fill(torch.eye(40, dtype=torch.bool), -1).amax(1)
    clear = best > hardest
    moments = best[clear].mean(), best[clear].std(), hardest[clear].mean(), hardest[clear].std()
    for given, one in (
        ((0.8, 0.1, 0.3, 0.2), replace(asked, moments=(0.8, 0.1, 0.3, 0.2))),
        (moments, asked),
    ):
        match, other = torch.distributions.Normal(*given[:2]), torch.distributions.Normal(*given[2:])
        p, q = 0.1 * match.log_prob(scores).exp(), 0.9 * other.log_prob(scores).exp()
        expected = torch.where(scores > given[2], p / (p + q), 0.0)
        torch.testing.assert_close(match_posterior(one, 0.1), expected)
    assert torch.equal(
        suspected("posterior", asked, prior=0.1, threshold=0.3), (expected >= 0.3) & asked.negatives
    )


def test_posterior_of_scores_that_separate_nothing_suspects_nobody():
    assert not suspected("posterior", Pairs.of(torch.zeros(5, 5))).any()


def test_agreement_counts_the_models_that_vote():
    asked = pairs()
    peers = torch.cat([asked.peer_scores, torch.rand(2, 5, 9)])
    asked = replace(asked, peer_scores=peers)

    def rule(i, j):
        votes = 0
        for scores in peers:
            votes += scores[i, j] >= 0.9 * max(scores[i, p] for p in own(asked, i))
        return votes >= 3

    assert torch.equal(suspected("agreement", asked, share=0.9, votes=0.75), loop(asked, rule))
    anyone = suspected("agreement", asked, share=0.9, votes=0.0)
    assert torch.equal(anyone, suspected("agreement", asked, share=0.9, votes=0.25))
    alone = suspected("near_positive", replace(asked, scores=peers[0]), share=0.9)
    assert torch.equal(suspected("agreement", replace(asked, peer_scores=peers[:1]), share=0.9), alone)


@pytest.mark.parametrize("margin", [0.0, 0.05, 0.3])
@pytest.mark.parametrize("how", ["absolute", "relative"])
def test_guided_suspects_what_the_guide_scores_near_the_match(margin, how):
    asked = pairs()
    guide = asked.peer_scores.mean(0)

    def rule(i, j):
        best = max((guide[i, p].item() for p in own(asked, i)), default=math.inf)
        return guide[i, j].item() > (best - margin if how == "absolute" else best * (1 - margin))

    found = suspected("guided", asked, margin=margin, rule=how)
    assert torch.equal(found, loop(asked, rule)) and found.any()
    alone = replace(asked, peer_scores=asked.peer_scores[:1])
    if how == "relative" and margin:
        votes = suspected("agreement", alone, share=1 - margin)
        assert torch.equal(suspected("guided", alone, margin=margin, rule=how), votes)


def test_what_is_needed_is_declared_and_missed_by_name():
    bare = Pairs.of(torch.rand(4, 4))
    for name in SELECTORS:
        if SELECTORS[name].needs:
            with pytest.raises(ValueError, match=SELECTORS[name].needs[0]):
                suspected(name, bare)
        else:
            suspected(name, bare)


def test_moments_are_mean_and_deviation_of_clear_queries():
    scores = torch.tensor([[0.9, 0.2, 0.1], [0.4, 0.7, 0.3], [0.8, 0.1, 0.5]])  # the last ranks another first
    expected = (0.8, torch.tensor([0.9, 0.7]).std().item(), 0.3, torch.tensor([0.2, 0.4]).std().item())
    assert score_moments(Pairs.of(scores)) == pytest.approx(expected)
    assert score_moments(Pairs.of(scores[2:, 2:])) is None


@pytest.mark.parametrize("loss", ["max_of_hinges", "info_nce", "siglip"])
class TestActions:
    def weights(self, loss, asked, action):
        scores = asked.scores.clone().requires_grad_(True)
        mask = suspected("caption_similarity", asked, threshold=0.4)
        treated = treat(replace(asked, scores=scores), mask, action)
        value = LOSSES[loss](treated).sum()
        return mask, value, torch.autograd.grad(value, scores)[0]

    def test_ignored_suspects_weigh_nothing(self, loss):
        mask, _, weights = self.weights(loss, pairs(), "ignore")
        assert mask.any()
        assert (weights[mask] == 0).all()

    def test_suspects_taken_as_positives_are_pulled(self, loss):
        asked = pairs()
        mask, _, weights = self.weights(loss, asked, "positive")
        assert (weights[mask] <= 0).all()
        assert (weights[mask] < 0).any()
        assert not (treat(asked, mask, "positive").negatives & mask).any()

    def test_weighed_down_suspects_keep_the_value_and_scale_the_weight(self, loss):
        asked = replace(pairs(), moments=(0.8, 0.1, 0.3, 0.2))
        mask, value, weights = self.weights(loss, asked, "weigh")
        scores = asked.scores.clone().requires_grad_(True)
        plain = LOSSES[loss](replace(asked, scores=scores)).sum()
        untouched = torch.autograd.grad(plain, scores)[0]
        assert value == plain
        expected = torch.where(mask, untouched * (1 - match_posterior(asked)), untouched)
        torch.testing.assert_close(weights, expected)

    def test_an_unknown_action_is_told(self, loss):
        with pytest.raises(ValueError, match="did you mean 'ignore'"):
            self.weights(loss, pairs(), "ignor")


@pytest.mark.parametrize("name", sorted(SELECTORS))
def test_only_masks_and_scores_decide_not_the_order(name):
    asked = pairs()
    rows, cols = torch.randperm(5), torch.randperm(9)
    shuffled = reordered(asked, rows, cols)
    assert torch.equal(suspected(name, shuffled), suspected(name, asked)[rows][:, cols])


# ---- captions that read alike ---------------------------------------------------------------------------------

SAID = ["A dog runs.", "a red car", "a  DOG runs", "two cats", "a dog runs ahead", "a red car", "A dog runs"]
OWNERS = torch.tensor([0, 0, 1, 1, 2, 2, 3])  # the visual of each caption
ALIKE = {(0, 2), (0, 6), (0, 5), (1, 0), (1, 6), (2, 1), (3, 0), (3, 2)}  # visual and text of another visual


def far_apart():
    """Pairs whose evidence of every kind says that no caption is near any other."""
    texts, positives = len(SAID), OWNERS[None] == torch.arange(4)[:, None]
    numbers = Evidence(SAID).text_keys
    near = {name: torch.eye(texts) for name in ("text_scores", "word_scores", "text_within")}
    scores = torch.rand(4, texts, generator=torch.Generator().manual_seed(1))
    return Pairs.of(
        scores, positives, visual_scores=torch.eye(4), text_keys=torch.from_numpy(numbers), **near
    )


@pytest.mark.parametrize(
    "name",
    [
        "adaptive_caption_similarity",
        "both_modalities",
        "caption_similarity",
        "trained_caption_similarity",
        "word_overlap",
    ],
)
def test_what_reads_alike_is_suspected_by_every_selector_of_captions_whatever_its_threshold(name):
    asked = far_apart()
    for side in (asked, asked.transpose()):
        found = {tuple(pair) for pair in suspected(name, side).nonzero().tolist()}
        assert found == (ALIKE if side is asked else {pair[::-1] for pair in ALIKE})
    confirmed = replace(asked, negatives=asked.negatives & (torch.rand(4, 7) < 0.5))
    assert not (suspected(name, confirmed) & ~confirmed.negatives).any()


def test_a_selector_that_looks_at_scores_only_is_not_told_of_captions():
    asked = far_apart()
    assert torch.equal(
        suspected("top_ranked", asked), suspected("top_ranked", replace(asked, text_keys=None))
    )


def test_the_evidence_tells_which_captions_read_alike():
    none, texts = torch.empty(0), np.array([2, 1, 0])
    keys = Evidence(SAID).of(["text_keys"], np.arange(3), texts, none, none)["text_keys"].tolist()
    assert keys[0] == keys[2] != keys[1]
    with pytest.raises(ValueError, match="text_keys must be"):
        Pairs.of(torch.eye(3), text_keys=torch.arange(2))


def test_training_takes_what_reads_alike_out_of_the_negatives():
    """Frozen features that hold all captions for different say nothing; the words do."""
    captions = [
        text for i in range(60) for text in (("a red dog", "the same") if i % 2 else (f"{i} one", f"{i} two"))
    ]
    config = tiny.config(selector="adaptive_caption_similarity", selector_params={"kappa": 6.0})
    task = prepare(
        config,
        lambda split: tiny.dataset(split, **({"captions": captions} if split == "train" else {})),
        None,
    )
    one, texts = Objective(task, State()), np.array([2, 6, 10, 0, 4, 8])
    visuals = task.data["train"].visual_of_text[texts]
    inputs = task.inputs["train"]
    states = one.matcher.visual(inputs.visual_batch(visuals)), one.matcher.text(inputs.text_batch(texts))
    sides = batch_sides(*states, visuals, texts)
    for side in one.pairs(one.loss, sides, sides):
        alike = torch.zeros(6, 6, dtype=torch.bool)
        alike[:3, :3] = True
        assert torch.equal(side.negatives, ~torch.eye(6, dtype=torch.bool) & ~alike)
