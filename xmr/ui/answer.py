"""What the search tab shows, as plain data: one query answered by several runs. No gradio here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from xmr.checkpoints import trains_a_loss
from xmr.core import Direction
from xmr.ui.pictures import inline, open_picture, picture
from xmr.workspace import Column, Query, Result, Workspace, overlap_at_k


@dataclass(frozen=True)
class Asked:
    """The present query: small enough for a session's state. `place` is its place among the disagreements."""

    kind: Literal["item", "text", "upload"]
    split: str
    direction: Direction
    index: int = 0
    text: str = ""
    path: str = ""
    place: int = 0

    def query(self) -> Query:
        if self.kind == "item":
            return Query(index=self.index)
        return Query(text=self.text) if self.kind == "text" else Query(image=open_picture(self.path))


def answer(workspace: Workspace, asked: Asked, runs: list[str], baseline: str, k: int) -> dict[str, Any]:
    """Everything that the result grid draws: JSON-able, a few kB."""
    if not runs:
        return {"notice": "Pick at least one run in the sidebar."}
    query, split, direction = asked.query(), asked.split, asked.direction
    columns = workspace.search(query, runs, split, direction, k)
    same, own = workspace.annotation(query, split, direction)
    data = workspace.dataset(split)
    gallery = len(data.visual_ids) if direction == "t2v" else len(data.captions)
    base = next(column for column in columns if column.run == baseline)
    words = status_words(workspace, split, bool(len(own)))
    drawn = [_column(workspace, asked, column, base, words, gallery) for column in columns]
    present = {
        result.status for column in columns for result in (*column.results, column.annotated) if result
    }
    return {
        "query": _query(workspace, asked, same, own),
        "direction": direction,
        "k": k,
        "gallery": gallery,
        "columns": drawn,
        "overlap": [[_share(a, b) for b in columns] for a in columns],
        "legend": [
            {"status": status, "words": word}
            for status, word in words.items()
            if status in present or (len(own) and (status == "annotated" or "unknown" not in words))
        ],
        "summary": ". ".join(f"{column['name']}: {column['spoken']}" for column in drawn),
    }


def details(workspace: Workspace, asked: Asked, runs: list[str], index: int) -> dict[str, Any]:
    """The card of one gallery item: what it is, and where every run ranks it for the present query."""
    query, split, direction = asked.query(), asked.split, asked.direction
    data = workspace.dataset(split)
    visual = index if direction == "t2v" else int(data.visual_of_text[index])
    texts = np.flatnonzero(data.visual_of_text == visual)
    placed = {run: workspace.locate(query, run, split, direction, index) for run in runs}
    status = next(iter(placed.values())).status if placed else "unknown"
    _, own = workspace.annotation(query, split, direction)
    return {
        "index": index,
        "title": workspace.item_id(split, direction, index),
        "image": picture(workspace, split, visual),
        "captions": [data.captions[text] for text in texts],
        "marked": int(np.flatnonzero(texts == index)[0]) if direction == "v2t" else None,
        "status": status,
        "words": status_words(workspace, split, bool(len(own)))[status],
        "runs": [
            {
                "name": run,
                "colour": workspace.style(run).colour,
                "rank": f"{result.rank:,}",
                "score": f"{result.score:.3f}",
            }
            for run, result in placed.items()
        ],
        "use": f"Find captions for this {data.kind}"
        if direction == "t2v"
        else f"Find {data.kind}s for this caption",
    }


def status_words(workspace: Workspace, split: str, annotated: bool) -> dict[str, str]:
    """What each status is called, depending on how much can be known of this query."""
    unsure = "not annotated" if annotated else "nothing is known of this query's matches"
    if workspace.dataset(split).truth is None or not annotated:
        return {"annotated": "annotated match", "unknown": unsure}
    words = {"annotated": "annotated match", "true": "true, not annotated", "neither": "not a match"}
    return words if workspace.dataset(split).truth.complete else words | {"unknown": "not known"}


def first_caption(workspace: Workspace, split: str, visual: int) -> str:
    """What a visual shows, in its first caption's words; "" where it has none."""
    data = workspace.dataset(split)
    texts = np.flatnonzero(data.visual_of_text == visual)
    return data.captions[texts[0]] if len(texts) else ""


def _query(workspace: Workspace, asked: Asked, same: np.ndarray, own: np.ndarray) -> dict[str, Any]:
    data = workspace.dataset(asked.split)
    if asked.kind == "upload":
        source = inline(open_picture(asked.path))
        return {
            "kind": "Uploaded picture",
            "image": source,
            "alt": "",
            "facts": "no match is annotated for it",
        }
    if asked.kind == "text":
        facts = (
            f"reads like a caption of the {asked.split} split"
            if len(same)
            else "free text: no match is annotated"
        )
        return {"kind": "Text", "text": asked.text, "facts": f"{facts}{_known(workspace, asked, same, own)}"}
    known = _known(workspace, asked, same, own)
    if asked.direction == "t2v":
        name = workspace.item_id(asked.split, "v2t", asked.index)
        return {
            "kind": f"Caption {name}",
            "text": data.captions[asked.index],
            "facts": known.removeprefix(" · "),
        }
    image = picture(workspace, asked.split, asked.index)
    first = first_caption(workspace, asked.split, asked.index)
    return {
        "kind": f"{data.kind.capitalize()} {data.visual_ids[asked.index]}"
        + ("" if image else ", by its first caption"),
        "image": image,
        "alt": first,
        "text": None if image else first,
        "facts": known.removeprefix(" · "),
    }


