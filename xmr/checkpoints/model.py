"""A model as it is, or two files of embeddings: nothing was trained here, they are scores already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as tensor_bytes
from torch import nn

from xmr.checkpoints.files import RunRefused
from xmr.checkpoints.folder import (
    CARD,
    EMBEDDINGS,
    RUN,
    check_fields,
    check_outcome,
    check_sizes,
    clear_training,
    name_of,
    read_about,
)
from xmr.checkpoints.head import ABOUT, Head, config_of_loss
from xmr.checkpoints.save import about_bytes, card, recall_table
from xmr.checksums import digest
from xmr.core import TrainConfig
from xmr.disk import write_files
from xmr.losses import LOSSES
from xmr.losses.base import learnable
from xmr.matchers.unit import Unit
from xmr.metrics import headline


@dataclass(frozen=True, eq=False, kw_only=True)
class Model(Head):
    """The frozen encoder itself; without its name, embeddings that somebody's model made of the test split. Its loss is
    one that it is looked at *as if* it had been trained with: at its own temperature (and bias), where it has them."""

    @property
    def about(self) -> str:
        return "model as it is" if self.encoder["name"] else "embeddings of two files"

    @property
    def untrained(self) -> bool:
        return True

    def matcher(self) -> nn.Module:
        return self.form


def load_model(path: Path, about: dict[str, Any]) -> Model:
    """The model in the folder `path`; `about` is the content of its run.json. Raises RunRefused as `load_run`."""
    check_fields(ABOUT, about, RUN)
    encoder = about["encoder"]
    check_outcome(about, ("validation", "test") if encoder["name"] else ("test",))
    check_sizes(about)
    if encoder["visual_dim"] != encoder["text_dim"] or not encoder["visual_dim"]:
        raise RunRefused(
            f"{RUN}: {encoder['visual_dim']} and {encoder['text_dim']} dimensions on the two sides are no one space"
        )
    config = config_of_loss(about["config"])
    run = Model(
        name=name_of(path),
        path=path,
        **{key: about[key] for key in ("dataset", "encoder", "metrics", "training", "files")},
        config=config,
        loss_values=config.loss_params,
        form=Unit(encoder["visual_dim"]).eval(),
    )
    run._embedded()
    return run


def save_model(
    folder: str | Path,
    config: TrainConfig,
    dataset: dict[str, Any],
    encoder: dict[str, Any],
    metrics: dict[str, dict[str, float]],
    embeddings: Sequence[np.ndarray],
    command: str = "",
) -> Model:
    """Writes a model's folder, whole or not at all, and reads it back; `dataset`, `encoder` and `metrics` as in `Run`,
    `embeddings` unit ones of the test split, (N_v, D) and (N_t, D). Raises CannotSave."""
    folder = Path(folder).expanduser().resolve()
    arrays = {
        side: torch.from_numpy(part).half() for side, part in zip(("visual", "text"), embeddings, strict=True)
    }
    content = tensor_bytes(arrays)
    about = about_bytes(
        kind="model" if encoder["name"] else "embeddings",
        config=config.to_json(),
        dataset=dataset,
        encoder=encoder,
        metrics=metrics,
        training={"command": command},
        files={EMBEDDINGS: digest(content)},
    )
    figure, score = headline(metrics["test"])
    of = f"The encoder {encoder['name']}" if encoder["name"] else "A model, by its embeddings in two files,"
    body = [
        f"{of} as it is, measured by xmr on {dataset['name']}. Nothing was trained here.",
        recall_table(metrics["test"]),
        f"{figure} {score:.1f}, test split.",
        f"Made with:\n\n```\n{command or 'xmr.checkpoints.save_model'}\n```",
    ]
    told = card(folder.name, dataset["name"], "model", metrics["test"], body)
    write_files(folder, {EMBEDDINGS: content, CARD: told.encode(), RUN: about})
    clear_training(folder)
    return load_model(folder, read_about(folder))


def as_if_trained(loss: str, scale: float, bias: float | None) -> dict[str, float]:
    """Those learned hyper-parameters of a loss that a model's own `scale` of its scores (1 / temperature) and `bias` tell;
    one outside its range is at the nearest border."""
    told = {"temperature": 1 / scale, "scale": scale, "bias": bias}
    found = {}
    for name in learnable(LOSSES[loss]):
        if told.get(name) is not None:
            bounds = LOSSES[loss].param(name).range
            found[name] = min(max(told[name], bounds.low), bounds.high)
    return found
