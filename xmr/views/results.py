"""What all runs reach in both directions, which differences are more than chance, and the protocol."""

from __future__ import annotations

from xmr.core import DIRECTIONS
from xmr.figures.forest import forest_figure, forest_rows, forest_words
from xmr.figures.training import NO_TRAINING, Drawn, loss_curves, validation_curves
from xmr.views import Scene, file_of, tab
from xmr.views.blocks import Block, chart, faults, menu, part, radio, row, words
from xmr.views.result_tables import (
    FILES,
    SORTS,
    both,
    difference_table,
    estimate_table,
    file_text,
    marks_of,
    ordered,
    panel_of,
    protocol_table,
    runs_table,
    tuning_table,
)
from xmr.views.values import table
from xmr.workspace.histories import training
from xmr.workspace.measurements import plateau_words
from xmr.workspace.protocol import data_facts, data_warnings
from xmr.workspace.result_words import direction_words
from xmr.workspace.results import Results
from xmr.workspace.results import results as measured
from xmr.workspace.words import words_of

NO_RUN = "No run is chosen: add one under Runs, or show all runs."
UNSORTED = ("", True)
SECONDS = 1.5  # of measuring in one answer: what is left follows in the next one, so that nobody waits before a blank page
PAUSE, LONG_PAUSE = 200, 3000  # ms before the next one; the longer where it is measured in the background


@tab("results", "Results")
def results(scene: Scene) -> list[Block]:
    workspace, state, act = scene.workspace, scene.state, scene.act
    if act.event == "sort":
        way = "down" if act.of("descending") else "up"
        text = f"{act.of('column')}:{way}"
        scene.set(sort=text if text in SORTS else "")
    elif act.event in ("pick", "select"):
        run = act.of("row" if act.event == "pick" else "customdata")
        if run in [*workspace.runs]:
            return scene.move("errors-about", tab="errors", b=run)
        scene.say("That run is not in this workspace any more.")
    scene.one_of("sort", ["", *SORTS], "")
    state = scene.state
    names, picked, base = _compared(scene)
    options = [("chosen runs", "chosen"), (f"all {len(workspace.runs):,} runs", "all")]
    which = radio("results-which", "Runs shown", options, state.which, key="which", quiet=True)
    if not names:
        return [which, part("table", "results-first", table([], [], lead=NO_RUN))]
    first, second = both(state.direction)
    try:
        data = protocol_table(workspace, state.split)
    except (ValueError, OSError) as error:
        told = f"The {state.split} split can't be shown: {error}"
        return [which, part("table", "results-first", table([], [], lead=told)), _curves(scene)]
    found = measured(workspace, names, state.split, first, base, seconds=SECONDS)
    shown = [found]
    if state.ways == "both":  # of the runs that there was time for
        there = [name for name in names if name not in found.pending]
        shown.append(measured(workspace, there, state.split, second, base, seconds=SECONDS))
    if any(one.pending or one.awaited for one in shown):
        aside = not found.pending or workspace.is_large(state.split)
        scene.again = LONG_PAUSE if aside else PAUSE
    marks, order = marks_of(names, picked, base), SORTS.get(state.sort, UNSORTED)
    tables = [
        part("table", f"results-{name}", make(workspace, one, marks, order), on=["pick", "sort"])
        for one, side in zip(shown, ("first", "second"), strict=False)
        for name, make in ((side, estimate_table), (f"{side}-differences", difference_table))
    ]
    controls, *plot = _forest(scene, which, shown)
    return [
        controls,
        *_before(scene, names, found.faults),
        *plot,
        *tables,
        _curves(scene),
        *([part("table", "results-tuning", tuned)] if (tuned := tuning_table(workspace, names)) else []),
        part("table", "results-data", data),
        part("table", "results-runs", runs_table(workspace, names)),
    ]


