"""Pair scorers on a whole split: their states, the scores of any of its pairs, and what they are measured by."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from xmr.data import Dataset
from xmr.data.choices import Choices, Question, picture
from xmr.embedding import (
    Inputs,
    Progress,
    as_kept,
    blocks,
    embed,
    embed_dataset,
    embed_texts,
    embed_visuals,
    run_inputs,
    text_states,
    visual_states,
)
from xmr.metrics import choice_accuracy, evaluate_embeddings, evaluate_scores, winoground_scores
from xmr.processes import rows_of, shares

if TYPE_CHECKING:
    from xmr.checkpoints import Run

ROWS = 64  # visuals scored at once
STATES = 512  # items read at once
VALIDATED = 250  # visuals of the validation split that a pair scorer is asked of
QUESTIONS = 64  # whose pictures are held at once


class Figure(NamedTuple):
    """The share of a file's questions that are answered, what is chosen, how many they are, and what chance answers."""

    file: str
    chosen: str
    questions: int
    right: float
    chance: float


@torch.no_grad()
def scored(matcher: Any, visual: Tensor, text: Tensor) -> np.ndarray:
    """Scores (V, T) float32 of a pair scorer's states, not rounded `as_kept`: what differs by a word differs by little."""
    return matcher.scores(visual, text).float().cpu().numpy()


@dataclass(frozen=True)
class ReadSplit:
    """A split as a pair scorer has read it: states of its visuals (N_v, …) and texts (N_t, …)."""

    matcher: Any
    visual: Tensor
    text: Tensor

    @torch.no_grad()
    def block(self, visuals: np.ndarray, texts: np.ndarray) -> np.ndarray:
        """Scores (V, T), `as_kept`, of the items of two index vectors."""
        return as_kept(self.matcher.scores(self.visual[visuals], self.text[texts]))

    def matrix(self, progress: Progress | None = None) -> np.ndarray:
        """Scores (N_v, N_t) float32 of all pairs, of which processes share the rows out."""
        count, every = len(self.visual), np.arange(len(self.text))

        def scored(rows: np.ndarray) -> np.ndarray:
            found = self.block(rows, every)
            if progress is not None:
                progress("score pairs", min(shares() * (rows[-1] + 1), count), count)
            return found

        return rows_of(blocks(count, ROWS), scored)


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


