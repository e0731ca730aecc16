"""How well selectors find false negatives where the truth is known, and what training gains by them.

    python scripts/benchmark_selectors.py --dataset blocks --set difficulty=0.2 --epochs 2 --batch-size 256
    python scripts/benchmark_selectors.py --dataset path/to/folder --selector posterior --action ignore weigh --seeds 5

Detection: one model for each loss of --models is trained; of its hardest negatives each selector says which it suspects,
which the truth answers with precision, recall, F1, and average precision over the range of the selector's main
parameter. Effect: each loss of --loss is trained without a selector and with each, --seeds times, and compared seed by
seed on the test split.

Besides what scripts/train.py takes, --set SELECTOR.PARAMETER=VALUE sets a selector's parameter. Every finished training
is a line of FILE's .jsonl and every model a run in FILE's .runs/, so the same command goes on where it was stopped, and
one with more selectors, actions or seeds trains what is missing. --first is for max_of_hinges only.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from scripts import leave_at_once

    leave_at_once()

import numpy as np
import torch

from scripts import told
from scripts.command import Bars, check_encoder, say
from scripts.compare import load
from scripts.train import Parser, add_training_options, assign, config_of, difference, scopes
from xmr.checkpoints import Run, Trained, is_finished, load_run
from xmr.core import TrainConfig
from xmr.data import Dataset
from xmr.disk import write
from xmr.embedding import Progress, embed_dataset, frozen_features
from xmr.evidence import Evidence
from xmr.locks import holding
from xmr.registry import unknown
from xmr.selection import ACTIONS, SELECTORS
from xmr.selector_benchmark import (
    Side,
    beyond_annotation,
    frozen_evidence,
    part_of,
    sides,
    sweep,
)
from xmr.selector_report import (
    COLUMNS,
    Finding,
    Variant,
    finding_rows,
    gain_rows,
    markdown,
    percent,
)
from xmr.tables import csv_text
from xmr.training import TrainingDiverged, train

MAX = "max_of_hinges"
MODELS = ["max_of_hinges", "info_nce", "siglip"]
LOSSES = ["max_of_hinges", "info_nce"]


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    command = "python scripts/benchmark_selectors.py " + shlex.join(sys.argv[1:] if argv is None else argv)

    def work() -> int:
        with holding(Path(options.out)):
            return run(options, command)

    return told(work, "the same command goes on")


def run(options: argparse.Namespace, command: str) -> int:
    """The whole benchmark: what is missing is trained, then the report is written. Returns the exit code."""
    configs, selectors = plan(options)
    base = configs[options.models[0]]
    check_encoder(base.dataset, base.encoder)
    stem = options.out.removesuffix(".md")
    Path(stem).parent.mkdir(parents=True, exist_ok=True)
    bars = Bars()
    data = load(base, bars, options.strict)
    if data["test"].truth is None:
        raise ValueError(
            f"nothing is known of {data['test'].name} beyond its annotation, so nothing to measure against"
        )
    log = Log(Path(stem + ".jsonl"), {split: part.fingerprint for split, part in data.items()})
    runs = [model(configs[name], Path(stem + ".runs"), data, bars) for name in options.models]
    findings = {}
    for split in ("validation", "test"):
        if data[split].truth is not None:
            chosen = {one.selector: one.chosen for one in findings.get("validation", [])}
            findings[split] = detection(runs, data[split], selectors, chosen, options.visuals, log)
    variants = {
        Variant(loss, *how): configs[loss]
        for loss in dict.fromkeys(options.loss)
        for how in [(), *((name, action) for action in dict.fromkeys(options.action) for name in selectors)]
    }
    records = effects(variants, selectors, options.seeds, data, log, [one.path for one in runs])
    about = [f"    {command}", facts(options, base, records)]
    write(Path(stem + ".md"), markdown(data["test"].name, about, findings, records))
    write(Path(stem + ".detection.csv"), csv_text(finding_rows(findings)))
    write(Path(stem + ".effect.csv"), csv_text(gain_rows(records)))
    print(f"{stem}.md, and .detection.csv, .effect.csv and .jsonl beside it")
    return 0


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


# ---- detection ---------------------------------------------------------------------------------------------


def model(config: TrainConfig, folder: Path, data: dict[str, Dataset], progress: Progress) -> Run:
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


def detection(
    runs: Sequence[Run],
    dataset: Dataset,
    selectors: dict[str, dict[str, Any]],
    chosen: dict[str, float],
    visuals: int,
    log: Log,
) -> list[Finding]:
    """What every selector finds among the hardest negatives of the runs. `chosen` are values of main parameters that
    are of interest beside the defaults."""

    @cache
    def models() -> list[list[Side]]:
        say(f"{dataset.split}: the hardest negatives of {len(runs)} models")
        return hard_negatives(runs, dataset, visuals)

    findings = []
    for name, params in selectors.items():
        wanted = [chosen[name]] if name in chosen else []
        key = {"split": dataset.split, "selector": name, "params": params, "wanted": wanted}
        key |= {"visuals": visuals, "models": [log_key(run.config) for run in runs]}
        record = log.find(key)
        if record is None:
            try:
                record = asdict(Finding.of(name, params, sweep(name, params, models(), wanted)))
            except ValueError as error:
                say(f"  {name} is left out: {error}")
                continue
            log.append(key, record)
        finding = Finding(**record)
        findings.append(finding)
        say(
            f"  {name}: at {finding.default:g} precision, recall, F1, informedness "
            f"{', '.join(finding.at(finding.default))}; at {finding.chosen:g} {', '.join(finding.at(finding.chosen))}; "
            f"area {percent(finding.area)}"
        )
    return findings


def hard_negatives(runs: Sequence[Run], dataset: Dataset, visuals: int) -> list[list[Side]]:
    """Of every run both directions' hardest negatives in (a part of) the split; the other runs are its peers."""
    part = part_of(dataset, visuals)
    features = frozen_features(dataset, runs[0].config.encoder)
    text = None if features.text is None else features.text[part.texts]
    evidence = Evidence(
        [dataset.captions[i] for i in part.texts], lambda: (features.visual[part.visuals], text)
    )
    frozen = frozen_evidence(part, evidence)
    embeddings = [embed_dataset(run, dataset) for run in runs]
    embeddings = [(v[part.visuals], t[part.texts]) for v, t in embeddings]
    models = []
    for k, run in enumerate(runs):
        peers = [other for j, other in enumerate(embeddings) if j != k]
        models.append(sides(run, part, embeddings[k], replace(evidence, peers=peers), frozen))
    return models


