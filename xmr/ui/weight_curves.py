"""The curves of the loss-weights tab, and the pairs of a batch that stand nearest to a point of them. No gradio here."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from xmr.analysis import WeightCurve, typical_negatives, weight_curve
from xmr.figures import (
    GREEN,
    ORANGE,
    Mark,
    weight_comparison_figure,
    weight_comparison_words,
    weight_figure,
    weight_words,
)
from xmr.losses import LOSSES
from xmr.ui.batch_maps import Asked, loss_of, measured
from xmr.ui.components.plotly_chart import chart
from xmr.ui.shell import NO_LOSS, chosen, side_by_side
from xmr.workspace import Workspace
from xmr.workspace.item_names import find_item
from xmr.workspace.measured import batch, effective, loss_of_run

OTHERS, SPREAD = 31, 0.15  # other negatives of the curve's query, and the deviation of their scores
SETTING = (0.6, 0.4)  # scores of the positive and of the hardest other negative, before a run tells its own
PICK = "Click a point for the pair of the batch below that is nearest to it."
PLACES = ("positive_score", "hardest_score")  # what a link calls them


def setting(workspace: Workspace, run: str, split: str) -> tuple[float, float]:
    """Median scores of the positives and of the hardest negatives in a batch of the run."""
    if not run:
        return SETTING
    loss = loss_of_run(workspace, run)
    pairs, _, _ = batch(workspace, run, split, loss, effective(workspace, run), seed=0, size=64)
    hardest = np.where(pairs.negatives, pairs.scores, -np.inf).max(1)
    hardest = hardest[np.isfinite(hardest)]
    if not len(hardest):
        return SETTING
    return round(float(np.median(pairs.scores[pairs.positives])), 2), round(float(np.median(hardest)), 2)


def curve(loss: str, hyper: Mapping[str, Any], positive: float, top: float) -> WeightCurve:
    """The curve of a query whose other negatives stand as in a batch, the hardest of them at `top`."""
    return _curve(loss, tuple(sorted(hyper.items())), positive, top)


@lru_cache(maxsize=256)
def _curve(loss: str, hyper: tuple[tuple[str, Any], ...], positive: float, top: float) -> WeightCurve:
    return weight_curve(loss, dict(hyper), positive=positive, others=typical_negatives(OTHERS, top, SPREAD))


def show_curve(workspace: Workspace, choice: str, hyper: dict[str, Any], positive: float, top: float) -> str:
    """The chart of the chosen loss with these values, the values as trained behind it where they differ."""
    loss, trained, _ = loss_of(workspace, choice)
    now = curve(loss, hyper, positive, top)
    moved = any(_differs(value, trained[name]) for name, value in hyper.items())
    before = curve(loss, trained, positive, top) if moved else None
    figure = weight_figure(now, before, _marks(positive, top))
    figure.update_layout(uirevision=choice, meta={"pick": PICK})
    every = slice(None, None, 6)
    rows = [
        (f"{s:.2f}", f"{n:.4g}", f"{p:.4g}")
        for s, n, p in zip(now.scores[every], now.negative[every], now.positive[every], strict=True)
    ]
    return chart(figure, weight_words(loss, now), (("similarity", "a negative", "the positive"), rows))


def show_comparison(workspace: Workspace, runs: list[str], positive: float, top: float) -> str:
    """The chart of the chosen runs' losses, each with its values as trained, in the same setting."""
    known, _ = chosen(workspace, runs, None)
    combined = [name for name in known if name not in workspace.trained]
    runs, left_out = side_by_side([name for name in known if name in workspace.trained])
    if combined:
        left_out += f" {NO_LOSS.format(', '.join(combined))}"
    if not runs:
        return chart(None, left_out.strip() or "No run is chosen: pick one under Runs in the sidebar.")
    curves = {
        name: curve(loss_of_run(workspace, name), effective(workspace, name), positive, top) for name in runs
    }
    styles = {name: workspace.style(name) for name in runs}
    figure = weight_comparison_figure(curves, styles, _marks(positive, top))
    figure.update_layout(uirevision="comparison", meta={"pick": PICK})
    first = next(iter(curves.values()))
    rows = [
        [
            f"{s:.2f}",
            *(f"{100 * c.negative[i] / max(abs(c.negative).max(), 1e-12):.0f}%" for c in curves.values()),
        ]
        for i, s in enumerate(first.scores)
        if i % 6 == 0
    ]
    words = f"{weight_comparison_words(curves)} {left_out.strip()}".strip()
    return chart(figure, words, (("similarity", *curves), rows))


