"""Latency, recall@10, build time and memory of exact and approximate search, ours beside torch and hnswlib.

    python benchmarks/search.py --sizes 10000            a minute
    python benchmarks/search.py --threads 1              10 k, 100 k and 1 M vectors: half an hour or more

Vectors are unit, D = 512, made from a seed: a mixture of clusters of uneven size in a latent space of 32 dimensions,
bent into 512 by a random two-layer map, with a little noise of full dimension: like embeddings, they have few degrees of
freedom and no sharp cells. Queries of the same distribution are fresh draws; those out of distribution are fresh draws
from the same clusters that are shifted by a constant vector and have more noise, as captions lie apart from pictures.

Every way runs in a process of its own. `beside` is the memory that it has by building and searching, beyond the vectors,
which ours and torch keep to compute scores with (D × 4 bytes each). In brackets: the same where the saved index is opened
memory-mapped and searched; its pages are then the page cache's, which gives them back when others need them. Search
parameters are the smallest that reach `--recall` on tuning queries of both distributions, ours by `build_index`, hnswlib's by
the same rule; recall in the table is that of other queries. Graphs are left out above `--graphs-up-to` vectors: they take too
long to build. What `build_index` takes by itself at that size is told above the table. With `--threads 1` all times are
processor time, so that other programs on the machine disturb them less; else they are wall time.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from xmr.search import ExactIndex, approximate, build_index, cached_index

DIMENSION, LATENT, K = 512, 32, 10
QUERIES = 200  # of each distribution, for tuning and again for the table
SINGLE = 100  # queries that are timed one at a time
PATIENCE = 5.0  # seconds of measuring after which no further query is timed
CHUNK = 1 << 16
LADDER = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)  # efSearch of hnswlib

Search = Callable[[np.ndarray], np.ndarray]  # queries (Q, D) -> indices (Q, K)


def made(size: int, folder: Path) -> None:
    """Writes vectors.npy (size, D) and the queries, each (Q, D) float32."""
    rng = np.random.default_rng(0)
    clusters = max(20, size // 200)
    centres = rng.standard_normal((clusters, LATENT), dtype=np.float32)
    share = rng.gamma(1.0, size=clusters)
    first = rng.standard_normal((LATENT, 128), dtype=np.float32) / LATENT**0.5
    second = rng.standard_normal((128, DIMENSION), dtype=np.float32) / 128**0.5
    gap = rng.standard_normal(DIMENSION, dtype=np.float32) * 0.3

    def draw(count: int, noise: float, shift: np.ndarray | float) -> np.ndarray:
        latent = centres[rng.choice(clusters, count, p=share / share.sum())]
        latent = latent + 0.4 * rng.standard_normal((count, LATENT), dtype=np.float32)
        rows = np.tanh(latent @ first) @ second + shift
        rows += noise * rng.standard_normal((count, DIMENSION), dtype=np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    vectors = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float32, (size, DIMENSION))
    for start in range(0, size, CHUNK):
        stop = min(start + CHUNK, size)
        vectors[start:stop] = draw(stop - start, 0.05, 0.0)
    vectors.flush()
    queries = {"in": draw(2 * QUERIES, 0.05, 0.0), "out": draw(2 * QUERIES, 0.1, gap)}
    exact = ExactIndex(np.load(folder / "vectors.npy"))
    for name, rows in queries.items():
        np.savez(folder / f"{name}.npz", queries=rows, best=exact.search(rows, K)[1])


def resident() -> float:
    """MB that belong to this process alone now; NaN where the system does not tell (not Linux)."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    gc.collect()
    line = next(line for line in status.read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024 / 1e6


def recall(found: np.ndarray, best: np.ndarray) -> float:
    return float(np.mean([len({*a} & {*b}) / K for a, b in zip(found.tolist(), best.tolist(), strict=True)]))


def timed(search: Search, queries: np.ndarray, clock: Callable[[], float]) -> tuple[float, float]:
    """Milliseconds a query, medians: one at a time (of at most 100), and in batches of 100 (of at most 5)."""

    def median(batches: list[np.ndarray]) -> float:
        search(batches[0])
        taken: list[float] = []
        for batch in batches:
            start = clock()
            search(batch)
            taken.append((clock() - start) / len(batch))
            if sum(taken) * len(batch) > PATIENCE:
                break
        return 1e3 * statistics.median(taken)

    return median([queries[row : row + 1] for row in range(SINGLE)]), median(5 * [queries[:100]])


def measure(way: str, folder: Path, target: float, threads: int | None) -> dict[str, object]:
    """One row of the table, in a process of its own."""
    import faiss

    # What one thread computes is told by processor time, which a busy machine stretches less.
    clock = time.process_time if threads == 1 else time.perf_counter
    if threads:
        faiss.omp_set_num_threads(threads)
    sets = {name: np.load(folder / f"{name}.npz") for name in ("in", "out")}
    tuning = {name: (data["queries"][:QUERIES], data["best"][:QUERIES]) for name, data in sets.items()}
    asked = {name: (data["queries"][QUERIES:], data["best"][QUERIES:]) for name, data in sets.items()}
    vectors = np.load(folder / "vectors.npy")
    # Thread pools and buffers of the libraries are no part of an index.
    ExactIndex(vectors[:1000]).search(asked["in"][0][:100], K)
    setting, mapped = "", None
    before = resident()
    start = clock()
    if way == "torch":
        import torch

        if threads:
            torch.set_num_threads(threads)
        gallery = torch.from_numpy(vectors)
        (torch.from_numpy(asked["in"][0]) @ gallery[:1000].T).topk(K)  # the same for torch
        before, start = resident(), clock()

        def search(queries: np.ndarray) -> np.ndarray:
            return (torch.from_numpy(queries) @ gallery.T).topk(K, dim=1).indices.numpy()

    elif way == "hnswlib":
        import hnswlib

        graph = hnswlib.Index("ip", DIMENSION)
        graph.init_index(len(vectors), M=32, ef_construction=40, random_seed=0)  # as ours is built
        if threads:
            graph.set_num_threads(threads)
        graph.add_items(vectors, num_threads=threads or -1)

        def search(queries: np.ndarray) -> np.ndarray:
            return graph.knn_query(queries, K)[0].astype(np.int64)

        for ef in LADDER:
            graph.set_ef(ef)
            if all(recall(search(queries), best) >= target for queries, best in tuning.values()):
                break
        setting = f"ef {ef}"
    else:
        approximate.EXACT_UP_TO = 0
        index = build_index(vectors, 1.0 if way == "exact" else target, queries=tuning["out"][0])
        setting = (
            f"nprobe {index.facts.setting}" if index.facts.kind == way == "ivf_sq8" else index.facts.note
        )

        def search(queries: np.ndarray) -> np.ndarray:
            return index.search(queries, K)[1]

    seconds = clock() - start
    single, batch = timed(search, asked["in"][0], clock)
    grown = resident() - before
    found = {name: recall(search(queries), best) for name, (queries, best) in asked.items()}
    if way == "ivf_sq8" and index.facts.kind == way:
        os.environ["XMR_CACHE"] = str(folder)
        cached_index(vectors, target, queries=tuning["out"][0])
        script = [sys.executable, __file__, "--mapped", "--recall", str(target), "--folder", str(folder)]
        mapped = float(subprocess.run(script, capture_output=True, text=True, check=True).stdout)
    return {
        "setting": setting,
        "seconds": seconds,
        "single": single,
        "batch": batch,
        "in": found["in"],
        "out": found["out"],
        "grown": grown,
        "mapped": mapped,
    }


def mapped_memory(folder: Path, target: float) -> float:
    """MB that an index opened from its file adds to a process that holds the vectors, after 400 queries."""
    os.environ["XMR_CACHE"] = str(folder)
    vectors = np.load(folder / "vectors.npy")
    queries, tuning = (np.load(folder / f"{name}.npz")["queries"] for name in ("in", "out"))
    ExactIndex(vectors[:1000]).search(queries[:100], K)
    before = resident()
    approximate.EXACT_UP_TO = 0
    index = cached_index(vectors, target, queries=tuning[:QUERIES])
    for row in queries:
        index.search(row, K)
    return resident() - before


def machine(threads: int | None) -> str:
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), cpu)
    versions = []
    for package in ("numpy", "torch", "faiss-cpu", "hnswlib"):
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            versions.append(f"{package} not installed")
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    times = "processor time of one thread" if threads == 1 else f"wall time, threads {threads or 'as set'}"
    return f"{cpu}, {os.cpu_count()} cores{load}, {times}, {', '.join(versions)}"


