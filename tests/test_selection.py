"""Every selector: a mask within the negatives that composes with every loss."""

import pytest
import torch

from xmr.core import Pairs
from xmr.losses import LOSSES, symmetric
from xmr.selection import SELECTORS, caption_evidence, suspected, without


def pairs(seed=0, visuals=5, texts=9):
    generator = torch.Generator().manual_seed(seed)
    owner = torch.arange(texts) % visuals
    positives = owner[None] == torch.arange(visuals)[:, None]

    def within(n):
        unit = torch.nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=1)
        return unit @ unit.T

    scores = torch.rand(visuals, texts, generator=generator)
    return Pairs.of(scores, positives, None, within(visuals), within(texts))


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


def test_threshold_decides():
    asked = pairs()
    evidence = caption_evidence(asked)
    mask = suspected("caption_similarity", asked, threshold=0.5)
    assert torch.equal(mask, (evidence >= 0.5) & asked.negatives)
    assert suspected("caption_similarity", asked, threshold=-1.0).sum() == asked.negatives.sum()


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
