"""How unevenly runs' lists are spread over the gallery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from xmr.analysis import Hubness
from xmr.figures.shared import Styled, axis, band, level, line_chart, plain, run_line, trace
from xmr.words import percent


def hubness_figure(
    hubness: Mapping[str, Hubness],
    styles: Mapping[str, Styled],
    seeds: Mapping[str, Sequence[Hubness]] | None = None,
) -> go.Figure:
    """In how many lists an item is, items in falling order: a level line would be no hubs at all. The band of a run holds those of
    its `seeds`."""
    traces = []
    for name, one in hubness.items():
        ordered = np.sort(one.counts)[::-1]
        count = len(ordered)
        # Evenly spaced on the logarithmic axis, which is all that can be seen.
        at = np.unique(np.geomspace(1, count, min(count, 160)).astype(int))
        if many := (seeds or {}).get(name):
            curves = np.stack([np.sort(other.counts)[::-1][at - 1] for other in many])
            traces.append(band(100 * at / count, curves.min(0), curves.max(0), styles[name].colour))
        traces.append(
            trace(
                "scatter",
                x=(100 * at / count).astype(np.float32),
                y=ordered[at - 1].astype(np.int32),
                mode="lines",
                line=run_line(styles[name]),
                name=plain(name),
                hovertemplate=f"%{{y:,}} {plain(name)}<extra></extra>",
            )
        )
    mean = next(iter(hubness.values())).counts.mean()
    return line_chart(
        traces,
        xaxis=axis("% of the gallery, most frequent first", type="log", dtick=1),
        yaxis=axis("lists that hold the item", rangemode="tozero"),
        showlegend=True,
        **level(mean, f"even: {mean:.3g}", "left"),
    )


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
        f"weakest (skewness {least.skewness:.2f}: {percent(least.taken)} of the places, {percent(least.never)} in no list)."
    )
