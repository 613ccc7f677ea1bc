"""Furniture of rendered rooms, the objects of each kind of scene, and their places on a floor."""

import numpy as np

from dacli.scenes.figures import add_animal, add_bird, add_crowd, add_person
from dacli.scenes.objects import (
    ObjectMaker,
    add_box_pile,
    add_fence,
    add_figurine,
    add_hand,
    add_house,
    add_net,
    add_occluder,
    add_post,
    add_ring,
    add_small_object,
    with_fixed_size,
)
from dacli.scenes.parts import IDENTITY, Array, Material, Parts, RoomShape, rotation_about_y, upwards
from dacli.scenes.plants import (
    add_bush,
    add_flowers,
    add_foliage,
    add_grass,
    add_grass_blades,
    add_plant,
    add_rock,
    add_tree,
)
from dacli.scenes.raycast import BOX, ELLIPSOID, FRUSTUM
from dacli.scenes.vehicles import add_bicycle, add_boat, add_car, add_van


def add_legs(
    parts: Parts, at: Array, rotation: Array, half: Array, *, height: float, thick: float, material: Material
) -> None:
    """Add four legs near the corners of a rectangle of half lengths `half` [2] around `at`."""
    corners = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]]) * (half - thick)
    feet = at + np.stack([corners[:, 0], np.zeros(4), corners[:, 1]], 1) @ rotation.T
    parts.add_bars(feet, feet + upwards(height), thick, material, square=bool(parts.rng.random() < 0.6))


def add_table(parts: Parts, at: Array, _ceiling: float) -> None:
    rng = parts.rng
    rotation, height = rotation_about_y(rng.uniform(0, 6)), rng.uniform(0.4, 1.05)
    half = rng.uniform(0.3, 1.1, 2)
    material = parts.random_material()
    add_legs(parts, at, rotation, half, height=height, thick=rng.uniform(0.012, 0.05), material=material)
    parts.add(BOX, at + upwards(height), np.array([half[0], rng.uniform(0.01, 0.04), half[1]]), rotation, material)
    for _ in range(rng.integers(0, 6)):
        spot = rotation @ np.array([rng.uniform(-0.8, 0.8) * half[0], 0, rng.uniform(-0.8, 0.8) * half[1]])
        add_small_object(parts, at + spot + upwards(height + 0.02), rng.uniform(0.05, 0.2))


def add_chair(parts: Parts, at: Array, _ceiling: float) -> None:
    rng = parts.rng
    rotation, height = rotation_about_y(rng.uniform(0, 6)), rng.uniform(0.35, 0.6)
    half, material = rng.uniform(0.2, 0.32, 2), parts.random_material()
    thick = rng.uniform(0.01, 0.03)
    add_legs(parts, at, rotation, half, height=height, thick=thick, material=material)
    parts.add(BOX, at + upwards(height), np.array([half[0], rng.uniform(0.01, 0.06), half[1]]), rotation, material)
    tall = rng.uniform(0.3, 0.6)
    if rng.random() < 0.5:
        back = at + rotation @ np.array([0, 0, half[1]]) + upwards(height + tall / 2)
        parts.add(BOX, back, np.array([half[0], tall / 2, 0.02]), rotation, material)
    else:
        x = np.linspace(-1, 1, rng.integers(2, 8)) * half[0]
        feet = at + np.stack([x, np.full(len(x), height), np.full(len(x), half[1])], 1) @ rotation.T
        parts.add_bars(feet, feet + upwards(tall), thick * 0.7, material)
        ends = feet[[0, -1]] + upwards(tall)
        parts.add_bars(ends[0], ends[1], thick, material)


