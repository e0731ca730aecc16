"""From a configuration to everything that training needs: data, features, vocabulary, an untrained matcher."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from xmr.captions import TextsRead
from xmr.checkpoints import Run, as_if_trained, load_run
from xmr.core import TrainConfig
from xmr.data import SPLITS, DataFault, Dataset, load_dataset
from xmr.data.duplicates import Apart, shared
from xmr.data.summary import described, in_train, size
from xmr.devices import device
from xmr.embedding import (
    Frozen,
    Inputs,
    Progress,
    embed_dataset,
    embed_texts,
    encoder_wanted,
    frozen_features,
    matcher_inputs,
    pooled_features,
    texts_read,
)
from xmr.evidence import Evidence
from xmr.losses import LOSSES
from xmr.matchers import MATCHERS, Vocabulary, build_matcher, settled_params
from xmr.registry import Entry, UnknownName, unknown
from xmr.selection import ACTIONS, SELECTORS, named_runs
from xmr.store import Judged, judged, read_verdicts, verdicts_digest
from xmr.training.order import BATCHES


@dataclass(frozen=True)
class Task:
    """A configuration with everything in place that training needs."""

    config: TrainConfig  # with all parameters settled
    data: dict[str, Dataset]
    encoder: dict[str, Any]  # name, hash, visual_dim and text_dim
    inputs: dict[str, Inputs]
    vocabulary: Vocabulary | None
    matcher: nn.Module
    evidence: Evidence  # of the training split
    hard: Inputs | None  # the training split's hard captions, as the matcher reads them
    split: Dataset  # the whole training split, of which data["train"] is what is learned from
    judged: Judged | None = None  # what people say of the training split's pairs
    judged_digest: str = ""  # SHA-256 of their verdicts

    @cached_property
    def apart(self) -> Apart:
        return Apart.of(self.data["train"])

    @cached_property
    def texts_read(self) -> dict[str, TextsRead]:
        """How much of each split's captions the text tower reads; empty where it reads features of a file."""
        found = {
            split: texts_read(self.vocabulary, self.encoder["name"], data.captions)
            for split, data in self.data.items()
            if data.gallery_visuals is None
        }
        return {split: read for split, read in found.items() if read is not None}

    @cached_property
    def dataset(self) -> dict[str, Any]:
        whole, learned = self.data | {"train": self.split}, self.data["train"]
        found = described(whole)
        if self.judged is not None:
            found["verdicts"] = {"sha256": self.judged_digest, **self.judged.counts}
        twins = {split: len(shared(data, learned)) for split, data in whole.items() if split != "train"}
        if any(twins.values()):
            found["also_in_train"] = {split: count for split, count in twins.items() if count}
        if self.hard is not None:
            found["hard_captions"] = self.hard.texts
        if size(learned) != found["sizes"]["train"]:
            found["learned_from"] = size(learned)
        return found


