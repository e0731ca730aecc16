"""The processes that torchrun starts for one command line: they share the work out, and all know what all found.

    torchrun --nproc-per-node 4 scripts/train.py …

All run the same program on the same data and stay in step; where one raises within `each` or `first`, all raise the same. The
first one writes and prints. Where nothing has called `together` there is one share, the whole: also in the processes of another
trainer, whose own torch.distributed `xmr.nn` gathers in.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, distributed

MEETING = timedelta(minutes=5)  # in which all have to come
PATIENCE = timedelta(days=7)  # who is gone is noticed at once, and what takes long is no fault
TOLD = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

T = TypeVar("T")
_store: distributed.Store | None = None  # where the processes of `together` met


class ProcessLost(RuntimeError):
    """Another process has ended, so that this one can't go on."""


def asked() -> int:
    """How many processes torchrun said that there are; 1 where it did not start this one. Raises ValueError."""
    told = os.environ.get("WORLD_SIZE") or "1"
    if not told.isdigit() or int(told) < 1:
        raise ValueError(f"WORLD_SIZE={told}: it is a number of processes, as torchrun sets it")
    return int(told)


@contextmanager
def together() -> Iterator[None]:
    """Within it this process shares the work out with the others that torchrun started; but for the first, it prints nothing.

    Raises ValueError where they can't be met, ProcessLost where one ends before all are at the end.
    """
    global _store
    if asked() == 1:
        yield
        return
    _store = _meet()
    try:
        if mine():
            with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
                yield
        else:
            yield
        each(lambda: None)  # what one still writes, all wait for
        distributed.destroy_process_group()
    except BaseException:
        with suppress(Exception):  # the others notice
            distributed.destroy_process_group()
        raise


def _meet() -> distributed.Store:
    missing = [name for name in TOLD if not os.environ.get(name)]
    count = asked()
    start = f"torchrun --nproc-per-node {count}"
    if missing:
        raise ValueError(
            f"WORLD_SIZE={count} tells of {count} processes, and {', '.join(missing)} are not set: {start} … starts "
            "them, and without WORLD_SIZE it is one process"
        )
    own, place = int(os.environ["RANK"]), f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    try:
        store, *_ = next(distributed.rendezvous("env://", own, count, timeout=MEETING))
        store.set(f"here {own}", "")
        store.wait([f"here {one}" for one in range(count)], MEETING)
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        if torch.cuda.is_available():
            torch.cuda.set_device(local_rank() % torch.cuda.device_count())
        distributed.init_process_group(backend, store=store, rank=own, world_size=count, timeout=PATIENCE)
    except (RuntimeError, ValueError, OSError) as error:
        raise ValueError(
            f"process {own} of {count} did not meet the others at {place} within {MEETING.seconds} s "
            f"({_line(error)}): {start} … starts all of them"
        ) from error
    return store