def add_shelf(parts: Parts, at: Array, ceiling: float) -> None:
    rng = parts.rng
    rotation = rotation_about_y(rng.choice([0, np.pi / 2]) + rng.normal(0, 0.3))
    wide, deep = rng.uniform(0.3, 1.2), rng.uniform(0.12, 0.3)
    tall = rng.uniform(0.6, max(0.8, ceiling - at[1]))
    material, floors = parts.random_material(), rng.integers(2, 7)
    levels = np.linspace(0.03, tall, floors)
    parts.add(BOX, at + np.outer(levels, upwards(1)), np.array([wide, 0.015, deep]), rotation, material)
    for x in (-wide, wide):
        side = at + rotation @ np.array([x, 0, 0]) + upwards(tall / 2)
        parts.add(BOX, side, np.array([0.015, tall / 2, deep]), rotation, material)
    step = tall / floors
    parts.random_material()
    for level in levels[:-1]:
        n = rng.integers(0, 14)
        high = rng.uniform(0.3, 0.9, n) * step / 2
        along = np.sort(rng.uniform(-0.9, 0.9, n)) * wide
        spot = np.stack([along, level + 0.015 + high, rng.uniform(-0.3, 0.3, n) * deep], 1)
        half = np.stack([rng.uniform(0.01, 0.06, n), high, np.full(n, deep * 0.6)], 1)
        parts.add(BOX, at + spot @ rotation.T, half, rotation, vary=0.8)


def add_cupboard(parts: Parts, at: Array, ceiling: float) -> None:
    rng = parts.rng
    half = np.array([rng.uniform(0.25, 1.3), rng.uniform(0.2, 0.5 * max(ceiling - at[1], 1)), rng.uniform(0.2, 0.6)])
    rotation = rotation_about_y(rng.choice([0, np.pi / 2]) + rng.normal(0, 0.3))
    parts.add(BOX, at + upwards(half[1]), half, rotation, parts.random_material())
    for _ in range(rng.integers(0, 4)):
        spot = rotation @ np.array([rng.uniform(-0.8, 0.8) * half[0], 0, 0])
        add_small_object(parts, at + spot + upwards(2 * half[1]), rng.uniform(0.06, 0.25))


def add_sofa(parts: Parts, at: Array, _ceiling: float) -> None:
    rng = parts.rng
    rotation, material = rotation_about_y(rng.uniform(0, 6)), parts.random_material()
    wide, deep, seat = rng.uniform(0.4, 1.3), rng.uniform(0.35, 0.5), rng.uniform(0.15, 0.25)
    places = np.array([[0, seat, 0], [0, seat * 2, deep], [-wide, seat * 1.4, 0], [wide, seat * 1.4, 0]])
    sizes = np.array([[wide, seat, deep], [wide, seat * 2, 0.12], [0.1, seat * 1.4, deep], [0.1, seat * 1.4, deep]])
    parts.add(BOX, at + places @ rotation.T, sizes, rotation, material)
    n = int(rng.integers(0, 5))
    spot = np.stack([rng.uniform(-0.8, 0.8, n) * wide, np.full(n, seat * 2.6), rng.uniform(0, 0.6, n) * deep], 1)
    parts.random_material()
    parts.add(ELLIPSOID, at + spot @ rotation.T, np.array([0.22, 0.2, 0.09]), parts.random_orientations(n), vary=0.5)


def add_lamp(parts: Parts, at: Array, ceiling: float) -> None:
    """Add a shade on a wire from the ceiling, or on a stand."""
    rng = parts.rng
    low = at[1] + (ceiling - at[1]) * rng.uniform(0.45, 0.85)
    end = np.array([at[0], low, at[2]])
    wide = rng.uniform(0.08, 0.3)
    start = np.array([at[0], ceiling if rng.random() < 0.7 else at[1], at[2]])
    parts.add_bars(start, end, rng.uniform(0.004, 0.015), parts.random_material())
    shade = parts.random_material(emission=rng.choice([0, rng.uniform(0.5, 4)]))
    if rng.random() < 0.5:
        parts.add(ELLIPSOID, end, wide * np.array([1, rng.uniform(0.5, 1), 1]), IDENTITY, shade)
    else:
        parts.add(FRUSTUM, end, wide * np.array([1, 0.7, 1]), IDENTITY, shade, taper=rng.uniform(0.2, 0.8))


