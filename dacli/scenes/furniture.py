"""Furniture, people, vehicles and small things of rendered scenes, and which of them stand where."""

from collections.abc import Callable

import numpy as np

from dacli.scenes.parts import IDENTITY, Array, Material, Parts, rotation_about_y, upwards
from dacli.scenes.plants import add_blades, add_bush, add_flowers, add_foliage, add_grass, add_plant, add_rock, add_tree
from dacli.scenes.raycast import BOX, ELLIPSOID, FRUSTUM

ObjectMaker = Callable[[Parts, Array, float], None]  # puts a thing at a place [3]; the number is its size, or a ceiling


def add_legs(parts: Parts, at: Array, turned: Array, half: Array, height: float, thick: float, wear: Material) -> None:
    corners = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]]) * (half - thick)
    feet = at + np.stack([corners[:, 0], np.zeros(4), corners[:, 1]], 1) @ turned.T
    parts.bar(feet, feet + upwards(height), thick, wear, square=bool(parts.rng.random() < 0.6))


def add_table(parts: Parts, at: Array, _ceiling: float) -> None:
    rng = parts.rng
    turned, height = rotation_about_y(rng.uniform(0, 6)), rng.uniform(0.4, 1.05)
    half = rng.uniform(0.3, 1.1, 2)
    wear = parts.material()
    add_legs(parts, at, turned, half, height, rng.uniform(0.012, 0.05), wear)
    parts.add(BOX, at + upwards(height), np.array([half[0], rng.uniform(0.01, 0.04), half[1]]), turned, wear)
    for _ in range(rng.integers(0, 6)):
        spot = turned @ np.array([rng.uniform(-0.8, 0.8) * half[0], 0, rng.uniform(-0.8, 0.8) * half[1]])
        add_thing(parts, at + spot + upwards(height + 0.02), rng.uniform(0.05, 0.2))


def add_chair(parts: Parts, at: Array, _ceiling: float) -> None:
    rng = parts.rng
    turned, height = rotation_about_y(rng.uniform(0, 6)), rng.uniform(0.35, 0.6)
    half, wear = rng.uniform(0.2, 0.32, 2), parts.material()
    thick = rng.uniform(0.01, 0.03)
    add_legs(parts, at, turned, half, height, thick, wear)
    parts.add(BOX, at + upwards(height), np.array([half[0], rng.uniform(0.01, 0.06), half[1]]), turned, wear)
    tall = rng.uniform(0.3, 0.6)
    if rng.random() < 0.5:
        back = at + turned @ np.array([0, 0, half[1]]) + upwards(height + tall / 2)
        parts.add(BOX, back, np.array([half[0], tall / 2, 0.02]), turned, wear)
    else:
        x = np.linspace(-1, 1, rng.integers(2, 8)) * half[0]
        feet = at + np.stack([x, np.full(len(x), height), np.full(len(x), half[1])], 1) @ turned.T
        parts.bar(feet, feet + upwards(tall), thick * 0.7, wear)
        ends = feet[[0, -1]] + upwards(tall)
        parts.bar(ends[0], ends[1], thick, wear)


def add_shelf(parts: Parts, at: Array, ceiling: float) -> None:
    rng = parts.rng
    turned = rotation_about_y(rng.choice([0, np.pi / 2]) + rng.normal(0, 0.3))
    wide, deep = rng.uniform(0.3, 1.2), rng.uniform(0.12, 0.3)
    tall = rng.uniform(0.6, max(0.8, ceiling - at[1]))
    wear, floors = parts.material(), rng.integers(2, 7)
    levels = np.linspace(0.03, tall, floors)
    parts.add(BOX, at + np.outer(levels, upwards(1)), np.array([wide, 0.015, deep]), turned, wear)
    for x in (-wide, wide):
        side = at + turned @ np.array([x, 0, 0]) + upwards(tall / 2)
        parts.add(BOX, side, np.array([0.015, tall / 2, deep]), turned, wear)
    step = tall / floors
    parts.material()
    for level in levels[:-1]:
        n = rng.integers(0, 14)
        high = rng.uniform(0.3, 0.9, n) * step / 2
        along = np.sort(rng.uniform(-0.9, 0.9, n)) * wide
        spot = np.stack([along, level + 0.015 + high, rng.uniform(-0.3, 0.3, n) * deep], 1)
        half = np.stack([rng.uniform(0.01, 0.06, n), high, np.full(n, deep * 0.6)], 1)
        parts.add(BOX, at + spot @ turned.T, half, turned, vary=0.8)


