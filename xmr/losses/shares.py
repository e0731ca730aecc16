"""Shares of a loss and of its pair weights, block by block, in the way that what the loss declares of its negatives allows.

V, T, D are the numbers of visuals and texts and the width; one product of the embeddings may serve both directions:

* by rows, any loss: scores once for each direction, weights times embeddings twice: 6·V·T·D products.
* `Each`: a sum over pairs, each for itself, so that a block of rows is a share of the columns too: 3·V·T·D.
* `Hardest`: the loss is asked for short rows, a query's positives and its hardest negative; weights are sparse: V·T·D.
* `Softmax`: short rows again, of which the total over all negatives comes from a pass of its own: 4·V·T·D.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import threshold_

from xmr.core import DIRECTIONS, Direction, Pairs
from xmr.losses.batch import Batch, Hyper, Own, other
from xmr.losses.negatives import Each, Hardest, Softmax, declared_of, shortened

TIES = 4  # of the hardest negatives of a row or column, on average, above which weights are no longer sparse


class Share(NamedTuple):
    """A share of the loss and of the weights of the pairs whose queries are `rows`: (rows, gallery), or sparse."""

    value: Tensor
    direction: Direction
    rows: slice
    weights: Tensor | None


def shares(batch: Batch, hyper: Hyper, gradient: bool) -> Iterator[Share]:
    """Shares that sum up to the loss, and if `gradient` to its weights; adds to the `grad` of tensors in `hyper`."""
    found = _as_declared(batch, hyper, gradient)
    if found is not None:
        return found
    return (share for direction in DIRECTIONS for share in by_rows(batch, hyper, gradient, direction))


def by_rows(batch: Batch, hyper: Hyper, gradient: bool, direction: Direction) -> Iterator[Share]:
    """The generic way: the registered loss on whole rows."""
    asking, answering = batch.groups[direction], batch.groups[other(direction)]
    for rows in batch.blocks(direction):
        scores = batch.scores(direction, rows).requires_grad_(gradient)
        positives = asking[rows, None] == answering
        pairs = Pairs(scores, positives, ~positives, direction=direction)
        with torch.set_grad_enabled(gradient):
            value = batch.entry(pairs, **hyper).sum() / (2 * len(asking))
        weights = torch.zeros_like(scores) if gradient else None
        if value.requires_grad:
            value.backward()
            weights = scores.grad
        yield Share(value.detach(), direction, rows, weights)


def _as_declared(batch: Batch, hyper: Hyper, gradient: bool) -> Iterator[Share] | None:
    """The way of what the loss declares: first what is sparse, in both directions, then blocks of visuals, if any, for both
    directions at once. None for a loss that declares nothing, and where positives or ties are too many."""
    declared = declared_of(batch.entry)
    own = None if declared is None else batch.own()
    if own is None:
        return None
    if isinstance(declared, Each):
        return _each(declared, batch, own, hyper, gradient)
    if isinstance(declared, Softmax):
        return _softmax(declared, batch, own, hyper, gradient)
    assert isinstance(declared, Hardest)
    hardest = _hardest_negatives(batch, own)
    return None if hardest is None else _hardest(batch, own, hardest, hyper, gradient)


def _each(
    declared: Each, batch: Batch, own: dict[Direction, Own], hyper: Hyper, gradient: bool
) -> Iterator[Share]:
    for direction in DIRECTIONS:
        nobody = torch.full_like(batch.sides[direction][:, 0], -torch.inf)
        value, weights, _ = _short_rows(batch, own, direction, nobody, None, hyper, gradient)
        yield Share(value, direction, slice(None), weights)
    part = sum(1 / len(side) for side in batch.sides.values()) / 2
    for rows in batch.blocks("v2t"):
        scores = batch.scores("v2t", rows).requires_grad_(gradient)
        with torch.set_grad_enabled(gradient):
            terms = declared.term(scores, **hyper)
            terms[own["v2t"].pairs(rows)] = 0
            value = terms.sum() * part
        if gradient:
            value.backward()
        yield Share(value.detach(), "v2t", rows, scores.grad)


def _hardest(
    batch: Batch,
    own: dict[Direction, Own],
    hardest: dict[Direction, tuple[Tensor, Tensor]],
    hyper: Hyper,
    gradient: bool,
) -> Iterator[Share]:
    for direction in DIRECTIONS:
        best, places = hardest[direction]
        value, weights, pushed = _short_rows(batch, own, direction, best, None, hyper, gradient)
        if gradient:
            # Several that are equally hard share the weight, as in the plain form.
            pushed = pushed / torch.bincount(places[0], minlength=len(best)).clamp(min=1)
            weights = weights + _sparse(places, pushed[places[0]], weights.shape)
        yield Share(value, direction, slice(None), weights)


def _softmax(
    declared: Softmax, batch: Batch, own: dict[Direction, Own], hyper: Hyper, gradient: bool
) -> Iterator[Share]:
    low = torch.finfo(batch.sides["v2t"].dtype).min / 4  # finite, so that nothing becomes NaN
    lowest = {way: batch.own_scores(own, way, torch.inf).amin(1)[:, None] for way in DIRECTIONS}

    def negatives(logits: Tensor, scores: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        """The logits that count in their row, and those that count in their column; very low elsewhere."""
        logits = logits.detach()  # changed in place: no logit's slope is made of its value
        logits[own["v2t"].pairs(rows)] = low
        if declared.mined is None:
            return logits, logits
        bounds = lowest["v2t"][rows], lowest["t2v"].T
        return tuple(torch.where(declared.mined(scores, bound, **hyper), logits, low) for bound in bounds)

    statistics = {way: _nothing_yet(batch, way, 2) for way in DIRECTIONS}
    with torch.no_grad():
        for rows in batch.blocks("v2t"):
            scores = batch.scores("v2t", rows)
            in_row, in_column = negatives(declared.logit(scores, **hyper), scores, rows)
            scores[own["v2t"].pairs(rows)] = -torch.inf
            found = statistics["v2t"][:, rows], statistics["t2v"]
            for (total, hardest), dim, logits in zip(found, (1, 0), (in_row, in_column), strict=True):
                torch.logaddexp(total, _logsumexp(logits, dim), out=total)
                torch.maximum(hardest, scores.amax(dim), out=hardest)
    pushed: dict[Direction, Tensor] = {}
    for direction in DIRECTIONS:
        total, hardest = statistics[direction]
        value, weights, pushed[direction] = _short_rows(
            batch, own, direction, hardest, total, hyper, gradient
        )
        yield Share(value, direction, slice(None), weights)
    if not gradient:
        return
    nothing = torch.zeros_like(value)
    for rows in batch.blocks("v2t"):
        scores = batch.scores("v2t", rows).requires_grad_()
        with torch.enable_grad():
            logits = declared.logit(scores, **hyper)
        with torch.no_grad():
            in_row, in_column = negatives(logits, scores, rows)
            flow = _exp_(in_row - statistics["v2t"][0][rows, None]).mul_(pushed["v2t"][rows, None])
            flow += _exp_(in_column - statistics["t2v"][0]).mul_(pushed["t2v"])
        logits.backward(flow)
        yield Share(nothing, "v2t", rows, scores.grad)


def _exp_(x: Tensor) -> Tensor:
    """exp in place, zero where the result would be subnormal, which takes many times longer."""
    return threshold_(x, math.log(torch.finfo(x.dtype).tiny), -torch.inf).exp_()


def _logsumexp(x: Tensor, dim: int) -> Tensor:
    most = x.amax(dim, keepdim=True)
    return (_exp_(x - most).sum(dim, keepdim=True).log_() + most).squeeze(dim)


def _short_rows(
    batch: Batch,
    own: dict[Direction, Own],
    direction: Direction,
    hardest: Tensor,
    total: Tensor | None,
    hyper: Hyper,
    gradient: bool,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The loss of queries with their positives, and one negative of score `hardest` (Q,), -inf for none, that with a
    `total` (Q,) stands for all.

    Returns the value, and if `gradient` the sparse weights of the positives (Q, G) and that of the negative or the
    total (Q,).
    """
    present = own[direction].present
    scores = batch.own_scores(own, direction, 0.0).requires_grad_(gradient)
    pushing = (hardest if total is None else total).detach().clone().requires_grad_(gradient)
    short = Pairs(scores, present, torch.zeros_like(present), direction=direction)
    with torch.set_grad_enabled(gradient):
        short = shortened(short, pushing) if total is None else shortened(short, hardest, pushing)
        value = batch.entry(short, **hyper).mean() / 2
    if not gradient:
        return value, None, None
    if value.requires_grad:
        value.backward()
    shape = len(batch.sides[direction]), len(batch.sides[other(direction)])
    weights, pushed = (torch.zeros_like(x) if x.grad is None else x.grad for x in (scores, pushing))
    return value.detach(), _sparse(torch.stack(own[direction].pairs()), weights[present], shape), pushed


