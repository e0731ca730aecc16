"""The benchmark of selectors as text: what they found, what training gained, in Markdown and CSV."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xmr.comparison import holm, interval, paired
from xmr.comparison.outcomes import LEVEL
from xmr.selection import SELECTORS
from xmr.selector_benchmark import Sweep, swept_parameters
from xmr.tables import markdown_table

# Of every variant the records of its trainings by seed: {"metrics": {…}, "seconds": …, "diverged": ""}.
Records = dict["Variant", dict[int, dict[str, Any]]]

# What training gained: key of the metrics, title, factor.
COLUMNS = {
    "rsum": ("rsum", 1.0),
    "v2t/true_map_at_r": ("v2t true mAP@R", 100.0),
    "t2v/true_map_at_r": ("t2v true mAP@R", 100.0),
    "v2t/true_r_precision": ("v2t true R-precision", 100.0),
    "t2v/true_r_precision": ("t2v true R-precision", 100.0),
    "v2t/true_recall_at_1": ("v2t true R@1", 100.0),
    "t2v/true_recall_at_1": ("t2v true R@1", 100.0),
    "v2t/true_recall_at_5": ("v2t true R@5", 100.0),
    "t2v/true_recall_at_5": ("t2v true R@5", 100.0),
    "v2t/true_recall_at_10": ("v2t true R@10", 100.0),
    "t2v/true_recall_at_10": ("t2v true R@10", 100.0),
    "judged_auc": ("AUC of judged pairs", 100.0),
    "judged_average_precision": ("AP of judged pairs", 100.0),
    "known_rsum": ("rsum, known matches count", 1.0),
    "v2t/known_recall_at_1": ("v2t R@1, known matches count", 100.0),
    "t2v/known_recall_at_1": ("t2v R@1, known matches count", 100.0),
}
IN_MARKDOWN = [name for name in COLUMNS if not name.endswith(("_5", "_10"))]


@dataclass(frozen=True)
class Finding:
    """What a selector found on one split: curves over `values` of its main parameter, means over models; of each model
    the area and the share of matches. Precision is None where nobody is suspected."""

    selector: str
    parameter: str
    default: float
    values: list[float]
    precision: list[float | None]
    recall: list[float]
    f1: list[float]
    informedness: list[float]
    areas: list[float]
    rates: list[float]
    pairs: int  # hardest negatives of all models

    @classmethod
    def of(cls, selector: str, params: dict[str, Any], sweep: Sweep) -> Finding:
        parameter = swept_parameters(SELECTORS[selector])[0]
        points = sweep.points
        curves = [part.tolist() for part in (points.precision, points.recall, points.f1, points.informedness)]
        curves[0] = [None if math.isnan(value) else value for value in curves[0]]
        areas, rates = sweep.average_precision().tolist(), sweep.base_rate().tolist()
        values = sweep.values.tolist()
        return cls(selector, parameter, params[parameter], values, *curves, areas, rates, len(sweep.matches))

    @property
    def area(self) -> float:
        return float(np.mean(self.areas))

    @property
    def chosen(self) -> float:
        """The value that tells matches from the rest best, however many are matches."""
        return self.values[highest(self.informedness)]

    def at(self, value: float) -> list[str]:
        """Precision, recall, F1 and informedness there, in per cent."""
        place = self.values.index(value)
        return [percent(part[place]) for part in (self.precision, self.recall, self.f1, self.informedness)]


@dataclass(frozen=True)
class Variant:
    """What is trained: a loss with a selector ("" for none) and an action on its suspects."""

    loss: str
    selector: str = ""
    action: str = "ignore"

    @property
    def title(self) -> str:
        if not self.selector:
            return "none"
        return self.selector + (f", {self.action}" if self.action != "ignore" else "")


def markdown(
    name: str,
    about: Sequence[str],
    findings: dict[str, list[Finding]],
    records: Records,
) -> str:
    parts = [f"# Selectors on {name}", *about]
    if findings.get("test"):
        parts += [
            "## What they find",
            markdown_table(finding_table(findings)),
            base_rates(findings["test"][0]),
        ]
    for loss in dict.fromkeys(variant.loss for variant in records):
        own = {variant: seeds for variant, seeds in records.items() if variant.loss == loss}
        parts += [f"## What training gains: {loss}", markdown_table(gain_table(own))]
    if records:
        parts.append(
            f"Means over seeds; in brackets the difference to no selector, seed by seed, ± half of its {1 - LEVEL:.0%} "
            f"interval (Student t). ↑ ↓: paired t-test, p < {LEVEL} after Holm's correction for the number of variants, "
            "in each column on its own. Recalls and areas in per cent."
        )
    return "\n\n".join(parts) + "\n"


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
        rows.append(
            [
                one.selector,
                f"{percent(one.area)} ± {percent(np.std(one.areas))}",
                f"{one.parameter} {one.default:g}",
                *one.at(one.default),
                f"{value:g}",
                *one.at(value),
            ]
        )
    rows.insert(1 + sum(one.area > rates.mean() for one in ranked), every)
    return rows


def gain_table(records: Records) -> list[list[str]]:
    cells = {name: gains(records, name) for name in IN_MARKDOWN}
    shown = [name for name in IN_MARKDOWN if cells[name]]
    rows = [["selector", *(COLUMNS[name][0] for name in shown), "seeds"]]
    for variant, seeds in records.items():
        row = [variant.title]
        for name in shown:
            cell = cells[name].get(variant)
            if cell is None:
                row.append("")
                continue
            text = f"{cell['mean']:.1f}"
            if not variant.selector:
                text += _half(cell["half"])
            elif "difference" in cell:
                arrow = (" ↑" if cell["difference"] > 0 else " ↓") if cell["p_holm"] < LEVEL else ""
                told = f" ({cell['difference']:+.1f}{_half(cell['difference_half'])}){arrow}"
                text += told.replace("-", "−")
            row.append(text)
        rows.append([*row, str(sum(not record["diverged"] for record in seeds.values()))])
    return rows


def gains(records: Records, name: str) -> dict[Variant, dict[str, float]]:
    """Of every variant of one loss the metric's mean and half interval, and the paired difference to no selector."""
    factor = COLUMNS[name][1]
    values = {
        variant: {s: factor * r["metrics"][name] for s, r in seeds.items() if name in r["metrics"]}
        for variant, seeds in records.items()
    }
    base = next(found for variant, found in values.items() if not variant.selector)
    cells = {}
    for variant, found in values.items():
        if not found:
            continue
        mean, half = interval(list(found.values()))
        cell = {"mean": mean, "half": half, "seeds": len(found)}
        shared = sorted(found.keys() & base.keys())
        if variant.selector and shared:
            ours, theirs = [found[s] for s in shared], [base[s] for s in shared]
            cell["difference"], cell["p"] = paired(ours, theirs)
            cell["difference_half"] = interval(np.subtract(ours, theirs))[1]
        cells[variant] = cell
    tested = [cell for cell in cells.values() if "p" in cell]
    for cell, corrected in zip(tested, holm([cell["p"] for cell in tested]), strict=True):
        cell["p_holm"] = corrected
    return cells


