"""A combination of trained runs, saved beside them: one more run, with embeddings but without a loss of its own.

Its folder holds run.json (the members by name, their weights, the SHA-256 of their run.json, the metrics) and a
README.md. Members lie in the same parent folder, so that the whole can be moved or published together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PureWindowsPath
from typing import Annotated, Any

import numpy as np
from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict

from xmr.checkpoints.files import RunRefused
from xmr.checkpoints.folder import (
    CARD,
    MAX_RUN,
    RUN,
    Exactly,
    Name,
    Outcome,
    check_fields,
    check_outcome,
    kind_of,
    name_of,
    read_about,
)
from xmr.checkpoints.run import Member, Run
from xmr.checkpoints.save import about_bytes, card, recall_table
from xmr.checksums import digest
from xmr.core import TrainConfig
from xmr.disk import parse_json, read, write_files
from xmr.fusion import joined
from xmr.metrics import headline
from xmr.words import program

SPLITS_ALIKE = ("validation", "test")  # weights are chosen on the one, all runs are compared on the other
TOLERANCE = 1e-6  # of the sum of weights
MAX_MEMBERS = 1000


@Exactly
class _Entry(TypedDict):
    run: str
    weight: Any  # `Member` tells what is wrong with it
    group: Name
    sha256: Name


@Exactly
class _About(Outcome):
    """What run.json of a combination holds."""

    rule: Name
    members: Annotated[list[_Entry], Field(min_length=1, max_length=MAX_MEMBERS)]


ABOUT = TypeAdapter(_About)


@dataclass(frozen=True, eq=False, kw_only=True)
class Combination(Run):
    """Trained runs whose scores are averaged: its score is Σ weight · score of the member.

    Every member's scores are inner products of unit embeddings, so the combination's are too. `rule` says how the
    weights were found (`xmr.fusion`). Data and encoder are those of its first member: all have the same validation and
    test split, but others may read other features.
    """

    rule: str

    @property
    def about(self) -> str:
        """As "hybrid of 3 runs"."""
        return f"{self.rule} of {len(self.members)} run{'' if len(self.members) == 1 else 's'}"

    @property
    def score_kind(self) -> str:
        return "weighted cosines"

    @property
    def embed_dim(self) -> int:
        return sum(run.embed_dim for run in self.parts)

    def joined(self, embeddings: Sequence[np.ndarray]) -> np.ndarray:
        return joined(embeddings, [member.weight for member in self.members])

    def embeddings(self) -> tuple[np.ndarray, np.ndarray]:
        return self._embeddings

    @cached_property
    def _embeddings(self) -> tuple[np.ndarray, np.ndarray]:
        visual, text = zip(*(run.embeddings() for run in self.parts), strict=True)
        return self.joined(visual), self.joined(text)


def load_combination(path: Path, about: dict[str, Any], load: Callable[[Path], Run]) -> Combination:
    """The combination in the folder `path`, `about` being its run.json; `load` reads one member's folder.

    Raises RunRefused where a member is not a run beside it, missing, broken, altered since, a pair scorer or of
    other data than the rest, and where weights are not positive numbers that sum to 1.
    """
    check_fields(ABOUT, about, RUN)
    check_outcome(about)
    named = Counter(entry["run"] for entry in about["members"])
    if max(named.values()) > 1:
        raise RunRefused(f"{RUN} names the member {named.most_common(1)[0][0]!r:.80} more than once")
    members = tuple(_member(path, entry, load) for entry in about["members"])
    total = sum(member.weight for member in members)
    if abs(total - 1) > TOLERANCE:
        raise RunRefused(f"{RUN}: the members' weights sum to {total:g}, not to 1")
    check_alike([member.run for member in members])
    first = members[0].run
    data = {"dataset": first.config.dataset, "dataset_params": first.config.dataset_params}
    return Combination(
        name=name_of(path),
        path=path,
        config=TrainConfig(**data, loss="", matcher=""),
        dataset=first.dataset,
        encoder=first.encoder,
        metrics=about["metrics"],
        training=about["training"],
        members=members,
        rule=about["rule"],
    )


def check_alike(runs: Sequence[Run]) -> None:
    """Raises RunRefused where runs can't be combined: a pair scorer, or another validation or test split."""
    first = runs[0]
    for run in runs:
        if run.scores_pairs:
            raise RunRefused(
                f"{run.name} scores pairs ({run.config.matcher}), so it has no embeddings to combine"
            )
        for split in SPLITS_ALIKE:
            found, expected = (one.dataset["fingerprints"].get(split) for one in (run, first))
            sizes = [one.dataset["sizes"].get(split) for one in (run, first)]
            if found is None or found != expected or sizes[0] != sizes[1]:
                raise RunRefused(
                    f"{run.name} and {first.name} have different {split} splits "
                    f"({run.dataset['name']} {found}, {first.dataset['name']} {expected}), so they can't be combined"
                )


