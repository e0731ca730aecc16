"""Read a data set as the other scripts read it, and tell what there is of each split: nothing is trained.

    python scripts/data.py path/to/folder
    python scripts/data.py pairs.csv --set image=where --set text=prompt
    python scripts/data.py hf://ORG/NAME@REVISION:CONFIG

Which columns were taken for what, and one line a split: how many pictures and captions were read, what was left out by reason and by name, what stands twice. The last
line is the command that goes on.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from scripts import leave_at_once

    leave_at_once()

from scripts import told
from scripts.command import training_command
from scripts.options import add_strict, data_params
from xmr.data import SPLITS, load_dataset
from xmr.data.duplicates import shared
from xmr.data.summary import in_train, line


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    return told(lambda: run_all(options))


def run_all(options: argparse.Namespace) -> int:
    """Reads the three splits and prints a line for each; returns the exit code."""
    source = options.dataset
    params = data_params(source, options.set)
    train = None
    for split in SPLITS:
        data = load_dataset(source, split, **{"strict": options.strict} | params)
        if train is None and (columns := data.about.get("columns")):
            print(f"{data.name}: {columns}")
        print(line(data), flush=True)
        train = train or data
        if data is not train and (twins := len(shared(data, train))):
            sizes = {split: {"visuals": len(data.visual_ids)}}
            record = {"kind": data.kind, "also_in_train": {split: twins}, "sizes": sizes}
            print(in_train(record, split), flush=True)
    print(f"train on it:\n{training_command(source, 'runs', params=options.set)}")
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", metavar="NAME|PATH")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a parameter of the data set"
    )
    add_strict(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
