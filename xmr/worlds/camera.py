"""The one camera that looks at every table, and the sizes of the objects on it.

World coordinates: x to the right, y away from the camera, z up; the table is the plane z = 0 and the unit is
about the diameter of a small object. Picture coordinates: u to the right and v up, both from -1 to 1.
Sampling (is it inside the picture? how much of it is hidden?) and rendering share these functions, so what
one promises the other shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

ELEVATION = np.deg2rad(36.0)
DISTANCE = 13.0
TARGET = np.array([0.0, 0.15, 0.5])
HALF_WIDTH = 3.05  # world units from the middle of the picture to its border, at the target's depth

FORWARD = np.array([0.0, np.cos(ELEVATION), -np.sin(ELEVATION)])
UP = np.array([0.0, np.sin(ELEVATION), np.cos(ELEVATION)])
EYE = TARGET - DISTANCE * FORWARD
FOCAL = DISTANCE / HALF_WIDTH

# Half width and half height of each (shape, size). The four shapes of one size look equally big, which is why
# a cube's half edge is shorter than a sphere's radius.
RADIUS = np.array([0.47, 0.86], np.float32)  # small, large
HALF_WIDTH_OF = np.array([1.0, 0.83, 0.80, 1.0], np.float32)  # sphere, cube, cylinder, cone; × RADIUS
HALF_HEIGHT_OF = np.array([1.0, 0.83, 0.95, 1.08], np.float32)


def extent(shape: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Half width (a cube's half edge, else a radius) and half height, in world units, of objects given by
    their shape and size codes (any equal shapes; padding must be masked by the caller)."""
    radius = RADIUS[size]
    return radius * HALF_WIDTH_OF[shape], radius * HALF_HEIGHT_OF[shape]


def footprint(shape: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Radius of the disc on the table that holds the object at any turn, in world units."""
    half, _ = extent(shape, size)
    return np.where(shape == 1, half * np.float32(np.sqrt(2.0)), half)


def project(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """World points to picture coordinates: u, v in [-1, 1] where visible, and the depth along the view axis."""
    dy, dz = y - EYE[1], z - EYE[2]
    depth = dy * FORWARD[1] + dz * FORWARD[2]
    return FOCAL * (x - EYE[0]) / depth, FOCAL * (dy * UP[1] + dz * UP[2]) / depth, depth


def screen_box(
    x: np.ndarray, y: np.ndarray, shape: np.ndarray, size: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Left, right, bottom and top in picture coordinates of boxes that hold the objects (a little generous)."""
    half, tall = extent(shape, size)
    wide = footprint(shape, size)
    u, v, depth = project(x, y, tall)
    du = FOCAL * wide / depth * 1.03
    # An upright solid of revolution shows its height foreshortened by cos and its base by sin.
    upright = (tall * np.cos(ELEVATION) + wide * np.sin(ELEVATION)) * 1.03
    dv = FOCAL * np.where(shape == 0, half * 1.03, upright) / depth
    return u - du, u + du, v - dv, v + dv


def lifted_box(
    x: np.ndarray, y: np.ndarray, shape: np.ndarray, size: np.ndarray, lift: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """`screen_box` of objects whose feet are `lift` above the table; any equal shapes."""
    left, right, bottom, top = screen_box(x, y, shape, size)
    _, tall = extent(shape, size)
    u, v, depth = project(x, y, tall)
    higher_u, higher_v, nearer = project(x, y, tall + lift)
    grow = depth / nearer
    return (
        higher_u + (left - u) * grow,
        higher_u + (right - u) * grow,
        higher_v + (bottom - v) * grow,
        higher_v + (top - v) * grow,
    )


def inside(box: Sequence[np.ndarray]) -> np.ndarray:
    """Whether screen boxes (left, right, bottom, top) are within the picture, with a little room."""
    left, right, bottom, top = box
    return (left > -0.97) & (right < 0.97) & (bottom > -0.97) & (top < 0.97)


def shared_area(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> np.ndarray:
    """The area that screen boxes share."""
    wide = np.minimum(a[1], b[1]) - np.maximum(a[0], b[0])
    tall = np.minimum(a[3], b[3]) - np.maximum(a[2], b[2])
    return np.maximum(wide, 0) * np.maximum(tall, 0)


def area(box: Sequence[np.ndarray]) -> np.ndarray:
    return (box[1] - box[0]) * (box[3] - box[2])


@lru_cache(maxsize=4)
def rays(size: int) -> np.ndarray:
    """Unit view directions (3, size, size) float32 through the centres of a size × size grid, top row first."""
    centre = (np.arange(size) + 0.5) / size * 2.0 - 1.0
    u, v = centre[None, :] / FOCAL, -centre[:, None] / FOCAL
    direction = np.stack(
        [
            np.broadcast_to(f + u * r + v * up, (size, size))
            for f, r, up in zip(FORWARD, (1.0, 0.0, 0.0), UP, strict=True)
        ]
    )
    direction /= np.sqrt((direction**2).sum(0))
    direction = direction.astype(np.float32)
    direction.setflags(write=False)
    return direction
