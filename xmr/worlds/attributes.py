"""What can be read off a scene, as multi-hot targets: dense supervision for pre-training an image encoder."""

from __future__ import annotations

import numpy as np

from xmr.worlds import camera
from xmr.worlds.scenes import ATTRIBUTES, COLOURS, MATERIALS, SHAPES, SIZES, SLOTS, TABLES, Scenes

CELLS = 3  # a colour-shape pair is also placed in a CELLS × CELLS grid over the picture

_WIDTHS = {
    "combination": len(COLOURS) * len(SHAPES) * len(SIZES) * len(MATERIALS),
    "colour_shape": len(COLOURS) * len(SHAPES),
    "colour": len(COLOURS),
    "shape": len(SHAPES),
    "size": len(SIZES),
    "material": len(MATERIALS),
    "count": SLOTS,
    "table": len(TABLES),
    "colour_shape_cell": len(COLOURS) * len(SHAPES) * CELLS * CELLS,
    "colour_left_of": len(COLOURS) ** 2,
    "colour_front_of": len(COLOURS) ** 2,
    "shape_left_of": len(SHAPES) ** 2,
    "shape_front_of": len(SHAPES) ** 2,
}


def attribute_groups() -> dict[str, slice]:
    """Which columns of `attribute_targets` say what, in order, so that a loss can weigh the groups."""
    groups, start = {}, 0
    for name, width in _WIDTHS.items():
        groups[name] = slice(start, start + width)
        start += width
    return groups


def attribute_targets(scenes: Scenes) -> np.ndarray:
    """Targets (N, A) float32 of zeros and ones; `attribute_groups` names the columns.

    Presence of every full combination, colour-shape pair and single attribute; number of objects and table
    colour one-hot; colour-shape pairs by picture cell (rows from the top); and whether some object of one
    colour (shape) is left of, or in front of, one of another."""
    n = len(scenes)
    groups = attribute_groups()
    targets = np.zeros((n, sum(_WIDTHS.values())), np.float32)
    scene, slot = np.nonzero(scenes.present)

    def mark(name: str, rows: np.ndarray, column: np.ndarray) -> None:
        targets[rows, groups[name].start + column] = 1

    colour, shape, size, material = (getattr(scenes, name)[scene, slot].astype(int) for name in ATTRIBUTES)
    pair = colour * len(SHAPES) + shape
    mark("combination", scene, (pair * len(SIZES) + size) * len(MATERIALS) + material)
    mark("colour_shape", scene, pair)
    for name, codes in (("colour", colour), ("shape", shape), ("size", size), ("material", material)):
        mark(name, scene, codes)
    mark("count", np.arange(n), scenes.count.astype(int) - 1)
    mark("table", np.arange(n), scenes.table.astype(int))

    x, y = scenes.x[scene, slot], scenes.y[scene, slot]
    _, tall = camera.extent(shape, size)
    u, v, _ = camera.project(x, y, tall)
    column = np.clip(((u + 1) / 2 * CELLS).astype(int), 0, CELLS - 1)
    row = np.clip(((1 - v) / 2 * CELLS).astype(int), 0, CELLS - 1)
    mark("colour_shape_cell", scene, (pair * CELLS + row) * CELLS + column)

    for a in range(SLOTS):
        for b in range(SLOTS):
            both = np.flatnonzero(scenes.present[:, a] & scenes.present[:, b])
            for side, place in (("left", scenes.x), ("front", scenes.y)):
                rows = both[place[both, a] < place[both, b]]
                for name, values in (("colour", len(COLOURS)), ("shape", len(SHAPES))):
                    codes = getattr(scenes, name).astype(int)
                    mark(f"{name}_{side}_of", rows, codes[rows, a] * values + codes[rows, b])
    return targets
