"""The folder of a repository that holds one run at its top, as the Hub expects a model, or several, each in a folder of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xmr.allowed import is_hash_of
from xmr.analysis import score_distributions, score_samples, scored_sides
from xmr.checkpoints import Run
from xmr.checkpoints.files import RunRefused
from xmr.checkpoints.folder import FILES, MAX_RUN, OPEN_CLIP, RUN, STATE, read_about
from xmr.checksums import digest, digest_of
from xmr.data import Dataset, load_dataset
from xmr.disk import read, target, write, write_files
from xmr.encoders import ENCODERS, load_encoder, read_anew
from xmr.figures.distributions import distribution_words
from xmr.publishing.card import card, front
from xmr.publishing.folders import CARD, check_paths
from xmr.publishing.paths import portable, portable_command
from xmr.publishing.picture import picture

PICTURE = "distributions.png"
TAKEN = (*FILES, PICTURE, "encoders", "pictures")  # of other things that lie where runs do
NAMES = (*(name for name in FILES if name not in (STATE, CARD)), PICTURE)
OF_RUNS = (*NAMES, *(f"*/{name}" for name in NAMES))  # what a later call deletes where it is no longer wanted


def with_members(runs: Sequence[Run]) -> list[Run]:
    """The runs, and those that combinations among them need, each once. Raises ValueError where two have one name."""
    every = {one.path: one for run in runs for one in (run, *(member.run for member in run.members))}
    for run in every.values():
        if run.name.startswith(".") or run.name in TAKEN:
            raise ValueError(f"no run of a repository can be called {run.name}: rename {run.path}")
    named: dict[str, Path] = {}
    for run in every.values():
        if named.setdefault(run.name, run.path) != run.path:
            raise ValueError(
                f"two runs are called {run.name}: {named[run.name]} and {run.path}; rename one of the folders"
            )
    return list(every.values())


def write_run(
    run: Run, folder: Path, names: Mapping[str, str], changes: Mapping[str, Any] | None = None
) -> None:
    """Writes the files of a run that its run.json vouches for, each checked, and that run.json without this machine's paths,
    with `changes` of its configuration; `names` as in `write_repository`. The members of a combination must be there already. Raises RunRefused."""
    folder.mkdir(parents=True)
    about = read_about(run.path)
    for name, sha256 in about.get("files", {}).items():
        if name not in FILES or name in (RUN, STATE):
            raise RunRefused(f"{run.name}: {name!r:.80} is no file of a run")
        shutil.copyfile(target(run.path / name), folder / name)
        if digest_of(folder / name) != sha256:
            raise RunRefused(
                f"{run.name}: {name} was altered or truncated: its SHA-256 is not the one in {RUN}"
            )
    command = about["training"].get("command")
    about = portable(about)
    if command:
        about["training"]["command"] = portable_command(command)
    if "config" in about:
        about["config"] |= changes or {}
    if name := names.get(run.began_with["name"]):
        about.get("encoder", {})["hub"] = name
    for member in about.get("members", []):
        member["sha256"] = digest(read(folder.parent / member["run"] / RUN, MAX_RUN))
    write(folder / RUN, as_json(about))


def as_json(about: dict[str, Any]) -> str:
    return json.dumps(about, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write_repository(
    runs: Sequence[Run], folder: Path, address: str, license: str, names: Mapping[str, str]
) -> list[str]:
    """Writes what is pushed to the repository `address`, and returns what there is to say of it. `names` are those on the
    Hub of encoders by what runs call them. Raises RunRefused, and Refused where a path of this machine would be told."""
    every, said = with_members(runs), []
    alone = len(every) == 1
    placed = {"" if alone else run.name: run for run in sorted(every, key=lambda run: bool(run.members))}
    pictures: dict[str, str] = {}
    for name, run in placed.items():
        write_run(run, folder / name, names)
        drawn, words = drawn_distributions(run)
        if drawn:
            (folder / name / PICTURE).write_bytes(drawn)
            pictures[name] = words
        else:
            said.append(f"{run.name} has no picture of its distributions: {words}")
        if run.untrained and run.encoder["name"] and not names.get(run.encoder["name"]):
            reason = write_weights(run, folder / name, address) if alone else "push it by itself for that"
            if reason:
                said.append(f"the weights of {run.name} are not pushed: {reason}")
        if not alone and (run.path / OPEN_CLIP[1]).exists():
            said.append(
                f"{run.name} holds towers: open_clip loads only what lies at a repository's top; push it by itself for that"
            )
    bases = [names.get(run.began_with["name"], "") for run in placed.values()]
    values = front(list(placed.values()), license, bases, alone and (folder / OPEN_CLIP[1]).exists())
    (folder / CARD).write_text(card(address, placed, values, pictures), encoding="utf-8")
    check_paths(folder, [run.path.parent for run in every])
    return said


def write_weights(run: Run, folder: Path, address: str) -> str:
    """Writes the weights of a model as it is beside its run, as open_clip loads them by hf-hub:`address`, and lets run.json name
    them so, unless xmr has them itself; returns why that can't be, "" where it was done."""
    from xmr.towers.saving import is_open_clips, open_clip_files

    try:
        encoder = load_encoder(run.encoder["name"])
    except ValueError as error:
        return str(error)
    if not is_open_clips(encoder):
        return "they are none of open_clip"
    files = open_clip_files(encoder, encoder.model.state_dict(), {})
    write_files(folder, files)
    about = json.loads((folder / RUN).read_text("utf-8"))
    if not is_hash_of(run.encoder["hash"], read_anew(f"local-dir:{folder}").hash):
        for name in files:
            (folder / name).unlink()
        return "open_clip would read them otherwise than they were read for its figures"
    about["files"] |= {name: digest(content) for name, content in files.items()}
    if run.encoder["name"] not in ENCODERS:
        about["encoder"] |= {"name": f"hf-hub:{address}", "hub": address}
    write(folder / RUN, as_json(about))
    return ""


def drawn_distributions(run: Run) -> tuple[bytes, str]:
    """A picture of the distributions of the test split's scores, captions asking, and what it shows in words; none, and why, where
    the data that tells which pairs match is not here."""
    try:
        data = test_split(run)
    except (ValueError, OSError) as error:
        return b"", str(error).splitlines()[0]
    visual, text = run.embeddings()
    if run.scores_pairs:
        if (scores := run.scores()) is None:
            return b"", "it scores pairs, and keeps no scores of so large a split"
        visual, text = scored_sides(scores, visual, text)
    truth = None if data.truth is None else lambda rows, columns: data.truth.block(columns, rows).T
    samples = score_samples(text, visual, data.text_group, data.visual_group, truth)
    found = score_distributions({run.name: samples})
    complete = data.truth is None or data.truth.complete
    return picture(
        f"{run.name}: captions asking for visuals, {data.name}, test split", found[run.name]
    ), distribution_words(found, complete)


def test_split(run: Run) -> Dataset:
    """The test split that a run was trained for. Raises ValueError where it is not here as it was, OSError."""
    data = load_dataset(run.config.dataset, "test", **run.config.dataset_params)
    if data.fingerprint != run.dataset["fingerprints"].get("test"):
        raise ValueError(f"{run.config.dataset} is not the version that {run.name} was trained on")
    return data
