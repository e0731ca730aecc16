"""Commands that the app shows, filled in: what is shown can be pasted."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from xmr.checkpoints import Run
from xmr.words import program


def command(name: str, *words: object) -> str:
    """The command line of a script or of the app, quoted where a shell needs it."""
    return f"{program(name)} {shlex.join(map(str, words))}"


def verdict_commands(runs: Sequence[Run], source: str, checkpoints: Path, exported: str) -> list[str]:
    """How to train and to evaluate with the verdicts that were exported: of the split train and of the split test to files
    `exported` names with "{split}" in it. The first run with a loss is the example."""
    one = next((run for run in runs if run.has_loss), None)
    if one is None:
        return []
    train, test = exported.format(split="train"), exported.format(split="test")
    alike = ["--encoder", one.config.encoder] if one.config.encoder else []
    return [
        command(
            "train", "--dataset", source, *alike, "--loss", one.config.loss, "--verdicts", train, "--out", checkpoints
        ),
        command("evaluate", checkpoints / one.name, "--split", "test", "--verdicts", test),
    ]  # fmt: skip
