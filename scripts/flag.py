"""Write the pairs of a run that are probably matches which nobody annotated, with the evidence, for relabelling.

    python scripts/flag.py runs/info_nce --out suspects.csv
    python scripts/flag.py runs/info_nce --split train --selector agreement --set runs=runs/siglip,runs/unified --out s.jsonl

Of both directions the negatives that the run's loss pushes hardest are asked for, and those that the selector suspects
are written, heaviest first, one line a pair: picture, caption, score, weight (d loss / d score in the loss of the query
that pushes it more), its rank in both directions, the nearest caption that was written for the picture and how near it
is, and where the dataset knows it whether the pair truly matches. Without --out as CSV to the screen.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence, Set
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from scripts import leave_at_once

    leave_at_once()

import numpy as np

from scripts import told
from scripts.command import Bars, one_run, reader, say, source_of
from scripts.options import add_device, add_places, add_strict, assign
from xmr.analysis import (
    PrecisionRecall,
    Retrieval,
    best_words,
    hard_negatives_by_weight,
    inner,
    nearest_own_caption,
    precision_recall,
    scored_sides,
    suspected_pairs,
)
from xmr.checkpoints import Run, RunRefused, load_run
from xmr.core import DIRECTIONS
from xmr.data import SPLITS, Dataset
from xmr.disk import write
from xmr.embedding import Progress, embed_dataset, frozen_features
from xmr.evidence import Evidence
from xmr.losses import LOSSES
from xmr.scoring import read_dataset
from xmr.selection import DEFAULT, SELECTORS, named_runs
from xmr.store import judged, read_verdicts
from xmr.tables import csv_text
from xmr.words import percent

COLUMNS = (
    "visual", "caption_of", "caption", "score", "weight", "rank_v2t", "rank_t2v", "nearest_caption", "similarity",
    "truth",
)  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    return told(lambda: run_all(options))


def run_all(options: argparse.Namespace) -> int:
    """Writes the pairs, and tells how many they are; returns the exit code."""
    folder = one_run(options.run_dir, "flag")
    try:
        run = load_run(folder)
    except RunRefused as error:
        raise RunRefused(f"{folder}: {error}") from error
    if not run.has_loss:
        raise ValueError(
            f"{run.name} is a combination: no loss pushes its negatives; name one of its members"
        )
    selector = options.selector or run.config.selector or DEFAULT
    own = run.config.selector_params if selector == run.config.selector else {}
    params = SELECTORS[selector].parse(own | settings(options.set, selector))
    source = source_of(run, options.dataset)
    dataset_params = run.config.dataset_params if source == run.config.dataset else {}
    data = reader(options.strict)(source, options.split, dataset_params)
    done = judged_already(options.verdicts, data) if options.verdicts else set()
    bars = Bars()
    try:
        rows, examined, repeated, right = flagged(run, data, selector, params, options.limit, done, bars)
    finally:
        bars.close()
    text = as_jsonl(rows) if (options.out or "").endswith(".jsonl") else csv_text(rows, COLUMNS)
    if options.out:
        write(Path(options.out), text)
    else:
        sys.stdout.write(text)
    words = (
        f"{len(rows):,} of the {examined:,} negatives that {run.name} pushes hardest on the {options.split} split are "
        f"suspected by {selector}"
    )
    if repeated:
        words += (
            f" ({repeated:,} more that read alike with one of these, of the same visual, are not repeated)"
        )
    if done:
        words += ", beside those that are judged already"
    if right.precision is not None:
        words += f"; {percent(right.precision)} of the suspected whose truth is known do match, of all {percent(right.base_rate)}"
    say(" ".join(part for part in (f"{words}.", best_words({selector: right})) if part))
    return 0


def settings(given: list[str], selector: str) -> dict[str, Any]:
    """The `key=value` strings as parameters of the selector."""
    owners: dict[str, list[Any]] = {
        "loss": [],
        "matcher": [],
        "selector": [SELECTORS[selector]],
        "dataset": [],
    }
    return assign(given, owners)["selector"]


def judged_already(path: str, data: Dataset) -> set[tuple[int, int]]:
    """The pairs (visual, text) on which there are verdicts. Raises DataFault where none is of this data."""
    found = judged(path, read_verdicts(path), data)
    return {(v, t) for pairs in (found.confirmed, found.refuted, found.unsure) for v, t in pairs.tolist()}


def flagged(
    run: Run,
    data: Dataset,
    selector: str,
    params: dict[str, Any],
    limit: int,
    without: Set[tuple[int, int]] = frozenset(),
    progress: Progress | None = None,
) -> tuple[list[dict[str, Any]], int, int, PrecisionRecall]:
    """The suspected ones among the `limit` hardest negatives of each direction, heaviest first, one row a pair with
    the keys `COLUMNS`, `without` some pairs (visual, text); how many different pairs were examined; how many suspects have
    no row because their text reads like that of a row of the same visual; and how right the selector is among the
    examined, as far as the dataset knows.

    Raises ValueError where the selector lacks its evidence, or the data is not what the run reads.
    """
    report = progress or (lambda *_: None)
    visual, text = embed_dataset(run, data, progress)
    if run.scores_pairs:
        visual, text = scored_sides(read_dataset(run, data, progress).matrix(progress), visual, text)
    encoder = run.encoder["name"]

    def peers(asking: dict[str, Any]) -> list[tuple[np.ndarray, np.ndarray]]:
        return [embed_dataset(load_run(folder), data, progress) for folder in named_runs(asking)]

    def features() -> tuple[np.ndarray, np.ndarray | None]:
        frozen = frozen_features(data, encoder, progress=progress)
        return frozen.visual, frozen.text

    evidence = Evidence(data.captions, features, peers(params))
    retrieval = Retrieval(visual, text, data.visual_group, data.text_group, evidence=evidence)
    loss, values = run.last_loss
    hyper = {p.name: values[p.name] for p in LOSSES[loss].params if p.name in values}
    of_loss = replace(evidence, peers=peers(hyper))
    heaviest: dict[tuple[int, int], float] = {}  # weight of each pair (visual, text)
    suspects: set[tuple[int, int]] = set()
    for direction in DIRECTIONS:
        seen = replace(retrieval, direction=direction)
        weighed = partial(report, f"weigh the negatives of {direction} queries")
        as_trained = replace(seen, evidence=of_loss)
        found = hard_negatives_by_weight(as_trained, loss, hyper, limit=limit, progress=weighed)
        v, t = (found.query, found.candidate)[:: 1 if direction == "v2t" else -1]
        heard = partial(report, f"ask {selector} of {direction} pairs")
        mask = suspected_pairs(selector, params, v, t, seen, heard)
        pairs = list(zip(v.tolist(), t.tolist(), strict=True))
        for pair, weight in zip(pairs, found.weight.tolist(), strict=True):
            heaviest[pair] = max(weight, heaviest.get(pair, 0.0))
        suspects |= {pair for pair, suspect in zip(pairs, mask, strict=True) if suspect}

    def truth_of(pairs: Sequence[tuple[int, int]]) -> np.ndarray:
        sides = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))
        return np.full(len(pairs), np.nan) if data.truth is None else data.truth.pairs(*sides)

    every = list(heaviest)
    right = precision_recall(np.array([pair in suspects for pair in every], bool), truth_of(every))
    once: dict[tuple[int, int], tuple[int, int]] = {}  # the same text against the same visual is one question
    for pair in sorted(suspects - without, key=lambda pair: (-heaviest[pair], pair)):
        once.setdefault((pair[0], int(evidence.text_keys[pair[1]])), pair)
    order = list(once.values())
    rows = rows_of(run, data, retrieval, order, [heaviest[pair] for pair in order], truth_of(order), report)
    return rows, len(heaviest), len(suspects - without) - len(order), right


def rows_of(
    run: Run,
    data: Dataset,
    retrieval: Retrieval,
    pairs: Sequence[tuple[int, int]],
    weights: Sequence[float],
    truth: np.ndarray,
    report: Progress,
) -> list[dict[str, Any]]:
    """A row with the keys `COLUMNS` for each pair (visual, text) of that weight and truth."""
    visual, text = retrieval.visual, retrieval.text
    v, t = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))
    similarity = retrieval.evidence.similarity
    nearest, near = nearest_own_caption(v, t, data.visual_group, data.text_group, similarity)
    rows = []
    for i in range(len(pairs)):
        report("rank suspected pairs", i, len(pairs))
        # Each rank by its own product, so that the pair never stands above itself by a last bit.
        if not run.scores_pairs:
            row, column = text @ visual[v[i]], visual @ text[t[i]]
        else:
            row, column = inner(visual[v[i : i + 1]], text)[0], inner(text[t[i : i + 1]], visual)[0]
        values = (
            data.visual_ids[v[i]],
            data.visual_ids[data.visual_of_text[t[i]]],
            data.captions[t[i]],
            round(float(row[t[i]]), 6),
            float(f"{weights[i]:.6g}"),
            int((row > row[t[i]]).sum()) + 1,
            int((column > column[v[i]]).sum()) + 1,
            data.captions[nearest[i]] if nearest[i] >= 0 else None,
            round(float(near[i]), 6) if nearest[i] >= 0 else None,
            None if np.isnan(truth[i]) else int(truth[i] > 0),
        )
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    if pairs:
        report("rank suspected pairs", len(pairs), len(pairs))
    return rows


def as_jsonl(rows: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run_dir", metavar="RUN_DIR")
    listed = "; ".join(f"{name}: {entry.caption}" for name, entry in SELECTORS.items()).replace("%", "%%")
    parser.add_argument(
        "--selector", default="", metavar="NAME", help=f"default: the run's own, else {DEFAULT}. {listed}"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a parameter of it")
    parser.add_argument(
        "--dataset", default="", metavar="NAME|PATH", help="default: what the run was trained on"
    )
    parser.add_argument(
        "--split",
        choices=SPLITS,
        default="test",
        help="default: %(default)s, which is small; train takes minutes",
    )
    parser.add_argument(
        "--verdicts", default="", metavar="FILE",
        help="leave out pairs that people judged already (.jsonl, .csv or the app's database)",
    )  # fmt: skip
    parser.add_argument(
        "--limit",
        type=positive,
        default=2000,
        help="hardest negatives of each direction to look at, default: 2000",
    )
    parser.add_argument("--out", default=None, type=named, metavar="FILE.csv|FILE.jsonl")
    add_strict(parser)
    add_places(parser)
    add_device(parser)
    return parser.parse_args(argv)


def positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1")
    return int(text)


def named(text: str) -> str:
    if not text.endswith((".csv", ".jsonl")):
        raise argparse.ArgumentTypeError(f"{text!r} ends neither in .csv nor in .jsonl")
    return text


if __name__ == "__main__":
    sys.exit(main())
