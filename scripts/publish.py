"""Push runs to the Hugging Face Hub: as models, or as a Space that shows them.

    python scripts/publish.py runs/info_nce --to ORG/NAME --license apache-2.0
    python scripts/publish.py runs/* --to ORG/NAME --private
    python scripts/publish.py runs/* --space ORG/NAME --license cc-by-4.0 --dry-run space && python space/app.py

One run lies at the top of its repository, so that open_clip loads towers by hf-hub:ORG/NAME; several have a folder each, and
the name stands for the folder of all of them. A combination takes its members along. Pushed are the files that run.json
vouches for, a run.json without paths of this machine, a card with the figures, their intervals and a picture, and nothing else:
no verdicts, no data. A second call changes what changed.

A Space has the app, what it requires, the runs, and of their test splits ids, captions and, with --license, copies of the
pictures, made smaller; with --with-data none ids stand in for pictures.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from scripts import leave_at_once

    leave_at_once()

from scripts import told
from scripts.command import say, the_runs
from xmr.checkpoints import Run, RunRefused, load_run
from xmr.encoders import hub_name
from xmr.hub import NAME, Repository, push
from xmr.publishing import Space, sync, write_repository, write_space
from xmr.publishing.folders import MADE, files_of
from xmr.publishing.paths import portable
from xmr.publishing.repositories import OF_RUNS, with_members
from xmr.publishing.space import OURS

PROGRAMS = Path(__file__).parent.parent
UNKNOWN = "unknown"  # the Hub's own word


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    return told(lambda: run_all(options))


def run_all(options: argparse.Namespace) -> int:
    """Writes the folder, and pushes it or puts it where --dry-run says; returns the exit code."""
    runs = loaded(options.run_dir)
    names = {run.began_with["name"]: hub_name(portable(run.began_with["name"])) for run in with_members(runs)}
    with tempfile.TemporaryDirectory() as place:
        made = Path(place) / "made"
        if options.space:
            license = "" if options.license == UNKNOWN else options.license
            space = Space(options.space, PROGRAMS, license, options.with_data == "test")
            for line in write_space(runs, made, space, names):
                say(line)
            return put(made, Repository(options.space, "space"), options, OURS)
        said = write_repository(runs, made, options.to, options.license, names)
        if options.license == UNKNOWN:
            said.append(
                "no licence is named, so the card says unknown, with which nobody may do much: --license apache-2.0"
            )
        for line in said:
            say(line)
        return put(made, Repository(options.to), options, OF_RUNS)


def put(made: Path, repository: Repository, options: argparse.Namespace, ours: Sequence[str]) -> int:
    """Pushes what was made, or tells what would be, with --dry-run FOLDER written there; returns the exit code."""
    files = {name: (made / name).stat().st_size for name in files_of(made)}
    size = f"{len(files):,} files, {sum(files.values()) / 1e6:.1f} MB"
    if options.dry_run is None:
        pushed = push(made, repository, "Published by xmr", private=options.private, ours=ours, mark=MADE)
        what = f"pushed {size}, commit {pushed.commit[:12]}" if pushed.changed else f"nothing changed, {size}"
        print(f"{pushed.address}: {what}")
    elif options.dry_run:
        done = sync(made, Path(options.dry_run))
        print(
            f"{options.dry_run}: {size}; {done.written} written, {done.deleted} deleted, {done.same} as they were"
        )
    else:
        print(
            "\n".join(
                [
                    *(f"{count:>12,}  {name}" for name, count in files.items()),
                    f"{repository}: {size}, not pushed",
                ]
            )
        )
    return 0


def loaded(given: list[str]) -> list[Run]:
    runs = []
    for folder in the_runs(given, "publish.py"):
        try:
            runs.append(load_run(folder))
        except RunRefused as error:
            raise RunRefused(f"{folder}: {error}") from error
    return runs


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run_dir", nargs="+", metavar="RUN_DIR|FOLDER")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--to", type=address, metavar="ORG/NAME", help="push the runs as a model repository")
    where.add_argument("--space", type=address, metavar="ORG/NAME", help="push a Space that shows them")
    words = "what a Space shows of data: copies of the test split's pictures, or none of them; default: %(default)s"
    parser.add_argument("--with-data", choices=("test", "none"), default="test", help=words)
    parser.add_argument(
        "--private", action="store_true", help="only you and those you let in see it, if it is made now"
    )
    parser.add_argument(
        "--license",
        default=UNKNOWN,
        metavar="ID",
        help="of the weights, or of what a Space shows, by the Hub's name for it, as apache-2.0; default: %(default)s",
    )
    parser.add_argument(
        "--dry-run",
        nargs="?",
        const="",
        metavar="FOLDER",
        help="push nothing; write what would be pushed to the folder, or list it",
    )
    return parser.parse_args(argv)


def address(text: str) -> str:
    if not NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no ORG/NAME")
    return text


if __name__ == "__main__":
    sys.exit(main())
