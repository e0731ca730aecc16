"""Losses by blocks of rows: the plain form's value, gradients and weights, without its arrays."""

import itertools
import weakref
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from xmr.core import Pairs
from xmr.losses import LOSSES, batch, chunked, loss_value, shares, symmetric
from xmr.losses.chunked import chunked_loss, unchunkable
from xmr.losses.negatives import Each, Hardest, Softmax, as_declared, declared_of, negatives
from xmr.registry import UnknownName

WHOLE_BATCH = sorted(name for name, entry in LOSSES.items() if unchunkable(entry, {}))
NAMES = sorted(set(LOSSES) - set(WHOLE_BATCH))
DECLARED = {name: declared_of(entry) for name, entry in LOSSES.items() if declared_of(entry)}
# Unit vectors whose products are exact: halves of all signs, and the axes. Equal scores are equal, however computed.
EXACT = torch.cat(
    [torch.tensor(list(itertools.product((-0.5, 0.5), repeat=4))), torch.eye(4), -torch.eye(4)]
).double()


def spread(seed, visuals=13, texts=19, dim=6):
    """Unit embeddings in general position, and groups: several positives for most, none for some."""
    generator = torch.Generator().manual_seed(seed)
    sides = [torch.randn(n, dim, generator=generator, dtype=torch.float64) for n in (visuals, texts)]
    groups = [torch.randint(0, 9, (n,), generator=generator) for n in (visuals, texts)]
    groups[0][0], groups[1][0] = 100, 200  # nobody's match
    return *(torch.nn.functional.normalize(side, dim=1) for side in sides), *groups


def duplicates(seed):
    """The same item twice on each side, once with a group of its own: its hardest negatives tie, and exactly, because
    products of such short fractions are not rounded."""
    *_, visual_group, text_group = spread(seed)
    generator = torch.Generator().manual_seed(seed)
    visual, text = (torch.randint(-8, 9, (n, 6), generator=generator).double() / 16 for n in (13, 19))
    visual[3], text[5], text[7] = visual[4], text[6], text[8]
    text_group[7] = text_group[8]
    return visual, text, visual_group, text_group


def tied(seed):
    """So few different scores that nearly all negatives tie."""
    generator = torch.Generator().manual_seed(seed)
    _, _, *groups = spread(seed)
    return *(EXACT[torch.randint(0, len(EXACT), (len(g),), generator=generator)] for g in groups), *groups


def in_rows(seed):
    """One positive each, without groups."""
    visual, text, *_ = spread(seed, 15, 15)
    return visual, text, None, None


def as_tensors(name):
    """The loss's numbers, each to be learned; all away from values where a slope jumps."""
    return {
        key: torch.tensor(float(value), dtype=torch.float64, requires_grad=True)
        for key, value in LOSSES[name].defaults.items()
        if isinstance(value, float)
    }


def plain(name, visual, text, visual_group, text_group, **hyper):
    scores = visual @ text.T
    positives = None if visual_group is None else visual_group[:, None] == text_group
    return symmetric(LOSSES[name].make, Pairs.of(scores, positives), **hyper)


def derived(value, inputs):
    """Gradients, zero for what the value does not depend on."""
    if not value.requires_grad:
        return [torch.zeros_like(one) for one in inputs]
    found = torch.autograd.grad(value, inputs, allow_unused=True)
    return [torch.zeros_like(one) if grad is None else grad for one, grad in zip(inputs, found, strict=True)]


def compare(name, problem, chunk, close=1e-10):
    visual, text, *groups = problem
    visual, text = visual.clone().requires_grad_(), text.clone().requires_grad_()
    hyper = as_tensors(name)
    inputs = [visual, text, *hyper.values()]
    expected = plain(name, visual, text, *groups, **hyper)
    found = chunked_loss(name, visual, text, *groups, chunk=chunk, **hyper)
    assert found.shape == () and found.dtype == visual.dtype
    torch.testing.assert_close(found, expected, rtol=close, atol=close)
    for one, other in zip(derived(found, inputs), derived(expected, inputs), strict=True):
        torch.testing.assert_close(one, other, rtol=close, atol=close)


