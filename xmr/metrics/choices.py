"""Whether a model tells a visual's right caption from wrong ones that were written to be hard."""

from __future__ import annotations

from typing import Any

import numpy as np

from xmr.metrics.inputs import Array, array


@np.errstate(invalid="ignore")  # NaN stays NaN, and is above nothing
def choice_accuracy(scores: Array, question: Array, right: Array) -> np.ndarray:
    """1 where all right captions of a question score above all of its wrong ones, else 0: (Q,) float64, whose mean is the
    accuracy of SugarCrepe and ARO.

    scores (P,) float of a visual with one caption each; question (P,) int from 0 tells to which question a pair belongs,
    right (P,) bool whether its caption is right. Questions may have any number of captions, several right ones as in
    SugarCrepe++. A tie or NaN is no right answer. Of one right and n wrong captions chance is 1 / (n + 1).
    Raises ValueError where shapes or types don't fit, or a question has no right or no wrong caption.
    Reference: Hsieh et al., SugarCrepe, NeurIPS 2023, https://arxiv.org/abs/2306.14610; Yuksekgonul et al., When and why
    vision-language models behave like bags-of-words, ICLR 2023, https://arxiv.org/abs/2210.01936 (ARO).
    """
    scores, question, right = array(scores), array(question), array(right)
    _check_pairs(scores, question, right)
    count = int(question.max()) + 1
    asked = [np.bincount(question[part], minlength=count) for part in (right, ~right)]
    for few, what in zip(asked, ("right", "wrong"), strict=True):
        if (few == 0).any():
            raise ValueError(f"question {int((few == 0).argmax())} has no {what} caption")
    lowest, highest = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(lowest, question[right], scores[right])
    np.maximum.at(highest, question[~right], scores[~right])
    return (lowest > highest).astype(np.float64)


def winoground_scores(scores: Array) -> dict[str, np.ndarray]:
    """Whether each of two visuals with two captions finds its own: "text", "image" and "group", (N,) float64 of 1 or 0.

    scores (N, 2, 2) float, `scores[n, i, c]` of visual i and caption c of example n, where 0 and 0, and 1 and 1 belong
    together. text: each visual scores its caption above the other; image: each caption its visual; group: both. A tie or
    NaN is no right answer. Chance is 1/4, 1/4 and 1/6. Raises ValueError where the shape or type doesn't fit.
    Reference: Thrush et al., Winoground, CVPR 2022, https://arxiv.org/abs/2204.03162, section 4.1.
    """
    scores = array(scores)
    if scores.ndim != 3 or scores.shape[1:] != (2, 2) or not len(scores) or scores.dtype.kind != "f":
        raise ValueError(
            f"scores must be (N, 2, 2) float, example × visual × caption, found {scores.shape} {scores.dtype}"
        )
    own = scores[:, 0, 0], scores[:, 1, 1]
    text = (own[0] > scores[:, 0, 1]) & (own[1] > scores[:, 1, 0])
    image = (own[0] > scores[:, 1, 0]) & (own[1] > scores[:, 0, 1])
    return {
        name: found.astype(np.float64)
        for name, found in {"text": text, "image": image, "group": text & image}.items()
    }


def _check_pairs(scores: Any, question: Any, right: Any) -> None:
    if scores.ndim != 1 or not len(scores) or scores.dtype.kind != "f":
        raise ValueError(f"scores must be (P,) float that is not empty, found {scores.shape} {scores.dtype}")
    for name, values, kinds in (("question", question, "iu"), ("right", right, "b")):
        if values.shape != scores.shape or values.dtype.kind not in kinds:
            kind = "int" if kinds == "iu" else "bool"
            raise ValueError(
                f"{name} must be {scores.shape} {kind} as scores, found {values.shape} {values.dtype}"
            )
    if question.min() < 0:
        raise ValueError(f"question must count from 0, found {question.min()}")
