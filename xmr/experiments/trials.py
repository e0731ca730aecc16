"""The trainings of a comparison: an equal search for every loss, then its seeds, each of them once in the log."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xmr.checkpoints import Trained, clear_run, difference, is_finished, is_started
from xmr.core import DIRECTIONS, TrainConfig
from xmr.data import Dataset
from xmr.embedding import Progress, zero_shot
from xmr.experiments.log import Log
from xmr.experiments.outcomes import Outcome, Record, chosen, shares_by_visual
from xmr.experiments.search import Setting, axes, settings
from xmr.losses import LOSSES
from xmr.metrics import headline, rank_embeddings, rank_scores
from xmr.scoring import judged_words, split_metrics
from xmr.training import TrainingDiverged, train
from xmr.words import counted

Splits = Mapping[str, Dataset]


def key(values: dict[str, Any]) -> list[Any] | None:
    """Of a line of a comparison's log; its header tells what all trainings share. Raises ValueError."""
    if "config" not in values:
        return Record.from_json(values).key
    for name in ("config", "fingerprints"):
        if not isinstance(values.get(name), dict):
            raise ValueError(f"{name} is no object")
    return None


def identify(log: Log, config: TrainConfig, loss_params: dict[str, Any], data: Splits) -> None:
    """Writes what all trainings share, the dataset known by its content. Raises ValueError where the log is of another
    comparison."""
    shared = replace(config, dataset="", dataset_params={}, loss="", loss_params=loss_params).to_json()
    fingerprints = {split: part.fingerprint for split, part in data.items()}
    wanted = json.loads(json.dumps({"config": shared, "fingerprints": fingerprints}))
    defaults = TrainConfig().to_json()  # a field that came later was at its default before
    for header in log.headers:
        told = "; ".join(differences({**header, "config": defaults | header["config"]}, wanted))
        if told:
            raise ValueError(f"{log.path} holds another comparison ({told}); choose another --out")
    if not log.headers:
        if len(log):
            raise ValueError(f"{log.path} does not say what it compares; choose another --out")
        log.append(wanted)


def differences(there: dict[str, Any], here: dict[str, Any], name: str = "") -> list[str]:
    """What two nested dicts of JSON do not share, in words."""
    found = []
    for part in sorted(there.keys() | here.keys()):
        old, new = there.get(part), here.get(part)
        if isinstance(old, dict) and isinstance(new, dict):
            found += differences(old, new, part)
        elif old != new:
            label = f"the data of {part}" if name == "fingerprints" else part
            found.append(f"{label}: {old!r} there, {new!r} now")
    return found


