"""Opens the workspace and serves the app: `python app.py --help`."""

import gc
import os
import signal
import sys

if __name__ == "__main__":
    gc.disable()  # until all is imported, of which nothing is garbage: looking for some takes a second
    # First of all: whatever is imported, measured or served, nobody wants to read where Ctrl-C met it.
    for sign in (signal.SIGINT, signal.SIGTERM):  # the latter of whoever restarts a server
        signal.signal(sign, lambda *_: stop() if "stop" in globals() else os._exit(130))

import argparse
import contextlib
import io
import shlex
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # gradio reads it when it is imported
# Threads of torch and faiss that wait in a loop take the processor from whoever else asks: a search took twice as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from xmr import zero_gpu
from xmr.allowed import allow_only, close_list, find_at, is_allowed, place_of, places
from xmr.hub import NAME
from xmr.limits import PUBLIC, is_public
from xmr.start import again, free_port, plain_warnings, why_no_runs

LAST: list[Callable[[], None]] = []  # what is done before the end
PATIENCE = 20  # seconds that verdicts may take then


def stop() -> None:
    """Ends the process: at once, but for verdicts that are still to be sent; asked a second time, without these."""
    try:
        while LAST:
            LAST.pop()()
        uploads = getattr(sys.modules.get("xmr.page.host"), "UPLOADS_FOLDER", None)
        if uploads:
            shutil.rmtree(uploads, ignore_errors=True)
        print("\nStopped.", flush=True)
    finally:  # also where nobody reads what is said any more
        os._exit(130)


def main(argv: list[str] | None = None) -> None:
    began = time.monotonic()
    words = sys.argv[1:] if argv is None else argv
    options = _parser().parse_args(words)
    plain_warnings()
    if options.public:
        os.environ[PUBLIC] = "1"
    runs = [_folder(one) for one in options.checkpoints]
    for folder in runs:
        if reason := why_no_runs(folder):
            sys.exit(reason)
    try:
        port = free_port(options.host, options.port)
    except (OSError, ValueError) as error:
        sys.exit(f"--host {options.host} --port {options.port}: {error}.")
    if port != options.port:
        sys.exit(f"Port {options.port} is in use. The next free one is {port}:\n{again(words, port)}")
    allow_only(_named_encoders(options.allow_encoders))
    try:
        find_at(places(options.encoder))
    except ValueError as error:
        sys.exit(f"{error}.")

    _say("Loading libraries …")
    zero_gpu.prepare()
    from xmr.devices import use_device
    from xmr.page import build_app, launch_options, warm_up
    from xmr.registry import UnknownName  # seconds from here on
    from xmr.store.mirror import Mirror
    from xmr.workspace.pages import open_pages
    from xmr.workspace.verdict_file import VerdictFile

    try:
        use_device(options.device)
    except ValueError as error:
        sys.exit(f"{error}.")
    _say(f"Reading the runs in {', '.join(options.checkpoints)} …")
    # A Space starts with an empty disk, unless a volume is mounted.
    most = {} if options.max_verdicts is None else {"most": options.max_verdicts}
    verdicts = VerdictFile(options.verdicts, **most).on_host(loses_files="SPACE_ID" in os.environ)
    if options.verdicts_repo:
        verdicts = replace(verdicts, mirror=Mirror(verdicts.place, options.verdicts_repo, _say))
        verdicts.mirror.open()
        LAST.append(lambda: verdicts.mirror.close(PATIENCE))
    try:
        pages = open_pages(runs, options.dataset, options.recall, verdicts, options.truth_files)
    except UnknownName as error:
        sys.exit(f"--dataset {options.dataset}: {error}.")
    if is_public():
        _say("Anybody may come here: limits are those of a public server.")
        close_list(_encoders_of(pages))
    first = pages[0].workspace
    for line in _found(pages):
        _say(line)
    if first.problem and not first.apart:
        sys.exit(first.problem)
    if first.problem:
        _say(f"Nothing can be shown yet. {first.problem}")
    app = build_app(pages, _stories(options, pages))
    with contextlib.redirect_stdout(
        io.StringIO()
    ):  # Gradio announces the MCP server, quiet or not; the address comes last
        _, address, _ = app.launch(
            server_name=options.host,
            server_port=port,
            prevent_thread_lock=True,
            quiet=True,
            **launch_options(pages),
        )
    gc.freeze()
    gc.enable()
    _say(f"The page can be opened: {address}\nWhat it shows first is measured meanwhile:")
    # After the first page can be had: encoders take seconds to import. Visitors go before it.
    if hasattr(os, "setpriority"):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
    warm_up(pages, _Progress())
    _say(f"Ready in {time.monotonic() - began:.0f} s; Ctrl-C ends it.\n{address}")
    app.block_thread()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Compare retrieval losses: one checkpoint per loss, side by side."
    )
    parser.add_argument("--checkpoints", nargs="+", default=["checkpoints"], metavar="DIR|hf-hub:ORG/NAME[@REVISION]",
        help="run folders, folders of them, or repositories of the Hub: one or more; default: checkpoints",
    )  # fmt: skip
    parser.add_argument("--dataset", metavar="NAME|PATH", help="show only this one; default: a page for each")
    parser.add_argument(
        "--recall", type=_share, default=1.0, metavar="R",
        help="share of the best that search has to find in galleries of more than 50,000; 1, the default, looks at all",
    )  # fmt: skip
    parser.add_argument(
        "--verdicts", type=Path, metavar="FILE",
        help="database of people's verdicts on suspected pairs; default: verdicts.sqlite in the folder XMR_CACHE or ~/.cache/xmr",
    )  # fmt: skip
    parser.add_argument(
        "--verdicts-repo", type=_dataset_name, default=os.environ.get("XMR_VERDICTS_REPO") or None, metavar="ORG/DATASET",
        help="a data set of the Hub in which verdicts are kept as well and read back at the start; it needs a token that may write; "
        "default: the variable XMR_VERDICTS_REPO",
    )  # fmt: skip
    parser.add_argument(
        "--truth-files", default="", metavar="DIR",
        help="the folder of ECCV Caption's and CxC's files, for COCO's test split; default: beside the data, or those of the package "
        "eccv_caption",
    )  # fmt: skip
    parser.add_argument(
        "--max-verdicts", type=int, metavar="N",
        help="verdicts and undos that are taken from visitors in all; default: 100,000",
    )  # fmt: skip
    parser.add_argument(
        "--allow-encoders", nargs="*", metavar="NAME",
        help="encoders hf-hub:ORG/REPO and local-dir:PATH that may be loaded because a run names them; without names: all. "
        "Default: none, since run folders may be a stranger's",
    )  # fmt: skip
    parser.add_argument(
        "--encoder", action="append", default=[], metavar="NAME=PATH",
        help="where an encoder lies now that runs call NAME, or by a longer name that ends so: a folder, or a file of weights; one or "
        "more times",
    )  # fmt: skip
    parser.add_argument(
        "--public", action="store_true",
        help="anybody may come: smaller uploads and answers, so many questions a minute, no encoders but those of the runs; always so "
        "on a Space (SPACE_ID)",
    )  # fmt: skip
    parser.add_argument(
        "--stories", type=Path, metavar="DIR",
        help="folder of stories of your own, *.md: steps of a few sentences beside a view, as xmr/stories/ has them",
    )  # fmt: skip
    parser.add_argument(
        "--device",
        default="auto",
        help="auto|cpu|cuda[:N]|mps: where to compute; default: an accelerator where there is one",
    )
    parser.add_argument("--host", default=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=os.environ.get("PORT") or "7860")
    return parser


