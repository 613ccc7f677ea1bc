"""Random scenes: reproducible, of the right share of kinds, and exact at any picture size."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from dacli.scenes.furniture import FURNITURE, OUTDOOR_OBJECTS, SMALL_OBJECTS
from dacli.scenes.kinds import (
    make_close_up,
    make_gathering,
    make_landscape,
    make_near_and_far,
    make_room,
    make_scene,
    make_street,
    make_view_from_above,
    make_view_through_frame,
    make_view_upwards,
)
from dacli.scenes.layouts import Layout, render_layouts
from dacli.scenes.objects import ObjectMaker
from dacli.scenes.parts import Parts, rotation_about_y, upwards
from dacli.scenes.raycast import ROOM
from dacli.scenes.sampling import random_camera

MAKERS = (
    make_room,
    make_street,
    make_landscape,
    make_close_up,
    make_view_from_above,
    make_near_and_far,
    make_view_upwards,
    make_view_through_frame,
    make_gathering,
)


def test_the_same_seed_and_index_give_the_same_picture() -> None:
    first, again = (render_layouts([make_scene(7, index) for index in range(3)], 64, 64) for _ in range(2))
    assert torch.equal(first.rgb, again.rgb)
    assert torch.equal(first.depth, again.depth)
    for other in (make_scene(7, 3), make_scene(8, 0)):
        assert not torch.equal(render_layouts([other], 64, 64).rgb[0], first.rgb[0])


def test_pictures_have_contrast_and_depth_is_positive() -> None:
    found = render_layouts([make_scene(21, index) for index in range(12)], 64, 64)
    assert found.rgb.shape == (12, 3, 64, 64)
    assert found.rgb.dtype == torch.uint8
    assert found.depth.shape == (12, 64, 64)
    assert not found.depth.isnan().any()
    assert (found.depth > 0).all()
    assert (found.depth.isfinite().float().mean((1, 2)) > 0.2).all()
    assert (found.rgb.float().std((1, 2, 3)) > 8).all()
    assert found.inverse_depth.isfinite().all()
    assert torch.equal(found.inverse_depth == 0, found.depth.isinf())
    nearest, farthest = found.inverse_depth.amax((1, 2)), found.inverse_depth.amin((1, 2))
    assert (nearest > 1.2 * farthest).all()


@pytest.mark.parametrize("make", MAKERS)
def test_every_kind_of_scene_renders(make: Callable[[np.random.Generator], Layout]) -> None:
    layouts = [make(np.random.default_rng(seed)) for seed in range(5)]
    found = render_layouts(layouts, 64, 64)
    assert not found.depth.isnan().any()
    assert found.depth.min() > 0.02
    assert (found.rgb.float().std((1, 2, 3)) > 3).all()
    rooms = [(layout.solids["kind"] == ROOM).sum() for layout in layouts]
    assert rooms == [int(make is make_room)] * 5
    assert make is not make_room or found.depth.isfinite().all()


@pytest.mark.parametrize("index", range(4))
def test_a_larger_canvas_keeps_the_geometry(index: int) -> None:
    small, large = (render_layouts([make_scene(9, index)], size, size) for size in (48, 144))
    same = large.depth[0, 1::3, 1::3]  # the centres of blocks of 3 × 3 pixels are those of the small pixels
    torch.testing.assert_close(large.focal, 3 * small.focal)
    off = ~torch.isclose(same, small.depth[0], rtol=1e-3)
    assert off.float().mean() < 0.003  # rays that pass close to an edge


@pytest.mark.parametrize("index", range(4))
def test_a_wider_canvas_shows_the_same_in_its_middle(index: int) -> None:
    square, wide, tall = (
        render_layouts([make_scene(9, index)], *size).depth[0] for size in ((48, 48), (48, 80), (90, 48))
    )
    for part in (wide[:, 16:64], tall[21:69]):
        assert (~torch.isclose(part, square, rtol=1e-3)).float().mean() < 0.003


def test_exposure_and_tint_change_the_picture_but_not_the_depth() -> None:
    layout = make_scene(9, 1)
    plain = render_layouts([layout], 48, 48)
    layout.exposure *= 2
    layout.tint = layout.tint * [1.5, 1, 0.5]
    changed = render_layouts([layout], 48, 48)
    assert torch.equal(plain.depth, changed.depth)
    gain = changed.rgb[0].float().mean((1, 2)) / plain.rgb[0].float().mean((1, 2))
    assert gain[0] > gain[1] > 1.1
    assert gain[1] > gain[2]


def test_cameras_have_orthogonal_axes_and_look_up_for_positive_pitch() -> None:
    rng = np.random.default_rng(1)
    for pitch in (-1.2, -0.1, 0.4):
        position, rotation = random_camera(rng, 1.6, pitch)
        np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-12)
        np.testing.assert_allclose(position, [0, 1.6, 0])
        np.testing.assert_allclose(rotation[:, 2], [0, np.sin(pitch), np.cos(pitch)])
        assert rotation[1, 1] < -0.3  # down in the picture is down in the world


def test_no_solid_contains_the_camera() -> None:
    for index in range(60):
        layout = make_scene(13, index)
        to_local = layout.solids["to_local"][layout.solids["kind"] != ROOM]
        inside = np.abs(to_local[:, :, :3] @ layout.position + to_local[:, :, 3]).max(1) < 1
        assert not inside.any()


@pytest.mark.parametrize("make", dict.fromkeys((*FURNITURE, *OUTDOOR_OBJECTS, *SMALL_OBJECTS)))
def test_objects_stand_near_their_place_with_complete_rows(make: ObjectMaker) -> None:
    at, box = np.array([30.0, 0, -40]), np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    for seed in range(20):
        parts = Parts(np.random.default_rng(seed))
        make(parts, at, 2.5)
        solids = parts.solids()
        assert len({len(rows) for rows in solids.values()}) == 1
        assert all(np.isfinite(rows).all() for rows in solids.values())
        assert (solids["half"] > 0).all()
        assert solids["colors"].min() >= 0
        assert ((solids["taper"] >= 0) & (solids["taper"] <= 1)).all()
        linear, offset = solids["to_local"][..., :3], solids["to_local"][..., 3]
        corners = np.einsum("nij,nkj->nki", np.linalg.inv(linear), box - offset[:, None])
        away = np.linalg.norm(corners.mean(1) - at, axis=-1)
        assert away.min() < 3
        assert away.max() < 25


def test_bars_reach_from_start_to_end() -> None:
    rng = np.random.default_rng(3)
    start, end = rng.normal(size=(2, 30, 3))
    start[0], end[0] = [0, 0, 0], [0, 2, 0]
    parts = Parts(rng)
    parts.random_material()
    parts.add_bars(start, end, 0.1)
    to_local = parts.solids()["to_local"]
    for points, y in ((start, -1), (end, 1)):
        local = np.einsum("nij,nj->ni", to_local[..., :3], points) + to_local[..., 3]
        np.testing.assert_allclose(local, np.broadcast_to([0, y, 0], (30, 3)), atol=1e-9)


def test_rotations_are_about_the_vertical_axis() -> None:
    np.testing.assert_allclose(rotation_about_y(0.7) @ upwards(3), [0, 3, 0])
    np.testing.assert_allclose(rotation_about_y(np.pi / 2) @ [0, 0, 1], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(rotation_about_y(0.3) @ rotation_about_y(0.4), rotation_about_y(0.7))
