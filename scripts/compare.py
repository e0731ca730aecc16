"""Compare losses fairly: an equal search for each, several seeds at what it chose, intervals and paired tests.

    python scripts/compare.py --dataset blocks --trials 8 --seeds 5 --out comparison.md
    python scripts/compare.py --dataset path/to/folder --loss info_nce siglip max_of_hinges --epochs 10
    python scripts/compare.py --matcher linear graph --loss max_of_hinges max_of_hinges+adaptive_caption_similarity

Each loss gets the same number of trials over the learning rate (a fifth of --lr … five times --lr) and the parameters
it declares as searched; the first is its default. The best by validation rsum (mAP where there are class labels) is
trained with --seeds new seeds, whose test metrics are compared. A parameter given by --set is not searched. With
--trials 0 there is no search, and every loss stays at its defaults.
LOSS+SELECTOR is the loss with that selector at its defaults; --selector goes with all other losses.

With several matchers each is a comparison of its own, equal search for every cell, and the report begins with tables
of matcher × loss. --set matcher.NAME=VALUE is for all matchers that have it, MATCHER.NAME=VALUE for one of them: text,
for one, is words_conv or words_gru in linear and words elsewhere.

Every finished training is a line of FILE's .jsonl (of FILE-MATCHER.jsonl with several matchers), so the same command
goes on where it was stopped, and more losses, matchers, trials or seeds train what is missing. Logs of the same
comparison can be joined: cat a.jsonl b.jsonl > all.jsonl.

--keep best keeps of each loss the seed that is best on validation as a run in a folder beside FILE (comparison.runs of
comparison.md), --keep all every seed, for the app and all scripts. What was trained without it is trained again for it.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from scripts import leave_at_once

    leave_at_once()

import numpy as np
import torch

from scripts import told
from scripts.command import Bars, check_encoder, reader, say
from scripts.train import Parser, add_training_options, assign, config_of, difference, scopes
from xmr.checkpoints import Trained, clear_run, is_finished, is_started
from xmr.comparison import (
    Comparison,
    Log,
    Outcome,
    Record,
    Setting,
    axes,
    chosen,
    csv_table,
    grid_csv,
    grid_latex,
    grid_markdown,
    grid_page,
    html_page,
    latex_tables,
    markdown,
    opened,
    settings,
    shares_by_visual,
)
from xmr.core import DIRECTIONS, TrainConfig
from xmr.data import SPLITS, Dataset
from xmr.disk import write
from xmr.embedding import Progress, frozen_features, zero_shot
from xmr.losses import LOSSES
from xmr.matchers import MATCHERS
from xmr.metrics import headline, rank_embeddings, rank_scores
from xmr.registry import unknown
from xmr.scoring import judged_words, split_metrics
from xmr.selection import SELECTORS
from xmr.training import TrainingDiverged, train

BASELINE = "max_of_hinges"
ENDINGS = (".md", ".csv", ".tex", ".html", ".jsonl")


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    command = "python scripts/compare.py " + shlex.join(sys.argv[1:] if argv is None else argv)
    return told(lambda: run(options, command), "the same command goes on")


def run(options: argparse.Namespace, command: str) -> int:
    """The whole comparison: what is missing is trained, then the report is written. Returns the exit code."""
    rows, matchers = list(dict.fromkeys(options.loss)), list(dict.fromkeys(options.matcher))
    plans = {matcher: plan(options, rows, matcher) for matcher in matchers}
    baseline = options.baseline or (BASELINE if BASELINE in rows else rows[0])
    if baseline not in rows:
        raise ValueError(unknown("baseline", baseline, rows))
    first = next(iter(plans[matchers[0]][0].values()))
    check_encoder(first.dataset, first.encoder)
    if options.threads:
        torch.set_num_threads(options.threads)
    stem = options.out.removesuffix(next((end for end in ENDINGS if options.out.endswith(end)), ""))
    comparisons, datasets, whole = [], {}, True
    for matcher, planned in plans.items():
        several = f"-{matcher}" if len(plans) > 1 else ""
        folder = None if options.keep == "none" else kept_in(stem, matcher, len(plans))
        path = Path(f"{stem}{several}.jsonl")
        one, data = compared(options, planned, path, datasets, several[1:], folder, command)
        comparisons.append(one)
        whole &= len(one.outcomes) == len(rows)
    if not any(one.outcomes for one in comparisons):
        return 2
    lines = [f"    {command}"]
    if len(comparisons) == 1:
        one = comparisons[0]
        title = f"{len(one.outcomes)} losses on {data['train'].name}"
        lines += one.about
        cells = one.cells(baseline)
        texts = {
            ".md": markdown(one.rows, cells, baseline, title, lines),
            ".csv": csv_table(one.rows, cells),
            ".tex": latex_tables(one.rows, cells, baseline, command),
            ".html": html_page(one.rows, cells, baseline, title, lines),
        }
    else:
        title = f"{len(comparisons)} matchers × {len(rows)} losses on {data['train'].name}"
        texts = {
            ".md": grid_markdown(comparisons, rows, baseline, title, lines),
            ".csv": grid_csv(comparisons, baseline),
            ".tex": grid_latex(comparisons, rows, baseline, command),
            ".html": grid_page(comparisons, baseline, title, lines),
        }
    for ending, text in texts.items():
        write(Path(stem + ending), text)
    logs = [".jsonl"] if len(plans) == 1 else [f"-{matcher}.jsonl" for matcher in plans]
    print(f"{stem}.md, and {', '.join([*ENDINGS[1:-1], *logs])} beside it")
    if options.keep == "none":
        print(f"to open the trained runs, keep them: {command} --keep best")
    else:
        for matcher in plans:
            print(f"python app.py --checkpoints {shlex.quote(str(kept_in(stem, matcher, len(plans))))}")
    return 0 if whole else 1


def kept_in(stem: str, matcher: str, matchers: int) -> Path:
    """The folder of the runs that are kept of one matcher."""
    return Path(f"{stem}-{matcher}.runs" if matchers > 1 else f"{stem}.runs")


def compared(
    options: argparse.Namespace,
    planned: tuple[dict[str, TrainConfig], dict[str, list[Setting]], dict[str, Any]],
    path: Path,
    datasets: dict[str, dict[str, Dataset]],
    label: str,
    kept: Path | None,
    command: str,
) -> tuple[Comparison, dict[str, Dataset]]:
    """All losses with one matcher, and the data. `datasets` keeps it for the next matcher that reads the same kind of
    features; `label` goes before what is told; `kept` is the folder for what --keep keeps."""
    configs, tried, shared = planned
    bars = Bars()
    first = next(iter(configs.values()))
    kind = MATCHERS[first.matcher].make.inputs
    with opened(path) as log:
        if kind not in datasets:
            datasets[kind] = load(first, bars, options.strict)
        data = datasets[kind]
        alike = replace(first, selector=options.selector, selector_params=shared["selector"])
        log.identify(identity(alike, shared["loss"], data))
        runner = Runner(log, data.__getitem__, bars, label, options.keep, kept, command)
        outcomes, refused = [], {}
        for place, name in enumerate(configs):
            runner.left = (len(configs) - place) * (options.trials + options.seeds)
            try:
                outcomes.append(outcome(name, configs[name], tried[name], options.seeds, runner))
            except (ValueError, TypeError) as error:  # this loss does not go with this data or matcher
                print(f"error: {label and label + ', '}{name}: {error}", file=sys.stderr)
                refused[name] = str(error)
    about = [facts(options, first.matcher, outcomes), *protocol(data["test"], outcomes)] if outcomes else []
    frozen, why = frozen_encoder(first, data["test"], bars)
    about += [f"No zero-shot row: {why}."] if why else []
    about += [f"{name} could not be compared: {reason}." for name, reason in refused.items()]
    return Comparison(first.matcher, outcomes, about, frozen), data


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


def protocol(data: Dataset, outcomes: list[Outcome]) -> list[str]:
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


def facts(options: argparse.Namespace, matcher: str, outcomes: list[Outcome]) -> str:
    """What was done to every loss alike, and what it took."""
    records = [record for one in outcomes for record in (*one.searched, *one.tested)]
    hours, minutes = divmod(math.ceil(sum(record.seconds for record in records) / 60), 60)
    took = f"{hours} h {minutes} min" if hours else f"{minutes} min"
    threads = " or ".join(str(n) for n in sorted({record.threads for record in records}))
    encoder = f", encoder {options.encoder}" if options.encoder else ""
    epochs = f"{options.epochs} epoch{'s' * (options.epochs != 1)}"
    rate = axes(LOSSES[records[0].loss], options.lr, {})[0]
    searched = (
        f"Every loss: {options.trials} trials over the learning rate ({rate.low:g} … {rate.high:g}) and the parameters "
        f"that it declares as searched, the first at its default, chosen by validation {records[0].figure} with seed "
        f"{options.seed}; then {options.seeds} trainings at that setting"
    )
    if not options.trials:
        searched = f"No search: every loss at its defaults and a learning rate of {options.lr:g}; {options.seeds} trainings"
    return (
        f"{searched} with seeds {options.seed + 1} … "
        f"{options.seed + options.seeds}, measured on the test split. Matcher {matcher}{encoder}, {epochs}, batches of "
        f"{options.batch_size}. {len(records)} trainings took {took} in all, each on {threads} "
        f"thread{'s' * (threads != '1')}."
    )


def plan(
    options: argparse.Namespace, rows: list[str], matcher: str
) -> tuple[dict[str, TrainConfig], dict[str, list[Setting]], dict[str, Any]]:
    """Of each row the configuration that its trainings share with one matcher, the settings that its search tries, and
    the parameters given for all.

    Raises ValueError or TypeError on names, parameters and numbers that do not fit.
    """
    for name, low in (("trials", 0), ("seeds", 1), ("threads", 0)):
        if getattr(options, name) < low:
            raise ValueError(f"--{name} must be at least {low}, found {getattr(options, name)}")
    given = assigned(options, [parts(row)[0] for row in rows], matcher)
    alone = argparse.Namespace(**vars(options) | {"matcher": matcher})
    configs, tried = {}, {}
    for row in rows:
        loss, selector = parts(row)
        config = config_of(alone, loss, given)
        if selector:
            config = replace(config, selector=SELECTORS[selector].name, selector_params={})
        configs[row] = config
        tried[row] = settings(LOSSES[loss], config.lr, options.trials, config.loss_params)[: options.trials]
    return configs, tried, given


def parts(row: str) -> tuple[str, str]:
    """The loss and the selector of LOSS or LOSS+SELECTOR. Raises UnknownName."""
    loss, plus, selector = row.partition("+")
    return LOSSES[loss].name, SELECTORS[selector].name if plus else ""


def assigned(options: argparse.Namespace, losses: list[str], matcher: str) -> dict[str, dict[str, Any]]:
    """What --set says for one of the matchers. Raises ValueError where any of them can't take what it is given."""
    shared, own = [], []
    for setting in options.set:
        name, dot, rest = setting.partition("=")[0].partition(".")
        if dot and name in options.matcher:
            own += [f"matcher.{setting.removeprefix(name + '.')}"] if name == matcher else []
        else:
            shared.append(setting)

    def owners(matchers: list[str]) -> dict[str, Any]:
        alone = argparse.Namespace(**vars(options) | {"matcher": matcher})
        return scopes(alone, losses) | {"matcher": [MATCHERS[name] for name in matchers]}

    given = assign(shared, owners(options.matcher))
    has = {param.name for param in MATCHERS[matcher].params}
    given["matcher"] = {name: value for name, value in given["matcher"].items() if name in has}
    given["matcher"] |= assign(own, owners([matcher]))["matcher"]
    return given


