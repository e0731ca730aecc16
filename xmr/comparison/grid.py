"""Losses compared with several matchers: one table for each metric, a row for each matcher, then every matcher's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from xmr.comparison.outcomes import CLASSES, LEVEL, METRICS, Outcome, compare, labelled
from xmr.comparison.plot import page, panels
from xmr.comparison.tables import Cells, csv_lines, markdown, number, tables
from xmr.tables import Rows, csv_text, latex_text, markdown_table

# What a grid has a table for, where some cell has it: beside rsum, or beside the mAPs of class labels.
SHOWN = [f"{direction}/{name}" for name in ("recall_at_1", "true_map_at_r", "true_ndcg", "true_xinf_ap")
         for direction in ("v2t", "t2v")]  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """All losses with one matcher, but those that do not go with it; `about` tells in paragraphs what was done.

    `zero_shot` is the frozen encoder itself, where it embeds both sides."""

    matcher: str
    outcomes: list[Outcome]
    about: list[str]
    zero_shot: Outcome | None = None

    @property
    def rows(self) -> list[Outcome]:
        """All that has a row."""
        return [*self.outcomes, *([self.zero_shot] if self.zero_shot else [])]

    def cells(self, baseline: str) -> Cells:
        return compare(self.rows, baseline)


def grid_tables(
    comparisons: Sequence[Comparison], losses: Sequence[str], baseline: str
) -> list[list[list[str]]]:
    """Rows of text, the titles first: a table for each metric, in it a row for each matcher and a column for each loss.

    A cell is empty where the loss does not go with the matcher and the data, "diverged" where no training succeeded.
    """
    found = {one.matcher: one.cells(baseline) for one in comparisons}
    classes = any(labelled(one.outcomes) for one in comparisons)
    wanted = list(dict.fromkeys([*CLASSES, *SHOWN])) if classes else ["rsum", *SHOWN]
    made = []
    for metric in wanted:
        if not any(metric in row for cells in found.values() for row in cells.values()):
            continue
        rows = [
            [METRICS[metric][0], *(f"{loss} (baseline)" if loss == baseline else loss for loss in losses)]
        ]
        for matcher, cells in found.items():
            row = [cells.get(loss) for loss in losses]
            rows.append(
                [matcher, *("diverged" if cell == {} else number((cell or {}).get(metric)) for cell in row)]
            )
        made.append(rows)
    return made


def grid_markdown(
    comparisons: Sequence[Comparison], losses: Sequence[str], baseline: str, title: str, about: Sequence[str]
) -> str:
    """The report: the tables of all matchers, then each matcher's own report."""
    parts = [f"# {title}", *about, *map(markdown_table, grid_tables(comparisons, losses, baseline))]
    parts.append(
        f"Means over the seeds ± half of the {1 - LEVEL:.0%} interval (Student t), in per cent but for rsum. ↑ ↓: above "
        f"or below {baseline} with the same matcher in a paired t-test, p < {LEVEL} after Holm's correction for the "
        "number of losses, for each matcher on its own. An empty cell: the loss does not go with the matcher or the data."
    )
    for one in comparisons:
        if one.outcomes:
            own = markdown(one.rows, one.cells(baseline), baseline, one.matcher, one.about, level=2)
            parts.append(own.rstrip())
        else:
            parts += [f"## {one.matcher}", *one.about]
    return "\n\n".join(parts) + "\n"


def grid_csv(comparisons: Sequence[Comparison], baseline: str) -> str:
    """`csv_table` of every matcher, whose name is the first column."""
    return csv_text(
        [
            {"matcher": one.matcher, **line}
            for one in comparisons
            for line in csv_lines(one.rows, one.cells(baseline))
        ]
    )


def grid_latex(comparisons: Sequence[Comparison], losses: Sequence[str], baseline: str, command: str) -> str:
    """The tables of the report as `tabular`s, with booktabs's rules."""
    parts: list[Rows | str] = [command, *grid_tables(comparisons, losses, baseline)]
    for one in comparisons:
        if one.outcomes:
            parts += [one.matcher, *tables(one.rows, one.cells(baseline), baseline)]
    return latex_text(parts)


def grid_page(comparisons: Sequence[Comparison], baseline: str, title: str, about: Sequence[str]) -> str:
    """A page with the panels of every matcher."""
    sections = [
        f"<h2>{escape(one.matcher)}</h2>\n{panels(one.rows, one.cells(baseline), baseline)}"
        for one in comparisons
    ]
    return page(sections, baseline, title, about)
