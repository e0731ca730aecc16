"""A model that embeds pictures and texts, with its own preprocessing and tokenizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import Any, Literal

import numpy as np
import open_clip
import torch
from open_clip.hf_model import HFTextEncoder
from PIL import Image
from torchvision.transforms import CenterCrop

from xmr.captions import TextsRead, cut_alike, words_of
from xmr.devices import autocast
from xmr.limits import ENCODED_AT_ONCE
from xmr.turns import Turns

Kind = Literal["pooled", "tokens"]

ROWS = 1024  # texts whose length is looked at together
PATCHES = 9
RATIO = 16  # of a picture's sides
MARKS = {"sot": "(start)", "eot": "(end)"}  # CLIP's tokens before and after a text

# They are heavy: two batches are encoded at a time, whoever asks.
ENCODING = Turns(ENCODED_AT_ONCE.usual)


def in_turn(encode: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """The same, within `ENCODING`."""

    @wraps(encode)
    def waited(*arguments: Any, **options: Any) -> np.ndarray:
        with ENCODING:
            return encode(*arguments, **options)

    return waited


@dataclass(frozen=True)
class Encoder:
    """An open_clip model in evaluation mode, with its own preprocessing and tokenizer.

    `hash` identifies weights and preprocessing, whatever the path or name they came by.
    """

    name: str
    hash: str
    model: torch.nn.Module
    preprocess: Callable[[Image.Image], torch.Tensor]
    tokenizer: Callable[[list[str]], torch.Tensor]

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return next(self.model.parameters()).device

    def encode_images(self, images: Sequence[Image.Image], kind: Kind = "pooled") -> np.ndarray:
        """Raw features of pictures, float32: (B, D) pooled, or (B, T, D) of patches.

        The patches are those of the deepest layer whose grid has at least `PATCHES`: convolutional towers end with so
        few that nothing is left to attend to.
        """
        return self.encode_pixels(torch.stack([self.pixels(image) for image in images]), kind)

    def pixels(self, image: Image.Image) -> torch.Tensor:
        """A picture as the model reads it, (3, H, W)."""
        return self.preprocess(self.bounded(image))

    @in_turn
    @torch.no_grad()
    def encode_pixels(self, batch: torch.Tensor, kind: Kind = "pooled") -> np.ndarray:
        """As `encode_images`, of `pixels` (B, 3, H, W)."""
        with autocast(self.device):
            batch = batch.to(self.device)
            if kind == "pooled":
                return _array(self.model.encode_image(batch))
            found = self.model.forward_intermediates(image=batch, image_indices=None, intermediates_only=True)
        grids = [grid.flatten(2).transpose(1, 2) for grid in found["image_intermediates"]]
        fine = [grid for grid in grids if grid.shape[1] >= PATCHES]
        return _array((fine or grids)[-1])

    @in_turn
    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str], kind: Kind = "pooled") -> np.ndarray:
        """Raw features of captions, float32: (B, D) pooled, or (B, T, D) with zeros in the place of padding."""
        ids = self.tokenizer(list(texts))
        with autocast(self.device):
            if kind == "pooled":
                return _array(self.model.encode_text(ids.to(self.device)))
            tokens = _array(self._tokens(ids.to(self.device)))
        return tokens * self._present(ids).numpy()[:, :, None]

    def reading(self, texts: Sequence[str]) -> TextsRead:
        """How many of the texts are longer than the tokens that the text tower reads, and, of a tower of
        scripts/pretrain.py, words that it never met."""
        limit = self.tokenizer([""]).shape[1]
        # No token is shorter than a letter; those of other alphabets may be bytes.
        long = [text for text in texts if not (text.isascii() and len(text) <= limit - 4)]
        read: list[tuple[str, bytes, bool]] = []
        for start in range(0, len(long), ROWS):
            some = long[start : start + ROWS]
            more = self._present(self.tokenizer(some, limit + 1)).sum(1)
            near = (more >= limit - 1).nonzero()[:, 0].tolist()  # CLIPA takes the end out again
            if full := [some[i] for i in near]:
                ids = self.tokenizer(full)
                longer = (more[near] > self._present(ids).sum(1)).tolist()
                read += zip(full, (row.tobytes() for row in ids.numpy()), longer, strict=True)
        words = [] if self._met is None else [word for text in texts for word in words_of(text)]
        new = {word for word in set(words) if not self._met[self.tokenizer.encode(word)].all()}
        unknown = sum(word in new for word in words)
        return TextsRead(len(texts), *cut_alike(read), limit, "tokens", len(words), unknown)

    def pieces(self, text: str) -> list[str]:
        """The tokens of a text as they are read, with those that mark its start and end, in words."""
        ids = self.tokenizer([text])
        ids = ids[0][self._present(ids)[0]].tolist()
        inner = getattr(self.tokenizer, "tokenizer", None)  # of Hugging Face's
        if inner is not None and hasattr(inner, "convert_ids_to_tokens"):
            return [str(token) for token in inner.convert_ids_to_tokens(ids)]
        marks = {getattr(self.tokenizer, f"{name}_token_id", None): word for name, word in MARKS.items()}
        if not hasattr(self.tokenizer, "decode"):
            return [f"token {at}" for at, _ in enumerate(ids, 1)]
        return [marks.get(one) or self.tokenizer.decode([one]).strip() for one in ids]

    def scale_and_bias(self) -> tuple[float, float | None]:
        """What the model multiplies its cosines by (1 / temperature) and adds to them, None for nothing. Raises ValueError
        where no number can do the former."""
        bias, scale = getattr(self.model, "logit_bias", None), float(self.model.logit_scale.exp())
        if not 0 < scale < math.inf:
            raise ValueError(
                f"{self.name} multiplies its cosines by {scale}, so there is nothing to tell apart"
            )
        return scale, None if bias is None else float(bias)

    def _tokens(self, ids: torch.Tensor) -> torch.Tensor:
        """The text tower's last layer, (B, T, D)."""
        tower = getattr(self.model, "text", None)
        if isinstance(tower, HFTextEncoder):  # open_clip gives their pooled output only
            attended = (ids != tower.config.pad_token_id).long()
            return tower.transformer(input_ids=ids, attention_mask=attended).last_hidden_state
        found = self.model.forward_intermediates(text=ids, text_indices=1, intermediates_only=True)
        return found["text_intermediates"][0]

    def _present(self, ids: torch.Tensor) -> torch.Tensor:
        """Which of the token ids (B, T) are none of padding, (B, T) bool."""
        end = getattr(self.tokenizer, "eot_token_id", None)
        if end is not None:  # CLIP's, whose padding has the id of "!"
            ends = ids == end
            return (ends.cumsum(1) - ends.long()) == 0
        # Others pad with a token of its own, or with their end (SigLIP): what fills an empty text.
        return ids != self._padding

    @cached_property
    def _met(self) -> torch.Tensor | None:
        """Which of CLIP's tokens the text tower learned; pretraining leaves zeros for the others. None where it is all."""
        table = getattr(self.model, "token_embedding", None)
        if table is None or not isinstance(self.tokenizer, open_clip.SimpleTokenizer):
            return None
        met = (table.weight != 0).any(1)
        return None if met.all() else met

    @cached_property
    def _padding(self) -> int:
        return int(self.tokenizer([""])[0].mode().values)

    def bounded(self, image: Image.Image) -> Image.Image:
        """The picture, its longer side at most `RATIO` times the shorter: 200,000 × 1 pixels, resized by the shorter side
        to 224, would be 30 GB. Where the middle is cut out after that, the middle is all that is lost by it."""
        width, height = image.size
        most = RATIO * min(width, height)
        if max(width, height) <= most:
            return image
        if not any(isinstance(step, CenterCrop) for step in getattr(self.preprocess, "transforms", ())):
            return image.resize((min(width, most), min(height, most)))
        left, top = (max(side - most, 0) // 2 for side in image.size)
        return image.crop((left, top, width - left, height - top))


def _array(values: torch.Tensor) -> np.ndarray:
    return values.float().cpu().numpy()
