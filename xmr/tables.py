"""Tables as text: CSV to compute with, LaTeX to print, Markdown to read."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Rows = Sequence[Sequence[str]]  # of text, the titles first
# Apostrophes of the text's own before a formula get one more, so that one can always be taken away.
FORMULA = re.compile(r"'*[=+\-@\t\r]")
SIGNS = str.maketrans(
    {"±": r"$\pm$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "Δ": r"$\Delta$", "−": "$-$", "<": "$<$", "–": "--", "…": r"\dots{}"}
)  # fmt: skip


def guarded(value: Any) -> Any:
    """A cell of a CSV file which no spreadsheet takes for a formula: texts come from strangers."""
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value


def unguarded(cell: str) -> str:
    """What `guarded` was given."""
    return cell[1:] if cell[:1] == "'" and FORMULA.match(cell) else cell


def csv_text(rows: Iterable[Mapping[str, Any]], heads: Sequence[str] | None = None) -> str:
    """Rows below `heads`, by default the keys of the first row; a missing one, None and NaN are empty cells.

    A text that a spreadsheet would take for a formula has an apostrophe before it. Nothing where there is neither row nor
    head. Raises ValueError on a key that is no head.
    """
    rows = list(rows)
    heads = list(rows[0]) if heads is None and rows else heads or []
    known = set(heads)
    for row in rows:
        if extra := row.keys() - known:
            raise ValueError(f"{min(extra)!r} is no column of {', '.join(heads)}")
    # As in RFC 4180: with "\n" alone, Python before 3.13 leaves a carriage return within a text without quotes.
    writer = csv.writer(buffer := io.StringIO(newline=""), lineterminator="\r\n")
    if heads:
        writer.writerow(map(guarded, heads))
    writer.writerows([_cell(row.get(head)) for head in heads] for row in rows)
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return guarded(value)
    return value if value == value else None


def latex_text(parts: Iterable[Rows | str]) -> str:
    """Tables as `tabular`s with booktabs's rules; a text among them becomes a comment."""
    made = [f"% {one_line(part)}" if isinstance(part, str) else _tabular(part) for part in parts]
    return "\n\n".join(["% needs \\usepackage{booktabs}", *made]) + "\n"


def _tabular(rows: Rows) -> str:
    import pandas  # takes half a second

    head, *body = ([one_line(cell) for cell in row] for row in rows)
    shown = pandas.DataFrame(body, columns=head, dtype=object).style.hide(axis="index")
    shown = shown.format(escape="latex").format_index(escape="latex", axis="columns")
    text = shown.to_latex(hrules=True, column_format=f"l{'r' * (len(head) - 1)}")
    return text.translate(SIGNS).rstrip("\n")


def markdown_table(rows: Rows) -> str:
    head, *body = ([re.sub(r"(?<!\\)\|", r"\\|", one_line(cell)) for cell in row] for row in rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *body])


def one_line(text: str) -> str:
    return " ".join(text.split())
