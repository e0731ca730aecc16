"""Where each run's scores put matches, hardest negatives and random negatives."""

from __future__ import annotations

from typing import Any

import numpy as np

from xmr.analysis import Distribution, ScoreSamples, mean_distribution, score_distributions
from xmr.figures.distributions import KINDS, distribution_figure, distribution_words
from xmr.views import Scene, tab
from xmr.views.blocks import Block, chart, part, radio, row, turns, words
from xmr.views.pairs import pair_card
from xmr.views.state import State
from xmr.views.values import cards, table
from xmr.words import NOTHING, fixed, percent, score, significant
from xmr.workspace import Workspace
from xmr.workspace.measurements import plateau_words, sample_words, samples
from xmr.workspace.replay import Moment
from xmr.workspace.words import score_kinds

SCALES = {"raw": "score ({})", "z": "z-score of the score among all scores of its query"}
PAGE = 6
COLUMNS = (
    ("run", ""),
    ("AUC, random", "chance that an annotated match outscores a random negative"),
    ("AUC, hardest", "chance that an annotated match outscores a hardest negative"),
    ("overlap, random", "area shared by the densities of annotated matches and random negatives"),
    ("overlap, hardest", "area shared by the densities of annotated matches and hardest negatives"),
    ("median match", "median score of the annotated matches"),
    ("median hardest", "median score of the hardest negatives"),
)


@tab("distributions", "Distributions")
def distributions(scene: Scene) -> list[Block]:
    workspace, state = scene.workspace, scene.state
    scale = radio(
        "distributions-scale", "Scale",
        [("raw scores", "raw"), ("z-scores per query, to compare shapes", "z")],
        state.density, key="density", quiet=True, resets={"bin": "", "page": 0},
    )  # fmt: skip
    if not state.runs:
        nothing = "No run is chosen: add one under Runs."
        return [scale, chart("distributions-chart", "Densities of scores", None, nothing)]
    try:
        measured = {
            one: samples(workspace, one, state.split, state.direction)
            for name in state.runs
            for one in workspace.each(name)
        }
    except (ValueError, OSError) as error:
        nothing = f"The {state.split} split can't be shown: {error}"
        return [scale, chart("distributions-chart", "Densities of scores", None, nothing)]
    shown = {name: one.standardised() for name, one in measured.items()} if state.density == "z" else measured
    by_training = score_distributions(shown)
    found = {name: _of_seeds([by_training[one] for one in workspace.each(name)]) for name in state.runs}
    for name in state.runs:  # the pairs that are listed are those of one training
        one = workspace.run(name).middle.name
        measured[name], shown[name] = measured[one], shown[one]
    if scene.act.event == "select":
        scene.set(bin=_bin_of(scene.act.of("meta"), scene.act.of("index")), page=0)
        scene.go = "distributions-pages"
    else:
        scene.set(page=scene.turned("distributions"))
    return [
        scale,
        _densities(scene, found),
        part("table", "distributions-table", _table(workspace, found)),
        *_listed(scene, measured, shown, found),
    ]


def _of_seeds(found: list[Distribution]) -> Distribution:
    return found[0] if len(found) == 1 else mean_distribution(found)


def _densities(scene: Scene, found: dict[str, Distribution]) -> Block:
    workspace, state = scene.workspace, scene.state
    drawn, left_out = scene.drawn
    figure = distribution_figure(
        {name: found[name] for name in drawn},
        workspace.styles(list(found)),
        SCALES[state.density].format(score_kinds(workspace, drawn)),
    )
    if isinstance(workspace, Moment):  # one axis for all moments, by which the curves are seen to move
        figure.update_layout(xaxis_range=_span(workspace, list(found), state))
    # The same key keeps a zoom while runs come and go; another scale has another axis.
    figure.update_layout(uirevision=f"{state.split} {state.direction} {state.density}")
    truth = workspace.dataset(state.split).truth
    some = sample_words(workspace, state.split, state.direction)
    stuck = plateau_words(workspace, list(found))
    said = [distribution_words(found, truth is not None and truth.complete), stuck, some, left_out]
    lines = [
        (f"{name}, {KINDS[kind][0]}", of) for name in drawn for kind, of in found[name].densities.items()
    ]
    edges = found[drawn[0]].edges[:-1]
    rows = [[score(edge), *(significant(of[i], 4) for _, of in lines)] for i, edge in enumerate(edges)]
    return chart(
        "distributions-chart", "Densities of scores, one panel per run", figure, " ".join(filter(None, said)),
        (["score", *(title for title, _ in lines)], rows), on=["select"],
    )  # fmt: skip


