"""CLIP and SigLIP as transformers and sentence-transformers save them, read by transformers as they are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import CenterCrop

from xmr.disk import Refused, parse_json, read
from xmr.words import program

KINDS = ("clip", "siglip")
WORDS = (
    "tokenizer.json",
    "vocab.json",
    "spiece.model",
    "tokenizer.model",
    "vocab.txt",
)  # one of which a tokenizer has
MAX_JSON = 1 << 20  # bytes
BY_EMBEDDINGS = f"any other model is compared by what it makes of the data: {program('add')} --embeddings NAME=IMG.npy,TXT.npy"


class Towers(nn.Module):
    """A model of transformers that is asked as one of open_clip."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        self.logit_bias = getattr(model, "logit_bias", None)

    @property
    def logit_scale(self) -> Tensor:
        return self.model.logit_scale

    def encode_image(self, batch: Tensor) -> Tensor:
        return self._image(batch).pooler_output

    def encode_text(self, ids: Tensor) -> Tensor:
        return self._text(ids).pooler_output

    def forward_intermediates(
        self, image: Tensor | None = None, text: Tensor | None = None, **_: Any
    ) -> dict[str, list[Tensor]]:
        """The last layer: of patches (B, D, T, 1), of tokens (B, T, D)."""
        if text is not None:
            return {"text_intermediates": [self._text(text).last_hidden_state]}
        tokens = self._image(image).last_hidden_state
        first = 1 if self.model.config.model_type == "clip" else 0  # CLIP's own token for the whole picture
        return {"image_intermediates": [tokens[:, first:].transpose(1, 2)[..., None]]}

    def _image(self, batch: Tensor) -> Any:
        return self.model.get_image_features(pixel_values=batch)

    def _text(self, ids: Tensor) -> Any:
        return self.model.get_text_features(input_ids=ids)  # all of it: SigLIP learned with its padding


@dataclass(frozen=True)
class Preprocess:
    """A picture to the tensor that the model reads, by transformers' own processor. What is told of it goes into the
    encoder's hash: nothing that changes with a version."""

    processor: Any

    def __call__(self, image: Image.Image) -> Tensor:
        return self.processor(images=image.convert("RGB"), return_tensors="pt")["pixel_values"][0]

    def __repr__(self) -> str:
        told = self.processor.to_dict()
        names = ("size", "crop_size", "image_mean", "image_std", "resample", "rescale_factor")
        facts = {name: told.get(name) for name in (*names, "do_resize", "do_center_crop", "do_normalize")}
        return f"transformers {json.dumps(facts, sort_keys=True, default=str)}"

    @property
    def transforms(self) -> tuple[Any, ...]:
        """Whether the middle is all that is kept, as torchvision's transforms tell it."""
        return (CenterCrop(1),) if getattr(self.processor, "do_center_crop", False) else ()


@dataclass(frozen=True)
class Tokenizer:
    """Texts to ids (B, L), padded and cut off, as open_clip's tokenizers."""

    tokenizer: Any
    context_length: int

    def __call__(self, texts: list[str], context_length: int | None = None) -> Tensor:
        length = context_length or self.context_length
        more = {"padding": "max_length", "truncation": True, "max_length": length}
        return self.tokenizer(list(texts), return_tensors="pt", **more)["input_ids"]


@dataclass(frozen=True)
class ClipTokenizer(Tokenizer):
    """CLIP's, whose text ends at its first end."""

    @property
    def eot_token_id(self) -> int:
        return self.tokenizer.eos_token_id


def model_folder(folder: Path) -> Path:
    """The folder, in it or itself, that holds a CLIP or SigLIP of transformers. Raises ValueError where there is none, with
    what can be done."""
    inner = folder
    if (folder / "modules.json").is_file():
        modules = _json(folder / "modules.json")
        kinds = [str(one.get("type")).rpartition(".")[2] for one in modules if isinstance(one, dict)]
        if not kinds or kinds[1:] != ["Normalize"] * (len(kinds) - 1):
            raise ValueError(
                f"{folder} is a model of sentence-transformers made of {', '.join(kinds) or 'nothing'}, and only its CLIP is read; "
                + BY_EMBEDDINGS
            )
        inner = (folder / str(modules[0].get("path", ""))).resolve()
        if not inner.is_relative_to(folder.resolve()):
            raise ValueError(f"{folder}: modules.json names a folder that is not in it")
    if not (inner / "config.json").is_file():
        raise ValueError(
            f"{folder} has no open_clip_config.json and no config.json of transformers: {BY_EMBEDDINGS}"
        )
    told = _json(inner / "config.json")
    kind = told.get("model_type") if isinstance(told, dict) else None
    if kind not in KINDS:
        raise ValueError(
            f"{folder} is a model of transformers of the kind {kind!r:.40}, and only {' and '.join(KINDS)} are read; {BY_EMBEDDINGS}"
        )
    return inner


def of_folder(folder: Path) -> tuple[nn.Module, Preprocess, Tokenizer]:
    """The model, preprocessing and tokenizer in a folder that `model_folder` names; nothing of it is run. Raises ValueError."""
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    if not any((folder / name).is_file() for name in WORDS):  # transformers would make one that knows no word
        raise ValueError(f"{folder} has no tokenizer: save the model's processor into it")
    here = {"local_files_only": True, "trust_remote_code": False}
    try:
        model, about = AutoModel.from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True, weights_only=True, **here
        )
        if lacking := sorted(about["missing_keys"]):
            more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
            raise ValueError(f"its weights lack {lacking[0]}{more}")
        preprocess = Preprocess(AutoImageProcessor.from_pretrained(folder, **here))
        kind = ClipTokenizer if model.config.model_type == "clip" else Tokenizer
        length = model.config.text_config.max_position_embeddings
        tokenizer = kind(AutoTokenizer.from_pretrained(folder, **here), length)
        found = Towers(model.eval()), preprocess, tokenizer
        _try(*found)
    except Exception as error:  # whatever a stranger's configuration does
        said = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ValueError(f"{folder}: {said}") from error
    return found


@torch.inference_mode()
def _try(towers: Towers, preprocess: Preprocess, tokenizer: Tokenizer) -> None:
    """Asks for one picture and one text, so that parts which don't belong together are told before the work."""
    towers.encode_image(preprocess(Image.new("RGB", (64, 48)))[None])
    largest, known = len(tokenizer.tokenizer), towers.model.config.text_config.vocab_size
    if largest > known:
        raise ValueError(f"its tokenizer has {largest:,} words, its text tower knows {known:,}")
    towers.encode_text(tokenizer(["a"]))


def _json(path: Path) -> Any:
    try:
        return parse_json(read(path, MAX_JSON), path.name)
    except Refused as error:
        raise ValueError(f"{path.parent}: {error}") from error
