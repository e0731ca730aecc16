"""Writing a run's folder, and the model card in it."""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as tensor_bytes
from torch import nn

import xmr
from xmr.checkpoints.folder import (
    CARD,
    EMBEDDINGS,
    HISTORY,
    MATCHER,
    RUN,
    SCHEMA,
    SNAPSHOTS,
    WORDS,
    read_about,
)
from xmr.checkpoints.head import MAX_SCORES, Head, load_head
from xmr.checkpoints.snapshots import Snapshots, snapshot_bytes
from xmr.checkpoints.towers import load_towers
from xmr.checksums import digest
from xmr.core import DIRECTIONS, TrainConfig
from xmr.disk import write_files
from xmr.losses import LOSSES
from xmr.matchers import Vocabulary
from xmr.metrics import headline


@dataclass(frozen=True)
class Trained:
    """What training leaves behind, in memory; the fields are those of `Head`.

    `learned` are the hyper-parameters of the loss that were learned; `embeddings` the test split's, and `scores`
    (N_v, N_t) those of a matcher that scores pairs, else None. `snapshots` are of the test split through training. `files` are those of open_clip where the towers were
    trained, by name.
    """

    config: TrainConfig
    matcher: nn.Module
    learned: dict[str, float]
    vocabulary: Vocabulary | None
    dataset: dict[str, Any]
    encoder: dict[str, Any]
    metrics: dict[str, dict[str, float]]
    history: list[dict[str, Any]]
    embeddings: tuple[np.ndarray, np.ndarray]
    training: dict[str, Any] = field(default_factory=dict)
    scores: np.ndarray | None = None
    files: dict[str, bytes] | None = field(default=None, repr=False)
    snapshots: Snapshots | None = field(default=None, repr=False)

    @property
    def loss_values(self) -> dict[str, Any]:
        return LOSSES[self.config.loss].parse(self.config.loss_params) | self.learned


def save_run(folder: str | Path, trained: Trained) -> Head:
    """Writes a run's folder, whole or not at all, and reads it back. Raises CannotSave."""
    folder = Path(folder)
    state = {
        f"loss.{key}": torch.tensor(value, dtype=torch.float64) for key, value in trained.learned.items()
    }
    encoder, kind = trained.encoder, {}
    if trained.files is None:
        state |= {f"matcher.{key}": one.contiguous() for key, one in trained.matcher.state_dict().items()}
    else:
        encoder, kind = _tuned(folder, trained.files, encoder), {"kind": "towers"}
    files = {MATCHER: tensor_bytes(state), HISTORY: history_bytes(trained.history)}
    arrays = dict(zip(("visual", "text"), trained.embeddings, strict=True))
    if trained.scores is not None and trained.scores.size <= MAX_SCORES:
        arrays["scores"] = trained.scores
    files[EMBEDDINGS] = tensor_bytes({key: torch.from_numpy(part).half() for key, part in arrays.items()})
    if trained.snapshots is not None:
        files[SNAPSHOTS] = snapshot_bytes(trained.snapshots)
    if trained.vocabulary is not None:
        files[WORDS] = json.dumps(trained.vocabulary.to_json(), ensure_ascii=False).encode()
    about = about_bytes(
        **kind,
        config=trained.config.to_json(),
        dataset=trained.dataset,
        encoder=encoder,
        loss_values=trained.loss_values,
        metrics=trained.metrics,
        training=trained.training,
        files={name: digest(content) for name, content in (files | (trained.files or {})).items()},
    )
    card = model_card(folder.resolve().name, trained).encode()
    write_files(folder, files | {CARD: card, RUN: about})
    load = load_head if trained.files is None else load_towers
    return load(folder.resolve(), read_about(folder))


def _tuned(folder: Path, files: dict[str, bytes], before: dict[str, Any]) -> dict[str, Any]:
    """Writes open_clip's files, and tells the encoder that they are: what it is called where a run's folder lies is for
    `load_towers` to say. Raises CannotSave."""
    from xmr.encoders import read_anew  # open_clip takes seconds to import

    write_files(folder, files)
    found = read_anew(f"local-dir:{folder.resolve()}")
    return before | {"hash": found.hash, "before": before["hash"]}


