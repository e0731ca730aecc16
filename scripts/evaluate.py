"""Recompute the metrics of runs (trained ones and combinations) from their matchers, and print them as a table or JSON.

python scripts/evaluate.py runs/info_nce runs/siglip
python scripts/evaluate.py runs/* --split validation --json
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).parent.parent))

from xmr.checkpoints import Combination, Run, RunRefused, load_run
from xmr.core import DIRECTIONS
from xmr.data import SPLITS, Dataset, load_dataset
from xmr.embedding import embed_dataset
from xmr.metrics import evaluate_embeddings

# Column titles and what they show: key below the direction, factor, format.
COLUMNS = {
    "R@1": ("recall_at_1", 100, ".1f"),
    "R@5": ("recall_at_5", 100, ".1f"),
    "R@10": ("recall_at_10", 100, ".1f"),
    "median": ("median_rank", 1, "g"),
    "true R@1": ("true_recall_at_1", 100, ".1f"),
    "true mAP@R": ("true_map_at_r", 100, ".1f"),
    "true R-prec": ("true_r_precision", 100, ".1f"),
}


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    results, failed = [], False
    loaded: dict[str, Dataset] = {}
    for path in options.run_dir:
        try:
            run = load_run(path)
            dataset = dataset_of(run, options, loaded)
            results.append(evaluated(run, dataset))
        except RunRefused as error:
            print(f"error: {path}: {error}", file=sys.stderr)
            failed = True
        except (ValueError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            failed = True
    if options.json:
        print(json.dumps({"split": options.split, "runs": results}, indent=1))
    elif results:
        print(table(results))
    return 2 if failed else 0


def dataset_of(run: Run | Combination, options: argparse.Namespace, loaded: dict[str, Dataset]) -> Dataset:
    """The split to evaluate on: the run's own dataset, or the one that is asked for; each loaded once."""
    source = options.dataset or run.config.dataset
    params = run.config.dataset_params if source == run.config.dataset else {}
    key = json.dumps([source, params], sort_keys=True)
    if key not in loaded:
        loaded[key] = load_dataset(source, options.split, **params)
    trained = run.dataset["fingerprints"].get(options.split)
    if source == run.config.dataset and loaded[key].fingerprint != trained:
        print(
            f"warning: {source} ({options.split}) is not the version that {run.name} was trained with",
            file=sys.stderr,
        )
    return loaded[key]


def evaluated(run: Run | Combination, dataset: Dataset) -> dict[str, Any]:
    visual, text = embed_dataset(run, dataset)
    metrics = evaluate_embeddings(visual, text, dataset.visual_group, dataset.text_group, dataset.truth)
    return {
        "name": run.name,
        "path": str(run.path),
        "loss": run.config.loss,
        "dataset": dataset.name,
        "fingerprint": dataset.fingerprint,
        "metrics": metrics,
    }


def table(results: list[dict[str, Any]]) -> str:
    """An aligned table: a row per run and direction, rsum in the first row of each."""
    shown = {
        title: column
        for title, column in COLUMNS.items()
        if any(f"v2t/{column[0]}" in r["metrics"] for r in results)
    }
    rows = [["run", "direction", *shown, "rsum"]]
    for result in results:
        for direction in DIRECTIONS:
            cells = []
            for key, factor, style in shown.values():
                value = result["metrics"].get(f"{direction}/{key}")
                cells.append("" if value is None else format(factor * value, style))
            first = direction == DIRECTIONS[0]
            rsum = f"{result['metrics']['rsum']:.1f}" if first else ""
            rows.append([result["name"] if first else "", direction, *cells, rsum])
    return aligned(rows, left=2)


def aligned(rows: list[list[str]], left: int) -> str:
    """Rows of cells in columns: the first `left` to the left (names), the others to the right (numbers)."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join(lines)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run_dir", nargs="+", metavar="RUN_DIR")
    parser.add_argument(
        "--dataset", default="", metavar="NAME|PATH", help="default: what each run was trained on"
    )
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
