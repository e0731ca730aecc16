"""Small open_clip models trained from scratch: on generated scenes, or on a folder of pictures and captions.

The result is a plain open_clip folder (`local-dir:`), so nothing here is needed to use it. On scenes the
truth of every picture-caption pair is known: the loss is `info_nce` with *all* true pairs as positives, beside
attribute supervision of the image tower. On a folder only the annotated pairs are.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import open_clip
import torch
from open_clip.model import CLIP
from safetensors.torch import save as tensor_bytes
from torch import Tensor, nn

from xmr.core import Pairs
from xmr.data.dataset import Dataset
from xmr.disk import write_files
from xmr.losses import LOSSES, symmetric
from xmr.worlds.attributes import attribute_targets
from xmr.worlds.captions import sample_captions
from xmr.worlds.parallel import render_parallel
from xmr.worlds.scenes import Scenes, flip, sample_scenes
from xmr.worlds.seeds import pretraining_seed
from xmr.worlds.truth import holds

MEAN = STD = 0.5
WEIGHTS, CONFIG, CARD = "open_clip_model.safetensors", "open_clip_config.json", "README.md"
FRACTION_WARMUP = 0.05

Drawn = TypeVar("Drawn")


def model_config(size: int = 64, width: int = 28, text_width: int = 96) -> dict:
    """The open_clip configuration of a small CLIP: a ResNet for `size` pixels, a three-layer text tower.

    Convolutions learn from few pictures where patches need many; the text tower sees both ways (no causal
    mask), for it never generates. Its vocabulary is CLIP's, so that open_clip's own tokenizer serves.
    """
    return {
        "embed_dim": 256,
        "vision_cfg": {"image_size": size, "layers": [1, 1, 1, 1], "width": width, "head_width": 64},
        "text_cfg": {
            "context_length": 40,
            "vocab_size": 49408,
            "width": text_width,
            "heads": 4,
            "layers": 3,
            "no_causal_mask": True,
        },
    }


@dataclass(frozen=True)
class Progress:
    """What pre-training yields now and then: pictures seen, of how many, and the losses of the last batch."""

    seen: int
    total: int
    loss: float
    attributes: float


@dataclass(frozen=True)
class Batch:
    """pictures (B, H, W, 3) uint8; captions; positives (B, number of captions) bool; attributes (B, A) or None."""

    pictures: np.ndarray
    captions: list[str]
    positives: np.ndarray
    attributes: np.ndarray | None


def scene_batches(
    total: int,
    pool: int,
    size: int,
    batch: int,
    seed: int,
    progress: Callable[[int], None] | None = None,
    skip: int = 0,
) -> Iterator[Batch]:
    """Batches of generated scenes: `pool` pictures are rendered once and met many times, mirrored half of the
    time, each time with new captions of a new difficulty and the truth of every pair. The first `skip` are left out."""
    scenes = sample_scenes(pool, pretraining_seed(2 * seed))
    pictures = render_parallel(scenes, size, progress=progress)
    mirrored = flip(scenes)
    rng = np.random.default_rng(pretraining_seed(2 * seed + 1))

    def drawn() -> tuple[np.ndarray, bool, float, int]:
        chosen = np.sort(rng.choice(pool, batch, replace=False))
        return chosen, rng.random() < 0.5, float(rng.uniform(0.1, 0.9)), int(rng.integers(2**31))

    for chosen, mirror, difficulty, own in _left(drawn, total, batch, skip):
        here: Scenes = (mirrored if mirror else scenes)[chosen]
        captions, forms = sample_captions(here, per_visual=1, difficulty=difficulty, seed=own)
        shown = pictures[chosen, :, ::-1] if mirror else pictures[chosen]
        yield Batch(shown, captions, holds(here, forms), attribute_targets(here))


def folder_batches(
    dataset: Dataset,
    total: int,
    size: int,
    batch: int,
    seed: int,
    progress: Callable[[int], None] | None = None,
    skip: int = 0,
) -> Iterator[Batch]:
    """Batches of a dataset's pictures, each with one of its captions; equal groups are positives. The first `skip` are left
    out. `progress` hears of pictures that are read, all of which happens before the first batch."""
    pictures = np.empty((len(dataset.visual_ids), size, size, 3), np.uint8)
    for i in range(len(pictures)):
        pictures[i] = np.asarray(dataset.image(i).convert("RGB").resize((size, size)))
        if progress:
            progress(i + 1)
    rng, texts = np.random.default_rng(seed), np.arange(len(dataset.captions))
    batch = min(batch, len(texts))
    parts: list[np.ndarray] = []  # of an epoch, from its end; what fills no batch is left

    def drawn() -> np.ndarray:
        if not parts:
            rng.shuffle(texts)
            count = len(texts) // batch
            parts.extend(np.split(texts[: count * batch].copy(), count)[::-1])
        return parts.pop()

    for chosen in _left(drawn, total, batch, skip):
        visuals = dataset.visual_of_text[chosen]
        groups = dataset.visual_group[visuals]
        captions = [dataset.captions[text] for text in chosen]
        yield Batch(pictures[visuals], captions, groups[:, None] == groups, None)


def _left(draw: Callable[[], Drawn], total: int, batch: int, skip: int) -> Iterator[Drawn]:
    """What is drawn for each batch up to `total` items, but for the first `skip`."""
    return islice((draw() for _ in range(math.ceil(total / batch))), skip, None)


class Pretraining:
    """A model in training with all that decides how it goes on: `seen` pictures in `steps` batches."""

    def __init__(self, config: dict, lr: float, seed: int, device: str = "cpu"):
        torch.manual_seed(seed)
        self.model = CLIP(**config).to(device)
        self.model.visual.to(memory_format=torch.channels_last)
        self.heads: nn.ModuleDict = nn.ModuleDict()
        self.lr, self.device, self.seen, self.steps = lr, device, 0, 0
        self.optimizer: torch.optim.Optimizer | None = None
        self.held: dict[str, Tensor] = {}

    def begin(self, batch: Batch) -> None:
        """Makes what the first batch decides, or takes it from what was restored."""
        if batch.attributes is not None:
            width = self.model.visual.output_dim
            self.heads["attributes"] = nn.Linear(width, batch.attributes.shape[1]).to(self.device)
        self.optimizer = torch.optim.AdamW(_groups(self.model, self.heads), lr=self.lr, betas=(0.9, 0.98))
        if not self.held:
            return
        for part, module in (("model", self.model), ("heads", self.heads)):
            state = {k.removeprefix(f"{part}."): t for k, t in self.held.items() if k.startswith(f"{part}.")}
            module.load_state_dict(state)
        for name, parameter in self._named():
            kept = f"optimizer.{name}."
            self.optimizer.state[parameter] = {
                key.removeprefix(kept): tensor.to(self.device) if tensor.ndim else tensor
                for key, tensor in self.held.items()
                if key.startswith(kept)
            }
        self.held = {}

    def _named(self) -> Iterator[tuple[str, nn.Parameter]]:
        yield from self.model.named_parameters(prefix="model")
        yield from self.heads.named_parameters(prefix="heads")

    def tensors(self) -> dict[str, Tensor]:
        """Everything that is learned, and the optimiser's moments."""
        found = {f"model.{key}": tensor for key, tensor in self.model.state_dict().items()}
        found |= {f"heads.{key}": tensor for key, tensor in self.heads.state_dict().items()}
        for name, parameter in self._named():
            for key, tensor in self.optimizer.state.get(parameter, {}).items():
                found[f"optimizer.{name}.{key}"] = tensor
        return {key: tensor.detach().cpu().clone() for key, tensor in found.items()}

    def restore(self, tensors: dict[str, Tensor], seen: int, steps: int) -> None:
        """Goes on where `tensors` were taken; they are put in place with the next batch."""
        self.held, self.seen, self.steps = tensors, seen, steps