def add_cupboard(parts: Parts, at: Array, ceiling: float) -> None:
    rng = parts.rng
    half = np.array([rng.uniform(0.25, 1.3), rng.uniform(0.2, 0.5 * max(ceiling - at[1], 1)), rng.uniform(0.2, 0.6)])
    turned = rotation_about_y(rng.choice([0, np.pi / 2]) + rng.normal(0, 0.3))
    parts.add(BOX, at + upwards(half[1]), half, turned, parts.material())
    for _ in range(rng.integers(0, 4)):
        spot = turned @ np.array([rng.uniform(-0.8, 0.8) * half[0], 0, 0])
        add_thing(parts, at + spot + upwards(2 * half[1]), rng.uniform(0.06, 0.25))


def add_sofa(parts: Parts, at: Array, _ceiling: float) -> None:
    rng = parts.rng
    turned, wear = rotation_about_y(rng.uniform(0, 6)), parts.material()
    wide, deep, seat = rng.uniform(0.4, 1.3), rng.uniform(0.35, 0.5), rng.uniform(0.15, 0.25)
    places = np.array([[0, seat, 0], [0, seat * 2, deep], [-wide, seat * 1.4, 0], [wide, seat * 1.4, 0]])
    sizes = np.array([[wide, seat, deep], [wide, seat * 2, 0.12], [0.1, seat * 1.4, deep], [0.1, seat * 1.4, deep]])
    parts.add(BOX, at + places @ turned.T, sizes, turned, wear)
    n = int(rng.integers(0, 5))
    spot = np.stack([rng.uniform(-0.8, 0.8, n) * wide, np.full(n, seat * 2.6), rng.uniform(0, 0.6, n) * deep], 1)
    parts.material()
    parts.add(ELLIPSOID, at + spot @ turned.T, np.array([0.22, 0.2, 0.09]), parts.tumble(n), vary=0.5)


def add_person(parts: Parts, at: Array, _ceiling: float) -> None:
    """A figure of ellipsoids and tapered limbs, standing, 1.2 to 1.9 m tall."""
    rng = parts.rng
    tall = rng.uniform(1.2, 1.9)
    turned = rotation_about_y(rng.uniform(0, 6))
    stride, swing = rng.normal(0, 0.12, 2), rng.normal(0, 0.25, 2)

    def put(x: float, y: float, z: float) -> Array:
        return np.asarray(at + tall * (turned @ np.array([x, y, z])))

    hips = [put(s * 0.05, 0.5, 0) for s in (-1, 1)]
    trousers = parts.material()
    for hip, s, step in zip(hips, (-1, 1), stride, strict=True):
        parts.bar(hip, put(s * 0.06, 0, step), tall * 0.043, trousers)
    shirt = parts.material()
    parts.add(ELLIPSOID, put(0, 0.66, 0), tall * np.array([0.105, 0.2, 0.07]), turned, shirt)
    for s, reach in zip((-1, 1), swing, strict=True):
        hand = put(s * rng.uniform(0.12, 0.25), 0.48 + abs(reach) / 3, reach)
        parts.bar(put(s * 0.11, 0.79, 0), hand, tall * 0.026, shirt)
    skin = parts.material()
    skin["colours"][:2] = np.array([0.7, 0.48, 0.36]) * rng.uniform(0.2, 1.1)
    parts.add(ELLIPSOID, put(0, 0.925, 0), tall * np.array([0.047, 0.068, 0.055]), turned, skin)
    if rng.random() < 0.7:
        parts.add(ELLIPSOID, put(0, 0.945, 0.012), tall * np.array([0.052, 0.064, 0.056]), turned, parts.material())


