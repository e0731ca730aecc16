"""What training leaves of the towers, in the files of open_clip."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import open_clip
import torch
from open_clip.hf_model import HFTextEncoder
from open_clip.tokenizer import HFTokenizer
from safetensors.torch import save as tensor_bytes
from torch import Tensor

from xmr.encoders import ENCODERS, SCHEMES, Encoder, weights

WEIGHTS = "open_clip_model.safetensors"


def is_open_clips(encoder: Encoder) -> bool:
    """Whether it is a model of open_clip, whose files `open_clip_files` makes."""
    return isinstance(encoder.model, open_clip.CLIP | open_clip.CustomTextCLIP)


def open_clip_files(
    encoder: Encoder, tensors: Mapping[str, Tensor], learned: Mapping[str, float]
) -> dict[str, bytes]:
    """The files of a folder that open_clip loads (`local-dir:`): the encoder's architecture and preprocessing with these
    weights, what the loss `learned` as its scale and bias, so far as the model has them, and what is Hugging Face's of its text tower."""
    about = {"model_cfg": model_config(encoder), "preprocess_cfg": dict(encoder.model.visual.preprocess_cfg)}
    content = {name: tensor.contiguous() for name, tensor in with_learned(tensors, learned).items()}
    return {
        WEIGHTS: tensor_bytes(content, metadata={"format": "pt"}),
        weights.CONFIG: (json.dumps(about, indent=2) + "\n").encode(),
        **hugging_face_files(encoder),
    }


def hugging_face_files(encoder: Encoder) -> dict[str, bytes]:
    """Of a text tower that is Hugging Face's: its tokenizer, which open_clip looks for beside the weights whatever name the configuration
    tells, and its architecture, which xmr takes from there where that name leads nowhere any more."""
    if not isinstance(encoder.tokenizer, HFTokenizer):
        return {}
    with TemporaryDirectory() as folder:
        encoder.tokenizer.save_pretrained(folder)
        if isinstance(text := getattr(encoder.model, "text", None), HFTextEncoder):
            text.config.save_pretrained(folder)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def with_learned(tensors: Mapping[str, Tensor], learned: Mapping[str, float]) -> dict[str, Tensor]:
    """The weights with the scale and bias that the loss `learned` in the place of the model's own."""
    told = dict(tensors)
    scale = learned.get("scale", 1 / learned["temperature"] if "temperature" in learned else 0.0)
    if scale > 0:
        told["logit_scale"] = torch.full_like(told["logit_scale"], math.log(scale))
    if "bias" in learned and "logit_bias" in told:
        told["logit_bias"] = torch.full_like(told["logit_bias"], learned["bias"])
    return {name: tensor.cpu() for name, tensor in told.items()}


def model_config(encoder: Encoder) -> dict:
    """The architecture of an encoder, as open_clip's configurations tell it."""
    source = ENCODERS[encoder.name]() if encoder.name in ENCODERS else encoder.name
    if source.startswith(SCHEMES):
        config = open_clip.get_model_config(source)
    else:
        config = dict(weights.config_of(weights.parts(source)[0])["model_cfg"])
    if any(type(module).__name__.startswith("QuickGELU") for module in encoder.model.modules()):
        config["quick_gelu"] = True  # some weights bring it, whatever the architecture tells
    if getattr(encoder.model, "logit_bias", None) is not None:
        config.setdefault("init_logit_bias", 0.0)
    return config


def trainer_file(epoch: int, name: str, tensors: Mapping[str, Tensor]) -> bytes:
    """The content of epoch_N.pt as open_clip's trainer writes it, without its optimiser."""
    content = io.BytesIO()
    torch.save({"epoch": epoch, "name": name, "state_dict": dict(tensors)}, content)
    return content.getvalue()
