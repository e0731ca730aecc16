"""Whether captions hold in scenes, for every pair.

How it is quick: the objects of a scene are put in order from left to right, so that a noun phrase becomes a 4-bit
mask of the objects it fits, "left of" becomes "a lower bit", and the scene's depth order is one of 24
permutations. Whether a structure (numbers and relations) is satisfied is then a function of the permutation and
at most three masks: small enough to tabulate, once per structure, by trying all assignments.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import permutations, product

import numpy as np

from xmr.worlds.captions import BEHIND, FRONT, LEFT, Forms
from xmr.worlds.scenes import ATTRIBUTES, SLOTS, Scenes
from xmr.worlds.writing import PHRASES

VALUES = [len(names) for names in ATTRIBUTES.values()]
_ORDERS = tuple(permutations(range(SLOTS)))
_ORDER_INDEX = np.full(SLOTS**SLOTS, -1, np.int16)
for _i, _order in enumerate(_ORDERS):
    _ORDER_INDEX[sum(rank * SLOTS**k for k, rank in enumerate(_order))] = _i
_ROWS = 1024  # scenes at a time: keeps the temporary arrays of a large truth matrix small


def holds(scenes: Scenes, forms: Forms) -> np.ndarray:
    """Truth (N, M) bool of every caption in every scene. Relations compare x (left, right) and y (front, behind)
    strictly; in a tie, which sampled scenes do not have, the lower slot counts as left or front."""
    truth = np.empty((len(scenes), len(forms)), bool)
    groups = list(_structures(forms))
    nouns, every = noun_index(forms.nouns), noun_index(forms.every)
    totals, tables = np.flatnonzero(forms.total >= 0), np.flatnonzero(forms.table >= 0)
    universals = np.flatnonzero((forms.every >= 0).any(1))
    for start in range(0, len(scenes), _ROWS):
        rows = slice(start, start + _ROWS)
        part, block = scenes[rows], truth[rows]
        masks, order = _scene_tables(part)
        for table, phrases, members in groups:
            code = np.repeat(order[:, None], len(members), axis=1)
            for phrase in range(phrases):
                code *= 16
                code += masks[:, nouns[members, phrase]]
            block[:, members] = table[code]
        block[:, totals] &= part.count[:, None] == forms.total[totals]
        block[:, tables] &= part.table[:, None] == forms.table[tables]
        block[:, universals] &= masks[:, every[universals]] == _all_objects(part)[:, None]
    return truth


def holds_pairs(scenes: Scenes, forms: Forms, visual_index: np.ndarray, text_index: np.ndarray) -> np.ndarray:
    """Truth (P,) bool of caption text_index[p] in scene visual_index[p]; both (P,) integer arrays. Raises
    ValueError when their lengths differ and IndexError when they point outside."""
    needed, row = needed_rows(visual_index, text_index)
    part, said = scenes[needed], forms[text_index]
    masks, order = _scene_tables(part)
    nouns, every = noun_index(said.nouns), noun_index(said.every)
    truth = np.empty(len(said), bool)
    for table, phrases, members in _structures(said):
        code = order[row[members]]
        for phrase in range(phrases):
            code = code * 16 + masks[row[members], nouns[members, phrase]]
        truth[members] = table[code]
    truth &= (said.total < 0) | (part.count[row] == said.total)
    truth &= (said.table < 0) | (part.table[row] == said.table)
    truth &= ~(said.every >= 0).any(1) | (masks[row, every] == _all_objects(part)[row])
    return truth


def needed_rows(visual_index: np.ndarray, text_index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The visuals of pairs, each once, and each pair's place among them (P,). Raises ValueError where the two are not
    equally long vectors."""
    shapes = np.shape(visual_index), np.shape(text_index)
    if shapes[0] != shapes[1] or len(shapes[0]) != 1:
        raise ValueError(f"index arrays must be equally long vectors, got {shapes[0]} and {shapes[1]}")
    return np.unique(visual_index, return_inverse=True)


def _all_objects(scenes: Scenes) -> np.ndarray:
    """(N,) masks with a bit for every object; objects come first in left-to-right order, padding last."""
    return (np.left_shift(1, scenes.count.astype(np.int32)) - 1).astype(np.int32)


def noun_index(nouns: np.ndarray) -> np.ndarray:
    """Codes (..., 4) to one column of `noun_fits`."""
    index = np.zeros(nouns.shape[:-1], np.int32)
    for a, values in enumerate(VALUES):
        code = nouns[..., a].astype(np.int32)
        index = index * (values + 1) + np.where(code < 0, values, code)
    return index