@pytest.mark.parametrize("name", NAMES)
class TestEveryLoss:
    @pytest.mark.parametrize("chunk", [1, 5, 100])
    @pytest.mark.parametrize("problem", [spread, tied, in_rows], ids=lambda problem: problem.__name__)
    def test_value_and_gradients_are_the_plain_forms(self, name, problem, chunk):
        compare(name, problem(1), chunk)

    def test_single_precision_is_as_close_as_it_can_be(self, name):
        visual, text, *groups = spread(2)
        # Angles of a few degrees between scores of 0 and 1: circle's factor of 256 leaves 1e-5 of single precision.
        compare(name, (visual.float(), text.float(), *groups), 5, close=1e-4 if name == "circle" else 1e-5)

    def test_neither_positives_nor_negatives_are_needed(self, name):
        visual, text, *_ = spread(4)
        ones, others = torch.ones(13, dtype=torch.int64), torch.ones(19, dtype=torch.int64)
        for chunk in (4, 100):
            compare(name, (visual, text, ones, others), chunk)  # no negatives
            compare(name, (visual, text, ones, others + 1), chunk)  # no positives
        compare(name, (visual[:1], text[:1], None, None), 1)
        compare(name, (visual[:1], text, ones[:1], others), 1)

    def test_what_is_kept_for_the_backward_pass_is_as_large_as_the_embeddings(self, name):
        class Holder:
            def __init__(self, tensor):
                self.tensor = tensor.detach()  # with its graph, a result would keep itself alive
                holders.add(self)

        holders = weakref.WeakSet()
        visual, text, *groups = spread(5, 60, 80)
        visual.requires_grad_(), text.requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(Holder, lambda holder: holder.tensor):
            value = chunked_loss(name, visual, text, *groups, chunk=4)
        assert sum(holder.tensor.numel() for holder in holders) == visual.numel() + text.numel()
        value.backward()

    def test_no_array_is_larger_than_a_few_rows_of_scores(self, name):
        largest = 0

        class Watch(TorchDispatchMode):
            def __torch_dispatch__(self, function, types, args=(), kwargs=None):
                nonlocal largest
                found = function(*args, **(kwargs or {}))
                parts = found if isinstance(found, (tuple, list)) else [found]
                sizes = [p._values().numel() if p.is_sparse else p.numel() for p in parts if _is_held(p)]
                largest = max([largest, *sizes])
                return found

        visual, text, *_ = spread(6, 100, 100)
        groups = torch.arange(100), torch.arange(100)
        visual.requires_grad_()
        with Watch():
            chunked_loss(name, visual, text, *groups, chunk=4).backward()
        rows, places, dim = 4, 2, 6  # scores of a block, rows and columns of some of them, embeddings
        assert 100 * rows <= largest <= 100 * max(places * rows, dim)


def _is_held(found):
    return isinstance(found, torch.Tensor) and found.layout in (torch.strided, torch.sparse_coo)


@pytest.mark.parametrize("name", [name for name, one in DECLARED.items() if isinstance(one, Hardest)])
def test_the_hardest_negatives_that_tie_share_their_weight(name, monkeypatch):
    def whole_rows(*_):
        raise AssertionError("asked by whole rows")

    monkeypatch.setattr(shares, "by_rows", whole_rows)
    for seed in range(5):
        compare(name, duplicates(seed), 8)


@pytest.mark.parametrize("name", ["max_of_hinges", "info_nce", "siglip", "multi_similarity"])
def test_collapsed_embeddings_are_no_special_case(name):
    same = EXACT[:1].expand(60, -1)
    compare(name, (same, same, None, None), 3)


