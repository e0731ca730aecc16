"""Arrays in, plotly figures out; beside every figure a function that says in words what it shows.

Figures carry their own small layout instead of plotly's template (7 kB each), and arrays travel as binary. They
are drawn in light colours; `DARK` says what each of these becomes on a dark page, so that the component which shows
a figure can swap them without asking again. Colours of runs are the caller's.
"""

from xmr.figures.distributions import KINDS, distribution_figure, distribution_words
from xmr.figures.matrix import (
    difference_figure,
    difference_words,
    matrix_figure,
    matrix_words,
    push_shares,
    shared_span,
)
from xmr.figures.shared import DARK, GLYPHS, GREEN, ORANGE, PAGE, Mark, Styled, library
from xmr.figures.suspects import suspects_figure
from xmr.figures.weights import (
    EACH_ITS_OWN,
    weight_comparison_figure,
    weight_comparison_words,
    weight_figure,
    weight_words,
)

__all__ = [
    "DARK",
    "EACH_ITS_OWN",
    "GLYPHS",
    "GREEN",
    "KINDS",
    "ORANGE",
    "PAGE",
    "Mark",
    "Styled",
    "difference_figure",
    "difference_words",
    "distribution_figure",
    "distribution_words",
    "library",
    "matrix_figure",
    "matrix_words",
    "push_shares",
    "shared_span",
    "suspects_figure",
    "weight_comparison_figure",
    "weight_comparison_words",
    "weight_figure",
    "weight_words",
]
