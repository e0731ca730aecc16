"""A comparison as files: Markdown to read, CSV to compute with, LaTeX to print, a page of HTML to look at.

With several matchers the tables of matcher × loss come first: one for each metric, in it a row for each matcher.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from xmr.core import DIRECTIONS
from xmr.experiments.intervals import LEVEL, Cell
from xmr.experiments.outcomes import CLASSES, METRICS, RECALLS, TRUTHS, Comparison, Outcome, Record
from xmr.experiments.plot import page
from xmr.tables import Rows, csv_text, latex_text, markdown_table

# What a grid has a table for, where some cell has it: beside rsum, or beside the mAPs of class labels.
OF_A_GRID = [
    f"{direction}/{name}"
    for name in ("recall_at_1", "true_map_at_r", "true_ndcg", "true_xinf_ap")
    for direction in DIRECTIONS
]


def files(
    comparisons: Sequence[Comparison], losses: Sequence[str], data: str, command: str
) -> dict[str, str]:
    """The whole report by the endings of its files; `losses` are the rows in the order that was asked for, and `data`
    the name of the dataset."""
    one, *others = comparisons
    about = [f"    {command}", *([] if others else one.about)]
    if others:
        title = f"{len(comparisons)} matchers × {len(losses)} losses on {data}"
        text = grid_markdown(comparisons, losses, title, about)
    else:
        title = f"{len(one.outcomes)} losses on {data}"
        text = markdown(one, title, about)
    parts: list[Rows | str] = [command, *(grid_tables(comparisons, losses) if others else [])]
    rows = []
    for each in comparisons:
        parts += [each.matcher] if others and each.outcomes else []
        parts += tables(each) if each.outcomes else []
        rows += [({"matcher": each.matcher} if others else {}) | row for row in csv_rows(each)]
    return {
        ".md": text,
        ".csv": csv_text(rows),
        ".tex": latex_text(parts),
        ".html": page(comparisons, title, about),
    }


# ---- one matcher -------------------------------------------------------------------------------------------


def markdown(one: Comparison, title: str, about: Sequence[str], level: int = 1) -> str:
    """`title` as a heading of that `level`, the paragraphs `about`, what differs in words, and the tables."""
    base = one.baseline
    parts = [f"{'#' * level} {title}", *about, *verdicts(one)]
    parts += [markdown_table(rows) for rows in tables(one)]
    parts.append(
        f"Means over the seeds ± half of the {1 - LEVEL:.0%} interval (Student t), recalls in per cent. Δ: mean "
        f"difference to {base}, seed by seed. ↑ ↓: above or below {base} in a paired t-test, p < {LEVEL} after "
        "Holm's correction for the number of losses, in each column on its own. All this is about other seeds."
    )
    if _tested_by_visual(one):
        parts.append(
            "p by visual: whether other test visuals would show the difference in rsum, by flipping the signs of the "
            "visuals' differences (each with all of its texts, summed over the seeds), after Holm's correction too."
        )
    if edge := at_the_edge(one.outcomes):
        parts.append(
            f"The highest or lowest learning rate tried was the best for {', '.join(edge)}: a wider search might raise "
            "them further."
        )
    return "\n\n".join(parts) + "\n"


def verdicts(one: Comparison) -> list[str]:
    """A sentence for rsum or the classes' mAP, and one for each direction's true mAP@R where it is known: how many
    losses differ."""
    told = []
    for metric in one.told():
        cells = {loss: row[metric] for loss, row in one.cells.items() if metric in row}
        tested = [loss for loss, cell in cells.items() if not math.isnan(cell.p_holm)]
        if not tested:
            continue
        found = {how: [loss for loss in tested if cells[loss].arrow == how] for how in (" ↑", " ↓")}
        count = sum(map(len, found.values()))
        verb = "differs" if count == 1 else "differ"
        text = f"{METRICS[metric][0]}: {count or 'none'} of {len(tested)} losses {verb} from {one.baseline}"
        for how, word in ((" ↑", "above"), (" ↓", "below")):
            text += f"; {word} it: {', '.join(found[how])}" if found[how] else ""
        told.append(f"{text}.")
    return told


def at_the_edge(outcomes: Sequence[Outcome]) -> list[str]:
    """Losses whose search ended at the highest or the lowest of its learning rates."""
    found = []
    for outcome in outcomes:
        rates = [record.lr for record in outcome.searched]
        best = outcome.chosen
        if best and rates and min(rates) < max(rates) and best.lr in (min(rates), max(rates)):
            found.append(outcome.loss)
    return found


def tables(one: Comparison) -> list[Rows]:
    """Annotated recall with the settings, then the truth where it is known."""
    head, *others = annotated = list(CLASSES if one.labelled else RECALLS)
    title, known, by_visual = METRICS[head][0], one.known(TRUTHS), _tested_by_visual(one)
    diverged = any(_diverged(outcome) for outcome in one.rows.values())
    first = [["loss", title, f"Δ {title}", "p (Holm)", *(["p by visual (Holm)"] if by_visual else [])]]
    first[0] += [*(METRICS[metric][0] for metric in others), "setting", *(["diverged"] if diverged else [])]
    second = [["loss", *(METRICS[metric][0] for metric in known)]]
    for loss, row in one.cells.items():
        name, main = _name(loss, one.baseline), row.get(head, Cell(math.nan, math.nan))
        numbers = [number(row.get(metric)) for metric in annotated]
        tested = [_signed(main.difference), _p(main.p_holm), *([_p(main.p_visual_holm)] if by_visual else [])]
        last = [setting(one.rows[loss]), *([_diverged(one.rows[loss])] if diverged else [])]
        first.append([name, numbers[0], *tested, *numbers[1:], *last])
        second.append([name, *(number(row.get(metric)) for metric in known)])
    return [first, second] if known else [first]


def csv_rows(one: Comparison) -> list[dict[str, Any]]:
    """A row for every loss and metric; recalls in per cent, NaN where there is no number."""
    rows: list[dict[str, Any]] = []
    for loss, cells in one.cells.items():
        outcome, best = one.rows[loss], one.rows[loss].chosen
        search = {
            "lr": best and best.lr,
            "params": best and json.dumps(best.params),
            f"validation_{one.figure}": best and best.score,
            "trials": len(outcome.searched),
            "diverged_trials": _failed(outcome.searched),
            "diverged_seeds": _failed(outcome.tested),
            "seconds": round(sum(record.seconds for record in outcome.records), 1),
        }
        for metric, cell in (cells or {one.figure: Cell(math.nan, math.nan)}).items():
            ends = {"mean": cell.mean, "low": cell.mean - cell.half, "high": cell.mean + cell.half}
            tests = ("difference", "p", "p_holm", "p_visual", "p_visual_holm", "seeds")
            numbers = {name: getattr(cell, name) for name in tests}
            rows.append({"loss": loss, "metric": metric} | ends | numbers | search)
    return rows


# ---- several matchers --------------------------------------------------------------------------------------


def grid_tables(comparisons: Sequence[Comparison], losses: Sequence[str]) -> list[Rows]:
    """A table for each metric, in it a row for each matcher and a column for each loss.

    A cell is empty where the loss does not go with the matcher and the data, "diverged" where no training succeeded.
    """
    base = comparisons[0].baseline
    own = CLASSES if any(one.labelled for one in comparisons) else ["rsum"]
    made = []
    for metric in dict.fromkeys([*own, *OF_A_GRID]):
        if any(one.known([metric]) for one in comparisons):
            rows = [[METRICS[metric][0], *(_name(loss, base) for loss in losses)]]
            for one in comparisons:
                found = [one.cells.get(loss, {"": None}) for loss in losses]
                rows.append([one.matcher, *(number(row.get(metric)) if row else "diverged" for row in found)])
            made.append(rows)
    return made


def grid_markdown(
    comparisons: Sequence[Comparison], losses: Sequence[str], title: str, about: Sequence[str]
) -> str:
    """The tables of all matchers, then each matcher's own report."""
    parts = [f"# {title}", *about, *map(markdown_table, grid_tables(comparisons, losses))]
    parts.append(
        f"Means over the seeds ± half of the {1 - LEVEL:.0%} interval (Student t), in per cent but for rsum. ↑ ↓: above "
        f"or below {comparisons[0].baseline} with the same matcher in a paired t-test, p < {LEVEL} after Holm's "
        "correction for the number of losses, for each matcher on its own. An empty cell: the loss does not go with the "
        "matcher or the data."
    )
    for one in comparisons:
        if one.outcomes:
            parts.append(markdown(one, one.matcher, one.about, level=2).rstrip())
        else:
            parts += [f"## {one.matcher}", *one.about]
    return "\n\n".join(parts) + "\n"


