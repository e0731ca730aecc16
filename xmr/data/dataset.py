"""One split of visuals and captions, and what is known of which match."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from xmr.captions import first_alike
from xmr.core import Direction
from xmr.registry import Registry

# Each entry is a function (split, **params) -> Dataset; kinds of folders are recognised by `load_dataset`.
DATASETS = Registry("dataset")

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


class DataFault(ValueError):
    """Something is wrong with the user's data; the message names the file and what to do."""


@dataclass(frozen=True)
class Truth:
    """What really matches, beyond the annotation.

    `block(visuals, texts)` takes index vectors (V,) and (T,) and returns relevance (V, T) float32: 1 matches,
    0 does not, NaN unknown. `pairs(visuals, texts)` takes two vectors (P,) and returns (P,). `complete` says that
    no pair is unknown. Where it depends on who asks, these are of visuals that ask, and `t2v` is the truth of texts that do.
    """

    block: Callable[[np.ndarray, np.ndarray], np.ndarray]
    pairs: Callable[[np.ndarray, np.ndarray], np.ndarray]
    complete: bool
    source: str  # one line: where this knowledge comes from
    key: str = ""  # a name of all that it says, where something names it without asking of all pairs
    t2v: Truth | None = None
    # (visual, text, whether the text asked) -> what keeps them from matching, in words; none of a match
    differences: Callable[[int, int, bool], list[str]] | None = None

    def asked(self, direction: Direction) -> Truth:
        """What is true where the queries of that direction ask."""
        return self.t2v if self.t2v is not None and direction == "t2v" else self

    def some(self, visuals: np.ndarray, texts: np.ndarray) -> Truth:
        """The same of a part of a split, of indices into it."""
        block, pairs, told = self.block, self.pairs, self.differences
        return replace(
            self,
            block=lambda v, t: block(visuals[v], texts[t]),
            pairs=lambda v, t: pairs(visuals[v], texts[t]),
            differences=told and (lambda v, t, asked: told(int(visuals[v]), int(texts[t]), asked)),
            t2v=self.t2v and self.t2v.some(visuals, texts),
        )


def called(encoder: str) -> str:
    """What an encoder is called in `Dataset.kept_features`, wherever its folder lies."""
    scheme, colon, place = encoder.partition("local-dir:")
    return f"{scheme}{colon}{Path(place).name}" if colon else encoder


class Rows(Sequence[Any]):
    """Some rows of a sequence, fetched when they are asked for."""

    def __init__(self, whole: Sequence[Any], rows: np.ndarray):
        self.whole, self.rows = whole, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return self.whole[int(self.rows[index])]

    @property
    def lacks(self) -> Callable[[int], bool] | None:
        whole = getattr(self.whole, "lacks", None)
        return whole and (lambda index: whole(int(self.rows[index])))

    @property
    def content(self) -> Callable[[int], bytes] | None:
        """What reads all bytes of one, where the whole has it."""
        whole = getattr(self.whole, "content", None)
        return whole and (lambda index: whole(int(self.rows[index])))


