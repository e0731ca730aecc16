"""Pairs of a query and a candidate, side by side, with what is known about each."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from xmr.ui.components import Drawn


@dataclass(frozen=True)
class Side:
    """One of the two items. `quote` is the text that was compared, "" where the picture was; `film` is a clip's
    strip (`xmr.ui.pictures.film`)."""

    role: str
    name: str
    image: str | None = None
    film: dict[str, Any] | None = None
    quote: str = ""
    captions: list[str] = field(default_factory=list)
    note: str = ""


@dataclass(frozen=True)
class Badge:
    text: str
    kind: Literal["suspected", "match", "other", "own"]


@dataclass(frozen=True)
class Card:
    """A pair. `numbers` are (name, value) as shown; `evidence` is a sentence and the caption it speaks of; `note` is
    said below the badges. `pair` (visual and text) makes it one that people can judge; `asked` is true of one that was
    asked for by name."""

    name: str
    sides: tuple[Side, Side]
    numbers: list[tuple[str, str]]
    badges: list[Badge]
    evidence: tuple[str, str] | None = None
    note: str = ""
    pair: tuple[int, int] | None = None
    asked: bool = False

    @property
    def suspected(self) -> bool:
        return any(badge.kind == "suspected" for badge in self.badges)


def cards(pairs: list[Card], empty: str = "", of: dict[str, str] | None = None) -> dict[str, Any]:
    """The value of a `PairCards`; `empty` is said where there is no pair. `of` tells of what the pairs are, as a
    `VerdictPanel` beside the cards sends it with each answer, and the id of the button after the last card, `onward`;
    None: nobody can judge them."""
    return {"cards": [asdict(one) | {"suspected": one.suspected} for one in pairs], "empty": empty, "of": of}


class PairCards(Drawn):
    """`value` is made by `cards`."""

    ASSET = "pair_cards"
    TEMPLATE = "<div class='cards'></div>"
