"""What captions of pictures and of clips have in common: drawing by chance, noun phrases, and how much is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, ClassVar

import numpy as np

from xmr.worlds.scenes import ATTRIBUTES, COLOURS, Scenes
from xmr.worlds.seeds import Seed, weighted

PHRASES = 3
Codes = tuple[int, int, int, int]  # one value per attribute, -1 where not named
NOTHING: Codes = (-1, -1, -1, -1)

# A caption names attributes until it has told about so many bits, give or take: about 2 ** -bits of all scenes fit.
# Without this, captions of one noun fit hundreds of pictures and those of three nouns fit one.
_ATTRIBUTE_BITS = (2.8, 1.9, 1.0, 1.0)
# Finish and size are left out before colour and shape, as people do.
_LEFT_OUT_FIRST = (0.9, 0.6, 2.0, 2.0)

Ends = tuple[float, float]  # at difficulty 0 and 1; between them it changes in proportion


@dataclass
class Claim:
    """What a caption claims: for each noun phrase 1 = at least one, k ≥ 2 = exactly k, and what it names."""

    phrases: list[tuple[int, Codes]] = field(default_factory=list)
    table: int = -1

    def key(self) -> tuple:
        return tuple(tuple(part) if isinstance(part, list) else part for part in vars(self).values())


class Writer:
    """Says one thing about one scene or clip; a subclass knows what can be claimed, and how it is said."""

    BITS: ClassVar[Ends]
    BITS_SPREAD: ClassVar[float]
    ANY_BITS: ClassVar[float]  # what a phrase loses because any object may fit it
    DRIFTS_AGAIN: ClassVar[bool]  # also where only the words were used before

    def __init__(self, scene: Any, difficulty: float, random: Random):
        self.scene, self.difficulty, self.random = scene, difficulty, random

    def claim(self) -> Any:
        raise NotImplementedError

    def say(self, claim: Any) -> str:
        raise NotImplementedError

    def ambiguous(self, claim: Any) -> bool:
        """Whether it can't be said without being misread."""
        return False

    # -- chance

    def between(self, ends: Ends) -> float:
        return ends[0] + (ends[1] - ends[0]) * self.difficulty

    def chance(self, ends: Ends) -> bool:
        return self.random.random() < self.between(ends)

    def pick(self, options: Sequence):
        return options[int(self.random.random() * len(options))]

    def weighted(self, options: Sequence, weights: Sequence[float]):
        return weighted(self.random, options, weights)

    def shuffled(self, items: Sequence) -> list:
        rest, out = list(items), []
        while rest:
            out.append(rest.pop(int(self.random.random() * len(rest))))
        return out

    # -- what is claimed

    def leave_out(self, claim: Claim, told: float) -> None:
        """Forgets attributes of single objects until the claim tells no more than this difficulty allows. What counts
        name stays, since it decides how many objects there are. `told`: the bits of all but the phrases."""
        budget = self.between(self.BITS) + (2 * self.random.random() - 1) * self.BITS_SPREAD
        for number, codes in claim.phrases:
            named = sum(bits for bits, code in zip(_ATTRIBUTE_BITS, codes, strict=True) if code >= 0)
            told += number * max(0.0, named - self.ANY_BITS)
        while told > budget:
            options = [
                (p, a)
                for p, (number, codes) in enumerate(claim.phrases)
                if number == 1
                for a in range(4)
                if codes[a] >= 0 and sum(code >= 0 for code in codes) > 1
            ]
            if not options:
                return
            phrase, attribute = self.weighted(options, [_LEFT_OUT_FIRST[a] for _, a in options])
            codes = claim.phrases[phrase][1]
            claim.phrases[phrase] = (1, tuple(-1 if a == attribute else code for a, code in enumerate(codes)))
            told -= _ATTRIBUTE_BITS[attribute]

    # -- how it is said

    def noun(self, codes: Codes, again: bool) -> tuple[str, str]:
        """A noun phrase of one object with its article, and its words alone."""
        if codes == NOTHING:
            return self.pick(("something", "an object", "another object")), "object"
        words = self.words(codes)
        return f"{'another' if again else 'an' if words[0] in 'aeiou' else 'a'} {words}", words

    def words(self, codes: Codes, plural: bool = False) -> str:
        """A noun with its adjectives in English order: size, finish, colour, stuff."""
        colour, shape, size, material = codes
        words = []
        if size >= 0:
            words.append(self.pick(_SIZE_WORDS[size]))
        finish = self.pick(_MATERIAL_WORDS[material]) if material >= 0 else ""
        if finish in _FINISHES:
            words.append(finish)
        if colour >= 0:
            words.append(COLOURS[colour])
        if finish and finish not in _FINISHES:
            words.append(finish)
        noun = self.pick(_SHAPE_WORDS[shape]) if shape >= 0 else self.pick(("object", "object", "thing"))
        words.append(noun + "s" if plural else noun)
        return " ".join(words)


