"""Time and kept memory of losses, forward and backward, ours by blocks of rows beside peers, in one run.

    python benchmarks/losses.py                    B = 128 … 4,096, D = 512, one thread: half an hour
    python benchmarks/losses.py --sizes 128 1024   five minutes
    python benchmarks/losses.py --threads 2
    python benchmarks/losses.py --untrained        pairs unrelated, as before training: hardly any weight is zero

All ways of a loss take turns on the same batch, and the table gives the medians of the times and of the quotients, so
that a busy machine slows all. With one thread the time is the processor's, which others' work touches little. Each takes visual and text embeddings that require gradients, asks both directions and
runs the backward pass. MB is what autograd keeps between the two passes, each storage once, embeddings included where
kept. A peer is left out at a size where, judged by the sizes before, it would take over a minute or keep over 4 GB
(its peak is about twice that).
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.metrics import machine
from xmr.losses import loss_value
from xmr.losses.chunked import chunked_loss

DIMENSION, INTRINSIC = 512, 32  # learned embeddings spread over far fewer dimensions than they have
TURNS, SECONDS = 5, 60.0
KEPT_MB = 4096.0
PLAIN = 1024  # up to which the plain form takes turns; beyond, only what it keeps is of interest

Ask = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Case:
    """One loss here and a peer's; `same` says how the peer's value of B pairs follows from ours, None that it doesn't."""

    ours: str
    hyper: dict[str, Any]
    package: str
    peer: Callable[[], Ask]
    same: Callable[[float, int], float] | None = lambda value, _: value
    note: str = ""