def _folder(checkpoints: str) -> str | Path:
    """The folder of the runs; a repository of the Hub is fetched, and its commit told."""
    if not checkpoints.startswith("hf-hub:"):
        return checkpoints
    _say(f"Fetching {checkpoints} …")
    from xmr.checkpoints.folder import local, pinned  # a second or two

    try:
        folder = local(checkpoints)
    except ValueError as error:
        sys.exit(f"--checkpoints {checkpoints}: {error}.")
    _say(f"  {pinned(checkpoints, folder)}")
    return folder


def _dataset_name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no ORG/DATASET")
    return text


def _stories(options: argparse.Namespace, pages: list) -> list:
    """The stories that come with xmr, which tell of the runs that do, and those of --stories; what is left out is said."""
    from xmr.views.stories import SHIPPED, joined, open_stories

    own = Path(__file__).parent / "checkpoints"
    here = own.resolve() in [Path(one).resolve() for one in options.checkpoints]
    shipped = open_stories(SHIPPED, pages)[0] if here else []
    stories, faults = open_stories(options.stories, pages) if options.stories else ([], [])
    for fault in faults:
        _say(f"  story not shown: {fault}")
    return joined([shipped, stories])


def _share(text: str) -> float:
    if not 0 < (share := float(text)) <= 1:
        raise argparse.ArgumentTypeError(f"must be in (0, 1], found {text}")
    return share


def _named_encoders(names: list[str] | None) -> list[str] | None:
    return None if names == [] else names or []


def _found(pages: list) -> list[str]:
    """What there is to show, and what is not shown and why, for the operator: with whole paths."""
    first = pages[0].workspace
    lines = [
        f"  {page.title}: {len(page.runs)} run{'' if len(page.runs) == 1 else 's'}"
        for page in pages
        if page.runs
    ]
    runs = [part for page in pages for run in page.runs.values() for part in run.parts]
    encoders = {run.encoder["name"] for run in runs}
    if refused := sorted(name for name in encoders if name and not is_allowed(name)):
        lines.append(
            "  runs name encoders that are not loaded, so they answer no typed words and no uploads; if they are yours:"
        )
        lines.append(f"    --allow-encoders {shlex.join(refused)}")
    if moved := sorted(name for name in encoders if is_allowed(name) and _is_gone(name)):
        lines.append(
            "  encoders are not where runs say, so these answer no typed words and no uploads; tell where:"
        )
        lines += [f"    --encoder {shlex.quote(f'{name}=PATH')}" for name in moved]
    lines += [f"  not shown: {fault.path}: {fault.reason}" for fault in first.faults]
    return lines + [f"  not shown: {name}: {reason}" for name, (_, reason) in first.apart.items()]


def _encoders_of(pages: list) -> set[str]:
    """What the runs were made with, and what they began with."""
    runs = [part for page in pages for run in page.runs.values() for part in run.parts]
    return {one["name"] for run in runs for one in (run.encoder, run.began_with)}


def _is_gone(name: str) -> bool:
    """Whether the folder of an encoder is not there, and nobody said where it lies now."""
    folder = name.partition("local-dir:")[2]
    return bool(folder) and not place_of(name) and not Path(folder).is_dir()


class _Progress:
    """Says what is being done, on a terminal with how far it is."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, what: str, done: int = 0, of: int = 0) -> None:
        if what != self._last:
            _say(f"{what} …")
        elif sys.stdout.isatty():
            print(f"  {done} of {of}", end="\r", flush=True)
        self._last = what


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