@dataclass(frozen=True)
class Dataset:
    """One split, validated.

    visual_of_text (N_t,) int64 maps each caption to the visual that it was written for. Visuals with equal
    `visual_group` (N_v,) int64 are mutual positives: every caption of one counts for the other.
    `visuals[i]` is a PIL image (or, for clips, a list of frames), decoded when asked for; None where only features
    are at hand. `visual_features` (N_v, D) or (N_v, T, D) and `text_features` (N_t, D) are given ones, not
    computed by an encoder of ours; a row of zeros among T is padding. `columns` holds metadata per visual. `faults`
    counts what was skipped. `hard_captions` (H,) are wrong captions of the visuals `visual_of_hard` (H,) int64, written to be hard. `contents` (N_v,) hashes what the visuals are made of, so that one is known again.

    `classes` names class labels: `visual_group[i]` is then an index into it, and pairs of equal label are positives.
    `gallery_visuals` (N_t,) makes the second side visual too: pictures, whose names the `captions` are.
    """

    name: str
    split: str
    captions: list[str]
    visual_of_text: np.ndarray
    visual_ids: list[str]
    fingerprint: str  # content hash of this split: ids, captions, links and what the visuals are made of
    visual_group: np.ndarray | None = None
    visuals: Sequence[Any] | None = None
    kind: Literal["image", "clip"] = "image"
    visual_features: np.ndarray | None = None
    text_features: np.ndarray | None = None
    gallery_visuals: Sequence[Any] | None = None
    contents: np.ndarray | None = None
    classes: list[str] | None = None
    columns: dict[str, list[Any]] = field(default_factory=dict)
    truth: Truth | None = None
    hard_captions: list[str] = field(default_factory=list)
    visual_of_hard: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    encoder: str = ""  # the encoder that this dataset is usually read with
    # Of a split that is here to be shown: hash, and pooled features (N_v, D) and (N_t, D), by encoder. Its visuals, if there are
    # any, are copies, which no encoder reads.
    kept_features: dict[str, tuple[str, np.ndarray, np.ndarray]] | None = None
    about: dict[str, Any] = field(default_factory=dict)  # facts for people: source, licence, ceilings
    faults: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n, m = len(self.visual_ids), len(self.captions)
        where = f"{self.name} ({self.split})"
        if n == 0 or m == 0:
            raise DataFault(f"{where} is empty: {n} visuals and {m} captions")
        links = self.visual_of_text
        if links.shape != (m,) or links.dtype != np.int64:
            raise DataFault(
                f"{where}: visual_of_text must be ({m},) int64, found {links.shape} {links.dtype}"
            )
        if links.min() < 0 or links.max() >= n:
            raise DataFault(f"{where}: a caption points to visual {links.max()} of {n}")
        hard = self.visual_of_hard
        if hard.shape != (len(self.hard_captions),) or (len(hard) and not 0 <= hard.min() <= hard.max() < n):
            raise DataFault(
                f"{where}: visual_of_hard must name one of {n} visuals for each of {len(self.hard_captions)} hard captions, "
                f"found {hard.shape}"
            )
        if self.visual_group is None:
            object.__setattr__(self, "visual_group", np.arange(n))
        if self.visual_group.shape != (n,):
            raise DataFault(f"{where}: visual_group must be ({n},), found {self.visual_group.shape}")
        if self.classes is not None and not 0 <= self.visual_group.min() <= self.visual_group.max() < len(
            self.classes
        ):
            raise DataFault(f"{where}: a label outside the {len(self.classes)} classes")
        for name, part, length in (
            ("visuals", self.visuals, n),
            ("visual_features", self.visual_features, n),
            ("text_features", self.text_features, m),
            ("gallery_visuals", self.gallery_visuals, m),
            ("contents", self.contents, n),
            *((f"column {name!r}", values, n) for name, values in self.columns.items()),
        ):
            if part is not None and len(part) != length:
                raise DataFault(f"{where}: {name} has {len(part)} rows where there are {length}")
        if self.visuals is None and self.visual_features is None and self.kept_features is None:
            raise DataFault(f"{where} has neither pictures nor features")

    @cached_property
    def text_group(self) -> np.ndarray:
        """Group of each caption, (N_t,): a pair is annotated as positive where the groups are equal."""
        return self.visual_group[self.visual_of_text]

    @cached_property
    def _by_visual(self) -> tuple[np.ndarray, np.ndarray]:
        """All captions in the order of their visuals, and where each visual's begin there."""
        counts = np.bincount(self.visual_of_text, minlength=len(self.visual_ids))
        return np.argsort(self.visual_of_text, kind="stable"), np.concatenate([[0], np.cumsum(counts)])

    @cached_property
    def text_numbers(self) -> np.ndarray:
        """Place of each caption among those of its visual, from 0, (N_t,)."""
        order, starts = self._by_visual
        numbers = np.empty(len(order), np.int64)
        numbers[order] = np.arange(len(order)) - starts[self.visual_of_text[order]]
        return numbers

    @cached_property
    def reading(self) -> np.ndarray:
        """Of each caption the first that reads alike, (N_t,) int64; itself where captions name pictures or stand for
        classes, whose words match nothing."""
        if self.classes is not None or self.gallery_visuals is not None:
            return np.arange(len(self.captions))
        return first_alike(self.captions)

    def texts_of(self, visual: int) -> np.ndarray:
        """The captions that were written for a visual, ascending."""
        order, starts = self._by_visual
        return order[starts[visual] : starts[visual + 1]]

    def some(self, visuals: np.ndarray, texts: np.ndarray | None = None) -> Dataset:
        """The `visuals` (ascending indices) with all of their captions, or with the `texts` (ascending) among these, as a split by
        itself. A picture is opened when it is asked for, as in the whole."""
        digest = hashlib.blake2b(self.fingerprint.encode(), digest_size=8)
        for part in (visuals, *([] if texts is None else [texts])):
            digest.update(part.astype("<i8").tobytes())
        if texts is None:
            texts = np.flatnonzero(np.isin(self.visual_of_text, visuals))
        hard = np.flatnonzero(np.isin(self.visual_of_hard, visuals))

        def of(part: Any, rows: np.ndarray) -> Any:
            if part is None or isinstance(part, np.ndarray):
                return part if part is None else part[rows]
            return part.some(rows) if hasattr(part, "some") else Rows(part, rows)

        return replace(
            self,
            captions=[self.captions[text] for text in texts],
            visual_of_text=np.searchsorted(visuals, self.visual_of_text[texts]),
            visual_ids=[self.visual_ids[visual] for visual in visuals],
            fingerprint=digest.hexdigest(),
            visual_group=self.visual_group[visuals],
            visuals=of(self.visuals, visuals),
            visual_features=of(self.visual_features, visuals),
            text_features=of(self.text_features, texts),
            gallery_visuals=of(self.gallery_visuals, texts),
            contents=of(self.contents, visuals),
            kept_features=self.kept_features
            and {name: (key, v[visuals], t[texts]) for name, (key, v, t) in self.kept_features.items()},
            columns={name: [values[i] for i in visuals] for name, values in self.columns.items()},
            truth=self.truth and self.truth.some(visuals, texts),
            hard_captions=[self.hard_captions[one] for one in hard],
            visual_of_hard=np.searchsorted(visuals, self.visual_of_hard[hard]),
        )

    def shows(self, index: int) -> bool:
        """Whether there is a picture of visual `index`."""
        lacks = getattr(self.visuals, "lacks", None)
        return self.visuals is not None and not (lacks and lacks(index))

    def image(self, index: int) -> Image.Image:
        """The picture that stands for visual `index`: itself, or the middle frame of a clip."""
        visual = self.visuals[index]
        return visual[len(visual) // 2] if self.kind == "clip" else visual
