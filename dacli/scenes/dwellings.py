"""Rooms as people live in them, which tell what a metre is: doors, windows, ceilings and furniture have usual sizes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dacli.scenes.furniture import FURNITURE
from dacli.scenes.layouts import Layout, finish_layout, random_camera, random_lights
from dacli.scenes.parts import Array, Material, Parts, rotation_about_y, upwards
from dacli.scenes.raycast import BOX, ROOM

EYE_HEIGHT = 1.5  # metres from the floor to the eyes of who stands there
DOOR_CLEARANCE = 1.5  # metres about the viewer in which nothing stands
WALL_DIRECTIONS = np.array([[0, 0, 1], [1, 0, 0], [-1, 0, 0], [0, 0, -1]])  # of a room's walls from its middle


@dataclass(frozen=True)
class RoomWall:
    """The foot of a wall: its middle [3], the unit ways [3] along it and into the room, and how long it is."""

    foot: Array
    along: Array
    inward: Array
    length: float

    def put(self, parts: Parts, at: float, low: float, size: Sequence[float], wear: Material) -> None:
        """Put a box of some width, height and depth on the wall, `at` metres along it, `low` metres above the floor."""
        half = np.array(size) / 2
        centre = self.foot + at * self.along + upwards(low + half[1]) + half[2] * self.inward
        parts.add(BOX, centre, half, np.stack([self.along, upwards(1), self.inward], 1), wear)

    def place(self, rng: np.random.Generator, width: float) -> float:
        """Return somewhere along the wall where a thing of that width ends before the corners; else the middle."""
        return float(rng.uniform(-0.5, 0.5)) * max(0.0, self.length - width)


def make_dwelling(rng: np.random.Generator) -> Layout:
    """Return a furnished room of usual size and height, seen by who stands near its back wall."""
    parts = Parts(rng)
    width, depth, height = rng.uniform(2.6, 6.5), rng.uniform(3.2, 9), 2.4 + min(0.8, rng.exponential(0.15))
    half = np.array([width, height, depth]) / 2
    turned = rotation_about_y(rng.normal(0, 0.35))
    viewer = np.array([rng.uniform(-0.6, 0.6) * half[0], 0, rng.uniform(0.3, 1.0) - half[2]])
    middle = upwards(half[1]) - turned @ viewer
    add_room_shell(parts, middle, half, turned)
    skirting, high = parts.material(), rng.uniform(0.05, 0.13)
    for wall, which in zip(room_walls(middle, half, turned), rng.permutation(4), strict=True):
        wall.put(parts, 0, 0, (wall.length, high, 0.02), skirting)
        (add_door, add_window, hang_picture, hang_picture)[which](parts, wall)
    furnish_dwelling(parts, middle, half, turned)
    lamp = middle + np.array([rng.uniform(-0.6, 0.6), 0.8, rng.uniform(-0.6, 0.6)]) * half
    lights = random_lights(rng, middle, float(half.max()) * 1.1, lamp, indoor=True)
    return finish_layout(rng, parts, lights, random_camera(rng, EYE_HEIGHT, rng.normal(-0.14, 0.1), 0.03))


def add_room_shell(parts: Parts, middle: Array, half: Array, turned: Array) -> None:
    """Four walls, a floor and a ceiling."""
    parts.add(ROOM, middle, half, turned, parts.material())
    for side in (-1, 1):
        flat = np.array([half[0] + 3, 0.025, half[2] + 3])
        parts.add(BOX, middle + upwards(side * (half[1] + 0.02)), flat, turned, parts.material())


def room_walls(middle: Array, half: Array, turned: Array) -> list[RoomWall]:
    """Return the four walls of a room."""
    found = []
    for out in WALL_DIRECTIONS:
        along = np.array([out[2], 0, -out[0]])
        foot = middle + turned @ (out * half) - upwards(half[1])
        found.append(RoomWall(foot, turned @ along, -(turned @ out), float(2 * np.abs(along) @ half)))
    return found


def add_door(parts: Parts, wall: RoomWall) -> None:
    """A door of usual size in its frame, with a handle at a hand's height."""
    rng = parts.rng
    wide, tall, frame = rng.choice([0.76, 0.81, 0.86, 0.91]), rng.uniform(1.98, 2.1), rng.uniform(0.05, 0.1)
    at = wall.place(rng, wide + 2 * frame)
    wall.put(parts, at, 0, (wide + 2 * frame, tall + frame, 0.03), parts.material())
    wall.put(parts, at, 0, (wide, tall, 0.045), parts.material())
    handle = at + rng.choice([-1, 1]) * (wide / 2 - 0.1)
    wall.put(parts, handle, 1.03, (0.12, 0.025, 0.1), parts.material())


def add_window(parts: Parts, wall: RoomWall) -> None:
    """A bright window of one to three sashes over a sill, as high as the doors."""
    rng = parts.rng
    wide, low, top = min(wall.length, rng.uniform(0.7, 2.2)), rng.uniform(0.75, 1.0), rng.uniform(2.0, 2.2)
    at, sashes = wall.place(rng, wide), int(rng.integers(1, 4))
    wall.put(parts, at, low, (wide, top - low, 0.02), parts.material(glow=rng.uniform(0.5, 3)))
    frame = parts.material()
    for x in np.linspace(-0.5, 0.5, sashes + 1) * (wide - 0.06):
        wall.put(parts, at + x, low, (0.06, top - low, 0.05), frame)
    for y in (low, top - 0.06):
        wall.put(parts, at, y, (wide, 0.06, 0.05), frame)
    wall.put(parts, at, low - 0.03, (wide + 0.1, 0.03, 0.2), frame)


def hang_picture(parts: Parts, wall: RoomWall) -> None:
    """Pictures at the height of the eyes."""
    rng = parts.rng
    for _ in range(rng.integers(1, 4)):
        wide, tall = rng.uniform(0.2, 1.2), rng.uniform(0.2, 0.9)
        wall.put(
            parts,
            wall.place(rng, wide),
            EYE_HEIGHT - tall * rng.uniform(0.3, 0.7),
            (wide, tall, 0.03),
            parts.material(),
        )


def furnish_dwelling(parts: Parts, middle: Array, half: Array, turned: Array) -> None:
    """Furniture, plants and people on the floor, none just before the viewer."""
    rng = parts.rng
    for _ in range(rng.integers(4, 13)):
        make = FURNITURE[rng.integers(len(FURNITURE))]
        at = middle + turned @ (np.array([rng.uniform(-0.85, 0.85), 0, rng.uniform(-0.9, 0.9)]) * half)
        at[1] = middle[1] - half[1]
        if np.hypot(at[0], at[2]) > DOOR_CLEARANCE:
            make(parts, at, middle[1] + half[1])
