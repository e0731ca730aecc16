"""How well selectors find false negatives where the truth is known, and what training gains by them.

    python scripts/benchmark_selectors.py --dataset blocks --set difficulty=0.2 --epochs 2 --batch-size 256
    python scripts/benchmark_selectors.py --dataset path/to/folder --selector posterior --action ignore weigh --seeds 5

Detection: one model for each loss of --models is trained; of its hardest negatives each selector says which it suspects,
which the truth answers with precision, recall, F1, and average precision over the range of the selector's main
parameter. Effect: each loss of --loss is trained without a selector and with each, --seeds times, and compared seed by
seed on the test split. Where nothing else is known, the truth are the pairs that can't be told from annotated ones: equal
pictures, and captions that read alike, which selectors by captions always suspect.

Besides what scripts/train.py takes, --set SELECTOR.PARAMETER=VALUE sets a selector's parameter. Every finished training
is a line of FILE's .jsonl and every model a run in FILE's .runs/, so the same command goes on where it was stopped, and
one with more selectors, actions or seeds trains what is missing. --first is for max_of_hinges only.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from scripts import leave_at_once

    leave_at_once()

import torch

from scripts import told
from scripts.command import Bars, check_encoder, say, splits
from scripts.options import Parser, add_training_options, assign, config_of, scopes
from xmr.checkpoints import Run, difference, is_finished, load_run
from xmr.core import TrainConfig
from xmr.data import Dataset
from xmr.data.duplicates import twins
from xmr.disk import write
from xmr.embedding import Progress
from xmr.experiments.findings import detection, of_line
from xmr.experiments.gains import Records, Variant, effects, finished
from xmr.experiments.log import opened
from xmr.experiments.selector_report import files
from xmr.registry import unknown
from xmr.selection import ACTIONS, SELECTORS
from xmr.training import TrainingDiverged, train
from xmr.words import program

MAX = "max_of_hinges"
MODELS = ["max_of_hinges", "info_nce", "siglip"]
LOSSES = ["max_of_hinges", "info_nce"]


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    command = f"{program('benchmark_selectors')} " + shlex.join(sys.argv[1:] if argv is None else argv)
    return told(lambda: run(options, command), "the same command goes on")


def run(options: argparse.Namespace, command: str) -> int:
    """The whole benchmark: what is missing is trained, then the report is written. Returns the exit code."""
    configs, selectors = plan(options)
    base = configs[options.models[0]]
    check_encoder(base.dataset, base.encoder)
    stem = options.out.removesuffix(".md")
    bars = Bars()
    variants = {
        Variant(loss, *how): configs[loss]
        for loss in dict.fromkeys(options.loss)
        for how in [(), *((name, action) for action in dict.fromkeys(options.action) for name in selectors)]
    }
    with opened(Path(stem + ".jsonl"), "benchmark", of_line) as log:
        data = splits(base, bars, options.strict)
        if data["test"].truth is None:
            data = {split: known(one) for split, one in data.items()}
        truth = data["test"].truth
        if truth is None:
            raise ValueError(
                f"nothing is known of {data['test'].name} beyond its annotation, and nothing stands twice, so nothing to measure against"
            )
        runs = [model(configs[name], Path(stem + ".runs"), data, bars) for name in options.models]
        findings = detection(runs, data, selectors, options.visuals, log, say)
        records = effects(variants, selectors, options.seeds, data, log, [one.path for one in runs], say)
        about = [f"    {command}", facts(options, base, records), f"What matches is told by: {truth.source}."]
        texts = files(data["test"].name, about, findings, records)
        for ending, text in texts.items():
            write(Path(stem + ending), text)
    print(f"{stem}.md, and .detection.csv, .effect.csv and .jsonl beside it")
    return 0


def known(data: Dataset) -> Dataset:
    """The split with what stands twice in it as its truth: such pairs match, of all others it is unknown."""
    found = twins(data)
    return data if found is None else replace(data, truth=found.credited(float("nan")))


def plan(options: argparse.Namespace) -> tuple[dict[str, TrainConfig], dict[str, dict[str, Any]]]:
    """Of each loss the configuration that its trainings share, and every selector's parameters.

    Raises ValueError or TypeError on names, parameters and numbers that do not fit.
    """
    if options.seeds < 0:
        raise ValueError(f"--seeds must be at least 0, found {options.seeds}")
    selectors = {name: SELECTORS[name].defaults for name in options.selector or SELECTORS}
    rest = []
    for setting in options.set:
        key, _, value = setting.partition("=")
        scope, dot, name = key.partition(".")
        if not dot or scope not in SELECTORS:
            rest.append(setting)
        elif scope in selectors:
            selectors[scope] = selectors[scope] | {name: SELECTORS[scope].param(name).parse(value)}
        else:
            raise ValueError(f"--set {setting}: " + unknown("asked selector", scope, selectors))
    asked = argparse.Namespace(**{**vars(options), "selector": ""})
    losses = list(dict.fromkeys([*options.models, *options.loss]))
    given = assign(rest, scopes(asked, losses))
    configs = {name: config_of(asked, name, given) for name in losses}
    for name in losses:  # --first is for the loss that needs another to begin with
        if name != MAX:
            configs[name] = replace(configs[name], first_loss="", first_epochs=0)
    return configs, selectors


def model(config: TrainConfig, folder: Path, data: Mapping[str, Dataset], progress: Progress) -> Run:
    """A run of that loss below `folder`, trained or gone on with where it is not finished."""
    path = folder / config.loss
    if not is_finished(path):
        say(f"model {config.loss}")
        try:
            finished(train(config, path, resume=True, load=data.__getitem__, progress=progress))
        except TrainingDiverged as error:
            raise ValueError(str(error)) from error
    if differs := difference(path, config):
        raise ValueError(f"{path} was trained otherwise, with {differs}; choose another --out")
    run = load_run(path)
    if run.dataset["fingerprints"]["test"] != data["test"].fingerprint:
        raise ValueError(f"{path} was trained on other data; choose another --out")
    return run


def facts(options: argparse.Namespace, base: TrainConfig, records: Records) -> str:
    seconds = sum(record["seconds"] for seeds in records.values() for record in seeds.values())
    trainings = sum(map(len, records.values()))
    encoder = f", encoder {options.encoder}" if options.encoder else ""
    return (
        f"Matcher {base.matcher}{encoder}, {base.epochs} epochs, batches of {base.batch_size}, learning rate {base.lr:g}. "
        f"{trainings} trainings took {seconds / 60:.0f} min in all, each on {torch.get_num_threads()} thread(s)."
    )


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, conflict_handler="resolve"
    )
    add_training_options(parser)
    parser.set_defaults(duplicates="negative")  # which selectors are there to find
    parser.add_argument("--selector", nargs="+", default=[], metavar="NAME", help="default: all")
    parser.add_argument(
        "--action", nargs="+", choices=list(ACTIONS), default=["ignore"], help="on suspects; default: ignore"
    )
    parser.add_argument(
        "--models",
        nargs="+",
        default=MODELS,
        metavar="LOSS",
        help=f"whose hardest negatives; default: {' '.join(MODELS)}",
    )
    parser.add_argument(
        "--loss",
        nargs="+",
        default=LOSSES,
        metavar="LOSS",
        help=f"trained with selectors; default: {' '.join(LOSSES)}",
    )
    parser.add_argument(
        "--visuals",
        type=int,
        default=0,
        metavar="N",
        help="of a split for detection; 0, the default, takes all",
    )
    parser.add_argument(
        "--seeds", type=int, default=3, help="of each training; 0: detection only; default: %(default)s"
    )
    parser.add_argument(
        "--out", default="selectors.md", metavar="FILE", help="and .csv files, .jsonl and .runs/ beside it"
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