NAMES = {
    "torch": "torch, product and topk",
    "exact": "**xmr** exact",
    "ivf_sq8": "**xmr** IVF + SQ8",
    "hnswlib": "hnswlib",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--ways", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--recall", type=float, default=0.95, help="target, default: %(default)s")
    parser.add_argument("--graphs-up-to", type=int, default=300_000, help="vectors, default: %(default)s")
    parser.add_argument("--threads", type=int, help="of all libraries; default: as many as each takes")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--way", choices=NAMES, help=argparse.SUPPRESS)
    parser.add_argument("--mapped", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.mapped:
        print(mapped_memory(args.folder, args.recall))
        return
    if args.way:
        print(json.dumps(measure(args.way, args.folder, args.recall, args.threads)))
        return
    threads = str(args.threads) if args.threads else None
    environment = os.environ | ({"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads} if threads else {})
    if threads:
        environment["OPENBLAS_NUM_THREADS"] = threads
    for size in args.sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            made(size, folder)
            print(
                f"\n{size:,} vectors, D = {DIMENSION}, recall target {args.recall}; {machine(args.threads)}."
            )
            kept = "stays exact" if size <= approximate.EXACT_UP_TO else "takes IVF + SQ8"
            print(f"By itself build_index {kept}.")
            print("\n| way | setting | build s | ms, one | ms, of 100 | recall@10 in / out | beside, MB |")
            print("|---|---|---:|---:|---:|---|---:|", flush=True)
            for way in args.ways:
                if size > args.graphs_up_to and way == "hnswlib":
                    print(f"| {NAMES[way]} | left out: more than {args.graphs_up_to:,} vectors | | | | | |")
                    continue
                command = [sys.executable, __file__, "--way", way, "--folder", name]
                command += ["--recall", str(args.recall)]
                command += ["--threads", threads] if threads else []
                done = subprocess.run(command, capture_output=True, text=True, env=environment)
                if done.returncode:
                    print(f"| {NAMES[way]} | failed: {done.stderr.strip().splitlines()[-1]} | | | | | |")
                    continue
                row = json.loads(done.stdout.splitlines()[-1])
                beside = f"{row['grown']:,.0f}"
                if row["mapped"] is not None:
                    beside += f" ({row['mapped']:,.0f})"
                print(
                    f"| {NAMES[way]} | {row['setting']} | {row['seconds']:,.1f} | {row['single']:.2f} | "
                    f"{row['batch']:.2f} | {row['in']:.4f} / {row['out']:.4f} | {beside} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