@dataclass
class Trials:
    """Trains what the log does not hold yet, or what is to be kept and no folder holds, and says how it goes.

    `keep` is "none", "best" or "all" of each row's seeds, as runs in `folder`; `label` goes before what is said; `left`
    counts the trainings that are still to come, at most.
    """

    log: Log
    data: Splits
    say: Callable[[str], None]
    progress: Progress
    label: str = ""
    keep: str = "none"
    folder: Path | None = None
    command: str = ""
    left: int = 0
    spent: list[float] = field(default_factory=list)

    def outcome(self, row: str, config: TrainConfig, tried: Sequence[Setting], seeds: int) -> Outcome:
        """The search of one loss, then its seeds: those that follow the search's."""
        own = row.partition("+")[2]
        searched = [
            self.record(
                replace(config, lr=one.lr, loss_params=one.params), "search", f"trial {i}/{len(tried)}", own
            )
            for i, one in enumerate(tried, 1)
        ]
        best = chosen(searched).setting if chosen(searched) else None
        if not tried:
            best = settings(LOSSES[config.loss], config.lr, 1, config.loss_params)[
                0
            ]  # nothing to choose from
        if best is None:
            return Outcome(row, searched)
        config = replace(config, lr=best.lr, loss_params=best.params)
        seeded = [replace(config, seed=config.seed + i) for i in range(1, seeds + 1)]
        tested = [self.record(one, "test", f"seed {i}/{seeds}", own) for i, one in enumerate(seeded, 1)]
        self._keep_runs(seeded, tested, own)
        return Outcome(row, searched, tested)

    def record(self, config: TrainConfig, role: str, what: str, selector: str = "") -> Record:
        """The record of one training, from the log or made now; `selector` is that of a row of its own."""
        self.left -= 1
        key = [config.loss, role, config.seed, config.lr, config.loss_params, selector]
        if (known := self.log.find(key)) is not None:
            return Record.from_json(known)
        folder = self._place(config, selector) if role == "test" and self.keep == "all" else None
        if folder is not None and is_finished(folder):
            folder = None  # of a log that is lost; what it is, `_keep_runs` asks
        made = replace(
            trained(config, role, self.data, self.progress, folder, self.command), selector=selector
        )
        self.log.append(asdict(made))
        self.spent.append(made.seconds)
        self.say(self._words(what, made))
        return made

    def _place(self, config: TrainConfig, selector: str) -> Path:
        """The run folder of one training; a best one has the row's name, one of all also its seed."""
        name = "-".join([config.loss, *([selector] if selector else [])])
        return self.folder / (f"{name}-seed{config.seed}" if self.keep == "all" else name)

    def _keep_runs(self, configs: Sequence[TrainConfig], records: Sequence[Record], selector: str) -> None:
        """Sees that the trainings that are kept of one row have their folders: trains those again that have none."""
        if self.keep == "none":
            return
        best = chosen(records)  # the highest on validation, as of the search
        for config, record in zip(configs, records, strict=True):
            if record.score is None or (self.keep == "best" and record is not best):
                continue
            folder = self._place(config, selector)
            differs = difference(folder, config) if is_started(folder) else ""
            if differs and self.keep == "best":  # another seed was best, of fewer
                clear_run(folder)
            elif differs:
                raise ValueError(f"{folder} holds another run, with {differs}; choose another --out")
            if not is_finished(folder):
                self.say(f"{folder}: kept, so trained with its folder")
                trained(config, "test", self.data, self.progress, folder, self.command)

    def _words(self, what: str, record: Record) -> str:
        score = "diverged" if record.score is None else f"validation {record.figure} {record.score:.1f}"
        left = self.left * sum(self.spent) / len(self.spent) / 60
        rest = f", about {left:.0f} min left" if left >= 1 else ""
        rest += f" for {self.label}" if rest and self.label else ""
        defaults = LOSSES[record.loss].defaults
        changed = {name: value for name, value in record.params.items() if value != defaults[name]}
        setting = ", ".join(f"{name} {value}" for name, value in {"lr": record.lr, **changed}.items())
        name = "  ".join([*([self.label] if self.label else []), record.row])
        return f"{name}  {what}  {setting}: {score}, {record.seconds:.0f} s{rest}"


def trained(
    config: TrainConfig,
    role: str,
    data: Splits,
    progress: Progress,
    folder: Path | None = None,
    command: str = "",
) -> Record:
    """One training, kept in `folder` if there is one. A search stops before the test split would be looked at."""
    began = time.monotonic()
    score, epoch, metrics, diverged, by_visual = None, 0, {}, "", []
    steps = train(config, folder, resume=True, load=data.__getitem__, progress=progress, command=command)
    try:
        while True:
            step = next(steps)
            if step.best:
                score, epoch = headline(step.metrics)[1], step.epoch
            if role == "search" and step.step == step.steps:
                steps.close()
                break
    except StopIteration as stop:
        if role == "test":
            metrics, by_visual = stop.value.metrics["test"], visual_shares(stop.value, data["test"])
    except TrainingDiverged as error:
        score, diverged = None, f"{error.loss} became {error.value} at step {error.step}"
    return Record(
        loss=config.loss,
        role=role,
        seed=config.seed,
        lr=config.lr,
        params=config.loss_params,
        score=score,
        metrics=metrics,
        seconds=round(time.monotonic() - began, 2),
        diverged=diverged,
        epoch=epoch,
        threads=torch.get_num_threads(),
        figure="rsum" if data["validation"].classes is None else "mAP",
        by_visual=by_visual,
    )


