"""Train a matcher with one loss or several, one run folder each.

    python scripts/train.py --dataset blocks --loss max_of_hinges info_nce siglip polynomial
    python scripts/train.py --dataset path/to/folder --loss info_nce --set temperature=0.05 --set hidden=512

A parameter of --set belongs to the loss, the matcher, the selector or the dataset; where two have one of that name,
write which: --set loss.margin=0.3. One that only some of the losses have is given to those.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from scripts import leave_at_once

    leave_at_once()

from tqdm import tqdm

from scripts import began, told
from scripts.command import OFTEN, Bars, check_encoder, duration, reader, say
from xmr.captions import TextsRead
from xmr.checkpoints import Run, difference, is_finished, is_started, load_run
from xmr.core import VERDICTS_AS, TrainConfig
from xmr.data import DATASETS, Dataset
from xmr.data.sources import KINDS, kind_of
from xmr.embedding import zero_shot
from xmr.locks import holding
from xmr.losses import LOSSES
from xmr.matchers import MATCHERS
from xmr.metrics import by_chance, evaluate_embeddings, headline, is_chance
from xmr.registry import Entry, unknown
from xmr.selection import ACTIONS, SELECTORS
from xmr.training import TrainingDiverged, plateau, train

SCOPES = ("loss", "matcher", "selector", "dataset")


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    command = "python scripts/train.py " + shlex.join(sys.argv[1:] if argv is None else argv)
    return told(lambda: run_all(options, command), "the same command with --resume goes on")


def run_all(options: argparse.Namespace, command: str) -> int:
    """Trains what is not trained yet, one run after the other on data that is read once; returns the exit code."""
    start = started = began()
    code, left = 0, []
    for folder, config in plan(options):
        if options.resume and is_finished(folder):
            print(f"{folder} is finished already")
        else:
            left.append((folder, config))
    if not left:
        return 0
    config = left[0][1]
    check_encoder(config.dataset, config.encoder)
    read = reader(options.strict)

    def load(split: str) -> Dataset:
        return read(config.dataset, split, config.dataset_params)

    bars = Bars()
    try:
        warn_of_encoder(config, load, bars)
        for folder, one in left:
            code = max(code, run(folder, one, options, command, load, bars, started))
            started = time.monotonic()
    finally:
        bars.close()
    if len(left) > 1:
        runs = [load_run(folder) for folder, _ in left if is_finished(folder)]
        best = max(runs, key=lambda run: headline(run.metrics["validation"])[1], default=None)
        words = f"; best on validation: {best.name}, test {of_test(best, load)}" if best else ""
        print(f"{len(left)} runs, {duration(started - start)} in all{words}")
    return code


def warn_of_encoder(config: TrainConfig, load: Callable[[str], Dataset], bars: Bars) -> None:
    """Tells, before anything is learned, where the frozen encoder itself tells validation's pairs apart no better than
    chance: a head on it can't make up for that."""
    data = load("validation")
    encoder = config.encoder or data.encoder
    # Tokens are other features: encoding twice would take longer than what is warned of.
    if (
        data.visuals is None
        or not encoder
        or data.classes
        or MATCHERS[config.matcher].make.inputs != "pooled"
    ):
        return
    try:
        pair = zero_shot(data, encoder, bars)
    except ValueError:
        return  # no space that both sides share, which a head makes
    groups = data.visual_group, data.text_group
    rsum = evaluate_embeddings(*pair, *groups)["rsum"]
    if is_chance(rsum, *groups):
        say(
            f"warning: the encoder {encoder!r} is far from this data: by itself it reaches {of_all(rsum, data)} "
            "on validation. An encoder that was trained on pictures and words like these will do better"
        )


def of_test(run: Run, load: Callable[[str], Dataset]) -> str:
    figure, score = headline(run.metrics["test"])
    return of_all(score, load("test"), figure)


def of_all(score: float, data: Dataset, figure: str = "rsum") -> str:
    """A headline figure beside its highest value and what chance reaches, as "rsum 20.9 of 600, chance 1.2"."""
    chance = headline(by_chance(data.visual_group, data.text_group, classes=data.classes is not None))[1]
    return f"{figure} {score:.1f} of {600 if figure == 'rsum' else 100}, chance {chance:.1f}"