def prepare(config: TrainConfig, load: Callable[[str], Dataset] | None, progress: Progress | None) -> Task:
    # All that can be wrong with the configuration is told before data is loaded.
    loss_params, given = LOSSES[config.loss].parse(config.loss_params), config.loss_params
    selector_params = SELECTORS[config.selector].parse(config.selector_params) if config.selector else {}
    if config.suspects not in ACTIONS:
        raise UnknownName(unknown("action on suspects", config.suspects, ACTIONS))
    if config.first_loss:
        LOSSES[config.first_loss]  # raises UnknownName
    BATCHES[config.batches]  # raises UnknownName
    asking = [(LOSSES[config.loss], loss_params)]
    if config.selector:
        asking.append((SELECTORS[config.selector], selector_params))
    if config.first_loss:
        asking.append((LOSSES[config.first_loss], {}))
    peers = _peers(asking)
    verdicts = read_verdicts(config.verdicts) if config.verdicts else []
    sha256 = verdicts_digest(config.verdicts, verdicts) if config.verdicts else ""
    if config.tune == "none":
        MATCHERS[config.matcher].parse(config.matcher_params)
    load = load or (lambda split: load_dataset(config.dataset, split, **config.dataset_params))
    data = {split: load(split) for split in SPLITS}
    if len(data["train"].captions) < 2:
        raise ValueError(f"{data['train'].name} has one training caption; a batch needs at least two")
    split = data["train"]
    people = judged(config.verdicts, verdicts, split) if config.verdicts else None
    if people is not None and people.others:
        warnings.warn(f"{config.verdicts}: {people.words}", stacklevel=3)  # of who called `train`
    chosen = learned_from(split, config.train_visuals, config.seed)
    if chosen is not None:
        data["train"] = split.some(chosen)
        people = None if people is None else people.some(split, chosen)
    config = replace(config, loss_params=loss_params, selector_params=selector_params)
    made = _head if config.tune == "none" else _towers
    config, encoder, inputs, hard, vocabulary, matcher, frozen = made(config, given, data, progress)
    if config.queue and matcher.scores_pairs:
        raise ValueError(
            f"--queue keeps embeddings, and {config.matcher} compares states of pairs by itself: queue 0"
        )
    if config.queue > (count := len(data["train"].captions)):
        raise ValueError(f"--queue {config.queue} would hold pairs twice: {count} are learned from")
    evidence = Evidence(
        data["train"].captions + (data["train"].hard_captions if hard else []),
        lambda: _pooled(data["train"], frozen(), hard is not None),
        [_of_peer(run, data["train"], hard is not None, progress) for run in peers],
    )
    task = Task(config, data, encoder, inputs, vocabulary, matcher, evidence, hard, split, people, sha256)
    for split in SPLITS:
        if words := in_train(task.dataset, split):
            warnings.warn(f"{config.dataset}: {words}", stacklevel=3)
    for split, read in task.texts_read.items():
        # A vocabulary tells by itself of captions that it cuts.
        if (read.cut and vocabulary is None) or 2 * read.unknown > read.words:
            warnings.warn(f"{data[split].name} ({split}): {read.said}", stacklevel=3)
    return task


# Configuration with all settled, encoder, inputs, hard captions, vocabulary, untrained matcher, and frozen features.
Made = tuple[
    TrainConfig, dict[str, Any], dict[str, Inputs], Inputs | None, Vocabulary | None, nn.Module, Callable[[], Frozen]
]  # fmt: skip


def _head(
    config: TrainConfig, given: dict[str, Any], data: dict[str, Dataset], progress: Progress | None
) -> Made:
    """A matcher on the features of a frozen encoder."""
    kind = MATCHERS[config.matcher].make.inputs
    frozen = {split: frozen_features(part, config.encoder, kind, progress) for split, part in data.items()}
    train = frozen["train"]
    params = settled_params(config.matcher, config.matcher_params, train.text_dim)
    vocabulary = None
    if MATCHERS[config.matcher].make.reads_words(params):
        vocabulary = Vocabulary.build(data["train"].captions, params["min_count"])
    inputs = {split: matcher_inputs(frozen[split], data[split].captions, vocabulary) for split in SPLITS}
    with seeded(config.seed, 0):
        matcher = build_matcher(config.matcher, params, train.visual.shape[-1], train.text_dim, vocabulary)
    if getattr(matcher, "metric_epochs", 0) >= config.epochs:
        raise ValueError(
            f"metric_epochs {matcher.metric_epochs} are the last of {config.epochs} epochs: leave some before them"
        )
    matcher.fit(train.visual, train.text)
    config = replace(config, matcher_params=params)
    encoder = _encoder(train.encoder, train.encoder_hash, train.visual.shape[-1], train.text_dim)
    hard = hard_inputs(data["train"], train, kind, vocabulary)
    return config, encoder, inputs, hard, vocabulary, matcher, lambda: train


def _towers(
    config: TrainConfig, given: dict[str, Any], data: dict[str, Dataset], progress: Progress | None
) -> Made:
    """The towers of an encoder themselves. What the loss learns begins at the encoder's own scale and bias, where
    nobody gave it."""
    from xmr.encoders import load_encoder  # open_clip takes seconds to import
    from xmr.towers import make_towers

    name = config.encoder or data["train"].encoder
    if not name:
        raise DataFault(encoder_wanted(data["train"].name))
    encoder = load_encoder(name)
    with seeded(config.seed, 0):
        towers, inputs, hard = make_towers(config, encoder, data)
    own = as_if_trained(config.loss, *encoder.scale_and_bias())
    config = replace(config, matcher="", loss_params=LOSSES[config.loss].parse(own | given))
    about = _encoder(name, encoder.hash, towers.embed_dim, towers.embed_dim)
    return (
        config,
        about,
        inputs,
        hard,
        None,
        towers,
        lambda: frozen_features(data["train"], name, progress=progress),
    )


