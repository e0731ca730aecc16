"""Captions of clips in English, each with its logical form. The form says what a caption claims; truth is
computed from forms, never from strings.

What the words claim:

* "a red cube": at least one. Different noun phrases of one caption speak of different objects; "the cube" and "it"
  go back to one that was named.
* "slides to the left": an event of that object. Two clauses speak of two events. "slides" is a slide in any direction,
  "moves" any slide, turn or bounce. "never moves": there from first to last, and nothing happens to it.
* "passes behind": see `motion.passes`.
* "A, then B", "A before B", "B after A": A ends before B starts. "A while B": some moment belongs to both. "A and
  B": in any order.
* "everything else stays as it is": nothing happens to any object that the caption doesn't speak of.

Left, right, closer and away are the viewer's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import numpy as np

from xmr.worlds.captions import ATTRIBUTE_BITS, ATTRIBUTES, LEFT_OUT_FIRST, NOTHING, Codes, Writer
from xmr.worlds.motion import (
    ACTIONS,
    BOUNCE,
    PASSES_BEHIND,
    TO_LEFT,
    TURN,
    Clips,
    passes,
)
from xmr.worlds.scenes import TABLES, Rows, Seed

PHRASES = 3
CLAUSES = 2
# What a clause can say of its subject; the passes also have a target.
CLAIMS = (
    *ACTIONS,
    "slide",
    "move",
    "still",
    "pass behind",
    "pass in front",
    "left behind",
    "right behind",
    "left in front",
    "right in front",
)
SLIDES, MOVES, STILL = range(len(ACTIONS), len(ACTIONS) + 3)
BEHIND, FRONT, LEFT_BEHIND, RIGHT_BEHIND, LEFT_FRONT, RIGHT_FRONT = range(STILL + 1, len(CLAIMS))
ORDERS = ("and", "before", "while")
AND, BEFORE, WHILE = range(3)


@dataclass(frozen=True)
class MotionForms(Rows):
    """The logical forms of M captions, as padded int8 arrays.

    phrases (M,): how many noun phrases, 1–3 · nouns (M, 3, 4): codes of colour, shape, size, material, -1 = not
    named · claim (M, 2): index into CLAIMS, -1 = no second clause · subject, target (M, 2): phrase indices, -1 =
    none · order (M,): index into ORDERS, how the first clause stands to the second, -1 = one clause · rest (M,): 1 =
    everything else stays as it is, 0 = not said · table (M,): -1 = not said.
    """

    phrases: np.ndarray
    nouns: np.ndarray
    claim: np.ndarray
    subject: np.ndarray
    target: np.ndarray
    order: np.ndarray
    rest: np.ndarray
    table: np.ndarray


def sample_motion_captions(
    clips: Clips, per_clip: int = 5, difficulty: float = 0.5, seed: Seed = 0
) -> tuple[list[str], MotionForms]:
    """`per_clip` captions of every clip, clip-major: caption i speaks of clip i // per_clip. Captions of one clip
    differ. `difficulty` from 0 to 1 sets how much they leave out. The same arguments give the same captions,
    and more clips only append. Raises ValueError for a difficulty outside [0, 1] or a negative per_clip
    or seed."""
    if not 0 <= difficulty <= 1:
        raise ValueError(f"difficulty must be in [0, 1], got {difficulty}")
    if per_clip < 0:
        raise ValueError(f"per_clip must not be negative, got {per_clip}")
    seeds = np.random.SeedSequence(seed).generate_state(len(clips), np.uint64).tolist()
    columns = np.stack([getattr(clips.scenes, name) for name in ATTRIBUTES], axis=2).tolist()
    passed = passes(clips).tolist()
    events = zip(
        *(getattr(clips, name).tolist() for name in ("action", "actor", "start", "end")), strict=True
    )
    rows = zip(
        seeds, clips.scenes.count.tolist(), columns, clips.scenes.table.tolist(), events, passed, strict=True
    )
    texts: list[str] = []
    claims: list[_Claim] = []
    for own_seed, count, codes, table, own_events, own_passes in rows:
        happened = [_Event(*event) for event in zip(*own_events, own_passes, strict=True) if event[0] >= 0]
        clip = _Clip([tuple(c) for c in codes[:count]], table, happened)
        for text, claim in _captions_of(clip, per_clip, difficulty, Random(own_seed)):
            texts.append(text)
            claims.append(claim)
    return texts, _pack(claims)


@dataclass
class _Event:
    action: int
    actor: int
    start: float
    end: float
    passed: list[int]  # by slot, as in `passes`


@dataclass
class _Clip:
    objects: list[Codes]
    table: int
    events: list[_Event]

    def order(self, first: _Event, second: _Event) -> int:
        """BEFORE, WHILE, or AND where the second comes first."""
        if first.end <= second.start:
            return BEFORE
        return WHILE if first.start < second.end else AND


@dataclass
class _Claim:
    phrases: list[tuple[int, Codes]] = field(
        default_factory=list
    )  # always 1 and codes, as in captions of pictures
    clauses: list[tuple[int, int, int]] = field(default_factory=list)  # claim, subject, target
    order: int = -1
    rest: int = 0
    table: int = -1

    def key(self) -> tuple:
        return (*self.phrases, *self.clauses, self.order, self.rest, self.table)


def _pack(claims: list[_Claim]) -> MotionForms:
    nouns = [([codes for _, codes in claim.phrases] + [NOTHING] * PHRASES)[:PHRASES] for claim in claims]
    clauses = [[*claim.clauses, (-1, -1, -1)][:CLAUSES] for claim in claims]

    def packed(rows: list, *shape: int) -> np.ndarray:
        return np.array(rows, np.int8).reshape(len(claims), *shape)

    said, subject, target = (packed([[c[k] for c in row] for row in clauses], CLAUSES) for k in range(3))
    return MotionForms(
        phrases=packed([len(claim.phrases) for claim in claims]),
        nouns=packed(nouns, PHRASES, 4),
        claim=said,
        subject=subject,
        target=target,
        order=packed([claim.order for claim in claims]),
        rest=packed([claim.rest for claim in claims]),
        table=packed([claim.table for claim in claims]),
    )


def _captions_of(clip: _Clip, wanted: int, difficulty: float, random: Random) -> list[tuple[str, _Claim]]:
    """Distinct captions. When a clip has little left to say at this difficulty, the difficulty drifts to the middle,
    where most can be said; in the end a new wording of the same claim will do."""
    found: list[tuple[str, _Claim]] = []
    claims, texts = set(), set()
    drifting, failures = difficulty, 0
    while len(found) < wanted:
        writer = _MotionWriter(clip, drifting, random)
        claim = writer.claim()
        new = claim.key() not in claims
        text = writer.say(claim) if (new or failures >= 60) and not writer.ambiguous(claim) else None
        if text is None or text in texts:
            failures += 1
            drifting += 0.1 * (0.5 - drifting)
            continue
        claims.add(claim.key())
        texts.add(text)
        found.append((text, claim))
        drifting, failures = difficulty, 0
    return found


# Chances at difficulty 0 and 1; between them they change in proportion.
_KINDS = {"one": (0.10, 0.55), "order": (0.62, 0.27), "and": (0.08, 0.10), "still": (0.20, 0.08)}
_SAY_PASS = (0.8, 0.5)
_SAY_DIRECTION = (0.8, 0.3)  # of a pass
_SAY_REST = (0.25, 0.05)
_SAY_TABLE = (0.25, 0.05)
_SAY_SLIDES = (0.0, 0.20)  # without its direction
_SAY_MOVES = (0.0, 0.12)
_VAGUE = (0.0, 0.35)  # that what is passed is just "something"

# As for pictures: attributes are left out until about 2 ** -bits of all clips fit.
_BITS = (12.0, 1.6)
_BITS_SPREAD = 1.5
_CLAIM_BITS = (2.3,) * len(ACTIONS) + (1.0, 0.4, 0.8) + (3.4, 3.8) + (4.4, 4.4, 4.8, 4.8)
_ANY_BITS = 0.8  # what a phrase loses because any object of the clip may fit it
_ORDER_BITS = (0.0, 1.2, 1.8)
_REST_BITS, _TABLE_BITS = 0.8, 2.0


class _MotionWriter(Writer):
    """Says one thing about one clip."""

    scene: _Clip

    # -- what is claimed

    def claim(self) -> _Claim:
        clip, events = self.scene, self.scene.events
        acting = {event.actor for event in events}
        resting = [slot for slot in range(len(clip.objects)) if slot not in acting]
        possible = ["one"] + ["order", "and"] * (len(events) > 1) + ["still"] * bool(resting)
        chances = [low + (high - low) * self.difficulty for low, high in map(_KINDS.get, possible)]
        kind = self.weighted(possible, chances)
        chosen = self.shuffled(events)[: 2 if kind in ("order", "and") else 1]
        claim, slots = _Claim(), []
        for event in chosen:
            self.add_event(claim, slots, event)
        if kind == "still":
            claim.clauses.append((STILL, self.phrase(claim, slots, self.pick(resting)), -1))
            claim.order = AND
        elif kind == "and":
            claim.order = AND
        elif kind == "order":
            claim.order = clip.order(*chosen)
            if claim.order == AND:  # they came the other way round
                claim.clauses.reverse()
                claim.order = BEFORE
        others = [slot for slot in range(len(clip.objects)) if slot not in slots]
        if others and not acting.intersection(others) and self.chance(_SAY_REST):
            claim.rest = 1
        if self.chance(_SAY_TABLE):
            claim.table = clip.table
        self.leave_out(claim)
        return claim

    def phrase(self, claim: _Claim, slots: list[int], slot: int) -> int:
        """The index of the phrase that speaks of an object, a new one if need be."""
        if slot not in slots:
            slots.append(slot)
            claim.phrases.append((1, self.scene.objects[slot]))
        return slots.index(slot)

    def add_event(self, claim: _Claim, slots: list[int], event: _Event) -> None:
        subject = self.phrase(claim, slots, event.actor)
        passed = [slot for slot, kind in enumerate(event.passed) if kind]
        if passed and self.chance(_SAY_PASS):
            slot = self.pick(passed)
            behind = event.passed[slot] == PASSES_BEHIND
            code = BEHIND if behind else FRONT
            if self.chance(_SAY_DIRECTION):
                ways = (LEFT_BEHIND, RIGHT_BEHIND) if behind else (LEFT_FRONT, RIGHT_FRONT)
                code = ways[event.action - TO_LEFT]
            known = slot in slots
            target = self.phrase(claim, slots, slot)
            if not known and self.chance(_VAGUE):
                claim.phrases[target] = (1, NOTHING)
            claim.clauses.append((code, subject, target))
            return
        code = event.action
        if code < TURN and self.chance(_SAY_SLIDES):
            code = SLIDES
        elif code <= BOUNCE and self.chance(_SAY_MOVES):
            code = MOVES
        claim.clauses.append((code, subject, -1))

    def leave_out(self, claim: _Claim) -> None:
        """Forgets attributes until the claim tells no more than this difficulty allows."""
        low, high = _BITS
        budget = low + (high - low) * self.difficulty + (2 * self.random.random() - 1) * _BITS_SPREAD
        told = sum(_CLAIM_BITS[code] for code, _, _ in claim.clauses)
        told += _ORDER_BITS[claim.order] if claim.order >= 0 else 0
        told += _REST_BITS * claim.rest + _TABLE_BITS * (claim.table >= 0)
        for _, codes in claim.phrases:
            told += max(0.0, sum(ATTRIBUTE_BITS[a] for a in range(4) if codes[a] >= 0) - _ANY_BITS)
        while told > budget:
            options = [
                (p, a)
                for p, (_, codes) in enumerate(claim.phrases)
                for a in range(4)
                if codes[a] >= 0 and sum(code >= 0 for code in codes) > 1
            ]
            if not options:
                return
            phrase, attribute = self.weighted(options, [LEFT_OUT_FIRST[a] for _, a in options])
            codes = claim.phrases[phrase][1]
            claim.phrases[phrase] = (1, tuple(-1 if a == attribute else code for a, code in enumerate(codes)))
            told -= ATTRIBUTE_BITS[attribute]

    def ambiguous(self, claim: _Claim) -> bool:
        """Whether "the cube", said of an object that was named before, might be another one's phrase too."""
        if len(claim.clauses) < 2:
            return False
        first, second = ({*clause[1:]} - {-1} for clause in claim.clauses)
        again = first & second
        if claim.clauses[0][1] == claim.clauses[1][1]:  # a common subject is not named again
            again.remove(claim.clauses[0][1])
        for p in again:
            for q in range(len(claim.phrases)):
                pairs = zip(claim.phrases[p][1], claim.phrases[q][1], strict=True)
                if p != q and not any(a >= 0 and b >= 0 and a != b for a, b in pairs):
                    return True
        return False

    # -- how it is said

    def say(self, claim: _Claim) -> str:
        text = self.say_two(claim) if len(claim.clauses) == 2 else self.say_one(claim)
        if claim.rest:
            text += self.pick((", everything else stays as it is", " and everything else stays as it is"))
        if claim.table >= 0:
            text = f"on {self.pick(('a', 'the'))} {TABLES[claim.table]} table, {text}"
        return text

    def say_one(self, claim: _Claim) -> str:
        named = _Named(self, claim)
        noun = named(claim.clauses[0][1])
        verb = self.verb(claim.clauses[0], named)
        plain = f"{noun} {verb}"
        forms = (
            plain,
            plain,
            plain,
            f"{noun} that {verb}",
            f"a clip in which {plain}",
            f"we see that {plain}",
        )
        return self.pick(forms if claim.table < 0 else (plain, plain, f"there is {noun} that {verb}"))

    def say_two(self, claim: _Claim) -> str:
        named = _Named(self, claim)
        first, second = claim.clauses
        if claim.order != BEFORE and self.random.random() < 0.5:
            first, second = second, first
        if first[1] == second[1]:
            return self.say_same(claim, first, second, named)
        if claim.order == BEFORE and self.random.random() < 0.35:
            if self.random.random() < 0.5:
                later = self.clause(second, named)
                return f"{later} after {self.clause(first, named)}"
            return f"after {self.clause(first, named)}, {self.clause(second, named)}"
        a, b = self.clause(first, named), self.clause(second, named)
        if claim.order == BEFORE:
            forms = (f"{a}, then {b}", f"{a} and then {b}", f"{a} before {b}", f"first {a}, then {b}")
        elif claim.order == WHILE:
            forms = (f"{a} while {b}", f"{a} while {b}", f"while {a}, {b}", f"{a} and at the same time {b}")
        else:
            forms = (f"{a} and {b}",)
        return self.pick(forms)

    def say_same(self, claim: _Claim, first: tuple, second: tuple, named: _Named) -> str:
        """Two clauses of one subject, which is not named again."""
        noun, a = named(first[1]), self.verb(first, named)
        b = self.verb(second, named)
        if claim.order == AND:
            return f"{noun} {a} and {b}"
        forms = (f"{noun} {a}, then {b}", f"{noun} {a} and then {b}", f"{noun} first {a}, then {b}")
        if first[2] < 0 and second[2] < 0:  # else "it" might be what was passed
            forms += (f"{noun} {a} before it {b}", f"{noun} {b} after it {a}")
        return self.pick(forms)

    def clause(self, clause: tuple[int, int, int], named: _Named) -> str:
        noun = named(clause[1])
        return f"{noun} {self.verb(clause, named)}"

    def verb(self, clause: tuple[int, int, int], named: _Named) -> str:
        words = self.pick(_VERBS[clause[0]])
        return words.format(named(clause[2])) if clause[2] >= 0 else words


