"""From folders to runs."""

from __future__ import annotations

from pathlib import Path

from xmr.checkpoints.combination import load_combination
from xmr.checkpoints.files import RunRefused
from xmr.checkpoints.folder import RUN, STATE, RunFault, check_name, is_finished, kind_of, local, read_about
from xmr.checkpoints.head import load_head
from xmr.checkpoints.model import load_model
from xmr.checkpoints.run import Run
from xmr.checkpoints.towers import load_towers
from xmr.registry import unknown

# Each: (folder, content of its run.json, what loads a member's folder) -> Run.
KINDS = {
    "head": lambda path, about, _: load_head(path, about),
    "model": lambda path, about, _: load_model(path, about),
    "embeddings": lambda path, about, _: load_model(path, about),
    "towers": lambda path, about, _: load_towers(path, about),
    "combination": load_combination,
}


def load_run(path: str | Path) -> Run:
    """The run in a folder, or in a repository hf-hub:ORG/NAME[@REVISION], every file of it checked; of a combination, also
    every member.

    Raises RunRefused with the reason where files are missing, truncated, altered or not of a run; where the
    configuration names what there is not; where tensors are not those that the configuration implies; or where a
    member of a combination is missing, altered, elsewhere, or of other data.
    """
    return _load(local(path), {})


def verify(path: str | Path) -> RunFault | None:
    """What is wrong with the run in a folder; None where nothing is."""
    try:
        load_run(path)
    except RunRefused as error:
        return RunFault.of(Path(path), error)
    return None


def list_runs(folder: str | Path) -> tuple[list[Run], list[RunFault]]:
    """The runs in the folders below `folder` (or `folder` itself, if it is one), by name, and what is broken; `folder` may be
    a repository hf-hub:ORG/NAME[@REVISION].

    A broken one never hides the others. Folders without files are no runs and no faults: they group other things.
    A combination's members are the runs listed beside it, not copies of them.
    """
    try:
        folder = local(folder)
    except RunRefused as error:
        return [], [RunFault.of(Path(folder), error)]
    if not folder.is_dir():
        return [], [RunFault(folder, "there is no such folder")]
    runs, faults, known = [], [], {}
    for path in [folder] if is_finished(folder) else sorted(folder.iterdir()):
        try:
            if path.name.startswith(".") or not path.is_dir():
                continue
            if not any(one.is_file() or one.name == RUN for one in path.iterdir()):
                continue
            if path.is_symlink() and path.resolve().parent != folder.resolve():
                raise RunRefused(f"it is a link that leads out of {folder.name}; name the folder itself")
            runs.append(_load(path, known))
        except RunRefused as error:
            faults.append(RunFault.of(path, error))
        except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
            faults.append(RunFault.of(path, f"can't be read: {getattr(error, 'strerror', None) or error}"))
    return runs, faults


def _load(path: Path, known: dict[Path, Run]) -> Run:
    """The run in `path`; what was read is in `known`, so that no member is read twice."""
    path = path.expanduser().resolve()
    if not path.is_dir():
        raise RunRefused(f"there is no folder {path}")
    if not is_finished(path) and (path / STATE).exists():
        raise RunRefused(f"the run is not finished: no {RUN} yet; train on with --resume")
    check_name(path.name)
    return _loaded(path, known)


def _loaded(path: Path, known: dict[Path, Run], member: bool = False) -> Run:
    about = read_about(path)
    kind = kind_of(about)
    if kind not in KINDS:
        raise RunRefused(f"{RUN}: {unknown('kind of run', kind, KINDS)}")
    # So no combination can hold itself, however long the way round.
    if member and kind == "combination":
        raise RunRefused("it is itself a combination; only trained runs can be combined")
    if path not in known:
        known[path] = KINDS[kind](path, about, lambda one: _loaded(one, known, member=True))
    return known[path]
