"""Per query: who gets it right, on which kinds of queries, and whether two runs differ by more than chance.

A run's result on Q queries is a vector (Q,): ranks of the best annotated match, hits at a cut-off (`hits`), or any
other number per query; NaN where a query has no match, and left out of everything. A slicing is a dict: name of a
slice → indices of its queries, in the order in which they are to be shown. Slices may overlap. Captions of one visual
are not independent: `visuals` (Q,) int are the queries' visuals, and intervals and tests draw those; None means that
every query is a visual, as in v2t.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xmr.analysis.blocks import Relevance
from xmr.captions import words_of
from xmr.core import Direction
from xmr.metrics import bootstrap_interval, by_visual, flip_test

Slicing = Mapping[str, np.ndarray]

RELATIONS = (
    "left", "right", "behind", "in front", "above", "below", "on", "under", "between", "beside", "next to", "near",
    "inside", "before", "after", "then", "while",
)  # fmt: skip


def hits(ranks: np.ndarray, k: int) -> np.ndarray:
    """1 where the match is among the first k, else 0, NaN without a match: of ranks of any shape, float64."""
    return np.where(np.isnan(ranks), np.nan, ranks <= k)


def buckets(ranks: np.ndarray, k: int) -> dict[str, np.ndarray]:
    """Queries by which runs have a match among the first k: bucket → indices.

    ranks (R, Q) of R runs. Of two runs the buckets are "all right", "only A", "only B" and "all wrong"; of more "all
    right", "some right" and "all wrong"; of one "all right" and "all wrong". Each is there even if it is empty; "no
    match" only where some query has none to be found.
    """
    known = ~np.isnan(ranks).any(0)
    right = ranks <= k
    count = right.sum(0)
    found = {"all right": count == len(ranks)}
    if len(ranks) == 2:
        found |= {"only A": right[0] & ~right[1], "only B": right[1] & ~right[0]}
    elif len(ranks) > 2:
        found |= {"some right": (count > 0) & (count < len(ranks))}
    found |= {"all wrong": count == 0}
    result = {name: np.flatnonzero(mask & known) for name, mask in found.items()}
    return result if known.all() else result | {"no match": np.flatnonzero(~known)}


def missed_by_one(ranks: np.ndarray, k: int) -> np.ndarray:
    """Where the match stands right behind the first k: bool of the ranks' shape."""
    return ranks == k + 1


def true_but_unannotated(
    top: np.ndarray, query_group: np.ndarray, gallery_group: np.ndarray, truth: Relevance | None
) -> np.ndarray:
    """1 where a query's best item matches in truth though nobody annotated it, else 0; NaN where that is not known.

    top (Q,) are the gallery's indices, of `top_items`. An annotated item is 0, whatever the truth says.
    """
    found = np.where(query_group == gallery_group[top], 0.0, np.nan)
    open_ones = np.flatnonzero(np.isnan(found))
    if truth is None:
        return found
    for start in range(0, len(open_ones), 256):
        rows = open_ones[start : start + 256]
        columns, at = np.unique(top[rows], return_inverse=True)
        relevance = truth(rows, columns)[np.arange(len(rows)), at]
        found[rows] = np.where(np.isnan(relevance), np.nan, relevance > 0)
    return found


# ---- slices ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Slice:
    """The mean of a number over the queries of a slice, with its 95% bootstrap interval; NaN of fewer than two visuals."""

    name: str
    count: int
    mean: float
    low: float
    high: float


