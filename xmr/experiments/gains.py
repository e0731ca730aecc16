"""What training gains by selectors: each loss with and without, seed by seed, measured also by what the truth knows."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import TypedDict

from xmr.analysis import auc
from xmr.checkpoints import Trained
from xmr.core import TrainConfig
from xmr.data import Dataset
from xmr.experiments.intervals import Cell, cells_of
from xmr.experiments.log import Log
from xmr.metrics import evaluate
from xmr.selection import SELECTORS
from xmr.training import TrainingDiverged, train

# What is reported: key of the metrics, title, factor.
COLUMNS = {
    "rsum": ("rsum", 1.0),
    **{
        f"{direction}/true_{name}": (f"{direction} true {title}", 100.0)
        for name, title in (
            ("map_at_r", "mAP@R"), ("r_precision", "R-precision"), *((f"recall_at_{k}", f"R@{k}") for k in (1, 5, 10)),
        )
        for direction in ("v2t", "t2v")
    },
    "judged_auc": ("AUC of judged pairs", 100.0),
    "judged_average_precision": ("AP of judged pairs", 100.0),
    "known_rsum": ("rsum, known matches count", 1.0),
    "v2t/known_recall_at_1": ("v2t R@1, known matches count", 100.0),
    "t2v/known_recall_at_1": ("t2v R@1, known matches count", 100.0),
}  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """What is trained: a loss with a selector ("" for none) and an action on its suspects."""

    loss: str
    selector: str = ""
    action: str = "ignore"

    @property
    def title(self) -> str:
        if not self.selector:
            return "none"
        return self.selector + (f", {self.action}" if self.action != "ignore" else "")


class Training(TypedDict):
    """One training, as the log has it: its test metrics, none where it diverged, and then in words how."""

    metrics: dict[str, float]
    seconds: float
    diverged: str


Records = dict[Variant, dict[int, Training]]  # of every variant by seed


def config_key(config: TrainConfig) -> dict[str, Any]:
    """All that decides a training but the data, which are known by their content (`data_key`)."""
    return {"config": replace(config, dataset="", dataset_params={}).to_json()}


def data_key(data: Mapping[str, Dataset]) -> dict[str, Any]:
    return {"data": {split: part.fingerprint for split, part in data.items()}}


def effects(
    variants: Mapping[Variant, TrainConfig],
    selectors: Mapping[str, dict[str, Any]],
    seeds: int,
    data: Mapping[str, Dataset],
    log: Log,
    peers: Sequence[Path],
    say: Callable[[str], None],
) -> Records:
    """Of every variant the records of its seeds, from the log or trained now: one seed of all, then the next. `peers` are
    run folders for selectors that ask other models."""
    if not seeds:
        return {}
    test = data["test"]
    relevance = test.truth.block(np.arange(len(test.visual_ids)), np.arange(len(test.captions)))
    records: Records = {variant: {} for variant in variants}
    left, spent = len(variants) * seeds, []
    for turn in range(1, seeds + 1):
        for variant, base in variants.items():
            left -= 1
            params = selectors.get(variant.selector, {})
            config = replace(base, selector=variant.selector, selector_params=params, seed=base.seed + turn)
            config = replace(config, suspects=variant.action)
            key = config_key(config) | data_key(data)
            if variant.selector and "peer_scores" in SELECTORS[variant.selector].needs:
                key |= {"peers": [path.name for path in peers]}
                config = replace(config, selector_params=params | {"runs": ",".join(map(str, peers))})
            line = log.find(key)
            if line is None:
                line = {"key": key, "record": trained(config, data, relevance)}
                log.append(line)
                spent.append(line["record"]["seconds"])
                rest = left * sum(spent) / len(spent) / 60
                told = f"{variant.loss}, {variant.title}, seed {config.seed}: {in_words(line['record'])}"
                say(f"{told}, about {rest:.0f} min left")
            records[variant][config.seed] = line["record"]
    return records


def trained(config: TrainConfig, data: Mapping[str, Dataset], relevance: np.ndarray) -> Training:
    """One training: its test metrics, also by what the truth knows beyond the annotation, `relevance` (V, T); none where
    it diverged."""
    began, metrics, diverged = time.monotonic(), {}, ""
    try:
        done = finished(train(config, load=data.__getitem__))
    except TrainingDiverged as error:
        diverged = str(error)
    else:
        visual, text = done.embeddings
        positives = data["test"].visual_group[:, None] == data["test"].text_group
        metrics = done.metrics["test"] | beyond_annotation(visual @ text.T, positives, relevance)
    return {"metrics": metrics, "seconds": round(time.monotonic() - began, 1), "diverged": diverged}


def finished(steps: Any) -> Trained:
    """Runs a training to its end and returns what it returns."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def beyond_annotation(scores: np.ndarray, positives: np.ndarray, relevance: np.ndarray) -> dict[str, float]:
    """What scores (V, T) are worth by a truth that knows of some pairs only; `positives` (V, T) bool are annotated.

    Where it knows of mismatches: `judged_auc` and `judged_average_precision` of the judged pairs that are not
    annotated. Where it knows of matches only: recall with those counted as matches, `v2t/known_recall_at_1` …, and
    `known_rsum`. Nothing where every pair is known.
    """
    if not np.isnan(relevance).any():
        return {}
    if not (relevance == 0).any():
        found = evaluate(scores, relevance == 1)
        recalls = {
            name.replace("/", "/known_"): value for name, value in found.items() if "/recall_at_" in name
        }
        return recalls | {"known_rsum": found["rsum"]}
    asked = ~np.isnan(relevance) & ~positives
    matches, score = relevance[asked] == 1, scores[asked]
    order = np.lexsort((matches, -score))  # of equal scores mismatches first: ties count against the model
    hits = np.cumsum(matches[order])
    precision = hits / np.arange(1, len(hits) + 1)
    return {
        "judged_auc": auc(score[matches], score[~matches]),
        "judged_average_precision": float(precision[matches[order]].mean())
        if matches.any()
        else float("nan"),
    }


def in_words(record: Training) -> str:
    if record["diverged"]:
        return f"diverged, {record['seconds']:.0f} s"
    shown = {
        title: factor * record["metrics"][name]
        for name, (title, factor) in COLUMNS.items()
        if name in record["metrics"]
    }
    first = ", ".join(f"{title} {value:.1f}" for title, value in list(shown.items())[:3])
    return f"{first}, {record['seconds']:.0f} s"


def by_loss(records: Records) -> dict[str, Records]:
    """The records of each loss, in the order of the variants."""
    found: dict[str, Records] = {}
    for variant, seeds in records.items():
        found.setdefault(variant.loss, {})[variant] = seeds
    return found


def gains(records: Records, name: str) -> dict[Variant, Cell]:
    """Of every variant of one loss the metric over its seeds, compared with no selector."""
    factor = COLUMNS[name][1]
    base = next(variant for variant in records if not variant.selector)
    return cells_of(
        {
            variant: {s: factor * r["metrics"][name] for s, r in seeds.items() if name in r["metrics"]}
            for variant, seeds in records.items()
        },
        base,
    )
