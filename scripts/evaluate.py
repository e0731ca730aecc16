"""Recompute the metrics of runs (trained ones and combinations) from their matchers, and print them as a table or JSON.

    python scripts/evaluate.py runs/info_nce runs/siglip
    python scripts/evaluate.py runs/* --split validation --json

A matcher that scores pairs has a second line, of the first stage that finds its candidates. Class-labelled data has
mean average precision; --per-class tells it for each class. With --verdicts, a further line has the metrics where pairs
that people confirmed are matches.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np

from xmr.checkpoints import Combination, Run, RunRefused, load_run, trains_a_loss
from xmr.core import DIRECTIONS, Ranking
from xmr.data import SPLITS, Dataset, load_dataset
from xmr.data.summary import in_train, line
from xmr.embedding import embed_dataset, run_reads
from xmr.metrics import (
    average_precision,
    class_map,
    evaluate_embeddings,
    evaluate_rankings,
    evaluate_scores,
    headline,
    rank_embeddings,
    rank_scores,
    rank_truth,
    rank_truth_of_scores,
)
from xmr.scoring import read_dataset
from xmr.store import Judged, Verdict, credited, judged, read_verdicts, verdicts_digest

# Column titles and what they show: key below the direction, factor, format.
COLUMNS = {
    "R@1": ("recall_at_1", 100, ".1f"),
    "R@5": ("recall_at_5", 100, ".1f"),
    "R@10": ("recall_at_10", 100, ".1f"),
    "mAP": ("map", 100, ".1f"),
    "mAP@50": ("map_at_50", 100, ".1f"),
    "median": ("median_rank", 1, "g"),
    "true R@1": ("true_recall_at_1", 100, ".1f"),
    "true mAP@R": ("true_map_at_r", 100, ".1f"),
    "true R-prec": ("true_r_precision", 100, ".1f"),
    "true nDCG": ("true_ndcg", 100, ".1f"),
    "true xinfAP": ("true_xinf_ap", 100, ".1f"),
}


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    results, failed = [], False
    loaded: dict[str, Dataset] = {}
    try:
        verdicts = read_verdicts(options.verdicts) if options.verdicts else []
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for path in options.run_dir:
        try:
            run = load_run(path)
            dataset = dataset_of(run, options, loaded)
            people = people_of(options.verdicts, verdicts, dataset) if options.verdicts else None
            result = evaluated(run, dataset, options.per_class, people)
            if people is not None:
                sha256 = verdicts_digest(options.verdicts, verdicts)
                result["verdicts"] = {"file": options.verdicts, "sha256": sha256, **people.counts}
            results.append(result)
            for read in run_reads(run, dataset.captions) if dataset.gallery_visuals is None else ():
                if read.said:
                    print(f"{run.name}, {dataset.name} ({dataset.split}): {read.said}", file=sys.stderr)
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
        if options.per_class:
            print("\n" + class_table(results))
    return 2 if failed else 0


def dataset_of(run: Run | Combination, options: argparse.Namespace, loaded: dict[str, Dataset]) -> Dataset:
    """The split to evaluate on: the run's own dataset, or the one that is asked for; each loaded once."""
    source = options.dataset or run.config.dataset
    params = run.config.dataset_params if source == run.config.dataset else {}
    key = json.dumps([source, params], sort_keys=True)
    if key not in loaded:
        loaded[key] = load_dataset(source, options.split, **params)
        print(line(loaded[key]), file=sys.stderr)
    trained = run.dataset["fingerprints"].get(options.split)
    if source == run.config.dataset and loaded[key].fingerprint != trained:
        print(
            f"warning: {source} ({options.split}) is not the version that {run.name} was trained with",
            file=sys.stderr,
        )
    elif loaded[key].fingerprint == trained and (words := in_train(run.dataset, options.split)):
        print(f"warning: {run.name}: {words}", file=sys.stderr)
    return loaded[key]


def people_of(path: str, verdicts: list[Verdict], dataset: Dataset) -> Judged:
    """What the verdicts read from `path` say of the split, told on stderr. Raises DataFault where none is of it."""
    found = judged(path, verdicts, dataset)
    print(f"{path}, {dataset.name} ({dataset.split}): {found.words}", file=sys.stderr)
    return found


