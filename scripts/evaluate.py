"""Measure runs (trained ones and combinations), and print their metrics as a table or JSON.

    python scripts/evaluate.py runs/info_nce runs/siglip
    python scripts/evaluate.py runs/* --split validation --json

A run's own test split is measured by the embeddings that the run keeps, so that its figures are those of run.json and the app;
any other one is embedded by its matcher.

A matcher that scores pairs has a second line, of the first stage that finds its candidates. Class-labelled data has
mean average precision; --per-class tells it for each class. With --verdicts, a further line has the metrics where pairs
that people confirmed are matches. "zero-shot" is the frozen encoder itself, without a head, where it embeds both sides.
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
from xmr.embedding import run_reads, zero_shot
from xmr.metrics import (
    average_precision,
    class_map,
    evaluate_rankings,
    headline,
    rank_embeddings,
    rank_scores,
    rank_truth,
    rank_truth_of_scores,
)
from xmr.scoring import judged_words, scores_of, sides_of, split_metrics
from xmr.store import Judged, Verdict, credited, judged, read_verdicts, verdicts_digest

# Column titles and what they show: key below the direction, factor, format.
COLUMNS = {
    "R@1": ("recall_at_1", 100, ".1f"),
    "±": ("half_recall_at_1", 100, ".1f"),
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
    encoders: dict[tuple[str, str], tuple[Dataset, str]] = {}
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
            encoder = run.encoder["name"]
            encoders[dataset.fingerprint, encoder] = dataset, encoder
        except RunRefused as error:
            print(f"error: {path}: {error}", file=sys.stderr)
            failed = True
        except (ValueError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            failed = True
    rows, reasons = frozen(encoders)
    results += rows
    for reason in reasons:
        print(reason, file=sys.stderr)
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
    visual, text = sides_of(run, dataset)
    metrics = split_metrics(dataset, visual, text)
    more: dict[str, Any] = {}
    scores = scores_of(run, dataset)
    if scores is not None:
        more["first_stage"] = metrics
        metrics = split_metrics(dataset, visual, text, scores)
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
        **protocol(dataset),
        "metrics": metrics,
        **more,
    }


def protocol(dataset: Dataset) -> dict[str, Any]:
    """What the figures are of."""
    return {
        "dataset": dataset.name,
        "split": dataset.split,
        "fingerprint": dataset.fingerprint,
        "visuals": len(dataset.visual_ids),
        "texts": len(dataset.captions),
        "judged": judged_words(dataset),
    }


def frozen(encoders: dict[tuple[str, str], tuple[Dataset, str]]) -> tuple[list[dict[str, Any]], list[str]]:
    """The frozen encoder itself beside the runs of each data set, of (data, its name); and why one can't be."""
    found, reasons = [], []
    for dataset, encoder in encoders.values():
        try:
            metrics = split_metrics(dataset, *zero_shot(dataset, encoder))
        except (ValueError, OSError) as error:
            reasons.append(f"{dataset.name}: no zero-shot row: {error}")
            continue
        about = {"name": f"zero-shot: {encoder}", "path": "", "loss": "", "matcher": ""}
        found.append(about | protocol(dataset) | {"metrics": metrics})
    return found, reasons


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
    shown = {
        title: column
        for title, column in COLUMNS.items()
        if any(figure(metrics, "v2t", column[0]) is not None for metrics in told)
    }
    figures = list(dict.fromkeys(headline(metrics)[0] for metrics in told))
    rows = [["run", "matcher", "direction", *shown, *(f"mean {f}" if f == "mAP" else f for f in figures)]]
    for result in results:
        rows += _rows(result["name"], result["matcher"], result["metrics"], shown, figures)
        for name, label in stages.items():
            if name in result:
                rows += _rows("", label, result[name], shown, figures)
    return "\n".join([aligned(rows, left=3), *notes(results)])


def notes(results: list[dict[str, Any]]) -> list[str]:
    """What the figures are of, a line for each data set."""
    lines = []
    for one in {result["fingerprint"]: result for result in results}.values():
        lines.append(
            f"{one['dataset']}, {one['split']}: {one['visuals']:,} visuals × {one['texts']:,} texts, each side asks among all "
            "of the other; per cent. ±: half of the 95% interval of R@1, from 1,000 resamples of the visuals with all "
            "their texts; another seed of the training moves the figures besides."
        )
        lines += [one["judged"]] if one["judged"] else []
    return lines


def figure(metrics: dict[str, float], direction: str, key: str) -> float | None:
    """One of the metrics, or half of the interval of one; None where it is not there."""
    name = key.removeprefix("half_")
    if name == key:
        return metrics.get(f"{direction}/{key}")
    low, high = (metrics.get(f"{direction}/{end}_{name}") for end in ("low", "high"))
    return None if low is None or high is None else (high - low) / 2


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
            value = figure(metrics, direction, key)
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