def visual_shares(run: Trained, data: Dataset) -> list[int]:
    """What each visual of the test split has of the rsum; nothing where classes decide."""
    if data.classes is not None:
        return []
    sides, rank = (run.embeddings, rank_embeddings) if run.scores is None else ((run.scores,), rank_scores)
    return shares_by_visual(*rank(*sides, data.visual_group, data.text_group), data.visual_of_text)


def frozen_encoder(config: TrainConfig, data: Dataset, progress: Progress) -> tuple[Outcome | None, str]:
    """The row of the frozen encoder itself on the test split, or why there is none."""
    encoder = config.encoder or ("" if data.visual_features is not None else data.encoder)
    try:
        metrics = split_metrics(data, *zero_shot(data, encoder, progress))
    except (ValueError, OSError) as error:
        return None, str(error)
    figure, score = headline(metrics)
    name = f"zero-shot: {encoder}"
    record = Record(name, "test", config.seed, 0.0, {}, score, metrics, 0.0, figure=figure)
    return Outcome(name, [], [record], frozen=True), ""


# ---- in words ----------------------------------------------------------------------------------------------


def facts(config: TrainConfig, trials: int, seeds: int, outcomes: Sequence[Outcome]) -> str:
    """What was done to every loss alike, and what it took. `config` has the seed and the learning rate of the search."""
    records = [record for one in outcomes for record in one.records]
    hours, minutes = divmod(math.ceil(sum(record.seconds for record in records) / 60), 60)
    took = f"{hours} h {minutes} min" if hours else f"{minutes} min"
    threads = " or ".join(str(n) for n in sorted({record.threads for record in records}))
    encoder = f", encoder {config.encoder}" if config.encoder else ""
    alike = f", duplicates: {config.duplicates}" if config.duplicates != "negative" else ""
    rate = axes(LOSSES[records[0].loss], config.lr, {})[0]
    searched = (
        f"Every loss: {counted(trials, 'trial')} over the learning rate ({rate.low:g} … {rate.high:g}) and the parameters "
        f"that it declares as searched, the first at its default, chosen by validation {records[0].figure} with seed "
        f"{config.seed}; then {counted(seeds, 'training')} at that setting"
    )
    if not trials:
        searched = f"No search: every loss at its defaults and a learning rate of {config.lr:g}; {counted(seeds, 'training')}"
    return (
        f"{searched} with seeds {config.seed + 1} … {config.seed + seeds}, measured on the test split. Matcher "
        f"{config.matcher}{encoder}, {counted(config.epochs, 'epoch')}, batches of {config.batch_size}{alike}. "
        f"{counted(len(records), 'training')} took {took} in all, each on {threads} thread{'s' * (threads != '1')}."
    )


def protocol(data: Dataset, outcomes: Sequence[Outcome]) -> list[str]:
    """What the figures are of, and how far other visuals would move those of one training."""
    text = f"Test split: {len(data.visual_ids):,} visuals × {len(data.captions):,} texts, each side asks among all of the other."
    wide = []
    for direction in DIRECTIONS:
        ends = [f"{direction}/{end}_recall_at_1" for end in ("low", "high")]
        held = [r.metrics for one in outcomes for r in one.tested if ends[1] in r.metrics]
        if held:
            wide.append(f"±{50 * np.median([one[ends[1]] - one[ends[0]] for one in held]):.1f} ({direction})")
    if wide:
        text += (
            " The intervals below are over seeds. For other visuals of the same kind, the R@1 of one training has a 95% "
            f"interval of {' and '.join(wide)} points, from resamples of the visuals with all their texts (median of all)."
        )
    return [text, *([judged] if (judged := judged_words(data)) else [])]
