"""Towers that were trained here: a folder of open_clip which is a run, and its own encoder."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from xmr.checkpoints.files import RunRefused
from xmr.checkpoints.folder import (
    OPEN_CLIP,
    RUN,
    TOKENIZER,
    check_fields,
    check_outcome,
    check_sizes,
    name_of,
)
from xmr.checkpoints.head import ABOUT, Head, checked_bytes, config_of_loss, history_in, learned_values
from xmr.disk import target
from xmr.losses import LOSSES
from xmr.matchers.unit import Unit

MAX_TOKENIZER = 64 << 20  # bytes of one of its files; that of Gemma has 34 MB


@dataclass(frozen=True, eq=False, kw_only=True)
class TowersRun(Head):
    """An open_clip model as training left it. Its `encoder` is its own folder, wherever that lies; `start` tells name and
    hash of the one that it began as."""

    start: dict[str, Any] = field(repr=False)

    @property
    def about(self) -> str:
        return f"towers, {self.config.tune}"

    @property
    def began_with(self) -> dict[str, Any]:
        return self.start

    def matcher(self) -> nn.Module:
        return self.form


def load_towers(path: Path, about: dict[str, Any]) -> TowersRun:
    """The towers in the folder `path`; `about` is the content of its run.json. Their weights are not read: whoever asks for
    words or pictures has them read as an encoder, which the hash has to tell. Raises RunRefused as `load_run`."""
    check_fields(ABOUT, about, RUN)
    check_outcome(about)
    check_sizes(about)
    told, files = about["encoder"], about["files"]
    if told["visual_dim"] != told["text_dim"] or not told["visual_dim"]:
        raise RunRefused(f"{RUN}: {told['visual_dim']} and {told['text_dim']} dimensions are no one space")
    checked_bytes(path, OPEN_CLIP[0], files)
    for name in set(TOKENIZER) & files.keys():
        checked_bytes(path, name, files, MAX_TOKENIZER)
    if not target(path / OPEN_CLIP[1]).is_file():
        raise RunRefused(f"{OPEN_CLIP[1]} is missing")
    config = config_of_loss(about["config"])
    run = TowersRun(
        name=name_of(path),
        path=path,
        **{key: about[key] for key in ("dataset", "metrics", "training", "files")},
        encoder=told | {"name": f"local-dir:{path}"},
        start={"name": told["name"], "hash": str(told.get("before", ""))},
        config=config,
        form=Unit(told["visual_dim"]).eval(),
        history=history_in(path, files),
    )
    learned = learned_values(run._trained(), LOSSES[config.loss])
    run._embedded()
    return replace(run, loss_values=config.loss_params | learned)


def path_words(path: list[dict[str, float]]) -> str:
    """What is reached on the way from the encoder as it came to what was learned; `path` as training tells it."""
    told = []
    for one in path:
        name = {0.0: "zero-shot", 1.0: "fine-tuned"}.get(one["share"], f"{one['share']:g} of the way")
        told.append(f"{name}: validation {one['validation']:.1f}, test {one['test']:.1f}")
    return "; ".join(told)
