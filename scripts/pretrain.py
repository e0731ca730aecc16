"""Train a small open_clip model from scratch, on generated scenes or on a folder of pictures and captions.

    python scripts/pretrain.py --out checkpoints/encoders/blocks
    python scripts/pretrain.py --dataset path/to/imagefolder --out my-encoder

The result is a plain open_clip folder: use it as `--encoder local-dir:my-encoder`.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from scripts import leave_at_once

    leave_at_once()

import torch
from tqdm import tqdm

from scripts import began, told
from scripts.command import OFTEN, Bars, duration, reader, say
from scripts.train import of_all
from xmr.checkpoints.folder import STATE
from xmr.checkpoints.resume import load_state, remove_state, save_state
from xmr.data import Dataset
from xmr.disk import write_files
from xmr.embedding import zero_shot
from xmr.locks import holding
from xmr.metrics import evaluate_embeddings
from xmr.pretraining import (
    CARD,
    CONFIG,
    WEIGHTS,
    Batch,
    Pretraining,
    folder_batches,
    model_config,
    pretrain,
    save_encoder,
    scene_batches,
    true_first,
)
from xmr.words import program
from xmr.worlds.captions import captions_of, sample_captions
from xmr.worlds.parallel import render_parallel
from xmr.worlds.scenes import sample_scenes, scenes_of
from xmr.worlds.truth import holds

SAVE_SECONDS = 60.0  # after which the model so far and the state are written
DECIDING = (
    "pictures",
    "pool",
    "batch_size",
    "size",
    "width",
    "lr",
    "seed",
)  # options that a state belongs to


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)

    def work() -> int:
        with holding(options.out):
            return run(options)

    return told(work, "the same command with --resume goes on")


def run(options: argparse.Namespace) -> int:
    """Trains, measures and writes the encoder; returns the exit code."""
    start = began()
    if options.resume and finished(options.out):
        print(f"{options.out} is finished already")
        return 0
    check_place(options)
    bars = Bars()
    # Both splits now: that one can't be read should be known before the work.
    read, splits = reader(), () if options.dataset == "blocks" else ("train", "validation")
    data = {split: read(options.dataset, split, {}) for split in splits}
    config = model_config(options.size, options.width)
    state = Pretraining(config, options.lr, options.seed, "cuda" if torch.cuda.is_available() else "cpu")
    about = {"options": {name: getattr(options, name) for name in DECIDING}, "history": [], "seconds": 0.0}
    about["options"]["data"] = data["train"].fingerprint if data else options.dataset
    restore(state, about, options)
    captions = data["train"].captions if data else sample_captions(sample_scenes(4000, 1), 5, 0.5, 2)[0]
    before, started = about["seconds"], time.monotonic()

    def save(reached: str = "") -> None:
        about["seconds"] = before + time.monotonic() - started
        text = card(options, about["seconds"], state.device, reached)
        save_encoder(state.model, config, captions, options.out, text)

    steps = pretrain(
        batches(data.get("train"), options, state.steps, bars),
        options.pictures,
        options.seed,
        state,
        options.compile,
    )
    if options.compile:
        say("compiling the image tower: the first batch takes a minute or two")
    bar, saved = None, time.monotonic()
    for progress in steps:
        if bar is None:  # now, so that rendering and compiling are not taken for training
            bar = tqdm(
                desc="pretrain", total=options.pictures, initial=progress.seen, unit=" pictures", mininterval=OFTEN,
                dynamic_ncols=True,
            )  # fmt: skip
        bar.update(progress.seen - bar.n)
        shown = {"loss": f"{progress.loss:.3f}"}
        bar.set_postfix(shown | ({} if data else {"attributes": f"{progress.attributes:.2f}"}), refresh=False)
        if time.monotonic() - saved > SAVE_SECONDS:
            about["history"].append({"seen": state.seen, "loss": progress.loss})
            save()
            save_state(options.out, state.tensors(), about | {"seen": state.seen, "steps": state.steps})
            saved = time.monotonic()
    if bar is not None:
        bar.close()
    save()
    name = f"local-dir:{options.out}"
    reached = measured(data["validation"], name, bars) if data else of_scenes(state.model, options.size)
    write_files(options.out, {CARD: card(options, about["seconds"], state.device, reached).encode()})
    remove_state(options.out)
    print(reached)
    train = ["--dataset", options.dataset, "--encoder", name, "--loss", "info_nce", "max_of_hinges"]
    print(f"written to {options.out}, {duration(time.monotonic() - start)}; next:")
    print(f"{program('train')} {shlex.join(train)}")
    return 0


def finished(out: Path) -> bool:
    return (out / CONFIG).exists() and not (out / STATE).exists()


def check_place(options: argparse.Namespace) -> None:
    """Raises ValueError where --out holds something that is not to be written over; makes the folder, so that a place where
    nothing can be written is told before the work."""
    out = options.out
    if out.is_dir() and any(out.iterdir()) and not ((out / CONFIG).exists() or (out / STATE).exists()):
        raise ValueError(
            f"{out} holds something that is no encoder; name another folder: --out {out / 'encoder'}"
        )
    if finished(out) and not options.overwrite:
        raise ValueError(f"{out} holds an encoder already; --overwrite replaces it")
    if (out / STATE).exists() and not (options.overwrite or options.resume):
        raise ValueError(f"{out} is not finished: --resume goes on with it, --overwrite begins again")
    out.mkdir(parents=True, exist_ok=True)
    if options.overwrite:
        for name in (CONFIG, WEIGHTS, CARD):
            (out / name).unlink(missing_ok=True)
        remove_state(out)


def restore(state: Pretraining, about: dict[str, Any], options: argparse.Namespace) -> None:
    """Goes back to the state in --out, if --resume says so and there is one. Raises ValueError where it is of another one."""
    found = load_state(options.out) if options.resume else None
    if found is None:
        return
    tensors, there = found
    changed = {
        k: (there["options"].get(k), v) for k, v in about["options"].items() if there["options"].get(k) != v
    }
    if changed:
        words = ", ".join(f"{name}: {old} there, {new} now" for name, (old, new) in changed.items())
        raise ValueError(f"{options.out} can't be resumed otherwise ({words}); --overwrite begins again")
    state.restore(tensors, there.pop("seen"), there.pop("steps"))
    about |= there


def batches(data: Dataset | None, options: argparse.Namespace, skip: int, bars: Bars) -> Iterator[Batch]:
    """The batches that are left, of the pictures of `data` or, without it, of scenes."""
    what, rows = (
        ("render pictures", options.pool) if data is None else ("shrink pictures", len(data.visual_ids))
    )
    heard = partial(report, bars, what, rows)
    common = options.size, options.batch_size, options.seed, heard, skip
    if data is None:
        return scene_batches(options.pictures, options.pool, *common)
    return folder_batches(data, options.pictures, *common)


def report(bars: Bars, what: str, rows: int, done: int) -> None:
    bars(what, done, rows)


def measured(data: Dataset, name: str, bars: Bars) -> str:
    """What the encoder of that name reaches on a split, by itself."""
    metrics = evaluate_embeddings(*zero_shot(data, name, bars), data.visual_group, data.text_group)
    recalls = ", ".join(f"{d} R@1 {100 * metrics[f'{d}/recall_at_1']:.1f}" for d in ("v2t", "t2v"))
    return f"{data.split}: {of_all(metrics['rsum'], data)} ({recalls})"


def of_scenes(model: Any, size: int) -> str:
    """What the encoder reaches on the test scenes, whose truth is known."""
    scenes = scenes_of("test")
    texts, forms = captions_of("test")
    shares = true_first(model, render_parallel(scenes, size), texts, holds(scenes, forms))
    return "share of queries on the 1,000 test pictures whose first item really matches: " + ", ".join(
        f"{name} {share:.3f}" for name, share in shares.items()
    )


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    def add(name: str, default: Any, words: str, **more: Any) -> None:
        parser.add_argument(name, default=default, help=f"{words}; default: %(default)s", **more)

    add("--dataset", "blocks", "blocks, or a folder of pictures and captions", metavar="NAME|PATH")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    add("--pictures", 320_000, "pictures to see in all, repeats counted", type=int, metavar="N")
    add("--pool", 40_000, "blocks only: different pictures to render", type=int, metavar="N")
    add("--batch-size", 192, "pictures in a batch", type=int)
    add("--size", 64, "side of the pictures in pixels, a multiple of 32", type=int)
    add("--width", 28, "width of the image tower", type=int)
    add("--lr", 2e-3, "peak learning rate", type=float)
    add("--seed", 0, "of weights, batches and scenes", type=int)
    parser.add_argument("--compile", action="store_true", help="faster, needs a C++ compiler")
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on where it was stopped")
    again.add_argument("--overwrite", action="store_true", help="replace the encoder that is there")
    options = parser.parse_args(argv)
    if options.size < 32 or options.size % 32:
        parser.error(f"--size must be a multiple of 32, found {options.size}")
    for name in ("pictures", "pool", "batch_size", "width"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, found {getattr(options, name)}")
    return options


def card(options: argparse.Namespace, seconds: float, device: str, reached: str = "") -> str:
    """The model card: what made this encoder, and what it reaches."""
    command = (
        f"{program('pretrain')} --dataset {os.path.basename(options.dataset)} --pictures {options.pictures} "
        f"--pool {options.pool} --batch-size {options.batch_size} --size {options.size} "
        f"--width {options.width} --lr {options.lr} --seed {options.seed} --out {options.out.name}"
    )
    return f"""---
license: apache-2.0
library_name: open_clip
pipeline_tag: zero-shot-image-classification
---

# {options.out.name}: a tiny open_clip model of xmr

A ResNet for {options.size} px and a three-layer text tower, trained from scratch in {seconds / 60:.0f} minutes
({device}) with

    {command}

{"Zero-shot, " + reached if reached else ""}

Load it with `open_clip.create_model_and_transforms("local-dir:PATH")` and `open_clip.get_tokenizer(same)`.
Token embeddings of words that the training never used are zero.
"""


if __name__ == "__main__":
    sys.exit(main())
