"""Write one page of HTML about runs, to send: tables, plots and examples in one file that needs no network.

    python scripts/report.py runs/max_of_hinges runs/info_nce runs/siglip --out report.html
    python scripts/report.py runs/* --split validation --seed 3

    python scripts/report.py runs/* --story story.md

The first run is the one that the others are compared with. Runs of other data than most of them (or than --dataset)
are left out, and the page says so. --seed draws the examples.
With --story the page tells a story (xmr/views/stories.py) of these runs, such as the app collects views for, in the place of all that.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from itertools import count
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from scripts import leave_at_once

    leave_at_once()

from scripts import began, told
from scripts.command import duration, say, the_runs
from scripts.options import add_device, add_places
from xmr import __version__, embedding
from xmr.checkpoints import Run, RunRefused, load_run
from xmr.checkpoints.folder import is_remote
from xmr.data import SPLITS, load_dataset
from xmr.disk import write
from xmr.views.blocks import faults
from xmr.views.html import page
from xmr.views.report import SECTIONS, Subject, intro, steps_of
from xmr.views.stories import Story, story_of
from xmr.words import program
from xmr.workspace import Workspace
from xmr.workspace.pages import grouped


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    return told(lambda: run_all(options))


def run_all(options: argparse.Namespace) -> int:
    """Writes the page; returns the exit code."""
    started = began()
    out = Path(options.out)
    if out.is_dir():
        raise ValueError(f"--out {out} is a folder; name a file in it: {out / 'report.html'}")
    out.parent.mkdir(parents=True, exist_ok=True)
    story = story_of(Path(options.story)) if options.story else None
    runs = []
    for folder in the_runs(options.run_dir, "report"):
        try:
            runs.append(load_run(folder))
        except RunRefused as error:
            raise RunRefused(f"{folder}: {error}") from error
    say("reading the data")
    subject, left_out = open_subject(named_apart(runs), options.dataset, options.split, options.seed)
    text = report(subject, left_out, told_again(options), story)
    write(out, text)
    say(f"{out}: {len(text.encode()) / 1e6:.1f} MB, {duration(time.monotonic() - started)}")
    return 0


def report(
    subject: Subject, left_out: Sequence[str], command: Sequence[str], story: Story | None = None
) -> str:
    """The page, of a story its steps. `left_out` are warnings to begin with, `command` the arguments that made it."""
    sections = {}
    parts = SECTIONS if story is None else steps_of(story)
    for title, blocks in parts.items():
        say(f"{title} …")
        sections[title] = list(blocks(subject))
    if left_out:
        next(iter(sections.values())).insert(0, faults("left-out", [("", line) for line in left_out]))
    who = f"{len(subject.names)} runs" if subject.others else subject.names[0]
    made = f"Made by xmr {__version__} on {datetime.now(timezone.utc):%Y-%m-%d} with: {program('report')}"
    title = f"{who} on {subject.workspace.dataset().name} ({subject.split})"
    about = intro(subject)
    if story is not None:
        title, about = story.title, [one for one in (story.about, title) if one]
    return page(title, about, sections, f"{made} {shlex.join(command)}")


def open_subject(runs: Sequence[Run], dataset: str, split: str, seed: int) -> tuple[Subject, list[str]]:
    """The runs that can be compared, in the order given, and a line for each that can't.

    Raises ValueError where none is left or the dataset can't be loaded.
    """
    if dataset:
        params = next((run.config.dataset_params for run in runs if run.config.dataset == dataset), {})
    else:
        first = grouped(runs)[0][0].config
        dataset, params = first.dataset, first.dataset_params
    workspace = Workspace.of(
        runs, dataset, load=lambda part: load_dataset(dataset, part, **params), embedder=embedding
    )
    if not workspace.runs:
        why = workspace.problem.splitlines()[0] if workspace.problem else "there is no run"
        if "could not be loaded" not in why:
            why = f"none of these runs was trained on {dataset!r} as it is now"
        raise ValueError(f"{why}; name the dataset: --dataset NAME|PATH")
    names, left_out = [], []
    for run in runs:
        if run.name in workspace.apart:
            other = run.config.dataset
            reason = (
                f"trained on another version of {other!r}" if other == dataset else f"trained on {other!r}"
            )
            left_out.append(
                f"{run.name} is left out: {reason}, so its numbers can't stand beside the others'."
            )
            continue
        try:
            workspace.sides(run.name, split)
        except (ValueError, OSError) as error:
            left_out.append(f"{run.name} is left out: {error}.")
        else:
            names.append(run.name)
    if not names:
        raise ValueError(" ".join(left_out))
    return Subject(workspace, names, split, seed=seed), left_out


def named_apart(runs: Sequence[Run]) -> list[Run]:
    """Each run once; where names are not enough to tell them apart, with the folders above them."""
    runs = list({run.path: run for run in runs}.values())

    def called(depth: int) -> list[str]:
        return ["/".join([*run.path.parts[:-1], run.name][-depth:]) for run in runs]

    depth = next(depth for depth in count(1) if len(set(called(depth))) == len(runs))
    return [replace(run, name=name) for run, name in zip(runs, called(depth), strict=True)]


def told_again(options: argparse.Namespace) -> list[str]:
    """The command without the folders above a run, which are nobody else's business."""
    command = [folder if is_remote(folder) else Path(folder).name for folder in options.run_dir]
    command += ["--split", options.split, "--seed", str(options.seed)]
    command += ["--story", Path(options.story).name] if options.story else []
    return command if not options.dataset else [*command, "--dataset", Path(options.dataset).name]


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run_dir", nargs="+", metavar="RUN_DIR|FOLDER")
    parser.add_argument(
        "--dataset", default="", metavar="NAME|PATH", help="default: what most of the runs were trained on"
    )
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--seed", type=int, default=0, help="of the examples, default: %(default)s")
    parser.add_argument("--story", default="", metavar="FILE.md", help="tell this story of the runs")
    parser.add_argument("--out", default="report.html", metavar="FILE.html", help="default: %(default)s")
    add_places(parser)
    add_device(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
