"""A fair comparison of losses: what is tried, what is chosen, and what the results allow to say.

Every loss gets the same number of trials over the learning rate and its own searched parameters, of which the best
by validation rsum (mAP where there are class labels) is chosen, then the same seeds at the chosen setting. Equal
seeds mean equal initial weights and equal order of batches, so losses are compared seed by seed. Records in, numbers
and text out: who trains is scripts/compare.py's.
"""

from xmr.comparison.grid import Comparison, grid_csv, grid_latex, grid_markdown, grid_page, grid_tables
from xmr.comparison.log import Log, opened
from xmr.comparison.outcomes import (
    Cell,
    Outcome,
    Record,
    chosen,
    compare,
    holm,
    interval,
    paired,
    shares_by_visual,
)
from xmr.comparison.plot import html_page
from xmr.comparison.search import Axis, Setting, axes, points, settings
from xmr.comparison.tables import csv_table, latex_tables, markdown

__all__ = [
    "Axis",
    "Cell",
    "Comparison",
    "Log",
    "Outcome",
    "Record",
    "Setting",
    "axes",
    "chosen",
    "compare",
    "csv_table",
    "grid_csv",
    "grid_latex",
    "grid_markdown",
    "grid_page",
    "grid_tables",
    "holm",
    "html_page",
    "interval",
    "latex_tables",
    "markdown",
    "opened",
    "paired",
    "points",
    "settings",
    "shares_by_visual",
]
