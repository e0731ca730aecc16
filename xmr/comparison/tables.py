"""A comparison as text: Markdown to read, CSV to compute with, LaTeX to print."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from xmr.comparison.outcomes import (
    CLASSES,
    LEVEL,
    METRICS,
    RECALLS,
    TRUTHS,
    Cell,
    Outcome,
    Record,
    labelled,
)
from xmr.tables import csv_text, latex_text, markdown_table

Cells = dict[str, dict[str, Cell]]  # of `compare`


def markdown(
    outcomes: Sequence[Outcome], cells: Cells, baseline: str, title: str, about: Sequence[str], level: int = 1
) -> str:
    """The report: `title` as a heading of that `level`, the paragraphs `about`, what differs in words, and the tables."""
    parts = [f"{'#' * level} {title}", *about, *verdicts(cells, baseline)]
    parts += [markdown_table(rows) for rows in tables(outcomes, cells, baseline)]
    parts.append(
        f"Means over the seeds ± half of the {1 - LEVEL:.0%} interval (Student t), recalls in per cent. Δ: mean "
        f"difference to {baseline}, seed by seed. ↑ ↓: above or below {baseline} in a paired t-test, p < {LEVEL} after "
        "Holm's correction for the number of losses, in each column on its own. All this is about other seeds."
    )
    if _tested_by_visual(cells):
        parts.append(
            "p by visual: whether other test visuals would show the difference in rsum, by flipping the signs of the "
            "visuals' differences (each with all of its texts, summed over the seeds), after Holm's correction too."
        )
    if edge := at_the_edge(outcomes):
        parts.append(
            f"The highest or lowest learning rate tried was the best for {', '.join(edge)}: a wider search might raise "
            "them further."
        )
    return "\n\n".join(parts) + "\n"


def at_the_edge(outcomes: Sequence[Outcome]) -> list[str]:
    """Losses whose search ended at the highest or the lowest of its learning rates."""
    found = []
    for outcome in outcomes:
        rates = [record.lr for record in outcome.searched]
        best = outcome.chosen
        if best and rates and min(rates) < max(rates) and best.lr in (min(rates), max(rates)):
            found.append(outcome.loss)
    return found


def tables(outcomes: Sequence[Outcome], cells: Cells, baseline: str) -> list[list[list[str]]]:
    """Rows of text, the titles first: annotated recall with the settings, then the truth where it is known."""
    of = {outcome.loss: outcome for outcome in outcomes}
    head, *others = annotated = list(CLASSES if labelled(outcomes) else RECALLS)
    title = METRICS[head][0]
    by_visual = _tested_by_visual(cells)
    tests = ["p (Holm)", *(["p by visual (Holm)"] if by_visual else [])]
    first = [["loss", title, f"Δ {title}", *tests, *(METRICS[metric][0] for metric in others), "setting"]]
    diverged = any(_diverged(outcome) for outcome in outcomes)
    if diverged:
        first[0].append("diverged")
    known = [metric for metric in TRUTHS if any(metric in row for row in cells.values())]
    second = [["loss", *(METRICS[metric][0] for metric in known)]]
    for loss, row in cells.items():
        name = f"{loss} (baseline)" if loss == baseline else loss
        main = row.get(head)
        tested = [_signed(main.difference), _p(main.p_holm)] if main else ["", ""]
        tested += [_p(main.p_visual_holm) if main else ""] if by_visual else []
        numbers = [number(row.get(metric)) for metric in annotated]
        line = [name, numbers[0], *tested, *numbers[1:], _setting(of[loss])]
        first.append([*line, _diverged(of[loss])] if diverged else line)
        second.append([name, *(number(row.get(metric)) for metric in known)])
    return [first, second] if known else [first]


def _tested_by_visual(cells: Cells) -> bool:
    return any(not math.isnan(cell.p_visual) for row in cells.values() for cell in row.values())


def verdicts(cells: Cells, baseline: str) -> list[str]:
    """A sentence for rsum or the classes' mAP, and one for each direction's true mAP@R where it is known: how many
    losses differ."""
    told = []
    for metric in shown(cells):
        tested = {
            loss: row[metric]
            for loss, row in cells.items()
            if loss != baseline and metric in row and not math.isnan(row[metric].p_holm)
        }
        if not tested:
            continue
        better = [loss for loss, cell in tested.items() if cell.significant and cell.difference > 0]
        worse = [loss for loss, cell in tested.items() if cell.significant and cell.difference < 0]
        found = len(better) + len(worse)
        verb = "differs" if found == 1 else "differ"
        text = f"{METRICS[metric][0]}: {found or 'none'} of {len(tested)} losses {verb} from {baseline}"
        for losses, how in ((better, "above"), (worse, "below")):
            if losses:
                text += f"; {how} it: {', '.join(losses)}"
        told.append(text + ".")
    return told


def shown(cells: Cells) -> list[str]:
    """The metrics that words and plots tell, of those that some loss has."""
    classes = any("map" in row for row in cells.values())
    wanted = ["map", "v2t/map", "t2v/map"] if classes else ["rsum"]
    wanted += ["v2t/true_map_at_r", "t2v/true_map_at_r"]
    return [metric for metric in wanted if any(metric in row for row in cells.values())]


def csv_table(outcomes: Sequence[Outcome], cells: Cells) -> str:
    """A line for every loss and metric; recalls in per cent, an empty field where there is no number."""
    return csv_text(csv_lines(outcomes, cells))


def csv_lines(outcomes: Sequence[Outcome], cells: Cells) -> list[dict[str, Any]]:
    """What `csv_table` writes, by the names of its columns."""
    of = {outcome.loss: outcome for outcome in outcomes}
    head = "map" if labelled(outcomes) else "rsum"
    lines: list[dict[str, Any]] = []
    for loss, row in cells.items():
        outcome, best = of[loss], of[loss].chosen
        search = {
            "lr": best.lr if best else "",
            "params": json.dumps(best.params) if best else "",
            f"validation_{head}": best.score if best else "",
            "trials": len(outcome.searched),
            "diverged_trials": _failed(outcome.searched),
            "diverged_seeds": _failed(outcome.tested),
            "seconds": round(outcome.seconds, 1),
        }
        for metric, cell in row.items() or [(head, Cell(math.nan, math.nan))]:
            numbers = {
                "mean": cell.mean,
                "low": cell.mean - cell.half,
                "high": cell.mean + cell.half,
                "difference": cell.difference,
                "p": cell.p,
                "p_holm": cell.p_holm,
                "p_visual": cell.p_visual,
                "p_visual_holm": cell.p_visual_holm,
            }
            numbers = {name: "" if math.isnan(value) else value for name, value in numbers.items()}
            lines.append(
                {"loss": loss, "metric": metric, **numbers, "seeds": len(outcome.values(metric)), **search}
            )
    return lines


def latex_tables(outcomes: Sequence[Outcome], cells: Cells, baseline: str, command: str) -> str:
    """The tables of the report as `tabular`s, with booktabs's rules."""
    return latex_text([command, *tables(outcomes, cells, baseline)])


