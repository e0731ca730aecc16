"""Cards of the false-negatives tab: hard negatives of a run, and a pair that was asked for by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from xmr.core import Direction
from xmr.views.pairs import alike_badges, text_side, truth_badges, visual_side
from xmr.views.suspect_lists import Asked, Examined
from xmr.views.suspect_words import vote_badges, vote_words
from xmr.views.values import Badge, Card, Side
from xmr.workspace import Workspace
from xmr.workspace.item_names import UnknownItem, find_item
from xmr.workspace.measurements import evidence, truth_of, visual_and_text
from xmr.workspace.words import words_of

ASKED = "The pair asked for"


def page_cards(workspace: Workspace, asked: Asked, examined: Examined, listed: Sequence[int]) -> list[Card]:
    """The cards of the pairs with these numbers in the list. Raises ValueError and OSError where there is no evidence."""
    return [_card(workspace, asked, examined, int(examined.places[at]), f"#{at + 1:,}") for at in listed]


def cards_of(
    workspace: Workspace, asked: Asked, examined: Examined, pairs: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], Card]:
    """The cards of those pairs as they are to be seen now, whether or not the list has them."""
    visuals, texts = (side[examined.places] for side in visual_and_text(examined.found, asked.direction))
    at = {pair: i for i, pair in enumerate(zip(visuals.tolist(), texts.tolist(), strict=True))}
    return {
        pair: page_cards(workspace, asked, examined, [at[pair]])[0]
        if pair in at
        else asked_card(workspace, asked, examined, pair)
        for pair in pairs
    }


def pair_asked_for(workspace: Workspace, split: str, visual: str, text: str) -> tuple[int, int] | None:
    """The pair (visual, text) of two names as links have them; None where no name is given. Raises UnknownItem."""
    if not visual and not text:
        return None
    found = dict(find_item(workspace, split, name) for name in (visual, text) if name)
    if len(found) != 2:
        raise UnknownItem("a pair is asked for by two names, visual:ID and caption:ID#N")
    return found["visual"], found["caption"]


def asked_card(workspace: Workspace, asked: Asked, examined: Examined, pair: tuple[int, int]) -> Card:
    """The card of a pair asked for, with what the run says of it whether or not it is among the hard negatives. As
    `page_cards`."""
    visuals, texts = visual_and_text(examined.found, asked.direction)
    places = np.flatnonzero((visuals == pair[0]) & (texts == pair[1]))
    if len(places):
        return _card(workspace, asked, examined, int(places[0]), ASKED, pinned=True)
    data = workspace.dataset(asked.split)
    query, candidate = pair if asked.direction == "v2t" else pair[::-1]
    row = workspace.scores(asked.run, asked.split, asked.direction, np.array([query]))[0]
    annotated = data.visual_group[pair[0]] == data.text_group[pair[1]]
    truth = truth_of(workspace, asked.split, *pair)
    judged = examined.answers.mine((pair[0], int(data.reading[pair[1]])))
    if asked.blind and not judged and not annotated:
        return _blind(workspace, asked, ASKED, pair, pinned=True)
    if annotated:
        badges = [Badge(words_of(data).match, "own")]
        note = f"Its {words_of(data).match} is known, so it is no negative, and there is nothing to judge."
    else:
        badges = truth_badges(truth, data.truth is not None) or [Badge("not annotated", "other")]
        badges = [*alike_badges(data, *pair), *badges]
        note = f"It is not among the {len(examined.found):,} negatives that {asked.run} pushes hardest."
    rank = 1 + int((row > row[candidate]).sum())
    numbers = [("score", f"{row[candidate]:.3f}"), ("rank", f"{rank:,}")]
    sides = _sides(workspace, asked.split, asked.direction, pair)
    return Card(ASKED, sides, numbers, badges, None, note, None if annotated else pair, True)


def _blind(workspace: Workspace, asked: Asked, name: str, pair: tuple[int, int], pinned: bool) -> Card:
    """Only what is to be judged: the two items, without what is known or guessed of them."""
    seen = tuple(
        replace(side, captions=[] if side.image else side.captions)
        if side.image and not side.quote
        else replace(side, image=None, film=None, note="")
        for side in _sides(workspace, asked.split, asked.direction, pair)
    )
    return Card(name, seen, [], [], None, "", pair, pinned)


def _card(
    workspace: Workspace, asked: Asked, examined: Examined, i: int, name: str, pinned: bool = False
) -> Card:
    found = examined.found
    visuals, texts = visual_and_text(found, asked.direction)
    pair = int(visuals[i]), int(texts[i])
    if not examined.open(asked, i):
        return _blind(workspace, asked, name, pair, pinned)
    nearest, near = evidence(workspace, asked.run, asked.split, asked.direction)
    data, clue = workspace.dataset(asked.split), None
    if nearest[i] >= 0:
        nouns = words_of(data)
        what = f"The {nouns.visual}'s nearest own {nouns.text}, similarity {near[i]:.2f}:"
        clue = what, data.captions[nearest[i]]
    numbers = [
        ("weight", f"{found.weight[i]:#.3g}"),
        ("score", f"{found.score[i]:.3f}"),
        ("rank", f"{found.rank[i]:,}"),
    ]
    votes = {name: bool(mask[i]) for name, mask in examined.masks.items()}
    truth = None if np.isnan(found.truth[i]) else float(found.truth[i])
    known = truth_badges(truth, data.truth is not None)
    badges = [*vote_badges(votes), *alike_badges(data, *pair), *known]
    note = vote_words(votes)
    if pinned:
        numbers = [("place by weight", f"#{i + 1:,}"), *numbers]
    sides = _sides(workspace, asked.split, asked.direction, pair)
    return Card(name, sides, numbers, badges or [Badge("not annotated", "other")], clue, note, pair, pinned)


def _sides(
    workspace: Workspace, split: str, direction: Direction, pair: tuple[int, int]
) -> tuple[Side, Side]:
    """The query first."""
    roles = ("query", "candidate") if direction == "v2t" else ("candidate", "query")
    picture = visual_side(workspace, split, pair[0], roles[0], own=3)
    caption = text_side(workspace, split, pair[1], roles[1])
    return (picture, caption) if direction == "v2t" else (caption, picture)