def _known(workspace: Workspace, asked: Asked, same: np.ndarray, own: np.ndarray) -> str:
    """How many items are annotated as matching, and how many truly match."""
    if not len(own):
        return ""
    data = workspace.dataset(asked.split)
    gallery = len(data.visual_ids) if asked.direction == "t2v" else len(data.captions)
    noun = data.kind if asked.direction == "t2v" else "caption"
    text = f" · {len(own)} annotated {noun}{'s' if len(own) > 1 else ''}"
    known = workspace.truth(asked.split, asked.direction, same[:1], np.arange(gallery))
    if known is not None:
        true = int(np.nansum(known))
        if np.isnan(known).any():
            text += f" · {true - len(own):,} more known to match" if true > len(own) else ""
        elif asked.direction == "t2v":
            text += f" · true of {true:,} of {gallery:,}"
        else:
            text += f" · {true:,} of {gallery:,} captions are true of it"
    return text


def _column(
    workspace: Workspace, asked: Asked, column: Column, base: Column, words: dict[str, str], gallery: int
) -> dict[str, Any]:
    # Where every run is called by its loss, saying the loss again says nothing.
    alike = all(workspace.run(name).config.loss == name for name in workspace.trained)
    run, style = workspace.run(column.run), workspace.style(column.run)
    truth = workspace.dataset(asked.split).truth
    complete = truth is not None and truth.complete
    metrics = workspace.metrics(column.run, asked.split)
    about = [
        f"{name} {100 * metrics[key]:.1f}"
        for name, key in (
            ("R@1", f"{asked.direction}/recall_at_1"),
            ("true R@1", f"{asked.direction}/true_recall_at_1"),
        )
        # Where much is not known, the recall among known pairs is far above what a reader would take it for.
        if key in metrics and (complete or name == "R@1")
    ]
    matches = sum(result.status in ("annotated", "true") for result in column.results)
    hits = f"{matches} of {len(column.results)} match" if complete and column.annotated else ""
    places = {result.index: result.rank for result in base.results}
    tiles = [
        _tile(workspace, asked, result, words, places if column is not base else None)
        for result in column.results
    ]
    best, inside = column.annotated, column.annotated in column.results
    return {
        "name": column.run,
        "colour": style.colour,
        "marker": style.marker,
        "loss": run.about if not trains_a_loss(run) else "" if alike else run.config.loss,
        "about": " · ".join(about) or f"no metrics of the {asked.split} split",
        "protocol": f"Share of the {asked.split} split's queries with a match at rank 1, in percent",
        "hits": hits,
        "rank": best.rank if best else None,
        "place": f"#{best.rank:,}" if best else "",
        "delta": _delta(column, base),
        "spoken": column.fault
        or (f"annotated match at rank {best.rank:,} of {gallery:,}" if best else "no annotated match"),
        "fault": column.fault,
        "tiles": tiles,
        "pinned": _tile(workspace, asked, best, words, None) if best and not inside else None,
    }


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
    return {"way": way, "words": f"{abs(gain):,} place{'' if abs(gain) == 1 else 's'} {word}"}


def _tile(
    workspace: Workspace, asked: Asked, result: Result, words: dict[str, str], places: dict[int, int] | None
) -> dict[str, Any]:
    """One tile; `places` are the baseline's ranks, None for the baseline itself."""
    data = workspace.dataset(asked.split)
    if asked.direction == "t2v":
        caption = first_caption(workspace, asked.split, result.index)
        image = picture(workspace, asked.split, result.index)
    else:
        caption, image = data.captions[result.index], None
    word = words[result.status]
    # "Not a match" goes without a tag, unless it must be told from "not known".
    tags = {"annotated": "annotated", "true": "true"} | (
        {"neither": "no match"} if "unknown" in words else {}
    )
    return {
        "index": result.index,
        "id": result.id,
        "rank": f"{result.rank:,}",
        "score": f"{result.score:.3f}",
        "status": result.status,
        "tag": tags.get(result.status),
        "image": image,
        "caption": caption,
        "shift": _shift(result, places),
        "label": f"Rank {result.rank:,}, score {result.score:.3f}, {word}: {caption}",
    }


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
        "share": f"{share:.2f}",
        "percent": f"{100 * share:.0f} %",
        "words": f"{both} items in both lists of {a.run} and {b.run}",
    }