# ---- effect ------------------------------------------------------------------------------------------------


def effects(
    variants: dict[Variant, TrainConfig],
    selectors: dict[str, dict[str, Any]],
    seeds: int,
    data: dict[str, Dataset],
    log: Log,
    peers: Sequence[Path],
) -> dict[Variant, dict[int, dict[str, Any]]]:
    """Of every variant the records of its seeds, from the log or trained now: one seed of all, then the next."""
    if not seeds:
        return {}
    whole = np.arange(len(data["test"].visual_ids)), np.arange(len(data["test"].captions))
    relevance = data["test"].truth.block(*whole)
    records: dict[Variant, dict[int, dict[str, Any]]] = {variant: {} for variant in variants}
    left, spent = len(variants) * seeds, []
    for turn in range(1, seeds + 1):
        for variant, base in variants.items():
            left -= 1
            params = selectors.get(variant.selector, {})
            config = replace(base, selector=variant.selector, selector_params=params, seed=base.seed + turn)
            config = replace(config, suspects=variant.action)
            key = log_key(config)
            if variant.selector and "peer_scores" in SELECTORS[variant.selector].needs:
                key |= {"peers": [path.name for path in peers]}
                config = replace(config, selector_params=params | {"runs": ",".join(map(str, peers))})
            record = log.find(key)
            if record is None:
                record = trained(config, data, relevance)
                log.append(key, record)
                spent.append(record["seconds"])
                rest = left * sum(spent) / len(spent) / 60
                say(
                    f"{variant.loss}, {variant.title}, seed {config.seed}: {in_words(record)}, about {rest:.0f} min left"
                )
            records[variant][config.seed] = record
    return records