def plan(options: argparse.Namespace) -> list[tuple[Path, TrainConfig]]:
    """The run folders and their configurations, in the order of training.

    Raises ValueError or TypeError on names and parameters that there are not, and on folders that hold runs.
    """
    losses = list(dict.fromkeys(options.loss))
    given = assign(options.set, scopes(options, losses))
    if Path(options.suffix).name != options.suffix:
        raise ValueError(f"--suffix {options.suffix!r} is part of a folder's name: no slashes")
    jobs = []
    for name in losses:
        config = config_of(options, name, given)
        treated = [options.selector, options.suspects] if options.suspects != "ignore" else [options.selector]
        judged = ["verdicts"] if options.verdicts_as == "positive" else ["verdicts", options.verdicts_as]
        words = [name, *(treated if options.selector else ()), *(judged if options.verdicts else ())]
        words += [options.matcher] * (options.matcher != TrainConfig().matcher) + [options.suffix] * bool(
            options.suffix
        )
        folder = Path(options.out) / "-".join(words)
        with holding(folder):  # another training is told before anything is read
            pass
        if is_started(folder) and not options.overwrite:
            check_kept(folder, config, options.resume)
        jobs.append((folder, config))
    return jobs


def check_kept(folder: Path, config: TrainConfig, resume: bool) -> None:
    """Raises ValueError, with what can be done, where `folder` holds another run than `config` asks for, or the very same
    and nobody said that it is to be gone on with."""
    try:
        differs = difference(folder, config)
    except ValueError as error:  # RunRefused is one
        raise ValueError(
            f"{folder} holds a run that can't be read ({error}); --overwrite replaces it"
        ) from error
    if differs:
        raise ValueError(
            f"{folder} holds another run, with {differs}; --suffix trains beside it, as --suffix seed{config.seed}, and "
            "--overwrite replaces it"
        )
    if not resume:
        goes = "is finished already" if is_finished(folder) else "is not finished: --resume goes on with it"
        raise ValueError(f"{folder} {goes}; --overwrite replaces it")


def config_of(options: argparse.Namespace, loss: str, given: dict[str, dict[str, Any]]) -> TrainConfig:
    """The configuration of one loss, with those of the `given` parameters that it has.

    An option is the field of `TrainConfig` that has its name.
    """
    names = {field.name for field in fields(TrainConfig)} - {"loss"}
    own = {param.name for param in LOSSES[loss].params}
    return TrainConfig(
        loss=loss,
        loss_params={key: value for key, value in given["loss"].items() if key in own},
        matcher_params=given["matcher"],
        selector_params=given["selector"],
        dataset_params=given["dataset"],
        first_loss=options.first[0],
        first_epochs=options.first[1],
        **{key: value for key, value in vars(options).items() if key in names},
    )


def scopes(options: argparse.Namespace, losses: Iterable[str]) -> dict[str, list[Entry]]:
    """The registered things whose parameters can be set."""
    if options.dataset in DATASETS:
        dataset = DATASETS[options.dataset]
    else:
        dataset = KINDS[kind_of(Path(options.dataset).expanduser())]
    return {
        "loss": [LOSSES[name] for name in losses],
        "matcher": [MATCHERS[options.matcher]],
        "selector": [SELECTORS[options.selector]] if options.selector else [],
        "dataset": [dataset],
    }


def assign(settings: Iterable[str], owners: dict[str, list[Entry]]) -> dict[str, dict[str, Any]]:
    """`key=value` and `scope.key=value` strings as values of the right type by scope.

    Raises ValueError on a key that none or several scopes have, or a value that does not fit.
    """
    found: dict[str, dict[str, Any]] = {scope: {} for scope in SCOPES}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"--set {setting}: write key=value")
        prefix, dot, name = key.rpartition(".")
        if dot and prefix not in SCOPES:
            raise ValueError(f"--set {setting}: " + unknown("part", prefix, SCOPES))
        searched = [prefix] if dot else SCOPES
        params = {scope: [p for entry in owners[scope] for p in entry.params] for scope in searched}
        having = [scope for scope in searched if any(p.name == name for p in params[scope])]
        if not having:
            names = sorted({p.name for scope in searched for p in params[scope]})
            raise ValueError(f"--set {setting}: " + unknown("parameter", name, names))
        if len(having) > 1:
            choices = " or ".join(f"{scope}.{name}" for scope in having)
            raise ValueError(f"--set {setting}: which one? Write {choices}")
        for entry in owners[having[0]]:
            if any(param.name == name for param in entry.params):
                try:
                    found[having[0]][name] = entry.param(name).parse(value)
                except ValueError as error:
                    raise ValueError(f"--set {setting}: {entry.name}: {error}") from error
    return found