def mean_interval(
    values: np.ndarray, visuals: np.ndarray | None = None, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of (Q,) values and its `bootstrap_interval`; NaN left out, and no interval (NaN) of fewer than two visuals."""
    sums, counts = by_visual(values, visuals)
    mean = float(sums.sum() / counts.sum()) if len(sums) else np.nan
    return (
        (mean, np.nan, np.nan) if len(sums) < 2 else (mean, *bootstrap_interval(values, visuals, seed=seed))
    )


def slice_means(
    values: np.ndarray, slicing: Slicing, visuals: np.ndarray | None = None, seed: int = 0
) -> list[Slice]:
    """The mean of (Q,) values in each slice, in the slicing's order; slices without any value are left out."""
    found = []
    for name, queries in slicing.items():
        own = values[queries]
        count = int((~np.isnan(own)).sum())
        if count:
            of = None if visuals is None else visuals[queries]
            found.append(Slice(name, count, *mean_interval(own, of, seed)))
    return found


def slice_differences(
    a: np.ndarray, b: np.ndarray, slicing: Slicing, visuals: np.ndarray | None = None
) -> list[Slice]:
    """The mean of b − a, query by query, in each slice: those first whose interval is farthest from 0.

    So a small slice with a large difference by chance does not come first. `count` are queries with both values.
    """

    def apart(one: Slice) -> tuple[float, float]:
        return (np.nan_to_num(max(one.low, -one.high), nan=-np.inf), abs(one.mean))

    return sorted(slice_means(b - a, slicing, visuals), key=apart, reverse=True)


def by_number(values: Sequence[Any] | np.ndarray, bins: int = 4) -> dict[str, np.ndarray]:
    """Queries by a number, (Q,): one slice per value where there are at most bins + 2, else quantile bins.

    A bin is called by the least and the largest value in it. None and NaN are "not given".
    """
    numbers = np.array([np.nan if value is None or value == "" else float(value) for value in values])
    given = np.flatnonzero(~np.isnan(numbers))
    distinct = np.unique(numbers[given])
    if len(distinct) <= bins + 2:
        place = np.searchsorted(distinct, numbers[given])
    else:
        cuts = np.unique(np.quantile(numbers[given], np.arange(1, bins) / bins))
        place = np.searchsorted(cuts, numbers[given])
    parts = [given[place == one] for one in np.unique(place)]
    limits = [(numbers[part].min(), numbers[part].max()) for part in parts]
    for digits in range(3, 18):  # as few as tell all ends apart
        ends = [(_written(low, digits), _written(high, digits)) for low, high in limits]
        names = [low if low == high else f"{low} – {high}" for low, high in ends]
        blurred = any((a == b) != (low == high) for (a, b), (low, high) in zip(ends, limits, strict=True))
        if len(set(names)) == len(names) and not blurred:
            break
    missing = np.flatnonzero(np.isnan(numbers))
    found = dict(zip(names, parts, strict=True)) if parts else {}
    return found | {"not given": missing} if len(missing) else found


def by_label(values: Sequence[Any], most: int = 12) -> dict[str, np.ndarray]:
    """Queries by a label, (Q,): the `most` frequent ones, those with most queries first, then all others together."""
    labels = ["not given" if value is None or value == "" else str(value) for value in values]
    frequent = [name for name, _ in Counter(labels).most_common()]
    place = {name: min(at, most) for at, name in enumerate(frequent)}
    of = np.array([place[name] for name in labels], np.int64)
    names = frequent[:most]
    if len(frequent) > most:
        names.append(f"{len(frequent) - most:,} rarer ones")
    return {name: np.flatnonzero(of == at) for at, name in enumerate(names)}


def by_word(texts: Sequence[str], words: Sequence[str] = RELATIONS) -> dict[str, np.ndarray]:
    """Queries whose text has each of the words (or phrases), whole and in any case, and those with none of them.

    A text with two of the words is in two slices; a word that no text has is left out.
    """
    spelt = {" ".join(words_of(word)): word for word in words}
    longest_first = sorted(filter(None, spelt), key=len, reverse=True)
    pattern = re.compile(rf"(?<=\s)(?:{'|'.join(map(re.escape, longest_first))})(?=\s)")
    found: dict[str, list[int]] = {word: [] for word in words}
    without = []
    for query, text in enumerate(texts):
        lines = "".join(f" {' '.join(words_of(line))} \n" for line in text.splitlines())
        said = set(pattern.findall(lines))
        for word in said:
            found[spelt[word]].append(query)
        if not said:
            without.append(query)
    slices = {word: np.array(queries) for word, queries in found.items() if queries}
    return slices | {"none of these": np.array(without)} if without else slices


def query_slicings(
    captions: Sequence[str],
    visual_of_text: np.ndarray,
    direction: Direction,
    columns: Mapping[str, Sequence[Any]] | None = None,
    labels: Sequence[str] | None = None,
    *,
    words: bool = True,
) -> dict[str, dict[str, np.ndarray]]:
    """Every way to slice the queries of a split: title → slicing.

    captions (N_t,) with their visuals, visual_of_text (N_t,); columns of metadata and `labels` are per visual (N_v,).
    In v2t a query is a visual, whose text is all of its captions and whose length is their mean. `words` False leaves
    out what looks into captions. A column is a number where all its values are, else a label; one that nearly every
    visual has a value of its own in (a name, a path) or that holds no plain values is left out, and so is a slicing
    with a single slice.
    """
    found: dict[str, dict[str, np.ndarray]] = {}
    upright = direction == "v2t"
    visuals = max(
        [int(visual_of_text.max()) + 1, *(len(part) for part in [labels, *(columns or {}).values()] if part is not None)]
    )  # fmt: skip
    if words:
        lengths = np.array([len(words_of(caption)) for caption in captions], float)
        texts = list(captions)
        if upright:
            own: list[list[str]] = [[] for _ in range(visuals)]
            for visual, caption in zip(visual_of_text.tolist(), captions, strict=True):
                own[visual].append(caption)
            texts = ["\n".join(some) for some in own]
            number = np.bincount(visual_of_text, minlength=visuals)
            total = np.bincount(visual_of_text, lengths, visuals)
            lengths = np.divide(total, number, out=np.full(visuals, np.nan), where=number > 0)
        found["words in a caption"] = by_number(lengths)
        found["relation words"] = by_word(texts)
    for title, values in {**(columns or {}), **({} if labels is None else {"label": labels})}.items():
        asked = list(values) if upright else [values[visual] for visual in visual_of_text.tolist()]
        if not all(value is None or isinstance(value, str | int | float) for value in values):
            continue
        if _are_numbers(values):
            found[title] = by_number(asked)
        elif 2 * len(set(values)) <= len(values):
            found[title] = by_label(asked)
    return {title: slicing for title, slicing in found.items() if len(slicing) > 1}


# ---- two runs ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PairedQueries:
    """Two runs on the same queries: their means, the mean of b − a with its 95% interval, and whether that is chance.

    `better` and `worse` are the queries on which b is above and below a, `visuals` those that the `queries` are of; `p`
    is two-sided, of the `test` named.
    """

    a: float
    b: float
    difference: float
    low: float
    high: float
    better: int
    worse: int
    queries: int
    visuals: int
    p: float
    test: str


def paired_queries(
    a: np.ndarray, b: np.ndarray, visuals: np.ndarray | None = None, seed: int = 0
) -> PairedQueries:
    """Compares two runs by (Q,) numbers of the same queries; NaN in either leaves a query out.

    The test flips the signs of the differences' sums over each visual (`flip_test`). Several tests need
    `xmr.experiments.intervals.holm`. Raises ValueError where no query has both values.
    """
    differences = b - a
    both = ~np.isnan(differences)
    if not both.any():
        raise ValueError("no query has a value under both runs, so there is nothing to compare")
    sums, _ = by_visual(differences, visuals)
    p, test = flip_test(sums, seed)
    better, worse = int((differences > 0).sum()), int((differences < 0).sum())
    return PairedQueries(
        float(a[both].mean()), float(b[both].mean()), *mean_interval(differences, visuals, seed), better, worse,
        int(both.sum()), len(sums), p, test,
    )  # fmt: skip


def _are_numbers(values: Sequence[Any]) -> bool:
    """Whether all that is given are finite numbers, as such or in words, as in a table's text columns."""
    try:
        given = [float(value) for value in values if value is not None and value != ""]
    except ValueError:
        return False
    plain = not any(isinstance(value, bool) for value in values)
    return plain and bool(given) and not np.isinf(given).any()


def _written(number: float, digits: int) -> str:
    """A number as people write it: whole ones in full, others to so many digits."""
    if number == int(number):
        return f"{number:,.0f}"
    return np.format_float_positional(number, precision=digits, fractional=False, trim="-")