def batch(size: int, untrained: bool) -> tuple[Tensor, Tensor]:
    """Unit embeddings (B, D) of pairs with a cosine of about 0.7, or none; negatives have a deviation of 0.18."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(INTRINSIC, DIMENSION, generator=generator)
    shared, one, other = (torch.randn(size, INTRINSIC, generator=generator) for _ in range(3))
    sides = (one, other) if untrained else (shared + 0.65 * one, shared + 0.65 * other)
    visual, text = (normalize(side @ basis, dim=1).requires_grad_() for side in sides)
    return visual, text


def metric_learning(loss: str, miner: str = "", **hyper: Any) -> Callable[[], Ask]:
    """Both directions of a loss of pytorch-metric-learning, with cosine similarities and the mean as its reduction."""

    def make() -> Ask:
        from pytorch_metric_learning import distances, losses, miners, reducers

        mean = {} if loss in {"NTXentLoss", "SupConLoss"} else {"reducer": reducers.MeanReducer()}
        distance = distances.LpDistance() if loss == "ContrastiveLoss" else distances.CosineSimilarity()
        own = {key: value for key, value in hyper.items() if not key.startswith("mine_")}
        asked = getattr(losses, loss)(distance=distance, **mean, **own)
        mining = {key.removeprefix("mine_"): value for key, value in hyper.items() if key.startswith("mine_")}
        mined = getattr(miners, miner)(distance=distance, **mining) if miner else None

        def ask(visual: Tensor, text: Tensor) -> Tensor:
            labels = torch.arange(len(visual))
            there = (
                labels.clone()
            )  # the same tensor twice means "leave each item's own pair out": a loss of zero
            total = visual.new_zeros(())
            for one, other in ((visual, text), (text, visual)):
                indices = mined(one, labels, other, there) if mined else None
                total = total + asked(one, labels, indices, other, there)
            return total / 2

        return ask

    return make


def clip_loss() -> Ask:
    from open_clip.loss import ClipLoss

    loss = ClipLoss()
    return lambda visual, text: loss(visual, text, 1 / 0.07)


def siglip_loss() -> Ask:
    from open_clip.loss import SigLipLoss

    loss = SigLipLoss()
    return lambda visual, text: loss(visual, text, 10.0, -10.0)


PML = "pytorch-metric-learning"
TRIPLET = {"margin": 0.2}
CASES = {
    "hardest triplet": Case(
        "max_of_hinges", TRIPLET, PML, metric_learning("TripletMarginLoss", "BatchHardMiner", **TRIPLET)
    ),
    "soft margin, hardest": Case(
        "soft_margin",
        {"scale": 1.0},
        PML,
        metric_learning("TripletMarginLoss", "BatchHardMiner", margin=0.0, smooth_loss=True),
    ),
    "all triplets": Case(
        "sum_of_hinges",
        TRIPLET,
        PML,
        metric_learning("TripletMarginLoss", **TRIPLET),
        lambda value, size: value / (size - 1),
    ),
    "semi-hard": Case(
        "semi_hard",
        TRIPLET,
        PML,
        metric_learning(
            "TripletMarginLoss",
            "TripletMarginMiner",
            mine_margin=0.2,
            mine_type_of_triplets="semihard",
            **TRIPLET,
        ),
        None,
        "theirs takes all semi-hard negatives, ours the hardest of them",
    ),
    "contrastive": Case(
        "contrastive",
        {"margin": 1.0},
        PML,
        metric_learning("ContrastiveLoss", neg_margin=1.0),
        None,
        "theirs does not square",
    ),
    "NT-Xent": Case("info_nce", {"temperature": 0.07}, PML, metric_learning("NTXentLoss", temperature=0.07)),
    "SupCon": Case(
        "info_nce",
        {"temperature": 0.07},
        PML,
        metric_learning("SupConLoss", temperature=0.07),
        note="NT-Xent with one positive",
    ),
    "multi-similarity": Case(
        "multi_similarity",
        {},
        PML,
        metric_learning(
            "MultiSimilarityLoss", "MultiSimilarityMiner", alpha=2, beta=40, base=0.5, mine_epsilon=0.1
        ),
    ),
    "circle": Case("circle", {}, PML, metric_learning("CircleLoss", m=0.25, gamma=256)),
    "InfoNCE": Case("info_nce", {"temperature": 0.07}, "open_clip", clip_loss),
    "SigLIP": Case("siglip", {}, "open_clip", siglip_loss),
}


def timed(ask: Ask, visual: Tensor, text: Tensor) -> float:
    """Seconds of value and gradients."""
    visual.grad = text.grad = None
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    ask(visual, text).backward()
    return clock() - start


class Held:
    """A tensor that autograd keeps, for as long as it does."""

    def __init__(self, tensor: Tensor):
        self.tensor = tensor.detach()  # with its graph, a result would keep itself alive
        self.alive.add(self)

    alive: ClassVar[weakref.WeakSet[Held]] = weakref.WeakSet()


def kept(ask: Ask, visual: Tensor, text: Tensor) -> tuple[float, float]:
    """The value, and the megabytes that autograd keeps for the backward pass."""
    with torch.autograd.graph.saved_tensors_hooks(Held, lambda held: held.tensor):
        value = ask(visual, text)
    storages = {
        held.tensor.untyped_storage().data_ptr(): held.tensor.untyped_storage() for held in Held.alive
    }
    return value.item(), sum(storage.nbytes() for storage in storages.values()) / 1e6


@dataclass
class Found:
    """What was measured of one case, by batch size."""

    seconds: dict[tuple[str, int], float] = field(default_factory=dict)
    kept: dict[tuple[str, int], float] = field(default_factory=dict)
    times: dict[tuple[str, int], float] = field(default_factory=dict)  # over ours, in the same turn
    gap: float = 0.0

    def foreseen(self, way: str, size: int) -> tuple[float, float]:
        """Seconds and megabytes at a larger size, growing on as they did between the last two."""
        done = sorted(b for w, b in self.seconds if w == way)
        if not done:
            return 0.0, 0.0
        expected = []
        for measured in (self.seconds, self.kept):
            last = measured[way, done[-1]]
            before = measured[way, done[-2]] if len(done) > 1 else last * (done[-1] / size) ** 2
            step = done[-1] / done[-2] if len(done) > 1 else size / done[-1]
            # Below a thousand rows, time is mostly overhead, so growth of less than a square is not believed.
            growth = max(last / max(before, 1e-9), step**2) ** (1 / torch.tensor(step).log().item())
            expected.append(last * growth ** torch.tensor(size / done[-1]).log().item())
        return expected[0], expected[1]


def measure(case: Case, sizes: list[int], untrained: bool) -> Found:
    found = Found()
    ways: dict[str, Ask] = {
        "ours": lambda v, t: chunked_loss(case.ours, v, t, **case.hyper),
        "plain": lambda v, t: loss_value(case.ours, v @ t.T, **case.hyper),
        "peer": case.peer(),
    }
    for size in sizes:
        visual, text = batch(size, untrained)
        asked = {}
        for way, ask in ways.items():
            seconds, megabytes = found.foreseen(way, size)
            if seconds < SECONDS and megabytes < KEPT_MB:
                asked[way] = ask
        values = {}
        for way, ask in asked.items():
            values[way], found.kept[way, size] = kept(ask, visual, text)  # also a first, cold run
        if "peer" in asked and case.same is not None:
            expected = case.same(values["ours"], size)
            found.gap = max(found.gap, abs(values["peer"] - expected) / max(abs(expected), 1e-12))
        turns: list[dict[str, float]] = []
        racing = [way for way in asked if way != "plain" or size <= PLAIN]
        while len(turns) < TURNS and sum(sum(turn.values()) for turn in turns) < SECONDS / 6:
            turns.append({way: timed(asked[way], visual, text) for way in racing})
        for way in racing:
            found.seconds[way, size] = statistics.median(turn[way] for turn in turns)
            found.times[way, size] = statistics.median(turn[way] / turn["ours"] for turn in turns)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 512, 1024, 4096])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--untrained", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    regime = "unrelated pairs" if args.untrained else "pairs with a cosine of about 0.7"
    print(f"D = {DIMENSION}, {regime}; {machine()}.\n")
    print(
        "ms of ours / of the plain form here / of the peer, and how many times ours the peer takes; MB at the largest.\n"
    )
    heads = "".join(f" B = {size:,} | × |" for size in args.sizes)
    print(f"| loss (here) | peer |{heads} MB | value |")
    print("|---|---|" + "---:|---:|" * len(args.sizes) + "---:|---|")
    quotients: dict[tuple[str, int], list[float]] = {}
    for name in args.cases:
        case = CASES[name]
        found = measure(case, args.sizes, args.untrained)
        cells = []
        for size in args.sizes:
            shown = [found.seconds.get((way, size)) for way in ("ours", "plain", "peer")]
            cells.append(
                " / ".join(
                    "–" if s is None else f"{s * 1e3:,.3g}" if s < 0.1 else f"{s * 1e3:,.0f}" for s in shown
                )
            )
            ratio = found.times.get(("peer", size))
            cells.append("–" if ratio is None else f"{ratio:.1f}")
            if ratio is not None:
                quotients.setdefault((case.package, size), []).append(ratio)
        last = args.sizes[-1]
        memory = [found.kept.get((way, last)) for way in ("ours", "plain", "peer")]
        cells.append(" / ".join("–" if m is None else f"{m:,.0f}" for m in memory))
        cells.append(
            case.note
            if case.same is None
            else f"equal to {found.gap:.0e}" + f" ({case.note})" * bool(case.note)
        )
        print(f"| {name} (`{case.ours}`) | {case.package} | " + " | ".join(cells) + " |", flush=True)
    print()
    for (package, size), values in quotients.items():
        print(
            f"{package}, B = {size:,}: median {statistics.median(values):.1f} ×, from {min(values):.1f} to "
            f"{max(values):.1f} ({len(values)} losses)"
        )
    after = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(f"\nLoad of the machine at the beginning {load:.1f}, at the end {after:.1f}.")


if __name__ == "__main__":
    main()
