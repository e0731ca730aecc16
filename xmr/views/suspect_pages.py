"""One page of the false-negatives tab's list: its cards, what is judged of it, and the answers that come from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from xmr.store import ANSWERS
from xmr.views import judging
from xmr.views.suspect_cards import asked_card, cards_of, page_cards, pair_asked_for
from xmr.views.suspect_lists import Asked, Examined, NothingToShow, examine, page_of
from xmr.views.suspect_words import empty_words, selector_table, where_words
from xmr.views.values import cards, table
from xmr.views.verdicts import closed, panel, progress
from xmr.workspace import Workspace
from xmr.workspace.item_names import UnknownItem
from xmr.workspace.measurements import captions


class Listed(NamedTuple):
    """One page: the cards, the panel of verdicts, where in the list it is, and what the page is told by next time."""

    cards: dict[str, Any]
    panel: dict[str, Any]
    where: str
    shown: tuple[int, int] | None  # the first and the last place


def list_page(
    workspace: Workspace,
    asked: Asked,
    typed: str = "",
    names: tuple[str, str] = ("", ""),
    shown: tuple[int, int] | None = None,
    move: int = 0,
) -> Listed:
    """The page of the list that begins where `shown` (first and last place) does, or the one after (`move` 1) or before it (-1).
    `typed` is what stands in the box for the person's name, `names` are those of a pair asked for."""
    why = judging.why_closed(workspace)
    try:
        examined = examine(workspace, asked, whole=False)
        pinned = pair_asked_for(workspace, asked.split, *names)
        fault = ""
    except NothingToShow as error:
        return Listed(cards([]), closed(why or str(error)), "", None)
    except UnknownItem as error:
        pinned, fault = None, f" The pair asked for is not here: {error}."
    at = page_of(examined.listed, shown, move)
    try:
        first = [asked_card(workspace, asked, examined, pinned)] if pinned else []
        listing = [*first, *page_cards(workspace, asked, examined, at)]
    except (ValueError, OSError) as error:
        return Listed(cards([]), closed(why or f"{asked.run} can't be examined: {error}"), "", None)
    of = of_list(asked)
    pairs = [one.pair for one in listing if one.pair]
    kept = closed(why) if why else verdict_panel(workspace, asked, examined, typed, pairs)
    here = (int(at[0]), int(at[-1])) if len(at) else None
    found = cards(listing, empty_words(asked, examined), None if why else of)
    return Listed(found, kept, where_words(asked, examined.listed, at, examined.repeats) + fault, here)


def of_list(asked: Asked) -> dict[str, str]:
    """What an answer tells of its pair's list, and where to go on after the last card."""
    return {"run": asked.run, "split": asked.split, "direction": asked.direction, "onward": "fn-next"}


def verdict_panel(
    workspace: Workspace,
    asked: Asked,
    examined: Examined,
    typed: str,
    shown: Sequence[tuple[int, int]],
    taken: judging.Taken | None = None,
) -> dict[str, Any]:
    """What stands on the list and on the `shown` pairs, and what became of the answers that were `taken`."""
    judge, hint = judging.judge_of(workspace, typed, asked.owner)
    reading, places, stands = workspace.dataset(asked.split).reading, examined.places, examined.standing
    marks = {(v, t): examined.answers.mark((v, int(reading[t]))) for v, t in shown}
    mine = stands.mine[places] > 0
    agreed = {answer: int(stands.told(answer)[places].sum()) for answer in ANSWERS}
    done = progress(mine, agreed, examined.answers, judge)
    if taken is None:
        return panel(examined.answers, typed, judge, hint, of_list(asked), marks, done)
    said = f"{taken.said} {mine.sum():,} of {len(mine):,}." if taken.said else ""
    seen = cards_of(workspace, asked, examined, shown) if asked.blind else {}
    return panel(
        examined.answers, typed, judge, hint, of_list(asked), marks, done, taken.kept, taken.failed, said,
        taken.back, seen,
    )  # fmt: skip


def judge_pairs(
    workspace: Workspace, asked: Asked, typed: str, data: Any, splits: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keeps the answers of an event; what stands then, as `counted`. Raises ValueError on what is no event of ours."""
    items, refused = judging.read_items(workspace, data, splits)
    taken = judging.take(workspace, items, next(iter(asked.settings)), asked.owner)
    taken.failed[:0] = refused
    return counted(workspace, asked, typed, data, taken)


def counted(
    workspace: Workspace, asked: Asked, typed: str, data: Any, taken: judging.Taken | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The panel and the table of selectors with what everybody says, which the first view of a split may be without."""
    taken = taken or judging.Taken()
    try:
        examined = examine(workspace, asked)
    except NothingToShow as error:
        return closed(str(error), taken.kept, taken.failed), table([], [])
    shown = judging.shown_pairs(workspace, asked.split, data)
    kept = verdict_panel(workspace, asked, examined, typed, shown, taken)
    return kept, selector_table(examined, captions(workspace, asked.split).source)
