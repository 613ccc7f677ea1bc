"""Random scenes of every kind, from rooms and streets to close-ups, crowds and views from above and below."""

from collections.abc import Callable, Collection

import numpy as np

from dacli.scenes.figures import add_animal, add_bird, add_person
from dacli.scenes.furniture import OUTDOOR_OBJECTS, SMALL_OBJECTS, place_furniture
from dacli.scenes.layouts import Layout, layout_from_parts
from dacli.scenes.objects import add_bridge, add_frame, add_hand, add_occluder, add_post, add_wires
from dacli.scenes.parts import Array, Parts, RoomShape, rotation_about_y, upwards
from dacli.scenes.plants import add_foliage, add_hanging_branch, add_tree, scatter_pebbles
from dacli.scenes.raycast import BOX, ELLIPSOID, ROOM
from dacli.scenes.sampling import random_camera, random_count, random_lights, random_places


def make_room(rng: np.random.Generator) -> Layout:
    """Return a furnished room of any size, seen from near its back wall."""
    width, depth, height = rng.uniform(2.5, 9), rng.uniform(3, 14), rng.uniform(2.2, 4.5)
    parts = Parts(rng)
    eye = rng.uniform(0.5, min(2.2, height - 0.3))
    middle = np.array([rng.uniform(-0.3, 0.3) * width, height / 2, depth / 2 - rng.uniform(0.3, 1.5)])
    half = np.array([width, height, depth]) / 2
    room = RoomShape(middle, half, rotation_about_y(rng.normal(0, 0.35)))
    parts.random_material()
    parts.add(ROOM, middle, half, room.rotation)
    floor = parts.random_material()
    parts.add(BOX, middle - [0, half[1] + 0.02, 0], np.array([half[0] + 3, 0.025, half[2] + 3]), room.rotation, floor)
    add_wall_pieces(parts, room)
    place_furniture(parts, room, random_count(rng, 3, 14))
    if rng.random() < 0.15:
        add_mirror(parts, room)
    if rng.random() < 0.2:
        add_foreground(rng, parts, eye)
    lamp = middle + np.array([rng.uniform(-0.6, 0.6), 0.8, rng.uniform(-0.6, 0.6)]) * half
    lights = random_lights(rng, middle, float(half.max()) * 1.1, lamp, indoor=True)
    return layout_from_parts(rng, parts, lights, random_camera(rng, eye, rng.normal(-0.12, 0.16)))


def add_wall_pieces(parts: Parts, room: RoomShape) -> None:
    """Add windows, doors, pictures and shelves flat on the walls, and sometimes beams under the ceiling."""
    rng, half = parts.rng, room.half
    for _ in range(rng.integers(1, 7)):
        side = rng.integers(0, 3)
        normal, along = (2, 0) if side == 0 else (0, 2)
        sign = 1 if side < 2 else -1
        size = np.array([0.0, rng.uniform(0.2, 1.0), 0.0])
        size[along], size[normal] = rng.uniform(0.2, 1.1), rng.uniform(0.01, 0.25) ** 1.5 + 0.01
        at = np.array([0.0, rng.uniform(-0.6, 0.7) * half[1], 0.0])
        at[along], at[normal] = rng.uniform(-0.8, 0.8) * half[along], sign * (half[normal] - size[normal])
        emission = rng.uniform(0.5, 3) if rng.random() < 0.3 else 0
        material = parts.random_material(emission=emission)
        parts.add(BOX, room.middle + room.rotation @ at, size, room.rotation, material)
    if rng.random() < 0.2:
        beam = parts.random_material()
        for z in np.linspace(-0.8, 0.8, rng.integers(3, 7)):
            at = room.middle + room.rotation @ np.array([0, half[1] - 0.1, z * half[2]])
            parts.add(BOX, at, np.array([half[0], 0.12, rng.uniform(0.06, 0.15)]), room.rotation, beam)


def add_mirror(parts: Parts, room: RoomShape) -> None:
    """Add a mirror flat on the far wall or on a wall at a side."""
    rng, side = parts.rng, int(parts.rng.integers(3))
    at, size = np.zeros(3), np.array([0.0, rng.uniform(0.3, 0.9), 0.0])
    normal, along = (2, 0) if side == 0 else (0, 2)
    size[normal], size[along] = 0.02, rng.uniform(0.3, 1)
    at[along] = rng.uniform(-0.6, 0.6) * room.half[along]
    at[normal] = (1 if side < 2 else -1) * (room.half[normal] - 0.02)
    at[1] = rng.uniform(-0.2, 0.3) * room.half[1]
    parts.add(BOX, room.middle + room.rotation @ at, size, room.rotation, parts.random_glass())