def noun_fits(codes: Iterable[np.ndarray], present: np.ndarray) -> np.ndarray:
    """Whether objects fit each possible noun, (N, objects, 405) bool, of their codes by attribute, (N, objects) each."""
    fits = present[:, :, None]
    for own, values in zip(codes, VALUES, strict=True):
        anything = np.ones((*own.shape, 1), bool)
        one = np.concatenate([own[..., None] == np.arange(values), anything], axis=2)
        fits = (fits[..., None] & one[:, :, None]).reshape(*own.shape, fits.shape[2] * (values + 1))
    return fits


def _scene_tables(scenes: Scenes) -> tuple[np.ndarray, np.ndarray]:
    """Masks (N, 405) int32 of the objects that each possible noun fits, bits from left to right, and the index (N,)
    of the depth order among the 24."""
    absent = ~scenes.present
    slots = np.argsort(np.where(absent, np.inf, scenes.x), axis=1, kind="stable")
    depth = np.take_along_axis(np.where(absent, np.inf, scenes.y), slots, axis=1)
    rank = np.argsort(np.argsort(depth, axis=1, kind="stable"), axis=1)
    order = _ORDER_INDEX[rank @ (SLOTS ** np.arange(SLOTS))].astype(np.int32)

    present = np.take_along_axis(scenes.present, slots, axis=1)
    codes = (np.take_along_axis(getattr(scenes, name), slots, axis=1) for name in ATTRIBUTES)
    bits = 1 << np.arange(SLOTS, dtype=np.int32)
    return np.einsum("nsw,s->nw", noun_fits(codes, present), bits), order


def _structures(forms: Forms) -> Iterator[tuple[np.ndarray, int, np.ndarray]]:
    """Groups of captions of equal numbers and relations: their table, number of phrases, and indices."""
    if len(forms) == 0:
        return
    keys = np.concatenate([forms.number, forms.relation, forms.ends.reshape(-1, 4)], axis=1).astype(np.int64)
    flat = (keys + 1) @ (6 ** np.arange(keys.shape[1]))
    _, first, group = np.unique(flat, return_index=True, return_inverse=True)
    by_group = np.argsort(group, kind="stable")
    members = np.split(by_group, np.cumsum(np.bincount(group))[:-1])
    for representative, indices in zip(first, members, strict=True):
        key = tuple(keys[representative].tolist())
        numbers, relations, ends = key[:PHRASES], key[PHRASES : PHRASES + 2], key[PHRASES + 2 :]
        links = tuple((r, ends[2 * k], ends[2 * k + 1]) for k, r in enumerate(relations) if r >= 0)
        used = tuple(number for number in numbers if number > 0)
        yield _table(used, links), len(used), indices


@lru_cache(maxsize=1024)
def _table(numbers: tuple[int, ...], links: tuple[tuple[int, int, int], ...]) -> np.ndarray:
    """Truth of a structure, (24 · 16 ** phrases,) bool, by depth order and the phrases' masks: some choice of disjoint
    sets of objects, each within its phrase's mask and as large as its number, satisfies every link. A number
    from 2 on is exact: its set is the whole mask."""
    phrases = len(numbers)
    masks = np.indices((16,) * phrases).reshape(phrases, 16**phrases)
    satisfied = np.zeros((len(_ORDERS), 16**phrases), bool)
    sets = [[s for s in range(1, 16) if s.bit_count() == number] for number in numbers]
    for chosen in product(*sets):
        if any(a & b for i, a in enumerate(chosen) for b in chosen[:i]):
            continue
        fits = np.ones(16**phrases, bool)
        for mask, number, members in zip(masks, numbers, chosen, strict=True):
            fits &= (mask & members) == members if number == 1 else mask == members
        for k, order in enumerate(_ORDERS):
            if all(_related(relation, chosen[a], chosen[b], order) for relation, a, b in links):
                satisfied[k] |= fits
    table = satisfied.ravel()
    table.setflags(write=False)
    return table


def _related(relation: int, subjects: int, targets: int, order: Sequence[int]) -> bool:
    """Whether all subjects stand in the relation to all targets; bit i is the i-th object from the left and order[i]
    its rank from the front."""
    for a, b in product(range(SLOTS), repeat=2):
        if subjects >> a & 1 and targets >> b & 1:
            here, there = (order[a], order[b]) if relation in (FRONT, BEHIND) else (a, b)
            if not (here < there if relation in (LEFT, FRONT) else here > there):
                return False
    return True