def load(config: TrainConfig, progress: Progress, strict: bool = False) -> dict[str, Dataset]:
    """All splits, once for all trainings; given features averaged where they can be."""
    read = reader(strict)
    data = {split: read(config.dataset, split, config.dataset_params) for split in SPLITS}
    if not config.encoder and MATCHERS[config.matcher].make.inputs == "pooled":
        for split, part in data.items():
            if part.visual_features is not None:
                pooled = frozen_features(part, "", "pooled", progress).visual
                data[split] = replace(part, visual_features=pooled)
    return data


def identity(config: TrainConfig, loss_params: dict[str, Any], data: dict[str, Dataset]) -> dict[str, Any]:
    """What all trainings of one comparison share, as JSON gives it back. The dataset is known by its content."""
    shared = replace(config, dataset="", dataset_params={}, loss="", loss_params=loss_params).to_json()
    fingerprints = {split: part.fingerprint for split, part in data.items()}
    return json.loads(json.dumps({"config": shared, "fingerprints": fingerprints}))


# ---- training ----------------------------------------------------------------------------------------------


class Runner:
    """Trains what the log does not hold yet, or what is to be kept and no folder holds, and tells on stderr how it goes."""

    def __init__(
        self,
        log: Log,
        load: Callable[[str], Dataset],
        progress: Progress,
        label: str = "",
        keep: str = "none",
        kept: Path | None = None,
        command: str = "",
    ):
        self.log, self.load, self.progress, self.label = log, load, progress, label
        self.keep, self.kept, self.command = keep, kept, command
        self.left = 0  # trainings, at most
        self.spent: list[float] = []

    def __call__(self, config: TrainConfig, role: str, what: str, selector: str = "") -> Record:
        """The record of one training, from the log or made now; `selector` is that of a row of its own."""
        self.left -= 1
        known = self.log.find(config, role, selector)
        if known is not None:
            return known
        folder = self.place(config, selector) if role == "test" and self.keep == "all" else None
        if folder is not None and is_finished(folder):
            folder = None  # of a log that is lost; what it is, `keep_runs` asks
        record = replace(
            trained(config, role, self.load, self.progress, folder, self.command), selector=selector
        )
        self.log.append(record)
        self.spent.append(record.seconds)
        self._tell(what, record)
        return record

    def place(self, config: TrainConfig, selector: str) -> Path:
        """The run folder of one training; a best one has the row's name, one of all also its seed."""
        name = "-".join([config.loss, *([selector] if selector else [])])
        return self.kept / (f"{name}-seed{config.seed}" if self.keep == "all" else name)

    def keep_runs(self, configs: Sequence[TrainConfig], records: Sequence[Record], selector: str) -> None:
        """Sees that --keep's trainings of one row have their folders: trains those again that have none."""
        if self.kept is None:
            return
        best = chosen(records)  # the highest on validation, as of the search
        for config, record in zip(configs, records, strict=True):
            if record.score is None or (self.keep == "best" and record is not best):
                continue
            folder = self.place(config, selector)
            differs = difference(folder, config) if is_started(folder) else ""
            if differs and self.keep == "best":  # another seed was best, of fewer
                clear_run(folder)
            elif differs:
                raise ValueError(f"{folder} holds another run, with {differs}; choose another --out")
            if not is_finished(folder):
                say(f"{folder}: kept, so trained with its folder")
                trained(config, "test", self.load, self.progress, folder, self.command)

    def _tell(self, what: str, record: Record) -> None:
        score = "diverged" if record.score is None else f"validation {record.figure} {record.score:.1f}"
        left = self.left * sum(self.spent) / len(self.spent) / 60
        rest = f", about {left:.0f} min left" if left >= 1 else ""
        rest += f" for {self.label}" if rest and self.label else ""
        defaults = LOSSES[record.loss].defaults
        changed = {name: value for name, value in record.params.items() if value != defaults[name]}
        setting = ", ".join(f"{name} {value}" for name, value in {"lr": record.lr, **changed}.items())
        name = "  ".join([*([self.label] if self.label else []), record.row])
        say(f"{name}  {what}  {setting}: {score}, {record.seconds:.0f} s{rest}")