def add_ground(rng: np.random.Generator, parts: Parts, relief: float) -> None:
    """Add an endless floor at y = 0, with hills if relief > 0."""
    parts.add(BOX, np.array([0, -1.0, 0]), np.array([3000, 1.0, 3000]), np.eye(3), parts.random_material(natural=True))
    for _ in range(rng.integers(0, 7) if relief else 0):
        far = np.exp(rng.uniform(np.log(8), np.log(300)))
        size = far * rng.uniform(0.15, 0.7)
        at = np.array([rng.uniform(-1, 1) * far, 0, far])
        parts.add(
            ELLIPSOID,
            at,
            size * np.array([1, relief * rng.uniform(0.1, 0.8), 1]),
            np.eye(3),
            parts.random_material(natural=True),
        )


def scatter_outdoor_objects(parts: Parts, places: Array) -> None:
    """Add a random outdoor object, 3 to 12 m in size where it has no size of its own, at each of the places [n, 3]."""
    for at in places:
        OUTDOOR_OBJECTS[parts.rng.integers(len(OUTDOOR_OBJECTS))](parts, at, parts.rng.uniform(3, 12))


def add_foreground(rng: np.random.Generator, parts: Parts, eye: float) -> None:
    """Add leaves, a branch, a bar or a hand close to the camera, often high in the picture or cut by its border."""
    z = rng.uniform(0.8, 2.4)
    at = np.array([rng.uniform(-0.7, 0.7) * z, eye + rng.uniform(-0.6, 0.7) * z, z])
    make = (add_foliage, add_hanging_branch, add_occluder, add_hand)[rng.integers(4)]
    make(parts, at, rng.uniform(0.1, 0.45) * z)


def make_street(rng: np.random.Generator) -> Layout:
    """Return house fronts on one or both sides of a road, with people, cars, trees and posts."""
    parts = Parts(rng)
    eye, side = rng.uniform(1.0, 3.5), rng.uniform(2.5, 12)
    add_ground(rng, parts, 0.0)
    rotation = rotation_about_y(rng.normal(0, 0.25))
    for sign in (-1, 1) if rng.random() < 0.75 else (1,):
        z = rng.uniform(-6, 4)
        while z < 90:
            length, tall, deep = rng.uniform(4, 18), rng.uniform(3, 22), rng.uniform(3, 8)
            at = np.array([sign * (side + deep + rng.uniform(0, 1.5)), tall / 2, z + length / 2])
            half = np.array([deep, tall / 2, length / 2 - rng.choice([0, 0.6])])
            parts.add(BOX, rotation @ at, half, rotation, parts.random_material(large=True))
            z += length
    for at in random_places(rng, random_count(rng, 5, 22), 2, 50, side / 8):
        OUTDOOR_OBJECTS[rng.integers(len(OUTDOOR_OBJECTS))](parts, rotation @ at, 8.0)
    if rng.random() < 0.4:
        add_wires(parts, side, eye)
    if rng.random() < 0.2:
        add_foreground(rng, parts, eye)
    lights = random_lights(rng, np.array([0, 2, 14.0]), 20, np.zeros(3))
    return layout_from_parts(rng, parts, lights, random_camera(rng, eye, rng.normal(0.03, 0.14)))


def make_landscape(rng: np.random.Generator) -> Layout:
    """Return open land with hills, trees, rocks, people and fences."""
    parts = Parts(rng)
    eye = rng.uniform(0.4, 3)
    add_ground(rng, parts, rng.uniform(0.2, 1))
    scatter_outdoor_objects(parts, random_places(rng, random_count(rng, 6, 26), 1.6, 120))
    scatter_pebbles(parts, random_places(rng, int(rng.integers(0, 50)), 0.7, 15), 0.12)
    if rng.random() < 0.3:
        add_foreground(rng, parts, eye)
    lights = random_lights(rng, np.array([0, 1.5, 9.0]), 14, np.zeros(3))
    return layout_from_parts(rng, parts, lights, random_camera(rng, eye, rng.normal(-0.02, 0.13)))


def make_close_up(rng: np.random.Generator) -> Layout:
    """Return a few small things seen from close by, often in front of a wall."""
    parts = Parts(rng)
    eye = rng.uniform(0.15, 0.9)
    add_ground(rng, parts, 0.0)
    if rng.random() < 0.6:
        back = rotation_about_y(rng.normal(0, 0.5))
        at = np.array([0, 1.0, rng.uniform(1.5, 9)])
        parts.add(BOX, at, np.array([6, rng.uniform(0.3, 4), 0.1]), back, parts.random_material())
    for at in random_places(rng, random_count(rng, 2, 12), 0.5, 3.0, 0.5):
        SMALL_OBJECTS[rng.integers(len(SMALL_OBJECTS))](parts, at, rng.uniform(0.1, 0.35))
    if rng.random() < 0.25:
        add_foreground(rng, parts, eye)
    indoor = rng.random() < 0.6
    lights = random_lights(
        rng, np.array([0, 0.4, 1.6]), 2.6, np.array([rng.normal(), 2.2, 1 + rng.normal()]), indoor=bool(indoor)
    )
    return layout_from_parts(rng, parts, lights, random_camera(rng, eye, rng.normal(-0.22, 0.25), 0.12))


