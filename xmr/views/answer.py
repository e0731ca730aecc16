"""What the search tab shows, as plain data: one query answered by several runs. No gradio here."""

from __future__ import annotations

from typing import Any

import numpy as np

from xmr.views.pictures import UPLOADS, film, gallery_picture, inline, picture
from xmr.views.query import Asked
from xmr.views.scales import MEANS, SCALES, Scale, Scores
from xmr.words import counted, fixed, percent
from xmr.workspace import Column, Result, Style, Workspace, overlap_at_k
from xmr.workspace.words import (
    difference_words,
    item_name,
    known_words,
    run_words,
    score_kinds,
    stage_words,
    status_words,
    text_words,
    unread_words,
    visual_words,
    words_of,
)


def answer(
    workspace: Workspace, asked: Asked, runs: list[str], baseline: str, k: int, scale: Scale = "raw"
) -> dict[str, Any]:
    """Everything that the result grid draws, scores on that scale: JSON-able, a few kB."""
    if not runs:
        return {"notice": "Pick at least one run in the sidebar."}
    query, split, direction = asked.query(), asked.split, asked.direction
    columns = workspace.search(query, runs, split, direction, k)
    same, own = workspace.annotation(query, split, direction)
    data = workspace.dataset(split)
    gallery = len(data.visual_ids) if direction == "t2v" else len(data.captions)
    base = next(column for column in columns if column.run == baseline)
    words = status_words(workspace, split, bool(len(own)))
    scales = {
        column.run: Scores(
            workspace, column.run, asked, query, scale, [result.score for result in column.results]
        )
        for column in columns
    }
    looks = workspace.styles(runs)
    drawn = [
        _column(workspace, asked, column, base, words, gallery, scales[column.run], looks[column.run])
        | {"differs": _differs(workspace, asked, same, column)}
        for column in columns
    ]
    present = {
        result.status for column in columns for result in (*column.results, column.annotated) if result
    }
    return {
        "query": _query(workspace, asked, same, own, [column.run for column in columns if not column.fault]),
        "direction": direction,
        "k": k,
        "gallery": gallery,
        "match": words_of(data).rank,
        "columns": drawn,
        "overlap": [[_share(a, b) for b in columns] for a in columns],
        "legend": [
            {"status": status, "words": word}
            for status, word in words.items()
            if status in present or (len(own) and (status == "annotated" or "unknown" not in words))
        ],
        "scale": {"name": SCALES[scale], "means": MEANS[scale].format(score_kinds(workspace, runs))},
        "terms": _terms(workspace, split, drawn),
        "headline": _headline(
            columns, words_of(data).rank, counted(gallery, words_of(data).gallery(direction))
        ),
    }


def _headline(columns: list[Column], match: str, gallery: str) -> str:
    """What the lists show, in a sentence or two."""
    answered = [column for column in columns if not column.fault]
    if not answered:
        return "No run can answer this query; each says why."
    placed = [(column.annotated.rank, column.run) for column in answered if column.annotated]
    if not placed:
        words = "No match is annotated for this query."
    else:
        by_rank = {rank: [run for at, run in placed if at == rank] for rank, _ in sorted(placed)}
        parts = [
            f"at rank {rank:,} for {'all runs' if len(named) == len(columns) > 1 else _and(named)}"
            for rank, named in by_rank.items()
        ]
        words = f"Of {gallery}, the {match} is {', '.join(parts)}."
    if len(answered) > 1:
        lists = [{result.index for result in column.results} for column in answered]
        both, all_of = set.intersection(*lists), max(map(len, lists))
        words += (
            f" {len(both)} of the first {all_of} are in {'both lists' if len(lists) == 2 else 'every list'}."
        )
    return words


