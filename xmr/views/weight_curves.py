"""The curves of the loss-weights tab, and the pairs of a batch that stand nearest to a point of them. No gradio here."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from xmr.analysis import WeightCurve, typical_negatives, weight_curve
from xmr.figures.shared import GREEN, ORANGE, Mark
from xmr.figures.weights import (
    weight_comparison_figure,
    weight_comparison_words,
    weight_figure,
    weight_words,
)
from xmr.losses import LOSSES
from xmr.losses.polynomial import KNOTS
from xmr.registry import Entry
from xmr.views.batch_maps import Asked, loss_of, measured
from xmr.views.runs import NO_LOSS, side_by_side
from xmr.views.values import chart
from xmr.words import fixed, significant
from xmr.workspace import Workspace
from xmr.workspace.item_names import find_item
from xmr.workspace.measurements import OTHERS, typical, typical_curve

PICK = "Click a point for the pair of the batch below that is nearest to it."
PLACES = ("positive_score", "hardest_score")  # what a link calls them
AXES = {"score": "by similarity", "own": "by the share of own negatives above"}


class Setting(NamedTuple):
    """The query of a curve: scores of its positive and of its hardest other negative, the deviation of its negatives, and
    the range of scores to draw."""

    positive: float
    hardest: float
    spread: float
    low: float
    high: float

    def at(self, positive: float, hardest: float) -> Setting:
        return self._replace(positive=positive, hardest=hardest)


SETTING = Setting(0.6, 0.4, 0.15, -1.0, 1.0)  # before a run tells its own


def setting_or_default(workspace: Workspace, run: str, split: str) -> Setting:
    """The run's own typical query; without a run, or where its batch can't be weighed, which its chart says, the usual
    one."""
    if not run:
        return SETTING
    try:
        query = typical(workspace, run, split)
    except (ValueError, OSError):
        return SETTING
    return Setting(round(query.positive, 2), round(query.hardest, 2), round(query.spread, 3), *query.span)


def curve(loss: str, hyper: Mapping[str, Any], query: Setting) -> WeightCurve:
    """The curve of a query whose other negatives are spread below the hardest of them."""
    return _curve(loss, tuple(sorted(hyper.items())), query)


@lru_cache(maxsize=256)
def _curve(loss: str, hyper: tuple[tuple[str, Any], ...], query: Setting) -> WeightCurve:
    return weight_curve(
        loss,
        dict(hyper),
        positive=query.positive,
        others=typical_negatives(OTHERS, query.hardest, query.spread),
        scores=np.linspace(query.low, query.high, 121),
    )


def show_curve(workspace: Workspace, choice: str, hyper: dict[str, Any], query: Setting) -> str:
    """The chart of the chosen loss with these values, the values as trained behind it where they differ."""
    loss, trained, _ = loss_of(workspace, choice)
    now = curve(loss, hyper, query)
    moved = any(_differs(value, trained[name]) for name, value in hyper.items())
    before = curve(loss, trained, query) if moved else None
    marks = [Mark(query.positive, "its positive", GREEN), Mark(query.hardest, "hardest other", ORANGE)]
    figure = weight_figure(now, before, marks)
    figure.update_layout(uirevision=choice, meta={"pick": PICK})
    every = slice(None, None, 6)
    rows = [
        (fixed(s, 2), significant(n, 4), significant(p, 4))
        for s, n, p in zip(now.scores[every], now.negative[every], now.positive[every], strict=True)
    ]
    return chart(figure, weight_words(loss, now), (("similarity", "a negative", "the positive"), rows))


def show_comparison(workspace: Workspace, runs: list[str], split: str, axis: str = "score") -> str:
    """The chart of the chosen runs' losses as trained, each for its own typical query; `axis` is one of `AXES`."""
    known = [name for name in runs if name in workspace.runs]
    combined = [name for name in known if name not in workspace.trained]
    runs, left_out = side_by_side([name for name in known if name in workspace.trained])
    if combined:
        left_out += f" {NO_LOSS.format(', '.join(combined))}"
    if not runs:
        return chart(None, left_out.strip() or "No run is chosen: pick one under Runs in the sidebar.")
    own, curves, queries = axis == "own", {}, {}
    for name in runs:
        try:
            queries[name] = typical(workspace, name, split)
            curves[name] = typical_curve(workspace, name, split, own)
        except (ValueError, OSError) as error:
            left_out += f" {name} can't be weighed: {error}"
    if not curves:
        return chart(None, left_out.strip())
    seeds = {
        name: [typical_curve(workspace, one, split, own) for one in each]
        for name in curves
        if len(each := workspace.each(name)) > 1
    }
    figure = weight_comparison_figure(curves, queries, workspace.styles(list(curves)), own, seeds)
    figure.update_layout(uirevision=f"comparison {axis}", meta={"pick": PICK})
    first = next(iter(curves.values()))
    along = 100 * next(iter(queries.values())).above(len(first.scores)) if own else first.scores
    tops = {name: max(abs(c.negative).max(), 1e-12) for name, c in curves.items()}
    head = "own negatives above, %" if own else "similarity"
    rows = []
    for i, at in [*enumerate(along)][::6]:
        shares = (f"{fixed(100 * one.negative[i] / tops[name], 0)}%" for name, one in curves.items())
        rows.append([significant(at) if own else fixed(at, 2), *shares])
    words = f"{weight_comparison_words(curves, queries)} {left_out.strip()}".strip()
    return chart(figure, words, ((head, *curves), rows))


