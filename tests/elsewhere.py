"""A device that is not the processor, on machines that have no other: its tensors hold values, and mix with no others.

    with elsewhere(): …          "meta" is a device like one of CUDA: arrays and other tensors have to be moved to it, and back

What a program forgets to move raises here as it would there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.optim import optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from xmr import devices

AWAY = torch.device("meta")
MOVES = (
    torch.ops.aten._to_copy.default,
    torch.ops.aten.copy_.default,
    torch.ops.aten._local_scalar_dense.default,
)


class Away(torch.Tensor):
    """A tensor there; `held` is its values here."""

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> Away:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            held.stride(),
            held.storage_offset(),
            dtype=held.dtype,
            device=AWAY,
            requires_grad=held.requires_grad,
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(func, args, kwargs or {})

    def new_tensor(self, data: Any, **more: Any) -> torch.Tensor:
        return torch.tensor(data, **{"dtype": self.dtype, **more}).to(AWAY)

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError("can't convert a tensor that lies elsewhere to numpy: copy it to memory first")


def dispatch(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    flat, shape = tree_flatten((args, kwargs))
    away = [one for one in flat if isinstance(one, Away)]
    here = [one for one in flat if type(one) in (torch.Tensor, torch.nn.Parameter)]
    asked = kwargs.get("device")
    if away and func not in MOVES and any(one.ndim for one in here):
        raise RuntimeError(f"Expected all tensors to be on the same device: {func}")
    args, kwargs = tree_unflatten([one.held if isinstance(one, Away) else one for one in flat], shape)
    there = bool(away)
    if asked is not None:
        there, kwargs["device"] = torch.device(asked).type == AWAY.type, torch.device("cpu")
    found = func(*args, **kwargs)
    if func.overloadpacket.__name__.endswith("_"):  # in place
        return flat[0] if func._schema.returns else None
    wrap = there and func is not MOVES[2]
    return tree_map(lambda one: Away(one) if wrap and isinstance(one, torch.Tensor) else one, found)


class Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(func, args, kwargs or {})


@contextmanager
def elsewhere() -> Iterator[None]:
    """Lets this process compute there."""
    with pytest.MonkeyPatch.context() as patch, Mode():
        patch.setattr(devices, "_device", AWAY)
        for name in ("tensor", "as_tensor"):  # which make what is there without a word
            patch.setattr(torch, name, moved(getattr(torch, name)))
        fused = [*optimizer._get_fused_kernels_supported_devices(), AWAY.type]
        patch.setattr(optimizer, "_get_fused_kernels_supported_devices", lambda: fused)
        yield


def moved(make: Any) -> Any:
    def made(*args: Any, device: Any = None, **more: Any) -> torch.Tensor:
        found = make(*args, **more)
        return found if device is None else found.to(device)

    return made
