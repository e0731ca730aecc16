"""Train a matcher with one loss or several, one run folder each; with --tune, the encoder's own towers.

    python scripts/train.py --dataset blocks --loss max_of_hinges info_nce siglip polynomial
    python scripts/train.py --dataset path/to/folder --loss info_nce --set temperature=0.05 --set hidden=512
    python scripts/train.py --dataset path/to/folder --encoder local-dir:DIR --loss info_nce --tune all --epochs 3
    torchrun --nproc-per-node 4 scripts/train.py …    four processes that share out each batch, an accelerator each where there are some

A parameter of --set belongs to the loss, the matcher, the selector or the dataset; where two have one of that name,
write which: --set loss.margin=0.3. One that only some of the losses have is given to those.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from scripts import leave_at_once

    leave_at_once()

from tqdm import tqdm

from scripts import began, told
from scripts.command import OFTEN, Bars, check_encoder, duration, reader, say
from scripts.options import Parser, add_training_options, assign, config_of, scopes
from xmr.captions import TextsRead
from xmr.checkpoints import Run, config_in, difference, is_finished, is_started, load_run
from xmr.checkpoints.folder import check_place
from xmr.checkpoints.towers import path_words
from xmr.core import PRECISIONS, TUNES, VERDICTS_AS, Step, TrainConfig, tune_of
from xmr.data import Dataset
from xmr.data.sources import pinned
from xmr.embedding import zero_shot
from xmr.locks import holding
from xmr.matchers import MATCHERS
from xmr.metrics import by_chance, evaluate_embeddings, headline, is_chance
from xmr.processes import asked, first, mine
from xmr.training import TrainingDiverged, plateau, train
from xmr.words import program

# Fields of `TrainConfig` that say nothing of a head.
TOWERS = (
    "lr_towers", "layer_decay", "precision", "augment", "interpolate", "lock", "ema", "grad_checkpointing", "train_batch_norm"
)  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    command = f"{launcher('train')} {shlex.join(sys.argv[1:] if argv is None else argv)}"
    return told(lambda: run_all(parse(argv), command), "the same command with --resume goes on", shared=True)


def launcher(name: str) -> str:
    """What starts the script, before its arguments."""
    if asked() == 1:
        return program(name)
    own = program(name).removeprefix("python ")
    whole = "" if own != program(name) else "--no-python "
    return f"torchrun --nproc-per-node {asked()} {whole}{own}"


def run_all(options: argparse.Namespace, command: str) -> int:
    """Trains what is not trained yet, one run after the other on data that is read once; returns the exit code."""
    start = started = began()
    options.dataset = pinned(options.dataset)
    code, left = 0, first(lambda: to_train(options))
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
    if len(left) > 1 and not mine():
        runs = [load_run(folder) for folder, _ in left if is_finished(folder)]
        best = max(runs, key=lambda run: headline(run.metrics["validation"])[1], default=None)
        words = f"; best on validation: {best.name}, test {of_test(best, load)}" if best else ""
        print(f"{len(left)} runs, {duration(started - start)} in all{words}")
    return code


def to_train(options: argparse.Namespace) -> list[tuple[Path, TrainConfig]]:
    """As `plan`, of what is not finished; says what is."""
    left = []
    for folder, config in plan(options):
        if options.resume and is_finished(folder):
            print(f"{folder} is finished already")
        else:
            left.append((folder, config))
    return left


def warn_of_encoder(config: TrainConfig, load: Callable[[str], Dataset], bars: Bars) -> None:
    """Tells, before anything is learned, where the frozen encoder itself tells validation's pairs apart no better than
    chance: a head on it can't make up for that."""
    data = load("validation")
    encoder = config.encoder or data.encoder
    # Tokens are other features: encoding twice would take longer than what is warned of.
    if (
        config.tune != "none"  # what validation says before the first step is told there
        or data.visuals is None
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
    check_towers(options)
    given = assign(options.set, scopes(options, losses))
    if Path(options.suffix).name != options.suffix:
        raise ValueError(f"--suffix {options.suffix!r} is part of a folder's name: no slashes")
    jobs = []
    for name in losses:
        config = config_of(options, name, given)
        folder = Path(options.out) / folder_name(config, options.suffix)
        with holding(folder):  # another training is told before anything is read
            pass
        check_place(folder)
        if is_started(folder) and not options.overwrite:
            config = checked(folder, config, options)
        jobs.append((folder, config))
    return jobs


def check_towers(options: argparse.Namespace) -> None:
    """Raises ValueError where an option says something of towers, and they are not trained, or of a matcher, and they are."""
    usual = TrainConfig()
    if options.tune == usual.tune:
        given = [name for name in TOWERS if getattr(options, name) != getattr(usual, name)]
        if options.epoch_files:
            given.append("epoch_files")
        if given:
            flags = f"lock-{options.lock}" if given[0] == "lock" else given[0].replace("_", "-")
            raise ValueError(
                f"--{flags} is of towers, and a head is trained: say which of them learn with --tune"
            )
    elif options.matcher != usual.matcher:
        raise ValueError(
            f"--matcher {options.matcher} is a head on frozen features, and --tune trains the towers alone"
        )
    else:
        options.matcher = ""


def folder_name(config: TrainConfig, suffix: str) -> str:
    """The loss, and all that is not as usual."""
    usual, words = TrainConfig(), [config.loss]
    if config.selector:
        words += [config.selector, *([config.suspects] if config.suspects != usual.suspects else [])]
    if config.verdicts:
        words += ["verdicts", *([config.verdicts_as] if config.verdicts_as != usual.verdicts_as else [])]
    if config.tune != usual.tune:
        words.append(config.tune.replace(":", ""))
    elif config.matcher != usual.matcher:
        words.append(config.matcher)
    return "-".join([*words, *([suffix] if suffix else [])])


def checked(folder: Path, config: TrainConfig, options: argparse.Namespace) -> TrainConfig:
    """The configuration that goes on with the run in `folder`, with its duplicates where --duplicates does not say.

    Raises ValueError, with what can be done, where `folder` holds another run than `config` asks for, or the very same
    and nobody said that it is to be gone on with."""
    try:
        if not options.duplicates:
            config = replace(config, duplicates=config_in(folder).duplicates)
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
    if not options.resume:
        goes = "is finished already" if is_finished(folder) else "is not finished: --resume goes on with it"
        raise ValueError(f"{folder} {goes}; --overwrite replaces it")
    return config


def run(
    folder: Path,
    config: TrainConfig,
    options: argparse.Namespace,
    command: str,
    load: Callable[[str], Dataset],
    bars: Bars,
    started: float,
) -> int:
    """Trains one run; returns the exit code."""
    how = {
        "overwrite": options.overwrite,
        "load": load,
        "progress": bars,
        "command": command,
        "epoch_files": options.epoch_files,
    }
    try:
        draw(folder.name, train(config, folder, options.resume, **how))
    except TrainingDiverged as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if mine():
        return 0
    for line in outcome(load_run(folder), load, time.monotonic() - started):
        print(f"{folder}: {line}")
    return 0


def draw(name: str, steps: Iterable[Step]) -> None:
    """A bar of the steps, which begins with the first."""
    bar, shown = None, {}
    try:
        for step in steps:
            if step.before is not None:
                say(f"{name}: the encoder as it is reaches {step.before:.1f} on validation")
            if bar is None:
                bar = tqdm(
                    desc=name, total=step.steps, initial=step.step - 1, unit="step", dynamic_ncols=True,
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
                say(f"{name}: measuring the test split")
    finally:
        if bar is not None:
            bar.close()


def outcome(run: Run, load: Callable[[str], Dataset], seconds: float) -> Iterator[str]:
    """What is told of a run that took so long, data and encoder counted."""
    config, training = run.config, run.training
    if config.selector:
        yield suspect_words(config.selector, run.history)
    if config.batches != TrainConfig.batches:
        yield batch_words(run)
    if "verdicts" in run.dataset:
        yield f"{config.verdicts}: {verdict_words(run.dataset['verdicts'])}"
    reads = {split: TextsRead(**read).said for split, read in training["texts_read"].items()}
    if any(reads.values()):
        yield "; ".join(f"{split}: {said}" for split, said in reads.items() if said)
    figure, score = headline(run.metrics["validation"])
    yield (
        f"test {of_test(run, load)}; validation {figure} {score:.1f} at epoch {training['best_epoch']} of "
        f"{training['epochs']}; {duration(seconds)}, {duration(training['seconds'])} of it training"
    )
    if path := training.get("interpolation"):
        yield f"{figure}, {path_words(path)}"
        yield "the app answers typed words with it by " + shlex.join(
            ["--allow-encoders", run.encoder["name"]]
        )
    if stuck := plateau(run):
        yield stuck


def suspect_words(selector: str, history: list[dict[str, Any]]) -> str:
    """How many pairs a selector suspected in the first epoch and in the last."""
    told = [
        f"{line['suspected']:,} of {line['negatives']:,} negative pairs ({line['suspected'] / max(line['negatives'], 1):.2%}) "
        f"in epoch {line['epoch']}"
        for line in (history[:1] + history[1:][-1:])
    ]
    return f"{selector} suspects " + ", ".join(told)


def batch_words(run: Run) -> str:
    """How many pairs met one in a batch that they should have been apart from, in the epoch where they were most."""
    most = max(line["together"] for line in run.history)
    pairs = run.dataset.get("learned_from", run.dataset["sizes"]["train"])["texts"]
    met = f"at most {most:,} of {pairs:,} pairs of an epoch met" if most else "no pair met"
    return f"{run.config.batches} batches: {met} another of its picture, or one that can't be told from such, in its batch"


def verdict_words(counts: dict[str, int]) -> str:
    """What a run was trained with of its file of verdicts."""
    return (
        f"{counts['count']:,} verdicts fit, {counts['confirmed']:,} pairs confirmed, {counts['refuted']:,} refuted, "
        f"{counts['others']:,} verdicts of other data not used"
    )


def add_tower_options(parser: argparse.ArgumentParser) -> None:
    """What decides the training of towers; an option is the field of `TrainConfig` that has its name."""
    group, usual = parser.add_argument_group("towers, with --tune"), TrainConfig()
    group.add_argument(
        "--tune", type=tuned, default=usual.tune, metavar="|".join(TUNES),
        help="what of the encoder's towers learns: nothing but a head on them (the default); all; the last N blocks of each and "
        "what comes after; all their matrices, by updates of rank R that are merged on saving",
    )  # fmt: skip
    group.add_argument(
        "--lr-towers", type=float, default=usual.lr_towers,
        help="peak learning rate, default: %(default)s; --lr is that of what the loss learns",
    )  # fmt: skip
    group.add_argument(
        "--layer-decay", type=float, default=usual.layer_decay,
        help="what the rate is multiplied by for each layer before the last; default: %(default)s",
    )  # fmt: skip
    group.add_argument(
        "--precision", choices=PRECISIONS, default=usual.precision, help="of the steps; losses are in fp32"
    )
    group.add_argument(
        "--augment", action="store_true", help="random crops of training pictures, as open_clip's"
    )
    group.add_argument(
        "--interpolate", type=float, default=usual.interpolate, metavar="SHARE",
        help="keep weights so far on the way from those before to those learned; default: %(default)s. What 0, 0.5 and 1 reach is "
        "always told",
    )  # fmt: skip
    lock = group.add_mutually_exclusive_group()
    for side in ("image", "text"):
        words = f"leave the {side} tower as it is"
        lock.add_argument(
            f"--lock-{side}", dest="lock", action="store_const", const=side, default="", help=words
        )
    group.add_argument(
        "--ema", type=float, default=usual.ema, metavar="DECAY",
        help="measure and keep a running mean of the weights, as with 0.999; default: none",
    )  # fmt: skip
    words = "compute layers twice in place of keeping them: less memory, more time"
    group.add_argument("--grad-checkpointing", action="store_true", help=words)
    words = "let statistics of batch norm follow the batches; with --micro-batch each counts twice"
    group.add_argument("--train-batch-norm", action="store_true", help=words)
    words = "also write epoch_N.pt into the run's folder, as open_clip's trainer does"
    group.add_argument("--epoch-files", action="store_true", help=words)


def tuned(text: str) -> str:
    try:
        tune_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loss", nargs="+", required=True, metavar="NAME", help="one run for each")
    add_training_options(parser)
    add_tower_options(parser)
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
        help="run folders are DIR/LOSS[-SELECTOR][-verdicts][-MATCHER or -TUNE][-SUFFIX], the matcher named if it is not linear",
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


if __name__ == "__main__":
    sys.exit(main())
