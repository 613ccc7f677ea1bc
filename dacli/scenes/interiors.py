"""Furnished rooms whose doors, windows, ceilings and furniture have usual sizes, from which a metre can be learned."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dacli.scenes.furniture import place_furniture
from dacli.scenes.layouts import Layout, layout_from_parts
from dacli.scenes.parts import Array, Material, Parts, RoomShape, rotation_about_y, upwards
from dacli.scenes.raycast import BOX, ROOM
from dacli.scenes.sampling import random_camera, random_lights

EYE_HEIGHT = 1.5  # metres from the floor to the camera
VIEWER_CLEARANCE = 1.5  # metres around the camera that are kept free of furniture
WALL_DIRECTIONS = np.array([[0, 0, 1], [1, 0, 0], [-1, 0, 0], [0, 0, -1]])  # of a room's walls from its middle


@dataclass(frozen=True)
class RoomWall:
    """A wall: the middle of its foot [3], unit vectors [3] along it and into the room, and its length in metres."""

    foot: Array
    along: Array
    inward: Array
    length: float

    def add_box(self, parts: Parts, at: float, low: float, size: Sequence[float], material: Material) -> None:
        """Add a box of some width, height and depth to the wall, `at` metres along it, `low` metres above the floor."""
        half = np.array(size) / 2
        centre = self.foot + at * self.along + upwards(low + half[1]) + half[2] * self.inward
        parts.add(BOX, centre, half, np.stack([self.along, upwards(1), self.inward], 1), material)

    def random_position(self, rng: np.random.Generator, width: float) -> float:
        """Return a position along the wall where a thing of that width fits; the middle if the wall is too short."""
        return float(rng.uniform(-0.5, 0.5)) * max(0.0, self.length - width)


def make_interior(rng: np.random.Generator) -> Layout:
    """Return a furnished room of usual size and height, seen at eye height from near its back wall."""
    parts = Parts(rng)
    width, depth, height = rng.uniform(2.6, 6.5), rng.uniform(3.2, 9), 2.4 + min(0.8, rng.exponential(0.15))
    half = np.array([width, height, depth]) / 2
    rotation = rotation_about_y(rng.normal(0, 0.35))
    viewer = np.array([rng.uniform(-0.6, 0.6) * half[0], 0, rng.uniform(0.3, 1.0) - half[2]])
    room = RoomShape(upwards(half[1]) - rotation @ viewer, half, rotation)
    add_room_shell(parts, room)
    skirting, high = parts.random_material(), rng.uniform(0.05, 0.13)
    for wall, which in zip(room_walls(room), rng.permutation(4), strict=True):
        wall.add_box(parts, 0, 0, (wall.length, high, 0.02), skirting)
        (add_door, add_window, add_pictures, add_pictures)[which](parts, wall)
    count = int(rng.integers(4, 13))
    place_furniture(parts, room, count, across=(-0.85, 0.85), along=(-0.9, 0.9), clearance=VIEWER_CLEARANCE)
    lamp = room.middle + np.array([rng.uniform(-0.6, 0.6), 0.8, rng.uniform(-0.6, 0.6)]) * half
    lights = random_lights(rng, room.middle, float(half.max()) * 1.1, lamp, indoor=True)
    return layout_from_parts(rng, parts, lights, random_camera(rng, EYE_HEIGHT, rng.normal(-0.14, 0.1), 0.03))


def add_room_shell(parts: Parts, room: RoomShape) -> None:
    """Add four walls, a floor and a ceiling."""
    half = room.half
    parts.add(ROOM, room.middle, half, room.rotation, parts.random_material())
    for side in (-1, 1):
        flat = np.array([half[0] + 3, 0.025, half[2] + 3])
        parts.add(BOX, room.middle + upwards(side * (half[1] + 0.02)), flat, room.rotation, parts.random_material())


def room_walls(room: RoomShape) -> list[RoomWall]:
    """Return the four walls of a room."""
    walls = []
    for out in WALL_DIRECTIONS:
        along = np.array([out[2], 0, -out[0]])
        foot = room.point(out) - upwards(room.half[1])
        length = float(2 * np.abs(along) @ room.half)
        walls.append(RoomWall(foot, room.rotation @ along, -(room.rotation @ out), length))
    return walls


def add_door(parts: Parts, wall: RoomWall) -> None:
    """Add a door of usual size in its frame, with a handle at hand height."""
    rng = parts.rng
    wide, tall, frame = rng.choice([0.76, 0.81, 0.86, 0.91]), rng.uniform(1.98, 2.1), rng.uniform(0.05, 0.1)
    at = wall.random_position(rng, wide + 2 * frame)
    wall.add_box(parts, at, 0, (wide + 2 * frame, tall + frame, 0.03), parts.random_material())
    wall.add_box(parts, at, 0, (wide, tall, 0.045), parts.random_material())
    handle = at + rng.choice([-1, 1]) * (wide / 2 - 0.1)
    wall.add_box(parts, handle, 1.03, (0.12, 0.025, 0.1), parts.random_material())


def add_window(parts: Parts, wall: RoomWall) -> None:
    """Add a bright window of one to three sashes above a sill, its top as high as that of the doors."""
    rng = parts.rng
    wide, low, top = min(wall.length, rng.uniform(0.7, 2.2)), rng.uniform(0.75, 1.0), rng.uniform(2.0, 2.2)
    at, sashes = wall.random_position(rng, wide), int(rng.integers(1, 4))
    wall.add_box(parts, at, low, (wide, top - low, 0.02), parts.random_material(emission=rng.uniform(0.5, 3)))
    frame = parts.random_material()
    for x in np.linspace(-0.5, 0.5, sashes + 1) * (wide - 0.06):
        wall.add_box(parts, at + x, low, (0.06, top - low, 0.05), frame)
    for y in (low, top - 0.06):
        wall.add_box(parts, at, y, (wide, 0.06, 0.05), frame)
    wall.add_box(parts, at, low - 0.03, (wide + 0.1, 0.03, 0.2), frame)


def add_pictures(parts: Parts, wall: RoomWall) -> None:
    """Add one to three pictures at eye height."""
    rng = parts.rng
    for _ in range(rng.integers(1, 4)):
        wide, tall = rng.uniform(0.2, 1.2), rng.uniform(0.2, 0.9)
        at, low = wall.random_position(rng, wide), EYE_HEIGHT - tall * rng.uniform(0.3, 0.7)
        wall.add_box(parts, at, low, (wide, tall, 0.03), parts.random_material())