def _span(moment: Moment, runs: list[str], state: State) -> list[float]:
    """From the lowest to the highest score of these runs at any moment of their training."""
    every = [samples(one, run, state.split, state.direction) for one in moment.through(runs) for run in runs]
    shown = [one.standardised() for one in every] if state.density == "z" else every
    values = [part for one in shown for part in one.values.values() if len(part)]
    return [float(min(part.min() for part in values)), float(max(part.max() for part in values))]


def _table(workspace: Workspace, found: dict[str, Distribution]) -> dict[str, Any]:
    hidden = any(one.hidden is not None for one in found.values())
    truth = workspace.dataset().truth
    least = "" if truth is not None and truth.complete else "≥ "
    more = ("best rival is true", "queries whose best-scoring unannotated item truly matches")
    styles = workspace.styles(list(found))
    rows = []
    for name, one in found.items():
        shares = one.auc_random, one.auc_hardest, one.overlap_random, one.overlap_hardest
        cells = [fixed(share, 3) for share in shares]
        cells += [score(one.medians[kind]) for kind in ("positives", "hardest")]
        if hidden:
            cells.append(NOTHING if one.hidden is None else f"{least}{percent(one.hidden)}")
        rows.append((name, styles[name], cells))
    counts = next(iter(found.values())).counts
    note = f"{counts['positives']:,} annotated matches, "
    if hidden:
        note += f"{counts['unannotated']:,} true but not annotated, "
    note += (
        f"{counts['hardest']:,} hardest negatives (each query's best-scoring one) and {counts['random']:,} random "
        "negatives, the same pairs for every run."
    )
    if hidden:
        note += " Pairs that truly match are never counted as negatives."
    return table([*COLUMNS, *([more] if hidden else [])], rows, note)


def _listed(
    scene: Scene,
    measured: dict[str, ScoreSamples],
    shown: dict[str, ScoreSamples],
    found: dict[str, Distribution],
) -> list[Block]:
    """Cards of the pairs whose score lies in the bin that was clicked, those nearest its middle first."""
    workspace, state = scene.workspace, scene.state
    if not state.bin:
        return []
    run, kind, place = ([*state.bin.rsplit(" ", 2), "", ""])[:3]
    edges = found[run].edges if run in found else ()
    if (
        kind not in KINDS
        or not place.isdecimal()
        or not int(place) < len(edges) - 1
        or kind not in measured[run].values
    ):
        scene.say("Those pairs are not in this chart any more.")
        scene.set(bin="", page=0)
        return []
    low, high, values = edges[int(place)], edges[int(place) + 1], shown[run].values[kind]
    last = int(place) == len(edges) - 2  # of histograms, only the last bin holds its upper edge
    inside = np.flatnonzero((values >= low) & ((values <= high) if last else (values < high)))
    inside = inside[np.argsort(np.abs(values[inside] - (low + high) / 2), kind="stable")]
    some, first, where = scene.leaf(inside, PAGE)
    raw, made = measured[run], []
    for at in some.tolist():
        numbers = [("score", score(raw.values[kind][at]))]
        if state.density == "z":
            numbers.append(("z-score", fixed(values[at], 1, sign=True)))
        query, item = int(raw.query[kind][at]), int(raw.item[kind][at])
        name = f"{run} #{first + len(made) + 1:,}"
        made.append(pair_card(workspace, state.split, state.direction, query, item, name, numbers))
    noun = "z-score" if state.density == "z" else "score"
    what = f"{KINDS[kind][0]} of {run} with a {noun} of {significant(low)} to {significant(high)}"
    said = f"{where} {what}" if made else f"There are no {what} in the sample."
    return [
        row("distributions-pages", *turns("distributions"), words("distributions-where", said)),
        part("cards", "distributions-pairs", cards(made)),
    ]


def _bin_of(meta: Any, index: Any) -> str:
    run, kind = (meta.get("run"), meta.get("kind")) if isinstance(meta, dict) else (None, None)
    return f"{run} {kind} {index}" if isinstance(run, str) and type(index) is int else ""