def make_near_and_far(rng: np.random.Generator) -> Layout:
    """Return a few near things anywhere in the picture, also high in it, before a far background.

    Nothing in the picture's rows tells near from far: things hang, are held into the picture or are seen from below.
    """
    parts = Parts(rng)
    eye = rng.uniform(0.8, 3)
    add_ground(rng, parts, rng.uniform(0, 1))
    if rng.random() < 0.35:
        wall = rotation_about_y(rng.normal(0, 0.5))
        at = np.array([0, 3.0, rng.uniform(3, 12)])
        parts.add(BOX, at, np.array([30, rng.uniform(3, 12), 0.1]), wall, parts.random_material(large=True))
    else:
        scatter_outdoor_objects(parts, random_places(rng, random_count(rng, 6, 26), 6, 120))
    pitch = rng.normal(0.12, 0.35)
    for at in random_places(rng, random_count(rng, 2, 9), 0.7, 4.0, 0.6):
        distance = at[2]
        at[1] = eye + distance * (np.tan(pitch) + rng.uniform(-0.55, 0.45))
        if rng.random() < 0.6:
            SMALL_OBJECTS[rng.integers(len(SMALL_OBJECTS))](parts, at, rng.uniform(0.08, 0.3) * distance)
        else:
            make = (add_foliage, add_hanging_branch, add_occluder)[rng.integers(3)]
            make(parts, at, rng.uniform(0.1, 0.5) * distance)
    indoor = bool(rng.random() < 0.3)
    lights = random_lights(rng, np.array([0, eye, 4.0]), 8, np.array([rng.normal(), eye + 1.5, 1.0]), indoor=indoor)
    return layout_from_parts(rng, parts, lights, random_camera(rng, eye, pitch, 0.15))


def make_view_upwards(rng: np.random.Generator) -> Layout:
    """Return house fronts, trees, lamps, wires and birds seen from below, before the sky."""
    parts = Parts(rng)
    eye, pitch = rng.uniform(0.3, 2), rng.uniform(0.35, 1.3)
    add_ground(rng, parts, 0.0)
    for at in random_places(rng, random_count(rng, 0, 7), 4, 40, 1.5):
        half = np.array([rng.uniform(2, 8), rng.uniform(4, 25), rng.uniform(2, 8)])
        yaw = rotation_about_y(rng.uniform(0, 6))
        parts.add(BOX, at + np.array([0, half[1], half.max()]), half, yaw, parts.random_material(large=True))
    for at in random_places(rng, random_count(rng, 2, 12), 1.5, 15):
        (add_tree, add_tree, add_post)[rng.integers(3)](parts, at, rng.uniform(4, 14))
    for at in random_places(rng, int(rng.integers(0, 6)), 3, 40):
        add_bird(parts, at + upwards(eye + np.tan(pitch + rng.normal(0, 0.25)) * at[2]), rng.uniform(0.5, 2))
    if rng.random() < 0.4:
        add_wires(parts, 5, eye)
    if rng.random() < 0.5:
        z = rng.uniform(0.8, 3)
        add_hanging_branch(parts, np.array([rng.uniform(-0.5, 0.5) * z, eye + np.tan(pitch) * z, z]), 0.3 * z)
    lights = random_lights(rng, np.array([0, 6, 8.0]), 14, np.zeros(3))
    return layout_from_parts(rng, parts, lights, random_camera(rng, eye, pitch, 0.2))


def make_view_through_frame(rng: np.random.Generator) -> Layout:
    """Return open land seen through an arch, a gate, a window or below a bridge, which surrounds what is far."""
    parts = Parts(rng)
    eye = rng.uniform(0.8, 2)
    add_ground(rng, parts, rng.uniform(0, 1))
    scatter_outdoor_objects(parts, random_places(rng, random_count(rng, 5, 22), 5, 100))
    z = rng.uniform(1.2, 5)
    if rng.random() < 0.65:
        at = np.array([rng.normal(0, 0.15) * z, rng.choice([0, eye - 0.5 * z]), z])
        add_frame(parts, at, rng.uniform(0.5, 1.2) * z)
    else:
        add_bridge(parts, np.array([0, 0, 2 * z]), eye + rng.uniform(0.1, 0.5) * 2 * z)
    if rng.random() < 0.3:
        add_foreground(rng, parts, eye)
    lights = random_lights(rng, np.array([0, 1.5, 6.0]), 12, np.zeros(3))
    return layout_from_parts(rng, parts, lights, random_camera(rng, eye, rng.normal(0.05, 0.12)))