def number(cell: Cell | None) -> str:
    """Mean ± half of the interval, with an arrow where it differs from the baseline; nothing for None."""
    if cell is None:
        return ""
    text = f"{cell.mean:.1f}" if math.isnan(cell.half) else f"{cell.mean:.1f} ± {cell.half:.1f}"
    return text + (" ↑" if cell.difference > 0 else " ↓") if cell.significant else text


def _signed(difference: float) -> str:
    return "" if math.isnan(difference) else f"{difference:+.1f}".replace("-", "−")


def _p(p: float) -> str:
    if math.isnan(p):
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _setting(outcome: Outcome) -> str:
    """The chosen learning rate and parameters, of the parameters those that were searched."""
    best = outcome.chosen
    if outcome.frozen:
        return "the frozen encoder, no training"
    if best is None:
        return "none: every trial diverged"
    first = next(iter(outcome.searched), best)
    searched = [n for n in best.params if any(r.params[n] != first.params[n] for r in outcome.searched)]
    text = ", ".join(
        f"{name} {value:g}"
        for name, value in {"lr": best.lr, **{n: best.params[n] for n in searched}}.items()
    )
    return f"{text} (default)" if best == first else text


def _diverged(outcome: Outcome) -> str:
    """How many trials and seeds failed, in words; nothing where all went well."""
    told = []
    for records, what in ((outcome.searched, "trials"), (outcome.tested, "seeds")):
        if _failed(records):
            told.append(f"{_failed(records)} of {len(records)} {what}")
    return ", ".join(told)


def _failed(records: Sequence[Record]) -> int:
    return sum(record.score is None for record in records)
