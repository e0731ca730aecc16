"""A report: what the tabs show of some runs, as sections of blocks.

`SECTIONS` are its parts by title. Each is a function that takes a `Subject` and yields blocks; it says so where there is
nothing to tell, instead of leaving a hole.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xmr.core import DIRECTIONS, Direction
from xmr.views import view
from xmr.views.blocks import Block, faults, row, words
from xmr.views.error_lists import slicings
from xmr.views.prose import prose
from xmr.views.runs import side_by_side
from xmr.views.stories import Step, Story
from xmr.workspace import Workspace
from xmr.workspace.item_names import item_link
from xmr.workspace.pages import Page
from xmr.workspace.public import public
from xmr.workspace.result_words import direction_words

EXAMPLES, POOL, RESULTS = 4, 60, 5  # queries shown of each direction, drawn from so many; results of each run


@dataclass(frozen=True)
class Subject:
    """What a report is about: the runs `names` of a workspace, the first of which the others are compared with; `seed` draws
    examples and the batch."""

    workspace: Workspace
    names: Sequence[str]
    split: str = "test"
    seed: int = 0

    @property
    def others(self) -> list[str]:
        return list(self.names[1:])

    @property
    def trained(self) -> list[str]:
        return [name for name in self.names if name in self.workspace.trained]

    def shown(self, tab: str, *ids: str, **keys: Any) -> list[Block]:
        """The blocks of these ids that the tab shows under a state with these keys, and what it says beside them."""
        answer = self._answer(
            {"tab": tab, "split": self.split, "runs": self.names, "baseline": self.names[0], **keys}
        )
        said = [*answer["said"], *([answer["fault"]] if "fault" in answer else [])]
        found = {block["id"]: block for block in _within(answer.get("blocks", []))}
        told = [faults("said", [("", public(text)) for text in said])] if said else []
        return [*told, *(found[id] for id in ids if id in found)]

    def seen(self, keys: Mapping[str, Any]) -> list[Block]:
        """All blocks that these keys of an address show, of the runs of this report where they name none."""
        given = {"runs": list(self.names), "split": [self.split], **keys}
        given.pop("dataset", None)  # that of the report, whatever the app calls it
        answer = self._answer(given)
        said = [*answer["said"], *([answer["fault"]] if "fault" in answer else [])]
        told = [faults("said", [("", public(text)) for text in said])] if said else []
        return [*told, *answer.get("blocks", [])]

    def _answer(self, state: Mapping[str, Any]) -> dict[str, Any]:
        page = Page(self.workspace.dataset().name, "", dict(self.workspace.runs), lambda: self.workspace)
        while (answer := view([page], state)).get("again"):
            time.sleep(answer["again"] / 1000)
        return answer

    def heading(self, direction: Direction) -> Block:
        return words("way", direction_words(self.workspace, self.split, direction), "heading")


def intro(subject: Subject) -> list[str]:
    """What all is measured on, and what is compared."""
    facts = [block["text"] for block in subject.shown("results", "results-facts")]
    if subject.others:
        facts.append(f"{', '.join(subject.others)} against {subject.names[0]}.")
    return [*facts, *filter(None, side_by_side(list(subject.names), subject.names[0])[1:])]


def the_runs(subject: Subject) -> Iterator[Block]:
    """The runs and their data, and warnings where they are not alike in what they were trained on."""
    yield from subject.shown("results", "results-warnings", "results-runs", "results-data")


def metrics(subject: Subject) -> Iterator[Block]:
    """Metrics with intervals in both directions, and the differences to the first run with their tests."""
    yield from subject.shown("results", "results-forest")
    for side in ("first", "second"):
        yield from subject.shown("results", f"results-{side}", f"results-{side}-differences")


def training(subject: Subject) -> Iterator[Block]:
    """How the runs got there."""
    yield from subject.shown("results", "results-training")


def distributions(subject: Subject) -> Iterator[Block]:
    """Where each run's scores put matches and other pairs, in both directions."""
    for direction in DIRECTIONS:
        yield subject.heading(direction)
        yield from subject.shown(
            "distributions", "distributions-chart", "distributions-table", direction=direction
        )


def weights(subject: Subject) -> Iterator[Block]:
    """How much each pair weighs in the loss that a run was trained with: the curve, and a batch."""
    if not subject.trained:
        yield words("none", "A combination of runs has no loss, so its pairs have no weights.")
        return
    yield from subject.shown("weights", "weights-comparison", "weights-each")
    yield words("batch", "The same batch in each loss", "heading")
    yield from subject.shown("weights", "weights-marks")
    maps = [
        subject.shown("weights", "weights-matrix", loss=f"run {name}", seed=subject.seed)
        for name in subject.trained
    ]
    yield row("batches", *(block for found in maps for block in found))


