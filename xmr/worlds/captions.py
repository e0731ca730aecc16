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
from random import Random

import numpy as np

from xmr.worlds.scenes import COLOURS, TABLES, Rows, Scenes, Seed

ATTRIBUTES = ("colour", "shape", "size", "material")
RELATIONS = ("left of", "right of", "in front of", "behind")
PHRASES = 3
LEFT, RIGHT, FRONT, BEHIND = range(4)
COLOUR, SHAPE, SIZE, MATERIAL = range(4)

Codes = tuple[int, int, int, int]  # one value per attribute, -1 where not named
NOTHING: Codes = (-1, -1, -1, -1)


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


def sample_captions(
    scenes: Scenes, per_scene: int = 5, difficulty: float = 0.5, seed: Seed = 0
) -> tuple[list[str], Forms]:
    """`per_scene` captions of every scene, scene-major: caption i speaks of scene i // per_scene. Captions of one
    scene differ in what they say. `difficulty` from 0 to 1 sets how much they leave out. The same arguments give
    the same captions, and more scenes only append. Raises ValueError for a difficulty outside [0, 1]
    or a negative per_scene or seed."""
    if not 0 <= difficulty <= 1:
        raise ValueError(f"difficulty must be in [0, 1], got {difficulty}")
    if per_scene < 0:
        raise ValueError(f"per_scene must not be negative, got {per_scene}")
    seeds = np.random.SeedSequence(seed).generate_state(len(scenes), np.uint64).tolist()
    columns = np.stack([getattr(scenes, name) for name in ATTRIBUTES], axis=2).tolist()
    places = scenes.x.tolist(), scenes.y.tolist(), scenes.table.tolist()
    rows = zip(seeds, scenes.count.tolist(), columns, *places, strict=True)
    texts: list[str] = []
    claims: list[_Claim] = []
    for seed_of_scene, count, codes, x, y, table in rows:
        scene = _Scene([tuple(code) for code in codes[:count]], x, y, table)
        for text, claim in _captions_of(scene, per_scene, difficulty, Random(seed_of_scene)):
            texts.append(text)
            claims.append(claim)
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
class _Claim:
    phrases: list[tuple[int, Codes]] = field(default_factory=list)
    relations: list[tuple[int, int, int]] = field(default_factory=list)  # relation, subject, object
    total: int = -1
    every: Codes = NOTHING
    table: int = -1

    def key(self) -> tuple:
        return (*self.phrases, *self.relations, self.total, self.every, self.table)


def _pack(claims: list[_Claim]) -> Forms:
    none = (0, NOTHING)
    phrases = [(claim.phrases + [none] * PHRASES)[:PHRASES] for claim in claims]
    links = [(claim.relations + [(-1, -1, -1)] * 2)[:2] for claim in claims]

    def packed(rows: list, *shape: int) -> np.ndarray:
        return np.array(rows, np.int8).reshape(len(claims), *shape)

    return Forms(
        number=packed([[number for number, _ in row] for row in phrases], PHRASES),
        nouns=packed([[codes for _, codes in row] for row in phrases], PHRASES, 4),
        relation=packed([[link[0] for link in row] for row in links], 2),
        ends=packed([[link[1:] for link in row] for row in links], 2, 2),
        total=packed([claim.total for claim in claims]),
        every=packed([claim.every for claim in claims], 4),
        table=packed([claim.table for claim in claims]),
    )


def _captions_of(scene: _Scene, wanted: int, difficulty: float, random: Random) -> list[tuple[str, _Claim]]:
    """Distinct captions. When a scene has little left to say at this difficulty, the difficulty drifts to the middle,
    where most can be said; in the end a new wording of the same claim will do."""
    found: list[tuple[str, _Claim]] = []
    claims, texts = set(), set()
    drifting, failures = difficulty, 0
    while len(found) < wanted:
        writer = Writer(scene, drifting, random)
        claim = writer.claim()
        key = claim.key()
        if key in claims and failures < 60:
            failures += 1
            drifting += 0.1 * (0.5 - drifting)
            continue
        text = writer.say(claim)
        if text in texts:
            failures += 1
            continue
        claims.add(key)
        texts.add(text)
        found.append((text, claim))
        drifting, failures = difficulty, 0
    return found


