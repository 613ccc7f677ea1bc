"""Random counts, places on the ground, cameras and lights of scenes."""

import numpy as np

from dacli.scenes.parts import Array


def random_count(rng: np.random.Generator, low: int, high: int) -> int:
    """Return a number from low to high - 1, or in half of the cases a third of it: sparse scenes are clearer."""
    return max(1, int(rng.integers(low, high)) // int(rng.choice([1, 3])))


def random_camera(rng: np.random.Generator, height: float, pitch: float, roll: float = 0.06) -> tuple[Array, Array]:
    """Return the position [3] and rotation [3, 3] (columns right, down, forward) of a camera; y is up.

    The pitch is in radians, positive upwards; `roll` is the standard deviation of the roll in radians.
    """
    angle = rng.normal(0, roll)
    forward = np.array([0, np.sin(pitch), np.cos(pitch)])
    right, down = np.array([1.0, 0, 0]), np.array([0, -np.cos(pitch), np.sin(pitch)])
    c, s = np.cos(angle), np.sin(angle)
    return np.array([0, height, 0.0]), np.stack([c * right + s * down, c * down - s * right, forward], 1)


def random_lights(
    rng: np.random.Generator, centre: Array, extent: float, lamp: Array, *, indoor: bool = False
) -> dict[str, Array]:
    """Return the fields of shading.Lights of one scene; indoors the sun is weak and the lamp strong."""
    elevation, azimuth = rng.uniform(0.25, 1.4), rng.uniform(0, 2 * np.pi)
    flat = np.cos(elevation)
    sun = np.array([flat * np.cos(azimuth), np.sin(elevation), flat * np.sin(azimuth)])
    warm = np.array([1, rng.uniform(0.75, 1), rng.uniform(0.5, 1)])
    overcast = rng.random() < 0.3
    strength = (rng.uniform(0, 0.7) if indoor else rng.uniform(0.6, 2.2)) * (0.15 if overcast else 1)
    horizon = rng.uniform(0.5, 1, 3) * rng.uniform(0.5, 1.2)
    zenith = rng.uniform(0.2, 0.9) * (np.array([0.35, 0.55, 1.0]) if rng.random() < 0.7 else rng.uniform(0.3, 1, 3))
    fog = np.exp(rng.uniform(-6.5, -2.5)) if rng.random() < (0.1 if indoor else 0.45) else 1e-5
    cloud = rng.choice([2, 3, 4, 5])
    return {
        "sun": sun,
        "sun_color": strength * warm,
        "lamp": lamp,
        "lamp_color": rng.uniform(0.3, 1.5) * (1.0 if indoor else 0.0) * np.array([1, 0.9, rng.uniform(0.5, 1)]),
        "lamp_reach": np.array(rng.uniform(1, 4)),
        "ambient": rng.uniform(0.15, 0.7) * (1 if not overcast else 1.5) * (0.7 * np.ones(3) + 0.3 * horizon),
        "fog_color": horizon if rng.random() < 0.8 else rng.uniform(0, 1, 3),
        "fog": np.array(fog),
        "sky": np.stack([zenith, horizon]),
        "clouds": np.array([cloud, rng.uniform(0.1, 0.6), rng.uniform(0, 1), rng.choice([0, rng.uniform(0, 1)])]),
        "centre": centre,
        "extent": np.array(extent),
    }


def random_places(rng: np.random.Generator, count: int, near: float, far: float, wide: float = 0.9) -> Array:
    """Return places on the ground [count, 3], uniform in the logarithm of their distance, `near` to `far` metres."""
    z = np.exp(rng.uniform(np.log(near), np.log(far), count))
    return np.stack([rng.uniform(-wide, wide, count) * z, np.zeros(count), z], 1)