def right(subject: Subject) -> Iterator[Block]:
    """Which queries runs get right together and alone, and how near the others come."""
    ids = ("errors-buckets", "errors-ranks") if subject.others else ("errors-buckets",)
    for direction in DIRECTIONS:
        yield subject.heading(direction)
        for other in subject.others or [""]:
            yield from subject.shown("errors", "errors-about", direction=direction, b=other)
            yield row("right", *subject.shown("errors", *ids, direction=direction, b=other))


def kinds(subject: Subject) -> Iterator[Block]:
    """On which kinds of queries the runs are right, each beside the first."""
    for direction in DIRECTIONS:
        yield subject.heading(direction)
        ways = slicings(subject.workspace, subject.split, direction)
        if not ways:
            yield words("none", "Nothing is known of these queries to slice them by.")
        for other in subject.others or [""]:
            charts = [
                block | {"name": f"Recall by {way}"}
                for way in ways
                for block in subject.shown(
                    "errors", "errors-slices", direction=direction, b=other, slicing=way
                )
            ]
            if ways:
                yield from subject.shown("errors", "errors-about", direction=direction, b=other)
                yield row("kinds", *charts)


def hubs(subject: Subject) -> Iterator[Block]:
    """Items that are everywhere, items that are nowhere, and the gap between the modalities."""
    for direction in DIRECTIONS:
        yield subject.heading(direction)
        yield from subject.shown("errors", "errors-table", "errors-hub-row", direction=direction)


def examples(subject: Subject) -> Iterator[Block]:
    """What the runs find for queries on which they disagree most, drawn by seed."""
    rng = np.random.default_rng(subject.seed)
    which = (
        f"{POOL} on which the runs rank the match most differently"
        if subject.others
        else f"{POOL} worst ones"
    )
    yield words(
        "drawn",
        f"{EXAMPLES} queries of each direction, drawn (seed {subject.seed}) from the {which}: not typical ones.",
    )
    for direction in DIRECTIONS[::-1]:
        yield subject.heading(direction)
        side = "visual" if direction == "v2t" else "caption"
        order = subject.workspace.disagreements(list(subject.names), subject.split, direction)[:POOL]
        for query in rng.choice(order, min(EXAMPLES, len(order)), replace=False).tolist():
            link = item_link(subject.workspace, subject.split, side, query)
            yield from subject.shown("search", "results", query=link, direction=direction, k=RESULTS)


def suspects(subject: Subject) -> Iterator[Block]:
    """Which of the hardest negatives of each run are probably matches that nobody annotated."""
    if subject.workspace.dataset(subject.split).gallery_visuals is not None:
        yield words("none", "Selectors compare captions, and here pictures are compared with pictures.")
    elif not subject.trained:
        yield words(
            "none", "A combination of runs has no loss, so nothing says which negatives it pushes hardest."
        )
    else:
        for name in subject.trained:
            yield words("run", name, "heading")
            yield from subject.shown(
                "false_negatives", "fn-about", "fn-drawn", "fn-where", "fn-pairs",
                fn_run=name, list="first", direction="t2v",
            )  # fmt: skip


def steps_of(story: Story) -> dict[str, Callable[[Subject], Iterator[Block]]]:
    """A section for each step of a story: what it says, and what can be drawn of its view without a server."""

    def section(step: Step) -> Callable[[Subject], Iterator[Block]]:
        def told(subject: Subject) -> Iterator[Block]:
            yield prose("told", list(step.paragraphs), {})
            seen = subject.seen(step.keys)
            if any(block["kind"] == "map" for block in _within(seen)):
                yield words("map", "The map is in the app only.", "note")
            yield from seen

        return told

    return {f"{at}. {step.title}": section(step) for at, step in enumerate(story.steps, 1)}


def _within(blocks: Sequence[Block]) -> Iterator[Block]:
    """These blocks and all in them."""
    for block in blocks:
        yield block
        yield from _within(block.get("blocks", ()))


SECTIONS: dict[str, Callable[[Subject], Iterator[Block]]] = {
    "The runs": the_runs,
    "Results": metrics,
    "Training": training,
    "Distributions of scores": distributions,
    "Weights of pairs": weights,
    "Who is right, and who alone": right,
    "Kinds of queries": kinds,
    "Hubs and the modality gap": hubs,
    "Where the runs disagree": examples,
    "Suspected false negatives": suspects,
}