# ---- cells -------------------------------------------------------------------------------------------------


def number(cell: Cell | None) -> str:
    """Mean ± half of the interval, with an arrow where it differs from the baseline; nothing for None."""
    if cell is None:
        return ""
    return f"{cell.mean:.1f}" + plus_minus(cell.half) + cell.arrow


def plus_minus(half: float) -> str:
    return "" if math.isnan(half) else f" ± {half:.1f}"


def setting(outcome: Outcome) -> str:
    """The chosen learning rate and parameters, of the parameters those that were searched."""
    best = outcome.chosen
    if outcome.frozen:
        return "the frozen encoder, no training"
    if best is None:
        return "none: every trial diverged"
    first = next(iter(outcome.searched), best)
    searched = [n for n in best.params if any(r.params[n] != first.params[n] for r in outcome.searched)]
    values = {"lr": best.lr} | {name: best.params[name] for name in searched}
    text = ", ".join(f"{name} {value:g}" for name, value in values.items())
    return f"{text} (default)" if best == first else text


def _name(loss: str, baseline: str) -> str:
    return f"{loss} (baseline)" if loss == baseline else loss


def _tested_by_visual(one: Comparison) -> bool:
    return any(not math.isnan(cell.p_visual) for row in one.cells.values() for cell in row.values())


def _signed(difference: float) -> str:
    return "" if math.isnan(difference) else f"{difference:+.1f}".replace("-", "−")


def _p(p: float) -> str:
    if math.isnan(p):
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _diverged(outcome: Outcome) -> str:
    """How many trials and seeds failed, in words; nothing where all went well."""
    told = []
    for records, what in ((outcome.searched, "trials"), (outcome.tested, "seeds")):
        if _failed(records):
            told.append(f"{_failed(records)} of {len(records)} {what}")
    return ", ".join(told)


def _failed(records: Sequence[Record]) -> int:
    return sum(record.score is None for record in records)
