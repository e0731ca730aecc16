"""Runs that were trained alike but for their seeds, seen as one run of several seeds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import takewhile
from typing import Any

import numpy as np
from torch import nn

from xmr.checkpoints import Run
from xmr.checkpoints.snapshots import Snapshots
from xmr.metrics import headline
from xmr.workspace import Workspace
from xmr.workspace.memory import remembered


@dataclass(frozen=True, eq=False, kw_only=True)
class Seeds(Run):
    """Trainings of one setting under several seeds: `trainings` are they, by seed. Where one model has to be asked, as in Search, it is
    the `asked` one, the middle by validation; what is measured is measured of each."""

    trainings: tuple[Run, ...] = field(repr=False)
    asked: Run = field(repr=False)

    @property
    def each(self) -> tuple[Run, ...]:
        return self.trainings

    @property
    def middle(self) -> Run:
        return self.asked

    @property
    def about(self) -> str:
        return self.asked.about

    @property
    def began_with(self) -> dict[str, Any]:
        return self.asked.began_with

    @property
    def last_loss(self) -> tuple[str, dict[str, Any]]:
        return self.asked.last_loss

    @property
    def scores_pairs(self) -> bool:
        return self.asked.scores_pairs

    @property
    def score_kind(self) -> str:
        return self.asked.score_kind

    @property
    def embed_dim(self) -> int:
        return self.asked.embed_dim

    @property
    def parts(self) -> tuple[Run, ...]:
        return self.asked.parts

    def joined(self, embeddings: Sequence[np.ndarray]) -> np.ndarray:
        return self.asked.joined(embeddings)

    def embeddings(self) -> tuple[np.ndarray, np.ndarray]:
        return self.asked.embeddings()

    def scores(self) -> np.ndarray | None:
        return self.asked.scores()

    def snapshots(self) -> Snapshots | None:
        return self.asked.snapshots()

    def matcher(self) -> nn.Module:
        return self.asked.matcher()


def repeats(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Runs that were trained alike but for their seeds, at least two of each kind, by the first of them."""
    kinds: dict[str, dict[int, str]] = {}
    for run in runs:
        if run.has_loss and not run.untrained and len(run.each) == 1:
            kind = repr((replace(run.config, seed=0), run.began_with.get("hash", "")))
            kinds.setdefault(kind, {}).setdefault(run.config.seed, run.name)
    return {next(iter(own.values())): [*own.values()] for own in kinds.values() if len(own) > 1}


def folded(workspace: Workspace) -> Workspace:
    """The workspace with runs that differ by their seed alone as one; itself where there are none such."""
    return _folded(workspace, tuple(workspace.runs))


@remembered
def _folded(workspace: Workspace, names: tuple[str, ...]) -> Workspace:
    groups = repeats([workspace.runs[name] for name in names])
    if not groups:
        return workspace
    members = {one: workspace.runs[one] for own in groups.values() for one in own}
    runs = {name: workspace.runs[name] for name in names if name not in members}
    for own in groups.values():
        one = _seeds([members[name] for name in own], {*names, *runs})
        runs[one.name] = one
    parts = {part.name: getattr(workspace, part.name) for part in fields(workspace)}
    return Workspace(**parts | {"runs": dict(sorted(runs.items())), "members": members})


def _seeds(each: Sequence[Run], taken: set[str]) -> Seeds:
    by_seed = tuple(sorted(each, key=lambda run: run.config.seed))
    by_score = sorted(each, key=lambda run: headline(run.metrics["validation"])[1])
    middle = by_score[len(by_score) // 2]
    told = {part.name: getattr(middle, part.name) for part in fields(Run)}
    return Seeds(**told | {"name": _name([run.name for run in each], taken)}, trainings=by_seed, asked=middle)


def _name(names: Sequence[str], taken: set[str]) -> str:
    """What all names begin with, without what numbers the seeds; and how many these are."""
    alike = zip(min(names), max(names), strict=False)
    common = "".join(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], alike))
    common = re.sub(r"([-_. ]+(seed|s))?[-_. ]*\d*$", "", common) or names[0]
    name = f"{common} ({len(names)} seeds)"
    return name if name not in taken else f"{names[0]} ({len(names)} seeds)"


def seen_as(workspace: Workspace, name: str) -> list[str]:
    """What the run of that name is called in this workspace, where seeds may be one run, or each a run of its own: one name
    or several, none where there is no such run."""
    if name in workspace.runs:
        return [name]
    held = [one for one in workspace.runs if name in workspace.each(one)]
    if held:
        return held
    run = folded(workspace).runs.get(name)
    return [one.name for one in run.each] if run else []
