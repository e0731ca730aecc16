"""Whether captions hold in clips, for every pair.

How it is quick: a clip has at most three objects and three events. For every object (and every one that it might
pass) and every claim, the events that make it true are a 4-bit mask; whether two masks have events in the claimed
order is one look-up more. A caption holds when it does for one of the six ways to give its phrases objects.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from xmr.worlds.motion import (
    ACTIONS,
    BOUNCE,
    EVENTS,
    OBJECTS,
    PASSES_BEHIND,
    PASSES_FRONT,
    TO_LEFT,
    TO_RIGHT,
    TURN,
    Clips,
    passes,
)
from xmr.worlds.motion_captions import (
    AND,
    BEFORE,
    BEHIND,
    CLAIMS,
    FRONT,
    LEFT_BEHIND,
    LEFT_FRONT,
    MOVES,
    ORDERS,
    PHRASES,
    RIGHT_BEHIND,
    RIGHT_FRONT,
    SLIDES,
    STILL,
    WHILE,
    MotionForms,
)
from xmr.worlds.scenes import ATTRIBUTES
from xmr.worlds.truth import VALUES, needed_rows, noun_fits, noun_index

_NOUNS = math.prod(values + 1 for values in VALUES) + 1  # the last: a phrase that is not used
_NO_TARGET = OBJECTS
_RESTS = 1 << EVENTS  # the bit of "never moves", which is no event but stands among them
_MASKS = 2 * _RESTS
_PASSES = {PASSES_BEHIND: (BEHIND, LEFT_BEHIND, RIGHT_BEHIND), PASSES_FRONT: (FRONT, LEFT_FRONT, RIGHT_FRONT)}
_ROWS = 256  # clips at a time: keeps the temporary arrays of a large truth matrix small


def motion_holds(clips: Clips, forms: MotionForms) -> np.ndarray:
    """Truth (N, M) bool of every caption in every clip."""
    truth = np.empty((len(clips), len(forms)), bool)
    for start in range(0, len(clips), _ROWS):
        part = clips[start : start + _ROWS]
        truth[start : start + _ROWS] = _holds(_tables(part), np.arange(len(part))[:, None], forms)
    return truth


def motion_holds_pairs(
    clips: Clips, forms: MotionForms, visual_index: np.ndarray, text_index: np.ndarray
) -> np.ndarray:
    """Truth (P,) bool of caption text_index[p] in clip visual_index[p]; both (P,) integer arrays. Raises
    ValueError when their lengths differ and IndexError when they point outside."""
    needed, row = needed_rows(visual_index, text_index)
    return _holds(_tables(clips[needed]), row, forms[text_index])


@dataclass(frozen=True)
class _Tables:
    """Of N clips: whether object o fits noun w, (N, 3 · nouns) bool · the events that make claim c true of object o
    with target t, (N, 3 · 4 · claims) uint8 · whether two masks of events have some in an order, (N, 16 · 16 · 4) bool,
    the last order standing for "one clause" · the objects to which something happens, (N,) bits · the table (N,)."""

    nouns: np.ndarray
    events: np.ndarray
    orders: np.ndarray
    busy: np.ndarray
    table: np.ndarray


def _tables(clips: Clips) -> _Tables:
    n, scenes = len(clips), clips.scenes
    present = scenes.present[:, :OBJECTS]
    nouns = noun_fits((getattr(scenes, name)[:, :OBJECTS] for name in ATTRIBUTES), present)
    nouns = np.concatenate([nouns, np.ones((n, OBJECTS, 1), bool)], axis=2)

    events = np.zeros((n, OBJECTS, OBJECTS + 1, len(CLAIMS)), np.uint8)
    rows = np.arange(n)
    passed = passes(clips)
    busy = np.zeros(n, np.int8)
    for e in range(EVENTS):
        action, bit = clips.action[:, e], np.uint8(1 << e)
        actor = np.maximum(clips.actor[:, e], 0)
        busy |= np.where(action >= 0, 1 << actor, 0).astype(np.int8)
        true = {code: action == code for code in range(len(ACTIONS))}
        true[SLIDES] = (action >= TO_LEFT) & (action < TURN)
        true[MOVES] = (action >= TO_LEFT) & (action <= BOUNCE)
        for code, happens in true.items():
            events[rows, actor, _NO_TARGET, code] |= bit * happens
        for kind, codes in _PASSES.items():
            for code, way in zip(codes, (None, TO_LEFT, TO_RIGHT), strict=True):
                past = passed[:, e, :OBJECTS] == kind
                past &= way is None or (action == way)[:, None]
                events[rows, actor, :OBJECTS, code] |= bit * past
    rests = present & ~(busy[:, None] >> np.arange(OBJECTS) & 1).astype(bool)
    events[:, :, _NO_TARGET, STILL] |= np.uint8(_RESTS) * rests
    return _Tables(
        nouns.reshape(n, OBJECTS * _NOUNS),
        events.reshape(n, OBJECTS * (OBJECTS + 1) * len(CLAIMS)),
        _order_table(clips).reshape(n, _MASKS * _MASKS * (len(ORDERS) + 1)),
        busy,
        scenes.table,
    )


def _order_table(clips: Clips) -> np.ndarray:
    """(N, 16, 16, 4) bool: whether masks a and b hold two different events in the order; the fourth order asks for
    one of a only. Rest, the highest bit, is in no order but "and"."""
    n, bits = len(clips), EVENTS + 1
    related = np.zeros((n, bits, bits, len(ORDERS)), bool)
    related[..., AND] = ~np.eye(bits, dtype=bool)
    real = clips.action >= 0
    both = real[:, :, None] & real[:, None, :] & ~np.eye(EVENTS, dtype=bool)
    start, end = clips.start, clips.end
    related[:, :EVENTS, :EVENTS, BEFORE] = both & (end[:, :, None] <= start[:, None, :])
    overlap = (start[:, :, None] < end[:, None, :]) & (start[:, None, :] < end[:, :, None])
    related[:, :EVENTS, :EVENTS, WHILE] = both & overlap
    member = (np.arange(_MASKS)[:, None] >> np.arange(bits) & 1).astype(np.float32)
    found = np.einsum("ai,bj,nijo->nabo", member, member, related.astype(np.float32), optimize=True) > 0
    alone = np.broadcast_to((np.arange(_MASKS) > 0)[None, :, None, None], (n, _MASKS, _MASKS, 1))
    return np.concatenate([found, alone], axis=3)


def _holds(tables: _Tables, rows: np.ndarray, forms: MotionForms) -> np.ndarray:
    """Truth of forms in the clips `rows`, which broadcasts against (M,)."""
    order = np.where(forms.order < 0, len(ORDERS), forms.order).astype(np.int64)
    used = np.arange(PHRASES) < forms.phrases[:, None]
    noun = np.where(used, noun_index(forms.nouns), _NOUNS - 1)
    has_rest = forms.rest > 0
    truth = np.zeros(np.broadcast_shapes(rows.shape, (len(forms),)), bool)
    for objects in map(np.array, permutations(range(OBJECTS))):
        fits = np.ones(truth.shape, bool)
        for phrase, thing in enumerate(objects):
            fits &= tables.nouns[rows, thing * _NOUNS + noun[:, phrase]]
        masks = []
        for claim, subject, target in zip(forms.claim.T, forms.subject.T, forms.target.T, strict=True):
            goal = np.where(target >= 0, objects[target], _NO_TARGET)
            column = (objects[subject] * (OBJECTS + 1) + goal) * len(CLAIMS) + claim
            masks.append(tables.events[rows, np.where(claim >= 0, column, 0)].astype(np.int32))
        code = (masks[0] * _MASKS + masks[1]) * (len(ORDERS) + 1) + order
        fits &= tables.orders[rows, code]
        named = (used << objects).sum(1)
        fits &= ~has_rest | ((tables.busy[rows] & ~named) == 0)
        truth |= fits
    return truth & ((forms.table < 0) | (tables.table[rows] == forms.table))
