"""What the false-negatives tab says of selectors, suspects and lists, in words, badges and a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from xmr.analysis import PrecisionRecall, best_words, precision_recall
from xmr.selection import SELECTORS
from xmr.views.suspect_lists import ANY, Asked, Examined, listed_by
from xmr.views.values import Badge, table
from xmr.words import NOTHING, fixed, percent
from xmr.workspace import Workspace, style_at
from xmr.workspace.measurements import asks_peers, peers
from xmr.workspace.words import words_of

ALL = "all of them"  # the guess that every pair is suspected, beside the selectors
EMPTY = {
    "first": "None of these negatives is suspected by the first selector. Move its threshold, or list all.",
    "suspected": "None of these negatives is suspected. Move the thresholds, or list all.",
    "agreed": "No pair is suspected by all of these selectors.",
    "contested": "No pair is contested: where one of these selectors suspects, all do.",
    "only": "The first selector suspects no pair that no other does.",
    "missed": "No real match is missed: all of them are suspected.",
    "false": "No false alarm: every suspected pair really matches, as far as is known.",
}
OF_LIST = {
    "first": ", suspected by {first}",
    "suspected": ", suspected by any of {all}",
    "agreed": ", suspected by all of {all}",
    "contested": ", suspected by some of {all}",
    "only": ", suspected by {first}, not by {other}",
    "missed": ", real matches that none of {all} suspects",
    "false": ", suspected by any of {all}, and no match",
}
EMPTY_JUDGED = {
    "open": "You have judged all pairs of this list.",
    "yes": "No pair of this list is judged a match.",
    "no": "No pair of this list is judged no match.",
    "unsure": "On no pair of this list people are unsure.",
    "disputed": "People disagree on no pair of this list.",
}


def where_words(asked: Asked, listed: np.ndarray, page: np.ndarray, repeats: int = 0) -> str:
    """Where in the list a page is, of what the list is, and how many pairs are not asked again because their texts read
    like a listed one's."""
    words = "none"
    if len(page):
        at = int(np.searchsorted(listed, page[0]))
        words = f"{at + 1:,}–{at + len(page):,} of {len(listed):,}"
    words += OF_LIST.get(asked.listed, "").format(
        first=next(iter(asked.settings)), all=", ".join(asked.settings), other=asked.not_by
    )
    if repeats:
        words += f"; {repeats:,} more, whose texts read like a listed one's, are judged with it"
    return words


def empty_words(asked: Asked, examined: Examined) -> str:
    """Why the list is empty."""
    if len(examined.places):
        return EMPTY_JUDGED.get(asked.judged, "")
    if asked.listed == "only" and asked.not_by != ANY:
        return f"{next(iter(asked.settings))} suspects no pair that {asked.not_by} does not."
    return EMPTY.get(asked.listed, "")


def vote_badges(votes: Mapping[str, bool]) -> list[Badge]:
    """Whether one pair is suspected: by how many of the selectors, where there are several."""
    count = sum(votes.values())
    if not count:
        return []
    return [Badge("suspected" if len(votes) == 1 else f"suspected by {count} of {len(votes)}", "suspected")]


def vote_words(votes: Mapping[str, bool]) -> str:
    """Which selectors suspect one pair and which do not; "" where there is only one, or none does."""
    if len(votes) == 1 or not any(votes.values()):
        return ""
    yes, no = ([name for name, said in votes.items() if said == which] for which in (True, False))
    return f"Suspected by {', '.join(yes)}" + (f"; not by {', '.join(no)}" if no else "")