def drawn_points(loss: Entry, hyper: Mapping[str, Any]) -> dict[str, Any]:
    """The two curves of `weighting` as points to be dragged: of each its parameter, where it stands and its range."""
    curves = []
    for side, label in (("negative", "the hardest negative"), ("positive", "the positive")):
        own = [param for param in loss.params if param.name.startswith(side)]
        points = [
            {"name": param.name, "x": x, "value": round(hyper[param.name], 6), "low": param.range.low, "high": param.range.high}
            for param, x in zip(own, KNOTS, strict=True)
        ]  # fmt: skip
        curves.append({"side": side, "label": label, "points": points})
    return {"curves": curves}


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
    workspace: Workspace, choice: str, hyper: Mapping[str, Any], query: Setting, usual: Setting
) -> str:
    """What was moved, for a link: "CHOICE: name=value; …"; "" where all is as trained and the curve's query as usual."""
    trained = loss_of(workspace, choice)[1]
    moved = [(name, value) for name, value in hyper.items() if _differs(value, trained[name])]
    places = zip(PLACES, query, usual, strict=False)
    moved += [(name, at) for name, at, was in places if _differs(at, was)]
    told = [f"{name}={value:.6g}" if isinstance(value, float) else f"{name}={value}" for name, value in moved]
    return f"{choice}: {'; '.join(told)}" if told else ""


def read_params(
    text: str, choice: str, loss: str, trained: Mapping[str, Any], usual: Setting
) -> tuple[dict[str, Any], Setting, list[str]]:
    """Of a link's text: all parameters of the choice, the curve's query, and what can't be used, in words. A text of another
    choice says nothing of this one."""
    hyper, places, faults = dict(trained), dict(zip(PLACES, usual, strict=False)), []
    named, _, moved = text.rpartition(": ")
    if named != choice:
        return hyper, usual, []
    for part in moved.split("; "):
        name, _, value = part.partition("=")
        try:
            if name in places:
                places[name] = _place(name, value, usual)
            else:
                hyper[name] = LOSSES[loss].parse({name: value})[name]  # the others stay as trained
        except (ValueError, TypeError) as error:
            faults.append(str(error))
    return hyper, usual.at(*places.values()), faults


def _place(name: str, text: str, usual: Setting) -> float:
    value = float(text)
    if not usual.low <= value <= usual.high:
        raise ValueError(f"{name} must be {usual.low:g} to {usual.high:g}")
    return value


def _differs(value: Any, before: Any) -> bool:
    if isinstance(value, int | float) and isinstance(before, int | float) and not isinstance(value, bool):
        return abs(value - before) > 1e-4 * max(1, abs(before))
    return value != before
