"""Read a data set as the other scripts read it, and tell what there is of each split: nothing is trained.

    python scripts/data.py path/to/folder
    python scripts/data.py pairs.csv --set image=where --set text=prompt --html card.html
    python scripts/data.py hf://ORG/NAME@REVISION:CONFIG --encoder ViT-B-32/laion2b_s34b_b79k --json

Which columns were taken for what, and of each split how many pictures and captions were read, what was left out by reason and by name, what stands
twice and what that does to the figures, how long captions are and in which scripts, and what is in the train split too. With --encoder also
how many captions it cuts off. --json has the same as data, --html as one page with a sheet of pictures, which needs no network.
The last line is the command that goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from scripts import leave_at_once

    leave_at_once()

from scripts import told
from scripts.command import Bars, say, training_command
from scripts.options import add_strict, data_params
from xmr import __version__
from xmr.data import SPLITS, Dataset, load_dataset
from xmr.data.card import Card, as_json, card, said
from xmr.data.looks import Looks, looks
from xmr.disk import write
from xmr.embedding import texts_read


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    return told(lambda: run_all(options))


def run_all(options: argparse.Namespace) -> int:
    """Reads the three splits and prints a card of each; returns the exit code."""
    source = options.dataset
    params = data_params(source, options.set)
    splits: dict[str, Dataset] = {}
    cards: dict[str, Card] = {}
    seen: dict[str, Looks] = {}
    lines: dict[str, list[str]] = {}
    for split in SPLITS:
        data = load_dataset(source, split, **{"strict": options.strict} | params)
        if not splits and not options.json and (columns := data.about.get("columns")):
            print(f"{data.name}: {columns}")
        splits[split] = data
        more = decoded(data, seen) if options.pixels else {}
        reads = None
        if options.encoder and data.gallery_visuals is None:
            reads = texts_read(None, options.encoder, data.captions)
        train = None if split == "train" else splits["train"]
        both = (seen[split], seen["train"]) if split in seen and "train" in seen else None
        cards[split] = card(data, train, reads, both) | more
        lines[split] = [*said(data, cards[split]), *(f"{count:,} {name}" for name, count in more.items())]
        if not options.json:
            print("\n  ".join(lines[split]), flush=True)
    if options.json:
        print(json.dumps(as_json(cards, splits["train"].about), indent=1, ensure_ascii=False))
    else:
        print(f"train on it:\n{training_command(source, 'runs', params=options.set)}")
    if options.html:
        write_page(Path(options.html), splits, cards, lines)
    return 0


def decoded(data: Dataset, seen: dict[str, Looks]) -> dict[str, int]:
    """Looks at every picture of a split, for `seen`; how many can't be decoded, if any."""
    if data.visuals is None:
        say(f"{data.name} ({data.split}) has no pictures to decode, only features")
        return {}
    bars = Bars()
    count = len(data.visuals)
    seen[data.split] = looks(data.visuals, lambda done: bars(f"decode {data.split} pictures", done, count))
    broken = int(seen[data.split].broken.sum())
    return {"pictures can't be decoded": broken} if broken else {}


def write_page(
    path: Path, splits: dict[str, Dataset], cards: dict[str, Card], lines: dict[str, list[str]]
) -> None:
    """The cards as one page of HTML."""
    from xmr.views.data_card import (
        sections,
    )  # views take a second to import, which plain words need not wait for
    from xmr.views.html import page

    test = splits["test"]
    intro = [f"{title}: {test.about[key]}" for key, title in ABOUT.items() if test.about.get(key)]
    shown = sections(splits, lines, {split: numbers(one) for split, one in cards.items()})
    write(path, page(f"Data card: {test.name}", intro, shown, f"Made by xmr {__version__}.", charts=False))
    say(f"{path}: the same as a page")


ABOUT = {"source": "Source", "licence": "Licence", "columns": "Columns"}


def numbers(found: Card) -> dict[str, str]:
    """The numbers of a card, by what they count."""
    twice, both = found["duplicates"], found.get("in_train", {})
    rows: dict[str, Any] = {
        "visuals": found["visuals"],
        "captions": found["captions"],
        "hard captions": found.get("hard_captions"),
        "left out": sum(found["left_out"].values()),
        "captions like one of another visual": twice.get("captions", 0),
        "visuals equal to one with other matches": twice.get("visuals", 0),
        "visuals nearly like one with other matches": found.get("nearly", {}).get("visuals"),
        "visuals that are in train too": both.get("visuals"),
        "visuals nearly like one of train": both.get("nearly", {}).get("visuals"),
        "captions that read like one of train": both.get("captions"),
        "captions that the encoder cuts off": found.get("encoder_reads", {}).get("cut"),
    }
    return {name: f"{count:,}" for name, count in rows.items() if count is not None}


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", metavar="NAME|PATH")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a parameter of the data set"
    )
    parser.add_argument(
        "--encoder", default="", metavar="NAME", help="tell how many captions its text tower cuts off"
    )
    parser.add_argument(
        "--pixels", action="store_true", help="decode every picture: those that look the same are equal, whatever their files, and those that nearly do are told"
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the card as JSON")
    parser.add_argument("--html", default="", metavar="FILE", help="write the card as a page with pictures")
    add_strict(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
