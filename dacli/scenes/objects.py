"""Buildings, street furniture, thin things and small objects of rendered scenes."""

from collections.abc import Callable

import numpy as np

from dacli.scenes.parts import Array, Parts, rotation_about_y, upwards
from dacli.scenes.raycast import BOX, ELLIPSOID, FRUSTUM

# Adds an object at a place [3]; the number is its size or, for furniture, the height of the ceiling.
ObjectMaker = Callable[[Parts, Array, float], None]


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
    material = parts.random_glass() if rng.random() < 0.12 else parts.random_material()
    half = size * rng.uniform(0.3, 1, 3)
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


def add_net(parts: Parts, at: Array, size: float) -> None:
    """Add a net, a grid or a wire fence: thin bars that cross, on two posts."""
    rng = parts.rng
    wide, tall = size * rng.uniform(0.5, 2), size * rng.uniform(0.4, 1.2)
    rotation, material = rotation_about_y(rng.normal(0, 0.7)), parts.random_material()
    x, y = np.linspace(-wide, wide, rng.integers(4, 16)), np.linspace(0.05 * tall, tall, rng.integers(3, 12))
    slant = rng.choice([0, rng.uniform(-0.5, 0.5)]) * tall
    low = np.stack([x, np.full(len(x), y[0]), np.zeros(len(x))], 1)
    high = np.stack([(x + slant).clip(-wide, wide), np.full(len(x), y[-1]), np.zeros(len(x))], 1)
    left, right = (np.stack([np.full(len(y), s * wide), y, np.zeros(len(y))], 1) for s in (-1, 1))
    start, end = np.concatenate([low, left]), np.concatenate([high, right])
    parts.add_bars(at + start @ rotation.T, at + end @ rotation.T, size * rng.uniform(0.002, 0.012), material)
    posts = at + np.array([[s * wide, 0, 0] for s in (-1, 1)]) @ rotation.T
    parts.add_bars(posts, posts + upwards(tall), size * rng.uniform(0.02, 0.06), parts.random_material())


def add_hand(parts: Parts, at: Array, size: float) -> None:
    """Add a hand at the end of an arm that reaches into the view from below or from a side, often holding a thing."""
    rng = parts.rng
    skin = parts.random_material()
    skin["colors"][:2] = np.array([0.7, 0.48, 0.36]) * rng.uniform(0.2, 1.1)
    palm = size * 0.4
    arm = np.array([rng.normal(0, 1.2), -2.0, rng.uniform(-0.6, 0.1)]) * size * 1.5
    parts.add_bars(at + arm, at, palm * 0.55, skin if rng.random() < 0.5 else parts.random_material())
    turn = parts.random_orientations()[0]
    parts.add(ELLIPSOID, at, palm * np.array([0.9, 1, 0.4]), turn, skin)
    roots = np.array([[x, 0.7, 0] for x in (-0.6, -0.2, 0.2, 0.6)] + [[-0.8, 0, 0]]) * palm
    tips = (
        roots + np.array([[x, 1.3, rng.uniform(-0.8, 0.3)] for x in (-0.2, -0.1, 0.1, 0.2)] + [[-0.7, 0.7, 0]]) * palm
    )
    parts.add_bars(at + roots @ turn.T, at + tips @ turn.T, palm * 0.2, skin)
    if rng.random() < 0.5:
        add_small_object(parts, at + upwards(palm * 0.5), size * rng.uniform(0.3, 0.8))


def add_frame(parts: Parts, at: Array, size: float) -> None:
    """Add an opening to look through, `size` metres wide: posts under a lintel or an arch, or a window with bars."""
    rng = parts.rng
    wide, tall, thick = size / 2, size * rng.uniform(0.5, 1.3), size * rng.uniform(0.04, 0.2)
    rotation, material = rotation_about_y(rng.normal(0, 0.25)), parts.random_material(large=True)

    def put(points: Array) -> Array:
        return np.asarray(at + points @ rotation.T)

    deep = size * rng.uniform(0.03, 0.3)
    sides = np.array([[s * (wide + thick), tall / 2, 0] for s in (-1, 1)])
    parts.add(BOX, put(sides), np.array([thick, tall / 2, deep]), rotation, material)
    style = rng.integers(3)
    if style == 0:
        parts.add(BOX, put(np.array([[0, tall + 2 * thick, 0]])), np.array([size, 2 * thick, deep]), rotation, material)
    elif style == 1:
        angle = np.linspace(0, np.pi, 13)
        arch = np.stack([(wide + thick) * np.cos(angle), tall + (wide + thick) * np.sin(angle), np.zeros(13)], 1)
        parts.add_bars(put(arch[:-1]), put(arch[1:]), thick, material, square=True)
    else:
        parts.add(BOX, put(np.array([[0, tall + thick, 0]])), np.array([size, thick, deep]), rotation, material)
        x = np.linspace(-wide, wide, rng.integers(3, 9))[1:-1]
        foot = np.stack([x, np.zeros(len(x)), np.zeros(len(x))], 1)
        bars = parts.random_material()
        parts.add_bars(put(foot), put(foot + upwards(tall)), size * rng.uniform(0.006, 0.03), bars)


def add_bridge(parts: Parts, at: Array, size: float) -> None:
    """Add a bridge across the view, `size` metres above the ground: a deck with a railing, on pillars."""
    rng = parts.rng
    rotation, material = rotation_about_y(rng.normal(0, 0.4)), parts.random_material(large=True)
    deck = np.array([size * 12, size * rng.uniform(0.04, 0.15), size * rng.uniform(0.3, 1)])
    parts.add(BOX, at + upwards(size), deck, rotation, material)
    x = (np.arange(-4, 5) + rng.uniform()) * size * rng.uniform(1, 3)
    feet = at + np.stack([x, np.zeros(9), np.zeros(9)], 1) @ rotation.T
    parts.add_bars(feet, feet + upwards(size), size * rng.uniform(0.04, 0.2), material, square=bool(rng.random() < 0.5))
    x = np.linspace(-6, 6, 49) * size
    base = at + upwards(size + deck[1]) + np.stack([x, np.zeros(49), np.full(49, -deck[2])], 1) @ rotation.T
    rail = size * rng.uniform(0.1, 0.25)
    parts.add_bars(base, base + upwards(rail), size * 0.008, material)
    parts.add_bars(base[0] + upwards(rail), base[-1] + upwards(rail), size * 0.015, material)


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