def about_bytes(*, training: dict[str, Any], **parts: Any) -> bytes:
    """The content of run.json; `training` gets the versions of what decides the numbers of a run."""
    libraries = {name: version(name) for name in ("torch", "numpy", "safetensors")}
    versions = {"xmr": xmr.__version__, "python": platform.python_version(), **libraries}
    about = {"schema": SCHEMA, **parts, "training": training | {"versions": versions}}
    return (json.dumps(about, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def history_bytes(history: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(line) + "\n" for line in history).encode()


def model_card(name: str, trained: Trained) -> str:
    """README.md of a run: what it is, its numbers, and how to use it."""
    config, test = trained.config, trained.metrics["test"]
    sizes = ", ".join(
        f"{split} {size['visuals']:,} visuals and {size['texts']:,} captions"
        for split, size in trained.dataset["sizes"].items()
    )
    learned = trained.dataset.get("learned_from")
    if learned:
        sizes += (
            f"; learned from {learned['visuals']:,} visuals of the training split, chosen by seed {config.seed}, and their "
            f"{learned['texts']:,} captions"
        )
    values = ", ".join(f"{key} = {_short(value)}" for key, value in trained.loss_values.items())
    diverged = trained.training.get("diverged")
    figure, score = headline(test)
    towers = trained.files is not None
    what = (
        "Both towers of an open_clip model"
        if towers
        else f"A matcher for cross-modal retrieval (`{config.matcher}`)"
    )
    body = [
        f"{what}, trained with the loss `{config.loss}` ({values}) by xmr {xmr.__version__}.",
        *(
            [f"**Training diverged** at step {diverged['step']}; this is the best epoch before."]
            if diverged
            else []
        ),
        f"Data: {trained.dataset['name']} ({sizes}). "
        f"{'Trained from' if towers else 'Frozen features'}: {trained.encoder['name'] or 'from the dataset'}.",
        recall_table(test),
        f"{figure} {score:.1f}, test split; chosen by the validation {figure} "
        f"({headline(trained.metrics['validation'])[1]:.1f}).",
        f"```python\nfrom xmr.checkpoints import load_run\n\nrun = load_run({json.dumps(name)})\n```",
        f"Made with:\n\n```\n{trained.training.get('command') or 'xmr.training.train'}\n```",
    ]
    return card(name, trained.dataset["name"], config.loss, test, body)


def card(name: str, dataset: str, tag: str, test: dict[str, float], body: list[str]) -> str:
    """A README.md with Hugging Face's front matter, which tells the metrics of the test split, and paragraphs."""
    results = [
        f"      - type: {key.split('/')[1]}\n        name: {json.dumps(key)}\n        value: {value:.6g}"
        for key, value in test.items()
        if key.split("/")[-1].startswith(("recall_at_", "map"))
    ]
    source = json.dumps(dataset, ensure_ascii=False)
    front = [
        "---", "library_name: xmr", "tags:", "- cross-modal-retrieval", "- image-text-retrieval", "- xmr",
        f"- {tag}", "model-index:", f"- name: {json.dumps(name, ensure_ascii=False)}", "  results:",
        "  - task:", "      type: image-text-retrieval", "      name: Cross-modal retrieval", "    dataset:",
        f"      type: {source}", f"      name: {source}", "      split: test", "    metrics:", *results, "---",
    ]  # fmt: skip
    return "\n".join(front) + "\n\n" + "\n\n".join([f"# {name}", *body]) + "\n"


def recall_table(test: dict[str, float]) -> str:
    """Recall and median rank of both directions in Markdown; with class labels R@1 and mean average precision."""
    columns = {"R@1": "recall_at_1", "R@5": "recall_at_5", "R@10": "recall_at_10"}
    if "v2t/map" in test:
        columns = {"R@1": "recall_at_1", "mAP": "map", "mAP@50": "map_at_50"}
    rows = [
        f"| direction | {' | '.join(columns)} | median rank |", "|---|---|---|---|---|",
        *(
            f"| {d} | "
            + " | ".join(f"{100 * test[f'{d}/{key}']:.1f}" for key in columns.values())
            + f" | {test[f'{d}/median_rank']:g} |"
            for d in DIRECTIONS
        ),
    ]  # fmt: skip
    return "\n".join(rows)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