def pretrain(
    batches: Iterator[Batch], total: int, seed: int, state: Pretraining, compiled: bool = False
) -> Iterator[Progress]:
    """Train `state` on `batches` up to in all `total` pictures.

    Yields after every batch. AdamW with warm-up and cosine; the temperature is learnt. `compiled` has torch
    compile the image tower (it needs a C++ compiler): three times as fast on two cores.
    """
    model, device, heads = state.model, state.device, state.heads
    tower = torch.compile(model.visual) if compiled else model.visual
    tokenizer = open_clip.SimpleTokenizer(context_length=model.context_length)
    for batch in batches:
        if state.optimizer is None:
            state.begin(batch)
        optimizer = state.optimizer
        for group in optimizer.param_groups:
            group["lr"] = state.lr * schedule(state.seen / total)
        images = augment(batch.pictures, seed + state.seen).to(device)
        visual = tower(images.to(memory_format=torch.channels_last))
        text = model.encode_text(tokenizer(batch.captions).to(device), normalize=True)
        scores = nn.functional.normalize(visual, dim=1) @ text.T
        pairs = Pairs.of(scores, torch.from_numpy(batch.positives).to(device))
        loss = symmetric(LOSSES["info_nce"].make, pairs, temperature=1 / model.logit_scale.exp())
        attributes = torch.zeros(())
        if batch.attributes is not None:
            targets = torch.from_numpy(batch.attributes).to(device)
            told = heads["attributes"](visual)
            each = nn.functional.binary_cross_entropy_with_logits(told, targets, reduction="none")
            attributes = each.sum(1).mean()
        optimizer.zero_grad(set_to_none=True)
        (loss + 0.1 * attributes.to(device)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        state.seen += len(batch.pictures)
        state.steps += 1
        yield Progress(min(state.seen, total), total, loss.item(), attributes.item())


def schedule(fraction: float) -> float:
    """Share of the peak learning rate after `fraction` of the training: linear warm-up, then cosine to zero."""
    if fraction < FRACTION_WARMUP:
        return (fraction + 1e-3) / FRACTION_WARMUP
    return 0.5 * (1 + math.cos(math.pi * min(1, (fraction - FRACTION_WARMUP) / (1 - FRACTION_WARMUP))))


def augment(pictures: np.ndarray, seed: int) -> Tensor:
    """Normalised pictures (B, 3, H, W), shifted by up to two pixels and a little brighter or darker."""
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255
    padded = nn.functional.pad(images, (2, 2, 2, 2), mode="replicate")
    dy, dx = rng.integers(0, 5, 2)
    images = padded[:, :, dy : dy + images.shape[2], dx : dx + images.shape[3]]
    gain = torch.from_numpy(rng.uniform(0.9, 1.1, (len(images), 1, 1, 1)).astype(np.float32))
    return (images * gain - MEAN) / STD


@torch.inference_mode()
def true_first(model: CLIP, pictures: np.ndarray, captions: list[str], truth: np.ndarray) -> dict[str, float]:
    """Zero-shot: share of queries whose first item really matches, in both directions.

    pictures (V, H, W, 3) uint8; truth (V, T) bool. Queries that match nothing are left out.
    """
    model.eval()
    device = next(model.parameters()).device
    tokenizer = open_clip.SimpleTokenizer(context_length=model.context_length)
    images = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255
    visual = [
        model.encode_image((part.to(device) - MEAN) / STD, normalize=True) for part in images.split(256)
    ]
    text = [
        model.encode_text(tokenizer(captions[i : i + 512]).to(device), normalize=True)
        for i in range(0, len(captions), 512)
    ]
    scores = (torch.cat(visual) @ torch.cat(text).T).cpu().numpy()
    model.train()
    shares = {}
    for direction, s, t in (("v2t", scores, truth), ("t2v", scores.T, truth.T)):
        answerable = t.any(1)
        shares[f"{direction}/true_first"] = float(t[np.arange(len(t)), s.argmax(1)][answerable].mean())
    return shares


def save_encoder(model: CLIP, config: dict, seen_captions: list[str], folder: Path, card: str) -> None:
    """Write `model` as an open_clip folder in float16, each file whole or not at all. Raises CannotSave.

    Rows of the token embedding that no caption of the training used are zeroed: they hold noise, and zeros
    compress in a repository.
    """
    tokenizer = open_clip.SimpleTokenizer(context_length=config["text_cfg"]["context_length"])
    used = torch.unique(tokenizer(sorted(set(seen_captions))))
    state = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    rows = torch.zeros(len(state["token_embedding.weight"]), dtype=torch.bool)
    rows[used] = True
    state["token_embedding.weight"][~rows] = 0
    half = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in state.items()
    }
    size = config["vision_cfg"]["image_size"]
    preprocess = {
        "size": [size, size],
        "mean": [MEAN] * 3,
        "std": [STD] * 3,
        "interpolation": "bicubic",
        "resize_mode": "squash",
    }
    about = json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}, indent=2) + "\n"
    files = {
        WEIGHTS: tensor_bytes(half, metadata={"format": "pt"}),
        CARD: card.encode(),
        CONFIG: about.encode(),
    }
    write_files(folder, files)


def _groups(model: CLIP, heads: nn.Module) -> list[dict]:
    parameters = [*model.parameters(), *heads.parameters()]
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": 0.05},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