_SHAPE_WORDS = (("sphere", "ball"), ("cube", "block"), ("cylinder",), ("cone",))
_SIZE_WORDS = (("small", "small", "little"), ("large", "big"))
_MATERIAL_WORDS = (("matte", "matte", "rubber"), ("metal", "metal", "metallic", "shiny"))
_FINISHES = ("matte", "shiny")  # these stand before the colour: "a shiny red ball", but "a red metal ball"


def write(
    scenes: Sequence[Any], writer: type[Writer], per_visual: int, difficulty: float, seed: Seed
) -> tuple[list[str], list[Any]]:
    """`per_visual` distinct captions of every scene or clip, in order, and their claims.

    The same arguments give the same captions, and more scenes only append. Raises ValueError for a difficulty outside
    [0, 1] or a negative per_visual or seed.
    """
    if not 0 <= difficulty <= 1:
        raise ValueError(f"difficulty must be in [0, 1], got {difficulty}")
    if per_visual < 0:
        raise ValueError(f"per_visual must not be negative, got {per_visual}")
    seeds = np.random.SeedSequence(seed).generate_state(len(scenes), np.uint64).tolist()
    found = [
        one
        for scene, own in zip(scenes, seeds, strict=True)
        for one in _captions_of(scene, writer, per_visual, difficulty, Random(own))
    ]
    return [text for text, _ in found], [claim for _, claim in found]


def _captions_of(
    scene: Any, writer: type[Writer], wanted: int, difficulty: float, random: Random
) -> list[tuple[str, Any]]:
    """Distinct captions. When there is little left to say at this difficulty, the difficulty drifts to the middle, where
    most can be said; in the end a new wording of the same claim will do."""
    found: list[tuple[str, Any]] = []
    claims, texts = set(), set()
    drifting, failures = difficulty, 0
    while len(found) < wanted:
        one = writer(scene, drifting, random)
        claim = one.claim()
        new = claim.key() not in claims
        text = one.say(claim) if (new or failures >= 60) and not one.ambiguous(claim) else None
        if text is None or text in texts:
            failures += 1
            if text is None or one.DRIFTS_AGAIN:
                drifting += 0.1 * (0.5 - drifting)
            continue
        claims.add(claim.key())
        texts.add(text)
        found.append((text, claim))
        drifting, failures = difficulty, 0
    return found


def objects_of(scenes: Scenes) -> list[list[Codes]]:
    """What lies on each table: the codes of its objects."""
    codes = np.stack([getattr(scenes, name) for name in ATTRIBUTES], axis=2).tolist()
    return [
        [tuple(one) for one in row[:count]] for row, count in zip(codes, scenes.count.tolist(), strict=True)
    ]


def padded(parts: Sequence, length: int, empty: Any) -> list:
    return [*parts, *[empty] * length][:length]


def packed(rows: list, *shape: int) -> np.ndarray:
    """Numbers of every claim as (M, …) int8."""
    return np.array(rows, np.int8).reshape(len(rows), *shape)
