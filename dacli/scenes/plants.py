"""Plants and stones of rendered scenes, built of ellipsoids, cylinders and cones."""

import numpy as np

from dacli.scenes.parts import IDENTITY, Array, Material, Parts, rotation_about_y, upwards
from dacli.scenes.raycast import ELLIPSOID, FRUSTUM


def add_foliage(parts: Parts, centre: Array, radius: float) -> None:
    """Add a cloud of leaves, denser towards its middle."""
    rng = parts.rng
    n = int(rng.integers(15, 90))
    away = rng.normal(size=(n, 3))
    away *= radius * rng.random((n, 1)) ** 0.5 / np.linalg.norm(away, axis=1, keepdims=True)
    long = radius * rng.uniform(0.08, 0.35)
    half = long * np.array([1, 0.07, rng.uniform(0.25, 1)]) * rng.uniform(0.6, 1.4, (n, 1))
    rotations = parts.random_orientations(n)
    parts.add(ELLIPSOID, centre + away, half, rotations, parts.random_material(natural=True), vary=0.35)


def add_grass_blades(parts: Parts, at: Array, tall: float) -> None:
    """Add blades of grass, each of two inclined pieces."""
    rng = parts.rng
    n = int(rng.integers(8, 40))
    material = parts.random_material(natural=True)
    direction = rng.normal(size=(n, 2)) * 0.35
    middle = at + np.stack([direction[:, 0] * tall / 2, np.full(n, tall * 0.55), direction[:, 1] * tall / 2], 1)
    tip = middle + np.stack([direction[:, 0] * tall, rng.uniform(-0.1, 0.45, n) * tall, direction[:, 1] * tall], 1)
    wide = tall * rng.uniform(0.006, 0.03)
    parts.add_bars(np.broadcast_to(at, (n, 3)), middle, wide, material)
    parts.add_bars(middle, tip, wide * 0.8, material)


def add_plant(parts: Parts, at: Array, _ceiling: float) -> None:
    rng = parts.rng
    pot, tall = rng.uniform(0.08, 0.3), rng.uniform(0.3, 1.4)
    half = np.array([pot * 0.9, pot, pot * 0.9])
    parts.add(FRUSTUM, at + upwards(pot), half, np.diag([1.0, -1, 1]), parts.random_material(), taper=0.25)
    top = at + np.array([rng.normal(0, 0.1), 2 * pot + tall * 0.5, rng.normal(0, 0.1)])
    parts.add_bars(at + upwards(pot), top, 0.012, parts.random_material(natural=True))
    if rng.random() < 0.5:
        add_foliage(parts, top, tall * rng.uniform(0.3, 0.6))
    else:
        add_grass_blades(parts, at + upwards(2 * pot), tall)


def add_bush(parts: Parts, at: Array, size: float) -> None:
    radius = size * parts.rng.uniform(0.06, 0.2)
    add_foliage(parts, at + upwards(radius * 0.7), radius)
    add_foliage(parts, at + np.array([parts.rng.normal(0, radius), radius * 0.6, 0]), radius)


def add_grass(parts: Parts, at: Array, size: float) -> None:
    add_grass_blades(parts, at, size * parts.rng.uniform(0.05, 0.15))


def add_flowers(parts: Parts, at: Array, size: float) -> None:
    add_grass_blades(parts, at, size * 2)
    add_foliage(parts, at + upwards(size * 1.5), size)


def add_tree(parts: Parts, at: Array, size: float) -> None:
    """Add a trunk with a crown of cones, balls or leaves, or with bare branches."""
    rng = parts.rng
    tall = size * rng.uniform(0.5, 1.2)
    trunk = parts.random_material(natural=True)
    half = tall * np.array([0.03, 0.35, 0.03])
    parts.add(FRUSTUM, at + upwards(tall * 0.35), half, rotation_about_y(rng.uniform(0, 6)), trunk, taper=0.5)
    style = rng.integers(4)
    if style == 0:
        add_cone_crown(parts, at, tall)
    elif style == 1:
        add_round_crown(parts, at + upwards(tall * 0.8), tall)
    elif style == 2:
        for _ in range(rng.integers(1, 4)):
            add_foliage(
                parts, at + rng.normal(size=3) * tall * 0.1 + upwards(tall * 0.8), tall * rng.uniform(0.2, 0.35)
            )
    else:
        add_branches(parts, at + upwards(tall * 0.5), tall, trunk)


def add_cone_crown(parts: Parts, at: Array, tall: float) -> None:
    """Add the crown of a fir: cones above each other, each narrower than the one below."""
    material = parts.random_material(natural=True)
    for k in range(parts.rng.integers(2, 5)):
        wide = tall * (0.26 - 0.05 * k)
        half = np.array([wide, tall * 0.18, wide])
        parts.add(FRUSTUM, at + upwards(tall * (0.35 + 0.2 * k)), half, IDENTITY, material, taper=0.97)


def add_round_crown(parts: Parts, centre: Array, tall: float) -> None:
    """Add a crown of balls around its centre."""
    rng = parts.rng
    n = int(rng.integers(4, 14))
    spot = rng.normal(size=(n, 3)) * tall * np.array([0.16, 0.1, 0.16])
    half = tall * rng.uniform(0.08, 0.2, (n, 3))
    parts.add(
        ELLIPSOID, centre + spot, half, parts.random_orientations(n), parts.random_material(natural=True), vary=0.15
    )


def add_branches(parts: Parts, at: Array, tall: float, material: Material) -> None:
    rng = parts.rng
    n = int(rng.integers(5, 16))
    start = at + np.stack([np.zeros(n), rng.uniform(-0.15, 0.2, n) * tall, np.zeros(n)], 1)
    end = start + rng.normal(size=(n, 3)) * tall * 0.22 + upwards(tall * 0.12)
    twig = np.repeat(end, 2, 0) + rng.normal(size=(2 * n, 3)) * tall * 0.12
    parts.add_bars(start, end, tall * 0.009, material)
    parts.add_bars(np.repeat(end, 2, 0), twig, tall * 0.004, material)


def add_hanging_branch(parts: Parts, at: Array, size: float) -> None:
    """Add a twig with leaves that hangs into the view from above."""
    rng = parts.rng
    start = at + np.array([rng.normal(0, size), size * 2, rng.normal(0, size * 0.5)])
    parts.add_bars(start, at, size * 0.03, parts.random_material(natural=True))
    n = int(rng.integers(5, 25))
    along = start + (at - start) * rng.random((n, 1)) + rng.normal(size=(n, 3)) * size * 0.25
    half = size * rng.uniform(0.12, 0.35) * np.array([1, 0.06, 0.5]) * rng.uniform(0.6, 1.3, (n, 1))
    parts.add(ELLIPSOID, along, half, parts.random_orientations(n), parts.random_material(natural=True), vary=0.3)


def add_rock(parts: Parts, at: Array, size: float) -> None:
    rng = parts.rng
    n = int(rng.integers(1, 4))
    material = parts.random_material(natural=True)
    spot = rng.normal(size=(n, 3)) * [size * 0.1, 0, size * 0.1]
    half = size * rng.uniform(0.03, 0.15, (n, 3))
    parts.add(ELLIPSOID, at + spot, half, parts.random_orientations(n), material, vary=0.1)


def scatter_pebbles(parts: Parts, places: Array, size: float) -> None:
    """Add pebbles and tufts at the places [n, 3]."""
    n = len(places)
    if n == 0:
        return
    parts.random_material(natural=True)
    parts.add(ELLIPSOID, places, size * parts.rng.uniform(0.1, 1, (n, 3)), parts.random_orientations(n), vary=0.4)
