"""Tables as text: cells come back from CSV as they were, no cell is a formula, and LaTeX and Markdown stay tables."""

import csv
import io
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmr.tables import csv_text, guarded, latex_text, markdown_table, unguarded

TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ["=1", "'=1", "''=1", "'", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "a\rb", "a\nb", 'a "b", c', "", " "]
)
CELLS = TEXTS | st.integers() | st.floats(allow_nan=False) | st.booleans()


@given(
    st.integers(1, 4).flatmap(
        lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1)
    )
)
def test_cells_come_back_from_csv_and_none_is_a_formula(rows):
    heads = [f"column {i}" for i in range(len(rows[0]))]
    head, *read = csv.reader(
        io.StringIO(csv_text([dict(zip(heads, row, strict=True)) for row in rows], heads), newline="")
    )
    assert head == heads and len(read) == len(rows)
    for row, cells in zip(rows, read, strict=True):
        for value, cell in zip(row, cells, strict=True):
            if isinstance(value, str):
                assert unguarded(cell) == value and cell[:1] not in ("=", "+", "-", "@", "\t", "\r")
            else:
                assert cell == str(value)


@given(TEXTS)
def test_what_is_guarded_comes_back(text):
    assert unguarded(guarded(text)) == text
    assert guarded(text) in (text, f"'{text}")


def test_csv_has_the_columns_that_are_asked_for_and_nothing_for_no_number():
    text = csv_text([{"a": 0.1 + 0.2, "b": None}, {"b": math.nan, "=c": 3, "a": 1}], ["a", "b", "=c"])
    assert text == "a,b,'=c\r\n0.30000000000000004,,\r\n1,,3\r\n"
    assert csv_text([{"a": True, "b": 1e-7}]) == "a,b\r\nTrue,1e-07\r\n"
    assert csv_text([], ["a", "b"]) == "a,b\r\n" and csv_text([]) == ""
    with pytest.raises(ValueError, match="'c' is no column of a"):
        csv_text([{"a": 1, "c": 2}], ["a"])


def test_latex_is_escaped_and_has_booktabs_rules():
    rows = [["a_b", "Δ x", "p"], ["50% & #1 {c}\n\\$", "−1.0 ± 0.2 ↑", "< 0.001"], ["~^…", "–", ""]]
    lines = latex_text(["python x\n\\input{y}", rows]).splitlines()
    assert lines[:3] == ["% needs \\usepackage{booktabs}", "", "% python x \\input{y}"]
    assert lines[4:9] == [
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r"a\_b & $\Delta$ x & p \\",
        r"\midrule",
        r"50\% \& \#1 \{c\} \textbackslash \$ & $-$1.0 $\pm$ 0.2 $\uparrow$ & $<$ 0.001 \\",
    ]
    assert lines[9] == r"\textasciitilde \textasciicircum \dots{} & -- &  \\"
    assert lines[10:] == [r"\bottomrule", r"\end{tabular}"]


@pytest.mark.parametrize("cell", ["a|b", r"a\|b", "a\nb", "||", ""])
def test_markdown_keeps_its_columns(cell):
    head, rule, row = markdown_table([["x", "y"], [cell, "1"]]).splitlines()
    assert (head, rule) == ("| x | y |", "| --- | --- |")
    assert len(re.findall(r"(?<!\\)\|", row)) == 3
    assert row.replace("\\", "").removeprefix("| ").removesuffix(" | 1 |") == cell.replace("\\", "").replace(
        "\n", " "
    )
