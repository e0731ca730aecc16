"""What a dataset's items, their matches and its runs are called. No gradio here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from xmr.core import Direction
from xmr.data import Dataset
from xmr.embedding import kind_of_data
from xmr.workspace import DEPTH, Workspace


@dataclass(frozen=True)
class Words:
    """Names of an item of either side, of the two directions, and of a pair that is annotated as matching."""

    visual: str
    text: str
    t2v: str
    v2t: str
    match: str = "annotated match"
    tag: str = "annotated"
    rank: str = "annotated match"  # whose rank it is

    def gallery(self, direction: Direction) -> str:
        return self.visual if direction == "t2v" else self.text


def words_of(data: Dataset) -> Words:
    if data.gallery_visuals is not None:
        return Words(f"query {data.kind}", f"gallery {data.kind}", "gallery → query", "query → gallery")
    directions = f"text → {data.kind}", f"{data.kind} → text"
    if data.classes is not None:
        return Words(data.kind, "text", *directions, "same class", "same class", "first of its class")
    return Words(data.kind, "caption", *directions)


def status_words(workspace: Workspace, split: str, annotated: bool) -> dict[str, str]:
    """What each status is called, depending on how much can be known of this query."""
    data = workspace.dataset(split)
    match = words_of(data).match
    if data.classes is not None and annotated:
        return {"annotated": match, "unknown": "another class"}
    unsure = "not annotated" if annotated else "nothing is known of this query's matches"
    if data.truth is None or not annotated:
        return {"annotated": match, "unknown": unsure}
    words = {"annotated": match, "true": "true, not annotated", "neither": "not a match"}
    return words if data.truth.complete else words | {"unknown": "not known"}


def visual_words(data: Dataset, index: int) -> str:
    """What a visual shows: its class, else its first caption, else one of a visual of its group, else its id."""
    if data.classes is not None:
        return f"{data.classes[data.visual_group[index]]} · {data.visual_ids[index]}"
    texts = data.texts_of(index)
    if not len(texts):
        texts = np.flatnonzero(data.text_group == data.visual_group[index])
    return data.captions[texts[0]] if len(texts) else data.visual_ids[index]


def text_words(data: Dataset, index: int) -> str:
    """What an item of the second side says: its caption, and before it the class, where that is what it is about."""
    caption = data.captions[index]
    return caption if data.classes is None else f"{data.classes[data.text_group[index]]} · {caption}"


def item_name(workspace: Workspace, split: str, direction: Direction, index: int) -> str:
    """Name of a gallery item for people: its id, or what a picture of the second side is called."""
    data = workspace.dataset(split)
    named = data.gallery_visuals is not None and direction == "v2t"
    return data.captions[index] if named else workspace.item_id(split, direction, index)


def known_words(
    workspace: Workspace,
    split: str,
    direction: Direction,
    same: np.ndarray,
    own: np.ndarray,
    index: int | None = None,
) -> str:
    """How many items of the gallery are annotated as matching, whose they are where not all are of the item `index`
    itself, and how many truly match; "" where none is. `same` and `own` as of `Workspace.annotation`."""
    if not len(own):
        return ""
    data = workspace.dataset(split)
    noun = words_of(data).gallery(direction)
    gallery = len(data.visual_ids) if direction == "t2v" else len(data.captions)
    if data.classes is not None:
        return f"{len(own):,} of {gallery:,} {noun}s are of its class"
    text = f"{len(own):,} annotated {noun}{'s' if len(own) > 1 else ''}"
    if index is not None:
        mine = int(workspace.positives(split, direction, np.array([index])).sum())
        asks = words_of(data).text if direction == "t2v" else words_of(data).visual
        alike = "of captions that read alike" if direction == "t2v" else "that read alike"
        if mine < len(own):
            text += f", {mine:,} of this {asks}, {len(own) - mine:,} {alike}"
    known = workspace.known(split, direction, same, np.arange(gallery))
    if known is None:
        return text
    if np.isnan(known).any():
        more = int(np.nansum(np.delete(known, own)))
        return text + (f" · {more:,} more known to match" if more else "")
    true = int(known.sum())
    if direction == "t2v":
        return f"{text} · true of {true:,} of {gallery:,}"
    return f"{text} · {true:,} of {gallery:,} {noun}s are true of it"


def difference_words(
    workspace: Workspace, split: str, direction: Direction, query: int | None, item: int
) -> str:
    """What keeps a query (its place, or that of the caption which it reads like) and an item of the gallery from matching, as
    "a purple cone where a pink one was asked"; "" where no one knows."""
    truth = workspace.dataset(split).truth
    if truth is None or truth.differences is None or query is None:
        return ""
    asked = direction == "t2v"
    told = truth.differences(*((item, query) if asked else (query, item)), asked)
    return ", and ".join(told) or f"all that {'was asked' if asked else 'is said'}"


def unread_words(workspace: Workspace, text: str, runs: Sequence[str]) -> str:
    """What the runs do not read of a typed query: what is behind their last token, and words that they never met; "" where
    all of it is read."""
    found: dict[tuple[str, str], list[str]] = {}
    for name in runs:
        try:
            reads = workspace.embedder.run_reads(workspace.run(name), [text])
        except (ValueError, OSError):
            continue  # a run without its encoder: its column says so
        for read in reads:
            if read.cut:
                found.setdefault((f"only its first {read.limit} {read.unit} are read", "by"), []).append(name)
            if read.unknown:
                words = (
                    f"{read.unknown} of its {read.words} words"
                    if read.unknown < read.words
                    else "all its words"
                )
                found.setdefault((f"{words} unknown", "to"), []).append(name)
    return " · ".join(
        said if {*names} == {*runs} else f"{said} {to} {', '.join(dict.fromkeys(names))}"
        for (said, to), names in found.items()
    )


def run_words(workspace: Workspace, name: str) -> str:
    """What a run is: loss (where not every run is called by its own), matcher and kind of data."""
    run = workspace.run(name)
    kind = f"{kind_of_data(run)}s"
    if run.untrained or not run.has_loss:
        return f"{run.about} · {kind}"
    others = [workspace.run(other) for other in workspace.trained]
    alike = all(other.untrained or other.config.loss == other.name.partition(" (")[0] for other in others)
    asked = [f"seed {run.config.seed}, the middle one"] if len(run.each) > 1 else []
    return " · ".join([*([] if alike else [run.config.loss]), run.about, kind, *asked])


def score_kinds(workspace: Workspace, runs: Iterable[str]) -> str:
    """What the scores of these runs are: "cosine", or "cosine; of uncsm log-odds" where not all are of one kind."""
    of_kind: dict[str, list[str]] = {}
    for name in runs:
        of_kind.setdefault(workspace.run(name).score_kind, []).append(name)
    first, *others = sorted(of_kind, key=lambda kind: -len(of_kind[kind])) or [""]
    return "; ".join([first, *(f"of {', '.join(of_kind[kind])} {kind}" for kind in others)])


def stage_words(workspace: Workspace, name: str) -> str:
    """How a run that scores pairs searches; "" of the others."""
    return f"re-ranks the top {DEPTH} of its first stage" if workspace.run(name).scores_pairs else ""
