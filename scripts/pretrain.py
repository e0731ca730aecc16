"""Train a small open_clip model from scratch, on generated scenes or on a folder of pictures and captions.

    python scripts/pretrain.py --out checkpoints/encoders/blocks
    python scripts/pretrain.py --dataset path/to/imagefolder --out my-encoder

The result is a plain open_clip folder: use it as `--encoder local-dir:my-encoder`.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).parent.parent))

import torch
from tqdm import tqdm

from xmr.data import DataFault, load_dataset
from xmr.data.blocks import captions_of, holds, render_parallel, sample_captions, sample_scenes, scenes_of
from xmr.pretraining import (
    folder_batches,
    model_config,
    pretrain,
    save_encoder,
    scene_batches,
    true_first,
)

SNAPSHOT = 100  # batches after which the model so far is written


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    config = model_config(options.size, options.width)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    started = time.time()
    if options.dataset == "blocks":
        with tqdm(total=options.pool, desc="render", unit="picture") as bar:
            batches = scene_batches(
                options.pictures,
                options.pool,
                options.size,
                options.batch_size,
                options.seed,
                lambda done: bar.update(done - bar.n),
            )
            first = next(batches)
        captions = sample_captions(sample_scenes(4000, 1), 5, 0.5, 2)[0]
        batches = itertools.chain([first], batches)
    else:
        try:
            dataset = load_dataset(options.dataset, "train")
        except DataFault as fault:
            print(fault, file=sys.stderr)
            return 2
        captions = dataset.captions
        batches = folder_batches(dataset, options.pictures, options.size, options.batch_size, options.seed)

    with tqdm(total=options.pictures, desc="pretrain", unit="picture") as bar:
        steps = pretrain(batches, options.pictures, config, options.lr, options.seed, device, options.compile)
        for step, (progress, model) in enumerate(steps, 1):
            bar.update(progress.seen - bar.n)
            bar.set_postfix(loss=f"{progress.loss:.3f}", attributes=f"{progress.attributes:.2f}")
            if step % SNAPSHOT == 0:
                save_encoder(
                    model, config, captions, options.out, card(options, time.time() - started, device)
                )

    reached = ""
    if options.dataset == "blocks":
        scenes = scenes_of("test")
        texts, forms = captions_of("test")
        shares = true_first(model, render_parallel(scenes, options.size), texts, holds(scenes, forms))
        reached = ", ".join(f"{name} {share:.3f}" for name, share in shares.items())
        print(f"zero-shot on the 1,000 test pictures: {reached}")
    save_encoder(model, config, captions, options.out, card(options, time.time() - started, device, reached))
    print(f"written to {options.out}")
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="blocks", help="blocks, or a folder of pictures and captions")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--pictures", type=int, default=320_000, help="pictures to see in all, repeats counted"
    )
    parser.add_argument("--pool", type=int, default=40_000, help="blocks only: different pictures to render")
    parser.add_argument("--batch-size", type=int, default=192)
    parser.add_argument(
        "--size", type=int, default=64, help="side of the pictures in pixels, a multiple of 32"
    )
    parser.add_argument("--width", type=int, default=28, help="width of the image tower")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--compile", action="store_true", help="faster, needs a C++ compiler")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    if options.size % 32:
        parser.error(f"--size must be a multiple of 32, found {options.size}")
    return options


def card(options: argparse.Namespace, seconds: float, device: str, reached: str = "") -> str:
    """The model card: what made this encoder, and what it reaches."""
    command = (
        f"python scripts/pretrain.py --dataset {os.path.basename(options.dataset)} --pictures {options.pictures} "
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

{"Zero-shot, share of queries on the 1,000 test pictures whose first item really matches: " + reached if reached else ""}

Load it with `open_clip.create_model_and_transforms("local-dir:PATH")` and `open_clip.get_tokenizer(same)`.
Token embeddings of words that the training never used are zero.
"""


if __name__ == "__main__":
    sys.exit(main())
