"""What a report is about: some runs of a workspace, and how they and their items are shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xmr.analysis import hits
from xmr.checkpoints import trains_a_loss
from xmr.core import Direction
from xmr.data import Dataset
from xmr.figures.report.page import RunName, inline
from xmr.workspace import Workspace
from xmr.workspace.result_words import direction_words
from xmr.workspace.words import visual_words

CAPTIONS = 5  # told of a visual


@dataclass
class Subject:
    """What a report is about: the runs `names` of a workspace, the first of which the others are compared with.

    `k` is the cut-off of what counts as right, `seed` draws examples, batches and resamples.
    """

    workspace: Workspace
    names: list[str]
    split: str
    k: int = 1
    seed: int = 0
    _pictures: dict[Any, str] = field(default_factory=dict, repr=False)

    @property
    def data(self) -> Dataset:
        return self.workspace.dataset(self.split)

    @property
    def styles(self) -> dict[str, Any]:
        return self.workspace.styles(self.names)

    @property
    def trained(self) -> list[str]:
        return [name for name in self.names if trains_a_loss(self.workspace.run(name))]

    def name(self, run: str) -> RunName:
        return RunName(run, self.styles[run])

    def words(self, direction: Direction) -> str:
        """The direction in words."""
        return direction_words(self.workspace, self.split, direction)

    def ranks(self, run: str, direction: Direction) -> np.ndarray:
        return self.workspace.ranks(run, self.split, direction)

    def hits(self, run: str, direction: Direction) -> np.ndarray:
        return hits(self.ranks(run, direction), self.k)

    def picture(self, index: int) -> str:
        """A visual as an address of itself, of a clip its middle frame; "" where there is none to be had."""
        if self.data.visuals is None:
            return ""
        return self._inlined(("visual", index), lambda: self.data.image(index))

    def gallery_picture(self, index: int) -> str:
        """As `picture`, of an item of the second side."""
        gallery = self.data.gallery_visuals
        return "" if gallery is None else self._inlined(("gallery", index), lambda: gallery[index])

    def said(self, index: int) -> list[str]:
        """The captions that were written for a visual."""
        return [self.data.captions[i] for i in self.data.texts_of(index)[:CAPTIONS]]

    def visual_name(self, index: int) -> str:
        """A visual's id, behind its class where it has one."""
        return self.data.visual_ids[index] if self.data.classes is None else visual_words(self.data, index)

    def _inlined(self, key: Any, load: Callable[[], Any]) -> str:
        """A picture that can't be read is left out; its words stay."""
        if key not in self._pictures:
            try:
                self._pictures[key] = inline(load())
            except (OSError, ValueError):
                self._pictures[key] = ""
        return self._pictures[key]


def share_cell(part: int, whole: int) -> tuple[str, str]:
    """A share in per cent, and below it what it is a share of."""
    return f"{100 * part / max(whole, 1):.1f}%", f"{part:,} of {whole:,}"
