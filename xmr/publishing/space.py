"""The folder of a Space: the app, what it needs, runs, and what of their test splits may be shown."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

import xmr
from xmr.allowed import SHIPPED
from xmr.checkpoints import Run
from xmr.checkpoints.folder import OPEN_CLIP
from xmr.data import DATASETS, Dataset
from xmr.data.dataset import called
from xmr.data.generated import SHIPPED as PICTURES
from xmr.data.generated import table_name
from xmr.data.shown import write_shown
from xmr.embedding import frozen_features
from xmr.encoders import ENCODERS, transformers_is_needed
from xmr.hub import front_matter
from xmr.publishing.card import data_name, plain
from xmr.publishing.folders import CARD, MADE, check_paths
from xmr.publishing.paths import portable
from xmr.publishing.repositories import test_split, with_members, write_run

OURS = ("xmr/*", "checkpoints/*", "data/*")  # what a later call deletes where it is no longer wanted
LENT = "<2.12"  # of torch: ZeroGPU, which gives its GPU to some versions only, has 2.11 as its latest
TEXTS = "transformers>=5,<6\nsentencepiece\n"  # what some encoders read texts with
PARTS = (".py", ".js", ".css", ".html")
SERVE = '''"""Serves the runs of this Space: serve.py is xmr's app. Written by xmr publish, and written anew by the next call."""

import os
import runpy
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENCODERS = {encoders!r}
TOWERS = {towers!r}

if __name__ == "__main__":
    os.chdir(HERE)  # runs name their data from here
    sys.path.insert(0, str(HERE))
    allowed = [*ENCODERS, *(f"local-dir:{{HERE / 'checkpoints' / name}}" for name in TOWERS)]
    sys.argv[1:1] = ["--allow-encoders", *allowed] if allowed else []
    runpy.run_path(str(HERE / "serve.py"), run_name="__main__")
