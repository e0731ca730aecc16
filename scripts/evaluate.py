"""Measure runs (trained ones and combinations), and print their metrics as a table or JSON.

    python scripts/evaluate.py runs
    python scripts/evaluate.py runs/info_nce runs/siglip --split validation --json

A folder of run folders stands for the runs in it. Runs of several data sets have a table for each of them. --json has the
same figures: "metrics" of each run with the keys of run.json, all shares in per cent (rsum, the sum of six of them, goes to
600), ranks and counts as they are.

A run's own test split is measured by the embeddings that the run keeps, so that its figures are those of run.json and the app;
any other one is embedded by its matcher.

A matcher that scores pairs has a second line, of the first stage that finds its candidates. Class-labelled data has
mean average precision; --per-class tells it for each class. Where pairs can't be told from annotated ones (equal pictures,
captions that read alike), a line "with duplicates" has the metrics where they are matches too. With --verdicts, a further line has the metrics where pairs
that people confirmed are matches. "zero-shot" is the frozen encoder itself, without a head, where it embeds both sides.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from scripts import leave_at_once

    leave_at_once()

import numpy as np
from tqdm import tqdm

from scripts import told
from scripts.command import Bars, Read, reader, run_folders, say, source_of
from scripts.options import add_strict
from xmr.checkpoints import Run, RunRefused, load_run
from xmr.core import DIRECTIONS, Ranking
from xmr.data import SPLITS, Dataset, Truth
from xmr.data.duplicates import twins
from xmr.data.summary import in_train
from xmr.embedding import Progress, run_reads, zero_shot
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
DUPLICATES = (
    "with duplicates: pairs that nobody annotated and nobody can tell from an annotated one (an equal visual, a caption that "
    "reads alike) count as matches too."
)
METRICS_OF = ("metrics", "first_stage", "with_duplicates", "with_verdicts")  # of a result


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    return told(lambda: run_all(options))


def run_all(options: argparse.Namespace) -> int:
    """Evaluates what can be evaluated; returns the exit code."""
    verdicts = read_verdicts(options.verdicts) if options.verdicts else []
    folders, faults = run_folders(options.run_dir, "evaluate.py")
    for fault in faults:
        say(f"error: {fault}")
    encoders: dict[tuple[str, str], tuple[Dataset, str]] = {}
    results: list[dict[str, Any]] = []
    read, bars = reader(options.strict), Bars()
    for path in tqdm(folders, desc="measure", unit=" runs", delay=2, leave=False, disable=len(folders) < 2):
        try:
            run = load_run(path)
            dataset = dataset_of(run, options, read)
            people = people_of(options.verdicts, verdicts, dataset) if options.verdicts else None
            result = evaluated(run, dataset, options.per_class, people, bars)
            if people is not None:
                sha256 = verdicts_digest(options.verdicts, verdicts)
                result["verdicts"] = {"file": options.verdicts, "sha256": sha256, **people.counts}
            results.append(result)
            encoder = run.encoder["name"]
            if not run.untrained:  # which is its encoder, measured already
                encoders[dataset.fingerprint, encoder] = dataset, encoder
            tell_texts(run, dataset)
        except RunRefused as error:
            faults.append(f"{path}: {error}")
            say(f"error: {faults[-1]}")
        except (ValueError, OSError) as error:
            faults.append(str(error))
            say(f"error: {error}")
        finally:
            bars.close()
    try:
        rows, reasons = frozen(encoders, bars)
    finally:
        bars.close()
    results += rows
    for reason in reasons:
        say(reason)
    if options.json:
        runs = [as_percent(result) for result in results]
        print(json.dumps({"split": options.split, "unit": "per cent", "runs": runs}, indent=1))
    elif results:
        print("\n\n".join(tables(results, options.split, options.per_class)))
    return 2 if faults else 0


def tell_texts(run: Run, dataset: Dataset) -> None:
    """How much of the captions the run reads. That its encoder can't be had is no fault of figures that need none."""
    try:
        for texts in run_reads(run, dataset.captions) if dataset.gallery_visuals is None else ():
            if texts.said:
                say(f"{run.name}, {dataset.name} ({dataset.split}): {texts.said}")
    except (ValueError, OSError) as error:
        say(f"{run.name}, {dataset.name} ({dataset.split}): whether captions are cut is not known: {error}")


def dataset_of(run: Run, options: argparse.Namespace, read: Read) -> Dataset:
    """The split to evaluate on: the run's own dataset, or the one that is asked for."""
    source = source_of(run, options.dataset)
    dataset = read(source, options.split, run.config.dataset_params if source == run.config.dataset else {})
    trained = run.dataset["fingerprints"].get(options.split)
    if source == run.config.dataset and dataset.fingerprint != trained:
        say(f"warning: {source} ({options.split}) is not the version that {run.name} was trained with")
    elif dataset.fingerprint == trained and (words := in_train(run.dataset, options.split)):
        say(f"warning: {run.name}: {words}")
    return dataset


def people_of(path: str, verdicts: list[Verdict], dataset: Dataset) -> Judged:
    """What the verdicts read from `path` say of the split, told on stderr. Raises DataFault where none is of it."""
    found = judged(path, verdicts, dataset)
    print(f"{path}, {dataset.name} ({dataset.split}): {found.words}", file=sys.stderr)
    return found