def nearest_cell(workspace: Workspace, asked: Asked, x: float, positive: bool) -> tuple[int, int] | None:
    """Row and column of the batch's pair whose score is nearest to `x`: of a positive, or of a negative that the loss
    sees; None where there is none."""
    pairs = measured(workspace, asked)[0].pairs
    among = pairs.positives if positive else pairs.negatives
    if not among.any():
        return None
    gap = np.where(among, np.abs(pairs.scores - x), np.inf)
    row, column = np.unravel_index(int(gap.argmin()), gap.shape)
    return int(row), int(column)


def asked_pair(workspace: Workspace, split: str, visual: str, text: str) -> tuple[int, int] | None:
    """The pair of a link's two names; None where none is asked for. Raises ValueError where the split has no such item."""
    if not visual or not text:
        return None
    (kind, row), (other, column) = (find_item(workspace, split, name) for name in (visual, text))
    if (kind, other) != ("visual", "caption"):
        raise ValueError(f"a pair is a visual and a caption, not {visual[:40]!r} and {text[:40]!r}")
    if not (workspace.dataset(split).visual_of_text == row).any():
        raise ValueError(f"{visual[:80]!r} has no caption of its own, so no batch holds it")
    return row, column


def cell_of(text: str) -> tuple[int, int] | None:
    """Row and column of a link's cell; None where none is meant."""
    row, _, column = (text or "").partition(",")
    if not (row.isdecimal() and column.isdecimal() and len(text) < 12):
        return None
    return int(row), int(column)


def params_text(
    workspace: Workspace,
    choice: str,
    hyper: Mapping[str, Any],
    places: tuple[float, float],
    usual: tuple[float, float],
) -> str:
    """What was moved, for a link: "CHOICE: name=value; …"; "" where all is as trained and the curve's query as usual."""
    trained = loss_of(workspace, choice)[1]
    moved = [
        f"{name}={value:.6g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in hyper.items()
        if _differs(value, trained[name])
    ]
    moved += [
        f"{name}={at:.6g}" for name, at, was in zip(PLACES, places, usual, strict=True) if _differs(at, was)
    ]
    return f"{choice}: {'; '.join(moved)}" if moved else ""


def read_params(
    text: str, choice: str, loss: str, trained: Mapping[str, Any], usual: tuple[float, float]
) -> tuple[dict[str, Any], tuple[float, float], list[str]]:
    """Of a link's text: all parameters of the choice, the two places, and what can't be used, in words. A text of another
    choice says nothing of this one."""
    hyper, places, faults = dict(trained), dict(zip(PLACES, usual, strict=True)), []
    named, _, moved = text.rpartition(": ")
    if named != choice:
        return hyper, usual, []
    for part in moved.split("; "):
        name, _, value = part.partition("=")
        try:
            if name in places:
                places[name] = _place(name, value)
            else:
                hyper |= LOSSES[loss].parse({name: value})
        except (ValueError, TypeError) as error:
            faults.append(str(error))
    return hyper, (places[PLACES[0]], places[PLACES[1]]), faults


def _place(name: str, text: str) -> float:
    value = float(text)
    if not -1 <= value <= 1:
        raise ValueError(f"{name} must be -1 to 1")
    return value


def _differs(value: Any, before: Any) -> bool:
    if isinstance(value, int | float) and isinstance(before, int | float) and not isinstance(value, bool):
        return abs(value - before) > 1e-4 * max(1, abs(before))
    return value != before


def setting_or_default(workspace: Workspace, run: str, split: str) -> tuple[float, float]:
    try:
        return workspace.remember(("setting", run, split), lambda: setting(workspace, run, split))
    except (ValueError, OSError):  # the chart of the batch says why
        return SETTING


def _marks(positive: float, top: float) -> list[Mark]:
    return [Mark(positive, "its positive", GREEN), Mark(top, "hardest other", ORANGE)]
