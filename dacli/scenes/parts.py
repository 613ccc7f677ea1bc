"""The solids of one random scene as they are put in, and the materials they wear; NumPy only."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dacli.scenes import textures
from dacli.scenes.raycast import BOX, FRUSTUM

Array = NDArray[Any]
Material = dict[str, Array]  # rows of raycast.Solids that tell how a solid looks: colours, texture, grain and the like
IDENTITY = np.eye(3)
EARTH_COLOURS = np.array([[0.1, 0.22, 0.05], [0.3, 0.24, 0.14], [0.35, 0.34, 0.32], [0.5, 0.42, 0.28], [0.2, 0.3, 0.1]])


def rotation_about_y(yaw: float) -> Array:
    """Return the rotation [3, 3] by yaw radians about the vertical."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def upwards(height: float) -> Array:
    """Return the way [3] straight up by height metres."""
    return np.array([0, height, 0])


class Parts:
    """The solids of one scene, as they are put in."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.rows: list[dict[str, Array]] = []
        self.last: Material = {}

    def tumble(self, count: int = 1) -> Array:
        """Return random orthonormal frames [count, 3, 3], mirrored ones among them."""
        return np.asarray(np.linalg.qr(self.rng.normal(size=(count, 3, 3)))[0])

    def colour(self, natural: bool) -> Array:
        """Return a random colour [3], near one of leaves, earth or stone if it is to be natural."""
        rng = self.rng
        if natural and rng.random() < 0.75:
            return np.asarray(EARTH_COLOURS[rng.integers(5)] * np.exp(rng.normal(0, 0.25, 3)))
        value = rng.beta(1.6, 1.3)
        return np.asarray(value * (1 - rng.beta(1, 1.6) * rng.random(3)))

    def material(self, natural: bool = False, large: bool = False, glow: float = 0.0) -> Material:
        """Return a random surface; the next solids have it unless another is given."""
        rng = self.rng
        first = self.colour(natural)
        contrast = rng.beta(1, 2)
        second = first + contrast * (self.colour(natural) - first)
        size = np.exp(rng.uniform(np.log(0.15), np.log(3))) * (4 if large else 1)
        picks = rng.integers(0, textures.texture_count(), 2)
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
        self,
        kind: int,
        centre: Array,
        half: Array,
        rotation: Array = IDENTITY,
        wear: Material | None = None,
        taper: float | Array = 0.0,
        vary: float = 0.0,
    ) -> None:
        """Put in n solids of one kind: centres [n, 3] or [3], half lengths likewise, rotations [n, 3, 3] or [3, 3]."""
        centre = np.atleast_2d(np.asarray(centre, float))
        n = len(centre)
        half = np.broadcast_to(half, (n, 3)).astype(float)
        rotation = np.broadcast_to(rotation, (n, 3, 3))
        linear = rotation.transpose(0, 2, 1) / half[:, :, None]
        offset = -(linear @ centre[:, :, None])
        wear = self.last if wear is None else wear
        row = {name: np.broadcast_to(value, (n, *value.shape)).copy() for name, value in wear.items()}
        if vary:
            brightness, tint = self.rng.normal(0, vary, (n, 1, 1)), self.rng.normal(0, vary / 3, (n, 1, 3))
            row["colours"] *= np.exp(brightness) * np.exp(tint)
        row |= {"kind": np.full(n, kind), "to_local": np.concatenate([linear, offset], -1), "half": half}
        row["taper"] = np.broadcast_to(np.asarray(taper, float), (n,)).copy()
        self.rows.append(row)

    def bar(
        self, start: Array, end: Array, thick: float | Array, wear: Material | None = None, square: bool = False
    ) -> None:
        """Put in straight bars from start to end ([n, 3] or [3]), of half width `thick`."""
        start, end = np.atleast_2d(start).astype(float), np.atleast_2d(end).astype(float)
        way = end - start
        length = np.linalg.norm(way, axis=1).clip(1e-6)
        axis = way / length[:, None]
        helper = np.where(np.abs(axis[:, :1]) > 0.9, [[0.0, 0, 1]], [[1.0, 0, 0]])
        side = np.cross(axis, helper)
        side /= np.linalg.norm(side, axis=1, keepdims=True)
        rotation = np.stack([side, axis, np.cross(side, axis)], -1)
        wide = np.broadcast_to(thick, length.shape)
        self.add(BOX if square else FRUSTUM, (start + end) / 2, np.stack([wide, length / 2, wide], 1), rotation, wear)

    def solids(self) -> dict[str, Array]:
        """Return all solids as arrays, one row each."""
        return {name: np.concatenate([r[name] for r in self.rows]) for name in self.rows[0]}