def evaluated(
    run: Run,
    dataset: Dataset,
    per_class: bool = False,
    people: Judged | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """What is told of a run, shares in 0 … 1; with `people`, also the metrics where the pairs that they confirm are matches.

    Raises ValueError where classes are asked for and there are none.
    """
    if per_class and dataset.classes is None:
        raise ValueError(f"--per-class: {dataset.name} has no class labels")
    groups = dataset.visual_group, dataset.text_group
    visual, text = sides_of(run, dataset, progress)
    metrics = split_metrics(dataset, visual, text)
    more: dict[str, Any] = {}
    scores = scores_of(run, dataset, progress)
    if scores is not None:
        more["first_stage"] = metrics
        metrics = split_metrics(dataset, visual, text, scores)
    truths: dict[str, Truth] = {}
    if (alike := twins(dataset)) is not None:
        truths["with_duplicates"] = alike.credited()
    if people is not None:
        truths["with_verdicts"] = credited(dataset, people.confirmed)
    for name, truth in truths.items():
        ranked = rank_truth(visual, text, truth) if scores is None else rank_truth_of_scores(scores, truth)
        more[name] = metrics_of(ranked, dataset.classes is not None)
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
        "matcher": run.config.matcher,
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


def frozen(
    encoders: dict[tuple[str, str], tuple[Dataset, str]], progress: Progress | None = None
) -> tuple[list[dict[str, Any]], list[str]]:
    """The frozen encoder itself beside the runs of each data set, of (data, its name); and why one can't be."""
    found, reasons = [], []
    for dataset, encoder in encoders.values():
        try:
            sides = zero_shot(dataset, encoder, progress)
            metrics = split_metrics(dataset, *sides)
        except (ValueError, OSError) as error:
            reasons.append(f"{dataset.name}: no zero-shot row: {error}")
            continue
        about = {"name": f"zero-shot: {encoder}", "path": "", "loss": "", "matcher": ""}
        found.append(about | protocol(dataset) | {"metrics": metrics})
        if (alike := twins(dataset)) is not None:
            ranked = rank_truth(*sides, alike.credited())
            found[-1]["with_duplicates"] = metrics_of(ranked, dataset.classes is not None)
    return found, reasons


def metrics_of(rankings: Sequence[Ranking], classes: bool) -> dict[str, float]:
    """The metrics of rankings in both directions, and mean average precision of class labels."""
    metrics = evaluate_rankings(*rankings)
    if classes:
        for direction, ranking in zip(DIRECTIONS, rankings, strict=True):
            metrics[f"{direction}/map"] = float(np.nanmean(average_precision(ranking)))
    return metrics


def as_percent(result: dict[str, Any]) -> dict[str, Any]:
    """A result with its shares in per cent, also those of each class."""
    parts = {name: percent(result[name]) for name in METRICS_OF if name in result}
    if "per_class" in result:
        classes = result["per_class"].items()
        parts["per_class"] = {
            side: {name: 100 * share for name, share in one.items()} for side, one in classes
        }
    return result | parts


def percent(metrics: dict[str, Any]) -> dict[str, Any]:
    """Metrics, of one split or by split, with their shares in per cent; rsum is, ranks and counts are none."""
    return {
        name: percent(value) if isinstance(value, dict) else value if _no_share(name) else 100 * value
        for name, value in metrics.items()
    }


def _no_share(name: str) -> bool:
    return name == "rsum" or name.endswith(("_rank", "without_positives"))


def tables(results: list[dict[str, Any]], split: str, per_class: bool) -> list[str]:
    """The table of all results; where they are of several data sets, one for each with its name above."""
    by_data: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for result in results:
        by_data.setdefault((result["dataset"], result["fingerprint"]), []).append(result)
    shown = []
    for some in by_data.values():
        lines = [table(some)]
        if len(by_data) > 1:
            first = some[0]
            sizes = f"{first['visuals']:,} visuals, {first['texts']:,} texts"
            lines.insert(0, f"{first['dataset']} ({split}, {first['fingerprint']}): {sizes}")
        if per_class:
            lines.append("\n" + class_table(some))
        shown.append("\n".join(lines))
    return shown


def table(results: list[dict[str, Any]]) -> str:
    """An aligned table: a row per run and direction, rsum (mAP of class labels) in the first row of each; then the same
    of a pair scorer's first stage, and with what people confirmed as matches."""
    stages = {
        "with_duplicates": "with duplicates",
        "with_verdicts": "with verdicts",
        "first_stage": "first stage",
    }
    parts = [r[name] for r in results for name in ("metrics", *stages) if name in r]
    shown = {
        title: column
        for title, column in COLUMNS.items()
        if any(figure(metrics, "v2t", column[0]) is not None for metrics in parts)
    }
    figures = list(dict.fromkeys(headline(metrics)[0] for metrics in parts))
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
        if "with_duplicates" in one:
            lines.append(DUPLICATES)
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
    parser.add_argument("run_dir", nargs="+", metavar="RUN_DIR|FOLDER", help="runs, or folders of runs")
    parser.add_argument(
        "--dataset", default="", metavar="NAME|PATH", help="default: what each run was trained on"
    )
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument(
        "--verdicts", default="", metavar="FILE",
        help="also tell the metrics where pairs that people confirmed are matches (.jsonl, .csv or the app's database)",
    )  # fmt: skip
    parser.add_argument("--per-class", action="store_true", help="mean average precision of each class label")
    parser.add_argument("--json", action="store_true", help="print JSON, shares in per cent")
    add_strict(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