def outcome(row: str, config: TrainConfig, tried: list[Setting], seeds: int, runner: Runner) -> Outcome:
    """The search of one loss, then its seeds: those that follow the search's."""
    _, own = parts(row)
    searched = [
        runner(replace(config, lr=one.lr, loss_params=one.params), "search", f"trial {i}/{len(tried)}", own)
        for i, one in enumerate(tried, 1)
    ]
    best = chosen(searched).setting if tried and chosen(searched) else None
    if not tried:
        best = settings(LOSSES[config.loss], config.lr, 1, config.loss_params)[0]  # nothing to choose from
    if best is None:
        return Outcome(row, searched)
    config = replace(config, lr=best.lr, loss_params=best.params)
    seeded = [replace(config, seed=config.seed + i) for i in range(1, seeds + 1)]
    tested = [runner(one, "test", f"seed {i}/{seeds}", own) for i, one in enumerate(seeded, 1)]
    runner.keep_runs(seeded, tested, own)
    return Outcome(row, searched, tested)


def trained(
    config: TrainConfig,
    role: str,
    load: Callable[[str], Dataset],
    progress: Progress,
    folder: Path | None = None,
    command: str = "",
) -> Record:
    """One training, kept in `folder` if there is one. A search stops before the test split would be looked at."""
    began = time.monotonic()
    score, epoch, metrics, diverged, by_visual = None, 0, {}, "", []
    steps = train(config, folder, resume=True, load=load, progress=progress, command=command)
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
            metrics, by_visual = stop.value.metrics["test"], visual_shares(stop.value, load("test"))
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
        figure="rsum" if load("validation").classes is None else "mAP",
        by_visual=by_visual,
    )


def visual_shares(run: Trained, data: Dataset) -> list[int]:
    """What each visual of the test split has of the rsum; nothing where classes decide."""
    if data.classes is not None:
        return []
    sides, rank = (run.embeddings, rank_embeddings) if run.scores is None else ((run.scores,), rank_scores)
    return shares_by_visual(*rank(*sides, data.visual_group, data.text_group), data.visual_of_text)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--loss", nargs="+", default=list(LOSSES), metavar="NAME[+SELECTOR]", help="default: all"
    )
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
    parser.add_argument(
        "--keep",
        choices=("none", "best", "all"),
        default="none",
        help="runs to open, see above; default: %(default)s",
    )
    add_training_options(parser, matchers=True)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
