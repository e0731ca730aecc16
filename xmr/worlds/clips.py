"""Random clips: first what happens, drawn as plans, then places by rejection until all promises are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import NamedTuple

import numpy as np

from xmr.worlds import camera
from xmr.worlds.motion import (
    ACTIONS,
    APPEAR,
    AWAY,
    BOUNCE,
    EVENTS,
    FRAMES,
    OBJECTS,
    PASSES_BEHIND,
    PASSES_FRONT,
    TO_LEFT,
    TO_RIGHT,
    TURN,
    VANISH,
    Clips,
    pass_shares,
    poses,
    screen_boxes,
)
from xmr.worlds.scenes import (
    ATTRIBUTES,
    ECHO,
    GAP,
    HIDDEN,
    SHAPES,
    SIZES,
    SLOTS,
    TABLE_MARGIN,
    TABLES,
    Scenes,
    concatenate,
    sample_light,
)
from xmr.worlds.seeds import CLIPS, Seed, blocks_of, clip_seed, weighted

_CONE = SHAPES.index("cone")
_PASS_SURE = 0.18  # the share that a pass hides, well above `PASS_SHARE`
_BLOCK = 128  # clips per random stream: n clips are a prefix of n + 1 clips
_AT_ONCE = 256  # placements tried at once when few clips are left
_TRIES = 40  # failed placements before what happens in a clip is drawn anew
_TIMES = np.linspace(0, FRAMES - 1, 2 * FRAMES - 1)  # when promises are checked; holds all frames
_COUNT_SHARES = (0.2, 0.4, 0.4)

# Which windows a clip's events have, and how often.
_PLANS = {
    ("whole",): 0.10,
    ("early",): 0.05,
    ("late",): 0.05,
    ("early", "late"): 0.42,
    ("early", "early"): 0.06,
    ("late", "late"): 0.06,
    ("whole", "early"): 0.05,
    ("whole", "late"): 0.05,
    ("early", "late", "late"): 0.05,
    ("early", "early", "late"): 0.05,
    ("whole", "early", "late"): 0.06,
}
_ACTION_WEIGHTS = (1.4, 1.4, 1.0, 1.0, 1.0, 1.2, 1.0, 0.7)
# A frame: no multiple comes near the quarter turn after which a cube looks the same.
_TURN_RATE = np.deg2rad(38.0)
_DISTANCE = (1.5, 2.2, 3.4)  # of a slide, in world units: at least, at least if it lasts long, at most
_PASS = 0.8  # chance that a slide to a side goes past another object, where one lies still


def clips_of(split: str, seed: int = 0) -> Clips:
    """The clips of a split: 2,000 for train, 500 for validation and for test."""
    own_seed = clip_seed(split, seed)
    return sample_clips(CLIPS[split], own_seed)


def sample_clips(n: int, seed: Seed = 0) -> Clips:
    """n random clips, the same for the same seed (a non-negative integer or several), and a prefix of what a larger
    n gives. Objects never touch nor leave the picture, and while none passes another all are mostly visible. Raises
    ValueError for a negative n or seed."""
    return concatenate([_sample_block(stream) for stream in blocks_of(n, _BLOCK, seed)])[:n]


class _Event(NamedTuple):
    action: int
    actor: int
    start: float
    end: float
    amount: float
    window: str


@dataclass
class _Plan:
    """What a clip shows, before anything has a place."""

    objects: list[list[int]]  # colour, shape, size, material
    events: list[_Event]
    passing: tuple[int, int, int] = (-1, -1, 0)  # event, slot, PASSES_BEHIND or PASSES_FRONT


def _sample_block(sequence: np.random.SeedSequence) -> Clips:
    """Plans first, then places by rejection: what happens does not depend on what fits, unless nothing fits."""
    rng, random = np.random.default_rng(sequence), Random(int(sequence.generate_state(1, np.uint64)[0]))
    plans = [_plan(random) for _ in range(_BLOCK)]
    clips, passing = _arrays(plans, rng)
    todo, tries = np.arange(_BLOCK), np.zeros(_BLOCK, int)
    while len(todo):
        several = np.repeat(todo, max(1, _AT_ONCE // len(todo)))
        placed = _placed(clips[several], passing[several], rng)
        good = np.flatnonzero(_fits(placed, passing[several]))
        good = good[_passes_as_meant(placed[good], passing[several[good]])]
        done, first = np.unique(several[good], return_index=True)
        good = good[first]
        clips.scenes.x[done], clips.scenes.y[done] = placed.scenes.x[good], placed.scenes.y[good]
        clips.amount[done] = placed.amount[good]
        tries[todo] += len(several) // len(todo)
        todo = np.setdiff1d(todo, done)
        stuck = todo[tries[todo] >= _TRIES]
        if len(stuck):
            tries[stuck] = 0
            again, passing[stuck] = _arrays([_plan(random) for _ in stuck], rng)
            for rows, new in ((clips.scenes, again.scenes), (clips, again)):
                for name, values in vars(new).items():
                    if name != "scenes":
                        getattr(rows, name)[stuck] = values
    return clips


def _plan(random: Random) -> _Plan:
    count = weighted(random, (1, 2, 3), _COUNT_SHARES)
    objects: list[list[int]] = []
    for _ in range(count):
        codes = [int(random.random() * len(v)) for v in ATTRIBUTES.values()]
        for attribute in (0, 1):
            if objects and random.random() < ECHO:
                codes[attribute] = objects[-1][attribute]
        objects.append(codes)
    plan = _Plan(objects, [])
    for window in weighted(random, list(_PLANS), list(_PLANS.values())):
        busy = {one.actor for one in plan.events if one.window == window or "whole" in (one.window, window)}
        free = [slot for slot in range(count) if slot not in busy]
        if free:
            slot = free[int(random.random() * len(free))]
            event = _event(plan, window, slot, random)
            if event is not None:
                plan.events.append(event)
    if not plan.events:
        return _plan(random)
    _choose_passing(plan, random)
    order = sorted(range(len(plan.events)), key=lambda e: plan.events[e].start)
    plan.events = [plan.events[e] for e in order]
    event, slot, kind = plan.passing
    plan.passing = (order.index(event) if kind else -1, slot, kind)
    return plan


def _event(plan: _Plan, window: str, slot: int, random: Random) -> _Event | None:
    """An event of an object in a window, or None where nothing more can happen to it. An object does no thing twice,
    and at most one appears or vanishes in a window, so that one is before the other."""
    own = [one.action for one in plan.events if one.actor == slot]
    sudden = any(one.window == window and one.action in (APPEAR, VANISH) for one in plan.events)
    before_late = window == "early" and any(one.window == "late" for one in plan.events)
    weights = list(_ACTION_WEIGHTS)
    for action in own:
        weights[action] = 0
    if window == "whole":
        weights[BOUNCE] = weights[APPEAR] = weights[VANISH] = 0
    # Plans go forward in time: what comes later than another event of this object is late.
    if sudden or own:
        weights[APPEAR] = 0
    if sudden or before_late or VANISH in own:
        weights[VANISH] = 0
    if VANISH in own or not sum(weights):
        return None
    action = weighted(random, range(len(ACTIONS)), weights)
    early = window != "late"
    if action == TURN:  # a turn is seen on cubes only, and well on large ones
        plan.objects[slot][1:3] = [SHAPES.index("cube"), SIZES.index("large")]
    if action in (APPEAR, VANISH):
        start = end = (1.5 if early else 4.5) + int(random.random() * 2)
    elif action == BOUNCE:
        start, end = (0.0, 3.5) if early else (3.5, 7.0)
    else:
        start = (0.0 if early else 3.6) + 0.5 * random.random()
        end = (2.9 if window == "early" else 6.5) + 0.5 * random.random()
    amount = 0.0
    if action == TURN:
        amount = random.choice((-1, 1)) * _TURN_RATE * (end - start)
    elif action == BOUNCE:
        amount = 0.95 + 0.35 * random.random()
    return _Event(action, slot, start, end, amount, window)


def _choose_passing(plan: _Plan, random: Random) -> None:
    """Perhaps lets one slide to a side pass an object to which nothing else happens meanwhile. Of different sizes, the
    small one is behind: seen from above, a large one behind it would hardly be covered. Nor does a cone's tip cover
    much of its equals."""
    for e, (action, actor, start, end, *_) in enumerate(plan.events):
        if action not in (TO_LEFT, TO_RIGHT) or random.random() >= _PASS:
            continue
        others = [
            slot for slot in range(len(plan.objects)) if slot != actor and _rests(plan, slot, start, end)
        ]
        if not others:
            continue
        slot = others[int(random.random() * len(others))]
        (_, own_shape, own, _), (_, shape, size, _) = plan.objects[actor], plan.objects[slot]
        options = [PASSES_BEHIND] * (own < size or (own == size and shape != _CONE))
        options += [PASSES_FRONT] * (own > size or (own == size and own_shape != _CONE))
        if options:
            plan.passing = (e, slot, options[int(random.random() * len(options))])
            return


def _rests(plan: _Plan, slot: int, start: float, end: float) -> bool:
    """Whether an object is there, and nothing happens to it, all the while."""
    own = [one for one in plan.events if one.actor == slot]
    later = {one.action for one in own if one.start >= end}
    earlier = {one.action for one in own if one.end <= start}
    return len(own) == len(later) + len(earlier) and APPEAR not in later and VANISH not in earlier


def _arrays(plans: Sequence[_Plan], rng: np.random.Generator) -> tuple[Clips, np.ndarray]:
    """Clips whose objects have no place yet, and what passes what, (N, 3): event, slot, kind."""
    n = len(plans)
    codes = np.full((n, SLOTS, 4), -1, np.int8)
    events = np.tile(np.array([-1, -1, 0, 0, 0], np.float32), (n, EVENTS, 1))
    for i, plan in enumerate(plans):
        codes[i, : len(plan.objects)] = plan.objects
        events[i, : len(plan.events)] = [one[:5] for one in plan.events]
    count = np.array([len(plan.objects) for plan in plans], np.int8)
    present = np.arange(SLOTS) < count[:, None]
    light = sample_light(rng, n)
    scenes = Scenes(
        count=count,
        **{name: codes[:, :, a].copy() for a, name in enumerate(ATTRIBUTES)},
        x=np.zeros((n, SLOTS), np.float32),
        y=np.zeros((n, SLOTS), np.float32),
        turn=np.where(present, rng.uniform(-np.pi / 4, np.pi / 4, (n, SLOTS)), 0).astype(np.float32),
        table=rng.integers(len(TABLES), size=n).astype(np.int8),
        light=light,
    )
    action, actor = (events[:, :, k].astype(np.int8) for k in (0, 1))
    start, end, amount = (events[:, :, k].copy() for k in (2, 3, 4))
    return Clips(scenes, action, actor, start, end, amount), np.array([plan.passing for plan in plans])


def _placed(clips: Clips, passing: np.ndarray, rng: np.random.Generator) -> Clips:
    """One try: random distances, and random places from which these stay on the table; a slide that is to pass an
    object starts beside it."""
    n = len(clips)
    rows = np.arange(n)
    slides = (clips.action >= TO_LEFT) & (clips.action <= AWAY)
    least = np.where(clips.end - clips.start > FRAMES / 2, _DISTANCE[1], _DISTANCE[0])
    distance = rng.uniform(least, _DISTANCE[2]).astype(np.float32)
    event, slot, kind = passing.T
    meant = kind > 0
    foot = _foot(clips.scenes)
    actor = np.maximum(clips.actor[rows, event], 0)
    reach = foot[rows, actor] + foot[rows, slot]
    before, beyond, gap = rng.uniform(0.5, 1.1, n), rng.uniform(0.5, 1.1, n), rng.uniform(0, 0.3, n)
    past = np.maximum((before + beyond) * reach, least[rows, event])
    distance[rows, event] = np.where(meant, past, distance[rows, event])
    clips = replace(clips, amount=np.where(slides, distance, clips.amount))

    present = clips.scenes.present
    origin = np.zeros((n, SLOTS), np.float32)
    paths = poses(replace(clips, scenes=replace(clips.scenes, x=origin, y=origin)), np.arange(FRAMES))
    x = _within(rng, -2.75 + foot, 2.75 - foot, paths.x)
    y = _within(rng, -3.1 + foot, 3.3 - foot, paths.y)

    # How the two have moved when the slide starts tells where the slider must begin.
    first = np.minimum(np.ceil(clips.start[rows, event]), FRAMES - 1).astype(int)
    begun = np.floor(clips.start[rows, event]).astype(int)
    side = np.where(clips.action[rows, event] == TO_RIGHT, 1, -1)
    aside = -side * before * reach
    aback = np.where(kind == PASSES_BEHIND, 1, -1) * (reach + GAP + gap)
    for values, path, offset in ((x, paths.x, aside), (y, paths.y, aback)):
        aim = values[rows, slot] + path[rows, slot, first] + offset - path[rows, actor, begun]
        values[rows, actor] = np.where(meant, aim, values[rows, actor])
    x, y = (np.where(present, values, 0).astype(np.float32) for values in (x, y))
    return replace(clips, scenes=replace(clips.scenes, x=x, y=y))


def _within(rng: np.random.Generator, low: np.ndarray, high: np.ndarray, path: np.ndarray) -> np.ndarray:
    """Random starts (N, 4) from which paths (N, 4, T) stay between low and high (N, 4), or about so where they are
    too long."""
    low, high = low - path.min(2), high - path.max(2)
    return low + (high - low) * rng.random(low.shape)


def _foot(scenes: Scenes) -> np.ndarray:
    return camera.footprint(np.maximum(scenes.shape, 0), np.maximum(scenes.size, 0))


def _fits(clips: Clips, passing: np.ndarray) -> np.ndarray:
    """(N,) bool: whether all stays inside the picture, nothing touches, and nothing is hidden but by a pass."""
    n, scenes = len(clips), clips.scenes
    rows = np.arange(n)
    at = poses(clips, _TIMES)
    boxes = screen_boxes(scenes, at)
    good = (camera.inside(boxes) | ~scenes.present[..., None]).all((1, 2))
    foot, areas = _foot(scenes), camera.area(boxes)
    event, slot, kind = passing.T
    actor, start, end = (v[rows, event] for v in (clips.actor, clips.start, clips.end))
    within = (start[:, None] < _TIMES) & (end[:, None] > _TIMES)
    for a in range(OBJECTS):
        for b in range(a):
            both = at.shown[:, a] & at.shown[:, b]
            dx, dy = at.x[:, a] - at.x[:, b], at.y[:, a] - at.y[:, b]
            free = np.hypot(dx, dy) > (foot[:, a] + foot[:, b] + GAP)[:, None]
            rear = np.where(dy > 0, areas[:, a], areas[:, b])
            seen = camera.shared_area(boxes[:, :, a], boxes[:, :, b]) < HIDDEN * rear
            meant = (kind > 0) & (((actor == a) & (slot == b)) | ((actor == b) & (slot == a)))
            good &= (~both | (free & (seen | (meant[:, None] & within)))).all(1)
    return good


def _passes_as_meant(clips: Clips, passing: np.ndarray) -> np.ndarray:
    """(N,) bool: whether slides pass what they are to pass, clearly, and no other object even in part."""
    event, slot, kind = passing.T
    share, behind, apart = pass_shares(clips)
    meant = np.zeros(share.shape, bool)
    meant[np.arange(len(clips)), event, slot] = kind > 0
    right_side = behind == (kind == PASSES_BEHIND)[:, None, None]
    clear = (share >= _PASS_SURE) & right_side & (apart < -TABLE_MARGIN)
    return np.where(meant, clear, apart > TABLE_MARGIN).all((1, 2))