def lean_against(parts: Parts, at: Array, size: float) -> None:
    """A post, a bar or a panel that crosses the view."""
    rng = parts.rng
    if rng.random() < 0.6:
        way = rng.normal(size=3) * np.array([1, 1, 0.3])
        way *= rng.uniform(1, 5) * size / np.linalg.norm(way)
        parts.bar(at - way, at + way, size * rng.uniform(0.02, 0.25), parts.material(), square=bool(rng.random() < 0.5))
    else:
        parts.add(BOX, at, size * rng.uniform(0.05, 1, 3), parts.tumble()[0], parts.material())


def add_thing(parts: Parts, at: Array, size: float) -> None:
    """A small object that stands on `at`: a box, ball, jar, bottle or cone."""
    rng = parts.rng
    wear, half = parts.material(), size * rng.uniform(0.3, 1, 3)
    turned, style = rotation_about_y(rng.uniform(0, 6)), rng.integers(6)
    if style <= 1:
        parts.add(BOX, at + upwards(half[1]), half, turned, wear)
    elif style == 2:
        parts.add(ELLIPSOID, at + upwards(half[1]), half, turned, wear)
    elif style == 3:
        upright = np.diag([1.0, rng.choice([-1, 1]), 1])
        parts.add(FRUSTUM, at + upwards(half[1]), half[[0, 1, 0]], upright, wear, taper=rng.choice([0, 0.3, 1]))
    elif style == 4:
        parts.add(FRUSTUM, at + upwards(size * 0.6), size * np.array([0.3, 0.6, 0.3]), turned, wear)
        parts.add(FRUSTUM, at + upwards(size * 1.35), size * np.array([0.3, 0.15, 0.3]), turned, wear, taper=0.65)
        parts.add(FRUSTUM, at + upwards(size * 1.6), size * np.array([0.1, 0.15, 0.1]), turned, wear)
    else:
        add_ring(parts, at + upwards(size), size)


def add_ring(parts: Parts, centre: Array, radius: float) -> None:
    """A wheel or hoop of straight pieces, with spokes now and then."""
    rng = parts.rng
    n = int(rng.integers(10, 20))
    angle = np.linspace(0, 2 * np.pi, n + 1)
    circle = radius * np.stack([np.cos(angle), np.sin(angle), np.zeros(n + 1)], 1)
    rim = centre + circle @ (rotation_about_y(rng.uniform(0, 6)) if rng.random() < 0.7 else parts.tumble()[0]).T
    wear = parts.material()
    parts.bar(rim[:-1], rim[1:], radius * rng.uniform(0.03, 0.2), wear)
    if rng.random() < 0.6:
        every = rim[: n : rng.integers(1, 4)]
        parts.bar(np.broadcast_to(centre, every.shape), every, radius * rng.uniform(0.01, 0.05), wear)


def add_lamp(parts: Parts, at: Array, ceiling: float) -> None:
    """A shade on a wire from the ceiling, or on a stand."""
    rng = parts.rng
    low = at[1] + (ceiling - at[1]) * rng.uniform(0.45, 0.85)
    end = np.array([at[0], low, at[2]])
    wide = rng.uniform(0.08, 0.3)
    start = np.array([at[0], ceiling if rng.random() < 0.7 else at[1], at[2]])
    parts.bar(start, end, rng.uniform(0.004, 0.015), parts.material())
    shade = parts.material(glow=rng.choice([0, rng.uniform(0.5, 4)]))
    if rng.random() < 0.5:
        parts.add(ELLIPSOID, end, wide * np.array([1, rng.uniform(0.5, 1), 1]), IDENTITY, shade)
    else:
        parts.add(FRUSTUM, end, wide * np.array([1, 0.7, 1]), IDENTITY, shade, taper=rng.uniform(0.2, 0.8))


