"""What runs do to queries: buckets, ranks, slices and hubs, and how training went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from xmr.analysis import Hubness, Slice
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
    figure_of,
    legend,
    percent,
    plain,
)

# Of the bars: colour and, so that colour is not alone, a pattern.
BUCKETS = {
    "all right": (GREEN, ""), "only A": (BLUE, "/"), "only B": (ORANGE, "\\"), "some right": (BLUE, "x"),
    "all wrong": (MUTED, ""), "no match": (GRID, ""),
}  # fmt: skip
LONGEST = 34  # letters of a slice's or a run's name on an axis
RANK_BINS = (1, 2, 3, 5, 9, 17, 33, 65, 129, 257, 513, 1025)  # the first of each


def buckets_figure(buckets: Mapping[str, Mapping[str, Sequence[int] | np.ndarray]]) -> go.Figure:
    """One bar for each comparison (its name → its buckets), split by who is right; counts inside."""
    figure = figure_of(height=96 + 44 * len(buckets))
    for bucket, (colour, pattern) in BUCKETS.items():
        if not any(bucket in one for one in buckets.values()):
            continue
        counts = [len(one.get(bucket, ())) for one in buckets.values()]
        totals = [max(sum(map(len, one.values())), 1) for one in buckets.values()]
        shares = [100 * count / total for count, total in zip(counts, totals, strict=True)]
        figure.add_bar(
            x=shares,
            y=list(range(len(buckets))),
            orientation="h",
            name=bucket,
            marker={"color": colour, "pattern": {"shape": pattern, "fillmode": "overlay", "fgcolor": PAGE, "size": 6, "solidity": 0.2}},
            text=[f"{count:,}" if share >= 7 else "" for count, share in zip(counts, shares, strict=True)],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            textfont={"color": PAGE, "size": 13},
            customdata=counts,
            hovertemplate=f"{bucket}: %{{customdata:,}} queries, %{{x:.1f}}%<extra></extra>",
        )  # fmt: skip
    figure.update_layout(
        barmode="stack",
        xaxis=axis("% of the queries", range=[0, 100]),
        yaxis=axis(
            "",
            tickvals=list(range(len(buckets))),
            ticktext=[plain(_short(name)) for name in buckets],
            range=[len(buckets) - 0.5, -0.5],
            showgrid=False,
        )
        | {"tickfont": {"color": INK}},
        legend=legend() | {"traceorder": "normal"},
        margin={"t": 44, "l": 12, "r": 16, "b": 44},
        bargap=0.35,
    )
    return figure


def buckets_words(buckets: Mapping[str, Sequence[int] | np.ndarray], names: Sequence[str], k: int) -> str:
    """How often two runs fail together, and how much a perfect choice between them would gain."""
    total = max(sum(len(found) for bucket, found in buckets.items() if bucket != "no match"), 1)
    share = {bucket: len(found) / total for bucket, found in buckets.items()}
    where = "first" if k == 1 else f"among the first {k}"
    if len(names) != 2:
        text = f"All {len(names)} runs have" if len(names) > 1 else f"{names[0]} has"
        other = f", no run for {percent(share['all wrong'])}" if len(names) > 1 else ""
        return f"{text} a match {where} for {percent(share['all right'])} of the queries{other}."
    a, b = names
    best, only = (a, share["only A"]) if share["only A"] >= share["only B"] else (b, share["only B"])
    either = 1 - share["all wrong"]
    return (
        f"{a} and {b} both have a match {where} for {percent(share['all right'])} of the queries, neither for "
        f"{percent(share['all wrong'])}; {a} alone for {percent(share['only A'])}, {b} alone for "
        f"{percent(share['only B'])}. Whoever knew which of them to ask would be right for {percent(either)}, "
        f"{100 * (either - share['all right'] - only):.1f} points more than {best}."
    )


def ranks_figure(a: np.ndarray, b: np.ndarray, names: tuple[str, str]) -> go.Figure:
    """How many queries have which ranks under two runs: a map of counts over doubling bins, on the diagonal equal."""
    known = ~np.isnan(a) & ~np.isnan(b)
    a, b = a[known], b[known]
    edges = [edge for edge in RANK_BINS if edge <= max(a.max(initial=1), b.max(initial=1))]
    bins = zip(RANK_BINS, [*RANK_BINS[1:], None], strict=True)
    ends = [
        f"{low}+" if high is None else str(low) if high - low == 1 else f"{low}–{high - 1}"
        for low, high in bins
        if low in edges
    ]
    counts = np.zeros((len(edges), len(edges)), np.int32)
    np.add.at(counts, (np.searchsorted(edges, b, "right") - 1, np.searchsorted(edges, a, "right") - 1), 1)
    figure = figure_of(height=430)
    figure.add_heatmap(
        z=np.where(counts > 0, np.log10(np.maximum(counts, 1)), np.nan).astype(np.float32),
        x=ends,
        y=ends,
        customdata=counts,
        text=[[f"{count:,}" if count else "" for count in row] for row in counts.tolist()],
        texttemplate="%{text}",
        textfont={"size": 11, "color": INK},
        zmin=0,
        colorscale=[[0, PAGE], [1, PUSH_HALF]],
        showscale=False,
        hoverongaps=False,
        hovertemplate=f"{plain(names[0])}: rank %{{x}}<br>{plain(names[1])}: rank %{{y}}<br>%{{customdata:,}} queries<extra></extra>",
    )
    figure.add_scatter(
        x=[ends[0], ends[-1]],
        y=[ends[0], ends[-1]],
        mode="lines",
        line={"color": PUSH, "width": 1, "dash": "dot"},
        hoverinfo="skip",
        showlegend=False,
    )
    category = {"type": "category", "showgrid": False}
    figure.update_layout(
        xaxis=axis(f"rank under {plain(names[0])}", **category),
        yaxis=axis(f"rank under {plain(names[1])}", **category),
        margin={"t": 12, "l": 12, "r": 12, "b": 48},
    )
    return figure


def slices_figure(
    slices: Mapping[str, Sequence[Slice]], styles: Mapping[str, Styled], what: str
) -> go.Figure:
    """The mean in each slice, with its interval: a mark for each run; `what` names the number, in per cent."""
    names = list(dict.fromkeys(one.name for found in slices.values() for one in found))
    counts = {one.name: one.count for found in slices.values() for one in found}
    figure = figure_of(height=110 + max(26, 12 * len(slices)) * len(names))
    ticks = [f"{plain(_short(name))} ({counts[name]:,})" for name in names]
    for at, (run, found) in enumerate(slices.items()):
        shift = 0.62 * ((at + 0.5) / len(slices) - 0.5)
        mean, low, high = (
            np.array([100 * getattr(one, part) for one in found], np.float32) for part in ("mean", "low", "high")
        )  # fmt: skip
        style = styles[run]
        figure.add_scatter(
            x=mean,
            y=np.array([names.index(one.name) + shift for one in found], np.float32),
            error_x={
                "array": np.nan_to_num(high - mean), "arrayminus": np.nan_to_num(mean - low), "thickness": 1.5, "width": 0
            },
            mode="markers",
            marker={"color": style.colour, "symbol": style.marker, "size": 8},
            name=plain(run),
            text=[plain(one.name) for one in found],
            customdata=[f"{100 * one.low:.1f} – {100 * one.high:.1f}, {one.count:,} queries" for one in found],
            hovertemplate=f"{plain(run)}, %{{text}}<br>%{{x:.1f}} (%{{customdata}})<extra></extra>",
        )  # fmt: skip
    figure.update_layout(
        xaxis=axis(what, rangemode="tozero"),
        yaxis=axis(
            "", tickvals=list(range(len(names))), ticktext=ticks, range=[len(names) - 0.5, -0.5], showgrid=False
        ) | {"tickfont": {"color": INK}},
        hovermode="closest",
        legend=legend(),
        showlegend=True,
        margin={"t": 48, "l": 12, "r": 16, "b": 44},
    )  # fmt: skip
    return figure


def slices_words(title: str, differences: Sequence[Slice], names: tuple[str, str]) -> str:
    """The slice in which two runs differ most surely; `differences` are `slice_differences` of the second run to the
    first."""
    sure = [one for one in differences if one.low > 0 or one.high < 0]
    if not sure:
        return f"By {title}: in no slice do {names[0]} and {names[1]} differ by more than chance."
    first = sure[0]
    way = "above" if first.mean > 0 else "below"
    more = f"; they differ in {len(sure)} of {len(differences)} slices" if len(sure) > 1 else ""
    return (
        f"By {title}: {names[1]} is {abs(100 * first.mean):.1f} points {way} {names[0]} on “{first.name}” "
        f"({100 * first.low:+.1f} … {100 * first.high:+.1f}, {first.count:,} queries){more}."
    ).replace("-", "−")


def hubness_figure(hubness: Mapping[str, Hubness], styles: Mapping[str, Styled]) -> go.Figure:
    """In how many lists an item is, items in falling order: a level line would be no hubs at all."""
    figure = figure_of(height=340)
    for name, one in hubness.items():
        ordered = np.sort(one.counts)[::-1]
        count = len(ordered)
        # Evenly spaced on the logarithmic axis, which is all that can be seen.
        at = np.unique(np.geomspace(1, count, min(count, 160)).astype(int))
        style = styles[name]
        figure.add_scatter(
            x=(100 * at / count).astype(np.float32),
            y=ordered[at - 1].astype(np.int32),
            mode="lines",
            line={"color": style.colour, "dash": style.dash, "width": 2},
            name=plain(name),
            hovertemplate=f"%{{y:,}} {plain(name)}<extra></extra>",
        )
    mean = next(iter(hubness.values())).counts.mean()
    figure.add_hline(y=mean, line={"color": MUTED, "width": 1, "dash": "dot"})
    figure.add_annotation(
        x=1, xref="paper", xanchor="right", y=mean, yanchor="bottom", showarrow=False,
        text=f"even: {mean:.3g}", font={"size": 11, "color": MUTED},
    )  # fmt: skip
    figure.update_layout(
        xaxis=axis("% of the gallery, most frequent first", type="log", dtick=1),
        yaxis=axis("lists that hold the item", rangemode="tozero"),
        hovermode="x unified",
        legend=legend(),
        showlegend=True,
        margin={"t": 48, "l": 12, "r": 12, "b": 44},
    )
    return figure


def hubness_words(hubness: Mapping[str, Hubness], noun: str = "item") -> str:
    """Which run's lists are most uneven, which least, and what stays unseen."""
    order = sorted(hubness, key=lambda name: hubness[name].skewness)
    least, most = hubness[order[0]], hubness[order[-1]]
    k = most.k
    if len(order) == 1:
        return (
            f"{order[0]}: the {len(most.hubs):,} hubs take {percent(most.taken)} of all places in the lists of {k}, and "
            f"{percent(most.never)} of the {noun}s are in no list (skewness {most.skewness:.2f})."
        )
    return (
        f"{order[-1]} has the strongest hubs (skewness {most.skewness:.2f}: {len(most.hubs):,} {noun}s take "
        f"{percent(most.taken)} of all places in the lists of {k}, {percent(most.never)} are in no list), {order[0]} the "
        f"weakest ({least.skewness:.2f}: {percent(least.taken)}, {percent(least.never)})."
    )


def curves_figure(
    histories: Mapping[str, Sequence[Mapping[str, Any]]], styles: Mapping[str, Styled], key: str, title: str
) -> go.Figure:
    """How a number went through training, by epoch: a line for each run whose history has `key`."""
    figure = figure_of(height=320)
    most = max((line["epoch"] for lines in histories.values() for line in lines), default=1)
    for name, lines in histories.items():
        told = [(line["epoch"], line[key]) for line in lines if isinstance(line.get(key), int | float)]
        style = styles[name]
        figure.add_scatter(
            x=[epoch for epoch, _ in told],
            y=[value for _, value in told],
            mode="lines+markers",
            line={"color": style.colour, "dash": style.dash, "width": 2},
            marker={"symbol": style.marker, "size": 7},
            name=plain(name),
            hovertemplate=f"%{{y:.4g}} {plain(name)}<extra></extra>",
        )
    figure.update_layout(
        xaxis=axis("epoch", dtick=max(1, -(-most // 10)), tick0=0),
        yaxis=axis(title),
        hovermode="x unified",
        legend=legend(),
        showlegend=True,
        margin={"t": 48, "l": 12, "r": 12, "b": 44},
    )
    return figure


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
