"""When each of the compared runs learned a query, and when it forgot it: of the sample that snapshots keep. No gradio here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from xmr.analysis import lasting, learned
from xmr.views.error_lists import Asked
from xmr.workspace import Workspace
from xmr.workspace.replay import SPLIT, epochs, ranks_through, replayable, sample, steps_of
from xmr.workspace.words import words_of

ALL = "sample"
KINDS = {"early": "learned early", "late": "learned late", "forgotten": "forgotten", "never": "never right"}


@dataclass(frozen=True)
class History:
    """Who was right at a run's moments, by a match among the first k of the sample: `right` (M, Q) bool of the `queries` (Q,) of
    the split, ascending; `epochs` (M,) when that was; `kinds` of queries by how they were learned (`KINDS`)."""

    run: str
    queries: np.ndarray
    right: np.ndarray
    epochs: np.ndarray
    kinds: dict[str, np.ndarray]


def histories(workspace: Workspace, asked: Asked) -> dict[str, History]:
    """The histories of those of the compared runs that have one, by their letters; of the annotation alone."""
    if asked.split != SPLIT or asked.counted != "annotation" or not len(sample(workspace)[0]):
        return {}
    queries = sample(workspace)[0 if asked.direction == "v2t" else 1]
    found = {}
    for run, letter in asked.letters.items():
        if run not in replayable(workspace):
            continue
        ranks = ranks_through(workspace, run, asked.direction)
        known = ~np.isnan(ranks[-1])
        right = ranks[:, known] <= asked.k
        kinds = {name: queries[known][own] for name, own in learned(right, steps_of(workspace, run)).items()}
        found[letter] = History(run, queries[known], right, epochs(workspace, run), kinds)
    return found


def options(found: dict[str, History]) -> list[tuple[str, str]]:
    """What the list can be narrowed to, with how many queries that are, as an address holds it."""
    if not found:
        return []
    count = len(next(iter(found.values())).queries)
    return [(f"all of the sample · {count:,}", ALL)] + [
        (f"{letter} {KINDS[kind]} · {len(queries):,}", f"{letter}-{kind}")
        for letter, one in found.items()
        for kind, queries in one.kinds.items()
    ]


def narrowed(found: dict[str, History], wanted: str) -> np.ndarray | None:
    """The queries that one of the `options` lists; None where it is none of them."""
    if wanted == ALL and found:
        return next(iter(found.values())).queries
    letter, _, kind = wanted.partition("-")
    return found[letter].kinds.get(kind) if letter in found else None


def named(wanted: str) -> str:
    """One of the `options` as a filter is called."""
    letter, _, kind = wanted.partition("-")
    return "in the sample" if wanted == ALL else f"{letter} {KINDS[kind]}"


def strips(found: dict[str, History], query: int) -> list[dict[str, Any]]:
    """Of a query of the sample, for each run who was right when, and that in words; nothing of the others."""
    drawn = []
    for letter, one in found.items():
        place = int(np.searchsorted(one.queries, query))
        if place < len(one.queries) and one.queries[place] == query:
            right = one.right[:, place]
            drawn.append({"letter": letter, "right": right.tolist(), "said": _said(right, one.epochs)})
    return drawn


def _said(right: np.ndarray, when: np.ndarray) -> str:
    if right[-1]:
        since = int(lasting(right[:, None])[0])
        return "right from the start" if since == 0 else f"right since epoch {when[since]:.3g}"
    times = np.flatnonzero(right[1:]) + 1
    return f"forgotten after epoch {when[times[-1]]:.3g}" if len(times) else "never right"


def about(workspace: Workspace, asked: Asked, found: dict[str, History]) -> str:
    """What the strips tell; "" where there are none."""
    if not found:
        return ""
    visuals, texts = sample(workspace)
    words, count = words_of(workspace.dataset(asked.split)), len(next(iter(found.values())).queries)
    gallery = (
        f"{len(visuals):,} {words.visual}s" if asked.direction == "t2v" else f"{len(texts):,} {words.text}s"
    )
    return (
        f" {count:,} queries are in the sample that snapshots keep. They have a strip: at which moments of training, ever "
        f"farther apart, a match was among the first {asked.k} of the sample's {gallery}."
    )
