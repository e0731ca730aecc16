"""Make again what the repository ships below checkpoints/, from its root: the test pictures of `blocks` and the test clips
of `moving_blocks`, one run per loss and the hybrid of these, and one run per architecture.

    python scripts/ship.py [--encoder | --measure]

The runs are short and their embeddings narrow, so that all of them together stay small (see TRAINING and ARCHITECTURES).
With --encoder the encoder is pre-trained first (scripts/pretrain.py, most of an hour on two cores); runs belong to the
encoder they were trained on. With --measure nothing is trained: what the runs tell of themselves is measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from scripts import leave_at_once

    leave_at_once()

from scripts import combine, pretrain, told, train
from xmr.checkpoints import Run, list_runs
from xmr.checkpoints.files import digest
from xmr.checkpoints.folder import CARD, HISTORY, RUN, read_about
from xmr.checkpoints.save import history_bytes, model_card
from xmr.data import Dataset, load_dataset
from xmr.data.generated import SHIPPED, pictures, strips, table_name, write_pictures
from xmr.embedding import run_inputs
from xmr.losses.base import without_peers
from xmr.scoring import split_metrics, validate
from xmr.worlds.clips import clips_of
from xmr.worlds.scenes import scenes_of

CHECKPOINTS = SHIPPED.parent
# Captions that read alike were negatives of each other's pictures when these runs were first made.
ALIKE = ["--duplicates", "negative"]
TRAINING = [*ALIKE, "--epochs", "4", "--batch-size", "256", "--set", "embed_dim=48"]
# The pictures' pair scorers would each keep ten megabytes of scores, those of the fewer clips two and a half.
CLIPS = "--dataset moving_blocks --suffix clips --lr 0.002 --set embed_dim=48"
ARCHITECTURES = [
    "--dataset blocks --matcher graph --loss gravitation --first sum_of_hinges:1 --epochs 3 --lr 0.002 --set embed_dim=48",
    f"{CLIPS} --loss max_of_hinges info_nce --first sum_of_hinges:2 --epochs 8",
    f"{CLIPS} --matcher graph --loss gravitation --first sum_of_hinges:2 --epochs 8",
    f"{CLIPS} --matcher dual_encoding --loss info_nce --epochs 8 --set units=32 --set filters=32",
    f"{CLIPS} --matcher cross_attention --loss info_nce --epochs 6",
    f"{CLIPS} --matcher token_max --loss info_nce --epochs 6",
    f"{CLIPS} --matcher two_pathway --loss double_triplet --first contrastive:4 --epochs 16 --set metric_epochs=4 "
    "--set hidden=128",
]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoder", action="store_true", help="pre-train the encoder too")
    parser.add_argument("--measure", action="store_true", help="only measure what is there again")
    options = parser.parse_args(argv)
    return told(lambda: run(options))


def run(options: argparse.Namespace) -> int:
    """Makes all of it again; returns the exit code of the first that fails."""
    os.chdir(CHECKPOINTS.parent)  # runs remember their command, which should hold no path of this machine
    if options.measure:
        runs = [run for run in list_runs(Path("checkpoints"))[0] if run.has_loss]
        data = {
            name: {split: load_dataset(name, split) for split in ("validation", "test")}
            for name in {run.config.dataset for run in runs}
        }
        for run in runs:
            measure_again(run, data[run.config.dataset])
        return combined()
    shutil.rmtree(SHIPPED, ignore_errors=True)
    SHIPPED.mkdir(parents=True)
    write_pictures(SHIPPED / table_name("blocks", "test"), pictures("test", scenes_of("test")))
    write_pictures(SHIPPED / table_name("moving_blocks", "test"), strips("test", clips_of("test")))
    if options.encoder and (code := pretrain.main(["--out", "checkpoints/encoders/blocks", "--overwrite"])):
        return code
    for name in without_peers():  # each with its own command in its card
        if code := train.main(
            ["--dataset", "blocks", "--loss", name, *TRAINING, "--out", "checkpoints", "--overwrite"]
        ):
            return code
    for words in ARCHITECTURES:
        if code := train.main([*words.split(), *ALIKE, "--out", "checkpoints", "--overwrite"]):
            return code
    return combined()


def combined() -> int:
    members = [f"checkpoints/{name}" for name in without_peers() if Path(f"checkpoints/{name}").exists()]
    return combine.main([*members, "--rule", "hybrid", "--out", "checkpoints/hybrid"])


def measure_again(run: Run, data: dict[str, Dataset]) -> None:
    """Writes what the run reaches into its run.json, its card and its history's line of the best epoch."""
    metrics = {"validation": validate(run.matcher(), run_inputs(run, data["validation"]), data["validation"])}
    metrics["test"] = split_metrics(data["test"], *run.embeddings(), run.scores())
    if run.scores_pairs:
        metrics["first_stage"] = split_metrics(data["test"], *run.embeddings())
    best = run.training["best_epoch"]
    lines = [line | metrics["validation"] if line["epoch"] == best else line for line in run.history]
    history, about = history_bytes(lines), read_about(run.path)
    about |= {"metrics": metrics, "files": about["files"] | {HISTORY: digest(history)}}
    (run.path / HISTORY).write_bytes(history)
    (run.path / CARD).write_text(model_card(run.name, replace(run, metrics=metrics)), encoding="utf-8")
    content = json.dumps(about, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    (run.path / RUN).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
