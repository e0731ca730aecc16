"""How scores are written: as they are, or so that runs whose scores differ in scale can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from xmr.views.query import Asked
from xmr.words import fixed, percent, places_for
from xmr.workspace import Query, Workspace

Scale = Literal["raw", "z", "above"]
SCALES: dict[Scale, str] = {"raw": "score", "z": "z-score", "above": "matches below"}
MEANS = {
    "raw": "The run's own score: {}.",
    "z": "How many standard deviations a score is above the mean of all scores of its query.",
    "above": "How many of the run's annotated matches, over the whole split, score lower.",
}


class Scores:
    """How the scores of one run on one query are written."""

    def __init__(
        self,
        workspace: Workspace,
        run: str,
        asked: Asked,
        query: Query,
        scale: Scale,
        listed: Sequence[float] = (),
    ):
        """`listed` are the scores that stand beside each other, which its decimals have to tell apart."""
        self.scale, self._places = scale, places_for(listed)
        self._spread: tuple[float, float] | None = None
        self._matches: np.ndarray | None = None
        if scale == "raw":
            return
        try:
            self._spread = workspace.spread(run, query, asked.split, asked.direction)
            self._matches = workspace.match_scores(run, asked.split)
        except (ValueError, OSError):
            pass  # the column says why the run can't answer

    def z(self, score: float) -> str:
        """How many standard deviations above the query's mean score over the gallery."""
        if self._spread is None or not self._spread[1] > 0:
            return "–"
        return fixed((score - self._spread[0]) / self._spread[1], 1, sign=True)

    def above(self, score: float) -> str:
        """How many of the run's annotated matches score lower."""
        if self._matches is None or not len(self._matches):
            return "–"
        return percent(float(np.searchsorted(self._matches, score) / len(self._matches)))

    def short(self, score: float) -> str:
        if self.scale == "raw":
            return fixed(score, self._places)
        return self.z(score) if self.scale == "z" else self.above(score)

    def spoken(self, score: float) -> str:
        text = self.short(score)
        return {"raw": f"score {text}", "z": f"z-score {text}"}.get(
            self.scale, f"above {text} of the run's matches"
        )
