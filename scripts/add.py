"""Add models as they are, or embeddings that they made, to be compared beside trained runs: nothing is trained.

    python scripts/add.py --dataset path/to/folder --model mine=ViT-B-32:logs/epoch_5.pt openai=ViT-B-32/openai --out runs
    python scripts/add.py --dataset blocks --model tiny=checkpoints/encoders/blocks --trained-with tiny=siglip --out runs
    python scripts/add.py --dataset path/to/folder --model new=epoch_5.pt --config my-vit.json --out runs
    python scripts/add.py --dataset path/to/folder --embeddings ours=img.npy,txt.npy --out runs
    torchrun --nproc-per-node 4 scripts/add.py …    four processes share out what is embedded

A model is MODEL/PRETRAINED of open_clip, hf-hub:ORG/REPO, a folder (local-dir:DIR or DIR) of open_clip, or of a CLIP or
SigLIP of transformers or sentence-transformers, or the weights that open_clip's trainer wrote: FILE, whose architecture its shapes or an open_clip_config.json beside it tell, MODEL:FILE, or FILE and --config. Loss weights and false
negatives are looked at as if it had been trained with --trained-with, at the checkpoint's own temperature and bias.
Embeddings are two .npy files of any model, (pictures, D) and (captions, D): a row for each of the test split, in its order.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PureWindowsPath
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from scripts import leave_at_once

    leave_at_once()

import numpy as np
import torch

from scripts import told
from scripts.command import Bars, reader, say
from scripts.embeddings import check_rows, tell_chance, two_arrays, unit
from scripts.options import add_device, add_strict, data_params
from scripts.train import launcher, of_test
from xmr.allowed import allow_only, is_allowed
from xmr.checkpoints import as_if_trained, is_started, save_model
from xmr.checkpoints.folder import check_name, check_place
from xmr.checksums import digest
from xmr.core import TrainConfig
from xmr.data import SPLITS, Dataset
from xmr.data.sources import pinned
from xmr.data.summary import described
from xmr.embedding import as_kept, zero_shot
from xmr.locks import held_for_all
from xmr.losses import LOSSES
from xmr.metrics import headline
from xmr.processes import first
from xmr.registry import unknown
from xmr.scoring import split_metrics
from xmr.words import program

SAMPLE = 256  # visuals of validation on which models of other activations are told apart


def main(argv: list[str] | None = None) -> int:
    command = f"{launcher('add')} {shlex.join(sys.argv[1:] if argv is None else argv)}"
    advice = "the same command goes on: features are kept"
    return told(lambda: run_all(parse(argv), command), advice, shared=True)


def run_all(options: argparse.Namespace, command: str) -> int:
    """Measures each model and writes its folder; returns the exit code."""
    models, files = pairs("--model", options.model), pairs("--embeddings", options.embeddings)
    losses, known = pairs("--trained-with", options.trained_with), [*models, *files]
    if both := models.keys() & files.keys():
        raise ValueError(f"--embeddings {min(both)}=…: --model has that name")
    for name, loss in losses.items():
        if name not in known:
            raise ValueError(f"--trained-with {name}={loss}: {unknown('model', name, known)}")
        LOSSES[loss]  # raises UnknownName
    out = Path(options.out).expanduser()
    for name in known:
        check_name(name)
        if name in ("", ".", "..") or PureWindowsPath(name).name != name:
            raise ValueError(f"{name}=…: the name is that of a folder in --out: no slashes")
        if is_started(out / name) and not options.overwrite:
            raise ValueError(f"{out / name} holds a run already; --overwrite replaces it")
        check_place(out / name)
    options.dataset = pinned(options.dataset)
    params = data_params(options.dataset, options.set)
    # What is not there is told before the work.
    named = {name: encoders_of(spec, options.config, models.values()) for name, spec in models.items()}
    arrays = {name: arrays_of(name, text) for name, text in files.items()}
    read, bars = reader(options.strict), Bars()
    data = {split: read(options.dataset, split, params) for split in SPLITS}
    config = TrainConfig(dataset=options.dataset, dataset_params=params, matcher="")
    try:
        for name, encoders in named.items():
            with held_for_all(out / name):
                add(out / name, encoders, losses.get(name, ""), config, data, command, bars)
        for name, sides in arrays.items():
            with held_for_all(out / name):
                add_embeddings(out / name, sides, losses.get(name, ""), config, data, command)
    finally:
        bars.close()
    print(f"compare them: {program('app')} {shlex.join(['--checkpoints', options.out, *allowed(named)])}")
    return 0


def encoders_of(spec: str, config: str, others: Iterable[str]) -> list[str]:
    """As `candidates`; a file of an architecture that open_clip does not know may be of that of a folder among the `others`."""
    from xmr.encoders import candidates, weights  # open_clip takes seconds to import

    path = Path(spec).expanduser().resolve()
    try:
        return candidates(spec, config)
    except ValueError:
        folders = [Path(one.removeprefix("local-dir:")).expanduser() for one in others if path.is_file()]
        found = next(filter(None, (weights.config_beside(path, folder) for folder in folders)), "")
        if not found:
            raise
    say(f"{spec}: its architecture is that of {found}")
    return candidates(spec, found)


def add(
    folder: Path,
    encoders: Sequence[str],
    loss: str,
    config: TrainConfig,
    data: dict[str, Dataset],
    command: str,
    bars: Bars,
) -> None:
    """Writes the run of that of the `encoders` which is best on validation."""
    from xmr.encoders import load_encoder

    encoder = encoders[0] if len(encoders) == 1 else best_of(folder.name, encoders, data["validation"], bars)
    validation = split_metrics(data["validation"], *zero_shot(data["validation"], encoder, bars))
    sides = zero_shot(data["test"], encoder, bars)
    loaded = load_encoder(encoder)
    scale, bias = loaded.scale_and_bias()
    loss = loss or ("info_nce" if bias is None else "siglip")
    params, own = as_if_trained(loss, scale, bias), {"temperature": 1 / scale, "scale": scale, "bias": bias}
    for name, value in params.items():
        if abs(value - own[name]) > 1e-3 * abs(value):
            say(
                f"{folder.name}: its own {name}, {own[name]:.4g}, is outside what {loss} can have; it is looked at with {value:.4g}"
            )
    dim = sides[0].shape[-1]
    about = {"name": encoder, "hash": loaded.hash, "visual_dim": dim, "text_dim": dim}
    metrics = {"validation": validation, "test": split_metrics(data["test"], *sides)}
    looked = replace(config, encoder=encoder, loss=loss, loss_params=params)
    first(lambda: save(folder, looked, data, about, metrics, sides, command))


def best_of(name: str, encoders: Sequence[str], validation: Dataset, bars: Bars) -> str:
    """The encoder that finds most on validation, or on `SAMPLE` of its visuals."""
    if len(validation.visual_ids) > SAMPLE:
        validation = validation.some(np.linspace(0, len(validation.visual_ids) - 1, SAMPLE).astype(np.int64))
    sides = {one: zero_shot(validation, one, bars) for one in encoders}
    found = {one: headline(split_metrics(validation, *pair))[1] for one, pair in sides.items()}
    best = max(found, key=found.__getitem__)
    reached = " and ".join(f"{architecture(one)} {score:.1f}" for one, score in found.items())
    said = f"{len(validation.visual_ids)} visuals of validation"
    say(f"{name}: {reached} on {said}, so it was trained as {architecture(best)}")
    return best


def architecture(encoder: str) -> str:
    """What a person calls the architecture of an encoder that is named with it."""
    return encoder.partition("/")[0]


def add_embeddings(
    folder: Path,
    sides: Sequence[np.ndarray],
    loss: str,
    config: TrainConfig,
    data: dict[str, Dataset],
    command: str,
) -> None:
    """Writes the run of embeddings (N_v, D) and (N_t, D) of the test split. Raises ValueError where they are not of it."""
    test, loss = data["test"], loss or "info_nce"
    check_rows(folder.name, sides, test)
    kept = [as_kept(torch.from_numpy(unit(array))) for array in sides]
    metrics = split_metrics(test, *kept)
    tell_chance(folder.name, metrics, test)
    identity = digest(b"".join(np.ascontiguousarray(array).tobytes() for array in sides))[:16]
    dim = sides[0].shape[1]
    encoder = {"name": "", "hash": identity, "visual_dim": dim, "text_dim": dim}
    looked = replace(config, loss=loss)
    first(lambda: save(folder, looked, data, encoder, {"test": metrics}, kept, command))


def arrays_of(name: str, text: str) -> list[np.ndarray]:
    """The arrays of IMG.npy,TXT.npy. Raises ValueError as `two_arrays`."""
    paths = text.split(",")
    if len(paths) != 2:
        raise ValueError(f"--embeddings {name}={text}: write {name}=IMG.npy,TXT.npy")
    return two_arrays(name, paths)


def save(
    folder: Path,
    config: TrainConfig,
    data: dict[str, Dataset],
    encoder: dict[str, Any],
    metrics: dict[str, dict[str, float]],
    sides: Sequence[np.ndarray],
    command: str,
) -> None:
    """Writes a run and tells of it."""
    run = save_model(folder, config, described(data), encoder, metrics, sides, command)
    values = ", ".join(f"{key} {value:.4g}" for key, value in run.loss_values.items())
    looked = f"looked at as if trained with {run.config.loss} ({values})"
    print(f"{run.path}: test {of_test(run, data.__getitem__)}; {looked}")


def pairs(option: str, given: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE strings. Raises ValueError where one is none, or a name is there twice."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise ValueError(f"{option} {text}: write NAME=VALUE")
        if name in found:
            raise ValueError(f"{option} {text}: {name} is there twice")
        found[name] = value
    return found


def allowed(named: dict[str, list[str]]) -> list[str]:
    """The option by which the app answers typed words with these encoders."""
    encoders = list(dict.fromkeys(name for names in named.values() for name in names))
    allow_only([])
    refused = [name for name in encoders if not is_allowed(name)]
    allow_only(None)
    return ["--allow-encoders", *refused] if refused else []


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--dataset", required=True, metavar="NAME|PATH", help="pictures or clips with captions"
    )
    parser.add_argument("--model", nargs="+", default=[], metavar="NAME=SPEC", help="one run for each")
    words = "the configuration of the architecture of one's own that files without MODEL are of, as open_clip writes them"
    parser.add_argument("--config", default="", metavar="CONFIG.json", help=words)
    words = "one run for each, without an encoder: no typed words and no uploads"
    parser.add_argument("--embeddings", nargs="+", default=[], metavar="NAME=IMG.npy,TXT.npy", help=words)
    parser.add_argument(
        "--trained-with", nargs="+", default=[], metavar="NAME=LOSS",
        help="default: siglip where the checkpoint has a bias, else info_nce",
    )  # fmt: skip
    words = "a parameter of the dataset"
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=words)
    parser.add_argument("--out", default="runs", metavar="DIR", help="run folders are DIR/NAME")
    parser.add_argument("--overwrite", action="store_true", help="replace runs that are there")
    add_device(parser)
    add_strict(parser)
    options = parser.parse_args(argv)
    if not options.model and not options.embeddings:
        parser.error("name something to add: --model or --embeddings")
    return options


if __name__ == "__main__":
    sys.exit(main())
