"""Steps per second and memory of training both towers, ours beside open_clip's own loop, in one run.

    python benchmarks/towers.py                    steps/s at B = 64, two losses, and memory at B = 1,024: ten minutes on two cores
    python benchmarks/towers.py --batch 32 --turns 3 --no-memory

The model is a small ViT and text transformer with random weights, in single precision; pictures lie in memory as they come out of a decoder, and
either side's preprocessing makes pixels of them. Both take the same steps: AdamW, gradients clipped, warm-up and cosine.
open_clip's loop is `open_clip_train.train.train_one_epoch` of the installed package. Epochs take turns, and the table gives
the medians of the times and of the quotients, so that a busy machine slows both. Memory is the highest resident one, each
in a process of its own: ours with the batch in parts (--micro-batch), open_clip's whole, and with its --accum-freq.
"""

from __future__ import annotations

import argparse
import logging
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.loss import ClipLoss, SigLipLoss
from open_clip_train.scheduler import cosine_lr
from open_clip_train.train import train_one_epoch
from PIL import Image
from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.metrics import machine
from xmr.core import TrainConfig
from xmr.data import SPLITS, Dataset
from xmr.pretraining import save_encoder
from xmr.training import train

SIZE, STEPS, RATE, NORM = 96, 6, 1e-5, 2.0
MODEL = {
    "embed_dim": 256,
    "vision_cfg": {"image_size": SIZE, "layers": 6, "width": 256, "patch_size": 16, "head_width": 64},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 256, "heads": 4, "layers": 4},
}
LOSSES = {"info_nce": "ClipLoss", "siglip": "SigLipLoss"}
PART = 64  # pairs embedded at once where memory is looked at


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--peak", nargs=3, metavar=("LOSS", "WAY", "B"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.disable(logging.INFO)
    if options.peak:
        peak(options.peak[0], options.peak[1], int(options.peak[2]))
        return
    print(machine())
    print(
        f"\n| loss | B | ours, steps/s | open_clip {open_clip.__version__}, steps/s | ours / open_clip |\n|---|---:|---:|---:|---:|"
    )
    for loss in LOSSES:
        ours, theirs = turns(loss, options.batch, options.turns)
        quotient = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
        rates = [statistics.median(STEPS / seconds for seconds in side) for side in (ours, theirs)]
        print(f"| {loss} | {options.batch} | {rates[0]:.2f} | {rates[1]:.2f} | {quotient:.2f} |", flush=True)
    if options.no_memory:
        return
    print("\n| loss | B | way | highest memory, MB |\n|---|---:|---|---:|")
    for loss in LOSSES:
        for way in ("ours", "whole", "accumulated"):
            command = [sys.executable, __file__, "--peak", loss, way, "1024"]
            found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]
            told = {
                "ours": f"ours, --micro-batch {PART}",
                "whole": "open_clip",
                "accumulated": f"open_clip, --accum-freq {1024 // PART}",
            }
            print(f"| {loss} | 1,024 | {told[way]} | {found} |", flush=True)


def turns(loss: str, batch: int, count: int) -> tuple[list[float], list[float]]:
    """Seconds of an epoch, ours and open_clip's, taking turns; the first of each warms up."""
    with TemporaryDirectory() as folder:
        encoder = model_folder(Path(folder), loss)
        ours, theirs = our_epochs(encoder, loss, batch, count + 2, 0), their_epochs(encoder, loss, batch, 1)
        found = [(next(ours), next(theirs)) for _ in range(count + 1)][1:]
    return [a for a, _ in found], [b for _, b in found]


