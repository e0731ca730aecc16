"""What every selector finds among the hardest negatives of trained models."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from xmr.checkpoints import Run
from xmr.data import Dataset
from xmr.embedding import embed_dataset, frozen_features
from xmr.evidence import Evidence
from xmr.experiments.detection import Side, Sweep, frozen_evidence, part_of, sides, sweep, swept_parameters
from xmr.experiments.gains import Training, config_key, data_key
from xmr.experiments.log import Log, checked
from xmr.selection import SELECTORS

CURVES = ("precision", "recall", "f1", "informedness")


@dataclass(frozen=True)
class Finding:
    """What a selector found on one split: curves over `values` of its main parameter, means over models; of each model
    the area and the share of matches. Precision is None where nobody is suspected."""

    selector: str
    parameter: str
    default: float
    values: list[float]
    precision: list[float | None]
    recall: list[float]
    f1: list[float]
    informedness: list[float]
    areas: list[float]
    rates: list[float]
    pairs: int  # hardest negatives of all models

    @classmethod
    def of(cls, selector: str, params: dict[str, Any], sweep: Sweep) -> Finding:
        parameter = swept_parameters(SELECTORS[selector])[0]
        points = sweep.points
        curves = [getattr(points, name).tolist() for name in CURVES]
        curves[0] = [None if math.isnan(value) else value for value in curves[0]]
        areas, rates = sweep.average_precision().tolist(), sweep.base_rate().tolist()
        values = sweep.values.tolist()
        return cls(selector, parameter, params[parameter], values, *curves, areas, rates, len(sweep.matches))

    @property
    def area(self) -> float:
        return float(np.mean(self.areas))

    @property
    def chosen(self) -> float:
        """The value that tells matches from the rest best, however many are matches."""
        return self.values[highest(self.informedness)]

    def at(self, value: float) -> list[str]:
        """Precision, recall, F1 and informedness there, in per cent."""
        place = self.values.index(value)
        return [percent(getattr(self, name)[place]) for name in CURVES]


FINDING, TRAINING = TypeAdapter(Finding), TypeAdapter(Training)


def of_line(values: dict[str, Any]) -> dict[str, Any]:
    """The key of a line of the benchmark's log. Raises KeyError or ValueError."""
    if not isinstance(values["key"], dict):
        raise ValueError("key is no object")
    checked(TRAINING if "config" in values["key"] else FINDING, values["record"])
    return values["key"]


def detection(
    runs: Sequence[Run],
    data: Mapping[str, Dataset],
    selectors: Mapping[str, dict[str, Any]],
    visuals: int,
    log: Log,
    say: Callable[[str], None],
) -> dict[str, list[Finding]]:
    """`detected` on the validation and the test split, as far as a truth is known; on test also at what was best on
    validation."""
    findings: dict[str, list[Finding]] = {}
    for split in ("validation", "test"):
        if data[split].truth is not None:
            chosen = {one.selector: one.chosen for one in findings.get("validation", [])}
            findings[split] = detected(runs, data, split, selectors, chosen, visuals, log, say)
    return findings


def detected(
    runs: Sequence[Run],
    data: Mapping[str, Dataset],
    split: str,
    selectors: Mapping[str, dict[str, Any]],
    chosen: Mapping[str, float],
    visuals: int,
    log: Log,
    say: Callable[[str], None],
) -> list[Finding]:
    """What every selector finds among the hardest negatives of the runs. `chosen` are values of main parameters that
    are of interest beside the defaults."""

    @cache
    def models() -> list[list[Side]]:
        say(f"{split}: the hardest negatives of {len(runs)} models")
        return hard_negatives(runs, data[split], visuals)

    findings = []
    for name, params in selectors.items():
        wanted = [chosen[name]] if name in chosen else []
        key = {"split": split, "selector": name, "params": params, "wanted": wanted, "visuals": visuals}
        key |= {"models": [config_key(run.config) for run in runs]} | data_key(data)
        line = log.find(key)
        if line is None:
            try:
                record = asdict(Finding.of(name, params, sweep(name, params, models(), wanted)))
            except ValueError as error:
                say(f"  {name} is left out: {error}")
                continue
            line = {"key": key, "record": record}
            log.append(line)
        finding = Finding(**line["record"])
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


def highest(values: Sequence[float]) -> int:
    """Where the highest of the values is, the middle one of equals."""
    equals = [place for place, value in enumerate(values) if value >= max(values) - 1e-12]
    return equals[len(equals) // 2]


def percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"
