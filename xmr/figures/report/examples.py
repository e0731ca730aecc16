"""What runs find for some queries, and which of their hardest negatives are probably matches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from xmr.analysis import HardNegatives, best_words, precision_recall
from xmr.core import DIRECTIONS, Direction
from xmr.figures.report.page import Tile, heading, paragraph, query_grid, suspect_cards, table
from xmr.figures.report.subject import Subject, share_cell
from xmr.selection import DEFAULT, SELECTORS
from xmr.words import fixed, percent, score, significant
from xmr.workspace import Query
from xmr.workspace.measured import evidence, hard_negatives, suspects, visual_and_text
from xmr.workspace.words import status_words, text_words, words_of

EXAMPLES, POOL, RESULTS = 4, 60, 5  # queries shown of each direction, drawn from so many; results of each run
SUSPECTS = 6  # shown of each run


def example_parts(subject: Subject) -> Iterator[str]:
    """What the runs find for queries on which they disagree most, drawn by seed."""
    data, rng = subject.data, np.random.default_rng(subject.seed)
    yield paragraph(
        f"{EXAMPLES} queries of each direction, drawn (seed {subject.seed}) from the {POOL} on which the runs rank the "
        "match most differently: not typical ones."
        if len(subject.names) > 1
        else f"{EXAMPLES} queries of each direction, drawn (seed {subject.seed}) from the {POOL} worst ones: not typical."
    )
    for direction in DIRECTIONS[::-1]:
        yield heading(subject.words(direction))
        order = subject.workspace.disagreements(subject.names, subject.split, direction)[:POOL]
        for query in rng.choice(order, min(EXAMPLES, len(order)), replace=False).tolist():
            found = subject.workspace.search(
                Query(index=query), subject.names, subject.split, direction, RESULTS
            )
            answers = []
            for column in found:
                note = column.fault
                if column.annotated is not None:
                    note = f"{words_of(data).rank}: rank {column.annotated.rank:,}"
                tiles = [_tile(subject, result, direction) for result in column.results]
                answers.append((subject.name(column.run), note, tiles))
            if direction == "t2v":
                asked, said, picture = text_words(data, query), [], subject.gallery_picture(query)
            else:
                asked, picture = subject.visual_name(query), subject.picture(query)
                said = subject.said(query) if data.gallery_visuals is None and data.classes is None else []
            yield query_grid(asked, said, picture, answers)


def _tile(subject: Subject, result: Any, direction: Direction) -> Tile:
    known = status_words(subject.workspace, subject.split, True)
    badges = {status: known[status] for status in ("annotated", "true") if status in known}
    status = result.status if result.status in badges else ""
    if direction == "t2v":
        picture, words = subject.picture(result.index), subject.visual_name(result.index)
        said = subject.said(result.index)
        if not picture and said and subject.data.classes is None:
            words = f"{words}: {said[0]}"
    else:
        picture, words = subject.gallery_picture(result.index), text_words(subject.data, result.index)
    return Tile(result.rank, result.score, status, badges.get(result.status, ""), picture, words)


def suspect_parts(subject: Subject) -> Iterator[str]:
    """Which of the hardest negatives of each run are probably matches that nobody annotated."""
    data, workspace, split = subject.data, subject.workspace, subject.split
    if data.gallery_visuals is not None:
        yield paragraph("Selectors compare captions, and here pictures are compared with pictures.")
        return
    if not subject.trained:
        yield paragraph(
            "A combination of runs has no loss, so nothing says which negatives it pushes hardest."
        )
        return
    rows, cards, told = [], [], {}
    for name in subject.trained:
        try:
            found = hard_negatives(workspace, name, split, "t2v")
            mask = suspects(workspace, name, split, "t2v", DEFAULT, SELECTORS[DEFAULT].defaults)
            nearest, near = evidence(workspace, name, split, "t2v")
        except (ValueError, OSError) as error:
            yield paragraph(f"{name}: {error}", "warning")
            continue
        right = precision_recall(mask, found.truth)
        told[name] = best_words({DEFAULT: right})
        cells = [f"{len(found):,}", share_cell(int(mask.sum()), len(mask))]
        if data.truth is not None:
            cells += [
                share_cell(right.matches, right.known),
                "" if right.precision is None else percent(right.precision),
                "" if right.recall is None else percent(right.recall),
                "" if right.informedness is None else fixed(right.informedness, 2),
            ]
        rows.append([subject.name(name), *cells])
        chosen = np.flatnonzero(mask)[:SUSPECTS].tolist()
        cards.append((name, [_card(subject, found, at, int(nearest[at]), near[at]) for at in chosen]))
    yield paragraph(
        f"Of each run the negatives ({subject.words('t2v')}) that its loss pushes hardest over the whole split, and those "
        f"that {DEFAULT} suspects at its defaults: {SELECTORS[DEFAULT].caption}"
    )
    heads = ["run", "hard negatives", "suspected"]
    if data.truth is not None:
        heads += ["truly matches", "precision", "recall", "informedness"]
    if rows:
        yield table(heads, rows, "Suspected false negatives")
    for name, words in told.items():
        if words:
            yield paragraph(f"{name}: {words}")
    for name, shown in cards:
        yield heading(f"{name}: the heaviest suspects")
        yield suspect_cards(shown) if shown else paragraph("It pushes no pair that is suspected.")


def _card(
    subject: Subject, found: HardNegatives, at: int, own: int, likeness: float
) -> tuple[str, str, list[str]]:
    """A suspected pair: its picture, its caption, and lines about it; `own` is the nearest caption of its visual."""
    visuals, texts = visual_and_text(found, "t2v")
    visual = int(visuals[at])
    lines = [
        f"{subject.visual_name(visual)} · rank {found.rank[at]:,} · score {score(found.score[at])} · "
        f"weight {significant(found.weight[at])}"
    ]
    if own >= 0:
        lines.append(f"written for it: {subject.data.captions[own]} (similarity {fixed(likeness, 2)})")
    if not np.isnan(found.truth[at]):
        lines.append("truly a match" if found.truth[at] > 0 else "truly no match")
    return subject.picture(visual), subject.data.captions[texts[at]], lines
