"""The device that this process computes on, encoders and heads alike. Arrays lie in memory: whoever computes moves them.

Nothing needs an accelerator. On one of CUDA encoders compute in bfloat16 (its features are kept apart from those of single
precision); losses and scores are computed in single precision everywhere, and ranks are counted on the processor.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext

import torch

from xmr.processes import asked, local_rank
from xmr.zero_gpu import is_zero_gpu

CHOICES = "auto|cpu|cuda[:N]|mps"
_device = torch.device("cpu")


def use_device(name: str) -> torch.device:
    """Lets this process compute there; "auto" takes the accelerator where there is one, of several processes each its own. Raises
    ValueError where there is no such device, naming those that there are."""
    global _device
    found = available()
    if name == "auto":
        # A GPU that is lent is there within a call only.
        name = "cpu" if is_zero_gpu() else "cuda" if "cuda" in found else found[-1]
    if asked() > 1 and name.startswith("cuda:"):
        raise ValueError(f"--device {name}: {asked()} processes take an accelerator each: --device cuda")
    if asked() > 1 and name == "cuda":
        name = f"cuda:{local_rank()}"
    if name not in found:
        raise ValueError(f"--device {name}: there is none here; there are auto, {', '.join(found)}")
    _device = torch.device(name)
    return _device


def available() -> list[str]:
    """The names of the devices of this machine, the processor first."""
    cuda = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return [
        "cpu",
        *(["cuda", *cuda] if cuda else []),
        *(["mps"] if torch.backends.mps.is_available() else []),
    ]


def device() -> torch.device:
    """Where this process computes: the processor, until `use_device`."""
    return _device


def in_half(where: torch.device) -> bool:
    """Whether encoders compute in bfloat16 there; not where a GPU is lent, so that the processor goes on with what it made."""
    return where.type == "cuda" and not is_zero_gpu() and torch.cuda.is_bf16_supported()


def autocast(where: torch.device) -> AbstractContextManager:
    """Within it encoders compute as `in_half` says."""
    return torch.autocast(where.type, torch.bfloat16) if in_half(where) else nullcontext()


def cores() -> int:
    """How many threads can decode pictures at once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
