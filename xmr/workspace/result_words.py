"""How results read: cells of tables, findings in words, and the tables as CSV and LaTeX. No gradio, no plotly."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from xmr.comparison.tables import csv_text, latex_head, latex_table
from xmr.store.files import guarded
from xmr.workspace import Workspace
from xmr.workspace.results import LEVEL, Difference, Lead, Results
from xmr.workspace.words import words_of

NAMED = 4  # runs that a sentence names, before it counts the others


class Cell(NamedTuple):
    """What stands in a cell of a table, what stands smaller below it, and the number that it is sorted by."""

    text: str
    more: str = ""
    number: float = math.nan


MEANS = {
    "R@1": "queries whose match is the first result",
    "R@5": "queries with a match among the first 5 results",
    "R@10": "queries with a match among the first 10 results",
    "mAP": "mean average precision over all results",
    "true R@1": "queries whose first result truly matches, annotated or not",
    "true mAP@R": "mean average precision among the first R results, R the number of true matches",
    "median rank": "of the best annotated match of a query; less is better",
    "rsum": "sum of the six recalls of both directions",
    "mAP, both": "mean of both directions",
}


def direction_words(workspace: Workspace, split: str, direction: str) -> str:
    """The direction in words: "text → image"."""
    words = words_of(workspace.dataset(split))
    return words.t2v if direction == "t2v" else words.v2t


def total_title(shown: Results) -> str:
    """The title of the column of totals; mAP is also one of each direction."""
    return f"{shown.total}, both" if shown.total in shown.titles else shown.total


def estimate_titles(shown: Results) -> list[str]:
    return [*shown.titles, "median rank", total_title(shown)] if shown.titles else []


def estimate_cells(shown: Results, run: str) -> list[Cell]:
    """A run's metrics in per cent with their intervals, its median rank and its total, below `estimate_titles`."""
    cells = [
        Cell(f"{100 * one.mean:.1f}", f"{100 * one.low:.1f} – {100 * one.high:.1f}", one.mean)
        for one in shown.estimates[run].values()
    ]
    median, both = shown.medians[run], shown.totals[run]
    return [*cells, Cell(f"{median:g}", "", median), Cell(f"{both:.1f}", "", both)]


def difference_cells(shown: Results, run: str) -> list[Cell]:
    """A run's differences to the baseline in points: the interval, what the test says, and its p."""
    return [_difference_cell(one) for one in shown.tests[run].values()]


def _difference_cell(one: Difference) -> Cell:
    found = one.found
    mark, word = ("", "alike")
    if one.sure:
        mark, word = (" ↑", "better") if found.difference > 0 else (" ↓", "worse")
    more = f"{signed(found.low)} … {signed(found.high)},\n{word}, {chance(one.p)}"
    return Cell(f"{signed(found.difference)}{mark}", more, found.difference)


def signed(share: float) -> str:
    """A difference of shares in points, its sign always there."""
    return f"{100 * share:+.1f}".replace("-", "−")


