"""Matchers that score pairs of token sets: slow oracles, limits, padding, blocks and gradients."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from tests.tiny import SMALL
from xmr.matchers import Vocabulary, build_matcher, pairwise, settled_params
from xmr.matchers.pairwise import in_blocks
from xmr.registry import UnknownName

VOCABULARY = Vocabulary(("<pad>", "<unk>", "a", "dog", "runs", "red", "house", "under", "the", "tree"))
SIDES = ["text", "visual", "both"]
CROSS = [
    {"attend": attend, "focal": focal, "pool": pool, "sharpness": sharpness}
    for attend in SIDES
    for focal, sharpness in ((False, 9.0), (False, 4.0), (True, 20.0))
    for pool in ("mean", "lse")
]
EVERY = [("token_max", {"attend": attend}) for attend in SIDES] + [("cross_attention", p) for p in CROSS]
NAMES = [f"{name}-{'-'.join(map(str, params.values()))}" for name, params in EVERY]
every = pytest.mark.parametrize(("name", "params"), EVERY, ids=NAMES)


def made(name, params=None, visual_dim=6, text_dim=5, **more):
    torch.manual_seed(0)
    chosen = {"embed_dim": SMALL["embed_dim"]} | (params or {}) | more
    return build_matcher(
        name, settled_params(name, chosen, text_dim), visual_dim, text_dim, VOCABULARY
    ).eval()


def tokens(counts, width=8, seed=0, longest=None):
    """Unit tokens (items, longest, width) float64, as many per item as `counts` says, zero behind them."""
    values = normalize(
        torch.from_numpy(
            np.random.default_rng(seed).normal(size=(len(counts), longest or max(counts), width))
        ),
        dim=2,
    )
    for item, count in zip(values, counts, strict=True):
        item[count:] = 0
    return values


def items(states):
    """Each item's tokens without padding, as lists of vectors."""
    return [[token for token in item.numpy() if token.any()] for item in states]


# ---- oracles: the published formulas, one pair and one token at a time -----------------------------------------


def attended_oracle(asking, context, sharpness, focal):
    """The relevance of each asking token to the vector it attends to (SCAN and BFAN, as released)."""
    raw = [[float(k @ q) for q in asking] for k in context]
    clipped = [[s if s > 0 else 0.1 * s for s in row] for row in raw]
    scaled = [[s / math.sqrt(sum(t * t for t in row)) for s in row] for row in clipped]
    relevances = []
    for j, q in enumerate(asking):
        exponentials = [math.exp(sharpness * row[j]) for row in scaled]
        shares = [e / sum(exponentials) for e in exponentials]
        if focal:
            # F(i) = Σ_k (share_i - share_k) > 0; all shares are equal where one token asks, and then all stay.
            above = [sum(share - other for other in shares) for share in shares]
            kept = [
                share if f > 1e-7 or max(above) < 1e-7 else 0.0
                for share, f in zip(shares, above, strict=True)
            ]
            shares = [share / sum(kept) for share in kept]
        vector = sum(share * k for share, k in zip(shares, context, strict=True))
        relevances.append(float(q @ vector) / (np.linalg.norm(q) * np.linalg.norm(vector)))
    return relevances


def cross_oracle(visual, text, attend="text", focal=False, pool="mean", sharpness=9.0):
    pooled = {
        "mean": lambda r: sum(r) / len(r),
        "lse": lambda r: math.log(sum(math.exp(6 * x) for x in r)) / 6,
    }
    found = []
    if attend in ("text", "both"):
        found.append(pooled[pool](attended_oracle(text, visual, sharpness, focal)))
    if attend in ("visual", "both"):
        found.append(pooled[pool](attended_oracle(visual, text, sharpness, focal)))
    return sum(found) / len(found)


def max_oracle(visual, text, attend="both"):
    of_text = sum(max(float(q @ k) for k in visual) for q in text) / len(text)
    of_visual = sum(max(float(q @ k) for k in text) for q in visual) / len(visual)
    return {"text": of_text, "visual": of_visual, "both": (of_text + of_visual) / 2}[attend]


