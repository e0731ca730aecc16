"""Compare losses fairly: an equal search for each, several seeds at what it chose, intervals and paired tests.

    python scripts/compare.py --dataset blocks --trials 8 --seeds 5 --out comparison.md
    python scripts/compare.py --dataset path/to/folder --loss info_nce siglip max_of_hinges --epochs 10

Each loss gets the same number of trials over the learning rate (a fifth of --lr … five times --lr) and the parameters
it declares as searched; the first is its default. The best by validation rsum is trained with --seeds new seeds, whose
test metrics are compared. A parameter given by --set is not searched.

Every finished training is a line of FILE's .jsonl, so the same command goes on where it was stopped, and more losses,
trials or seeds train what is missing. Logs of the same comparison can be joined: cat a.jsonl b.jsonl > all.jsonl.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).parent.parent))

import torch
from filelock import FileLock, Timeout

from scripts.train import Encoding, Parser, add_training_options, assign, config_of, scopes
from xmr.cache import cache_dir
from xmr.checkpoints import CannotSave
from xmr.comparison import (
    Outcome,
    Record,
    Setting,
    axes,
    chosen,
    compare,
    csv_table,
    html_page,
    latex_tables,
    markdown,
    settings,
)
from xmr.core import TrainConfig
from xmr.data import SPLITS, Dataset, load_dataset
from xmr.embedding import Progress, frozen_features
from xmr.losses import LOSSES
from xmr.matchers import MATCHERS
from xmr.registry import unknown
from xmr.training import TrainingDiverged, train

BASELINE = "max_of_hinges"
ENDINGS = (".md", ".csv", ".tex", ".html", ".jsonl")


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    command = "python scripts/compare.py " + shlex.join(sys.argv[1:] if argv is None else argv)
    try:
        return run(options, command)
    except (ValueError, TypeError, CannotSave) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error.filename or options.out}: {error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return 130


def run(options: argparse.Namespace, command: str) -> int:
    """The whole comparison: what is missing is trained, then the report is written. Returns the exit code."""
    losses = list(dict.fromkeys(options.loss))
    configs, tried = plan(options, losses)
    baseline = options.baseline or (BASELINE if BASELINE in losses else losses[0])
    if baseline not in losses:
        raise ValueError(unknown("baseline", baseline, losses))
    if options.threads:
        torch.set_num_threads(options.threads)
    stem = options.out.removesuffix(next((end for end in ENDINGS if options.out.endswith(end)), ""))
    encoding = Encoding()
    with opened(Path(stem + ".jsonl")) as log:
        data = load(configs[losses[0]], encoding)
        log.identify(identity(configs[losses[0]], assigned(options, losses)["loss"], data))
        runner = Runner(log, data.__getitem__, encoding)
        outcomes, refused = [], {}
        for place, name in enumerate(losses):
            runner.left = (len(losses) - place) * (options.trials + options.seeds)
            try:
                outcomes.append(outcome(configs[name], tried[name], options.seeds, runner))
            except (ValueError, TypeError) as error:  # this loss does not go with this data or matcher
                print(f"error: {name}: {error}", file=sys.stderr)
                refused[name] = str(error)
    if not outcomes:
        return 2
    title = f"{len(outcomes)} losses on {data['train'].name}"
    told = [f"    {command}", facts(options, outcomes)]
    told += [f"{name} could not be compared: {reason}." for name, reason in refused.items()]
    cells = compare(outcomes, baseline)
    texts = {
        ".md": markdown(outcomes, cells, baseline, title, told),
        ".csv": csv_table(outcomes, cells),
        ".tex": latex_tables(outcomes, cells, baseline, command),
        ".html": html_page(outcomes, cells, baseline, title, told),
    }
    for ending, text in texts.items():
        write(Path(stem + ending), text)
    print(f"{stem}.md, and {', '.join(ENDINGS[1:])} beside it")
    return 1 if refused else 0


def facts(options: argparse.Namespace, outcomes: list[Outcome]) -> str:
    """What was done to every loss alike, and what it took."""
    records = [record for one in outcomes for record in (*one.searched, *one.tested)]
    hours, minutes = divmod(math.ceil(sum(record.seconds for record in records) / 60), 60)
    took = f"{hours} h {minutes} min" if hours else f"{minutes} min"
    threads = " or ".join(str(n) for n in sorted({record.threads for record in records}))
    encoder = f", encoder {options.encoder}" if options.encoder else ""
    epochs = f"{options.epochs} epoch{'s' * (options.epochs != 1)}"
    rate = axes(LOSSES[outcomes[0].loss], options.lr, {})[0]
    return (
        f"Every loss: {options.trials} trials over the learning rate ({rate.low:g} … {rate.high:g}) and the parameters "
        f"that it declares as searched, the first at its default, chosen by validation rsum with seed {options.seed}; "
        f"then {options.seeds} trainings at that setting with seeds {options.seed + 1} … {options.seed + options.seeds}, "
        f"measured on the test split. Matcher {options.matcher}{encoder}, {epochs}, batches of {options.batch_size}. "
        f"{len(records)} trainings took {took} in all, each on {threads} thread{'s' * (threads != '1')}."
    )


def plan(
    options: argparse.Namespace, losses: list[str]
) -> tuple[dict[str, TrainConfig], dict[str, list[Setting]]]:
    """Of each loss the configuration that its trainings share, and the settings that its search tries.

    Raises ValueError or TypeError on names, parameters and numbers that do not fit.
    """
    for name, low in (("trials", 1), ("seeds", 1), ("threads", 0)):
        if getattr(options, name) < low:
            raise ValueError(f"--{name} must be at least {low}, found {getattr(options, name)}")
    given = assigned(options, losses)
    configs = {name: config_of(options, name, given) for name in losses}
    tried = {
        name: settings(LOSSES[name], config.lr, options.trials, config.loss_params)
        for name, config in configs.items()
    }
    return configs, tried


def assigned(options: argparse.Namespace, losses: list[str]) -> dict[str, dict[str, Any]]:
    return assign(options.set, scopes(options, losses))


def load(config: TrainConfig, progress: Progress) -> dict[str, Dataset]:
    """All splits, once for all trainings; features computed where they have to be, and averaged where they can be."""
    data = {split: load_dataset(config.dataset, split, **config.dataset_params) for split in SPLITS}
    kind = MATCHERS[config.matcher].make.inputs
    for split, part in data.items():
        frozen = frozen_features(part, config.encoder, kind, progress)
        if not frozen.encoder and kind == "pooled":
            data[split] = replace(part, visual_features=frozen.visual)
    return data


def identity(config: TrainConfig, loss_params: dict[str, Any], data: dict[str, Dataset]) -> dict[str, Any]:
    """What all trainings of one comparison share, as JSON gives it back. The dataset is known by its content."""
    shared = replace(config, dataset="", dataset_params={}, loss="", loss_params=loss_params).to_json()
    fingerprints = {split: part.fingerprint for split, part in data.items()}
    return json.loads(json.dumps({"config": shared, "fingerprints": fingerprints}))


# ---- training ----------------------------------------------------------------------------------------------


class Runner:
    """Trains what the log does not hold yet, and tells on stderr how it goes."""

    def __init__(self, log: Log, load: Callable[[str], Dataset], progress: Progress):
        self.log, self.load, self.progress = log, load, progress
        self.left = 0  # trainings, at most
        self.spent: list[float] = []

    def __call__(self, config: TrainConfig, role: str, what: str) -> Record:
        """The record of one training, from the log or made now."""
        self.left -= 1
        known = self.log.find(config, role)
        if known is not None:
            return known
        record = trained(config, role, self.load, self.progress)
        self.log.append(record)
        self.spent.append(record.seconds)
        self._tell(what, record)
        return record

    def _tell(self, what: str, record: Record) -> None:
        score = "diverged" if record.rsum is None else f"validation rsum {record.rsum:.1f}"
        left = self.left * sum(self.spent) / len(self.spent) / 60
        rest = f", about {left:.0f} min left" if left >= 1 else ""
        defaults = LOSSES[record.loss].defaults
        changed = {name: value for name, value in record.params.items() if value != defaults[name]}
        setting = ", ".join(f"{name} {value}" for name, value in {"lr": record.lr, **changed}.items())
        print(f"{record.loss}  {what}  {setting}: {score}, {record.seconds:.0f} s{rest}", file=sys.stderr)


def outcome(config: TrainConfig, tried: list[Setting], seeds: int, runner: Runner) -> Outcome:
    """The search of one loss, then its seeds: those that follow the search's."""
    searched = [
        runner(replace(config, lr=one.lr, loss_params=one.params), "search", f"trial {i}/{len(tried)}")
        for i, one in enumerate(tried, 1)
    ]
    best = chosen(searched)
    if best is None:
        return Outcome(config.loss, searched)
    tested = [
        runner(
            replace(config, lr=best.lr, loss_params=best.params, seed=config.seed + i),
            "test",
            f"seed {i}/{seeds}",
        )
        for i in range(1, seeds + 1)
    ]
    return Outcome(config.loss, searched, tested)