def make_gathering(rng: np.random.Generator) -> Layout:
    """Return people and animals from close up to far away, at the height of their eyes or of a child's."""
    parts = Parts(rng)
    eye = rng.uniform(0.5, 1.8)
    add_ground(rng, parts, rng.uniform(0, 0.5))
    scatter_outdoor_objects(parts, random_places(rng, random_count(rng, 4, 16), 6, 100))
    if rng.random() < 0.3:
        at, back = np.array([0, 2.0, rng.uniform(3, 10)]), rotation_about_y(rng.normal(0, 0.4))
        parts.add(BOX, at, np.array([20, rng.uniform(1, 6), 0.1]), back, parts.random_material(large=True))
    for at in random_places(rng, random_count(rng, 3, 24), 1.2, 25, 0.7):
        if rng.random() < 0.75:
            add_person(parts, at, 3.0)
        else:
            add_animal(parts, at, rng.uniform(0.3, 1.6))
    if rng.random() < 0.5:  # a portrait: one of them fills the picture
        z = rng.uniform(0.7, 1.6)
        add_person(parts, np.array([rng.normal(0, 0.15) * z, min(0.0, eye - 1.5), z]), 3.0)
    lights = random_lights(rng, np.array([0, 1.0, 5.0]), 9, np.array([0, 2.5, 2.0]), indoor=bool(rng.random() < 0.3))
    return layout_from_parts(rng, parts, lights, random_camera(rng, eye, rng.normal(-0.03, 0.15)))


def make_view_from_above(rng: np.random.Generator) -> Layout:
    """Return things on the ground seen from above, from the height of a table to that of a drone."""
    parts = Parts(rng)
    add_ground(rng, parts, 0.0)
    eye = float(np.exp(rng.uniform(np.log(0.8), np.log(40))))
    pitch = rng.uniform(-1.4, -0.45)
    aim = eye / np.tan(-pitch)
    scale = min(max(eye / 2, 0.35), 6)
    for _ in range(random_count(rng, 6, 40)):
        at = np.array([rng.normal(0, 0.7) * eye, 0, aim + rng.normal(0, 0.8) * eye])
        if eye < 2.5:
            SMALL_OBJECTS[rng.integers(len(SMALL_OBJECTS))](parts, at, rng.uniform(0.05, 0.3) * scale)
        else:
            OUTDOOR_OBJECTS[rng.integers(len(OUTDOOR_OBJECTS))](parts, at, rng.uniform(0.5, 1.2) * scale)
    lights = random_lights(rng, np.array([0, 0, aim]), eye * 2.2, np.zeros(3))
    return layout_from_parts(rng, parts, lights, random_camera(rng, eye, pitch, 0.3))


SceneKindRow = tuple[Callable[[np.random.Generator], Layout], float]  # makes a scene, share of all scenes
# By the name that --kind takes. Their order and shares decide which scenes a seed gives.
SCENE_KINDS: dict[str, SceneKindRow] = {
    "rooms": (make_room, 0.22),
    "streets": (make_street, 0.1),
    "landscapes": (make_landscape, 0.1),
    "close-ups": (make_close_up, 0.13),
    "from-above": (make_view_from_above, 0.08),
    "near-and-far": (make_near_and_far, 0.2),
    "upwards": (make_view_upwards, 0.06),
    "through-frames": (make_view_through_frame, 0.05),
    "gatherings": (make_gathering, 0.06),
}


def make_scene(seed: int, index: int, kinds: Collection[str] = ()) -> Layout:
    """Return scene number `index` of the endless stream with this seed; the same numbers give the same scene.

    With `kinds`, names in SCENE_KINDS, the stream has only scenes of these, in the ratio of their shares.
    """
    rng = np.random.default_rng([seed, index])
    return SCENE_KINDS[draw_scene_kind(rng, kinds)][0](rng)


def scene_kind(seed: int, index: int, kinds: Collection[str] = ()) -> str:
    """Return the name in SCENE_KINDS of the kind of scene that make_scene() returns."""
    return draw_scene_kind(np.random.default_rng([seed, index]), kinds)


def draw_scene_kind(rng: np.random.Generator, kinds: Collection[str]) -> str:
    """Return the name of a random kind of scene, of those in `kinds` if there are any."""
    names = [name for name in SCENE_KINDS if not kinds or name in kinds]
    shares = np.array([SCENE_KINDS[name][1] for name in names])
    return names[rng.choice(len(names), p=shares / shares.sum() if kinds else shares)]