def chance(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p {p:.3f}"


def difference_words(shown: Results) -> str:
    """What the table of differences holds."""
    others = len(shown.tests)
    return (
        f"Difference to {shown.baseline} in points, query by query: its 95% interval, and p of McNemar's exact test (hits) "
        f"or of sign flips (the others) after Holm's correction for {others} run{'s' if others > 1 else ''}. "
        f"↑ better, ↓ worse: p < {LEVEL}; alike: the test can't tell them apart."
    )


INTERVAL_WORDS = (
    "Per cent, with 95% intervals from 1,000 resamples of the queries. They tell how far other queries of the same kind "
    "would move the figures, not how far another seed of the training would. Every p is after Holm's correction."
)


def lead_words(found: Lead | None, shown: Results) -> str:
    """Who is best, whether the lead over the next one is more than chance, and who else may be as good."""
    if found is None:
        return "None of these runs could be measured." if shown.faults else "Nothing is measured yet."
    best = shown.estimates[found.best][found.title]
    value = f"{100 * best.mean:.1f}% ({100 * best.low:.1f} – {100 * best.high:.1f})"
    if not found.others:
        return f"{found.best}: {found.title} is {value}."
    second, one = next(iter(found.others.items()))
    gap = -100 * one.found.difference
    text = f"{found.best} is the best of {len(shown.estimates)} runs by {found.title}: {value}. "
    if one.sure:
        text += f"Its lead of {gap:.1f} points over the next one, {second}, is more than chance ({chance(one.p)})."
        return text
    text += f"Its lead of {gap:.1f} points over the next one, {second}, may be chance ({chance(one.p)})."
    rest = [name for name in found.alike if name != second]
    if rest:
        told = ", ".join(rest[:NAMED]) + (f" and {len(rest) - NAMED} more" if len(rest) > NAMED else "")
        text += f" Nor can the test tell it from {told}."
    worse = len(found.others) - len(found.alike)
    if worse:
        text += (
            f" It is surely better than {'the remaining one' if worse == 1 else f'the remaining {worse}'}."
        )
    return text


# ---- files -------------------------------------------------------------------------------------------------


def csv_of(workspace: Workspace, shown: Results) -> str:
    """A line for each run and metric, in per cent and points; the fields of a test are empty for the baseline. Names that a
    spreadsheet would take for formulas have an apostrophe before them."""
    data = workspace.dataset(shown.split)
    lines: list[dict[str, Any]] = []
    for run, found in shown.estimates.items():
        same = {"dataset": guarded(data.name), "split": shown.split, "fingerprint": data.fingerprint}
        same |= {"direction": shown.direction, "run": guarded(run)}
        for title, one in found.items():
            test = shown.tests.get(run, {}).get(title)
            lines.append(
                same
                | {
                    "metric": title,
                    "mean": _plain(one.mean),
                    "low": _plain(one.low),
                    "high": _plain(one.high),
                }
                | {
                    "baseline": guarded(shown.baseline) if test else "",
                    "difference": _plain(test.found.difference) if test else "",
                    "difference_low": _plain(test.found.low) if test else "",
                    "difference_high": _plain(test.found.high) if test else "",
                    "p": f"{test.found.p:.6g}" if test else "",
                    "p_holm": f"{test.p:.6g}" if test else "",
                    "queries": test.found.queries if test else "",
                }
            )
        empty = dict.fromkeys(list(lines[-1])[len(same) + 2 :], "")
        for title, value in (("median rank", shown.medians[run]), (total_title(shown), shown.totals[run])):
            lines.append(same | {"metric": title, "mean": f"{value:.6g}"} | empty)
    return csv_text(lines) if lines else ""


def latex_of(workspace: Workspace, shown: Results) -> str:
    """A `tabular` with booktabs's rules: means in per cent, arrows where a run surely differs from the baseline."""
    data = workspace.dataset(shown.split)
    rows = [["run", *estimate_titles(shown)]]
    for run in shown.estimates:
        marks = [""] * len(estimate_titles(shown))
        for at, cell in enumerate(difference_cells(shown, run) if run in shown.tests else ()):
            marks[at] = "".join(arrow for arrow in "↑↓" if arrow in cell.text)
        cells = [cell.text + mark for cell, mark in zip(estimate_cells(shown, run), marks, strict=True)]
        rows.append([_one_line(run) + (" (baseline)" if run == shown.baseline else ""), *cells])
    about = (
        f"{data.name}, {shown.split}, {direction_words(workspace, shown.split, shown.direction)}, fingerprint "
        f"{data.fingerprint}; arrows: p < {LEVEL} against {shown.baseline} after Holm's correction"
    )
    return f"{latex_head(_one_line(about))}\n{latex_table(rows)}\n"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _plain(share: float) -> str:
    return "" if math.isnan(share) else f"{100 * share:.4f}"
