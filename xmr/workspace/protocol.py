"""What stands beside numbers: the data that they are measured on, how each run was trained, and where runs differ in more
than their loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from xmr.data.summary import duplicate_words, in_train, left_out
from xmr.workspace import Workspace
from xmr.workspace.measurements import effective
from xmr.workspace.result_words import Cell
from xmr.workspace.words import stage_words, words_of

RUN_TITLES = ("run", "loss, as it ended", "matcher", "encoder", "selector", "seed", "training")


def data_facts(workspace: Workspace, split: str) -> dict[str, str]:
    """What the numbers are measured on: names of facts, and what they are."""
    data = workspace.dataset(split)
    words = words_of(data)
    each = np.bincount(data.visual_of_text, minlength=len(data.visual_ids))
    low, high = int(each.min()), int(each.max())
    number = f"{low}" if low == high else f"{low} to {high}"
    facts = {
        "dataset": f"{data.name}, split {split}",
        "size": f"{len(data.visual_ids):,} {words.visual}s and {len(data.captions):,} {words.text}s",
        "per item": f"{number} {words.text}{'' if low == high == 1 else 's'} for each {words.visual}",
        "fingerprint": data.fingerprint,
    }
    if told := workspace.caption_facts(split):
        facts[f"{words.text}s"] = told
    if data.classes is not None:
        facts["matches"] = f"decided by {len(data.classes)} class labels"
    elif len(np.unique(data.visual_group)) < len(data.visual_ids):
        facts["matches"] = f"{words.visual}s of the same group count as matches of each other's {words.text}s"
    if shared := workspace.read_elsewhere(split):
        facts["read alike"] = (
            f"{shared:,} {words.text}s read like one of another {words.visual}; here each matches its own annotation only, "
            "in Search they share their matches"
        )
    if data.truth is not None:
        known = "every pair" if data.truth.complete else "some pairs"
        facts["truth"] = f"known of {known}, also where nobody annotated it: {data.truth.source}"
    truths = workspace.field_truths(split).values()
    if others := [one.words for one in truths if data.truth is None or one.key != data.truth.key]:
        facts["also told"] = "; ".join(others)
    if data.faults:
        facts["left out"] = left_out(data)
    if words := duplicate_words(data):
        facts["duplicates"] = words
    return facts


def run_cells(workspace: Workspace, name: str) -> list[Cell]:
    """How a run came about, below `RUN_TITLES` but the first."""
    run = workspace.run(name)
    config, encoder = run.config, run.began_with["name"] or "features of the dataset"
    if not run.has_loss:
        members = ", ".join(member.run.name for member in run.members)
        return [Cell(run.about, members), Cell("–"), Cell(encoder), *[Cell("–")] * 3]
    values = effective(workspace, name)
    if run.untrained:
        params = ", ".join(f"{key} {_value(value)}" for key, value in values.items())
        looked = Cell(f"as if {config.loss}", params)
        space = Cell(run.about, f"{run.embed_dim} dimensions")
        return [looked, space, Cell(encoder, run.encoder["hash"]), *[Cell("–")] * 3]
    first = f"{config.first_loss} for {config.first_epochs} epochs first" if config.first_loss else ""
    params = ", ".join(f"{key} {_value(value)}" for key, value in values.items())
    space = ", ".join(filter(None, [f"{run.embed_dim} dimensions", stage_words(workspace, name)]))
    suspects = f"suspects: {config.suspects}" if config.selector else ""
    verdicts = f"confirmed pairs: {config.verdicts_as}" if config.verdicts else ""
    alike = f"duplicates: {config.duplicates}" if config.duplicates != "negative" else ""
    hard = run.dataset.get("hard_captions")
    hard = f"{hard:,} hard captions" if isinstance(hard, int) else ""
    pairs = run.dataset.get("learned_from", run.dataset["sizes"].get("train", {})).get("texts")
    epochs, best = run.training.get("epochs", config.epochs), run.training.get("best_epoch")
    training = [f"best epoch {best}"] if best is not None else []
    training += [
        f"batch {config.batch_size}",
        f"lr {config.lr_towers if config.tune != 'none' else config.lr:g}",
    ]
    return [
        Cell(run.last_loss[0], "; ".join(part for part in (params, first) if part)),
        Cell(run.about, space),
        Cell(encoder, run.began_with.get("hash", "")),
        Cell(
            config.selector or "none", "; ".join(part for part in (suspects, verdicts, alike, hard) if part)
        ),
        Cell(
            ", ".join(str(one.config.seed) for one in run.each),
            f"{pairs:,} training pairs" if pairs else "",
            config.seed,
        ),
        Cell(f"{epochs} epoch{'' if epochs == 1 else 's'}", ", ".join(training), epochs),
    ]


def data_warnings(workspace: Workspace, names: Sequence[str], split: str) -> Iterator[str]:
    """Where the runs' data differ, so that a difference between them may not be the loss's."""
    facts: dict[str, Callable[[Any], str]] = {
        "training data": lambda run: run.dataset["fingerprints"].get("train", ""),
        "validation data": lambda run: run.dataset["fingerprints"].get("validation", ""),
        "encoders": lambda run: f"{run.began_with['name']} {run.began_with.get('hash', '')}".strip(),
        "numbers of training visuals": lambda run: str(run.config.train_visuals or "all"),
        "uses of duplicates": lambda run: run.config.duplicates,
    }
    for what, fact in facts.items():
        held: dict[str, list[str]] = {}
        for name in names:
            if name in workspace.trained and not workspace.run(name).untrained:
                held.setdefault(fact(workspace.run(name)), []).append(name)
        if len(held) > 1:
            told = "; ".join(f"{value or 'unknown'}: {', '.join(some)}" for value, some in held.items())
            yield f"These runs have different {what}, so that not only the loss differs. {told}."
    if reason := workspace.no_field_truths(split):
        yield f"No figures by the field's truths of COCO: {reason}."
    learned: dict[str, list[str]] = {}
    for name in names:
        recorded = workspace.run(name).dataset["fingerprints"].get(split)
        if recorded is not None and recorded != workspace.dataset(split).fingerprint:
            yield f"{name} was trained beside another version of the {split} split ({recorded})."
        elif words := in_train(workspace.run(name).dataset, split):
            learned.setdefault(words, []).append(name)
    for words, some in learned.items():
        yield f"{', '.join(some)}: {words}."


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