def evaluated(
    run: Run | Combination, dataset: Dataset, per_class: bool = False, people: Judged | None = None
) -> dict[str, Any]:
    """What --json prints of a run; with `people`, also the metrics where the pairs that they confirm are matches.

    Raises ValueError where classes are asked for and there are none.
    """
    if per_class and dataset.classes is None:
        raise ValueError(f"--per-class: {dataset.name} has no class labels")
    groups = dataset.visual_group, dataset.text_group
    visual, text = embed_dataset(run, dataset)
    metrics = evaluate_embeddings(visual, text, *groups, dataset.truth, classes=dataset.classes)
    more: dict[str, Any] = {}
    scores = None
    if not run.independent:
        more["first_stage"] = metrics
        scores = read_dataset(run, dataset).matrix()
        metrics = evaluate_scores(scores, *groups, dataset.truth, classes=dataset.classes)
    if people is not None:
        truth = credited(dataset, people.confirmed)
        ranked = rank_truth(visual, text, truth) if scores is None else rank_truth_of_scores(scores, truth)
        more["with_verdicts"] = metrics_of(ranked, dataset.classes is not None)
    if per_class:
        rankings = rank_embeddings(visual, text, *groups) if scores is None else rank_scores(scores, *groups)
        more["per_class"] = {
            direction: class_map(ranking, labels, dataset.classes)
            for direction, ranking, labels in zip(DIRECTIONS, rankings, groups, strict=True)
        }
    return {
        "name": run.name,
        "path": str(run.path),
        "loss": run.config.loss,
        "matcher": run.config.matcher if trains_a_loss(run) else "",  # a combination's members have theirs
        "dataset": dataset.name,
        "fingerprint": dataset.fingerprint,
        "metrics": metrics,
        **more,
    }


def metrics_of(rankings: Sequence[Ranking], classes: bool) -> dict[str, float]:
    """The metrics of rankings in both directions, and mean average precision of class labels."""
    metrics = evaluate_rankings(*rankings)
    if classes:
        for direction, ranking in zip(DIRECTIONS, rankings, strict=True):
            metrics[f"{direction}/map"] = float(np.nanmean(average_precision(ranking)))
    return metrics


def table(results: list[dict[str, Any]]) -> str:
    """An aligned table: a row per run and direction, rsum (mAP of class labels) in the first row of each; then the same
    of a pair scorer's first stage, and with what people confirmed as matches."""
    stages = {"with_verdicts": "with verdicts", "first_stage": "first stage"}
    told = [r[name] for r in results for name in ("metrics", *stages) if name in r]
    shown = {title: column for title, column in COLUMNS.items() if any(f"v2t/{column[0]}" in m for m in told)}
    figures = list(dict.fromkeys(headline(metrics)[0] for metrics in told))
    rows = [["run", "matcher", "direction", *shown, *(f"mean {f}" if f == "mAP" else f for f in figures)]]
    for result in results:
        rows += _rows(result["name"], result["matcher"], result["metrics"], shown, figures)
        for name, label in stages.items():
            if name in result:
                rows += _rows("", label, result[name], shown, figures)
    return aligned(rows, left=3)


def _rows(
    name: str,
    matcher: str,
    metrics: dict[str, float],
    shown: dict[str, tuple[str, float, str]],
    figures: list[str],
) -> list[list[str]]:
    rows = []
    own, score = headline(metrics)
    for direction in DIRECTIONS:
        first = direction == DIRECTIONS[0]
        cells = []
        for key, factor, style in shown.values():
            value = metrics.get(f"{direction}/{key}")
            cells.append("" if value is None else format(factor * value, style))
        heads = [f"{score:.1f}" if first and figure == own else "" for figure in figures]
        rows.append([name if first else "", matcher if first else "", direction, *cells, *heads])
    return rows


def class_table(results: list[dict[str, Any]]) -> str:
    """An aligned table of mean average precision: a row per class, two columns per run, and the mean in the last row."""
    columns = [(result, direction) for result in results for direction in DIRECTIONS]
    names = list(dict.fromkeys(name for r, direction in columns for name in r["per_class"][direction]))
    rows = [["mAP", *(f"{result['name']} {direction}" for result, direction in columns)]]
    for name in names:
        values = [result["per_class"][direction].get(name) for result, direction in columns]
        rows.append([name, *("" if value is None else f"{100 * value:.1f}" for value in values)])
    rows.append(
        ["all", *(f"{100 * result['metrics'][f'{direction}/map']:.1f}" for result, direction in columns)]
    )
    return aligned(rows, left=1)


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
    parser.add_argument(
        "--verdicts", default="", metavar="FILE",
        help="also tell the metrics where pairs that people confirmed are matches (.jsonl, .csv or the app's database)",
    )  # fmt: skip
    parser.add_argument("--per-class", action="store_true", help="mean average precision of each class label")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
