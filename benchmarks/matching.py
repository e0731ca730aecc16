"""Retrieval time of an independent matcher against scorers of pairs, on 1,000 visuals × 5,000 texts, and the accuracy.

    python benchmarks/matching.py                             the times: a few minutes, one thread
    python benchmarks/matching.py --runs DIR/graph DIR/cross_attention   and what trained runs found on their test split

The items are the test split of `blocks` as tokens of its encoder (16 regions; 5 to 23 words), the matchers are untrained:
a score takes as long with any weights. "From states" scores all pairs and finds the ten best texts of each visual, where
each item's embedding or tokens are at hand; "with embedding" makes those of all items as well; "two stages" finds the
100 texts nearest to each visual by their pooled states, as an independent matcher would, and scores these pairs only.
All ways take turns, and the table gives the medians of the times and of the quotients to `graph`, so that a busy
machine slows all. With one thread the time is the processor's.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.metrics import machine
from xmr.checkpoints import load_run
from xmr.data import load_dataset
from xmr.encoders import features
from xmr.matchers import build_matcher, settled_params
from xmr.metrics import headline

WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "`graph`": ("graph", {}),
    "`token_max`": ("token_max", {}),
    "`cross_attention`, text (SCAN t-i)": ("cross_attention", {}),
    "`cross_attention`, both": ("cross_attention", {"attend": "both"}),
    "`cross_attention`, both, focal (BFAN)": (
        "cross_attention",
        {"attend": "both", "focal": True, "sharpness": 20.0},
    ),
}
FIRST, BEST = 100, 10
ROWS = 512  # items embedded at once
VISUALS = 64  # scored at once


def items(visuals: int) -> tuple[Tensor, Tensor]:
    """Tokens of the first visuals (V, 16, D) and of their texts (5 V, T, D'), zero at padding."""
    data = load_dataset("blocks", "test")
    found = features(data, "blocks", "tokens")
    visual, text = (torch.tensor(side, dtype=torch.float32) for side in (found.visual, found.text))
    kept = torch.from_numpy(data.visual_of_text) < visuals
    longest = int(text.any(2).sum(1).max())
    return visual[:visuals], text[kept, :longest]


def states(embed: Callable[[Tensor], Tensor], items: Tensor) -> Tensor:
    return torch.cat([embed(rows) for rows in items.split(ROWS)])


def from_states(matcher: Any, visual: Tensor, text: Tensor) -> Tensor:
    """The ten best texts of each visual, all pairs scored."""
    return torch.cat([matcher.scores(rows, text).topk(BEST).indices for rows in visual.split(VISUALS)])


def in_two_stages(matcher: Any, visual: Tensor, text: Tensor, pooled: tuple[Tensor, Tensor]) -> Tensor:
    """The ten best texts of each visual among the hundred whose pooled states are nearest."""
    best = []
    for rows, tokens in zip(pooled[0].split(VISUALS), visual.split(VISUALS), strict=True):
        for one, candidates in zip(tokens, (rows @ pooled[1].T).topk(FIRST).indices, strict=True):
            best.append(candidates[matcher.scores(one[None], text[candidates])[0].topk(BEST).indices])
    return torch.stack(best)


def clock() -> float:
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


@torch.no_grad()
def measure(matcher: Any, visual: Tensor, text: Tensor) -> dict[str, float]:
    """Seconds of each kind of retrieval, and megabytes of the states."""
    start = clock()
    of_visual, of_text = states(matcher.visual, visual), states(matcher.text, text)
    embedded = clock() - start
    start = clock()
    from_states(matcher, of_visual, of_text)
    found = {"states": clock() - start}
    found["embedding"] = embedded + found["states"]
    found["MB"] = sum(side.numel() * side.element_size() for side in (of_visual, of_text)) / 1e6
    if matcher.scores_pairs:
        pooled = matcher.pooled(of_visual), matcher.pooled(of_text)
        start = clock()
        in_two_stages(matcher, of_visual, of_text, pooled)
        found["stages"] = clock() - start
    return found


def times(visuals: int, turns: int) -> None:
    visual, text = items(visuals)
    matchers = {}
    for label, (name, params) in WAYS.items():
        settled = settled_params(name, params, text.shape[2])
        matcher = build_matcher(name, settled, visual.shape[2], text.shape[2], None).eval()
        matcher.fit(visual.numpy(), text.numpy())
        matchers[label] = matcher
        measure(matcher, visual[:VISUALS], text[: 2 * FIRST])  # a first, cold run
    found: dict[str, list[dict[str, float]]] = {label: [] for label in WAYS}
    for _ in range(turns):
        for label, matcher in matchers.items():
            found[label].append(measure(matcher, visual, text))
    width = settled_params("graph", {}, text.shape[2])["embed_dim"]
    print(f"{len(visual):,} visuals × {len(text):,} texts, width {width}; {machine()}.\n")
    print("| matcher | from states, ms | × | with embedding, ms | × | two stages, ms | × | states, MB |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    base = found["`graph`"]
    for label, turns_of in found.items():
        cells = []
        for kind, over in (("states", "states"), ("embedding", "embedding"), ("stages", "states")):
            if kind not in turns_of[0]:
                cells += ["–", "–"]
                continue
            cells.append(f"{1e3 * statistics.median(turn[kind] for turn in turns_of):,.0f}")
            quotients = [turn[kind] / first[over] for turn, first in zip(turns_of, base, strict=True)]
            cells.append(f"{statistics.median(quotients):.3g}")
        print(f"| {label} | {' | '.join(cells)} | {turns_of[0]['MB']:.0f} |")


def accuracy(folders: list[str]) -> None:
    """A table of what the runs found on their test split."""
    print(
        "\n| run | matcher | loss | data | recall@1 visual → text, % | recall@1 text → visual, % | selected by |"
    )
    print("|---|---|---|---|---:|---:|---:|")
    for folder in folders:
        run = load_run(folder)
        metrics, config = run.metrics["test"], run.config
        name, value = headline(metrics)
        recalls = " | ".join(
            f"{100 * metrics[f'{direction}/recall_at_1']:.1f}" for direction in ("v2t", "t2v")
        )
        print(
            f"| {run.name} | `{config.matcher}` | `{config.loss}` | {config.dataset} | {recalls} | {name} {value:.1f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--visuals", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", nargs="+", default=[], metavar="DIR", help="folders of trained runs")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    times(args.visuals, args.turns)
    if args.runs:
        accuracy(args.runs)


if __name__ == "__main__":
    main()
