"""Several runs beside each other."""

from __future__ import annotations

MAX_RUNS = 6  # more columns, panels or lines can't be told apart
NO_LOSS = "Left out: {}, which combines runs and has no loss of its own."


def side_by_side(runs: list[str], baseline: str = "") -> tuple[list[str], str]:
    """The first six of the runs, the baseline always among them, and a sentence on those left out ("" if none)."""
    if len(runs) <= MAX_RUNS:
        return runs, ""
    shown = runs[:MAX_RUNS]
    if baseline in runs and baseline not in shown:
        shown[-1] = baseline
    left = [name for name in runs if name not in shown]
    some = ", ".join(left[:4]) + (f" and {len(left) - 4} more" if len(left) > 4 else "")
    return (
        shown,
        f"{MAX_RUNS} of the {len(runs)} chosen runs are drawn, more can't be read side by side. Left out: {some}.",
    )