def add_column(parts: Parts, at: Array, ceiling: float) -> None:
    rng = parts.rng
    tall, wide = max(ceiling - at[1], 1.0), rng.uniform(0.1, 0.4)
    middle = at + upwards(tall / 2)
    half = np.array([wide, tall / 2, wide])
    parts.add(
        int(rng.choice([BOX, FRUSTUM])), middle, half, rotation_about_y(rng.uniform(0, 6)), parts.material(), taper=0.1
    )


def add_stairs(parts: Parts, at: Array, _ceiling: float) -> None:
    rng = parts.rng
    n, wide = int(rng.integers(3, 10)), rng.uniform(0.4, 1.5)
    turned, wear = rotation_about_y(rng.uniform(0, 6)), parts.material()
    rise, run = rng.uniform(0.12, 0.2), rng.uniform(0.2, 0.35)
    k = np.arange(n)
    places = np.stack([np.zeros(n), (k + 1) * rise / 2, k * run], 1)
    sizes = np.stack([np.full(n, wide), (k + 1) * rise / 2, np.full(n, run / 2)], 1)
    parts.add(BOX, at + places @ turned.T, sizes, turned, wear)


def add_fence(parts: Parts, at: Array, _size: float) -> None:
    """Upright bars between two rails; a railing, a picket fence, a balustrade."""
    rng = parts.rng
    n, gap, tall = int(rng.integers(5, 28)), rng.uniform(0.08, 0.4), rng.uniform(0.5, 1.5)
    turned, wear, thick = rotation_about_y(rng.normal(0, 0.9)), parts.material(), rng.uniform(0.008, 0.05)
    feet = at + np.stack([(np.arange(n) - n / 2) * gap, np.zeros(n), np.zeros(n)], 1) @ turned.T
    square = bool(rng.random() < 0.5)
    parts.bar(feet, feet + upwards(tall), thick, wear, square)
    for level in (tall * rng.uniform(0.1, 0.3), tall * rng.uniform(0.85, 1)):
        parts.bar(feet[0] + upwards(level), feet[-1] + upwards(level), thick * 1.2, wear, square)


def add_wires(parts: Parts, side: float, eye: float) -> None:
    """Cables along and across a street, sagging, in short pieces."""
    rng = parts.rng
    wear = parts.material()
    for _ in range(rng.integers(1, 5)):
        high = eye + rng.uniform(1.5, 6)
        start = np.array([rng.uniform(-1, 1) * side, high, rng.uniform(3, 10)])
        end = np.array([rng.uniform(-1, 1) * side, high, start[2] + rng.uniform(0, 30)])
        s = np.linspace(0, 1, 13)[:, None]
        path = start + (end - start) * s - np.array([0, rng.uniform(0.1, 0.8), 0]) * (4 * s * (1 - s))
        parts.bar(path[:-1], path[1:], rng.uniform(0.01, 0.03), wear)


def add_post(parts: Parts, at: Array, _size: float) -> None:
    """A pole with a sign or a lamp."""
    rng = parts.rng
    tall = rng.uniform(1.5, 6)
    parts.bar(at, at + upwards(tall), rng.uniform(0.02, 0.12), parts.material())
    half = np.array([rng.uniform(0.1, 0.8), rng.uniform(0.1, 0.5), 0.02])
    parts.add(BOX, at + np.array([0, tall, 0.02]), half, rotation_about_y(rng.normal(0, 0.5)), parts.material())


