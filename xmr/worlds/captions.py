"""Captions in English, each with its logical form. The form says what a caption claims; truth is computed
from forms, never from strings.

What the words claim:

* "a red cube": at least one. "two red cubes": exactly two in the whole picture.
* Different noun phrases of one caption speak of different objects ("a cube and a red object" needs two).
* A relation of a counted phrase holds for every one of its objects ("two cubes behind a ball").
* "three objects", "three objects: …", "… and two other objects", "… alone": exactly that many in all.
* "only cubes", "everything is metal": of every object in the picture.

Left, right, in front of and behind are the viewer's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from xmr.worlds.scenes import TABLES, Rows, Scenes, scenes_of
from xmr.worlds.seeds import CAPTIONS_PER_VISUAL, Seed, split_seed
from xmr.worlds.writing import NOTHING, PHRASES, Claim, Codes, Writer, objects_of, packed, padded, write

RELATIONS = ("left of", "right of", "in front of", "behind")
LEFT, RIGHT, FRONT, BEHIND = range(4)


@dataclass(frozen=True)
class Forms(Rows):
    """The logical forms of M captions, as padded int8 arrays.

    number (M, 3): per noun phrase 0 = unused, 1 = at least one, k ≥ 2 = exactly k · nouns (M, 3, 4): codes of
    its colour, shape, size, material, -1 = not named · relation (M, 2): index into RELATIONS, -1 = unused ·
    ends (M, 2, 2): the relation's subject and object, as phrase indices, -1 = unused · total (M,): objects in all,
    -1 = not said · every (M, 4): codes that all objects share, -1 = not said · table (M,): -1 = not said.
    """

    number: np.ndarray
    nouns: np.ndarray
    relation: np.ndarray
    ends: np.ndarray
    total: np.ndarray
    every: np.ndarray
    table: np.ndarray


def captions_of(split: str, difficulty: float = 0.5, seed: int = 0) -> tuple[list[str], Forms]:
    """Five captions for every scene of a split, scene-major, and their forms."""
    scenes = scenes_of(split, seed)
    return sample_captions(scenes, CAPTIONS_PER_VISUAL, difficulty, split_seed(split, seed))


def sample_captions(
    scenes: Scenes, per_visual: int = 5, difficulty: float = 0.5, seed: Seed = 0
) -> tuple[list[str], Forms]:
    """`per_visual` captions of every scene, scene-major: caption i speaks of scene i // per_visual. Captions of one
    scene differ in what they say. `difficulty` from 0 to 1 sets how much they leave out. The same arguments give
    the same captions, and more scenes only append. Raises ValueError for a difficulty outside [0, 1]
    or a negative per_visual or seed."""
    columns = objects_of(scenes), scenes.x.tolist(), scenes.y.tolist(), scenes.table.tolist()
    told = [_Scene(*row) for row in zip(*columns, strict=True)]
    texts, claims = write(told, _Writer, per_visual, difficulty, seed)
    return texts, _pack(claims)


@dataclass
class _Scene:
    objects: list[Codes]
    x: list[float]
    y: list[float]
    table: int

    def relation(self, a: int, b: int, relation: int) -> bool:
        here, there = (self.x, self.x) if relation in (LEFT, RIGHT) else (self.y, self.y)
        return here[a] < there[b] if relation in (LEFT, FRONT) else here[a] > there[b]

    def matching(self, codes: Codes) -> list[int]:
        return [
            i
            for i, have in enumerate(self.objects)
            if all(c in (-1, h) for c, h in zip(codes, have, strict=True))
        ]


@dataclass
class _Claim(Claim):
    relations: list[tuple[int, int, int]] = field(default_factory=list)  # relation, subject, object
    total: int = -1
    every: Codes = NOTHING


def _pack(claims: list[_Claim]) -> Forms:
    phrases = [padded(claim.phrases, PHRASES, (0, NOTHING)) for claim in claims]
    links = [padded(claim.relations, 2, (-1, -1, -1)) for claim in claims]
    return Forms(
        number=packed([[number for number, _ in row] for row in phrases], PHRASES),
        nouns=packed([[codes for _, codes in row] for row in phrases], PHRASES, 4),
        relation=packed([[link[0] for link in row] for row in links], 2),
        ends=packed([[link[1:] for link in row] for row in links], 2, 2),
        total=packed([claim.total for claim in claims]),
        every=packed([claim.every for claim in claims], 4),
        table=packed([claim.table for claim in claims]),
    )


# At difficulty 0 and 1; between them they change in proportion.
_KINDS = {  # the least number of objects, and the chance of each kind of caption
    "one": (1, (0.04, 0.34)),
    "list": (2, (0.20, 0.22)),
    "relation": (2, (0.26, 0.24)),
    "three": (3, (0.20, 0.01)),
    "two relations": (3, (0.20, 0.01)),
    "count": (2, (0.10, 0.12)),
    "every": (2, (0.00, 0.06)),
}
_SHARED = (0.9, 0.3)  # that a count ("two red cubes") names one more attribute that its objects share
_SAY_TOTAL = (0.35, 0.10)
_SAY_TABLE = (0.30, 0.06)
_LONE_TOTAL = (0.85, 0.45)  # of scenes with one object, where little else can be said
_VAGUE = (0.0, 0.25)  # that a relation's object is just "something"
_RELATION_BITS, _TOTAL_BITS, _TABLE_BITS = 0.9, 1.8, 2.0


class _Writer(Writer):
    """Says one thing about one scene."""

    BITS, BITS_SPREAD, ANY_BITS, DRIFTS_AGAIN = (12.5, 2.6), 1.6, 1.2, False
    scene: _Scene

    # -- what is claimed

    def claim(self) -> _Claim:
        count = len(self.scene.objects)
        possible = [kind for kind, (least, _) in _KINDS.items() if least <= count]
        kind = self.weighted(possible, [self.between(_KINDS[kind][1]) for kind in possible])
        claim = {"count": self.counted, "every": self.universal}.get(kind, lambda: None)()
        if claim is None:
            claim = self.particular(
                {"one": 1, "three": 3, "two relations": 3}.get(kind, min(2, count)),
                related="relation" in kind,
            )
        if claim.total < 0 and not claim.relations and self.chance(_LONE_TOTAL if count == 1 else _SAY_TOTAL):
            claim.total = count
        if self.chance(_SAY_TABLE):
            claim.table = self.scene.table
        told = len(claim.relations) * _RELATION_BITS
        self.leave_out(claim, told + (_TOTAL_BITS * (claim.total >= 0) + _TABLE_BITS * (claim.table >= 0)))
        return claim

    def particular(self, number: int, related: bool) -> _Claim:
        chosen = self.shuffled(range(len(self.scene.objects)))[:number]
        vague = related and number == 2 and self.chance(_VAGUE)
        phrases = [(1, self.scene.objects[o]) for o in chosen]
        if vague:
            phrases[1] = (1, NOTHING)
        claim = _Claim(phrases)
        if related and number == 2:
            claim.relations = [(self.relation([chosen[0]], chosen[1]), 0, 1)]
            if self.chance((0.25, 0.02)):  # "in front of and to the left of"
                other = self.relation([chosen[0]], chosen[1], across=claim.relations[0][0] < FRONT)
                claim.relations.append((other, 0, 1))
        elif related:
            claim.relations = [(self.relation([chosen[0]], chosen[k]), 0, k) for k in (1, 2)]
        return claim

    def relation(self, subjects: list[int], target: int, across: bool | None = None) -> int:
        options = (
            (LEFT, RIGHT, FRONT, BEHIND) if across is None else (FRONT, BEHIND) if across else (LEFT, RIGHT)
        )
        true = [r for r in options if all(self.scene.relation(s, target, r) for s in subjects)]
        return self.pick(true) if true else -1

    def shared(self, things: Sequence[int]) -> Codes:
        """Some of what the things have in common, or nothing."""
        objects = [self.scene.objects[t] for t in things]
        common = [a for a in range(4) if len({codes[a] for codes in objects}) == 1]
        if not common:
            return NOTHING
        sure = self.pick(common)
        kept = {a for a in common if a == sure or self.chance(_SHARED)}
        return tuple(objects[0][a] if a in kept else -1 for a in range(4))

    def counted(self) -> _Claim | None:
        codes = self.shared(self.shuffled(range(len(self.scene.objects)))[:2])
        if codes == NOTHING:
            return None
        members = self.scene.matching(codes)
        claim = _Claim([(len(members), codes)])
        rest = [t for t in range(len(self.scene.objects)) if t not in members]
        if rest and self.chance((0.9, 0.45)):
            other = self.pick(rest)
            claim.phrases.append((1, self.scene.objects[other]))
            relation = self.relation(members, other)
            if relation >= 0 and self.chance((0.6, 0.6)):
                claim.relations = [(relation, 0, 1)]
        return claim

    def universal(self) -> _Claim | None:
        codes = self.shared(range(len(self.scene.objects)))
        return None if codes == NOTHING else _Claim(every=codes)

    # -- how it is said

    def say(self, claim: _Claim) -> str:
        if claim.every != NOTHING:
            text = self.say_every(claim)
        elif claim.relations:
            text = self.say_relations(claim)
        else:
            text = self.say_list(claim)
        if claim.table >= 0:
            text += f" on {self.pick(('a', 'the'))} {TABLES[claim.table]} table"
        return text

    def say_every(self, claim: _Claim) -> str:
        many = self.words(claim.every, plural=True)
        if claim.total < 0:
            return self.pick(_EVERY).format(many=many)
        form = self.pick(_EVERY_OF_SO_MANY)
        things = self.pick(_THINGS) if "{things}" in form else ""
        return form.format(many=many, total=_NUMBERS[claim.total], things=things)

    def say_list(self, claim: _Claim) -> str:
        nouns, total, single = self.nouns(claim), claim.total, claim.phrases[0][0] == 1
        listed = nouns[0] if len(nouns) == 1 else f"{', '.join(nouns[:-1])} and {nouns[-1]}"
        if total < 0:
            return self.pick(_OPENINGS).format(verb="is" if single else "are") + listed
        if total == 1:
            return self.pick(_ALONE).format(listed)
        others = total - sum(number for number, _ in claim.phrases)
        if others == 0:
            return self.pick(_NO_OTHER if len(nouns) == 1 else _SO_MANY).format(listed, total=_NUMBERS[total])
        if len(nouns) == 1 and single and self.chance((0.5, 0.5)):
            return f"{_NUMBERS[total]} {self.pick(_THINGS)}, one of them {listed}"
        more = "one other object" if others == 1 else f"{_NUMBERS[others]} other objects"
        if len(nouns) == 1:
            return f"{listed} {self.pick(('and', 'with'))} {more}"
        return f"{', '.join(nouns)} and {more}"

    def say_relations(self, claim: _Claim) -> str:
        (first, _, _), *more = claim.relations
        said = dict(zip("abc", self.nouns(claim), strict=False))
        said["verb"] = "is" if claim.phrases[0][0] == 1 else "are"
        said["words"] = self.pick(_RELATION_WORDS[first])
        if more and more[0][0] == first:
            return self.pick(_BOTH).format(**said)
        said["other"] = self.pick(_RELATION_WORDS[more[0][0] if more else first])
        if more and more[0][2] == 1:
            return "{a} {words} and {other} {b}".format(**said)
        return self.pick(_TWO_RELATIONS if more else _RELATION).format(**said)

    def nouns(self, claim: _Claim) -> list[str]:
        """The noun phrases with their articles or numbers."""
        out, seen = [], []
        for number, codes in claim.phrases:
            if number > 1:
                out.append(f"{_NUMBERS[number]} {self.words(codes, plural=True)}")
            else:
                out.append(self.noun(codes, codes in seen)[0])
            seen.append(codes)
        return out


# What stands twice is said twice as often.
_NUMBERS = ("no", "one", "two", "three", "four")
_THINGS = ("objects", "things")
_EVERY = ("only {many}", "nothing but {many}", "all the objects are {many}", "{many} only")
_EVERY_OF_SO_MANY = (
    "{total} {things}, all of them {many}",
    "{total} {many} and nothing else",
    "only {many}, {total} of them",
)
_OPENINGS = ("", "", "", "", "there {verb} ", "a picture of ", "we see ", "a scene with ")
_ALONE = ("only {}", "{} alone", "just {}", "{} on its own", "one object: {}")
_NO_OTHER = ("just {}", "{} and nothing else", "only {}")
_SO_MANY = ("{total} objects: {}", "just {}", "{} and nothing else")
_RELATION = (
    "{a} {words} {b}",
    "{a} {words} {b}",
    "{a} {verb} {words} {b}",
    "there {verb} {a} {words} {b}",
    "{other} {b} there {verb} {a}",
    "{other} {b} {verb} {a}",
)
_TWO_RELATIONS = (
    "{a} {words} {b} and {other} {c}",
    "{a} that is {words} {b} and {other} {c}",
    "{a} is {words} {b} and {other} {c}",
)
# Without "both" the last object might stand anywhere.
_BOTH = ("{a} {words} both {b} and {c}", "{a} {verb} {words} both {b} and {c}")
_RELATION_WORDS = (
    ("to the left of", "left of", "on the left of"),
    ("to the right of", "right of", "on the right of"),
    ("in front of",),
    ("behind",),
)
