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
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from xmr.core import TrainConfig
from xmr.data import Dataset
from xmr.disk import write
from xmr.experiments.log import opened
from xmr.experiments.outcomes import Comparison
from xmr.experiments.report import files
from xmr.experiments.search import Setting, settings
from xmr.experiments.trials import Trials, facts, frozen_encoder, identify, key, protocol
from xmr.losses import LOSSES
from xmr.losses.base import without_peers
from xmr.matchers import MATCHERS
from xmr.registry import unknown
from xmr.selection import SELECTORS
from xmr.words import program

BASELINE = "max_of_hinges"
ENDINGS = (".md", ".csv", ".tex", ".html", ".jsonl")


@dataclass(frozen=True)
class Plan:
    """What is done with one matcher: of each row the configuration that its trainings share, and the settings that its
    search tries; the parameters given for all; the log, and the folder of the runs that are kept. `label` goes before
    what is told."""

    configs: dict[str, TrainConfig]
    tried: dict[str, list[Setting]]
    given: dict[str, dict[str, Any]]
    log: Path
    runs: Path
    label: str = ""

    @property
    def first(self) -> TrainConfig:
        return next(iter(self.configs.values()))


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    command = f"{program('compare')} " + shlex.join(sys.argv[1:] if argv is None else argv)
    return told(lambda: run(options, command), "the same command goes on")


def run(options: argparse.Namespace, command: str) -> int:
    """The whole comparison: what is missing is trained, then the report is written. Returns the exit code."""
    rows, matchers = list(dict.fromkeys(options.loss)), list(dict.fromkeys(options.matcher))
    stem = options.out.removesuffix(next((end for end in ENDINGS if options.out.endswith(end)), ""))
    plans = [plan(options, rows, matcher, stem, len(matchers) > 1) for matcher in matchers]
    baseline = options.baseline or (BASELINE if BASELINE in rows else rows[0])
    if baseline not in rows:
        raise ValueError(unknown("baseline", baseline, rows))
    check_encoder(plans[0].first.dataset, plans[0].first.encoder)
    if options.threads:
        torch.set_num_threads(options.threads)
    data: dict[str, dict[str, Dataset]] = {}
    comparisons = [compared(options, one, baseline, data, command) for one in plans]
    if not any(one.outcomes for one in comparisons):
        return 2
    name = next(iter(data.values()))["train"].name
    for ending, text in files(comparisons, rows, name, command).items():
        write(Path(stem + ending), text)
    logs = [one.log.name.removeprefix(Path(stem).name) for one in plans]
    print(f"{stem}.md, and {', '.join([*ENDINGS[1:-1], *logs])} beside it")
    if options.keep == "none":
        print(f"to open the trained runs, keep them: {command} --keep best")
    else:
        print(f"{program('app')} --checkpoints {shlex.join(str(one.runs) for one in plans)}")
    return 0 if all(len(one.outcomes) == len(rows) for one in comparisons) else 1


def compared(
    options: argparse.Namespace,
    asked: Plan,
    baseline: str,
    datasets: dict[str, dict[str, Dataset]],
    command: str,
) -> Comparison:
    """All losses with one matcher. `datasets` keeps the data for the next one that reads the same kind of features."""
    bars, first = Bars(), asked.first
    kind = MATCHERS[first.matcher].make.inputs
    with opened(asked.log, "comparison", key) as log:
        if log.headers and not options.duplicates:  # as the log began
            alike = log.headers[0]["config"].get("duplicates", TrainConfig().duplicates)
            configs = {row: replace(one, duplicates=alike) for row, one in asked.configs.items()}
            asked = replace(asked, configs=configs)
            first = asked.first
        if kind not in datasets:
            datasets[kind] = splits(first, bars, options.strict)
        data = datasets[kind]
        alike = replace(first, selector=options.selector, selector_params=asked.given["selector"])
        identify(log, alike, asked.given["loss"], data)
        trials = Trials(log, data, say, bars, asked.label, options.keep, asked.runs, command)
        outcomes, refused = [], []
        for place, (row, config) in enumerate(asked.configs.items()):
            trials.left = (len(asked.configs) - place) * (options.trials + options.seeds)
            try:
                outcomes.append(trials.outcome(row, config, asked.tried[row], options.seeds))
            except (ValueError, TypeError) as error:  # this loss does not go with this data or matcher
                print(f"error: {asked.label and asked.label + ', '}{row}: {error}", file=sys.stderr)
                refused.append(f"{row} could not be compared: {error}.")
    about = []
    if outcomes:
        about = [facts(first, options.trials, options.seeds, outcomes), *protocol(data["test"], outcomes)]
    frozen, why = frozen_encoder(first, data["test"], bars)
    about += [*([f"No zero-shot row: {why}."] if why else []), *refused]
    return Comparison(first.matcher, outcomes, baseline, about, frozen)


def plan(options: argparse.Namespace, rows: Sequence[str], matcher: str, stem: str, several: bool) -> Plan:
    """What is done with one of the matchers. Raises ValueError or TypeError on names, parameters and numbers that do not
    fit."""
    for name, low in (("trials", 0), ("seeds", 1), ("threads", 0)):
        if getattr(options, name) < low:
            raise ValueError(f"--{name} must be at least {low}, found {getattr(options, name)}")
    given = assigned(options, [parts(row)[0] for row in rows], matcher)
    alone = argparse.Namespace(**vars(options) | {"matcher": matcher})
    stem = f"{stem}-{matcher}" if several else stem
    asked = Plan({}, {}, given, Path(f"{stem}.jsonl"), Path(f"{stem}.runs"), matcher if several else "")
    for row in rows:
        loss, selector = parts(row)
        config = config_of(alone, loss, given)
        if selector:
            config = replace(config, selector=selector, selector_params={})
        asked.configs[row] = config
        tried = settings(LOSSES[loss], config.lr, options.trials, config.loss_params)
        asked.tried[row] = tried[: options.trials]
    return asked


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


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--loss",
        nargs="+",
        default=without_peers(),
        metavar="NAME[+SELECTOR]",
        help="default: all but those that ask other runs",
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
