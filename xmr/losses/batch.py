"""A batch of embeddings whose scores are made a block of rows at a time, and what is known of its positives."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from xmr.core import DIRECTIONS, Direction, Pairs, single
from xmr.losses.base import LOSSES
from xmr.losses.negatives import as_declared, declared_of
from xmr.registry import Entry

CELLS = 1 << 20  # scores held at once, where the caller does not say how many rows: about what a cache holds

Hyper = dict[str, Any]


class Own(NamedTuple):
    """The positives of each query as columns (Q, P), padded; `present` (Q, P) bool says which are."""

    columns: Tensor
    present: Tensor

    @classmethod
    def of(cls, queries: Tensor, gallery: Tensor) -> Own:
        ordered, order = gallery.sort(stable=True)
        first = torch.searchsorted(ordered, queries)
        count = torch.searchsorted(ordered, queries, right=True) - first
        place = torch.arange(max(int(count.max()), 1), device=queries.device)
        return cls(order[(first[:, None] + place).clamp(max=len(order) - 1)], place < count[:, None])

    def pairs(self, rows: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Row (counted from the first of `rows`) and column of every positive, (E,) each."""
        present = self.present[rows]
        return present.nonzero()[:, 0], self.columns[rows][present]


class Batch(NamedTuple):
    """What is asked: a loss, embeddings without graph, and the hyper-parameters, those that are tensors apart."""

    entry: Entry
    sides: dict[Direction, Tensor]  # "v2t": the visuals, which ask there
    groups: dict[Direction, Tensor]
    chunk: int
    fixed: Hyper
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
    ) -> Batch:
        entry = LOSSES[name]
        hyper = entry.checked(hyper)
        groups = _checked_groups(visual, text, visual_group, text_group)
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
            groups,
            chunk or max(CELLS // max(len(visual), len(text)), 16),
            fixed,
            tensors,
        )

    def blocks(self, direction: Direction) -> Iterator[slice]:
        count = len(self.sides[direction])
        return (slice(start, min(start + self.chunk, count)) for start in range(0, count, self.chunk))

    def scores(self, direction: Direction, rows: slice) -> Tensor:
        return self.sides[direction][rows] @ self.sides[other(direction)].T

    def own(self) -> dict[Direction, Own] | None:
        """The positives of both directions; None where there are more than a block of scores would hold."""
        found = {}
        for direction in DIRECTIONS:
            asking, answering = self.groups[direction], self.groups[other(direction)]
            most = int(answering.unique(return_counts=True)[1].max())
            if most > self.chunk:
                return None
            found[direction] = Own.of(asking, answering)
        return found

    def own_scores(self, own: dict[Direction, Own], direction: Direction, absent: float) -> Tensor:
        """Scores (Q, P) of the positives of each query, and at least one column; `absent` where there is none."""
        queries, gallery = self.sides[direction], self.sides[other(direction)]
        columns, present = own[direction]
        scores = torch.stack([(queries * gallery[column]).sum(1) for column in columns.T], 1)
        return scores.masked_fill(~present, absent)


def other(direction: Direction) -> Direction:
    return "t2v" if direction == "v2t" else "v2t"


def _checked_groups(
    visual: Tensor, text: Tensor, visual_group: Tensor | None, text_group: Tensor | None
) -> dict[Direction, Tensor]:
    """The groups of both sides, counted where there are none. Raises ValueError where something does not fit."""
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
    return {"v2t": visual_group, "t2v": text_group}


def unchunkable(entry: Entry, hyper: Hyper) -> str:
    """Why a loss with these hyper-parameters can't be asked by blocks of rows; "" where it can.

    Found by asking a few rows together, each alone, and as what the loss declares of its negatives has it. A loss that
    looks at its batch only where that is large, or only at rare scores, is not found out.
    """
    fixed = {key: value for key, value in hyper.items() if not isinstance(value, Tensor)}
    return _probe(entry, tuple(sorted(fixed.items())))


@lru_cache(maxsize=256)
def _probe(entry: Entry, fixed: tuple[tuple[str, Any], ...]) -> str:
    scores = torch.rand(6, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1.6 - 0.6
    positives = torch.eye(6, 10, dtype=torch.bool)
    positives[0, 7:] = True
    hyper, pairs = entry.defaults | dict(fixed), Pairs.of(scores, positives)
    try:
        together = entry(pairs, **hyper)
        alone = [entry(Pairs.of(scores[i : i + 1], positives[i : i + 1]), **hyper) for i in range(6)]
    except ValueError as error:
        return str(error)
    if not torch.allclose(together, torch.cat(alone)):
        return "the value of a query depends on other queries"
    declared = declared_of(entry)
    if declared is not None and not torch.allclose(together, as_declared(entry, pairs, hyper)):
        return f"with its negatives it does something else than {type(declared).__name__}, which it declares"
    return ""
