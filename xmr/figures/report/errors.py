"""Which queries runs get right, and what stands in their way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from xmr.analysis import (
    Hubness,
    ScoredSide,
    buckets,
    hubness,
    missed_by_one,
    modality_gap,
    query_slicings,
    slice_differences,
    slice_means,
    true_but_unannotated,
)
from xmr.core import DIRECTIONS, Direction
from xmr.figures.errors import (
    buckets_figure,
    buckets_words,
    ranks_figure,
    ranks_words,
    slices_figure,
    slices_words,
)
from xmr.figures.hubs import hubness_figure, hubness_words
from xmr.figures.report.page import chart, columns, heading, paragraph, table
from xmr.figures.report.subject import Subject, share_cell
from xmr.words import fixed, percent
from xmr.workspace import TOP
from xmr.workspace.measured import relevance, sides, top
from xmr.workspace.result_words import signed
from xmr.workspace.words import words_of

SHOWN_SLICES = 12  # rows of the table of differences


def bucket_parts(subject: Subject) -> Iterator[str]:
    """Which queries runs get right together and alone, and how near the others come."""
    baseline, *others = subject.names
    for direction in DIRECTIONS:
        yield heading(subject.words(direction))
        ranks = {name: subject.ranks(name, direction) for name in subject.names}
        found = {
            f"B = {name}": buckets(np.stack([ranks[baseline], ranks[name]]), subject.k) for name in others
        }
        if len(others) != 1:
            title = f"all {len(ranks)} runs" if others else baseline
            found[title] = buckets(np.stack(list(ranks.values())), subject.k)
        first = next(iter(found.values()))
        pair = [baseline, others[0]] if others else [baseline]
        words = buckets_words(first, pair, subject.k) + (f" A is {baseline}." if others else "")
        drawn = [chart(buckets_figure(found), words, f"Queries by who is right, {subject.words(direction)}")]
        if others:
            a, b = ranks[baseline], ranks[others[0]]
            figure = ranks_figure(a, b, (baseline, others[0]))
            words = ranks_words(a, b, (baseline, others[0]))
            drawn.append(chart(figure, words, f"Ranks under two runs, {subject.words(direction)}"))
        yield columns(*drawn)
        rows, known = [], relevance(subject.workspace, subject.split, direction)
        for name in subject.names:
            _, _, query_group, gallery_group = sides(subject.workspace, name, subject.split, direction)
            near = [missed_by_one(ranks[name], k) for k in (1, TOP)]
            cells = [share_cell(int(one.sum()), len(one)) for one in near]
            best = top(subject.workspace, name, subject.split, direction)[:, 0]
            hidden = true_but_unannotated(best, query_group, gallery_group, known)
            judged = ~np.isnan(hidden)
            if subject.data.truth is not None:
                cells.append(share_cell(int(np.nansum(hidden)), int(judged.sum())))
            rows.append([subject.name(name), *cells])
        heads = ["run", "missed R@1 by one place", f"missed R@{TOP} by one place"]
        if subject.data.truth is not None:
            heads.append("top hit is true, not annotated")
        yield table(heads, rows, f"Near misses, {subject.words(direction)}")


def slice_parts(subject: Subject) -> Iterator[str]:
    """On which kinds of queries the runs are right, and where the first two differ."""
    data = subject.data
    labels = None if data.classes is None else [data.classes[group] for group in data.visual_group]
    baseline, *others = subject.names
    for direction in DIRECTIONS:
        slicings = query_slicings(
            data.captions, data.visual_of_text, direction, data.columns, labels, words=data.gallery_visuals is None
        )  # fmt: skip
        yield heading(subject.words(direction))
        if not slicings:
            yield paragraph("Nothing is known of these queries to slice them by.")
            continue
        right = {name: subject.hits(name, direction) for name in subject.names}
        visuals = subject.workspace.visual_of_query(subject.split, direction)
        drawn, rows = [], []
        for title, slicing in slicings.items():
            found = {name: slice_means(right[name], slicing, visuals, subject.seed) for name in subject.names}
            words = f"By {title}."
            if others:
                compared = {
                    name: slice_differences(right[baseline], right[name], slicing, visuals, subject.seed)
                    for name in others
                }
                words = slices_words(title, compared[others[0]], (baseline, others[0]))
                rows += [(name, title, one) for name, some in compared.items() for one in some]
            figure = slices_figure(found, subject.styles, f"R@{subject.k}, %")
            drawn.append(chart(figure, words, f"R@{subject.k} by {title}, {subject.words(direction)}"))
        yield columns(*drawn)
        rows = [row for row in rows if row[2].low > 0 or row[2].high < 0]
        rows.sort(key=lambda row: max(row[2].low, -row[2].high), reverse=True)
        if others:
            yield _difference_table(subject, rows, baseline, direction)


def _difference_table(
    subject: Subject, rows: Sequence[tuple[str, str, Any]], baseline: str, direction: Direction
) -> str:
    if not rows:
        return paragraph(f"Every interval of the difference to {baseline} holds 0 in these slices.")
    told = (
        f"Slices whose interval of the difference to {baseline} leaves out 0, the surest first: "
        f"{len(rows)}{f', of which {SHOWN_SLICES} are shown' if len(rows) > SHOWN_SLICES else ''}. Intervals are drawn by "
        "visual, with all of its queries. Nothing is corrected for the number of slices: some are there by chance."
    )
    cells = [
        [
            subject.name(name),
            (one.name, title),
            signed(one.mean),
            f"{signed(one.low)} … {signed(one.high)}",
            f"{one.count:,}",
        ]
        for name, title, one in rows[:SHOWN_SLICES]
    ]
    heads = ["run", "slice", f"R@{subject.k} minus {baseline}'s", "interval", "queries"]
    return paragraph(told, "quiet") + table(
        heads, cells, f"Slices that differ, {subject.words(direction)}", words=True
    )


def hub_parts(subject: Subject) -> Iterator[str]:
    """Items that are everywhere, items that are nowhere, and the gap between the modalities."""
    drawn, found = [], {}
    for direction in DIRECTIONS:
        count = len(subject.data.captions if direction == "v2t" else subject.data.visual_ids)
        found[direction] = {
            name: hubness(top(subject.workspace, name, subject.split, direction), count)
            for name in subject.names
        }
        figure = hubness_figure(found[direction], subject.styles)
        title = subject.words(direction)
        words = f"{title}: {hubness_words(found[direction], words_of(subject.data).gallery(direction))}"
        drawn.append(chart(figure, words, f"How often items are retrieved, {title}"))
    yield columns(*drawn)
    rows = []
    for name in subject.names:
        cells: list[Any] = []
        for direction in DIRECTIONS:
            one: Hubness = found[direction][name]
            cells += [f"{one.skewness:.2f}", percent(one.never), f"{one.counts.max():,}"]
        visual, text = subject.workspace.sides(name, subject.split)
        if isinstance(visual, ScoredSide):
            cells += ["", "", "", ""]
        else:
            gap = modality_gap(visual, text)
            values = (gap.distance, gap.within_visual, gap.within_text, gap.between)
            cells += ["" if np.isnan(value) else fixed(value, 3) for value in values]
        rows.append([subject.name(name), *cells])
    heads = ["run"]
    for direction in DIRECTIONS:
        way = subject.words(direction)
        heads += [f"{way}: skewness", "never retrieved", "most lists of one item"]
    heads += ["modality gap", f"cosine of {subject.data.kind}s", "of texts", "across"]
    yield table(heads, rows, "Hubs and modality gap")
    told = (
        f"Lists are the first {TOP} results of every query. The modality gap is the distance between the centroids of "
        "both sides; cosines are means over all pairs."
    )
    if any(not subject.workspace.run(name).independent for name in subject.names):
        told += " A run that scores pairs has no common space, so no gap."
    yield paragraph(told, "quiet")
