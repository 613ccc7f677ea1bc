from itertools import pairwise

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from dacli.scenes.kinds import make_scene
from dacli.scenes.moving import CameraMotion, render_clip
from dacli.video.scene_cuts import (
    best_offset,
    blurred_change,
    correlation,
    edge_map,
    is_cut,
    local_correlation,
    overlapping_part,
)

Map = NDArray[np.float32]
SIZE = (72, 96)


def texture(seed: int, fine: float = 2.0) -> Map:
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(112, 136)), fine)
    return np.asarray(0.5 + 0.15 * field / field.std(), np.float32).clip(0.06, 1)


def window(field: Map, top: int = 20, left: int = 20) -> Map:
    return np.ascontiguousarray(field[top : top + 72, left : left + 96])


def cut(before: Map, now: Map) -> bool:
    return is_cut(before, now, blurred_change(before, now))


HERE, THERE = texture(1), texture(2)


def test_other_shots_are_a_cut_and_the_same_one_is_not() -> None:
    assert cut(window(HERE), window(THERE))
    assert not cut(window(HERE), window(HERE))


@pytest.mark.parametrize("offset", [(0, 3), (5, -7), (-12, 15), (0, 20)])
def test_a_moving_camera_is_no_cut_however_fast(offset: tuple[int, int]) -> None:
    moved = window(HERE, 20 + offset[0], 20 + offset[1])
    assert correlation(edge_map(window(HERE)), edge_map(moved)) < 0.5
    assert not cut(window(HERE), moved)


@pytest.mark.parametrize("gain", [0.7, 1.4])
def test_exposure_is_no_cut(gain: float) -> None:
    assert not cut(window(HERE), np.minimum(window(HERE) * np.float32(gain), 1))


def test_grain_is_no_cut() -> None:
    rng = np.random.default_rng(0)
    one, other = (window(HERE) + rng.normal(0, 0.03, SIZE).astype(np.float32) for _ in range(2))
    assert not cut(one, other)
    flat = [np.full(SIZE, 0.5, np.float32) + rng.normal(0, 0.05, SIZE).astype(np.float32) for _ in range(2)]
    assert not cut(flat[0], flat[1])


def test_an_object_that_crosses_half_the_picture_is_no_cut() -> None:
    before, now = window(HERE).copy(), window(HERE).copy()
    before[:, :20], now[:, 15:45] = 4 * window(THERE)[:, :20] % 1, 4 * window(THERE)[:, :30] % 1
    assert correlation(edge_map(before), edge_map(now)) < 0.5
    assert not cut(before, now)


def test_cuts_are_detected_between_black_bars() -> None:
    before, now, moved = window(HERE).copy(), window(THERE).copy(), window(HERE, 20, 24).copy()
    for picture in (before, now, moved):
        picture[:10], picture[-10:] = 0, 0
    assert cut(before, now)
    assert not cut(before, moved)


def test_to_black_and_from_black_is_a_cut_but_black_on_black_is_not() -> None:
    black = np.zeros(SIZE, np.float32)
    assert cut(window(HERE), black)
    assert cut(black, window(HERE))
    assert not cut(black, black)


def test_a_dissolve_is_no_cut() -> None:
    shares = np.linspace(0, 1, 12, dtype=np.float32)
    between = [(1 - s) * window(HERE) + s * window(THERE) for s in shares]
    assert not any(cut(a, b) for a, b in pairwise(between))


@pytest.mark.parametrize("shape", [(1, 1), (1, 96), (3, 5)])
def test_the_smallest_pictures_are_compared_too(shape: tuple[int, int]) -> None:
    dark, bright = np.full(shape, 0.2, np.float32), np.full(shape, 0.8, np.float32)
    assert not cut(dark, dark)
    assert isinstance(cut(dark, bright), bool)


def test_cuts_of_rendered_clips_are_detected() -> None:
    missed, false = 0, 0
    for index in range(4):
        layouts = [make_scene(91, index), make_scene(92, index)]
        motion = CameraMotion(yaw=0.8, shake=0.03, passer=index % 2 == 1)
        lumas = [cv2.cvtColor(f.rgb, cv2.COLOR_RGB2GRAY) for f in render_clip(layouts, motion, 8, (72, 96), noise=2)]
        found = [cut(a / np.float32(255), b / np.float32(255)) for a, b in pairwise(lumas)]
        missed += not found.pop(3)
        false += sum(found)
    assert missed <= 1
    assert false == 0


def test_change_does_not_include_the_change_of_most_pixels() -> None:
    before = window(HERE)
    now = before + np.float32(0.1)
    now[30:40, 40:50] += np.float32(0.2)
    change = blurred_change(before, now)
    assert change[35, 45] == pytest.approx(0.2, abs=1e-5)
    far = np.ones(SIZE, bool)
    far[28:42, 38:52] = False
    assert change[far].max() == pytest.approx(0, abs=1e-5)
    step = np.abs(now - before - np.median(now - before))
    np.testing.assert_allclose(change, ndimage.uniform_filter(step, 5, mode="mirror"), atol=1e-6)


@pytest.mark.parametrize("offset", [(0, 0), (4, -9), (-20, 15), (11, 0)])
def test_offset_is_the_translation_of_the_picture(offset: tuple[int, int]) -> None:
    field = texture(5, 1.0)
    assert best_offset(window(field), window(field, 20 - offset[0], 20 - offset[1])) == offset


def test_overlapping_part_of_a_small_map() -> None:
    values = np.arange(12).reshape(3, 4)
    np.testing.assert_array_equal(overlapping_part(values, 1, 0), values[1:])
    np.testing.assert_array_equal(overlapping_part(values, -1, 2), values[:2, 2:])
    np.testing.assert_array_equal(overlapping_part(values, 0, -3), values[:, :1])
    np.testing.assert_array_equal(overlapping_part(values, 0, 0), values)


def test_local_correlation_is_the_correlation_in_a_window() -> None:
    a = window(HERE, 0, 0)
    b = np.asarray((a + window(THERE)) / 2, np.float32)
    found = local_correlation(a, b)
    for y, x in ((10, 10), (40, 70), (60, 30)):
        near = np.s_[y - 3 : y + 4, x - 3 : x + 4]
        assert found[y, x] == pytest.approx(np.corrcoef(a[near].ravel(), b[near].ravel())[0, 1], abs=2e-3)


def test_correlation_of_constant_or_empty_arrays_is_0() -> None:
    varied = np.arange(5, dtype=np.float32)
    assert correlation(varied, np.ones(5, np.float32)) == 0
    assert correlation(varied[:0], varied[:0]) == 0
    assert correlation(varied, -varied) == pytest.approx(-1)
