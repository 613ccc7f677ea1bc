"""Rendered clips: camera paths against SciPy, and matches of frames against closed forms."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from dacli.scenes.kinds import make_scene
from dacli.scenes.layouts import render_layouts
from dacli.scenes.moving import (
    CAMERA_PERIOD,
    MOTIONS,
    CameraMotion,
    RenderedFrame,
    add_passer,
    camera_path,
    camera_views,
    clear_camera_path,
    match_frames,
    render_clip,
    rotation_matrices,
    sample_bilinear,
    typical_depth,
)
from dacli.scenes.raycast import ROOM

SIZE = (24, 32)
ROOM_SCENE = make_scene(77, 9)


def frames(motion: str, count: int = 6, fps: float = 3.0, noise: float = 0.0) -> list[RenderedFrame]:
    return list(render_clip([ROOM_SCENE], MOTIONS[motion], count, SIZE, fps=fps, noise=noise))


def frame_at(depth: NDArray[np.float64], position: tuple[float, float, float], yaw: float = 0.0) -> RenderedFrame:
    """Return a frame of a camera whose right, down and forward are x, y and z, rotated by yaw about y, focal 20."""
    rotation = Rotation.from_euler("y", yaw).as_matrix()
    return RenderedFrame(
        np.zeros((*depth.shape, 3), np.uint8), depth.astype(np.float32), 0.0, 0, np.array(position), rotation, 20.0
    )


def test_a_still_camera_sees_the_scene_as_rendered() -> None:
    found = frames("still")
    for frame in found:
        np.testing.assert_array_equal(frame.rgb, found[0].rgb)
        np.testing.assert_array_equal(frame.inverse_depth, render_layouts([ROOM_SCENE], *SIZE).inverse_depth[0].numpy())


def test_frames_have_their_times_and_shots_are_equally_long() -> None:
    found = list(render_clip([ROOM_SCENE, make_scene(77, 4), make_scene(77, 2)], MOTIONS["pan"], 11, (10, 12), fps=5))
    assert [f.shot for f in found] == [0] * 4 + [1] * 4 + [2] * 3
    np.testing.assert_allclose([f.seconds for f in found], np.arange(11) / 5)
    assert {f.rgb.shape for f in found} == {(10, 12, 3)}
    assert {f.rgb.dtype for f in found} == {np.dtype(np.uint8)}
    for first, layout in zip((0, 4, 8), (ROOM_SCENE, make_scene(77, 4), make_scene(77, 2)), strict=True):
        np.testing.assert_allclose(found[first].position, layout.position)
        np.testing.assert_allclose(found[first].rotation, layout.rotation)


def test_a_pan_rotates_in_place_and_returns() -> None:
    poses = list(
        camera_path(
            ROOM_SCENE,
            CameraMotion(yaw=0.4),
            np.array([0, CAMERA_PERIOD / 4, CAMERA_PERIOD / 2]),
            np.random.default_rng(0),
        )
    )
    for position, _ in poses:
        np.testing.assert_array_equal(position, ROOM_SCENE.position)
    relative = ROOM_SCENE.rotation.T @ poses[1][1]
    np.testing.assert_allclose(Rotation.from_matrix(relative).as_rotvec(), [0, 0.4, 0], atol=1e-12)
    np.testing.assert_allclose(poses[2][1], ROOM_SCENE.rotation, atol=1e-12)


def test_a_dolly_moves_forward_by_a_share_of_the_typical_depth() -> None:
    depth = render_layouts([ROOM_SCENE], 24, 32).depth.numpy()
    typical = np.median(depth[np.isfinite(depth)])
    assert typical_depth(ROOM_SCENE) == pytest.approx(typical)
    (position, rotation), *_ = camera_path(
        ROOM_SCENE, CameraMotion(forward=0.3), np.array([CAMERA_PERIOD / 2]), np.random.default_rng(0)
    )
    np.testing.assert_allclose(position - ROOM_SCENE.position, 0.3 * typical * ROOM_SCENE.rotation[:, 2])
    np.testing.assert_array_equal(rotation, ROOM_SCENE.rotation)
    before, *_, after = frames("dolly", 13, fps=3)
    assert np.median(after.depth) < 0.97 * np.median(before.depth)


def test_a_hand_held_camera_shakes_a_little_and_differently_for_each_seed() -> None:
    times = np.arange(0, 8, 1 / 30)
    poses = list(camera_path(ROOM_SCENE, CameraMotion(shake=0.03), times, np.random.default_rng(0)))
    angles = Rotation.from_matrix([ROOM_SCENE.rotation.T @ r for _, r in poses]).as_rotvec()
    assert (angles.std(0) > 0.005).all()
    assert np.abs(angles).max() < 0.04
    assert np.abs(np.diff(angles, axis=0)).max() < 0.01
    other = list(camera_path(ROOM_SCENE, CameraMotion(shake=0.03), times, np.random.default_rng(1)))
    assert not np.allclose(other[0][0], poses[0][0])


def test_rotations_are_about_right_then_down_then_forward() -> None:
    angles = np.array([0.3, -0.7, 1.1])
    np.testing.assert_allclose(rotation_matrices(angles), Rotation.from_euler("XYZ", angles).as_matrix())


def test_noise_is_gray_differs_in_every_frame_and_has_its_standard_deviation() -> None:
    clean, first, *rest = *frames("still", 1), *frames("still", 3, noise=2)
    assert clean.rgb.min() > 6
    assert clean.rgb.max() < 249
    for one, other in pairwise((first, *rest)):
        step = one.rgb.astype(float) - other.rgb
        np.testing.assert_array_equal(step[..., 0], step[..., 2])
        assert step.std() == pytest.approx(2 * np.sqrt(2), rel=0.1)
    again = frames("still", 1, noise=2)[0]
    np.testing.assert_array_equal(again.rgb, first.rgb)


def test_a_wall_moves_by_focal_length_times_shift_over_depth() -> None:
    wall = np.full(SIZE, 4.0)
    found = match_frames(frame_at(wall, (0.6, -0.2, 0)), frame_at(wall, (0, 0, 0)))
    y, x = np.indices(SIZE)
    np.testing.assert_allclose(found.x - x, 20 * 0.6 / 4)
    np.testing.assert_allclose(found.y - y, 20 * -0.2 / 4)
    np.testing.assert_array_equal(found.seen, (x + 3 <= 31.5) & (y - 1 >= -0.5))


def test_a_wall_that_comes_nearer_grows_from_the_middle() -> None:
    found = match_frames(frame_at(np.full(SIZE, 3.0), (0, 0, 1)), frame_at(np.full(SIZE, 4.0), (0, 0, 0)))
    y, x = np.indices(SIZE)
    np.testing.assert_allclose(found.x - 15.5, (x - 15.5) * 3 / 4)
    np.testing.assert_allclose(found.y - 11.5, (y - 11.5) * 3 / 4)
    assert found.seen.all()


@pytest.mark.parametrize("depth", [5.0, np.inf])
def test_a_rotation_moves_pixels_by_the_homography_at_any_depth(depth: float) -> None:
    y, x = np.indices(SIZE)
    ray = np.stack([x - 15.5, y - 11.5, np.full(SIZE, 20.0)])
    sphere = depth * 20 / np.sqrt((ray**2).sum(0))  # depth along the axis of points at equal distance
    now, before = frame_at(sphere, (0, 0, 0), 0.1), frame_at(sphere, (0, 0, 0))
    found = match_frames(now, before)
    rotated = np.einsum("ij,jhw->ihw", Rotation.from_euler("y", 0.1).as_matrix(), ray)
    np.testing.assert_allclose(found.x, 20 * rotated[0] / rotated[2] + 15.5, atol=1e-6)
    np.testing.assert_allclose(found.y, 20 * rotated[1] / rotated[2] + 11.5, atol=1e-6)
    assert found.seen[:, 5:25].mean() > 0.95


def test_pixels_hidden_by_a_near_object_were_not_seen() -> None:
    now, before = np.full(SIZE, 8.0), np.full(SIZE, 8.0)
    now[8:16, 10:14], before[8:16, 14:18] = 2, 2  # at 2 metres 0.4 metres are 4 pixels, at 8 metres 1
    found = match_frames(frame_at(now, (0.4, 0, 0)), frame_at(before, (0, 0, 0)))
    assert found.seen[8:16, 10:14].all()
    hidden = np.zeros(SIZE, bool)
    hidden[8:16, 14:17] = True  # was at columns 15 to 17 of the wall
    assert not found.seen[hidden].any()
    assert found.seen[:, 18:31].all()


def test_points_behind_the_camera_were_not_seen() -> None:
    backwards = frame_at(np.full(SIZE, 5.0), (0, 0, 0), np.pi)
    assert not match_frames(backwards, frame_at(np.full(SIZE, 5.0), (0, 0, 0))).seen.any()


@pytest.mark.parametrize("motion", ["pan", "dolly", "truck", "hand-held"])
def test_rendered_frames_agree_where_they_match(motion: str) -> None:
    found = list(render_clip([make_scene(77, 4)], MOTIONS[motion], 3, (48, 64), fps=2))
    now, before = found[2], found[1]
    moved = match_frames(now, before)
    assert 0.6 < moved.seen.mean() <= 1
    luma, last = (f.rgb.astype(float).mean(2) for f in (now, before))
    luma, last = luma - np.median(luma), last - np.median(last)
    aligned = np.abs(sample_bilinear(last, moved.x, moved.y) - luma)[moved.seen]
    assert aligned.mean() < 0.7 * np.abs(last - luma)[moved.seen].mean()


def test_the_path_of_the_camera_is_cleared_of_all_but_the_room() -> None:
    solids = ROOM_SCENE.solids
    solid = np.flatnonzero(solids["kind"] != ROOM)[-1]
    linear, offset = solids["to_local"][solid, :, :3], solids["to_local"][solid, :, 3]
    path = np.linalg.solve(linear, -offset) - ROOM_SCENE.position
    positions = ROOM_SCENE.position + np.linspace(0, 1, 20)[:, None] * path
    cleared = clear_camera_path(ROOM_SCENE, positions).solids
    assert 1 < len(cleared["kind"]) < len(solids["kind"])
    assert (cleared["kind"] == ROOM).sum() == (solids["kind"] == ROOM).sum() == 1
    to_local = cleared["to_local"][cleared["kind"] != ROOM]
    for position in positions:
        assert (np.abs(to_local[:, :, :3] @ position + to_local[:, :, 3]).max(1) > 1).all()


def test_a_passer_crosses_close_in_front_of_the_camera() -> None:
    plain = render_layouts([ROOM_SCENE], *SIZE).depth[0].numpy()
    columns = []
    for _, layout in camera_views(
        ROOM_SCENE, CameraMotion(passer=True), np.linspace(0, 4, 17), np.random.default_rng(0)
    ):
        depth = render_layouts([layout], *SIZE).depth[0].numpy()
        hidden = depth < 0.9 * plain
        columns.append(np.flatnonzero(hidden.any(0)).mean() if hidden.any() else np.nan)
        assert (depth <= plain * 1.001).all()
    assert np.isnan(columns[0])
    assert np.isnan(columns[-1])
    known = np.array([v for v in columns if not np.isnan(v)])
    assert (np.diff(known) > 0).all()
    assert known[0] < 8
    assert known[-1] > 23
    middle = add_passer(ROOM_SCENE, np.random.default_rng(0), 4.0)(ROOM_SCENE.solids, 2.0)
    person = render_layouts([replace(ROOM_SCENE, solids=middle)], *SIZE).depth[0].numpy() < 0.9 * plain
    assert person.any(1).mean() > 0.8


@pytest.mark.parametrize(("count", "fps"), [(1, 30.0), pytest.param(12, 30.0, marks=pytest.mark.slow)])
def test_a_passer_is_in_every_frame_of_a_short_clip(count: int, fps: float) -> None:
    for seed in range(3):
        layout, moved = make_scene(77, seed), replace(MOTIONS["passer"], passer=False)
        with_person = render_clip([layout], MOTIONS["passer"], count, SIZE, fps=fps)
        for frame, plain in zip(with_person, render_clip([layout], moved, count, SIZE, fps=fps), strict=True):
            assert (frame.depth < 0.9 * plain.depth).mean() > 0.03


@pytest.mark.parametrize("seconds", [1.0, 3.0, 4.0, 9.0])
def test_a_passer_is_in_the_middle_half_way_through_a_clip_or_at_2_seconds(seconds: float) -> None:
    times = np.linspace(0, seconds, 200)
    move = add_passer(ROOM_SCENE, np.random.default_rng(0), seconds)
    offset = [move(ROOM_SCENE.solids, t)["to_local"][-1, :, 3] for t in times]
    inverse = np.linalg.inv(move(ROOM_SCENE.solids, 0)["to_local"][-1, :, :3])
    place = -np.array(offset) @ inverse.T @ ROOM_SCENE.rotation[:, 0]  # of a part of the person, to the right
    speed = np.abs(np.gradient(place, times))[times < 4]
    assert times[times < 4][speed.argmax()] == pytest.approx(min(2.0, seconds / 2), abs=seconds / 50)
