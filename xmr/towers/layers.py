"""Which weights of the two towers learn, how deep each lies, and low-rank updates in place of whole matrices."""

from __future__ import annotations

import re
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

SIDES = ("image", "text")
OWN = ("logit_scale", "logit_bias")  # of the model's own loss: those of the chosen loss are learned instead
# open_clip's, timm's and Hugging Face's names of numbered blocks. Of convolutions a stage is one, whatever it holds.
BLOCK = re.compile(r"^(.*?(?:resblocks|blocks|stages|layers?)\.?\d+)\.")
# What comes after the last block; all else that is in no block comes before the first.
TOP = re.compile(
    r"(^|\.)(proj|text_projection|head|ln_post|ln_final|attnpool|attn_pool|norm|fc_norm|conv_head|bn2|pooler)(\.|$)"
)


def side_of(name: str) -> str:
    """The tower, "image" or "text", of a parameter of an open_clip model."""
    return SIDES[not name.startswith("visual.")]


def depths(names: Iterable[str]) -> dict[str, int]:
    """How many layers lie between each parameter and the embedding that its tower returns: 0 for projections and the
    last norm, then 1 for the last block, and most for what reads pixels or tokens."""
    found: dict[str, int] = {}
    names = [name for name in names if name not in OWN]
    for side in SIDES:
        own = [name for name in names if side_of(name) == side]
        blocks: dict[str, int] = {}
        for name in own:
            if block := BLOCK.match(name):
                blocks.setdefault(block[1], len(blocks))
        for name in own:
            if block := BLOCK.match(name):
                found[name] = len(blocks) - blocks[block[1]]
            else:
                found[name] = 0 if TOP.search(name) else len(blocks) + 1
    return found


def trained_names(names: Iterable[str], how: str, count: int, lock: str) -> set[str]:
    """Those of the parameters that learn where `how` is "all", or "last": all after the last `count` blocks of each
    tower, and these; of a tower that `lock` names, none."""
    found = depths(names)
    most = max(found.values(), default=0) + 1 if how == "all" else count
    return {name for name, depth in found.items() if depth <= most and side_of(name) != lock}


class LowRank(nn.Module):
    """A matrix and a product of rank `rank` that is added to it, zero at first: LoRA, Hu et al., ICLR 2022,
    https://arxiv.org/abs/2106.09685, with its scale α / r at 1."""

    def __init__(self, weight: Tensor, rank: int):
        super().__init__()
        rows, columns = weight.shape
        self.down = nn.Parameter(torch.randn(rank, columns, device=weight.device) / columns**0.5)
        self.up = nn.Parameter(torch.zeros(rows, rank, device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.up @ self.down


def low_rank(model: nn.Module, rank: int, lock: str) -> list[str]:
    """Gives every matrix of linear layers and of attention in the towers that `lock` does not name an update of that
    rank; returns their names. They are matrices again after `merge`. Raises ValueError where there are none."""
    found = []
    for path, module in list(model.named_modules()):
        if isinstance(module, nn.Linear):
            name = "weight"
        elif isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
            name = "in_proj_weight"
        else:
            continue
        if side_of(f"{path}.") != lock:
            weight = getattr(module, name)
            parametrize.register_parametrization(
                module, name, LowRank(weight, min(rank, *weight.shape)), unsafe=True
            )
            found.append(f"{path}.{name}")
    if not found:
        raise ValueError("lora: the towers that learn have no linear layers")
    return found


def merge(model: nn.Module) -> None:
    """Turns updates of low rank into the matrices that they give."""
    for module in model.modules():
        for name in list(getattr(module, "parametrizations", ())):
            parametrize.remove_parametrizations(module, name, leave_parametrized=True)
