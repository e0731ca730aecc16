"""Combine trained runs into one more run, and print what every rule to combine them reaches.

    python scripts/combine.py runs/info_nce runs/siglip runs/max_of_hinges
    python scripts/combine.py runs/* --rule hybrid --out runs/hybrid

A rule gives each run a weight. All choices (weights, members, and without --rule the rule) look at the validation
split only; the test split is measured afterwards, for the table. The combination is a folder beside its runs, which
the app and scripts/evaluate.py read as they read a run. It names its members and refuses them once they change.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from scripts import leave_at_once

    leave_at_once()

import numpy as np

from scripts import told
from scripts.command import Bars, say, the_runs
from scripts.metrics_table import aligned, percent
from scripts.options import add_device, add_places
from xmr.checkpoints import Member, Run, RunRefused, load_run, save_combination
from xmr.checkpoints.combination import check_alike, check_place
from xmr.checkpoints.folder import FILES, MAX_RUN, RUN, is_cached
from xmr.core import DIRECTIONS
from xmr.data import Dataset, load_dataset
from xmr.disk import aside, read, target
from xmr.embedding import embed_dataset
from xmr.fusion import (
    best_subset,
    deviation,
    equal_weights,
    hybrid,
    joined,
    learned_weights,
    reciprocal_rank,
    score_weights,
)
from xmr.losses import LOSSES
from xmr.metrics import (
    average_precision,
    evaluate,
    evaluate_embeddings,
    headline,
    map_at_r,
    rank_positives,
)
from xmr.scoring import sides_of, split_metrics
from xmr.words import program

RULES = {
    "mean": "equal weights of all runs' z-scores",
    "subset": "equal weights of the runs that are best together on validation",
    "hybrid": "the mean within groups of like runs, then of the groups that are best together on validation",
    "weighted": "weights learned on validation, one addition at a time",
    "rank": "reciprocal ranks, for comparison: no weighted sum, so it can't be searched or saved",
}
SAVED = [rule for rule in RULES if rule != "rank"]
# Column titles, after rsum or the mAP of class labels, and what they show: key of a split's metrics and factor.
COLUMNS = {
    "v2t mAP": ("v2t/map", 100),
    "t2v mAP": ("t2v/map", 100),
    "v2t R@1": ("v2t/recall_at_1", 100),
    "t2v R@1": ("t2v/recall_at_1", 100),
    "v2t true mAP@R": ("v2t/true_map_at_r", 100),
    "t2v true mAP@R": ("t2v/true_map_at_r", 100),
}
ROWS = 256  # queries whose ranks are fused at once

Metrics = dict[str, dict[str, float]]  # by split
Embeddings = list[tuple[np.ndarray, np.ndarray]]  # of each run: visual (N_v, E), text (N_t, E)


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    command = f"{program('combine')} {shlex.join(sys.argv[1:] if argv is None else argv)}"
    return told(lambda: run_all(options, command))


def run_all(options: argparse.Namespace, command: str) -> int:
    """Chooses on validation, measures on test, saves; returns the exit code."""
    bars = Bars()
    runs = load_runs(the_runs(options.run_dir, "combine"))
    if options.rule != "rank":
        runs = beside(options.out, runs)
    if options.rule != "rank":
        check_place(place(options, runs, options.rule or SAVED[0]), runs)  # told now, and not after minutes
    validation = load_split(runs, "validation")
    embeddings = [embed_dataset(run, validation, bars) for run in runs]
    say("choosing weights on validation")
    weights, tried = choose(runs, embeddings, validation)
    results = {"validation": measure(runs, embeddings, weights, validation)}
    reached = {rule: headline(results["validation"][rule])[1] for rule in RULES}
    figure = headline(results["validation"]["mean"])[0]
    rule = options.rule or max(SAVED, key=reached.__getitem__)
    # Everything is chosen; only now is the test split opened.
    test = load_split(runs, "test")
    results["test"] = measure(runs, [sides_of(run, test, bars) for run in runs], weights, test)
    report = reported(runs, weights, results) | {"chosen": rule, "path": None}
    if rule != "rank":
        training = {"command": command, "combinations_tried": tried, f"validation_{figure}": reached}
        members = [
            Member(run, float(weight), group(run))
            for run, weight in zip(runs, weights[rule], strict=True)
            if weight > 0
        ]
        metrics = report["rules"][rule]["metrics"]
        saved = save_combination(place(options, runs, rule), rule, members, metrics, training)
        report["path"] = str(saved.path)
    print(json.dumps(in_percent(report), indent=1) if options.json else in_words(report))
    return 0


def load_runs(folders: Sequence[Path]) -> list[Run]:
    """The trained runs in these folders by name: their order on the command line changes nothing."""
    runs: dict[Path, Run] = {}
    for folder in folders:
        try:
            run = load_run(folder)
        except RunRefused as error:
            raise RunRefused(f"{folder}: {error}") from error
        if run.members:  # as from an earlier call, caught by runs/*
            say(f"{folder} is a combination itself and left out")
        else:
            runs[run.path] = run
    if not runs:
        raise ValueError("there is no trained run to combine")
    found = sorted(runs.values(), key=lambda run: run.name)
    check_alike(found)
    return found


def beside(out: str, runs: Sequence[Run]) -> list[Run]:
    """The runs, those of the Hub's cache copied beside the combination `out`, which needs its members there. Raises ValueError
    where something else lies in their places."""
    found = []
    for run in runs:
        if is_cached(cached := run.path):
            if not out:
                raise ValueError(
                    "runs of the Hub are copied beside their combination: name its folder with --out"
                )
            folder = Path(out).expanduser().resolve().parent / run.name
            if not folder.exists():
                with aside(folder) as made:
                    made.mkdir()
                    for name in FILES:
                        if (cached / name).exists():
                            shutil.copyfile(target(cached / name), made / name)
            if (folder / RUN).exists() and read(folder / RUN, MAX_RUN) == read(cached / RUN, MAX_RUN):
                run = load_run(folder)
            else:
                raise ValueError(f"{folder} is there and is not {run.name} of the Hub; name another --out")
        found.append(run)
    return found


def place(options: argparse.Namespace, runs: Sequence[Run], rule: str) -> Path:
    """Where the combination goes: --out, else a folder beside the runs that is named after the rule."""
    return Path(options.out).expanduser().resolve() if options.out else runs[0].path.parent / rule


def load_split(runs: Sequence[Run], split: str) -> Dataset:
    """The split that all runs share. Raises ValueError where it is not the one that they were trained with."""
    config = runs[0].config
    data = load_dataset(config.dataset, split, **config.dataset_params)
    if data.fingerprint != runs[0].dataset["fingerprints"][split]:
        raise ValueError(f"{config.dataset} ({split}) is not the version that the runs were trained with")
    return data


def group(run: Run) -> str:
    """The design choices that a run shares with others: the family of its loss, its matcher, a selector or none."""
    if run.untrained:
        return run.about
    family = LOSSES[run.config.loss].make.__module__.rpartition(".")[2]
    return ", ".join([family, run.config.matcher, *(["selector"] if run.config.selector else [])])


def choose(
    runs: Sequence[Run], embeddings: Embeddings, validation: Dataset
) -> tuple[dict[str, np.ndarray], int]:
    """The weights of the runs' scores by every rule that has some, and how many combinations were tried for them."""
    deviations = [deviation(*pair) for pair in embeddings]
    known: dict[bytes, float] = {}

    def quality(weights: np.ndarray) -> float:
        key = weights.tobytes()
        if key not in known:
            if weights @ deviations == 0:
                return -np.inf  # collapsed runs only: their scores are all equal
            pair = combined(embeddings, score_weights(weights, deviations))
            groups = validation.visual_group, validation.text_group
            known[key] = headline(evaluate_embeddings(*pair, *groups, classes=validation.classes))[1]
        return known[key]

    weights = {
        "mean": equal_weights(len(runs)),
        "subset": best_subset(len(runs), quality),
        "hybrid": hybrid([group(run) for run in runs], quality),
        "weighted": learned_weights(len(runs), quality),
    }
    return {rule: score_weights(values, deviations) for rule, values in weights.items()}, len(known)


