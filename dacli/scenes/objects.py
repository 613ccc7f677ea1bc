"""People, vehicles, buildings, street furniture and small objects of rendered scenes."""

from collections.abc import Callable

import numpy as np

from dacli.scenes.parts import Array, Parts, rotation_about_y, upwards
from dacli.scenes.raycast import BOX, ELLIPSOID, FRUSTUM

# Adds an object at a place [3]; the number is its size or, for furniture, the height of the ceiling.
ObjectMaker = Callable[[Parts, Array, float], None]


def add_person(parts: Parts, at: Array, _ceiling: float) -> None:
    """Add a standing figure of ellipsoids and bars, 1.2 to 1.9 m tall."""
    rng = parts.rng
    tall = rng.uniform(1.2, 1.9)
    rotation = rotation_about_y(rng.uniform(0, 6))
    stride, swing = rng.normal(0, 0.12, 2), rng.normal(0, 0.25, 2)

    def put(x: float, y: float, z: float) -> Array:
        return np.asarray(at + tall * (rotation @ np.array([x, y, z])))

    hips = [put(s * 0.05, 0.5, 0) for s in (-1, 1)]
    trousers = parts.random_material()
    for hip, s, step in zip(hips, (-1, 1), stride, strict=True):
        parts.add_bars(hip, put(s * 0.06, 0, step), tall * 0.043, trousers)
    shirt = parts.random_material()
    parts.add(ELLIPSOID, put(0, 0.66, 0), tall * np.array([0.105, 0.2, 0.07]), rotation, shirt)
    for s, reach in zip((-1, 1), swing, strict=True):
        hand = put(s * rng.uniform(0.12, 0.25), 0.48 + abs(reach) / 3, reach)
        parts.add_bars(put(s * 0.11, 0.79, 0), hand, tall * 0.026, shirt)
    skin = parts.random_material()
    skin["colors"][:2] = np.array([0.7, 0.48, 0.36]) * rng.uniform(0.2, 1.1)
    parts.add(ELLIPSOID, put(0, 0.925, 0), tall * np.array([0.047, 0.068, 0.055]), rotation, skin)
    if rng.random() < 0.7:
        hair = parts.random_material()
        parts.add(ELLIPSOID, put(0, 0.945, 0.012), tall * np.array([0.052, 0.064, 0.056]), rotation, hair)


def add_occluder(parts: Parts, at: Array, size: float) -> None:
    """Add a post, a bar or a panel that crosses the view."""
    rng = parts.rng
    if rng.random() < 0.6:
        direction = rng.normal(size=3) * np.array([1, 1, 0.3])
        direction *= rng.uniform(1, 5) * size / np.linalg.norm(direction)
        thick, material = size * rng.uniform(0.02, 0.25), parts.random_material()
        parts.add_bars(at - direction, at + direction, thick, material, square=bool(rng.random() < 0.5))
    else:
        parts.add(BOX, at, size * rng.uniform(0.05, 1, 3), parts.random_orientations()[0], parts.random_material())


def add_small_object(parts: Parts, at: Array, size: float) -> None:
    """Add a small object that stands on `at`: a box, ball, jar, bottle, cone or ring."""
    rng = parts.rng
    material, half = parts.random_material(), size * rng.uniform(0.3, 1, 3)
    rotation, style = rotation_about_y(rng.uniform(0, 6)), rng.integers(6)
    if style <= 1:
        parts.add(BOX, at + upwards(half[1]), half, rotation, material)
    elif style == 2:
        parts.add(ELLIPSOID, at + upwards(half[1]), half, rotation, material)
    elif style == 3:
        upright = np.diag([1.0, rng.choice([-1, 1]), 1])
        parts.add(FRUSTUM, at + upwards(half[1]), half[[0, 1, 0]], upright, material, taper=rng.choice([0, 0.3, 1]))
    elif style == 4:
        parts.add(FRUSTUM, at + upwards(size * 0.6), size * np.array([0.3, 0.6, 0.3]), rotation, material)
        parts.add(FRUSTUM, at + upwards(size * 1.35), size * np.array([0.3, 0.15, 0.3]), rotation, material, taper=0.65)
        parts.add(FRUSTUM, at + upwards(size * 1.6), size * np.array([0.1, 0.15, 0.1]), rotation, material)
    else:
        add_ring(parts, at + upwards(size), size)


def add_ring(parts: Parts, centre: Array, radius: float) -> None:
    """Add a wheel or hoop of straight pieces, sometimes with spokes."""
    rng = parts.rng
    n = int(rng.integers(10, 20))
    angle = np.linspace(0, 2 * np.pi, n + 1)
    circle = radius * np.stack([np.cos(angle), np.sin(angle), np.zeros(n + 1)], 1)
    upright = rng.random() < 0.7
    rotation = rotation_about_y(rng.uniform(0, 6)) if upright else parts.random_orientations()[0]
    rim = centre + circle @ rotation.T
    material = parts.random_material()
    parts.add_bars(rim[:-1], rim[1:], radius * rng.uniform(0.03, 0.2), material)
    if rng.random() < 0.6:
        every = rim[: n : rng.integers(1, 4)]
        parts.add_bars(np.broadcast_to(centre, every.shape), every, radius * rng.uniform(0.01, 0.05), material)


