"""What known truth says of a data set's annotations, and how far they let any model come."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def unannotated_share(truth: np.ndarray, visual_of_text: np.ndarray) -> float:
    """Share of the true pairs in `truth` (visuals, texts) that no annotation names; visual_of_text (texts,) is the
    annotated visual of each text. Raises ValueError when an annotated pair is not true."""
    true = int(truth.sum())
    return 1 - len(_checked(truth, visual_of_text)) / true if true else 0.0


def annotated_ceiling(
    truth: np.ndarray, visual_of_text: np.ndarray, ks: Sequence[int] = (1, 5, 10)
) -> dict[str, float]:
    """What a perfect model scores against the annotations: its expected R@k when it ranks all true items first and
    the true ones in random order. A hit is an annotated item among the top k.

    With T true and A annotated items, 1 - C(T - A, k) / C(T, k). `truth` is (visuals, texts) bool. Keys:
    "v2t/recall_at_1", "t2v/recall_at_1", …; values from 0 to 1. Visuals without a text are left out. Raises
    ValueError when an annotated pair is not true."""
    visual_of_text = _checked(truth, visual_of_text)
    captions = np.bincount(visual_of_text, minlength=len(truth))
    queries = {
        "v2t": (truth.sum(1)[captions > 0], captions[captions > 0]),
        "t2v": (truth.sum(0), np.ones(truth.shape[1], int)),
    }
    return {
        f"{direction}/recall_at_{k}": float(_hit_rate(true, annotated, k).mean())
        for direction, (true, annotated) in queries.items()
        for k in ks
    }


def informed_ceiling(
    truth: np.ndarray, visual_of_text: np.ndarray, ks: Sequence[int] = (1, 5, 10)
) -> dict[str, float]:
    """As `annotated_ceiling`, for a model that also knows how specific an item is: it ranks true items by how few
    of the other side they are true of, because an item that is true of n was annotated for this one with chance 1/n.

    That is what training on annotated pairs teaches beside the truth, so runs can pass `annotated_ceiling`, not this
    (but for what else wording gives away). Ties are drawn, with a fixed seed."""
    visual_of_text = _checked(truth, visual_of_text)
    annotated = np.zeros(truth.shape, bool)
    annotated[visual_of_text, np.arange(truth.shape[1])] = True
    rates = {}
    for direction, true, own in (("v2t", truth, annotated), ("t2v", truth.T, annotated.T)):
        specific = true.sum(0) + np.random.default_rng(0).random(true.shape[1])
        keys = np.where(true, specific, np.inf)
        best = np.where(own, keys, np.inf).min(1)
        asked = own.any(1)
        ranks = 1 + (keys < best[:, None]).sum(1)[asked]
        rates |= {f"{direction}/recall_at_{k}": float((ranks <= k).mean()) for k in ks}
    return rates


def _hit_rate(true: np.ndarray, annotated: np.ndarray, k: int) -> np.ndarray:
    """Chance (Q,) that k draws without replacement from `true` items hit one of the `annotated`."""
    missed = np.ones(len(true))
    for drawn in range(k):
        left = np.maximum(true - drawn, 1)
        missed *= np.clip((true - annotated - drawn) / left, 0, 1)
    return 1 - missed


def _checked(truth: np.ndarray, visual_of_text: np.ndarray) -> np.ndarray:
    visual_of_text = np.asarray(visual_of_text)
    if visual_of_text.shape != truth.shape[1:]:
        raise ValueError(
            f"visual_of_text must be ({truth.shape[1]},) for truth {truth.shape}, got {visual_of_text.shape}"
        )
    wrong = np.flatnonzero(~truth[visual_of_text, np.arange(truth.shape[1])])
    if len(wrong):
        raise ValueError(
            f"{len(wrong)} annotated pairs are not true; the first is text {wrong[0]} "
            f"of visual {visual_of_text[wrong[0]]}"
        )
    return visual_of_text