def keeps_its_word(entry, seed):
    """Fails where a loss does something else with its negatives than it declares."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(12, 20, generator=generator, dtype=torch.float64) * 1.6 - 0.6
    positives = torch.rand(12, 20, generator=generator) < 0.15
    positives[0], positives[1] = False, True
    positives[2:, 0], ignored = True, torch.rand(12, 20, generator=generator) < 0.1
    pairs = Pairs.of(scores.requires_grad_(), positives, ~positives & ~ignored)
    found, expected = entry(pairs), as_declared(entry, pairs, entry.defaults)
    torch.testing.assert_close(found, expected)
    weights = (derived(value.sum(), [scores])[0] for value in (found, expected))
    torch.testing.assert_close(*weights)


@pytest.mark.parametrize("name", DECLARED)
@pytest.mark.parametrize("seed", range(3))
def test_a_loss_does_with_its_negatives_what_it_declares(name, seed):
    keeps_its_word(LOSSES[name], seed)


@pytest.mark.parametrize(
    ("name", "declared"),
    [
        ("sum_of_hinges", Hardest()),
        ("max_of_hinges", Each(lambda scores, margin: (scores + margin).relu())),
        ("siglip", Each(lambda scores, scale, bias: scale * scores)),
        ("info_nce", Softmax(lambda scores, temperature: scores)),
        ("multi_similarity", replace(DECLARED["multi_similarity"], mined=lambda s, lowest, **_: s < lowest)),
        ("debiased", Softmax(lambda scores, temperature, prior: scores / temperature)),
    ],
)
def test_a_wrong_declaration_is_found_out(name, declared, monkeypatch):
    def liar(*args, **hyper):
        return LOSSES[name].make(*args, **hyper)

    entry = replace(LOSSES[name], name="liar", make=negatives(declared)(liar))
    with pytest.raises(AssertionError):
        keeps_its_word(entry, 0)
    monkeypatch.setitem(LOSSES, "liar", entry)
    with pytest.raises(ValueError, match=f"something else than {type(declared).__name__}, which"):
        chunked_loss("liar", *spread(1), chunk=4)


def test_what_is_shipped_declares_what_it_can():
    kinds = {
        kind: {n for n, one in DECLARED.items() if isinstance(one, kind)} for kind in (Each, Hardest, Softmax)
    }
    assert kinds[Each] >= {"contrastive", "siglip"}
    assert kinds[Hardest] >= {
        "max_of_hinges",
        "soft_margin",
        "polynomial",
        "polynomial_max",
        "polynomial_relative",
        "weighting",
    }
    assert kinds[Softmax] >= {"info_nce", "decoupled", "unified", "circle", "multi_similarity"}
    assert set(WHOLE_BATCH) >= {"gravitation", "polynomial_calibrated", "ladder", "soft_labels"}


@pytest.mark.parametrize("name", ["info_nce", "decoupled", "unified"])
def test_a_low_temperature_neither_overflows_nor_vanishes(name):
    visual, text, *groups = spread(7)
    value = {"unified": {"scale": 200.0}}.get(name, {"temperature": 0.01})
    visual, text = visual.float().requires_grad_(), text.float().requires_grad_()
    found = chunked_loss(name, visual, text, *groups, chunk=5, **value)
    expected = plain(name, visual.double(), text.double(), *groups, **value)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    grads = torch.autograd.grad(found, (visual, text)), torch.autograd.grad(expected, (visual, text))
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_the_default_for_few_pairs_is_the_plain_form_and_for_more_it_is_by_blocks(monkeypatch):
    visual, text, *groups = spread(8)
    expected = plain("max_of_hinges", visual, text, *groups)
    torch.testing.assert_close(chunked_loss("max_of_hinges", visual, text, *groups), expected)
    asked = []
    by_blocks = chunked.shares
    monkeypatch.setattr(
        chunked, "shares", lambda batch, *rest: asked.append(batch.chunk) or by_blocks(batch, *rest)
    )
    monkeypatch.setattr(chunked, "SMALL", 10)
    torch.testing.assert_close(chunked_loss("max_of_hinges", visual, text, *groups), expected)
    assert asked == [batch.CELLS // 19]


def test_a_loss_of_ones_own_is_asked_by_rows_or_as_it_declares(monkeypatch):
    def cubed(pairs, *, power: int = 3):
        """Every positive is worth its distance to the power, less the best negative."""
        best = pairs.scores.masked_fill(~pairs.negatives, -2).amax(1)
        return ((1 - pairs.scores).pow(power) * pairs.positives).sum(1) - best

    LOSSES.register(cubed)
    try:
        compare("cubed", spread(9), 4)
        value = chunked_loss("cubed", *spread(9), chunk=4, power=2)
        assert value != chunked_loss("cubed", *spread(9), chunk=4)
        del LOSSES["cubed"]
        LOSSES.register(negatives(Hardest())(cubed))
        monkeypatch.setattr(shares, "by_rows", None)
        compare("cubed", spread(9), 4)
    finally:
        del LOSSES["cubed"]


def test_the_incoming_gradient_and_what_needs_none_are_respected():
    visual, text, *groups = spread(10)
    moving = visual.clone().requires_grad_()
    one = torch.autograd.grad(3 * chunked_loss("info_nce", moving, text, *groups, chunk=4), moving)[0]
    other = torch.autograd.grad(plain("info_nce", moving, text, *groups), moving)[0]
    torch.testing.assert_close(one, 3 * other)
    with torch.no_grad():
        value = chunked_loss("info_nce", moving, text, *groups, chunk=4)
    assert not value.requires_grad
    torch.testing.assert_close(value, plain("info_nce", visual, text, *groups))


@pytest.mark.parametrize("name", NAMES)
def test_nan_is_not_hidden(name):
    visual, text, *groups = spread(11)
    visual[2] = torch.nan
    assert chunked_loss(name, visual, text, *groups, chunk=4).isnan()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("chunk", [4, None])
def test_half_precision_is_multiplied_in_single(name, chunk):
    visual, text, *groups = spread(13)
    visual, text = (side.bfloat16().requires_grad_() for side in (visual, text))
    found = chunked_loss(name, visual, text, *groups, chunk=chunk)
    expected = chunked_loss(name, visual.float(), text.float(), *groups, chunk=chunk)
    assert found.dtype == torch.float32 and found == expected
    for one, other in zip(derived(found, (visual, text)), derived(expected, (visual, text)), strict=True):
        assert one.dtype == torch.bfloat16 and torch.equal(one, other)


@pytest.mark.parametrize("name", WHOLE_BATCH)
def test_a_loss_that_looks_further_than_its_row_is_refused_by_name(name):
    with pytest.raises(ValueError, match=f"^{name} can't be asked by blocks of rows: .*use loss_value$"):
        chunked_loss(name, *spread(12), chunk=4)


def test_what_a_loss_looks_at_may_depend_on_its_parameters():
    visual, text, *groups = spread(13)
    found = chunked_loss("gravitation", visual, text, *groups, chunk=4, mass="equal", within=0)
    positives = groups[0][:, None] == groups[1]
    torch.testing.assert_close(found, loss_value("max_of_hinges", visual @ text.T, positives))


def test_what_does_not_fit_is_told():
    visual, text, visual_group, text_group = spread(14)
    groups = (visual_group, text_group)
    for arguments, message in (
        ((visual[:, :3], text, *groups), r"\(V, D\) and \(T, D\)"),
        ((visual.float(), text, *groups), "of one type"),
        ((visual.int(), text.int(), *groups), "float embeddings"),
        ((visual[:0], text, visual_group[:0], text_group), "float embeddings on both sides, found 0"),
        ((visual, text), "13 visuals and 19 texts"),
        ((visual, text, visual_group), "both sides, or of neither"),
        ((visual, text, visual_group, text_group[:4]), "text_group must be 19 integers"),
        ((visual, text, visual_group.float(), text_group), "visual_group must be 13 integers"),
    ):
        with pytest.raises(ValueError, match=message):
            chunked_loss("info_nce", *arguments)
    with pytest.raises(ValueError, match="chunk must be at least 1"):
        chunked_loss("info_nce", visual, text, *groups, chunk=0)
    with pytest.raises(ValueError, match="temperature=0 is outside"):
        chunked_loss("info_nce", visual, text, *groups, temperature=0)
    with pytest.raises(TypeError, match="temperature"):
        chunked_loss("info_nce", visual, text, *groups, temprature=1)
    with pytest.raises(UnknownName, match="info_nce"):
        chunked_loss("info_nse", visual, text, *groups)
