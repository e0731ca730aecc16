"""The two towers as a matcher, and what it reads: pictures as they are, and tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.modules.batchnorm import _BatchNorm

from xmr.core import TrainConfig, tune_of
from xmr.data import Dataset
from xmr.devices import cores, device
from xmr.disk import write_files
from xmr.embedding import Inputs
from xmr.encoders import Encoder
from xmr.encoders.transformers_folder import Towers as OfTransformers
from xmr.matchers.base import Cosine
from xmr.towers.layers import depths, low_rank, merge, side_of, trained_names
from xmr.towers.saving import open_clip_files, trainer_file, with_learned

PART = 64  # items that go through a tower at once where no gradient is asked


class Towers(Cosine, nn.Module):
    """The model of an encoder of open_clip in training. `visual` takes pixels (B, 3, H, W) or clips (B, T, 3, H, W), whose frames' features
    are averaged, `text` token ids (B, L); both return unit embeddings (B, E), in single precision.

    `before` are the weights that it came with, by open_clip's names. Statistics of batch norm stay what they are unless
    `config.train_batch_norm`: batches differ from what they were made of, and micro-batches would count twice.
    Under bf16 only the steps of training are computed in half precision: what is measured is what the saved model does.
    """

    inputs = "pooled"

    def __init__(self, encoder: Encoder, config: TrainConfig):
        super().__init__()
        self.encoder, self.config = encoder, config
        self.before: dict[str, Tensor] = dict(encoder.model.state_dict())
        with torch.inference_mode():
            self.embed_dim = encoder.model.encode_text(encoder.tokenizer([""]).to(encoder.device)).shape[-1]
        self.model = deepcopy(encoder.model)
        how, count = tune_of(config.tune)
        self.model.requires_grad_(False)
        names = [name for name, _ in self.model.named_parameters()]
        if how == "lora":
            low_rank(self.model, count, config.lock)
        else:
            chosen = trained_names(names, how, count, config.lock)
            for name, parameter in self.model.named_parameters():
                parameter.requires_grad_(name in chosen)
        if config.grad_checkpointing:
            self.model.set_grad_checkpointing(True)
        self.train(False)

    def train(self, mode: bool = True) -> Towers:
        super().train(mode)
        for name, module in self.model.named_modules():
            still = isinstance(module, _BatchNorm) and not self.config.train_batch_norm
            if still or (self.config.lock and name and side_of(f"{name}.") == self.config.lock):
                module.training = False
        return self

    def visual(self, features: Tensor) -> Tensor:
        clips = features.shape[:2] if features.ndim == 5 else None
        found = self._embedded(self.model.encode_image, features.flatten(0, 1) if clips else features)
        return normalize(found.view(*clips, -1).mean(1) if clips else found, dim=-1)

    def text(self, batch: Tensor) -> Tensor:
        return normalize(self._embedded(self.model.encode_text, batch), dim=-1)

    def _embedded(self, encode: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
        half = self.training and self.config.precision == "bf16"
        parts = (batch,) if torch.is_grad_enabled() else batch.split(PART)
        with torch.autocast(batch.device.type, torch.bfloat16, enabled=half):
            return torch.cat([encode(part) for part in parts]).float()

    def rates(self) -> dict[str, float]:
        """What each parameter that learns multiplies the learning rate of the towers by: `layer_decay` for each layer that
        lies between it and the embedding."""
        names = {name: _plain(name) for name, _ in self.model.named_parameters()}
        found = depths(names.values())
        return {
            f"model.{name}": self.config.layer_decay ** found[plain]
            for name, plain in names.items()
            if plain in found
        }

    @torch.no_grad()
    def weights(self) -> dict[str, Tensor]:
        """The weights as they are now, by open_clip's names, updates of low rank within the matrices they belong to."""
        found = {}
        for name, tensor in self.before.items():
            path, _, last = name.rpartition(".")
            found[name] = getattr(self.model.get_submodule(path), last).detach().clone().to(tensor.dtype)
        return found

    def take(self, weights: Mapping[str, Tensor]) -> None:
        """Puts these weights, by open_clip's names, in place of all; there are no updates of low rank any more."""
        merge(self.model)
        self.model.load_state_dict(weights)

    def between(self, after: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
        """The weights `share` of the way from those of before to `after`: WiSE-FT, Wortsman et al., CVPR 2022,
        https://arxiv.org/abs/2109.01903. What is no fraction (counts of batches) is that of after."""
        return {
            name: torch.lerp(tensor, after[name], share) if tensor.is_floating_point() else after[name]
            for name, tensor in self.before.items()
        }

    def files(self, learned: Mapping[str, float]) -> dict[str, bytes]:
        """As `open_clip_files`, of the weights as they are now."""
        return open_clip_files(self.encoder, self.weights(), learned)

    def write_epoch(self, folder: Path, epoch: int, learned: Mapping[str, float]) -> None:
        """Writes epoch_N.pt of the weights as they are now. Raises CannotSave."""
        content = trainer_file(epoch, folder.name, with_learned(self.weights(), learned))
        write_files(folder, {f"epoch_{epoch}.pt": content})


def _plain(name: str) -> str:
    """open_clip's name of a parameter: that of the matrix for what its update is made of."""
    path, updates, rest = name.partition("parametrizations.")
    return f"{path}{rest.split('.')[0]}" if updates else name


@dataclass(frozen=True)
class Pictures(Inputs):
    """What towers read of a split: `visual` are its pictures or clips, decoded when asked for, `text` token ids (N_t, L).

    `change` makes pixels of one picture; where it is `drawn` at random, one after the other in the batch's order.
    """

    change: Callable[[Any], Tensor]
    drawn: bool = False
    rows: ClassVar[int] = PART

    def visual_batch(self, index: np.ndarray) -> Tensor:
        first = self.visual[int(index[0])]  # here: it may render all, and Ctrl-C can't reach a thread
        with ThreadPoolExecutor(cores()) as pool:  # decoding releases the GIL
            items = [first, *pool.map(self.visual.__getitem__, map(int, index[1:]))]
            each = map(self._pixels, items) if self.drawn else pool.map(self._pixels, items)
            return torch.stack(list(each)).to(device())

    def visual_rows(self, index: np.ndarray) -> Callable[[slice], Tensor]:
        pixels = self.visual_batch(index)  # once: embedding by micro-batches asks twice for each
        return lambda rows: pixels[rows]

    def text_batch(self, index: np.ndarray) -> Tensor:
        return torch.from_numpy(self.text[index].astype(np.int64)).to(device())

    def distinct_texts(self) -> tuple[np.ndarray, np.ndarray]:
        _, first, known = np.unique(self.text, axis=0, return_index=True, return_inverse=True)
        return first, known.reshape(-1)

    def _pixels(self, item: Any) -> Tensor:
        if isinstance(item, list):
            return torch.stack([self.change(frame) for frame in item])
        return self.change(item)


def make_towers(
    config: TrainConfig, encoder: Encoder, data: Mapping[str, Dataset]
) -> tuple[Towers, dict[str, Inputs], Inputs | None]:
    """The towers of an encoder with all that `config` says of them, what they read of each split, and the training split's hard
    captions, if it has some. Raises ValueError where it is none of open_clip's, or the data has no pictures with captions."""
    if isinstance(encoder.model, OfTransformers):
        raise ValueError(f"{encoder.name} is a model of transformers: --tune trains those of open_clip")
    for split in data.values():
        if split.visuals is None or split.gallery_visuals is not None:
            raise ValueError(f"{split.name} has no pictures with captions, which --tune trains the towers on")
    changes = dict.fromkeys(data, (encoder.pixels, False))
    if config.augment:
        varied = image_transform_v2(PreprocessCfg(**encoder.model.visual.preprocess_cfg), is_train=True)
        changes["train"] = (lambda picture: varied(encoder.bounded(picture)), True)

    def ids(captions: list[str]) -> np.ndarray:
        return encoder.tokenizer(captions).numpy().astype(np.int32)

    inputs: dict[str, Inputs] = {
        split: Pictures(part.visuals, ids(part.captions), *changes[split])
        for split, part in data.items()
    }  # fmt: skip
    train = data["train"]
    hard = Pictures([], ids(train.hard_captions), encoder.pixels) if train.hard_captions else None
    return Towers(encoder, config), inputs, hard
