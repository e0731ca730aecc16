"""Ask a living Space, or an app elsewhere, whether it still answers: its runs, a search, and false negatives.

    python scripts/check_space.py ORG/NAME
    python scripts/check_space.py https://my-host.example --timeout 300

A line for each question, and the exit code 1 where one is not answered: for a job that runs every week.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from scripts import leave_at_once

    leave_at_once()

from scripts import told


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    return told(lambda: run_all(options))


def run_all(options: argparse.Namespace) -> int:
    """Asks, one thing after the other; returns the exit code."""
    from gradio_client import Client  # a second to import

    try:
        client = Client(options.space, verbose=False, httpx_kwargs={"timeout": options.timeout})
        runs = [run for run in asked(client, "/runs") if run["comparable"]]
        names = [run["name"] for run in runs]
        if not runs:
            raise ValueError("it has no runs to show")
        columns = asked(client, "/search", "a picture", names[:4], 3)["runs"]
        faults = [f"{name}: {column['fault']}" for name, column in columns.items() if not column["results"]]
        if len(faults) == len(columns):
            raise ValueError(f"no run answers a search: {faults[0]}")
        trained = next((run["name"] for run in runs if run["loss"]), "")
        if trained and not asked(client, "/false_negatives", trained)["examined"]:
            raise ValueError(f"no negatives of {trained} are examined")
        print(
            f"{options.space}: {len(names)} runs; {len(columns) - len(faults)} of {len(columns)} that were asked answer a search"
        )
    except Exception as error:  # whatever a server that is not well says, the client raises as anything
        lines = str(error).splitlines() or [type(error).__name__]
        print(f"{options.space} does not answer: {lines[0]:.300}", file=sys.stderr)
        return 1
    return 0


def asked(client: Any, endpoint: str, *words: Any) -> Any:
    """What an endpoint answers; how long it took is told."""
    started = time.monotonic()
    answer = client.predict(*words, api_name=endpoint)
    print(f"{endpoint}: {time.monotonic() - started:.1f} s")
    return answer


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("space", metavar="ORG/NAME|URL")
    parser.add_argument("--timeout", type=float, default=120, metavar="SECONDS", help="default: %(default)g")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
