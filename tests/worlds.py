"""Both generated worlds, and of each a slow oracle that tells what happens as dicts and tries every way to read a caption."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from xmr.worlds.camera import lifted_box
from xmr.worlds.captions import Forms, sample_captions
from xmr.worlds.clips import sample_clips
from xmr.worlds.motion import ACTIONS, FRAMES, PASS_SHARE, Clips
from xmr.worlds.motion_captions import (
    AND,
    BEFORE,
    CLAIMS,
    MOVES,
    STILL,
    WHILE,
    MotionForms,
    sample_motion_captions,
)
from xmr.worlds.motion_truth import motion_holds, motion_holds_pairs
from xmr.worlds.scenes import ATTRIBUTES, COLOURS, Scenes, sample_scenes
from xmr.worlds.truth import holds, holds_pairs

DIFFICULTIES = (0.0, 0.2, 0.5, 0.8, 1.0)
WORDS = {
    "colour": {name: i for i, name in enumerate(COLOURS)},
    "shape": {"sphere": 0, "ball": 0, "cube": 1, "block": 1, "cylinder": 2, "cone": 3},
    "size": {"small": 0, "little": 0, "large": 1, "big": 1},
    "material": {"matte": 0, "rubber": 0, "metal": 1, "metallic": 1, "shiny": 1},
}
ADJECTIVES = "(?:" + "|".join([*COLOURS, *WORDS["size"], *WORDS["material"], "other"]) + ")"
NOUN = "(?:" + "|".join([*WORDS["shape"], "object", "thing"]) + ")"


def as_bytes(arrays: Any) -> bytes:
    parts = (getattr(arrays, f.name) for f in fields(arrays))
    return b"".join(as_bytes(part) if isinstance(part, Scenes) else part.tobytes() for part in parts)


def fits(thing: dict, codes: np.ndarray) -> bool:
    return all(code < 0 or thing[name] == code for name, code in zip(ATTRIBUTES, codes, strict=True))


# ---- scenes


def scene_story(scenes: Scenes, i: int) -> dict:
    """A scene as objects."""
    names = (*ATTRIBUTES, "x", "y")
    things = [{n: getattr(scenes, n)[i, k] for n in names} for k in range(scenes.count[i])]
    return {"table": scenes.table[i], "objects": things}


def related(relation: int, a: dict, b: dict) -> bool:
    return [a["x"] < b["x"], a["x"] > b["x"], a["y"] < b["y"], a["y"] > b["y"]][relation]


def scene_oracle(scene: dict, forms: Forms, i: int) -> bool:
    """Tries every way to give the phrases objects of their own."""
    things = scene["objects"]
    if forms.total[i] >= 0 and len(things) != forms.total[i]:
        return False
    if forms.table[i] >= 0 and scene["table"] != forms.table[i]:
        return False
    if not all(fits(thing, forms.every[i]) for thing in things):
        return False
    numbers = [int(n) for n in forms.number[i] if n > 0]
    for phrase, number in enumerate(numbers):
        if number > 1 and sum(fits(thing, forms.nouns[i, phrase]) for thing in things) != number:
            return False
    for order in itertools.permutations(things, sum(numbers)):
        rest, given = list(order), []
        for number in numbers:
            given.append(rest[:number])
            rest = rest[number:]
        if not all(fits(t, forms.nouns[i, p]) for p, group in enumerate(given) for t in group):
            continue
        links = [(r, *ends) for r, ends in zip(forms.relation[i], forms.ends[i], strict=True) if r >= 0]
        if all(related(r, a, b) for r, s, o in links for a in given[s] for b in given[o]):
            return True
    return False


def any_forms(rng: np.random.Generator, m: int) -> Forms:
    """Forms that no caption says: vague phrases, counts of two phrases, relations from any phrase to any."""
    phrases = rng.integers(0, 4, m)
    number = np.where(np.arange(3) < phrases[:, None], rng.choice([1, 1, 1, 2, 3], (m, 3)), 0)
    nouns = np.where(rng.random((m, 3, 4)) < 0.2, rng.integers((8, 4, 2, 2), size=(m, 3, 4)), -1)
    relation = np.where((phrases[:, None] > 1) & (rng.random((m, 2)) < 0.5), rng.integers(4, size=(m, 2)), -1)
    subject = rng.integers(3, size=(m, 2)) % np.maximum(phrases, 1)[:, None]
    target = (subject + 1) % np.maximum(phrases, 1)[:, None]
    ends = np.where(relation[..., None] >= 0, np.stack([subject, target], axis=2), -1)
    return Forms(
        number=number,
        nouns=np.where(number[..., None] > 0, nouns, -1),
        relation=relation,
        ends=ends,
        total=np.where(rng.random(m) < 0.2, rng.integers(1, 5, m), -1),
        every=np.where(rng.random((m, 4)) < 0.05, rng.integers((8, 4, 2, 2), size=(m, 4)), -1),
        table=np.where(rng.random(m) < 0.1, rng.integers(4, size=m), -1),
    )


# ---- clips


def clip_story(clips: Clips, i: int) -> dict:
    """A clip as objects and events with what each event is in words."""
    s = clips.scenes
    things = [{name: int(getattr(s, name)[i, k]) for name in ATTRIBUTES} for k in range(s.count[i])]
    where = [[float(s.x[i, k]), float(s.y[i, k])] for k in range(s.count[i])]
    events = []
    for e in range(3):
        if clips.action[i, e] >= 0:
            event = {name: float(getattr(clips, name)[i, e]) for name in ("start", "end", "amount")}
            events.append(event | {"is": ACTIONS[clips.action[i, e]], "of": int(clips.actor[i, e])})
    for event in events:
        event["passes"] = {
            b: passing(things, where, events, event, b) for b in range(len(things)) if b != event["of"]
        }
    return {"things": things, "events": events, "table": int(s.table[i])}


STEPS = {"left": (-1, 0), "right": (1, 0), "towards": (0, -1), "away": (0, 1)}


def place(where: list, events: list, k: int, time: float) -> tuple[float, float]:
    x, y = where[k]
    for event in events:
        if event["of"] == k and event["is"] in STEPS:
            share = min(max((time - event["start"]) / (event["end"] - event["start"]), 0), 1)
            x += STEPS[event["is"]][0] * share * event["amount"]
            y += STEPS[event["is"]][1] * share * event["amount"]
    return x, y


def there(events: list, k: int, time: float) -> bool:
    own = [event for event in events if event["of"] == k]
    return all(
        not (event["is"] == "appear" and time < event["start"])
        and not (event["is"] == "vanish" and time >= event["start"])
        for event in own
    )


def passing(things: list, where: list, events: list, event: dict, b: int) -> str:
    if event["is"] not in ("left", "right"):
        return ""
    a = event["of"]
    before, after = (
        place(where, events, a, event[t])[0] - place(where, events, b, event[t])[0] for t in ("start", "end")
    )
    inside = [k for k in range(FRAMES) if event["start"] <= k <= event["end"]]
    if before * after >= 0 or not all(there(events, b, t) for t in [event["start"], event["end"], *inside]):
        return ""
    shares = []
    for k in inside:
        boxes = []
        for o in (a, b):
            x, y = place(where, events, o, k)
            bouncing = [e for e in events if e["of"] == o and e["is"] == "bounce"]
            assert not any(e["start"] < k < e["end"] for e in bouncing)  # else the height must be told here
            codes = np.array(things[o]["shape"]), np.array(things[o]["size"])
            boxes.append([float(v) for v in lifted_box(np.float32(x), np.float32(y), *codes, np.float32(0))])
        (l1, r1, b1, t1), (l2, r2, b2, t2) = boxes
        common = max(min(r1, r2) - max(l1, l2), 0) * max(min(t1, t2) - max(b1, b2), 0)
        shares.append(common / min((r1 - l1) * (t1 - b1), (r2 - l2) * (t2 - b2)))
    if max(shares) < PASS_SHARE:
        return ""
    best = inside[int(np.argmax(shares))]
    farther = place(where, events, a, best)[1] > place(where, events, b, best)[1]
    return "behind" if farther else "in front"


def is_true(claim: str, subject: int, target: int, event: dict) -> bool:
    if event["of"] != subject:
        return False
    if claim == "slide":
        return event["is"] in STEPS
    if claim == "move":
        return event["is"] in (*STEPS, "turn", "bounce")
    if " " in claim:
        way, side = claim.split(" ", 1)
        return event["passes"].get(target) == side and way in ("pass", event["is"])
    return event["is"] == claim


def clip_oracle(clip: dict, forms: MotionForms, i: int) -> bool:
    """Tries every way to give the phrases objects, and the clauses events, of their own."""
    things, events = clip["things"], clip["events"]
    if forms.table[i] >= 0 and clip["table"] != forms.table[i]:
        return False
    count = int(forms.phrases[i])
    clauses = [
        (CLAIMS[c], int(s), int(t))
        for c, s, t in zip(forms.claim[i], forms.subject[i], forms.target[i], strict=True)
        if c >= 0
    ]
    for chosen in itertools.permutations(range(len(things)), count):
        if not all(fits(things[k], noun) for k, noun in zip(chosen, forms.nouns[i, :count], strict=True)):
            continue
        if forms.rest[i] and any(event["of"] not in chosen for event in events):
            continue
        options = []
        for claim, subject, target in clauses:
            who = chosen[subject]
            goal = chosen[target] if target >= 0 else -1
            if claim == "still":
                options.append(["rest"] if all(event["of"] != who for event in events) else [])
            else:
                options.append([event for event in events if is_true(claim, who, goal, event)])
        if len(clauses) == 1 and options[0]:
            return True
        for a, b in itertools.product(*options) if len(clauses) == 2 else ():
            if a is b:
                continue
            if forms.order[i] == AND:
                return True
            if "rest" in (a, b):
                continue
            if forms.order[i] == BEFORE and a["end"] <= b["start"]:
                return True
            if forms.order[i] == WHILE and a["start"] < b["end"] and b["start"] < a["end"]:
                return True
    return False


def any_motion_forms(rng: np.random.Generator, m: int) -> MotionForms:
    """Forms that no caption says: vague nouns, any claim of any phrase, in any order."""
    phrases = rng.integers(1, 4, m)
    used = np.arange(3) < phrases[:, None]
    nouns = np.where(rng.random((m, 3, 4)) < 0.12, rng.integers((8, 4, 2, 2), size=(m, 3, 4)), -1)
    subject = rng.integers(3, size=(m, 2)) % phrases[:, None]
    target = (subject + 1) % phrases[:, None]
    alone = rng.random(m) < 0.3
    claim = rng.integers(len(CLAIMS), size=(m, 2))
    claim = np.where((phrases[:, None] == 1) & (claim > STILL), MOVES, claim)
    claim[alone, 1] = -1
    return MotionForms(
        phrases=phrases,
        nouns=np.where(used[..., None], nouns, -1),
        claim=claim,
        subject=np.where(claim >= 0, subject, -1),
        target=np.where(claim > STILL, target, -1),
        order=np.where(alone, -1, rng.integers(3, size=m)),
        rest=(rng.random(m) < 0.2).astype(int),
        table=np.where(rng.random(m) < 0.1, rng.integers(4, size=m), -1),
    )


@dataclass(frozen=True)
class World:
    sample: Callable[..., Any]
    captions: Callable[..., Any]
    holds: Callable[..., np.ndarray]
    holds_pairs: Callable[..., np.ndarray]
    story: Callable[[Any, int], dict]
    oracle: Callable[[dict, Any, int], bool]
    any_forms: Callable[[np.random.Generator, int], Any]

    def slow_truth(self, things: Any, forms: Any) -> np.ndarray:
        stories = [self.story(things, i) for i in range(len(things))]
        return np.array([[self.oracle(one, forms, i) for i in range(len(forms))] for one in stories])


WORLDS = {
    "blocks": World(sample_scenes, sample_captions, holds, holds_pairs, scene_story, scene_oracle, any_forms),
    "moving_blocks": World(
        sample_clips,
        sample_motion_captions,
        motion_holds,
        motion_holds_pairs,
        clip_story,
        clip_oracle,
        any_motion_forms,
    ),
}
