"""Whether a training has learned anything, told from what it left behind: a collapse looks like a finished run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xmr.analysis import query_weights
from xmr.checkpoints import Run, Trained
from xmr.core import Pairs
from xmr.losses import LOSSES
from xmr.metrics import headline

CURE = "--first sum_of_hinges:1"
LEVEL = 0.05  # how near a loss is to that of equal scores, in parts of it, to stand there
ALIKE = 0.1, 0.02  # deviation up to which scores are alike: in parts of that loss, and at most
GAIN = 0.002  # of a full score, below which training gained nothing
FULL = {"rsum": 600.0}  # of other figures it is 100
SAMPLE = 4096  # items of either side whose scores are looked at where a run doesn't tell of all


def plateau(run: Run | Trained) -> str:
    """Why a training went nowhere, with what to do about it, in sentences; "" where it learned, or nothing was trained.

    It has collapsed where the hardest negative alone counts, the loss stands where equal scores would leave it, and the
    test scores are alike (https://github.com/fartashf/vsepp/issues/27). It has learned nothing where its test rsum can't
    be told from chance, or the best epoch is no better in validation than the matcher was before the first step (which
    runs made before this was kept don't tell).
    """
    if not run.config.loss:
        return ""
    losses = [line["loss"] for line in run.history if _number(line.get("loss"))]
    if not losses:
        return ""
    nothing = list(filter(None, (_chance(run), _gain(run))))
    only_hardest = _level(run.config.loss, run.loss_values, 0.0) is not None
    scores = _scores(run) if only_hardest else None  # of many pairs: asked where it tells something
    level = _level(run.config.loss, run.loss_values, scores["mean"] if scores else 0.0)
    stands = level is not None and abs(losses[-1] - level) <= LEVEL * level
    alike = scores is not None and level is not None and scores["std"] <= min(ALIKE[0] * level, ALIKE[1])
    if stands and (alike or nothing):
        told = (
            f"It stands on its plateau: the loss is {losses[-1]:.3g}, where equal scores for all pairs give "
            f"{level:.3g}"
            + (f", and its scores are {scores['mean']:.2g} ± {scores['std']:.1g}." if scores else ".")
        )
        cure = f"Let all negatives count at first: {CURE}."
        if run.config.first_loss:
            cure = (
                f"Try more than {run.config.first_epochs} first epochs with {run.config.first_loss}, or another "
                f"{'--lr-towers' if run.config.tune != 'none' else '--lr'}."
            )
        return " ".join([told, *nothing, cure])
    if not nothing:
        return ""
    rate = f"--lr-towers {run.config.lr_towers:g}" if run.config.tune != "none" else f"--lr {run.config.lr:g}"
    cure = (
        f"The loss went from {losses[0]:.4g} in the first epoch to {losses[-1]:.4g} with {rate}: try another "
        f"one, or more than {len(losses)} {'epoch' if len(losses) == 1 else 'epochs'}."
    )
    return " ".join(["It learned nothing.", *nothing, cure])


def chance_rsum(visuals: int, texts: int) -> tuple[float, float]:
    """The rsum (0 … 600) of random scores among so many visuals and texts, each text matching one visual, and about how
    much it varies (one standard deviation, as if captions of one visual were one query)."""
    own = texts / visuals
    rates = [[min(k / visuals, 1.0) for k in (1, 5, 10)]]
    rates.append([1 - max(1 - k / texts, 0.0) ** own for k in (1, 5, 10)])
    spread = [sum(math.sqrt(p * (1 - p) / visuals) for p in side) for side in rates]
    return 100 * sum(map(sum, rates)), 100 * math.hypot(*spread)


def score_spread(visual: np.ndarray, text: np.ndarray, scores: np.ndarray | None = None) -> dict[str, float]:
    """Mean and standard deviation of the scores of all pairs of (V, D) and (T, D) embeddings, or of `scores` (V, T)."""
    if scores is not None:
        return {"mean": float(scores.mean(dtype=np.float64)), "std": float(scores.std(dtype=np.float64))}
    v, t = (np.asarray(side, np.float64) for side in (visual, text))
    mean = v.mean(0) @ t.mean(0)
    square = ((v.T @ v) * (t.T @ t)).sum() / (len(v) * len(t))  # Σ (v·t)² without the (V, T) array
    return {"mean": float(mean), "std": math.sqrt(max(square - mean**2, 0.0))}


def _chance(run: Run | Trained) -> str:
    figure, found = headline({"rsum": math.inf} | run.metrics["test"])
    if figure != "rsum":
        return ""
    sizes = run.dataset["sizes"]["test"]
    chance, spread = chance_rsum(sizes["visuals"], sizes["texts"])
    if _number(told := run.training.get("chance")):
        chance = told  # knows of texts that match several visuals
    if found > chance + min(chance / 2, 2 * spread):
        return ""
    return f"Its test rsum of {found:.1f} can't be told from chance ({chance:.1f} ± {spread:.1f})."


def _gain(run: Run | Trained) -> str:
    before, (figure, best) = (
        run.training.get("untrained"),
        headline({"rsum": math.inf} | run.metrics["validation"]),
    )
    full = FULL.get(figure, 100.0)
    if not _number(before) or best - before >= GAIN * full or before > (1 - GAIN) * full:
        return ""
    return f"Training gained nothing: validation {figure} {before:.1f} before its first step, {best:.1f} at its best."


def _scores(run: Run | Trained) -> dict[str, float] | None:
    """Mean and standard deviation of the test scores, where they are known."""
    found = run.training.get("scores")
    if isinstance(found, Mapping) and all(_number(found.get(key)) for key in ("mean", "std")):
        return dict(found)
    if isinstance(run, Trained) or run.scores_pairs:
        return None
    return score_spread(*(side[:: len(side) // SAMPLE + 1] for side in run.embeddings()))


def _level(loss: str, hyper: Mapping[str, Any], score: float) -> float | None:
    """The loss of scores that all equal `score`, where only the hardest negative counts, so that it is the same in any
    batch; else None."""
    entry = LOSSES[loss]

    def ask(scores: Tensor) -> Pairs:
        positives = torch.zeros(scores.shape, dtype=torch.bool)
        positives[:, 0] = True
        return Pairs.of(scores, positives, **{name: unrelated[name] for name in entry.needs})

    alone, others = torch.eye(1), torch.eye(5)
    unrelated = dict.fromkeys(("visual_scores", "visual_within"), alone)
    unrelated |= dict.fromkeys(("text_scores", "text_within", "word_scores"), others)
    if not unrelated.keys() >= set(entry.needs):
        return None
    weights = query_weights(loss, ask(torch.tensor([[0.5, 0.49, 0.48, 0.47, 0.46]])), **hyper)[0, 1:]
    if torch.count_nonzero(weights) != 1:
        return None
    return float(entry(ask(torch.full((1, 5), score)), **hyper))


def _number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
