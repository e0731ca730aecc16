"""What the results tab shows of runs, as values of its components. No gradio here but what these need."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from xmr.core import Direction
from xmr.figures.forest import Panel
from xmr.metrics import by_chance, headline
from xmr.views.values import File, table
from xmr.workspace import Style, Workspace
from xmr.workspace.protocol import RUN_TITLES, data_facts, run_cells
from xmr.workspace.result_words import (
    MEANS,
    csv_of,
    difference_cells,
    difference_words,
    direction_words,
    estimate_cells,
    estimate_titles,
    latex_of,
    lead_words,
    protocol_sentence,
)
from xmr.workspace.results import Results
from xmr.workspace.words import words_of

PICK = "Open in Errors as run B"
FILES = (("CSV", "csv"), ("LaTeX", "tex"))
# What rows can be sorted by, as links keep it: a column, and whether its largest are first.
SORTS = {f"{title}:{way}": (title, way == "down") for title in MEANS for way in ("down", "up")}


def panel_of(workspace: Workspace, shown: Results, measure: str) -> Panel:
    """One direction of the forest plot: runs by the measure, best first, the frozen encoders and a random order."""
    data = workspace.dataset(shown.split)
    found = {name: own[measure] for name, own in shown.estimates.items()}
    ordered = sorted(found, key=lambda name: -found[name].mean)
    values = {name: (found[name].mean, found[name].low, found[name].high) for name in ordered}
    alone = len(shown.zero_shot) == 1
    references = {
        "zero-shot" if alone else name: row.estimates[measure].mean for name, row in shown.zero_shot.items()
    }
    expected = by_chance(data.visual_group, data.text_group, classes=data.classes is not None)
    key = f"{shown.direction}/{'map' if measure == 'mAP' else measure.replace('R@', 'recall_at_')}"
    if key in expected:  # what a random order reaches by the truth has no formula here
        references["chance"] = expected[key]
    return Panel(direction_words(workspace, shown.split, shown.direction), values, references)


def estimate_table(
    workspace: Workspace, shown: Results, marks: dict[str, str], sort: tuple[str, bool]
) -> dict[str, Any]:
    """Metrics of all runs in one direction, below who leads; with the files that hold them and the differences."""
    way, looks = direction_words(workspace, shown.split, shown.direction), _looks(workspace, shown)
    text = lead_words(shown, words_of(workspace.dataset(shown.split)).visual)
    if shown.pending:
        done = len(shown.estimates) + len(shown.faults)
        text = f"{done} of {done + len(shown.pending)} runs are measured, the others follow. {text}"
    return table(
        [("run", "")] + [(title, MEANS[title]) for title in estimate_titles(shown)],
        [(name, looks[name], estimate_cells(shown, name)) for name in shown.estimates]
        + [(name, None, estimate_cells(shown, name)) for name in shown.zero_shot],
        protocol_sentence(workspace, shown) if shown.estimates else "",
        title=f"Metrics, {way}",
        lead=text,
        pick=PICK,
        sortable=True,
        sort=sort,
        marks=marks | dict.fromkeys(shown.zero_shot, "frozen encoder"),
        files=[File(label, f"results-{shown.direction}.{end}") for label, end in FILES]
        if shown.estimates
        else (),
    )


def difference_table(
    workspace: Workspace, shown: Results, marks: dict[str, str], sort: tuple[str, bool]
) -> dict[str, Any]:
    """Differences to the baseline in one direction; nothing where there is nothing to compare."""
    if not shown.tests:
        return table([], [])
    way = direction_words(workspace, shown.split, shown.direction)
    looks = _looks(workspace, shown)
    return table(
        [("run", "")] + [(title, MEANS[title]) for title in shown.titles],
        [(name, looks[name], difference_cells(shown, name)) for name in shown.tests],
        difference_words(shown),
        title=f"Differences to {shown.baseline}, {way}",
        pick=PICK,
        sortable=True,
        sort=sort,
        marks=marks,
    )


def _looks(workspace: Workspace, shown: Results) -> dict[str, Style]:
    return workspace.styles([*shown.estimates, *shown.faults, *shown.pending])


def file_text(workspace: Workspace, shown: Results, end: str) -> tuple[str, str]:
    """Name and text of the file that holds the metrics of one direction and the differences, as csv or tex."""
    data = workspace.dataset(shown.split)
    stem = re.sub(r"[^\w-]+", "-", f"{data.name}-{shown.split}-{shown.direction}").strip("-")
    return f"{stem}.{end}", (csv_of if end == "csv" else latex_of)(workspace, shown)


def protocol_table(workspace: Workspace, split: str) -> dict[str, Any]:
    """What the numbers are measured on."""
    facts = data_facts(workspace, split).items()
    return table(
        [("", ""), ("", "")],
        [(name, None, [fact]) for name, fact in facts],
        title="Protocol: the data",
        words=True,
    )


def runs_table(workspace: Workspace, names: Sequence[str]) -> dict[str, Any]:
    """How each run came about."""
    looks = workspace.styles(names)
    rows = [(name, looks[name], run_cells(workspace, name)) for name in names]
    return table([(title, "") for title in RUN_TITLES], rows, title="Protocol: the runs", words=True)


def tuning_table(workspace: Workspace, names: Sequence[str]) -> dict[str, Any] | None:
    """What fine-tuned runs reach on the way from the weights before to those learned, so that what it destroyed is seen; None
    where none is one."""
    ways = {name: path for name in names if (path := workspace.run(name).training.get("interpolation"))}
    if not ways:
        return None
    shares = sorted({one["share"] for path in ways.values() for one in path})
    titles = [{0.0: "before", 1.0: "after"}.get(share, f"{share:g} of the way") for share in shares]
    rows = []
    for name, looks in workspace.styles(list(ways)).items():
        by = {one["share"]: one for one in ways[name]}
        cells = [
            (f"{by[share]['test']:.1f}", f"validation {by[share]['validation']:.1f}", by[share]["test"])
            if share in by
            else ("–", "", math.nan)
            for share in shares
        ]
        kept = workspace.run(name).config.interpolate
        rows.append((name, looks, [*cells, titles[shares.index(kept)]]))
    figure = headline(workspace.run(next(iter(ways))).metrics["test"])[0]
    note = f"{figure} of the test split by the encoder's weights before, by those between, and by those learned; it chose none of them."
    columns = [("run", ""), *((title, "") for title in titles), ("kept", "the weights that this run has")]
    return table(columns, rows, note, title="What fine-tuning changed")


def marks_of(names: Sequence[str], chosen: Sequence[str], baseline: str) -> dict[str, str]:
    """Words behind runs' names: which is the baseline and, where others are there too, which are chosen."""
    some = set(names) - set(chosen)
    found = {name: "chosen" for name in names if some and name in chosen}
    return found | ({baseline: "baseline"} if baseline in names else {})


def ordered(everyone: Sequence[str], chosen: Sequence[str], baseline: str) -> list[str]:
    """The baseline, the other chosen runs, then all others."""
    return list(dict.fromkeys([*([baseline] if baseline else []), *chosen, *everyone]))


def both(direction: Direction) -> tuple[Direction, Direction]:
    """The directions, the sidebar's first."""
    return ("t2v", "v2t") if direction == "t2v" else ("v2t", "t2v")
