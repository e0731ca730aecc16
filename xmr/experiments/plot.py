"""A comparison as one page of HTML with drawn SVG: no script, nothing to load, the same on paper.

An interactive figure would carry five megabytes of JavaScript for the same dots.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from xmr.experiments.intervals import Cell
from xmr.experiments.outcomes import METRICS, Comparison

WIDTH, NAMES, ROW, TOP, BOTTOM = 860, 220, 26, 34, 40  # px; NAMES is the column of the losses' names

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #1f2937; background: #fff; max-width: 860px; margin: 24px auto;
  padding: 0 16px; }}
svg {{ width: 100%; height: auto; break-inside: avoid; print-color-adjust: exact; }}
text {{ font: 13px system-ui, sans-serif; fill: #1f2937; }}
.metric {{ font-weight: 600; }}
.tick {{ fill: #6b7281; font-size: 12px; }}
.grid {{ stroke: #e5e7ec; }}
.base {{ stroke: #6b7281; stroke-dasharray: 4 3; }}
.interval {{ stroke: #0072b3; stroke-width: 2.5; }}
.mean {{ fill: #0072b3; }}
.differs .interval {{ stroke: #c85200; }}
.differs .mean {{ fill: #c85200; }}
.seed {{ fill: none; stroke: #6b7281; }}
</style>
<h1>{title}</h1>
{paragraphs}
{panels}
<p>Filled: mean of the seeds, with its 95% interval (Student t); rings: single seeds. Orange diamonds differ from
{baseline} (dashed line) in a paired t-test after Holm's correction, p &lt; 0.05.</p>
</html>
"""


def page(comparisons: Sequence[Comparison], title: str, about: Sequence[str]) -> str:
    """The panels of every comparison, below its name where there are several."""
    names = [f"<h2>{escape(one.matcher)}</h2>\n" if len(comparisons) > 1 else "" for one in comparisons]
    return PAGE.format(
        title=escape(title),
        paragraphs="\n".join(f"<p>{escape(text.strip())}</p>" for text in about),
        panels="\n".join(name + panels(one) for name, one in zip(names, comparisons, strict=True)),
        baseline=escape(comparisons[0].baseline),
    )


def panels(one: Comparison) -> str:
    """A panel for rsum (mAP where there are class labels) and, where the truth is known, for each direction's mAP@R;
    losses in the order of their cells."""
    drawn = []
    for metric in one.told():
        row = {loss: found[metric] for loss, found in one.cells.items() if metric in found}
        seeds = {loss: list(one.rows[loss].values(metric).values()) for loss in row}
        drawn.append(_panel(METRICS[metric][0], row, seeds, one.baseline))
    return "\n".join(drawn) or "<p>No training succeeded.</p>"


def _panel(title: str, row: Mapping[str, Cell], seeds: Mapping[str, Sequence[float]], baseline: str) -> str:
    half = {loss: 0.0 if math.isnan(cell.half) else cell.half for loss, cell in row.items()}
    ends = [cell.mean + sign * half[loss] for loss, cell in row.items() for sign in (-1, 1)]
    ends += [value for values in seeds.values() for value in values]
    ticks, decimals = nice_ticks(min(ends), max(ends))
    low, high = min(ticks[0], *ends), max(ticks[-1], *ends)

    def x(value: float) -> str:
        return f"{NAMES + (value - low) / (high - low) * (WIDTH - NAMES - 20):.1f}"

    bottom = TOP + ROW * len(row)
    parts = [f'<text class="metric" x="{NAMES}" y="18">{escape(title)}</text>']
    for tick in ticks:
        parts.append(f'<line class="grid" x1="{x(tick)}" x2="{x(tick)}" y1="{TOP - 6}" y2="{bottom}"/>')
        parts.append(
            f'<text class="tick" x="{x(tick)}" y="{bottom + 18}" text-anchor="middle">{tick:.{decimals}f}</text>'
        )
    if baseline in row:
        base = x(row[baseline].mean)
        parts.append(f'<line class="base" x1="{base}" x2="{base}" y1="{TOP - 6}" y2="{bottom}"/>')
    for place, (loss, cell) in enumerate(row.items()):
        y = TOP + ROW * place + ROW / 2
        parts.append(f'<g class="{"differs" if cell.arrow else "same"}">')
        parts.append(f"<title>{escape(loss)}: {cell.mean:.2f} ± {half[loss]:.2f}</title>")
        parts.append(f'<text x="{NAMES - 12}" y="{y + 4}" text-anchor="end">{escape(loss)}</text>')
        span = x(cell.mean - half[loss]), x(cell.mean + half[loss])
        parts.append(f'<line class="interval" x1="{span[0]}" x2="{span[1]}" y1="{y}" y2="{y}"/>')
        parts += [f'<circle class="seed" cx="{x(value)}" cy="{y}" r="3"/>' for value in seeds[loss]]
        centre = x(cell.mean)
        if cell.arrow:  # another form too, for paper without colours
            parts.append(f'<path class="mean" d="M{centre} {y - 6.5}l6.5 6.5-6.5 6.5-6.5-6.5z"/>')
        else:
            parts.append(f'<circle class="mean" cx="{centre}" cy="{y}" r="4.5"/>')
        parts.append("</g>")
    label = f"{title} of {len(row)} losses"
    return "\n".join(
        [
            f'<svg viewBox="0 0 {WIDTH} {bottom + BOTTOM}" role="img" aria-label="{escape(label)}">',
            *parts,
            "</svg>",
        ]
    )


def nice_ticks(low: float, high: float) -> tuple[list[float], int]:
    """Round numbers 1, 2 or 5 × 10^k apart that reach from below `low` to above `high`, and their decimals."""
    if not high > low:
        low, high = low - 0.5, high + 0.5
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * unit for unit in (1, 2, 5, 10) if power * unit >= rough * (1 - 1e-9))
    count = np.arange(math.floor(low / step), math.ceil(high / step) + 1)
    return [float(n * step) for n in count], max(0, -math.floor(math.log10(step) + 1e-9))