@every
def test_scores_are_those_of_the_published_formulas(name, params):
    visual, text = tokens([5, 1, 3, 4]), tokens([1, 6, 2, 7, 3], seed=1, longest=9)
    oracle = max_oracle if name == "token_max" else cross_oracle
    expected = [[oracle(v, t, **params) for t in items(text)] for v in items(visual)]
    torch.testing.assert_close(
        made(name, params).scores(visual, text),
        torch.tensor(expected, dtype=torch.float64),
        rtol=1e-6,
        atol=1e-6,  # the released code adds 1e-8 to the lengths it divides by
    )


# ---- limits --------------------------------------------------------------------------------------------------


@every
@pytest.mark.parametrize("shape", [(3,), (3, 1)], ids=["pooled", "one-token"])
def test_one_token_on_each_side_is_the_cosine_of_the_projections(name, params, shape):
    matcher = made(name, params)
    visual, text = torch.randn(*shape, 6), torch.randn(*shape, 5)
    sides = [matcher.visual_tokens(visual)[:, 0], matcher.text_tokens(text)[:, 0]]
    expected = torch.cosine_similarity(sides[0][:, None], sides[1][None], dim=2)
    scores = matcher.scores(matcher.visual(visual), matcher.text(text))
    torch.testing.assert_close(scores, expected)
    torch.testing.assert_close(
        matcher.pooled(matcher.visual(visual)) @ matcher.pooled(matcher.text(text)).T, expected
    )


@pytest.mark.parametrize("name", ["token_max", "cross_attention"])
def test_equal_tokens_of_the_asked_side_are_one_token(name):
    one, text = tokens([1, 1]), tokens([4, 2, 6], seed=1)
    mean_cosine = torch.stack([torch.stack([(t @ v[0])[t.any(1)].mean() for t in text]) for v in one])
    for params in ({}, {"focal": True}) if name == "cross_attention" else ({},):
        matcher = made(name, params, attend="text")
        for count in (1, 3, 7):
            torch.testing.assert_close(matcher.scores(one.expand(2, count, 8), text), mean_cosine)


def test_token_max_of_equal_tokens_on_the_asking_side_is_the_largest_similarity():
    one, text = tokens([1, 1]), tokens([4, 2, 6], seed=1)
    largest = torch.stack([torch.stack([(t @ v[0])[t.any(1)].max() for t in text]) for v in one])
    torch.testing.assert_close(made("token_max", attend="visual").scores(one.expand(2, 3, 8), text), largest)


def test_without_sharpness_attention_is_the_mean():
    visual, text = tokens([5, 3]), tokens([4, 2], seed=1)
    means = torch.stack([v[v.any(1)].mean(0) for v in visual])
    expected = torch.stack(
        [
            torch.stack([torch.cosine_similarity(t[t.any(1)], m[None], dim=1).mean() for t in text])
            for m in means
        ]
    )
    torch.testing.assert_close(made("cross_attention", sharpness=0).scores(visual, text), expected)
    torch.testing.assert_close(
        made("cross_attention", sharpness=0, focal=True).scores(visual, text), expected
    )


def test_cross_attention_to_orthogonal_tokens_grows_into_token_max():
    visual = torch.eye(8, dtype=torch.float64)[None, :4]
    text = visual[:, [2, 0, 0, 3]]
    scores = [made("cross_attention", sharpness=s).scores(visual, text).item() for s in (1, 9, 40)]
    assert scores[0] < scores[1] < scores[2] <= 1
    assert (
        scores[2]
        == pytest.approx(made("token_max", attend="text").scores(visual, text).item(), abs=1e-9)
        == 1
    )


def test_focal_attention_leaves_out_what_is_below_average():
    visual = torch.eye(8, dtype=torch.float64)[None, :3]
    word = normalize(torch.tensor([[[3.0, 1.0, -1.0, 0, 0, 0, 0, 0]]], dtype=torch.float64), dim=2)

    # One word asks: each region's similarities to all words have length 1, so they are 1, 1 and -1.
    def expected(third):
        return (3 + 1 - third) / math.sqrt(11 * (2 + third**2))

    for focal, third in ((True, 0), (False, math.exp(-2))):
        score = made("cross_attention", focal=focal, sharpness=1).scores(visual, word).item()
        assert score == pytest.approx(expected(third), rel=1e-6)


