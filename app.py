"""Opens the workspace and serves the app: `python app.py --help`."""

import argparse
import os
import threading
from pathlib import Path

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # gradio reads it when it is imported
# Threads of torch and faiss that wait in a loop take the processor from whoever else asks: a search took twice as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from xmr.ui import build_app, launch_options, warm_up
from xmr.workspace.pages import open_pages
from xmr.workspace.verdict_file import VerdictFile


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description="Compare retrieval losses: one checkpoint per loss, side by side."
    )
    parser.add_argument("--checkpoints", default="checkpoints", metavar="DIR", help="folder of run folders")
    parser.add_argument("--dataset", metavar="NAME|PATH", help="show only this one; default: a page for each")
    parser.add_argument(
        "--recall", type=float, default=1.0, metavar="R",
        help="share of the best that search has to find in galleries of more than 50,000; 1, the default, looks at all",
    )  # fmt: skip
    parser.add_argument(
        "--verdicts", type=Path, metavar="FILE",
        help="database of people's verdicts on suspected pairs; default: verdicts.sqlite in the folder XMR_CACHE or ~/.cache/xmr",
    )  # fmt: skip
    parser.add_argument(
        "--max-verdicts", type=int, default=VerdictFile.most, metavar="N",
        help="verdicts and undos that are taken from visitors in all; default: %(default)s",
    )  # fmt: skip
    parser.add_argument("--host", default=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=os.environ.get("PORT", "7860"))
    options = parser.parse_args(argv)
    # A Space starts with an empty disk, unless a volume is mounted.
    verdicts = VerdictFile(options.verdicts, most=options.max_verdicts).on_host(
        loses_files="SPACE_ID" in os.environ
    )
    pages = open_pages(options.checkpoints, options.dataset, options.recall, verdicts)
    app = build_app(pages[0].workspace, pages)
    app.launch(
        server_name=options.host, server_port=options.port, prevent_thread_lock=True, **launch_options(pages)
    )
    # After the first page can be had: encoders take seconds to import. Visitors go before it.
    if hasattr(os, "setpriority"):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
    warm_up(pages[0].workspace)
    print("Warm: all runs are measured.", flush=True)
    app.block_thread()


if __name__ == "__main__":
    main()