class _Named:
    """Noun phrases in the order in which they are said: "a cube", "another cube", and then "the cube"."""

    def __init__(self, writer: _MotionWriter, claim: _Claim):
        self.writer, self.claim = writer, claim
        self.words: dict[int, str] = {}

    def __call__(self, phrase: int) -> str:
        codes = self.claim.phrases[phrase][1]
        if phrase in self.words:
            return f"the {self.words[phrase]}"
        again = any(self.claim.phrases[other][1] == codes for other in self.words)
        if codes == NOTHING:
            self.words[phrase] = "object"
            return self.writer.pick(("something", "an object", "another object"))
        words = self.words[phrase] = self.writer.words(codes, plural=False)
        return f"{'another' if again else 'an' if words[0] in 'aeiou' else 'a'} {words}"


_VERBS = (
    ("slides to the left", "moves to the left", "slides left"),
    ("slides to the right", "moves to the right", "slides right"),
    ("slides towards the viewer", "comes closer", "moves to the front"),
    ("slides away from the viewer", "moves away", "moves to the back"),
    ("turns", "spins", "rotates"),
    ("bounces", "bounces", "bounces twice"),
    ("appears", "appears", "shows up"),
    ("vanishes", "disappears"),
    ("slides", "slides across the table"),
    ("moves",),
    ("never moves", "stays still all the time"),
    ("passes behind {}", "slides past behind {}"),
    ("passes in front of {}", "slides past in front of {}"),
    ("passes behind {} to the left", "slides to the left behind {}"),
    ("passes behind {} to the right", "slides to the right behind {}"),
    ("passes in front of {} to the left", "slides to the left in front of {}"),
    ("passes in front of {} to the right", "slides to the right in front of {}"),
)