def test_attention_in_both_directions_is_the_average_and_sides_can_be_swapped():
    visual, text = tokens([5, 1, 3]), tokens([2, 4], seed=1)
    for name, params in (
        ("token_max", {}),
        ("cross_attention", {"focal": True}),
        ("cross_attention", {"pool": "lse"}),
    ):
        of_text, of_visual, both = (
            made(name, params, attend=attend).scores(visual, text) for attend in SIDES
        )
        torch.testing.assert_close(both, (of_text + of_visual) / 2)
        torch.testing.assert_close(made(name, params, attend="text").scores(text, visual).T, of_visual)


# ---- padding, order, company ---------------------------------------------------------------------------------


@every
def test_the_order_of_tokens_and_the_place_of_padding_do_not_matter(name, params):
    visual, text = tokens([5, 1, 3]), tokens([2, 7, 4, 1], seed=1)
    matcher = made(name, params)
    expected = matcher.scores(visual, text)
    generator = torch.Generator().manual_seed(3)
    shuffled = []
    for side in (visual, text):
        rows = []
        for item in side:
            there = item.any(1)
            own = item[there][torch.randperm(int(there.sum()), generator=generator)]
            # An item's first place always counts as a token, so padding goes between and behind.
            rows.append(torch.cat([own[:1], torch.zeros(2, 8), item[~there], own[1:], torch.zeros(1, 8)]))
        shuffled.append(torch.stack(rows))
    torch.testing.assert_close(matcher.scores(*shuffled), expected)


@pytest.mark.parametrize("name", ["token_max", "cross_attention"])
def test_width_and_company_of_captions_never_leak(name):
    matcher = made(name, {"attend": "both", "text": "words", "word_dim": 8})
    captions = ["a dog", "the red dog runs under the red tree", "", "zzz yyy", "house"]
    visual = matcher.visual(torch.randn(3, 4, 6))

    def scores(chosen, wider=0):
        ids, lengths = VOCABULARY.encode(chosen)
        ids = torch.nn.functional.pad(torch.from_numpy(ids).long(), (0, wider))
        return matcher.scores(visual, matcher.text((ids, torch.from_numpy(lengths))))

    together = scores(captions)
    torch.testing.assert_close(torch.cat([scores([caption]) for caption in captions], dim=1), together)
    torch.testing.assert_close(scores(captions, wider=5), together)


# ---- states --------------------------------------------------------------------------------------------------


@every
def test_states_are_unit_tokens_zero_at_padding_and_pooled_is_their_direction(name, params):
    matcher = made(name, params)
    features = torch.randn(4, 5, 6)
    features[1, 3:], features[2, 1:], features[3] = 0, 0, 0
    states = matcher.visual(features)
    expected = torch.ones(4, 5)
    expected[1, 3:], expected[2, 1:], expected[3, 1:] = 0, 0, 0
    torch.testing.assert_close(states.norm(dim=2), expected)
    torch.testing.assert_close(matcher.pooled(states), normalize(states.sum(1), dim=1))
    assert matcher.scores_pairs


def test_what_does_not_fit_is_refused():
    with pytest.raises(UnknownName, match="did you mean 'cross_attention'"):
        made("cross_atention")
    with pytest.raises(TypeError, match="did you mean 'sharpness'"):
        made("cross_attention", sharpnes=3)
    with pytest.raises(ValueError, match="unknown value of attend 'texts'; did you mean 'text'"):
        made("token_max", attend="texts")
    for wrong in (-1, 41, float("nan")):
        with pytest.raises(ValueError, match=r"sharpness=.* is outside 0 … 40"):
            made("cross_attention", sharpness=wrong)
    with pytest.raises(ValueError, match="text=words needs a vocabulary"):
        build_matcher("token_max", {"text": "words"}, 6, 0, None)
    with pytest.raises(ValueError, match="text=features needs frozen text features"):
        build_matcher("cross_attention", {"text": "features"}, 6, 0, None)


# ---- gradients -----------------------------------------------------------------------------------------------


@every
def test_gradients_are_those_of_finite_differences(name, params):
    matcher = made(name, params)
    sides = tokens([3, 3], width=4).requires_grad_(), tokens([4, 4], width=4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda visual, text: matcher.scores(normalize(visual, dim=2), normalize(text, dim=2)),
        sides,
        atol=1e-6,
    )


