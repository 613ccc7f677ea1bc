"""Rooms of usual sizes against the sizes of real doors, windows and ceilings."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from dacli.scenes.furniture import FURNITURE, place_furniture
from dacli.scenes.interiors import EYE_HEIGHT, RoomWall, add_door, add_pictures, add_window, make_interior, room_walls
from dacli.scenes.layouts import layout_cameras, render_layouts
from dacli.scenes.parts import Array, Parts, RoomShape, rotation_about_y
from dacli.scenes.raycast import ROOM

CUBE = np.stack(np.meshgrid([-1, 1], [-1, 1], [-1, 1]), -1).reshape(8, 3)


def corners(solids: dict[str, Array]) -> Array:
    """Return the corners [n, 8, 3] of solids in the world, by the inverse of their maps."""
    linear, offset = solids["to_local"][:, :, :3], solids["to_local"][:, :, 3]
    return np.stack([(CUBE - shift) @ np.linalg.inv(rows).T for rows, shift in zip(linear, offset, strict=True)])


def room_of_length(length: float) -> RoomShape:
    """Return a rotated room of that length and of the lowest height."""
    return RoomShape(np.array([0.4, 1.2, 1.0]), np.array([1.3, 1.2, length / 2]), rotation_about_y(0.7))


@pytest.mark.parametrize("add", [add_door, add_window, add_pictures])
@pytest.mark.parametrize("length", [2.6, 9.0])
def test_doors_windows_and_pictures_touch_their_wall_and_stay_inside_the_room(
    add: Callable[[Parts, RoomWall], None], length: float
) -> None:
    room = room_of_length(length)
    half = room.half
    for seed in range(20):
        for number, wall in enumerate(room_walls(room)):
            parts = Parts(np.random.default_rng(seed))
            add(parts, wall)
            inside = (corners(parts.solids()) - room.middle) @ room.rotation
            assert (np.abs(inside[..., [1]]) <= half[1] + 1e-9).all()
            across, along = (2, 0) if number in (0, 3) else (0, 2)
            sign = 1 if number < 2 else -1
            assert np.allclose((sign * inside[..., across]).max(1), half[across])
            assert (np.abs(inside[..., along]) <= half[along] + 0.06).all()  # a sill may reach a little past the corner


def test_doors_and_windows_have_the_sizes_of_real_ones() -> None:
    wall = room_walls(room_of_length(9.0))[0]
    for seed in range(20):
        parts = Parts(np.random.default_rng(seed))
        add_door(parts, wall)
        low, high = (corners(parts.solids())[..., 1].min(1), corners(parts.solids())[..., 1].max(1))
        assert np.allclose(low[:2], 0)
        assert 1.95 <= high[1] <= 2.15
        assert 0.9 <= low[2] <= high[2] <= 1.15
        assert 0.7 <= 2 * parts.solids()["half"][1, 0] <= 0.95
        parts = Parts(np.random.default_rng(seed))
        add_window(parts, wall)
        assert 0.7 <= corners(parts.solids())[..., 1].min() <= 1.0
        assert 2.0 <= corners(parts.solids())[..., 1].max() <= 2.2


def test_rooms_are_of_usual_size_and_seen_from_inside() -> None:
    for seed in range(40):
        solids = make_interior(np.random.default_rng(seed)).solids
        (walls_at,) = np.flatnonzero(solids["kind"] == ROOM)
        size = 2 * solids["half"][walls_at]
        assert 2.6 <= size[0] <= 6.5
        assert 2.4 <= size[1] <= 3.2
        assert 3.2 <= size[2] <= 9.0
        camera = solids["to_local"][walls_at] @ [0, EYE_HEIGHT, 0, 1]
        assert np.abs(camera).max() < 1
        assert 0.3 <= (camera[2] + 1) * size[2] / 2 <= 1.0


def test_the_floor_is_seen_as_far_below_as_the_eyes_are_high() -> None:
    layouts = [make_interior(np.random.default_rng([3, index])) for index in range(6)]
    rendering = render_layouts(layouts, 64, 64)
    camera, _ = layout_cameras(layouts, 64, 64, "cpu")
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    fall = -torch.einsum("bi,ihw->bhw", camera.direction[:, :, 1], torch.stack([torch.ones_like(x), x, y]))
    floor = (rendering.depth * fall - EYE_HEIGHT).abs() < 0.01
    assert rendering.depth.isfinite().all()
    assert rendering.depth.min() > 0.2
    assert floor.float().mean() > 0.15


@pytest.mark.parametrize("clearance", [0.0, 1.5])
def test_furniture_stands_on_the_floor_within_its_ranges_and_away_from_the_camera(
    clearance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    places: list[Array] = []
    monkeypatch.setattr(
        "dacli.scenes.furniture.FURNITURE", (lambda _parts, at, _ceiling: places.append(at),) * len(FURNITURE)
    )
    room = RoomShape(np.array([0.2, 1.25, 0.6]), np.array([2.0, 1.25, 3.0]), rotation_about_y(0.4))
    rng = np.random.default_rng(1)
    place_furniture(Parts(rng), room, 400, across=(-0.5, 0.7), along=(-0.2, 0.9), clearance=clearance)
    local = (np.array(places) - room.middle) @ room.rotation / room.half
    np.testing.assert_allclose(local[:, 1], -1)
    for values, low, high in ((local[:, 0], -0.5, 0.7), (local[:, 2], -0.2, 0.9)):
        assert low <= values.min() <= values.max() <= high
        assert clearance or (values.min() < low + 0.05 and values.max() > high - 0.05)
    distance = np.hypot(*np.array(places)[:, [0, 2]].T)
    assert distance.min() > clearance
    assert (len(places) < 400) == (clearance > 0)