def trained(config: TrainConfig, role: str, load: Callable[[str], Dataset], progress: Progress) -> Record:
    """One training. A search stops before the test split would be looked at."""
    began = time.monotonic()
    rsum, epoch, metrics, diverged = None, 0, {}, ""
    steps = train(config, load=load, progress=progress)
    try:
        while True:
            step = next(steps)
            if step.best:
                rsum, epoch = step.metrics["rsum"], step.epoch
            if role == "search" and step.step == step.steps:
                steps.close()
                break
    except StopIteration as stop:
        metrics = stop.value.metrics["test"] if role == "test" else {}
    except TrainingDiverged as error:
        rsum, diverged = None, f"{error.loss} became {error.value} at step {error.step}"
    return Record(
        loss=config.loss,
        role=role,
        seed=config.seed,
        lr=config.lr,
        params=config.loss_params,
        rsum=rsum,
        metrics=metrics,
        seconds=round(time.monotonic() - began, 2),
        diverged=diverged,
        epoch=epoch,
        threads=torch.get_num_threads(),
    )


# ---- the log -----------------------------------------------------------------------------------------------


@contextmanager
def opened(path: Path) -> Iterator[Log]:
    """The log at `path`, for this process alone. Raises ValueError where another one writes it or it is broken."""
    path.parent.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    lock = FileLock(cache_dir("locks") / f"{name}.lock", timeout=0)  # not beside FILE, where it would stay
    try:
        with lock:
            yield Log(path)
    except Timeout:
        raise ValueError(f"another comparison is writing {path}; wait, or choose another --out") from None