def combined(embeddings: Embeddings, weights: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of the combination with these weights of the runs' scores."""
    used = [i for i, weight in enumerate(weights) if weight > 0]
    share = [weights[i] for i in used]
    return joined([embeddings[i][0] for i in used], share), joined([embeddings[i][1] for i in used], share)


def measure(
    runs: Sequence[Run], embeddings: Embeddings, weights: dict[str, np.ndarray], data: Dataset
) -> dict[str, dict[str, float]]:
    """Metrics on one split, of every run by its path and of every rule by its name."""
    found = {str(run.path): split_metrics(data, *pair) for run, pair in zip(runs, embeddings, strict=True)}
    found |= {rule: split_metrics(data, *combined(embeddings, values)) for rule, values in weights.items()}
    return found | {"rank": of_ranks(embeddings, data)}


def of_ranks(embeddings: Embeddings, data: Dataset) -> dict[str, float]:
    """Metrics of reciprocal ranks. A rank is among a query's items, so each direction has fused scores of its own."""
    positives = data.visual_group[:, None] == data.text_group[None]
    truth = None if data.truth is None else data.truth.block(*map(np.arange, positives.shape))
    metrics: dict[str, float] = {}
    for direction in DIRECTIONS:
        turn = direction == "t2v"
        sides = [pair[::-1] if turn else pair for pair in embeddings]
        fused = np.concatenate(
            [
                reciprocal_rank([queries[start : start + ROWS] @ gallery.T for queries, gallery in sides])
                for start in range(0, len(sides[0][0]), ROWS)
            ]
        )
        found = evaluate(fused.T if turn else fused, positives)
        metrics |= {key: value for key, value in found.items() if key.startswith(direction)}
        if data.classes is not None:
            ranking = rank_positives(fused, positives.T if turn else positives)
            metrics[f"{direction}/map"] = float(np.nanmean(average_precision(ranking)))
        if truth is not None and (truth == 0).any():
            match = truth.T if turn else truth
            # Items of unknown truth go behind all others, where they take no place.
            ranking = rank_positives(np.where(np.isnan(match), -np.inf, fused), match > 0)
            metrics[f"{direction}/true_map_at_r"] = float(np.nanmean(map_at_r(ranking)))
    metrics["rsum"] = 100 * sum(value for key, value in metrics.items() if "/recall_at_" in key)
    return metrics


def reported(
    runs: Sequence[Run], weights: dict[str, np.ndarray], results: dict[str, dict[str, dict[str, float]]]
) -> dict[str, Any]:
    """What is told: members and rules with their metrics by split; a rule with the weights it gives."""

    def of(key: str) -> Metrics:
        return {split: found[key] for split, found in results.items()}

    def shares(rule: str) -> dict[str, float] | None:
        if rule not in weights:
            return None
        return {run.name: float(w) for run, w in zip(runs, weights[rule], strict=True) if w > 0}

    return {
        "dataset": runs[0].dataset["name"],
        "members": [
            {"name": run.name, "path": str(run.path), "group": group(run), "metrics": of(str(run.path))}
            for run in runs
        ],
        "rules": {rule: {"weights": shares(rule), "metrics": of(rule)} for rule in RULES},
    }


def in_percent(report: dict[str, Any]) -> dict[str, Any]:
    """What --json prints: the report with all shares in per cent, as scripts/evaluate.py."""

    def of(one: dict[str, Any]) -> dict[str, Any]:
        return one | {"metrics": percent(one["metrics"])}

    rules = {rule: of(one) for rule, one in report["rules"].items()}
    return report | {"unit": "per cent", "members": [of(one) for one in report["members"]], "rules": rules}


def in_words(report: dict[str, Any]) -> str:
    """The table, the chosen rule's weights, and how it does beside the run that is best on validation."""
    members, rules, chosen = report["members"], report["rules"], report["chosen"]
    shown = {
        title: place for title, place in COLUMNS.items() if place[0] in members[0]["metrics"]["validation"]
    }
    figure, _ = headline(members[0]["metrics"]["validation"])
    rows = [["", "group or runs", f"val {figure}", *shown, f"test {figure}", *shown]]
    for name, what, metrics in [
        *((m["name"], m["group"], m["metrics"]) for m in members),
        *((f"* {r}" if r == chosen else r, _runs(e, len(members)), e["metrics"]) for r, e in rules.items()),
    ]:
        values = []
        for split in ("validation", "test"):
            values.append(headline(metrics[split])[1])
            values += [factor * metrics[split][key] for key, factor in shown.values()]
        rows.append([name, what, *(f"{value:.1f}" for value in values)])
    lines = [aligned(rows, left=2), ""]
    best = max(members, key=lambda member: headline(member["metrics"]["validation"])[1])
    before, after = (headline(one["metrics"]["test"])[1] for one in (best, rules[chosen]))
    lines.append(
        f"{chosen}: test {figure} {after:.1f}; {best['name']}, the best single run on validation, has {before:.1f}"
    )
    if report["path"] is None:
        return "\n".join([*lines, "nothing is saved: reciprocal ranks are no weighted sum"])
    shares = sorted(rules[chosen]["weights"].items(), key=lambda share: -share[1])
    lines.append("score = " + " + ".join(f"{weight:.3f} {name}" for name, weight in shares))
    return "\n".join([*lines, f"written to {report['path']}"])


def _runs(entry: dict[str, Any], every: int) -> str:
    count = every if entry["weights"] is None else len(entry["weights"])
    return f"{count} of {every}"


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="rules:\n" + "\n".join(f"  {name}: {words}" for name, words in RULES.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "run_dir",
        nargs="+",
        metavar="RUN_DIR|FOLDER",
        help="trained runs of the same data, in one folder; those named hf-hub:ORG/NAME are copied beside --out",
    )
    parser.add_argument("--rule", choices=RULES, help="default: the one that is best on validation")
    parser.add_argument(
        "--out", default="", metavar="DIR", help="beside the runs; default: a folder named after the rule"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, shares in per cent")
    add_places(parser)
    add_device(parser)
    options = parser.parse_args(argv)
    if options.rule == "rank" and options.out:
        parser.error("reciprocal ranks are no weighted sum, so nothing can be saved: leave --out away")
    return options


if __name__ == "__main__":
    sys.exit(main())
