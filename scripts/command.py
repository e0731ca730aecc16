"""What several command lines share: folders of runs, data that is read once, encoders asked before the work, and bars."""

from __future__ import annotations

import difflib
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from xmr.checkpoints import Run, RunRefused, is_finished, is_started, local, pinned
from xmr.checkpoints.folder import is_remote
from xmr.core import TrainConfig
from xmr.data import DATASETS, SPLITS, DataFault, Dataset, load_dataset
from xmr.data.sources import holds_pictures, is_there, kind_of
from xmr.data.summary import line
from xmr.embedding import ENCODER, Progress, encoder_wanted, frozen_features
from xmr.matchers import MATCHERS
from xmr.words import program

Read = Callable[[str, str, dict[str, Any]], Dataset]  # source, split and parameters to a split
OFTEN = 0.1 if sys.stderr.isatty() else 10  # seconds between two states of a bar; a log needs no animation


# ---- folders of runs ---------------------------------------------------------------------------------------


def run_folders(given: Sequence[str], script: str) -> tuple[list[Path], list[str]]:
    """The run folders that arguments of `script` name, each one itself, a folder that holds some, or a repository of the Hub with
    the commit told on stderr; and a line for each argument that names none. Unfinished runs below a folder are left out, told on stderr."""
    found: dict[Path, None] = {}
    faults = []
    for text in given:
        try:
            folder = local(text)
        except RunRefused as error:
            faults.append(str(error))
            continue
        if is_remote(text):
            say(f"fetched {pinned(text, folder)}")
        runs = [folder] if is_started(folder) else [path for path in _folders(folder) if is_started(path)]
        for run in runs:
            if run == folder or is_finished(run):
                found[run] = None
            else:
                say(f"{run} is not finished and left out")
        if not any(run == folder or is_finished(run) for run in runs):
            faults.append(f"{text} holds no run" if is_remote(text) else _no_run(folder, script))
    return list(found), faults


def the_runs(given: Sequence[str], script: str) -> list[Path]:
    """As `run_folders`, for a script that needs them all. Raises ValueError with the first fault."""
    found, faults = run_folders(given, script)
    if faults:
        raise ValueError(faults[0])
    return found


def one_run(text: str, script: str) -> Path:
    """The one run folder of that name. Raises ValueError, naming some, where it holds run folders, or holds none."""
    found = the_runs([text], script)
    folder = found[0] if is_remote(text) and len(found) == 1 else Path(text).expanduser()
    if found != [folder]:
        runs = f"{len(found)} run{'s' * (len(found) != 1)}"
        raise ValueError(f"{folder} is a folder of {runs}; name one, as {_command(script, found[0])}")
    return folder


def _no_run(folder: Path, script: str) -> str:
    """Why a folder is no run and holds none, and a command that can work."""
    beside = [
        path for path in _folders(folder.parent) if is_finished(path) or any(map(is_finished, _folders(path)))
    ]
    if not folder.exists():
        near = difflib.get_close_matches(folder.name, [path.name for path in beside], 1)
        hint = (
            f"did you mean {_command(script, folder.parent / near[0])}" if near else _train("blocks", "runs")
        )
        return f"there is no folder {folder}; {hint}"
    if not folder.is_dir():
        return (
            f"{folder} is a file; a run is the folder around its run.json: {_command(script, folder.parent)}"
        )
    above = [path for path in _folders(folder) if any(map(is_finished, _folders(path)))]
    if above:
        names = ", ".join(path.name for path in above[:3]) + (", …" if len(above) > 3 else "")
        return f"{folder} holds no run itself; there are some in {names}: {_command(script, above[0])}"
    try:
        kind = kind_of(folder)
    except DataFault:
        return f"{folder} holds no run: no run.json in it or in its folders; {_train('blocks', str(folder))}"
    return f"{folder} is data ({kind}) and holds no run; {_train(str(folder), 'runs')}"


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _command(script: str, path: Path) -> str:
    return f"{program(script)} {shlex.quote(str(path))}"