def finding_rows(findings: dict[str, list[Finding]]) -> list[dict[str, Any]]:
    """A row for every split, selector and value of its main parameter."""
    rows = []
    for split, found in findings.items():
        for one in found:
            head = {"split": split, "selector": one.selector, "parameter": one.parameter}
            tail = {"average_precision": one.area, "base_rate": float(np.mean(one.rates))}
            for place, value in enumerate(one.values):
                curves = {
                    name: getattr(one, name)[place] for name in ("precision", "recall", "f1", "informedness")
                }
                rows.append(head | {"value": value, "default": value == one.default} | curves | tail)
    return rows


def gain_rows(records: Records) -> list[dict[str, Any]]:
    """A row for every variant and metric."""
    rows = []
    for loss in dict.fromkeys(variant.loss for variant in records):
        own = {variant: seeds for variant, seeds in records.items() if variant.loss == loss}
        for name in COLUMNS:
            for variant, cell in gains(own, name).items():
                head = {"loss": loss, "selector": variant.selector, "action": variant.action, "metric": name}
                names = ("mean", "half", "difference", "difference_half", "p", "p_holm", "seeds")
                rows.append(head | {key: cell.get(key, "") for key in names})
    return rows


def highest(values: Sequence[float]) -> int:
    """Where the highest of the values is, the middle one of equals."""
    equals = [place for place, value in enumerate(values) if value >= max(values) - 1e-12]
    return equals[len(equals) // 2]


def percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


def _half(width: float) -> str:
    return "" if math.isnan(width) else f" ± {width:.1f}"
