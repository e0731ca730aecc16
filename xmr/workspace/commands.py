"""Commands that the app shows, filled in: what is shown can be pasted."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from xmr.checkpoints import Run
from xmr.core import TrainConfig
from xmr.data.sources import entry_of
from xmr.losses import LOSSES
from xmr.matchers import MATCHERS
from xmr.selection import SELECTORS
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


# Fields of a head's configuration that are options of train.py, each where it is not as usual.
OPTIONS = (
    "encoder", "matcher", "selector", "suspects", "verdicts", "verdicts_as", "train_visuals", "epochs", "batch_size", "batches",
    "queue", "micro_batch", "lr", "weight_decay", "warmup", "patience", "seed",
)  # fmt: skip


def train_command(config: TrainConfig, out: str) -> str:
    """The line that trains this configuration of a head, and no other, into a folder below `out`."""
    usual, words = TrainConfig(), ["--dataset", config.dataset, "--loss", config.loss]
    for name in OPTIONS:
        if (value := getattr(config, name)) != getattr(usual, name):
            words += [f"--{name.replace('_', '-')}", value]
    words += ["--duplicates", config.duplicates]
    if config.first_loss:
        words += ["--first", f"{config.first_loss}:{config.first_epochs}"]
    for scope, entry, given in (
        ("loss", LOSSES[config.loss], config.loss_params),
        ("matcher", MATCHERS[config.matcher], config.matcher_params),
        ("selector", SELECTORS[config.selector] if config.selector else None, config.selector_params),
        ("dataset", entry_of(config.dataset) if config.dataset_params else None, config.dataset_params),
    ):
        usual_of = entry.defaults if entry else {}
        for name, value in given.items():
            if name not in usual_of or value != usual_of[name]:
                words += ["--set", f"{scope}.{name}={value}"]
    return command("train", *words, "--out", out)
