"""Plants and stones that stand in rendered scenes, built of ellipsoids, cylinders and cones."""

import numpy as np

from dacli.scenes.parts import IDENTITY, Array, Material, Parts, rotation_about_y, upwards
from dacli.scenes.raycast import ELLIPSOID, FRUSTUM


def add_foliage(parts: Parts, centre: Array, radius: float) -> None:
    """A cloud of leaves, thicker towards its middle."""
    rng = parts.rng
    n = int(rng.integers(15, 90))
    away = rng.normal(size=(n, 3))
    away *= radius * rng.random((n, 1)) ** 0.5 / np.linalg.norm(away, axis=1, keepdims=True)
    long = radius * rng.uniform(0.08, 0.35)
    half = long * np.array([1, 0.07, rng.uniform(0.25, 1)]) * rng.uniform(0.6, 1.4, (n, 1))
    parts.add(ELLIPSOID, centre + away, half, parts.tumble(n), parts.material(natural=True), vary=0.35)


def add_blades(parts: Parts, at: Array, tall: float) -> None:
    """Grass-like blades, each of two leaning pieces."""
    rng = parts.rng
    n = int(rng.integers(8, 40))
    wear = parts.material(natural=True)
    way = rng.normal(size=(n, 2)) * 0.35
    middle = at + np.stack([way[:, 0] * tall / 2, np.full(n, tall * 0.55), way[:, 1] * tall / 2], 1)
    tip = middle + np.stack([way[:, 0] * tall, rng.uniform(-0.1, 0.45, n) * tall, way[:, 1] * tall], 1)
    wide = tall * rng.uniform(0.006, 0.03)
    parts.bar(np.broadcast_to(at, (n, 3)), middle, wide, wear)
    parts.bar(middle, tip, wide * 0.8, wear)


def add_plant(parts: Parts, at: Array, _ceiling: float) -> None:
    rng = parts.rng
    pot, tall = rng.uniform(0.08, 0.3), rng.uniform(0.3, 1.4)
    half = np.array([pot * 0.9, pot, pot * 0.9])
    parts.add(FRUSTUM, at + upwards(pot), half, np.diag([1.0, -1, 1]), parts.material(), taper=0.25)
    top = at + np.array([rng.normal(0, 0.1), 2 * pot + tall * 0.5, rng.normal(0, 0.1)])
    parts.bar(at + upwards(pot), top, 0.012, parts.material(natural=True))
    if rng.random() < 0.5:
        add_foliage(parts, top, tall * rng.uniform(0.3, 0.6))
    else:
        add_blades(parts, at + upwards(2 * pot), tall)


def add_bush(parts: Parts, at: Array, size: float) -> None:
    radius = size * parts.rng.uniform(0.06, 0.2)
    add_foliage(parts, at + upwards(radius * 0.7), radius)
    add_foliage(parts, at + np.array([parts.rng.normal(0, radius), radius * 0.6, 0]), radius)


def add_grass(parts: Parts, at: Array, size: float) -> None:
    add_blades(parts, at, size * parts.rng.uniform(0.05, 0.15))


def add_flowers(parts: Parts, at: Array, size: float) -> None:
    add_blades(parts, at, size * 2)
    add_foliage(parts, at + upwards(size * 1.5), size)


def add_tree(parts: Parts, at: Array, size: float) -> None:
    """A trunk with cones, balls or leaves around it, or with bare branches."""
    rng = parts.rng
    tall = size * rng.uniform(0.5, 1.2)
    trunk = parts.material(natural=True)
    half = tall * np.array([0.03, 0.35, 0.03])
    parts.add(FRUSTUM, at + upwards(tall * 0.35), half, rotation_about_y(rng.uniform(0, 6)), trunk, taper=0.5)
    style = rng.integers(4)
    if style == 0:
        add_cones(parts, at, tall)
    elif style == 1:
        add_balls(parts, at + upwards(tall * 0.8), tall)
    elif style == 2:
        for _ in range(rng.integers(1, 4)):
            add_foliage(
                parts, at + rng.normal(size=3) * tall * 0.1 + upwards(tall * 0.8), tall * rng.uniform(0.2, 0.35)
            )
    else:
        add_branches(parts, at + upwards(tall * 0.5), tall, trunk)


def add_cones(parts: Parts, at: Array, tall: float) -> None:
    """The crown of a fir: cones above each other, ever narrower."""
    wear = parts.material(natural=True)
    for k in range(parts.rng.integers(2, 5)):
        wide = tall * (0.26 - 0.05 * k)
        half = np.array([wide, tall * 0.18, wide])
        parts.add(FRUSTUM, at + upwards(tall * (0.35 + 0.2 * k)), half, IDENTITY, wear, taper=0.97)


def add_balls(parts: Parts, centre: Array, tall: float) -> None:
    """A crown of rounded masses about its centre."""
    rng = parts.rng
    n = int(rng.integers(4, 14))
    spot = rng.normal(size=(n, 3)) * tall * np.array([0.16, 0.1, 0.16])
    half = tall * rng.uniform(0.08, 0.2, (n, 3))
    parts.add(ELLIPSOID, centre + spot, half, parts.tumble(n), parts.material(natural=True), vary=0.15)


def add_branches(parts: Parts, at: Array, tall: float, wear: Material) -> None:
    rng = parts.rng
    n = int(rng.integers(5, 16))
    start = at + np.stack([np.zeros(n), rng.uniform(-0.15, 0.2, n) * tall, np.zeros(n)], 1)
    end = start + rng.normal(size=(n, 3)) * tall * 0.22 + upwards(tall * 0.12)
    twig = np.repeat(end, 2, 0) + rng.normal(size=(2 * n, 3)) * tall * 0.12
    parts.bar(start, end, tall * 0.009, wear)
    parts.bar(np.repeat(end, 2, 0), twig, tall * 0.004, wear)


def add_hanging_branch(parts: Parts, at: Array, size: float) -> None:
    """A twig with leaves that comes in from above."""
    rng = parts.rng
    start = at + np.array([rng.normal(0, size), size * 2, rng.normal(0, size * 0.5)])
    parts.bar(start, at, size * 0.03, parts.material(natural=True))
    n = int(rng.integers(5, 25))
    along = start + (at - start) * rng.random((n, 1)) + rng.normal(size=(n, 3)) * size * 0.25
    half = size * rng.uniform(0.12, 0.35) * np.array([1, 0.06, 0.5]) * rng.uniform(0.6, 1.3, (n, 1))
    parts.add(ELLIPSOID, along, half, parts.tumble(n), parts.material(natural=True), vary=0.3)


def add_rock(parts: Parts, at: Array, size: float) -> None:
    rng = parts.rng
    n = int(rng.integers(1, 4))
    wear = parts.material(natural=True)
    spot = rng.normal(size=(n, 3)) * [size * 0.1, 0, size * 0.1]
    half = size * rng.uniform(0.03, 0.15, (n, 3))
    parts.add(ELLIPSOID, at + spot, half, parts.tumble(n), wear, vary=0.1)


def scatter_on_floor(parts: Parts, places: Array, size: float) -> None:
    """Pebbles and tufts at the places [n, 3]."""
    n = len(places)
    if n == 0:
        return
    parts.material(natural=True)
    parts.add(ELLIPSOID, places, size * parts.rng.uniform(0.1, 1, (n, 3)), parts.tumble(n), vary=0.4)
