"""How results read: cells of tables, findings in words, and the tables as CSV and LaTeX. No gradio, no plotly."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from xmr.tables import csv_text, latex_text
from xmr.workspace import Workspace
from xmr.workspace.results import LEVEL, Difference, Estimate, Results, ZeroShot
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
    "ECCV mAP@R": "mean average precision among the first R results, R the number of matches by ECCV Caption",
    "ECCV R-precision": "share of matches by ECCV Caption among the first R results, R their number",
    "ECCV R@1": "queries whose first result matches by ECCV Caption",
    "CxC R@1": "queries whose first result matches by Crisscrossed Captions",
    "CxC R@5": "queries with a match by Crisscrossed Captions among the first 5 results",
    "CxC R@10": "queries with a match by Crisscrossed Captions among the first 10 results",
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
    """A run's metrics in per cent with their intervals, its median rank and its total, below `estimate_titles`; also
    those of a frozen encoder."""
    row = shown.zero_shot.get(run) or ZeroShot(shown.estimates[run], shown.medians[run], shown.totals[run])
    cells = [
        Cell(f"{100 * one.mean:.1f}", _interval(one.low, one.high), one.mean)
        for one in row.estimates.values()
    ]
    return [*cells, Cell(f"{row.median:g}", "", row.median), Cell(f"{row.total:.1f}", "", row.total)]


def _interval(low: float, high: float) -> str:
    return "no interval" if math.isnan(low) else f"{100 * low:.1f} – {100 * high:.1f}"


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
    text = (
        f"Difference to {shown.baseline} in points, query by query: its 95% interval, and p of flipping the signs of the "
        "differences' sums over each visual (exact for hits) after Holm's correction for "
        f"{others} comparison{'s' if others > 1 else ''} in each column"
    )
    lead = shown.lead
    if lead is not None and shown.comparisons[lead.title] > others:
        text += (
            f", in {lead.title} for {shown.comparisons[lead.title]}: also those with {lead.best}, of which the sentence "
            "above tells"
        )
    if shown.counts:
        text += (
            ". Where both have two seeds or more in common, the interval also holds that over these seeds, and p is the larger of "
            "this test's and a paired t-test's over them"
        )
    return f"{text}. ↑ better, ↓ worse{_on_seeds(shown, shown.seeds)}: p < {LEVEL}; alike: the test can't tell them apart."


def protocol_sentence(workspace: Workspace, shown: Results) -> str:
    """What the figures of one direction are of, and how far their intervals reach."""
    data = workspace.dataset(shown.split)
    words = words_of(data)
    counts = f"{len(data.visual_ids):,} {words.visual}s", f"{len(data.captions):,} {words.text}s"
    asking, gallery = counts if shown.direction == "v2t" else counts[::-1]
    with_all = f"{words.visual}s, each with all of its {words.text}s"
    drawn = with_all if shown.direction == "t2v" and len(data.captions) > len(data.visual_ids) else "queries"
    text = (
        f"{data.name}, split {shown.split}: {asking} ask among {gallery}. Per cent, with 95% intervals from 1,000 "
        f"resamples of the {drawn}. They tell how far other {words.visual}s of the same kind would move the figures, not "
        "how far another seed of the training would."
    )
    if shown.counts:
        text += " Of several seeds the figures are means over them, and an interval also holds that of other seeds (Student's t)."
    for truth in workspace.field_truths(shown.split).values():
        text += f" {truth.words}: only those have a figure by it."
    if shown.no_zero_shot:
        text += f" No zero-shot row: {shown.no_zero_shot}."
    if shown.awaited:
        text += " The frozen encoder's own row, zero-shot, follows."
    return text


def on_seed(seeds: Iterable[int]) -> str:
    """That what is said holds for these trainings: nothing where nothing was trained."""
    different = {*seeds}
    return "" if not different else " on this seed" if len(different) == 1 else " on these seeds"


def _on_seeds(shown: Results, names: Iterable[str]) -> str:
    """As `on_seed`, of these runs, of which some may have several."""
    return (
        " on these seeds"
        if shown.counts
        else on_seed(shown.seeds[one] for one in names if one in shown.seeds)
    )


def lead_words(shown: Results, visual: str) -> str:
    """Who is best, whether the lead over the next one is more than chance, who else may be as good, what other seeds say,
    and what the frozen encoder reaches; `visual` is what the test draws."""
    found = shown.lead
    if found is None:
        return "None of these runs could be measured." if shown.faults else "Nothing is measured yet."
    best = shown.estimates[found.best][found.title]
    text = f"{found.best}: {found.title} is {_value(best)}."
    if found.others:
        here = _on_seeds(shown, (found.best, *found.others))
        second, one = next(iter(found.others.items()))
        gap = -100 * one.found.difference
        text = f"{found.best} is the best of {len(shown.estimates)} runs by {found.title}{here}: {_value(best)}. "
        if gap == 0:
            text += f"The next one, {second}, has the same mean."
        else:
            count = shown.comparisons[found.title]
            by = f"{visual} and by seed" if {found.best, second} <= shown.counts.keys() else visual
            test = f"paired test by {by}" + (
                f", Holm's correction for {count} comparisons" if count > 1 else ""
            )
            says = f"is more than chance{here}" if one.sure else "may be chance"
            text += (
                f"Its lead of {gap:.1f} points over the next one, {second}, {says} ({chance(one.p)}: {test})."
            )
        rest = [name for name in found.alike if name != second]
        if rest:
            told = ", ".join(rest[:NAMED]) + (f" and {len(rest) - NAMED} more" if len(rest) > NAMED else "")
            text += f" Nor can the test tell it from {told}."
        worse = len(found.others) - len(found.alike)
        if rest and worse:
            text += f" It is better than {'the remaining one' if worse == 1 else f'the remaining {worse}'} by more than chance{here}."
    text += _seeds_words(shown, found.title)
    for name, row in shown.zero_shot.items():
        frozen = row.estimates[found.title]
        text += f" The frozen encoder itself ({name}) reaches {_value(frozen)}"
        text += ": no run does better." if frozen.mean >= best.mean else "."
    return text


def _seeds_words(shown: Results, title: str) -> str:
    """What the settings that were trained under several seeds reach, best first; "" where there is none."""
    found = {
        name: [100 * shown.estimates[run][title].mean for run in runs] for name, runs in shown.repeats.items()
    }
    ordered = sorted(found, key=lambda name: -sum(found[name]) / len(found[name]))
    if not ordered:
        return ""
    told = [
        f"{name} {sum(found[name]) / len(found[name]):.1f}% ({min(found[name]):.1f} – {max(found[name]):.1f}, {len(found[name])} seeds)"
        for name in ordered[:NAMED]
    ]
    text = f" Over seeds, mean and range: {', '.join(told)}"
    if len(ordered) > 1:
        first, second = ordered[:2]
        apart = min(found[first]) > max(found[second])
        text += f"; {'every seed' if apart else 'not every seed'} of {first} is above every one of {second}"
    return f"{text}."


def _value(one: Estimate) -> str:
    return f"{100 * one.mean:.1f}% ({_interval(one.low, one.high)})"


# ---- files -------------------------------------------------------------------------------------------------


CSV = (
    "dataset", "split", "fingerprint", "direction", "run", "metric", "mean", "low", "high", "baseline", "difference",
    "difference_low", "difference_high", "p", "p_holm", "queries", "visuals", "test", "comparisons",
)  # fmt: skip


def csv_of(workspace: Workspace, shown: Results) -> str:
    """A line for each run and metric, in per cent and points; the fields of a test are empty for the baseline."""
    data = workspace.dataset(shown.split)
    lines: list[dict[str, Any]] = []
    for run in (*shown.estimates, *shown.zero_shot):
        row = shown.zero_shot.get(run)
        found = shown.estimates[run] if row is None else row.estimates
        same = {"dataset": data.name, "split": shown.split, "fingerprint": data.fingerprint}
        same |= {"direction": shown.direction, "run": run}
        for title, one in found.items():
            ends = {"mean": _points(one.mean), "low": _points(one.low), "high": _points(one.high)}
            line = same | {"metric": title} | ends
            if test := shown.tests.get(run, {}).get(title):
                line |= {
                    "baseline": shown.baseline,
                    "difference": _points(test.found.difference),
                    "difference_low": _points(test.found.low),
                    "difference_high": _points(test.found.high),
                    "p": float(f"{test.found.p:.6g}"),
                    "p_holm": float(f"{test.p:.6g}"),
                    "queries": test.found.queries,
                    "visuals": test.found.visuals,
                    "test": test.found.test,
                    "comparisons": shown.comparisons[title],
                }
            lines.append(line)
        median, both = (shown.medians[run], shown.totals[run]) if row is None else (row.median, row.total)
        for title, value in (("median rank", median), (total_title(shown), both)):
            lines.append(same | {"metric": title, "mean": float(f"{value:.6g}")})
    return csv_text(lines, CSV) if lines else ""


def latex_of(workspace: Workspace, shown: Results) -> str:
    """A `tabular` with booktabs's rules: means in per cent, arrows where a run surely differs from the baseline."""
    data = workspace.dataset(shown.split)
    rows = [["run", *estimate_titles(shown)]]
    for run in (*shown.estimates, *shown.zero_shot):
        marks = [""] * len(estimate_titles(shown))
        for at, cell in enumerate(difference_cells(shown, run) if run in shown.tests else ()):
            marks[at] = "".join(arrow for arrow in "↑↓" if arrow in cell.text)
        cells = [cell.text + mark for cell, mark in zip(estimate_cells(shown, run), marks, strict=True)]
        rows.append([run + (" (baseline)" if run == shown.baseline else ""), *cells])
    about = (
        f"{data.name}, {shown.split}, {direction_words(workspace, shown.split, shown.direction)}, fingerprint "
        f"{data.fingerprint}; arrows: p < {LEVEL} against {shown.baseline}, sign flips by visual after Holm's correction"
    )
    return latex_text([about, rows])


def _points(share: float) -> float:
    return round(100 * share, 4)