def run(
    folder: Path,
    config: TrainConfig,
    options: argparse.Namespace,
    command: str,
    load: Callable[[str], Dataset],
    bars: Bars,
    started: float,
) -> int:
    """Trains one run with a bar of its steps, which begins with the first; returns the exit code."""
    bar = None
    try:
        shown: dict[str, str] = {}
        steps = train(
            config,
            folder,
            options.resume,
            overwrite=options.overwrite,
            load=load,
            progress=bars,
            command=command,
        )
        for step in steps:
            if bar is None:
                bar = tqdm(
                    desc=folder.name, total=step.steps, initial=step.step - 1, unit="step", dynamic_ncols=True,
                    mininterval=OFTEN,
                )  # fmt: skip
            if step.metrics:
                figure, score = headline(step.metrics)
                shown[figure] = f"{score:.1f}"
            shown["loss"] = f"{step.loss:.3f}"
            bar.set_postfix(shown, refresh=False)
            bar.update(step.step - bar.n)
            if step.step == step.steps:
                bar.close()
                say(f"{folder.name}: measuring the test split")
    except TrainingDiverged as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        if bar is not None:
            bar.close()
    done = load_run(folder)
    if config.selector:
        print(f"{folder}: {suspect_words(config.selector, done.history)}")
    if "verdicts" in done.dataset:
        print(f"{folder}: {config.verdicts}: " + verdict_words(done.dataset["verdicts"]))
    reads = {split: TextsRead(**read).said for split, read in done.training["texts_read"].items()}
    if any(reads.values()):
        print(f"{folder}: " + "; ".join(f"{split}: {said}" for split, said in reads.items() if said))
    figure, _ = headline(done.metrics["validation"])
    print(
        f"{folder}: test {of_test(done, load)}; validation {figure} "
        f"{headline(done.metrics['validation'])[1]:.1f} at epoch {done.training['best_epoch']} of "
        f"{done.training['epochs']}; {duration(time.monotonic() - started)}, {duration(done.training['seconds'])} of it training"
    )
    if stuck := plateau(done):
        print(f"{folder}: {stuck}")
    return 0


def suspect_words(selector: str, history: list[dict[str, Any]]) -> str:
    """How many pairs a selector suspected in the first epoch and in the last."""
    told = [
        f"{line['suspected']:,} of {line['negatives']:,} negative pairs ({line['suspected'] / max(line['negatives'], 1):.2%}) "
        f"in epoch {line['epoch']}"
        for line in (history[:1] + history[1:][-1:])
    ]
    return f"{selector} suspects " + ", ".join(told)


def verdict_words(counts: dict[str, int]) -> str:
    """What a run was trained with of its file of verdicts."""
    return (
        f"{counts['count']:,} verdicts fit, {counts['confirmed']:,} pairs confirmed, {counts['refuted']:,} refuted, "
        f"{counts['others']:,} verdicts of other data not used"
    )


class Parser(argparse.ArgumentParser):
    def format_help(self) -> str:
        self.epilog = registered()  # only for --help: encoders take seconds to import
        return super().format_help()


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loss", nargs="+", required=True, metavar="NAME", help="one run for each")
    add_training_options(parser)
    parser.add_argument(
        "--verdicts", default="", metavar="FILE",
        help="what people say of pairs (.jsonl, .csv or the app's database); a selector never suspects what they refute",
    )  # fmt: skip
    parser.add_argument(
        "--verdicts-as", choices=list(VERDICTS_AS), default="positive",
        help="; ".join(f"{key}: {value}" for key, value in VERDICTS_AS.items()) + ". With --micro-batch, a batch with "
        "such a pair has all its scores at once",
    )  # fmt: skip
    parser.add_argument(
        "--out",
        default="runs",
        metavar="DIR",
        help="run folders are DIR/LOSS[-SELECTOR][-verdicts][-MATCHER][-SUFFIX], the matcher named if it is not linear",
    )
    parser.add_argument(
        "--suffix", default="", metavar="TEXT", help="what else tells a run from others in DIR"
    )
    again = parser.add_mutually_exclusive_group()
    again.add_argument(
        "--resume", action="store_true", help="go on with interrupted runs, keep finished ones"
    )
    again.add_argument("--overwrite", action="store_true", help="replace runs that are there")
    return parser.parse_args(argv)


