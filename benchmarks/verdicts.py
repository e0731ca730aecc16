"""What verdicts bring: a learning curve on `blocks`, where the known truth is the judge.

    python benchmarks/verdicts.py --out verdicts

A run lists its hardest negatives of the training split, as the tab False negatives does, heaviest first. The first
N of them are judged by the truth, and the loss is trained again with those verdicts (a confirmed pair is a positive, a refuted
one stays a negative), by the same seeds and for as long. What is told is the difference on the test split to the training of
the same seed without any, by paired tests of its visuals. Finished runs of --out are kept: the same command goes on. --json gets
what docs/results-verdicts.md shows.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from scripts.command import Bars, say
from xmr.analysis import Retrieval, hard_negatives_by_weight
from xmr.checkpoints import is_finished, list_runs, load_run
from xmr.core import DIRECTIONS, TrainConfig
from xmr.data import SPLITS, Dataset, load_dataset
from xmr.disk import write
from xmr.embedding import embed_dataset, frozen_features
from xmr.losses import LOSSES
from xmr.store import PairNames, export
from xmr.training import train
from xmr.workspace import Workspace
from xmr.workspace.results import compared, estimates

TRAINED = ("info_nce",)
COUNTS = (100, 500, 2000, 20000)  # the app lists 2,000
SEEDS = (0, 1, 2)
MEASURES = ("R@1", "true R@1", "true mAP@R")
SETTINGS: dict[str, Any] = {
    "dataset": "blocks", "matcher_params": {"embed_dim": 48}, "epochs": 4, "batch_size": 256, "duplicates": "ignore"
}  # fmt: skip
DIRECTION = "t2v"  # of the list that is judged


def main() -> None:
    options = parse()
    out, bars = Path(options.out), Bars()
    held = {split: load_dataset("blocks", split) for split in SPLITS}
    for split in SPLITS:  # what takes minutes where nothing is in the cache
        frozen_features(held[split], progress=bars)
    bars.close()
    judged: dict[str, dict[int, int]] = {}
    for loss in TRAINED:
        for seed in SEEDS:
            fit(out, name_of(loss, 0, seed), config_of(loss, seed), held)
        judged[loss] = judge(out, loss, held["train"])
        for count in COUNTS:
            for seed in SEEDS:
                config = replace(config_of(loss, seed), verdicts=str(file_of(out, loss, count)))
                fit(out, name_of(loss, count, seed), config, held)
    found = {
        "command": "python benchmarks/verdicts.py --out verdicts",
        "cores": os.cpu_count(),
        "seconds": round(sum(run.training["seconds"] for run in list_runs(out / "runs")[0])),
        "seeds": len(SEEDS),
        "settings": SETTINGS,
        "sizes": {s: {"visuals": len(d.visual_ids), "texts": len(d.captions)} for s, d in held.items()},
        "losses": {loss: table(out, loss, judged[loss]) for loss in TRAINED},
    }
    write(Path(options.json), json.dumps(found, indent=1) + "\n")


def config_of(loss: str, seed: int) -> TrainConfig:
    return TrainConfig(loss=loss, seed=seed, **SETTINGS)


def name_of(loss: str, count: int, seed: int) -> str:
    return f"{loss}-{count}-seed{seed}"


def file_of(out: Path, loss: str, count: int) -> Path:
    return out / f"{loss}-{count}.jsonl"


def fit(out: Path, name: str, config: TrainConfig, held: dict[str, Dataset]) -> None:
    folder = out / "runs" / name
    if is_finished(folder):
        return
    for _ in train(config, folder, resume=True, load=held.__getitem__):
        pass
    say(f"{name}: test rsum {load_run(folder).metrics['test']['rsum']:.1f}")


def judge(out: Path, loss: str, data: Dataset) -> dict[int, int]:
    """Writes the verdicts on the first of the hardest negatives of the first seed's run; how many of each count are matches."""
    files = {count: file_of(out, loss, count) for count in COUNTS}
    notes = out / f"{loss}.json"
    if not notes.is_file() or not all(path.is_file() for path in files.values()):
        run = load_run(out / "runs" / name_of(loss, 0, SEEDS[0]))
        sides = embed_dataset(run, data)
        known = data.truth.asked(DIRECTION)
        found = hard_negatives_by_weight(
            Retrieval(*sides, data.visual_group, data.text_group, DIRECTION, None),
            loss,
            LOSSES[loss].filled(run.loss_values),
            lambda texts, visuals: known.block(visuals, texts).T,
            limit=max(COUNTS),
        )
        names = PairNames(data)
        pairs = zip(found.candidate.tolist(), found.query.tolist(), found.truth.tolist(), strict=True)
        verdicts = [
            names.verdict(visual, text, "the truth", "yes" if true else "no") for visual, text, true in pairs
        ]
        for count, path in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            export(path, verdicts[:count])
        told = {count: int(np.nansum(found.truth[:count] > 0)) for count in COUNTS}
        write(notes, json.dumps(told))
    return {int(count): matches for count, matches in json.loads(notes.read_text()).items()}


def table(out: Path, loss: str, matches: dict[int, int]) -> dict[str, Any]:
    """By count of verdicts, of each direction and measure: the mean over seeds, and of each seed the difference to its own training
    without any, with the interval and the p of the paired test."""
    runs, faults = list_runs(out / "runs")
    if faults:
        raise ValueError(str(faults[0]))
    workspace = Workspace.of(runs, "blocks", lambda split: load_dataset("blocks", split), embedder=None)
    found: dict[str, Any] = {}
    for count in (0, *COUNTS):
        line: dict[str, Any] = {"matches": matches.get(count, 0)}
        for way in DIRECTIONS:
            for measure in MEASURES:
                names = [name_of(loss, count, seed) for seed in SEEDS]
                mean = float(np.mean([estimates(workspace, one, "test", way)[measure].mean for one in names]))
                line[f"{way} {measure}"] = {"mean": mean, "seeds": []}
                for seed in SEEDS if count else ():
                    pair = (name_of(loss, n, seed) for n in (0, count))
                    one = compared(workspace, *pair, "test", way, measure)
                    line[f"{way} {measure}"]["seeds"].append([one.difference, one.low, one.high, one.p])
        found[str(count)] = line
    return found


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default="verdicts", metavar="DIR")
    parser.add_argument("--json", default="docs/results-verdicts.json", metavar="FILE")
    return parser.parse_args()


if __name__ == "__main__":
    main()