def log_key(config: TrainConfig) -> dict[str, Any]:
    """All that decides a training but the data, which are known by their content."""
    return {"config": replace(config, dataset="", dataset_params={}).to_json()}


def trained(config: TrainConfig, data: dict[str, Dataset], relevance: np.ndarray) -> dict[str, Any]:
    """One training: its test metrics, also by what the truth knows beyond the annotation; none where it diverged."""
    began = time.monotonic()
    try:
        done = finished(train(config, load=data.__getitem__))
    except TrainingDiverged as error:
        return {"metrics": {}, "seconds": round(time.monotonic() - began, 1), "diverged": str(error)}
    visual, text = done.embeddings
    test = data["test"]
    positives = test.visual_group[:, None] == test.text_group
    metrics = done.metrics["test"] | beyond_annotation(visual @ text.T, positives, relevance)
    return {"metrics": metrics, "seconds": round(time.monotonic() - began, 1), "diverged": ""}


def finished(steps: Any) -> Trained:
    """Runs a training to its end and returns what it returns."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


class Log:
    """One JSON line for every sweep and every finished training, on the data of those `fingerprints`."""

    def __init__(self, path: Path, fingerprints: dict[str, str]):
        self.path, self.fingerprints = path, fingerprints
        self.records: dict[str, dict[str, Any]] = {}
        content = path.read_bytes() if path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                values = json.loads(line)
                self.records[_json(values["key"])] = values["record"]
            except (ValueError, TypeError, KeyError) as error:
                raise ValueError(f"{path}, line {number}, is no line of a benchmark: {error}") from error
        if len(whole) < len(content):  # killed while it wrote the last line
            os.truncate(path, len(whole))

    def find(self, key: dict[str, Any]) -> dict[str, Any] | None:
        return self.records.get(_json(key | {"data": self.fingerprints}))

    def append(self, key: dict[str, Any], record: dict[str, Any]) -> None:
        """The line is on disk before this returns."""
        key = key | {"data": self.fingerprints}
        with self.path.open("ab") as file:
            file.write(_json({"key": key, "record": record}).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.records[_json(key)] = record


def _json(values: Any) -> str:
    return json.dumps(values, sort_keys=True)


# ---- what is told ------------------------------------------------------------------------------------------


def facts(options: argparse.Namespace, base: TrainConfig, records: dict[Variant, dict[int, Any]]) -> str:
    seconds = sum(record["seconds"] for seeds in records.values() for record in seeds.values())
    trainings = sum(map(len, records.values()))
    encoder = f", encoder {options.encoder}" if options.encoder else ""
    return (
        f"Matcher {base.matcher}{encoder}, {base.epochs} epochs, batches of {base.batch_size}, learning rate {base.lr:g}. "
        f"{trainings} trainings took {seconds / 60:.0f} min in all, each on {torch.get_num_threads()} thread(s)."
    )


def in_words(record: dict[str, Any]) -> str:
    if record["diverged"]:
        return f"diverged, {record['seconds']:.0f} s"
    shown = {
        COLUMNS[name][0]: COLUMNS[name][1] * record["metrics"][name]
        for name in COLUMNS
        if name in record["metrics"]
    }
    return (
        ", ".join(f"{title} {value:.1f}" for title, value in list(shown.items())[:3])
        + f", {record['seconds']:.0f} s"
    )


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, conflict_handler="resolve"
    )
    add_training_options(parser)
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