def _and(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def _terms(workspace: Workspace, split: str, drawn: list[dict[str, Any]]) -> list[dict[str, str]]:
    """What the figures in the heads of the columns mean, of those that stand there."""
    match = "of its class" if workspace.dataset(split).classes is not None else "that its annotation names"
    means = {
        "R@1": f"% of the split's queries whose first result is one {match}",
        "true R@1": "% whose first result truly matches, annotated or not",
        "mAP": "mean average precision over the split's queries, in %",
    }
    names = [{part.rpartition(" ")[0] for part in column["about"].split(" · ")} for column in drawn]
    return [
        {"name": name, "means": text} for name, text in means.items() if any(name in own for own in names)
    ]


def _query(
    workspace: Workspace, asked: Asked, same: np.ndarray, own: np.ndarray, runs: list[str]
) -> dict[str, Any]:
    data = workspace.dataset(asked.split)
    if asked.kind == "upload":
        return {
            "kind": "Uploaded picture",
            "image": inline(UPLOADS.picture(asked.path)),
            "alt": "",
            "facts": "no match is annotated for it",
        }
    index = asked.index if asked.kind == "item" else None
    known = known_words(workspace, asked.split, asked.direction, same, own, index)
    if asked.kind == "text":
        alike = "a caption" if len(same) == 1 else f"{len(same):,} captions"
        read = f"reads like {alike} of the {asked.split} split"
        facts = read if len(same) else "free text: no match is annotated"
        facts = [facts, known, unread_words(workspace, asked.text, runs)]
        return {"kind": "Text", "text": asked.text, "facts": " · ".join(filter(None, facts))}
    words = words_of(data)
    if asked.direction == "t2v":
        image = gallery_picture(workspace, asked.split, asked.index)
        kind, name = words.text, item_name(workspace, asked.split, "v2t", asked.index)
        text = text_words(data, asked.index)
    else:
        image = picture(workspace, asked.split, asked.index)
        kind, name = words.visual, data.visual_ids[asked.index]
        text = visual_words(data, asked.index)
    kind = f"{kind.capitalize()} {name}"
    if asked.direction == "v2t" and not image and data.classes is None:
        kind += ", by its first caption"
    return {
        "kind": kind,
        "image": image,
        "film": film(workspace, asked.split, asked.index) if asked.direction == "v2t" else None,
        "alt": text,
        # A picture needs no words, but its class can't be seen.
        "text": text if not image or data.classes is not None else None,
        "facts": known,
    }


def _column(
    workspace: Workspace,
    asked: Asked,
    column: Column,
    base: Column,
    words: dict[str, str],
    gallery: int,
    scores: Scores,
    style: Style,
) -> dict[str, Any]:
    data = workspace.dataset(asked.split)
    match, truth = words_of(data).rank, data.truth
    complete = truth is not None and truth.complete
    metrics = workspace.metrics(column.run, asked.split)
    about = [
        f"{name} {fixed(100 * metrics[key], 1)}"
        for name, key in (
            ("R@1", f"{asked.direction}/recall_at_1"),
            ("true R@1", f"{asked.direction}/true_recall_at_1"),
            ("mAP", f"{asked.direction}/map"),
        )
        # Where much is not known, the recall among known pairs is far above what a reader would take it for.
        if key in metrics and (complete or name != "true R@1")
    ]
    matches = sum(result.status in ("annotated", "true") for result in column.results)
    hits = f"{matches} of {len(column.results)}" if column.annotated else ""
    if hits:
        hits = f"{hits} of its class" if data.classes is not None else f"{hits} match" if complete else ""
    places = {result.index: result.rank for result in base.results}
    tiles = [
        _tile(workspace, asked, result, words, places if column is not base else None, scores)
        for result in column.results
    ]
    best, inside = column.annotated, column.annotated in column.results
    return {
        "name": column.run,
        "colour": style.colour,
        "marker": style.marker,
        "setup": run_words(workspace, column.run),
        "stage": stage_words(workspace, column.run),
        "about": " · ".join(about) or f"no metrics of the {asked.split} split",
        "protocol": f"Share of the {asked.split} split's queries with a match at rank 1, in percent"
        + (
            ", by each caption's own annotation: there, captions that read alike do not share their matches"
            if workspace.read_elsewhere(asked.split)
            else ""
        ),
        "hits": hits,
        "rank": best.rank if best else None,
        "place": f"#{best.rank:,}" if best else "",
        "first": _first_stage(best) if best else None,
        "delta": _delta(column, base),
        "spoken": column.fault
        or (f"{match} at rank {best.rank:,} of {gallery:,}" if best else "no annotated match"),
        "fault": column.fault,
        "tiles": tiles,
        "pinned": _tile(workspace, asked, best, words, None, scores) if best and not inside else None,
    }


def _differs(workspace: Workspace, asked: Asked, same: np.ndarray, column: Column) -> str:
    """What is otherwise in the run's first result than was asked, where the world is known."""
    if not column.results:
        return ""
    query, first = int(same[0]) if len(same) else None, column.results[0].index
    told = difference_words(workspace, asked.split, asked.direction, query, first)
    return told and f"First: {told}."


def _delta(column: Column, base: Column) -> dict[str, str]:
    """How the annotated match moved against the baseline."""
    if column is base:
        return {"way": "none", "words": "baseline"}
    if column.annotated is None or base.annotated is None:
        return {"way": "none", "words": ""}
    gain = base.annotated.rank - column.annotated.rank
    if gain == 0:
        return {"way": "none", "words": "as the baseline"}
    way, word = ("up", "better") if gain > 0 else ("down", "worse")
    return {"way": way, "words": f"{counted(abs(gain), 'place')} {word}"}


def _tile(
    workspace: Workspace,
    asked: Asked,
    result: Result,
    words: dict[str, str],
    places: dict[int, int] | None,
    scores: Scores,
) -> dict[str, Any]:
    """One tile; `places` are the baseline's ranks, None for the baseline itself."""
    data = workspace.dataset(asked.split)
    if asked.direction == "t2v":
        caption = visual_words(data, result.index)
        image = picture(workspace, asked.split, result.index)
    else:
        caption, image = text_words(data, result.index), gallery_picture(workspace, asked.split, result.index)
    word, first = words[result.status], _first_stage(result)
    stages = f", {first['short']}" if first else ""
    # "Not a match" goes without a tag, unless it must be told from "not known".
    tags = {"annotated": words_of(data).tag, "true": "true"} | (
        {"neither": "no match"} if "unknown" in words else {}
    )
    return {
        "index": result.index,
        "id": result.id,
        "rank": f"{result.rank:,}",
        "score": scores.short(result.score),
        "status": result.status,
        "tag": tags.get(result.status),
        "image": image,
        "film": film(workspace, asked.split, result.index) if asked.direction == "t2v" else None,
        "caption": caption,
        "shift": _shift(result, places),
        "first": first,
        "label": f"Rank {result.rank:,}{stages}, {scores.spoken(result.score)}, {word}: {caption}",
    }


def _first_stage(result: Result) -> dict[str, str] | None:
    """Where the first stage of a run that re-ranks had put the item."""
    if result.first_rank is None:
        return None
    words = f"Rank {result.first_rank:,} by the first stage's embeddings, before its best were scored pair by pair"
    return {"short": f"1st stage #{result.first_rank:,}", "words": words}


def _shift(result: Result, places: dict[int, int] | None) -> dict[str, str] | None:
    if places is None:
        return None
    before = places.get(result.index)
    if before is None:
        return {"way": "new", "short": "new", "words": "not in the baseline's list"}
    if before == result.rank:
        return None
    way, arrow = ("up", "↑") if before > result.rank else ("down", "↓")
    return {
        "way": way,
        "short": f"{arrow}{abs(before - result.rank)}",
        "words": f"rank {before} in the baseline",
    }


def _share(a: Column, b: Column) -> dict[str, str]:
    if a.fault or b.fault:
        return {"share": "0", "percent": "–", "words": "one of them has no answer"}
    share = overlap_at_k(a, b)
    both = len({result.index for result in a.results} & {result.index for result in b.results})
    return {
        "share": f"{share:.2f}",  # for the style sheet
        "percent": percent(share),
        "words": f"{both} of {counted(max(len(a.results), len(b.results)), 'item')} in both lists of {a.run} and {b.run}",
    }