def add_fence(parts: Parts, at: Array, _size: float) -> None:
    """Add upright bars between two rails: a railing, a picket fence, a balustrade."""
    rng = parts.rng
    n, gap, tall = int(rng.integers(5, 28)), rng.uniform(0.08, 0.4), rng.uniform(0.5, 1.5)
    rotation, material, thick = rotation_about_y(rng.normal(0, 0.9)), parts.random_material(), rng.uniform(0.008, 0.05)
    feet = at + np.stack([(np.arange(n) - n / 2) * gap, np.zeros(n), np.zeros(n)], 1) @ rotation.T
    square = bool(rng.random() < 0.5)
    parts.add_bars(feet, feet + upwards(tall), thick, material, square=square)
    for level in (tall * rng.uniform(0.1, 0.3), tall * rng.uniform(0.85, 1)):
        parts.add_bars(feet[0] + upwards(level), feet[-1] + upwards(level), thick * 1.2, material, square=square)


def add_wires(parts: Parts, side: float, eye: float) -> None:
    """Add sagging cables along and across a street, in short pieces."""
    rng = parts.rng
    material = parts.random_material()
    for _ in range(rng.integers(1, 5)):
        high = eye + rng.uniform(1.5, 6)
        start = np.array([rng.uniform(-1, 1) * side, high, rng.uniform(3, 10)])
        end = np.array([rng.uniform(-1, 1) * side, high, start[2] + rng.uniform(0, 30)])
        s = np.linspace(0, 1, 13)[:, None]
        path = start + (end - start) * s - np.array([0, rng.uniform(0.1, 0.8), 0]) * (4 * s * (1 - s))
        parts.add_bars(path[:-1], path[1:], rng.uniform(0.01, 0.03), material)


def add_post(parts: Parts, at: Array, _size: float) -> None:
    """Add a pole with a sign."""
    rng = parts.rng
    tall = rng.uniform(1.5, 6)
    parts.add_bars(at, at + upwards(tall), rng.uniform(0.02, 0.12), parts.random_material())
    half = np.array([rng.uniform(0.1, 0.8), rng.uniform(0.1, 0.5), 0.02])
    parts.add(BOX, at + np.array([0, tall, 0.02]), half, rotation_about_y(rng.normal(0, 0.5)), parts.random_material())


def add_car(parts: Parts, at: Array, _size: float) -> None:
    rng = parts.rng
    rotation, paint = rotation_about_y(rng.uniform(0, 6)), parts.random_material()
    body = np.array([rng.uniform(0.75, 0.95), rng.uniform(0.25, 0.4), rng.uniform(1.5, 2.4)])
    parts.add(BOX, at + upwards(0.3 + body[1]), body, rotation, paint)
    cabin = body * np.array([0.9, 0.8, rng.uniform(0.4, 0.7)])
    roof = at + upwards(0.3 + 2 * body[1] + cabin[1])
    parts.add(BOX, roof, cabin, rotation, parts.random_material() if rng.random() < 0.6 else paint)
    tyres = parts.random_material()
    tyres["colors"] *= 0.2
    spots = np.array([[sx * body[0], 0.32, sz * body[2] * 0.62] for sx in (-1, 1) for sz in (-1, 1)])
    sideways = rotation @ np.array([[0, 1, 0], [1, 0, 0], [0, 0, -1.0]])
    parts.add(FRUSTUM, at + spots @ rotation.T, np.array([0.32, 0.1, 0.32]), sideways, tyres)


def add_house(parts: Parts, at: Array, size: float) -> None:
    rng = parts.rng
    half = size * rng.uniform(0.25, 0.8, 3)
    rotation = rotation_about_y(rng.uniform(0, 6))
    parts.add(BOX, at + upwards(half[1]), half, rotation, parts.random_material(large=True))
    if rng.random() < 0.5:
        roof = np.array([half[0] * 1.5, half[1] * 0.5, half[2] * 1.5])
        parts.add(FRUSTUM, at + upwards(2 * half[1] + roof[1]), roof, rotation, parts.random_material(), taper=0.95)


def add_box_pile(parts: Parts, at: Array, size: float) -> None:
    """Add a pile of boxes, each a little shifted and turned."""
    rng = parts.rng
    level = 0.0
    for _ in range(rng.integers(2, 7)):
        half = size * np.array([rng.uniform(0.4, 1), rng.uniform(0.05, 0.35), rng.uniform(0.4, 1)])
        middle = at + np.array([rng.normal(0, 0.1) * size, level + half[1], 0])
        parts.add(BOX, middle, half, rotation_about_y(rng.normal(0, 0.3)), parts.random_material())
        level += 2 * half[1]


def add_figurine(parts: Parts, at: Array, size: float) -> None:
    """Add a group of rounded shapes, as of an animal, a toy or a bag."""
    rng = parts.rng
    n = int(rng.integers(3, 10))
    away = np.abs(rng.normal(size=(n, 3))) * size * np.array([0.5, 0.6, 0.5])
    spot = away * np.where(rng.random((n, 3)) < 0.5, 1, [-1, 1, -1])
    parts.random_material()
    parts.add(ELLIPSOID, at + spot, size * rng.uniform(0.15, 0.6, (n, 3)), parts.random_orientations(n), vary=0.1)


def with_fixed_size(make: ObjectMaker, size: float) -> ObjectMaker:
    """Return a maker of objects of that size, which ignores the size or ceiling it is called with."""
    return lambda parts, at, _size: make(parts, at, size)