'''


@dataclass(frozen=True)
class Space:
    """What a Space is made of: its address, the folder of app.py and requirements.txt, the licence of what is shown (""
    where none is named), and whether pictures are."""

    address: str
    programs: Path
    license: str
    pictures: bool


def write_space(runs: Sequence[Run], folder: Path, space: Space, names: Mapping[str, str]) -> list[str]:
    """Writes the Space's folder, and returns what there is to say of it; `names` as of `write_repository`. Raises ValueError
    where the data of a run is not here, or its licence is not named; RunRefused, Refused as `write_repository`."""
    every, said = with_members(runs), []
    places = _data(every, folder, space, said)
    package = Path(xmr.__file__).parent
    for path in sorted(package.rglob("*")):
        inside = path.relative_to(package)
        if path.suffix in PARTS and inside.parts[0] != "programs" and path.is_file():
            (folder / "xmr" / inside).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / "xmr" / inside)
    for run in sorted(every, key=lambda run: bool(run.members)):
        source = places.get(run.dataset["fingerprints"]["test"])
        changes = {"dataset": source, "dataset_params": {}} if source else {}
        write_run(run, folder / "checkpoints" / run.name, names, changes)
    _write_encoders(every, folder)
    called = sorted({portable(run.encoder["name"]) for run in every} - {""})
    allowed = [name for name in called if name.startswith("hf-hub:")]
    towers = [run.name for run in every if (run.path / OPEN_CLIP[1]).exists()]
    here = [name for name in called if re.match(r"local-dir:|(?!hf-hub:)[^/]+/.*[./\\]", name)]
    for name in {*here} - {f"local-dir:{name}" for name in towers}:
        said.append(f"the encoder {name} is not in the Space, so its runs answer no typed words there")
    shutil.copyfile(space.programs / "app.py", folder / "serve.py")
    (folder / "app.py").write_text(SERVE.format(encoders=allowed, towers=towers), encoding="utf-8")
    lines = (space.programs / "requirements.txt").read_text("utf-8").splitlines()
    lines = [f"{line.partition(',')[0]},{LENT}" if line.startswith("torch>") else line for line in lines]
    needed = "".join(f"{line}\n" for line in lines if line.strip() and not line.startswith("#"))
    extra = TEXTS if any(map(transformers_is_needed, called)) else ""
    (folder / "requirements.txt").write_text(needed + extra, encoding="utf-8")
    (folder / CARD).write_text(_card(every, space, names, bool(places)), encoding="utf-8")
    check_paths(folder, [run.path.parent for run in every])
    return said


def _data(runs: Sequence[Run], folder: Path, space: Space, said: list[str]) -> dict[str, str]:
    """Writes what is shown of each test split, and returns where, by its fingerprint; generated data need no place."""
    places: dict[str, str] = {}
    for run in runs:
        fingerprint, config = run.dataset["fingerprints"]["test"], run.config
        if config.dataset in DATASETS:
            table = table_name(config.dataset, "test", config.dataset_params.get("seed", 0))
            place = folder / "checkpoints/pictures" / table
            if (PICTURES / table).is_dir() and not place.exists():
                shutil.copytree(PICTURES / table, place)
            continue
        if fingerprint in places:
            continue
        try:
            data = test_split(run)
        except OSError as error:
            raise ValueError(f"the data of {run.name} can't be read: {error}") from error
        if space.pictures and data.visuals is not None and not space.license:
            raise ValueError(
                f"the pictures of {data.name} would be public: name their licence with --license ID, or leave them out with --with-data none"
            )
        slug = re.sub(r"[^A-Za-z0-9_.-]+", "-", data.name).strip("-.") or "data"
        taken = {path.rpartition("/")[2] for path in places.values()}
        slug = next(name for name in (slug, *(f"{slug}-{n}" for n in range(2, 1000))) if name not in taken)
        alike = [one for one in runs if one.dataset["fingerprints"]["test"] == fingerprint]
        left = write_shown(data, folder / "data" / slug, space.pictures, _features(data, alike, said))
        said += [f"left out: {one}" for one in left]
        places[fingerprint] = f"data/{slug}"
    return places


def _features(
    data: Dataset, runs: Sequence[Run], said: list[str]
) -> dict[str, tuple[str, np.ndarray, np.ndarray]]:
    """Pooled features of the split by the encoders of the runs, and by those that they began with."""
    found = {}
    for encoder in sorted(
        {one for run in runs for one in (run.encoder["name"], run.began_with["name"]) if one}
    ):
        try:
            frozen = frozen_features(data, encoder)
        except (ValueError, OSError) as error:
            said.append(
                f"features of {portable(encoder)} are not kept, so that captions are compared by their words: {error}"
            )
        else:
            if frozen.text is not None:
                found[called(portable(encoder))] = frozen.encoder_hash, frozen.visual, frozen.text
    return found


def _write_encoders(runs: Sequence[Run], folder: Path) -> None:
    """The encoders that come with xmr, as far as runs were made with them."""
    for name in {run.encoder["name"] for run in runs} & {*ENCODERS}:
        shutil.copytree(SHIPPED / name, folder / "checkpoints/encoders" / name)


def _card(runs: Sequence[Run], space: Space, names: Mapping[str, str], own: bool) -> str:
    models = sorted({names.get(run.began_with["name"], "") for run in runs} - {""})
    data = sorted({data_name(run) for run in runs} - {""})
    license = space.license or ("" if own else "apache-2.0")  # which generated data have
    title = space.address.rpartition("/")[2]
    values = {
        "title": title,
        "emoji": "🧲",
        "colorFrom": "blue",
        "colorTo": "indigo",
        "sdk": "gradio",
        "sdk_version": version("gradio"),
        "python_version": "3.12",
        "app_file": "app.py",
        "short_description": "Losses of cross-modal retrieval, side by side",
        **({"license": license} if license else {}),
        "fullWidth": True,
        "header": "mini",
        **({"models": models} if models else {}),
        **({"datasets": data} if data else {}),
        "tags": ["xmr", "cross-modal-retrieval", "image-text-retrieval"],
    }
    rows = "\n".join(
        f"| {plain(run.name)} | {run.config.loss or run.about} | {plain(run.dataset['name'])} |"
        for run in runs
    )
    shown = "Pictures of the test split are copies, made smaller, without what cameras write into files."
    if not space.pictures:
        shown = "Pictures are not shown: ids stand in."
    licence = f" Licence of what is shown: {license}." if license else ""
    return "\n\n".join(
        [
            front_matter(values) + MADE,
            f"# {title}",
            f"Runs of xmr {xmr.__version__}, a laboratory for the loss in cross-modal retrieval. {shown if own else 'The data are generated.'}{licence}",
            f"| run | loss | data |\n|---|---|---|\n{rows}",
            "`python app.py` serves it elsewhere; `requirements.txt` is what it needs.\n",
        ]
    )