def _hardest_negatives(
    batch: Batch, own: dict[Direction, Own]
) -> dict[Direction, tuple[Tensor, Tensor]] | None:
    """Score (Q,) of every query's hardest negative, -inf where there is none, and the places (2, E), query and
    gallery, of all that have it; in both directions from one product. None where ties are many."""
    best = {way: _nothing_yet(batch, way, 1)[0] for way in DIRECTIONS}
    most = TIES * (len(batch.sides["v2t"]) + len(batch.sides["t2v"]))
    places = {
        way: [best[way].new_empty(most, dtype=torch.int64) for _ in ("query", "gallery")]
        for way in DIRECTIONS
    }
    scored = best["t2v"].new_empty(most)  # those of the places of columns, whose best may still be found
    of_rows = of_columns = 0
    for rows in batch.blocks("v2t"):
        scores = batch.scores("v2t", rows)
        scores[own["v2t"].pairs(rows)] = -torch.inf
        torch.amax(scores, 1, out=best["v2t"][rows])
        torch.maximum(best["t2v"], scores.amax(0), out=best["t2v"])
        row, column = ((scores == best["v2t"][rows, None]) | (scores == best["t2v"])).nonzero().T
        found = scores[row, column]
        row = row + rows.start
        in_row = (found == best["v2t"][row]) & found.isfinite()
        in_column = (found == best["t2v"][column]) & found.isfinite()
        up_to_rows, up_to_columns = of_rows + int(in_row.sum()), of_columns + int(in_column.sum())
        if max(up_to_rows, up_to_columns) > most:
            return None
        for held, new in zip(places["v2t"], (row, column), strict=True):
            held[of_rows:up_to_rows] = new[in_row]
        for held, new in zip((*places["t2v"], scored), (column, row, found), strict=True):
            held[of_columns:up_to_columns] = new[in_column]
        still = scored[:up_to_columns] == best["t2v"][places["t2v"][0][:up_to_columns]]
        of_rows, of_columns = up_to_rows, int(still.sum())
        for held in (*places["t2v"], scored):
            held[:of_columns] = held[:up_to_columns][still]
    counts = {"v2t": of_rows, "t2v": of_columns}
    return {
        way: (best[way], torch.stack([held[: counts[way]] for held in places[way]])) for way in DIRECTIONS
    }


def _nothing_yet(batch: Batch, direction: Direction, count: int) -> Tensor:
    """(count, Q) of -inf. What is found of blocks is written to one tensor: small ones made in turns with blocks lay between
    these in memory, and up to a gigabyte of it was not used again."""
    side = batch.sides[direction]
    return side.new_full((count, len(side)), -torch.inf)


def _sparse(places: Tensor, values: Tensor, shape: tuple[int, ...]) -> Tensor:
    return torch.sparse_coo_tensor(places, values, shape, check_invariants=False)