def _compared(scene: Scene) -> tuple[list[str], list[str], str]:
    """All runs that are shown, those that are chosen, and the baseline."""
    workspace, state = scene.workspace, scene.state
    picked = list(state.runs or ())
    base = state.baseline or (next(iter(workspace.runs)) if state.which == "all" else "")
    return ordered(list(workspace.runs) if state.which == "all" else [], picked, base), picked, base


@file_of(*(f"results-{direction}.{end}" for direction in DIRECTIONS for _, end in FILES))
def results_file(scene: Scene, name: str) -> tuple[str, str]:
    direction, end = name.removeprefix("results-").split(".")
    names, _, base = _compared(scene)
    found = measured(scene.workspace, names, scene.state.split, direction, base, seconds=SECONDS)
    if found.pending or not found.estimates:
        raise ValueError(
            "Not all runs are measured yet: save the file when they are." if found.pending else NO_RUN
        )
    return file_text(scene.workspace, found, end)


def _forest(scene: Scene, which: Block, shown: list[Results]) -> list[Block]:
    """What is compared, and all runs by the chosen measure, best first."""
    workspace, found = scene.workspace, shown[0]
    if found.lead is None:
        return [which]
    measure = scene.one_of("measure", ["", *found.titles], "") or found.lead.title
    panels = [panel_of(workspace, one, measure) for one in shown]
    figure = forest_figure(panels, workspace.styles([*found.estimates]))
    figure.update_layout(meta={"pick": "A point opens its run in Errors as run B."})
    drawn_by = words_of(workspace.dataset(found.split)).visual + " and, of several seeds, by seed" * bool(
        found.counts
    )
    text = forest_words(panels[0], measure, drawn_by)
    way = direction_words(workspace, found.split, found.direction)
    ways = [("both directions", "both"), (f"{way} only", "one")]
    return [
        row(
            "results-controls",
            which,
            radio("results-ways", "Directions", ways, scene.state.ways, key="ways", quiet=True),
            menu("results-measure", "Measure", found.titles, measure, key="measure"),
        ),
        chart("results-forest", f"{measure} of each run", figure, text, forest_rows(panels), on=["select"]),
    ]  # fmt: skip


def _before(scene: Scene, names: list[str], unmeasured: dict[str, str]) -> list[Block]:
    """What a reader should know first: the data in a line, where runs' data differ, what can't be measured, and which runs
    are apart."""
    workspace, split = scene.workspace, scene.state.split
    facts = data_facts(workspace, split)
    items = [("", warning) for warning in data_warnings(workspace, names, split)]
    unlike = [(f"can't be measured on {split}: {why}", name) for name, why in unmeasured.items()]
    unlike += [(f"not compared: {why}", name) for name, (_, why) in workspace.apart.items()]
    by_reason: dict[str, list[str]] = {}
    for reason, name in unlike:
        by_reason.setdefault(reason, []).append(name)
    items += [(", ".join(some), reason) for reason, some in by_reason.items()]
    twice = f" {facts['duplicates']}." if "duplicates" in facts else ""
    told = [
        words("results-facts", f"{facts['dataset']}: {facts['size']}, {facts['per item']}.{twice}", "note")
    ]
    if items:
        told.append(faults("results-warnings", items, title="Before comparing"))
    return told


def _curves(scene: Scene) -> Block:
    """The charts of the training of the chosen runs, or why there is none."""
    drawn, left_out = scene.drawn
    styles, found = scene.workspace.styles(drawn), training(scene.workspace, drawn)
    runs = scene.state.runs or ()
    stuck = plateau_words(scene.workspace, runs)
    none = NO_TRAINING if drawn else NO_RUN

    def one(id: str, name: str, made: Drawn | None, empty: str, more: str) -> Block:
        if made is None:
            return chart(id, name, None, empty)
        return chart(id, name, made.figure, f"{made.words} {more}".strip(), made.numbers)

    return row(
        "results-training",
        one(
            "results-scores",
            "Validation through training",
            validation_curves(found, styles),
            none,
            f"{stuck} {left_out}",
        ),
        one("results-losses", "Loss through training", loss_curves(found, styles), "", ""),
    )
