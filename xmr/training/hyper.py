"""Hyper-parameters of a loss that are learned along with the matcher."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from xmr.checkpoints.head import learnable
from xmr.devices import device
from xmr.registry import Entry


class LossParameters(nn.Module):
    """The hyper-parameters of a loss: numbers, and `nn.Parameter`s where the range says that they are learned."""

    def __init__(self, loss: Entry, values: dict[str, Any]):
        super().__init__()
        self.loss, self.given = loss, values
        self.raw = nn.ParameterDict(
            {
                name: nn.Parameter(torch.tensor(float(self._inner(name, values[name])), device=device()))
                for name in learnable(loss)
            }
        )

    def values(self) -> dict[str, Any]:
        """All hyper-parameters; the learned ones as tensors with gradients."""
        return self.given | {name: raw.exp() if self._is_log(name) else raw for name, raw in self.raw.items()}

    def learned(self) -> dict[str, float]:
        """The learned ones as numbers within their ranges."""
        values = {}
        for name, value in self.values().items():
            if name in self.raw:
                bounds = self.loss.param(name).range
                values[name] = min(max(value.item(), bounds.low), bounds.high)
        return values

    @torch.no_grad()
    def clamp_(self) -> None:
        """Puts what an optimiser step moved outside its range back on the border."""
        for name, raw in self.raw.items():
            bounds = self.loss.param(name).range
            raw.clamp_(self._inner(name, bounds.low), self._inner(name, bounds.high))

    def _is_log(self, name: str) -> bool:
        return self.loss.param(name).range.learn == "log"

    def _inner(self, name: str, value: float) -> float:
        return math.log(value) if self._is_log(name) else value