def save_combination(
    folder: str | Path,
    rule: str,
    members: Sequence[Member],
    metrics: dict[str, dict[str, float]],
    training: dict[str, Any] | None = None,
) -> Combination:
    """Writes a combination's folder beside its members, whole or not at all, and reads it back.

    `training` is told as it is: the command, what else was tried. An older combination in the folder is replaced.
    Raises ValueError where the folder holds something else or is not beside every member; RunRefused as
    `load_combination`; CannotSave.
    """
    folder = Path(folder).expanduser().resolve()
    runs = {member.run.path: member.run for member in members}
    check_place(folder, list(runs.values()))
    entries = [
        {
            "run": member.run.name,
            "weight": float(member.weight),
            "group": member.group,
            "sha256": digest(read(member.run.path / RUN, MAX_RUN)),
        }
        for member in members
    ]
    content = about_bytes(rule=rule, members=entries, metrics=metrics, training=training or {})
    # What would be refused is never written.
    found = load_combination(folder, parse_json(content, RUN), runs.__getitem__)
    write_files(folder, {CARD: _card(found).encode(), RUN: content})
    return found


def check_place(folder: Path, runs: Sequence[Run]) -> None:
    """Raises ValueError where a combination of these runs can't be written to the (resolved) folder."""
    for run in runs:
        if run.path.parent != folder.parent:
            raise ValueError(
                f"a combination lies beside its members: {folder} is not in {run.path.parent}, where {run.name} is"
            )
        if run.path == folder:
            raise ValueError(f"{folder} is one of the members; name another folder with --out")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; name another folder with --out")
    if folder.is_dir() and any(folder.iterdir()) and not _holds_combination(folder):
        raise ValueError(f"{folder} holds something that is no combination; name another folder with --out")


def _holds_combination(folder: Path) -> bool:
    try:
        return kind_of(read_about(folder)) == "combination"
    except RunRefused:
        return False


def _member(path: Path, entry: _Entry, load: Callable[[Path], Run]) -> Member:
    name, weight, group, sha256 = (entry[key] for key in ("run", "weight", "group", "sha256"))
    folder = _beside(path, name)
    try:
        if digest(read(folder / RUN, MAX_RUN)) != sha256:
            raise RunRefused(
                "its run.json is not the one that was combined: combine again, " + program("combine")
            )
        return Member(load(folder), weight, group)
    except RunRefused as error:
        raise RunRefused(f"member {name}: {error}") from error


def _beside(path: Path, name: str) -> Path:
    """The folder `name` beside `path`. Raises RunRefused where it isn't there, or the name or a link leads elsewhere."""
    # Names that mean something else on another system are refused on every one.
    if name in ("", ".", "..") or PureWindowsPath(name).name != name or Path(name).name != name:
        raise RunRefused(f"{RUN}: the member {name!r:.80} is not the name of a folder beside the combination")
    try:
        folder = (path.parent / name).resolve()
        found = folder.is_dir()
    except (OSError, ValueError, RuntimeError) as error:  # too long, a zero byte, links in a circle
        raise RunRefused(f"{RUN}: the member {name!r:.80} can't be a folder: {error}") from error
    if folder.parent != path.parent:
        raise RunRefused(f"{RUN}: the member {name!r} leads out of {path.parent}")
    if not found:
        raise RunRefused(f"there is no member {name!r} in {path.parent}")
    return folder


def _card(combination: Combination) -> str:
    names = [
        f"| {member.run.name} | {member.group} | {member.weight:.4g} |" for member in combination.members
    ]
    figure, reached = headline(combination.metrics["test"])
    expected = headline(combination.metrics["validation"])[1]
    return card(
        combination.name,
        combination.dataset["name"],
        "combination",
        combination.metrics["test"],
        [
            f"A combination for cross-modal retrieval, {combination.about}, by xmr. It lies beside its members and "
            "needs them: its score of a pair is the weighted mean of theirs.",
            "\n".join(["| run | group | weight |", "|---|---|---|", *names]),
            recall_table(combination.metrics["test"]),
            f"{figure} {reached:.1f}, test split; weights chosen on validation ({expected:.1f}).",
            f"Made with:\n\n```\n{combination.training.get('command') or 'xmr.checkpoints.save_combination'}\n```",
        ],
    )
