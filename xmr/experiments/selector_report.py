"""The benchmark of selectors as text: what they found, what training gained, in Markdown and CSV."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from xmr.experiments.findings import CURVES, Finding, percent
from xmr.experiments.gains import COLUMNS, Records, by_loss, gains
from xmr.experiments.intervals import LEVEL, Cell
from xmr.experiments.report import plus_minus
from xmr.tables import csv_text, markdown_table

IN_MARKDOWN = [name for name in COLUMNS if not name.endswith(("_5", "_10"))]


def files(
    name: str, about: Sequence[str], findings: dict[str, list[Finding]], records: Records
) -> dict[str, str]:
    """The whole report by the endings of its files, on the dataset `name`."""
    parts = [f"# Selectors on {name}", *about]
    if findings.get("test"):
        found = markdown_table(finding_table(findings))
        parts += ["## What they find", found, base_rates(findings["test"][0])]
    for loss, own in by_loss(records).items():
        parts += [f"## What training gains: {loss}", markdown_table(gain_table(own))]
    if records:
        parts.append(
            f"Means over seeds; in brackets the difference to no selector, seed by seed, ± half of its {1 - LEVEL:.0%} "
            f"interval (Student t). ↑ ↓: paired t-test, p < {LEVEL} after Holm's correction for the number of variants, "
            "in each column on its own. Recalls and areas in per cent."
        )
    return {
        ".md": "\n\n".join(parts) + "\n",
        ".detection.csv": csv_text(finding_rows(findings)),
        ".effect.csv": csv_text(gain_rows(records)),
    }


def base_rates(finding: Finding) -> str:
    rates = np.array(finding.rates)
    return (
        f"Of {finding.pairs} hardest negatives of {len(rates)} models, {percent(rates.mean())} % are matches "
        f"({', '.join(map(percent, rates))}): the precision of suspecting all, and the area of a guess. F1 can't rank "
        "selectors where that is high. Area: average precision over the range of the parameter. "
        "Informedness: share of the matches less share of the others that is suspected; 0 by chance. Means over models; "
        "±: deviation between them. In per cent."
    )


def finding_table(findings: dict[str, list[Finding]]) -> list[list[str]]:
    validated = {one.selector: one.chosen for one in findings.get("validation", [])}
    titles = ["precision", "recall", "F1", "informedness"]
    where = "best informedness on validation" if validated else "best informedness"
    rows = [["selector", "area", "default", *titles, where, *titles]]
    rates = np.array(findings["test"][0].rates)
    whole = [percent(part) for part in (rates.mean(), 1.0, np.mean(2 * rates / (1 + rates)), 0.0)]
    every = [
        "*suspecting all*",
        f"{percent(rates.mean())} ± {percent(np.std(rates))}",
        "",
        *whole,
        "",
        *whole,
    ]
    ranked = sorted(findings["test"], key=lambda one: -one.area)
    for one in ranked:
        value = validated.get(one.selector, one.chosen)
        area = f"{percent(one.area)} ± {percent(np.std(one.areas))}"
        default = f"{one.parameter} {one.default:g}"
        rows.append([one.selector, area, default, *one.at(one.default), f"{value:g}", *one.at(value)])
    rows.insert(1 + sum(one.area > rates.mean() for one in ranked), every)
    return rows


def gain_table(records: Records) -> list[list[str]]:
    cells = {name: gains(records, name) for name in IN_MARKDOWN}
    shown = [name for name in IN_MARKDOWN if cells[name]]
    rows = [["selector", *(COLUMNS[name][0] for name in shown), "seeds"]]
    for variant, seeds in records.items():
        row = [_gain(cells[name].get(variant)) for name in shown]
        rows.append([variant.title, *row, str(sum(not record["diverged"] for record in seeds.values()))])
    return rows


def _gain(cell: Cell | None) -> str:
    if cell is None:
        return ""
    if math.isnan(cell.difference):
        return f"{cell.mean:.1f}{plus_minus(cell.half)}"
    told = f"({cell.difference:+.1f}{plus_minus(cell.difference_half)}){cell.arrow}"
    return f"{cell.mean:.1f} {told}".replace("-", "−")


def finding_rows(findings: dict[str, list[Finding]]) -> list[dict[str, Any]]:
    """A row for every split, selector and value of its main parameter."""
    rows = []
    for split, found in findings.items():
        for one in found:
            head = {"split": split, "selector": one.selector, "parameter": one.parameter}
            tail = {"average_precision": one.area, "base_rate": float(np.mean(one.rates))}
            for place, value in enumerate(one.values):
                curves = {name: getattr(one, name)[place] for name in CURVES}
                rows.append(head | {"value": value, "default": value == one.default} | curves | tail)
    return rows


def gain_rows(records: Records) -> list[dict[str, Any]]:
    """A row for every variant and metric."""
    names = ("mean", "half", "difference", "difference_half", "p", "p_holm", "seeds")
    rows = []
    for loss, own in by_loss(records).items():
        for metric in COLUMNS:
            for variant, cell in gains(own, metric).items():
                head = {
                    "loss": loss,
                    "selector": variant.selector,
                    "action": variant.action,
                    "metric": metric,
                }
                rows.append(head | {name: getattr(cell, name) for name in names})
    return rows
