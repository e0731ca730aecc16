"""The loss of a batch: the rule of its epoch, and its pairs as people's verdicts and a selector leave them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xmr.captions import text_key
from xmr.checkpoints.head import METRIC_LOSS, METRIC_PARAMS
from xmr.core import DIRECTIONS, Direction, Pairs
from xmr.data import Dataset
from xmr.data.duplicates import twins
from xmr.devices import device
from xmr.losses import LOSSES, symmetric
from xmr.losses.chunked import chunked_loss, unchunkable
from xmr.nn import LossParameters, Side, beside, latest
from xmr.registry import Entry
from xmr.selection import SELECTORS, blended, score_moments, suspected, treat
from xmr.store import among
from xmr.training.task import Task

NONE = np.empty(0, np.int64)


def annotated_pairs(
    scores: Tensor, visual_group: np.ndarray, text_group: np.ndarray, **within: Tensor | None
) -> Pairs:
    """Pairs of a batch (V, T) whose positives are all that is annotated: equal groups, so a visual that a batch holds
    twice, or a duplicate of it, is never its own negative."""
    equal = torch.from_numpy(visual_group[:, None] == text_group).to(scores.device)
    return Pairs.of(scores, equal, **within)


def right_groups(data: Dataset) -> dict[int, list[int]]:
    """Of hard captions that read like right ones of other visuals the groups of those."""
    wrong = {text_key(caption) for caption in data.hard_captions}
    groups: dict[str, list[int]] = {}
    for caption, group in zip(data.captions, data.text_group.tolist(), strict=True):
        if (key := text_key(caption)) in wrong:
            groups.setdefault(key, []).append(group)
    keys = enumerate(map(text_key, data.hard_captions))
    return {place: groups[key] for place, key in keys if key in groups}


def batch_sides(
    visual: Tensor, text: Tensor, visuals: np.ndarray, texts: np.ndarray
) -> dict[Direction, Side]:
    """Both sides of a batch: their states, (V, …) and (T, …), and the rows of the training split that they are of."""
    items = zip(DIRECTIONS, (visual, text), (visuals, texts), strict=True)
    return {way: {"embedding": rows, "item": torch.from_numpy(of)} for way, rows, of in items}


@dataclass
class State:
    """Where a training stands; with the tensors, all that resuming needs. Epochs and steps count what is done."""

    epoch: int = 0
    position: int = 0  # batches done in the epoch that runs
    step: int = 0
    total: float = 0.0  # sum of the losses of the epoch that runs
    best_epoch: int = 0
    best_metrics: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    moments: list[float] | None = None  # of the scores met so far, see `Pairs`
    untrained: float | None = None  # the validation score before the first step
    suspected: int = 0  # pairs of the epoch that runs which the selector suspects, in either direction,
    negatives: int = 0  # of so many
    together: int = 0  # pairs of the epoch that runs in a batch with one that they should be apart from, see `xmr.training.order`


class Objective:
    """Asked with the batch's states (V, …) and (T, …), as the matcher returns them, and the rows of the training split
    that they are of: `visuals` (V,) and `texts` (T,)."""

    def __init__(self, task: Task, state: State):
        self.task, self.config, self.matcher, self.state = task, task.config, task.matcher, state
        self.data = task.data["train"]
        self.twins = twins(self.data) if self.config.duplicates != "negative" else None
        self.right = right_groups(self.data) if task.hard is not None else {}
        self.loss = LOSSES[self.config.loss]
        self.hyper = LossParameters(self.loss, self.config.loss_params).to(device())
        self.first = LOSSES[self.config.first_loss] if self.config.first_loss else None
        self.selector = SELECTORS[self.config.selector] if self.config.selector else None
        # The latest items of either side, `config.queue` of them: their embeddings, and which of the split they are.
        self.queue: dict[Direction, Side] = {}
        # Whose metric network is the last stage: it takes the epochs from here on.
        self.metric_from = self.config.epochs - getattr(self.matcher, "metric_epochs", 0)

    def rule(self) -> tuple[Entry, dict[str, Any]]:
        """The loss of this epoch and its hyper-parameters: of the first epochs another one, where that is asked for, and
        of a metric network its own."""
        if self.state.epoch >= self.metric_from:
            return LOSSES[METRIC_LOSS], METRIC_PARAMS
        if self.first is not None and self.state.epoch < self.config.first_epochs:
            return self.first, self.first.defaults
        return self.loss, self.hyper.values()

    def hard_of(self, visuals: np.ndarray) -> np.ndarray:
        """The hard captions of a batch's visuals, ascending: (H,), all of them."""
        if self.task.hard is None:
            return NONE
        return np.flatnonzero(np.isin(self.data.visual_of_hard, visuals))

    def value(
        self,
        visual: Tensor,
        text: Tensor,
        visuals: np.ndarray,
        texts: np.ndarray,
        wrong: Tensor | None = None,
        hard: np.ndarray = NONE,
    ) -> Tensor:
        """The batch's loss, `wrong` (H, …) being the states of its `hard` captions; by blocks of its scores where embedding goes by micro-batches and the loss allows it.

        Blocks know of groups only: a batch with both sides of a confirmed pair, of a duplicate, with hard captions or a queue has all
        its scores at once. What it was asked with joins the queue.
        """
        rule, hyper = self.rule()
        if (
            self.config.micro_batch
            and not self.config.queue
            and wrong is None
            and self.selector is None
            and not self.matcher.scores_pairs
            and not unchunkable(rule, hyper)
            and self._judged("confirmed", visuals, texts) is None
            and self._duplicates(visuals, texts) is None
        ):
            groups = self.data.visual_group[visuals], self.data.text_group[texts]
            numbers = (torch.from_numpy(side).to(visual.device) for side in groups)
            return chunked_loss(rule.name, visual, text, *numbers, **hyper)
        sides = batch_sides(visual, text, visuals, texts)
        gallery = {way: beside(side, self.queue.get(way, {})) for way, side in sides.items()}
        pairs, back = self.pairs(rule, sides, gallery)
        if wrong is not None:
            back = pairs.transpose() if back is None else back
            pairs = self.widened(rule, pairs, visual, visuals, gallery["t2v"], wrong, hard)
        if self.config.queue:
            self.queue = {
                way: latest(self.queue.get(way, {}), side, self.config.queue) for way, side in sides.items()
            }
        return symmetric(rule.make, pairs, back, **hyper)

    def pairs(
        self, rule: Entry, sides: dict[Direction, Side], gallery: dict[Direction, Side]
    ) -> tuple[Pairs, Pairs | None]:
        """The batch's pairs as either side asks its gallery, the other side of the batch and of the queue, with duplicates, confirmed
        and suspected false negatives treated if there are any, verdicts or a selector; the second is None where it is the first
        transposed."""
        (pairs, refuted), back, theirs_refuted = self.known(rule, sides["v2t"], gallery["t2v"]), None, None
        if self.queue:
            back, theirs_refuted = self.known(rule, gallery["v2t"], sides["t2v"])
            back = back.transpose()
        if self.selector is None:
            return pairs, back
        pairs = replace(pairs, moments=self._remembered(score_moments(pairs)))
        if back is None:
            back, theirs_refuted = pairs.transpose(), refuted
        back = replace(back, moments=pairs.moments)
        ours, theirs = (self._suspected(side) for side in (pairs, back))
        if refuted is not None:
            ours = ours & ~refuted
        if theirs_refuted is not None:
            theirs = theirs & ~theirs_refuted.T
        # Of the batch: what is beyond is asked by one side only.
        visuals, texts = len(pairs.scores), len(back.scores)
        both = ours[:, :texts] | theirs[:, :visuals].T
        self.state.suspected += int(both.sum() + ours[:, texts:].sum() + theirs[:, visuals:].sum())
        self.state.negatives += int(pairs.negatives.sum() + back.negatives[:, visuals:].sum())
        return treat(pairs, ours, self.config.suspects), treat(back, theirs, self.config.suspects)

    def known(self, rule: Entry, visual: Side, text: Side) -> tuple[Pairs, Tensor | None]:
        """All pairs (V, T) of some visuals and texts with the evidence that is asked for, duplicates and confirmed pairs treated; and
        which of them people refuted."""
        needs = {*rule.needs, *(self.selector.needs if self.selector else ())}
        visuals, texts = visual["item"].numpy(), text["item"].numpy()
        groups = self.data.visual_group[visuals], self.data.text_group[texts]
        rows = [self.matcher.pooled(side["embedding"]) for side in (visual, text)]
        known = self.task.evidence.of(needs, visuals, texts, *rows) if needs else {}
        known = {name: part.to(rows[0].device) for name, part in known.items()}
        pairs = annotated_pairs(self.matcher.scores(visual["embedding"], text["embedding"]), *groups, **known)
        refuted = self._judged("refuted", visuals, texts)
        duplicates = self._duplicates(visuals, texts)
        if duplicates is not None:
            alike = duplicates if refuted is None else duplicates & ~refuted
            pairs = treat(pairs, alike, self.config.duplicates)
        confirmed = self._judged("confirmed", visuals, texts)
        if confirmed is not None:
            pairs = treat(pairs, confirmed, self.config.verdicts_as)
        return pairs, refuted

    def widened(
        self,
        rule: Entry,
        pairs: Pairs,
        visual: Tensor,
        visuals: np.ndarray,
        text: Side,
        wrong: Tensor,
        hard: np.ndarray,
    ) -> Pairs:
        """The pairs (V, T) with the batch's hard captions as further columns, (V, T + H): negatives of all visuals, as in NegCLIP
        (Yuksekgonul et al., ICLR 2023), but of those for which one that reads alike is right. Only visuals ask them: they
        have no visual to find."""
        columns = torch.ones(len(visuals), len(hard), dtype=torch.bool)
        for column, one in enumerate(hard.tolist()):
            if one in self.right:
                columns[:, column] = torch.from_numpy(
                    ~np.isin(self.data.visual_group[visuals], self.right[one])
                )
        every = np.concatenate([text["item"].numpy(), len(self.data.captions) + hard])
        rows = [
            self.matcher.pooled(visual),
            torch.cat([self.matcher.pooled(side) for side in (text["embedding"], wrong)]),
        ]
        known = self.task.evidence.of(rule.needs, visuals, every, *rows) if rule.needs else {}
        return Pairs(
            torch.cat([pairs.scores, self.matcher.scores(visual, wrong)], 1),
            torch.cat([pairs.positives, torch.zeros_like(columns)], 1),
            torch.cat([pairs.negatives, columns], 1),
            moments=pairs.moments,
            **known,
        )

    @torch.no_grad()
    def _suspected(self, pairs: Pairs) -> Tensor:
        return suspected(self.selector.name, pairs, **self.config.selector_params)

    def _duplicates(self, visuals: np.ndarray, texts: np.ndarray) -> Tensor | None:
        """Which of a batch's pairs can't be told from annotated ones, (V, T) bool; None where none is, or none matters."""
        rows, columns = ((), ()) if self.twins is None else self.twins.places(visuals, texts)
        if not len(rows):
            return None
        mask = torch.zeros(len(visuals), len(texts), dtype=torch.bool)
        mask[rows, columns] = True
        return mask.to(device())

    def _judged(self, which: str, visuals: np.ndarray, texts: np.ndarray) -> Tensor | None:
        """Which of a batch's pairs are "confirmed" or "refuted" by people, (V, T) bool; None where none is."""
        if self.task.judged is None:
            return None
        mask = among(getattr(self.task.judged, which), visuals, texts)
        return torch.from_numpy(mask).to(device()) if mask.any() else None

    def _remembered(self, found: tuple[float, ...] | None) -> tuple[float, ...] | None:
        """The running moments of scores, after those of a batch."""
        found = blended(self.state.moments, found)
        self.state.moments = None if found is None else list(found)
        return found