def peak(loss: str, way: str, batch: int) -> None:
    """Prints the highest resident memory, MB, of this process after a step of `batch` pairs by a smaller model."""
    global STEPS
    STEPS = 1
    MODEL["vision_cfg"] |= {"layers": 2, "width": 128}
    MODEL["text_cfg"] |= {"layers": 2, "width": 128}
    with TemporaryDirectory() as folder:
        encoder = model_folder(Path(folder), loss)
        if way == "ours":
            next(train(our_config(encoder, loss, batch, 1, PART), load=lambda split: dataset(split, batch)))
        else:
            next(their_epochs(encoder, loss, batch, batch // PART if way == "accumulated" else 1))
    print(round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def model_folder(folder: Path, loss: str) -> str:
    torch.manual_seed(0)
    config = MODEL | ({"init_logit_bias": -10.0} if loss == "siglip" else {})
    save_encoder(
        open_clip.model.CLIP(**config), config, [f"picture number {i}" for i in range(10)], folder, ""
    )
    return f"local-dir:{folder}"


def dataset(split: str, count: int) -> Dataset:
    """Noise, each picture with one caption. Beside training, as little as goes."""
    rng = np.random.default_rng(SPLITS.index(split))
    count = count if split == "train" else 4
    return Dataset(
        name="noise",
        split=split,
        captions=[f"picture number {i}" for i in range(count)],
        visual_of_text=np.arange(count),
        visual_ids=[f"{split} {i}" for i in range(count)],
        fingerprint=f"noise {split} {count}",
        visuals=[
            Image.fromarray(one) for one in rng.integers(0, 255, (count, SIZE, SIZE, 3), dtype=np.uint8)
        ],
    )


def our_config(encoder: str, loss: str, batch: int, epochs: int, micro_batch: int) -> TrainConfig:
    return TrainConfig(
        encoder=encoder, loss=loss, tune="all", lr_towers=RATE, layer_decay=1.0, batch_size=batch, epochs=epochs,
        micro_batch=micro_batch,
    )  # fmt: skip


def our_epochs(encoder: str, loss: str, batch: int, epochs: int, micro_batch: int) -> Iterator[float]:
    """Seconds of each epoch's steps, what is validated after it left out."""
    config = our_config(encoder, loss, batch, epochs, micro_batch)
    steps = train(config, load=lambda split: dataset(split, batch * STEPS))
    next(steps)  # data, model, and what is validated before
    while True:
        for step in steps:  # the last of an epoch, with what is validated after it
            if step.metrics is not None:
                break
        else:
            return
        start = time.perf_counter()
        for _ in range(STEPS - 1):
            next(steps, None)
        yield (time.perf_counter() - start) * STEPS / (STEPS - 1)


def their_epochs(encoder: str, loss: str, batch: int, accumulated: int) -> Iterator[float]:
    """Seconds of each epoch of open_clip's loop."""
    model, _, preprocess = open_clip.create_model_and_transforms(encoder, output_dict=True)
    tokenizer, train_data = open_clip.get_tokenizer(encoder), dataset("train", batch * STEPS)
    tokens = tokenizer(train_data.captions)
    items = [(image, tokens[i]) for i, image in enumerate(train_data.visuals)]
    loader = DataLoader(
        items, batch_size=batch // accumulated, shuffle=True, drop_last=True,
        collate_fn=lambda rows: (torch.stack([preprocess(image) for image, _ in rows]), torch.stack([ids for _, ids in rows])),
    )  # fmt: skip
    loader.num_batches, loader.num_samples = len(loader), len(items)
    learned = list(model.parameters())
    groups = [
        {"params": [p for p in learned if p.ndim > 1], "weight_decay": 1e-4},
        {"params": [p for p in learned if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=RATE, fused=True)
    args: Any = SimpleNamespace(
        device="cpu", precision="fp32", distill=False, accum_freq=accumulated, skip_scheduler=False, horovod=False,
        grad_clip_norm=NORM, world_size=1, rank=0, local_rank=0, log_every_n_steps=1000, batch_size=batch, wandb=False,
        distributed=False, log_local=False,
    )  # fmt: skip
    data = {"train": SimpleNamespace(dataloader=loader, set_epoch=lambda epoch: None)}
    rule = ClipLoss() if loss == "info_nce" else SigLipLoss()
    schedule = cosine_lr(optimiser, RATE, 10, 1000)
    for epoch in range(1000):
        start = time.perf_counter()
        train_one_epoch(model, data, rule, epoch, optimiser, None, schedule, None, args)
        yield time.perf_counter() - start


if __name__ == "__main__":
    main()
