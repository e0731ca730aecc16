"""Runs of several datasets, opened one dataset at a time."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from xmr import embedding
from xmr.checkpoints import Run, RunFault, RunRefused, list_runs, load_run
from xmr.checkpoints.folder import RUN
from xmr.data import DATASETS, load_dataset
from xmr.data.dataset import DataFault
from xmr.data.sources import is_there, kind_of
from xmr.registry import UnknownName, unknown
from xmr.workspace import Workspace
from xmr.workspace.parts import Memo
from xmr.workspace.public import source_name
from xmr.workspace.verdict_file import VerdictFile


@dataclass(frozen=True)
class Page:
    """The runs of one dataset, by name. `title` is what to call it, `path` is "" for the first page and elsewhere a name
    that no other page has; `open` makes the workspace, which may take long."""

    title: str
    path: str
    runs: dict[str, Run]
    open: Callable[[], Workspace]
    _memo: Memo = field(default_factory=Memo, repr=False)

    @property
    def is_open(self) -> bool:
        """Whether somebody has asked for the workspace."""
        return self._memo.has("workspace")

    def add(self, run: Run) -> None:
        """Takes in a run of this page's data that was finished since."""
        self.runs[run.name] = run
        if self.is_open:
            self.workspace.add(run)

    @property
    def workspace(self) -> Workspace:
        """The workspace of these runs, opened when first asked for."""
        return self._memo.get("workspace", self.open)


def open_pages(
    checkpoints: str | Path | Sequence[str | Path],
    dataset: str | None = None,
    recall: float = 1.0,
    verdicts: VerdictFile | None = None,
    truth_files: str = "",
) -> list[Page]:
    """A page for each dataset that runs below `checkpoints`, a folder or several, were trained on, or for `dataset` only.

    The first page is opened: it is that of the dataset with most runs that can be loaded, and its workspace names the
    runs whose dataset is missing, with the reason. The others are opened by those who ask. `recall`, `verdicts` and
    `truth_files` are those of `Workspace`, of all pages. Raises ValueError where the recall is outside (0, 1].
    """
    given = [checkpoints] if isinstance(checkpoints, str | Path) else checkpoints
    folder, *beside = map(Path, given)

    def as_asked(workspace: Workspace) -> Workspace:
        workspace.recall, workspace.verdicts = recall, verdicts or workspace.verdicts
        workspace.truth_files, workspace.beside = truth_files, tuple(beside)
        return workspace

    def opened(runs: Sequence[Run]) -> Workspace:
        return as_asked(_workspace(runs, folder))

    if not 0 < recall <= 1:
        raise ValueError(f"recall must be in (0, 1], found {recall}")
    runs, faults = runs_below([folder, *beside])
    if dataset is not None:
        source = trained_on(dataset, runs)
        return [_opened(as_asked(Workspace.open(folder, source, (runs, faults))))]
    missing: dict[str, tuple[Run, str]] = {}
    groups: list[list[Run]] = []
    for group in grouped(runs):
        reason = why_missing(group[0].config.dataset)
        if reason:
            missing |= {run.name: (run, reason) for run in group}
        else:
            groups.append(group)
    while groups:
        first = opened(groups[0])
        if not first.problem:
            break
        reason = first.problem.splitlines()[0]
        missing |= {run.name: (run, reason) for run in groups.pop(0)}
    if not groups:  # nothing can be shown, and the problem of all runs together says why
        return [_opened(as_asked(Workspace.open(folder, None, (runs, faults))))]
    first.faults, first.apart = faults, first.apart | missing
    pages = [_opened(first)]
    for group in groups[1:]:
        title = _title(group[0], groups)
        path = _path(title, [page.path for page in pages])
        own = {run.name: run for run in group}
        pages.append(Page(title, path, own, lambda own=own: opened(list(own.values()))))
    return [replace(pages[0], title=_title(groups[0][0], groups)), *pages[1:]]


def runs_below(folders: Sequence[Path]) -> tuple[list[Run], list[RunFault]]:
    """The runs of several folders as `list_runs` gives those of one. A run whose name one of another folder has already is
    called by its folder as well."""
    found: dict[Path, Run] = {}
    faults = []
    for folder in folders:
        own, broken = list_runs(folder)
        faults += broken
        for run in own:
            if run.path not in found:  # one folder may lie in another that is named too
                found[run.path] = named_apart(run, [one.name for one in found.values()])
    return list(found.values()), faults


def named_apart(run: Run, taken: Collection[str]) -> Run:
    """The run under a name that is not `taken`."""
    if run.name not in taken:
        return run
    name = f"{run.name} ({run.path.parent.name})"
    number = 2
    while name in taken:
        name, number = f"{run.name} ({run.path.parent.name} {number})", number + 1
    return replace(run, name=name)