def add_training_options(parser: argparse.ArgumentParser, matchers: bool = False) -> None:
    """What decides a training beside its loss: all that `scopes` and `config_of` read. With `matchers` there may be
    several, and the caller makes each its own configuration."""
    default = TrainConfig()
    parser.add_argument("--dataset", default=default.dataset, metavar="NAME|PATH", help="default: blocks")
    several = {"nargs": "+", "default": [default.matcher]} if matchers else {"default": default.matcher}
    parser.add_argument("--matcher", metavar="NAME", help=f"default: {default.matcher}", **several)
    parser.add_argument(
        "--encoder", default="", metavar="NAME", help="default: the dataset's features or its encoder"
    )
    parser.add_argument(
        "--selector", default="", metavar="NAME", help="suspected false negatives to leave out"
    )
    parser.add_argument(
        "--suspects", choices=list(ACTIONS), default="ignore",
        help="what becomes of suspected negatives: " + "; ".join(f"{k}: {v}" for k, v in ACTIONS.items()),
    )  # fmt: skip
    parser.add_argument(
        "--first", type=first, default=("", 0), metavar="LOSS:EPOCHS",
        help="another loss for the first epochs, as sum_of_hinges:1 before max_of_hinges",
    )  # fmt: skip
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a parameter, see above"
    )
    parser.add_argument(
        "--train-visuals", type=int, default=default.train_visuals, metavar="N",
        help="learn from so many visuals of the training split, chosen by seed; 0, the default, is all of them",
    )  # fmt: skip
    parser.add_argument("--epochs", type=int, default=default.epochs, help="default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=default.batch_size, help="default: %(default)s")
    parser.add_argument(
        "--micro-batch", type=int, default=default.micro_batch, metavar="N",
        help="pairs that the matcher embeds at once, for batches too large to hold; 0, the default, is all of them",
    )  # fmt: skip
    parser.add_argument(
        "--lr", type=float, default=default.lr, help="peak learning rate, default: %(default)s"
    )
    parser.add_argument(
        "--weight-decay", type=float, default=default.weight_decay, help="default: %(default)s"
    )
    parser.add_argument(
        "--warmup", type=int, default=default.warmup,
        help="steps of linearly rising learning rate, at most a tenth of all; default: %(default)s",
    )  # fmt: skip
    parser.add_argument(
        "--patience", type=int, default=default.patience,
        help="stop after so many epochs without a better validation rsum (mAP with class labels); 0, the default, never does",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=default.seed, help="default: %(default)s")
    add_strict(parser)


def add_strict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--strict", action="store_true", help="a fault in the data is an error, not left out and counted"
    )


def first(text: str) -> tuple[str, int]:
    """LOSS:EPOCHS as a pair."""
    name, colon, epochs = text.partition(":")
    if not colon or not epochs.isdigit() or int(epochs) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: write LOSS:EPOCHS, as sum_of_hinges:1")
    if name not in LOSSES:
        raise argparse.ArgumentTypeError(unknown("loss", name, LOSSES))
    return name, int(epochs)


def registered() -> str:
    """What can be named, with the parameters of each."""
    from xmr.encoders import ENCODERS

    lines = []
    registries = {"losses": LOSSES, "matchers": MATCHERS, "selectors": SELECTORS, "datasets": DATASETS}
    for title, registry in (registries | {"folders": KINDS, "encoders": ENCODERS}).items():
        lines.append(f"{title}:")
        for entry in registry.values():
            lines.append(f"  {entry.name}: {entry.caption}")
            if entry.params:
                lines.append("      " + ", ".join(f"{p.name}={p.default}" for p in entry.params))
    return "\n".join([*lines, "  also MODEL/PRETRAINED of open_clip, hf-hub:ORG/REPO, local-dir:PATH"])


if __name__ == "__main__":
    sys.exit(main())
