"""Scenes to pictures: a small ray tracer in NumPy.

What makes it quick: the table is shaded once per pixel and only the objects are supersampled; each object meets
only the rays of its screen box; shadows are no rays at all (see `_Silhouette`). What makes it pleasant: soft
shadows that sharpen towards the contact, contact darkening, bevelled edges, and metal that mirrors the
table, the other objects and a studio with a key light and a strip light.

Arrays of vectors are (3, P), float32. Light is linear until `_develop`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from xmr.worlds import camera
from xmr.worlds.scenes import Scenes

SPHERE, CUBE, CYLINDER, CONE = range(4)
_FAR = np.float32(1e9)
_EYE = camera.EYE.astype(np.float32)


def _linear(*codes: str) -> np.ndarray:
    """Display colours ("d7263d") as linear light, (n, 3) float32."""
    display = np.array([[int(code[i : i + 2], 16) for i in (0, 2, 4)] for code in codes]) / 255
    return (display**2.2).astype(np.float32)


_COLOURS = _linear("d81e2c", "f5780f", "f7cf14", "2a9d34", "18c3cf", "1f49d6", "7a2bbf", "f783b4")
_TABLES = _linear("b9bcc2", "d9c6a5", "a8cdb9", "59677d")

_SKY = np.array([0.62, 0.68, 0.76], np.float32)  # the studio's ceiling, as ambient light
_KEY = np.array([1.00, 0.95, 0.87], np.float32)
_FILL = np.array([0.62, 0.70, 0.80], np.float32)
_KEY_POWER, _FILL_POWER, _AMBIENT_POWER = np.float32(0.92), np.float32(0.13), np.float32(0.46)
_PENUMBRA = np.float32(0.17)  # half width of a shadow's edge per unit of distance from what casts it
_BEVEL = np.float32(0.16)  # rounded share of a half edge
_PILLOW = np.float32(0.20)  # how much a metal face swells: a perfectly flat mirror would show one dull tone
# Upright strip lights around the studio, which draw the streaks on metal: azimuth from the viewer (radians,
# positive on the key light's side), cosine of the half width, sharpness, power.
_STRIPS = ((1.25, 0.80, 7.0, 1.15), (-0.80, 0.93, 16.0, 0.85), (-2.1, 0.75, 6.0, 0.7), (2.75, 0.80, 6.0, 0.8))


def render(
    scenes: Scenes, size: int = 64, samples: int | None = None, lift: np.ndarray | None = None
) -> np.ndarray:
    """Pictures of the scenes, (N, size, size, 3) uint8, RGB, top row first. Each depends on its own scene
    only. `samples` is the number of rays along each side of a pixel on objects (default: 4 up to 64
    pixels, 3 up to 128, else 2). `lift` (N, 4) float32 is the height of each object's foot above the table, in
    world units (default: all stand on it). Raises ValueError for a size or sample count below 1, or
    a lift of another shape."""
    if size < 1 or (samples is not None and samples < 1):
        raise ValueError(f"size and samples must be at least 1, got {size} and {samples}")
    if lift is None:
        lift = np.zeros(scenes.x.shape, np.float32)
    if lift.shape != scenes.x.shape:
        raise ValueError(f"lift must be {scenes.x.shape}, got {lift.shape}")
    samples = samples or (4 if size <= 64 else 3 if size <= 128 else 2)
    pictures = np.empty((len(scenes), size, size, 3), np.uint8)
    for i in range(len(scenes)):
        pictures[i] = _picture(scenes, i, size, samples, lift[i])
    return pictures


class _Silhouette:
    """A convex object seen from the light: half planes around its outline, in the plane across the light.

    The largest signed distance to these half planes is, near enough, the distance to the outline: negative
    inside. Divided by the penumbra's width, which grows with the distance from the object, it tells how much of a
    large lamp the object hides. One small matrix product, for any convex shape.
    """

    def __init__(
        self, kind: int, centre: np.ndarray, half: float, tall: float, turn: float, light: np.ndarray
    ):
        flat = np.hypot(light[0], light[1])
        across = np.array([-light[1] / flat, light[0] / flat, 0.0])
        along = np.cross(light, across)
        self.radius = np.float32({SPHERE: half, CUBE: half * 3**0.5}.get(kind, np.hypot(half, tall)))
        angle = np.arange(20) * (2 * np.pi / 20)
        if kind == CUBE:
            axes = np.array([[np.cos(turn), np.sin(turn), 0], [-np.sin(turn), np.cos(turn), 0], [0, 0, 1.0]])
            edge = np.cross(light, axes)
            edge = np.concatenate([edge, -edge])
            angle = np.arctan2(edge @ along, edge @ across)
        elif kind == CONE:  # the two straight sides: where the apex and the base reach equally far
            sine = half / np.hypot(half, 2 * tall) / along[2]
            if abs(sine) < 1:
                angle = np.append(angle, [np.arcsin(sine), np.pi - np.arcsin(sine)])
        normal = np.cos(angle)[:, None] * across + np.sin(angle)[:, None] * along
        level, steep = np.hypot(normal[:, 0], normal[:, 1]), normal[:, 2]
        if kind == SPHERE:
            reach = np.full(len(angle), half)
        elif kind == CUBE:
            reach = half * np.abs(normal @ axes.T).sum(1)
        elif kind == CYLINDER:
            reach = half * level + tall * np.abs(steep)
        else:
            reach = np.maximum(half * level - tall * steep, tall * steep)
        self.centre, self.light = centre, light.astype(np.float32)
        self.frame = np.stack([across, along]).astype(np.float32)
        self.planes = np.stack([np.cos(angle), np.sin(angle)]).astype(np.float32)
        self.reach = reach.astype(np.float32)
        self.round = kind == SPHERE

    def visible(self, points: np.ndarray) -> np.ndarray:
        """Share (P,) of the lamp that points (3, P) see past this object, from 0 to 1."""
        offset = points - self.centre[:, None]
        distance = -(self.light[0] * offset[0] + self.light[1] * offset[1] + self.light[2] * offset[2])
        a = self.frame[0, 0] * offset[0] + self.frame[0, 1] * offset[1]
        b = self.frame[1, 0] * offset[0] + self.frame[1, 1] * offset[1] + self.frame[1, 2] * offset[2]
        width = _PENUMBRA * np.maximum(distance, 0.12)
        gap = np.sqrt(a * a + b * b) - self.radius
        seen = np.ones(points.shape[1], np.float32)
        near = np.flatnonzero((gap < width) & (distance > 0))
        if self.round:
            outside = gap[near]
        else:
            sides = a[near][:, None] * self.planes[0] + b[near][:, None] * self.planes[1] - self.reach
            outside = sides.max(1)
        share = np.clip(outside / (2 * width[near]) + np.float32(0.5), 0, 1)
        seen[near] = share * share * (3 - 2 * share)
        return seen


class _Thing:
    """One object, ready to be met by rays."""

    def __init__(self, scenes: Scenes, i: int, slot: int, light: np.ndarray, lift: np.float32):
        self.kind = int(scenes.shape[i, slot])
        size = int(scenes.size[i, slot])
        half, tall = camera.extent(np.array(self.kind), np.array(size))
        self.half, self.tall = np.float32(half), np.float32(tall)
        self.centre = np.array([scenes.x[i, slot], scenes.y[i, slot], tall + lift], np.float32)
        self.near_table = (
            1 / (1 + lift / self.tall) ** 2
        )  # how much of its contact shade a raised object keeps
        turn = float(scenes.turn[i, slot]) if self.kind == CUBE else 0.0
        self.cos, self.sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
        self.albedo = _COLOURS[scenes.colour[i, slot]]
        self.metal = scenes.material[i, slot] == 1
        self.silhouette = _Silhouette(self.kind, self.centre, float(half), float(tall), turn, light)
        box = camera.lifted_box(
            scenes.x[i, slot], scenes.y[i, slot], scenes.shape[i, slot], scenes.size[i, slot], lift
        )
        self.box = tuple(float(side) for side in box)

    def local(self, vectors: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """World vectors turned into the object's axes."""
        x, y, z = vectors
        if self.sin == 0:
            return x, y, z
        return self.cos * x + self.sin * y, self.cos * y - self.sin * x, z

    def meet(self, origin: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """Distance (P,) along unit directions (3, P) from origins (3, P) or (3, 1); far where they miss."""
        dx, dy, dz = self.local(direction)
        ox, oy, oz = self.local(origin - self.centre[:, None])
        half, tall = self.half, self.tall
        if self.kind == SPHERE:
            middle = -(ox * dx + oy * dy + oz * dz)
            square = middle * middle - (ox * ox + oy * oy + oz * oz - half * half)
            near = middle - np.sqrt(np.maximum(square, 0))
            return np.where((square > 0) & (near > 0), near, _FAR)
        if self.kind == CUBE:
            near, far = _slab(ox, dx, half)
            for o, d in ((oy, dy), (oz, dz)):
                first, last = _slab(o, d, half)
                near, far = np.maximum(near, first), np.minimum(far, last)
            return np.where((near < far) & (near > 0), near, _FAR)
        if self.kind == CYLINDER:
            a = np.maximum(dx * dx + dy * dy, np.float32(1e-9))
            middle = -(ox * dx + oy * dy) / a
            square = middle * middle - (ox * ox + oy * oy - half * half) / a
            root = np.sqrt(np.maximum(square, 0))
            first, last = _slab(oz, dz, tall)
            near, far = np.maximum(middle - root, first), np.minimum(middle + root, last)
            return np.where((square > 0) & (near < far) & (near > 0), near, _FAR)
        slope = half / (2 * tall)  # the cone: its base is never seen, as no ray comes from below
        k, below = slope * slope, oz - tall
        a = dx * dx + dy * dy - k * dz * dz
        a = np.where(np.abs(a) < 1e-7, np.float32(1e-7), a)
        b = ox * dx + oy * dy - k * below * dz
        square = b * b - a * (ox * ox + oy * oy - k * below * below)
        root = np.sqrt(np.maximum(square, 0))
        best = np.full(square.shape, _FAR)
        for t in ((-b - root) / a, (-b + root) / a):
            good = (square > 0) & (t > 0) & (np.abs(oz + t * dz) <= tall)
            best = np.where(good, np.minimum(best, t), best)
        return best

    def normal(self, points: np.ndarray) -> np.ndarray:
        """Unit normals (3, P) at points (3, P) of the surface. Bevels live in the normals alone, which is enough
        to catch the light."""
        offset = points - self.centre[:, None]
        if self.kind == SPHERE:
            return offset / self.half
        if self.kind == CUBE:
            core = self.half * (1 - _BEVEL)
            x, y, z = (np.sign(p) * np.maximum(np.abs(p) - core, 0) for p in self.local(offset))
            normal = _unit(np.stack([self.cos * x - self.sin * y, self.cos * y + self.sin * x, z]))
            return _unit(normal + offset * (_PILLOW / self.half)) if self.metal else normal
        x, y, z = offset
        radius = np.maximum(np.sqrt(x * x + y * y), np.float32(1e-6))
        if self.kind == CYLINDER:
            bevel = _BEVEL * self.half
            out = np.maximum(radius - (self.half - bevel), 0) / radius
            up = np.sign(z) * np.maximum(np.abs(z) - (self.tall - bevel), 0)
            normal = _unit(np.stack([out * x, out * y, up]))
            return _unit(normal + offset * (_PILLOW / self.tall)) if self.metal else normal
        # The cone's tip is blunt: its normals turn upwards near the axis.
        tip = self.half * np.float32(0.12)
        out = np.minimum(radius / tip, 1) / radius
        return _unit(np.stack([out * x, out * y, np.full_like(x, self.half / (2 * self.tall))]))

    def contact(self, points: np.ndarray) -> np.ndarray:
        """Share (P,) of the sky that points (3, P) of the table see past this object, from 0 to 1."""
        dx, dy, _ = points - self.centre[:, None]
        if self.kind == SPHERE:
            height = self.centre[2]
            square = dx * dx + dy * dy + height * height
            return 1 - height * self.half * self.half / (square * np.sqrt(square))
        if self.kind == CUBE:
            x, y, _ = self.local((dx, dy, dx))
            gap = np.hypot(np.maximum(np.abs(x) - self.half, 0), np.maximum(np.abs(y) - self.half, 0))
        else:
            gap = np.maximum(np.sqrt(dx * dx + dy * dy) - self.half, 0)
        # A wall of height h hides about half of the sky at its foot, a cone's leaning side less.
        reach = gap / (self.tall * np.float32(1.1))
        share = np.float32(0.36 if self.kind == CONE else 0.5) * self.near_table
        return 1 - share / (1 + reach * (1 + 2 * reach))


def _slab(o: np.ndarray, d: np.ndarray, half: np.float32) -> tuple[np.ndarray, np.ndarray]:
    inverse = 1 / np.where(np.abs(d) < 1e-9, np.float32(1e-9), d)
    middle, spread = -o * inverse, half * np.abs(inverse)
    return middle - spread, middle + spread


def _unit(vectors: np.ndarray) -> np.ndarray:
    x, y, z = vectors
    return vectors / np.maximum(np.sqrt(x * x + y * y + z * z), np.float32(1e-9))


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


class _Studio:
    """One scene with its light: everything that a ray can meet."""

    def __init__(self, scenes: Scenes, i: int, lift: np.ndarray):
        azimuth, elevation = (float(angle) for angle in scenes.light[i])
        flat = np.cos(elevation)
        self.light = np.array([np.sin(azimuth) * flat, -np.cos(azimuth) * flat, np.sin(elevation)])
        slots = range(int(scenes.count[i]))
        self.things = [_Thing(scenes, i, slot, self.light, lift[slot]) for slot in slots]
        self.light = self.light.astype(np.float32)
        # A second, dim lamp opposite keeps shaded sides readable.
        self.fill = _unit(np.array([-self.light[0], self.light[1] * 0.6, 0.45], np.float32))
        side = np.sign(self.light[0])
        self.strips = [
            (np.float32(side * np.sin(a)), np.float32(-np.cos(a)), *map(np.float32, rest))
            for a, *rest in _STRIPS
        ]
        self.table = _TABLES[scenes.table[i]]
        self.bounce = self.table * np.float32(0.62)  # what the lit table sends upwards

    def table_light(self, points: np.ndarray) -> np.ndarray:
        """Light (3, P) from points (3, P) of the table towards any eye."""
        key = np.full(points.shape[1], _KEY_POWER * self.light[2])
        sky = np.full(points.shape[1], _AMBIENT_POWER)
        for thing in self.things:
            key *= thing.silhouette.visible(points)
            sky *= thing.contact(points)
        sky += _FILL_POWER * self.fill[2] * sky / _AMBIENT_POWER
        # The lamps are aimed at the middle; the far table sinks into a slightly darker backdrop.
        x, y = points[0], points[1] - np.float32(0.3)
        pool = 1 / (1 + np.float32(0.018) * (x * x + y * y))
        key *= pool
        sky *= np.float32(0.4) + np.float32(0.6) * pool
        return self.table[:, None] * (_KEY[:, None] * key + _SKY[:, None] * sky)

    def diffuse(self, points: np.ndarray, normals: np.ndarray, others: Sequence[_Thing]) -> np.ndarray:
        """Light (3, P) that falls on matte surface points, past the `others`."""
        key = np.maximum(_dot(self.light, normals), 0) * _KEY_POWER
        for thing in others:
            key *= thing.silhouette.visible(points)
        fill = np.maximum(_dot(self.fill, normals), 0) * _FILL_POWER
        up = np.float32(0.5) + np.float32(0.5) * normals[2]
        # Near the table its light is dim, since the object's own foot shades it.
        low = 1 - np.float32(0.55) * np.exp(points[2] * np.float32(-3.2))
        sky = up * _AMBIENT_POWER * (np.float32(0.35) + np.float32(0.65) * low)
        ground = (1 - up) * low * np.float32(0.6)
        return (
            _KEY[:, None] * key + _FILL[:, None] * fill + _SKY[:, None] * sky + self.bounce[:, None] * ground
        )

    def surroundings(
        self, points: np.ndarray, directions: np.ndarray, others: Sequence[_Thing]
    ) -> np.ndarray:
        """Light (3, P) that arrives at points (3, P) from unit directions (3, P): what metal mirrors."""
        height = directions[2]
        rise = np.clip(height, 0, 1)
        level = np.maximum(np.sqrt(directions[0] ** 2 + directions[1] ** 2), np.float32(1e-6))
        streak = np.zeros_like(height)
        for x, y, edge, sharp, power in self.strips:
            strip = np.clip(((x * directions[0] + y * directions[1]) / level - edge) * sharp, 0, 1)
            streak += strip * strip * power
        overhead = np.clip((np.float32(0.97) - rise) * 3, 0, 1)
        light = _SKY[:, None] * (np.float32(0.10) + np.float32(0.45) * rise + streak * overhead)
        lamp = np.clip((_dot(self.light, directions) - np.float32(0.90)) * np.float32(14), 0, 1)
        light = light + _KEY[:, None] * (lamp * lamp * (3 - 2 * lamp) * np.float32(2.2))
        down = np.flatnonzero(height < -0.02)
        if len(down):
            start, course = points[:, down], directions[:, down]
            landing = start - course * (start[2] / course[2])
            landing[2] = 0
            # Beyond the lit pool the table fades into the dark end of the studio.
            fade = np.clip(-course[2] * 5, 0, 1)
            # The strips' sheen on the table is seen in mirrors only: upright metal sides would be dull without.
            table = self.table_light(landing) * (np.float32(0.58) + np.float32(0.75) * streak[down])
            light[:, down] = light[:, down] * (1 - fade) + table * fade
        nearest = np.full(points.shape[1], _FAR)
        for thing in others:
            distance = thing.meet(points, directions)
            hit = np.flatnonzero(distance < nearest)
            if len(hit) == 0:
                continue
            nearest[hit] = distance[hit]
            spot = points[:, hit] + directions[:, hit] * distance[hit]
            # One bounce only: mirrored objects look matte.
            light[:, hit] = thing.albedo[:, None] * self.diffuse(spot, thing.normal(spot), ())
        return light

    def surface(self, thing: _Thing, points: np.ndarray, views: np.ndarray) -> np.ndarray:
        """Light (3, P) from points (3, P) of a thing, seen along unit directions (3, P)."""
        normals = thing.normal(points)
        others = [other for other in self.things if other is not thing]
        facing = _dot(views, normals)
        mirror = views - normals * (2 * facing)
        matte = thing.albedo[:, None] * self.diffuse(points, normals, others)
        glint = np.maximum(_dot(self.light, mirror), 0)
        rim = (1 + np.minimum(facing, 0)) ** 4
        if not thing.metal:
            sheen = glint**9 * np.float32(0.10) + rim * np.float32(0.05)
            return matte + _KEY[:, None] * sheen
        seen = self.surroundings(points, mirror, others)
        tint = thing.albedo[:, None] * np.float32(0.86) + np.float32(0.07)
        tint = tint + (1 - tint) * (rim * np.float32(0.45))
        spark = glint**90 * np.float32(1.6)
        return matte * np.float32(0.20) + tint * seen + _KEY[:, None] * spark


@lru_cache(maxsize=4)
def _table_points(size: int) -> np.ndarray:
    """Where the rays of a size × size picture meet the table, (3, size²)."""
    rays = camera.rays(size).reshape(3, -1)
    points = _EYE[:, None] - rays * (_EYE[2] / rays[2])
    points[2] = 0
    points.setflags(write=False)
    return points


def _picture(scenes: Scenes, i: int, size: int, samples: int, lift: np.ndarray) -> np.ndarray:
    studio = _Studio(scenes, i, lift)
    table = _develop(studio.table_light(_table_points(size)))

    # Depth and owner per ray, object by object within its screen box.
    fine = size * samples
    rays = camera.rays(fine)
    depth = np.full((fine, fine), _FAR)
    owner = np.full((fine, fine), -1, np.int8)
    for slot, thing in enumerate(studio.things):
        left, right, bottom, top = thing.box
        rows = _span(-top, -bottom, fine)
        columns = _span(left, right, fine)
        block = rays[:, rows, columns]
        distance = thing.meet(_EYE[:, None], block.reshape(3, -1)).reshape(block.shape[1:])
        nearer = distance < depth[rows, columns]
        depth[rows, columns][nearer] = distance[nearer]
        owner[rows, columns][nearer] = slot

    flat_rays, flat_depth, flat_owner = rays.reshape(3, -1), depth.ravel(), owner.ravel()
    total = np.zeros((4, size * size))
    for slot, thing in enumerate(studio.things):
        hit = np.flatnonzero(flat_owner == slot)
        views = flat_rays[:, hit]
        points = _EYE[:, None] + views * flat_depth[hit]
        light = _develop(studio.surface(thing, points, views))
        pixel = hit // fine // samples * size + hit % fine // samples
        for channel in range(3):
            total[channel] += np.bincount(pixel, light[channel], minlength=size * size)
        total[3] += np.bincount(pixel, minlength=size * size)
    total /= samples * samples
    picture = total[:3] + table * (1 - total[3])
    # Display encoding comes after the averaging, so that edges are as bright as their share of light.
    display = np.clip(picture, 0, 1) ** (1 / 2.2) * 255 + 0.5
    return display.T.reshape(size, size, 3).astype(np.uint8)


def _span(low: float, high: float, size: int) -> slice:
    """The rows or columns of a size-wide grid between two picture coordinates."""
    first = int(np.floor((low + 1) / 2 * size))
    last = int(np.ceil((high + 1) / 2 * size))
    return slice(min(max(first, 0), size), min(max(last, 0), size))


def _develop(light: np.ndarray) -> np.ndarray:
    """Linear light to linear display values: straight in the middle, a soft shoulder towards white."""
    knee = np.float32(0.72)
    over = np.maximum(light - knee, 0)
    return np.minimum(light, knee) + (1 - knee) * (1 - np.exp(over / (knee - 1)))
