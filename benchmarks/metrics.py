"""Time and memory of exact retrieval metrics, ours beside peers, in one run.

    python benchmarks/metrics.py           5,000 visuals × 25,000 texts, D = 512: a few minutes
    python benchmarks/metrics.py --small   1,000 × 5,000, D = 256: half a minute

Every measurement of a way is preceded by one of the bare product (NumPy, float32, by blocks of rows into one
buffer), and the table gives the medians of the times and of the quotients, so that a busy machine slows both. Memory
is the peak of the resident set beyond what stood before the call, in a process of its own that holds the embeddings
and has run the same way on 100 visuals. Slow ways answer a share of the queries; their time is scaled up, their
memory is not.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from xmr.metrics import METRICS, evaluate, evaluate_embeddings, rank_embeddings

CAPTIONS = 5
BLOCK = 250
PRODUCT = "bare product, by blocks"


@dataclass(frozen=True)
class Data:
    """Unit embeddings (V, D) and (5 V, D) float32 whose captions are near their visual, and its number for each."""

    visual: np.ndarray
    text: np.ndarray
    owner: np.ndarray

    @classmethod
    def of(cls, visuals: int, dimension: int) -> Data:
        rng = np.random.default_rng(0)
        owner = np.repeat(np.arange(visuals), CAPTIONS)
        visual = rng.standard_normal((visuals, dimension), dtype=np.float32)
        visual /= np.linalg.norm(visual, axis=1, keepdims=True)
        text = rng.standard_normal((len(owner), dimension), dtype=np.float32)
        text *= 4 / dimension**0.5  # the median match is found within the first ten or so
        for caption in range(CAPTIONS):
            text[caption::CAPTIONS] += visual
        text /= np.linalg.norm(text, axis=1, keepdims=True)
        return cls(visual, text, owner)

    def head(self, visuals: int) -> Data:
        return Data(self.visual[:visuals], self.text[: CAPTIONS * visuals], self.owner[: CAPTIONS * visuals])


@dataclass(frozen=True)
class Way:
    """One way to get metrics: `run(data, queries)` answers for the first `queries` visuals, or for all of them."""

    gives: str
    run: Callable[[Data, int], object]
    needs: tuple[str, ...] = ()
    queries: int | None = None  # how many visuals ask; None is all
    repeats: int = 5


def product_by_blocks(data: Data, _: int) -> None:
    held = np.empty((BLOCK, len(data.text)), np.float32)
    for start in range(0, len(data.visual), BLOCK):
        rows = data.visual[start : start + BLOCK]
        np.matmul(rows, data.text.T, out=held[: len(rows)])


def product_whole(data: Data, _: int) -> np.ndarray:
    return data.visual @ data.text.T


def ours(data: Data, _: int) -> dict[str, float]:
    return evaluate_embeddings(data.visual, data.text, np.arange(len(data.visual)), data.owner)


def ours_from_half(data: Data, _: int) -> dict[str, float]:
    half = data.visual.astype(np.float16), data.text.astype(np.float16)
    return evaluate_embeddings(*half, np.arange(len(data.visual)), data.owner)


def ours_from_scores(data: Data, _: int) -> dict[str, float]:
    scores = torch.from_numpy(data.visual @ data.text.T)
    return evaluate(scores, torch.arange(len(data.visual))[:, None] == torch.from_numpy(data.owner)[None])


def ours_of_classes(data: Data, _: int) -> list[float]:
    rankings = rank_embeddings(data.visual, data.text, np.arange(len(data.visual)) % 100, data.owner % 100)
    return [METRICS["average_precision"](ranking).mean() for ranking in rankings]


def torch_topk(data: Data, _: int) -> list[torch.Tensor]:
    scores = torch.from_numpy(data.visual) @ torch.from_numpy(data.text).T
    return [scores.topk(10, dim=1).indices, scores.topk(10, dim=0).indices]


def metric_learning(data: Data, _: int) -> list[dict[str, float]]:
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    metrics = ("precision_at_1", "r_precision", "mean_average_precision_at_r")
    calculator = AccuracyCalculator(include=metrics, k="max_bin_count", device=torch.device("cpu"))
    sides = [
        (torch.from_numpy(data.visual), torch.arange(len(data.visual))),
        (torch.from_numpy(data.text), torch.from_numpy(data.owner)),
    ]
    return [calculator.get_accuracy(*asks, *answers) for asks, answers in (sides, sides[::-1])]


def torch_metrics(data: Data, queries: int) -> list[float]:
    from torchmetrics.retrieval import RetrievalHitRate, RetrievalMAP

    scores = torch.from_numpy(data.visual[:queries] @ data.text.T)
    target = torch.arange(queries)[:, None] == torch.from_numpy(data.owner)[None]
    index = torch.arange(queries)[:, None].expand_as(scores)
    values = []
    for metric in (RetrievalHitRate(top_k=10), RetrievalMAP()):
        metric.update(scores, target, indexes=index)
        values.append(float(metric.compute()))
    return values


def vsepp_loop(data: Data, queries: int) -> dict[str, float]:
    """`i2t` and `t2i` of https://github.com/fartashf/vsepp, evaluation.py: an argsort and a look-up per query."""
    images, captions = data.visual, data.text
    i2t, t2i = np.zeros(queries), np.zeros(CAPTIONS * queries)
    for index in range(queries):
        d = np.dot(images[index : index + 1], captions.T).flatten()
        inds = np.argsort(d)[::-1]
        own = range(CAPTIONS * index, CAPTIONS * index + CAPTIONS)
        i2t[index] = min(np.where(inds == i)[0][0] for i in own)
        d = np.dot(captions[own.start : own.stop], images.T)
        for i, row in zip(own, d, strict=True):
            t2i[i] = np.where(np.argsort(row)[::-1] == index)[0][0]
    return {"v2t/mean_rank": i2t.mean() + 1, "t2v/mean_rank": t2i.mean() + 1}