def _encoder(name: str, digest: str, visual_dim: int, text_dim: int) -> dict[str, Any]:
    return {"name": name, "hash": digest, "visual_dim": visual_dim, "text_dim": text_dim}


def _pooled(data: Dataset, frozen: Frozen, hard: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """One vector of each visual, and of each caption, then of each hard one where they are learned from."""
    texts = [] if frozen.text is None else [pooled_features(frozen.text)]
    if texts and hard:
        kind = "tokens" if frozen.text.ndim == 3 else "pooled"
        texts.append(pooled_features(hard_features(data, frozen, kind)))
    return pooled_features(frozen.visual), np.concatenate(texts) if texts else None


def hard_inputs(data: Dataset, frozen: Frozen, kind: str, vocabulary: Vocabulary | None) -> Inputs | None:
    """A split's hard captions as the matcher reads them; None where there are none."""
    if not data.hard_captions:
        return None
    if vocabulary is not None:
        return Inputs(frozen.visual[:0], vocabulary.encode(data.hard_captions))
    return Inputs(frozen.visual[:0], hard_features(data, frozen, kind))


def hard_features(data: Dataset, frozen: Frozen, kind: str) -> np.ndarray:
    """Frozen features of a split's hard captions. Raises DataFault where those of captions came from a file."""
    if not frozen.encoder:
        raise DataFault(
            f"{data.name}: its text features came from a file, which has none of its {len(data.hard_captions):,} hard captions; "
            "remove the column, or take a matcher that reads words"
        )
    from xmr.encoders import load_encoder  # open_clip takes seconds to import

    return load_encoder(frozen.encoder).encode_texts(data.hard_captions, kind).astype(np.float16)


def learned_from(data: Dataset, count: int, seed: int) -> np.ndarray | None:
    """The visuals that are learned from, ascending: `count` of them chosen by seed; None for all."""
    if not 0 < count < len(data.visual_ids):
        return None
    return np.sort(np.random.default_rng([seed, count]).permutation(len(data.visual_ids))[:count])


def _peers(asking: Iterable[tuple[Entry, dict[str, Any]]]) -> list[Run]:
    """The trained runs that a loss and a selector ask; none where neither asks any. Raises ValueError where none is named, and where
    they name others."""
    asking = [(entry.name, named_runs(params)) for entry, params in asking if "peer_scores" in entry.needs]
    named = {name: folders for name, folders in asking if folders}
    if asking and not named:
        raise ValueError(f"{asking[0][0]} asks other trained models: name their folders, --set runs=DIR,DIR")
    if len(set(map(tuple, named.values()))) > 1:
        raise ValueError(f"{' and '.join(named)} ask the same models: name them for one, or alike for both")
    return [load_run(folder) for folder in next(iter(named.values()), [])]


def _of_peer(run: Run, data: Dataset, hard: bool, progress: Progress | None) -> tuple[np.ndarray, np.ndarray]:
    """A run's embeddings of the split, with those of its hard captions after the others where they are learned from."""
    visual, text = embed_dataset(run, data, progress)
    return visual, np.concatenate([text, embed_texts(run, data.hard_captions)]) if hard else text


@contextmanager
def seeded(seed: int, step: int, share: int = 0) -> Iterator[None]:
    """Torch's random numbers from (seed, step) alone, and others for each share of the step's work; the caller's generator
    goes on afterwards as if unused."""
    drawn = int(np.random.SeedSequence([seed, step, *([share] if share else [])]).generate_state(1)[0])
    others = [device()] if device().type == "cuda" else []
    with torch.random.fork_rng(others):
        torch.default_generator.manual_seed(drawn)
        for one in others:
            with torch.cuda.device(one):  # which need not be the current one
                torch.cuda.manual_seed(drawn)
        yield
