"""The options that decide a training, which several command lines share, and the parameters that --set may name."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from xmr.allowed import find_at, places
from xmr.core import DUPLICATES, TrainConfig
from xmr.data import DATASETS
from xmr.data.sources import KINDS, entry_of
from xmr.devices import CHOICES, use_device
from xmr.losses import LOSSES
from xmr.matchers import MATCHERS
from xmr.registry import Entry, unknown
from xmr.selection import ACTIONS, SELECTORS
from xmr.training import BATCHES

DEFAULT_DUPLICATES = "ignore"
SCOPES = ("loss", "matcher", "selector", "dataset")


class Parser(argparse.ArgumentParser):
    def format_help(self) -> str:
        self.epilog = registered()  # only for --help: encoders take seconds to import
        return super().format_help()


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


def add_training_options(parser: argparse.ArgumentParser, matchers: bool = False) -> None:
    """What decides a training beside its loss: all that `scopes` and `config_of` read. With `matchers` there may be
    several, and the caller makes each its own configuration."""
    defaults = TrainConfig()

    def add(name: str, words: str, **more: Any) -> None:
        default = getattr(defaults, name)
        option = {"type": type(default), "default": default, "help": words} | more
        parser.add_argument(f"--{name.replace('_', '-')}", **option)

    add("dataset", "default: %(default)s", metavar="NAME|PATH")
    several = {"nargs": "+", "default": [defaults.matcher]} if matchers else {}
    add("matcher", f"default: {defaults.matcher}", metavar="NAME", **several)
    add("encoder", "default: the dataset's features or its encoder", metavar="NAME")
    add("selector", "suspected false negatives to leave out", metavar="NAME")
    actions = "; ".join(f"{name}: {words}" for name, words in ACTIONS.items())
    add("suspects", f"what becomes of suspected negatives: {actions}", choices=list(ACTIONS))
    words = "; ".join(f"{name}: {text}" for name, text in DUPLICATES.items())
    words = (
        "what becomes of pairs that can't be told from annotated ones (an equal picture, a caption that reads alike): "
        f"{words}. The default is {DEFAULT_DUPLICATES}, and with what began before there was a choice, negative"
    )
    add("duplicates", words, choices=list(DUPLICATES), default="")
    words = "another loss for the first epochs, as sum_of_hinges:1 before max_of_hinges"
    parser.add_argument("--first", type=first, default=("", 0), metavar="LOSS:EPOCHS", help=words)
    words = "a parameter, see above"
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=words)
    words = "learn from so many visuals of the training split, chosen by seed; 0, the default, is all of them"
    add("train_visuals", words, metavar="N")
    add("epochs", "default: %(default)s")
    add("batch_size", "default: %(default)s")
    words = "; ".join(f"{entry.name}: {entry.caption}" for entry in BATCHES.values())
    add("batches", f"{words} Default: %(default)s", choices=list(BATCHES))
    words = "pairs of the latest batches that are further gallery of either side, without gradient; 0, the default, is none"
    add("queue", words, metavar="N")
    words = (
        "pairs that the matcher embeds at once, for batches too large to hold; 0, the default, is all of them"
    )
    add("micro_batch", words, metavar="N")
    add("lr", "peak learning rate, default: %(default)s")
    add("weight_decay", "default: %(default)s")
    add("warmup", "steps of linearly rising learning rate, at most a tenth of all; default: %(default)s")
    words = "stop after so many epochs without a better validation rsum (mAP with class labels); 0, the default, never does"
    add("patience", words)
    add("seed", "default: %(default)s")
    add_device(parser)
    add_strict(parser)


def add_device(parser: argparse.ArgumentParser) -> None:
    """An option that says where this process computes; it holds as soon as it is read."""
    words = f"where to compute: {CHOICES}; default: an accelerator where there is one"
    parser.add_argument("--device", type=_device, default="auto", metavar="DEVICE", help=words)


def _device(name: str) -> str:
    try:
        return str(use_device(name))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_strict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--strict", action="store_true", help="a fault in the data is an error, not left out and counted"
    )


def add_places(parser: argparse.ArgumentParser) -> None:
    """An option that says where encoders that runs name lie now; it holds as soon as it is read."""
    words = (
        "where an encoder lies now that runs call NAME, or by a longer name that ends so: a folder, or a file of weights; one or "
        "more times"
    )
    parser.add_argument("--encoder", action=_Places, default=[], metavar="NAME=PATH", help=words)


class _Places(argparse.Action):
    def __call__(self, parser: Any, options: Any, value: Any, option: str | None = None) -> None:
        try:
            options.encoder = [*options.encoder, value]
            find_at(places(options.encoder))
        except ValueError as error:
            parser.error(str(error))


def first(text: str) -> tuple[str, int]:
    """LOSS:EPOCHS as a pair."""
    name, colon, epochs = text.partition(":")
    if not colon or not epochs.isdigit() or int(epochs) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: write LOSS:EPOCHS, as sum_of_hinges:1")
    if name not in LOSSES:
        raise argparse.ArgumentTypeError(unknown("loss", name, LOSSES))
    return name, int(epochs)


def config_of(options: argparse.Namespace, loss: str, given: dict[str, dict[str, Any]]) -> TrainConfig:
    """The configuration of one loss, with those of the `given` parameters that it has.

    An option is the field of `TrainConfig` that has its name.
    """
    names = {field.name for field in fields(TrainConfig)} - {"loss"}
    own = {param.name for param in LOSSES[loss].params}
    options = argparse.Namespace(**vars(options) | {"duplicates": options.duplicates or DEFAULT_DUPLICATES})
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
    return {
        "loss": [LOSSES[name] for name in losses],
        "matcher": [MATCHERS[options.matcher]] if options.matcher else [],
        "selector": [SELECTORS[options.selector]] if options.selector else [],
        "dataset": [entry_of(options.dataset)],
    }


def data_params(source: str, settings: Iterable[str]) -> dict[str, Any]:
    """The parameters of a dataset, where nothing else has some. Raises as `assign`."""
    owners: dict[str, list[Entry]] = {scope: [] for scope in SCOPES}
    return assign(settings, owners | {"dataset": [entry_of(source)]})["dataset"]


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
