"""What keeps a scene from being what a caption says, in words: the fewest and smallest differences between the two.

A caption holds where its phrases can be given objects of their own that are as it says (`truth`). Here all ways to give them
objects are tried, also such as are not quite what is said, and what differs in the best of them is told. There is a difference if
and only if the caption does not hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from xmr.worlds.captions import BEHIND, FRONT, LEFT, RELATIONS, RIGHT, Forms
from xmr.worlds.scenes import ATTRIBUTES, TABLES, Scenes
from xmr.worlds.writing import NOTHING, Codes, objects_of

# What differs the less, the more likely people take the one for the other; an object that is not there is most of all.
_ATTRIBUTE_COSTS = {"colour": 1.0, "shape": 1.2, "size": 0.9, "material": 0.8}
_MISSING, _MORE, _RELATION, _WHOLE = 3.0, 1.0, 0.95, 1.1
_COSTS = tuple(_ATTRIBUTE_COSTS[name] for name in ATTRIBUTES)
_NUMBERS = ("no", "one", "two", "three", "four")
_OPPOSITE = {LEFT: RIGHT, RIGHT: LEFT, FRONT: BEHIND, BEHIND: FRONT}


@dataclass(frozen=True)
class Difference:
    """One of them: what there is, and what the caption says in its place; `many` says whether the latter is several. Of an object
    that is not as it should be, `slot` is its place in the scene and `codes` what it should be, -1 where anything goes."""

    found: str
    said: str
    many: bool = False
    slot: int = -1
    codes: Codes = NOTHING

    def words(self, asked: bool) -> str:
        """As "a purple cone where a pink one was asked", or where the scene asked and not the caption "… is said"."""
        verb = ("were" if self.many else "was") if asked else ("are" if self.many else "is")
        return f"{self.found} where {self.said} {verb} {'asked' if asked else 'said'}"


def differences(scenes: Scenes, forms: Forms, visual: int, text: int) -> list[Difference]:
    """What keeps the scene `visual` from being what the caption `text` says; none where the caption holds."""
    told = _Told(scenes[[visual]], forms[[text]])
    return min(told.readings(), key=lambda found: found[0])[1]


class _Told:
    """A scene and what a caption says, as plain numbers."""

    def __init__(self, scene: Scenes, form: Forms):
        self.objects = objects_of(scene)[0]
        x, y = scene.x[0, : len(self.objects)], scene.y[0, : len(self.objects)]
        across = np.argsort(x, kind="stable")
        self.x, self.y = np.argsort(across), np.empty(len(across), int)
        self.y[across[np.argsort(y[across], kind="stable")]] = np.arange(len(across))
        self.table = int(scene.table[0])
        self.phrases = [
            (int(number), tuple(codes))
            for number, codes in zip(form.number[0].tolist(), form.nouns[0].tolist(), strict=True)
            if number > 0
        ]
        links = zip(form.relation[0].tolist(), form.ends[0].tolist(), strict=True)
        self.links = [(relation, *ends) for relation, ends in links if relation >= 0]
        self.total, self.said_table = int(form.total[0]), int(form.table[0])
        self.every: Codes = tuple(form.every[0].tolist())

    def readings(self) -> Iterator[tuple[float, list[Difference]]]:
        """Every way to give the phrases objects of their own, or none: what differs, and how much that is."""
        members = [phrase for phrase, (number, _) in enumerate(self.phrases) for _ in range(number)]
        lacking = max(len(members) - len(self.objects), 0)
        slots = [*range(len(self.objects)), *[-1] * lacking]
        whole = self._of_all()
        for given in {*permutations(slots, len(members))}:
            sets = [
                [slot for slot, owner in zip(given, members, strict=True) if owner == phrase]
                for phrase in range(len(self.phrases))
            ]
            if any(some != sorted(some) for some in sets):
                continue  # the same objects in another order
            cost, found = 0.0, []
            for more, one in [*self._objects(sets), *self._numbers(sets), *self._relations(sets), *whole]:
                cost += more
                found.append(one)
            yield cost, found

    def _objects(self, sets: Sequence[Sequence[int]]) -> Iterator[tuple[float, Difference]]:
        """Objects that are not quite what their phrase says, and those that are not there."""
        for (_, codes), slots in zip(self.phrases, sets, strict=True):
            for slot in slots:
                if slot < 0:
                    yield _MISSING, Difference("nothing more", a(noun(codes)))
                elif wrong := self._wrong(slot, codes):
                    yield sum(_COSTS[i] for i in wrong), self._other(slot, codes, wrong)

    def _wrong(self, slot: int, codes: Codes) -> list[int]:
        """The attributes that the object has otherwise."""
        pairs = zip(codes, self.objects[slot], strict=True)
        return [i for i, (code, own) in enumerate(pairs) if code >= 0 and code != own]

    def _other(self, slot: int, codes: Codes, wrong: Sequence[int]) -> Difference:
        found = self._as_named(slot, codes)
        if 1 in wrong:  # another shape
            return Difference(a(noun(found)), a(noun(codes)), slot=slot, codes=codes)
        differ = tuple(code if i in wrong else -1 for i, code in enumerate(codes))
        return Difference(a(noun(found)), a(noun(differ, "one")), slot=slot, codes=codes)

    def _as_named(self, slot: int, codes: Codes) -> Codes:
        """Of the object what the phrase names of it."""
        return tuple(own if code >= 0 else -1 for own, code in zip(self.objects[slot], codes, strict=True))

    def _numbers(self, sets: Sequence[Sequence[int]]) -> Iterator[tuple[float, Difference]]:
        """Objects beyond the number of those that a phrase counts, once all are what they should be."""
        right = [*self.objects]
        for (_, codes), slots in zip(self.phrases, sets, strict=True):
            for slot in slots:
                if slot >= 0:
                    own = zip(codes, right[slot], strict=True)
                    right[slot] = tuple(code if code >= 0 else was for code, was in own)
        for (number, codes), slots in zip(self.phrases, sets, strict=True):
            more = [s for s, own in enumerate(right) if s not in slots and _fits(own, codes)]
            if number > 1 and more:
                there = sum(_fits(own, codes) for own in self.objects)
                found = f"{_NUMBERS[there]} {noun(codes)}s" if there > number else f"one more {noun(codes)}"
                said = _NUMBERS[number] if there > number else f"only {_NUMBERS[number]}"
                yield _MORE * len(more), Difference(found, said, many=True)

    def _relations(self, sets: Sequence[Sequence[int]]) -> Iterator[tuple[float, Difference]]:
        """Where objects stand otherwise to each other."""
        for relation, subject, target in self.links:
            against = [
                (a_, b)
                for a_ in sets[subject]
                for b in sets[target]
                if a_ >= 0 and b >= 0 and not self._related(relation, a_, b)
            ]
            if against:
                one, other = (
                    noun(self._as_named(slot, self.phrases[phrase][1]))
                    for slot, phrase in zip(against[0], (subject, target), strict=True)
                )
                beside = f"the other {other}" if one == other else f"the {other}"
                found = f"the {one} {RELATIONS[_OPPOSITE[relation]]} {beside}"
                yield _RELATION, Difference(found, f"{RELATIONS[relation]} it")

    def _related(self, relation: int, a_: int, b: int) -> bool:
        place = self.x if relation in (LEFT, RIGHT) else self.y
        return bool(place[a_] < place[b]) == (relation in (LEFT, FRONT))

    def _of_all(self) -> list[tuple[float, Difference]]:
        """What is said of the whole scene and is otherwise, whichever objects are meant."""
        found = []
        count = len(self.objects)
        if self.total >= 0 and self.total != count:
            noun_ = "object" if count == 1 else "objects"
            one = Difference(f"{_NUMBERS[count]} {noun_}", _NUMBERS[self.total], many=self.total > 1)
            found.append((_WHOLE, one))
        for slot in range(count):
            if wrong := self._wrong(slot, self.every):
                differ = tuple(code if i in wrong else -1 for i, code in enumerate(self.every))
                only = noun(self.every) if 1 in wrong else noun(differ, "one")
                there = a(noun(self._as_named(slot, self.every)))
                one = Difference(there, f"only {only}s", many=True, slot=slot, codes=self.every)
                found.append((_WHOLE, one))
        if self.said_table >= 0 and self.said_table != self.table:
            found.append(
                (_WHOLE, Difference(f"{a(TABLES[self.table])} table", f"{a(TABLES[self.said_table])} one"))
            )
        return found


def _fits(own: Codes, codes: Codes) -> bool:
    return all(code in (-1, have) for code, have in zip(codes, own, strict=True))


def noun(codes: Codes, thing: str = "object") -> str:
    """What the codes name, in English order: size, finish, colour, stuff; `thing` where they name no shape."""
    colour, shape, size, material = (
        names[code] if code >= 0 else "" for names, code in zip(ATTRIBUTES.values(), codes, strict=True)
    )
    matte, metal = ("matte", "") if material == "matte" else ("", material)
    return " ".join(filter(None, (size, matte, colour, metal, shape or thing)))


def a(words: str) -> str:
    """The words with their article."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
