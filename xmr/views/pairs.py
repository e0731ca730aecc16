"""Pairs of a split as cards: the two items, and what is known of their match."""

from __future__ import annotations

from xmr.core import Direction
from xmr.data import Dataset
from xmr.views.pictures import film, gallery_picture, picture
from xmr.views.values import Badge, Card, Side
from xmr.workspace import Workspace
from xmr.workspace.measurements import truth_of
from xmr.workspace.words import text_words, words_of


def visual_side(workspace: Workspace, split: str, index: int, role: str, own: int = 5) -> Side:
    """A visual as one side of a card, with the captions that were written for it."""
    data = workspace.dataset(split)
    shown = picture(workspace, split, index)
    written = [text_words(data, i) for i in data.texts_of(index)[:own]]
    return Side(role, data.visual_ids[index], shown, film(workspace, split, index), "", written)


def text_side(workspace: Workspace, split: str, index: int, role: str) -> Side:
    """An item of the second side as one side of a card: a picture, or a caption with the visual that it was written
    for."""
    data = workspace.dataset(split)
    if data.gallery_visuals is not None:
        return Side(role, data.captions[index], gallery_picture(workspace, split, index))
    visual = int(data.visual_of_text[index])
    shown = picture(workspace, split, visual)
    note = f"written for this {data.kind}" if shown and data.classes is None else ""
    words = text_words(data, index)
    return Side(role, data.visual_ids[visual], shown, film(workspace, split, visual), words, [], note)


def pair_card(
    workspace: Workspace,
    split: str,
    direction: Direction,
    query: int,
    item: int,
    name: str,
    numbers: list[tuple[str, str]],
) -> Card:
    """A query and an item of its gallery, the query first, with what is known of the pair."""
    data = workspace.dataset(split)
    if direction == "v2t":
        visual, text = query, item
        sides = (
            visual_side(workspace, split, query, "query", own=3),
            text_side(workspace, split, item, "candidate"),
        )
    else:
        visual, text = item, query
        sides = (
            text_side(workspace, split, query, "query"),
            visual_side(workspace, split, item, "candidate", own=3),
        )
    annotated = bool(data.visual_group[visual] == data.text_group[text])
    truth = truth_of(workspace, split, visual, text)
    badges = pair_badges(annotated, False, truth, data.truth is not None)
    return Card(name, sides, numbers, badges if annotated else [*alike_badges(data, visual, text), *badges])


def alike_badges(data: Dataset, visual: int, text: int) -> list[Badge]:
    """That a text reads like one that is annotated to the visual: Search counts it as a match."""
    own = data.reading[data.text_group == data.visual_group[visual]]
    return [Badge(f"reads like its own {words_of(data).text}", "own")] if data.reading[text] in own else []


def pair_badges(annotated: bool, suspected: bool, truth: float | None, known: bool) -> list[Badge]:
    """What is known of a pair, in words; `known` says whether the dataset knows any truth."""
    if annotated:
        return [Badge("annotated match", "own")]
    badges = [Badge("suspected", "suspected")] if suspected else []
    return [*badges, *truth_badges(truth, known)] or [Badge("not annotated", "other")]


def truth_badges(truth: float | None, known: bool) -> list[Badge]:
    """Whether an unannotated pair really matches, as far as is known."""
    if truth is not None:
        return [Badge("truly matches", "match") if truth > 0 else Badge("not a match", "other")]
    return [Badge("truth not known", "other")] if known else []
