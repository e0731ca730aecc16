"""The distributions of a run's scores as a PNG, drawn by Pillow: a card's picture, which every page of the Hub shows."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from xmr.analysis import Distribution
from xmr.experiments.plot import nice_ticks
from xmr.figures.distributions import KINDS

SIZE, SCALE = (860, 360), 2  # px of the picture as it is shown, and how many of its own are one of them
LEFT, RIGHT, TOP, BOTTOM = 20, 20, 66, 44
INK, FAINT = "#1f2937", "#e5e7ec"


def picture(title: str, one: Distribution) -> bytes:
    """A PNG of the densities of one run, over the same axis, each with its name."""
    width, height = SIZE
    image = Image.new("RGB", (width * SCALE, height * SCALE), "white")
    draw, large, small = ImageDraw.Draw(image), *(ImageFont.load_default(size * SCALE) for size in (15, 13))
    low, high = float(one.edges[0]), float(one.edges[-1])
    most = max(float(one.densities[kind].max()) for kind in KINDS if one.counts.get(kind))

    def at(x: float, density: float) -> tuple[float, float]:
        across = LEFT + (x - low) / (high - low) * (width - LEFT - RIGHT)
        return across * SCALE, (height - BOTTOM - density / most * (height - TOP - BOTTOM)) * SCALE

    draw.text((LEFT * SCALE, 10 * SCALE), title, INK, large)
    ticks, decimals = nice_ticks(low, high)
    for tick in ticks:
        if low <= tick <= high:
            draw.line([at(tick, 0), at(tick, most)], FAINT, SCALE)
            draw.text(at(tick, -0.04 * most), f"{tick:.{decimals}f}", INK, small, anchor="mt")
    draw.text((width / 2 * SCALE, (height - 6) * SCALE), "score", INK, small, anchor="mb")
    centres, across = (one.edges[1:] + one.edges[:-1]) / 2, LEFT * SCALE
    for kind, (label, colour, _) in KINDS.items():
        if not one.counts.get(kind):
            continue
        line = [at(*point) for point in zip(centres, np.asarray(one.densities[kind]), strict=True)]
        draw.line(line, colour, 2 * SCALE, joint="curve")
        draw.line([(across, 48 * SCALE), (across + 22 * SCALE, 48 * SCALE)], colour, 3 * SCALE)
        text = f"{label} ({one.counts[kind]:,})"
        draw.text((across + 28 * SCALE, 48 * SCALE), text, INK, small, anchor="lm")
        across += 28 * SCALE + draw.textlength(text, small) + 20 * SCALE
    made = io.BytesIO()
    image.save(made, "PNG", optimize=True)
    return made.getvalue()