def local_rank() -> int:
    """Which of the processes of this machine this is, from 0."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def processes() -> int:
    """How many processes torch.distributed has, whoever started them; 1 where it does not run."""
    running = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if running else 1


def shares() -> int:
    """How many processes share the work out."""
    return processes() if _store is not None else 1


def mine() -> int:
    """Which of them this is, from 0; the first one writes."""
    return distributed.get_rank() if shares() > 1 else 0


def share_of(count: int) -> slice:
    """Which of so many things this process does: about as many as any other."""
    return slice(mine() * count // shares(), (mine() + 1) * count // shares())


def once(line: str) -> bool:
    """Whether nobody has told this line yet: what ends all of them is told by one."""
    if _store is None:
        return True
    try:
        return _store.add(f"told {hashlib.sha256(line.encode()).hexdigest()}", 1) == 1
    except RuntimeError:  # who kept the store is gone
        return mine() == 0


# ---- in step -------------------------------------------------------------------------------------------------


def each(work: Callable[[], T]) -> list[T]:
    """What `work` gives in every process, in their order; what it raises in one, all raise. Raises ProcessLost."""
    if shares() == 1:
        return [work()]
    found: T | None = None
    fault: Exception | None = None
    try:
        found = work()
    except ProcessLost:
        raise
    except Exception as error:
        fault = error
    code = getattr(work, "__code__", None)
    where = f"{getattr(work, '__qualname__', '')}:{code.co_firstlineno if code else ''}"
    every = _all_of((found, _sendable(fault), where))
    if len({one[-1] for one in every}) > 1:
        raise ProcessLost(f"process {mine()} of {shares()} can't go on: another one does something else")
    for place, (_, theirs, _) in enumerate(every):
        if theirs is not None:
            raise fault if place == mine() and fault is not None else theirs
    return [one for one, *_ in every]


def first(work: Callable[[], T]) -> T:
    """What `work` gives in the first process, which alone does it; what it raises, all raise."""
    return each(lambda: work() if mine() == 0 else None)[0]  # type: ignore[arg-type,return-value]


def led(work: Callable[[Callable[..., list[T]]], None], part: Callable[..., T]) -> None:
    """`work` runs in the first process, with a function that asks all: what `part` of its arguments gives in each. The others
    do their parts until it is done; what it raises, all raise."""

    def parts(given: Any) -> list[T]:
        return each(lambda: part(*given))

    def ask(*given: Any) -> list[T]:
        if shares() > 1:
            _all_of(given)
        return parts(given)

    if shares() == 1:
        work(ask)
        return
    fault: Exception | None = None
    if mine() == 0:
        try:
            work(ask)
        except ProcessLost:
            raise
        except Exception as error:
            fault = error
        _all_of(None)
    else:
        while (given := _all_of(None)[0]) is not None:  # as `ask` sends it
            with suppress(Exception):  # which the first one hears of, and ends with
                parts(given)
    each(lambda: _raise(fault))


def rows_of(parts: Sequence[T], make: Callable[[T], np.ndarray]) -> np.ndarray:
    """The rows that `make` gives of each part, one after another; each process makes those of its share of the parts."""
    found = each(lambda: [make(part) for part in parts[share_of(len(parts))]])
    return np.concatenate([rows for many in found for rows in many])


def _all_of(one: Any) -> list[Any]:
    every: list[Any] = [None] * shares()
    with _noticing():
        distributed.all_gather_object(every, one)
    return every


def _sendable(fault: Exception | None) -> Exception | None:
    """The fault, or one that can be sent in its place and is told alike."""
    try:
        pickle.loads(pickle.dumps(fault))
    except Exception:
        told = isinstance(fault, ValueError | TypeError | OSError)
        return ValueError(str(fault)) if told else RuntimeError(f"{type(fault).__name__}: {fault}")
    return fault


def _raise(fault: Exception | None) -> None:
    if fault is not None:
        raise fault


@contextmanager
def _noticing() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise ProcessLost(
            f"process {distributed.get_rank()} of {processes()} can't go on: another one has ended ({_line(error)})"
        ) from error


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


# ---- tensors -------------------------------------------------------------------------------------------------


@torch.no_grad()
def average_(tensors: Iterable[Tensor]) -> None:
    """Puts the mean of all processes into each of the tensors, the same bits everywhere."""
    if shares() == 1:
        return
    tensors = list(tensors)
    with _noticing():
        for begun in [distributed.all_reduce(tensor, async_op=True) for tensor in tensors]:
            begun.wait()
    for tensor in tensors:
        tensor.div_(shares())


@torch.no_grad()
def level_(tensors: Iterable[Tensor]) -> None:
    """Puts the first process's tensors into those of all."""
    if shares() > 1:
        with _noticing():
            for tensor in tensors:
                distributed.broadcast(tensor, 0)


def gathered(rows: Tensor) -> Tensor:
    """The rows (N, …) of all processes, one after another. N may differ, and of (N, T, W) also T: shorter ones are padded with
    zeros. Gradients are summed over processes. Raises ProcessLost."""
    return _Gather.apply(rows)


# Not decorated by torch.compiler.disable, which imports the compiler: two seconds of each start. A compiled loop leaves its
# graph here by itself, at the first number that is read of a tensor.
class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        sizes = torch.zeros(processes(), rows.ndim, dtype=torch.int64, device=rows.device)
        with _noticing():
            distributed.all_gather(list(sizes), torch.tensor(rows.shape, device=rows.device))
        counts = sizes[:, 0].tolist()
        padded = torch.zeros(sizes.amax(0).tolist(), dtype=rows.dtype, device=rows.device)
        ctx.own = tuple(slice(0, size) for size in rows.shape)
        padded[ctx.own] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        with _noticing():
            distributed.all_gather(parts, padded)
        ctx.start = sum(counts[: distributed.get_rank()])
        found = torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])
        if not rows.is_floating_point():
            ctx.mark_non_differentiable(found)
        return found

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = grad.contiguous().clone()
        with _noticing():
            distributed.all_reduce(total)
        rows, *rest = ctx.own
        return total[(slice(ctx.start, ctx.start + rows.stop), *rest)]
