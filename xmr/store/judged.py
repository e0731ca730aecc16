"""What verdicts say of a split, by the indices of its pairs: for training and for evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from xmr.data import DataFault, Dataset, Truth
from xmr.store.verdicts import ANSWERS, PairNames, Question, Tally, Verdict


@dataclass(frozen=True)
class Judged:
    """What is agreed on a split's pairs that are not annotated: `confirmed`, `refuted` and `unsure`, each (P, 2) int64 of
    visual and text, with every text that reads like a judged one, and
    how many verdicts fit the split or are of `others` (dataset and split in words: number)."""

    confirmed: np.ndarray
    refuted: np.ndarray
    unsure: np.ndarray
    fitting: int
    others: dict[str, int]

    def some(self, data: Dataset, visuals: np.ndarray) -> Judged:
        """What is agreed on the pairs of `data.some(visuals)`, by its indices."""
        texts = np.flatnonzero(np.isin(data.visual_of_text, visuals))

        def within(pairs: np.ndarray) -> np.ndarray:
            kept = pairs[np.isin(pairs[:, 0], visuals) & np.isin(pairs[:, 1], texts)]
            return np.stack([np.searchsorted(visuals, kept[:, 0]), np.searchsorted(texts, kept[:, 1])], 1)

        return replace(
            self, **{name: within(getattr(self, name)) for name in ("confirmed", "refuted", "unsure")}
        )

    @property
    def counts(self) -> dict[str, int]:
        """Verdicts that fit and that do not, and pairs by what is agreed, for a run to keep."""
        pairs = {name: len(getattr(self, name)) for name in ("confirmed", "refuted", "unsure")}
        return {"count": self.fitting, "others": sum(self.others.values()), **pairs}

    @property
    def words(self) -> str:
        """What was found, in a sentence's part."""
        text = f"{self.fitting:,} verdicts fit, {len(self.confirmed):,} pairs confirmed, {len(self.refuted):,} refuted"
        if self.others:
            left = ", ".join(f"{count:,} of {name}" for name, count in self.others.items())
            text += f"; of other data, not used: {left}"
        return text


def judged(path: str | Path, verdicts: Sequence[Verdict], data: Dataset) -> Judged:
    """What the verdicts read from `path` agree on in one split. Raises DataFault where none is of this split."""
    where = f"{data.name} ({data.split}, fingerprint {data.fingerprint})"
    names = PairNames(data)
    latest: dict[Question, dict[str, Verdict]] = {}  # of each person on texts that read alike the last
    fitting, others = 0, {}
    for verdict in verdicts:
        question = names.question(verdict.pair)
        if question is not None:
            said = latest.setdefault(question, {})
            before = said.get(verdict.judge, verdict)
            said[verdict.judge] = verdict if verdict.at >= before.at else before
            fitting += 1
        else:
            name = f"{verdict.dataset} ({verdict.split}, fingerprint {verdict.fingerprint[:40]})"
            if verdict.fingerprint == data.fingerprint:
                name = "pairs that there are not"
            others[name] = others.get(name, 0) + 1
    if not fitting:
        there = ", ".join(list(others)[:5]) or "none at all"
        raise DataFault(
            f"{path}: none of its {len(verdicts):,} verdicts is of {where}; it holds {there}. Judge pairs of this split, "
            "or load the data that was judged"
        )
    texts: dict[int, list[int]] = {}
    for text, first in enumerate(data.reading.tolist()):
        texts.setdefault(first, []).append(text)
    pairs: dict[str, list[tuple[int, int]]] = {answer: [] for answer in ANSWERS}
    for (visual, first), said in latest.items():
        own, answer = data.visual_group[visual], Tally.of(one.answer for one in said.values()).answer
        pairs[answer] += [(visual, text) for text in texts[first] if data.text_group[text] != own]
    return Judged(*(np.array(pairs[answer], np.int64).reshape(-1, 2) for answer in ANSWERS), fitting, others)


def among(pairs: np.ndarray, visuals: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Which pairs of the index vectors visuals (V,) and texts (T,) are among `pairs` (P, 2): (V, T) bool."""
    mask = np.zeros((len(visuals), len(texts)), bool)
    here = np.isin(pairs[:, 0], visuals) & np.isin(pairs[:, 1], texts)
    for visual, text in pairs[here]:
        mask[np.ix_(visuals == visual, texts == text)] = True
    return mask


def credited(data: Dataset, confirmed: np.ndarray) -> Truth:
    """What is annotated and the `confirmed` pairs (P, 2) as the truth of a split: all else does not match."""

    def block(visuals: np.ndarray, texts: np.ndarray) -> np.ndarray:
        annotated = data.visual_group[visuals][:, None] == data.text_group[texts]
        return (annotated | among(confirmed, visuals, texts)).astype(np.float32)

    def pairs(visuals: np.ndarray, texts: np.ndarray) -> np.ndarray:
        known = confirmed[:, 0] * len(data.captions) + confirmed[:, 1]
        asked = np.asarray(visuals, np.int64) * len(data.captions) + np.asarray(texts, np.int64)
        annotated = data.visual_group[visuals] == data.text_group[texts]
        return (annotated | np.isin(asked, known)).astype(np.float32)

    return Truth(block, pairs, complete=True, source="the annotation and confirmed verdicts")
