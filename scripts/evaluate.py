"""Measure runs (trained ones and combinations), and print their metrics as a table or JSON.

    python scripts/evaluate.py runs
    python scripts/evaluate.py runs/info_nce runs/siglip --split validation --json
    python scripts/evaluate.py --embeddings img.npy txt.npy --dataset path/to/folder
    python scripts/evaluate.py --embeddings img.npy txt.npy --dataset coco --truth eccv --truth cxc
    torchrun --nproc-per-node 4 scripts/evaluate.py runs    four processes share out what is embedded and ranked

A folder of run folders stands for the runs in it. Runs of several data sets have a table for each of them. --json has the
same figures: "metrics" of each run with the keys of run.json, all shares in per cent (rsum, the sum of six of them, goes to
600), ranks and counts as they are.

A run's own test split is measured by the embeddings that the run keeps, so that its figures are those of run.json and the app;
any other one is embedded by its matcher.

A matcher that scores pairs has a second line, of the first stage that finds its candidates. Class-labelled data has
mean average precision; --per-class tells it for each class. Where pairs can't be told from annotated ones (equal pictures,
captions that read alike), a line "with duplicates" has the metrics where they are matches too. With --verdicts, a further
line has the metrics where pairs that people confirmed are matches. With --truth, further lines have the metrics by what the
field knows of COCO's test split beyond its annotation: the files come with the package eccv_caption, or lie in --truth-files.
Where the split has hard captions, a table tells how many right ones each run scores above all wrong ones of their picture.
"zero-shot" is the frozen encoder itself, without a head, where it embeds both sides.

--embeddings needs no run: two .npy files of any model, (visuals, D) and (captions, D), a row for each of the split, in its
order, measured as they are. Their --dataset coco is the test split in the order of Karpathy's JSON, five captions a picture: no
pictures are needed, nor fetched.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from scripts import leave_at_once

    leave_at_once()

import numpy as np
from tqdm import tqdm

from scripts import told
from scripts.command import Bars, Read, reader, run_folders, say, source_of
from scripts.embeddings import check_rows, tell_chance, two_arrays, unit
from scripts.metrics_table import as_percent, choice_tables, tables
from scripts.options import add_device, add_places, add_strict, data_params
from xmr.checkpoints import Run, RunRefused, load_run
from xmr.core import DIRECTIONS, Ranking
from xmr.data import SPLITS, Dataset, Truth
from xmr.data.choices import read_choices
from xmr.data.duplicates import twins
from xmr.data.summary import in_train
from xmr.data.truths import TRUTHS, FieldTruth, coco_test, field_truth
from xmr.embedding import Progress, run_reads, zero_shot
from xmr.metrics import (
    average_precision,
    class_map,
    evaluate_matches,
    evaluate_rankings,
    rank_embeddings,
    rank_scores,
    rank_truth,
    rank_truth_of_scores,
)
from xmr.scoring import choice_figures, hard_figure, judged_words, scores_of, sides_of, split_metrics
from xmr.store import Judged, Verdict, credited, judged, read_verdicts, verdicts_digest


def main(argv: list[str] | None = None) -> int:
    return told(lambda: run_all(parse(argv)), shared=True)


def run_all(options: argparse.Namespace) -> int:
    """Evaluates what can be evaluated; returns the exit code."""
    verdicts = read_verdicts(options.verdicts) if options.verdicts else []
    folders, faults = run_folders(options.run_dir, "evaluate")
    for fault in faults:
        say(f"error: {fault}")
    files = [Path(file).expanduser() for file in options.choices]
    folder = options.choices_images and Path(options.choices_images).expanduser()
    questions = [(read_choices(file), folder or file.parent) for file in files]
    encoders: dict[tuple[str, str], tuple[Dataset, str, list[FieldTruth]]] = {}
    results: list[dict[str, Any]] = []
    read, bars = reader(options.strict), Bars()
    if options.embeddings:
        try:
            results.append(of_embeddings(options, verdicts, read))
        except (ValueError, OSError) as error:
            faults.append(str(error))
            say(f"error: {error}")
    for path in tqdm(folders, desc="measure", unit=" runs", delay=2, leave=False, disable=len(folders) < 2):
        try:
            run = load_run(path)
            dataset = dataset_of(run, options, read)
            asked = asked_of(options, verdicts, dataset)
            sides, scores = sides_of(run, dataset, bars), scores_of(run, dataset, bars)
            about = {"loss": run.config.loss, "matcher": run.config.matcher}
            figures = evaluated(dataset, asked, *sides, scores)
            results.append({"name": run.name, "path": str(run.path), **about, **figures})
            answers = [one for part in questions for one in choice_figures(run, *part, bars)]
            answers += filter(None, [hard_figure(run, dataset, bars)])
            if answers:
                results[-1]["choices"] = [one._asdict() for one in answers]
            encoder = run.began_with["name"]
            if not run.untrained:  # which is its encoder, measured already
                encoders[dataset.fingerprint, encoder] = dataset, encoder, asked.truths
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
        print("\n\n".join([*tables(results, options.split, options.per_class), *choice_tables(results)]))
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


def of_embeddings(options: argparse.Namespace, verdicts: list[Verdict], read: Read) -> dict[str, Any]:
    """What is told of two files of embeddings. Raises ValueError, of which DataFault is one, where they are not of the split."""
    name = " ".join(Path(path).name for path in options.embeddings)
    sides = two_arrays(name, options.embeddings)
    if options.dataset == "coco" and options.split == "test":
        dataset = coco_test(sides[0], options.truth_files)
    else:
        dataset = read(options.dataset, options.split, data_params(options.dataset, options.set))
    check_rows(name, sides, dataset)
    figures = evaluated(dataset, asked_of(options, verdicts, dataset), *map(unit, sides))
    tell_chance(name, figures["metrics"], dataset)
    return {"name": name, "path": "", "loss": "", "matcher": "", **figures}


class Asked(NamedTuple):
    """What is asked of a split beside its metrics: classes, what people say and of which file, truths of the field."""

    per_class: bool
    people: Judged | None
    verdicts: dict[str, str]
    truths: list[FieldTruth]


def asked_of(options: argparse.Namespace, verdicts: list[Verdict], dataset: Dataset) -> Asked:
    """Raises ValueError where classes are asked for and there are none, DataFault where the verdicts or a truth are not of
    the split: before anything is embedded."""
    if options.per_class and dataset.classes is None:
        raise ValueError(f"--per-class: {dataset.name} has no class labels")
    truths = [field_truth(name, dataset, options.truth_files) for name in dict.fromkeys(options.truth)]
    if not options.verdicts:
        return Asked(options.per_class, None, {}, truths)
    people = people_of(options.verdicts, verdicts, dataset)
    file = {"file": options.verdicts, "sha256": verdicts_digest(options.verdicts, verdicts)}
    return Asked(options.per_class, people, file, truths)


def evaluated(
    dataset: Dataset, asked: Asked, visual: np.ndarray, text: np.ndarray, scores: np.ndarray | None = None
) -> dict[str, Any]:
    """What is told of unit embeddings (N_v, E) and (N_t, E) of a split, or of a pair scorer's `scores` (N_v, N_t): shares in
    0 … 1; with people's verdicts, also the metrics where the pairs that they confirm are matches."""
    groups = dataset.visual_group, dataset.text_group
    metrics = split_metrics(dataset, visual, text)
    more: dict[str, Any] = {}
    if scores is not None:
        more["first_stage"] = metrics
        metrics = split_metrics(dataset, visual, text, scores)
    credits: dict[str, Truth] = {}
    if (alike := twins(dataset)) is not None:
        credits["with_duplicates"] = alike.credited()
    if asked.people is not None:
        credits["with_verdicts"] = credited(dataset, asked.people.confirmed)
        more["verdicts"] = {**asked.verdicts, **asked.people.counts}
    for name, truth in credits.items():
        ranked = rank_truth(visual, text, truth) if scores is None else rank_truth_of_scores(scores, truth)
        more[name] = metrics_of(ranked, dataset.classes is not None)
    if asked.truths:
        more["truths"] = {
            truth.name: {
                "about": truth.words,
                "metrics": evaluate_matches(visual, text, truth.galleries, scores),
            }
            for truth in asked.truths
        }
    if asked.per_class:
        rankings = rank_embeddings(visual, text, *groups) if scores is None else rank_scores(scores, *groups)
        more["per_class"] = {
            direction: class_map(ranking, labels, dataset.classes)
            for direction, ranking, labels in zip(DIRECTIONS, rankings, groups, strict=True)
        }
    return {**protocol(dataset), "metrics": metrics, **more}


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
    encoders: dict[tuple[str, str], tuple[Dataset, str, list[FieldTruth]]], progress: Progress | None = None
) -> tuple[list[dict[str, Any]], list[str]]:
    """The frozen encoder itself beside the runs of each data set, of (data, its name, truths); and why one can't be."""
    found, reasons = [], []
    for dataset, encoder, truths in encoders.values():
        try:
            sides = zero_shot(dataset, encoder, progress)
            figures = evaluated(dataset, Asked(False, None, {}, truths), *sides)
        except (ValueError, OSError) as error:
            reasons.append(f"{dataset.name}: no zero-shot row: {error}")
            continue
        about = {"name": f"zero-shot: {encoder}", "path": "", "loss": "", "matcher": ""}
        found.append(about | figures)
    return found, reasons


