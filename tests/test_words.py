"""Numbers in words: the examples of `xmr.words` hold, and what is written says which number it was."""

import doctest
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmr import captions, words


@pytest.mark.parametrize("module", [words, captions])
def test_examples_hold(module):
    found = doctest.testmod(module)
    assert found.attempted and not found.failed


@given(st.floats(-1e6, 1e6), st.integers(0, 6), st.booleans())
def test_a_written_number_is_the_number_to_its_last_digit(value, places, sign):
    text = words.fixed(value, places, sign)
    assert "-" not in text and not text.startswith(("−0.0" + "0" * 9,))
    assert float(text.replace("−", "-").replace(",", "")) == pytest.approx(
        value, abs=0.5 * 10**-places + 1e-9
    )


@given(st.floats(0, 1))
def test_a_share_that_is_neither_none_nor_all_never_reads_so(share):
    text = words.percent(share)
    assert (text == "0%") == (share == 0)
    assert (text == "100%") == (share == 1)


@pytest.mark.parametrize("scores", [[0.0041, 0.0045, 0.0049], [0.2030001, 0.2030009], [-0.3, 0.9, 0.5]])
def test_scores_that_differ_read_differently(scores):
    places = words.places_for(scores)
    assert len({words.fixed(score, places) for score in scores}) == len(scores) or places == 6


def test_what_is_no_number_is_a_dash():
    assert words.fixed(math.nan, 2) == words.significant(math.nan) == words.percent(math.nan) == "–"
    assert words.places_for([np.nan, np.inf]) == 3
