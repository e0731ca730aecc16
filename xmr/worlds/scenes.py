"""Scene descriptions: what lies on the table, where, and under which light. The truth of every caption and
every picture is computed from these arrays and from nothing else.

Coordinates are the camera's (see `camera`): x to the right, y away from the viewer, so that "left of" is a
smaller x and "in front of" a smaller y. A clip is a `Scenes` whose x, y or turn were moved
(`dataclasses.replace`): neither truth nor rendering asks how the positions came about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from xmr.worlds import camera
from xmr.worlds.seeds import SPLITS, Seed, blocks_of, split_seed

if TYPE_CHECKING:
    from typing_extensions import Self  # typing.Self is not in Python 3.10

COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
SHAPES = ("sphere", "cube", "cylinder", "cone")
SIZES = ("small", "large")
MATERIALS = ("matte", "metal")
TABLES = ("grey", "beige", "mint", "slate")
ATTRIBUTES = {"colour": COLOURS, "shape": SHAPES, "size": SIZES, "material": MATERIALS}
SLOTS = 4

# Margins: two objects differ by at least this much in x and in y, on the table and in the picture, so that
# each of the four relations can be seen and none is a matter of taste.
TABLE_MARGIN = 0.38
PICTURE_MARGIN = 0.07
GAP = 0.12  # free table between two footprints
HIDDEN = 0.30  # the share of an object's screen box that one nearer box may cover
COUNT_SHARES = (0.12, 0.24, 0.32, 0.32)
ECHO = 0.18  # chance that an object repeats the colour (and, apart from that, the shape) of the one before

_BLOCK = 512  # scenes per random stream: n scenes are a prefix of n + 1 scenes
_TRIES = 40  # failed positions before a scene starts again


class Rows:
    """A dataclass of arrays of one length N: several of its items are the same class again."""

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def __getitem__(self, index: np.ndarray | slice | Sequence[int]) -> Self:
        """Those of a slice, an index array or a mask. One is `rows[i:i + 1]`; a bare integer raises TypeError, since an
        item without its first axis fits none of the functions."""
        if isinstance(index, (int, np.integer)):
            name = type(self).__name__
            raise TypeError(f"index {name} with a slice or an array; for one write [{index}:{index + 1}]")
        return type(self)(**{f.name: getattr(self, f.name)[index] for f in fields(self)})


Some = TypeVar("Some", bound=Rows)


@dataclass(frozen=True)
class Scenes(Rows):
    """N scenes of up to four objects, as arrays padded to four slots. Codes index the constants above.

    count (N,) int8, 1–4: slots from count on are padding · colour, shape, size, material (N, 4) int8, -1 in
    padding · x, y (N, 4) float32, world units, the object's middle on the table, 0 in padding · turn (N, 4)
    float32, radians about the vertical (seen on cubes only) · table (N,) int8 · light (N, 2) float32, radians:
    azimuth from the viewer's side, positive to the right, and elevation.
    """

    count: np.ndarray
    colour: np.ndarray
    shape: np.ndarray
    size: np.ndarray
    material: np.ndarray
    x: np.ndarray
    y: np.ndarray
    turn: np.ndarray
    table: np.ndarray
    light: np.ndarray

    @property
    def present(self) -> np.ndarray:
        """(N, 4) bool: True where a slot holds an object."""
        return np.arange(SLOTS) < self.count[:, None]


def concatenate(parts: Sequence[Some]) -> Some:
    """Several `Rows` as one, in order. Raises IndexError when there are none."""
    first = parts[0]
    columns = ([getattr(part, f.name) for part in parts] for f in fields(first))
    joined = (
        concatenate(values) if isinstance(values[0], Rows) else np.concatenate(values) for values in columns
    )
    return type(first)(*joined)


def flip(scenes: Scenes) -> Scenes:
    """The same scenes in a mirror that swaps left and right, light included: rendering them gives the
    mirrored pictures (to rounding)."""
    light = scenes.light * np.array([-1.0, 1.0], np.float32)
    return replace(scenes, x=-scenes.x, turn=-scenes.turn, light=light)


def scenes_of(split: str, seed: int = 0) -> Scenes:
    """The scenes of a split: 10,000 for train, 1,000 for validation and for test."""
    own_seed = split_seed(split, seed)
    return sample_scenes(SPLITS[split], own_seed)


def sample_scenes(n: int, seed: Seed = 0) -> Scenes:
    """n random scenes, the same for the same seed (a non-negative integer or several), and a prefix of what
    a larger n gives. No two objects touch, every object is inside the picture and mostly visible, and
    any two differ clearly in left/right and in front/behind. Raises ValueError for a negative n or seed."""
    streams = blocks_of(n, _BLOCK, seed)
    return concatenate([_sample_block(np.random.default_rng(stream)) for stream in streams])[:n]


def _sample_block(rng: np.random.Generator) -> Scenes:
    n = _BLOCK
    count = rng.choice(np.arange(1, SLOTS + 1), size=n, p=COUNT_SHARES)
    colour = _echoing(rng, n, len(COLOURS))
    shape = _echoing(rng, n, len(SHAPES))
    size = rng.integers(len(SIZES), size=(n, SLOTS))
    material = rng.integers(len(MATERIALS), size=(n, SLOTS))
    turn = rng.uniform(-np.pi / 4, np.pi / 4, size=(n, SLOTS))
    table = rng.integers(len(TABLES), size=n)
    light = sample_light(rng, n)
    x, y = _place(rng, count, shape, size)

    padding = np.arange(SLOTS) >= count[:, None]
    code = {"colour": colour, "shape": shape, "size": size, "material": material}
    place = {"x": x, "y": y, "turn": turn}
    return Scenes(
        count=count.astype(np.int8),
        **{name: np.where(padding, -1, value).astype(np.int8) for name, value in code.items()},
        **{name: np.where(padding, 0.0, value).astype(np.float32) for name, value in place.items()},
        table=table.astype(np.int8),
        light=light,
    )


def sample_light(rng: np.random.Generator, n: int) -> np.ndarray:
    """Where the lamps of n scenes stand, (n, 2) float32: azimuth and elevation."""
    side = rng.choice([-1.0, 1.0], size=n)
    return np.stack([side * rng.uniform(0.55, 1.25, n), rng.uniform(0.80, 1.02, n)], axis=1).astype(
        np.float32
    )


def _echoing(rng: np.random.Generator, n: int, values: int) -> np.ndarray:
    """(n, 4) uniform codes, each repeating its left neighbour with probability ECHO: without such repeats
    "two red cubes" would almost never be there to be said."""
    codes = rng.integers(values, size=(n, SLOTS))
    repeat = rng.random((n, SLOTS)) < ECHO
    for slot in range(1, SLOTS):
        codes[:, slot] = np.where(repeat[:, slot], codes[:, slot - 1], codes[:, slot])
    return codes


def _place(
    rng: np.random.Generator, count: np.ndarray, shape: np.ndarray, size: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Positions by rejection, object after object; a scene that gets stuck starts again. Only positions are
    drawn anew, so what objects there are does not depend on what fits."""
    n = len(count)
    x, y = np.zeros((n, SLOTS), np.float32), np.zeros((n, SLOTS), np.float32)
    placed, tries = np.zeros(n, int), np.zeros(n, int)
    todo = np.arange(n)
    while len(todo):
        slot = placed[todo]
        x[todo, slot] = rng.uniform(-2.5, 2.5, len(todo))
        y[todo, slot] = rng.uniform(-2.9, 3.1, len(todo))
        good = _fits(x[todo], y[todo], shape[todo], size[todo], slot)
        placed[todo] += good
        tries[todo] += ~good
        stuck = todo[tries[todo] >= _TRIES]
        placed[stuck] = tries[stuck] = 0
        todo = todo[placed[todo] < count[todo]]
    return x, y


def _fits(x: np.ndarray, y: np.ndarray, shape: np.ndarray, size: np.ndarray, slot: np.ndarray) -> np.ndarray:
    """(n,) bool: whether the object in `slot` (n,) keeps every promise of `sample_scenes` beside those in
    the slots before it."""
    row = np.arange(len(slot))[:, None]
    one = slot[:, None]
    boxes = np.stack(camera.screen_box(x, y, shape, size))
    u, _, _ = camera.project(x, y, np.zeros_like(x))
    foot = camera.footprint(shape, size)

    dx, dy, du = x[row, one] - x, y[row, one] - y, u[row, one] - u
    fine = np.hypot(dx, dy) > foot[row, one] + foot + GAP
    fine &= (np.abs(dx) > TABLE_MARGIN) & (np.abs(dy) > TABLE_MARGIN)
    fine &= (np.abs(du) > PICTURE_MARGIN) & (dx * du > 0)
    areas = camera.area(boxes)
    rear = np.where(dy > 0, areas[row, one], areas)
    fine &= camera.shared_area(boxes[:, row, one], boxes) < HIDDEN * rear
    return camera.inside(boxes)[row, one][:, 0] & (fine | (np.arange(SLOTS) >= one)).all(1)