def sides_of(run: Run, data: Dataset, progress: Progress | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Unit embeddings of a split, (N_v, E) and (N_t, E): those that the run keeps of its own test split, else its
    matcher's, which another machine makes with other last bits. Raises as `xmr.embedding.embed_dataset`."""
    return run.embeddings() if keeps(run, data) else embed_dataset(run, data, progress)


def scores_of(run: Run, data: Dataset, progress: Progress | None = None) -> np.ndarray | None:
    """What a pair scorer says of all pairs of a split, (N_v, N_t), kept or made as in `sides_of`; else None."""
    if not run.scores_pairs:
        return None
    kept = run.scores() if keeps(run, data) else None
    return read_dataset(run, data, progress).matrix(progress) if kept is None else kept


def keeps(run: Run, data: Dataset) -> bool:
    """Whether the split is the test split that the run was measured on, whose embeddings are in its folder."""
    return data.split == "test" and run.dataset["fingerprints"].get("test") == data.fingerprint


def split_metrics(
    data: Dataset, visual: np.ndarray, text: np.ndarray, scores: np.ndarray | None = None
) -> dict[str, float]:
    """The metrics of a split by its unit embeddings, (N_v, E) and (N_t, E), or by all `scores` (N_v, N_t): of its
    annotation, with intervals by visual, and what class labels and the truth have to say."""
    groups = data.visual_group, data.text_group
    known = {"truth": data.truth, "classes": data.classes, "visual_of_text": data.visual_of_text}
    if scores is not None:
        return evaluate_scores(scores, *groups, **known)
    return evaluate_embeddings(visual, text, *groups, **known)


def judged_words(data: Dataset) -> str:
    """How little of a split its truth judges, and what that makes of the figures by it; "" where it knows all or is
    none."""
    if data.truth is None or data.truth.complete:
        return ""
    visuals, texts = len(data.visual_ids), len(data.captions)
    rows = (np.arange(start, min(start + 256, visuals)) for start in range(0, visuals, 256))
    judged = sum(int((~np.isnan(data.truth.block(some, np.arange(texts)))).sum()) for some in rows)
    return (
        f"“true” is among the pairs that are judged only ({data.truth.source}): {judged:,} of {visuals * texts:,}, "
        f"{judged / visuals:.3g} for each visual. Unjudged items are left out of those rankings (xinfAP but keeps their "
        "places), so these figures are no recall over the whole gallery."
    )


def choice_figures(
    run: Run, choices: Choices, folder: Path, progress: Progress | None = None
) -> list[Figure]:
    """How many of a file's questions a run answers, whose pictures lie in `folder`: one figure, of Winoground three.

    A pair scorer is asked by its scores. Raises DataFault where a picture can't be had, ValueError where no encoder can
    make what the run reads.
    """
    scores = []
    for start in range(0, len(choices.questions), QUESTIONS):
        some = choices.questions[start : start + QUESTIONS]
        scores.append(_scores_of_questions(run, some, [picture(question, folder) for question in some]))
        if progress is not None:
            progress(f"answer {choices.name} questions", start + len(some), len(choices.questions))
    flat = np.concatenate(scores)
    if choices.pairs:
        found = winoground_scores(flat.reshape(-1, 2, 2))
        chance = {"text": 1 / 4, "image": 1 / 4, "group": 1 / 6}
        return [
            Figure(choices.name, name, len(v), float(v.mean()), chance[name]) for name, v in found.items()
        ]
    counts = [len(question.captions) for question in choices.questions]
    right = np.concatenate([question.right for question in choices.questions])
    answered = choice_accuracy(flat, np.repeat(np.arange(len(counts)), counts), right)
    chance = [1 / math.comb(len(question.right), sum(question.right)) for question in choices.questions]
    return [Figure(choices.name, "caption", len(counts), float(answered.mean()), float(np.mean(chance)))]


def hard_figure(run: Run, data: Dataset, progress: Progress | None = None) -> Figure | None:
    """How many captions of a split a run scores above all hard wrong ones of their visual; None where there are none.

    Raises ValueError where no encoder can make what the run reads.
    """
    if not data.hard_captions:
        return None
    if run.scores_pairs:
        split, states = read_dataset(run, data, progress), text_states(run, data.hard_captions)
        split = ReadSplit(split.matcher, split.visual, joined([split.text, states]))
        asked = split.block
    else:
        visual, text = sides_of(run, data, progress)
        every = np.concatenate([text, embed_texts(run, data.hard_captions)])

        def asked(visuals: np.ndarray, texts: np.ndarray) -> np.ndarray:
            return visual[visuals] @ every[texts].T

    scores, right = [], []
    for one in np.unique(data.visual_of_hard):
        own, wrong = data.texts_of(int(one)), np.flatnonzero(data.visual_of_hard == one)
        found = asked(np.array([one]), np.r_[own, len(data.captions) + wrong])[0]
        scores += [np.r_[score, found[len(own) :]] for score in found[: len(own)]]
        right += [np.arange(1 + len(wrong)) == 0] * len(own)
    counts = [len(one) for one in right]
    questions = np.repeat(np.arange(len(right)), counts)
    answered = choice_accuracy(np.concatenate(scores), questions, np.concatenate(right))
    name = f"{data.name} ({data.split}), hard captions"
    return Figure(name, "caption", len(right), float(answered.mean()), float(np.mean(1 / np.array(counts))))


def _scores_of_questions(run: Run, questions: list[Question], pictures: list[Any]) -> np.ndarray:
    """Scores of each picture with each of its own captions, one after another."""
    captions = [caption for question in questions for caption in question.captions]
    owner = np.repeat(np.arange(len(questions)), [len(question.captions) for question in questions])
    if run.scores_pairs:
        read = ReadSplit(run.matcher(), visual_states(run, pictures), text_states(run, captions))
        return read.block(np.arange(len(questions)), np.arange(len(captions)))[
            owner, np.arange(len(captions))
        ]
    visual, text = embed_visuals(run, pictures), embed_texts(run, captions)
    return np.einsum("pe,pe->p", visual[owner], text)


def measure(
    matcher: Any, inputs: Inputs, data: Dataset
) -> tuple[dict[str, float], tuple[np.ndarray, np.ndarray], np.ndarray | None]:
    """The metrics of a split, its unit embeddings (N_v, E) and (N_t, E), and of a pair scorer all scores (N_v, N_t).

    Of a pair scorer the metrics are those of its scores, and the embeddings those of its first stage.
    """
    sides = embed(matcher, inputs)
    scores = read(matcher, inputs).matrix() if matcher.scores_pairs else None
    return split_metrics(data, *sides, scores), sides, scores


def validate(matcher: Any, inputs: Inputs, data: Dataset) -> dict[str, float]:
    """What the best epoch is chosen by: the metrics of a split against its annotation.

    Of a pair scorer they are those of `VALIDATED` visuals, evenly spread, and their captions: all pairs of a split after
    every epoch would take longer than the epoch.
    """
    if not matcher.scores_pairs:
        groups = data.visual_group, data.text_group
        return evaluate_embeddings(*embed(matcher, inputs), *groups, classes=data.classes)
    count = len(data.visual_ids)
    visuals = np.unique(np.linspace(0, count - 1, min(VALIDATED, count)).astype(int))
    texts = np.flatnonzero(np.isin(data.visual_of_text, visuals))
    scores = read(matcher, inputs.some(visuals, texts)).matrix()
    return evaluate_scores(scores, data.visual_group[visuals], data.text_group[texts], classes=data.classes)