def add_car(parts: Parts, at: Array, _size: float) -> None:
    rng = parts.rng
    turned, paint = rotation_about_y(rng.uniform(0, 6)), parts.material()
    body = np.array([rng.uniform(0.75, 0.95), rng.uniform(0.25, 0.4), rng.uniform(1.5, 2.4)])
    parts.add(BOX, at + upwards(0.3 + body[1]), body, turned, paint)
    cabin = body * np.array([0.9, 0.8, rng.uniform(0.4, 0.7)])
    roof = at + upwards(0.3 + 2 * body[1] + cabin[1])
    parts.add(BOX, roof, cabin, turned, parts.material() if rng.random() < 0.6 else paint)
    tyres = parts.material()
    tyres["colours"] *= 0.2
    spots = np.array([[sx * body[0], 0.32, sz * body[2] * 0.62] for sx in (-1, 1) for sz in (-1, 1)])
    sideways = turned @ np.array([[0, 1, 0], [1, 0, 0], [0, 0, -1.0]])
    parts.add(FRUSTUM, at + spots @ turned.T, np.array([0.32, 0.1, 0.32]), sideways, tyres)


def add_house(parts: Parts, at: Array, size: float) -> None:
    rng = parts.rng
    half = size * rng.uniform(0.25, 0.8, 3)
    turned = rotation_about_y(rng.uniform(0, 6))
    parts.add(BOX, at + upwards(half[1]), half, turned, parts.material(large=True))
    if rng.random() < 0.5:
        roof = np.array([half[0] * 1.5, half[1] * 0.5, half[2] * 1.5])
        parts.add(FRUSTUM, at + upwards(2 * half[1] + roof[1]), roof, turned, parts.material(), taper=0.95)


def add_stack(parts: Parts, at: Array, size: float) -> None:
    """Boxes piled up a little askew."""
    rng = parts.rng
    level = 0.0
    for _ in range(rng.integers(2, 7)):
        half = size * np.array([rng.uniform(0.4, 1), rng.uniform(0.05, 0.35), rng.uniform(0.4, 1)])
        middle = at + np.array([rng.normal(0, 0.1) * size, level + half[1], 0])
        parts.add(BOX, middle, half, rotation_about_y(rng.normal(0, 0.3)), parts.material())
        level += 2 * half[1]


def add_figurine(parts: Parts, at: Array, size: float) -> None:
    """A heap of rounded shapes: an animal, a toy, a bag."""
    rng = parts.rng
    n = int(rng.integers(3, 10))
    away = np.abs(rng.normal(size=(n, 3))) * size * np.array([0.5, 0.6, 0.5])
    spot = away * np.where(rng.random((n, 3)) < 0.5, 1, [-1, 1, -1])
    parts.material()
    parts.add(ELLIPSOID, at + spot, size * rng.uniform(0.15, 0.6, (n, 3)), parts.tumble(n), vary=0.1)


def on_the_ground(make: ObjectMaker, size: float) -> ObjectMaker:
    """Return a maker of things of that size, whatever limit it is called with."""
    return lambda parts, at, _limit: make(parts, at, size)


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
    add_plant,
    add_plant,
    add_lamp,
    add_lamp,
    add_column,
    add_stairs,
    on_the_ground(add_thing, 0.3),
    on_the_ground(add_stack, 0.3),
    on_the_ground(add_figurine, 0.4),
    on_the_ground(add_ring, 0.4),
)
OUTDOORS: tuple[ObjectMaker, ...] = (
    add_tree,
    add_tree,
    add_tree,
    add_bush,
    add_bush,
    add_rock,
    add_person,
    add_person,
    add_person,
    add_fence,
    add_post,
    add_post,
    add_car,
    add_house,
    add_grass,
    add_grass,
    add_stairs,
    on_the_ground(add_thing, 0.5),
    on_the_ground(add_figurine, 0.5),
)
SMALL: tuple[ObjectMaker, ...] = (
    add_thing,
    add_thing,
    add_thing,
    add_stack,
    add_figurine,
    add_figurine,
    add_flowers,
    add_foliage,
    add_ring,
    add_blades,
    lean_against,
    add_fence,
)