class Log:
    """One JSON line for what the comparison is, then one per finished training."""

    def __init__(self, path: Path):
        self.path = path
        self.headers: list[dict[str, Any]] = []
        self.records: dict[str, Record] = {}
        content = path.read_bytes() if path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                values = json.loads(line)
                if "config" in values:
                    self.headers.append(values)
                else:
                    self._keep(Record(**values))
            except (ValueError, TypeError) as error:
                raise ValueError(f"{path}, line {number}, is no line of a comparison: {error}") from error
        if len(whole) < len(content):  # killed while it wrote the last line
            os.truncate(path, len(whole))

    def identify(self, wanted: dict[str, Any]) -> None:
        """Writes what this comparison is, or raises ValueError where the log is of another one."""
        defaults = TrainConfig().to_json()  # a field that came later was at its default before
        for header in self.headers:
            there = {**header, "config": defaults | header["config"]}
            told = "; ".join(differences(there, wanted))
            if told:
                raise ValueError(f"{self.path} holds another comparison ({told}); choose another --out")
        if not self.headers:
            if self.records:
                raise ValueError(f"{self.path} does not say what it compares; choose another --out")
            self._write(wanted)

    def find(self, config: TrainConfig, role: str) -> Record | None:
        return self.records.get(key(config.loss, role, config.seed, config.lr, config.loss_params))

    def append(self, record: Record) -> None:
        """The line is on disk before this returns."""
        self._write(asdict(record))
        self._keep(record)

    def _keep(self, record: Record) -> None:
        self.records[key(record.loss, record.role, record.seed, record.lr, record.params)] = record

    def _write(self, values: dict[str, Any]) -> None:
        with self.path.open("ab") as file:
            file.write(json.dumps(values).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def key(*parts: Any) -> str:
    return json.dumps(parts, sort_keys=True)


def differences(there: dict[str, Any], here: dict[str, Any], name: str = "") -> Iterator[str]:
    """What two nested dicts of JSON do not share, in words."""
    for part in sorted(there.keys() | here.keys()):
        old, new = there.get(part), here.get(part)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from differences(old, new, part)
        elif old != new:
            label = f"the data of {part}" if name == "fingerprints" else part
            yield f"{label}: {old!r} there, {new!r} now"


def write(path: Path, text: str) -> None:
    """The file, whole or not at all, with the ends of lines as they are."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8", newline="")
    os.replace(temporary, path)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loss", nargs="+", default=list(LOSSES), metavar="NAME", help="default: all")
    parser.add_argument("--trials", type=int, default=8, help="of each loss's search, default: %(default)s")
    parser.add_argument(
        "--seeds", type=int, default=5, help="at the chosen setting: --seed + 1, + 2, …; default: %(default)s"
    )
    parser.add_argument(
        "--baseline", default="", metavar="NAME", help=f"default: {BASELINE}, or the first loss"
    )
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="default: PyTorch's choice")
    parser.add_argument(
        "--out", default="comparison.md", metavar="FILE", help="and .csv, .tex, .html and .jsonl beside it"
    )
    add_training_options(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
