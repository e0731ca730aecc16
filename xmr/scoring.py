"""Pair scorers on a whole split: their states, the scores of any of its pairs, and what they are measured by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from xmr.data import Dataset
from xmr.embedding import Inputs, Progress, embed, run_inputs
from xmr.metrics import evaluate_embeddings, evaluate_scores

if TYPE_CHECKING:
    from xmr.checkpoints import Run

ROWS = 64  # visuals scored at once
STATES = 512  # items read at once


@dataclass(frozen=True)
class ReadSplit:
    """A split as a pair scorer has read it: states of its visuals (N_v, …) and texts (N_t, …)."""

    matcher: Any
    visual: Tensor
    text: Tensor

    @torch.no_grad()
    def block(self, visuals: np.ndarray, texts: np.ndarray) -> np.ndarray:
        """Scores (V, T) float32 of the items of two index vectors."""
        return self.matcher.scores(self.visual[visuals], self.text[texts]).float().numpy()

    def matrix(self, progress: Progress | None = None) -> np.ndarray:
        """Scores (N_v, N_t) float32 of all pairs."""
        found = np.empty((len(self.visual), len(self.text)), np.float32)
        every = np.arange(len(self.text))
        for start in range(0, len(found), ROWS):
            rows = np.arange(start, min(start + ROWS, len(found)))
            found[rows] = self.block(rows, every)
            if progress is not None:
                progress("pairs", rows[-1] + 1, len(found))
        return found


@torch.no_grad()
def read(matcher: Any, inputs: Inputs) -> ReadSplit:
    """The states of a whole split. Leaves the matcher in evaluation mode."""
    matcher.eval()

    def of(make: Callable[[Any], Tensor], batch: Callable[[np.ndarray], Any], count: int) -> Tensor:
        parts = [
            make(batch(np.arange(start, min(start + STATES, count)))) for start in range(0, count, STATES)
        ]
        return joined(parts)

    return ReadSplit(
        matcher,
        of(matcher.visual, inputs.visual_batch, len(inputs.visual)),
        of(matcher.text, inputs.text_batch, inputs.texts),
    )


def read_dataset(run: Run, dataset: Dataset, progress: Progress | None = None) -> ReadSplit:
    """A split as the run's matcher reads it. Raises as `xmr.embedding.embed_dataset`."""
    return read(run.matcher(), run_inputs(run, dataset, progress))


def joined(parts: list[Tensor]) -> Tensor:
    """Batches of states as one; those of tokens are padded to the longest."""
    if parts[0].ndim == 3:
        longest = max(part.shape[1] for part in parts)
        parts = [pad(part, (0, 0, 0, longest - part.shape[1])) for part in parts]
    return torch.cat(parts)


def measure(
    matcher: Any, inputs: Inputs, data: Dataset, truth: bool = True
) -> tuple[dict[str, float], tuple[np.ndarray, np.ndarray], np.ndarray | None]:
    """The metrics of a split, its unit embeddings (N_v, E) and (N_t, E), and of a pair scorer all scores (N_v, N_t).

    Of a pair scorer the metrics are those of its scores, and the embeddings those of its first stage. `truth` False
    leaves out what is measured against the truth.
    """
    known = {"truth": data.truth if truth else None, "classes": data.classes}
    visual, text = embed(matcher, inputs)
    if matcher.independent:
        return (
            evaluate_embeddings(visual, text, data.visual_group, data.text_group, **known),
            (visual, text),
            None,
        )
    scores = read(matcher, inputs).matrix()
    return evaluate_scores(scores, data.visual_group, data.text_group, **known), (visual, text), scores