def _train(source: str, out: str) -> str:
    return f"train one: {training_command(source, out)}"


def training_command(source: str, out: str, params: Sequence[str] = ()) -> str:
    """A command that trains on the data `source`, with an encoder where pictures need one. Raises DataFault as `kind_of`."""
    encoder = ["--encoder", ENCODER] if source not in DATASETS and holds_pictures(source) else []
    sets = [word for param in params for word in ("--set", param)]
    words = ["--dataset", source, *encoder, *sets, "--loss", "info_nce", "--out", out]
    return f"{program('train')} {shlex.join(words)}"


# ---- data and encoders -------------------------------------------------------------------------------------


def reader(strict: bool = False) -> Read:
    """`load_dataset` that reads each split once and tells in a line what was read; with `strict` a fault in the data is an error."""
    read: dict[str, Dataset] = {}

    def load(source: str, split: str, params: dict[str, Any]) -> Dataset:
        key = json.dumps([source, split, params], sort_keys=True)
        if key not in read:
            first = not any(json.loads(other)[0] == source for other in read)
            read[key] = load_dataset(source, split, **{"strict": True} | params if strict else params)
            if first and (columns := read[key].about.get("columns")):
                say(f"{read[key].name}: {columns}")
            say(line(read[key]))
        return read[key]

    return load


def splits(config: TrainConfig, progress: Progress, strict: bool = False) -> dict[str, Dataset]:
    """All splits of what a configuration trains on, read once; given features averaged where they can be."""
    read = reader(strict)
    data = {split: read(config.dataset, split, config.dataset_params) for split in SPLITS}
    if not config.encoder and MATCHERS[config.matcher].make.inputs == "pooled":
        for split, part in data.items():
            if part.visual_features is not None:
                pooled = frozen_features(part, "", "pooled", progress).visual
                data[split] = replace(part, visual_features=pooled)
    return data


def source_of(run: Run, given: str) -> str:
    """What data to read: those that are `given`, else the run's own. Raises DataFault where these are not there, as in
    another working folder than that of the training."""
    source = given or run.config.dataset
    if given or is_there(source):
        return source
    near = run.path.expanduser().absolute().parent.parent / source
    place = shlex.quote(str(near)) if near.is_dir() else "FOLDER"
    raise DataFault(
        f"{run.path} was trained on {source!r}, and there is no such folder here; name where it lies: --dataset {place}"
    )


def check_encoder(source: str, encoder: str) -> None:
    """Raises, before pictures are read, what the encoder of pictures would raise after it: DataFault where none is named,
    ValueError where it can't be loaded."""
    if not holds_pictures(source):
        if encoder:
            raise DataFault(f"{source} has features and no pictures, so no encoder ({encoder!r}) can read it")
    elif encoder:
        from xmr.encoders import load_encoder  # open_clip takes seconds to import

        load_encoder(encoder)
    elif source not in DATASETS:
        raise DataFault(encoder_wanted(source))


# ---- the screen --------------------------------------------------------------------------------------------


class Bars:
    """A bar for each thing that takes long, as `xmr.embedding.Progress`: what is done, rows done, rows in all."""

    def __init__(self) -> None:
        self.bar: tqdm | None = None

    def __call__(self, what: str, done: int, rows: int) -> None:
        if self.bar is None or self.bar.desc != what:
            self.close()
            unit = " " + what.rpartition(" ")[2]
            self.bar = tqdm(
                desc=what, total=rows, initial=done, unit=unit, mininterval=OFTEN, dynamic_ncols=True
            )
        self.bar.update(done - self.bar.n)
        if done == rows:
            self.close()

    def close(self) -> None:
        if self.bar is not None:
            bar, self.bar = self.bar, None
            bar.close()


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Seconds in words, as in "1 h 2 min", "12 s" or "0.4 s"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
