"""What runs do to queries: buckets, ranks and slices, and how training went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from xmr.analysis import Slice
from xmr.figures.shared import (
    BLUE,
    GREEN,
    GRID,
    INK,
    MUTED,
    ORANGE,
    PAGE,
    PUSH,
    PUSH_HALF,
    Styled,
    axis,
    band,
    cut,
    figure_of,
    legend,
    line_chart,
    names_axis,
    plain,
    run_line,
    run_mark,
    trace,
)
from xmr.words import fixed, percent

# Of the bars: colour and, so that colour is not alone, a pattern.
BUCKETS = {
    "all right": (GREEN, ""), "only A": (BLUE, "/"), "only B": (ORANGE, "\\"), "some right": (BLUE, "x"),
    "all wrong": (MUTED, ""), "no match": (GRID, ""),
}  # fmt: skip
RANK_BINS = (1, 2, 3, 5, 9, 17, 33, 65, 129, 257, 513, 1025)  # the first of each


def buckets_figure(buckets: Mapping[str, Mapping[str, Sequence[int] | np.ndarray]]) -> go.Figure:
    """One bar for each comparison (its name → its buckets), split by who is right; counts inside."""
    traces = []
    for bucket, (colour, pattern) in BUCKETS.items():
        if not any(bucket in one for one in buckets.values()):
            continue
        counts = [len(one.get(bucket, ())) for one in buckets.values()]
        totals = [max(sum(map(len, one.values())), 1) for one in buckets.values()]
        shares = [100 * count / total for count, total in zip(counts, totals, strict=True)]
        traces.append(trace("bar", x=shares,
            y=list(range(len(buckets))),
            orientation="h",
            name=bucket,
            meta={"bucket": bucket},
            marker={"color": colour, "pattern": {"shape": pattern, "fillmode": "overlay", "fgcolor": PAGE, "size": 6, "solidity": 0.2}},
            text=[f"{count:,}" if share >= 7 else "" for count, share in zip(counts, shares, strict=True)],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            textfont={"color": PAGE, "size": 13},
            customdata=counts,
            hovertemplate=f"{bucket}: %{{customdata:,}} queries, %{{x:.1f}}%<extra></extra>",
        ))  # fmt: skip
    return figure_of(
        traces,
        height=96 + 44 * len(buckets),
        barmode="stack",
        xaxis=axis("% of the queries", range=[0, 100]),
        yaxis=names_axis([plain(cut(name)) for name in buckets], (len(buckets) - 0.5, -0.5), showgrid=False),
        legend=legend() | {"traceorder": "normal"},
        margin={"t": 44, "l": 12, "r": 16, "b": 44},
        bargap=0.35,
    )


def buckets_words(
    buckets: Mapping[str, Sequence[int] | np.ndarray], names: Sequence[str], k: int, match: str = "a match"
) -> str:
    """How often two runs fail together, and how much a perfect choice between them would gain; `match` is what counts."""
    total = max(sum(len(found) for bucket, found in buckets.items() if bucket != "no match"), 1)
    share = {bucket: len(found) / total for bucket, found in buckets.items()}
    where = "first" if k == 1 else f"among the first {k}"
    if len(names) != 2:
        text = f"All {len(names)} runs have" if len(names) > 1 else f"{names[0]} has"
        other = f", no run for {percent(share['all wrong'])}" if len(names) > 1 else ""
        return f"{text} {match} {where} for {percent(share['all right'])} of the queries{other}."
    a, b = names
    best, only = (a, share["only A"]) if share["only A"] >= share["only B"] else (b, share["only B"])
    either = 1 - share["all wrong"]
    gain = 100 * max(either - share["all right"] - only, 0)
    return (
        f"{a} and {b} both have {match} {where} for {percent(share['all right'])} of the queries, neither for "
        f"{percent(share['all wrong'])}; {a} alone for {percent(share['only A'])}, {b} alone for "
        f"{percent(share['only B'])}. Whoever knew which of them to ask would be right for {percent(either)}, "
        f"{gain:.1f} points more than {best}."
    )


def rank_bins(most: float) -> dict[int, str]:
    """The bins of ranks up to `most`: the first rank of each, and what the bin is called."""
    edges = [edge for edge in RANK_BINS if edge <= most]
    ends = [*RANK_BINS[1:], None][: len(edges)]
    return {
        low: f"{low}+" if high is None else str(low) if high - low == 1 else f"{low}–{high - 1}"
        for low, high in zip(edges, ends, strict=True)
    }


def rank_counts(a: np.ndarray, b: np.ndarray) -> tuple[dict[int, str], np.ndarray]:
    """Bins of ranks, and how many queries are in which under two runs: (bins of b, bins of a) int32."""
    known = ~np.isnan(a) & ~np.isnan(b)
    a, b = a[known], b[known]
    bins = rank_bins(max(a.max(initial=1), b.max(initial=1)))
    counts = np.zeros((len(bins), len(bins)), np.int32)
    edges = list(bins)
    np.add.at(counts, (np.searchsorted(edges, b, "right") - 1, np.searchsorted(edges, a, "right") - 1), 1)
    return bins, counts


def ranks_figure(a: np.ndarray, b: np.ndarray, names: tuple[str, str]) -> go.Figure:
    """How many queries have which ranks under two runs: a map of counts over doubling bins, on the diagonal equal.

    Its cells can be chosen (`layout.meta.cells`): row and column are places of the bins of `rank_counts`.
    """
    bins, counts = rank_counts(a, b)
    ends, size = list(bins.values()), len(bins)
    places = list(range(1, size + 1))
    cells = trace(
        "heatmap",
        z=np.where(counts > 0, np.log10(np.maximum(counts, 1)), np.nan).astype(np.float32),
        x=places,
        y=places,
        customdata=counts,
        text=[[f"{count:,}" if count else "" for count in row] for row in counts.tolist()],
        texttemplate="%{text}",
        textfont={"size": 11, "color": INK},
        hovertext=[
            [f"{plain(names[0])}: rank {x}<br>{plain(names[1])}: rank {y}" for x in ends] for y in ends
        ],
        zmin=0,
        colorscale=[[0, PAGE], [1, PUSH_HALF]],
        showscale=False,
        hoverongaps=False,
        hovertemplate="%{hovertext}<br>%{customdata:,} queries<extra></extra>",
    )
    equal = trace(
        "scatter",
        x=[1, size],
        y=[1, size],
        mode="lines",
        line={"color": PUSH, "width": 1, "dash": "dot"},
        hoverinfo="skip",
        showlegend=False,
    )
    bin_axis = {"tickvals": places, "ticktext": ends, "showgrid": False}
    return figure_of(
        [cells, equal],
        height=430,
        xaxis=axis(f"rank under {plain(names[0])}", range=[0.5, size + 0.5], tickangle=-45, **bin_axis),
        yaxis=axis(f"rank under {plain(names[1])}", range=[size + 0.5, 0.5], **bin_axis),
        hovermode="closest",
        margin={"t": 12, "l": 84, "r": 12, "b": 80},
        meta={"cells": [size, size]},
    )


def ranks_words(a: np.ndarray, b: np.ndarray, names: tuple[str, str], match: str = "match") -> str:
    """Under which of two runs more queries stand better."""
    return (
        f"Rank of the {match}: {int((a < b).sum()):,} queries stand better under {names[0]}, {int((b < a).sum()):,} under "
        f"{names[1]}, {int((a == b).sum()):,} equally."
    )


def slices_figure(
    slices: Mapping[str, Sequence[Slice]], styles: Mapping[str, Styled], what: str
) -> go.Figure:
    """The mean in each slice, with its interval: a mark for each run; `what` names the number, in per cent."""
    names = list(dict.fromkeys(one.name for found in slices.values() for one in found))
    counts = {one.name: one.count for found in slices.values() for one in found}
    traces = []
    ticks = [f"{plain(cut(name))} ({counts[name]:,})" for name in names]
    for at, (run, found) in enumerate(slices.items()):
        shift = 0.62 * ((at + 0.5) / len(slices) - 0.5)
        mean, low, high = (
            np.array([100 * getattr(one, part) for one in found], np.float32) for part in ("mean", "low", "high")
        )  # fmt: skip
        traces.append(trace("scatter", x=mean,
            y=np.array([names.index(one.name) + shift for one in found], np.float32),
            error_x={
                "array": np.nan_to_num(high - mean), "arrayminus": np.nan_to_num(mean - low), "thickness": 1.5, "width": 0
            },
            mode="markers",
            marker=run_mark(styles[run], 8),
            name=plain(run),
            text=[plain(one.name) for one in found],
            # A click tells the slice by its whole name.
            customdata=[
                [one.name, f"{100 * one.low:.1f} – {100 * one.high:.1f}, {one.count:,} queries"] for one in found
            ],
            hovertemplate=f"{plain(run)}, %{{text}}<br>%{{x:.1f}} (%{{customdata[1]}})<extra></extra>",
        ))  # fmt: skip
    return line_chart(
        traces,
        height=110 + max(26, 12 * len(slices)) * len(names),
        xaxis=axis(what, rangemode="tozero"),
        yaxis=names_axis(ticks, (len(names) - 0.5, -0.5), showgrid=False),
        hovermode="closest",
        showlegend=True,
        margin={"t": 48, "l": 12, "r": 16, "b": 44},
    )


def slice_words(title: str, means: Sequence[Slice], name: str) -> str:
    """The slices in which one run is best and worst, and whether their intervals part; `means` are `slice_means` of it."""
    ordered = sorted(means, key=lambda one: one.mean)
    if len(ordered) < 2:
        return f"By {title}: {name} on one slice only."
    worst, best = ordered[0], ordered[-1]
    if worst.mean == best.mean:
        return f"By {title}: {name} is the same on every slice, {100 * best.mean:.1f}%."
    text = (
        f"By {title}: {name} is best on “{best.name}” ({100 * best.mean:.1f}%, {best.count:,} queries) and worst on "
        f"“{worst.name}” ({100 * worst.mean:.1f}%, {worst.count:,} queries)"
    )
    return text + ("." if worst.high < best.low else "; their intervals overlap.")


def slices_words(title: str, differences: Sequence[Slice], names: tuple[str, str], here: str = "") -> str:
    """The slice in which two runs differ most clearly; `differences` are `slice_differences` of the second run to the
    first, `here` is on which seeds."""
    sure = [one for one in differences if one.low > 0 or one.high < 0]
    if not sure:
        return f"By {title}: {names[1]} and {names[0]} can't be told apart on any slice{here}: every interval holds 0."
    first = sure[0]
    way = "above" if first.mean > 0 else "below"
    ends = " … ".join(fixed(100 * end, 1, sign=True) for end in (first.low, first.high))
    return (
        f"By {title}: {names[1]} is {abs(100 * first.mean):.1f} points {way} {names[0]} on “{first.name}”{here} "
        f"({ends}, {first.count:,} queries); the 95% interval leaves out 0 in {len(sure)} of {len(differences)} slices, "
        "uncorrected for their number."
    )


def curves_figure(
    histories: Mapping[str, Sequence[Mapping[str, Any]]], styles: Mapping[str, Styled], key: str, title: str
) -> go.Figure:
    """How a number went through training, by epoch: a line for each run whose history has `key`, in a band from "low" to "high"
    where it has these."""
    traces = []
    most = max((line["epoch"] for lines in histories.values() for line in lines), default=1)
    for name, lines in histories.items():
        told = [(line["epoch"], line[key]) for line in lines if isinstance(line.get(key), int | float)]
        if many := [line for line in lines if "low" in line]:
            ends = (np.array([line[end] for line in many]) for end in ("epoch", "low", "high"))
            traces.append(band(*ends, styles[name].colour))
        traces.append(
            trace(
                "scatter",
                x=[epoch for epoch, _ in told],
                y=[value for _, value in told],
                mode="lines+markers",
                line=run_line(styles[name]),
                marker={"symbol": styles[name].marker, "size": 7},
                name=plain(name),
                hovertemplate=f"%{{y:.4g}} {plain(name)}<extra></extra>",
            )
        )
    return line_chart(
        traces,
        height=320,
        xaxis=axis("epoch", dtick=max(1, -(-most // 10)), tick0=0),
        yaxis=axis(title),
        showlegend=True,
    )
