"""The second view of a picture: where its pixels go, what is seen where they meet, and what fills the gaps."""

import math
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.stereo import make_pair as render_pair
from benchmarks.stereo import psnr
from dacli.io.camera import PinholeCamera
from dacli.io.records import Record
from dacli.io.scales import choose_scale
from dacli.outputs import stereo
from dacli.outputs.export import ExportOptions
from dacli.outputs.style import DepthStyle
from dacli.outputs.view import DepthView
from dacli.scenes.kinds import make_scene

RNG = np.random.default_rng(8)
NOISE = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)
BLUE, RED = (20, 40, 200), (220, 30, 30)


def view_of(depth: NDArray[np.float32], image: NDArray[Any], **export: float) -> DepthView:
    """Return a view of inverse depth [H, W] and its picture."""
    low, high = float(depth.min()), float(depth.max())
    height, width = depth.shape
    record = Record(
        black=low,
        white=high,
        near="white",
        unit="steps",
        quantity="inverse depth",
        low=low,
        high=high,
        encoder="tiny",
        model="tiny",
        network_size=(32, 32),
        source_size=(height, width),
        version="0",
        source="a.png",
        settings="",
        camera=PinholeCamera(fx=50, fy=50, cx=width / 2, cy=height / 2, source="--fov"),
    )
    scale = choose_scale(low, high, "inverse depth")
    options = ExportOptions(**export)  # type: ignore[arg-type]
    return DepthView(depth, record, DepthStyle(), scale, scale, image, export=options)


@pytest.mark.parametrize("pixels", [-7, 0, 4])
def test_one_plane_moves_as_a_whole(pixels: int) -> None:
    found = stereo.second_view(NOISE, np.full((40, 60), pixels, np.float32))
    np.testing.assert_array_equal(found[:, 8:-8], np.roll(NOISE, -pixels, axis=1)[:, 8:-8])


def test_parts_of_a_pixel_are_between_its_neighbours() -> None:
    ramp = np.repeat(np.arange(60, dtype=np.uint8)[None, :, None] * 4, 40, axis=0).repeat(3, axis=2)
    found = stereo.second_view(ramp, np.full((40, 60), 2.25, np.float32))
    np.testing.assert_array_equal(found[:, 5:50], (ramp.astype(int) + 9)[:, 5:50])


def two_layers(pixels: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return a red square before a blue wall, and its disparity: that of the square is `pixels`."""
    image = np.empty((40, 60, 3), np.uint8)
    image[:] = BLUE
    image[10:30, 25:40] = RED
    return image, np.where((image == RED).all(axis=2), pixels, 0).astype(np.float32)


def test_the_nearest_is_seen_and_gaps_are_filled_from_behind() -> None:
    image, disparity = two_layers(9)
    want = np.empty_like(image)
    want[:] = BLUE
    want[10:30, 16:31] = RED
    np.testing.assert_array_equal(stereo.second_view(image, disparity), want)


def test_a_hole_in_a_near_plane_is_filled_from_what_is_seen_through_it() -> None:
    image, disparity = two_layers(9)
    swapped = 9 - disparity  # the wall is near, and has a hole
    found = stereo.second_view(image, swapped)
    seen = (found[20] == RED).all(axis=1)
    np.testing.assert_array_equal(np.flatnonzero(seen), np.arange(16, 31))


def test_gaps_continue_the_texture_without_a_stretched_edge() -> None:
    image = NOISE.copy()
    disparity = np.zeros((40, 60), np.float32)
    disparity[:, 20:30] = 6
    gap = stereo.second_view(image, disparity)[:, 24:30].astype(int)
    assert np.abs(np.diff(gap, axis=1)).mean() > 0.7 * np.abs(np.diff(NOISE.astype(int), axis=1)).mean()


def test_the_view_is_more_like_the_exact_one_than_the_picture_is() -> None:
    for index in (2, 5):
        scene = render_pair(make_scene(31, index), (192, 256))
        made = stereo.second_view(scene.left, stereo.separate_layers(scene.disparity, scene.left))
        assert psnr(made, scene.right) > psnr(scene.left, scene.right) + 4


@pytest.mark.parametrize(("convergence", "square", "wall"), [(0.0, 6, 0), (1.0, 0, -6), (0.5, 3, -3)])
def test_convergence_says_what_is_on_the_screen(convergence: float, square: int, wall: int) -> None:
    image, disparity = two_layers(1)
    image[:, 50] = 255  # a line on the wall
    _, right = stereo.make_pair(view_of(disparity, image, parallax=10, convergence=convergence))
    columns = np.flatnonzero((right[20] == RED).all(axis=1))
    assert columns.min() == pytest.approx(25 - square, abs=1)
    (line,) = np.flatnonzero((right[5] == 255).all(axis=1))
    assert line == 50 - wall


def test_both_halves_are_half_as_wide() -> None:
    view = view_of(RNG.random((40, 61), np.float32), RNG.integers(0, 256, (40, 61, 3), dtype=np.uint8))
    assert stereo.draw_full_pair(view).shape == (40, 122, 3)
    assert stereo.draw_half_pair(view).shape == (40, 61, 3)


def test_an_anaglyph_has_dubois_colors() -> None:
    flat = np.ones((40, 60), np.float32)  # both views are the picture
    found = stereo.draw_anaglyph(view_of(flat, NOISE, convergence=0))

    def light(level: float) -> float:
        return level / 12.92 if level <= 0.04045 else ((level + 0.055) / 1.055) ** 2.4

    def level(value: float) -> float:
        value = min(max(value, 0), 1)
        return 255 * (12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055)

    sums = (
        (0.456 - 0.043, 0.500 - 0.088, 0.176 - 0.002),
        (-0.040 + 0.378, -0.038 + 0.734, -0.016 - 0.018),
        (-0.015 - 0.072, -0.021 - 0.113, -0.005 + 1.226),
    )
    for y, x in ((0, 0), (13, 40), (39, 59)):
        lights = [light(int(each) / 255) for each in NOISE[y, x]]
        for channel, row in enumerate(sums):
            want = level(sum(a * b for a, b in zip(row, lights, strict=True)))
            assert found[y, x, channel] == pytest.approx(want, abs=1.5 if want > 20 else 4)


def test_a_direction_of_vr180_shows_the_pixel_that_the_camera_saw_there() -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    column = round(30 + 50 * math.tan(math.radians(20)))
    image[:, column - 1 : column + 1] = 255
    found = stereo.draw_vr180(view_of(np.ones((40, 60), np.float32), image))
    side = found.shape[0]
    assert found.shape == (side, 2 * side, 3)
    bright = np.flatnonzero(found[side // 2, :side, 0] > 200)
    angle = (bright.mean() + 0.5) / side * 180 - 90
    assert angle == pytest.approx(20, abs=1)
    assert not found[0].any()  # nothing above the picture


def test_16_bit_pictures_are_shown_with_8() -> None:
    deep = NOISE.astype(np.uint16) * 257
    left, _ = stereo.make_pair(view_of(np.ones((40, 60), np.float32), deep))
    np.testing.assert_array_equal(left, NOISE)


def test_metres_count_by_their_inverse() -> None:
    image, _ = two_layers(1)
    depth = np.where((image == RED).all(axis=2), 2.0, 4.0).astype(np.float32)
    depth[0, 0] = 1.0
    view = view_of(depth, image)
    view = replace(view, record=replace(view.record, quantity="metres"))
    assert view.nearness[0, 0] == 1
    assert view.nearness[20, 30] == pytest.approx((1 / 2 - 1 / 4) / (1 - 1 / 4))
    assert cv2.minMaxLoc(view.nearness)[0] == 0