def selector_table(examined: Examined, source: str) -> dict[str, Any]:
    """One row per selector: how many it suspects, and how right it is where that is known, by truth or by verdicts."""
    masks, stands = examined.masks, examined.standing
    measured = {name: precision_recall(mask, examined.found.truth) for name, mask in masks.items()}
    columns = [
        ("selector", ""),
        ("suspected", "how many of the hardest negatives"),
        ("precision", "share of the suspected that really match"),
        ("recall", "share of the real matches among them that are suspected"),
        (
            "informedness",
            "recall less the share of the others that is suspected: 0 for suspecting all, or by chance",
        ),
    ]
    yes, no, once = stands.told("yes"), stands.told("no"), examined.once
    judged = bool((yes | no).any())
    if judged:
        columns.append(
            ("right as judged", "of the suspected that most people call a match or none, the matches")
        )
    first = next(iter(measured.values()))
    every = {}
    if first.known or judged:  # what a selector has to be better than
        every[ALL] = np.ones(len(yes), bool)
        measured[ALL] = precision_recall(every[ALL], examined.found.truth)
    rows = []
    for i, (name, mask) in enumerate((masks | every).items()):
        one = measured[name]
        cells = [f"{int(mask.sum()):,}", share(one.precision), share(one.recall)]
        cells.append(NOTHING if one.informedness is None else fixed(one.informedness, 2))
        if judged:
            right, of = int((mask & once & yes).sum()), int((mask & once & (yes | no)).sum())
            cells.append(f"{share(right / of)} ({right:,} of {of:,})" if of else "–")
        rows.append((name, None if name == ALL else style_at(i), cells))
    note = f"Similarity between captions: {source}."
    if not first.known:
        note = f"What really matches isn't known here, so precision, recall and informedness aren't either. {note}"
    elif first.unknown:
        note = f"{first.unknown:,} pairs of unknown truth are left out of precision, recall and informedness. {note}"
    return table(columns, rows, note)


def findings(
    run: str, masks: Mapping[str, np.ndarray], measured: Mapping[str, PrecisionRecall], truth: np.ndarray
) -> str:
    """What the selectors found among the hardest negatives, and how right they are, as far as is known."""
    first, mask = next(iter(masks.items()))
    one, count = measured[first], len(mask)
    flagged = int(mask.sum())
    text = (
        f"Of the {count:,} negatives that {run} pushes hardest, {flagged:,} ({share(flagged / count)}) are suspected "
        f"by {first}"
    )
    if one.known and one.precision is not None:
        text += f"; {share(one.precision)} of those truly match (precision), of all {share(one.base_rate)}"
    text += "."
    if one.known:
        surely = "are known to match" if one.unknown else "truly match"
        text += f" {one.matches:,} of the negatives {surely}"
        text += f"; {share(one.recall)} of them are found (recall)." if one.matches else "."
    else:
        text += " What really matches isn't known here."
    best = best_words(measured)
    if len(masks) == 1:
        return f"{text} {best}".strip()
    groups = {kind: listed_by(kind, masks, truth) for kind in ("suspected", "agreed", "contested")}
    text += (
        f" All {len(masks)} selectors agree on {groups['agreed'].sum():,} of the {groups['suspected'].sum():,} pairs "
        f"that any of them suspects; {groups['contested'].sum():,} are contested."
    )
    if one.known:
        right = {kind: precision_recall(group, truth).precision for kind, group in groups.items()}
        if right["agreed"] is not None and right["contested"] is not None:
            text += f" Of the agreed {share(right['agreed'])} truly match, of the contested {share(right['contested'])}."
    return f"{text} {best}".strip()


def about_selector(workspace: Workspace, run: str, selector: str) -> str:
    """The selector's caption, what it always suspects, and which runs it asks where it asks some."""
    text = SELECTORS[selector].caption
    if "text_keys" in SELECTORS[selector].needs:
        nouns = words_of(workspace.dataset())
        text += f" A {nouns.text} that reads like one of the {nouns.visual}'s own is always suspected."
    if not asks_peers(SELECTORS[selector]) or not run:
        return text
    others = peers(workspace, run)
    return f"{text} Asked: {', '.join(others)}." if others else f"{text} There is no other run to ask."


def share(value: float | None) -> str:
    """A share in percent, where it is known."""
    return NOTHING if value is None else percent(value)
