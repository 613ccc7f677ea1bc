"""Cars, vans, bicycles and boats of rendered scenes."""

import numpy as np

from dacli.scenes.parts import Array, Parts, rotation_about_y, upwards
from dacli.scenes.raycast import BOX, ELLIPSOID, FRUSTUM

SIDEWAYS = np.array([[0, 1, 0], [1, 0, 0], [0, 0, -1.0]])  # turns the axis of a cylinder from y to x


def add_car(parts: Parts, at: Array, _size: float) -> None:
    rng = parts.rng
    rotation, paint = rotation_about_y(rng.uniform(0, 6)), parts.random_material()
    body = np.array([rng.uniform(0.75, 0.95), rng.uniform(0.25, 0.4), rng.uniform(1.5, 2.4)])
    parts.add(BOX, at + upwards(0.3 + body[1]), body, rotation, paint)
    cabin = body * np.array([0.9, 0.8, rng.uniform(0.4, 0.7)])
    roof = at + upwards(0.3 + 2 * body[1] + cabin[1])
    parts.add(BOX, roof, cabin, rotation, parts.random_material() if rng.random() < 0.6 else paint)
    add_wheels(parts, at, rotation, body, 0.32)


def add_van(parts: Parts, at: Array, _size: float) -> None:
    """Add a van, a lorry or a bus with rows of windows."""
    rng = parts.rng
    rotation, paint = rotation_about_y(rng.uniform(0, 6)), parts.random_material()
    body = np.array([rng.uniform(0.9, 1.25), rng.uniform(0.8, 1.5), rng.uniform(2, 6)])
    parts.add(BOX, at + upwards(0.45 + body[1]), body, rotation, paint)
    count = int(rng.integers(1, 8))
    panes = parts.random_material()
    panes["colors"] *= 0.3
    panes["gloss"] = np.array(rng.uniform(0.3, 0.9))
    along = np.linspace(-0.85, 0.85, count) * body[2]
    high = 0.45 + body[1] * rng.uniform(1.2, 1.5)
    places = np.array([[s * body[0], high, z] for s in (-1, 1) for z in along])
    half = np.array([0.02, body[1] * 0.3, body[2] * 0.7 / (count + 1)])
    parts.add(BOX, at + places @ rotation.T, half, rotation, panes)
    ends = np.array([[0, high, s * body[2]] for s in (-1, 1)])
    parts.add(BOX, at + ends @ rotation.T, np.array([body[0] * 0.85, body[1] * 0.35, 0.02]), rotation, panes)
    add_wheels(parts, at, rotation, body, 0.45)


def add_wheels(parts: Parts, at: Array, rotation: Array, body: Array, radius: float) -> None:
    """Add four wheels at the corners of a body of half lengths [3]."""
    tyres = parts.random_material()
    tyres["colors"] *= 0.2
    spots = np.array([[sx * body[0], radius, sz * body[2] * 0.62] for sx in (-1, 1) for sz in (-1, 1)])
    parts.add(FRUSTUM, at + spots @ rotation.T, radius * np.array([1, 0.3, 1]), rotation @ SIDEWAYS, tyres)


def add_bicycle(parts: Parts, at: Array, _size: float) -> None:
    """Add a bicycle: two wheels with spokes, a frame, a saddle and a handlebar."""
    rng = parts.rng
    rotation = rotation_about_y(rng.uniform(0, 6))
    lean = rng.normal(0, 0.12)
    radius, base = rng.uniform(0.27, 0.36), rng.uniform(0.48, 0.58)

    def put(points: Array) -> Array:
        tilted = points.copy()
        tilted[:, 2] += lean * points[:, 1]
        return np.asarray(at + tilted @ rotation.T)

    angle = np.linspace(0, 2 * np.pi, 17)
    tyre, metal, paint = parts.random_material(), parts.random_material(), parts.random_material()
    tyre["colors"] *= 0.3
    for x in (-base, base):
        rim = np.stack([x + radius * np.cos(angle), radius + radius * np.sin(angle), np.zeros(17)], 1)
        parts.add_bars(put(rim[:-1]), put(rim[1:]), 0.018, tyre)
        hub = np.tile([[x, radius, 0.0]], (16, 1))
        parts.add_bars(put(hub), put(rim[:-1]), 0.003, metal)
    rear, front = [-base, radius, 0.0], [base, radius, 0.0]
    pedal, seat, head = [-0.08, radius - 0.05, 0.0], [-0.2, 0.85, 0.0], [base * 0.7, 0.82, 0.0]
    frame = np.array([[rear, pedal], [rear, seat], [pedal, seat], [pedal, head], [seat, head], [head, front]])
    parts.add_bars(put(frame[:, 0]), put(frame[:, 1]), 0.016, paint)
    bar = np.array([[base * 0.7, 0.95, -0.28], [base * 0.7, 0.95, 0.28]])
    parts.add_bars(put(bar[:1]), put(bar[1:]), 0.014, metal)
    parts.add(ELLIPSOID, put(np.array([[-0.2, 0.9, 0.0]])), np.array([0.13, 0.04, 0.07]), rotation, metal)


def add_boat(parts: Parts, at: Array, size: float) -> None:
    """Add a hull half sunk into the ground, often with a cabin or with a mast and its stays."""
    rng = parts.rng
    long = size * rng.uniform(0.3, 0.9)
    rotation = rotation_about_y(rng.uniform(0, 6))
    hull = long * np.array([rng.uniform(0.25, 0.4), rng.uniform(0.15, 0.25), 1])
    parts.add(ELLIPSOID, at, hull, rotation, parts.random_material())
    if rng.random() < 0.5:
        cabin = hull * np.array([0.6, rng.uniform(0.6, 1.5), rng.uniform(0.2, 0.5)])
        parts.add(BOX, at + upwards(hull[1] * 0.7 + cabin[1]), cabin, rotation, parts.random_material())
    if rng.random() < 0.6:
        top, material = at + upwards(long * rng.uniform(1.5, 3)), parts.random_material()
        parts.add_bars(at, top, long * 0.02, material)
        ends = at + np.array([[0, hull[1] * 0.5, s * hull[2] * 0.9] for s in (-1, 1)]) @ rotation.T
        parts.add_bars(ends, np.broadcast_to(top, ends.shape), long * 0.006, material)
