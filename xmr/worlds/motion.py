"""Clip descriptions: what lies on the table at first, and what happens to it. The truth of every caption and
every frame is computed from these arrays and from nothing else.

Time is counted in frames: a clip lasts from 0 to 7 and frame k shows it at time k. Events come in three
windows, "early" and "late", which do not meet, and "whole", which holds both: any two events of a clip are either
clearly one after the other or clearly at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from random import Random

import numpy as np

from xmr.worlds import camera
from xmr.worlds.render import lifted_box
from xmr.worlds.scenes import (
    COLOURS,
    GAP,
    HIDDEN,
    MATERIALS,
    SHAPES,
    SIZES,
    SLOTS,
    TABLE_MARGIN,
    TABLES,
    Rows,
    Scenes,
    Seed,
    concatenate,
)

FRAMES = 8
EVENTS = 3
_CONE = SHAPES.index("cone")
OBJECTS = 3  # at most, of the four slots that a scene has
ACTIONS = ("left", "right", "towards", "away", "turn", "bounce", "appear", "vanish")
TO_LEFT, TO_RIGHT, TOWARDS, AWAY, TURN, BOUNCE, APPEAR, VANISH = range(8)
PASSES_BEHIND, PASSES_FRONT = 1, 2

# A slide past another object counts as passing behind or in front of it when some frame shows at least this share of
# the smaller screen box shared. Sampled clips stay clear of the threshold: see _PASS_SURE.
PASS_SHARE = 0.10
_PASS_SURE = 0.18

CLIPS = {"train": 2_000, "validation": 500, "test": 500}
# Continues the streams of `xmr.worlds`: no clip begins with a scene of the pictures.
_STREAMS = {"train": 5, "validation": 6, "test": 7}

_BLOCK = 128  # clips per random stream: n clips are a prefix of n + 1 clips
_AT_ONCE = 256  # placements tried at once when few clips are left
_TRIES = 40  # failed placements before what happens in a clip is drawn anew
_TIMES = np.linspace(0, FRAMES - 1, 2 * FRAMES - 1)  # when promises are checked; holds all frames
_COUNT_SHARES = (0.2, 0.4, 0.4)
_ECHO = 0.18  # as in scenes: chance that an object repeats the colour or the shape of the one before

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
_TURN_RATE = np.deg2rad(
    38.0
)  # a frame: no multiple comes near the quarter turn after which a cube looks the same
_DISTANCE = (1.5, 2.2, 3.4)  # of a slide, in world units: at least, at least if it lasts long, at most
_PASS = 0.8  # chance that a slide to a side goes past another object, where one lies still


@dataclass(frozen=True)
class Clips(Rows):
    """N clips of one to three objects and one to three events.

    scenes: the objects (slots as in `Scenes`), where they are at time 0 or, if they appear later, will be then ·
    action (N, 3) int8: index into ACTIONS, -1 = no event; events come first, by start · actor (N, 3) int8: the
    object's slot · start, end (N, 3) float32: frames, equal for appear and vanish · amount (N, 3) float32: world
    units for slides, radians for turns (either sign), the height of the first hop for bounces, else 0.
    """

    scenes: Scenes
    action: np.ndarray
    actor: np.ndarray
    start: np.ndarray
    end: np.ndarray
    amount: np.ndarray


@dataclass(frozen=True)
class Poses:
    """Where the objects of N clips are at T times: x, y, turn, lift (N, 4, T) float32 as in `Scenes` and `render`;
    shown (N, 4, T) bool, False in padding too."""

    x: np.ndarray
    y: np.ndarray
    turn: np.ndarray
    lift: np.ndarray
    shown: np.ndarray


def clips_of(split: str, seed: int = 0) -> Clips:
    """The clips of a split: 2,000 for train, 500 for validation and for test."""
    return sample_clips(CLIPS[split], clip_seed(split, seed))


def clip_seed(split: str, seed: int = 0) -> tuple[int, int]:
    """The seed of a split's clips (and captions) for the data set's own seed. Raises ValueError for an unknown
    split, naming the known ones."""
    if split not in CLIPS:
        raise ValueError(f"unknown split {split!r}; there are {', '.join(CLIPS)}")
    return _STREAMS[split], seed


def poses(clips: Clips, times: np.ndarray) -> Poses:
    """Where everything is at `times`, (T,) for all clips or (N, T) for each its own, in frames from 0 to 7."""
    scenes, n = clips.scenes, len(clips)
    times = np.broadcast_to(np.asarray(times, np.float32), (n, np.shape(times)[-1]))
    shape = (n, SLOTS, times.shape[1])
    x, y, turn = (np.broadcast_to(v[..., None], shape).copy() for v in (scenes.x, scenes.y, scenes.turn))
    lift = np.zeros(shape, np.float32)
    shown = np.broadcast_to(scenes.present[..., None], shape).copy()
    for e in range(EVENTS):
        rows = np.flatnonzero(clips.action[:, e] >= 0)
        action, actor, t = clips.action[rows, e], clips.actor[rows, e], times[rows]
        start, end, amount = (v[rows, e, None] for v in (clips.start, clips.end, clips.amount))
        done = amount * np.clip((t - start) / np.maximum(end - start, np.float32(1e-6)), 0, 1)
        for values, forth, back in ((x, TO_RIGHT, TO_LEFT), (y, AWAY, TOWARDS), (turn, TURN, -1)):
            sign = (action == forth).astype(np.float32) - (action == back)
            values[rows, actor] += sign[:, None] * done
        # Two hops, the second lower. They meet on a frame, so that the landing between them is seen.
        landing = np.round((start + end) / 2 + np.float32(0.1))
        hops = _hop(t, start, landing) + np.float32(0.62) * _hop(t, landing, end)
        lift[rows, actor] += (action == BOUNCE)[:, None] * amount * hops
        gone = (action == APPEAR)[:, None] & (t < start) | (action == VANISH)[:, None] & (t >= start)
        shown[rows, actor] &= ~gone
    return Poses(x, y, turn, lift, shown)


def _hop(times: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """A parabola from 0 at `start` over 1 to 0 at `end`, 0 outside."""
    done = np.clip((times - start) / np.maximum(end - start, np.float32(1e-6)), 0, 1)
    return 4 * done * (1 - done)


def frames(clips: Clips) -> tuple[Scenes, np.ndarray]:
    """Every frame as a scene, clip-major (8 N), and the lift (8 N, 4) of its objects: what `render` takes. Objects
    that are not shown leave their slots to those behind them."""
    at = poses(clips, np.arange(FRAMES))
    still = clips.scenes[np.repeat(np.arange(len(clips)), FRAMES)]
    codes = {name: getattr(still, name) for name in ("colour", "shape", "size", "material")}
    places = {f.name: getattr(at, f.name).transpose(0, 2, 1).reshape(-1, SLOTS) for f in fields(at)}
    shown = places.pop("shown")
    order = np.argsort(~shown, axis=1, kind="stable")
    seen = {name: np.where(shown, values, np.int8(-1)) for name, values in codes.items()}
    seen |= {name: np.where(shown, values, np.float32(0)) for name, values in places.items()}
    seen = {name: np.take_along_axis(values, order, axis=1) for name, values in seen.items()}
    lift = seen.pop("lift")
    return replace(still, count=shown.sum(1).astype(np.int8), **seen), lift


def passes(clips: Clips) -> np.ndarray:
    """(N, 3, 4) int8: what slide e does to the object in slot b: 0 nothing, PASSES_BEHIND or PASSES_FRONT.

    A slide to the left or right passes an object that is there all the while if it ends on the object's other side
    and some frame shows one over the other: their screen boxes share at least PASS_SHARE of the smaller one.
    Behind is farther from the viewer."""
    share, behind, _ = _passing(clips)
    kind = np.where(behind, PASSES_BEHIND, PASSES_FRONT)
    return np.where(share >= PASS_SHARE, kind, 0).astype(np.int8)


def _passing(clips: Clips) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For slide e and slot b, (N, 3, 4): the share of the smaller screen box that a frame shows shared, 0 where the
    slide does not end on the other side; whether the slide is behind; and how far apart in x the two are at its start
    or end, whichever is less, negative where it changes sides (inf where no slide to a side or no other object)."""
    n = len(clips)
    rows = np.arange(n)
    share, behind = np.zeros((n, EVENTS, SLOTS)), np.zeros((n, EVENTS, SLOTS), bool)
    apart = np.full((n, EVENTS, SLOTS), np.inf)
    for e in range(EVENTS):
        actor = np.maximum(clips.actor[:, e], 0)
        limits = np.stack([clips.start[:, e], clips.end[:, e]], axis=1)
        at = poses(
            clips, np.concatenate([limits, np.tile(np.arange(FRAMES, dtype=np.float32), (n, 1))], axis=1)
        )
        during = (np.arange(FRAMES) >= limits[:, :1]) & (np.arange(FRAMES) <= limits[:, 1:])
        other = np.isin(clips.action[:, e], (TO_LEFT, TO_RIGHT))[:, None] & clips.scenes.present
        other[rows, actor] = False
        dx = at.x[rows, actor][:, None, :2] - at.x[:, :, :2]
        apart[:, e] = np.where(other, np.sign(dx[..., 0] * dx[..., 1]) * np.abs(dx).min(2), np.inf)

        boxes = _boxes(clips.scenes, at)[..., 2:]
        common, areas = _common(boxes[:, rows, actor][:, :, None], boxes)
        both = at.shown[rows, actor][:, None, 2:] & at.shown[:, :, 2:] & during[:, None]
        covered = np.where(both, common / np.minimum(*areas), 0)
        stays = at.shown[:, :, :2].all(2) & (at.shown[:, :, 2:] | ~during[:, None]).all(2)
        share[:, e] = np.where((apart[:, e] < 0) & stays, covered.max(2), 0)
        most = covered.argmax(2)[..., None]
        dy = at.y[rows, actor][:, None, 2:] - at.y[:, :, 2:]
        behind[:, e] = np.take_along_axis(dy, most, axis=2)[..., 0] > 0
    return share, behind, apart