def metrics_of(rankings: Sequence[Ranking], classes: bool) -> dict[str, float]:
    """The metrics of rankings in both directions, and mean average precision of class labels."""
    metrics = evaluate_rankings(*rankings)
    if classes:
        for direction, ranking in zip(DIRECTIONS, rankings, strict=True):
            metrics[f"{direction}/map"] = float(np.nanmean(average_precision(ranking)))
    return metrics


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run_dir", nargs="*", metavar="RUN_DIR|FOLDER", help="runs, or folders of runs")
    parser.add_argument(
        "--dataset", default="", metavar="NAME|PATH", help="default: what each run was trained on"
    )
    parser.add_argument("--split", choices=SPLITS, default="test")
    words = "two files of embeddings of the split, in its order, as one more row"
    parser.add_argument("--embeddings", nargs=2, metavar=("IMG.npy", "TXT.npy"), help=words)
    words = "a parameter of the dataset that --embeddings are of"
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=words)
    names = ", ".join(f"{name} ({title})" for name, title in TRUTHS.items())
    parser.add_argument(
        "--truth", action="append", default=[], choices=TRUTHS, metavar="NAME",
        help=f"also tell the metrics by a truth of COCO's test split, one or more times: {names}",
    )  # fmt: skip
    words = "the folder of their files; default: those of the package eccv_caption"
    parser.add_argument("--truth-files", default="", metavar="DIR", help=words)
    words = "also tell how many questions of right and hard wrong captions each run answers, one or more times: a file of SugarCrepe, ARO or Winoground"
    parser.add_argument("--choices", action="append", default=[], metavar="FILE", help=words)
    words = "the folder of their pictures; default: that of the file"
    parser.add_argument("--choices-images", default="", metavar="DIR", help=words)
    parser.add_argument(
        "--verdicts", default="", metavar="FILE",
        help="also tell the metrics where pairs that people confirmed are matches (.jsonl, .csv or the app's database)",
    )  # fmt: skip
    parser.add_argument("--per-class", action="store_true", help="mean average precision of each class label")
    parser.add_argument("--json", action="store_true", help="print JSON, shares in per cent")
    add_strict(parser)
    add_places(parser)
    add_device(parser)
    options = parser.parse_args(argv)
    if not options.run_dir and not options.embeddings:
        parser.error("name runs, or --embeddings IMG.npy TXT.npy and their --dataset")
    if options.embeddings and not options.dataset:
        parser.error("--embeddings: name the data that they are of: --dataset coco, or a folder")
    if options.choices and not options.run_dir:
        parser.error("--choices asks runs, and none is named: embeddings in a file can't read new captions")
    if options.set and not options.embeddings:
        parser.error("--set is for --embeddings; runs know the parameters of their data")
    if options.truth and options.split != "test":
        parser.error(f"--truth is of the test split, not of {options.split}")
    return options


if __name__ == "__main__":
    sys.exit(main())
