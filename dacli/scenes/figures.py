"""People and animals of rendered scenes."""

import numpy as np

from dacli.scenes.parts import Array, Parts, rotation_about_y
from dacli.scenes.raycast import ELLIPSOID, FRUSTUM


def add_person(parts: Parts, at: Array, _ceiling: float) -> None:
    """Add a standing figure of ellipsoids and bars, 1.2 to 1.9 m tall."""
    rng = parts.rng
    tall = rng.uniform(1.2, 1.9)
    rotation = rotation_about_y(rng.uniform(0, 6))
    stride, swing = rng.normal(0, 0.12, 2), rng.normal(0, 0.25, 2)

    def put(x: float, y: float, z: float) -> Array:
        return np.asarray(at + tall * (rotation @ np.array([x, y, z])))

    hips = [put(s * 0.05, 0.5, 0) for s in (-1, 1)]
    trousers = parts.random_material()
    for hip, s, step in zip(hips, (-1, 1), stride, strict=True):
        parts.add_bars(hip, put(s * 0.06, 0, step), tall * 0.043, trousers)
    shirt = parts.random_material()
    parts.add(ELLIPSOID, put(0, 0.66, 0), tall * np.array([0.105, 0.2, 0.07]), rotation, shirt)
    for s, reach in zip((-1, 1), swing, strict=True):
        hand = put(s * rng.uniform(0.12, 0.25), 0.48 + abs(reach) / 3, reach)
        parts.add_bars(put(s * 0.11, 0.79, 0), hand, tall * 0.026, shirt)
    skin = parts.random_material()
    skin["colors"][:2] = np.array([0.7, 0.48, 0.36]) * rng.uniform(0.2, 1.1)
    parts.add(ELLIPSOID, put(0, 0.925, 0), tall * np.array([0.047, 0.068, 0.055]), rotation, skin)
    if rng.random() < 0.7:
        hair = parts.random_material()
        parts.add(ELLIPSOID, put(0, 0.945, 0.012), tall * np.array([0.052, 0.064, 0.056]), rotation, hair)


def add_crowd(parts: Parts, at: Array, size: float) -> None:
    """Add 3 to 9 people who stand within `size` metres of each other."""
    rng = parts.rng
    for _ in range(rng.integers(3, 10)):
        add_person(parts, at + np.array([rng.normal(0, 0.5), 0, rng.normal(0, 0.5)]) * size, 3.0)


def add_animal(parts: Parts, at: Array, size: float) -> None:
    """Add an animal on four legs, up to `size` metres high at the shoulder, with a head, a tail and often ears."""
    rng = parts.rng
    tall = size * rng.uniform(0.5, 1)
    thick, long = tall * rng.uniform(0.16, 0.36), tall * rng.uniform(0.45, 0.95)
    rotation, fur = rotation_about_y(rng.uniform(0, 6)), parts.random_material(natural=bool(rng.random() < 0.6))

    def put(points: list[list[float]]) -> Array:
        return np.asarray(at + np.array(points) @ rotation.T)

    back = tall - thick
    parts.add(ELLIPSOID, put([[0, back, 0]]), np.array([thick * 0.8, thick, long]), rotation, fur)
    spots = [(x * thick * 0.5, z * long) for x in (-1, 1) for z in (-0.75, 0.75)]
    steps = rng.normal(0, 0.12, 4) * long
    hips = put([[x, back, z] for x, z in spots])
    feet = put([[x, 0, z + step] for (x, z), step in zip(spots, steps, strict=True)])
    parts.add_bars(feet, hips, tall * rng.uniform(0.03, 0.08), fur)
    turn, high = rng.normal(0, 0.3) * long, back + rng.uniform(-0.4, 0.9) * long
    head = put([[turn, high, long * 1.2]])
    parts.add_bars(put([[0, back + thick * 0.2, long * 0.8]]), head, thick * rng.uniform(0.3, 0.6), fur)
    parts.add(ELLIPSOID, head, thick * np.array([0.5, 0.5, 0.75]) * rng.uniform(0.8, 1.3), rotation, fur)
    if rng.random() < 0.7:
        ears = put([[turn + s * thick * 0.35, high + thick * 0.6, long * 1.15] for s in (-1, 1)])
        parts.add(FRUSTUM, ears, thick * np.array([0.2, rng.uniform(0.2, 0.6), 0.1]), rotation, fur, taper=0.9)
    tail = put([[rng.normal(0, 0.3) * long, back + rng.uniform(-0.7, 0.9) * long, -long * 1.5]])
    parts.add_bars(put([[0, back, -long * 0.9]]), tail, tall * rng.uniform(0.015, 0.05), fur)


def add_bird(parts: Parts, at: Array, size: float) -> None:
    """Add a bird around `at`: with wings spread in half of the cases, otherwise with its wings closed."""
    rng = parts.rng
    rotation, feathers = rotation_about_y(rng.uniform(0, 6)), parts.random_material()
    length = size * rng.uniform(0.15, 0.4)
    parts.add(ELLIPSOID, at, length * np.array([0.4, 0.42, 1]), rotation, feathers)
    head = at + rotation @ (length * np.array([0, 0.45, 0.85]))
    parts.add(ELLIPSOID, head, np.full(3, length * 0.28), rotation, feathers)
    parts.add_bars(head, head + rotation @ (length * np.array([0, -0.05, 0.6])), length * 0.05, parts.random_material())
    wings = parts.random_material()
    spread = rng.random() < 0.5
    reach = length * (rng.uniform(0.8, 1.3) if spread else 0.35)
    lift = rng.uniform(-0.3, 0.5) * reach if spread else 0.0
    places = at + np.array([[s * reach, lift + length * 0.1, 0] for s in (-1, 1)]) @ rotation.T
    half = length * (np.array([reach / length, 0.06, 0.4]) if spread else np.array([0.1, 0.35, 0.8]))
    parts.add(ELLIPSOID, places, half, rotation, wings)
    parts.add_bars(at, at + rotation @ (length * np.array([0, 0.05, -1.7])), length * 0.12, wings)