WAYS = {
    PRODUCT: Way("scores", product_by_blocks),
    "bare product, whole matrix": Way("scores", product_whole),
    "**xmr** `evaluate_embeddings`": Way("all ranks, R@K, both directions", ours),
    "**xmr**, half-precision embeddings": Way("the same; MB count the halved copy", ours_from_half),
    "**xmr** `evaluate`, product included": Way(
        "the same; MB count the scores and the mask", ours_from_scores
    ),
    "**xmr**, 100 classes": Way("mAP over all results, both directions", ours_of_classes, repeats=3),
    "torch, product and topk(10)": Way("R@K up to 10, both directions", torch_topk, repeats=3),
    "pytorch-metric-learning AccuracyCalculator": Way(
        "P@1, R-precision, mAP@R, both directions",
        metric_learning,
        ("pytorch_metric_learning", "faiss"),
        repeats=3,
    ),
    "torchmetrics": Way("R@10 and mAP, v2t only", torch_metrics, ("torchmetrics",), queries=100, repeats=1),
    "the field's loop (vsepp)": Way("all ranks, both directions", vsepp_loop, queries=250, repeats=1),
}


def timed(way: Way, data: Data) -> float:
    """Seconds for all queries."""
    queries = min(way.queries or len(data.visual), len(data.visual))
    start = time.perf_counter()
    way.run(data, queries)
    return (time.perf_counter() - start) * len(data.visual) / queries


def missing(way: Way) -> str:
    for module in way.needs:
        try:
            import_module(module)
        except ImportError:
            return module
    return ""


def peak_memory(name: str, data: Data) -> float | None:
    """Peak megabytes beyond the embeddings, measured in this process; None where the system does not tell (not Linux)."""
    way, reset = WAYS[name], Path("/proc/self/clear_refs")
    if not reset.exists():
        return None
    way.run(data.head(100), 100)  # imports, thread pools

    def status(key: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        line = next(line for line in lines if line.startswith(key))
        return int(line.split()[1])

    reset.write_text("5")  # the peak starts anew
    before = status("VmRSS")
    way.run(data, min(way.queries or len(data.visual), len(data.visual)))
    return (status("VmHWM") - before) * 1024 / 1e6


def machine() -> str:
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
        cpu = next(names, cpu)
    versions = []
    for package in ("numpy", "torch", "pytorch-metric-learning", "torchmetrics", "faiss-cpu"):
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            versions.append(f"{package} not installed")
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"{cpu}, {os.cpu_count()} cores{load}, torch threads {torch.get_num_threads()}, "
        f"Python {platform.python_version()}, {', '.join(versions)}"
    )


def agreement(data: Data) -> str:
    """Our mean ranks and the loop's, on as many visuals as the loop can do."""
    some = data.head(min(500, len(data.visual)))
    mine, loop = ours(some, 0), vsepp_loop(some, len(some.visual))
    gap = max(abs(mine[key] - loop[key]) for key in loop)
    return (
        f"largest difference of mean ranks between xmr and the loop on {len(some.visual)} visuals: {gap:.2g}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--small", action="store_true", help="1,000 × 5,000, D = 256")
    parser.add_argument("--memory-of", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    data = Data.of(1_000, 256) if args.small else Data.of(5_000, 512)
    if args.memory_of:
        print(peak_memory(args.memory_of, data))
        return

    ways = {}
    for name, way in WAYS.items():
        if lacks := missing(way):
            print(f"skipped: {name}, because {lacks} is not installed (pip install -r requirements-dev.txt)")
        else:
            ways[name] = way
            way.run(data.head(100), 100)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(max(way.repeats for way in ways.values())):
        for name, way in ways.items():
            if turn < way.repeats:
                bare = timed(WAYS[PRODUCT], data)
                seconds[name].append(timed(way, data))
                times[name].append(seconds[name][-1] / bare)
                print(f"turn {turn + 1}: {name} {seconds[name][-1]:.2f} s", file=sys.stderr)

    visuals, texts = len(data.visual), len(data.text)
    print(f"\n{visuals:,} visuals × {texts:,} texts, D = {data.text.shape[1]}; {machine()}.")
    print(f"Medians of up to 5 turns; {agreement(data)}.\n")
    print("| way | gives | s | × product | MB |\n|---|---|---:|---:|---:|")
    for name, way in ways.items():
        flags = ["--small"] if args.small else []
        command = [sys.executable, __file__, *flags, "--memory-of", name]
        memory = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]
        asked = f" ({way.queries} of {visuals:,} visuals ask; time scaled)" if way.queries else ""
        shown = "–" if memory == "None" else f"{float(memory):,.0f}"
        middle = statistics.median(seconds[name]), statistics.median(times[name])
        print(f"| {name} | {way.gives}{asked} | {middle[0]:.2f} | {middle[1]:.2f} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