def _boxes(scenes: Scenes, at: Poses) -> np.ndarray:
    """Screen boxes (4, N, 4, T): left, right, bottom, top; anything in padding."""
    shape, size = (
        np.broadcast_to(np.maximum(v, 0)[..., None], at.x.shape) for v in (scenes.shape, scenes.size)
    )
    return np.stack(lifted_box(at.x, at.y, shape, size, at.lift))


def _common(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """The area that screen boxes (4, …) share, and the area of each."""
    wide = np.minimum(a[1], b[1]) - np.maximum(a[0], b[0])
    tall = np.minimum(a[3], b[3]) - np.maximum(a[2], b[2])
    areas = ((a[1] - a[0]) * (a[3] - a[2]), (b[1] - b[0]) * (b[3] - b[2]))
    return np.maximum(wide, 0) * np.maximum(tall, 0), np.broadcast_arrays(*areas)


def sample_clips(n: int, seed: Seed = 0) -> Clips:
    """n random clips, the same for the same seed (a non-negative integer or several), and a prefix of what a larger
    n gives. Objects never touch nor leave the picture, and while none passes another all are mostly visible. Raises
    ValueError for a negative n or seed."""
    if n < 0:
        raise ValueError(f"n must not be negative, got {n}")
    blocks = range(max(1, -(-n // _BLOCK)))
    parts = [_sample_block(np.random.SeedSequence(seed, spawn_key=(block,))) for block in blocks]
    events = {f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Clips)[1:]}
    return Clips(concatenate([part.scenes for part in parts]), **events)[:n]


@dataclass
class _Plan:
    """What a clip shows, before anything has a place."""

    objects: list[list[int]]  # colour, shape, size, material
    events: list[list]  # action, actor, start, end, amount
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
            for f in fields(Scenes):
                getattr(clips.scenes, f.name)[stuck] = getattr(again.scenes, f.name)
            for f in fields(Clips)[1:]:
                getattr(clips, f.name)[stuck] = getattr(again, f.name)
    return clips


def _plan(random: Random) -> _Plan:
    count = _weighted(random, (1, 2, 3), _COUNT_SHARES)
    objects: list[list[int]] = []
    for _ in range(count):
        codes = [int(random.random() * len(v)) for v in (COLOURS, SHAPES, SIZES, MATERIALS)]
        for attribute in (0, 1):
            if objects and random.random() < _ECHO:
                codes[attribute] = objects[-1][attribute]
        objects.append(codes)
    plan = _Plan(objects, [])
    windows: list[str] = []
    for window in _weighted(random, list(_PLANS), list(_PLANS.values())):
        busy = {
            event[1]
            for other, event in zip(windows, plan.events, strict=True)
            if other == window or "whole" in (other, window)
        }
        free = [slot for slot in range(count) if slot not in busy]
        if free:
            slot = free[int(random.random() * len(free))]
            event = _event(plan, windows, window, slot, random)
            if event is not None:
                plan.events.append(event)
                windows.append(window)
    if not plan.events:
        return _plan(random)
    _choose_passing(plan, random)
    order = sorted(range(len(plan.events)), key=lambda e: plan.events[e][2])
    plan.events = [plan.events[e] for e in order]
    event, slot, kind = plan.passing
    plan.passing = (order.index(event) if kind else -1, slot, kind)
    return plan


def _event(plan: _Plan, windows: list[str], window: str, slot: int, random: Random) -> list | None:
    """An event of an object in a window, or None where nothing more can happen to it. An object does no thing twice,
    and at most one appears or vanishes in a window, so that one is before the other."""
    own = [event[0] for event in plan.events if event[1] == slot]
    sudden = any(
        w == window and event[0] in (APPEAR, VANISH) for w, event in zip(windows, plan.events, strict=True)
    )
    weights = list(_ACTION_WEIGHTS)
    for action in own:
        weights[action] = 0
    if window == "whole":
        weights[BOUNCE] = weights[APPEAR] = weights[VANISH] = 0
    # Plans go forward in time: what comes later than another event of this object is late.
    if sudden or own:
        weights[APPEAR] = 0
    if sudden or (window == "early" and "late" in windows) or VANISH in own:
        weights[VANISH] = 0
    if VANISH in own or not sum(weights):
        return None
    action = _weighted(random, range(len(ACTIONS)), weights)
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
    return [action, slot, start, end, amount]


def _choose_passing(plan: _Plan, random: Random) -> None:
    """Perhaps lets one slide to a side pass an object to which nothing else happens meanwhile. Of different sizes, the
    small one is behind: seen from above, a large one behind it would hardly be covered. Nor does a cone's tip cover
    much of its equals."""
    for e, (action, actor, start, end, _) in enumerate(plan.events):
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
    own = [event for event in plan.events if event[1] == slot]
    later = {action for action, _, begins, _, _ in own if begins >= end}
    earlier = {action for action, _, _, ends, _ in own if ends <= start}
    return len(own) == len(later) + len(earlier) and APPEAR not in later and VANISH not in earlier


def _weighted(random: Random, options: Sequence, weights: Sequence[float]):
    mark = random.random() * sum(weights)
    for option, weight in zip(options, weights, strict=True):
        mark -= weight
        if mark < 0:
            return option
    return options[-1]  # takes what rounding leaves


def _arrays(plans: Sequence[_Plan], rng: np.random.Generator) -> tuple[Clips, np.ndarray]:
    """Clips whose objects have no place yet, and what passes what, (N, 3): event, slot, kind."""
    n = len(plans)
    codes = np.full((n, SLOTS, 4), -1, np.int8)
    events = np.tile(np.array([-1, -1, 0, 0, 0], np.float32), (n, EVENTS, 1))
    for i, plan in enumerate(plans):
        codes[i, : len(plan.objects)] = plan.objects
        events[i, : len(plan.events)] = plan.events
    count = np.array([len(plan.objects) for plan in plans], np.int8)
    present = np.arange(SLOTS) < count[:, None]
    side = rng.choice([-1.0, 1.0], size=n)
    light = np.stack([side * rng.uniform(0.55, 1.25, n), rng.uniform(0.80, 1.02, n)], axis=1)
    scenes = Scenes(
        count=count,
        **{name: codes[:, :, a].copy() for a, name in enumerate(("colour", "shape", "size", "material"))},
        x=np.zeros((n, SLOTS), np.float32),
        y=np.zeros((n, SLOTS), np.float32),
        turn=np.where(present, rng.uniform(-np.pi / 4, np.pi / 4, (n, SLOTS)), 0).astype(np.float32),
        table=rng.integers(len(TABLES), size=n).astype(np.int8),
        light=light.astype(np.float32),
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
    boxes = _boxes(scenes, at)
    inside = (boxes[0] > -0.97) & (boxes[1] < 0.97) & (boxes[2] > -0.97) & (boxes[3] < 0.97)
    good = (inside | ~scenes.present[..., None]).all((1, 2))
    foot = _foot(scenes)
    event, slot, kind = passing.T
    actor, start, end = (v[rows, event] for v in (clips.actor, clips.start, clips.end))
    within = (start[:, None] < _TIMES) & (end[:, None] > _TIMES)
    for a in range(OBJECTS):
        for b in range(a):
            both = at.shown[:, a] & at.shown[:, b]
            dx, dy = at.x[:, a] - at.x[:, b], at.y[:, a] - at.y[:, b]
            free = np.hypot(dx, dy) > (foot[:, a] + foot[:, b] + GAP)[:, None]
            common, (area_a, area_b) = _common(boxes[:, :, a], boxes[:, :, b])
            seen = common < HIDDEN * np.where(dy > 0, area_a, area_b)
            meant = (kind > 0) & (((actor == a) & (slot == b)) | ((actor == b) & (slot == a)))
            good &= (~both | (free & (seen | (meant[:, None] & within)))).all(1)
    return good


def _passes_as_meant(clips: Clips, passing: np.ndarray) -> np.ndarray:
    """(N,) bool: whether slides pass what they are to pass, clearly, and no other object even in part."""
    event, slot, kind = passing.T
    share, behind, apart = _passing(clips)
    meant = np.zeros(share.shape, bool)
    meant[np.arange(len(clips)), event, slot] = kind > 0
    right_side = behind == (kind == PASSES_BEHIND)[:, None, None]
    clear = (share >= _PASS_SURE) & right_side & (apart < -TABLE_MARGIN)
    return np.where(meant, clear, apart > TABLE_MARGIN).all((1, 2))
