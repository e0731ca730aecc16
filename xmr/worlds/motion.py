"""Clip descriptions: what lies on the table at first, and what happens to it. The truth of every caption and
every frame is computed from these arrays and from nothing else.

Time is counted in frames: a clip lasts from 0 to 7 and frame k shows it at time k. Events come in three
windows, "early" and "late", which do not meet, and "whole", which holds both: any two events of a clip are either
clearly one after the other or clearly at the same time.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from xmr.worlds import camera
from xmr.worlds.scenes import ATTRIBUTES, SLOTS, Rows, Scenes

FRAMES = 8
EVENTS = 3
OBJECTS = 3  # at most, of the four slots that a scene has
ACTIONS = ("left", "right", "towards", "away", "turn", "bounce", "appear", "vanish")
TO_LEFT, TO_RIGHT, TOWARDS, AWAY, TURN, BOUNCE, APPEAR, VANISH = range(8)
PASSES_BEHIND, PASSES_FRONT = 1, 2

# A slide past another object counts as passing behind or in front of it when some frame shows at least this share of
# the smaller screen box shared. Sampled clips stay clear of the threshold.
PASS_SHARE = 0.10


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
    codes = {name: getattr(still, name) for name in ATTRIBUTES}
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
    share, behind, _ = pass_shares(clips)
    kind = np.where(behind, PASSES_BEHIND, PASSES_FRONT)
    return np.where(share >= PASS_SHARE, kind, 0).astype(np.int8)


def pass_shares(clips: Clips) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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

        boxes = screen_boxes(clips.scenes, at)[..., 2:]
        own = boxes[:, rows, actor][:, :, None]
        smaller = np.minimum(camera.area(own), camera.area(boxes))
        both = at.shown[rows, actor][:, None, 2:] & at.shown[:, :, 2:] & during[:, None]
        covered = np.where(both, camera.shared_area(own, boxes) / smaller, 0)
        stays = at.shown[:, :, :2].all(2) & (at.shown[:, :, 2:] | ~during[:, None]).all(2)
        share[:, e] = np.where((apart[:, e] < 0) & stays, covered.max(2), 0)
        most = covered.argmax(2)[..., None]
        dy = at.y[rows, actor][:, None, 2:] - at.y[:, :, 2:]
        behind[:, e] = np.take_along_axis(dy, most, axis=2)[..., 0] > 0
    return share, behind, apart


def screen_boxes(scenes: Scenes, at: Poses) -> np.ndarray:
    """Screen boxes (4, N, 4, T): left, right, bottom, top; anything in padding."""
    shape, size = (
        np.broadcast_to(np.maximum(v, 0)[..., None], at.x.shape) for v in (scenes.shape, scenes.size)
    )
    return np.stack(camera.lifted_box(at.x, at.y, shape, size, at.lift))
