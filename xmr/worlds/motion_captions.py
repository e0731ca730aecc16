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

import numpy as np

from xmr.worlds.motion import ACTIONS, BOUNCE, PASSES_BEHIND, TO_LEFT, TURN, Clips, passes
from xmr.worlds.scenes import TABLES, Rows
from xmr.worlds.seeds import Seed
from xmr.worlds.writing import NOTHING, PHRASES, Claim, Codes, Writer, objects_of, packed, padded, write

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
    clips: Clips, per_visual: int = 5, difficulty: float = 0.5, seed: Seed = 0
) -> tuple[list[str], MotionForms]:
    """Captions of clips, as `sample_captions` of scenes."""
    names = ("action", "actor", "start", "end")
    columns = [getattr(clips, name).tolist() for name in names] + [passes(clips).tolist()]
    events = [
        [_Event(*event) for event in zip(*row, strict=True) if event[0] >= 0]
        for row in zip(*columns, strict=True)
    ]
    told = [
        _Clip(*row) for row in zip(objects_of(clips.scenes), clips.scenes.table.tolist(), events, strict=True)
    ]
    texts, claims = write(told, _Writer, per_visual, difficulty, seed)
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
class _Claim(Claim):
    clauses: list[tuple[int, int, int]] = field(default_factory=list)  # claim, subject, target
    order: int = -1
    rest: int = 0


def _pack(claims: list[_Claim]) -> MotionForms:
    nouns = [padded([codes for _, codes in claim.phrases], PHRASES, NOTHING) for claim in claims]
    clauses = np.array([padded(claim.clauses, CLAUSES, (-1, -1, -1)) for claim in claims], np.int8)
    said, subject, target = np.moveaxis(clauses.reshape(len(claims), CLAUSES, 3), 2, 0)
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


# At difficulty 0 and 1; between them they change in proportion.
_KINDS = {"one": (0.10, 0.55), "order": (0.62, 0.27), "and": (0.08, 0.10), "still": (0.20, 0.08)}
_SAY_PASS = (0.8, 0.5)
_SAY_DIRECTION = (0.8, 0.3)  # of a pass
_SAY_REST = (0.25, 0.05)
_SAY_TABLE = (0.25, 0.05)
_SAY_SLIDES = (0.0, 0.20)  # without its direction
_SAY_MOVES = (0.0, 0.12)
_VAGUE = (0.0, 0.35)  # that what is passed is just "something"

_CLAIM_BITS = (2.3,) * len(ACTIONS) + (1.0, 0.4, 0.8) + (3.4, 3.8) + (4.4, 4.4, 4.8, 4.8)
_ORDER_BITS = (0.0, 1.2, 1.8, 0.0)  # the last: one clause
_REST_BITS, _TABLE_BITS = 0.8, 2.0


class _Writer(Writer):
    """Says one thing about one clip."""

    BITS, BITS_SPREAD, ANY_BITS, DRIFTS_AGAIN = (12.0, 1.6), 1.5, 0.8, True
    scene: _Clip

    # -- what is claimed

    def claim(self) -> _Claim:
        clip, events = self.scene, self.scene.events
        acting = {event.actor for event in events}
        resting = [slot for slot in range(len(clip.objects)) if slot not in acting]
        possible = ["one"] + ["order", "and"] * (len(events) > 1) + ["still"] * bool(resting)
        kind = self.weighted(possible, [self.between(_KINDS[kind]) for kind in possible])
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
        told = sum(_CLAIM_BITS[code] for code, _, _ in claim.clauses) + _ORDER_BITS[claim.order]
        self.leave_out(claim, told + (_REST_BITS * claim.rest + _TABLE_BITS * (claim.table >= 0)))
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
        clause = claim.clauses[0]
        said = {"noun": named(clause[1]), "verb": self.verb(clause, named)}
        return self.pick(_ONE if claim.table < 0 else _ONE_ON_A_TABLE).format(**said)

    def say_two(self, claim: _Claim) -> str:
        named = _Named(self, claim)
        first, second = claim.clauses
        if claim.order != BEFORE and self.random.random() < 0.5:
            first, second = second, first
        if first[1] == second[1]:  # the subject is not named again
            said = {"noun": named(first[1]), "a": self.verb(first, named), "b": self.verb(second, named)}
            # "it" might be what was passed
            forms = _SAME + _SAME_IT * (first[2] < 0 and second[2] < 0)
            return ("{noun} {a} and {b}" if claim.order == AND else self.pick(forms)).format(**said)
        if claim.order == BEFORE and self.random.random() < 0.35:
            if self.random.random() < 0.5:
                later = self.clause(second, named)
                return f"{later} after {self.clause(first, named)}"
            return f"after {self.clause(first, named)}, {self.clause(second, named)}"
        said = {"a": self.clause(first, named), "b": self.clause(second, named)}
        return self.pick(_TWO[claim.order]).format(**said)

    def clause(self, clause: tuple[int, int, int], named: _Named) -> str:
        noun = named(clause[1])
        return f"{noun} {self.verb(clause, named)}"

    def verb(self, clause: tuple[int, int, int], named: _Named) -> str:
        words = self.pick(_VERBS[clause[0]])
        return words.format(named(clause[2])) if clause[2] >= 0 else words


class _Named:
    """Noun phrases in the order in which they are said: "a cube", "another cube", and then "the cube"."""

    def __init__(self, writer: _Writer, claim: _Claim):
        self.writer, self.claim = writer, claim
        self.words: dict[int, str] = {}

    def __call__(self, phrase: int) -> str:
        if phrase in self.words:
            return f"the {self.words[phrase]}"
        codes = self.claim.phrases[phrase][1]
        again = any(self.claim.phrases[other][1] == codes for other in self.words)
        text, self.words[phrase] = self.writer.noun(codes, again)
        return text


# What stands twice is said twice as often.
_ONE = (
    *("{noun} {verb}",) * 3,
    "{noun} that {verb}",
    "a clip in which {noun} {verb}",
    "we see that {noun} {verb}",
)
_ONE_ON_A_TABLE = ("{noun} {verb}", "{noun} {verb}", "there is {noun} that {verb}")
_TWO = (  # by order
    ("{a} and {b}",),
    ("{a}, then {b}", "{a} and then {b}", "{a} before {b}", "first {a}, then {b}"),
    ("{a} while {b}", "{a} while {b}", "while {a}, {b}", "{a} and at the same time {b}"),
)
_SAME = ("{noun} {a}, then {b}", "{noun} {a} and then {b}", "{noun} first {a}, then {b}")
_SAME_IT = ("{noun} {a} before it {b}", "{noun} {b} after it {a}")
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
