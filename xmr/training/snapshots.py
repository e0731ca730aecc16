"""Snapshots of a training: a fixed sample of the test split is embedded before the first step and ever less often after it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from xmr.checkpoints.snapshots import FEWEST, MOST, Snapshots
from xmr.data import Dataset
from xmr.embedding import Inputs, as_kept, embed
from xmr.scoring import read

MOMENTS = 14
VISUALS, CAPTIONS = 100, 2  # visuals of the sample, and captions of each, where that many fit
HEADER = 2_000  # bytes of the file beside what is counted


def moments(steps: int) -> list[int]:
    """After which of so many steps the sample is embedded, `MOMENTS` of them where there are as many: before the first one,
    and then each later than the one before by about the same factor, so that they are dense where a training changes most."""
    factor = steps ** (1 / (MOMENTS - 2))
    found = {round(factor**place) for place in range(MOMENTS - 1)}
    earliest = (step for step in range(1, steps) if step not in found)
    return sorted(
        {0, *found, *(step for step, _ in zip(earliest, range(MOMENTS - 1 - len(found)), strict=False))}
    )


def sample_of(data: Dataset, embed_dim: int, scored: bool) -> tuple[np.ndarray, np.ndarray]:
    """Visuals and captions, ascending, that stand for a split in snapshots of at most `MOST` bytes: drawn by a seed, so that
    all runs on it have the same, or where embeddings are wide the first of them. `scored`: scores of all pairs are kept
    too. Visuals without captions, as where captions name classes, come after the others."""
    order = np.random.default_rng(0).permutation(len(data.visual_ids))
    captioned = np.isin(order, data.visual_of_text)
    order = np.concatenate([order[captioned], order[~captioned]])[:VISUALS]
    for count in range(len(order), FEWEST - 1, -1):
        visuals = np.sort(order[:count])
        texts = np.sort(np.concatenate([data.texts_of(int(one))[:CAPTIONS] for one in visuals]))
        values = (len(visuals) + len(texts)) * embed_dim + scored * len(visuals) * len(texts)
        if 2 * MOMENTS * values + 8 * (len(visuals) + len(texts) + MOMENTS) + HEADER <= MOST:
            return visuals, texts
    return order[:0], order[:0]


class Recorder:
    """Takes the snapshots of one training. Where not even a small sample fits, or what was taken before an interruption is not
    known, there are none."""

    def __init__(self, data: Dataset, inputs: Inputs, matcher: Any, steps: int):
        self.visuals, self.texts = sample_of(data, matcher.embed_dim, matcher.scores_pairs)
        self.scored = matcher.scores_pairs
        self.on = min(len(self.visuals), len(self.texts)) >= FEWEST
        self.due = set(moments(steps)) if self.on else set()
        self.inputs = inputs.some(self.visuals, self.texts) if self.on else None
        self.taken: dict[int, dict[str, np.ndarray]] = {}  # by step

    def take(self, matcher: Any, step: int) -> None:
        """Embeds the sample as the matcher is after `step` steps, if that is a moment. Leaves it in evaluation mode."""
        if step not in self.due:
            return
        visual, text = embed(matcher, self.inputs)
        self.taken[step] = {"visual": visual, "text": text}
        if self.scored:
            self.taken[step]["scores"] = read(matcher, self.inputs).matrix()

    def finish(
        self, step: int, embeddings: tuple[np.ndarray, np.ndarray], scores: np.ndarray | None
    ) -> Snapshots | None:
        """What was taken before `step`, whose weights the run has, and what these make of the sample, `embeddings` and
        `scores` being those of the whole split."""
        before = {at: one for at, one in sorted(self.taken.items()) if at < step}
        if not self.on or not before:
            return None
        last = {"visual": embeddings[0][self.visuals], "text": embeddings[1][self.texts]}
        if self.scored:
            last["scores"] = scores[np.ix_(self.visuals, self.texts)]
        every = [*before.values(), last]
        parts = {name: np.stack([one[name] for one in every]) for name in last}
        return Snapshots(np.array([*before, step], np.int64), self.visuals, self.texts, **parts)

    def tensors(self) -> dict[str, Tensor]:
        """What was taken, to go on from after an interruption."""
        return {
            f"{step}.{name}": torch.from_numpy(part).half()
            for step, one in self.taken.items()
            for name, part in one.items()
        }

    def take_up(self, tensors: dict[str, Tensor], step: int) -> None:
        """Goes on from what `tensors` gave after `step` steps; a state from before there were snapshots has none."""
        self.taken = {}
        for key, part in tensors.items():
            at, _, name = key.partition(".")
            if not at.isdecimal():
                raise KeyError(key)
            self.taken.setdefault(int(at), {})[name] = as_kept(part)
        # The moment of this very step may be still to come: before the first one nothing is taken yet.
        self.on = self.on and {one for one in self.due if one < step} <= self.taken.keys()
        self.due = self.due if self.on else set()