def take_in(pages: Sequence[Page]) -> list[Page]:
    """Takes in the runs that were finished since the pages were made, and returns the pages that show something new. What
    is no whole run, and runs of data that have no page, are told on the first. Only folders with new names are read."""
    first, changed = pages[0], []
    if first.workspace.problem:
        return []
    known = {name for page in pages for name in page.runs} | {*first.workspace.apart}
    known |= {fault.path.name for fault in first.workspace.faults if (fault.path / RUN).exists()}
    folder = first.workspace.checkpoints.expanduser()
    arrived = sorted(path.parent for path in folder.glob(f"*/{RUN}") if path.parent.name not in known)
    arrived += _arrived_beside(first.workspace, pages)
    for path in arrived:
        try:
            run = named_apart(load_run(path), known)
        except (RunRefused, OSError) as error:
            first.workspace.faults = [*first.workspace.faults, RunFault(path, str(error))]
            changed.append(first)
            continue
        data = run.dataset["fingerprints"].get("test")
        held = [
            page
            for page in pages
            if any(data == one.dataset["fingerprints"].get("test") for one in page.runs.values())
        ]
        if held:
            held[0].add(run)
        else:
            first.workspace.add(run)
        faults = first.workspace.faults
        first.workspace.faults = [fault for fault in faults if fault.path.resolve() != run.path]
        changed += [first, *held[:1]]
    return [page for page in pages if any(page is one for one in changed)]


def _arrived_beside(first: Workspace, pages: Sequence[Page]) -> list[Path]:
    """Finished runs in the further folders that no page has."""
    runs = [*(run for page in pages for run in page.runs.values()), *(run for run, _ in first.apart.values())]
    known = {run.path for run in runs} | {fault.path.resolve() for fault in first.faults}
    below = [
        path.parent.resolve() for folder in first.beside for path in folder.expanduser().glob(f"*/{RUN}")
    ]
    return sorted(path for path in below if path not in known)


def trained_on(dataset: str, runs: Sequence[Run]) -> str:
    """The source that runs call `dataset`, or are shown under: as they were trained on it, or by its name or the last
    part of its path. Raises UnknownName, with the near miss, where there is no such, and where two have the name."""
    sources = {run.config.dataset for run in runs}
    if dataset in sources or is_there(dataset):
        return dataset
    called = {
        run.config.dataset
        for run in runs
        if dataset in (run.dataset["name"], source_name(run.config.dataset))
    }
    if len(called) > 1:
        raise UnknownName(f"{dataset!r} may be {' or '.join(map(repr, sorted(called)))}: name one of them")
    if not called:
        names = sorted({source_name(source) for source in sources} | {*DATASETS})
        raise UnknownName(unknown("dataset", dataset, names))
    return called.pop()


def holder(run: str, workspace: Workspace, pages: Sequence[Page]) -> Workspace:
    """The workspace, this one or that of a page, which holds the run. Raises UnknownName with the near miss."""
    page = next((page for page in pages if run in page.runs), None)
    if page is not None and run not in workspace.runs:
        return page.workspace
    if run not in {**workspace.runs, **workspace.apart}:
        raise UnknownName(
            unknown("run", run, [*workspace.runs, *(name for page in pages for name in page.runs)])
        )
    return workspace


def grouped(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs of the same test split, or of the same dataset with the same parameters, together: most runs first."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.dataset["fingerprints"].get("test", ""), []).append(run)
    same: dict[str, list[Run]] = {}
    for group in groups.values():
        # Where the same data lie in two places, the place of most runs is loaded.
        sources = Counter(_source(run) for run in group)
        usual = sources.most_common(1)[0][0]
        group.sort(key=lambda run: (_source(run) != usual, run.name))
        same.setdefault(usual, []).extend(group)
    return sorted(same.values(), key=lambda group: (-len(group), group[0].config.dataset))


def why_missing(source: str) -> str:
    """Why a dataset can't be loaded, as far as can be told without loading it; "" where it seems to be there."""
    if source in DATASETS:
        return ""
    try:
        kind_of(source, download=False)  # a stranger's run must not make a server fetch
    except (DataFault, OSError) as error:
        # A run may be a stranger's, and name any folder: what lies in it is nobody's business.
        reason = (
            str(error).splitlines()[0].removesuffix(" A folder can be one of:").partition(" (it holds ")[0]
        )
        return f"trained on {source!r}, which can't be loaded: {reason}"
    return ""


def _workspace(runs: Sequence[Run], folder: Path) -> Workspace:
    config = runs[0].config
    return Workspace.of(
        runs,
        config.dataset,
        load=lambda split: load_dataset(config.dataset, split, **config.dataset_params),
        embedder=embedding,
        checkpoints=folder,
    )


def _opened(workspace: Workspace) -> Page:
    name = Path(workspace.source).name if workspace.source else ""
    page = Page(name, "", dict(workspace.runs), lambda: workspace)
    assert page.workspace is workspace  # so it is open
    return page


def _source(run: Run) -> str:
    return json.dumps([run.config.dataset, run.config.dataset_params], sort_keys=True)


def _title(run: Run, groups: Sequence[Sequence[Run]]) -> str:
    """The dataset's name, with its parameters where another page's has the same."""
    name = run.dataset["name"]
    if sum(group[0].dataset["name"] == name for group in groups) == 1:
        return name
    params = ", ".join(f"{key} {value}" for key, value in run.config.dataset_params.items())
    return f"{name} ({params})" if params else f"{name} ({run.config.dataset})"


def _path(title: str, taken: Sequence[str]) -> str:
    """A name for an address: letters and digits of the title, behind "data-" so that it meets no route of Gradio."""
    slug = "data-" + (re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "set")
    number = 2
    path = slug
    while path in taken:
        path, number = f"{slug}-{number}", number + 1
    return path
