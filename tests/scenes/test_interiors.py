from collections.abc import Callable

import numpy as np
import pytest
import torch

from dacli.scenes.interiors import EYE_HEIGHT, RoomWall, add_door, add_window, add_pictures, make_interior, room_walls
from dacli.scenes.layouts import layout_cameras, render_layouts
from dacli.scenes.parts import Array, Parts, rotation_about_y
from dacli.scenes.raycast import ROOM

CUBE = np.stack(np.meshgrid([-1, 1], [-1, 1], [-1, 1]), -1).reshape(8, 3)


def corners(solids: dict[str, Array]) -> Array:
    """The corners [n, 8, 3] of solids in the world, by the inverse of their maps."""
    linear, offset = solids["to_local"][:, :, :3], solids["to_local"][:, :, 3]
    return np.stack([(CUBE - shift) @ np.linalg.inv(rows).T for rows, shift in zip(linear, offset, strict=True)])


def room(length: float) -> tuple[Array, Array, Array]:
    """Middle, half lengths and rotation of a room of that length, as low as they are."""
    half = np.array([1.3, 1.2, length / 2])
    return np.array([0.4, 1.2, 1.0]), half, rotation_about_y(0.7)


@pytest.mark.parametrize("put", [add_door, add_window, add_pictures])
@pytest.mark.parametrize("length", [2.6, 9.0])
def test_what_hangs_on_a_wall_touches_it_and_stays_inside_the_room(
    put: Callable[[Parts, RoomWall], None], length: float
) -> None:
    middle, half, turned = room(length)
    for seed in range(20):
        for number, wall in enumerate(room_walls(middle, half, turned)):
            parts = Parts(np.random.default_rng(seed))
            put(parts, wall)
            inside = (corners(parts.solids()) - middle) @ turned
            assert (np.abs(inside[..., [1]]) <= half[1] + 1e-9).all()
            across, along = (2, 0) if number in (0, 3) else (0, 2)
            sign = 1 if number < 2 else -1
            assert np.allclose((sign * inside[..., across]).max(1), half[across])
            assert (np.abs(inside[..., along]) <= half[along] + 0.06).all()  # a sill may go a little round the corner


def test_doors_and_windows_are_as_large_as_doors_and_windows() -> None:
    wall = room_walls(*room(9.0))[0]
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
        seat = solids["to_local"][walls_at] @ [0, EYE_HEIGHT, 0, 1]
        assert np.abs(seat).max() < 1
        assert 0.3 <= (seat[2] + 1) * size[2] / 2 <= 1.0


def test_the_floor_is_seen_as_far_below_as_the_eyes_are_high() -> None:
    layouts = [make_interior(np.random.default_rng([3, index])) for index in range(12)]
    found = render_layouts(layouts, 64, 64)
    camera, _ = layout_cameras(layouts, 64, 64, "cpu")
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    fall = -torch.einsum("bi,ihw->bhw", camera.direction[:, :, 1], torch.stack([torch.ones_like(x), x, y]))
    floor = (found.depth * fall - EYE_HEIGHT).abs() < 0.01
    assert found.depth.isfinite().all()
    assert found.depth.min() > 0.2
    assert floor.float().mean() > 0.15
