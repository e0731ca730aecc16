"""Losses of large batches, by blocks of rows: the scores of a block at a time and never a (V, T) array.

The value and the gradients are those of `symmetric`. Gradients are taken along with the value, block by block, so
that a backward pass has nothing left to do but to scale them: what is kept for it is as large as the embeddings.
Any registered loss whose value of a query is a function of that query's row can be asked so. Three kinds of loss are
asked in less time, because one product of the embeddings serves both directions (V, T, D are the sizes):

* by rows, any loss: scores once for each direction, weights times embeddings twice: 6·V·T·D products.
* `ADDITIVE`: a sum over pairs, each for itself, so that a block of rows is a share of the columns too: 3·V·T·D.
* `HARDEST`: of a query's negatives only the hardest counts. The row is its positives and that one, the registered loss
  is asked for these short rows, and all weights are sparse: V·T·D.
* `SOFT`: a query's negatives act only through log Σ exp of a logit: 4·V·T·D, in a pass of statistics and one of weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import softplus, threshold_

from xmr.core import DIRECTIONS, Direction, Pairs, single
from xmr.losses import LOSSES, symmetric
from xmr.losses.base import negative_logsumexp
from xmr.losses.hinge import too_near
from xmr.registry import Entry

SMALL = 1 << 16  # pairs up to which the plain form is asked, which takes less time, unless a chunk is given
CELLS = 1 << 20  # scores held at once, where the caller does not say how many rows: about what a cache holds
SPARSE = 64  # times fewer weights than pairs, from which on products with them are sparse
TIES = 4  # of the hardest negatives of a row or column, on average, above which weights are no longer sparse

Hyper = dict[str, Any]

# What a negative of score s adds to the loss of its query.
ADDITIVE: dict[str, Callable[[Tensor, Hyper], Tensor]] = {
    "contrastive": lambda s, hyper: too_near(s, hyper["margin"]) / 2,
    "siglip": lambda s, hyper: softplus(hyper["scale"] * s + hyper["bias"]),
}
HARDEST = {
    "max_of_hinges",
    "soft_margin",
    "polynomial",
    "polynomial_max",
    "polynomial_relative",
    "weighting",
}


class Soft(NamedTuple):
    """How a loss sees its negatives: as a total, log Σ exp of the `logit` of their scores, over those that are `mined`
    (told from scores and the lowest score of the query's positives). Either `score` turns the total back into that of a
    single negative that counts as much, or `value` tells the loss (Q,) from the total and the hardest negative's score,
    (Q, 1) each, and from the scores of the positives and which of them there are, (Q, P) each.
    """

    logit: Callable[[Tensor, Hyper], Tensor]
    score: Callable[[Tensor, Hyper], Tensor] | None = None
    value: Callable[[Tensor, Tensor, Tensor, Tensor, Hyper], Tensor] | None = None
    mined: Callable[[Tensor, Tensor, Hyper], Tensor] | None = None


def _multi_similarity(total: Tensor, hardest: Tensor, own: Tensor, present: Tensor, hyper: Hyper) -> Tensor:
    alpha, beta = hyper["alpha"], hyper["beta"]
    mined = present & ~(own - hyper["epsilon"] >= hardest)
    pull = softplus(negative_logsumexp(-alpha * (own - hyper["base"]), mined)) / alpha
    return (pull + softplus(total[:, 0]) / beta) * mined.any(1)


def _circle(total: Tensor, hardest: Tensor, own: Tensor, present: Tensor, hyper: Hyper) -> Tensor:
    margin = hyper["margin"]
    a = (1 + margin - own.detach()).relu()
    pull = negative_logsumexp(-hyper["scale"] * a * (own - 1 + margin), present)
    return softplus(total[:, 0] + pull) * present.any(1) * hardest[:, 0].isfinite()


_BY_TEMPERATURE = Soft(
    lambda s, hyper: s * (1 / hyper["temperature"]), score=lambda total, hyper: total * hyper["temperature"]
)
SOFT = {
    "info_nce": _BY_TEMPERATURE,
    "decoupled": _BY_TEMPERATURE,
    "unified": Soft(lambda s, hyper: hyper["scale"] * s, score=lambda total, hyper: total / hyper["scale"]),
    "circle": Soft(
        lambda s, hyper: hyper["scale"] * (s.detach() + hyper["margin"]).relu() * (s - hyper["margin"]),
        value=_circle,
    ),
    "multi_similarity": Soft(
        lambda s, hyper: hyper["beta"] * (s - hyper["base"]),
        value=_multi_similarity,
        mined=lambda s, lowest, hyper: ~(s + hyper["epsilon"] <= lowest),
    ),
}


def chunked_loss(
    name: str,
    visual: Tensor,
    text: Tensor,
    visual_group: Tensor | None = None,
    text_group: Tensor | None = None,
    *,
    chunk: int | None = None,
    **hyper: Any,
) -> Tensor:
    """The loss `name` of embeddings: `loss_value` of `visual @ text.T`, in memory of `chunk` rows of scores.

    visual (V, D), text (T, D) float; a pair is positive where `visual_group` (V,) and `text_group` (T,), integers,
    are equal, and negative elsewhere; without groups, row i of both is a pair. Embeddings in half precision are multiplied
    in single. Returns a scalar tensor whose backward
    pass reaches the embeddings and the hyper-parameters given as tensors, once (no second derivatives).
    Raises UnknownName, TypeError on an unknown hyper-parameter, and ValueError on shapes that do not fit, a number
    outside its range, or a loss that looks at more than a query's own row.
    """
    batch = _Batch.of(name, visual, text, visual_group, text_group, chunk, hyper)
    if chunk is None and len(visual) * len(text) <= SMALL:
        pairs = Pairs.of(single(visual) @ single(text).T, groups=(batch.groups["v2t"], batch.groups["t2v"]))
        return symmetric(batch.entry.make, pairs, **hyper)
    return _Chunked.apply(batch, visual, text, *batch.tensors.values())


def chunked_weights(
    name: str,
    visual: Tensor,
    text: Tensor,
    visual_group: Tensor | None = None,
    text_group: Tensor | None = None,
    *,
    chunk: int | None = None,
    **hyper: Any,
) -> Iterator[tuple[slice, Tensor]]:
    """The weights of all pairs, d loss / d score, by blocks of visuals: their place, and (chunk, T) weights.

    The rows together are `pair_weights` of `visual @ text.T`; arguments and errors as in `chunked_loss`. A loss that is
    none of `ADDITIVE`, `HARDEST` and `SOFT` asks all texts anew for each block: the larger the chunk, the sooner done.
    """
    batch = _Batch.of(name, visual.detach(), text.detach(), visual_group, text_group, chunk, hyper)
    return _weights(batch)


def unchunkable(entry: Entry, hyper: Hyper) -> str:
    """Why a loss with these hyper-parameters can't be asked by blocks of rows; "" where it can.

    Found by asking a few rows together and each alone. A loss that looks at its batch only where that is large, or only
    at rare scores, is not found out.
    """
    fixed = {key: value for key, value in hyper.items() if not isinstance(value, Tensor)}
    return _probe(entry, tuple(sorted(fixed.items())))


@lru_cache(maxsize=256)
def _probe(entry: Entry, fixed: tuple[tuple[str, Any], ...]) -> str:
    scores = torch.rand(6, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1.6 - 0.6
    positives = torch.eye(6, 10, dtype=torch.bool)
    positives[0, 7:] = True
    try:
        together = entry(Pairs.of(scores, positives), **dict(fixed))
        alone = [entry(Pairs.of(scores[i : i + 1], positives[i : i + 1]), **dict(fixed)) for i in range(6)]
    except ValueError as error:
        return str(error)
    if torch.allclose(together, torch.cat(alone)):
        return ""
    return "the value of a query depends on other queries"


# ---- a batch, and what is known of its positives -----------------------------------------------------------


class _Own(NamedTuple):
    """The positives of each query as columns (Q, P), padded; `present` (Q, P) bool says which are."""

    columns: Tensor
    present: Tensor

    @classmethod
    def of(cls, queries: Tensor, gallery: Tensor) -> _Own:
        ordered, order = gallery.sort(stable=True)
        first = torch.searchsorted(ordered, queries)
        count = torch.searchsorted(ordered, queries, right=True) - first
        place = torch.arange(max(int(count.max()), 1), device=queries.device)
        return cls(order[(first[:, None] + place).clamp(max=len(order) - 1)], place < count[:, None])

    def pairs(self, rows: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Row (counted from the first of `rows`) and column of every positive, (E,) each."""
        present = self.present[rows]
        return present.nonzero()[:, 0], self.columns[rows][present]


class _Batch(NamedTuple):
    """What is asked: a loss, embeddings without graph, and the hyper-parameters, those that are tensors apart."""

    entry: Entry
    sides: dict[Direction, Tensor]  # "v2t": the visuals, which ask there
    groups: dict[Direction, Tensor]
    chunk: int
    fixed: dict[str, Any]
    tensors: dict[str, Tensor]

    @classmethod
    def of(
        cls,
        name: str,
        visual: Tensor,
        text: Tensor,
        visual_group: Tensor | None,
        text_group: Tensor | None,
        chunk: int | None,
        hyper: Hyper,
    ) -> _Batch:
        entry = LOSSES[name]
        hyper = entry.checked(hyper)
        fitting = visual.ndim == text.ndim == 2 and visual.shape[1] == text.shape[1]
        if not fitting or visual.dtype != text.dtype:
            raise ValueError(
                "visual and text must be (V, D) and (T, D) of one type, found "
                f"{tuple(visual.shape)} {visual.dtype} and {tuple(text.shape)} {text.dtype}"
            )
        if not visual.is_floating_point() or not len(visual) or not len(text):
            raise ValueError(
                f"a loss needs float embeddings on both sides, found {len(visual)}, {len(text)}, {visual.dtype}"
            )
        if (visual_group is None) != (text_group is None):
            raise ValueError("give the groups of both sides, or of neither")
        if visual_group is None or text_group is None:
            if len(visual) != len(text):
                raise ValueError(
                    f"without groups, row i of both is a pair, found {len(visual)} visuals and {len(text)} texts"
                )
            visual_group = text_group = torch.arange(len(visual), device=visual.device)
        for what, side, group in (("visual", visual, visual_group), ("text", text, text_group)):
            if tuple(group.shape) != (len(side),) or group.is_floating_point():
                raise ValueError(
                    f"{what}_group must be {len(side)} integers, found {tuple(group.shape)} {group.dtype}"
                )
        if chunk is not None and chunk < 1:
            raise ValueError(f"chunk must be at least 1 row, found {chunk}")
        values = entry.defaults | hyper
        tensors = {key: value for key, value in values.items() if isinstance(value, Tensor)}
        fixed = {key: value for key, value in values.items() if key not in tensors}
        if reason := unchunkable(entry, hyper):
            raise ValueError(f"{name} can't be asked by blocks of rows: {reason}; use loss_value")
        return cls(
            entry,
            {"v2t": single(visual.detach()), "t2v": single(text.detach())},
            {"v2t": visual_group, "t2v": text_group},
            chunk or max(CELLS // max(len(visual), len(text)), 16),
            fixed,
            tensors,
        )

    def blocks(self, direction: Direction) -> Iterator[slice]:
        count = len(self.sides[direction])
        return (slice(start, min(start + self.chunk, count)) for start in range(0, count, self.chunk))

    def scores(self, direction: Direction, rows: slice) -> Tensor:
        return self.sides[direction][rows] @ self.sides[_other(direction)].T

    def own_scores(self, own: dict[Direction, _Own], direction: Direction, absent: float) -> Tensor:
        """Scores (Q, P) of the positives of each query, and at least one column; `absent` where there is none."""
        queries, gallery = self.sides[direction], self.sides[_other(direction)]
        columns, present = own[direction]
        scores = torch.stack([(queries * gallery[column]).sum(1) for column in columns.T], 1)
        return scores.masked_fill(~present, absent)

    def own(self) -> dict[Direction, _Own] | None:
        """The positives of both directions; None where there are more than a block of scores would hold."""
        found = {}
        for direction in DIRECTIONS:
            asking, answering = self.groups[direction], self.groups[_other(direction)]
            most = int(answering.unique(return_counts=True)[1].max())
            if most > self.chunk:
                return None
            found[direction] = _Own.of(asking, answering)
        return found


def _other(direction: Direction) -> Direction:
    return "t2v" if direction == "v2t" else "v2t"


# ---- weights, block by block -------------------------------------------------------------------------------


class _Part(NamedTuple):
    """A share of the loss and of the weights of the pairs whose queries are `rows`: (rows, gallery), or sparse."""

    value: Tensor
    direction: Direction
    rows: slice
    weights: Tensor | None


def _parts(batch: _Batch, hyper: Hyper, gradient: bool) -> Iterator[_Part]:
    """Shares that sum up to the loss, and if `gradient` to its weights; adds to the `grad` of tensors in `hyper`."""
    found = _fast(batch, hyper, gradient)
    if found is not None:
        return found
    return (part for direction in DIRECTIONS for part in _by_rows(batch, hyper, gradient, direction))


def _by_rows(batch: _Batch, hyper: Hyper, gradient: bool, direction: Direction) -> Iterator[_Part]:
    """The generic way: the registered loss on whole rows."""
    asking, answering = batch.groups[direction], batch.groups[_other(direction)]
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
        yield _Part(value.detach(), direction, rows, weights)


def _fast(batch: _Batch, hyper: Hyper, gradient: bool) -> Iterator[_Part] | None:
    """The ways of `ADDITIVE`, `HARDEST` and `SOFT`: what is sparse in both directions, then blocks of visuals, if any, for
    both directions at once. None for other losses, and where positives or ties are too many."""
    name = batch.entry.name
    if name not in ADDITIVE and name not in HARDEST and name not in SOFT:
        return None
    own = batch.own()
    if own is None:
        return None
    if name in ADDITIVE:
        return _additive(batch, own, hyper, gradient)
    if name in SOFT:
        return _softly(batch, own, hyper, gradient)
    hardest = _hardest(batch, own)
    return None if hardest is None else _hardest_only(batch, own, hardest, hyper, gradient)


def _additive(batch: _Batch, own: dict[Direction, _Own], hyper: Hyper, gradient: bool) -> Iterator[_Part]:
    for direction in DIRECTIONS:
        nobody = torch.full_like(batch.sides[direction][:, :1], -torch.inf)
        value, weights, _ = _short_rows(batch, own, direction, nobody, nobody, None, hyper, gradient)
        yield _Part(value, direction, slice(None), weights)
    share = sum(1 / len(side) for side in batch.sides.values()) / 2
    for rows in batch.blocks("v2t"):
        scores = batch.scores("v2t", rows).requires_grad_(gradient)
        with torch.set_grad_enabled(gradient):
            terms = ADDITIVE[batch.entry.name](scores, hyper)
            terms[own["v2t"].pairs(rows)] = 0
            value = terms.sum() * share
        if gradient:
            value.backward()
        yield _Part(value.detach(), "v2t", rows, scores.grad)


def _hardest_only(
    batch: _Batch,
    own: dict[Direction, _Own],
    hardest: dict[Direction, tuple[Tensor, Tensor]],
    hyper: Hyper,
    gradient: bool,
) -> Iterator[_Part]:
    for direction in DIRECTIONS:
        best, places = hardest[direction]
        best = best[:, None]
        value, weights, pushed = _short_rows(batch, own, direction, best, best, None, hyper, gradient)
        if gradient:
            # Several that are equally hard share the weight, as in the plain form.
            pushed = pushed / torch.bincount(places[0], minlength=len(best)).clamp(min=1)
            weights = weights + _sparse(places, pushed[places[0]], weights.shape)
        yield _Part(value, direction, slice(None), weights)


def _softly(batch: _Batch, own: dict[Direction, _Own], hyper: Hyper, gradient: bool) -> Iterator[_Part]:
    soft = SOFT[batch.entry.name]
    low = torch.finfo(batch.sides["v2t"].dtype).min / 4  # finite, so that nothing becomes NaN
    lowest = {
        direction: batch.own_scores(own, direction, torch.inf).amin(1)[:, None] for direction in DIRECTIONS
    }

    def negatives(logits: Tensor, scores: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        """The logits that count in their row, and those that count in their column; very low elsewhere."""
        logits = logits.detach()  # changed in place: no logit's slope is made of its value
        logits[own["v2t"].pairs(rows)] = low
        if soft.mined is None:
            return logits, logits
        bounds = lowest["v2t"][rows], lowest["t2v"].T
        return tuple(torch.where(soft.mined(scores, bound, hyper), logits, low) for bound in bounds)

    of_rows = []
    of_columns = (torch.full_like(batch.sides["t2v"][:, 0], -torch.inf),) * 2
    with torch.no_grad():
        for rows in batch.blocks("v2t"):
            scores = batch.scores("v2t", rows)
            in_row, in_column = negatives(soft.logit(scores, hyper), scores, rows)
            scores[own["v2t"].pairs(rows)] = -torch.inf
            of_rows.append((_logsumexp(in_row, 1), scores.amax(1)))
            of_columns = (
                torch.logaddexp(of_columns[0], _logsumexp(in_column, 0)),
                torch.maximum(of_columns[1], scores.amax(0)),
            )
    total, hardest = (torch.cat(part)[:, None] for part in zip(*of_rows, strict=True))
    statistics = {"v2t": (total, hardest), "t2v": tuple(part[:, None] for part in of_columns)}
    pushed: dict[Direction, Tensor] = {}
    for direction in DIRECTIONS:
        value, weights, pushed[direction] = _short_rows(
            batch, own, direction, *statistics[direction], soft, hyper, gradient
        )
        yield _Part(value, direction, slice(None), weights)
    if not gradient:
        return
    nothing = torch.zeros_like(value)
    for rows in batch.blocks("v2t"):
        scores = batch.scores("v2t", rows).requires_grad_()
        with torch.enable_grad():
            logits = soft.logit(scores, hyper)
        with torch.no_grad():
            in_row, in_column = negatives(logits, scores, rows)
            flow = _exp_(in_row - total[rows]).mul_(pushed["v2t"][rows, None])
            flow += _exp_(in_column - statistics["t2v"][0].T).mul_(pushed["t2v"])
        logits.backward(flow)
        yield _Part(nothing, "v2t", rows, scores.grad)


def _exp_(x: Tensor) -> Tensor:
    """exp in place, zero where the result would be subnormal, which takes many times longer."""
    return threshold_(x, math.log(torch.finfo(x.dtype).tiny), -torch.inf).exp_()


def _logsumexp(x: Tensor, dim: int) -> Tensor:
    most = x.amax(dim, keepdim=True)
    return (_exp_(x - most).sum(dim, keepdim=True).log_() + most).squeeze(dim)


def _short_rows(
    batch: _Batch,
    own: dict[Direction, _Own],
    direction: Direction,
    total: Tensor,
    hardest: Tensor,
    soft: Soft | None,
    hyper: Hyper,
    gradient: bool,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The loss of queries with their positives and all negatives in one: `total` (Q, 1), a score if `soft` is None.

    `hardest` (Q, 1) is -inf for a query without negatives. Returns the value, and if `gradient` the sparse weights of
    the positives (Q, G) and that of the total (Q,).
    """
    present, exists = own[direction].present, hardest != -torch.inf
    scores = batch.own_scores(own, direction, 0.0).requires_grad_(gradient)
    total = total.detach().clone().requires_grad_(gradient)
    with torch.set_grad_enabled(gradient):
        if soft is not None and soft.value is not None:
            values = soft.value(total, hardest, scores, present, hyper)
        else:
            negative = total if soft is None else soft.score(total, hyper)
            rows = torch.cat([scores, torch.where(exists, negative, 0.0)], 1)
            positives = torch.cat([present, torch.zeros_like(exists)], 1)
            negatives = torch.cat([torch.zeros_like(present), exists], 1)
            values = batch.entry(Pairs(rows, positives, negatives, direction=direction), **hyper)
        value = values.mean() / 2
    if not gradient:
        return value, None, None
    if value.requires_grad:
        value.backward()
    shape = len(batch.sides[direction]), len(batch.sides[_other(direction)])
    weights, pushed = (torch.zeros_like(x) if x.grad is None else x.grad for x in (scores, total))
    return value.detach(), _sparse(torch.stack(own[direction].pairs()), weights[present], shape), pushed[:, 0]


def _hardest(batch: _Batch, own: dict[Direction, _Own]) -> dict[Direction, tuple[Tensor, Tensor]] | None:
    """Score (Q,) of every query's hardest negative, -inf where there is none, and the places (2, E), query and
    gallery, of all that have it; in both directions from one product. None where ties are many."""
    best_of_rows, places_of_rows, ties = [], [], 0
    best_of_columns = torch.full_like(batch.sides["t2v"][:, 0], -torch.inf)
    places_of_columns = torch.zeros(2, 0, dtype=torch.int64, device=best_of_columns.device)
    found_in_columns = best_of_columns[:0]
    for rows in batch.blocks("v2t"):
        scores = batch.scores("v2t", rows)
        scores[own["v2t"].pairs(rows)] = -torch.inf
        best = scores.amax(1)
        best_of_columns = torch.maximum(best_of_columns, scores.amax(0))
        row, column = ((scores == best[:, None]) | (scores == best_of_columns)).nonzero().T
        found = scores[row, column]
        in_row = (found == best[row]) & found.isfinite()
        in_column = (found == best_of_columns[column]) & found.isfinite()
        best_of_rows.append(best)
        places_of_rows.append(torch.stack([row[in_row] + rows.start, column[in_row]]))
        places_of_columns = torch.cat(
            [places_of_columns, torch.stack([column[in_column], row[in_column] + rows.start])], 1
        )
        found_in_columns = torch.cat([found_in_columns, found[in_column]])
        still = found_in_columns == best_of_columns[places_of_columns[0]]
        places_of_columns, found_in_columns = places_of_columns[:, still], found_in_columns[still]
        ties += int(in_row.sum())
        if max(ties, places_of_columns.shape[1]) > TIES * (len(batch.sides["v2t"]) + len(batch.sides["t2v"])):
            return None
    return {
        "v2t": (torch.cat(best_of_rows), torch.cat(places_of_rows, 1)),
        "t2v": (best_of_columns, places_of_columns),
    }


def _sparse(places: Tensor, values: Tensor, shape: tuple[int, ...]) -> Tensor:
    return torch.sparse_coo_tensor(places, values, shape, check_invariants=False)


# ---- what is done with them --------------------------------------------------------------------------------


class _Chunked(torch.autograd.Function):
    """The sum of the parts; the gradients are taken in the forward pass."""

    @staticmethod
    def forward(ctx: Any, batch: _Batch, visual: Tensor, text: Tensor, *tensors: Tensor) -> Tensor:
        gradient = any(ctx.needs_input_grad)
        leaves = {
            key: value.detach().clone().requires_grad_(gradient)
            for key, value in zip(batch.tensors, tensors, strict=True)
        }
        grads = {direction: torch.zeros_like(side) for direction, side in batch.sides.items() if gradient}
        total = batch.sides["v2t"].new_zeros(())
        for value, direction, rows, weights in _parts(batch, batch.fixed | leaves, gradient):
            total += value
            if weights is not None:
                other = _other(direction)
                if not weights.is_sparse and torch.count_nonzero(weights) * SPARSE < weights.numel():
                    weights = weights.to_sparse()
                grads[direction][rows].addmm_(weights, batch.sides[other])
                grads[other].addmm_(weights.T, batch.sides[direction][rows])
        ctx.save_for_backward(*grads.values(), *(leaf.grad for leaf in leaves.values()))
        ctx.types = [tensor.dtype for tensor in (visual, text, *tensors)]
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        given = zip(ctx.saved_tensors, ctx.types, strict=True)
        return None, *(None if saved is None else (grad * saved).to(kind) for saved, kind in given)


def _weights(batch: _Batch) -> Iterator[tuple[slice, Tensor]]:
    hyper = batch.fixed | {key: value.detach() for key, value in batch.tensors.items()}
    parts = _fast(batch, hyper, True)
    if parts is None:
        for part in _by_rows(batch, hyper, True, "v2t"):
            for other in _by_rows(batch, hyper, True, "t2v"):
                part.weights[:, other.rows] += other.weights[:, part.rows].T
            yield part.rows, part.weights
        return
    v2t, t2v = next(parts).weights, next(parts).weights
    sparse = (v2t + t2v.T).coalesce()
    (row, column), values = sparse.indices(), sparse.values()
    for rows in batch.blocks("v2t"):
        dense = next(parts, None)  # there is none where only the hardest negative counts
        weights = batch.sides["v2t"].new_zeros(rows.stop - rows.start, sparse.shape[1])
        weights = weights if dense is None else dense.weights
        here = (row >= rows.start) & (row < rows.stop)
        weights[row[here] - rows.start, column[here]] += values[here]
        yield rows, weights