def add_column(parts: Parts, at: Array, ceiling: float) -> None:
    rng = parts.rng
    tall, wide = max(ceiling - at[1], 1.0), rng.uniform(0.1, 0.4)
    half = np.array([wide, tall / 2, wide])
    kind, rotation = int(rng.choice([BOX, FRUSTUM])), rotation_about_y(rng.uniform(0, 6))
    parts.add(kind, at + upwards(tall / 2), half, rotation, parts.random_material(), taper=0.1)


def add_stairs(parts: Parts, at: Array, _ceiling: float) -> None:
    rng = parts.rng
    n, wide = int(rng.integers(3, 10)), rng.uniform(0.4, 1.5)
    rotation, material = rotation_about_y(rng.uniform(0, 6)), parts.random_material()
    rise, run = rng.uniform(0.12, 0.2), rng.uniform(0.2, 0.35)
    k = np.arange(n)
    places = np.stack([np.zeros(n), (k + 1) * rise / 2, k * run], 1)
    sizes = np.stack([np.full(n, wide), (k + 1) * rise / 2, np.full(n, run / 2)], 1)
    parts.add(BOX, at + places @ rotation.T, sizes, rotation, material)


FURNITURE: tuple[ObjectMaker, ...] = (
    add_table,
    add_table,
    add_chair,
    add_chair,
    add_shelf,
    add_shelf,
    add_cupboard,
    add_cupboard,
    add_sofa,
    add_person,
    add_person,
    add_bicycle,
    with_fixed_size(add_animal, 0.6),
    add_plant,
    add_plant,
    add_lamp,
    add_lamp,
    add_column,
    add_stairs,
    with_fixed_size(add_small_object, 0.3),
    with_fixed_size(add_box_pile, 0.3),
    with_fixed_size(add_figurine, 0.4),
    with_fixed_size(add_ring, 0.4),
)
OUTDOOR_OBJECTS: tuple[ObjectMaker, ...] = (
    add_tree,
    add_tree,
    add_tree,
    add_bush,
    add_bush,
    add_rock,
    add_person,
    add_person,
    add_person,
    with_fixed_size(add_crowd, 1.5),
    with_fixed_size(add_animal, 1.4),
    with_fixed_size(add_animal, 0.6),
    add_fence,
    with_fixed_size(add_net, 1.5),
    add_post,
    add_post,
    add_car,
    add_van,
    add_bicycle,
    with_fixed_size(add_boat, 4.0),
    add_house,
    add_grass,
    add_grass,
    add_stairs,
    with_fixed_size(add_small_object, 0.5),
    with_fixed_size(add_figurine, 0.5),
)
SMALL_OBJECTS: tuple[ObjectMaker, ...] = (
    add_small_object,
    add_small_object,
    add_small_object,
    add_box_pile,
    add_figurine,
    add_figurine,
    add_flowers,
    add_foliage,
    add_ring,
    add_grass_blades,
    add_occluder,
    add_fence,
    add_net,
    add_hand,
    add_animal,
    add_bird,
)


def place_furniture(
    parts: Parts,
    room: RoomShape,
    count: int,
    *,
    across: tuple[float, float] = (-0.9, 0.9),
    along: tuple[float, float] = (-0.5, 0.95),
    clearance: float = 0.0,
) -> None:
    """Put pieces of furniture on the floor of a room; some of them intersect each other and the walls.

    `across` and `along` are the ranges of their places, in shares of the half width and half length of the room. Pieces
    less than `clearance` metres from the camera, which is at x = z = 0, are left out, so that there may be fewer than
    `count`.
    """
    rng = parts.rng
    for _ in range(count):
        add = FURNITURE[rng.integers(len(FURNITURE))]
        at = room.point(np.array([rng.uniform(*across), 0, rng.uniform(*along)]))
        at[1] = room.floor
        if np.hypot(at[0], at[2]) > clearance:
            add(parts, at, room.ceiling)