# Chances at difficulty 0 and 1; between them they change in proportion.
_KINDS = {
    "one": (0.04, 0.34),
    "list": (0.20, 0.22),
    "relation": (0.26, 0.24),
    "three": (0.20, 0.01),
    "two relations": (0.20, 0.01),
    "count": (0.10, 0.12),
    "every": (0.00, 0.06),
}
_SHARED = (0.9, 0.3)  # that a count ("two red cubes") names one more attribute that its objects share
_SAY_TOTAL = (0.35, 0.10)
_SAY_TABLE = (0.30, 0.06)
_LONE_TOTAL = (0.85, 0.45)  # of scenes with one object, where little else can be said
_VAGUE = (0.0, 0.25)  # that a relation's object is just "something"

# A caption names attributes until it has told about so many bits, give or take: about 2 ** -bits of all scenes
# fit. Without this, captions of one noun fit hundreds of pictures and those of three nouns fit one.
_BITS = (12.5, 2.6)
_BITS_SPREAD = 1.6
ATTRIBUTE_BITS = (2.8, 1.9, 1.0, 1.0)
_ANY_BITS = 1.2  # what a phrase loses because any object of the scene may fit it
_RELATION_BITS, _TOTAL_BITS, _TABLE_BITS = 0.9, 1.8, 2.0
# Finish and size are left out before colour and shape, as people do.
LEFT_OUT_FIRST = (0.9, 0.6, 2.0, 2.0)