@every
def test_gradients_are_finite_for_single_tokens_and_features_of_zeros(name, params):
    matcher = made(name, params).train()
    visual, text = torch.randn(5, 4, 6), torch.randn(5, 3, 5)
    visual[0], text[0] = 0, 0
    visual[1, 1:], text[2, 1:] = 0, 0
    scores = matcher.scores(matcher.visual(visual), matcher.text(text))
    scores.sum().backward()
    assert torch.isfinite(scores).all()
    for key, parameter in matcher.named_parameters():
        assert torch.isfinite(parameter.grad).all() and parameter.grad.abs().max() < 1e3, key


@every
def test_an_item_of_one_zero_token_scores_zero_with_finite_gradients(name, params):
    visual, text = tokens([3, 1, 2]).float(), tokens([2, 1, 4], seed=1).float()
    visual[1], text[1] = 0, 0
    visual.requires_grad_(), text.requires_grad_()
    scores = made(name, params).scores(visual, text)
    scores.sum().backward()
    assert torch.isfinite(visual.grad).all() and torch.isfinite(text.grad).all()
    if params.get("pool") != "lse":  # a sum over many zeros is above zero
        torch.testing.assert_close(scores[1], torch.zeros(3))
        torch.testing.assert_close(scores[:, 1], torch.zeros(3))


def test_tokens_that_cancel_out_give_a_score_within_the_range():
    visual = tokens([1])[:, [0, 0]].float() * torch.tensor([1.0, -1.0])[:, None]
    text = tokens([1], seed=1).float()
    text -= (text * visual[:, :1]).sum() * visual[:, :1]  # asks for nothing that is there
    visual.requires_grad_()
    score = made("cross_attention").scores(visual, normalize(text, dim=2))
    score.sum().backward()
    assert score.abs().item() < 1e-3 and torch.isfinite(visual.grad).all()


# ---- blocks --------------------------------------------------------------------------------------------------


@every
def test_blocks_give_the_scores_and_gradients_of_all_at_once(name, params, monkeypatch):
    matcher = made(name, params)
    rng = np.random.default_rng(2)
    visual, text = tokens(rng.integers(1, 6, 5).tolist()), tokens(rng.integers(1, 9, 7).tolist(), seed=1)
    weights = torch.from_numpy(rng.normal(size=(5, 7)))

    def asked():
        sides = visual.clone().requires_grad_(), text.clone().requires_grad_()
        scores = matcher.scores(*sides)
        return scores.detach(), *torch.autograd.grad((scores * weights).sum(), sides)

    at_once = asked()
    for size in (1, 60, 200):  # a pair, some pairs, some rows
        monkeypatch.setattr(pairwise, "BLOCK", size)
        for blocked, expected in zip(asked(), at_once, strict=True):
            torch.testing.assert_close(blocked, expected)


@pytest.mark.parametrize("size", [1, 30, 200, 1000])
def test_blocks_hold_no_more_than_they_may_and_cover_each_pair_once(size, monkeypatch):
    monkeypatch.setattr(pairwise, "BLOCK", size)
    rng = np.random.default_rng(4)
    visual, text = tokens(rng.integers(1, 6, 23).tolist()), tokens(rng.integers(1, 9, 31).tolist(), seed=1)
    held = []

    def count(visual, text):
        held.append(visual.shape[:2].numel() * text.shape[:2].numel())
        assert visual.any(2).any(0).all() and text.any(2).any(0).all()  # no column of padding
        return visual.any(2).sum(1)[:, None] * 10.0 + text.any(2).sum(1)

    scores = in_blocks(count, visual.float(), text.float())
    torch.testing.assert_close(scores, visual.any(2).sum(1)[:, None] * 10.0 + text.any(2).sum(1))
    assert len(held) > 1 and max(held) <= max(size, 5 * 8)


def test_half_of_the_items_is_half_of_the_scores():
    matcher = made("cross_attention", attend="both")
    visual, text = tokens([3, 2, 4, 1]).float(), tokens([2, 5, 1, 3], seed=1).float()
    scores = matcher.scores(visual, text)
    torch.testing.assert_close(matcher.scores(visual[2:], text[:2]), scores[2:, :2])
    assert matcher.scores(visual[:0], text).shape == (0, 4)
    assert matcher.scores(visual, text[:0]).shape == (4, 0)
