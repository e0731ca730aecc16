"""Gradient caching: the gradients of the plain step, in micro-batches."""

import pytest
import torch
from torch import nn

from tests import tiny
from xmr.losses import LOSSES, loss_value
from xmr.losses.chunked import chunked_loss
from xmr.training.gradcache import cached_backward


def towers(dtype, dropout):
    generator = torch.Generator().manual_seed(3)
    made = []
    for width in (7, 5):
        net = nn.Sequential(nn.Linear(width, 16), nn.GELU(), nn.Dropout(dropout), nn.Linear(16, 6)).to(dtype)
        for parameter in net.parameters():
            nn.init.normal_(parameter, generator=generator)
        made.append((net, torch.randn(11, width, generator=generator, dtype=dtype)))
    return made


def embedders(made):
    return [lambda rows, n=n, x=x: nn.functional.normalize(n(x[rows]), dim=1) for n, x in made]


def gradients(made):
    return [parameter.grad for net, _ in made for parameter in net.parameters()]


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("micro_batch", [1, 4, 11, 50])
def test_gradients_are_those_of_the_plain_step(dtype, close, dropout, micro_batch):
    temperature = torch.tensor(0.1, dtype=dtype, requires_grad=True)

    def loss(visual, text):
        return loss_value("info_nce", visual @ text.T, temperature=temperature)

    made = towers(dtype, dropout)
    torch.manual_seed(5)
    slices = [slice(start, start + micro_batch) for start in range(0, 11, micro_batch)]
    plain = loss(*(torch.cat([embed(rows) for rows in slices]) for embed in embedders(made)))
    plain.backward()
    drawn = torch.rand(3)
    expected = [*gradients(made), temperature.grad]

    made, temperature.grad = towers(dtype, dropout), None
    torch.manual_seed(5)
    found = cached_backward(loss, embedders(made), (11, 11), micro_batch)
    assert torch.equal(torch.rand(3), drawn)  # random numbers go on as if embedded once
    torch.testing.assert_close(found, plain.detach(), rtol=close, atol=close)
    assert not found.requires_grad and any(grad.abs().max() > 0.01 for grad in expected)
    for one, other in zip([*gradients(made), temperature.grad], expected, strict=True):
        torch.testing.assert_close(one, other, rtol=close, atol=close)


def test_no_graph_is_larger_than_a_micro_batch():
    made, sizes = towers(torch.float32, 0.5), []

    def pack(tensor):
        sizes.append(tensor.shape[0] if tensor.ndim == 2 else 0)
        return tensor

    def loss(visual, text):  # its own graph is over the whole batch
        with torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t):
            return chunked_loss("max_of_hinges", visual, text, chunk=3)

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        cached_backward(loss, embedders(made), (11, 11), 2)
    rows_of_weights = 16
    assert set(sizes) <= {0, 1, 2, rows_of_weights, 6, 5, 7}


def test_a_loss_that_is_flat_in_one_side_leaves_its_gradients_alone():
    made = towers(torch.float32, 0.0)
    cached_backward(lambda visual, text: visual.sum(), embedders(made), (11, 11), 4)
    assert made[0][0][0].weight.grad is not None and made[1][0][0].weight.grad is None


STILL = tiny.SMALL | {"dropout": 0.0, "word_dropout": 0.0}


@pytest.mark.parametrize("loss", ["siglip", "max_of_hinges", "circle", "gravitation"])
def test_training_in_micro_batches_ends_with_the_same_weights(loss):
    assert "gravitation" in LOSSES  # not to be had by blocks of rows: its scores are held
    settings = {"loss": loss, "matcher_params": STILL, "lr": 0.002, "epochs": 1}
    _, whole = tiny.fit(tiny.config(**settings))
    _, parts = tiny.fit(tiny.config(**settings, micro_batch=7))
    for name, weight in whole.matcher.state_dict().items():
        torch.testing.assert_close(parts.matcher.state_dict()[name], weight, rtol=1e-3, atol=1e-4)
    assert parts.learned == pytest.approx(whole.learned, rel=1e-4)
    assert parts.history[0]["loss"] == pytest.approx(whole.history[0]["loss"], rel=1e-4)


def test_a_selector_works_on_the_whole_batch():
    settings = {
        "loss": "max_of_hinges", "matcher_params": STILL, "epochs": 1, "selector": "caption_similarity",
        "selector_params": {"threshold": 0.5},
    }  # fmt: skip
    _, whole = tiny.fit(tiny.config(**settings))
    _, parts = tiny.fit(tiny.config(**settings, micro_batch=7))
    assert parts.history[0]["loss"] == pytest.approx(whole.history[0]["loss"], rel=1e-4)