class Writer:
    """Says one thing about one scene."""

    def __init__(self, scene: _Scene, difficulty: float, random: Random):
        self.scene, self.difficulty, self.random = scene, difficulty, random

    # -- chance; everything rests on Random.random(), whose stream Python promises to keep

    def chance(self, ends: tuple[float, float]) -> bool:
        return self.random.random() < ends[0] + (ends[1] - ends[0]) * self.difficulty

    def pick(self, options: Sequence):
        return options[int(self.random.random() * len(options))]

    def weighted(self, options: Sequence, weights: Sequence[float]):
        mark = self.random.random() * sum(weights)
        for option, weight in zip(options, weights, strict=True):
            mark -= weight
            if mark < 0:
                return option
        return options[-1]  # takes what rounding leaves

    def shuffled(self, items: Sequence) -> list:
        rest, out = list(items), []
        while rest:
            out.append(rest.pop(int(self.random.random() * len(rest))))
        return out

    # -- what is claimed

    def claim(self) -> _Claim:
        count = len(self.scene.objects)
        kinds = {"one": 1, "list": 2, "relation": 2, "three": 3, "two relations": 3, "count": 2, "every": 2}
        possible = [kind for kind, least in kinds.items() if least <= count]
        chances = [low + (high - low) * self.difficulty for low, high in map(_KINDS.get, possible)]
        kind = self.weighted(possible, chances)
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
        self.leave_out(claim)
        return claim

    def leave_out(self, claim: _Claim) -> None:
        """Forgets attributes of single objects until the claim tells no more than this difficulty allows. What counts
        and "only …" name stays, since it decides how many objects there are."""
        low, high = _BITS
        budget = low + (high - low) * self.difficulty + (2 * self.random.random() - 1) * _BITS_SPREAD
        told = len(claim.relations) * _RELATION_BITS
        told += _TOTAL_BITS * (claim.total >= 0) + _TABLE_BITS * (claim.table >= 0)
        for number, codes in claim.phrases:
            told += number * max(0.0, sum(ATTRIBUTE_BITS[a] for a in range(4) if codes[a] >= 0) - _ANY_BITS)
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
            phrase, attribute = self.weighted(options, [LEFT_OUT_FIRST[a] for _, a in options])
            codes = claim.phrases[phrase][1]
            claim.phrases[phrase] = (1, tuple(-1 if a == attribute else code for a, code in enumerate(codes)))
            told -= ATTRIBUTE_BITS[attribute]

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
        total = claim.total
        if total > 0:
            form = self.pick((0, 1, 2))
            if form == 0:
                return f"{_NUMBERS[total]} {self.pick(('objects', 'things'))}, all of them {many}"
            if form == 1:
                return f"{_NUMBERS[total]} {many} and nothing else"
            return f"only {many}, {_NUMBERS[total]} of them"
        return self.pick(("only {}", "nothing but {}", "all the objects are {}", "{} only")).format(many)

    def say_list(self, claim: _Claim) -> str:
        nouns = self.nouns(claim)
        listed = nouns[0] if len(nouns) == 1 else f"{', '.join(nouns[:-1])} and {nouns[-1]}"
        named = sum(number for number, _ in claim.phrases)
        if claim.total < 0:
            verb = "is" if claim.phrases[0][0] == 1 else "are"
            opening = self.pick(
                ("", "", "", "", f"there {verb} ", "a picture of ", "we see ", "a scene with ")
            )
            return opening + listed
        others = claim.total - named
        if claim.total == 1:
            return self.pick(("only {}", "{} alone", "just {}", "{} on its own", "one object: {}")).format(
                listed
            )
        if others == 0 and len(nouns) == 1:
            return self.pick(("just {}", "{} and nothing else", "only {}")).format(listed)
        if others == 0:
            return self.pick(
                (f"{_NUMBERS[claim.total]} objects: {listed}", f"just {listed}", f"{listed} and nothing else")
            )
        if len(nouns) == 1 and claim.phrases[0][0] == 1 and self.chance((0.5, 0.5)):
            return f"{_NUMBERS[claim.total]} {self.pick(('objects', 'things'))}, one of them {listed}"
        more = "one other object" if others == 1 else f"{_NUMBERS[others]} other objects"
        if len(nouns) == 1:
            return self.pick((f"{listed} and {more}", f"{listed} with {more}"))
        return f"{', '.join(nouns)} and {more}"

    def say_relations(self, claim: _Claim) -> str:
        nouns = self.nouns(claim)
        (first, _, _), *more = claim.relations
        verb = "is" if claim.phrases[0][0] == 1 else "are"
        words = self.pick(_RELATION_WORDS[first])
        if more and more[0][2] == 1:
            return f"{nouns[0]} {words} and {self.pick(_RELATION_WORDS[more[0][0]])} {nouns[1]}"
        if more:
            if more[0][0] == first:
                # Without "both" the last object might stand anywhere.
                return self.pick(
                    (
                        f"{nouns[0]} {words} both {nouns[1]} and {nouns[2]}",
                        f"{nouns[0]} {verb} {words} both {nouns[1]} and {nouns[2]}",
                    )
                )
            other = self.pick(_RELATION_WORDS[more[0][0]])
            return self.pick(
                (
                    f"{nouns[0]} {words} {nouns[1]} and {other} {nouns[2]}",
                    f"{nouns[0]} that is {words} {nouns[1]} and {other} {nouns[2]}",
                    f"{nouns[0]} is {words} {nouns[1]} and {other} {nouns[2]}",
                )
            )
        side = self.pick(_RELATION_WORDS[first])
        return self.pick(
            (
                f"{nouns[0]} {words} {nouns[1]}",
                f"{nouns[0]} {words} {nouns[1]}",
                f"{nouns[0]} {verb} {words} {nouns[1]}",
                f"there {verb} {nouns[0]} {words} {nouns[1]}",
                f"{side} {nouns[1]} there {verb} {nouns[0]}",
                f"{side} {nouns[1]} {verb} {nouns[0]}",
            )
        )

    def nouns(self, claim: _Claim) -> list[str]:
        """The noun phrases with their articles or numbers."""
        out, seen = [], []
        for number, codes in claim.phrases:
            again = number == 1 and codes in seen
            if number > 1:
                out.append(f"{_NUMBERS[number]} {self.words(codes, plural=True)}")
            elif codes == NOTHING:
                out.append(self.pick(("something", "an object", "another object")))
            else:
                words = self.words(codes, plural=False)
                article = "another" if again else "an" if words[0] in "aeiou" else "a"
                out.append(f"{article} {words}")
            seen.append(codes)
        return out

    def words(self, codes: Codes, plural: bool) -> str:
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


_NUMBERS = ("no", "one", "two", "three", "four")
_SHAPE_WORDS = (("sphere", "ball"), ("cube", "block"), ("cylinder",), ("cone",))
_SIZE_WORDS = (("small", "small", "little"), ("large", "big"))
_MATERIAL_WORDS = (("matte", "matte", "rubber"), ("metal", "metal", "metallic", "shiny"))
_FINISHES = ("matte", "shiny")  # these stand before the colour: "a shiny red ball", but "a red metal ball"
_RELATION_WORDS = (
    ("to the left of", "left of", "on the left of"),
    ("to the right of", "right of", "on the right of"),
    ("in front of",),
    ("behind",),
)
