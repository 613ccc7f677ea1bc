"""Things that stand in rendered scenes, built of boxes, ellipsoids, cylinders and cones."""

from collections.abc import Callable

import numpy as np

from dacli import textures
from dacli.raycast import BOX, ELLIPSOID, FRUSTUM

Array = np.ndarray
Material = dict[str, Array]
IDENTITY = np.eye(3)


class Parts:
    """The solids of one scene, as they are put in."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.rows: list[dict[str, Array]] = []
        self.last: Material = {}

    def turn(self, yaw: float) -> Array:
        """Rotation about the vertical."""
        c, s = np.cos(yaw), np.sin(yaw)
        return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])

    def tumble(self, count: int = 1) -> Array:
        """Random rotations [count, 3, 3]."""
        return np.asarray(np.linalg.qr(self.rng.normal(size=(count, 3, 3)))[0])

    def colour(self, natural: bool) -> Array:
        rng = self.rng
        if natural and rng.random() < 0.75:
            base = np.array(
                [[0.1, 0.22, 0.05], [0.3, 0.24, 0.14], [0.35, 0.34, 0.32], [0.5, 0.42, 0.28], [0.2, 0.3, 0.1]]
            )
            return base[rng.integers(5)] * np.exp(rng.normal(0, 0.25, 3))
        value = rng.beta(1.6, 1.3)
        return np.asarray(value) * (1 - rng.beta(1, 1.6) * rng.random(3))

    def material(self, natural: bool = False, large: bool = False, glow: float = 0.0) -> Material:
        """A random surface; the next solids wear it unless told otherwise."""
        rng = self.rng
        first = self.colour(natural)
        contrast = rng.beta(1, 2)
        second = first + contrast * (self.colour(natural) - first)
        size = np.exp(rng.uniform(np.log(0.15), np.log(3))) * (4 if large else 1)
        picks = rng.integers(0, textures.count(), 2)
        picks[0] = rng.integers(0, 12) if natural and rng.random() < 0.7 else picks[0]
        self.last = {
            "colours": np.stack([first, second, self.colour(natural)]).clip(0.01, 1) ** 2.2,
            "texture": picks,
            "grain": np.array([size, size * np.exp(rng.uniform(-2, 1))]),
            "overlay": np.array(rng.choice([0, rng.uniform(0, 0.6)])),
            "gloss": np.array(rng.choice([0, 0, rng.uniform(0, 0.8)])),
            "glow": np.array(glow),
        }
        return self.last

    def add(
        self, kind: int, centre: Array, half: Array, rotation: Array = IDENTITY, wear: Material | None = None,
        taper: float | Array = 0.0, vary: float = 0.0,
    ) -> None:  # fmt: skip
        """Solids of one kind: centres [n, 3] or [3], half lengths and rotations likewise."""
        centre = np.atleast_2d(np.asarray(centre, float))
        n = len(centre)
        half = np.broadcast_to(half, (n, 3)).astype(float)
        rotation = np.broadcast_to(rotation, (n, 3, 3))
        linear = rotation.transpose(0, 2, 1) / half[:, :, None]
        offset = -(linear @ centre[:, :, None])
        wear = self.last if wear is None else wear
        row = {name: np.broadcast_to(value, (n, *value.shape)).copy() for name, value in wear.items()}
        if vary:
            row["colours"] *= np.exp(self.rng.normal(0, vary, (n, 1, 1))) * np.exp(
                self.rng.normal(0, vary / 3, (n, 1, 3))
            )
        row |= {"kind": np.full(n, kind), "to_local": np.concatenate([linear, offset], -1), "half": half}
        row["taper"] = np.broadcast_to(np.asarray(taper, float), (n,)).copy()
        self.rows.append(row)

    def bar(
        self, start: Array, end: Array, thick: float | Array, wear: Material | None = None, square: bool = False
    ) -> None:
        """Straight bars from start to end ([n, 3] or [3]), of half width `thick`."""
        start, end = np.atleast_2d(start).astype(float), np.atleast_2d(end).astype(float)
        way = end - start
        length = np.linalg.norm(way, axis=1).clip(1e-6)
        up = way / length[:, None]
        helper = np.where(np.abs(up[:, :1]) > 0.9, [[0.0, 0, 1]], [[1.0, 0, 0]])
        side = np.cross(up, helper)
        side /= np.linalg.norm(side, axis=1, keepdims=True)
        rotation = np.stack([side, up, np.cross(side, up)], -1)
        wide = np.broadcast_to(thick, length.shape)
        self.add(BOX if square else FRUSTUM, (start + end) / 2, np.stack([wide, length / 2, wide], 1), rotation, wear)

    def solids(self) -> dict[str, Array]:
        """All solids as arrays, one row each."""
        return {name: np.concatenate([r[name] for r in self.rows]) for name in self.rows[0]}


def legs(parts: Parts, at: Array, turned: Array, half: Array, height: float, thick: float, wear: Material) -> None:
    corners = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]]) * (half - thick)
    feet = at + np.stack([corners[:, 0], np.zeros(4), corners[:, 1]], 1) @ turned.T
    parts.bar(feet, feet + [0, height, 0], thick, wear, square=bool(parts.rng.random() < 0.6))


def table(parts: Parts, at: Array, _ceiling: float) -> None:
    rng = parts.rng
    turned, height = parts.turn(rng.uniform(0, 6)), rng.uniform(0.4, 1.05)
    half = rng.uniform(0.3, 1.1, 2)
    wear = parts.material()
    legs(parts, at, turned, half, height, rng.uniform(0.012, 0.05), wear)
    parts.add(BOX, at + [0, height, 0], np.array([half[0], rng.uniform(0.01, 0.04), half[1]]), turned, wear)
    for _ in range(rng.integers(0, 6)):
        spot = turned @ np.array([rng.uniform(-0.8, 0.8) * half[0], 0, rng.uniform(-0.8, 0.8) * half[1]])
        thing(parts, at + spot + [0, height + 0.02, 0], rng.uniform(0.05, 0.2))


def chair(parts: Parts, at: Array, _ceiling: float) -> None:
    rng = parts.rng
    turned, height = parts.turn(rng.uniform(0, 6)), rng.uniform(0.35, 0.6)
    half, wear = rng.uniform(0.2, 0.32, 2), parts.material()
    thick = rng.uniform(0.01, 0.03)
    legs(parts, at, turned, half, height, thick, wear)
    parts.add(BOX, at + [0, height, 0], np.array([half[0], rng.uniform(0.01, 0.06), half[1]]), turned, wear)
    tall = rng.uniform(0.3, 0.6)
    if rng.random() < 0.5:
        back = at + turned @ np.array([0, 0, half[1]]) + [0, height + tall / 2, 0]
        parts.add(BOX, back, np.array([half[0], tall / 2, 0.02]), turned, wear)
    else:
        slats = np.stack([np.linspace(-1, 1, rng.integers(2, 8)) * half[0], *[np.zeros(1)] * 0], 1)
        feet = at + np.stack([slats[:, 0], np.full(len(slats), height), np.full(len(slats), half[1])], 1) @ turned.T
        parts.bar(feet, feet + [0, tall, 0], thick * 0.7, wear)
        ends = feet[[0, -1]] + [0, tall, 0]
        parts.bar(ends[0], ends[1], thick, wear)


def shelf(parts: Parts, at: Array, ceiling: float) -> None:
    rng = parts.rng
    turned = parts.turn(rng.choice([0, np.pi / 2]) + rng.normal(0, 0.3))
    wide, deep = rng.uniform(0.3, 1.2), rng.uniform(0.12, 0.3)
    tall = rng.uniform(0.6, max(0.8, ceiling - at[1]))
    wear, floors = parts.material(), rng.integers(2, 7)
    levels = np.linspace(0.03, tall, floors)
    parts.add(BOX, at + np.outer(levels, [0, 1, 0]), np.array([wide, 0.015, deep]), turned, wear)
    for x in (-wide, wide):
        parts.add(
            BOX, at + turned @ np.array([x, 0, 0]) + [0, tall / 2, 0], np.array([0.015, tall / 2, deep]), turned, wear
        )
    step = tall / floors
    parts.material()
    for level in levels[:-1]:
        n = rng.integers(0, 14)
        high = rng.uniform(0.3, 0.9, n) * step / 2
        x = np.sort(rng.uniform(-0.9, 0.9, n)) * wide
        spot = np.stack([x, level + 0.015 + high, rng.uniform(-0.3, 0.3, n) * deep], 1)
        parts.add(
            BOX,
            at + spot @ turned.T,
            np.stack([rng.uniform(0.01, 0.06, n), high, np.full(n, deep * 0.6)], 1),
            turned,
            vary=0.8,
        )


def cupboard(parts: Parts, at: Array, ceiling: float) -> None:
    rng = parts.rng
    half = np.array([rng.uniform(0.25, 1.3), rng.uniform(0.2, 0.5 * max(ceiling - at[1], 1)), rng.uniform(0.2, 0.6)])
    turned = parts.turn(rng.choice([0, np.pi / 2]) + rng.normal(0, 0.3))
    parts.add(BOX, at + [0, half[1], 0], half, turned, parts.material())
    for _ in range(rng.integers(0, 4)):
        spot = turned @ np.array([rng.uniform(-0.8, 0.8) * half[0], 0, 0])
        thing(parts, at + spot + [0, 2 * half[1], 0], rng.uniform(0.06, 0.25))


def sofa(parts: Parts, at: Array, _ceiling: float) -> None:
    rng = parts.rng
    turned, wear = parts.turn(rng.uniform(0, 6)), parts.material()
    wide, deep, seat = rng.uniform(0.4, 1.3), rng.uniform(0.35, 0.5), rng.uniform(0.15, 0.25)
    places = np.array([[0, seat, 0], [0, seat * 2, deep], [-wide, seat * 1.4, 0], [wide, seat * 1.4, 0]])
    sizes = np.array([[wide, seat, deep], [wide, seat * 2, 0.12], [0.1, seat * 1.4, deep], [0.1, seat * 1.4, deep]])
    parts.add(BOX, at + places @ turned.T, sizes, turned, wear)
    n = rng.integers(0, 5)
    spot = np.stack([rng.uniform(-0.8, 0.8, n) * wide, np.full(n, seat * 2.6), rng.uniform(0, 0.6, n) * deep], 1)
    parts.material()
    parts.add(ELLIPSOID, at + spot @ turned.T, np.array([0.22, 0.2, 0.09]), parts.tumble(n), vary=0.5)


def person(parts: Parts, at: Array, _ceiling: float) -> None:
    """A figure of ellipsoids and tapered limbs, standing, 1.2 to 1.9 m tall."""
    rng = parts.rng
    tall = rng.uniform(1.2, 1.9)
    turned = parts.turn(rng.uniform(0, 6))
    stride, swing = rng.normal(0, 0.12, 2), rng.normal(0, 0.25, 2)

    def put(p: list[float]) -> Array:
        return at + tall * (turned @ np.array(p))

    hips = [put([s * 0.05, 0.5, 0]) for s in (-1, 1)]
    trousers = parts.material()
    for hip, s, step in zip(hips, (-1, 1), stride, strict=True):
        parts.bar(hip, put([s * 0.06, 0, step]), tall * 0.043, trousers)
    shirt = parts.material()
    parts.add(ELLIPSOID, put([0, 0.66, 0]), tall * np.array([0.105, 0.2, 0.07]), turned, shirt)
    for s, reach in zip((-1, 1), swing, strict=True):
        parts.bar(
            put([s * 0.11, 0.79, 0]),
            put([s * rng.uniform(0.12, 0.25), 0.48 + abs(reach) / 3, reach]),
            tall * 0.026,
            shirt,
        )
    skin = parts.material()
    skin["colours"][:2] = np.array([0.7, 0.48, 0.36]) * rng.uniform(0.2, 1.1)
    parts.add(ELLIPSOID, put([0, 0.925, 0]), tall * np.array([0.047, 0.068, 0.055]), turned, skin)
    if rng.random() < 0.7:
        parts.add(ELLIPSOID, put([0, 0.945, 0.012]), tall * np.array([0.052, 0.064, 0.056]), turned, parts.material())


def foliage(parts: Parts, centre: Array, radius: float) -> None:
    """A cloud of leaves, thicker towards its middle."""
    rng = parts.rng
    n = int(rng.integers(15, 90))
    away = rng.normal(size=(n, 3))
    away *= radius * rng.random((n, 1)) ** 0.5 / np.linalg.norm(away, axis=1, keepdims=True)
    long = radius * rng.uniform(0.08, 0.35)
    half = long * np.array([1, 0.07, rng.uniform(0.25, 1)]) * rng.uniform(0.6, 1.4, (n, 1))
    parts.add(ELLIPSOID, centre + away, half, parts.tumble(n), parts.material(natural=True), vary=0.35)


def plant(parts: Parts, at: Array, _ceiling: float) -> None:
    rng = parts.rng
    pot, tall = rng.uniform(0.08, 0.3), rng.uniform(0.3, 1.4)
    parts.add(
        FRUSTUM,
        at + [0, pot, 0],
        np.array([pot * 0.9, pot, pot * 0.9]),
        np.diag([1.0, -1, 1]),
        parts.material(),
        taper=0.25,
    )
    top = at + np.array([rng.normal(0, 0.1), 2 * pot + tall * 0.5, rng.normal(0, 0.1)])
    parts.bar(at + [0, pot, 0], top, 0.012, parts.material(natural=True))
    if rng.random() < 0.5:
        foliage(parts, top, tall * rng.uniform(0.3, 0.6))
    else:
        blades(parts, at + [0, 2 * pot, 0], tall)


def blades(parts: Parts, at: Array, tall: float) -> None:
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


def bush(parts: Parts, at: Array, size: float) -> None:
    radius = size * parts.rng.uniform(0.06, 0.2)
    foliage(parts, at + [0, radius * 0.7, 0], radius)
    foliage(parts, at + [parts.rng.normal(0, radius), radius * 0.6, 0], radius)


def tree(parts: Parts, at: Array, size: float) -> None:
    rng = parts.rng
    tall = size * rng.uniform(0.5, 1.2)
    trunk = parts.material(natural=True)
    parts.add(
        FRUSTUM,
        at + [0, tall * 0.35, 0],
        tall * np.array([0.03, 0.35, 0.03]),
        parts.turn(rng.uniform(0, 6)),
        trunk,
        taper=0.5,
    )
    style = rng.integers(4)
    if style == 0:
        wear = parts.material(natural=True)
        for k in range(rng.integers(2, 5)):
            wide = tall * (0.26 - 0.05 * k)
            parts.add(
                FRUSTUM,
                at + [0, tall * (0.35 + 0.2 * k), 0],
                np.array([wide, tall * 0.18, wide]),
                IDENTITY,
                wear,
                taper=0.97,
            )
    elif style == 1:
        n = int(rng.integers(4, 14))
        spot = rng.normal(size=(n, 3)) * tall * np.array([0.16, 0.1, 0.16]) + [0, tall * 0.8, 0]
        parts.add(
            ELLIPSOID,
            at + spot,
            tall * rng.uniform(0.08, 0.2, (n, 3)),
            parts.tumble(n),
            parts.material(natural=True),
            vary=0.15,
        )
    elif style == 2:
        for _ in range(rng.integers(1, 4)):
            foliage(parts, at + rng.normal(size=3) * tall * 0.1 + [0, tall * 0.8, 0], tall * rng.uniform(0.2, 0.35))
    else:
        branches(parts, at + np.array([0, tall * 0.5, 0]), tall, trunk)


def branches(parts: Parts, at: Array, tall: float, wear: Material) -> None:
    rng = parts.rng
    n = int(rng.integers(5, 16))
    start = at + np.stack([np.zeros(n), rng.uniform(-0.15, 0.2, n) * tall, np.zeros(n)], 1)
    end = start + rng.normal(size=(n, 3)) * tall * 0.22 + [0, tall * 0.12, 0]
    twig = np.repeat(end, 2, 0) + rng.normal(size=(2 * n, 3)) * tall * 0.12
    parts.bar(start, end, tall * 0.009, wear)
    parts.bar(np.repeat(end, 2, 0), twig, tall * 0.004, wear)


def hanging_branch(parts: Parts, at: Array, size: float) -> None:
    """A twig with leaves that comes in from above."""
    rng = parts.rng
    start = at + np.array([rng.normal(0, size), size * 2, rng.normal(0, size * 0.5)])
    parts.bar(start, at, size * 0.03, parts.material(natural=True))
    n = int(rng.integers(5, 25))
    along = start + (at - start) * rng.random((n, 1)) + rng.normal(size=(n, 3)) * size * 0.25
    half = size * rng.uniform(0.12, 0.35) * np.array([1, 0.06, 0.5]) * rng.uniform(0.6, 1.3, (n, 1))
    parts.add(ELLIPSOID, along, half, parts.tumble(n), parts.material(natural=True), vary=0.3)


def lean(parts: Parts, at: Array, size: float) -> None:
    """A post, a bar or a panel that crosses the view."""
    rng = parts.rng
    if rng.random() < 0.6:
        way = rng.normal(size=3) * np.array([1, 1, 0.3])
        way *= rng.uniform(1, 5) * size / np.linalg.norm(way)
        parts.bar(at - way, at + way, size * rng.uniform(0.02, 0.25), parts.material(), square=bool(rng.random() < 0.5))
    else:
        parts.add(BOX, at, size * rng.uniform(0.05, 1, 3), parts.tumble()[0], parts.material())


def thing(parts: Parts, at: Array, size: float) -> None:
    """A small object that stands on `at`: a box, ball, jar, bottle or cone."""
    rng = parts.rng
    wear, half = parts.material(), size * rng.uniform(0.3, 1, 3)
    turned, style = parts.turn(rng.uniform(0, 6)), rng.integers(6)
    if style <= 1:
        parts.add(BOX, at + [0, half[1], 0], half, turned, wear)
    elif style == 2:
        parts.add(ELLIPSOID, at + [0, half[1], 0], half, turned, wear)
    elif style == 3:
        parts.add(
            FRUSTUM,
            at + [0, half[1], 0],
            half[[0, 1, 0]],
            np.diag([1.0, rng.choice([-1, 1]), 1]),
            wear,
            taper=rng.choice([0, 0.3, 1]),
        )
    elif style == 4:
        parts.add(FRUSTUM, at + [0, size * 0.6, 0], size * np.array([0.3, 0.6, 0.3]), turned, wear)
        parts.add(FRUSTUM, at + [0, size * 1.35, 0], size * np.array([0.3, 0.15, 0.3]), turned, wear, taper=0.65)
        parts.add(FRUSTUM, at + [0, size * 1.6, 0], size * np.array([0.1, 0.15, 0.1]), turned, wear)
    else:
        ring(parts, at + [0, size, 0], size)


def ring(parts: Parts, centre: Array, radius: float) -> None:
    """A wheel or hoop of straight pieces, with spokes now and then."""
    rng = parts.rng
    n = int(rng.integers(10, 20))
    angle = np.linspace(0, 2 * np.pi, n + 1)
    circle = radius * np.stack([np.cos(angle), np.sin(angle), np.zeros(n + 1)], 1)
    rim = centre + circle @ (parts.turn(rng.uniform(0, 6)) if rng.random() < 0.7 else parts.tumble()[0]).T
    wear = parts.material()
    parts.bar(rim[:-1], rim[1:], radius * rng.uniform(0.03, 0.2), wear)
    if rng.random() < 0.6:
        every = rim[: n : rng.integers(1, 4)]
        parts.bar(np.broadcast_to(centre, every.shape), every, radius * rng.uniform(0.01, 0.05), wear)


def lamp(parts: Parts, at: Array, ceiling: float) -> None:
    """A shade on a wire from the ceiling, or on a stand."""
    rng = parts.rng
    low = at[1] + (ceiling - at[1]) * rng.uniform(0.45, 0.85)
    end = np.array([at[0], low, at[2]])
    wide = rng.uniform(0.08, 0.3)
    parts.bar(
        np.array([at[0], ceiling if rng.random() < 0.7 else at[1], at[2]]),
        end,
        rng.uniform(0.004, 0.015),
        parts.material(),
    )
    shade = parts.material(glow=rng.choice([0, rng.uniform(0.5, 4)]))
    if rng.random() < 0.5:
        parts.add(ELLIPSOID, end, wide * np.array([1, rng.uniform(0.5, 1), 1]), IDENTITY, shade)
    else:
        parts.add(FRUSTUM, end, wide * np.array([1, 0.7, 1]), IDENTITY, shade, taper=rng.uniform(0.2, 0.8))


def column(parts: Parts, at: Array, ceiling: float) -> None:
    rng = parts.rng
    tall, wide = max(ceiling - at[1], 1.0), rng.uniform(0.1, 0.4)
    middle = at + [0, tall / 2, 0]
    half = np.array([wide, tall / 2, wide])
    parts.add(int(rng.choice([BOX, FRUSTUM])), middle, half, parts.turn(rng.uniform(0, 6)), parts.material(), taper=0.1)


def stairs(parts: Parts, at: Array, _ceiling: float) -> None:
    rng = parts.rng
    n, wide = int(rng.integers(3, 10)), rng.uniform(0.4, 1.5)
    turned, wear = parts.turn(rng.uniform(0, 6)), parts.material()
    rise, run = rng.uniform(0.12, 0.2), rng.uniform(0.2, 0.35)
    k = np.arange(n)
    places = np.stack([np.zeros(n), (k + 1) * rise / 2, k * run], 1)
    sizes = np.stack([np.full(n, wide), (k + 1) * rise / 2, np.full(n, run / 2)], 1)
    parts.add(BOX, at + places @ turned.T, sizes, turned, wear)


def fence(parts: Parts, at: Array, _size: float) -> None:
    """Upright bars between two rails; a railing, a picket fence, a balustrade."""
    rng = parts.rng
    n, gap, tall = int(rng.integers(5, 28)), rng.uniform(0.08, 0.4), rng.uniform(0.5, 1.5)
    turned, wear, thick = parts.turn(rng.normal(0, 0.9)), parts.material(), rng.uniform(0.008, 0.05)
    feet = at + np.stack([(np.arange(n) - n / 2) * gap, np.zeros(n), np.zeros(n)], 1) @ turned.T
    square = bool(rng.random() < 0.5)
    parts.bar(feet, feet + [0, tall, 0], thick, wear, square)
    for level in (tall * rng.uniform(0.1, 0.3), tall * rng.uniform(0.85, 1)):
        parts.bar(feet[0] + [0, level, 0], feet[-1] + [0, level, 0], thick * 1.2, wear, square)


def wires(parts: Parts, side: float, eye: float) -> None:
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


def post(parts: Parts, at: Array, _size: float) -> None:
    """A pole with a sign or a lamp."""
    rng = parts.rng
    tall = rng.uniform(1.5, 6)
    parts.bar(at, at + [0, tall, 0], rng.uniform(0.02, 0.12), parts.material())
    half = np.array([rng.uniform(0.1, 0.8), rng.uniform(0.1, 0.5), 0.02])
    parts.add(BOX, at + [0, tall, 0.02], half, parts.turn(rng.normal(0, 0.5)), parts.material())


def car(parts: Parts, at: Array, _size: float) -> None:
    rng = parts.rng
    turned, paint = parts.turn(rng.uniform(0, 6)), parts.material()
    body = np.array([rng.uniform(0.75, 0.95), rng.uniform(0.25, 0.4), rng.uniform(1.5, 2.4)])
    parts.add(BOX, at + [0, 0.3 + body[1], 0], body, turned, paint)
    cabin = body * np.array([0.9, 0.8, rng.uniform(0.4, 0.7)])
    parts.add(
        BOX, at + [0, 0.3 + 2 * body[1] + cabin[1], 0], cabin, turned, parts.material() if rng.random() < 0.6 else paint
    )
    tyres = parts.material()
    tyres["colours"] *= 0.2
    spots = np.array([[sx * body[0], 0.32, sz * body[2] * 0.62] for sx in (-1, 1) for sz in (-1, 1)])
    sideways = turned @ np.array([[0, 1, 0], [1, 0, 0], [0, 0, -1.0]])
    parts.add(FRUSTUM, at + spots @ turned.T, np.array([0.32, 0.1, 0.32]), sideways, tyres)


def rock(parts: Parts, at: Array, size: float) -> None:
    rng = parts.rng
    n = int(rng.integers(1, 4))
    wear = parts.material(natural=True)
    spread = size * 0.1
    parts.add(
        ELLIPSOID,
        at + rng.normal(size=(n, 3)) * [spread, 0, spread],
        size * rng.uniform(0.03, 0.15, (n, 3)),
        parts.tumble(n),
        wear,
        vary=0.1,
    )


def house(parts: Parts, at: Array, size: float) -> None:
    rng = parts.rng
    half = size * rng.uniform(0.25, 0.8, 3)
    turned = parts.turn(rng.uniform(0, 6))
    parts.add(BOX, at + [0, half[1], 0], half, turned, parts.material(large=True))
    if rng.random() < 0.5:
        roof = np.array([half[0] * 1.5, half[1] * 0.5, half[2] * 1.5])
        parts.add(FRUSTUM, at + [0, 2 * half[1] + roof[1], 0], roof, turned, parts.material(), taper=0.95)


def grass(parts: Parts, at: Array, size: float) -> None:
    blades(parts, at, size * parts.rng.uniform(0.05, 0.15))


def stack_of_things(parts: Parts, at: Array, size: float) -> None:
    """Boxes piled up a little askew."""
    rng = parts.rng
    level = 0.0
    for _ in range(rng.integers(2, 7)):
        half = size * np.array([rng.uniform(0.4, 1), rng.uniform(0.05, 0.35), rng.uniform(0.4, 1)])
        parts.add(
            BOX,
            at + [rng.normal(0, 0.1) * size, level + half[1], 0],
            half,
            parts.turn(rng.normal(0, 0.3)),
            parts.material(),
        )
        level += 2 * half[1]


def flowers(parts: Parts, at: Array, size: float) -> None:
    blades(parts, at, size * 2)
    foliage(parts, at + [0, size * 1.5, 0], size)


def figurine(parts: Parts, at: Array, size: float) -> None:
    """A heap of rounded shapes: an animal, a toy, a bag."""
    rng = parts.rng
    n = int(rng.integers(3, 10))
    spot = (
        np.abs(rng.normal(size=(n, 3)))
        * size
        * np.array([0.5, 0.6, 0.5])
        * np.where(rng.random((n, 3)) < 0.5, 1, [-1, 1, -1])
    )
    parts.material()
    parts.add(ELLIPSOID, at + spot, size * rng.uniform(0.15, 0.6, (n, 3)), parts.tumble(n), vary=0.1)


def scatter_on_floor(parts: Parts, places: Array, size: float) -> None:
    """Pebbles and tufts at the places [n, 3]."""
    if not len(places):
        return
    n = len(places)
    parts.material(natural=True)
    parts.add(ELLIPSOID, places, size * parts.rng.uniform(0.1, 1, (n, 3)), parts.tumble(n), vary=0.4)


Maker = Callable[[Parts, Array, float], None]


def standing(make: Callable[[Parts, Array, float], None], size: float) -> Maker:
    return lambda parts, at, _limit: make(parts, at, size)


FURNITURE: tuple[Maker, ...] = (
    table, table, chair, chair, shelf, shelf, cupboard, cupboard, sofa, person, person, plant, plant, lamp, lamp,
    column, stairs, standing(thing, 0.3), standing(stack_of_things, 0.3), standing(figurine, 0.4), standing(ring, 0.4),
)  # fmt: skip
OUTDOORS: tuple[Maker, ...] = (
    tree, tree, tree, bush, bush, rock, person, person, person, fence, post, post, car, house, grass, grass, stairs,
    standing(thing, 0.5), standing(figurine, 0.5),
)  # fmt: skip
SMALL: tuple[Maker, ...] = (
    thing, thing, thing, stack_of_things, figurine, figurine, flowers, foliage, ring, blades, lean, fence,
)  # fmt: skip
