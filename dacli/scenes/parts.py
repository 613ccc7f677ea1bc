"""The solids of a random scene while it is built, their materials, and the shape of a room; NumPy only."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dacli.scenes import textures
from dacli.scenes.raycast import BOX, FRUSTUM

Array = NDArray[Any]
Material = dict[str, Array]  # the rows of raycast.Solids that say how a solid looks: colors, texture, gloss …
IDENTITY = np.eye(3)
EARTH_COLORS = np.array([[0.1, 0.22, 0.05], [0.3, 0.24, 0.14], [0.35, 0.34, 0.32], [0.5, 0.42, 0.28], [0.2, 0.3, 0.1]])


def rotation_about_y(yaw: float) -> Array:
    """Return the rotation [3, 3] by yaw radians about the vertical axis."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def upwards(height: float) -> Array:
    """Return the vector [3] straight up of `height` metres."""
    return np.array([0, height, 0])


@dataclass(frozen=True)
class RoomShape:
    """A room as a rotated box: its middle [3] and half lengths [3] in metres, and its rotation [3, 3]."""

    middle: Array
    half: Array
    rotation: Array

    @property
    def floor(self) -> float:
        """Return the height of the floor in metres."""
        return float(self.middle[1] - self.half[1])

    @property
    def ceiling(self) -> float:
        """Return the height of the ceiling in metres."""
        return float(self.middle[1] + self.half[1])

    def point(self, share: Array) -> Array:
        """Return the point [3] at these shares [3], each from -1 to 1, of the half lengths."""
        return np.asarray(self.middle + self.rotation @ (share * self.half))


class Parts:
    """The solids of one scene, added one group after the other, and the random generator that shapes them."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.rows: list[dict[str, Array]] = []
        self.current_material: Material = {}

    def random_orientations(self, count: int = 1) -> Array:
        """Return random orthonormal matrices [count, 3, 3]: rotations, some of them mirrored."""
        return np.asarray(np.linalg.qr(self.rng.normal(size=(count, 3, 3)))[0])

    def random_color(self, *, natural: bool) -> Array:
        """Return a random color [3]; a natural one is mostly near that of leaves, earth or stone."""
        rng = self.rng
        if natural and rng.random() < 0.75:
            return np.asarray(EARTH_COLORS[rng.integers(5)] * np.exp(rng.normal(0, 0.25, 3)))
        value = rng.beta(1.6, 1.3)
        return np.asarray(value * (1 - rng.beta(1, 1.6) * rng.random(3)))

    def random_material(self, *, natural: bool = False, large: bool = False, emission: float = 0.0) -> Material:
        """Return a random material and make it the current one, the default for solids that are added."""
        rng = self.rng
        first = self.random_color(natural=natural)
        contrast = rng.beta(1, 2)
        second = first + contrast * (self.random_color(natural=natural) - first)
        size = np.exp(rng.uniform(np.log(0.15), np.log(3))) * (4 if large else 1)
        picks = rng.integers(0, textures.texture_count(), 2)
        picks[0] = rng.integers(0, 12) if natural and rng.random() < 0.7 else picks[0]
        self.current_material = {
            "colors": np.stack([first, second, self.random_color(natural=natural)]).clip(0.01, 1) ** 2.2,
            "texture": picks,
            "tile_size": np.array([size, size * np.exp(rng.uniform(-2, 1))]),
            "overlay": np.array(rng.choice([0, rng.uniform(0, 0.6)])),
            "gloss": np.array(rng.choice([0, 0, rng.uniform(0, 0.8)])),
            "emission": np.array(emission),
            "clear": np.array(0.0),
            "bend": np.array(0.0),
        }
        return self.current_material

    def random_glass(self) -> Material:
        """Return a random clear material, of glass or a mirror, and make it the current one."""
        rng, material = self.rng, self.random_material()
        material["clear"] = np.array(rng.uniform(0.5, 0.95))
        material["bend"] = np.array(rng.uniform(-0.6, 0.4))
        material["gloss"] = np.array(rng.uniform(0.3, 1.5))
        return material

    def add(
        self,
        kind: int,
        centre: Array,
        half: Array,
        rotation: Array = IDENTITY,
        material: Material | None = None,
        taper: float | Array = 0.0,
        vary: float = 0.0,
    ) -> None:
        """Add n solids of one kind: centres and half lengths [n, 3] or [3], rotations [n, 3, 3] or [3, 3].

        `taper` is 0 for a cylinder and 1 for a cone; `vary` is the standard deviation of the brightness (log) of each.
        """
        centre = np.atleast_2d(np.asarray(centre, float))
        n = len(centre)
        half = np.broadcast_to(half, (n, 3)).astype(float)
        rotation = np.broadcast_to(rotation, (n, 3, 3))
        linear = rotation.transpose(0, 2, 1) / half[:, :, None]
        offset = -(linear @ centre[:, :, None])
        material = self.current_material if material is None else material
        row = {name: np.broadcast_to(value, (n, *value.shape)).copy() for name, value in material.items()}
        if vary:
            brightness, tint = self.rng.normal(0, vary, (n, 1, 1)), self.rng.normal(0, vary / 3, (n, 1, 3))
            row["colors"] *= np.exp(brightness) * np.exp(tint)
        row |= {"kind": np.full(n, kind), "to_local": np.concatenate([linear, offset], -1), "half": half}
        row["taper"] = np.broadcast_to(np.asarray(taper, float), (n,)).copy()
        self.rows.append(row)

    def add_bars(
        self, start: Array, end: Array, thick: float | Array, material: Material | None = None, *, square: bool = False
    ) -> None:
        """Add straight bars from start to end ([n, 3] or [3]) of half width `thick`; round, or square in section."""
        start, end = np.atleast_2d(start).astype(float), np.atleast_2d(end).astype(float)
        along = end - start
        length = np.linalg.norm(along, axis=1).clip(1e-6)
        axis = along / length[:, None]
        other = np.where(np.abs(axis[:, :1]) > 0.9, [[0.0, 0, 1]], [[1.0, 0, 0]])
        side = np.cross(axis, other)
        side /= np.linalg.norm(side, axis=1, keepdims=True)
        rotation = np.stack([side, axis, np.cross(side, axis)], -1)
        wide = np.broadcast_to(thick, length.shape)
        self.add(
            BOX if square else FRUSTUM, (start + end) / 2, np.stack([wide, length / 2, wide], 1), rotation, material
        )

    def solids(self) -> dict[str, Array]:
        """Return all solids as arrays [n, ...] by field of raycast.Solids."""
        return {name: np.concatenate([r[name] for r in self.rows]) for name in self.rows[0]}
